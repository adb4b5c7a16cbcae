/* matmul.c - matrix products with broadcast leading axes, any sizes, f32 accumulation.
 *
 * Lowering brings the operands to [b, m, k] and [b, k, n] (or their transposes, by looking through a permute) for the
 * anchor _matmul. A batch of left matrices against one right matrix becomes one tall matrix. A product with one row or
 * column is a reduction whose load hook multiplies, so it gets the reduction's ways of filling a device. */
#include "anchors.h"

#include <string.h>

typedef struct shape_plan {
    tf_type a, b;        /* with rank-1 operands made matrices and transposes applied */
    int64_t m, k, n;
    tf_type batch;       /* broadcast leading axes */
} shape_plan;

/* ---- inference ----------------------------------------------------------------------------------- */

static tf_type as_matrix(const tf_type *t, bool transposed, bool column)
{
    tf_type r = *t;
    if (t->rank == 1) {
        r.rank = 2;
        r.dim[0] = column ? t->dim[0] : 1;
        r.dim[1] = column ? 1 : t->dim[0];
    } else if (transposed) {
        r.dim[t->rank - 2] = t->dim[t->rank - 1];
        r.dim[t->rank - 1] = t->dim[t->rank - 2];
    }
    return r;
}

static bool check_dtypes(tf_infer *c)
{
    const tuff_dtype a = c->type[0]->dtype, b = c->type[1]->dtype, want = ((const tuff_matmul_desc *)c->desc)->dtype;
    const unsigned ca = tf_dtype_class(a), cb = tf_dtype_class(b);
    const bool narrow = ca == TF_CLS_FLOAT && cb == TF_CLS_FLOAT && a != TUFF_F64 && b != TUFF_F64;
    if (!narrow && (a != b || ca == TF_CLS_BOOL || !ca))
        return tf_bad(c, TUFF_E_DTYPE, "%s with %s; it takes f32, f16 and bf16 in any mixture, and f64, c64 and int with the same (%s; %s)",
                      tuff_dtype_name(a), tuff_dtype_name(b), tf_src_text(c, 0), tf_src_text(c, 1));
    const tuff_dtype natural = ca == TF_CLS_INT ? a == TUFF_U32 ? TUFF_U32 : TUFF_I32 : a;
    if (want && want != natural && !(narrow && (want == TUFF_F32 || want == TUFF_F16 || want == TUFF_BF16)))
        return tf_bad(c, TUFF_E_DTYPE, "dtype is %s; the product of %s and %s gives %s", tuff_dtype_name(want), tuff_dtype_name(a),
                      tuff_dtype_name(b), narrow ? "f32, f16 or bf16" : tuff_dtype_name(natural));
    c->out[0].dtype = want ? want : natural;
    return true;
}

static bool matmul_infer(tf_infer *c)
{
    const tuff_matmul_desc *d = c->desc;
    for (uint32_t i = 0; i < 2; i++)
        if (c->type[i]->rank == 0)
            return tf_bad(c, TUFF_E_SHAPE, "a scalar is no matrix; multiply with mul (%s)", tf_src_text(c, i));
    if (!check_dtypes(c))
        return false;
    const tf_type a = as_matrix(c->type[0], d->transpose_a, false), b = as_matrix(c->type[1], d->transpose_b, true);
    if (!tf_dim_equal(a.dim[a.rank - 1], b.dim[b.rank - 2]))
        return tf_bad(c, TUFF_E_SHAPE, "a has %s columns, b has %s rows (%s; %s)", tf_dim_text(c->g, a.dim[a.rank - 1]),
                      tf_dim_text(c->g, b.dim[b.rank - 2]), tf_src_text(c, 0), tf_src_text(c, 1));
    tf_type la = a, lb = b, batch = { 0 };
    la.rank -= 2;
    lb.rank -= 2;
    if (!tf_broadcast(c, &la, &lb, &batch))
        return false;
    tf_type *out = &c->out[0];
    out->rank = batch.rank;
    memcpy(out->dim, batch.dim, sizeof out->dim);
    if (c->type[0]->rank > 1)
        out->dim[out->rank++] = a.dim[a.rank - 2];
    if (c->type[1]->rank > 1)
        out->dim[out->rank++] = b.dim[b.rank - 1];
    return true;
}

/* ---- reference ----------------------------------------------------------------------------------- */

typedef struct matrices { /* where matrix i of a batch starts, and its strides */
    uint64_t row, col, rows, cols, count;
} matrices;

static matrices layout(const tf_ref_tensor *t, bool transposed, bool column)
{
    matrices m = { 0 };
    if (t->rank == 1)
        m = column ? (matrices){ 1, 1, (uint64_t)t->dim[0], 1, 1 } : (matrices){ (uint64_t)t->dim[0], 1, 1, (uint64_t)t->dim[0], 1 };
    else {
        const uint64_t r = (uint64_t)t->dim[t->rank - 2], c = (uint64_t)t->dim[t->rank - 1];
        m = transposed ? (matrices){ 1, c, c, r, 0 } : (matrices){ c, 1, r, c, 0 };
        m.count = r && c ? t->n / (r * c) : 0;
    }
    return m;
}

/* Index of t's matrix for matrix `i` of the broadcast batch of `rank` axes with dims `dim`. */
static uint64_t batch_index(const tf_ref_tensor *t, const int64_t *dim, int32_t rank, uint64_t i)
{
    const int32_t own = t->rank > 2 ? t->rank - 2 : 0;
    uint64_t at = 0, step = 1;
    for (int32_t a = rank - 1; a >= 0; a--) {
        const int32_t mine = a - (rank - own);
        if (mine >= 0) {
            at += t->dim[mine] == 1 ? 0 : i % (uint64_t)dim[a] * step;
            step *= (uint64_t)t->dim[mine];
        }
        i /= (uint64_t)dim[a];
    }
    return at;
}

static tuff_status matmul_reference(tf_ref *r)
{
    const tuff_matmul_desc *d = r->desc;
    const tf_ref_tensor *a = r->src[0], *b = r->src[1];
    tf_ref_tensor *y = &r->out[0];
    const matrices la = layout(a, d->transpose_a, false), lb = layout(b, d->transpose_b, true);
    const int32_t batch = y->rank - (a->rank > 1) - (b->rank > 1);
    const uint64_t each = la.rows * lb.cols;
    for (uint64_t i = 0; each && i < y->n; i++) {
        const uint64_t m = i % each / lb.cols, n = i % lb.cols, at = i / each;
        const uint64_t pa = batch_index(a, y->dim, batch, at) * la.rows * la.cols + m * la.row;
        const uint64_t pb = batch_index(b, y->dim, batch, at) * lb.rows * lb.cols + n * lb.col;
        double re = 0, im = 0;
        for (uint64_t k = 0; k < la.cols; k++) {
            const uint64_t ia = pa + k * la.col, ib = pb + k * lb.row;
            re += a->re[ia] * b->re[ib] - (a->im ? a->im[ia] * b->im[ib] : 0);
            im += a->im ? a->re[ia] * b->im[ib] + a->im[ia] * b->re[ib] : 0;
        }
        y->re[i] = re;
        if (y->im)
            y->im[i] = im;
    }
    return TUFF_OK;
}

/* ---- lowering ------------------------------------------------------------------------------------ */

/* A matrix operand: x is [.., r, c]; `flipped` means the product sees it as [.., c, r]. */
typedef struct operand {
    tuff_tensor x;
    bool flipped;
} operand;

static tuff_tensor swapped(tuff_tensor x)
{
    const int32_t rank = tf_ty(x)->rank;
    return tuff_transpose(x, rank - 2, rank - 1);
}

/* An integer attribute of a node by name; `other` when its row has none. */
static int64_t int_attr(const tf_node *n, const char *name, int64_t other)
{
    const tf_attr *a = tf_attr_find(n->op, name);
    int32_t v;
    if (!a || a->type != TF_ATTR_INT)
        return other;
    memcpy(&v, (const char *)n->desc + a->offset, sizeof v);
    return v;
}

/* Does the node exchange the last two of `rank` axes and nothing else? */
static bool swaps_last(const tf_node *n, int32_t rank)
{
    if (n->n_src != 1 || rank < 2)
        return false;
    if (!strcmp(n->op->name, "transpose")) {
        const int64_t a = int_attr(n, "a", -1), b = int_attr(n, "b", -1);
        return TF_MIN(a, b) == rank - 2 && TF_MAX(a, b) == rank - 1;
    }
    const tf_attr *attr = !strcmp(n->op->name, "permute") ? tf_attr_find(n->op, "axes") : NULL;
    tuff_ints axes;
    if (!attr || attr->type != TF_ATTR_INTS)
        return false;
    memcpy(&axes, (const char *)n->desc + attr->offset, sizeof axes);
    for (int32_t i = 0; i < rank - 2; i++)
        if (axes.v[i] != i)
            return false;
    return axes.v[rank - 2] == rank - 1;
}

static operand matrix_operand(tuff_tensor x, bool transposed, bool column)
{
    const tf_type *t = tf_ty(x);
    if (t->rank == 1) {
        const int64_t d[2] = { column ? t->dim[0] : 1, column ? 1 : t->dim[0] };
        return (operand){ tf_reshaped(x, 2, d), false };
    }
    operand o = { x, transposed };
    const tf_node *def = tf_def(x.graph, x.id);
    if (swaps_last(def, t->rank)) {
        o.x = tf_tensor(x.graph, def->src[0]);
        o.flipped = !transposed;
    }
    return o;
}

static tuff_tensor straight(operand o)
{
    return o.flipped ? swapped(o.x) : o.x;
}

/* Leading axes broadcast to `batch` and merged: [b, r, c]. */
static tuff_tensor batched(tuff_tensor x, const int64_t *batch, int32_t rank)
{
    const tf_type t = *tf_ty(x);
    tuff_shape full = { .rank = rank + 2 };
    bool same = t.rank == rank + 2;
    for (int32_t i = 0; i < rank; i++) {
        full.dim[i] = batch[i];
        same = same && tf_dim_equal(t.dim[i], batch[i]);
    }
    full.dim[rank] = t.dim[t.rank - 2];
    full.dim[rank + 1] = t.dim[t.rank - 1];
    const int64_t d[3] = { tf_dim_product(x.graph, batch, 0, rank), full.dim[rank], full.dim[rank + 1] };
    return tf_reshaped(same ? x : tuff_expand(x, full), 3, d);
}

static bool one_matrix(tuff_tensor x)
{
    const tf_type *t = tf_ty(x);
    for (int32_t i = 0; i < t->rank - 2; i++)
        if (t->dim[i] != 1)
            return false;
    return true;
}

/* One or two rows against a matrix: y[b, m, n] = sum over k of a[b, m, k] * b[b, k, n], as a reduction. */
static tuff_tensor as_reduction(tf_lower *l, tuff_tensor a, operand b, const int64_t *batch, int32_t rank)
{
    a = batched(a, batch, rank);
    tuff_tensor w = batched(b.x, batch, rank);
    if (!a.id || !w.id)
        return a;
    const tf_type ta = *tf_ty(a), tw = *tf_ty(w);
    const int64_t k = ta.dim[2], n = tw.dim[b.flipped ? 1 : 2];
    const int64_t row[4] = { ta.dim[0], ta.dim[1], b.flipped ? 1 : k, b.flipped ? k : 1 };
    const int64_t mat[4] = { ta.dim[0], 1, b.flipped ? n : k, b.flipped ? k : n };
    const tuff_tensor p = tuff_mul(tf_reshaped(a, 4, row), tf_reshaped(w, 4, mat));
    return tf_reduce(l->g, l->limits, p, b.flipped ? 8u : 4u, TF_FOLD_SUM, 0);
}

static bool few(const tf_lower *l, int64_t dim)
{
    return tf_dim_bound(l->g, dim) <= (l->limits->cpu ? 1 : 2);
}

/* _matmul, on CPUs as a sum over parts of k that stay below their drivers' limit on loop trips. */
static tuff_tensor in_parts(tf_lower *l, const tuff_tensor *src, const tf_matmul_desc *d)
{
    if (!l->limits->cpu || !src[0].id || !src[1].id)
        return tf_add(l->g, &tf_op_anchor_matmul, src, 2, d);
    const int32_t axis[2] = { d->ta ? 1 : 2, d->tb ? 2 : 1 };
    const int64_t k = tf_ty(src[0])->dim[axis[0]];
    if (tf_dim_bound(l->g, k) <= TF_CPU_TRIPS)
        return tf_add(l->g, &tf_op_anchor_matmul, src, 2, d);
    if (tf_dim_is_dynamic(k))
        return tf_fail(l->g, TUFF_E_LIMIT, "matmul: the inner dim may reach %lld; on this device a dynamic one ends at %d",
                       (long long)tf_dim_bound(l->g, k), (int)TF_CPU_TRIPS);
    tuff_tensor sum = { NULL, 0 };
    for (int64_t at = 0; at < k; at += TF_CPU_TRIPS) {
        tuff_tensor part[2];
        for (int i = 0; i < 2; i++)
            part[i] = tuff_slice(src[i], TUFF_INTS(at), TUFF_INTS(TF_MIN(at + TF_CPU_TRIPS, k)), &(tuff_slice_desc){ .axes = TUFF_INTS(axis[i]) });
        const tuff_tensor y = tf_add(l->g, &tf_op_anchor_matmul, part, 2, d);
        sum = sum.id ? tuff_add(sum, y) : y;
    }
    return sum;
}

/* The product of real operands as [.., m, n] with the batch axes of the result. */
static tuff_tensor product(tf_lower *l, tuff_tensor xa, tuff_tensor xb)
{
    const tuff_matmul_desc *d = l->desc;
    if (!xa.id || !xb.id)
        return (tuff_tensor){ 0 };
    operand a = matrix_operand(xa, d->transpose_a, false), b = matrix_operand(xb, d->transpose_b, true);
    const bool whole = tf_dtype_class(tf_ty(xa)->dtype) == TF_CLS_INT;
    a.x = whole ? tf_cast_to(a.x, l->out_type->dtype) : tf_widened(a.x); /* below the permutes, which must stay visible */
    b.x = whole ? tf_cast_to(b.x, l->out_type->dtype) : tf_widened(b.x);
    if (!a.x.id || !b.x.id)
        return (tuff_tensor){ 0 };
    const tf_type ta = *tf_ty(a.x), tb = *tf_ty(b.x);
    const int32_t rank = l->out_type->rank - (tf_ty(l->src[0])->rank > 1) - (tf_ty(l->src[1])->rank > 1);
    int64_t dim[TUFF_MAX_RANK + 2];
    memcpy(dim, l->out_type->dim, sizeof l->out_type->dim);
    const int64_t m = ta.dim[ta.rank - (a.flipped ? 1 : 2)], n = tb.dim[tb.rank - (b.flipped ? 2 : 1)];
    dim[rank] = m;
    dim[rank + 1] = n;

    if (few(l, m))
        return as_reduction(l, straight(a), b, dim, rank);
    if (few(l, n)) { /* (b^T a^T)^T */
        const operand at = { a.x, !a.flipped }, bt = { b.x, !b.flipped };
        const tuff_tensor y = as_reduction(l, straight(bt), at, dim, rank);
        return y.id && n != 1 ? swapped(y) : y;
    }
    tf_matmul_desc md = { .ta = a.flipped, .tb = b.flipped };
    tuff_tensor src[2];
    if (one_matrix(b.x) && !a.flipped) {
        const int64_t rows[3] = { 1, tf_dim_product(l->g, ta.dim, 0, ta.rank - 1), ta.dim[ta.rank - 1] };
        const int64_t one[3] = { 1, tb.dim[tb.rank - 2], tb.dim[tb.rank - 1] };
        src[0] = tf_reshaped(a.x, 3, rows);
        src[1] = tf_reshaped(b.x, 3, one);
    } else {
        src[0] = batched(a.x, dim, rank);
        src[1] = batched(b.x, dim, rank);
    }
    return in_parts(l, src, &md);
}

static void matmul_lower(tf_lower *l)
{
    const tuff_tensor a = l->src[0], b = l->src[1];
    tuff_tensor y;
    if (tf_ty(a)->dtype == TUFF_C64) {
        const tuff_tensor ar = tuff_real(a), ai = tuff_imag(a), br = tuff_real(b), bi = tuff_imag(b);
        y = tuff_complex(tuff_sub(product(l, ar, br), product(l, ai, bi)), tuff_add(product(l, ar, bi), product(l, ai, br)));
    } else {
        y = product(l, a, b);
    }
    if (y.id)
        l->out[0] = tf_cast_to(tf_reshaped(y, l->out_type->rank, l->out_type->dim), l->out_type->dtype);
}

static const tf_attr matmul_attrs[] = {
    TF_A(tuff_matmul_desc, transpose_a, TF_ATTR_BOOL, "a is [...,k,m]"),
    TF_A(tuff_matmul_desc, transpose_b, TF_ATTR_BOOL, "b is [...,n,k]"),
    TF_A(tuff_matmul_desc, dtype, TF_ATTR_DTYPE, "of the result; none: that of a, i32 for int"),
};
const tf_op tf_op_matmul = {
    .name = "matmul", .doc = "a[...,m,k] x b[...,k,n] -> [...,m,n]; leading axes broadcast, rank-1 operands are a row and a column", .operands = "a b",
    .kind = TF_COMPOSITE, .attrs = matmul_attrs, .attr_count = TF_COUNT(matmul_attrs), .desc_size = sizeof(tuff_matmul_desc),
    .classes = TF_CLS_NUM, .infer = matmul_infer, .lower = matmul_lower, .reference = matmul_reference, .rel = 2,
};
tuff_tensor tuff_matmul(tuff_tensor a, tuff_tensor b, const tuff_matmul_desc *desc)
{
    const tuff_tensor src[2] = { a, b };
    return tf_add(a.graph, &tf_op_matmul, src, 2, desc);
}

/* ---- the anchor ---------------------------------------------------------------------------------- */

static bool anchor_infer(tf_infer *c)
{
    const tf_matmul_desc *d = c->desc;
    const tf_type *a = c->type[0], *b = c->type[1];
    if (a->rank != 3 || b->rank != 3)
        return tf_bad(c, TUFF_E_SHAPE, "ranks are %d and %d; they are 3", (int)a->rank, (int)b->rank);
    if (!tf_dim_equal(a->dim[d->ta ? 1 : 2], b->dim[d->tb ? 2 : 1]) || !tf_dim_equal(a->dim[0], b->dim[0]))
        return tf_bad(c, TUFF_E_SHAPE, "batches or inner dims differ (%s; %s)", tf_src_text(c, 0), tf_src_text(c, 1));
    if (a->dtype != b->dtype)
        return tf_bad(c, TUFF_E_DTYPE, "dtypes differ (%s; %s)", tf_src_text(c, 0), tf_src_text(c, 1));
    c->out[0] = *a;
    c->out[0].dim[1] = a->dim[d->ta ? 2 : 1];
    c->out[0].dim[2] = b->dim[d->tb ? 1 : 2];
    return true;
}

static tuff_status anchor_reference(tf_ref *r)
{
    const tf_matmul_desc *d = r->desc;
    const tf_ref_tensor *a = r->src[0], *b = r->src[1];
    const matrices la = layout(a, d->ta, false), lb = layout(b, d->tb, true);
    const uint64_t each = la.rows * lb.cols;
    for (uint64_t i = 0; each && i < r->out[0].n; i++) {
        const uint64_t pa = i / each * la.rows * la.cols + i % each / lb.cols * la.row, pb = i / each * lb.rows * lb.cols + i % lb.cols * lb.col;
        double sum = 0;
        for (uint64_t k = 0; k < la.cols; k++)
            sum += a->re[pa + k * la.col] * b->re[pb + k * lb.row];
        r->out[0].re[i] = sum;
    }
    return TUFF_OK;
}

/* Tiles by device class. `lanes` is the workgroup. */
typedef struct tile {
    uint32_t bm, bn, tm, tn, lanes; /* tn in vectors of 4 */
    const char *name;
} tile;

/* One lane owns tm x 4 tn; bn / (4 tn) lanes along n. Wider tiles spill, narrower ones load too often (measured). */
static const tile register_tiles[] = {
    { 16, 64, 16, 2, 8, "registers 16x8" }, /* rows of a by group */
    { 8, 64, 8, 2, 8, "registers 8x8" },
    { 8, 32, 8, 1, 8, "registers 8x4" },
    { 16, 16, 8, 1, 8, "registers 8x4" },
    { 32, 8, 8, 1, 8, "registers 8x4" },
    { 64, 4, 8, 1, 8, "registers 8x4" },
    { 4, 64, 4, 2, 8, "registers 4x8" },
    { 4, 32, 4, 1, 8, "registers 4x4" },
    { 8, 16, 4, 1, 8, "registers 4x4" },
    { 16, 8, 4, 1, 8, "registers 4x4" },
    { 32, 4, 4, 1, 8, "registers 4x4" },
};
enum { BY_GROUP = 0, TALL = 1, SHORT = 6 /* first of those for few rows, or b along k */ };
static const tile shared_tiles[] = {
    { 128, 128, 8, 2, 256, "tiles 128x128" },
    { 64, 64, 8, 1, 128, "tiles 64x64" },
    { 32, 32, 4, 1, 64, "tiles 32x32" },
};

/* Does an element of b take long to read: codes of less than a byte, or windows whose neighbours are not neighbours in memory? */
static bool reads_slowly(const tf_kernel_build *k)
{
    const tf_node *n = tf_def(k->g, k->node->src[1]);
    for (; n->op->kind == TF_VIEW; n = tf_def(k->g, n->src[0]))
        if (!strcmp(n->op->name, "unfold"))
            return true;
    for (uint32_t i = 0; i < n->n_src && n->op->kind == TF_INDEXED; i++)
        if (n->src[i] && tf_dtype_bits(tf_type_of(k->g, n->src[i])->dtype) < 8)
            return true;
    return false;
}

/* The row of register_tiles that should be fastest. */
static uint32_t choose_registers(const tf_kernel_build *k, int64_t m, int64_t n)
{
    if (k->limits->uniform_loads && m > 8 && n > 32)
        return BY_GROUP; /* loads of one address are free there */
    uint32_t row = m <= 4 || ((const tf_matmul_desc *)k->desc)->tb ? SHORT : TALL;
    while (register_tiles[row].bn > 4 && n <= register_tiles[row].bn / 2)
        row++;
    return row;
}

static bool shared_fits(const tf_limits *l, const tile *t) { return t->lanes <= l->max_invocations && 64 * (t->bm + t->bn) <= l->shared_bytes; }

/* Matrices of sums that a subgroup owns, and subgroups of a workgroup. */
typedef struct matrix_tile { uint32_t fm, fn, sm, sn; } matrix_tile;
static const matrix_tile matrix_tiles[] = { { 4, 4, 2, 2 }, { 2, 2, 2, 2 }, { 1, 1, 2, 2 }, { 1, 1, 1, 1 } };

/* Does a half hold every element of the value exactly? */
static bool holds_halves(const tuff_graph *g, uint32_t value)
{
    const tf_node *n = tf_def(g, value);
    while (n->op->kind == TF_VIEW && strcmp(n->op->name, "pad") != 0) /* other views add zeros at most */
        n = tf_def(g, value = n->src[0]);
    const tuff_dtype t = tf_type_of(g, n->op->kind == TF_POINTWISE && !strcmp(n->op->name, "cast") ? n->src[0] : value)->dtype;
    return t == TUFF_F16 || t == TUFF_BOOL || t == TUFF_F8E4M3 || t == TUFF_F8E5M2 || (tf_dtype_is_int(t) && tf_dtype_bits(t) <= 8);
}

enum { MATRIX_STEP = 32 }; /* of k, through shared memory */

static uint32_t matrix_step(const tf_limits *l) { return TF_MAX(l->coopmat.k, (uint32_t)MATRIX_STEP); }

/* Vectors of 16 bytes in shared memory: both tiles with their padding, or a row of matrices of results per subgroup. */
static uint32_t matrix_pool(const tf_kernel_build *k, matrix_tile t)
{
    const tf_matmul_desc *d = k->desc;
    const tf_matrices c = k->limits->coopmat;
    const uint32_t bm = t.sm * t.fm * c.m, bn = t.sn * t.fn * c.n, bk = matrix_step(k->limits);
    const uint32_t a = d->ta ? bk * (bm / 8 + 1) : bm * (bk / 8 + 1), b = d->tb ? bn * (bk / 8 + 1) : bk * (bn / 8 + 1);
    return TF_MAX(a + b, t.sm * t.sn * (c.m * t.fn * c.n / 4));
}

/* Are matrices for this product: do its operands need no more than halves, and does it fill one? */
static bool takes_matrices(const tf_kernel_build *k, int64_t m, int64_t n, int64_t inner)
{
    const tf_matrices c = k->limits->coopmat;
    return c.m && 2 * m >= c.m && 2 * n >= c.n && 2 * inner >= c.k && k->src[0]->dtype == TUFF_F32 && holds_halves(k->g, k->node->src[0]) &&
           holds_halves(k->g, k->node->src[1]);
}

static bool matrices_fit(const tf_kernel_build *k, matrix_tile t)
{
    return t.sm * t.sn * k->limits->subgroup_size <= k->limits->max_invocations && 16 * matrix_pool(k, t) <= k->limits->shared_bytes;
}

/* A way to multiply: one of the two. */
typedef struct way { const tile *tile; const matrix_tile *matrices; } way;
enum { WAYS = TF_COUNT(matrix_tiles) + TF_COUNT(register_tiles) + TF_COUNT(shared_tiles) };

/* What the device can run, into out; *best should be the fastest: matrices, where there are any, and of tiles that are shared the largest
 * that do not leave a part of the device idle. */
static uint32_t list_ways(const tf_kernel_build *k, int64_t batch, int64_t m, int64_t n, int64_t inner, way out[WAYS], uint32_t *best)
{
    const tf_limits *l = k->limits;
    const int64_t units = (int64_t)tf_units(l);
    uint32_t count = 0;
    bool found = false;
    for (size_t i = l->cpu ? 1 : 0; i < TF_COUNT(matrix_tiles) && takes_matrices(k, m, n, inner); i++) { /* a CPU's driver would compile the first for minutes */
        const matrix_tile *t = &matrix_tiles[i];
        if (!matrices_fit(k, *t))
            continue;
        const int64_t bm = t->sm * t->fm * l->coopmat.m, bn = t->sn * t->fn * l->coopmat.n;
        *best = found ? *best : count;
        found = found || (bm < 2 * m && bn < 2 * n && batch * ((m + bm - 1) / bm) * ((n + bn - 1) / bn) >= units);
        out[count++] = (way){ .matrices = t };
    }
    found = count > 0;
    if (l->cpu) {
        *best = found ? *best : choose_registers(k, m, n);
        for (size_t i = 0; i < TF_COUNT(register_tiles); i++)
            out[count++] = (way){ .tile = &register_tiles[i] };
        return count;
    }
    const tile *last = &shared_tiles[TF_COUNT(shared_tiles) - 1];
    for (const tile *t = shared_tiles; t <= last; t++) {
        if (t < last && !shared_fits(l, t))
            continue;
        *best = found ? *best : count;
        found = found || batch * ((m + t->bm - 1) / t->bm) * ((n + t->bn - 1) / t->bn) >= units;
        out[count++] = (way){ .tile = t };
    }
    return count;
}

static void configure_plain(tf_kernel_build *k, int64_t batch, int64_t m, int64_t n)
{
    tf_define(k, "KIND", "PLAIN");
    k->algorithm = "element per invocation";
    k->local[0] = 64;
    k->groups = tf_dim_ceildiv(k->g, tf_dim_bin(k->g, TUFF_DIM_MUL, batch, tf_dim_bin(k->g, TUFF_DIM_MUL, m, n)), 64);
    k->loads[0].widths = k->loads[1].widths = k->stores[0].widths = 1;
}

static void configure_tile(tf_kernel_build *k, tile t, int64_t batch, int64_t m, int64_t n, int64_t inner)
{
    const tf_matmul_desc *d = k->desc;
    const bool cpu = k->limits->cpu;
    const uint32_t step = cpu ? 4 : 16;
    const bool tail = tf_dim_is_dynamic(inner) || inner % step != 0;
    tf_define(k, "KIND", "%s", cpu ? "REGISTERS" : "TILED");
    tf_define(k, "TM", "%u", t.tm);
    tf_define(k, "TN", "%u", t.tn);
    tf_define(k, "LN", "%u", t.bn / (4 * t.tn));
    tf_define(k, "BM", "%u", t.bm);
    tf_define(k, "BN", "%u", t.bn);
    tf_define(k, "BK", "%u", step);
    tf_define(k, "UNROLL_K", "%s", t.tm * t.tn > 8 ? "[[dont_unroll]]" : "[[unroll]]");
    tf_define(k, "TAIL", "%d", tail);
    tf_define(k, "ROWS_LOOP", "%s", cpu && !k->limits->uniform_loads && reads_slowly(k) ? "[[dont_unroll]]" : "[[unroll]]"); /* less to compile */
    k->algorithm = t.name;
    k->local[0] = t.lanes;
    k->shared_bytes = cpu ? 0 : 4 * step * (t.bm + t.bn);
    const int64_t tiles = tf_dim_bin(k->g, TUFF_DIM_MUL, tf_dim_ceildiv(k->g, m, t.bm), tf_dim_ceildiv(k->g, n, t.bn));
    k->groups = tf_dim_bin(k->g, TUFF_DIM_MUL, batch, tiles);
    k->loads[0].widths = cpu && tail && !d->ta ? 1 : 4;
    k->loads[1].widths = cpu && tail && d->tb ? 1 : 4;
    k->stores[0].widths = 4;
    k->loads[0].reread = (uint8_t)TF_MIN(tf_dim_bound(k->g, n) / t.bn, 255);
    k->loads[1].reread = (uint8_t)TF_MIN(tf_dim_bound(k->g, m) / t.bm, 255);
}

static void configure_matrices(tf_kernel_build *k, matrix_tile t, int64_t batch, int64_t m, int64_t n, int64_t inner)
{
    const tf_matrices c = k->limits->coopmat;
    const uint32_t bm = t.sm * t.fm * c.m, bn = t.sn * t.fn * c.n, bk = matrix_step(k->limits);
    tf_define(k, "KIND", "MATRICES");
    tf_define(k, "CM", "%u", c.m);
    tf_define(k, "CN", "%u", c.n);
    tf_define(k, "CK", "%u", c.k);
    tf_define(k, "FM", "%u", t.fm);
    tf_define(k, "FN", "%u", t.fn);
    tf_define(k, "SN", "%u", t.sn);
    tf_define(k, "BM", "%u", bm);
    tf_define(k, "BN", "%u", bn);
    tf_define(k, "BK", "%u", bk);
    tf_define(k, "LANES", "%u", k->limits->subgroup_size);
    tf_define(k, "STEP_LOOP", "%s", k->limits->cpu ? "[[dont_unroll]]" : "[[unroll]]");
    tf_define(k, "POOL", "%u", matrix_pool(k, t));
    tf_define(k, "TAIL", "%d", tf_dim_is_dynamic(inner) || inner % bk != 0);
    k->algorithm = tf_arena_printf(&k->g->arena, "cooperative matrices, tiles %ux%u", bm, bn);
    k->need_matrices = true;
    k->subgroup_size = k->limits->subgroup_size;
    k->local[0] = t.sm * t.sn * k->subgroup_size;
    k->shared_bytes = 16 * matrix_pool(k, t);
    const int64_t tiles = tf_dim_bin(k->g, TUFF_DIM_MUL, tf_dim_ceildiv(k->g, m, bm), tf_dim_ceildiv(k->g, n, bn));
    k->groups = tf_dim_bin(k->g, TUFF_DIM_MUL, batch, tiles);
    k->loads[0].widths = k->loads[1].widths = k->stores[0].widths = 4;
    k->loads[0].reread = (uint8_t)TF_MIN(tf_dim_bound(k->g, n) / bn, 255);
    k->loads[1].reread = (uint8_t)TF_MIN(tf_dim_bound(k->g, m) / bm, 255);
}

static bool configure(tf_kernel_build *k)
{
    const tf_matmul_desc *d = k->desc;
    const int64_t batch = k->out[0].dim[0], m = k->out[0].dim[1], n = k->out[0].dim[2], inner = k->src[0]->dim[d->ta ? 1 : 2];
    const int64_t mb = tf_dim_bound(k->g, m), nb = tf_dim_bound(k->g, n);
    k->loads[0] = (tf_hook){ .name = "a" };
    k->loads[1] = (tf_hook){ .name = "b" };
    k->stores[0] = (tf_hook){ .name = "y" };
    k->local[1] = k->local[2] = 1;
    k->source = tf_shader_text("anchors/matmul.glsl");
    k->flops = 2 * (uint64_t)(tf_dim_bound(k->g, batch) * mb * nb) * (uint64_t)tf_dim_bound(k->g, inner);
    tf_define(k, "TA", "%d", d->ta);
    tf_define(k, "TB", "%d", d->tb);
    tf_define_dim(k, "B", batch);
    tf_define_dim(k, "M", m);
    tf_define_dim(k, "N", n);
    tf_define_dim(k, "K", inner);
    if (tf_define_type(k, k->src[0]->dtype) != 4)
        configure_plain(k, batch, m, n);
    else {
        way ways[WAYS];
        uint32_t best = 0;
        const uint32_t count = list_ways(k, tf_dim_bound(k->g, batch), mb, nb, tf_dim_bound(k->g, inner), ways, &best);
        const way w = ways[tf_way(k, count, best, (uint64_t)d->ta << 1 | d->tb)];
        if (w.matrices)
            configure_matrices(k, *w.matrices, batch, m, n, inner);
        else
            configure_tile(k, *w.tile, batch, m, n, inner);
    }
    tf_define(k, "WGSIZE", "%u", k->local[0]);
    return true;
}

static const tf_attr anchor_attrs[] = {
    TF_A(tf_matmul_desc, ta, TF_ATTR_BOOL, "a is [b,k,m]"),
    TF_A(tf_matmul_desc, tb, TF_ATTR_BOOL, "b is [b,n,k]"),
};
static const tf_anchor matmul_anchor = {
    .name = "matmul", .loads = { { .name = "a", .widths = 5, .reread = 255 }, { .name = "b", .widths = 5, .reread = 255 } },
    .stores = { { .name = "y", .widths = 5 } }, .configure = configure,
};
const tf_op tf_op_anchor_matmul = {
    .name = "_matmul", .doc = "a[b,m,k] x b[b,k,n] -> [b,m,n]", .operands = "a b", .kind = TF_ANCHOR, .internal = true, .attrs = anchor_attrs,
    .attr_count = TF_COUNT(anchor_attrs), .desc_size = sizeof(tf_matmul_desc), .infer = anchor_infer, .reference = anchor_reference,
    .anchor = &matmul_anchor, .rel = 2,
};
