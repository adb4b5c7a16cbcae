/* fft_lanes.c - the transform for CPUs with subgroups of 8 lanes and more: a line lies in the registers of one lane, or of `lanes` neighbours of a
 * subgroup. No shared memory and no barrier: software drivers pay most for memory.
 *
 * n = lanes * m, and m = hi * low: digits of a place above and below the lane's. Lane l holds the places (h, l, c). They are transformed over
 * h, across the lanes by exchanges at distances lanes / 2 .. 1, which leaves residue k2 = the reversed bits of l in lane l, and over c, with
 * roots between: bins (k_c, k2, k_h). So both neighbouring places and neighbouring bins are of one lane and go by vectors, where lines are
 * rows. Elsewhere hi is 1, and four lines that are neighbours in memory go by vectors instead. A filter goes back by the mirrored flow. Roots
 * come from one table that lanes read once, as a uniform block, for all their lines.
 *
 * Where 32 points of a lane, four lines together, only go there, the code is halved: a loop takes the lower, then the upper bins over 8 places
 * h, from the transforms of even and odd ones that it forms twice, and everything behind them is of half as many points.
 *
 * More points than registers hold are transformed in steps, one per factor of m, each a loop over its butterflies; between steps they wait
 * in shared memory, of which a lane has its own part, or, where a filter doubles the work, in an array of the lane, which every lane indexes
 * alike: that is faster, but drivers compile it for twice as long. Step s takes digit s of the place in the lane, the most significant first. */
#include "anchors.h"
#include "fft.h"

#include <stdio.h>
#include <string.h>

/* Points in registers: more would be faster, but take software drivers long to compile, above all those that are loaded and stored one by
 * one; an odd number of them cannot be halved. MOST_STEP: of a step that shares, where primes allow. Up to FEW roots a lane holds
 * each, else products of two. WAITING: points of a lane that may wait. */
enum { MOST = 16, MOST_VECTORS = 32, MOST_BESIDE = 32, MOST_ODD = 32, MOST_STEP = 8, FEW = 8, WAITING = 512 };

/* Roots of a lane between the exchanges and the points `low`: of points 1 .. fine - 1, then of points fine, 2 fine, .. */
static uint32_t roots_of(const tf_fft_lanes *f) { return f->fine - 1 + f->radix[0] / f->hi / f->fine - 1; }
/* Neighbouring places whose digits 0 .. s are the same. */
static uint32_t rest_of(const tf_fft_lanes *f, uint32_t s)
{
    uint32_t rest = f->m;
    for (uint32_t i = 0; i <= s; i++) rest /= f->radix[i];
    return rest;
}

tf_fft_lanes tf_fft_lanes_of(int64_t points, uint32_t lanes, tf_fft_real real, tf_fft_way way, bool filter)
{
    tf_fft_lanes f = { .points = points, .lanes = lanes, .m = (uint32_t)(points / lanes), .steps = 1, .hi = 1, .real = real };
    const bool vectors = way == TF_FFT_ROWS && real != TF_FFT_R2C && f.m % 16 == 0;
    const bool steps = f.m > (uint32_t)(vectors ? MOST_VECTORS : f.m % 2 && lanes < 8 ? MOST_ODD : MOST);
    while (1u << f.stages < lanes) f.stages++;
    f.radix[0] = f.m;
    if (steps) {
        uint32_t radix[TF_FFT_PASSES];
        f.shared = !filter;
        if (!(f.shared && tf_fft_factor(f.m, MOST_STEP, radix, &f.steps)) && !tf_fft_factor(f.m, MOST, radix, &f.steps)) f.steps = 0;
        for (uint32_t i = 0; i < f.steps; i++) f.radix[i] = radix[f.steps - 1 - i]; /* the smallest first, where exchanges are added to it */
    } else {
        f.halves = lanes > 1 && !filter && real == TF_FFT_COMPLEX && f.m == (way == TF_FFT_ROWS ? 32 : way == TF_FFT_TURNED || way == TF_FFT_BESIDE ? 8 : 0);
        if (f.halves) f.hi = 8;
        else if (vectors || way == TF_FFT_TURNED) f.hi = 4;
    }
    const uint32_t low = f.radix[0] / f.hi;
    f.fine = low > FEW ? 1 : low;
    while (low % f.fine || f.fine * f.fine < low) f.fine++;
    f.at_q = f.stages > 1 ? (f.stages - 1) * lanes : 0;
    f.at_h = f.at_q + (f.halves ? low / 2 * 2 * lanes : lanes > 1 ? (roots_of(&f) + 1) / 2 * lanes : 0);
    f.at_j = f.at_h + (lanes > 1 ? f.hi / 2 * lanes : 0);
    f.at_v = f.at_j + (lanes > 1 && f.steps > 1 ? rest_of(&f, 0) * lanes : 0);
    for (uint32_t i = 0; i + 1 < f.steps; i++) {
        f.at_t[i] = f.at_v;
        f.at_v += rest_of(&f, i) * (f.radix[i] / 2);
    }
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
    uint32_t lanes = 1, radix[TF_FFT_PASSES], steps;
    if (!tf_fft_by_lanes(l) || !tf_fft_smooth(points)) return 0;
    while (2 * lanes <= l->subgroup_size && points % (2 * lanes) == 0 && points / lanes > fair) lanes *= 2;
    return points / lanes <= TF_MIN(WAITING, l->shared_bytes / 8 / l->subgroup_size) && tf_fft_factor(points / lanes, MOST, radix, &steps) ? lanes : 0;
}

bool tf_fft_row_in_registers(const tf_limits *l, int64_t points)
{
    return tf_emit_long_words(l) && tf_fft_by_lanes(l) && points <= (int64_t)l->subgroup_size * MOST_VECTORS;
}

bool tf_fft_short_column(const tf_limits *l, int64_t points, int64_t inner)
{
    const uint32_t lanes = tf_fft_choose_lanes(l, points, true);
    return lanes && tf_emit_long_words(l) && !tf_dim_is_dynamic(inner) && inner % 4 == 0 && inner > 0 && points / lanes <= MOST_BESIDE / 4;
}

uint32_t tf_fft_turned_lanes(const tf_limits *l, int64_t points)
{
    uint32_t lanes = 1;
    if (!tf_fft_by_lanes(l) || !tf_emit_long_words(l) || !tf_fft_smooth(points) || points % 4) return 0;
    while (2 * lanes <= l->subgroup_size && points % (8 * lanes) == 0) lanes *= 2;
    return points / lanes <= MOST_BESIDE / 4 ? lanes : 0;
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
    const uint32_t rest = rest_of(f, 0), low = f->m / f->hi;
    memset(out, 0, f->count * 4 * sizeof *out);
    for (uint32_t l = 0; l < f->lanes; l++) {
        const uint64_t k2 = reversed(l, f->stages);
        for (uint32_t s = 0; s + 1 < f->stages; s++) {
            const uint32_t d = f->lanes >> (s + 1);
            put(out, s * f->lanes + l, 0, l & d ? l % d : 0, 2 * d);
        }
        for (uint32_t c = 1; c < low && f->halves; c++)
            for (uint32_t p = 0; p < 2; p++) put(out, f->at_q + (low / 2 * p + (c - 1) / 2) * f->lanes + l, (c - 1) % 2, 8 * k2 * c + 4 * p * c, n);
        for (uint32_t k = 0; k < f->hi && f->halves; k++) put(out, f->at_h + k / 2 * f->lanes + l, k % 2, (uint64_t)k * l * low, n);
        if (f->halves) continue;
        for (uint32_t r = 0; r < roots_of(f) && f->lanes > 1; r++)
            put(out, f->at_q + r / 2 * f->lanes + l, r % 2, (r + 1 < f->fine ? r + 1 : (r + 2 - f->fine) * f->fine) * rest * k2, n / f->hi);
        for (uint32_t k = 1; k < f->hi && f->lanes > 1; k++) put(out, f->at_h + (k - 1) / 2 * f->lanes + l, (k - 1) % 2, (uint64_t)k * l * (f->m / f->hi), n);
        for (uint32_t j = 0; j < rest && f->lanes > 1 && f->steps > 1; j++) put(out, f->at_j + j * f->lanes + l, 0, j * k2, n);
        if (f->real) put(out, f->at_v + l, 0, f->real == TF_FFT_R2C ? k2 : (uint64_t)l * (f->m / f->hi), 2 * n);
    }
    for (uint32_t s = 0; s + 1 < f->steps; s++)
        for (uint32_t j = 0, r = f->radix[s]; j < rest_of(f, s); j++)
            for (uint32_t k = 1; k < r; k++) put(out, f->at_t[s] + j * (r / 2) + (k - 1) / 2, (k - 1) % 2, (uint64_t)k * j, rest_of(f, s) * r);
    for (uint32_t k = 0; f->real && k < f->m; k++) /* c2r: of points k / low * lanes * low + k % low */
        put(out, f->at_u + k, 0, f->real == TF_FFT_R2C ? f->lanes * (uint64_t)k : k / low * f->lanes * low + k % low, 2 * n);
}

/* ---- printing --------------------------------------------------------------------------------------- */

static void print_across(tf_str *s, const tf_fft_lanes *f, bool back)
{
    tf_str_printf(s, "vec2 across%s(vec2 v)\n{\n", back ? "_back" : "");
    for (uint32_t i = 0; i < f->stages; i++) {
        const uint32_t stage = back ? f->stages - 1 - i : i, d = f->lanes >> (stage + 1);
        const bool turned = stage + 1 < f->stages;
        if (back && turned) tf_str_printf(s, "    v = c_mul(v, stage_root%u);\n", stage);
        tf_str_printf(s, "    v = fma(vec2(stage_sign%u), v, subgroupShuffleXor(v, %uu));\n", stage, d);
        if (!back && turned) tf_str_printf(s, "    v = c_mul(v, stage_root%u);\n", stage);
    }
    tf_str_add(s, "    return v;\n}\n");
}

/* The roots of this lane, and which bins it holds. */
static void print_prepare(tf_str *s, const tf_fft_lanes *f)
{
    const uint32_t roots = f->lanes > 1 && !f->halves ? roots_of(f) : 0;
    for (uint32_t i = 0; i < f->stages; i++) tf_str_printf(s, "vec2 stage_root%u;\nfloat stage_sign%u;\n", i, i);
    for (uint32_t r = 0; r < roots; r++) tf_str_printf(s, "vec2 lane_root%u;\n", r);
    for (uint32_t k = 1; k < f->hi && !f->halves; k++) tf_str_printf(s, "vec2 high_root%u;\n", k);
    tf_str_add(s, "uint k2, partner;\nvoid prepare()\n{\n    k2 = 0u");
    for (uint32_t i = 0; i < f->stages; i++) tf_str_printf(s, " | (LANE >> %uu & 1u) << %uu", i, f->stages - 1 - i);
    tf_str_add(s, ";\n    partner = 0u");
    for (uint32_t i = 0; i < f->stages; i++) tf_str_printf(s, " | ((LANES - k2) >> %uu & 1u) << %uu", i, f->stages - 1 - i);
    tf_str_add(s, ";\n");
    for (uint32_t i = 0; i < f->stages; i++) tf_str_printf(s, "    stage_sign%u = (LANE & %uu) != 0u ? -1.0 : 1.0;\n", i, f->lanes >> (i + 1));
    for (uint32_t i = 0; i + 1 < f->stages; i++) tf_str_printf(s, "    stage_root%u = w_at4(4u * (%uu + LANE)).xy;\n", i, i * f->lanes);
    for (uint32_t r = 0; r < roots; r += 2) {
        tf_str_printf(s, "    { const vec4 r = w_at4(4u * (%uu + LANE)); lane_root%u = r.xy;", f->at_q + r / 2 * f->lanes, r);
        if (r + 1 < roots) tf_str_printf(s, " lane_root%u = r.zw;", r + 1);
        tf_str_add(s, " }\n");
    }
    for (uint32_t k = 1; k < f->hi && f->lanes > 1 && !f->halves; k += 2) {
        tf_str_printf(s, "    { const vec4 r = w_at4(4u * (%uu + LANE)); high_root%u = r.xy;", f->at_h + k / 2 * f->lanes, k);
        if (k + 1 < f->hi) tf_str_printf(s, " high_root%u = r.zw;", k + 1);
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
    tf_str_printf(s, "    v%u = c_mul(v%u, lane_step);\n", q, q);
}

/* v0 .. times the roots between step and the next one. */
static void print_step_roots(tf_str *s, const tf_fft_lanes *f, uint32_t step)
{
    const uint32_t r = f->radix[step];
    for (uint32_t k = 1; k < r; k += 2) {
        tf_str_printf(s, "    { const vec4 r = w_at4(4u * (%uu + j * %uu)); v%u = c_mul(v%u, r.xy);", f->at_t[step] + k / 2, r / 2, k, k);
        if (k + 1 < r) tf_str_printf(s, " v%u = c_mul(v%u, r.zw);", k + 1, k + 1);
        tf_str_add(s, " }\n");
    }
}

/* Begins the loop over the butterflies of a step: places `at` + q * rest, where j is what the roots depend on. */
static void print_loop(tf_str *s, const tf_fft_lanes *f, uint32_t step)
{
    const uint32_t r = f->radix[step], rest = rest_of(f, step);
    tf_str_printf(s, "    [[dont_unroll]] for (uint u = 0u; u < %uu; u++) {\n    const uint j = u %% %uu, at = u / %uu * %uu + j;\n", f->m / r, rest, rest, r * rest);
    if (step == 0 && f->lanes > 1) tf_str_printf(s, "    const vec2 lane_step = w_at4(4u * (%uu + j * LANES + LANE)).xy;\n", f->at_j);
}

static void print_take(tf_str *s, const tf_fft_lanes *f, uint32_t step)
{
    for (uint32_t q = 0; q < f->radix[step]; q++) tf_str_printf(s, "    vec2 v%u = kept(at + %uu);\n", q, q * rest_of(f, step));
}

static void print_keep(tf_str *s, const tf_fft_lanes *f, uint32_t step)
{
    for (uint32_t q = 0; q < f->radix[step]; q++) tf_str_printf(s, "    keep(at + %uu, v%u);\n", q * rest_of(f, step), q);
}

/* Which of the lane's bins the last step's v<q> is, in its loop over u. */
static void print_bin(tf_str *s, const tf_fft_lanes *f, uint32_t q)
{
    uint32_t below = 1, above = f->m / f->radix[f->steps - 1];
    for (uint32_t i = 0; i + 1 < f->steps; i++) {
        above /= f->radix[i];
        tf_str_printf(s, "u / %uu %% %uu * %uu + ", above, f->radix[i], below);
        below *= f->radix[i];
    }
    tf_str_printf(s, "%uu", q * below);
}

/* Bins k and their mirrors: bin k2 + LANES k1 pairs with lane -k2 at m - 1 - k1, lane 0 with itself at m - k1. */
static void print_pair(tf_str *s, const tf_fft_lanes *f, const char *k1, const char *bin, const char *mine)
{
    tf_str_printf(s, "    { const vec2 mine = %s; const uint k = k2 + LANES * (%s);\n", mine, k1);
    tf_str_printf(s, "    const vec2 other = %s, turn = c_mul(lane_turn, w_at4(4u * (%uu + %s)).xy);\n",
                  f->lanes > 1 ? "subgroupShuffle(mine, LANE_BASE + partner)" : "mine", f->at_u, k1);
    tf_str_printf(s, "    if (live && k < KEEP) store(k, unpacked_by(turn, %s, other)); }\n", bin);
}

static void print_bins(tf_str *s, const tf_fft_lanes *f)
{
    char k1[32], bin[32], mine[96];
    tf_str_printf(s, "    const vec2 lane_turn = w_at4(4u * (%uu + LANE)).xy;\n", f->at_v);
    for (uint32_t q = 0; q < f->m && f->steps == 1; q++) {
        snprintf(k1, sizeof k1, "%uu", q);
        snprintf(bin, sizeof bin, "v%u", q);
        snprintf(mine, sizeof mine, "k2 == 0u ? v%u : v%u", (f->m - q) % f->m, f->m - 1 - q);
        print_pair(s, f, k1, bin, mine);
    }
    if (f->steps > 1) {
        snprintf(mine, sizeof mine, "kept(place(k2 != 0u ? %uu - q : q == 0u ? 0u : %uu - q))", f->m - 1, f->m);
        tf_str_printf(s, "    [[dont_unroll]] for (uint q = 0u; q < %uu; q++)\n", f->m);
        print_pair(s, f, "q", "kept(place(q))", mine);
    }
    tf_str_printf(s, "    if (live && k2 == 0u && POINTS < KEEP) store(POINTS, vec2(%s.x - %s.y, 0.0));\n", f->steps > 1 ? "kept(0u)" : "v0", f->steps > 1 ? "kept(0u)" : "v0");
}

/* Where bin q of a lane waits. */
static void print_place(tf_str *s, const tf_fft_lanes *f)
{
    tf_str_add(s, "uint place(uint q)\n{\n    return ");
    for (uint32_t i = 0, below = 1; i < f->steps; i++) {
        tf_str_printf(s, "%sq / %uu %% %uu * %uu", i ? " + " : "", below, f->radix[i], rest_of(f, i));
        below *= f->radix[i];
    }
    tf_str_add(s, ";\n}\n");
}

/* ---- all points in registers: place (h, lane, c) of `hi`, lanes and `low`, to bin (k_c, k_lane, k_h) ---- */

/* Butterflies over one of the two axes of v<h * low + c>. */
static void print_columns(tf_str *s, const tf_fft_lanes *f, char v, bool over_hi)
{
    const uint32_t low = f->m / f->hi, r = over_hi ? f->hi : low, step = over_hi ? low : 1;
    char names[MOST_VECTORS][8];
    const char *list[MOST_VECTORS];
    for (uint32_t i = 0; i < f->m / r; i++) {
        for (uint32_t q = 0; q < r; q++) {
            snprintf(names[q], sizeof names[q], "%c%u", v, over_hi ? q * step + i : i * low + q);
            list[q] = names[q];
        }
        tf_fft_print_named(s, r, list);
    }
}

/* v<k, c> *= e^(-2 pi i k (lane low + c) / n) */
static void print_high_turn(tf_str *s, const tf_fft_lanes *f, char v)
{
    const uint32_t low = f->m / f->hi;
    for (uint32_t k = 1; k < f->hi; k++)
        for (uint32_t c = 0; c < low; c++) {
            double re, im;
            tf_fft_root((uint64_t)k * c, (uint64_t)f->points, &re, &im);
            if (f->lanes > 1) tf_str_printf(s, "    %c%u = c_mul(%c%u, high_root%u);\n", v, k * low + c, v, k * low + c, k);
            if (c) tf_str_printf(s, "    %c%u = c_mul(%c%u, vec2(%.9g, %.9g));\n", v, k * low + c, v, k * low + c, re, -im);
        }
}

static void print_exchange(tf_str *s, const tf_fft_lanes *f, char v, bool back)
{
    const uint32_t low = f->m / f->hi;
    for (uint32_t q = 0; q < f->m && f->lanes > 1; q++) {
        const uint32_t b = q % low % f->fine, a = q % low / f->fine;
        if (!back) tf_str_printf(s, "    %c%u = across(%c%u);\n", v, q, v, q);
        if (b) tf_str_printf(s, "    %c%u = c_mul(%c%u, lane_root%u);\n", v, q, v, q, b - 1);
        if (a) tf_str_printf(s, "    %c%u = c_mul(%c%u, lane_root%u);\n", v, q, v, q, f->fine - 2 + a);
        if (back) tf_str_printf(s, "    %c%u = across_back(%c%u);\n", v, q, v, q);
    }
}

/* Places of the lane in order of c, and bins in order of k_h, by vectors where they are neighbours in memory. */
static void print_points_taken(tf_str *s, const tf_fft_lanes *f, bool vectors)
{
    const uint32_t low = f->m / f->hi;
    for (uint32_t q = 0; q < f->m; q += vectors ? 4 : 1) {
        const uint32_t from = q / low * f->lanes * low + q % low;
        if (vectors) tf_str_printf(s, "    vec2 v%u, v%u, v%u, v%u; point4(%uu, LANE * %uu + %uu, v%u, v%u, v%u, v%u);\n", q, q + 1, q + 2, q + 3, from, low, from, q, q + 1, q + 2, q + 3);
        else tf_str_printf(s, "    vec2 v%u = point(LANE * %uu + %uu);\n", q, low, from);
    }
}

static void print_points_put(tf_str *s, const tf_fft_lanes *f, bool vectors)
{
    const uint32_t low = f->m / f->hi;
    for (uint32_t q = 0; q < f->m; q += vectors ? 4 : 1) {
        const uint32_t to = q / low * f->lanes * low + q % low;
        if (vectors) tf_str_printf(s, "        store4(%uu, LANE * %uu + %uu, v%u, v%u, v%u, v%u);\n", to, low, to, q, q + 1, q + 2, q + 3);
        else tf_str_printf(s, "        store(LANE * %uu + %uu, v%u);\n", low, to, q);
    }
}

static void print_bins_put(tf_str *s, const tf_fft_lanes *f, bool vectors)
{
    const uint32_t low = f->m / f->hi;
    for (uint32_t c = 0; c < low; c++)
        for (uint32_t k = 0; k < f->hi; k += vectors ? 4 : 1) {
            const uint32_t to = f->hi * f->lanes * c + k, q = k * low + c;
            if (vectors) tf_str_printf(s, "        store4(%uu, k2 * %uu + %uu, v%u, v%u, v%u, v%u);\n", to, f->hi, to, q, q + low, q + 2 * low, q + 3 * low);
            else tf_str_printf(s, "        store(k2 * %uu + %uu, v%u);\n", f->hi, to, q);
        }
}

/* Four columns beside each other: v<q>, f<q>, g<q>, h<q>. */
static const char beside_names[] = "vfgh";

static void print_beside_taken(tf_str *s, const tf_fft_lanes *f)
{
    const uint32_t low = f->m / f->hi;
    for (uint32_t q = 0; q < f->m; q++)
        tf_str_printf(s, "    vec2 v%u, f%u, g%u, h%u; point_beside(LANE * %uu + %uu, v%u, f%u, g%u, h%u);\n", q, q, q, q, low, q / low * f->lanes * low + q % low, q, q, q, q);
}

static void print_beside_put(tf_str *s, const tf_fft_lanes *f, bool places, bool turned)
{
    const uint32_t low = f->m / f->hi;
    for (uint32_t q = 0; q < f->m && places; q++)
        tf_str_printf(s, "        store_beside(LANE * %uu + %uu, v%u, f%u, g%u, h%u);\n", low, q / low * f->lanes * low + q % low, q, q, q, q);
    for (uint32_t c = 0; c < low && !places; c++)
        for (uint32_t k = 0; k < f->hi; k += turned ? 4 : 1)
            for (uint32_t e = 0, v; e < (turned ? 4u : 1u); e++) {
                const uint32_t to = f->hi * f->lanes * c + k, q = k * low + c;
                v = (uint32_t)beside_names[e];
                if (turned) tf_str_printf(s, "        store_turned(%uu, k2 * %uu + %uu, %c%u, %c%u, %c%u, %c%u);\n", e, f->hi, to, v, q, v, q + low, v, q + 2 * low, v, q + 3 * low);
                else tf_str_printf(s, "        store_beside(k2 * %uu + %uu, v%u, f%u, g%u, h%u);\n", f->hi, to, q, q, q, q);
            }
}

/* ---- the same with hi = 8 in two rounds: of bins k_h, 4 round .. 4 round + 3 are in v<2 (k_h % 4) low + c> ---- */

static void print_half(tf_str *s, const tf_fft_lanes *f, char v)
{
    const uint32_t low = f->m / 8;
    char names[8][16];
    const char *list[8];
    for (uint32_t c = 0; c < low; c++) {
        for (uint32_t h = 0; h < 8; h++) {
            snprintf(names[h], sizeof names[h], "%c%u", v, h * low + c);
            list[h] = names[h];
        }
        tf_fft_print_half(s, list);
    }
    for (uint32_t k = 0; k < 4; k++) {
        for (uint32_t c = 0; c < low; c++) {
            const uint32_t q = 2 * k * low + c;
            double re, im;
            tf_fft_root((uint64_t)k * c, (uint64_t)f->points, &re, &im);
            tf_str_printf(s, "    %c%u = c_mul(%c%u, high_root%u.%s);\n", v, q, v, q, k / 2, k % 2 ? "zw" : "xy");
            if (k && c) tf_str_printf(s, "    %c%u = c_mul(%c%u, vec2(%.9g, %.9g));\n", v, q, v, q, re, -im);
            tf_str_printf(s, "    %c%u = across(%c%u);\n", v, q, v, q);
            if (c) tf_str_printf(s, "    %c%u = c_mul(%c%u, low_root%u.%s);\n", v, q, v, q, (c - 1) / 2, (c - 1) % 2 ? "zw" : "xy");
            snprintf(names[c], sizeof names[c], "%c%u", v, q);
            list[c] = names[c];
        }
        tf_fft_print_named(s, low, list);
    }
}

static void print_halves(tf_str *s, const tf_fft_lanes *f, tf_fft_way way)
{
    const uint32_t low = f->m / 8, beside = way == TF_FFT_ROWS ? 1 : 4;
    tf_str_add(s, "    [[dont_unroll]] for (uint round = 0u; round < 2u; round++) {\n    const float side = round == 0u ? 1.0 : -1.0;\n");
    for (uint32_t i = 0; i < 2; i++) tf_str_printf(s, "    const vec4 high_root%u = w_at4(4u * (%uu + round * %uu + LANE));\n", i, f->at_h + i * f->lanes, 2 * f->lanes);
    for (uint32_t i = 0; i < low / 2; i++) tf_str_printf(s, "    const vec4 low_root%u = w_at4(4u * (%uu + round * %uu + LANE));\n", i, f->at_q + i * f->lanes, low / 2 * f->lanes);
    if (beside > 1) print_beside_taken(s, f);
    else print_points_taken(s, f, true);
    for (uint32_t e = 0; e < beside; e++) print_half(s, f, beside_names[e]);
    tf_str_add(s, "    if (live) {\n");
    for (uint32_t c = 0; c < low; c++) {
        const uint32_t to = 8 * f->lanes * c, q[4] = { c, 2 * low + c, 4 * low + c, 6 * low + c };
        for (uint32_t e = 0; e < beside && way != TF_FFT_BESIDE; e++) {
            const char v = beside_names[e];
            if (way == TF_FFT_ROWS) tf_str_printf(s, "        store4(%uu, k2 * 8u + round * 4u + %uu, v%u, v%u, v%u, v%u);\n", to, to, q[0], q[1], q[2], q[3]);
            else tf_str_printf(s, "        store_turned(%uu, k2 * 8u + round * 4u + %uu, %c%u, %c%u, %c%u, %c%u);\n", e, to, v, q[0], v, q[1], v, q[2], v, q[3]);
        }
        for (uint32_t k = 0; k < 4 && way == TF_FFT_BESIDE; k++)
            tf_str_printf(s, "        store_beside(k2 * 8u + round * 4u + %uu, v%u, f%u, g%u, h%u);\n", to + k, q[k], q[k], q[k], q[k]);
    }
    tf_str_add(s, "    }\n    }\n");
}

/* ---- all of them at once ---- */

static void print_in_registers(tf_str *s, const tf_fft_lanes *f, bool filter, tf_fft_way way)
{
    const uint32_t low = f->m / f->hi, beside = way == TF_FFT_TURNED || way == TF_FFT_BESIDE ? 4 : 1;
    const bool low_vectors = way == TF_FFT_ROWS && low % 4 == 0, high_vectors = way == TF_FFT_ROWS && f->hi % 4 == 0;
    if (beside > 1) print_beside_taken(s, f);
    else print_points_taken(s, f, low_vectors);
    for (uint32_t e = 0; e < beside; e++) {
        const char v = beside_names[e];
        if (f->hi > 1) print_columns(s, f, v, true);
        print_high_turn(s, f, v);
        print_exchange(s, f, v, false);
        print_columns(s, f, v, false);
        if (!filter) continue;
        for (uint32_t q = 0; q < (high_vectors ? low : f->m); q++) {
            const uint32_t k = f->hi * f->lanes * (q % low) + q / low;
            if (high_vectors) tf_str_printf(s, "    filtered4(k2 * %uu + %uu, %c%u, %c%u, %c%u, %c%u);\n", f->hi, k, v, q, v, q + low, v, q + 2 * low, v, q + 3 * low);
            else tf_str_printf(s, "    %c%u = filtered(k2 * %uu + %uu, line_i + %uu, %c%u);\n", v, q, f->hi, k, e, v, q);
        }
        for (uint32_t q = 0; q < f->m; q++) tf_str_printf(s, "    %c%u = %c%u.yx;\n", v, q, v, q);
        print_columns(s, f, v, false);
        print_exchange(s, f, v, true);
        print_high_turn(s, f, v);
        if (f->hi > 1) print_columns(s, f, v, true);
    }
    if (f->real == TF_FFT_R2C) {
        print_bins(s, f);
        return;
    }
    tf_str_add(s, "    if (live) {\n");
    if (beside > 1) print_beside_put(s, f, filter, way == TF_FFT_TURNED);
    else if (filter) print_points_put(s, f, low_vectors);
    else print_bins_put(s, f, high_vectors);
    tf_str_add(s, "    }\n");
}

/* Points that are made of two numbers of x are taken in a loop of their own, which is less code. */
static void print_points_kept(tf_str *s, const tf_fft_lanes *f, tf_fft_way way)
{
    const bool vectors = way == TF_FFT_ROWS && f->real != TF_FFT_C2R && f->m % 4 == 0;
    tf_str_printf(s, "    [[dont_unroll]] for (uint q = 0u; q < %uu; q += %uu) {\n", f->m, vectors ? 4 : 1);
    if (vectors) tf_str_printf(s, "    vec2 a, b, c, d; point4(0u, LANE * %uu + q, a, b, c, d);\n    keep(q, a); keep(q + 1u, b); keep(q + 2u, c); keep(q + 3u, d);\n", f->m);
    else tf_str_printf(s, "    keep(q, point(LANE * %uu + q));\n", f->m);
    tf_str_add(s, "    }\n");
}

/* Step 0 begins with the exchanges, the last one ends with the bins. */
static void print_step(tf_str *s, const tf_fft_lanes *f, uint32_t step, bool filter, bool kept)
{
    const uint32_t r = f->radix[step], rest = rest_of(f, step);
    const bool lanes = f->lanes > 1, last = step + 1 == f->steps;
    print_loop(s, f, step);
    if (step || kept) print_take(s, f, step);
    for (uint32_t q = 0; q < r && step == 0; q++) {
        if (!kept) tf_str_printf(s, "    vec2 v%u = point(LANE * %uu + %uu + j);\n", q, f->m, q * rest);
        if (lanes) tf_str_printf(s, "    v%u = across(v%u);\n", q, q);
        if (lanes) print_turn(s, f, q);
    }
    tf_fft_print_points(s, r, "v", "");
    if (!last) print_step_roots(s, f, step);
    else if (filter) {
        for (uint32_t q = 0; q < r; q++) {
            tf_str_printf(s, "    v%u = filtered(k2 + LANES * (", q);
            print_bin(s, f, q);
            tf_str_printf(s, "), line_i, v%u).yx;\n", q);
        }
        tf_fft_print_points(s, r, "v", "");
    } else if (f->real != TF_FFT_R2C) {
        tf_str_add(s, "    if (live) {\n");
        for (uint32_t q = 0; q < r; q++) {
            tf_str_add(s, "        store(k2 + LANES * (");
            print_bin(s, f, q);
            tf_str_printf(s, "), v%u);\n", q);
        }
        tf_str_add(s, "    }\n");
    }
    if (!last || filter || f->real == TF_FFT_R2C) print_keep(s, f, step);
    tf_str_add(s, "    }\n");
}

/* The way back, in which the last step was part of the way there. */
static void print_step_back(tf_str *s, const tf_fft_lanes *f, uint32_t step)
{
    const uint32_t r = f->radix[step], rest = rest_of(f, step);
    const bool lanes = f->lanes > 1;
    print_loop(s, f, step);
    print_take(s, f, step);
    print_step_roots(s, f, step);
    tf_fft_print_points(s, r, "v", "");
    for (uint32_t q = 0; q < r && lanes && step == 0; q++) {
        print_turn(s, f, q);
        tf_str_printf(s, "    v%u = across_back(v%u);\n", q, q);
    }
    if (step) print_keep(s, f, step);
    else {
        tf_str_add(s, "    if (live) {\n");
        for (uint32_t q = 0; q < r; q++) tf_str_printf(s, "        store(LANE * %uu + %uu + j, v%u);\n", f->m, q * rest, q);
        tf_str_add(s, "    }\n");
    }
    tf_str_add(s, "    }\n");
}

void tf_fft_print_lanes(tf_str *s, const tf_fft_lanes *f, bool filter, tf_fft_way way, bool long_words)
{
    const bool lanes = f->lanes > 1;
    print_prepare(s, f);
    if (lanes) print_across(s, f, false);
    if (lanes && filter) print_across(s, f, true);
    if (f->steps > 1) { /* drivers pay per component */
        tf_str_printf(s, f->shared ? "shared %s work[%u * WG];\n#define WORK(i) work[(i) * WG + LID]\n" : "%s work[%u];\n#define WORK(i) work[i]\n", long_words ? "uint64_t" : "vec2", f->m);
        tf_str_add(s, long_words ? "vec2 kept(uint i) { return uintBitsToFloat(unpackUint2x32(WORK(i))); }\nvoid keep(uint i, vec2 v) { WORK(i) = packUint2x32(floatBitsToUint(v)); }\n"
                                 : "vec2 kept(uint i) { return WORK(i); }\nvoid keep(uint i, vec2 v) { WORK(i) = v; }\n");
    }
    if (f->steps > 1 && f->real == TF_FFT_R2C) print_place(s, f);
    tf_str_add(s, "void transform(const bool live)\n{\n");
    if (f->halves) print_halves(s, f, way);
    else if (f->steps == 1) print_in_registers(s, f, filter, way);
    const bool kept = f->steps > 1 && f->real;
    if (kept) print_points_kept(s, f, way);
    for (uint32_t i = 0; i < f->steps && f->steps > 1; i++) print_step(s, f, i, filter, kept);
    for (uint32_t i = f->steps - 1; filter && i-- > 0;) print_step_back(s, f, i);
    if (f->steps > 1 && f->real == TF_FFT_R2C) print_bins(s, f);
    tf_str_add(s, "}\n");
}
