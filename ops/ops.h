/* ops.h - the rows of the operators, and what the files of this folder share. */
#ifndef TF_OPS_H
#define TF_OPS_H

#include "graph/expr.h"
#include "graph/op.h"

/* Pointwise rows by name: expressions are built from them. */
#define U(op, ...) extern const tf_op tf_op_##op;
#define B(op, ...) extern const tf_op tf_op_##op;
#include "pointwise.def"
#undef U
#undef B
extern const tf_op tf_op_leaky_relu, tf_op_elu, tf_op_cast, tf_op_bitcast, tf_op_where, tf_op_clamp, tf_op_fma, tf_op_lerp, tf_op_mul_high;

/* x converted to dtype t, as an expression. */
tf_ex tf_ex_cast(tf_exprs *x, tf_ex value, tuff_dtype t);

/* Result 0 gets the shape (checked) and the dtype f32; false: tf_bad was called. */
bool tf_infer_shape(tf_infer *c, const tuff_shape *shape);
/* Axes of a list made non-negative; false: tf_bad was called for one out of range or named twice. */
bool tf_axis_list(tf_infer *c, tuff_ints *axes, int32_t rank);

/* 0 <= rank <= TUFF_MAX_RANK for a result; false: tf_bad was called. */
bool tf_check_rank(tf_infer *c, int32_t rank);

/* Padding that `mode` can make of an axis of operand 0; false: tf_bad was called. */
bool tf_check_pad(tf_infer *c, int32_t axis, int64_t by, tuff_pad_mode mode);

/* For view(): the size of an axis of the source; source coordinates that start as the output's. */
static inline tf_ex tf_src_dim(const tf_view_map *m, int32_t axis) { return tf_ex_dim(m->x, m->src_type->dim[axis]); }
static inline void tf_same_coords(tf_view_map *m)
{
    for (int32_t i = 0; i < m->src_type->rank; i++) m->src[i] = m->out[i];
}

/* Coordinates of an operand of shape `type` below broadcast coordinates of a result with `rank` axes. */
void tf_broadcast_coords(tf_exprs *x, const tf_type *type, const tf_ex *out, int32_t rank, tf_ex *coords);

/* Element j of a vector that `uniform` draws from the seed. */
double tf_random_uniform(uint64_t seed, uint64_t j);

/* References of ops that move elements: for each element of out[0] map() gives the coordinates in source 0, or false
 * where the result is `fill`. */
typedef bool (*tf_move_fn)(const tf_ref *r, const int64_t *out, int64_t *src);
tuff_status tf_move(tf_ref *r, tf_move_fn map, double fill);
/* Row-major index of coordinates, and the next coordinates in row-major order (false after the last). */
uint64_t tf_ref_index(const tf_ref_tensor *t, const int64_t *coords);
bool tf_ref_next(const tf_ref_tensor *t, int64_t *coords);

#endif
