/* text_read.h - the parser's state, shared by text_read.c (statements), text_call.c (calls and their operands), text_args.c (types, numbers and
 * attributes) and text_names.c (tokens, messages, names). */
#ifndef TF_TEXT_READ_H
#define TF_TEXT_READ_H

#include "op.h"
#include "text.h"

typedef enum tf_bind_kind { TF_BIND_VALUE, TF_BIND_INT, TF_BIND_NUMBER, TF_BIND_DEF } tf_bind_kind;
typedef struct tf_binding_name {
    tf_bind_kind kind;
    const char *name;
    uint32_t scope;       /* 0: global; else only visible in that call */
    uint32_t next, hash;  /* newest first within a bucket */
    tuff_tensor tensor;   /* VALUE */
    int64_t dim;          /* INT: a param, a counter or a dynamic dim */
    double number;        /* NUMBER: a param that is no integer */
    uint32_t def;         /* DEF */
} tf_binding_name;

typedef struct tf_names { const char **name; uint32_t n; } tf_names;
typedef struct tf_def_text {
    const char *name;
    tf_names args, results;
    tf_lexer body;        /* after the opening brace */
    tf_tok first;
} tf_def_text;

enum { TF_BUCKETS = 4096, TF_TEXT_DEPTH = 128, TF_TEXT_STATEMENTS = 1 << 18 };

typedef struct tf_parser {
    tuff_graph *g;
    tf_arena tmp;
    tf_lexer lx;
    tf_tok tok;                       /* the next token */
    const tuff_parse_desc *desc;
    bool *override_used;
    TF_ARRAY(tf_binding_name) names;
    uint32_t bucket[TF_BUCKETS];      /* index + 1 into names */
    TF_ARRAY(tf_def_text) defs;
    uint32_t scope, calls, depth;     /* current scope, calls in progress, nesting of blocks and parentheses */
    uint32_t statements;
    void *pool[TF_TEXT_DEPTH + 1];    /* one list of arguments for each depth */
} tf_parser;

/* Fails the graph with the token's position; returns false. */
bool tf_text_bad(tf_parser *p, const tf_tok *at, tuff_status status, const char *format, ...) TF_PRINTF(4, 5);
bool tf_text_next(tf_parser *p);                          /* false: the next token is bad */
bool tf_text_accept(tf_parser *p, const char *text);      /* takes the token if it is spelled so */
bool tf_text_expect(tf_parser *p, const char *text, const char *where);
/* The spelling of a token for messages, at most 40 characters. */
const char *tf_text_spell(tf_parser *p, const tf_tok *t);
/* "; did you mean "x"?" or "". */
const char *tf_text_suggest(tf_parser *p, const char *word, const char *const *names, uint32_t n);
/* A name, bare or quoted; {n} in a quoted one becomes the integer. NULL after a failure. */
const char *tf_text_name(tf_parser *p, const char *what);
const tf_binding_name *tf_text_find(const tf_parser *p, const char *name);
/* The tensor called `name` at token `at`; false after a failure. */
bool tf_text_value(tf_parser *p, const char *name, const tf_tok *at, tuff_tensor *out);

bool tf_text_bind(tf_parser *p, tf_binding_name b);      /* in the current scope, until tf_text_unbind; false: out of memory */
bool tf_text_bind_value(tf_parser *p, const char *name, tuff_tensor t);
void tf_text_unbind(tf_parser *p, uint32_t mark);         /* forgets all names from index mark on */

/* A tensor: a name, a number, or a call inside a call. *bare, unless NULL: the name if it was just a name. */
bool tf_text_operand(tf_parser *p, tuff_tensor *out, const char **bare);
/* Any call; out has room for TF_MAX_OPERANDS results. */
bool tf_text_call(tf_parser *p, const tf_tok *at, const char *name, tuff_tensor *out, uint32_t *n_out);
/* An integer, or a number that is none, to be called `name`. */
bool tf_text_param(tf_parser *p, const char *name, tf_binding_name *out);
bool tf_text_block(tf_parser *p);                         /* statements up to the closing brace */

bool tf_text_integer(tf_parser *p, int64_t *dim);         /* integer or dim expression */
bool tf_text_count(tf_parser *p, const char *what, int64_t *out); /* the same, fixed */
bool tf_text_number(tf_parser *p, double *out);           /* [-] number, inf, nan, a number's name, or an integer expression */
bool tf_text_is_fraction(const tf_parser *p);             /* a number that is no integer expression comes next, but for its sign */
bool tf_text_type(tf_parser *p, tuff_dtype *dtype, tuff_shape *shape);
/* What follows "=" in a const statement. */
bool tf_text_constant(tf_parser *p, const char *name, tuff_dtype dtype, const tuff_shape *shape, tuff_tensor *out);
/* { attr = value, ... } into desc, zeroed memory of op->desc_size. */
bool tf_text_attrs(tf_parser *p, const tf_op *op, void *desc, const tf_tok *op_token);

#endif
