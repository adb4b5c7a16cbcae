/* segment.c - segmented reductions: rows of x folded by the segment that each belongs to, in any order.
 *
 * The keys are sorted, stably; the anchor _segment_starts finds where each segment begins in that order, and _segment folds
 * it. No atomics, so the result never depends on the order of execution. */
#include "anchors.h"

#include <math.h>
#include <string.h>

typedef struct segment_desc { int64_t count; tuff_segment_mode mode; int32_t axis; } segment_desc;
typedef struct starts_desc { tuff_shape rows; } starts_desc; /* rank 1: one dim, which may be dynamic */
typedef struct fold_desc { int32_t fold; } fold_desc;        /* 0 sum, 1 largest, 2 smallest */

static const char *const modes[] = { "sum", "mean", "max", "min", NULL };

bool tf_segments(tuff_graph *g, const tf_limits *limits, tuff_tensor keys, int64_t rows, tuff_tensor *order, tuff_tensor *start)
{
    (void)limits;
    *order = tuff_argsort(keys, 0, NULL);
    if (!order->id)
        return false;
    const starts_desc d = { .rows = { 1, { rows } } };
    const tuff_tensor sorted = tuff_gather(keys, *order, 0);
    *start = tf_add(g, &tf_op_anchor_segment_starts, &sorted, 1, &d);
    return start->id != 0;
}

/* ---- the row ------------------------------------------------------------------------------------- */

static bool infer(tf_infer *c)
{
    segment_desc *d = c->mut;
    const tf_type *x = c->type[0], *keys = c->type[1];
    if (!(tf_dtype_is_float(x->dtype) || x->dtype == TUFF_I32 || x->dtype == TUFF_U32) || x->dtype == TUFF_F64)
        return tf_bad(c, TUFF_E_DTYPE, "%s is not among its dtypes: f32 f16 bf16 i32 u32 (%s)", tuff_dtype_name(x->dtype), tf_src_text(c, 0));
    if (d->mode == TUFF_SEGMENT_MEAN && !tf_dtype_is_float(x->dtype))
        return tf_bad(c, TUFF_E_DTYPE, "a mean of %s is no %s; cast it (%s)", tuff_dtype_name(x->dtype), tuff_dtype_name(x->dtype), tf_src_text(c, 0));
    if (!tf_axis(c, d->axis, x->rank, &d->axis))
        return false;
    if (!tf_dtype_is_int(keys->dtype) || keys->rank != 1 || !tf_dim_equal(keys->dim[0], x->dim[d->axis]))
        return tf_bad(c, TUFF_E_SHAPE, "segments are integers, one for each element of axis %d (%s; %s)", (int)d->axis, tf_src_text(c, 0), tf_src_text(c, 1));
    c->out[0] = *x;
    c->out[0].dim[d->axis] = d->count;
    return true;
}

static double empty_value(int fold, tuff_dtype t)
{
    if (fold == 0)
        return 0;
    if (tf_dtype_is_float(t))
        return fold == 1 ? -INFINITY : INFINITY;
    if (t == TUFF_U32)
        return fold == 1 ? 0 : 4294967295.0;
    return fold == 1 ? -2147483648.0 : 2147483647.0;
}

static double joined(int fold, double a, double x)
{
    return fold == 0 ? a + x : fold == 1 ? (x > a ? x : a) : (x < a ? x : a);
}

static int fold_of(tuff_segment_mode mode) { return mode == TUFF_SEGMENT_MAX ? 1 : mode == TUFF_SEGMENT_MIN ? 2 : 0; }

static tuff_status reference(tf_ref *r)
{
    const segment_desc *d = r->desc;
    const tf_ref_tensor *x = r->src[0], *keys = r->src[1];
    tf_ref_tensor *y = &r->out[0];
    uint64_t cols = 1;
    const uint64_t n = (uint64_t)x->dim[d->axis], count = (uint64_t)d->count;
    for (int32_t a = d->axis + 1; a < x->rank; a++)
        cols *= (uint64_t)x->dim[a];
    double *members = tf_arena_array(r->scratch, double, count + 1);
    if (!members)
        return TUFF_E_MEMORY;
    for (uint64_t i = 0; i < y->n; i++)
        y->re[i] = empty_value(fold_of(d->mode), x->dtype);
    for (uint64_t i = 0; i < n; i++)
        if (keys->re[i] >= 0 && keys->re[i] < (double)count)
            members[(uint64_t)keys->re[i]]++;
    for (uint64_t i = 0; n && i < x->n; i++) {
        const double key = keys->re[i / cols % n];
        if (key < 0 || key >= (double)count)
            continue;
        const uint64_t to = (i / cols / n * count + (uint64_t)key) * cols + i % cols;
        y->re[to] = joined(fold_of(d->mode), y->re[to], x->re[i]);
    }
    for (uint64_t i = 0; d->mode == TUFF_SEGMENT_MEAN && i < y->n; i++)
        y->re[i] /= TF_MAX(members[i / cols % count], 1);
    return TUFF_OK;
}

static void lower(tf_lower *l)
{
    const segment_desc *d = l->desc;
    const tf_type *t = tf_ty(l->src[0]);
    const int64_t outer = tf_dim_product(l->g, t->dim, 0, d->axis), cols = tf_dim_product(l->g, t->dim, d->axis + 1, t->rank);
    tuff_tensor order, start;
    if (!tf_segments(l->g, l->limits, tf_cast_to(l->src[1], TUFF_I32), d->count, &order, &start))
        return;
    const tuff_tensor src[3] = { tf_reshaped(tf_widened(l->src[0]), 3, (int64_t[3]){ outer, t->dim[d->axis], cols }), order, start };
    tuff_tensor y = tf_add(l->g, &tf_op_anchor_segment, src, 3, &(fold_desc){ fold_of(d->mode) });
    if (d->mode == TUFF_SEGMENT_MEAN) {
        const tuff_slice_desc axis = { .axes = { 1, { 0 } } };
        const tuff_tensor end = tuff_slice(start, (tuff_ints){ 1, { 1 } }, (tuff_ints){ 1, { TUFF_END } }, &axis);
        const tuff_tensor members = tuff_sub(end, tuff_slice(start, (tuff_ints){ 1, { 0 } }, (tuff_ints){ 1, { -1 } }, &axis));
        const tuff_tensor least = tuff_maximum(tuff_cast(members, TUFF_F32), tuff_literal(l->g, 1, TUFF_F32));
        y = tuff_div(y, tf_reshaped(least, 3, (int64_t[3]){ 1, d->count, 1 }));
    }
    if (y.id)
        l->out[0] = tf_cast_to(tf_reshaped(y, l->out_type->rank, l->out_type->dim), l->out_type->dtype);
}

static const tf_attr attrs[] = {
    TF_A(segment_desc, count, TF_ATTR_I64, "number of segments", .required = true, .min = 1, .max = 2147483647),
    TF_A(segment_desc, mode, TF_ATTR_ENUM, "what is made of a segment", .choices = modes),
    TF_A(segment_desc, axis, TF_ATTR_INT, "the axis whose elements belong to segments"),
};
const tf_op tf_op_segment_reduce = {
    .name = "segment_reduce", .doc = "x[A..,n,B..], segments[n] -> y[A..,count,B..]: the elements of each segment folded; others are skipped",
    .operands = "x segments", .kind = TF_COMPOSITE, .attrs = attrs, .attr_count = TF_COUNT(attrs), .desc_size = sizeof(segment_desc),
    .classes = TF_CLS_REAL, .infer = infer, .lower = lower, .reference = reference, .rel = 2,
};
tuff_tensor tuff_segment_reduce(tuff_tensor x, tuff_tensor segments, int64_t count, const tuff_segment_desc *desc)
{
    const segment_desc d = { count, desc ? desc->mode : TUFF_SEGMENT_SUM, desc ? desc->axis : 0 };
    const tuff_tensor src[2] = { x, segments };
    return tf_add(x.graph, &tf_op_segment_reduce, src, 2, &d);
}

/* ---- _segment_starts ------------------------------------------------------------------------------ */

static bool starts_infer(tf_infer *c)
{
    const starts_desc *d = c->desc;
    if (c->type[0]->rank != 1 || c->type[0]->dtype != TUFF_I32 || d->rows.rank != 1)
        return tf_bad(c, TUFF_E_SHAPE, "keys are no i32 vector, or there is no number of rows (%s)", tf_src_text(c, 0));
    c->out[0] = *c->type[0];
    c->out[0].dim[0] = tf_dim_bin(c->g, TUFF_DIM_ADD, d->rows.dim[0], 1);
    return true;
}

static tuff_status starts_reference(tf_ref *r)
{
    const tf_ref_tensor *keys = r->src[0];
    for (uint64_t row = 0; row < r->out[0].n; row++) {
        uint64_t below = 0;
        while (below < keys->n && keys->re[below] < (double)row)
            below++;
        r->out[0].re[row] = (double)below;
    }
    return TUFF_OK;
}

static bool starts_configure(tf_kernel_build *k)
{
    const starts_desc *d = k->desc;
    tf_define(k, "WGSIZE", "64");
    tf_define_dim(k, "ROWS", d->rows.dim[0]);
    tf_define_dim(k, "COUNT", k->src[0]->dim[0]);
    k->source = tf_shader_text("anchors/starts.glsl");
    k->algorithm = "bisection per invocation";
    k->local[0] = 64;
    k->local[1] = k->local[2] = 1;
    k->groups = tf_dim_ceildiv(k->g, k->out[0].dim[0], 64);
    tf_count_bound(k->g, &k->out[0], &k->flops);
    k->loads[0] = (tf_hook){ .name = "key", .widths = 1, .reread = 16 };
    k->stores[0] = (tf_hook){ .name = "y", .widths = 1 };
    return true;
}

static const tf_attr starts_attrs[] = { TF_A(starts_desc, rows, TF_ATTR_SHAPE, "one dim: the number of segments", .required = true) };
static const tf_anchor starts_anchor = {
    .name = "starts", .loads = { { .name = "key", .widths = 1, .reread = 16 } }, .stores = { { .name = "y", .widths = 1 } }, .configure = starts_configure,
};
const tf_op tf_op_anchor_segment_starts = {
    .name = "_segment_starts", .doc = "ascending keys[n] -> start[rows+1], the number of keys below each row", .operands = "keys", .kind = TF_ANCHOR,
    .internal = true, .attrs = starts_attrs, .attr_count = TF_COUNT(starts_attrs), .desc_size = sizeof(starts_desc), .infer = starts_infer,
    .reference = starts_reference, .anchor = &starts_anchor,
};

/* ---- _segment: u[outer, n, cols], order[n], start[rows + 1] -> y[outer, rows, cols] ---------------- */

static bool fold_infer(tf_infer *c)
{
    if (c->type[0]->rank != 3 || c->type[1]->rank != 1 || c->type[2]->rank != 1)
        return tf_bad(c, TUFF_E_SHAPE, "ranks are %d, %d, %d; they are 3, 1, 1", (int)c->type[0]->rank, (int)c->type[1]->rank, (int)c->type[2]->rank);
    if (c->type[1]->dtype != TUFF_I32 || c->type[2]->dtype != TUFF_I32)
        return tf_bad(c, TUFF_E_DTYPE, "order and start are i32");
    c->out[0] = *c->type[0];
    c->out[0].dim[1] = tf_dim_bin(c->g, TUFF_DIM_SUB, c->type[2]->dim[0], 1);
    return true;
}

static tuff_status fold_reference(tf_ref *r)
{
    const fold_desc *d = r->desc;
    const tf_ref_tensor *u = r->src[0];
    const uint64_t n = (uint64_t)u->dim[1], cols = (uint64_t)u->dim[2], rows = (uint64_t)r->out[0].dim[1];
    for (uint64_t i = 0; i < r->out[0].n; i++) {
        const uint64_t o = i / cols / rows, row = i / cols % rows;
        double re = empty_value(d->fold, u->dtype), im = 0;
        for (uint64_t j = (uint64_t)r->src[2]->re[row]; j < (uint64_t)r->src[2]->re[row + 1] && j < n; j++) {
            const uint64_t from = (o * n + (uint64_t)r->src[1]->re[j]) * cols + i % cols;
            re = joined(d->fold, re, u->re[from]);
            im += u->im ? u->im[from] : 0;
        }
        r->out[0].re[i] = re;
        if (r->out[0].im)
            r->out[0].im[i] = im;
    }
    return TUFF_OK;
}

static bool fold_configure(tf_kernel_build *k)
{
    static const char *const infinities[3] = { "0", "uintBitsToFloat(0xFF800000u)", "uintBitsToFloat(0x7F800000u)" };
    const fold_desc *d = k->desc;
    const tf_type *u = k->src[0], *y = &k->out[0];
    int width = tf_define_type(k, u->dtype);
    if (tf_dim_bound(k->g, u->dim[2]) < 4)
        width = 1;
    const int64_t vectors = tf_dim_ceildiv(k->g, u->dim[2], width);
    const int64_t work = tf_dim_bin(k->g, TUFF_DIM_MUL, tf_dim_bin(k->g, TUFF_DIM_MUL, y->dim[0], y->dim[1]), vectors);
    tf_define(k, "WIDTH", "%d", width);
    tf_define(k, "WGSIZE", "64");
    tf_define(k, "FOLD", "%d", (int)d->fold);
    if (d->fold == 0 || tf_dtype_is_float(u->dtype))
        tf_define(k, "EMPTY", "%s", infinities[d->fold]);
    else
        tf_define(k, "EMPTY", "T(0x%08Xu)", u->dtype == TUFF_U32 ? (d->fold == 1 ? 0u : 0xFFFFFFFFu) : (d->fold == 1 ? 0x80000000u : 0x7FFFFFFFu));
    tf_define_dim(k, "OUTER", y->dim[0]);
    tf_define_dim(k, "ROWS", y->dim[1]);
    tf_define_dim(k, "COUNT", u->dim[1]);
    tf_define_dim(k, "VECTORS", vectors);
    k->source = tf_shader_text("anchors/segment.glsl");
    k->algorithm = "segment per invocation";
    k->local[0] = 64;
    k->local[1] = k->local[2] = 1;
    k->groups = tf_dim_ceildiv(k->g, work, 64);
    tf_count_bound(k->g, u, &k->flops);
    k->loads[0] = (tf_hook){ .name = "u", .widths = (uint8_t)width };
    k->loads[1] = (tf_hook){ .name = "order", .widths = 1, .reread = 255 };
    k->loads[2] = (tf_hook){ .name = "start", .widths = 1, .reread = 255 };
    k->stores[0] = (tf_hook){ .name = "y", .widths = (uint8_t)width };
    return true;
}

static const tf_attr fold_attrs[] = { TF_A(fold_desc, fold, TF_ATTR_INT, "0: sum, 1: the largest, 2: the smallest", .min = 0, .max = 2) };
static const tf_anchor fold_anchor = {
    .name = "segment", .loads = { { .name = "u", .widths = 5 }, { .name = "order", .widths = 1, .reread = 255 }, { .name = "start", .widths = 1, .reread = 255 } },
    .stores = { { .name = "y", .widths = 5 } }, .configure = fold_configure,
};
const tf_op tf_op_anchor_segment = {
    .name = "_segment", .doc = "u[outer,n,cols], order[n], start[rows+1] -> y[outer,rows,cols]: y[r] folds u[order[j]], start[r] <= j < start[r+1]",
    .operands = "u order start", .kind = TF_ANCHOR, .internal = true, .attrs = fold_attrs, .attr_count = TF_COUNT(fold_attrs),
    .desc_size = sizeof(fold_desc), .infer = fold_infer, .reference = fold_reference, .anchor = &fold_anchor, .rel = 2,
};
