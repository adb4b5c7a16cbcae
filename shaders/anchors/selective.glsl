/* Selective scan: u, dt[NB, D, L], a[D, N], b, c -> y[NB, D, L], h[NB, D, N]:
 *   s[n] = e^(dt[t] a[n]) s[n] + dt[t] b[n, t] u[t],  y[t] = sum over n of c[n, t] s[n]  (complex: twice its real part).
 * Parts of CHUNK steps run by themselves: part 0 from h0[NB, D, N] (START) or 0, part p > 0 from carry[NB, p - 1, N, D]. FOLD: only
 * each part's end state from 0, s[NB, PARTS, N, D], and its sum of dt, total[NB, PARTS, D], 3e38 where a sequence starts inside.
 *
 * A workgroup takes WGSIZE * CHANNELS channels of one batch entry and one group of channels, so that b and c are the same for all
 * of it; a lane holds the states of CHANNELS of them. A trip takes STEPS steps; each n reads STEPS values of b and c once
 * for all channels of the lane.
 * B_FORM, C_FORM  0: [D, N]; 1: [NB, GROUPS, N, L]; 2: [NB, GROUPS, L, N]
 * SOFTPLUS  dt is softplus of what the hook gives
 * SEG       seg[NB, L]: a sequence starts, what precedes is dropped
 * NLOOP     how the loop over n is taken: unrolled where states are registers, not where they are memory anyway
 * NP        N rounded up to the 4 that a trip of that loop takes
 * Shared bytes: none. */
#if COMPLEX
#define T vec2
#define TIMES(p, q) vec2((p).x * (q).x - (p).y * (q).y, (p).x * (q).y + (p).y * (q).x)
#define SCALE_A vec2(1.44269504, 0.159154943)
#else
#define T float
#define TIMES(p, q) ((p) * (q))
#define SCALE_A 1.44269504
#endif
#if STEPS == 4
#define V vec4
#define TV vec4
#else
#define V float
#define TV T
#endif
/* Channels, states and steps are written out: not every driver unrolls, and some compilers never end on hooks that branch in a loop
 * of a loop. */
#if CHANNELS == 4
#define EVERY_CHANNEL(X) X(0) X(1) X(2) X(3)
#elif CHANNELS == 2
#define EVERY_CHANNEL(X) X(0) X(1)
#else
#define EVERY_CHANNEL(X) X(0)
#endif

#if STEPS == 4
#define I ivec4
#else
#define I int
#endif
/* The nearest whole number, as tf_nearest. */
#define NEAREST(x) (floatBitsToInt((x) + 12582912.0) - 0x4b400000)

/* 2^k * e^r for |r| <= ln2/2: exact at 0, where slow modes live. */
V scaled_exp(I k, V r)
{
    const V p = ((((0.00138207432 * r + 0.0083686756) * r + 0.0416682661) * r + 0.166665211) * r + 0.49999994);
    return intBitsToFloat(floatBitsToInt(1.0 + (r + r * r * p)) + (k << 23));
}

/* 2^x for x <= 127; 2^-126 stands for all below. */
V decay(V x)
{
    const V c = clamp(x, V(-126.0), V(127.0));
    const I k = NEAREST(c);
    return scaled_exp(k, (c - V(k)) * 0.693147182);
}

#if COMPLEX
/* 2^x.x turned by x.y turns. */
vec2 decay(vec2 x)
{
    const float t = x.y - roundEven(x.y);
    const int k = NEAREST(4.0 * t);
    const float r = (t - 0.25 * float(k)) * 6.28318531, q = r * r;
    const float s = r + r * q * (((2.75573192e-6 * q - 1.98412698e-4) * q + 8.33333333e-3) * q - 0.166666667);
    const float c = 1.0 + q * (((2.48015873e-5 * q - 1.38888889e-3) * q + 4.16666667e-2) * q - 0.5);
    const int quarter = k & 3;
    const vec2 p = (quarter & 1) != 0 ? vec2(-s, c) : vec2(c, s);
    return decay(x.x) * (quarter > 1 ? -p : p);
}
#endif

#if SOFTPLUS
/* log(1 + e) = 2 artanh(s), s = e / (2 + e) <= 1/3, without branches. */
V softplus(V x)
{
    const V c = max(-abs(x), V(-87.0));
    const I n = NEAREST(c * 1.44269502);
    const V k = V(n), e = scaled_exp(n, (c - k * 0.693145752) - k * 1.42860677e-6);
    const V s = e / (2.0 + e), q = s * s;
    const V p = (((((0.153846154 * q + 0.181818182) * q + 0.222222222) * q + 0.285714286) * q + 0.4) * q + 0.666666667) * q + 2.0;
    return max(x, V(0.0)) + s * p;
}
#else
#define softplus(x) x
#endif

/* Four neighbours n..n+3 of b or c at STEPS steps from t on: v0..v3. */
#if COMPLEX || STEPS == 1
#define LOAD0(f, v, k) v##0 = f##_at(d[k], n); v##1 = f##_at(d[k], min(n + 1, N - 1)); v##2 = f##_at(d[k], min(n + 2, N - 1)); v##3 = f##_at(d[k], min(n + 3, N - 1));
#define LOAD1(f, v) v##0 = f##_at(nb, g, n, t); v##1 = f##_at(nb, g, min(n + 1, N - 1), t); v##2 = f##_at(nb, g, min(n + 2, N - 1), t); v##3 = f##_at(nb, g, min(n + 3, N - 1), t);
#define LOAD2(f, v) v##0 = f##_at(nb, g, t, n); v##1 = f##_at(nb, g, t, min(n + 1, N - 1)); v##2 = f##_at(nb, g, t, min(n + 2, N - 1)); v##3 = f##_at(nb, g, t, min(n + 3, N - 1));
#else
#define LOAD0(f, v, k) { const vec4 q = f##_at4(d[k], n); v##0 = vec4(q.x); v##1 = vec4(q.y); v##2 = vec4(q.z); v##3 = vec4(q.w); }
#define LOAD1(f, v) v##0 = f##_at4(nb, g, n, t); v##1 = f##_at4(nb, g, min(n + 1, N - 1), t); v##2 = f##_at4(nb, g, min(n + 2, N - 1), t); v##3 = f##_at4(nb, g, min(n + 3, N - 1), t);
#define LOAD2(f, v) { \
    const vec4 p = f##_at4(nb, g, t, n), q = f##_at4(nb, g, min(t + 1, L - 1), n), r = f##_at4(nb, g, min(t + 2, L - 1), n), s = f##_at4(nb, g, min(t + 3, L - 1), n); \
    v##0 = vec4(p.x, q.x, r.x, s.x); v##1 = vec4(p.y, q.y, r.y, s.y); v##2 = vec4(p.z, q.z, r.z, s.z); v##3 = vec4(p.w, q.w, r.w, s.w); }
#endif
#if B_FORM == 0
#define LOAD_B(v, k) LOAD0(b, v, k)
#elif B_FORM == 1
#define LOAD_B(v, k) LOAD1(b, v)
#else
#define LOAD_B(v, k) LOAD2(b, v)
#endif
#if C_FORM == 0
#define LOAD_C(v, k) LOAD0(c, v, k)
#elif C_FORM == 1
#define LOAD_C(v, k) LOAD1(c, v)
#else
#define LOAD_C(v, k) LOAD2(c, v)
#endif

/* The steps of one state. */
#if SEG && STEPS == 4
#define STEP(i) if (starts i) s = T(0.0); s = e i * s + x i; now i = s;
#elif STEPS == 4
#define STEP(i) s = e i * s + x i; now i = s;
#elif SEG
#define ALL_STEPS if (starts) s = T(0.0); now = s = TIMES(e, s) + x;
#else
#define ALL_STEPS now = s = TIMES(e, s) + x;
#endif
#if STEPS == 4
#define ALL_STEPS STEP(.x) STEP(.y) STEP(.z) STEP(.w)
#endif
#if FOLD
#define ADD(k, j)
#elif COMPLEX
#define ADD(k, j) y[k] += 2.0 * (c##j.x * now.x - c##j.y * now.y);
#else
#define ADD(k, j) y[k] += c##j * now;
#endif
#if RAGGED
#define ADD_INSIDE(k, j) if (n + j < N) { ADD(k, j) }
#else
#define ADD_INSIDE(k, j) ADD(k, j)
#endif
#define STATE(k, j) { \
    const TV e = decay(dl[k] * a[k * NP + n + j]), x = du[k] * b##j; \
    T s = h[k * NP + n + j]; \
    TV now; \
    ALL_STEPS \
    h[k * NP + n + j] = s; \
    ADD_INSIDE(k, j) }
#define STATES_OF(k) STATE(k, 0) STATE(k, 1) STATE(k, 2) STATE(k, 3)

#if START
#define START_FROM(k) if (part == 0u) s = h0_at(nb, d[k], min(n, N - 1));
#else
#define START_FROM(k)
#endif
#if CARRY
#define CARRY_FROM(k) if (part > 0u) s = carry_at(nb, part - 1u, min(n, N - 1), d[k]);
#else
#define CARRY_FROM(k)
#endif
#define BEGIN(k) { \
    const uint in_group = (block * CHANNELS + k) * WGSIZE + LID; \
    live[k] = in_group < PER_GROUP; \
    d[k] = g * PER_GROUP + min(in_group, PER_GROUP - 1); \
    sum[k] = 0.0; \
    NLOOP for (uint n = 0; n < NP; n++) { \
        a[k * NP + n] = a_at(d[k], min(n, N - 1)) * SCALE_A; \
        T s = T(0.0); \
        START_FROM(k) CARRY_FROM(k) \
        h[k * NP + n] = s; \
    } }

/* What a trip needs of a channel. */
#if STEPS == 4 && MASKED
#define STREAM(k) dl[k] = mix(vec4(0.0), softplus(dt_at4(nb, d[k], t)), lessThan(t + uvec4(0, 1, 2, 3), uvec4(end))); du[k] = dl[k] * u_at4(nb, d[k], t); y[k] = V(0.0);
#elif STEPS == 4
#define STREAM(k) dl[k] = softplus(dt_at4(nb, d[k], t)); du[k] = dl[k] * u_at4(nb, d[k], t); y[k] = V(0.0);
#else
#define STREAM(k) dl[k] = softplus(dt_at(nb, d[k], t)); du[k] = dl[k] * u_at(nb, d[k], t); y[k] = V(0.0);
#endif
/* The sum of dt of a part, and 3e38 from where a sequence starts. */
#if SEG && STEPS == 4
#define RESTART(k) sum[k] = any(starts) ? 3.0e38 : sum[k];
#elif SEG
#define RESTART(k) sum[k] = starts ? 3.0e38 : sum[k];
#else
#define RESTART(k)
#endif
#if STEPS == 4
#define TOTAL(k) RESTART(k) sum[k] = min(sum[k] + (dl[k].x + dl[k].y + dl[k].z + dl[k].w), 3.0e38);
#define PUT_Y(k) if (live[k]) y_put4(nb, d[k], t, y[k]);
#else
#define TOTAL(k) RESTART(k) sum[k] = min(sum[k] + dl[k], 3.0e38);
#define PUT_Y(k) if (live[k]) y_put(nb, d[k], t, y[k]);
#endif
#if !B_FORM && !C_FORM && !FOLD
#define CHANNEL(k) LOAD_B(b, k) LOAD_C(c, k) STATES_OF(k)
#elif !B_FORM
#define CHANNEL(k) LOAD_B(b, k) STATES_OF(k)
#elif !C_FORM && !FOLD
#define CHANNEL(k) LOAD_C(c, k) STATES_OF(k)
#else
#define CHANNEL(k) STATES_OF(k)
#endif
#define PUT_FOLD(k) \
    [[dont_unroll]] for (uint n = 0; n < N; n++) { if (live[k]) s_put(nb, part, n, d[k], h[k * NP + n]); } \
    if (live[k]) total_put(nb, part, d[k], sum[k]);
#define PUT_H(k) NLOOP for (uint n = 0; n < N; n++) { if (live[k] && last) h_put(nb, d[k], n, h[k * NP + n]); }

void main()
{
    LEAVE_SPARE_GROUPS
    const uint N = STATES;
    const uint L = LENGTH;
    const uint block = GROUP % BLOCKS, g = GROUP / BLOCKS % GROUPS, part = GROUP / (BLOCKS * GROUPS) % uint(PARTS), nb = GROUP / (BLOCKS * GROUPS) / uint(PARTS);
    uint d[CHANNELS];
    bool live[CHANNELS];
    float sum[CHANNELS];
    T h[CHANNELS * NP], a[CHANNELS * NP];
    EVERY_CHANNEL(BEGIN)

    const uint first = part * uint(CHUNK), end = min(first + uint(CHUNK), L);
    [[dont_unroll]] for (uint t = first; t < end; t += STEPS) {
        V dl[CHANNELS], du[CHANNELS], y[CHANNELS];
#if SEG && STEPS == 4
        const uvec4 at = t + uvec4(0, 1, 2, 3);
        const bvec4 starts = notEqual(uvec4(seg_at4(nb, t)) * uvec4(lessThan(at, uvec4(end))), uvec4(0));
#elif SEG
        const bool starts = seg_at(nb, t);
#endif
        EVERY_CHANNEL(STREAM)
#if FOLD
        EVERY_CHANNEL(TOTAL)
#endif
        NLOOP for (uint n = 0; n < NP; n += 4) {
            TV b0, b1, b2, b3, c0, c1, c2, c3;
#if B_FORM
            LOAD_B(b, 0)
#endif
#if C_FORM && !FOLD
            LOAD_C(c, 0)
#endif
            EVERY_CHANNEL(CHANNEL)
        }
#if !FOLD && WANT_Y
        EVERY_CHANNEL(PUT_Y)
#endif
    }
#if FOLD
    EVERY_CHANNEL(PUT_FOLD)
#elif WANT_H
    const bool last = part + 1u == uint(PARTS);
    EVERY_CHANNEL(PUT_H)
#endif
}
