/* Lines of a Fourier transform: x[BATCH, NIN, INNER] -> y[BATCH, KEEP, INNER]: what both kernels share.
 *
 * LENGTH    points of the user's transform; POINTS: of the complex one that runs, LENGTH or, for real lines of even LENGTH, half
 * REAL      0: complex to complex; 1: real to bins 0..LENGTH/2; 2: such bins to real; 3: real to real through a filter: two
 *           lines with the same row of it travel as real and imaginary part
 * PACKED    real lines of even length: points are pairs of neighbours
 * INVERSE   the sign of the exponent is +. The transform itself is always forward: an inverse one swaps real and imaginary
 *           parts on both sides
 * FILTER    0, or rows of the filter h[FILTER, POINTS, 1 (FINNER) or INNER]: forward, multiply, inverse; line b takes row b % FILTER
 * SCALE     on all results; NIN: elements of x per line, zeros follow; KEEP: elements of y per line
 * PRE_ROOT(j): e^(-2 pi i j / LENGTH) for a packed line of bins. */

uint line_b, line_i; /* the line this invocation works on */

vec2 c_mul(vec2 a, vec2 b) { return vec2(a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x); }
vec2 c_conj(vec2 a) { return vec2(a.x, -a.y); }

#if REAL == 3 /* the lines of the pair */
#define PAIR_FIRST (line_b / FILTER * 2u * FILTER + line_b % FILTER)
#define PAIR_SECOND (PAIR_FIRST + FILTER)
#endif

#if FILTER
vec2 filtered(uint k, vec2 v) { return c_mul(v, h_at(line_b % FILTER, k, FINNER != 0 ? 0u : line_i)); }
#endif

#if REAL == 1 || REAL == 3
#define T float
#else
#define T vec2
#endif
T given_of(uint b, uint j)
{
#if NIN < NEEDED
    if (j >= NIN) return T(0.0);
#endif
    return x_at(b, j, line_i);
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

void store(uint k, vec2 v)
{
#if REAL == 2 && PACKED
    if (KEEP == LENGTH || 2u * k < KEEP) y_put(line_b, 2u * k, line_i, SCALE * v.y);
    if (KEEP == LENGTH || 2u * k + 1u < KEEP) y_put(line_b, 2u * k + 1u, line_i, SCALE * v.x);
#elif REAL == 2
    if (KEEP == LENGTH || k < KEEP) y_put(line_b, k, line_i, SCALE * v.y);
#elif REAL == 3
    if (KEEP == POINTS || k < KEEP) {
        y_put(PAIR_FIRST, k, line_i, SCALE * v.y);
        if (PAIR_SECOND < BATCH) y_put(PAIR_SECOND, k, line_i, SCALE * v.x);
    }
#else
    if (KEEP == POINTS || k < KEEP) y_put(line_b, k, line_i, SCALE * (REAL == 1 ? INVERSE != 0 ? c_conj(v) : v : FILTER != 0 || INVERSE != 0 ? v.yx : v));
#endif
}

/* Bin k of a packed real line from points k and POINTS - k of the transform; root: e^(-2 pi i k / LENGTH). */
vec2 unpacked_by(vec2 root, vec2 a, vec2 b)
{
    const vec2 d = c_mul(root, a - c_conj(b));
    return 0.5 * (a + c_conj(b) + vec2(d.y, -d.x));
}
