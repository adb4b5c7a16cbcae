/* text_call.c - calls of ops and defs, and the operands in their parentheses.
 *
 * A def is kept as a place in the text and read again at every call. */
#include "text_read.h"

#include <string.h>

enum { MAX_CALLS = 32 };

static bool operand_call(tf_parser *p, const tf_tok *at, const char *name, tuff_tensor *out);

/* ---- operands ---- */

static bool is_number(const tf_tok *t)
{
    return t->kind == TF_TOK_NUMBER || tf_tok_is(t, "-") || tf_tok_is(t, "inf") || tf_tok_is(t, "nan");
}

bool tf_text_operand(tf_parser *p, tuff_tensor *out, const char **bare)
{
    const tf_tok at = p->tok;
    if (bare)
        *bare = NULL;
    const bool truth = tf_tok_is(&at, "true");
    if (is_number(&at) || truth || tf_tok_is(&at, "false")) {
        double v = truth;
        if (is_number(&at) ? !tf_text_number(p, &v) : !tf_text_next(p))
            return false;
        p->g->line = at.line;
        p->g->column = at.column;
        *out = tuff_literal(p->g, v, TUFF_DTYPE_NONE);
        return out->id != 0;
    }
    const char *name = tf_text_name(p, "an operand");
    if (!name)
        return false;
    if (tf_tok_is(&p->tok, "("))
        return operand_call(p, &at, name, out);
    if (bare)
        *bare = name;
    return tf_text_value(p, name, &at, out);
}

typedef struct arguments {
    tuff_tensor positional[TF_MAX_OPERANDS];
    const char *bare[TF_MAX_OPERANDS];
    uint32_t n;
    tuff_named named[TF_MAX_OPERANDS];
    tf_tok named_at[TF_MAX_OPERANDS];
    uint32_t n_named;
} arguments;

/* Is the string at hand the name of a tensor, quoted because it is a word of the text form? */
static bool quoted_value(tf_parser *p)
{
    const char *bad = NULL, *name = tf_tok_string(&p->tmp, &p->tok, &bad);
    const tf_binding_name *b = name && !bad ? tf_text_find(p, name) : NULL;
    return b && b->kind == TF_BIND_VALUE;
}

/* The list of the current depth: a call inside an operand stands one deeper. */
static arguments *arguments_here(tf_parser *p)
{
    void **slot = &p->pool[p->depth];
    if (!*slot)
        *slot = tf_arena_new(&p->tmp, arguments);
    return *slot;
}

static bool read_arguments(tf_parser *p, arguments *a)
{
    a->n = a->n_named = 0;
    if (!tf_text_expect(p, "(", "before the operands"))
        return false;
    while (!tf_text_accept(p, ")")) {
        const tf_tok at = p->tok;
        const tf_lexer lx = p->lx;
        const char *name = NULL;
        if ((at.kind == TF_TOK_NAME || at.kind == TF_TOK_STRING) && !is_number(&at)) {
            if (!(name = tf_text_name(p, "an operand")))
                return false;
            if (!tf_text_accept(p, "=")) { /* a plain operand after all */
                name = NULL;
                p->lx = lx;
                p->tok = at;
            }
        }
        if (a->n + a->n_named == TF_MAX_OPERANDS)
            return tf_text_bad(p, &at, TUFF_E_LIMIT, "there are more than %d operands", TF_MAX_OPERANDS);
        tuff_tensor t;
        const char *bare;
        if (name && (tf_tok_is(&p->tok, "true") || tf_tok_is(&p->tok, "false") || (p->tok.kind == TF_TOK_STRING && !quoted_value(p)) || tf_tok_is(&p->tok, "[")))
            return tf_text_bad(p, &at, TUFF_E_PARSE, "%s is an attribute; attributes stand in braces: {%s=...}", name, name);
        if (!tf_text_operand(p, &t, &bare))
            return false;
        if (name) {
            a->named_at[a->n_named] = at;
            a->named[a->n_named++] = (tuff_named){ name, t };
        } else if (a->n_named) {
            return tf_text_bad(p, &at, TUFF_E_PARSE, "a plain operand stands before the named ones");
        } else {
            a->bare[a->n] = bare;
            a->positional[a->n++] = t;
        }
        if (!tf_tok_is(&p->tok, ")") && !tf_text_expect(p, ",", "between operands"))
            return false;
    }
    return !tf_status(p->g);
}

/* ---- calls of ops ---- */

static bool unknown_op(tf_parser *p, const tf_tok *at, const char *name)
{
    uint32_t n = 0;
    while (tuff_ops[n])
        n++;
    const char **known = tf_arena_array(&p->tmp, const char *, n + p->defs.n + 1);
    for (uint32_t i = 0; known && i < n; i++)
        known[i] = tuff_ops[i]->name;
    for (uint32_t i = 0; known && i < p->defs.n; i++)
        known[n + i] = p->defs.data[i].name;
    return tf_text_bad(p, at, TUFF_E_NAME, "unknown op \"%s\"%s", name, tf_text_suggest(p, name, known, n + p->defs.n));
}

static const tf_attr *named_list(const tf_op *op)
{
    for (uint32_t i = 0; i < op->attr_count; i++)
        if (op->attrs[i].type == TF_ATTR_NAMED)
            return &op->attrs[i];
    return NULL;
}

static uint32_t operand_count(const tf_op *op, bool *variadic)
{
    uint32_t n = 0;
    *variadic = strstr(op->operands ? op->operands : "", "...") != NULL;
    for (const char *c = op->operands ? op->operands : ""; *(c += strspn(c, " ")); n++)
        c += strcspn(c, " ");
    return n;
}

/* Named operands go to TENSOR attributes, the rest to the row's named list; so do surplus plain names: map(x, y). */
static bool place_named(tf_parser *p, const tf_op *op, arguments *a, void *desc)
{
    const tf_attr *list_attr = named_list(op);
    tuff_named list[TF_MAX_OPERANDS];
    uint32_t n = 0;
    bool variadic;
    const uint32_t takes = operand_count(op, &variadic);
    if (list_attr && !variadic)
        for (; a->n > takes && n < a->n - takes && a->bare[takes + n]; n++)
            list[n] = (tuff_named){ a->bare[takes + n], a->positional[takes + n] };
    if (n && n == a->n - takes)
        a->n = takes;
    else
        n = 0;
    for (uint32_t i = 0; i < a->n_named; i++) {
        const tf_attr *attr = tf_attr_find(op, a->named[i].name);
        if (attr && attr->type == TF_ATTR_TENSOR) {
            tuff_tensor old;
            memcpy(&old, (char *)desc + attr->offset, sizeof old);
            if (old.id)
                return tf_text_bad(p, &a->named_at[i], TUFF_E_ARGUMENT, "operand %s is given twice", attr->name);
            memcpy((char *)desc + attr->offset, &a->named[i].tensor, sizeof old);
        } else if (attr && attr->type != TF_ATTR_NAMED) {
            return tf_text_bad(p, &a->named_at[i], TUFF_E_PARSE, "%s is an attribute of %s; attributes stand in braces: {%s=...}", attr->name,
                               op->name, attr->name);
        } else if (list_attr) {
            list[n++] = a->named[i];
        } else {
            const char *known[64];
            uint32_t k = 0;
            for (uint32_t j = 0; j < op->attr_count && k < TF_COUNT(known); j++)
                if (op->attrs[j].type == TF_ATTR_TENSOR)
                    known[k++] = op->attrs[j].name;
            return tf_text_bad(p, &a->named_at[i], TUFF_E_NAME, "%s has no optional operand \"%s\"%s", op->name, a->named[i].name,
                               tf_text_suggest(p, a->named[i].name, known, k));
        }
    }
    if (n) {
        const tuff_named *copy = tf_arena_copy(&p->tmp, list, n * sizeof *list);
        if (!copy)
            return false;
        memcpy((char *)desc + list_attr->offset, &copy, sizeof copy);
        memcpy((char *)desc + list_attr->offset2, &n, sizeof n);
    }
    return true;
}

static bool call_op(tf_parser *p, const tf_op *op, const tf_tok *at, tuff_tensor *out)
{
    arguments *a = arguments_here(p);
    void *desc = tf_arena_alloc(&p->tmp, op->desc_size + 1);
    if (!a || !desc)
        return false;
    if (op->kind == TF_SOURCE && op != &tf_op_literal)
        return tf_text_bad(p, at, TUFF_E_PARSE, "%s is a statement: %s name f32[...]", op->name, op->name);
    if (!read_arguments(p, a) || !place_named(p, op, a, desc) || !tf_text_attrs(p, op, desc, at))
        return false;
    p->g->line = at->line;
    p->g->column = at->column;
    *out = tf_add(p->g, op, a->positional, a->n, op->desc_size ? desc : NULL);
    return out->id != 0;
}

/* ---- calls of defs ---- */

bool tf_text_param(tf_parser *p, const char *name, tf_binding_name *out)
{
    const tf_lexer lx = p->lx;
    const tf_tok tok = p->tok;
    *out = (tf_binding_name){ .kind = TF_BIND_INT, .name = name };
    tf_text_accept(p, "-");
    const bool fraction = tf_text_is_fraction(p);
    p->lx = lx;
    p->tok = tok;
    if (fraction)
        out->kind = TF_BIND_NUMBER;
    return fraction ? tf_text_number(p, &out->number) : tf_text_integer(p, &out->dim);
}

/* { heads = 4, eps = 1e-5 } after a call of a def: numbers seen inside. */
static bool call_params(tf_parser *p, uint32_t scope)
{
    if (!tf_text_accept(p, "{"))
        return !tf_status(p->g);
    while (!tf_text_accept(p, "}")) {
        tf_binding_name b;
        const char *name = tf_text_name(p, "a name");
        if (!name || !tf_text_expect(p, "=", "after the name") || !tf_text_param(p, name, &b))
            return false;
        const uint32_t own = p->scope;
        p->scope = scope;
        const bool good = tf_text_bind(p, b);
        p->scope = own;
        if (!good || (!tf_tok_is(&p->tok, "}") && !tf_text_expect(p, ",", "between the numbers")))
            return false;
    }
    return !tf_status(p->g);
}

static bool call_def(tf_parser *p, const tf_def_text *def, const tf_tok *at, tuff_tensor *out, uint32_t *n_out)
{
    arguments *a = arguments_here(p);
    const uint32_t mark = p->names.n, caller = p->scope, callee = p->calls + 1;
    if (!a || !read_arguments(p, a))
        return false;
    if (a->n_named || a->n != def->args.n)
        return tf_text_bad(p, at, TUFF_E_ARGUMENT, "%s takes %u operands in order, not %u", def->name, (unsigned)def->args.n, (unsigned)(a->n + a->n_named));
    if (p->calls == MAX_CALLS)
        return tf_text_bad(p, at, TUFF_E_LIMIT, "defs call one another deeper than %d; one may call itself", MAX_CALLS);
    if (!call_params(p, callee))
        return false;
    const tf_lexer lx = p->lx;
    const tf_tok tok = p->tok;
    p->calls++;
    p->scope = callee;
    for (uint32_t i = 0; i < a->n; i++)
        if (!tf_text_bind_value(p, def->args.name[i], a->positional[i]))
            return false;
    p->lx = def->body;
    p->tok = def->first;
    if (!tf_text_block(p))
        return false;
    *n_out = def->results.n;
    for (uint32_t i = 0; i < def->results.n; i++)
        if (!tf_text_value(p, def->results.name[i], at, &out[i]))
            return false;
    p->scope = caller;
    p->calls--;
    tf_text_unbind(p, mark);
    p->lx = lx;
    p->tok = tok;
    return true;
}

static const tf_def_text *find_def(const tf_parser *p, const char *name)
{
    const tf_binding_name *b = tf_text_find(p, name);
    return b && b->kind == TF_BIND_DEF ? &p->defs.data[b->def] : NULL;
}

bool tf_text_call(tf_parser *p, const tf_tok *at, const char *name, tuff_tensor *out, uint32_t *n_out)
{
    bool good = false;
    if (++p->depth > TF_TEXT_DEPTH)
        return tf_text_bad(p, at, TUFF_E_LIMIT, "calls and blocks nest deeper than %d", TF_TEXT_DEPTH);
    if (++p->statements > TF_TEXT_STATEMENTS)
        return tf_text_bad(p, at, TUFF_E_LIMIT, "the graph has more than %d statements", TF_TEXT_STATEMENTS);
    const tf_def_text *def = find_def(p, name);
    const tf_op *op = def ? NULL : tf_op_find(name);
    if (def) {
        const tf_def_text copy = *def; /* the table may grow */
        good = call_def(p, &copy, at, out, n_out);
    } else if (op) {
        good = call_op(p, op, at, &out[0]);
        if (good) {
            const tf_node *node = tf_def(p->g, out[0].id);
            *n_out = node->n_out;
            for (uint32_t i = 1; i < node->n_out; i++)
                out[i] = (tuff_tensor){ p->g, node->out + i };
        }
    } else {
        good = unknown_op(p, at, name);
    }
    p->depth--;
    return good;
}

static bool operand_call(tf_parser *p, const tf_tok *at, const char *name, tuff_tensor *out)
{
    tuff_tensor results[TF_MAX_OPERANDS];
    uint32_t n;
    if (!tf_text_call(p, at, name, results, &n))
        return false;
    *out = results[0];
    return n > 0 || tf_text_bad(p, at, TUFF_E_ARGUMENT, "%s yields nothing", name);
}
