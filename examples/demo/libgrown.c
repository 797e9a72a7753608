/* libgrown - the mistake every reloader fears: a handler compiled against a later server.h, in which orders have grown.
 * The tea house would hand it orders of today, and it would read what is not there.
 */
#define SERVER_OF_NEXT_YEAR
#include "server.h"

#include <stdio.h>

#include "hotpatch.h"

HOTPATCH void handle(const struct order *order, struct answer *answer)
{
	answer->handler = HANDLER_LIBRARY;
	snprintf(answer->text, sizeof(answer->text), "%u cups of tea, sugar %u", order->cups, order->sugar);
}
