/* attention_ref.c - attention in double, from the definition: for each query, every key of its batch or segment is looked up
 * where the layout has it, scored, and weighted. */
#include "attention.h"

#include "graph/userexpr.h"

#include <math.h>
#include <string.h>

typedef struct ref_rows {
    const tf_ref *r;
    const tuff_attention_desc *d;
    const tf_uexpr *score;
    const tf_ref_tensor **lookups;
    tf_scalar *scratch;
    double value[TF_SCORE_INPUTS]; /* s b h q k of the score being computed */
    double scale;
    bool packed_q, packed_k;
    int64_t tokens, batches, capacity; /* queries in memory; batches or segments; keys a batch has room for */
    int64_t hq, hk, dk, dv;
    int64_t b, h, token0, queries, key0, len, shift; /* of the row being computed: where its queries and keys lie */
    double *logit, *acc;           /* [capacity], [dv] */
} ref_rows;

static int64_t clamped(double x, int64_t lo, int64_t hi)
{
    return x < (double)lo ? lo : x > (double)hi ? hi : (int64_t)x;
}

static tf_scalar ref_name(void *user, uint32_t name)
{
    const ref_rows *c = user;
    return (tf_scalar){ name < TF_SCORE_INPUTS ? c->value[name] : c->r->src[TF_ATT_SCORE_INPUTS + name - TF_SCORE_INPUTS]->re[0], 0 };
}

/* Element at coordinates, where a dim of 1 stands for all. */
static double broadcast_at(const tf_ref_tensor *t, const int64_t *at)
{
    int64_t index = 0;
    for (int32_t a = 0; a < t->rank; a++)
        index = index * t->dim[a] + (t->dim[a] == 1 ? 0 : at[a]);
    return t->re[index];
}

/* Channel e of key j in operand x (k or v), dequantised. */
static double key_at(const ref_rows *c, uint32_t x, int64_t j, int64_t e)
{
    const tf_ref *r = c->r;
    const tf_ref_tensor *t = r->src[x], *pages = r->src[TF_ATT_PAGES];
    const tf_ref_tensor *scale = r->src[x == TF_ATT_K ? TF_ATT_K_SCALE : TF_ATT_V_SCALE];
    const tf_ref_tensor *zero = r->src[x == TF_ATT_K ? TF_ATT_K_ZERO : TF_ATT_V_ZERO];
    int64_t at[4] = { c->b, j, c->h / (c->hq / c->hk), e };
    if (pages) {
        const int64_t page = t->dim[1];
        at[0] = clamped(pages->re[c->b * pages->dim[1] + j / page], 0, t->dim[0] - 1);
        at[1] = j % page;
    } else if (c->packed_k) {
        at[0] = 0;
        at[1] = c->key0 + j;
    }
    int64_t *first = at + (4 - t->rank); /* packed keys of the public row have no batch */
    const double code = t->re[((at[0] * t->dim[t->rank - 3] + at[1]) * c->hk + at[2]) * t->dim[t->rank - 1] + e];
    if (!scale)
        return code;
    first[t->rank - 1] = c->d->group ? e / c->d->group : 0;
    return (code - (zero ? broadcast_at(zero, first) : 0)) * broadcast_at(scale, first);
}

static bool excluded(const ref_rows *c, int64_t i, int64_t j)
{
    const tf_ref *r = c->r;
    const tuff_attention_desc *d = c->d;
    const tf_ref_tensor *tree = r->src[TF_ATT_TREE];
    const int64_t p = i + c->shift, at[4] = { c->b, c->h, i, j };
    if (d->window_left && j <= p - d->window_left)
        return true;
    if ((d->causal && j > p) || (d->window_right && j >= p + d->window_right))
        return true;
    if (r->src[TF_ATT_MASK] && broadcast_at(r->src[TF_ATT_MASK], at) == 0)
        return true;
    if (r->src[TF_ATT_BLOCK]) {
        const int64_t block[4] = { c->b, c->h, i / d->block_q, j / d->block_kv };
        if (broadcast_at(r->src[TF_ATT_BLOCK], block) == 0)
            return true;
    }
    const int64_t t = j - (c->len - c->queries);
    if (tree && t >= 0) {
        const int64_t words = tree->dim[tree->rank - 1], word[3] = { c->packed_q ? 0 : c->b, c->token0 + i, t / 32 };
        return t / 32 >= words || ((uint32_t)broadcast_at(tree, word + (3 - tree->rank)) >> (t % 32) & 1) == 0;
    }
    return false;
}

/* Logit of key j for query i, -inf when it is excluded. */
static double ref_logit(ref_rows *c, int64_t i, int64_t j)
{
    const tf_ref *r = c->r;
    const tuff_attention_desc *d = c->d;
    const int64_t p = i + c->shift, at[4] = { c->b, c->h, i, j };
    const double bias = r->src[TF_ATT_BIAS] ? broadcast_at(r->src[TF_ATT_BIAS], at) : 0;
    if (excluded(c, i, j) || bias == -INFINITY)
        return -INFINITY;
    const int64_t token = c->packed_q ? c->token0 + i : c->b * c->queries + i;
    const double *x = r->src[TF_ATT_Q]->re + (token * c->hq + c->h) * c->dk;
    double s = 0;
    for (int64_t e = 0; e < c->dk; e++)
        s += x[e] * key_at(c, TF_ATT_K, j, e);
    s *= c->scale;
    if (c->score) {
        const double value[TF_SCORE_INPUTS] = { s, (double)c->b, (double)c->h, (double)p, (double)j };
        memcpy(c->value, value, sizeof value);
        const tf_ueval env = { .user = c, .value = ref_name, .tensor = c->lookups, .scratch = c->scratch };
        s = tf_uexpr_eval(c->score, &env).re;
        if (s == -INFINITY)
            return s;
    }
    if (d->softcap > 0)
        s = d->softcap * tanh(s / d->softcap);
    if (r->src[TF_ATT_SLOPES])
        s -= r->src[TF_ATT_SLOPES]->re[c->h] * fabs((double)(p - j));
    return s + bias;
}

/* Query i over keys [first, end): unnormalised sum in acc, the sum of weights relative to *max. */
static double ref_row(ref_rows *c, int64_t i, int64_t first, int64_t end, bool sink, double *max)
{
    const double sink_logit = sink ? c->r->src[TF_ATT_SINKS]->re[c->h] : -INFINITY;
    *max = sink_logit;
    for (int64_t j = first; j < end; j++) {
        c->logit[j] = ref_logit(c, i, j);
        if (c->logit[j] > *max)
            *max = c->logit[j];
    }
    memset(c->acc, 0, (size_t)c->dv * sizeof *c->acc);
    double sum = sink && sink_logit != -INFINITY ? exp(sink_logit - *max) : 0;
    for (int64_t j = first; j < end; j++) {
        if (c->logit[j] == -INFINITY)
            continue;
        const double w = exp(c->logit[j] - *max);
        sum += w;
        for (int64_t e = 0; e < c->dv; e++)
            c->acc[e] += w * key_at(c, TF_ATT_V, j, e);
    }
    return sum;
}

static bool ref_open(ref_rows *c, tf_ref *r)
{
    const tuff_attention_desc *d = r->desc;
    const tf_ref_tensor *q = r->src[TF_ATT_Q], *k = r->src[TF_ATT_K], *cu_q = r->src[TF_ATT_CU_Q], *pages = r->src[TF_ATT_PAGES];
    const char *message;
    *c = (ref_rows){ .r = r, .d = d, .packed_q = cu_q != NULL, .packed_k = r->src[TF_ATT_CU_KV] != NULL };
    c->hq = q->dim[q->rank - 2];
    c->dk = q->dim[q->rank - 1];
    c->hk = k->dim[k->rank - 2];
    c->dv = r->src[TF_ATT_V]->dim[k->rank - 1];
    c->tokens = c->packed_q ? q->dim[q->rank - 3] : q->dim[0] * q->dim[1];
    c->batches = cu_q ? cu_q->dim[0] - 1 : q->dim[0];
    c->capacity = pages ? pages->dim[1] * k->dim[1] : k->dim[k->rank - 3];
    c->scale = d->scale != 0 ? (double)d->scale : 1 / sqrt((double)c->dk);
    c->logit = tf_arena_array(r->scratch, double, (size_t)c->capacity + 1);
    c->acc = tf_arena_array(r->scratch, double, (size_t)c->dv + 1);
    if (!c->logit || !c->acc)
        return false;
    if (!d->score)
        return true;
    const tf_type **type = tf_arena_array(r->scratch, const tf_type *, d->score_input_count + 1);
    c->lookups = tf_arena_array(r->scratch, const tf_ref_tensor *, (size_t)TF_SCORE_INPUTS + d->score_input_count);
    for (uint32_t i = 0; type && c->lookups && i < d->score_input_count; i++) {
        type[i] = tf_type_of(r->g, r->node->src[TF_ATT_SCORE_INPUTS + i]);
        c->lookups[TF_SCORE_INPUTS + i] = type[i]->rank ? r->src[TF_ATT_SCORE_INPUTS + i] : NULL;
    }
    c->score = type && c->lookups ? tf_attention_parse_score(r->scratch, d, type, &message) : NULL;
    c->scratch = c->score ? tf_arena_array(r->scratch, tf_scalar, c->score->n) : NULL;
    return c->scratch != NULL;
}

/* Where batch or segment b has its queries and keys; the segment behind the last one has no keys. */
static void ref_batch(ref_rows *c, int64_t b)
{
    const tf_ref *r = c->r;
    const tf_ref_tensor *cu_q = r->src[TF_ATT_CU_Q], *cu_kv = r->src[TF_ATT_CU_KV];
    const tf_ref_tensor *kv_len = r->src[TF_ATT_KV_LEN], *start = r->src[TF_ATT_Q_START];
    const bool owned = b < c->batches;
    c->b = b;
    c->token0 = cu_q ? clamped(cu_q->re[b], 0, c->tokens) : 0;
    c->queries = !cu_q ? r->src[TF_ATT_Q]->dim[1] : (owned ? clamped(cu_q->re[b + 1], c->token0, c->tokens) : c->tokens) - c->token0;
    c->len = owned ? c->capacity : 0;
    if (c->packed_k && owned) {
        c->key0 = clamped(cu_kv->re[b], 0, c->capacity);
        c->len = clamped(cu_kv->re[b + 1], c->key0, c->capacity) - c->key0;
    }
    if (kv_len && owned)
        c->len = clamped(kv_len->re[b], 0, c->len);
    c->shift = start && owned ? (int64_t)start->re[b] : c->d->causal_align == TUFF_CAUSAL_TOP_LEFT ? 0 : c->len - c->queries;
}

tuff_status tf_attention_reference(tf_ref *r, int32_t parts)
{
    ref_rows c;
    if (!ref_open(&c, r))
        return TUFF_E_MEMORY;
    const int64_t rows_per_part = c.tokens * c.hq;
    for (int64_t part = 0; part < TF_MAX(parts, 1); part++)
        for (int64_t b = 0; b < c.batches + c.packed_q; b++) {
            ref_batch(&c, b);
            const int64_t first = parts ? c.len * part / parts : 0, end = parts ? c.len * (part + 1) / parts : c.len;
            for (int64_t n = 0; n < c.hq * c.queries; n++) {
                const int64_t i = n % c.queries, token = c.packed_q ? c.token0 + i : b * c.queries + i;
                c.h = n / c.queries;
                double max;
                const double sum = ref_row(&c, i, first, end, part == 0 && r->src[TF_ATT_SINKS], &max);
                double *o = r->out[0].re + (part * rows_per_part + token * c.hq + c.h) * c.dv;
                for (int64_t e = 0; e < c.dv; e++)
                    o[e] = sum == 0 ? 0 : c.acc[e] / sum;
                const int64_t row = c.packed_q ? c.h * c.tokens + token : (b * c.hq + c.h) * c.queries + i;
                r->out[1].re[part * rows_per_part + row] = sum == 0 ? -INFINITY : max + log(sum);
            }
        }
    return TUFF_OK;
}
