/* exceptions_unprepared - B9, as exceptions.cc, through functions that were not prepared and the copies of their first
 * instructions.
 *
 * build: machine=x86_64 limit=180
 *
 * Seen to fail: with calls in copies that push a return address of the copy, of which no unwinder knows.
 */
/* Room behind the C library's start code, which has no unwind tables and in which `jmp *%rax` may be misread as a loop
 * into what lies 100 bytes on. */
__asm__(".text\n.skip 160, 0xcc");

#define BARE
#define UNPREPARED true
#define main exceptions_main
#include "exceptions.cc"
#undef main

/* Calls within its first five bytes: the copy has the call, which must look to unwinders as one of the function's. */
__asm__(".text\n.p2align 4\n.globl calls_early\n.type calls_early, @function\ncalls_early:\n.cfi_startproc\n"
        "sub $8, %rsp\n.cfi_adjust_cfa_offset 8\ncall throws\nadd $8, %rsp\n.cfi_adjust_cfa_offset -8\nret\n"
        ".cfi_endproc\n.size calls_early, . - calls_early\n");
extern "C" int calls_early();
extern "C" __attribute__((noinline)) int throws()
{
	throw thrown{30 * one, 0};
}
static int calls_late()
{
	throw thrown{40 * one, 0};
}

static int caught_of(int (*function)())
{
	try {
		return function();
	} catch (const thrown &what) {
		return what.version;
	}
}

static void through_a_copy()
{
	int (*volatile function)() = calls_early;
	for (int i = 0; i < 3; i++) {
		CHECK(caught_of(function) == 30);
		CHECK(hotpatch_fn(calls_early, calls_late, .unprepared = true) == HOTPATCH_OK);
		CHECK(caught_of(function) == 40);
		CHECK(caught_of(hotpatch_original(calls_early)) == 30);
		CHECK(hotpatch_restore(calls_early) == HOTPATCH_OK);
	}
}

int main()
{
	through_a_copy();
	return exceptions_main();
}
