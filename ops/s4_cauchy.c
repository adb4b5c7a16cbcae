/* s4_cauchy.c - s4_cauchy_kernel: the kernel of a diagonal-plus-low-rank model whose parameters are computed on the device.
 *
 * The truncated generating function of the kernel at the roots of unity needs the resolvent of the state matrix: sums over the modes, and a
 * correction for the low-rank part. With the common phase divided out (phi = pi k / L instead of the root itself) nothing is singular and only
 * half angles appear, which the host knows exactly:
 *   khat_k = e^{i phi} [S(ct, b) - cos phi S(ct, p) (I + cos phi S(conj p, p))^-1 S(conj p, b)],
 *   S(x, y) = sum_n x_n y_n / ((2 i / dt) sin phi - cos phi lam_n), over the conjugates too unless full.
 * All sums are one product of the matrix of reciprocals with the products x y. */
#include <string.h>

#include "anchors.h"
#include "hippo.h"
#include "ssm.h"

typedef struct cauchy_desc {
    int64_t length;
    bool full;
} cauchy_desc;

enum { MOST_RANK = 2, SUMS = (1 + MOST_RANK) * (1 + MOST_RANK) };

static bool infer(tf_infer *c)
{
    const tf_type *moved[5] = { c->type[0], c->type[2], c->type[3], c->type[4], c->type[1] };
    const uint32_t ids[5] = { c->src[0], c->src[2], c->src[3], c->src[4], c->src[1] };
    tf_infer modes = *c;
    modes.type = moved;
    modes.src = ids;
    if (!tf_check_modes(&modes) || !tf_check_low_rank(&modes, 4))
        return false;
    if (c->type[1]->dim[0] > MOST_RANK)
        return tf_bad(c, TUFF_E_LIMIT, "the rank is %lld; at most %d is possible (%s)", (long long)c->type[1]->dim[0], (int)MOST_RANK, tf_src_text(c, 1));
    c->out[0] = (tf_type){ TUFF_F32, 2, { c->type[0]->dim[0], ((const cauchy_desc *)c->desc)->length } };
    return true;
}

/* ---- reference ---- */

static tf_scalar at(const tf_ref_tensor *t, uint64_t i) { return tf_cx(t->re[i], t->im[i]); }

typedef struct point { double s, c, dt; bool full; const tf_scalar *lam; uint64_t n; } point;

static tf_scalar sum_at(const point *p, const tf_scalar *x, bool conjugate_x, const tf_scalar *y)
{
    tf_scalar sum = { 0, 0 };
    const tf_scalar g = tf_cx(0, 2 / p->dt * p->s);
    for (uint64_t i = 0; i < p->n; i++) {
        const tf_scalar xy = tf_cx_mul(conjugate_x ? tf_cx_conj(x[i]) : x[i], y[i]);
        sum = tf_cx_add(sum, tf_cx_div(xy, tf_cx_sub(g, tf_cx_scale(p->lam[i], p->c))));
        if (!p->full)
            sum = tf_cx_add(sum, tf_cx_div(tf_cx_conj(xy), tf_cx_sub(g, tf_cx_scale(tf_cx_conj(p->lam[i]), p->c))));
    }
    return sum;
}

/* khat_k of one feature. */
static tf_scalar bin_of(const point *p, const tf_scalar *const *low, uint32_t rank, const tf_scalar *b, const tf_scalar *ct)
{
    tf_scalar w[MOST_RANK * MOST_RANK], right[MOST_RANK], y = sum_at(p, ct, false, b);
    for (uint32_t i = 0; i < rank; i++) {
        right[i] = sum_at(p, low[i], true, b);
        for (uint32_t j = 0; j < rank; j++)
            w[i * rank + j] = tf_cx_add(tf_cx(i == j, 0), tf_cx_scale(sum_at(p, low[i], true, low[j]), p->c));
    }
    tf_solve_complex(w, rank, right, 1);
    for (uint32_t i = 0; i < rank; i++)
        y = tf_cx_sub(y, tf_cx_scale(tf_cx_mul(sum_at(p, ct, false, low[i]), right[i]), p->c));
    return tf_cx_mul(y, tf_cx(p->c, p->s));
}

static tuff_status reference(tf_ref *r)
{
    const cauchy_desc *d = r->desc;
    const uint64_t features = (uint64_t)r->src[0]->dim[0], n = (uint64_t)r->src[0]->dim[1], length = (uint64_t)d->length;
    const uint32_t rank = (uint32_t)r->src[1]->dim[0];
    tf_scalar *v = tf_arena_array(r->scratch, tf_scalar, (3 + MOST_RANK) * n), *hat = tf_arena_array(r->scratch, tf_scalar, length);
    if (!v || !hat)
        return TUFF_E_MEMORY;
    const tf_scalar *low[MOST_RANK] = { v + 3 * n, v + 4 * n };
    for (uint64_t h = 0; h < features; h++) {
        for (uint64_t i = 0; i < n; i++) {
            v[i] = at(r->src[0], h * n + i);
            v[n + i] = at(r->src[2], h * n + i);
            v[2 * n + i] = at(r->src[3], h * n + i);
            for (uint32_t k = 0; k < rank; k++)
                v[(3 + k) * n + i] = at(r->src[1], (k * features + h) * n + i);
        }
        for (uint64_t k = 0; k <= length / 2; k++) {
            const double phi = 3.14159265358979323846 * (double)k / (double)length;
            const point p = { sin(phi), 2 * k == length ? 0 : cos(phi), r->src[4]->re[h], d->full, v, n };
            hat[k] = bin_of(&p, low, rank, v + n, v + 2 * n);
        }
        for (uint64_t l = 0; l < length; l++) {
            double sum = hat[0].re;
            for (uint64_t k = 1; k <= length / 2; k++) {
                const double angle = 2 * 3.14159265358979323846 * (double)(k * l % length) / (double)length;
                sum += (2 * k == length ? 1 : 2) * (hat[k].re * cos(angle) - (2 * k == length ? 0 : hat[k].im * sin(angle)));
            }
            r->out[0].re[h * length + l] = sum / (double)length;
        }
    }
    return TUFF_OK;
}

/* ---- half angles ---- */

static bool angles_infer(tf_infer *c)
{
    c->n_out = 2;
    c->out[0] = c->out[1] = (tf_type){ TUFF_F32, 3, { 1, ((const cauchy_desc *)c->desc)->length / 2 + 1, 1 } };
    return true;
}
static tuff_status angles_reference(tf_ref *r)
{
    const double length = (double)((const cauchy_desc *)r->desc)->length;
    for (uint64_t k = 0; k < r->out[0].n; k++) {
        r->out[0].re[k] = 2 * (double)k == length ? 0 : cos(3.14159265358979323846 * (double)k / length);
        r->out[1].re[k] = sin(3.14159265358979323846 * (double)k / length);
    }
    return TUFF_OK;
}
static const tf_attr angles_attrs[] = { TF_A(cauchy_desc, length, TF_ATTR_I64, "angles pi k / length"), TF_A(cauchy_desc, full, TF_ATTR_BOOL, "not used") };
const tf_op tf_op_half_angles = {
    .name = "_half_angles", .doc = "cosines and sines of pi k / length, k = 0 .. length / 2: f32[1,k,1]", .operands = "", .results = "c s", .kind = TF_HOST,
    .internal = true, .attrs = angles_attrs, .attr_count = TF_COUNT(angles_attrs), .desc_size = sizeof(cauchy_desc), .infer = angles_infer,
    .reference = angles_reference,
};

/* ---- on the device ---- */

static tuff_tensor times(tuff_tensor real, tuff_tensor z) { return tuff_complex(tuff_mul(real, tuff_real(z)), tuff_mul(real, tuff_imag(z))); }

/* 1 / ((2 i / dt) s - c lam) as [h, k, n]. */
static tuff_tensor reciprocals(tuff_tensor c, tuff_tensor s, tuff_tensor dt, tuff_tensor lam)
{
    const tuff_tensor g = tuff_div(tuff_add(s, s), dt);
    return tuff_reciprocal(tuff_complex(tuff_neg(tuff_mul(c, tuff_real(lam))), tuff_sub(g, tuff_mul(c, tuff_imag(lam)))));
}

/* The products x y of all sums, [h, n, (1 + rank)^2]: x of ct, conj p.. and, within each, y of b, p.. */
static tuff_tensor all_products(const tuff_tensor *low, uint32_t rank, tuff_tensor b, tuff_tensor ct)
{
    tuff_tensor xy[SUMS];
    uint32_t count = 0;
    for (uint32_t i = 0; i <= rank; i++)
        for (uint32_t j = 0; j <= rank; j++)
            xy[count++] = tuff_mul(i ? tuff_conj(low[i - 1]) : ct, j ? low[j - 1] : b);
    return tuff_stack(xy, count, 2);
}

static void lower(tf_lower *l)
{
    const cauchy_desc *d = l->desc;
    const uint32_t rank = (uint32_t)tf_ty(l->src[1])->dim[0], side = rank + 1;
    tuff_tensor low[MOST_RANK], sum[SUMS];
    if (d->length == 0) {
        l->out[0] = tuff_expand(tuff_literal(l->g, 0, TUFF_F32), TUFF_SHAPE(l->out_type->dim[0], 0));
        return;
    }
    for (uint32_t i = 0; i < rank; i++)
        low[i] = tuff_squeeze(tuff_slice(l->src[1], TUFF_INTS(i), TUFF_INTS(i + 1), NULL), &(tuff_squeeze_desc){ TUFF_INTS(0) });
    const tuff_tensor c = tf_add(l->g, &tf_op_half_angles, NULL, 0, d), s = tuff_result(c, 1);
    const tuff_tensor dt = tuff_unsqueeze(l->src[4], TUFF_INTS(1, 2)), lam = tuff_unsqueeze(l->src[0], TUFF_INTS(1));
    const tuff_tensor xy = all_products(low, rank, l->src[2], l->src[3]);
    tuff_tensor sums = tuff_matmul(reciprocals(c, s, dt, lam), xy, NULL);
    if (!d->full)
        sums = tuff_add(sums, tuff_matmul(reciprocals(c, s, dt, tuff_conj(lam)), tuff_conj(xy), NULL));
    for (uint32_t i = 0; i < side * side; i++)
        sum[i] = tuff_slice(sums, TUFF_INTS(i), TUFF_INTS(i + 1), &(tuff_slice_desc){ .axes = TUFF_INTS(2) }); /* [h, k, 1] */
    const tuff_tensor one = tuff_literal(l->g, 1, TUFF_C64);
    tuff_tensor y = sum[0];
    if (rank == 1) {
        const tuff_tensor w = tuff_add(one, times(c, sum[3]));
        y = tuff_sub(y, times(c, tuff_mul(sum[1], tuff_div(sum[2], w))));
    } else { /* rows of sum: ct b, ct p0, ct p1; p0 b, p0 p0, p0 p1; p1 b, p1 p0, p1 p1 */
        const tuff_tensor w00 = tuff_add(one, times(c, sum[4])), w01 = times(c, sum[5]), w10 = times(c, sum[7]), w11 = tuff_add(one, times(c, sum[8]));
        const tuff_tensor det = tuff_sub(tuff_mul(w00, w11), tuff_mul(w01, w10));
        const tuff_tensor x0 = tuff_sub(tuff_mul(w11, sum[3]), tuff_mul(w01, sum[6])), x1 = tuff_sub(tuff_mul(w00, sum[6]), tuff_mul(w10, sum[3]));
        y = tuff_sub(y, times(c, tuff_div(tuff_add(tuff_mul(sum[1], x0), tuff_mul(sum[2], x1)), det)));
    }
    const tuff_tensor hat = tuff_squeeze(tuff_mul(y, tuff_complex(c, s)), &(tuff_squeeze_desc){ TUFF_INTS(2) });
    l->out[0] = tuff_fft(hat, &(tuff_fft_desc){ .kind = TUFF_FFT_C2R, .n = TUFF_INTS(d->length) });
}

static const tf_attr attrs[] = {
    TF_A(cauchy_desc, length, TF_ATTR_I64, "elements of the kernel", .required = true, .min = 0, .max = 1 << 24),
    TF_A(cauchy_desc, full, TF_ATTR_BOOL, "all modes are given; false: the half with Im >= 0"),
};
const tf_op tf_op_s4_cauchy_kernel = {
    .name = "s4_cauchy_kernel",
    .doc = "s4_kernel for parameters from the device: lam[h,n] p[rank,h,n] b[h,n] ctilde[h,n] dt[h] -> k[h,length], ctilde = c (I - abar^length), rank 1 or 2",
    .source = "Gu, Goel, Re 2021, arXiv:2111.00396", .operands = "lam p b ctilde dt", .results = "k", .kind = TF_COMPOSITE, .attrs = attrs,
    .attr_count = TF_COUNT(attrs), .desc_size = sizeof(cauchy_desc), .infer = infer, .lower = lower, .reference = reference, .rel = 256,
};
tuff_tensor tuff_s4_cauchy_kernel(tuff_tensor lam, tuff_tensor p, tuff_tensor b, tuff_tensor ctilde, tuff_tensor dt, int64_t length, const tuff_s4_cauchy_kernel_desc *desc)
{
    return tf_add(NULL, &tf_op_s4_cauchy_kernel, (tuff_tensor[]){ lam, p, b, ctilde, dt }, 5, &(cauchy_desc){ length, desc && desc->full });
}
