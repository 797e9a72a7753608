/* plugin - the one symbol libhotpatch-inspect.so exports. */
#ifndef HP_INSPECT_PLUGIN_H
#define HP_INSPECT_PLUGIN_H

#include "base/inspector.h"

extern __attribute__((visibility("default"))) const struct hp_inspector hp_inspector;

#endif
