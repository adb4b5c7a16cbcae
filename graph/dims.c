/* dims.c - dims as expressions over bounded parameters: interned, folded, with their ranges.
 *
 * Equal expressions have equal encodings, so comparing two dims is comparing two integers. Folding is plain
 * integer arithmetic (n - 3 + 1 is n - 2); a dim that could be negative is wrapped in max(0, ..) when it enters
 * a shape. Ranges saturate at +-DIM_LIMIT, far below the encodings of dynamic dims. */
#include "graph.h"
#include "text.h"

#include <string.h>

#define DIM_LIMIT (INT64_C(1) << 56)
#define DIM_TERMS 256u

static const tf_dim_expr *expr(const tuff_graph *g, int64_t d)
{
    return &g->dims.data[tf_dim_index(d)];
}

static int64_t saturate(int64_t x)
{
    return x > DIM_LIMIT ? DIM_LIMIT : x < -DIM_LIMIT ? -DIM_LIMIT : x;
}

static int64_t mul_saturated(int64_t a, int64_t b)
{
    const uint64_t ua = (uint64_t)(a < 0 ? -a : a), ub = (uint64_t)(b < 0 ? -b : b);
    uint64_t p;
    if (!tf_mul_u64(&p, ua, ub) || p > (uint64_t)DIM_LIMIT)
        p = (uint64_t)DIM_LIMIT;
    return (a < 0) != (b < 0) ? -(int64_t)p : (int64_t)p;
}

static int64_t floordiv(int64_t a, int64_t b)
{
    if (b == 0)
        return 0;
    const int64_t q = a / b;
    return a % b != 0 && (a < 0) != (b < 0) ? q - 1 : q;
}

/* Operands are saturated, so sums cannot overflow. */
static int64_t apply(tuff_dim_operator op, int64_t a, int64_t b)
{
    switch (op) {
    case TUFF_DIM_ADD: return saturate(a + b);
    case TUFF_DIM_SUB: return saturate(a - b);
    case TUFF_DIM_MUL: return mul_saturated(a, b);
    case TUFF_DIM_FLOORDIV: return floordiv(a, b);
    case TUFF_DIM_MAX: return TF_MAX(a, b);
    }
    return 0;
}

int64_t tf_dim_bound(const tuff_graph *g, int64_t d)
{
    return tf_dim_is_dynamic(d) ? expr(g, d)->hi : d;
}

int64_t tf_dim_least(const tuff_graph *g, int64_t d)
{
    return tf_dim_is_dynamic(d) ? expr(g, d)->lo : d;
}

bool tf_dim_equal(int64_t a, int64_t b)
{
    return a == b;
}

int64_t tf_dim_eval(const tuff_graph *g, int64_t d, const int64_t *params)
{
    if (!tf_dim_is_dynamic(d))
        return d;
    const tf_dim_expr *e = expr(g, d);
    switch (e->kind) {
    case TF_DIM_CONST: return e->a;
    case TF_DIM_PARAM: return params[e->a];
    case TF_DIM_BIN: return apply(e->op, tf_dim_eval(g, e->a, params), tf_dim_eval(g, e->b, params));
    }
    return 0;
}

static void range(const tuff_graph *g, tf_dim_expr *e)
{
    const int64_t a[2] = { tf_dim_least(g, e->a), tf_dim_bound(g, e->a) };
    const int64_t b[2] = { tf_dim_least(g, e->b), tf_dim_bound(g, e->b) };
    /* Every operator is monotonic in each operand on each side of zero, so corners (and b = +-1, a quotient's
     * steepest places) enclose the range. */
    int64_t bs[5] = { b[0], b[1] };
    int n = 2;
    if (e->op == TUFF_DIM_FLOORDIV) {
        for (int64_t t = -1; t <= 1; t++)
            if (b[0] <= t && t <= b[1])
                bs[n++] = t;
    }
    e->lo = DIM_LIMIT;
    e->hi = -DIM_LIMIT;
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < n; j++) {
            const int64_t v = apply(e->op, a[i], bs[j]);
            e->lo = TF_MIN(e->lo, v);
            e->hi = TF_MAX(e->hi, v);
        }
}

static uint32_t terms(const tuff_graph *g, int64_t d)
{
    return tf_dim_is_dynamic(d) ? expr(g, d)->size : 1;
}

static int64_t intern(tuff_graph *g, tf_dim_expr e)
{
    for (uint32_t i = 0; i < g->dims.n; i++) {
        const tf_dim_expr *o = &g->dims.data[i];
        if (o->kind == e.kind && o->op == e.op && o->a == e.a && o->b == e.b)
            return TF_DIM_BASE + (int64_t)i;
    }
    tf_dim_expr *slot = tf_push(&g->arena, &g->dims);
    if (!slot)
        return 0;
    *slot = e;
    return TF_DIM_BASE + (int64_t)g->dims.n - 1;
}

/* x = rest + c with c constant, for sums already built. */
static int64_t split_sum(const tuff_graph *g, int64_t x, int64_t *rest)
{
    *rest = x;
    if (!tf_dim_is_dynamic(x))
        return *rest = 0, x;
    const tf_dim_expr *e = expr(g, x);
    if (e->kind == TF_DIM_BIN && e->op == TUFF_DIM_ADD && !tf_dim_is_dynamic(e->b))
        return *rest = e->a, e->b;
    return 0;
}

/* x = rest * c with c constant. */
static int64_t split_product(const tuff_graph *g, int64_t x, int64_t *rest)
{
    *rest = x;
    if (!tf_dim_is_dynamic(x))
        return *rest = 1, x;
    const tf_dim_expr *e = expr(g, x);
    if (e->kind == TF_DIM_BIN && e->op == TUFF_DIM_MUL && !tf_dim_is_dynamic(e->b))
        return *rest = e->a, e->b;
    return 1;
}

/* Builds a op b; a - c is kept as a + (-c), and constants stand on the right. */
static int64_t make(tuff_graph *g, tuff_dim_operator op, int64_t a, int64_t b)
{
    const bool commutes = op == TUFF_DIM_ADD || op == TUFF_DIM_MUL || op == TUFF_DIM_MAX;
    if (commutes && (!tf_dim_is_dynamic(a) || (tf_dim_is_dynamic(b) && b < a))) {
        const int64_t t = a;
        a = b;
        b = t;
    }
    tf_dim_expr e = { .kind = TF_DIM_BIN, .op = op, .a = a, .b = b };
    e.size = terms(g, a) + terms(g, b);
    if (e.size > DIM_TERMS) {
        tf_fail(g, TUFF_E_LIMIT, "a dim expression has more than %u terms", DIM_TERMS);
        return 0;
    }
    range(g, &e);
    return e.lo == e.hi ? e.lo : intern(g, e);
}

static int64_t add(tuff_graph *g, int64_t a, int64_t b)
{
    int64_t ra, rb;
    const int64_t c = saturate(split_sum(g, a, &ra) + split_sum(g, b, &rb));
    const int64_t sum = ra == 0 ? rb : rb == 0 ? ra : ra == rb ? tf_dim_bin(g, TUFF_DIM_MUL, ra, 2) : make(g, TUFF_DIM_ADD, ra, rb);
    return c == 0 ? sum : make(g, TUFF_DIM_ADD, sum, c);
}

static int64_t sub(tuff_graph *g, int64_t a, int64_t b)
{
    int64_t ra, rb;
    const int64_t ca = split_sum(g, a, &ra), cb = split_sum(g, b, &rb), c = saturate(ca - cb);
    if (ra == rb)
        return c;
    if (ra == 0)
        return make(g, TUFF_DIM_SUB, c, rb);
    const int64_t left = rb == 0 ? ra : make(g, TUFF_DIM_SUB, ra, rb);
    return c == 0 ? left : make(g, TUFF_DIM_ADD, left, c);
}

static int64_t mul(tuff_graph *g, int64_t a, int64_t b)
{
    int64_t ra, rb;
    const int64_t c = mul_saturated(split_product(g, a, &ra), split_product(g, b, &rb));
    if (c == 0)
        return 0;
    const int64_t product = ra == 1 ? rb : rb == 1 ? ra : make(g, TUFF_DIM_MUL, ra, rb);
    return c == 1 ? product : make(g, TUFF_DIM_MUL, product, c);
}

/* (r*c + k) / b with c and k multiples of b needs no division. */
static int64_t divide(tuff_graph *g, int64_t a, int64_t b)
{
    if (b == 1)
        return a;
    if (!tf_dim_is_dynamic(b) && b != 0) {
        int64_t sum, rest;
        const int64_t k = split_sum(g, a, &sum), c = split_product(g, sum, &rest);
        if (k % b == 0 && c % b == 0)
            return add(g, mul(g, rest, c / b), k / b);
    }
    return make(g, TUFF_DIM_FLOORDIV, a, b);
}

static bool operand_ok(int64_t d, uint32_t before)
{
    return tf_dim_is_dynamic(d) ? d >= TF_DIM_BASE && tf_dim_index(d) < before : d >= -DIM_LIMIT && d <= DIM_LIMIT;
}

bool tf_dim_restore(tuff_graph *g, uint32_t i)
{
    tf_dim_expr *e = &g->dims.data[i];
    e->size = 1;
    switch (e->kind) {
    case TF_DIM_CONST:
        e->lo = e->hi = e->a;
        return operand_ok(e->a, 0);
    case TF_DIM_PARAM:
        if (e->a < 0 || e->a >= (int64_t)g->dim_params.n)
            return false;
        e->lo = 0;
        e->hi = g->dim_params.data[e->a].max;
        return e->hi >= 1 && e->hi <= INT32_MAX;
    case TF_DIM_BIN:
        if (!operand_ok(e->a, i) || !operand_ok(e->b, i))
            return false;
        e->size = terms(g, e->a) + terms(g, e->b);
        range(g, e);
        return e->size <= DIM_TERMS;
    }
    return false;
}

int64_t tf_dim_bin(tuff_graph *g, tuff_dim_operator op, int64_t a, int64_t b)
{
    if (!tf_dim_is_dynamic(b) && b == 0 && op == TUFF_DIM_FLOORDIV) {
        tf_fail(g, TUFF_E_ARGUMENT, "a dim is divided by 0");
        return 0;
    }
    if (!tf_dim_is_dynamic(a))
        a = saturate(a);
    if (!tf_dim_is_dynamic(b))
        b = saturate(b);
    if (!tf_dim_is_dynamic(a) && !tf_dim_is_dynamic(b))
        return apply(op, a, b);
    switch (op) {
    case TUFF_DIM_ADD: return add(g, a, b);
    case TUFF_DIM_SUB: return sub(g, a, b);
    case TUFF_DIM_MUL: return mul(g, a, b);
    case TUFF_DIM_FLOORDIV: return divide(g, a, b);
    case TUFF_DIM_MAX:
        if (a == b || tf_dim_least(g, a) >= tf_dim_bound(g, b))
            return a;
        if (tf_dim_least(g, b) >= tf_dim_bound(g, a))
            return b;
        return make(g, op, a, b);
    }
    return 0;
}

int64_t tf_dim_product(tuff_graph *g, const int64_t *dims, int32_t first, int32_t end)
{
    int64_t p = 1;
    for (int32_t i = first; i < end; i++)
        p = tf_dim_bin(g, TUFF_DIM_MUL, p, dims[i]);
    return p;
}

bool tf_type_is_static(const tf_type *t)
{
    for (int32_t i = 0; i < t->rank; i++)
        if (tf_dim_is_dynamic(t->dim[i]))
            return false;
    return true;
}

bool tf_count_bound(const tuff_graph *g, const tf_type *t, uint64_t *out)
{
    uint64_t n = 1;
    /* A zero dim wins over overflow of the others. */
    for (int32_t i = 0; i < t->rank; i++)
        if (tf_dim_bound(g, t->dim[i]) <= 0)
            return *out = 0, true;
    for (int32_t i = 0; i < t->rank; i++)
        if (!tf_mul_u64(&n, n, (uint64_t)tf_dim_bound(g, t->dim[i])) || n > INT64_MAX)
            return false;
    *out = n;
    return true;
}

bool tf_bytes_bound(const tuff_graph *g, const tf_type *t, uint64_t *out)
{
    uint64_t n, bits;
    if (!tf_count_bound(g, t, &n) || !tf_mul_u64(&bits, n, tf_dtype_bits(t->dtype)) || bits > UINT64_MAX - 7)
        return false;
    *out = (bits + 7) / 8;
    return true;
}

/* ---- text ---- */

/* An operand, in parentheses if it is a sum and `tight`, or also a product and `right`. */
static void write_operand(tf_str *s, const tuff_graph *g, int64_t d, bool tight, bool right)
{
    bool wrap = !tf_dim_is_dynamic(d) && d < 0;
    if (tf_dim_is_dynamic(d) && expr(g, d)->kind == TF_DIM_BIN) {
        const tuff_dim_operator op = expr(g, d)->op;
        wrap = (tight && (op == TUFF_DIM_ADD || op == TUFF_DIM_SUB)) || (right && (op == TUFF_DIM_MUL || op == TUFF_DIM_FLOORDIV));
    }
    tf_str_add(s, wrap ? "(" : "");
    tf_dim_write(s, g, d);
    tf_str_add(s, wrap ? ")" : "");
}

void tf_dim_write(tf_str *s, const tuff_graph *g, int64_t d)
{
    if (!tf_dim_is_dynamic(d)) {
        tf_str_printf(s, "%lld", (long long)d);
        return;
    }
    const tf_dim_expr *e = expr(g, d);
    if (e->kind == TF_DIM_CONST) {
        tf_str_printf(s, "%lld", (long long)e->a);
    } else if (e->kind == TF_DIM_PARAM) {
        tf_write_name(s, g->dim_params.data[e->a].name);
    } else if (e->op == TUFF_DIM_MAX) {
        tf_str_add(s, "max(");
        tf_dim_write(s, g, e->a);
        tf_str_add(s, ", ");
        tf_dim_write(s, g, e->b);
        tf_str_add(s, ")");
    } else if (e->op == TUFF_DIM_ADD && !tf_dim_is_dynamic(e->b) && e->b < 0) {
        write_operand(s, g, e->a, false, false);
        tf_str_printf(s, "-%lld", -(long long)e->b);
    } else {
        static const char sign[] = { '+', '-', '*', '/' };
        const bool tight = e->op == TUFF_DIM_MUL || e->op == TUFF_DIM_FLOORDIV;
        write_operand(s, g, e->a, tight, false);
        tf_str_add_n(s, &sign[e->op], 1);
        write_operand(s, g, e->b, tight || e->op == TUFF_DIM_SUB, tight);
    }
}

void tf_type_write(tf_str *s, const tuff_graph *g, const tf_type *t)
{
    tf_str_add(s, tuff_dtype_name(t->dtype));
    if (t->rank == 0)
        return;
    for (int32_t i = 0; i < t->rank; i++) {
        tf_str_add(s, i ? "," : "[");
        tf_dim_write(s, g, t->dim[i]);
    }
    tf_str_add(s, "]");
}

static const char *to_arena(tuff_graph *g, tf_str *s)
{
    const char *text = s->data && !s->failed ? tf_arena_string(&g->arena, s->data) : NULL;
    tf_str_release(s);
    return text ? text : "?";
}

const char *tf_type_text(tuff_graph *g, const tf_type *t)
{
    tf_str s;
    tf_str_init(&s, &g->arena.allocator);
    tf_type_write(&s, g, t);
    return to_arena(g, &s);
}

const char *tf_dim_text(tuff_graph *g, int64_t dim)
{
    tf_str s;
    tf_str_init(&s, &g->arena.allocator);
    tf_dim_write(&s, g, dim);
    return to_arena(g, &s);
}

/* ---- public ---- */

int64_t tuff_dim_param(tuff_graph *g, const char *name, int64_t max)
{
    if (!g || g->status)
        return 0;
    if (!tf_name_ok(name)) {
        tf_fail(g, TUFF_E_NAME, "dim: a name has 1 to 255 bytes and no control characters");
        return 0;
    }
    if (max < 1 || max > INT32_MAX) {
        tf_fail(g, TUFF_E_ARGUMENT, "dim \"%s\": the bound is %lld; it is from 1 to %d", name, (long long)max, INT32_MAX);
        return 0;
    }
    bool taken = tf_port_find(g, ~(1u << TF_PORT_OUTPUT), name) != NULL;
    for (uint32_t i = 0; i < g->dim_params.n; i++)
        taken = taken || !strcmp(g->dim_params.data[i].name, name);
    if (taken) {
        tf_fail(g, TUFF_E_NAME, "dim: the name \"%s\" is taken", name);
        return 0;
    }
    const char *copy = tf_arena_string(&g->arena, name);
    tf_dim_param *p = copy ? tf_push(&g->arena, &g->dim_params) : NULL;
    if (!p)
        return 0;
    *p = (tf_dim_param){ copy, max };
    return intern(g, (tf_dim_expr){ .kind = TF_DIM_PARAM, .a = (int64_t)g->dim_params.n - 1, .hi = max, .size = 1 });
}

int64_t tuff_dim_op(tuff_graph *g, tuff_dim_operator op, int64_t a, int64_t b)
{
    if (!g || g->status)
        return 0;
    const int64_t d[2] = { a, b };
    for (int i = 0; i < 2; i++)
        if (tf_dim_is_dynamic(d[i]) && (d[i] < TF_DIM_BASE || tf_dim_index(d[i]) >= g->dims.n)) {
            tf_fail(g, TUFF_E_ARGUMENT, "a dim is not one of this graph");
            return 0;
        }
    if ((int)op < TUFF_DIM_ADD || op > TUFF_DIM_MAX) {
        tf_fail(g, TUFF_E_ARGUMENT, "%d is not a dim operator", (int)op);
        return 0;
    }
    return tf_dim_bin(g, op, a, b);
}
