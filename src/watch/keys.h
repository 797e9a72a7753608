/* keys - single keys, from the terminal or from whoever has a pipe to standard input.
 *
 * The terminal gives each key at once and does not show it, for as long as the keys are open; signals (Ctrl-C, Ctrl-Z)
 * are what they are. Behind a stop, whatever became of the terminal meanwhile, that is set again.
 */
#ifndef HP_WATCH_KEYS_H
#define HP_WATCH_KEYS_H

#include <stdbool.h>

struct hp_keys;

/* NULL: standard input is no terminal that is ours, and is_wanted does not say that it is to be read all the same. */
struct hp_keys *hp_keys_open(bool is_wanted);
void hp_keys_close(struct hp_keys *keys); /* NULL is fine */

int hp_keys_fd(const struct hp_keys *keys); /* -1: none, or its end was reached */
void hp_keys_again(struct hp_keys *keys);   /* behind a stop */

/* The next key; 0: none has been pressed. */
char hp_keys_take(struct hp_keys *keys);

#endif
