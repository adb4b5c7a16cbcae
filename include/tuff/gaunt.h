/* gaunt.h - spherical harmonics and equivariant tensor products. Included by tuff.h; the conventions are those of ops.h.
 *
 * A feature is x[..., (L+1)^2]: entry l*l + l + m holds degree l, order m = -l..l, of a function on the sphere expanded in real
 * spherical harmonics. The polar axis is y and degree 1 is the vector (x, y, z) itself: the basis and the signs of e3nn.
 * L is always the largest degree. Degrees go up to 512 unless a function says less. */
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

#ifdef __cplusplus
}
#endif

#endif
