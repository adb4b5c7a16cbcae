/* Reduction. COLS 0: x[OUTER, INNER] -> y[OUTER, PARTS]; COLS 1: x[OUTER, INNER, NCOLS] -> y[OUTER, PARTS, NCOLS].
 * Part p folds inner elements [p * CHUNK, (p + 1) * CHUNK).
 *
 * FOLD      what is folded: the names below
 * T         element type; V is a vector of WIDTH (4 or 1) of them, neighbours in a row or, with COLS, neighbouring columns
 * LANES     lanes that share a row or a vector of columns, a power of two <= WGSIZE; WGSIZE / LANES of those per workgroup
 * UNROLL    vectors a lane takes per trip, each into an accumulator of its own
 * MASKED    trips reach beyond the part
 * SUBGROUP  with LANES == WGSIZE: fold by subgroup arithmetic first
 * DIVIDE    the result is divided by DIVISOR
 *
 * The order of operations depends on the sizes alone. Shared bytes: WGSIZE times a result (and its index) when LANES > 1. */
#define SUM 0
#define PROD 1
#define MAX 2
#define MIN 3
#define ANY 4
#define ALL 5
#define ARGMAX 6
#define ARGMIN 7
#define LOGSUMEXP 8
#define SQUARES 9
#define INDEXED (FOLD == ARGMAX || FOLD == ARGMIN)

#if WIDTH == 4
#define V T4
#define CHOOSE(a, b, p) mix(a, b, p)
#define LESS(a, b) lessThan(a, b)
#define SAME(a, b) equal(a, b)
#define AND(a, b) bvec4(uvec4(a) & uvec4(b))
#define OR(a, b) bvec4(uvec4(a) | uvec4(b))
#else
#define V T
#define CHOOSE(a, b, p) ((p) ? (b) : (a))
#define LESS(a, b) ((a) < (b))
#define SAME(a, b) ((a) == (b))
#define AND(a, b) ((a) && (b))
#define OR(a, b) ((a) || (b))
#endif

/* R: the type of a lane's result, and what goes through shared memory. */
#if COLS
#define R V
#else
#define R T
#endif

/* JOIN on vectors, JOIN_R on results. */
#if FOLD == SUM || FOLD == SQUARES
#define JOIN(a, b) ((a) + (b))
#define JOIN_R(a, b) ((a) + (b))
#define SUBGROUP_JOIN subgroupAdd
#elif FOLD == PROD && COMPLEX
vec2 times(vec2 a, vec2 b) { return vec2(a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x); }
#define JOIN(a, b) times(a, b)
#define JOIN_R(a, b) times(a, b)
#elif FOLD == PROD
#define JOIN(a, b) ((a) * (b))
#define JOIN_R(a, b) ((a) * (b))
#define SUBGROUP_JOIN subgroupMul
#elif FOLD == MAX
#define JOIN(a, b) max(a, b)
#define JOIN_R(a, b) max(a, b)
#define SUBGROUP_JOIN subgroupMax
#elif FOLD == MIN
#define JOIN(a, b) min(a, b)
#define JOIN_R(a, b) min(a, b)
#define SUBGROUP_JOIN subgroupMin
#elif FOLD == ANY
#define JOIN(a, b) OR(a, b)
#define JOIN_R(a, b) R(uint(a) | uint(b))
#elif FOLD == ALL
#define JOIN(a, b) AND(a, b)
#define JOIN_R(a, b) R(uint(a) & uint(b))
#endif
#if COLS
#undef JOIN_R
#define JOIN_R(a, b) JOIN(a, b)
#endif

#define ROWS (WGSIZE / LANES) /* rows, or vectors of columns, per workgroup */
#if COLS
#define STEP 1u
#define VECTORS ((uint(NCOLS) + WIDTH - 1) / WIDTH)
#define LANE (LID / ROWS)
#define SLOT (LID % ROWS)
#define LANE_STRIDE ROWS
#else
#define STEP uint(WIDTH)
#define VECTORS 1u
#define LANE (LID % LANES)
#define SLOT (LID / LANES)
#define LANE_STRIDE 1
#endif
#define EACH [[unroll]] for (uint u = 0; u < UNROLL; u++)
#define AT(t, u) (first + (((t) * UNROLL + (u)) * LANES + LANE) * STEP)

uint o, p, c;     /* this lane's place in y */
uint first, end;  /* its part of inner */

V load(uint i)
{
#if MASKED
    i = min(i, (uint(INNER) - 1) / STEP * STEP);
#endif
#if COLS && WIDTH == 4
    return x_at4(o, i, c);
#elif COLS
    return x_at(o, i, c);
#elif WIDTH == 4
    return x_at4(o, i);
#else
    return x_at(o, i);
#endif
}

/* v, with `other` for elements beyond the part. */
V keep(V v, V other, uint i)
{
#if !MASKED
    return v;
#elif COLS || WIDTH == 1
    return i < end ? v : other;
#else
    return CHOOSE(other, v, lessThan(i + uvec4(0, 1, 2, 3), uvec4(end)));
#endif
}

uint trips()
{
    return (end - first + UNROLL * LANES * STEP - 1) / (UNROLL * LANES * STEP);
}

void place()
{
    const uint row = GROUP * ROWS + SLOT;
    c = row % VECTORS * WIDTH;
    p = row / VECTORS % uint(PARTS);
    o = min(row / VECTORS / uint(PARTS), uint(OUTER) - 1);
    first = p * uint(CHUNK);
    end = min(first + uint(CHUNK), uint(INNER));
}

#if INDEXED && COLS && WIDTH == 4
#define RESULT ivec4
#elif INDEXED
#define RESULT int
#else
#define RESULT R
#endif
void put(RESULT r)
{
#if DIVIDE && COMPLEX
    r /= float(DIVISOR);
#elif DIVIDE
    r /= T(DIVISOR);
#endif
    if (LANE == 0 && GROUP * ROWS + SLOT < uint(OUTER) * uint(PARTS) * VECTORS) {
#if COLS && WIDTH == 4
        y_put4(o, p, c, r);
#elif COLS
        y_put(o, p, c, r);
#else
        y_put(o, p, r);
#endif
    }
}

#if LANES > 1
shared R part[WGSIZE];
#endif

/* Folds a value over the lanes of a row; all lanes get the result. Called by the whole workgroup. */
#if SUBGROUP
#define OVER_LANES(NAME, JOIN_ONE, SUBGROUP_JOIN_ONE)                                    \
R NAME(R r)                                                                              \
{                                                                                        \
    r = SUBGROUP_JOIN_ONE(r);                                                            \
    barrier();                                                                           \
    if (subgroupElect())                                                                 \
        part[gl_SubgroupID] = r;                                                         \
    barrier();                                                                           \
    r = part[0];                                                                         \
    for (uint i = 1; i < gl_NumSubgroups; i++)                                           \
        r = JOIN_ONE(r, part[i]);                                                        \
    return r;                                                                            \
}
#elif LANES > 1
#define OVER_LANES(NAME, JOIN_ONE, SUBGROUP_JOIN_ONE)                                    \
R NAME(R r)                                                                              \
{                                                                                        \
    barrier();                                                                           \
    part[LID] = r;                                                                       \
    barrier();                                                                           \
    [[unroll]] for (uint d = LANES / 2; d > 0; d /= 2) {                                 \
        if (LANE < d)                                                                    \
            part[LID] = JOIN_ONE(part[LID], part[LID + d * LANE_STRIDE]);                \
        barrier();                                                                       \
    }                                                                                    \
    return part[LID - LANE * LANE_STRIDE];                                               \
}
#else
#define OVER_LANES(NAME, JOIN_ONE, SUBGROUP_JOIN_ONE) R NAME(R r) { return r; }
#endif

#if INDEXED
#if WIDTH == 4
#define B bvec4
#define W ivec4
#else
#define B bool
#define W int
#endif
#if COLS
#define RW W
#define R_BOOL B
#define R_LESS(a, b) LESS(a, b)
#define R_SAME(a, b) SAME(a, b)
#define R_AND(a, b) AND(a, b)
#define R_OR(a, b) OR(a, b)
#define R_CHOOSE(a, b, p) CHOOSE(a, b, p)
#else
#define RW int
#define R_BOOL bool
#define R_LESS(a, b) ((a) < (b))
#define R_SAME(a, b) ((a) == (b))
#define R_AND(a, b) ((a) && (b))
#define R_OR(a, b) ((a) || (b))
#define R_CHOOSE(a, b, p) ((p) ? (b) : (a))
#endif
#if FOLD == ARGMAX
#define BETTER(a, b) LESS(b, a)
#define R_BETTER(a, b) R_LESS(b, a)
#else
#define BETTER(a, b) LESS(a, b)
#define R_BETTER(a, b) R_LESS(a, b)
#endif
#if LANES > 1
shared RW part2[WGSIZE];
#endif

W index(uint i)
{
#if WIDTH == 4 && !COLS
    return min(int(i) + ivec4(0, 1, 2, 3), ivec4(int(INNER) - 1));
#else
    return W(min(int(i), int(INNER) - 1));
#endif
}

/* The better of two; of equals the one that comes first. */
void take(inout R v, inout RW at, R other, RW other_at)
{
    const R_BOOL yes = R_OR(R_BETTER(other, v), R_AND(R_SAME(other, v), R_LESS(other_at, at)));
    v = R_CHOOSE(v, other, yes);
    at = R_CHOOSE(at, other_at, yes);
}

void main()
{
    LEAVE_SPARE_GROUPS
    place();
    V best[UNROLL], v[UNROLL];
    W at[UNROLL];
    EACH best[u] = load(first);
    EACH at[u] = index(first);
    const uint n = trips();
    [[dont_unroll]] for (uint t = 0; t < n; t++) {
        EACH v[u] = load(AT(t, u));
        EACH { /* vectors come in rising order, and what lies beyond the row repeats its last element */
            const B yes = BETTER(v[u], best[u]);
            best[u] = CHOOSE(best[u], v[u], yes);
            at[u] = CHOOSE(at[u], index(AT(t, u)), yes);
        }
    }
#if COLS || WIDTH == 1
    R r = best[0];
    RW where = at[0];
    [[unroll]] for (uint u = 1; u < UNROLL; u++)
        take(r, where, best[u], at[u]);
#else
    R r = best[0].x;
    RW where = at[0].x;
    EACH [[unroll]] for (uint e = 0; e < 4; e++)
        take(r, where, best[u][e], at[u][e]);
#endif
#if LANES > 1
    part[LID] = r;
    part2[LID] = where;
    barrier();
    [[unroll]] for (uint d = LANES / 2; d > 0; d /= 2) {
        if (LANE < d) {
            take(r, where, part[LID + d * LANE_STRIDE], part2[LID + d * LANE_STRIDE]);
            part[LID] = r;
            part2[LID] = where;
        }
        barrier();
    }
#endif
    put(where);
}

#elif FOLD == LOGSUMEXP
#define PLUS(a, b) ((a) + (b))
OVER_LANES(lanes_max, max, subgroupMax)
OVER_LANES(lanes_sum, PLUS, subgroupAdd)

void main()
{
    LEAVE_SPARE_GROUPS
    place();
    V top = V(-3.0e38), total = V(0.0), v[UNROLL];
    const uint n = trips();
    [[dont_unroll]] for (uint t = 0; t < n; t++) {
        EACH v[u] = load(AT(t, u));
        V m = top;
        EACH m = max(m, keep(v[u], top, AT(t, u)));
        m = min(m, V(3.0e38)); /* finite, so that infinite elements make the sum infinite and not NaN */
        total *= exp(top - m);
        EACH total += keep(exp(v[u] - m), V(0.0), AT(t, u));
        top = m;
    }
#if COLS || WIDTH == 1
    const R high = lanes_max(top);
    const R sum = lanes_sum(total * exp(top - high));
#else
    const R high = lanes_max(max(max(top.x, top.y), max(top.z, top.w)));
    total *= exp(top - high);
    const R sum = lanes_sum((total.x + total.y) + (total.z + total.w));
#endif
#if COLS && WIDTH == 4
    put(mix(vec4(uintBitsToFloat(0xff800000u)), high + log(sum), greaterThan(sum, vec4(0.0))));
#else
    put(sum > 0.0 ? high + log(sum) : uintBitsToFloat(0xff800000u));
#endif
}

#else
OVER_LANES(over_lanes, JOIN_R, SUBGROUP_JOIN)

R collapse(V v)
{
#if COLS || WIDTH == 1
    return v;
#else
    return JOIN_R(JOIN_R(v.x, v.y), JOIN_R(v.z, v.w));
#endif
}

#if FOLD == SQUARES
#define VALUE(v) (squares ? ((v) - base) * ((v) - base) : (v))
#else
#define VALUE(v) (v)
#endif

/* The fold of a row's elements or, for SQUARES, of the squares of what they differ from base. */
R fold(const bool squares, R base)
{
#if FOLD == MAX || FOLD == MIN
    const V start = load(first); /* folding it twice changes nothing */
#elif FOLD == PROD && COMPLEX
    const V start = vec2(1.0, 0.0);
#elif FOLD == PROD || FOLD == ALL
    const V start = V(1);
#else
    const V start = V(0);
#endif
    V acc[UNROLL], v[UNROLL];
    EACH acc[u] = start;
    const uint n = trips();
    [[dont_unroll]] for (uint t = 0; t < n; t++) {
        EACH v[u] = load(AT(t, u));
        EACH acc[u] = JOIN(acc[u], keep(VALUE(v[u]), start, AT(t, u)));
    }
    [[unroll]] for (uint u = 1; u < UNROLL; u++)
        acc[0] = JOIN(acc[0], acc[u]);
    return over_lanes(collapse(acc[0]));
}

void main()
{
    LEAVE_SPARE_GROUPS
    place();
#if FOLD == SQUARES
    const R mean = fold(false, R(0)) / T(INNER);
    put(fold(true, mean));
#else
    put(fold(false, R(0)));
#endif
}
#endif
