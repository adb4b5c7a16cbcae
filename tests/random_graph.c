/* random_graph.c - see random_graph.h. Every step of the generator draws the same numbers with and without noise. */
#include "random_graph.h"

#include <stdio.h>
#include <string.h>

enum { POOL = 64, MAX_ELEMENTS = 6000 };

typedef struct pool { tuff_tensor t[POOL]; uint32_t n; } pool;

typedef struct maker {
    tuff_graph *g;
    rng r;
    bool noisy;
    tuff_tensor shake;     /* noise of the values a loop carries */
    uint32_t inside;       /* loops around what is being made: no inputs there */
    uint32_t inputs, noises, states;
    pool real, whole;
} maker;

static uint32_t below(maker *m, uint32_t n) { return rng_below(&m->r, n); }
static tuff_tensor pick(maker *m, const pool *p) { return p->t[below(m, p->n)]; }
static void put(pool *p, tuff_tensor t) { p->t[p->n < POOL ? p->n++ : POOL - 1] = t; }

static int64_t count(tuff_shape s)
{
    int64_t n = 1;
    for (int32_t i = 0; i < s.rank; i++) n *= s.dim[i];
    return n;
}

static tuff_shape any_shape(maker *m, int32_t least_rank)
{
    static const int64_t dims[] = { 1, 2, 3, 4, 5, 8, 16, 17, 33, 64 };
    for (;;) {
        tuff_shape s = { .rank = least_rank + (int32_t)below(m, (uint32_t)(5 - least_rank)) };
        for (int32_t i = 0; i < s.rank; i++) s.dim[i] = dims[below(m, COUNT(dims))];
        if (count(s) <= MAX_ELEMENTS / 2) return s;
    }
}

static tuff_tensor input(maker *m, const char *kind, tuff_shape s)
{
    char name[32];
    snprintf(name, sizeof name, "%s%u", kind, m->inputs++);
    return tuff_input(m->g, name, TUFF_F32, s);
}

/* A real result enters the pool, if it is not too large. */
static void real(maker *m, tuff_tensor t)
{
    if (count(tuff_tensor_shape(t)) > MAX_ELEMENTS || tuff_graph_status(m->g)) return;
    if (m->noisy && !m->inside) {
        char name[32];
        snprintf(name, sizeof name, "noise%u", m->noises++);
        t = tuff_mul(t, tuff_input(m->g, name, TUFF_F32, tuff_tensor_shape(t)));
    }
    put(&m->real, t);
}

static void whole(maker *m, tuff_tensor t)
{
    if (count(tuff_tensor_shape(t)) <= MAX_ELEMENTS) put(&m->whole, t);
}

static tuff_tensor number(maker *m, double x) { return tuff_literal(m->g, x, TUFF_F32); }
static int32_t any_axis(maker *m, tuff_tensor t) { return (int32_t)below(m, (uint32_t)tuff_tensor_shape(t).rank); }

/* A tensor that broadcasts with x: one of the pool, or a new input with some dims of x replaced by 1. */
static tuff_tensor partner(maker *m, const pool *p, const char *kind, tuff_tensor x)
{
    const tuff_shape s = tuff_tensor_shape(x);
    for (int tries = 0; tries < 4; tries++) {
        const tuff_tensor c = pick(m, p);
        const tuff_shape o = tuff_tensor_shape(c);
        bool fits = c.id != x.id && o.rank <= s.rank;
        for (int32_t i = 0; fits && i < o.rank; i++) {
            const int64_t d = s.dim[s.rank - o.rank + i];
            fits = o.dim[i] == d || o.dim[i] == 1;
        }
        if (fits) return c;
    }
    if (m->inside) return x;
    tuff_shape b = s;
    const int32_t drop = s.rank ? (int32_t)below(m, (uint32_t)s.rank) : 0;
    memmove(b.dim, b.dim + drop, sizeof b.dim - (size_t)drop * sizeof *b.dim);
    b.rank -= drop;
    for (int32_t i = 0; i < b.rank; i++)
        if (!below(m, 3)) b.dim[i] = 1;
    return input(m, kind, b);
}

/* ---- steps: each adds one or a few nodes ---------------------------------------------------------- */

static void step_unary(maker *m)
{
    static tuff_tensor (*const ops[])(tuff_tensor) = { tuff_tanh, tuff_sigmoid, tuff_sin, tuff_cos, tuff_silu, tuff_gelu, tuff_relu,
                                                       tuff_abs, tuff_neg, tuff_softplus, tuff_erf, tuff_atan, tuff_gelu_tanh };
    real(m, ops[below(m, COUNT(ops))](pick(m, &m->real)));
}

static void step_bounded(maker *m)
{
    const tuff_tensor t = tuff_tanh(pick(m, &m->real));
    switch (below(m, 5)) {
    case 0: real(m, tuff_exp(t)); break;
    case 1: real(m, tuff_square(t)); break;
    case 2: real(m, tuff_sqrt(tuff_add(tuff_square(t), number(m, 0.5)))); break;
    case 3: real(m, tuff_reciprocal(tuff_add(tuff_abs(t), number(m, 1.0)))); break;
    default: real(m, tuff_log1p(tuff_abs(t))); break;
    }
}

static void step_binary(maker *m)
{
    const tuff_tensor a = pick(m, &m->real), b = partner(m, &m->real, "x", a);
    switch (below(m, 6)) {
    case 0: real(m, tuff_add(a, b)); break;
    case 1: real(m, tuff_sub(a, b)); break;
    case 2: real(m, tuff_mul(a, tuff_tanh(b))); break;
    case 3: real(m, tuff_div(a, tuff_add(tuff_abs(b), number(m, 1.0)))); break;
    case 4: real(m, tuff_maximum(a, b)); break;
    default: real(m, tuff_fma(a, tuff_sin(b), b)); break;
    }
}

static void step_select(maker *m)
{
    const tuff_tensor a = pick(m, &m->real), b = partner(m, &m->real, "x", a), w = partner(m, &m->whole, "w", a);
    real(m, tuff_where(tuff_greater(w, number(m, (double)below(m, 4))), a, b));
}

static tuff_tensor view_of(maker *m, tuff_tensor x)
{
    const tuff_shape s = tuff_tensor_shape(x);
    if (s.rank == 0) return tuff_expand(x, TUFF_SHAPE(3, 5));
    const int32_t axis = any_axis(m, x);
    const int64_t d = s.dim[axis];
    tuff_ints lo = { .n = s.rank }, hi = { .n = s.rank };
    switch (below(m, 9)) {
    case 0: return tuff_reshape(x, TUFF_SHAPE(-1));
    case 1: { /* cut an axis in two */
        tuff_shape t = s;
        const int64_t part = d % 4 == 0 ? 4 : d % 3 == 0 ? 3 : 1;
        if (s.rank == TUFF_MAX_RANK) return x;
        memmove(t.dim + axis + 1, s.dim + axis, (size_t)(s.rank - axis) * sizeof *t.dim);
        t.dim[axis] = part;
        t.dim[axis + 1] = d / part;
        t.rank++;
        return tuff_reshape(x, t);
    }
    case 2: return tuff_transpose(x, axis, any_axis(m, x));
    case 3: { /* every step-th element, forwards or backwards */
        const int64_t step = (int64_t)below(m, 3) + 1, from = (int64_t)below(m, (uint32_t)d);
        const bool back = below(m, 2);
        return tuff_slice(x, TUFF_INTS(back ? d - 1 : from), TUFF_INTS(back ? -d - 1 : d),
                          &(tuff_slice_desc){ .axes = TUFF_INTS(axis), .step = TUFF_INTS(back ? -step : step) });
    }
    case 4: return tuff_flip(x, TUFF_INTS(axis));
    case 5: return tuff_roll(x, TUFF_INTS((int64_t)below(m, 9) - 4), TUFF_INTS(axis));
    case 6: {
        const tuff_pad_mode mode = (tuff_pad_mode)below(m, 4);
        const uint32_t most = mode == TUFF_PAD_REFLECT ? (uint32_t)d : mode == TUFF_PAD_WRAP ? (uint32_t)d + 1 : 5;
        lo.v[axis] = below(m, most < 5 ? most : 5);
        hi.v[axis] = below(m, most < 5 ? most : 5);
        return tuff_pad(x, lo, hi, &(tuff_pad_desc){ .mode = mode, .value = 2.0f });
    }
    case 7: {
        if (s.rank == TUFF_MAX_RANK) return x;
        const int64_t size = 1 + (int64_t)below(m, (uint32_t)(d < 4 ? d : 4));
        return tuff_unfold(x, TUFF_INTS(size), &(tuff_unfold_desc){ .axes = TUFF_INTS(axis), .stride = TUFF_INTS(1 + (int64_t)below(m, 3)) });
    }
    default: return s.rank < 2 ? x : tuff_diagonal(x, 0, s.rank - 1, NULL);
    }
}

/* A view that changes nothing is x itself: with noise it would be another tensor, and the twin would go its own way. */
static void step_view(maker *m)
{
    const tuff_tensor x = pick(m, &m->real), t = view_of(m, x);
    if (t.id != x.id) real(m, t);
}

static void step_whole_view(maker *m)
{
    const tuff_tensor x = pick(m, &m->whole), t = view_of(m, x);
    if (t.id != x.id) whole(m, t);
}

static void step_concat(maker *m)
{
    const tuff_tensor x = pick(m, &m->real);
    if (!tuff_tensor_shape(x).rank) return;
    const int32_t axis = any_axis(m, x);
    const tuff_tensor parts[] = { x, tuff_neg(x), tuff_flip(x, TUFF_INTS(axis)) };
    real(m, tuff_concat(parts, 2 + below(m, 2), axis));
}

static void step_reduce(maker *m)
{
    const tuff_tensor x = pick(m, &m->real);
    if (!tuff_tensor_shape(x).rank) return;
    const tuff_reduce_desc d = { .axes = TUFF_INTS(any_axis(m, x)), .keep = below(m, 2) };
    switch (below(m, 5)) {
    case 0: real(m, tuff_sum(x, &d)); break;
    case 1: real(m, tuff_mean(x, &d)); break;
    case 2: real(m, tuff_max(x, &d)); break;
    case 3: real(m, tuff_logsumexp(x, &d)); break;
    default: real(m, tuff_sqrt(tuff_add(tuff_mean(tuff_square(x), &d), number(m, 0.1)))); break;
    }
}

static void step_row(maker *m)
{
    const tuff_tensor x = pick(m, &m->real);
    const tuff_shape s = tuff_tensor_shape(x);
    if (!s.rank) return;
    switch (below(m, 5)) {
    case 0: real(m, tuff_softmax(x, any_axis(m, x))); break;
    case 1: real(m, tuff_rms_norm(x, &(tuff_rms_norm_desc){ .eps = 0.01f })); break;
    case 2: real(m, tuff_layer_norm(x, &(tuff_layer_norm_desc){ .eps = 0.1f, .gain = input(m, "x", TUFF_SHAPE(s.dim[s.rank - 1])) })); break;
    case 3: real(m, tuff_log_softmax(x, any_axis(m, x))); break;
    default: real(m, tuff_cumsum(tuff_mul(x, number(m, 0.125)), any_axis(m, x), NULL)); break;
    }
}

static void step_matmul(maker *m)
{
    const tuff_tensor x = pick(m, &m->real);
    const tuff_shape s = tuff_tensor_shape(x);
    if (s.rank < 1) return;
    const int64_t k = s.dim[s.rank - 1], n = 1 + (int64_t)below(m, 40);
    const bool transposed = below(m, 2);
    const tuff_tensor w = input(m, "x", transposed ? TUFF_SHAPE(n, k) : TUFF_SHAPE(k, n));
    real(m, tuff_matmul(x, w, &(tuff_matmul_desc){ .transpose_b = transposed }));
}

static void step_attention(maker *m)
{
    const int64_t b = 1 + (int64_t)below(m, 2), sq = 1 + (int64_t)below(m, 20), sk = 1 + (int64_t)below(m, 40), h = 1 + (int64_t)below(m, 2);
    const int64_t d = 4 + 4 * (int64_t)below(m, 5);
    const tuff_tensor q = tuff_reshape(tuff_tanh(input(m, "x", TUFF_SHAPE(b, sq, h * d))), TUFF_SHAPE(b, sq, h, d));
    const tuff_tensor k = input(m, "x", TUFF_SHAPE(b, sk, 1, d)), v = tuff_permute(input(m, "x", TUFF_SHAPE(b, d, 1, sk)), TUFF_INTS(0, 3, 2, 1));
    real(m, tuff_attention(q, k, v, &(tuff_attention_desc){ .causal = sq <= sk && below(m, 2), .score = below(m, 2) ? "q == k ? s - 1.0 : s" : NULL }));
}

static void step_whole(maker *m)
{
    const tuff_tensor w = pick(m, &m->whole);
    switch (below(m, 6)) {
    case 0: whole(m, tuff_floor(tuff_mul(w, number(m, 0.5)))); break;
    case 1: whole(m, tuff_cast(tuff_less(w, partner(m, &m->whole, "w", w)), TUFF_F32)); break;
    case 2: if (tuff_tensor_shape(w).rank) whole(m, tuff_cast(tuff_argmax(w, any_axis(m, w), NULL), TUFF_F32)); break;
    case 3: whole(m, tuff_minimum(tuff_add(w, partner(m, &m->whole, "w", w)), number(m, 100.0))); break;
    case 4: whole(m, tuff_mod(w, number(m, 5.0))); break;
    default: if (tuff_tensor_shape(w).rank) whole(m, tuff_max(w, &(tuff_reduce_desc){ .axes = TUFF_INTS(any_axis(m, w)), .keep = true })); break;
    }
}

static void step_gather(maker *m)
{
    const tuff_tensor x = pick(m, &m->real), w = pick(m, &m->whole);
    const tuff_shape s = tuff_tensor_shape(x), i = tuff_tensor_shape(w);
    if (!s.rank || s.rank + i.rank > 5 || count(s) * count(i) > MAX_ELEMENTS) return;
    real(m, tuff_gather(x, tuff_cast(w, TUFF_I32), any_axis(m, x)));
}

static void step_map(maker *m)
{
    const tuff_tensor a = pick(m, &m->real), b = partner(m, &m->real, "x", a);
    real(m, tuff_map(m->g, "let t = tanh(a); t > 2.0 ? t : t * b + 0.25", 2, (tuff_named[]){ { "a", a }, { "b", b } }));
}

static void step_state(maker *m)
{
    char name[16];
    const tuff_tensor x = pick(m, &m->whole);
    if (m->noisy) return; /* states hold whole numbers, which the twin is not asked for */
    snprintf(name, sizeof name, "s%u", m->states++);
    const tuff_tensor s = tuff_state(m->g, name, TUFF_F32, tuff_tensor_shape(x));
    whole(m, tuff_assign(s, tuff_minimum(tuff_add(tuff_abs(s), x), number(m, 50.0))));
}

/* ---- loops ---- */

static void body_step(maker *m);

/* Something of the pool that has x's type and was made in the body, else `other`. */
static tuff_tensor next_of(const pool *p, uint32_t from, tuff_tensor x, tuff_tensor other)
{
    const tuff_shape s = tuff_tensor_shape(x);
    for (uint32_t i = p->n; i > from; i--) {
        const tuff_shape t = tuff_tensor_shape(p->t[i - 1]);
        if (t.rank == s.rank && !memcmp(t.dim, s.dim, (size_t)s.rank * sizeof *s.dim)) return p->t[i - 1];
    }
    return other;
}

static void body(void *user, tuff_iteration *it)
{
    maker *m = user;
    const uint32_t reals = m->real.n, wholes = m->whole.n;
    m->inside++;
    put(&m->real, it->in[0]);
    put(&m->whole, it->in[1]);
    put(&m->whole, tuff_cast(it->step, TUFF_F32));
    const uint32_t n = below(m, 5);
    for (uint32_t i = 0; i < n; i++) body_step(m);
    it->out[0] = tuff_tanh(next_of(&m->real, reals, it->in[0], tuff_cos(it->in[0])));
    if (m->noisy && m->inside == 1) it->out[0] = tuff_mul(it->out[0], m->shake);
    it->out[1] = tuff_minimum(next_of(&m->whole, wholes, it->in[1], tuff_add(it->in[1], number(m, 1.0))), number(m, 50.0));
    it->stacked[0] = tuff_neg(it->out[0]);
    it->again = tuff_less(it->step, tuff_literal(m->g, below(m, 4), TUFF_I32));
    m->inside--;
    m->real.n = reals;
    m->whole.n = wholes;
}

static void step_loop(maker *m)
{
    tuff_tensor r[5];
    const tuff_tensor carried[2] = { pick(m, &m->real), pick(m, &m->whole) };
    if (m->inside > 1 || m->real.n > POOL - 8 || m->whole.n > POOL - 8) return;
    const bool ends = below(m, 2);
    if (m->noisy && !m->inside) {
        char name[32];
        snprintf(name, sizeof name, "noise%u", m->noises++);
        m->shake = tuff_input(m->g, name, TUFF_F32, tuff_tensor_shape(carried[0]));
    }
    const int64_t most = (int64_t)below(m, 5);
    if (ends ? tuff_while(m->g, &(tuff_while_desc){ .max = most, .carried = carried, .n = 2, .body = body, .user = m, .stacked = 1 }, r)
             : tuff_loop(m->g, &(tuff_loop_desc){ .count = most, .carried = carried, .n = 2, .body = body, .user = m, .stacked = 1 }, r)) return;
    real(m, r[0]);
    whole(m, r[1]);
    if (most) real(m, r[2]);
    if (ends) whole(m, tuff_cast(r[3], TUFF_F32));
}

static void body_step(maker *m)
{
    static void (*const some[])(maker *) = { step_unary, step_bounded, step_binary, step_binary, step_select, step_view, step_concat, step_reduce,
                                             step_whole, step_whole_view, step_loop };
    some[below(m, COUNT(some))](m);
}

static void (*const steps[])(maker *) = { step_unary, step_unary, step_bounded, step_binary, step_binary, step_binary, step_select, step_view,
                                          step_view, step_view, step_whole_view, step_concat, step_reduce, step_reduce, step_row,
                                          step_matmul, step_attention, step_whole, step_whole, step_gather, step_map, step_loop };

tuff_graph *random_graph(uint64_t seed, uint32_t nodes, bool noisy, char *message, size_t size)
{
    maker m = { .g = tuff_graph_create(NULL), .r = { seed }, .noisy = noisy };
    if (!m.g) return NULL;
    for (int i = 0; i < 2; i++) real(&m, input(&m, "x", any_shape(&m, 1)));
    whole(&m, input(&m, "w", any_shape(&m, 0)));
    for (uint32_t i = 0; i < nodes; i++) steps[below(&m, COUNT(steps))](&m);
    if (seed % 4 == 0) step_state(&m);
    for (uint32_t i = 0; i < 3; i++) {
        char name[16];
        snprintf(name, sizeof name, "y%u", i);
        tuff_output(m.g, name, i == 0 ? m.real.t[m.real.n - 1] : pick(&m, i == 1 ? &m.real : &m.whole));
    }
    if (!tuff_graph_status(m.g)) return m.g;
    snprintf(message, size, "%s", tuff_graph_error(m.g));
    tuff_graph_destroy(m.g);
    return NULL;
}
