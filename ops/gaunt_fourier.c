/* gaunt_fourier.c - the product through 2D Fourier coefficients in theta and phi.
 *
 * Theta continues to the full circle: Lam_lm is a series of cos(u theta) for even m and of sin(u theta) for odd m, so a function of
 * degree L is a trigonometric polynomial of degree L in both angles, and a product is a convolution. Entries live only at v = +-m, hence one
 * batched matrix product over the orders leads there and another one back; products of transforms are real numbers on the torus. */
#include "gaunt.h"

/* Sums over degrees for each order: [l+1 (m), 2 (cosines, sines), rows, 2U+1 (u)]; for odd m the factor i is left out. */
static tuff_tensor theta_sums(tf_lower *l, tuff_tensor x, int32_t degree)
{
    const int64_t n = degree + 1, rows = x.id ? tf_ty(x)->dim[0] : 0;
    const tuff_tensor s = tuff_matmul(tf_by_order(x, degree), tf_sphere_table_of(l->g, TF_TABLE_THETA, degree, degree, 0), NULL);
    return s.id ? tuff_reshape(s, (tuff_shape){ 4, { n, 2, rows, 2 * (int64_t)degree + 1 } }) : s;
}

/* A map over `named` and z, a tensor of zeros that gives the result its shape. */
static tuff_tensor over(tf_lower *l, tuff_shape shape, tuff_tensor x, const char *name, const char *expression)
{
    const tuff_tensor z = tuff_expand(tuff_literal(l->g, 0, TUFF_F32), shape);
    return expression ? tuff_map(l->g, expression, 2, (tuff_named[]){ { name, x }, { "z", z } }) : x;
}

/* Half-spectrum of a function on a torus of nu by nv points, v >= 0: element [row, u mod nu, v]. */
static tuff_tensor half_spectrum(tf_lower *l, tuff_tensor x, int32_t degree, int32_t nu, int32_t nv)
{
    const tuff_tensor s = theta_sums(l, x, degree);
    const int64_t rows = x.id ? tf_ty(x)->dim[0] : 0;
    const tuff_shape shape = { 3, { rows, nu, nv / 2 + 1 } };
    tuff_tensor part[2];
    for (int k = 0; k < 2; k++) {
        /* cosines c and sines s of order v give (c - i s) / 2, times i for odd v */
        const char *e = tf_arena_printf(&l->g->arena,
            "let u = i1 > %d ? i1 - %d : i1; let h = i2 == 0 ? 1.0 : 0.5; let in = abs(u) <= %d && i2 <= %d ? h : 0.0;"
            " let c = s[i2, 0, i0, u + %d]; let d = i2 == 0 ? 0.0 : s[i2, 1, i0, u + %d]; z + in * (i2 %% 2 == 0 ? %s : %s)",
            (int)nu / 2, (int)nu, (int)degree, (int)degree, (int)degree, (int)degree, k ? "-d" : "c", k ? "c" : "d");
        part[k] = over(l, shape, s, "s", e);
    }
    return tuff_complex(part[0], part[1]);
}

static int32_t good_length(int32_t n)
{
    for (;; n++) {
        int32_t m = n;
        for (int32_t p = 2; p <= 5; p++)
            while (m % p == 0) m /= p;
        if (m == 1) return n;
    }
}

tuff_tensor tf_fourier_product(tf_lower *l, const tuff_tensor *xs, const int32_t *degrees, int32_t lout)
{
    const int32_t lf = degrees[0] + degrees[1], top = TF_MIN(lout, lf), nu = good_length(2 * lf + 1), nv = good_length(lf + top + 1);
    tuff_tensor f[2];
    for (int i = 0; i < 2; i++)
        f[i] = tuff_fft(half_spectrum(l, xs[i], degrees[i], nu, nv), &(tuff_fft_desc){ .kind = TUFF_FFT_C2R, .axes = { 2, { 1, 2 } }, .n = { 2, { nu, nv } }, .norm = TUFF_FFT_NORM_FORWARD });
    const tuff_tensor p = tuff_fft(tuff_mul(f[0], f[1]), &(tuff_fft_desc){ .kind = TUFF_FFT_R2C, .axes = { 2, { 1, 2 } }, .norm = TUFF_FFT_NORM_FORWARD });
    if (!p.id) return p;
    /* The glide symmetry leaves u >= 0: even m take real parts for cosines and minus imaginary ones for sines, odd m the other way round. */
    const int64_t rows = tf_ty(p)->dim[0];
    const tuff_shape shape = { 4, { top + 1, 2, rows, lf + 1 } };
    const tuff_tensor re = tuff_real(p), im = tuff_imag(p), z = tuff_expand(tuff_literal(l->g, 0, TUFF_F32), shape);
    const tuff_tensor q = tuff_map(l->g, "let h = i0 == 0 ? 1.0 : 2.0; let a = re[i2, i3, i0]; let b = im[i2, i3, i0];"
                                         " z + h * (i0 % 2 == 0 ? (i1 == 0 ? a : -b) : (i1 == 0 ? -b : -a))",
                                   3, (tuff_named[]){ { "re", re }, { "im", im }, { "z", z } });
    const tuff_tensor sums = tuff_reshape(q, (tuff_shape){ 3, { top + 1, tf_dim_bin(l->g, TUFF_DIM_MUL, rows, 2), lf + 1 } });
    const tuff_tensor y = tf_from_order(tuff_matmul(sums, tf_sphere_table_of(l->g, TF_TABLE_THETA_BACK, top, lf, 1), NULL), top);
    return top == lout ? y : tuff_pad(y, (tuff_ints){ 2, { 0, 0 } }, (tuff_ints){ 2, { 0, tf_sh_size(lout) - tf_sh_size(top) } }, NULL);
}

/* ---- sh_to_fourier, fourier_to_sh -------------------------------------------------------------------------------- */

enum { FOURIER_MAX = 128 };

/* Element [row, u + L, v + L] of a list of rows. */
static tf_scalar *entry(tf_ref_tensor *t, tf_scalar *out, uint64_t row, int32_t l, int32_t u, int32_t v)
{
    const uint64_t at = (row * (uint64_t)(2 * l + 1) + (uint64_t)(u + l)) * (uint64_t)(2 * l + 1) + (uint64_t)(v + l);
    *out = (tf_scalar){ t->re[at], t->im[at] };
    return out;
}

static bool to_fourier_infer(tf_infer *c)
{
    const int32_t l = tf_infer_degree(c, 0);
    const tf_type *x = c->type[0];
    if (l < 0) return false;
    if (l > FOURIER_MAX) return tf_bad(c, TUFF_E_LIMIT, "degree %d; at most %d is supported", (int)l, FOURIER_MAX);
    if (x->rank == TUFF_MAX_RANK) return tf_bad(c, TUFF_E_LIMIT, "the result would have rank %d (%s)", TUFF_MAX_RANK + 1, tf_src_text(c, 0));
    c->out[0] = *x;
    c->out[0].dtype = TUFF_C64;
    c->out[0].rank++;
    c->out[0].dim[x->rank - 1] = c->out[0].dim[x->rank] = 2 * l + 1;
    return true;
}

static tuff_status to_fourier_reference(tf_ref *r)
{
    const tf_ref_tensor *x = r->src[0];
    tf_ref_tensor *y = &r->out[0];
    const int32_t degree = tf_sh_degree(x->dim[x->rank - 1]), n = degree + 1, width = 2 * degree + 1;
    const uint64_t size = (uint64_t)tf_sh_size(degree);
    const double *a = tf_theta_series(r->scratch, degree);
    for (uint64_t row = 0; a && row < x->n / size; row++)
        for (int32_t l = 0; l <= degree; l++)
            for (int32_t m = -l; m <= l; m++)
                for (int32_t u = -l; u <= l; u++) {
                    const int32_t k = m < 0 ? -m : m, w = u < 0 ? -u : u;
                    const double c = x->re[row * size + (uint64_t)tf_sh_at(l, m)] * a[tf_lm(l, k) * n + w] / (u ? 2 : 1);
                    /* cos: c at +-u; sin: c / i at u, -c / i at -u */
                    const double re = k & 1 ? 0 : c, im = k & 1 ? (u > 0 ? -c : u < 0 ? c : 0) : 0;
                    for (int sign = m ? -1 : 1; sign <= 1; sign += 2) {
                        const uint64_t at = (row * (uint64_t)width + (uint64_t)(u + degree)) * (uint64_t)width + (uint64_t)(sign * k + degree);
                        const double pr = m > 0 ? 0.5 : m < 0 ? 0 : 1, pi = m < 0 ? -0.5 * sign : 0; /* cos, sin of m phi at v = sign * |m| */
                        y->re[at] += re * pr - im * pi;
                        y->im[at] += re * pi + im * pr;
                    }
                }
    return a ? TUFF_OK : TUFF_E_MEMORY;
}

static void to_fourier_lower(tf_lower *l)
{
    const tuff_tensor x = tf_rows_of(l->src[0], tf_ty(l->src[0]));
    if (!x.id) return;
    const int32_t degree = tf_sh_degree(tf_ty(x)->dim[1]);
    const tuff_shape shape = { 3, { tf_ty(x)->dim[0], 2 * degree + 1, 2 * degree + 1 } };
    const tuff_tensor s = theta_sums(l, x, degree);
    tuff_tensor part[2];
    for (int k = 0; k < 2; k++) {
        const char *e = tf_arena_printf(&l->g->arena,
            "let v = i2 - %d; let m = abs(v); let h = v == 0 ? 1.0 : 0.5; let c = s[m, 0, i0, i1]; let t = s[m, 1, i0, i1];"
            " let d = v == 0 ? 0.0 : v < 0 ? -t : t; z + h * (m %% 2 == 0 ? %s : %s)", (int)degree, k ? "-d" : "c", k ? "c" : "d");
        part[k] = over(l, shape, s, "s", e);
    }
    const tuff_tensor y = tuff_complex(part[0], part[1]);
    if (y.id) l->out[0] = tf_reshaped(y, l->out_type->rank, l->out_type->dim);
}

const tf_op tf_op_sh_to_fourier = {
    .name = "sh_to_fourier", .doc = "x[.., (L+1)^2] -> F c64[.., 2L+1 (u), 2L+1 (v)] with f = sum F[u+L, v+L] e^(i (u theta + v phi))", .operands = "x",
    .source = "Luo, Chen, Krishnapriyan 2024, arXiv:2401.10216", .kind = TF_COMPOSITE, .infer = to_fourier_infer, .reference = to_fourier_reference,
    .lower = to_fourier_lower, .rel = 16,
};
tuff_tensor tuff_sh_to_fourier(tuff_tensor x) { return tf_add(x.graph, &tf_op_sh_to_fourier, &x, 1, NULL); }

typedef struct lout_desc { int32_t lout; } lout_desc;

static bool to_sh_infer(tf_infer *c)
{
    const tf_type *f = c->type[0];
    const int32_t lout = ((const lout_desc *)c->desc)->lout;
    if (f->dtype != TUFF_C64) return tf_bad(c, TUFF_E_DTYPE, "%s is not c64 (%s)", tuff_dtype_name(f->dtype), tf_src_text(c, 0));
    const int64_t n = f->rank >= 2 ? f->dim[f->rank - 1] : 0;
    if (n < 1 || n % 2 == 0 || n > 2 * FOURIER_MAX + 1 || f->dim[f->rank - 2] != n)
        return tf_bad(c, TUFF_E_SHAPE, "%s needs two last axes of 2 L + 1, L from 0 to %d", tf_src_text(c, 0), FOURIER_MAX);
    if (lout < 0 || lout > FOURIER_MAX) return tf_bad(c, TUFF_E_ATTRIBUTE, "lout is %d; it is from 0 to %d", (int)lout, FOURIER_MAX);
    c->out[0] = *f;
    c->out[0].dtype = TUFF_F32;
    c->out[0].rank--;
    c->out[0].dim[c->out[0].rank - 1] = tf_sh_size(lout);
    return true;
}

static tuff_status to_sh_reference(tf_ref *r)
{
    tf_ref_tensor *f = (tf_ref_tensor *)(uintptr_t)r->src[0], *y = &r->out[0];
    const int32_t lout = ((const lout_desc *)r->desc)->lout, lf = (int32_t)(f->dim[f->rank - 1] - 1) / 2;
    const uint64_t size = (uint64_t)tf_sh_size(lout);
    const double *k = tf_theta_integrals(r->scratch, lf, lout);
    for (uint64_t row = 0; k && row < y->n / size; row++)
        for (int32_t l = 0; l <= lout; l++)
            for (int32_t m = -TF_MIN(l, lf); m <= TF_MIN(l, lf); m++) {
                const int32_t p = m < 0 ? -m : m;
                double sum = 0;
                for (int32_t u = -lf; u <= lf; u++) {
                    tf_scalar a, b, s;
                    (void)entry(f, &a, row, lf, u, p);
                    (void)entry(f, &b, row, lf, u, -p);
                    if (m == 0) s = a;
                    else if (m > 0) s = (tf_scalar){ a.re + b.re, a.im + b.im };
                    else s = (tf_scalar){ b.im - a.im, a.re - b.re }; /* i (a - b) */
                    const double c = k[tf_lm(l, p) * (lf + 1) + (u < 0 ? -u : u)] * (m ? TF_PI : 2 * TF_PI);
                    sum += p & 1 ? -(u < 0 ? -c : c) * s.im : c * s.re;
                }
                y->re[row * size + (uint64_t)tf_sh_at(l, m)] = sum;
            }
    return k ? TUFF_OK : TUFF_E_MEMORY;
}

static void to_sh_lower(tf_lower *l)
{
    const tf_type f = *tf_ty(l->src[0]);
    const int32_t lout = ((const lout_desc *)l->desc)->lout;
    const int64_t width = f.dim[f.rank - 1], rows = tf_dim_product(l->g, f.dim, 0, f.rank - 2);
    const int32_t lf = (int32_t)(width - 1) / 2;
    const tuff_tensor x = tf_reshaped(l->src[0], 3, (int64_t[]){ rows, width, width });
    const tuff_shape shape = { 4, { lout + 1, 2, rows, width } };
    const tuff_tensor re = tuff_real(x), im = tuff_imag(x), z = tuff_expand(tuff_literal(l->g, 0, TUFF_F32), shape);
    const char *e = tf_arena_printf(&l->g->arena,
        "let p = i0 > %d ? 0 : i0; let a = re[i2, i3, %d + p]; let b = re[i2, i3, %d - p]; let c = im[i2, i3, %d + p]; let d = im[i2, i3, %d - p];"
        " let v = i0 == 0 ? (i1 == 0 ? a : 0.0) : i1 == 0 ? (i0 %% 2 == 0 ? a + b : -c - d) : (i0 %% 2 == 0 ? d - c : b - a); i0 > %d ? z : z + v",
        (int)lf, (int)lf, (int)lf, (int)lf, (int)lf, (int)lf);
    const tuff_tensor q = tuff_map(l->g, e, 3, (tuff_named[]){ { "re", re }, { "im", im }, { "z", z } });
    const tuff_tensor sums = tuff_reshape(q, (tuff_shape){ 3, { lout + 1, tf_dim_bin(l->g, TUFF_DIM_MUL, rows, 2), width } });
    const tuff_tensor y = tf_from_order(tuff_matmul(sums, tf_sphere_table_of(l->g, TF_TABLE_THETA_BACK, lout, lf, 0), NULL), lout);
    if (y.id) l->out[0] = tf_reshaped(y, l->out_type->rank, l->out_type->dim);
}

static const tf_attr lout_attrs[] = { TF_A(lout_desc, lout, TF_ATTR_INT, "degree of the result", .required = true) };
const tf_op tf_op_fourier_to_sh = {
    .name = "fourier_to_sh", .doc = "F c64[.., 2L+1, 2L+1] -> y[.., (lout+1)^2], the projection of a function given by sh_to_fourier's coefficients", .operands = "f",
    .source = "Luo, Chen, Krishnapriyan 2024, arXiv:2401.10216", .kind = TF_COMPOSITE, .attrs = lout_attrs, .attr_count = TF_COUNT(lout_attrs),
    .desc_size = sizeof(lout_desc), .infer = to_sh_infer, .reference = to_sh_reference, .lower = to_sh_lower, .rel = 16,
};
tuff_tensor tuff_fourier_to_sh(tuff_tensor f, int32_t lout) { return tf_add(f.graph, &tf_op_fourier_to_sh, &f, 1, &(lout_desc){ lout }); }
