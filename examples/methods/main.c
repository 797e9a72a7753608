/* methods - functions that are called through pointers are patched like any others.
 *
 * C programs keep their methods in structs of function pointers. hotpatch redirects the function itself and leaves its
 * address alone, so every table, every copy of a pointer and every comparison of two pointers stays right.
 */
#include <stdio.h>
#include <stdlib.h>

#include "hotpatch.h"

struct animal;

struct animal_ops {
	const char *(*sound)(const struct animal *self);
	int (*legs)(const struct animal *self);
};

struct animal {
	const char *name;
	int shoes; /* lost so far */
	const struct animal_ops *ops;
};

HOTPATCHABLE const char *dog_sound(const struct animal *self)
{
	(void)self;
	return "woof";
}

HOTPATCHABLE int any_legs(const struct animal *self)
{
	(void)self;
	return 4;
}

HOTPATCHABLE const char *cat_sound(const struct animal *self)
{
	(void)self;
	return "miaow";
}

/* Constant tables: they lie in memory that cannot even be written. */
static const struct animal_ops dog_ops = {.sound = dog_sound, .legs = any_legs};
static const struct animal_ops cat_ops = {.sound = cat_sound, .legs = any_legs};

/* A method's new body sees the object as the old one did. */
static const char *dog_sound_polite(const struct animal *self)
{
	return self->shoes > 0 ? "sorry" : "ahem";
}

/* Two methods of two tables share any_legs; they change together. */
static int legs_and_tail(const struct animal *self)
{
	return hotpatch_original(any_legs)(self) + 1;
}

static void show(const struct animal *animal)
{
	printf("%s says %s and stands on %d\n", animal->name, animal->ops->sound(animal), animal->ops->legs(animal));
}

static void must(int code)
{
	if (code != 0) {
		fprintf(stderr, "%s\n", hotpatch_error()->message);
		exit(1);
	}
}

int main(void)
{
	struct animal rex = {.name = "Rex", .shoes = 2, .ops = &dog_ops};
	struct animal mia = {.name = "Mia", .ops = &cat_ops};
	const char *(*kept)(const struct animal *) = dog_sound; /* a copy of the pointer, taken before */

	show(&rex);
	show(&mia);

	must(hotpatch_fn(dog_sound, dog_sound_polite));
	must(hotpatch_fn(any_legs, legs_and_tail));
	show(&rex);
	show(&mia);
	printf("the pointer kept says %s and is %s\n", kept(&rex), kept == rex.ops->sound ? "equal" : "not equal");

	must(hotpatch_restore(any_legs));
	show(&rex);
	return 0;
}
