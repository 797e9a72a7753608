/* place - what addresses in another process are called: "serve+0x12 (server)". */
#ifndef HP_REMOTE_PLACE_H
#define HP_REMOTE_PLACE_H

#include "remote/client.h"

struct hp_places; /* of one process; symbols of an image are read when the first address lies in it */

/* NULL without memory, or where the images cannot be had: then addresses are said as numbers. */
struct hp_places *hp_places_new(struct hp_remote *remote);
void hp_places_free(struct hp_places *places); /* NULL is fine */

/* is_return: the address behind a call, which may be that of the next function. Always fills buffer. places may be
 * NULL. */
void hp_places_say(struct hp_places *places, uint64_t address, bool is_return, char *buffer, size_t room);

#endif
