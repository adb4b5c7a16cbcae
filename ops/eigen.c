/* eigen.c - eigenvalues and eigenvectors of a real matrix in double precision.
 *
 * Householder reflections bring it to Hessenberg form, implicit double shifts to quasi-triangular form, 1 x 1 blocks for real
 * eigenvalues and 2 x 2 blocks for pairs; the transformations are collected in q. An eigenvector of the quasi-triangular
 * matrix comes from substitution upwards, times q. Reference: Golub and Van Loan, Matrix Computations, chapter 7. */
#include "dense.h"

#include <float.h>
#include <string.h>

typedef struct work {
    double *h, *q;
    uint32_t n;
} work;

/* The reflection I - beta v v' that maps x[0..m) to a multiple of the first unit vector; v[0] = 1, x is left alone. */
static double reflector(const double *x, double *v, uint32_t m)
{
    double sigma = 0, scale = 0;
    for (uint32_t i = 0; i < m; i++)
        scale = fmax(scale, fabs(x[i]));
    memset(v, 0, m * sizeof *v);
    v[0] = 1;
    if (scale == 0)
        return 0;
    for (uint32_t i = 1; i < m; i++)
        sigma += x[i] / scale * (x[i] / scale);
    if (sigma == 0)
        return 0;
    const double first = x[0] / scale, norm = sqrt(first * first + sigma);
    const double v0 = first <= 0 ? first - norm : -sigma / (first + norm);
    for (uint32_t i = 1; i < m; i++)
        v[i] = x[i] / scale / v0;
    return 2 * v0 * v0 / (sigma + v0 * v0);
}

/* a <- a - beta v (v' a) on rows [at, at + m), columns [from, n). */
static void reflect_rows(double *a, uint32_t n, const double *v, double beta, uint32_t at, uint32_t m, uint32_t from)
{
    for (uint32_t j = from; j < n; j++) {
        double s = 0;
        for (uint32_t i = 0; i < m; i++)
            s += v[i] * a[(at + i) * n + j];
        s *= beta;
        for (uint32_t i = 0; i < m; i++)
            a[(at + i) * n + j] -= s * v[i];
    }
}

/* a <- a - beta (a v) v' on columns [at, at + m), rows [0, end). */
static void reflect_columns(double *a, uint32_t n, const double *v, double beta, uint32_t at, uint32_t m, uint32_t end)
{
    for (uint32_t i = 0; i < end; i++) {
        double s = 0;
        for (uint32_t j = 0; j < m; j++)
            s += a[i * n + at + j] * v[j];
        s *= beta;
        for (uint32_t j = 0; j < m; j++)
            a[i * n + at + j] -= s * v[j];
    }
}

static void to_hessenberg(const work *w, double *x, double *v)
{
    const uint32_t n = w->n;
    for (uint32_t k = 0; k + 2 < n; k++) {
        const uint32_t m = n - k - 1;
        for (uint32_t i = 0; i < m; i++)
            x[i] = w->h[(k + 1 + i) * n + k];
        const double beta = reflector(x, v, m);
        reflect_rows(w->h, n, v, beta, k + 1, m, k);
        reflect_columns(w->h, n, v, beta, k + 1, m, n);
        reflect_columns(w->q, n, v, beta, k + 1, m, n);
        for (uint32_t i = 1; i < m; i++)
            w->h[(k + 1 + i) * n + k] = 0;
    }
}

/* One implicit double step on the rows and columns [lo, hi], at least three of them. s and t: sum and product of the shifts. */
static void double_step(const work *w, uint32_t lo, uint32_t hi, double s, double t)
{
    double *h = w->h, v[3];
    const uint32_t n = w->n;
    double x[3] = { h[lo * n + lo] * h[lo * n + lo] + h[lo * n + lo + 1] * h[(lo + 1) * n + lo] - s * h[lo * n + lo] + t,
                    h[(lo + 1) * n + lo] * (h[lo * n + lo] + h[(lo + 1) * n + lo + 1] - s),
                    h[(lo + 1) * n + lo] * h[(lo + 2) * n + lo + 1] };
    for (uint32_t k = lo; k < hi; k++) {
        const uint32_t m = TF_MIN(3u, hi - k + 1);
        const double beta = reflector(x, v, m);
        reflect_rows(h, n, v, beta, k, m, k > lo ? k - 1 : lo);
        reflect_columns(h, n, v, beta, k, m, TF_MIN(k + 3, hi) + 1);
        reflect_columns(w->q, n, v, beta, k, m, n);
        for (uint32_t i = 1; i < m && k > lo; i++)
            h[(k + i) * n + k - 1] = 0;
        for (uint32_t i = 0; i < 3 && k + 1 + i <= hi; i++)
            x[i] = h[(k + 1 + i) * n + k];
    }
}

/* A 2 x 2 block with real eigenvalues becomes triangular. */
static void split_block(const work *w, uint32_t k)
{
    double *h = w->h;
    const uint32_t n = w->n;
    const double a = h[k * n + k], b = h[k * n + k + 1], c = h[(k + 1) * n + k], d = h[(k + 1) * n + k + 1];
    const double p = (a - d) / 2, disc = p * p + b * c;
    if (disc < 0 || c == 0)
        return;
    const double z = p + copysign(sqrt(disc), p), r = hypot(z, c), cs = z / r, sn = c / r; /* eigenvector (z, c) */
    for (uint32_t j = 0; j < n; j++) {
        const double x = h[k * n + j], y = h[(k + 1) * n + j];
        h[k * n + j] = cs * x + sn * y;
        h[(k + 1) * n + j] = cs * y - sn * x;
    }
    for (uint32_t pass = 0; pass < 2; pass++) {
        double *a2 = pass ? w->q : h;
        for (uint32_t i = 0; i < n; i++) {
            const double x = a2[i * n + k], y = a2[i * n + k + 1];
            a2[i * n + k] = cs * x + sn * y;
            a2[i * n + k + 1] = cs * y - sn * x;
        }
    }
    h[(k + 1) * n + k] = 0;
}

/* Quasi-triangular form; the rows and columns above hi are done. */
static bool to_schur(const work *w)
{
    double *h = w->h;
    const uint32_t n = w->n;
    uint32_t hi = n, steps = 0;
    double norm = 0;
    for (uint32_t i = 0; i < n * n; i++)
        norm = fmax(norm, fabs(h[i]));
    while (hi > 1) {
        uint32_t lo = hi - 1;
        for (; lo > 0; lo--) {
            double size = fabs(h[lo * n + lo]) + fabs(h[(lo - 1) * n + lo - 1]);
            size = size == 0 ? norm : size;
            if (fabs(h[lo * n + lo - 1]) <= DBL_EPSILON * size) {
                h[lo * n + lo - 1] = 0;
                break;
            }
        }
        if (lo == hi - 1) {
            hi--;
            steps = 0;
        } else if (lo == hi - 2) {
            split_block(w, lo);
            hi -= 2;
            steps = 0;
        } else {
            const double *e = &h[(hi - 2) * n + hi - 2];
            double s = e[0] + e[n + 1], t = e[0] * e[n + 1] - e[1] * e[n];
            if (++steps > 60)
                return false;
            if (steps % 10 == 0) { /* leaves a cycle */
                const double x = fabs(h[(hi - 1) * n + hi - 2]) + fabs(h[(hi - 2) * n + hi - 3]);
                s = 1.5 * x;
                t = x * x;
            }
            double_step(w, lo, hi - 1, s, t);
        }
    }
    return true;
}

/* Divide, with a divisor that is not exactly 0: equal eigenvalues give a huge but finite vector. */
static tf_scalar safe_div(tf_scalar a, tf_scalar b, double tiny)
{
    return tf_cx_div(a, tf_cx_abs(b) < tiny ? tf_cx(tiny, 0) : b);
}

/* x of (T - lambda) x = 0, whose last non-zero rows are [.., last] and given. */
static void substitute(const work *w, tf_scalar lambda, tf_scalar *x, uint32_t first, uint32_t last, double tiny)
{
    const double *h = w->h;
    const uint32_t n = w->n;
    for (uint32_t row = first; row-- > 0;) {
        const bool pair = row > 0 && h[row * n + row - 1] != 0;
        const uint32_t top = pair ? row - 1 : row;
        tf_scalar r[2] = { { 0, 0 }, { 0, 0 } };
        for (uint32_t i = top; i <= row; i++)
            for (uint32_t j = row + 1; j <= last; j++)
                r[i - top] = tf_cx_sub(r[i - top], tf_cx_scale(x[j], h[i * n + j]));
        const tf_scalar d = tf_cx_sub(tf_cx(h[row * n + row], 0), lambda);
        if (!pair) {
            x[row] = safe_div(r[0], d, tiny);
            continue;
        }
        const tf_scalar a = tf_cx_sub(tf_cx(h[top * n + top], 0), lambda);
        const double b = h[top * n + row], c = h[row * n + top];
        const tf_scalar det = tf_cx_sub(tf_cx_mul(a, d), tf_cx(b * c, 0));
        x[top] = safe_div(tf_cx_sub(tf_cx_mul(d, r[0]), tf_cx_scale(r[1], b)), det, tiny);
        x[row] = safe_div(tf_cx_sub(tf_cx_mul(a, r[1]), tf_cx_scale(r[0], c)), det, tiny);
        row = top;
    }
}

/* Column k of v: q x, of length 1. */
static void store_vector(const work *w, const tf_scalar *x, uint32_t last, tf_scalar *v, uint32_t k)
{
    const uint32_t n = w->n;
    double square = 0;
    for (uint32_t i = 0; i < n; i++) {
        tf_scalar s = { 0, 0 };
        for (uint32_t j = 0; j <= last; j++)
            s = tf_cx_add(s, tf_cx_scale(x[j], w->q[i * n + j]));
        v[i * n + k] = s;
        square += tf_cx_square(s);
    }
    for (uint32_t i = 0; i < n; i++)
        v[i * n + k] = tf_cx_scale(v[i * n + k], 1 / sqrt(square));
}

bool tf_eigen_real(double *a, uint32_t n, tf_scalar *w, tf_scalar *v, tf_arena *arena)
{
    work s = { .h = a, .q = tf_arena_array(arena, double, (size_t)n * n), .n = n };
    double *x = tf_arena_array(arena, double, (size_t)n + 1), *y = tf_arena_array(arena, double, (size_t)n + 1), norm = 0;
    tf_scalar *z = tf_arena_array(arena, tf_scalar, (size_t)n + 1);
    if (!s.q || !x || !y || !z)
        return false;
    for (uint32_t i = 0; i < n * n; i++)
        norm = fmax(norm, fabs(a[i]));
    if (!isfinite(norm))
        return false;
    for (uint32_t i = 0; i < n; i++)
        s.q[i * n + i] = 1;
    to_hessenberg(&s, x, y);
    if (!to_schur(&s))
        return false;
    const double tiny = DBL_EPSILON * fmax(norm, DBL_MIN);
    for (uint32_t k = 0; k < n; k++) {
        const bool pair = k + 1 < n && a[(k + 1) * n + k] != 0;
        if (!pair) {
            w[k] = tf_cx(a[k * n + k], 0);
            z[k] = tf_cx(1, 0);
            substitute(&s, w[k], z, k, k, tiny);
            store_vector(&s, z, k, v, k);
            continue;
        }
        const double p = (a[k * n + k] - a[(k + 1) * n + k + 1]) / 2, bc = a[k * n + k + 1] * a[(k + 1) * n + k];
        w[k] = tf_cx((a[k * n + k] + a[(k + 1) * n + k + 1]) / 2, sqrt(fmax(-(p * p + bc), 0)));
        w[k + 1] = tf_cx_conj(w[k]);
        z[k + 1] = tf_cx(1, 0);
        z[k] = tf_cx_div(tf_cx_sub(w[k], tf_cx(a[(k + 1) * n + k + 1], 0)), tf_cx(a[(k + 1) * n + k], 0));
        substitute(&s, w[k], z, k, k + 1, tiny);
        store_vector(&s, z, k + 1, v, k);
        for (uint32_t i = 0; i < n; i++)
            v[i * n + k + 1] = tf_cx_conj(v[i * n + k]);
        k++;
    }
    return true;
}
