/* arguments - B1: every kind of argument and result survives the way into each kind of definition.
 *
 * build: variants=gcc-O0,gcc-O2,clang-O0,clang-O2,gcc-O2-cet,clang-O2-cet,gcc-O2-static,gcc-O2-nopie,gcc-O2-prepared
 * build: quick=clang-O0,gcc-O2-cet,clang-O2-cet,gcc-O2-static,gcc-O2-nopie,gcc-O2-prepared
 *
 * Each shape of function is called with known arguments and checks them itself: the original; a replacement, which is
 * entered through the patched entry; a closure, which is entered through its landing; and the same two again from
 * callers that wait at the gate, held there because a thread sits inside another function of the set. That thread
 * calls all shapes as well and passes the gate, because what it runs is old.
 *
 * Seen to fail: with a gate that does not restore vector registers, one that clears AL, and one that holds active
 * callers too.
 */
#include "check.h"

/* Whether the functions are marked, or their first instructions have to make way (arguments_unprepared.c). */
#ifdef UNPREPARED
#define MARK APART
#else
#define UNPREPARED false
#define MARK HOTPATCHABLE
#endif

#include <complex.h>
#include <limits.h>

enum ran { OLD = 1, NEW, CLOSURE };

static _Thread_local enum ran ran;    /* the definition the last call of a shape took */
static _Thread_local void *had;       /* the context it found there */
static _Thread_local const char *bad; /* the first argument that was not what the caller passed */
static int context;                   /* its address is the context of all closures */

/* The shapes are definitions by macro. */
// clang-format off

/* -- The shapes --------------------------------------------------------------------------------------------- */

#define HAS(condition) (bad = (condition) || bad ? bad : #condition)

/* One body in three definitions. hotpatch_context() is read first thing, as the header asks. */
#define SHAPE_FOR(target, type, name, parameters, ...)                                                                 \
	target MARK type name parameters                                                                       \
	{                                                                                                              \
		ran = OLD;                                                                                             \
		__VA_ARGS__                                                                                            \
	}                                                                                                              \
	target APART type name##_new parameters                                                                        \
	{                                                                                                              \
		ran = NEW;                                                                                             \
		__VA_ARGS__                                                                                            \
	}                                                                                                              \
	target APART type name##_closure parameters                                                                    \
	{                                                                                                              \
		had = hotpatch_context();                                                                              \
		ran = CLOSURE;                                                                                         \
		__VA_ARGS__                                                                                            \
	}
#define SHAPE(type, name, parameters, ...) SHAPE_FOR(, type, name, parameters, __VA_ARGS__)

SHAPE(double, numbers,
      (int a, long b, short c, char d, unsigned e, long f, int g, long h, unsigned char i, long j, double k, float l,
       double m, double n, double o, float p, double q, double r, double s, float t),
      HAS(a == 1 && b == LONG_MIN && c == -3 && d == 4 && e == UINT_MAX);
      HAS(f == 6 && g == -7 && h == LONG_MAX && i == 255 && j == 10);
      HAS(k == 1.5 && l == 2.5f && m == -3.5 && n == 4.5 && o == 1e300);
      HAS(p == 6.5f && q == 7.5 && r == 8.5 && s == 9.5 && t == -1e30f); return 0.125;)

static void call_numbers(void)
{
	HAS(numbers(1, LONG_MIN, -3, 4, UINT_MAX, 6, -7, LONG_MAX, 255, 10, 1.5, 2.5f, -3.5, 4.5, 1e300, 6.5f, 7.5, 8.5,
	            9.5, -1e30f) == 0.125);
}

struct small {
	long number;
	double real;
};

SHAPE(struct small, in_registers, (struct small a, struct small b), HAS(a.number == 11 && a.real == 0.5);
      HAS(b.number == -12 && b.real == -0.25); return (struct small){a.number - b.number, a.real - b.real};)

static void call_in_registers(void)
{
	struct small got = in_registers((struct small){11, 0.5}, (struct small){-12, -0.25});

	HAS(got.number == 23 && got.real == 0.75);
}

struct large {
	long numbers[9];
	char tail[13];
};

SHAPE(int, in_memory, (int before, struct large a, int after), HAS(before == 21 && after == 22);
      for (int i = 0; i < 9; i++) HAS(a.numbers[i] == 100 + i); HAS(memcmp(a.tail, "thirteen char", 13) == 0);
      a.numbers[0] = 0; return 23;)

static const struct large large = {{100, 101, 102, 103, 104, 105, 106, 107, 108}, "thirteen char"};

static void call_in_memory(void)
{
	struct large copy = large;

	HAS(in_memory(21, copy, 22) == 23);
	HAS(memcmp(copy.numbers, large.numbers, sizeof(copy.numbers)) == 0);
}

/* The caller's pointer to the result comes in the first argument's register and goes back in the result's. */
SHAPE(struct large, returned_in_memory, (long first, double real), struct large result = large;
      HAS(first == 31 && real == 3.25); result.numbers[8] = first; return result;)

static void call_returned_in_memory(void)
{
	struct large got = returned_in_memory(31, 3.25);

	HAS(got.numbers[0] == 100 && got.numbers[8] == 31 && got.tail[12] == 'r');
}

/* AL tells a function of variable arguments how many vector registers hold some. */
SHAPE(
	int, variable, (const char *kinds, ...), va_list args; int sum = 0; va_start(args, kinds);
	for (int i = 1; *kinds != '\0'; kinds++, i++) {
		if (*kinds == 'i')
			HAS(va_arg(args, int) == i);
		else if (*kinds == 'l')
			HAS(va_arg(args, long) == i * 0x100000001L);
		else if (*kinds == 'd')
			HAS(va_arg(args, double) == i + 0.5);
		else
			HAS(va_arg(args, long double) == i + 0.25L);
		sum += i;
	} va_end(args);
	return sum;)

static void call_variable(void)
{
	HAS(variable("") == 0);
	HAS(variable("idilLdddddddddiiiii", 1, 2.5, 3, 4 * 0x100000001L, 5.25L, 6.5, 7.5, 8.5, 9.5, 10.5, 11.5, 12.5,
	             13.5, 14.5, 15, 16, 17, 18, 19) == 190);
	HAS(variable("iiiiiiiid", 1, 2, 3, 4, 5, 6, 7, 8, 9.5) == 45);
}

SHAPE(long double, long_double, (long double a, double b, long double c), HAS(a == 1.0L / 3 && b == 42.5);
      HAS(c == -1e4000L); return a * 3;)

static void call_long_double(void)
{
	HAS(long_double(1.0L / 3, 42.5, -1e4000L) == 1.0L);
}

/* Both parts of the result come back on the x87 stack. */
SHAPE(_Complex long double, complex_numbers, (_Complex double a, _Complex long double b),
      HAS(creal(a) == 1.5 && cimag(a) == -2.5 && creall(b) == 3.5L && cimagl(b) == -4.5L);
      return conjl(b);)

static void call_complex_numbers(void)
{
	_Complex long double got = complex_numbers(__builtin_complex(1.5, -2.5), __builtin_complex(3.5L, -4.5L));

	HAS(creall(got) == 3.5L && cimagl(got) == 4.5L);
}

#define WIDE(high, low) ((__int128)(high) * ((__int128)1 << 64) + (unsigned long)(low))

SHAPE(__int128, wide, (__int128 a, int b, __int128 c, __int128 d, __int128 e), HAS(a == WIDE(-1, 2) && b == 3);
      HAS(c == WIDE(4, -5) && d == WIDE(LONG_MAX, 6) && e == WIDE(7, LONG_MIN)); return a + b;)

static void call_wide(void)
{
	HAS(wide(WIDE(-1, 2), 3, WIDE(4, -5), WIDE(LONG_MAX, 6), WIDE(7, LONG_MIN)) == WIDE(-1, 5));
}

/* More vectors than there are registers for them: the ninth and tenth come in memory. */
#define VECTORS(type) (type a, type b, type c, type d, type e, type f, type g, type h, type i, type j)
#define VECTORS_ARE(check)                                                                                             \
	check(a, 0) check(b, 1) check(c, 2) check(d, 3) check(e, 4) check(f, 5) check(g, 6) check(h, 7) check(i, 8)    \
		check(j, 9)
#define TEN(make) make(0), make(1), make(2), make(3), make(4), make(5), make(6), make(7), make(8), make(9)

/* Not those of immintrin.h, which takes longer to compile than all of this file. */
typedef long long v128 __attribute__((vector_size(16)));
#define MAKE_128(n) ((v128){0x0123456789abcdef + (n), 0x0111111111111111 * (n)})
#define HAS_128(v, n)                                                                                                  \
	do {                                                                                                           \
		v128 want_ = MAKE_128(n);                                                                           \
		HAS(memcmp(&v, &want_, sizeof(v)) == 0);                                                               \
	} while (0);

SHAPE(v128, vector_128, VECTORS(v128), VECTORS_ARE(HAS_128) return a + h;)

static void call_vector_128(void)
{
	v128 want = MAKE_128(0) + MAKE_128(7), got = vector_128(TEN(MAKE_128));

	HAS(memcmp(&got, &want, sizeof(got)) == 0);
}

#if defined(__x86_64__)
typedef long long v256 __attribute__((vector_size(32)));
typedef long long v512 __attribute__((vector_size(64)));

#define FOR_256 __attribute__((target("avx2")))
#define MAKE_256(n) ((v256){0x3030303030303030 + (n), 3 * (n), -2 * (n), 1 + (n)})
#define HAS_256(v, n)                                                                                                  \
	do {                                                                                                           \
		v256 want_ = MAKE_256(n);                                                                           \
		HAS(memcmp(&v, &want_, sizeof(v)) == 0);                                                               \
	} while (0);

SHAPE_FOR(FOR_256, v256, vector_256, VECTORS(v256), VECTORS_ARE(HAS_256) return a + h;)

FOR_256 static void call_vector_256(void)
{
	v256 want = MAKE_256(0) + MAKE_256(7), got = vector_256(TEN(MAKE_256));

	HAS(memcmp(&got, &want, sizeof(got)) == 0);
}

#define FOR_512 __attribute__((target("avx512f")))
#define MAKE_512(n) ((v512){0x3030303030303030 + (n), ~(n), 6 * (n), 5, 4 + (n), 3 * (n), -2 * (n), 1 + (n)})
#define HAS_512(v, n)                                                                                                  \
	do {                                                                                                           \
		v512 want_ = MAKE_512(n);                                                                           \
		HAS(memcmp(&v, &want_, sizeof(v)) == 0);                                                               \
	} while (0);

SHAPE_FOR(FOR_512, v512, vector_512, VECTORS(v512), VECTORS_ARE(HAS_512) return a + h;)

FOR_512 static void call_vector_512(void)
{
	v512 want = MAKE_512(0) + MAKE_512(7), got = vector_512(TEN(MAKE_512));

	HAS(memcmp(&got, &want, sizeof(got)) == 0);
}

#define WIDER(X) X(vector_256) X(vector_512)
#else
#define WIDER(X)
#endif

/* -- All shapes in one table -------------------------------------------------------------------------------- */

#define SHAPES(X)                                                                                                      \
	X(numbers)                                                                                                     \
	X(in_registers)                                                                                                \
	X(in_memory)                                                                                                   \
	X(returned_in_memory) X(variable) X(long_double) X(complex_numbers) X(wide) X(vector_128) WIDER(X)

// clang-format on

struct shape {
	const char *name;
	void (*call)(void);
};

#define ROW(name) {#name, call_##name},
static const struct shape shapes[] = {SHAPES(ROW)};
enum { SHAPES_ALL = sizeof(shapes) / sizeof(shapes[0]) };

/* The vector shapes stand last, so that those the processor cannot run are left off the end. */
static size_t shapes_usable(void)
{
#if defined(__x86_64__)
	__builtin_cpu_init();
	return SHAPES_ALL - (__builtin_cpu_supports("avx512f") ? 0 : __builtin_cpu_supports("avx2") ? 1 : 2);
#else
	return SHAPES_ALL;
#endif
}

static void call_shape(const struct shape *shape)
{
	bad = NULL;
	had = NULL;
	shape->call();
	if (bad != NULL)
		FAIL("%s, definition %d: '%s' does not hold", shape->name, ran, bad);
	if (ran == CLOSURE && had != &context)
		FAIL("%s: the closure found context %p, not %p", shape->name, had, (void *)&context);
}

static void call_all(enum ran want)
{
	for (size_t i = 0; i < shapes_usable(); i++) {
		call_shape(&shapes[i]);
		if (ran != want)
			FAIL("%s ran definition %d, not %d", shapes[i].name, ran, want);
	}
}

/* -- In the open -------------------------------------------------------------------------------------------- */

#define SET_NEW(name) CHECK_OK(hotpatch_fn(name, name##_new, .unprepared = UNPREPARED));
#define SET_CLOSURE(name) CHECK_OK(hotpatch_closure(name, name##_closure, &context, NULL, .unprepared = UNPREPARED));
#define SET_OLD(name) CHECK_OK(hotpatch_restore(name));

static void in_the_open(void)
{
	call_all(OLD);
	SHAPES(SET_NEW)
	call_all(NEW);
	SHAPES(SET_CLOSURE)
	call_all(CLOSURE);
	SHAPES(SET_NEW)
	call_all(NEW);
	SHAPES(SET_OLD)
	call_all(OLD);
}

/* -- Through the gate --------------------------------------------------------------------------------------- */

static sem_t inside;
static atomic_bool leave;

/* A thread in one of these keeps the gate of the set closed; it runs, because a gate is not kept closed for one that
 * sleeps. Before it goes it calls all shapes: what is called from an old function while the gate is closed is old as
 * well. */
static void stay(void)
{
	give(&inside);
	while (!atomic_load_explicit(&leave, memory_order_relaxed))
		;
}

MARK void hold(void)
{
	stay();
	call_all(OLD);
	__asm__ volatile(""); /* or the call would be a jump, and this frame gone */
}

static enum ran held_in; /* what the shapes are while a thread is in hold_other */

APART void hold_other(void)
{
	stay();
	call_all(held_in);
	__asm__ volatile("");
}

static void *holder(void *arg)
{
	hold();
	return arg;
}

struct caller {
	const struct shape *shape;
	enum ran want;
	atomic_int tid;
	pthread_t thread;
};

/* Calls until the set has changed; the last of these calls waited at the gate. */
static void *call_until_changed(void *arg)
{
	struct caller *caller = arg;

	atomic_store(&caller->tid, thread_id());
	do
		call_shape(caller->shape);
	while (ran != caller->want);
	return NULL;
}

struct switcher {
	struct hotpatch *patch;
	bool revert;
};

/* One attempt that lasts as long as the test lets it. */
static void *switch_over(void *arg)
{
	struct switcher *switcher = arg;

	if (switcher->revert)
		CHECK_OK(hotpatch_revert(switcher->patch, .timeout_ms = 60000, .stall_ms = 60000));
	else
		CHECK_OK(hotpatch_apply(switcher->patch, .timeout_ms = 60000, .stall_ms = 60000));
	return NULL;
}

/* Nothing in a caller's loop sleeps but the gate, which it cannot pass while the holder is inside: so a sleeping
 * caller has arrived there. */
static void through_the_gate(struct hotpatch *patch, bool revert, enum ran from, enum ran to)
{
	struct switcher switcher = {patch, revert};
	struct caller callers[SHAPES_ALL];
	pthread_t held, changing;
	size_t i, count = shapes_usable();

	held_in = from;
	atomic_store(&leave, false);
	held = thread_start(holder, NULL);
	take(&inside);
	for (i = 0; i < count; i++) {
		callers[i] = (struct caller){.shape = &shapes[i], .want = to};
		callers[i].thread = thread_start(call_until_changed, &callers[i]);
	}
	changing = thread_start(switch_over, &switcher);
	for (i = 0; i < count; i++)
		AWAIT(atomic_load(&callers[i].tid) != 0 && thread_state(callers[i].tid) == 'S');
	atomic_store(&leave, true);
	thread_join(changing);
	thread_join(held);
	for (i = 0; i < count; i++)
		thread_join(callers[i].thread);
	call_all(to);
}

#define ADD_NEW(name) CHECK_OK(hotpatch_replace(patch, name, name##_new, .unprepared = UNPREPARED));
#define ADD_CLOSURE(name)                                                                                              \
	CHECK_OK(hotpatch_replace_closure(patch, name, name##_closure, &context, NULL, .unprepared = UNPREPARED));

static void gate_into_functions(void)
{
	struct hotpatch *patch = hotpatch_new("functions");

	CHECK_OK(hotpatch_replace(patch, hold, hold_other, .unprepared = UNPREPARED));
	SHAPES(ADD_NEW)
	through_the_gate(patch, false, OLD, NEW);
	through_the_gate(patch, true, NEW, OLD);
	CHECK_OK(hotpatch_free(patch));
}

static void gate_into_closures(void)
{
	struct hotpatch *patch = hotpatch_new("closures");

	CHECK_OK(hotpatch_replace(patch, hold, hold_other, .unprepared = UNPREPARED));
	SHAPES(ADD_CLOSURE)
	through_the_gate(patch, false, OLD, CLOSURE);
	through_the_gate(patch, true, CLOSURE, OLD);
	CHECK_OK(hotpatch_free(patch));
}

int main(void)
{
	deadline(UNPREPARED ? 120 : 30);
	sem_init(&inside, 0, 0);
	in_the_open();
	for (int round = 0; round < (UNPREPARED ? 1 : 3); round++) {
		gate_into_functions();
		gate_into_closures();
	}
	return 0;
}
