/* attention_kernels.c - the kernels of attention: _attention, one pass with online softmax, and attention_merge.
 *
 * Which template runs, and with what sizes, is a pure function of shapes and limits (tf_attention_choose). Drivers that
 * run on a CPU have many registers, cheap arithmetic and dear loads, shared memory and barriers: rows in registers, keys
 * passed between lanes. Others get tiles in shared memory, and few rows everywhere get the decoding kernel. */
#include "attention.h"

#include "anchors.h"

#include <math.h>
#include <string.h>

/* ---- choice ------------------------------------------------------------------------------------ */


static int64_t ceildiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

tf_attention_shape tf_attention_shape_of(const tuff_graph *g, const tf_type *const *type, tuff_dtype dtype)
{
    const tf_type *q = type[TF_ATT_Q], *k = type[TF_ATT_K], *cu_q = type[TF_ATT_CU_Q];
    tf_attention_shape s = { .b = tf_dim_bound(g, q->dim[0]), .sq = tf_dim_bound(g, q->dim[1]), .hq = q->dim[2], .dk = q->dim[3],
                             .sk = tf_dim_bound(g, k->dim[1]), .hk = k->dim[2], .dv = type[TF_ATT_V]->dim[3] };
    s.longest = s.sk;
    s.halves = q->dtype == TUFF_F16 && k->dtype == TUFF_F16 && type[TF_ATT_V]->dtype == TUFF_F16;
    s.wide = (dtype ? dtype : q->dtype) == TUFF_F32;
    if (cu_q) {
        s.b = TF_MAX(tf_dim_bound(g, cu_q->dim[0]) - 1, 1);
        s.sq = ceildiv(s.sq, s.b);
    }
    if (type[TF_ATT_CU_KV])
        s.sk = ceildiv(s.sk, s.b);
    return s;
}

enum { CACHES = 1 << 23 }; /* elements of K and V beyond a CPU's caches */

/* Key heads of one CHANNELS workgroup on a CPU: with all heads of a key before the next key memory is read in order, which
 * caches and their prefetchers need. Each head is more code that takes long to compile, so keys in a core's own cache are not
 * worth it, and only keys beyond all caches are worth much of it. */
static uint32_t heads_in_order(const tf_attention_shape *s, uint32_t lanes, uint32_t rows)
{
    const int64_t slots = ceildiv(TF_MAX(s->dk, s->dv), 4 * (int64_t)lanes), elements = s->longest * s->hk * (s->dk + s->dv);
    const int64_t own = INT64_C(1) << 19, sites = elements >= CACHES ? 32 : 16;
    uint32_t heads = 1;
    if (elements < own)
        return 1;
    while (s->hk % (2 * heads) == 0 && 2 * heads * rows <= lanes && 2 * heads * rows * slots <= 32 && 2 * heads * slots <= sites)
        heads *= 2;
    return heads == s->hk ? heads : 1;
}

enum { KEYS_OWN = 4, KEYS_FLOATS = 4096 }; /* KEYS: keys of a lane per step; elements of q and o, large arrays take long to compile */

/* Few rows, a key per lane: a load reads as many places of memory at once as there are lanes. That pays where the driver's compiler tells
 * loads of one address from others, since it makes one instruction of these; and for keys beyond all caches whose heads
 * CHANNELS cannot take in order, where it is memory that counts. */
static bool choose_keys(tf_attention_choice *c, const tf_limits *l, const tf_attention_shape *s, uint32_t lanes, int64_t rows)
{
    const int64_t floats = s->dk + s->dv;
    if (!l->cpu || rows > 4 || (lanes != 4 && lanes != 8 && lanes != 16))
        return false;
    if (!l->uniform_loads && (lanes < 8 || s->longest * s->hk * floats < CACHES || heads_in_order(s, lanes, tf_pow2_ceil((uint64_t)rows)) == s->hk))
        return false;
    c->kernel = TF_ATT_KEYS;
    c->lanes = lanes;
    c->rows = (uint32_t)rows;
    c->pack = (uint32_t)(s->hq / s->hk);
    c->keys = KEYS_OWN * lanes;
    c->wide = tf_emit_octets(l) && lanes >= 8 && s->dk % lanes == 0 && s->dv % lanes == 0 ? 2 : 1;
    c->heads = (uint32_t)s->hk;
    for (int64_t n = 2; c->heads > 1 && c->heads * rows * floats > KEYS_FLOATS; n++)
        if (s->hk % n == 0)
            c->heads = (uint32_t)(s->hk / n);
    return true;
}

enum { MATRIX_KEYS = 32 };

/* The arrays of attention_matrices.glsl. */
static uint32_t matrix_bytes(const tf_limits *l, const tf_attention_shape *s, uint32_t subgroups)
{
    const uint32_t k = l->coopmat.k, n = l->coopmat.n, rows = subgroups * l->coopmat.m;
    const uint32_t q_line = (uint32_t)ceildiv(s->dk, k) * k / 8 + 1, v_line = (uint32_t)ceildiv(s->dv, n) * n / 8 + 1;
    const uint32_t s_line = MATRIX_KEYS / 4 + 1, p_line = MATRIX_KEYS / 8 + 1;
    return 16 * (rows * (q_line + (s->wide ? 2 : 1) * p_line + s_line + n / 4) + MATRIX_KEYS * TF_MAX(q_line, v_line)) + 4 * subgroups * l->subgroup_size;
}

/* Query rows by cooperative matrices; false: they are too few, need more than halves, or do not fit. */
static bool choose_matrices(tf_attention_choice *c, const tf_limits *l, const tf_attention_shape *s)
{
    const tf_matrices size = l->coopmat;
    const int64_t group = s->hq / s->hk;
    uint32_t subgroups = 4;
    if (!size.m || !s->halves || group * s->sq < size.m || s->dv > 256 || size.n > MATRIX_KEYS || size.k > MATRIX_KEYS || l->subgroup_size % size.m ||
        l->subgroup_size / size.m > MATRIX_KEYS / 4)
        return false;
    while (subgroups > 1 && subgroups / 2 * size.m >= group * s->sq)
        subgroups /= 2;
    while (subgroups && (matrix_bytes(l, s, subgroups) > l->shared_bytes || subgroups * l->subgroup_size > l->max_invocations))
        subgroups /= 2;
    if (!subgroups)
        return false;
    c->kernel = TF_ATT_MATRICES;
    c->keys = MATRIX_KEYS;
    c->rows = subgroups * size.m;
    c->lanes = subgroups * l->subgroup_size;
    c->pack = s->sq < c->rows ? (uint32_t)group : 1;
    return true;
}

static void choose_kernel(tf_attention_choice *c, const tf_limits *l, const tf_attention_shape *s)
{
    const uint32_t lanes = tf_shuffle_lanes(l);
    const int64_t group = s->hq / s->hk, rows = group * s->sq, widest = TF_MAX(s->dk, s->dv);
    c->heads = c->wide = 1;
    if (choose_keys(c, l, s, lanes, rows)) {
        return;
    } else if (lanes && rows <= 4 && widest <= (l->cpu ? 32 : 16) * (int64_t)lanes) {
        c->kernel = TF_ATT_CHANNELS;
        c->lanes = lanes;
        c->rows = tf_pow2_ceil((uint64_t)rows);
        c->pack = (uint32_t)group;
        c->heads = l->cpu ? heads_in_order(s, lanes, c->rows) : 1;
        c->keys = lanes / c->rows / c->heads;
        c->wide = tf_emit_octets(l) && c->heads == s->hk && s->dk % (8 * (int64_t)lanes) == 0 && s->dv % (8 * (int64_t)lanes) == 0 ? 2 : 1;
    } else if (choose_matrices(c, l, s)) {
        return;
    } else if (l->cpu) {
        c->kernel = TF_ATT_ROWS;
        c->shuffle = lanes == 4 || lanes == 8 || lanes == 16;
        c->lanes = c->shuffle ? lanes : 16;
        c->keys = c->shuffle ? lanes : 4;
        c->pack = s->sq < 2 * (int64_t)c->lanes ? (uint32_t)group : 1;
        c->rows = c->pack * s->sq >= 2 * (int64_t)c->lanes && widest <= 256 ? 2 : 1;
    } else {
        c->kernel = TF_ATT_TILES;
        c->keys = 32;
        c->pack = s->sq < 32 ? (uint32_t)group : 1;
        c->rows = c->pack * s->sq > 16 && s->dv <= 256 ? 2 : 1;
        c->lanes = 128;
    }
}

/* KEYS: blocks of channels per trip. */
static uint32_t keys_turn(const tf_attention_choice *c) { return 2 / c->wide; }

static int64_t tile_of(const tf_attention_choice *c)
{
    return c->kernel == TF_ATT_ROWS ? (int64_t)c->lanes * c->rows : c->kernel == TF_ATT_TILES ? 16 * (int64_t)c->rows : (int64_t)c->rows;
}

/* Parts that fill the device, or that keep a workgroup within the driver's loop trips. 0: one part. */
static uint32_t choose_splits(const tf_attention_choice *c, const tf_limits *l, const tf_attention_shape *s)
{
    const int64_t tile = tile_of(c);
    const int64_t groups = ceildiv(c->pack * s->sq, tile) * (s->hq / c->pack / c->heads) * TF_MAX(s->b, 1), wanted = 2 * (int64_t)tf_units(l);
    int64_t splits = 1;
    if (groups < wanted)
        splits = TF_MIN(TF_MIN(ceildiv(wanted, groups), ceildiv(s->sk, 256)), 64);
    if (l->cpu) {
        const int64_t block = keys_turn(c) * (int64_t)c->lanes;
        const int64_t trips = c->kernel == TF_ATT_ROWS ? ceildiv(s->dk, 4) + ceildiv(s->dv, 4) + c->keys + 1
                            : c->kernel == TF_ATT_KEYS ? c->heads * (ceildiv(s->dk, block) + ceildiv(s->dv, block) + c->rows * (KEYS_OWN + 1) + 1) + 1
                                                       : 2 * (int64_t)c->keys + 1;
        const bool in_turn = c->kernel == TF_ATT_CHANNELS && s->hk > c->heads;
        splits = TF_MAX(splits, ceildiv(s->longest, in_turn ? 512 : TF_CPU_TRIPS / trips * c->keys)); /* 512: keys of all heads stay in cache */
    }
    return splits > 1 ? (uint32_t)TF_MIN(splits, 4096) : 0;
}

tf_attention_choice tf_attention_choose(const tf_limits *limits, const tf_attention_shape *shape)
{
    tf_attention_choice c = { 0 };
    choose_kernel(&c, limits, shape);
    c.splits = choose_splits(&c, limits, shape);
    return c;
}

/* ---- configuration ----------------------------------------------------------------------------- */

static const char *const load_names[TF_ATT_LOADS] = {
    [TF_ATT_Q] = "q", [TF_ATT_K] = "k", [TF_ATT_V] = "v", [TF_ATT_SLOPES] = "slopes", [TF_ATT_BIAS] = "bias", [TF_ATT_MASK] = "mask",
    [TF_ATT_BLOCK] = "block", [TF_ATT_SINKS] = "sinks", [TF_ATT_Q_START] = "q_start", [TF_ATT_KV_LEN] = "kv_len",
    [TF_ATT_TREE] = "tree", [TF_ATT_CU_Q] = "cu_q", [TF_ATT_CU_KV] = "cu_kv",
};

static void define_problem(tf_kernel_build *k, const tf_attention_desc *d, const tf_attention_choice *c)
{
    const tuff_attention_desc *u = &d->user;
    const tf_type *q = k->src[TF_ATT_Q], *key = k->src[TF_ATT_K];
    const bool natural = u->softcap > 0 || u->score;
    const double scale = u->scale != 0 ? (double)u->scale : 1 / sqrt((double)q->dim[3]);
    const int32_t farthest = INT32_C(1) << 30; /* a position plus a window stays below 2^31 */
    const int32_t left = TF_MIN(u->window_left, farthest), right = u->causal ? 1 : TF_MIN(u->window_right, farthest);
    const tf_type *cu_q = k->src[TF_ATT_CU_Q], *tree = k->src[TF_ATT_TREE];
    const bool has_block = k->src[TF_ATT_BLOCK] != NULL;
    tf_define(k, "PACKED_Q", "%d", cu_q != NULL);
    tf_define(k, "PACKED_KV", "%d", k->src[TF_ATT_CU_KV] != NULL);
    if (cu_q) {
        tf_define_dim(k, "SEGMENTS", tf_dim_bin(k->g, TUFF_DIM_SUB, cu_q->dim[0], 1));
        tf_define_dim(k, "TOKENS", q->dim[1]);
    } else {
        tf_define_dim(k, "BATCH", q->dim[0]);
        tf_define_dim(k, "SQ", q->dim[1]);
    }
    tf_define(k, "HAS_TREE", "%d", tree != NULL);
    tf_define(k, "TREE_WORDS", "%d", tree ? (int)tree->dim[2] : 0);
    tf_define(k, "TILE", "%d", (int)tile_of(c));
    tf_define(k, "SKIP_BLOCKS", "%d", has_block && c->pack == 1 && u->block_q >= tile_of(c) && u->block_kv >= (int32_t)c->keys);
    tf_define_dim(k, "SK", key->dim[1]);
    tf_define_dim(k, "HQ", q->dim[2]);
    tf_define_dim(k, "HK", key->dim[2]);
    tf_define_dim(k, "DK", q->dim[3]);
    tf_define_dim(k, "DV", k->src[TF_ATT_V]->dim[3]);
    tf_define(k, "SCALE", "%.9e", natural ? scale : scale * 1.4426950408889634);
    tf_define(k, "NATURAL", "%d", natural);
    tf_define(k, "TOP_LEFT", "%d", u->causal_align == TUFF_CAUSAL_TOP_LEFT);
    tf_define(k, "LEFT", "%d", (int)left);
    tf_define(k, "RIGHT", "%d", (int)right);
    if (u->softcap > 0)
        tf_define(k, "CAPPED(s)", "(%.9e * tf_tanh((s) * %.9e))", (double)u->softcap, 1 / (double)u->softcap);
    tf_define(k, "HAS_SCORE", "%d", u->score != NULL);
    tf_define(k, "HAS_SLOPES", "%d", k->src[TF_ATT_SLOPES] != NULL);
    tf_define(k, "HAS_BIAS", "%d", k->src[TF_ATT_BIAS] != NULL);
    tf_define(k, "HAS_MASK", "%d", k->src[TF_ATT_MASK] != NULL);
    tf_define(k, "HAS_BLOCK", "%d", has_block);
    tf_define(k, "HAS_SINKS", "%d", k->src[TF_ATT_SINKS] != NULL);
    tf_define(k, "HAS_Q_START", "%d", k->src[TF_ATT_Q_START] != NULL);
    tf_define(k, "HAS_KV_LEN", "%d", k->src[TF_ATT_KV_LEN] != NULL);
    tf_define(k, "BLOCK_Q", "%d", TF_MAX(u->block_q, 1));
    tf_define(k, "BLOCK_KV", "%d", TF_MAX(u->block_kv, 1));
    tf_define(k, "SPLITS", "%d", (int)d->splits);
    tf_define(k, "PACK", "%u", c->pack);
    tf_define(k, "HEADS", "%u", c->heads);
    tf_define(k, "LANES", "%u", c->lanes);
    tf_define(k, "ROWS", "%u", c->rows);
    tf_define(k, "KEYS", "%u", c->keys);
    tf_define(k, "WIDE", "%u", c->wide);
    tf_define(k, "TURN", "%u", keys_turn(c));
    tf_define(k, "SHUFFLE", "%d", c->shuffle);
    tf_define(k, "WANT_O", "%d", k->want[0]);
    tf_define(k, "WANT_LSE", "%d", k->want[1]);
}

/* Keys whose logits are finished per trip in ROWS: long code appears once per row and key of it. 0: short code, all at once. */
static uint32_t step_of(const tf_kernel_build *k, const tf_attention_desc *d, const tf_attention_choice *c)
{
    const bool ragged_blocks = k->src[TF_ATT_BLOCK] && d->user.block_kv % (int32_t)c->keys;
    return d->user.score ? 1 : k->src[TF_ATT_BIAS] || k->src[TF_ATT_TREE] || d->user.softcap > 0 || ragged_blocks ? 4 : 0;
}

static void choose_hooks(tf_kernel_build *k, const tf_attention_choice *c, uint32_t step, int64_t tiles)
{
    const bool quads = c->kernel == TF_ATT_ROWS && step == 4;
    for (uint32_t i = 0; i < TF_ATT_LOADS; i++) {
        k->loads[i] = (tf_hook){ .name = k->src[i] ? load_names[i] : NULL, .widths = 1 };
        if (i <= TF_ATT_V || (i == TF_ATT_BIAS && quads))
            k->loads[i].widths = 4;
    }
    if (c->wide == 2)
        k->loads[TF_ATT_K].widths = k->loads[TF_ATT_V].widths = 8;
    k->loads[TF_ATT_Q].reread = c->kernel == TF_ATT_TILES ? 255 : 0;
    k->loads[TF_ATT_K].reread = k->loads[TF_ATT_V].reread = (uint8_t)TF_MIN(tiles - 1, 255);
    k->stores[0] = (tf_hook){ .name = "o", .widths = 4 };
    k->stores[1] = (tf_hook){ .name = "lse", .widths = 1 };
}

static void use_matrices(tf_kernel_build *k, const tf_attention_shape *s, const tf_attention_choice *c)
{
    const tf_limits *l = k->limits;
    tf_define(k, "CM", "%u", l->coopmat.m);
    tf_define(k, "CN", "%u", l->coopmat.n);
    tf_define(k, "CK", "%u", l->coopmat.k);
    tf_define(k, "PAIRS", "%d", s->wide);
    tf_define(k, "STEP_LOOP", "%s", l->cpu ? "[[dont_unroll]]" : "[[unroll]]");
    k->need_matrices = true;
    k->subgroup_size = l->subgroup_size;
    k->shared_bytes = matrix_bytes(l, s, c->rows / l->coopmat.m);
}

static bool configure(tf_kernel_build *k)
{
    static const struct { const char *source, *algorithm; } kernels[] = {
        [TF_ATT_ROWS] = { "anchors/attention_rows.glsl", "query row per lane" },
        [TF_ATT_KEYS] = { "anchors/attention_keys.glsl", "key per lane" },
        [TF_ATT_CHANNELS] = { "anchors/attention_channels.glsl", "channels of a key over lanes" },
        [TF_ATT_TILES] = { "anchors/attention_tiles.glsl", "tiles in shared memory" },
        [TF_ATT_MATRICES] = { "anchors/attention_matrices.glsl", "cooperative matrices" },
    };
    const tf_attention_desc *d = k->desc;
    const tf_type *q = k->src[TF_ATT_Q], *key = k->src[TF_ATT_K], *cu_q = k->src[TF_ATT_CU_Q];
    const tf_attention_shape s = tf_attention_shape_of(k->g, k->src, d->user.dtype);
    const tf_attention_choice c = tf_attention_choose(k->limits, &s);
    const uint32_t tile = (uint32_t)tile_of(&c);
    const uint32_t step = step_of(k, d, &c);
    define_problem(k, d, &c);
    tf_define(k, "STEP", "%u", step);

    const char *common = tf_shader_text("anchors/attention.glsl"), *own = tf_shader_text(kernels[c.kernel].source);
    k->source = tf_arena_printf(&k->g->arena, "%s%s", common, own);
    k->algorithm = kernels[c.kernel].algorithm;
    k->local[0] = c.lanes;
    k->local[1] = k->local[2] = 1;
    const bool lanes = c.kernel == TF_ATT_KEYS || c.kernel == TF_ATT_CHANNELS || c.shuffle;
    k->need_subgroup_shuffle = lanes;
    k->subgroup_size = lanes && k->limits->subgroup_control ? c.lanes : 0;
    if (c.kernel == TF_ATT_MATRICES)
        use_matrices(k, &s, &c);
    else
        k->shared_bytes = c.kernel == TF_ATT_TILES ? tile * (9 * 16 + 33 * 4 + 8 * 4) + 32 * 9 * 16 : 0;

    const int64_t rows = tf_dim_bin(k->g, TUFF_DIM_MUL, q->dim[1], c.pack);
    int64_t tiles = tf_dim_ceildiv(k->g, rows, tile);
    if (cu_q) /* as the kernel counts them: one more for each segment and for what lies behind the last */
        tiles = tf_dim_bin(k->g, TUFF_DIM_ADD, tf_dim_bin(k->g, TUFF_DIM_FLOORDIV, rows, tile), cu_q->dim[0]);
    const int64_t groups = tf_dim_bin(k->g, TUFF_DIM_MUL, tf_dim_bin(k->g, TUFF_DIM_MUL, tiles, q->dim[0]), q->dim[2] / c.pack / c.heads);
    k->groups = tf_dim_bin(k->g, TUFF_DIM_MUL, groups, TF_MAX(d->splits, 1));
    k->flops = 2 * (uint64_t)(s.b * s.hq * s.sq) * (uint64_t)(s.sk * (s.dk + s.dv)) / (d->user.causal ? 2 : 1);
    choose_hooks(k, &c, step, tf_dim_bound(k->g, tiles));
    k->score = d->user.score != NULL;
    const int64_t dims[4] = { cu_q ? cu_q->dim[0] : q->dim[0], q->dim[2], INT32_MAX, key->dim[1] };
    memcpy(k->score_dim, dims, sizeof dims);
    return true;
}

/* ---- _attention -------------------------------------------------------------------------------- */

static bool anchor_infer(tf_infer *c)
{
    const tf_attention_desc *d = c->desc;
    if (!tf_attention_infer(c))
        return false;
    if (!d->splits)
        return true;
    const tf_type o = c->out[0], lse = c->out[1];
    c->out[0] = (tf_type){ .dtype = TUFF_F32, .rank = 5, .dim = { d->splits, o.dim[0], o.dim[1], o.dim[2], o.dim[3] } };
    c->out[1] = (tf_type){ .dtype = TUFF_F32, .rank = 4, .dim = { d->splits, lse.dim[0], lse.dim[1], lse.dim[2] } };
    return true;
}

static tuff_status anchor_reference(tf_ref *r) { return tf_attention_reference(r, ((const tf_attention_desc *)r->desc)->splits); }

static const tf_attr anchor_attrs[] = {
    TF_ATTENTION_ATTRS,
    TF_A(tf_attention_desc, splits, TF_ATTR_INT, "parts each row's keys are divided into; 0: whole rows", .max = 4096),
};

static const tf_anchor attention_anchor = {
    .name = "attention",
    .loads = { { .name = "q", .widths = 4 }, { .name = "k", .widths = 12, .reread = 7 }, { .name = "v", .widths = 12, .reread = 7 }, { .name = "slopes", .widths = 1, .reread = 1 }, { .name = "bias", .widths = 5 }, { .name = "mask", .widths = 1 }, { .name = "block", .widths = 1, .reread = 1 },
               { .name = "sinks", .widths = 1, .reread = 1 }, { .name = "q_start", .widths = 1, .reread = 1 }, { .name = "kv_len", .widths = 1, .reread = 1 }, { .name = "tree", .widths = 1, .reread = 8 }, { .name = "cu_q", .widths = 1, .reread = 1 }, { .name = "cu_kv", .widths = 1, .reread = 1 } },
    .stores = { { .name = "o", .widths = 4 }, { .name = "lse", .widths = 1 } },
    .configure = configure,
    .score = tf_attention_score,
};

const tf_op tf_op_attention_anchor = {
    .name = "_attention",
    .doc = "attention in one kernel; with splits: f32 parts o[splits,b,sq,hq,dv], lse[splits,b,hq,sq]",
    .operands = "q k v",
    .results = "o lse",
    .kind = TF_ANCHOR,
    .internal = true,
    .attrs = anchor_attrs,
    .attr_count = TF_COUNT(anchor_attrs),
    .desc_size = sizeof(tf_attention_desc),
    .infer = anchor_infer,
    .reference = anchor_reference,
    .anchor = &attention_anchor,
    .rel = 8,
};

/* ---- attention_merge -------------------------------------------------------------------------- */

static bool merge_infer(tf_infer *c)
{
    const tf_type *o = c->type[0], *lse = c->type[1];
    const tuff_attention_merge_desc *d = c->desc;
    const tuff_dtype dtype = d->dtype ? d->dtype : TUFF_F32;
    if (o->rank != 5 || lse->rank != 4)
        return tf_bad(c, TUFF_E_SHAPE, "o needs [part, batch, token, head, channel], lse [part, batch, head, token] (%s)", tf_src_text(c, 0));
    if ((o->dtype != TUFF_F32 && o->dtype != TUFF_F16 && o->dtype != TUFF_BF16) || lse->dtype != TUFF_F32)
        return tf_bad(c, TUFF_E_DTYPE, "o needs f32, f16 or bf16, lse needs f32 (%s, %s)", tf_src_text(c, 0), tf_src_text(c, 1));
    if (dtype != TUFF_F32 && dtype != TUFF_F16 && dtype != TUFF_BF16)
        return tf_bad(c, TUFF_E_ATTRIBUTE, "dtype is %s, it needs f32, f16 or bf16", tuff_dtype_name(dtype));
    const int64_t want[4] = { o->dim[0], o->dim[1], o->dim[3], o->dim[2] };
    for (int32_t a = 0; a < 4; a++)
        if (!tf_dim_equal(lse->dim[a], want[a]))
            return tf_bad(c, TUFF_E_SHAPE, "lse does not fit o (%s, %s)", tf_src_text(c, 0), tf_src_text(c, 1));
    if (tf_dim_is_dynamic(o->dim[3]) || tf_dim_is_dynamic(o->dim[4]))
        return tf_bad(c, TUFF_E_SHAPE, "heads and channels of o need fixed sizes (%s)", tf_src_text(c, 0));
    c->n_out = 2;
    c->out[0] = (tf_type){ .dtype = dtype, .rank = 4, .dim = { o->dim[1], o->dim[2], o->dim[3], o->dim[4] } };
    c->out[1] = (tf_type){ .dtype = TUFF_F32, .rank = 3, .dim = { o->dim[1], o->dim[3], o->dim[2] } };
    return true;
}

static tuff_status merge_reference(tf_ref *r)
{
    const tf_ref_tensor *o = r->src[0], *lse = r->src[1];
    const int64_t parts = o->dim[0], sq = o->dim[2], hq = o->dim[3], dv = o->dim[4];
    const uint64_t rows = r->out[1].n, channels = r->out[0].n;
    for (uint64_t n = 0; n < rows; n++) {
        const uint64_t i = n % (uint64_t)sq, h = n / (uint64_t)sq % (uint64_t)hq, b = n / (uint64_t)sq / (uint64_t)hq;
        const uint64_t at = ((b * (uint64_t)sq + i) * (uint64_t)hq + h) * (uint64_t)dv;
        double max = -INFINITY, sum = 0;
        for (int64_t p = 0; p < parts; p++)
            max = lse->re[(uint64_t)p * rows + n] > max ? lse->re[(uint64_t)p * rows + n] : max;
        for (int64_t p = 0; p < parts; p++) {
            const double x = lse->re[(uint64_t)p * rows + n], w = x == -INFINITY ? 0 : exp(x - max);
            sum += w;
            for (int64_t e = 0; w != 0 && e < dv; e++)
                r->out[0].re[at + (uint64_t)e] += w * o->re[(uint64_t)p * channels + at + (uint64_t)e];
        }
        for (int64_t e = 0; sum != 0 && e < dv; e++)
            r->out[0].re[at + (uint64_t)e] /= sum;
        r->out[1].re[n] = sum == 0 ? -INFINITY : max + log(sum);
    }
    return TUFF_OK;
}

static bool merge_configure(tf_kernel_build *k)
{
    const tf_type *o = k->src[0];
    const int64_t rows = tf_dim_bin(k->g, TUFF_DIM_MUL, tf_dim_product(k->g, o->dim, 1, 3), o->dim[3]);
    const int64_t count = tf_dim_bin(k->g, TUFF_DIM_MUL, rows, (o->dim[4] + 3) / 4);
    tf_define_dim(k, "PARTS", o->dim[0]);
    tf_define_dim(k, "SQ", o->dim[2]);
    tf_define(k, "HQ", "%du", (int)o->dim[3]);
    tf_define(k, "DV", "%du", (int)o->dim[4]);
    tf_define_dim(k, "COUNT", count);
    tf_define(k, "WANT_O", "%d", k->want[0]);
    tf_define(k, "WANT_LSE", "%d", k->want[1]);
    k->source = tf_shader_text("anchors/attention_merge.glsl");
    k->algorithm = "parts per invocation";
    k->local[0] = 64;
    k->local[1] = k->local[2] = 1;
    k->groups = tf_dim_ceildiv(k->g, count, 64);
    k->flops = (uint64_t)tf_dim_bound(k->g, count) * (uint64_t)tf_dim_bound(k->g, o->dim[0]) * 16;
    return true;
}

static const tf_attr merge_attrs[] = { TF_A(tuff_attention_merge_desc, dtype, TF_ATTR_DTYPE, "of o; 0: f32") };

static const tf_anchor merge_anchor = {
    .name = "attention_merge",
    .loads = { { .name = "o", .widths = 4 }, { .name = "lse", .widths = 1, .reread = 8 } },
    .stores = { { .name = "y", .widths = 4 }, { .name = "z", .widths = 1 } },
    .configure = merge_configure,
};

const tf_op tf_op_attention_merge = {
    .name = "attention_merge",
    .doc = "o[p,b,s,h,d], lse[p,b,h,s] -> o[b,s,h,d], lse[b,h,s]: parts of an attention over disjoint keys joined",
    .operands = "o lse",
    .results = "o lse",
    .kind = TF_ANCHOR,
    .attrs = merge_attrs,
    .attr_count = TF_COUNT(merge_attrs),
    .desc_size = sizeof(tuff_attention_merge_desc),
    .infer = merge_infer,
    .reference = merge_reference,
    .anchor = &merge_anchor,
    .rel = 8,
};

tuff_tensor tuff_attention_merge(tuff_tensor o, tuff_tensor lse, const tuff_attention_merge_desc *desc)
{
    return tf_add(o.graph, &tf_op_attention_merge, (tuff_tensor[]){ o, lse }, 2, desc);
}
