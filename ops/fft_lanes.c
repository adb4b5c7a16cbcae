/* fft_lanes.c - the transform for CPUs with subgroups of 8 lanes and more: a line lies in the registers of one lane, or of `lanes` neighbours of a
 * subgroup. No shared memory, no barrier, no array: software drivers pay most for memory, and indexed arrays are memory.
 *
 * n = lanes * m. Lane l holds points l * m + i. First each i is transformed across the lanes by exchanges at distances
 * lanes / 2 .. 1, which leaves output residue k2 = the reversed bits of l in lane l; then, multiplied by roots, the m points of a
 * lane are transformed: bin k2 + lanes * k1. A filter goes back by the mirrored flow. Roots come from one table that lanes
 * read once, as a uniform block, for all their lines. */
#include "anchors.h"
#include "fft.h"

#include <string.h>

/* Points per lane: more would be faster, but take software drivers long to compile; without a factor of two a lane cannot have
 * fewer. Up to FEW of them, each has a root of its own. */
enum { MOST = 16, MOST_ODD = 32, FEW = 8 };

/* Roots of a lane: of points 1 .. fine - 1, then of points fine, 2 fine, .. */
static uint32_t roots_of(const tf_fft_lanes *f) { return f->fine - 1 + f->m / f->fine - 1; }

tf_fft_lanes tf_fft_lanes_of(int64_t points, uint32_t lanes, tf_fft_real real)
{
    tf_fft_lanes f = { .points = points, .lanes = lanes, .m = (uint32_t)(points / lanes), .real = real };
    while (1u << f.stages < lanes) f.stages++;
    f.fine = f.m > FEW ? 1 : f.m;
    while (f.m % f.fine || f.fine * f.fine < f.m) f.fine++;
    f.at_q = f.stages > 1 ? (f.stages - 1) * lanes : 0;
    f.at_v = f.at_q + (lanes > 1 ? (roots_of(&f) + 1) / 2 * lanes : 0);
    f.at_u = f.at_v + (real ? lanes : 0);
    f.count = TF_MAX(f.at_u + (real ? f.m : 0), 1);
    return f;
}

bool tf_fft_by_lanes(const tf_limits *l)
{
    const uint32_t size = tf_shuffle_lanes(l);
    return l->cpu && size >= 8 && size <= 64;
}

uint32_t tf_fft_choose_lanes(const tf_limits *l, int64_t points, bool strided)
{
    const int64_t fair = strided ? 4 : 8; /* strided: lanes in many rows at once hide the latency of memory */
    uint32_t lanes = 1;
    if (!tf_fft_by_lanes(l) || !tf_fft_smooth(points)) return 0;
    while (2 * lanes <= l->subgroup_size && points % (2 * lanes) == 0 && points / lanes > fair) lanes *= 2;
    return points / lanes <= (lanes < l->subgroup_size && points / lanes % 2 ? MOST_ODD : MOST) ? lanes : 0;
}

/* ---- the table ---------------------------------------------------------------------------------------- */

static uint32_t reversed(uint32_t l, uint32_t stages)
{
    uint32_t k = 0;
    for (uint32_t s = 0; s < stages; s++) k |= (l >> s & 1) << (stages - 1 - s);
    return k;
}

/* e^(-2 pi i j / n) into half `h` (0, 1) of vector `at`. */
static void put(double *out, uint32_t at, uint32_t h, uint64_t j, uint64_t n)
{
    double re, im;
    tf_fft_root(j, n, &re, &im);
    out[4 * at + 2 * h] = re;
    out[4 * at + 2 * h + 1] = -im;
}

void tf_fft_lane_table(const tf_fft_lanes *f, double *out)
{
    const uint64_t n = (uint64_t)f->points;
    memset(out, 0, f->count * 4 * sizeof *out);
    for (uint32_t l = 0; l < f->lanes; l++) {
        const uint64_t k2 = reversed(l, f->stages);
        for (uint32_t s = 0; s + 1 < f->stages; s++) {
            const uint32_t d = f->lanes >> (s + 1);
            put(out, s * f->lanes + l, 0, l & d ? l % d : 0, 2 * d);
        }
        for (uint32_t r = 0; r < roots_of(f) && f->lanes > 1; r++)
            put(out, f->at_q + r / 2 * f->lanes + l, r % 2, (r + 1 < f->fine ? r + 1 : (r + 2 - f->fine) * f->fine) * k2, n);
        if (f->real) put(out, f->at_v + l, 0, f->real == TF_FFT_R2C ? k2 : (uint64_t)l * f->m, 2 * n);
    }
    for (uint32_t k = 0; f->real && k < f->m; k++) put(out, f->at_u + k, 0, (f->real == TF_FFT_R2C ? f->lanes : 1) * (uint64_t)k, 2 * n);
}

/* ---- printing --------------------------------------------------------------------------------------- */

static void print_across(tf_str *s, const tf_fft_lanes *f, bool back)
{
    tf_str_printf(s, "vec2 across%s(vec2 v)\n{\n", back ? "_back" : "");
    for (uint32_t i = 0; i < f->stages; i++) {
        const uint32_t stage = back ? f->stages - 1 - i : i, d = f->lanes >> (stage + 1);
        const bool turned = stage + 1 < f->stages;
        if (back && turned) tf_str_printf(s, "    v = c_mul(v, stage_root%u);\n", stage);
        tf_str_printf(s, "    v = subgroupShuffleXor(v, %uu) + ((LANE & %uu) != 0u ? -v : v);\n", d, d);
        if (!back && turned) tf_str_printf(s, "    v = c_mul(v, stage_root%u);\n", stage);
    }
    tf_str_add(s, "    return v;\n}\n");
}

/* The roots of this lane, and which bins it holds. */
static void print_prepare(tf_str *s, const tf_fft_lanes *f)
{
    const uint32_t roots = f->lanes > 1 ? roots_of(f) : 0;
    for (uint32_t i = 0; i + 1 < f->stages; i++) tf_str_printf(s, "vec2 stage_root%u;\n", i);
    for (uint32_t r = 0; r < roots; r++) tf_str_printf(s, "vec2 lane_root%u;\n", r);
    tf_str_add(s, "uint k2, partner;\nvoid prepare()\n{\n    k2 = 0u");
    for (uint32_t i = 0; i < f->stages; i++) tf_str_printf(s, " | (LANE >> %uu & 1u) << %uu", i, f->stages - 1 - i);
    tf_str_add(s, ";\n    partner = 0u");
    for (uint32_t i = 0; i < f->stages; i++) tf_str_printf(s, " | ((LANES - k2) >> %uu & 1u) << %uu", i, f->stages - 1 - i);
    tf_str_add(s, ";\n");
    for (uint32_t i = 0; i + 1 < f->stages; i++) tf_str_printf(s, "    stage_root%u = w_at4(4u * (%uu + LANE)).xy;\n", i, i * f->lanes);
    for (uint32_t r = 0; r < roots; r += 2) {
        tf_str_printf(s, "    { const vec4 r = w_at4(4u * (%uu + LANE)); lane_root%u = r.xy;", f->at_q + r / 2 * f->lanes, r);
        if (r + 1 < roots) tf_str_printf(s, " lane_root%u = r.zw;", r + 1);
        tf_str_add(s, " }\n");
    }
    tf_str_add(s, "}\n");
}

/* v<q> times its root */
static void print_turn(tf_str *s, const tf_fft_lanes *f, uint32_t q)
{
    const uint32_t b = q % f->fine, a = q / f->fine;
    if (b) tf_str_printf(s, "    v%u = c_mul(v%u, lane_root%u);\n", q, q, b - 1);
    if (a) tf_str_printf(s, "    v%u = c_mul(v%u, lane_root%u);\n", q, q, f->fine - 2 + a);
}

/* Bins k and their mirrors: bin k2 + LANES k1 pairs with lane -k2 at m - 1 - k1, lane 0 with itself at m - k1. */
static void print_bins(tf_str *s, const tf_fft_lanes *f)
{
    tf_str_printf(s, "    const vec2 lane_turn = w_at4(4u * (%uu + LANE)).xy;\n", f->at_v);
    for (uint32_t q = 0; q < f->m; q++) {
        tf_str_printf(s, "    { const vec2 mine = k2 == 0u ? v%u : v%u; const uint k = k2 + LANES * %uu;\n", (f->m - q) % f->m, f->m - 1 - q, q);
        tf_str_printf(s, "    const vec2 other = %s, turn = c_mul(lane_turn, w_at4(4u * %uu).xy);\n",
                      f->lanes > 1 ? "subgroupShuffle(mine, LANE_BASE + partner)" : "mine", f->at_u + q);
        tf_str_printf(s, "    if (live && k < KEEP) store(k, unpacked_by(turn, v%u, other)); }\n", q);
    }
    tf_str_add(s, "    if (live && k2 == 0u && POINTS < KEEP) store(POINTS, vec2(v0.x - v0.y, 0.0));\n");
}

void tf_fft_print_lanes(tf_str *s, const tf_fft_lanes *f, bool filter)
{
    const bool lanes = f->lanes > 1;
    print_prepare(s, f);
    if (lanes) print_across(s, f, false);
    if (lanes && filter) print_across(s, f, true);
    tf_str_add(s, "void transform(const bool live)\n{\n");
    for (uint32_t q = 0; q < f->m; q++) {
        tf_str_printf(s, "    vec2 v%u = %spoint(LANE * %uu + %uu)%s;\n", q, lanes ? "across(" : "", f->m, q, lanes ? ")" : "");
        if (lanes) print_turn(s, f, q);
    }
    tf_fft_print_points(s, f->m, "v", "");
    if (filter) {
        for (uint32_t q = 0; q < f->m; q++) tf_str_printf(s, "    v%u = filtered(k2 + LANES * %uu, v%u).yx;\n", q, q, q);
        tf_fft_print_points(s, f->m, "v", "");
        for (uint32_t q = 0; q < f->m && lanes; q++) {
            print_turn(s, f, q);
            tf_str_printf(s, "    v%u = across_back(v%u);\n", q, q);
        }
    }
    if (f->real == TF_FFT_R2C) print_bins(s, f);
    else {
        tf_str_add(s, "    if (live) {\n");
        for (uint32_t q = 0; q < f->m; q++) {
            if (filter) tf_str_printf(s, "        store(LANE * %uu + %uu, v%u);\n", f->m, q, q);
            else tf_str_printf(s, "        store(k2 + LANES * %uu, v%u);\n", q, q);
        }
        tf_str_add(s, "    }\n");
    }
    tf_str_add(s, "}\n");
}
