/* libshop - the shared object of the program. */
static int rate = 5;
static __thread int calls_here;
static int calls;

static int count(int n)
{
	calls_here++;
#ifdef NEW
	return calls += 2 * n;
#else
	return calls += n;
#endif
}

int lib_rate(int n)
{
#ifdef NEW
	static const int steps[] = {1, 10, 100, 1000};
	return rate * n + steps[n % 4];
#else
	return rate * n;
#endif
}

int lib_calls(int n)
{
#ifdef NEW
	rate++;
#else
	rate += n / 1000; /* or the compiler would take it for a constant */
#endif
	return count(n) * 10 + calls_here;
}
