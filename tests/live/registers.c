/* registers - B20: no register of a thread is another after 1,000 applications of a patch.
 *
 * build: machine=x86_64 quick=gcc-O2 limit=120
 *
 * The patch is applied and reverted while one thread keeps known values in all vector registers (as wide as the
 * processor has them), on the whole x87 stack, in mxcsr and the x87 control word, in the mask registers and in those
 * general registers that a system call preserves. Another does the same, but sleeps in a system call. A third one calls
 * the functions that change all the time: through the gate, through a jump that was just written, through the
 * breakpoint at the entry of a function that was not prepared; it must find rounding modes and exception masks as they
 * were. (What arguments hold is the matter of arguments.c.) REGISTERS_CHANGES for more.
 *
 * Seen to fail: with a handler of the question that uses the vector registers and gives the interrupted ones other
 * values (its frame's copy changed).
 */
#include "check.h"

enum { ZMM = 32, MXCSR = 0xff80, CONTROL = 0x087f };

static volatile int old = 1;

HOTPATCHABLE int patched(int a)
{
	return a + old;
}

APART int fresh(int a)
{
	return a + 2 * old;
}

APART int plain(int a)
{
	return a * 3 + old;
}

APART int plain_fresh(int a)
{
	return a * 3 + 2 * old;
}

/* -- What a thread holds ------------------------------------------------------------------------------------------ */

struct state {
	uint8_t vectors[ZMM][64];
	uint64_t masks[8]; /* k1 to k7 */
	uint64_t general[8];
	uint8_t x87[8][16];
	uint32_t mxcsr, spins;
	uint16_t control, x87_status;
} __attribute__((aligned(64)));

static const uint32_t standard = 0x1f80; /* what mxcsr holds in a program that never touches it */

/* What is done while the registers are held: `spins` rounds of a loop, or a sleep in poll(NULL, 0, 1) if 0. rbx, rbp
 * and r12 to r15 are held too; r8 to r10 as well, which neither a loop nor a system call touches. */
#define HOLD_BEGIN                                                                                                     \
	"add $-128, %%rsp\n\tpush %%rbp\n\tpush %%rbx\n\t" /* behind the red zone */                                   \
	"push %%rdi\n\t"                                                                                               \
	"ldmxcsr %c[mxcsr](%%rsi)\n\tfninit\n\tfldcw %c[control](%%rsi)\n\t"                                           \
	"fldt %c[x87]+0(%%rsi)\n\tfldt %c[x87]+16(%%rsi)\n\tfldt %c[x87]+32(%%rsi)\n\tfldt %c[x87]+48(%%rsi)\n\t"      \
	"fldt %c[x87]+64(%%rsi)\n\tfldt %c[x87]+80(%%rsi)\n\tfldt %c[x87]+96(%%rsi)\n\tfldt %c[x87]+112(%%rsi)\n\t"    \
	"mov %c[general]+0(%%rsi), %%rbx\n\tmov %c[general]+8(%%rsi), %%rbp\n\tmov %c[general]+16(%%rsi), %%r12\n\t"   \
	"mov %c[general]+24(%%rsi), %%r13\n\tmov %c[general]+32(%%rsi), %%r14\n\tmov %c[general]+40(%%rsi), %%r15\n\t" \
	"mov %c[general]+48(%%rsi), %%r8\n\tmov %c[general]+56(%%rsi), %%r9\n\t"
#define HOLD_WAIT                                                                                                      \
	"mov %c[spins](%%rsi), %%ecx\n\ttest %%ecx, %%ecx\n\tjz 2f\n"                                                  \
	"1:\tdec %%ecx\n\tjnz 1b\n\tjmp 3f\n"                                                                          \
	"2:\tmov $7, %%eax\n\txor %%edi, %%edi\n\txor %%esi, %%esi\n\tmov $1, %%edx\n\tsyscall\n" /* poll(2) */        \
	"3:\tpop %%rdi\n\t"
#define HOLD_END                                                                                                        \
	"mov %%rbx, %c[general]+0(%%rdi)\n\tmov %%rbp, %c[general]+8(%%rdi)\n\tmov %%r12, %c[general]+16(%%rdi)\n\t"    \
	"mov %%r13, %c[general]+24(%%rdi)\n\tmov %%r14, %c[general]+32(%%rdi)\n\tmov %%r15, %c[general]+40(%%rdi)\n\t"  \
	"mov %%r8, %c[general]+48(%%rdi)\n\tmov %%r9, %c[general]+56(%%rdi)\n\t"                                        \
	"stmxcsr %c[mxcsr](%%rdi)\n\tfnstcw %c[control](%%rdi)\n\tfnstsw %c[status](%%rdi)\n\t"                         \
	"fstpt %c[x87]+112(%%rdi)\n\tfstpt %c[x87]+96(%%rdi)\n\tfstpt %c[x87]+80(%%rdi)\n\tfstpt %c[x87]+64(%%rdi)\n\t" \
	"fstpt %c[x87]+48(%%rdi)\n\tfstpt %c[x87]+32(%%rdi)\n\tfstpt %c[x87]+16(%%rdi)\n\tfstpt %c[x87]+0(%%rdi)\n\t"   \
	"fninit\n\tpop %%rbx\n\tpop %%rbp\n\tsub $-128, %%rsp\n\tldmxcsr %[standard]\n\t"

#define OFFSET(member) [member] "i"(offsetof(struct state, member))
#define HOLD(load, store)                                                                                              \
	__asm__ volatile(HOLD_BEGIN load HOLD_WAIT store HOLD_END                                                      \
	                 : "+S"(in), "+D"(out)                                                                         \
	                 : [standard] "m"(standard), OFFSET(mxcsr), OFFSET(control), OFFSET(x87), OFFSET(general),     \
	                   OFFSET(spins), [status] "i"(offsetof(struct state, x87_status)),                            \
	                   [vectors] "i"(offsetof(struct state, vectors)), [masks] "i"(offsetof(struct state, masks))  \
	                 : "rax", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc",  \
	                   "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",    \
	                   "xmm11", "xmm12", "xmm13", "xmm14", "xmm15")

#define EACH(macro)                                                                                                    \
	macro(0) macro(1) macro(2) macro(3) macro(4) macro(5) macro(6) macro(7) macro(8) macro(9) macro(10) macro(11)  \
		macro(12) macro(13) macro(14) macro(15)
#define EACH_UPPER(macro)                                                                                              \
	macro(16) macro(17) macro(18) macro(19) macro(20) macro(21) macro(22) macro(23) macro(24) macro(25) macro(26)  \
		macro(27) macro(28) macro(29) macro(30) macro(31)
#define EACH_MASK(macro) macro(1) macro(2) macro(3) macro(4) macro(5) macro(6) macro(7)

#define LOAD_X(n) "movups %c[vectors]+64*" #n "(%%rsi), %%xmm" #n "\n\t"
#define STORE_X(n) "movups %%xmm" #n ", %c[vectors]+64*" #n "(%%rdi)\n\t"
#define LOAD_Y(n) "vmovups %c[vectors]+64*" #n "(%%rsi), %%ymm" #n "\n\t"
#define STORE_Y(n) "vmovups %%ymm" #n ", %c[vectors]+64*" #n "(%%rdi)\n\t"
#define LOAD_Z(n) "vmovups %c[vectors]+64*" #n "(%%rsi), %%zmm" #n "\n\t"
#define STORE_Z(n) "vmovups %%zmm" #n ", %c[vectors]+64*" #n "(%%rdi)\n\t"
#define LOAD_K(n) "kmovw %c[masks]+8*" #n "(%%rsi), %%k" #n "\n\t"
#define STORE_K(n) "kmovw %%k" #n ", %c[masks]+8*" #n "(%%rdi)\n\t"

APART void hold_sse(const struct state *in, struct state *out)
{
	HOLD(EACH(LOAD_X), EACH(STORE_X));
}

__attribute__((target("avx"))) APART void hold_avx(const struct state *in, struct state *out)
{
	HOLD(EACH(LOAD_Y), EACH(STORE_Y) "vzeroupper\n\t");
}

__attribute__((target("avx512f"))) APART void hold_avx512(const struct state *in, struct state *out)
{
	HOLD(EACH(LOAD_Z) EACH_UPPER(LOAD_Z) EACH_MASK(LOAD_K),
	     EACH(STORE_Z) EACH_UPPER(STORE_Z) EACH_MASK(STORE_K) "vzeroupper\n\t");
}

static struct kind {
	const char *name;
	void (*hold)(const struct state *in, struct state *out);
	size_t vectors, bytes;
	bool masks;
} kind = {"SSE", hold_sse, 16, 16, false};

static void choose_kind(void)
{
	__builtin_cpu_init();
	if (__builtin_cpu_supports("avx"))
		kind = (struct kind){"AVX", hold_avx, 16, 32, false};
	if (__builtin_cpu_supports("avx512f"))
		kind = (struct kind){"AVX-512", hold_avx512, 32, 64, true};
}

static void state_fill(struct state *state, unsigned seed, uint32_t spins)
{
	memset(state, 0, sizeof(*state));
	for (size_t i = 0; i < kind.vectors; i++)
		for (size_t k = 0; k < kind.bytes; k++)
			state->vectors[i][k] = (uint8_t)(seed + 37 * i + 11 * k);
	for (size_t i = 1; i < 8 && kind.masks; i++)
		state->masks[i] = (uint16_t)(0x1111u * i + seed);
	for (size_t i = 0; i < 8; i++) {
		long double number = (long double)(seed + i) / 3;

		memcpy(state->x87[i], &number, 10);
		state->general[i] = 0x0101010101010101u * (i + 1) + seed;
	}
	state->mxcsr = MXCSR;
	state->control = CONTROL;
	state->spins = spins;
}

static void state_check(const struct state *in, const struct state *out, const char *where)
{
	for (size_t i = 0; i < kind.vectors; i++)
		if (memcmp(in->vectors[i], out->vectors[i], kind.bytes) != 0)
			FAIL("%s: vector register %zu (%s) has changed", where, i, kind.name);
	for (size_t i = 1; i < 8 && kind.masks; i++)
		if (in->masks[i] != out->masks[i])
			FAIL("%s: mask register %zu has changed", where, i);
	for (size_t i = 0; i < 8; i++) {
		if (in->general[i] != out->general[i])
			FAIL("%s: general register %zu of those held has changed", where, i);
		if (memcmp(in->x87[i], out->x87[i], 10) != 0)
			FAIL("%s: x87 register %zu has changed", where, i);
	}
	if ((out->mxcsr & ~0x3fu) != MXCSR || out->control != CONTROL)
		FAIL("%s: mxcsr is %x and the x87 control word %x", where, out->mxcsr, out->control);
}

/* -- Threads that hold ----------------------------------------------------------------------------------------------
 */

static atomic_bool stop;
static atomic_ulong held[2];

/* `spins`: 0 for the thread that sleeps. */
static void *holds(void *arg)
{
	uint32_t spins = (uint32_t)(uintptr_t)arg;
	struct state *in = aligned_alloc(64, sizeof(*in)), *out = aligned_alloc(64, sizeof(*out));

	CHECK(in != NULL && out != NULL);
	for (unsigned seed = 1; !atomic_load(&stop); seed++) {
		state_fill(in, seed, spins);
		memset(out, 0, sizeof(*out));
		kind.hold(in, out);
		state_check(in, out, spins != 0 ? "a running thread" : "a sleeping thread");
		atomic_fetch_add(&held[spins != 0], 1);
	}
	free(in);
	free(out);
	return NULL;
}

/* A call preserves rounding modes and exception masks (psABI, section 3.2.1). */
static void *calls(void *arg)
{
	uint32_t mxcsr = MXCSR;
	uint16_t control = CONTROL;

	__asm__ volatile("ldmxcsr %0\n\tfldcw %1" : : "m"(mxcsr), "m"(control));
	while (!atomic_load(&stop)) {
		int first = patched(1), second = plain(1);

		CHECK((first == 2 || first == 3) && (second == 4 || second == 5));
		__asm__ volatile("stmxcsr %0\n\tfnstcw %1" : "=m"(mxcsr), "=m"(control));
		if ((mxcsr & ~0x3fu) != MXCSR || control != CONTROL)
			FAIL("a caller: mxcsr is %x and the x87 control word %x", mxcsr, control);
	}
	return arg;
}

int main(void)
{
	unsigned changes = setting("REGISTERS_CHANGES", OFTEN(1000));
	struct hotpatch *patch = hotpatch_new("registers");
	pthread_t threads[3];

	deadline(100 + changes / 50);
	choose_kind();
	CHECK_OK(hotpatch_replace(patch, patched, fresh));
	threads[0] = thread_start(holds, (void *)20000);
	threads[1] = thread_start(holds, NULL);
	threads[2] = thread_start(calls, NULL);
	for (unsigned i = 0; i < changes; i++) {
		CHECK_OK(hotpatch_apply(patch, .timeout_ms = 60000));
		CHECK_OK(hotpatch_revert(patch, .timeout_ms = 60000));
		if (i % 20 == 0 && can_change_unprepared()) {
			CHECK_OK(hotpatch_fn(plain, plain_fresh, .unprepared = true, .timeout_ms = 60000));
			CHECK_OK(hotpatch_restore(plain, .timeout_ms = 60000));
		}
	}
	AWAIT(held[0] > 10 && held[1] > 10);
	atomic_store(&stop, true);
	for (int i = 0; i < 3; i++)
		thread_join(threads[i]);
	printf("%s: held %lu times running, %lu times asleep\n", kind.name, held[1], held[0]);
	CHECK_OK(hotpatch_free(patch));
	return 0;
}
