/* build - what tests of the build side share: sources compiled and compared, in a folder of their own. */
#ifndef HP_TESTS_BUILD_H
#define HP_TESTS_BUILD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "elf/patchfile.h"
#include "elf/patchwriter.h"
#include "make/pack.h"
#include "make/rules.h"
#include "make/unit.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static char test_folder[] = "/tmp/hp_test_build-XXXXXX";

static inline int make_test_folder(void **state)
{
	(void)state;
	return mkdtemp(test_folder) ? 0 : -1;
}

static inline int remove_test_folder(void **state)
{
	char command[256];
	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", test_folder);
	return system(command);
}

static inline const char *in_folder(const char *name)
{
	static char paths[8][256];
	static unsigned turn;
	char *path = paths[turn++ % 8];

	snprintf(path, sizeof(paths[0]), "%s/%s", test_folder, name);
	return path;
}

static inline void write_text(const char *path, const char *text)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static inline bool has_compiler(const char *compiler)
{
	char command[256];
	snprintf(command, sizeof(command), "command -v %s >/dev/null", compiler);
	return system(command) == 0;
}

/* The three objects of a unit. Both texts are called a.c, as a program's file is before and after. */
static inline void compile_texts(const char *compiler, const char *flags, const char *sectioned, const char *old_text,
                                 const char *new_text)
{
	char command[4096];

	mkdir(in_folder("old"), 0700);
	mkdir(in_folder("new"), 0700);
	write_text(in_folder("old/a.c"), old_text);
	write_text(in_folder("new/a.c"), new_text);
	snprintf(command, sizeof(command),
	         "cd %s/old && { %s %s -w -c a.c -o ../plain.o & %s %s -w -c a.c -o ../old.o & cd ../new && "
	         "%s %s -w -c a.c -o ../new.o && wait; }",
	         test_folder, compiler, flags, compiler, sectioned, compiler, sectioned);
	if (system(command) != 0)
		fail_msg("%s", command);
}

/* Old and new text compared; everything that was found, and the patch. */
struct built {
	struct hp_make_unit unit;
	struct hp_findings findings;
	struct hp_patchfile *file; /* NULL: refused, or nothing changed */
	uint8_t *bytes;
	size_t size;
	int code;
	struct hp_err err;
};

static inline void build_texts(const char *compiler, const char *flags, const char *old_text, const char *new_text,
                               const struct hp_make_options *options, struct built *ret)
{
	char sectioned[512];

	*ret = (struct built){0};
	snprintf(sectioned, sizeof(sectioned), "%s -g -gz=none -ffunction-sections -fdata-sections", flags);
	compile_texts(compiler, flags, sectioned, old_text, new_text);
	ret->code = hp_unit_of_objects(in_folder("old.o"), in_folder("new.o"), &ret->unit, &ret->err);
	if (ret->code == 0)
		ret->code = hp_object_read(in_folder("plain.o"), &ret->unit.plain, &ret->err);
	if (ret->code == 0)
		ret->code = hp_select(&ret->unit, options, &ret->findings, &ret->err);
	if (ret->code == 0)
		ret->code = hp_rules_check(&ret->unit, options, &ret->findings, &ret->err);
	if (ret->code == 0)
		ret->code = hp_pack(&ret->unit, 1, options, &ret->findings, &ret->bytes, &ret->size, &ret->err);
	if (ret->code == 0)
		ret->code = hp_patchfile_parse(ret->bytes, ret->size, "it", &ret->file, &ret->err);
}

static inline void free_built(struct built *built)
{
	hp_patchfile_free(built->file);
	hp_findings_free(&built->findings);
	hp_unit_free(&built->unit);
	free(built->bytes);
}

/* "f g", in alphabetical order: the names of what was found of one kind. */
static inline int compare_names(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static inline const char *names_found(const struct built *built, enum hp_finding_kind kind)
{
	static char text[1024];
	const char *names[64];
	size_t n = 0;

	for (size_t i = 0; i < built->findings.count && n < COUNT(names); i++)
		if (built->findings.items[i].kind == kind)
			names[n++] = built->findings.items[i].name;
	qsort(names, n, sizeof(*names), compare_names);
	text[0] = '\0';
	for (size_t i = 0; i < n; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s", i ? " " : "", names[i]);
	return text;
}

#endif
