/* fish - where the fish are, and how they look. */
#include "fish.h"

#include <stdio.h>
#include <string.h>

enum { WIDTH = 48, HEIGHT = 8, FISH = 4 };

static unsigned long frame; /* all that is remembered: the fish go on from where they are */
static int place[FISH] = {3, 30, 15, 40};
static int speed[FISH] = {1, -1, 2, -2};

static const char *look(int i)
{
	return speed[i] > 0 ? "><>" : "<><";
}

void swim(void)
{
	frame++;
	for (int i = 0; i < FISH; i++) {
		place[i] += speed[i];
		if (place[i] < 0 || place[i] > WIDTH - 10)
			speed[i] = -speed[i];
	}
}

void draw(void)
{
	char water[HEIGHT][WIDTH + 1];

	for (int y = 0; y < HEIGHT; y++) {
		memset(water[y], y ? ' ' : '~', WIDTH);
		water[y][WIDTH] = '\0';
	}
	for (int i = 0; i < FISH; i++) {
		int x = place[i] < 0 ? 0 : place[i];
		memcpy(&water[1 + 2 * i % (HEIGHT - 2)][x], look(i), strlen(look(i)));
	}
	for (int y = 0; y < HEIGHT; y++)
		printf("%s\n", water[y]);
	printf("frame %lu\n", frame);
}
