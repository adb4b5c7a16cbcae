/* scan.c - running combinations along an axis: cumsum, cumprod, cummax, cummin, logcumsumexp, linear recurrences and scans by
 * an expression.
 *
 * The anchor _scan runs along the rows of a view [outer, inner]; a reversed scan is one between flips. Few long rows go by
 * reduce-then-scan: fold each part, scan what the parts fold to, then scan each part from what precedes it. */
#include "anchors.h"
#include "graph/userexpr.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- lowering ------------------------------------------------------------------------------------ */

/* A scan over rows [outer, inner]; none where absent. */
typedef struct rows {
    tuff_tensor x[TF_SCAN_FIELDS], seg, init[TF_SCAN_FIELDS];
    uint32_t inputs, fields; /* fields 1.. of LOGSUMEXP may have no input */
} rows;

/* How rows are cut: parts of `ratio` pieces of `piece` elements. What precedes a part comes from folding the pieces before it.
 * piece 0: rows stay whole. */
typedef struct cut { int64_t piece, ratio; } cut;

/* Where a row is the work of a subgroup: as few parts as keep all units busy and the loops short, since what is folded is read
 * twice. Pieces are for lanes; an odd multiple of 64 elements apart they do not meet in the same places of caches. */
static cut cut_for_lanes(const tf_limits *l, int64_t r, int64_t n, int64_t most)
{
    const int64_t units = n >= 131072 * 2 ? (tf_units(l) + r - 1) / r : 1, parts = TF_MAX(units, (n + most - 1) / most), fair = 65536;
    if (parts <= 1)
        return (cut){ 0, 1 };
    const int64_t pieces = (n / parts + fair - 1) / fair, group = tf_row_group(l, r * (parts - 1) * pieces); /* which fold them */
    const int64_t ratio = (int64_t)tf_align_up((uint64_t)pieces, (uint64_t)group);
    return (cut){ (int64_t)tf_align_up((uint64_t)((n + parts * ratio - 1) / (parts * ratio)), 64) | 64, ratio };
}

static cut cut_for(const tuff_graph *g, const tf_limits *l, const tf_scan_desc *d, const tf_type *x)
{
    const int64_t r = TF_MAX(tf_dim_bound(g, x->dim[0]), 1), n = tf_dim_bound(g, x->dim[1]), most = 2 * TF_CPU_TRIPS; /* by the loops of the slowest variant */
    const uint32_t lanes = tf_scan_lanes(l, d, x->dtype, r, n);
    if (lanes)
        return cut_for_lanes(l, r, n, (int64_t)TF_CPU_TRIPS * lanes * tf_scan_trip(d, x->dtype, lanes, n));
    const int64_t want = (int64_t)tf_units(l) * (l->cpu ? 32 : 8), least = l->cpu ? 128 : 2048;
    if ((r >= want || n < 4 * least) && !(l->cpu && n > most))
        return (cut){ 0, 1 };
    const int64_t parts = (want + r - 1) / r;
    const int64_t chunk = (int64_t)tf_align_up((uint64_t)TF_MAX((n + parts - 1) / parts, least), 64);
    return (cut){ l->cpu ? TF_MIN(chunk, most) : chunk, 1 };
}

static tuff_tensor anchor(tf_lower *l, const rows *r, tf_scan_desc d, const tuff_tensor *carry)
{
    d.x1 = r->x[1];
    d.x2 = r->x[2];
    d.x3 = r->x[3];
    d.seg = r->seg;
    d.init0 = r->init[0];
    d.init1 = r->init[1];
    d.init2 = r->init[2];
    d.init3 = r->init[3];
    if (carry) {
        d.carry0 = carry[0];
        d.carry1 = carry[1];
        d.carry2 = carry[2];
        d.carry3 = carry[3];
    }
    return tf_add(l->g, &tf_op_anchor_scan, r->x, 1, &d);
}

/* What each part of `chunk` elements combines to, as elements of a scan over the parts. */
static rows fold_parts(tf_lower *l, const rows *r, tf_scan_desc d, int64_t chunk)
{
    static const tf_fold folds[] = { TF_FOLD_SUM, TF_FOLD_PROD, TF_FOLD_MAX, TF_FOLD_MIN };
    rows parts = { .inputs = r->fields, .fields = r->fields };
    if (d.op <= TF_SCAN_MIN && !r->seg.id) {
        parts.x[0] = tf_add(l->g, &tf_op_anchor_reduce, r->x, 1, &(tf_fold_desc){ .fold = folds[d.op], .chunk = chunk });
        return parts;
    }
    rows plain = *r;
    memset(plain.init, 0, sizeof plain.init);
    const tuff_tensor y = anchor(l, &plain, (tf_scan_desc){ .op = d.op, .fold = true, .across = d.across, .chunk = chunk, .combine = d.combine, .fields = d.fields }, NULL);
    for (uint32_t i = 0; i < r->fields; i++)
        parts.x[i] = tuff_result(y, (int32_t)i);
    if (r->seg.id)
        parts.seg = tuff_result(y, (int32_t)r->fields);
    return parts;
}

/* The rows' first n elements. */
static rows head(const rows *r, int64_t n)
{
    rows h = *r;
    for (uint32_t i = 0; i <= TF_SCAN_FIELDS; i++) {
        tuff_tensor *x = i < TF_SCAN_FIELDS ? &h.x[i] : &h.seg;
        if (x->id)
            *x = tuff_slice(*x, TUFF_INTS(0), TUFF_INTS(n), &(tuff_slice_desc){ .axes = TUFF_INTS(1) });
    }
    return h;
}

static tuff_tensor scan_rows(tf_lower *l, const rows *r, tf_scan_desc d)
{
    if (!r->x[0].id)
        return r->x[0];
    const tf_type x = *tf_ty(r->x[0]);
    const cut c = cut_for(l->g, l->limits, &d, &x);
    if (!c.piece)
        return anchor(l, r, d, NULL);
    d.chunk = c.piece * c.ratio;
    d.ratio = c.ratio;
    /* Nothing comes behind the last part. */
    const rows folded = tf_dim_is_dynamic(x.dim[1]) ? *r : head(r, (x.dim[1] - 1) / d.chunk * d.chunk);
    rows parts = fold_parts(l, &folded, d, c.piece);
    memcpy(parts.init, r->init, sizeof parts.init);
    const tuff_tensor before = scan_rows(l, &parts, (tf_scan_desc){ .op = d.op, .combine = d.combine, .fields = d.fields });
    tuff_tensor carry[TF_SCAN_FIELDS] = { { 0 } };
    for (uint32_t i = 0; i < (d.op == TF_SCAN_LINEAR ? 1 : r->fields); i++)
        carry[i] = tuff_result(before, (int32_t)i);
    return anchor(l, r, d, carry);
}

/* x as rows in scan order. */
static tuff_tensor as_rows(tuff_tensor x, int32_t axis, bool reverse)
{
    if (!x.id)
        return x;
    return tf_as_rows(reverse ? tuff_flip(x, TUFF_INTS(axis)) : x, axis);
}

static tuff_tensor from_rows(tuff_tensor y, const tf_type *like, int32_t axis, bool reverse)
{
    y = tf_from_rows(y, like, axis);
    return reverse && y.id ? tuff_flip(y, TUFF_INTS(axis)) : y;
}

/* Are neighbouring rows neighbours in memory? */
static bool is_across(tuff_graph *g, const tf_type *t, int32_t axis)
{
    return tf_dim_bound(g, tf_dim_product(g, t->dim, axis + 1, t->rank)) > 1;
}

/* [.. without the axis ..] -> [outer, 1] */
static tuff_tensor as_start(tuff_tensor x)
{
    if (!x.id)
        return x;
    const int64_t d[2] = { tf_dim_product(x.graph, tf_ty(x)->dim, 0, tf_ty(x)->rank), 1 };
    return tf_reshaped(x, 2, d);
}

static tuff_tensor as_flags(tuff_tensor x, int32_t axis, bool reverse)
{
    if (!x.id)
        return x;
    return as_rows(tf_ty(x)->dtype == TUFF_BOOL ? x : tuff_cast(x, TUFF_BOOL), axis, reverse);
}

/* ---- what the rows share ------------------------------------------------------------------------- */

typedef struct scan_desc {
    int32_t axis;
    bool reverse, exclusive;
    tuff_tensor seg_start, initial;
} scan_desc;

/* seg_start is x's shape, initial is x's without the axis. */
static bool infer_options(tf_infer *c, const tf_type *x, int32_t axis, uint32_t seg, uint32_t initial)
{
    tf_type want = { .dtype = x->dtype };
    for (int32_t i = 0; i < x->rank; i++)
        if (i != axis)
            want.dim[want.rank++] = x->dim[i];
    const tf_type *s = c->type[seg];
    if (s && s->dtype != TUFF_BOOL && !tf_dtype_is_int(s->dtype))
        return tf_bad(c, TUFF_E_DTYPE, "seg_start is %s; it needs bool or an integer (%s)", tuff_dtype_name(s->dtype), tf_src_text(c, seg));
    bool same = !s || s->rank == x->rank;
    for (int32_t i = 0; s && same && i < x->rank; i++)
        same = tf_dim_equal(s->dim[i], x->dim[i]);
    if (!same)
        return tf_bad(c, TUFF_E_SHAPE, "seg_start needs the shape of the scanned tensor, %s (%s)", tf_type_text(c->g, x), tf_src_text(c, seg));
    return tf_infer_type(c, initial, &want);
}

/* Calls `each` for the places of every row in scan order. */
typedef struct walk { uint64_t row, at; bool first; } walk;
typedef void (*walk_fn)(void *user, const walk *w);
static void each_place(const tf_ref_tensor *x, int32_t axis, bool reverse, walk_fn each, void *user)
{
    uint64_t stride = 1;
    for (int32_t a = axis + 1; a < x->rank; a++)
        stride *= (uint64_t)x->dim[a];
    const uint64_t n = (uint64_t)x->dim[axis];
    for (uint64_t o = 0; n && o < x->n / n; o++)
        for (uint64_t i = 0; i < n; i++)
            each(user, &(walk){ o, o / stride * stride * n + o % stride + (reverse ? n - 1 - i : i) * stride, i == 0 });
}

/* ---- one operand --------------------------------------------------------------------------------- */

static bool infer(tf_infer *c)
{
    scan_desc *d = c->mut;
    char names[48];
    c->out[0] = *c->type[0];
    if (!(tf_dtype_class(c->type[0]->dtype) & c->op->classes)) {
        snprintf(names, sizeof names, "float%s%s", c->op->classes & TF_CLS_INT ? " int" : "", c->op->classes & TF_CLS_COMPLEX ? " c64" : "");
        return tf_bad(c, TUFF_E_DTYPE, "%s is not among its dtypes: %s (%s)", tuff_dtype_name(c->type[0]->dtype), names, tf_src_text(c, 0));
    }
    return tf_axis(c, d->axis, c->type[0]->rank, &d->axis) && infer_options(c, c->type[0], d->axis, 1, 2);
}

typedef struct running {
    const tf_ref *r;
    tf_scan_operator op;
    tf_scalar acc;
    bool some; /* something has been combined */
} running;

static double log_add(double a, double b)
{
    const double m = fmax(a, b);
    return isinf(m) ? m : m + log(exp(a - m) + exp(b - m));
}

static tf_scalar combined(tf_scan_operator op, bool integer, tf_scalar a, tf_scalar b)
{
    switch (op) {
    case TF_SCAN_SUM: return (tf_scalar){ a.re + b.re, a.im + b.im };
    case TF_SCAN_PRODUCT:
        if (integer)
            return (tf_scalar){ (double)((uint32_t)(int64_t)a.re * (uint32_t)(int64_t)b.re), 0 };
        return (tf_scalar){ a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re };
    case TF_SCAN_MAX: return (tf_scalar){ isnan(a.re) || a.re > b.re ? a.re : b.re, 0 };
    case TF_SCAN_MIN: return (tf_scalar){ isnan(a.re) || a.re < b.re ? a.re : b.re, 0 };
    default: return (tf_scalar){ isnan(a.re) ? a.re : isnan(b.re) ? b.re : log_add(a.re, b.re), 0 };
    }
}

/* What an exclusive scan starts with. */
static double nothing(tf_scan_operator op, tuff_dtype t)
{
    const bool integer = tf_dtype_is_int(t), sign = tf_dtype_is_signed_int(t);
    const int bits = (int)tf_dtype_bits(t);
    switch (op) {
    case TF_SCAN_SUM: return 0;
    case TF_SCAN_PRODUCT: return 1;
    case TF_SCAN_MIN: return integer ? ldexp(1, bits - sign) - 1 : (double)INFINITY;
    default: return integer ? sign ? -ldexp(1, bits - 1) : 0 : (double)-INFINITY;
    }
}

static void run_one(void *user, const walk *w)
{
    running *s = user;
    const scan_desc *d = s->r->desc;
    const tf_ref_tensor *x = s->r->src[0], *seg = s->r->src[1], *initial = s->r->src[2];
    tf_ref_tensor *y = &s->r->out[0];
    if (w->first && initial)
        s->acc = (tf_scalar){ initial->re[w->row], initial->im ? initial->im[w->row] : 0 };
    if (w->first)
        s->some = initial != NULL;
    if (seg && seg->re[w->at] != 0)
        s->some = false;
    const tf_scalar e = { x->re[w->at], x->im ? x->im[w->at] : 0 }, none = { nothing(s->op, x->dtype), 0 };
    const tf_scalar next = s->some ? combined(s->op, tf_dtype_is_int(x->dtype), s->acc, e) : e;
    const tf_scalar v = d->exclusive ? s->some ? s->acc : none : next;
    y->re[w->at] = v.re;
    if (y->im)
        y->im[w->at] = v.im;
    s->acc = next;
    s->some = true;
}

static tuff_status reference(tf_ref *r, tf_scan_operator op)
{
    const scan_desc *d = r->desc;
    each_place(r->src[0], d->axis, d->reverse, run_one, &(running){ .r = r, .op = op });
    return TUFF_OK;
}

static void lower(tf_lower *l, tf_scan_operator op)
{
    const scan_desc *d = l->desc;
    rows r = { .inputs = 1, .fields = op == TF_SCAN_LOGSUMEXP ? 2 : 1 };
    r.x[0] = as_rows(tf_widened(l->src[0]), d->axis, d->reverse);
    r.seg = as_flags(l->src[1], d->axis, d->reverse);
    r.init[0] = as_start(tf_widened(l->src[2]));
    const tf_scan_desc s = { .op = op, .exclusive = d->exclusive, .project = op == TF_SCAN_LOGSUMEXP, .across = is_across(l->g, l->out_type, d->axis) };
    const tuff_tensor y = from_rows(scan_rows(l, &r, s), l->out_type, d->axis, d->reverse);
    if (y.id)
        l->out[0] = tf_cast_to(y, l->out_type->dtype);
}

#define OPTIONS(DESC) \
    TF_A(DESC, axis, TF_ATTR_INT, "the axis that runs", .required = true), \
    TF_A(DESC, reverse, TF_ATTR_BOOL, "from the last element"), \
    TF_A(DESC, exclusive, TF_ATTR_BOOL, "element i leaves out x[i]"), \
    TF_A(DESC, seg_start, TF_ATTR_TENSOR, "bool or integer, x's shape: non-zero starts a new segment there, in scan order")

static const tf_attr attrs[] = {
    OPTIONS(scan_desc),
    TF_A(scan_desc, initial, TF_ATTR_TENSOR, "x's shape without the axis: what precedes the first element; absent: nothing"),
};

#define SCAN(NAME, OP, CLASSES, DOC)                                                                                  \
    static tuff_status NAME##_reference(tf_ref *r) { return reference(r, OP); }                                       \
    static void NAME##_lower(tf_lower *l) { lower(l, OP); }                                                           \
    const tf_op tf_op_##NAME = {                                                                                      \
        .name = #NAME, .doc = DOC, .operands = "x", .kind = TF_COMPOSITE, .attrs = attrs,                             \
        .attr_count = TF_COUNT(attrs), .desc_size = sizeof(scan_desc), .classes = CLASSES,                            \
        .infer = infer, .lower = NAME##_lower, .reference = NAME##_reference, .rel = 8,                               \
    };                                                                                                                \
    tuff_tensor tuff_##NAME(tuff_tensor x, int32_t axis, const tuff_scan_desc *desc)                                  \
    {                                                                                                                 \
        scan_desc d = { .axis = axis };                                                                               \
        if (desc)                                                                                                     \
            d = (scan_desc){ axis, desc->reverse, desc->exclusive, desc->seg_start, desc->initial };                  \
        return tf_add(x.graph, &tf_op_##NAME, &x, 1, &d);                                                             \
    }

SCAN(cumsum, TF_SCAN_SUM, TF_CLS_NUM, "running sum along axis")
SCAN(cumprod, TF_SCAN_PRODUCT, TF_CLS_NUM, "running product along axis")
SCAN(cummax, TF_SCAN_MAX, TF_CLS_FLOAT | TF_CLS_INT, "running maximum along axis; NaN stays")
SCAN(cummin, TF_SCAN_MIN, TF_CLS_FLOAT | TF_CLS_INT, "running minimum along axis; NaN stays")
SCAN(logcumsumexp, TF_SCAN_LOGSUMEXP, TF_CLS_FLOAT, "log of the running sum of e^x along axis")

/* ---- linear recurrence --------------------------------------------------------------------------- */

static bool linear_infer(tf_infer *c)
{
    scan_desc *d = c->mut;
    if (!tf_unify(c, 0, 2, &c->out[0]))
        return false;
    return tf_axis(c, d->axis, c->out[0].rank, &d->axis) && infer_options(c, &c->out[0], d->axis, 2, 3);
}

static void run_linear(void *user, const walk *w)
{
    running *s = user;
    const scan_desc *d = s->r->desc;
    const tf_ref_tensor *a = s->r->src[0], *b = s->r->src[1], *seg = s->r->src[2], *initial = s->r->src[3];
    tf_ref_tensor *y = &s->r->out[0];
    uint64_t at[2] = { 0, 0 }, rest = w->at;
    uint64_t stride[2] = { 1, 1 };
    for (int32_t i = y->rank; i-- > 0;) { /* a and b broadcast */
        const uint64_t k = rest % (uint64_t)y->dim[i];
        rest /= (uint64_t)y->dim[i];
        for (int j = 0; j < 2; j++) {
            const tf_ref_tensor *t = j ? b : a;
            const int32_t axis = i - (y->rank - t->rank);
            if (axis < 0)
                continue;
            at[j] += t->dim[axis] == 1 ? 0 : k * stride[j];
            stride[j] *= (uint64_t)t->dim[axis];
        }
    }
    if (w->first)
        s->acc = initial ? (tf_scalar){ initial->re[w->row], initial->im ? initial->im[w->row] : 0 } : (tf_scalar){ 0, 0 };
    if (seg && seg->re[w->at] != 0)
        s->acc = (tf_scalar){ 0, 0 };
    const tf_scalar f = { a->re[at[0]], a->im ? a->im[at[0]] : 0 }, h = s->acc;
    const tf_scalar next = { f.re * h.re - f.im * h.im + b->re[at[1]], f.re * h.im + f.im * h.re + (b->im ? b->im[at[1]] : 0) };
    const tf_scalar v = d->exclusive ? h : next;
    y->re[w->at] = v.re;
    if (y->im)
        y->im[w->at] = v.im;
    s->acc = next;
}

static tuff_status linear_reference(tf_ref *r)
{
    const scan_desc *d = r->desc;
    each_place(&r->out[0], d->axis, d->reverse, run_linear, &(running){ .r = r });
    return TUFF_OK;
}

static tuff_tensor broadcast_to(tuff_tensor x, const tf_type *t)
{
    tuff_shape s = { .rank = t->rank };
    for (int32_t i = 0; i < t->rank; i++)
        s.dim[i] = t->dim[i];
    bool same = tf_ty(x)->rank == t->rank;
    for (int32_t i = 0; same && i < t->rank; i++)
        same = tf_dim_equal(tf_ty(x)->dim[i], t->dim[i]);
    return same ? x : tuff_expand(x, s);
}

static void linear_lower(tf_lower *l)
{
    const scan_desc *d = l->desc;
    rows r = { .inputs = 2, .fields = 2 };
    r.x[0] = as_rows(tf_widened(broadcast_to(l->src[1], l->out_type)), d->axis, d->reverse);
    r.x[1] = as_rows(tf_widened(broadcast_to(l->src[0], l->out_type)), d->axis, d->reverse);
    r.seg = as_flags(l->src[2], d->axis, d->reverse);
    r.init[0] = as_start(tf_widened(l->src[3]));
    const tf_scan_desc s = { .op = TF_SCAN_LINEAR, .exclusive = d->exclusive, .across = is_across(l->g, l->out_type, d->axis) };
    const tuff_tensor y = from_rows(scan_rows(l, &r, s), l->out_type, d->axis, d->reverse);
    if (y.id)
        l->out[0] = tf_cast_to(y, l->out_type->dtype);
}

static const tf_attr linear_attrs[] = {
    OPTIONS(scan_desc),
    TF_A(scan_desc, initial, TF_ATTR_TENSOR, "b's shape without the axis: h before the first element; absent: 0"),
};
const tf_op tf_op_linear_scan = {
    .name = "linear_scan", .doc = "h[t] = a[t] * h[t-1] + b[t] along axis; a and b broadcast", .operands = "a b", .results = "h", .kind = TF_COMPOSITE,
    .attrs = linear_attrs, .attr_count = TF_COUNT(linear_attrs), .desc_size = sizeof(scan_desc), .classes = TF_CLS_FLOAT | TF_CLS_COMPLEX,
    .infer = linear_infer, .lower = linear_lower, .reference = linear_reference, .rel = 32,
};
tuff_tensor tuff_linear_scan(tuff_tensor a, tuff_tensor b, int32_t axis, const tuff_scan_desc *desc)
{
    scan_desc d = { .axis = axis };
    if (desc)
        d = (scan_desc){ axis, desc->reverse, desc->exclusive, desc->seg_start, desc->initial };
    return tf_add(a.graph, &tf_op_linear_scan, (tuff_tensor[]){ a, b }, 2, &d);
}

/* ---- by an expression ---------------------------------------------------------------------------- */

typedef struct expr_desc {
    const char *combine;
    int32_t axis;
    bool reverse, exclusive;
    tuff_tensor seg_start;
    const tuff_named *inputs;
    uint32_t count;
    const char *fields;  /* by infer: names separated by spaces */
    uint32_t n;          /* fields; sources: seg_start, then the inputs as given */
    uint32_t field[TF_SCAN_FIELDS], start[TF_SCAN_FIELDS]; /* sources of the elements and of what precedes them, 0: none */
    const tf_uexpr *join[TF_SCAN_FIELDS];
} expr_desc;

#define START "start."

/* Sorts the inputs into fields and starts. */
static bool expr_inputs(tf_infer *c, expr_desc *d, tuff_dtype *dtype)
{
    char names[512] = "";
    size_t used = 0;
    d->n = 0;
    for (uint32_t i = 0; i < d->count; i++) {
        const char *name = d->inputs[i].name;
        if (!strncmp(name, START, strlen(START)))
            continue;
        if (d->n == TF_SCAN_FIELDS)
            return tf_bad(c, TUFF_E_ARGUMENT, "there are more than %d fields", (int)TF_SCAN_FIELDS);
        if (strlen(name) > 100 || strchr(name, '.'))
            return tf_bad(c, TUFF_E_NAME, "a field is called %.100s; names are short and without dots", name);
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", d->n ? " " : "", name);
        dtype[d->n] = c->type[1 + i]->dtype;
        if (!tf_dtype_class(dtype[d->n]) || dtype[d->n] == TUFF_F64)
            return tf_bad(c, TUFF_E_DTYPE, "%s is not among its dtypes: f32 f16 bf16 int bool c64 (%s)", tuff_dtype_name(dtype[d->n]), tf_src_text(c, 1 + i));
        d->field[d->n] = 1 + i;
        d->start[d->n++] = 0;
    }
    if (d->n == 0)
        return tf_bad(c, TUFF_E_ARGUMENT, "there are no fields; name at least one tensor");
    d->fields = tf_arena_string(&c->g->arena, names);
    for (uint32_t i = 0; i < d->count; i++) {
        const char *name = d->inputs[i].name;
        if (strncmp(name, START, strlen(START)))
            continue;
        uint32_t k = 0;
        while (k < d->n && strcmp(d->inputs[d->field[k] - 1].name, name + strlen(START)))
            k++;
        if (k == d->n)
            return tf_bad(c, TUFF_E_NAME, "%s starts a field that does not exist", name);
        d->start[k] = 1 + i;
    }
    return true;
}

static bool expr_infer(tf_infer *c)
{
    expr_desc *d = c->mut;
    tuff_dtype dtype[TF_SCAN_FIELDS];
    const char *message;
    if (!expr_inputs(c, d, dtype))
        return false;
    tf_type y = *c->type[d->field[0]];
    for (uint32_t i = 1; i < d->n; i++)
        if (!tf_broadcast(c, &y, c->type[d->field[i]], &y))
            return false;
    if (!tf_axis(c, d->axis, y.rank, &d->axis))
        return false;
    bool all = true, none = true;
    c->n_out = d->n;
    for (uint32_t i = 0; i < d->n; i++) {
        c->out[i] = y;
        c->out[i].dtype = dtype[i];
        all = all && d->start[i];
        none = none && !d->start[i];
        if (d->start[i] && !infer_options(c, &c->out[i], d->axis, 0, d->start[i]))
            return false;
    }
    if (!infer_options(c, &y, d->axis, 0, UINT32_MAX))
        return false;
    if (!all && !none)
        return tf_bad(c, TUFF_E_ARGUMENT, "start.* is given for some of the fields %s; give all or none", d->fields);
    if (d->exclusive && (none || c->type[0]))
        return tf_bad(c, TUFF_E_ARGUMENT, "an exclusive scan by expression needs start.* for its first element, and no seg_start");
    if (!tf_scan_parse(&c->g->arena, d->combine, d->fields, dtype, d->n, d->join, &message))
        return tf_bad(c, message ? TUFF_E_PARSE : TUFF_E_MEMORY, "%s", message ? message : "out of host memory");
    return true;
}

typedef struct expr_run { const tf_ref *r; tf_scan_desc d; tf_scan_state acc; tf_scalar *scratch; } expr_run;

static tf_scalar broadcast_at(const tf_ref_tensor *t, const tf_ref_tensor *y, uint64_t at)
{
    uint64_t from = 0, stride = 1;
    for (int32_t i = y->rank; i-- > 0;) {
        const uint64_t k = at % (uint64_t)y->dim[i];
        const int32_t axis = i - (y->rank - t->rank);
        at /= (uint64_t)y->dim[i];
        if (axis < 0)
            continue;
        from += t->dim[axis] == 1 ? 0 : k * stride;
        stride *= (uint64_t)t->dim[axis];
    }
    return (tf_scalar){ t->re[from], t->im ? t->im[from] : 0 };
}

static void run_expr(void *user, const walk *w)
{
    expr_run *s = user;
    const expr_desc *d = s->r->desc;
    tf_scan_state e = { .some = true };
    if (w->first)
        s->acc.some = d->start[0] != 0;
    for (uint32_t i = 0; i < d->n; i++) {
        const tf_ref_tensor *start = d->start[i] ? s->r->src[d->start[i]] : NULL;
        if (w->first && start)
            s->acc.f[i] = (tf_scalar){ start->re[w->row], start->im ? start->im[w->row] : 0 };
        e.f[i] = broadcast_at(s->r->src[d->field[i]], &s->r->out[0], w->at);
    }
    if (s->r->src[0] && s->r->src[0]->re[w->at] != 0)
        s->acc.some = false;
    const tf_scan_state next = tf_scan_join(&s->d, d->n, false, &s->acc, &e, s->scratch);
    for (uint32_t i = 0; i < d->n; i++) {
        const tf_scalar v = d->exclusive ? s->acc.f[i] : next.f[i];
        s->r->out[i].re[w->at] = v.re;
        if (s->r->out[i].im)
            s->r->out[i].im[w->at] = v.im;
    }
    s->acc = next;
}

static tuff_status expr_reference(tf_ref *r)
{
    const expr_desc *d = r->desc;
    uint32_t nodes = 1;
    expr_run s = { .r = r, .d = { .op = TF_SCAN_EXPRESSION } };
    for (uint32_t i = 0; i < d->n; i++) {
        s.d.join[i] = d->join[i];
        nodes = TF_MAX(nodes, d->join[i]->n);
    }
    if (!(s.scratch = tf_arena_array(r->scratch, tf_scalar, nodes)))
        return TUFF_E_MEMORY;
    each_place(&r->out[0], d->axis, d->reverse, run_expr, &s);
    return TUFF_OK;
}

static void expr_lower(tf_lower *l)
{
    const expr_desc *d = l->desc;
    rows r = { .inputs = d->n, .fields = d->n };
    tf_type full = l->out_type[0];
    for (uint32_t i = 0; i < d->n; i++) {
        r.x[i] = as_rows(broadcast_to(l->src[d->field[i]], &full), d->axis, d->reverse);
        if (d->start[i])
            r.init[i] = as_start(l->src[d->start[i]]);
    }
    r.seg = as_flags(l->src[0], d->axis, d->reverse);
    const tf_scan_desc s = { .op = TF_SCAN_EXPRESSION, .exclusive = d->exclusive, .across = is_across(l->g, &full, d->axis), .combine = d->combine, .fields = d->fields };
    const tuff_tensor y = scan_rows(l, &r, s);
    for (uint32_t i = 0; y.id && i < d->n; i++)
        l->out[i] = from_rows(tuff_result(y, (int32_t)i), &full, d->axis, d->reverse);
}

static const tf_attr expr_attrs[] = {
    OPTIONS(expr_desc),
    TF_A(expr_desc, combine, TF_ATTR_STRING, "each field of a then b, by fields a.* and b.*: \"x = a.x * b.x; y = b.x * a.y + b.y\"; one field: its value alone will do", .required = true),
    { .name = "inputs", .doc = "tensors by the fields' names, which broadcast; start.NAME: what precedes the first element", .type = TF_ATTR_NAMED,
      .offset = (uint32_t)offsetof(expr_desc, inputs), .offset2 = (uint32_t)offsetof(expr_desc, count) },
};
const tf_op tf_op_scan = {
    .name = "scan", .doc = "running combination of up to 4 named fields along axis by an associative expression; one result per field", .operands = "",
    .kind = TF_COMPOSITE, .attrs = expr_attrs, .attr_count = TF_COUNT(expr_attrs), .desc_size = sizeof(expr_desc),
    .infer = expr_infer, .lower = expr_lower, .reference = expr_reference, .rel = 32,
};
tuff_tensor tuff_scan(tuff_graph *g, const char *combine, int32_t axis, uint32_t n, const tuff_named *inputs, const tuff_scan_desc *desc)
{
    expr_desc d = { .combine = combine, .axis = axis, .inputs = inputs, .count = n };
    if (desc && desc->initial.id)
        return tf_fail(g, TUFF_E_ARGUMENT, "scan: initial is given; what precedes a field is an input called start.NAME");
    if (desc) {
        d.reverse = desc->reverse;
        d.exclusive = desc->exclusive;
        d.seg_start = desc->seg_start;
    }
    return tf_add(g, &tf_op_scan, NULL, 0, &d);
}
