/* Scans: x0..x3[OUTER, INNER] -> y0..y3[OUTER, INNER], the running combination of FIELDS fields along each row. Rows are cut
 * into PARTS parts of CHUNK elements, each scanned by itself: part 0 starts with init<i>[o, 0] (INIT), part p > 0 with
 * carry<i>[o, p - 1] (CARRY). FOLD: only what a part combines to, y<i>[OUTER, PARTS], and with SEGMENTED whether it was reset.
 *
 * OP        what combines: see JOIN. Fields beyond INPUTS start as 1 (logarithms of sums). PROJECT: y0 = f0 + log f1
 * SEGMENTED seg[o, i] starts a new segment: what precedes is dropped, by selection
 * LANES     lanes that share a part, a power of two <= WGSIZE; WGSIZE / LANES parts per workgroup. A trip takes
 *           LANES * UNROLL vectors: each lane combines UNROLL neighbouring vectors, the lanes' totals are scanned in shared
 *           memory, and the trip's total goes to the next trip. Elements join what precedes the lane's vectors last, which
 *           keeps the chain of roundings short
 * ACROSS    neighbouring lanes hold neighbouring rows; otherwise neighbouring places of one row
 * WIDTH     4, or 1 for element types without vectors
 * MASKED    trips reach beyond the part
 * Shared bytes: WGSIZE states when LANES > 1. */
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
#if BOUNDED && COMPLEX
vec2 bounded(vec2 a) { return vec2(abs(a.x) > 3.0e38 ? sign(a.x) * 3.0e38 : a.x, abs(a.y) > 3.0e38 ? sign(a.y) * 3.0e38 : a.y); }
#elif BOUNDED
float bounded(float a) { return abs(a) > 3.0e38 ? sign(a) * 3.0e38 : a; }
#else
#define bounded(a) a
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
    const float e = tf_exp(a.f0 == b.f0 ? 0.0 : -abs(a.f0 - b.f0));
    s.f0 = tf_max(a.f0, b.f0);
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
#define EVERY [[unroll]] for (uint e = 0; e < WIDTH; e++)
#if WIDTH == 4
#define PICK(v) v[u][e]
#else
#define PICK(v) v[u]
#endif

#if LANES > 1
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
#define WRITE PICK(v0) = y.f0 + tf_log(y.f1);
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
#define SET_RESET s.reset = RESET;
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
#if OP == LOGSUMEXP && INPUTS == 1
#define LIFT_ELEMENT LIFT(s)
#else
#define LIFT_ELEMENT
#endif
#define ELEMENT(s) \
    S s = neutral(); \
    const bool inside = !bool(MASKED) || i + u * WIDTH + e < end; \
    EACH_INPUT(ELEMENT_X) \
    LIFT_ELEMENT SET_RESET SET_SOME MASK

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
    if (p > 0u) base = carried(o, p - 1u);
#endif

    /* The trip count is that of a full part, so that all lanes of a workgroup meet at the barriers. */
    const uint each = UNROLL * WIDTH;
    [[dont_unroll]] for (uint t = 0; t < uint(CHUNK); t += LANES * each) {
        const uint i = first + t + LANE * each;
        LOAD_ALL
        S own = neutral();
#if LANES > 1
        EACH EVERY {
            ELEMENT(s)
            own = join(own, s);
        }
        S total;
        const S from = join(base, before_lane(own, total));
        base = join(base, total);
#if !FOLD
        own = neutral();
        EACH {
            EVERY {
                ELEMENT(s)
                const S next = join(own, s);
                PUT(RESET, from, own, next)
                own = next;
            }
            STORE_ALL
        }
#endif
#else
        EACH {
            EVERY {
                ELEMENT(s)
#if FOLD
                own = join(own, s);
#else
#if SEGMENTED
                if (RESET) {
                    own = neutral();
                    base = neutral();
                }
#endif
#if CHAIN
                const S next = join(base, s);
                PUT(RESET, next, base, next)
                base = next;
#else
                const S next = join(own, s);
                PUT(RESET, base, own, next)
                own = next;
#endif
#endif
            }
#if !FOLD
            STORE_ALL
#endif
        }
#if FOLD || !CHAIN
        base = join(base, own);
#endif
#endif
    }
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
