// rng.glsl - counter-based random numbers: Philox4x32 with ten rounds (Salmon et al. 2011, "Parallel random numbers: as
// easy as 1, 2, 3"). Element j of sample b uses word j % 4 of the block with counter (j / 4, b, draw, stream).

uvec4 tf_philox(uvec4 c, uvec2 k)
{
    for (int i = 0; i < 10; i++) {
        uint h0, l0, h1, l1;
        umulExtended(c.x, 0xd2511f53u, h0, l0);
        umulExtended(c.z, 0xcd9e8d57u, h1, l1);
        c = uvec4(h1 ^ c.y ^ k.x, l1, h0 ^ c.w ^ k.y, l0);
        k += uvec2(0x9e3779b9u, 0xbb67ae85u);
    }
    return c;
}

uint tf_mul_high(uint a, uint b)
{
    uint h, l;
    umulExtended(a, b, h, l);
    return h;
}

// Word `part` of block j; part < 0: word j. Neighbours that name their part share a block where compilers see equal calls.
uint tf_rng_word(int j, int part, int b, int draw, int stream, int seed_lo, int seed_hi)
{
    uint block = part < 0 ? uint(j) >> 2 : uint(j), i = part < 0 ? uint(j) & 3u : uint(part);
    uvec4 w = tf_philox(uvec4(block, uint(b), uint(draw), uint(stream)), uvec2(uint(seed_lo), uint(seed_hi)));
    return i < 2u ? (i == 0u ? w.x : w.y) : (i == 2u ? w.z : w.w);
}

// In (0, 1), exact.
float tf_rng_uniform(uint w) { return float(2u * (w >> 9) + 1u) * 5.9604644775390625e-8; }

// Box-Muller by additions and multiplications that round the same everywhere: logarithm of the uniform by a polynomial,
// reciprocal square root by three Newton steps from bits, sine and cosine of a quarter turn.
vec2 tf_rng_normal_pair(uint w0, uint w1)
{
    uint b = floatBitsToUint(float(2u * (w0 >> 9) + 1u));
    uint m = b & 0x7fffffu;
    bool high = m >= 0x3504f3u;
    precise float e = float(int(b >> 23) - 151 + (high ? 1 : 0));
    precise float t = uintBitsToFloat(m | (high ? 0x3f000000u : 0x3f800000u)) - 1.0;
    precise float p = uintBitsToFloat(0x3d926d4eu);
    p = p * t; p = p + uintBitsToFloat(0xbdecfa6bu);
    p = p * t; p = p + uintBitsToFloat(0x3deed3e7u);
    p = p * t; p = p + uintBitsToFloat(0xbdfe2da6u);
    p = p * t; p = p + uintBitsToFloat(0x3e11eb5bu);
    p = p * t; p = p + uintBitsToFloat(0xbe2aaf6cu);
    p = p * t; p = p + uintBitsToFloat(0x3e4ccea8u);
    p = p * t; p = p + uintBitsToFloat(0xbe7ffff9u);
    p = p * t; p = p + uintBitsToFloat(0x3eaaaaaau);
    precise float z = t * t;
    precise float zt = z * t;
    precise float l = zt * p;
    precise float hz = 0.5 * z;
    l = l - hz;
    precise float el = e * uintBitsToFloat(0xb95e8083u);
    l = l + el;
    l = t + l;
    precise float eh = e * 0.693359375;
    l = l + eh;
    precise float s = -2.0 * l;
    precise float y = uintBitsToFloat(0x5f3759dfu - (floatBitsToUint(s) >> 1));
    precise float h = 0.5 * s;
    for (int i = 0; i < 3; i++) {
        precise float g = h * y;
        g = g * y;
        g = 1.5 - g;
        y = y * g;
    }
    precise float r = s * y;
    precise float rr = r * r;
    precise float d = s - rr;
    precise float hy = 0.5 * y;
    d = hy * d;
    r = r + d;
    uint v = w1 >> 8;
    uint q = (v + 0x200000u) >> 22;
    precise float ph = float(int(v) - int(q << 22)) * uintBitsToFloat(0x34c90fdbu);
    precise float zz = ph * ph;
    precise float sn = uintBitsToFloat(0xb94d6501u) * zz;
    sn = sn + uintBitsToFloat(0x3c088615u);
    sn = sn * zz;
    sn = sn + uintBitsToFloat(0xbe2aaaa9u);
    precise float pz = ph * zz;
    sn = pz * sn;
    sn = ph + sn;
    precise float cs = uintBitsToFloat(0x37cdec68u) * zz;
    cs = cs + uintBitsToFloat(0xbab6096au);
    cs = cs * zz;
    cs = cs + uintBitsToFloat(0x3d2aaaaau);
    precise float z2 = zz * zz;
    cs = z2 * cs;
    precise float one = 0.5 * zz;
    one = 1.0 - one;
    cs = one + cs;
    vec2 turn = (q & 1u) == 0u ? vec2(cs, sn) : vec2(-sn, cs);
    turn = (q & 2u) == 0u ? turn : -turn;
    precise vec2 result = vec2(r * turn.x, r * turn.y);
    return result;
}

// Pair `part` of the normals of block i of sample b; part < 0: pair i, normals 2i and 2i + 1.
vec2 tf_rng_normal(int i, int part, int b, int draw, int stream, int seed_lo, int seed_hi)
{
    uint block = part < 0 ? uint(i) >> 1 : uint(i);
    uvec4 w = tf_philox(uvec4(block, uint(b), uint(draw), uint(stream)), uvec2(uint(seed_lo), uint(seed_hi)));
    uvec2 v = (part < 0 ? i & 1 : part) == 0 ? w.xy : w.zw;
    return tf_rng_normal_pair(v.x, v.y);
}
