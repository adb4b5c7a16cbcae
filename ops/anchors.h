/* anchors.h - the internal anchor rows that reductions, norms, matmul, scans and scatter lower to, and the helpers
 * that bring any axes into the two or three dims an anchor knows. */
#ifndef TF_ANCHORS_H
#define TF_ANCHORS_H

#include "graph/kernel.h"
#include "graph/op.h"

/* _reduce [outer, inner] -> [outer, parts] and _reduce_cols [outer, inner, cols] -> [outer, parts, cols].
 * Element p of the parts folds inner elements [p * chunk, (p + 1) * chunk). */
typedef enum tf_fold {
    TF_FOLD_SUM, TF_FOLD_PROD, TF_FOLD_MAX, TF_FOLD_MIN, TF_FOLD_ANY, TF_FOLD_ALL, TF_FOLD_ARGMAX, TF_FOLD_ARGMIN,
    TF_FOLD_LOGSUMEXP,
    TF_FOLD_SQUARES /* sum((x - mean x)^2) */
} tf_fold;
typedef struct tf_fold_desc {
    tf_fold fold;
    int64_t chunk;      /* 0: all of inner; else a multiple of 4 */
    tuff_shape divisor; /* rank 1: the result is divided by this (dynamic) dim; rank 0: not */
} tf_fold_desc;

/* _rownorm [outer, inner] -> [outer, inner]. */
typedef enum tf_rownorm { TF_ROWNORM_SOFTMAX, TF_ROWNORM_LOG_SOFTMAX, TF_ROWNORM_LAYER, TF_ROWNORM_RMS } tf_rownorm;
typedef struct tf_rownorm_desc {
    tf_rownorm norm;
    float eps;
    bool across; /* neighbouring rows, not elements, are neighbours in memory */
} tf_rownorm_desc;

/* _matmul a[b, m, k] x b[b, k, n] -> [b, m, n]. ta: a is [b, k, m]; tb: b is [b, n, k]. */
typedef struct tf_matmul_desc {
    bool ta, tb;
} tf_matmul_desc;

/* _scan [outer, inner] (, carry [outer, parts]) -> [outer, inner]: running sum or product inside each chunk, started
 * with the chunk's carry. */
typedef struct tf_scan_desc {
    bool product, exclusive;
    int64_t chunk; /* 0: all of inner */
    bool across;   /* as in tf_rownorm_desc */
    tuff_tensor carry;
} tf_scan_desc;

extern const tf_op tf_op_anchor_reduce, tf_op_anchor_reduce_cols, tf_op_anchor_rownorm, tf_op_anchor_matmul, tf_op_anchor_scan, tf_op_anchor_segment_sum, tf_op_anchor_sort_blocks, tf_op_anchor_sort_merge;

/* The axes of a type as a bit mask; false: tf_bad was called. n 0: all axes. `axes` becomes sorted and non-negative. */
bool tf_axes_mask(tf_infer *c, tuff_ints *axes, int32_t rank, uint32_t *mask);

/* x folded over the axes in `mask`: the kept axes in order, in f32 for f16 and bf16. divisor: 0, or the dim the result is divided by.
 * Splits few long rows into two anchors. */
tuff_tensor tf_reduce(tuff_graph *g, const tf_limits *limits, tuff_tensor x, uint32_t mask, tf_fold fold, int64_t divisor);

/* Is `axis` one that a CPU should take in short parts: strided, with more data below it than its caches hold? */
bool tf_long_columns(const tuff_graph *g, const tf_limits *limits, const tf_type *t, int32_t axis);

/* x with `axis` moved last and the other axes merged: [outer, dim]. */
tuff_tensor tf_as_rows(tuff_tensor x, int32_t axis);
/* The inverse for a tensor of `like`'s shape. */
tuff_tensor tf_from_rows(tuff_tensor rows, const tf_type *like, int32_t axis);
/* Reshape unless the shape is that already; dims from d[0..rank). */
tuff_tensor tf_reshaped(tuff_tensor x, int32_t rank, const int64_t *d);
/* f16, bf16 -> f32 (anchors accumulate and hand on in f32); others as they are. */
tuff_tensor tf_widened(tuff_tensor x);
/* Cast unless the dtype is that already. */
tuff_tensor tf_cast_to(tuff_tensor x, tuff_dtype dtype);
const tf_type *tf_ty(tuff_tensor x);

/* ceil(a / b) of a dim. */
int64_t tf_dim_ceildiv(tuff_graph *g, int64_t a, int64_t b);
/* Smallest power of two >= x, at least 1. */
uint32_t tf_pow2_ceil(uint64_t x);
/* Parallel units to fill when the device does not say. */
uint32_t tf_units(const tf_limits *limits);
/* Workgroup size, a power of two, for kernels that work on rows: small on CPUs when rows are few, so that every thread
 * gets some. */
uint32_t tf_row_group(const tf_limits *limits, int64_t rows);
/* Vectors per loop trip for `n` of them: n itself if it is at most `most`, else the largest divisor of n from most / 2 on,
 * else `most`. */
uint32_t tf_unroll(int64_t n, uint32_t most);
/* GLSL names of the element type of an anchor: defines T and, where hooks of width 4 make sense, T4. Returns the
 * vector width to use (1 or 4). */
int tf_define_type(tf_kernel_build *k, tuff_dtype dtype);

const char *tf_shader_text(const char *name);

/* Some CPU drivers silently end a shader's loops after 65535 trips in all; kernels stay below. */
enum { TF_CPU_TRIPS = 60000 };

#endif
