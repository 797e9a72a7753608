/* main - reads "NAME NUMBER" from a pipe and answers into another what the function NAME returns; until the pipe ends.
 */
#include <stdio.h>
#include <string.h>

#include "shop.h"

static const struct {
	const char *name;
	int (*call)(int n);
} functions[] = {{"price", price}, {"count", count}, {"tax", tax}, {"total", total}, {"old", old}};

int main(int argc, char **argv)
{
	FILE *in = argc > 2 ? fopen(argv[1], "r") : NULL, *out = in ? fopen(argv[2], "w") : NULL;
	char line[100], name[100];
	int n;

	if (!out)
		return 1;
	while (fgets(line, sizeof(line), in)) {
		if (strcmp(line, "end\n") == 0)
			return 0;
		if (strcmp(line, "fail\n") == 0)
			return 3;
		if (sscanf(line, "%99s %d", name, &n) != 2)
			continue;
		for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++)
			if (strcmp(functions[i].name, name) == 0)
				fprintf(out, "%d\n", functions[i].call(n));
		fflush(out);
	}
	return 0;
}
