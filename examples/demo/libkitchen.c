/* libkitchen - a handler that was compiled on its own, later, and is loaded while the tea house is open. */
#include <stdio.h>

#include "hotpatch.h"
#include "server.h"

HOTPATCH void handle(const struct order *order, struct answer *answer)
{
	answer->handler = HANDLER_LIBRARY;
	snprintf(answer->text, sizeof(answer->text), "%u cups of tea from the new kitchen", order->cups);
}
