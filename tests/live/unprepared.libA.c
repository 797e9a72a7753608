/* A library without symbols, whose functions go on elsewhere by a jump: in a function that may as well be a part of it,
 * and through a pointer, so that it cannot be seen where.
 *
 * build: cflags=-O2 ldflags=-Wl,-s
 */
#if defined(__clang__)
#define APART __attribute__((noinline))
#else
#define APART __attribute__((noipa))
#endif

long tail(long a, long b);
long by_pointer(long a, long b);
long (*volatile pointer)(long, long);

APART static long helper(long a, long b)
{
	return a * 3 + b;
}

APART long tail(long a, long b)
{
	if (a > 100)
		return b;
	return helper(a + 1, b);
}

APART long by_pointer(long a, long b)
{
	return pointer(a + 1, b);
}
