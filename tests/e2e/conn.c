/* conn - objects that live while their struct changes, as tests/callbacks.bats has them: a thread for each uses it all
 * the time. NEW: 0 the program; 1 HOTPATCH_MIGRATE, there and back; 2 the same without a way back; 3 a field beside the
 * objects; 4 callbacks; 5 objects changed by a callback, which is too late; 6 MIGRATE and callbacks that are there
 * since NEW 1.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef NEW
#define NEW 0
#endif
#define GROWN (NEW == 1 || NEW == 2 || NEW == 5 || NEW == 6 ? 1 : 0)
#if NEW
#include <hotpatch.h>
#endif

enum { CONNS = 4 };

/* debt is -credit, always. */
struct conn {
#if GROWN
	long deadline;
	long debt;
	long credit;
#else
	long credit;
	long debt;
#endif
	long room[3 - GROWN];
};

static struct conn conns[CONNS];
static atomic_long broken, calls;
int conn_events[4];
int conn_open = 1;

#if GROWN
struct conn_before {
	long credit, debt, room[3];
};

/* Slow enough to be seen half done, if anybody looks. */
static void grow_conns(void)
{
	for (int i = 0; i < CONNS; i++) {
		struct conn_before old;
		memcpy(&old, &conns[i], sizeof(old));
		conns[i].deadline = 1000;
		usleep(2000);
		conns[i].debt = old.debt;
		conns[i].credit = old.credit;
	}
}

static void shrink_conns(void)
{
	for (int i = 0; i < CONNS; i++) {
		struct conn new = conns[i];
		struct conn_before *old = (struct conn_before *)&conns[i];
		old->credit = new.credit;
		usleep(2000);
		old->debt = new.debt;
	}
}
#endif
#if NEW == 1 || NEW == 6
HOTPATCH_MIGRATE(conn, grow_conns, shrink_conns);
#elif NEW == 2
HOTPATCH_MIGRATE(conn, grow_conns, NULL);
#elif NEW == 5
static int grow_late(struct hotpatch *patch, enum hotpatch_event event, void *arg)
{
	(void)patch, (void)arg;
	event == HOTPATCH_POST_APPLY ? grow_conns() : shrink_conns();
	return 0;
}
HOTPATCH_POST_APPLY(grow_late);
HOTPATCH_PRE_REVERT(grow_late);
#endif
#if NEW == 4
static int note(struct hotpatch *patch, enum hotpatch_event event, void *arg)
{
	static int order;
	(void)arg;
	conn_events[event] = ++order;
	return conn_open && (event == HOTPATCH_PRE_APPLY || event == HOTPATCH_PRE_REVERT)
	               ? hotpatch_veto(patch, "%d connection is open", conn_open)
	               : 0;
}
HOTPATCH_PRE_APPLY(note);
HOTPATCH_POST_APPLY(note);
HOTPATCH_PRE_REVERT(note);
HOTPATCH_POST_REVERT(note);
#endif

/* Whether the object is whole, before it is used and after. */
__attribute__((noinline)) int conn_use(int i)
{
	struct conn *conn = &conns[i];
	if (conn->debt != -conn->credit)
		atomic_fetch_add(&broken, 1);
	conn->credit++;
	conn->debt--;
	atomic_fetch_add(&calls, 1);
#if GROWN
	conn->deadline++;
	return conn->deadline > 1000 ? 2 : 3;
#elif NEW == 3
	long *uses = hotpatch_shadow_attach(conn, 1, sizeof(*uses), NULL, NULL);
	if (!uses || uses != hotpatch_shadow_get(conn, 1))
		abort();
	return (int)++*uses;
#elif NEW == 4
	return 4;
#else
	return 1;
#endif
}

/* A change that is none of NEW 1's. */
__attribute__((noinline)) int conn_kind(void)
{
	return NEW == 6 ? 6 : 0;
}

long conn_broken(void)
{
	return broken;
}

long conn_calls(void)
{
	return calls;
}
