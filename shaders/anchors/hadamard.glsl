/* One step of a Walsh-Hadamard transform: x[OUTER, RADIX] or x[OUTER, RADIX, INNER] -> y alike, butterflies across the RADIX
 * (2 to 16, 2^STEPS), times SCALE. An invocation holds RADIX elements, or RADIX vectors.
 *
 * WIDTH  4: vectors along INNER; 1: elements; without INNER 0: vectors run along the RADIX, a multiple of 4; 2: elements */
#if WIDTH == 4
#define V vec4
#else
#define V float
#endif

void main()
{
    LEAVE_SPARE_GROUPS
    const uint at = GROUP * WGSIZE + LID;
    const uint c = at % uint(VECTORS) * (WIDTH == 4 ? 4 : 1), o = at / uint(VECTORS);
    if (o >= uint(OUTER))
        return;
    V v[RADIX];
#if WIDTH == 0
    [[unroll]] for (uint i = 0; i < RADIX; i += 4) {
        const vec4 four = x_at4(o, i);
        [[unroll]] for (uint e = 0; e < 4; e++) v[i + e] = four[e];
    }
#else
    [[unroll]] for (uint i = 0; i < RADIX; i++)
#if WIDTH == 4
        v[i] = x_at4(o, i, c);
#elif WIDTH == 2
        v[i] = x_at(o, i);
#else
        v[i] = x_at(o, i, c);
#endif
#endif
    [[unroll]] for (uint s = 0; s < STEPS; s++)
        [[unroll]] for (uint i = 0; i < RADIX / 2; i++) {
            const uint h = 1u << s, lo = (i >> s << (s + 1)) + (i & (h - 1));
            const V a = v[lo], b = v[lo + h];
            v[lo] = a + b;
            v[lo + h] = a - b;
        }
#if WIDTH == 0
    [[unroll]] for (uint i = 0; i < RADIX; i += 4)
        y_put4(o, i, vec4(v[i], v[i + 1], v[i + 2], v[i + 3]) * SCALE);
#else
    [[unroll]] for (uint i = 0; i < RADIX; i++)
#if WIDTH == 4
        y_put4(o, i, c, v[i] * SCALE);
#elif WIDTH == 2
        y_put(o, i, v[i] * SCALE);
#else
        y_put(o, i, c, v[i] * SCALE);
#endif
#endif
}
