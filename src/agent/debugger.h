/* debugger - GDB's interface for code that was made at run time (GDB manual, "JIT Compilation Interface"): a chain of
 * ELF files in memory, and a function in which the debugger stops when the chain has changed.
 *
 * Both symbols are this library's own, not exported: a debugger looks for them in every image, and the program's own
 * compilers must not find ours in the place of theirs. perf finds names in /tmp/perf-PID.map (kernel,
 * tools/perf/Documentation/jit-interface.txt).
 */
#ifndef HP_AGENT_DEBUGGER_H
#define HP_AGENT_DEBUGGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mapped.h"

struct hp_debugger_entry;

/* The ELF file at `symfile` stays as it is until the entry is removed. NULL: no memory. */
struct hp_debugger_entry *hp_debugger_add(const void *symfile, size_t size);
void hp_debugger_remove(struct hp_debugger_entry *entry); /* NULL is nothing */

/* Writes the names behind what is in the map. Names of code that has gone stay there: perf takes the last. */
bool hp_perf_map_add(const struct hp_linked *linked);

#endif
