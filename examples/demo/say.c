/* say.c - the demo's text: titles at the left, everything else below them, sentences broken at word boundaries. */
#include "say.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { INDENT = 3, LABEL = 9, WIDTH = 100 };

static bool coloured, promise_broken;

static const char *colour(const char *code)
{
	return coloured ? code : "";
}

#define BOLD colour("\033[1m")
#define CYAN colour("\033[36m")
#define DIM colour("\033[2m")
#define RED colour("\033[31m")
#define PLAIN colour("\033[0m")

void say_open(void)
{
	const char *terminal = getenv("TERM");
	coloured = isatty(STDOUT_FILENO) && getenv("NO_COLOR") == NULL && terminal != NULL &&
	           strcmp(terminal, "dumb") != 0;
	setvbuf(stdout, NULL, _IOLBF, 0);
}

/* Prints text from `column` on; lines that follow begin there too. */
static void print_wrapped(const char *text, int column)
{
	int at = column;
	while (*text != '\0') {
		int word = (int)strcspn(text, " ");
		if (at > column && at + 1 + word > WIDTH) {
			printf("\n%*s", column, "");
			at = column;
		} else if (at > column) {
			putchar(' ');
			at++;
		}
		printf("%.*s", word, text);
		at += word;
		text += word + (text[word] == ' ');
	}
	putchar('\n');
}

static void print_formatted(const char *format, va_list args, int column)
{
	char text[2048];
	vsnprintf(text, sizeof(text), format, args);
	print_wrapped(text, column);
}

void say_title(const char *title)
{
	printf("\n%s%s%s\n", BOLD, title, PLAIN);
}

void say_text(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	printf("%*s", INDENT, "");
	print_formatted(format, args, INDENT);
	va_end(args);
}

void say_call(const char *call)
{
	printf("%*s%s%s%s\n", INDENT, "", CYAN, call, PLAIN);
}

void say_line(const char *who, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	printf("%*s%s%-*s%s", INDENT, "", DIM, LABEL, who, PLAIN);
	print_formatted(format, args, INDENT + LABEL);
	va_end(args);
}

void say_promise(bool kept, const char *promise, ...)
{
	va_list args;
	if (kept)
		return;
	promise_broken = true;
	va_start(args, promise);
	printf("%*s%s%-*s", INDENT, "", RED, LABEL, "BROKEN");
	print_formatted(promise, args, INDENT + LABEL);
	printf("%s", PLAIN);
	va_end(args);
}

bool say_all_kept(void)
{
	return !promise_broken;
}
