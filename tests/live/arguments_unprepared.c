/* arguments_unprepared - B1, as arguments.c, for functions that were not prepared: the original is then called through
 * the copy of its first instructions.
 *
 * build: machine=x86_64 cflags=-Wno-override-init variants=gcc-O0,gcc-O2,clang-O0,clang-O2,gcc-O2-cet limit=180
 *
 * Seen to fail: with a copy whose relative operands are those of the original.
 */
#define UNPREPARED true
#include "arguments.c"
