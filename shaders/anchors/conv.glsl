/* Direct convolution: x[BATCH, GROUPS * CG, ID, IH, IW], w[GROUPS * OG, CG, KD, KH, KW] -> y[BATCH, GROUPS * OG, OD, OH, OW];
 * what lies outside x counts as 0.
 *
 * One invocation makes OB channels of one group x RT rows x 4 * NV columns in registers. For every channel and plane
 * it walks the input rows below its tile; a row comes in as NB aligned vectors, from which each tap picks its columns
 * at places known when the kernel is compiled. A row serves every output row that it touches.
 *
 * SD SH SW  strides;  DD DH DW  dilations;  ZD ZH ZW  elements of padding before x
 * OFFSET    ZW rounded up to 4
 * VECTOR    0 where a row of taps is too long for registers: then each tap loads its columns one by one
 * SLIDING   1 where a long row of taps walks in fours over a window of vectors, which moves on with them; RT and OB are 1, SW and DW too.
 *           Then taps are padded by zeros to KP, a multiple of 4
 * FLIPPED   the weights of an axis come from its end, as in a convolution of functions
 * WRAPPED   x is periodic in its last two axes, IW a multiple of 4, rather than 0 outside
 * No shared memory. */
#define IN_ROWS ((RT - 1) * SH + (KH - 1) * DH + 1)
#define ROW_TILES ((uint(OH) + RT - 1) / RT)
#define COLUMN_TILES ((uint(OW) + 4 * NV - 1) / (4 * NV))
#define CHANNEL_TILES ((OG + OB - 1) / OB)

vec4 acc[OB][RT][NV];

#if VECTOR || SLIDING
/* Four columns of x from `column`, 0 where they are outside. */
vec4 row_at(uint n, uint c, uint d, uint r, int column, bool inside)
{
#if WRAPPED
    return x_at4(n, c, d, r, uint(column < 0 ? column + int(IW) : min(column, int(IW) - 4)));
#endif
    const vec4 v = x_at4(n, c, d, r, uint(clamp(column, 0, int((uint(IW) - 1) & ~3u))));
    const uvec4 at = uvec4(ivec4(column) + ivec4(0, 1, 2, 3));
    return mix(vec4(0.0), v, inside ? lessThan(at, uvec4(uint(IW))) : bvec4(false));
}
#endif

void main()
{
    LEAVE_SPARE_GROUPS
    uint me = GROUP * WGSIZE + LID;
    const uint ow = me % COLUMN_TILES * (4 * NV);
    me /= COLUMN_TILES;
    const uint oh = me % ROW_TILES * RT;
    me /= ROW_TILES;
    const uint od = me % uint(OD);
    me /= uint(OD);
    const uint og = me % CHANNEL_TILES * OB;
    me /= CHANNEL_TILES;
    const uint g = me % GROUPS, n = me / GROUPS;
    if (n >= uint(BATCH))
        return;
    [[unroll]] for (uint o = 0; o < OB; o++)
        [[unroll]] for (uint t = 0; t < RT; t++)
            [[unroll]] for (uint v = 0; v < NV; v++)
                acc[o][t][v] = vec4(0.0);
#if SLIDING
    for (uint c = 0; c < CG; c++)
        for (uint k = 0; k < KD * KH; k++) {
            const uint kd = k / KH, kh = k % KH;
            const int d = int(od * SD + kd * DD) - ZD, h = int(oh * SH + kh * DH) - ZH;
            if (d < 0 || d >= int(ID) || (WRAPPED == 0 && (h < 0 || h >= int(IH))))
                continue;
            const uint row = uint(h < 0 ? h + int(IH) : h);
            vec4 b[NB];
            [[unroll]] for (uint i = 0; i + 1 < NB; i++)
                b[i + 1] = row_at(n, g * CG + c, uint(d), row, int(ow) - OFFSET + 4 * int(i), true);
            [[dont_unroll]] for (uint kw = 0; kw < KP; kw += 4) {
                [[unroll]] for (uint i = 0; i + 1 < NB; i++)
                    b[i] = b[i + 1];
                b[NB - 1] = row_at(n, g * CG + c, uint(d), row, int(ow + kw) - OFFSET + 4 * (NB - 1), true);
                const uint from = FLIPPED != 0 ? KP - 4 - kw : kw;
                vec4 w = w_at4(g * OG + og, c, FLIPPED != 0 ? KD - 1 - kd : kd, FLIPPED != 0 ? KH - 1 - kh : kh, from);
                if (KP > KW)
                    w = mix(vec4(0.0), w, lessThan(from + uvec4(0, 1, 2, 3), uvec4(KW)));
                [[unroll]] for (uint e = 0; e < 4; e++)
                    [[unroll]] for (uint v = 0; v < NV; v++) {
                        vec4 x;
                        [[unroll]] for (uint i = 0; i < 4; i++)
                            x[i] = b[(4 * v + i + e + OFFSET - ZW) / 4][(i + e + OFFSET - ZW) % 4];
                        acc[0][0][v] = fma(x, vec4(w[FLIPPED != 0 ? 3 - e : e]), acc[0][0][v]);
                    }
            }
        }
#else
    for (uint c = 0; c < CG; c++)
        for (uint kd = 0; kd < KD; kd++) {
            const int d = int(od * SD + kd * DD) - ZD;
            if (d < 0 || d >= int(ID))
                continue;
            ROWS_LOOP for (uint r = 0; r < IN_ROWS; r++) {
                const int h = int(oh * SH + r) - ZH;
                const bool inside = h >= 0 && h < int(IH);
                const uint row = uint(clamp(h, 0, int(IH) - 1));
#if VECTOR
                vec4 b[NB];
                [[unroll]] for (uint i = 0; i < NB; i++)
                    b[i] = row_at(n, g * CG + c, uint(d), row, int(ow * SW) - OFFSET + 4 * int(i), inside);
#endif
                [[unroll]] for (uint t = 0; t < RT; t++) {
                    const int from = int(r) - int(t * SH);
                    if (from < 0 || from % DH != 0 || from / DH >= KH)
                        continue;
                    const uint kh = uint(from / DH);
                    TAPS_LOOP for (uint kw = 0; kw < KW; kw++) {
                        float w[OB];
                        [[unroll]] for (uint o = 0; o < OB; o++)
                            w[o] = w_at(g * OG + min(og + o, OG - 1), c, kd, kh, kw);
                        [[unroll]] for (uint v = 0; v < NV; v++) {
                            vec4 x;
                            [[unroll]] for (uint e = 0; e < 4; e++) {
#if VECTOR
                                const uint at = (4 * v + e) * SW + kw * DW + (OFFSET - ZW);
                                x[e] = b[at / 4][at % 4];
#else
                                const int at = int((ow + 4 * v + e) * SW + kw * DW) - ZW;
                                x[e] = x_at(n, g * CG + c, uint(d), row, uint(clamp(at, 0, int(IW) - 1)));
                                x[e] = inside && at >= 0 && at < int(IW) ? x[e] : 0.0;
#endif
                            }
                            [[unroll]] for (uint o = 0; o < OB; o++)
                                acc[o][t][v] += x * w[o];
                        }
                    }
                }
            }
        }
#endif
    [[unroll]] for (uint o = 0; o < OB; o++)
        [[unroll]] for (uint t = 0; t < RT; t++)
            [[unroll]] for (uint v = 0; v < NV; v++)
                if (og + o < OG && oh + t < uint(OH) && ow + 4 * v < uint(OW))
                    y_put4(n, g * OG + og + o, od, oh + t, ow + 4 * v, acc[o][t][v]);
}
