#include "make/generated.h"

#include <string.h>

static bool begins(const char *name, const char *const *starts)
{
	for (size_t i = 0; starts[i]; i++)
		if (strncmp(name, starts[i], strlen(starts[i])) == 0)
			return true;
	return false;
}

/* gcc's words for what it splits off or clones (gcc/symtab.cc, clone_function_name), numbers following; and what
 * sanitizers have run when the program begins and ends (gcc/cgraphbuild.cc, cgraph_build_static_cdtor). */
bool hp_is_part_name(const char *name)
{
	static const char *const words[] = {".cold", ".part", ".__part", ".isra", ".constprop"};
	static const char *const starts[] = {"_sub_I_", "_sub_D_", "asan.module_", "tsan.module_", NULL};

	if (begins(name, starts))
		return true;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		size_t length = strlen(words[i]);
		const char *at = *name ? strstr(name + 1, words[i]) : NULL;
		if (at && (!at[length] || at[length] == '.'))
			return true;
	}
	return false;
}

/* Constants that compilers make and give a symbol: of switches, of __func__, of personality routines; clang's strings
 * and tables with redzones. */
bool hp_is_generated_name(const char *name)
{
	static const char *const starts[] = {"CSWTCH.",
	                                     "__func__.",
	                                     "__FUNCTION__.",
	                                     "__PRETTY_FUNCTION__.",
	                                     "DW.ref.",
	                                     "reltable.",
	                                     ".L",
	                                     "switch.table.",
	                                     "__func__",
	                                     "C.0.",
	                                     "__PRETTY_FUNCTION__",
	                                     ".str",
	                                     "__const.",
	                                     "__unnamed_",
	                                     "___asan_",
	                                     "__odr_asan",
	                                     NULL};

	return begins(name, starts);
}

bool hp_is_generated_section(const char *name)
{
	return strncmp(name, ".data", 5) == 0 && strstr(name, "..L");
}

bool hp_begins_with_line(const struct hp_atoms *atoms, const struct hp_atom *atom)
{
	return atom->kind == HP_ATOM_PIECE && atom->section < atoms->object->n_sections && atom->size >= 16 &&
	       hp_is_generated_section(atoms->object->sections[atom->section].name) && atom->n_refs &&
	       atom->refs[0].offset == 0;
}

/* -- Frames as ASan tells of them (compiler-rt, ParseFrameDescription): "COUNT", then "OFFSET SIZE LENGTH NAME" of each
 * variable, where NAME has LENGTH bytes, among them ":LINE". --------------------------------------------------------
 */

struct text {
	const char *at, *end;
};

static bool take_number(struct text *text, unsigned long *ret_number)
{
	const char *begin = text->at;

	for (*ret_number = 0; text->at < text->end && *text->at >= '0' && *text->at <= '9'; text->at++)
		*ret_number = *ret_number * 10 + (unsigned long)(*text->at - '0');
	if (text->at == begin || text->at - begin > 9)
		return false;
	text->at += text->at < text->end && *text->at == ' ';
	return true;
}

/* Without its line. */
static bool take_name(struct text *text, unsigned long length, struct text *ret_name)
{
	if (length > (size_t)(text->end - text->at))
		return false;
	const char *colon = memchr(text->at, ':', length);
	*ret_name = (struct text){text->at, colon ? colon : text->at + length};
	text->at += length;
	text->at += text->at < text->end && *text->at == ' ';
	return true;
}

static bool same_variable(struct text *a, struct text *b)
{
	unsigned long x[3], y[3];
	struct text name, other;

	for (size_t i = 0; i < 3; i++)
		if (!take_number(a, &x[i]) || !take_number(b, &y[i]) || (i < 2 && x[i] != y[i]))
			return false;
	return take_name(a, x[2], &name) && take_name(b, y[2], &other) && name.end - name.at == other.end - other.at &&
	       memcmp(name.at, other.at, (size_t)(name.end - name.at)) == 0;
}

static struct text text_of(const uint8_t *bytes, uint64_t size)
{
	return (struct text){(const char *)bytes, (const char *)bytes + strnlen((const char *)bytes, size)};
}

bool hp_is_same_frame(const uint8_t *a, uint64_t a_size, const uint8_t *b, uint64_t b_size)
{
	struct text x = text_of(a, a_size), y = text_of(b, b_size);
	unsigned long n, m;

	if (!take_number(&x, &n) || !take_number(&y, &m) || n != m || !n)
		return false;
	while (n--)
		if (!same_variable(&x, &y))
			return false;
	return x.at == x.end && y.at == y.end;
}
