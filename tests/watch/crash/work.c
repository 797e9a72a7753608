#include <assert.h>
#include <stdlib.h>
#include <string.h>

int work(int n);
int idle(int n);

static int deeper(int n)
{
	return n + 1;
}

int work(int n)
{
	static int calls;
	calls++;
	return deeper(n) + 10;
}

int idle(int n)
{
	static int calls;
	calls++;
	return n;
}
