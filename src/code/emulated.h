/* emulated - whether the processor that the program runs on is a program itself (qemu-user, valgrind).
 *
 *     the kernel sees:    emulator's registers and stack, the program's memory as data
 *     the program sees:   its own registers, its own code, which is translated when it is executed
 *
 * Then what /proc tells of a thread's registers is the emulator's, and code that is written through the kernel may have
 * been translated already: it must be written as the program's own stores, which emulators look out for.
 */
#ifndef HP_CODE_EMULATED_H
#define HP_CODE_EMULATED_H

#include <stdbool.h>

/* Async-signal-safe after the first call. */
bool hp_emulated(void);

#endif
