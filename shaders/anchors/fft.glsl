/* Lines of a Fourier transform: x[BATCH, NIN, INNER] -> y[BATCH, KEEP, INNER]: what both kernels share.
 *
 * LENGTH    points of the user's transform; POINTS: of the complex one that runs, LENGTH or, for real lines of even LENGTH, half
 * REAL      0: complex to complex; 1: real to bins 0..LENGTH/2; 2: such bins to real; 3: real to real through a filter: two
 *           lines with the same row of it travel as real and imaginary part
 * PACKED    real lines of even length: points are pairs of neighbours
 * INVERSE   the sign of the exponent is +. The transform itself is always forward: an inverse one swaps real and imaginary
 *           parts on both sides
 * FILTER    0, or rows of the filter h[FILTER, POINTS, 1 (FINNER) or INNER]: forward, multiply, inverse; line b takes row b % FILTER
 * ROWS      x[BATCH, 1, NIN], y[BATCH, 1, KEEP], h[FILTER, 1, POINTS] instead: INNER is 1
 * SCALE     on all results; NIN: elements of x per line, zeros follow; KEEP: elements of y per line
 * PRE_ROOT(j): e^(-2 pi i j / LENGTH) for a packed line of bins. */

uint line_b, line_i; /* the line this invocation works on */

vec2 c_mul(vec2 a, vec2 b) { return fma(a.yy, vec2(-b.y, b.x), a.x * b); }
vec2 c_conj(vec2 a) { return vec2(a.x, -a.y); }

#if REAL == 3 /* the lines of the pair */
#define PAIR_FIRST (line_b / FILTER * 2u * FILTER + line_b % FILTER)
#define PAIR_SECOND (PAIR_FIRST + FILTER)
#endif

#if FILTER && ROWS
vec2 filtered(uint k, uint i, vec2 v) { return c_mul(v, h_at(line_b % FILTER, 0u, k)); }
void filtered4(uint k, inout vec2 a, inout vec2 b, inout vec2 c, inout vec2 d)
{
    const mat4x2 h = h_at4(line_b % FILTER, 0u, k);
    a = c_mul(a, h[0]);
    b = c_mul(b, h[1]);
    c = c_mul(c, h[2]);
    d = c_mul(d, h[3]);
}
#elif FILTER
vec2 filtered(uint k, uint i, vec2 v) { return c_mul(v, h_at(line_b % FILTER, k, FINNER != 0 ? 0u : i)); }
#endif

#if REAL == 1 || REAL == 3
#define T float
#else
#define T vec2
#endif
#if BESIDE == 1
T given_of(uint b, uint j)
{
#if NIN < NEEDED
    if (j >= NIN) return T(0.0);
#endif
#if ROWS
    return x_at(b, 0u, j);
#else
    return x_at(b, j, line_i);
#endif
}
T given(uint j) { return given_of(line_b, j); }

/* Bin k of a line with real values: those of 0 and, for even lengths, LENGTH / 2 are real. */
vec2 bin(uint k)
{
#if REAL == 2
    const vec2 v = given(k);
    return vec2(v.x, k == 0u || 2u * k == LENGTH ? 0.0 : INVERSE != 0 ? v.y : -v.y);
#else
    return vec2(0.0);
#endif
}

/* Point j of what is transformed. */
vec2 point(uint j)
{
#if REAL == 1 && PACKED
    return vec2(given(2u * j), given(2u * j + 1u));
#elif REAL == 1
    return vec2(given(j), 0.0);
#elif REAL == 3
    return vec2(given_of(PAIR_FIRST, j), PAIR_SECOND < BATCH ? given_of(PAIR_SECOND, j) : 0.0);
#elif REAL == 2 && PACKED
    const vec2 a = bin(j), b = c_conj(bin(POINTS - j)), d = c_mul(c_conj(PRE_ROOT(j)), a - b), z = a + b + vec2(-d.y, d.x);
    return z.yx;
#elif REAL == 2
    const vec2 v = 2u * j <= LENGTH ? bin(j) : c_conj(bin(LENGTH - j));
    return v.yx;
#elif INVERSE && !FILTER
    return given(j).yx;
#else
    return given(j);
#endif
}

#if ROWS
#define PUT_AT(b, k, v) y_put(b, 0u, k, v)
#else
#define PUT_AT(b, k, v) y_put(b, k, line_i, v)
#endif
void store(uint k, vec2 v)
{
#if REAL == 2 && PACKED
    if (KEEP == LENGTH || 2u * k < KEEP) PUT_AT(line_b, 2u * k, SCALE * v.y);
    if (KEEP == LENGTH || 2u * k + 1u < KEEP) PUT_AT(line_b, 2u * k + 1u, SCALE * v.x);
#elif REAL == 2
    if (KEEP == LENGTH || k < KEEP) PUT_AT(line_b, k, SCALE * v.y);
#elif REAL == 3
    if (KEEP == POINTS || k < KEEP) {
        PUT_AT(PAIR_FIRST, k, SCALE * v.y);
        if (PAIR_SECOND < BATCH) PUT_AT(PAIR_SECOND, k, SCALE * v.x);
    }
#else
    if (KEEP == POINTS || k < KEEP) PUT_AT(line_b, k, SCALE * (REAL == 1 ? INVERSE != 0 ? c_conj(v) : v : FILTER != 0 || INVERSE != 0 ? v.yx : v));
#endif
}

/* Bin k of a packed real line from points k and POINTS - k of the transform; root: e^(-2 pi i k / LENGTH). */
vec2 unpacked_by(vec2 root, vec2 a, vec2 b)
{
    const vec2 d = c_mul(root, a - c_conj(b));
    return 0.5 * (a + c_conj(b) + vec2(d.y, -d.x));
}
#endif /* BESIDE == 1 */

#if BESIDE == 4 /* four complex lines at once */
void point_beside(uint j, out vec2 a, out vec2 b, out vec2 c, out vec2 d)
{
    const mat4x2 v = NIN < NEEDED && j >= NIN ? mat4x2(0.0) : x_at4(line_b, j, line_i);
#if INVERSE && !FILTER
    a = v[0].yx; b = v[1].yx; c = v[2].yx; d = v[3].yx;
#else
    a = v[0]; b = v[1]; c = v[2]; d = v[3];
#endif
}
mat4x2 result4(vec2 a, vec2 b, vec2 c, vec2 d) { return SCALE * (FILTER != 0 || INVERSE != 0 ? mat4x2(a.yx, b.yx, c.yx, d.yx) : mat4x2(a, b, c, d)); }
void store_beside(uint k, vec2 a, vec2 b, vec2 c, vec2 d) { if (KEEP == POINTS || k < KEEP) y_put4(line_b, k, line_i, result4(a, b, c, d)); }
void store_turned(uint i, uint k, vec2 a, vec2 b, vec2 c, vec2 d) { y_put4(line_b, line_i + i, k, result4(a, b, c, d)); }
#endif

#if ROWS /* four neighbours; `least` is what the place is for every lane at least */
#if REAL == 0
#define T4 mat4x2
#else
#define T4 vec4
#endif
#if REAL != 2
T4 given4_of(uint b, uint least, uint j)
{
    if (least >= NIN) return T4(0.0);
#if NIN % 4 == 0
    if (NIN < NEEDED && j >= NIN) return T4(0.0);
    return x_at4(b, 0u, j);
#else
    T4 v = x_at4(b, 0u, min(j, NIN - 1u & ~3u));
    if (NIN < NEEDED) for (int e = 0; e < 4; e++) if (j + uint(e) >= NIN) v[e] = T(0.0);
    return v;
#endif
}
#endif
void point4(uint least, uint j, out vec2 a, out vec2 b, out vec2 c, out vec2 d)
{
#if REAL == 3
    const vec4 v = given4_of(PAIR_FIRST, least, j), w = PAIR_SECOND < BATCH ? given4_of(PAIR_SECOND, least, j) : vec4(0.0);
    a = vec2(v.x, w.x); b = vec2(v.y, w.y); c = vec2(v.z, w.z); d = vec2(v.w, w.w);
#elif REAL == 1 && PACKED
    const vec4 v = given4_of(line_b, 2u * least, 2u * j), w = given4_of(line_b, 2u * least + 4u, 2u * j + 4u);
    a = v.xy; b = v.zw; c = w.xy; d = w.zw;
#elif REAL == 0
    const mat4x2 v = given4_of(line_b, least, j);
#if INVERSE && !FILTER
    a = v[0].yx; b = v[1].yx; c = v[2].yx; d = v[3].yx;
#else
    a = v[0]; b = v[1]; c = v[2]; d = v[3];
#endif
#else
    a = point(j); b = point(j + 1u); c = point(j + 2u); d = point(j + 3u);
#endif
}
void store4(uint least, uint k, vec2 a, vec2 b, vec2 c, vec2 d)
{
    if (REAL != 2 && least >= KEEP) return;
#if REAL == 3
    if (KEEP == POINTS || k < KEEP) {
        y_put4(PAIR_FIRST, 0u, k, SCALE * vec4(a.y, b.y, c.y, d.y));
        if (PAIR_SECOND < BATCH) y_put4(PAIR_SECOND, 0u, k, SCALE * vec4(a.x, b.x, c.x, d.x));
    }
#elif REAL == 0
    if (KEEP == POINTS || k < KEEP) y_put4(line_b, 0u, k, SCALE * (FILTER != 0 || INVERSE != 0 ? mat4x2(a.yx, b.yx, c.yx, d.yx) : mat4x2(a, b, c, d)));
#elif REAL == 2 && PACKED && KEEP == LENGTH
    y_put4(line_b, 0u, 2u * k, SCALE * vec4(a.y, a.x, b.y, b.x));
    y_put4(line_b, 0u, 2u * k + 4u, SCALE * vec4(c.y, c.x, d.y, d.x));
#else
    store(k, a); store(k + 1u, b); store(k + 2u, c); store(k + 3u, d);
#endif
}
#endif
