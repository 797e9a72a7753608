/* barrier - makes every processor see new code.
 *
 *     bytes written --> barrier --> more bytes written, or the first caller sent there
 *
 * A processor may hold instructions that it fetched before they were changed, until it executes a serialising
 * instruction (Intel SDM vol. 3, 9.1.3; AMD APM vol. 2, 7.6.1). The kernel makes all of them do so by one system call
 * (membarrier(2), PRIVATE_EXPEDITED_SYNC_CORE, Linux 4.16). Where that is refused every thread is asked by signal, and
 * executes CPUID in the handler; also those that sleep, since SYSRET, by which they return, is not serialising, nor is
 * a switch between threads of one process (kernel, arch/x86/include/asm/sync_core.h). Their system calls are executed
 * again. A thread that blocks the signal cannot be made to, and is named.
 */
#ifndef HP_LIVE_BARRIER_H
#define HP_LIVE_BARRIER_H

#include "base/err.h"

/* When it returns 0, every thread of the process that runs on has executed a serialising instruction since. The caller
 * has the turn, and no question is open. HOTPATCH_ESYSTEM, with the threads that stand in the way. */
int hp_barrier_code(struct hp_err *err) HP_MUST_CHECK;

#endif
