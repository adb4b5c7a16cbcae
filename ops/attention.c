/* attention.c - the attention row: inference and lowering.
 *
 * One op covers prefill and decoding, windows, biases, masks, packed and paged layouts, quantised keys and a user's score
 * expression. Lowering brings all of them to one layout that the kernels know: masks become biases of -inf, pages a gather, codes
 * numbers, all of which sink into the kernel's load hooks; and it splits long key ranges of few queries into parts that a
 * second kernel merges. The kernels are in attention_kernels.c, the reference in attention_ref.c. */
#include "attention.h"

#include "anchors.h"
#include "graph/userexpr.h"

#include <math.h>
#include <string.h>

const char *const tf_attention_aligns[] = { "bottom_right", "top_left", NULL };

/* ---- inference --------------------------------------------------------------------------------- */

/* The axes of q, k and v, wherever the layout has them. Dims. */
typedef struct layout {
    bool packed_q, packed_k, paged;
    int64_t b, sq, hq, dk, sk, hk, dv; /* packed: b segments, sq and sk tokens in all; paged: sk is the table's reach */
} layout;

static const struct { const char *name; tuff_dtype dtype; } options[TF_ATT_SCORE_INPUTS] = {
    [TF_ATT_Q] = { "q", 0 }, [TF_ATT_K] = { "k", 0 }, [TF_ATT_V] = { "v", 0 },
    [TF_ATT_SLOPES] = { "alibi_slopes", TUFF_F32 }, [TF_ATT_SINKS] = { "sinks", TUFF_F32 }, [TF_ATT_Q_START] = { "q_start", TUFF_I32 },
    [TF_ATT_KV_LEN] = { "kv_len", TUFF_I32 }, [TF_ATT_TREE] = { "tree_mask", TUFF_U32 }, [TF_ATT_CU_Q] = { "cu_q", TUFF_I32 },
    [TF_ATT_CU_KV] = { "cu_kv", TUFF_I32 }, [TF_ATT_PAGES] = { "page_table", TUFF_I32 }, [TF_ATT_BIAS] = { "bias", 0 },
    [TF_ATT_MASK] = { "mask", 0 }, [TF_ATT_BLOCK] = { "block_mask", 0 }, [TF_ATT_K_SCALE] = { "k_scale", 0 },
    [TF_ATT_K_ZERO] = { "k_zero", 0 }, [TF_ATT_V_SCALE] = { "v_scale", 0 }, [TF_ATT_V_ZERO] = { "v_zero", 0 },
};

static bool is_flag(tuff_dtype t) { return t == TUFF_BOOL || t == TUFF_U8; }
static bool is_code(tuff_dtype t)
{
    return t == TUFF_I8 || t == TUFF_U8 || t == TUFF_I4 || t == TUFF_U4 || t == TUFF_F8E4M3 || t == TUFF_F8E5M2;
}

/* Rank and dtype of q, k or v. */
static bool check_operand(tf_infer *c, uint32_t i, const char *axes, int32_t rank)
{
    const tf_type *t = c->type[i];
    const bool codes = i != TF_ATT_Q && c->type[i == TF_ATT_K ? TF_ATT_K_SCALE : TF_ATT_V_SCALE];
    if (t->rank != rank)
        return tf_bad(c, TUFF_E_SHAPE, "%s has rank %d, it needs %s (%s)", options[i].name, (int)t->rank, axes, tf_src_text(c, i));
    if (codes ? !is_code(t->dtype) : !tf_dtype_is_single(t->dtype))
        return tf_bad(c, TUFF_E_DTYPE, codes ? "%s is %s; with a scale it needs i8, u8, i4, u4, f8e4m3 or f8e5m2 (%s)"
                                       : i == TF_ATT_Q ? "%s is %s, it needs f32, f16 or bf16 (%s)"
                                                       : "%s is %s, it needs f32, f16 or bf16, or codes with a scale (%s)",
                      options[i].name, tuff_dtype_name(t->dtype), tf_src_text(c, i));
    if (tf_dim_is_dynamic(t->dim[rank - 2]) || tf_dim_is_dynamic(t->dim[rank - 1]))
        return tf_bad(c, TUFF_E_SHAPE, "heads and channels of %s need fixed sizes (%s)", options[i].name, tf_src_text(c, i));
    if (t->dim[rank - 2] < 1 || t->dim[rank - 1] < 1 || t->dim[rank - 1] > 1024)
        return tf_bad(c, TUFF_E_SHAPE, "%s needs at least one head and 1 to 1024 channels (%s)", options[i].name, tf_src_text(c, i));
    return true;
}

static bool check_combination(tf_infer *c)
{
    static const uint32_t dense_only[] = { TF_ATT_BIAS, TF_ATT_MASK, TF_ATT_BLOCK };
    const bool cu_q = c->type[TF_ATT_CU_Q], cu_kv = c->type[TF_ATT_CU_KV], pages = c->type[TF_ATT_PAGES];
    for (uint32_t i = 0; cu_q && i < TF_COUNT(dense_only); i++)
        if (c->type[dense_only[i]])
            return tf_bad(c, TUFF_E_ATTRIBUTE, "%s does not go with packed segments (cu_q): it counts queries and keys of one batch; a score expression can "
                          "look up a tensor instead (%s)", options[dense_only[i]].name, tf_src_text(c, dense_only[i]));
    if (cu_q && !cu_kv && !pages && c->op != &tf_op_attention_anchor) /* its pages are in order already */
        return tf_bad(c, TUFF_E_ATTRIBUTE, "cu_q needs cu_kv, or a page_table that holds each segment's keys");
    if (cu_kv && !cu_q)
        return tf_bad(c, TUFF_E_ATTRIBUTE, "cu_kv needs cu_q, the segments of the queries");
    if (cu_kv && pages)
        return tf_bad(c, TUFF_E_ATTRIBUTE, "keys are packed (cu_kv) or paged (page_table), not both");
    if (pages && !c->type[TF_ATT_KV_LEN])
        return tf_bad(c, TUFF_E_ATTRIBUTE, "page_table needs kv_len, the number of keys in use");
    return true;
}

/* A vector or table: dtype, and the dims of shape. -1 in shape: any. */
static bool check_shape(tf_infer *c, uint32_t i, int32_t rank, const int64_t *shape)
{
    const tf_type *t = c->type[i];
    if (!t)
        return true;
    if (options[i].dtype && t->dtype != options[i].dtype)
        return tf_bad(c, TUFF_E_DTYPE, "%s is %s, it needs %s (%s)", options[i].name, tuff_dtype_name(t->dtype), tuff_dtype_name(options[i].dtype),
                      tf_src_text(c, i));
    bool ok = t->rank == rank;
    for (int32_t a = 0; ok && a < rank; a++)
        ok = shape[a] == -1 || tf_dim_equal(t->dim[a], shape[a]);
    if (ok)
        return true;
    const char *text = "";
    for (int32_t a = 0; a < rank && text; a++)
        text = tf_arena_printf(&c->g->arena, "%s%s%s", text, a ? ", " : "", shape[a] == -1 ? "any" : tf_dim_text(c->g, shape[a]));
    return tf_bad(c, TUFF_E_SHAPE, "%s needs the shape [%s] (%s)", options[i].name, text ? text : "", tf_src_text(c, i));
}

/* In _attention packed tokens carry a batch of 1 in front. */
static bool find_layout(tf_infer *c, layout *y)
{
    const tf_type *q = c->type[TF_ATT_Q], *k = c->type[TF_ATT_K], *v = c->type[TF_ATT_V];
    const tf_type *cu_q = c->type[TF_ATT_CU_Q], *pages = c->type[TF_ATT_PAGES];
    const bool anchor = c->op == &tf_op_attention_anchor;
    *y = (layout){ .packed_q = cu_q, .packed_k = c->type[TF_ATT_CU_KV], .paged = pages };
    if (!check_combination(c) || (cu_q && !check_shape(c, TF_ATT_CU_Q, 1, (int64_t[1]){ -1 })) || (pages && !check_shape(c, TF_ATT_PAGES, 2, (int64_t[2]){ -1, -1 })))
        return false;
    const int32_t rank_q = y->packed_q && !anchor ? 3 : 4, rank_k = y->packed_k && !anchor ? 3 : 4;
    const char *axes_q = rank_q == 3 ? "[token, head, channel] with cu_q" : "[batch, token, head, channel]";
    const char *axes_k = rank_k == 3 ? "[token, head, channel] with cu_kv" : pages ? "[pool, page, head, channel] with page_table" : "[batch, token, head, channel]";
    if (!check_operand(c, TF_ATT_Q, axes_q, rank_q) || !check_operand(c, TF_ATT_K, axes_k, rank_k) || !check_operand(c, TF_ATT_V, axes_k, rank_k))
        return false;
    y->sq = q->dim[rank_q - 3];
    y->hq = q->dim[rank_q - 2];
    y->dk = q->dim[rank_q - 1];
    y->hk = k->dim[rank_k - 2];
    y->dv = v->dim[rank_k - 1];
    y->b = cu_q ? tf_dim_bin(c->g, TUFF_DIM_SUB, cu_q->dim[0], 1) : q->dim[0];
    y->sk = pages ? tf_dim_bin(c->g, TUFF_DIM_MUL, pages->dim[1], k->dim[1]) : k->dim[rank_k - 3];
    if (cu_q && tf_dim_least(c->g, cu_q->dim[0]) < 2)
        return tf_bad(c, TUFF_E_SHAPE, "cu_q needs at least 2 elements: where the first segment starts and ends (%s)", tf_src_text(c, TF_ATT_CU_Q));
    if (pages && (tf_dim_is_dynamic(k->dim[1]) || k->dim[1] < 1 || tf_dim_least(c->g, k->dim[0]) < 1))
        return tf_bad(c, TUFF_E_SHAPE, "k needs at least one page, of a fixed size of at least 1 (%s)", tf_src_text(c, TF_ATT_K));
    return true;
}

static bool check_qkv(tf_infer *c, const layout *y)
{
    const tf_type *q = c->type[TF_ATT_Q], *k = c->type[TF_ATT_K], *v = c->type[TF_ATT_V];
    const int32_t rank = k->rank;
    if (k->dim[rank - 1] != y->dk)
        return tf_bad(c, TUFF_E_SHAPE, "k has head size %d, q has %d (%s)", (int)k->dim[rank - 1], (int)y->dk, tf_src_text(c, TF_ATT_K));
    for (int32_t a = 0; a < rank - 2; a++)
        if (!tf_dim_equal(k->dim[a], v->dim[a]))
            return tf_bad(c, TUFF_E_SHAPE, "v has %s %s, k has %s (%s)", tf_dim_text(c->g, v->dim[a]),
                          a == rank - 3 ? y->paged ? "slots per page" : "tokens" : y->paged ? "pages" : "batches", tf_dim_text(c->g, k->dim[a]), tf_src_text(c, TF_ATT_V));
    if (v->dim[rank - 2] != y->hk)
        return tf_bad(c, TUFF_E_SHAPE, "v has %d heads, k has %d (%s)", (int)v->dim[rank - 2], (int)y->hk, tf_src_text(c, TF_ATT_V));
    if (y->hq % y->hk)
        return tf_bad(c, TUFF_E_SHAPE, "q has %d heads, which is no multiple of the %d heads of k (%s)", (int)y->hq, (int)y->hk, tf_src_text(c, TF_ATT_Q));
    const int64_t batch = y->packed_q ? y->packed_k ? 1 : y->b : q->dim[0];
    if (rank == 4 && !y->paged && !tf_dim_equal(k->dim[0], batch))
        return tf_bad(c, TUFF_E_SHAPE, "k and v have batch %s, q has %s (%s)", tf_dim_text(c->g, k->dim[0]), tf_dim_text(c->g, batch), tf_src_text(c, TF_ATT_K));
    return true;
}

/* Source i broadcasts to want[4]. */
static bool check_broadcast(tf_infer *c, uint32_t i, const int64_t *want)
{
    const tf_type *t = c->type[i];
    if (!t)
        return true;
    bool ok = t->rank == 4;
    for (int32_t a = 0; ok && a < 4; a++)
        ok = t->dim[a] == 1 || tf_dim_equal(t->dim[a], want[a]);
    return ok || tf_bad(c, TUFF_E_SHAPE, "%s needs the shape [%s, %s, %s, %s] or 1 in place of any of these (%s)", options[i].name, tf_dim_text(c->g, want[0]),
                        tf_dim_text(c->g, want[1]), tf_dim_text(c->g, want[2]), tf_dim_text(c->g, want[3]), tf_src_text(c, i));
}

static bool check_masks(tf_infer *c, const layout *y)
{
    const tuff_attention_desc *d = c->desc;
    const tf_type *bias = c->type[TF_ATT_BIAS], *mask = c->type[TF_ATT_MASK], *block = c->type[TF_ATT_BLOCK], *tree = c->type[TF_ATT_TREE];
    const int64_t scores[4] = { y->b, y->hq, y->sq, y->sk };
    if (bias && !tf_dtype_is_single(bias->dtype))
        return tf_bad(c, TUFF_E_DTYPE, "bias is %s, it needs f32, f16 or bf16 (%s)", tuff_dtype_name(bias->dtype), tf_src_text(c, TF_ATT_BIAS));
    if ((mask && !is_flag(mask->dtype)) || (block && !is_flag(block->dtype)))
        return tf_bad(c, TUFF_E_DTYPE, "masks need bool or u8 (%s)", tf_src_text(c, mask && !is_flag(mask->dtype) ? TF_ATT_MASK : TF_ATT_BLOCK));
    if (!check_broadcast(c, TF_ATT_BIAS, scores) || !check_broadcast(c, TF_ATT_MASK, scores))
        return false;
    if (block) {
        if (d->block_q < 1 || d->block_kv < 1)
            return tf_bad(c, TUFF_E_ATTRIBUTE, "block_mask needs block_q and block_kv, each at least 1; they are %d and %d", (int)d->block_q, (int)d->block_kv);
        const int64_t blocks[4] = { y->b, y->hq, tf_dim_ceildiv(c->g, y->sq, d->block_q), tf_dim_ceildiv(c->g, y->sk, d->block_kv) };
        if (!check_broadcast(c, TF_ATT_BLOCK, blocks))
            return false;
    }
    if (!tree)
        return true;
    const int64_t words = tree->rank ? tree->dim[tree->rank - 1] : 0;
    if (tf_dim_is_dynamic(words) || (!y->packed_q && tf_dim_bound(c->g, y->sq) > 32 * words))
        return tf_bad(c, TUFF_E_SHAPE, "tree_mask needs a fixed number of words with one bit per query (%s)", tf_src_text(c, TF_ATT_TREE));
    const bool packed = y->packed_q && c->op != &tf_op_attention_anchor;
    const int64_t shape[3] = { y->packed_q || tree->dim[0] == 1 ? 1 : y->b, y->sq, words };
    return check_shape(c, TF_ATT_TREE, packed ? 2 : 3, shape + packed);
}

/* The scale of k or v: its shape with one entry per group of channels; any axis may be 1. */
static bool check_scale(tf_infer *c, uint32_t i, uint32_t codes)
{
    const int32_t group = ((const tuff_attention_desc *)c->desc)->group;
    const tf_type *t = c->type[i], *x = c->type[codes];
    if (!t)
        return true;
    const uint32_t scale = codes == TF_ATT_K ? TF_ATT_K_SCALE : TF_ATT_V_SCALE;
    if (!c->type[scale])
        return tf_bad(c, TUFF_E_ATTRIBUTE, "%s needs %s", options[i].name, options[scale].name);
    tf_type want = *x;
    want.dtype = t->dtype;
    want.dim[x->rank - 1] = group ? (x->dim[x->rank - 1] + group - 1) / group : 1;
    bool ok = t->rank == x->rank;
    for (int32_t a = 0; ok && a < x->rank; a++)
        ok = t->dim[a] == 1 || tf_dim_equal(t->dim[a], want.dim[a]);
    if (!tf_dtype_is_single(t->dtype) && !tf_dtype_is_int(t->dtype))
        return tf_bad(c, TUFF_E_DTYPE, "%s is %s, it needs a float or integer dtype (%s)", options[i].name, tuff_dtype_name(t->dtype), tf_src_text(c, i));
    return ok || tf_bad(c, TUFF_E_SHAPE, "%s needs the shape %s, or 1 in place of any dim (%s)", options[i].name, tf_type_text(c->g, &want), tf_src_text(c, i));
}

static bool check_options(tf_infer *c, const layout *y)
{
    const tuff_attention_desc *d = c->desc;
    const int64_t heads[1] = { y->hq }, batches[1] = { y->b }, ends[1] = { tf_dim_bin(c->g, TUFF_DIM_ADD, y->b, 1) };
    const int64_t table[2] = { y->b, -1 };
    if (d->dtype && !tf_dtype_is_single(d->dtype))
        return tf_bad(c, TUFF_E_ATTRIBUTE, "dtype is %s, it needs f32, f16 or bf16", tuff_dtype_name(d->dtype));
    if (d->group && !c->type[TF_ATT_K_SCALE] && !c->type[TF_ATT_V_SCALE])
        return tf_bad(c, TUFF_E_ATTRIBUTE, "group is %d, but neither k_scale nor v_scale is given", (int)d->group);
    return check_masks(c, y) && check_shape(c, TF_ATT_SLOPES, 1, heads) && check_shape(c, TF_ATT_SINKS, 1, heads) &&
           check_shape(c, TF_ATT_Q_START, 1, batches) && check_shape(c, TF_ATT_KV_LEN, 1, batches) && check_shape(c, TF_ATT_CU_KV, 1, ends) &&
           check_shape(c, TF_ATT_PAGES, 2, table) && check_scale(c, TF_ATT_K_SCALE, TF_ATT_K) && check_scale(c, TF_ATT_K_ZERO, TF_ATT_K) &&
           check_scale(c, TF_ATT_V_SCALE, TF_ATT_V) && check_scale(c, TF_ATT_V_ZERO, TF_ATT_V);
}

static bool check_score(tf_infer *c)
{
    const tuff_attention_desc *d = c->desc;
    const char *message;
    if (!d->score)
        return d->score_input_count == 0 || tf_bad(c, TUFF_E_ATTRIBUTE, "score_inputs are given without a score");
    const tf_uexpr *e = tf_attention_parse_score(&c->g->arena, d, c->type + TF_ATT_SCORE_INPUTS, &message);
    if (!e)
        return tf_bad(c, message ? TUFF_E_PARSE : TUFF_E_MEMORY, "score: %s", message ? message : "out of memory");
    return e->dtype == TUFF_F32 || tf_bad(c, TUFF_E_DTYPE, "score gives %s, it needs to give f32", tuff_dtype_name(e->dtype));
}

bool tf_attention_infer(tf_infer *c)
{
    const tuff_attention_desc *d = c->desc;
    layout y;
    if (!find_layout(c, &y) || !check_qkv(c, &y) || !check_options(c, &y) || !check_score(c))
        return false;
    const tf_type *q = c->type[TF_ATT_Q];
    const int32_t batch = q->rank - 3;
    c->n_out = 2;
    c->out[0] = *q;
    c->out[0].dtype = d->dtype ? d->dtype : q->dtype;
    c->out[0].dim[q->rank - 1] = y.dv;
    c->out[1] = (tf_type){ .dtype = TUFF_F32, .rank = q->rank - 1, .dim = { q->dim[0] } };
    c->out[1].dim[batch] = y.hq;
    c->out[1].dim[batch + 1] = y.sq;
    return true;
}

static tuff_status attention_reference(tf_ref *r) { return tf_attention_reference(r, 0); }

/* ---- lowering ---------------------------------------------------------------------------------- */

static tuff_tensor expanded(tuff_tensor x, const int64_t *dim)
{
    return tuff_expand(x, (tuff_shape){ .rank = 4, .dim = { dim[0], dim[1], dim[2], dim[3] } });
}

/* x with an axis of size 1 in front. */
static tuff_tensor with_batch(tuff_tensor x)
{
    return x.id ? tuff_unsqueeze(x, TUFF_INTS(0)) : x;
}

/* k or v as numbers in [batch, key, head, channel]. */
static tuff_tensor keys_of(tf_lower *l, uint32_t i)
{
    const uint32_t scale = i == TF_ATT_K ? TF_ATT_K_SCALE : TF_ATT_V_SCALE, zero = i == TF_ATT_K ? TF_ATT_K_ZERO : TF_ATT_V_ZERO;
    const tuff_tensor pages = l->src[TF_ATT_PAGES];
    tuff_tensor x = l->src[i];
    if (l->src[scale].id) {
        const tuff_dequant_desc d = { .zero = l->src[zero], .group = ((const tuff_attention_desc *)l->desc)->group };
        x = tuff_dequant(x, l->src[scale], &d);
    }
    if (l->src[TF_ATT_CU_KV].id)
        return with_batch(x);
    if (!pages.id || !x.id)
        return x;
    const tf_type t = *tf_ty(x), p = *tf_ty(pages);
    const int64_t dims[4] = { p.dim[0], tf_dim_bin(l->g, TUFF_DIM_MUL, p.dim[1], t.dim[1]), t.dim[2], t.dim[3] };
    return tf_reshaped(tuff_gather(x, pages, 0), 4, dims);
}

static void lower_masks(tf_lower *l, tuff_attention_desc *d, const int64_t *scores)
{
    tuff_graph *g = l->g;
    tuff_tensor bias = l->src[TF_ATT_BIAS];
    const tuff_tensor mask = l->src[TF_ATT_MASK], block = l->src[TF_ATT_BLOCK], tree = l->src[TF_ATT_TREE];
    d->mask = (tuff_tensor){ 0 };
    if (mask.id && bias.id && l->limits && l->limits->storage_bindings < 8) {
        d->mask = expanded(tf_cast_to(mask, TUFF_BOOL), scores); /* joined with the bias it would be stored, for want of bindings */
    } else if (mask.id) {
        const tuff_dtype t = bias.id ? tf_ty(bias)->dtype : TUFF_F32;
        bias = tuff_where(tf_cast_to(mask, TUFF_BOOL), bias.id ? bias : tuff_literal(g, 0, t), tuff_literal(g, -INFINITY, t));
    }
    d->bias = bias.id ? expanded(bias, scores) : bias;
    d->block_mask = block;
    if (block.id) {
        const int64_t blocks[4] = { scores[0], scores[1], tf_dim_ceildiv(g, scores[2], d->block_q), tf_dim_ceildiv(g, scores[3], d->block_kv) };
        d->block_mask = expanded(tf_cast_to(block, TUFF_BOOL), blocks);
    }
    d->tree_mask = tree;
    if (tree.id && tf_ty(tree)->rank == 2)
        d->tree_mask = with_batch(tree);
    else if (tree.id)
        d->tree_mask = tuff_expand(tree, (tuff_shape){ 3, { scores[0], scores[2], tf_ty(tree)->dim[2] } });
}

/* Is storing the scores faster? On CPU drivers with a fast matrix product it is, while they are few: at most 1 MiB. */
static bool unfused_pays(const tf_lower *l, const tf_attention_shape *s)
{
    const tuff_attention_desc *d = l->desc;
    for (uint32_t i = TF_ATT_SLOPES; i < TF_ATT_SCORE_INPUTS; i++)
        if (l->src[i].id)
            return false;
    if (l->limits && tf_attention_choose(l->limits, s).kernel == TF_ATT_MATRICES)
        return false;
    const tf_type *q = tf_ty(l->src[TF_ATT_Q]), *k = tf_ty(l->src[TF_ATT_K]);
    const bool plain = !d->causal && !d->window_left && !d->window_right && d->softcap == 0 && !d->score && s->hq == s->hk;
    const bool fixed = !tf_dim_is_dynamic(q->dim[0]) && !tf_dim_is_dynamic(q->dim[1]) && !tf_dim_is_dynamic(k->dim[1]);
    return l->limits && l->limits->cpu && l->limits->uniform_loads && plain && fixed && s->sq >= 64 && s->sk >= 64 && s->b * s->hq * s->sq * s->sk <= INT64_C(1) << 18;
}

static void lower_unfused(tf_lower *l)
{
    const tuff_attention_desc *d = l->desc;
    const tf_type q = *tf_ty(l->src[TF_ATT_Q]);
    const double scale = d->scale != 0 ? (double)d->scale : 1 / sqrt((double)q.dim[3]);
    tuff_tensor x[3];
    for (int i = 0; i < 3; i++)
        x[i] = tuff_permute(tf_cast_to(l->src[TF_ATT_Q + i], TUFF_F32), TUFF_INTS(0, 2, 1, 3));
    const tuff_tensor s = tuff_mul(tuff_matmul(x[0], x[1], &(tuff_matmul_desc){ .transpose_b = true }), tuff_literal(l->g, scale, TUFF_F32));
    const tuff_tensor o = tuff_permute(tuff_matmul(tuff_softmax(s, 3), x[2], NULL), TUFF_INTS(0, 2, 1, 3));
    l->out[0] = tf_cast_to(o, d->dtype ? d->dtype : q.dtype);
    l->out[1] = tuff_logsumexp(s, &(tuff_reduce_desc){ .axes = TUFF_INTS(3) });
}

static void attention_lower(tf_lower *l)
{
    tuff_graph *g = l->g;
    const bool packed = l->src[TF_ATT_CU_Q].id;
    const tuff_tensor q = packed ? with_batch(l->src[TF_ATT_Q]) : l->src[TF_ATT_Q], k = keys_of(l, TF_ATT_K), v = keys_of(l, TF_ATT_V);
    if (!q.id || !k.id || !v.id)
        return;
    const tf_type *type[TF_ATT_LOADS] = { [TF_ATT_Q] = tf_ty(q), [TF_ATT_K] = tf_ty(k), [TF_ATT_V] = tf_ty(v) };
    for (uint32_t i = TF_ATT_CU_Q; i <= TF_ATT_CU_KV; i++)
        type[i] = l->src[i].id ? tf_ty(l->src[i]) : NULL;
    const tf_attention_shape shape = tf_attention_shape_of(g, type, ((const tuff_attention_desc *)l->desc)->dtype);
    if (unfused_pays(l, &shape)) {
        lower_unfused(l);
        return;
    }
    const int64_t scores[4] = { type[TF_ATT_Q]->dim[0], type[TF_ATT_Q]->dim[2], type[TF_ATT_Q]->dim[1], type[TF_ATT_K]->dim[1] };
    tf_attention_desc d = { .user = *(const tuff_attention_desc *)l->desc };
    const tuff_dtype dtype = d.user.dtype ? d.user.dtype : type[TF_ATT_Q]->dtype;
    lower_masks(l, &d.user, scores);
    d.user.alibi_slopes = l->src[TF_ATT_SLOPES];
    d.user.sinks = l->src[TF_ATT_SINKS];
    d.user.q_start = l->src[TF_ATT_Q_START];
    d.user.kv_len = l->src[TF_ATT_KV_LEN];
    d.user.cu_q = l->src[TF_ATT_CU_Q];
    d.user.cu_kv = l->src[TF_ATT_CU_KV];
    d.user.page_table = d.user.k_scale = d.user.k_zero = d.user.v_scale = d.user.v_zero = (tuff_tensor){ 0 };
    d.user.group = 0;
    tuff_named *inputs = tf_arena_array(&g->arena, tuff_named, d.user.score_input_count + 1);
    for (uint32_t i = 0; inputs && i < d.user.score_input_count; i++)
        inputs[i] = (tuff_named){ d.user.score_inputs[i].name, l->src[TF_ATT_SCORE_INPUTS + i] };
    d.user.score_inputs = inputs;

    d.splits = l->limits ? (int32_t)tf_attention_choose(l->limits, &shape).splits : 0;
    tuff_tensor o = tf_add(g, &tf_op_attention_anchor, (tuff_tensor[]){ q, k, v }, 3, &d);
    if (d.splits) {
        const tuff_attention_merge_desc merge = { .dtype = dtype };
        o = tf_add(g, &tf_op_attention_merge, (tuff_tensor[]){ o, tuff_result(o, 1) }, 2, &merge);
    }
    if (!o.id)
        return;
    const tuff_tensor lse = tuff_result(o, 1);
    l->out[0] = packed ? tf_reshaped(o, 3, tf_ty(o)->dim + 1) : o;
    l->out[1] = packed ? tf_reshaped(lse, 2, tf_ty(lse)->dim + 1) : lse;
}

static const tf_attr attention_attrs[] = { TF_ATTENTION_ATTRS };

const tf_op tf_op_attention = {
    .name = "attention",
    .doc = "q[b,sq,hq,dk], k[b,sk,hk,dk], v[b,sk,hk,dv] -> o[b,sq,hq,dv] = softmax(scale * q k^T + ...) v, lse[b,hq,sq]",
    .source = "Dao et al. 2022, arXiv 2205.14135; online softmax: Milakov, Gimelshein 2018, arXiv 1805.02867",
    .operands = "q k v",
    .results = "o lse",
    .kind = TF_COMPOSITE,
    .attrs = attention_attrs,
    .attr_count = TF_COUNT(attention_attrs),
    .desc_size = sizeof(tuff_attention_desc),
    .infer = tf_attention_infer,
    .reference = attention_reference,
    .lower = attention_lower,
    .rel = 8,
};

tuff_tensor tuff_attention(tuff_tensor q, tuff_tensor k, tuff_tensor v, const tuff_attention_desc *desc)
{
    return tf_add(q.graph, &tf_op_attention, (tuff_tensor[]){ q, k, v }, 3, desc);
}
