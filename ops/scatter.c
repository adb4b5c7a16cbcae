/* scatter.c - writes through indices, without atomics: the result never depends on the order of execution.
 *
 * SET with few updates drops those that a later one overtakes and puts the others in place (put.c). Otherwise it asks, for each
 * row of x, for the last update that names it and gathers that one: by comparing all with all, or sorted.
 * ADD with few updates sums masked updates in one reduction. With many it sorts them by row, stably, and the anchor _segment
 * adds the updates of each row in their original order. */
#include "anchors.h"

#include <string.h>

typedef struct scatter_desc {
    int32_t axis;
    tuff_scatter_mode mode;
} scatter_desc;

static bool infer(tf_infer *c)
{
    scatter_desc *d = c->mut;
    const tf_type *x = c->type[0], *i = c->type[1], *u = c->type[2];
    if (!tf_axis(c, d->axis, x->rank, &d->axis))
        return false;
    if (tf_dtype_class(i->dtype) != TF_CLS_INT)
        return tf_bad(c, TUFF_E_DTYPE, "%s is no index dtype: int (%s)", tuff_dtype_name(i->dtype), tf_src_text(c, 1));
    if (u->dtype != x->dtype)
        return tf_bad(c, TUFF_E_DTYPE, "x and updates differ in dtype; cast one of them (%s; %s)", tf_src_text(c, 0), tf_src_text(c, 2));
    if (!tf_dtype_class(x->dtype) || (d->mode == TUFF_SCATTER_ADD && x->dtype == TUFF_BOOL))
        return tf_bad(c, TUFF_E_DTYPE, "there is no arithmetic in %s (%s)", tuff_dtype_name(x->dtype), tf_src_text(c, 0));
    bool fits = u->rank == x->rank - 1 + i->rank;
    for (int32_t a = 0; fits && a < u->rank; a++) {
        const int64_t want = a < d->axis ? x->dim[a] : a < d->axis + i->rank ? i->dim[a - d->axis] : x->dim[a - i->rank + 1];
        fits = tf_dim_equal(u->dim[a], want);
    }
    if (!fits)
        return tf_bad(c, TUFF_E_SHAPE, "updates need x's dims with axis %d replaced by those of indices (%s; %s; %s)", (int)d->axis,
                      tf_src_text(c, 0), tf_src_text(c, 1), tf_src_text(c, 2));
    c->out[0] = *x;
    return true;
}

static tuff_status reference(tf_ref *r)
{
    const scatter_desc *d = r->desc;
    const tf_ref_tensor *x = r->src[0], *index = r->src[1], *u = r->src[2];
    tf_ref_tensor *y = &r->out[0];
    uint64_t cols = 1;
    for (int32_t a = d->axis + 1; a < x->rank; a++)
        cols *= (uint64_t)x->dim[a];
    if (x->n)
        memcpy(y->re, x->re, (size_t)x->n * sizeof *y->re);
    if (x->n && y->im)
        memcpy(y->im, x->im, (size_t)x->n * sizeof *y->im);
    const double rows = (double)x->dim[d->axis];
    for (uint64_t i = 0; i < u->n; i++) { /* updates [outer, index->n, cols] */
        const double at = index->re[i / cols % index->n];
        if (at < 0 || at >= rows)
            continue;
        const uint64_t to = (i / cols / index->n * (uint64_t)x->dim[d->axis] + (uint64_t)at) * cols + i % cols;
        y->re[to] = u->re[i] + (d->mode == TUFF_SCATTER_ADD ? y->re[to] : 0);
        if (y->im)
            y->im[to] = u->im[i] + (d->mode == TUFF_SCATTER_ADD ? y->im[to] : 0);
    }
    return TUFF_OK;
}

/* ---- lowering: x[outer, rows, cols], keys[n], updates[outer, n, cols] -------------------------------- */

typedef struct parts {
    tf_lower *l;
    tuff_tensor x, keys, u; /* keys i32 */
    int64_t outer, rows, cols, n;
} parts;

static tuff_tensor iota(parts *p, int64_t count)
{
    return tuff_iota(p->l->g, (tuff_shape){ 1, { count } }, 0, NULL);
}

static tuff_tensor column(tuff_tensor x)
{
    return tf_reshaped(x, 2, (int64_t[2]){ tf_ty(x)->dim[0], 1 });
}

static tuff_tensor line(tuff_tensor x)
{
    return tf_reshaped(x, 2, (int64_t[2]){ 1, tf_ty(x)->dim[0] });
}

static tuff_tensor set_sorted(parts *p)
{
    tuff_graph *g = p->l->g;
    tuff_tensor order, start;
    if (!tf_segments(g, p->l->limits, p->keys, p->rows, &order, &start))
        return order;
    const tuff_tensor end = tuff_slice(start, (tuff_ints){ 1, { 1 } }, (tuff_ints){ 1, { TUFF_END } }, NULL);
    const tuff_tensor begin = tuff_slice(start, (tuff_ints){ 1, { 0 } }, (tuff_ints){ 1, { -1 } }, NULL);
    const tuff_tensor last = tuff_gather(order, tuff_sub(end, tuff_literal(g, 1, TUFF_I32)), 0);
    const tuff_tensor named = tf_reshaped(tuff_greater(end, begin), 3, (int64_t[3]){ 1, p->rows, 1 });
    return tuff_where(named, tuff_gather(p->u, last, 1), p->x);
}

static tuff_tensor set(parts *p)
{
    tuff_graph *g = p->l->g;
    const tuff_tensor none = tuff_literal(g, -1, TUFF_I32);
    const tuff_tensor hit = tuff_equal(line(p->keys), column(iota(p, p->rows)));
    const tuff_tensor last = tf_reduce(g, p->l->limits, tuff_where(hit, line(iota(p, p->n)), none), 2, TF_FOLD_MAX, 0);
    if (!last.id)
        return last;
    const tuff_tensor named = tf_reshaped(tuff_greater(last, none), 3, (int64_t[3]){ 1, p->rows, 1 });
    return tuff_where(named, tuff_gather(p->u, last, 1), p->x);
}

/* Few updates: only their rows are written, so that a state changes by them alone. */
static tuff_tensor set_rows(parts *p, tuff_tensor x, tuff_tensor updates, int32_t axis)
{
    tuff_graph *g = p->l->g;
    int64_t d[TUFF_MAX_RANK] = { 0 };
    tuff_tensor keys = p->keys;
    memcpy(d, tf_ty(x)->dim, sizeof d);
    d[axis] = p->n;
    if (tf_dim_bound(g, p->n) > 1) {
        const tuff_tensor at = iota(p, p->n);
        const tuff_tensor later = tuff_logical_and(tuff_equal(line(keys), column(keys)), tuff_less(column(at), line(at)));
        keys = tuff_where(tf_reduce(g, p->l->limits, later, 2, TF_FOLD_ANY, 0), tuff_literal(g, -1, TUFF_I32), keys);
    }
    return tf_put(x, keys, tf_reshaped(updates, tf_ty(x)->rank, d), axis);
}

static tuff_tensor add_masked(parts *p)
{
    tuff_graph *g = p->l->g;
    const tuff_tensor keys = tf_reshaped(p->keys, 4, (int64_t[4]){ 1, 1, p->n, 1 });
    const tuff_tensor rows = tf_reshaped(iota(p, p->rows), 4, (int64_t[4]){ 1, p->rows, 1, 1 });
    const tuff_tensor u = tf_reshaped(p->u, 4, (int64_t[4]){ p->outer, 1, p->n, p->cols });
    const tuff_tensor masked = tuff_where(tuff_equal(keys, rows), u, tuff_literal(g, 0, tf_ty(u)->dtype));
    return tuff_add(p->x, tf_reduce(g, p->l->limits, masked, 4, TF_FOLD_SUM, 0));
}

static tuff_tensor add_sorted(parts *p)
{
    tuff_graph *g = p->l->g;
    tuff_tensor order, start;
    if (!tf_segments(g, p->l->limits, p->keys, p->rows, &order, &start))
        return order;
    const tuff_tensor src[3] = { p->u, order, start };
    return tuff_add(p->x, tf_add(g, &tf_op_anchor_segment, src, 3, NULL));
}

static void lower(tf_lower *l)
{
    const scatter_desc *d = l->desc;
    const tf_type *t = l->out_type;
    parts p = { .l = l, .rows = t->dim[d->axis] };
    p.outer = tf_dim_product(l->g, t->dim, 0, d->axis);
    p.cols = tf_dim_product(l->g, t->dim, d->axis + 1, t->rank);
    p.n = tf_dim_product(l->g, tf_ty(l->src[1])->dim, 0, tf_ty(l->src[1])->rank);
    const bool add = d->mode == TUFF_SCATTER_ADD;
    p.x = tf_reshaped(add ? tf_widened(l->src[0]) : l->src[0], 3, (int64_t[3]){ p.outer, p.rows, p.cols });
    p.u = tf_reshaped(add ? tf_widened(l->src[2]) : l->src[2], 3, (int64_t[3]){ p.outer, p.n, p.cols });
    p.keys = tf_cast_to(tf_reshaped(l->src[1], 1, &p.n), TUFF_I32);
    if (tf_dim_bound(l->g, p.n) == 0 || !p.keys.id) {
        l->out[0] = l->src[0];
        return;
    }
    if (!add && tf_can_put(l->limits, t->dtype) && tf_dim_bound(l->g, p.n) <= TF_MIN(tf_dim_bound(l->g, p.rows), 1024)) {
        l->out[0] = set_rows(&p, l->src[0], l->src[2], d->axis);
        return;
    }
    const int64_t n = tf_dim_bound(l->g, p.n), copies = TF_MAX(tf_dim_bound(l->g, p.outer) * ((tf_dim_bound(l->g, p.cols) + 3) / 4), 1);
    /* Vectors that comparing all with all looks at, which a tensor must be able to name; sorting costs about 64 for each update. */
    const double masked = (double)n * (double)tf_dim_bound(l->g, p.rows) * (double)copies;
    const tuff_tensor y = !add ? (n <= 64 ? set(&p) : set_sorted(&p)) : masked < 0x1p29 && (n <= 16 || masked <= TF_MAX(64.0 * (double)n, 0x1p20)) ? add_masked(&p) : add_sorted(&p);
    if (y.id)
        l->out[0] = tf_cast_to(tf_reshaped(y, t->rank, t->dim), t->dtype);
}

static const char *const modes[] = { "set", "add", NULL };
static const tf_attr attrs[] = {
    TF_A(scatter_desc, axis, TF_ATTR_INT, "the axis that indices address", .required = true),
    TF_A(scatter_desc, mode, TF_ATTR_ENUM, "set: the last update stays; add: all are added", .choices = modes),
};
const tf_op tf_op_scatter = {
    .name = "scatter", .doc = "x[A..,n,B..] with y[a,indices[i],b] set to, or increased by, updates[a,i,b]; indices outside are skipped",
    .operands = "x indices updates", .kind = TF_COMPOSITE, .attrs = attrs, .attr_count = TF_COUNT(attrs),
    .desc_size = sizeof(scatter_desc), .classes = TF_CLS_ANY, .infer = infer, .lower = lower, .reference = reference, .rel = 2,
};
tuff_tensor tuff_scatter(tuff_tensor x, tuff_tensor indices, tuff_tensor updates, int32_t axis, const tuff_scatter_desc *desc)
{
    const scatter_desc d = { axis, desc ? desc->mode : TUFF_SCATTER_SET };
    const tuff_tensor src[3] = { x, indices, updates };
    return tf_add(x.graph, &tf_op_scatter, src, 3, &d);
}
