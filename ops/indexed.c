/* indexed.c - ops whose element is an expression of its coordinates and of operands read anywhere: concat, stack, gather,
 * take_along_axis, one_hot, iota, tril, triu; and split, which is slices.
 *
 * expr() builds the value for kernels. A read is guarded by m->valid, so the branches of a selection never read
 * outside an operand. References are separate loops over the output. */
#include "ops.h"

#include <string.h>

/* ---- shared ---- */

tf_ex tf_ex_cast(tf_exprs *x, tf_ex value, tuff_dtype t)
{
    if (tf_exn(x, value)->t == t) return value;
    struct { tuff_dtype dtype; } *desc = tf_arena_alloc(x->arena, sizeof *desc);
    if (!desc) return 0;
    desc->dtype = t;
    return tf_ex_apply(x, &tf_op_cast, t, desc, value, 0, 0);
}

void tf_broadcast_coords(tf_exprs *x, const tf_type *type, const tf_ex *out, int32_t rank, tf_ex *coords)
{
    for (int32_t i = 0; i < type->rank; i++) {
        const int32_t from = i + rank - type->rank;
        coords[i] = type->dim[i] == 1 || from < 0 ? tf_ex_int(x, 0) : out[from];
    }
}

static const tf_type *operand_type(const tf_view_map *m, uint32_t i) { return tf_type_of(m->g, m->node->src[i]); }

/* The operand where `guard` holds, read under it and the guard already in force. */
static tf_ex guarded(tf_view_map *m, tf_ex guard, uint32_t i, const tf_ex *coords)
{
    const tf_ex outer = m->valid;
    m->valid = tf_ex_and(m->x, outer, guard);
    const tf_ex e = m->operand(m, i, coords);
    m->valid = outer;
    return e;
}

static bool integer_indices(tf_infer *c, uint32_t i)
{
    if (tf_dtype_is_int(c->type[i]->dtype)) return true;
    return tf_bad(c, TUFF_E_DTYPE, "indices are %s; they must be integers (%s)", tuff_dtype_name(c->type[i]->dtype), tf_src_text(c, i));
}

static void copy_element(tf_ref_tensor *y, uint64_t at, const tf_ref_tensor *x, uint64_t from)
{
    y->re[at] = x->re[from];
    if (y->im) y->im[at] = x->im[from];
}

static int64_t clamp_index(double v, int64_t n) { return v < 0 ? 0 : v >= (double)n ? n - 1 : (int64_t)v; }

/* ---- concat, stack ---- */

typedef struct axis_desc { int32_t axis; } axis_desc;

/* Equal dtypes, and equal dims on all axes but `except`. */
static bool alike(tf_infer *c, int32_t except)
{
    const tf_type *a = c->type[0];
    for (uint32_t i = 1; i < c->n_src; i++) {
        const tf_type *b = c->type[i];
        if (a->dtype != b->dtype) return tf_bad(c, TUFF_E_DTYPE, "the dtypes of %s and %s differ", tf_src_text(c, 0), tf_src_text(c, i));
        bool same = a->rank == b->rank;
        for (int32_t k = 0; same && k < a->rank; k++) same = k == except || tf_dim_equal(a->dim[k], b->dim[k]);
        if (!same) return tf_bad(c, TUFF_E_SHAPE, "the shapes of %s and %s do not fit together", tf_src_text(c, 0), tf_src_text(c, i));
    }
    c->out[0] = *a;
    return true;
}

static bool concat_infer(tf_infer *c)
{
    axis_desc *d = c->mut;
    if (!tf_axis(c, d->axis, c->type[0]->rank, &d->axis) || !alike(c, d->axis)) return false;
    for (uint32_t i = 1; i < c->n_src; i++)
        c->out[0].dim[d->axis] = tf_dim_bin(c->g, TUFF_DIM_ADD, c->out[0].dim[d->axis], c->type[i]->dim[d->axis]);
    return true;
}

/* Operand i covers [begin, end) of the axis; the last one needs no upper test. */
static tf_ex concat_from(tf_view_map *m, uint32_t i, tf_ex begin, tf_ex guard)
{
    const int32_t axis = ((const axis_desc *)m->desc)->axis;
    const tf_type *t = operand_type(m, i);
    tf_ex coords[TUFF_MAX_RANK];
    memcpy(coords, m->out, (size_t)t->rank * sizeof *coords);
    coords[axis] = tf_ex_sub(m->x, m->out[axis], begin);
    const tf_ex end = tf_ex_add(m->x, begin, tf_ex_dim(m->x, t->dim[axis]));
    if (i + 1 == m->node->n_src) return guarded(m, guard, i, coords);
    const tf_ex inside = tf_ex_lt(m->x, m->out[axis], end);
    const tf_ex mine = guarded(m, tf_ex_and(m->x, guard, inside), i, coords);
    return tf_ex_select(m->x, inside, mine, concat_from(m, i + 1, end, tf_ex_and(m->x, guard, tf_ex_not(m->x, inside))));
}
static tf_ex concat_expr(tf_view_map *m) { return concat_from(m, 0, tf_ex_int(m->x, 0), 0); }

static tuff_status concat_reference(tf_ref *r)
{
    const int32_t axis = ((const axis_desc *)r->desc)->axis;
    tf_ref_tensor *y = &r->out[0];
    int64_t base = 0;
    for (uint32_t s = 0; s < r->n_src; s++) {
        const tf_ref_tensor *x = r->src[s];
        int64_t at[TUFF_MAX_RANK] = { 0 }, to[TUFF_MAX_RANK];
        for (uint64_t i = 0; i < x->n; i++, tf_ref_next(x, at)) {
            memcpy(to, at, sizeof to);
            to[axis] += base;
            copy_element(y, tf_ref_index(y, to), x, i);
        }
        base += x->dim[axis];
    }
    return TUFF_OK;
}

static const tf_attr concat_attrs[] = { TF_A(axis_desc, axis, TF_ATTR_INT, "axis along which the operands follow each other", .required = true) };
const tf_op tf_op_concat = { .name = "concat", .doc = "tensors end to end along an axis", .operands = "xs...", .kind = TF_INDEXED,
    .attrs = concat_attrs, .attr_count = TF_COUNT(concat_attrs), .desc_size = sizeof(axis_desc), .infer = concat_infer,
    .reference = concat_reference, .expr = concat_expr, .partition = true };

tuff_tensor tuff_concat(const tuff_tensor *xs, uint32_t n, int32_t axis)
{
    return tf_add(NULL, &tf_op_concat, xs, n, &(axis_desc){ axis });
}

static bool stack_infer(tf_infer *c)
{
    axis_desc *d = c->mut;
    tf_type *y = &c->out[0];
    if (!alike(c, -1)) return false;
    if (y->rank == TUFF_MAX_RANK) return tf_bad(c, TUFF_E_LIMIT, "the result would have rank %d; at most %d is possible", y->rank + 1, TUFF_MAX_RANK);
    if (!tf_axis(c, d->axis, y->rank + 1, &d->axis)) return false;
    for (int32_t i = y->rank++; i > d->axis; i--) y->dim[i] = y->dim[i - 1];
    y->dim[d->axis] = c->n_src;
    return true;
}
static tf_ex stack_expr(tf_view_map *m)
{
    const int32_t axis = ((const axis_desc *)m->desc)->axis;
    tf_ex coords[TUFF_MAX_RANK], rest = 0, value = 0;
    for (int32_t i = 0, k = 0; i < m->out_type->rank; i++)
        if (i != axis) coords[k++] = m->out[i];
    for (uint32_t i = m->node->n_src; i-- > 0;) {
        const tf_ex mine = tf_ex_eq(m->x, m->out[axis], tf_ex_int(m->x, i));
        const tf_ex v = guarded(m, mine, i, coords);
        value = rest ? tf_ex_select(m->x, mine, v, value) : v;
        rest = 1;
    }
    return value;
}
static tuff_status stack_reference(tf_ref *r)
{
    const int32_t axis = ((const axis_desc *)r->desc)->axis;
    tf_ref_tensor *y = &r->out[0];
    int64_t at[TUFF_MAX_RANK] = { 0 }, from[TUFF_MAX_RANK];
    for (uint64_t i = 0; i < y->n; i++, tf_ref_next(y, at)) {
        for (int32_t a = 0, k = 0; a < y->rank; a++)
            if (a != axis) from[k++] = at[a];
        const tf_ref_tensor *x = r->src[at[axis]];
        copy_element(y, i, x, tf_ref_index(x, from));
    }
    return TUFF_OK;
}

static const tf_attr stack_attrs[] = { TF_A(axis_desc, axis, TF_ATTR_INT, "position of the new axis in the result", .required = true) };
const tf_op tf_op_stack = { .name = "stack", .doc = "n tensors of one shape along a new axis of size n", .operands = "xs...", .kind = TF_INDEXED,
    .attrs = stack_attrs, .attr_count = TF_COUNT(stack_attrs), .desc_size = sizeof(axis_desc), .infer = stack_infer,
    .reference = stack_reference, .expr = stack_expr, .partition = true };

tuff_tensor tuff_stack(const tuff_tensor *xs, uint32_t n, int32_t axis)
{
    return tf_add(NULL, &tf_op_stack, xs, n, &(axis_desc){ axis });
}

/* ---- split ---- */

typedef struct split_desc { int32_t axis, sections; } split_desc;

static bool split_infer(tf_infer *c)
{
    split_desc *d = c->mut;
    if (!tf_axis(c, d->axis, c->type[0]->rank, &d->axis)) return false;
    const int64_t n = c->type[0]->dim[d->axis];
    if (!tf_dim_is_dynamic(n) && n % d->sections)
        return tf_bad(c, TUFF_E_SHAPE, "axis %d has size %lld, no multiple of %d sections (%s)", (int)d->axis, (long long)n, (int)d->sections, tf_src_text(c, 0));
    c->n_out = (uint32_t)d->sections;
    for (int32_t i = 0; i < d->sections; i++) {
        c->out[i] = *c->type[0];
        c->out[i].dim[d->axis] = tf_dim_bin(c->g, TUFF_DIM_FLOORDIV, n, d->sections);
    }
    return true;
}
static void split_lower(tf_lower *l)
{
    const split_desc *d = l->desc;
    const int64_t part = l->out_type[0].dim[d->axis];
    for (int32_t i = 0; i < d->sections; i++) {
        const int64_t start = tf_dim_bin(l->g, TUFF_DIM_MUL, part, i), stop = tf_dim_bin(l->g, TUFF_DIM_MUL, part, i + 1);
        if (l->want[i]) l->out[i] = tuff_slice(l->src[0], TUFF_INTS(start), TUFF_INTS(stop), &(tuff_slice_desc){ .axes = TUFF_INTS(d->axis) });
    }
}
static tuff_status split_reference(tf_ref *r)
{
    const split_desc *d = r->desc;
    for (uint32_t s = 0; s < r->n_out; s++) {
        tf_ref_tensor *y = &r->out[s];
        int64_t at[TUFF_MAX_RANK] = { 0 }, from[TUFF_MAX_RANK];
        for (uint64_t i = 0; i < y->n; i++, tf_ref_next(y, at)) {
            memcpy(from, at, sizeof from);
            from[d->axis] += (int64_t)s * y->dim[d->axis];
            copy_element(y, i, r->src[0], tf_ref_index(r->src[0], from));
        }
    }
    return TUFF_OK;
}

static const tf_attr split_attrs[] = {
    TF_A(split_desc, axis, TF_ATTR_INT, "axis to cut", .required = true),
    TF_A(split_desc, sections, TF_ATTR_INT, "number of equal parts", .required = true, .min = 1, .max = TF_MAX_RESULTS),
};
const tf_op tf_op_split = { .name = "split", .doc = "equal parts along an axis, one result each", .operands = "x", .kind = TF_COMPOSITE,
    .attrs = split_attrs, .attr_count = TF_COUNT(split_attrs), .desc_size = sizeof(split_desc), .infer = split_infer,
    .reference = split_reference, .lower = split_lower };

tuff_tensor tuff_split(tuff_tensor x, int32_t axis, int32_t sections)
{
    return tf_add(x.graph, &tf_op_split, &x, 1, &(split_desc){ axis, sections });
}

/* ---- gather, take_along_axis ---- */

/* There are elements, or none are asked for. */
static bool nonempty_axis(tf_infer *c, int32_t axis)
{
    const tf_type *idx = c->type[1];
    for (int32_t i = 0; i < idx->rank; i++)
        if (idx->dim[i] == 0) return true;
    if (c->type[0]->dim[axis] != 0) return true;
    return tf_bad(c, TUFF_E_SHAPE, "axis %d of %s is empty: there is nothing to index", (int)axis, tf_src_text(c, 0));
}

static bool gather_infer(tf_infer *c)
{
    const tf_type *x = c->type[0], *idx = c->type[1];
    axis_desc *d = c->mut;
    tf_type *y = &c->out[0];
    if (!integer_indices(c, 1) || !tf_axis(c, d->axis, x->rank, &d->axis) || !nonempty_axis(c, d->axis)) return false;
    if (x->rank - 1 + idx->rank > TUFF_MAX_RANK)
        return tf_bad(c, TUFF_E_LIMIT, "the result would have rank %d; at most %d is possible", x->rank - 1 + idx->rank, TUFF_MAX_RANK);
    *y = (tf_type){ .dtype = x->dtype };
    for (int32_t i = 0; i < x->rank; i++) {
        if (i != d->axis) { y->dim[y->rank++] = x->dim[i]; continue; }
        for (int32_t k = 0; k < idx->rank; k++) y->dim[y->rank++] = idx->dim[k];
    }
    return true;
}
static tf_ex gather_expr(tf_view_map *m)
{
    const int32_t axis = ((const axis_desc *)m->desc)->axis;
    const tf_type *t = operand_type(m, 0), *idx = operand_type(m, 1);
    tf_ex coords[TUFF_MAX_RANK];
    for (int32_t i = 0; i < t->rank; i++)
        if (i != axis) coords[i] = i < axis ? m->out[i] : m->out[i + idx->rank - 1];
    coords[axis] = tf_ex_to_index(m->x, m->operand(m, 1, m->out + axis), t->dim[axis]);
    return m->operand(m, 0, coords);
}
static tuff_status gather_reference(tf_ref *r)
{
    const int32_t axis = ((const axis_desc *)r->desc)->axis;
    const tf_ref_tensor *x = r->src[0], *idx = r->src[1];
    tf_ref_tensor *y = &r->out[0];
    int64_t at[TUFF_MAX_RANK] = { 0 }, from[TUFF_MAX_RANK];
    for (uint64_t i = 0; i < y->n; i++, tf_ref_next(y, at)) {
        for (int32_t k = 0; k < x->rank; k++)
            if (k != axis) from[k] = at[k < axis ? k : k + idx->rank - 1];
        from[axis] = clamp_index(idx->re[tf_ref_index(idx, at + axis)], x->dim[axis]);
        copy_element(y, i, x, tf_ref_index(x, from));
    }
    return TUFF_OK;
}

static const tf_attr gather_attrs[] = { TF_A(axis_desc, axis, TF_ATTR_INT, "axis of x that is indexed", .required = true) };
const tf_op tf_op_gather = { .name = "gather", .doc = "x[a.., n, b..], indices[i..] -> x[a, indices[i], b] [a.., i.., b..]; indices are clamped",
    .operands = "x indices", .kind = TF_INDEXED, .attrs = gather_attrs, .attr_count = TF_COUNT(gather_attrs), .desc_size = sizeof(axis_desc),
    .infer = gather_infer, .reference = gather_reference, .expr = gather_expr };

tuff_tensor tuff_gather(tuff_tensor x, tuff_tensor indices, int32_t axis)
{
    return tf_add(NULL, &tf_op_gather, (tuff_tensor[]){ x, indices }, 2, &(axis_desc){ axis });
}

static bool take_infer(tf_infer *c)
{
    const tf_type *x = c->type[0], *idx = c->type[1];
    axis_desc *d = c->mut;
    if (!integer_indices(c, 1) || !tf_axis(c, d->axis, x->rank, &d->axis) || !nonempty_axis(c, d->axis)) return false;
    if (idx->rank != x->rank)
        return tf_bad(c, TUFF_E_SHAPE, "%s does not have the rank of %s", tf_src_text(c, 1), tf_src_text(c, 0));
    c->out[0] = *x;
    c->out[0].dim[d->axis] = idx->dim[d->axis];
    for (int32_t i = 0; i < x->rank; i++)
        if (i != d->axis && idx->dim[i] != 1 && !tf_dim_equal(idx->dim[i], x->dim[i]))
            return tf_bad(c, TUFF_E_SHAPE, "axis %d has size %s in %s; it must be 1 or that of %s", (int)i, tf_dim_text(c->g, idx->dim[i]), tf_src_text(c, 1),
                          tf_src_text(c, 0));
    return true;
}
static tf_ex take_expr(tf_view_map *m)
{
    const int32_t axis = ((const axis_desc *)m->desc)->axis;
    const tf_type *t = operand_type(m, 0);
    tf_ex at[TUFF_MAX_RANK], coords[TUFF_MAX_RANK];
    tf_broadcast_coords(m->x, operand_type(m, 1), m->out, m->out_type->rank, at);
    memcpy(coords, m->out, (size_t)t->rank * sizeof *coords);
    coords[axis] = tf_ex_to_index(m->x, m->operand(m, 1, at), t->dim[axis]);
    return m->operand(m, 0, coords);
}
static tuff_status take_reference(tf_ref *r)
{
    const int32_t axis = ((const axis_desc *)r->desc)->axis;
    const tf_ref_tensor *x = r->src[0], *idx = r->src[1];
    tf_ref_tensor *y = &r->out[0];
    int64_t at[TUFF_MAX_RANK] = { 0 }, from[TUFF_MAX_RANK];
    for (uint64_t i = 0; i < y->n; i++, tf_ref_next(y, at)) {
        for (int32_t k = 0; k < idx->rank; k++) from[k] = at[k] % idx->dim[k];
        const double index = idx->re[tf_ref_index(idx, from)];
        memcpy(from, at, sizeof from);
        from[axis] = clamp_index(index, x->dim[axis]);
        copy_element(y, i, x, tf_ref_index(x, from));
    }
    return TUFF_OK;
}

const tf_op tf_op_take_along_axis = { .name = "take_along_axis",
    .doc = "y[.., i, ..] = x[.., indices[.., i, ..], ..] along an axis; indices are clamped", .operands = "x indices", .kind = TF_INDEXED,
    .attrs = gather_attrs, .attr_count = TF_COUNT(gather_attrs), .desc_size = sizeof(axis_desc), .infer = take_infer,
    .reference = take_reference, .expr = take_expr };

tuff_tensor tuff_take_along_axis(tuff_tensor x, tuff_tensor indices, int32_t axis)
{
    return tf_add(NULL, &tf_op_take_along_axis, (tuff_tensor[]){ x, indices }, 2, &(axis_desc){ axis });
}

/* ---- one_hot, iota ---- */

typedef struct one_hot_desc { int64_t depth; tuff_dtype dtype; } one_hot_desc;

static bool value_dtype(tf_infer *c, tuff_dtype given, tuff_dtype standard, tuff_dtype *out)
{
    *out = given ? given : standard;
    if (tf_dtype_class(*out)) return true;
    return tf_bad(c, TUFF_E_DTYPE, "%s is for storage only", tuff_dtype_name(*out));
}

static bool one_hot_infer(tf_infer *c)
{
    const one_hot_desc *d = c->desc;
    if (!integer_indices(c, 0)) return false;
    if (c->type[0]->rank == TUFF_MAX_RANK) return tf_bad(c, TUFF_E_LIMIT, "the result would have rank %d; at most %d is possible", TUFF_MAX_RANK + 1, TUFF_MAX_RANK);
    c->out[0] = *c->type[0];
    c->out[0].dim[c->out[0].rank++] = d->depth;
    return value_dtype(c, d->dtype, TUFF_F32, &c->out[0].dtype);
}
static tf_ex one_hot_expr(tf_view_map *m)
{
    const tuff_dtype t = m->out_type->dtype;
    const tf_ex index = tf_ex_cast(m->x, m->operand(m, 0, m->out), TUFF_I32);
    const tf_ex at = tf_ex_to_value(m->x, m->out[m->out_type->rank - 1]);
    const tf_ex hit = tf_ex_apply(m->x, &tf_op_equal, TUFF_BOOL, NULL, index, at, 0);
    return tf_ex_select(m->x, hit, tf_ex_const(m->x, t, 1), tf_ex_const(m->x, t, 0));
}
static tuff_status one_hot_reference(tf_ref *r)
{
    tf_ref_tensor *y = &r->out[0];
    const int64_t depth = y->dim[y->rank - 1];
    for (uint64_t i = 0; i < y->n; i++) y->re[i] = r->src[0]->re[i / (uint64_t)depth] == (double)(i % (uint64_t)depth);
    return TUFF_OK;
}

static const tf_attr one_hot_attrs[] = {
    TF_A(one_hot_desc, depth, TF_ATTR_I64, "size of the new last axis", .required = true, .min = 1, .max = INT32_MAX),
    TF_A(one_hot_desc, dtype, TF_ATTR_DTYPE, "dtype of the result; none: f32"),
};
const tf_op tf_op_one_hot = { .name = "one_hot", .doc = "indices[...] -> y[..., depth]: 1 at the index, else 0", .operands = "indices", .kind = TF_INDEXED,
    .attrs = one_hot_attrs, .attr_count = TF_COUNT(one_hot_attrs), .desc_size = sizeof(one_hot_desc), .infer = one_hot_infer,
    .reference = one_hot_reference, .expr = one_hot_expr };

tuff_tensor tuff_one_hot(tuff_tensor indices, int64_t depth, const tuff_one_hot_desc *desc)
{
    return tf_add(indices.graph, &tf_op_one_hot, &indices, 1, &(one_hot_desc){ depth, desc ? desc->dtype : TUFF_DTYPE_NONE });
}

typedef struct iota_desc { tuff_shape shape; int32_t axis; tuff_dtype dtype; } iota_desc;

bool tf_infer_shape(tf_infer *c, const tuff_shape *shape)
{
    tf_type *y = &c->out[0];
    if (shape->rank < 0 || shape->rank > TUFF_MAX_RANK)
        return tf_bad(c, TUFF_E_LIMIT, "the shape has rank %d; it is from 0 to %d", (int)shape->rank, TUFF_MAX_RANK);
    *y = (tf_type){ .dtype = TUFF_F32, .rank = shape->rank };
    for (int32_t i = 0; i < y->rank; i++) {
        y->dim[i] = shape->dim[i];
        if (y->dim[i] < 0 && !tf_dim_is_dynamic(y->dim[i]))
            return tf_bad(c, TUFF_E_ATTRIBUTE, "dim %d of the shape is %lld; it is at least 0", (int)i, (long long)y->dim[i]);
    }
    return true;
}

static bool iota_infer(tf_infer *c)
{
    iota_desc *d = c->mut;
    return tf_infer_shape(c, &d->shape) && tf_axis(c, d->axis, d->shape.rank, &d->axis) && value_dtype(c, d->dtype, TUFF_I32, &c->out[0].dtype);
}
static tf_ex iota_expr(tf_view_map *m)
{
    return tf_ex_cast(m->x, tf_ex_to_value(m->x, m->out[((const iota_desc *)m->desc)->axis]), m->out_type->dtype);
}
static tuff_status iota_reference(tf_ref *r)
{
    int64_t at[TUFF_MAX_RANK] = { 0 };
    for (uint64_t i = 0; i < r->out[0].n; i++, tf_ref_next(&r->out[0], at)) r->out[0].re[i] = (double)at[((const iota_desc *)r->desc)->axis];
    return TUFF_OK;
}

static const tf_attr iota_attrs[] = {
    TF_A(iota_desc, shape, TF_ATTR_SHAPE, "shape of the result", .required = true),
    TF_A(iota_desc, axis, TF_ATTR_INT, "axis that counts", .required = true),
    TF_A(iota_desc, dtype, TF_ATTR_DTYPE, "dtype of the result; none: i32"),
};
const tf_op tf_op_iota = { .name = "iota", .doc = "y[...] = coordinate along axis", .operands = "", .kind = TF_INDEXED, .attrs = iota_attrs,
    .attr_count = TF_COUNT(iota_attrs), .desc_size = sizeof(iota_desc), .infer = iota_infer, .reference = iota_reference, .expr = iota_expr };

tuff_tensor tuff_iota(tuff_graph *g, tuff_shape shape, int32_t axis, const tuff_iota_desc *desc)
{
    return tf_add(g, &tf_op_iota, NULL, 0, &(iota_desc){ shape, axis, desc ? desc->dtype : TUFF_DTYPE_NONE });
}

/* ---- tril, triu ---- */

static bool triangle_infer(tf_infer *c)
{
    c->out[0] = *c->type[0];
    if (c->type[0]->rank >= 2) return true;
    return tf_bad(c, TUFF_E_SHAPE, "%s has rank %d; rows and columns need 2 or more", tf_src_text(c, 0), (int)c->type[0]->rank);
}
/* x where (column <= row + offset) == lower. */
static tf_ex triangle_expr(tf_view_map *m, bool lower)
{
    const int32_t n = m->out_type->rank;
    const tf_ex edge = tf_ex_add(m->x, m->out[n - 2], tf_ex_int(m->x, (int64_t)((const tuff_triangle_desc *)m->desc)->offset + lower));
    const tf_ex below = tf_ex_lt(m->x, m->out[n - 1], edge), keep = lower ? below : tf_ex_not(m->x, below);
    return tf_ex_select(m->x, keep, guarded(m, keep, 0, m->out), tf_ex_const(m->x, m->out_type->dtype, 0));
}
static tf_ex tril_expr(tf_view_map *m) { return triangle_expr(m, true); }
static tf_ex triu_expr(tf_view_map *m) { return triangle_expr(m, false); }

static int64_t column_beyond(const tf_ref *r, const int64_t *at)
{
    return at[r->out[0].rank - 1] - at[r->out[0].rank - 2] - ((const tuff_triangle_desc *)r->desc)->offset;
}
static bool tril_map(const tf_ref *r, const int64_t *out, int64_t *src)
{
    memcpy(src, out, (size_t)r->out[0].rank * sizeof *src);
    return column_beyond(r, out) <= 0;
}
static bool triu_map(const tf_ref *r, const int64_t *out, int64_t *src)
{
    memcpy(src, out, (size_t)r->out[0].rank * sizeof *src);
    return column_beyond(r, out) >= 0;
}
static tuff_status tril_reference(tf_ref *r) { return tf_move(r, tril_map, 0); }
static tuff_status triu_reference(tf_ref *r) { return tf_move(r, triu_map, 0); }

static const tf_attr triangle_attrs[] = {
    TF_A(tuff_triangle_desc, offset, TF_ATTR_INT, "column of row 0 on the edge, which is kept", .min = -INT32_MAX, .max = INT32_MAX - 1) };
const tf_op tf_op_tril = { .name = "tril", .doc = "x[..., m, n] where column <= row + offset, else 0", .operands = "x", .kind = TF_INDEXED,
    .attrs = triangle_attrs, .attr_count = TF_COUNT(triangle_attrs), .desc_size = sizeof(tuff_triangle_desc), .infer = triangle_infer,
    .reference = tril_reference, .expr = tril_expr };
const tf_op tf_op_triu = { .name = "triu", .doc = "x[..., m, n] where column >= row + offset, else 0", .operands = "x", .kind = TF_INDEXED,
    .attrs = triangle_attrs, .attr_count = TF_COUNT(triangle_attrs), .desc_size = sizeof(tuff_triangle_desc), .infer = triangle_infer,
    .reference = triu_reference, .expr = triu_expr };

tuff_tensor tuff_tril(tuff_tensor x, const tuff_triangle_desc *desc) { return tf_add(x.graph, &tf_op_tril, &x, 1, desc); }
tuff_tensor tuff_triu(tuff_tensor x, const tuff_triangle_desc *desc) { return tf_add(x.graph, &tf_op_triu, &x, 1, desc); }
