/* tokens - preprocessed C read word by word: names, numbers and strings, brackets, and what stands between them.
 *
 * Space, comments and the markers that say where a line comes from ("# 12 "a.c" 1") are passed over; pragmas are not.
 */
#ifndef HP_WATCH_TOKENS_H
#define HP_WATCH_TOKENS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum hp_token_kind {
	HP_TOKEN_END,
	HP_TOKEN_NAME,
	HP_TOKEN_OTHER,
	HP_TOKEN_OPEN,  /* ( [ { */
	HP_TOKEN_CLOSE, /* ) ] } */
	HP_TOKEN_SEMICOLON,
	HP_TOKEN_EQUALS,
	HP_TOKEN_COMMA,
	HP_TOKEN_PRAGMA, /* to the end of its line */
};

struct hp_token {
	enum hp_token_kind kind;
	size_t at, n;
};

struct hp_tokens {
	const char *text; /* not ours; no NUL ends it */
	size_t size, at;  /* at: behind the token */
	struct hp_token token;
	const char *why; /* it is not understood; NULL */
};

/* Reads the next one. */
enum hp_token_kind hp_tokens_next(struct hp_tokens *tokens);

/* Its first character, '\0' at the end. */
char hp_token_mark(const struct hp_tokens *tokens, const struct hp_token *token);

/* Whether it is one of the words, which NULL ends. */
bool hp_token_is_any(const struct hp_tokens *tokens, const struct hp_token *token, const char *const *words);

#endif
