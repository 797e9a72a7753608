/* saves.h - what stands between a save and the change in the program: hotpatch watch, hotpatch apply. */
#ifndef BENCH_SAVES_H
#define BENCH_SAVES_H

#include "report.h"

/* Nothing where the command was not built, or there is no gcc. */
void saves_measure(struct report *report);

#endif
