/* selective_step.c - what stands around selective scans: one step of one, the short causal convolution before it with its state,
 * the S5 layer of diagonal states shared by all features, and the layerwise recurrent router. All are compositions. */
#include "anchors.h"
#include "hippo.h"

#include <math.h>
#include <string.h>

/* ---- dwconv_causal --------------------------------------------------------------------------------- */

enum { CX, CW, CBIAS, CSTATE };

static bool conv_infer(tf_infer *c)
{
    const tf_type *x = c->type[CX], *w = c->type[CW];
    for (uint32_t i = 0; i <= CSTATE; i++)
        if (!tf_infer_single(c, i))
            return false;
    if (x->rank != 3 || w->rank != 2)
        return tf_bad(c, TUFF_E_SHAPE, "x needs rank 3, w rank 2 (%s, %s)", tf_src_text(c, CX), tf_src_text(c, CW));
    const int64_t d = x->dim[1], k = w->dim[1];
    if (tf_dim_is_dynamic(k) || k < 1 || k > 64)
        return tf_bad(c, TUFF_E_LIMIT, "w has %s taps; there are 1 to 64", tf_dim_text(c->g, k));
    if (!tf_dim_equal(w->dim[0], d))
        return tf_bad(c, TUFF_E_SHAPE, "x has %s channels, w has %s (%s, %s)", tf_dim_text(c->g, d), tf_dim_text(c->g, w->dim[0]), tf_src_text(c, CX), tf_src_text(c, CW));
    c->n_out = 2;
    c->out[0] = *x;
    c->out[1] = (tf_type){ .dtype = x->dtype, .rank = 3, .dim = { x->dim[0], d, k - 1 } };
    return tf_infer_dims(c, CBIAS, 1, &d) && tf_infer_dims(c, CSTATE, 3, c->out[1].dim);
}

static double past(const tf_ref *r, uint64_t row, int64_t at) /* input `at` of a row; below 0: the state */
{
    const int64_t l = r->src[CX]->dim[2], k = r->src[CW]->dim[1] - 1;
    if (at >= 0)
        return r->src[CX]->re[row * (uint64_t)l + (uint64_t)at];
    return r->src[CSTATE] ? r->src[CSTATE]->re[row * (uint64_t)k + (uint64_t)(k + at)] : 0;
}

static tuff_status conv_reference(tf_ref *r)
{
    const tuff_dwconv_desc *o = r->desc;
    const int64_t l = r->src[CX]->dim[2], d = r->src[CX]->dim[1], k = r->src[CW]->dim[1];
    for (uint64_t row = 0; row < (uint64_t)(r->src[CX]->dim[0] * d); row++) {
        const uint64_t ch = row % (uint64_t)d;
        for (int64_t t = 0; t < l; t++) {
            double y = r->src[CBIAS] ? r->src[CBIAS]->re[ch] : 0;
            for (int64_t j = 0; j < k; j++)
                y += r->src[CW]->re[ch * (uint64_t)k + (uint64_t)j] * past(r, row, t - k + 1 + j);
            r->out[0].re[row * (uint64_t)l + (uint64_t)t] = o->activation == TUFF_DWCONV_SILU ? y / (1 + exp(-y)) : y;
        }
        for (int64_t j = 0; j + 1 < k; j++)
            r->out[1].re[row * (uint64_t)(k - 1) + (uint64_t)j] = past(r, row, l - k + 1 + j);
    }
    return TUFF_OK;
}

static void conv_lower(tf_lower *l)
{
    const tuff_tensor *s = l->src, x = tf_widened(s[CX]), w = tf_widened(s[CW]);
    const int64_t k = tf_ty(w)->dim[1], length = tf_ty(x)->dim[2];
    const tuff_slice_desc time = { .axes = TUFF_INTS(2) };
    tuff_tensor all = x, y = { 0 };
    if (k > 1 && s[CSTATE].id)
        all = tuff_concat((tuff_tensor[]){ tf_widened(s[CSTATE]), x }, 2, 2);
    else if (k > 1)
        all = tuff_pad(x, TUFF_INTS(0, 0, k - 1), TUFF_INTS(0, 0, 0), NULL);
    for (int64_t j = 0; j < k; j++) {
        const tuff_tensor tap = tuff_slice(w, TUFF_INTS(j), TUFF_INTS(j + 1), &(tuff_slice_desc){ .axes = TUFF_INTS(1) });
        const tuff_tensor part = tuff_mul(tuff_slice(all, TUFF_INTS(j), TUFF_INTS(tf_dim_bin(l->g, TUFF_DIM_ADD, length, j)), &time), tap);
        y = j ? tuff_add(y, part) : part;
    }
    if (s[CBIAS].id)
        y = tuff_add(y, tuff_unsqueeze(tf_widened(s[CBIAS]), TUFF_INTS(1)));
    if (((const tuff_dwconv_desc *)l->desc)->activation == TUFF_DWCONV_SILU)
        y = tuff_silu(y);
    if (!y.id)
        return;
    const tuff_dtype t = l->out_type->dtype;
    l->out[0] = tf_cast_to(y, t);
    l->out[1] = tf_cast_to(tuff_slice(all, TUFF_INTS(length), TUFF_INTS(tf_dim_bin(l->g, TUFF_DIM_ADD, length, k - 1)), &time), t);
}

static const char *const activations[] = { "none", "silu", NULL };
static const tf_attr conv_attrs[] = {
    TF_A(tuff_dwconv_desc, bias, TF_ATTR_TENSOR, "[d]"),
    TF_A(tuff_dwconv_desc, state, TF_ATTR_TENSOR, "[b,d,k-1]: the inputs before x, oldest first; absent: 0"),
    TF_A(tuff_dwconv_desc, activation, TF_ATTR_ENUM, "of y", .choices = activations),
};
const tf_op tf_op_dwconv_causal = {
    .name = "dwconv_causal", .doc = "y[t] = sum of w[j] x[t - k + 1 + j] per channel of x[b,d,l], w[d,k] -> y, state[b,d,k-1], the last inputs",
    .operands = "x w", .results = "y state", .kind = TF_COMPOSITE, .attrs = conv_attrs, .attr_count = TF_COUNT(conv_attrs),
    .desc_size = sizeof(tuff_dwconv_desc), .infer = conv_infer, .lower = conv_lower, .reference = conv_reference, .rel = 16,
};
tuff_tensor tuff_dwconv_causal(tuff_tensor x, tuff_tensor w, const tuff_dwconv_desc *desc)
{
    return tf_add(x.graph, &tf_op_dwconv_causal, (tuff_tensor[]){ x, w }, 2, desc);
}

/* ---- selective_state_update ------------------------------------------------------------------------ */

enum { US, UX, UDT, UA, UB, UC, UD, UZ, UBIAS };

static bool update_infer(tf_infer *c)
{
    const tf_type *s = c->type[US], *b = c->type[UB], *cc = c->type[UC];
    if (s->rank != 3)
        return tf_bad(c, TUFF_E_SHAPE, "state needs rank 3 (%s)", tf_src_text(c, US));
    for (int i = 1; i < 3; i++)
        if (tf_dim_is_dynamic(s->dim[i]))
            return tf_bad(c, TUFF_E_SHAPE, "channels and states need fixed sizes (%s)", tf_src_text(c, US));
    const int64_t bd[2] = { s->dim[0], s->dim[1] }, dn[2] = { s->dim[1], s->dim[2] };
    for (uint32_t i = UX; i <= UBIAS; i++)
        if (i != UA && i != UB && i != UC && !tf_infer_single(c, i))
            return false;
    for (uint32_t i = UA; i <= UC; i++)
        if (c->type[i]->dtype != TUFF_C64 && !tf_infer_single(c, i))
            return false;
    if (s->dtype != TUFF_F32 && s->dtype != TUFF_C64)
        return tf_bad(c, TUFF_E_DTYPE, "state is %s; it needs f32 or c64", tuff_dtype_name(s->dtype));
    for (uint32_t i = UA; i <= UC; i++)
        if (c->type[i]->dtype == TUFF_C64 && s->dtype != TUFF_C64)
            return tf_bad(c, TUFF_E_DTYPE, "state is f32, but %s is complex", tf_src_text(c, i));
    if (b->rank == 3 && (tf_dim_is_dynamic(b->dim[1]) || b->dim[1] < 1 || s->dim[1] % b->dim[1]))
        return tf_bad(c, TUFF_E_SHAPE, "the groups of %s do not divide %lld channels", tf_src_text(c, UB), (long long)s->dim[1]);
    const int64_t flat[2] = { s->dim[0], s->dim[2] }, grouped[3] = { s->dim[0], b->rank == 3 ? b->dim[1] : 1, s->dim[2] };
    c->n_out = 2;
    c->out[0] = (tf_type){ .dtype = c->type[UX]->dtype, .rank = 2, .dim = { bd[0], bd[1] } };
    c->out[1] = *s;
    return tf_infer_dims(c, UX, 2, bd) && tf_infer_dims(c, UDT, 2, bd) && tf_infer_dims(c, UZ, 2, bd) && tf_infer_dims(c, UA, 2, dn) && tf_infer_dims(c, UD, 1, &bd[1]) && tf_infer_dims(c, UBIAS, 1, &bd[1]) &&
           tf_infer_dims(c, UB, b->rank == 3 ? 3 : 2, b->rank == 3 ? grouped : flat) && tf_infer_dims(c, UC, cc->rank == 3 ? 3 : 2, cc->rank == 3 ? grouped : flat);
}

static tf_scalar element(const tf_ref_tensor *t, uint64_t i) { return (tf_scalar){ t->re[i], t->im ? t->im[i] : 0 }; }
static uint64_t per_channel(const tf_ref_tensor *t, uint64_t b, uint64_t d, uint64_t channels, uint64_t n)
{
    const uint64_t groups = t->rank == 3 ? (uint64_t)t->dim[1] : 1, states = (uint64_t)t->dim[t->rank - 1];
    return (b * groups + d / (channels / groups)) * states + n;
}

static tuff_status update_reference(tf_ref *r)
{
    const tf_ref_tensor *const *s = r->src;
    const uint64_t channels = (uint64_t)s[US]->dim[1], states = (uint64_t)s[US]->dim[2];
    const bool complex = s[US]->im != NULL;
    for (uint64_t bd = 0; bd < r->out[0].n; bd++) {
        const uint64_t b = bd / channels, d = bd % channels;
        double dt = s[UDT]->re[bd] + (s[UBIAS] ? s[UBIAS]->re[d] : 0), y = 0;
        if (((const tuff_state_update_desc *)r->desc)->dt_softplus)
            dt = tf_softplus(dt);
        for (uint64_t n = 0; n < states; n++) {
            const tf_scalar a = element(s[UA], d * states + n), bn = element(s[UB], per_channel(s[UB], b, d, channels, n));
            const tf_scalar cn = element(s[UC], per_channel(s[UC], b, d, channels, n)), h = element(s[US], bd * states + n);
            const double m = exp(dt * a.re), er = m * cos(dt * a.im), ei = m * sin(dt * a.im), in = dt * s[UX]->re[bd];
            const tf_scalar next = { er * h.re - ei * h.im + in * bn.re, er * h.im + ei * h.re + in * bn.im };
            y += complex ? 2 * (cn.re * next.re - cn.im * next.im) : cn.re * next.re;
            r->out[1].re[bd * states + n] = next.re;
            if (complex)
                r->out[1].im[bd * states + n] = next.im;
        }
        if (s[UD])
            y += s[UD]->re[d] * s[UX]->re[bd];
        r->out[0].re[bd] = s[UZ] ? y * s[UZ]->re[bd] / (1 + exp(-s[UZ]->re[bd])) : y;
    }
    return TUFF_OK;
}

static tuff_tensor with_step(tuff_tensor x) { return x.id ? tuff_unsqueeze(x, TUFF_INTS(tf_ty(x)->rank)) : x; }

static void update_lower(tf_lower *l)
{
    const tuff_tensor *s = l->src;
    const tuff_selective_scan_desc d = { .D = s[UD], .z = with_step(s[UZ]), .delta_bias = s[UBIAS], .h0 = s[US],
                                         .delta_softplus = ((const tuff_state_update_desc *)l->desc)->dt_softplus };
    const tuff_tensor y = tuff_selective_scan(with_step(s[UX]), with_step(s[UDT]), s[UA], with_step(s[UB]), with_step(s[UC]), &d);
    if (!y.id)
        return;
    l->out[0] = tuff_squeeze(y, &(tuff_squeeze_desc){ .axes = TUFF_INTS(2) });
    l->out[1] = tuff_result(y, 1);
}

static const tf_attr update_attrs[] = {
    TF_A(tuff_state_update_desc, D, TF_ATTR_TENSOR, "[d]: y += D x"),
    TF_A(tuff_state_update_desc, z, TF_ATTR_TENSOR, "[b,d]: y *= silu(z), after D"),
    TF_A(tuff_state_update_desc, dt_bias, TF_ATTR_TENSOR, "[d]: added to dt"),
    TF_A(tuff_state_update_desc, dt_softplus, TF_ATTR_BOOL, "dt becomes softplus(dt), after the bias"),
};
const tf_op tf_op_selective_state_update = {
    .name = "selective_state_update", .doc = "one step of selective_scan: state[b,d,n], x and dt[b,d], A[d,n], B and C[b,(g,)n] -> y[b,d], state",
    .source = "Gu, Dao 2023, arXiv 2312.00752", .operands = "state x dt A B C", .results = "y state", .kind = TF_COMPOSITE, .attrs = update_attrs,
    .attr_count = TF_COUNT(update_attrs), .desc_size = sizeof(tuff_state_update_desc), .infer = update_infer, .lower = update_lower,
    .reference = update_reference, .rel = 32,
};
tuff_tensor tuff_selective_state_update(tuff_tensor state, tuff_tensor x, tuff_tensor dt, tuff_tensor A, tuff_tensor B, tuff_tensor C, const tuff_state_update_desc *desc)
{
    return tf_add(state.graph, &tf_op_selective_state_update, (tuff_tensor[]){ state, x, dt, A, B, C }, 6, desc);
}

/* ---- s5_scan --------------------------------------------------------------------------------------- */

enum { SU, SLAM, SB, SC, SDT, SD };

static bool s5_infer(tf_infer *c)
{
    const tuff_s5_desc *d = c->desc;
    const tf_type *u = c->type[SU], *lam = c->type[SLAM];
    if (!tf_infer_single(c, SU) || !tf_infer_single(c, SDT) || !tf_infer_single(c, SD))
        return false;
    for (uint32_t i = SLAM; i <= SC; i++)
        if (c->type[i]->dtype != TUFF_C64)
            return tf_bad(c, TUFF_E_DTYPE, "%s needs to be c64", tf_src_text(c, i));
    if (u->rank != 3 || lam->rank != 1)
        return tf_bad(c, TUFF_E_SHAPE, "u needs rank 3, lam rank 1 (%s, %s)", tf_src_text(c, SU), tf_src_text(c, SLAM));
    const int64_t h = u->dim[2], p = lam->dim[0];
    c->out[0] = *u;
    return tf_infer_dims(c, SB, 2, (int64_t[]){ p, h }) && tf_infer_dims(c, SC, 2, (int64_t[]){ h, d->bidirectional ? tf_dim_bin(c->g, TUFF_DIM_MUL, p, 2) : p }) && tf_infer_dims(c, SDT, 1, &p) &&
           tf_infer_dims(c, SD, 1, &h);
}

/* States of one batch entry in one direction, and what they add to y. */
static void s5_direction(tf_ref *r, uint64_t b, bool reverse, tf_scalar *x)
{
    const tuff_s5_desc *o = r->desc;
    const tf_ref_tensor *u = r->src[SU], *c = r->src[SC];
    const uint64_t l = (uint64_t)u->dim[1], h = (uint64_t)u->dim[2], p = (uint64_t)r->src[SLAM]->dim[0], columns = (uint64_t)c->dim[1];
    for (uint64_t m = 0; m < p; m++)
        x[m] = (tf_scalar){ 0, 0 };
    for (uint64_t i = 0; i < l; i++) {
        const uint64_t at = (b * l + (reverse ? l - 1 - i : i)) * h;
        for (uint64_t m = 0; m < p; m++) {
            tf_scalar lam = element(r->src[SLAM], m), ab, bb, in = { 0, 0 };
            if (o->clip)
                lam.re = fmin(lam.re, -1e-4);
            tf_discretize(o->disc, lam, exp(r->src[SDT]->re[m]), &ab, &bb);
            for (uint64_t j = 0; j < h; j++) {
                in.re += r->src[SB]->re[m * h + j] * u->re[at + j];
                in.im += r->src[SB]->im[m * h + j] * u->re[at + j];
            }
            const tf_scalar a = tf_cx_mul(ab, x[m]), g = tf_cx_mul(bb, in);
            x[m] = (tf_scalar){ a.re + g.re, a.im + g.im };
            for (uint64_t j = 0; j < h; j++) {
                const tf_scalar y = tf_cx_mul(element(c, j * columns + m + (reverse ? p : 0)), x[m]);
                r->out[0].re[at + j] += (o->full ? 1 : 2) * y.re;
            }
        }
    }
}

static tuff_status s5_reference(tf_ref *r)
{
    const tuff_s5_desc *o = r->desc;
    const uint64_t h = (uint64_t)r->src[SU]->dim[2];
    tf_scalar *x = tf_arena_array(r->scratch, tf_scalar, (size_t)r->src[SLAM]->dim[0] + 1);
    if (!x)
        return TUFF_E_MEMORY;
    for (uint64_t i = 0; i < r->out[0].n; i++)
        r->out[0].re[i] = r->src[SD] ? r->src[SD]->re[i % h] * r->src[SU]->re[i] : 0;
    for (uint64_t b = 0; b < (uint64_t)r->src[SU]->dim[0]; b++) {
        s5_direction(r, b, false, x);
        if (o->bidirectional)
            s5_direction(r, b, true, x);
    }
    return TUFF_OK;
}

static void s5_lower(tf_lower *l)
{
    const tuff_s5_desc *o = l->desc;
    const tuff_tensor *s = l->src, u = tf_widened(s[SU]);
    const int64_t p = tf_ty(s[SLAM])->dim[0];
    const tuff_matmul_desc by_rows = { .transpose_b = true };
    const tuff_slice_desc last = { .axes = TUFF_INTS(2) };
    tuff_tensor lam = s[SLAM];
    if (o->clip)
        lam = tuff_complex(tuff_minimum(tuff_real(lam), tuff_literal(l->g, -1e-4, TUFF_F32)), tuff_imag(lam));
    lam = tuff_unsqueeze(lam, TUFF_INTS(1));
    const tuff_tensor one = tuff_expand(tuff_literal(l->g, 1, TUFF_C64), (tuff_shape){ .rank = 2, .dim = { p, 1 } });
    const tuff_tensor ab = tuff_discretize(lam, one, tuff_exp(tf_widened(s[SDT])), &(tuff_discretize_desc){ .method = o->disc });
    const tuff_tensor b = tuff_mul(tuff_result(ab, 1), s[SB]);
    /* real products: [Re; Im] rows of b in, [Re, -Im] columns of c out */
    const tuff_tensor in = tuff_matmul(u, tuff_concat((tuff_tensor[]){ tuff_real(b), tuff_imag(b) }, 2, 0), &by_rows);
    const tuff_tensor bu = tuff_complex(tuff_slice(in, TUFF_INTS(0), TUFF_INTS(p), &last), tuff_slice(in, TUFF_INTS(p), TUFF_INTS(tf_dim_bin(l->g, TUFF_DIM_MUL, p, 2)), &last));
    const tuff_tensor a = tuff_squeeze(ab, &(tuff_squeeze_desc){ .axes = TUFF_INTS(1) });
    tuff_tensor x = tuff_linear_scan(a, bu, 1, NULL);
    if (o->bidirectional)
        x = tuff_concat((tuff_tensor[]){ x, tuff_linear_scan(a, bu, 1, &(tuff_scan_desc){ .reverse = true }) }, 2, 2);
    const tuff_tensor states = tuff_concat((tuff_tensor[]){ tuff_real(x), tuff_imag(x) }, 2, 2);
    const tuff_tensor c = tuff_concat((tuff_tensor[]){ tuff_real(s[SC]), tuff_neg(tuff_imag(s[SC])) }, 2, 1);
    tuff_tensor y = tuff_matmul(states, c, &by_rows);
    if (!o->full)
        y = tuff_mul(y, tuff_literal(l->g, 2, TUFF_F32));
    if (s[SD].id)
        y = tuff_add(y, tuff_mul(u, tf_widened(s[SD])));
    if (y.id)
        l->out[0] = tf_cast_to(y, l->out_type->dtype);
}

static const tf_attr s5_attrs[] = {
    TF_A(tuff_s5_desc, D, TF_ATTR_TENSOR, "[h]: y += D u"),
    TF_A(tuff_s5_desc, disc, TF_ATTR_ENUM, "discretisation", .choices = tf_discretizations),
    TF_A(tuff_s5_desc, bidirectional, TF_ATTR_BOOL, "a second scan from the end; C holds its columns behind those of the first"),
    TF_A(tuff_s5_desc, full, TF_ATTR_BOOL, "all modes are given, not one of each conjugate pair: no factor 2"),
    TF_A(tuff_s5_desc, clip, TF_ATTR_BOOL, "Re(lam) <= -1e-4"),
};
const tf_op tf_op_s5_scan = {
    .name = "s5_scan", .doc = "x[t] = Ab x[t-1] + Bb u[t], y = 2 Re(C x) + D u over u[b,l,h], lam[p], B[p,h], C[h,p], log_step[p] -> y[b,l,h]",
    .source = "Smith, Warrington, Linderman 2023, arXiv 2208.04933", .operands = "u lam B C log_step", .kind = TF_COMPOSITE, .attrs = s5_attrs,
    .attr_count = TF_COUNT(s5_attrs), .desc_size = sizeof(tuff_s5_desc), .infer = s5_infer, .lower = s5_lower, .reference = s5_reference, .rel = 64,
};
tuff_tensor tuff_s5_scan(tuff_tensor u, tuff_tensor lam, tuff_tensor B, tuff_tensor C, tuff_tensor log_step, const tuff_s5_desc *desc)
{
    return tf_add(u.graph, &tf_op_s5_scan, (tuff_tensor[]){ u, lam, B, C, log_step }, 5, desc);
}
