/* target.h - the function whose definition is changed while others call it, and the definitions it is given. */
#ifndef BENCH_TARGET_H
#define BENCH_TARGET_H

/* All answer x + 1. */
int target(int x); /* prepared */
int target_unprepared(int x);
int target_one(int x);
int target_two(int x);

/* The change of that number in an endless row, in mode WAIT: first redirect, later change, restore, first redirect, ...
 * They are made in order. A row that ends before a restore is ended by target_restore. */
void target_change(unsigned number);

/* The original definition again, whatever it has. */
void target_restore(void);

#endif
