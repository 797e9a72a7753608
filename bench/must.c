#include "must.h"

#include <stdio.h>
#include <stdlib.h>

#include "hotpatch.h"

void must(bool done, const char *what)
{
	if (done)
		return;
	fprintf(stderr, "bench: %s: ", what);
	perror("");
	exit(1);
}

void must_patch(int code)
{
	if (code == 0)
		return;
	fprintf(stderr, "bench: %s\n", hotpatch_error()->message);
	exit(1);
}
