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
 * KEYS           keys per step, a power of two */
const float LOG2E = 1.4426950408889634;
const float LN2 = 0.6931471805599453;
const float EXCLUDED = -1.0e38; /* logit of a key that does not count: finite, so differences are never inf - inf */
const uint NEGATIVE_INFINITY = 0xff800000u;

/* Rows of one key head in a tile's numbering: head by head, query by query. */
#define TILE_ROWS (PACK * SQ)

struct Row { uint b, h; int i, p; float slope; };

int valid_keys(uint b)
{
#if HAS_KV_LEN
    return clamp(kv_len_at(b), 0, SK);
#else
    return SK;
#endif
}

/* Position of query 0 among the keys. */
int first_position(uint b, int len)
{
#if HAS_Q_START
    return q_start_at(b);
#elif TOP_LEFT
    return 0;
#else
    return len - SQ;
#endif
}

/* Row r of head group `group`; beyond the last row: the last one again. */
Row row_at(uint b, uint group, int r, int first)
{
    r = min(r, TILE_ROWS - 1);
    Row row;
    row.b = b;
    row.h = group * PACK + uint(r / SQ);
    row.i = r % SQ;
    row.p = row.i + first;
#if HAS_SLOPES
    row.slope = slopes_at(row.h) * LOG2E;
#else
    row.slope = 0.0;
#endif
    return row;
}

/* Keys [lo, hi) that rows r0..r1 may see, lo a multiple of KEYS; with SPLITS the given part of them. */
void key_range(int r0, int r1, int first, int len, int part, out int lo, out int hi)
{
    const bool one_head = r0 / SQ == r1 / SQ;
    const int i0 = one_head ? r0 % SQ : 0, i1 = one_head ? r1 % SQ : SQ - 1;
    lo = 0;
    hi = len;
#if LEFT > 0
    lo = max(i0 + first - LEFT + 1, 0) / KEYS * KEYS;
#endif
#if RIGHT > 0
    hi = min(hi, i1 + first + RIGHT);
#endif
#if SPLITS > 0
    const int each = ((max(hi - lo, 0) + SPLITS - 1) / SPLITS + KEYS - 1) / KEYS * KEYS;
    lo += part * each;
    hi = min(hi, lo + each);
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
    o_put4(uint(part), row.b, uint(row.i), row.h, c, x);
#else
    o_put4(row.b, uint(row.i), row.h, c, x);
#endif
#endif
}

void put_lse(int part, Row row, float m, float l)
{
#if WANT_LSE
    const float x = l == 0.0 ? uintBitsToFloat(NEGATIVE_INFINITY) : is_nan(l) ? l : (m + log2(l)) * LN2;
#if SPLITS > 0
    lse_put(uint(part), row.b, row.h, uint(row.i), x);
#else
    lse_put(row.b, row.h, uint(row.i), x);
#endif
#endif
}

/* q at channel c, zero beyond the last channel. */
vec4 q_scaled(Row row, uint c)
{
    const vec4 x = q_at4(row.b, uint(row.i), row.h, c) * SCALE;
#if DK % 4
    return mix(vec4(0.0), x, lessThan(int(c) + ivec4(0, 1, 2, 3), ivec4(DK)));
#else
    return x;
#endif
}

/* What a workgroup does: tiles of rows first, then heads, batches, parts. Under a causal mask light and heavy tiles
 * take turns, so that drivers which deal out groups in contiguous ranges give everyone the same work. */
struct Work { uint tile, group, b, kv_head; int part; };

Work work_of(uint x, uint tiles)
{
    Work w;
    w.tile = x % tiles;
#if RIGHT > 0
    w.tile = (w.tile & 1u) == 0u ? w.tile / 2u : tiles - 1u - w.tile / 2u;
#endif
    x /= tiles;
    w.group = x % (HQ / PACK);
    x /= HQ / PACK;
    w.b = x % uint(BATCH);
    w.part = int(x / uint(BATCH));
    w.kv_head = w.group * PACK / (HQ / HK);
    return w;
}
