/* sites - every kind of prepared entry takes jumps, and gets its bytes back.
 *
 * build: machine=x86_64
 * build: variants=gcc-O0,gcc-O1,gcc-O2,gcc-O3,gcc-Os,clang-O0,clang-O2,clang-O3
 * build: gcc-O2-cet,clang-O2-cet,gcc-O2-static,gcc-O2-nopie
 *
 * The harmless prefixes of design.md section 4, each with exactly the NOPs it needs and with more behind the entry, in
 * hot and cold sections, static, aligned by the compiler, and at hand-made addresses where the two bytes of the jump
 * lie in two cache lines and in two pages. Every one is patched twice, called, restored, patched through a set and
 * reverted; afterwards prefix and entry must be byte for byte what they were. Functions that are not prepared, or whose
 * prefix makes no harmless jump, are refused and left alone.
 *
 * Seen to fail: with jumps not taken back, and with prefixes not written.
 */
#include "check.h"

#if defined(__CET__) && (__CET__ & 1)
#define CET 1
#else
#define CET 0
#endif

/* As HOTPATCHABLE keeps compilers from reasoning, without its other parts. */
#if defined(__clang__)
#define OPAQUE noinline, weak
#else
#define OPAQUE noipa
#endif

static volatile int ten = 10;

/* Definitions by macro end in no semicolon, and assembler is laid out by hand. */
// clang-format off

#define BODY                                                                                                           \
	{                                                                                                              \
		return a + ten;                                                                                        \
	}

/* total NOPs, of which `before` stand before the entry */
#define SITE(name, total, before, ...)                                                                                 \
	__attribute__((OPAQUE, patchable_function_entry(total, before), ##__VA_ARGS__)) int name(int a) BODY

SITE(prefix_5, 7, 5)
SITE(prefix_5_cold, 7, 5, cold)
SITE(prefix_5_more, 15, 5)
SITE(prefix_6, 8, 6)
SITE(prefix_6_cold, 8, 6, cold)
SITE(prefix_6_more, 9, 6)
SITE(prefix_6_many, 30, 6)
SITE(prefix_6_aligned, 8, 6, aligned(64))
SITE(prefix_9, 11, 9)
SITE(prefix_9_more, 16, 9)
SITE(prefix_none, 0, 0)
SITE(prefix_short, 2, 0)
SITE(prefix_alone, 6, 6)
HOTPATCHABLE int marked(int a) BODY
HOTPATCHABLE __attribute__((cold)) int marked_cold(int a) BODY

/* A static function cannot be weak, so clang may reason about it; what it finds out here is no constant. */
__attribute__((noinline, patchable_function_entry(8 - CET, 6 - CET))) static int local_by_hand(int a) BODY
#if !defined(__clang__)
HOTPATCHABLE static int local_marked(int a) BODY
#endif

/* By hand: the entry `offset` bytes behind a page border, the prefix right before it, and the record of it that a
 * compiler would make. */
#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)
#if CET
#define BEFORE 5
#define ENTRY "endbr64\n\tnop\n\tnop\n\t"
#define SECOND_BYTE 4 /* of the jump: where in the function it starts */
#else
#define BEFORE 6
#define ENTRY "nop\n\tnop\n\t"
#define SECOND_BYTE 0
#endif

#define PLACED(name, offset)                                                                                           \
	int name(int a);                                                                                               \
	__asm__(".pushsection .text.placed,\"ax\",@progbits\n\t"                                                       \
	        ".balign 4096\n\t"                                                                                     \
	        ".skip 4096 + " TEXT(offset) " - " TEXT(BEFORE) ", 0xcc\n"                                             \
	        ".Lprefix_" #name ":\n\t"                                                                              \
	        ".rept " TEXT(BEFORE) "\n\tnop\n\t.endr\n\t"                                                           \
	        ".globl " #name "\n\t.type " #name ",@function\n"                                                      \
	        #name ":\n\t.cfi_startproc\n\t" ENTRY "lea 10(%rdi),%eax\n\tret\n\t.cfi_endproc\n\t"                   \
	        ".size " #name ",. - " #name "\n\t.popsection\n\t"                                                     \
	        ".pushsection __patchable_function_entries,\"awo\",@progbits,.text.placed\n\t"                         \
	        ".balign 8\n\t.quad .Lprefix_" #name "\n\t.popsection")

PLACED(placed_at_start, 0); /* prefix in one page, entry in the next */
PLACED(placed_odd, 33);
PLACED(placed_across_lines, 63 - SECOND_BYTE); /* of the cache */
PLACED(placed_across_pages, 4095 - SECOND_BYTE);

// clang-format on

typedef int function(int);

/* Whether a site is to be patched. With CET a longer prefix than that of 5 bytes holds one, and it is the runtime's
 * choice to use it. */
enum takes { NEVER, ALWAYS, PERHAPS };

/* More than two bytes at the entry are single NOPs with gcc. clang makes one long NOP of them, and whether its first
 * two bytes may be written one after the other depends on which it is. */
#if defined(__clang__)
#define LONG_NOP PERHAPS
#else
#define LONG_NOP ALWAYS
#endif

struct site {
	const char *name;
	function *entry;
	enum takes takes;
};

static struct site sites[] = {
	{"prefix_5", prefix_5, ALWAYS},
	{"prefix_5_cold", prefix_5_cold, ALWAYS},
	{"prefix_5_more", prefix_5_more, LONG_NOP},
	{"prefix_6", prefix_6, CET ? PERHAPS : ALWAYS},
	{"prefix_6_cold", prefix_6_cold, CET ? PERHAPS : ALWAYS},
	{"prefix_6_more", prefix_6_more, CET ? PERHAPS : LONG_NOP},
	{"prefix_6_many", prefix_6_many, CET ? PERHAPS : LONG_NOP},
	{"prefix_6_aligned", prefix_6_aligned, CET ? PERHAPS : ALWAYS},
	{"prefix_9", prefix_9, CET ? PERHAPS : ALWAYS},
	{"prefix_9_more", prefix_9_more, CET ? PERHAPS : LONG_NOP},
	{"prefix_none", prefix_none, NEVER},
	{"prefix_short", prefix_short, NEVER},
	{"prefix_alone", prefix_alone, NEVER},
	{"marked", marked, ALWAYS},
	{"marked_cold", marked_cold, ALWAYS},
	{"local_by_hand", local_by_hand, ALWAYS},
#if !defined(__clang__)
	{"local_marked", local_marked, ALWAYS},
#endif
	{"placed_at_start", placed_at_start, ALWAYS},
	{"placed_odd", placed_odd, ALWAYS},
	{"placed_across_lines", placed_across_lines, ALWAYS},
	{"placed_across_pages", placed_across_pages, ALWAYS},
};

APART int twenty(int a)
{
	return a + 20;
}

APART int thirty(int a)
{
	return a + 30;
}

APART int closure(int a)
{
	int *context = hotpatch_context();

	return a + *context;
}

enum { AROUND = 16, BYTES = 64 };

struct bytes {
	unsigned char bytes[BYTES];
};

static struct bytes bytes_of(const struct site *site)
{
	struct bytes copy;

	memcpy(&copy, (const char *)(uintptr_t)site->entry - AROUND, sizeof(copy));
	return copy;
}

static void check_bytes(const struct site *site, const struct bytes *before)
{
	struct bytes after = bytes_of(site);

	for (int i = 0; i < BYTES; i++)
		if (after.bytes[i] != before->bytes[i])
			FAIL("%s: the byte at entry%+d is %02x and was %02x", site->name, i - AROUND, after.bytes[i],
			     before->bytes[i]);
}

static void check_call(const struct site *site, int want)
{
	function *volatile entry = site->entry;
	int got = entry(1000) - 1000;

	if (got != want)
		FAIL("%s adds %d and should add %d", site->name, got, want);
}

static const struct hotpatch_options defaults = {.size = sizeof(defaults)};

/* hotpatch_fn takes the name from its argument's text, which is a table's here; so it is called as the macro does. */
static int redirect(const struct site *site, function *body)
{
	return hotpatch_fn_at(hotpatch_marks_(), site->name, (hotpatch_any)site->entry, (hotpatch_any)body, &defaults);
}

static int restore(const struct site *site)
{
	return hotpatch_restore_at(hotpatch_marks_(), site->name, (hotpatch_any)site->entry, &defaults);
}

static void functions_and_closure(const struct site *site)
{
	int forty = 40;

	CHECK_OK(redirect(site, twenty));
	check_call(site, 20);
	CHECK_OK(redirect(site, thirty));
	check_call(site, 30);
	CHECK_OK(hotpatch_closure_at(hotpatch_marks_(), site->name, (hotpatch_any)site->entry, (hotpatch_any)closure,
	                             &forty, NULL, &defaults));
	check_call(site, 40);
	CHECK_OK(restore(site));
	check_call(site, 10);
}

static void set(const struct site *site)
{
	struct hotpatch *patch = hotpatch_new("set");

	CHECK_OK(hotpatch_replace_at(patch, hotpatch_marks_(), site->name, (hotpatch_any)site->entry,
	                             (hotpatch_any)twenty, NULL));
	for (int i = 0; i < 2; i++) {
		CHECK_OK(hotpatch_apply(patch));
		check_call(site, 20);
		CHECK_OK(hotpatch_revert(patch));
		check_call(site, 10);
	}
	CHECK_OK(hotpatch_free(patch));
}

static void taken(const struct site *site)
{
	struct bytes before = bytes_of(site);

	check_call(site, 10);
	functions_and_closure(site);
	check_bytes(site, &before);
	set(site);
	check_bytes(site, &before);
}

static void decide(struct site *site)
{
	if (site->takes != PERHAPS)
		return;
	site->takes = redirect(site, twenty) == HOTPATCH_OK ? ALWAYS : NEVER;
	if (site->takes == ALWAYS)
		CHECK_OK(restore(site));
}

/* Where there is no harmless prefix the runtime may say that there is none or that the code is not what it knows. */
static void refused(const struct site *site)
{
	struct bytes before = bytes_of(site);
	int r = redirect(site, twenty);

	if (r != HOTPATCH_ENOTPREPARED && r != HOTPATCH_ECODE)
		FAIL("%s has no harmless prefix, and patching it returns %d", site->name, r);
	check_error(__FILE__, __LINE__, site->name, r);
	CHECK_SAYS(site->name);
	check_call(site, 10);
	check_bytes(site, &before);
}

/* All sites in one set: neighbours must not disturb each other. */
static void all_together(void)
{
	struct hotpatch *patch = hotpatch_new("all");
	size_t i, count = sizeof(sites) / sizeof(sites[0]);

	for (i = 0; i < count; i++)
		if (sites[i].takes == ALWAYS)
			CHECK_OK(hotpatch_replace_at(patch, hotpatch_marks_(), sites[i].name,
			                             (hotpatch_any)sites[i].entry, (hotpatch_any)thirty, NULL));
	for (int round = 0; round < 3; round++) {
		CHECK_OK(hotpatch_apply(patch));
		for (i = 0; i < count; i++)
			check_call(&sites[i], sites[i].takes == ALWAYS ? 30 : 10);
		CHECK_OK(hotpatch_revert(patch));
		for (i = 0; i < count; i++)
			check_call(&sites[i], 10);
	}
	CHECK_OK(hotpatch_free(patch));
}

static void says_how_to_prepare(void)
{
	CHECK_CODE(hotpatch_fn(prefix_none, twenty), HOTPATCH_ENOTPREPARED);
	CHECK_SAYS("HOTPATCHABLE");
	CHECK_SAYS("-fpatchable-function-entry");
	CHECK(getpid() != getppid());
	CHECK_CODE(hotpatch_fn(getpid, getppid), HOTPATCH_ENOTPREPARED);
	CHECK_SAYS("getpid");
	CHECK(getpid() != getppid());
}

int main(void)
{
	deadline(30);
	for (size_t i = 0; i < sizeof(sites) / sizeof(sites[0]); i++) {
		decide(&sites[i]);
		if (sites[i].takes == ALWAYS)
			taken(&sites[i]);
		else
			refused(&sites[i]);
	}
	all_together();
	says_how_to_prepare();
	return 0;
}
