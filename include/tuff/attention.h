/* attention.h - attention and what belongs to it. Included by tuff.h; the conventions are those of ops.h. */
#ifndef TUFF_ATTENTION_H
#define TUFF_ATTENTION_H

#ifndef TUFF_TUFF_H
#  include "tuff.h"
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- attention ------------------------------------------------------------------------------------- */

typedef enum tuff_causal_align {
    TUFF_CAUSAL_BOTTOM_RIGHT, /* the last query sees all valid keys: query i stands at i + keys - queries */
    TUFF_CAUSAL_TOP_LEFT      /* query i stands at i */
} tuff_causal_align;
typedef struct tuff_attention_desc {
    float scale;                    /* 0: 1 / sqrt(dk) */
    bool causal;                    /* no key after the query's position */
    tuff_causal_align causal_align; /* where queries stand among the keys, for causal, windows and ALiBi */
    int32_t window_left;            /* keys visible to the left, the query's own position included; 0: no limit */
    int32_t window_right;           /* keys visible to the right, the query's own position included; 0: no limit */
    float softcap;                  /* c > 0: scores become c * tanh(score / c); 0: off */
    tuff_tensor alibi_slopes;       /* f32[hq]: adds -slope * |distance| */
    tuff_tensor bias;               /* f32 or f16 [b|1, hq|1, sq|1, sk|1]: added after softcap */
    tuff_tensor mask;               /* bool or u8, the same shapes: non-zero attends */
    tuff_tensor block_mask;         /* bool or u8 [b|1, hq|1, ceil(sq / block_q), ceil(sk / block_kv)]: non-zero attends */
    int32_t block_q, block_kv;      /* required with block_mask */
    tuff_tensor sinks;              /* f32[hq]: one more logit per head in the sum, with value 0 */
    tuff_tensor q_start;            /* i32[b]: position of query 0; overrides causal_align */
    tuff_tensor kv_len;             /* i32[b]: valid keys; absent: sk */
    const char *score;              /* expression for the score: `s` (scaled score), `b h q k` (batch, head, positions of query
                                     * and key) and score_inputs by name; NULL: s. Applied before softcap. */
    const tuff_named *score_inputs;
    uint32_t score_input_count;
    tuff_tensor tree_mask;          /* u32[b|1, sq, ceil(sq / 32)]: the queries are the last sq keys; bit t of row i: query i sees
                                     * key keys - sq + t. Keys before these are visible. tuff_tree_mask makes it. */
    tuff_tensor cu_q, cu_kv;        /* i32[b + 1]: packed segments, see below */
    tuff_tensor page_table;         /* i32[b, pages]: paged keys and values, see below */
    tuff_tensor k_scale, k_zero;    /* quantised k: (k - zero) * scale. Shape of k with ceil(dk / group) in place of dk */
    tuff_tensor v_scale, v_zero;    /* the same for v */
    int32_t group;                  /* channels per scale; 0: all of a key's head */
    tuff_dtype dtype;               /* of o: f32, f16 or bf16; 0: that of q */
} tuff_attention_desc;
/* q[b, sq, hq, dk], k[b, sk, hk, dk], v[b, sk, hk, dv] -> o[b, sq, hq, dv] = softmax(scale * q k^T + ...) v in f32, hq a
 * multiple of hk (grouped heads). Result 0: o, the dtype of q. Result 1: lse f32[b, hq, sq], the natural log of each row's sum,
 * sinks included. A row without visible keys gives o = 0 and lse = -inf (lse = its sink when there are sinks). Nothing is read or
 * stored per pair of query and key beyond what the operands hold.
 *   Packed: q[tokens, hq, dk], k, v[keys, hk, d], o[tokens, hq, dv], lse[hq, tokens]. Segment i is the queries cu_q[i] to cu_q[i + 1] - 1
 *     with the keys cu_kv[i] to cu_kv[i + 1] - 1; positions, q_start and kv_len count inside a segment, and the score's b is the segment.
 *     Queries behind the last segment see no key. bias, mask and block_mask are E_ATTRIBUTE; tree_mask is u32[tokens, words].
 *   Paged: k, v[pool, page, hk, d]; key j of batch b is slot j % page of page page_table[b, j / page]; kv_len is required. Entries
 *     beyond the pages that kv_len needs may be anything. q may be packed (cu_q without cu_kv).
 *   Quantised: k or v i8, u8, i4, u4, f8e4m3 or f8e5m2 with its scale. */
TUFF_API tuff_tensor tuff_attention(tuff_tensor q, tuff_tensor k, tuff_tensor v, const tuff_attention_desc *desc);

/* ---- what stands around it -------------------------------------------------------------------------- */

typedef struct tuff_attention_merge_desc { tuff_dtype dtype; /* of o: f32, f16 or bf16; 0: f32 */ } tuff_attention_merge_desc;
/* Parts of an attention over disjoint sets of keys, joined: o[p, b, s, h, d] with lse[p, b, h, s] f32 -> o[b, s, h, d] =
 * sum_p o_p e^lse_p / sum_p e^lse_p, result 1: lse[b, h, s] = log sum_p e^lse_p. Parts without keys (lse = -inf) do not count; rows
 * without any give o = 0, lse = -inf. */
TUFF_API tuff_tensor tuff_attention_merge(tuff_tensor o, tuff_tensor lse, const tuff_attention_merge_desc *desc);

typedef enum tuff_rope_pairing {
    TUFF_ROPE_HALVES,      /* channel i with i + rotary / 2 */
    TUFF_ROPE_INTERLEAVED  /* channel 2i with 2i + 1 */
} tuff_rope_pairing;
/* How pair i's angle per position, w = base^(-2i / rotary), is changed for contexts longer than a model was trained for. */
typedef enum tuff_rope_scaling {
    TUFF_ROPE_UNSCALED,
    TUFF_ROPE_LINEAR, /* w / factor */
    TUFF_ROPE_NTK,    /* base * factor^(rotary / (rotary - 2)) */
    TUFF_ROPE_LLAMA3, /* w / factor for wavelengths beyond original / low_freq, w below original / high_freq, a ramp between */
    TUFF_ROPE_YARN    /* a ramp over i from w (beta_fast turns in `original` tokens) to w / factor (beta_slow turns) */
} tuff_rope_scaling;
typedef struct tuff_rope_desc {
    tuff_tensor positions;      /* int [n] or [b, n]; absent: 0, 1, 2, ... */
    tuff_tensor start;          /* i32[b]: added to the positions of batch b, such as the number of keys in a cache */
    tuff_tensor frequencies;    /* f32[rotary / 2]: angles per position of one's own; base and scaling are not used */
    tuff_rope_pairing pairing;
    int32_t rotary;             /* channels that turn, even; the others are copied. 0: all */
    float base;                 /* 0: 10000 */
    tuff_rope_scaling scaling;
    float factor;               /* of the context's length; 0: 1 */
    int32_t original;           /* LLAMA3, YARN: tokens a model was trained for; 0: 8192 */
    float low_freq, high_freq;  /* LLAMA3; 0: 1 and 4 */
    float beta_fast, beta_slow; /* YARN; 0: 32 and 1 */
    float amplitude;            /* factor of the turned channels; 0: 1, for YARN 0.1 * ln(factor) + 1 */
    bool inverse;               /* turn back */
} tuff_rope_desc;
/* Rotary position embedding. x[b, n, h, d] -> y: (a, b) of each pair becomes (a cos t - b sin t, a sin t + b cos t) with t =
 * position * w. Angles are exact for any 32-bit position. Errors: E_ATTRIBUTE rotary odd or beyond d. */
TUFF_API tuff_tensor tuff_rope(tuff_tensor x, const tuff_rope_desc *desc);

/* Latent attention: a token is kept as c_kv[b, t, r] and k_rope[b, t, dr], which all heads share. q_nope[b, s, h, dn], q_rope[b, s, h, dr],
 * w_uk[h, dn, r], w_uv[h, dv, r] -> o[b, s, h, dv], the attention with keys [w_uk c_kv, k_rope] and values w_uv c_kv; result 1: lse. Computed
 * without expanding them. scale 0: 1 / sqrt(dn + dr). desc as for tuff_attention but for scales and zeros of quantised keys; packed
 * and paged layouts lack the axis of heads in c_kv and k_rope. */
TUFF_API tuff_tensor tuff_mla_attention(tuff_tensor q_nope, tuff_tensor q_rope, tuff_tensor c_kv, tuff_tensor k_rope, tuff_tensor w_uk, tuff_tensor w_uv,
                                        const tuff_attention_desc *desc);

typedef enum tuff_features {
    TUFF_FEATURES_NONE,           /* as given */
    TUFF_FEATURES_RELU,
    TUFF_FEATURES_ELU,            /* elu(x) + 1 */
    TUFF_FEATURES_SOFTMAX,        /* over the channels of each token */
    TUFF_FEATURES_SOFTMAX_TOKENS  /* over the tokens, for each channel; not with causal */
} tuff_features;
typedef struct tuff_linear_attention_desc {
    bool causal;               /* query i sees keys 0 to i; as many queries as keys, a fixed number */
    tuff_features q_map, k_map;
    float eps;                 /* added to each element of the sum of keys in the denominator */
    bool unnormalised;         /* no denominator */
    int32_t chunk;             /* causal: tokens per chunk; 0: 64 */
    tuff_tensor state, norm;   /* results 1 and 2 of the tokens before, f32[b, hq, m, dv] and f32[b, hq, m]; absent: 0 */
} tuff_linear_attention_desc;
/* q[b, n, hq, m], k[b, n, hk, m], v[b, n, hk, dv] -> o[b, n, hq, dv] = phi(q) (sum phi(k) v^T) / (phi(q) . (sum phi(k) + eps)), sums over the keys
 * that a query sees. In f32; o has the dtype of q. Results 1 and 2: the two sums after all keys. */
TUFF_API tuff_tensor tuff_linear_attention(tuff_tensor q, tuff_tensor k, tuff_tensor v, const tuff_linear_attention_desc *desc);

typedef struct tuff_favor_desc {
    bool keys;                 /* one maximum per batch and head instead of one per row */
    float eps;                 /* added to each feature; 0: 1e-4 */
} tuff_favor_desc;
/* Positive random features whose products approximate e^(q.k / sqrt(d)): x[b, n, h, d], projection[m, d] -> [b, n, h, m] =
 * (exp(w.x' - |x'|^2 / 2 - max w.x') + eps) / sqrt(m) with x' = x d^-1/4. For linear attention. */
TUFF_API tuff_tensor tuff_favor_features(tuff_tensor x, tuff_tensor projection, const tuff_favor_desc *desc);

/* ---- decoding --------------------------------------------------------------------------------------- */

typedef struct tuff_kv_append_desc {
    tuff_tensor page_table;    /* i32[b, pages]: the cache is paged as for tuff_attention */
    tuff_tensor count;         /* i32[b]: rows of x that are written; absent: all */
} tuff_kv_append_desc;
/* New rows of a cache. cache[b, t, ...] or, paged, [pool, page, ...]; x[b, n, ...] of its dtype; len i32[b] -> the cache with row len[b] + i of batch b
 * replaced by x[b, i]. Rows beyond the cache are dropped. x may be a rotary embedding or codes of tuff_kv_quantize: these fuse. Assign the result to
 * the cache's state; rolling back is a smaller len at the next call. Of i4 and u4, which are packed, the last axis is a multiple of 8. */
TUFF_API tuff_tensor tuff_kv_append(tuff_tensor cache, tuff_tensor x, tuff_tensor len, const tuff_kv_append_desc *desc);
/* Rows of a cache moved: row len[b] + i becomes what row len[b] + rows[b, i] was, i < n, where rows[b, n] i32 is not negative. This keeps the
 * accepted path of a tree of drafts (rows: its nodes), or drops keys (len 0). desc as for tuff_kv_append, count: rows that move. */
TUFF_API tuff_tensor tuff_kv_gather(tuff_tensor cache, tuff_tensor rows, tuff_tensor len, const tuff_kv_append_desc *desc);

typedef struct tuff_kv_quantize_desc {
    int32_t group;             /* channels per scale; 0: all */
    tuff_dtype dtype;          /* i8, i4: symmetric, -127 to 127 and -7 to 7; u8, u4: with a zero, 0 to 255 and 0 to 15. 0: i8 */
    bool nibbles;              /* u8 with codes 0 to 15, one per byte */
} tuff_kv_quantize_desc;
/* x[..., d] -> codes[..., d], scale f16[..., ceil(d / group)], zero f16 of that shape, with x ~ (codes - zero) * scale: scale = max |x| / 127 or 7, zero 0, or
 * (max - min) / levels and -min / scale. Codes are rounded to nearest even of x over the rounded scale. A group of equal values is kept exactly up to f16. */
TUFF_API tuff_tensor tuff_kv_quantize(tuff_tensor x, const tuff_kv_quantize_desc *desc);

/* parent[n] or [b, n], i32: the node before each node of a tree of drafts; negative: the node follows the prefix -> result 0: u32[.., n, ceil(n / 32)],
 * bit t of row i: t is i or one before it. Result 1: depth[.., n], the number of nodes before. For tuff_attention's tree_mask; a node's position is
 * the length of the prefix plus its depth. Cycles end after n steps; parents of n and more count as negative. */
TUFF_API tuff_tensor tuff_tree_mask(tuff_tensor parent);

/* Speculative sampling: p[b, l, vocabulary] drafts' and q of the same shape the model's probabilities, tokens i32[b, l] drawn from p, u[b, l] uniform in [0, 1)
 * -> result 0: accepted i32[b], how many leading tokens satisfy u < q(token) / p(token). Result 1: residual f32[b, vocabulary], max(q - p, 0) of the first rejected
 * place, normalised, to draw its token from; 0 where all are accepted. */
TUFF_API tuff_tensor tuff_speculative_verify(tuff_tensor p, tuff_tensor q, tuff_tensor tokens, tuff_tensor u);

#ifdef __cplusplus
}
#endif

#endif
