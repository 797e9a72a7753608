/* keep.h - see main.c. */
struct box {
	int width, height;
};

int per_thread(int n), constructed(int n), twice(int n), sum(int n), size(int n), motto(int n), prime(int n),
	pair(void);
int a_add(int n), b_add(int n);
