/* rotate.c - spherical_harmonics, wigner_d and sh_rotate.
 *
 * A rotation is split into turns about y, x and y by angles whose cosines and sines come from R's entries alone. A turn about y mixes orders m
 * and -m; one about x is J (turn about y) J with the constant J of a half turn. So D(R) x needs two products with J per degree and
 * nothing else, and D(R) itself is linear in cos(m beta), sin(m beta). */
#include "gaunt.h"

#include <string.h>

static uint64_t ref_rows(const tf_ref_tensor *t) { return t->dim[t->rank - 1] ? t->n / (uint64_t)t->dim[t->rank - 1] : 0; }

/* ---- spherical_harmonics ----------------------------------------------------------------------------------------- */

typedef struct sh_desc {
    int32_t lmax;
    tuff_sh_normalization normalization;
    bool solid;
} sh_desc;

static bool check_floats(tf_infer *c)
{
    for (uint32_t i = 0; i < c->n_src; i++)
        if (tf_dtype_class(c->type[i]->dtype) != TF_CLS_FLOAT || c->type[i]->dtype == TUFF_F64)
            return tf_bad(c, TUFF_E_DTYPE, "%s is not among its dtypes: f32 f16 bf16 (%s)", tuff_dtype_name(c->type[i]->dtype), tf_src_text(c, i));
    return true;
}

static bool sh_infer(tf_infer *c)
{
    const sh_desc *d = c->desc;
    const tf_type *v = c->type[0];
    if (!check_floats(c)) return false;
    if (v->rank < 1 || v->dim[v->rank - 1] != 3) return tf_bad(c, TUFF_E_SHAPE, "%s needs a last axis of 3", tf_src_text(c, 0));
    if (d->lmax < 0 || d->lmax > TF_SH_MAX) return tf_bad(c, TUFF_E_ATTRIBUTE, "lmax is %d; it is from 0 to %d", (int)d->lmax, TF_SH_MAX);
    c->out[0] = *v;
    c->out[0].dim[v->rank - 1] = tf_sh_size(d->lmax);
    return true;
}

static tuff_status sh_reference(tf_ref *r)
{
    const sh_desc *d = r->desc;
    for (uint64_t i = 0; i < ref_rows(&r->out[0]); i++)
        tf_ref_sh(d->lmax, (int32_t)d->normalization, d->solid, r->src[0]->re + 3 * i, r->out[0].re + i * (uint64_t)tf_sh_size(d->lmax));
    return TUFF_OK;
}

static void sh_lower(tf_lower *l)
{
    const sh_desc *d = l->desc;
    const tuff_tensor v = tf_rows_of(l->src[0], l->out_type);
    const tf_gaunt_desc code = { .form = TF_FORM_SH, .lout = d->lmax, .variant = (int32_t)d->normalization, .solid = d->solid };
    if (v.id) l->out[0] = tf_rows_back(tf_gaunt_kernel(l, &code, &v, 1), l->out_type);
}

static const char *const normalizations[] = { "integral", "component", "norm", NULL };
static const tf_attr sh_attrs[] = {
    TF_A(sh_desc, lmax, TF_ATTR_INT, "largest degree", .required = true),
    TF_A(sh_desc, normalization, TF_ATTR_ENUM, "integral: orthonormal; component: sum over m of Y^2 = 2l+1; norm: 1", .choices = normalizations),
    TF_A(sh_desc, solid, TF_ATTR_BOOL, "r^l Y_lm(vec) instead of those of the direction"),
};
const tf_op tf_op_spherical_harmonics = {
    .name = "spherical_harmonics", .doc = "vec[.., 3] -> y[.., (lmax+1)^2]: real spherical harmonics of its direction, polar axis y", .operands = "vec",
    .source = "fully normalised recurrence in Cartesian coordinates", .kind = TF_COMPOSITE, .attrs = sh_attrs, .attr_count = TF_COUNT(sh_attrs),
    .desc_size = sizeof(sh_desc), .infer = sh_infer, .reference = sh_reference, .lower = sh_lower, .rel = 80,
};
tuff_tensor tuff_spherical_harmonics(tuff_tensor vec, int32_t lmax, const tuff_spherical_harmonics_desc *desc)
{
    sh_desc d = { .lmax = lmax };
    if (desc) d = (sh_desc){ lmax, desc->normalization, desc->solid };
    return tf_add(vec.graph, &tf_op_spherical_harmonics, &vec, 1, &d);
}

/* ---- rotations: shapes ------------------------------------------------------------------------------------------- */

static bool check_matrix(tf_infer *c, uint32_t i)
{
    const tf_type *r = c->type[i];
    return (r->rank >= 2 && r->dim[r->rank - 1] == 3 && r->dim[r->rank - 2] == 3) || tf_bad(c, TUFF_E_SHAPE, "%s needs the last axes 3, 3", tf_src_text(c, i));
}

/* R[.., 3, 3] as [rows, 9]. */
static tuff_tensor matrix_rows(tuff_tensor r)
{
    const tf_type t = *tf_ty(r);
    return r.id ? tf_reshaped(tf_cast_to(r, TUFF_F32), 2, (int64_t[]){ tf_dim_product(r.graph, t.dim, 0, t.rank - 2), 9 }) : r;
}

/* cos(m t), then sin(m t), m = 0..l, of the three angles: [rows, 6 (l+1)]. */
static tuff_tensor angles_of(tf_lower *l, tuff_tensor matrices, int32_t lmax)
{
    const tf_gaunt_desc code = { .form = TF_FORM_ANGLES, .lout = lmax };
    return tf_gaunt_kernel(l, &code, &matrices, 1);
}

static tuff_tensor column_gather(tuff_tensor x, int64_t n, const int32_t *at) { return x.id ? tuff_gather(x, tf_indices(x.graph, n, at), 1) : x; }

static tuff_tensor numbers(tuff_graph *g, int64_t n, const float *v) { return tuff_const(g, TUFF_F32, (tuff_shape){ 1, { n } }, v, NULL); }

/* ---- wigner_d -------------------------------------------------------------------------------------------------- */

typedef struct lmax_desc { int32_t lmax; } lmax_desc;
enum { WIGNER_MAX = 32 };

static bool wigner_infer(tf_infer *c)
{
    const lmax_desc *d = c->desc;
    if (!check_floats(c) || !check_matrix(c, 0)) return false;
    if (d->lmax < 0 || d->lmax > WIGNER_MAX) return tf_bad(c, TUFF_E_ATTRIBUTE, "lmax is %d; it is from 0 to %d", (int)d->lmax, WIGNER_MAX);
    c->out[0] = *c->type[0];
    c->out[0].rank--;
    c->out[0].dim[c->out[0].rank - 1] = tf_d_size(d->lmax);
    return true;
}

static tuff_status wigner_reference(tf_ref *r)
{
    const int32_t lmax = ((const lmax_desc *)r->desc)->lmax;
    const uint64_t size = (uint64_t)tf_d_size(lmax);
    for (uint64_t i = 0; i < r->out[0].n / size; i++) {
        double m[9];
        tf_proper_rotation(r->src[0]->re + 9 * i, m);
        const double *d = tf_wigner_d(r->scratch, lmax, m);
        if (!d) return TUFF_E_MEMORY;
        memcpy(r->out[0].re + i * size, d, (size_t)size * sizeof *d);
    }
    return TUFF_OK;
}

/* D = X(f) M X(h): entry (a, b) of a degree takes M at (|a|, |b|) and (-|a|, -|b|), since M, a turn about x, keeps the symmetry of
 * x -> -x; each with a cosine or sine of a f and of b h. */
static void wigner_lower(tf_lower *l)
{
    const int32_t lmax = ((const lmax_desc *)l->desc)->lmax, n = lmax + 1;
    const int64_t size = tf_d_size(lmax);
    const tuff_tensor trig = angles_of(l, matrix_rows(l->src[0]), lmax);
    int32_t *at[6], *beta = tf_arena_array(&l->g->arena, int32_t, 2 * (size_t)n);
    float *sign[2];
    for (int k = 0; k < 6; k++) at[k] = tf_arena_array(&l->g->arena, int32_t, (size_t)size);
    for (int k = 0; k < 2; k++) sign[k] = tf_arena_array(&l->g->arena, float, (size_t)size);
    if (l->g->arena.failed || !trig.id) return;
    for (int32_t d = 0; d <= lmax; d++)
        for (int32_t a = -d; a <= d; a++)
            for (int32_t b = -d; b <= d; b++) {
                const int64_t k = tf_d_at(d) + (int64_t)(a + d) * (2 * d + 1) + b + d;
                const int32_t p = a < 0 ? -a : a, q = b < 0 ? -b : b;
                at[0][k] = (a < 0 ? n : 0) + p; /* cos or sin of |a| f */
                at[1][k] = 4 * n + (b < 0 ? n : 0) + q;
                at[2][k] = (int32_t)(tf_d_at(d) + (int64_t)(p + d) * (2 * d + 1) + q + d);
                sign[0][k] = b < 0 ? -1 : 1;
                at[3][k] = (a < 0 ? 0 : n) + p;
                at[4][k] = 4 * n + (b < 0 ? 0 : n) + q;
                at[5][k] = (int32_t)(tf_d_at(d) + (int64_t)(d - p) * (2 * d + 1) + d - q);
                sign[1][k] = a < 0 ? 1 : -1;
            }
    for (int32_t m = 0; m < 2 * n - 1; m++) beta[m] = m < n ? 2 * n + m : 3 * n + m - n + 1;
    const tuff_tensor turned = tuff_matmul(column_gather(trig, 2 * n - 1, beta), tf_sphere_table_of(l->g, TF_TABLE_TURN, lmax, 0, 0), NULL);
    tuff_tensor sum = { NULL, 0 };
    for (int s = 0; s < 2; s++) {
        const tuff_tensor xs = tuff_mul(column_gather(trig, size, at[3 * s]), column_gather(trig, size, at[3 * s + 1]));
        const tuff_tensor term = tuff_mul(tuff_mul(xs, column_gather(turned, size, at[3 * s + 2])), numbers(l->g, size, sign[s]));
        sum = s ? tuff_add(sum, term) : term;
    }
    l->out[0] = tf_rows_back(sum, l->out_type);
}

static const tf_attr lmax_attrs[] = { TF_A(lmax_desc, lmax, TF_ATTR_INT, "largest degree", .required = true) };
const tf_op tf_op_wigner_d = {
    .name = "wigner_d", .doc = "R[.., 3, 3] -> D[.., sum of (2l+1)^2]: blocks of degrees 0..lmax, row-major, with Y(R v) = D Y(v)", .operands = "r",
    .source = "turns about y, x, y; half turns from Wigner's d(pi/2) by recursion in the degree", .kind = TF_COMPOSITE, .attrs = lmax_attrs,
    .attr_count = TF_COUNT(lmax_attrs), .desc_size = sizeof(lmax_desc), .infer = wigner_infer, .reference = wigner_reference, .lower = wigner_lower, .rel = 32,
};
tuff_tensor tuff_wigner_d(tuff_tensor r, int32_t lmax) { return tf_add(r.graph, &tf_op_wigner_d, &r, 1, &(lmax_desc){ lmax }); }

/* ---- sh_rotate --------------------------------------------------------------------------------------------------- */

enum { ROTATE_CODE = 10, ROTATE_MAX = 128 };

static bool rotate_infer(tf_infer *c)
{
    const int32_t degree = tf_infer_degree(c, 0);
    const tf_type *x = c->type[0], *r = c->type[1];
    if (degree < 0 || !check_floats(c) || !check_matrix(c, 1)) return false;
    if (degree > ROTATE_MAX) return tf_bad(c, TUFF_E_LIMIT, "degree %d; at most %d is supported", (int)degree, ROTATE_MAX);
    bool fits = r->rank - 2 <= x->rank - 1;
    for (int32_t i = 0; fits && i < r->rank - 2; i++) fits = tf_dim_equal(r->dim[i], x->dim[i]);
    if (!fits) return tf_bad(c, TUFF_E_SHAPE, "the axes of %s before 3, 3 must be the first ones of %s", tf_src_text(c, 1), tf_src_text(c, 0));
    c->out[0] = *x;
    return true;
}

static tuff_status rotate_reference(tf_ref *r)
{
    const tf_ref_tensor *x = r->src[0], *m = r->src[1];
    const uint64_t rows = ref_rows(x), matrices = m->n / 9, shared = matrices ? rows / matrices : 1;
    double *each = tf_arena_array(r->scratch, double, (size_t)(9 * rows));
    if (!each) return TUFF_E_MEMORY;
    for (uint64_t i = 0; i < rows; i++) memcpy(each + 9 * i, m->re + 9 * (i / shared), 9 * sizeof *each);
    return tf_ref_rotate(r->scratch, tf_sh_degree(x->dim[x->rank - 1]), rows, x->re, each, r->out[0].re);
}

/* y_m = cos(m t) x_m - sin(m t) x_-m for all degrees; trig holds the angle's numbers from column `first`. */
static tuff_tensor turn_rows(tuff_tensor x, tuff_tensor trig, int32_t first, int32_t lmax)
{
    const int32_t n = tf_sh_size(lmax);
    int32_t *c = tf_arena_array(&x.graph->arena, int32_t, (size_t)n), *s = tf_arena_array(&x.graph->arena, int32_t, (size_t)n);
    int32_t *mirror = tf_arena_array(&x.graph->arena, int32_t, (size_t)n);
    float *sign = tf_arena_array(&x.graph->arena, float, (size_t)n);
    if (!c || !s || !mirror || !sign) return x;
    for (int32_t l = 0; l <= lmax; l++)
        for (int32_t m = -l; m <= l; m++) {
            const int32_t i = tf_sh_at(l, m), k = m < 0 ? -m : m;
            c[i] = first + k;
            s[i] = first + lmax + 1 + k;
            mirror[i] = tf_sh_at(l, -m);
            sign[i] = m > 0 ? -1 : 1;
        }
    const tuff_tensor across = tuff_mul(tuff_mul(column_gather(trig, n, s), numbers(x.graph, n, sign)), column_gather(x, n, mirror));
    return tuff_add(tuff_mul(column_gather(trig, n, c), x), across);
}

/* J x, all degrees as one batch of matrices padded to the largest. */
static tuff_tensor half_turn_rows(tuff_tensor x, tuff_tensor j, int32_t lmax)
{
    const int32_t n = lmax + 1, width = 2 * lmax + 1;
    int32_t *in = tf_arena_array(&x.graph->arena, int32_t, (size_t)n * (size_t)width), *out = tf_arena_array(&x.graph->arena, int32_t, (size_t)tf_sh_size(lmax));
    if (!in || !out || !x.id) return x;
    for (int32_t l = 0; l <= lmax; l++)
        for (int32_t m = -l; m <= l; m++) {
            in[l * width + lmax + m] = tf_sh_at(l, m);
            out[tf_sh_at(l, m)] = l * width + lmax + m;
        }
    const int64_t rows = tf_ty(x)->dim[0];
    const tuff_ints swap = { 3, { 1, 0, 2 } };
    x = tuff_permute(tuff_reshape(column_gather(x, (int64_t)n * width, in), (tuff_shape){ 3, { rows, n, width } }), swap);
    x = tuff_reshape(tuff_permute(tuff_matmul(x, j, NULL), swap), (tuff_shape){ 2, { rows, (int64_t)n * width } });
    return column_gather(x, tf_sh_size(lmax), out);
}

static void rotate_lower(tf_lower *l)
{
    const tf_type *t = l->out_type, *rt = tf_ty(l->src[1]);
    const int32_t lmax = tf_sh_degree(t->dim[t->rank - 1]);
    const tuff_tensor x = tf_rows_of(l->src[0], t);
    /* one matrix for each row: R's leading axes, then axes of 1 to be repeated */
    tuff_shape s = { .rank = t->rank };
    for (int32_t i = 0; i + 1 < t->rank; i++) s.dim[i] = i < rt->rank - 2 ? rt->dim[i] : 1;
    s.dim[s.rank - 1] = 9;
    const tuff_tensor r = tf_rows_of(tuff_reshape(l->src[1], s), t);
    if (!x.id || !r.id) return;
    if (lmax <= ROTATE_CODE) {
        const tf_gaunt_desc code = { .form = TF_FORM_ROTATE, .l = { 1, { lmax } }, .lout = lmax };
        l->out[0] = tf_rows_back(tf_gaunt_kernel(l, &code, (tuff_tensor[]){ x, r }, 2), t);
        return;
    }
    const tuff_tensor trig = angles_of(l, r, lmax), j = tf_sphere_table_of(l->g, TF_TABLE_HALF_TURN, lmax, 0, 0);
    const int32_t n = 2 * (lmax + 1);
    tuff_tensor y = half_turn_rows(turn_rows(x, trig, 2 * n, lmax), j, lmax);
    y = half_turn_rows(turn_rows(y, trig, n, lmax), j, lmax);
    l->out[0] = tf_rows_back(turn_rows(y, trig, 0, lmax), t);
}

const tf_op tf_op_sh_rotate = {
    .name = "sh_rotate", .doc = "x[.., (L+1)^2], R[.., 3, 3] -> D(R) x: the function turned by R, L up to 128", .operands = "x r",
    .source = "turns about y, x, y; half turns from Wigner's d(pi/2) by recursion in the degree", .kind = TF_COMPOSITE,
    .infer = rotate_infer, .reference = rotate_reference, .lower = rotate_lower, .rel = 32,
};
tuff_tensor tuff_sh_rotate(tuff_tensor x, tuff_tensor r) { return tf_add(x.graph, &tf_op_sh_rotate, (tuff_tensor[]){ x, r }, 2, NULL); }
