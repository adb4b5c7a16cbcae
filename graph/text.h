/* text.h - tokens shared by the text form and by user expressions, and numbers as text.
 *
 * Nothing here depends on the locale of the process. */
#ifndef TF_TEXT_H
#define TF_TEXT_H

#include "base/base.h"

typedef enum tf_tok_kind {
    TF_TOK_END,
    TF_TOK_NAME,    /* [A-Za-z_][A-Za-z0-9_.]* without a trailing dot */
    TF_TOK_STRING,  /* "..." with escapes, or raw between triple quotes: see tf_tok_string */
    TF_TOK_NUMBER,
    TF_TOK_FILE,    /* @path or @"path": see tf_tok_string */
    TF_TOK_PUNCT,
    TF_TOK_BAD      /* `bad` says why */
} tf_tok_kind;

typedef struct tf_tok {
    tf_tok_kind kind;
    const char *p;          /* into the text; not terminated */
    size_t n;
    uint32_t line, column;  /* from 1; a column is a character */
    double number;
    uint64_t integer;       /* NUMBER with is_integer */
    bool is_integer;        /* without point and exponent, and below 2^64 */
    const char *bad;
} tf_tok;

typedef struct tf_lexer {
    const char *p, *end;
    uint32_t line, column;
} tf_lexer;

void tf_lexer_init(tf_lexer *lx, const char *text, size_t size);
tf_tok tf_lex(tf_lexer *lx);
bool tf_tok_is(const tf_tok *t, const char *text);    /* a NAME or PUNCT spelled so */
/* The contents of a NAME, STRING or FILE, terminated, in the arena. NULL: memory, or *bad says what is wrong. */
char *tf_tok_string(tf_arena *arena, const tf_tok *t, const char **bad);

/* Whether a name can stand in the text form without quotes. */
bool tf_name_is_bare(const char *name);
/* The name, quoted if it must be. */
void tf_write_name(tf_str *s, const char *name);
/* A string literal. */
void tf_write_string(tf_str *s, const char *text);
/* The shortest decimal that reads back as the same value of t: 0.1, 1e-30, -inf, nan. */
void tf_write_number(tf_str *s, tuff_dtype t, double value);

#endif
