/* faults - B26: whatever fails, and at whatever step, nothing is changed; and what failed succeeds the next time.
 *
 * build: cflags=-Wno-missing-prototypes ldflags=-Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=strdup
 * build: -Wl,--wrap=realpath,--wrap=free,--wrap=fopen64,--wrap=open64,--wrap=pread64,--wrap=pwrite64,--wrap=read
 * build: -Wl,--wrap=write,--wrap=fstat64,--wrap=stat64,--wrap=memfd_create,--wrap=mmap64,--wrap=mprotect
 * build: -Wl,--wrap=sigaction,--wrap=pthread_mutex_trylock,--wrap=pthread_setspecific,--wrap=dlopen
 * build: -Wl,--wrap=hp_syscall variants=gcc-O2-archive,clang-O2-archive,gcc-O2-cet-archive
 * build: quick=gcc-O2-archive limit=600
 *
 * Every operation is run with its first call failing, then with its second, and so on until there is none left: there
 * is no list of steps. Each time in a fresh child, in which one thread sleeps and one calls the functions without end.
 * Either the operation has succeeded whole, another way being found; or it has failed with a sentence that ends in
 * "nothing was changed", text, protections and the test's data are byte for byte as they were, and every function gives
 * the old result. It succeeds when tried again, can be taken back, and then the text is as at the beginning.
 *
 * With lasting faults (each later call of that kind fails too) what was begun may not be taken back to the byte, but
 * the code still tells the truth, and once the fault is over all is healed. Last, each step fails 100 times in one
 * process, in which neither memory, mappings nor descriptors may grow. FAULTS_ONLY in the environment names one
 * operation.
 *
 * Seen to fail: before what it found was mended: a change that returned 0 and changed nothing after a failure of
 * membarrier, a crash when a loaded library could not be remembered, errors without a sentence, memory lost for each
 * failure; and a function that could never be changed again after its first bytes could not be read once.
 */
#include "faults.h"
#include "maps.h"
#include <dirent.h>
#include <sys/wait.h>

enum { FUNCTIONS = 4 };

/* Lasting faults and growth have nothing to do with compilers and kinds of entry: in one variant only, and unless it is
 * to do all every STRIDE-th of the one and nothing of the other. */
#if defined(__clang__) || (defined(__CET__) && __CET__ & 1)
enum { LASTING = false, GROWTH = false, STRIDE = 1 };
#elif defined(WHOLE)
enum { LASTING = true, GROWTH = true, STRIDE = 1 };
#else
enum { LASTING = true, GROWTH = false, STRIDE = 25 };
#endif

/* Unless it is to do all, every third step, of every second operation every second. */
#if defined(WHOLE)
enum { STEP = 1, STEP_SECOND = 1 };
#else
enum { STEP = 3, STEP_SECOND = 2 };
#endif

HOTPATCHABLE int one(int a)
{
	return a + 1;
}

HOTPATCHABLE int two(int a)
{
	return a + 1;
}

HOTPATCHABLE int three(int a)
{
	return a + 1;
}

static volatile int plus = 1;

/* Not prepared: it needs the breakpoint. */
APART int plain(int a)
{
	return a + plus;
}

/* Changed and restored between times, so that what an operation left for the next to clear is cleared. */
HOTPATCHABLE int four(int a)
{
	return a + 1;
}

APART int plus_two(int a)
{
	return a + 2;
}

APART int plus_three(int a)
{
	return a + 3;
}

APART int plus_context(int a)
{
	return a + *(int *)hotpatch_context();
}

/* The program's data, which holds still but for what the test itself writes elsewhere. */
#define PROGRAM __attribute__((section("faults_data")))
extern unsigned char __start_faults_data[], __stop_faults_data[];
static PROGRAM int contexts[2] = {2, 3};
static PROGRAM int (*functions[FUNCTIONS])(int) = {one, two, three, plain};
static PROGRAM unsigned char pattern[4096] = {1, 2, 3, [4095] = 4};

static const char library[] = "./faults.libA.so";

/* -- Operations ---------------------------------------------------------------------------------------------- */

static struct hotpatch *applied;
static unsigned timeout = 10000; /* ms; short while a fault may last */

static int nothing(void)
{
	return HOTPATCH_OK;
}

static int fn_two(void)
{
	return hotpatch_fn(one, plus_two, .timeout_ms = timeout);
}

static int fn_three(void)
{
	return hotpatch_fn(one, plus_three, .timeout_ms = timeout);
}

static int plain_two(void)
{
	return hotpatch_fn(plain, plus_two, .unprepared = true, .timeout_ms = timeout);
}

static int plain_restore(void)
{
	return hotpatch_restore(plain, .timeout_ms = timeout);
}

static int fn_drain(void)
{
	return hotpatch_fn(one, plus_two, .mode = HOTPATCH_DRAIN, .timeout_ms = timeout);
}

static int fn_force(void)
{
	return hotpatch_fn(one, plus_two, .mode = HOTPATCH_FORCE);
}

static int closure_two(void)
{
	return hotpatch_closure(one, plus_context, &contexts[0], NULL, .timeout_ms = timeout);
}

static int closure_three(void)
{
	return hotpatch_closure(one, plus_context, &contexts[1], NULL, .timeout_ms = timeout);
}

static int lib(void)
{
	return hotpatch_lib(one, library, .timeout_ms = timeout);
}

static int restore(void)
{
	return hotpatch_restore(one, .timeout_ms = timeout);
}

static int set(void)
{
	struct hotpatch *patch = hotpatch_new("set");
	int r = patch != NULL ? HOTPATCH_OK : hotpatch_error()->code;

	for (int i = 0; i < FUNCTIONS - 1 && r == HOTPATCH_OK; i++)
		r = hotpatch_replace_at(patch, hotpatch_marks_(), "functions", (hotpatch_any)functions[i],
		                        (hotpatch_any)plus_two, NULL);
	if (r == HOTPATCH_OK)
		r = hotpatch_apply(patch, .timeout_ms = timeout);
	armed = false; /* the set is freed in any case, and must not disturb what was said */
	if (r == HOTPATCH_OK)
		applied = patch;
	else
		CHECK_OK(hotpatch_free(patch));
	return r;
}

static int set_revert(void)
{
	int r = hotpatch_revert(applied, .timeout_ms = timeout);

	armed = false;
	if (r == HOTPATCH_OK) {
		CHECK_OK(hotpatch_free(applied));
		applied = NULL;
	}
	return r;
}

static int load(void)
{
	return hotpatch_load(library, .timeout_ms = timeout);
}

static int unload(void)
{
	return hotpatch_unload(library, .timeout_ms = timeout);
}

/* What is done before, what fails, and what takes it back; what the functions add before and after. */
struct scenario {
	const char *name;
	int (*before)(void), (*operate)(void), (*back)(void);
	int old[FUNCTIONS], new[FUNCTIONS];
};

static const struct scenario scenarios[] = {
	{"a function, first", nothing, fn_two, restore, {1, 1, 1, 1}, {2, 1, 1, 1}},
	{"a function, later", fn_two, fn_three, restore, {2, 1, 1, 1}, {3, 1, 1, 1}},
	{"a function, DRAIN", nothing, fn_drain, restore, {1, 1, 1, 1}, {2, 1, 1, 1}},
	{"a function, FORCE", nothing, fn_force, restore, {1, 1, 1, 1}, {2, 1, 1, 1}},
	{"restoring", fn_two, restore, nothing, {2, 1, 1, 1}, {1, 1, 1, 1}},
	{"a closure, first", nothing, closure_two, restore, {1, 1, 1, 1}, {2, 1, 1, 1}},
	{"a closure, later", closure_two, closure_three, restore, {2, 1, 1, 1}, {3, 1, 1, 1}},
	{"restoring a closure", closure_two, restore, nothing, {2, 1, 1, 1}, {1, 1, 1, 1}},
	{"a function of a library", nothing, lib, restore, {1, 1, 1, 1}, {2, 1, 1, 1}},
	{"a set", nothing, set, set_revert, {1, 1, 1, 1}, {2, 2, 2, 1}},
	{"reverting a set", set, set_revert, nothing, {2, 2, 2, 1}, {1, 1, 1, 1}},
	{"loading", nothing, load, unload, {1, 1, 1, 1}, {2, 2, 2, 1}},
	{"unloading", load, unload, nothing, {2, 2, 2, 1}, {1, 1, 1, 1}},
	{"an unprepared function", nothing, plain_two, plain_restore, {1, 1, 1, 1}, {1, 1, 1, 2}},
	{"restoring it", plain_two, plain_restore, nothing, {1, 1, 1, 2}, {1, 1, 1, 1}},
};

/* -- What is the same before and after ----------------------------------------------------------------------- */

struct program {
	struct snapshot text;
	unsigned char *data;
};

static size_t data_size(void)
{
	return (size_t)(__stop_faults_data - __start_faults_data);
}

static struct program program_take(void)
{
	struct program program = {snapshot_take(), malloc(data_size())};

	program.text.size = 0; /* the runtime's data is among the program's here */
	CHECK(program.data != NULL && pattern[4095] == 4);
	memcpy(program.data, __start_faults_data, data_size());
	return program;
}

static void program_check(struct program program, const char *when)
{
	struct maps *now = maps_read();

	/* Where text was written by mprotect a mapping stays cut in pieces: the kernel does not join them again. */
	for (size_t i = 0; i < program.text.maps->count; i++)
		if (program.text.maps->map[i].is_file && !maps_cover(now, &program.text.maps->map[i]))
			FAIL("%s: the mapping at %lx of %s is not as it was", when,
			     (long)program.text.maps->map[i].begin, program.text.maps->map[i].name);
	snapshot_check_bytes(program.text, when);
	maps_free(now);
	maps_free(program.text.maps);
	free(program.text.data);
	if (memcmp(program.data, __start_faults_data, data_size()) != 0)
		FAIL("%s: the program's data has changed", when);
	free(program.data);
}

static void check_results(const int *want, const char *when)
{
	for (int i = 0; i < FUNCTIONS; i++)
		if (functions[i](10) != 10 + want[i])
			FAIL("%s: function %d adds %d, not %d", when, i, functions[i](10) - 10, want[i]);
}

/* -- Threads that are there meanwhile ------------------------------------------------------------------------ */

static atomic_bool stop;
static atomic_uint rounds;
static sem_t wake;

static void *spinner(void *arg)
{
	for (; !atomic_load(&stop); atomic_fetch_add(&rounds, 1))
		for (int i = 0; i < FUNCTIONS; i++) {
			int added = functions[i](10) - 10;

			if (added < 1 || added > 3)
				FAIL("function %d adds %d", i, added);
		}
	return arg;
}

static atomic_int sleeper_tid;

static void *sleeper(void *arg)
{
	atomic_store(&sleeper_tid, thread_id());
	take(&wake);
	return arg;
}

static pthread_t threads[2];

static void threads_start(void)
{
	sem_init(&wake, 0, 0);
	threads[0] = thread_start(sleeper, NULL);
	threads[1] = thread_start(spinner, NULL);
	AWAIT(atomic_load(&rounds) > 0 && thread_state(atomic_load(&sleeper_tid)) == 'S');
}

static void threads_stop(void)
{
	atomic_store(&stop, true);
	give(&wake);
	thread_join(threads[0]);
	thread_join(threads[1]);
}

/* -- One operation with one fault ---------------------------------------------------------------------------- */

static int operate_with_fault(const struct scenario *scenario, long at, bool lasting)
{
	int r;

	faults.calls = 0;
	faults.fail_at = at;
	faults.lasting = lasting;
	faults.fired = false;
	faults.kind = "none";
	timeout = 100;
	armed = true;
	r = scenario->operate();
	armed = false;
	timeout = 10000;
	return r;
}

static bool is_live(int code)
{
	return code == HOTPATCH_OK || code == HOTPATCH_EINPROGRESS;
}

static void describe(char *text, size_t size, const struct scenario *scenario, long at, bool lasting, int code)
{
	snprintf(text, size, "%s, call %ld (%s) failing%s: %s", scenario->name, at, faults.kind,
	         lasting ? " from then on" : "", hotpatch_code_name(code));
}

/* Any later operation takes back what had to stay for a while. */
static void change_another(void)
{
	CHECK_OK(hotpatch_fn(four, plus_two));
	CHECK_OK(hotpatch_restore(four));
	CHECK_INT(four(0), 1);
}

/* 0: passed, 3: the operation has no call of that number. */
static void one_fault(const struct scenario *scenario, long at, bool lasting)
{
	char when[200];
	struct program start = program_take(), before;
	int code;

	deadline(30);
	threads_start();
	CHECK_OK(scenario->before());
	before = program_take();
	code = operate_with_fault(scenario, at, lasting);
	describe(when, sizeof(when), scenario, at, lasting, code);
	check_results(is_live(code) ? scenario->new : scenario->old, when);
	if (!is_live(code)) {
		check_error(when, (int)at, scenario->name, code);
		/* Who did not answer in time may stand in a prefix: it goes later, at the latest below, when all are
		 * still. */
		if (!lasting && code != HOTPATCH_ETIMEDOUT)
			program_check(before, when);
		code = scenario->operate();
		if (!is_live(code))
			FAIL("%s; tried again: %s", when, hotpatch_error()->message);
	}
	check_results(scenario->new, when);
	CHECK_OK(scenario->back());
	threads_stop();
	change_another();
	if (scenario->operate == plain_two || scenario->operate == plain_restore) {
		/* A jump that could not be taken back stays, and leads to the original, until the site's next
		 * operation. */
		CHECK_OK(plain_two());
		CHECK_OK(plain_restore());
	}
	program_check(start, when);
	_exit(faults.fired ? 0 : 3);
}

/* Whether there was such a call. */
static bool in_child(const struct scenario *scenario, long at, bool lasting)
{
	int status;
	pid_t child;

	fflush(NULL);
	child = fork();
	if (child == 0)
		one_fault(scenario, at, lasting);
	CHECK(child > 0 && waitpid(child, &status, 0) == child);
	if (WIFSIGNALED(status))
		FAIL("%s, call %ld failing%s: killed by signal %d", scenario->name, at, lasting ? " from then on" : "",
		     WTERMSIG(status));
	if (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != 3) {
		if (getenv("FAULTS_ALL") == NULL)
			FAIL("%s, call %ld failing%s", scenario->name, at, lasting ? " from then on" : "");
	}
	return WEXITSTATUS(status) != 3;
}

/* -- What grows ---------------------------------------------------------------------------------------------- */

static long count_descriptors(void)
{
	DIR *folder = opendir("/proc/self/fd");
	long n = 0;

	CHECK(folder != NULL);
	while (readdir(folder) != NULL)
		n++;
	closedir(folder);
	return n;
}

static long count_mappings(void)
{
	struct maps *maps = maps_read();
	long n = (long)maps->count;

	maps_free(maps);
	return n;
}

/* Fails, or succeeds and is taken back, `times` times. */
static void repeat(const struct scenario *scenario, long at, int times)
{
	for (int i = 0; i < times; i++) {
		if (!is_live(operate_with_fault(scenario, at, false)))
			continue;
		armed = true;
		faults.fail_at = -1;
		CHECK_OK(scenario->back());
		armed = true;
		CHECK_OK(scenario->before());
		armed = false;
	}
}

static void growth(const struct scenario *scenario)
{
	faults.fired = true;
	CHECK_OK(scenario->before());
	for (long at = 0; faults.fired; at++) {
		long held, mappings, descriptors;

		repeat(scenario, at, 3);
		held = faults.held;
		mappings = count_mappings();
		descriptors = count_descriptors();
		repeat(scenario, at, 100);
		/* Once the number of a step may shift, and a library be loaded or a table grow; a hundred times is a
		 * leak. */
		if (faults.held - held > 50)
			FAIL("%s: 100 failures of call %ld (%s) hold %ld allocations", scenario->name, at, faults.kind,
			     faults.held - held);
		if (count_mappings() - mappings > 50)
			FAIL("%s: 100 failures of call %ld (%s) hold %ld mappings", scenario->name, at, faults.kind,
			     count_mappings() - mappings);
		CHECK_INT(count_descriptors(), descriptors);
	}
	exit(0);
}

static void growth_in_child(const struct scenario *scenario)
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		deadline(120);
		growth(scenario);
	}
	CHECK(child > 0 && waitpid(child, &status, 0) == child);
	if (status != 0 && getenv("FAULTS_ALL") == NULL)
		FAIL("%s grows", scenario->name);
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++) {
		const struct scenario *scenario = &scenarios[i];
		const char *only = getenv("FAULTS_ONLY");
		long once = 0, lasting = 0;

		if (only != NULL && strcmp(only, scenario->name) != 0)
			continue;
		while (in_child(scenario, once, false))
			once += i % 2 ? STEP_SECOND : STEP;
		while (LASTING && in_child(scenario, lasting, true))
			lasting += STRIDE;
		if (GROWTH)
			growth_in_child(scenario);
		printf("%s: %ld calls\n", scenario->name, once);
		CHECK(once > 20 && (lasting > 20 || !LASTING));
	}
	return 0;
}
