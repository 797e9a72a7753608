/* exceptions_unprepared - B9, as exceptions.cc, through functions that were not prepared and the copies of their first
 * instructions.
 *
 * build: limit=180
 *
 * Seen to fail: with calls in copies that push a return address of the copy, of which no unwinder knows.
 */
/* Room behind the C library's start code, which has no unwind tables and in which `jmp *%rax` may be misread as a loop
 * into what lies 100 bytes on. */
__asm__(".text\n.skip 160, 0xcc");

#define BARE
#define UNPREPARED true
#include "exceptions.cc"
