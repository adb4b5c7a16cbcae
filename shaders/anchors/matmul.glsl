/* Matrix product: a[B, M, K] x b[B, K, N] -> y[B, M, N]; TA: a is [B, K, M]; TB: b is [B, N, K].
 *
 * KIND REGISTERS  each lane owns TM rows x TN vectors of columns in registers and reads operands straight from memory: for
 *                 CPUs. LN lanes of a group lie along n, the others along m. Row addresses are the same in neighbouring lanes.
 * KIND TILED      a group owns BM x BN elements; BK columns of a and rows of b at a time pass through shared memory, the next
 *                 ones are loaded meanwhile; each lane owns TM x 4 TN elements. Shared bytes: 4 * BK * (BM + BN).
 * KIND MATRICES   like TILED, with tiles of halves that subgroups multiply as cooperative matrices of CM x CK by CK x CN; every element of a
 *                 and b must be one that a half holds. SN subgroups lie along n, the others along m; each owns FM x FN matrices of sums.
 *                 Results pass through shared memory, by rows of matrices, on their way to the store hook.
 * KIND PLAIN      one element per lane, for element types without vectors.
 *
 * Groups run along m first, so that neighbours share columns of b. K is summed in ascending order in every kind. */
#define REGISTERS 0
#define TILED 1
#define PLAIN 2
#define MATRICES 3
#define LAST4(n) ((uint(n) - 1) & ~3u) /* where the last vector of a dim starts */
#define EACH(i, n) [[unroll]] for (uint i = 0; i < n; i++)

#if KIND == PLAIN
void main()
{
    LEAVE_SPARE_GROUPS
    const uint at = GROUP * WGSIZE + LID;
    const uint n = at % uint(N), m = at / uint(N) % uint(M), b = at / uint(N) / uint(M);
    if (b >= uint(B))
        return;
    T sum = T(0);
    for (uint k = 0; k < uint(K); k++) {
#if TA
        const T a = a_at(b, k, m);
#else
        const T a = a_at(b, m, k);
#endif
#if TB
        sum += a * b_at(b, n, k);
#else
        sum += a * b_at(b, k, n);
#endif
    }
    y_put(b, m, n, sum);
}

#elif KIND == REGISTERS
T4 acc[TM][TN];

#if TAIL
#define K_STEP 1
/* One column of a and one row of b: rows along k have no vectors where K is no multiple of 4. */
void step(uint b, uint m0, uint n0, uint k)
{
    T a[TM];
    T4 row[TN];
#if TA
    EACH(i, TM / 4) {
        const T4 v = a_at4(b, k, min(m0 + i * 4, LAST4(M)));
        EACH(e, 4) a[i * 4 + e] = v[e];
    }
#else
    EACH(i, TM) a[i] = a_at(b, min(m0 + i, uint(M) - 1), k);
#endif
    EACH(j, TN) {
        const uint n = n0 + j * LN * 4;
#if TB
        EACH(e, 4) row[j][e] = b_at(b, min(n + e, uint(N) - 1), k);
#else
        row[j] = b_at4(b, k, min(n, LAST4(N)));
#endif
    }
    EACH(i, TM) EACH(j, TN) acc[i][j] += a[i] * row[j];
}

#else
#define K_STEP 4
/* Four columns of a and four rows of b. */
void step(uint b, uint m0, uint n0, uint k)
{
    T4 a[TM]; /* along k */
#if TA
    EACH(i, TM / 4) EACH(kk, 4) {
        const T4 v = a_at4(b, k + kk, min(m0 + i * 4, LAST4(M)));
        EACH(e, 4) a[i * 4 + e][kk] = v[e];
    }
#else
    EACH(i, TM) a[i] = a_at4(b, min(m0 + i, uint(M) - 1), k);
#endif
#if TB
    EACH(j, TN) EACH(e, 4) {
        const T4 v = b_at4(b, min(n0 + j * LN * 4 + e, uint(N) - 1), k);
        EACH(i, TM) acc[i][j][e] += a[i].x * v.x + a[i].y * v.y + a[i].z * v.z + a[i].w * v.w;
    }
#else
    ROWS_LOOP for (uint kk = 0; kk < 4; kk++) {
        T4 v[TN];
        EACH(j, TN) v[j] = b_at4(b, k + kk, min(n0 + j * LN * 4, LAST4(N)));
        EACH(i, TM) EACH(j, TN) acc[i][j] += a[i][kk] * v[j];
    }
#endif
}
#endif

void main()
{
    LEAVE_SPARE_GROUPS
    const uint rows = TM * (WGSIZE / LN), cols = TN * LN * 4;
    const uint mb = (uint(M) + rows - 1) / rows, nb = (uint(N) + cols - 1) / cols;
    const uint b = min(GROUP / mb / nb, uint(B) - 1);
#if WGSIZE == LN /* said so, drivers see that rows are the same in all lanes */
    const uint row_block = 0u;
#else
    const uint row_block = LID / LN;
#endif
    const uint m0 = GROUP % mb * rows + row_block * TM, n0 = GROUP / mb % nb * cols + LID % LN * 4;

    EACH(i, TM) EACH(j, TN) acc[i][j] = T4(0);
    [[dont_unroll]] for (uint k = 0; k < uint(K); k += K_STEP)
        step(b, m0, n0, k);
    /* A loop over a copy: a store hook may be long, and is compiled once; acc itself stays in registers. */
    T4 result[TM * TN];
    EACH(i, TM) EACH(j, TN) result[i * TN + j] = acc[i][j];
    [[dont_unroll]] for (uint s = 0; s < TM * TN; s++) {
        const uint m = m0 + s / TN, n = n0 + s % TN * LN * 4;
        if (m < uint(M) && n < uint(N))
            y_put4(b, m, n, result[s]);
    }
}

#else /* TILED, MATRICES */
/* The elements of v whose k is inside; others are 0. */
T4 inside(T4 v, uint k)
{
#if TAIL
    return mix(T4(0), v, lessThan(k + uvec4(0, 1, 2, 3), uvec4(K)));
#else
    return v;
#endif
}

T4 inside_row(T4 v, uint k)
{
#if TAIL
    return k < uint(K) ? v : T4(0);
#else
    return v;
#endif
}

/* Vector s of the tile: along m when TA, else along k. */
T4 load_a(uint b, uint m0, uint k0, uint s)
{
#if TA
    const uint k = k0 + s / (BM / 4);
    return inside_row(a_at4(b, min(k, uint(K) - 1), min(m0 + s % (BM / 4) * 4, LAST4(M))), k);
#else
    const uint k = k0 + s % (BK / 4) * 4;
    return inside(a_at4(b, min(m0 + s / (BK / 4), uint(M) - 1), min(k, LAST4(K))), k);
#endif
}

T4 load_b(uint b, uint n0, uint k0, uint s)
{
#if TB
    const uint k = k0 + s % (BK / 4) * 4;
    return inside(b_at4(b, min(n0 + s / (BK / 4), uint(N) - 1), min(k, LAST4(K))), k);
#else
    const uint k = k0 + s / (BN / 4);
    return inside_row(b_at4(b, min(k, uint(K) - 1), min(n0 + s % (BN / 4) * 4, LAST4(N))), k);
#endif
}

#if KIND == TILED
#define LANES_N (BN / (4 * TN))
#define LOADS_A (BM * BK / 4 / WGSIZE)
#define LOADS_B (BN * BK / 4 / WGSIZE)
shared T4 tile_a[BK * BM / 4]; /* [k][m] */
shared T4 tile_b[BK * BN / 4]; /* [k][n] */

void keep_a(uint s, T4 v)
{
#if TA
    tile_a[s] = v;
#else
    const uint m = s / (BK / 4), k = s % (BK / 4) * 4;
    EACH(e, 4) tile_a[(k + e) * (BM / 4) + m / 4][m % 4] = v[e];
#endif
}

void keep_b(uint s, T4 v)
{
#if TB
    const uint n = s / (BK / 4), k = s % (BK / 4) * 4;
    EACH(e, 4) tile_b[(k + e) * (BN / 4) + n / 4][n % 4] = v[e];
#else
    tile_b[s] = v;
#endif
}

void main()
{
    LEAVE_SPARE_GROUPS
    const uint mb = (uint(M) + BM - 1) / BM, nb = (uint(N) + BN - 1) / BN;
    const uint b = min(GROUP / mb / nb, uint(B) - 1), m0 = GROUP % mb * BM, n0 = GROUP / mb % nb * BN;
    const uint ln = LID % LANES_N, lm = LID / LANES_N;

    T4 acc[TM][TN], next_a[LOADS_A], next_b[LOADS_B];
    EACH(i, TM) EACH(j, TN) acc[i][j] = T4(0);
    EACH(s, LOADS_A) next_a[s] = load_a(b, m0, 0, s * WGSIZE + LID);
    EACH(s, LOADS_B) next_b[s] = load_b(b, n0, 0, s * WGSIZE + LID);

    [[dont_unroll]] for (uint k0 = 0; k0 < uint(K); k0 += BK) {
        barrier();
        EACH(s, LOADS_A) keep_a(s * WGSIZE + LID, next_a[s]);
        EACH(s, LOADS_B) keep_b(s * WGSIZE + LID, next_b[s]);
        barrier();
        if (k0 + BK < uint(K)) {
            EACH(s, LOADS_A) next_a[s] = load_a(b, m0, k0 + BK, s * WGSIZE + LID);
            EACH(s, LOADS_B) next_b[s] = load_b(b, n0, k0 + BK, s * WGSIZE + LID);
        }
        UNROLL_K for (uint k = 0; k < BK; k++) {
            T4 row[TN];
            EACH(j, TN) row[j] = tile_b[k * (BN / 4) + j * LANES_N + ln];
            EACH(i, TM / 4) {
                const T4 a = tile_a[k * (BM / 4) + i * (BM / TM) + lm];
                EACH(e, 4) EACH(j, TN) acc[i * 4 + e][j] += a[e] * row[j];
            }
        }
    }

    EACH(i, TM) {
        const uint m = m0 + i / 4 * (BM / TM * 4) + lm * 4 + i % 4;
        if (m < uint(M))
            EACH(j, TN)
                if (n0 + (j * LANES_N + ln) * 4 < uint(N))
                    y_put4(b, m, n0 + (j * LANES_N + ln) * 4, acc[i][j]);
    }
}

#else /* MATRICES */
/* Lines of a tile are rows of the operand in memory: 8 halves a uvec4, one uvec4 of padding against bank conflicts. */
#if TA
#define LINE_A (BM / 8)
#define LINES_A BK
#define ORDER_A gl_CooperativeMatrixLayoutColumnMajor
#define AT_A(m, k) ((k) * (LINE_A + 1) + (m) / 8)
#else
#define LINE_A (BK / 8)
#define LINES_A BM
#define ORDER_A gl_CooperativeMatrixLayoutRowMajor
#define AT_A(m, k) ((m) * (LINE_A + 1) + (k) / 8)
#endif
#if TB
#define LINE_B (BK / 8)
#define LINES_B BN
#define ORDER_B gl_CooperativeMatrixLayoutColumnMajor
#define AT_B(k, n) (FIRST_B + (n) * (LINE_B + 1) + (k) / 8)
#else
#define LINE_B (BN / 8)
#define LINES_B BK
#define ORDER_B gl_CooperativeMatrixLayoutRowMajor
#define AT_B(k, n) (FIRST_B + (k) * (LINE_B + 1) + (n) / 8)
#endif
#define FIRST_B (LINES_A * (LINE_A + 1))
#define LOADS_A ((LINES_A * LINE_A + WGSIZE - 1) / WGSIZE)
#define LOADS_B ((LINES_B * LINE_B + WGSIZE - 1) / WGSIZE)
#define RESULT (CM * FN * CN / 4) /* vectors of a row of matrices */
shared uvec4 pool[POOL]; /* both tiles, later the results */

/* Elements 8s .. 8s + 7 of a tile. */
uvec4 halves(T4 p, T4 q) { return uvec4(packHalf2x16(p.xy), packHalf2x16(p.zw), packHalf2x16(q.xy), packHalf2x16(q.zw)); }
uvec4 next_of_a(uint b, uint m0, uint k0, uint s) { return halves(load_a(b, m0, k0, 2 * s), load_a(b, m0, k0, 2 * s + 1)); }
uvec4 next_of_b(uint b, uint n0, uint k0, uint s) { return halves(load_b(b, n0, k0, 2 * s), load_b(b, n0, k0, 2 * s + 1)); }

/* Does vector s exist? Where a tile has as many as lanes have turns, all do. */
#define IN_A(s) (LINES_A * LINE_A % WGSIZE == 0 || (s) < LINES_A * LINE_A)
#define IN_B(s) (LINES_B * LINE_B % WGSIZE == 0 || (s) < LINES_B * LINE_B)

void main()
{
    LEAVE_SPARE_GROUPS
    const uint mb = (uint(M) + BM - 1) / BM, nb = (uint(N) + BN - 1) / BN;
    const uint b = min(GROUP / mb / nb, uint(B) - 1), m0 = GROUP % mb * BM, n0 = GROUP / mb % nb * BN;
    const uint sm = gl_SubgroupID / SN * (FM * CM), sn = gl_SubgroupID % SN * (FN * CN);

    coopmat<float, gl_ScopeSubgroup, CM, CN, gl_MatrixUseAccumulator> acc[FM * FN];
    EACH(i, FM * FN) acc[i] = coopmat<float, gl_ScopeSubgroup, CM, CN, gl_MatrixUseAccumulator>(0.0);
    uvec4 next_a[LOADS_A], next_b[LOADS_B];
    EACH(s, LOADS_A) if (IN_A(s * WGSIZE + LID)) next_a[s] = next_of_a(b, m0, 0, s * WGSIZE + LID);
    EACH(s, LOADS_B) if (IN_B(s * WGSIZE + LID)) next_b[s] = next_of_b(b, n0, 0, s * WGSIZE + LID);

    [[dont_unroll]] for (uint k0 = 0; k0 < uint(K); k0 += BK) {
        barrier();
        EACH(s, LOADS_A) {
            const uint at = s * WGSIZE + LID;
            if (IN_A(at)) pool[at / LINE_A * (LINE_A + 1) + at % LINE_A] = next_a[s];
        }
        EACH(s, LOADS_B) {
            const uint at = s * WGSIZE + LID;
            if (IN_B(at)) pool[FIRST_B + at / LINE_B * (LINE_B + 1) + at % LINE_B] = next_b[s];
        }
        barrier();
        if (k0 + BK < uint(K)) {
            EACH(s, LOADS_A) if (IN_A(s * WGSIZE + LID)) next_a[s] = next_of_a(b, m0, k0 + BK, s * WGSIZE + LID);
            EACH(s, LOADS_B) if (IN_B(s * WGSIZE + LID)) next_b[s] = next_of_b(b, n0, k0 + BK, s * WGSIZE + LID);
        }
        STEP_LOOP for (uint step = 0; step < BK / CK; step++) {
            coopmat<float16_t, gl_ScopeSubgroup, CM, CK, gl_MatrixUseA> a[FM];
            EACH(i, FM) coopMatLoad(a[i], pool, AT_A(sm + i * CM, step * CK), LINE_A + 1, ORDER_A);
            EACH(j, FN) {
                coopmat<float16_t, gl_ScopeSubgroup, CK, CN, gl_MatrixUseB> row;
                coopMatLoad(row, pool, AT_B(step * CK, sn + j * CN), LINE_B + 1, ORDER_B);
                EACH(i, FM) acc[i * FN + j] = coopMatMulAdd(a[i], row, acc[i * FN + j]);
            }
        }
    }

    const uint own = gl_SubgroupID * RESULT;
    EACH(i, FM) {
        barrier();
        EACH(j, FN) coopMatStore(acc[i * FN + j], pool, own + j * (CN / 4), FN * CN / 4, gl_CooperativeMatrixLayoutRowMajor);
        barrier();
        [[dont_unroll]] for (uint s = gl_SubgroupInvocationID; s < RESULT; s += LANES) {
            const uint m = m0 + sm + i * CM + s / (FN * CN / 4), n = n0 + sn + s % (FN * CN / 4) * 4;
            if (m < uint(M) && n < uint(N))
                y_put4(b, m, n, uintBitsToFloat(pool[own + s]));
        }
    }
}
#endif
#endif
