/* guidance.c - what acts on a denoised estimate or on the state between network and solver: guidance, thresholds, and
 * solver_step, the update that executes a row of solver_table.
 *
 * Everything is a composite of pointwise work and per-sample reductions; solver_step is one map per result over the row of
 * coefficients, so a step is one kernel and a table can be exchanged without recompiling. Norms are per sample. f32. */
#include "anchors.h"
#include "ops.h"
#include "schedule.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- shared ---- */

static bool alike(tf_infer *c)
{
    for (uint32_t i = 0; i < c->n_src; i++) {
        const tf_type *t = c->type[i], *x = c->type[0];
        if (!t) continue;
        if (t->dtype != TUFF_F32) return tf_bad(c, TUFF_E_DTYPE, "%s must be f32", tf_src_text(c, i));
        bool same = t->rank == x->rank && x->rank >= 1;
        for (int32_t k = 0; same && k < x->rank; k++) same = tf_dim_equal(t->dim[k], x->dim[k]);
        if (!same) return tf_bad(c, TUFF_E_SHAPE, "%s must have the shape of %s, with a batch axis", tf_src_text(c, i), tf_src_text(c, 0));
    }
    c->out[0] = *c->type[0];
    return true;
}

static tuff_tensor number(tf_lower *l, double v) { return tuff_literal(l->g, v, TUFF_F32); }
static uint64_t sample_elements(const tf_ref *r) { return r->src[0]->n && r->src[0]->dim[0] ? r->src[0]->n / (uint64_t)r->src[0]->dim[0] : 1; }

/* All axes but the first. */
static tuff_ints inner_axes(const tf_type *t)
{
    tuff_ints axes = { .n = 0 };
    for (int32_t i = 1; i < t->rank; i++) axes.v[axes.n++] = i;
    return axes;
}
/* Sum over the axes, kept; of a [batch] tensor: itself. */
static tuff_tensor kept_sum(tuff_tensor x, tuff_ints axes) { return axes.n ? tuff_sum(x, &(tuff_reduce_desc){ .axes = axes, .keep = true }) : x; }

/* ---- classifier-free guidance ---- */

/* Sources: the estimates, then scale and level. */
typedef struct cfg_desc {
    tuff_tensor scale, level;
    double low, high;
} cfg_desc;

static bool cfg_infer(tf_infer *c)
{
    tf_infer values = *c;
    const uint32_t n = tf_positional(c->op, c->n_src, c->desc);
    const cfg_desc *d = c->desc;
    const tf_type *s = c->n_src > n ? c->type[n] : NULL, *level = c->n_src > n + 1 ? c->type[n + 1] : NULL;
    values.n_src = n;
    if (n < 2) return tf_bad(c, TUFF_E_ARGUMENT, "one estimate is no guidance; the unconditional one is followed by conditional ones");
    if (!s) return tf_bad(c, TUFF_E_ARGUMENT, "the operand scale is missing");
    if (!alike(&values)) return false;
    c->out[0] = values.out[0];
    if (level && (level->dtype != TUFF_F32 || level->rank != 0)) return tf_bad(c, TUFF_E_SHAPE, "%s must be f32 of rank 0", tf_src_text(c, n + 1));
    if (!level && (d->low != 0 || d->high != 0)) return tf_bad(c, TUFF_E_ARGUMENT, "an interval needs the operand level");
    if (d->high != 0 && d->low >= d->high) return tf_bad(c, TUFF_E_ATTRIBUTE, "low is %g, high %g; low must be smaller", d->low, d->high);
    if (s->dtype != TUFF_F32) return tf_bad(c, TUFF_E_DTYPE, "%s must be f32", tf_src_text(c, n));
    if (s->rank == 0 || (s->rank == 1 && (s->dim[0] == 1 || s->dim[0] == (int64_t)n - 1))) return true;
    return tf_bad(c, TUFF_E_SHAPE, "%s must be one number or one per condition", tf_src_text(c, n));
}
static void cfg_lower(tf_lower *l)
{
    const cfg_desc *d = l->desc;
    const uint32_t n = l->n_src - 2;
    const tuff_tensor s = l->src[n];
    tuff_tensor y = l->src[0], inside = { NULL, 0 };
    if (l->src[n + 1].id) {
        inside = tuff_greater(l->src[n + 1], number(l, d->low));
        if (d->high != 0) inside = tuff_logical_and(inside, tuff_less_equal(l->src[n + 1], number(l, d->high)));
    }
    for (uint32_t k = 1; k < n && n >= 2; k++) {
        const bool one = tf_ty(s)->rank == 0 || tf_ty(s)->dim[0] == 1;
        tuff_tensor w = tf_reshaped(one ? s : tuff_slice(s, TUFF_INTS((int64_t)k - 1), TUFF_INTS((int64_t)k), NULL), 0, NULL);
        if (inside.id) w = tuff_where(inside, w, number(l, 1));
        y = tuff_add(y, tuff_mul(w, tuff_sub(l->src[k], l->src[0])));
    }
    l->out[0] = y;
}
static tuff_status cfg_reference(tf_ref *r)
{
    const cfg_desc *d = r->desc;
    const uint32_t n = r->n_src - 2;
    const tf_ref_tensor *s = r->src[n], *level = r->src[n + 1];
    const bool outside = level && (level->re[0] <= d->low || (d->high != 0 && level->re[0] > d->high));
    for (uint64_t i = 0; i < r->out[0].n; i++) {
        double y = r->src[0]->re[i];
        for (uint32_t k = 1; k < n; k++) y += (outside ? 1 : s->n == 1 ? s->re[0] : s->re[k - 1]) * (r->src[k]->re[i] - r->src[0]->re[i]);
        r->out[0].re[i] = y;
    }
    return TUFF_OK;
}
static const tf_attr cfg_attrs[] = {
    TF_A(cfg_desc, scale, TF_ATTR_TENSOR, "one number, or one per condition; it must be given"),
    TF_A(cfg_desc, level, TF_ATTR_TENSOR, "the noise level, rank 0: outside (low, high] the scales are 1; absent: no interval"),
    TF_A(cfg_desc, low, TF_ATTR_DOUBLE, "guidance acts above this level", .min = 0, .max = 1e30), TF_A(cfg_desc, high, TF_ATTR_DOUBLE, "and up to this one; 0: any", .min = 0, .max = 1e30),
};
const tf_op tf_op_cfg = { .name = "cfg", .doc = "xs = unconditional, conditional.. [b, ..] -> xs0 + sum_k scale_k (xs_k - xs0)", .source = "arXiv:2207.12598, arXiv:2206.01714, arXiv:2404.07724",
    .operands = "xs...", .kind = TF_COMPOSITE, .attrs = cfg_attrs, .attr_count = TF_COUNT(cfg_attrs), .desc_size = sizeof(cfg_desc), .infer = cfg_infer,
    .reference = cfg_reference, .lower = cfg_lower, .rel = 32 };
tuff_tensor tuff_cfg(const tuff_tensor *xs, uint32_t n, tuff_tensor scale, const tuff_cfg_desc *desc)
{
    cfg_desc d = { .scale = scale };
    if (desc) d = (cfg_desc){ scale, desc->level, desc->low, desc->high };
    return tf_add(NULL, &tf_op_cfg, xs, n, &d);
}

/* ---- adaptive projected guidance ---- */

typedef struct apg_desc {
    tuff_tensor momentum;
    double scale, eta, limit, beta;
    tuff_ints axes;
} apg_desc;

static bool apg_infer(tf_infer *c)
{
    apg_desc *d = c->mut;
    if (!alike(c)) return false;
    for (int32_t i = 0; i < d->axes.n; i++) {
        int32_t axis;
        if (!tf_axis(c, d->axes.v[i], c->type[0]->rank, &axis)) return false;
        d->axes.v[i] = axis;
    }
    if (!d->axes.n) d->axes = inner_axes(c->type[0]);
    c->out[1] = c->out[0];
    c->n_out = 2;
    return true;
}
/* One pass over cond and uncond gives |d|^2, d.cond and |cond|^2: the limit is a factor on all of d. */
static void apg_lower(tf_lower *l)
{
    const apg_desc *d = l->desc;
    const tuff_tensor cond = l->src[0];
    tuff_tensor diff = tuff_sub(cond, l->src[1]);
    if (l->n_src > 2 && l->src[2].id) diff = tuff_add(diff, tuff_mul(number(l, d->beta), l->src[2]));
    if (l->want[1]) l->out[1] = diff;
    if (!l->want[0]) return;
    const tuff_tensor along = tuff_div(kept_sum(tuff_mul(diff, cond), d->axes), kept_sum(tuff_square(cond), d->axes));
    tuff_tensor w = number(l, d->scale - 1);
    if (d->limit > 0) {
        const tuff_tensor size = tuff_sqrt(kept_sum(tuff_square(diff), d->axes));
        w = tuff_mul(w, tuff_minimum(number(l, 1), tuff_div(number(l, d->limit), size)));
    }
    const tuff_tensor parallel = tuff_mul(along, cond);
    l->out[0] = tuff_add(cond, tuff_mul(w, tuff_add(tuff_sub(diff, parallel), tuff_mul(number(l, d->eta), parallel))));
}

/* The group of axes that an element belongs to: its coordinates on the others. */
static uint64_t group_of(const tf_ref_tensor *t, const tuff_ints *axes, const int64_t *at)
{
    uint64_t g = 0;
    for (int32_t i = 0; i < t->rank; i++) {
        bool inside = false;
        for (int32_t k = 0; k < axes->n; k++) inside = inside || axes->v[k] == i;
        g = inside ? g : g * (uint64_t)t->dim[i] + (uint64_t)at[i];
    }
    return g;
}
static tuff_status apg_reference(tf_ref *r)
{
    const apg_desc *d = r->desc;
    const tf_ref_tensor *x = r->src[0];
    double *dd = tf_arena_array(r->scratch, double, x->n + 1), *dc = tf_arena_array(r->scratch, double, x->n + 1), *cc = tf_arena_array(r->scratch, double, x->n + 1);
    if (!dd || !dc || !cc) return TUFF_E_MEMORY;
    for (int pass = 0; pass < 2; pass++) {
        int64_t at[TUFF_MAX_RANK] = { 0 };
        for (uint64_t i = 0; i < x->n; i++, tf_ref_next(x, at)) {
            const uint64_t g = group_of(x, &d->axes, at);
            const double diff = x->re[i] - r->src[1]->re[i] + (r->n_src > 2 && r->src[2] ? d->beta * r->src[2]->re[i] : 0);
            r->out[1].re[i] = diff;
            if (pass == 0) {
                dd[g] += diff * diff;
                dc[g] += diff * x->re[i];
                cc[g] += x->re[i] * x->re[i];
            } else {
                const double clip = d->limit > 0 ? fmin(1, d->limit / sqrt(dd[g])) : 1, parallel = dc[g] / cc[g] * x->re[i];
                r->out[0].re[i] = x->re[i] + (d->scale - 1) * clip * (diff - parallel + d->eta * parallel);
            }
        }
    }
    return TUFF_OK;
}
static const tf_attr apg_attrs[] = {
    TF_A(apg_desc, momentum, TF_ATTR_TENSOR, "result 1 of the step before; absent: 0"),
    TF_A(apg_desc, scale, TF_ATTR_DOUBLE, "guidance scale", .required = true), TF_A(apg_desc, eta, TF_ATTR_DOUBLE, "how much of the part along cond stays"),
    TF_A(apg_desc, limit, TF_ATTR_DOUBLE, "largest norm of the difference; 0: none"), TF_A(apg_desc, beta, TF_ATTR_DOUBLE, "factor on momentum, usually negative"),
    TF_A(apg_desc, axes, TF_ATTR_INTS, "axes of the norms; empty: all but the first"),
};
const tf_op tf_op_apg = { .name = "apg", .doc = "cond, uncond [b, ..] -> guided, momentum: the difference without its part along cond, of limited norm",
    .source = "arXiv:2410.02416", .operands = "cond uncond", .results = "guided momentum_out", .kind = TF_COMPOSITE, .attrs = apg_attrs, .attr_count = TF_COUNT(apg_attrs),
    .desc_size = sizeof(apg_desc), .infer = apg_infer, .reference = apg_reference, .lower = apg_lower, .rel = 64 };
tuff_tensor tuff_apg(tuff_tensor cond, tuff_tensor uncond, double scale, const tuff_apg_desc *desc)
{
    apg_desc d = { .scale = scale };
    if (desc) d = (apg_desc){ desc->momentum, scale, desc->eta, desc->limit, desc->beta, desc->axes };
    return tf_add(NULL, &tf_op_apg, (tuff_tensor[]){ cond, uncond }, 2, &d);
}

/* ---- rescaled guidance, CFG-Zero*, classifier guidance ---- */

typedef struct rescale_desc { double scale, rescale; } rescale_desc;

static bool cfg_rescale_infer(tf_infer *c) { return alike(c); }
static void cfg_rescale_lower(tf_lower *l)
{
    const rescale_desc *d = l->desc;
    const tuff_ints axes = inner_axes(tf_ty(l->src[0]));
    const tuff_tensor g = tuff_add(l->src[1], tuff_mul(number(l, d->scale), tuff_sub(l->src[0], l->src[1])));
    const tuff_variance_desc deviation = { .axes = axes, .keep = true };
    const tuff_tensor ratio = tuff_div(tuff_std(l->src[0], &deviation), tuff_std(g, &deviation));
    l->out[0] = tuff_mul(g, tuff_add(tuff_mul(number(l, d->rescale), ratio), number(l, 1 - d->rescale)));
}
static double deviation_of(const double *x, const double *u, double w, uint64_t n)
{
    double mean = 0, v = 0;
    for (uint64_t i = 0; i < n; i++) mean += (u ? u[i] + w * (x[i] - u[i]) : x[i]) / (double)n;
    for (uint64_t i = 0; i < n; i++) {
        const double e = (u ? u[i] + w * (x[i] - u[i]) : x[i]) - mean;
        v += e * e;
    }
    return sqrt(v / (double)n);
}
static tuff_status cfg_rescale_reference(tf_ref *r)
{
    const rescale_desc *d = r->desc;
    const uint64_t n = sample_elements(r);
    for (uint64_t b = 0; b * n < r->out[0].n; b++) {
        const double *c = r->src[0]->re + b * n, *u = r->src[1]->re + b * n, ratio = deviation_of(c, NULL, 0, n) / deviation_of(c, u, d->scale, n);
        for (uint64_t i = 0; i < n; i++) r->out[0].re[b * n + i] = (u[i] + d->scale * (c[i] - u[i])) * (d->rescale * ratio + 1 - d->rescale);
    }
    return TUFF_OK;
}
static const tf_attr rescale_attrs[] = { TF_A(rescale_desc, scale, TF_ATTR_DOUBLE, "guidance scale", .required = true),
                                         TF_A(rescale_desc, rescale, TF_ATTR_DOUBLE, "0: plain guidance, 1: the standard deviation of cond", .required = true) };
const tf_op tf_op_cfg_rescale = { .name = "cfg_rescale", .doc = "cond, uncond [b, ..] -> guided G moved toward the standard deviation of cond, per sample: phi G std(cond)/std(G) + (1 - phi) G",
    .source = "arXiv:2305.08891", .operands = "cond uncond", .kind = TF_COMPOSITE, .attrs = rescale_attrs, .attr_count = TF_COUNT(rescale_attrs),
    .desc_size = sizeof(rescale_desc), .infer = cfg_rescale_infer, .reference = cfg_rescale_reference, .lower = cfg_rescale_lower, .rel = 64 };
tuff_tensor tuff_cfg_rescale(tuff_tensor cond, tuff_tensor uncond, double scale, double rescale)
{
    return tf_add(NULL, &tf_op_cfg_rescale, (tuff_tensor[]){ cond, uncond }, 2, &(rescale_desc){ scale, rescale });
}

typedef struct zero_star_desc { double scale; } zero_star_desc;
static bool cfg_zero_star_infer(tf_infer *c) { return alike(c); }
static void cfg_zero_star_lower(tf_lower *l)
{
    const tuff_ints axes = inner_axes(tf_ty(l->src[0]));
    const tuff_tensor k = tuff_div(kept_sum(tuff_mul(l->src[0], l->src[1]), axes), kept_sum(tuff_square(l->src[1]), axes)), base = tuff_mul(k, l->src[1]);
    l->out[0] = tuff_add(base, tuff_mul(number(l, ((const zero_star_desc *)l->desc)->scale), tuff_sub(l->src[0], base)));
}
static tuff_status cfg_zero_star_reference(tf_ref *r)
{
    const uint64_t n = sample_elements(r);
    for (uint64_t b = 0; b * n < r->out[0].n; b++) {
        const double *c = r->src[0]->re + b * n, *u = r->src[1]->re + b * n;
        double cu = 0, uu = 0;
        for (uint64_t i = 0; i < n; i++) { cu += c[i] * u[i]; uu += u[i] * u[i]; }
        for (uint64_t i = 0; i < n; i++) r->out[0].re[b * n + i] = cu / uu * u[i] + ((const zero_star_desc *)r->desc)->scale * (c[i] - cu / uu * u[i]);
    }
    return TUFF_OK;
}
static const tf_attr zero_star_attrs[] = { TF_A(zero_star_desc, scale, TF_ATTR_DOUBLE, "guidance scale", .required = true) };
const tf_op tf_op_cfg_zero_star = { .name = "cfg_zero_star", .doc = "cond, uncond [b, ..] -> k uncond + scale (cond - k uncond), k = <cond, uncond>/|uncond|^2 per sample",
    .source = "arXiv:2503.18886", .operands = "cond uncond", .kind = TF_COMPOSITE, .attrs = zero_star_attrs, .attr_count = TF_COUNT(zero_star_attrs),
    .desc_size = sizeof(zero_star_desc), .infer = cfg_zero_star_infer, .reference = cfg_zero_star_reference, .lower = cfg_zero_star_lower, .rel = 64 };
tuff_tensor tuff_cfg_zero_star(tuff_tensor cond, tuff_tensor uncond, double scale)
{
    return tf_add(NULL, &tf_op_cfg_zero_star, (tuff_tensor[]){ cond, uncond }, 2, &(zero_star_desc){ scale });
}

static bool classifier_guidance_infer(tf_infer *c)
{
    tf_infer values = *c;
    values.n_src = 2;
    if (!alike(&values)) return false;
    c->out[0] = values.out[0];
    for (uint32_t i = 2; i < 4; i++)
        if (c->type[i]->dtype != TUFF_F32 || c->type[i]->rank != 0) return tf_bad(c, TUFF_E_SHAPE, "%s must be f32 of rank 0", tf_src_text(c, i));
    return true;
}
static void classifier_guidance_lower(tf_lower *l)
{
    const tuff_tensor w = tuff_mul(number(l, ((const zero_star_desc *)l->desc)->scale), tuff_div(tuff_square(l->src[3]), l->src[2]));
    l->out[0] = tuff_add(l->src[0], tuff_mul(w, l->src[1]));
}
static tuff_status classifier_guidance_reference(tf_ref *r)
{
    const double a = r->src[2]->re[0], s = r->src[3]->re[0];
    for (uint64_t i = 0; i < r->out[0].n; i++) r->out[0].re[i] = r->src[0]->re[i] + s * s / a * ((const zero_star_desc *)r->desc)->scale * r->src[1]->re[i];
    return TUFF_OK;
}
const tf_op tf_op_classifier_guidance = { .name = "classifier_guidance", .doc = "d, grad = d log p(class | x)/dx [b, ..] -> d + sigma^2/alpha scale grad",
    .source = "arXiv:2105.05233", .operands = "d grad alpha sigma", .kind = TF_COMPOSITE, .attrs = zero_star_attrs, .attr_count = TF_COUNT(zero_star_attrs),
    .desc_size = sizeof(zero_star_desc), .infer = classifier_guidance_infer, .reference = classifier_guidance_reference, .lower = classifier_guidance_lower, .rel = 16 };
tuff_tensor tuff_classifier_guidance(tuff_tensor d, tuff_tensor grad, tuff_tensor alpha, tuff_tensor sigma, double scale)
{
    return tf_add(NULL, &tf_op_classifier_guidance, (tuff_tensor[]){ d, grad, alpha, sigma }, 4, &(zero_star_desc){ scale });
}

/* ---- dynamic threshold ---- */

typedef struct threshold_desc { double quantile, most; } threshold_desc;

static bool dynamic_threshold_infer(tf_infer *c)
{
    if (!alike(c)) return false;
    for (int32_t i = 0; i < c->type[0]->rank; i++)
        if (tf_dim_is_dynamic(c->type[0]->dim[i]) && i > 0) return tf_bad(c, TUFF_E_SHAPE, "the samples of %s have a dynamic size", tf_src_text(c, 0));
    return true;
}
static void dynamic_threshold_lower(tf_lower *l)
{
    const threshold_desc *d = l->desc;
    const tf_type t = *tf_ty(l->src[0]);
    const int64_t n = tf_dim_product(l->g, t.dim, 1, t.rank);
    if (n == 0) { l->out[0] = l->src[0]; return; }
    const double place = d->quantile * (double)(n - 1), low = floor(place), w = place - low;
    const tuff_tensor rows = tf_reshaped(l->src[0], 2, (const int64_t[]){ t.dim[0], n }), sorted = tuff_sort(tuff_abs(rows), 1, NULL);
    const int64_t k = (int64_t)low, next = k + 1 < n ? k + 1 : k;
    const tuff_slice_desc along = { .axes = TUFF_INTS(1) };
    const tuff_tensor a = tuff_slice(sorted, TUFF_INTS(k), TUFF_INTS(k + 1), &along), b = tuff_slice(sorted, TUFF_INTS(next), TUFF_INTS(next + 1), &along);
    tuff_tensor q = tuff_maximum(tuff_add(a, tuff_mul(number(l, w), tuff_sub(b, a))), number(l, 1));
    if (d->most > 0) q = tuff_minimum(q, number(l, d->most));
    l->out[0] = tf_reshaped(tuff_div(tuff_clamp(rows, tuff_neg(q), q), q), t.rank, t.dim);
}
static int rising(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}
static tuff_status dynamic_threshold_reference(tf_ref *r)
{
    const threshold_desc *d = r->desc;
    const uint64_t n = sample_elements(r);
    double *sorted = tf_arena_array(r->scratch, double, n + 1);
    if (!sorted) return TUFF_E_MEMORY;
    for (uint64_t b = 0; b * n < r->out[0].n; b++) {
        const double *x = r->src[0]->re + b * n, place = d->quantile * (double)(n - 1);
        for (uint64_t i = 0; i < n; i++) sorted[i] = fabs(x[i]);
        qsort(sorted, (size_t)n, sizeof *sorted, rising);
        const uint64_t k = (uint64_t)place, next = k + 1 < n ? k + 1 : k;
        double q = fmax(1, sorted[k] + (place - (double)k) * (sorted[next] - sorted[k]));
        if (d->most > 0) q = fmin(q, d->most);
        for (uint64_t i = 0; i < n; i++) r->out[0].re[b * n + i] = fmin(fmax(x[i], -q), q) / q;
    }
    return TUFF_OK;
}
static const tf_attr threshold_attrs[] = { TF_A(threshold_desc, quantile, TF_ATTR_DOUBLE, "of |d|, linear between neighbours", .required = true, .min = 0, .max = 1),
                                           TF_A(threshold_desc, most, TF_ATTR_DOUBLE, "largest threshold; 0: none", .min = 0, .max = 1e30) };
const tf_op tf_op_dynamic_threshold = { .name = "dynamic_threshold", .doc = "d[b, ..] -> clip(d, -q, q) / q, q = max(1, quantile of |d| of the sample)", .source = "arXiv:2205.11487",
    .operands = "d", .kind = TF_COMPOSITE, .attrs = threshold_attrs, .attr_count = TF_COUNT(threshold_attrs), .desc_size = sizeof(threshold_desc),
    .infer = dynamic_threshold_infer, .reference = dynamic_threshold_reference, .lower = dynamic_threshold_lower, .rel = 16 };
tuff_tensor tuff_dynamic_threshold(tuff_tensor d, double quantile, double most)
{
    return tf_add(d.graph, &tf_op_dynamic_threshold, &d, 1, &(threshold_desc){ quantile, most });
}

/* ---- a row of a solver table ---- */

/* Sources: table, y, d or f, then those of the desc. */
typedef struct step_desc { tuff_tensor x, m1, m2, m3, noise, step; } step_desc;
typedef struct denoised_desc { tuff_tensor step; } denoised_desc;
enum { R_TABLE, R_Y, R_D, R_X, R_M1, R_M2, R_M3, R_Z, R_STEP };

static bool table_ok(tf_infer *c, uint32_t step)
{
    const tf_type *t = c->type[R_TABLE], *s = step < c->n_src ? c->type[step] : NULL;
    if (s && (s->rank != 0 || s->dtype != TUFF_I32)) return tf_bad(c, TUFF_E_DTYPE, "%s must be i32 of rank 0", tf_src_text(c, step));
    const bool columns = t->dtype == TUFF_F32 && t->rank >= 1 && t->rank <= 2 && t->dim[t->rank - 1] == TUFF_ROW_COLUMNS;
    if (columns && (s ? t->rank == 2 && t->dim[0] != 0 : t->rank == 1 || t->dim[0] == 1)) return true;
    if (s) return tf_bad(c, TUFF_E_SHAPE, "%s is no solver table: f32[rows, %d]", tf_src_text(c, R_TABLE), TUFF_ROW_COLUMNS);
    return tf_bad(c, TUFF_E_SHAPE, "%s is no row of a solver table: f32[%d]; a table needs the operand step", tf_src_text(c, R_TABLE), TUFF_ROW_COLUMNS);
}
static bool states_ok(tf_infer *c, uint32_t step)
{
    const tf_type *y = c->type[R_Y];
    if (!table_ok(c, step)) return false;
    for (uint32_t i = R_Y; i < c->n_src && i < step; i++) {
        const tf_type *t = c->type[i];
        if (!t) continue;
        bool same = t->rank == y->rank && t->dtype == TUFF_F32;
        for (int32_t k = 0; same && k < y->rank; k++) same = tf_dim_equal(t->dim[k], y->dim[k]);
        if (!same) return tf_bad(c, TUFF_E_SHAPE, "%s must be f32 with the shape of %s", tf_src_text(c, i), tf_src_text(c, R_Y));
    }
    c->out[0] = *y;
    return true;
}
static bool solver_step_infer(tf_infer *c)
{
    if (!states_ok(c, R_STEP)) return false;
    c->out[1] = c->out[2] = c->out[0];
    c->n_out = 3;
    return true;
}
static bool given(const tf_lower *l, uint32_t i) { return i < l->n_src && l->src[i].id; }

tuff_tensor tf_table_entry(tuff_tensor table, tuff_tensor step, int column)
{
    tuff_graph *g = table.graph;
    const tf_type t = *tf_ty(table);
    const int64_t n = t.rank == 2 ? tf_dim_bin(g, TUFF_DIM_MUL, t.dim[0], t.dim[1]) : t.dim[0];
    const tuff_tensor flat = tf_reshaped(table, 1, &n);
    if (!step.id) return tf_reshaped(tuff_slice(flat, TUFF_INTS(column), TUFF_INTS((int64_t)column + 1), NULL), 0, NULL);
    const tuff_tensor first = tuff_mul(step, tuff_literal(g, TUFF_ROW_COLUMNS, TUFF_I32));
    return tuff_gather(flat, column ? tuff_add(first, tuff_literal(g, column, TUFF_I32)) : first, 0);
}

/* Coefficients from column `first` times the states that are there; without x, its coefficient joins that of y. */
static tuff_tensor combination(tf_lower *l, tuff_tensor step, tuff_tensor m, int first)
{
    static const int column[R_STEP] = { 0, 1, 0, 0, 3, 4, 5, 6 };
    const tuff_tensor table = l->src[R_TABLE];
    tuff_tensor sum = tuff_mul(tf_table_entry(table, step, first + 2), m);
    for (uint32_t i = R_Y; i < R_STEP; i++) {
        if (i == R_D || !given(l, i)) continue;
        tuff_tensor w = tf_table_entry(table, step, first + column[i]);
        if (i == R_Y && !given(l, R_X)) w = tuff_add(w, tf_table_entry(table, step, first));
        sum = tuff_add(sum, tuff_mul(w, l->src[i]));
    }
    return sum;
}
/* Pointwise rows with one number of the table each: one kernel that also stores what else is wanted. */
static void solver_step_lower(tf_lower *l)
{
    const tuff_tensor step = given(l, R_STEP) ? l->src[R_STEP] : (tuff_tensor){ NULL, 0 }, table = l->src[R_TABLE];
    const tuff_tensor m = tuff_add(tuff_mul(tf_table_entry(table, step, TUFF_ROW_KX), l->src[R_Y]), tuff_mul(tf_table_entry(table, step, TUFF_ROW_KF), l->src[R_D]));
    if (l->want[0]) l->out[0] = combination(l, step, m, TUFF_ROW_Y);
    if (l->want[1]) l->out[1] = combination(l, step, m, TUFF_ROW_X);
    if (l->want[2]) l->out[2] = m;
}

static const double *row_of(const tf_ref *r, uint32_t step)
{
    const int64_t rows = (int64_t)(r->src[R_TABLE]->n / TUFF_ROW_COLUMNS);
    int64_t at = step < r->n_src && r->src[step] ? (int64_t)r->src[step]->re[0] : 0;
    at = TF_MAX(0, TF_MIN(at, rows - 1));
    return r->src[R_TABLE]->re + at * TUFF_ROW_COLUMNS;
}
static tuff_status solver_step_reference(tf_ref *r)
{
    const double *t = row_of(r, R_STEP);
    const tf_ref_tensor *s[R_STEP] = { NULL };
    for (uint32_t i = 0; i < r->n_src && i < R_STEP; i++) s[i] = r->src[i];
    for (uint64_t i = 0; i < r->out[0].n; i++) {
        const double y = s[R_Y]->re[i], x = s[R_X] ? s[R_X]->re[i] : y, m = t[TUFF_ROW_KX] * y + t[TUFF_ROW_KF] * s[R_D]->re[i];
        for (uint32_t k = 0; k < 2; k++) {
            const double *c = t + (k ? TUFF_ROW_X : TUFF_ROW_Y);
            double sum = c[0] * x + c[1] * y + c[2] * m;
            for (uint32_t j = R_M1; j < R_STEP; j++) sum += s[j] ? c[j - R_M1 + 3] * s[j]->re[i] : 0;
            r->out[k].re[i] = sum;
        }
        r->out[2].re[i] = m;
    }
    return TUFF_OK;
}
static const tf_attr step_attrs[] = {
    TF_A(step_desc, x, TF_ATTR_TENSOR, "base state; absent: equal to y"), TF_A(step_desc, m1, TF_ATTR_TENSOR, "memory m of the row before; absent: its column is 0"),
    TF_A(step_desc, m2, TF_ATTR_TENSOR, "m of two rows before"), TF_A(step_desc, m3, TF_ATTR_TENSOR, "m of three rows before"),
    TF_A(step_desc, noise, TF_ATTR_TENSOR, "normal numbers; absent: none"), TF_A(step_desc, step, TF_ATTR_TENSOR, "the row, i32 of rank 0; absent: table is one row"),
};
const tf_op tf_op_solver_step = { .name = "solver_step", .doc = "table[rows, 24], state y, denoised d -> y, x after the row `step`, m = kx y + kf d to remember",
    .source = "the row format of solver_table", .operands = "table y d", .results = "y_next x_next m", .kind = TF_COMPOSITE, .attrs = step_attrs, .attr_count = TF_COUNT(step_attrs),
    .desc_size = sizeof(step_desc), .infer = solver_step_infer, .reference = solver_step_reference, .lower = solver_step_lower, .rel = 32 };
tuff_tensor tuff_solver_step(tuff_tensor table, tuff_tensor y, tuff_tensor d, const tuff_solver_step_desc *desc)
{
    const tuff_solver_step_desc s = desc ? *desc : (tuff_solver_step_desc){ .x = { NULL, 0 } };
    return tf_add(NULL, &tf_op_solver_step, (tuff_tensor[]){ table, y, d }, 3, &(step_desc){ s.x, s.m1, s.m2, s.m3, s.noise, s.step });
}

static bool solver_denoised_infer(tf_infer *c) { return states_ok(c, 3); }
static void solver_denoised_lower(tf_lower *l)
{
    const tuff_tensor step = given(l, 3) ? l->src[3] : (tuff_tensor){ NULL, 0 }, table = l->src[R_TABLE];
    l->out[0] = tuff_add(tuff_mul(tf_table_entry(table, step, TUFF_ROW_PX), l->src[R_Y]), tuff_mul(tf_table_entry(table, step, TUFF_ROW_PF), l->src[R_D]));
}
static tuff_status solver_denoised_reference(tf_ref *r)
{
    const double *t = row_of(r, 3);
    for (uint64_t i = 0; i < r->out[0].n; i++) r->out[0].re[i] = t[TUFF_ROW_PX] * r->src[R_Y]->re[i] + t[TUFF_ROW_PF] * r->src[R_D]->re[i];
    return TUFF_OK;
}
static const tf_attr denoised_attrs[] = { TF_A(denoised_desc, step, TF_ATTR_TENSOR, "the row, i32 of rank 0; absent: table is one row") };
const tf_op tf_op_solver_denoised = { .name = "solver_denoised", .doc = "table[rows, 24], state y, the network's output f -> denoised px y + pf f of the row `step`", .operands = "table y f",
    .kind = TF_COMPOSITE, .attrs = denoised_attrs, .attr_count = TF_COUNT(denoised_attrs), .desc_size = sizeof(denoised_desc), .infer = solver_denoised_infer,
    .reference = solver_denoised_reference, .lower = solver_denoised_lower, .rel = 16 };
tuff_tensor tuff_solver_denoised(tuff_tensor table, tuff_tensor y, tuff_tensor f, tuff_tensor step)
{
    return tf_add(NULL, &tf_op_solver_denoised, (tuff_tensor[]){ table, y, f }, 3, &(denoised_desc){ step });
}
