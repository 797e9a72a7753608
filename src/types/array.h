/* array - an array that grows by one, without a field for its capacity.
 *
 * Room is made at each power of two, so the number of items tells how much there is.
 */
#ifndef HP_TYPES_ARRAY_H
#define HP_TYPES_ARRAY_H

#include <stdint.h>
#include <stdlib.h>

/* Room for count + 1 items of size bytes; NULL when memory is out, items then stay as they were. */
static inline void *hp_array_grow(void *items, size_t count, size_t size)
{
	if (count & (count - 1))
		return items;
	size_t room = count ? 2 * count : 1;
	return room > SIZE_MAX / size ? NULL : realloc(items, room * size);
}

#endif
