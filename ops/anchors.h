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

/* _scan: fields x0..x3 [outer, inner] -> y0..y3, running combinations inside each chunk. Part 0 of a row starts with
 * init<i>[outer, 1], part p > 0 with carry<i>[outer, p - 1]. The state of LINEAR is (h, product of a), its inputs are (b, a); that
 * of LOGSUMEXP is (m, s) for m + log(s), from an input alone or from both. */
typedef enum tf_scan_operator {
    TF_SCAN_SUM, TF_SCAN_PRODUCT, TF_SCAN_MAX, TF_SCAN_MIN, TF_SCAN_LOGSUMEXP, TF_SCAN_LINEAR, TF_SCAN_EXPRESSION
} tf_scan_operator;
enum { TF_SCAN_FIELDS = 4, TF_SCAN_SEG = 4, TF_SCAN_INIT = 5, TF_SCAN_CARRY = 9, TF_SCAN_SOURCES = 13 };
typedef struct tf_scan_desc {
    tf_scan_operator op;
    bool exclusive;
    bool fold;    /* only each chunk's combination [outer, parts]; with seg one more result, bool: a segment started there */
    bool project; /* LOGSUMEXP: one result, m + log(s) */
    bool across;  /* as in tf_rownorm_desc */
    int64_t chunk; /* a multiple of 4; 0: all of inner */
    int64_t ratio; /* carry<i> has so many elements a part; 0: one */
    const char *combine, *fields; /* EXPRESSION: as in the row scan, the fields' names separated by spaces */
    tuff_tensor x1, x2, x3, seg, init0, init1, init2, init3, carry0, carry1, carry2, carry3;
    const struct tf_uexpr *join[TF_SCAN_FIELDS]; /* by infer */
} tf_scan_desc;
/* The bodies of a combine text, one per field of `fields` ("x y"); names in the expressions are a.x b.x a.y b.y. False: *message says why,
 * NULL if memory is out. */
bool tf_scan_parse(tf_arena *arena, const char *combine, const char *fields, const tuff_dtype *dtype, uint32_t n, const struct tf_uexpr **join,
                   const char **message);
/* Lanes of a subgroup that share a part of a CPU's scan, 0: each has one of its own; and how many elements each takes a trip of rows or
 * parts of n. */
uint32_t tf_scan_lanes(const tf_limits *limits, const tf_scan_desc *d, tuff_dtype t, int64_t rows, int64_t n);
uint32_t tf_scan_trip(const tf_scan_desc *d, tuff_dtype t, uint32_t lanes, int64_t n);
typedef struct tf_scan_state { tf_scalar f[TF_SCAN_FIELDS]; bool some; } tf_scan_state;
/* The state of one element, and of a then b, in double. scratch: as many scalars as the longest of join has nodes. */
tf_scan_state tf_scan_join(const tf_scan_desc *d, uint32_t fields, bool integer, const tf_scan_state *a, const tf_scan_state *b, tf_scalar *scratch);

extern const tf_op tf_op_anchor_reduce, tf_op_anchor_reduce_cols, tf_op_anchor_rownorm, tf_op_anchor_matmul, tf_op_anchor_scan, tf_op_anchor_segment, tf_op_anchor_segment_starts;
/* _conv x[n, groups * c, d, h, w], weight[groups * o, c, kd, kh, kw] -> y[n, groups * o, out..]. flipped: y is a convolution of functions, weights
 * counting from the end. wrapped, with it: x is periodic in its last two axes, the last a multiple of 4, and no weight row longer. */
typedef struct tf_conv_desc {
    int32_t groups;
    tuff_ints stride, padding, dilation; /* three axes each */
    tuff_shape out;                      /* the three spatial dims of the result */
    bool flipped, wrapped;
} tf_conv_desc;

extern const tf_op tf_op_anchor_sort_blocks, tf_op_anchor_sort_merge, tf_op_anchor_conv, tf_op_anchor_hadamard;

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

/* x with rows along `axis` replaced: y[.., keys[i], ..] = u[.., i, ..]; keys i32[n], distinct, those outside are skipped. Where
 * nobody needs x any more it is changed in place (put.c). tf_can_put: has the device a store for elements of t? */
tuff_tensor tf_put(tuff_tensor x, tuff_tensor keys, tuff_tensor u, int32_t axis);
/* The same for rows of axes 0 and 1 numbered together: x[a, b, ..], u[1, n, ..], key a' * b + b'. */
tuff_tensor tf_put_pairs(tuff_tensor x, tuff_tensor keys, tuff_tensor u);
bool tf_can_put(const tf_limits *limits, tuff_dtype t);

/* ceil(a / b) of a dim. */
int64_t tf_dim_ceildiv(tuff_graph *g, int64_t a, int64_t b);
/* Smallest power of two >= x, at least 1. */
uint32_t tf_pow2_ceil(uint64_t x);
/* Parallel units to fill when the device does not say. */
uint32_t tf_units(const tf_limits *limits);
/* Workgroup size, a power of two, for kernels that work on rows: small on CPUs when rows are few, so that every thread
 * gets some. */
uint32_t tf_row_group(const tf_limits *limits, int64_t rows);
/* Lanes that share a row, a power of two from least to most: `lanes` by estimate, unless tuning knows better (tf_way). */
uint32_t tf_tuned_lanes(tf_kernel_build *k, uint32_t least, uint32_t lanes, uint32_t most, uint64_t flags);
/* The size of subgroups when it is known and lanes can exchange values, else 0. */
uint32_t tf_shuffle_lanes(const tf_limits *limits);
/* Vectors per loop trip for `n` of them: n itself if it is at most `most`, else the largest divisor of n from most / 2 on,
 * else `most`. */
uint32_t tf_unroll(int64_t n, uint32_t most);
/* `most` for a kernel whose hooks are printed `most` times `width`: halved while a software driver would compile too long. */
uint32_t tf_unroll_most(const tf_kernel_build *k, uint32_t most, int width);
/* GLSL names of the element type of an anchor: defines T and, where hooks of width 4 make sense, T4. Returns the
 * vector width to use (1 or 4). */
int tf_define_type(tf_kernel_build *k, tuff_dtype dtype);

/* keys[n] i32 sorted, stably: *order is the place in keys of each, *start[rows + 1] where each number from 0 on begins among
 * them. false: the graph has failed. */
bool tf_segments(tuff_graph *g, const tf_limits *limits, tuff_tensor keys, int64_t rows, tuff_tensor *order, tuff_tensor *start);

/* log(1 + e^x), of references. */
double tf_softplus(double x);

const char *tf_shader_text(const char *name);

/* Some CPU drivers silently end a shader's loops after 65535 trips in all; kernels stay below. */
enum { TF_CPU_TRIPS = 60000 };

#endif
