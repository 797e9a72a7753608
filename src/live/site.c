#include "live/site.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/inspector.h"
#include "base/mapped.h"
#include "code/displaced.h"
#include "code/jump.h"
#include "code/pun.h"
#include "code/unprepared.h"
#include "live/barrier.h"
#include "live/registry.h"

/* -- Recognising an entry ---------------------------------------------------------------------------------------- */

/* How many bytes before the entry belong to no function. */
static size_t room_before(uintptr_t entry)
{
	struct hp_fde fde;
	size_t room = 0;
	while (room < HP_ENTRY_BEFORE && !hp_mapped_function(entry - room - 1, &fde))
		room++;
	return room;
}

/* To whom the bytes before the entry belong is only asked where the entry looks prepared. */
static enum hp_entry_kind read_entry(uintptr_t entry, struct hp_entry *plan)
{
	uint8_t bytes[HP_ENTRY_BEFORE + HP_ENTRY_AFTER] = {0}, *at = bytes + HP_ENTRY_BEFORE;
	size_t room = HP_ENTRY_BEFORE;
	if (!hp_text_read(entry - room, bytes, sizeof(bytes))) { /* at one end of a segment, say */
		hp_memory_read_some(entry, at, HP_ENTRY_AFTER);
		room = room_before(entry);
		if (!hp_memory_read(entry - room, at - room, room))
			room = 0;
	}
	enum hp_entry_kind kind = hp_arch_entry_read(at - room, room, at, plan);
	if (kind != HP_ENTRY_PREPARED)
		return kind;
	room = room_before(entry);
	return hp_arch_entry_read(at - room, room, at, plan);
}

void hp_site_undo_writes(uintptr_t at, uint8_t *bytes, size_t n)
{
	const struct hp_site *site = hp_site_at(at);
	if (site && site->redirected && n >= site->plan.jump_at + (size_t)site->plan.jump_len)
		memcpy(bytes + site->plan.jump_at, site->plan.old_jump, site->plan.jump_len);
}

/* The jump goes over the function's first instructions, of which a copy is made. */
static int plan_unprepared(struct hp_site *site, const struct hp_named *named, struct hp_err *err)
{
	struct hp_range parts[HP_PARTS_MAX];
	const struct hp_parts *known = &site->original.parts;
	struct hp_displaced displaced;
	if (hp_definition_uses(site->entry))
		return hp_err_set(
			err, HOTPATCH_ENOTPREPARED,
			"'%s' is not prepared for patching, and cannot be patched as it is: it is the body of "
			"another function's definition",
			named->name);
	for (size_t i = 0; i < known->n; i++)
		parts[i] = (struct hp_range){known->v[i].low, known->v[i].high};
	struct hp_function function = {site->entry, named->name, parts, known->n, hp_site_undo_writes};
	int error = hp_unprepared_plan(&function, &site->plan, &site->pun, &displaced, err);
	return error ? error
	             : hp_displaced_new(named->name, site->entry + site->plan.jump_at, &displaced, &site->copy, err);
}

static int refuse_unprepared(uintptr_t entry, const char *name, struct hp_err *err)
{
	return hp_err_set(
		err, HOTPATCH_ENOTPREPARED,
		"'%s' in %s is not prepared for patching; mark it HOTPATCHABLE, or compile its file with " HP_PREPARE_HINT
		", or have it patched as it is with .unprepared",
		name, hp_mapped_find(entry)->name);
}

static int plan_entry(struct hp_site *site, const struct hp_named *named, struct hp_err *err)
{
	switch (read_entry(site->entry, &site->plan)) {
	case HP_ENTRY_PREPARED:
		return 0;
	case HP_ENTRY_BREAKPOINT:
		return hp_err_set(err, HOTPATCH_ECODE,
		                  "a debugger's breakpoint stands at the entry of '%s'; take it away first",
		                  named->name);
	default:
		return named->unprepared ? plan_unprepared(site, named, err)
		                         : refuse_unprepared(site->entry, named->name, err);
	}
}

int hp_site_own_code(uintptr_t entry, const struct hp_named *named, uintptr_t *ret_target, struct hp_err *err)
{
	struct hp_entry plan;
	struct hp_site *site = hp_site_at(entry);
	*ret_target = entry;
	if (!site && read_entry(entry, &plan) == HP_ENTRY_PREPARED) {
		if (!plan.guarded) {
			*ret_target = entry + plan.body_at;
			return 0;
		}
		int error = hp_site_get(entry, named, &site, err); /* for its landing to the body */
		if (error)
			return error;
	}
	if (site)
		*ret_target = site->original.target;
	return 0;
}

/* -- Making a site ----------------------------------------------------------------------------------------------- */

/* The macro's argument may be an expression; then the symbol says more. */
static char *choose_name(uintptr_t entry, const char *name)
{
	struct hp_place found;
	const char *c = name;
	while ((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || *c == '_' || *c == ':' ||
	       (*c >= '0' && *c <= '9'))
		c++;
	if (*c == 0)
		return strdup(name);
	hp_place_of(entry, true, &found);
	return strdup(*found.function && found.offset == 0 ? found.function : name);
}

static void site_free(struct hp_site *site)
{
	free(site->name);
	free(site);
}

/* Fills what does not take a cell, so that nothing is used up when a function is refused. */
static int site_describe(struct hp_site *site, const struct hp_named *named, struct hp_err *err)
{
	int error = 0;
	if (named->known)
		site->original.parts = *named->known;
	else
		error = hp_function_parts(site->entry, named->name, named->marks, &site->original.parts, err);
	if (!error && !(site->name = named->known ? strdup(named->name) : choose_name(site->entry, named->name)))
		error = hp_err_set(err, HOTPATCH_ENOMEM, "no memory for the site of '%s'", named->name);
	if (!error)
		error = plan_entry(site, named, err);
	return error;
}

static int site_give_cell(struct hp_site *site, struct hp_err *err)
{
	uintptr_t body = site->copy ? site->copy : site->entry + site->plan.body_at;
	int error = hp_near_take(site->entry, &site->cell, err);
	if (error)
		return error;
	*site->cell.body = body;
	*site->cell.site = site;
	site->original.body = site->entry;
	site->original.name = site->name;
	site->original.is_original = true;
	site->original.refs = 1;
	site->original.target = site->plan.guarded ? site->cell.code + HP_CELL_BODY : body;
	atomic_store(site->cell.slot, site->original.target);
	atomic_store(&site->before, site->original.target);
	atomic_store(&site->after, site->original.target);
	if (site->pun && (error = hp_pun_fill(site->pun, (uintptr_t)site->cell.slot, err)) != 0)
		return error;
	if (!hp_arch_entry_aim(&site->plan, site->entry, (uintptr_t)site->cell.slot, site->cell.code + HP_CELL_LANDING))
		return hp_err_set(err, HOTPATCH_ENOMEM, "no slot lies within reach of '%s'", site->name);
	return 0;
}

static uintptr_t prefix_address(const struct hp_site *site)
{
	return site->entry + (uintptr_t)(intptr_t)site->plan.prefix_at;
}

uintptr_t hp_site_jump(const struct hp_site *site)
{
	return site->entry + site->plan.jump_at;
}

int hp_site_get(uintptr_t entry, const struct hp_named *named, struct hp_site **ret_site, struct hp_err *err)
{
	struct hp_site *site = hp_site_at(entry);
	if (site) { /* its code is checked before it is written: another thread may be at that just now */
		*ret_site = site;
		return 0;
	}
	site = calloc(1, sizeof(*site));
	if (!site)
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory for the site of '%s'", named->name);
	site->entry = entry;
	int error = site_describe(site, named, err);
	if (!error)
		error = hp_registry_reserve(err);
	if (!error) /* last, since cells are never given back */
		error = site_give_cell(site, err);
	if (error) {
		site_free(site);
		return error;
	}
	hp_registry_add(site);
	hp_mapped_pin(entry); /* a patched library must not be unloaded, and loaded again without its patch */
	*ret_site = site;
	return 0;
}

/* -- Layers ------------------------------------------------------------------------------------------------------ */

uintptr_t hp_site_target(const struct hp_site *site)
{
	return site->n_layers ? site->layers[site->n_layers - 1].definition->target : site->original.target;
}

/* An outgrown array is kept: a reader without a lock may be in it. Sizes double, so that what is kept stays less than
 * what is used. */
int hp_site_reserve_layers(struct hp_site *site, size_t n, struct hp_err *err)
{
	if (n <= site->layers_capacity)
		return 0;
	size_t capacity = n < 4 ? 4 : 2 * n;
	struct hp_layer *layers = calloc(capacity, sizeof(*layers));
	if (!layers)
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory for another definition of '%s'", site->name);
	if (site->n_layers)
		memcpy(layers, site->layers, site->n_layers * sizeof(*layers));
	atomic_fetch_add(&site->version, 1);
	site->layers = layers;
	site->layers_capacity = capacity;
	atomic_fetch_add(&site->version, 1);
	return 0;
}

void hp_site_set_layers(struct hp_site *site, const struct hp_layer *layers, size_t n)
{
	atomic_fetch_add(&site->version, 1);
	for (size_t i = 0; i < n; i++) {
		site->layers[i] = layers[i];
		site->layers[i].low = layers[i].definition->parts.v[0].low;
		site->layers[i].high = layers[i].definition->parts.v[0].high;
		site->layers[i].target = layers[i].definition->target;
	}
	if (site->layers_capacity > n) /* addresses: base/memory.h */
		memset(site->layers + n, 0, (site->layers_capacity - n) * sizeof(*layers));
	site->n_layers = n;
	atomic_fetch_add(&site->version, 1);
}

/* -- Text -------------------------------------------------------------------------------------------------------- */

static bool wants_undo(const struct hp_site *site)
{
	return !site->plan.breakpoint && (site->redirected || site->tail_set) && site->n_layers == 0;
}

/* The code of an entry: the prefix, perhaps a landing instruction, the jump. */
enum { CODE_MAX = HP_ENTRY_BEFORE + HP_ENTRY_AFTER };

static struct iovec code_of(const struct hp_site *site)
{
	uintptr_t low = prefix_address(site), high = hp_site_jump(site) + site->plan.jump_len;
	return (struct iovec){(void *)low, high - low};
}

static bool prefix_is(const struct hp_site *site, const uint8_t *code, const uint8_t *prefix)
{
	return memcmp(code, prefix, site->plan.prefix_len) == 0;
}

static bool jump_is_old(const struct hp_site *site, const uint8_t *code)
{
	size_t at = (size_t)(site->plan.jump_at - site->plan.prefix_at);
	return memcmp(code + at, site->plan.old_jump, site->plan.jump_len) == 0;
}

/* Whether the code of an entry that is not redirected is as it was found, or as we left it. */
static int check_code(struct hp_site *site, const uint8_t *code, void *unused, struct hp_err *err)
{
	(void)unused;
	const struct hp_entry *plan = &site->plan;
	const uint8_t *jump = code + plan->jump_at - plan->prefix_at;
	bool ours =
		site->trapping ? jump[0] == hp_arch_breakpoint : hp_jump_agrees(plan, HP_HEAD, jump, plan->old_jump);
	for (size_t i = HP_JUMP_HEAD; i < HP_JUMP_MAX && i < plan->jump_len; i++)
		ours &= jump[i] == plan->old_jump[i] || (site->tail_set && jump[i] == plan->new_jump[i]);
	for (size_t i = 0; i < plan->prefix_len; i++) /* a write may have failed in the middle */
		ours &= code[i] == plan->old_prefix[i] || code[i] == plan->new_prefix[i];
	if (ours)
		return 0;
	return hp_err_set(
		err, HOTPATCH_ECODE,
		"the code at the entry of '%s' was changed by somebody else (a debugger, another copy of hotpatch, "
		"the program itself)",
		site->name);
}

typedef int (*code_fn)(struct hp_site *site, const uint8_t *code, void *arg, struct hp_err *err);

/* Sites, some at a time, so that one system call reads the code of all of them. */
struct reader {
	code_fn each;
	void *arg;
	struct hp_site *sites[HP_PIECES_MAX];
	size_t n;
};

/* Calls each with the code of the sites that were collected, in order, until one fails. */
static int reader_flush(struct reader *reader, struct hp_err *err)
{
	if (reader->n == 0)
		return 0;
	struct iovec pieces[HP_PIECES_MAX];
	uint8_t codes[HP_PIECES_MAX * CODE_MAX];
	const uint8_t *at = codes;
	int error = 0;
	for (size_t i = 0; i < reader->n; i++)
		pieces[i] = code_of(reader->sites[i]);
	memset(codes, 0, reader->n * CODE_MAX); /* what cannot be read is not as it was */
	hp_memory_read_pieces(pieces, reader->n, codes);
	for (size_t i = 0; i < reader->n && !error; i++) {
		error = reader->each(reader->sites[i], at, reader->arg, err);
		at += pieces[i].iov_len;
	}
	reader->n = 0;
	return error;
}

static int reader_add(struct reader *reader, struct hp_site *site, struct hp_err *err)
{
	reader->sites[reader->n++] = site;
	return reader->n == HP_PIECES_MAX ? reader_flush(reader, err) : 0;
}

/* Of the entries that are not redirected yet. */
int hp_sites_check(struct hp_site *const *sites, size_t n, struct hp_err *err)
{
	struct reader reader = {.each = check_code};
	int error = 0;
	for (size_t i = 0; i < n && !error; i++)
		if (!sites[i]->redirected)
			error = reader_add(&reader, sites[i], err);
	return error ? error : reader_flush(&reader, err);
}

/* What hp_sites_redirect is to do: others take a breakpoint. */
static bool wants_jump(const struct hp_site *site)
{
	return !site->redirected && !site->plan.breakpoint;
}

static int write_part(const struct hp_site *site, enum hp_part part, const uint8_t *jump, struct hp_text *text,
                      struct hp_err *err)
{
	return hp_jump_write(&site->plan, part, hp_site_jump(site), jump, text, err);
}

/* Writes one part of every jump that is not there yet. */
static int write_jumps(struct hp_site *const *sites, size_t n, enum hp_part part, struct hp_text *text,
                       struct hp_err *err)
{
	int error = 0;
	for (size_t i = 0; i < n && !error; i++)
		if (wants_jump(sites[i]) && !(part == HP_TAIL && sites[i]->pun))
			error = write_part(sites[i], part, sites[i]->plan.new_jump, text, err);
	return error;
}

/* Whether a part of the jump is written that does nothing alone. */
static bool has_tail(const struct hp_site *site)
{
	return !site->pun && hp_jump_has_tail(&site->plan);
}

/* What is there, whatever was meant to be: a write may have failed before or after it was done. */
static void note_jump(struct hp_site *site)
{
	uint8_t jump[HP_JUMP_MAX];
	if (!hp_text_read(hp_site_jump(site), jump, site->plan.jump_len))
		return;
	site->redirected = hp_jump_agrees(&site->plan, HP_HEAD, jump, site->plan.new_jump);
	site->tail_set = has_tail(site) && hp_jump_agrees(&site->plan, HP_TAIL, jump, site->plan.new_jump);
}

/* Whether writing the prefix has shown that the jump can be written: it has if both lie on one page. */
static bool jump_shares_page(const struct hp_site *site)
{
	return (prefix_address(site) ^ (hp_site_jump(site) + site->plan.jump_len - 1u)) <
	       (uintptr_t)sysconf(_SC_PAGESIZE);
}

/* Nobody executes a prefix before the jump leads there. Whatever may fail (a page that cannot be copied, a policy)
 * fails now: where the jump lies on another page than the prefix, its bytes are written as they are. */
static int write_prefix(struct hp_site *site, struct hp_text *text, struct hp_err *err)
{
	const struct hp_entry *plan = &site->plan;
	int error = 0;
	if (!site->prefix_set)
		atomic_store(site->cell.slot, site->original.target);
	if (!site->prefix_set && plan->prefix_len > 0) {
		error = hp_text_write(text, prefix_address(site), plan->new_prefix, plan->prefix_len, err);
		site->prefix_set = !error && plan->prefix_len > 0;
		if (error && hp_text_write(text, prefix_address(site), plan->old_prefix, plan->prefix_len, NULL) != 0)
			return error; /* nobody comes there: it stays until it is written again */
	}
	for (enum hp_part part = HP_HEAD; part <= HP_TAIL && !error && !jump_shares_page(site); part++)
		error = write_part(site, part, plan->old_jump, text, err);
	return error;
}

static struct hp_site *unclean;

struct hp_site *hp_sites_unclean(void)
{
	return unclean;
}

static void add_unclean(struct hp_site *site)
{
	if (site->unclean)
		return;
	site->unclean = true;
	site->next_unclean = unclean;
	unclean = site;
}

/* Sites that are redirected again need their prefixes. */
static void forget_redirected(void)
{
	for (struct hp_site **at = &unclean; *at;) {
		if ((*at)->redirected) {
			(*at)->unclean = false;
			*at = (*at)->next_unclean;
		} else {
			at = &(*at)->next_unclean;
		}
	}
}

static void undo_part(struct hp_site *site, enum hp_part part, struct hp_text *text)
{
	/* the tail only where the head is no jump */
	if (part == HP_HEAD || (!site->redirected && !site->pun))
		(void)!write_part(site, part, site->plan.old_jump, text, NULL);
	note_jump(site);
}

static void undo_parts(struct hp_site *const *sites, size_t n, enum hp_part part, struct hp_text *text)
{
	for (size_t i = 0; i < n; i++)
		if (wants_undo(sites[i]))
			undo_part(sites[i], part, text);
}

/* Heads first. What cannot be taken back stays, and leads to the original. A processor that still sees a tail
 * executes it alone, which does nothing: no barrier is needed behind it, and without one before it it stays. */
void hp_sites_undo(struct hp_site *const *sites, size_t n, struct hp_text *text)
{
	struct hp_err ignored;
	bool any = false;
	for (size_t i = 0; i < n; i++)
		any |= wants_undo(sites[i]);
	if (!any)
		return;
	undo_parts(sites, n, HP_HEAD, text);
	if (hp_barrier_code(&ignored) == 0)
		undo_parts(sites, n, HP_TAIL, text);
	for (size_t i = 0; i < n; i++)
		if (!sites[i]->plan.unprepared && (sites[i]->prefix_set || sites[i]->tail_set) && !sites[i]->redirected)
			add_unclean(sites[i]);
}

/* Prefixes and tails, a barrier, heads, a barrier. */
static int write_entries(struct hp_site *const *sites, size_t n, struct hp_text *text, struct hp_err *err)
{
	int error = 0;
	for (size_t i = 0; i < n && !error; i++)
		if (wants_jump(sites[i]))
			error = write_prefix(sites[i], text, err);
	if (!error)
		error = write_jumps(sites, n, HP_TAIL, text, err);
	if (!error)
		error = hp_barrier_code(err);
	if (!error)
		error = write_jumps(sites, n, HP_HEAD, text, err);
	return error ? error : hp_barrier_code(err);
}

int hp_sites_redirect(struct hp_site *const *sites, size_t n, struct hp_text *text, struct hp_err *err)
{
	bool any = false;
	for (size_t i = 0; i < n; i++)
		any |= wants_jump(sites[i]);
	if (!any)
		return 0;
	int error = hp_sites_check(sites, n, err);
	if (error)
		return error;
	error = write_entries(sites, n, text, err);
	for (size_t i = 0; i < n; i++) {
		if (sites[i]->plan.breakpoint)
			continue;
		if (error)
			note_jump(sites[i]);
		else
			sites[i]->redirected = true;
	}
	if (error) /* a jump that was written leads to the original; taking it back may fail as writing it did */
		hp_sites_undo(sites, n, text);
	forget_redirected();
	return error;
}

/* Bytes that are not ours any more are somebody else's; what could not be read (reader_flush) is all zero. */
static int clear_prefix(struct hp_site *site, const uint8_t *code, void *text, struct hp_err *ignored)
{
	static const uint8_t unread[HP_PREFIX_MAX];
	if (!site->redirected && site->tail_set)
		undo_part(site, HP_TAIL, text);
	if (site->redirected || !site->prefix_set || prefix_is(site, code, unread))
		return 0;
	if (!prefix_is(site, code, site->plan.new_prefix) ||
	    hp_text_write(text, prefix_address(site), site->plan.old_prefix, site->plan.prefix_len, ignored) == 0)
		site->prefix_set = false;
	return 0;
}

/* What could not be cleared waits for the next operation. */
void hp_sites_clear_unclean(struct hp_text *text)
{
	struct hp_err ignored;
	struct reader reader;
	bool half = false;
	reader.each = clear_prefix;
	reader.arg = text;
	reader.n = 0;
	for (struct hp_site *site = unclean; site; site = site->next_unclean)
		half |= site->tail_set;
	if (half && hp_barrier_code(&ignored) != 0)
		return;
	for (struct hp_site *site = unclean; site; site = site->next_unclean)
		reader_add(&reader, site, &ignored);
	reader_flush(&reader, &ignored);
	for (struct hp_site **at = &unclean; *at;) {
		struct hp_site *site = *at;
		if (!site->redirected && (site->prefix_set || site->tail_set)) {
			at = &site->next_unclean;
		} else {
			site->unclean = false;
			*at = site->next_unclean;
		}
	}
}

/* -- After fork -------------------------------------------------------------------------------------------------- */

/* The child has one thread, so nothing is executed while it is written. A prefix that may be in use is kept. */
static int mend(struct hp_site *site, void *arg)
{
	struct hp_text *text = arg;
	struct hp_err ignored;
	const struct hp_entry *plan = &site->plan;
	struct iovec piece = code_of(site);
	uint8_t code[CODE_MAX] = {0};
	uintptr_t target = hp_site_target(site);
	hp_memory_read_pieces(&piece, 1, code);
	atomic_store(site->cell.slot, target);
	atomic_store(&site->before, target);
	atomic_store(&site->after, target);
	site->unclean = false;
	if (site->n_layers == 0 && prefix_is(site, code, site->plan.old_prefix) && jump_is_old(site, code)) {
		site->redirected = site->tail_set = site->prefix_set = site->trapping = false;
		return 0;
	}
	if (hp_text_write(text, prefix_address(site), plan->new_prefix, plan->prefix_len, &ignored) != 0 ||
	    hp_text_write(text, hp_site_jump(site), site->n_layers ? plan->new_jump : plan->old_jump, plan->jump_len,
	                  &ignored) != 0)
		return 0; /* what the parent could write the child can, or the site's next check says so */
	site->prefix_set = plan->prefix_len > 0;
	site->trapping = false;
	site->redirected = site->n_layers > 0;
	site->tail_set = site->redirected && has_tail(site);
	if (!site->redirected && site->prefix_set)
		add_unclean(site);
	return 0;
}

void hp_sites_mend(void)
{
	struct hp_text text;
	unclean = NULL;
	hp_text_open(&text);
	hp_sites_each(mend, &text);
	hp_text_close(&text);
}
