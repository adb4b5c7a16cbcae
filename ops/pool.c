/* pool.c - max_pool and avg_pool.
 *
 * Short windows are folded axis by axis from shifted slices, element by element; long ones are reductions over sliding
 * windows, which are a view of the padded operand. */
#include "anchors.h"
#include "ops.h"

#include <math.h>
#include <string.h>

enum { SHORT = 8 };

typedef struct pool_desc { tuff_ints size, axes, stride, padding, padding_end, dilation; bool count_padding; } pool_desc;

/* ---- shapes -------------------------------------------------------------------------------------- */

static bool fill(tf_infer *c, tuff_ints *list, const tuff_ints *fallback, int64_t value, int32_t n, int64_t least, const char *name)
{
    if (list->n > 1 && list->n != n)
        return tf_bad(c, TUFF_E_ATTRIBUTE, "%s has %d entries; size has %d", name, (int)list->n, (int)n);
    for (int32_t i = 0; i < n; i++) {
        if (list->n == 0)
            list->v[i] = fallback ? fallback->v[i] : value;
        else if (list->n == 1)
            list->v[i] = list->v[0];
        if (list->v[i] < least || list->v[i] > INT32_MAX)
            return tf_bad(c, TUFF_E_ATTRIBUTE, "%s %d is %lld; it is at least %lld", name, (int)i, (long long)list->v[i], (long long)least);
    }
    list->n = n;
    return true;
}

static bool infer(tf_infer *c)
{
    pool_desc *d = c->mut;
    const tf_type *x = c->type[0];
    const int32_t n = d->size.n;
    if (!(tf_dtype_class(x->dtype) & c->op->classes) || x->dtype == TUFF_F64)
        return tf_bad(c, TUFF_E_DTYPE, "%s is not among its dtypes (%s)", tuff_dtype_name(x->dtype), tf_src_text(c, 0));
    if (n < 1 || n > x->rank || (d->axes.n && d->axes.n != n))
        return tf_bad(c, TUFF_E_ATTRIBUTE, "size has %d entries, axes %d; the rank is %d (%s)", (int)n, (int)d->axes.n, (int)x->rank, tf_src_text(c, 0));
    for (int32_t i = 0; d->axes.n == 0 && i < n; i++)
        d->axes.v[i] = x->rank - n + i;
    d->axes.n = n;
    if (!tf_axis_list(c, &d->axes, x->rank) || !fill(c, &d->size, NULL, 1, n, 1, "size") || !fill(c, &d->stride, &d->size, 0, n, 1, "stride") ||
        !fill(c, &d->padding, NULL, 0, n, 0, "padding") || !fill(c, &d->padding_end, &d->padding, 0, n, 0, "padding_end") ||
        !fill(c, &d->dilation, NULL, 1, n, 1, "dilation"))
        return false;
    c->out[0] = *x;
    for (int32_t i = 0; i < n; i++) {
        const int64_t reach = (d->size.v[i] - 1) * d->dilation.v[i] + 1;
        const int64_t padded = tf_dim_bin(c->g, TUFF_DIM_ADD, x->dim[d->axes.v[i]], d->padding.v[i] + d->padding_end.v[i]);
        if (d->padding.v[i] >= reach || d->padding_end.v[i] >= reach)
            return tf_bad(c, TUFF_E_ATTRIBUTE, "padding %d leaves windows without an element", (int)i);
        if (!tf_dim_is_dynamic(padded) && padded < reach)
            return tf_bad(c, TUFF_E_SHAPE, "a window reaches over %lld elements of axis %d, which has %lld with its padding (%s)", (long long)reach,
                          (int)d->axes.v[i], (long long)padded, tf_src_text(c, 0));
        const int64_t starts = tf_dim_bin(c->g, TUFF_DIM_SUB, padded, reach);
        c->out[0].dim[d->axes.v[i]] = tf_dim_bin(c->g, TUFF_DIM_ADD, tf_dim_bin(c->g, TUFF_DIM_FLOORDIV, starts, d->stride.v[i]), 1);
    }
    return true;
}

/* ---- reference ----------------------------------------------------------------------------------- */

static tuff_status reference(tf_ref *r, bool mean)
{
    const pool_desc *d = r->desc;
    const tf_ref_tensor *x = r->src[0];
    int64_t at[TUFF_MAX_RANK] = { 0 };
    for (uint64_t i = 0; i < r->out[0].n; i++, tf_ref_next(&r->out[0], at)) {
        int64_t tap[TUFF_MAX_RANK] = { 0 }, from[TUFF_MAX_RANK];
        double fold = mean ? 0 : -INFINITY, inside = 0, all = 0;
        for (bool more = true; more; all++) {
            bool in = true;
            memcpy(from, at, sizeof from);
            for (int32_t a = 0; a < d->size.n; a++) {
                const int64_t axis = d->axes.v[a];
                from[axis] = at[axis] * d->stride.v[a] + tap[a] * d->dilation.v[a] - d->padding.v[a];
                in = in && from[axis] >= 0 && from[axis] < x->dim[axis];
            }
            const double v = in ? x->re[tf_ref_index(x, from)] : 0;
            inside += in;
            fold = mean ? fold + v : in && (v > fold || isnan(v)) ? v : fold;
            more = false;
            for (int32_t a = d->size.n; a-- > 0 && !more; tap[a] = more ? tap[a] : 0)
                more = ++tap[a] < d->size.v[a];
        }
        r->out[0].re[i] = mean ? fold / (d->count_padding ? all : inside) : fold;
    }
    return TUFF_OK;
}
static tuff_status max_reference(tf_ref *r) { return reference(r, false); }
static tuff_status avg_reference(tf_ref *r) { return reference(r, true); }

/* ---- lowering ------------------------------------------------------------------------------------ */

/* x folded over short windows along one axis: slices folded element by element, which is one fused expression. */
static tuff_tensor fold_slices(tuff_tensor x, int32_t axis, int64_t size, int64_t stride, int64_t dilation, tf_fold kind)
{
    const int64_t n = tf_ty(x)->dim[axis];
    tuff_tensor y = { NULL, 0 };
    for (int64_t i = 0; i < size; i++) {
        const int64_t stop = tf_dim_bin(x.graph, TUFF_DIM_SUB, n, (size - 1 - i) * dilation);
        const tuff_slice_desc s = { .axes = { 1, { axis } }, .step = { 1, { stride } } };
        const tuff_tensor part = tuff_slice(x, (tuff_ints){ 1, { i * dilation } }, (tuff_ints){ 1, { stop } }, &s);
        y = !y.id ? part : kind == TF_FOLD_SUM ? tuff_add(y, part) : tuff_maximum(y, part);
    }
    return y;
}

/* x folded over its windows. */
static tuff_tensor fold(tf_lower *l, const pool_desc *d, tuff_tensor x, tf_fold kind, double outside)
{
    const int32_t rank = tf_ty(x)->rank, n = d->size.n;
    tuff_ints lo = { .n = rank }, hi = { .n = rank };
    bool padded = false;
    uint32_t mask = 0;
    for (int32_t i = 0; i < n; i++) {
        lo.v[d->axes.v[i]] = d->padding.v[i];
        hi.v[d->axes.v[i]] = d->padding_end.v[i];
        padded = padded || d->padding.v[i] || d->padding_end.v[i];
        mask |= 1u << (rank + i);
    }
    if (padded)
        x = tuff_pad(x, lo, hi, &(tuff_pad_desc){ .value = (float)outside });
    bool is_short = true;
    for (int32_t i = 0; i < n; i++)
        is_short = is_short && d->size.v[i] <= SHORT;
    for (int32_t i = 0; i < n && is_short && x.id; i++)
        x = fold_slices(x, (int32_t)d->axes.v[n - 1 - i], d->size.v[n - 1 - i], d->stride.v[n - 1 - i], d->dilation.v[n - 1 - i], kind);
    if (is_short || !x.id)
        return x;
    const tuff_unfold_desc u = { .axes = d->axes, .stride = d->stride, .dilation = d->dilation };
    return tf_reduce(l->g, l->limits, tuff_unfold(x, d->size, &u), mask, kind, 0);
}

static void max_lower(tf_lower *l)
{
    const tuff_dtype t = l->out_type->dtype;
    tuff_tensor x = l->src[0];
    if (tf_dtype_is_int(t)) /* the least value is not one of the pad's f32 */
        x = tf_cast_to(x, TUFF_I32);
    const bool flip = t == TUFF_U32; /* u32 in the order of i32 */
    if (flip)
        x = tuff_bitcast(tuff_bit_xor(l->src[0], tuff_literal(l->g, 0x1p31, TUFF_U32)), TUFF_I32);
    tuff_tensor y = fold(l, l->desc, x, TF_FOLD_MAX, tf_dtype_is_int(t) ? -0x1p31 : -INFINITY);
    if (flip)
        y = tuff_bit_xor(tuff_bitcast(y, TUFF_U32), tuff_literal(l->g, 0x1p31, TUFF_U32));
    if (y.id)
        l->out[0] = tf_cast_to(y, t);
}

/* Elements of x in the windows along axis i: [1, .., windows, .., 1]. */
static tuff_tensor count_inside(tf_lower *l, const pool_desc *d, int32_t i)
{
    const int64_t size = tf_ty(l->src[0])->dim[d->axes.v[i]];
    const pool_desc one = { .size = { 1, { d->size.v[i] } }, .axes = { 1, { 0 } }, .stride = { 1, { d->stride.v[i] } }, .padding = { 1, { d->padding.v[i] } },
                            .padding_end = { 1, { d->padding_end.v[i] } }, .dilation = { 1, { d->dilation.v[i] } } };
    const tuff_tensor ones = tuff_expand(tuff_literal(l->g, 1, TUFF_F32), (tuff_shape){ 1, { size } });
    int64_t dim[TUFF_MAX_RANK];
    for (int32_t a = 0; a < l->out_type->rank; a++)
        dim[a] = a == d->axes.v[i] ? l->out_type->dim[a] : 1;
    const tuff_tensor n = fold(l, &one, ones, TF_FOLD_SUM, 0);
    return n.id ? tf_reshaped(n, l->out_type->rank, dim) : n;
}

static void avg_lower(tf_lower *l)
{
    const pool_desc *d = l->desc;
    double all = 1;
    tuff_tensor y = fold(l, d, tf_widened(l->src[0]), TF_FOLD_SUM, 0);
    for (int32_t i = 0; i < d->size.n && y.id; i++) {
        if (d->count_padding || (!d->padding.v[i] && !d->padding_end.v[i]))
            all *= (double)d->size.v[i];
        else
            y = tuff_div(y, count_inside(l, d, i));
    }
    if (all != 1)
        y = tuff_mul(y, tuff_literal(l->g, 1 / all, TUFF_F32));
    if (y.id)
        l->out[0] = tf_cast_to(y, l->out_type->dtype);
}

#define ATTRIBUTES                                                                                                     \
    TF_A(pool_desc, size, TF_ATTR_INTS, "elements of a window, per axis", .required = true),                           \
    TF_A(pool_desc, axes, TF_ATTR_INTS, "axes the windows slide along; empty: the last ones"),                         \
    TF_A(pool_desc, stride, TF_ATTR_INTS, "distance of windows; empty: size"),                                         \
    TF_A(pool_desc, padding, TF_ATTR_INTS, "elements before each axis, and behind it; empty: 0"),                      \
    TF_A(pool_desc, padding_end, TF_ATTR_INTS, "elements behind each axis; empty: padding"),                           \
    TF_A(pool_desc, dilation, TF_ATTR_INTS, "distance of the elements in a window; empty: 1")
static const tf_attr max_attrs[] = { ATTRIBUTES };
static const tf_attr avg_attrs[] = { ATTRIBUTES, TF_A(pool_desc, count_padding, TF_ATTR_BOOL, "divide by the whole window also where it holds padding") };
const tf_op tf_op_max_pool = {
    .name = "max_pool", .doc = "the largest element of each sliding window; padding never is", .operands = "x", .kind = TF_COMPOSITE, .attrs = max_attrs,
    .attr_count = TF_COUNT(max_attrs), .desc_size = sizeof(pool_desc), .classes = TF_CLS_FLOAT | TF_CLS_INT, .infer = infer, .lower = max_lower,
    .reference = max_reference,
};
const tf_op tf_op_avg_pool = {
    .name = "avg_pool", .doc = "the mean of each sliding window; padding does not count", .operands = "x", .kind = TF_COMPOSITE, .attrs = avg_attrs,
    .attr_count = TF_COUNT(avg_attrs), .desc_size = sizeof(pool_desc), .classes = TF_CLS_FLOAT, .infer = infer, .lower = avg_lower,
    .reference = avg_reference, .rel = 2,
};

static tuff_tensor pool(tuff_tensor x, const tf_op *op, tuff_ints size, const tuff_pool_desc *desc)
{
    pool_desc d = { .size = size };
    if (desc)
        d = (pool_desc){ size, desc->axes, desc->stride, desc->padding, desc->padding_end, desc->dilation, desc->count_padding };
    return tf_add(x.graph, op, &x, 1, &d);
}
tuff_tensor tuff_max_pool(tuff_tensor x, tuff_ints size, const tuff_pool_desc *desc) { return pool(x, &tf_op_max_pool, size, desc); }
tuff_tensor tuff_avg_pool(tuff_tensor x, tuff_ints size, const tuff_pool_desc *desc) { return pool(x, &tf_op_avg_pool, size, desc); }
