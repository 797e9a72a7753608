/* shop.h - what the units of the watched program share. */
#define RATE 10

struct item {
	int cents, pieces;
};

int price(int n), count(int n), tax(int n), total(int n), old(int n);
