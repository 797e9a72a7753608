/* sizes.c - how much larger a program gets when every function of it is prepared.
 *
 * bench/programs/meson.build links bodies of code in three variants: plain; with the NOPs alone; prepared, which is
 * the NOPs and no calls in the last place that are jumps. Nobody runs them, their section headers are read:
 *
 *     .text                            8 bytes a function, and what the alignment of the next makes of them
 *     __patchable_function_entries     8 bytes a function, its address
 *     .rela.dyn, .relr.dyn             for each address a relocation: 24 bytes, or packed about an eighth of a byte
 *
 * Hotpatch reads the entries, not their table; but compilers write it, and whoever counts bytes has to count it.
 */
#include "sizes.h"

#include <fcntl.h>
#include <gelf.h>
#include <libelf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "footprint.h"
#include "must.h"

/* Bytes. */
struct image {
	double file, text, table, relocations;
	bool packed;
};

static const double entry_size = 8; /* of the table */
static const double budget = 7;     /* percent of .text */

/* -- Reading ---------------------------------------------------------------------------------------------------- */

static void image_count(struct image *image, const char *section, double size)
{
	if (strcmp(section, ".text") == 0)
		image->text += size;
	else if (strcmp(section, "__patchable_function_entries") == 0)
		image->table += size;
	else if (strcmp(section, ".rela.dyn") == 0 || strcmp(section, ".relr.dyn") == 0)
		image->relocations += size;
	if (strcmp(section, ".relr.dyn") == 0)
		image->packed = true;
}

static void image_read_sections(struct image *image, Elf *elf, const char *path)
{
	size_t names;
	must(elf != NULL && elf_getshdrstrndx(elf, &names) == 0, path);
	for (Elf_Scn *section = NULL; (section = elf_nextscn(elf, section)) != NULL;) {
		GElf_Shdr header;
		must(gelf_getshdr(section, &header) != NULL, path);
		image_count(image, elf_strptr(elf, names, header.sh_name), (double)header.sh_size);
	}
}

/* False where the program was not built. */
static bool image_read(const char *folder, const char *body, const char *variant, struct image *ret)
{
	char path[4096];
	struct stat status;
	struct image image = {0};

	snprintf(path, sizeof(path), "%s/programs/%s-%s", folder, body, variant);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	must(fstat(fd, &status) == 0 && elf_version(EV_CURRENT) != EV_NONE, path);
	image.file = (double)status.st_size;
	Elf *elf = elf_begin(fd, ELF_C_READ, NULL);
	image_read_sections(&image, elf, path);
	elf_end(elf);
	close(fd);
	*ret = image;
	return true;
}

/* -- Reporting -------------------------------------------------------------------------------------------------- */

struct body {
	const char *file, *name;
	struct image plain, nops, prepared, plain_packed, prepared_packed;
	double functions;
};

static void add_size(struct report *report, const char *what, const struct body *body, const char *variant, double size,
                     double plain)
{
	char with[128];
	snprintf(with, sizeof(with), "%s, %s", body->name, variant);
	report_add(report, REPORT_FOOTPRINT,
	           &(struct figure){what, with, (unsigned)body->functions, "KiB", footprint_one(size / 1024),
	                            plain > 0 ? footprint_one(size / plain) : (struct summary){0}});
}

static void add_text(struct report *report, const struct body *body)
{
	double plain = body->plain.text;
	add_size(report, "size of .text", body, "plain", plain, 0);
	add_size(report, "size of .text", body, "the NOPs alone", body->nops.text, plain);
	add_size(report, "size of .text", body, "prepared", body->prepared.text, plain);
	double added = (body->prepared.text - plain) / body->functions;
	footprint_add(report, ".text of a function, average", body->name, "bytes", plain / body->functions);
	footprint_add(report, "what preparing adds to it", body->name, "bytes", added);
	footprint_add(report, "the average at which that is the budget", body->name, "bytes", added / budget * 100);
}

static void add_file(struct report *report, const struct body *body)
{
	add_size(report, "size of the file, stripped", body, "plain", body->plain.file, 0);
	add_size(report, "size of the file, stripped", body, "prepared", body->prepared.file, body->plain.file);
	add_size(report, "table of entries", body, "prepared", body->prepared.table, 0);
	add_size(report, "relocations of the table", body, "not packed",
	         body->prepared.relocations - body->plain.relocations, 0);
	if (!body->prepared_packed.packed)
		return; /* the linker cannot */
	add_size(report, "size of the file, stripped", body, "prepared, both with relocations packed",
	         body->prepared_packed.file, body->plain_packed.file);
	add_size(report, "relocations of the table", body, "packed",
	         body->prepared_packed.relocations - body->plain_packed.relocations, 0);
}

/* In percent. Why it is missed follows from the functions: the shorter they are, the more 8 bytes weigh. */
static void add_budget(struct report *report, const struct body *body)
{
	const double plain = body->plain.text, n = body->functions;
	double measured = (body->prepared.text / plain - 1) * 100;
	char quantity[128], remark[512] = "";

	snprintf(quantity, sizeof(quantity), "growth of .text with every function prepared, %s", body->name);
	if (measured > budget)
		snprintf(remark, sizeof(remark),
		         "its functions are short: %.0f bytes on average; each grew by %.1f for the NOPs and their "
		         "alignment, and by %.1f for calls in the last place",
		         plain / n, (body->nops.text - plain) / n, (body->prepared.text - body->nops.text) / n);
	report_budget(report, &(struct budget){quantity, "%", 0, budget, measured, remark});
}

static bool body_read(struct body *body, const char *folder)
{
	if (!image_read(folder, body->file, "plain", &body->plain))
		return false;
	must(image_read(folder, body->file, "nops", &body->nops) &&
	             image_read(folder, body->file, "prepared", &body->prepared) &&
	             image_read(folder, body->file, "plain-packed", &body->plain_packed) &&
	             image_read(folder, body->file, "prepared-packed", &body->prepared_packed),
	     body->file);
	body->functions = body->prepared.table / entry_size;
	if (body->functions > 0 && body->plain.table == 0)
		return true;
	fprintf(stderr,
	        "bench: %s: of the plain and the prepared program the second alone should have a table of entries\n",
	        body->file);
	exit(1);
}

static void body_measure(struct report *report, const struct body *body)
{
	add_text(report, body);
	add_file(report, body);
	add_budget(report, body);
}

void sizes_measure(struct report *report, const char *folder)
{
	struct body own = {.file = "own", .name = "hotpatch's sources"};
	struct body trial = {.file = "trial", .name = "a trial's source"};
	struct body stb = {.file = "stb", .name = "stb"}; /* where libstb-dev is installed */

	if (report_smoke(report))
		own = trial; /* so that tests need not compile all sources three times more */
	must(body_read(&own, folder), own.file);
	body_measure(report, &own);
	if (body_read(&stb, folder))
		body_measure(report, &stb);
}
