/* movement.c - ops that only say where an element comes from: reshape, permute, transpose, squeeze, unsqueeze, expand,
 * roll, flip; and what these share with slice.c.
 *
 * A row maps output coordinates to source coordinates twice: view() as expressions that kernels use as index
 * arithmetic, and a numeric map for the reference, written separately. Bijective rows also give the inverse, so that
 * a kernel can store through them. infer() leaves axes non-negative in the node's desc. */
#include "ops.h"

/* ---- shared ---- */

bool tf_axis_list(tf_infer *c, tuff_ints *axes, int32_t rank)
{
    uint32_t seen = 0;
    if (axes->n < 0 || axes->n > TUFF_MAX_RANK)
        return tf_bad(c, TUFF_E_ATTRIBUTE, "a list has %d entries; at most %d are possible", (int)axes->n, TUFF_MAX_RANK);
    for (int32_t i = 0; i < axes->n; i++) {
        int32_t axis;
        if (!tf_axis(c, axes->v[i], rank, &axis)) return false;
        if (seen >> axis & 1) return tf_bad(c, TUFF_E_ATTRIBUTE, "axis %d is listed twice", (int)axis);
        seen |= 1u << axis;
        axes->v[i] = axis;
    }
    return true;
}

uint64_t tf_ref_index(const tf_ref_tensor *t, const int64_t *coords)
{
    uint64_t index = 0;
    for (int32_t i = 0; i < t->rank; i++) index = index * (uint64_t)t->dim[i] + (uint64_t)coords[i];
    return index;
}

bool tf_ref_next(const tf_ref_tensor *t, int64_t *coords)
{
    for (int32_t i = t->rank - 1; i >= 0; i--) {
        if (++coords[i] < t->dim[i]) return true;
        coords[i] = 0;
    }
    return false;
}

tuff_status tf_move(tf_ref *r, tf_move_fn map, double fill)
{
    tf_ref_tensor *y = &r->out[0];
    const tf_ref_tensor *x = r->src[0];
    int64_t out[TUFF_MAX_RANK] = { 0 }, src[TUFF_MAX_RANK] = { 0 };
    for (uint64_t i = 0; i < y->n; i++, tf_ref_next(y, out)) {
        const bool inside = map(r, out, src);
        const uint64_t at = inside ? tf_ref_index(x, src) : 0;
        y->re[i] = inside ? x->re[at] : fill;
        if (y->im) y->im[i] = inside ? x->im[at] : 0;
    }
    return TUFF_OK;
}

bool tf_check_rank(tf_infer *c, int32_t rank)
{
    if (rank >= 0 && rank <= TUFF_MAX_RANK) return true;
    return tf_bad(c, TUFF_E_LIMIT, "the result would have rank %d; at most %d is possible", (int)rank, TUFF_MAX_RANK);
}

static bool in_list(const tuff_ints *list, int64_t v)
{
    for (int32_t i = 0; i < list->n; i++)
        if (list->v[i] == v) return true;
    return false;
}

/* ---- reshape ---- */

typedef struct reshape_desc { tuff_shape shape; } reshape_desc;

/* Factors of a dynamic product, constants collected into *constant; false if there are too many. */
static bool factor_dim(const tuff_graph *g, int64_t d, int64_t *list, int32_t *n, int64_t *constant)
{
    if (!tf_dim_is_dynamic(d)) {
        uint64_t p;
        if (!tf_mul_u64(&p, (uint64_t)*constant, (uint64_t)d) || p > INT64_MAX) return false;
        *constant = (int64_t)p;
        return true;
    }
    const tf_dim_expr *e = &g->dims.data[tf_dim_index(d)];
    if (e->kind == TF_DIM_BIN && e->op == TUFF_DIM_MUL)
        return factor_dim(g, e->a, list, n, constant) && factor_dim(g, e->b, list, n, constant);
    if (*n == 64) return false;
    list[(*n)++] = d;
    return true;
}

typedef struct product { int64_t factor[64]; int32_t n; int64_t constant; } product;

static bool factor_type(tf_infer *c, const tf_type *t, product *p)
{
    *p = (product){ .constant = 1 };
    for (int32_t i = 0; i < t->rank; i++)
        if (t->dim[i] != -1 && !factor_dim(c->g, t->dim[i], p->factor, &p->n, &p->constant))
            return tf_bad(c, TUFF_E_OVERFLOW, "the number of elements of %s overflows", tf_type_text(c->g, t));
    return true;
}

/* Take factors that both have out of both. */
static void cancel(product *a, product *b)
{
    for (int32_t i = 0; i < a->n; i++)
        for (int32_t j = 0; j < b->n; j++)
            if (tf_dim_equal(a->factor[i], b->factor[j])) {
                a->factor[i--] = a->factor[--a->n];
                b->factor[j] = b->factor[--b->n];
                break;
            }
}

static bool reshape_infer(tf_infer *c)
{
    const tf_type *x = c->type[0];
    reshape_desc *d = c->mut;
    tf_type *y = &c->out[0];
    int32_t open = -1;
    if (!tf_check_rank(c, d->shape.rank)) return false;
    *y = (tf_type){ .dtype = x->dtype, .rank = d->shape.rank };
    for (int32_t i = 0; i < y->rank; i++) {
        y->dim[i] = d->shape.dim[i];
        if (y->dim[i] >= 0 || tf_dim_is_dynamic(y->dim[i])) continue;
        if (y->dim[i] != -1 || open >= 0)
            return tf_bad(c, TUFF_E_ATTRIBUTE, "dim %d of shape is %lld; dims are >= 0, and one may be -1", (int)i, (long long)y->dim[i]);
        open = i;
    }
    product from, to;
    if (!factor_type(c, x, &from) || !factor_type(c, y, &to)) return false;
    cancel(&from, &to);
    if (open >= 0) {
        if (to.n == 0 && to.constant > 0 && from.constant % to.constant == 0) {
            int64_t rest = from.constant / to.constant;
            for (int32_t i = 0; i < from.n; i++) rest = tf_dim_bin(c->g, TUFF_DIM_MUL, from.factor[i], rest);
            y->dim[open] = d->shape.dim[open] = rest;
            return true;
        }
        return tf_bad(c, TUFF_E_SHAPE, "no value of dim %d fits: %s does not divide into the other dims of the shape", (int)open, tf_src_text(c, 0));
    }
    if (from.n == 0 && to.n == 0 && from.constant == to.constant) return true;
    return tf_bad(c, TUFF_E_SHAPE, "%s does not have as many elements as %s", tf_src_text(c, 0), tf_type_text(c->g, y));
}

/* Coordinates of `to` from those of `from`. Equal leading and trailing dims keep their coordinate. */
static void reshape_coords(tf_exprs *x, const tf_type *from, const tf_ex *in, const tf_type *to, tf_ex *out)
{
    int32_t head = 0, tail = 0;
    const int32_t n = TF_MIN(from->rank, to->rank);
    while (head < n && tf_dim_equal(from->dim[head], to->dim[head])) { out[head] = in[head]; head++; }
    while (tail < n - head && tf_dim_equal(from->dim[from->rank - 1 - tail], to->dim[to->rank - 1 - tail])) {
        out[to->rank - 1 - tail] = in[from->rank - 1 - tail];
        tail++;
    }
    tf_type a = { .rank = from->rank - head - tail }, b = { .rank = to->rank - head - tail };
    for (int32_t i = 0; i < a.rank; i++) a.dim[i] = from->dim[head + i];
    for (int32_t i = 0; i < b.rank; i++) b.dim[i] = to->dim[head + i];
    if (b.rank > 0) tf_ex_unlinear(x, &b, tf_ex_linear(x, &a, in + head), out + head);
}

static void reshape_view(tf_view_map *m) { reshape_coords(m->x, m->out_type, m->out, m->src_type, m->src); }
static void reshape_inverse(tf_view_map *m) { reshape_coords(m->x, m->src_type, m->out, m->out_type, m->src); }

static bool reshape_map(const tf_ref *r, const int64_t *out, int64_t *src)
{
    uint64_t index = tf_ref_index(&r->out[0], out);
    for (int32_t i = r->src[0]->rank - 1; i >= 0; i--) {
        src[i] = (int64_t)(index % (uint64_t)r->src[0]->dim[i]);
        index /= (uint64_t)r->src[0]->dim[i];
    }
    return true;
}
static tuff_status reshape_reference(tf_ref *r) { return tf_move(r, reshape_map, 0); }

static const tf_attr reshape_attrs[] = { TF_A(reshape_desc, shape, TF_ATTR_SHAPE, "shape of the result; one dim may be -1", .required = true) };
const tf_op tf_op_reshape = { .name = "reshape", .doc = "x[...] -> y[shape], the same elements in row-major order", .operands = "x", .kind = TF_VIEW,
    .attrs = reshape_attrs, .attr_count = TF_COUNT(reshape_attrs), .desc_size = sizeof(reshape_desc), .infer = reshape_infer,
    .reference = reshape_reference, .view = reshape_view, .bijective = true, .inverse = reshape_inverse };

tuff_tensor tuff_reshape(tuff_tensor x, tuff_shape shape)
{
    return tf_add(x.graph, &tf_op_reshape, &x, 1, &(reshape_desc){ shape });
}

/* ---- permute, transpose ---- */

typedef struct axes_desc { tuff_ints axes; } axes_desc;

static bool permute_infer(tf_infer *c)
{
    const tf_type *x = c->type[0];
    axes_desc *d = c->mut;
    if (!tf_axis_list(c, &d->axes, x->rank)) return false;
    if (d->axes.n != x->rank)
        return tf_bad(c, TUFF_E_ATTRIBUTE, "axes has %d entries; rank %d needs as many (%s)", (int)d->axes.n, (int)x->rank, tf_src_text(c, 0));
    c->out[0] = *x;
    for (int32_t i = 0; i < x->rank; i++) c->out[0].dim[i] = x->dim[d->axes.v[i]];
    return true;
}
static void permute_view(tf_view_map *m)
{
    const tuff_ints *axes = &((const axes_desc *)m->desc)->axes;
    for (int32_t i = 0; i < axes->n; i++) m->src[axes->v[i]] = m->out[i];
}
static void permute_inverse(tf_view_map *m)
{
    const tuff_ints *axes = &((const axes_desc *)m->desc)->axes;
    for (int32_t i = 0; i < axes->n; i++) m->src[i] = m->out[axes->v[i]];
}
static bool permute_map(const tf_ref *r, const int64_t *out, int64_t *src)
{
    for (int32_t i = 0; i < r->out[0].rank; i++) src[((const axes_desc *)r->desc)->axes.v[i]] = out[i];
    return true;
}
static tuff_status permute_reference(tf_ref *r) { return tf_move(r, permute_map, 0); }

static const tf_attr permute_attrs[] = { TF_A(axes_desc, axes, TF_ATTR_INTS, "axis of x that becomes each axis of the result", .required = true) };
const tf_op tf_op_permute = { .name = "permute", .doc = "axes in another order: y's axis i is x's axis axes[i]", .operands = "x", .kind = TF_VIEW,
    .attrs = permute_attrs, .attr_count = TF_COUNT(permute_attrs), .desc_size = sizeof(axes_desc), .infer = permute_infer,
    .reference = permute_reference, .view = permute_view, .bijective = true, .inverse = permute_inverse };

tuff_tensor tuff_permute(tuff_tensor x, tuff_ints axes)
{
    return tf_add(x.graph, &tf_op_permute, &x, 1, &(axes_desc){ axes });
}

typedef struct transpose_desc { int32_t a, b; } transpose_desc;

static int32_t swapped(const transpose_desc *d, int32_t i) { return i == d->a ? d->b : i == d->b ? d->a : i; }

static bool transpose_infer(tf_infer *c)
{
    transpose_desc *d = c->mut;
    if (!tf_axis(c, d->a, c->type[0]->rank, &d->a) || !tf_axis(c, d->b, c->type[0]->rank, &d->b)) return false;
    c->out[0] = *c->type[0];
    for (int32_t i = 0; i < c->out[0].rank; i++) c->out[0].dim[i] = c->type[0]->dim[swapped(d, i)];
    return true;
}
static void transpose_view(tf_view_map *m)
{
    for (int32_t i = 0; i < m->out_type->rank; i++) m->src[i] = m->out[swapped(m->desc, i)];
}
static bool transpose_map(const tf_ref *r, const int64_t *out, int64_t *src)
{
    const transpose_desc *d = r->desc;
    for (int32_t i = 0; i < r->out[0].rank; i++) src[i] = out[i];
    src[d->a] = out[d->b];
    src[d->b] = out[d->a];
    return true;
}
static tuff_status transpose_reference(tf_ref *r) { return tf_move(r, transpose_map, 0); }

static const tf_attr transpose_attrs[] = { TF_A(transpose_desc, a, TF_ATTR_INT, "an axis", .required = true),
                                           TF_A(transpose_desc, b, TF_ATTR_INT, "the axis it changes places with", .required = true) };
const tf_op tf_op_transpose = { .name = "transpose", .doc = "axes a and b exchanged", .operands = "x", .kind = TF_VIEW,
    .attrs = transpose_attrs, .attr_count = TF_COUNT(transpose_attrs), .desc_size = sizeof(transpose_desc), .infer = transpose_infer,
    .reference = transpose_reference, .view = transpose_view, .bijective = true, .inverse = transpose_view };

tuff_tensor tuff_transpose(tuff_tensor x, int32_t a, int32_t b)
{
    return tf_add(x.graph, &tf_op_transpose, &x, 1, &(transpose_desc){ a, b });
}

/* ---- squeeze, unsqueeze ---- */

static bool squeeze_infer(tf_infer *c)
{
    const tf_type *x = c->type[0];
    tuff_squeeze_desc *d = c->mut;
    if (d->axes.n == 0) {
        for (int32_t i = 0; i < x->rank; i++)
            if (x->dim[i] == 1) d->axes.v[d->axes.n++] = i;
    } else if (!tf_axis_list(c, &d->axes, x->rank)) return false;
    c->out[0] = (tf_type){ .dtype = x->dtype };
    for (int32_t i = 0; i < x->rank; i++) {
        if (!in_list(&d->axes, i)) c->out[0].dim[c->out[0].rank++] = x->dim[i];
        else if (x->dim[i] != 1)
            return tf_bad(c, TUFF_E_SHAPE, "axis %d has size %s; only axes of size 1 can be removed (%s)", (int)i, tf_dim_text(c->g, x->dim[i]),
                          tf_src_text(c, 0));
    }
    return true;
}
/* `with` has the axes of the list, `without` lacks them. */
static void drop_axes(const tuff_ints *axes, const tf_ex *with, int32_t rank, tf_ex *without)
{
    for (int32_t i = 0, k = 0; i < rank; i++)
        if (!in_list(axes, i)) without[k++] = with[i];
}
static void insert_axes(tf_exprs *x, const tuff_ints *axes, const tf_ex *without, int32_t rank, tf_ex *with)
{
    for (int32_t i = 0, k = 0; i < rank; i++) with[i] = in_list(axes, i) ? tf_ex_int(x, 0) : without[k++];
}
static void squeeze_view(tf_view_map *m) { insert_axes(m->x, &((const tuff_squeeze_desc *)m->desc)->axes, m->out, m->src_type->rank, m->src); }
static void squeeze_inverse(tf_view_map *m) { drop_axes(&((const tuff_squeeze_desc *)m->desc)->axes, m->out, m->src_type->rank, m->src); }

static const tf_attr squeeze_attrs[] = { TF_A(tuff_squeeze_desc, axes, TF_ATTR_INTS, "axes to remove; empty: all of size 1") };
const tf_op tf_op_squeeze = { .name = "squeeze", .doc = "axes of size 1 removed", .operands = "x", .kind = TF_VIEW,
    .attrs = squeeze_attrs, .attr_count = TF_COUNT(squeeze_attrs), .desc_size = sizeof(tuff_squeeze_desc), .infer = squeeze_infer,
    .reference = reshape_reference, .view = squeeze_view, .bijective = true, .inverse = squeeze_inverse };

tuff_tensor tuff_squeeze(tuff_tensor x, const tuff_squeeze_desc *desc)
{
    return tf_add(x.graph, &tf_op_squeeze, &x, 1, desc);
}

static bool unsqueeze_infer(tf_infer *c)
{
    const tf_type *x = c->type[0];
    axes_desc *d = c->mut;
    tf_type *y = &c->out[0];
    if (!tf_check_rank(c, d->axes.n) || !tf_check_rank(c, x->rank + d->axes.n) || !tf_axis_list(c, &d->axes, x->rank + d->axes.n)) return false;
    *y = (tf_type){ .dtype = x->dtype, .rank = x->rank + d->axes.n };
    for (int32_t i = 0, k = 0; i < y->rank; i++) y->dim[i] = in_list(&d->axes, i) ? 1 : x->dim[k++];
    return true;
}
static void unsqueeze_view(tf_view_map *m) { drop_axes(&((const axes_desc *)m->desc)->axes, m->out, m->out_type->rank, m->src); }
static void unsqueeze_inverse(tf_view_map *m) { insert_axes(m->x, &((const axes_desc *)m->desc)->axes, m->out, m->out_type->rank, m->src); }

static const tf_attr unsqueeze_attrs[] = { TF_A(axes_desc, axes, TF_ATTR_INTS, "positions of the new axes in the result", .required = true) };
const tf_op tf_op_unsqueeze = { .name = "unsqueeze", .doc = "axes of size 1 inserted", .operands = "x", .kind = TF_VIEW,
    .attrs = unsqueeze_attrs, .attr_count = TF_COUNT(unsqueeze_attrs), .desc_size = sizeof(axes_desc), .infer = unsqueeze_infer,
    .reference = reshape_reference, .view = unsqueeze_view, .bijective = true, .inverse = unsqueeze_inverse };

tuff_tensor tuff_unsqueeze(tuff_tensor x, tuff_ints axes)
{
    return tf_add(x.graph, &tf_op_unsqueeze, &x, 1, &(axes_desc){ axes });
}

/* ---- expand ---- */

static bool expand_infer(tf_infer *c)
{
    const tf_type *x = c->type[0];
    reshape_desc *d = c->mut;
    tf_type *y = &c->out[0];
    if (!tf_check_rank(c, d->shape.rank)) return false;
    const int32_t lead = d->shape.rank - x->rank;
    if (lead < 0) return tf_bad(c, TUFF_E_SHAPE, "shape has rank %d, below that of %s", (int)d->shape.rank, tf_src_text(c, 0));
    *y = (tf_type){ .dtype = x->dtype, .rank = d->shape.rank };
    for (int32_t i = 0; i < y->rank; i++) {
        int64_t *want = &d->shape.dim[i];
        const int64_t have = i < lead ? 1 : x->dim[i - lead];
        if (*want == -1 && i >= lead) *want = have;
        if (*want < 0 && !tf_dim_is_dynamic(*want))
            return tf_bad(c, TUFF_E_ATTRIBUTE, "dim %d of shape is %lld; it is >= 0, or -1 for a dim of x", (int)i, (long long)*want);
        if (have != 1 && !tf_dim_equal(have, *want))
            return tf_bad(c, TUFF_E_SHAPE, "dim %d of shape is %s, but %s has %s there; only a dim of 1 repeats", (int)i, tf_dim_text(c->g, *want),
                          tf_src_text(c, 0), tf_dim_text(c->g, have));
        y->dim[i] = *want;
    }
    return true;
}
static void expand_view(tf_view_map *m) { tf_broadcast_coords(m->x, m->src_type, m->out, m->out_type->rank, m->src); }
static bool expand_map(const tf_ref *r, const int64_t *out, int64_t *src)
{
    const int32_t lead = r->out[0].rank - r->src[0]->rank;
    for (int32_t i = 0; i < r->src[0]->rank; i++) src[i] = out[i + lead] % r->src[0]->dim[i];
    return true;
}
static tuff_status expand_reference(tf_ref *r) { return tf_move(r, expand_map, 0); }

static const tf_attr expand_attrs[] = { TF_A(reshape_desc, shape, TF_ATTR_SHAPE, "shape of the result; -1 keeps the dim of x", .required = true) };
const tf_op tf_op_expand = { .name = "expand", .doc = "x broadcast to shape: dims of 1 repeat", .operands = "x", .kind = TF_VIEW,
    .attrs = expand_attrs, .attr_count = TF_COUNT(expand_attrs), .desc_size = sizeof(reshape_desc), .infer = expand_infer,
    .reference = expand_reference, .view = expand_view };

tuff_tensor tuff_expand(tuff_tensor x, tuff_shape shape)
{
    return tf_add(x.graph, &tf_op_expand, &x, 1, &(reshape_desc){ shape });
}

/* ---- roll, flip ---- */

typedef struct roll_desc { tuff_ints shift, axes; } roll_desc;

static bool roll_infer(tf_infer *c)
{
    roll_desc *d = c->mut;
    if (!tf_axis_list(c, &d->axes, c->type[0]->rank)) return false;
    if (d->shift.n != d->axes.n)
        return tf_bad(c, TUFF_E_ATTRIBUTE, "shift has %d entries and axes has %d; they go in pairs", (int)d->shift.n, (int)d->axes.n);
    for (int32_t i = 0; i < d->shift.n; i++)
        if (d->shift.v[i] < -INT32_MAX || d->shift.v[i] > INT32_MAX)
            return tf_bad(c, TUFF_E_ATTRIBUTE, "shift %lld is outside 32 bits", (long long)d->shift.v[i]);
    c->out[0] = *c->type[0];
    return true;
}
/* (at - shift) mod n, all intermediate values >= 0. */
static tf_ex rolled(tf_view_map *m, tf_ex at, int64_t shift, int32_t axis)
{
    const tf_ex n = tf_src_dim(m, axis);
    const tf_ex step = tf_ex_mod(m->x, tf_ex_int(m->x, shift < 0 ? -shift : shift), n);
    return tf_ex_mod(m->x, shift < 0 ? tf_ex_add(m->x, at, step) : tf_ex_add(m->x, at, tf_ex_sub(m->x, n, step)), n);
}
static void roll_by(tf_view_map *m, int64_t sign)
{
    const roll_desc *d = m->desc;
    tf_same_coords(m);
    for (int32_t i = 0; i < d->axes.n; i++) m->src[d->axes.v[i]] = rolled(m, m->out[d->axes.v[i]], sign * d->shift.v[i], (int32_t)d->axes.v[i]);
}
static void roll_view(tf_view_map *m) { roll_by(m, 1); }
static void roll_inverse(tf_view_map *m) { roll_by(m, -1); }
static bool roll_map(const tf_ref *r, const int64_t *out, int64_t *src)
{
    const roll_desc *d = r->desc;
    for (int32_t i = 0; i < r->out[0].rank; i++) src[i] = out[i];
    for (int32_t i = 0; i < d->axes.n; i++) {
        const int64_t n = r->src[0]->dim[d->axes.v[i]];
        src[d->axes.v[i]] = ((out[d->axes.v[i]] - d->shift.v[i]) % n + n) % n;
    }
    return true;
}
static tuff_status roll_reference(tf_ref *r) { return tf_move(r, roll_map, 0); }

static const tf_attr roll_attrs[] = { TF_A(roll_desc, shift, TF_ATTR_INTS, "places to move by, one per axis", .required = true),
                                      TF_A(roll_desc, axes, TF_ATTR_INTS, "axes to roll", .required = true) };
const tf_op tf_op_roll = { .name = "roll", .doc = "y[(i + shift) mod n] = x[i] along the axes", .operands = "x", .kind = TF_VIEW,
    .attrs = roll_attrs, .attr_count = TF_COUNT(roll_attrs), .desc_size = sizeof(roll_desc), .infer = roll_infer,
    .reference = roll_reference, .view = roll_view, .bijective = true, .inverse = roll_inverse };

tuff_tensor tuff_roll(tuff_tensor x, tuff_ints shift, tuff_ints axes)
{
    return tf_add(x.graph, &tf_op_roll, &x, 1, &(roll_desc){ shift, axes });
}

static bool flip_infer(tf_infer *c)
{
    c->out[0] = *c->type[0];
    return tf_axis_list(c, &((axes_desc *)c->mut)->axes, c->type[0]->rank);
}
static void flip_view(tf_view_map *m)
{
    const tuff_ints *axes = &((const axes_desc *)m->desc)->axes;
    tf_same_coords(m);
    for (int32_t i = 0; i < axes->n; i++)
        m->src[axes->v[i]] = tf_ex_sub(m->x, tf_ex_sub(m->x, tf_src_dim(m, (int32_t)axes->v[i]), tf_ex_int(m->x, 1)), m->out[axes->v[i]]);
}
static bool flip_map(const tf_ref *r, const int64_t *out, int64_t *src)
{
    const tuff_ints *axes = &((const axes_desc *)r->desc)->axes;
    for (int32_t i = 0; i < r->out[0].rank; i++) src[i] = in_list(axes, i) ? r->src[0]->dim[i] - 1 - out[i] : out[i];
    return true;
}
static tuff_status flip_reference(tf_ref *r) { return tf_move(r, flip_map, 0); }

static const tf_attr flip_attrs[] = { TF_A(axes_desc, axes, TF_ATTR_INTS, "axes to reverse", .required = true) };
const tf_op tf_op_flip = { .name = "flip", .doc = "order reversed along the axes", .operands = "x", .kind = TF_VIEW,
    .attrs = flip_attrs, .attr_count = TF_COUNT(flip_attrs), .desc_size = sizeof(axes_desc), .infer = flip_infer,
    .reference = flip_reference, .view = flip_view, .bijective = true, .inverse = flip_view };

tuff_tensor tuff_flip(tuff_tensor x, tuff_ints axes)
{
    return tf_add(x.graph, &tf_op_flip, &x, 1, &(axes_desc){ axes });
}
