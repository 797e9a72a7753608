/* object - bytes of a relocatable object, taken apart and compared with itself. Corpus: any .o.
 *
 *     scripts/fuzz object 600
 */
#include <stdlib.h>
#include <unistd.h>

#include "make/diff.h"
#include "make/spoken.h"
#include "memory_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct hp_atoms *old_atoms = NULL, *new_atoms = NULL;
	struct hp_diff *diff = NULL;
	struct hp_err err;
	char path[MEMORY_FILE_PATH];
	int fd = memory_file(bytes, size, path);

	if (hp_atoms_read(path, NULL, &old_atoms, &err) == 0 && hp_atoms_read(path, old_atoms, &new_atoms, &err) == 0 &&
	    hp_diff_make(old_atoms, new_atoms, &diff, &err) == 0) {
		for (size_t i = 0; i < new_atoms->count; i++)
			hp_atom_describe(new_atoms, &new_atoms->items[i]);
		hp_diff_free(diff);
	} else if (!new_atoms) {
		hp_atoms_free(old_atoms);
	}
	close(fd);
	return 0;
}
