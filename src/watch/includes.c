#include "watch/includes.h"

#include <string.h>

/* The colon behind the target: one that white space follows. */
static char *find_names(char *rule)
{
	for (char *colon = strchr(rule, ':'); colon; colon = strchr(colon + 1, ':'))
		if (strchr(" \t\n", colon[1]))
			return colon + 1;
	return rule + strlen(rule);
}

static char *skip_space(char *from)
{
	for (;;) {
		from += strspn(from, " \t\n");
		if (from[0] != '\\' || from[1] != '\n')
			return from;
		from += 2;
	}
}

/* Compilers write a space as "\ ", a dollar as "$$", and a hash as "\#". */
char *hp_includes_next(char *rule, char **at)
{
	char *from = skip_space(*at ? *at : find_names(rule)), *name = from, *to = from;

	for (; *from && !strchr(" \t\n", *from); from++) {
		if ((from[0] == '\\' && (from[1] == ' ' || from[1] == '#')) || (from[0] == '$' && from[1] == '$'))
			from++;
		*to++ = *from;
	}
	*at = *from ? from + 1 : from;
	*to = '\0';
	return to > name ? name : NULL;
}
