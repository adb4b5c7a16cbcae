/* Scans: x0..x3[OUTER, INNER] -> y0..y3[OUTER, INNER], the running combination of FIELDS fields along each row. Rows are cut
 * into PARTS parts of CHUNK elements, each scanned by itself: part 0 starts with init<i>[o, 0] (INIT), part p > 0 with
 * carry<i>[o, p * RATIO - 1] (CARRY). FOLD: only what a part combines to, y<i>[OUTER, PARTS], and with SEGMENTED whether it was reset.
 *
 * OP        what combines: see JOIN. Fields beyond INPUTS start as 1 (logarithms of sums). PROJECT: y0 = f0 + log f1
 * SEGMENTED seg[o, i] starts a new segment: what precedes is dropped, by selection
 * LANES     lanes that share a part, a power of two <= WGSIZE; WGSIZE / LANES parts per workgroup. A trip takes
 *           LANES * UNROLL vectors: each lane combines UNROLL neighbouring vectors, the lanes' totals are scanned in shared
 *           memory, and the trip's total goes to the next trip
 * SHUFFLE   the workgroup is one subgroup of LANES lanes, and totals are scanned by exchanges
 * CHAIN     elements join one by one what precedes them, which costs least; else they join what precedes the lane's vectors last,
 *           which keeps the chain of roundings short
 * ACROSS    neighbouring lanes hold neighbouring rows; otherwise neighbouring places of one row
 * WIDTH     4, or 1 for element types without vectors
 * MASKED    trips reach beyond the part
 * Shared bytes: WGSIZE states when LANES > 1 without SHUFFLE. */
#define SUM 0
#define PRODUCT 1
#define MAXIMUM 2
#define MINIMUM 3
#define LOGSUMEXP 4
#define LINEAR 5
#define EXPRESSION 6

/* A reset met while combining must be remembered where the combination joins something before it. */
#define FLAGS (SEGMENTED && (LANES > 1 || FOLD))

struct S {
    T0 f0;
#if FIELDS > 1
    T1 f1;
#endif
#if FIELDS > 2
    T2 f2;
#endif
#if FIELDS > 3
    T3 f3;
#endif
#if FLAGS
    bool reset;
#endif
#if OP == EXPRESSION
    bool some; /* expressions have no neutral element */
#endif
};

S neutral()
{
    S s;
#define X(i) s.f##i = T##i(NEUTRAL##i);
    EACH_FIELD(X)
#undef X
#if FLAGS
    s.reset = false;
#endif
#if OP == EXPRESSION
    s.some = false;
#endif
    return s;
}

#if COMPLEX
#define TIMES(a, b) vec2((a).x * (b).x - (a).y * (b).y, (a).x * (b).y + (a).y * (b).x)
#else
#define TIMES(a, b) ((a) * (b))
#endif
/* A product that overflows stays finite, so that times 0 it is 0. */
#if BOUNDED
#define bounded(a) clamp(a, -3.0e38, 3.0e38)
#else
#define bounded(a) a
#endif

#if OP == LOGSUMEXP
/* exp_of: e^x for x <= 87; below e^-87 what it is added to does not notice it. NaN stays.
 * log_of: log s for s >= 1 = 2^e (1 + f), log(1 + f) = 2 artanh(q). */
#define EXP_AND_LOG(F, I, LESS) \
    F exp_of(F x) \
    { \
        const F t = x * -1.44269502, c = mix(t, F(126.0), LESS(F(126.0), t)); \
        const I k = floatBitsToInt(12582912.0 - c); /* as tf_nearest; the shift drops what is not its exponent */ \
        const F f = c + F(k - 0x4b400000); \
        const F p = 1.0 - f * (0.693147182 - f * (0.240222052 - f * (0.0555036664 - f * (0.00967336260 - f * 0.00133882219)))); \
        return intBitsToFloat(floatBitsToInt(p) + (k << 23)); \
    } \
    F log_of(F s) \
    { \
        const I e = (floatBitsToInt(s) - 0x3f3504f3) >> 23; \
        const F f = s * intBitsToFloat(0x3f800000 - (e << 23)) - 1.0, q = f / (2.0 + f), z = q * q; \
        return F(e) * 0.693147182 + q * (2.0 + z * (0.666666865 + z * (0.3998878 + z * 0.295799494))); \
    }
#define LESS_ONE(a, b) ((a) < (b))
EXP_AND_LOG(float, int, LESS_ONE)
EXP_AND_LOG(vec4, ivec4, lessThan)
#endif

/* a, then b. */
S combine(S a, S b)
{
    S s = b;
#if OP == SUM
    s.f0 = a.f0 + b.f0;
#elif OP == PRODUCT
    s.f0 = TIMES(a.f0, b.f0);
#elif OP == MAXIMUM
    s.f0 = tf_max(a.f0, b.f0);
#elif OP == MINIMUM
    s.f0 = tf_min(a.f0, b.f0);
#elif OP == LOGSUMEXP
    const float e = exp_of(a.f0 == b.f0 ? 0.0 : -abs(a.f0 - b.f0));
    s.f0 = a.f0 < b.f0 ? b.f0 : a.f0;
    s.f1 = a.f0 < b.f0 ? a.f1 * e + b.f1 : a.f1 + b.f1 * e;
#elif OP == LINEAR
    s.f0 = TIMES(b.f1, a.f0) + b.f0;
    s.f1 = bounded(TIMES(a.f1, b.f1));
#else
    if (!b.some) return a;
    if (a.some) {
        JOIN_HOOK(a, b, s)
    }
#endif
    return s;
}

S join(S a, S b)
{
#if FLAGS
    S s = combine(a, b);
#define X(i) s.f##i = b.reset ? b.f##i : s.f##i;
    EACH_FIELD(X)
#undef X
    s.reset = a.reset || b.reset;
#if OP == EXPRESSION
    s.some = b.reset ? b.some : s.some;
#endif
    return s;
#else
    return combine(a, b);
#endif
}

#if OP == LOGSUMEXP && INPUTS == 1
/* a, then the number b.f0: a sum of one. */
S append(S a, S b)
{
    S s = b;
#if FLAGS
    if (b.reset) a = neutral();
    s.reset = a.reset || b.reset;
#endif
    const bool above = b.f0 > a.f0;
    const float e = exp_of(a.f0 == b.f0 ? 0.0 : -abs(a.f0 - b.f0));
    s.f0 = above ? b.f0 : a.f0;
    s.f1 = a.f1 * (above ? e : 1.0) + (above ? 1.0 : e);
    return s;
}
#else
#define append(a, b) join(a, b)
#endif

/* The logarithm of one number as a sum of one: -inf is a sum of none. */
#define LIFT(s) s.f1 = s.f0 < -3.0e38 ? 0.0 : 1.0; s.f0 = s.f0 < -3.0e38 ? -3.0e38 : s.f0;

#if INIT
S initial(uint o)
{
    S s = neutral();
#define X(i) s.f##i = init##i##_at(o, 0u);
    EACH_START(X)
#undef X
#if OP == LOGSUMEXP
    LIFT(s)
#endif
#if OP == EXPRESSION
    s.some = true;
#endif
    return s;
}
#endif

#if CARRY
S carried(uint o, uint p)
{
    S s = neutral();
#define X(i) s.f##i = carry##i##_at(o, p);
    EACH_CARRY(X)
#undef X
#if OP == EXPRESSION
    s.some = true;
#endif
    return s;
}
#endif

#define PARTS_PER_GROUP (WGSIZE / LANES)
#if SHUFFLE
#define LANE gl_SubgroupInvocationID
#define SLOT 0
#elif ACROSS
#define LANE (LID / PARTS_PER_GROUP)
#define SLOT (LID % PARTS_PER_GROUP)
#define LANE_STRIDE PARTS_PER_GROUP
#else
#define LANE (LID % LANES)
#define SLOT (LID / LANES)
#define LANE_STRIDE 1
#endif
#define EACH [[unroll]] for (uint u = 0; u < UNROLL; u++)
#define EVERY [[unroll]] for (uint e = 0; e < WIDTH; e++)
#if WIDTH == 4
#define PICK(v) v[u][e]
#else
#define PICK(v) v[u]
#endif

#if SHUFFLE
#define LAST_LANE (LANES - 1)
#define BACK(d) ((LANE - d) & LAST_LANE)
/* No loop: compilers may leave it one, while exchanges at constant distances cost next to nothing. */
#define EACH_STEP STEP(1) STEP(2) STEP(4) STEP(8) STEP(16) STEP(32) STEP(64)
float from_lane(float v, uint lane) { return subgroupShuffle(v, lane); }
vec2 from_lane(vec2 v, uint lane) { return vec2(subgroupShuffle(v.x, lane), subgroupShuffle(v.y, lane)); }
int from_lane(int v, uint lane) { return subgroupShuffle(v, lane); }
uint from_lane(uint v, uint lane) { return subgroupShuffle(v, lane); }
bool from_lane(bool v, uint lane) { return subgroupShuffle(uint(v), lane) != 0u; }

S from_lane(S v, uint lane)
{
    S s;
#define X(i) s.f##i = from_lane(v.f##i, lane);
    EACH_FIELD(X)
#undef X
#if FLAGS
    s.reset = from_lane(v.reset, lane);
#endif
#if OP == EXPRESSION
    s.some = from_lane(v.some, lane);
#endif
    return s;
}

S before_lane(S own, out S total)
{
    S v;
#define STEP(d) if (d < LANES) { v = join(from_lane(own, BACK(d)), own); if (LANE >= d) own = v; }
    EACH_STEP
#undef STEP
    total = from_lane(own, LAST_LANE);
    S before = from_lane(own, BACK(1));
    if (LANE == 0)
        before = neutral();
    return before;
}
#elif LANES > 1
shared S part[WGSIZE];

/* What comes before this lane, and the total of all lanes. Called by the whole workgroup. */
S before_lane(S own, out S total)
{
    part[LID] = own;
    barrier();
    [[unroll]] for (uint d = 1; d < LANES; d *= 2) {
        S v = part[LID];
        if (LANE >= d)
            v = join(part[LID - d * LANE_STRIDE], v);
        barrier();
        part[LID] = v;
        barrier();
    }
    total = part[LID + (LANES - 1 - LANE) * LANE_STRIDE];
    S before = neutral();
    if (LANE > 0)
        before = part[LID - LANE_STRIDE];
    barrier();
    return before;
}
#endif

#if WIDTH == 4
#define LOAD(v, x, type) type v[UNROLL]; EACH v[u] = x##_at4(o, min(i + u * 4, (uint(INNER) - 1) & ~3u));
#define STORE(i) if (live && at < end) y##i##_put4(o, at, v##i[u]);
#else
#define LOAD(v, x, type) type v[UNROLL]; EACH v[u] = x##_at(o, min(i + u, uint(INNER) - 1));
#define STORE(i) if (live && at < end) y##i##_put(o, at, v##i[u]);
#endif
#define LOAD_X(i) LOAD(v##i, x##i, VT##i)
#if SEGMENTED
#define LOAD_ALL EACH_INPUT(LOAD_X) LOAD(seg, seg, VSEG)
#else
#define LOAD_ALL EACH_INPUT(LOAD_X)
#endif
#define STORE_ALL { const uint at = i + u * WIDTH; EACH_WANTED(STORE) }

/* The result at an element: `before` and `after` it is what follows `from`. */
#if CHAIN
#define RESULT(r, from, before, after) (EXCLUSIVE != 0 ? before : after)
#elif EXCLUSIVE
#define RESULT(r, from, before, after) join(from, before)
#else
#define RESULT(r, from, before, after) join(from, after)
#endif
#if EXCLUSIVE && FLAGS
#define DROP(r) if (r) y = neutral();
#else
#define DROP(r)
#endif
#if PROJECT
#define WRITE const float sum = y.f0 + log_of(y.f1), none = -tf_inf(); PICK(v0) = y.f1 < 0.5 ? none : sum;
#else
#define WRITE_FIELD(i) PICK(v##i) = y.f##i;
#define WRITE EACH_WANTED(WRITE_FIELD)
#endif
#define PUT(r, from, before, after) { S y = RESULT(r, from, before, after); DROP(r) WRITE }

/* Element (u, e) of this trip. */
#define ELEMENT_X(i) s.f##i = PICK(v##i);
#if SEGMENTED
#define RESET PICK(seg)
#else
#define RESET false
#endif
#if FLAGS
#define SET_RESET s.reset = inside && RESET;
#else
#define SET_RESET
#endif
#if OP == EXPRESSION
#define SET_SOME s.some = inside;
#define MASK
#else
#define SET_SOME
#define MASK if (!inside) s = neutral();
#endif
#define ELEMENT(s) \
    S s = neutral(); \
    const bool inside = !bool(MASKED) || i + u * WIDTH + e < end; \
    EACH_INPUT(ELEMENT_X) \
    SET_RESET SET_SOME MASK

#if OP == LOGSUMEXP && INPUTS == 1 && WIDTH == 4 && !FLAGS
/* x - y where x may be infinite, within what exp_of takes. */
vec4 above_of(vec4 x, float y)
{
    const vec4 d = x - min(y, 3.0e38);
    return mix(d, vec4(87.0), lessThan(vec4(87.0), d));
}

/* The trip's elements after `own`. */
#define APPEND_ALL { \
    vec4 most = vec4(own.f0), sum = vec4(0.0); \
    EACH { \
        if (MASKED != 0) v0[u] = mix(v0[u], vec4(-3.3e38), greaterThanEqual(i + u * 4 + uvec4(0, 1, 2, 3), uvec4(end))); \
        most = mix(most, v0[u], lessThan(most, v0[u])); \
    } \
    most.xy = mix(most.xy, most.zw, lessThan(most.xy, most.zw)); \
    const float top = most.x < most.y ? most.y : most.x; \
    EACH sum += exp_of(above_of(v0[u], top)); \
    own.f1 = own.f1 * exp_of(own.f0 == top ? 0.0 : own.f0 - top) + ((sum.x + sum.y) + (sum.z + sum.w)); \
    own.f0 = top; }
#else
#define APPEND_ALL EACH EVERY { ELEMENT(s) own = append(own, s); }
#endif

#if PROJECT && CHAIN && INPUTS == 1 && WIDTH == 4 && !FLAGS
#define VECTORS 1
/* Four elements v behind the number `largest`: the largest before each in m and up to each in top, and what an element keeps of a sum
 * before it and adds to it, as top grows. Without segments kept and own are those of all elements of v up to one, so that little
 * chains from vector to vector. Exponentials stand side by side. */
#define KEEP(v, m, kept, own) \
    const vec4 e = exp_of(mix(-abs(v - m), vec4(0.0), equal(v, m))); \
    const bvec4 above = greaterThan(v, m); \
    kept = mix(vec4(1.0), e, above); \
    own = mix(e, vec4(1.0), above);
/* The results of those elements, with the sum up to them. */
#define FINISH(v, m, top) \
    const vec4 s = EXCLUSIVE != 0 ? before : after, y = (EXCLUSIVE != 0 ? m : top) + log_of(s); \
    v = mix(y, vec4(-tf_inf()), lessThan(s, vec4(0.5)));
#if SEGMENTED
#define RISE(c, v, m, top, largest) if (seg[u].c) largest = NEUTRAL0; m.c = largest; largest = v.c > largest ? v.c : largest; top.c = largest;
#define GROW(c, kept, own, sum) if (seg[u].c) sum = 0.0; before.c = sum; sum = sum * kept.c + own.c; after.c = sum;
#define WEIGH(v, m, top, kept, own, largest) { \
    RISE(x, v, m, top, largest) RISE(y, v, m, top, largest) RISE(z, v, m, top, largest) RISE(w, v, m, top, largest) \
    KEEP(v, m, kept, own) }
#define SUM_UP(v, m, top, kept, own, sum) { \
    vec4 before, after; \
    GROW(x, kept, own, sum) GROW(y, kept, own, sum) GROW(z, kept, own, sum) GROW(w, kept, own, sum) \
    FINISH(v, m, top) }
#else
#define WEIGH(v, m, top, kept, own, largest) { \
    vec4 rise = v; \
    rise.y = rise.y > rise.x ? rise.y : rise.x; \
    rise.z = rise.z > rise.y ? rise.z : rise.y; \
    rise.w = rise.w > rise.z ? rise.w : rise.z; \
    top = mix(vec4(largest), rise, greaterThan(rise, vec4(largest))); \
    m = vec4(largest, top.xyz); \
    largest = top.w; \
    KEEP(v, m, kept, own) \
    own.y += own.x * kept.y; kept.y *= kept.x; \
    own.z += own.y * kept.z; kept.z *= kept.y; \
    own.w += own.z * kept.w; kept.w *= kept.z; }
#define SUM_UP(v, m, top, kept, own, sum) { \
    const vec4 after = sum * kept + own, before = vec4(sum, after.xyz); \
    FINISH(v, m, top) \
    sum = after.w; }
#endif
#else
#define VECTORS 0
#endif

#if VECTORS && LANES > 1
/* Is what a trip adds little beside the sum with it? Not while that is a sum of none, nor when the largest number is far above the one that
 * the sum is relative to. */
#define LITTLE(added, sum) ((added) * 256.0 <= (sum) && (sum) > 0.5 && (sum) < 4.0e9)

/* A trip. The largest before each element comes first, so that one exponential each gives what the sums keep and gain: sums then
 * combine like a linear recurrence, without any. True: it added little. */
bool scan_vectors(inout S base, inout vec4 v[UNROLL])
{
    vec4 kept[UNROLL], own[UNROLL], m[UNROLL], top[UNROLL];
    float up = NEUTRAL0, other;
#define LARGER(x) up = x > up ? x : up;
    EACH { LARGER(v[u].x) LARGER(v[u].y) LARGER(v[u].z) LARGER(v[u].w) }
#define STEP(d) if (d < LANES) { other = from_lane(up, BACK(d)); if (LANE >= d) LARGER(other) }
    EACH_STEP
#undef STEP
    const float all = from_lane(up, LAST_LANE);
    other = from_lane(up, BACK(1));
    float largest = LANE > 0 && other > base.f0 ? other : base.f0, sum = 0.0, keep = 1.0;
    EACH {
        WEIGH(v[u], m[u], top[u], kept[u], own[u], largest)
        sum = sum * kept[u].w + own[u].w;
        keep *= kept[u].w;
    }
#define STEP(d) if (d < LANES) { const float s = from_lane(sum, BACK(d)), k = from_lane(keep, BACK(d)); if (LANE >= d) { sum += s * keep; keep *= k; } }
    EACH_STEP
#undef STEP
    float from = from_lane(keep, BACK(1)) * base.f1 + from_lane(sum, BACK(1));
    if (LANE == 0)
        from = base.f1;
    const float added = from_lane(sum, LAST_LANE);
    base.f0 = all > base.f0 ? all : base.f0;
    base.f1 = from_lane(keep, LAST_LANE) * base.f1 + added;
    EACH SUM_UP(v[u], m[u], top[u], kept[u], own[u], from)
    return LITTLE(added, base.f1);
}

/* The same, only if the trip adds little: numbers relative to that of the sum before the trip then have sums of about as many digits, and
 * log(sum + s) is log sum + s / sum - (s / sum)^2 / 2 to all of them. False: nothing was done but to v. */
bool add_vectors(inout S base, inout vec4 v[UNROLL])
{
    float own = 0.0, before[UNROLL];
    EACH {
        vec4 e = exp_of(above_of(v[u], base.f0));
        e.y += e.x;
        e.z += e.y;
        e.w += e.z;
        before[u] = own;
        own += e.w;
        v[u] = EXCLUSIVE != 0 ? vec4(0.0, e.xyz) : e;
    }
    float upto = own;
#define STEP(d) if (d < LANES) { const float s = from_lane(upto, BACK(d)); if (LANE >= d) upto += s; }
    EACH_STEP
#undef STEP
    const float added = from_lane(upto, LAST_LANE), share = 1.0 / base.f1, bend = 0.5 * share * share, mean = base.f0 + log_of(base.f1);
    EACH {
        const vec4 s = v[u] + (upto - own + before[u]);
        v[u] = mean + s * (share - s * bend);
    }
    if (!LITTLE(added, base.f1))
        return false;
    base.f1 += added;
    return true;
}
#endif

void main()
{
    LEAVE_SPARE_GROUPS
    const uint row = GROUP * PARTS_PER_GROUP + SLOT;
    const bool live = row < uint(OUTER) * uint(PARTS);
#if ACROSS
    const uint o = live ? row % uint(OUTER) : 0, p = live ? row / uint(OUTER) : 0;
#else
    const uint o = live ? row / uint(PARTS) : 0, p = live ? row % uint(PARTS) : 0;
#endif
    const uint first = p * uint(CHUNK), end = min(first + uint(CHUNK), uint(INNER));
    S base = neutral();
#if INIT
    if (p == 0u) base = initial(o);
#endif
#if CARRY
    if (p > 0u) base = carried(o, p * RATIO - 1u);
#endif

    /* The trip count is that of a full part, so that all lanes of a workgroup meet at the barriers. */
    const uint each = UNROLL * WIDTH;
#if LANES > 1 && VECTORS
    /* A loop for each kind of trip: on some CPU drivers a branch costs both of its sides, while loops cost their trips and one more.
     * A part that changes its mind too often stays with the first kind, so that its loops together keep to TF_CPU_TRIPS. */
    const uint trip = LANES * each, size = end - first;
    uint t = 0, changes = 0;
    while (t < size) {
        bool little;
        do {
            const uint i = first + t + LANE * each;
            LOAD_ALL
            little = scan_vectors(base, v0);
            EACH STORE_ALL
            t += trip;
        } while (t < size && !(little && changes < 1000));
        while (little && t + trip <= size) {
            const uint i = first + t + LANE * each;
            LOAD_ALL
            little = add_vectors(base, v0);
            if (little) {
                EACH y0_put4(o, i + u * 4, v0[u]);
                t += trip;
            }
        }
        changes++;
    }
#else
    [[dont_unroll]] for (uint t = 0; t < uint(CHUNK); t += LANES * each) {
        const uint i = first + t + LANE * each;
        LOAD_ALL
        S own = neutral();
#if LANES > 1
        APPEND_ALL
        S total;
        const S from = join(base, before_lane(own, total));
        base = join(base, total);
#if !FOLD
        own = CHAIN != 0 ? from : neutral();
        EACH {
            EVERY {
                ELEMENT(s)
                const S next = append(own, s);
                PUT(RESET, from, own, next)
                own = next;
            }
            STORE_ALL
        }
#endif
#elif FOLD
        APPEND_ALL
#else
        EACH {
#if VECTORS
            vec4 m, top, kept, own;
            WEIGH(v0[u], m, top, kept, own, base.f0)
            SUM_UP(v0[u], m, top, kept, own, base.f1)
#else
            EVERY {
                ELEMENT(s)
#if SEGMENTED
                if (RESET) {
                    own = neutral();
                    base = neutral();
                }
#endif
#if CHAIN
                const S next = append(base, s);
                PUT(RESET, next, base, next)
                base = next;
#else
                const S next = append(own, s);
                PUT(RESET, base, own, next)
                own = next;
#endif
            }
#endif
            STORE_ALL
        }
#endif
#if LANES == 1 && (FOLD || !CHAIN)
        base = join(base, own);
#endif
    }
#endif
#if FOLD
    if (live && LANE == 0) {
#define Y(i) y##i##_put(o, p, base.f##i);
        EACH_WANTED(Y)
#if SEGMENTED
        reset_put(o, p, base.reset);
#endif
    }
#endif
}
