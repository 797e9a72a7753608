/* library.libA - fits; its two `send` are told apart by their paths, and are static, which makes gcc warn that it
 * ignores the visibility that HOTPATCH asks for.
 *
 * build: cflags=-Wno-attributes
 */
#include <stdarg.h>

#include "hotpatch.h"

struct connection {
	int descriptor;
	char name[36];
	struct connection *next;
};

enum color { RED, GREEN, BLUE };

extern int plain(int a);
extern int takes_all(const struct connection *connection, enum color color, double real, ...);

HOTPATCH int plain(int a)
{
	return a + 100;
}

HOTPATCH_AS("net::send") static int send_to_net(int a)
{
	return a + 110;
}

HOTPATCH_AS("disk::send") static int send_to_disk(int a)
{
	return a + 120;
}

HOTPATCH int takes_all(const struct connection *connection, enum color color, double real, ...)
{
	va_list args;
	int first;

	va_start(args, real);
	first = va_arg(args, int);
	va_end(args);
	return connection->descriptor + (int)color + (int)real + first + 100;
}
