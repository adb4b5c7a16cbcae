/* gaunt.c - products of functions on the sphere: gaunt_tp, gaunt_curl_tp, gaunt_conv, gaunt_manybody and cg_full_tp.
 *
 * Each becomes one kernel of generated code (gaunt_code.c) while its text stays short enough, or matrix products with tables on a
 * grid. Which of them is chosen from the work per row, which the generator counts, and the number of rows. */
#include "gaunt.h"

#include <math.h>
#include <string.h>

enum { UNROLLED_MAX = 2000, TEXT_MAX = 6000, SPARSE_TEXT_MAX = 1200 }; /* lines of text: of kernels without loops, and that a driver should compile at all */

static int64_t rows_bound(const tuff_graph *g, const tf_type *t)
{
    tf_type lead = *t;
    uint64_t n;
    lead.dim[lead.rank - 1] = 1;
    return tf_count_bound(g, &lead, &n) && n < INT64_MAX ? (int64_t)n : INT64_MAX;
}

static uint64_t live_rows(const tf_ref_tensor *t) { return t->dim[t->rank - 1] ? t->n / (uint64_t)t->dim[t->rank - 1] : 0; }

/* The grid kernel's variant: without its loop it is a quarter faster on CPUs, while drivers still compile it in a fraction of a second. */
static tf_gaunt_cost grid_cost(const tf_limits *limits, tf_gaunt_desc *code)
{
    code->form = TF_FORM_GRID;
    code->variant = limits->cpu;
    tf_gaunt_cost cost = tf_gaunt_cost_of(code);
    if (cost.text > UNROLLED_MAX) {
        code->variant = 0;
        cost = tf_gaunt_cost_of(code);
    }
    return cost;
}

/* ---- products on a grid by matrix products ------------------------------------------------------------------ */

/* y = E^T (w . product of E x_i), with all degrees of the result at once. */
static tuff_tensor dense_product(tf_lower *l, const tuff_tensor *xs, int32_t n, const int32_t *degrees, bool same, int32_t lout)
{
    int32_t total = 0;
    for (int32_t i = 0; i < n; i++) total += degrees[i];
    const int32_t top = TF_MIN(lout, total);
    tuff_tensor p = { NULL, 0 };
    for (int32_t i = 0; i < n; i++) {
        const tuff_tensor f = same && i ? p : tuff_matmul(xs[i], tf_sphere_table_of(l->g, TF_TABLE_POINTS, degrees[i], total + top, 0), NULL);
        if (same && i) break;
        p = i ? tuff_mul(p, f) : f;
    }
    if (same) {
        const tuff_tensor f = p;
        for (int32_t i = 1; i < n; i++) p = tuff_mul(p, f);
    }
    const tuff_tensor y = tuff_matmul(p, tf_sphere_table_of(l->g, TF_TABLE_PROJECT, top, total + top, 0), NULL);
    return top == lout ? y : tuff_pad(y, (tuff_ints){ 2, { 0, 0 } }, (tuff_ints){ 2, { 0, tf_sh_size(lout) - tf_sh_size(top) } }, NULL);
}

/* ---- products from tables of coefficients ------------------------------------------------------------------- */

/* Each output is a sum of up to `terms` products v x1[i] x2[j]; those with fewer are filled with zeros. */
typedef struct entries {
    int64_t outputs, terms;
    int32_t *i, *j;
    float *v;
} entries;

static bool allocate_entries(tf_arena *a, entries *e)
{
    const size_t n = (size_t)e->outputs * (size_t)e->terms;
    e->i = tf_arena_array(a, int32_t, n);
    e->j = tf_arena_array(a, int32_t, n);
    e->v = tf_arena_array(a, float, n);
    return e->i && e->j && e->v;
}

static tuff_tensor product_of_entries(tf_lower *l, const tuff_tensor *xs, const entries *e)
{
    const int64_t n = e->outputs * e->terms, rows = tf_ty(xs[0])->dim[0];
    const tuff_tensor v = tuff_const(l->g, TUFF_F32, (tuff_shape){ 1, { n } }, e->v, NULL);
    const tuff_tensor p = tuff_mul(tuff_mul(tuff_gather(xs[0], tf_indices(l->g, n, e->i), 1), tuff_gather(xs[1], tf_indices(l->g, n, e->j), 1)), v);
    return tuff_sum(tuff_reshape(p, (tuff_shape){ 3, { rows, e->outputs, e->terms } }), &(tuff_reduce_desc){ .axes = { 1, { 2 } } });
}

/* gaunt_tp where code from the coefficients would be too long to compile. */
static tuff_tensor table_product(tf_lower *l, const tuff_tensor *xs, const int32_t *degrees, int32_t lout)
{
    tf_arena a;
    tf_gaunt_terms terms;
    tuff_tensor y = { NULL, 0 };
    entries e = { .outputs = tf_sh_size(lout), .terms = 1 };
    tf_arena_init(&a, &l->g->arena.allocator);
    int64_t *count = tf_arena_array(&a, int64_t, (size_t)e.outputs);
    bool good = count && tf_gaunt_list(&a, degrees[0], degrees[1], lout, false, &terms);
    for (uint32_t t = 0; good && t < terms.n; t++) e.terms = TF_MAX(e.terms, ++count[terms.data[t].k]);
    good = good && allocate_entries(&a, &e);
    for (uint32_t t = 0; good && t < terms.n; t++) {
        const tf_gaunt_term *g = &terms.data[t];
        const int64_t to = g->k * e.terms + --count[g->k];
        e.i[to] = g->i;
        e.j[to] = g->j;
        e.v[to] = (float)g->g;
    }
    if (good) y = product_of_entries(l, xs, &e);
    else tf_fail(l->g, TUFF_E_MEMORY, "gaunt_tp: out of host memory");
    tf_arena_release(&a);
    return y;
}

/* ---- gaunt_tp --------------------------------------------------------------------------------------------------- */

typedef struct tp_desc {
    int32_t lout;
    tuff_tensor w1, w2, w3;
    tuff_gaunt_algorithm algorithm;
} tp_desc;

enum { SPARSE_CODE = 6, SPARSE_MAX = 12 }; /* largest degrees with code, and with tables, from coefficients */

static bool check_lout(tf_infer *c, int32_t lout, int32_t most)
{
    return (lout >= 0 && lout <= most) || tf_bad(c, TUFF_E_ATTRIBUTE, "lout is %d; it is from 0 to %d", (int)lout, (int)most);
}

static bool check_sum(tf_infer *c, int32_t total)
{
    return total <= TF_SH_MAX || tf_bad(c, TUFF_E_LIMIT, "the degrees of the factors add up to %d; at most %d is supported", (int)total, TF_SH_MAX);
}

static bool tp_infer(tf_infer *c)
{
    const tp_desc *d = c->desc;
    const int32_t l1 = tf_infer_degree(c, 0), l2 = l1 < 0 ? -1 : tf_infer_degree(c, 1);
    if (l2 < 0 || !check_lout(c, d->lout, TF_SH_MAX) || !check_sum(c, l1 + l2) || !tf_infer_lead(c, 0, 1, tf_sh_size(d->lout), &c->out[0])) return false;
    if (c->type[1]->dtype != c->type[0]->dtype) return tf_bad(c, TUFF_E_DTYPE, "%s and %s differ in dtype", tf_src_text(c, 0), tf_src_text(c, 1));
    if (d->algorithm == TUFF_GAUNT_SPARSE && TF_MAX(l1, l2) > SPARSE_MAX)
        return tf_bad(c, TUFF_E_ATTRIBUTE, "algorithm is sparse, which takes degrees up to %d (%s, %s)", SPARSE_MAX, tf_src_text(c, 0), tf_src_text(c, 1));
    return tf_infer_weights(c, 2, l1, &c->out[0]) && tf_infer_weights(c, 3, l2, &c->out[0]) && tf_infer_weights(c, 4, d->lout, &c->out[0]);
}

static tuff_status tp_reference(tf_ref *r)
{
    const tp_desc *d = r->desc;
    const tf_ref_tensor *y = &r->out[0];
    const int32_t l[2] = { tf_sh_degree(r->src[0]->dim[r->src[0]->rank - 1]), tf_sh_degree(r->src[1]->dim[r->src[1]->rank - 1]) };
    const uint64_t rows = live_rows(y);
    double *x[2];
    for (uint32_t i = 0; i < 2; i++) {
        x[i] = tf_ref_rows(r, i, y);
        const double *w = x[i] && r->src[2 + i] ? tf_ref_rows(r, 2 + i, y) : NULL;
        if (!x[i] || (r->src[2 + i] && !w)) return TUFF_E_MEMORY;
        if (w) tf_ref_weights(x[i], w, rows, l[i]);
    }
    const tuff_status s = tf_ref_product(r->scratch, 2, l, d->lout, rows, (const double *[]){ x[0], x[1] }, y->re);
    const double *w = r->src[4] ? tf_ref_rows(r, 4, y) : NULL;
    if (w) tf_ref_weights(r->out[0].re, w, rows, d->lout);
    return s != TUFF_OK ? s : r->src[4] && !w ? TUFF_E_MEMORY : TUFF_OK;
}

/* The kernel that should be fastest. Coefficients win while their code keeps to registers, then the grid does; matrix products take what
 * is too long to compile, or longer than few rows are worth. Fourier coefficients never win on work. */
static tuff_gaunt_algorithm choose(tf_lower *lower, tf_gaunt_desc *code, int64_t rows)
{
    const tf_limits *limits = lower->limits;
    const int32_t l = (int32_t)TF_MAX(code->l.v[0], code->l.v[1]);
    code->form = TF_FORM_SPARSE;
    const tf_gaunt_cost sparse = l <= 5 ? tf_gaunt_cost_of(code) : (tf_gaunt_cost){ UINT64_MAX, UINT64_MAX };
    const tf_gaunt_cost grid = grid_cost(limits, code);
    const bool is_sparse = sparse.work <= grid.work && sparse.text <= SPARSE_TEXT_MAX;
    code->why = l > 5 ? tf_arena_printf(&lower->g->arena, "%llu flops a row, coefficients more", (unsigned long long)grid.work)
                : is_sparse ? tf_arena_printf(&lower->g->arena, "%llu flops a row, grid %llu", (unsigned long long)sparse.work, (unsigned long long)grid.work)
                : sparse.work > grid.work ? tf_arena_printf(&lower->g->arena, "%llu flops a row, sparse %llu", (unsigned long long)grid.work, (unsigned long long)sparse.work)
                : tf_arena_printf(&lower->g->arena, "%llu flops a row; sparse %llu, beyond registers", (unsigned long long)grid.work, (unsigned long long)sparse.work);
    if (is_sparse) return TUFF_GAUNT_SPARSE;
    return grid.text > (rows < 64 ? 1400 : TEXT_MAX) ? TUFF_GAUNT_DENSE : TUFF_GAUNT_GRID;
}

static void tp_lower(tf_lower *l)
{
    const tp_desc *d = l->desc;
    const tf_type *t = l->out_type;
    tuff_tensor xs[5] = { tf_rows_of(l->src[0], t), tf_rows_of(l->src[1], t) };
    tuff_tensor w[3] = { tf_rows_of(l->src[2], t), tf_rows_of(l->src[3], t), tf_rows_of(l->src[4], t) };
    if (!xs[0].id || !xs[1].id) return;
    const int32_t degrees[2] = { tf_sh_degree(tf_ty(xs[0])->dim[1]), tf_sh_degree(tf_ty(xs[1])->dim[1]) };
    const int32_t top = TF_MIN(d->lout, degrees[0] + degrees[1]); /* the product has no higher degrees */
    if (w[2].id && top < d->lout) w[2] = tuff_slice(w[2], TUFF_INTS(0), TUFF_INTS(top + 1), &(tuff_slice_desc){ .axes = TUFF_INTS(1) });
    tf_gaunt_desc code = { .l = { 2, { degrees[0], degrees[1] } }, .lout = top, .weights = (w[0].id != 0) | (w[1].id != 0) << 1 | (w[2].id != 0) << 2 };
    const tuff_gaunt_algorithm algorithm = d->algorithm ? d->algorithm : choose(l, &code, rows_bound(l->g, t));
    tuff_tensor y;
    if (d->algorithm) code.why = "as asked";
    const bool tables = algorithm == TUFF_GAUNT_SPARSE && TF_MAX(degrees[0], degrees[1]) > SPARSE_CODE;
    if ((algorithm == TUFF_GAUNT_SPARSE && !tables) || algorithm == TUFF_GAUNT_GRID) {
        uint32_t n = 2;
        if (algorithm == TUFF_GAUNT_GRID) (void)grid_cost(l->limits, &code);
        else code.form = TF_FORM_SPARSE;
        for (int i = 0; i < 3; i++)
            if (w[i].id) xs[n++] = w[i];
        y = tf_gaunt_kernel(l, &code, xs, n);
    } else {
        for (int i = 0; i < 2; i++) xs[i] = tf_weighted_rows(xs[i], w[i], degrees[i]);
        y = tables ? table_product(l, xs, degrees, top) :
            algorithm == TUFF_GAUNT_DENSE ? dense_product(l, xs, 2, degrees, false, top) : tf_fourier_product(l, xs, degrees, top);
        y = tf_weighted_rows(y, w[2], top);
    }
    if (top < d->lout) y = tuff_pad(y, (tuff_ints){ 2, { 0, 0 } }, (tuff_ints){ 2, { 0, tf_sh_size(d->lout) - tf_sh_size(top) } }, NULL);
    l->out[0] = tf_rows_back(y, t);
}

static const char *const algorithms[] = { "auto", "sparse", "grid", "dense", "fourier", NULL };
static const tf_attr tp_attrs[] = {
    TF_A(tp_desc, lout, TF_ATTR_INT, "degree of the result", .required = true),
    TF_A(tp_desc, w1, TF_ATTR_TENSOR, "weights of x1 by degree, [.., L1+1]; absent: 1"),
    TF_A(tp_desc, w2, TF_ATTR_TENSOR, "weights of x2 by degree, [.., L2+1]; absent: 1"),
    TF_A(tp_desc, w3, TF_ATTR_TENSOR, "weights of y by degree, [.., lout+1]; absent: 1"),
    TF_A(tp_desc, algorithm, TF_ATTR_ENUM, "auto chooses by degree, rows and device", .choices = algorithms),
};
const tf_op tf_op_gaunt_tp = {
    .name = "gaunt_tp", .doc = "x1[.., (L1+1)^2], x2[.., (L2+1)^2] -> y[.., (lout+1)^2]: both functions multiplied on the sphere", .operands = "x1 x2",
    .source = "Luo, Chen, Krishnapriyan 2024, arXiv:2401.10216", .kind = TF_COMPOSITE, .attrs = tp_attrs, .attr_count = TF_COUNT(tp_attrs),
    .desc_size = sizeof(tp_desc), .infer = tp_infer, .reference = tp_reference, .lower = tp_lower, .rel = 16,
};
tuff_tensor tuff_gaunt_tp(tuff_tensor x1, tuff_tensor x2, int32_t lout, const tuff_gaunt_tp_desc *desc)
{
    tp_desc d = { .lout = lout };
    if (desc) d = (tp_desc){ lout, desc->w1, desc->w2, desc->w3, desc->algorithm };
    return tf_add(x1.graph, &tf_op_gaunt_tp, (tuff_tensor[]){ x1, x2 }, 2, &d);
}

/* ---- gaunt_curl_tp -------------------------------------------------------------------------------------------- */

typedef struct lout_desc { int32_t lout; } lout_desc;

static bool curl_infer(tf_infer *c)
{
    const lout_desc *d = c->desc;
    const int32_t l1 = tf_infer_degree(c, 0), l2 = l1 < 0 ? -1 : tf_infer_degree(c, 1);
    if (l2 < 0 || !check_lout(c, d->lout, 64)) return false;
    if (TF_MAX(l1, l2) > 32) return tf_bad(c, TUFF_E_LIMIT, "degree %d; at most 32 is supported", (int)TF_MAX(l1, l2));
    if (c->type[1]->dtype != c->type[0]->dtype) return tf_bad(c, TUFF_E_DTYPE, "%s and %s differ in dtype", tf_src_text(c, 0), tf_src_text(c, 1));
    return tf_infer_lead(c, 0, 1, tf_sh_size(d->lout), &c->out[0]);
}

static tuff_status curl_reference(tf_ref *r)
{
    const tf_ref_tensor *y = &r->out[0];
    const double *x1 = tf_ref_rows(r, 0, y), *x2 = tf_ref_rows(r, 1, y);
    if (!x1 || !x2) return TUFF_E_MEMORY;
    return tf_ref_curl(r->scratch, tf_sh_degree(r->src[0]->dim[r->src[0]->rank - 1]), tf_sh_degree(r->src[1]->dim[r->src[1]->rank - 1]),
                       ((const lout_desc *)r->desc)->lout, live_rows(y), x1, x2, y->re);
}

/* f_theta and f_phi / sin theta at the points, side by side. */
static tuff_tensor slope_part(tuff_tensor table, int32_t part, tuff_tensor x)
{
    const tuff_tensor t = tuff_slice(table, (tuff_ints){ 1, { part } }, (tuff_ints){ 1, { part + 1 } }, NULL);
    return tuff_matmul(x, tuff_squeeze(t, &(tuff_squeeze_desc){ .axes = { 1, { 0 } } }), NULL);
}

static void curl_lower(tf_lower *l)
{
    const tf_type *t = l->out_type;
    const tuff_tensor xs[2] = { tf_rows_of(l->src[0], t), tf_rows_of(l->src[1], t) };
    const int32_t lout = ((const lout_desc *)l->desc)->lout;
    if (!xs[0].id || !xs[1].id) return;
    const int32_t l1 = tf_sh_degree(tf_ty(xs[0])->dim[1]), l2 = tf_sh_degree(tf_ty(xs[1])->dim[1]), top = TF_MIN(lout, l1 + l2), degree = l1 + l2 + top;
    const tf_gaunt_desc code = { .form = TF_FORM_CURL, .l = { 2, { l1, l2 } }, .lout = lout };
    tuff_tensor y;
    if (TF_MAX(l1, l2) <= 6 && (rows_bound(l->g, t) >= 64 || TF_MAX(l1, l2) <= 3)) {
        y = tf_gaunt_kernel(l, &code, xs, 2);
    } else {
        const tuff_tensor s1 = tf_sphere_table_of(l->g, TF_TABLE_SLOPE, l1, degree, 2), s2 = tf_sphere_table_of(l->g, TF_TABLE_SLOPE, l2, degree, 2);
        const tuff_tensor p = tuff_sub(tuff_mul(slope_part(s1, 0, xs[0]), slope_part(s2, 1, xs[1])), tuff_mul(slope_part(s1, 1, xs[0]), slope_part(s2, 0, xs[1])));
        y = tuff_matmul(p, tf_sphere_table_of(l->g, TF_TABLE_PROJECT, top, degree, 2), NULL);
        if (top < lout) y = tuff_pad(y, (tuff_ints){ 2, { 0, 0 } }, (tuff_ints){ 2, { 0, tf_sh_size(lout) - tf_sh_size(top) } }, NULL);
    }
    l->out[0] = tf_rows_back(y, t);
}

static const tf_attr lout_attrs[] = { TF_A(lout_desc, lout, TF_ATTR_INT, "degree of the result", .required = true) };
const tf_op tf_op_gaunt_curl_tp = {
    .name = "gaunt_curl_tp", .doc = "x1[.., (L1+1)^2], x2[.., (L2+1)^2] -> y[.., (lout+1)^2]: rhat . (grad f1 x grad f2) on the sphere", .operands = "x1 x2",
    .source = "the paths of odd l1+l2+l3, which the product of two functions lacks", .kind = TF_COMPOSITE, .attrs = lout_attrs, .attr_count = TF_COUNT(lout_attrs),
    .desc_size = sizeof(lout_desc), .infer = curl_infer, .reference = curl_reference, .lower = curl_lower, .rel = 48,
};
tuff_tensor tuff_gaunt_curl_tp(tuff_tensor x1, tuff_tensor x2, int32_t lout)
{
    return tf_add(x1.graph, &tf_op_gaunt_curl_tp, (tuff_tensor[]){ x1, x2 }, 2, &(lout_desc){ lout });
}

/* ---- gaunt_conv -------------------------------------------------------------------------------------------------- */

static bool conv_infer(tf_infer *c)
{
    const lout_desc *d = c->desc;
    const int32_t l1 = tf_infer_degree(c, 0);
    if (l1 < 0 || !check_lout(c, d->lout, TF_SH_MAX)) return false;
    const tf_type *x = c->type[0], *v = c->type[1], *h = c->type[2];
    if (x->rank < 2) return tf_bad(c, TUFF_E_SHAPE, "%s needs an axis of channels before the last one", tf_src_text(c, 0));
    bool fits = v->rank == x->rank - 1 && v->dim[v->rank - 1] == 3;
    for (int32_t i = 0; fits && i + 1 < v->rank; i++) fits = tf_dim_equal(v->dim[i], x->dim[i]);
    if (!fits) return tf_bad(c, TUFF_E_SHAPE, "%s needs the axes of %s before its channels, and 3", tf_src_text(c, 1), tf_src_text(c, 0));
    for (uint32_t i = 1; i < 3; i++)
        if (c->type[i]->dtype != x->dtype) return tf_bad(c, TUFF_E_DTYPE, "%s and %s differ in dtype", tf_src_text(c, 0), tf_src_text(c, i));
    const int64_t n2 = h->rank > 0 ? h->dim[h->rank - 1] : 0;
    if (n2 < 1 || n2 > TF_SH_MAX + 1) return tf_bad(c, TUFF_E_SHAPE, "%s needs a last axis of L2+1", tf_src_text(c, 2));
    c->out[0] = *x;
    c->out[0].dim[x->rank - 1] = tf_sh_size(d->lout);
    return check_sum(c, l1 + (int32_t)n2 - 1) && tf_infer_weights(c, 2, (int32_t)n2 - 1, &c->out[0]);
}

/* vec[.., 3] -> [.., 1, 3] for broadcasting over channels. */
static tuff_tensor over_channels(tuff_tensor vec)
{
    return vec.id ? tuff_unsqueeze(vec, (tuff_ints){ 1, { tf_ty(vec)->rank - 1 } }) : vec;
}

static tuff_status conv_reference(tf_ref *r)
{
    const tf_ref_tensor *y = &r->out[0], *v = r->src[1];
    const int32_t l2 = (int32_t)r->src[2]->dim[r->src[2]->rank - 1] - 1, l[2] = { tf_sh_degree(r->src[0]->dim[r->src[0]->rank - 1]), l2 };
    const uint64_t rows = live_rows(y), channels = (uint64_t)y->dim[y->rank - 2], n = (uint64_t)tf_sh_size(l2);
    double *f = tf_arena_array(r->scratch, double, (size_t)(rows * n));
    const double *h = tf_ref_rows(r, 2, y);
    if (!f || !h) return TUFF_E_MEMORY;
    for (uint64_t row = 0; row < rows; row++) tf_sh_eval_unit(l2, v->re[row / channels * 3], v->re[row / channels * 3 + 1], v->re[row / channels * 3 + 2], f + row * n);
    tf_ref_weights(f, h, rows, l2);
    return tf_ref_product(r->scratch, 2, l, ((const lout_desc *)r->desc)->lout, rows, (const double *[]){ r->src[0]->re, f }, y->re);
}

static void conv_lower(tf_lower *l)
{
    const tf_type *t = l->out_type;
    const int32_t lout = ((const lout_desc *)l->desc)->lout;
    const tuff_tensor vec = over_channels(l->src[1]), xs[3] = { tf_rows_of(l->src[0], t), tf_rows_of(vec, t), tf_rows_of(l->src[2], t) };
    if (!xs[0].id || !xs[1].id || !xs[2].id) return;
    const int32_t l1 = tf_sh_degree(tf_ty(xs[0])->dim[1]), l2 = (int32_t)tf_ty(xs[2])->dim[1] - 1;
    tf_gaunt_desc code = { .form = TF_FORM_ALIGNED, .l = { 2, { l1, l2 } }, .lout = lout };
    const int32_t most = TF_MAX(TF_MAX(l1, l2), lout);
    if (most <= 12 && rows_bound(l->g, t) >= (most <= 6 ? 1 : 64)) {
        const uint64_t aligned = tf_gaunt_cost_of(&code).work;
        if (most <= 4) {
            code.form = TF_FORM_FILTER;
            if (tf_gaunt_cost_of(&code).work > aligned) code.form = TF_FORM_ALIGNED;
        }
        l->out[0] = tf_rows_back(tf_gaunt_kernel(l, &code, xs, 3), t);
        return;
    }
    const tuff_tensor y = tuff_spherical_harmonics(tf_cast_to(vec, TUFF_F32), l2, NULL);
    l->out[0] = tf_cast_to(tuff_gaunt_tp(tf_cast_to(l->src[0], TUFF_F32), y, lout, &(tuff_gaunt_tp_desc){ .w2 = l->src[2] }), t->dtype);
}

const tf_op tf_op_gaunt_conv = {
    .name = "gaunt_conv", .doc = "x[.., C, (L1+1)^2], vec[.., 3], h[.., C, L2+1] -> y[.., C, (lout+1)^2]: x times the filter h_l Y_l(vec / |vec|)", .operands = "x vec h",
    .source = "Passaro, Zitnick 2023, arXiv:2302.03655; Luo, Chen, Krishnapriyan 2024, arXiv:2401.10216", .kind = TF_COMPOSITE, .attrs = lout_attrs,
    .attr_count = TF_COUNT(lout_attrs), .desc_size = sizeof(lout_desc), .infer = conv_infer, .reference = conv_reference, .lower = conv_lower, .rel = 32,
};
tuff_tensor tuff_gaunt_conv(tuff_tensor x, tuff_tensor vec, tuff_tensor h, int32_t lout)
{
    return tf_add(x.graph, &tf_op_gaunt_conv, (tuff_tensor[]){ x, vec, h }, 3, &(lout_desc){ lout });
}

/* ---- gaunt_manybody ------------------------------------------------------------------------------------------------ */

typedef struct many_desc {
    int32_t lout, order;
    tuff_tensor w, wout;
    const tuff_named *weights;
    uint32_t weight_count;
} many_desc;
enum { MANY_MAX = 16 };

/* Sources: x.., w, wout, named weights. */
typedef struct many {
    uint32_t inputs;
    int32_t order, l[MANY_MAX];
    bool same;
    int weight[MANY_MAX]; /* source of factor i's named weights, or -1 */
} many;

static bool many_infer(tf_infer *c)
{
    const many_desc *d = c->desc;
    const uint32_t inputs = c->n_src - 2 - d->weight_count;
    int32_t total = 0, l[MANY_MAX];
    int64_t order = d->order;
    if (inputs > MANY_MAX) return tf_bad(c, TUFF_E_LIMIT, "%u factors; at most %d are supported", (unsigned)inputs, MANY_MAX);
    for (uint32_t i = 0; i < inputs; i++) {
        if ((l[i] = tf_infer_degree(c, i)) < 0) return false;
        if (c->type[i]->dtype != c->type[0]->dtype) return tf_bad(c, TUFF_E_DTYPE, "%s and %s differ in dtype", tf_src_text(c, 0), tf_src_text(c, i));
        total += l[i];
    }
    const tf_type *w = c->type[inputs];
    if (inputs == 1 && w) {
        if (w->rank < 2 || tf_dim_is_dynamic(w->dim[0])) return tf_bad(c, TUFF_E_SHAPE, "%s needs the factors as its first axis", tf_src_text(c, inputs));
        if (order && order != w->dim[0]) return tf_bad(c, TUFF_E_ATTRIBUTE, "order is %d, but %s has weights of %lld factors", d->order, tf_src_text(c, inputs), (long long)w->dim[0]);
        order = w->dim[0];
    } else if (w) {
        return tf_bad(c, TUFF_E_ARGUMENT, "w is for one x with an order; the weights of several x are called w0, w1, ..");
    }
    if (inputs > 1) {
        if (order && order != (int64_t)inputs) return tf_bad(c, TUFF_E_ATTRIBUTE, "order is %d, but there are %u factors", d->order, (unsigned)inputs);
        order = inputs;
    }
    if (order < 1 || order > MANY_MAX) return tf_bad(c, TUFF_E_ATTRIBUTE, "order is %lld; it is from 1 to %d", (long long)order, MANY_MAX);
    if (inputs == 1) total = l[0] * (int32_t)order;
    if (!check_lout(c, d->lout, TF_SH_MAX) || !check_sum(c, total)) return false;
    c->out[0] = *c->type[0];
    for (uint32_t i = 0; i < inputs; i++) {
        tf_type a = c->out[0], b = *c->type[i];
        a.dim[a.rank - 1] = b.dim[b.rank - 1] = 1;
        if (!tf_broadcast(c, &a, &b, &c->out[0])) return false;
    }
    c->out[0].dtype = c->type[0]->dtype;
    c->out[0].dim[c->out[0].rank - 1] = tf_sh_size(d->lout);
    if (w) { /* one factor's weights are w[i] */
        tf_type one = *w;
        memmove(one.dim, one.dim + 1, (size_t)(one.rank - 1) * sizeof *one.dim);
        one.rank--;
        bool fits = tf_dtype_class(w->dtype) == TF_CLS_FLOAT && w->dtype != TUFF_F64 && one.rank <= c->out[0].rank && one.dim[one.rank - 1] == l[0] + 1;
        for (int32_t k = 0; fits && k + 1 < one.rank; k++) fits = one.dim[k] == 1 || tf_dim_equal(one.dim[k], c->out[0].dim[k + c->out[0].rank - one.rank]);
        if (!fits) return tf_bad(c, TUFF_E_SHAPE, "%s needs the shape [order, .., %d] with axes between that broadcast to those of x", tf_src_text(c, inputs), (int)l[0] + 1);
    }
    for (uint32_t i = 0; i < d->weight_count; i++) {
        uint32_t of = 0, digits = 0;
        const char *p = d->weights[i].name;
        for (p += *p == 'w'; *p >= '0' && *p <= '9' && digits < 3; p++, digits++) of = 10 * of + (uint32_t)(*p - '0');
        if (*p || !digits || d->weights[i].name[0] != 'w' || of >= inputs || inputs == 1)
            return tf_bad(c, TUFF_E_NAME, "there is no factor for the weights \"%s\"", d->weights[i].name);
        if (!tf_infer_weights(c, inputs + 2 + i, l[of], &c->out[0])) return false;
    }
    return tf_infer_weights(c, inputs + 1, d->lout, &c->out[0]);
}

static many many_of(const many_desc *d, uint32_t n_src, const tf_type *first, const int64_t *last, int64_t factors)
{
    many m = { .inputs = n_src - 2 - d->weight_count };
    (void)first;
    m.same = m.inputs == 1;
    m.order = m.same ? (int32_t)(factors ? factors : d->order ? d->order : 1) : (int32_t)m.inputs;
    for (int32_t i = 0; i < MANY_MAX; i++) {
        m.weight[i] = -1;
        if (i < m.order) m.l[i] = tf_sh_degree(last[m.same ? 0 : i]);
    }
    for (uint32_t i = 0; i < d->weight_count; i++) {
        int32_t of = 0;
        for (const char *p = d->weights[i].name + 1; *p; p++) of = 10 * of + (*p - '0');
        m.weight[of] = (int)(m.inputs + 2 + i);
    }
    return m;
}

static tuff_status many_reference(tf_ref *r)
{
    const many_desc *d = r->desc;
    const tf_ref_tensor *y = &r->out[0];
    const uint32_t inputs = r->n_src - 2 - d->weight_count;
    int64_t last[MANY_MAX];
    for (uint32_t i = 0; i < inputs; i++) last[i] = r->src[i]->dim[r->src[i]->rank - 1];
    const tf_ref_tensor *w = r->src[inputs];
    const many m = many_of(d, r->n_src, NULL, last, w ? w->dim[0] : 0);
    const uint64_t rows = live_rows(y);
    double *x[MANY_MAX];
    for (int32_t i = 0; i < m.order; i++) {
        x[i] = tf_ref_rows(r, m.same ? 0 : (uint32_t)i, y);
        const double *own = NULL;
        if (m.weight[i] >= 0) own = tf_ref_rows(r, (uint32_t)m.weight[i], y);
        if (w) {
            tf_ref_tensor one = *w;
            const tf_ref_tensor *keep[TF_MAX_OPERANDS] = { &one };
            one.rank--;
            memmove(one.dim, w->dim + 1, (size_t)one.rank * sizeof *one.dim);
            one.n = w->n / (uint64_t)w->dim[0];
            one.re = w->re + (uint64_t)i * one.n;
            tf_ref part = *r;
            part.src = keep;
            own = tf_ref_rows(&part, 0, y);
        }
        if (!x[i] || ((w || m.weight[i] >= 0) && !own)) return TUFF_E_MEMORY;
        if (own) tf_ref_weights(x[i], own, rows, m.l[i]);
    }
    const tuff_status s = tf_ref_product(r->scratch, m.order, m.l, d->lout, rows, (const double *const *)x, y->re);
    const double *out = r->src[inputs + 1] ? tf_ref_rows(r, inputs + 1, y) : NULL;
    if (out) tf_ref_weights(y->re, out, rows, d->lout);
    return s != TUFF_OK ? s : r->src[inputs + 1] && !out ? TUFF_E_MEMORY : TUFF_OK;
}

static void many_lower(tf_lower *l)
{
    const many_desc *d = l->desc;
    const tf_type *t = l->out_type;
    const uint32_t inputs = l->n_src - 2 - d->weight_count;
    int64_t last[MANY_MAX];
    for (uint32_t i = 0; i < inputs; i++) last[i] = tf_ty(l->src[i])->dim[tf_ty(l->src[i])->rank - 1];
    const tuff_tensor all = l->src[inputs], wout = tf_rows_of(l->src[inputs + 1], t);
    const many m = many_of(d, l->n_src, NULL, last, all.id ? tf_ty(all)->dim[0] : 0);
    tuff_tensor xs[MANY_MAX] = { { NULL, 0 } }, w[MANY_MAX];
    tf_gaunt_desc code = { .form = TF_FORM_GRID, .lout = d->lout, .same = m.same };
    uint32_t weights = 0;
    for (int32_t i = 0; i < m.order; i++) {
        xs[i] = m.same && i ? xs[0] : tf_rows_of(l->src[i], t);
        w[i] = m.weight[i] >= 0 ? tf_rows_of(l->src[m.weight[i]], t) : (tuff_tensor){ NULL, 0 };
        if (all.id) {
            const tuff_tensor one = tuff_slice(all, (tuff_ints){ 1, { i } }, (tuff_ints){ 1, { i + 1 } }, NULL);
            w[i] = tf_rows_of(tuff_squeeze(one, &(tuff_squeeze_desc){ .axes = { 1, { 0 } } }), t);
        }
        weights += w[i].id != 0;
        if (i < TUFF_MAX_RANK) code.l.v[i] = m.l[i];
    }
    code.l.n = m.order;
    const bool fits = m.order <= TF_GAUNT_MAX && (m.same ? 1 : (uint32_t)m.order) + weights + (wout.id != 0) <= 16;
    if (fits) {
        uint32_t n = m.same ? 1 : (uint32_t)m.order;
        tuff_tensor operands[2 * MANY_MAX + 1];
        memcpy(operands, xs, n * sizeof *xs);
        for (int32_t i = 0; i < m.order; i++)
            if (w[i].id) {
                operands[n++] = w[i];
                code.weights |= 1 << i;
            }
        if (wout.id) {
            operands[n++] = wout;
            code.weights |= 1 << m.order;
        }
        const tf_gaunt_cost cost = grid_cost(l->limits, &code);
        if (cost.text <= (rows_bound(l->g, t) < 64 ? 1400 : TEXT_MAX)) {
            l->out[0] = tf_rows_back(tf_gaunt_kernel(l, &code, operands, n), t);
            return;
        }
    }
    bool power = m.same;
    tuff_tensor weighted[MANY_MAX];
    for (int32_t i = 0; i < m.order; i++) {
        power = power && !w[i].id;
        weighted[i] = tf_weighted_rows(xs[i], w[i], m.l[i]);
    }
    l->out[0] = tf_rows_back(tf_weighted_rows(dense_product(l, weighted, m.order, m.l, power, d->lout), wout, d->lout), t);
}

static const tf_attr many_attrs[] = {
    TF_A(many_desc, lout, TF_ATTR_INT, "degree of the result", .required = true),
    TF_A(many_desc, order, TF_ATTR_INT, "factors made of one x; 0: as many as x, or as w has", .min = 0, .max = MANY_MAX),
    TF_A(many_desc, w, TF_ATTR_TENSOR, "weights of one x as every factor, [order, .., L+1]; absent: 1"),
    TF_A(many_desc, wout, TF_ATTR_TENSOR, "weights of y by degree, [.., lout+1]; absent: 1"),
    { .name = "weights", .doc = "weights of several x by the names w0, w1, .., [.., L+1]; those missing are 1", .type = TF_ATTR_NAMED,
      .offset = (uint32_t)offsetof(many_desc, weights), .offset2 = (uint32_t)offsetof(many_desc, weight_count) },
};
const tf_op tf_op_gaunt_manybody = {
    .name = "gaunt_manybody", .doc = "xs[i][.., (L_i+1)^2] -> y[.., (lout+1)^2]: the product of all functions, projected once", .operands = "xs...",
    .source = "Batatia et al. 2022, arXiv:2206.07697; Luo, Chen, Krishnapriyan 2024, arXiv:2401.10216", .kind = TF_COMPOSITE, .attrs = many_attrs,
    .attr_count = TF_COUNT(many_attrs), .desc_size = sizeof(many_desc), .infer = many_infer, .reference = many_reference, .lower = many_lower, .rel = 32,
};
tuff_tensor tuff_gaunt_manybody(const tuff_tensor *xs, uint32_t n, int32_t lout, const tuff_gaunt_manybody_desc *desc)
{
    many_desc d = { .lout = lout };
    if (desc) d = (many_desc){ lout, desc->order, desc->w, desc->wout, desc->weights, desc->weight_count };
    return tf_add(NULL, &tf_op_gaunt_manybody, xs, n, &d);
}

/* ---- cg_full_tp ------------------------------------------------------------------------------------------------------ */

typedef struct cg_desc {
    int32_t lout;
    tuff_cg_normalization normalization;
} cg_desc;

static bool cg_infer(tf_infer *c)
{
    const cg_desc *d = c->desc;
    const int32_t l1 = tf_infer_degree(c, 0), l2 = l1 < 0 ? -1 : tf_infer_degree(c, 1);
    if (l2 < 0 || !check_lout(c, d->lout, 2 * TF_3J_MAX)) return false;
    if (TF_MAX(l1, l2) > TF_3J_MAX) return tf_bad(c, TUFF_E_LIMIT, "degree %d; at most %d is supported", (int)TF_MAX(l1, l2), TF_3J_MAX);
    if (c->type[1]->dtype != c->type[0]->dtype) return tf_bad(c, TUFF_E_DTYPE, "%s and %s differ in dtype", tf_src_text(c, 0), tf_src_text(c, 1));
    return tf_infer_lead(c, 0, 1, tf_cg_size(l1, l2, d->lout), &c->out[0]);
}

static tuff_status cg_reference(tf_ref *r)
{
    const cg_desc *d = r->desc;
    const tf_ref_tensor *y = &r->out[0];
    const double *x1 = tf_ref_rows(r, 0, y), *x2 = tf_ref_rows(r, 1, y);
    if (!x1 || !x2) return TUFF_E_MEMORY;
    return tf_ref_cg(r->scratch, tf_sh_degree(r->src[0]->dim[r->src[0]->rank - 1]), tf_sh_degree(r->src[1]->dim[r->src[1]->rank - 1]), d->lout,
                     (int32_t)d->normalization, live_rows(y), x1, x2, y->re);
}

static bool cg_entries(tf_arena *a, int32_t l1, int32_t l2, const cg_desc *d, entries *e)
{
    int32_t *count = tf_arena_array(a, int32_t, (size_t)e->outputs);
    if (!count) return false;
    for (int pass = 0; pass < 2; pass++) {
        int64_t at = 0;
        for (int32_t p = 0; p <= l1; p++)
            for (int32_t q = 0; q <= l2; q++)
                for (int32_t r = p > q ? p - q : q - p; r <= TF_MIN(d->lout, p + q); r++) {
                    const double alpha = d->normalization == TUFF_CG_COMPONENT ? sqrt(2.0 * r + 1) : d->normalization == TUFF_CG_NORM ? sqrt((2.0 * p + 1) * (2.0 * q + 1)) : 1;
                    const double *w = tf_wigner_3j(a, p, q, r);
                    if (!w) return false;
                    for (int32_t k = 0; k <= 2 * r; k++, at++)
                        for (int32_t i = 0; i <= 2 * p; i++)
                            for (int32_t j = 0; j <= 2 * q; j++) {
                                const double v = alpha * w[((int64_t)i * (2 * q + 1) + j) * (2 * r + 1) + k];
                                if (v == 0) continue;
                                if (pass) {
                                    const int64_t to = at * e->terms + count[at]++;
                                    e->i[to] = p * p + i;
                                    e->j[to] = q * q + j;
                                    e->v[to] = (float)v;
                                } else
                                    e->terms = TF_MAX(e->terms, ++count[at]);
                            }
                }
        if (pass) return true;
        memset(count, 0, (size_t)e->outputs * sizeof *count);
        if (!allocate_entries(a, e)) return false;
    }
    return true;
}

static void cg_lower(tf_lower *l)
{
    const cg_desc *d = l->desc;
    const tf_type *t = l->out_type;
    const tuff_tensor xs[2] = { tf_rows_of(l->src[0], t), tf_rows_of(l->src[1], t) };
    if (!xs[0].id || !xs[1].id) return;
    const int32_t l1 = tf_sh_degree(tf_ty(xs[0])->dim[1]), l2 = tf_sh_degree(tf_ty(xs[1])->dim[1]);
    tuff_tensor y = { NULL, 0 };
    if (TF_MAX(l1, l2) <= 4) {
        const tf_gaunt_desc code = { .form = TF_FORM_CG, .l = { 2, { l1, l2 } }, .lout = d->lout, .variant = (int32_t)d->normalization };
        y = tf_gaunt_kernel(l, &code, xs, 2);
    } else {
        tf_arena a;
        entries e = { .outputs = tf_cg_size(l1, l2, d->lout) };
        tf_arena_init(&a, &l->g->arena.allocator);
        if (cg_entries(&a, l1, l2, d, &e)) y = product_of_entries(l, xs, &e);
        else
            tf_fail(l->g, TUFF_E_MEMORY, "cg_full_tp: out of host memory");
        tf_arena_release(&a);
    }
    l->out[0] = tf_rows_back(y, t);
}

static const char *const cg_normalizations[] = { "component", "norm", "none", NULL };
static const tf_attr cg_attrs[] = {
    TF_A(cg_desc, lout, TF_ATTR_INT, "largest degree of the result's blocks", .required = true),
    TF_A(cg_desc, normalization, TF_ATTR_ENUM, "component: blocks times sqrt(2 l3 + 1); norm: sqrt((2 l1 + 1)(2 l2 + 1))", .choices = cg_normalizations),
};
const tf_op tf_op_cg_full_tp = {
    .name = "cg_full_tp", .doc = "x1[.., (L1+1)^2], x2[.., (L2+1)^2] -> y: a block of 2 l3 + 1 for each path (l1, l2, l3 <= lout)", .operands = "x1 x2",
    .source = "Clebsch-Gordan product in the real basis, as e3nn's FullTensorProduct", .kind = TF_COMPOSITE, .attrs = cg_attrs, .attr_count = TF_COUNT(cg_attrs),
    .desc_size = sizeof(cg_desc), .infer = cg_infer, .reference = cg_reference, .lower = cg_lower, .rel = 16,
};
tuff_tensor tuff_cg_full_tp(tuff_tensor x1, tuff_tensor x2, int32_t lout, const tuff_cg_full_tp_desc *desc)
{
    return tf_add(x1.graph, &tf_op_cg_full_tp, (tuff_tensor[]){ x1, x2 }, 2, &(cg_desc){ lout, desc ? desc->normalization : TUFF_CG_COMPONENT });
}
