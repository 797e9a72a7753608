/* images - what is loaded in this process, and what the dynamic linker makes of a name. */
#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/requests.h"
#include "arch/arch.h"
#include "base/mapped.h"
#include "live/session.h"

#pragma weak dlopen /* not in a static program, which has one image and no dynamic symbols */
#pragma weak dlsym
#pragma weak dlvsym
#pragma weak dlclose
extern void *dlvsym(void *handle, const char *name, const char *version); /* glibc's; musl knows no versions */

/* -- Thread-locals ----------------------------------------------------------------------------------------------- */

#pragma weak __tls_get_addr
struct tls_index { /* of the psABI: what __tls_get_addr takes */
	unsigned long module, offset;
};
extern void *__tls_get_addr(struct tls_index *index);

/* The block of one module in the agent's thread. */
struct block {
	uint64_t module;
	uintptr_t bias;
	void *data;
	bool is_static; /* flagged so by the linker */
};

static bool has_static_flag(const struct dl_phdr_info *info)
{
	const ElfW(Dyn) *entry = NULL;
	for (unsigned i = 0; i < info->dlpi_phnum; i++)
		if (info->dlpi_phdr[i].p_type == PT_DYNAMIC)
			entry = (const ElfW(Dyn) *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
	for (; entry && entry->d_tag != DT_NULL; entry++)
		if (entry->d_tag == DT_FLAGS)
			return entry->d_un.d_val & DF_STATIC_TLS;
	return false;
}

static int find_block(struct dl_phdr_info *info, size_t size, void *arg)
{
	(void)size;
	struct block *block = arg;
	if (info->dlpi_tls_modid != block->module || info->dlpi_addr != block->bias)
		return 0;
	block->data = info->dlpi_tls_data;
	block->is_static = has_static_flag(info);
	return 1;
}

/* The agent's stack as its libc has it: above the stack itself the thread's static area, and its descriptor. */
static bool own_stack_holds(const void *address)
{
	pthread_attr_t attributes;
	void *low = NULL;
	size_t size = 0;
	if (pthread_getattr_np(pthread_self(), &attributes) != 0)
		return false;
	bool known = pthread_attr_getstack(&attributes, &low, &size) == 0;
	pthread_attr_destroy(&attributes);
	return known && (uintptr_t)address - (uintptr_t)low < size;
}

/* How far an image's block lies from the thread pointer, if that is the same in every thread: it is where the block
 * lies in the thread's static area. One that was had later, for this thread alone, comes from malloc. A static one of
 * an image that came after this thread is not in its table yet: asking for it puts it there. 0: not the same in every
 * thread. */
static intptr_t static_offset(const struct hp_mapped *image)
{
	struct block block = {.module = image->tls_module, .bias = image->bias};
	if (!image->tls_module || !dl_iterate_phdr(find_block, &block))
		return 0;
	if (!block.data && block.is_static && __tls_get_addr)
		block.data = __tls_get_addr(&(struct tls_index){image->tls_module, 0});
	return block.data && own_stack_holds(block.data) ? hp_arch_tls_offset(block.data) : 0;
}

/* -- The list ---------------------------------------------------------------------------------------------------- */

struct listing {
	struct hp_wire *out;
	uint32_t first, at, n, total;
};

static void put_path(struct hp_wire *out, const struct hp_mapped *image)
{
	char path[HP_WIRE_STR_MAX + 1];
	ssize_t n = image->is_program ? readlink("/proc/self/exe", path, sizeof(path) - 1) : -1;
	path[n > 0 ? n : 0] = 0;
	hp_put_str(out, n > 0 ? path : image->path);
}

static void put_image(struct listing *listing, const struct hp_mapped *image)
{
	struct hp_wire *out = listing->out;
	bool vdso = strncmp(image->path, "linux-vdso", 10) == 0 || strncmp(image->path, "linux-gate", 10) == 0;
	put_path(out, image);
	hp_put_str(out, image->name);
	hp_put(out, image->bias, 8);
	hp_put(out, image->low, 8);
	hp_put(out, image->high, 8);
	hp_put(out, (image->is_program ? 1 : 0) | (image->linked ? 2 : 0) | (vdso ? 4 : 0), 4);
	hp_put(out, image->tls_module, 8);
	hp_put(out, (uint64_t)static_offset(image), 8);
	hp_put(out, image->tls_size, 8);
	hp_put(out, image->n_segments, 1);
	for (size_t i = 0; i < image->n_segments; i++) {
		hp_put(out, image->segments[i].low, 8);
		hp_put(out, image->segments[i].high, 8);
		hp_put(out, image->segments[i].flags, 4);
	}
	hp_put(out, image->build_id_size, 2);
	uint8_t *at = hp_put_space(out, image->build_id_size);
	if (at && image->build_id_size)
		memcpy(at, image->build_id, image->build_id_size);
}

static int list_image(const struct hp_mapped *image, void *arg)
{
	struct listing *listing = arg;
	enum { IMAGE_MAX = 3 * HP_WIRE_STR_MAX };
	listing->total++;
	if (listing->at++ < listing->first || listing->out->n > HP_WIRE_BODY_MAX - IMAGE_MAX)
		return 0;
	put_image(listing, image);
	listing->n++;
	return 0;
}

int hp_images_handle(struct hp_exchange *x)
{
	struct listing listing = {.out = x->out, .first = (uint32_t)hp_take(&x->in, 4)};
	int error = hp_request_read(x);
	if (!error)
		error = hp_registry_enter(&x->err);
	if (error)
		return error;
	hp_put(x->out, hp_mapped_generation(), 8);
	size_t total = hp_put_later(x->out), n = hp_put_later(x->out);
	hp_mapped_each(list_image, &listing);
	hp_put_at(x->out, total, listing.total);
	hp_put_at(x->out, n, listing.n);
	hp_registry_leave();
	return 0;
}

/* -- Symbols ----------------------------------------------------------------------------------------------------- */

struct wanted {
	uintptr_t image;
	bool defined_there;
	char name[HP_WIRE_STR_MAX + 1], version[256];
};

static void take_wanted(struct hp_cursor *in, struct wanted *wanted)
{
	wanted->image = hp_take(in, 8);
	wanted->defined_there = hp_take(in, 1) == 1;
	hp_take_str(in, wanted->name, sizeof(wanted->name));
	hp_take_str(in, wanted->version, sizeof(wanted->version));
}

static uintptr_t look_up(void *handle, const struct wanted *wanted)
{
	bool by_version = *wanted->version && dlvsym;
	return (uintptr_t)(by_version ? dlvsym(handle, wanted->name, wanted->version) : dlsym(handle, wanted->name));
}

/* The image's own scope: itself, and what it was linked with. */
static uintptr_t look_up_in(const struct hp_mapped *image, const struct wanted *wanted)
{
	if (!image || image->linked || !*image->path)
		return 0;
	void *handle = dlopen(image->is_program ? NULL : image->path, RTLD_LAZY | RTLD_NOLOAD);
	uintptr_t address = handle ? look_up(handle, wanted) : 0;
	if (handle)
		dlclose(handle);
	return address;
}

static uintptr_t resolve(const struct wanted *wanted)
{
	const struct hp_mapped *image = wanted->image ? hp_mapped_find(wanted->image) : NULL;
	if (hp_mapped_is_static())
		return 0;
	if (!wanted->defined_there) {
		/* The default scope is ours: so code of patches finds hotpatch_* also where `hotpatch attach` has
		 * loaded this library and no image's scope has it. */
		uintptr_t address = look_up(RTLD_DEFAULT, wanted);
		return address ? address : look_up_in(image, wanted);
	}
	uintptr_t address = look_up_in(image, wanted);
	return image && address >= image->low && address < image->high ? address : 0;
}

int hp_symbols_handle(struct hp_exchange *x)
{
	struct wanted wanted;
	uint32_t n = hp_take_count(&x->in, 4, HP_WIRE_ITEMS_MAX, 13);
	struct hp_cursor names = x->in;
	for (uint32_t i = 0; i < n; i++)
		take_wanted(&x->in, &wanted);
	int error = hp_request_read(x);
	if (!error)
		error = hp_registry_enter(&x->err);
	if (error)
		return error;
	hp_put(x->out, n, 4);
	for (uint32_t i = 0; i < n; i++) {
		take_wanted(&names, &wanted);
		hp_put(x->out, resolve(&wanted), 8);
	}
	hp_registry_leave();
	return 0;
}
