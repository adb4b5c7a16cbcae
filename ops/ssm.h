/* ssm.h - what the files of linear time-invariant models share. */
#ifndef TF_SSM_H
#define TF_SSM_H

#include "graph/op.h"

/* ---- on the device (discretize.c) ---- */

/* A constant or literal: host rows can take it. */
bool tf_is_constant(tuff_tensor x);
bool tf_all_constant(const tuff_tensor *x, uint32_t n);
/* Operands lam b c dt, and p at i: false, tf_bad was called (s4.c). */
bool tf_check_modes(tf_infer *c);
bool tf_check_low_rank(tf_infer *c, uint32_t i);
/* e^{(re + i im) dt j} as c64, the phase exact to 48 bits; operands f32, broadcasting. */
tuff_tensor tf_power_of_mode(tuff_tensor re, tuff_tensor im, tuff_tensor dt, tuff_tensor j);
/* lam[h,n], b[h,n], dt[h] -> ab, bb [h,n]. */
void tf_discretize_on_device(tuff_graph *g, tuff_discretization method, tuff_tensor lam, tuff_tensor b, tuff_tensor dt, tuff_tensor *ab, tuff_tensor *bb);

/* ---- on the host (ssm_host.c): rows whose operands begin with lam[h,n] b[h,n] c[h,n] dt[h] and, optional, p[rank,h,n] ---- */

typedef struct tf_model_desc {
    tuff_discretization disc; /* diagonal models; others are bilinear */
    bool full;                /* all modes are given: no doubled real part */
} tf_model_desc;

/* One feature: A = diag(lam) - p'conj(p), over the conjugates too unless full. */
typedef struct tf_model {
    uint32_t n, rank;
    tf_scalar *lam, *b, *c, *p; /* [n], p [rank, n] */
    double dt;
    bool full;
    tuff_discretization disc;
} tf_model;
/* The step over the real parts and then the imaginary parts of the state: n is twice the modes. */
typedef struct tf_real_model {
    uint32_t n;
    double *a, *b, *c;
} tf_real_model;
bool tf_model_at(const tf_ref *r, const tf_model_desc *d, uint64_t feature, tf_model *m);
/* False: out of memory, or a singular step. */
bool tf_model_real(const tf_model *m, tf_real_model *out, tf_arena *arena);

/* The step of a mode, to the power of a whole j. */
tf_scalar tf_mode_power(tuff_discretization disc, tf_scalar lam, double dt, double j);
/* work() for each feature with scratch memory of its own, until one fails. */
tuff_status tf_each_feature(tf_ref *r, uint64_t features, tuff_status (*work)(tf_ref *r, uint64_t feature, void *user), void *user);

/* K_l = c A^l b step by step, into out[0]; positions (may be NULL) selects columns. */
tuff_status tf_kernel_reference(tf_ref *r, const tf_model_desc *d, const tf_ref_tensor *positions, int64_t length);
/* c (I - A^length) of each feature. */
tuff_status tf_truncation_reference(tf_ref *r, const tf_model_desc *d, int64_t length, tf_ref_tensor *out);

/* Rows [h, parts, 2n] and columns [h, 2n, block]: K_(block q + r) = rows[q] . columns[r]. */
typedef struct tf_tables_desc {
    tf_model_desc model;
    tuff_tensor p;
    int64_t block, parts, length;
} tf_tables_desc;
extern const tf_op tf_op_ssm_tables, tf_op_ssm_kernel, tf_op_ssm_steps, tf_op_ssm_truncation, tf_op_discretize_host;

#endif
