/* aquarium - fish that swim in a terminal. fish.c is what to edit while they do: README.md, Live reload.
 *
 *     aquarium [FRAMES]     without a number for ever, and three frames where nobody looks
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "fish.h"

int main(int argc, char **argv)
{
	int is_terminal = isatty(STDOUT_FILENO);
	long frames = argc > 1 ? atol(argv[1]) : is_terminal ? -1 : 3;

	for (; frames != 0; frames -= frames > 0) {
		printf("%s", is_terminal ? "\033[H" : "");
		swim();
		draw();
		fflush(stdout);
		usleep(100000);
	}
	return 0;
}
