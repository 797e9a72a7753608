int old(int n)
{
	return n * 10 - n / 3;
}
