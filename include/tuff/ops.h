/* ops.h - the operators of general use. Included by tuff.h.
 *
 * Every function adds one node to the graph of its operands and returns result 0; tuff_result gives the others.
 * A failed call returns the none tensor and leaves its message in tuff_graph_error; ops on none fail silently.
 *
 * Conventions, valid unless a function says otherwise:
 *   - desc: NULL or a zeroed struct is the default; a comment says what 0 means. Required parameters are arguments.
 *   - An optional operand is a tuff_tensor field of the desc; zero is "absent".
 *   - An axis counts from 0, or from the end when negative. An axis list names each axis at most once.
 *   - Shapes broadcast as in NumPy: aligned at the last axis, a dim of 1 stretches.
 *   - Operands of one op share one dtype (cast with tuff_cast); a tuff_literal without dtype takes that of the others.
 *   - Arithmetic is f32 (f64 for f64), results are rounded to the dtype of the node. Integers wrap.
 *   - Errors: E_SHAPE shapes that do not fit, E_DTYPE a dtype outside the op's classes, E_ATTRIBUTE a parameter out of
 *     range, E_ARGUMENT a tensor of another graph, E_OVERFLOW a size beyond 64 bits, E_LIMIT a rank above 8.
 *
 * Classes in the comments: float = f32 f16 bf16 f64; int = i32 u32 i16 u16 i8 u8; complex = c64. */
#ifndef TUFF_OPS_H
#define TUFF_OPS_H

#ifndef TUFF_TUFF_H
#  include "tuff.h"
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- pointwise, one operand ------------------------------------------------------------------------
 * x[...] -> y[...], the dtype of x unless a line says otherwise. */

TUFF_API tuff_tensor tuff_neg(tuff_tensor x);         /* -x; float, int, complex */
TUFF_API tuff_tensor tuff_abs(tuff_tensor x);         /* |x|; complex gives f32 */
TUFF_API tuff_tensor tuff_sign(tuff_tensor x);        /* -1, 0, 1; zero and NaN stay as they are; float, int */
TUFF_API tuff_tensor tuff_floor(tuff_tensor x);       /* float, int */
TUFF_API tuff_tensor tuff_ceil(tuff_tensor x);
TUFF_API tuff_tensor tuff_round(tuff_tensor x);       /* to nearest, ties to even */
TUFF_API tuff_tensor tuff_trunc(tuff_tensor x);
TUFF_API tuff_tensor tuff_frac(tuff_tensor x);        /* x - floor(x); float */
TUFF_API tuff_tensor tuff_square(tuff_tensor x);      /* x * x; float, int, complex */
TUFF_API tuff_tensor tuff_sqrt(tuff_tensor x);        /* float, complex (principal) */
TUFF_API tuff_tensor tuff_rsqrt(tuff_tensor x);       /* 1 / sqrt(x); float */
TUFF_API tuff_tensor tuff_reciprocal(tuff_tensor x);  /* 1 / x; float, complex */
TUFF_API tuff_tensor tuff_exp(tuff_tensor x);         /* float, complex */
TUFF_API tuff_tensor tuff_exp2(tuff_tensor x);        /* 2^x; float, as all below without a note */
TUFF_API tuff_tensor tuff_expm1(tuff_tensor x);       /* e^x - 1, accurate near 0 */
TUFF_API tuff_tensor tuff_log(tuff_tensor x);         /* natural; float, complex (principal) */
TUFF_API tuff_tensor tuff_log2(tuff_tensor x);
TUFF_API tuff_tensor tuff_log10(tuff_tensor x);
TUFF_API tuff_tensor tuff_log1p(tuff_tensor x);       /* log(1 + x), accurate near 0 */
TUFF_API tuff_tensor tuff_sin(tuff_tensor x);         /* float, complex; accurate for every x, as cos and tan */
TUFF_API tuff_tensor tuff_cos(tuff_tensor x);         /* float, complex */
TUFF_API tuff_tensor tuff_tan(tuff_tensor x);
TUFF_API tuff_tensor tuff_asin(tuff_tensor x);
TUFF_API tuff_tensor tuff_acos(tuff_tensor x);
TUFF_API tuff_tensor tuff_atan(tuff_tensor x);
TUFF_API tuff_tensor tuff_sinh(tuff_tensor x);        /* float, complex */
TUFF_API tuff_tensor tuff_cosh(tuff_tensor x);        /* float, complex */
TUFF_API tuff_tensor tuff_tanh(tuff_tensor x);        /* float, complex */
TUFF_API tuff_tensor tuff_asinh(tuff_tensor x);
TUFF_API tuff_tensor tuff_acosh(tuff_tensor x);
TUFF_API tuff_tensor tuff_atanh(tuff_tensor x);
TUFF_API tuff_tensor tuff_erf(tuff_tensor x);
TUFF_API tuff_tensor tuff_erfc(tuff_tensor x);        /* 1 - erf(x), accurate in the tail */
TUFF_API tuff_tensor tuff_gelu(tuff_tensor x);        /* x * (1 + erf(x / sqrt 2)) / 2 */
TUFF_API tuff_tensor tuff_gelu_tanh(tuff_tensor x);   /* x * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3))) / 2 */
TUFF_API tuff_tensor tuff_silu(tuff_tensor x);        /* x * sigmoid(x) */
TUFF_API tuff_tensor tuff_softplus(tuff_tensor x);    /* log(1 + e^x) without overflow */
TUFF_API tuff_tensor tuff_sigmoid(tuff_tensor x);     /* 1 / (1 + e^-x) */
TUFF_API tuff_tensor tuff_relu(tuff_tensor x);        /* max(x, 0); float, int */
TUFF_API tuff_tensor tuff_leaky_relu(tuff_tensor x, float slope); /* x > 0 ? x : slope * x */
/* alpha 0: 1 */
typedef struct tuff_elu_desc { float alpha; } tuff_elu_desc;
TUFF_API tuff_tensor tuff_elu(tuff_tensor x, const tuff_elu_desc *desc); /* x > 0 ? x : alpha * (e^x - 1) */
TUFF_API tuff_tensor tuff_logical_not(tuff_tensor x); /* x == 0 -> bool; bool, int, float */
TUFF_API tuff_tensor tuff_bit_not(tuff_tensor x);     /* int, bool */
TUFF_API tuff_tensor tuff_popcount(tuff_tensor x);    /* number of one bits; int */
TUFF_API tuff_tensor tuff_isnan(tuff_tensor x);       /* -> bool; float, complex (either part) */
TUFF_API tuff_tensor tuff_isinf(tuff_tensor x);       /* -> bool */
TUFF_API tuff_tensor tuff_isfinite(tuff_tensor x);    /* -> bool */
TUFF_API tuff_tensor tuff_real(tuff_tensor x);        /* complex -> f32; float stays */
TUFF_API tuff_tensor tuff_imag(tuff_tensor x);        /* complex -> f32; 0 for float */
TUFF_API tuff_tensor tuff_conj(tuff_tensor x);
TUFF_API tuff_tensor tuff_angle(tuff_tensor x);       /* complex -> f32 in [-pi, pi]; float: 0 or pi */

/* Convert. float -> int truncates toward zero and saturates, NaN gives 0; int -> int wraps; anything -> bool is x != 0;
 * complex -> others takes the real part. fp8 rounds to nearest even and saturates at the largest finite value. */
TUFF_API tuff_tensor tuff_cast(tuff_tensor x, tuff_dtype dtype);
/* The same bits as another dtype of equal width: 32 (f32 i32 u32), 16 (f16 bf16 i16 u16) or 8 bits (i8 u8 f8e4m3 f8e5m2).
 * The bits of NaNs are not kept on every device. */
TUFF_API tuff_tensor tuff_bitcast(tuff_tensor x, tuff_dtype dtype);

/* ---- pointwise, two operands -----------------------------------------------------------------------
 * a[...], b[...] -> their broadcast shape; comparisons give bool. */

TUFF_API tuff_tensor tuff_add(tuff_tensor a, tuff_tensor b); /* float, int, complex; also sub, mul, div */
TUFF_API tuff_tensor tuff_sub(tuff_tensor a, tuff_tensor b);
TUFF_API tuff_tensor tuff_mul(tuff_tensor a, tuff_tensor b);
TUFF_API tuff_tensor tuff_div(tuff_tensor a, tuff_tensor b); /* int truncates toward zero, x / 0 = 0 */
TUFF_API tuff_tensor tuff_mod(tuff_tensor a, tuff_tensor b); /* a - b * floor(a / b), exact; the sign of b; int: x mod 0 = 0 */
TUFF_API tuff_tensor tuff_pow(tuff_tensor a, tuff_tensor b); /* negative a needs an integer b; float, int, complex */
TUFF_API tuff_tensor tuff_maximum(tuff_tensor a, tuff_tensor b); /* a NaN operand gives NaN; float, int */
TUFF_API tuff_tensor tuff_minimum(tuff_tensor a, tuff_tensor b); /* likewise */
TUFF_API tuff_tensor tuff_atan2(tuff_tensor y, tuff_tensor x);   /* angle of (x, y) in [-pi, pi] */
TUFF_API tuff_tensor tuff_hypot(tuff_tensor a, tuff_tensor b);   /* sqrt(a^2 + b^2) without overflow */
TUFF_API tuff_tensor tuff_equal(tuff_tensor a, tuff_tensor b);   /* any class; -> bool */
TUFF_API tuff_tensor tuff_not_equal(tuff_tensor a, tuff_tensor b);
TUFF_API tuff_tensor tuff_less(tuff_tensor a, tuff_tensor b);    /* float, int; -> bool; false when a NaN takes part */
TUFF_API tuff_tensor tuff_less_equal(tuff_tensor a, tuff_tensor b);
TUFF_API tuff_tensor tuff_greater(tuff_tensor a, tuff_tensor b);
TUFF_API tuff_tensor tuff_greater_equal(tuff_tensor a, tuff_tensor b);
TUFF_API tuff_tensor tuff_logical_and(tuff_tensor a, tuff_tensor b); /* bool */
TUFF_API tuff_tensor tuff_logical_or(tuff_tensor a, tuff_tensor b);
TUFF_API tuff_tensor tuff_logical_xor(tuff_tensor a, tuff_tensor b);
TUFF_API tuff_tensor tuff_bit_and(tuff_tensor a, tuff_tensor b);     /* int, bool */
TUFF_API tuff_tensor tuff_bit_or(tuff_tensor a, tuff_tensor b);
TUFF_API tuff_tensor tuff_bit_xor(tuff_tensor a, tuff_tensor b);
TUFF_API tuff_tensor tuff_shift_left(tuff_tensor a, tuff_tensor b);  /* int; counts outside 0..31 shift everything out */
TUFF_API tuff_tensor tuff_shift_right(tuff_tensor a, tuff_tensor b); /* signed dtypes keep the sign */
TUFF_API tuff_tensor tuff_complex(tuff_tensor re, tuff_tensor im);   /* f32, f16 or bf16 parts -> c64 */

/* ---- pointwise, three operands --------------------------------------------------------------------- */

TUFF_API tuff_tensor tuff_where(tuff_tensor condition, tuff_tensor a, tuff_tensor b); /* condition bool; a, b any class */
TUFF_API tuff_tensor tuff_clamp(tuff_tensor x, tuff_tensor lo, tuff_tensor hi); /* min(max(x, lo), hi); NaN stays */
TUFF_API tuff_tensor tuff_fma(tuff_tensor a, tuff_tensor b, tuff_tensor c);     /* a * b + c, fused or not */
TUFF_API tuff_tensor tuff_lerp(tuff_tensor a, tuff_tensor b, tuff_tensor t);    /* a + t * (b - a) */

/* Codes to numbers: y = (codes - zero) * scale, f32 by default.
 * codes[..., k]: i4 u4 i8 u8 i16 u16 i32 f8e4m3 f8e5m2 f16 bf16 f32. scale, zero: float or int, any dtype each. */
typedef struct tuff_dequant_desc {
    tuff_tensor zero;  /* shape rule of scale; absent: 0 */
    int32_t group;     /* g > 0: scale[..., ceil(k/g)], one per g neighbours of the last axis; 0: scale broadcasts to codes */
    tuff_dtype dtype;  /* f32, f16 or bf16; NONE: f32 */
} tuff_dequant_desc;
TUFF_API tuff_tensor tuff_dequant(tuff_tensor codes, tuff_tensor scale, const tuff_dequant_desc *desc);

/* A pointwise expression over named tensors, which broadcast: tuff_map(g, "exp(-x*x) * y", 2, (tuff_named[]){{"x", x}, {"y", y}}).
 * Numbers, the pointwise ops by name, + - * / % comparisons && || ! ?:, `name[i, j]` (read at any index, clamped), the output
 * coordinates i0, i1, ... and "let a = ...;" before the result. The dtype is that of the expression. E_PARSE gives line and column. */
TUFF_API tuff_tensor tuff_map(tuff_graph *g, const char *expr, uint32_t n, const tuff_named *inputs);

/* ---- movement: views, which cost nothing where they fuse ------------------------------------------- */

/* Same elements in row-major order. One dim may be -1: what is left. E_SHAPE names both counts. */
TUFF_API tuff_tensor tuff_reshape(tuff_tensor x, tuff_shape shape);
/* y's axis i is x's axis axes[i]; axes is a permutation of 0..rank-1. */
TUFF_API tuff_tensor tuff_permute(tuff_tensor x, tuff_ints axes);
/* Axes a and b exchanged. */
TUFF_API tuff_tensor tuff_transpose(tuff_tensor x, int32_t a, int32_t b);
/* Remove axes of size 1; axes.n 0: all of them. */
typedef struct tuff_squeeze_desc { tuff_ints axes; } tuff_squeeze_desc;
TUFF_API tuff_tensor tuff_squeeze(tuff_tensor x, const tuff_squeeze_desc *desc);
/* Insert axes of size 1; axes are positions in the result. */
TUFF_API tuff_tensor tuff_unsqueeze(tuff_tensor x, tuff_ints axes);
/* Broadcast to shape (rank at least x's): dims of 1 repeat, -1 keeps the dim of x. */
TUFF_API tuff_tensor tuff_expand(tuff_tensor x, tuff_shape shape);

/* "As far as the axis goes" in tuff_slice: the first or last element, in the direction of the step. */
#define TUFF_END INT32_MAX
/* y[i] = x[start + i * step] up to but excluding stop, on the listed axes; other axes stay whole. Negative start and
 * stop count from the end; both are clamped to the axis as in Python. start and stop may be dynamic dims. */
typedef struct tuff_slice_desc {
    tuff_ints axes; /* the axis of each entry; n 0: axes 0, 1, ... in order */
    tuff_ints step; /* non-zero, may be negative; n 0: all 1 */
} tuff_slice_desc;
TUFF_API tuff_tensor tuff_slice(tuff_tensor x, tuff_ints start, tuff_ints stop, const tuff_slice_desc *desc);

typedef enum tuff_pad_mode {
    TUFF_PAD_CONSTANT,
    TUFF_PAD_EDGE,    /* a a a | a b c */
    TUFF_PAD_REFLECT, /* d c b | a b c d: the edge is not repeated; lo, hi < dim */
    TUFF_PAD_WRAP     /* b c d | a b c d | a b, as many times around as lo and hi ask */
} tuff_pad_mode;
typedef struct tuff_pad_desc {
    tuff_pad_mode mode;
    float value;      /* CONSTANT */
} tuff_pad_desc;
/* lo[i] elements before and hi[i] after axis i; lists shorter than the rank leave the remaining axes. */
TUFF_API tuff_tensor tuff_pad(tuff_tensor x, tuff_ints lo, tuff_ints hi, const tuff_pad_desc *desc);
/* y[(i + shift) mod n] = x[i] on the listed axes; one shift per axis. */
TUFF_API tuff_tensor tuff_roll(tuff_tensor x, tuff_ints shift, tuff_ints axes);
/* Reverse the listed axes. */
TUFF_API tuff_tensor tuff_flip(tuff_tensor x, tuff_ints axes);
/* y[..., i] = x[..., i, ..., i + offset, ...] on axes a and b, which leave; the new axis is last. offset < 0: below. */
typedef struct tuff_diagonal_desc { int32_t offset; } tuff_diagonal_desc;
TUFF_API tuff_tensor tuff_diagonal(tuff_tensor x, int32_t a, int32_t b, const tuff_diagonal_desc *desc);
/* Sliding windows: y[..., w.., ..., k..] = x[..., w * stride + k * dilation, ...]. Each windowed axis of size d keeps its
 * place with floor((d - (size - 1) * dilation - 1) / stride) + 1 windows; the positions inside the windows are new last
 * axes of the given sizes, in the order of `axes`. Windows never leave x: pad first. */
typedef struct tuff_unfold_desc {
    tuff_ints axes;     /* n 0: the last sizes.n axes */
    tuff_ints stride;   /* n 0: all 1 */
    tuff_ints dilation; /* n 0: all 1 */
} tuff_unfold_desc;
TUFF_API tuff_tensor tuff_unfold(tuff_tensor x, tuff_ints sizes, const tuff_unfold_desc *desc);

/* ---- joining, indexing, generating ----------------------------------------------------------------- */

/* n tensors end to end along axis; the other dims and the dtypes are equal. */
TUFF_API tuff_tensor tuff_concat(const tuff_tensor *xs, uint32_t n, int32_t axis);
/* n tensors of one shape along a new axis, a position in the result. */
TUFF_API tuff_tensor tuff_stack(const tuff_tensor *xs, uint32_t n, int32_t axis);
/* `sections` equal parts along axis (2..8), as results 0, 1, ...; E_SHAPE if the dim is no multiple. */
TUFF_API tuff_tensor tuff_split(tuff_tensor x, int32_t axis, int32_t sections);
/* x[A.., n, B..], indices[I..] (int) -> y[A.., I.., B..] = x[a, indices[i], b]. Indices are clamped to [0, n). */
TUFF_API tuff_tensor tuff_gather(tuff_tensor x, tuff_tensor indices, int32_t axis);
/* y[.., i, ..] = x[.., indices[.., i, ..], ..]: indices has x's rank and its dims (or 1) on the other axes. Clamped. */
TUFF_API tuff_tensor tuff_take_along_axis(tuff_tensor x, tuff_tensor indices, int32_t axis);
typedef enum tuff_scatter_mode { TUFF_SCATTER_SET, TUFF_SCATTER_ADD } tuff_scatter_mode;
typedef struct tuff_scatter_desc { tuff_scatter_mode mode; } tuff_scatter_desc;
/* x[A.., n, B..], indices[I..] (int), updates[A.., I.., B..] -> x with y[a, indices[i], b] replaced by (SET) or increased by
 * (ADD) updates[a, i, b]. Indices outside [0, n) are skipped. SET with equal indices keeps the last update; ADD
 * adds in the order of the updates. */
TUFF_API tuff_tensor tuff_scatter(tuff_tensor x, tuff_tensor indices, tuff_tensor updates, int32_t axis, const tuff_scatter_desc *desc);
/* indices[...] (int) -> y[..., depth]: 1 at the index, 0 elsewhere; an index outside [0, depth) gives zeros. */
typedef struct tuff_one_hot_desc { tuff_dtype dtype; /* NONE: f32 */ } tuff_one_hot_desc;
TUFF_API tuff_tensor tuff_one_hot(tuff_tensor indices, int64_t depth, const tuff_one_hot_desc *desc);
/* y[...] = coordinate along axis: 0, 1, 2, ... */
typedef struct tuff_iota_desc { tuff_dtype dtype; /* NONE: i32 */ } tuff_iota_desc;
TUFF_API tuff_tensor tuff_iota(tuff_graph *g, tuff_shape shape, int32_t axis, const tuff_iota_desc *desc);
/* Keep elements of the last two axes with column <= row + offset (tril) or column >= row + offset (triu); others are 0. */
typedef struct tuff_triangle_desc { int32_t offset; } tuff_triangle_desc;
TUFF_API tuff_tensor tuff_tril(tuff_tensor x, const tuff_triangle_desc *desc);
TUFF_API tuff_tensor tuff_triu(tuff_tensor x, const tuff_triangle_desc *desc);

/* ---- random numbers --------------------------------------------------------------------------------
 * Stateless Philox4x32-10. An element depends on (seed, stream, draw, sample, place in the sample) alone: not on the batch,
 * the device, or other draws. The leading axis counts samples when the rank is 2 or more; key = seed (low, high word),
 * counter = (place / 4, sample, draw, stream), word = place % 4. f32 unless noted. */
typedef struct tuff_random_desc {
    uint32_t stream;    /* separate sequences of one seed */
    uint32_t draw;      /* counts the draws of a sequence */
    tuff_tensor step;   /* rank 0, i32 or u32: added to draw, so that a draw can differ per run or loop iteration */
    uint32_t sample;    /* index of the first sample: a batch computed in pieces gets the same numbers */
    bool antithetic;    /* the second half of the leading axis (even) mirrors the first: -z for normal, else inverted words */
} tuff_random_desc;
/* The words themselves; u32. */
TUFF_API tuff_tensor tuff_random_bits(tuff_graph *g, tuff_shape shape, uint64_t seed, const tuff_random_desc *desc);
/* (2 * (word >> 9) + 1) * 2^-24: inside (0, 1), the same bits everywhere. */
TUFF_API tuff_tensor tuff_uniform(tuff_graph *g, tuff_shape shape, uint64_t seed, const tuff_random_desc *desc);
/* Box-Muller of words (0, 1) and (2, 3) by additions and multiplications only: the same bits on every device that rounds
 * to nearest. |z| <= 5.77. */
TUFF_API tuff_tensor tuff_normal(tuff_graph *g, tuff_shape shape, uint64_t seed, const tuff_random_desc *desc);
/* -log(-log(u)) of uniform u. */
TUFF_API tuff_tensor tuff_gumbel(tuff_graph *g, tuff_shape shape, uint64_t seed, const tuff_random_desc *desc);
/* 1, or -1 where the top bit of the word is set. */
TUFF_API tuff_tensor tuff_rademacher(tuff_graph *g, tuff_shape shape, uint64_t seed, const tuff_random_desc *desc);

/* The generator on counters and keys of one's own: counter[..., 4], key[..., 2] -> words[..., 4]; u32. Leading axes broadcast. */
TUFF_API tuff_tensor tuff_philox(tuff_tensor counter, tuff_tensor key);

/* ---- reductions ------------------------------------------------------------------------------------ */

typedef struct tuff_reduce_desc {
    tuff_ints axes; /* n 0: all axes */
    bool keep;      /* reduced axes stay with size 1 */
} tuff_reduce_desc;
/* Accumulate in f32; float keeps its dtype, int and bool give i32 (u32 for u32). complex: sum, mean, prod. Empty: 0; prod 1. */
TUFF_API tuff_tensor tuff_sum(tuff_tensor x, const tuff_reduce_desc *desc);
TUFF_API tuff_tensor tuff_mean(tuff_tensor x, const tuff_reduce_desc *desc); /* float, complex */
TUFF_API tuff_tensor tuff_prod(tuff_tensor x, const tuff_reduce_desc *desc);
TUFF_API tuff_tensor tuff_max(tuff_tensor x, const tuff_reduce_desc *desc);  /* float, int; empty axes are E_SHAPE */
TUFF_API tuff_tensor tuff_min(tuff_tensor x, const tuff_reduce_desc *desc);
TUFF_API tuff_tensor tuff_any(tuff_tensor x, const tuff_reduce_desc *desc);  /* bool -> bool; empty: false */
TUFF_API tuff_tensor tuff_all(tuff_tensor x, const tuff_reduce_desc *desc);  /* bool -> bool; empty: true */
TUFF_API tuff_tensor tuff_logsumexp(tuff_tensor x, const tuff_reduce_desc *desc); /* log(sum(e^x)), by the maximum; float */
typedef struct tuff_arg_desc { bool keep; } tuff_arg_desc;
/* Index of the largest or smallest element along axis, the first among equals; i32. */
TUFF_API tuff_tensor tuff_argmax(tuff_tensor x, int32_t axis, const tuff_arg_desc *desc);
TUFF_API tuff_tensor tuff_argmin(tuff_tensor x, int32_t axis, const tuff_arg_desc *desc);
typedef struct tuff_variance_desc {
    tuff_ints axes;     /* n 0: all axes */
    bool keep;
    int32_t correction; /* the divisor is n - correction */
} tuff_variance_desc;
/* mean((x - mean x)^2) in two passes, and its root; float. */
TUFF_API tuff_tensor tuff_variance(tuff_tensor x, const tuff_variance_desc *desc);
TUFF_API tuff_tensor tuff_std(tuff_tensor x, const tuff_variance_desc *desc);
typedef enum tuff_norm_order { TUFF_NORM_L2, TUFF_NORM_L1, TUFF_NORM_MAX } tuff_norm_order;
typedef struct tuff_norm_desc {
    tuff_ints axes;     /* n 0: all axes */
    bool keep;
    tuff_norm_order order;
} tuff_norm_desc;
/* sqrt(sum x^2), sum |x| or max |x|; float. */
TUFF_API tuff_tensor tuff_norm(tuff_tensor x, const tuff_norm_desc *desc);

/* ---- softmax and normalisation: float, in f32 ------------------------------------------------------ */

/* e^(x - max) / sum along axis. A row of -inf only gives NaN. */
TUFF_API tuff_tensor tuff_softmax(tuff_tensor x, int32_t axis);
/* x - max - log(sum e^(x - max)) along axis. */
TUFF_API tuff_tensor tuff_log_softmax(tuff_tensor x, int32_t axis);

typedef struct tuff_layer_norm_desc {
    tuff_tensor gain, bias; /* the shape of the normalised axes; absent: 1, 0 */
    float eps;              /* 0: 1e-5 */
    int32_t axes;           /* how many trailing axes are normalised; 0: 1 */
} tuff_layer_norm_desc;
/* (x - mean) / sqrt(variance + eps) * gain + bias over the trailing axes. */
TUFF_API tuff_tensor tuff_layer_norm(tuff_tensor x, const tuff_layer_norm_desc *desc);
typedef struct tuff_rms_norm_desc {
    tuff_tensor gain;       /* the shape of the normalised axes; absent: 1 */
    float eps;              /* 0: 1e-6 */
    int32_t axes;           /* how many trailing axes are normalised; 0: 1 */
} tuff_rms_norm_desc;
/* x / sqrt(mean(x^2) + eps) * gain. */
TUFF_API tuff_tensor tuff_rms_norm(tuff_tensor x, const tuff_rms_norm_desc *desc);
typedef struct tuff_group_norm_desc {
    tuff_tensor gain, bias; /* [channels]; absent: 1, 0 */
    float eps;              /* 0: 1e-5 */
} tuff_group_norm_desc;
/* x[b, ...]: each group of neighbouring channels of `axis`, with all other axes but the first, normalised as in layer_norm.
 * groups divides the channels; groups = channels is instance norm. axis is not 0. */
TUFF_API tuff_tensor tuff_group_norm(tuff_tensor x, int32_t groups, int32_t axis, const tuff_group_norm_desc *desc);
typedef struct tuff_batch_norm_desc {
    tuff_tensor gain, bias; /* [channels]; absent: 1, 0 */
    float eps;              /* 0: 1e-5 */
} tuff_batch_norm_desc;
/* Inference form: (x - mean[c]) / sqrt(variance[c] + eps) * gain[c] + bias[c], c along axis. */
TUFF_API tuff_tensor tuff_batch_norm(tuff_tensor x, tuff_tensor mean, tuff_tensor variance, int32_t axis, const tuff_batch_norm_desc *desc);

/* ---- matmul, scans --------------------------------------------------------------------------------- */

typedef struct tuff_matmul_desc {
    bool transpose_a;  /* a is [..., k, m] */
    bool transpose_b;  /* b is [..., n, k] */
    tuff_dtype dtype;  /* of the result; NONE: that of a */
} tuff_matmul_desc;
/* a[..., m, k] x b[..., k, n] -> [..., m, n]; leading axes broadcast. A rank-1 a is a row, a rank-1 b a column, and the axis
 * leaves the result, as in NumPy. a and b are f32, f16 or bf16, each its own; f32 accumulation. f64 with f64; c64 with c64;
 * int with the same int gives i32 (u32 for u32). */
TUFF_API tuff_tensor tuff_matmul(tuff_tensor a, tuff_tensor b, const tuff_matmul_desc *desc);

typedef struct tuff_scan_desc {
    bool reverse;          /* from the last element */
    bool exclusive;        /* element i leaves out x[i]: starts with 0 (cumsum), 1 (cumprod), -inf or the least integer (cummax), ... */
    tuff_tensor seg_start; /* bool or int, x's shape: non-zero starts a new segment there, in scan order; absent: one segment */
    tuff_tensor initial;   /* x's shape without the axis: what precedes the first element; absent: nothing */
} tuff_scan_desc;
/* Running sum or product along axis; float, int, complex; the dtype of x. More scans: ssm.h. */
TUFF_API tuff_tensor tuff_cumsum(tuff_tensor x, int32_t axis, const tuff_scan_desc *desc);
TUFF_API tuff_tensor tuff_cumprod(tuff_tensor x, int32_t axis, const tuff_scan_desc *desc);

/* ---- convolution: f32 f16 bf16, in f32 -------------------------------------------------------------- */

typedef enum tuff_conv_padding { TUFF_CONV_ZERO, TUFF_CONV_EDGE, TUFF_CONV_REFLECT, TUFF_CONV_WRAP } tuff_conv_padding; /* as tuff_pad's modes */
typedef struct tuff_conv_desc {
    tuff_tensor bias;       /* [outputs]; absent: 0 */
    tuff_ints stride;       /* lists have an entry per spatial axis, or one for all; n 0: 1 */
    tuff_ints padding;      /* before each axis, and behind it unless padding_end says otherwise; n 0: 0 */
    tuff_ints padding_end;  /* behind each axis; n 0: padding */
    tuff_ints dilation;     /* n 0: 1 */
    tuff_conv_padding mode; /* what the padding holds */
    int32_t groups;         /* 0: 1; as many as channels: depthwise */
} tuff_conv_desc;
/* x[n, channels, spatial..], weight[outputs, channels / groups, kernel..] -> y[n, outputs, ..], one to three spatial axes:
 * y[n, o, i] = bias[o] + sum over c and k of weight[o, c, k] * x[n, c, i * stride + k * dilation - padding], with the channels c
 * of o's group. The dtype of x; channels and kernel are fixed, batch and spatial dims may be dynamic. */
TUFF_API tuff_tensor tuff_conv(tuff_tensor x, tuff_tensor weight, const tuff_conv_desc *desc);

typedef struct tuff_conv_transpose_desc {
    tuff_tensor bias;         /* [outputs]; absent: 0 */
    tuff_ints stride;         /* as above */
    tuff_ints padding;        /* elements of the result cut off on both sides; n 0: 0 */
    tuff_ints output_padding; /* elements added behind, fewer than the stride or the dilation; n 0: 0 */
    tuff_ints dilation;
    int32_t groups;
} tuff_conv_transpose_desc;
/* x[n, channels, spatial..], weight[channels, outputs / groups, kernel..] -> y[n, outputs, ..] of
 * (size - 1) * stride - 2 * padding + (kernel - 1) * dilation + output_padding + 1: the transpose of tuff_conv's matrix. */
TUFF_API tuff_tensor tuff_conv_transpose(tuff_tensor x, tuff_tensor weight, const tuff_conv_transpose_desc *desc);

/* ---- pooling --------------------------------------------------------------------------------------- */

typedef struct tuff_pool_desc {
    tuff_ints axes;        /* n 0: the last ones, as many as size has entries */
    tuff_ints stride;      /* per axis, or one for all; n 0: size */
    tuff_ints padding;     /* before each axis, and behind it unless padding_end says otherwise; n 0: 0 */
    tuff_ints padding_end; /* behind each axis; n 0: padding */
    tuff_ints dilation;    /* n 0: 1 */
    bool count_padding;    /* avg_pool: divide by the whole window also where it reaches into the padding */
} tuff_pool_desc;
/* The largest element, or the mean, of windows of `size` that slide along the axes. Padding never is the largest; it counts as
 * 0 in means. max_pool: float, int; avg_pool: float. All of an axis: tuff_max, tuff_mean. */
TUFF_API tuff_tensor tuff_max_pool(tuff_tensor x, tuff_ints size, const tuff_pool_desc *desc);
TUFF_API tuff_tensor tuff_avg_pool(tuff_tensor x, tuff_ints size, const tuff_pool_desc *desc);

/* ---- segments --------------------------------------------------------------------------------------- */

typedef enum tuff_segment_mode { TUFF_SEGMENT_SUM, TUFF_SEGMENT_MEAN, TUFF_SEGMENT_MAX, TUFF_SEGMENT_MIN } tuff_segment_mode;
typedef struct tuff_segment_desc {
    tuff_segment_mode mode;
    int32_t axis;
} tuff_segment_desc;
/* x[A.., n, B..], segments[n] (int, in any order) -> y[A.., count, B..]: y[s] folds the x[i] with segments[i] = s; numbers
 * outside 0..count-1 are skipped. Without elements sum and mean are 0, max and min the least and greatest value (-inf, inf); NaN
 * is neither largest nor smallest. f32 f16 bf16 i32 u32; means of floats only. The same bits on every run. */
TUFF_API tuff_tensor tuff_segment_reduce(tuff_tensor x, tuff_tensor segments, int64_t count, const tuff_segment_desc *desc);

/* ---- Walsh-Hadamard transform ------------------------------------------------------------------------ */

typedef struct tuff_hadamard_desc {
    bool unscaled; /* entries are 1 and -1; otherwise the matrix is orthogonal: divided by sqrt(n) */
} tuff_hadamard_desc;
/* H x along axis, H[i][j] = (-1)^popcount(i & j); the axis is a power of two. Its own inverse when scaled. f32 f16 bf16. */
TUFF_API tuff_tensor tuff_hadamard(tuff_tensor x, int32_t axis, const tuff_hadamard_desc *desc);

/* ---- order ------------------------------------------------------------------------------------------ */

typedef struct tuff_sort_desc {
    bool descending; /* largest first */
} tuff_sort_desc;
/* x in ascending order along axis; result 1 is the place in x of each element, i32. Equal elements (-0 and 0 are) keep their
 * order, NaN is last whatever the direction. f32 f16 bf16, int, bool. */
TUFF_API tuff_tensor tuff_sort(tuff_tensor x, int32_t axis, const tuff_sort_desc *desc);
/* Only the places: sort other tensors by the keys x with tuff_take_along_axis. */
TUFF_API tuff_tensor tuff_argsort(tuff_tensor x, int32_t axis, const tuff_sort_desc *desc);
typedef struct tuff_topk_desc {
    bool smallest;   /* the k smallest, smallest first */
} tuff_topk_desc;
/* The k largest elements along axis, largest first; result 1 is their places, i32. Ties go to the lower place, NaN is last.
 * 1 <= k <= the axis, which is no dynamic one. */
TUFF_API tuff_tensor tuff_topk(tuff_tensor x, int64_t k, int32_t axis, const tuff_topk_desc *desc);

/* ---- the user's own kernel ------------------------------------------------------------------------- */

/* glsl is the text of a compute shader below a generated head: it defines void main() and may define functions. It reads operand
 * "x" by x_at(i, j, ..) (one uint per axis) and writes the result by y_put(i, j, .., value), so producers and consumers fuse into
 * it. Values are float (f32 f16 bf16 f8), double, vec2 (c64), int, uint or bool. x_dim0, x_dim1, .. and y_dim0, .. are sizes; LID the
 * invocation's index in its workgroup of WG, GROUP the workgroup's index of NGROUPS. Every element of y must be written once.
 * It has no CPU reference. A text that does not compile makes tuff_compile fail with E_COMPILER and the compiler's message. */
typedef struct tuff_custom_desc {
    const char *glsl;
    tuff_dtype dtype;           /* of y; NONE: f32 */
    tuff_shape shape;           /* of y */
    int32_t local;              /* workgroup size; 0: 64 */
    int64_t groups;             /* workgroups; 0: one invocation per element of y */
    const tuff_named *inputs;   /* at most 16; names are GLSL identifiers other than y */
    uint32_t input_count;
} tuff_custom_desc;
TUFF_API tuff_tensor tuff_custom(tuff_graph *g, const tuff_custom_desc *desc);

#ifdef __cplusplus
}
#endif

#endif
