/* slice.c - ops that take a part of the elements, some of them several times, or surround them: slice, pad, diagonal,
 * unfold. Built like movement.c: view() for kernels, a numeric map for the reference. None is bijective.
 *
 * Bounds may be dynamic dims, so sizes are dim expressions; min is written with the operators dims have. */
#include "ops.h"

/* A list that gives one number per listed axis; n 0: all `value`. */
static bool fill_list(tf_infer *c, tuff_ints *list, int32_t n, int64_t value, const char *name)
{
    if (list->n == 0)
        for (; list->n < n; list->n++) list->v[list->n] = value;
    if (list->n == n) return true;
    return tf_bad(c, TUFF_E_ATTRIBUTE, "%s has %d entries; %d are needed", name, (int)list->n, (int)n);
}

/* n 0: the axes 0, 1, ..., or the last ones. */
static bool fill_axes(tf_infer *c, tuff_ints *axes, int32_t n, int32_t rank, int32_t first)
{
    if (n > rank) return tf_bad(c, TUFF_E_ATTRIBUTE, "%d axes are given for rank %d (%s)", (int)n, (int)rank, tf_src_text(c, 0));
    if (axes->n == 0)
        for (; axes->n < n; axes->n++) axes->v[axes->n] = first + axes->n;
    if (axes->n != n) return tf_bad(c, TUFF_E_ATTRIBUTE, "axes has %d entries; %d are needed", (int)axes->n, (int)n);
    return tf_axis_list(c, axes, rank);
}

/* ---- slice ---- */

typedef struct slice_desc { tuff_ints start, stop, axes, step; } slice_desc;

static bool counts_from_end(int64_t v) { return v < 0 && !tf_dim_is_dynamic(v); }

/* min(a, b) from the operators dims have. */
static int64_t dim_min(tuff_graph *g, int64_t a, int64_t b)
{
    if (!tf_dim_is_dynamic(a) && !tf_dim_is_dynamic(b)) return TF_MIN(a, b);
    if (tf_dim_equal(a, b)) return a;
    return tf_dim_bin(g, TUFF_DIM_SUB, tf_dim_bin(g, TUFF_DIM_ADD, a, b), tf_dim_bin(g, TUFF_DIM_MAX, a, b));
}

/* A bound v of an axis of size n, counted so that it lies in [0, n]: "before element v" for steps > 0, "after element
 * v - 1" for steps < 0, where `shift` is 1. */
static int64_t slice_bound(tuff_graph *g, int64_t v, int64_t n, int64_t shift)
{
    if (counts_from_end(v)) v = tf_dim_bin(g, TUFF_DIM_MAX, tf_dim_bin(g, TUFF_DIM_ADD, n, v + shift), 0);
    else if (v == TUFF_END) return n;
    else v = tf_dim_bin(g, TUFF_DIM_ADD, v, shift);
    return dim_min(g, v, n);
}

/* Elements from `from` up to `to` in steps of `step`: max(ceil((to - from) / step), 0). */
static int64_t slice_count(tuff_graph *g, int64_t from, int64_t to, int64_t step)
{
    const int64_t span = tf_dim_bin(g, TUFF_DIM_MAX, tf_dim_bin(g, TUFF_DIM_SUB, to, from), 0);
    return tf_dim_bin(g, TUFF_DIM_FLOORDIV, tf_dim_bin(g, TUFF_DIM_ADD, span, step - 1), step);
}

static bool slice_infer(tf_infer *c)
{
    const tf_type *x = c->type[0];
    slice_desc *d = c->mut;
    if (d->start.n != d->stop.n)
        return tf_bad(c, TUFF_E_ATTRIBUTE, "start has %d entries and stop has %d; they go in pairs", (int)d->start.n, (int)d->stop.n);
    if (!fill_axes(c, &d->axes, d->start.n, x->rank, 0) || !fill_list(c, &d->step, d->start.n, 1, "step")) return false;
    c->out[0] = *x;
    for (int32_t i = 0; i < d->axes.n; i++) {
        const int64_t n = x->dim[d->axes.v[i]], start = d->start.v[i], stop = d->stop.v[i], step = d->step.v[i];
        if (step == 0 || step < -INT32_MAX || step > INT32_MAX)
            return tf_bad(c, TUFF_E_ATTRIBUTE, "step %d is %lld; it is a non-zero 32-bit number", (int)i, (long long)step);
        int64_t *count = &c->out[0].dim[d->axes.v[i]];
        if (step > 0) *count = slice_count(c->g, slice_bound(c->g, start, n, 0), slice_bound(c->g, stop, n, 0), step);
        else *count = slice_count(c->g, stop == TUFF_END ? 0 : slice_bound(c->g, stop, n, 1), slice_bound(c->g, start, n, 1), -step);
    }
    return true;
}

/* The first element taken; meaningful where the slice is not empty. */
static tf_ex slice_start(tf_view_map *m, int64_t v, int32_t axis, int64_t step)
{
    tf_exprs *x = m->x;
    const tf_ex n = tf_src_dim(m, axis), last = tf_ex_sub(x, n, tf_ex_int(x, 1));
    if (counts_from_end(v)) return tf_ex_max(x, tf_ex_add(x, n, tf_ex_int(x, v)), tf_ex_int(x, 0));
    if (step > 0) return v == TUFF_END ? n : tf_ex_dim(x, v);
    return v == TUFF_END ? last : tf_ex_min(x, tf_ex_dim(x, v), last);
}
static void slice_view(tf_view_map *m)
{
    const slice_desc *d = m->desc;
    tf_same_coords(m);
    for (int32_t i = 0; i < d->axes.n; i++) {
        const int32_t axis = (int32_t)d->axes.v[i];
        m->src[axis] = tf_ex_add(m->x, slice_start(m, d->start.v[i], axis, d->step.v[i]),
                                 tf_ex_mul(m->x, m->out[axis], tf_ex_int(m->x, d->step.v[i])));
    }
}
static bool slice_map(const tf_ref *r, const int64_t *out, int64_t *src)
{
    const slice_desc *d = r->desc;
    for (int32_t i = 0; i < r->out[0].rank; i++) src[i] = out[i];
    for (int32_t i = 0; i < d->axes.n; i++) {
        const int64_t axis = d->axes.v[i], n = r->src[0]->dim[axis], step = d->step.v[i];
        int64_t start = d->start.v[i] == TUFF_END ? TUFF_END : tf_dim_eval(r->g, d->start.v[i], r->dim_values);
        if (counts_from_end(d->start.v[i])) start = d->start.v[i] + n;
        start = step > 0 ? TF_MAX(start, 0) : TF_MIN(start, n - 1);
        src[axis] = start + out[axis] * step;
    }
    return true;
}
static tuff_status slice_reference(tf_ref *r) { return tf_move(r, slice_map, 0); }

static const tf_attr slice_attrs[] = {
    TF_A(slice_desc, start, TF_ATTR_INTS, "first element per axis; negative: from the end", .required = true),
    TF_A(slice_desc, stop, TF_ATTR_INTS, "element before which to stop; 2147483647: as far as the axis goes", .required = true),
    TF_A(slice_desc, axes, TF_ATTR_INTS, "the axis of each entry; empty: 0, 1, ..."),
    TF_A(slice_desc, step, TF_ATTR_INTS, "step per axis, may be negative; empty: 1"),
};
const tf_op tf_op_slice = { .name = "slice", .doc = "y[i] = x[start + i * step] up to stop, on the listed axes", .operands = "x", .kind = TF_VIEW,
    .attrs = slice_attrs, .attr_count = TF_COUNT(slice_attrs), .desc_size = sizeof(slice_desc), .infer = slice_infer,
    .reference = slice_reference, .view = slice_view };

tuff_tensor tuff_slice(tuff_tensor x, tuff_ints start, tuff_ints stop, const tuff_slice_desc *desc)
{
    slice_desc d = { .start = start, .stop = stop };
    if (desc) { d.axes = desc->axes; d.step = desc->step; }
    return tf_add(x.graph, &tf_op_slice, &x, 1, &d);
}

/* ---- pad ---- */

typedef struct pad_desc { tuff_ints lo, hi; tuff_pad_mode mode; float value; } pad_desc;

bool tf_check_pad(tf_infer *c, int32_t axis, int64_t by, tuff_pad_mode mode)
{
    const int64_t dim = c->type[0]->dim[axis], most = mode == TUFF_PAD_REFLECT ? dim - 1 : INT32_MAX;
    if (by < 0 || by > INT32_MAX)
        return tf_bad(c, TUFF_E_ATTRIBUTE, "axis %d is padded by %lld; it is a number >= 0 of 32 bits", (int)axis, (long long)by);
    if (!tf_dim_is_dynamic(dim) && by > most)
        return tf_bad(c, TUFF_E_SHAPE, "axis %d is padded by %lld; this mode takes at most %lld (%s)", (int)axis, (long long)by, (long long)most, tf_src_text(c, 0));
    if ((mode == TUFF_PAD_EDGE || mode == TUFF_PAD_WRAP) && by > 0 && dim == 0)
        return tf_bad(c, TUFF_E_SHAPE, "axis %d has no element to repeat (%s)", (int)axis, tf_src_text(c, 0));
    return true;
}

static bool pad_infer(tf_infer *c)
{
    const tf_type *x = c->type[0];
    pad_desc *d = c->mut;
    if (d->lo.n > x->rank || d->hi.n > x->rank || d->lo.n < 0 || d->hi.n < 0)
        return tf_bad(c, TUFF_E_ATTRIBUTE, "lo has %d entries and hi has %d for rank %d (%s)", (int)d->lo.n, (int)d->hi.n, (int)x->rank, tf_src_text(c, 0));
    c->out[0] = *x;
    for (int32_t i = 0; i < x->rank; i++) {
        const int64_t pads[2] = { i < d->lo.n ? d->lo.v[i] : 0, i < d->hi.n ? d->hi.v[i] : 0 };
        if (!tf_check_pad(c, i, pads[0], d->mode) || !tf_check_pad(c, i, pads[1], d->mode))
            return false;
        c->out[0].dim[i] = tf_dim_bin(c->g, TUFF_DIM_ADD, x->dim[i], pads[0] + pads[1]);
    }
    return true;
}

static tf_ex pad_coord(tf_view_map *m, tf_ex out, int64_t lo, int32_t axis)
{
    tf_exprs *x = m->x;
    const tf_ex zero = tf_ex_int(x, 0), n = tf_src_dim(m, axis), last = tf_ex_sub(x, n, tf_ex_int(x, 1));
    const tf_ex at = tf_ex_sub(x, out, tf_ex_int(x, lo));
    switch (((const pad_desc *)m->desc)->mode) {
    case TUFF_PAD_EDGE: return tf_ex_min(x, tf_ex_max(x, at, zero), last);
    case TUFF_PAD_REFLECT: {
        const tf_ex a = tf_ex_max(x, at, tf_ex_sub(x, zero, at));
        return tf_ex_max(x, tf_ex_min(x, a, tf_ex_sub(x, tf_ex_mul(x, last, tf_ex_int(x, 2)), a)), zero);
    }
    case TUFF_PAD_WRAP: return tf_ex_mod(x, tf_ex_add(x, out, tf_ex_sub(x, n, tf_ex_mod(x, tf_ex_int(x, lo), n))), n);
    case TUFF_PAD_CONSTANT: break;
    }
    m->valid = tf_ex_and(x, m->valid, tf_ex_and(x, tf_ex_not(x, tf_ex_lt(x, at, zero)), tf_ex_lt(x, at, n)));
    return at;
}
static void pad_view(tf_view_map *m)
{
    const pad_desc *d = m->desc;
    m->fill = (double)d->value;
    for (int32_t i = 0; i < m->src_type->rank; i++) {
        const int64_t lo = i < d->lo.n ? d->lo.v[i] : 0, hi = i < d->hi.n ? d->hi.v[i] : 0;
        m->src[i] = lo || hi ? pad_coord(m, m->out[i], lo, i) : m->out[i];
    }
}
static bool pad_map(const tf_ref *r, const int64_t *out, int64_t *src)
{
    const pad_desc *d = r->desc;
    for (int32_t i = 0; i < r->out[0].rank; i++) {
        const int64_t n = r->src[0]->dim[i];
        int64_t at = out[i] - (i < d->lo.n ? d->lo.v[i] : 0);
        const bool outside = at < 0 || at >= n;
        if (outside && (d->mode == TUFF_PAD_CONSTANT || n == 0)) return false;
        if (outside && d->mode == TUFF_PAD_EDGE) at = at < 0 ? 0 : n - 1;
        if (outside && d->mode == TUFF_PAD_WRAP) at = (at % n + n) % n;
        if (outside && d->mode == TUFF_PAD_REFLECT) {
            at = at < 0 ? -at : at;
            at = TF_MAX(TF_MIN(at, 2 * (n - 1) - at), 0);
        }
        src[i] = at;
    }
    return true;
}
static tuff_status pad_reference(tf_ref *r) { return tf_move(r, pad_map, (double)((const pad_desc *)r->desc)->value); }

static const char *const pad_modes[] = { "constant", "edge", "reflect", "wrap", NULL };
static const tf_attr pad_attrs[] = {
    TF_A(pad_desc, lo, TF_ATTR_INTS, "elements before each axis; missing: 0", .required = true),
    TF_A(pad_desc, hi, TF_ATTR_INTS, "elements after each axis; missing: 0", .required = true),
    TF_A(pad_desc, mode, TF_ATTR_ENUM, "constant, edge (repeat it), reflect (without the edge) or wrap", .choices = pad_modes),
    TF_A(pad_desc, value, TF_ATTR_FLOAT, "value in constant mode"),
};
const tf_op tf_op_pad = { .name = "pad", .doc = "elements added before and after each axis", .operands = "x", .kind = TF_VIEW,
    .attrs = pad_attrs, .attr_count = TF_COUNT(pad_attrs), .desc_size = sizeof(pad_desc), .infer = pad_infer,
    .reference = pad_reference, .view = pad_view };

tuff_tensor tuff_pad(tuff_tensor x, tuff_ints lo, tuff_ints hi, const tuff_pad_desc *desc)
{
    pad_desc d = { .lo = lo, .hi = hi };
    if (desc) { d.mode = desc->mode; d.value = desc->value; }
    return tf_add(x.graph, &tf_op_pad, &x, 1, &d);
}

/* ---- diagonal ---- */

typedef struct diagonal_desc { int32_t a, b, offset; } diagonal_desc;

static bool diagonal_infer(tf_infer *c)
{
    const tf_type *x = c->type[0];
    diagonal_desc *d = c->mut;
    tf_type *y = &c->out[0];
    if (!tf_axis(c, d->a, x->rank, &d->a) || !tf_axis(c, d->b, x->rank, &d->b)) return false;
    if (d->a == d->b) return tf_bad(c, TUFF_E_ATTRIBUTE, "a and b are both axis %d; they must differ", (int)d->a);
    *y = (tf_type){ .dtype = x->dtype };
    for (int32_t i = 0; i < x->rank; i++)
        if (i != d->a && i != d->b) y->dim[y->rank++] = x->dim[i];
    const int64_t rows = tf_dim_bin(c->g, TUFF_DIM_SUB, x->dim[d->a], d->offset < 0 ? -(int64_t)d->offset : 0);
    const int64_t columns = tf_dim_bin(c->g, TUFF_DIM_SUB, x->dim[d->b], d->offset > 0 ? d->offset : 0);
    y->dim[y->rank++] = tf_dim_bin(c->g, TUFF_DIM_MAX, dim_min(c->g, rows, columns), 0);
    return true;
}
static void diagonal_view(tf_view_map *m)
{
    const diagonal_desc *d = m->desc;
    const tf_ex at = m->out[m->out_type->rank - 1];
    for (int32_t i = 0, k = 0; i < m->src_type->rank; i++)
        m->src[i] = i == d->a ? tf_ex_add(m->x, at, tf_ex_int(m->x, d->offset < 0 ? -(int64_t)d->offset : 0))
                  : i == d->b ? tf_ex_add(m->x, at, tf_ex_int(m->x, d->offset > 0 ? d->offset : 0)) : m->out[k++];
}
static bool diagonal_map(const tf_ref *r, const int64_t *out, int64_t *src)
{
    const diagonal_desc *d = r->desc;
    int32_t k = 0;
    for (int32_t i = 0; i < r->src[0]->rank; i++)
        if (i != d->a && i != d->b) src[i] = out[k++];
    src[d->a] = out[k] - TF_MIN(d->offset, 0);
    src[d->b] = out[k] + TF_MAX(d->offset, 0);
    return true;
}
static tuff_status diagonal_reference(tf_ref *r) { return tf_move(r, diagonal_map, 0); }

static const tf_attr diagonal_attrs[] = {
    TF_A(diagonal_desc, a, TF_ATTR_INT, "axis of rows", .required = true),
    TF_A(diagonal_desc, b, TF_ATTR_INT, "axis of columns", .required = true),
    TF_A(diagonal_desc, offset, TF_ATTR_INT, "column of row 0; negative: diagonals below", .min = -INT32_MAX, .max = INT32_MAX),
};
const tf_op tf_op_diagonal = { .name = "diagonal", .doc = "y[..., i] = x[..., i, ..., i + offset, ...] on axes a and b, which leave", .operands = "x",
    .kind = TF_VIEW, .attrs = diagonal_attrs, .attr_count = TF_COUNT(diagonal_attrs), .desc_size = sizeof(diagonal_desc), .infer = diagonal_infer,
    .reference = diagonal_reference, .view = diagonal_view };

tuff_tensor tuff_diagonal(tuff_tensor x, int32_t a, int32_t b, const tuff_diagonal_desc *desc)
{
    return tf_add(x.graph, &tf_op_diagonal, &x, 1, &(diagonal_desc){ a, b, desc ? desc->offset : 0 });
}

/* ---- unfold ---- */

typedef struct unfold_desc { tuff_ints sizes, axes, stride, dilation; } unfold_desc;

static bool positive(tf_infer *c, const tuff_ints *list, const char *name)
{
    for (int32_t i = 0; i < list->n; i++)
        if (list->v[i] < 1 || list->v[i] > INT32_MAX)
            return tf_bad(c, TUFF_E_ATTRIBUTE, "%s %d is %lld; it is at least 1", name, (int)i, (long long)list->v[i]);
    return true;
}
static bool unfold_infer(tf_infer *c)
{
    const tf_type *x = c->type[0];
    unfold_desc *d = c->mut;
    tf_type *y = &c->out[0];
    const int32_t n = d->sizes.n;
    if (!tf_check_rank(c, n) || !tf_check_rank(c, x->rank + n) || !fill_axes(c, &d->axes, n, x->rank, x->rank - n) || !fill_list(c, &d->stride, n, 1, "stride") ||
        !fill_list(c, &d->dilation, n, 1, "dilation") || !positive(c, &d->sizes, "sizes") || !positive(c, &d->stride, "stride") ||
        !positive(c, &d->dilation, "dilation"))
        return false;
    *y = *x;
    y->rank = x->rank + n;
    for (int32_t i = 0; i < n; i++) {
        const int64_t axis = d->axes.v[i], reach = (d->sizes.v[i] - 1) * d->dilation.v[i] + 1;
        if (!tf_dim_is_dynamic(x->dim[axis]) && reach > x->dim[axis])
            return tf_bad(c, TUFF_E_SHAPE, "a window reaches over %lld elements of axis %d, which has %lld; pad it first (%s)", (long long)reach, (int)axis,
                          (long long)x->dim[axis], tf_src_text(c, 0));
        y->dim[axis] = slice_count(c->g, 0, tf_dim_bin(c->g, TUFF_DIM_SUB, x->dim[axis], reach - 1), d->stride.v[i]);
        y->dim[x->rank + i] = d->sizes.v[i];
    }
    return true;
}
static void unfold_view(tf_view_map *m)
{
    const unfold_desc *d = m->desc;
    tf_same_coords(m);
    for (int32_t i = 0; i < d->axes.n; i++) {
        const tf_ex window = tf_ex_mul(m->x, m->out[d->axes.v[i]], tf_ex_int(m->x, d->stride.v[i]));
        const tf_ex inside = tf_ex_mul(m->x, m->out[m->src_type->rank + i], tf_ex_int(m->x, d->dilation.v[i]));
        m->src[d->axes.v[i]] = tf_ex_add(m->x, window, inside);
    }
}
static bool unfold_map(const tf_ref *r, const int64_t *out, int64_t *src)
{
    const unfold_desc *d = r->desc;
    const int32_t rank = r->src[0]->rank;
    for (int32_t i = 0; i < rank; i++) src[i] = out[i];
    for (int32_t i = 0; i < d->axes.n; i++) src[d->axes.v[i]] = out[d->axes.v[i]] * d->stride.v[i] + out[rank + i] * d->dilation.v[i];
    return true;
}
static tuff_status unfold_reference(tf_ref *r) { return tf_move(r, unfold_map, 0); }

static const tf_attr unfold_attrs[] = {
    TF_A(unfold_desc, sizes, TF_ATTR_INTS, "elements per window", .required = true),
    TF_A(unfold_desc, axes, TF_ATTR_INTS, "axes the windows slide along; empty: the last ones"),
    TF_A(unfold_desc, stride, TF_ATTR_INTS, "distance of windows; empty: 1"),
    TF_A(unfold_desc, dilation, TF_ATTR_INTS, "distance of elements in a window; empty: 1"),
};
const tf_op tf_op_unfold = { .name = "unfold", .doc = "sliding windows: x[..., n, ...] -> y[..., windows, ..., size]", .operands = "x", .kind = TF_VIEW,
    .attrs = unfold_attrs, .attr_count = TF_COUNT(unfold_attrs), .desc_size = sizeof(unfold_desc), .infer = unfold_infer,
    .reference = unfold_reference, .view = unfold_view };

tuff_tensor tuff_unfold(tuff_tensor x, tuff_ints sizes, const tuff_unfold_desc *desc)
{
    unfold_desc d = { .sizes = sizes };
    if (desc) { d.axes = desc->axes; d.stride = desc->stride; d.dilation = desc->dilation; }
    return tf_add(x.graph, &tf_op_unfold, &x, 1, &d);
}
