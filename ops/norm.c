/* norm.c - softmax, log_softmax and the norms.
 *
 * All of them are the anchor _rownorm on a view [outer, inner] of the operand; gain and bias are pointwise consumers
 * that fuse into its stores. Few long rows of softmax become reductions and pointwise work, which fill the device
 * better. batch_norm knows its statistics, so it is pointwise. */
#include "anchors.h"

#include <math.h>
#include <string.h>

/* ---- reference: rows of n elements at a stride ---------------------------------------------------- */

typedef struct row {
    const double *x;
    double *y;
    uint64_t n, stride;
} row;

static void softmax_row(row r, bool take_log)
{
    double m = -INFINITY, sum = 0;
    for (uint64_t i = 0; i < r.n; i++)
        m = fmax(m, r.x[i * r.stride]);
    for (uint64_t i = 0; i < r.n; i++)
        sum += exp(r.x[i * r.stride] - m);
    for (uint64_t i = 0; i < r.n; i++) {
        const double d = r.x[i * r.stride] - m;
        r.y[i * r.stride] = take_log ? d - log(sum) : exp(d) / sum;
    }
}

static void layer_row(row r, double eps, bool centre)
{
    double mean = 0, square = 0;
    for (uint64_t i = 0; centre && i < r.n; i++)
        mean += r.x[i * r.stride];
    mean /= (double)r.n;
    for (uint64_t i = 0; i < r.n; i++) {
        const double d = r.x[i * r.stride] - mean;
        square += d * d;
    }
    const double scale = 1 / sqrt(square / (double)r.n + eps);
    for (uint64_t i = 0; i < r.n; i++)
        r.y[i * r.stride] = (r.x[i * r.stride] - mean) * scale;
}

/* ---- softmax ------------------------------------------------------------------------------------- */

typedef struct softmax_desc {
    int32_t axis;
} softmax_desc;

static bool check_float(tf_infer *c)
{
    if (tf_dtype_class(c->type[0]->dtype) != TF_CLS_FLOAT)
        return tf_bad(c, TUFF_E_DTYPE, "%s is not among its dtypes: float (%s)", tuff_dtype_name(c->type[0]->dtype), tf_src_text(c, 0));
    return true;
}

static bool softmax_infer(tf_infer *c)
{
    softmax_desc *d = c->mut;
    c->out[0] = *c->type[0];
    return check_float(c) && tf_axis(c, d->axis, c->type[0]->rank, &d->axis);
}

static tuff_status softmax_reference_of(tf_ref *r, bool take_log)
{
    const tf_ref_tensor *x = r->src[0];
    const int32_t axis = ((const softmax_desc *)r->desc)->axis;
    uint64_t stride = 1;
    for (int32_t a = axis + 1; a < x->rank; a++)
        stride *= (uint64_t)x->dim[a];
    const uint64_t n = (uint64_t)x->dim[axis];
    for (uint64_t o = 0; n && o < x->n / n; o++) {
        const uint64_t at = o / stride * stride * n + o % stride;
        softmax_row((row){ x->re + at, r->out[0].re + at, n, stride }, take_log);
    }
    return TUFF_OK;
}
static tuff_status softmax_reference(tf_ref *r) { return softmax_reference_of(r, false); }
static tuff_status log_softmax_reference(tf_ref *r) { return softmax_reference_of(r, true); }

/* Rows too few for the device and long enough that cutting them pays three passes and two more kernels. */
static bool few_long_rows(const tuff_graph *g, const tf_limits *l, int64_t rows, int64_t inner)
{
    const int64_t r = tf_dim_bound(g, rows), n = tf_dim_bound(g, inner);
    return l->cpu ? r < 8 * (int64_t)tf_units(l) && n >= 2048 : r < (int64_t)tf_units(l) / 2 && n >= 32768;
}

static tuff_tensor softmax_split(tf_lower *l, tuff_tensor x, int32_t axis, bool take_log)
{
    const tf_type t = *tf_ty(x);
    tuff_shape shape = { .rank = t.rank };
    memcpy(shape.dim, t.dim, sizeof shape.dim);
    tf_type one = t;
    one.dim[axis] = 1;
    const tuff_tensor m = tf_reshaped(tf_reduce(l->g, l->limits, x, 1u << axis, TF_FOLD_MAX, 0), t.rank, one.dim);
    const tuff_tensor d = tuff_sub(x, tuff_expand(m, shape)), e = tuff_exp(d);
    const tuff_tensor sum = tf_reshaped(tf_reduce(l->g, l->limits, e, 1u << axis, TF_FOLD_SUM, 0), t.rank, one.dim);
    return take_log ? tuff_sub(d, tuff_expand(tuff_log(sum), shape)) : tuff_mul(e, tuff_expand(tuff_reciprocal(sum), shape));
}

/* (x - mean) / sqrt(variance + eps) or x / sqrt(mean square + eps) by reductions and pointwise work: for f64. */
static tuff_tensor norm_by_parts(tf_lower *l, tuff_tensor x, tf_rownorm norm, float eps)
{
    const tf_type t = *tf_ty(x);
    const tuff_shape shape = { .rank = 2, .dim = { t.dim[0], t.dim[1] } };
    const int64_t column[2] = { t.dim[0], 1 };
    if (norm == TF_ROWNORM_LAYER) {
        const tuff_tensor mean = tf_reduce(l->g, l->limits, x, 2, TF_FOLD_SUM, t.dim[1]);
        x = tuff_sub(x, tuff_expand(tf_reshaped(mean, 2, column), shape));
    }
    const tuff_tensor square = tf_reshaped(tf_reduce(l->g, l->limits, tuff_square(x), 2, TF_FOLD_SUM, t.dim[1]), 2, column);
    return tuff_div(x, tuff_expand(tuff_sqrt(tuff_add(square, tuff_literal(l->g, (double)eps, t.dtype))), shape));
}

static tuff_tensor rownorm(tf_lower *l, tuff_tensor rows, tf_rownorm norm, float eps, bool across)
{
    if (tf_ty(rows)->dtype == TUFF_F64)
        return norm_by_parts(l, rows, norm, eps);
    const tf_rownorm_desc d = { .norm = norm, .eps = eps, .across = across };
    return tf_add(rows.graph, &tf_op_anchor_rownorm, &rows, 1, &d);
}

static void softmax_lower_as(tf_lower *l, bool take_log)
{
    const int32_t axis = ((const softmax_desc *)l->desc)->axis;
    const tf_type *t = l->out_type;
    const tuff_tensor x = tf_widened(l->src[0]);
    if (!x.id)
        return;
    const int64_t others = tf_dim_bin(l->g, TUFF_DIM_MUL, tf_dim_product(l->g, t->dim, 0, axis), tf_dim_product(l->g, t->dim, axis + 1, t->rank));
    const bool across = axis + 1 < t->rank, split = tf_ty(x)->dtype == TUFF_F64 || few_long_rows(l->g, l->limits, others, t->dim[axis]) ||
                                                    (across && tf_long_columns(l->g, l->limits, t, axis));
    const tuff_tensor y = split ? softmax_split(l, x, axis, take_log)
                                : tf_from_rows(rownorm(l, tf_as_rows(x, axis), take_log ? TF_ROWNORM_LOG_SOFTMAX : TF_ROWNORM_SOFTMAX, 0, across), t, axis);
    if (y.id)
        l->out[0] = tf_cast_to(y, t->dtype);
}
static void softmax_lower(tf_lower *l) { softmax_lower_as(l, false); }
static void log_softmax_lower(tf_lower *l) { softmax_lower_as(l, true); }

static const tf_attr softmax_attrs[] = { TF_A(softmax_desc, axis, TF_ATTR_INT, "the axis that sums to 1", .required = true) };

#define SOFTMAX(NAME, DOC, REL)                                                                                       \
    const tf_op tf_op_##NAME = {                                                                                      \
        .name = #NAME, .doc = DOC, .operands = "x", .kind = TF_COMPOSITE, .attrs = softmax_attrs,                     \
        .attr_count = TF_COUNT(softmax_attrs), .desc_size = sizeof(softmax_desc), .classes = TF_CLS_FLOAT,            \
        .infer = softmax_infer, .lower = NAME##_lower, .reference = NAME##_reference, .rel = REL,                     \
    };                                                                                                                \
    tuff_tensor tuff_##NAME(tuff_tensor x, int32_t axis)                                                              \
    {                                                                                                                 \
        const softmax_desc d = { axis };                                                                              \
        return tf_add(x.graph, &tf_op_##NAME, &x, 1, &d);                                                             \
    }

SOFTMAX(softmax, "e^(x - max) / sum along axis; a row of -inf only gives NaN", 64)
SOFTMAX(log_softmax, "x - max - log(sum e^(x - max)) along axis", 64)

/* ---- layer_norm, rms_norm ------------------------------------------------------------------------- */

static bool norm_axes(tf_infer *c, int32_t *axes)
{
    const int32_t rank = c->type[0]->rank;
    *axes = *axes ? *axes : 1;
    c->out[0] = *c->type[0];
    if (!check_float(c))
        return false;
    if (*axes < 1 || *axes > rank)
        return tf_bad(c, TUFF_E_ATTRIBUTE, "axes is %d; it is from 1 to the rank (%s)", (int)*axes, tf_src_text(c, 0));
    return true;
}

/* A gain or bias has the dims of the last `axes` axes of x. */
static bool trailing_shape(tf_infer *c, uint32_t src, int32_t axes)
{
    const tf_type *x = c->type[0], *p = c->type[src];
    if (!p)
        return true;
    if (tf_dtype_class(p->dtype) != TF_CLS_FLOAT)
        return tf_bad(c, TUFF_E_DTYPE, "%s is not a float dtype (%s)", tuff_dtype_name(p->dtype), tf_src_text(c, src));
    bool same = p->rank == axes;
    for (int32_t i = 0; same && i < axes; i++)
        same = tf_dim_equal(p->dim[i], x->dim[x->rank - axes + i]);
    if (!same)
        return tf_bad(c, TUFF_E_SHAPE, "%s needs the shape of the last %d axes of x (%s)", tf_src_text(c, src), (int)axes, tf_src_text(c, 0));
    return true;
}

static bool layer_norm_infer(tf_infer *c)
{
    tuff_layer_norm_desc *d = c->mut;
    d->eps = d->eps == 0 ? 1e-5f : d->eps;
    return norm_axes(c, &d->axes) && trailing_shape(c, 1, d->axes) && trailing_shape(c, 2, d->axes);
}

static bool rms_norm_infer(tf_infer *c)
{
    tuff_rms_norm_desc *d = c->mut;
    d->eps = d->eps == 0 ? 1e-6f : d->eps;
    return norm_axes(c, &d->axes) && trailing_shape(c, 1, d->axes);
}

/* Doubles need no widening; everything else computes in f32. */
static tuff_tensor to_compute(tuff_tensor x, tuff_dtype like)
{
    return x.id ? tf_cast_to(x, like == TUFF_F64 ? TUFF_F64 : TUFF_F32) : x;
}

/* y * gain + bias where given, as the result. */
static void finish(tf_lower *l, tuff_tensor y, tuff_tensor gain, tuff_tensor bias)
{
    const tuff_dtype t = l->out_type->dtype;
    if (gain.id)
        y = tuff_mul(y, to_compute(gain, t));
    if (bias.id)
        y = tuff_add(y, to_compute(bias, t));
    if (y.id)
        l->out[0] = tf_cast_to(y, t);
}

static void trailing_lower(tf_lower *l, tf_rownorm norm, float eps, int32_t axes)
{
    const tf_type *t = l->out_type;
    const int64_t d[2] = { tf_dim_product(l->g, t->dim, 0, t->rank - axes), tf_dim_product(l->g, t->dim, t->rank - axes, t->rank) };
    const tuff_tensor y = rownorm(l, tf_reshaped(tf_widened(l->src[0]), 2, d), norm, eps, false);
    const tuff_tensor none = { 0 };
    if (y.id)
        finish(l, tf_reshaped(y, t->rank, t->dim), l->n_src > 1 ? l->src[1] : none, l->n_src > 2 ? l->src[2] : none);
}

static void layer_norm_lower(tf_lower *l)
{
    const tuff_layer_norm_desc *d = l->desc;
    trailing_lower(l, TF_ROWNORM_LAYER, d->eps, d->axes);
}

static void rms_norm_lower(tf_lower *l)
{
    const tuff_rms_norm_desc *d = l->desc;
    trailing_lower(l, TF_ROWNORM_RMS, d->eps, d->axes);
}

static tuff_status trailing_reference(tf_ref *r, double eps, int32_t axes, bool centre)
{
    const tf_ref_tensor *x = r->src[0], *gain = r->src[1], *bias = centre ? r->src[2] : NULL;
    double *y = r->out[0].re;
    uint64_t n = 1;
    for (int32_t a = x->rank - axes; a < x->rank; a++)
        n *= (uint64_t)x->dim[a];
    for (uint64_t i = 0; n && i < x->n; i += n)
        layer_row((row){ x->re + i, y + i, n, 1 }, eps, centre);
    for (uint64_t i = 0; i < x->n; i++)
        y[i] = y[i] * (gain ? gain->re[i % n] : 1) + (bias ? bias->re[i % n] : 0);
    return TUFF_OK;
}

static tuff_status layer_norm_reference(tf_ref *r)
{
    const tuff_layer_norm_desc *d = r->desc;
    return trailing_reference(r, (double)d->eps, d->axes, true);
}

static tuff_status rms_norm_reference(tf_ref *r)
{
    const tuff_rms_norm_desc *d = r->desc;
    return trailing_reference(r, (double)d->eps, d->axes, false);
}

static const tf_attr layer_norm_attrs[] = {
    TF_A(tuff_layer_norm_desc, gain, TF_ATTR_TENSOR, "the shape of the normalised axes; absent: 1"),
    TF_A(tuff_layer_norm_desc, bias, TF_ATTR_TENSOR, "the shape of the normalised axes; absent: 0"),
    TF_A(tuff_layer_norm_desc, eps, TF_ATTR_FLOAT, "added to the variance; 0: 1e-5"),
    TF_A(tuff_layer_norm_desc, axes, TF_ATTR_INT, "how many trailing axes are normalised; 0: 1", .min = 0, .max = TUFF_MAX_RANK),
};
const tf_op tf_op_layer_norm = {
    .name = "layer_norm", .doc = "(x - mean) / sqrt(variance + eps) * gain + bias over the trailing axes", .operands = "x",
    .source = "Ba, Kiros, Hinton 2016, arXiv:1607.06450", .kind = TF_COMPOSITE, .attrs = layer_norm_attrs,
    .attr_count = TF_COUNT(layer_norm_attrs), .desc_size = sizeof(tuff_layer_norm_desc), .classes = TF_CLS_FLOAT,
    .infer = layer_norm_infer, .lower = layer_norm_lower, .reference = layer_norm_reference, .rel = 16,
};
tuff_tensor tuff_layer_norm(tuff_tensor x, const tuff_layer_norm_desc *desc) { return tf_add(x.graph, &tf_op_layer_norm, &x, 1, desc); }

static const tf_attr rms_norm_attrs[] = {
    TF_A(tuff_rms_norm_desc, gain, TF_ATTR_TENSOR, "the shape of the normalised axes; absent: 1"),
    TF_A(tuff_rms_norm_desc, eps, TF_ATTR_FLOAT, "added to the mean square; 0: 1e-6"),
    TF_A(tuff_rms_norm_desc, axes, TF_ATTR_INT, "how many trailing axes are normalised; 0: 1", .min = 0, .max = TUFF_MAX_RANK),
};
const tf_op tf_op_rms_norm = {
    .name = "rms_norm", .doc = "x / sqrt(mean(x^2) + eps) * gain over the trailing axes", .operands = "x",
    .source = "Zhang, Sennrich 2019, arXiv:1910.07467", .kind = TF_COMPOSITE, .attrs = rms_norm_attrs,
    .attr_count = TF_COUNT(rms_norm_attrs), .desc_size = sizeof(tuff_rms_norm_desc), .classes = TF_CLS_FLOAT,
    .infer = rms_norm_infer, .lower = rms_norm_lower, .reference = rms_norm_reference, .rel = 16,
};
tuff_tensor tuff_rms_norm(tuff_tensor x, const tuff_rms_norm_desc *desc) { return tf_add(x.graph, &tf_op_rms_norm, &x, 1, desc); }

/* ---- group_norm, batch_norm: parameters by channel ------------------------------------------------ */

typedef struct group_norm_desc {
    int32_t groups, axis;
    tuff_tensor gain, bias;
    float eps;
} group_norm_desc;

static bool channel_shape(tf_infer *c, uint32_t src, int32_t axis)
{
    const tf_type *p = c->type[src];
    if (!p)
        return true;
    if (tf_dtype_class(p->dtype) != TF_CLS_FLOAT)
        return tf_bad(c, TUFF_E_DTYPE, "%s is not a float dtype (%s)", tuff_dtype_name(p->dtype), tf_src_text(c, src));
    if (p->rank != 1 || !tf_dim_equal(p->dim[0], c->type[0]->dim[axis]))
        return tf_bad(c, TUFF_E_SHAPE, "%s needs one element for each of the %s channels of axis %d (%s)", tf_src_text(c, src),
                      tf_dim_text(c->g, c->type[0]->dim[axis]), (int)axis, tf_src_text(c, 0));
    return true;
}

static bool group_norm_infer(tf_infer *c)
{
    group_norm_desc *d = c->mut;
    const tf_type *x = c->type[0];
    d->eps = d->eps == 0 ? 1e-5f : d->eps;
    c->out[0] = *x;
    if (!check_float(c) || !tf_axis(c, d->axis, x->rank, &d->axis))
        return false;
    if (d->axis == 0)
        return tf_bad(c, TUFF_E_ATTRIBUTE, "axis is 0, the batch; channels are another axis (%s)", tf_src_text(c, 0));
    if (x->rank == TUFF_MAX_RANK && d->groups > 1)
        return tf_bad(c, TUFF_E_LIMIT, "the rank is %d; at most %d here (%s)", (int)x->rank, TUFF_MAX_RANK - 1, tf_src_text(c, 0));
    if (tf_dim_is_dynamic(x->dim[d->axis]))
        return tf_bad(c, TUFF_E_SHAPE, "the channels of axis %d are dynamic; they are fixed here (%s)", (int)d->axis, tf_src_text(c, 0));
    if (d->groups < 1 || x->dim[d->axis] % d->groups)
        return tf_bad(c, TUFF_E_ATTRIBUTE, "groups is %d; it divides the %lld channels of axis %d", (int)d->groups,
                      (long long)x->dim[d->axis], (int)d->axis);
    return channel_shape(c, 1, d->axis) && channel_shape(c, 2, d->axis);
}

/* [c] as [1, .., c, .., 1]. */
static tuff_tensor by_channel(tuff_tensor p, tuff_dtype t, int32_t rank, int32_t axis)
{
    if (!p.id)
        return p;
    int64_t d[TUFF_MAX_RANK];
    for (int32_t i = 0; i < rank; i++)
        d[i] = i == axis ? tf_ty(p)->dim[0] : 1;
    return to_compute(tf_reshaped(p, rank, d), t);
}

static void group_norm_lower(tf_lower *l)
{
    const group_norm_desc *d = l->desc;
    const tf_type *t = l->out_type;
    tuff_tensor x = tf_widened(l->src[0]);
    if (!x.id)
        return;
    /* Channels first: [b, channels, others]; a no-op view when axis is 1. */
    tuff_ints order = { .n = t->rank, .v = { 0, d->axis } }, back = { .n = t->rank };
    for (int32_t a = 1, n = 2; a < t->rank; a++)
        if (a != d->axis)
            order.v[n++] = a;
    tf_type moved = { .rank = t->rank };
    for (int32_t i = 0; i < t->rank; i++) {
        back.v[order.v[i]] = i;
        moved.dim[i] = t->dim[order.v[i]];
    }
    const int64_t rest = tf_dim_product(l->g, moved.dim, 2, t->rank);
    const int64_t rows[2] = { tf_dim_bin(l->g, TUFF_DIM_MUL, t->dim[0], d->groups),
                              tf_dim_bin(l->g, TUFF_DIM_MUL, rest, t->dim[d->axis] / d->groups) };
    if (d->axis != 1)
        x = tuff_permute(x, order);
    tuff_tensor y = tf_reshaped(rownorm(l, tf_reshaped(x, 2, rows), TF_ROWNORM_LAYER, d->eps, false), t->rank, moved.dim);
    if (d->axis != 1)
        y = tuff_permute(y, back);
    finish(l, y, by_channel(l->src[1], t->dtype, t->rank, d->axis), by_channel(l->src[2], t->dtype, t->rank, d->axis));
}

static uint64_t channel_stride(const tf_ref_tensor *x, int32_t axis)
{
    uint64_t stride = 1;
    for (int32_t a = axis + 1; a < x->rank; a++)
        stride *= (uint64_t)x->dim[a];
    return stride;
}

static tuff_status group_norm_reference(tf_ref *r)
{
    const group_norm_desc *d = r->desc;
    const tf_ref_tensor *x = r->src[0], *gain = r->src[1], *bias = r->src[2];
    const uint64_t channels = (uint64_t)x->dim[d->axis], groups = (uint64_t)d->groups, stride = channel_stride(x, d->axis);
    const uint64_t batch = (uint64_t)x->dim[0], each = batch ? x->n / batch : 0;
    double *sum = tf_arena_array(r->scratch, double, groups + 1), *square = tf_arena_array(r->scratch, double, groups + 1);
    if (!sum || !square)
        return TUFF_E_MEMORY;
    for (uint64_t b = 0; each && b < batch; b++) {
        const double *in = x->re + b * each, n = (double)(each / groups);
        double *y = r->out[0].re + b * each;
        memset(sum, 0, groups * sizeof *sum);
        memset(square, 0, groups * sizeof *square);
        for (uint64_t i = 0; i < each; i++)
            sum[i / stride % channels * groups / channels] += in[i];
        for (uint64_t i = 0; i < each; i++) {
            const uint64_t group = i / stride % channels * groups / channels;
            square[group] += (in[i] - sum[group] / n) * (in[i] - sum[group] / n);
        }
        for (uint64_t i = 0; i < each; i++) {
            const uint64_t c = i / stride % channels, group = c * groups / channels;
            const double v = (in[i] - sum[group] / n) / sqrt(square[group] / n + (double)d->eps);
            y[i] = v * (gain ? gain->re[c] : 1) + (bias ? bias->re[c] : 0);
        }
    }
    return TUFF_OK;
}

static const tf_attr group_norm_attrs[] = {
    TF_A(group_norm_desc, groups, TF_ATTR_INT, "divides the channels; equal to them: instance norm", .required = true, .min = 1, .max = INT32_MAX),
    TF_A(group_norm_desc, axis, TF_ATTR_INT, "the channels; not 0", .required = true),
    TF_A(group_norm_desc, gain, TF_ATTR_TENSOR, "[channels]; absent: 1"),
    TF_A(group_norm_desc, bias, TF_ATTR_TENSOR, "[channels]; absent: 0"),
    TF_A(group_norm_desc, eps, TF_ATTR_FLOAT, "added to the variance; 0: 1e-5"),
};
const tf_op tf_op_group_norm = {
    .name = "group_norm", .doc = "x[b,...]: layer_norm of each group of channels of axis with all other axes but the first", .operands = "x",
    .source = "Wu, He 2018, arXiv:1803.08494", .kind = TF_COMPOSITE, .attrs = group_norm_attrs, .attr_count = TF_COUNT(group_norm_attrs),
    .desc_size = sizeof(group_norm_desc), .classes = TF_CLS_FLOAT, .infer = group_norm_infer, .lower = group_norm_lower,
    .reference = group_norm_reference, .rel = 16,
};
tuff_tensor tuff_group_norm(tuff_tensor x, int32_t groups, int32_t axis, const tuff_group_norm_desc *desc)
{
    group_norm_desc d = { .groups = groups, .axis = axis };
    if (desc) {
        d.gain = desc->gain;
        d.bias = desc->bias;
        d.eps = desc->eps;
    }
    return tf_add(x.graph, &tf_op_group_norm, &x, 1, &d);
}

typedef struct batch_norm_desc {
    int32_t axis;
    tuff_tensor gain, bias;
    float eps;
} batch_norm_desc;

static bool batch_norm_infer(tf_infer *c)
{
    batch_norm_desc *d = c->mut;
    d->eps = d->eps == 0 ? 1e-5f : d->eps;
    c->out[0] = *c->type[0];
    if (!check_float(c) || !tf_axis(c, d->axis, c->type[0]->rank, &d->axis))
        return false;
    for (uint32_t i = 1; i < 5; i++)
        if (!channel_shape(c, i, d->axis))
            return false;
    return true;
}

static void batch_norm_lower(tf_lower *l)
{
    const batch_norm_desc *d = l->desc;
    const tuff_dtype t = l->out_type->dtype, wide = t == TUFF_F64 ? TUFF_F64 : TUFF_F32;
    tuff_tensor p[4];
    for (uint32_t i = 0; i < 4; i++)
        p[i] = by_channel(l->src[i + 1], t, l->out_type->rank, d->axis);
    const tuff_tensor eps = tuff_literal(l->g, (double)d->eps, wide);
    finish(l, tuff_mul(tuff_sub(to_compute(l->src[0], t), p[0]), tuff_rsqrt(tuff_add(p[1], eps))), p[2], p[3]);
}

static tuff_status batch_norm_reference(tf_ref *r)
{
    const batch_norm_desc *d = r->desc;
    const tf_ref_tensor *x = r->src[0], *gain = r->src[3], *bias = r->src[4];
    const uint64_t stride = channel_stride(x, d->axis), channels = (uint64_t)x->dim[d->axis];
    for (uint64_t i = 0; i < x->n; i++) {
        const uint64_t c = i / stride % channels;
        const double v = (x->re[i] - r->src[1]->re[c]) / sqrt(r->src[2]->re[c] + (double)d->eps);
        r->out[0].re[i] = v * (gain ? gain->re[c] : 1) + (bias ? bias->re[c] : 0);
    }
    return TUFF_OK;
}

static const tf_attr batch_norm_attrs[] = {
    TF_A(batch_norm_desc, axis, TF_ATTR_INT, "the channels", .required = true),
    TF_A(batch_norm_desc, gain, TF_ATTR_TENSOR, "[channels]; absent: 1"),
    TF_A(batch_norm_desc, bias, TF_ATTR_TENSOR, "[channels]; absent: 0"),
    TF_A(batch_norm_desc, eps, TF_ATTR_FLOAT, "added to the variance; 0: 1e-5"),
};
const tf_op tf_op_batch_norm = {
    .name = "batch_norm", .doc = "(x - mean[c]) / sqrt(variance[c] + eps) * gain[c] + bias[c], c along axis", .operands = "x mean variance",
    .source = "Ioffe, Szegedy 2015, arXiv:1502.03167", .kind = TF_COMPOSITE, .attrs = batch_norm_attrs,
    .attr_count = TF_COUNT(batch_norm_attrs), .desc_size = sizeof(batch_norm_desc), .classes = TF_CLS_FLOAT, .infer = batch_norm_infer,
    .lower = batch_norm_lower, .reference = batch_norm_reference, .rel = 16,
};
tuff_tensor tuff_batch_norm(tuff_tensor x, tuff_tensor mean, tuff_tensor variance, int32_t axis, const tuff_batch_norm_desc *desc)
{
    batch_norm_desc d = { .axis = axis };
    if (desc) {
        d.gain = desc->gain;
        d.bias = desc->bias;
        d.eps = desc->eps;
    }
    const tuff_tensor src[3] = { x, mean, variance };
    return tf_add(x.graph, &tf_op_batch_norm, src, 3, &d);
}

/* ---- the anchor ----------------------------------------------------------------------------------- */

static bool rownorm_infer(tf_infer *c)
{
    c->out[0] = *c->type[0];
    if (c->type[0]->rank != 2)
        return tf_bad(c, TUFF_E_SHAPE, "x has rank %d; it is 2 (%s)", (int)c->type[0]->rank, tf_src_text(c, 0));
    return check_float(c);
}

static tuff_status rownorm_reference(tf_ref *r)
{
    const tf_rownorm_desc *d = r->desc;
    const uint64_t n = (uint64_t)r->src[0]->dim[1];
    for (uint64_t i = 0; n && i < r->src[0]->n; i += n) {
        const row line = { r->src[0]->re + i, r->out[0].re + i, n, 1 };
        if (d->norm == TF_ROWNORM_SOFTMAX || d->norm == TF_ROWNORM_LOG_SOFTMAX)
            softmax_row(line, d->norm == TF_ROWNORM_LOG_SOFTMAX);
        else
            layer_row(line, (double)d->eps, d->norm == TF_ROWNORM_LAYER);
    }
    return TUFF_OK;
}

static bool rownorm_configure(tf_kernel_build *k);

static const char *const rownorm_names[] = { "softmax", "log_softmax", "layer", "rms", NULL };
static const tf_attr rownorm_attrs[] = {
    TF_A(tf_rownorm_desc, norm, TF_ATTR_ENUM, "what is computed along inner", .choices = rownorm_names),
    TF_A(tf_rownorm_desc, eps, TF_ATTR_FLOAT, "layer, rms: added under the root"),
    TF_A(tf_rownorm_desc, across, TF_ATTR_BOOL, "neighbouring rows are neighbours in memory"),
};
static const tf_anchor rownorm_anchor = {
    .name = "rownorm", .loads = { { .name = "x", .widths = 5, .reread = 2 } }, .stores = { { .name = "y", .widths = 5 } },
    .configure = rownorm_configure,
};
const tf_op tf_op_anchor_rownorm = {
    .name = "_rownorm", .doc = "x[outer,inner] -> y[outer,inner], each row normalised", .operands = "x", .kind = TF_ANCHOR, .internal = true,
    .attrs = rownorm_attrs, .attr_count = TF_COUNT(rownorm_attrs), .desc_size = sizeof(tf_rownorm_desc), .infer = rownorm_infer,
    .reference = rownorm_reference, .anchor = &rownorm_anchor, .rel = 64,
};

/* Lanes that share a row: one on CPUs, where shared memory and barriers cost more than they give; elsewhere about one
 * per four vectors, and no more than leaves 32 neighbouring rows to neighbouring lanes when those are adjacent. */
static uint32_t lanes_per_row(const tf_kernel_build *k, uint32_t wg, int64_t rows, int64_t vectors, bool across)
{
    if (k->limits->cpu || (across && rows >= 512 * (int64_t)tf_units(k->limits)))
        return 1;
    return TF_MIN(tf_pow2_ceil((uint64_t)((vectors + 3) / 4)), across ? TF_MAX(wg / 32, 1) : wg);
}

static bool rownorm_configure(tf_kernel_build *k)
{
    const tf_rownorm_desc *d = k->desc;
    const tf_type *x = k->src[0];
    const int64_t rows = tf_dim_bound(k->g, x->dim[0]), inner = tf_dim_bound(k->g, x->dim[1]), vectors = TF_MAX((inner + 3) / 4, 1);
    uint32_t wg = tf_row_group(k->limits, rows), lanes = lanes_per_row(k, wg, rows, vectors, d->across);
    while (k->limits->cpu && lanes < k->limits->max_invocations && 2 * vectors / (3 * (int64_t)lanes) > TF_CPU_TRIPS) /* two loops, unrolled 3 times or more */
        lanes *= 2;
    wg = TF_MAX(wg, lanes);
    lanes = tf_tuned_lanes(k, k->limits->cpu ? lanes : 1, lanes, wg, (uint64_t)d->norm << 1 | d->across);
    const int64_t each = (vectors + lanes - 1) / lanes;
    const bool single = each <= 8;
    const uint32_t unroll = single ? (uint32_t)each : tf_unroll(each, k->limits->cpu ? 6 : 8), covered = 4 * lanes * unroll;
    const bool subgroup = lanes == wg && k->limits->subgroup_arithmetic && k->limits->subgroup_basic;
    const bool masked = tf_dim_is_dynamic(x->dim[1]) || inner % covered != 0;
    const bool octets = tf_emit_octets(k->limits) && lanes == 1 && !d->across && !masked && unroll % 2 == 0;

    tf_define(k, "NORM", "%d", (int)d->norm);
    tf_define(k, "WGSIZE", "%u", wg);
    tf_define(k, "LANES", "%u", lanes);
    tf_define(k, "ACROSS", "%d", d->across);
    tf_define(k, "UNROLL", "%u", unroll);
    tf_define(k, "SINGLE", "%d", single);
    tf_define(k, "MASKED", "%d", masked);
    tf_define(k, "OCTETS", "%d", octets);
    tf_define(k, "SUBGROUP", "%d", subgroup);
    tf_define(k, "EPS", "%.9g", (double)d->eps);
    tf_define_dim(k, "OUTER", x->dim[0]);
    tf_define_dim(k, "INNER", x->dim[1]);
    tf_define_dim(k, "TRIPS", single ? 1 : tf_dim_ceildiv(k->g, x->dim[1], covered));

    k->source = tf_shader_text("anchors/rownorm.glsl");
    k->algorithm = lanes == 1 ? "row per invocation" : lanes == wg ? "row per workgroup" : "row shared by lanes";
    k->local[0] = wg;
    k->local[1] = k->local[2] = 1;
    k->groups = tf_dim_ceildiv(k->g, x->dim[0], wg / lanes);
    k->shared_bytes = lanes > 1 ? 4 * wg : 0;
    k->need_subgroup_arithmetic = subgroup;
    k->flops = (uint64_t)rows * (uint64_t)inner * (d->norm == TF_ROWNORM_LAYER ? 8 : d->norm == TF_ROWNORM_RMS ? 4 : 24);
    k->loads[0] = (tf_hook){ .name = "x", .widths = !octets ? 4 : d->norm == TF_ROWNORM_LAYER ? 8 + 4 : 8, .reread = !single };
    k->stores[0] = (tf_hook){ .name = "y", .widths = octets ? 8 : 4 };
    return true;
}
