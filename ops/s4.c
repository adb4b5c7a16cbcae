/* s4.c - convolution kernels of state-space models: s4d_kernel (diagonal) and s4_kernel (diagonal plus low rank).
 *
 * K_l = c A^l b is a matrix product of two small tables (ssm_host.c). Constant parameters: tables from the host, and for all but huge kernels
 * the product too, so the error is that of one rounding and one sum, however long the kernel is and however close to 1 the modes
 * are. Parameters that a diagonal model computes on the device: tables by exponentials whose phases are exact to 48 bits. */
#include "ssm.h"

#include <math.h>
#include <string.h>

#include "anchors.h"
#include "hippo.h"
#include "ops.h"

/* ---- shapes ---- */

bool tf_check_modes(tf_infer *c)
{
    static const char *const names[] = { "lam", "b", "c" };
    const tf_type *lam = c->type[0], *dt = c->type[3];
    for (uint32_t i = 0; i < 3; i++) {
        const tf_type *t = c->type[i];
        if (t->dtype != TUFF_C64 || t->rank != 2 || !tf_type_is_static(t))
            return tf_bad(c, TUFF_E_SHAPE, "%s is c64[h,n] of fixed size (%s)", names[i], tf_src_text(c, i));
        if (t->dim[0] != lam->dim[0] || t->dim[1] != lam->dim[1])
            return tf_bad(c, TUFF_E_SHAPE, "%s and lam differ in shape (%s; %s)", names[i], tf_src_text(c, i), tf_src_text(c, 0));
    }
    if (lam->dim[1] < 1 || lam->dim[1] > 1024)
        return tf_bad(c, TUFF_E_LIMIT, "there are %lld modes; 1 to 1024 are possible (%s)", (long long)lam->dim[1], tf_src_text(c, 0));
    if (dt->dtype != TUFF_F32 || dt->rank != 1 || dt->dim[0] != lam->dim[0])
        return tf_bad(c, TUFF_E_SHAPE, "dt is f32[h], a step per feature (%s; %s)", tf_src_text(c, 3), tf_src_text(c, 0));
    return true;
}

bool tf_check_low_rank(tf_infer *c, uint32_t i)
{
    const tf_type *p = c->type[i], *lam = c->type[0];
    if (p->dtype == TUFF_C64 && p->rank == 3 && tf_type_is_static(p) && p->dim[1] == lam->dim[0] && p->dim[2] == lam->dim[1] && p->dim[0] >= 1)
        return true;
    return tf_bad(c, TUFF_E_SHAPE, "p is c64[rank,h,n] with lam's h and n (%s; %s)", tf_src_text(c, i), tf_src_text(c, 0));
}

static bool kernel_shape(tf_infer *c, int64_t length, const tf_type *positions, uint32_t i)
{
    c->out[0] = (tf_type){ TUFF_F32, 2, { c->type[0]->dim[0], length } };
    if (!positions)
        return true;
    if (!tf_dtype_is_int(positions->dtype) || positions->rank != 1)
        return tf_bad(c, TUFF_E_SHAPE, "positions are integers with one axis (%s)", tf_src_text(c, i));
    if (length == 0)
        return tf_bad(c, TUFF_E_ATTRIBUTE, "length is 0; there are no positions to take");
    c->out[0].dim[1] = positions->dim[0];
    return true;
}

/* ---- from tables to the kernel ---- */

/* Columns per table row: near the root of the length, so that the tables are small. */
static tf_tables_desc split_length(tuff_discretization disc, bool full, tuff_tensor p, int64_t length)
{
    tf_tables_desc d = { .model = { disc, full }, .p = p, .block = 1, .length = length };
    while (d.block < 256 && d.block * d.block < length)
        d.block *= 2;
    d.parts = TF_MAX((length + d.block - 1) / d.block, 1);
    return d;
}

static void finish(tf_lower *l, tuff_tensor product, int64_t length, tuff_tensor positions)
{
    if (!product.id)
        return;
    const tf_type *t = tf_ty(product);
    const tuff_tensor whole = tuff_reshape(product, TUFF_SHAPE(t->dim[0], t->dim[1] * t->dim[2]));
    l->out[0] = tuff_slice(whole, TUFF_INTS(0), TUFF_INTS(length), &(tuff_slice_desc){ .axes = TUFF_INTS(1) });
    if (positions.id) /* clamped to the length, not to the tables' */
        l->out[0] = tuff_gather(l->out[0], positions, 1);
}

/* Up to about a second of work the host finishes the kernel: then it is a constant, which costs nothing per run and whose transform is one too. */
static void from_host(tf_lower *l, const tuff_tensor *modes, const tf_tables_desc *d, int64_t length, tuff_tensor positions)
{
    const tf_type *t = tf_ty(modes[0]);
    const double products = 2.0 * (double)t->dim[0] * (double)t->dim[1] * (double)(d->block * d->parts);
    if (products <= 1e9) {
        l->out[0] = tf_add(NULL, &tf_op_ssm_kernel, modes, 4, d);
        if (positions.id)
            l->out[0] = tuff_gather(l->out[0], positions, 1);
        return;
    }
    const tuff_tensor rows = tf_add(NULL, &tf_op_ssm_tables, modes, 4, d);
    finish(l, tuff_matmul(rows, tuff_result(rows, 1), NULL), length, positions);
}

bool tf_all_constant(const tuff_tensor *x, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (!tf_is_constant(x[i]))
            return false;
    return true;
}

/* ---- s4d_kernel ---- */

typedef struct s4d_desc {
    int64_t length;
    tuff_discretization disc;
    bool full;
    tuff_tensor positions;
} s4d_desc;

static bool s4d_infer(tf_infer *c)
{
    return tf_check_modes(c) && kernel_shape(c, ((const s4d_desc *)c->desc)->length, c->type[4], 4);
}

static tuff_status s4d_reference(tf_ref *r)
{
    const s4d_desc *d = r->desc;
    const uint64_t features = (uint64_t)r->src[0]->dim[0], columns = (uint64_t)r->out[0].dim[1];
    const tf_model_desc model = { d->disc, d->full };
    tf_ref modes = *r;
    modes.n_src = 4;
    for (uint64_t h = 0; h < features; h++) {
        tf_model m;
        if (!tf_model_at(&modes, &model, h, &m))
            return TUFF_E_MEMORY;
        for (uint64_t i = 0; i < columns; i++) {
            const double p = r->src[4] ? fmin(fmax(r->src[4]->re[i], 0), (double)(d->length - 1)) : (double)i;
            double sum = 0;
            for (uint32_t k = 0; k < m.n; k++) {
                tf_scalar ab, bb;
                tf_discretize(m.disc, m.lam[k], m.dt, &ab, &bb);
                sum += tf_cx_mul(tf_cx_mul(tf_cx_mul(bb, m.b[k]), m.c[k]), tf_mode_power(m.disc, m.lam[k], m.dt, p)).re;
            }
            r->out[0].re[h * columns + i] = d->full ? sum : 2 * sum;
        }
    }
    return TUFF_OK;
}

/* 0, step, 2 step, .. as f32[1, 1, n]. */
static tuff_tensor multiples(tuff_graph *g, int64_t n, int64_t step)
{
    const tuff_tensor i = tuff_iota(g, TUFF_SHAPE(1, 1, n), 2, &(tuff_iota_desc){ TUFF_F32 });
    return tuff_mul(i, tuff_literal(g, (double)step, TUFF_F32));
}

/* Tables with the modes first: [h, 2n, parts] and [h, 2n, block]. */
static void s4d_on_device(tf_lower *l, const s4d_desc *d, const tf_tables_desc *t)
{
    tuff_tensor ab, bb;
    if (d->disc != TUFF_DISC_ZOH && d->disc != TUFF_DISC_EULER_EXP && d->disc != TUFF_DISC_DIRAC) {
        tf_fail(l->g, TUFF_E_ARGUMENT, "s4d_kernel: %s discretisation of parameters that are no constants loses the phase of long kernels; use zoh, "
                "euler_exp or dirac, or constants", tf_discretizations[d->disc]);
        return;
    }
    tf_discretize_on_device(l->g, d->disc, l->src[0], l->src[1], l->src[3], &ab, &bb);
    const tuff_tensor lam = tuff_unsqueeze(l->src[0], TUFF_INTS(2)), dt = tuff_unsqueeze(l->src[3], TUFF_INTS(1, 2));
    const tuff_tensor re = tuff_real(lam), im = tuff_imag(lam);
    const tuff_tensor w = tuff_mul(tuff_mul(bb, l->src[2]), tuff_literal(l->g, d->full ? 1 : 2, TUFF_C64));
    const tuff_tensor x = tf_power_of_mode(re, im, dt, multiples(l->g, t->block, 1));
    const tuff_tensor y = tuff_mul(tuff_unsqueeze(w, TUFF_INTS(2)), tf_power_of_mode(re, im, dt, multiples(l->g, t->parts, t->block)));
    const tuff_tensor columns = tuff_concat((tuff_tensor[]){ tuff_real(x), tuff_imag(x) }, 2, 1);
    const tuff_tensor rows = tuff_concat((tuff_tensor[]){ tuff_real(y), tuff_neg(tuff_imag(y)) }, 2, 1);
    finish(l, tuff_matmul(rows, columns, &(tuff_matmul_desc){ .transpose_a = true }), d->length, l->n_src > 4 ? l->src[4] : (tuff_tensor){ 0 });
}

static void s4d_lower(tf_lower *l)
{
    const s4d_desc *d = l->desc;
    const tf_tables_desc t = split_length(d->disc, d->full, (tuff_tensor){ 0 }, d->length);
    if (tf_all_constant(l->src, 4))
        from_host(l, l->src, &t, d->length, l->n_src > 4 ? l->src[4] : (tuff_tensor){ 0 });
    else
        s4d_on_device(l, d, &t);
}

#define LENGTH(DESC) TF_A(DESC, length, TF_ATTR_I64, "elements of the kernel", .required = true, .min = 0, .max = 1 << 24)
#define FULL(DESC) TF_A(DESC, full, TF_ATTR_BOOL, "all modes are given; false: the half with Im >= 0, results are twice the real part")
#define POSITIONS(DESC) TF_A(DESC, positions, TF_ATTR_TENSOR, "int[m]: only these columns of 0..length-1, clamped")

static const tf_attr s4d_attrs[] = {
    LENGTH(s4d_desc), TF_A(s4d_desc, disc, TF_ATTR_ENUM, "discretisation", .choices = tf_discretizations), FULL(s4d_desc), POSITIONS(s4d_desc),
};
const tf_op tf_op_s4d_kernel = {
    .name = "s4d_kernel", .constants = true, .doc = "kernel of a diagonal model: lam[h,n] b[h,n] c[h,n] dt[h] -> k[h,length], k_l = 2 Re sum_n c bbar abar^l",
    .source = "Gu et al. 2022, arXiv:2206.11893", .operands = "lam b c dt", .results = "k", .kind = TF_COMPOSITE, .attrs = s4d_attrs,
    .attr_count = TF_COUNT(s4d_attrs), .desc_size = sizeof(s4d_desc), .infer = s4d_infer, .lower = s4d_lower, .reference = s4d_reference, .rel = 32,
};
tuff_tensor tuff_s4d_kernel(tuff_tensor lam, tuff_tensor b, tuff_tensor c, tuff_tensor dt, int64_t length, const tuff_s4d_kernel_desc *desc)
{
    const tuff_s4d_kernel_desc none = { 0 }, *d = desc ? desc : &none;
    return tf_add(NULL, &tf_op_s4d_kernel, (tuff_tensor[]){ lam, b, c, dt }, 4, &(s4d_desc){ length, d->disc, d->full, d->positions });
}

/* ---- s4_kernel ---- */

typedef struct s4_desc {
    int64_t length;
    bool full;
    tuff_tensor positions;
} s4_desc;

/* Positional: lam p b c dt; the host rows want lam b c dt, p. */
static void modes_first(const tuff_tensor *src, tuff_tensor *modes)
{
    modes[0] = src[0];
    memcpy(modes + 1, src + 2, 3 * sizeof *modes);
}

static bool s4_infer(tf_infer *c)
{
    const s4_desc *d = c->desc;
    const tf_type *moved[5] = { c->type[0], c->type[2], c->type[3], c->type[4], c->type[1] };
    const uint32_t ids[5] = { c->src[0], c->src[2], c->src[3], c->src[4], c->src[1] };
    tf_infer modes = *c;
    modes.type = moved;
    modes.src = ids;
    modes.n_src = 5;
    c->n_out = 2;
    if (!tf_check_modes(&modes) || !tf_check_low_rank(&modes, 4) || !kernel_shape(c, d->length, c->type[5], 5))
        return false;
    c->out[1] = *c->type[0];
    return true;
}

static tuff_status s4_reference(tf_ref *r)
{
    const s4_desc *d = r->desc;
    const tf_ref_tensor *src[5] = { r->src[0], r->src[2], r->src[3], r->src[4], r->src[1] };
    const tf_model_desc model = { TUFF_DISC_BILINEAR, d->full };
    tf_ref modes = *r;
    modes.src = src;
    modes.n_src = 5;
    tuff_status status = tf_kernel_reference(&modes, &model, r->src[5], d->length);
    if (!status)
        status = tf_truncation_reference(&modes, &model, d->length, &r->out[1]);
    r->error = modes.error;
    return status;
}

static void s4_lower(tf_lower *l)
{
    const s4_desc *d = l->desc;
    tuff_tensor modes[4];
    if (!tf_all_constant(l->src, 5)) {
        tf_fail(l->g, TUFF_E_ARGUMENT, "s4_kernel: powers of the step are taken on the host when the graph is compiled, so lam, p, b, c and dt must be constants");
        return;
    }
    modes_first(l->src, modes);
    tf_tables_desc t = split_length(TUFF_DISC_BILINEAR, d->full, l->src[1], d->length);
    from_host(l, modes, &t, d->length, l->n_src > 5 ? l->src[5] : (tuff_tensor){ 0 });
    if (l->want[1])
        l->out[1] = tf_add(NULL, &tf_op_ssm_truncation, modes, 4, &t);
}

static const tf_attr s4_attrs[] = { LENGTH(s4_desc), FULL(s4_desc), POSITIONS(s4_desc) };
const tf_op tf_op_s4_kernel = {
    .name = "s4_kernel", .constants = true,
    .doc = "kernel of a = diag(lam) - p'conj(p), bilinear: lam[h,n] p[rank,h,n] b[h,n] c[h,n] dt[h] -> k[h,length], ctilde[h,n] = c (I - abar^length)",
    .source = "Gu, Goel, Re 2021, arXiv:2111.00396", .operands = "lam p b c dt", .results = "k ctilde", .kind = TF_COMPOSITE, .attrs = s4_attrs,
    .attr_count = TF_COUNT(s4_attrs), .desc_size = sizeof(s4_desc), .infer = s4_infer, .lower = s4_lower, .reference = s4_reference, .rel = 32,
};
tuff_tensor tuff_s4_kernel(tuff_tensor lam, tuff_tensor p, tuff_tensor b, tuff_tensor c, tuff_tensor dt, int64_t length, const tuff_s4_kernel_desc *desc)
{
    const tuff_s4_kernel_desc none = { 0 }, *d = desc ? desc : &none;
    return tf_add(NULL, &tf_op_s4_kernel, (tuff_tensor[]){ lam, p, b, c, dt }, 5, &(s4_desc){ length, d->full, d->positions });
}
