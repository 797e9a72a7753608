/* guests.c - the client threads of the demo and their tally. */
#include "guests.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MAX_GUESTS = 16, SIP_US = 200 };

struct guest {
	pthread_t thread;
	int socket;
	unsigned answered; /* since guests_report was called; under tally_lock */
};

static struct guest guests[MAX_GUESTS];
static unsigned n_guests;
static atomic_uint expected;
static atomic_bool leaving;

/* Protects tally and guest.answered; answer_came is told of every answer. */
static pthread_mutex_t tally_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t answer_came = PTHREAD_COND_INITIALIZER;
static struct tally tally;

static double now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
}

static bool answer_is_sound(const struct order *order, const struct answer *answer)
{
	return answer->number == order->number && answer->handler >= HANDLER_FIRST && answer->handler < HANDLERS &&
	       answer->currency < CURRENCIES && answer->text[0] != '\0';
}

static void tally_answer(const struct order *order, const struct answer *answer, unsigned allowed)
{
	static const unsigned price[CURRENCIES] = {[POUNDS] = 30, [EUROS] = 35};
	unsigned seen = GUESTS_MAY_SEE(answer->handler, answer->currency);

	tally.handled[answer->handler]++;
	tally.billed[answer->currency]++;
	tally.outdated += (seen & ~allowed) != 0;
	tally.mixed += answer->amount != order->cups * price[answer->currency];
}

static void guest_order(struct guest *guest, unsigned number)
{
	struct order order = {.number = number, .cups = 1 + number % 4};
	struct answer answer;
	unsigned allowed = atomic_load(&expected);
	double asked = now_ms();
	bool answered = server_ask(guest->socket, &order, &answer) == 0;
	double waited = now_ms() - asked;
	allowed |= atomic_load(&expected); /* what has become right since is right too */

	pthread_mutex_lock(&tally_lock);
	guest->answered++;
	if (waited > tally.longest_ms)
		tally.longest_ms = waited;
	if (answered && answer_is_sound(&order, &answer))
		tally_answer(&order, &answer, allowed);
	else
		tally.failed++;
	pthread_cond_signal(&answer_came);
	pthread_mutex_unlock(&tally_lock);
}

static void *guest_run(void *arg)
{
	for (unsigned number = 0; !atomic_load(&leaving); number++) {
		guest_order(arg, number);
		usleep(SIP_US); /* else eight guests keep two cores so busy that all they wait for is each other */
	}
	return NULL;
}

int guests_come(unsigned wanted, unsigned set)
{
	guests_expect(set);
	for (; n_guests < wanted && n_guests < MAX_GUESTS; n_guests++) {
		struct guest *guest = &guests[n_guests];
		guest->socket = server_guest();
		if (guest->socket < 0)
			return -1;
		errno = pthread_create(&guest->thread, NULL, guest_run, guest);
		if (errno != 0)
			return -1;
	}
	return 0;
}

void guests_expect(unsigned set)
{
	atomic_store(&expected, set);
}

static bool all_answered(unsigned orders)
{
	for (unsigned i = 0; i < n_guests; i++)
		if (guests[i].answered < orders)
			return false;
	return true;
}

struct tally guests_report(unsigned orders)
{
	pthread_mutex_lock(&tally_lock);
	for (unsigned i = 0; i < n_guests; i++)
		guests[i].answered = 0;
	while (!all_answered(orders))
		pthread_cond_wait(&answer_came, &tally_lock);
	struct tally report = tally;
	memset(&tally, 0, sizeof(tally));
	pthread_mutex_unlock(&tally_lock);
	return report;
}

void guests_leave(void)
{
	atomic_store(&leaving, true);
	for (unsigned i = 0; i < n_guests; i++) {
		pthread_join(guests[i].thread, NULL);
		close(guests[i].socket);
	}
}
