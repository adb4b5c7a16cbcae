/* gaunt.h - spherical harmonics and equivariant tensor products. Included by tuff.h; the conventions are those of ops.h.
 *
 * A feature is x[..., (L+1)^2]: entry l*l + l + m holds degree l, order m = -l..l, of a function on the sphere expanded in real
 * spherical harmonics. The polar axis is y and degree 1 is the vector (x, y, z) itself: the basis and the signs of e3nn.
 * L is always the largest degree. Degrees go up to 320 unless a function says less. */
#ifndef TUFF_GAUNT_H
#define TUFF_GAUNT_H

#ifndef TUFF_TUFF_H
#  include "tuff.h"
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- tables, made on the host in double precision when the graph is compiled ------------------------ */

/* Integrals of Y_i Y_j Y_k over the sphere -> f32[(l1+1)^2, (l2+1)^2, (l3+1)^2]. */
TUFF_API tuff_tensor tuff_gaunt_coefficients(tuff_graph *g, int32_t l1, int32_t l2, int32_t l3);
/* The real 3j tensor, Frobenius norm 1 -> f32[2*l1+1, 2*l2+1, 2*l3+1]; zeros off the triangle. l1, l2 <= 20, l3 <= 40. */
TUFF_API tuff_tensor tuff_wigner_3j(tuff_graph *g, int32_t l1, int32_t l2, int32_t l3);
/* Factors between both: Gaunt block (l1, l2, l3) = y[l1, l2, l3] * wigner_3j -> f32[lmax+1, lmax+1, 2*lmax+1]. lmax <= 20. */
TUFF_API tuff_tensor tuff_gaunt_norms(tuff_graph *g, int32_t lmax);
/* Gauss-Legendre quadrature: result 0 nodes f32[n] = cos(theta) from +1 to -1, result 1 weights f32[n]. n from 1 to 65536. */
TUFF_API tuff_tensor tuff_gauss_legendre(tuff_graph *g, int32_t n);

/* ---- spherical harmonics ---------------------------------------------------------------------------- */

typedef enum tuff_sh_normalization {
    TUFF_SH_INTEGRAL,  /* orthonormal on the sphere; what the products take */
    TUFF_SH_COMPONENT, /* sum over m of Y^2 = 2l+1 */
    TUFF_SH_NORM       /* sum over m of Y^2 = 1 */
} tuff_sh_normalization;
typedef struct tuff_spherical_harmonics_desc {
    tuff_sh_normalization normalization;
    bool solid;        /* r^l Y_lm(vec) instead of Y_lm(vec / |vec|) */
} tuff_spherical_harmonics_desc;
/* vec[..., 3] (float) -> y[..., (lmax+1)^2]. A vector no longer than 1e-12 counts as zero: Y_00, and zeros for l > 0. Cartesian recurrence without
 * angles: no special cases at the poles. */
TUFF_API tuff_tensor tuff_spherical_harmonics(tuff_tensor vec, int32_t lmax, const tuff_spherical_harmonics_desc *desc);

/* ---- tensor products -------------------------------------------------------------------------------- */

typedef enum tuff_gaunt_algorithm {
    TUFF_GAUNT_AUTO,
    TUFF_GAUNT_SPARSE,    /* code generated from the non-zero coefficients, tables of them beyond degree 6; degrees up to 12 */
    TUFF_GAUNT_GRID,      /* evaluate, multiply and project on a Gauss-Legendre grid, theta and phi one after the other */
    TUFF_GAUNT_DENSE,     /* the same as three matrix products */
    TUFF_GAUNT_FOURIER    /* 2D Fourier coefficients, multiplied by FFTs */
} tuff_gaunt_algorithm;
typedef struct tuff_gaunt_tp_desc {
    tuff_tensor w1, w2, w3; /* weights by degree, [L1+1], [L2+1], [lout+1] as last axis; the axes before broadcast; absent: 1 */
    tuff_gaunt_algorithm algorithm;
} tuff_gaunt_tp_desc;
/* x1[..., (L1+1)^2], x2[..., (L2+1)^2] (float) -> y[..., (lout+1)^2]: both functions multiplied on the sphere,
 * y_lm = w3_l sum over ij of G[i, j, lm] (w1 x1)_i (w2 x2)_j. Leading axes broadcast. lout may be anything: degrees above L1+L2 are 0.
 * Luo, Chen, Krishnapriyan 2024, arXiv:2401.10216. */
TUFF_API tuff_tensor tuff_gaunt_tp(tuff_tensor x1, tuff_tensor x2, int32_t lout, const tuff_gaunt_tp_desc *desc);
/* The antisymmetric counterpart with the paths of odd l1+l2+l3 that products lack: rhat . (grad f1 x grad f2). Degrees up to 32.
 * Degree 1 with degree 1 gives sqrt(3 / 4 pi) times the cross product in degree 1. */
TUFF_API tuff_tensor tuff_gaunt_curl_tp(tuff_tensor x1, tuff_tensor x2, int32_t lout);
/* gaunt_tp with the filter h_l Y_lm(vec / |vec|): x[..., C, (L1+1)^2], vec[..., 3], h[C, L2+1] or h[..., C, L2+1] -> y[..., C, (lout+1)^2].
 * The filter is never stored: x is turned so that vec is the pole, where only orders m = 0 of the filter are left. */
TUFF_API tuff_tensor tuff_gaunt_conv(tuff_tensor x, tuff_tensor vec, tuff_tensor h, int32_t lout);
typedef struct tuff_gaunt_manybody_desc {
    int32_t order;       /* with one x: how many factors; 0: as many as x, or as w has */
    tuff_tensor w;       /* one x: weights of all factors, [order, L+1] or [order, C, L+1]; absent: 1 */
    tuff_tensor wout;    /* [lout+1] as last axis; the axes before broadcast; absent: 1 */
    const tuff_named *weights; /* several x: weights of factor i under the name w<i>, [L_i+1] as last axis; those missing are 1 */
    uint32_t weight_count;
} tuff_gaunt_manybody_desc;
/* The product of any number of functions, projected once: xs[i][..., (L_i+1)^2] (2 to 16 of them, or one and an order up to 16; broadcast leading axes)
 * -> y[..., (lout+1)^2]. Nothing is cut off between factors. */
TUFF_API tuff_tensor tuff_gaunt_manybody(const tuff_tensor *xs, uint32_t n, int32_t lout, const tuff_gaunt_manybody_desc *desc);
typedef enum tuff_cg_normalization {
    TUFF_CG_COMPONENT, /* blocks times sqrt(2 l3 + 1) */
    TUFF_CG_NORM,      /* sqrt((2 l1 + 1)(2 l2 + 1)) */
    TUFF_CG_NONE
} tuff_cg_normalization;
typedef struct tuff_cg_full_tp_desc { tuff_cg_normalization normalization; } tuff_cg_full_tp_desc;
/* The full tensor product by Clebsch-Gordan coefficients: for each (l1, l2, l3 <= lout) of a triangle, in that order, a block of 2 l3 + 1.
 * x1[..., (L1+1)^2], x2[..., (L2+1)^2] -> y[..., sum of blocks]. L1, L2 up to 20. */
TUFF_API tuff_tensor tuff_cg_full_tp(tuff_tensor x1, tuff_tensor x2, int32_t lout, const tuff_cg_full_tp_desc *desc);

/* ---- rotations -------------------------------------------------------------------------------------- */

/* R[..., 3, 3], rotations -> D[..., sum of (2l+1)^2]: blocks l = 0..lmax, row-major, with Y(R v) = D(R) Y(v); degree 1 is R. lmax up to 32. */
TUFF_API tuff_tensor tuff_wigner_d(tuff_tensor r, int32_t lmax);
/* x[..., C.., (L+1)^2], R[..., 3, 3] -> D(R) x, without forming D. R's leading axes are the first ones of x's; the others share it. L up to 128. */
TUFF_API tuff_tensor tuff_sh_rotate(tuff_tensor x, tuff_tensor r);

/* ---- Fourier coefficients and grids ------------------------------------------------------------------ */

/* x[..., (L+1)^2] -> F c64[..., 2L+1, 2L+1] with f(theta, phi) = sum of F[u+L, v+L] e^(i (u theta + v phi)). L up to 128. */
TUFF_API tuff_tensor tuff_sh_to_fourier(tuff_tensor x);
/* F c64[..., 2L+1, 2L+1] -> y[..., (lout+1)^2]: the projection of such a function; L and lout up to 128. Of coefficients without the symmetries of a real
 * function on the sphere, the part that has them counts. */
TUFF_API tuff_tensor tuff_fourier_to_sh(tuff_tensor f, int32_t lout);

typedef enum tuff_sht_grid {
    TUFF_SHT_GAUSS,   /* cos(theta) at Gauss-Legendre nodes */
    TUFF_SHT_REGULAR  /* theta = pi (i + 1/2) / nlat */
} tuff_sht_grid;
typedef struct tuff_sht_desc { tuff_sht_grid grid; } tuff_sht_desc;
/* x[..., (L+1)^2] -> f[..., nlat, nlon]: values at theta from the pole +y down and phi = 2 pi k / nlon (from +z towards +x). L up to 256. */
TUFF_API tuff_tensor tuff_sht_synthesis(tuff_tensor x, int32_t nlat, int32_t nlon, const tuff_sht_desc *desc);
/* f[..., nlat, nlon] -> x[..., (lmax+1)^2]: exact for functions of degree lmax. nlon >= 2 lmax + 1; nlat >= lmax + 1 (GAUSS), 2 lmax + 1
 * (REGULAR), else E_SHAPE. */
TUFF_API tuff_tensor tuff_sht_analysis(tuff_tensor f, int32_t lmax, const tuff_sht_desc *desc);

/* ---- positions on earth -------------------------------------------------------------------------------- */

typedef struct tuff_location_embedding_desc {
    bool legacy_m0; /* entries m = 0 times pi, as weights trained before 2024-01-31 expect */
} tuff_location_embedding_desc;
/* lonlat[..., 2] in degrees -> y[..., degrees^2]: spherical harmonics l = 0..degrees-1 of the opposite direction. degrees up to 128.
 * Russwurm et al. 2024, arXiv:2310.06743. */
TUFF_API tuff_tensor tuff_location_embedding(tuff_tensor lonlat, int32_t degrees, const tuff_location_embedding_desc *desc);
typedef struct tuff_location_encoder_desc {
    float w0_first; /* 0: 30 */
    float w0;       /* 0: 1 */
    bool legacy_m0;
} tuff_location_encoder_desc;
/* The embedding through a network of sines: h = sin(w0_first (W0 e + b0)), h = sin(w0 (Wi h + bi)), the last layer without the sine.
 * weights[i][out, in], biases[i][out]; 1 to 31 layers. lonlat[..., 2] -> y[..., out of the last layer]. */
TUFF_API tuff_tensor tuff_location_encoder(tuff_tensor lonlat, int32_t degrees, const tuff_tensor *weights, const tuff_tensor *biases, uint32_t layers,
                                           const tuff_location_encoder_desc *desc);

#ifdef __cplusplus
}
#endif

#endif
