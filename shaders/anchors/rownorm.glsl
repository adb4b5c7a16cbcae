/* Row normalisation: x[OUTER, INNER] -> y[OUTER, INNER]. One pass gathers the statistics, one writes.
 *
 * NORM      SOFTMAX, LOG_SOFTMAX, LAYER (subtract the mean, divide by the deviation) or RMS (divide by the root mean square)
 * LANES     lanes that share a row, a power of two <= WGSIZE; WGSIZE / LANES rows per workgroup
 * ACROSS    neighbouring lanes hold neighbouring rows; otherwise neighbouring vectors of one row
 * UNROLL    vectors of 4 a lane takes per trip; TRIPS trips cover a row. One trip: the row stays in registers
 * MASKED    INNER is no multiple of 4 * LANES * UNROLL, so some vectors reach beyond the row
 * OCTETS    a lane's vectors are neighbours and go in pairs
 * SUBGROUP  with LANES == WGSIZE: fold by subgroup arithmetic first
 *
 * Layer statistics are taken relative to the row's first element, two-pass within a trip, and merge with those of the trips
 * before (Chan, Golub, LeVeque 1979), so a large mean costs no digits. Softmax rescales its sum once per trip.
 * Shared bytes: 4 * WGSIZE when LANES > 1. */
#define SOFTMAX 0
#define LOG_SOFTMAX 1
#define LAYER 2
#define RMS 3
#define LOWEST (-3.0e38)
#define NOT_A_NUMBER uintBitsToFloat(0x7fc00000u)

#if LANES > 1
shared float part[WGSIZE];

#if ACROSS
#define STRIDE (WGSIZE / LANES)
#define LANE (LID / STRIDE)
#else
#define STRIDE 1
#define LANE (LID % LANES)
#endif

/* Folds v over the lanes of a row; all lanes get the result. Called by the whole workgroup. */
#if SUBGROUP
#define FOLD(NAME, JOIN, SUBGROUP_JOIN)                              \
float NAME(float v)                                                  \
{                                                                    \
    v = SUBGROUP_JOIN(v);                                            \
    barrier();                                                       \
    if (subgroupElect())                                             \
        part[gl_SubgroupID] = v;                                     \
    barrier();                                                       \
    v = part[0];                                                     \
    for (uint i = 1; i < gl_NumSubgroups; i++)                       \
        v = JOIN(v, part[i]);                                        \
    return v;                                                        \
}
#else
#define FOLD(NAME, JOIN, SUBGROUP_JOIN)                              \
float NAME(float v)                                                  \
{                                                                    \
    barrier();                                                       \
    part[LID] = v;                                                   \
    barrier();                                                       \
    [[unroll]] for (uint d = LANES / 2; d > 0; d /= 2) {             \
        if (LANE < d)                                                \
            part[LID] = JOIN(part[LID], part[LID + d * STRIDE]);     \
        barrier();                                                   \
    }                                                                \
    return part[LID - LANE * STRIDE];                                \
}
#endif
#define PLUS(a, b) ((a) + (b))
FOLD(fold_sum, PLUS, subgroupAdd)
#if NORM == SOFTMAX || NORM == LOG_SOFTMAX
FOLD(fold_max, max, subgroupMax)
#endif
#else
#define LANE 0
#define fold_sum(v) (v)
#define fold_max(v) (v)
#endif

float sum4(vec4 v) { return (v.x + v.y) + (v.z + v.w); }
float max4(vec4 v) { return max(max(v.x, v.y), max(v.z, v.w)); }

#define EACH [[unroll]] for (uint u = 0; u < UNROLL; u++)
#define AT(t, u) ((((t) * UNROLL + (u)) * LANES + LANE) * 4u)
/* KEEP: v where the vector lies inside the row, 0 beyond. KEPT: how many elements do. */
#if MASKED
#define LOAD(i) x_at4(o, min(i, (uint(INNER) - 1) & ~3u))
#define STORE(i, v) if (i < uint(INNER)) y_put4(o, i, v)
#define KEEP(v, i) mix(vec4(0.0), v, lessThan((i) + uvec4(0, 1, 2, 3), uvec4(INNER)))
#define KEPT(i) min(max(float(INNER) - float(i), 0.0), 4.0)
#else
#define LOAD(i) x_at4(o, i)
#define STORE(i, v) y_put4(o, i, v)
#define KEEP(v, i) (v)
#define KEPT(i) 4.0
#endif

#if OCTETS
#define PAIR [[unroll]] for (uint u = 0; u < UNROLL; u += 2)
#define LOAD_ALL(t) PAIR x_at8(o, AT(t, u), v[u], v[u + 1])
#define STORE_ALL(t) PAIR y_put8(o, AT(t, u), RESULT(v[u]), RESULT(v[u + 1]))
#else
#define LOAD_ALL(t) EACH v[u] = LOAD(AT(t, u))
#define STORE_ALL(t) EACH STORE(AT(t, u), RESULT(v[u]))
#endif

void main()
{
    LEAVE_SPARE_GROUPS
#if LANES > 1 && !ACROSS
    const uint row = GROUP * (WGSIZE / LANES) + LID / LANES;
#else
    const uint row = GROUP * (WGSIZE / LANES) + LID % (WGSIZE / LANES);
#endif
    const bool live = row < uint(OUTER);
    const uint o = live ? row : 0;
    vec4 v[UNROLL];

#if NORM == SOFTMAX || NORM == LOG_SOFTMAX
    float top = LOWEST;
    vec4 total = vec4(0.0);
#else
    float count = 0.0, mean = 0.0, square = 0.0;
#if NORM == LAYER
    const float base = x_at4(o, 0).x;
#endif
#endif
    [[dont_unroll]] for (uint t = 0; t < uint(TRIPS); t++) {
        LOAD_ALL(t);
#if NORM == SOFTMAX || NORM == LOG_SOFTMAX
        vec4 most = vec4(top);
        EACH most = max(most, v[u]);
        const float m = max4(most);
        total *= exp(top - m);
        EACH total += KEEP(exp(v[u] - m), AT(t, u));
        top = m;
#else
        vec4 acc[2] = vec4[2](vec4(0.0), vec4(0.0));
#if NORM == LAYER
        float n = 0.0;
        EACH {
            v[u] -= base;
            acc[u % 2] += KEEP(v[u], AT(t, u));
            n += KEPT(AT(t, u));
        }
        const float here = sum4(acc[0] + acc[1]) / max(n, 1.0), off = here - mean;
        acc[0] = acc[1] = vec4(0.0);
        EACH {
            const vec4 d = KEEP(v[u] - here, AT(t, u));
            acc[u % 2] += d * d;
        }
        const float share = n / max(count + n, 1.0);
        square += sum4(acc[0] + acc[1]) + off * off * count * share;
        mean += off * share;
        count += n;
#else
        EACH {
            const vec4 d = KEEP(v[u], AT(t, u));
            acc[u % 2] += d * d;
        }
        square += sum4(acc[0] + acc[1]);
#endif
#endif
    }

#if NORM == SOFTMAX || NORM == LOG_SOFTMAX
    const float high = fold_max(top);
    const float sum = fold_sum(sum4(total) * exp(top - high));
#if NORM == SOFTMAX
    const float scale = sum > 0.0 ? 1.0 / sum : NOT_A_NUMBER;
#define RESULT(v) (exp(v - high) * scale)
#else
    const float shift = sum > 0.0 ? log(sum) : NOT_A_NUMBER;
#define RESULT(v) ((v - high) - shift)
#endif
#elif NORM == LAYER
    const float centre = fold_sum(mean * count) / float(INNER), away = mean - centre;
    const float scale = 1.0 / sqrt(fold_sum(square + away * away * count) / float(INNER) + EPS);
#if SINGLE
#define RESULT(v) ((v - centre) * scale)
#else
#define RESULT(v) (((v - base) - centre) * scale)
#endif
#else
    const float scale = 1.0 / sqrt(fold_sum(square) / float(INNER) + EPS);
#define RESULT(v) (v * scale)
#endif

    if (!live)
        return;
    [[dont_unroll]] for (uint t = 0; t < uint(TRIPS); t++) {
#if !SINGLE
        LOAD_ALL(t);
#endif
        STORE_ALL(t);
    }
}
