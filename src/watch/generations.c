#include "watch/generations.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "types/array.h"

enum { DRAIN_MS = 1 };

static const char prefix[] = "watch.";

unsigned hp_generation_number(const char *name)
{
	char *end;

	if (strncmp(name, prefix, sizeof(prefix) - 1) != 0)
		return 0;
	unsigned long number = strtoul(name + sizeof(prefix) - 1, &end, 10);
	return *end || number > 1000000000 ? 0 : (unsigned)number;
}

static int compare(const void *a, const void *b)
{
	const struct hp_generation *x = a, *y = b;
	return x->number < y->number ? -1 : x->number > y->number;
}

static bool add(struct hp_generations *generations, const struct hp_remote_patch *patch)
{
	struct hp_generation generation = {.number = hp_generation_number(patch->name), .id = patch->id};

	if (generation.number > generations->last)
		generations->last = generation.number;
	if (!generation.number || (!patch->live && !patch->aside))
		return true;
	struct hp_generation *v = hp_array_grow(generations->v, generations->n, sizeof(*v));
	if (!v)
		return false;
	snprintf(generation.name, sizeof(generation.name), "%s", patch->name);
	generations->v = v;
	v[generations->n++] = generation;
	if (patch->live) {
		generations->current = generation.number;
		generations->current_id = patch->id;
	}
	return true;
}

int hp_generations_read(struct hp_remote *remote, struct hp_generations *ret_generations, struct hp_err *err)
{
	struct hp_remote_patches patches = {0};
	struct hp_generations generations = {0};
	int r = hp_remote_patches(remote, &patches, err);

	for (size_t i = 0; i < patches.n && r == 0; i++)
		if (!add(&generations, &patches.v[i]))
			r = hp_err_set(err, HOTPATCH_ENOMEM, "no memory for the generations of process %d",
			               (int)hp_remote_pid(remote));
	hp_remote_patches_free(&patches);
	if (r < 0) {
		hp_generations_free(&generations);
		return r;
	}
	if (generations.n)
		qsort(generations.v, generations.n, sizeof(*generations.v), compare);
	*ret_generations = generations;
	return 0;
}

void hp_generations_free(struct hp_generations *generations)
{
	free(generations->v);
	*generations = (struct hp_generations){0};
}

int hp_generations_before(const struct hp_generations *generations, unsigned *ret_number, struct hp_err *err)
{
	unsigned number = 0;

	if (!generations->current)
		return hp_err_set(err, HOTPATCH_ESTATE, "there is nothing to undo: the program is as it was started");
	for (size_t i = 0; i < generations->n; i++)
		if (generations->v[i].number < generations->current)
			number = generations->v[i].number;
	*ret_number = number;
	return 0;
}

int hp_generations_after(const struct hp_generations *generations, unsigned *ret_number, struct hp_err *err)
{
	for (size_t i = 0; i < generations->n; i++)
		if (generations->v[i].number > generations->current) {
			*ret_number = generations->v[i].number;
			return 0;
		}
	return hp_err_set(err, HOTPATCH_ESTATE, "there is nothing to redo: generation %u is the last one",
	                  generations->current);
}

static const struct hp_generation *find(const struct hp_generations *generations, unsigned number)
{
	for (size_t i = 0; i < generations->n; i++)
		if (generations->v[i].number == number)
			return &generations->v[i];
	return NULL;
}

bool hp_generations_is_in_use(int code)
{
	return code == HOTPATCH_ETIMEDOUT || code == HOTPATCH_EBUSY;
}

int hp_generations_use(struct hp_remote *remote, const struct hp_generations *generations, unsigned number,
                       const struct hp_patience *patience, struct hp_remote_result *ret_result, struct hp_err *err)
{
	const struct hp_generation *generation = find(generations, number);
	struct hp_remote_switch request = {
		.patch = generation ? generation->id : 0,
		.out = &generations->current_id,
		.n_out = generations->current != 0,
		.aside = true,
		.mode = HOTPATCH_WAIT,
		.timeout_ms = patience->wait_ms,
	};

	*ret_result = (struct hp_remote_result){0};
	if (number == generations->current)
		return hp_err_set(err, HOTPATCH_ESTATE, "generation %u is in force already", number);
	if (number && !generation)
		return hp_err_set(err, HOTPATCH_ESTATE, "process %d has no generation %u", (int)hp_remote_pid(remote),
		                  number);
	int r = hp_remote_switch(remote, &request, ret_result, err);
	if (hp_generations_is_in_use(r) && !patience->is_strict && !hp_remote_is_broken(remote)) {
		hp_remote_result_free(ret_result);
		request.mode = HOTPATCH_DRAIN;
		request.timeout_ms = DRAIN_MS;
		r = hp_remote_switch(remote, &request, ret_result, err);
	}
	return r == HOTPATCH_EINPROGRESS && ret_result->live ? 0 : r;
}

int hp_generations_thin(struct hp_remote *remote, struct hp_err *err)
{
	struct hp_generations generations = {0};
	int r = hp_generations_read(remote, &generations, err);
	size_t more = generations.n > HP_GENERATIONS_MOST ? generations.n - HP_GENERATIONS_MOST : 0;

	for (size_t i = 0; i < generations.n && more && r == 0; i++)
		if (generations.v[i].number != generations.current) {
			r = hp_remote_forget(remote, generations.v[i].id, err);
			more--;
		}
	hp_generations_free(&generations);
	return r;
}
