/* discrete.c - drawing tokens: filtered distributions, inverse sampling, masked diffusion, speculative acceptance.
 *
 * Uniform numbers are operands, so results are functions of them and repeat exactly. Running sums are taken in token order by
 * the scan, in f32. Everything is a composite of softmax, sort, scan and pointwise work; the last axis counts tokens of the
 * vocabulary. */
#include "anchors.h"
#include "ops.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- shared ---- */

static tuff_tensor number(tf_lower *l, double v) { return tuff_literal(l->g, v, TUFF_F32); }
static tuff_tensor whole(tf_lower *l, double v) { return tuff_literal(l->g, v, TUFF_I32); }
static tuff_tensor as_number(tuff_tensor condition) { return tuff_cast(condition, TUFF_F32); }
static tuff_tensor last_sum(tuff_tensor x, bool keep) { return tuff_sum(x, &(tuff_reduce_desc){ .axes = TUFF_INTS(-1), .keep = keep }); }
static tuff_tensor column(tuff_tensor x) { return tuff_unsqueeze(x, TUFF_INTS(tf_ty(x)->rank)); }

static bool is_type(tf_infer *c, uint32_t i, tuff_dtype t)
{
    return c->type[i]->dtype == t || tf_bad(c, TUFF_E_DTYPE, "%s must be %s", tf_src_text(c, i), tuff_dtype_name(t));
}

/* The dims of source i are those of source 0 up to `cut` axes from its end, then the listed ones. */
static bool dims_like(tf_infer *c, uint32_t i, int32_t cut, int32_t more, int64_t d0, int64_t d1, const char *what)
{
    const tf_type *t = c->type[i], *x = c->type[0];
    const int32_t lead = x->rank - cut;
    bool same = t->rank == lead + more;
    for (int32_t k = 0; same && k < lead; k++) same = tf_dim_equal(t->dim[k], x->dim[k]);
    if (same && more > 0) same = d0 < 0 || tf_dim_equal(t->dim[lead], d0);
    if (same && more > 1) same = d1 < 0 || tf_dim_equal(t->dim[lead + 1], d1);
    return same || tf_bad(c, TUFF_E_SHAPE, "%s must be %s, for %s", tf_src_text(c, i), what, tf_src_text(c, 0));
}

/* ---- token_probabilities ---- */

typedef struct filter_desc { double temperature, top_p; int64_t top_k; } filter_desc;

static bool token_probabilities_infer(tf_infer *c)
{
    filter_desc *d = c->mut;
    const tf_type *x = c->type[0];
    if (!is_type(c, 0, TUFF_F32)) return false;
    if (x->rank < 1 || x->dim[x->rank - 1] == 0) return tf_bad(c, TUFF_E_SHAPE, "%s has no tokens on its last axis", tf_src_text(c, 0));
    if (d->temperature == 0) d->temperature = 1;
    if (d->top_p == 0) d->top_p = 1;
    c->out[0] = *x;
    return true;
}

/* In order of falling probability, then back: the place of a token in that order is the inverse permutation. */
static void token_probabilities_lower(tf_lower *l)
{
    const filter_desc *d = l->desc;
    const tf_type t = *tf_ty(l->src[0]);
    const int32_t axis = t.rank - 1;
    const tuff_tensor scaled = tuff_div(l->src[0], number(l, d->temperature));
    if (!d->top_k && d->top_p >= 1) { l->out[0] = tuff_softmax(scaled, axis); return; }
    const tuff_tensor order = tuff_argsort(scaled, axis, &(tuff_sort_desc){ .descending = true }), place = tuff_argsort(order, axis, NULL);
    tuff_tensor p = tuff_softmax(tuff_take_along_axis(scaled, order, axis), axis);
    if (d->top_k) {
        tuff_shape shape = { .rank = t.rank };
        memcpy(shape.dim, t.dim, sizeof shape.dim);
        p = tuff_mul(p, as_number(tuff_less(tuff_iota(l->g, shape, axis, NULL), whole(l, (double)TF_MIN(d->top_k, (int64_t)INT32_MAX)))));
        p = tuff_div(p, last_sum(p, true));
    }
    if (d->top_p < 1) {
        const tuff_tensor before = tuff_cumsum(p, axis, &(tuff_scan_desc){ .exclusive = true });
        p = tuff_mul(p, as_number(tuff_less(before, number(l, d->top_p))));
        p = tuff_div(p, last_sum(p, true));
    }
    l->out[0] = tuff_take_along_axis(p, place, axis);
}

typedef struct ranked { double p; uint64_t token; } ranked;
static int falling(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->p != y->p) return x->p > y->p ? -1 : 1;
    return x->token < y->token ? -1 : x->token > y->token;
}
static void filter_row(const filter_desc *d, const double *x, double *y, uint64_t n, ranked *r)
{
    double most = -INFINITY, sum = 0, kept = 0, before = 0;
    for (uint64_t k = 0; k < n; k++) most = fmax(most, x[k] / d->temperature);
    for (uint64_t k = 0; k < n; k++) {
        r[k] = (ranked){ exp(x[k] / d->temperature - most), k };
        y[k] = 0;
    }
    qsort(r, (size_t)n, sizeof *r, falling);
    const uint64_t m = d->top_k && (uint64_t)d->top_k < n ? (uint64_t)d->top_k : n;
    for (uint64_t k = 0; k < m; k++) sum += r[k].p;
    uint64_t end = 0;
    for (; end < m && before < d->top_p; end++) before += r[end].p / sum;
    for (uint64_t k = 0; k < end; k++) kept += r[k].p;
    for (uint64_t k = 0; k < end; k++) y[r[k].token] = r[k].p / kept;
}
static tuff_status token_probabilities_reference(tf_ref *r)
{
    const tf_ref_tensor *x = r->src[0];
    const uint64_t n = x->n ? (uint64_t)x->dim[x->rank - 1] : 1;
    ranked *scratch = tf_arena_array(r->scratch, ranked, (size_t)n);
    if (!scratch) return TUFF_E_MEMORY;
    for (uint64_t i = 0; i < x->n; i += n) filter_row(r->desc, x->re + i, r->out[0].re + i, n, scratch);
    return TUFF_OK;
}
static const tf_attr filter_attrs[] = {
    TF_A(filter_desc, temperature, TF_ATTR_DOUBLE, "logits are divided by it; 0: 1", .min = 0, .max = 1e30),
    TF_A(filter_desc, top_k, TF_ATTR_I64, "only the k most probable stay, lower tokens first among equals; 0: all", .min = 0, .max = INT32_MAX),
    TF_A(filter_desc, top_p, TF_ATTR_DOUBLE, "then only the most probable until their sum reaches it, at least one; 0: all", .min = 0, .max = 1),
};
const tf_op tf_op_token_probabilities = { .name = "token_probabilities", .doc = "logits[.., v] -> probabilities after temperature, top-k and top-p, each renormalised",
    .source = "arXiv:1904.09751", .operands = "logits", .kind = TF_COMPOSITE, .attrs = filter_attrs, .attr_count = TF_COUNT(filter_attrs), .desc_size = sizeof(filter_desc),
    .infer = token_probabilities_infer, .reference = token_probabilities_reference, .lower = token_probabilities_lower, .rel = 64, .discontinuous = true };
tuff_tensor tuff_token_probabilities(tuff_tensor logits, const tuff_token_filter_desc *desc)
{
    return tf_add(logits.graph, &tf_op_token_probabilities, &logits, 1,
                  &(filter_desc){ desc ? desc->temperature : 0, desc ? desc->top_p : 0, desc ? desc->top_k : 0 });
}

/* ---- sample_token ---- */

static bool sample_token_infer(tf_infer *c)
{
    const tf_type *p = c->type[0];
    if (!is_type(c, 0, TUFF_F32) || !is_type(c, 1, TUFF_F32)) return false;
    if (p->rank < 1 || p->dim[p->rank - 1] == 0) return tf_bad(c, TUFF_E_SHAPE, "%s has no tokens on its last axis", tf_src_text(c, 0));
    if (!dims_like(c, 1, 1, 0, 0, 0, "one number per distribution")) return false;
    c->out[0] = *c->type[1];
    c->out[0].dtype = TUFF_I32;
    return true;
}
/* How many running sums do not exceed u * sum. Rounding may leave all of them below: the last token with mass then. */
static tuff_tensor inverse(tf_lower *l, tuff_tensor p, tuff_tensor u)
{
    const int32_t axis = tf_ty(p)->rank - 1;
    const tuff_tensor sums = tuff_cumsum(p, axis, NULL), goal = tuff_mul(column(u), last_sum(p, true));
    const tuff_tensor count = last_sum(tuff_cast(tuff_less_equal(sums, goal), TUFF_I32), false);
    tuff_shape shape = { .rank = tf_ty(p)->rank };
    memcpy(shape.dim, tf_ty(p)->dim, sizeof shape.dim);
    const tuff_tensor has_mass = tuff_where(tuff_greater(p, number(l, 0)), tuff_iota(l->g, shape, axis, NULL), whole(l, 0));
    return tuff_minimum(count, tuff_max(has_mass, &(tuff_reduce_desc){ .axes = TUFF_INTS(axis) }));
}
static void sample_token_lower(tf_lower *l) { l->out[0] = inverse(l, l->src[0], l->src[1]); }
static uint64_t inverse_of(const double *p, uint64_t n, double u)
{
    double sum = 0, at = 0;
    uint64_t last = 0;
    for (uint64_t k = 0; k < n; k++) {
        sum += p[k];
        if (p[k] > 0) last = k;
    }
    for (uint64_t k = 0; k < n; k++)
        if ((at += p[k]) > u * sum) return k < last ? k : last;
    return last;
}
static tuff_status sample_token_reference(tf_ref *r)
{
    const tf_ref_tensor *p = r->src[0];
    const uint64_t n = (uint64_t)p->dim[p->rank - 1];
    for (uint64_t i = 0; i < r->out[0].n; i++) r->out[0].re[i] = (double)inverse_of(p->re + i * n, n, r->src[1]->re[i]);
    return TUFF_OK;
}
const tf_op tf_op_sample_token = { .name = "sample_token", .doc = "p[.., v] >= 0, u[..] in (0, 1) -> i32[..]: the first token whose running sum exceeds u * sum", .operands = "p u",
    .kind = TF_COMPOSITE, .infer = sample_token_infer, .reference = sample_token_reference, .lower = sample_token_lower, .discontinuous = true };
tuff_tensor tuff_sample_token(tuff_tensor p, tuff_tensor u) { return tf_add(NULL, &tf_op_sample_token, (tuff_tensor[]){ p, u }, 2, NULL); }

/* ---- masked diffusion ---- */

typedef struct mask_desc { int32_t mask; } mask_desc;
enum { K_TOKENS, K_LOGITS, K_U, K_UT, K_CHANCE };

static bool tokens_and_logits(tf_infer *c)
{
    const tf_type *t = c->type[K_TOKENS], *x = c->type[K_LOGITS];
    if (!is_type(c, K_TOKENS, TUFF_I32) || !is_type(c, K_LOGITS, TUFF_F32) || !dims_like(c, K_LOGITS, 0, 1, -1, 0, "logits [.., v]")) return false;
    if (t->rank < 1) return tf_bad(c, TUFF_E_SHAPE, "%s needs an axis of positions", tf_src_text(c, K_TOKENS));
    if (x->dim[x->rank - 1] == 0) return tf_bad(c, TUFF_E_SHAPE, "%s has no tokens on its last axis", tf_src_text(c, K_LOGITS));
    c->out[0] = *t;
    return true;
}
static bool masked_diffusion_step_infer(tf_infer *c)
{
    if (!tokens_and_logits(c) || !is_type(c, K_U, TUFF_F32) || !is_type(c, K_UT, TUFF_F32) || !is_type(c, K_CHANCE, TUFF_F32)) return false;
    if (c->type[K_CHANCE]->rank != 0) return tf_bad(c, TUFF_E_SHAPE, "%s must have rank 0", tf_src_text(c, K_CHANCE));
    return dims_like(c, K_U, 0, 0, 0, 0, "one number per position") && dims_like(c, K_UT, 0, 0, 0, 0, "one number per position");
}
static void masked_diffusion_step_lower(tf_lower *l)
{
    const tuff_tensor old = l->src[K_TOKENS], hidden = tuff_equal(old, whole(l, ((const mask_desc *)l->desc)->mask));
    const tuff_tensor drawn = inverse(l, tuff_softmax(l->src[K_LOGITS], -1), l->src[K_UT]);
    l->out[0] = tuff_where(tuff_logical_and(hidden, tuff_less(l->src[K_U], l->src[K_CHANCE])), drawn, old);
}
static tuff_status masked_diffusion_step_reference(tf_ref *r)
{
    const uint64_t n = r->src[K_TOKENS]->n ? r->src[K_LOGITS]->n / r->src[K_TOKENS]->n : 1;
    double *p = tf_arena_array(r->scratch, double, (size_t)n);
    ranked *scratch = tf_arena_array(r->scratch, ranked, (size_t)n);
    if (!p || !scratch) return TUFF_E_MEMORY;
    for (uint64_t i = 0; i < r->out[0].n; i++) {
        const double old = r->src[K_TOKENS]->re[i];
        filter_row(&(filter_desc){ .temperature = 1, .top_p = 1 }, r->src[K_LOGITS]->re + i * n, p, n, scratch);
        const bool now = old == ((const mask_desc *)r->desc)->mask && r->src[K_U]->re[i] < r->src[K_CHANCE]->re[0];
        r->out[0].re[i] = now ? (double)inverse_of(p, n, r->src[K_UT]->re[i]) : old;
    }
    return TUFF_OK;
}
static const tf_attr mask_attrs[] = { TF_A(mask_desc, mask, TF_ATTR_INT, "the token that hides a position", .required = true) };
const tf_op tf_op_masked_diffusion_step = { .name = "masked_diffusion_step",
    .doc = "tokens[..] (i32), logits[.., v], u and u_token[..], chance -> hidden positions with u < chance get a token drawn by u_token; others stay",
    .source = "arXiv:2406.07524; chance from t to s: (alpha_s - alpha_t)/(1 - alpha_t)", .operands = "tokens logits u u_token chance", .kind = TF_COMPOSITE, .attrs = mask_attrs,
    .attr_count = TF_COUNT(mask_attrs), .desc_size = sizeof(mask_desc), .infer = masked_diffusion_step_infer, .reference = masked_diffusion_step_reference,
    .lower = masked_diffusion_step_lower, .discontinuous = true };
tuff_tensor tuff_masked_diffusion_step(tuff_tensor tokens, tuff_tensor logits, tuff_tensor u, tuff_tensor u_token, tuff_tensor chance, int32_t mask)
{
    return tf_add(NULL, &tf_op_masked_diffusion_step, (tuff_tensor[]){ tokens, logits, u, u_token, chance }, 5, &(mask_desc){ mask });
}

static bool confidence_unmask_infer(tf_infer *c)
{
    if (!tokens_and_logits(c) || !is_type(c, 2, TUFF_I32)) return false;
    if (c->type[2]->rank != 0) return tf_bad(c, TUFF_E_SHAPE, "%s must have rank 0", tf_src_text(c, 2));
    return true;
}
/* The largest softmax is 1 / sum e^(x - max). Known positions get -1: behind all others. */
static void confidence_unmask_lower(tf_lower *l)
{
    const int32_t axis = tf_ty(l->src[K_TOKENS])->rank - 1;
    const tuff_tensor old = l->src[K_TOKENS], hidden = tuff_equal(old, whole(l, ((const mask_desc *)l->desc)->mask));
    const tuff_tensor best = tuff_max(tuff_softmax(l->src[K_LOGITS], -1), &(tuff_reduce_desc){ .axes = TUFF_INTS(-1) });
    const tuff_tensor order = tuff_argsort(tuff_where(hidden, best, number(l, -1)), axis, &(tuff_sort_desc){ .descending = true });
    const tuff_tensor now = tuff_logical_and(hidden, tuff_less(tuff_argsort(order, axis, NULL), l->src[2]));
    l->out[0] = tuff_where(now, tuff_argmax(l->src[K_LOGITS], -1, NULL), old);
}
static tuff_status confidence_unmask_reference(tf_ref *r)
{
    const tf_ref_tensor *t = r->src[K_TOKENS];
    const uint64_t length = t->n ? (uint64_t)t->dim[t->rank - 1] : 1, n = t->n ? r->src[K_LOGITS]->n / t->n : 1;
    ranked *order = tf_arena_array(r->scratch, ranked, (size_t)length);
    if (!order) return TUFF_E_MEMORY;
    for (uint64_t first = 0; first < t->n; first += length) {
        for (uint64_t i = 0; i < length; i++) {
            const double *x = r->src[K_LOGITS]->re + (first + i) * n;
            double most = x[0], sum = 0;
            for (uint64_t k = 1; k < n; k++) most = fmax(most, x[k]);
            for (uint64_t k = 0; k < n; k++) sum += exp(x[k] - most);
            order[i] = (ranked){ t->re[first + i] == ((const mask_desc *)r->desc)->mask ? 1 / sum : -1, i };
            r->out[0].re[first + i] = t->re[first + i];
        }
        qsort(order, (size_t)length, sizeof *order, falling);
        for (uint64_t k = 0; k < length && (double)k < r->src[2]->re[0] && order[k].p > 0; k++) {
            const double *x = r->src[K_LOGITS]->re + (first + order[k].token) * n;
            uint64_t best = 0;
            for (uint64_t j = 1; j < n; j++) if (x[j] > x[best]) best = j;
            r->out[0].re[first + order[k].token] = (double)best;
        }
    }
    return TUFF_OK;
}
const tf_op tf_op_confidence_unmask = { .name = "confidence_unmask",
    .doc = "tokens[.., n] (i32), logits[.., n, v], count (i32) -> the `count` most confident hidden positions of each row get their best token; lower positions first among equals",
    .source = "arXiv:2202.04200", .operands = "tokens logits count", .kind = TF_COMPOSITE, .attrs = mask_attrs, .attr_count = TF_COUNT(mask_attrs), .desc_size = sizeof(mask_desc),
    .infer = confidence_unmask_infer, .reference = confidence_unmask_reference, .lower = confidence_unmask_lower, .discontinuous = true };
tuff_tensor tuff_confidence_unmask(tuff_tensor tokens, tuff_tensor logits, tuff_tensor count, int32_t mask)
{
    return tf_add(NULL, &tf_op_confidence_unmask, (tuff_tensor[]){ tokens, logits, count }, 3, &(mask_desc){ mask });
}

/* ---- speculative sampling ---- */

enum { P_DRAFT, P_Q, P_P, P_R, P_U };

static bool speculation(tf_infer *c, bool bonus)
{
    const tf_type *t = c->type[P_DRAFT], *q = c->type[P_Q];
    if (!is_type(c, P_DRAFT, TUFF_I32)) return false;
    for (uint32_t i = P_Q; i <= P_U; i++)
        if (!is_type(c, i, TUFF_F32)) return false;
    if (t->rank < 1 || tf_dim_is_dynamic(t->dim[t->rank - 1]) || t->dim[t->rank - 1] == 0) return tf_bad(c, TUFF_E_SHAPE, "%s needs a fixed number of positions", tf_src_text(c, P_DRAFT));
    const int64_t n = t->dim[t->rank - 1];
    if (!dims_like(c, P_Q, 1, 2, n, -1, "[.., n, v]")) return false;
    const int64_t v = q->dim[q->rank - 1];
    if (v == 0) return tf_bad(c, TUFF_E_SHAPE, "%s has no tokens on its last axis", tf_src_text(c, P_Q));
    if (!dims_like(c, P_P, 1, 2, n + bonus, v, bonus ? "[.., n + 1, v]" : "[.., n, v]") || !dims_like(c, P_R, 0, 0, 0, 0, "one number per position")) return false;
    if (!(bonus ? dims_like(c, P_U, 1, 0, 0, 0, "one number per row") : dims_like(c, P_U, 0, 0, 0, 0, "one number per position"))) return false;
    c->out[0] = *t;
    c->out[0].dim[t->rank - 1] = n + bonus;
    c->out[1] = (tf_type){ .dtype = TUFF_I32, .rank = t->rank - 1 };
    memcpy(c->out[1].dim, t->dim, (size_t)(t->rank - 1) * sizeof *t->dim);
    c->n_out = 2;
    return true;
}

/* [.., n, v] at the tokens [.., n]. */
static tuff_tensor at_tokens(tuff_tensor p, tuff_tensor tokens) { return tuff_squeeze(tuff_take_along_axis(p, column(tokens), tf_ty(p)->rank - 1), &(tuff_squeeze_desc){ .axes = TUFF_INTS(-1) }); }

/* Leading positions with r q(token) < p(token), kept as an axis of 1. */
static tuff_tensor accepted(tf_lower *l, tuff_tensor p)
{
    const tuff_tensor draft = l->src[P_DRAFT], good = tuff_less(tuff_mul(l->src[P_R], at_tokens(l->src[P_Q], draft)), at_tokens(p, draft));
    return last_sum(tuff_cumprod(tuff_cast(good, TUFF_I32), -1, NULL), true);
}
static tuff_tensor beyond(tf_lower *l, tuff_tensor p) { return tuff_maximum(tuff_sub(p, l->src[P_Q]), number(l, 0)); }

static tuff_tensor positions(tf_lower *l, const tf_type *t)
{
    tuff_shape shape = { .rank = t->rank };
    memcpy(shape.dim, t->dim, sizeof shape.dim);
    return tuff_iota(l->g, shape, t->rank - 1, NULL);
}
static tuff_tensor dropped_last(tuff_tensor x) { return tf_reshaped(x, tf_ty(x)->rank - 1, tf_ty(x)->dim); }

static bool speculative_accept_infer(tf_infer *c) { return speculation(c, true); }
static void speculative_accept_lower(tf_lower *l)
{
    const tf_type t = *tf_ty(l->src[P_DRAFT]);
    const int32_t axis = t.rank - 1;
    const int64_t n = t.dim[axis];
    const tuff_slice_desc along = { .axes = TUFF_INTS(axis) };
    const tuff_tensor p = tuff_slice(l->src[P_P], TUFF_INTS(0), TUFF_INTS(n), &along), bonus = tuff_slice(l->src[P_P], TUFF_INTS(n), TUFF_INTS(n + 1), &along);
    const tuff_tensor count = accepted(l, p), next = tuff_concat((tuff_tensor[]){ beyond(l, p), bonus }, 2, axis);
    const tuff_tensor chosen = tuff_squeeze(tuff_take_along_axis(next, column(count), axis), &(tuff_squeeze_desc){ .axes = TUFF_INTS(axis) });
    const tuff_tensor token = column(inverse(l, chosen, l->src[P_U])), place = positions(l, &l->out_type[0]);
    tuff_ints lo = { .n = axis }, hi = { .n = axis };
    lo.v[lo.n++] = 0;
    hi.v[hi.n++] = 1;
    const tuff_tensor draft = tuff_pad(l->src[P_DRAFT], lo, hi, NULL);
    if (l->want[0]) l->out[0] = tuff_where(tuff_less(place, count), draft, tuff_where(tuff_equal(place, count), token, whole(l, -1)));
    if (l->want[1]) l->out[1] = dropped_last(count);
}

static uint64_t accepted_of(const tf_ref *r, uint64_t row, uint64_t n, uint64_t v, uint64_t p_rows)
{
    for (uint64_t i = 0; i < n; i++) {
        const uint64_t at = row * n + i, token = (uint64_t)fmin(fmax(r->src[P_DRAFT]->re[at], 0), (double)(v - 1));
        if (!(r->src[P_R]->re[at] * r->src[P_Q]->re[at * v + token] < r->src[P_P]->re[(row * p_rows + i) * v + token])) return i;
    }
    return n;
}
static void beyond_of(const double *p, const double *q, double *out, uint64_t v)
{
    for (uint64_t k = 0; k < v; k++) out[k] = fmax(p[k] - q[k], 0);
}
static tuff_status speculate(tf_ref *r, bool bonus)
{
    const tf_ref_tensor *t = r->src[P_DRAFT];
    const uint64_t n = (uint64_t)t->dim[t->rank - 1], v = t->n ? r->src[P_Q]->n / t->n : 1, m = n + bonus;
    double *left = tf_arena_array(r->scratch, double, (size_t)v);
    if (!left) return TUFF_E_MEMORY;
    for (uint64_t row = 0; row * n < t->n; row++) {
        const uint64_t a = accepted_of(r, row, n, v, m);
        r->out[1].re[row] = (double)a;
        for (uint64_t i = 0; i < m; i++) {
            const double *p = r->src[P_P]->re + (row * m + i) * v, u = r->src[P_U]->re[bonus ? row : row * n + i];
            double *out = &r->out[0].re[row * m + i];
            if (i < a) { *out = t->re[row * n + i]; continue; }
            *out = i > a && bonus ? -1 : (double)inverse_of(p, v, u);
            if (i > a || i == n) continue;
            beyond_of(p, r->src[P_Q]->re + (row * n + i) * v, left, v);
            *out = (double)inverse_of(left, v, u);
        }
    }
    return TUFF_OK;
}
static tuff_status speculative_accept_reference(tf_ref *r) { return speculate(r, true); }
static tuff_status speculative_jacobi_step_reference(tf_ref *r) { return speculate(r, false); }

static bool speculative_jacobi_step_infer(tf_infer *c) { return speculation(c, false); }
static void speculative_jacobi_step_lower(tf_lower *l)
{
    const tuff_tensor p = l->src[P_P], count = accepted(l, p), place = positions(l, &l->out_type[0]);
    const tuff_tensor first = tuff_equal(place, count), from = tuff_where(column(first), beyond(l, p), p);
    if (l->want[0]) l->out[0] = tuff_where(tuff_less(place, count), l->src[P_DRAFT], inverse(l, from, l->src[P_U]));
    if (l->want[1]) l->out[1] = dropped_last(count);
}

const tf_op tf_op_speculative_accept = { .name = "speculative_accept",
    .doc = "draft[.., n] (i32), its q[.., n, v], the model's p[.., n + 1, v], r[.., n], u[..] -> tokens[.., n + 1] (accepted, one drawn, then -1), accepted[..] (i32)",
    .source = "arXiv:2211.17192: accept while r q < p, draw from max(p - q, 0), or from p behind the last", .operands = "draft q p r u", .results = "tokens accepted",
    .kind = TF_COMPOSITE, .infer = speculative_accept_infer, .reference = speculative_accept_reference, .lower = speculative_accept_lower, .discontinuous = true };
tuff_tensor tuff_speculative_accept(tuff_tensor draft, tuff_tensor q, tuff_tensor p, tuff_tensor r, tuff_tensor u)
{
    return tf_add(NULL, &tf_op_speculative_accept, (tuff_tensor[]){ draft, q, p, r, u }, 5, NULL);
}
const tf_op tf_op_speculative_jacobi_step = { .name = "speculative_jacobi_step",
    .doc = "draft[.., n] (i32), q[.., n, v] that drew it, p[.., n, v] now, r and u[.., n] -> tokens[.., n], accepted[..] (i32): the first rejected is drawn from max(p - q, 0), later ones from p",
    .source = "arXiv:2410.01699", .operands = "draft q p r u", .results = "tokens accepted", .kind = TF_COMPOSITE, .infer = speculative_jacobi_step_infer,
    .reference = speculative_jacobi_step_reference, .lower = speculative_jacobi_step_lower, .discontinuous = true };
tuff_tensor tuff_speculative_jacobi_step(tuff_tensor draft, tuff_tensor q, tuff_tensor p, tuff_tensor r, tuff_tensor u)
{
    return tf_add(NULL, &tf_op_speculative_jacobi_step, (tuff_tensor[]){ draft, q, p, r, u }, 5, NULL);
}

/* ---- cheapest path: choosing time steps ---- */

typedef struct path_desc { int32_t edges; } path_desc;

static bool cheapest_path_infer(tf_infer *c)
{
    const tf_type *t = c->type[0];
    const path_desc *d = c->desc;
    if (t->rank != 2 || tf_dim_is_dynamic(t->dim[0]) || !tf_dim_equal(t->dim[0], t->dim[1]) || t->dim[0] < 2)
        return tf_bad(c, TUFF_E_SHAPE, "%s must be a square of fixed size", tf_src_text(c, 0));
    if (d->edges >= t->dim[0]) return tf_bad(c, TUFF_E_ATTRIBUTE, "edges is %d; %lld points have paths of at most %lld", (int)d->edges, (long long)t->dim[0], (long long)t->dim[0] - 1);
    c->out[0] = (tf_type){ .dtype = TUFF_I32, .rank = 1, .dim = { d->edges + 1 } };
    c->out[1] = (tf_type){ .dtype = TUFF_F32, .rank = 1, .dim = { 1 } };
    c->n_out = 2;
    return true;
}
static tuff_status cheapest_path_reference(tf_ref *r)
{
    const uint64_t n = (uint64_t)r->src[0]->dim[0], edges = (uint64_t)((const path_desc *)r->desc)->edges;
    double *best = tf_arena_array(r->scratch, double, (size_t)((edges + 1) * n)); /* [edges used][end] */
    uint64_t *from = tf_arena_array(r->scratch, uint64_t, (size_t)((edges + 1) * n));
    if (!best || !from) return TUFF_E_MEMORY;
    for (uint64_t j = 0; j < n; j++) best[j] = j ? INFINITY : 0;
    for (uint64_t e = 1; e <= edges; e++)
        for (uint64_t j = 0; j < n; j++) {
            best[e * n + j] = INFINITY;
            for (uint64_t i = 0; i < j; i++) {
                const double total = best[(e - 1) * n + i] + r->src[0]->re[i * n + j];
                if (!(total < best[e * n + j])) continue;
                best[e * n + j] = total;
                from[e * n + j] = i;
            }
        }
    r->out[1].re[0] = best[edges * n + n - 1];
    for (uint64_t e = edges, j = n - 1;; e--) {
        r->out[0].re[e] = (double)j;
        if (e == 0) break;
        j = from[e * n + j];
    }
    return TUFF_OK;
}
static const tf_attr path_attrs[] = { TF_A(path_desc, edges, TF_ATTR_INT, "edges of the path", .required = true, .min = 1, .max = 1 << 20) };
const tf_op tf_op_cheapest_path = { .name = "cheapest_path", .doc = "cost[n, n] of going from i to j > i -> points[edges + 1] (i32) of the cheapest path from 0 to n - 1, total[1]",
    .source = "dynamic programming over the end point and the edges used", .operands = "cost", .results = "points total", .kind = TF_HOST, .attrs = path_attrs,
    .attr_count = TF_COUNT(path_attrs), .desc_size = sizeof(path_desc), .infer = cheapest_path_infer, .reference = cheapest_path_reference };
tuff_tensor tuff_cheapest_path(tuff_tensor cost, int32_t edges) { return tf_add(cost.graph, &tf_op_cheapest_path, &cost, 1, &(path_desc){ edges }); }

/* ---- Jacobi decoding ---- */

static void jacobi_body(void *user, tuff_iteration *it)
{
    const tuff_jacobi_desc *d = user;
    const tuff_tensor logits = d->logits(d->user, it->in[0]);
    it->out[0] = tuff_argmax(logits, -1, NULL);
    it->again = tuff_any(tuff_not_equal(it->out[0], it->in[0]), NULL);
}
tuff_tensor tuff_jacobi_decode(tuff_tensor start, const tuff_jacobi_desc *desc)
{
    if (!start.id) return start;
    const tf_type *t = tf_ty(start);
    if (!desc || !desc->logits) return tf_fail(start.graph, TUFF_E_ARGUMENT, "jacobi_decode: the function logits is missing");
    if (t->dtype != TUFF_I32 || t->rank < 1) return tf_fail(start.graph, TUFF_E_SHAPE, "jacobi_decode: start must be i32[.., n]");
    if (desc->max < 0) return tf_fail(start.graph, TUFF_E_ARGUMENT, "jacobi_decode: max is %lld, should be 1 or more", (long long)desc->max);
    tuff_jacobi_desc d = *desc;
    tuff_tensor results[3];
    const tuff_while_desc loop = { .max = d.max ? d.max : tf_dim_bound(start.graph, t->dim[t->rank - 1]) + 1, .carried = &start, .n = 1, .body = jacobi_body, .user = &d };
    if (tuff_while(start.graph, &loop, results) != TUFF_OK) return (tuff_tensor){ NULL, 0 };
    if (d.iterations) *d.iterations = results[1];
    return results[0];
}
