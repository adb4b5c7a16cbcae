/* Attention of few rows (decoding) on CPU drivers: a key per lane. Each lane walks through a range of keys of its own, with all
 * heads of a key before the next one, so that a load meets as many places of memory as there are lanes, and each is read in order.
 *
 * The workgroup is one subgroup of LANES lanes and does ROWS rows of each of HEADS key heads, OWN keys per lane and step, TURN blocks
 * of LANES channels per trip. Line = head * ROWS + row. q and o have an element per line and block, with the channels over the lanes:
 * q is handed round by shuffles; of o each lane sums its own keys' part of a whole block, which is then folded over the lanes so that
 * each is left with its channel. m is the maximum of all lanes, l the sum of the lane's keys. */
#define OWN (KEYS / LANES)
#define LINES (ROWS * HEADS)
#define Q_BLOCKS ((DK + LANES * TURN - 1) / (LANES * TURN) * TURN)
#define O_BLOCKS ((DV + LANES * TURN - 1) / (LANES * TURN) * TURN)
#define CHANNEL(block, c, size) uint((size) % (LANES * TURN) == 0 ? (block) * LANES + (c) : min((block) * LANES + (c), ((size) + 3) / 4 * 4 - 4))
#define EACH_OWN [[unroll]] for (int u = 0; u < OWN; u++)
#define EACH_TURN [[unroll]] for (int t = 0; t < TURN; t++)
#define EACH_ROW [[unroll]] for (int r = 0; r < ROWS; r++)
#define EACH_LOAD [[unroll]] for (int c = 0; c < LANES; c += 4 * WIDE)
#define EACH_CHANNEL [[unroll]] for (int i = 0; i < 4 * WIDE; i++)
#if WIDE == 2
#define K_AT k_at8
#define V_AT v_at8
#define LOAD(at, head, key, channel) vec4 x[2]; at(KEY_AT(head, key), channel, x[0], x[1])
#else
#define K_AT k_at4
#define V_AT v_at4
#define LOAD(at, head, key, channel) const vec4 x[1] = vec4[1](at(KEY_AT(head, key), channel))
#endif
#if HAS_BLOCK /* in order, so that blocks can be left out */
#define KEY_OF(u) (lo + (at + (u)) * LANES + int(lane))
#define LAST_KEY hi
#else
#define KEY_OF(u) (first + at + (u))
#define LAST_KEY last
#endif

#define OVER_LANES(x, JOIN)                                \
    x = JOIN(x, subgroupShuffleXor(x, 1u));                \
    x = JOIN(x, subgroupShuffleXor(x, 2u));                \
    if (LANES > 4) x = JOIN(x, subgroupShuffleXor(x, 4u)); \
    if (LANES > 8) x = JOIN(x, subgroupShuffleXor(x, 8u));
#define PLUS(a, b) ((a) + (b))
float max_lanes(float x) { OVER_LANES(x, max) return x; }
float sum_lanes(float x) { OVER_LANES(x, PLUS) return x; }

/* Sums over all lanes: of x[i] for lane i. */
#define HALVE(N)                                                                             \
    [[unroll]] for (int i = 0; i < N; i++) {                                                 \
        const bool upper = (lane & N) != 0u;                                                 \
        x[i] = (upper ? x[i + N] : x[i]) + subgroupShuffleXor(upper ? x[i] : x[i + N], N);   \
    }
float fold(float x[LANES], uint lane)
{
#if LANES > 8
    HALVE(8)
#endif
#if LANES > 4
    HALVE(4)
#endif
    HALVE(2)
    HALVE(1)
    return x[0];
}

void main()
{
    LEAVE_SPARE_GROUPS
    const uint lane = gl_SubgroupInvocationID;
    const Work w = work_of(GROUP);
    LEAVE_IDLE(w)
    const int r0 = int(w.tile) * TILE;
    int lo, hi;
    key_range(w, r0, lo, hi);
    const int each = (max(hi - lo, 0) + LANES - 1) / LANES, first = lo + int(lane) * each, last = min(first + each, hi);

    float q[LINES * Q_BLOCKS], o[LINES * O_BLOCKS], m[LINES], l[LINES];
    [[dont_unroll]] for (int e = 0; e < LINES * Q_BLOCKS; e++) {
        const int line = e / Q_BLOCKS, channel = e % Q_BLOCKS * LANES + int(lane);
        const vec4 x = q_scaled(row_at(head_of(w, line / ROWS), r0 + line % ROWS), CHANNEL(0, channel / 4 * 4, DK));
        q[e] = channel < DK ? x[channel % 4] : 0.0;
    }
    [[dont_unroll]] for (int e = 0; e < LINES * O_BLOCKS; e++) o[e] = 0.0;
    [[dont_unroll]] for (int e = 0; e < LINES; e++) {
        m[e] = EXCLUDED;
        l[e] = 0.0;
    }

    [[dont_unroll]] for (int at = 0; at < each; at += OWN) {
        if (!tile_attends(w, r0, lo + at * LANES)) continue;
        [[dont_unroll]] for (int h = 0; h < HEADS; h++) {
            const Work head = head_of(w, h);
            float s[ROWS][OWN];
            EACH_ROW EACH_OWN s[r][u] = 0.0;
            [[dont_unroll]] for (int b = 0; b < Q_BLOCKS; b += TURN) {
                float part[ROWS][TURN];
                EACH_ROW EACH_TURN part[r][t] = q[(h * ROWS + r) * Q_BLOCKS + b + t];
                EACH_OWN EACH_TURN EACH_LOAD {
                    LOAD(K_AT, head, min(KEY_OF(u), hi - 1), CHANNEL(b + t, c, DK));
                    EACH_ROW EACH_CHANNEL s[r][u] = fma(subgroupShuffle(part[r][t], uint(c + i)), x[i / 4][i % 4], s[r][u]);
                }
            }
            float f[ROWS];
            [[dont_unroll]] for (int n = 0; n < ROWS; n++) {
                const Row row = row_at(head, r0 + n);
                const int line = h * ROWS + n;
                float x[OWN], top = m[line], sum = 0.0;
                EACH_OWN x[u] = s[0][u];
                EACH_ROW EACH_OWN x[u] = n == r ? s[r][u] : x[u];
                [[dont_unroll]] for (int i = 0; i < OWN; i++) {
                    const int j = KEY_OF(i);
                    float t = x[0], bias = 0.0;
                    EACH_OWN t = i == u ? x[u] : t;
#if HAS_BIAS
                    bias = bias_at(row.b, row.h, uint(row.i), uint(min(j, SK - 1)));
#endif
                    t = logit(row, j, LAST_KEY, t, bias, block_attends(row, j));
                    EACH_OWN x[u] = i == u ? t : x[u];
                    top = max(top, t);
                }
                top = max_lanes(top);
                const float factor = exp2(m[line] - top);
                EACH_OWN {
                    x[u] = weight(x[u], top);
                    sum += x[u];
                }
                m[line] = top;
                l[line] = l[line] * factor + sum;
                EACH_ROW {
                    f[r] = n == r ? factor : f[r];
                    EACH_OWN s[r][u] = n == r ? x[u] : s[r][u];
                }
            }
            [[dont_unroll]] for (int b = 0; b < O_BLOCKS; b += TURN) {
                float y[ROWS][TURN][LANES];
                EACH_ROW EACH_TURN [[unroll]] for (int i = 0; i < LANES; i++) y[r][t][i] = 0.0;
                EACH_OWN EACH_TURN EACH_LOAD {
                    LOAD(V_AT, head, min(KEY_OF(u), hi - 1), CHANNEL(b + t, c, DV));
                    EACH_ROW EACH_CHANNEL y[r][t][c + i] = fma(s[r][u], x[i / 4][i % 4], y[r][t][c + i]);
                }
                EACH_ROW EACH_TURN {
                    const int e = (h * ROWS + r) * O_BLOCKS + b + t;
                    o[e] = o[e] * f[r] + fold(y[r][t], lane);
                }
            }
        }
    }

    [[dont_unroll]] for (int line = 0; line < LINES; line++) {
        const Row row = row_at(head_of(w, line / ROWS), r0 + line % ROWS);
        float top = m[line], sum = sum_lanes(l[line]);
        const float f = join_sink(row.h, w.part, top, sum) * inverse_sum(sum);
        const bool whole = r0 + line % ROWS < TILE_ROWS(w);
        if (lane == 0u && whole) put_lse(w.part, row, top, sum);
        [[dont_unroll]] for (int b = 0; b < O_BLOCKS; b++) {
            const float y = o[line * O_BLOCKS + b] * f;
            vec4 x;
            [[unroll]] for (int i = 0; i < 4; i++) x[i] = subgroupShuffle(y, (lane * 4u + uint(i)) & (LANES - 1u));
            const uint channel = uint(b * LANES) + lane * 4u;
            if (whole && lane < LANES / 4u && channel < DV) put_o(w.part, row, channel, x);
        }
    }
}
