/* ssm_host.c - tables of linear time-invariant models with constant parameters, in double precision.
 *
 * A model is a real matrix here: its state holds the real and then the imaginary parts of the modes, which makes conjugate halves,
 * full spectra, diagonal models and diagonal-plus-low-rank ones the same. A kernel K_l = c A^l b of any length is a product of two tables,
 * rows c A^(Q q) and columns A^r b with l = Q q + r, whose entries are rounded once. */
#include "ssm.h"

#include <string.h>

#include "hippo.h"

static tf_scalar at(const tf_ref_tensor *t, uint64_t i) { return tf_cx(t->re[i], t->im[i]); }

/* ---- one model of a batch ------------------------------------------------------------------------------ */

/* A x for x = one of the 2n unit vectors, into column `unit` of out[2n, 2n]. */
static void low_rank_column(const tf_model *m, uint32_t unit, double *out)
{
    const uint32_t n = m->n, j = unit % n;
    const tf_scalar x = unit < n ? tf_cx(1, 0) : tf_cx(0, 1);
    for (uint32_t i = 0; i < n; i++) {
        tf_scalar y = i == j ? tf_cx_mul(m->lam[i], x) : tf_cx(0, 0);
        for (uint32_t r = 0; r < m->rank; r++) {
            tf_scalar s = tf_cx_mul(tf_cx_conj(m->p[r * n + j]), x);
            if (!m->full)
                s = tf_cx(2 * s.re, 0);
            y = tf_cx_sub(y, tf_cx_mul(m->p[r * n + i], s));
        }
        out[(size_t)i * 2 * n + unit] = y.re;
        out[(size_t)(n + i) * 2 * n + unit] = y.im;
    }
}

/* abar [2n, 2n] and bbar [2n]. Diagonal models take any method, others the bilinear one. */
static bool discretise(const tf_model *m, double *abar, double *bbar, tf_arena *arena)
{
    const uint32_t n = m->n, size = 2 * n;
    memset(abar, 0, (size_t)size * size * sizeof *abar);
    for (uint32_t i = 0; i < n && !m->rank; i++) {
        tf_scalar ab, bb;
        tf_discretize(m->disc, m->lam[i], m->dt, &ab, &bb);
        bb = tf_cx_mul(bb, m->b[i]);
        abar[i * size + i] = abar[(n + i) * size + n + i] = ab.re;
        abar[i * size + n + i] = -ab.im;
        abar[(n + i) * size + i] = ab.im;
        bbar[i] = bb.re;
        bbar[n + i] = bb.im;
    }
    if (!m->rank)
        return true;
    double *a = tf_arena_array(arena, double, (size_t)size * size), *b = tf_arena_array(arena, double, size);
    if (!a || !b)
        return false;
    for (uint32_t j = 0; j < size; j++) {
        low_rank_column(m, j, a);
        b[j] = j < n ? m->b[j].re : m->b[j - n].im;
    }
    return tf_implicit_step(a, b, size, m->dt, 0.5, abar, bbar, arena);
}

/* y = c x as a row over the real state. */
static void output_row(const tf_model *m, double *c)
{
    const double scale = m->full ? 1 : 2;
    for (uint32_t i = 0; i < m->n; i++) {
        c[i] = scale * m->c[i].re;
        c[m->n + i] = -scale * m->c[i].im;
    }
}

bool tf_model_real(const tf_model *m, tf_real_model *out, tf_arena *arena)
{
    const uint32_t size = 2 * m->n;
    *out = (tf_real_model){ .n = size, .a = tf_arena_array(arena, double, (size_t)size * size), .b = tf_arena_array(arena, double, size),
                            .c = tf_arena_array(arena, double, size) };
    if (!out->a || !out->b || !out->c)
        return false;
    output_row(m, out->c);
    return discretise(m, out->a, out->b, arena);
}

/* y = A x, and y' = x' A. */
static void apply(const double *a, uint32_t n, const double *x, double *y, bool transposed)
{
    for (uint32_t i = 0; i < n; i++)
        y[i] = 0;
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < n; j++)
            if (transposed)
                y[j] += x[i] * a[(size_t)i * n + j];
            else
                y[i] += a[(size_t)i * n + j] * x[j];
}

/* a <- a^2 through tmp. */
static void square(double *a, double *tmp, uint32_t n)
{
    tf_multiply(a, a, tmp, n);
    memcpy(a, tmp, (size_t)n * n * sizeof *a);
}

/* ---- operands of host rows --------------------------------------------------------------------------------- */

bool tf_model_at(const tf_ref *r, const tf_model_desc *d, uint64_t h, tf_model *m)
{
    const tf_ref_tensor *lam = r->src[0], *p = r->n_src > 4 ? r->src[4] : NULL;
    const uint64_t n = (uint64_t)lam->dim[1], features = (uint64_t)lam->dim[0];
    *m = (tf_model){ .n = (uint32_t)n, .rank = p ? (uint32_t)p->dim[0] : 0, .dt = r->src[3]->re[h], .full = d->full, .disc = p ? TUFF_DISC_BILINEAR : d->disc };
    m->lam = tf_arena_array(r->scratch, tf_scalar, n);
    m->b = tf_arena_array(r->scratch, tf_scalar, n);
    m->c = tf_arena_array(r->scratch, tf_scalar, n);
    m->p = tf_arena_array(r->scratch, tf_scalar, m->rank * n + 1);
    if (r->scratch->failed)
        return false;
    for (uint64_t i = 0; i < n; i++) {
        m->lam[i] = at(lam, h * n + i);
        m->b[i] = at(r->src[1], h * n + i);
        m->c[i] = at(r->src[2], h * n + i);
        for (uint64_t k = 0; k < m->rank; k++)
            m->p[k * n + i] = at(p, (k * features + h) * n + i);
    }
    return true;
}

static const char unsolvable[] = "I - dt A / 2 is singular for one of the features";

/* The model of feature h as real matrices, or r->error. */
static tuff_status real_model(tf_ref *r, const tf_model_desc *d, uint64_t h, tf_real_model *out)
{
    tf_model m;
    if (!tf_model_at(r, d, h, &m))
        return TUFF_E_MEMORY;
    if (tf_model_real(&m, out, r->scratch))
        return TUFF_OK;
    if (!r->scratch->failed)
        r->error = unsolvable;
    return r->scratch->failed ? TUFF_E_MEMORY : TUFF_E_ARGUMENT;
}

tuff_status tf_each_feature(tf_ref *r, uint64_t features, tuff_status (*work)(tf_ref *r, uint64_t feature, void *user), void *user)
{
    tuff_status status = TUFF_OK;
    for (uint64_t h = 0; h < features && !status; h++) {
        tf_arena own;
        tf_arena_init(&own, &r->scratch->allocator);
        tf_ref one = *r;
        one.scratch = &own;
        status = work(&one, h, user);
        r->error = one.error;
        tf_arena_release(&own);
    }
    return status;
}

static uint64_t features_of(const tf_ref *r) { return (uint64_t)r->src[0]->dim[0]; }

/* ---- references -------------------------------------------------------------------------------------------- */

typedef struct kernel_job {
    const tf_model_desc *d;
    const tf_ref_tensor *positions;
    tf_ref_tensor *out;
    int64_t length;
} kernel_job;

static tuff_status kernel_of(tf_ref *r, uint64_t h, void *user)
{
    const kernel_job *j = user;
    const uint64_t columns = (uint64_t)j->out->dim[1];
    tf_real_model m;
    const tuff_status status = real_model(r, j->d, h, &m);
    double *k = tf_arena_array(r->scratch, double, (size_t)j->length + 1), *next = tf_arena_array(r->scratch, double, (size_t)m.n + 1);
    if (status || !k || !next)
        return status ? status : TUFF_E_MEMORY;
    for (int64_t l = 0; l < j->length; l++) {
        for (uint32_t i = 0; i < m.n; i++)
            k[l] += m.c[i] * m.b[i];
        apply(m.a, m.n, m.b, next, false);
        memcpy(m.b, next, m.n * sizeof *next);
    }
    for (uint64_t i = 0; i < columns; i++) {
        const double p = j->positions ? j->positions->re[i] : (double)i;
        j->out->re[h * columns + i] = k[p < 0 ? 0 : p >= (double)j->length ? j->length - 1 : (int64_t)p];
    }
    return TUFF_OK;
}

tuff_status tf_kernel_reference(tf_ref *r, const tf_model_desc *d, const tf_ref_tensor *positions, int64_t length)
{
    return tf_each_feature(r, features_of(r), kernel_of, &(kernel_job){ d, positions, &r->out[0], length });
}

/* Ct = C (I - A^length). */
static tuff_status truncation_of(tf_ref *r, uint64_t h, void *user)
{
    const kernel_job *j = user;
    const uint64_t n = (uint64_t)r->src[0]->dim[1];
    const double scale = j->d->full ? 1 : 2;
    tf_real_model m;
    const tuff_status status = real_model(r, j->d, h, &m);
    if (status)
        return status;
    double *tmp = tf_arena_array(r->scratch, double, (size_t)m.n * m.n), *row = tf_arena_copy(r->scratch, m.c, m.n * sizeof *m.c);
    if (!tmp || !row)
        return TUFF_E_MEMORY;
    for (int64_t bits = j->length; bits; bits >>= 1) {
        if (bits & 1) {
            apply(m.a, m.n, row, tmp, true);
            memcpy(row, tmp, m.n * sizeof *row);
        }
        if (bits > 1)
            square(m.a, tmp, m.n);
    }
    for (uint64_t i = 0; i < n; i++) {
        j->out->re[h * n + i] = (m.c[i] - row[i]) / scale;
        j->out->im[h * n + i] = (row[n + i] - m.c[n + i]) / scale;
    }
    return TUFF_OK;
}

tuff_status tf_truncation_reference(tf_ref *r, const tf_model_desc *d, int64_t length, tf_ref_tensor *out)
{
    return tf_each_feature(r, features_of(r), truncation_of, &(kernel_job){ d, NULL, out, length });
}

/* ---- the tables ---------------------------------------------------------------------------------------------- */

static bool tables_infer(tf_infer *c)
{
    const tf_tables_desc *d = c->desc;
    const tf_type *lam = c->type[0];
    c->n_out = 2;
    c->out[0] = (tf_type){ TUFF_F32, 3, { lam->dim[0], d->parts, 2 * lam->dim[1] } };
    c->out[1] = (tf_type){ TUFF_F32, 3, { lam->dim[0], 2 * lam->dim[1], d->block } };
    return true;
}

static tuff_status dense_tables(tf_ref *r, const tf_tables_desc *d, uint64_t h, double *rows, double *columns)
{
    tf_real_model m;
    const tuff_status status = real_model(r, &d->model, h, &m);
    if (status)
        return status;
    const uint64_t block = (uint64_t)d->block;
    double *tmp = tf_arena_array(r->scratch, double, (size_t)m.n * m.n), *x = m.b;
    if (!tmp)
        return TUFF_E_MEMORY;
    for (uint64_t i = 0; i < block; i++) {
        for (uint32_t k = 0; k < m.n; k++)
            columns[k * block + i] = x[k];
        apply(m.a, m.n, x, tmp, false);
        memcpy(x, tmp, m.n * sizeof *x);
    }
    for (uint64_t step = 1; step < block; step *= 2)
        square(m.a, tmp, m.n);
    for (int64_t q = 0; q < d->parts; q++) {
        memcpy(rows + (uint64_t)q * m.n, m.c, m.n * sizeof *rows);
        apply(m.a, m.n, m.c, tmp, true);
        memcpy(m.c, tmp, m.n * sizeof *tmp);
    }
    return TUFF_OK;
}

/* Diagonal models need no matrices: powers mode by mode, by exponentials where there are any. */
tf_scalar tf_mode_power(tuff_discretization disc, tf_scalar lam, double dt, double j)
{
    tf_scalar ab, bb, y = tf_cx(1, 0);
    if (disc == TUFF_DISC_ZOH || disc == TUFF_DISC_EULER_EXP || disc == TUFF_DISC_DIRAC)
        return tf_cx_exp(tf_cx_scale(tf_cx_scale(lam, dt), j));
    tf_discretize(disc, lam, dt, &ab, &bb);
    for (uint64_t bits = (uint64_t)j; bits; bits >>= 1, ab = tf_cx_mul(ab, ab))
        if (bits & 1)
            y = tf_cx_mul(y, ab);
    return y;
}

static tuff_status diagonal_tables(tf_ref *r, const tf_tables_desc *d, uint64_t h, double *rows, double *columns)
{
    tf_model m;
    if (!tf_model_at(r, &d->model, h, &m))
        return TUFF_E_MEMORY;
    const uint64_t n = m.n, block = (uint64_t)d->block;
    for (uint64_t i = 0; i < n; i++) {
        tf_scalar ab, bb;
        tf_discretize(m.disc, m.lam[i], m.dt, &ab, &bb);
        const tf_scalar w = tf_cx_scale(tf_cx_mul(tf_cx_mul(bb, m.b[i]), m.c[i]), m.full ? 1 : 2);
        for (uint64_t j = 0; j < block; j++) {
            const tf_scalar x = tf_mode_power(m.disc, m.lam[i], m.dt, (double)j);
            columns[i * block + j] = x.re;
            columns[(n + i) * block + j] = x.im;
        }
        for (int64_t q = 0; q < d->parts; q++) {
            const tf_scalar x = tf_cx_mul(w, tf_mode_power(m.disc, m.lam[i], m.dt, (double)(q * d->block)));
            rows[(uint64_t)q * 2 * n + i] = x.re;
            rows[(uint64_t)q * 2 * n + n + i] = -x.im;
        }
    }
    return TUFF_OK;
}

/* rows [parts, 2n] and columns [2n, block] of feature h. */
static tuff_status tables_of(tf_ref *r, const tf_tables_desc *d, uint64_t h, double *rows, double *columns)
{
    const bool diagonal = r->n_src <= 4 || !r->src[4];
    return diagonal ? diagonal_tables(r, d, h, rows, columns) : dense_tables(r, d, h, rows, columns);
}

static tuff_status store_tables(tf_ref *r, uint64_t h, void *user)
{
    const tf_tables_desc *d = r->desc;
    (void)user;
    const uint64_t size = 2 * (uint64_t)r->src[0]->dim[1];
    return tables_of(r, d, h, r->out[0].re + h * (uint64_t)d->parts * size, r->out[1].re + h * size * (uint64_t)d->block);
}
static tuff_status tables_reference(tf_ref *r) { return tf_each_feature(r, features_of(r), store_tables, NULL); }

/* The kernel itself: the tables' product. */
static tuff_status store_product(tf_ref *r, uint64_t h, void *user)
{
    const tf_tables_desc *d = r->desc;
    (void)user;
    const uint64_t size = 2 * (uint64_t)r->src[0]->dim[1], block = (uint64_t)d->block, parts = (uint64_t)d->parts, length = (uint64_t)r->out[0].dim[1];
    double *rows = tf_arena_array(r->scratch, double, parts * size), *columns = tf_arena_array(r->scratch, double, size * block);
    const tuff_status status = rows && columns ? tables_of(r, d, h, rows, columns) : TUFF_E_MEMORY;
    for (uint64_t q = 0; q < parts && !status; q++)
        for (uint64_t i = 0; i < size; i++) {
            const double w = rows[q * size + i];
            double *k = r->out[0].re + h * length + q * block;
            for (uint64_t j = 0; j < block && q * block + j < length; j++)
                k[j] += w * columns[i * block + j];
        }
    return status;
}
static tuff_status kernel_reference(tf_ref *r) { return tf_each_feature(r, features_of(r), store_product, NULL); }

static const tf_attr tables_attrs[] = {
    { .name = "disc", .doc = "discretisation", .type = TF_ATTR_ENUM, .offset = (uint32_t)offsetof(tf_tables_desc, model.disc), .choices = tf_discretizations },
    { .name = "full", .doc = "all modes are given", .type = TF_ATTR_BOOL, .offset = (uint32_t)offsetof(tf_tables_desc, model.full) },
    TF_A(tf_tables_desc, p, TF_ATTR_TENSOR, "the low-rank part"),
    TF_A(tf_tables_desc, block, TF_ATTR_I64, "columns, a power of two"),
    TF_A(tf_tables_desc, parts, TF_ATTR_I64, "rows"),
    TF_A(tf_tables_desc, length, TF_ATTR_I64, "of the kernel"),
};
const tf_op tf_op_ssm_tables = {
    .name = "_ssm_tables", .doc = "rows c A^(block q) and columns A^r b of a model", .operands = "lam b c dt", .results = "rows columns", .kind = TF_HOST,
    .internal = true, .attrs = tables_attrs, .attr_count = TF_COUNT(tables_attrs), .desc_size = sizeof(tf_tables_desc), .infer = tables_infer,
    .reference = tables_reference,
};

static bool kernel_infer(tf_infer *c)
{
    c->out[0] = (tf_type){ TUFF_F32, 2, { c->type[0]->dim[0], ((const tf_tables_desc *)c->desc)->length } };
    return true;
}
const tf_op tf_op_ssm_kernel = {
    .name = "_ssm_kernel", .doc = "the product of _ssm_tables: k[h,length]", .operands = "lam b c dt", .results = "k", .kind = TF_HOST, .internal = true,
    .attrs = tables_attrs, .attr_count = TF_COUNT(tables_attrs), .desc_size = sizeof(tf_tables_desc), .infer = kernel_infer, .reference = kernel_reference,
};

static bool truncation_infer(tf_infer *c)
{
    c->out[0] = *c->type[0];
    return true;
}
static tuff_status truncation_reference(tf_ref *r)
{
    const tf_tables_desc *d = r->desc;
    return tf_truncation_reference(r, &d->model, d->length, &r->out[0]);
}
const tf_op tf_op_ssm_truncation = {
    .name = "_ssm_truncation", .doc = "c (I - A^length)", .operands = "lam b c dt", .results = "ctilde", .kind = TF_HOST, .internal = true,
    .attrs = tables_attrs, .attr_count = TF_COUNT(tables_attrs), .desc_size = sizeof(tf_tables_desc), .infer = truncation_infer,
    .reference = truncation_reference,
};

/* ---- chunks of steps with state ---------------------------------------------------------------------------------- */

static bool steps_infer(tf_infer *c)
{
    const tf_tables_desc *d = c->desc;
    const int64_t h = c->type[0]->dim[0], n = c->type[0]->dim[1];
    const bool dense = c->n_src > 4 && c->type[4];
    c->n_out = 5;
    c->out[0] = (tf_type){ TUFF_F32, 3, { h, d->block, 2 * n } };
    c->out[1] = (tf_type){ TUFF_F32, 3, { h, 2 * n, d->block } };
    c->out[2] = (tf_type){ TUFF_F32, 2, { h, d->block } };
    c->out[3] = c->out[4] = dense ? (tf_type){ TUFF_F32, 3, { h, 2 * n, 2 * n } } : (tf_type){ TUFF_C64, 2, { h, n } };
    return true;
}

/* A^block, or its diagonal, of one feature. */
static void store_power(const tf_real_model *m, const double *power, uint64_t h, tf_ref_tensor *out)
{
    const uint32_t n = m->n / 2;
    if (!out->im) {
        memcpy(out->re + h * m->n * m->n, power, (size_t)m->n * m->n * sizeof *power);
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        out->re[h * n + i] = power[i * m->n + i];
        out->im[h * n + i] = power[(n + i) * m->n + i];
    }
}

/* outputs[t] = c A^(t+1), inputs[j] = A^(block-1-j) b, kernel[j] = c A^j b, A^block and A^rest. */
static tuff_status store_steps(tf_ref *r, uint64_t h, void *user)
{
    const tf_tables_desc *d = r->desc;
    (void)user;
    const uint64_t block = (uint64_t)d->block;
    tf_real_model m;
    const tuff_status status = real_model(r, &d->model, h, &m);
    if (status)
        return status;
    const uint32_t n = m.n;
    double *tmp = tf_arena_array(r->scratch, double, (size_t)n * n), *power = tf_arena_array(r->scratch, double, (size_t)n * n);
    if (!tmp || !power)
        return TUFF_E_MEMORY;
    for (uint64_t j = 0; j < block; j++) {
        double k = 0;
        for (uint32_t i = 0; i < n; i++) {
            k += m.c[i] * m.b[i];
            r->out[1].re[(h * n + i) * block + block - 1 - j] = m.b[i];
        }
        r->out[2].re[h * block + j] = k;
        apply(m.a, n, m.b, tmp, false);
        memcpy(m.b, tmp, n * sizeof *tmp);
    }
    for (uint64_t t = 0; t < block; t++) {
        apply(m.a, n, m.c, tmp, true);
        memcpy(m.c, tmp, n * sizeof *tmp);
        memcpy(r->out[0].re + (h * block + t) * n, m.c, n * sizeof *tmp);
    }
    for (int pass = 0; pass < 2; pass++) {
        double *base = tf_arena_copy(r->scratch, m.a, (size_t)n * n * sizeof *base);
        if (!base)
            return TUFF_E_MEMORY;
        for (uint32_t i = 0; i < n * n; i++)
            power[i] = i % (n + 1) == 0;
        for (int64_t bits = pass ? d->length % d->block : d->block; bits; bits >>= 1) {
            if (bits & 1) {
                tf_multiply(power, base, tmp, n);
                memcpy(power, tmp, (size_t)n * n * sizeof *tmp);
            }
            square(base, tmp, n);
        }
        store_power(&m, power, h, &r->out[3 + pass]);
    }
    return TUFF_OK;
}
static tuff_status steps_reference(tf_ref *r) { return tf_each_feature(r, features_of(r), store_steps, NULL); }

const tf_op tf_op_ssm_steps = {
    .name = "_ssm_steps", .doc = "tables for `block` steps with state", .operands = "lam b c dt", .results = "outputs inputs kernel power rest", .kind = TF_HOST,
    .internal = true, .attrs = tables_attrs, .attr_count = TF_COUNT(tables_attrs), .desc_size = sizeof(tf_tables_desc), .infer = steps_infer,
    .reference = steps_reference,
};
