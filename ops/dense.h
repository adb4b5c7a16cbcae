/* dense.h - small dense linear algebra in double precision, for host rows: solves, the matrix exponential, eigenvalues of
 * Hermitian and of real matrices, singular values.
 *
 * Matrices are row-major, n x n unless said otherwise, n up to a few hundred; complex ones are arrays of tf_scalar. Work space comes
 * from the arena; false means that it is out, or what the comment says. */
#ifndef TF_DENSE_H
#define TF_DENSE_H

#include <math.h>

#include "graph/op.h"

static inline tf_scalar tf_cx(double re, double im) { return (tf_scalar){ re, im }; }
static inline tf_scalar tf_cx_conj(tf_scalar a) { return tf_cx(a.re, -a.im); }
static inline tf_scalar tf_cx_add(tf_scalar a, tf_scalar b) { return tf_cx(a.re + b.re, a.im + b.im); }
static inline tf_scalar tf_cx_sub(tf_scalar a, tf_scalar b) { return tf_cx(a.re - b.re, a.im - b.im); }
static inline tf_scalar tf_cx_mul(tf_scalar a, tf_scalar b) { return tf_cx(a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re); }
static inline tf_scalar tf_cx_scale(tf_scalar a, double s) { return tf_cx(a.re * s, a.im * s); }
static inline double tf_cx_square(tf_scalar a) { return a.re * a.re + a.im * a.im; }
static inline double tf_cx_abs(tf_scalar a) { return hypot(a.re, a.im); }
tf_scalar tf_cx_div(tf_scalar a, tf_scalar b);
tf_scalar tf_cx_exp(tf_scalar a);
/* e^a - 1, accurate near 0. */
tf_scalar tf_cx_expm1(tf_scalar a);

/* Solve A X = B for m right-hand sides, B [n, m], in place: A becomes its factors, B the solution. False: A is singular. */
bool tf_solve(double *a, uint32_t n, double *b, uint32_t m);
bool tf_solve_complex(tf_scalar *a, uint32_t n, tf_scalar *b, uint32_t m);
/* c = a b; c must be another matrix. */
void tf_multiply(const double *a, const double *b, double *c, uint32_t n);
/* e^A into out. */
bool tf_expm(const double *a, uint32_t n, double *out, tf_arena *arena);

/* Eigenvalues, ascending, and unitary eigenvectors (columns of v) of a Hermitian matrix, which is overwritten. */
bool tf_eigen_hermitian(tf_scalar *a, uint32_t n, double *w, tf_scalar *v, tf_arena *arena);
/* Eigenvalues and unit eigenvectors (columns of v) of a real matrix, which is overwritten. Pairs are exact conjugates, their members
 * neighbours with the positive imaginary part first. False: no convergence. */
bool tf_eigen_real(double *a, uint32_t n, tf_scalar *w, tf_scalar *v, tf_arena *arena);
/* Ratio of the largest to the smallest singular value of v, which is overwritten; infinity for a singular one. */
double tf_condition(tf_scalar *v, uint32_t n);

#endif
