/* load_sqlite3.c - connections to one database of SQLite in this process, one for each thread: a question is a
 * statement, the answer the first column of its first row. */
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#include "load.h"

/* where: the file of the database. */
void *load_open(const char *where)
{
	sqlite3 *db = NULL;

	if (sqlite3_open(where, &db) == SQLITE_OK && sqlite3_busy_timeout(db, 60000) == SQLITE_OK)
		return db;
	fprintf(stderr, "load: cannot open '%s': %s\n", where, sqlite3_errmsg(db));
	sqlite3_close(db);
	return NULL;
}

static void take_row(sqlite3_stmt *statement, char *answer, size_t room)
{
	const char *text = (const char *)sqlite3_column_text(statement, 0);
	load_answer(answer, room, text ? text : "NULL", text ? strlen(text) : 4);
}

static bool ask_status(char *answer, size_t room)
{
	sqlite3_int64 now = 0, most;
	int r = sqlite3_status64(SQLITE_STATUS_MALLOC_COUNT, &now, &most, 0);
	const char *sign = r ? "an error" : now > 0 ? "positive" : now < 0 ? "negative" : "zero";

	load_answer(answer, room, sign, strlen(sign));
	return true;
}

bool load_ask(void *session, const char *question, char *answer, size_t room)
{
	sqlite3_stmt *statement = NULL;

	if (question[0] == '~')
		return ask_status(answer, room);
	int r = sqlite3_prepare_v2(session, question, -1, &statement, NULL), rows = 0;

	while (r == SQLITE_OK || r == SQLITE_ROW) {
		r = sqlite3_step(statement);
		if (r == SQLITE_ROW && rows++ == 0)
			take_row(statement, answer, room);
	}
	if (r != SQLITE_DONE)
		load_answer(answer, room, sqlite3_errmsg(session), strlen(sqlite3_errmsg(session)));
	sqlite3_finalize(statement);
	return true;
}

void load_close(void *session)
{
	sqlite3_close(session);
}
