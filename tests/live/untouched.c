/* untouched - B20, B23: what a change must leave alone.
 *
 * In threads that run, and are therefore asked with a signal, in threads that are held at the gate, and in the thread
 * that makes the change: the red zone, errno, the rounding modes and the exception masks of SSE and x87, the vector
 * and x87 registers. In the process: page protections, descriptors, the standard streams. And
 * a program that rewrites its own text, in the very pages that hotpatch writes, still runs.
 *
 * build: quick=gcc-O2
 *
 * Seen to fail: with errno of a successful caller left at 0, and with descriptors kept open after a change.
 */
#include "check.h"
#include "maps.h"

#include <fenv.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum { OLD = 1, NEW = 2, ERRNO = 4711, MXCSR = 0xff80, CONTROL = 0x087f };

static volatile int old = OLD;
static sem_t inside;
static atomic_bool leave, stop;

HOTPATCHABLE int patched(int a)
{
	return a + old;
}

APART int fresh(int a)
{
	return a + NEW * old;
}

static void stay(void)
{
	give(&inside);
	while (!atomic_load_explicit(&leave, memory_order_relaxed))
		;
}

/* Keeps the gate closed while a thread runs in it. */
HOTPATCHABLE int hold(void)
{
	stay();
	return OLD;
}

APART int hold_fresh(void)
{
	stay();
	return NEW;
}

static void change(unsigned times)
{
	for (unsigned i = 0; i < times; i++) {
		CHECK_OK(hotpatch_fn(patched, fresh, .timeout_ms = 20000));
		CHECK_OK(hotpatch_restore(patched, .timeout_ms = 20000));
	}
}

/* -- The state of a thread's floating point environment ------------------------------------------------------ */

#if defined(__x86_64__)
struct environment {
	unsigned mxcsr;
	unsigned short control;
};

static struct environment environment_now(void)
{
	struct environment now;

	__asm__ volatile("stmxcsr %0" : "=m"(now.mxcsr));
	__asm__ volatile("fnstcw %0" : "=m"(now.control));
	now.mxcsr &= ~0x3fu; /* the sticky flags: any operation sets them */
	return now;
}

/* SSE rounds towards zero and flushes to zero; x87 rounds up, to single precision. */
static void set_environment(void)
{
	unsigned mxcsr = MXCSR;
	unsigned short control = CONTROL;

	__asm__ volatile("ldmxcsr %0" : : "m"(mxcsr));
	__asm__ volatile("fldcw %0" : : "m"(control));
	errno = ERRNO;
}

static void restore_environment(struct environment before)
{
	__asm__ volatile("ldmxcsr %0" : : "m"(before.mxcsr));
	__asm__ volatile("fldcw %0" : : "m"(before.control));
}

static bool environment_kept(void)
{
	struct environment now = environment_now();

	return now.mxcsr == MXCSR && now.control == CONTROL;
}
#elif defined(__aarch64__)
/* Rounding towards zero, flushing to zero. */
enum { FPCR = 3 << 22 | 1 << 24 };

struct environment {
	uint64_t control;
};

static struct environment environment_now(void)
{
	struct environment now;

	__asm__ volatile("mrs %0, fpcr" : "=r"(now.control));
	return now;
}

static void restore_environment(struct environment before)
{
	__asm__ volatile("msr fpcr, %0" : : "r"(before.control));
}

static void set_environment(void)
{
	restore_environment((struct environment){FPCR});
	errno = ERRNO;
}

static bool environment_kept(void)
{
	return environment_now().control == FPCR;
}
#endif

static void check_environment(const char *where)
{
	if (!environment_kept())
		FAIL("%s: the rounding modes or exception masks have changed", where);
	if (errno != ERRNO)
		FAIL("%s: errno is %d", where, errno);
}

/* -- A thread that runs -------------------------------------------------------------------------------------- */

/* A leaf with less than 128 bytes of locals keeps them below the stack pointer where it is optimised. */
APART unsigned leaf(unsigned seed)
{
	volatile unsigned words[24];

	for (unsigned i = 0; i < 24; i++)
		words[i] = seed + i;
	for (unsigned round = 0; round < 500; round++)
		for (unsigned i = 0; i < 24; i++)
			if (words[i] != seed + i)
				return i + 1;
	return 0;
}

#if defined(__x86_64__)
/* All sixteen vector registers and the x87 stack hold known values for a long while. */
APART int registers_kept(void)
{
	static const double pattern[2] = {1.0 / 3, 2.0 / 3};
	static double result[2];
	int lost = 0;

	__asm__ volatile("movupd %[pattern], %%xmm0\n\t"
	                 "movapd %%xmm0, %%xmm1\n\t movapd %%xmm0, %%xmm5\n\t movapd %%xmm0, %%xmm9\n\t"
	                 "movapd %%xmm0, %%xmm15\n\t"
	                 "fldpi\n\t fldl2e\n\t"
	                 "mov $20000, %%ecx\n"
	                 "1:\n\t"
	                 "dec %%ecx\n\t"
	                 "jnz 1b\n\t"
	                 "fstp %%st(0)\n\t fldpi\n\t fcompp\n\t fnstsw %%ax\n\t"
	                 "and $0x4000, %%eax\n\t xor $0x4000, %%eax\n\t mov %%eax, %[lost]\n\t"
	                 "cmpeqpd %%xmm0, %%xmm1\n\t cmpeqpd %%xmm0, %%xmm5\n\t cmpeqpd %%xmm0, %%xmm9\n\t"
	                 "cmpeqpd %%xmm0, %%xmm15\n\t"
	                 "andpd %%xmm5, %%xmm1\n\t andpd %%xmm9, %%xmm1\n\t andpd %%xmm15, %%xmm1\n\t"
	                 "movmskpd %%xmm1, %%eax\n\t xor $3, %%eax\n\t or %%eax, %[lost]\n\t"
	                 "movupd %%xmm0, %[result]"
	                 : [lost] "+m"(lost), [result] "=m"(result)
	                 : [pattern] "m"(pattern)
	                 : "eax", "ecx", "cc", "xmm0", "xmm1", "xmm5", "xmm9", "xmm15", "st", "st(1)", "st(2)");
	return lost == 0 && result[0] == pattern[0] && result[1] == pattern[1];
}
#elif defined(__aarch64__)
APART int registers_kept(void)
{
	static const uint64_t pattern[2] = {0x0123456789abcdef, 0xfedcba9876543210};
	uint64_t differ, low, high;

	__asm__ volatile("ldr q0, %[pattern]\n\t"
	                 "mov v1.16b, v0.16b\n\t mov v9.16b, v0.16b\n\t mov v31.16b, v0.16b\n\t"
	                 "mov w9, #20000\n"
	                 "1:\n\t"
	                 "subs w9, w9, #1\n\t"
	                 "b.ne 1b\n\t"
	                 "eor v1.16b, v1.16b, v0.16b\n\t eor v9.16b, v9.16b, v0.16b\n\t"
	                 "eor v31.16b, v31.16b, v0.16b\n\t"
	                 "orr v1.16b, v1.16b, v9.16b\n\t orr v1.16b, v1.16b, v31.16b\n\t"
	                 "umaxv b1, v1.16b\n\t umov %w[differ], v1.b[0]\n\t"
	                 "umov %[low], v0.d[0]\n\t umov %[high], v0.d[1]"
	                 : [differ] "=r"(differ), [low] "=r"(low), [high] "=r"(high)
	                 : [pattern] "Q"(pattern)
	                 : "w9", "cc", "v0", "v1", "v9", "v31");
	return (uint32_t)differ == 0 && low == pattern[0] && high == pattern[1];
}
#endif

static void *runs(void *arg)
{
	set_environment();
	for (unsigned seed = 1; !atomic_load_explicit(&stop, memory_order_relaxed); seed += 100) {
		unsigned r = leaf(seed);

		if (r != 0)
			FAIL("word %u below the stack pointer was overwritten", r - 1);
		if (!registers_kept())
			FAIL("a register of a running thread was changed");
		check_environment("a running thread");
	}
	return arg;
}

/* -- A thread that waits at the gate ------------------------------------------------------------------------- */

static void *holds(void *arg)
{
	hold();
	return arg;
}

static void *switch_over(void *arg)
{
	CHECK_OK(hotpatch_apply(arg, .timeout_ms = 60000, .stall_ms = 60000));
	return NULL;
}

static void *arrives(void *arg)
{
	int r;

	atomic_store((atomic_int *)arg, thread_id());
	set_environment();
	do {
		r = patched(0);
		check_environment("a thread that waited at the gate");
	} while (r == OLD);
	CHECK_INT(r, NEW);
	return NULL;
}

static void at_the_gate(void)
{
	struct hotpatch *patch = hotpatch_new("gate");
	pthread_t holder, arrival, changing;
	atomic_int id = 0;

	atomic_store(&leave, false);
	holder = thread_start(holds, NULL);
	CHECK_OK(hotpatch_replace(patch, patched, fresh));
	CHECK_OK(hotpatch_replace(patch, hold, hold_fresh));
	take(&inside);
	arrival = thread_start(arrives, &id);
	changing = thread_start(switch_over, patch);
	AWAIT(id != 0 && thread_state(id) == 'S');
	atomic_store(&leave, true);
	thread_join(holder);
	thread_join(changing);
	thread_join(arrival);
	CHECK_OK(hotpatch_revert(patch));
	CHECK_OK(hotpatch_free(patch));
}

/* -- The process --------------------------------------------------------------------------------------------- */

static int open_descriptors(void)
{
	int count = 0;

	for (int fd = 0; fd < 256; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

struct stream {
	dev_t device;
	ino_t inode;
	off_t size, position;
	int flags;
};

static struct stream stream_of(int fd)
{
	struct stream stream;
	struct stat st = {0};

	memset(&stream, 0, sizeof(stream));
	fstat(fd, &st);
	stream.device = st.st_dev;
	stream.inode = st.st_ino;
	stream.size = S_ISREG(st.st_mode) ? st.st_size : 0;
	stream.position = S_ISREG(st.st_mode) ? lseek(fd, 0, SEEK_CUR) : 0;
	stream.flags = fcntl(fd, F_GETFL);
	return stream;
}

static void process(void)
{
	struct stream before[3] = {stream_of(0), stream_of(1), stream_of(2)};
	struct maps *maps;
	int descriptors;

	change(1); /* what is loaded once for all stays */
	maps = maps_read();
	descriptors = open_descriptors();
	change(100);
	CHECK_OK(hotpatch_fn(patched, fresh));
	maps_check_files(maps, "while patched");
	CHECK_OK(hotpatch_restore(patched));
	maps_check_files(maps, "after the restore");
	CHECK_INT(open_descriptors(), descriptors);
	for (int fd = 0; fd < 3; fd++) {
		struct stream after = stream_of(fd);

		if (memcmp(&before[fd], &after, sizeof(after)) != 0)
			FAIL("descriptor %d is not as it was", fd);
	}
	maps_free(maps);
}

static void calling_thread(void)
{
	struct environment before = environment_now();

	set_environment();
	change(20);
	check_environment("the thread that makes the change");
	restore_environment(before);
}

/* -- A program that rewrites its own text -------------------------------------------------------------------- */

/* It returns a constant among its code: mov $0, %eax; ret, or what loads it there, among the marked functions; the
 * program writes the constant, which is aligned. */
int rewritten(void);
extern atomic_int rewritten_constant;
#if defined(__x86_64__)
__asm__(".pushsection hotpatchable,\"ax\",@progbits\n\t"
        ".balign 16\n\t.skip 7, 0x90\n\t"
        ".globl rewritten\n\t.type rewritten,@function\n"
        "rewritten:\n\t.cfi_startproc\n\t.byte 0xb8\n"
        ".globl rewritten_constant\n"
        "rewritten_constant:\n\t.long 0\n\tret\n\t.cfi_endproc\n\t"
        ".size rewritten, . - rewritten\n\t.popsection");
#elif defined(__aarch64__)
__asm__(".pushsection hotpatchable,\"ax\",@progbits\n\t"
        ".balign 16\n\t"
        ".globl rewritten\n\t.type rewritten,@function\n"
        "rewritten:\n\t.cfi_startproc\n\thint #34\n\tldr w0, .Lconstant\n\tret\n"
        ".globl rewritten_constant\n"
        "rewritten_constant:\n.Lconstant:\n\t.long 0\n\t.cfi_endproc\n\t"
        ".size rewritten, . - rewritten\n\t.popsection");
#endif

static void check_writable(char *page)
{
	struct maps *maps = maps_read();

	CHECK_STR(maps_permissions(maps, page), "rwxp");
	maps_free(maps);
}

/* ThreadSanitizer keeps no shadow of text. */
__attribute__((no_sanitize("thread"))) static void rewrites_itself(void)
{
	size_t size = (size_t)sysconf(_SC_PAGESIZE);
	char *page = (char *)((uintptr_t)&rewritten_constant & ~(size - 1));

	CHECK(mprotect(page, size, PROT_READ | PROT_WRITE | PROT_EXEC) == 0);
	for (int i = 1; i <= 200; i++) {
		atomic_store(&rewritten_constant, i);
		change(1);
		CHECK_INT(rewritten(), i);
		CHECK_INT(patched(0), OLD);
	}
	check_writable(page);
	CHECK_OK(hotpatch_fn(patched, fresh));
	atomic_store(&rewritten_constant, 1000);
	check_writable(page);
	CHECK_INT(rewritten(), 1000);
	CHECK_INT(patched(0), NEW);
	CHECK_OK(hotpatch_restore(patched));
	CHECK(mprotect(page, size, PROT_READ | PROT_EXEC) == 0);
}

int main(void)
{
	pthread_t running;

	deadline(60);
	sem_init(&inside, 0, 0);
	calling_thread();
	running = thread_start(runs, NULL);
	process();
	change(500);
	for (int i = 0; i < 10; i++)
		at_the_gate();
	atomic_store(&stop, true);
	thread_join(running);
	rewrites_itself();
	return 0;
}
