/* guests.h - the client threads of the demo: they order without end and check every answer.
 *
 * What they may be answered is announced to them. While a change is made both the old and the new are right; once the
 * call that made it has returned, an order sent from then on must be answered by the new.
 */
#ifndef GUESTS_H
#define GUESTS_H

#include "server.h"

/* A set of handlers and currencies. */
#define GUESTS_MAY_SEE(handler, currency) (1u << (handler) | 1u << (HANDLERS + (currency)))

/* What the guests saw since the last report. */
struct tally {
	unsigned long handled[HANDLERS];  /* answers, by handler */
	unsigned long billed[CURRENCIES]; /* answers, by currency */
	unsigned long failed;             /* orders without an answer, or with that to another order */
	unsigned long outdated;           /* answers by what had already been replaced when the order was sent */
	unsigned long mixed;              /* bills in one currency with the amount of the other */
	double longest_ms;                /* a guest waited for an answer */
};

int guests_come(unsigned guests, unsigned expected); /* 0, or -1 with errno */
void guests_expect(unsigned set);

/* Waits until each guest has been answered `orders` times more, and takes the tally: the next begins at nothing. */
struct tally guests_report(unsigned orders);
void guests_leave(void);

#endif
