/* fft.c - the public op fft, its reference, and its expansion into line transforms.
 *
 * Each axis is one line transform [batch, n, inner]. Lines one kernel cannot take are composed of shorter ones: n = n1 n2
 * as columns, roots, rows (the transposed store is the second kernel's, or the first one's where both then go by vectors); lengths with primes
 * above 13 as a convolution with a chirp (Bluestein). All of it is views, products and _fft anchors, so that neighbours fuse into first
 * and last kernel. */
#include "fft.h"

#include "anchors.h"
#include "ops.h"

#include <math.h>
#include <string.h>

typedef tuff_fft_desc fft_desc;

/* ---- shapes ---------------------------------------------------------------------------------------- */

static bool check_axes(tf_infer *c, fft_desc *d, const tf_type *x)
{
    if (d->n.n < 0 || d->n.n > TUFF_MAX_RANK)
        return tf_bad(c, TUFF_E_ATTRIBUTE, "n has %d entries; at most %d are possible", (int)d->n.n, TUFF_MAX_RANK);
    if (d->axes.n == 0) {
        d->axes.n = d->n.n ? d->n.n : 1;
        if (d->axes.n > x->rank)
            return tf_bad(c, TUFF_E_SHAPE, "%d axes are asked for, x has %d (%s)", (int)d->axes.n, (int)x->rank, tf_src_text(c, 0));
        for (int32_t i = 0; i < d->axes.n; i++) d->axes.v[i] = x->rank - d->axes.n + i;
    }
    if (!tf_axis_list(c, &d->axes, x->rank)) return false;
    if (d->n.n && d->n.n != d->axes.n)
        return tf_bad(c, TUFF_E_ATTRIBUTE, "n has %d entries for %d axes", (int)d->n.n, (int)d->axes.n);
    for (int32_t i = 0; i < d->axes.n; i++)
        if (tf_dim_is_dynamic(x->dim[d->axes.v[i]]))
            return tf_bad(c, TUFF_E_SHAPE, "axis %d is transformed, so its size must be fixed (%s)", (int)d->axes.v[i], tf_src_text(c, 0));
    return true;
}

static bool infer(tf_infer *c)
{
    fft_desc *d = c->mut;
    const tf_type *x = c->type[0];
    const unsigned cls = tf_dtype_class(x->dtype);
    if (x->dtype == TUFF_F64 || !(cls & (TF_CLS_FLOAT | TF_CLS_COMPLEX)) || (d->kind == TUFF_FFT_R2C && cls == TF_CLS_COMPLEX))
        return tf_bad(c, TUFF_E_DTYPE, "%s cannot be transformed: f32 f16 bf16%s (%s)", tuff_dtype_name(x->dtype),
                      d->kind == TUFF_FFT_R2C ? "" : " c64", tf_src_text(c, 0));
    if (!check_axes(c, d, x)) return false;
    const bool defaults = d->n.n == 0;
    const int32_t last = d->axes.n - 1;
    d->n.n = d->axes.n;
    c->out[0] = *x;
    c->out[0].dtype = d->kind == TUFF_FFT_C2R ? TUFF_F32 : TUFF_C64;
    for (int32_t i = 0; i <= last; i++) {
        const int64_t given = x->dim[d->axes.v[i]];
        int64_t *n = &d->n.v[i];
        if (defaults) *n = d->kind == TUFF_FFT_C2R && i == last ? 2 * (given - 1) : given;
        if (*n < 1 || *n > INT64_C(1) << 24)
            return tf_bad(c, TUFF_E_ATTRIBUTE, "the length of axis %d is %lld; it is 1 to 2^24 (%s)", (int)d->axes.v[i], (long long)*n, tf_src_text(c, 0));
        if (given == 0)
            return tf_bad(c, TUFF_E_SHAPE, "axis %d has no elements (%s)", (int)d->axes.v[i], tf_src_text(c, 0));
        c->out[0].dim[d->axes.v[i]] = d->kind == TUFF_FFT_R2C && i == last ? *n / 2 + 1 : *n;
    }
    if (d->direction == TUFF_FFT_AUTO) d->direction = d->kind == TUFF_FFT_C2R ? TUFF_FFT_INVERSE : TUFF_FFT_FORWARD;
    return true;
}

static double scale_of(const fft_desc *d, double n)
{
    const bool inverse = d->direction == TUFF_FFT_INVERSE;
    if (d->norm == TUFF_FFT_ORTHO) return 1 / sqrt(n);
    return inverse == (d->norm == TUFF_FFT_BACKWARD) ? 1 / n : 1;
}

/* ---- reference ------------------------------------------------------------------------------------- */

/* Decimation in time by the smallest prime factor p: p transforms of n / p, joined by the definition. root: the N roots. */
static void dft(const double *xr, const double *xi, uint64_t stride, double *yr, double *yi, uint64_t n, const double *cosine, const double *sine,
                uint64_t roots, double *tr, double *ti)
{
    uint64_t p = 2;
    while (p * p <= n && n % p) p++;
    if (n % p) p = n;
    if (n == 1) {
        *yr = *xr;
        *yi = *xi;
        return;
    }
    const uint64_t m = n / p, step = roots / n;
    for (uint64_t q = 0; q < p; q++) dft(xr + q * stride, xi + q * stride, stride * p, tr + q * m, ti + q * m, m, cosine, sine, roots, yr + q * m, yi + q * m);
    for (uint64_t k = 0; k < n; k++) {
        double re = 0, im = 0;
        for (uint64_t q = 0, e = 0; q < p; q++, e = e + k >= n ? e + k - n : e + k) {
            const double c = cosine[e * step], s = sine[e * step], a = tr[q * m + k % m], b = ti[q * m + k % m];
            re += a * c - b * s;
            im += a * s + b * c;
        }
        yr[k] = re;
        yi[k] = im;
    }
}

static const double PI = 3.141592653589793238462643383280;

/* e^(2 pi i j / n) by octants, so that the argument stays small and the symmetries are exact. */
void tf_fft_root(uint64_t j, uint64_t n, double *c, double *s)
{
    j %= n;
    const uint64_t octant = 8 * j / n;
    const uint64_t near = (octant + 1) / 2; /* nearest multiple of a quarter turn */
    const double t = 2 * PI * ((double)(4 * j) - (double)(near * n)) / (double)(4 * n), x = cos(t), y = sin(t);
    switch (near & 3) {
    case 0: *c = x; *s = y; break;
    case 1: *c = -y; *s = x; break;
    case 2: *c = -x; *s = -y; break;
    default: *c = y; *s = -x; break;
    }
}

double *tf_fft_scratch(tf_arena *arena, uint64_t n, int sign)
{
    double *s = tf_arena_array(arena, double, 6 * n);
    for (uint64_t j = 0; s && j < n; j++) {
        tf_fft_root(j, n, &s[j], &s[n + j]);
        s[n + j] *= sign;
    }
    return s;
}

void tf_fft_double(double *re, double *im, uint64_t n, double *scratch)
{
    double *yr = scratch + 2 * n, *yi = scratch + 3 * n;
    dft(re, im, 1, yr, yi, n, scratch, scratch + n, n, scratch + 4 * n, scratch + 5 * n);
    memcpy(re, yr, n * sizeof *re);
    memcpy(im, yi, n * sizeof *im);
}

typedef struct block { double *re, *im; int64_t dim[TUFF_MAX_RANK]; int32_t rank; } block;

static uint64_t product(const block *b, int32_t first, int32_t end)
{
    uint64_t n = 1;
    for (int32_t i = first; i < end; i++) n *= (uint64_t)b->dim[i];
    return n;
}

/* One axis to n elements, transformed; c2r: from its first n / 2 + 1. */
static tuff_status axis_reference(tf_ref *r, block *b, int32_t axis, uint64_t n, int sign, bool hermitian)
{
    const uint64_t outer = product(b, 0, axis), inner = product(b, axis + 1, b->rank), given = (uint64_t)b->dim[axis];
    const uint64_t taken = TF_MIN(given, hermitian ? n / 2 + 1 : n);
    double *re = tf_arena_array(r->scratch, double, outer * n * inner), *im = tf_arena_array(r->scratch, double, outer * n * inner);
    double *lr = tf_arena_array(r->scratch, double, n), *li = tf_arena_array(r->scratch, double, n);
    double *scratch = tf_fft_scratch(r->scratch, n, sign);
    if (!re || !im || !lr || !li || !scratch) return TUFF_E_MEMORY;
    for (uint64_t l = 0; l < outer * inner; l++) {
        const uint64_t o = l / inner, i = l % inner;
        for (uint64_t j = 0; j < n; j++) {
            lr[j] = j < taken ? b->re[(o * given + j) * inner + i] : 0;
            li[j] = j < taken ? b->im[(o * given + j) * inner + i] : 0;
        }
        if (hermitian) {
            li[0] = 0;
            for (uint64_t k = n / 2 + 1; k < n; k++) {
                lr[k] = lr[n - k];
                li[k] = -li[n - k];
            }
            if (n % 2 == 0) li[n / 2] = 0;
        }
        tf_fft_double(lr, li, n, scratch);
        for (uint64_t j = 0; j < n; j++) {
            re[(o * n + j) * inner + i] = lr[j];
            im[(o * n + j) * inner + i] = li[j];
        }
    }
    b->re = re;
    b->im = im;
    b->dim[axis] = (int64_t)n;
    return TUFF_OK;
}

static tuff_status reference(tf_ref *r)
{
    const fft_desc *d = r->desc;
    const tf_ref_tensor *x = r->src[0];
    tf_ref_tensor *y = &r->out[0];
    const int32_t last = d->axes.n - 1;
    block b = { .re = x->re, .im = x->im ? x->im : tf_arena_array(r->scratch, double, x->n + 1), .rank = x->rank };
    double scale = 1;
    if (!b.im) return TUFF_E_MEMORY;
    memcpy(b.dim, x->dim, sizeof b.dim);
    for (int32_t i = 0; i <= last && y->n; i++) {
        const tuff_status s = axis_reference(r, &b, (int32_t)d->axes.v[i], (uint64_t)d->n.v[i], d->direction == TUFF_FFT_INVERSE ? 1 : -1,
                                             d->kind == TUFF_FFT_C2R && i == last);
        if (s != TUFF_OK) return s;
        scale *= scale_of(d, (double)d->n.v[i]);
    }
    const int32_t axis = (int32_t)d->axes.v[last];
    const uint64_t inner = product(&b, axis + 1, b.rank), n = (uint64_t)b.dim[axis], kept = (uint64_t)y->dim[axis];
    for (uint64_t at = 0; at < y->n; at++) {
        const uint64_t from = (at / inner / kept * n + at / inner % kept) * inner + at % inner;
        y->re[at] = scale * b.re[from];
        if (y->im) y->im[at] = scale * b.im[from];
    }
    return TUFF_OK;
}

/* ---- tables ---------------------------------------------------------------------------------------- */

static bool table_infer(tf_infer *c)
{
    const tf_fft_table_desc *d = c->desc;
    if (d->n < 1 || d->m < 0 || d->n > INT32_MAX || d->m > INT32_MAX || d->step < 0 || d->period < 0)
        return tf_bad(c, TUFF_E_ATTRIBUTE, "n is %lld, m is %lld", (long long)d->n, (long long)d->m);
    if (d->table == TF_FFT_ANTICHIRP && d->m < 2 * d->n - 1)
        return tf_bad(c, TUFF_E_ATTRIBUTE, "m is %lld; it is at least 2 n - 1", (long long)d->m);
    if (d->table == TF_FFT_STEPS && (d->m < 1 || d->period < 1))
        return tf_bad(c, TUFF_E_ATTRIBUTE, "steps need m and period");
    c->out[0] = (tf_type){ .dtype = TUFF_C64, .rank = 1, .dim = { d->n } };
    if (d->table == TF_FFT_STEPS) c->out[0] = (tf_type){ .dtype = TUFF_C64, .rank = 2, .dim = { d->n, d->m } };
    if (d->table == TF_FFT_LANES) {
        if (d->m < 1 || d->m > 64 || d->n % d->m || tf_fft_lanes_of(d->n, (uint32_t)d->m, TF_FFT_COMPLEX, (tf_fft_way)d->period, d->filter).steps == 0 || d->step > TF_FFT_PAIRS)
            return tf_bad(c, TUFF_E_ATTRIBUTE, "%lld lanes for %lld points", (long long)d->m, (long long)d->n);
        c->out[0] = (tf_type){ .dtype = TUFF_F32, .rank = 1, .dim = { 4 * (int64_t)tf_fft_lanes_of(d->n, (uint32_t)d->m, (tf_fft_real)d->step, (tf_fft_way)d->period, d->filter).count } };
    }
    if (d->table == TF_FFT_ANTICHIRP) c->out[0] = (tf_type){ .dtype = TUFF_C64, .rank = 3, .dim = { 1, d->m, 1 } };
    return true;
}

/* e^(-pi i j^2 / n): the exponent has period 2 n. */
static void chirp(uint64_t j, uint64_t n, double *re, double *im)
{
    tf_fft_root(j * j % (2 * n), 2 * n, re, im);
    *im = -*im;
}

static tuff_status table_reference(tf_ref *r)
{
    const tf_fft_table_desc *d = r->desc;
    const uint64_t n = (uint64_t)d->n, m = (uint64_t)d->m;
    double *re = r->out[0].re, *im = r->out[0].im, *scratch;
    switch (d->table) {
    case TF_FFT_ROOTS:
        for (uint64_t j = 0; j < n; j++) tf_fft_root(n - j, n, &re[j], &im[j]);
        return TUFF_OK;
    case TF_FFT_STEPS:
        for (uint64_t j = 0; j < n * m; j++) {
            tf_fft_root(j / m * (uint64_t)d->step % (uint64_t)d->period * (j % m), (uint64_t)d->period, &re[j], &im[j]);
            im[j] = -im[j];
        }
        return TUFF_OK;
    case TF_FFT_LANES: {
        const tf_fft_lanes f = tf_fft_lanes_of(d->n, (uint32_t)m, (tf_fft_real)d->step, (tf_fft_way)d->period, d->filter);
        tf_fft_lane_table(&f, re);
        return TUFF_OK;
    }
    case TF_FFT_CHIRP:
        for (uint64_t j = 0; j < n; j++) chirp(j, n, &re[j], &im[j]);
        return TUFF_OK;
    default:
        scratch = tf_fft_scratch(r->scratch, m, -1);
        for (uint64_t j = 0; scratch && j < n; j++) {
            double c, s;
            chirp(j, n, &c, &s);
            re[j] = c / (double)m;
            im[j] = -s / (double)m;
            if (j) {
                re[m - j] = re[j];
                im[m - j] = im[j];
            }
        }
        if (scratch) tf_fft_double(re, im, m, scratch);
        return scratch ? TUFF_OK : TUFF_E_MEMORY;
    }
}

static const char *const table_names[] = { "roots", "steps", "chirp", "lanes", "antichirp", NULL };
static const tf_attr table_attrs[] = {
    TF_A(tf_fft_table_desc, table, TF_ATTR_ENUM, "what it holds", .choices = table_names),
    TF_A(tf_fft_table_desc, n, TF_ATTR_I64, "length", .required = true),
    TF_A(tf_fft_table_desc, m, TF_ATTR_I64, "second dim of steps; places of antichirp"),
    TF_A(tf_fft_table_desc, step, TF_ATTR_I64, "steps: exponent a * step * b"),
    TF_A(tf_fft_table_desc, period, TF_ATTR_I64, "steps: roots of this order"),
    TF_A(tf_fft_table_desc, filter, TF_ATTR_BOOL, "lanes: of a kernel with one"),
};
const tf_op tf_op_fft_table = {
    .name = "_fft_table", .doc = "-> c64[n] or [n,m], roots of unity and chirps in double precision", .operands = "", .kind = TF_HOST, .internal = true,
    .attrs = table_attrs, .attr_count = TF_COUNT(table_attrs), .desc_size = sizeof(tf_fft_table_desc), .infer = table_infer,
    .reference = table_reference,
};

static tuff_tensor table(tuff_graph *g, tf_fft_table_desc d) { return tf_add(g, &tf_op_fft_table, NULL, 0, &d); }

/* ---- lowering: lines [batch, n, inner] --------------------------------------------------------------- */

static tuff_tensor shaped(tuff_tensor x, int32_t rank, int64_t a, int64_t b, int64_t c, int64_t d, int64_t e)
{
    const int64_t dims[5] = { a, b, c, d, e };
    return x.id ? tf_reshaped(x, rank, dims) : x;
}

/* `count` elements of axis 1 from `start` on. */
static tuff_tensor part(tuff_tensor x, int64_t start, int64_t count)
{
    if (!x.id || (start == 0 && tf_ty(x)->dim[1] == count)) return x;
    return tuff_slice(x, TUFF_INTS(start), TUFF_INTS(start + count), &(tuff_slice_desc){ .axes = TUFF_INTS(1) });
}

static tuff_tensor extended(tuff_tensor x, int64_t n)
{
    if (!x.id || tf_ty(x)->dim[1] >= n) return x;
    return tuff_pad(x, TUFF_INTS(0), TUFF_INTS(0, n - tf_ty(x)->dim[1]), NULL);
}

static tuff_tensor anchor(tf_lower *l, tuff_tensor x, const tf_fft_desc *d)
{
    const bool packed = (d->real == TF_FFT_R2C || d->real == TF_FFT_C2R) && d->n % 2 == 0;
    const int64_t points = packed ? d->n / 2 : d->n;
    const tf_fft_real real = packed ? d->real : TF_FFT_COMPLEX;
    tf_fft_desc a = *d;
    a.lanes = (int32_t)tf_fft_choose_lanes(l->limits, points, tf_dim_bound(l->g, tf_ty(x)->dim[2]) > 1);
    if (d->way == TF_FFT_TURNED) a.lanes = (int32_t)tf_fft_turned_lanes(l->limits, points);
    else if (!a.lanes) a.way = TF_FFT_INNER;
    else if (tf_ty(x)->dim[2] == 1) a.way = TF_FFT_ROWS;
    else if (d->way == TF_FFT_INNER && d->real == TF_FFT_COMPLEX && tf_fft_short_column(l->limits, points * (d->filter.id ? 2 : 1), tf_ty(x)->dim[2])) a.way = TF_FFT_BESIDE;
    else a.way = TF_FFT_SINGLY;
    const tuff_tensor w = a.lanes ? table(l->g, (tf_fft_table_desc){ .table = TF_FFT_LANES, .n = points, .m = a.lanes, .step = real, .period = a.way, .filter = d->filter.id != 0 })
                                  : table(l->g, (tf_fft_table_desc){ .n = d->n });
    if (a.way != TF_FFT_ROWS) return tf_add(l->g, &tf_op_fft_anchor, (tuff_tensor[]){ x, w }, 2, &a);
    const tf_type t = *tf_ty(x);
    if (a.filter.id) a.filter = shaped(a.filter, 3, tf_ty(a.filter)->dim[0], 1, d->n, 0, 0);
    const tuff_tensor y = tf_add(l->g, &tf_op_fft_anchor, (tuff_tensor[]){ shaped(x, 3, t.dim[0], 1, t.dim[1], 0, 0), w }, 2, &a);
    return y.id ? shaped(y, 3, t.dim[0], tf_ty(y)->dim[2], 1, 0, 0) : y;
}

enum { SMALL = 4096 }; /* points of a line that is transformed so fast that compiling counts more */

/* The divisor r of n next to n^share, in ratio, for which good(n / r, r); 1: none. */
typedef bool (*good_part)(const tf_limits *limits, int64_t first, int64_t second, int64_t inner);
static int64_t divisor(const tf_limits *limits, int64_t n, int64_t inner, double share, good_part good)
{
    const double wanted = share * log((double)n);
    int64_t best = 1;
    for (int64_t r = 2; r <= 4096 && r < n; r++)
        if (n % r == 0 && good(limits, n / r, r, inner) && (best == 1 || fabs(log((double)r) - wanted) < fabs(log((double)best) - wanted))) best = r;
    return best;
}
static int64_t split(const tf_limits *limits, int64_t n, int64_t inner, good_part good) { return divisor(limits, n, inner, 0.5, good); }
static bool both_fit(const tf_limits *l, int64_t first, int64_t second, int64_t inner)
{
    (void)inner;
    return tf_fft_fits(l, first) && tf_fft_fits(l, second);
}
static bool short_columns(const tf_limits *l, int64_t first, int64_t second, int64_t inner)
{
    return tf_fft_short_column(l, first, inner) && tf_fft_short_column(l, second, inner);
}
static bool three_short_columns(const tf_limits *l, int64_t first, int64_t second, int64_t inner)
{
    return tf_fft_short_column(l, first, inner) && split(l, second, inner, short_columns) > 1;
}
static bool turned_then_column(const tf_limits *l, int64_t first, int64_t second, int64_t inner)
{
    (void)inner;
    return second % 4 == 0 && tf_fft_turned_lanes(l, first) && tf_fft_short_column(l, second, first);
}
static bool turned_then_columns(const tf_limits *l, int64_t first, int64_t second, int64_t inner)
{
    (void)inner;
    return second % 4 == 0 && tf_fft_turned_lanes(l, first) && split(l, second, first, short_columns) > 1;
}

/* n2 of the split n = n1 n2, for one kernel: n1 too if possible, else as many kernels as needed, of lines of similar length. */
static int64_t any_split(const tf_limits *limits, int64_t n)
{
    int64_t most = 4096, best = split(limits, n, 1, both_fit);
    while (most > 2 && !tf_fft_fits(limits, most)) most /= 2;
    const double wanted = log((double)n) / ceil(log((double)n) / log((double)most) - 1e-9);
    for (int64_t r = 2; r <= 4096 && r < n && best == 1; r++)
        if (n % r == 0 && tf_fft_fits(limits, r)) best = r;
    for (int64_t r = best + 1; r <= 4096 && r < n && !tf_fft_fits(limits, n / best); r++)
        if (n % r == 0 && tf_fft_fits(limits, r) && fabs(log((double)r) - wanted) < fabs(log((double)best) - wanted)) best = r;
    return best;
}

/* Largest divisor of n that is at most its root. */
static int64_t root_divisor(int64_t n)
{
    int64_t best = 1;
    for (int64_t r = 1; r * r <= n; r++)
        if (n % r == 0) best = r;
    return best;
}

/* x[b, rows, columns, i] times e^(-+2 pi i row column / period). From large tables on, two small ones instead: rows in two digits. */
static tuff_tensor step_roots(tf_lower *l, tuff_tensor x, int64_t rows, int64_t columns, const tf_fft_desc *d)
{
    if (!x.id) return x;
    const int64_t b = tf_ty(x)->dim[0], i = tf_ty(x)->dim[3], coarse = d->n > 65536 ? rows / root_divisor(rows) : 1, fine = rows / coarse;
    x = shaped(x, 5, b, coarse, fine, columns, i);
    for (int s = 0; s < 2; s++) {
        const int64_t n = s ? coarse : fine;
        if (n == 1) continue;
        tuff_tensor w = table(l->g, (tf_fft_table_desc){ .table = TF_FFT_STEPS, .n = n, .m = columns, .step = s ? fine : 1, .period = d->n });
        if (d->inverse) w = tuff_conj(w);
        x = tuff_mul(x, shaped(w, 5, 1, s ? coarse : 1, s ? 1 : fine, columns, 1));
    }
    return x;
}

/* n = n1 n2: lines of n1, of which n2 are neighbours, into rows, and those as lines of n2, of which n1 are neighbours: in order already. */
static tuff_tensor turned_lines(tf_lower *l, tuff_tensor x, const tf_fft_desc *d, int64_t n2)
{
    const int64_t n = d->n, n1 = n / n2, b = tf_ty(x)->dim[0];
    const int64_t given = (tf_ty(x)->dim[1] + n2 - 1) / n2, kept = ((d->keep ? d->keep : n) + n1 - 1) / n1; /* rows that are not all zeros; that are wanted */
    x = anchor(l, shaped(extended(x, given * n2), 3, b, given, n2, 0, 0), &(tf_fft_desc){ .n = n1, .inverse = d->inverse, .way = TF_FFT_TURNED });
    x = step_roots(l, shaped(x, 4, b, n2, n1, 1, 0), n2, n1, d);
    x = tf_fft_lines(l, shaped(x, 3, b, n2, n1, 0, 0), &(tf_fft_desc){ .n = n2, .inverse = d->inverse, .scale = d->scale, .keep = kept });
    return part(shaped(x, 3, b, kept * n1, 1, 0, 0), 0, d->keep ? d->keep : n);
}

static tuff_tensor long_lines(tf_lower *l, tuff_tensor x, const tf_fft_desc *d, int64_t n2)
{
    const int64_t n = d->n, n1 = n / n2, b = tf_ty(x)->dim[0], i = tf_ty(x)->dim[2];
    const int64_t given = (tf_ty(x)->dim[1] + n2 - 1) / n2, kept = ((d->keep ? d->keep : n) + n1 - 1) / n1;
    x = shaped(extended(x, given * n2), 3, b, given, tf_dim_bin(l->g, TUFF_DIM_MUL, n2, i), 0, 0);
    x = tf_fft_lines(l, x, &(tf_fft_desc){ .n = n1, .inverse = d->inverse, .way = d->way });
    x = step_roots(l, shaped(x, 4, b, n1, n2, i, 0), n1, n2, d);
    x = shaped(x, 3, tf_dim_bin(l->g, TUFF_DIM_MUL, b, n1), n2, i, 0, 0);
    x = tf_fft_lines(l, x, &(tf_fft_desc){ .n = n2, .inverse = d->inverse, .scale = d->scale, .keep = kept });
    x = tuff_permute(shaped(x, 4, b, n1, kept, i, 0), TUFF_INTS(0, 2, 1, 3));
    return part(shaped(x, 3, b, kept * n1, i, 0, 0), 0, d->keep ? d->keep : n);
}

/* Complex lines that one kernel does not hold, or only by reading and writing numbers one by one, for some time. x with id 0: neither. */
static tuff_tensor lines_by_vectors(tf_lower *l, tuff_tensor x, const tf_fft_desc *d)
{
    const int64_t n = d->n, inner = tf_ty(x)->dim[2];
    if (d->real || d->filter.id || !tf_fft_smooth(n)) return (tuff_tensor){ 0 };
    if (inner == 1) {
        if (tf_fft_row_in_registers(l->limits, n)) return (tuff_tensor){ 0 };
        int64_t n2 = n <= SMALL ? split(l->limits, n, 1, both_fit) : 1;
        if (n2 > 1) { /* a tenth slower than by vectors, compiled in half the time */
            tf_fft_desc singly = *d;
            singly.way = TF_FFT_SINGLY;
            return long_lines(l, x, &singly, n2);
        }
        n2 = split(l->limits, n, 1, turned_then_column);
        if (n2 == 1) n2 = divisor(l->limits, n, 1, 2 / 3.0, turned_then_columns);
        return n2 == 1 ? (tuff_tensor){ 0 } : turned_lines(l, x, d, n2);
    }
    if (tf_fft_short_column(l->limits, n, inner)) return (tuff_tensor){ 0 };
    int64_t n2 = split(l->limits, n, inner, short_columns);
    if (n2 == 1) n2 = divisor(l->limits, n, inner, 2 / 3.0, three_short_columns);
    return n2 == 1 ? (tuff_tensor){ 0 } : long_lines(l, x, d, n2);
}

static tuff_tensor chirp_lines(tf_lower *l, tuff_tensor x, const tf_fft_desc *d)
{
    const int64_t n = d->n, m = tf_fft_line_size(l->limits, 2 * n - 1), given = tf_ty(x)->dim[1];
    tuff_tensor c = table(l->g, (tf_fft_table_desc){ .table = TF_FFT_CHIRP, .n = n });
    const tuff_tensor filter = table(l->g, (tf_fft_table_desc){ .table = TF_FFT_ANTICHIRP, .n = n, .m = m });
    c = shaped(c, 3, 1, n, 1, 0, 0);
    x = tuff_mul(d->inverse ? tuff_conj(x) : x, part(c, 0, given));
    x = tf_fft_lines(l, x, &(tf_fft_desc){ .n = m, .filter = filter, .keep = n, .scale = d->scale });
    x = tuff_mul(x, c);
    return part(d->inverse ? tuff_conj(x) : x, 0, d->keep ? d->keep : n);
}

/* Real lines of odd length: as complex ones. */
static tuff_tensor odd_lines(tf_lower *l, tuff_tensor x, const tf_fft_desc *d)
{
    const int64_t n = d->n, bins = n / 2 + 1;
    if (d->real == TF_FFT_R2C) {
        x = tuff_complex(x, tuff_literal(l->g, 0, TUFF_F32));
        return tf_fft_lines(l, x, &(tf_fft_desc){ .n = n, .inverse = d->inverse, .scale = d->scale, .keep = d->keep ? d->keep : bins });
    }
    x = extended(x, bins);
    if (n > 2) {
        const tuff_tensor both[2] = { x, tuff_conj(tuff_flip(part(x, 1, (n - 1) / 2), TUFF_INTS(1))) };
        x = tuff_concat(both, 2, 1);
    }
    x = tf_fft_lines(l, part(x, 0, n), &(tf_fft_desc){ .n = n, .inverse = d->inverse, .scale = d->scale, .keep = d->keep });
    return tuff_real(x);
}

/* conj(x[last - k]) */
static tuff_tensor mirrored(tuff_tensor x)
{
    return tuff_conj(tuff_flip(x, TUFF_INTS(1)));
}

static tuff_tensor joined(tuff_tensor a, tuff_tensor b)
{
    const tuff_tensor both[2] = { a, b };
    return tuff_concat(both, 2, 1);
}

/* i * x */
static tuff_tensor turned(tuff_tensor x) { return tuff_complex(tuff_neg(tuff_imag(x)), tuff_real(x)); }

/* Long real lines of even length n = 2 h: neighbours as complex points, then bins X[k] = (Z[k] + Z*[h-k] - i w^k (Z[k] - Z*[h-k])) / 2;
 * from bins, Z[k] = X[k] + X*[h-k] + i w^-k (X[k] - X*[h-k]). */
static tuff_tensor even_lines(tf_lower *l, tuff_tensor x, const tf_fft_desc *d)
{
    const int64_t n = d->n, h = n / 2, b = tf_ty(x)->dim[0], i = tf_ty(x)->dim[2];
    const tuff_tensor w = shaped(table(l->g, (tf_fft_table_desc){ .n = n }), 3, 1, n, 1, 0, 0);
    if (d->real == TF_FFT_R2C) {
        x = shaped(extended(x, n), 4, b, h, 2, i, 0);
        const tuff_slice_desc axis = { .axes = TUFF_INTS(2) };
        const tuff_tensor even = shaped(tuff_slice(x, TUFF_INTS(0), TUFF_INTS(1), &axis), 3, b, h, i, 0, 0);
        const tuff_tensor odd = shaped(tuff_slice(x, TUFF_INTS(1), TUFF_INTS(2), &axis), 3, b, h, i, 0, 0);
        x = tf_fft_lines(l, tuff_complex(even, odd), &(tf_fft_desc){ .n = h, .scale = (float)(0.5 * (d->scale == 0 ? 1 : (double)d->scale)) });
        if (!x.id) return x;
        const tuff_tensor z = joined(x, part(x, 0, 1)), m = mirrored(z);
        x = tuff_sub(tuff_add(z, m), turned(tuff_mul(part(w, 0, h + 1), tuff_sub(z, m))));
        return part(d->inverse ? tuff_conj(x) : x, 0, d->keep ? d->keep : h + 1);
    }
    x = extended(x, h + 1);
    if (!d->inverse) x = tuff_conj(x);
    const tuff_tensor zero = tuff_literal(l->g, 0, TUFF_F32);
    x = joined(tuff_complex(tuff_real(part(x, 0, 1)), zero), joined(part(x, 1, h - 1), tuff_complex(tuff_real(part(x, h, 1)), zero)));
    const tuff_tensor a = part(x, 0, h), m = part(mirrored(x), 0, h);
    x = tuff_add(tuff_add(a, m), turned(tuff_mul(tuff_conj(part(w, 0, h)), tuff_sub(a, m))));
    x = tf_fft_lines(l, x, &(tf_fft_desc){ .n = h, .inverse = true, .scale = d->scale });
    if (!x.id) return x;
    const tuff_tensor parts[2] = { tuff_real(x), tuff_imag(x) };
    x = shaped(tuff_stack(parts, 2, 2), 3, b, n, i, 0, 0);
    return part(x, 0, d->keep ? d->keep : n);
}

/* conj(z[-k]), k modulo the length. */
static tuff_tensor reversed(tuff_tensor z) { return tuff_conj(tuff_roll(tuff_flip(z, TUFF_INTS(1)), TUFF_INTS(1), TUFF_INTS(1))); }

tuff_tensor tf_fft_packed(tf_lower *l, tuff_tensor x, int64_t n, float scale)
{
    if (!x.id) return x;
    const int64_t rows = tf_ty(x)->dim[0], points = (tf_ty(x)->dim[1] + 1) / 2;
    const tuff_slice_desc axis = { .axes = TUFF_INTS(2) };
    x = shaped(extended(x, 2 * points), 3, rows, points, 2, 0, 0);
    x = tuff_complex(tuff_slice(x, TUFF_INTS(0), TUFF_INTS(1), &axis), tuff_slice(x, TUFF_INTS(1), TUFF_INTS(2), &axis));
    return tf_fft_lines(l, x, &(tf_fft_desc){ .n = n / 2, .scale = scale });
}

tuff_tensor tf_fft_mixer(tf_lower *l, tuff_tensor z)
{
    if (!z.id) return z;
    const int64_t h = tf_ty(z)->dim[1];
    const tuff_tensor w = shaped(table(l->g, (tf_fft_table_desc){ .n = h }), 3, 1, h, 1, 0, 0);
    const tuff_tensor quarter = tuff_literal(l->g, 0.25, TUFF_F32), zero = tuff_literal(l->g, 0, TUFF_F32);
    return tuff_mul(tuff_fma(w, tuff_complex(quarter, zero), tuff_complex(quarter, zero)), tuff_sub(z, reversed(z)));
}

tuff_tensor tf_fft_packed_product(tf_lower *l, tuff_tensor z, tuff_tensor filter, tuff_tensor mixer, int64_t keep)
{
    if (!z.id || !filter.id || !mixer.id) return (tuff_tensor){ 0 };
    const int64_t b = tf_ty(z)->dim[0], h = tf_ty(z)->dim[1], rows = tf_ty(filter)->dim[0], kept = (keep + 1) / 2, outer = tf_dim_bin(l->g, TUFF_DIM_FLOORDIV, b, rows);
    const tuff_tensor d = shaped(tuff_sub(z, reversed(z)), 4, outer, rows, h, 1, 0);
    z = tuff_sub(tuff_mul(shaped(z, 4, outer, rows, h, 1, 0), shaped(filter, 4, 1, rows, h, 1, 0)), tuff_mul(d, shaped(mixer, 4, 1, rows, h, 1, 0)));
    z = tf_fft_lines(l, shaped(z, 3, b, h, 1, 0, 0), &(tf_fft_desc){ .n = h, .inverse = true, .keep = kept });
    if (!z.id) return z;
    const tuff_tensor parts[2] = { tuff_real(z), tuff_imag(z) };
    return part(shaped(tuff_stack(parts, 2, 2), 3, b, 2 * kept, 1, 0, 0), 0, keep);
}

static tuff_tensor filtered_lines(tf_lower *l, tuff_tensor x, const tf_fft_desc *d)
{
    const int64_t rows = tf_ty(d->filter)->dim[0], b = tf_ty(x)->dim[0], i = tf_ty(x)->dim[2];
    const bool real = d->real == TF_FFT_PAIRS;
    x = tf_fft_lines(l, x, &(tf_fft_desc){ .n = d->n, .real = real ? TF_FFT_R2C : TF_FFT_COMPLEX });
    const int64_t bins = x.id ? tf_ty(x)->dim[1] : 0;
    x = shaped(x, 4, tf_dim_bin(l->g, TUFF_DIM_FLOORDIV, b, rows), rows, bins, i, 0);
    x = tuff_mul(x, shaped(part(d->filter, 0, bins), 4, 1, rows, bins, tf_ty(d->filter)->dim[2], 0));
    return tf_fft_lines(l, shaped(x, 3, b, bins, i, 0, 0), &(tf_fft_desc){ .n = d->n, .real = real ? TF_FFT_C2R : TF_FFT_COMPLEX, .inverse = true,
                                                                            .scale = d->scale, .keep = d->keep });
}

tuff_tensor tf_fft_lines(tf_lower *l, tuff_tensor x, const tf_fft_desc *d)
{
    if (!x.id) return x;
    const bool smooth = tf_fft_smooth(d->n), packed = (d->real == TF_FFT_R2C || d->real == TF_FFT_C2R) && d->n % 2 == 0;
    const tuff_tensor y = lines_by_vectors(l, x, d);
    if (y.id) return y;
    if (tf_fft_fits(l->limits, packed ? d->n / 2 : d->n)) return anchor(l, x, d);
    if (d->filter.id) return filtered_lines(l, x, d);
    if (d->real) return d->n % 2 || d->n < 4 ? odd_lines(l, x, d) : even_lines(l, x, d);
    return smooth ? long_lines(l, x, d, any_split(l->limits, d->n)) : chirp_lines(l, x, d);
}

/* ---- lowering: axes ----------------------------------------------------------------------------------- */

static tuff_tensor along(tf_lower *l, tuff_tensor x, int32_t axis, const tf_fft_desc *d)
{
    if (!x.id) return x;
    tf_type t = *tf_ty(x);
    const int64_t before = tf_dim_product(l->g, t.dim, 0, axis), after = tf_dim_product(l->g, t.dim, axis + 1, t.rank);
    const int64_t needed = d->real == TF_FFT_C2R ? d->n / 2 + 1 : d->n;
    x = part(shaped(x, 3, before, t.dim[axis], after, 0, 0), 0, TF_MIN(needed, t.dim[axis]));
    x = tf_fft_lines(l, x, d);
    t.dim[axis] = x.id ? tf_ty(x)->dim[1] : 0;
    return x.id ? tf_reshaped(x, t.rank, t.dim) : x;
}

static void lower(tf_lower *l)
{
    const fft_desc *d = l->desc;
    const int32_t last = d->axes.n - 1;
    const bool inverse = d->direction == TUFF_FFT_INVERSE;
    double scale = 1;
    for (int32_t i = 0; i <= last; i++) scale *= scale_of(d, (double)d->n.v[i]);
    tuff_tensor x = tf_widened(l->src[0]);
    if (d->kind != TUFF_FFT_R2C && tf_ty(x)->dtype == TUFF_F32) x = tuff_complex(x, tuff_literal(l->g, 0, TUFF_F32));
    /* r2c begins with the last axis of the list, c2r ends with it; the scale goes into the last transform */
    for (int32_t s = 0; s <= last; s++) {
        const int32_t i = d->kind == TUFF_FFT_C2R ? s : last - s;
        const tf_fft_real real = i < last || d->kind == TUFF_FFT_C2C ? TF_FFT_COMPLEX : d->kind == TUFF_FFT_R2C ? TF_FFT_R2C : TF_FFT_C2R;
        x = along(l, x, (int32_t)d->axes.v[i], &(tf_fft_desc){ .n = d->n.v[i], .real = real, .inverse = inverse, .scale = s == last ? (float)scale : 1 });
    }
    l->out[0] = x;
}

static const char *const kinds[] = { "c2c", "r2c", "c2r", NULL };
static const char *const directions[] = { "auto", "forward", "inverse", NULL };
static const char *const norms[] = { "backward", "ortho", "forward", NULL };
static const tf_attr attrs[] = {
    TF_A(fft_desc, kind, TF_ATTR_ENUM, "complex, real to n / 2 + 1 bins, or such bins to real", .choices = kinds),
    TF_A(fft_desc, direction, TF_ATTR_ENUM, "sign of the exponent; auto: forward, for c2r inverse", .choices = directions),
    TF_A(fft_desc, axes, TF_ATTR_INTS, "the axes, r2c and c2r: the halved one last; none: the last as many as n has, or one"),
    TF_A(fft_desc, n, TF_ATTR_INTS, "length of each axis: x is cut or extended by zeros; none: as x is, c2r: 2 (bins - 1)"),
    TF_A(fft_desc, norm, TF_ATTR_ENUM, "which direction is divided by n", .choices = norms),
};
const tf_op tf_op_fft = {
    .name = "fft", .doc = "discrete Fourier transform of x[...] along axes: sum of x[j] e^(-+ 2 pi i j k / n); f32 f16 bf16 c64 -> c64 (c2r: f32)",
    .operands = "x", .source = "Cooley, Tukey 1965; Bluestein 1970; Bailey 1990", .kind = TF_COMPOSITE, .attrs = attrs, .attr_count = TF_COUNT(attrs),
    .desc_size = sizeof(fft_desc), .infer = infer, .lower = lower, .reference = reference, .rel = 8,
};
tuff_tensor tuff_fft(tuff_tensor x, const tuff_fft_desc *desc) { return tf_add(x.graph, &tf_op_fft, &x, 1, desc); }
