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
