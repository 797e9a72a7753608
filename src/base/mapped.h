/* mapped - the images of this process: what is loaded where, and who unwinds it. Code that was linked in memory (object
 * patches) is an image too: it has no file, but the segments, unwind table and names that were given with it.
 *
 * A list is a snapshot: made while nobody is held, then only read, also by signal handlers and by callers at the gate.
 * A new one is published whole; who replaced it hands the old one to whoever knows when its last reader has gone.
 */
#ifndef HP_BASE_MAPPED_H
#define HP_BASE_MAPPED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cfi.h"
#include "base/err.h"
#include "base/memory.h"
#include "base/readers.h"

enum { HP_SEGMENTS_MAX = 12 };

struct hp_segment {
	uintptr_t low, high; /* [low, high) */
	uint32_t flags;      /* PF_R, PF_W, PF_X */
};

struct hp_mapped {
	char *path;       /* to open: for the program "/proc/thread-self/exe", if it is that */
	const char *name; /* to say: the file's name without its folder */
	uintptr_t bias;   /* address here = address in the file + bias */
	uintptr_t low, high;
	struct hp_segment segments[HP_SEGMENTS_MAX];
	size_t n_segments;
	struct hp_cfi cfi;
	const uint8_t *build_id; /* in the mapped image; NULL where there is none */
	size_t build_id_size;
	uint64_t tls_module; /* the dynamic linker's number; 0: no thread-locals */
	uintptr_t tls_size;  /* bytes in each thread */
	size_t thread_size;  /* the same with what their alignment may take */
	bool is_program;
	bool pinned;                    /* will not be unloaded */
	const struct hp_linked *linked; /* NULL: loaded from a file */
};

/* Code that was linked in memory. Belongs to whoever adds it, and stays as it is until hp_mapped_remove and the
 * retirement of the list that was made next; its memory stays mapped as long. */
struct hp_linked {
	struct hp_linked *next; /* the list's */
	char *label;            /* the image's name */
	uintptr_t low, high;
	struct hp_segment segments[HP_SEGMENTS_MAX];
	size_t n_segments;
	const uint8_t *eh_frame, *eh_frame_end; /* NULL: it cannot be unwound */
	struct hp_linked_name {
		uintptr_t low, high;
		char *name;
	} * names; /* sorted by low */
	size_t n_names;
};

struct hp_mapped_list {
	struct hp_retired retired;
	struct hp_mapped *images; /* sorted by low */
	size_t n;
	size_t thread_size;            /* of all images together */
	unsigned long long adds, subs; /* the dynamic linker's counts when the snapshot was made */
	unsigned long long links;      /* and ours, of linked code */
};

/* Makes a new snapshot if something was loaded or unloaded. One caller at a time. *ret_old is the list that was
 * replaced, to be given to hp_mapped_free once nobody reads it, or NULL. */
int hp_mapped_refresh(struct hp_mapped_list **ret_old, struct hp_err *err) HP_MUST_CHECK;
void hp_mapped_free(void *list);

/* Has the next snapshots hold the linked code, or not any more. One caller at a time, with hp_mapped_refresh. */
void hp_mapped_add(struct hp_linked *linked);
void hp_mapped_remove(struct hp_linked *linked);

/* The name of the linked code's function at address, or NULL. Async-signal-safe. */
const struct hp_linked_name *hp_linked_name_at(const struct hp_linked *linked, uintptr_t address);

/* From the next refresh on, images that begin in one of the ranges are not listed: they are about to be unloaded. The
 * array is kept until another takes its place; n 0: none. That refresh makes a new snapshot whatever has happened. */
void hp_mapped_hide(const struct hp_span *ranges, size_t n);

/* The memory of the snapshot in force, whose addresses are nobody's need for an image. */
struct hp_span hp_mapped_memory(void);

/* The images that were there at the last refresh. Async-signal-safe, like all below. */
const struct hp_mapped *hp_mapped_find(uintptr_t address); /* NULL where none is */
bool hp_mapped_is_code(const struct hp_mapped *image, uintptr_t address);
bool hp_mapped_is_text(uintptr_t address, size_t n);                /* n bytes of an image's code that may be read */
bool hp_mapped_function(uintptr_t address, struct hp_fde *ret_fde); /* the entry of .eh_frame that covers it */

/* How much of each thread's memory the variables of all images may take. */
size_t hp_mapped_thread_size(void);

/* Another number after images were loaded or unloaded, as of the last refresh. */
uint64_t hp_mapped_generation(void);

/* How many images the dynamic linker had loaded at the last refresh, those that have gone counted. */
uint64_t hp_mapped_loads(void);

/* Keeps the image that holds the address mapped for good, whatever dlclose is asked for. Takes the dynamic linker's
 * lock. */
void hp_mapped_pin(uintptr_t address);

/* Whether the program has no dynamic linker: it cannot load anything, even if its libc brings a dlopen along. */
bool hp_mapped_is_static(void);

/* Calls each for every image until it returns non-zero, which is returned. Not for handlers. */
int hp_mapped_each(int (*each)(const struct hp_mapped *image, void *arg), void *arg);

#endif
