/* near_agent - remote/client.h without a process at the other end: everything happens in this one. For tests of what
 * uses it; whoever includes this takes the place of the real one when it is linked.
 */
#ifndef HP_TESTS_NEAR_AGENT_H
#define HP_TESTS_NEAR_AGENT_H

#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "arch/arch.h"
#include "remote/client.h"
#include "remote/kept.h"

enum { NEAR_PAGE = 4096 };

struct hp_remote {
	struct hp_remote_hello hello;
	uint64_t next_region;
	unsigned applied, dry_runs, released;
	struct hp_remote_region last;
	struct hp_remote_change changes[8];
	char name[64];
	void *notes; /* of the patch that was applied last */
	size_t notes_size, n_regions, n_replaced;
	uint64_t count; /* the function called so */
	bool live, has_frames;
	struct hp_kept_files kept;
};

struct hp_kept_files *hp_remote_kept(struct hp_remote *remote)
{
	return &remote->kept;
}

pid_t hp_remote_pid(const struct hp_remote *remote)
{
	(void)remote;
	return getpid();
}

const struct hp_remote_hello *hp_remote_hello(const struct hp_remote *remote)
{
	return &remote->hello;
}

static void add_segments(struct hp_remote_image *image, const struct dl_phdr_info *info)
{
	image->low = UINT64_MAX;
	for (unsigned i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *header = &info->dlpi_phdr[i];
		if (header->p_type == PT_TLS)
			image->tls_size = header->p_memsz;
		if (header->p_type != PT_LOAD)
			continue;
		struct hp_remote_segment segment = {info->dlpi_addr + header->p_vaddr,
		                                    info->dlpi_addr + header->p_vaddr + header->p_memsz,
		                                    header->p_flags};
		image->segments[image->n_segments++] = segment;
		image->low = segment.low < image->low ? segment.low : image->low;
		image->high = segment.high > image->high ? segment.high : image->high;
	}
}

static int add_image(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct hp_remote_images *images = arg;
	char program[4096] = "";
	(void)size;

	if (readlink("/proc/self/exe", program, sizeof(program) - 1) < 0)
		return -1;
	images->v = realloc(images->v, (images->n + 1) * sizeof(*images->v));
	struct hp_remote_image *image = &images->v[images->n];
	*image = (struct hp_remote_image){.bias = info->dlpi_addr, .is_program = images->n == 0};
	image->path = strdup(images->n == 0 ? program : info->dlpi_name);
	image->name = strdup(strrchr(image->path, '/') ? strrchr(image->path, '/') + 1 : image->path);
	image->is_vdso = strstr(image->path, "vdso");
	image->tls_module = info->dlpi_tls_modid;
	if (info->dlpi_tls_data && image->is_program)
		image->tls_offset = hp_arch_tls_offset(info->dlpi_tls_data);
	add_segments(image, info);
	images->n++;
	return 0;
}

static int compare_images(const void *a, const void *b)
{
	const struct hp_remote_image *x = a, *y = b;
	return x->low < y->low ? -1 : x->low > y->low;
}

int hp_remote_images(struct hp_remote *remote, struct hp_remote_images *ret_images, struct hp_err *err)
{
	(void)remote;
	(void)err;
	*ret_images = (struct hp_remote_images){.generation = 1};
	int r = dl_iterate_phdr(add_image, ret_images);
	qsort(ret_images->v, ret_images->n, sizeof(*ret_images->v), compare_images);
	return r;
}

void hp_remote_images_free(struct hp_remote_images *images)
{
	for (size_t i = 0; i < images->n; i++) {
		free(images->v[i].path);
		free(images->v[i].name);
	}
	free(images->v);
}

int hp_remote_symbols(struct hp_remote *remote, struct hp_remote_symbol *symbols, size_t n, struct hp_err *err)
{
	(void)remote;
	(void)err;
	for (size_t i = 0; i < n; i++)
		symbols[i].address = (uintptr_t)dlsym(RTLD_DEFAULT, symbols[i].name);
	return 0;
}

int hp_remote_ifunc(struct hp_remote *remote, uint64_t resolver, uint64_t *ret_address, struct hp_err *err)
{
	(void)remote;
	(void)err;
	*ret_address = ((uintptr_t(*)(void))(uintptr_t)resolver)();
	return 0;
}

int hp_remote_read(struct hp_remote *remote, bool original, struct hp_remote_range *ranges, size_t n,
                   struct hp_err *err)
{
	(void)remote;
	(void)err;
	assert_true(original);
	for (size_t i = 0; i < n; i++) {
		memcpy(ranges[i].buffer, (void *)(uintptr_t)ranges[i].address, ranges[i].size);
		ranges[i].got = ranges[i].size;
	}
	return 0;
}

int hp_remote_reserve(struct hp_remote *remote, uint64_t low, uint64_t high, uint64_t size,
                      struct hp_remote_region *ret_region, struct hp_err *err)
{
	(void)err;
	size = (size + NEAR_PAGE - 1) & ~(uint64_t)(NEAR_PAGE - 1);
	static uint64_t away = 256 << 20; /* each further down than the one before */
	uint64_t wish = (low & ~(uint64_t)(NEAR_PAGE - 1)) - (away += size);
	void *at = mmap((void *)(uintptr_t)wish, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(at, MAP_FAILED);
	if (high - (uintptr_t)at >= UINT64_C(1) << 31)
		fail_msg("%#lx is too far from [%#lx, %#lx)", (unsigned long)(uintptr_t)at, (unsigned long)low,
		         (unsigned long)high);
	*ret_region = remote->last = (struct hp_remote_region){++remote->next_region, (uintptr_t)at, size};
	return 0;
}

int hp_remote_write(struct hp_remote *remote, uint64_t region, uint64_t offset, const void *bytes, size_t n,
                    struct hp_err *err)
{
	(void)err;
	assert_int_equal(region, remote->last.id);
	assert_true(offset + n <= remote->last.size);
	memcpy((void *)(uintptr_t)(remote->last.address + offset), bytes, n);
	return 0;
}

int hp_remote_seal(struct hp_remote *remote, uint64_t region, const struct hp_remote_seal *seals, size_t n,
                   struct hp_err *err)
{
	static const int protections[] = {0, PROT_READ, PROT_READ | PROT_WRITE, PROT_READ | PROT_EXEC};
	(void)err;
	assert_int_equal(region, remote->last.id);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(mprotect((void *)(uintptr_t)(remote->last.address + seals[i].offset), seals[i].size,
		                          protections[seals[i].protection]),
		                 0);
	return 0;
}

int hp_remote_register(struct hp_remote *remote, const struct hp_remote_register *request,
                       struct hp_remote_registered *ret_registered, struct hp_err *err)
{
	(void)err;
	const uint8_t *region = (const uint8_t *)(uintptr_t)remote->last.address;
	remote->has_frames = request->eh_frame_size > 0;
	assert_memory_equal(region + request->eh_frame + request->eh_frame_size - 4, "\0\0\0\0", 4);
	assert_memory_equal(region + request->symfile, ELFMAG, SELFMAG);
	for (size_t i = 0; i < request->n_names; i++)
		if (strcmp(request->names[i].name, "count") == 0)
			remote->count = remote->last.address + request->names[i].offset;
	*ret_registered = (struct hp_remote_registered){true, true, true};
	return 0;
}

int hp_remote_release(struct hp_remote *remote, uint64_t region, struct hp_err *err)
{
	(void)err;
	assert_int_equal(region, remote->last.id);
	remote->released++;
	return munmap((void *)(uintptr_t)remote->last.address, remote->last.size);
}

int hp_remote_apply(struct hp_remote *remote, const struct hp_remote_apply *request,
                    struct hp_remote_result *ret_result, struct hp_err *err)
{
	(void)err;
	*ret_result = (struct hp_remote_result){.patch = 1};
	remote->dry_runs += request->dry_run;
	remote->applied += !request->dry_run;
	remote->n_regions = request->n_regions;
	remote->n_replaced = request->n_replaced;
	assert_true(request->n_changes <= sizeof(remote->changes) / sizeof(remote->changes[0]));
	memcpy(remote->changes, request->changes, request->n_changes * sizeof(*request->changes));
	if (request->dry_run)
		return 0;
	snprintf(remote->name, sizeof(remote->name), "%s", request->name);
	free(remote->notes);
	remote->notes = malloc(request->notes_size);
	memcpy(remote->notes, request->notes, request->notes_size);
	remote->notes_size = request->notes_size;
	remote->live = true;
	return 0;
}

int hp_remote_patches(struct hp_remote *remote, struct hp_remote_patches *ret_patches, struct hp_err *err)
{
	(void)err;
	*ret_patches = (struct hp_remote_patches){.v = calloc(1, sizeof(*ret_patches->v)), .n = remote->notes != NULL};
	*ret_patches->v = (struct hp_remote_patch){.id = 77, .name = remote->name, .live = remote->live};
	return 0;
}

void hp_remote_patches_free(struct hp_remote_patches *patches)
{
	free(patches->v);
}

int hp_remote_notes(struct hp_remote *remote, uint64_t patch, void **ret_notes, size_t *ret_size, struct hp_err *err)
{
	(void)err;
	assert_int_equal(patch, 77);
	*ret_notes = malloc(remote->notes_size);
	memcpy(*ret_notes, remote->notes, remote->notes_size);
	*ret_size = remote->notes_size;
	return 0;
}

#endif
