/* idle.c - the main function of programs that are looked at, not run. */
int main(void)
{
	return 0;
}
