/* Merges parts of an attention: o[PARTS, b, s, h, d], lse[PARTS, b, h, s] -> y[b, s, h, d], z[b, h, s].
 * One invocation per 4 channels. A part without keys has lse = -inf and weight 0. */
const float LOG2E = 1.4426950408889634;
const float LN2 = 0.6931471805599453;
const float EMPTY = -1.0e38;
#define VECTORS ((DV + 3) / 4)

bool is_nan(float x) { return (floatBitsToUint(x) & 0x7fffffffu) > 0x7f800000u; }

float part_lse(uint p, uint b, uint h, uint s)
{
    const float x = lse_at(p, b, h, s);
    return floatBitsToUint(x) == 0xff800000u ? EMPTY : x * LOG2E;
}

void main()
{
    LEAVE_SPARE_GROUPS
    uint x = GROUP * WG + LID;
    if (x >= uint(COUNT)) return;
    const uint c = x % VECTORS * 4u;
    x /= VECTORS;
    const uint h = x % HQ, s = x / HQ % uint(SQ), b = x / HQ / uint(SQ);
    float m = EMPTY, l = 0.0;
    for (uint p = 0u; p < uint(PARTS); p++) m = max(m, part_lse(p, b, h, s));
    vec4 o = vec4(0.0);
    for (uint p = 0u; p < uint(PARTS); p++) {
        const float t = part_lse(p, b, h, s), weight = t == EMPTY ? 0.0 : is_nan(t) ? t : exp2(t - m);
        l += weight;
        o += weight * o_at4(p, b, s, h, c);
    }
#if WANT_O
    y_put4(b, s, h, c, l == 0.0 ? vec4(0.0) : o / l);
#endif
#if WANT_LSE
    if (c == 0u) z_put(b, h, s, l == 0.0 ? uintBitsToFloat(0xff800000u) : is_nan(l) ? l : (m + log2(l)) * LN2);
#endif
}
