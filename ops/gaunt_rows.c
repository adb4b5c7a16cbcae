/* gaunt_rows.c - the equivariant ops see every operand as a matrix [rows, last]: leading axes broadcast and merge, weights by degree
 * spread over their orders, and entries regroup by order so that one batched matrix product serves all orders. */
#include "gaunt.h"

#include <string.h>

int32_t tf_infer_degree(tf_infer *c, uint32_t i)
{
    const tf_type *t = c->type[i];
    const int32_t l = t->rank > 0 && !tf_dim_is_dynamic(t->dim[t->rank - 1]) ? tf_sh_degree(t->dim[t->rank - 1]) : -1;
    if (tf_dtype_class(t->dtype) != TF_CLS_FLOAT || t->dtype == TUFF_F64) {
        tf_bad(c, TUFF_E_DTYPE, "%s is not among its dtypes: f32 f16 bf16 (%s)", tuff_dtype_name(t->dtype), tf_src_text(c, i));
        return -1;
    }
    if (l < 0) tf_bad(c, TUFF_E_SHAPE, "the last axis of %s is not (L+1)^2 for an L from 0 to %d", tf_src_text(c, i), TF_SH_MAX);
    return l;
}

/* Leading axes with a last one of 1. */
static tf_type lead_of(const tf_type *t)
{
    tf_type lead = *t;
    if (lead.rank > 0) lead.dim[lead.rank - 1] = 1;
    return lead;
}

bool tf_infer_lead(tf_infer *c, uint32_t a, uint32_t b, int64_t last, tf_type *out)
{
    const tf_type p = lead_of(c->type[a]), q = b < c->n_src && c->type[b] ? lead_of(c->type[b]) : p;
    if (!tf_broadcast(c, &p, &q, out)) return false;
    out->dtype = p.dtype;
    out->dim[out->rank - 1] = last;
    return true;
}

bool tf_infer_weights(tf_infer *c, uint32_t i, int32_t l, const tf_type *like)
{
    const tf_type *w = i < c->n_src ? c->type[i] : NULL;
    if (!w) return true;
    if (tf_dtype_class(w->dtype) != TF_CLS_FLOAT || w->dtype == TUFF_F64)
        return tf_bad(c, TUFF_E_DTYPE, "%s is not among its dtypes: f32 f16 bf16 (%s)", tuff_dtype_name(w->dtype), tf_src_text(c, i));
    bool fits = w->rank > 0 && w->rank <= like->rank && w->dim[w->rank - 1] == l + 1;
    for (int32_t k = 0; fits && k + 1 < w->rank; k++) fits = w->dim[k] == 1 || tf_dim_equal(w->dim[k], like->dim[k + like->rank - w->rank]);
    return fits || tf_bad(c, TUFF_E_SHAPE, "%s needs a last axis of %d, one weight per degree, below axes that broadcast to those of the features", tf_src_text(c, i), (int)l + 1);
}

tuff_tensor tf_rows_of(tuff_tensor x, const tf_type *like)
{
    if (!x.id) return x;
    const tf_type t = *tf_ty(x);
    tuff_shape s = { .rank = like->rank };
    memcpy(s.dim, like->dim, sizeof s.dim);
    s.dim[s.rank - 1] = t.dim[t.rank - 1];
    bool same = t.rank == s.rank;
    for (int32_t i = 0; same && i < s.rank; i++) same = tf_dim_equal(t.dim[i], s.dim[i]);
    const int64_t d[2] = { tf_dim_product(x.graph, s.dim, 0, s.rank - 1), s.dim[s.rank - 1] };
    return tf_reshaped(same ? tf_cast_to(x, TUFF_F32) : tuff_expand(tf_cast_to(x, TUFF_F32), s), 2, d);
}

tuff_tensor tf_rows_back(tuff_tensor rows, const tf_type *like)
{
    return rows.id ? tf_cast_to(tf_reshaped(rows, like->rank, like->dim), like->dtype) : rows;
}

tuff_tensor tf_indices(tuff_graph *g, int64_t n, const int32_t *data)
{
    return tuff_const(g, TUFF_I32, (tuff_shape){ 1, { n } }, data, NULL);
}

tuff_tensor tf_weighted_rows(tuff_tensor x, tuff_tensor w, int32_t l)
{
    int32_t *degree = tf_arena_array(x.graph ? &x.graph->arena : &w.graph->arena, int32_t, (size_t)tf_sh_size(l));
    if (!x.id || !w.id || !degree) return x;
    for (int32_t d = 0; d <= l; d++)
        for (int32_t i = d * d; i < (d + 1) * (d + 1); i++) degree[i] = d;
    return tuff_mul(x, tuff_gather(w, tf_indices(x.graph, tf_sh_size(l), degree), 1));
}

tuff_tensor tf_by_order(tuff_tensor x, int32_t l)
{
    const int32_t n = l + 1;
    if (!x.id) return x;
    int32_t *at = tf_arena_array(&x.graph->arena, int32_t, 2 * (size_t)n * (size_t)n);
    if (!at) return (tuff_tensor){ NULL, 0 };
    for (int32_t m = 0; m < n; m++)
        for (int32_t d = m; d < n; d++) {
            at[2 * m * n + d] = tf_sh_at(d, m);
            at[(2 * m + 1) * n + d] = tf_sh_at(d, -m);
        }
    const int64_t rows = tf_ty(x)->dim[0];
    x = tuff_gather(x, tf_indices(x.graph, 2 * (int64_t)n * n, at), 1);
    x = tuff_permute(tuff_reshape(x, (tuff_shape){ 4, { rows, n, 2, n } }), (tuff_ints){ 4, { 1, 2, 0, 3 } });
    return x.id ? tuff_reshape(x, (tuff_shape){ 3, { n, tf_dim_bin(x.graph, TUFF_DIM_MUL, rows, 2), n } }) : x;
}

tuff_tensor tf_from_order(tuff_tensor x, int32_t l)
{
    const int32_t n = l + 1;
    if (!x.id) return x;
    int32_t *at = tf_arena_array(&x.graph->arena, int32_t, (size_t)tf_sh_size(l));
    if (!at) return (tuff_tensor){ NULL, 0 };
    for (int32_t d = 0; d < n; d++)
        for (int32_t m = -d; m <= d; m++) at[tf_sh_at(d, m)] = (2 * (m < 0 ? -m : m) + (m < 0)) * n + d;
    const int64_t rows = tf_dim_bin(x.graph, TUFF_DIM_FLOORDIV, tf_ty(x)->dim[1], 2);
    x = tuff_permute(tuff_reshape(x, (tuff_shape){ 4, { n, 2, rows, n } }), (tuff_ints){ 4, { 2, 0, 1, 3 } });
    x = tuff_reshape(x, (tuff_shape){ 2, { rows, 2 * (int64_t)n * n } });
    return x.id ? tuff_gather(x, tf_indices(x.graph, tf_sh_size(l), at), 1) : x;
}

double *tf_ref_rows(tf_ref *r, uint32_t src, const tf_ref_tensor *like)
{
    const tf_ref_tensor *x = r->src[src];
    const int64_t last = x->dim[x->rank - 1];
    uint64_t rows = 1;
    for (int32_t i = 0; i + 1 < like->rank; i++) rows *= (uint64_t)like->dim[i];
    double *out = tf_arena_array(r->scratch, double, (size_t)(rows * (uint64_t)last));
    int64_t at[TUFF_MAX_RANK] = { 0 };
    for (uint64_t row = 0; out && row < rows; row++) {
        uint64_t from = 0;
        for (int32_t i = 0; i + 1 < x->rank; i++) from = from * (uint64_t)x->dim[i] + (x->dim[i] == 1 ? 0 : (uint64_t)at[i + like->rank - x->rank]);
        memcpy(out + row * (uint64_t)last, x->re + from * (uint64_t)last, (size_t)last * sizeof *out);
        for (int32_t i = like->rank - 2; i >= 0 && ++at[i] == like->dim[i]; i--) at[i] = 0;
    }
    return out;
}

void tf_ref_weights(double *x, const double *w, uint64_t rows, int32_t l)
{
    for (uint64_t row = 0; row < rows; row++)
        for (int32_t i = 0, k = 0; k <= l; k++)
            for (; i < (k + 1) * (k + 1); i++) x[row * (uint64_t)tf_sh_size(l) + (uint64_t)i] *= w[row * (uint64_t)(l + 1) + (uint64_t)k];
}
