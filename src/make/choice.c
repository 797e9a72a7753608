#include "make/choice.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "elf/debugfile.h"
#include "elf/names.h"
#include "elf/oldcode.h"
#include "make/command.h"
#include "types/array.h"

/* One of the commands. */
struct candidate {
	const struct hp_compile *compile;
	struct hp_object *object; /* of the old source */
	size_t score;             /* how many of its functions an image has */
};

struct chooser {
	const struct hp_choosing *what;
	const char *path;
	struct candidate *v;
	size_t n;
	struct hp_err *err;
};

static int no_memory(const struct chooser *c)
{
	return hp_err_set(c->err, HOTPATCH_ENOMEM, "no memory to choose how '%s' is compiled", c->path);
}

/* -- Candidates ------------------------------------------------------------------------------------------------ */

static bool ends_in(const char *word, size_t length, const char *end)
{
	size_t n = strlen(end);
	return length >= n && strncmp(word + length - n, end, n) == 0;
}

/* g++, x86_64-linux-gnu-g++-12, clang++, c++; -x c++; and by what gcc takes for C++ (gcc manual, "Overall Options"). */
static bool is_cxx(const struct hp_compile *compile)
{
	static const char *const ends[] = {".cc", ".cp", ".cxx", ".cpp", ".CPP", ".c++", ".C"};
	const char *compiler = compile->words[0];
	size_t length = strlen(compiler);

	while (length && strchr("0123456789.-", compiler[length - 1]))
		length--;
	if (ends_in(compiler, length, "++"))
		return true;
	for (size_t i = 1; i + 1 < compile->n_words; i++)
		if (strcmp(compile->words[i], "-x") == 0 && strcmp(compile->words[i + 1], "c++") == 0)
			return true;
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
		if (ends_in(compile->path, strlen(compile->path), ends[i]))
			return true;
	return false;
}

/* The command without what names its outputs. */
static int words_of(const struct chooser *c, const struct hp_compile *compile, struct hp_words *ret_words)
{
	return hp_command_make(compile, HP_VARIANT_PLAIN, NULL, "", true, ret_words, c->err);
}

static int same_command(const struct chooser *c, const struct hp_compile *a, const struct hp_compile *b, bool *ret_same)
{
	struct hp_words x = {0}, y = {0};
	int r = words_of(c, a, &x);

	if (r == 0)
		r = words_of(c, b, &y);
	bool same = r == 0 && x.count == y.count && strcmp(a->folder, b->folder) == 0;
	for (size_t i = 0; same && i < x.count; i++)
		same = strcmp(x.items[i], y.items[i]) == 0;
	hp_words_free(&x);
	hp_words_free(&y);
	*ret_same = same;
	return r;
}

/* From the last to the first: of those that are alike the last counts. */
static int add_candidate(struct chooser *c, const struct hp_compile *compile)
{
	bool same = false;
	int r = 0;

	for (size_t i = 0; i < c->n && !same && r == 0; i++)
		r = same_command(c, compile, c->v[i].compile, &same);
	if (r == HOTPATCH_EREFUSED)
		r = 0; /* link-time optimisation: said when it is compiled */
	if (r < 0 || same)
		return r;
	struct candidate *v = hp_array_grow(c->v, c->n, sizeof(*v));
	if (!v)
		return no_memory(c);
	c->v = v;
	v[c->n++] = (struct candidate){.compile = compile};
	return 0;
}

static int gather(struct chooser *c)
{
	const struct hp_compdb *db = c->what->db;
	bool found = false;
	int r = 0;

	for (size_t i = db->count; i-- > 0 && r == 0;) {
		if (strcmp(db->items[i].path, c->path) != 0)
			continue;
		found = true;
		if (!is_cxx(&db->items[i]))
			r = add_candidate(c, &db->items[i]);
	}
	if (r == 0 && found && !c->n)
		r = hp_err_set(c->err, HOTPATCH_EREFUSED,
		               "'%s' is compiled as C++, of which hotpatch build makes no patches: it compares C",
		               c->path);
	return r;
}

/* -- Their code ------------------------------------------------------------------------------------------------ */

static int start(const struct chooser *c, size_t i, const char *output, pid_t *ret_pid)
{
	const struct hp_compile *compile = c->v[i].compile;
	struct hp_words words = {0};
	char *folder = NULL;
	int r = hp_command_make(compile, HP_VARIANT_PLAIN, c->what->view, output, true, &words, c->err);

	if (r == 0 && asprintf(&folder, "%s%s", c->what->view, compile->folder) < 0)
		r = no_memory(c);
	if (r == 0)
		r = hp_program_start(words.items, folder, ret_pid, c->err);
	hp_words_free(&words);
	free(folder);
	return r;
}

static int compile_one(const struct chooser *c, size_t i)
{
	char *output = hp_workspace_path(c->what->workspace, "choice.o");
	pid_t pid = 0;
	int r = output ? start(c, i, output, &pid) : no_memory(c);

	if (r == 0 && hp_program_wait(pid) != 0)
		r = hp_err_set(c->err, HOTPATCH_EBUILD, "'%s' could not be compiled as it was", c->path);
	if (r == 0)
		r = hp_object_read(output, &c->v[i].object, c->err);
	if (output)
		unlink(output);
	free(output);
	return r;
}

static bool is_code(const struct hp_object *object, const struct hp_object_symbol *symbol)
{
	return symbol->type == STT_FUNC && symbol->section && symbol->section < object->n_sections && symbol->size;
}

static int count_alike(const struct hp_object *a, const struct hp_object *b, bool *ret_alike, struct hp_err *err)
{
	size_t functions = 0, others = 0;

	*ret_alike = true;
	for (size_t i = 0; i < b->n_symbols; i++)
		others += is_code(b, &b->symbols[i]);
	for (size_t i = 0; i < a->n_symbols && *ret_alike; i++) {
		struct hp_old_code x = {0}, y = {0};
		struct hp_err ignored;
		if (!is_code(a, &a->symbols[i]))
			continue;
		functions++;
		int r = hp_old_code_find(a, a->symbols[i].name, &x, err);
		if (r == 0 && hp_old_code_find(b, a->symbols[i].name, &y, &ignored) < 0)
			*ret_alike = false;
		if (r == 0 && *ret_alike)
			*ret_alike = x.size == y.size && memcmp(x.hash, y.hash, sizeof(x.hash)) == 0;
		free(x.masks);
		free(y.masks);
		if (r < 0)
			return r;
	}
	*ret_alike = *ret_alike && functions == others;
	return 0;
}

/* -- Images ---------------------------------------------------------------------------------------------------- */

static const uint8_t *bytes_at(const struct hp_image *image, uint64_t address, uint64_t size)
{
	for (size_t i = 0; i < image->n_sections; i++) {
		const GElf_Shdr *header = &image->sections[i].header;
		if (!(header->sh_flags & SHF_EXECINSTR) || address < header->sh_addr ||
		    address - header->sh_addr >= header->sh_size ||
		    header->sh_size - (address - header->sh_addr) < size)
			continue;
		Elf_Data *data = hp_section_data(&image->sections[i]);
		bool has = data && data->d_buf && data->d_size == header->sh_size;
		return has ? (const uint8_t *)data->d_buf + (address - header->sh_addr) : NULL;
	}
	return NULL;
}

static bool has_code(const struct hp_image *image, const struct hp_names *names, const char *function,
                     const struct hp_old_code *code)
{
	size_t n;
	const struct hp_name *name = hp_names_find(names, function, &n);

	for (size_t i = 0; i < n; i++) {
		uint8_t hash[HP_HASH_SIZE];
		const uint8_t *bytes = name[i].is_defined ? bytes_at(image, name[i].value, code->size) : NULL;
		if (!bytes)
			continue;
		hp_code_hash(bytes, code->size, code->masks, code->n_masks, hash);
		if (memcmp(hash, code->hash, sizeof(hash)) == 0)
			return true;
	}
	return false;
}

static int compare_strings(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int read_names(const struct chooser *c, const struct hp_image *image, const struct hp_object *object,
                      struct hp_names **ret_names)
{
	const char **wanted = calloc(object->n_symbols + 1, sizeof(*wanted));
	size_t n = 0;

	if (!wanted)
		return no_memory(c);
	for (size_t i = 0; i < object->n_symbols; i++)
		if (is_code(object, &object->symbols[i]))
			wanted[n++] = object->symbols[i].name;
	if (n)
		qsort(wanted, n, sizeof(*wanted), compare_strings);
	int r = hp_names_read(image, HP_DEBUG_ROOT, wanted, n, ret_names, c->err);
	free(wanted);
	return r;
}

static int score(const struct chooser *c, const struct hp_image *image, struct candidate *candidate)
{
	const struct hp_object *object = candidate->object;
	struct hp_names *names = NULL;
	int r = read_names(c, image, object, &names);

	for (size_t i = 0; i < object->n_symbols && r == 0; i++) {
		struct hp_old_code code;
		if (!is_code(object, &object->symbols[i]))
			continue;
		r = hp_old_code_find(object, object->symbols[i].name, &code, c->err);
		if (r < 0)
			break;
		candidate->score += has_code(image, names, object->symbols[i].name, &code);
		free(code.masks);
	}
	hp_names_free(names);
	return r;
}

static int score_image(const struct chooser *c, const char *path)
{
	struct hp_image *image;
	int r = hp_image_open(path, path, &image, c->err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < c->n && r == 0; i++)
		r = score(c, image, &c->v[i]);
	hp_image_close(image);
	return r;
}

/* -- The choice ------------------------------------------------------------------------------------------------ */

static const char *output_of(const struct hp_compile *compile)
{
	for (size_t i = 1; i + 1 < compile->n_words; i++)
		if (strcmp(compile->words[i], "-o") == 0)
			return compile->words[i + 1];
	return compile->source;
}

static bool is_pic(const struct hp_compile *compile)
{
	bool pic = false;

	for (size_t i = 1; i < compile->n_words; i++) {
		if (strcasecmp(compile->words[i], "-fpic") == 0)
			pic = true;
		else if (strcasecmp(compile->words[i], "-fno-pic") == 0)
			pic = false;
	}
	return pic;
}

static const struct candidate *preferred(const struct candidate *a, const struct candidate *b)
{
	return b->score > a->score || (b->score == a->score && is_pic(b->compile) && !is_pic(a->compile)) ? b : a;
}

static int refuse_several(const struct chooser *c, const struct candidate *a, const struct candidate *b)
{
	return hp_err_set(
		c->err, HOTPATCH_EREFUSED,
		"'%s' is compiled in %zu ways that give other code, to '%s' and to '%s' among them: name the program or "
		"library that is to be patched with --image",
		c->path, c->n, output_of(a->compile), output_of(b->compile));
}

static int refuse_none(const struct chooser *c)
{
	return hp_err_set(
		c->err, HOTPATCH_EREFUSED,
		"'%s' is compiled in %zu ways, and '%s' has none of its functions as any of them makes them: name the program "
		"or library that has it with --image, built from these sources",
		c->path, c->n, c->what->images[0]);
}

static bool has_functions(const struct hp_object *object)
{
	for (size_t i = 0; i < object->n_symbols; i++)
		if (is_code(object, &object->symbols[i]))
			return true;
	return false;
}

/* Of those with the best score all have to be alike. */
static int choose(const struct chooser *c, const struct hp_compile **ret_compile)
{
	const struct candidate *best = &c->v[0];
	int r = 0;

	for (size_t i = 1; i < c->n; i++)
		best = preferred(best, &c->v[i]);
	if (c->what->n_images && !best->score && has_functions(best->object))
		return refuse_none(c);
	for (size_t i = 0; i < c->n && r == 0; i++) {
		bool alike = true;
		if (&c->v[i] != best && c->v[i].score == best->score)
			r = count_alike(best->object, c->v[i].object, &alike, c->err);
		if (r == 0 && !alike)
			r = refuse_several(c, best, &c->v[i]);
	}
	*ret_compile = best->compile;
	return r;
}

static int choose_by_code(struct chooser *c, const struct hp_compile **ret_compile)
{
	int r = 0;

	for (size_t i = 0; i < c->n && r == 0; i++)
		r = compile_one(c, i);
	for (size_t i = 0; i < c->what->n_images && r == 0; i++)
		r = score_image(c, c->what->images[i]);
	return r < 0 ? r : choose(c, ret_compile);
}

int hp_choice_make(const struct hp_choosing *choosing, const char *path, const struct hp_compile **ret_compile,
                   struct hp_err *err)
{
	struct chooser c = {.what = choosing, .path = path, .err = err};
	int r = gather(&c);

	*ret_compile = NULL;
	if (r == 0 && c.n > 1)
		r = choose_by_code(&c, ret_compile);
	else if (r == 0 && c.n)
		*ret_compile = c.v[0].compile;
	for (size_t i = 0; i < c.n; i++)
		hp_object_free(c.v[i].object);
	free(c.v);
	return r;
}
