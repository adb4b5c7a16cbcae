/* wigner.c - Gaunt coefficients, 3j symbols and rotation matrices on the host.
 *
 * Gaunt coefficients come from an exact quadrature in theta and closed integrals in phi, 3j symbols from Racah's formula, rotations
 * from the recursion in the degree of Ivanic and Ruedenberg, which only multiplies entries of the 3 x 3 matrix, and half turns from Wigner's d(pi/2). */
#include "sphere.h"

#include <math.h>
#include <stdlib.h>

/* ---- Gaunt coefficients ----------------------------------------------------------------------------------- */

/* Integral over phi of t_m1 t_m2 t_m3, by its Fourier terms: cos(a) = (e + e*)/2, sin(a) = (e - e*)/2i. */
static double phi_integral(int32_t m1, int32_t m2, int32_t m3)
{
    const int32_t m[3] = { m1, m2, m3 };
    double re = 0;
    for (int s = 0; s < 8; s++) {
        int32_t sum = 0, sines = 0, minus = 0;
        for (int k = 0; k < 3; k++) {
            const int sign = s >> k & 1 ? -1 : 1;
            sum += sign * abs(m[k]);
            if (m[k] < 0) {
                sines++;
                minus += sign < 0;
            }
        }
        /* (1/i)^sines is real for an even number of sines: 1, -1 */
        if (sum == 0 && sines % 2 == 0) re += (sines == 2 ? -1 : 1) * (minus & 1 ? -1 : 1);
    }
    return re * 2 * TF_PI / 8;
}

typedef struct theta_tables {
    int32_t nodes, n1, n2, n3;
    double *w, *sine, *lam1, *lam2, *lam3, *slope1, *slope2;
} theta_tables;

static bool make_tables(tf_arena *a, int32_t l1, int32_t l2, int32_t l3, theta_tables *t)
{
    t->nodes = (l1 + l2 + l3) / 2 + 3;
    t->n1 = tf_lm(l1 + 1, 0);
    t->n2 = tf_lm(l2 + 1, 0);
    t->n3 = tf_lm(l3 + 1, 0);
    double *x = tf_arena_array(a, double, (size_t)t->nodes);
    t->w = tf_arena_array(a, double, (size_t)t->nodes);
    t->sine = tf_arena_array(a, double, (size_t)t->nodes);
    t->lam1 = tf_arena_array(a, double, (size_t)t->nodes * (size_t)t->n1);
    t->slope1 = tf_arena_array(a, double, (size_t)t->nodes * (size_t)t->n1);
    t->lam2 = tf_arena_array(a, double, (size_t)t->nodes * (size_t)t->n2);
    t->slope2 = tf_arena_array(a, double, (size_t)t->nodes * (size_t)t->n2);
    t->lam3 = tf_arena_array(a, double, (size_t)t->nodes * (size_t)t->n3);
    if (!x || !t->w || !t->sine || !t->lam1 || !t->slope1 || !t->lam2 || !t->slope2 || !t->lam3) return false;
    tf_gauss_legendre(t->nodes, x, t->w);
    for (int32_t j = 0; j < t->nodes; j++) {
        const double s = t->sine[j] = sqrt(1 - x[j] * x[j]);
        tf_legendre(l1, x[j], s, t->lam1 + j * t->n1);
        tf_legendre(l2, x[j], s, t->lam2 + j * t->n2);
        tf_legendre(l3, x[j], s, t->lam3 + j * t->n3);
        tf_legendre_slope(l1, x[j], s, t->lam1 + j * t->n1, t->slope1 + j * t->n1);
        tf_legendre_slope(l2, x[j], s, t->lam2 + j * t->n2, t->slope2 + j * t->n2);
    }
    return true;
}

static double triple(const theta_tables *t, int32_t i1, int32_t i2, int32_t i3, bool slope1, bool slope2, bool divide)
{
    double sum = 0;
    for (int32_t j = 0; j < t->nodes; j++)
        sum += t->w[j] * (slope1 ? t->slope1 : t->lam1)[j * t->n1 + i1] * (slope2 ? t->slope2 : t->lam2)[j * t->n2 + i2] * t->lam3[j * t->n3 + i3] /
               (divide ? t->sine[j] : 1);
    return sum;
}

static double coefficient(const theta_tables *t, const int32_t *l, const int32_t *m, bool curl)
{
    const int32_t i1 = tf_lm(l[0], abs(m[0])), i2 = tf_lm(l[1], abs(m[1])), i3 = tf_lm(l[2], abs(m[2]));
    if (!curl) return triple(t, i1, i2, i3, false, false, false) * phi_integral(m[0], m[1], m[2]);
    double sum = 0; /* dt_m / dphi = -m t_-m */
    if (m[1]) sum -= m[1] * triple(t, i1, i2, i3, true, false, true) * phi_integral(m[0], -m[1], m[2]);
    if (m[0]) sum += m[0] * triple(t, i1, i2, i3, false, true, true) * phi_integral(-m[0], m[1], m[2]);
    return sum;
}

bool tf_gaunt_list(tf_arena *a, int32_t l1, int32_t l2, int32_t l3, bool curl, tf_gaunt_terms *out)
{
    theta_tables t;
    const int32_t top = TF_MIN(l3, l1 + l2);
    *out = (tf_gaunt_terms){ 0 };
    if (!make_tables(a, l1, l2, top, &t)) return false;
    for (int32_t p = 0; p <= l1; p++)
        for (int32_t m1 = -p; m1 <= p; m1++)
            for (int32_t q = 0; q <= l2; q++)
                for (int32_t m2 = -q; m2 <= q; m2++)
                    for (int32_t r = abs(p - q); r <= TF_MIN(top, p + q); r++) {
                        if (((p + q + r) & 1) != curl) continue;
                        const int32_t sum = abs(m1) + abs(m2), difference = abs(abs(m1) - abs(m2));
                        for (int32_t m3 = -r; m3 <= r; m3++) {
                            if (abs(m3) != sum && abs(m3) != difference) continue;
                            const double g = coefficient(&t, (int32_t[]){ p, q, r }, (int32_t[]){ m1, m2, m3 }, curl);
                            if (fabs(g) < 1e-12) continue;
                            tf_gaunt_term *term = tf_push(a, out);
                            if (!term) return false;
                            *term = (tf_gaunt_term){ tf_sh_at(p, m1), tf_sh_at(q, m2), tf_sh_at(r, m3), g };
                        }
                    }
    return true;
}

/* ---- 3j ------------------------------------------------------------------------------------------------------ */

static double log_factorial(int32_t n) { return lgamma(n + 1.0); }

static bool triangle(int32_t l1, int32_t l2, int32_t l3) { return l3 >= abs(l1 - l2) && l3 <= l1 + l2; }

double tf_3j(int32_t l1, int32_t l2, int32_t l3, int32_t m1, int32_t m2)
{
    const int32_t m3 = -m1 - m2;
    if (!triangle(l1, l2, l3) || abs(m1) > l1 || abs(m2) > l2 || abs(m3) > l3) return 0;
    const double head = 0.5 * (log_factorial(l1 + l2 - l3) + log_factorial(l1 - l2 + l3) + log_factorial(l2 + l3 - l1) - log_factorial(l1 + l2 + l3 + 1) +
                               log_factorial(l1 + m1) + log_factorial(l1 - m1) + log_factorial(l2 + m2) + log_factorial(l2 - m2) + log_factorial(l3 + m3) +
                               log_factorial(l3 - m3));
    const int32_t first = TF_MAX(0, TF_MAX(l2 - l3 - m1, l1 - l3 + m2)), last = TF_MIN(l1 + l2 - l3, TF_MIN(l1 - m1, l2 + m2));
    double sum = 0;
    for (int32_t k = first; k <= last; k++) {
        const double tail = log_factorial(k) + log_factorial(l1 + l2 - l3 - k) + log_factorial(l1 - m1 - k) + log_factorial(l2 + m2 - k) +
                            log_factorial(l3 - l2 + m1 + k) + log_factorial(l3 - l1 - m2 + k);
        sum += (k & 1 ? -1 : 1) * exp(head - tail);
    }
    return (l1 - l2 - m3) & 1 ? -sum : sum;
}

double tf_gaunt_norm(int32_t l1, int32_t l2, int32_t l3)
{
    if (!triangle(l1, l2, l3) || (l1 + l2 + l3) & 1) return 0;
    return sqrt((2.0 * l1 + 1) * (2.0 * l2 + 1) * (2.0 * l3 + 1) / (4 * TF_PI)) * fabs(tf_3j(l1, l2, l3, 0, 0));
}

/* Column m of the matrix from real to complex harmonics has entries in rows +-m only: value at row `sign` * |m|, without (-i)^l. */
static void real_to_complex(int32_t m, int32_t sign, double *re, double *im)
{
    *re = *im = 0;
    const double h = sqrt(0.5), odd = m & 1 ? -1 : 1;
    if (m == 0) *re = 1;
    else if (m > 0) *re = sign > 0 ? odd * h : h;
    else *im = sign > 0 ? odd * h : -h;
}

double *tf_wigner_3j(tf_arena *a, int32_t l1, int32_t l2, int32_t l3)
{
    const int32_t n1 = 2 * l1 + 1, n2 = 2 * l2 + 1, n3 = 2 * l3 + 1;
    double *w = tf_arena_array(a, double, (size_t)n1 * (size_t)n2 * (size_t)n3), norm = 0;
    if (!w || !triangle(l1, l2, l3)) return w;
    const int turns = ((l1 + l2 - l3) % 4 + 4) % 4; /* (-i)^(l1 + l2 - l3) */
    for (int32_t m1 = -l1; m1 <= l1; m1++)
        for (int32_t m2 = -l2; m2 <= l2; m2++)
            for (int32_t m3 = -l3; m3 <= l3; m3++) {
                double re = 0, im = 0;
                for (int s = 0; s < 4; s++) {
                    const int32_t s1 = s & 1 ? -1 : 1, s2 = s & 2 ? -1 : 1;
                    if ((m1 == 0 && s1 < 0) || (m2 == 0 && s2 < 0)) continue;
                    const int32_t k1 = s1 * abs(m1), k2 = s2 * abs(m2), k3 = k1 + k2;
                    if (abs(k3) != abs(m3)) continue;
                    double a1, b1, a2, b2, a3, b3;
                    real_to_complex(m1, s1, &a1, &b1);
                    real_to_complex(m2, s2, &a2, &b2);
                    real_to_complex(m3, k3 < 0 ? -1 : 1, &a3, &b3);
                    const double c = ((l1 - l2 + k3) & 1 ? -1 : 1) * sqrt(2.0 * l3 + 1) * tf_3j(l1, l2, l3, k1, k2);
                    const double pr = a1 * a2 - b1 * b2, pi = a1 * b2 + b1 * a2;
                    re += c * (pr * a3 + pi * b3);
                    im += c * (pi * a3 - pr * b3);
                }
                const double v = turns == 0 ? re : turns == 1 ? im : turns == 2 ? -re : -im;
                w[((int64_t)(m1 + l1) * n2 + m2 + l2) * n3 + m3 + l3] = v;
                norm += v * v;
            }
    norm = 1 / sqrt(norm);
    for (int64_t i = 0; i < (int64_t)n1 * n2 * n3; i++) w[i] = fabs(w[i] * norm) < 1e-14 ? 0 : w[i] * norm;
    return w;
}

/* ---- rotations --------------------------------------------------------------------------------------------- */

typedef struct degree_step {
    const double *r, *below; /* D_1, D_{l-1} */
    int32_t l;
} degree_step;

static double entry_1(const degree_step *s, int32_t i, int32_t j) { return s->r[(i + 1) * 3 + j + 1]; }
static double entry(const degree_step *s, int32_t a, int32_t b) { return s->below[(int64_t)(a + s->l - 1) * (2 * s->l - 1) + b + s->l - 1]; }

static double product(const degree_step *s, int32_t i, int32_t a, int32_t b)
{
    const int32_t l = s->l;
    if (b == l) return entry_1(s, i, 1) * entry(s, a, l - 1) - entry_1(s, i, -1) * entry(s, a, 1 - l);
    if (b == -l) return entry_1(s, i, 1) * entry(s, a, 1 - l) + entry_1(s, i, -1) * entry(s, a, l - 1);
    return entry_1(s, i, 0) * entry(s, a, b);
}

static double next_entry(const degree_step *s, int32_t m, int32_t n)
{
    const int32_t l = s->l, k = abs(m);
    const double d = abs(n) < l ? (double)(l + n) * (l - n) : 2.0 * l * (2.0 * l - 1);
    const double u = sqrt((double)(l + m) * (l - m) / d), v = 0.5 * sqrt((m ? 1.0 : 2.0) * (l + k - 1) * (l + k) / d) * (m ? 1 : -1);
    const double w = m ? -0.5 * sqrt((double)(l - k - 1) * (l - k) / d) : 0;
    double sum = u != 0 ? u * product(s, 0, m, n) : 0;
    if (m == 0) sum += v * (product(s, 1, 1, n) + product(s, -1, -1, n));
    else if (m == 1) sum += v * product(s, 1, 0, n) * sqrt(2.0);
    else if (m == -1) sum += v * product(s, -1, 0, n) * sqrt(2.0);
    else if (m > 0) sum += v * (product(s, 1, m - 1, n) - product(s, -1, 1 - m, n));
    else sum += v * (product(s, 1, m + 1, n) + product(s, -1, -m - 1, n));
    if (w != 0) sum += w * (m > 0 ? product(s, 1, m + 1, n) + product(s, -1, -m - 1, n) : product(s, 1, m - 1, n) - product(s, -1, 1 - m, n));
    return sum;
}

double *tf_wigner_d(tf_arena *a, int32_t lmax, const double *r)
{
    double *d = tf_arena_array(a, double, (size_t)tf_d_size(lmax));
    if (!d) return NULL;
    d[0] = 1;
    for (int32_t i = 0; lmax > 0 && i < 9; i++) d[1 + i] = r[i];
    for (int32_t l = 2; l <= lmax; l++) {
        const degree_step s = { r, d + tf_d_at(l - 1), l };
        for (int32_t m = -l; m <= l; m++)
            for (int32_t n = -l; n <= l; n++) d[tf_d_at(l) + (int64_t)(m + l) * (2 * l + 1) + n + l] = next_entry(&s, m, n);
    }
    return d;
}

/* ---- the half turn ----------------------------------------------------------------------------------------------
 * The recursion above loses digits with the degree (all of them near 150). J is X(pi/2) M X(pi/2) with M a quarter turn about x, and M
 * is made of Wigner's d(pi/2), whose recurrence in l is stable for fixed orders. */

/* d^l_mn(pi/2), l = lowest .. lmax, for m >= |n|; lowest is m. */
static void quarter_turn(int32_t lmax, int32_t m, int32_t n, double *d)
{
    double before = 0, now = exp(0.5 * (log_factorial(2 * m) - log_factorial(m + n) - log_factorial(m - n)) - m * log(2.0)) * ((m - n) & 1 ? -1 : 1);
    for (int32_t l = m; l <= lmax; l++) {
        d[l] = now;
        const double k = l + 1, scale = k * (2.0 * l + 1) / sqrt((k * k - (double)m * m) * (k * k - (double)n * n));
        const double drift = l ? (double)m * n / (l * k) : 0, back = l ? sqrt(((double)l * l - (double)m * m) * ((double)l * l - (double)n * n)) / (l * (2.0 * l + 1)) : 0;
        const double next = -scale * (drift * now + back * before);
        before = now;
        now = next;
    }
}

/* M[p, q] of degree l, both orders with one sign class, from d_pq and d_p-q, p >= q >= 0. */
static double class_entry(int32_t p, int32_t q, bool sines, double same, double opposite)
{
    const double sign = p & 1 ? -1 : 1, both = (p + q) & 1 ? -1 : 1;
    if (q == 0) return sines ? 0 : (p ? sqrt(2.0) * sign : 1) * same;
    return both * same + (sines ? -1 : 1) * sign * opposite;
}

double *tf_wigner_j(tf_arena *a, int32_t lmax)
{
    double *j = tf_arena_array(a, double, (size_t)tf_d_size(lmax));
    double *same = tf_arena_array(a, double, (size_t)lmax + 1), *opposite = tf_arena_array(a, double, (size_t)lmax + 1);
    /* X(pi/2): cosines and sines of m pi/2 */
    static const double cosines[4] = { 1, 0, -1, 0 }, sines[4] = { 0, 1, 0, -1 };
    if (!j || !same || !opposite) return NULL;
    for (int32_t p = 0; p <= lmax; p++)
        for (int32_t q = 0; q <= p; q++) {
            quarter_turn(lmax, p, q, same);
            quarter_turn(lmax, p, -q, opposite);
            for (int32_t l = p; l <= lmax; l++) {
                double *block = j + tf_d_at(l) + (int64_t)l * (2 * l + 2); /* its middle */
                const int32_t w = 2 * l + 1;
                for (int flip = 0; flip < (p == q ? 1 : 2); flip++) {
                    const int32_t x = flip ? q : p, y = flip ? p : q;
                    const double t = flip && ((p + q) & 1) ? -1 : 1; /* d_nm = (-1)^(m - n) d_mn, and so for M */
                    const double c = t * class_entry(p, q, false, same[l], opposite[l]), s = t * class_entry(p, q, true, same[l], opposite[l]);
                    const double cx = cosines[x & 3], sx = sines[x & 3], cy = cosines[y & 3], sy = sines[y & 3];
                    block[x * w + y] = cx * c * cy - sx * s * sy;
                    if (y) block[x * w - y] = -cx * c * sy - sx * s * cy;
                    if (x) block[-x * w + y] = sx * c * cy + cx * s * sy;
                    if (x && y) block[-x * w - y] = -sx * c * sy + cx * s * cy;
                }
            }
        }
    return j;
}
