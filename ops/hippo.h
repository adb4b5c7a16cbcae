/* hippo.h - what host rows of state-space models share: HiPPO matrices and the discretisation of one mode, in double. */
#ifndef TF_HIPPO_H
#define TF_HIPPO_H

#include "dense.h"

/* Rows of the low-rank part. */
uint32_t tf_hippo_rank(tuff_hippo basis);
/* a[n, n], b[n], p[rank, n]. */
void tf_hippo(tuff_hippo basis, uint32_t n, double theta, double *a, double *b, double *p);

/* Diagonal plus low rank: the half with a non-negative imaginary part, ascending. */
typedef struct tf_nplr {
    tf_scalar *lam, *b; /* [n/2] */
    tf_scalar *p;       /* [rank, n/2] */
    tf_scalar *v;       /* [n, n/2]: the eigenvectors */
} tf_nplr;
bool tf_hippo_normal(tuff_hippo basis, uint32_t n, double theta, tf_nplr *out, tf_arena *arena);

/* "zoh", "bilinear", ...: the choices of an attribute of type tuff_discretization. */
extern const char *const tf_discretizations[];
/* x' = lam x + u with step dt -> x_t = ab x_{t-1} + bb u_t. */
void tf_discretize(tuff_discretization method, tf_scalar lam, double dt, tf_scalar *ab, tf_scalar *bb);
/* abar [n, n] and bbar [n] of the step that takes x' = A x + B u at its end for the share `implicit` of dt (1/2: bilinear), else at its start.
 * False: I - implicit dt A is singular, or memory is out. */
bool tf_implicit_step(const double *a, const double *b, uint32_t n, double dt, double implicit, double *ab, double *bb, tf_arena *arena);

#endif
