/* named - a unified diff, and the files it names: each is below the root, whatever its name says.
 *
 *     scripts/fuzz named 600
 *
 * The first byte chooses how many leading parts of names are left out.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cli/named.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static const char root[] = "/w/src";
	struct hp_named named;
	struct hp_err err;

	if (!size)
		return 0;
	char *text = strndup((const char *)bytes + 1, size - 1);
	(void)!hp_named_read(text, root, bytes[0] % 4, &named, &err);
	for (size_t i = 0; i < named.n; i++) {
		if (strncmp(named.v[i], "/w/src/", 7) != 0 || strstr(named.v[i], "/../") || strstr(named.v[i], "//"))
			abort();
		for (size_t k = 0; k < i; k++)
			if (strcmp(named.v[i], named.v[k]) == 0)
				abort();
	}
	hp_named_free(&named);
	free(text);
	return 0;
}
