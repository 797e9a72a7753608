/* demo - a tea house changes its ways while it is full of guests.
 *
 * Worker threads answer orders (server.c), guest threads order without end and check every answer (guests.c). The story
 * below replaces the functions the workers call, one way after the other, and says what the guests saw of it. It ends
 * with status 0 only if everything was as it said.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "guests.h"
#include "hotpatch.h"
#include "say.h"
#include "server.h"

enum { WORKERS = 4, GUESTS = 8, ORDERS = 200 /* of each guest, after every change */ };

/* -- What the tea house does, and what will take its place --------------------------------------------------- */

HOTPATCHABLE void handle(const struct order *order, struct answer *answer)
{
	answer->handler = HANDLER_FIRST;
	snprintf(answer->text, sizeof(answer->text), "%u cups of tea", order->cups);
}

static void handle_kindly(const struct order *order, struct answer *answer)
{
	answer->handler = HANDLER_FUNCTION;
	snprintf(answer->text, sizeof(answer->text), "%u cups of tea, with pleasure", order->cups);
}

struct biscuits {
	unsigned each;
	atomic_ulong served;
};

static void handle_with_biscuits(const struct order *order, struct answer *answer)
{
	struct biscuits *biscuits = hotpatch_context();
	answer->handler = HANDLER_CLOSURE;
	snprintf(answer->text, sizeof(answer->text), "%u cups and %u biscuits", order->cups, biscuits->each);
	atomic_fetch_add(&biscuits->served, biscuits->each);
}

static unsigned times_destroyed;
static unsigned long biscuits_served;

static void biscuits_destroy(void *context)
{
	struct biscuits *biscuits = context;
	times_destroyed++;
	biscuits_served = atomic_load(&biscuits->served);
	free(biscuits);
}

HOTPATCHABLE unsigned price(void)
{
	return 30;
}

HOTPATCHABLE void bill(const struct order *order, struct answer *answer)
{
	answer->currency = POUNDS;
	answer->amount = order->cups * price();
}

static unsigned price_in_euros(void)
{
	return 35;
}

static int bill_replaces_itself(void);

static void bill_in_euros(const struct order *order, struct answer *answer)
{
	answer->currency = EUROS;
	answer->amount = order->cups * price();
	if (order->self_service)
		answer->code = bill_replaces_itself();
}

/* -- What the guests say ------------------------------------------------------------------------------------- */

static struct tally total;

static void add_to_total(const struct tally *tally)
{
	for (int i = 0; i < HANDLERS; i++)
		total.handled[i] += tally->handled[i];
	total.failed += tally->failed;
	total.outdated += tally->outdated;
	total.mixed += tally->mixed;
	if (tally->longest_ms > total.longest_ms)
		total.longest_ms = tally->longest_ms;
}

static unsigned long tally_answers(const struct tally *tally)
{
	unsigned long answers = 0;
	for (int i = 0; i < HANDLERS; i++)
		answers += tally->handled[i];
	return answers;
}

static void say_tally(const struct tally *tally)
{
	static const char *const names[] = {"", "first", "function", "closure", "library"};
	char who[200];
	int at = 0;
	for (int i = HANDLER_FIRST; i < HANDLERS; i++)
		if (tally->handled[i] > 0)
			at += snprintf(who + at, sizeof(who) - (size_t)at, "%s%s %lu", at > 0 ? ", " : "", names[i],
			               tally->handled[i]);
	if (tally->billed[EUROS] > 0)
		snprintf(who + at, sizeof(who) - (size_t)at, "; in pounds %lu, in euros %lu", tally->billed[POUNDS],
		         tally->billed[EUROS]);
	say_line("guests", "%lu answers (%s)", tally_answers(tally), who);
	say_line("", "%lu failed, %lu outdated, %lu mixed; longest wait %.2f ms", tally->failed, tally->outdated,
	         tally->mixed, tally->longest_ms);
}

static void hear_guests(void)
{
	struct tally tally = guests_report(ORDERS);
	say_tally(&tally);
	say_promise(tally.failed == 0, "every order is answered");
	say_promise(tally.outdated == 0, "what was replaced does not answer any more");
	say_promise(tally.mixed == 0, "a bill's currency and amount belong together");
	add_to_total(&tally);
}

/* -- Changes ------------------------------------------------------------------------------------------------- */

static double now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
}

/* Says the call as it stands here, makes it, and hears what guests who may have seen `before` and must see `after` from
 * now on have seen. */
#define CHANGE(before, after, wanted_code, call)                                                                       \
	do {                                                                                                           \
		say_call(#call);                                                                                       \
		guests_expect((before) | (after));                                                                     \
		double begin_ = now_ms();                                                                              \
		int code_ = (call);                                                                                    \
		double end_ = now_ms();                                                                                \
		guests_expect(after);                                                                                  \
		change_made(code_, (wanted_code), end_ - begin_);                                                      \
	} while (0)

static void change_made(int code, int wanted, double ms)
{
	say_line("hotpatch", "%s after %.2f ms", hotpatch_code_name(code), ms);
	if (code != 0)
		say_line("", "%s", hotpatch_error()->message);
	say_promise(code == wanted, "hotpatch answers %s", hotpatch_code_name(wanted));
	hear_guests();
}

static const unsigned first_in_pounds = GUESTS_MAY_SEE(HANDLER_FIRST, POUNDS);
static const unsigned function_in_pounds = GUESTS_MAY_SEE(HANDLER_FUNCTION, POUNDS);
static const unsigned closure_in_pounds = GUESTS_MAY_SEE(HANDLER_CLOSURE, POUNDS);
static const unsigned library_in_pounds = GUESTS_MAY_SEE(HANDLER_LIBRARY, POUNDS);
static const unsigned library_in_euros = GUESTS_MAY_SEE(HANDLER_LIBRARY, EUROS);

static void step_as_compiled(void)
{
	say_title("0. The tea house opens");
	say_text("%d workers answer, %d guests order and check what they get. Nothing is patched yet.", WORKERS,
	         GUESTS);
	hear_guests();
}

static void step_function(void)
{
	say_title("1. Another function handles orders");
	CHANGE(first_in_pounds, function_in_pounds, 0, hotpatch_fn(handle, handle_kindly));
}

static void step_closure(void)
{
	struct biscuits *biscuits = calloc(1, sizeof(*biscuits));
	if (biscuits == NULL)
		exit(1);
	biscuits->each = 2;
	say_title("2. A closure handles them: a body with a context of its own");
	CHANGE(function_in_pounds, closure_in_pounds, 0,
	       hotpatch_closure(handle, handle_with_biscuits, biscuits, biscuits_destroy));
}

static void step_library(void)
{
	say_title("3. A shared library handles them");
	CHANGE(closure_in_pounds, library_in_pounds, 0, hotpatch_lib(handle, "./libkitchen.so"));
	say_text("The closure was left before its context was destroyed, %u time; %lu biscuits had been served.",
	         times_destroyed, biscuits_served);
	say_promise(times_destroyed == 1 && biscuits_served > 0, "a closure is destroyed once");
}

static void step_set(struct hotpatch *euro)
{
	say_title("4. Two functions change at one instant");
	say_text("bill() names the currency and asks price(). Nobody may get euros at the price in pounds.");
	say_promise(hotpatch_replace(euro, bill, bill_in_euros) == 0, "bill joins the set");
	say_promise(hotpatch_replace(euro, price, price_in_euros) == 0, "price joins the set");
	CHANGE(library_in_pounds, library_in_euros, 0, hotpatch_apply(euro));
}

static void step_type(void)
{
	say_title("5. Refused: a library in which struct order has grown");
	CHANGE(library_in_euros, library_in_euros, HOTPATCH_ETYPE, hotpatch_lib(handle, "./libgrown.so"));
}

static void say_blocker(const struct hotpatch_blocker *blocker)
{
	say_line("blocker", "thread '%s' %s %s", blocker->name, blocker->reason, blocker->function);
	for (size_t i = 0; i < blocker->n_frames; i++) {
		const struct hotpatch_frame *frame = &blocker->frames[i];
		say_line("", "#%zu %s+%zu in %s", i, frame->function[0] != '\0' ? frame->function : "?", frame->offset,
		         frame->image);
	}
}

/* Runs in a worker, inside bill: to wait until nobody is in bill would be to wait for itself. */
static int bill_replaces_itself(void)
{
	int code = hotpatch_restore(bill);
	const struct hotpatch_error *error = hotpatch_error();
	say_line("hotpatch", "%s", hotpatch_code_name(code));
	say_line("", "%s", error->message);
	for (size_t i = 0; i < error->n_blockers; i++)
		say_blocker(&error->blockers[i]);
	say_promise(error->n_blockers == 1, "the blocker is named");
	return code;
}

static void step_deadlock(void)
{
	struct order order = {.cups = 1, .self_service = true};
	struct answer answer = {.code = 0};
	int guest = server_guest();

	say_title("6. Refused: bill() asks to be replaced while it is running");
	say_call("hotpatch_restore(bill)");
	say_promise(server_ask(guest, &order, &answer) == 0, "the order is answered all the same");
	say_promise(answer.code == HOTPATCH_EDEADLK, "hotpatch answers HOTPATCH_EDEADLK");
	close(guest);
	hear_guests();
}

static void step_revert(struct hotpatch *euro)
{
	say_title("7. Everything goes back");
	CHANGE(library_in_euros, library_in_pounds, 0, hotpatch_revert(euro));
	CHANGE(library_in_pounds, first_in_pounds, 0, hotpatch_restore(handle));
}

static int say_end(void)
{
	say_title("The tea house closes");
	say_text("%lu answers: %lu failed, %lu outdated, %lu mixed; no guest waited longer than %.2f ms.",
	         tally_answers(&total), total.failed, total.outdated, total.mixed, total.longest_ms);
	say_text(say_all_kept() ? "Every step did what it said." : "Not every step did what it said.");
	return say_all_kept() ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(void)
{
	struct hotpatch *euro = hotpatch_new("euro");

	alarm(60); /* if anything hangs, the demo does not */
	say_open();
	if (euro == NULL || server_open(WORKERS) < 0 || guests_come(GUESTS, first_in_pounds) < 0) {
		perror("demo");
		return EXIT_FAILURE;
	}
	step_as_compiled();
	step_function();
	step_closure();
	step_library();
	step_set(euro);
	step_type();
	step_deadlock();
	step_revert(euro);
	guests_leave();
	server_close();
	say_promise(hotpatch_free(euro) == 0, "a reverted patch can be freed");
	return say_end();
}
