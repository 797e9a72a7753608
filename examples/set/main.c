/* set - two functions that only make sense together change at one instant, however many threads are calling them.
 *
 * write_bill names the currency and asks price for the amount. Were the two patched one after the other, some guest
 * would be billed in euros at the price in pounds. In a set both change, or neither, and a caller that is in the old
 * write_bill when the change comes also gets the old price.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "hotpatch.h"

enum { THREADS = 4, CHANGES = 100 };
enum currency { POUNDS, EUROS };

struct bill {
	enum currency currency;
	int amount;
};

HOTPATCHABLE int price(void)
{
	return 30;
}

HOTPATCHABLE struct bill write_bill(void)
{
	return (struct bill){.currency = POUNDS, .amount = price()};
}

static int price_in_euros(void)
{
	return 35;
}

static struct bill write_bill_in_euros(void)
{
	return (struct bill){.currency = EUROS, .amount = price()};
}

static atomic_ulong bills[2], mixed; /* by currency; and those of one currency with the amount of the other */
static atomic_bool closing_time;

static void *guest(void *unused)
{
	while (!atomic_load(&closing_time)) {
		struct bill bill = write_bill();
		atomic_fetch_add(&bills[bill.currency], 1);
		atomic_fetch_add(&mixed, bill.amount != (bill.currency == POUNDS ? 30 : 35));
	}
	return unused;
}

/* Lets the guests run until they have seen `currency` again. */
static void wait_for_bill_in(enum currency currency)
{
	unsigned long before = atomic_load(&bills[currency]);
	while (atomic_load(&bills[currency]) == before)
		sched_yield();
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
	pthread_t thread[THREADS];
	for (int i = 0; i < THREADS; i++)
		pthread_create(&thread[i], NULL, guest, NULL);

	struct hotpatch *euro = hotpatch_new("euro");
	must(hotpatch_replace(euro, price, price_in_euros));
	must(hotpatch_replace(euro, write_bill, write_bill_in_euros));
	for (int i = 0; i < CHANGES; i += 2) {
		must(hotpatch_apply(euro));
		wait_for_bill_in(EUROS);
		must(hotpatch_revert(euro));
		wait_for_bill_in(POUNDS);
	}
	must(hotpatch_free(euro));

	atomic_store(&closing_time, true);
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	printf("both functions changed %d times, mixed bills: %lu\n", CHANGES, atomic_load(&mixed));
	return 0;
}
