/* gaunt_ref.c - what the products and rotations mean, in double: functions are evaluated at the points of an exact quadrature,
 * combined there and projected. Kernels take other routes. */
#include "gaunt.h"

#include <math.h>
#include <string.h>

/* y[lm] = sum over points of weight * p * E. */
static void project(const tf_sphere_grid *grid, const double *e, int32_t size, const double *p, double *y)
{
    memset(y, 0, (size_t)size * sizeof *y);
    for (int32_t j = 0; j < grid->nt * grid->np; j++) {
        const double v = grid->w[j / grid->np] * 2 * TF_PI / grid->np * p[j];
        for (int32_t i = 0; i < size; i++) y[i] += v * e[(int64_t)j * size + i];
    }
}

static double at_point(const double *e, int32_t size, int32_t j, const double *x)
{
    double sum = 0;
    for (int32_t i = 0; i < size; i++) sum += e[(int64_t)j * size + i] * x[i];
    return sum;
}

tuff_status tf_ref_product(tf_arena *a, int32_t n, const int32_t *l, int32_t lout, uint64_t rows, const double *const *x, double *y)
{
    int32_t total = 0, most = 0;
    for (int32_t f = 0; f < n; f++) {
        total += l[f];
        most = TF_MAX(most, l[f]);
    }
    const int32_t top = TF_MIN(lout, total), size = tf_sh_size(lout);
    tf_sphere_grid grid;
    if (!tf_sphere_grid_make(a, total + top, 0, &grid)) return TUFF_E_MEMORY;
    const int32_t points = grid.nt * grid.np, widest = tf_sh_size(TF_MAX(most, top));
    const double *e = tf_sphere_values(a, &grid, TF_MAX(most, top));
    double *p = tf_arena_array(a, double, (size_t)points), *row = tf_arena_array(a, double, (size_t)widest);
    if (!e || !p || !row) return TUFF_E_MEMORY;
    for (uint64_t r = 0; r < rows; r++) {
        for (int32_t j = 0; j < points; j++) {
            p[j] = 1;
            for (int32_t f = 0; f < n; f++) {
                double sum = 0;
                const int32_t s = tf_sh_size(l[f]);
                for (int32_t i = 0; i < s; i++) sum += e[(int64_t)j * widest + i] * x[f][r * (uint64_t)s + (uint64_t)i];
                p[j] *= sum;
            }
        }
        project(&grid, e, widest, p, row);
        memset(y + r * (uint64_t)size, 0, (size_t)size * sizeof *y);
        memcpy(y + r * (uint64_t)size, row, (size_t)tf_sh_size(top) * sizeof *y);
    }
    return TUFF_OK;
}

tuff_status tf_ref_curl(tf_arena *a, int32_t l1, int32_t l2, int32_t lout, uint64_t rows, const double *x1, const double *x2, double *y)
{
    const int32_t top = TF_MIN(lout, l1 + l2), n1 = tf_sh_size(l1), n2 = tf_sh_size(l2), n3 = tf_sh_size(top), size = tf_sh_size(lout);
    tf_sphere_grid grid;
    double *t1, *f1, *t2, *f2;
    if (!tf_sphere_grid_make(a, l1 + l2 + top, 2, &grid)) return TUFF_E_MEMORY;
    const double *e = tf_sphere_values(a, &grid, top);
    double *p = tf_arena_array(a, double, (size_t)grid.nt * (size_t)grid.np);
    if (!e || !p || !tf_sphere_slopes(a, &grid, l1, &t1, &f1) || !tf_sphere_slopes(a, &grid, l2, &t2, &f2)) return TUFF_E_MEMORY;
    memset(y, 0, (size_t)rows * (size_t)size * sizeof *y);
    for (uint64_t r = 0; r < rows; r++) {
        const double *u = x1 + r * (uint64_t)n1, *v = x2 + r * (uint64_t)n2;
        for (int32_t j = 0; j < grid.nt * grid.np; j++)
            p[j] = at_point(t1, n1, j, u) * at_point(f2, n2, j, v) - at_point(f1, n1, j, u) * at_point(t2, n2, j, v);
        project(&grid, e, n3, p, y + r * (uint64_t)size);
    }
    return TUFF_OK;
}

int64_t tf_cg_size(int32_t l1, int32_t l2, int32_t lout)
{
    int64_t n = 0;
    for (int32_t p = 0; p <= l1; p++)
        for (int32_t q = 0; q <= l2; q++)
            for (int32_t r = p > q ? p - q : q - p; r <= TF_MIN(lout, p + q); r++) n += 2 * r + 1;
    return n;
}

tuff_status tf_ref_cg(tf_arena *a, int32_t l1, int32_t l2, int32_t lout, int32_t variant, uint64_t rows, const double *x1, const double *x2, double *y)
{
    const uint64_t size = (uint64_t)tf_cg_size(l1, l2, lout), n1 = (uint64_t)tf_sh_size(l1), n2 = (uint64_t)tf_sh_size(l2);
    uint64_t at = 0;
    for (int32_t p = 0; p <= l1; p++)
        for (int32_t q = 0; q <= l2; q++)
            for (int32_t r = p > q ? p - q : q - p; r <= TF_MIN(lout, p + q); r++) {
                const double alpha = variant == 0 ? sqrt(2.0 * r + 1) : variant == 1 ? sqrt((2.0 * p + 1) * (2.0 * q + 1)) : 1;
                const double *w = tf_wigner_3j(a, p, q, r);
                if (!w) return TUFF_E_MEMORY;
                for (uint64_t row = 0; row < rows; row++)
                    for (int32_t k = 0; k <= 2 * r; k++) {
                        double sum = 0;
                        for (int32_t i = 0; i <= 2 * p; i++)
                            for (int32_t j = 0; j <= 2 * q; j++)
                                sum += w[((int64_t)i * (2 * q + 1) + j) * (2 * r + 1) + k] * x1[row * n1 + (uint64_t)(p * p + i)] * x2[row * n2 + (uint64_t)(q * q + j)];
                        y[row * size + at + (uint64_t)k] = alpha * sum;
                    }
                at += (uint64_t)(2 * r + 1);
            }
    return TUFF_OK;
}

void tf_ref_sh(int32_t lmax, int32_t normalization, bool solid, const double *v, double *y)
{
    (solid ? tf_sh_eval : tf_sh_eval_unit)(lmax, v[0], v[1], v[2], y);
    for (int32_t l = 0, i = 0; l <= lmax; l++)
        for (; i < (l + 1) * (l + 1); i++) y[i] *= tf_sh_scale(normalization, l);
}

void tf_proper_rotation(const double *r, double *out)
{
    const double rho = hypot(r[1], r[7]), pole = hypot(rho, r[4]);
    const double cf = rho > 1e-18 ? r[7] / rho : 1, sf = rho > 1e-18 ? r[1] / rho : 0, cg = pole > 1e-18 ? r[4] / pole : 1, sg = pole > 1e-18 ? rho / pole : 0;
    const double hc = cf * r[0] - sf * r[6], hs = cf * r[2] - sf * r[8], hr = hypot(hc, hs), ch = hr > 1e-18 ? hc / hr : 1, sh = hr > 1e-18 ? hs / hr : 0;
    const double m[9] = { ch, 0, sh, sg * sh, cg, -sg * ch, -cg * sh, sg, cg * ch }; /* Rx(g) Ry(h) */
    for (int i = 0; i < 3; i++) {
        out[i] = cf * m[i] + sf * m[6 + i];
        out[3 + i] = m[3 + i];
        out[6 + i] = cf * m[6 + i] - sf * m[i];
    }
}

tuff_status tf_ref_rotate(tf_arena *a, int32_t l, uint64_t rows, const double *x, const double *r, double *y)
{
    const int32_t size = tf_sh_size(l);
    tf_sphere_grid grid;
    if (!tf_sphere_grid_make(a, 2 * l, 0, &grid)) return TUFF_E_MEMORY;
    const double *e = tf_sphere_values(a, &grid, l);
    double *turned = tf_arena_array(a, double, (size_t)size);
    if (!e || !turned) return TUFF_E_MEMORY;
    memset(y, 0, (size_t)rows * (size_t)size * sizeof *y);
    for (uint64_t row = 0; row < rows; row++) {
        double m[9];
        tf_proper_rotation(r + 9 * row, m);
        for (int32_t j = 0; j < grid.nt * grid.np; j++) { /* D = sum w Y(R v) Y(v)^T, degree by degree */
            const double c = grid.x[j / grid.np], s = sqrt(1 - c * c), phi = 2 * TF_PI * (j % grid.np) / grid.np;
            const double v[3] = { s * sin(phi), c, s * cos(phi) }, w = grid.w[j / grid.np] * 2 * TF_PI / grid.np;
            tf_sh_eval(l, m[0] * v[0] + m[1] * v[1] + m[2] * v[2], m[3] * v[0] + m[4] * v[1] + m[5] * v[2], m[6] * v[0] + m[7] * v[1] + m[8] * v[2], turned);
            for (int32_t d = 0; d <= l; d++) {
                double f = 0;
                for (int32_t i = d * d; i < (d + 1) * (d + 1); i++) f += e[(int64_t)j * size + i] * x[row * (uint64_t)size + (uint64_t)i];
                for (int32_t i = d * d; i < (d + 1) * (d + 1); i++) y[row * (uint64_t)size + (uint64_t)i] += w * f * turned[i];
            }
        }
    }
    return TUFF_OK;
}
