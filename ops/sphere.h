/* sphere.h - spherical harmonics, Gaunt coefficients and rotations in double precision on the host.
 *
 * Conventions: y is the polar axis, cos(theta) = y, phi = atan2(x, z); entry (l, m) stands at l * l + l + m;
 * Y_lm = Lam_{l|m|}(theta) t_m(phi), t_m = cos(m phi) for m >= 0 and sin(|m| phi) for m < 0, orthonormal on the sphere, without the
 * Condon-Shortley sign. Tables of kernels are made from these functions and rounded once; references use them, too.
 * Functions that return pointers allocate from the arena and return NULL when memory is out. */
#ifndef TF_SPHERE_H
#define TF_SPHERE_H

#include "graph/base/base.h"

#define TF_PI 3.14159265358979323846

/* Degrees beyond this are refused: tables grow with the cube of the degree, loops over (l, m) with its square. */
enum { TF_SH_MAX = 320 };

static inline int32_t tf_sh_size(int32_t l) { return (l + 1) * (l + 1); }
static inline int32_t tf_sh_at(int32_t l, int32_t m) { return l * l + l + m; }
static inline int32_t tf_lm(int32_t l, int32_t m) { return l * (l + 1) / 2 + m; } /* m >= 0 */
/* The largest L with (L + 1)^2 == size, or -1. */
int32_t tf_sh_degree(int64_t size);

/* n nodes x = cos(theta) from +1 down to -1, exactly antisymmetric, and their weights. */
void tf_gauss_legendre(int32_t n, double *x, double *w);
/* n equidistant angles theta = pi (i + 1/2) / n, as cosines, and Fejer's weights: exact below degree n. */
void tf_regular_nodes(int32_t n, double *x, double *w);
/* Lam_lm(theta), 0 <= m <= l <= lmax, into lam[tf_lm(l, m)]. sin may be negative: the continuation to the full circle. */
void tf_legendre(int32_t lmax, double cosine, double sine, double *lam);
/* d Lam_lm / d theta from lam; sine != 0. */
void tf_legendre_slope(int32_t lmax, double cosine, double sine, const double *lam, double *slope);
/* Solid harmonics r^l Y_lm(x, y, z). */
void tf_sh_eval(int32_t lmax, double x, double y, double z, double *out);
/* The same of the direction; a vector no longer than 1e-12 counts as zero: Y_00, and 0 for l > 0. */
void tf_sh_eval_unit(int32_t lmax, double x, double y, double z, double *out);
/* Weight of Y_l in other normalisations: sqrt(4 pi), sqrt(4 pi / (2 l + 1)). */
double tf_sh_scale(int32_t normalization, int32_t l);

/* A grid on which products of total degree `degree` are integrated exactly: nt nodes, np angles 2 pi k / np. spare: more nodes. */
typedef struct tf_sphere_grid {
    int32_t nt, np;
    double *x, *w; /* [nt]; the weight of a point is w * 2 pi / np */
} tf_sphere_grid;
bool tf_sphere_grid_make(tf_arena *a, int32_t degree, int32_t spare, tf_sphere_grid *out);
/* Y at the points, [nt * np, (lmax + 1)^2]. */
double *tf_sphere_values(tf_arena *a, const tf_sphere_grid *grid, int32_t lmax);
/* dY / d theta and (1 / sin theta) dY / d phi at the points. */
bool tf_sphere_slopes(tf_arena *a, const tf_sphere_grid *grid, int32_t lmax, double **theta, double **phi);

/* Coefficients a[tf_lm(l, m) * (lmax + 1) + u] of Lam_lm(theta) = sum_u a_u {cos|sin}(u theta), cos for even m. */
double *tf_theta_series(tf_arena *a, int32_t lmax);
/* K[tf_lm(l, m) * (lf + 1) + u] = integral of {cos|sin}(u theta) Lam_lm(theta) sin(theta), cos for even m; l <= lout, u <= lf. */
double *tf_theta_integrals(tf_arena *a, int32_t lf, int32_t lout);

/* Non-zero Gaunt coefficients, ordered by (i, j, k). curl: of rhat . (grad Y_i x grad Y_j) Y_k instead of Y_i Y_j Y_k. */
typedef struct tf_gaunt_term {
    int32_t i, j, k;
    double g;
} tf_gaunt_term;
typedef TF_ARRAY(tf_gaunt_term) tf_gaunt_terms;
bool tf_gaunt_list(tf_arena *a, int32_t l1, int32_t l2, int32_t l3, bool curl, tf_gaunt_terms *out);

/* The real 3j tensor [2 l1 + 1, 2 l2 + 1, 2 l3 + 1] of Frobenius norm 1; zeros off the triangle. */
double *tf_wigner_3j(tf_arena *a, int32_t l1, int32_t l2, int32_t l3);
/* 3j(l1 l2 l3; m1 m2 -m1-m2) with the usual complex convention. */
double tf_3j(int32_t l1, int32_t l2, int32_t l3, int32_t m1, int32_t m2);
/* Gaunt block = this * 3j tensor; 0 where the sum of degrees is odd or the triangle is broken. */
double tf_gaunt_norm(int32_t l1, int32_t l2, int32_t l3);
enum { TF_3J_MAX = 20 }; /* Racah's sum loses digits beyond */

/* Blocks of D(R), l = 0..lmax, row-major and concatenated; R row-major, orthogonal. Offset and size of the blocks. */
double *tf_wigner_d(tf_arena *a, int32_t lmax, const double *r);
static inline int64_t tf_d_at(int32_t l) { return (int64_t)l * (4 * (int64_t)l * l - 1) / 3; }
static inline int64_t tf_d_size(int32_t lmax) { return tf_d_at(lmax + 1); }
/* D of the half turn (x, y, z) -> (y, x, -z): J = J^T = J^-1, and J X(t) J is a turn about x. */
double *tf_wigner_j(tf_arena *a, int32_t lmax);

#endif
