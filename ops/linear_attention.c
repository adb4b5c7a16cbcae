/* linear_attention.c - attention with a kernel of features instead of e^(q.k): o = phi(q) (phi(k)^T v) / (phi(q) . sum phi(k)).
 *
 * Without a causal mask these are two products through a state [features, channels]. With one, tokens go in chunks: products
 * inside a chunk under a triangle, and the sum of all chunks before through the state. All of it lowers to matmul and cumsum. */
#include "anchors.h"

#include <math.h>
#include <string.h>

typedef tuff_linear_attention_desc desc;
enum { Q, K, V, STATE, NORM };
enum { CHUNK = 64 };

static bool check_layout(tf_infer *c, uint32_t i, const char *name)
{
    const tf_type *t = c->type[i];
    if (t->rank != 4 || !tf_dtype_is_single(t->dtype))
        return tf_bad(c, t->rank != 4 ? TUFF_E_SHAPE : TUFF_E_DTYPE, "%s needs to be f32, f16 or bf16 [batch, token, head, channel] (%s)", name, tf_src_text(c, i));
    if (tf_dim_is_dynamic(t->dim[2]) || tf_dim_is_dynamic(t->dim[3]) || t->dim[2] < 1)
        return tf_bad(c, TUFF_E_SHAPE, "heads and channels of %s need fixed sizes, at least one head (%s)", name, tf_src_text(c, i));
    return true;
}

static bool infer(tf_infer *c)
{
    const desc *d = c->desc;
    const tf_type *q = c->type[Q], *k = c->type[K], *v = c->type[V];
    if (!check_layout(c, Q, "q") || !check_layout(c, K, "k") || !check_layout(c, V, "v"))
        return false;
    if (!tf_dim_equal(k->dim[0], q->dim[0]) || !tf_dim_equal(v->dim[0], q->dim[0]) || !tf_dim_equal(k->dim[1], v->dim[1]) || k->dim[2] != v->dim[2])
        return tf_bad(c, TUFF_E_SHAPE, "q, k and v need equal batches, k and v equal tokens and heads (%s; %s; %s)", tf_src_text(c, Q), tf_src_text(c, K), tf_src_text(c, V));
    if (k->dim[3] != q->dim[3] || q->dim[2] % k->dim[2])
        return tf_bad(c, TUFF_E_SHAPE, "q needs the features of k and a multiple of its heads (%s; %s)", tf_src_text(c, Q), tf_src_text(c, K));
    if (d->causal && !tf_dim_equal(q->dim[1], k->dim[1]))
        return tf_bad(c, TUFF_E_SHAPE, "causal needs as many queries as keys: query i sees keys 0 to i (%s; %s)", tf_src_text(c, Q), tf_src_text(c, K));
    if (d->causal && tf_dim_is_dynamic(q->dim[1]))
        return tf_bad(c, TUFF_E_SHAPE, "causal needs a fixed number of tokens (%s)", tf_src_text(c, Q));
    if (d->causal && d->k_map == TUFF_FEATURES_SOFTMAX_TOKENS)
        return tf_bad(c, TUFF_E_ATTRIBUTE, "k_map=softmax_tokens looks at all tokens, which causal forbids");
    c->n_out = 3;
    c->out[0] = (tf_type){ .dtype = q->dtype, .rank = 4, .dim = { q->dim[0], q->dim[1], q->dim[2], v->dim[3] } };
    c->out[1] = (tf_type){ .dtype = TUFF_F32, .rank = 4, .dim = { q->dim[0], q->dim[2], q->dim[3], v->dim[3] } };
    c->out[2] = (tf_type){ .dtype = TUFF_F32, .rank = 3, .dim = { q->dim[0], q->dim[2], q->dim[3] } };
    return tf_infer_type(c, STATE, &c->out[1]) && tf_infer_type(c, NORM, &c->out[2]);
}

/* ---- reference ----------------------------------------------------------------------------------- */

/* x[b, n, h, m] after its feature map. */
static double *features(const tf_ref *r, const tf_ref_tensor *x, tuff_features map)
{
    double *y = tf_arena_array(r->scratch, double, (size_t)x->n + 1);
    const int64_t m = x->dim[3], heads = x->dim[2], n = x->dim[1], row = heads * m;
    for (uint64_t i = 0; y && i < x->n; i++) {
        const int64_t at = (int64_t)i, b = at / (n * row);
        const bool tokens = map == TUFF_FEATURES_SOFTMAX_TOKENS;
        const int64_t first = tokens ? b * n * row + at % row : at / m * m, count = tokens ? n : m, step = tokens ? row : 1;
        double max = -INFINITY, sum = 0;
        switch (map) {
        case TUFF_FEATURES_RELU: y[i] = fmax(x->re[i], 0); break;
        case TUFF_FEATURES_ELU: y[i] = x->re[i] > 0 ? x->re[i] + 1 : exp(x->re[i]); break;
        case TUFF_FEATURES_SOFTMAX: case TUFF_FEATURES_SOFTMAX_TOKENS:
            for (int64_t j = 0; j < count; j++) max = fmax(max, x->re[first + j * step]);
            for (int64_t j = 0; j < count; j++) sum += exp(x->re[first + j * step] - max);
            y[i] = exp(x->re[i] - max) / sum;
            break;
        default: y[i] = x->re[i];
        }
    }
    return y;
}

typedef struct ref_head {
    const double *k, *v;
    double *state, *norm; /* [m, dv], [m] */
    int64_t b, h, n, hk, m, dv;
} ref_head;

static void ref_add_key(const ref_head *s, int64_t j)
{
    const double *k = s->k + ((s->b * s->n + j) * s->hk + s->h) * s->m, *v = s->v + ((s->b * s->n + j) * s->hk + s->h) * s->dv;
    for (int64_t i = 0; i < s->m; i++) {
        s->norm[i] += k[i];
        for (int64_t e = 0; e < s->dv; e++)
            s->state[i * s->dv + e] += k[i] * v[e];
    }
}

static tuff_status reference(tf_ref *r)
{
    const desc *d = r->desc;
    const tf_ref_tensor *q = r->src[Q], *k = r->src[K], *v = r->src[V];
    const int64_t nq = q->dim[1], nk = k->dim[1], hq = q->dim[2], m = q->dim[3], dv = v->dim[3];
    const double *x = features(r, q, d->q_map), *y = features(r, k, d->k_map);
    if (!x || !y)
        return TUFF_E_MEMORY;
    for (int64_t b = 0; b < q->dim[0]; b++)
        for (int64_t h = 0; h < hq; h++) {
            ref_head s = { y, v->re, r->out[1].re + (b * hq + h) * m * dv, r->out[2].re + (b * hq + h) * m, b, h / (hq / k->dim[2]), nk, k->dim[2], m, dv };
            if (r->src[STATE]) memcpy(s.state, r->src[STATE]->re + (b * hq + h) * m * dv, (size_t)(m * dv) * sizeof(double));
            if (r->src[NORM]) memcpy(s.norm, r->src[NORM]->re + (b * hq + h) * m, (size_t)m * sizeof(double));
            for (int64_t j = 0; !d->causal && j < nk; j++) ref_add_key(&s, j);
            for (int64_t i = 0; i < nq; i++) {
                const double *row = x + ((b * nq + i) * hq + h) * m;
                double *o = r->out[0].re + ((b * nq + i) * hq + h) * dv, sum = 0;
                if (d->causal) ref_add_key(&s, i);
                for (int64_t f = 0; f < m; f++) {
                    sum += row[f] * (s.norm[f] + (double)d->eps);
                    for (int64_t e = 0; e < dv; e++) o[e] += row[f] * s.state[f * dv + e];
                }
                for (int64_t e = 0; !d->unnormalised && e < dv; e++) o[e] /= sum;
            }
        }
    return TUFF_OK;
}

/* ---- lowering ------------------------------------------------------------------------------------ */

/* x as f32 [b, h, n, m] after its feature map, its heads repeated to `heads`. */
static tuff_tensor mapped(tuff_tensor x, tuff_features map, int64_t heads)
{
    tuff_tensor y = tf_cast_to(x, TUFF_F32);
    switch (map) {
    case TUFF_FEATURES_RELU: y = tuff_relu(y); break;
    case TUFF_FEATURES_ELU: y = tuff_add(tuff_elu(y, NULL), tuff_literal(y.graph, 1, TUFF_F32)); break;
    case TUFF_FEATURES_SOFTMAX: y = tuff_softmax(y, 3); break;
    case TUFF_FEATURES_SOFTMAX_TOKENS: y = tuff_softmax(y, 1); break;
    default: break;
    }
    const tf_type t = *tf_ty(x);
    y = tuff_permute(y, TUFF_INTS(0, 2, 1, 3));
    if (!y.id || t.dim[2] == heads)
        return y;
    y = tuff_expand(tuff_unsqueeze(y, TUFF_INTS(2)), TUFF_SHAPE(t.dim[0], t.dim[2], heads / t.dim[2], t.dim[1], t.dim[3]));
    return tf_reshaped(y, 4, (int64_t[4]){ t.dim[0], heads, t.dim[1], t.dim[3] });
}

static tuff_tensor sum_over(tuff_tensor x, int64_t axis)
{
    return tuff_sum(x, &(tuff_reduce_desc){ .axes = TUFF_INTS(axis) });
}

static tuff_tensor plus(tuff_tensor a, tuff_tensor b) { return a.id && b.id ? tuff_add(a, b) : a.id ? a : b; }

/* Rows of x times a norm vector, [..., n, m] and [..., m] -> [..., n, 1]. */
static tuff_tensor weighed(tuff_tensor x, tuff_tensor norm, float eps)
{
    if (eps != 0)
        norm = tuff_add(norm, tuff_literal(x.graph, (double)eps, TUFF_F32));
    return tuff_matmul(x, tuff_unsqueeze(norm, TUFF_INTS(-1)), NULL);
}

static void lower_full(tf_lower *l, tuff_tensor q, tuff_tensor k, tuff_tensor v)
{
    const desc *d = l->desc;
    const tuff_tensor state = plus(tuff_matmul(k, v, &(tuff_matmul_desc){ .transpose_a = true }), l->src[STATE]);
    const tuff_tensor norm = plus(sum_over(k, 2), l->src[NORM]);
    const tuff_tensor o = tuff_matmul(q, state, NULL);
    l->out[0] = d->unnormalised ? o : tuff_div(o, weighed(q, norm, d->eps));
    l->out[1] = state;
    l->out[2] = norm;
}

/* x[b, h, n, m] -> [b, h, chunks, c, m], zeros behind the last token. */
static tuff_tensor chunked(tuff_tensor x, int64_t chunks, int64_t c)
{
    const tf_type t = *tf_ty(x);
    if (chunks * c > t.dim[2])
        x = tuff_pad(x, TUFF_INTS(0, 0, 0), TUFF_INTS(0, 0, chunks * c - t.dim[2]), NULL);
    return tf_reshaped(x, 5, (int64_t[5]){ t.dim[0], t.dim[1], chunks, c, t.dim[3] });
}

static tuff_tensor last_chunk(tuff_tensor x, int64_t chunks)
{
    return tuff_squeeze(tuff_slice(x, TUFF_INTS(chunks - 1), TUFF_INTS(chunks), &(tuff_slice_desc){ .axes = TUFF_INTS(2) }), &(tuff_squeeze_desc){ .axes = TUFF_INTS(2) });
}

/* What stands before each chunk: the sum of the chunks before and the start (none: 0). */
static tuff_tensor before(tuff_tensor sums, tuff_tensor start, int64_t chunks)
{
    if (start.id)
        start = tuff_unsqueeze(start, TUFF_INTS(2));
    if (chunks == 1)
        return start;
    return plus(tuff_cumsum(sums, 2, &(tuff_scan_desc){ .exclusive = true }), start);
}

static void lower_causal(tf_lower *l, tuff_tensor q, tuff_tensor k, tuff_tensor v)
{
    const desc *d = l->desc;
    const tf_type t = *tf_ty(q);
    const int64_t n = t.dim[2], c = TF_MAX(TF_MIN(d->chunk ? d->chunk : CHUNK, n), 1), chunks = TF_MAX((n + c - 1) / c, 1), dv = tf_ty(v)->dim[3];
    q = chunked(q, chunks, c);
    k = chunked(k, chunks, c);
    v = chunked(v, chunks, c);
    const tuff_tensor scores = tuff_tril(tuff_matmul(q, k, &(tuff_matmul_desc){ .transpose_b = true }), NULL);
    const tuff_tensor sums = tuff_matmul(k, v, &(tuff_matmul_desc){ .transpose_a = true }), norms = sum_over(k, 3);
    const tuff_tensor state = before(sums, l->src[STATE], chunks), norm = before(norms, l->src[NORM], chunks);
    tuff_tensor o = tuff_matmul(scores, v, NULL), weight = tuff_sum(scores, &(tuff_reduce_desc){ .axes = TUFF_INTS(4), .keep = true });
    if (state.id)
        o = tuff_add(o, tuff_matmul(q, state, NULL));
    if (norm.id)
        weight = tuff_add(weight, weighed(q, norm, d->eps));
    else if (d->eps != 0)
        weight = tuff_add(weight, tuff_mul(tuff_sum(q, &(tuff_reduce_desc){ .axes = TUFF_INTS(4), .keep = true }), tuff_literal(l->g, (double)d->eps, TUFF_F32)));
    if (!d->unnormalised)
        o = tuff_div(o, weight);
    o = tf_reshaped(o, 4, (int64_t[4]){ t.dim[0], t.dim[1], chunks * c, dv });
    l->out[0] = chunks * c > n ? tuff_slice(o, TUFF_INTS(0), TUFF_INTS(n), &(tuff_slice_desc){ .axes = TUFF_INTS(2) }) : o;
    l->out[1] = l->want[1] ? plus(last_chunk(sums, chunks), state.id ? last_chunk(tuff_expand(state, TUFF_SHAPE(t.dim[0], t.dim[1], chunks, t.dim[3], dv)), chunks) : state) : sums;
    l->out[2] = l->want[2] ? plus(last_chunk(norms, chunks), norm.id ? last_chunk(tuff_expand(norm, TUFF_SHAPE(t.dim[0], t.dim[1], chunks, t.dim[3])), chunks) : norm) : norms;
}

static void lower(tf_lower *l)
{
    const desc *d = l->desc;
    const tuff_dtype dtype = tf_ty(l->src[Q])->dtype;
    const int64_t heads = tf_ty(l->src[Q])->dim[2];
    const tuff_tensor q = mapped(l->src[Q], d->q_map, heads), k = mapped(l->src[K], d->k_map, heads), v = mapped(l->src[V], TUFF_FEATURES_NONE, heads);
    if (!q.id || !k.id || !v.id)
        return;
    if (d->causal)
        lower_causal(l, q, k, v);
    else
        lower_full(l, q, k, v);
    if (l->out[0].id)
        l->out[0] = tf_cast_to(tuff_permute(l->out[0], TUFF_INTS(0, 2, 1, 3)), dtype);
}

static const char *const maps[] = { "none", "relu", "elu", "softmax", "softmax_tokens", NULL };
static const tf_attr attrs[] = {
    TF_A(desc, causal, TF_ATTR_BOOL, "query i sees keys 0 to i"),
    TF_A(desc, q_map, TF_ATTR_ENUM, "features of q: as given, max(x, 0), elu(x) + 1, softmax over channels or over tokens", .choices = maps),
    TF_A(desc, k_map, TF_ATTR_ENUM, "features of k", .choices = maps),
    TF_A(desc, eps, TF_ATTR_FLOAT, "added to each element of the sum of keys in the denominator"),
    TF_A(desc, unnormalised, TF_ATTR_BOOL, "no denominator"),
    TF_A(desc, chunk, TF_ATTR_INT, "causal: tokens per chunk; 0: 64", .max = 1 << 20),
    TF_A(desc, state, TF_ATTR_TENSOR, "f32[b,hq,m,dv]: phi(k)^T v of keys before; absent: 0"),
    TF_A(desc, norm, TF_ATTR_TENSOR, "f32[b,hq,m]: sum of phi(k) before; absent: 0"),
};

const tf_op tf_op_linear_attention = {
    .name = "linear_attention", .doc = "q[b,n,hq,m], k[b,n,hk,m], v[b,n,hk,dv] -> o[b,n,hq,dv] = phi(q)(phi(k)^T v) / (phi(q).sum phi(k)), state[b,hq,m,dv], norm[b,hq,m]",
    .source = "Katharopoulos et al. 2020, arXiv 2006.16236", .operands = "q k v", .results = "o state norm", .kind = TF_COMPOSITE, .attrs = attrs,
    .attr_count = TF_COUNT(attrs), .desc_size = sizeof(desc), .infer = infer, .reference = reference, .lower = lower, .rel = 16,
};

tuff_tensor tuff_linear_attention(tuff_tensor q, tuff_tensor k, tuff_tensor v, const tuff_linear_attention_desc *d)
{
    return tf_add(q.graph, &tf_op_linear_attention, (tuff_tensor[]){ q, k, v }, 3, d);
}

/* ---- favor_features ------------------------------------------------------------------------------ */

static bool favor_infer(tf_infer *c)
{
    const tf_type *x = c->type[0], *p = c->type[1];
    if (!check_layout(c, 0, "x"))
        return false;
    if (p->rank != 2 || p->dtype != TUFF_F32 || p->dim[1] != x->dim[3] || tf_dim_is_dynamic(p->dim[0]) || p->dim[0] < 1)
        return tf_bad(c, TUFF_E_SHAPE, "projection needs to be f32[features, %d] (%s)", (int)x->dim[3], tf_src_text(c, 1));
    c->out[0] = *x;
    c->out[0].dim[3] = p->dim[0];
    return true;
}

static tuff_status favor_reference(tf_ref *r)
{
    const tuff_favor_desc *d = r->desc;
    const tf_ref_tensor *x = r->src[0], *p = r->src[1];
    const int64_t n = x->dim[1], h = x->dim[2], size = x->dim[3], m = p->dim[0], rows = x->dim[0] * n * h;
    const double scale = pow((double)size, -0.25), eps = d->eps != 0 ? (double)d->eps : 1e-4;
    double *top = tf_arena_array(r->scratch, double, (size_t)(rows + 1)), *y = r->out[0].re;
    if (!top)
        return TUFF_E_MEMORY;
    for (int64_t i = 0; i < rows; i++) top[i] = -INFINITY;
    for (int64_t i = 0; i < rows * m; i++) { /* keys: one maximum per batch and head */
        const int64_t row = i / m, group = d->keys ? row / (n * h) * h + row % h : row;
        for (int64_t e = 0; e < size; e++) y[i] += x->re[row * size + e] * scale * p->re[i % m * size + e];
        top[group] = fmax(top[group], y[i]);
    }
    for (int64_t i = 0; i < rows * m; i++) {
        const int64_t row = i / m, group = d->keys ? row / (n * h) * h + row % h : row;
        double square = 0;
        for (int64_t e = 0; e < size; e++) square += x->re[row * size + e] * scale * x->re[row * size + e] * scale;
        y[i] = (exp(y[i] - square / 2 - top[group]) + eps) / sqrt((double)m);
    }
    return TUFF_OK;
}

static void favor_lower(tf_lower *l)
{
    const tuff_favor_desc *d = l->desc;
    tuff_graph *g = l->g;
    const tf_type t = *tf_ty(l->src[0]);
    const int64_t m = tf_ty(l->src[1])->dim[0];
    const tuff_tensor x = tuff_mul(tf_cast_to(l->src[0], TUFF_F32), tuff_literal(g, pow((double)t.dim[3], -0.25), TUFF_F32));
    const tuff_tensor dots = tuff_matmul(x, l->src[1], &(tuff_matmul_desc){ .transpose_b = true });
    const tuff_ints axes = d->keys ? TUFF_INTS(1, 3) : TUFF_INTS(3);
    const tuff_tensor top = tuff_max(dots, &(tuff_reduce_desc){ .axes = axes, .keep = true });
    const tuff_tensor square = tuff_sum(tuff_square(x), &(tuff_reduce_desc){ .axes = TUFF_INTS(3), .keep = true });
    const tuff_tensor e = tuff_exp(tuff_sub(tuff_sub(dots, tuff_mul(square, tuff_literal(g, 0.5, TUFF_F32))), top));
    const tuff_tensor y = tuff_mul(tuff_add(e, tuff_literal(g, d->eps != 0 ? (double)d->eps : 1e-4, TUFF_F32)), tuff_literal(g, 1 / sqrt((double)m), TUFF_F32));
    l->out[0] = tf_cast_to(y, t.dtype);
}

static const tf_attr favor_attrs[] = {
    TF_A(tuff_favor_desc, keys, TF_ATTR_BOOL, "subtract one maximum per batch and head, as keys need; else one per row"),
    TF_A(tuff_favor_desc, eps, TF_ATTR_FLOAT, "added to each feature; 0: 1e-4"),
};

const tf_op tf_op_favor_features = {
    .name = "favor_features", .doc = "x[b,n,h,d], projection[m,d] -> y[b,n,h,m] = (exp(w.x' - |x'|^2 / 2 - max) + eps) / sqrt(m), x' = x d^-1/4",
    .source = "Choromanski et al. 2020, arXiv 2009.14794", .operands = "x projection", .kind = TF_COMPOSITE, .attrs = favor_attrs,
    .attr_count = TF_COUNT(favor_attrs), .desc_size = sizeof(tuff_favor_desc), .infer = favor_infer, .reference = favor_reference, .lower = favor_lower, .rel = 16,
};

tuff_tensor tuff_favor_features(tuff_tensor x, tuff_tensor projection, const tuff_favor_desc *d)
{
    return tf_add(x.graph, &tf_op_favor_features, (tuff_tensor[]){ x, projection }, 2, d);
}
