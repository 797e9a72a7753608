/* library.libB - each function differs from the program's in one thing. */
#include "hotpatch.h"

/* `deadline` lies at 40, where the program has `next`. */
struct connection {
	int descriptor;
	char name[36];
	long deadline;
	struct connection *next;
};

enum color { RED, GREEN, YELLOW, BLUE };

extern long differs_result(int a);
extern int differs_parameter(int a, int b);
extern int differs_count(int a, int b);
extern int differs_const(const char *a);
extern int differs_varargs(int a);
extern int differs_member(struct connection *connection);
extern int differs_far(struct connection **connections);
extern int differs_enum(enum color color);

HOTPATCH long differs_result(int a)
{
	return a;
}

HOTPATCH int differs_parameter(int a, int b)
{
	return a + b;
}

HOTPATCH int differs_count(int a, int b)
{
	return a + b;
}

HOTPATCH int differs_const(const char *a)
{
	return *a + 200;
}

HOTPATCH int differs_varargs(int a)
{
	return a;
}

HOTPATCH int differs_member(struct connection *connection)
{
	return (int)connection->deadline;
}

HOTPATCH int differs_far(struct connection **connections)
{
	return (int)connections[0]->deadline;
}

HOTPATCH int differs_enum(enum color color)
{
	return (int)color;
}
