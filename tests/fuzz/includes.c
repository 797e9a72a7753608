/* includes - a rule for make, as compilers write it, and the names in it.
 *
 *     scripts/fuzz includes 600
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "watch/includes.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	char *rule = malloc(size + 1), *at = NULL;
	size_t sum = 0;

	memcpy(rule, bytes, size);
	rule[size] = '\0';
	for (const char *name; (name = hp_includes_next(rule, &at));) {
		sum += strlen(name);
		if (!*name || sum > size || at < rule || at > rule + size)
			abort();
	}
	free(rule);
	return 0;
}
