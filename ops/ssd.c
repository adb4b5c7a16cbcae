/* ssd.c - state space duality: a scalar decay per head and step, in chunks of matrix products (Dao and Gu 2024).
 *
 * Inside a chunk an output is a masked, decayed product of C and B with the inputs; between chunks the states are a linear
 * scan over the chunks. The logarithms of the decays are summed inside chunks only, so that their differences keep their accuracy.
 * The trapezoidal rule only changes what an input weighs: at its own step, and afterwards. */
#include "anchors.h"

#include <math.h>
#include <string.h>

enum { X, DT, A, B, C, D, Z, BIAS, H0, SEQ };
enum { T_X, T_DT, T_A, T_LAM, T_B, T_C };

/* ---- shapes -------------------------------------------------------------------------------------- */

/* x[b, l, heads, p] and b, c[b, l, groups, n]; results y like x, h_last[b, heads, p, n]. */
static bool infer_heads(tf_infer *c, uint32_t b, uint32_t cc)
{
    const tf_type *x = c->type[X], *bt = c->type[b];
    if (x->rank != 4 || bt->rank != 4)
        return tf_bad(c, TUFF_E_SHAPE, "x and B need rank 4 (%s, %s)", tf_src_text(c, X), tf_src_text(c, b));
    const int64_t heads = x->dim[2], groups = bt->dim[2];
    for (int i = 1; i < 4; i++)
        if (tf_dim_is_dynamic(x->dim[i]) || tf_dim_is_dynamic(bt->dim[i]))
            return tf_bad(c, TUFF_E_SHAPE, "length, heads and channels need fixed sizes (%s, %s)", tf_src_text(c, X), tf_src_text(c, b));
    if (groups < 1 || heads % groups)
        return tf_bad(c, TUFF_E_SHAPE, "%lld groups do not divide %lld heads (%s)", (long long)groups, (long long)heads, tf_src_text(c, b));
    if (!tf_infer_dims(c, b, 4, (int64_t[]){ x->dim[0], x->dim[1], groups, bt->dim[3] }) || !tf_infer_dims(c, cc, 4, bt->dim))
        return false;
    c->n_out = 2;
    c->out[0] = *x;
    c->out[1] = (tf_type){ .dtype = TUFF_F32, .rank = 4, .dim = { x->dim[0], heads, x->dim[3], bt->dim[3] } };
    return true;
}

static bool infer(tf_infer *c)
{
    const tuff_ssd_desc *d = c->desc;
    for (uint32_t i = 0; i <= H0; i++)
        if (!tf_infer_single(c, i))
            return false;
    if (!infer_heads(c, B, C))
        return false;
    const tf_type *x = c->type[X];
    const int64_t heads = x->dim[2], head[2] = { heads, x->dim[3] };
    if (c->type[SEQ] && !tf_dtype_is_int(c->type[SEQ]->dtype))
        return tf_bad(c, TUFF_E_DTYPE, "seq_idx needs an integer dtype (%s)", tf_src_text(c, SEQ));
    if (d->dt_max != 0 && !(d->dt_min <= d->dt_max))
        return tf_bad(c, TUFF_E_ATTRIBUTE, "dt_min is %g, above dt_max, %g", (double)d->dt_min, (double)d->dt_max);
    return tf_infer_dims(c, DT, 3, x->dim) && tf_infer_dims(c, A, 1, &heads) && tf_infer_dims(c, D, c->type[D] && c->type[D]->rank == 2 ? 2 : 1, head) && tf_infer_dims(c, Z, 4, x->dim) &&
           tf_infer_dims(c, BIAS, 1, &heads) && tf_infer_dims(c, H0, 4, c->out[1].dim) && tf_infer_dims(c, SEQ, 2, x->dim);
}

static bool trapezoidal_infer(tf_infer *c)
{
    for (uint32_t i = 0; i <= T_C; i++)
        if (!tf_infer_single(c, i))
            return false;
    if (!infer_heads(c, T_B, T_C))
        return false;
    const tf_type *x = c->type[T_X];
    return tf_infer_dims(c, T_DT, 3, x->dim) && tf_infer_dims(c, T_A, 1, &x->dim[2]) && tf_infer_dims(c, T_LAM, 3, x->dim);
}

/* ---- references: the recurrence, one head at a time -------------------------------------------------- */

typedef struct head_step { uint64_t x, bc; double decay, weight, weight_before; bool reset; } head_step; /* element offsets of x and of b, c */

/* h <- decay h + weight b x' + weight_before (b x')_before; y += h c. */
static void step_head(const tf_ref *r, uint32_t b, uint32_t c, const head_step *s, const head_step *before, double *h)
{
    const uint64_t p = (uint64_t)r->src[X]->dim[3], n = (uint64_t)r->src[b]->dim[3];
    for (uint64_t i = 0; i < p; i++) {
        double y = 0;
        for (uint64_t k = 0; k < n; k++) {
            double *v = &h[i * n + k];
            *v = (s->reset ? 0 : *v * s->decay) + s->weight * r->src[b]->re[s->bc + k] * r->src[X]->re[s->x + i];
            if (before)
                *v += s->weight_before * r->src[b]->re[before->bc + k] * r->src[X]->re[before->x + i];
            y += *v * r->src[c]->re[s->bc + k];
        }
        r->out[0].re[s->x + i] = y;
    }
}

static double dt_of(const tf_ref *r, uint64_t at, uint64_t head)
{
    const tuff_ssd_desc *d = r->desc;
    double dt = r->src[DT]->re[at] + (r->src[BIAS] ? r->src[BIAS]->re[head] : 0);
    if (d->dt_softplus)
        dt = tf_softplus(dt);
    return d->dt_max != 0 ? fmin(fmax(dt, (double)d->dt_min), (double)d->dt_max) : dt;
}

static tuff_status reference(tf_ref *r)
{
    const tf_ref_tensor *x = r->src[X];
    const uint64_t nb = (uint64_t)x->dim[0], l = (uint64_t)x->dim[1], heads = (uint64_t)x->dim[2], p = (uint64_t)x->dim[3];
    const uint64_t groups = (uint64_t)r->src[B]->dim[2], n = (uint64_t)r->src[B]->dim[3];
    double *out = r->out[1].re;
    for (uint64_t bh = 0; bh < nb * heads; bh++) {
        const uint64_t b = bh / heads, head = bh % heads;
        double *h = out + bh * p * n;
        for (uint64_t i = 0; i < p * n; i++)
            h[i] = r->src[H0] ? r->src[H0]->re[bh * p * n + i] : 0;
        for (uint64_t t = 0; t < l; t++) {
            const uint64_t at = (b * l + t) * heads + head;
            const double dt = dt_of(r, at, head);
            head_step s = { at * p, ((b * l + t) * groups + head / (heads / groups)) * n, exp(dt * r->src[A]->re[head]), dt, 0, false };
            s.reset = r->src[SEQ] && t && r->src[SEQ]->re[b * l + t] != r->src[SEQ]->re[b * l + t - 1];
            step_head(r, B, C, &s, NULL, h);
            for (uint64_t i = 0; i < p; i++) {
                double *y = &r->out[0].re[at * p + i];
                if (r->src[D])
                    *y += r->src[D]->re[r->src[D]->rank == 2 ? head * p + i : head] * x->re[at * p + i];
                if (r->src[Z])
                    *y *= r->src[Z]->re[at * p + i] / (1 + exp(-r->src[Z]->re[at * p + i]));
            }
        }
    }
    return TUFF_OK;
}

static tuff_status trapezoidal_reference(tf_ref *r)
{
    const tf_ref_tensor *x = r->src[T_X];
    const uint64_t nb = (uint64_t)x->dim[0], l = (uint64_t)x->dim[1], heads = (uint64_t)x->dim[2], p = (uint64_t)x->dim[3];
    const uint64_t groups = (uint64_t)r->src[T_B]->dim[2], n = (uint64_t)r->src[T_B]->dim[3];
    for (uint64_t bh = 0; bh < nb * heads; bh++) {
        const uint64_t b = bh / heads, head = bh % heads;
        double *h = r->out[1].re + bh * p * n;
        head_step before = { 0 };
        memset(h, 0, (size_t)(p * n) * sizeof *h);
        for (uint64_t t = 0; t < l; t++) {
            const uint64_t at = (b * l + t) * heads + head;
            const double dt = r->src[T_DT]->re[at], lam = r->src[T_LAM]->re[at], decay = exp(dt * r->src[T_A]->re[head]);
            const head_step s = { at * p, ((b * l + t) * groups + head / (heads / groups)) * n, decay, lam * dt, (1 - lam) * dt * decay, false };
            step_head(r, T_B, T_C, &s, t ? &before : NULL, h);
            before = s;
        }
    }
    return TUFF_OK;
}

/* ---- lowering -------------------------------------------------------------------------------------- */

typedef struct chunks {
    tuff_graph *g;
    int64_t nb, l, heads, groups, p, n, q, count; /* q steps per chunk, count chunks */
    tuff_tensor log_decay;           /* [b, l, heads]: dt A */
    tuff_tensor own, later;          /* [b, l, heads]: what an input weighs at its step and afterwards */
    tuff_tensor x, b, c, h0, seg;    /* seg [b, l] i32: number of the sequence, from 0 */
} chunks;

/* [b, l, ...] -> [b, count, q, ...], the tail filled with zeros or with the last value. */
static tuff_tensor in_chunks(const chunks *k, tuff_tensor x, bool edge)
{
    const tf_type t = *tf_ty(x);
    if (!x.id)
        return x;
    if (k->count * k->q != k->l) {
        tuff_ints lo = { .n = 2 }, hi = { .n = 2, .v = { 0, k->count * k->q - k->l } };
        x = tuff_pad(x, lo, hi, &(tuff_pad_desc){ .mode = edge ? TUFF_PAD_EDGE : TUFF_PAD_CONSTANT });
    }
    int64_t d[TUFF_MAX_RANK] = { k->nb, k->count, k->q };
    for (int32_t i = 2; i < t.rank; i++)
        d[i + 1] = t.dim[i];
    return tf_reshaped(x, t.rank + 1, d);
}

/* [b, count, q, heads] -> [b, count, groups, heads / groups, q] */
static tuff_tensor per_head(const chunks *k, tuff_tensor x)
{
    x = tuff_permute(in_chunks(k, x, false), TUFF_INTS(0, 1, 3, 2));
    return tf_reshaped(x, 5, (int64_t[]){ k->nb, k->count, k->groups, k->heads / k->groups, k->q });
}

/* b or c as [b, count, groups, 1, q, n] */
static tuff_tensor per_group(const chunks *k, tuff_tensor x)
{
    return tuff_unsqueeze(tuff_permute(in_chunks(k, x, false), TUFF_INTS(0, 1, 3, 2, 4)), TUFF_INTS(3));
}

static tuff_tensor column(tuff_tensor x) { return tuff_unsqueeze(x, TUFF_INTS(tf_ty(x)->rank)); }
static tuff_tensor row(tuff_tensor x) { return tuff_unsqueeze(x, TUFF_INTS(tf_ty(x)->rank - 1)); }
static tuff_tensor at(tuff_tensor x, int32_t axis, int64_t i) { return tuff_slice(x, TUFF_INTS(i), TUFF_INTS(i + 1), &(tuff_slice_desc){ .axes = TUFF_INTS(axis) }); }

/* `value` where two segment numbers are equal, else 0. */
static tuff_tensor where_same(tuff_graph *g, tuff_tensor a, tuff_tensor b, tuff_tensor value)
{
    return a.id && b.id ? tuff_where(tuff_equal(a, b), value, tuff_literal(g, 0, TUFF_F32)) : value;
}

/* y[b, l, heads, p] of all chunks; *h_last[b, heads, p, n]. */
static tuff_tensor run_chunks(const chunks *k, tuff_tensor *h_last)
{
    tuff_graph *g = k->g;
    const int64_t per = k->heads / k->groups;
    const tuff_tensor s = tuff_cumsum(per_head(k, k->log_decay), 4, NULL), own = per_head(k, k->own), later = per_head(k, k->later);
    const tuff_tensor b = per_group(k, k->b), c = per_group(k, k->c), s_end = at(s, 4, k->q - 1);
    tuff_tensor x = tuff_permute(in_chunks(k, k->x, false), TUFF_INTS(0, 1, 3, 2, 4));
    x = tf_reshaped(x, 6, (int64_t[]){ k->nb, k->count, k->groups, per, k->q, k->p });
    tuff_tensor seg = { 0 }, seg_end = { 0 }, seg_before = { 0 }; /* [b, count, 1, 1, q], [.., 1]: of the last step, and of the one before the chunk */
    if (k->seg.id) {
        seg = tuff_unsqueeze(in_chunks(k, k->seg, true), TUFF_INTS(2, 3));
        seg_end = at(seg, 4, k->q - 1);
        const tuff_tensor first = tuff_mul(at(seg_end, 1, 0), tuff_literal(g, 0, TUFF_I32));
        seg_before = k->count == 1 ? first : tuff_concat((tuff_tensor[]){ first, tuff_slice(seg_end, TUFF_INTS(0), TUFF_INTS(k->count - 1), &(tuff_slice_desc){ .axes = TUFF_INTS(1) }) }, 2, 1);
    }

    /* inside the chunks */
    const tuff_shape square = { .rank = 2, .dim = { k->q, k->q } };
    const tuff_tensor i = tuff_iota(g, square, 0, NULL), j = tuff_iota(g, square, 1, NULL), zero = tuff_literal(g, 0, TUFF_F32);
    tuff_tensor mask = tuff_exp(tuff_where(tuff_greater_equal(i, j), tuff_sub(column(s), row(s)), zero)); /* the other half may overflow */
    mask = tuff_mul(mask, tuff_where(tuff_equal(i, j), row(own), row(later)));
    mask = tuff_where(tuff_greater_equal(i, j), mask, zero);
    if (seg.id)
        mask = where_same(g, column(seg), row(seg), mask);
    const tuff_tensor cb = tuff_matmul(c, b, &(tuff_matmul_desc){ .transpose_b = true });
    tuff_tensor y = tuff_matmul(tuff_mul(cb, mask), x, NULL);

    /* what each chunk adds to the state, and the states before the chunks */
    tuff_tensor gain = tuff_mul(tuff_exp(tuff_sub(s_end, s)), later);
    gain = where_same(g, seg, seg_end, gain);
    const tuff_tensor states = tuff_matmul(tuff_mul(x, column(gain)), b, &(tuff_matmul_desc){ .transpose_a = true });
    tuff_tensor decay = where_same(g, seg_end, seg_before, tuff_exp(s_end));
    decay = column(decay);
    const int64_t start[5] = { k->nb, k->groups, per, k->p, k->n };
    const tuff_tensor h0 = k->h0.id ? tf_reshaped(k->h0, 5, start) : k->h0;
    const tuff_tensor before = tuff_linear_scan(decay, states, 1, &(tuff_scan_desc){ .exclusive = true, .initial = h0 });
    const tuff_tensor last = tuff_add(tuff_mul(at(decay, 1, k->count - 1), at(before, 1, k->count - 1)), at(states, 1, k->count - 1));
    *h_last = tf_reshaped(last, 4, (int64_t[]){ k->nb, k->heads, k->p, k->n });

    const tuff_tensor from = tuff_matmul(c, before, &(tuff_matmul_desc){ .transpose_b = true });
    y = tuff_add(y, tuff_mul(from, column(where_same(g, seg, seg_before, tuff_exp(s)))));
    y = tuff_permute(tf_reshaped(y, 5, (int64_t[]){ k->nb, k->count, k->heads, k->q, k->p }), TUFF_INTS(0, 1, 3, 2, 4));
    y = tf_reshaped(y, 4, (int64_t[]){ k->nb, k->count * k->q, k->heads, k->p });
    return k->count * k->q == k->l ? y : tuff_slice(y, TUFF_INTS(0), TUFF_INTS(k->l), &(tuff_slice_desc){ .axes = TUFF_INTS(1) });
}

static chunks problem(const tf_lower *l, tuff_tensor b, int64_t hint)
{
    const tf_type *x = tf_ty(l->src[X]), *t = tf_ty(b);
    chunks k = { .g = l->g, .nb = x->dim[0], .l = x->dim[1], .heads = x->dim[2], .p = x->dim[3], .groups = t->dim[2], .n = t->dim[3] };
    k.q = TF_MAX(TF_MIN(hint ? hint : 64, k.l), 1);
    k.count = (k.l + k.q - 1) / k.q;
    k.x = tf_widened(l->src[X]);
    k.b = tf_widened(b);
    return k;
}

static void lower(tf_lower *l)
{
    const tuff_ssd_desc *d = l->desc;
    const tuff_tensor *s = l->src;
    chunks k = problem(l, s[B], d->chunk);
    tuff_tensor dt = tf_widened(s[DT]);
    if (s[BIAS].id)
        dt = tuff_add(dt, tf_widened(s[BIAS]));
    if (d->dt_softplus)
        dt = tuff_softplus(dt);
    if (d->dt_max != 0)
        dt = tuff_clamp(dt, tuff_literal(l->g, (double)d->dt_min, TUFF_F32), tuff_literal(l->g, (double)d->dt_max, TUFF_F32));
    k.own = k.later = dt;
    k.log_decay = tuff_mul(dt, tf_widened(s[A]));
    k.c = tf_widened(s[C]);
    k.h0 = tf_widened(s[H0]);
    if (s[SEQ].id && k.l > 1) {
        const tuff_slice_desc steps = { .axes = TUFF_INTS(1) };
        const tuff_tensor id = tf_cast_to(s[SEQ], TUFF_I32);
        const tuff_tensor changes = tuff_not_equal(tuff_slice(id, TUFF_INTS(1), TUFF_INTS(k.l), &steps), tuff_slice(id, TUFF_INTS(0), TUFF_INTS(k.l - 1), &steps));
        k.seg = tuff_pad(tuff_cumsum(tuff_cast(changes, TUFF_I32), 1, NULL), TUFF_INTS(0, 1), TUFF_INTS(0, 0), NULL);
    }
    tuff_tensor h, y = run_chunks(&k, &h);
    if (s[D].id)
        y = tuff_add(y, tuff_mul(k.x, tf_ty(s[D])->rank == 2 ? tf_widened(s[D]) : tuff_unsqueeze(tf_widened(s[D]), TUFF_INTS(1))));
    if (s[Z].id)
        y = tuff_mul(y, tuff_silu(tf_widened(s[Z])));
    if (y.id)
        l->out[0] = tf_cast_to(y, l->out_type->dtype);
    l->out[1] = h;
}

static void trapezoidal_lower(tf_lower *l)
{
    const tuff_tensor *s = l->src;
    chunks k = problem(l, s[T_B], 0);
    const tuff_tensor dt = tf_widened(s[T_DT]), lam = tf_widened(s[T_LAM]);
    k.own = tuff_mul(lam, dt);
    /* An input counts again one step later with that step's (1 - lam) dt; the decay of that step is in the state's. */
    const tuff_tensor next = tuff_sub(dt, k.own);
    const tuff_tensor moved = tuff_pad(tuff_slice(next, TUFF_INTS(1), TUFF_INTS(TF_MAX(k.l, 1)), &(tuff_slice_desc){ .axes = TUFF_INTS(1) }), TUFF_INTS(0, 0), TUFF_INTS(0, 1), NULL);
    k.later = k.l > 1 ? tuff_add(k.own, moved) : k.own;
    k.log_decay = tuff_mul(dt, tf_widened(s[T_A]));
    k.c = tf_widened(s[T_C]);
    tuff_tensor h, y = run_chunks(&k, &h);
    if (y.id)
        l->out[0] = tf_cast_to(y, l->out_type->dtype);
    l->out[1] = h;
}

static const tf_attr attrs[] = {
    TF_A(tuff_ssd_desc, D, TF_ATTR_TENSOR, "[heads] or [heads,p]: y += D x"),
    TF_A(tuff_ssd_desc, z, TF_ATTR_TENSOR, "x's shape: y *= silu(z), after D"),
    TF_A(tuff_ssd_desc, dt_bias, TF_ATTR_TENSOR, "[heads]: added to dt"),
    TF_A(tuff_ssd_desc, h0, TF_ATTR_TENSOR, "[b,heads,p,n]: the state before the first step; absent: 0"),
    TF_A(tuff_ssd_desc, seq_idx, TF_ATTR_TENSOR, "integer [b,l]: where it changes, a sequence starts from state 0"),
    TF_A(tuff_ssd_desc, dt_softplus, TF_ATTR_BOOL, "dt becomes softplus(dt), after the bias"),
    TF_A(tuff_ssd_desc, dt_min, TF_ATTR_FLOAT, "least dt, after the softplus"),
    TF_A(tuff_ssd_desc, dt_max, TF_ATTR_FLOAT, "largest dt; 0: neither limit"),
    TF_A(tuff_ssd_desc, chunk, TF_ATTR_INT, "steps per chunk, a hint: the result does not depend on it; 0: 64", .max = 1024),
};
const tf_op tf_op_ssd = {
    .name = "ssd", .doc = "h[t] = e^(dt A) h[t-1] + dt x B', y = h C over x[b,l,heads,p], dt[b,l,heads], A[heads], B and C[b,l,groups,n] -> y, h_last[b,heads,p,n]",
    .source = "Dao, Gu 2024, arXiv 2405.21060", .operands = "x dt A B C", .results = "y h_last", .kind = TF_COMPOSITE, .attrs = attrs,
    .attr_count = TF_COUNT(attrs), .desc_size = sizeof(tuff_ssd_desc), .infer = infer, .lower = lower, .reference = reference, .rel = 64,
};
tuff_tensor tuff_ssd(tuff_tensor x, tuff_tensor dt, tuff_tensor A_, tuff_tensor B_, tuff_tensor C_, const tuff_ssd_desc *desc)
{
    return tf_add(x.graph, &tf_op_ssd, (tuff_tensor[]){ x, dt, A_, B_, C_ }, 5, desc);
}

const tf_op tf_op_ssd_trapezoidal = {
    .name = "ssd_trapezoidal",
    .doc = "h[t] = a h[t-1] + (1 - lam) dt a (B x)[t-1] + lam dt (B x)[t], a = e^(dt A), y = h C; shapes as in ssd, lam[b,l,heads]",
    .source = "the exponential-trapezoidal rule", .operands = "x dt A lam B C", .results = "y h_last", .kind = TF_COMPOSITE, .infer = trapezoidal_infer,
    .lower = trapezoidal_lower, .reference = trapezoidal_reference, .rel = 64,
};
tuff_tensor tuff_ssd_trapezoidal(tuff_tensor x, tuff_tensor dt, tuff_tensor A_, tuff_tensor lam, tuff_tensor B_, tuff_tensor C_)
{
    return tf_add(x.graph, &tf_op_ssd_trapezoidal, (tuff_tensor[]){ x, dt, A_, lam, B_, C_ }, 6, NULL);
}
