/* Running sum or product: x[OUTER, INNER] -> y[OUTER, INNER]. Rows are cut into PARTS parts of CHUNK elements, each scanned by
 * itself; with CARRY, part p of row o starts with carry[o, p].
 *
 * PRODUCT, EXCLUSIVE  what is computed
 * LANES     lanes that share a part, a power of two <= WGSIZE; WGSIZE / LANES parts per workgroup. A trip takes
 *           LANES * UNROLL vectors: each lane scans UNROLL neighbouring vectors, the lanes' totals are scanned in shared
 *           memory, and the trip's total goes to the next trip. Elements join what precedes the lane's vectors last, which
 *           keeps the chain of roundings short
 * ACROSS    neighbouring lanes hold neighbouring rows; otherwise neighbouring places of one row
 * WIDTH     4, or 1 for element types without vectors
 * MASKED    trips reach beyond the part
 * Shared bytes: WGSIZE elements when LANES > 1. */
#if WIDTH == 4
#define V T4
#else
#define V T
#endif

#if PRODUCT && COMPLEX
#define JOIN(a, b) vec2((a).x * (b).x - (a).y * (b).y, (a).x * (b).y + (a).y * (b).x)
#define NEUTRAL vec2(1.0, 0.0)
#elif PRODUCT
#define JOIN(a, b) ((a) * (b))
#define NEUTRAL T(1)
#else
#define JOIN(a, b) ((a) + (b))
#define NEUTRAL T(0)
#endif

#define PARTS_PER_GROUP (WGSIZE / LANES)
#if ACROSS
#define LANE (LID / PARTS_PER_GROUP)
#define SLOT (LID % PARTS_PER_GROUP)
#define LANE_STRIDE PARTS_PER_GROUP
#else
#define LANE (LID % LANES)
#define SLOT (LID / LANES)
#define LANE_STRIDE 1
#endif
#define EACH [[unroll]] for (uint u = 0; u < UNROLL; u++)

#if LANES > 1
shared T part[WGSIZE];

/* What comes before this lane, and the total of all lanes. Called by the whole workgroup. */
T before_lane(T own, out T total)
{
    part[LID] = own;
    barrier();
    [[unroll]] for (uint d = 1; d < LANES; d *= 2) {
        T v = part[LID];
        if (LANE >= d)
            v = JOIN(part[LID - d * LANE_STRIDE], v);
        barrier();
        part[LID] = v;
        barrier();
    }
    total = part[LID + (LANES - 1 - LANE) * LANE_STRIDE];
    const T before = LANE > 0 ? part[LID - LANE_STRIDE] : NEUTRAL;
    barrier();
    return before;
}
#endif

/* The next element: `own` is what the lane has folded in this trip, `from` what precedes it. */
#define ADVANCE(e) { const T next = JOIN(own, e); e = JOIN(from, EXCLUSIVE != 0 ? own : next); own = next; }

void main()
{
    LEAVE_SPARE_GROUPS
    const uint row = GROUP * PARTS_PER_GROUP + SLOT;
    const bool live = row < uint(OUTER) * uint(PARTS);
    const uint o = live ? row / uint(PARTS) : 0, p = live ? row % uint(PARTS) : 0;
    const uint first = p * uint(CHUNK), end = min(first + uint(CHUNK), uint(INNER));
#if CARRY
    T base = carry_at(o, p);
#else
    T base = NEUTRAL;
#endif

    /* The trip count is that of a full part, so that all lanes of a workgroup meet at the barriers. */
    const uint each = UNROLL * WIDTH;
    [[dont_unroll]] for (uint t = 0; t < uint(CHUNK); t += LANES * each) {
        const uint i = first + t + LANE * each;
        V v[UNROLL];
        EACH {
            const uint at = i + u * WIDTH;
#if WIDTH == 4
            v[u] = x_at4(o, min(at, (uint(INNER) - 1) & ~3u));
#if MASKED
            v[u] = mix(V(NEUTRAL), v[u], lessThan(at + uvec4(0, 1, 2, 3), uvec4(end)));
#endif
#else
            v[u] = x_at(o, min(at, uint(INNER) - 1));
#if MASKED
            v[u] = at < end ? v[u] : NEUTRAL;
#endif
#endif
        }
        T own = NEUTRAL;
        T from = base;
#if LANES > 1
        EACH {
#if WIDTH == 4
            [[unroll]] for (uint e = 0; e < 4; e++) own = JOIN(own, v[u][e]);
#else
            own = JOIN(own, v[u]);
#endif
        }
        T total;
        from = JOIN(base, before_lane(own, total));
        base = JOIN(base, total);
        own = NEUTRAL;
#endif
        EACH {
#if WIDTH == 4
            [[unroll]] for (uint e = 0; e < 4; e++) ADVANCE(v[u][e])
            if (live && i + u * 4 < end) y_put4(o, i + u * 4, v[u]);
#else
            ADVANCE(v[u])
            if (live && i + u < end) y_put(o, i + u, v[u]);
#endif
        }
#if LANES == 1
        base = JOIN(base, own);
#endif
    }
}
