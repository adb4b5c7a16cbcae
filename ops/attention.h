/* attention.h - what the public attention row and its kernels share. */
#ifndef TF_ATTENTION_H
#define TF_ATTENTION_H

#include "graph/kernel.h"
#include "graph/op.h"

/* Sources of attention and _attention, in the order of the row's attributes. */
enum {
    TF_ATT_Q, TF_ATT_K, TF_ATT_V, TF_ATT_SLOPES, TF_ATT_BIAS, TF_ATT_MASK, TF_ATT_BLOCK, TF_ATT_SINKS, TF_ATT_Q_START,
    TF_ATT_KV_LEN, TF_ATT_TREE, TF_ATT_CU_Q, TF_ATT_CU_KV,
    TF_ATT_LOADS, /* _attention has none of those below */
    TF_ATT_PAGES = TF_ATT_LOADS, TF_ATT_K_SCALE, TF_ATT_K_ZERO, TF_ATT_V_SCALE, TF_ATT_V_ZERO,
    TF_ATT_SCORE_INPUTS
};

/* _attention: the same operands after lowering. The mask has become part of the bias unless both are given and bindings are few; bias and block mask have their
 * full shapes; k and v are numbers in [batch, key, head, channel], packed tokens are [1, token, head, channel]. splits > 0: the keys of a row are divided into that many parts and the results are f32 parts
 * o[splits, b, sq, hq, dv] and lse[splits, b, hq, sq]; sinks count in part 0. */
typedef struct tf_attention_desc {
    tuff_attention_desc user; /* first: both rows share attribute offsets */
    int32_t splits;
} tf_attention_desc;

extern const tf_op tf_op_attention_anchor, tf_op_attention_merge;

/* How an attention runs on a device. A pure function of shapes (at their bounds) and limits. */
typedef enum tf_attention_kernel {
    TF_ATT_ROWS,     /* a query row per lane, all of it in registers */
    TF_ATT_KEYS,     /* few rows: a key per lane */
    TF_ATT_CHANNELS, /* few rows: lanes share the channels of a key */
    TF_ATT_TILES,    /* tiles in shared memory */
    TF_ATT_MATRICES  /* the same by cooperative matrices, for halves */
} tf_attention_kernel;
typedef struct tf_attention_shape {
    int64_t b, sq, hq, dk, sk, hk, dv; /* packed: b segments; sq, sk their mean lengths */
    int64_t longest;                   /* keys a row may have */
    bool halves, wide;                 /* q, k and v are f16; o has more digits */
} tf_attention_shape;
typedef struct tf_attention_choice {
    tf_attention_kernel kernel;
    uint32_t lanes;      /* CHANNELS: lanes that share a key; others: workgroup size */
    bool shuffle;        /* ROWS: a workgroup is one subgroup whose lanes load a key each and exchange them */
    uint32_t keys;       /* keys per step, a power of two */
    uint32_t rows;       /* query rows per lane or per workgroup */
    uint32_t pack;       /* query heads of one key head whose rows share tiles */
    uint32_t heads;      /* CHANNELS: key heads per workgroup, a power of two; else 1 */
    uint32_t wide;       /* CHANNELS: 2: eight channels of a key at once, else 1 */
    uint32_t splits;     /* 0: not split */
} tf_attention_choice;
/* From the types of _attention's operands; CU_Q and CU_KV NULL unless packed. dtype: as in tuff_attention_desc. */
tf_attention_shape tf_attention_shape_of(const tuff_graph *g, const tf_type *const *type, tuff_dtype dtype);
tf_attention_choice tf_attention_choose(const tf_limits *limits, const tf_attention_shape *shape);

/* Shared by rows: result types of attention from its sources; false: tf_bad was called. */
bool tf_attention_infer(tf_infer *c);
/* attention_ref.c. The references of both rows; parts: splits of _attention, 0: whole rows. */
tuff_status tf_attention_reference(tf_ref *r, int32_t parts);

/* attention_score.c. The score expression: names s b h q k, then the score inputs of types type[0..). */
enum { TF_SCORE_S, TF_SCORE_B, TF_SCORE_H, TF_SCORE_Q, TF_SCORE_K, TF_SCORE_INPUTS };
struct tf_uexpr;
const struct tf_uexpr *tf_attention_parse_score(tf_arena *arena, const tuff_attention_desc *d, const tf_type *const *type, const char **message);
/* The same as a kernel expression. */
tf_ex tf_attention_score(tf_view_map *m, tf_ex s);

#define TF_ATTENTION_ATTRS \
    TF_A(tuff_attention_desc, scale, TF_ATTR_FLOAT, "factor of q.k; 0: 1 / sqrt(dk)"), \
    TF_A(tuff_attention_desc, causal, TF_ATTR_BOOL, "no key after the query's position"), \
    TF_A(tuff_attention_desc, causal_align, TF_ATTR_ENUM, "position of query i: i + keys - queries, or i; for causal, windows and ALiBi", \
         .choices = tf_attention_aligns), \
    TF_A(tuff_attention_desc, window_left, TF_ATTR_INT, "keys visible to the left, the query's own position included; 0: no limit", \
         .max = INT32_MAX), \
    TF_A(tuff_attention_desc, window_right, TF_ATTR_INT, "keys visible to the right, the query's own position included; 0: no limit", \
         .max = INT32_MAX), \
    TF_A(tuff_attention_desc, softcap, TF_ATTR_FLOAT, "c: scores become c * tanh(score / c); 0: off", .max = 3.0e38), \
    TF_A(tuff_attention_desc, alibi_slopes, TF_ATTR_TENSOR, "f32[hq]: adds -slope * |distance|"), \
    TF_A(tuff_attention_desc, bias, TF_ATTR_TENSOR, "[b|1, hq|1, sq|1, sk|1]: added after softcap; -inf excludes"), \
    TF_A(tuff_attention_desc, mask, TF_ATTR_TENSOR, "bool or u8 [b|1, hq|1, sq|1, sk|1]: non-zero attends"), \
    TF_A(tuff_attention_desc, block_mask, TF_ATTR_TENSOR, \
         "bool or u8 [b|1, hq|1, ceil(sq / block_q), ceil(sk / block_kv)]: non-zero attends"), \
    TF_A(tuff_attention_desc, block_q, TF_ATTR_INT, "queries per block of block_mask", .max = INT32_MAX), \
    TF_A(tuff_attention_desc, block_kv, TF_ATTR_INT, "keys per block of block_mask", .max = INT32_MAX), \
    TF_A(tuff_attention_desc, sinks, TF_ATTR_TENSOR, "f32[hq]: one more logit per head in the sum, with value 0"), \
    TF_A(tuff_attention_desc, q_start, TF_ATTR_TENSOR, "i32[b]: position of query 0; overrides causal_align"), \
    TF_A(tuff_attention_desc, kv_len, TF_ATTR_TENSOR, "i32[b]: valid keys; absent: sk"), \
    TF_A(tuff_attention_desc, tree_mask, TF_ATTR_TENSOR, "u32[b|1, sq, ceil(sq / 32)]: bit t of row i: query i sees key keys - sq + t"), \
    TF_A(tuff_attention_desc, cu_q, TF_ATTR_TENSOR, "i32[b + 1]: first query of each packed segment, and their end"), \
    TF_A(tuff_attention_desc, cu_kv, TF_ATTR_TENSOR, "i32[b + 1]: first key of each packed segment, and their end"), \
    TF_A(tuff_attention_desc, page_table, TF_ATTR_TENSOR, "i32[b, pages]: page of keys j / page, for k and v [pool, page, hk, d]"), \
    TF_A(tuff_attention_desc, k_scale, TF_ATTR_TENSOR, "[.., hk, ceil(dk / group)]: k is (k - k_zero) * k_scale"), \
    TF_A(tuff_attention_desc, k_zero, TF_ATTR_TENSOR, "shape of k_scale; absent: 0"), \
    TF_A(tuff_attention_desc, v_scale, TF_ATTR_TENSOR, "[.., hk, ceil(dv / group)]: v is (v - v_zero) * v_scale"), \
    TF_A(tuff_attention_desc, v_zero, TF_ATTR_TENSOR, "shape of v_scale; absent: 0"), \
    TF_A(tuff_attention_desc, group, TF_ATTR_INT, "channels per scale; 0: all", .max = INT32_MAX), \
    TF_A(tuff_attention_desc, dtype, TF_ATTR_DTYPE, "of o; 0: that of q"), \
    TF_A(tuff_attention_desc, score, TF_ATTR_STRING, "expression of `s` (scaled score), `b h q k` and score_inputs; before softcap"), \
    TF_A(tuff_attention_desc, score_inputs, TF_ATTR_NAMED, "tensors the expression looks up", \
         .offset2 = (uint32_t)offsetof(tuff_attention_desc, score_input_count))
extern const char *const tf_attention_aligns[];

#endif
