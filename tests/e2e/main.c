/* main - reads "NAME NUMBER" and prints what the function NAME returns, and what it said. */
#include <stdio.h>
#include <string.h>

#include "shop.h"

static const struct {
	const char *name;
	int (*call)(int n);
} functions[] = {
	{"statics", shop_statics},
	{"text", shop_text},
	{"choose", shop_choose},
	{"ops", shop_ops},
	{"threads", shop_threads},
	{"wait", shop_wait},
	{"many", shop_many},
	{"a", a_util},
	{"b", b_util},
	{"rate", lib_rate},
	{"calls", lib_calls},
};

int main(void)
{
	char line[100], name[100];
	int n;

	while (fgets(line, sizeof(line), stdin)) {
		if (sscanf(line, "%99s %d", name, &n) != 2)
			continue;
		for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++)
			if (strcmp(functions[i].name, name) == 0) {
				shop_said = "";
				int result = functions[i].call(n);
				printf("%d%s%s\n", result, *shop_said ? " " : "", shop_said);
				fflush(stdout);
			}
	}
}
