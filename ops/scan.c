/* scan.c - cumsum and cumprod along an axis.
 *
 * The anchor _scan runs along the rows of a view [outer, inner]; a reversed scan is one between two flips. Few long
 * rows are cut into chunks: fold each chunk, scan the folded values exclusively, then scan the chunks from those carries. */
#include "anchors.h"

#include <string.h>

typedef struct scan_desc {
    int32_t axis;
    bool reverse, exclusive;
} scan_desc;

static uint32_t wrap_mul(double a, double b)
{
    return (uint32_t)(int64_t)a * (uint32_t)(int64_t)b;
}

static tf_scalar step(bool product, bool integer, tf_scalar acc, tf_scalar x)
{
    if (!product)
        return (tf_scalar){ acc.re + x.re, acc.im + x.im };
    if (integer)
        return (tf_scalar){ (double)wrap_mul(acc.re, x.re), 0 };
    return (tf_scalar){ acc.re * x.re - acc.im * x.im, acc.re * x.im + acc.im * x.re };
}

static bool infer(tf_infer *c)
{
    scan_desc *d = c->mut;
    c->out[0] = *c->type[0];
    if (!(tf_dtype_class(c->type[0]->dtype) & TF_CLS_NUM))
        return tf_bad(c, TUFF_E_DTYPE, "%s is not among its dtypes: float int c64 (%s)", tuff_dtype_name(c->type[0]->dtype), tf_src_text(c, 0));
    return tf_axis(c, d->axis, c->type[0]->rank, &d->axis);
}

static tuff_status reference(tf_ref *r, bool product)
{
    const scan_desc *d = r->desc;
    const tf_ref_tensor *x = r->src[0];
    tf_ref_tensor *y = &r->out[0];
    const bool integer = tf_dtype_is_int(x->dtype);
    uint64_t stride = 1;
    for (int32_t a = d->axis + 1; a < x->rank; a++)
        stride *= (uint64_t)x->dim[a];
    const uint64_t n = (uint64_t)x->dim[d->axis];
    for (uint64_t o = 0; n && o < x->n / n; o++) {
        tf_scalar acc = { product ? 1 : 0, 0 };
        for (uint64_t i = 0; i < n; i++) {
            const uint64_t at = o / stride * stride * n + o % stride + (d->reverse ? n - 1 - i : i) * stride;
            const tf_scalar next = step(product, integer, acc, (tf_scalar){ x->re[at], x->im ? x->im[at] : 0 });
            const tf_scalar v = d->exclusive ? acc : next;
            y->re[at] = v.re;
            if (y->im)
                y->im[at] = v.im;
            acc = next;
        }
    }
    return TUFF_OK;
}
static tuff_status cumsum_reference(tf_ref *r) { return reference(r, false); }
static tuff_status cumprod_reference(tf_ref *r) { return reference(r, true); }

/* Elements per chunk, 0: rows stay whole. */
static int64_t chunk_for(const tuff_graph *g, const tf_limits *l, int64_t rows, int64_t inner)
{
    const int64_t r = TF_MAX(tf_dim_bound(g, rows), 1), n = tf_dim_bound(g, inner);
    const int64_t want = (int64_t)tf_units(l) * (l->cpu ? 32 : 8), least = l->cpu ? 128 : 2048;
    if (r >= want || n < 4 * least)
        return 0;
    const int64_t parts = (want + r - 1) / r;
    return (int64_t)tf_align_up((uint64_t)TF_MAX((n + parts - 1) / parts, least), 64);
}

static tuff_tensor scan_rows(tf_lower *l, tuff_tensor x, tf_scan_desc d)
{
    const int64_t chunk = x.id ? chunk_for(l->g, l->limits, tf_ty(x)->dim[0], tf_ty(x)->dim[1]) : 0;
    if (chunk) {
        const tf_fold_desc fold = { .fold = d.product ? TF_FOLD_PROD : TF_FOLD_SUM, .chunk = chunk };
        const tf_scan_desc carry = { .product = d.product, .exclusive = true };
        const tuff_tensor parts = tf_add(l->g, &tf_op_anchor_reduce, &x, 1, &fold);
        d.chunk = chunk;
        d.carry = scan_rows(l, parts, carry);
        if (!d.carry.id)
            return d.carry;
    }
    return tf_add(l->g, &tf_op_anchor_scan, &x, 1, &d);
}

static void lower(tf_lower *l, bool product)
{
    const scan_desc *d = l->desc;
    const tuff_ints axis = { 1, { d->axis } };
    tuff_tensor x = tf_widened(l->src[0]);
    if (d->reverse)
        x = tuff_flip(x, axis);
    const tf_scan_desc s = { .product = product, .exclusive = d->exclusive, .across = d->axis + 1 < l->out_type->rank };
    tuff_tensor y = tf_from_rows(scan_rows(l, tf_as_rows(x, d->axis), s), l->out_type, d->axis);
    if (d->reverse)
        y = tuff_flip(y, axis);
    if (y.id)
        l->out[0] = tf_cast_to(y, l->out_type->dtype);
}
static void cumsum_lower(tf_lower *l) { lower(l, false); }
static void cumprod_lower(tf_lower *l) { lower(l, true); }

static const tf_attr attrs[] = {
    TF_A(scan_desc, axis, TF_ATTR_INT, "the axis that runs", .required = true),
    TF_A(scan_desc, reverse, TF_ATTR_BOOL, "from the last element"),
    TF_A(scan_desc, exclusive, TF_ATTR_BOOL, "element i leaves out x[i]"),
};

#define SCAN(NAME, DOC)                                                                                               \
    const tf_op tf_op_##NAME = {                                                                                      \
        .name = #NAME, .doc = DOC, .operands = "x", .kind = TF_COMPOSITE, .attrs = attrs,                             \
        .attr_count = TF_COUNT(attrs), .desc_size = sizeof(scan_desc), .classes = TF_CLS_NUM,                         \
        .infer = infer, .lower = NAME##_lower, .reference = NAME##_reference, .rel = 8,                               \
    };                                                                                                                \
    tuff_tensor tuff_##NAME(tuff_tensor x, int32_t axis, const tuff_scan_desc *desc)                                  \
    {                                                                                                                 \
        const scan_desc d = { axis, desc && desc->reverse, desc && desc->exclusive };                                 \
        return tf_add(x.graph, &tf_op_##NAME, &x, 1, &d);                                                             \
    }

SCAN(cumsum, "running sum along axis")
SCAN(cumprod, "running product along axis")

/* ---- the anchor ---------------------------------------------------------------------------------- */

static bool anchor_infer(tf_infer *c)
{
    const tf_scan_desc *d = c->desc;
    const tf_type *x = c->type[0];
    if (x->rank != 2)
        return tf_bad(c, TUFF_E_SHAPE, "x has rank %d; it is 2 (%s)", (int)x->rank, tf_src_text(c, 0));
    if (d->chunk < 0 || d->chunk % 4)
        return tf_bad(c, TUFF_E_ATTRIBUTE, "chunk is %lld; it is a multiple of 4", (long long)d->chunk);
    if (c->type[1] && (c->type[1]->rank != 2 || c->type[1]->dtype != x->dtype))
        return tf_bad(c, TUFF_E_SHAPE, "the carry is no matrix of x's dtype (%s)", tf_src_text(c, 1));
    c->out[0] = *x;
    return true;
}

static tuff_status anchor_reference(tf_ref *r)
{
    const tf_scan_desc *d = r->desc;
    const tf_ref_tensor *x = r->src[0], *carry = r->src[1];
    const uint64_t inner = (uint64_t)x->dim[1], chunk = d->chunk ? (uint64_t)d->chunk : inner;
    const uint64_t parts = carry ? (uint64_t)carry->dim[1] : 1;
    tf_scalar acc = { 0 };
    for (uint64_t at = 0; at < x->n; at++) {
        const uint64_t i = at % inner, p = i / chunk;
        if (i % chunk == 0) {
            acc = (tf_scalar){ d->product ? 1 : 0, 0 };
            if (carry)
                acc = (tf_scalar){ carry->re[at / inner * parts + p], carry->im ? carry->im[at / inner * parts + p] : 0 };
        }
        const tf_scalar next = step(d->product, tf_dtype_is_int(x->dtype), acc, (tf_scalar){ x->re[at], x->im ? x->im[at] : 0 });
        const tf_scalar v = d->exclusive ? acc : next;
        r->out[0].re[at] = v.re;
        if (r->out[0].im)
            r->out[0].im[at] = v.im;
        acc = next;
    }
    return TUFF_OK;
}

/* Lanes that share a part: as for reductions, one on CPUs. */
static uint32_t lanes_per_part(const tf_kernel_build *k, uint32_t wg, int64_t rows, int64_t vectors, bool across)
{
    if (k->limits->cpu || (across && rows >= 512 * (int64_t)tf_units(k->limits)))
        return 1;
    return TF_MIN(tf_pow2_ceil((uint64_t)((vectors + 3) / 4)), across ? TF_MAX(wg / 32, 1) : wg);
}

static bool configure(tf_kernel_build *k)
{
    const tf_scan_desc *d = k->desc;
    const tf_type *x = k->src[0];
    const int width = tf_define_type(k, x->dtype);
    const int64_t chunk = d->chunk ? d->chunk : x->dim[1], length = tf_dim_bound(k->g, chunk);
    const int64_t parts = d->chunk ? tf_dim_ceildiv(k->g, x->dim[1], d->chunk) : 1;
    const int64_t rows = tf_dim_bin(k->g, TUFF_DIM_MUL, x->dim[0], parts), rows_bound = tf_dim_bound(k->g, rows);
    const int64_t vectors = TF_MAX((length + width - 1) / width, 1);
    const uint32_t wg = tf_row_group(k->limits, rows_bound), lanes = lanes_per_part(k, wg, rows_bound, vectors, d->across);
    const uint32_t unroll = tf_unroll((vectors + lanes - 1) / lanes, 4);
    const bool whole = !tf_dim_is_dynamic(x->dim[1]) && x->dim[1] % (lanes * unroll * (uint32_t)width) == 0 &&
                       length % (lanes * unroll * (uint32_t)width) == 0;

    tf_define(k, "PRODUCT", "%d", d->product);
    tf_define(k, "EXCLUSIVE", "%d", d->exclusive);
    tf_define(k, "COMPLEX", "%d", x->dtype == TUFF_C64);
    tf_define(k, "CARRY", "%d", k->n_src > 1 && k->src[1] != NULL);
    tf_define(k, "WIDTH", "%d", width);
    tf_define(k, "WGSIZE", "%u", wg);
    tf_define(k, "LANES", "%u", lanes);
    tf_define(k, "ACROSS", "%d", d->across);
    tf_define(k, "UNROLL", "%u", unroll);
    tf_define(k, "MASKED", "%d", !whole);
    tf_define_dim(k, "OUTER", x->dim[0]);
    tf_define_dim(k, "INNER", x->dim[1]);
    tf_define_dim(k, "CHUNK", chunk);
    tf_define_dim(k, "PARTS", parts);

    k->source = tf_shader_text("anchors/scan.glsl");
    k->algorithm = lanes == 1 ? "row per invocation" : lanes == wg ? "row per workgroup" : "row shared by lanes";
    k->local[0] = wg;
    k->local[1] = k->local[2] = 1;
    k->groups = tf_dim_ceildiv(k->g, rows, wg / lanes);
    k->shared_bytes = lanes > 1 ? 8 * wg : 0;
    tf_count_bound(k->g, x, &k->flops);
    k->loads[0] = (tf_hook){ .name = "x", .widths = (uint8_t)width };
    k->loads[1] = (tf_hook){ .name = "carry", .widths = 1 };
    k->stores[0] = (tf_hook){ .name = "y", .widths = (uint8_t)width };
    return true;
}

static const tf_attr anchor_attrs[] = {
    TF_A(tf_scan_desc, product, TF_ATTR_BOOL, "running product instead of sum"),
    TF_A(tf_scan_desc, exclusive, TF_ATTR_BOOL, "element i leaves out x[i]"),
    TF_A(tf_scan_desc, chunk, TF_ATTR_I64, "elements per chunk, a multiple of 4; 0: all"),
    TF_A(tf_scan_desc, across, TF_ATTR_BOOL, "neighbouring rows are neighbours in memory"),
    TF_A(tf_scan_desc, carry, TF_ATTR_TENSOR, "[outer,parts]: what each chunk starts with"),
};
static const tf_anchor scan_anchor = {
    .name = "scan", .loads = { { .name = "x", .widths = 5, .reread = 1 }, { .name = "carry", .widths = 1 } },
    .stores = { { .name = "y", .widths = 5 } }, .configure = configure,
};
const tf_op tf_op_anchor_scan = {
    .name = "_scan", .doc = "x[outer,inner], carry[outer,parts] -> y[outer,inner], each chunk scanned", .operands = "x", .kind = TF_ANCHOR,
    .internal = true, .attrs = anchor_attrs, .attr_count = TF_COUNT(anchor_attrs), .desc_size = sizeof(tf_scan_desc), .infer = anchor_infer,
    .reference = anchor_reference, .anchor = &scan_anchor, .rel = 8,
};
