int a_add(int n);

static int total = 1000;

static int add(int n)
{
	total += n;
	return total;
}

int a_add(int n)
{
	return add(n) + 0;
}
