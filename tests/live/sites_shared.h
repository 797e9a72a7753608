/* sites_shared - what the libraries of the test hand out. */
#ifndef TESTS_LIVE_SITES_SHARED_H
#define TESTS_LIVE_SITES_SHARED_H

typedef int shared_function(int);

enum { SHARED_TEXT = 64 }; /* bytes of the library's marked functions that are compared */

struct shared {
	shared_function *exported, *hidden, *local;
	shared_function *call_exported; /* the library's own call of it */
	const unsigned char *text;
};

extern int shared_exported(int a);
extern const struct shared *sites_shared(void);

#endif
