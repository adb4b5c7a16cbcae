/* dense.c - small dense linear algebra in double precision.
 *
 * Solves: LU with row exchanges. Exponential: scaling, a Taylor sum, squaring. Hermitian eigenvalues: cyclic Jacobi. Singular
 * values: one-sided Jacobi, which keeps the small ones accurate. The real eigenvalue problem is in eigen.c. */
#include "dense.h"

#include <string.h>

tf_scalar tf_cx_div(tf_scalar a, tf_scalar b)
{
    if (fabs(b.re) >= fabs(b.im)) {
        const double r = b.im / b.re, d = b.re + b.im * r;
        return tf_cx((a.re + a.im * r) / d, (a.im - a.re * r) / d);
    }
    const double r = b.re / b.im, d = b.re * r + b.im;
    return tf_cx((a.re * r + a.im) / d, (a.im * r - a.re) / d);
}

tf_scalar tf_cx_exp(tf_scalar a)
{
    const double m = exp(a.re);
    return m == 0 ? tf_cx(0, 0) : tf_cx(m * cos(a.im), m * sin(a.im));
}

tf_scalar tf_cx_expm1(tf_scalar a)
{
    const double s = sin(a.im / 2), m = exp(a.re);
    if (m == 0)
        return tf_cx(-1, 0);
    return tf_cx(expm1(a.re) * cos(a.im) - 2 * s * s, m * sin(a.im));
}

/* ---- solves --------------------------------------------------------------------------------------- */

bool tf_solve(double *a, uint32_t n, double *b, uint32_t m)
{
    for (uint32_t k = 0; k < n; k++) {
        uint32_t p = k;
        for (uint32_t i = k + 1; i < n; i++)
            if (fabs(a[i * n + k]) > fabs(a[p * n + k]))
                p = i;
        if (!(fabs(a[p * n + k]) > 0))
            return false;
        for (uint32_t j = 0; j < n && p != k; j++) {
            const double t = a[k * n + j];
            a[k * n + j] = a[p * n + j];
            a[p * n + j] = t;
        }
        for (uint32_t j = 0; j < m && p != k; j++) {
            const double t = b[k * m + j];
            b[k * m + j] = b[p * m + j];
            b[p * m + j] = t;
        }
        for (uint32_t i = k + 1; i < n; i++) {
            const double f = a[i * n + k] / a[k * n + k];
            for (uint32_t j = k + 1; j < n && f != 0; j++)
                a[i * n + j] -= f * a[k * n + j];
            for (uint32_t j = 0; j < m && f != 0; j++)
                b[i * m + j] -= f * b[k * m + j];
        }
    }
    for (uint32_t k = n; k-- > 0;)
        for (uint32_t j = 0; j < m; j++) {
            double s = b[k * m + j];
            for (uint32_t i = k + 1; i < n; i++)
                s -= a[k * n + i] * b[i * m + j];
            b[k * m + j] = s / a[k * n + k];
        }
    return true;
}

bool tf_solve_complex(tf_scalar *a, uint32_t n, tf_scalar *b, uint32_t m)
{
    for (uint32_t k = 0; k < n; k++) {
        uint32_t p = k;
        for (uint32_t i = k + 1; i < n; i++)
            if (tf_cx_square(a[i * n + k]) > tf_cx_square(a[p * n + k]))
                p = i;
        if (!(tf_cx_square(a[p * n + k]) > 0))
            return false;
        for (uint32_t j = 0; j < n && p != k; j++) {
            const tf_scalar t = a[k * n + j];
            a[k * n + j] = a[p * n + j];
            a[p * n + j] = t;
        }
        for (uint32_t j = 0; j < m && p != k; j++) {
            const tf_scalar t = b[k * m + j];
            b[k * m + j] = b[p * m + j];
            b[p * m + j] = t;
        }
        for (uint32_t i = k + 1; i < n; i++) {
            const tf_scalar f = tf_cx_div(a[i * n + k], a[k * n + k]);
            for (uint32_t j = k + 1; j < n; j++)
                a[i * n + j] = tf_cx_sub(a[i * n + j], tf_cx_mul(f, a[k * n + j]));
            for (uint32_t j = 0; j < m; j++)
                b[i * m + j] = tf_cx_sub(b[i * m + j], tf_cx_mul(f, b[k * m + j]));
        }
    }
    for (uint32_t k = n; k-- > 0;)
        for (uint32_t j = 0; j < m; j++) {
            tf_scalar s = b[k * m + j];
            for (uint32_t i = k + 1; i < n; i++)
                s = tf_cx_sub(s, tf_cx_mul(a[k * n + i], b[i * m + j]));
            b[k * m + j] = tf_cx_div(s, a[k * n + k]);
        }
    return true;
}

void tf_multiply(const double *a, const double *b, double *c, uint32_t n)
{
    memset(c, 0, (size_t)n * n * sizeof *c);
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t k = 0; k < n; k++) {
            const double f = a[i * n + k];
            for (uint32_t j = 0; j < n && f != 0; j++)
                c[i * n + j] += f * b[k * n + j];
        }
}

/* ---- the matrix exponential ------------------------------------------------------------------------- */

/* Scaled so that the norm is at most 1/4, 14 terms leave less than 1e-19 of the sum. */
bool tf_expm(const double *a, uint32_t n, double *out, tf_arena *arena)
{
    const size_t count = (size_t)n * n;
    double *x = tf_arena_array(arena, double, count), *term = tf_arena_array(arena, double, count), *next = tf_arena_array(arena, double, count);
    double norm = 0;
    int squarings = 0;
    if (!x || !term || !next)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        double row = 0;
        for (uint32_t j = 0; j < n; j++)
            row += fabs(a[i * n + j]);
        norm = fmax(norm, row);
    }
    if (norm > 0.25 && isfinite(norm))
        frexp(norm * 4, &squarings);
    for (size_t i = 0; i < count; i++)
        x[i] = ldexp(a[i], -squarings);
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < n; j++)
            out[i * n + j] = term[i * n + j] = i == j;
    for (int k = 1; k <= 14; k++) {
        tf_multiply(term, x, next, n);
        for (size_t i = 0; i < count; i++) {
            term[i] = next[i] / k;
            out[i] += term[i];
        }
    }
    for (int k = 0; k < squarings; k++) {
        tf_multiply(out, out, next, n);
        memcpy(out, next, count * sizeof *out);
    }
    return true;
}

/* ---- Jacobi ----------------------------------------------------------------------------------------- */

/* Cosine, and sine times the phase of the off-diagonal element: [c, s; -conj s, c] makes p and q orthogonal when
 * their squares are `p`, `q` and their product is `off`. */
static void rotation(double p, double q, tf_scalar off, double *c, tf_scalar *s)
{
    const double m = tf_cx_abs(off), tau = (q - p) / (2 * m);
    const double t = (tau >= 0 ? 1 : -1) / (fabs(tau) + sqrt(1 + tau * tau));
    *c = 1 / sqrt(1 + t * t);
    *s = tf_cx_scale(off, t * *c / m);
}

/* Columns p and q of an m-row matrix: x_p c - x_q conj s, x_p s + x_q c. */
static void rotate_columns(tf_scalar *a, uint32_t rows, uint32_t n, uint32_t p, uint32_t q, double c, tf_scalar s)
{
    for (uint32_t i = 0; i < rows; i++) {
        const tf_scalar x = a[i * n + p], y = a[i * n + q];
        a[i * n + p] = tf_cx_sub(tf_cx_scale(x, c), tf_cx_mul(y, tf_cx_conj(s)));
        a[i * n + q] = tf_cx_add(tf_cx_mul(x, s), tf_cx_scale(y, c));
    }
}

static void rotate_rows(tf_scalar *a, uint32_t n, uint32_t p, uint32_t q, double c, tf_scalar s)
{
    for (uint32_t j = 0; j < n; j++) {
        const tf_scalar x = a[p * n + j], y = a[q * n + j];
        a[p * n + j] = tf_cx_sub(tf_cx_scale(x, c), tf_cx_mul(y, s));
        a[q * n + j] = tf_cx_add(tf_cx_mul(x, tf_cx_conj(s)), tf_cx_scale(y, c));
    }
}

bool tf_eigen_hermitian(tf_scalar *a, uint32_t n, double *w, tf_scalar *v, tf_arena *arena)
{
    double total = 0;
    tf_scalar *column = tf_arena_array(arena, tf_scalar, (size_t)n + 1);
    if (!column)
        return false;
    for (uint32_t i = 0; i < n * n; i++)
        total += tf_cx_square(a[i]);
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < n; j++)
            v[i * n + j] = tf_cx(i == j, 0);
    for (int sweep = 0; sweep < 60; sweep++) {
        double off = 0;
        for (uint32_t p = 0; p < n; p++)
            for (uint32_t q = p + 1; q < n; q++)
                off += tf_cx_square(a[p * n + q]);
        if (off <= 1e-34 * total)
            break;
        for (uint32_t p = 0; p < n; p++)
            for (uint32_t q = p + 1; q < n; q++) {
                double c;
                tf_scalar s;
                if (tf_cx_square(a[p * n + q]) <= 1e-40 * total)
                    continue;
                rotation(a[p * n + p].re, a[q * n + q].re, a[p * n + q], &c, &s);
                rotate_columns(a, n, n, p, q, c, s);
                rotate_rows(a, n, p, q, c, s);
                rotate_columns(v, n, n, p, q, c, s);
            }
    }
    for (uint32_t i = 0; i < n; i++)
        w[i] = a[i * n + i].re;
    for (uint32_t i = 0; i < n; i++) { /* ascending */
        uint32_t least = i;
        for (uint32_t j = i + 1; j < n; j++)
            if (w[j] < w[least])
                least = j;
        const double t = w[i];
        w[i] = w[least];
        w[least] = t;
        for (uint32_t k = 0; k < n && least != i; k++) {
            column[k] = v[k * n + i];
            v[k * n + i] = v[k * n + least];
            v[k * n + least] = column[k];
        }
    }
    return true;
}

double tf_condition(tf_scalar *v, uint32_t n)
{
    for (int sweep = 0; sweep < 60; sweep++) {
        bool rotated = false;
        for (uint32_t p = 0; p < n; p++)
            for (uint32_t q = p + 1; q < n; q++) {
                double pp = 0, qq = 0, c;
                tf_scalar pq = { 0, 0 }, s;
                for (uint32_t i = 0; i < n; i++) {
                    const tf_scalar x = v[i * n + p], y = v[i * n + q];
                    pp += tf_cx_square(x);
                    qq += tf_cx_square(y);
                    pq = tf_cx_add(pq, tf_cx_mul(tf_cx_conj(x), y));
                }
                if (tf_cx_square(pq) <= 1e-30 * pp * qq)
                    continue;
                rotation(pp, qq, pq, &c, &s);
                rotate_columns(v, n, n, p, q, c, s);
                rotated = true;
            }
        if (!rotated)
            break;
    }
    double least = INFINITY, most = 0;
    for (uint32_t j = 0; j < n; j++) {
        double square = 0;
        for (uint32_t i = 0; i < n; i++)
            square += tf_cx_square(v[i * n + j]);
        least = fmin(least, square);
        most = fmax(most, square);
    }
    return n ? sqrt(most / least) : 1;
}
