/* Attention by cooperative matrices of CM x CK by CK x CN halves: a subgroup owns CM query rows, TILE = SUBGROUPS * CM a workgroup.
 *
 * q, k and v hold halves; scores, sums and o are f32. The weights of a step become halves, with PAIRS two whose sum has twice the digits,
 * after a factor that keeps small ones out of the denormal numbers. Scores and weights pass through shared memory,
 * since no lane knows which elements of a matrix are its own: PER lanes share a row of KEYS = 32. o is multiplied row by row with a
 * matrix whose rows are that row's factor.
 * Bytes of shared memory: attention_kernels.c, matrix_bytes. */
#define DKP ((DK + CK - 1) / CK * CK)
#define DVP ((DV + CN - 1) / CN * CN)
/* Of lines in vectors of 16 bytes: one of padding against bank conflicts. */
#define LINE_Q (DKP / 8 + 1)
#define LINE_V (DVP / 8 + 1)
#define LINE_KV (LINE_Q > LINE_V ? LINE_Q : LINE_V)
#define LINE_S (KEYS / 4 + 1)
#define LINE_P (KEYS / 8 + 1)
#define FULL 32768.0 /* what a weight of 1 becomes */
#define PER (LANES / TILE)
#define PART (KEYS / PER)
#define S_MATRICES (KEYS / CN)
#define O_MATRICES (DVP / CN)
#define EACH(i, n) [[unroll]] for (int i = 0; i < n; i++)
#define SUMS coopmat<float, gl_ScopeSubgroup, CM, CN, gl_MatrixUseAccumulator>
#define LEFT_SIDE coopmat<float16_t, gl_ScopeSubgroup, CM, CK, gl_MatrixUseA>
#define RIGHT_SIDE coopmat<float16_t, gl_ScopeSubgroup, CK, CN, gl_MatrixUseB>
#define BY_ROWS gl_CooperativeMatrixLayoutRowMajor
#define BY_COLUMNS gl_CooperativeMatrixLayoutColumnMajor

shared uvec4 q_tile[TILE * LINE_Q];
shared uvec4 kv_tile[KEYS * LINE_KV];
shared uvec4 p_tile[(1 + PAIRS) * TILE * LINE_P];
shared vec4 s_tile[TILE * LINE_S];
shared vec4 f_tile[TILE * CN / 4];
shared float fold[LANES];

uvec4 halves(vec4 p, vec4 q) { return uvec4(packHalf2x16(p.xy), packHalf2x16(p.zw), packHalf2x16(q.xy), packHalf2x16(q.zw)); }

/* x, read at channel c or at the last vector, with zeros beyond the last channel: neither side's padding may be NaN. */
vec4 inside(vec4 x, int c)
{
#if DK % 8 || DKP > DK
    return mix(vec4(0.0), x, lessThan(c + ivec4(0, 1, 2, 3), ivec4(DK)));
#else
    return x;
#endif
}

vec4 q_channels(Row row, int c) { return inside(q_at4(MEMORY_BATCH(row.b), uint(row.i), row.h, uint(min(c, (DK - 1) / 4 * 4))), c); }
vec4 k_channels(Work w, int j, int c) { return inside(k_at4(KEY_AT(w, j), uint(min(c, (DK - 1) / 4 * 4))), c); }
vec4 v_channels(Work w, int j, int c) { return v_at4(KEY_AT(w, j), uint(min(c, (DV - 1) / 4 * 4))); }

void main()
{
    LEAVE_SPARE_GROUPS
    const int r = int(LID) / PER, t = int(LID) % PER;
    const uint own = gl_SubgroupID * CM;
    const Work w = work_of(GROUP);
    LEAVE_IDLE(w)
    const int r0 = int(w.tile) * TILE;
    int lo, hi;
    key_range(w, r0, lo, hi);

    const Row row = row_at(w, r0 + r);
    float m = EXCLUDED, l = 0.0;
    SUMS o[O_MATRICES];
    EACH(j, O_MATRICES) o[j] = SUMS(0.0);
    for (int x = int(LID); x < TILE * (DKP / 8); x += LANES) {
        const int c = x % (DKP / 8);
        const Row q = row_at(w, r0 + x / (DKP / 8));
        q_tile[x / (DKP / 8) * LINE_Q + c] = halves(q_channels(q, 8 * c), q_channels(q, 8 * c + 4));
    }

    for (int base = lo; base < hi; base += KEYS) {
        if (!tile_attends(w, r0, base)) continue; /* the same for all invocations */
        barrier();
        for (int x = int(LID); x < KEYS * (DKP / 8); x += LANES) {
            const int j = min(base + x / (DKP / 8), hi - 1), c = x % (DKP / 8);
            kv_tile[x / (DKP / 8) * LINE_Q + c] = halves(k_channels(w, j, 8 * c), k_channels(w, j, 8 * c + 4));
        }
        barrier();
        {
            SUMS s[S_MATRICES];
            EACH(j, S_MATRICES) s[j] = SUMS(0.0);
            STEP_LOOP for (int c = 0; c < DKP / CK; c++) {
                LEFT_SIDE a;
                coopMatLoad(a, q_tile, own * LINE_Q + c * (CK / 8), LINE_Q, BY_ROWS);
                EACH(j, S_MATRICES) {
                    RIGHT_SIDE b;
                    coopMatLoad(b, kv_tile, j * CN * LINE_Q + c * (CK / 8), LINE_Q, BY_COLUMNS);
                    s[j] = coopMatMulAdd(a, b, s[j]);
                }
            }
            EACH(j, S_MATRICES) coopMatStore(s[j], s_tile, own * LINE_S + j * (CN / 4), LINE_S, BY_ROWS);
        }
        barrier();
        for (int x = int(LID); x < KEYS * (DVP / 8); x += LANES) {
            const int j = min(base + x / (DVP / 8), hi - 1), c = x % (DVP / 8);
            kv_tile[x / (DVP / 8) * LINE_V + c] = halves(v_channels(w, j, 8 * c), v_channels(w, j, 8 * c + 4));
        }

        float top = m;
        [[dont_unroll]] for (int e = t * PART; e < (t + 1) * PART; e++) {
            const int j = base + e, at = r * LINE_S + e / 4;
            float bias = 0.0;
#if HAS_BIAS
            bias = bias_at(row.b, row.h, uint(row.i), uint(min(j, SK - 1)));
#endif
            const float x = logit(row, j, hi, s_tile[at][e % 4] * SCALE, bias, block_attends(row, j));
            s_tile[at][e % 4] = x;
            top = max(top, x);
        }
#if PER > 1
        fold[LID] = top;
        barrier();
        EACH(n, PER) top = max(top, fold[r * PER + n]);
#endif
        const float f = exp2(m - top);
        m = top;
        l *= f;
        for (int e = t; e < CN / 4; e += PER) f_tile[r * (CN / 4) + e] = vec4(f);
        [[dont_unroll]] for (int e = t * PART; e < (t + 1) * PART; e += 2) {
            const vec2 p = vec2(weight(s_tile[r * LINE_S + e / 4][e % 4], m), weight(s_tile[r * LINE_S + e / 4][e % 4 + 1], m));
            l += p.x + p.y;
            const uint high = packHalf2x16(p * FULL);
            p_tile[r * LINE_P + e / 8][e / 2 % 4] = high;
#if PAIRS
            p_tile[(TILE + r) * LINE_P + e / 8][e / 2 % 4] = packHalf2x16(p * FULL - unpackHalf2x16(high));
#endif
        }
        barrier();
        SUMS factor;
        coopMatLoad(factor, f_tile, own * (CN / 4), CN / 4, BY_ROWS);
        EACH(j, O_MATRICES) o[j] = o[j] * factor;
        STEP_LOOP for (int c = 0; c < KEYS / CK; c++) {
            LEFT_SIDE a;
            coopMatLoad(a, p_tile, own * LINE_P + c * (CK / 8), LINE_P, BY_ROWS);
#if PAIRS
            LEFT_SIDE low;
            coopMatLoad(low, p_tile, (TILE + own) * LINE_P + c * (CK / 8), LINE_P, BY_ROWS);
#endif
            EACH(j, O_MATRICES) {
                RIGHT_SIDE b;
                coopMatLoad(b, kv_tile, c * CK * LINE_V + j * (CN / 8), LINE_V, BY_ROWS);
                o[j] = coopMatMulAdd(a, b, o[j]);
#if PAIRS
                o[j] = coopMatMulAdd(low, b, o[j]);
#endif
            }
        }
    }

    barrier();
    fold[LID] = l;
    barrier();
    float sum = 0.0;
    EACH(n, PER) sum += fold[r * PER + n];
    float f = join_sink(row.h, w.part, m, sum);
    f *= inverse_sum(sum) / FULL;
    const bool exists = r0 + r < TILE_ROWS(w);
    if (exists && t == 0) put_lse(w.part, row, m, sum);
    EACH(block, (O_MATRICES + S_MATRICES - 1) / S_MATRICES) {
        barrier();
        EACH(j, S_MATRICES)
            if (block * S_MATRICES + j < O_MATRICES) coopMatStore(o[min(block * S_MATRICES + j, O_MATRICES - 1)], s_tile, own * LINE_S + j * (CN / 4), LINE_S, BY_ROWS);
        barrier();
        for (int e = t * PART; e < (t + 1) * PART; e += 4)
            if (exists && block * KEYS + e < DV) put_o(w.part, row, uint(block * KEYS + e), s_tile[r * LINE_S + e / 4] * f);
    }
}
