/* loaded - the shared libraries that the runtime has loaded itself, and who needs them.
 *
 *     dlopen --> entry: the library, and the images that came with it --hold, release--> nobody needs it --> dlclose
 *
 * A definition holds the library that its code lies in. A library that nobody holds may be unloaded once nothing else
 * refers to it either, which live/proof.h finds out. The dynamic linker itself keeps words that point into every
 * image; linker.h tells them from others.
 *
 * Protected by the registry (session.h), but for the count of holds, which goes down without it.
 */
#ifndef HP_BASE_LOADED_H
#define HP_BASE_LOADED_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "base/err.h"
#include "base/memory.h"

struct link_map;

enum { HP_IMAGES_MAX = 16 };

struct hp_loaded {
	struct hp_loaded *next;
	char *path; /* absolute */
	dev_t device;
	ino_t inode;
	struct timespec modified;
	off_t size;
	void *handle;   /* NULL: given back, but the dynamic linker has kept it */
	unsigned opens; /* how often it was opened, so has to be closed */
	_Atomic unsigned holds;
	bool has_thread_locals;
	struct {
		uintptr_t bias;
		struct hp_span range; /* whole pages */
		const struct link_map *map;
	} images[HP_IMAGES_MAX]; /* the library, then those that were loaded with it */
	size_t n_images;
};

/* Loads the file, or finds it loaded if it has not changed since. `name` is for sentences. HOTPATCH_ENOFILE, ELOAD. */
int hp_loaded_open(const char *path, const char *name, struct hp_loaded **ret_loaded, struct hp_err *err) HP_MUST_CHECK;

/* The library that the address lies in, or NULL; whether it is the first address of one. */
struct hp_loaded *hp_loaded_at(uintptr_t address);
bool hp_loaded_is_bias(uintptr_t bias);

/* The same, held: it is not unloaded until it is released. NULL is nothing to release. */
struct hp_loaded *hp_loaded_hold(uintptr_t address);
void hp_loaded_release(struct hp_loaded *loaded);

struct hp_loaded *hp_loaded_first(void);

/* Whether its images are still mapped. */
bool hp_loaded_is_mapped(const struct hp_loaded *loaded);

/* Takes it off the list, or puts it back. */
void hp_loaded_unlist(struct hp_loaded *loaded);
void hp_loaded_list(struct hp_loaded *loaded);

/* Closes the library, which runs its destructors: no lock may be held. */
void hp_loaded_close(struct hp_loaded *loaded);
void hp_loaded_free(struct hp_loaded *loaded);

/* Keeps the next libraries from where this one was. After it has been unmapped. */
void hp_loaded_reserve(const struct hp_loaded *loaded);

/* How much of the dynamic linker's memory the description is the beginning of. */
size_t hp_loaded_map_size(const struct link_map *map);

#endif
