/* denoise.c - denoisers known in closed form (Gaussian and mixture data), the exact probability-flow map of Gaussian data, and
 * conversions between what networks predict.
 *
 * x[batch, ...] is taken as batch rows of n elements. alpha and sigma are one number (rank 0 or [1]) or one per sample
 * ([batch]). All rows are composites of matmul, reductions and pointwise work. f32. */
#include "anchors.h"
#include "ops.h"

#include <math.h>
#include <string.h>

/* ---- shared: checks ---- */

static bool is_f32(tf_infer *c)
{
    for (uint32_t i = 0; i < c->n_src; i++)
        if (c->type[i] && c->type[i]->dtype != TUFF_F32) return tf_bad(c, TUFF_E_DTYPE, "%s must be f32", tf_src_text(c, i));
    if (c->type[0]->rank < 1) return tf_bad(c, TUFF_E_SHAPE, "%s needs a batch axis", tf_src_text(c, 0));
    return true;
}

/* alpha, sigma: one number or one per sample. */
static bool point(tf_infer *c, uint32_t i)
{
    const tf_type *t = c->type[i];
    if (t->rank == 0 || (t->rank == 1 && (t->dim[0] == 1 || tf_dim_equal(t->dim[0], c->type[0]->dim[0])))) return true;
    return tf_bad(c, TUFF_E_SHAPE, "%s must be one number or one per sample of %s", tf_src_text(c, i), tf_src_text(c, 0));
}

static bool same_as_x(tf_infer *c, uint32_t i)
{
    const tf_type *t = c->type[i], *x = c->type[0];
    if (!t) return true;
    bool same = t->rank == x->rank;
    for (int32_t k = 0; same && k < x->rank; k++) same = tf_dim_equal(t->dim[k], x->dim[k]);
    return same || tf_bad(c, TUFF_E_SHAPE, "%s must have the shape of %s", tf_src_text(c, i), tf_src_text(c, 0));
}

static bool has_dims(tf_infer *c, uint32_t i, int32_t rank, int64_t d0, int64_t d1, const char *what)
{
    const tf_type *t = c->type[i];
    if (t->rank == rank && tf_dim_equal(t->dim[0], d0) && (rank < 2 || tf_dim_equal(t->dim[1], d1))) return true;
    return tf_bad(c, TUFF_E_SHAPE, "%s must be %s", tf_src_text(c, i), what);
}

static int64_t sample_size(tf_infer *c) { return tf_dim_product(c->g, c->type[0]->dim, 1, c->type[0]->rank); }

/* ---- shared: lowering ---- */

/* x as [batch, n]. */
static tuff_tensor as_matrix(tf_lower *l, tuff_tensor x)
{
    const tf_type t = *tf_ty(x);
    return tf_reshaped(x, 2, (const int64_t[]){ t.dim[0], tf_dim_product(l->g, t.dim, 1, t.rank) });
}
static tuff_tensor like_output(tf_lower *l, tuff_tensor x) { return tf_reshaped(x, l->out_type->rank, l->out_type->dim); }

/* A number or one per sample, to broadcast against `rank` axes. */
static tuff_tensor column(tuff_tensor p, int32_t rank)
{
    const tf_type t = *tf_ty(p);
    int64_t dim[TUFF_MAX_RANK];
    if (t.rank == 0 || t.dim[0] == 1) return tf_reshaped(p, 0, NULL);
    for (int32_t i = 0; i < rank; i++) dim[i] = i ? 1 : t.dim[0];
    return tf_reshaped(p, rank, dim);
}
static tuff_tensor row_of(tuff_tensor v) { return tf_reshaped(v, 2, (const int64_t[]){ 1, tf_ty(v)->dim[0] }); }
static tuff_tensor number(tf_lower *l, double v) { return tuff_literal(l->g, v, TUFF_F32); }
static tuff_tensor times(tuff_tensor a, tuff_tensor b) { return tuff_mul(a, b); }

/* ---- shared: references ---- */

static double at(const tf_ref_tensor *p, uint64_t b) { return p->n == 1 ? p->re[0] : p->re[b]; }
static uint64_t rows_of(const tf_ref *r) { return r->src[0]->n ? (uint64_t)r->src[0]->dim[0] : 0; }

/* y += U diag(g) U^T e for U[n, rank]. */
static void add_spectral(double *y, const double *e, const double *u, const double *g, uint64_t n, uint64_t rank)
{
    for (uint64_t k = 0; k < rank; k++) {
        double p = 0;
        for (uint64_t j = 0; j < n; j++) p += e[j] * u[j * rank + k];
        for (uint64_t j = 0; j < n; j++) y[j] += p * g[k] * u[j * rank + k];
    }
}

/* ---- Gaussian data ---- */

typedef struct tangent_desc { tuff_tensor tangent; } tangent_desc;
static const tf_attr tangent_attrs[] = { TF_A(tangent_desc, tangent, TF_ATTR_TENSOR, "direction in x, shaped like it: result 1 is the derivative along it") };

enum { DX, DA, DS, DMU, DU, DLAM, DV };

static bool denoise_gaussian_infer(tf_infer *c)
{
    if (!is_f32(c) || !point(c, DA) || !point(c, DS)) return false;
    const int64_t n = sample_size(c), rank = c->type[DU]->rank == 2 ? c->type[DU]->dim[1] : 0;
    c->out[0] = c->out[1] = *c->type[0];
    c->n_out = 2;
    return has_dims(c, DMU, 1, n, 0, "[n], n elements per sample of x") && has_dims(c, DU, 2, n, rank, "[n, rank], n elements per sample of x") &&
           has_dims(c, DLAM, 1, rank, 0, "[rank], one per column of u") && (c->n_src <= DV || same_as_x(c, DV));
}

/* e[batch, n] -> U diag(g) U^T e. */
static tuff_tensor spectral(tuff_tensor e, tuff_tensor u, tuff_tensor g)
{
    return tuff_matmul(times(tuff_matmul(e, u, NULL), g), u, &(tuff_matmul_desc){ .transpose_b = true });
}

static void denoise_gaussian_lower(tf_lower *l)
{
    const tuff_tensor a = column(l->src[DA], 2), s = column(l->src[DS], 2), lam = row_of(l->src[DLAM]), mu = row_of(l->src[DMU]);
    const tuff_tensor g = tuff_div(times(a, lam), tuff_add(times(times(a, a), lam), times(s, s)));
    const tuff_tensor e = tuff_sub(as_matrix(l, l->src[DX]), times(a, mu));
    l->out[0] = like_output(l, tuff_add(mu, spectral(e, l->src[DU], g)));
    const bool given = l->n_src > DV && l->src[DV].id;
    if (l->want[1]) l->out[1] = given ? like_output(l, spectral(as_matrix(l, l->src[DV]), l->src[DU], g)) : times(l->out[0], number(l, 0));
}

static tuff_status denoise_gaussian_reference(tf_ref *r)
{
    const uint64_t rank = r->src[DLAM]->n, n = r->src[DMU]->n;
    double *e = tf_arena_array(r->scratch, double, n + 1), *g = tf_arena_array(r->scratch, double, rank + 1);
    for (uint64_t b = 0; e && g && b < rows_of(r); b++) {
        const double a = at(r->src[DA], b), s = at(r->src[DS], b), *mu = r->src[DMU]->re;
        for (uint64_t k = 0; k < rank; k++) g[k] = a * r->src[DLAM]->re[k] / (a * a * r->src[DLAM]->re[k] + s * s);
        for (uint64_t j = 0; j < n; j++) {
            e[j] = r->src[DX]->re[b * n + j] - a * mu[j];
            r->out[0].re[b * n + j] = mu[j];
            r->out[1].re[b * n + j] = 0;
        }
        add_spectral(r->out[0].re + b * n, e, r->src[DU]->re, g, n, rank);
        if (r->n_src > DV && r->src[DV]) add_spectral(r->out[1].re + b * n, r->src[DV]->re + b * n, r->src[DU]->re, g, n, rank);
    }
    return TUFF_OK;
}

const tf_op tf_op_denoise_gaussian = { .name = "denoise_gaussian",
    .doc = "x[b, ..], mu[n], u[n, rank], lam[rank] -> E[x_0 | x] for data N(mu, u diag(lam) u^T): mu + u diag(a lam/(a^2 lam + s^2)) u^T (x - a mu)",
    .source = "D = mu + U diag(a lam/(a^2 lam + s^2)) U^T (x - a mu)", .operands = "x alpha sigma mu u lam", .results = "y derivative", .kind = TF_COMPOSITE,
    .attrs = tangent_attrs, .attr_count = TF_COUNT(tangent_attrs), .desc_size = sizeof(tangent_desc), .infer = denoise_gaussian_infer,
    .reference = denoise_gaussian_reference, .lower = denoise_gaussian_lower, .rel = 64 };

tuff_tensor tuff_denoise_gaussian(tuff_tensor x, tuff_tensor alpha, tuff_tensor sigma, tuff_tensor mu, tuff_tensor u, tuff_tensor lam, const tuff_tangent_desc *desc)
{
    return tf_add(NULL, &tf_op_denoise_gaussian, (tuff_tensor[]){ x, alpha, sigma, mu, u, lam }, 6, &(tangent_desc){ desc ? desc->tangent : (tuff_tensor){ NULL, 0 } });
}

static bool denoise_diagonal_infer(tf_infer *c)
{
    if (!is_f32(c) || !point(c, DA) || !point(c, DS)) return false;
    const int64_t n = sample_size(c);
    c->out[0] = *c->type[0];
    return has_dims(c, 3, 1, n, 0, "[n], n elements per sample of x") && has_dims(c, 4, 1, n, 0, "[n], n elements per sample of x");
}
static void denoise_diagonal_lower(tf_lower *l)
{
    const tuff_tensor a = column(l->src[DA], 2), s = column(l->src[DS], 2), mu = row_of(l->src[3]), v = row_of(l->src[4]);
    const tuff_tensor g = tuff_div(times(a, v), tuff_add(times(times(a, a), v), times(s, s)));
    l->out[0] = like_output(l, tuff_add(mu, times(g, tuff_sub(as_matrix(l, l->src[DX]), times(a, mu)))));
}
static tuff_status denoise_diagonal_reference(tf_ref *r)
{
    const uint64_t n = r->src[3]->n;
    for (uint64_t i = 0; i < r->src[DX]->n; i++) {
        const double a = at(r->src[DA], i / n), s = at(r->src[DS], i / n), mu = r->src[3]->re[i % n], v = r->src[4]->re[i % n];
        r->out[0].re[i] = mu + a * v / (a * a * v + s * s) * (r->src[DX]->re[i] - a * mu);
    }
    return TUFF_OK;
}
const tf_op tf_op_denoise_diagonal = { .name = "denoise_diagonal", .doc = "x[b, ..], mu[n], variance[n] -> E[x_0 | x] for data N(mu, diag(variance))",
    .operands = "x alpha sigma mu variance", .kind = TF_COMPOSITE, .infer = denoise_diagonal_infer, .reference = denoise_diagonal_reference,
    .lower = denoise_diagonal_lower, .rel = 16 };
tuff_tensor tuff_denoise_diagonal(tuff_tensor x, tuff_tensor alpha, tuff_tensor sigma, tuff_tensor mu, tuff_tensor variance)
{
    return tf_add(NULL, &tf_op_denoise_diagonal, (tuff_tensor[]){ x, alpha, sigma, mu, variance }, 5, NULL);
}

/* ---- the exact probability-flow map of Gaussian data ---- */

enum { GA2 = 3, GS2, GMU, GU, GLAM };

static bool gaussian_flow_infer(tf_infer *c)
{
    if (!is_f32(c) || !point(c, DA) || !point(c, DS) || !point(c, GA2) || !point(c, GS2)) return false;
    const int64_t n = sample_size(c), rank = c->type[GU]->rank == 2 ? c->type[GU]->dim[1] : 0;
    c->out[0] = *c->type[0];
    if (!tf_dim_is_dynamic(n) && !tf_dim_is_dynamic(rank) && rank > n)
        return tf_bad(c, TUFF_E_SHAPE, "%s has %lld columns; at most %lld, as many as a sample has elements, are orthonormal", tf_src_text(c, GU), (long long)rank, (long long)n);
    return has_dims(c, GMU, 1, n, 0, "[n], n elements per sample of x") && has_dims(c, GU, 2, n, rank, "[n, rank], n elements per sample of x") &&
           has_dims(c, GLAM, 1, rank, 0, "[rank], one per column of u");
}
static tuff_tensor variance_at(tuff_tensor a, tuff_tensor s, tuff_tensor lam) { return tuff_add(times(times(a, a), lam), times(s, s)); }

/* Directions outside u have no variance, so their part scales by s'/s: with u square nothing is outside. */
static void gaussian_flow_lower(tf_lower *l)
{
    const tuff_tensor a = column(l->src[DA], 2), s = column(l->src[DS], 2), a2 = column(l->src[GA2], 2), s2 = column(l->src[GS2], 2);
    const tuff_tensor lam = row_of(l->src[GLAM]), mu = row_of(l->src[GMU]), u = l->src[GU];
    const tuff_tensor e = tuff_sub(as_matrix(l, l->src[DX]), times(a, mu));
    tuff_tensor g = tuff_sqrt(tuff_div(variance_at(a2, s2, lam), variance_at(a, s, lam)));
    tuff_tensor y = times(a2, mu);
    if (!tf_dim_equal(tf_ty(u)->dim[0], tf_ty(u)->dim[1])) {
        const tuff_tensor outside = tuff_div(s2, s);
        y = tuff_add(y, times(outside, e));
        g = tuff_sub(g, outside);
    }
    l->out[0] = like_output(l, tuff_add(y, spectral(e, u, g)));
}
static tuff_status gaussian_flow_reference(tf_ref *r)
{
    const uint64_t rank = r->src[GLAM]->n, n = r->src[GMU]->n;
    double *e = tf_arena_array(r->scratch, double, n + 1), *g = tf_arena_array(r->scratch, double, rank + 1);
    for (uint64_t b = 0; e && g && b < rows_of(r); b++) {
        const double a = at(r->src[DA], b), s = at(r->src[DS], b), a2 = at(r->src[GA2], b), s2 = at(r->src[GS2], b), *mu = r->src[GMU]->re;
        const double outside = rank < n ? s2 / s : 0;
        for (uint64_t k = 0; k < rank; k++) {
            const double lam = r->src[GLAM]->re[k];
            g[k] = sqrt((a2 * a2 * lam + s2 * s2) / (a * a * lam + s * s)) - outside;
        }
        for (uint64_t j = 0; j < n; j++) {
            e[j] = r->src[DX]->re[b * n + j] - a * mu[j];
            r->out[0].re[b * n + j] = a2 * mu[j] + outside * e[j];
        }
        add_spectral(r->out[0].re + b * n, e, r->src[GU]->re, g, n, rank);
    }
    return TUFF_OK;
}
const tf_op tf_op_gaussian_flow = { .name = "gaussian_flow",
    .doc = "x[b, ..] at (alpha, sigma) -> the point at (alpha_to, sigma_to) of the probability-flow ODE, exact for data N(mu, u diag(lam) u^T), u[n, rank] orthonormal",
    .source = "x' = a' mu + U sqrt((a'^2 lam + s'^2)/(a^2 lam + s^2)) U^T (x - a mu) + (s'/s) (I - U U^T)(x - a mu); arXiv:2412.09726",
    .operands = "x alpha sigma alpha_to sigma_to mu u lam", .kind = TF_COMPOSITE, .infer = gaussian_flow_infer, .reference = gaussian_flow_reference,
    .lower = gaussian_flow_lower, .rel = 64 };
tuff_tensor tuff_gaussian_flow(tuff_tensor x, tuff_tensor alpha, tuff_tensor sigma, tuff_tensor alpha_to, tuff_tensor sigma_to, tuff_tensor mu, tuff_tensor u,
                               tuff_tensor lam)
{
    return tf_add(NULL, &tf_op_gaussian_flow, (tuff_tensor[]){ x, alpha, sigma, alpha_to, sigma_to, mu, u, lam }, 8, NULL);
}

/* ---- mixtures ---- */

enum { MW = 3, MM, MS, MV };

static bool denoise_mixture_infer(tf_infer *c)
{
    if (!is_f32(c) || !point(c, DA) || !point(c, DS)) return false;
    const int64_t n = sample_size(c), k = c->type[MW]->rank == 1 ? c->type[MW]->dim[0] : 0;
    c->out[0] = c->out[1] = *c->type[0];
    c->n_out = 2;
    if (k == 0) return tf_bad(c, TUFF_E_SHAPE, "%s must be [components], at least one", tf_src_text(c, MW));
    if (tf_dim_is_dynamic(n)) return tf_bad(c, TUFF_E_SHAPE, "the samples of %s have a dynamic size", tf_src_text(c, 0));
    return has_dims(c, MM, 2, k, n, "[components, n], n elements per sample of x") && has_dims(c, MS, 1, k, 0, "[components]") &&
           (c->n_src <= MV || same_as_x(c, MV));
}

/* Parts shared by the value and its derivative: [batch, K] except difference [batch, K, n]. */
typedef struct mixture { tuff_tensor x, a, v, difference, r, gain, pull, means; } mixture;

static tuff_tensor inner_product(tuff_tensor a, tuff_tensor b) { return tuff_sum(times(a, b), &(tuff_reduce_desc){ .axes = TUFF_INTS(2) }); }

/* Component 0 of [.., K]. */
static tuff_tensor first(tuff_tensor x) { return tuff_slice(x, TUFF_INTS(0), TUFF_INTS(1), &(tuff_slice_desc){ .axes = TUFF_INTS(1) }); }

static mixture mixture_parts(tf_lower *l)
{
    mixture m = { .x = as_matrix(l, l->src[DX]), .a = column(l->src[DA], 2), .means = l->src[MM] };
    const tf_type x = *tf_ty(m.x);
    const int64_t k = tf_ty(m.means)->dim[0];
    const tuff_tensor s = column(l->src[DS], 2), q = row_of(l->src[MS]), q2 = times(q, q);
    m.v = tuff_add(times(times(m.a, m.a), q2), times(s, s));
    m.gain = tuff_div(times(m.a, q2), m.v);
    m.pull = tuff_div(times(s, s), m.v);
    m.difference = tuff_sub(tf_reshaped(m.x, 3, (const int64_t[]){ x.dim[0], 1, x.dim[1] }),
                            times(column(l->src[DA], 3), tf_reshaped(m.means, 3, (const int64_t[]){ 1, k, x.dim[1] })));
    const tuff_tensor distance = inner_product(m.difference, m.difference), half = number(l, -0.5);
    /* n ln(v / v of component 0): n ln v is large where the noise is, and nearly the same for all. */
    const tuff_tensor v0 = first(m.v), wider = times(times(m.a, m.a), tuff_sub(q2, first(q2)));
    const tuff_tensor volume = times(number(l, (double)tf_dim_bound(l->g, x.dim[1])), tuff_log1p(tuff_div(wider, v0)));
    const tuff_tensor logit = tuff_add(row_of(tuff_log(l->src[MW])), times(half, tuff_add(tuff_div(distance, m.v), volume)));
    m.r = tuff_softmax(logit, 1);
    return m;
}

static tuff_tensor mixture_derivative(tf_lower *l, const mixture *m, tuff_tensor v)
{
    const tf_type t = *tf_ty(m->x);
    const tuff_reduce_desc over = { .axes = TUFF_INTS(1), .keep = true };
    const tuff_tensor dv = as_matrix(l, v), along = inner_product(m->difference, tf_reshaped(dv, 3, (const int64_t[]){ t.dim[0], 1, t.dim[1] }));
    const tuff_tensor slope = tuff_neg(tuff_div(along, m->v)), dr = times(m->r, tuff_sub(slope, tuff_sum(times(m->r, slope), &over)));
    const tuff_tensor straight = tuff_add(times(tuff_sum(times(m->r, m->gain), &over), dv), times(tuff_sum(times(dr, m->gain), &over), m->x));
    return like_output(l, tuff_add(straight, tuff_matmul(times(dr, m->pull), m->means, NULL)));
}

static void denoise_mixture_lower(tf_lower *l)
{
    const mixture m = mixture_parts(l);
    const tuff_tensor gain = tuff_sum(times(m.r, m.gain), &(tuff_reduce_desc){ .axes = TUFF_INTS(1), .keep = true });
    l->out[0] = like_output(l, tuff_add(times(gain, m.x), tuff_matmul(times(m.r, m.pull), m.means, NULL)));
    const bool given = l->n_src > MV && l->src[MV].id;
    if (l->want[1]) l->out[1] = given ? mixture_derivative(l, &m, l->src[MV]) : times(l->out[0], number(l, 0));
}

static void mixture_row(tf_ref *r, uint64_t b, double *resp, double *slope)
{
    const uint64_t n = (uint64_t)r->src[MM]->dim[1], K = r->src[MW]->n;
    const double a = at(r->src[DA], b), s = at(r->src[DS], b), *x = r->src[DX]->re + b * n, *v = r->n_src > MV && r->src[MV] ? r->src[MV]->re + b * n : NULL;
    double most = -INFINITY, sum = 0, mean_slope = 0;
    for (uint64_t k = 0; k < K; k++) {
        const double q = r->src[MS]->re[k], var = a * a * q * q + s * s, *mean = r->src[MM]->re + k * n;
        double d2 = 0, dot = 0;
        for (uint64_t j = 0; j < n; j++) {
            const double d = x[j] - a * mean[j];
            d2 += d * d;
            dot += v ? d * v[j] : 0;
        }
        resp[k] = log(r->src[MW]->re[k]) - 0.5 * d2 / var - 0.5 * (double)n * log(var);
        slope[k] = -dot / var;
        most = fmax(most, resp[k]);
    }
    for (uint64_t k = 0; k < K; k++) sum += resp[k] = exp(resp[k] - most);
    for (uint64_t k = 0; k < K; k++) mean_slope += (resp[k] /= sum) * slope[k];
    for (uint64_t k = 0; k < K; k++) {
        const double q = r->src[MS]->re[k], var = a * a * q * q + s * s, gain = a * q * q / var, dr = resp[k] * (slope[k] - mean_slope), *mean = r->src[MM]->re + k * n;
        for (uint64_t j = 0; j < n; j++) {
            const double d = mean[j] + gain * (x[j] - a * mean[j]);
            r->out[0].re[b * n + j] += resp[k] * d;
            r->out[1].re[b * n + j] += v ? dr * d + resp[k] * gain * v[j] : 0;
        }
    }
}
static tuff_status denoise_mixture_reference(tf_ref *r)
{
    double *resp = tf_arena_array(r->scratch, double, r->src[MW]->n), *slope = tf_arena_array(r->scratch, double, r->src[MW]->n);
    for (uint64_t i = 0; i < r->out[0].n; i++) r->out[0].re[i] = r->out[1].re[i] = 0;
    for (uint64_t b = 0; resp && slope && b < rows_of(r); b++) mixture_row(r, b, resp, slope);
    return TUFF_OK;
}

const tf_op tf_op_denoise_mixture = { .name = "denoise_mixture",
    .doc = "x[b, ..], weights[k], means[k, n], stds[k] -> E[x_0 | x] for data sum_k w_k N(m_k, q_k^2 I)",
    .source = "D = sum_k r_k (m_k + a q_k^2/v_k (x - a m_k)), v_k = a^2 q_k^2 + s^2, r = softmax(ln w_k - |x - a m_k|^2/(2 v_k) - n/2 ln v_k)",
    .operands = "x alpha sigma weights means stds", .results = "y derivative", .kind = TF_COMPOSITE, .attrs = tangent_attrs, .attr_count = TF_COUNT(tangent_attrs),
    .desc_size = sizeof(tangent_desc), .infer = denoise_mixture_infer, .reference = denoise_mixture_reference, .lower = denoise_mixture_lower, .rel = 256 };
tuff_tensor tuff_denoise_mixture(tuff_tensor x, tuff_tensor alpha, tuff_tensor sigma, tuff_tensor weights, tuff_tensor means, tuff_tensor stds, const tuff_tangent_desc *desc)
{
    return tf_add(NULL, &tf_op_denoise_mixture, (tuff_tensor[]){ x, alpha, sigma, weights, means, stds }, 6,
                  &(tangent_desc){ desc ? desc->tangent : (tuff_tensor){ NULL, 0 } });
}

/* ---- predictions ---- */

typedef struct convert_desc { tuff_prediction from, to; } convert_desc;
static const char *const predictions[] = { "x0", "eps", "v", "score", "flow", NULL };

static bool convert_prediction_infer(tf_infer *c)
{
    c->out[0] = *c->type[0];
    return is_f32(c) && same_as_x(c, 1) && point(c, 2) && point(c, 3);
}

/* D = px x + pf F, and the way back F = (D - px x) / pf, at one point. */
static void coefficients(tuff_prediction p, double a, double s, double *px, double *pf)
{
    const double v = a * a + s * s;
    switch (p) {
    case TUFF_PREDICT_EPS: *px = 1 / a; *pf = -s / a; break;
    case TUFF_PREDICT_V: *px = a / v; *pf = -s / v; break;
    case TUFF_PREDICT_SCORE: *px = 1 / a; *pf = s * s / a; break;
    case TUFF_PREDICT_FLOW: *px = 1 / (a + s); *pf = -s / (a + s); break;
    default: *px = 0; *pf = 1; break;
    }
}
static tuff_status convert_prediction_reference(tf_ref *r)
{
    const convert_desc *d = r->desc;
    const uint64_t rows = rows_of(r), n = rows ? r->src[0]->n / rows : 1;
    for (uint64_t i = 0; i < r->src[0]->n; i++) {
        double px, pf;
        coefficients(d->from, at(r->src[2], i / n), at(r->src[3], i / n), &px, &pf);
        const double denoised = px * r->src[0]->re[i] + pf * r->src[1]->re[i];
        coefficients(d->to, at(r->src[2], i / n), at(r->src[3], i / n), &px, &pf);
        r->out[0].re[i] = (denoised - px * r->src[0]->re[i]) / pf;
    }
    return TUFF_OK;
}

/* The noise e = (x - a D) / s is what most forms are made of. */
static tuff_tensor from_denoised(tuff_prediction to, tuff_tensor x, tuff_tensor d, tuff_tensor a, tuff_tensor s)
{
    if (to == TUFF_PREDICT_X0) return d;
    const tuff_tensor e = tuff_div(tuff_sub(x, times(a, d)), s);
    if (to == TUFF_PREDICT_EPS) return e;
    if (to == TUFF_PREDICT_SCORE) return tuff_neg(tuff_div(e, s));
    if (to == TUFF_PREDICT_FLOW) return tuff_sub(e, d);
    return tuff_sub(times(a, e), times(s, d));
}
static tuff_tensor to_denoised(tuff_prediction from, tuff_tensor x, tuff_tensor f, tuff_tensor a, tuff_tensor s)
{
    switch (from) {
    case TUFF_PREDICT_EPS: return tuff_div(tuff_sub(x, times(s, f)), a);
    case TUFF_PREDICT_SCORE: return tuff_div(tuff_add(x, times(times(s, s), f)), a);
    case TUFF_PREDICT_V: return tuff_div(tuff_sub(times(a, x), times(s, f)), tuff_add(times(a, a), times(s, s)));
    case TUFF_PREDICT_FLOW: return tuff_div(tuff_sub(x, times(s, f)), tuff_add(a, s));
    default: return f;
    }
}
static void convert_prediction_lower(tf_lower *l)
{
    const convert_desc *d = l->desc;
    const tuff_tensor x = l->src[0], a = column(l->src[2], tf_ty(x)->rank), s = column(l->src[3], tf_ty(x)->rank);
    l->out[0] = d->from == d->to ? l->src[1] : from_denoised(d->to, x, to_denoised(d->from, x, l->src[1], a, s), a, s);
}
static const tf_attr convert_attrs[] = { TF_A(convert_desc, from, TF_ATTR_ENUM, "what value is", .required = true, .choices = predictions),
                                         TF_A(convert_desc, to, TF_ATTR_ENUM, "what it becomes", .required = true, .choices = predictions) };
const tf_op tf_op_convert_prediction = { .name = "convert_prediction", .doc = "value, one form of what a network says of x = alpha x_0 + sigma noise -> another form",
    .source = "eps = noise, v = alpha noise - sigma x_0 (arXiv:2202.00512), score = -noise / sigma, flow = noise - x_0", .operands = "x value alpha sigma",
    .kind = TF_COMPOSITE, .attrs = convert_attrs, .attr_count = TF_COUNT(convert_attrs), .desc_size = sizeof(convert_desc), .infer = convert_prediction_infer,
    .reference = convert_prediction_reference, .lower = convert_prediction_lower, .rel = 64 };
tuff_tensor tuff_convert_prediction(tuff_tensor x, tuff_tensor value, tuff_tensor alpha, tuff_tensor sigma, tuff_prediction from, tuff_prediction to)
{
    return tf_add(NULL, &tf_op_convert_prediction, (tuff_tensor[]){ x, value, alpha, sigma }, 4, &(convert_desc){ from, to });
}

/* ---- preconditioning of raw networks ---- */

typedef struct precondition_desc { tuff_preconditioning kind; double sigma_data, sigma_min; } precondition_desc;
static const char *const preconditionings[] = { "edm", "consistency", NULL };

static void precondition_defaults(tf_infer *c)
{
    precondition_desc *d = c->mut;
    if (d->sigma_data == 0) d->sigma_data = 0.5;
    if (d->sigma_min == 0) d->sigma_min = 0.002;
}
static bool precondition_input_infer(tf_infer *c)
{
    precondition_defaults(c);
    if (!is_f32(c) || !point(c, 1)) return false;
    c->out[0] = *c->type[0];
    c->out[1] = *c->type[1];
    c->n_out = 2;
    return true;
}
static tuff_tensor radius(tf_lower *l, tuff_tensor s, double data) { return tuff_sqrt(tuff_add(times(s, s), number(l, data * data))); }
static void precondition_input_lower(tf_lower *l)
{
    const precondition_desc *d = l->desc;
    const tuff_tensor s = column(l->src[1], tf_ty(l->src[0])->rank);
    if (l->want[0]) l->out[0] = tuff_div(l->src[0], radius(l, s, d->sigma_data));
    if (l->want[1]) l->out[1] = times(number(l, 0.25), tuff_log(l->src[1]));
}
static tuff_status precondition_input_reference(tf_ref *r)
{
    const precondition_desc *d = r->desc;
    const uint64_t rows = rows_of(r), n = rows ? r->src[0]->n / rows : 1;
    for (uint64_t i = 0; i < r->src[0]->n; i++) r->out[0].re[i] = r->src[0]->re[i] / hypot(at(r->src[1], i / n), d->sigma_data);
    for (uint64_t i = 0; i < r->src[1]->n; i++) r->out[1].re[i] = 0.25 * log(r->src[1]->re[i]);
    return TUFF_OK;
}
static const tf_attr input_attrs[] = { TF_A(precondition_desc, sigma_data, TF_ATTR_DOUBLE, "standard deviation of the data; 0: 0.5") };
const tf_op tf_op_precondition_input = { .name = "precondition_input",
    .doc = "x[b, ..], sigma -> what a preconditioned network sees: x / sqrt(sigma^2 + data^2), and ln(sigma) / 4", .source = "arXiv:2206.00364 table 1", .operands = "x sigma",
    .results = "input time", .kind = TF_COMPOSITE, .attrs = input_attrs, .attr_count = TF_COUNT(input_attrs), .desc_size = sizeof(precondition_desc),
    .infer = precondition_input_infer, .reference = precondition_input_reference, .lower = precondition_input_lower, .rel = 16 };
tuff_tensor tuff_precondition_input(tuff_tensor x, tuff_tensor sigma, const tuff_precondition_desc *desc)
{
    return tf_add(NULL, &tf_op_precondition_input, (tuff_tensor[]){ x, sigma }, 2, &(precondition_desc){ TUFF_PRECONDITION_EDM, desc ? desc->sigma_data : 0, 0 });
}

static bool precondition_infer(tf_infer *c)
{
    precondition_defaults(c);
    c->out[0] = *c->type[0];
    return is_f32(c) && same_as_x(c, 1) && point(c, 2);
}
static void precondition_lower(tf_lower *l)
{
    const precondition_desc *d = l->desc;
    const bool edm = d->kind == TUFF_PRECONDITION_EDM;
    const tuff_tensor s = column(l->src[2], tf_ty(l->src[0])->rank), above = edm ? s : tuff_sub(s, number(l, d->sigma_min));
    const tuff_tensor skip = tuff_div(number(l, d->sigma_data * d->sigma_data), tuff_add(times(above, above), number(l, d->sigma_data * d->sigma_data)));
    const tuff_tensor out = tuff_div(times(above, number(l, d->sigma_data)), radius(l, s, d->sigma_data));
    l->out[0] = tuff_add(times(skip, l->src[0]), times(out, l->src[1]));
}
static tuff_status precondition_reference(tf_ref *r)
{
    const precondition_desc *d = r->desc;
    const uint64_t rows = rows_of(r), n = rows ? r->src[0]->n / rows : 1;
    for (uint64_t i = 0; i < r->src[0]->n; i++) {
        const double s = at(r->src[2], i / n), v = d->sigma_data * d->sigma_data, above = s - (d->kind == TUFF_PRECONDITION_EDM ? 0 : d->sigma_min);
        r->out[0].re[i] = v / (above * above + v) * r->src[0]->re[i] + above * d->sigma_data / sqrt(s * s + v) * r->src[1]->re[i];
    }
    return TUFF_OK;
}
static const tf_attr precondition_attrs[] = { TF_A(precondition_desc, kind, TF_ATTR_ENUM, "edm, or consistency: D = x at sigma_min", .choices = preconditionings),
                                              TF_A(precondition_desc, sigma_data, TF_ATTR_DOUBLE, "standard deviation of the data; 0: 0.5"),
                                              TF_A(precondition_desc, sigma_min, TF_ATTR_DOUBLE, "consistency: lowest noise level; 0: 0.002") };
const tf_op tf_op_precondition = { .name = "precondition", .doc = "x[b, ..], a raw network's f[b, ..], sigma -> the denoised c_skip x + c_out f",
    .source = "arXiv:2206.00364 table 1; arXiv:2303.01469 appendix C", .operands = "x f sigma", .kind = TF_COMPOSITE, .attrs = precondition_attrs,
    .attr_count = TF_COUNT(precondition_attrs), .desc_size = sizeof(precondition_desc), .infer = precondition_infer, .reference = precondition_reference,
    .lower = precondition_lower, .rel = 16 };
tuff_tensor tuff_precondition(tuff_tensor x, tuff_tensor f, tuff_tensor sigma, const tuff_precondition_desc *desc)
{
    const tuff_precondition_desc s = desc ? *desc : (tuff_precondition_desc){ .sigma_data = 0 };
    return tf_add(NULL, &tf_op_precondition, (tuff_tensor[]){ x, f, sigma }, 3, &(precondition_desc){ s.kind, s.sigma_data, s.sigma_min });
}
