/* Attention, a query row per lane: its q and o stay in registers, there is no shared memory and no barrier.
 *
 * ROWS rows per lane, LANES lanes. With SHUFFLE the workgroup is one subgroup of KEYS lanes: each lane loads another key
 * and the keys go round by shuffles, so one load serves KEYS rows; otherwise every lane loads every key.
 * Logits are finished for STEP keys per trip, so that loads and long expressions appear STEP * ROWS times in the code; 0: for
 * all at once, without bias. The four components
 * of q and o are arrays of their own, which the compilers of CPU drivers handle much faster than arrays of vectors. */
#define Q_VECTORS ((DK + 3) / 4)
#define O_VECTORS ((DV + 3) / 4)
#define O_SIZE (ROWS * O_VECTORS + 1) /* odd: where arrays and keys lie powers of two apart, CPUs take a load for one of what another lane just stored */
/* Loops over the vectors of o. One trip is unrolled: Mesa 22 loses all rows but the last of such a loop. */
#if DV <= 4
#define EACH_O [[unroll]] for (int d = 0; d < O_VECTORS; d++)
#else
#define EACH_O [[dont_unroll]] for (int d = 0; d < O_VECTORS; d++)
#endif

#if SHUFFLE
#define LANE gl_SubgroupInvocationID
#define LOAD_KEYS(name, c) const vec4 mine = name(KEY_AT(w, min(base + int(lane), hi - 1)), c)
#define KEY(name, j, c) subgroupShuffle(mine, uint(j))
#else
#define LANE LID
#define LOAD_KEYS(name, c)
#define KEY(name, j, c) name(KEY_AT(w, min(base + (j), hi - 1)), c)
#endif
#define EACH_ROW [[unroll]] for (int r = 0; r < ROWS; r++)
#define EACH_KEY [[unroll]] for (int j = 0; j < KEYS; j++)

void main()
{
    LEAVE_SPARE_GROUPS
    const uint lane = LANE;
    const Work w = work_of(GROUP);
    LEAVE_IDLE(w)
    const int r0 = int(w.tile) * TILE;
    int lo, hi;
    key_range(w, r0, lo, hi);

    float qx[ROWS * Q_VECTORS], qy[ROWS * Q_VECTORS], qz[ROWS * Q_VECTORS], qw[ROWS * Q_VECTORS];
    float ox[O_SIZE], oy[O_SIZE], oz[O_SIZE], ow[O_SIZE];
    float m[ROWS], l[ROWS];
    Row row[ROWS];
    EACH_ROW {
        row[r] = row_at(w, r0 + r * LANES + int(lane));
        m[r] = EXCLUDED;
        l[r] = 0.0;
    }
    [[dont_unroll]] for (int e = 0; e < ROWS * Q_VECTORS; e++) {
        const Row one = row_at(w, r0 + e / Q_VECTORS * LANES + int(lane));
        const vec4 x = q_scaled(one, uint(e % Q_VECTORS * 4));
        qx[e] = x.x; qy[e] = x.y; qz[e] = x.z; qw[e] = x.w;
    }
    [[dont_unroll]] for (int e = 0; e < ROWS * O_VECTORS; e++) {
        ox[e] = 0.0; oy[e] = 0.0; oz[e] = 0.0; ow[e] = 0.0;
    }

    [[dont_unroll]] for (int base = lo; base < hi; base += KEYS) {
        if (!tile_attends(w, r0, base)) continue;
        float s[ROWS][KEYS];
        EACH_ROW EACH_KEY s[r][j] = 0.0;
        [[dont_unroll]] for (int d = 0; d < Q_VECTORS; d++) {
            LOAD_KEYS(k_at4, uint(4 * d));
            vec4 q[ROWS];
            EACH_ROW {
                const int e = r * Q_VECTORS + d;
                q[r] = vec4(qx[e], qy[e], qz[e], qw[e]);
            }
            EACH_KEY {
                const vec4 x = KEY(k_at4, j, uint(4 * d));
                EACH_ROW s[r][j] += q[r].x * x.x + q[r].y * x.y + q[r].z * x.z + q[r].w * x.w;
            }
        }

#if STEP == 0
        EACH_ROW {
            const bool attend = block_attends(row[r], base);
            EACH_KEY s[r][j] = logit(row[r], base + j, hi, s[r][j], 0.0, attend);
        }
#else
        [[dont_unroll]] for (int g = 0; g < KEYS / STEP; g++) EACH_ROW {
            const int j0 = base + g * STEP;
#if HAS_BIAS && STEP == 4
            const vec4 bias = bias_at4(row[r].b, row[r].h, uint(row[r].i), uint(j0));
#elif HAS_BIAS
            const vec4 bias = vec4(bias_at(row[r].b, row[r].h, uint(row[r].i), uint(min(j0, SK - 1))));
#else
            const vec4 bias = vec4(0.0);
#endif
            [[unroll]] for (int u = 0; u < STEP; u++) {
                float t = s[r][u];
                [[unroll]] for (int n = 1; n < KEYS / STEP; n++) t = g == n ? s[r][n * STEP + u] : t;
                t = logit(row[r], j0 + u, hi, t, bias[u], block_attends(row[r], j0 + u));
                [[unroll]] for (int n = 0; n < KEYS / STEP; n++) s[r][n * STEP + u] = g == n ? t : s[r][n * STEP + u];
            }
        }
#endif

        float f[ROWS];
        EACH_ROW {
            float top = m[r];
            EACH_KEY top = max(top, s[r][j]);
            f[r] = exp2(m[r] - top);
            m[r] = top;
            l[r] *= f[r];
            EACH_KEY {
                s[r][j] = weight(s[r][j], top);
                l[r] += s[r][j];
            }
        }
        EACH_O {
            LOAD_KEYS(v_at4, uint(4 * d));
            vec4 o[ROWS];
            EACH_ROW {
                const int e = r * O_VECTORS + d;
                o[r] = vec4(ox[e], oy[e], oz[e], ow[e]) * f[r];
            }
            EACH_KEY {
                const vec4 x = KEY(v_at4, j, uint(4 * d));
                EACH_ROW o[r] += s[r][j] * x;
            }
            EACH_ROW {
                const int e = r * O_VECTORS + d;
                ox[e] = o[r].x; oy[e] = o[r].y; oz[e] = o[r].z; ow[e] = o[r].w;
            }
        }
    }

    float factor[ROWS];
    EACH_ROW {
        const float f = join_sink(row[r].h, w.part, m[r], l[r]);
        factor[r] = f * inverse_sum(l[r]);
        if (r0 + r * LANES + int(lane) < TILE_ROWS(w)) put_lse(w.part, row[r], m[r], l[r]);
    }
    [[dont_unroll]] for (int e = 0; e < ROWS * O_VECTORS; e++) {
        const int n = r0 + e / O_VECTORS * LANES + int(lane);
        float f = factor[0];
        [[unroll]] for (int r = 1; r < ROWS; r++) f = e / O_VECTORS == r ? factor[r] : f;
        if (n < TILE_ROWS(w)) put_o(w.part, row_at(w, n), uint(e % O_VECTORS * 4), vec4(ox[e], oy[e], oz[e], ow[e]) * f);
    }
}
