/* server.h - a tea house: what an order and an answer are, and the threads that answer.
 *
 * One datagram socket, several worker threads that wait on it. A worker hands each order to handle() and bill() and
 * sends the answer back. The server knows nothing of patches but the marks in front of the two functions in main.c.
 */
#ifndef SERVER_H
#define SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

struct order {
	unsigned number;
	unsigned cups;
#ifdef SERVER_OF_NEXT_YEAR /* see libgrown.c */
	unsigned sugar;
#endif
	bool self_service; /* asks bill() to replace itself, which cannot be done */
};

enum handler { HANDLER_FIRST = 1, HANDLER_FUNCTION, HANDLER_CLOSURE, HANDLER_LIBRARY, HANDLERS };
enum currency { POUNDS, EUROS, CURRENCIES };

struct answer {
	unsigned number;
	enum handler handler; /* who answered */
	char text[64];
	enum currency currency;
	unsigned amount; /* cups times the price in that currency */
	int code;        /* what hotpatch said to self service */
};

/* In main.c; these are what the demo changes. */
void handle(const struct order *order, struct answer *answer);
void bill(const struct order *order, struct answer *answer);

/* Both return 0 or -1 with errno. */
int server_open(unsigned workers);
int server_ask(int guest, const struct order *order, struct answer *ret_answer);

int server_guest(void); /* a socket to ask from, or -1 with errno */
void server_close(void);

#endif
