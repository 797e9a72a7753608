#include "../shop.h"

static int total = 2000;

static int helper(int n)
{
#ifdef NEW
	return n * 3;
#else
	return n * 2;
#endif
}

int b_util(int n)
{
	total += helper(n);
	return total;
}
