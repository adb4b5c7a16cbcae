/* sht.c - sht_synthesis and sht_analysis: between coefficients and values on a grid of latitudes and longitudes.
 *
 * The sums over degrees are one batch of matrix products, one per order m, shared by cosines and sines; the sums over orders are one matrix
 * product with cos(m phi), sin(m phi). The Legendre functions are tables made on the host in double precision by recurrences on normalised
 * functions, so no degree overflows. */
#include "gaunt.h"

#include <math.h>

enum { SHT_MAX = 256, SHT_SIDE = 2048 };

typedef struct synthesis_desc {
    int32_t nlat, nlon;
    tuff_sht_grid grid;
} synthesis_desc;
typedef struct analysis_desc {
    int32_t lmax;
    tuff_sht_grid grid;
} analysis_desc;

static bool check_side(tf_infer *c, const char *name, int64_t n)
{
    return (n >= 1 && n <= SHT_SIDE) || tf_bad(c, TUFF_E_ATTRIBUTE, "%s is %lld; it is from 1 to %d", name, (long long)n, SHT_SIDE);
}

static bool synthesis_infer(tf_infer *c)
{
    const synthesis_desc *d = c->desc;
    const int32_t l = tf_infer_degree(c, 0);
    const tf_type *x = c->type[0];
    if (l < 0 || !check_side(c, "nlat", d->nlat) || !check_side(c, "nlon", d->nlon)) return false;
    if (l > SHT_MAX) return tf_bad(c, TUFF_E_LIMIT, "degree %d; at most %d is supported", (int)l, SHT_MAX);
    if (x->rank == TUFF_MAX_RANK) return tf_bad(c, TUFF_E_LIMIT, "the result would have rank %d (%s)", TUFF_MAX_RANK + 1, tf_src_text(c, 0));
    c->out[0] = *x;
    c->out[0].rank++;
    c->out[0].dim[x->rank - 1] = d->nlat;
    c->out[0].dim[x->rank] = d->nlon;
    return true;
}

static bool analysis_infer(tf_infer *c)
{
    const analysis_desc *d = c->desc;
    const tf_type *f = c->type[0];
    if (tf_dtype_class(f->dtype) != TF_CLS_FLOAT || f->dtype == TUFF_F64)
        return tf_bad(c, TUFF_E_DTYPE, "%s is not among its dtypes: f32 f16 bf16 (%s)", tuff_dtype_name(f->dtype), tf_src_text(c, 0));
    if (f->rank < 2 || tf_dim_is_dynamic(f->dim[f->rank - 1]) || tf_dim_is_dynamic(f->dim[f->rank - 2]))
        return tf_bad(c, TUFF_E_SHAPE, "%s needs two last axes of fixed size, latitudes and longitudes", tf_src_text(c, 0));
    const int64_t nlat = f->dim[f->rank - 2], nlon = f->dim[f->rank - 1], least = d->grid ? 2 * (int64_t)d->lmax + 1 : (int64_t)d->lmax + 1;
    if (!check_side(c, "the number of latitudes", nlat) || !check_side(c, "the number of longitudes", nlon)) return false;
    if (d->lmax < 0 || d->lmax > SHT_MAX) return tf_bad(c, TUFF_E_ATTRIBUTE, "lmax is %d; it is from 0 to %d", (int)d->lmax, SHT_MAX);
    if (nlat < least || nlon < 2 * (int64_t)d->lmax + 1)
        return tf_bad(c, TUFF_E_SHAPE, "%s is too coarse for lmax %d, which needs %lld latitudes and %lld longitudes", tf_src_text(c, 0), (int)d->lmax,
                      (long long)least, 2 * (long long)d->lmax + 1);
    c->out[0] = *f;
    c->out[0].rank--;
    c->out[0].dim[c->out[0].rank - 1] = tf_sh_size(d->lmax);
    return true;
}

/* ---- reference: Y at every point ------------------------------------------------------------------------------------ */

static bool grid_points(tf_arena *a, int32_t nlat, int32_t grid, double **x, double **w)
{
    *x = tf_arena_array(a, double, (size_t)nlat);
    *w = tf_arena_array(a, double, (size_t)nlat);
    if (!*x || !*w) return false;
    if (grid) tf_regular_nodes(nlat, *x, *w);
    else tf_gauss_legendre(nlat, *x, *w);
    return true;
}

static void point(double c, int32_t k, int32_t nlon, int32_t lmax, double *y)
{
    const double s = sqrt(fmax(0, 1 - c * c)), phi = 2 * TF_PI * k / nlon;
    tf_sh_eval(lmax, s * sin(phi), c, s * cos(phi), y);
}

static tuff_status synthesis_reference(tf_ref *r)
{
    const synthesis_desc *d = r->desc;
    const int32_t l = tf_sh_degree(r->src[0]->dim[r->src[0]->rank - 1]), size = tf_sh_size(l);
    double *x, *w, *y = tf_arena_array(r->scratch, double, (size_t)size);
    if (!y || !grid_points(r->scratch, d->nlat, (int32_t)d->grid, &x, &w)) return TUFF_E_MEMORY;
    const uint64_t points = (uint64_t)d->nlat * (uint64_t)d->nlon;
    for (uint64_t p = 0; p < points; p++) {
        point(x[p / (uint64_t)d->nlon], (int32_t)(p % (uint64_t)d->nlon), d->nlon, l, y);
        for (uint64_t row = 0; row < r->out[0].n / points; row++) {
            double sum = 0;
            for (int32_t i = 0; i < size; i++) sum += y[i] * r->src[0]->re[row * (uint64_t)size + (uint64_t)i];
            r->out[0].re[row * points + p] = sum;
        }
    }
    return TUFF_OK;
}

static tuff_status analysis_reference(tf_ref *r)
{
    const analysis_desc *d = r->desc;
    const tf_ref_tensor *f = r->src[0];
    const int32_t nlat = (int32_t)f->dim[f->rank - 2], nlon = (int32_t)f->dim[f->rank - 1], size = tf_sh_size(d->lmax);
    double *x, *w, *y = tf_arena_array(r->scratch, double, (size_t)size);
    if (!y || !grid_points(r->scratch, nlat, (int32_t)d->grid, &x, &w)) return TUFF_E_MEMORY;
    const uint64_t points = (uint64_t)nlat * (uint64_t)nlon;
    for (uint64_t p = 0; p < points; p++) {
        point(x[p / (uint64_t)nlon], (int32_t)(p % (uint64_t)nlon), nlon, d->lmax, y);
        for (uint64_t row = 0; row < f->n / points; row++) {
            const double v = f->re[row * points + p] * w[p / (uint64_t)nlon] * 2 * TF_PI / nlon;
            for (int32_t i = 0; i < size; i++) r->out[0].re[row * (uint64_t)size + (uint64_t)i] += v * y[i];
        }
    }
    return TUFF_OK;
}

/* ---- lowering ---------------------------------------------------------------------------------------------------- */

static void synthesis_lower(tf_lower *l)
{
    const synthesis_desc *d = l->desc;
    const tuff_tensor x = tf_rows_of(l->src[0], tf_ty(l->src[0]));
    if (!x.id) return;
    const int32_t degree = tf_sh_degree(tf_ty(x)->dim[1]);
    const int64_t n = degree + 1, rows = tf_ty(x)->dim[0];
    tuff_tensor a = tuff_matmul(tf_by_order(x, degree), tf_sphere_table_of(l->g, TF_TABLE_SYNTHESIS, degree, d->nlat, (int32_t)d->grid), NULL);
    a = tuff_permute(tuff_reshape(a, (tuff_shape){ 4, { n, 2, rows, d->nlat } }), (tuff_ints){ 4, { 2, 3, 1, 0 } });
    a = tuff_reshape(a, (tuff_shape){ 2, { tf_dim_bin(l->g, TUFF_DIM_MUL, rows, d->nlat), 2 * n } });
    const tuff_tensor f = tuff_matmul(a, tf_sphere_table_of(l->g, TF_TABLE_ANGLES, degree, d->nlon, 0), NULL);
    if (f.id) l->out[0] = tf_cast_to(tf_reshaped(f, l->out_type->rank, l->out_type->dim), l->out_type->dtype);
}

static void analysis_lower(tf_lower *l)
{
    const analysis_desc *d = l->desc;
    const tf_type t = *tf_ty(l->src[0]);
    const int64_t nlat = t.dim[t.rank - 2], nlon = t.dim[t.rank - 1], n = d->lmax + 1, rows = tf_dim_product(l->g, t.dim, 0, t.rank - 2);
    const tuff_tensor f = tf_reshaped(tf_cast_to(l->src[0], TUFF_F32), 2, (int64_t[]){ tf_dim_bin(l->g, TUFF_DIM_MUL, rows, nlat), nlon });
    tuff_tensor b = tuff_matmul(f, tf_sphere_table_of(l->g, TF_TABLE_ANGLES, d->lmax, (int32_t)nlon, 0), &(tuff_matmul_desc){ .transpose_b = true });
    b = tuff_mul(b, tuff_literal(l->g, 2 * TF_PI / (double)nlon, TUFF_F32));
    b = tuff_permute(tuff_reshape(b, (tuff_shape){ 4, { rows, nlat, 2, n } }), (tuff_ints){ 4, { 3, 2, 0, 1 } });
    b = tuff_reshape(b, (tuff_shape){ 3, { n, tf_dim_bin(l->g, TUFF_DIM_MUL, rows, 2), nlat } });
    const tuff_tensor y = tuff_matmul(b, tf_sphere_table_of(l->g, TF_TABLE_ANALYSIS, d->lmax, (int32_t)nlat, (int32_t)d->grid), NULL);
    l->out[0] = tf_rows_back(tf_from_order(y, d->lmax), l->out_type);
}

static const char *const grids[] = { "gauss", "regular", NULL };
static const tf_attr synthesis_attrs[] = {
    TF_A(synthesis_desc, nlat, TF_ATTR_INT, "latitudes, from the pole +y on", .required = true),
    TF_A(synthesis_desc, nlon, TF_ATTR_INT, "longitudes 2 pi k / nlon", .required = true),
    TF_A(synthesis_desc, grid, TF_ATTR_ENUM, "gauss: Gauss-Legendre latitudes; regular: pi (i + 1/2) / nlat", .choices = grids),
};
const tf_op tf_op_sht_synthesis = {
    .name = "sht_synthesis", .doc = "x[.., (L+1)^2] -> f[.., nlat, nlon]: a function on the sphere at the points of a grid, L up to 256", .operands = "x",
    .source = "sums over degrees by order, then over orders", .kind = TF_COMPOSITE, .attrs = synthesis_attrs, .attr_count = TF_COUNT(synthesis_attrs),
    .desc_size = sizeof(synthesis_desc), .infer = synthesis_infer, .reference = synthesis_reference, .lower = synthesis_lower, .rel = 16,
};
tuff_tensor tuff_sht_synthesis(tuff_tensor x, int32_t nlat, int32_t nlon, const tuff_sht_desc *desc)
{
    return tf_add(x.graph, &tf_op_sht_synthesis, &x, 1, &(synthesis_desc){ nlat, nlon, desc ? desc->grid : TUFF_SHT_GAUSS });
}

static const tf_attr analysis_attrs[] = {
    TF_A(analysis_desc, lmax, TF_ATTR_INT, "largest degree", .required = true),
    TF_A(analysis_desc, grid, TF_ATTR_ENUM, "as in sht_synthesis", .choices = grids),
};
const tf_op tf_op_sht_analysis = {
    .name = "sht_analysis", .doc = "f[.., nlat, nlon] -> x[.., (lmax+1)^2]: the coefficients of a function given on a grid, lmax up to 256", .operands = "f",
    .source = "Gauss-Legendre or Fejer quadrature: exact for functions of degree lmax", .kind = TF_COMPOSITE, .attrs = analysis_attrs,
    .attr_count = TF_COUNT(analysis_attrs), .desc_size = sizeof(analysis_desc), .infer = analysis_infer, .reference = analysis_reference,
    .lower = analysis_lower, .rel = 16,
};
tuff_tensor tuff_sht_analysis(tuff_tensor f, int32_t lmax, const tuff_sht_desc *desc)
{
    return tf_add(f.graph, &tf_op_sht_analysis, &f, 1, &(analysis_desc){ lmax, desc ? desc->grid : TUFF_SHT_GAUSS });
}
