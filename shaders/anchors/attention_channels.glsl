/* Attention of few rows (decoding): the lanes of a subgroup share the channels of a key, so every element of K and V is
 * loaded once and by neighbours.
 *
 * The workgroup is one subgroup of LANES lanes and does ROWS rows of each of HEADS key heads, KEYS = LANES / (ROWS * HEADS) keys per
 * step. A slot is four channels of a lane. WIDE slots are neighbours, loaded at once; the next lane's follow. Line = head * ROWS + row;
 * lane e is at home with line e / KEYS and key e % KEYS of the step: it computes that logit and weight, and the others fetch it by a
 * shuffle. q is read and o is written at one place in the code: memory accesses are what CPU drivers compile slowly. */
#define SPAN (4 * WIDE)
#define Q_SLOTS ((DK + SPAN * LANES - 1) / (SPAN * LANES) * WIDE)
#define O_SLOTS ((DV + SPAN * LANES - 1) / (SPAN * LANES) * WIDE)
#define VECTOR(slot) (((slot) / WIDE * LANES + int(lane)) * WIDE + (slot) % WIDE)
#define CHANNEL(slot, size) (uint(min(VECTOR(slot), ((size) + 3) / 4 - 1)) * 4u)
#if WIDE == 2
#define K_AT k_at8
#define V_AT v_at8
#define LOAD(at, head, key, c, size) vec4 x[2]; at(KEY_AT(head, key), CHANNEL(c, size), x[0], x[1])
#else
#define K_AT k_at4
#define V_AT v_at4
#define LOAD(at, head, key, c, size) const vec4 x[1] = vec4[1](at(KEY_AT(head, key), CHANNEL(c, size)))
#endif
#if KEYS <= 2 /* many loads in flight cost more than they bring */
#define EACH_KEY [[unroll]] for (int u = 0; u < KEYS; u++)
#else
#define EACH_KEY [[dont_unroll]] for (int u = 0; u < KEYS; u++)
#endif
#define LINES (ROWS * HEADS)
#define EACH_LINE [[unroll]] for (int n = 0; n < LINES; n++)
#define EACH_HEAD [[unroll]] for (int i = 0; i < HEADS; i++)
#define EACH_ROW [[unroll]] for (int r = 0; r < ROWS; r++)
#define EACH_Q_SLOT [[unroll]] for (int c = 0; c < Q_SLOTS; c++)
#define EACH_O_SLOT [[unroll]] for (int c = 0; c < O_SLOTS; c++)
#define EACH_Q_LOAD [[unroll]] for (int c = 0; c < Q_SLOTS; c += WIDE)
#define EACH_O_LOAD [[unroll]] for (int c = 0; c < O_SLOTS; c += WIDE)
#define EACH_VECTOR [[unroll]] for (int v = 0; v < WIDE; v++)

/* Sum over all lanes; SPAN below LANES: maximum or sum over groups of SPAN neighbours. */
#define FOLD(NAME, JOIN, SPAN)                                        \
float NAME(float x)                                                   \
{                                                                     \
    if (SPAN > 1) x = JOIN(x, subgroupShuffleXor(x, 1u));             \
    if (SPAN > 2) x = JOIN(x, subgroupShuffleXor(x, 2u));             \
    if (SPAN > 4) x = JOIN(x, subgroupShuffleXor(x, 4u));             \
    if (SPAN > 8) x = JOIN(x, subgroupShuffleXor(x, 8u));             \
    if (SPAN > 16) x = JOIN(x, subgroupShuffleXor(x, 16u));           \
    if (SPAN > 32) x = JOIN(x, subgroupShuffleXor(x, 32u));           \
    if (SPAN > 64) x = JOIN(x, subgroupShuffleXor(x, 64u));           \
    return x;                                                         \
}
#define PLUS(a, b) ((a) + (b))
FOLD(sum_lanes, PLUS, LANES)
FOLD(sum_keys, PLUS, KEYS)
FOLD(max_keys, max, KEYS)

void main()
{
    LEAVE_SPARE_GROUPS
    const uint lane = gl_SubgroupInvocationID;
    const Work w = work_of(GROUP);
    LEAVE_IDLE(w)
    const int r0 = int(w.tile) * TILE;
    int lo, hi;
    key_range(w, r0, lo, hi);

    vec4 q[LINES][Q_SLOTS], o[LINES][O_SLOTS];
    EACH_LINE {
        EACH_Q_SLOT q[n][c] = vec4(0.0);
        EACH_O_SLOT o[n][c] = vec4(0.0);
    }
    [[dont_unroll]] for (int e = 0; e < LINES * Q_SLOTS; e++) {
        const int slot = e % Q_SLOTS, line = e / Q_SLOTS;
        const vec4 x = q_scaled(row_at(head_of(w, line / ROWS), r0 + line % ROWS), CHANNEL(slot, DK));
        const bool inside = VECTOR(slot) < (DK + 3) / 4;
        /* Places move up: of all ways to fill them in turn the one that compilers take least time for. */
        [[unroll]] for (int n = 0; n < LINES * Q_SLOTS - 1; n++) q[n / Q_SLOTS][n % Q_SLOTS] = q[(n + 1) / Q_SLOTS][(n + 1) % Q_SLOTS];
        q[LINES - 1][Q_SLOTS - 1] = inside ? x : vec4(0.0);
    }
    const int mine = int(lane) % KEYS, line = int(lane) / KEYS;
    const Row home = row_at(head_of(w, line / ROWS), r0 + line % ROWS);
    float m = EXCLUDED, l = 0.0;

    [[dont_unroll]] for (int base = lo; base < hi; base += KEYS) {
        if (!tile_attends(w, r0, base)) continue;
        float s = 0.0;
        EACH_KEY {
            const int key = min(base + u, hi - 1);
            EACH_HEAD {
                const Work head = head_of(w, i);
                vec4 a[ROWS];
                EACH_ROW a[r] = vec4(0.0);
                EACH_Q_LOAD {
                    LOAD(K_AT, head, key, c, DK);
                    EACH_VECTOR EACH_ROW a[r] += q[i * ROWS + r][c + v] * x[v];
                }
                EACH_ROW {
                    const float t = sum_lanes((a[r].x + a[r].y) + (a[r].z + a[r].w));
                    s = int(lane) == (i * ROWS + r) * KEYS + u ? t : s;
                }
            }
        }
        const int j = base + mine;
        float bias = 0.0;
#if HAS_BIAS
        bias = bias_at(home.b, home.h, uint(home.i), uint(min(j, SK - 1)));
#endif
        s = logit(home, j, hi, s, bias, block_attends(home, j));
        const float top = max(m, max_keys(s)), f = exp2(m - top), p = weight(s, top);
        m = top;
        l = l * f + p;
        EACH_LINE {
            const float g = subgroupShuffle(f, uint(n * KEYS));
            EACH_O_SLOT o[n][c] *= g;
        }
        EACH_KEY {
            const int key = min(base + u, hi - 1);
            EACH_HEAD {
                const Work head = head_of(w, i);
                float g[ROWS];
                EACH_ROW g[r] = subgroupShuffle(p, uint((i * ROWS + r) * KEYS + u));
                EACH_O_LOAD {
                    LOAD(V_AT, head, key, c, DV);
                    EACH_VECTOR EACH_ROW o[i * ROWS + r][c + v] += g[r] * x[v];
                }
            }
        }
    }

    l = sum_keys(l);
    float f = join_sink(home.h, w.part, m, l);
    f *= inverse_sum(l);
    if (mine == 0 && r0 + line % ROWS < TILE_ROWS(w)) put_lse(w.part, home, m, l);
    EACH_LINE {
        const float g = subgroupShuffle(f, uint(n * KEYS));
        EACH_O_SLOT o[n][c] *= g;
    }
    [[dont_unroll]] for (int e = 0; e < LINES * O_SLOTS; e++) {
        const int vector = VECTOR(e % O_SLOTS), to = e / O_SLOTS, r1 = r0 + to % ROWS;
        vec4 x = o[0][0];
        EACH_LINE EACH_O_SLOT x = e == n * O_SLOTS + c ? o[n][c] : x;
        if (r1 < TILE_ROWS(w) && vector < (DV + 3) / 4) put_o(w.part, row_at(head_of(w, to / ROWS), r1), uint(vector) * 4u, x);
    }
}
