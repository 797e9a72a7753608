#include "watch/tokens.h"

#include <string.h>

enum { WORD = 1, DIGIT = 2, SPACE = 4 };

/* What a character is in every locale; what is not ASCII is of words. */
static const uint8_t classes[256] = {
	['\t'] = SPACE,       ['\n'] = SPACE,       ['\v'] = SPACE,
	['\f'] = SPACE,       ['\r'] = SPACE,       [' '] = SPACE,
	['$'] = WORD,         ['_'] = WORD,         ['0' ... '9'] = WORD | DIGIT,
	['A' ... 'Z'] = WORD, ['a' ... 'z'] = WORD, [0x80 ... 0xff] = WORD,
};

static bool is_of(char c, unsigned class)
{
	return classes[(unsigned char)c] & class;
}

static bool is_word(char c)
{
	return is_of(c, WORD);
}

static char peek(const struct hp_tokens *tokens, size_t ahead)
{
	return (char)(tokens->at + ahead < tokens->size ? tokens->text[tokens->at + ahead] : '\0');
}

/* Over all that is of a class. */
static void skip_all(struct hp_tokens *tokens, unsigned class)
{
	const char *text = tokens->text;
	size_t at = tokens->at, size = tokens->size;

	while (at < size && is_of(text[at], class))
		at++;
	tokens->at = at;
}

static bool is_line_start(const struct hp_tokens *tokens)
{
	size_t at = tokens->at;

	while (at && (tokens->text[at - 1] == ' ' || tokens->text[at - 1] == '\t'))
		at--;
	return at == 0 || tokens->text[at - 1] == '\n';
}

static void skip_line(struct hp_tokens *tokens)
{
	if (tokens->at >= tokens->size)
		return;
	const char *newline = memchr(tokens->text + tokens->at, '\n', tokens->size - tokens->at);
	tokens->at = newline ? (size_t)(newline - tokens->text) : tokens->size;
}

/* Comments are there with -C. */
static void skip_comment(struct hp_tokens *tokens)
{
	tokens->at += 2;
	while (tokens->at < tokens->size && !(peek(tokens, 0) == '*' && peek(tokens, 1) == '/'))
		tokens->at++;
	tokens->at += 2;
}

/* "# 12 "a.c" 1" says where a line comes from. */
static bool is_marker(const struct hp_tokens *tokens)
{
	size_t i = 1;

	if (peek(tokens, 0) != '#' || !is_line_start(tokens))
		return false;
	while (peek(tokens, i) == ' ')
		i++;
	return is_of(peek(tokens, i), DIGIT) ||
	       (tokens->at + i + 5 <= tokens->size && strncmp(tokens->text + tokens->at + i, "line ", 5) == 0);
}

static void skip_space(struct hp_tokens *tokens)
{
	for (;;) {
		skip_all(tokens, SPACE);
		if (peek(tokens, 0) == '/' && peek(tokens, 1) == '*')
			skip_comment(tokens);
		else if ((peek(tokens, 0) == '/' && peek(tokens, 1) == '/') || is_marker(tokens))
			skip_line(tokens);
		else
			return;
	}
}

static void read_quoted(struct hp_tokens *tokens, char quote)
{
	tokens->at++;
	while (tokens->at < tokens->size && peek(tokens, 0) != quote && peek(tokens, 0) != '\n')
		tokens->at += peek(tokens, 0) == '\\' ? 2 : 1;
	if (peek(tokens, 0) != quote)
		tokens->why = "a string has no end";
	tokens->at++;
}

/* A number as preprocessors have it: 0x1.8p3, 1'000. */
static void read_number(struct hp_tokens *tokens)
{
	while (is_word(peek(tokens, 0)) || peek(tokens, 0) == '.' ||
	       (peek(tokens, 0) == '\'' && is_word(peek(tokens, 1))))
		tokens->at++;
}

static enum hp_token_kind read_mark(struct hp_tokens *tokens)
{
	char c = peek(tokens, 0), second = peek(tokens, 1);

	if ((c == '<' && (second == '%' || second == ':')) || (c == '%' && (second == '>' || second == ':')))
		tokens->why = "it has digraphs";
	tokens->at++;
	switch (c) {
	case '(':
	case '[':
	case '{':
		return HP_TOKEN_OPEN;
	case ')':
	case ']':
	case '}':
		return HP_TOKEN_CLOSE;
	case ';':
		return HP_TOKEN_SEMICOLON;
	case ',':
		return HP_TOKEN_COMMA;
	case '=':
		return HP_TOKEN_EQUALS;
	default:
		return HP_TOKEN_OTHER;
	}
}

enum hp_token_kind hp_tokens_next(struct hp_tokens *tokens)
{
	skip_space(tokens);
	tokens->token.at = tokens->at;
	char c = peek(tokens, 0);

	if (tokens->at >= tokens->size) {
		tokens->at = tokens->token.at = tokens->size;
		tokens->token.kind = HP_TOKEN_END;
	} else if (c == '#' && is_line_start(tokens)) {
		skip_line(tokens);
		tokens->token.kind = HP_TOKEN_PRAGMA;
	} else if (is_of(c, DIGIT)) {
		read_number(tokens);
		tokens->token.kind = HP_TOKEN_OTHER;
	} else if (is_word(c)) {
		skip_all(tokens, WORD);
		tokens->token.kind = HP_TOKEN_NAME;
	} else if (c == '"' || c == '\'') {
		read_quoted(tokens, c);
		tokens->token.kind = HP_TOKEN_OTHER;
	} else {
		tokens->token.kind = read_mark(tokens);
	}
	if (tokens->at > tokens->size)
		tokens->at = tokens->size;
	tokens->token.n = tokens->at - tokens->token.at;
	return tokens->token.kind;
}

char hp_token_mark(const struct hp_tokens *tokens, const struct hp_token *token)
{
	return (char)(token->n ? tokens->text[token->at] : '\0');
}

static bool is(const struct hp_tokens *tokens, const struct hp_token *token, const char *word)
{
	return token->n == strlen(word) && strncmp(tokens->text + token->at, word, token->n) == 0;
}

bool hp_token_is_any(const struct hp_tokens *tokens, const struct hp_token *token, const char *const *words)
{
	for (; *words; words++)
		if (is(tokens, token, *words))
			return true;
	return false;
}
