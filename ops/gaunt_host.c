/* gaunt_host.c - rows that run on the host in double precision when a graph is compiled: Gaunt coefficients, 3j tensors,
 * Gauss-Legendre nodes, and _sphere_table, the tables that kernels of this family read. */
#include "gaunt.h"
#include "ops.h"

#include <math.h>
#include <string.h>

static bool check_degree(tf_infer *c, const char *name, int32_t l, int32_t most)
{
    return (l >= 0 && l <= most) || tf_bad(c, TUFF_E_ATTRIBUTE, "%s is %d; it is from 0 to %d", name, (int)l, (int)most);
}

static bool result(tf_infer *c, uint32_t i, int32_t rank, const int64_t *dims)
{
    c->out[i] = (tf_type){ .dtype = TUFF_F32, .rank = rank };
    memcpy(c->out[i].dim, dims, (size_t)rank * sizeof *dims);
    uint64_t n;
    return (tf_count_bound(c->g, &c->out[i], &n) && n < UINT64_C(1) << 31) || tf_bad(c, TUFF_E_LIMIT, "the table would have 2^31 elements or more");
}

static tuff_status copy_out(tf_ref *r, uint32_t i, const double *from)
{
    if (!from) return TUFF_E_MEMORY;
    memcpy(r->out[i].re, from, (size_t)r->out[i].n * sizeof *from);
    return TUFF_OK;
}

/* ---- gaunt_coefficients, wigner_3j, gaunt_norms ------------------------------------------------------------- */

typedef struct degrees_desc { int32_t l1, l2, l3; } degrees_desc;

static bool gaunt_infer(tf_infer *c)
{
    const degrees_desc *d = c->desc;
    if (!check_degree(c, "l1", d->l1, TF_SH_MAX) || !check_degree(c, "l2", d->l2, TF_SH_MAX) || !check_degree(c, "l3", d->l3, TF_SH_MAX)) return false;
    return result(c, 0, 3, (int64_t[]){ tf_sh_size(d->l1), tf_sh_size(d->l2), tf_sh_size(d->l3) });
}

static tuff_status gaunt_reference(tf_ref *r)
{
    const degrees_desc *d = r->desc;
    tf_gaunt_terms terms;
    if (!tf_gaunt_list(r->scratch, d->l1, d->l2, d->l3, false, &terms)) return TUFF_E_MEMORY;
    for (uint32_t t = 0; t < terms.n; t++)
        r->out[0].re[((int64_t)terms.data[t].i * r->out[0].dim[1] + terms.data[t].j) * r->out[0].dim[2] + terms.data[t].k] = terms.data[t].g;
    return TUFF_OK;
}

static bool w3j_infer(tf_infer *c)
{
    const degrees_desc *d = c->desc;
    if (!check_degree(c, "l1", d->l1, TF_3J_MAX) || !check_degree(c, "l2", d->l2, TF_3J_MAX) || !check_degree(c, "l3", d->l3, 2 * TF_3J_MAX)) return false;
    return result(c, 0, 3, (int64_t[]){ 2 * d->l1 + 1, 2 * d->l2 + 1, 2 * d->l3 + 1 });
}

static tuff_status w3j_reference(tf_ref *r)
{
    const degrees_desc *d = r->desc;
    return copy_out(r, 0, tf_wigner_3j(r->scratch, d->l1, d->l2, d->l3));
}

static const tf_attr degrees_attrs[] = {
    TF_A(degrees_desc, l1, TF_ATTR_INT, "first degree", .required = true),
    TF_A(degrees_desc, l2, TF_ATTR_INT, "second degree", .required = true),
    TF_A(degrees_desc, l3, TF_ATTR_INT, "third degree", .required = true),
};
const tf_op tf_op_gaunt_coefficients = {
    .name = "gaunt_coefficients", .doc = "integrals of Y_i Y_j Y_k over the sphere: y[(l1+1)^2, (l2+1)^2, (l3+1)^2], made on the host", .operands = "",
    .source = "Gaunt coefficients of real spherical harmonics", .kind = TF_HOST, .attrs = degrees_attrs, .attr_count = TF_COUNT(degrees_attrs),
    .desc_size = sizeof(degrees_desc), .infer = gaunt_infer, .reference = gaunt_reference, .rel = 1,
};
tuff_tensor tuff_gaunt_coefficients(tuff_graph *g, int32_t l1, int32_t l2, int32_t l3)
{
    return tf_add(g, &tf_op_gaunt_coefficients, NULL, 0, &(degrees_desc){ l1, l2, l3 });
}
const tf_op tf_op_wigner_3j = {
    .name = "wigner_3j", .doc = "the real 3j tensor of norm 1: y[2*l1+1, 2*l2+1, 2*l3+1], 0 off the triangle, made on the host", .operands = "",
    .source = "Racah's formula in the real basis, signs as in e3nn", .kind = TF_HOST, .attrs = degrees_attrs, .attr_count = TF_COUNT(degrees_attrs),
    .desc_size = sizeof(degrees_desc), .infer = w3j_infer, .reference = w3j_reference, .rel = 1,
};
tuff_tensor tuff_wigner_3j(tuff_graph *g, int32_t l1, int32_t l2, int32_t l3)
{
    return tf_add(g, &tf_op_wigner_3j, NULL, 0, &(degrees_desc){ l1, l2, l3 });
}

typedef struct lmax_desc { int32_t lmax; } lmax_desc;

static bool norms_infer(tf_infer *c)
{
    const int64_t l = ((const lmax_desc *)c->desc)->lmax;
    return check_degree(c, "lmax", (int32_t)l, TF_3J_MAX) && result(c, 0, 3, (int64_t[]){ l + 1, l + 1, 2 * l + 1 });
}

static tuff_status norms_reference(tf_ref *r)
{
    const int32_t n = (int32_t)r->out[0].dim[0], n3 = (int32_t)r->out[0].dim[2];
    for (int32_t i = 0; i < n * n * n3; i++) r->out[0].re[i] = tf_gaunt_norm(i / n3 / n, i / n3 % n, i % n3);
    return TUFF_OK;
}

static const tf_attr lmax_attrs[] = { TF_A(lmax_desc, lmax, TF_ATTR_INT, "largest first and second degree", .required = true) };
const tf_op tf_op_gaunt_norms = {
    .name = "gaunt_norms", .doc = "g with (Gaunt block l1, l2, l3) = g * wigner_3j: y[lmax+1, lmax+1, 2*lmax+1], 0 where there is none, made on the host",
    .operands = "", .source = "sqrt((2l1+1)(2l2+1)(2l3+1)/4pi) |3j(l1 l2 l3; 0 0 0)|", .kind = TF_HOST, .attrs = lmax_attrs,
    .attr_count = TF_COUNT(lmax_attrs), .desc_size = sizeof(lmax_desc), .infer = norms_infer, .reference = norms_reference, .rel = 1,
};
tuff_tensor tuff_gaunt_norms(tuff_graph *g, int32_t lmax) { return tf_add(g, &tf_op_gaunt_norms, NULL, 0, &(lmax_desc){ lmax }); }

/* ---- gauss_legendre ------------------------------------------------------------------------------------------ */

typedef struct nodes_desc { int32_t n; } nodes_desc;

static bool nodes_infer(tf_infer *c)
{
    const int64_t n = ((const nodes_desc *)c->desc)->n;
    if (n < 1 || n > 1 << 16) return tf_bad(c, TUFF_E_ATTRIBUTE, "n is %lld; it is from 1 to 65536", (long long)n);
    c->n_out = 2;
    return result(c, 0, 1, &n) && result(c, 1, 1, &n);
}

static tuff_status nodes_reference(tf_ref *r)
{
    tf_gauss_legendre((int32_t)r->out[0].n, r->out[0].re, r->out[1].re);
    return TUFF_OK;
}

static const tf_attr nodes_attrs[] = { TF_A(nodes_desc, n, TF_ATTR_INT, "number of nodes", .required = true) };
const tf_op tf_op_gauss_legendre = {
    .name = "gauss_legendre", .doc = "nodes[n] = cos(theta) from +1 to -1 and weights[n] of Gauss-Legendre quadrature, made on the host", .operands = "",
    .results = "nodes weights", .kind = TF_HOST, .attrs = nodes_attrs, .attr_count = TF_COUNT(nodes_attrs), .desc_size = sizeof(nodes_desc),
    .infer = nodes_infer, .reference = nodes_reference, .rel = 1,
};
tuff_tensor tuff_gauss_legendre(tuff_graph *g, int32_t n) { return tf_add(g, &tf_op_gauss_legendre, NULL, 0, &(nodes_desc){ n }); }

/* ---- _sphere_table --------------------------------------------------------------------------------------------- */

static bool table_shape(const tf_sphere_table_desc *d, tuff_shape *s)
{
    const int64_t l = d->l, n = l + 1, size = n * n, terms = n * (n + 1) / 2, points = (int64_t)(d->degree / 2 + 1 + d->extra) * (d->degree + 1);
    switch (d->kind) {
    case TF_TABLE_POINTS: *s = (tuff_shape){ 2, { size, points } }; break;
    case TF_TABLE_PROJECT: *s = (tuff_shape){ 2, { points, size } }; break;
    case TF_TABLE_SLOPE: *s = (tuff_shape){ 3, { 2, size, points } }; break;
    case TF_TABLE_PAIRS: *s = (tuff_shape){ 2, { (d->degree / 2 + 2) / 2, (terms + 4) / 4 * 4 } }; break; /* in vectors */
    case TF_TABLE_RECURRENCE: *s = (tuff_shape){ 2, { terms, 3 } }; break;
    case TF_TABLE_THETA: *s = (tuff_shape){ 3, { n, n, 2 * (int64_t)d->degree + 1 } }; break;
    case TF_TABLE_THETA_BACK: *s = (tuff_shape){ 3, { n, (d->extra ? 1 : 2) * (int64_t)d->degree + 1, n } }; break;
    case TF_TABLE_TURN: *s = (tuff_shape){ 2, { 2 * l + 1, tf_d_size(d->l) } }; break;
    case TF_TABLE_HALF_TURN: *s = (tuff_shape){ 3, { n, 2 * l + 1, 2 * l + 1 } }; break;
    case TF_TABLE_SYNTHESIS: *s = (tuff_shape){ 3, { n, n, d->degree } }; break;
    case TF_TABLE_ANALYSIS: *s = (tuff_shape){ 3, { n, d->degree, n } }; break;
    case TF_TABLE_ANGLES: *s = (tuff_shape){ 2, { 2 * n, d->degree } }; break;
    default: return false;
    }
    return true;
}

static bool table_infer(tf_infer *c)
{
    const tf_sphere_table_desc *d = c->desc;
    tuff_shape s;
    if (!check_degree(c, "l", d->l, TF_SH_MAX) || d->degree < 0 || d->extra < 0) return tf_bad(c, TUFF_E_ATTRIBUTE, "no such table");
    return table_shape(d, &s) ? result(c, 0, s.rank, s.dim) : tf_bad(c, TUFF_E_ATTRIBUTE, "no such table");
}

static tuff_status points_table(tf_ref *r, const tf_sphere_table_desc *d)
{
    tf_sphere_grid grid;
    double *t = NULL, *p = NULL;
    if (!tf_sphere_grid_make(r->scratch, d->degree, d->extra, &grid)) return TUFF_E_MEMORY;
    if (d->kind == TF_TABLE_SLOPE) (void)tf_sphere_slopes(r->scratch, &grid, d->l, &t, &p);
    else t = p = tf_sphere_values(r->scratch, &grid, d->l);
    if (!t || !p) return TUFF_E_MEMORY;
    const int64_t points = (int64_t)grid.nt * grid.np, size = tf_sh_size(d->l);
    for (int64_t j = 0; j < points; j++)
        for (int64_t i = 0; i < size; i++) {
            if (d->kind == TF_TABLE_PROJECT) {
                r->out[0].re[j * size + i] = t[j * size + i] * grid.w[j / grid.np] * 2 * TF_PI / grid.np;
                continue;
            }
            r->out[0].re[i * points + j] = t[j * size + i];
            if (d->kind == TF_TABLE_SLOPE) r->out[0].re[(size + i) * points + j] = p[j * size + i];
        }
    return TUFF_OK;
}

static tuff_status pairs_table(tf_ref *r, const tf_sphere_table_desc *d)
{
    const int32_t pairs = (int32_t)r->out[0].dim[0], line = (int32_t)r->out[0].dim[1], terms = tf_lm(d->l + 1, 0);
    double *x = tf_arena_array(r->scratch, double, 2 * (size_t)pairs), *w = tf_arena_array(r->scratch, double, 2 * (size_t)pairs);
    if (!x || !w) return TUFF_E_MEMORY;
    tf_gauss_legendre(2 * pairs, x, w);
    for (int32_t j = 0; j < pairs; j++) {
        tf_legendre(d->l, x[j], sqrt(1 - x[j] * x[j]), r->out[0].re + (int64_t)j * line);
        r->out[0].re[(int64_t)j * line + terms] = w[j] * 2 * TF_PI / (4 * d->extra);
        for (int32_t i = terms + 1; i < line; i++) r->out[0].re[(int64_t)j * line + i] = 0;
    }
    return TUFF_OK;
}

static void recurrence_table(double *out, const tf_sphere_table_desc *d)
{
    for (int32_t l = 0; l <= d->l; l++)
        for (int32_t m = 0; m <= l; m++) {
            double *e = out + 3 * tf_lm(l, m);
            const double k = l - 1;
            e[0] = l > m ? sqrt((4.0 * l * l - 1) / ((double)l * l - (double)m * m)) : 0;
            e[1] = l == m ? (m == 0 ? 1 / sqrt(4 * TF_PI) : sqrt((2.0 * m + 1) / (2.0 * m)) * (m == 1 ? sqrt(2.0) : 1.0)) : l > m + 1 ? sqrt((k * k - (double)m * m) / (4 * k * k - 1)) : 0;
            e[2] = tf_sh_scale(d->extra, l);
        }
}

/* theta[m, l, u + U] = half the coefficient of {cos|sin}(u theta) at +-u, for odd m the factor of i. */
static tuff_status theta_table(tf_ref *r, const tf_sphere_table_desc *d)
{
    const double *a = tf_theta_series(r->scratch, d->l);
    const int32_t n = d->l + 1, width = 2 * d->degree + 1;
    for (int32_t m = 0; a && m < n; m++)
        for (int32_t l = m; l < n; l++)
            for (int32_t u = 0; u <= TF_MIN(l, d->degree); u++) {
                const double v = a[tf_lm(l, m) * n + u];
                double *row = r->out[0].re + ((int64_t)m * n + l) * width + d->degree;
                if (m & 1) {
                    row[u] -= v / 2; /* sin = (e^iu - e^-iu) / 2i */
                    row[-u] += v / 2;
                } else {
                    row[u] += v / 2;
                    row[-u] += v / 2;
                }
            }
    return a ? TUFF_OK : TUFF_E_MEMORY;
}

static tuff_status theta_back_table(tf_ref *r, const tf_sphere_table_desc *d)
{
    const double *k = tf_theta_integrals(r->scratch, d->degree, d->l);
    const int32_t n = d->l + 1, width = (int32_t)r->out[0].dim[1];
    for (int32_t m = 0; k && m < n; m++)
        for (int32_t l = m; l < n; l++)
            for (int32_t u = 0; u <= d->degree; u++) {
                const double v = k[tf_lm(l, m) * (d->degree + 1) + u] * (m ? TF_PI : 2 * TF_PI);
                double *column = r->out[0].re + (int64_t)m * width * n + l;
                if (d->extra) { /* u >= 0 stands for both */
                    column[(int64_t)u * n] = u ? 2 * v : v;
                    continue;
                }
                column[(int64_t)(d->degree + u) * n] = v;
                if (u) column[(int64_t)(d->degree - u) * n] = m & 1 ? -v : v;
            }
    return k ? TUFF_OK : TUFF_E_MEMORY;
}

/* D of a turn about x by t: J X(t) J = J diag(cos) J + J antidiag(sin) J, one row of the table for each cos(m t), then sin(m t). */
static tuff_status turn_table(tf_ref *r, const tf_sphere_table_desc *d)
{
    const double *j = tf_wigner_j(r->scratch, d->l);
    const int64_t width = r->out[0].dim[1];
    for (int32_t l = 0; j && l <= d->l; l++) {
        const int32_t n = 2 * l + 1;
        const double *b = j + tf_d_at(l);
        for (int32_t p = 0; p < n; p++)
            for (int32_t q = 0; q < n; q++)
                for (int32_t m = -l; m <= l; m++) {
                    const int32_t k = m < 0 ? -m : m;
                    double *column = r->out[0].re + tf_d_at(l) + (int64_t)p * n + q;
                    column[(int64_t)k * width] += b[p * n + m + l] * b[(m + l) * n + q];
                    if (m) column[(int64_t)(d->l + k) * width] -= (m > 0 ? 1 : -1) * b[p * n + m + l] * b[(l - m) * n + q];
                }
    }
    return j ? TUFF_OK : TUFF_E_MEMORY;
}

static tuff_status half_turn_table(tf_ref *r, const tf_sphere_table_desc *d)
{
    const double *j = tf_wigner_j(r->scratch, d->l);
    const int32_t width = 2 * d->l + 1;
    for (int32_t l = 0; j && l <= d->l; l++)
        for (int32_t p = 0; p <= 2 * l; p++)
            for (int32_t q = 0; q <= 2 * l; q++)
                r->out[0].re[((int64_t)l * width + p + d->l - l) * width + q + d->l - l] = j[tf_d_at(l) + (int64_t)p * (2 * l + 1) + q];
    return j ? TUFF_OK : TUFF_E_MEMORY;
}

static tuff_status nodes_table(tf_ref *r, const tf_sphere_table_desc *d)
{
    const int32_t nodes = d->degree, n = d->l + 1;
    double *x = tf_arena_array(r->scratch, double, (size_t)nodes), *w = tf_arena_array(r->scratch, double, (size_t)nodes);
    double *lam = tf_arena_array(r->scratch, double, (size_t)tf_lm(n, 0));
    if (!x || !w || !lam) return TUFF_E_MEMORY;
    if (d->extra) tf_regular_nodes(nodes, x, w);
    else tf_gauss_legendre(nodes, x, w);
    for (int32_t j = 0; j < nodes; j++) {
        tf_legendre(d->l, x[j], sqrt(fmax(0, 1 - x[j] * x[j])), lam);
        for (int32_t m = 0; m < n; m++)
            for (int32_t l = m; l < n; l++) {
                if (d->kind == TF_TABLE_SYNTHESIS) r->out[0].re[((int64_t)m * n + l) * nodes + j] = lam[tf_lm(l, m)];
                else r->out[0].re[((int64_t)m * nodes + j) * n + l] = lam[tf_lm(l, m)] * w[j];
            }
    }
    return TUFF_OK;
}

static tuff_status table_reference(tf_ref *r)
{
    const tf_sphere_table_desc *d = r->desc;
    switch (d->kind) {
    case TF_TABLE_POINTS: case TF_TABLE_PROJECT: case TF_TABLE_SLOPE: return points_table(r, d);
    case TF_TABLE_PAIRS: return pairs_table(r, d);
    case TF_TABLE_RECURRENCE: recurrence_table(r->out[0].re, d); return TUFF_OK;
    case TF_TABLE_THETA: return theta_table(r, d);
    case TF_TABLE_THETA_BACK: return theta_back_table(r, d);
    case TF_TABLE_TURN: return turn_table(r, d);
    case TF_TABLE_HALF_TURN: return half_turn_table(r, d);
    case TF_TABLE_SYNTHESIS: case TF_TABLE_ANALYSIS: return nodes_table(r, d);
    case TF_TABLE_ANGLES:
        for (int32_t m = 0; m <= d->l; m++)
            for (int32_t k = 0; k < d->degree; k++) {
                const double phi = 2 * TF_PI * (((int64_t)m * k) % d->degree) / d->degree;
                r->out[0].re[(int64_t)m * d->degree + k] = cos(phi);
                r->out[0].re[(int64_t)(d->l + 1 + m) * d->degree + k] = sin(phi);
            }
        return TUFF_OK;
    default: return TUFF_E_INTERNAL;
    }
}

static const char *const table_kinds[] = { "points", "project", "slope", "pairs", "recurrence", "theta", "theta_back", "turn", "half_turn", "synthesis", "analysis", "angles", NULL };
static const tf_attr table_attrs[] = {
    TF_A(tf_sphere_table_desc, kind, TF_ATTR_ENUM, "which table", .choices = table_kinds),
    TF_A(tf_sphere_table_desc, l, TF_ATTR_INT, "largest degree"),
    TF_A(tf_sphere_table_desc, degree, TF_ATTR_INT, "degree or size of the grid"),
    TF_A(tf_sphere_table_desc, extra, TF_ATTR_INT, "by kind"),
};
const tf_op tf_op_sphere_table = {
    .name = "_sphere_table", .doc = "constants of the kernels on the sphere, made on the host", .operands = "", .kind = TF_HOST, .internal = true,
    .attrs = table_attrs, .attr_count = TF_COUNT(table_attrs), .desc_size = sizeof(tf_sphere_table_desc), .infer = table_infer,
    .reference = table_reference, .rel = 1,
};
tuff_tensor tf_sphere_table_of(tuff_graph *g, tf_sphere_table kind, int32_t l, int32_t degree, int32_t extra)
{
    return tf_add(g, &tf_op_sphere_table, NULL, 0, &(tf_sphere_table_desc){ kind, l, degree, extra });
}
