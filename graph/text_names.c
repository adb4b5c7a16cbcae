/* text_names.c - the parser's footing: the next token, messages with its place, and the names that the text has bound.
 *
 * Names may be bound again, so the newest binding of a name counts. */
#include "text_read.h"

#include <stdio.h>
#include <string.h>

bool tf_text_bad(tf_parser *p, const tf_tok *at, tuff_status status, const char *format, ...)
{
    tf_str s;
    va_list args;
    tf_str_init(&s, &p->g->arena.allocator);
    va_start(args, format);
    tf_str_vprintf(&s, format, args);
    va_end(args);
    p->g->line = at->line;
    p->g->column = at->column;
    tf_fail(p->g, s.data ? status : TUFF_E_MEMORY, "%s", s.data ? s.data : "");
    tf_str_release(&s);
    return false;
}

bool tf_text_next(tf_parser *p)
{
    p->tok = tf_lex(&p->lx);
    return p->tok.kind != TF_TOK_BAD || tf_text_bad(p, &p->tok, TUFF_E_PARSE, "%s: %s", p->tok.bad, tf_text_spell(p, &p->tok));
}

bool tf_text_accept(tf_parser *p, const char *text)
{
    return tf_tok_is(&p->tok, text) && (tf_text_next(p) || true); /* a bad next token has failed the graph */
}

const char *tf_text_spell(tf_parser *p, const tf_tok *t)
{
    if (t->kind == TF_TOK_END)
        return "the end of the text";
    size_t n = 0;
    while (n < t->n && n < 40 && (unsigned char)t->p[n] >= 0x20)
        n++;
    const char *s = tf_arena_string_n(&p->tmp, t->p, n);
    return s ? s : "?";
}

bool tf_text_expect(tf_parser *p, const char *text, const char *where)
{
    if (tf_tok_is(&p->tok, text))
        return tf_text_next(p);
    return tf_text_bad(p, &p->tok, TUFF_E_PARSE, "%s is expected %s, not %s", text, where, tf_text_spell(p, &p->tok));
}

const char *tf_text_suggest(tf_parser *p, const char *word, const char *const *names, uint32_t n)
{
    const char *near = names && word[0] && word[1] ? tf_suggest(word, names, n) : NULL; /* any letter is near any other */
    const char *s = near ? tf_arena_printf(&p->tmp, "; did you mean \"%s\"?", near) : NULL;
    return s ? s : "";
}

/* ---- names ---- */

static uint32_t bucket_of(const char *name)
{
    return (uint32_t)(tf_hash_string(0, name) % TF_BUCKETS);
}

const tf_binding_name *tf_text_find(const tf_parser *p, const char *name)
{
    for (uint32_t i = p->bucket[bucket_of(name)]; i; i = p->names.data[i - 1].next) {
        const tf_binding_name *b = &p->names.data[i - 1];
        if ((b->scope == p->scope || b->scope == 0) && !strcmp(b->name, name))
            return b;
    }
    return NULL;
}

bool tf_text_bind(tf_parser *p, tf_binding_name b)
{
    tf_binding_name *slot = tf_push(&p->tmp, &p->names);
    if (!slot)
        return false;
    b.scope = p->scope;
    b.hash = bucket_of(b.name);
    b.next = p->bucket[b.hash];
    *slot = b;
    p->bucket[b.hash] = p->names.n;
    return true;
}

void tf_text_unbind(tf_parser *p, uint32_t mark)
{
    for (; p->names.n > mark; p->names.n--) {
        const tf_binding_name *b = &p->names.data[p->names.n - 1];
        p->bucket[b->hash] = b->next;
    }
}

/* Replaces {n} by the integer's value, in place of a copy. */
static const char *interpolate(tf_parser *p, const tf_tok *at, const char *raw)
{
    tf_str s;
    tf_str_init(&s, &p->g->arena.allocator);
    for (const char *c = raw; *c; c++) {
        const char *close = *c == '{' ? strchr(c, '}') : NULL;
        if (!close) {
            tf_str_add_n(&s, c, 1);
            continue;
        }
        const char *name = tf_arena_string_n(&p->tmp, c + 1, (size_t)(close - c - 1));
        const tf_binding_name *b = name ? tf_text_find(p, name) : NULL;
        if (!b || b->kind != TF_BIND_INT || tf_dim_is_dynamic(b->dim)) {
            tf_str_release(&s);
            tf_text_bad(p, at, TUFF_E_NAME, "{%s} in a name is no integer; write \\{ for a brace", name ? name : "");
            return NULL;
        }
        tf_str_printf(&s, "%lld", (long long)b->dim);
        c = close;
    }
    const char *out = s.failed ? NULL : tf_arena_string(&p->tmp, s.data ? s.data : "");
    tf_str_release(&s);
    return out;
}

const char *tf_text_name(tf_parser *p, const char *what)
{
    const tf_tok at = p->tok;
    if (at.kind != TF_TOK_NAME && at.kind != TF_TOK_STRING) {
        tf_text_bad(p, &at, TUFF_E_PARSE, "%s is expected here, not %s", what, tf_text_spell(p, &at));
        return NULL;
    }
    const char *bad, *name = tf_tok_string(&p->tmp, &at, &bad);
    if (bad) {
        tf_text_bad(p, &at, TUFF_E_PARSE, "%s", bad);
        return NULL;
    }
    /* An escaped brace is literal, so only the raw spelling decides. */
    if (name && at.kind == TF_TOK_STRING && strchr(name, '{') && !memchr(at.p, '\\', at.n))
        name = interpolate(p, &at, name);
    if (name && at.kind == TF_TOK_STRING && !tf_name_ok(name)) {
        tf_text_bad(p, &at, TUFF_E_NAME, "a name has 1 to 255 bytes and no control characters");
        return NULL;
    }
    return name && tf_text_next(p) ? name : NULL;
}

bool tf_text_value(tf_parser *p, const char *name, const tf_tok *at, tuff_tensor *out)
{
    const tf_binding_name *b = tf_text_find(p, name);
    if (b && b->kind == TF_BIND_VALUE) {
        *out = b->tensor;
        return true;
    }
    if (b && (b->kind == TF_BIND_NUMBER || (b->kind == TF_BIND_INT && !tf_dim_is_dynamic(b->dim)))) {
        p->g->line = at->line;
        p->g->column = at->column;
        *out = tuff_literal(p->g, b->kind == TF_BIND_NUMBER ? b->number : (double)b->dim, TUFF_DTYPE_NONE);
        return out->id != 0;
    }
    if (b)
        return tf_text_bad(p, at, TUFF_E_PARSE, "\"%s\" is %s; a tensor is needed here", name, b->kind == TF_BIND_DEF ? "a def" : "a dim");
    const char **known = tf_arena_array(&p->tmp, const char *, p->names.n + 1);
    uint32_t n = 0;
    for (uint32_t i = 0; known && i < p->names.n; i++)
        if (p->names.data[i].kind == TF_BIND_VALUE && (p->names.data[i].scope == p->scope || p->names.data[i].scope == 0))
            known[n++] = p->names.data[i].name;
    return tf_text_bad(p, at, TUFF_E_NAME, "unknown tensor \"%s\"%s", name, tf_text_suggest(p, name, known, n));
}

bool tf_text_bind_value(tf_parser *p, const char *name, tuff_tensor t)
{
    return tf_text_bind(p, (tf_binding_name){ .kind = TF_BIND_VALUE, .name = name, .tensor = t });
}
