/* fft_kernel.c - the anchor _fft: lines of up to a few thousand complex points in one kernel.
 *
 * The text of a kernel is printed for its length: butterflies of the radices, then the passes. On a GPU the points of a
 * line lie in the registers of a workgroup and cross shared memory between passes. */
#include "fft.h"

#include "anchors.h"

#include <math.h>
#include <string.h>

bool tf_fft_fits(const tf_limits *limits, int64_t points)
{
    if (!tf_fft_smooth(points)) return false;
    return tf_fft_by_lanes(limits) ? tf_fft_choose_lanes(limits, points, false) != 0 : points <= TF_MIN((int64_t)limits->shared_bytes / 8, 4096);
}

/* ---- the row -------------------------------------------------------------------------------------- */

static bool infer(tf_infer *c)
{
    tf_fft_desc *d = c->mut;
    const tf_type *x = c->type[0], *w = c->type[1], *h = c->type[2];
    const bool from_real = d->real == TF_FFT_R2C || d->real == TF_FFT_PAIRS, to_real = d->real == TF_FFT_C2R || d->real == TF_FFT_PAIRS;
    if (x->rank != 3 || x->dtype != (from_real ? TUFF_F32 : TUFF_C64))
        return tf_bad(c, TUFF_E_SHAPE, "x needs [batch, n, inner] of f32 for r2c and pairs, else c64 (%s)", tf_src_text(c, 0));
    if (tf_dim_is_dynamic(x->dim[d->way == TF_FFT_ROWS ? 2 : 1]))
        return tf_bad(c, TUFF_E_SHAPE, "the length must be fixed (%s)", tf_src_text(c, 0));
    if (d->n < 1 || !tf_fft_smooth(d->n))
        return tf_bad(c, TUFF_E_ATTRIBUTE, "n is %lld; it is a product of 2, 3, 5, 7, 11 and 13", (long long)d->n);
    if (w->rank != 1 || (d->lanes ? w->dtype != TUFF_F32 : w->dtype != TUFF_C64 || w->dim[0] != d->n))
        return tf_bad(c, TUFF_E_SHAPE, "w needs c64[n], with lanes f32[..] (%s)", tf_src_text(c, 1));
    if (h ? d->real == TF_FFT_R2C || d->real == TF_FFT_C2R : d->real == TF_FFT_PAIRS)
        return tf_bad(c, TUFF_E_ATTRIBUTE, "a filter goes with complex lines and pairs, and pairs with a filter");
    const bool rows = d->way == TF_FFT_ROWS, turned = d->way == TF_FFT_TURNED;
    if ((d->way && !d->lanes) || (rows && x->dim[1] != 1) || ((turned || d->way == TF_FFT_BESIDE) && ((turned && h) || d->real || tf_dim_is_dynamic(x->dim[2]) || x->dim[2] % 4)))
        return tf_bad(c, TUFF_E_SHAPE, "rows need x[batch, 1, n], lines that are turned or beside each other are complex and in fours, all need lanes (%s)", tf_src_text(c, 0));
    if (h && (h->dtype != TUFF_C64 || h->rank != 3 || h->dim[0] < 1 || h->dim[d->way == TF_FFT_ROWS ? 2 : 1] != d->n ||
              (rows ? h->dim[1] != 1 : h->dim[2] != 1 && !tf_dim_equal(h->dim[2], x->dim[2]))))
        return tf_bad(c, TUFF_E_SHAPE, "the filter needs c64[rows,n,1 or inner] (%s)", tf_src_text(c, 2));
    const int64_t all = d->real == TF_FFT_R2C ? d->n / 2 + 1 : d->n;
    if (d->keep < 0 || d->keep > all)
        return tf_bad(c, TUFF_E_ATTRIBUTE, "keep is %lld of %lld", (long long)d->keep, (long long)all);
    d->keep = d->keep ? d->keep : all;
    d->scale = d->scale == 0 ? 1 : d->scale;
    c->out[0] = (tf_type){ .dtype = to_real ? TUFF_F32 : TUFF_C64, .rank = 3, .dim = { x->dim[0], rows ? 1 : d->keep, rows ? d->keep : x->dim[2] } };
    if (turned) c->out[0].dim[1] = x->dim[2], c->out[0].dim[2] = d->keep;
    return true;
}

/* One line in `re`, `im` of n points, zeroed where x ends. */
static void take_line(const tf_fft_desc *d, const tf_ref_tensor *x, uint64_t at, uint64_t stride, double *re, double *im)
{
    const uint64_t n = (uint64_t)d->n, given = (uint64_t)x->dim[d->way == TF_FFT_ROWS ? 2 : 1], half = n / 2 + 1;
    memset(re, 0, n * sizeof *re);
    memset(im, 0, n * sizeof *im);
    for (uint64_t j = 0; j < TF_MIN(given, d->real == TF_FFT_C2R ? half : n); j++) {
        re[j] = x->re[at + j * stride];
        im[j] = x->im ? x->im[at + j * stride] : 0;
    }
    for (uint64_t k = 1; d->real == TF_FFT_C2R && 2 * k < n; k++) {
        re[n - k] = re[k];
        im[n - k] = -im[k];
    }
    if (d->real == TF_FFT_C2R) {
        im[0] = 0;
        if (n % 2 == 0) im[n / 2] = 0;
    }
}

static tuff_status reference(tf_ref *r)
{
    const tf_fft_desc *d = r->desc;
    const tf_ref_tensor *x = r->src[0], *h = r->src[2];
    tf_ref_tensor *y = &r->out[0];
    const uint64_t n = (uint64_t)d->n, inner = d->way == TF_FFT_ROWS ? 1 : (uint64_t)x->dim[2], batch = (uint64_t)x->dim[0], keep = (uint64_t)d->keep;
    double *re = tf_arena_array(r->scratch, double, n), *im = tf_arena_array(r->scratch, double, n);
    double *one = tf_fft_scratch(r->scratch, n, d->inverse && !h ? 1 : -1), *back = h ? tf_fft_scratch(r->scratch, n, 1) : one;
    if (!re || !im || !one || !back) return TUFF_E_MEMORY;
    for (uint64_t l = 0; l < batch * inner; l++) {
        const uint64_t b = l / inner, i = l % inner;
        take_line(d, x, b * (uint64_t)x->dim[d->way == TF_FFT_ROWS ? 2 : 1] * inner + i, inner, re, im);
        tf_fft_double(re, im, n, one);
        for (uint64_t k = 0; h && k < n; k++) {
            const uint64_t columns = d->way == TF_FFT_ROWS ? 1 : (uint64_t)h->dim[2], at = (b % (uint64_t)h->dim[0] * n + k) * columns + i % columns;
            const double v = re[k] * h->re[at] - im[k] * h->im[at];
            im[k] = re[k] * h->im[at] + im[k] * h->re[at];
            re[k] = v;
        }
        if (h) tf_fft_double(re, im, n, back);
        for (uint64_t k = 0; k < keep; k++) {
            const uint64_t at = d->way == TF_FFT_TURNED ? (b * inner + i) * keep + k : (b * keep + k) * inner + i;
            y->re[at] = (double)d->scale * re[k];
            if (y->im) y->im[at] = (double)d->scale * im[k];
        }
    }
    return TUFF_OK;
}

/* ---- printing ------------------------------------------------------------------------------------- */

typedef struct shape {
    int64_t points, length;         /* complex points of a line; roots in the table */
    uint32_t radix[TF_FFT_PASSES], passes;
    uint32_t threads, lines, wg;    /* SHARED: invocations per line, lines per workgroup */
    bool across;
} shape;

static void print_butterflies(tf_str *s, const uint32_t *radix, uint32_t passes)
{
    for (uint32_t p = 0; p < passes; p++) {
        bool known = false;
        for (uint32_t q = 0; q < p; q++) known = known || radix[q] == radix[p];
        if (!known) tf_fft_print_dft(s, radix[p]);
    }
}

/* One pass of the shared kernel; `load` and `save` are functions or macros of an element's index (and its value). */
static void print_pass(tf_str *s, const shape *f, uint32_t p, uint32_t run, const char *load, const char *save, bool from_shared, bool to_shared)
{
    const uint32_t r = f->radix[p], count = (uint32_t)f->points / r, times = (count + f->threads - 1) / f->threads;
    tf_str_add(s, "    {\n");
    for (uint32_t u = 0; u < times; u++) {
        const bool ragged = (u + 1) * f->threads > count;
        if (ragged) tf_str_printf(s, "    const uint j%u = min(t + %uu, %uu);\n", u, u * f->threads, count - 1);
        else tf_str_printf(s, "    const uint j%u = t + %uu;\n", u, u * f->threads);
        tf_str_printf(s, "    vec2 v%u[%u];\n", u, r);
        for (uint32_t q = 0; q < r; q++) tf_str_printf(s, "    v%u[%u] = %s(j%u + %uu);\n", u, q, load, u, q * count);
        if (run > 1) tf_str_printf(s, "    const uint k%u = j%u %% %uu;\n", u, u, run);
        for (uint32_t q = 1; run > 1 && q < r; q++)
            tf_str_printf(s, "    v%u[%u] = c_mul(v%u[%u], w_at(k%u * uint(%lld)));\n", u, q, u, q, u, (long long)(f->length / (run * r) * q));
        tf_str_printf(s, "    dft%u(v%u);\n", r, u);
    }
    if (from_shared && to_shared) tf_str_add(s, "    barrier();\n");
    for (uint32_t u = 0; u < times; u++) {
        const bool ragged = (u + 1) * f->threads > count;
        tf_str_printf(s, "    if (%s", to_shared ? "slot < LINES" : "live");
        if (ragged) tf_str_printf(s, " && t + %uu < %uu", u * f->threads, count);
        if (run > 1) tf_str_printf(s, ") {\n    const uint o = j%u / %uu * %uu + k%u;\n", u, run, run * r, u);
        else tf_str_printf(s, ") {\n    const uint o = j%u * %uu;\n", u, r);
        for (uint32_t q = 0; q < r; q++) tf_str_printf(s, "    %s(o + %uu, v%u[%u]);\n", save, q * run, u, q);
        tf_str_add(s, "    }\n");
    }
    if (to_shared) tf_str_add(s, "    barrier();\n");
    tf_str_add(s, "    }\n");
}

static void print_shared(tf_str *s, const shape *f, bool filter, bool packed_bins)
{
    print_butterflies(s, f->radix, f->passes);
    tf_str_printf(s, "shared vec2 s[LINES * POINTS];\n#if ACROSS\n#define AT(j) ((j) * LINES + slot)\n#else\n#define AT(j) (slot * POINTS + (j))\n#endif\n"
                     "#define TAKE(j) s[AT(j)]\n#define TAKE_BACK(j) s[AT(j)].yx\n#define PUT(j, v) s[AT(j)] = v\n"
                     "#define PUT_FILTERED(j, v) s[AT(j)] = filtered(j, line_i, v)\n");
    for (uint32_t back = 0; back <= filter; back++) {
        tf_str_printf(s, "void passes%s(const uint slot, const uint t, const bool live)\n{\n", back ? "_back" : "");
        uint32_t run = 1;
        for (uint32_t p = 0; p < f->passes; p++) {
            const bool first = p == 0 && !back, last = p + 1 == f->passes, to_shared = !last || packed_bins || (filter && !back);
            const char *load = first ? "point" : p == 0 ? "TAKE_BACK" : "TAKE", *save = !to_shared ? "store" : last && filter ? "PUT_FILTERED" : "PUT";
            print_pass(s, f, p, run, load, save, !first, to_shared);
            run *= f->radix[p];
        }
        tf_str_add(s, "}\n");
    }
}

/* ---- configuration -------------------------------------------------------------------------------- */

static bool shape_shared(shape *f, const tf_limits *l, int64_t lines, bool across)
{
    if (!tf_fft_factor(f->points, 16, f->radix, &f->passes)) return false;
    const uint32_t most = TF_MIN(l->max_invocations, 256u);
    uint32_t count = 1;
    for (uint32_t p = 0; p < f->passes; p++) count = TF_MAX(count, (uint32_t)f->points / f->radix[p]);
    f->threads = TF_MIN(count, most);
    f->lines = 1;
    f->across = across;
    while (2 * f->lines * f->threads <= most && 16 * f->lines * (uint64_t)f->points <= l->shared_bytes && f->lines < lines) f->lines *= 2;
    f->wg = f->lines * f->threads;
    return true;
}

/* What a kernel has to do: lines of points, with bound its number at most. */
typedef struct line_job {
    int64_t points, length, lines, bound;
    bool filter, packed, across;
} line_job;

static bool configure_shared(tf_kernel_build *k, tf_str *text, const line_job *j)
{
    shape f = { .points = j->points, .length = j->length };
    if (!shape_shared(&f, k->limits, j->bound, j->across)) return false;
    tf_define(k, "THREADS", "%u", f.threads);
    tf_define(k, "LINES", "%u", f.lines);
    tf_define(k, "ACROSS", "%d", f.across);
    tf_define(k, "PRE_ROOT(j)", "w_at(j)");
    print_shared(text, &f, j->filter, j->packed && ((const tf_fft_desc *)k->desc)->real == TF_FFT_R2C);
    k->algorithm = "line in shared memory";
    k->local[0] = f.wg;
    k->groups = tf_dim_ceildiv(k->g, j->lines, f.lines);
    k->shared_bytes = 8 * f.lines * (uint32_t)f.points;
    return true;
}

static bool configure_lanes(tf_kernel_build *k, tf_str *text, const line_job *j)
{
    const tf_fft_desc *d = k->desc;
    const tf_fft_lanes f = tf_fft_lanes_of(j->points, (uint32_t)d->lanes, j->packed ? d->real : TF_FFT_COMPLEX, (tf_fft_way)d->way, j->filter);
    uint32_t wg = 64, loop = 1; /* the roots a lane holds serve several lines */
    while (f.shared && 8 * f.m * wg > k->limits->shared_bytes) wg /= 2;
    if (f.shared) k->shared_bytes = 8 * f.m * wg;
    while (f.m * loop < 128 && 2 * loop * (wg / f.lanes) * 4 * (int64_t)tf_units(k->limits) <= j->bound) loop *= 2;
    tf_define(k, "LOOP", "%uu", loop);
    tf_define(k, "LANES", "%uu", f.lanes);
    tf_define(k, "LANE", "%s", f.lanes > 1 ? "(gl_SubgroupInvocationID % LANES)" : "0u");
    tf_define(k, "LANE_BASE", "(gl_SubgroupInvocationID - LANE)");
    tf_define(k, "PRE_ROOT(j)", "c_mul(w_at4(4u * (%uu + LANE)).xy, w_at4(4u * (%uu + (j) / %uu * %uu + (j) %% %uu)).xy)", f.at_v, f.at_u, f.lanes * (f.m / f.hi), f.m / f.hi, f.m / f.hi);
    tf_fft_print_lanes(text, &f, j->filter, (tf_fft_way)d->way, tf_emit_long_words(k->limits));
    k->algorithm = f.lanes == 1 ? "line per invocation" : tf_arena_printf(&k->g->arena, "line per %u lanes", f.lanes);
    k->local[0] = wg;
    k->groups = tf_dim_ceildiv(k->g, j->lines, wg / f.lanes * loop);
    k->need_subgroup_shuffle = f.lanes > 1;
    k->subgroup_size = f.lanes > 1 && k->limits->subgroup_control ? k->limits->subgroup_size : 0;
    return true;
}

static bool configure(tf_kernel_build *k)
{
    const tf_fft_desc *d = k->desc;
    const tf_type *x = k->src[0], *h = k->src[2];
    const bool packed = (d->real == TF_FFT_R2C || d->real == TF_FFT_C2R) && d->n % 2 == 0;
    const int64_t points = packed ? d->n / 2 : d->n;
    const int64_t units = d->real != TF_FFT_PAIRS ? x->dim[0]
                        : tf_dim_bin(k->g, TUFF_DIM_MUL, tf_dim_ceildiv(k->g, tf_dim_bin(k->g, TUFF_DIM_FLOORDIV, x->dim[0], h->dim[0]), 2), h->dim[0]);
    const bool rows = d->way == TF_FFT_ROWS;
    const int64_t inner = rows ? 1 : x->dim[2], given = x->dim[rows ? 2 : 1];
    const bool four = d->way == TF_FFT_TURNED || d->way == TF_FFT_BESIDE;
    const int64_t lines = tf_dim_bin(k->g, TUFF_DIM_MUL, units, four ? inner / 4 : inner), bound = tf_dim_bound(k->g, lines);
    tf_define(k, "LENGTH", "%lld", (long long)d->n);
    tf_define(k, "POINTS", "%lld", (long long)points);
    tf_define(k, "REAL", "%d", (int)d->real);
    tf_define(k, "PACKED", "%d", packed);
    tf_define(k, "INVERSE", "%d", d->inverse);
    tf_define(k, "FILTER", "%d", h ? (int)h->dim[0] : 0);
    tf_define(k, "ROWS", "%d", rows);
    tf_define(k, "BESIDE", "%d", four ? 4 : 1);
    tf_define(k, "FINNER", "%d", h && (rows || h->dim[2] == 1));
    tf_define_dim(k, "UNITS", units);
    tf_define(k, "SCALE", "%.9e", (double)d->scale);
    tf_define(k, "NIN", "%lld", (long long)given);
    tf_define(k, "NEEDED", "%lld", (long long)(d->real == TF_FFT_C2R ? d->n / 2 + 1 : d->n));
    tf_define(k, "KEEP", "%lld", (long long)d->keep);
    tf_define_dim(k, "BATCH", x->dim[0]);
    tf_define_dim(k, "INNER", inner);
    const line_job job = { points, d->n, lines, bound, h != NULL, packed, tf_dim_bound(k->g, inner) > 1 };
    k->flops = (uint64_t)(5.0 * (double)points * log2(TF_MAX((double)points, 2)) * (h ? 2 : 1)) * (uint64_t)bound;
    k->loads[0] = (tf_hook){ .name = "x", .widths = rows ? 5 : four ? 4 : 1, .reread = d->real == TF_FFT_C2R };
    k->loads[1] = (tf_hook){ .name = "w", .widths = d->lanes ? 4 : 1, .reread = 255, .uniform = d->lanes != 0 };
    k->loads[2] = (tf_hook){ .name = h ? "h" : NULL, .widths = rows ? 5 : 1, .reread = 255 };
    k->stores[0] = (tf_hook){ .name = "y", .widths = rows ? 5 : four ? 4 : 1 };
    k->local[1] = k->local[2] = 1;

    tf_str text;
    tf_str_init(&text, &k->g->arena.allocator);
    const bool good = d->lanes ? configure_lanes(k, &text, &job) : configure_shared(k, &text, &job);
    if (good && !text.failed)
        k->source = tf_arena_printf(&k->g->arena, "%s%s%s", tf_shader_text("anchors/fft.glsl"), text.data, tf_shader_text(d->lanes ? "anchors/fft_lanes.glsl" : "anchors/fft_shared.glsl"));
    tf_str_release(&text);
    if (!good) tf_fail(k->g, TUFF_E_INTERNAL, "_fft: no radices for %lld points", (long long)points);
    return good && k->source;
}

static const char *const real_names[] = { "complex", "r2c", "c2r", "pairs", NULL };
static const char *const ways[] = { "inner", "rows", "turned", "singly", "beside", NULL };
static const tf_attr attrs[] = {
    TF_A(tf_fft_desc, n, TF_ATTR_I64, "points", .required = true),
    TF_A(tf_fft_desc, real, TF_ATTR_ENUM, "which side is real", .choices = real_names),
    TF_A(tf_fft_desc, inverse, TF_ATTR_BOOL, "the exponent is positive"),
    TF_A(tf_fft_desc, scale, TF_ATTR_FLOAT, "of all results; 0: 1"),
    TF_A(tf_fft_desc, keep, TF_ATTR_I64, "elements of the result per line; 0: all"),
    TF_A(tf_fft_desc, lanes, TF_ATTR_INT, "0: through shared memory; else lanes of a subgroup per line", .max = 64),
    TF_A(tf_fft_desc, way, TF_ATTR_ENUM, "how lines lie", .choices = ways),
    TF_A(tf_fft_desc, filter, TF_ATTR_TENSOR, "c64[rows,n,1 or inner]: multiplies between a forward and an inverse transform"),
};
static const tf_anchor anchor = {
    .name = "fft",
    .loads = { { "x", 5, 1, false }, { "w", 1, 255, false }, { "h", 5, 255, false } },
    .stores = { { "y", 5, 0, false } },
    .configure = configure,
};
const tf_op tf_op_fft_anchor = {
    .name = "_fft", .doc = "x[batch,m,inner], w[n] -> y[batch,keep,inner], lines transformed", .operands = "x w", .kind = TF_ANCHOR, .internal = true,
    .attrs = attrs, .attr_count = TF_COUNT(attrs), .desc_size = sizeof(tf_fft_desc), .infer = infer, .reference = reference,
    .anchor = &anchor, .rel = 8,
};
