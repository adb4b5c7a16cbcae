/* Attention by tiles in shared memory: 128 invocations, 16 * ROWS query rows by KEYS = 32 keys.
 *
 * Thread (ty, tx) of 16 x 8 computes scores of its ROWS rows for the keys tx + 8n and keeps o of these rows at vectors tx of
 * every slice of 32 channels. K, then V, pass through one shared buffer slice by slice. STEP 0: logits are short code and are
 * finished all at once, else one per trip.
 * Shared bytes: 16 * ROWS * (9 * 16 + 33 * 4 + 8 * 4) + 32 * 9 * 16. */
#define SLICE 8     /* vectors of 4 channels */
#define PITCH 9     /* of a row of a slice: odd, so that rows fall on different banks */
#define Q_SLICES ((DK + 31) / 32)
#define O_SLICES ((DV + 31) / 32)
#define EACH_ROW [[unroll]] for (int r = 0; r < ROWS; r++)
#define EACH_KEY [[unroll]] for (int n = 0; n < 4; n++)

shared vec4 q_tile[TILE * PITCH];
shared vec4 kv_tile[KEYS * PITCH];
shared float p_tile[TILE * (KEYS + 1)];
shared float fold[TILE * 8];

void main()
{
    LEAVE_SPARE_GROUPS
    const int tx = int(LID % 8u), ty = int(LID / 8u);
    const Work w = work_of(GROUP);
    LEAVE_IDLE(w)
    const int r0 = int(w.tile) * TILE;
    int lo, hi;
    key_range(w, r0, lo, hi);

    vec4 o[ROWS][O_SLICES];
    float m[ROWS], l[ROWS];
    Row row[ROWS];
    EACH_ROW {
        row[r] = row_at(w, r0 + ty * ROWS + r);
        m[r] = EXCLUDED;
        l[r] = 0.0;
        [[unroll]] for (int c = 0; c < O_SLICES; c++) o[r][c] = vec4(0.0);
    }

    for (int base = lo; base < hi; base += KEYS) {
        if (!tile_attends(w, r0, base)) continue; /* the same for all invocations */
        float s[ROWS][4];
        EACH_ROW EACH_KEY s[r][n] = 0.0;
        for (int c = 0; c < Q_SLICES; c++) {
            const int vector = c * SLICE + tx;
            const bool inside = vector < (DK + 3) / 4;
            const uint channel = uint(min(vector, (DK + 3) / 4 - 1) * 4);
            barrier();
            for (int t = ty; t < TILE; t += 16)
                q_tile[t * PITCH + tx] = inside ? q_scaled(row_at(w, r0 + t), channel) : vec4(0.0);
            for (int t = ty; t < KEYS; t += 16)
                kv_tile[t * PITCH + tx] = k_at4(KEY_AT(w, min(base + t, hi - 1)), channel);
            barrier();
            [[unroll]] for (int d = 0; d < SLICE; d++) {
                vec4 x[ROWS];
                EACH_ROW x[r] = q_tile[(ty * ROWS + r) * PITCH + d];
                EACH_KEY {
                    const vec4 y = kv_tile[(tx + 8 * n) * PITCH + d];
                    EACH_ROW s[r][n] += dot(x[r], y);
                }
            }
        }

#if STEP == 0
        EACH_ROW EACH_KEY {
            const int j = base + tx + 8 * n;
            s[r][n] = logit(row[r], j, hi, s[r][n], 0.0, block_attends(row[r], j));
        }
#else
        [[dont_unroll]] for (int e = 0; e < 4 * ROWS; e++) {
            const Row one = row_at(w, r0 + ty * ROWS + e / 4);
            const int j = base + tx + e % 4 * 8;
            float bias = 0.0, t = s[0][0];
#if HAS_BIAS
            bias = bias_at(one.b, one.h, uint(one.i), uint(min(j, SK - 1)));
#endif
            EACH_ROW EACH_KEY t = e == 4 * r + n ? s[r][n] : t;
            t = logit(one, j, hi, t, bias, block_attends(one, j));
            EACH_ROW EACH_KEY s[r][n] = e == 4 * r + n ? t : s[r][n];
        }
#endif
        EACH_ROW {
            float top = EXCLUDED;
            EACH_KEY top = max(top, s[r][n]);
            fold[(ty * ROWS + r) * 8 + tx] = top;
        }
        barrier();
        EACH_ROW {
            float top = m[r];
            [[unroll]] for (int t = 0; t < 8; t++) top = max(top, fold[(ty * ROWS + r) * 8 + t]);
            const float f = exp2(m[r] - top);
            m[r] = top;
            l[r] *= f;
            [[unroll]] for (int c = 0; c < O_SLICES; c++) o[r][c] *= f;
            EACH_KEY {
                const float p = weight(s[r][n], top);
                l[r] += p;
                p_tile[(ty * ROWS + r) * (KEYS + 1) + tx + 8 * n] = p;
            }
        }
        [[unroll]] for (int c = 0; c < O_SLICES; c++) {
            const uint channel = uint(min(c * SLICE + tx, (DV + 3) / 4 - 1) * 4);
            barrier();
            for (int t = ty; t < KEYS; t += 16)
                kv_tile[t * PITCH + tx] = v_at4(KEY_AT(w, min(base + t, hi - 1)), channel);
            barrier();
            for (int j = 0; j < KEYS; j++) {
                const vec4 x = kv_tile[j * PITCH + tx];
                EACH_ROW o[r][c] += p_tile[(ty * ROWS + r) * (KEYS + 1) + j] * x;
            }
        }
    }

    barrier();
    EACH_ROW fold[(ty * ROWS + r) * 8 + tx] = l[r];
    barrier();
    EACH_ROW {
        float sum = 0.0;
        [[unroll]] for (int t = 0; t < 8; t++) sum += fold[(ty * ROWS + r) * 8 + t];
        float f = join_sink(row[r].h, w.part, m[r], sum);
        f *= inverse_sum(sum);
        if (r0 + ty * ROWS + r < TILE_ROWS(w)) {
            if (tx == 0) put_lse(w.part, row[r], m[r], sum);
            [[unroll]] for (int c = 0; c < O_SLICES; c++)
                if (c * SLICE + tx < (DV + 3) / 4) put_o(w.part, row[r], uint(c * SLICE + tx) * 4u, o[r][c] * f);
        }
    }
}
