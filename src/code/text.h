/* text - bytes into code, and bytes out of memory that may vanish.
 *
 * Program text is written through /proc/thread-self/mem, opened for the occasion (a descriptor kept across fork would
 * write into the parent); the kernel then writes private copies of pages that stay unwritable for the program, also
 * under PR_SET_MDWE and mseal. Where the kernel refuses that, the page is made writable and executable, written, and
 * given back the protection it had.
 *
 * Both name the calling thread, not the process: what is in /proc/self is the first thread's, and that may have exited.
 *
 * Memory of other threads is read by process_vm_readv, which answers short instead of faulting. Emulators, some of
 * which do not know that call, have other ways (emulated.h).
 */
#ifndef HP_CODE_TEXT_H
#define HP_CODE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/err.h"

struct hp_text {
	int fd; /* /proc/thread-self/mem, opened by the first write; -1 where it is refused: the other way remains */
	bool opened;
};

void hp_text_open(struct hp_text *text);
void hp_text_close(struct hp_text *text);

/* Writes n bytes; one byte is written at once, more may be seen torn by a thread that executes them. HOTPATCH_ETEXT
 * with the policy that stands in the way. */
int hp_text_write(struct hp_text *text, uintptr_t address, const void *bytes, size_t n,
                  struct hp_err *err) HP_MUST_CHECK;

/* All n bytes, or false. Async-signal-safe; errno stays. */
bool hp_memory_read(uintptr_t address, void *buffer, size_t n);
/* As many as can be had, from the first on. Async-signal-safe; errno stays. */
size_t hp_memory_read_some(uintptr_t address, void *buffer, size_t n);

/* All n bytes of code, or false: those of an image are simply there, and need no system call. */
bool hp_text_read(uintptr_t address, void *buffer, size_t n);

/* Several pieces, one behind the other into buffer, in one system call: at most HP_PIECES_MAX. The bytes read until the
 * first that cannot be had. Async-signal-safe; errno stays. */
enum { HP_PIECES_MAX = 64 };
size_t hp_memory_read_pieces(const struct iovec *pieces, size_t n, void *buffer);

/* True when every thread of the process that runs on has executed a serialising instruction since: no processor still
 * holds old code (membarrier(2), PRIVATE_EXPEDITED_SYNC_CORE). False where the kernel refuses; see live/barrier.h. */
bool hp_text_barrier(void);

#endif
