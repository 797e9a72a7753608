/* touched - files that were saved, until they are at rest and compared with what their units were compiled from.
 *
 *     written   written, closed        at rest: hash differs --> units made of it are dirty
 *     |         |          20 ms       |
 *     '--------- touched -------------'
 *
 * Whoever writes without end is not waited for longer than two seconds. What a compiler may have read while it was
 * touched (was_read) makes its units dirty whatever it has in the end.
 */
#ifndef HP_WATCH_TOUCHED_H
#define HP_WATCH_TOUCHED_H

#include "watch/units.h"

#define HP_NO_FILE SIZE_MAX

enum {
	HP_SETTLE_MS = 20, /* after a file was closed */
	HP_OPEN_MS = 300,  /* after it was written to and not closed */
};

struct hp_touched {
	struct hp_units *units;
	double first_seen;   /* since they were at rest all; 0: nothing */
	double database_due; /* it was written, and is to be read again then; 0: no */
};

/* The file was written to, and is_open or not; was_read: by a compiler, perhaps. */
void hp_touched_file(struct hp_touched *touched, size_t file, bool is_open, bool was_read);

/* The database was. */
void hp_touched_database(struct hp_touched *touched, bool is_open);

/* The unit is to be compiled again, whatever its files have, when all is at rest; at the earliest in delay_ms. */
void hp_touched_unit(struct hp_touched *touched, struct hp_source *unit, double delay_ms);

/* The same of all that failed. */
void hp_touched_failed(struct hp_touched *touched, double delay_ms);

/* When all that is touched is at rest; 0: nothing is touched. */
double hp_touched_rest_at(const struct hp_touched *touched);

/* Nobody is in the middle of a file, or has been for too long. Where somebody is, that takes longer. */
bool hp_touched_is_at_rest(struct hp_touched *touched);

/* The only file that is touched, if it was closed and nobody writes to it; HP_NO_FILE. */
size_t hp_touched_only(const struct hp_touched *touched);

/* The units that a touched file makes dirty are. It is touched no more. */
void hp_touched_compare(struct hp_touched *touched, size_t file);
void hp_touched_compare_all(struct hp_touched *touched);

#endif
