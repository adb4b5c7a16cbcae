/* fft_conv.c - convolution of the last one or two axes, by transforms or directly.
 *
 * By transforms: x, extended by zeros (circular: by its own end, where the period is no good length), goes through a filter that is
 * the transform of h, computed on the host when h is a constant. A line that one kernel holds is one dispatch: two real
 * lines as one complex. Directly: few taps are a sum of shifted products, which fuses like any pointwise graph, more walk over a
 * window in the kernel of convolutions. */
#include "fft.h"

#include "anchors.h"
#include "ops.h"

#include <string.h>

typedef tuff_fft_conv_desc conv_desc;

enum { SUM_MOST = 90, WINDOW_MOST = 16384 }; /* taps that a sum may hold; that a window should walk over */

/* ---- shapes ---------------------------------------------------------------------------------------- */

static bool check_rows(tf_infer *c, int32_t dims)
{
    const tf_type *x = c->type[0], *h = c->type[1];
    const int32_t xl = x->rank - dims;
    int32_t first = 0, rows = h->rank - dims;
    while (rows && h->dim[first] == 1) {
        first++;
        rows--;
    }
    bool fits = rows <= xl;
    for (int32_t i = 0; fits && i < rows; i++) fits = tf_dim_equal(h->dim[first + i], x->dim[xl - rows + i]);
    if (!fits && rows == 1) fits = tf_dim_equal(h->dim[first], tf_dim_product(c->g, x->dim, 0, xl)); /* [rows, k] for any x */
    for (int32_t i = 0; i < h->rank; i++) fits = fits && !tf_dim_is_dynamic(h->dim[i]) && h->dim[i] > 0;
    return fits || tf_bad(c, TUFF_E_SHAPE, "h needs one kernel, or one per row: the axes before its last %d are the last of x's, all fixed and not empty (%s; %s)",
                          (int)dims, tf_src_text(c, 0), tf_src_text(c, 1));
}

static bool infer(tf_infer *c)
{
    conv_desc *d = c->mut;
    const tf_type *x = c->type[0], *h = c->type[1];
    if (d->dims == 0) d->dims = 1;
    if (x->rank < d->dims || h->rank < d->dims)
        return tf_bad(c, TUFF_E_SHAPE, "%d axes are convolved, so x and h need as many (%s; %s)", (int)d->dims, tf_src_text(c, 0), tf_src_text(c, 1));
    const bool complex = x->dtype == TUFF_C64;
    if (h->dtype != x->dtype || x->dtype == TUFF_F64 || !(complex || tf_dtype_class(x->dtype) == TF_CLS_FLOAT))
        return tf_bad(c, TUFF_E_DTYPE, "x and h need one dtype of f32 f16 bf16 c64 (%s; %s)", tf_src_text(c, 0), tf_src_text(c, 1));
    if (!check_rows(c, d->dims)) return false;
    c->out[0] = *x;
    for (int32_t i = 1; i <= d->dims; i++) {
        const int64_t n = x->dim[x->rank - i], k = h->dim[h->rank - i];
        if (tf_dim_is_dynamic(n) || n < 1 || n + k - 1 > INT64_C(1) << 24)
            return tf_bad(c, TUFF_E_SHAPE, "axis %d needs a fixed size that is not 0, and with the kernel at most 2^24 (%s)", (int)(x->rank - i), tf_src_text(c, 0));
        if (d->mode == TUFF_CONV_CIRCULAR && k > n)
            return tf_bad(c, TUFF_E_SHAPE, "h has %lld elements, more than the period %lld (%s)", (long long)k, (long long)n, tf_src_text(c, 1));
        c->out[0].dim[x->rank - i] = d->mode == TUFF_CONV_LINEAR ? n + k - 1 : n;
    }
    return true;
}

/* Both convolved axes, the first of size 1 when there is one; lines: of one row of h, at most. */
typedef struct frame { int64_t n[2], k[2], out[2], batch, rows, lines; } frame;

static frame frame_of(tuff_graph *g, const conv_desc *d, const tf_type *x, const tf_type *h)
{
    frame f = { .n = { 1, x->dim[x->rank - 1] }, .k = { 1, h->dim[h->rank - 1] } };
    if (d->dims == 2) {
        f.n[0] = x->dim[x->rank - 2];
        f.k[0] = h->dim[h->rank - 2];
    }
    f.batch = tf_dim_product(g, x->dim, 0, x->rank - d->dims);
    f.rows = tf_dim_product(g, h->dim, 0, h->rank - d->dims);
    f.lines = tf_dim_bound(g, f.batch) / f.rows;
    for (int a = 0; a < 2; a++) f.out[a] = d->mode == TUFF_CONV_LINEAR ? f.n[a] + f.k[a] - 1 : f.n[a];
    return f;
}

/* ---- reference ------------------------------------------------------------------------------------- */

static int64_t source_of(tuff_conv_mode mode, int64_t t, int64_t s, int64_t n)
{
    const int64_t at = t - s;
    return mode == TUFF_CONV_CIRCULAR ? (at % n + n) % n : at >= 0 && at < n ? at : -1;
}

static tuff_status reference(tf_ref *r)
{
    const conv_desc *d = r->desc;
    const tf_ref_tensor *x = r->src[0], *h = r->src[1];
    tf_ref_tensor *y = &r->out[0];
    const int32_t two = d->dims == 2;
    const int64_t n0 = two ? x->dim[x->rank - 2] : 1, n1 = x->dim[x->rank - 1], k0 = two ? h->dim[h->rank - 2] : 1, k1 = h->dim[h->rank - 1];
    const int64_t m0 = two ? y->dim[y->rank - 2] : 1, m1 = y->dim[y->rank - 1], rows = (int64_t)h->n / (k0 * k1);
    for (int64_t at = 0; at < (int64_t)y->n; at++) {
        const int64_t b = at / (m0 * m1), t0 = at / m1 % m0, t1 = at % m1;
        const uint64_t row = (uint64_t)(b % rows * k0 * k1);
        double re = 0, im = 0;
        for (int64_t s0 = 0; s0 < k0; s0++)
            for (int64_t s1 = 0; s1 < k1; s1++) {
                const int64_t j0 = source_of(d->mode, t0, s0, n0), j1 = source_of(d->mode, t1, s1, n1);
                if (j0 < 0 || j1 < 0) continue;
                const uint64_t xi = (uint64_t)((b * n0 + j0) * n1 + j1), hi = row + (uint64_t)(s0 * k1 + s1);
                const double a = x->im ? x->im[xi] : 0, c = h->im ? h->im[hi] : 0;
                re += x->re[xi] * h->re[hi] - a * c;
                im += x->re[xi] * c + a * h->re[hi];
            }
        y->re[at] = re;
        if (y->im) y->im[at] = im;
    }
    return TUFF_OK;
}

/* ---- the filter ------------------------------------------------------------------------------------ */

static bool spectrum_infer(tf_infer *c)
{
    const tf_fft_spectrum_desc *d = c->desc;
    const tf_type *h = c->type[0];
    if (h->rank != 3 || d->n0 < h->dim[1] || d->n1 < h->dim[2] || d->columns < 1 || d->columns > d->n1)
        return tf_bad(c, TUFF_E_SHAPE, "h needs [rows, k0, k1] within %lld x %lld (%s)", (long long)d->n0, (long long)d->n1, tf_src_text(c, 0));
    if (d->packed && (d->n0 != 1 || d->n1 % 2 || d->columns != d->n1 / 2 || h->dtype == TUFF_C64))
        return tf_bad(c, TUFF_E_ATTRIBUTE, "packed lines are real, of even length");
    c->out[0] = (tf_type){ .dtype = TUFF_C64, .rank = 3, .dim = { h->dim[0], d->packed ? 2 : d->n0, d->columns } };
    return true;
}

static tuff_status packed_reference(tf_ref *r)
{
    const tf_fft_spectrum_desc *d = r->desc;
    const tf_ref_tensor *h = r->src[0];
    const uint64_t n = (uint64_t)d->columns, k = (uint64_t)h->dim[2];
    double *re = tf_arena_array(r->scratch, double, n), *im = tf_arena_array(r->scratch, double, n), *s = tf_fft_scratch(r->scratch, n, -1);
    if (!re || !im || !s) return TUFF_E_MEMORY;
    for (uint64_t row = 0; row < (uint64_t)h->dim[0]; row++) {
        for (uint64_t j = 0; j < n; j++) {
            re[j] = 2 * j < k ? h->re[row * k + 2 * j] : 0;
            im[j] = 2 * j + 1 < k ? h->re[row * k + 2 * j + 1] : 0;
        }
        tf_fft_double(re, im, n, s);
        double *yr = r->out[0].re + row * 2 * n, *yi = r->out[0].im + row * 2 * n;
        for (uint64_t j = 0; j < n; j++) {
            const uint64_t m = (n - j) % n;
            const double a = re[j] - re[m], b = im[j] + im[m];
            double wr, wi;
            tf_fft_root(n - j, n, &wr, &wi);
            yr[j] = re[j] / (double)n;
            yi[j] = im[j] / (double)n;
            yr[n + j] = ((1 + wr) * a - wi * b) / (4 * (double)n);
            yi[n + j] = ((1 + wr) * b + wi * a) / (4 * (double)n);
        }
    }
    return TUFF_OK;
}

static tuff_status spectrum_reference(tf_ref *r)
{
    const tf_fft_spectrum_desc *d = r->desc;
    if (d->packed) return packed_reference(r);
    const tf_ref_tensor *h = r->src[0];
    const uint64_t n0 = (uint64_t)d->n0, n1 = (uint64_t)d->n1, k0 = (uint64_t)h->dim[1], k1 = (uint64_t)h->dim[2], columns = (uint64_t)d->columns;
    double *re = tf_arena_array(r->scratch, double, n0 * n1), *im = tf_arena_array(r->scratch, double, n0 * n1), *line = tf_arena_array(r->scratch, double, 2 * n0);
    double *s0 = tf_fft_scratch(r->scratch, n0, -1), *s1 = tf_fft_scratch(r->scratch, n1, -1);
    if (!re || !im || !line || !s0 || !s1) return TUFF_E_MEMORY;
    for (uint64_t row = 0; row < (uint64_t)h->dim[0]; row++) {
        memset(re, 0, n0 * n1 * sizeof *re);
        memset(im, 0, n0 * n1 * sizeof *im);
        for (uint64_t j = 0; j < k0 * k1; j++) {
            re[j / k1 * n1 + j % k1] = h->re[row * k0 * k1 + j];
            im[j / k1 * n1 + j % k1] = h->im ? h->im[row * k0 * k1 + j] : 0;
        }
        for (uint64_t j = 0; j < k0; j++) tf_fft_double(re + j * n1, im + j * n1, n1, s1);
        for (uint64_t i = 0; i < columns; i++) {
            for (uint64_t j = 0; j < n0; j++) {
                line[j] = re[j * n1 + i];
                line[n0 + j] = im[j * n1 + i];
            }
            tf_fft_double(line, line + n0, n0, s0);
            for (uint64_t j = 0; j < n0; j++) {
                r->out[0].re[(row * n0 + j) * columns + i] = line[j] / (double)(n0 * n1);
                r->out[0].im[(row * n0 + j) * columns + i] = line[n0 + j] / (double)(n0 * n1);
            }
        }
    }
    return TUFF_OK;
}

static const tf_attr spectrum_attrs[] = {
    TF_A(tf_fft_spectrum_desc, n0, TF_ATTR_I64, "length of the first transform", .required = true),
    TF_A(tf_fft_spectrum_desc, n1, TF_ATTR_I64, "length of the second", .required = true),
    TF_A(tf_fft_spectrum_desc, columns, TF_ATTR_I64, "bins of the second that are kept", .required = true),
    TF_A(tf_fft_spectrum_desc, packed, TF_ATTR_BOOL, "neighbours as one complex point, and what mixes them"),
};
const tf_op tf_op_fft_spectrum = {
    .name = "_fft_spectrum", .doc = "h[rows,k0,k1] -> c64[rows,n0,columns], the transform of h extended by zeros, over n0 n1", .operands = "h", .kind = TF_HOST,
    .internal = true, .attrs = spectrum_attrs, .attr_count = TF_COUNT(spectrum_attrs), .desc_size = sizeof(tf_fft_spectrum_desc), .infer = spectrum_infer,
    .reference = spectrum_reference,
};

static tuff_tensor shaped(tuff_tensor x, int32_t rank, int64_t a, int64_t b, int64_t c)
{
    const int64_t dims[3] = { a, b, c };
    return x.id ? tf_reshaped(x, rank, dims) : x;
}

/* The spectrum of h[rows, k0, k1] as [rows, n0, columns], divided by n0 n1. */
static tuff_tensor spectrum(tf_lower *l, tuff_tensor h, int64_t n0, int64_t n1, int64_t columns)
{
    if (!h.id) return h;
    const tf_type t = *tf_ty(h);
    if (tf_def(l->g, h.id)->op == &tf_op_const) return tf_add(l->g, &tf_op_fft_spectrum, &h, 1, &(tf_fft_spectrum_desc){ .n0 = n0, .n1 = n1, .columns = columns });
    h = shaped(tf_widened(h), 3, tf_dim_bin(l->g, TUFF_DIM_MUL, t.dim[0], t.dim[1]), t.dim[2], 1);
    const float scale = (float)(1 / ((double)n0 * (double)n1));
    const tf_fft_real real = t.dtype != TUFF_C64 && columns < n1 ? TF_FFT_R2C : TF_FFT_COMPLEX;
    if (t.dtype != TUFF_C64 && !real) h = tuff_complex(h, tuff_literal(l->g, 0, TUFF_F32));
    h = tf_fft_lines(l, h, &(tf_fft_desc){ .n = n1, .real = real, .scale = scale });
    h = shaped(h, 3, t.dim[0], t.dim[1], columns);
    return n0 == 1 ? h : tf_fft_lines(l, h, &(tf_fft_desc){ .n = n0 });
}

/* ---- lowering ------------------------------------------------------------------------------------------ */

/* A length whose circular convolution holds the wanted results. Circular ones keep their period when it is good. */
static int64_t transform_length(const tf_limits *limits, const conv_desc *d, int64_t n, int64_t k)
{
    if (d->mode == TUFF_CONV_CIRCULAR && tf_fft_smooth(n)) return n;
    const int64_t least = n + k - 1;
    if (d->dims == 1) return tf_fft_line_size(limits, least);
    return tf_fft_by_lanes(limits) && least > 32 ? 8 * tf_fft_good_size((least + 7) / 8) : tf_fft_good_size(least); /* 8 lanes take lines of others slowly */
}

/* Circular with a longer transform of m: x's last k - 1 elements also stand before its first, that is, at m's end. */
static tuff_tensor wrapped(tuff_tensor x, int32_t axis, int64_t n, int64_t k, int64_t m)
{
    if (m == n || k == 1 || !x.id) return x;
    tuff_ints none = { .n = tf_ty(x)->rank }, hi = none;
    hi.v[axis] = m - n - (k - 1);
    const tuff_tensor both[2] = { tuff_pad(x, none, hi, NULL), tuff_slice(x, TUFF_INTS(n - (k - 1)), TUFF_INTS(n), &(tuff_slice_desc){ .axes = TUFF_INTS(axis) }) };
    return tuff_concat(both, 2, axis);
}

/* Long real lines of even length m, neighbours as one complex point. */
static tuff_tensor by_packed_transform(tf_lower *l, const frame *f, tuff_tensor x, tuff_tensor h, int64_t m)
{
    tuff_tensor filter, mixer;
    if (!h.id) return h;
    if (tf_def(l->g, h.id)->op == &tf_op_const) {
        const tuff_tensor both = tf_add(l->g, &tf_op_fft_spectrum, &h, 1, &(tf_fft_spectrum_desc){ 1, m, m / 2, true });
        const tuff_slice_desc axis = { .axes = TUFF_INTS(1) };
        filter = shaped(tuff_slice(both, TUFF_INTS(0), TUFF_INTS(1), &axis), 3, f->rows, m / 2, 1);
        mixer = shaped(tuff_slice(both, TUFF_INTS(1), TUFF_INTS(2), &axis), 3, f->rows, m / 2, 1);
    } else {
        filter = tf_fft_packed(l, shaped(tf_widened(h), 3, f->rows, f->k[1], 1), m, (float)(2 / (double)m));
        mixer = tf_fft_mixer(l, filter);
    }
    return tf_fft_packed_product(l, tf_fft_packed(l, x, m, 0), filter, mixer, f->out[1]);
}

static tuff_tensor by_transform(tf_lower *l, const conv_desc *d, const frame *f, tuff_tensor x, tuff_tensor h)
{
    const bool real = tf_ty(x)->dtype != TUFF_C64;
    const int64_t m1 = transform_length(l->limits, d, f->n[1], f->k[1]), m0 = d->dims == 1 ? 1 : transform_length(l->limits, d, f->n[0], f->k[0]);
    x = shaped(x, 3, tf_dim_bin(l->g, TUFF_DIM_MUL, f->batch, f->n[0]), f->n[1], 1);
    if (d->mode == TUFF_CONV_CIRCULAR) x = wrapped(x, 1, f->n[1], f->k[1], m1);
    if (d->dims == 1 && real && m1 % 2 == 0 && !tf_fft_fits(l->limits, m1)) return by_packed_transform(l, f, x, h, m1);
    if (d->dims == 1) {
        const int64_t columns = real && !tf_fft_fits(l->limits, m1) ? m1 / 2 + 1 : m1;
        const tuff_tensor filter = shaped(spectrum(l, h, 1, m1, columns), 3, f->rows, columns, 1);
        return tf_fft_lines(l, x, &(tf_fft_desc){ .n = m1, .real = real ? TF_FFT_PAIRS : TF_FFT_COMPLEX, .filter = filter, .keep = f->out[1] });
    }
    const int64_t columns = real ? m1 / 2 + 1 : m1;
    const tuff_tensor filter = spectrum(l, h, m0, m1, columns);
    x = tf_fft_lines(l, x, &(tf_fft_desc){ .n = m1, .real = real ? TF_FFT_R2C : TF_FFT_COMPLEX });
    x = shaped(x, 3, f->batch, f->n[0], columns);
    if (d->mode == TUFF_CONV_CIRCULAR) x = wrapped(x, 1, f->n[0], f->k[0], m0);
    x = tf_fft_lines(l, x, &(tf_fft_desc){ .n = m0, .filter = filter, .keep = f->out[0] });
    x = shaped(x, 3, tf_dim_bin(l->g, TUFF_DIM_MUL, f->batch, f->out[0]), columns, 1);
    return tf_fft_lines(l, x, &(tf_fft_desc){ .n = m1, .real = real ? TF_FFT_C2R : TF_FFT_COMPLEX, .inverse = true, .keep = f->out[1] });
}

/* Real x and h, by the kernel of convolutions; circular ones with a period that it takes. */
static bool has_window(const conv_desc *d, const frame *f, const tf_type *x)
{
    return x->dtype != TUFF_C64 && f->rows <= INT32_MAX && (d->mode != TUFF_CONV_CIRCULAR || f->n[1] % 4 == 0);
}

static tuff_tensor by_window(tf_lower *l, const conv_desc *d, const frame *f, tuff_tensor x, tuff_tensor h)
{
    const int64_t in[5] = { tf_dim_bin(l->g, TUFF_DIM_FLOORDIV, f->batch, f->rows), f->rows, 1, f->n[0], f->n[1] }, taps[5] = { f->rows, 1, 1, f->k[0], f->k[1] };
    const tuff_tensor src[2] = { tf_reshaped(x, 5, in), tf_reshaped(h, 5, taps) };
    return tf_add(l->g, &tf_op_anchor_conv, src, 2, &(tf_conv_desc){ .groups = (int32_t)f->rows, .stride = TUFF_INTS(1, 1, 1), .dilation = TUFF_INTS(1, 1, 1),
        .padding = TUFF_INTS(0, f->k[0] - 1, f->k[1] - 1), .out = { 3, { 1, f->out[0], f->out[1] } }, .flipped = true, .wrapped = d->mode == TUFF_CONV_CIRCULAR });
}

/* x[b / rows, rows, n0, n1], h[rows, k0, k1]: y = sum of h[s0, s1] times x shifted by (s0, s1). */
static tuff_tensor by_sum(tf_lower *l, const conv_desc *d, const frame *f, tuff_tensor x, tuff_tensor h)
{
    const int64_t dims[4] = { tf_dim_bin(l->g, TUFF_DIM_FLOORDIV, f->batch, f->rows), f->rows, f->n[0], f->n[1] };
    tuff_tensor y = { 0 };
    x = tf_reshaped(x, 4, dims);
    if (d->mode == TUFF_CONV_CIRCULAR) x = tuff_pad(x, TUFF_INTS(0, 0, f->k[0] - 1, f->k[1] - 1), TUFF_INTS(0, 0, 0, 0), &(tuff_pad_desc){ .mode = TUFF_PAD_WRAP });
    else x = tuff_pad(x, TUFF_INTS(0, 0, f->k[0] - 1, f->k[1] - 1), TUFF_INTS(0, 0, f->out[0] - f->n[0], f->out[1] - f->n[1]), NULL);
    for (int64_t s = 0; s < f->k[0] * f->k[1]; s++) {
        const int64_t s0 = s / f->k[1], s1 = s % f->k[1], from0 = f->k[0] - 1 - s0, from1 = f->k[1] - 1 - s1;
        const tuff_tensor tap = tuff_unsqueeze(tuff_slice(h, TUFF_INTS(s0, s1), TUFF_INTS(s0 + 1, s1 + 1), &(tuff_slice_desc){ .axes = TUFF_INTS(1, 2) }), TUFF_INTS(0));
        const tuff_tensor shifted = tuff_slice(x, TUFF_INTS(from0, from1), TUFF_INTS(from0 + f->out[0], from1 + f->out[1]), &(tuff_slice_desc){ .axes = TUFF_INTS(2, 3) });
        y = y.id ? tuff_fma(shifted, tap, y) : tuff_mul(shifted, tap);
    }
    return y;
}

/* ---- the choice ---------------------------------------------------------------------------------------- */

/* Time per result of one core, in nanoseconds, of the direct ways, and per point of the padded line or plane of the transforms, by what one
 * kernel holds of it. Those of both CPU classes fit measurements of causal convolutions, 8 to 256 taps on lines of 64 to 65536 and 3 x 3 to
 * 31 x 31 on planes of 64 to 1024 squared; a line that has no other one for its row of h takes 1.6 times as long, being half of a complex one.
 * Those of GPUs are a model in units of 8 bytes streamed: 32 taps of arithmetic take as long, a kernel of transforms as long again as its
 * traffic, and longer lines are three to five passes. */
typedef struct costs {
    double start, sum_tap, row, tap; /* all; per tap of a sum; per row of taps of a window, and per tap in it */
    int64_t sum_most;                /* taps of sums that are faster than windows */
    double line[3], plane[2][4];     /* in registers, in one kernel, in several; of powers of two and others, up to about 128, 256, 512, and more */
} costs;
static const costs on_cpu = { 0.9, 0.13, 1.25, 0.096, 15, { 2.1, 9, 18 }, { { 10.6, 14.5, 21.6, 35 }, { 10, 23, 30, 39 } } };
static const costs on_cpu_uniform = { 0.8, 0.14, 0.5, 0.058, 3, { 1.3, 5.6, 12 }, { { 6.5, 9.7, 14.2, 24.5 }, { 6, 20, 28, 38 } } }; /* loads of one address for all lanes cost nothing */
static const costs on_gpu = { 1, 0.031, 0.2, 0.031, 16, { 2, 2, 5 }, { { 6, 6, 6, 8 }, { 6, 6, 6, 8 } } };

static const costs *costs_of(const tf_limits *l) { return !l->cpu ? &on_gpu : l->uniform_loads ? &on_cpu_uniform : &on_cpu; }

static double sum_cost(const costs *c, const frame *f) { return (c->start + c->sum_tap * (double)(f->k[0] * f->k[1])) * (double)(f->out[0] * f->out[1]); }

static double window_cost(const costs *c, const frame *f)
{
    return (c->start + (double)f->k[0] * (c->row + c->tap * (double)((f->k[1] + 3) / 4 * 4))) * (double)(f->out[0] * f->out[1]);
}

static double transform_cost(const tf_limits *limits, const costs *c, const conv_desc *d, const frame *f)
{
    const int64_t m1 = transform_length(limits, d, f->n[1], f->k[1]);
    if (d->dims == 1) {
        const bool fits = tf_fft_fits(limits, m1);
        return c->line[tf_fft_row_in_registers(limits, m1) ? 0 : fits ? 1 : 2] * (fits && f->lines == 1 ? 1.6 : 1) * (double)m1;
    }
    const int64_t m0 = transform_length(limits, d, f->n[0], f->k[0]), longest = TF_MAX(m0, m1);
    const bool powers = (m0 & (m0 - 1)) == 0 && (m1 & (m1 - 1)) == 0;
    return c->plane[powers ? 0 : 1][longest <= 144 ? 0 : longest <= 320 ? 1 : longest <= 640 ? 2 : 3] * (double)(m0 * m1);
}

typedef enum way { TRANSFORM, SUM, WINDOW, NONE } way;

/* Sums are maps: drivers for CPUs want whole vectors of results, and so many that the maps' bodies are copied (emit.c). */
static bool sum_is_fast(const tf_limits *limits, const costs *c, const frame *f)
{
    const int64_t taps = f->k[0] * f->k[1], results = f->lines * f->rows * f->out[0] * f->out[1];
    return taps <= c->sum_most && (!limits->cpu || (f->out[1] % 4 == 0 && results >= (taps + 1) << 13));
}

static way choose(const tf_limits *limits, const conv_desc *d, const frame *f, bool windows)
{
    const costs *c = costs_of(limits);
    const int64_t taps = f->k[0] * f->k[1];
    const bool sum = taps <= SUM_MOST;
    windows = windows && taps <= WINDOW_MOST;
    const way direct = sum && (!windows || sum_is_fast(limits, c, f)) ? SUM : windows ? WINDOW : NONE;
    if (d->algorithm == TUFF_CONV_DIRECT) return direct;
    if (d->algorithm == TUFF_CONV_FFT || direct == NONE) return TRANSFORM;
    return (direct == SUM ? sum_cost(c, f) : window_cost(c, f)) <= transform_cost(limits, c, d, f) ? direct : TRANSFORM;
}

static void lower(tf_lower *l)
{
    const conv_desc *d = l->desc;
    tuff_tensor x = l->src[0], h = l->src[1];
    const frame f = frame_of(l->g, d, tf_ty(x), tf_ty(h));
    const way how = choose(l->limits, d, &f, has_window(d, &f, tf_ty(x)));
    const bool direct = how == SUM || how == WINDOW;
    if (how == NONE) {
        tf_fail(l->g, TUFF_E_LIMIT, "fft_conv: algorithm=direct takes at most %d elements of h per row, it has %lld", has_window(d, &f, tf_ty(x)) ? (int)WINDOW_MOST : (int)SUM_MOST,
                (long long)(f.k[0] * f.k[1]));
        return;
    }
    if (tf_def(l->g, h.id)->op == &tf_op_const && !direct) { /* keep the node a constant: the host reads it */
        const tf_source_desc *s = tf_def(l->g, h.id)->desc;
        h = tuff_const(l->g, tf_ty(h)->dtype, TUFF_SHAPE(f.rows, f.k[0], f.k[1]), s->data, &(tuff_const_desc){ .borrow = true });
    } else h = shaped(h, 3, f.rows, f.k[0], f.k[1]);
    if (!h.id) return;
    x = tf_widened(x);
    const tuff_tensor y = how == SUM ? by_sum(l, d, &f, x, tf_widened(h)) : how == WINDOW ? by_window(l, d, &f, x, tf_widened(h)) : by_transform(l, d, &f, x, h);
    if (y.id) l->out[0] = tf_cast_to(tf_reshaped(y, l->out_type->rank, l->out_type->dim), l->out_type->dtype);
}

static const char *const modes[] = { "linear", "causal", "circular", NULL };
static const char *const algorithms[] = { "auto", "fft", "direct", NULL };
static const tf_attr attrs[] = {
    TF_A(conv_desc, mode, TF_ATTR_ENUM, "all n + k - 1 results, the first n of them, or with period n", .choices = modes),
    TF_A(conv_desc, dims, TF_ATTR_INT, "axes, the last ones, that are convolved: 1 or 2; 0: 1", .max = 2),
    TF_A(conv_desc, algorithm, TF_ATTR_ENUM, "how; auto: direct for few elements of h", .choices = algorithms),
};
const tf_op tf_op_fft_conv = {
    .name = "fft_conv", .doc = "convolution y[..,t] = sum of h[..,s] x[..,t-s] over the last axis or two; h[k] or one per row", .operands = "x h",
    .source = "Stockham 1966", .kind = TF_COMPOSITE, .attrs = attrs, .attr_count = TF_COUNT(attrs), .desc_size = sizeof(conv_desc), .infer = infer,
    .lower = lower, .reference = reference, .rel = 16,
};
tuff_tensor tuff_fft_conv(tuff_tensor x, tuff_tensor h, const tuff_fft_conv_desc *desc)
{
    return tf_add(x.graph, &tf_op_fft_conv, (tuff_tensor[]){ x, h }, 2, desc);
}
