/* reduce.c - reductions over any axes: sum mean prod max min any all logsumexp variance std norm argmax argmin.
 *
 * Lowering makes a view [outer, inner, cols] of the operand: inner are the reduced axes, cols the kept axes behind the
 * last reduced one. With cols the anchor _reduce_cols runs vectors along cols, without it _reduce runs them along
 * inner; neither moves data. Few long rows are cut into parts that a second anchor folds. The order of additions is a
 * fixed tree. */
#include "anchors.h"

#include <math.h>
#include <string.h>

/* ---- reference --------------------------------------------------------------------------------- */

static uint32_t wrap_mul(double a, double b)
{
    return (uint32_t)(int64_t)a * (uint32_t)(int64_t)b;
}

static double fold_max(const double *x, uint64_t n, double sign, uint64_t *at)
{
    *at = 0;
    for (uint64_t i = 1; i < n; i++)
        if (sign * x[i] > sign * x[*at])
            *at = i;
    return n ? x[*at] : -sign * INFINITY;
}

static double fold_logsumexp(const double *x, uint64_t n)
{
    uint64_t at;
    const double m = fold_max(x, n, 1, &at);
    double sum = 0;
    if (isinf(m))
        return m;
    for (uint64_t i = 0; i < n; i++)
        sum += exp(x[i] - m);
    return m + log(sum);
}

static double fold_squares(const double *x, uint64_t n)
{
    double mean = 0, sum = 0;
    for (uint64_t i = 0; i < n; i++)
        mean += x[i];
    mean /= n ? (double)n : 1;
    for (uint64_t i = 0; i < n; i++)
        sum += (x[i] - mean) * (x[i] - mean);
    return sum;
}

/* Folds n elements; im: NULL for real dtypes. */
static tf_scalar fold(tf_fold kind, tuff_dtype dtype, const double *re, const double *im, uint64_t n)
{
    tf_scalar r = { 0 };
    uint64_t at;
    switch (kind) {
    case TF_FOLD_SUM:
        for (uint64_t i = 0; i < n; i++) {
            r.re += re[i];
            r.im += im ? im[i] : 0;
        }
        break;
    case TF_FOLD_PROD:
        r.re = 1;
        for (uint64_t i = 0; i < n; i++) {
            const double a = r.re, b = r.im, c = re[i], d = im ? im[i] : 0;
            r.re = tf_dtype_is_int(dtype) ? (double)wrap_mul(a, c) : im ? a * c - b * d : a * c;
            r.im = im ? a * d + b * c : 0;
        }
        break;
    case TF_FOLD_MAX: r.re = fold_max(re, n, 1, &at); break;
    case TF_FOLD_MIN: r.re = fold_max(re, n, -1, &at); break;
    case TF_FOLD_ANY:
        for (uint64_t i = 0; i < n; i++)
            r.re = r.re != 0 || re[i] != 0;
        break;
    case TF_FOLD_ALL:
        r.re = 1;
        for (uint64_t i = 0; i < n; i++)
            r.re = r.re != 0 && re[i] != 0;
        break;
    case TF_FOLD_ARGMAX: fold_max(re, n, 1, &at); r.re = (double)at; break;
    case TF_FOLD_ARGMIN: fold_max(re, n, -1, &at); r.re = (double)at; break;
    case TF_FOLD_LOGSUMEXP: r.re = fold_logsumexp(re, n); break;
    case TF_FOLD_SQUARES: r.re = fold_squares(re, n); break;
    }
    return r;
}

/* Copies x with the axes of `mask` last; rows of `*inner` elements. */
static bool gather_rows(tf_ref *r, const tf_ref_tensor *x, uint32_t mask, uint64_t *inner, double **re, double **im)
{
    uint64_t stride[TUFF_MAX_RANK] = { 0 }, step = 1;
    *inner = 1;
    for (int pass = 1; pass >= 0; pass--)
        for (int32_t a = x->rank - 1; a >= 0; a--)
            if ((int)(mask >> a & 1) == pass) {
                stride[a] = step;
                step *= (uint64_t)x->dim[a];
                *inner *= pass ? (uint64_t)x->dim[a] : 1;
            }
    *re = tf_arena_array(r->scratch, double, x->n + 1);
    *im = x->im ? tf_arena_array(r->scratch, double, x->n + 1) : NULL;
    if (!*re || (x->im && !*im))
        return false;
    for (uint64_t i = 0; i < x->n; i++) {
        uint64_t rest = i, to = 0;
        for (int32_t a = x->rank - 1; a >= 0; a--) {
            to += rest % (uint64_t)x->dim[a] * stride[a];
            rest /= (uint64_t)x->dim[a];
        }
        (*re)[to] = x->re[i];
        if (x->im)
            (*im)[to] = x->im[i];
    }
    return true;
}

static tuff_status reference(tf_ref *r, uint32_t mask, tf_fold kind, double divisor)
{
    const tf_ref_tensor *x = r->src[0];
    uint64_t inner;
    double *re, *im;
    if (!gather_rows(r, x, mask, &inner, &re, &im))
        return TUFF_E_MEMORY;
    for (uint64_t o = 0; o < r->out[0].n; o++) {
        const tf_scalar v = fold(kind, x->dtype, re + o * inner, im ? im + o * inner : NULL, inner);
        r->out[0].re[o] = v.re / divisor;
        if (im)
            r->out[0].im[o] = v.im / divisor;
    }
    return TUFF_OK;
}

static uint32_t mask_of(const tuff_ints *axes)
{
    uint32_t mask = 0;
    for (int32_t i = 0; i < axes->n; i++)
        mask |= 1u << axes->v[i];
    return mask;
}

static double count_of(const tf_ref *r, uint32_t mask)
{
    double n = 1;
    for (int32_t a = 0; a < r->src[0]->rank; a++)
        n *= mask >> a & 1 ? (double)r->src[0]->dim[a] : 1;
    return n;
}

/* ---- lowering to the anchors -------------------------------------------------------------------- */

/* Length of the parts that rows of `inner` are cut into, 0 to leave them whole: cut when the rows alone do not fill
 * the device. */
static int64_t chunk_for(const tuff_graph *g, const tf_limits *l, int64_t rows, int64_t inner)
{
    const int64_t r = TF_MAX(tf_dim_bound(g, rows), 1), n = tf_dim_bound(g, inner);
    const int64_t want = (int64_t)tf_units(l) * (l->cpu ? 32 : 8), least = l->cpu ? 512 : 4096;
    if (r >= want || n < 2 * least)
        return 0;
    const int64_t parts = (want + r - 1) / r;
    return (int64_t)tf_align_up((uint64_t)TF_MAX((n + parts - 1) / parts, least), 64);
}

/* Rows of columns are read 128 bytes at a time, each from another page: a CPU's prefetcher follows only short parts,
 * about its first-level cache. Measured: 8x for 4096 rows of 1024 columns. */
static int64_t column_chunk(const tuff_graph *g, const tf_limits *l, int64_t inner, int64_t cols)
{
    const int64_t n = tf_dim_bound(g, inner), c = TF_MAX(tf_dim_bound(g, cols), 1);
    if (!l->cpu || n * c <= 65536)
        return 0;
    const int64_t chunk = TF_MAX(TF_MIN(8192 / c, 1024) / 8 * 8, 8);
    return n >= 2 * chunk ? chunk : 0;
}

bool tf_long_columns(const tuff_graph *g, const tf_limits *limits, const tf_type *t, int32_t axis)
{
    uint64_t cols;
    tf_type below = *t; /* the axes behind `axis` */
    below.rank = t->rank - axis - 1;
    memmove(below.dim, below.dim + axis + 1, (size_t)below.rank * sizeof *below.dim);
    return below.rank > 0 && tf_count_bound(g, &below, &cols) && cols < INT32_MAX && column_chunk(g, limits, t->dim[axis], (int64_t)cols) != 0;
}

static tuff_tensor fold_any_length(const tf_limits *limits, tuff_tensor x, bool cols, tf_fold kind, int64_t divisor);

static tuff_tensor fold_once(tuff_tensor x, bool cols, tf_fold kind, int64_t chunk, int64_t divisor)
{
    const tf_fold_desc d = { .fold = kind, .chunk = chunk, .divisor = { .rank = divisor != 0, .dim = { divisor } } };
    return tf_add(x.graph, cols ? &tf_op_anchor_reduce_cols : &tf_op_anchor_reduce, &x, 1, &d);
}

/* Elements equal to the extreme keep their index, others get the largest: the smallest index is the first extreme. */
static tuff_tensor fold_index_split(const tf_limits *limits, tuff_tensor x, bool cols, tf_fold kind)
{
    const tf_type t = *tf_ty(x);
    const tuff_tensor best = fold_any_length(limits, x, cols, kind == TF_FOLD_ARGMAX ? TF_FOLD_MAX : TF_FOLD_MIN, 0);
    tuff_shape shape = { .rank = t.rank };
    memcpy(shape.dim, t.dim, sizeof shape.dim);
    const tuff_tensor at = tuff_iota(x.graph, shape, 1, NULL), last = tuff_literal(x.graph, INT32_MAX, TUFF_I32);
    return fold_any_length(limits, tuff_where(tuff_equal(x, tuff_expand(best, shape)), at, last), cols, TF_FOLD_MIN, 0);
}

static tuff_tensor fold_squares_split(const tf_limits *limits, tuff_tensor x, bool cols, int64_t divisor)
{
    const tf_type t = *tf_ty(x);
    tuff_shape shape = { .rank = t.rank };
    memcpy(shape.dim, t.dim, sizeof shape.dim);
    const tuff_tensor mean = fold_any_length(limits, x, cols, TF_FOLD_SUM, t.dim[1]);
    return fold_any_length(limits, tuff_square(tuff_sub(x, tuff_expand(mean, shape))), cols, TF_FOLD_SUM, divisor);
}

/* x[outer, inner(, cols)] folded to [outer, 1(, cols)]. */
static tuff_tensor fold_any_length(const tf_limits *limits, tuff_tensor x, bool cols, tf_fold kind, int64_t divisor)
{
    if (!x.id)
        return x;
    const tf_type *t = tf_ty(x);
    const int64_t rows = cols ? tf_dim_bin(x.graph, TUFF_DIM_MUL, t->dim[0], tf_dim_ceildiv(x.graph, t->dim[2], 4)) : t->dim[0];
    int64_t chunk = cols ? column_chunk(x.graph, limits, t->dim[1], t->dim[2]) : 0;
    if (!chunk)
        chunk = chunk_for(x.graph, limits, rows, t->dim[1]);
    if (!chunk)
        return fold_once(x, cols, kind, 0, divisor);
    if (kind == TF_FOLD_ARGMAX || kind == TF_FOLD_ARGMIN)
        return fold_index_split(limits, x, cols, kind);
    if (kind == TF_FOLD_SQUARES)
        return fold_squares_split(limits, x, cols, divisor);
    return fold_any_length(limits, fold_once(x, cols, kind, chunk, 0), cols, kind, divisor);
}

tuff_tensor tf_reduce(tuff_graph *g, const tf_limits *limits, tuff_tensor x, uint32_t mask, tf_fold kind, int64_t divisor)
{
    x = tf_widened(x);
    if (!x.id)
        return x;
    const tf_type t = *tf_ty(x);
    int32_t tail = t.rank; /* kept axes behind the last reduced one start here */
    while (tail > 0 && !(mask >> (tail - 1) & 1))
        tail--;
    tuff_ints order = { 0 };
    tuff_shape kept = { 0 };
    for (int32_t a = 0; a < tail; a++)
        if (!(mask >> a & 1))
            order.v[order.n++] = a;
    const int32_t outer = order.n;
    for (int32_t a = 0; a < tail; a++)
        if (mask >> a & 1)
            order.v[order.n++] = a;
    const int32_t inner = order.n;
    for (int32_t a = tail; a < t.rank; a++)
        order.v[order.n++] = a;

    bool moved = false;
    tf_type p = { .rank = t.rank };
    for (int32_t i = 0; i < t.rank; i++) {
        moved = moved || order.v[i] != i;
        p.dim[i] = t.dim[order.v[i]];
        if (i < outer || i >= inner)
            kept.dim[kept.rank++] = p.dim[i];
    }
    const int64_t d[3] = { tf_dim_product(g, p.dim, 0, outer), tf_dim_product(g, p.dim, outer, inner),
                           tf_dim_product(g, p.dim, inner, t.rank) };
    const bool cols = tail < t.rank;
    const tuff_tensor v = tf_reshaped(moved ? tuff_permute(x, order) : x, cols ? 3 : 2, d);
    return tf_reshaped(fold_any_length(limits, v, cols, kind, divisor), kept.rank, kept.dim);
}

/* Result of a public row: folded, then shaped and cast as inferred. */
static void deliver(tf_lower *l, tuff_tensor y)
{
    if (y.id)
        l->out[0] = tf_cast_to(tf_reshaped(y, l->out_type->rank, l->out_type->dim), l->out_type->dtype);
}

static int64_t count_dim(const tf_lower *l, uint32_t mask)
{
    const tf_type *t = tf_ty(l->src[0]);
    int64_t n = 1;
    for (int32_t a = 0; a < t->rank; a++)
        if (mask >> a & 1)
            n = tf_dim_bin(l->g, TUFF_DIM_MUL, n, t->dim[a]);
    return n;
}

/* ---- public rows: sum ... logsumexp ------------------------------------------------------------- */

/* Accumulation dtype of integers, also the result's. */
static tuff_dtype sum_dtype(tuff_dtype t)
{
    return tf_dtype_class(t) == TF_CLS_INT || t == TUFF_BOOL ? t == TUFF_U32 ? TUFF_U32 : TUFF_I32 : t;
}

static bool infer_shape(tf_infer *c, tuff_ints *axes, bool keep, bool needs_elements)
{
    const tf_type *x = c->type[0];
    uint32_t mask;
    if (!(tf_dtype_class(x->dtype) & c->op->classes))
        return tf_bad(c, TUFF_E_DTYPE, "%s is not among its dtypes (%s)", tuff_dtype_name(x->dtype), tf_src_text(c, 0));
    if (!tf_axes_mask(c, axes, x->rank, &mask))
        return false;
    c->out[0] = (tf_type){ .dtype = x->dtype };
    for (int32_t a = 0; a < x->rank; a++) {
        const bool reduced = mask >> a & 1;
        if (reduced && needs_elements && tf_dim_bound(c->g, x->dim[a]) == 0)
            return tf_bad(c, TUFF_E_SHAPE, "axis %d has no elements to choose from (%s)", (int)a, tf_src_text(c, 0));
        if (!reduced || keep)
            c->out[0].dim[c->out[0].rank++] = reduced ? 1 : x->dim[a];
    }
    return true;
}

static bool plain_infer(tf_infer *c)
{
    tuff_reduce_desc *d = c->mut;
    return infer_shape(c, &d->axes, d->keep, false);
}

static bool extreme_infer(tf_infer *c)
{
    tuff_reduce_desc *d = c->mut;
    return infer_shape(c, &d->axes, d->keep, true);
}

static bool sum_infer(tf_infer *c)
{
    if (!plain_infer(c))
        return false;
    c->out[0].dtype = sum_dtype(c->out[0].dtype);
    return true;
}

static void plain_lower(tf_lower *l, tf_fold kind)
{
    const tuff_reduce_desc *d = l->desc;
    deliver(l, tf_reduce(l->g, l->limits, l->src[0], mask_of(&d->axes), kind, 0));
}

static void sum_kind_lower(tf_lower *l, tf_fold kind)
{
    const tuff_reduce_desc *d = l->desc;
    const tuff_tensor x = tf_cast_to(l->src[0], sum_dtype(tf_ty(l->src[0])->dtype));
    deliver(l, tf_reduce(l->g, l->limits, x, mask_of(&d->axes), kind, 0));
}

static void sum_lower(tf_lower *l) { sum_kind_lower(l, TF_FOLD_SUM); }
static void prod_lower(tf_lower *l) { sum_kind_lower(l, TF_FOLD_PROD); }
static void max_lower(tf_lower *l) { plain_lower(l, TF_FOLD_MAX); }
static void min_lower(tf_lower *l) { plain_lower(l, TF_FOLD_MIN); }
static void any_lower(tf_lower *l) { plain_lower(l, TF_FOLD_ANY); }
static void all_lower(tf_lower *l) { plain_lower(l, TF_FOLD_ALL); }

/* The anchor's exponentials are f32; for f64 those of the pointwise row decide what a device can do. */
static void logsumexp_lower(tf_lower *l)
{
    const uint32_t mask = mask_of(&((const tuff_reduce_desc *)l->desc)->axes);
    const tuff_tensor x = l->src[0];
    if (count_dim(l, mask) == 0) { /* log(0) */
        deliver(l, tuff_sub(tf_reduce(l->g, l->limits, x, mask, TF_FOLD_SUM, 0), tuff_literal(l->g, INFINITY, TUFF_DTYPE_NONE)));
        return;
    }
    if (tf_ty(x)->dtype != TUFF_F64) {
        plain_lower(l, TF_FOLD_LOGSUMEXP);
        return;
    }
    tf_type one = *tf_ty(x);
    for (int32_t a = 0; a < one.rank; a++)
        one.dim[a] = mask >> a & 1 ? 1 : one.dim[a];
    const tuff_tensor top = tf_reshaped(tf_reduce(l->g, l->limits, x, mask, TF_FOLD_MAX, 0), one.rank, one.dim);
    const tuff_tensor sum = tf_reduce(l->g, l->limits, tuff_exp(tuff_sub(x, top)), mask, TF_FOLD_SUM, 0);
    deliver(l, tuff_add(tf_reshaped(top, l->out_type->rank, l->out_type->dim), tf_reshaped(tuff_log(sum), l->out_type->rank, l->out_type->dim)));
}

static void mean_lower(tf_lower *l)
{
    const tuff_reduce_desc *d = l->desc;
    const uint32_t mask = mask_of(&d->axes);
    deliver(l, tf_reduce(l->g, l->limits, l->src[0], mask, TF_FOLD_SUM, count_dim(l, mask)));
}

static tuff_status plain_reference(tf_ref *r, tf_fold kind)
{
    return reference(r, mask_of(&((const tuff_reduce_desc *)r->desc)->axes), kind, 1);
}
static tuff_status sum_reference(tf_ref *r) { return plain_reference(r, TF_FOLD_SUM); }
static tuff_status prod_reference(tf_ref *r) { return plain_reference(r, TF_FOLD_PROD); }
static tuff_status max_reference(tf_ref *r) { return plain_reference(r, TF_FOLD_MAX); }
static tuff_status min_reference(tf_ref *r) { return plain_reference(r, TF_FOLD_MIN); }
static tuff_status any_reference(tf_ref *r) { return plain_reference(r, TF_FOLD_ANY); }
static tuff_status all_reference(tf_ref *r) { return plain_reference(r, TF_FOLD_ALL); }
static tuff_status logsumexp_reference(tf_ref *r) { return plain_reference(r, TF_FOLD_LOGSUMEXP); }

static tuff_status mean_reference(tf_ref *r)
{
    const uint32_t mask = mask_of(&((const tuff_reduce_desc *)r->desc)->axes);
    return reference(r, mask, TF_FOLD_SUM, TF_MAX(count_of(r, mask), 1)); /* of nothing: 0, like the sum */
}

static const tf_attr reduce_attrs[] = {
    TF_A(tuff_reduce_desc, axes, TF_ATTR_INTS, "axes to reduce; empty: all"),
    TF_A(tuff_reduce_desc, keep, TF_ATTR_BOOL, "reduced axes stay with size 1"),
};

#define REDUCE(NAME, DOC, CLASSES, INFER, REL)                                                                        \
    const tf_op tf_op_##NAME = {                                                                                      \
        .name = #NAME, .doc = DOC, .operands = "x", .kind = TF_COMPOSITE, .attrs = reduce_attrs,                      \
        .attr_count = TF_COUNT(reduce_attrs), .desc_size = sizeof(tuff_reduce_desc), .classes = CLASSES,              \
        .infer = INFER, .lower = NAME##_lower, .reference = NAME##_reference, .rel = REL,                             \
    };                                                                                                                \
    tuff_tensor tuff_##NAME(tuff_tensor x, const tuff_reduce_desc *desc) { return tf_add(x.graph, &tf_op_##NAME, &x, 1, desc); }

REDUCE(sum, "sum over axes; accumulates in f32, int and bool give i32", TF_CLS_ANY, sum_infer, 2)
REDUCE(mean, "mean over axes", TF_CLS_FLOAT | TF_CLS_COMPLEX, plain_infer, 2)
REDUCE(prod, "product over axes; int and bool give i32", TF_CLS_ANY, sum_infer, 2)
REDUCE(max, "largest element over axes", TF_CLS_FLOAT | TF_CLS_INT, extreme_infer, 0)
REDUCE(min, "smallest element over axes", TF_CLS_FLOAT | TF_CLS_INT, extreme_infer, 0)
REDUCE(any, "true if an element over axes is true", TF_CLS_BOOL, plain_infer, 0)
REDUCE(all, "true if all elements over axes are true", TF_CLS_BOOL, plain_infer, 0)
REDUCE(logsumexp, "log(sum(e^x)) over axes, by the maximum; all -inf, or nothing, gives -inf", TF_CLS_FLOAT, plain_infer, 16)

/* ---- variance, std, norm ------------------------------------------------------------------------ */

static bool variance_infer(tf_infer *c)
{
    tuff_variance_desc *d = c->mut;
    return infer_shape(c, &d->axes, d->keep, false);
}

static tuff_tensor variance(tf_lower *l)
{
    const tuff_variance_desc *d = l->desc;
    const uint32_t mask = mask_of(&d->axes);
    const int64_t count = count_dim(l, mask), divisor = tf_dim_bin(l->g, TUFF_DIM_SUB, count, d->correction);
    if (count == 0) /* 0 / 0, which some compilers take for 0 */
        return tuff_add(tf_reduce(l->g, l->limits, l->src[0], mask, TF_FOLD_SUM, 0), tuff_literal(l->g, (double)NAN, TUFF_DTYPE_NONE));
    if (!tf_dim_is_dynamic(divisor) && divisor <= 0) /* by 0, as NumPy: a dim of 0 means "no divisor" to the anchor */
        return tuff_div(tf_reduce(l->g, l->limits, l->src[0], mask, TF_FOLD_SQUARES, 0), tuff_literal(l->g, 0, TUFF_DTYPE_NONE));
    return tf_reduce(l->g, l->limits, l->src[0], mask, TF_FOLD_SQUARES, divisor);
}

static void variance_lower(tf_lower *l) { deliver(l, variance(l)); }
static void std_lower(tf_lower *l) { deliver(l, tuff_sqrt(variance(l))); }

static tuff_status variance_reference(tf_ref *r)
{
    const tuff_variance_desc *d = r->desc;
    const uint32_t mask = mask_of(&d->axes);
    return reference(r, mask, TF_FOLD_SQUARES, TF_MAX(count_of(r, mask) - d->correction, 0));
}

static tuff_status std_reference(tf_ref *r)
{
    const tuff_status s = variance_reference(r);
    for (uint64_t i = 0; s == TUFF_OK && i < r->out[0].n; i++)
        r->out[0].re[i] = sqrt(r->out[0].re[i]);
    return s;
}

static const tf_attr variance_attrs[] = {
    TF_A(tuff_variance_desc, axes, TF_ATTR_INTS, "axes to reduce; empty: all"),
    TF_A(tuff_variance_desc, keep, TF_ATTR_BOOL, "reduced axes stay with size 1"),
    TF_A(tuff_variance_desc, correction, TF_ATTR_INT, "the divisor is n - correction"),
};

#define VARIANCE(NAME, DOC)                                                                                           \
    const tf_op tf_op_##NAME = {                                                                                      \
        .name = #NAME, .doc = DOC, .operands = "x", .kind = TF_COMPOSITE, .attrs = variance_attrs,                    \
        .attr_count = TF_COUNT(variance_attrs), .desc_size = sizeof(tuff_variance_desc), .classes = TF_CLS_FLOAT,     \
        .infer = variance_infer, .lower = NAME##_lower, .reference = NAME##_reference, .rel = 4,                      \
    };                                                                                                                \
    tuff_tensor tuff_##NAME(tuff_tensor x, const tuff_variance_desc *desc) { return tf_add(x.graph, &tf_op_##NAME, &x, 1, desc); }

VARIANCE(variance, "mean((x - mean x)^2) over axes, in two passes; of no more elements than correction: nan")
VARIANCE(std, "square root of the variance over axes")

static bool norm_infer(tf_infer *c)
{
    tuff_norm_desc *d = c->mut;
    return infer_shape(c, &d->axes, d->keep, false);
}

static void norm_lower(tf_lower *l)
{
    const tuff_norm_desc *d = l->desc;
    const uint32_t mask = mask_of(&d->axes);
    const tuff_tensor x = tf_widened(l->src[0]);
    if (d->order == TUFF_NORM_L2)
        deliver(l, tuff_sqrt(tf_reduce(l->g, l->limits, tuff_square(x), mask, TF_FOLD_SUM, 0)));
    else if (d->order == TUFF_NORM_L1 || tf_dim_bound(l->g, count_dim(l, mask)) == 0)
        deliver(l, tf_reduce(l->g, l->limits, tuff_abs(x), mask, TF_FOLD_SUM, 0));
    else
        deliver(l, tf_reduce(l->g, l->limits, tuff_abs(x), mask, TF_FOLD_MAX, 0));
}

static tuff_status norm_reference(tf_ref *r)
{
    const tuff_norm_desc *d = r->desc;
    uint64_t inner;
    double *re, *im;
    if (!gather_rows(r, r->src[0], mask_of(&d->axes), &inner, &re, &im))
        return TUFF_E_MEMORY;
    for (uint64_t o = 0; o < r->out[0].n; o++) {
        double y = 0;
        for (uint64_t i = 0; i < inner; i++) {
            const double v = fabs(re[o * inner + i]);
            y = d->order == TUFF_NORM_MAX ? fmax(y, v) : d->order == TUFF_NORM_L1 ? y + v : y + v * v;
        }
        r->out[0].re[o] = d->order == TUFF_NORM_L2 ? sqrt(y) : y;
    }
    return TUFF_OK;
}

static const char *const norm_orders[] = { "l2", "l1", "max", NULL };
static const tf_attr norm_attrs[] = {
    TF_A(tuff_norm_desc, axes, TF_ATTR_INTS, "axes to reduce; empty: all"),
    TF_A(tuff_norm_desc, keep, TF_ATTR_BOOL, "reduced axes stay with size 1"),
    TF_A(tuff_norm_desc, order, TF_ATTR_ENUM, "sqrt(sum x^2), sum |x| or max |x|", .choices = norm_orders),
};
const tf_op tf_op_norm = {
    .name = "norm", .doc = "sqrt(sum x^2), sum |x| or max |x| over axes", .operands = "x", .kind = TF_COMPOSITE,
    .attrs = norm_attrs, .attr_count = TF_COUNT(norm_attrs), .desc_size = sizeof(tuff_norm_desc), .classes = TF_CLS_FLOAT,
    .infer = norm_infer, .lower = norm_lower, .reference = norm_reference, .rel = 2,
};
tuff_tensor tuff_norm(tuff_tensor x, const tuff_norm_desc *desc) { return tf_add(x.graph, &tf_op_norm, &x, 1, desc); }

/* ---- argmax, argmin ----------------------------------------------------------------------------- */

typedef struct arg_desc {
    int32_t axis;
    bool keep;
} arg_desc;

static bool arg_infer(tf_infer *c)
{
    arg_desc *d = c->mut;
    tuff_ints axes = { 1, { d->axis } };
    if (!infer_shape(c, &axes, d->keep, true))
        return false;
    d->axis = (int32_t)axes.v[0];
    c->out[0].dtype = TUFF_I32;
    return true;
}

static void arg_lower(tf_lower *l, tf_fold kind)
{
    deliver(l, tf_reduce(l->g, l->limits, l->src[0], 1u << ((const arg_desc *)l->desc)->axis, kind, 0));
}
static void argmax_lower(tf_lower *l) { arg_lower(l, TF_FOLD_ARGMAX); }
static void argmin_lower(tf_lower *l) { arg_lower(l, TF_FOLD_ARGMIN); }

static tuff_status argmax_reference(tf_ref *r) { return reference(r, 1u << ((const arg_desc *)r->desc)->axis, TF_FOLD_ARGMAX, 1); }
static tuff_status argmin_reference(tf_ref *r) { return reference(r, 1u << ((const arg_desc *)r->desc)->axis, TF_FOLD_ARGMIN, 1); }

static const tf_attr arg_attrs[] = {
    TF_A(arg_desc, axis, TF_ATTR_INT, "the axis searched", .required = true),
    TF_A(arg_desc, keep, TF_ATTR_BOOL, "the axis stays with size 1"),
};

#define ARG(NAME, DOC)                                                                                                \
    const tf_op tf_op_##NAME = {                                                                                      \
        .name = #NAME, .doc = DOC, .operands = "x", .kind = TF_COMPOSITE, .attrs = arg_attrs,                         \
        .attr_count = TF_COUNT(arg_attrs), .desc_size = sizeof(arg_desc), .classes = TF_CLS_FLOAT | TF_CLS_INT,       \
        .infer = arg_infer, .lower = NAME##_lower, .reference = NAME##_reference, .discontinuous = true,              \
    };                                                                                                                \
    tuff_tensor tuff_##NAME(tuff_tensor x, int32_t axis, const tuff_arg_desc *desc)                                   \
    {                                                                                                                 \
        const arg_desc d = { axis, desc && desc->keep };                                                              \
        return tf_add(x.graph, &tf_op_##NAME, &x, 1, &d);                                                             \
    }

ARG(argmax, "index of the largest element along axis, the first among equals; i32")
ARG(argmin, "index of the smallest element along axis, the first among equals; i32")

/* ---- the anchors -------------------------------------------------------------------------------- */

static int64_t parts_of(tuff_graph *g, const tf_fold_desc *d, int64_t inner)
{
    return d->chunk ? tf_dim_ceildiv(g, inner, d->chunk) : 1;
}

static bool anchor_infer(tf_infer *c, int32_t rank)
{
    const tf_fold_desc *d = c->desc;
    const tf_type *x = c->type[0];
    if (x->rank != rank)
        return tf_bad(c, TUFF_E_SHAPE, "x has rank %d; it is %d (%s)", (int)x->rank, (int)rank, tf_src_text(c, 0));
    if (d->chunk < 0 || d->chunk % 4)
        return tf_bad(c, TUFF_E_ATTRIBUTE, "chunk is %lld; it is a multiple of 4", (long long)d->chunk);
    c->out[0] = *x;
    c->out[0].dim[1] = parts_of(c->g, d, x->dim[1]);
    if (d->fold == TF_FOLD_ARGMAX || d->fold == TF_FOLD_ARGMIN) {
        if (d->chunk)
            return tf_bad(c, TUFF_E_ATTRIBUTE, "chunk is %lld; an index is searched in whole rows", (long long)d->chunk);
        c->out[0].dtype = TUFF_I32;
    }
    return true;
}
static bool rows_infer(tf_infer *c) { return anchor_infer(c, 2); }
static bool cols_infer(tf_infer *c) { return anchor_infer(c, 3); }

static tuff_status anchor_reference(tf_ref *r)
{
    const tf_fold_desc *d = r->desc;
    const tf_ref_tensor *x = r->src[0];
    const uint64_t inner = (uint64_t)x->dim[1], cols = x->rank == 3 ? (uint64_t)x->dim[2] : 1;
    const uint64_t chunk = d->chunk ? (uint64_t)d->chunk : inner, parts = (uint64_t)r->out[0].dim[1];
    const double divisor = d->divisor.rank ? (double)tf_dim_eval(r->g, d->divisor.dim[0], r->dim_values) : 1;
    double *re = tf_arena_array(r->scratch, double, inner + 1);
    double *im = x->im ? tf_arena_array(r->scratch, double, inner + 1) : NULL;
    if (!re || (x->im && !im))
        return TUFF_E_MEMORY;
    for (uint64_t y = 0; y < r->out[0].n; y++) {
        const uint64_t c = y % cols, p = y / cols % parts, o = y / cols / parts;
        const uint64_t first = p * chunk, n = first < inner ? TF_MIN(chunk, inner - first) : 0;
        for (uint64_t i = 0; i < n; i++) {
            re[i] = x->re[(o * inner + first + i) * cols + c];
            if (im)
                im[i] = x->im[(o * inner + first + i) * cols + c];
        }
        const tf_scalar v = fold(d->fold, x->dtype, re, im, n);
        r->out[0].re[y] = v.re / divisor;
        if (im)
            r->out[0].im[y] = v.im / divisor;
    }
    return TUFF_OK;
}

static uint64_t sub_flops(const tf_kernel_build *k)
{
    uint64_t n = 0;
    return tf_count_bound(k->g, k->src[0], &n) ? n : 0;
}

/* How many lanes share a row (or a vector of columns): 1 on CPUs, where shared memory and barriers cost more than they
 * give; elsewhere enough to keep about 4 vectors a lane, as long as rows are scarce. */
static uint32_t lanes_per_row(const tf_kernel_build *k, bool cols, uint32_t wg, int64_t rows, int64_t vectors)
{
    if (k->limits->cpu) { /* one, unless its trips (of one vector, at worst) were too many */
        const bool twice = ((const tf_fold_desc *)k->desc)->fold == TF_FOLD_SQUARES;
        uint32_t lanes = 1;
        while (lanes < k->limits->max_invocations && vectors * (twice + 1) / lanes > TF_CPU_TRIPS)
            lanes *= 2;
        return lanes;
    }
    if (cols && rows >= (int64_t)tf_units(k->limits) * 2048)
        return 1;
    const uint32_t most = cols ? wg / 8 : wg;
    return TF_MIN(tf_pow2_ceil((uint64_t)TF_MAX(vectors / 4, 1)), TF_MAX(most, 1));
}

static bool configure(tf_kernel_build *k)
{
    const tf_fold_desc *d = k->desc;
    const tf_type *x = k->src[0];
    const bool cols = x->rank == 3, pair = d->fold == TF_FOLD_ARGMAX || d->fold == TF_FOLD_ARGMIN || d->fold == TF_FOLD_LOGSUMEXP;
    const int64_t inner = tf_dim_bound(k->g, d->chunk ? d->chunk : x->dim[1]), ncols = cols ? tf_dim_bound(k->g, x->dim[2]) : 1;
    const int64_t parts = parts_of(k->g, d, x->dim[1]);

    int width = tf_define_type(k, x->dtype);
    if ((cols ? ncols : inner) < 4)
        width = 1;
    int64_t rows = tf_dim_bin(k->g, TUFF_DIM_MUL, x->dim[0], parts);
    if (cols)
        rows = tf_dim_bin(k->g, TUFF_DIM_MUL, rows, tf_dim_ceildiv(k->g, x->dim[2], width));
    const int64_t vectors = cols ? inner : (inner + width - 1) / width, rows_bound = tf_dim_bound(k->g, rows);

    const uint32_t group = tf_row_group(k->limits, rows_bound), by_estimate = lanes_per_row(k, cols, group, rows_bound, vectors);
    const uint32_t wg = TF_MAX(group, by_estimate);
    const uint32_t lanes = tf_tuned_lanes(k, k->limits->cpu ? by_estimate : 1, by_estimate, wg, (uint64_t)d->fold);
    const uint32_t unroll = tf_unroll((vectors + lanes - 1) / lanes, tf_unroll_most(k, pair ? 4 : 8, width));
    const int64_t covered = (int64_t)unroll * lanes * (cols ? 1 : width);
    const bool masked = tf_dim_is_dynamic(x->dim[1]) || x->dim[1] % covered || (d->chunk ? d->chunk : x->dim[1]) % covered;
    const bool subgroup = lanes == wg && !cols && width == 4 && k->limits->subgroup_arithmetic && !pair && d->fold != TF_FOLD_ANY &&
                          d->fold != TF_FOLD_ALL;

    tf_define(k, "FOLD", "%d", (int)d->fold);
    tf_define(k, "COLS", "%d", cols);
    tf_define(k, "WIDTH", "%d", width);
    tf_define(k, "WGSIZE", "%u", wg);
    tf_define(k, "LANES", "%u", lanes);
    tf_define(k, "UNROLL", "%u", unroll);
    tf_define(k, "MASKED", "%d", masked);
    tf_define(k, "SUBGROUP", "%d", subgroup);
    tf_define(k, "COMPLEX", "%d", x->dtype == TUFF_C64);
    tf_define(k, "DIVIDE", "%d", d->divisor.rank);
    tf_define_dim(k, "OUTER", x->dim[0]);
    tf_define_dim(k, "INNER", x->dim[1]);
    tf_define_dim(k, "NCOLS", cols ? x->dim[2] : 1);
    tf_define_dim(k, "CHUNK", d->chunk ? d->chunk : x->dim[1]);
    tf_define_dim(k, "PARTS", parts);
    if (d->divisor.rank)
        tf_define_dim(k, "DIVISOR", d->divisor.dim[0]);

    k->source = tf_shader_text("anchors/reduce.glsl");
    k->algorithm = lanes == 1 ? (cols ? "columns per invocation" : "row per invocation")
                   : lanes == wg ? "row per workgroup" : cols ? "columns shared by lanes" : "row shared by lanes";
    k->local[0] = wg;
    k->local[1] = k->local[2] = 1;
    k->groups = tf_dim_ceildiv(k->g, rows, wg / lanes);
    k->shared_bytes = lanes > 1 ? wg * (cols && width == 4 ? 16 : 8) * (pair ? 2 : 1) : 0;
    k->need_subgroup_arithmetic = subgroup;
    k->flops = sub_flops(k) * (d->fold == TF_FOLD_LOGSUMEXP ? 16 : d->fold == TF_FOLD_SQUARES ? 4 : 1);
    k->loads[0] = (tf_hook){ .name = "x", .widths = (uint8_t)(width == 4 ? (cols ? 4 : 5) : 1), .reread = d->fold == TF_FOLD_SQUARES };
    k->stores[0] = (tf_hook){ .name = "y", .widths = cols && width == 4 ? 4 : 1 };
    return true;
}

static const char *const fold_names[] = { "sum", "prod", "max", "min", "any", "all", "argmax", "argmin", "logsumexp", "squares", NULL };
static const tf_attr fold_attrs[] = {
    TF_A(tf_fold_desc, fold, TF_ATTR_ENUM, "what is computed; squares: sum((x - mean x)^2)", .choices = fold_names),
    TF_A(tf_fold_desc, chunk, TF_ATTR_I64, "elements per part, a multiple of 4; 0: all"),
    TF_A(tf_fold_desc, divisor, TF_ATTR_SHAPE, "one dim that divides the result; empty: none"),
};

static const tf_anchor reduce_anchor = {
    .name = "reduce", .loads = { { .name = "x", .widths = 5, .reread = 1 } }, .stores = { { .name = "y", .widths = 5 } }, .configure = configure,
};
const tf_op tf_op_anchor_reduce = {
    .name = "_reduce", .doc = "x[outer,inner] -> y[outer,parts], each chunk of inner folded", .operands = "x", .kind = TF_ANCHOR, .internal = true,
    .attrs = fold_attrs, .attr_count = TF_COUNT(fold_attrs), .desc_size = sizeof(tf_fold_desc), .infer = rows_infer,
    .reference = anchor_reference, .anchor = &reduce_anchor, .rel = 4,
};
const tf_op tf_op_anchor_reduce_cols = {
    .name = "_reduce_cols", .doc = "x[outer,inner,cols] -> y[outer,parts,cols], each chunk of inner folded", .operands = "x", .kind = TF_ANCHOR,
    .internal = true, .attrs = fold_attrs, .attr_count = TF_COUNT(fold_attrs), .desc_size = sizeof(tf_fold_desc), .infer = cols_infer,
    .reference = anchor_reference, .anchor = &reduce_anchor, .rel = 4,
};
