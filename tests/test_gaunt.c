/* test_gaunt.c - the equivariant family: host tables against identities, and on the device what the mathematics promises. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ops/sphere.h"
#include "support/support.h"

/* ---- host tables ------------------------------------------------------------------------------------ */

Test(gaunt_host, values_and_orthonormality)
{
    static const double want[9] = { 0.282095, 0.175897, 0.234529, 0.390882, 0.314654, 0.188792, -0.097393, 0.419539, 0.278818 };
    double y[9];
    tf_arena a;
    tf_arena_init(&a, NULL);
    tf_sh_eval(2, 0.36, 0.48, 0.8, y);
    for (int i = 0; i < 9; i++) cr_expect(fabs(y[i] - want[i]) < 1e-6, "Y[%d] = %g, not %g", i, y[i], want[i]);
    tf_sphere_grid grid;
    cr_assert(tf_sphere_grid_make(&a, 24, 0, &grid));
    const double *e = tf_sphere_values(&a, &grid, 12);
    double worst = 0;
    for (int i = 0; i < 169; i++)
        for (int j = 0; j <= i; j++) {
            double sum = 0;
            for (int p = 0; p < grid.nt * grid.np; p++) sum += grid.w[p / grid.np] * 2 * TF_PI / grid.np * e[p * 169 + i] * e[p * 169 + j];
            worst = fmax(worst, fabs(sum - (i == j)));
        }
    cr_expect(worst < 1e-13, "integrals of Y Y' are off by %g", worst);
    tf_arena_release(&a);
}

static int degree_of(int i) { return (int)sqrt(i + 0.5); }

/* Two routes to the same numbers: quadrature, and closed constants times the 3j tensor. */
static void expect_blocks(bool curl)
{
    tf_arena a;
    tf_gaunt_terms terms;
    tf_arena_init(&a, NULL);
    cr_assert(tf_gaunt_list(&a, 3, 4, 7, curl, &terms));
    cr_expect(terms.n > 500);
    double worst = 0;
    for (uint32_t t = 0; t < terms.n; t++) {
        const tf_gaunt_term *g = &terms.data[t];
        const int p = degree_of(g->i), q = degree_of(g->j), r = degree_of(g->k);
        const double *w = tf_wigner_3j(&a, p, q, r);
        double factor = tf_gaunt_norm(p, q, r);
        if (curl) factor = sqrt(p * (p + 1.0) * q * (q + 1.0) * (2 * p + 1) * (2 * q + 1) * (2 * r + 1) / (4 * TF_PI)) * fabs(tf_3j(p, q, r, 1, -1));
        worst = fmax(worst, fabs(g->g - factor * w[((g->i - p * p) * (2 * q + 1) + g->j - q * q) * (2 * r + 1) + g->k - r * r]));
        cr_expect(((p + q + r) & 1) == curl && r >= abs(p - q) && r <= p + q, "coefficient (%d, %d, %d) breaks a selection rule", p, q, r);
    }
    cr_expect(worst < 1e-12, "coefficients are off by %g", worst);
    tf_arena_release(&a);
}
Test(gaunt_host, coefficients_are_3j_tensors) { expect_blocks(false); }
Test(gaunt_host, curl_coefficients_are_3j_tensors) { expect_blocks(true); }

Test(gaunt_host, known_counts_and_norms)
{
    static const struct { int l1, l2, l3; uint32_t n; } counts[] = { { 1, 1, 1, 10 }, { 1, 1, 2, 21 }, { 2, 2, 2, 83 }, { 4, 4, 4, 1158 }, { 4, 4, 8, 2229 }, { 6, 6, 6, 6460 } };
    tf_arena a;
    tf_gaunt_terms terms;
    tf_arena_init(&a, NULL);
    for (size_t i = 0; i < COUNT(counts); i++) {
        cr_assert(tf_gaunt_list(&a, counts[i].l1, counts[i].l2, counts[i].l3, false, &terms));
        cr_expect(terms.n == counts[i].n, "%u coefficients for (%d, %d, %d), not %u", terms.n, counts[i].l1, counts[i].l2, counts[i].l3, counts[i].n);
    }
    cr_expect(fabs(tf_gaunt_norm(2, 2, 4) - 1.0115033) < 1e-7 && fabs(tf_gaunt_norm(3, 2, 1) - 0.8462844) < 1e-7 && tf_gaunt_norm(1, 1, 1) == 0);
    /* sum over m1, m2 of 3j^2 is 1 */
    for (int l = 4; l <= TF_3J_MAX; l += 4) {
        double sum = 0;
        for (int m1 = -l; m1 <= l; m1++)
            for (int m2 = -l; m2 <= l; m2++) sum += pow(tf_3j(l, l, l, m1, m2), 2);
        cr_expect(fabs(sum - 1) < 1e-11, "3j symbols of degree %d have the square sum %.15g", l, sum);
    }
    tf_arena_release(&a);
}

/* A turn about y by a, then about x by b, then about y by c. */
static void rotation(double a, double b, double c, double *r)
{
    const double y1[9] = { cos(a), 0, sin(a), 0, 1, 0, -sin(a), 0, cos(a) }, x[9] = { 1, 0, 0, 0, cos(b), -sin(b), 0, sin(b), cos(b) };
    const double y2[9] = { cos(c), 0, sin(c), 0, 1, 0, -sin(c), 0, cos(c) };
    double t[9];
    for (int i = 0; i < 9; i++) t[i] = y1[i / 3 * 3] * x[i % 3] + y1[i / 3 * 3 + 1] * x[3 + i % 3] + y1[i / 3 * 3 + 2] * x[6 + i % 3];
    for (int i = 0; i < 9; i++) r[i] = t[i / 3 * 3] * y2[i % 3] + t[i / 3 * 3 + 1] * y2[3 + i % 3] + t[i / 3 * 3 + 2] * y2[6 + i % 3];
}

static void turn(const double *r, const double *v, double *out)
{
    for (int i = 0; i < 3; i++) out[i] = r[3 * i] * v[0] + r[3 * i + 1] * v[1] + r[3 * i + 2] * v[2];
}

Test(gaunt_host, rotations)
{
    enum { L = 16 };
    double r[9], s[9], rs[9], v[3] = { 0.36, 0.48, 0.8 }, rv[3], y[(L + 1) * (L + 1)], yr[(L + 1) * (L + 1)], worst = 0;
    tf_arena a;
    tf_arena_init(&a, NULL);
    rotation(0.7, 1.9, -2.1, r);
    rotation(-0.3, 0.4, 1.1, s);
    for (int i = 0; i < 9; i++) rs[i] = r[i / 3 * 3] * s[i % 3] + r[i / 3 * 3 + 1] * s[3 + i % 3] + r[i / 3 * 3 + 2] * s[6 + i % 3];
    turn(r, v, rv);
    tf_sh_eval(L, v[0], v[1], v[2], y);
    tf_sh_eval(L, rv[0], rv[1], rv[2], yr);
    const double *d = tf_wigner_d(&a, L, r), *e = tf_wigner_d(&a, L, s), *f = tf_wigner_d(&a, L, rs);
    for (int l = 0; l <= L; l++)
        for (int m = 0; m <= 2 * l; m++) {
            const int n = 2 * l + 1;
            double sum = 0;
            for (int k = 0; k < n; k++) sum += d[tf_d_at(l) + m * n + k] * y[l * l + k];
            worst = fmax(worst, fabs(sum - yr[l * l + m]));
            for (int q = 0; q < n; q++) {
                sum = 0;
                for (int k = 0; k < n; k++) sum += d[tf_d_at(l) + m * n + k] * e[tf_d_at(l) + k * n + q];
                worst = fmax(worst, fabs(sum - f[tf_d_at(l) + m * n + q]));
            }
        }
    cr_expect(worst < 1e-12, "Y(R v) = D(R) Y(v) and D(R S) = D(R) D(S) are off by %g", worst);
    tf_arena_release(&a);
}
