/* mla.c - latent attention: keys and values are projections of one short vector per token, which is all that a cache holds.
 *
 * It runs in absorbed form: q times the key projection meets the latent vectors themselves, as attention with one key head, and
 * the value projection follows. The reference expands keys and values instead. */
#include "attention.h"

#include "anchors.h"

#include <math.h>
#include <string.h>

enum { Q_NOPE, Q_ROPE, C_KV, K_ROPE, W_UK, W_UV, POSITIONAL };
enum { SHIFT = POSITIONAL - 3 }; /* our source i is attention's i - SHIFT beyond the positional ones */

typedef struct sizes { int64_t heads, nope, rope, rank, dv; int32_t rank_q, rank_c; } sizes;

static const char *const names[POSITIONAL] = { "q_nope", "q_rope", "c_kv", "k_rope", "w_uk", "w_uv" };

static bool check_ranks(tf_infer *c, sizes *s)
{
    const int32_t q = c->type[POSITIONAL + TF_ATT_CU_Q - 3] ? 3 : 4, k = c->type[POSITIONAL + TF_ATT_CU_KV - 3] ? 2 : 3;
    const int32_t want[POSITIONAL] = { q, q, k, k, 3, 3 };
    for (uint32_t i = 0; i < POSITIONAL; i++) {
        const tf_type *t = c->type[i];
        if (t->rank != want[i])
            return tf_bad(c, TUFF_E_SHAPE, "%s has rank %d, it needs %d (%s)", names[i], (int)t->rank, (int)want[i], tf_src_text(c, i));
        if (t->dtype != TUFF_F32 && t->dtype != TUFF_F16 && t->dtype != TUFF_BF16)
            return tf_bad(c, TUFF_E_DTYPE, "%s is %s, it needs f32, f16 or bf16 (%s)", names[i], tuff_dtype_name(t->dtype), tf_src_text(c, i));
        for (int32_t a = i < C_KV ? t->rank - 2 : i < W_UK ? t->rank - 1 : 0; a < t->rank; a++)
            if (tf_dim_is_dynamic(t->dim[a]) || t->dim[a] < 1)
                return tf_bad(c, TUFF_E_SHAPE, "heads and channels of %s need fixed sizes of at least 1 (%s)", names[i], tf_src_text(c, i));
    }
    *s = (sizes){ c->type[Q_NOPE]->dim[q - 2], c->type[Q_NOPE]->dim[q - 1], c->type[Q_ROPE]->dim[q - 1], c->type[C_KV]->dim[k - 1],
                  c->type[W_UV]->dim[1], q, k };
    return true;
}

static bool check_fit(tf_infer *c, const sizes *s)
{
    const int64_t uk[3] = { s->heads, s->nope, s->rank }, uv[3] = { s->heads, s->dv, s->rank };
    for (int32_t a = 0; a < 3; a++)
        if (c->type[W_UK]->dim[a] != uk[a] || c->type[W_UV]->dim[a] != uv[a])
            return tf_bad(c, TUFF_E_SHAPE, "w_uk needs the shape [%d, %d, %d], w_uv [%d, any, %d] (%s; %s)", (int)uk[0], (int)uk[1], (int)uk[2], (int)uk[0], (int)uk[2],
                          tf_src_text(c, W_UK), tf_src_text(c, W_UV));
    for (int32_t a = 0; a < s->rank_q - 1; a++)
        if (!tf_dim_equal(c->type[Q_NOPE]->dim[a], c->type[Q_ROPE]->dim[a]))
            return tf_bad(c, TUFF_E_SHAPE, "q_nope and q_rope differ in more than channels (%s; %s)", tf_src_text(c, Q_NOPE), tf_src_text(c, Q_ROPE));
    for (int32_t a = 0; a < s->rank_c - 1; a++)
        if (!tf_dim_equal(c->type[C_KV]->dim[a], c->type[K_ROPE]->dim[a]))
            return tf_bad(c, TUFF_E_SHAPE, "c_kv and k_rope differ in more than channels (%s; %s)", tf_src_text(c, C_KV), tf_src_text(c, K_ROPE));
    if (c->type[C_KV]->dtype != c->type[K_ROPE]->dtype || c->type[Q_NOPE]->dtype != c->type[Q_ROPE]->dtype)
        return tf_bad(c, TUFF_E_DTYPE, "c_kv and k_rope need one dtype, q_nope and q_rope as well (%s; %s)", tf_src_text(c, C_KV), tf_src_text(c, Q_NOPE));
    for (uint32_t i = TF_ATT_K_SCALE; i <= TF_ATT_V_ZERO; i++)
        if (c->type[SHIFT + i])
            return tf_bad(c, TUFF_E_ATTRIBUTE, "scales are for attention's k and v; dequantise c_kv instead (%s)", tf_src_text(c, SHIFT + i));
    return true;
}

/* The types attention would see. */
static bool infer(tf_infer *c)
{
    sizes s = { 0 };
    if (!check_ranks(c, &s) || !check_fit(c, &s))
        return false;
    const tf_type *type[TF_MAX_OPERANDS];
    uint32_t src[TF_MAX_OPERANDS];
    tf_type q = *c->type[Q_NOPE], k = *c->type[C_KV], v;
    q.dim[q.rank - 1] = s.rank + s.rope;
    k.dim[k.rank] = s.rank;
    k.dim[k.rank++ - 1] = 1;
    v = k;
    k.dim[k.rank - 1] += s.rope;
    memcpy(type + 3, c->type + POSITIONAL, (c->n_src - POSITIONAL) * sizeof *type);
    memcpy(src + 3, c->src + POSITIONAL, (c->n_src - POSITIONAL) * sizeof *src);
    type[TF_ATT_Q] = &q, type[TF_ATT_K] = &k, type[TF_ATT_V] = &v;
    src[TF_ATT_Q] = c->src[Q_NOPE], src[TF_ATT_K] = src[TF_ATT_V] = c->src[C_KV];
    tf_infer inner = *c;
    inner.type = type;
    inner.src = src;
    inner.n_src = c->n_src - SHIFT;
    if (!tf_attention_infer(&inner))
        return false;
    c->n_out = 2;
    c->out[0] = inner.out[0];
    c->out[0].dim[c->out[0].rank - 1] = s.dv;
    c->out[1] = inner.out[1];
    return true;
}

/* ---- reference: keys [.., h, nope + rope] and values [.., h, dv] of every token ------------------- */

static tuff_status reference(tf_ref *r)
{
    const tf_ref_tensor *qn = r->src[Q_NOPE], *qr = r->src[Q_ROPE], *ckv = r->src[C_KV], *kr = r->src[K_ROPE], *uk = r->src[W_UK], *uv = r->src[W_UV];
    const int64_t h = uk->dim[0], dn = uk->dim[1], rank = uk->dim[2], dv = uv->dim[1], dr = qr->dim[qr->rank - 1], tokens = (int64_t)ckv->n / rank;
    tf_ref_tensor q = *qn, k = *ckv, v;
    const tf_ref_tensor *src[TF_MAX_OPERANDS];
    q.dim[q.rank - 1] = dn + dr;
    q.n = qn->n / (uint64_t)dn * (uint64_t)(dn + dr);
    k.dim[k.rank - 1] = h;
    k.dim[k.rank++] = dn + dr;
    v = k;
    v.dim[v.rank - 1] = dv;
    k.n = (uint64_t)(tokens * h * (dn + dr));
    v.n = (uint64_t)(tokens * h * dv);
    q.re = tf_arena_array(r->scratch, double, (size_t)q.n + 1);
    k.re = tf_arena_array(r->scratch, double, (size_t)k.n + 1);
    v.re = tf_arena_array(r->scratch, double, (size_t)v.n + 1);
    if (!q.re || !k.re || !v.re)
        return TUFF_E_MEMORY;
    for (int64_t i = 0; i < (int64_t)q.n; i++) {
        const int64_t row = i / (dn + dr), e = i % (dn + dr);
        q.re[i] = e < dn ? qn->re[row * dn + e] : qr->re[row * dr + e - dn];
    }
    for (int64_t i = 0; i < (int64_t)k.n; i++) {
        const int64_t token = i / (dn + dr) / h, head = i / (dn + dr) % h, e = i % (dn + dr);
        if (e >= dn) k.re[i] = kr->re[token * dr + e - dn];
        for (int64_t c = 0; e < dn && c < rank; c++) k.re[i] += uk->re[(head * dn + e) * rank + c] * ckv->re[token * rank + c];
    }
    for (int64_t i = 0; i < (int64_t)v.n; i++)
        for (int64_t c = 0; c < rank; c++) v.re[i] += uv->re[(i / dv % h * dv + i % dv) * rank + c] * ckv->re[i / dv / h * rank + c];
    memcpy(src + 3, r->src + POSITIONAL, (r->n_src - POSITIONAL) * sizeof *src);
    src[TF_ATT_Q] = &q, src[TF_ATT_K] = &k, src[TF_ATT_V] = &v;
    tf_node node = *r->node;
    node.src += SHIFT;
    tf_ref inner = *r;
    inner.src = src;
    inner.n_src = r->n_src - SHIFT;
    inner.node = &node;
    return tf_attention_reference(&inner, 0);
}

/* ---- lowering ------------------------------------------------------------------------------------ */

/* x[.., h, a] by w[h, ...]: a product per head. */
static tuff_tensor by_head(tuff_tensor x, tuff_tensor w, bool transpose, tuff_dtype dtype)
{
    const bool packed = tf_ty(x)->rank == 3;
    const tuff_ints swap = packed ? TUFF_INTS(1, 0, 2) : TUFF_INTS(0, 2, 1, 3);
    return tuff_permute(tuff_matmul(tuff_permute(x, swap), w, &(tuff_matmul_desc){ .transpose_b = transpose, .dtype = dtype }), swap);
}

static void lower(tf_lower *l)
{
    const tuff_attention_desc *d = l->desc;
    const tf_type qt = *tf_ty(l->src[Q_NOPE]), rt = *tf_ty(l->src[Q_ROPE]);
    tuff_attention_desc a = *d;
    tuff_tensor *const operands[] = { &a.alibi_slopes, &a.bias, &a.mask, &a.block_mask, &a.sinks, &a.q_start, &a.kv_len, &a.tree_mask, &a.cu_q, &a.cu_kv, &a.page_table };
    for (uint32_t i = 0; i < TF_COUNT(operands); i++)
        *operands[i] = l->src[POSITIONAL + i];
    tuff_named *inputs = tf_arena_array(&l->g->arena, tuff_named, d->score_input_count + 1);
    for (uint32_t i = 0; inputs && i < d->score_input_count; i++)
        inputs[i] = (tuff_named){ d->score_inputs[i].name, l->src[SHIFT + TF_ATT_SCORE_INPUTS + i] };
    a.score_inputs = inputs;
    if (a.scale == 0)
        a.scale = (float)(1 / sqrt((double)(qt.dim[qt.rank - 1] + rt.dim[rt.rank - 1])));
    a.dtype = TUFF_F32;
    const tuff_tensor q = tuff_concat((tuff_tensor[]){ by_head(l->src[Q_NOPE], l->src[W_UK], false, TUFF_F32), tf_cast_to(l->src[Q_ROPE], TUFF_F32) }, 2, -1);
    const tuff_tensor v = tuff_unsqueeze(l->src[C_KV], TUFF_INTS(-2));
    const tuff_tensor k = tuff_concat((tuff_tensor[]){ v, tuff_unsqueeze(l->src[K_ROPE], TUFF_INTS(-2)) }, 2, -1);
    const tuff_tensor o = tuff_attention(q, k, v, &a);
    if (!o.id)
        return;
    l->out[0] = tf_cast_to(by_head(o, l->src[W_UV], true, TUFF_F32), l->out_type->dtype);
    l->out[1] = tuff_result(o, 1);
}

static const tf_attr attrs[] = { TF_ATTENTION_ATTRS };

const tf_op tf_op_mla_attention = {
    .name = "mla_attention",
    .doc = "q_nope[b,s,h,dn], q_rope[b,s,h,dr], c_kv[b,t,r], k_rope[b,t,dr], w_uk[h,dn,r], w_uv[h,dv,r] -> o[b,s,h,dv], lse: attention with k = [w_uk c_kv, k_rope], v = w_uv c_kv",
    .source = "DeepSeek-V2, arXiv 2405.04434", .operands = "q_nope q_rope c_kv k_rope w_uk w_uv", .results = "o lse", .kind = TF_COMPOSITE, .attrs = attrs,
    .attr_count = TF_COUNT(attrs), .desc_size = sizeof(tuff_attention_desc), .infer = infer, .reference = reference, .lower = lower, .rel = 16,
};

tuff_tensor tuff_mla_attention(tuff_tensor q_nope, tuff_tensor q_rope, tuff_tensor c_kv, tuff_tensor k_rope, tuff_tensor w_uk, tuff_tensor w_uv,
                               const tuff_attention_desc *desc)
{
    return tf_add(q_nope.graph, &tf_op_mla_attention, (tuff_tensor[]){ q_nope, q_rope, c_kv, k_rope, w_uk, w_uv }, POSITIONAL, desc);
}
