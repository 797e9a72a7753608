/* step - what worked.c calls. With NEW defined, the new definitions. */
#ifndef NEW
#define NEW 0
#endif

int step(int n);
double step_double(double a, double b);

int step(int n)
{
	return n + 1 + NEW;
}

double step_double(double a, double b)
{
	return a * b + NEW;
}
