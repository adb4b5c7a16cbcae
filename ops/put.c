/* put.c - rows of a tensor replaced where it lies: what loops collect and what caches append.
 *
 * _put works on a copy of its base, which commit.c drops when nobody needs the old base any more: then only the rows are
 * written. So a state or a carried value changes by a few rows without a pass over all of it. */
#include "anchors.h"

#include <string.h>

typedef struct put_desc {
    int32_t axis;
    bool pair; /* keys number the rows of axes 0 and 1 together; u is [1, n, ..] */
} put_desc;

static bool infer(tf_infer *c)
{
    put_desc *d = c->mut;
    const tf_type *x = c->type[0], *k = c->type[1], *u = c->type[2];
    if (!tf_axis(c, d->axis, x->rank, &d->axis))
        return false;
    bool fits = k->rank == 1 && k->dtype == TUFF_I32 && u->rank == x->rank && u->dtype == x->dtype;
    fits = fits && (!d->pair || (d->axis == 1 && u->dim[0] == 1));
    if (fits && tf_dtype_bits(x->dtype) == 4 && (d->axis == x->rank - 1 || tf_dim_is_dynamic(x->dim[x->rank - 1]) || x->dim[x->rank - 1] % 8))
        return tf_bad(c, TUFF_E_SHAPE, "x has eight elements a word, so its last axis needs a multiple of 8 and no keys (%s)", tf_src_text(c, 0));
    for (int32_t a = d->pair; fits && a < x->rank; a++)
        fits = tf_dim_equal(u->dim[a], a == d->axis ? k->dim[0] : x->dim[a]);
    if (!fits)
        return tf_bad(c, TUFF_E_SHAPE, "keys are i32[n], u has x's dims with n along axis %d (%s; %s; %s)", (int)d->axis, tf_src_text(c, 0),
                      tf_src_text(c, 1), tf_src_text(c, 2));
    c->out[0] = *x;
    return true;
}

static void copy_base(tf_ref *r)
{
    const tf_ref_tensor *x = r->src[0];
    if (x->n)
        memcpy(r->out[0].re, x->re, (size_t)x->n * sizeof *x->re);
    if (x->im)
        memcpy(r->out[0].im, x->im, (size_t)x->n * sizeof *x->im);
}

static tuff_status reference(tf_ref *r)
{
    const put_desc *d = r->desc;
    const int32_t axis = d->axis;
    const tf_ref_tensor *keys = r->src[1], *u = r->src[2];
    tf_ref_tensor *y = &r->out[0];
    uint64_t cols = 1;
    const int64_t rows = d->pair ? y->dim[0] * y->dim[1] : y->dim[axis];
    copy_base(r);
    for (int32_t a = axis + 1; a < y->rank; a++)
        cols *= (uint64_t)y->dim[a];
    for (uint64_t i = 0; i < u->n && y->n; i++) {
        const double row = keys->re[i / cols % keys->n];
        if (row < 0 || row >= (double)rows)
            continue;
        const uint64_t to = (i / cols / keys->n * (uint64_t)rows + (uint64_t)row) * cols + i % cols;
        y->re[to] = u->re[i];
        if (y->im)
            y->im[to] = u->im[i];
    }
    return TUFF_OK;
}

/* Coordinates as expressions of o, row and c: dim j before the axis is o / (dims between) % dim. */
static void define_at(tf_kernel_build *k, const char *macro, const put_desc *d, int32_t rank)
{
    const int32_t axis = d->axis;
    const bool pair = d->pair && !strcmp(macro, "AT"); /* u has its rows in one axis */
    char name[4] = "D0";
    tf_str s;
    tf_str_init(&s, &k->g->arena.allocator);
    for (int32_t j = 0; j < rank; j++) {
        name[1] = (char)('0' + j);
        if (!strcmp(macro, "AT"))
            tf_define_dim(k, name, k->out[0].dim[j]);
        tf_str_add(&s, j ? ", " : "");
        if (j == axis || (d->pair && j == 0)) {
            tf_str_add(&s, !d->pair ? "row" : j == 0 ? pair ? "(row) / uint(D1)" : "0u" : pair ? "(row) % uint(D1)" : "row");
            continue;
        }
        const int32_t end = j < axis ? axis : rank;
        tf_str_add(&s, j < axis ? "o" : "c");
        for (int32_t i = j + 1; i < end; i++)
            tf_str_printf(&s, " / uint(D%d)", (int)i);
        tf_str_printf(&s, " %% uint(D%d)", (int)j);
    }
    tf_define(k, strcmp(macro, "AT") ? "FROM(row)" : "AT(row)", "%s", s.data ? s.data : "");
    tf_str_release(&s);
}

static bool configure(tf_kernel_build *k)
{
    const put_desc *d = k->desc;
    const int32_t axis = d->axis, rank = k->out[0].rank;
    const tf_type *y = &k->out[0];
    const bool nibbles = tf_dtype_bits(y->dtype) == 4; /* eight a word, which is what an invocation can own */
    int width = nibbles ? 8 : tf_define_type(k, y->dtype);
    const int64_t last = y->dim[rank - 1], n = k->src[2]->dim[axis];
    if (nibbles)
        tf_define(k, "T4", "%s", y->dtype == TUFF_U4 ? "uvec4" : "ivec4");
    else if (axis == rank - 1 || tf_dim_is_dynamic(last) || last % 4)
        width = 1;
    const int64_t outer = d->pair ? 1 : tf_dim_product(k->g, y->dim, 0, axis), cols = tf_dim_product(k->g, y->dim, axis + 1, rank);
    const int64_t vectors = tf_dim_bin(k->g, TUFF_DIM_FLOORDIV, cols, width);
    const int64_t work = tf_dim_bin(k->g, TUFF_DIM_MUL, tf_dim_bin(k->g, TUFF_DIM_MUL, outer, n), vectors);
    tf_define(k, "WIDTH", "%d", width);
    tf_define(k, "WGSIZE", "64");
    tf_define_dim(k, "OUTER", outer);
    tf_define_dim(k, "ROWS", tf_dim_product(k->g, y->dim, d->pair ? 0 : axis, axis + 1));
    tf_define_dim(k, "COUNT", n);
    tf_define_dim(k, "VECTORS", vectors);
    define_at(k, "AT", d, rank);
    define_at(k, "FROM", d, rank);
    k->source = tf_shader_text("anchors/put.glsl");
    k->algorithm = "rows in place";
    k->local[0] = 64;
    k->local[1] = k->local[2] = 1;
    k->groups = tf_dim_ceildiv(k->g, work, 64);
    tf_count_bound(k->g, k->src[2], &k->flops);
    k->loads[1] = (tf_hook){ .name = "keys", .widths = 1, .reread = 255 };
    k->loads[2] = (tf_hook){ .name = "u", .widths = (uint8_t)width };
    k->stores[0] = (tf_hook){ .name = "y", .widths = (uint8_t)width };
    return true;
}

static const tf_attr attrs[] = {
    TF_A(put_desc, axis, TF_ATTR_INT, "the axis that keys address", .required = true),
    TF_A(put_desc, pair, TF_ATTR_BOOL, "axis is 1 and keys number the rows of axes 0 and 1 together; u is [1, n, ..]"),
};
static const tf_anchor anchor = { .name = "put", .loads = { { 0 }, { .name = "keys", .widths = 1, .reread = 255 }, { .name = "u", .widths = 13 } },
                                  .stores = { { .name = "y", .widths = 13 } }, .in_place = true, .configure = configure };
const tf_op tf_op_anchor_put = {
    .name = "_put", .doc = "x with y[..,keys[i],..] = u[..,i,..]; keys are distinct, those outside are skipped", .operands = "x keys u",
    .kind = TF_ANCHOR, .internal = true, .attrs = attrs, .attr_count = TF_COUNT(attrs), .desc_size = sizeof(put_desc), .classes = TF_CLS_ANY,
    .infer = infer, .reference = reference, .anchor = &anchor,
};

bool tf_can_put(const tf_limits *limits, tuff_dtype t)
{
    const uint32_t bits = tf_dtype_bits(t);
    return bits == 4 || (tf_dtype_class(t) && (bits >= 32 || (bits == 16 && limits->storage16) || (bits == 8 && limits->storage8)));
}

tuff_tensor tf_put(tuff_tensor x, tuff_tensor keys, tuff_tensor u, int32_t axis)
{
    return tf_add(x.graph, &tf_op_anchor_put, (tuff_tensor[]){ x, keys, u }, 3, &(put_desc){ axis, false });
}

tuff_tensor tf_put_pairs(tuff_tensor x, tuff_tensor keys, tuff_tensor u)
{
    return tf_add(x.graph, &tf_op_anchor_put, (tuff_tensor[]){ x, keys, u }, 3, &(put_desc){ 1, true });
}

/* ---- one row, from a loop ------------------------------------------------------------------------ */

static bool row_infer(tf_infer *c)
{
    if (c->type[0]->rank < 1 || c->type[1]->rank || c->type[2]->rank + 1 != c->type[0]->rank)
        return tf_bad(c, TUFF_E_SHAPE, "x[n,..], row, u[..] (%s; %s; %s)", tf_src_text(c, 0), tf_src_text(c, 1), tf_src_text(c, 2));
    c->out[0] = *c->type[0];
    return true;
}

static tuff_status row_reference(tf_ref *r)
{
    const tf_ref_tensor *u = r->src[2];
    const double row = r->src[1]->re[0];
    copy_base(r);
    if (row < 0 || row >= (double)r->out[0].dim[0] || !u->n)
        return TUFF_OK;
    memcpy(r->out[0].re + (size_t)row * u->n, u->re, (size_t)u->n * sizeof *u->re);
    if (u->im)
        memcpy(r->out[0].im + (size_t)row * u->n, u->im, (size_t)u->n * sizeof *u->im);
    return TUFF_OK;
}

static void row_lower(tf_lower *l)
{
    int64_t d[TUFF_MAX_RANK] = { 1 };
    const int64_t one = 1;
    memcpy(d + 1, l->out_type->dim + 1, (size_t)(l->out_type->rank - 1) * sizeof d[0]);
    l->out[0] = tf_put(l->src[0], tf_reshaped(l->src[1], 1, &one), tf_reshaped(l->src[2], l->out_type->rank, d), 0);
}

const tf_op tf_op_put_row = {
    .name = "_put_row", .doc = "x[n,..] with y[row] = u[..]", .operands = "x row u", .kind = TF_COMPOSITE, .internal = true, .classes = TF_CLS_ANY,
    .infer = row_infer, .reference = row_reference, .lower = row_lower,
};
