#include "agent/regions.h"

#include <dlfcn.h>
#include <elf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent/debugger.h"
#include "agent/requests.h"
#include "base/memory.h"
#include "code/near.h"
#include "code/text.h"
#include "live/barrier.h"
#include "live/session.h"

#pragma weak dlsym
#pragma weak dlopen

struct hp_region *hp_region_find(const struct hp_agent *agent, uint64_t id)
{
	for (struct hp_region *region = agent->regions; region; region = region->next)
		if (region->id == id)
			return region;
	return NULL;
}

struct hp_region *hp_region_at(const struct hp_agent *agent, uintptr_t address)
{
	struct hp_region *region = agent->regions;
	while (region && (address < region->address || address - region->address >= region->size))
		region = region->next;
	return region;
}

static int find(struct hp_exchange *x, uint64_t id, struct hp_region **ret_region)
{
	struct hp_region *region = hp_region_find(x->agent, id);
	if (!region || (region->client && region->client != x->client->id))
		return hp_err_set(&x->err, HOTPATCH_EINVAL, "this connection has no region %llu",
		                  (unsigned long long)id);
	*ret_region = region;
	return 0;
}

/* -- Sanitizers --------------------------------------------------------------------------------------------------- */

/* Of ThreadSanitizer, where the program has it: mmap and memcpy are its own, and it would find a race between them and
 * who runs the code, since it knows nothing of the transition that lies between. */
extern void AnnotateIgnoreWritesBegin(const char *file, int line) __attribute__((weak));
extern void AnnotateIgnoreWritesEnd(const char *file, int line) __attribute__((weak));

static void ignore_races(bool begins)
{
	if (AnnotateIgnoreWritesBegin && AnnotateIgnoreWritesEnd)
		(begins ? AnnotateIgnoreWritesBegin : AnnotateIgnoreWritesEnd)(__FILE__, __LINE__);
}

/* Of LeakSanitizer, where the program has it: it looks for pointers in the data of images that the dynamic linker
 * knows, and in what it is told of. */
/* NOLINTBEGIN(bugprone-reserved-identifier): sanitizer/lsan_interface.h has them so */
extern void __lsan_register_root_region(const void *begin, size_t size) __attribute__((weak));
extern void __lsan_unregister_root_region(const void *begin, size_t size) __attribute__((weak));
/* NOLINTEND(bugprone-reserved-identifier) */

static void tell_leaks(const struct hp_region *region, bool is_there)
{
	for (size_t i = 0; __lsan_register_root_region && i < region->linked.n_segments; i++) {
		const struct hp_segment *segment = &region->linked.segments[i];
		if (segment->flags != (PF_R | PF_W))
			continue;
		if (is_there)
			__lsan_register_root_region((void *)segment->low, segment->high - segment->low);
		else
			__lsan_unregister_root_region((void *)segment->low, segment->high - segment->low);
	}
}

/* -- Going ------------------------------------------------------------------------------------------------------- */

static void (*find_libgcc(const char *name))(const void *)
{
	/* backtrace(3), pthread_exit and pthread_cancel load it the same way the first time they need it. */
	static void *library;
	if (!library && !hp_mapped_is_static() && dlopen)
		library = dlopen("libgcc_s.so.1", RTLD_NOW);
	return library ? (void (*)(const void *))dlsym(library, name) : NULL;
}

/* Nobody reads its tables any more. */
static void region_destroy(void *memory)
{
	struct hp_region *region = memory;
	tell_leaks(region, false);
	munmap((void *)region->address, region->size);
	for (size_t i = 0; i < region->linked.n_names; i++)
		free(region->linked.names[i].name);
	hp_memory_forget(region->linked.names, region->linked.n_names * sizeof(*region->linked.names));
	free(region->linked.label);
	hp_memory_forget(region, sizeof(*region));
}

/* The list of images with the region, or without it. */
static bool list_image(struct hp_region *region, bool listed)
{
	struct hp_err ignored;
	if (hp_registry_enter(&ignored) != 0)
		return false;
	if (listed)
		hp_mapped_add(&region->linked);
	else
		hp_mapped_remove(&region->linked);
	hp_registry_leave();
	if (hp_registry_enter(&ignored) != 0)
		return false;
	hp_registry_leave();
	return true;
}

static void tell_unwinder(struct hp_region *region, bool known)
{
	void (*tell)(const void *) = NULL;
	if (region->linked.eh_frame && region->unwinder != known)
		tell = find_libgcc(known ? "__register_frame" : "__deregister_frame");
	if (!tell)
		return;
	tell(region->linked.eh_frame);
	region->unwinder = known;
}

bool hp_region_hide(struct hp_region *region)
{
	tell_unwinder(region, false);
	return list_image(region, false);
}

void hp_region_show(struct hp_region *region)
{
	(void)list_image(region, true); /* without memory for it now: the next list has it */
	tell_unwinder(region, true);
}

/* What was told of it is taken back first, and the list of images is made without it. False: there was no memory for
 * that, and the region has to stay. */
static bool forget_image(struct hp_region *region)
{
	hp_debugger_remove(region->debugger);
	region->debugger = NULL;
	return hp_region_hide(region);
}

static void unlink_region(struct hp_agent *agent, const struct hp_region *region)
{
	pthread_mutex_lock(&agent->lists);
	for (struct hp_region **at = &agent->regions; *at; at = &(*at)->next)
		if (*at == region) {
			*at = region->next;
			break;
		}
	pthread_mutex_unlock(&agent->lists);
}

void hp_region_drop(struct hp_agent *agent, struct hp_region *region)
{
	unlink_region(agent, region);
	if (!region->registered || forget_image(region))
		hp_readers_retire(&region->retired, region_destroy);
}

void hp_regions_release_all(struct hp_agent *agent, uint64_t client)
{
	struct hp_region *next;
	for (struct hp_region *region = agent->regions; region; region = next) {
		next = region->next;
		if (region->client == client)
			hp_region_drop(agent, region);
	}
}

void hp_regions_forget(struct hp_agent *agent)
{
	for (struct hp_region *region = agent->regions; region; region = region->next)
		region->client = 0;
}

int hp_region_release_handle(struct hp_exchange *x)
{
	struct hp_region *region = NULL;
	uint64_t id = hp_take(&x->in, 8);
	int error = hp_request_read(x);
	if (!error)
		error = find(x, id, &region);
	if (!error && !region->client)
		error = hp_err_set(&x->err, HOTPATCH_ESTATE, "region %llu belongs to a patch", (unsigned long long)id);
	if (!error)
		hp_region_drop(x->agent, region);
	return error;
}

/* -- Reserve and write ------------------------------------------------------------------------------------------- */

static size_t count_of(const struct hp_agent *agent, uint64_t client)
{
	size_t n = 0;
	for (const struct hp_region *region = agent->regions; region; region = region->next)
		n += region->client == client;
	return n;
}

static int region_new(struct hp_exchange *x, uintptr_t low, uintptr_t high, size_t size, struct hp_region **ret_region)
{
	struct hp_agent *agent = x->agent;
	struct hp_region *region = calloc(1, sizeof(*region));
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	if (!region)
		return hp_err_set(&x->err, HOTPATCH_ENOMEM, "no memory for another region");
	region->size = (size + page - 1) & ~(page - 1);
	region->client = x->client->id;
	ignore_races(true);
	int error = hp_near_reserve(low, high, region->size, &region->address, &x->err);
	ignore_races(false);
	if (error) {
		free(region);
		return error;
	}
	pthread_mutex_lock(&agent->lists);
	region->id = ++agent->last_id;
	region->next = agent->regions;
	agent->regions = region;
	pthread_mutex_unlock(&agent->lists);
	*ret_region = region;
	return 0;
}

int hp_region_reserve_handle(struct hp_exchange *x)
{
	uintptr_t low = hp_take(&x->in, 8), high = hp_take(&x->in, 8);
	uint64_t size = hp_take(&x->in, 8);
	struct hp_region *region = NULL;
	int error = hp_request_read(x);
	if (!error && (size == 0 || size > HP_WIRE_REGION_MAX || low > high || (low == 0 && high != 0)))
		error = hp_err_set(&x->err, HOTPATCH_EINVAL, "a region of %llu bytes near [%#lx, %#lx) makes no sense",
		                   (unsigned long long)size, (unsigned long)low, (unsigned long)high);
	if (!error && count_of(x->agent, x->client->id) >= HP_WIRE_REGIONS_MAX)
		error = hp_err_set(&x->err, HOTPATCH_EINVAL, "one connection has at most %d regions",
		                   (int)HP_WIRE_REGIONS_MAX);
	if (!error)
		error = region_new(x, low, high, size, &region);
	if (error)
		return error;
	hp_put(x->out, region->id, 8);
	hp_put(x->out, region->address, 8);
	hp_put(x->out, region->size, 8);
	return 0;
}

static int find_unsealed(struct hp_exchange *x, uint64_t id, struct hp_region **ret_region)
{
	int error = find(x, id, ret_region);
	if (!error && (*ret_region)->sealed)
		error = hp_err_set(&x->err, HOTPATCH_ESTATE, "region %llu is sealed", (unsigned long long)id);
	return error;
}

static bool lies_in(const struct hp_region *region, uint64_t offset, uint64_t size)
{
	return offset <= region->size && size <= region->size - offset;
}

int hp_region_write_handle(struct hp_exchange *x)
{
	struct hp_region *region = NULL;
	uint32_t n;
	uint64_t id = hp_take(&x->in, 8), offset = hp_take(&x->in, 8);
	const uint8_t *bytes = hp_take_bytes(&x->in, &n);
	int error = hp_request_read(x);
	if (!error)
		error = find_unsealed(x, id, &region);
	if (!error && !lies_in(region, offset, n))
		error = hp_err_set(&x->err, HOTPATCH_EINVAL, "%u bytes at %#llx are outside region %llu", n,
		                   (unsigned long long)offset, (unsigned long long)id);
	if (!error && n) {
		ignore_races(true);
		memcpy((void *)(region->address + offset), bytes, n);
		ignore_races(false);
	}
	return error;
}

/* -- Seal -------------------------------------------------------------------------------------------------------- */

enum protection { READ_ONLY = 1, READ_WRITE, READ_EXECUTE };

static uint32_t flags_of(enum protection protection)
{
	return PF_R | (protection == READ_WRITE ? PF_W : 0) | (protection == READ_EXECUTE ? PF_X : 0);
}

static int compare_segments(const void *a, const void *b)
{
	uintptr_t left = ((const struct hp_segment *)a)->low, right = ((const struct hp_segment *)b)->low;
	return left < right ? -1 : left > right;
}

static int take_seals(struct hp_exchange *x, struct hp_linked *linked, uint64_t *ret_id)
{
	*ret_id = hp_take(&x->in, 8);
	linked->n_segments = hp_take_count(&x->in, 4, HP_REGION_SEALS_MAX, 17);
	for (size_t i = 0; i < linked->n_segments; i++) {
		uint64_t offset = hp_take(&x->in, 8), size = hp_take(&x->in, 8);
		uint64_t protection = hp_take(&x->in, 1);
		if (protection < READ_ONLY || protection > READ_EXECUTE || offset + size < offset)
			x->in.bad = true;
		linked->segments[i] = (struct hp_segment){offset, offset + size, flags_of((enum protection)protection)};
	}
	qsort(linked->segments, linked->n_segments, sizeof(*linked->segments), compare_segments);
	return hp_request_read(x);
}

/* Offsets become addresses. */
static int place_seals(const struct hp_region *region, struct hp_linked *linked, struct hp_err *err)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), end = 0;
	for (size_t i = 0; i < linked->n_segments; i++) {
		struct hp_segment *segment = &linked->segments[i];
		if (segment->low < end || segment->low % page || segment->high % page ||
		    segment->high <= segment->low || segment->high > region->size)
			return hp_err_set(
				err, HOTPATCH_EINVAL,
				"[%#lx, %#lx) of region %llu: pages that are sealed must be whole, inside, and "
				"named once",
				(unsigned long)segment->low, (unsigned long)segment->high,
				(unsigned long long)region->id);
		end = segment->high;
		segment->low += region->address;
		segment->high += region->address;
	}
	return 0;
}

static int protect(uintptr_t low, uintptr_t high, uint32_t flags, struct hp_err *err)
{
	if (low == high || flags == (PF_R | PF_W))
		return 0;
	if (flags & PF_X) {
		__builtin___clear_cache((char *)low, (char *)high);
		return hp_near_seal(low, high - low, err);
	}
	if (mprotect((void *)low, high - low, flags ? PROT_READ : PROT_NONE) != 0)
		return hp_err_set(err, HOTPATCH_ESYSTEM, "pages of a region cannot be protected");
	return 0;
}

/* Another code may have been at these addresses before. Where the kernel has no barrier all threads are asked, which
 * only one may do at a time. */
static int make_seen(struct hp_err *err)
{
	struct hp_session session;
	if (hp_text_barrier())
		return 0;
	int error = hp_session_begin(&session, NULL, __builtin_frame_address(0));
	if (!error)
		error = hp_barrier_code(&session.err);
	if (error)
		*err = session.err;
	hp_session_close(&session);
	return error;
}

int hp_region_seal_handle(struct hp_exchange *x)
{
	struct hp_linked linked = {0};
	struct hp_region *region = NULL;
	uint64_t id;
	int error = take_seals(x, &linked, &id);
	if (!error)
		error = find_unsealed(x, id, &region);
	if (!error)
		error = place_seals(region, &linked, &x->err);
	if (error)
		return error;
	uintptr_t end = region->address;
	for (size_t i = 0; i < linked.n_segments && !error; i++) {
		error = protect(end, linked.segments[i].low, 0, &x->err);
		if (!error)
			error = protect(linked.segments[i].low, linked.segments[i].high, linked.segments[i].flags,
			                &x->err);
		end = linked.segments[i].high;
	}
	if (!error)
		error = protect(end, region->address + region->size, 0, &x->err);
	if (!error)
		error = make_seen(&x->err);
	region->sealed = true; /* after a failure nothing but releasing it is left */
	region->linked = linked;
	if (error)
		region->linked.n_segments = 0;
	tell_leaks(region, true);
	return error;
}

/* -- Register ---------------------------------------------------------------------------------------------------- */

/* What a client says of a region. */
struct description {
	uint64_t id, frames, frames_size, symfile, symfile_size;
	char label[256];
	bool perf_map;
	uint32_t n_names;
	struct hp_cursor names;
};

static int take_description(struct hp_exchange *x, struct description *description)
{
	struct hp_cursor *in = &x->in;
	char name[HP_WIRE_STR_MAX + 1];
	description->id = hp_take(in, 8);
	description->frames = hp_take(in, 8);
	description->frames_size = hp_take(in, 8);
	description->symfile = hp_take(in, 8);
	description->symfile_size = hp_take(in, 8);
	hp_take_str(in, description->label, sizeof(description->label));
	description->perf_map = hp_take(in, 1) & 1;
	description->n_names = hp_take_count(in, 4, HP_WIRE_ITEMS_MAX, 14);
	description->names = *in;
	for (uint32_t i = 0; i < description->n_names; i++) {
		hp_take(in, 8);
		hp_take(in, 4);
		hp_take_str(in, name, sizeof(name));
	}
	return hp_request_read(x);
}

static int compare_names(const void *a, const void *b)
{
	uintptr_t left = ((const struct hp_linked_name *)a)->low, right = ((const struct hp_linked_name *)b)->low;
	return left < right ? -1 : left > right;
}

static int take_names(const struct hp_region *region, struct description *description, struct hp_linked *linked,
                      struct hp_err *err)
{
	char text[HP_WIRE_STR_MAX + 1];
	linked->names = calloc(description->n_names + 1, sizeof(*linked->names));
	/* NOLINTNEXTLINE(-Wanalyzer-malloc-leak): the region has its names, however far this comes */
	for (uint32_t i = 0; linked->names && i < description->n_names; i++) {
		uint64_t offset = hp_take(&description->names, 8), size = hp_take(&description->names, 4);
		hp_take_str(&description->names, text, sizeof(text));
		if (!lies_in(region, offset, size))
			return hp_err_set(err, HOTPATCH_EINVAL, "'%.64s' lies outside region %llu", text,
			                  (unsigned long long)region->id);
		uintptr_t low = region->address + offset;
		linked->names[i] = (struct hp_linked_name){low, low + size, strdup(text)};
		linked->n_names++;
		if (!linked->names[i].name) /* NOLINT(-Wanalyzer-malloc-leak): as above */
			return hp_err_set(err, HOTPATCH_ENOMEM, "no memory for %u names", description->n_names);
	}
	if (!linked->names)
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory for %u names", description->n_names);
	hp_memory_sort(linked->names, linked->n_names, sizeof(*linked->names), compare_names);
	return 0;
}

static bool is_readable(const struct hp_linked *linked, uintptr_t low, uint64_t size)
{
	for (size_t i = 0; i < linked->n_segments; i++)
		if (low >= linked->segments[i].low && size <= linked->segments[i].high - low &&
		    low < linked->segments[i].high)
			return true;
	return false;
}

/* libgcc reads them without bounds: every record must end where the next begins, and the last is the zero word. */
static bool frames_are_whole(const uint8_t *at, const uint8_t *end)
{
	struct hp_cursor c = {at, end, false};
	for (;;) {
		uint64_t length = hp_take(&c, 4);
		if (c.bad || length == 0)
			return !c.bad && c.at == end;
		if (length == 0xffffffff || length > (size_t)(end - c.at))
			return false;
		c.at += length;
	}
}

static int take_frames(const struct hp_region *region, const struct description *description, struct hp_linked *linked,
                       struct hp_err *err)
{
	uintptr_t at = region->address + description->frames;
	struct hp_cfi trial = {0};
	if (description->frames_size == 0)
		return 0;
	bool sound = lies_in(region, description->frames, description->frames_size) &&
	             is_readable(linked, at, description->frames_size);
	linked->eh_frame = trial.low = (const uint8_t *)at;
	linked->eh_frame_end = trial.high = trial.low + description->frames_size;
	if (!sound || !frames_are_whole(trial.low, trial.high) || !hp_cfi_index(&trial, trial.low, trial.high))
		return hp_err_set(err, HOTPATCH_EINVAL, "the unwind table of region %llu makes no sense",
		                  (unsigned long long)region->id);
	hp_memory_forget(trial.index, trial.n_index * sizeof(*trial.index));
	return 0;
}

/* The list of images with it. */
static int publish(struct hp_linked *linked, struct hp_err *err)
{
	int error = hp_registry_enter(err);
	if (error)
		return error;
	hp_mapped_add(linked);
	hp_registry_leave();
	error = hp_registry_enter(err);
	if (!error)
		hp_registry_leave();
	return error;
}

static int check_registrable(const struct hp_region *region, const struct description *description, struct hp_err *err)
{
	if (!region->sealed || region->registered)
		return hp_err_set(err, HOTPATCH_ESTATE, "region %llu %s", (unsigned long long)region->id,
		                  region->registered ? "is registered already" : "is not sealed");
	if (description->symfile_size &&
	    (!lies_in(region, description->symfile, description->symfile_size) ||
	     !is_readable(&region->linked, region->address + description->symfile, description->symfile_size)))
		return hp_err_set(err, HOTPATCH_EINVAL, "the symbol file lies outside region %llu",
		                  (unsigned long long)region->id);
	return 0;
}

static uint32_t tell_others(struct hp_region *region, const struct description *description)
{
	tell_unwinder(region, true);
	uint32_t told = region->unwinder ? 1 : 0;
	region->symfile = (struct hp_span){region->address + description->symfile,
	                                   region->address + description->symfile + description->symfile_size};
	if (description->symfile_size)
		region->debugger = hp_debugger_add((const void *)(region->address + description->symfile),
		                                   description->symfile_size);
	told |= region->debugger ? 2 : 0;
	if (description->perf_map && hp_perf_map_add(&region->linked))
		told |= 4;
	return told;
}

int hp_region_register_handle(struct hp_exchange *x)
{
	struct description description;
	struct hp_region *region = NULL;
	struct hp_err *err = &x->err;
	int error = take_description(x, &description);
	if (!error)
		error = find(x, description.id, &region);
	if (!error)
		error = check_registrable(region, &description, err);
	if (error)
		return error;
	struct hp_linked *linked = &region->linked;
	linked->low = region->address;
	linked->high = region->address + region->size;
	error = take_frames(region, &description, linked, err);
	if (!error)
		error = take_names(region, &description, linked, err);
	/* NOLINTNEXTLINE(-Wanalyzer-malloc-leak): the region has its label */
	if (!error && !(linked->label = strdup(description.label)))
		error = hp_err_set(err, HOTPATCH_ENOMEM, "no memory for the name of a region");
	region->registered = true; /* after a failure nothing but releasing it is left */
	if (!error)
		error = publish(linked, err);
	if (!error)
		hp_put(x->out, tell_others(region, &description), 4);
	return error;
}
