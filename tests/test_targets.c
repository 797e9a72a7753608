/* test_targets - what relocations refer to, where another object has some of the same code: that is not decoded again,
 * and what it says is the same as if it were.
 *
 * Seen to fail: with sections taken for the same by their names alone (other, retyped, poisoned), with relocations that
 * are not compared (retyped), with what could not be decoded taken over (undecodable), and without anything taken over
 * (poisoned).
 */
#include "build.h"

#include "make/targets.h"

/* The program of the test: a function in a section of its own for each of these. */
#define LOADS(name, value)                                                                                             \
	".section .text." name ",\"ax\",@progbits\n" name ": movl $" value ",place(%rip)\nmovl place(%rip),%eax\nret\n"
#define PLACE ".section .data.place,\"aw\"\n.long 0\nplace: .long 0\n"

struct read {
	struct hp_object *object;
	struct hp_targets targets;
	int code;
	struct hp_err err;
};

static struct read read_text(const char *name, const char *text, const struct read *like)
{
	char command[600], path[64];
	struct read read = {0};

	snprintf(path, sizeof(path), "%s.s", name);
	write_text(in_folder(path), text);
	snprintf(command, sizeof(command), "cd %s && cc -c %s.s -o %s.o", test_folder, name, name);
	assert_int_equal(system(command), 0);
	snprintf(path, sizeof(path), "%s.o", name);
	assert_int_equal(hp_object_read(in_folder(path), &read.object, &read.err), 0);
	const struct hp_decoded decoded =
		like ? (struct hp_decoded){like->object, like->targets.tails} : (struct hp_decoded){0};
	read.code = hp_targets_read(read.object, like ? &decoded : NULL, &read.targets, &read.err);
	return read;
}

static void free_read(struct read *read)
{
	free(read->targets.items);
	free(read->targets.tails);
	hp_object_free(read->object);
}

/* The tail of the first relocation of a section. */
static uint8_t *tail_of(const struct read *read, const char *section)
{
	for (size_t i = 0; i < read->object->n_sections; i++)
		if (strcmp(read->object->sections[i].name, section) == 0)
			return &read->targets.tails[read->object->sections[i].relocs - read->object->relocs];
	fail_msg("no section %s", section);
	return NULL;
}

static void assert_same(const struct read *a, const struct read *b)
{
	assert_int_equal(a->code, 0);
	assert_int_equal(b->code, 0);
	assert_int_equal(a->targets.count, b->targets.count);
	for (size_t i = 0; i < a->targets.count; i++) {
		const struct hp_target *x = &a->targets.items[i], *y = &b->targets.items[i];
		assert_true(x->from == y->from && x->section == y->section && x->offset == y->offset &&
		            x->tail == y->tail);
	}
	assert_memory_equal(a->targets.tails, b->targets.tails, a->object->n_relocs);
}

/* With `old` and without it. */
static void assert_alike(const char *old, const char *new)
{
	struct read like = read_text("old", old, NULL), with = read_text("new", new, &like),
		    alone = read_text("new", new, NULL);

	assert_same(&with, &alone);
	free_read(&like);
	free_read(&with);
	free_read(&alone);
}

static void test_same(void **state)
{
	(void)state;
	assert_alike(PLACE LOADS("one", "1") LOADS("two", "2"), PLACE LOADS("one", "1") LOADS("two", "2"));
}

static void test_moved(void **state)
{
	(void)state;
	assert_alike(PLACE LOADS("one", "1") LOADS("two", "2") LOADS("three", "3"),
	             LOADS("new", "0") LOADS("two", "2") LOADS("three", "3") PLACE LOADS("one", "1"));
}

/* The name of a function, and other code, of the same size. */
static void test_other(void **state)
{
	(void)state;
	assert_alike(PLACE ".section .text.one,\"ax\",@progbits\none: movb $1,place(%rip)\nret\n",
	             PLACE ".section .text.one,\"ax\",@progbits\none: cmpl place(%rip),%eax\nnop\nret\n");
}

/* The same bytes, with another relocation at another place. */
static void test_retyped(void **state)
{
	static const char head[] = ".section .text.one,\"ax\",@progbits\none: movl $0,0(%rip)\nret\n";
	char first[400], second[400];

	(void)state;
	snprintf(first, sizeof(first), PLACE "%s.reloc one+2,R_X86_64_PC32,place-8\n", head);
	snprintf(second, sizeof(second), PLACE "%s.reloc one+6,R_X86_64_PC32,place-4\n", head);
	assert_alike(first, second);
	snprintf(second, sizeof(second), PLACE "%s.reloc one+2,R_X86_64_32,place\n", head);
	assert_alike(first, second);
}

/* What was taken over is what the other object says, where the code is the same, and there alone. */
static void test_poisoned(void **state)
{
	(void)state;
	struct read like = read_text("old", PLACE LOADS("one", "1") LOADS("two", "2"), NULL);
	assert_int_equal(*tail_of(&like, ".text.one"), 8);
	*tail_of(&like, ".text.one") = *tail_of(&like, ".text.two") = 77;
	struct read new = read_text("new", PLACE LOADS("one", "1") LOADS("two", "5"), &like);
	assert_int_equal(*tail_of(&new, ".text.one"), 77);
	assert_int_equal(*tail_of(&new, ".text.two"), 8);
	free_read(&like);
	free_read(&new);
}

/* The last byte is the begin of an instruction: of what another file has nothing has to be known, of a place in a
 * section the instruction. */
static void test_undecodable(void **state)
{
	static const char code[] = ".section .text.one,\"ax\",@progbits\none: ret\n.byte place - .\n";
	char inside[400];

	(void)state;
	snprintf(inside, sizeof(inside), PLACE "%s", code);
	struct read like = read_text("old", code, NULL), with = read_text("new", inside, &like);
	assert_int_equal(like.code, 0);
	assert_int_equal(with.code, HOTPATCH_EBUILD);
	assert_non_null(strstr(with.err.text, "cannot decode the code at 0x1 of section '.text.one'"));
	struct read again = read_text("again", code, &like);
	assert_same(&like, &again);
	free_read(&like);
	free_read(&with);
	free_read(&again);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same),    cmocka_unit_test(test_moved),    cmocka_unit_test(test_other),
		cmocka_unit_test(test_retyped), cmocka_unit_test(test_poisoned), cmocka_unit_test(test_undecodable),
	};
	return cmocka_run_group_tests(tests, make_test_folder, remove_test_folder);
}
