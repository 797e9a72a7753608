/* inspector - loading the inspect plugin, and names of addresses. */
#include "base/inspector.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/mapped.h"
#include "base/symtab.h"

#ifndef HP_PLUGIN_DIR
#define HP_PLUGIN_DIR "/usr/lib"
#endif
#define PLUGIN "libhotpatch-inspect.so"

/* In a static executable nothing defines them, and the linker says so by leaving them NULL. */
#pragma weak dlopen
#pragma weak dlsym
#pragma weak dlclose
#pragma weak dlerror
#pragma weak dladdr

static const struct hp_inspector *loaded;
static pthread_mutex_t lock; /* recursive */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void make_lock(void)
{
	pthread_mutexattr_t recursive;
	pthread_mutexattr_init(&recursive);
	pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&lock, &recursive);
	pthread_mutexattr_destroy(&recursive);
}

void hp_inspector_lock(void)
{
	pthread_once(&once, make_lock);
	pthread_mutex_lock(&lock);
}

void hp_inspector_unlock(void)
{
	pthread_mutex_unlock(&lock);
}

/* libc refuses the child to unlock what a thread of the parent has locked; what watches locks hears of it. */
void hp_inspector_unlock_in_child(void)
{
	pthread_mutex_unlock(&lock);
	make_lock();
}

static const struct hp_inspector *try_load(const char *path)
{
	void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	const struct hp_inspector *inspector = handle ? dlsym(handle, HP_INSPECTOR_SYMBOL) : NULL;
	if (inspector && inspector->version == HP_INSPECTOR_VERSION && inspector->size >= sizeof(*inspector))
		return inspector;
	if (handle)
		dlclose(handle);
	return NULL;
}

/* Beside the library (or the program that holds it), as in a build folder; then where it is installed. */
static const struct hp_inspector *search(void)
{
	Dl_info info;
	const struct hp_inspector *found = NULL;
	if (dladdr((void *)hp_inspector_load, &info) && info.dli_fname) {
		char path[4096];
		const char *slash = strrchr(info.dli_fname, '/');
		int folder = slash ? (int)(slash - info.dli_fname) : 0;
		if (slash && snprintf(path, sizeof(path), "%.*s/" PLUGIN, folder, info.dli_fname) < (int)sizeof(path))
			found = try_load(path);
	}
	if (!found)
		found = try_load(HP_PLUGIN_DIR "/" PLUGIN);
	return found ? found : try_load(PLUGIN);
}

int hp_inspector_load(const struct hp_inspector **ret_inspector, struct hp_err *err)
{
	if (!loaded)
		loaded = hp_mapped_is_static() ? &hp_symtab_inspector : search();
	if (!loaded)
		return hp_err_set(err, HOTPATCH_ENOINSPECT,
		                  PLUGIN " is not installed beside libhotpatch nor in " HP_PLUGIN_DIR
		                         ", or libdw is missing");
	*ret_inspector = loaded;
	return 0;
}

struct hp_module hp_module_of(const struct hp_mapped *image)
{
	return (struct hp_module){image->path, image->name, image->build_id, image->build_id_size};
}

static bool ask_plugin(const struct hp_mapped *image, uintptr_t address, struct hp_place *place)
{
	const struct hp_inspector *inspector = NULL;
	struct hp_symbol symbol;
	struct hp_module module = hp_module_of(image);
	if (hp_inspector_load(&inspector, NULL) != 0 ||
	    inspector->function_at(&module, address - image->bias, &symbol, NULL) != 0)
		return false;
	snprintf(place->function, sizeof(place->function), "%.127s", symbol.name);
	place->offset = address - image->bias - symbol.value;
	return true;
}

static void fill_place(const struct hp_mapped *image, uintptr_t address, uintptr_t inside, struct hp_place *place)
{
	Dl_info info;
	snprintf(place->image, sizeof(place->image), "%s", image->name);
	const struct hp_linked_name *name = image->linked ? hp_linked_name_at(image->linked, inside) : NULL;
	if (name) {
		snprintf(place->function, sizeof(place->function), "%s", name->name);
		place->offset = address - name->low;
	}
	if (image->linked)
		return;
	if (ask_plugin(image, inside, place)) {
		place->offset += address - inside;
	} else if (!hp_mapped_is_static() && dladdr((void *)inside, &info) && info.dli_sname) {
		snprintf(place->function, sizeof(place->function), "%s", info.dli_sname);
		place->offset = address - (uintptr_t)info.dli_saddr;
	}
}

void hp_place_of(uintptr_t address, bool exact, struct hp_place *ret_place)
{
	uintptr_t inside = exact ? address : address - 1; /* a return address may be one behind its function */
	*ret_place = (struct hp_place){.offset = 0};
	hp_inspector_lock();
	const struct hp_mapped *image = hp_mapped_find(inside);
	if (image)
		fill_place(image, address, inside, ret_place);
	hp_inspector_unlock();
}
