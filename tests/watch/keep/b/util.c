int b_add(int n);

static int total = 2000;

static int add(int n)
{
	total += n;
	return total;
}

int b_add(int n)
{
	return add(n) + 0;
}
