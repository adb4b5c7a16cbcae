/* kv_cache.c - caches of keys and values: appending rows, moving rows, quantising rows.
 *
 * A cache is any tensor [batch, token, ...], or [pool, page, ...] with a table of pages. Rows are addressed by an index into the
 * cache seen as [rows, columns]; an index of -1 writes nothing. */
#include "anchors.h"

#include <math.h>
#include <string.h>

/* ---- kv_append and kv_gather --------------------------------------------------------------------- */

enum { CACHE, X, LEN, PAGES, COUNT }; /* kv_gather: X is the rows */

static bool check_vector(tf_infer *c, uint32_t i, const char *name, int64_t batch)
{
    const tf_type *t = c->type[i];
    return !t || (t->dtype == TUFF_I32 && t->rank == 1 && tf_dim_equal(t->dim[0], batch)) ||
           tf_bad(c, TUFF_E_SHAPE, "%s needs to be i32[%s] (%s)", name, tf_dim_text(c->g, batch), tf_src_text(c, i));
}

static bool check_cache(tf_infer *c, int64_t batch)
{
    const tf_type *cache = c->type[CACHE], *pages = c->type[PAGES];
    if (cache->rank < 2)
        return tf_bad(c, TUFF_E_SHAPE, "cache has rank %d, it needs [batch, token, ...] or [pool, page, ...] (%s)", (int)cache->rank, tf_src_text(c, CACHE));
    for (int32_t a = 1; a < cache->rank; a++)
        if (tf_dim_is_dynamic(cache->dim[a]))
            return tf_bad(c, TUFF_E_SHAPE, "axes of the cache need fixed sizes (%s)", tf_src_text(c, CACHE));
    if (tf_dtype_bits(cache->dtype) == 4 && (cache->rank < 3 || cache->dim[cache->rank - 1] % 8))
        return tf_bad(c, TUFF_E_SHAPE, "the cache has eight %s a word, so its last axis, behind that of the tokens, needs a multiple of 8 (%s)", tuff_dtype_name(cache->dtype), tf_src_text(c, CACHE));
    if (pages && (pages->dtype != TUFF_I32 || pages->rank != 2 || !tf_dim_equal(pages->dim[0], batch)))
        return tf_bad(c, TUFF_E_SHAPE, "page_table needs to be i32[%s, pages] (%s)", tf_dim_text(c->g, batch), tf_src_text(c, PAGES));
    if (!pages && !tf_dim_equal(cache->dim[0], batch))
        return tf_bad(c, TUFF_E_SHAPE, "cache has batch %s, the new rows have %s (%s)", tf_dim_text(c->g, cache->dim[0]), tf_dim_text(c->g, batch), tf_src_text(c, CACHE));
    c->out[0] = *cache;
    return check_vector(c, LEN, "len", batch) && check_vector(c, COUNT, "count", batch);
}

static bool append_infer(tf_infer *c)
{
    const tf_type *cache = c->type[CACHE], *x = c->type[X];
    bool ok = x->rank == cache->rank;
    for (int32_t a = 2; ok && a < x->rank; a++)
        ok = tf_dim_equal(x->dim[a], cache->dim[a]);
    if (!ok || x->rank < 2)
        return tf_bad(c, TUFF_E_SHAPE, "x needs [batch, token, ...] with the cache's other axes (%s; %s)", tf_src_text(c, X), tf_src_text(c, CACHE));
    if (x->dtype != cache->dtype)
        return tf_bad(c, TUFF_E_DTYPE, "x and cache differ in dtype; cast x (%s; %s)", tf_src_text(c, X), tf_src_text(c, CACHE));
    return check_cache(c, x->dim[0]);
}

static bool gather_infer(tf_infer *c)
{
    const tf_type *rows = c->type[X];
    if (rows->rank != 2 || rows->dtype != TUFF_I32)
        return tf_bad(c, TUFF_E_SHAPE, "rows needs to be i32[batch, n] (%s)", tf_src_text(c, X));
    return check_cache(c, rows->dim[0]);
}

/* Row of the cache [rows, columns] where position `at` of batch b lies; -1: nowhere. */
static int64_t ref_place(const tf_ref *r, int64_t b, int64_t at)
{
    const tf_ref_tensor *cache = r->src[CACHE], *pages = r->src[PAGES];
    const int64_t page = cache->dim[1];
    if (at < 0 || at >= (pages ? pages->dim[1] * page : page))
        return -1;
    if (!pages)
        return b * page + at;
    const double p = pages->re[b * pages->dim[1] + at / page];
    return p >= 0 && p < (double)cache->dim[0] ? (int64_t)p * page + at % page : -1;
}

static tuff_status store_reference(tf_ref *r, bool gather)
{
    const tf_ref_tensor *cache = r->src[CACHE], *x = r->src[X], *count = r->src[COUNT];
    uint64_t columns = 1;
    for (int32_t a = 2; a < cache->rank; a++)
        columns *= (uint64_t)cache->dim[a];
    if (cache->n) memcpy(r->out[0].re, cache->re, (size_t)cache->n * sizeof *cache->re);
    for (int64_t b = 0; b < x->dim[0]; b++)
        for (int64_t i = 0; i < x->dim[1] && (!count || (double)i < count->re[b]); i++) {
            const int64_t len = (int64_t)r->src[LEN]->re[b], to = ref_place(r, b, len + i);
            const double *from = gather ? NULL : x->re + (uint64_t)(b * x->dim[1] + i) * columns;
            if (gather) {
                const double row = x->re[b * x->dim[1] + i];
                const int64_t place = row >= 0 ? ref_place(r, b, len + (int64_t)row) : -1;
                from = place >= 0 ? cache->re + (uint64_t)place * columns : NULL;
            }
            if (to >= 0 && from && columns) memcpy(r->out[0].re + (uint64_t)to * columns, from, (size_t)columns * sizeof *from);
        }
    return TUFF_OK;
}
static tuff_status append_reference(tf_ref *r) { return store_reference(r, false); }
static tuff_status gather_reference(tf_ref *r) { return store_reference(r, true); }

/* Rows of the cache, seen as [rows, columns], of positions at[b, n]; -1 where valid[b, n] (none: all) is false or there is no such row. */
static tuff_tensor places(tf_lower *l, tuff_tensor at, tuff_tensor valid)
{
    tuff_graph *g = l->g;
    const tf_type cache = *tf_ty(l->src[CACHE]), t = *tf_ty(at);
    const tuff_tensor pages = l->src[PAGES], zero = tuff_literal(g, 0, TUFF_I32), none = tuff_literal(g, -1, TUFF_I32);
    const int64_t reach = pages.id ? tf_dim_bound(g, tf_ty(pages)->dim[1]) * cache.dim[1] : cache.dim[1];
    const tuff_tensor size = tuff_literal(g, (double)cache.dim[1], TUFF_I32);
    tuff_tensor inside = tuff_logical_and(tuff_greater_equal(at, zero), tuff_less(at, tuff_literal(g, (double)reach, TUFF_I32)));
    if (valid.id)
        inside = tuff_logical_and(inside, valid);
    if (!pages.id) {
        const tuff_tensor b = tuff_iota(g, TUFF_SHAPE(t.dim[0], 1), 0, NULL);
        return tuff_where(inside, tuff_add(tuff_mul(b, size), at), none);
    }
    const tuff_tensor page = tuff_take_along_axis(pages, tuff_div(at, size), 1);
    inside = tuff_logical_and(inside, tuff_greater_equal(page, zero));
    return tuff_where(inside, tuff_add(tuff_mul(page, size), tuff_mod(at, size)), none);
}

/* Positions len + i of n new rows, and which of them count. */
static tuff_tensor positions(tf_lower *l, int64_t n, tuff_tensor *valid)
{
    const tuff_tensor i = tuff_iota(l->g, TUFF_SHAPE(1, n), 1, NULL);
    *valid = l->src[COUNT].id ? tuff_less(i, tuff_unsqueeze(l->src[COUNT], TUFF_INTS(1))) : (tuff_tensor){ 0 };
    return tuff_add(tuff_unsqueeze(l->src[LEN], TUFF_INTS(1)), i);
}

static tuff_tensor as_rows(tf_lower *l, tuff_tensor x)
{
    const tf_type t = *tf_ty(x);
    return tf_reshaped(x, 2, (int64_t[2]){ tf_dim_bin(l->g, TUFF_DIM_MUL, t.dim[0], t.dim[1]), tf_dim_product(l->g, t.dim, 2, t.rank) });
}

/* The cache with row index[i] replaced by row i of x [b * n, columns]; in place where its old value is not needed any more. */
static tuff_tensor store_rows(tf_lower *l, tuff_tensor index, tuff_tensor x)
{
    const tuff_tensor cache = l->src[CACHE];
    const tf_type t = *tf_ty(cache), i = *tf_ty(index);
    const int64_t n = tf_dim_bin(l->g, TUFF_DIM_MUL, i.dim[0], i.dim[1]);
    const tuff_tensor at = tf_reshaped(index, 1, &n);
    if (!l->limits || !tf_can_put(l->limits, t.dtype))
        return tf_reshaped(tuff_scatter(as_rows(l, cache), at, x, 0, NULL), t.rank, t.dim);
    int64_t dims[TUFF_MAX_RANK];
    memcpy(dims, t.dim, sizeof dims);
    dims[0] = 1;
    dims[1] = n;
    return tf_put_pairs(cache, at, tf_reshaped(x, t.rank, dims));
}

static void append_lower(tf_lower *l)
{
    tuff_tensor valid;
    const tuff_tensor at = positions(l, tf_ty(l->src[X])->dim[1], &valid);
    l->out[0] = store_rows(l, places(l, at, valid), as_rows(l, l->src[X]));
}

static void gather_lower(tf_lower *l)
{
    tuff_tensor valid;
    const tuff_tensor rows = l->src[X], at = positions(l, tf_ty(rows)->dim[1], &valid);
    const tuff_tensor from = places(l, tuff_add(tuff_unsqueeze(l->src[LEN], TUFF_INTS(1)), rows), tuff_greater_equal(rows, tuff_literal(l->g, 0, TUFF_I32)));
    const tuff_tensor found = tuff_greater_equal(from, tuff_literal(l->g, 0, TUFF_I32));
    const tuff_tensor to = places(l, at, valid.id ? tuff_logical_and(valid, found) : found);
    const int64_t count[1] = { tf_dim_bin(l->g, TUFF_DIM_MUL, tf_ty(rows)->dim[0], tf_ty(rows)->dim[1]) };
    l->out[0] = store_rows(l, to, tuff_gather(as_rows(l, l->src[CACHE]), tf_reshaped(from, 1, count), 0));
}

static const tf_attr attrs[] = {
    TF_A(tuff_kv_append_desc, page_table, TF_ATTR_TENSOR, "i32[b,pages]: the cache is [pool,page,...]"),
    TF_A(tuff_kv_append_desc, count, TF_ATTR_TENSOR, "i32[b]: rows that are written; absent: all"),
};

const tf_op tf_op_kv_append = {
    .name = "kv_append", .doc = "cache[b,t,...], x[b,n,...], len[b] -> the cache with rows len[b] + i replaced by x[b,i]", .operands = "cache x len", .kind = TF_COMPOSITE,
    .attrs = attrs, .attr_count = TF_COUNT(attrs), .desc_size = sizeof(tuff_kv_append_desc), .infer = append_infer, .reference = append_reference, .lower = append_lower,
};
const tf_op tf_op_kv_gather = {
    .name = "kv_gather", .doc = "cache[b,t,...], rows[b,n], len[b] -> the cache with rows len[b] + i replaced by its rows len[b] + rows[b,i]", .operands = "cache rows len",
    .kind = TF_COMPOSITE, .attrs = attrs, .attr_count = TF_COUNT(attrs), .desc_size = sizeof(tuff_kv_append_desc), .infer = gather_infer, .reference = gather_reference,
    .lower = gather_lower,
};

tuff_tensor tuff_kv_append(tuff_tensor cache, tuff_tensor x, tuff_tensor len, const tuff_kv_append_desc *desc)
{
    return tf_add(cache.graph, &tf_op_kv_append, (tuff_tensor[]){ cache, x, len }, 3, desc);
}
tuff_tensor tuff_kv_gather(tuff_tensor cache, tuff_tensor rows, tuff_tensor len, const tuff_kv_append_desc *desc)
{
    return tf_add(cache.graph, &tf_op_kv_gather, (tuff_tensor[]){ cache, rows, len }, 3, desc);
}

/* ---- kv_quantize --------------------------------------------------------------------------------- */

static int32_t levels_of(const tuff_kv_quantize_desc *d)
{
    return d->dtype == TUFF_I4 ? 7 : d->dtype == TUFF_I8 ? 127 : d->dtype == TUFF_U4 || d->nibbles ? 15 : 255;
}
static bool symmetric(const tuff_kv_quantize_desc *d) { return d->dtype == TUFF_I8 || d->dtype == TUFF_I4; }

static bool quantize_infer(tf_infer *c)
{
    tuff_kv_quantize_desc *d = c->mut;
    const tf_type *x = c->type[0];
    const int64_t size = x->rank ? x->dim[x->rank - 1] : 0;
    if (x->rank < 1 || (x->dtype != TUFF_F32 && x->dtype != TUFF_F16 && x->dtype != TUFF_BF16))
        return tf_bad(c, TUFF_E_DTYPE, "x needs to be f32, f16 or bf16 with at least one axis (%s)", tf_src_text(c, 0));
    if (tf_dim_is_dynamic(size) || size < 1)
        return tf_bad(c, TUFF_E_SHAPE, "the last axis of x needs a fixed size of at least 1 (%s)", tf_src_text(c, 0));
    if (d->dtype == TUFF_DTYPE_NONE)
        d->dtype = TUFF_I8;
    if (d->dtype != TUFF_I8 && d->dtype != TUFF_U8 && d->dtype != TUFF_I4 && d->dtype != TUFF_U4)
        return tf_bad(c, TUFF_E_ATTRIBUTE, "dtype is %s, it needs i8, u8, i4 or u4", tuff_dtype_name(d->dtype));
    if (tf_dtype_bits(d->dtype) == 4 && size % 2)
        return tf_bad(c, TUFF_E_SHAPE, "%s has two codes a byte, so the last axis of x needs an even size (%s)", tuff_dtype_name(d->dtype), tf_src_text(c, 0));
    if (d->nibbles && d->dtype != TUFF_U8)
        return tf_bad(c, TUFF_E_ATTRIBUTE, "nibbles is for u8 codes, dtype is %s", tuff_dtype_name(d->dtype));
    if (d->group == 0)
        d->group = (int32_t)size;
    c->n_out = 3;
    c->out[0] = c->out[1] = c->out[2] = *x;
    c->out[0].dtype = d->dtype;
    c->out[1].dtype = c->out[2].dtype = TUFF_F16;
    c->out[1].dim[x->rank - 1] = c->out[2].dim[x->rank - 1] = (size + d->group - 1) / d->group;
    return true;
}

static double f16(double x)
{
    double im;
    uint16_t bits;
    tf_store_element(TUFF_F16, &bits, 0, x, 0);
    return tf_load_element(TUFF_F16, &bits, 0, &im);
}

static tuff_status quantize_reference(tf_ref *r)
{
    const tuff_kv_quantize_desc *d = r->desc;
    const tf_ref_tensor *x = r->src[0];
    const int64_t size = x->dim[x->rank - 1], groups = (size + d->group - 1) / d->group, levels = levels_of(d);
    for (int64_t n = 0; n < (int64_t)x->n / size * groups; n++) {
        const int64_t first = n / groups * size + n % groups * d->group, end = TF_MIN(first + d->group, (n / groups + 1) * size);
        double lo = INFINITY, hi = -INFINITY, scale, zero = 0;
        for (int64_t i = first; i < end; i++)
            lo = fmin(lo, x->re[i]), hi = fmax(hi, x->re[i]);
        if (symmetric(d)) {
            scale = f16(fmax(fabs(lo), fabs(hi)) / (double)levels);
        } else if (hi > lo) {
            scale = f16((hi - lo) / (double)levels);
            zero = scale > 0 ? f16(-lo / scale) : 0;
        } else {
            scale = f16(fabs(lo));
            zero = lo > 0 ? -1 : lo < 0 ? 1 : 0;
        }
        for (int64_t i = first; i < end; i++) {
            const double code = scale > 0 && (symmetric(d) || hi > lo) ? nearbyint(x->re[i] / scale + zero) : 0;
            r->out[0].re[i] = fmin(fmax(code, symmetric(d) ? -(double)levels : 0), (double)levels);
        }
        r->out[1].re[n] = scale;
        r->out[2].re[n] = zero;
    }
    return TUFF_OK;
}

static void quantize_lower(tf_lower *l)
{
    const tuff_kv_quantize_desc *d = l->desc;
    tuff_graph *g = l->g;
    const tf_type t = *tf_ty(l->src[0]);
    const int32_t rank = t.rank;
    const int64_t size = t.dim[rank - 1], groups = (size + d->group - 1) / d->group, levels = levels_of(d);
    const tuff_tensor none = tuff_literal(g, 0, TUFF_F32), most = tuff_literal(g, (double)levels, TUFF_F32);
    tuff_ints lo_pad = { .n = rank }, hi_pad = { .n = rank };
    hi_pad.v[rank - 1] = groups * d->group - size;
    tuff_tensor x = tf_cast_to(l->src[0], TUFF_F32), scale, zero = none, flat = { 0 };
    if (hi_pad.v[rank - 1]) /* the last value again, which changes no maximum */
        x = tuff_pad(x, lo_pad, hi_pad, &(tuff_pad_desc){ .mode = TUFF_PAD_EDGE });
    int64_t dims[TUFF_MAX_RANK + 1];
    memcpy(dims, t.dim, (size_t)(rank - 1) * sizeof *dims);
    dims[rank - 1] = groups;
    dims[rank] = d->group;
    if (rank == TUFF_MAX_RANK) {
        tf_fail(g, TUFF_E_LIMIT, "kv_quantize: x has rank %d; at most %d", (int)rank, TUFF_MAX_RANK - 1);
        return;
    }
    x = tf_reshaped(x, rank + 1, dims);
    const tuff_reduce_desc over = { .axes = TUFF_INTS(-1), .keep = true };
    if (symmetric(d)) {
        scale = tuff_cast(tuff_div(tuff_max(tuff_abs(x), &over), most), TUFF_F16);
    } else {
        const tuff_tensor lo = tuff_min(x, &over), hi = tuff_max(x, &over);
        flat = tuff_less_equal(hi, lo);
        scale = tuff_cast(tuff_where(flat, tuff_abs(lo), tuff_div(tuff_sub(hi, lo), most)), TUFF_F16);
        const tuff_tensor wide = tuff_cast(scale, TUFF_F32);
        const tuff_tensor offset = tuff_where(tuff_greater(wide, none), tuff_neg(tuff_div(lo, wide)), none);
        zero = tuff_cast(tuff_where(flat, tuff_neg(tuff_sign(lo)), offset), TUFF_F16);
    }
    const tuff_tensor wide = tuff_cast(scale, TUFF_F32);
    tuff_tensor code = tuff_div(x, wide);
    tuff_tensor used = tuff_greater(wide, none);
    if (!symmetric(d)) {
        code = tuff_add(code, tuff_cast(zero, TUFF_F32));
        used = tuff_logical_and(used, tuff_logical_not(flat));
    }
    code = tuff_where(used, tuff_clamp(tuff_round(code), symmetric(d) ? tuff_neg(most) : none, most), none);
    dims[rank - 1] = groups * d->group;
    code = tf_reshaped(tuff_cast(code, d->dtype), rank, dims);
    if (hi_pad.v[rank - 1])
        code = tuff_slice(code, TUFF_INTS(0), TUFF_INTS(size), &(tuff_slice_desc){ .axes = TUFF_INTS(-1) });
    dims[rank - 1] = groups;
    l->out[0] = code;
    l->out[1] = tf_reshaped(scale, rank, dims);
    tuff_shape shape = { .rank = rank };
    memcpy(shape.dim, dims, (size_t)rank * sizeof *dims);
    l->out[2] = symmetric(d) ? tuff_expand(tuff_cast(zero, TUFF_F16), shape) : tf_reshaped(zero, rank, dims);
}

static const tf_attr quantize_attrs[] = {
    TF_A(tuff_kv_quantize_desc, group, TF_ATTR_INT, "neighbours of the last axis that share a scale; 0: all", .max = INT32_MAX),
    TF_A(tuff_kv_quantize_desc, dtype, TF_ATTR_DTYPE, "i8, i4: symmetric; u8, u4: with a zero; 0: i8"),
    TF_A(tuff_kv_quantize_desc, nibbles, TF_ATTR_BOOL, "u8 with codes 0 to 15"),
};
const tf_op tf_op_kv_quantize = {
    .name = "kv_quantize", .doc = "x[...,d] -> codes[...,d], scale f16[...,ceil(d/group)], zero f16: x ~ (codes - zero) * scale", .operands = "x", .results = "codes scale zero",
    .kind = TF_COMPOSITE, .attrs = quantize_attrs, .attr_count = TF_COUNT(quantize_attrs), .desc_size = sizeof(tuff_kv_quantize_desc), .infer = quantize_infer,
    .reference = quantize_reference, .lower = quantize_lower, .rel = 2,
};

tuff_tensor tuff_kv_quantize(tuff_tensor x, const tuff_kv_quantize_desc *desc)
{
    return tf_add(x.graph, &tf_op_kv_quantize, &x, 1, desc);
}
