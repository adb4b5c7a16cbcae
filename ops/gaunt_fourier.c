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
