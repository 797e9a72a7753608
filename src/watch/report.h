/* report - what is told while a program is watched: for people, at most six lines a reload, or for editors, one JSON
 * object a line.
 *
 *     14:02:11 reload 3: src/draw.c
 *       changed      draw_sky, draw_sun; new: shade
 *       kept         frame, draw_sky/stars
 *       not applied  the initialisers of speed
 *       still old    main_loop in thread 4711 'app' at src/main.c:88
 *       61 ms since the save, compiler 42 ms
 *
 * Lines that would say nothing are left out. What compilers say goes to standard error as they said it.
 */
#ifndef HP_WATCH_REPORT_H
#define HP_WATCH_REPORT_H

#include <jansson.h>
#include <stdbool.h>

#include "watch/lines.h"
#include "watch/reload.h"

struct hp_report {
	bool json, colours, is_terminal, timings;
	unsigned turns;   /* of the spinner */
	bool has_spinner; /* it stands on the screen */
	int is_broken;    /* standard output could not be written: errno */
};

void hp_report_begin(struct hp_report *report, bool json, bool timings);

/* event: of the JSON object, whose other members are more (taken; NULL: none); and the sentence for people. */
void hp_report_say(struct hp_report *report, const char *event, json_t *more, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* A line below such a sentence; not in JSON. label has at most 12 characters. */
void hp_report_line(struct hp_report *report, const char *label, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Of a unit: messages of the compiler, as they are. */
void hp_report_compiler(struct hp_report *report, const struct hp_source *unit);

struct hp_reload_times {
	double total_ms, settle_ms, compiler_ms;
	bool is_by_key;        /* total_ms is since the key r, not since the save */
	const char *why_whole; /* a large unit was not compiled in part; NULL */
};

void hp_report_reload(struct hp_report *report, const struct hp_reload *reload, const struct hp_reload_times *times,
                      struct hp_lines *lines, struct hp_watched *watched);

/* A generation was put in force, or none (0). */
void hp_report_use(struct hp_report *report, unsigned number, const struct hp_remote_result *result,
                   struct hp_lines *lines, struct hp_watched *watched);

/* While something takes long: on terminals only. */
void hp_report_spin(struct hp_report *report, const char *stage);
void hp_report_stop_spinning(struct hp_report *report);

#endif
