/* selective.c - selective state spaces: the selective scan of Mamba, one step of it, and the block around it.
 *
 * Bias, skip and gate are ordinary nodes around the anchor _selective and end in its hooks; layouts are views. Where
 * channels are too few to fill the device, time is cut into parts: the decay of a whole part is e^(a * sum of dt), so the states
 * between parts are a linear scan over a handful of numbers. */
#include "selective.h"

#include <math.h>
#include <string.h>

enum { U, DELTA, A, B, C, D, Z, BIAS, H0, SEQ };

/* ---- shapes -------------------------------------------------------------------------------------- */

static bool complex_or_real(tf_infer *c, uint32_t i)
{
    const tuff_dtype t = c->type[i]->dtype;
    return t == TUFF_C64 || tf_dtype_is_single(t) ||
           tf_bad(c, TUFF_E_DTYPE, "%s is not among its dtypes: f32 f16 bf16 c64 (%s)", tuff_dtype_name(t), tf_src_text(c, i));
}

/* b or c: [d, n], [nb, (groups,) n, l] or, by layout, [nb, l, (groups,) n]. */
static bool coefficient_shape(tf_infer *c, uint32_t i, bool bld, const tf_type *u, int64_t channels, int64_t states)
{
    const tf_type *t = c->type[i];
    const int64_t l = u->dim[bld ? 1 : 2], nb = u->dim[0];
    if (t->rank == 2)
        return tf_infer_dims(c, i, 2, (int64_t[]){ channels, states });
    if (t->rank == 3)
        return bld ? tf_infer_dims(c, i, 3, (int64_t[]){ nb, l, states }) : tf_infer_dims(c, i, 3, (int64_t[]){ nb, states, l });
    if (t->rank != 4)
        return tf_bad(c, TUFF_E_SHAPE, "%s has rank %d; it is 2, 3 or 4", tf_src_text(c, i), (int)t->rank);
    const int64_t groups = t->dim[bld ? 2 : 1];
    if (tf_dim_is_dynamic(groups) || groups < 1 || channels % groups)
        return tf_bad(c, TUFF_E_SHAPE, "the groups of %s do not divide %lld channels", tf_src_text(c, i), (long long)channels);
    return bld ? tf_infer_dims(c, i, 4, (int64_t[]){ nb, l, groups, states }) : tf_infer_dims(c, i, 4, (int64_t[]){ nb, groups, states, l });
}

static int64_t groups_of(const tf_type *t, bool bld) { return t->rank == 4 ? t->dim[bld ? 2 : 1] : 1; }

static bool infer(tf_infer *c)
{
    const tuff_selective_scan_desc *d = c->desc;
    const bool bld = d->layout == TUFF_SCAN_BLD;
    const tf_type *u = c->type[U], *a = c->type[A];
    if (u->rank != 3 || a->rank != 2)
        return tf_bad(c, TUFF_E_SHAPE, "u needs rank 3, A rank 2 (%s, %s)", tf_src_text(c, U), tf_src_text(c, A));
    const int64_t channels = a->dim[0], states = a->dim[1];
    if (tf_dim_is_dynamic(channels) || tf_dim_is_dynamic(states))
        return tf_bad(c, TUFF_E_SHAPE, "channels and states need fixed sizes (%s)", tf_src_text(c, A));
    if (!tf_dim_equal(u->dim[bld ? 2 : 1], channels))
        return tf_bad(c, TUFF_E_SHAPE, "u has %s channels, A has %lld (%s, %s)", tf_dim_text(c->g, u->dim[bld ? 2 : 1]), (long long)channels, tf_src_text(c, U), tf_src_text(c, A));
    if (states > 1024)
        return tf_bad(c, TUFF_E_LIMIT, "A has %lld states per channel; there are at most 1024", (long long)states);
    const int64_t nb = u->dim[0], l = u->dim[bld ? 1 : 2];
    if (!tf_infer_single(c, U) || !tf_infer_single(c, DELTA) || !complex_or_real(c, A) || !complex_or_real(c, B) || !complex_or_real(c, C))
        return false;
    for (uint32_t i = D; i <= H0; i++)
        if (c->type[i] && !(i == H0 ? complex_or_real(c, i) : tf_infer_single(c, i)))
            return false;
    if (c->type[SEQ] && c->type[SEQ]->dtype != TUFF_BOOL && !tf_dtype_is_int(c->type[SEQ]->dtype))
        return tf_bad(c, TUFF_E_DTYPE, "seq_start needs bool or an integer (%s)", tf_src_text(c, SEQ));
    if (!tf_infer_dims(c, DELTA, 3, u->dim) || !tf_infer_dims(c, Z, 3, u->dim) || !tf_infer_dims(c, D, 1, &channels) || !tf_infer_dims(c, BIAS, 1, &channels) ||
        !tf_infer_dims(c, H0, 3, (int64_t[]){ nb, channels, states }) || !tf_infer_dims(c, SEQ, 2, (int64_t[]){ nb, l }) ||
        !coefficient_shape(c, B, bld, u, channels, states) || !coefficient_shape(c, C, bld, u, channels, states))
        return false;
    const int64_t gb = groups_of(c->type[B], bld), gc = groups_of(c->type[C], bld);
    if (c->type[B]->rank > 2 && c->type[C]->rank > 2 && gb != gc && gb != 1 && gc != 1)
        return tf_bad(c, TUFF_E_SHAPE, "B and C have different groups (%s, %s)", tf_src_text(c, B), tf_src_text(c, C));
    const bool complex = a->dtype == TUFF_C64 || c->type[B]->dtype == TUFF_C64 || c->type[C]->dtype == TUFF_C64 || (c->type[H0] && c->type[H0]->dtype == TUFF_C64);
    c->n_out = 2;
    c->out[0] = *u;
    c->out[1] = (tf_type){ .dtype = complex ? TUFF_C64 : TUFF_F32, .rank = 3, .dim = { nb, channels, states } };
    return true;
}

/* ---- reference ------------------------------------------------------------------------------------ */

static double at3(const tf_ref_tensor *t, bool bld, uint64_t b, uint64_t d, uint64_t l)
{
    const uint64_t n1 = (uint64_t)t->dim[1], n2 = (uint64_t)t->dim[2];
    return t->re[bld ? (b * n1 + l) * n2 + d : (b * n1 + d) * n2 + l];
}

static tf_scalar coefficient(const tf_ref_tensor *t, bool bld, uint64_t b, uint64_t d, uint64_t channels, uint64_t n, uint64_t states, uint64_t l, uint64_t length)
{
    uint64_t i = d * states + n;
    if (t->rank > 2) {
        const uint64_t groups = t->rank == 4 ? (uint64_t)t->dim[bld ? 2 : 1] : 1, g = d / (channels / groups);
        i = bld ? ((b * length + l) * groups + g) * states + n : ((b * groups + g) * states + n) * length + l;
    }
    return (tf_scalar){ t->re[i], t->im ? t->im[i] : 0 };
}

static double silu(double x) { return x / (1 + exp(-x)); }

typedef struct channel { uint64_t b, d; tf_scalar *h; } channel;

static void run_channel(tf_ref *r, const channel *at)
{
    const tuff_selective_scan_desc *o = r->desc;
    const tf_ref_tensor *const *s = r->src;
    const bool bld = o->layout == TUFF_SCAN_BLD, complex = r->out[1].im != NULL;
    const uint64_t channels = (uint64_t)s[A]->dim[0], states = (uint64_t)s[A]->dim[1], length = (uint64_t)s[U]->dim[bld ? 1 : 2], d = at->d, b = at->b;
    for (uint64_t n = 0; n < states; n++) {
        const uint64_t i = (b * channels + d) * states + n;
        at->h[n] = s[H0] ? (tf_scalar){ s[H0]->re[i], s[H0]->im ? s[H0]->im[i] : 0 } : (tf_scalar){ 0, 0 };
    }
    for (uint64_t l = 0; l < length; l++) {
        double dt = at3(s[DELTA], bld, b, d, l) + (s[BIAS] ? s[BIAS]->re[d] : 0), y = 0;
        const double u = at3(s[U], bld, b, d, l);
        if (o->delta_softplus)
            dt = tf_softplus(dt);
        for (uint64_t n = 0; n < states; n++) {
            const tf_scalar a = { s[A]->re[d * states + n], s[A]->im ? s[A]->im[d * states + n] : 0 };
            const tf_scalar bn = coefficient(s[B], bld, b, d, channels, n, states, l, length), cn = coefficient(s[C], bld, b, d, channels, n, states, l, length);
            tf_scalar h = at->h[n];
            if (s[SEQ] && s[SEQ]->re[b * length + l] != 0)
                h = (tf_scalar){ 0, 0 };
            const double m = exp(dt * a.re), er = m * cos(dt * a.im), ei = m * sin(dt * a.im);
            at->h[n] = h = (tf_scalar){ er * h.re - ei * h.im + dt * bn.re * u, er * h.im + ei * h.re + dt * bn.im * u };
            y += complex ? 2 * (cn.re * h.re - cn.im * h.im) : cn.re * h.re;
        }
        if (s[D])
            y += s[D]->re[d] * u;
        if (s[Z])
            y *= silu(at3(s[Z], bld, b, d, l));
        r->out[0].re[bld ? (b * length + l) * channels + d : (b * channels + d) * length + l] = y;
    }
    for (uint64_t n = 0; n < states; n++) {
        r->out[1].re[(b * channels + d) * states + n] = at->h[n].re;
        if (complex)
            r->out[1].im[(b * channels + d) * states + n] = at->h[n].im;
    }
}

static tuff_status reference(tf_ref *r)
{
    tf_scalar *h = tf_arena_array(r->scratch, tf_scalar, (size_t)r->src[A]->dim[1] + 1);
    if (!h)
        return TUFF_E_MEMORY;
    for (uint64_t b = 0; b < (uint64_t)r->src[U]->dim[0]; b++)
        for (uint64_t d = 0; d < (uint64_t)r->src[A]->dim[0]; d++)
            run_channel(r, &(channel){ b, d, h });
    return TUFF_OK;
}

/* ---- lowering -------------------------------------------------------------------------------------- */

/* Steps per part, 0: whole. */
static int64_t chunk_for(const tuff_graph *g, const tf_limits *limits, const tf_type *u, const tf_type *a)
{
    const int64_t rows = tf_dim_bound(g, u->dim[0]) * u->dim[1], l = tf_dim_bound(g, u->dim[2]);
    const int64_t want = limits->cpu ? 4 * (int64_t)tf_units(limits) : 256 * (int64_t)tf_units(limits), least = limits->cpu ? 256 : 64;
    /* The trips over n count, too; complex steps go one by one, others four at a time. */
    const int64_t most = limits->cpu ? TF_CPU_TRIPS / ((a->dim[1] + 7) / 4) * (a->dtype == TUFF_C64 ? 1 : 3) : INT64_MAX / 2;
    int64_t chunk = 0;
    if (rows < want && l >= 2 * least)
        chunk = TF_MAX(l / ((want + rows - 1) / TF_MAX(rows, 1)), least);
    else if (l > most)
        chunk = most;
    return chunk ? (int64_t)tf_align_up((uint64_t)TF_MIN(chunk, most), 4) : 0;
}

static tuff_tensor channels_first(tuff_tensor x, bool bld) { return x.id && bld ? tuff_permute(x, TUFF_INTS(0, 2, 1)) : x; }

/* b or c in the form the anchor reads without strides, and which form that is. */
static tuff_tensor coefficient_view(tuff_tensor x, bool bld, int64_t groups, tuff_dtype dtype, int32_t *form)
{
    if (!x.id)
        return x;
    const tf_type t = *tf_ty(x);
    *form = t.rank == 2 ? 0 : bld ? 2 : 1;
    tuff_tensor v = x;
    if (t.rank == 3)
        v = tuff_unsqueeze(v, TUFF_INTS(bld ? 2 : 1));
    if (bld && t.rank > 2)
        v = tuff_permute(v, TUFF_INTS(0, 2, 1, 3));
    if (t.rank > 2 && groups_of(&t, bld) == 1 && groups > 1)
        v = tuff_expand(v, (tuff_shape){ .rank = 4, .dim = { -1, groups, -1, -1 } });
    if (dtype == TUFF_C64)
        return tf_ty(v)->dtype == TUFF_C64 ? v : tuff_cast(tf_widened(v), TUFF_C64);
    return tf_widened(v);
}

static tuff_tensor to_state_dtype(tuff_tensor x, tuff_dtype dtype)
{
    if (!x.id)
        return x;
    x = tf_widened(x);
    return tf_cast_to(x, dtype);
}

static void run_anchor(tf_lower *l, const tuff_tensor *src, tf_selective_desc d, tuff_tensor *y, tuff_tensor *h)
{
    const tf_type *u = tf_ty(src[TF_SEL_U]);
    d.chunk = chunk_for(l->g, l->limits, u, tf_ty(src[TF_SEL_A]));
    if (d.chunk) {
        tf_selective_desc fold = d;
        fold.fold = true;
        fold.c = fold.h0 = (tuff_tensor){ 0 };
        const bool complex = tf_ty(src[TF_SEL_A])->dtype == TUFF_C64;
        const tuff_tensor s = tf_add(l->g, &tf_op_selective_anchor, src, 4, &fold), total = tuff_unsqueeze(tuff_result(s, 1), TUFF_INTS(2));
        tuff_tensor a = tuff_exp(tuff_mul(tuff_permute(src[TF_SEL_A], TUFF_INTS(1, 0)), complex ? tuff_cast(total, TUFF_C64) : total));
        if (d.seg.id) /* a sequence starts inside: nothing from before is left */
            a = tuff_where(tuff_greater(total, tuff_literal(l->g, 1e38, TUFF_F32)), tuff_literal(l->g, 0, complex ? TUFF_C64 : TUFF_F32), a);
        const tuff_scan_desc scan = { .initial = d.h0.id ? tuff_permute(d.h0, TUFF_INTS(0, 2, 1)) : d.h0 };
        d.carry = tuff_linear_scan(a, s, 1, &scan);
    }
    *y = tf_add(l->g, &tf_op_selective_anchor, src, 4, &d);
    *h = tuff_result(*y, 1);
}

static bool is_complex(tuff_tensor x) { return x.id && tf_ty(x)->dtype == TUFF_C64; }

static void lower(tf_lower *l)
{
    const tuff_selective_scan_desc *o = l->desc;
    const bool bld = o->layout == TUFF_SCAN_BLD;
    const tuff_tensor *s = l->src;
    const tuff_dtype dtype = is_complex(s[A]) || is_complex(s[B]) || is_complex(s[C]) || is_complex(s[H0]) ? TUFF_C64 : TUFF_F32;
    tf_selective_desc d = { 0 };
    const int64_t groups = TF_MAX(groups_of(tf_ty(s[B]), bld), groups_of(tf_ty(s[C]), bld));
    const tuff_tensor u = tf_widened(channels_first(s[U], bld));
    tuff_tensor dt = tf_widened(channels_first(s[DELTA], bld));
    if (s[BIAS].id)
        dt = tuff_add(dt, tuff_unsqueeze(tf_widened(s[BIAS]), TUFF_INTS(1)));
    d.softplus = o->delta_softplus;
    const tuff_tensor src[4] = { u, dt, to_state_dtype(s[A], dtype), coefficient_view(s[B], bld, groups, dtype, &d.b_form) };
    d.c = coefficient_view(s[C], bld, groups, dtype, &d.c_form);
    d.h0 = to_state_dtype(s[H0], dtype);
    d.seg = s[SEQ].id ? tf_cast_to(s[SEQ], TUFF_BOOL) : s[SEQ];
    tuff_tensor y, h;
    run_anchor(l, src, d, &y, &h);
    if (s[D].id)
        y = tuff_add(y, tuff_mul(u, tuff_unsqueeze(tf_widened(s[D]), TUFF_INTS(1))));
    if (s[Z].id)
        y = tuff_mul(y, tuff_silu(tf_widened(channels_first(s[Z], bld))));
    if (y.id)
        l->out[0] = tf_cast_to(channels_first(y, bld), l->out_type->dtype);
    l->out[1] = h;
}

static const char *const layouts[] = { "BDL", "BLD", NULL };
static const tf_attr attrs[] = {
    TF_A(tuff_selective_scan_desc, D, TF_ATTR_TENSOR, "[d]: y += D u"),
    TF_A(tuff_selective_scan_desc, z, TF_ATTR_TENSOR, "u's shape: y *= silu(z), after D"),
    TF_A(tuff_selective_scan_desc, delta_bias, TF_ATTR_TENSOR, "[d]: added to delta"),
    TF_A(tuff_selective_scan_desc, h0, TF_ATTR_TENSOR, "[b,d,n]: the state before the first step; absent: 0"),
    TF_A(tuff_selective_scan_desc, seq_start, TF_ATTR_TENSOR, "bool or integer [b,l]: non-zero, a sequence starts here from state 0"),
    TF_A(tuff_selective_scan_desc, delta_softplus, TF_ATTR_BOOL, "delta becomes softplus(delta), after the bias"),
    TF_A(tuff_selective_scan_desc, layout, TF_ATTR_ENUM, "of u, delta, z, y, and of B and C: [b,d,l] with [b,(g,)n,l], or [b,l,d] with [b,l,(g,)n]", .choices = layouts),
};
const tf_op tf_op_selective_scan = {
    .name = "selective_scan",
    .doc = "h[t] = e^(delta A) h[t-1] + delta B u, y = C h over u, delta[b,d,l], A[d,n], B and C[d,n] or [b,(g,)n,l] -> y, h_last[b,d,n]; complex: 2 Re",
    .source = "Gu, Dao 2023, arXiv 2312.00752", .operands = "u delta A B C", .results = "y h_last", .kind = TF_COMPOSITE, .attrs = attrs,
    .attr_count = TF_COUNT(attrs), .desc_size = sizeof(tuff_selective_scan_desc), .infer = infer, .lower = lower, .reference = reference, .rel = 64,
};
tuff_tensor tuff_selective_scan(tuff_tensor u, tuff_tensor delta, tuff_tensor A_, tuff_tensor B_, tuff_tensor C_, const tuff_selective_scan_desc *desc)
{
    return tf_add(u.graph, &tf_op_selective_scan, (tuff_tensor[]){ u, delta, A_, B_, C_ }, 5, desc);
}
