/* text_read.c - the text form's statements: a recursive-descent parser that builds the graph as it reads.
 *
 * repeat reads its block once per turn. Budgets on nesting, calls and statements keep hostile text from exhausting
 * stack or memory. */
#include "text_read.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define MAX_TEXT ((size_t)1 << 28)

static bool statement(tf_parser *p);

/* ---- declarations ---- */

/* After the keyword and the name; `bound` is what the text calls the value, `name` its port (NULL: an unnamed constant). */
static bool declaration(tf_parser *p, const tf_tok *keyword, const char *bound, const char *name, const tf_tok *at)
{
    tuff_dtype dtype;
    tuff_shape shape;
    tuff_tensor t = { 0 };
    if (!tf_text_type(p, &dtype, &shape))
        return false;
    const bool value = tf_tok_is(&p->tok, "=") || p->tok.kind == TF_TOK_FILE || (p->tok.kind == TF_TOK_STRING && p->tok.n > 1 && p->tok.p[1] == '@');
    if (tf_tok_is(&p->tok, "=") && !tf_text_next(p))
        return false;
    const tf_tok value_at = p->tok;
    p->g->line = at->line;
    p->g->column = at->column;
    if (tf_tok_is(keyword, "input") || tf_tok_is(keyword, "state")) {
        if (value)
            return tf_text_bad(p, &value_at, TUFF_E_PARSE, tf_tok_is(keyword, "input") ? "an input has no value here; it is written before a run"
                                                                                       : "a state has no value here; it is zero at first");
        t = tf_tok_is(keyword, "input") ? tuff_input(p->g, name, dtype, shape) : tuff_state(p->g, name, dtype, shape);
    } else if (tf_tok_is(keyword, "scalar")) {
        double v = 0;
        if (shape.rank)
            return tf_text_bad(p, at, TUFF_E_SHAPE, "a scalar has no shape");
        if (value && !tf_text_number(p, &v))
            return false;
        p->g->line = at->line;
        p->g->column = at->column;
        t = tuff_scalar(p->g, name, dtype, v);
    } else {
        if (!value)
            return tf_text_bad(p, &value_at, TUFF_E_PARSE, "the constant \"%s\" needs = and a number, a list or @file.npy", bound);
        if (!tf_text_constant(p, name, dtype, &shape, &t))
            return false;
        if (!name)
            tuff_name(t, bound);
    }
    return t.id && !tf_status(p->g) && tf_text_bind_value(p, bound, t);
}

static bool keyword_declaration(tf_parser *p, const tf_tok *keyword)
{
    const tf_tok at = p->tok;
    const char *name = tf_text_name(p, "a name");
    return name && declaration(p, keyword, name, name, &at);
}

static bool is_bare_keyword(const tf_tok *t)
{
    return tf_tok_is(t, "input") || tf_tok_is(t, "const") || tf_tok_is(t, "state") || tf_tok_is(t, "scalar");
}

/* The number of an override "name=-1.5e3", with its own lexer: no locale has a say. */
static bool override_number(const char *text, tf_tok *number, bool *minus)
{
    tf_lexer lx;
    tf_lexer_init(&lx, text, strlen(text));
    *number = tf_lex(&lx);
    *minus = tf_tok_is(number, "-");
    if (*minus)
        *number = tf_lex(&lx);
    if (tf_tok_is(number, "inf") || tf_tok_is(number, "nan"))
        number->number = tf_tok_is(number, "inf") ? (double)INFINITY : (double)NAN;
    else if (number->kind != TF_TOK_NUMBER)
        return false;
    return tf_lex(&lx).kind == TF_TOK_END;
}

static bool override_of(tf_parser *p, tf_binding_name *b)
{
    const size_t n = strlen(b->name);
    for (uint32_t i = 0; i < p->desc->param_count; i++) {
        const char *text = p->desc->params[i];
        tf_tok number;
        bool minus;
        if (strncmp(text, b->name, n) || text[n] != '=')
            continue;
        const bool good = override_number(text + n + 1, &number, &minus);
        if (b->kind == TF_BIND_NUMBER) {
            if (!good)
                return tf_text_bad(p, &(tf_tok){ 0 }, TUFF_E_ARGUMENT, "the override \"%s\" is no number", text);
            b->number = minus ? -number.number : number.number;
        } else {
            if (!good || number.kind != TF_TOK_NUMBER || !number.is_integer || number.integer > (uint64_t)1 << 56)
                return tf_text_bad(p, &(tf_tok){ 0 }, TUFF_E_ARGUMENT, "the override \"%s\" is no integer", text);
            b->dim = minus ? -(int64_t)number.integer : (int64_t)number.integer;
        }
        p->override_used[i] = true;
        return true;
    }
    return true;
}

static bool param_statement(tf_parser *p)
{
    const char *name = tf_text_name(p, "a name");
    tf_binding_name b;
    if (!name || !tf_text_expect(p, "=", "after the name"))
        return false;
    const tf_tok at = p->tok;
    if (!tf_text_param(p, name, &b))
        return false;
    if (b.kind == TF_BIND_INT && tf_dim_is_dynamic(b.dim))
        return tf_text_bad(p, &at, TUFF_E_PARSE, "a param is fixed at compile time; %s is dynamic", tf_dim_text(p->g, b.dim));
    return (p->scope || override_of(p, &b)) && tf_text_bind(p, b);
}

static bool bind_int(tf_parser *p, const char *name, int64_t dim)
{
    return tf_text_bind(p, (tf_binding_name){ .kind = TF_BIND_INT, .name = name, .dim = dim });
}

static bool dim_statement(tf_parser *p)
{
    const tf_tok at = p->tok;
    int64_t max;
    const char *name = tf_text_name(p, "a name");
    if (!name || !tf_text_expect(p, "<=", "after the name") || !tf_text_count(p, "a bound", &max))
        return false;
    p->g->line = at.line;
    p->g->column = at.column;
    const int64_t d = tuff_dim_param(p->g, name, max);
    return !tf_status(p->g) && bind_int(p, name, d);
}

static bool output_statement(tf_parser *p)
{
    const tf_tok at = p->tok;
    const char *name = tf_text_name(p, "a name"), *value = name;
    tf_tok value_at = at;
    tuff_tensor t;
    if (!name)
        return false;
    if (tf_text_accept(p, "=")) {
        value_at = p->tok;
        value = tf_text_name(p, "a tensor");
    }
    if (!value || !tf_text_value(p, value, &value_at, &t))
        return false;
    p->g->line = at.line;
    p->g->column = at.column;
    tuff_output(p->g, name, t);
    return !tf_status(p->g);
}

/* ---- blocks ---- */

static bool read_names(tf_parser *p, tf_names *out)
{
    TF_ARRAY(const char *) list = { 0 };
    if (!tf_text_expect(p, "(", "before the names"))
        return false;
    while (!tf_text_accept(p, ")")) {
        const char *name = tf_text_name(p, "a name");
        const char **slot = name ? tf_push(&p->tmp, &list) : NULL;
        if (!slot)
            return false;
        *slot = name;
        if (list.n > TF_MAX_OPERANDS)
            return tf_text_bad(p, &p->tok, TUFF_E_LIMIT, "there are more than %d names", TF_MAX_OPERANDS);
        if (!tf_tok_is(&p->tok, ")") && !tf_text_expect(p, ",", "between names"))
            return false;
    }
    *out = (tf_names){ list.data, list.n };
    return !tf_status(p->g);
}

/* Passes over a block whose opening brace has been taken. */
static bool skip_block(tf_parser *p, const tf_tok *open)
{
    for (uint32_t nesting = 1; nesting;) {
        if (p->tok.kind == TF_TOK_END)
            return tf_text_bad(p, open, TUFF_E_PARSE, "the block has no closing }");
        if (tf_tok_is(&p->tok, "{"))
            nesting++;
        else if (tf_tok_is(&p->tok, "}"))
            nesting--;
        if (!tf_text_next(p))
            return false;
    }
    return true;
}

static bool def_statement(tf_parser *p)
{
    tf_def_text d = { 0 };
    d.name = tf_text_name(p, "a name");
    if (!d.name)
        return false;
    if (!read_names(p, &d.args) || !tf_text_expect(p, "->", "after the operands") || !read_names(p, &d.results))
        return false;
    const tf_tok open = p->tok;
    if (!tf_text_expect(p, "{", "before the body"))
        return false;
    d.body = p->lx;
    d.first = p->tok;
    tf_def_text *slot = tf_push(&p->tmp, &p->defs);
    if (!slot)
        return false;
    *slot = d;
    return tf_text_bind(p, (tf_binding_name){ .kind = TF_BIND_DEF, .name = d.name, .def = p->defs.n - 1 }) && skip_block(p, &open);
}

static bool repeat_statement(tf_parser *p)
{
    int64_t first, end;
    const tf_tok at = p->tok;
    const char *name = tf_text_name(p, "a name");
    if (!name || !tf_text_expect(p, "in", "after the name") || !tf_text_count(p, "a bound", &first) || !tf_text_expect(p, "..", "between the bounds") ||
        !tf_text_count(p, "a bound", &end))
        return false;
    const tf_tok open = p->tok;
    if (!tf_text_expect(p, "{", "before the block"))
        return false;
    const tf_lexer lx = p->lx;
    const tf_tok tok = p->tok;
    if (first >= end)
        return skip_block(p, &open);
    for (int64_t i = first; i < end; i++) {
        if (++p->statements > TF_TEXT_STATEMENTS)
            return tf_text_bad(p, &at, TUFF_E_LIMIT, "the graph has more than %d statements", TF_TEXT_STATEMENTS);
        p->lx = lx;
        p->tok = tok;
        if (!bind_int(p, name, i) || !tf_text_block(p))
            return false;
    }
    return true;
}

/* ---- loops ---- */

typedef struct loop_text {
    tf_names carried;
    const char *condition;    /* while: its name */
    const char *step;
    tuff_tensor init[TUFF_LOOP_MAX], next[TUFF_LOOP_MAX], stack[TUFF_LOOP_MAX], in[TUFF_LOOP_MAX], out[2 * TUFF_LOOP_MAX + 2], again;
    uint32_t n, stacked;
    int64_t count;
} loop_text;

static bool read_carried(tf_parser *p, loop_text *l)
{
    TF_ARRAY(const char *) list = { 0 };
    if (!tf_text_expect(p, "(", "before the carried values"))
        return false;
    while (!tf_text_accept(p, ")")) {
        const tf_tok at = p->tok;
        const char *name = tf_text_name(p, "a name"), **slot = name ? tf_push(&p->tmp, &list) : NULL;
        if (!slot || !tf_text_expect(p, "=", "after the name"))
            return false;
        *slot = name;
        if (l->n == TUFF_LOOP_MAX)
            return tf_text_bad(p, &at, TUFF_E_LIMIT, "a loop carries more than %d values", TUFF_LOOP_MAX);
        if (!tf_text_operand(p, &l->init[l->n++], NULL))
            return false;
        if (!tf_tok_is(&p->tok, ")") && !tf_text_expect(p, ",", "between carried values"))
            return false;
    }
    l->carried = (tf_names){ list.data, list.n };
    return !tf_status(p->g);
}

/* int, or while: name [= first] <= int; then [step name] (carried). */
static bool read_loop_head(tf_parser *p, bool is_while, loop_text *l)
{
    if (is_while) {
        const tf_binding_name *b = NULL;
        if (!(l->condition = tf_text_name(p, "the condition's name")))
            return false;
        if (tf_text_accept(p, "=")) {
            if (!tf_text_operand(p, &l->again, NULL))
                return false;
        } else if ((b = tf_text_find(p, l->condition)) && b->kind == TF_BIND_VALUE)
            l->again = b->tensor;
        if (!tf_text_expect(p, "<=", "before the most iterations"))
            return false;
    }
    if (!tf_text_count(p, "the number of iterations", &l->count) || (tf_text_accept(p, "step") && !(l->step = tf_text_name(p, "a name"))))
        return false;
    return !tf_status(p->g) && read_carried(p, l);
}

static bool read_list(tf_parser *p, tuff_tensor *out, uint32_t *n)
{
    do {
        if (*n == TUFF_LOOP_MAX)
            return tf_text_bad(p, &p->tok, TUFF_E_LIMIT, "there are more than %d values", TUFF_LOOP_MAX);
        if (!tf_text_operand(p, &out[(*n)++], NULL))
            return false;
    } while (tf_text_accept(p, ","));
    return !tf_status(p->g);
}

/* yield values [stack values] [again value] } */
static bool read_yield(tf_parser *p, loop_text *l, uint32_t mark, bool is_while)
{
    const tf_tok at = p->tok;
    uint32_t n = 0;
    tuff_tensor again = { 0 };
    const bool list = p->tok.kind != TF_TOK_END && !tf_tok_is(&p->tok, "}") && !tf_tok_is(&p->tok, "stack") && !tf_tok_is(&p->tok, "again");
    if ((list && !read_list(p, l->next, &n)) || (tf_text_accept(p, "stack") && !read_list(p, l->stack, &l->stacked)))
        return false;
    if (is_while && tf_text_accept(p, "again")) {
        if (!tf_text_operand(p, &again, NULL))
            return false;
    } else if (is_while) {
        const tf_binding_name *b = tf_text_find(p, l->condition);
        if (!b || b->kind != TF_BIND_VALUE || (size_t)(b - p->names.data) <= mark)
            return tf_text_bad(p, &at, TUFF_E_NAME, "the body gives %s no new value, so the loop would not end by it", l->condition);
        again = b->tensor;
    }
    l->again = again;
    if (n != l->n)
        return tf_text_bad(p, &at, TUFF_E_ARGUMENT, "the loop carries %u value%s, yield has %u", (unsigned)l->n, l->n == 1 ? "" : "s", (unsigned)n);
    return tf_text_expect(p, "}", "after yield");
}

static bool read_loop_body(tf_parser *p, loop_text *l, bool is_while)
{
    const uint32_t mark = p->names.n;
    const tf_tok open = p->tok;
    tuff_tensor step;
    if (!tf_text_expect(p, "{", "before the body"))
        return false;
    p->g->line = open.line;
    p->g->column = open.column;
    if (!tf_loop_begin(p->g, l->count, is_while, l->init, l->n, l->again, &step, l->in))
        return false;
    const tf_region *r = &p->g->regions.data[p->g->region - 1];
    if (is_while && !tf_text_bind_value(p, l->condition, tf_tensor(p->g, r->carries.data[l->n].value)))
        return false;
    const uint32_t own = p->names.n ? p->names.n - 1 : 0; /* names bound from here on are the body's */
    if (l->step && (!tuff_name(step, l->step).id || !tf_text_bind_value(p, l->step, step)))
        return false;
    for (uint32_t i = 0; i < l->n; i++)
        if (!tuff_name(l->in[i], l->carried.name[i]).id || !tf_text_bind_value(p, l->carried.name[i], l->in[i]))
            return false;
    while (!tf_tok_is(&p->tok, "yield")) {
        if (p->tok.kind == TF_TOK_END || tf_tok_is(&p->tok, "}"))
            return tf_text_bad(p, &p->tok, TUFF_E_PARSE, "a loop's body ends with yield and the next carried values");
        if (!statement(p) || tf_status(p->g))
            return false;
    }
    if (!tf_text_next(p) || !read_yield(p, l, own, is_while))
        return false;
    tf_text_unbind(p, mark);
    return tf_loop_end(p->g, l->next, l->n, l->again, l->stack, l->stacked, l->out);
}

/* After "loop" or "while". names: what the results are called; none: the carried values keep their names. */
static bool loop_statement(tf_parser *p, const tf_tok *at, bool is_while, const char *const *names, uint32_t n)
{
    loop_text *l = tf_arena_new(&p->tmp, loop_text);
    if (++p->depth > TF_TEXT_DEPTH)
        return tf_text_bad(p, at, TUFF_E_LIMIT, "calls and blocks nest deeper than %d", TF_TEXT_DEPTH);
    if (!l || !read_loop_head(p, is_while, l) || !read_loop_body(p, l, is_while))
        return false;
    p->depth--;
    const uint32_t results = l->n + l->stacked + 2 * is_while;
    if (n > results)
        return tf_text_bad(p, at, TUFF_E_ARGUMENT, "the loop yields %u result%s, not %u", (unsigned)results, results == 1 ? "" : "s", (unsigned)n);
    for (uint32_t i = 0; i < (n ? n : l->n); i++) {
        const char *name = n ? names[i] : l->carried.name[i];
        if (strcmp(name, "_") && (!tuff_name(l->out[i], name).id || !tf_text_bind_value(p, name, l->out[i])))
            return false;
    }
    return n || !is_while || tf_text_bind_value(p, l->condition, l->out[results - 1]);
}

static bool assignment(tf_parser *p)
{
    TF_ARRAY(const char *) names = { 0 };
    const tf_tok first = p->tok;
    do {
        const char *name = tf_text_name(p, "a statement");
        const char **slot = name ? tf_push(&p->tmp, &names) : NULL;
        if (!slot)
            return false;
        *slot = name;
        if (names.n > TF_MAX_OPERANDS)
            return tf_text_bad(p, &first, TUFF_E_LIMIT, "there are more than %d names", TF_MAX_OPERANDS);
    } while (tf_text_accept(p, ","));
    if (tf_status(p->g))
        return false;
    if (!tf_tok_is(&p->tok, "=")) {
        static const char *const words[] = { "input", "const", "state", "scalar", "param", "dim", "def", "repeat", "loop", "while", "output" };
        return tf_text_bad(p, &first, TUFF_E_PARSE, "a statement does not begin with %s%s", tf_text_spell(p, &first),
                           tf_text_suggest(p, names.data[0], words, TF_COUNT(words)));
    }
    if (!tf_text_next(p))
        return false;
    const tf_tok at = p->tok;
    const char *op = tf_text_name(p, "an op");
    if (!op)
        return false;
    if (tf_tok_is(&at, "loop") || tf_tok_is(&at, "while"))
        return loop_statement(p, &at, tf_tok_is(&at, "while"), names.data, names.n);
    if (is_bare_keyword(&at) && names.n == 1) {
        /* q = input f32[4], or with a port name of its own: q = input "layer.0.q" f32[4] */
        const char *port = tf_tok_is(&at, "const") ? NULL : names.data[0];
        if (p->tok.kind == TF_TOK_STRING && !(port = tf_text_name(p, "a name")))
            return false;
        return declaration(p, &at, names.data[0], port, &first);
    }
    if (!tf_tok_is(&p->tok, "("))
        return tf_text_bad(p, &p->tok, TUFF_E_PARSE, "( is expected after %s, not %s", op, tf_text_spell(p, &p->tok));
    tuff_tensor out[TF_MAX_OPERANDS];
    uint32_t n;
    if (!tf_text_call(p, &at, op, out, &n))
        return false;
    if (names.n > n)
        return tf_text_bad(p, &first, TUFF_E_ARGUMENT, "%s yields %u result%s, not %u", op, (unsigned)n, n == 1 ? "" : "s", (unsigned)names.n);
    for (uint32_t i = 0; i < names.n; i++) {
        if (!strcmp(names.data[i], "_"))
            continue;
        if (!tf_val(p->g, out[i].id)->name)
            tuff_name(out[i], names.data[i]);
        if (tf_status(p->g) || !tf_text_bind_value(p, names.data[i], out[i]))
            return false;
    }
    return true;
}

static bool statement(tf_parser *p)
{
    static const struct { const char *word; bool (*read)(tf_parser *p); } statements[] = {
        { "param", param_statement }, { "dim", dim_statement }, { "def", def_statement }, { "repeat", repeat_statement }, { "output", output_statement },
    };
    const tf_tok at = p->tok;
    if (++p->statements > TF_TEXT_STATEMENTS)
        return tf_text_bad(p, &at, TUFF_E_LIMIT, "the graph has more than %d statements", TF_TEXT_STATEMENTS);
    if (is_bare_keyword(&at))
        return tf_text_next(p) && keyword_declaration(p, &at);
    for (size_t i = 0; i < TF_COUNT(statements); i++)
        if (tf_tok_is(&at, statements[i].word))
            return tf_text_next(p) && statements[i].read(p);
    if (tf_tok_is(&at, "loop") || tf_tok_is(&at, "while"))
        return tf_text_next(p) && loop_statement(p, &at, tf_tok_is(&at, "while"), NULL, 0);
    if (tf_tok_is(&at, "yield"))
        return tf_text_bad(p, &at, TUFF_E_PARSE, "yield ends a loop's body; here is none");
    return assignment(p);
}

/* Statements up to the closing brace, or to the end of the text at the top level. */
static bool statements_until(tf_parser *p, bool braced)
{
    while (!braced || !tf_tok_is(&p->tok, "}")) {
        if (p->tok.kind == TF_TOK_END)
            return !braced || tf_text_bad(p, &p->tok, TUFF_E_PARSE, "a block has no closing }");
        if (!statement(p) || tf_status(p->g))
            return false;
    }
    return tf_text_next(p);
}

bool tf_text_block(tf_parser *p)
{
    if (++p->depth > TF_TEXT_DEPTH)
        return tf_text_bad(p, &p->tok, TUFF_E_LIMIT, "calls and blocks nest deeper than %d", TF_TEXT_DEPTH);
    const bool good = statements_until(p, true);
    p->depth--;
    return good;
}

/* ---- entry ---- */

static bool check_overrides(tf_parser *p)
{
    for (uint32_t i = 0; i < p->desc->param_count; i++)
        if (!p->override_used[i])
            return tf_text_bad(p, &(tf_tok){ 0 }, TUFF_E_NAME, "the override \"%s\" names no param of the text", p->desc->params[i]);
    return true;
}

static bool parse(tf_parser *p, const char *text, size_t size)
{
    p->override_used = tf_arena_array(&p->tmp, bool, p->desc->param_count + 1);
    if (!p->override_used)
        return false;
    if (size > MAX_TEXT)
        return tf_text_bad(p, &p->tok, TUFF_E_LIMIT, "the text is longer than %u MiB", (unsigned)(MAX_TEXT >> 20));
    tf_lexer_init(&p->lx, text, size);
    return tf_text_next(p) && statements_until(p, false) && check_overrides(p);
}

tuff_status tuff_graph_parse(const char *text, size_t size, const tuff_parse_desc *desc, tuff_graph **out, char *message, size_t message_size)
{
    static const tuff_parse_desc defaults = { 0 };
    if (!desc)
        desc = &defaults;
    if (!message)
        message_size = 0;
    if (message_size)
        message[0] = 0;
    if (out)
        *out = NULL;
    if (!out || (!text && size)) {
        if (message_size)
            snprintf(message, message_size, "graph_parse: %s is NULL", out ? "the text" : "the place for the graph");
        return TUFF_E_ARGUMENT;
    }
    tuff_graph *g = tuff_graph_create(&(tuff_graph_desc){ .allocator = desc->allocator });
    tf_parser *p = g ? tf_alloc(&desc->allocator, sizeof *p) : NULL;
    tuff_status status = TUFF_E_MEMORY;
    if (p) {
        tf_arena_init(&p->tmp, &desc->allocator);
        p->g = g;
        p->desc = desc;
        g->file = tf_arena_string(&g->arena, desc->name ? desc->name : "<text>");
        const bool good = parse(p, text ? text : "", text ? size : 0);
        status = tf_status(g) ? tf_status(g) : good ? TUFF_OK : TUFF_E_MEMORY;
        g->line = g->column = 0;
        tf_arena_release(&p->tmp);
        tf_free(&desc->allocator, p, sizeof *p);
    }
    if (status != TUFF_OK) {
        if (message_size)
            snprintf(message, message_size, "%s", g && g->error ? g->error : tuff_status_text(status));
        tuff_graph_destroy(g);
        return status;
    }
    *out = g;
    return TUFF_OK;
}
