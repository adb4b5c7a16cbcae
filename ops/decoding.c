/* decoding.c - what stands around attention when tokens come one or a few at a time: trees of drafts and the test that accepts
 * drafts. The caches are in kv_cache.c. */
#include "anchors.h"

#include <math.h>
#include <string.h>

/* ---- tree_mask ----------------------------------------------------------------------------------- */

/* [b, n] in the anchor _tree_mask, [n] or [b, n] in tree_mask. */
static bool tree_infer(tf_infer *c)
{
    const tf_type *p = c->type[0];
    if (p->rank < 1 || p->rank > 2 || p->dtype != TUFF_I32)
        return tf_bad(c, TUFF_E_SHAPE, "parent needs to be i32 [n] or [b, n] (%s)", tf_src_text(c, 0));
    if (tf_dim_is_dynamic(p->dim[p->rank - 1]))
        return tf_bad(c, TUFF_E_SHAPE, "the number of nodes needs to be fixed (%s)", tf_src_text(c, 0));
    c->n_out = 2;
    c->out[1] = c->out[0] = *p;
    c->out[0].dtype = TUFF_U32;
    c->out[0].dim[c->out[0].rank++] = (p->dim[p->rank - 1] + 31) / 32;
    return true;
}

static tuff_status tree_reference(tf_ref *r)
{
    const tf_ref_tensor *p = r->src[0];
    const int64_t n = p->dim[p->rank - 1], words = (n + 31) / 32;
    for (int64_t i = 0; i < (int64_t)p->n; i++) {
        uint32_t *bits = tf_arena_array(r->scratch, uint32_t, (size_t)words);
        if (!bits)
            return TUFF_E_MEMORY;
        int64_t depth = 0, node = i % n;
        for (; depth <= n; depth++) {
            bits[node / 32] |= UINT32_C(1) << (node % 32);
            const double up = p->re[i / n * n + node];
            if (!(up >= 0 && up < (double)n))
                break;
            node = (int64_t)up;
        }
        for (int64_t w = 0; w < words; w++)
            r->out[0].re[i * words + w] = bits[w];
        r->out[1].re[i] = (double)TF_MIN(depth, n);
    }
    return TUFF_OK;
}

static bool tree_configure(tf_kernel_build *k)
{
    const tf_type *bits = &k->out[0];
    const int64_t count = tf_dim_product(k->g, bits->dim, 0, 3);
    tf_define_dim(k, "BATCH", bits->dim[0]);
    tf_define_dim(k, "N", bits->dim[1]);
    tf_define_dim(k, "WORDS", bits->dim[2]);
    tf_define(k, "WANT_BITS", "%d", k->want[0]);
    tf_define(k, "WANT_DEPTH", "%d", k->want[1]);
    k->source = tf_shader_text("anchors/tree_mask.glsl");
    k->algorithm = "node and word per invocation";
    k->local[0] = 64;
    k->local[1] = k->local[2] = 1;
    k->groups = tf_dim_ceildiv(k->g, count, 64);
    k->flops = (uint64_t)tf_dim_bound(k->g, count) * 16;
    return true;
}

static const tf_anchor tree_anchor = {
    .name = "tree_mask", .loads = { { .name = "parent", .widths = 1, .reread = 16 } }, .stores = { { .name = "bits", .widths = 1 }, { .name = "depth", .widths = 1 } },
    .configure = tree_configure,
};
const tf_op tf_op_tree_anchor = {
    .name = "_tree_mask", .doc = "parent[b,n] -> bits[b,n,ceil(n/32)], depth[b,n]", .operands = "parent", .results = "bits depth", .kind = TF_ANCHOR,
    .internal = true, .infer = tree_infer, .reference = tree_reference, .anchor = &tree_anchor,
};

static void tree_lower(tf_lower *l)
{
    const bool flat = tf_ty(l->src[0])->rank == 1;
    const tuff_tensor parent = flat ? tuff_unsqueeze(l->src[0], TUFF_INTS(0)) : l->src[0];
    const tuff_tensor bits = tf_add(l->g, &tf_op_tree_anchor, &parent, 1, NULL);
    const tuff_squeeze_desc batch = { .axes = TUFF_INTS(0) };
    l->out[0] = flat ? tuff_squeeze(bits, &batch) : bits;
    l->out[1] = flat ? tuff_squeeze(tuff_result(bits, 1), &batch) : tuff_result(bits, 1);
}

const tf_op tf_op_tree_mask = {
    .name = "tree_mask", .doc = "parent[b,n] -> bits u32[b,n,ceil(n/32)] of each node and those before it, depth[b,n]", .source = "tree attention: Miao et al. 2023, arXiv 2305.09781",
    .operands = "parent", .results = "bits depth", .kind = TF_COMPOSITE, .infer = tree_infer, .reference = tree_reference, .lower = tree_lower,
};

tuff_tensor tuff_tree_mask(tuff_tensor parent)
{
    return tf_add(parent.graph, &tf_op_tree_mask, &parent, 1, NULL);
}

/* ---- speculative_verify -------------------------------------------------------------------------- */

enum { P, Q, TOKENS, U };

static bool verify_infer(tf_infer *c)
{
    const tf_type *p = c->type[P], *q = c->type[Q], *tokens = c->type[TOKENS], *u = c->type[U];
    bool ok = p->rank == 3 && q->rank == 3 && tokens->rank == 2 && u->rank == 2;
    for (int32_t a = 0; ok && a < 3; a++)
        ok = tf_dim_equal(p->dim[a], q->dim[a]) && (a == 2 || (tf_dim_equal(p->dim[a], tokens->dim[a]) && tf_dim_equal(p->dim[a], u->dim[a])));
    if (!ok)
        return tf_bad(c, TUFF_E_SHAPE, "p and q need [b, l, vocabulary], tokens and u [b, l] (%s; %s; %s; %s)", tf_src_text(c, P), tf_src_text(c, Q), tf_src_text(c, TOKENS),
                      tf_src_text(c, U));
    if (p->dtype != TUFF_F32 || q->dtype != TUFF_F32 || u->dtype != TUFF_F32 || tokens->dtype != TUFF_I32)
        return tf_bad(c, TUFF_E_DTYPE, "p, q and u need f32, tokens i32 (%s; %s; %s; %s)", tf_src_text(c, P), tf_src_text(c, Q), tf_src_text(c, U), tf_src_text(c, TOKENS));
    if (tf_dim_is_dynamic(p->dim[1]) || tf_dim_least(c->g, p->dim[1]) < 1 || tf_dim_least(c->g, p->dim[2]) < 1)
        return tf_bad(c, TUFF_E_SHAPE, "the number of drafts needs to be fixed, it and the vocabulary at least 1 (%s)", tf_src_text(c, P));
    c->n_out = 2;
    c->out[0] = (tf_type){ .dtype = TUFF_I32, .rank = 1, .dim = { p->dim[0] } };
    c->out[1] = (tf_type){ .dtype = TUFF_F32, .rank = 2, .dim = { p->dim[0], p->dim[2] } };
    return true;
}

static tuff_status verify_reference(tf_ref *r)
{
    const tf_ref_tensor *p = r->src[P], *q = r->src[Q], *tokens = r->src[TOKENS], *u = r->src[U];
    const int64_t drafts = p->dim[1], v = p->dim[2];
    for (int64_t b = 0; b < p->dim[0]; b++) {
        int64_t n = 0;
        for (; n < drafts; n++) {
            const double token = tokens->re[b * drafts + n];
            const int64_t at = (b * drafts + n) * v + (int64_t)(token < 0 ? 0 : token > (double)(v - 1) ? (double)(v - 1) : token);
            if (!(u->re[b * drafts + n] < fmin(1, q->re[at] / p->re[at])))
                break;
        }
        double sum = 0;
        for (int64_t i = 0; n < drafts && i < v; i++)
            sum += fmax(q->re[(b * drafts + n) * v + i] - p->re[(b * drafts + n) * v + i], 0);
        for (int64_t i = 0; sum > 0 && i < v; i++)
            r->out[1].re[b * v + i] = fmax(q->re[(b * drafts + n) * v + i] - p->re[(b * drafts + n) * v + i], 0) / sum;
        r->out[0].re[b] = (double)n;
    }
    return TUFF_OK;
}

/* u p < q is the test without a division: u < 1, p >= 0. */
static void verify_lower(tf_lower *l)
{
    tuff_graph *g = l->g;
    const tf_type t = *tf_ty(l->src[P]);
    const tuff_tensor index = tuff_unsqueeze(l->src[TOKENS], TUFF_INTS(2)), one = tuff_literal(g, 1, TUFF_F32), zero = tuff_literal(g, 0, TUFF_F32);
    const tuff_squeeze_desc last = { .axes = TUFF_INTS(2) };
    const tuff_tensor p = tuff_squeeze(tuff_take_along_axis(l->src[P], index, 2), &last), q = tuff_squeeze(tuff_take_along_axis(l->src[Q], index, 2), &last);
    const tuff_tensor accept = tuff_logical_and(tuff_less(tuff_mul(l->src[U], p), q), tuff_less(l->src[U], one));
    const tuff_tensor place = tuff_iota(g, TUFF_SHAPE(1, t.dim[1]), 1, NULL);
    const tuff_tensor end = tuff_literal(g, (double)t.dim[1], TUFF_I32);
    const tuff_tensor n = tuff_min(tuff_where(accept, end, place), &(tuff_reduce_desc){ .axes = TUFF_INTS(1) });
    const tuff_tensor row = tf_reshaped(n, 3, (int64_t[3]){ t.dim[0], 1, 1 });
    const tuff_tensor more = tuff_maximum(tuff_sub(tuff_take_along_axis(l->src[Q], row, 1), tuff_take_along_axis(l->src[P], row, 1)), zero);
    const tuff_tensor sum = tuff_sum(more, &(tuff_reduce_desc){ .axes = TUFF_INTS(2), .keep = true });
    const tuff_tensor left = tuff_logical_and(tuff_less(row, end), tuff_greater(sum, zero));
    l->out[0] = n;
    l->out[1] = tf_reshaped(tuff_where(left, tuff_div(more, sum), zero), 2, (int64_t[2]){ t.dim[0], t.dim[2] });
}

const tf_op tf_op_speculative_verify = {
    .name = "speculative_verify", .doc = "p[b,l,v], q[b,l,v], tokens[b,l], u[b,l] -> accepted i32[b]: leading tokens with u < q / p, residual[b,v]: max(q - p, 0) of the first rejected, normalised",
    .source = "Leviathan et al. 2022, arXiv 2211.17192", .operands = "p q tokens u", .results = "accepted residual", .kind = TF_COMPOSITE, .infer = verify_infer,
    .reference = verify_reference, .lower = verify_lower, .rel = 8,
};

tuff_tensor tuff_speculative_verify(tuff_tensor p, tuff_tensor q, tuff_tensor tokens, tuff_tensor u)
{
    return tf_add(p.graph, &tf_op_speculative_verify, (tuff_tensor[]){ p, q, tokens, u }, 4, NULL);
}
