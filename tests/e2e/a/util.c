#include "../shop.h"

static int total = 1000;

static int helper(int n)
{
#ifdef NEW
	return n + 100;
#else
	return n + 1;
#endif
}

int a_util(int n)
{
	total += helper(n);
	return total;
}
