/* badinput.libB - marks nothing. */
extern int target(int a);

int target(int a)
{
	return a + 2;
}
