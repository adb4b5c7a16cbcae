/* Attention: what the kernels share. The text of one kernel follows.
 *
 * q[b, SQ, HQ, DK], k[b, SK, HK, DK], v[b, SK, HK, DV] -> o, lse. Rows of PACK query heads that read one key head may
 * share a tile. Logits live in units of log2, so weights are exp2 of differences.
 *
 * LEFT, RIGHT    keys visible to each side, the query's own position included; 0: no limit
 * SCALE          factor of q, log2(e) folded in unless NATURAL
 * NATURAL        scores pass through softcap or the score hook before they are scaled by log2(e)
 * CAPPED(s)      softcap, if there is one
 * HAS_x          optional operand x is there
 * SPLITS         > 0: a workgroup does one of that many parts of its keys; results carry the part in front
 * HEADS          head groups per workgroup, a power of two
 * KEYS           keys per step, a power of two
 * TILE           rows per workgroup
 * PACKED_Q       queries are tokens [1, TOKENS, ..] in SEGMENTS segments; PACKED_KV: keys too */
const float LOG2E = 1.4426950408889634;
const float LN2 = 0.6931471805599453;
const float EXCLUDED = -1.0e38; /* logit of a key that does not count: finite, so differences are never inf - inf */
const uint NEGATIVE_INFINITY = 0xff800000u;

#if PACKED_Q
#define QUERIES(w) (w).queries
#define MEMORY_BATCH(b) 0u
#define LEAVE_IDLE(w) if (int((w).tile) * TILE >= TILE_ROWS(w)) return;
#else
#define QUERIES(w) SQ
#define MEMORY_BATCH(b) (b)
#define LEAVE_IDLE(w)
#endif
/* Coordinates of key j but the channel. */
#if PACKED_KV
#define KEY_AT(w, j) 0u, uint((w).key0 + (j)), (w).kv_head
#else
#define KEY_AT(w, j) (w).b, uint(j), (w).kv_head
#endif
/* Rows of one key head in a tile's numbering: head by head, query by query. */
#define TILE_ROWS(w) (PACK * QUERIES(w))

/* What a workgroup does: rows of tile `tile` of head group `group` (and of the HEADS - 1 groups after it). Keys [0, len), query 0 at position `first` among them. */
struct Work {
    uint tile, group, b, kv_head;
    int part, len, first;
#if PACKED_Q
    int queries, token0;
#endif
#if PACKED_KV
    int key0;
#endif
};

#if PACKED_Q
/* First query of segment s; segment SEGMENTS is what lies behind the last one. */
int query_bound(int s) { return s > SEGMENTS ? TOKENS : clamp(cu_q_at(uint(s)), 0, TOKENS); }
/* Its first tile: rounding down and one tile more per segment leave room for all of its rows. */
int tile_bound(int s) { return PACK * query_bound(s) / TILE + s; }

void find_segment(inout Work w)
{
    int lo = 0, hi = SEGMENTS + 1;
    for (int mid; hi - lo > 1;) {
        mid = (lo + hi) / 2;
        if (tile_bound(mid) <= int(w.tile)) lo = mid;
        else hi = mid;
    }
    w.tile -= uint(tile_bound(lo));
    w.b = uint(lo);
    w.token0 = query_bound(lo);
    w.queries = query_bound(lo + 1) - w.token0;
}
#endif

void find_keys(inout Work w)
{
#if PACKED_Q
    const bool owned = int(w.b) < SEGMENTS;
#else
    const bool owned = true;
#endif
    const uint b = owned ? w.b : 0u;
    int len = SK;
#if PACKED_KV
    w.key0 = clamp(cu_kv_at(b), 0, SK);
    len = clamp(cu_kv_at(b + 1u), w.key0, SK) - w.key0;
#endif
#if HAS_KV_LEN
    len = clamp(kv_len_at(b), 0, len);
#endif
    w.len = owned ? len : 0;
#if HAS_Q_START
    w.first = q_start_at(b);
#elif TOP_LEFT
    w.first = 0;
#else
    w.first = w.len - QUERIES(w);
#endif
}

/* Tiles of rows first, then heads, batches, parts. Under a causal mask light and heavy tiles take turns, so that
 * drivers which deal out groups in contiguous ranges give everyone the same work. */
Work work_of(uint x)
{
    Work w;
#if PACKED_Q
    const uint tiles = uint(PACK * TOKENS / TILE + SEGMENTS + 1);
#else
    const uint tiles = uint((PACK * SQ + TILE - 1) / TILE);
#endif
    w.tile = x % tiles;
#if RIGHT > 0
    w.tile = (w.tile & 1u) == 0u ? w.tile / 2u : tiles - 1u - w.tile / 2u;
#endif
    x /= tiles;
    w.group = x % (HQ / PACK / HEADS) * HEADS;
    x /= HQ / PACK / HEADS;
#if PACKED_Q
    w.part = int(x);
    find_segment(w);
#else
    w.b = x % uint(BATCH);
    w.part = int(x / uint(BATCH));
#endif
    w.kv_head = w.group * PACK / (HQ / HK);
    find_keys(w);
    return w;
}

/* w for its head i. */
Work head_of(Work w, int i)
{
    w.group += uint(i);
    w.kv_head = w.group * PACK / (HQ / HK);
    return w;
}

/* A query of one head: i is its token in memory, p its position; keys from `tree` on are tree nodes. */
struct Row { uint b, h; int i, p, tree; float slope; };

/* Row r of the workgroup's head group; beyond the last row: the last one again. */
Row row_at(Work w, int r)
{
    r = min(r, TILE_ROWS(w) - 1);
    Row row;
    row.b = w.b;
    row.h = w.group * PACK + uint(r / QUERIES(w));
    row.i = r % QUERIES(w);
    row.p = row.i + w.first;
    row.tree = w.len - QUERIES(w);
#if PACKED_Q
    row.i += w.token0;
#endif
#if HAS_SLOPES
    row.slope = slopes_at(row.h) * LOG2E;
#else
    row.slope = 0.0;
#endif
    return row;
}

/* Keys [lo, hi) that rows r0 .. r0 + TILE - 1 may see, lo a multiple of KEYS; with SPLITS the workgroup's part of them. */
void key_range(Work w, int r0, out int lo, out int hi)
{
    const int r1 = min(r0 + TILE, TILE_ROWS(w)) - 1;
    const bool one_head = r0 / QUERIES(w) == r1 / QUERIES(w);
    const int i0 = one_head ? r0 % QUERIES(w) : 0, i1 = one_head ? r1 % QUERIES(w) : QUERIES(w) - 1;
    lo = 0;
    hi = w.len;
#if LEFT > 0
    lo = max(i0 + w.first - LEFT + 1, 0) / KEYS * KEYS;
#endif
#if RIGHT > 0
    hi = min(hi, i1 + w.first + RIGHT);
#endif
#if SPLITS > 0
    const int each = ((max(hi - lo, 0) + SPLITS - 1) / SPLITS + KEYS - 1) / KEYS * KEYS;
    lo += w.part * each;
    hi = min(hi, lo + each);
#endif
}

/* Does a row of the tile that starts at r0 attend to a key of [base, base + KEYS)? With SKIP_BLOCKS a tile meets at most two
 * blocks of queries, and KEYS keys meet at most two blocks of keys. */
bool tile_attends(Work w, int r0, int base)
{
#if SKIP_BLOCKS
    const int r1 = min(r0 + TILE, TILE_ROWS(w)) - 1;
    const uint q0 = uint(r0 % SQ / BLOCK_Q), q1 = uint(r1 % SQ / BLOCK_Q), h = w.group * PACK;
    const uint k0 = uint(base / BLOCK_KV), k1 = uint(min(base + KEYS, SK) - 1) / BLOCK_KV;
    bool any = block_at(w.b, h, q0, k0);
    if (q1 != q0) any = any || block_at(w.b, h, q1, k0);
#if BLOCK_KV % KEYS
    if (k1 != k0) any = any || block_at(w.b, h, q0, k1) || block_at(w.b, h, q1, k1);
#endif
    return any;
#else
    return true;
#endif
}

bool in_tree(Row row, int j)
{
#if HAS_TREE
    const int t = j - row.tree;
    if (t < 0) return true;
    return t < 32 * TREE_WORDS && (tree_at(MEMORY_BATCH(row.b), uint(row.i), uint(t / 32)) >> uint(t % 32) & 1u) != 0u;
#else
    return true;
#endif
}

/* Score s of key j -> its logit. bias: of this pair; attend: its tile of the block mask. */
float logit(Row row, int j, int hi, float s, float bias, bool attend)
{
    bool excluded = j >= hi || !attend;
#if HAS_SCORE
    s = score_hook(s, row.b, row.h, uint(row.p), uint(j));
    excluded = excluded || floatBitsToUint(s) == NEGATIVE_INFINITY;
#endif
#ifdef CAPPED
    s = CAPPED(s);
#endif
#if NATURAL
    s *= LOG2E;
#endif
#if HAS_SLOPES
    s -= row.slope * abs(float(row.p - j));
#endif
#if HAS_BIAS
    s += bias * LOG2E;
    excluded = excluded || floatBitsToUint(bias) == NEGATIVE_INFINITY;
#endif
#if HAS_MASK
    excluded = excluded || !mask_at(row.b, row.h, uint(row.i), uint(min(j, SK - 1)));
#endif
#if HAS_TREE
    excluded = excluded || !in_tree(row, j);
#endif
#if LEFT > 0
    excluded = excluded || j <= row.p - LEFT;
#endif
#if RIGHT > 0
    excluded = excluded || j >= row.p + RIGHT;
#endif
    return excluded ? EXCLUDED : s;
}

bool block_attends(Row row, int j)
{
#if HAS_BLOCK
    return block_at(row.b, row.h, uint(row.i / BLOCK_Q), uint(min(j, SK - 1) / BLOCK_KV));
#else
    return true;
#endif
}

/* By bits: compilers may assume that comparisons see no NaN. */
bool is_nan(float x) { return (floatBitsToUint(x) & 0x7fffffffu) > 0x7f800000u; }

/* exp2(t - m), 0 for excluded keys. NaN stays; not every driver's exp2 and log2 hand it on. */
float weight(float t, float m) { return t == EXCLUDED ? 0.0 : is_nan(t) ? t : exp2(t - m); }

/* Joins the sink of head h to maximum m and sum l; returns the factor for what was summed before. */
float join_sink(uint h, int part, inout float m, inout float l)
{
#if HAS_SINKS
    if (part == 0) {
        const float s = sinks_at(h) * LOG2E, top = max(m, s), f = exp2(m - top);
        l = l * f + exp2(s - top);
        m = top;
        return f;
    }
#endif
    return 1.0;
}

float inverse_sum(float l) { return l == 0.0 ? 0.0 : 1.0 / l; }

void put_o(int part, Row row, uint c, vec4 x)
{
#if WANT_O
#if SPLITS > 0
    o_put4(uint(part), MEMORY_BATCH(row.b), uint(row.i), row.h, c, x);
#else
    o_put4(MEMORY_BATCH(row.b), uint(row.i), row.h, c, x);
#endif
#endif
}

void put_lse(int part, Row row, float m, float l)
{
#if WANT_LSE
    const float x = l == 0.0 ? uintBitsToFloat(NEGATIVE_INFINITY) : is_nan(l) ? l : (m + log2(l)) * LN2;
#if SPLITS > 0
    lse_put(uint(part), MEMORY_BATCH(row.b), row.h, uint(row.i), x);
#else
    lse_put(MEMORY_BATCH(row.b), row.h, uint(row.i), x);
#endif
#endif
}

/* q at channel c, zero beyond the last channel. */
vec4 q_scaled(Row row, uint c)
{
    const vec4 x = q_at4(MEMORY_BATCH(row.b), uint(row.i), row.h, c) * SCALE;
#if DK % 4
    return mix(vec4(0.0), x, lessThan(int(c) + ivec4(0, 1, 2, 3), ivec4(DK)));
#else
    return x;
#endif
}
