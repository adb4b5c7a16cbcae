/* hippo.c - where state-space models start: HiPPO matrices, their normal-plus-low-rank form, diagonal spectra, time scales, and
 * perturb-then-diagonalise. Host rows: computed in double precision when the graph is compiled.
 *
 * Of the eigenvalues of a real system only those with a non-negative imaginary part are kept, ascending; the model
 * takes twice the real part of what they give. */
#include "hippo.h"

#include <string.h>

#include "ops.h"

#define PI 3.14159265358979323846

static const char *const basis_names[] = { "legs", "legt", "lagt", "fout", NULL };

/* ---- the matrices ----------------------------------------------------------------------------------- */

uint32_t tf_hippo_rank(tuff_hippo basis) { return basis == TUFF_HIPPO_LEGT ? 2 : 1; }

static double root(uint32_t n) { return sqrt(2 * (double)n + 1); }
static double fourier(uint32_t n) { return n == 0 ? 1 : n % 2 ? 0 : sqrt(2); }

static double hippo_a(tuff_hippo basis, uint32_t n, uint32_t k, double theta)
{
    switch (basis) {
    case TUFF_HIPPO_LEGS: return n > k ? -root(n) * root(k) : n == k ? -((double)n + 1) : 0;
    case TUFF_HIPPO_LEGT: return -root(n) * root(k) / theta * (n >= k || (k - n) % 2 == 0 ? 1 : -1);
    case TUFF_HIPPO_LAGT: return n > k ? -1 : n == k ? -0.5 : 0;
    default: break;
    }
    const double turn = n / 2 != k / 2 || n == k ? 0 : (n < k ? -2 : 2) * PI * (double)(n / 2);
    return (turn - 2 * fourier(n) * fourier(k)) / theta;
}

static double hippo_b(tuff_hippo basis, uint32_t n, double theta)
{
    switch (basis) {
    case TUFF_HIPPO_LEGS: return root(n);
    case TUFF_HIPPO_LEGT: return root(n) / theta;
    case TUFF_HIPPO_LAGT: return 1;
    default: return 2 * fourier(n) / theta;
    }
}

static double hippo_p(tuff_hippo basis, uint32_t row, uint32_t n, double theta)
{
    switch (basis) {
    case TUFF_HIPPO_LEGS: return sqrt((double)n + 0.5);
    case TUFF_HIPPO_LEGT: return n % 2 != row ? root(n) / sqrt(theta) : 0;
    case TUFF_HIPPO_LAGT: return sqrt(0.5);
    default: return fourier(n) * sqrt(2 / theta);
    }
}

void tf_hippo(tuff_hippo basis, uint32_t n, double theta, double *a, double *b, double *p)
{
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t k = 0; k < n; k++)
            a[(size_t)i * n + k] = hippo_a(basis, i, k, theta);
        b[i] = hippo_b(basis, i, theta);
        for (uint32_t r = 0; r < tf_hippo_rank(basis); r++)
            p[r * n + i] = hippo_p(basis, r, i, theta);
    }
}

typedef struct hippo_desc {
    tuff_hippo basis;
    int32_t n;
    double theta;
} hippo_desc;

static double window(const hippo_desc *d) { return d->theta > 0 ? d->theta : 1; }

static bool hippo_infer(tf_infer *c)
{
    const hippo_desc *d = c->desc;
    c->n_out = 3;
    c->out[0] = (tf_type){ TUFF_F32, 2, { d->n, d->n } };
    c->out[1] = (tf_type){ TUFF_F32, 1, { d->n } };
    c->out[2] = (tf_type){ TUFF_F32, 2, { tf_hippo_rank(d->basis), d->n } };
    return true;
}

static tuff_status hippo_reference(tf_ref *r)
{
    const hippo_desc *d = r->desc;
    tf_hippo(d->basis, (uint32_t)d->n, window(d), r->out[0].re, r->out[1].re, r->out[2].re);
    return TUFF_OK;
}

#define HIPPO_ATTRS(MAX, N_DOC) \
    TF_A(hippo_desc, basis, TF_ATTR_ENUM, "which measure", .required = true, .choices = basis_names), \
    TF_A(hippo_desc, n, TF_ATTR_INT, N_DOC, .required = true, .min = 1, .max = MAX), \
    TF_A(hippo_desc, theta, TF_ATTR_DOUBLE, "window length of legt and fout; 0: 1")

static const tf_attr hippo_attrs[] = { HIPPO_ATTRS(4096, "state size") };
const tf_op tf_op_hippo_matrix = {
    .name = "hippo_matrix", .doc = "x' = A x + B u that keeps a history: -> a[n,n] b[n] p[rank,n] with a + p'p normal, rank 2 for legt, else 1",
    .source = "Gu et al. 2020, arXiv:2008.07669; arXiv:2111.00396", .operands = "", .results = "a b p", .kind = TF_HOST, .attrs = hippo_attrs,
    .attr_count = TF_COUNT(hippo_attrs), .desc_size = sizeof(hippo_desc), .infer = hippo_infer, .reference = hippo_reference,
};
tuff_tensor tuff_hippo_matrix(tuff_graph *g, tuff_hippo basis, int32_t n, const tuff_hippo_desc *desc)
{
    return tf_add(g, &tf_op_hippo_matrix, NULL, 0, &(hippo_desc){ basis, n, desc ? desc->theta : 0 });
}

/* ---- diagonal plus low rank -------------------------------------------------------------------------- */

static tf_scalar project(const tf_scalar *v, uint32_t n, uint32_t column, const double *x)
{
    tf_scalar s = { 0, 0 };
    for (uint32_t i = 0; i < n; i++)
        s = tf_cx_add(s, tf_cx_scale(tf_cx_conj(v[(size_t)i * n + column]), x[i]));
    return s;
}

/* The normal part S = A + P'P = c I + skew: i times the skew part is Hermitian. */
bool tf_hippo_normal(tuff_hippo basis, uint32_t n, double theta, tf_nplr *out, tf_arena *arena)
{
    const uint32_t half = n / 2, rank = tf_hippo_rank(basis);
    const size_t square = (size_t)n * n;
    double *a = tf_arena_array(arena, double, square), *b = tf_arena_array(arena, double, n), *p = tf_arena_array(arena, double, (size_t)rank * n);
    double *w = tf_arena_array(arena, double, n);
    tf_scalar *h = tf_arena_array(arena, tf_scalar, square), *v = tf_arena_array(arena, tf_scalar, square);
    *out = (tf_nplr){ .lam = tf_arena_array(arena, tf_scalar, half), .b = tf_arena_array(arena, tf_scalar, half),
                      .p = tf_arena_array(arena, tf_scalar, (size_t)rank * half), .v = tf_arena_array(arena, tf_scalar, (size_t)n * half) };
    if (!a || !b || !p || !w || !h || !v || !out->v || !out->p || !out->b || !out->lam)
        return false;
    tf_hippo(basis, n, theta, a, b, p);
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t k = 0; k < n; k++) {
            double s = i == k ? 0 : a[i * n + k];
            for (uint32_t r = 0; r < rank && i != k; r++)
                s += p[r * n + i] * p[r * n + k];
            h[i * n + k] = tf_cx(0, -s);
        }
    if (!tf_eigen_hermitian(h, n, w, v, arena))
        return false;
    if (basis == TUFF_HIPPO_FOUT) /* the two zeros: a pair of conjugate vectors */
        for (uint32_t i = 0; i < n; i++)
            v[i * n + half] = tf_cx(i == 0 ? sqrt(0.5) : 0, i == 1 ? sqrt(0.5) : 0);
    for (uint32_t m = 0; m < half; m++) {
        const uint32_t column = half + m;
        const bool zero = basis == TUFF_HIPPO_FOUT && m == 0;
        out->lam[m] = tf_cx(basis == TUFF_HIPPO_LEGS ? -0.5 : 0, zero ? 0 : w[column]);
        out->b[m] = project(v, n, column, b);
        for (uint32_t r = 0; r < rank; r++)
            out->p[r * half + m] = project(v, n, column, p + r * n);
        for (uint32_t i = 0; i < n; i++)
            out->v[i * half + m] = v[i * n + column];
    }
    return true;
}

static bool even_size(tf_infer *c, int32_t n)
{
    if (n % 2 == 0)
        return true;
    return tf_bad(c, TUFF_E_ATTRIBUTE, "n is %d; it is even, for the spectrum comes in conjugate pairs", (int)n);
}

static bool nplr_infer(tf_infer *c)
{
    const hippo_desc *d = c->desc;
    const int64_t half = d->n / 2;
    c->n_out = 4;
    c->out[0] = (tf_type){ TUFF_C64, 1, { half } };
    c->out[1] = (tf_type){ TUFF_C64, 1, { half } };
    c->out[2] = (tf_type){ TUFF_C64, 2, { tf_hippo_rank(d->basis), half } };
    c->out[3] = (tf_type){ TUFF_C64, 2, { d->n, half } };
    return even_size(c, d->n);
}

static void store(tf_ref_tensor *t, const tf_scalar *x)
{
    for (uint64_t i = 0; i < t->n; i++) {
        t->re[i] = x[i].re;
        if (t->im)
            t->im[i] = x[i].im;
    }
}

static tuff_status nplr_reference(tf_ref *r)
{
    const hippo_desc *d = r->desc;
    tf_nplr x;
    if (!tf_hippo_normal(d->basis, (uint32_t)d->n, window(d), &x, r->scratch))
        return TUFF_E_MEMORY;
    store(&r->out[0], x.lam);
    store(&r->out[1], x.b);
    store(&r->out[2], x.p);
    store(&r->out[3], x.v);
    return TUFF_OK;
}

static const tf_attr nplr_attrs[] = { HIPPO_ATTRS(512, "state size, even") };
const tf_op tf_op_hippo_nplr = {
    .name = "hippo_nplr", .doc = "HiPPO as diagonal plus low rank: -> lam[n/2] b[n/2] p[rank,n/2] v[n,n/2], a = V (diag(lam) - p'conj(p)) V*",
    .source = "arXiv:2111.00396", .operands = "", .results = "lam b p v", .kind = TF_HOST, .attrs = nplr_attrs,
    .attr_count = TF_COUNT(nplr_attrs), .desc_size = sizeof(hippo_desc), .infer = nplr_infer, .reference = nplr_reference,
};
tuff_tensor tuff_hippo_nplr(tuff_graph *g, tuff_hippo basis, int32_t n, const tuff_hippo_desc *desc)
{
    return tf_add(g, &tf_op_hippo_nplr, NULL, 0, &(hippo_desc){ basis, n, desc ? desc->theta : 0 });
}

/* ---- diagonal spectra ----------------------------------------------------------------------------------- */

typedef struct s4d_init_desc {
    tuff_s4d_spectrum init;
    int32_t n;
} s4d_init_desc;

static const char *const init_names[] = { "lin", "inv", "quad", "legs", "real", NULL };

static bool s4d_init_infer(tf_infer *c)
{
    const s4d_init_desc *d = c->desc;
    c->n_out = 2;
    c->out[0] = c->out[1] = (tf_type){ TUFF_C64, 1, { d->n / 2 } };
    return even_size(c, d->n);
}

static tuff_status s4d_init_reference(tf_ref *r)
{
    const s4d_init_desc *d = r->desc;
    const double n = d->n;
    if (d->init == TUFF_S4D_LEGS) {
        tf_nplr x;
        if (!tf_hippo_normal(TUFF_HIPPO_LEGS, (uint32_t)d->n, 1, &x, r->scratch))
            return TUFF_E_MEMORY;
        store(&r->out[0], x.lam);
        store(&r->out[1], x.b);
        return TUFF_OK;
    }
    for (int32_t i = 0; i < d->n / 2; i++) {
        const double m = i;
        tf_scalar lam = tf_cx(-0.5, PI * m);
        if (d->init == TUFF_S4D_INV)
            lam.im = n / PI * (n / (2 * m + 1) - 1);
        if (d->init == TUFF_S4D_QUAD)
            lam.im = (1 + 2 * m) * (1 + 2 * m) / PI;
        if (d->init == TUFF_S4D_REAL)
            lam = tf_cx(-(m + 1), 0);
        r->out[0].re[i] = lam.re;
        r->out[0].im[i] = lam.im;
        r->out[1].re[i] = 1;
    }
    return TUFF_OK;
}

static const tf_attr s4d_init_attrs[] = {
    TF_A(s4d_init_desc, init, TF_ATTR_ENUM, "which spectrum", .required = true, .choices = init_names),
    TF_A(s4d_init_desc, n, TF_ATTR_INT, "state size, even", .required = true, .min = 2, .max = 512),
};
const tf_op tf_op_s4d_init = {
    .name = "s4d_init", .doc = "diagonal state matrices: -> lam[n/2] b[n/2], in the order of their formulas", .source = "Gu et al. 2022, arXiv:2206.11893",
    .operands = "", .results = "lam b", .kind = TF_HOST, .attrs = s4d_init_attrs, .attr_count = TF_COUNT(s4d_init_attrs),
    .desc_size = sizeof(s4d_init_desc), .infer = s4d_init_infer, .reference = s4d_init_reference,
};
tuff_tensor tuff_s4d_init(tuff_graph *g, tuff_s4d_spectrum init, int32_t n)
{
    return tf_add(g, &tf_op_s4d_init, NULL, 0, &(s4d_init_desc){ init, n });
}

/* ---- time scales ------------------------------------------------------------------------------------------ */

typedef struct timescale_desc {
    int64_t n;
    double min, max;
    uint64_t seed;
} timescale_desc;

static bool timescale_infer(tf_infer *c)
{
    timescale_desc *d = c->mut;
    d->min = d->min > 0 ? d->min : 1e-3;
    d->max = d->max > 0 ? d->max : 1e-1;
    c->out[0] = (tf_type){ TUFF_F32, 1, { d->n } };
    if (d->min <= d->max)
        return true;
    return tf_bad(c, TUFF_E_ATTRIBUTE, "min %g is above max %g", d->min, d->max);
}

static tuff_status timescale_reference(tf_ref *r)
{
    const timescale_desc *d = r->desc;
    for (uint64_t i = 0; i < r->out[0].n; i++)
        r->out[0].re[i] = d->min * pow(d->max / d->min, tf_random_uniform(d->seed, i));
    return TUFF_OK;
}

static const tf_attr timescale_attrs[] = {
    TF_A(timescale_desc, n, TF_ATTR_I64, "how many", .required = true, .min = 1, .max = INT32_MAX),
    TF_A(timescale_desc, min, TF_ATTR_DOUBLE, "least step; 0: 0.001"),
    TF_A(timescale_desc, max, TF_ATTR_DOUBLE, "largest step; 0: 0.1"),
    TF_A(timescale_desc, seed, TF_ATTR_U64, "of the random numbers, those of `uniform`"),
};
const tf_op tf_op_timescale_init = {
    .name = "timescale_init", .doc = "-> dt[n], log dt uniform between log min and log max; 1 / dt should cover the lengths of the dependencies",
    .source = "arXiv:2111.00396", .operands = "", .results = "dt", .kind = TF_HOST, .attrs = timescale_attrs,
    .attr_count = TF_COUNT(timescale_attrs), .desc_size = sizeof(timescale_desc), .infer = timescale_infer, .reference = timescale_reference,
};
tuff_tensor tuff_timescale_init(tuff_graph *g, int64_t n, const tuff_timescale_desc *desc)
{
    const tuff_timescale_desc none = { 0 }, *d = desc ? desc : &none;
    return tf_add(g, &tf_op_timescale_init, NULL, 0, &(timescale_desc){ n, d->min, d->max, d->seed });
}

/* ---- perturb, then diagonalise ---------------------------------------------------------------------------- */

typedef struct ptd_desc {
    tuff_hippo basis;
    double dt;
    int64_t length;
    double theta;
    tuff_discretization disc;
    bool require_stable;
} ptd_desc;

static bool ptd_infer(tf_infer *c)
{
    ptd_desc *d = c->mut;
    const tf_type *e = c->type[0], *k = c->type[1];
    d->theta = d->theta > 0 ? d->theta : 1;
    if (e->dtype != TUFF_F32 || e->rank != 2 || e->dim[0] != e->dim[1] || e->dim[0] < 1 || e->dim[0] > 512)
        return tf_bad(c, TUFF_E_SHAPE, "the perturbation is f32[n,n] with n from 1 to 512 (%s)", tf_src_text(c, 0));
    if (k->dtype != TUFF_F32 || k->rank != 1 || k->dim[0] != e->dim[0])
        return tf_bad(c, TUFF_E_SHAPE, "c is f32[n] (%s)", tf_src_text(c, 1));
    if (!(d->dt > 0))
        return tf_bad(c, TUFF_E_ATTRIBUTE, "dt is %g; it is above 0", d->dt);
    c->n_out = 7;
    c->out[0] = c->out[1] = (tf_type){ TUFF_C64, 1, { e->dim[0] } };
    c->out[5] = c->out[6] = (tf_type){ TUFF_C64, 2, { e->dim[0], e->dim[0] } };
    c->out[2] = (tf_type){ TUFF_F32, 1, { d->length } };
    c->out[3] = c->out[4] = (tf_type){ TUFF_F32, 1, { 1 } };
    return true;
}

typedef struct mode {
    tf_scalar lam, residue;
    uint32_t at; /* column of V, row of its inverse */
} mode;

/* By imaginary, then by real part. */
static void sort_modes(mode *m, uint32_t n)
{
    for (uint32_t i = 1; i < n; i++)
        for (uint32_t j = i; j > 0 && (m[j].lam.im < m[j - 1].lam.im || (m[j].lam.im == m[j - 1].lam.im && m[j].lam.re < m[j - 1].lam.re)); j--) {
            const mode t = m[j];
            m[j] = m[j - 1];
            m[j - 1] = t;
        }
}

/* The modes of A + E, their residues (c V)_n (V^-1 b)_n, V and, in rows of n + 1, [V^-1, V^-1 b]. NULL, or what went wrong. */
static const char *ptd_modes(const tf_ref *r, uint32_t n, mode *m, tf_scalar *v, tf_scalar *solved)
{
    const ptd_desc *d = r->desc;
    const size_t square = (size_t)n * n;
    tf_arena *arena = r->scratch;
    double *a = tf_arena_array(arena, double, square), *b = tf_arena_array(arena, double, n), *p = tf_arena_array(arena, double, 2 * (size_t)n);
    tf_scalar *w = tf_arena_array(arena, tf_scalar, n), *copy = tf_arena_array(arena, tf_scalar, square);
    if (!a || !b || !p || !w || !copy)
        return "out of memory";
    tf_hippo(d->basis, n, d->theta, a, b, p);
    for (size_t i = 0; i < square; i++)
        a[i] += r->src[0]->re[i];
    if (!tf_eigen_real(a, n, w, v, arena))
        return "the eigenvalues of A + E did not converge; is E finite?";
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t k = 0; k < n; k++)
            solved[i * (n + 1) + k] = tf_cx(i == k, 0);
        solved[i * (n + 1) + n] = tf_cx(b[i], 0);
    }
    memcpy(copy, v, square * sizeof *copy);
    if (!tf_solve_complex(copy, n, solved, n + 1))
        return "the eigenvectors of A + E are linearly dependent; use another or a larger E";
    for (uint32_t k = 0; k < n; k++) {
        tf_scalar cv = { 0, 0 };
        for (uint32_t i = 0; i < n; i++)
            cv = tf_cx_add(cv, tf_cx_scale(v[i * n + k], r->src[1]->re[i]));
        m[k] = (mode){ w[k], tf_cx_mul(cv, solved[k * (n + 1) + n]), k };
    }
    sort_modes(m, n);
    return NULL;
}

static tuff_status ptd_reference(tf_ref *r)
{
    const ptd_desc *d = r->desc;
    const uint32_t n = (uint32_t)r->src[1]->n;
    mode *m = tf_arena_array(r->scratch, mode, (size_t)n + 1);
    tf_scalar *v = tf_arena_array(r->scratch, tf_scalar, (size_t)n * n), *solved = tf_arena_array(r->scratch, tf_scalar, (size_t)n * (n + 1));
    if (!m || !v || !solved)
        return TUFF_E_MEMORY;
    double stability = -INFINITY;
    if ((r->error = ptd_modes(r, n, m, v, solved)) != NULL)
        return TUFF_E_ARGUMENT;
    for (uint32_t k = 0; k < n; k++) {
        tf_scalar ab, bb;
        r->out[0].re[k] = m[k].lam.re;
        r->out[0].im[k] = m[k].lam.im;
        r->out[1].re[k] = m[k].residue.re;
        r->out[1].im[k] = m[k].residue.im;
        stability = fmax(stability, m[k].lam.re);
        tf_discretize(d->disc, m[k].lam, d->dt, &ab, &bb);
        tf_scalar x = tf_cx_mul(m[k].residue, bb);
        for (uint64_t l = 0; l < r->out[2].n; l++, x = tf_cx_mul(x, ab))
            r->out[2].re[l] += x.re;
        for (uint32_t i = 0; i < n; i++) {
            const tf_scalar right = v[i * n + m[k].at], left = solved[m[k].at * (n + 1) + i];
            r->out[5].re[i * n + k] = right.re;
            r->out[5].im[i * n + k] = right.im;
            r->out[6].re[k * n + i] = left.re;
            r->out[6].im[k * n + i] = left.im;
        }
    }
    r->out[3].re[0] = tf_condition(v, n);
    r->out[4].re[0] = stability;
    if (!d->require_stable || stability < 0)
        return TUFF_OK;
    r->error = tf_arena_printf(r->scratch, "A + E is unstable: its largest real part is %.3g; draw another E or a smaller one", stability);
    return TUFF_E_ARGUMENT;
}

static const tf_attr ptd_attrs[] = {
    TF_A(ptd_desc, basis, TF_ATTR_ENUM, "which A and B", .required = true, .choices = basis_names),
    TF_A(ptd_desc, dt, TF_ATTR_DOUBLE, "step of the kernel", .required = true),
    TF_A(ptd_desc, length, TF_ATTR_I64, "elements of the kernel", .required = true, .min = 0, .max = INT32_MAX),
    TF_A(ptd_desc, theta, TF_ATTR_DOUBLE, "window length of legt and fout; 0: 1"),
    TF_A(ptd_desc, disc, TF_ATTR_ENUM, "discretisation of the kernel", .choices = tf_discretizations),
    TF_A(ptd_desc, require_stable, TF_ATTR_BOOL, "an eigenvalue with a real part >= 0 is an error"),
};
const tf_op tf_op_hippo_ptd = {
    .name = "hippo_ptd",
    .doc = "perturb-then-diagonalise: e[n,n] c[n] -> lam[n] residues[n] (of b and c) kernel[length] condition[1] (of the eigenvectors) stability[1] (largest real part) v[n,n] (eigenvectors) inverse[n,n]",
    .source = "Yu et al. 2023, arXiv:2310.01698", .operands = "e c", .results = "lam residues kernel condition stability v inverse", .kind = TF_HOST,
    .attrs = ptd_attrs, .attr_count = TF_COUNT(ptd_attrs), .desc_size = sizeof(ptd_desc), .infer = ptd_infer, .reference = ptd_reference,
};
tuff_tensor tuff_hippo_ptd(tuff_tensor e, tuff_tensor c, tuff_hippo basis, double dt, int64_t length, const tuff_ptd_desc *desc)
{
    const tuff_ptd_desc none = { 0 }, *d = desc ? desc : &none;
    return tf_add(NULL, &tf_op_hippo_ptd, (tuff_tensor[]){ e, c }, 2, &(ptd_desc){ basis, dt, length, d->theta, d->disc, d->require_stable });
}
