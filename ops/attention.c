/* attention.c - the attention row: inference, reference in double, and lowering.
 *
 * One op covers prefill and decoding, windows, biases, masks and a user's score expression. Lowering turns masks into
 * biases of -inf, which sink into the kernel's load hook, and splits long key ranges of few queries into parts that a
 * second kernel merges. The kernels are in attention_kernels.c. */
#include "attention.h"

#include "anchors.h"
#include "graph/userexpr.h"

#include <math.h>
#include <string.h>

const char *const tf_attention_aligns[] = { "bottom_right", "top_left", NULL };

enum { NAME_S, NAME_B, NAME_H, NAME_Q, NAME_K, NAME_INPUTS };

/* ---- inference --------------------------------------------------------------------------------- */

static bool is_float(tuff_dtype t) { return t == TUFF_F32 || t == TUFF_F16 || t == TUFF_BF16; }
static bool is_flag(tuff_dtype t) { return t == TUFF_BOOL || t == TUFF_U8; }

static bool check_qkv(tf_infer *c)
{
    static const char *const names[] = { "q", "k", "v" };
    const tf_type *q = c->type[TF_ATT_Q], *k = c->type[TF_ATT_K], *v = c->type[TF_ATT_V];
    for (uint32_t i = 0; i < 3; i++) {
        const tf_type *t = c->type[i];
        if (t->rank != 4)
            return tf_bad(c, TUFF_E_SHAPE, "%s has rank %d, it needs [batch, token, head, channel] (%s)", names[i], (int)t->rank, tf_src_text(c, i));
        if (!is_float(t->dtype))
            return tf_bad(c, TUFF_E_DTYPE, "%s is %s, it needs f32, f16 or bf16 (%s)", names[i], tuff_dtype_name(t->dtype), tf_src_text(c, i));
        if (tf_dim_is_dynamic(t->dim[2]) || tf_dim_is_dynamic(t->dim[3]))
            return tf_bad(c, TUFF_E_SHAPE, "heads and channels of %s need fixed sizes (%s)", names[i], tf_src_text(c, i));
        if (t->dim[2] < 1 || t->dim[3] < 1 || t->dim[3] > 1024)
            return tf_bad(c, TUFF_E_SHAPE, "%s needs at least one head and 1 to 1024 channels (%s)", names[i], tf_src_text(c, i));
        if (!tf_dim_equal(t->dim[0], q->dim[0]))
            return tf_bad(c, TUFF_E_SHAPE, "q has batch %s, %s has %s (%s)", tf_dim_text(c->g, q->dim[0]), names[i], tf_dim_text(c->g, t->dim[0]),
                          tf_src_text(c, i));
    }
    if (k->dim[3] != q->dim[3])
        return tf_bad(c, TUFF_E_SHAPE, "k has head size %d, q has %d (%s)", (int)k->dim[3], (int)q->dim[3], tf_src_text(c, TF_ATT_K));
    if (!tf_dim_equal(k->dim[1], v->dim[1]))
        return tf_bad(c, TUFF_E_SHAPE, "v has %s tokens, k has %s (%s)", tf_dim_text(c->g, v->dim[1]), tf_dim_text(c->g, k->dim[1]), tf_src_text(c, TF_ATT_V));
    if (k->dim[2] != v->dim[2])
        return tf_bad(c, TUFF_E_SHAPE, "v has %d heads, k has %d (%s)", (int)v->dim[2], (int)k->dim[2], tf_src_text(c, TF_ATT_V));
    if (q->dim[2] % k->dim[2])
        return tf_bad(c, TUFF_E_SHAPE, "q has %d heads, which is no multiple of the %d heads of k (%s)", (int)q->dim[2], (int)k->dim[2], tf_src_text(c, TF_ATT_Q));
    return true;
}

/* Source i broadcasts to want[4]. */
static bool check_broadcast(tf_infer *c, uint32_t i, const char *name, const int64_t *want)
{
    const tf_type *t = c->type[i];
    if (!t)
        return true;
    bool ok = t->rank == 4;
    for (int32_t a = 0; ok && a < 4; a++)
        ok = t->dim[a] == 1 || tf_dim_equal(t->dim[a], want[a]);
    return ok || tf_bad(c, TUFF_E_SHAPE, "%s needs the shape [%s, %s, %s, %s] or 1 in place of any of these (%s)", name, tf_dim_text(c->g, want[0]),
                        tf_dim_text(c->g, want[1]), tf_dim_text(c->g, want[2]), tf_dim_text(c->g, want[3]), tf_src_text(c, i));
}

static bool check_vector(tf_infer *c, uint32_t i, const char *name, tuff_dtype dtype, int64_t dim)
{
    const tf_type *t = c->type[i];
    if (!t)
        return true;
    if (t->dtype != dtype)
        return tf_bad(c, TUFF_E_DTYPE, "%s is %s, it needs %s (%s)", name, tuff_dtype_name(t->dtype), tuff_dtype_name(dtype), tf_src_text(c, i));
    if (t->rank != 1 || !tf_dim_equal(t->dim[0], dim))
        return tf_bad(c, TUFF_E_SHAPE, "%s needs the shape [%s] (%s)", name, tf_dim_text(c->g, dim), tf_src_text(c, i));
    return true;
}

static bool check_options(tf_infer *c)
{
    const tuff_attention_desc *d = c->desc;
    const tf_type *q = c->type[TF_ATT_Q], *k = c->type[TF_ATT_K];
    const tf_type *bias = c->type[TF_ATT_BIAS], *mask = c->type[TF_ATT_MASK], *block = c->type[TF_ATT_BLOCK];
    const int64_t scores[4] = { q->dim[0], q->dim[2], q->dim[1], k->dim[1] };
    if (bias && !is_float(bias->dtype))
        return tf_bad(c, TUFF_E_DTYPE, "bias is %s, it needs f32, f16 or bf16 (%s)", tuff_dtype_name(bias->dtype), tf_src_text(c, TF_ATT_BIAS));
    if ((mask && !is_flag(mask->dtype)) || (block && !is_flag(block->dtype)))
        return tf_bad(c, TUFF_E_DTYPE, "masks need bool or u8 (%s)", tf_src_text(c, mask && !is_flag(mask->dtype) ? TF_ATT_MASK : TF_ATT_BLOCK));
    if (!check_broadcast(c, TF_ATT_BIAS, "bias", scores) || !check_broadcast(c, TF_ATT_MASK, "mask", scores))
        return false;
    if (block) {
        if (d->block_q < 1 || d->block_kv < 1)
            return tf_bad(c, TUFF_E_ATTRIBUTE, "block_mask needs block_q and block_kv, each at least 1; they are %d and %d", (int)d->block_q, (int)d->block_kv);
        const int64_t blocks[4] = { q->dim[0], q->dim[2], tf_dim_ceildiv(c->g, q->dim[1], d->block_q), tf_dim_ceildiv(c->g, k->dim[1], d->block_kv) };
        if (!check_broadcast(c, TF_ATT_BLOCK, "block_mask", blocks))
            return false;
    }
    return check_vector(c, TF_ATT_SLOPES, "alibi_slopes", TUFF_F32, q->dim[2]) && check_vector(c, TF_ATT_SINKS, "sinks", TUFF_F32, q->dim[2]) &&
           check_vector(c, TF_ATT_Q_START, "q_start", TUFF_I32, q->dim[0]) && check_vector(c, TF_ATT_KV_LEN, "kv_len", TUFF_I32, q->dim[0]);
}

/* ---- score expression -------------------------------------------------------------------------- */

/* Parses desc->score with the score inputs of types type[0..). */
static const tf_uexpr *parse_score(tf_arena *arena, const tuff_attention_desc *d, const tf_type *const *type, const char **message)
{
    static const tf_uname fixed[NAME_INPUTS] = {
        [NAME_S] = { .name = "s", .dtype = TUFF_F32, .value = true }, [NAME_B] = { .name = "b", .dtype = TUFF_I32, .value = true },
        [NAME_H] = { .name = "h", .dtype = TUFF_I32, .value = true }, [NAME_Q] = { .name = "q", .dtype = TUFF_I32, .value = true },
        [NAME_K] = { .name = "k", .dtype = TUFF_I32, .value = true },
    };
    tf_uname *names = tf_arena_array(arena, tf_uname, (size_t)NAME_INPUTS + d->score_input_count);
    *message = NULL;
    if (!names)
        return NULL;
    memcpy(names, fixed, sizeof fixed);
    for (uint32_t i = 0; i < d->score_input_count; i++) {
        const bool scalar = type[i]->rank == 0;
        names[NAME_INPUTS + i] = (tf_uname){ .name = d->score_inputs[i].name, .dtype = type[i]->dtype, .value = scalar, .lookup = !scalar,
                                             .rank = type[i]->rank, .dim = type[i]->dim };
    }
    return tf_uexpr_parse(arena, d->score, names, NAME_INPUTS + d->score_input_count, message);
}

static bool check_score(tf_infer *c)
{
    const tuff_attention_desc *d = c->desc;
    const char *message;
    if (!d->score)
        return d->score_input_count == 0 || tf_bad(c, TUFF_E_ATTRIBUTE, "score_inputs are given without a score");
    const tf_uexpr *e = parse_score(&c->g->arena, d, c->type + TF_ATT_SCORE_INPUTS, &message);
    if (!e)
        return tf_bad(c, message ? TUFF_E_PARSE : TUFF_E_MEMORY, "score: %s", message ? message : "out of memory");
    return e->dtype == TUFF_F32 || tf_bad(c, TUFF_E_DTYPE, "score gives %s, it needs to give f32", tuff_dtype_name(e->dtype));
}

bool tf_attention_infer(tf_infer *c)
{
    if (!check_qkv(c) || !check_options(c) || !check_score(c))
        return false;
    const tf_type *q = c->type[TF_ATT_Q], *v = c->type[TF_ATT_V];
    c->n_out = 2;
    c->out[0] = (tf_type){ .dtype = q->dtype, .rank = 4, .dim = { q->dim[0], q->dim[1], q->dim[2], v->dim[3] } };
    c->out[1] = (tf_type){ .dtype = TUFF_F32, .rank = 3, .dim = { q->dim[0], q->dim[2], q->dim[1] } };
    return true;
}

typedef struct score_build { tf_view_map *m; tf_ex s; const tf_uexpr *e; } score_build;

static tf_ex score_index(void *user, uint32_t name)
{
    const score_build *c = user;
    static const int coord[NAME_INPUTS] = { [NAME_B] = 0, [NAME_H] = 1, [NAME_K] = 3 };
    return name == NAME_B || name == NAME_H || name == NAME_K ? c->m->out[coord[name]] : 0; /* a query's position may be negative */
}

static tf_ex score_lookup(void *user, uint32_t name, const tf_ex *coords)
{
    const score_build *c = user;
    return c->m->operand(c->m, TF_ATT_SCORE_INPUTS + name - NAME_INPUTS, coords);
}

static tf_ex score_value(void *user, uint32_t name)
{
    const score_build *c = user;
    if (name == NAME_S)
        return c->s;
    if (name >= NAME_INPUTS)
        return score_lookup(user, name, NULL);
    return tf_ex_to_value(c->m->x, c->m->out[name - NAME_B]);
}

tf_ex tf_attention_score(tf_view_map *m, tf_ex s)
{
    const tuff_attention_desc *d = m->desc;
    const char *message;
    const tf_type **type = tf_arena_array(m->x->arena, const tf_type *, d->score_input_count + 1);
    for (uint32_t i = 0; type && i < d->score_input_count; i++)
        type[i] = tf_type_of(m->g, m->node->src[TF_ATT_SCORE_INPUTS + i]);
    const tf_uexpr *e = type ? parse_score(m->x->arena, d, type, &message) : NULL;
    score_build user = { m, s, e };
    const tf_ubuild build = { .x = m->x, .user = &user, .value = score_value, .index = score_index, .lookup = score_lookup };
    return e ? tf_uexpr_build(e, &build) : 0;
}

/* ---- reference --------------------------------------------------------------------------------- */

typedef struct ref_rows {
    const tf_ref *r;
    const tuff_attention_desc *d;
    const tf_uexpr *score;
    const tf_ref_tensor **lookups;
    tf_scalar *scratch;
    double value[NAME_INPUTS];  /* s b h q k of the score being computed */
    double scale;
    int64_t sk;
    double *logit, *acc;        /* [sk], [dv] */
} ref_rows;

static tf_scalar ref_name(void *user, uint32_t name)
{
    const ref_rows *c = user;
    return (tf_scalar){ name < NAME_INPUTS ? c->value[name] : c->r->src[TF_ATT_SCORE_INPUTS + name - NAME_INPUTS]->re[0], 0 };
}

static double broadcast_at(const tf_ref_tensor *t, const int64_t *at)
{
    int64_t index = 0;
    for (int32_t a = 0; a < 4; a++)
        index = index * t->dim[a] + (t->dim[a] == 1 ? 0 : at[a]);
    return t->re[index];
}

/* Logit of key j for query i, -inf when it is excluded. */
static double ref_logit(ref_rows *c, int64_t b, int64_t h, int64_t i, int64_t j, int64_t p)
{
    const tf_ref *r = c->r;
    const tuff_attention_desc *d = c->d;
    const tf_ref_tensor *q = r->src[TF_ATT_Q], *k = r->src[TF_ATT_K];
    const int64_t dk = q->dim[3], hq = q->dim[2], hk = k->dim[2], at[4] = { b, h, i, j };
    if (d->window_left && j <= p - d->window_left)
        return -INFINITY;
    if ((d->causal && j > p) || (d->window_right && j >= p + d->window_right))
        return -INFINITY;
    if (r->src[TF_ATT_MASK] && broadcast_at(r->src[TF_ATT_MASK], at) == 0)
        return -INFINITY;
    if (r->src[TF_ATT_BLOCK]) {
        const int64_t block[4] = { b, h, i / d->block_q, j / d->block_kv };
        if (broadcast_at(r->src[TF_ATT_BLOCK], block) == 0)
            return -INFINITY;
    }
    const double bias = r->src[TF_ATT_BIAS] ? broadcast_at(r->src[TF_ATT_BIAS], at) : 0;
    if (bias == -INFINITY)
        return bias;
    const double *x = q->re + ((b * q->dim[1] + i) * hq + h) * dk, *y = k->re + ((b * c->sk + j) * hk + h / (hq / hk)) * dk;
    double s = 0;
    for (int64_t e = 0; e < dk; e++)
        s += x[e] * y[e];
    s *= c->scale;
    if (c->score) {
        const double value[NAME_INPUTS] = { s, (double)b, (double)h, (double)p, (double)j };
        memcpy(c->value, value, sizeof value);
        const tf_ueval env = { .user = c, .value = ref_name, .tensor = c->lookups, .scratch = c->scratch };
        s = tf_uexpr_eval(c->score, &env).re;
        if (s == -INFINITY)
            return s;
    }
    if (d->softcap > 0)
        s = d->softcap * tanh(s / d->softcap);
    if (r->src[TF_ATT_SLOPES])
        s -= r->src[TF_ATT_SLOPES]->re[h] * fabs((double)(p - j));
    return s + bias;
}

/* One row over keys [first, end): unnormalised sum in acc, the sum of weights relative to *max. */
static double ref_row(ref_rows *c, int64_t b, int64_t h, int64_t i, int64_t p, int64_t first, int64_t end, bool sink, double *max)
{
    const tf_ref_tensor *v = c->r->src[TF_ATT_V];
    const int64_t dv = v->dim[3], hk = v->dim[2], hq = c->r->src[TF_ATT_Q]->dim[2];
    const double sink_logit = sink ? c->r->src[TF_ATT_SINKS]->re[h] : -INFINITY;
    *max = sink_logit;
    for (int64_t j = first; j < end; j++) {
        c->logit[j] = ref_logit(c, b, h, i, j, p);
        if (c->logit[j] > *max)
            *max = c->logit[j];
    }
    memset(c->acc, 0, (size_t)dv * sizeof *c->acc);
    double sum = sink && sink_logit != -INFINITY ? exp(sink_logit - *max) : 0;
    for (int64_t j = first; j < end; j++) {
        if (c->logit[j] == -INFINITY)
            continue;
        const double w = exp(c->logit[j] - *max), *x = v->re + ((b * c->sk + j) * hk + h / (hq / hk)) * dv;
        sum += w;
        for (int64_t e = 0; e < dv; e++)
            c->acc[e] += w * x[e];
    }
    return sum;
}

static bool ref_open(ref_rows *c, tf_ref *r)
{
    const tuff_attention_desc *d = r->desc;
    const char *message;
    *c = (ref_rows){ .r = r, .d = d, .sk = r->src[TF_ATT_K]->dim[1] };
    c->scale = d->scale != 0 ? (double)d->scale : 1 / sqrt((double)r->src[TF_ATT_Q]->dim[3]);
    c->logit = tf_arena_array(r->scratch, double, (size_t)c->sk + 1);
    c->acc = tf_arena_array(r->scratch, double, (size_t)r->src[TF_ATT_V]->dim[3]);
    if (!c->logit || !c->acc)
        return false;
    if (!d->score)
        return true;
    const tf_type **type = tf_arena_array(r->scratch, const tf_type *, d->score_input_count + 1);
    c->lookups = tf_arena_array(r->scratch, const tf_ref_tensor *, (size_t)NAME_INPUTS + d->score_input_count);
    for (uint32_t i = 0; type && c->lookups && i < d->score_input_count; i++) {
        type[i] = tf_type_of(r->g, r->node->src[TF_ATT_SCORE_INPUTS + i]);
        c->lookups[NAME_INPUTS + i] = type[i]->rank ? r->src[TF_ATT_SCORE_INPUTS + i] : NULL;
    }
    c->score = type && c->lookups ? parse_score(r->scratch, d, type, &message) : NULL;
    c->scratch = c->score ? tf_arena_array(r->scratch, tf_scalar, c->score->n) : NULL;
    return c->scratch != NULL;
}

tuff_status tf_attention_reference(tf_ref *r, int32_t parts)
{
    ref_rows c;
    if (!ref_open(&c, r))
        return TUFF_E_MEMORY;
    const tf_ref_tensor *q = r->src[TF_ATT_Q], *start = r->src[TF_ATT_Q_START], *kv_len = r->src[TF_ATT_KV_LEN];
    const int64_t nb = q->dim[0], sq = q->dim[1], hq = q->dim[2], dv = r->src[TF_ATT_V]->dim[3];
    for (int64_t n = 0; n < TF_MAX(parts, 1) * nb * hq * sq; n++) {
        const int64_t i = n % sq, h = n / sq % hq, b = n / sq / hq % nb, part = n / sq / hq / nb;
        const int64_t len = kv_len ? TF_MAX(0, TF_MIN((int64_t)kv_len->re[b], c.sk)) : c.sk;
        const int64_t shift = start ? (int64_t)start->re[b] : c.d->causal_align == TUFF_CAUSAL_TOP_LEFT ? 0 : len - sq;
        const int64_t first = parts ? len * part / parts : 0, end = parts ? len * (part + 1) / parts : len;
        double max;
        const double sum = ref_row(&c, b, h, i, i + shift, first, end, part == 0 && r->src[TF_ATT_SINKS], &max);
        double *o = r->out[0].re + (((part * nb + b) * sq + i) * hq + h) * dv;
        for (int64_t e = 0; e < dv; e++)
            o[e] = sum == 0 ? 0 : c.acc[e] / sum;
        r->out[1].re[n] = sum == 0 ? -INFINITY : max + log(sum);
    }
    return TUFF_OK;
}

static tuff_status attention_reference(tf_ref *r) { return tf_attention_reference(r, 0); }

/* ---- lowering ---------------------------------------------------------------------------------- */

static tuff_tensor expanded(tuff_tensor x, const int64_t *dim)
{
    return tuff_expand(x, (tuff_shape){ .rank = 4, .dim = { dim[0], dim[1], dim[2], dim[3] } });
}

static tf_attention_shape bound_shape(const tuff_graph *g, const tf_type *q, const tf_type *k, const tf_type *v)
{
    return (tf_attention_shape){ .b = tf_dim_bound(g, q->dim[0]), .sq = tf_dim_bound(g, q->dim[1]), .hq = q->dim[2], .dk = q->dim[3],
                                 .sk = tf_dim_bound(g, k->dim[1]), .hk = k->dim[2], .dv = v->dim[3] };
}

static void attention_lower(tf_lower *l)
{
    tuff_graph *g = l->g;
    const tuff_tensor q = l->src[TF_ATT_Q], k = l->src[TF_ATT_K], v = l->src[TF_ATT_V];
    const tf_type qt = *tf_ty(q), kt = *tf_ty(k), vt = *tf_ty(v);
    const int64_t scores[4] = { qt.dim[0], qt.dim[2], qt.dim[1], kt.dim[1] };
    tf_attention_desc d = { .user = *(const tuff_attention_desc *)l->desc };
    tuff_tensor bias = l->src[TF_ATT_BIAS];
    const tuff_tensor mask = l->src[TF_ATT_MASK], block = l->src[TF_ATT_BLOCK];
    if (mask.id) {
        const tuff_dtype t = bias.id ? tf_ty(bias)->dtype : TUFF_F32;
        bias = tuff_where(tf_cast_to(mask, TUFF_BOOL), bias.id ? bias : tuff_literal(g, 0, t), tuff_literal(g, -INFINITY, t));
    }
    d.user.alibi_slopes = l->src[TF_ATT_SLOPES];
    d.user.bias = bias.id ? expanded(bias, scores) : bias;
    d.user.mask = (tuff_tensor){ 0 };
    d.user.block_mask = block;
    if (block.id) {
        const int64_t blocks[4] = { qt.dim[0], qt.dim[2], tf_dim_ceildiv(g, qt.dim[1], d.user.block_q), tf_dim_ceildiv(g, kt.dim[1], d.user.block_kv) };
        d.user.block_mask = expanded(tf_cast_to(block, TUFF_BOOL), blocks);
    }
    d.user.sinks = l->src[TF_ATT_SINKS];
    d.user.q_start = l->src[TF_ATT_Q_START];
    d.user.kv_len = l->src[TF_ATT_KV_LEN];
    tuff_named *inputs = tf_arena_array(&g->arena, tuff_named, d.user.score_input_count + 1);
    for (uint32_t i = 0; inputs && i < d.user.score_input_count; i++)
        inputs[i] = (tuff_named){ d.user.score_inputs[i].name, l->src[TF_ATT_SCORE_INPUTS + i] };
    d.user.score_inputs = inputs;

    const tf_attention_shape shape = bound_shape(g, &qt, &kt, &vt);
    d.splits = l->limits ? (int32_t)tf_attention_choose(l->limits, &shape).splits : 0;
    l->out[0] = tf_add(g, &tf_op_attention_anchor, (tuff_tensor[]){ q, k, v }, 3, &d);
    if (d.splits) {
        const tf_attention_merge_desc merge = { .dtype = qt.dtype };
        l->out[0] = tf_add(g, &tf_op_attention_merge, (tuff_tensor[]){ l->out[0], tuff_result(l->out[0], 1) }, 2, &merge);
    }
    l->out[1] = tuff_result(l->out[0], 1);
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
