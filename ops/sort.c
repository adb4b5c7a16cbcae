/* sort.c - sort, argsort, topk along any axis.
 *
 * Values become unsigned keys whose order is the order wanted, NaN last: comparisons are then one instruction, and -0 and
 * 0 tie. The anchor _sort_blocks orders short blocks by counting; _sort_merge joins pairs of runs until one is left. Both
 * keep equal keys in place order, so every result is unique. For the best k no run keeps more than k elements. */
#include "anchors.h"

#include <math.h>
#include <string.h>

typedef struct sort_desc { int32_t axis; bool descending; } sort_desc;
typedef struct topk_desc { int64_t k; int32_t axis; bool smallest; } topk_desc;

typedef struct blocks_desc { int64_t block, keep; } blocks_desc;
typedef struct merge_desc { int64_t run, keep; } merge_desc;

/* ---- rows and reference ------------------------------------------------------------------------- */

static bool check_operand(tf_infer *c, int32_t *axis)
{
    const tf_type *x = c->type[0];
    if (!(tf_dtype_class(x->dtype) & TF_CLS_REAL) || x->dtype == TUFF_F64)
        return tf_bad(c, TUFF_E_DTYPE, "%s is not among its dtypes: f32 f16 bf16 int bool (%s)", tuff_dtype_name(x->dtype), tf_src_text(c, 0));
    return tf_axis(c, *axis, x->rank, axis);
}

static bool sort_infer(tf_infer *c)
{
    sort_desc *d = c->mut;
    c->out[0] = c->out[1] = *c->type[0];
    c->out[1].dtype = TUFF_I32;
    c->n_out = 2;
    return check_operand(c, &d->axis);
}

static bool argsort_infer(tf_infer *c)
{
    sort_desc *d = c->mut;
    c->out[0] = *c->type[0];
    c->out[0].dtype = TUFF_I32;
    return check_operand(c, &d->axis);
}

static bool topk_infer(tf_infer *c)
{
    topk_desc *d = c->mut;
    if (!check_operand(c, &d->axis))
        return false;
    const int64_t n = c->type[0]->dim[d->axis];
    if (tf_dim_is_dynamic(n))
        return tf_bad(c, TUFF_E_SHAPE, "axis %d is dynamic; a fixed size is needed (%s)", (int)d->axis, tf_src_text(c, 0));
    if (d->k < 1 || d->k > n)
        return tf_bad(c, TUFF_E_ATTRIBUTE, "k is %lld; it is 1 to %lld, the size of axis %d (%s)", (long long)d->k, (long long)n, (int)d->axis,
                      tf_src_text(c, 0));
    c->out[0] = c->out[1] = *c->type[0];
    c->out[0].dim[d->axis] = c->out[1].dim[d->axis] = d->k;
    c->out[1].dtype = TUFF_I32;
    c->n_out = 2;
    return true;
}

/* Does x[a] come before x[b] of the same row, a < b in place? */
static bool in_order(double a, double b, bool descending)
{
    return isnan(b) || (!isnan(a) && (descending ? a >= b : a <= b));
}

/* order[] of one row by merging; `other` has room for as much. */
static void order_row(const double *x, uint64_t stride, uint64_t n, bool descending, uint64_t *order, uint64_t *other)
{
    for (uint64_t i = 0; i < n; i++)
        order[i] = i;
    for (uint64_t run = 1; run < n; run *= 2) {
        for (uint64_t base = 0; base < n; base += 2 * run) {
            uint64_t a = base, b = TF_MIN(base + run, n);
            const uint64_t a_end = b, b_end = TF_MIN(base + 2 * run, n);
            for (uint64_t to = base; to < b_end; to++) {
                const bool left = b == b_end || (a < a_end && in_order(x[order[a] * stride], x[order[b] * stride], descending));
                other[to] = order[left ? a++ : b++];
            }
        }
        memcpy(order, other, (size_t)n * sizeof *order);
    }
}

/* The first `keep` of each row in order; values and places go where they are wanted. */
static tuff_status reference(tf_ref *r, int32_t axis, bool descending, tf_ref_tensor *values, tf_ref_tensor *places)
{
    const tf_ref_tensor *x = r->src[0];
    const uint64_t n = (uint64_t)x->dim[axis], keep = (uint64_t)places->dim[axis];
    uint64_t stride = 1;
    for (int32_t a = axis + 1; a < x->rank; a++)
        stride *= (uint64_t)x->dim[a];
    uint64_t *order = tf_arena_array(r->scratch, uint64_t, 2 * n + 1);
    if (!order)
        return TUFF_E_MEMORY;
    for (uint64_t row = 0; n && row < x->n / n; row++) {
        const uint64_t from = row / stride * stride * n + row % stride, to = row / stride * stride * keep + row % stride;
        order_row(x->re + from, stride, n, descending, order, order + n);
        for (uint64_t i = 0; i < keep; i++) {
            places->re[to + i * stride] = (double)order[i];
            if (values)
                values->re[to + i * stride] = x->re[from + order[i] * stride];
        }
    }
    return TUFF_OK;
}

static tuff_status sort_reference(tf_ref *r)
{
    const sort_desc *d = r->desc;
    return reference(r, d->axis, d->descending, &r->out[0], &r->out[1]);
}
static tuff_status argsort_reference(tf_ref *r)
{
    const sort_desc *d = r->desc;
    return reference(r, d->axis, d->descending, NULL, &r->out[0]);
}
static tuff_status topk_reference(tf_ref *r)
{
    const topk_desc *d = r->desc;
    return reference(r, d->axis, !d->smallest, &r->out[0], &r->out[1]);
}

/* ---- lowering ------------------------------------------------------------------------------------ */

static tuff_tensor word(tuff_graph *g, double v)
{
    return tuff_literal(g, v, TUFF_U32);
}

/* Keys as u32: ascending in the order wanted. */
static tuff_tensor keys_of(tuff_tensor x, bool descending)
{
    tuff_graph *g = x.graph;
    const tuff_dtype t = tf_ty(x)->dtype;
    if (!tf_dtype_is_float(t)) {
        const bool sign = tf_dtype_is_signed_int(t);
        tuff_tensor key = sign ? tuff_bit_xor(tuff_bitcast(tf_cast_to(x, TUFF_I32), TUFF_U32), word(g, 0x1p31)) : tf_cast_to(x, TUFF_U32);
        return descending ? tuff_bit_not(key) : key;
    }
    const tuff_tensor bits = tuff_bitcast(tf_cast_to(x, TUFF_F32), TUFF_U32), size = tuff_bit_and(bits, word(g, 0x7FFFFFFF));
    const tuff_tensor up = tuff_bit_or(size, word(g, 0x1p31)), down = tuff_sub(word(g, 0x1p31), size); /* -0: both 2^31 */
    const tuff_tensor key = tuff_where(tuff_less(bits, word(g, 0x1p31)), up, down);
    return tuff_where(tuff_greater(size, word(g, 0x7F800000)), word(g, 4294967295.0), descending ? tuff_bit_not(key) : key);
}

/* Places [outer, keep] of the first `keep` elements of each row x[outer, n] in order. */
static tuff_tensor order_rows(tf_lower *l, tuff_tensor keys, int64_t keep)
{
    if (!keys.id)
        return keys;
    const int64_t n = tf_dim_bound(l->g, tf_ty(keys)->dim[1]), most = tf_dim_is_dynamic(keep) ? INT64_MAX : TF_MAX(keep, 1);
    int64_t run = l->limits->cpu || n <= 16 ? 16 : TF_MIN((int64_t)tf_pow2_ceil((uint64_t)n), 512);
    const blocks_desc first = { .block = run, .keep = TF_MIN(run, most) };
    tuff_tensor key = tf_add(l->g, &tf_op_anchor_sort_blocks, &keys, 1, &first);
    tuff_tensor at = tuff_result(key, 1);
    /* `run` elements of x stand behind each run, of which `kept` are left. */
    for (int64_t kept = first.keep; run < n && key.id; run *= 2) {
        const merge_desc d = { .run = kept, .keep = TF_MIN(2 * kept, most) };
        const tuff_tensor src[2] = { key, at };
        key = tf_add(l->g, &tf_op_anchor_sort_merge, src, 2, &d);
        at = tuff_result(key, 1);
        kept = d.keep;
    }
    return at;
}

static tuff_tensor order(tf_lower *l, int32_t axis, bool descending, const tf_type *out)
{
    const tuff_tensor keys = keys_of(l->src[0], descending);
    return keys.id ? tf_from_rows(order_rows(l, tf_as_rows(keys, axis), out->dim[axis]), out, axis) : keys;
}

static void argsort_lower(tf_lower *l)
{
    const sort_desc *d = l->desc;
    l->out[0] = order(l, d->axis, d->descending, l->out_type);
}

static void sort_lower(tf_lower *l)
{
    const sort_desc *d = l->desc;
    l->out[1] = order(l, d->axis, d->descending, l->out_type);
    if (l->out[1].id && l->want[0])
        l->out[0] = tuff_take_along_axis(l->src[0], l->out[1], d->axis);
}

static void topk_lower(tf_lower *l)
{
    const topk_desc *d = l->desc;
    l->out[1] = order(l, d->axis, !d->smallest, l->out_type);
    if (l->out[1].id && l->want[0])
        l->out[0] = tuff_take_along_axis(l->src[0], l->out[1], d->axis);
}

static const tf_attr sort_attrs[] = {
    TF_A(sort_desc, axis, TF_ATTR_INT, "the axis to sort along", .required = true),
    TF_A(sort_desc, descending, TF_ATTR_BOOL, "largest first; NaN is last either way"),
};
static const tf_attr topk_attrs[] = {
    TF_A(topk_desc, k, TF_ATTR_I64, "how many; at most the axis' size", .required = true, .min = 1, .max = 2147483647),
    TF_A(topk_desc, axis, TF_ATTR_INT, "the axis to choose along", .required = true),
    TF_A(topk_desc, smallest, TF_ATTR_BOOL, "the smallest instead of the largest; NaN is last either way"),
};
const tf_op tf_op_sort = {
    .name = "sort", .doc = "x in ascending order along axis, and the place in x of each element; equal elements keep their order, NaN is last",
    .operands = "x", .results = "y order", .kind = TF_COMPOSITE, .attrs = sort_attrs, .attr_count = TF_COUNT(sort_attrs),
    .desc_size = sizeof(sort_desc), .classes = TF_CLS_REAL, .infer = sort_infer, .lower = sort_lower, .reference = sort_reference,
    .discontinuous = true,
};
const tf_op tf_op_argsort = {
    .name = "argsort", .doc = "the place in x of each element of x in ascending order along axis, i32; equal elements keep their order, NaN is last",
    .operands = "x", .results = "order", .kind = TF_COMPOSITE, .attrs = sort_attrs, .attr_count = TF_COUNT(sort_attrs),
    .desc_size = sizeof(sort_desc), .classes = TF_CLS_REAL, .infer = argsort_infer, .lower = argsort_lower, .reference = argsort_reference,
    .discontinuous = true,
};
const tf_op tf_op_topk = {
    .name = "topk", .doc = "the k largest elements along axis, largest first, and their places; among equal ones the first counts as larger, NaN is last",
    .operands = "x", .results = "y indices", .kind = TF_COMPOSITE, .attrs = topk_attrs, .attr_count = TF_COUNT(topk_attrs),
    .desc_size = sizeof(topk_desc), .classes = TF_CLS_REAL, .infer = topk_infer, .lower = topk_lower, .reference = topk_reference,
    .discontinuous = true,
};
tuff_tensor tuff_sort(tuff_tensor x, int32_t axis, const tuff_sort_desc *desc)
{
    return tf_add(x.graph, &tf_op_sort, &x, 1, &(sort_desc){ axis, desc && desc->descending });
}
tuff_tensor tuff_argsort(tuff_tensor x, int32_t axis, const tuff_sort_desc *desc)
{
    return tf_add(x.graph, &tf_op_argsort, &x, 1, &(sort_desc){ axis, desc && desc->descending });
}
tuff_tensor tuff_topk(tuff_tensor x, int64_t k, int32_t axis, const tuff_topk_desc *desc)
{
    return tf_add(x.graph, &tf_op_topk, &x, 1, &(topk_desc){ k, axis, desc && desc->smallest });
}

/* ---- the anchors --------------------------------------------------------------------------------- */

/* n elements in runs of `run`, each shortened to `keep`: n / run * keep + min(n % run, keep). */
static int64_t kept_dim(tuff_graph *g, int64_t n, int64_t run, int64_t keep)
{
    if (keep == run)
        return n;
    const int64_t full = tf_dim_bin(g, TUFF_DIM_FLOORDIV, n, run);
    const int64_t rest = tf_dim_bin(g, TUFF_DIM_SUB, n, tf_dim_bin(g, TUFF_DIM_MUL, full, run));
    const int64_t over = tf_dim_bin(g, TUFF_DIM_SUB, tf_dim_bin(g, TUFF_DIM_MAX, rest, keep), keep);
    return tf_dim_bin(g, TUFF_DIM_ADD, tf_dim_bin(g, TUFF_DIM_MUL, full, keep), tf_dim_bin(g, TUFF_DIM_SUB, rest, over));
}

static bool runs_infer(tf_infer *c, int64_t run, int64_t keep)
{
    const tf_type *x = c->type[0];
    if (x->rank != 2 || x->dtype != TUFF_U32)
        return tf_bad(c, TUFF_E_SHAPE, "keys are no u32 matrix (%s)", tf_src_text(c, 0));
    if (run < 1 || keep < 1 || keep > run)
        return tf_bad(c, TUFF_E_ATTRIBUTE, "%lld of %lld elements are kept", (long long)keep, (long long)run);
    c->out[0] = c->out[1] = *x;
    c->out[0].dim[1] = c->out[1].dim[1] = kept_dim(c->g, x->dim[1], run, keep);
    c->out[1].dtype = TUFF_I32;
    c->n_out = 2;
    return true;
}

static bool blocks_infer(tf_infer *c)
{
    const blocks_desc *d = c->desc;
    return runs_infer(c, d->block, d->keep);
}

static bool merge_infer(tf_infer *c)
{
    const merge_desc *d = c->desc;
    if (c->type[1]->dtype != TUFF_I32 || c->type[1]->rank != 2)
        return tf_bad(c, TUFF_E_SHAPE, "places are no i32 matrix (%s)", tf_src_text(c, 1));
    return runs_infer(c, 2 * d->run, d->keep);
}

/* The first `keep` of each run of `run` keys in order; at: what the places are called (NULL: the places). */
static tuff_status runs_reference(tf_ref *r, uint64_t run, uint64_t keep, const tf_ref_tensor *at)
{
    const tf_ref_tensor *x = r->src[0];
    const uint64_t n = (uint64_t)x->dim[1];
    uint64_t *order = tf_arena_array(r->scratch, uint64_t, 2 * run + 1), to = 0;
    if (!order)
        return TUFF_E_MEMORY;
    for (uint64_t o = 0; n && o < x->n / n; o++)
        for (uint64_t i = 0; i < n; i += run) {
            const uint64_t length = TF_MIN(run, n - i);
            order_row(x->re + o * n + i, 1, length, false, order, order + run);
            for (uint64_t j = 0; j < TF_MIN(length, keep); j++, to++) {
                r->out[0].re[to] = x->re[o * n + i + order[j]];
                r->out[1].re[to] = at ? at->re[o * n + i + order[j]] : (double)(i + order[j]);
            }
        }
    return TUFF_OK;
}

static tuff_status blocks_reference(tf_ref *r)
{
    const blocks_desc *d = r->desc;
    return runs_reference(r, (uint64_t)d->block, (uint64_t)d->keep, NULL);
}
static tuff_status merge_reference(tf_ref *r)
{
    const merge_desc *d = r->desc;
    return runs_reference(r, 2 * (uint64_t)d->run, (uint64_t)d->keep, r->src[1]);
}

static bool blocks_configure(tf_kernel_build *k)
{
    const blocks_desc *d = k->desc;
    const bool own = d->block == 16;
    const uint32_t wg = own ? tf_row_group(k->limits, tf_dim_bound(k->g, k->src[0]->dim[0])) : (uint32_t)TF_MAX(TF_MIN(d->block / 4, 128), 1);
    const int64_t blocks = tf_dim_bin(k->g, TUFF_DIM_MUL, k->src[0]->dim[0], tf_dim_ceildiv(k->g, k->src[0]->dim[1], d->block));
    tf_define(k, "OWN", "%d", own);
    tf_define(k, "BLOCK", "%lldu", (long long)d->block);
    tf_define(k, "KEEP", "%lldu", (long long)d->keep);
    tf_define(k, "WGSIZE", "%uu", wg);
    tf_define(k, "WANT_KEY", "%d", k->want[0]);
    tf_define_dim(k, "OUTER", k->src[0]->dim[0]);
    tf_define_dim(k, "INNER", k->src[0]->dim[1]);
    k->source = tf_shader_text("anchors/sort.glsl");
    k->algorithm = own ? "block per invocation" : "block per workgroup";
    k->local[0] = wg;
    k->local[1] = k->local[2] = 1;
    k->groups = own ? tf_dim_ceildiv(k->g, blocks, wg) : blocks;
    k->shared_bytes = own ? 0 : 4 * (uint32_t)d->block;
    tf_count_bound(k->g, k->src[0], &k->flops);
    k->flops *= (uint64_t)d->block;
    k->loads[0] = (tf_hook){ .name = "x", .widths = 4 };
    k->stores[0] = (tf_hook){ .name = "key", .widths = 1 };
    k->stores[1] = (tf_hook){ .name = "at", .widths = 1 };
    return true;
}

static bool merge_configure(tf_kernel_build *k)
{
    enum { WG = 64 };
    const merge_desc *d = k->desc;
    const int64_t each = k->limits->cpu ? 16 : 8, pairs = tf_dim_ceildiv(k->g, k->src[0]->dim[1], 2 * d->run);
    int64_t part_bits = 0;
    while (each << part_bits < d->keep)
        part_bits++;
    tf_define(k, "EACH", "%lldu", (long long)each);
    tf_define_live(k, "RUN", d->run);
    tf_define_live(k, "KEEP", d->keep);
    tf_define_live(k, "PAIRS", pairs);
    tf_define_live(k, "PART_BITS", part_bits);
    tf_define(k, "WGSIZE", "%uu", (unsigned)WG);
    tf_define(k, "WANT_KEY", "%d", k->want[0]);
    tf_define_dim(k, "OUTER", k->src[0]->dim[0]);
    tf_define_dim(k, "INNER", k->src[0]->dim[1]);
    k->source = tf_shader_text("anchors/merge.glsl");
    k->algorithm = "part of a run per invocation";
    k->local[0] = WG;
    k->local[1] = k->local[2] = 1;
    k->groups = tf_dim_ceildiv(k->g, tf_dim_bin(k->g, TUFF_DIM_MUL, tf_dim_bin(k->g, TUFF_DIM_MUL, k->src[0]->dim[0], pairs), (int64_t)1 << part_bits), WG);
    tf_count_bound(k->g, &k->out[0], &k->flops);
    k->flops *= 8;
    k->loads[0] = (tf_hook){ .name = "ka", .widths = 1, .reread = 255 };
    k->loads[1] = (tf_hook){ .name = "ia", .widths = 1, .reread = 255 };
    k->stores[0] = (tf_hook){ .name = "key", .widths = 1 };
    k->stores[1] = (tf_hook){ .name = "at", .widths = 1 };
    return true;
}

static const tf_attr blocks_attrs[] = {
    TF_A(blocks_desc, block, TF_ATTR_I64, "elements of a block: 16, or a power of two up to 512", .required = true),
    TF_A(blocks_desc, keep, TF_ATTR_I64, "elements of it to keep", .required = true),
};
static const tf_attr merge_attrs[] = {
    TF_A(merge_desc, run, TF_ATTR_I64, "elements of a run", .required = true),
    TF_A(merge_desc, keep, TF_ATTR_I64, "elements of a merged run to keep", .required = true),
};
static const tf_anchor blocks_anchor = {
    .name = "sort", .loads = { { .name = "x", .widths = 4 } }, .stores = { { .name = "key", .widths = 1 }, { .name = "at", .widths = 1 } },
    .configure = blocks_configure,
};
static const tf_anchor merge_anchor = {
    .name = "merge", .loads = { { .name = "ka", .widths = 1, .reread = 255 }, { .name = "ia", .widths = 1, .reread = 255 } },
    .stores = { { .name = "key", .widths = 1 }, { .name = "at", .widths = 1 } }, .configure = merge_configure,
};
const tf_op tf_op_anchor_sort_blocks = {
    .name = "_sort_blocks", .doc = "u32 keys[outer,n] -> the first `keep` of each block in order, and their places", .operands = "keys", .results = "key at",
    .kind = TF_ANCHOR, .internal = true, .attrs = blocks_attrs, .attr_count = TF_COUNT(blocks_attrs), .desc_size = sizeof(blocks_desc),
    .infer = blocks_infer, .reference = blocks_reference, .anchor = &blocks_anchor,
};
const tf_op tf_op_anchor_sort_merge = {
    .name = "_sort_merge", .doc = "sorted runs of keys[outer,n] and their places -> the first `keep` of each pair of runs", .operands = "keys places", .results = "key at",
    .kind = TF_ANCHOR, .internal = true, .attrs = merge_attrs, .attr_count = TF_COUNT(merge_attrs), .desc_size = sizeof(merge_desc),
    .infer = merge_infer, .reference = merge_reference, .anchor = &merge_anchor,
};
