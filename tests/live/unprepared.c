/* unprepared - functions that were not prepared: a jump is written over their first instructions while they are called.
 *
 * Each kind of instruction that may lie under the jump, once where only its first byte is written and once where a
 * breakpoint makes way for it, and every reason to refuse; functions of libc; a program's own SIGTRAP handler; and two
 * threads that call while the entry is redirected and restored again and again: not one wrong result, and the text as
 * it was. HP_CYCLES in the environment says how often (make check-long: 200,000).
 *
 * Seen to fail: with the four tail bytes written before nobody was in them (crash after some hundred cycles of
 * `hammered`); without the look at SIGTRAP (the process ends in `blocks_trap`); with the program's action not called
 * (`own_handler`); with the point of a pushed return address taken for the function's own (`hammered`, which then waits
 * for ever); without check_function's to_entry (`loop_to_entry` gives the new body's value); without hp_targets_lead
 * (`jumped_into` is accepted); without makes_own_address (`labels_to_entry` is accepted); without has_lasting_bytes
 * (`tight` is accepted).
 *
 * build: machine=x86_64
 * build: ldflags=-Wl,-z,now limit=120
 */
#include "check.h"

#include <dlfcn.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

/* -- Functions whose first instructions are known to the byte ---------------------------------------------------- */

/* Each twice: of `name` only the first byte is written, since the place where the four behind it lead is free; of
 * b_name it is occupied, so that a breakpoint is needed. The second ones lie apart, so that their places do. 9: is the
 * entry. */
#define ONE(section, name, body)                                                                                       \
	__asm__(".pushsection " section ",\"ax\",@progbits\n.p2align 4\n.globl " #name "\n.type " #name                \
	        ", @function\n" #name ":\n9:\n.cfi_startproc\n" body "\n.cfi_endproc\n.size " #name ", . - " #name     \
	        "\n.popsection\n");                                                                                    \
	long name(long a, long b);
#define FUNCTION(name, body) ONE(".text", name, body) ONE("btext", b_##name, body)

__asm__(".pushsection btext,\"ax\",@progbits\n.skip 65536, 0xcc\n.popsection\n");

long a_word = 1000;
long callee(long a, long b);
APART long callee(long a, long b)
{
	return a + 2 * b;
}

FUNCTION(plain, "lea (%rdi,%rsi,2), %rax\nadd $1, %rax\nret")
FUNCTION(relative, "mov a_word(%rip), %rax\nadd %rdi, %rax\nret")
FUNCTION(relative_and_constant, "cmpl $1000, a_word(%rip)\nmov %rdi, %rax\nje 1f\nxor %eax, %eax\n1: ret")
FUNCTION(branches, "test %rdi, %rdi\nje 1f\nmov $1, %eax\nret\n1: mov $2, %eax\nret")
FUNCTION(branches_far, "cmp $7, %dil\njne 1f\nmov $1, %eax\nret\n.skip 200, 0x90\n1: mov $2, %eax\nret")
FUNCTION(two_branches, "test %edi, %edi\nje 1f\njs 2f\nmov $1, %eax\nret\n1: mov $2, %eax\nret\n2: mov $3, %eax\nret")
FUNCTION(calls, "sub $8, %rsp\n.cfi_adjust_cfa_offset 8\ncall callee\nadd $8, %rsp\n.cfi_adjust_cfa_offset -8\n"
                "inc %rax\nret")
FUNCTION(calls_at_once, "call 1f\ninc %rax\nret\n1: lea (%rdi,%rsi), %rax\nret")
FUNCTION(jumps, "jmp callee\nud2")
FUNCTION(pushes, "push %rbp\n.cfi_adjust_cfa_offset 8\nmov %rsp, %rbp\nmov %rdi, %rax\npop %rbp\n"
                 ".cfi_adjust_cfa_offset -8\nret")
FUNCTION(behind_landing, "endbr64\nlea (%rdi,%rsi,4), %rax\ninc %rax\nret")

/* Which only a breakpoint cannot be written into. */
FUNCTION(ends_early, "xor %eax, %eax\nret\n.skip 8, 0x90")
FUNCTION(jumps_inside, "xor %eax, %eax\n1: inc %rax\ndec %rdi\njg 1b\nret\nnop\nnop")
FUNCTION(
	by_table,
	"xor %eax, %eax\n3: inc %rax\nlea 1f(%rip), %rdx\nmovslq (%rdx,%rdi,4), %rcx\nadd %rdx, %rcx\n"
	"xor %edi, %edi\nnotrack jmp *%rcx\n.pushsection .rodata\n.p2align 2\n1: .long 2f - 1b, 3b - 1b\n.popsection\n2: ret")
FUNCTION(jumped_into, "mov $5, %eax\nnop\nret")
FUNCTION(calls_by_register, "push %rbx\n.cfi_adjust_cfa_offset 8\ncall *%rsi\nmov %rax, %rbx\npop %rbx\n"
                            ".cfi_adjust_cfa_offset -8\nret")
ONE(".text", jumps_elsewhere, "cmp $0, %rdi\nje b_jumped_into + 3\nmov $6, %eax\nret")

FUNCTION(too_short, "mov %edi, %eax\nret")

/* Which are refused either way. Behind the first there is another function where there is filling elsewhere. */
__asm__(".pushsection .text,\"ax\",@progbits\n.p2align 4\n.globl tight\n.type tight, @function\ntight:\n.cfi_startproc\n"
        "mov %edi, %eax\nret\n.cfi_endproc\n.size tight, . - tight\n.type behind_tight, @function\nbehind_tight:\n"
        ".cfi_startproc\nmov $3, %eax\nret\n.cfi_endproc\n.size behind_tight, . - behind_tight\n.popsection\n");
long tight(long a, long b);
FUNCTION(loop_to_entry, "dec %rdi\njg 9b\nmov %rsi, %rax\nret")
ONE(".text", table_to_entry,
    "lea 1f(%rip), %rdx\nmovslq (%rdx,%rdi,4), %rcx\nadd %rdx, %rcx\nxor %edi, %edi\n"
    "notrack jmp *%rcx\n.pushsection .rodata\n.p2align 2\n1: .long 2f - 1b, 9b - 1b\n.popsection\n2: mov $1, %eax\nret")
/* As of `static const int to[] = {&&a - &&b}; goto *(&&b + to[i]);`: the table is not where its base is. */
ONE(".text", labels_to_entry,
    "lea 1f(%rip), %rdx\nmovslq (%rdx,%rdi,4), %rcx\nlea 2f(%rip), %rdx\nadd %rdx, %rcx\nxor %edi, %edi\n"
    "notrack jmp *%rcx\n.pushsection .rodata\n.p2align 2\n1: .long 0, 9b - 2f\n.popsection\n2: mov $1, %eax\nret")
FUNCTION(counts, "jrcxz 1f\nmov $1, %eax\nret\n1: mov $2, %eax\nret")
FUNCTION(in_use, "mov %rdi, %rax\nadd %rsi, %rax\nret")

/* The place where the four bytes behind the first lead, as a jump: something is there, or the first byte is E9 already.
 */
static void occupy(long (*function)(long, long))
{
	uintptr_t entry = (uintptr_t)function, page;
	int32_t offset;

	if (memcmp((const void *)entry, "\xf3\x0f\x1e\xfa", 4) == 0)
		entry += 4;
	memcpy(&offset, (const void *)(entry + 1), sizeof(offset));
	page = (entry + 5 + (uintptr_t)(intptr_t)offset) & ~(uintptr_t)4095;
	mmap((void *)page, 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | 0x100000 /* MAP_FIXED_NOREPLACE */, -1, 0);
}

APART long nine(long a, long b)
{
	return 9 + 0 * a + 0 * b;
}

APART long ten(long a, long b)
{
	return 10 + 0 * a + 0 * b;
}

/* By pointers that the compiler does not see through. */
typedef long (*function)(long, long);
static function volatile body = nine, other_body = ten;

static void each_kind(function called, const char *name, long a, long b)
{
	function volatile f = called;
	uint8_t before[32], after[32];
	long want = f(a, b);

	memcpy(before, (const void *)(uintptr_t)called, sizeof(before));
	for (int i = 0; i < 3; i++) {
		CHECK_OK(hotpatch_fn(called, body, .unprepared = true));
		if (f(a, b) != 9)
			FAIL("%s gives %ld with its new body", name, f(a, b));
		if (hotpatch_original(called)(a, b) != want)
			FAIL("%s gives %ld by hotpatch_original, and should give %ld", name,
			     hotpatch_original(called)(a, b), want);
		CHECK_OK(hotpatch_fn(called, other_body));
		CHECK_INT(f(a, b), 10);
		CHECK_OK(hotpatch_restore(called));
		if (f(a, b) != want)
			FAIL("%s gives %ld after it was restored, and should give %ld", name, f(a, b), want);
		memcpy(after, (const void *)(uintptr_t)called, sizeof(after));
		if (memcmp(before, after, sizeof(before)) != 0)
			FAIL("%s is not what it was", name);
	}
}

#define EACH(name, a, b)                                                                                               \
	do {                                                                                                           \
		each_kind(name, #name, a, b);                                                                          \
		occupy(b_##name);                                                                                      \
		each_kind(b_##name, "b_" #name, a, b);                                                                 \
	} while (0)

static void refused(function called, long b, const char *why)
{
	function volatile f = called;
	long before = f(1, b);

	CHECK_CODE(hotpatch_fn(called, body, .unprepared = true), HOTPATCH_ENOTPREPARED);
	CHECK_SAYS(why);
	CHECK_INT(f(1, b), before);
}

/* Taken where one byte is written, refused where five are. */
static void differs(function called, function breakpoint, long b, const char *why)
{
	each_kind(called, why, 1, b);
	occupy(breakpoint);
	refused(breakpoint, b, why);
}

static void refusals(void)
{
	differs(ends_early, b_ends_early, 2, "it returns within the bytes");
	differs(jumps_inside, b_jumps_inside, 2, "it jumps into the bytes");
	differs(by_table, b_by_table, 2, "it jumps into the bytes");
	differs(jumped_into, b_jumped_into, 2, "branches into the bytes");
	differs(calls_by_register, b_calls_by_register, (long)nine, "calls through a register");
	CHECK_INT(jumps_elsewhere(1, 1), 6);
	differs(too_short, b_too_short, 2, "shorter than a jump");
	refused(tight, 2, "shorter than a jump");
	refused(loop_to_entry, 2, "jumps to its own entry");
	refused(table_to_entry, 2, "or to its own entry");
	refused(labels_to_entry, 2, "from labels of its own");
	occupy(b_loop_to_entry);
	refused(b_loop_to_entry, 2, "jumps to its own entry");
	refused(counts, 2, "loop, jrcxz");
	CHECK_OK(hotpatch_fn(plain, in_use, .unprepared = true));
	CHECK_CODE(hotpatch_fn(in_use, body, .unprepared = true), HOTPATCH_ENOTPREPARED);
	CHECK_SAYS("body of another function's definition");
	CHECK_OK(hotpatch_restore(plain));
}

/* -- Functions of libc ------------------------------------------------------------------------------------------------
 */

static int own_atoi(const char *text)
{
	return text[0] == '7' ? 4242 : 0;
}

static int (*volatile call_atoi)(const char *) = atoi;
static void (*volatile call_srandom)(unsigned) = srandom;
static unsigned seeded;

static void own_srandom(unsigned seed)
{
	seeded = seed;
}

static void of_libc(void)
{
	int (*volatile call_getpid)(void) = getpid;

	for (int i = 0; i < 3; i++) {
		CHECK_OK(hotpatch_fn(atoi, own_atoi, .unprepared = true));
		CHECK_INT(call_atoi("7"), 4242);
		CHECK_OK(hotpatch_restore(atoi));
		CHECK_INT(call_atoi("7"), 7);
		CHECK_OK(hotpatch_fn(srandom, own_srandom, .unprepared = true));
		call_srandom(77);
		CHECK_INT(seeded, 77);
		CHECK_OK(hotpatch_restore(srandom));
	}
	CHECK_OK(hotpatch_fn(getpid, getppid, .unprepared = true));
	CHECK_INT(call_getpid(), getppid());
	CHECK_OK(hotpatch_restore(getpid));
	CHECK_INT(call_getpid(), syscall(SYS_getpid));
}

/* Of a file without symbols what a function may jump to is taken for a part of it. */
static void of_stripped_library(void)
{
	void *library = dlopen("./unprepared.libA.so", RTLD_NOW);
	function tail = library ? (function)dlsym(library, "tail") : NULL;
	function by_pointer = library ? (function)dlsym(library, "by_pointer") : NULL;

	if (!tail || !by_pointer)
		FAIL("the library cannot be loaded: %s", dlerror());
	each_kind(tail, "tail", 3, 4);
	each_kind(tail, "tail", 300, 4);
	CHECK_CODE(hotpatch_fn(by_pointer, body, .unprepared = true), HOTPATCH_ENOSYM);
	CHECK_SAYS("no symbol table");
}

/* -- The program's own handler ---------------------------------------------------------------------------------------
 */

static atomic_int traps, sent;

static void own_handler(int signo, siginfo_t *info, void *context)
{
	(void)context;
	CHECK_INT(signo, SIGTRAP);
	atomic_fetch_add(info->si_code > 0 ? &traps : &sent, 1);
}

static atomic_bool stop;
static atomic_long calls_made;

static void *traps_and_calls(void *arg)
{
	function volatile f = b_plain;

	while (!atomic_load(&stop)) {
		long r = f(3, 4);

		CHECK(r == 12 || r == 9);
		__asm__ volatile("int3");
		atomic_fetch_add(&calls_made, 1);
	}
	return arg;
}

static void with_own_handler(void)
{
	struct sigaction own = {.sa_sigaction = own_handler, .sa_flags = SA_SIGINFO}, now;
	pthread_t thread;
	int sends = 0;

	sigaction(SIGTRAP, &own, NULL);
	thread = thread_start(traps_and_calls, NULL);
	for (int i = 0; i < OFTEN(80); i++) {
		CHECK_OK(hotpatch_fn(b_plain, body, .unprepared = true));
		CHECK_OK(hotpatch_restore(b_plain));
		if (i % 8 == 0) {
			pthread_kill(pthread_self(), SIGTRAP);
			sends++;
		}
	}
	atomic_store(&stop, true);
	thread_join(thread);
	atomic_store(&stop, false);
	CHECK_INT(traps, calls_made);
	CHECK_INT(sent, sends);
	sigaction(SIGTRAP, NULL, &now);
	CHECK((now.sa_flags & SA_SIGINFO) && now.sa_sigaction == own_handler);
	signal(SIGTRAP, SIG_DFL);
}

/* -- Who stands in the way --------------------------------------------------------------------------------------------
 */

static sem_t ready, go;
static atomic_int blocking_id;

static void *blocks_trap(void *how)
{
	sigset_t all, none;
	struct pollfd nothing = {.fd = -1};
	struct timespec long_time = {30, 0};

	sigfillset(&all);
	sigemptyset(&none);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	atomic_store(&blocking_id, thread_id());
	give(&ready);
	if (how == NULL) {
		take(&go);
		return NULL;
	}
	ppoll(&nothing, 1, &long_time, &none); /* left by the question's or any other signal */
	return NULL;
}

static void refused_while_blocked(void *how, const char *reason)
{
	pthread_t thread = thread_start(blocks_trap, how);
	const struct hotpatch_error *error;
	size_t found = 0;

	take(&ready);
	AWAIT(thread_state(blocking_id) == 'S');
	CHECK_CODE(hotpatch_fn(b_plain, body, .unprepared = true, .mode = HOTPATCH_TRY), HOTPATCH_EBUSY);
	CHECK_SAYS("SIGTRAP");
	error = hotpatch_error();
	for (size_t i = 0; i < error->n_blockers; i++)
		if (error->blockers[i].thread == blocking_id && strstr(error->blockers[i].reason, reason) != NULL)
			found++;
	CHECK_INT(found, 1);
	CHECK_CODE(hotpatch_fn(b_plain, body, .unprepared = true, .timeout_ms = 30), HOTPATCH_ETIMEDOUT);
	CHECK_INT(b_plain(3, 4), 12);
	if (how == NULL)
		give(&go);
	else
		pthread_kill(thread, SIGUSR1);
	thread_join(thread);
	CHECK_OK(hotpatch_fn(b_plain, body, .unprepared = true));
	CHECK_OK(hotpatch_restore(b_plain));
}

/* A jump that cannot be taken back, since that takes a breakpoint, leads to the original until any later operation. */
static void undone_later(void)
{
	uint8_t before[8], now[8];
	pthread_t thread;

	memcpy(before, (const void *)(uintptr_t)b_plain, sizeof(before));
	CHECK_OK(hotpatch_fn(b_plain, body, .unprepared = true));
	thread = thread_start(blocks_trap, NULL);
	take(&ready);
	AWAIT(thread_state(blocking_id) == 'S');
	CHECK_OK(hotpatch_restore(b_plain));
	memcpy(now, (const void *)(uintptr_t)b_plain, sizeof(now));
	CHECK(memcmp(before, now, sizeof(now)) != 0);
	CHECK_INT(b_plain(3, 4), 12);
	give(&go);
	thread_join(thread);
	CHECK_OK(hotpatch_fn(plain, body, .unprepared = true));
	CHECK_OK(hotpatch_restore(plain));
	memcpy(now, (const void *)(uintptr_t)b_plain, sizeof(now));
	CHECK(memcmp(before, now, sizeof(now)) == 0);
	CHECK_INT(b_plain(3, 4), 12);
}

static void nothing(int signo)
{
	(void)signo;
}

/* A child of ours traces us, as a debugger would. */
static void refused_under_debugger(void)
{
	int told[2], done[2], status;
	char byte = 0;
	pid_t parent = getpid(), tracer;

	CHECK(pipe(told) == 0 && pipe(done) == 0);
	tracer = fork();
	if (tracer == 0) {
		byte = ptrace(PTRACE_SEIZE, parent, 0, 0) == 0;
		close(done[1]);
		if (write(told[1], &byte, 1) == 1 && read(done[0], &byte, 1) >= 0 && byte)
			ptrace(PTRACE_DETACH, parent, 0, 0);
		_exit(0);
	}
	prctl(PR_SET_PTRACER, tracer, 0, 0, 0);
	CHECK_INT(read(told[0], &byte, 1), 1);
	if (byte) {
		CHECK_CODE(hotpatch_fn(b_plain, body, .unprepared = true), HOTPATCH_ENOTSUP);
		CHECK_SAYS("debugger");
		CHECK_INT(b_plain(3, 4), 12);
	} else {
		puts("a child may not trace its parent here: the debugger is left out");
	}
	close(done[1]);
	waitpid(tracer, &status, 0);
	CHECK_OK(hotpatch_fn(b_plain, body, .unprepared = true));
	CHECK_OK(hotpatch_restore(b_plain));
}

/* -- Under load
 * --------------------------------------------------------------------------------------------------------- */

#define ALL plain, relative, branches, calls, calls_at_once, pushes
#define B_ALL b_plain, b_relative, b_branches, b_calls, b_calls_at_once, b_pushes
enum { N_ALL = 12 };

static void *hammered(void *arg)
{
	function volatile f[] = {ALL, B_ALL};
	const long want[] = {12, 1003, 1, 12, 8, 3, 12, 1003, 1, 12, 8, 3};
	long n = 0;

	while (!atomic_load(&stop)) {
		for (size_t i = 0; i < sizeof(want) / sizeof(*want); i++) {
			long r = f[i](3, 4);

			if (r != want[i] && r != 9)
				FAIL("function %zu gave %ld, neither %ld nor 9", i, r, want[i]);
		}
		n++;
	}
	atomic_fetch_add(&calls_made, n);
	return arg;
}

static void under_load(void)
{
	unsigned cycles = setting("HP_CYCLES", OFTEN(240));
	function all[] = {ALL, B_ALL};
	pthread_t threads[2];
	uint8_t before[4096], after[4096];

	memcpy(before, (const void *)((uintptr_t)plain & ~(uintptr_t)15), 2048);
	for (int i = 0; i < 2; i++)
		threads[i] = thread_start(hammered, NULL);
	calls_made = 0;
	int64_t began = now_ms();
	for (unsigned i = 0; i < cycles; i++) {
		function f = all[i % N_ALL];

		CHECK_OK(hotpatch_fn(f, body, .unprepared = true, .timeout_ms = 60000));
		CHECK_OK(hotpatch_restore(f, .timeout_ms = 60000));
	}
	struct hotpatch *set = hotpatch_new("all");
	for (int i = 0; i < N_ALL; i++)
		CHECK_OK(hotpatch_replace(set, all[i], body, .unprepared = true));
	for (unsigned i = 0; i < cycles / 10; i++) {
		CHECK_OK(hotpatch_apply(set, .timeout_ms = 60000));
		CHECK_OK(hotpatch_revert(set, .timeout_ms = 60000));
	}
	CHECK_OK(hotpatch_free(set));
	atomic_store(&stop, true);
	for (int i = 0; i < 2; i++)
		thread_join(threads[i]);
	printf("%u redirects and restores of one function, %u of twelve in %d ms, %ld calls\n", 2 * cycles, cycles / 5,
	       (int)(now_ms() - began), N_ALL * calls_made);
	memcpy(after, (const void *)((uintptr_t)plain & ~(uintptr_t)15), 2048);
	CHECK(memcmp(before, after, 2048) == 0);
}

int main(void)
{
	if (!can_change_unprepared())
		SKIP("without the inspect plugin there is no proof, and a static program cannot load it");
	deadline(120);
	sem_init(&ready, 0, 0);
	sem_init(&go, 0, 0);
	CHECK_CODE(hotpatch_fn(plain, body), HOTPATCH_ENOTPREPARED);
	CHECK_SAYS(".unprepared");
	EACH(plain, 3, 4);
	EACH(relative, 3, 4);
	EACH(relative_and_constant, 3, 4);
	EACH(branches, 3, 4);
	EACH(branches, 0, 4);
	EACH(branches_far, 3, 4);
	EACH(branches_far, 7, 4);
	EACH(two_branches, 3, 4);
	EACH(two_branches, 0, 4);
	EACH(two_branches, -1, 4);
	EACH(calls, 3, 4);
	EACH(calls_at_once, 3, 4);
	EACH(jumps, 3, 4); /* a jump already: its first byte says nothing */
	EACH(pushes, 3, 4);
	EACH(behind_landing, 3, 4);
	refusals();
	of_libc();
	of_stripped_library();
	with_own_handler();
	signal(SIGUSR1, nothing);
	refused_while_blocked(NULL, "blocks SIGTRAP");
	refused_while_blocked("ppoll", "may block SIGTRAP");
	refused_under_debugger();
	undone_later();
	under_load();
	return 0;
}
