/* userexpr.c - user expressions: parsed and typed into a list of nodes, then built as kernel expressions or
 * evaluated in double.
 *
 * The parser converts while it reads: an operator joins the dtypes of its operands and inserts conversions, so
 * every node is a pointwise row applied to operands of its own dtype. Numbers stay without a dtype until an
 * operand beside them gives one. */
#include "userexpr.h"
#include "text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_NODES = 4096, MAX_NESTING = 64 };
#define NOWHERE UINT32_MAX /* no node: a failure has been reported */

typedef struct let { const char *name; uint32_t node; } let;

typedef struct parser {
    tf_arena *arena;
    tf_lexer lx;
    tf_tok tok;
    const tf_uname *names;
    uint32_t n_names;
    TF_ARRAY(tf_unode) nodes; /* NUMBER with dtype NONE: not yet decided */
    TF_ARRAY(let) lets;
    uint32_t depth;
    const char *message;
    bool failed;
} parser;

/* ---- messages and tokens ---- */

static uint32_t bad(parser *p, const tf_tok *at, const char *format, ...) TF_PRINTF(3, 4);
static uint32_t bad(parser *p, const tf_tok *at, const char *format, ...)
{
    if (p->failed)
        return NOWHERE;
    p->failed = true;
    tf_str s;
    va_list args;
    tf_str_init(&s, &p->arena->allocator);
    tf_str_printf(&s, "%u:%u: ", (unsigned)at->line, (unsigned)at->column);
    va_start(args, format);
    tf_str_vprintf(&s, format, args);
    va_end(args);
    p->message = s.data && !s.failed ? tf_arena_string(p->arena, s.data) : NULL;
    tf_str_release(&s);
    return NOWHERE;
}

static void next(parser *p)
{
    p->tok = tf_lex(&p->lx);
    if (p->tok.kind == TF_TOK_BAD)
        bad(p, &p->tok, "%s", p->tok.bad);
}

static bool accept(parser *p, const char *text)
{
    if (p->failed || !tf_tok_is(&p->tok, text))
        return false;
    next(p);
    return !p->failed;
}

static bool expect(parser *p, const char *text, const char *where)
{
    if (accept(p, text))
        return true;
    if (p->tok.kind == TF_TOK_END)
        bad(p, &p->tok, "%s is expected %s, but the expression ends", text, where);
    else
        bad(p, &p->tok, "%s is expected %s, not %.*s", text, where, (int)TF_MIN(p->tok.n, (size_t)40), p->tok.p);
    return false;
}

/* ---- nodes ---- */

static bool same_node(const tf_unode *a, const tf_unode *b)
{
    /* Bits of numbers: -0 and 0 differ, NaN is itself. */
    return a->kind == b->kind && a->dtype == b->dtype && !memcmp(&a->number, &b->number, sizeof a->number) && a->name == b->name &&
           a->op == b->op && a->n_arg == b->n_arg && !memcmp(a->arg, b->arg, sizeof a->arg);
}

static uint32_t add_node(parser *p, tf_unode n)
{
    if (p->failed)
        return NOWHERE;
    for (uint32_t i = 0; i < p->nodes.n; i++)
        if (same_node(&p->nodes.data[i], &n))
            return i;
    if (p->nodes.n == MAX_NODES)
        return bad(p, &p->tok, "the expression has more than %d operations", MAX_NODES);
    tf_unode *slot = tf_push(p->arena, &p->nodes);
    if (!slot) {
        p->failed = true;
        return NOWHERE;
    }
    *slot = n;
    return p->nodes.n - 1;
}

static tuff_dtype dtype_of(const parser *p, uint32_t node) { return p->nodes.data[node].dtype; }

static uint32_t number(parser *p, tuff_dtype t, double v)
{
    return add_node(p, (tf_unode){ .kind = TF_U_NUMBER, .dtype = t, .number = v });
}

static uint32_t undecided_number(parser *p, double v, bool whole)
{
    return add_node(p, (tf_unode){ .kind = TF_U_NUMBER, .number = v, .name = whole });
}

/* A number not yet decided: whole numbers can become integers. */
static bool undecided(const parser *p, uint32_t node) { return dtype_of(p, node) == TUFF_DTYPE_NONE; }
static bool is_whole(const parser *p, uint32_t node) { return p->nodes.data[node].name == 1; }

static uint32_t apply(parser *p, const tf_tok *at, const char *op_name, const tf_op *op, tuff_dtype t, const uint32_t *args, uint32_t n)
{
    if (!op)
        op = tf_op_find(op_name);
    if (!op || op->kind != TF_POINTWISE || !op->scalar)
        return bad(p, at, "%s is not available in this build", op_name);
    tf_unode node = { .kind = TF_U_OP, .dtype = t, .op = op, .n_arg = n };
    for (uint32_t i = 0; i < n; i++) {
        if (args[i] == NOWHERE)
            return NOWHERE;
        node.arg[i] = args[i];
    }
    const uint32_t made = add_node(p, node);
    if (made == NOWHERE || p->nodes.data[made].desc || !op->desc_size)
        return made;
    void *desc = tf_arena_alloc(p->arena, op->desc_size);
    if (!desc) {
        p->failed = true;
        return NOWHERE;
    }
    const tf_attr *a = tf_attr_find(op, "dtype");
    if (a)
        memcpy((char *)desc + a->offset, &t, sizeof t);
    p->nodes.data[made].desc = desc;
    return made;
}

/* ---- dtypes ---- */

static uint32_t convert(parser *p, const tf_tok *at, uint32_t node, tuff_dtype t)
{
    if (p->failed || dtype_of(p, node) == t)
        return node;
    if (t == TUFF_C64) {
        const uint32_t parts[2] = { convert(p, at, node, TUFF_F32), number(p, TUFF_F32, 0) };
        return apply(p, at, "complex", NULL, TUFF_C64, parts, 2);
    }
    if (undecided(p, node)) {
        const double v = p->nodes.data[node].number;
        if (tf_dtype_is_int(t) && tf_round_to(t, v) != v)
            return bad(p, at, "%g is not a value of %s", v, tuff_dtype_name(t));
        return number(p, t, tf_round_to(t, v));
    }
    return apply(p, at, "cast", NULL, t, &node, 1);
}

static uint32_t decide(parser *p, const tf_tok *at, uint32_t node)
{
    if (p->failed || !undecided(p, node))
        return node;
    return convert(p, at, node, is_whole(p, node) ? TUFF_I32 : TUFF_F32);
}

/* The common dtype of two operands, NONE if there is none. */
static tuff_dtype join(tuff_dtype a, tuff_dtype b)
{
    const unsigned ca = tf_dtype_class(a), cb = tf_dtype_class(b);
    if (a == b)
        return a;
    if (ca == TF_CLS_BOOL || cb == TF_CLS_BOOL || !ca || !cb)
        return TUFF_DTYPE_NONE;
    if (ca == TF_CLS_COMPLEX || cb == TF_CLS_COMPLEX)
        return TUFF_C64;
    if (ca != cb)
        return ca == TF_CLS_FLOAT ? a : b;
    if (tf_dtype_bits(a) == tf_dtype_bits(b))
        return ca == TF_CLS_FLOAT ? TUFF_F32 : TUFF_DTYPE_NONE; /* f16 with bf16; i32 with u32 */
    return tf_dtype_bits(a) > tf_dtype_bits(b) ? a : b;
}

/* Brings operands to one dtype within `classes`; returns it, or NONE after a failure. */
static tuff_dtype unify(parser *p, const tf_tok *at, unsigned classes, uint32_t *args, uint32_t n)
{
    tuff_dtype t = TUFF_DTYPE_NONE;
    bool fraction = false;
    for (uint32_t i = 0; i < n; i++) {
        if (p->failed || args[i] == NOWHERE)
            return TUFF_DTYPE_NONE;
        if (undecided(p, args[i])) {
            fraction = fraction || !is_whole(p, args[i]);
            continue;
        }
        const tuff_dtype old = t, d = dtype_of(p, args[i]);
        t = t == TUFF_DTYPE_NONE ? d : join(t, d);
        if (t == TUFF_DTYPE_NONE) {
            bad(p, at, "%s and %s do not mix; convert one: %s(...)", tuff_dtype_name(old), tuff_dtype_name(d), old == TUFF_BOOL ? tuff_dtype_name(d) : tuff_dtype_name(old));
            return TUFF_DTYPE_NONE;
        }
    }
    if (t == TUFF_DTYPE_NONE)
        t = fraction ? TUFF_F32 : TUFF_I32;
    if (fraction && tf_dtype_is_int(t))
        t = TUFF_F32;
    if (t == TUFF_BOOL)
        for (uint32_t i = 0; i < n; i++)
            if (undecided(p, args[i])) {
                bad(p, at, "bool and a number do not mix; write true or false");
                return TUFF_DTYPE_NONE;
            }
    if (!(tf_dtype_class(t) & classes) && tf_dtype_is_int(t) && (classes & TF_CLS_FLOAT))
        t = TUFF_F32;
    if (!(tf_dtype_class(t) & classes)) {
        bad(p, at, "%.*s does not take %s", (int)TF_MIN(at->n, (size_t)40), at->p, tuff_dtype_name(t));
        return TUFF_DTYPE_NONE;
    }
    for (uint32_t i = 0; i < n; i++)
        args[i] = convert(p, at, args[i], t);
    return p->failed ? TUFF_DTYPE_NONE : t;
}

static uint32_t call_row(parser *p, const tf_tok *at, const tf_op *op, uint32_t *args, uint32_t n)
{
    const tuff_dtype t = unify(p, at, op->classes ? op->classes : TF_CLS_ANY, args, n);
    if (t == TUFF_DTYPE_NONE)
        return NOWHERE;
    tuff_dtype r = t;
    if (op->result == TF_RESULT_BOOL)
        r = TUFF_BOOL;
    else if (op->result == TF_RESULT_REAL && t == TUFF_C64)
        r = TUFF_F32;
    else if (op->result == TF_RESULT_COMPLEX) {
        for (uint32_t i = 0; i < n; i++)
            args[i] = convert(p, at, args[i], TUFF_F32);
        r = TUFF_C64;
    }
    return apply(p, at, op->name, op, r, args, n);
}

static uint32_t binary(parser *p, const tf_tok *at, const char *row, uint32_t a, uint32_t b)
{
    uint32_t args[2] = { a, b };
    const tf_op *op = tf_op_find(row);
    if (a == NOWHERE || b == NOWHERE)
        return NOWHERE;
    return op ? call_row(p, at, op, args, 2) : bad(p, at, "%s is not available in this build", row);
}

/* A condition: bool, or a number compared with 0. */
static uint32_t truth(parser *p, const tf_tok *at, uint32_t node)
{
    if (p->failed || node == NOWHERE)
        return NOWHERE;
    node = decide(p, at, node);
    return p->failed || dtype_of(p, node) == TUFF_BOOL ? node : binary(p, at, "not_equal", node, undecided_number(p, 0, true));
}

static uint32_t choose(parser *p, const tf_tok *at, uint32_t condition, uint32_t a, uint32_t b)
{
    uint32_t args[3] = { truth(p, at, condition), a, b };
    const tuff_dtype t = unify(p, at, TF_CLS_ANY, args + 1, 2);
    return t == TUFF_DTYPE_NONE ? NOWHERE : apply(p, at, "where", NULL, t, args, 3);
}

/* ---- grammar ---- */

static uint32_t value(parser *p);

/* Values up to `close`, at most max of them. */
static uint32_t list(parser *p, const char *close, uint32_t *args, uint32_t max)
{
    uint32_t n = 0;
    while (!accept(p, close)) {
        if (n == max)
            return bad(p, &p->tok, "there are more than %u values", (unsigned)max);
        if ((args[n++] = value(p)) == NOWHERE)
            return NOWHERE;
        if (!tf_tok_is(&p->tok, close) && !expect(p, ",", "between the values"))
            return NOWHERE;
    }
    return p->failed ? NOWHERE : n;
}

static uint32_t unknown(parser *p, const tf_tok *at, const char *name, bool function)
{
    TF_ARRAY(const char *) known = { 0 };
    for (uint32_t i = 0; i < p->n_names && !function; i++) {
        const char **slot = tf_push(p->arena, &known);
        if (slot)
            *slot = p->names[i].name;
    }
    for (uint32_t i = 0; i < p->lets.n && !function; i++) {
        const char **slot = tf_push(p->arena, &known);
        if (slot)
            *slot = p->lets.data[i].name;
    }
    for (uint32_t i = 0; tuff_ops[i] && function; i++) {
        const char **slot = tuff_ops[i]->kind == TF_POINTWISE ? tf_push(p->arena, &known) : NULL;
        if (slot)
            *slot = tuff_ops[i]->name;
    }
    const char *near = known.n && name[1] ? tf_suggest(name, known.data, known.n) : NULL;
    return near ? bad(p, at, "unknown %s \"%s\"; did you mean \"%s\"?", function ? "function" : "name", name, near)
                : bad(p, at, "unknown %s \"%s\"", function ? "function" : "name", name);
}

static bool has_required(const tf_op *op)
{
    for (uint32_t i = 0; i < op->attr_count; i++)
        if (op->attrs[i].required || op->attrs[i].type == TF_ATTR_TENSOR || op->attrs[i].type == TF_ATTR_NAMED)
            return true;
    return false;
}

static uint32_t call(parser *p, const tf_tok *at, const char *name)
{
    uint32_t args[3];
    const uint32_t n = list(p, ")", args, 3);
    if (n == NOWHERE)
        return NOWHERE;
    const tuff_dtype t = tf_dtype_by_name(name, strlen(name));
    if (t != TUFF_DTYPE_NONE) {
        if (n != 1)
            return bad(p, at, "%s(x) converts one value, not %u", name, (unsigned)n);
        if (!tf_dtype_class(t))
            return bad(p, at, "there is no arithmetic in %s", name);
        return t == TUFF_BOOL ? truth(p, at, args[0]) : convert(p, at, undecided(p, args[0]) && tf_dtype_is_int(t) ? decide(p, at, args[0]) : args[0], t);
    }
    const char *row = !strcmp(name, "max") ? "maximum" : !strcmp(name, "min") ? "minimum" : name;
    const tf_op *op = tf_op_find(row);
    if (!op)
        return unknown(p, at, name, true);
    if (op->kind != TF_POINTWISE || op->internal || op->arity > 3 || has_required(op))
        return bad(p, at, "%s cannot be called in an expression", name);
    if (n != op->arity)
        return bad(p, at, "%s takes %u value%s, not %u", name, (unsigned)op->arity, op->arity == 1 ? "" : "s", (unsigned)n);
    if (!strcmp(row, "where"))
        return choose(p, at, args[0], args[1], args[2]);
    return call_row(p, at, op, args, n);
}

static uint32_t look_up(parser *p, const tf_tok *at, uint32_t name)
{
    const tf_uname *u = &p->names[name];
    tf_unode node = { .kind = TF_U_LOOKUP, .dtype = u->dtype, .name = name };
    if (!u->lookup)
        return bad(p, at, "%s is one value; it has no elements to look up", u->name);
    node.n_arg = list(p, "]", node.arg, TUFF_MAX_RANK);
    if (node.n_arg == NOWHERE)
        return NOWHERE;
    if (node.n_arg != (uint32_t)u->rank)
        return bad(p, at, "%s takes %d indices, not %u", u->name, (int)u->rank, (unsigned)node.n_arg);
    for (uint32_t i = 0; i < node.n_arg; i++) {
        node.arg[i] = decide(p, at, node.arg[i]);
        if (p->failed)
            return NOWHERE;
        if (!tf_dtype_is_int(dtype_of(p, node.arg[i])))
            return bad(p, at, "index %u of %s is %s; indices are integers: i32(...)", (unsigned)i, u->name, tuff_dtype_name(dtype_of(p, node.arg[i])));
        node.arg[i] = convert(p, at, node.arg[i], TUFF_I32);
    }
    return p->failed ? NOWHERE : add_node(p, node);
}

static uint32_t name_or_call(parser *p)
{
    const tf_tok at = p->tok;
    static const struct { const char *name; double v; } constants[] = { { "pi", 3.14159265358979323846 }, { "inf", (double)INFINITY }, { "nan", (double)NAN } };
    const char *name = tf_arena_string_n(p->arena, at.p, at.n);
    if (!name) {
        p->failed = true;
        return NOWHERE;
    }
    next(p);
    if (accept(p, "("))
        return call(p, &at, name);
    for (uint32_t i = p->lets.n; i-- > 0;)
        if (!strcmp(p->lets.data[i].name, name))
            return p->lets.data[i].node;
    for (uint32_t i = 0; i < p->n_names; i++)
        if (!strcmp(p->names[i].name, name)) {
            if (accept(p, "["))
                return look_up(p, &at, i);
            if (!p->names[i].value)
                return bad(p, &at, "%s is a tensor; look up an element: %s[...]", name, name);
            return add_node(p, (tf_unode){ .kind = TF_U_NAME, .dtype = p->names[i].dtype, .name = i });
        }
    if (!strcmp(name, "true") || !strcmp(name, "false"))
        return number(p, TUFF_BOOL, name[0] == 't');
    for (size_t i = 0; i < TF_COUNT(constants); i++)
        if (!strcmp(name, constants[i].name))
            return undecided_number(p, constants[i].v, false);
    return unknown(p, &at, name, tf_op_find(name) != NULL);
}

static uint32_t unary(parser *p)
{
    const tf_tok at = p->tok;
    uint32_t node = NOWHERE;
    if (++p->depth > MAX_NESTING)
        return bad(p, &at, "the expression nests deeper than %d", MAX_NESTING);
    if (accept(p, "-")) {
        node = unary(p);
        if (node != NOWHERE && undecided(p, node)) {
            tf_unode negative = p->nodes.data[node];
            negative.number = -negative.number;
            node = add_node(p, negative);
        } else if (node != NOWHERE) {
            const tf_op *neg = tf_op_find("neg");
            node = neg ? call_row(p, &at, neg, &node, 1) : bad(p, &at, "neg is not available in this build");
        }
    } else if (accept(p, "+")) {
        node = unary(p);
    } else if (accept(p, "!")) {
        const uint32_t x = truth(p, &at, unary(p));
        node = x == NOWHERE ? x : apply(p, &at, "logical_not", NULL, TUFF_BOOL, &x, 1);
    } else if (accept(p, "(")) {
        node = value(p);
        if (node != NOWHERE && !expect(p, ")", "after the value"))
            node = NOWHERE;
    } else if (p->tok.kind == TF_TOK_NUMBER) {
        node = undecided_number(p, at.number, at.is_integer && at.number <= 4294967295.0);
        next(p);
    } else if (p->tok.kind == TF_TOK_NAME) {
        node = name_or_call(p);
    } else if (p->tok.kind == TF_TOK_END) {
        return bad(p, &at, "the expression ends where a value is expected");
    } else {
        return bad(p, &at, "a value is expected here, not %.*s", (int)TF_MIN(at.n, (size_t)40), at.p);
    }
    p->depth--;
    return p->failed ? NOWHERE : node;
}

static uint32_t level(parser *p, int min)
{
    static const struct { const char *text; int rank; const char *row; } operators[] = {
        { "||", 1, "logical_or" }, { "&&", 2, "logical_and" }, { "==", 3, "equal" }, { "!=", 3, "not_equal" }, { "<", 4, "less" },
        { "<=", 4, "less_equal" }, { ">", 4, "greater" }, { ">=", 4, "greater_equal" }, { "+", 5, "add" }, { "-", 5, "sub" },
        { "*", 6, "mul" }, { "/", 6, "div" }, { "%", 6, "mod" },
    };
    uint32_t left = unary(p);
    while (left != NOWHERE) {
        const tf_tok at = p->tok;
        size_t i = 0;
        while (i < TF_COUNT(operators) && !tf_tok_is(&at, operators[i].text))
            i++;
        if (i == TF_COUNT(operators) || operators[i].rank < min)
            return left;
        next(p);
        uint32_t right = level(p, operators[i].rank + 1);
        if (operators[i].rank <= 2) {
            left = truth(p, &at, left);
            right = truth(p, &at, right);
        }
        left = binary(p, &at, operators[i].row, left, right);
    }
    return NOWHERE;
}

static uint32_t value(parser *p)
{
    if (++p->depth > MAX_NESTING)
        return bad(p, &p->tok, "the expression nests deeper than %d", MAX_NESTING);
    uint32_t node = level(p, 1);
    const tf_tok at = p->tok;
    if (node != NOWHERE && accept(p, "?")) {
        const uint32_t a = value(p);
        const uint32_t b = a != NOWHERE && expect(p, ":", "between the choices") ? value(p) : NOWHERE;
        node = b == NOWHERE ? NOWHERE : choose(p, &at, node, a, b);
    }
    p->depth--;
    return p->failed ? NOWHERE : node;
}

/* name = value ; with an optional "let". False: the next thing is the result. */
static bool let_statement(parser *p)
{
    const tf_lexer lx = p->lx;
    const tf_tok first = p->tok;
    const bool marked = tf_tok_is(&first, "let");
    if (marked)
        next(p);
    const tf_tok at = p->tok;
    if (!p->failed && at.kind == TF_TOK_NAME) {
        next(p);
        if (accept(p, "=")) {
            const char *name = tf_arena_string_n(p->arena, at.p, at.n);
            const uint32_t node = value(p);
            let *slot = name && node != NOWHERE && expect(p, ";", "after the value") ? tf_push(p->arena, &p->lets) : NULL;
            if (slot)
                *slot = (let){ name, node };
            else
                p->failed = true;
            return true;
        }
    }
    if (marked && !p->failed) {
        bad(p, &at, "let is followed by a name and =");
        return false;
    }
    p->lx = lx;
    p->tok = first;
    return false;
}

const tf_uexpr *tf_uexpr_parse(tf_arena *arena, const char *text, const tf_uname *names, uint32_t n, const char **message)
{
    parser p = { .arena = arena, .names = names, .n_names = n };
    *message = NULL;
    tf_lexer_init(&p.lx, text ? text : "", text ? strlen(text) : 0);
    next(&p);
    while (!p.failed && let_statement(&p))
        ;
    const tf_tok at = p.tok;
    uint32_t root = p.failed ? NOWHERE : decide(&p, &at, value(&p));
    accept(&p, ";");
    if (!p.failed && p.tok.kind != TF_TOK_END)
        bad(&p, &p.tok, "the expression continues with %.*s", (int)TF_MIN(p.tok.n, (size_t)40), p.tok.p);
    tf_uexpr *e = p.failed || root == NOWHERE ? NULL : tf_arena_new(arena, tf_uexpr);
    tf_uname *copy = e ? tf_arena_array(arena, tf_uname, n) : NULL;
    if (!copy) {
        *message = p.message;
        return NULL;
    }
    for (uint32_t i = 0; i < n; i++) {
        copy[i] = names[i];
        copy[i].name = tf_arena_string(arena, names[i].name);
    }
    /* The last node is the result; one more entry if a let came to stand behind it. */
    if (root + 1 != p.nodes.n)
        p.nodes.n = root + 1; /* nodes after the root feed nothing it reads */
    *e = (tf_uexpr){ .node = p.nodes.data, .n = p.nodes.n, .dtype = p.nodes.data[root].dtype, .names = copy, .n_names = n };
    return arena->failed ? NULL : e;
}

bool tf_uexpr_uses(const tf_uexpr *e, uint32_t name)
{
    for (uint32_t i = 0; i < e->n; i++)
        if ((e->node[i].kind == TF_U_NAME || e->node[i].kind == TF_U_LOOKUP) && e->node[i].name == name)
            return true;
    return false;
}

/* ---- as a kernel expression ---- */

static bool is_row(const tf_unode *n, const char *name) { return !strcmp(n->op->name, name); }

/* The node as index arithmetic, 0 if it cannot be: sums, products, max and min of coordinates and whole numbers,
 * quotients and remainders where they are known not to be negative. */
static tf_ex as_index(const tf_uexpr *e, const tf_ubuild *b, const tf_ex *index, uint32_t i)
{
    const tf_unode *n = &e->node[i];
    if (n->dtype != TUFF_I32 || n->kind == TF_U_LOOKUP)
        return 0;
    if (n->kind == TF_U_NUMBER)
        return tf_ex_int(b->x, (int64_t)n->number);
    if (n->kind == TF_U_NAME)
        return b->index ? b->index(b->user, n->name) : 0;
    const tf_ex x = n->n_arg == 2 ? index[n->arg[0]] : 0, y = n->n_arg == 2 ? index[n->arg[1]] : 0;
    if (!x || !y)
        return 0;
    if (is_row(n, "add"))
        return tf_ex_add(b->x, x, y);
    if (is_row(n, "sub"))
        return tf_ex_sub(b->x, x, y);
    if (is_row(n, "mul"))
        return tf_ex_mul(b->x, x, y);
    if (is_row(n, "maximum"))
        return tf_ex_max(b->x, x, y);
    if (is_row(n, "minimum"))
        return tf_ex_min(b->x, x, y);
    const bool positive = tf_exn(b->x, x)->lo >= 0 && tf_exn(b->x, y)->lo > 0;
    if (positive && is_row(n, "div"))
        return tf_ex_div(b->x, x, y);
    if (positive && is_row(n, "mod"))
        return tf_ex_mod(b->x, x, y);
    return 0;
}

static tf_ex build_lookup(const tf_uexpr *e, const tf_ubuild *b, const tf_unode *n, const tf_ex *index, const tf_ex *values)
{
    tf_ex coords[TUFF_MAX_RANK];
    const tf_uname *u = &e->names[n->name];
    for (uint32_t k = 0; k < n->n_arg; k++) {
        const tf_ex i = index[n->arg[k]];
        if (i) {
            const tf_ex last = tf_ex_sub(b->x, tf_ex_dim(b->x, u->dim[k]), tf_ex_int(b->x, 1));
            coords[k] = tf_ex_min(b->x, tf_ex_max(b->x, i, tf_ex_int(b->x, 0)), last);
        } else {
            coords[k] = tf_ex_to_index(b->x, values[n->arg[k]], u->dim[k]);
        }
    }
    return b->lookup(b->user, n->name, coords);
}

static tf_ex build_node(const tf_uexpr *e, const tf_ubuild *b, uint32_t i, const tf_ex *index, const tf_ex *values)
{
    const tf_unode *n = &e->node[i];
    tf_ex a[3] = { 0 };
    switch (n->kind) {
    case TF_U_NUMBER: return tf_ex_const(b->x, n->dtype, n->number);
    case TF_U_NAME: return b->value(b->user, n->name);
    case TF_U_LOOKUP: return build_lookup(e, b, n, index, values);
    case TF_U_OP:
        for (uint32_t k = 0; k < n->n_arg; k++)
            a[k] = values[n->arg[k]];
        return tf_ex_apply(b->x, n->op, n->dtype, n->desc, a[0], a[1], a[2]);
    }
    return 0;
}

tf_ex tf_uexpr_build(const tf_uexpr *e, const tf_ubuild *b)
{
    tf_ex *index = tf_arena_array(b->x->arena, tf_ex, e->n), *values = tf_arena_array(b->x->arena, tf_ex, e->n);
    bool *need = tf_arena_array(b->x->arena, bool, e->n), *need_index = tf_arena_array(b->x->arena, bool, e->n);
    if (!index || !values || !need || !need_index)
        return 0;
    for (uint32_t i = 0; i < e->n; i++)
        for (uint32_t k = 0; e->node[i].kind == TF_U_LOOKUP && k < e->node[i].n_arg; k++)
            need_index[e->node[i].arg[k]] = true;
    for (uint32_t i = e->n; i-- > 0;)
        for (uint32_t k = 0; need_index[i] && e->node[i].kind == TF_U_OP && k < e->node[i].n_arg; k++)
            need_index[e->node[i].arg[k]] = true;
    for (uint32_t i = 0; i < e->n; i++)
        index[i] = need_index[i] ? as_index(e, b, index, i) : 0;
    need[e->n - 1] = true;
    for (uint32_t i = e->n; i-- > 0;)
        for (uint32_t k = 0; need[i] && k < e->node[i].n_arg; k++)
            need[e->node[i].arg[k]] = need[e->node[i].arg[k]] || e->node[i].kind == TF_U_OP || !index[e->node[i].arg[k]];
    for (uint32_t i = 0; i < e->n; i++)
        if (need[i] && !(values[i] = build_node(e, b, i, index, values)))
            return 0;
    return values[e->n - 1];
}

/* ---- in double ---- */

static tf_scalar eval_lookup(const tf_unode *n, const tf_ref_tensor *t, const tf_scalar *v)
{
    uint64_t at = 0;
    if (!t || t->n == 0)
        return (tf_scalar){ 0, 0 };
    for (uint32_t k = 0; k < n->n_arg; k++) {
        const double last = (double)(t->dim[k] - 1), i = v[n->arg[k]].re;
        at = at * (uint64_t)t->dim[k] + (uint64_t)(i > 0 ? i < last ? i : last : 0);
    }
    return (tf_scalar){ t->re[at], t->im ? t->im[at] : 0 };
}

tf_scalar tf_uexpr_eval(const tf_uexpr *e, const tf_ueval *env)
{
    tf_scalar *v = env->scratch;
    for (uint32_t i = 0; i < e->n; i++) {
        const tf_unode *n = &e->node[i];
        if (n->kind == TF_U_NUMBER) {
            v[i] = (tf_scalar){ n->number, 0 };
        } else if (n->kind == TF_U_NAME) {
            v[i] = env->value(env->user, n->name);
        } else if (n->kind == TF_U_LOOKUP) {
            v[i] = eval_lookup(n, env->tensor[n->name], v);
        } else {
            tf_scalar args[3] = { { 0, 0 } };
            for (uint32_t k = 0; k < n->n_arg; k++)
                args[k] = v[n->arg[k]];
            const tf_scalar y = n->op->scalar(args, e->node[n->arg[n->n_arg - 1]].dtype, n->desc);
            v[i] = (tf_scalar){ tf_round_to(n->dtype, y.re), n->dtype == TUFF_C64 ? tf_round_to(n->dtype, y.im) : 0 };
        }
    }
    return v[e->n - 1];
}
