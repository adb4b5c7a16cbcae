/* conv.c - convolution in one to three dimensions: strides, padding, dilation, groups; and its transpose.
 *
 * Sums of many products run as a matmul over sliding windows, which are a view; short ones, depthwise above all, in the
 * anchor _conv, which keeps a tile of the result in registers. The transpose is a
 * convolution that makes stride^n results per place, which a view then puts side by side: no multiplication by zeros. */
#include "anchors.h"
#include "ops.h"

#include <string.h>

enum { MAX_AXES = 3, VECTOR_TAPS = 11 }; /* longest row of taps whose vectors all wait in registers */

static const char *const modes[] = { "zero", "edge", "reflect", "wrap", NULL };

/* ---- attributes and shapes ----------------------------------------------------------------------- */

/* A list with one number per spatial axis: one number serves all, none is `value`. */
static bool fill(tf_infer *c, tuff_ints *list, int32_t n, int64_t value, int64_t least, const char *name)
{
    if (list->n > 1 && list->n != n)
        return tf_bad(c, TUFF_E_ATTRIBUTE, "%s has %d entries; there are %d spatial axes", name, (int)list->n, (int)n);
    for (int32_t i = 0; i < n; i++) {
        if (list->n == 0 || (i > 0 && list->n == 1))
            list->v[i] = i > 0 ? list->v[0] : value;
        if (list->v[i] < least || list->v[i] > INT32_MAX)
            return tf_bad(c, TUFF_E_ATTRIBUTE, "%s %d is %lld; it is at least %lld", name, (int)i, (long long)list->v[i], (long long)least);
    }
    list->n = n;
    return true;
}

static bool check_operands(tf_infer *c, int32_t *n)
{
    const tf_type *x = c->type[0], *w = c->type[1];
    *n = x->rank - 2;
    if (*n < 1 || *n > MAX_AXES)
        return tf_bad(c, TUFF_E_SHAPE, "x has rank %d; it is [batch, channels] and one to three spatial axes (%s)", (int)x->rank, tf_src_text(c, 0));
    if (w->rank != x->rank)
        return tf_bad(c, TUFF_E_SHAPE, "the weight has rank %d, x has rank %d (%s; %s)", (int)w->rank, (int)x->rank, tf_src_text(c, 0), tf_src_text(c, 1));
    for (uint32_t i = 0; i < 2; i++)
        if (!tf_infer_single(c, i))
            return false;
    for (int32_t a = 0; a < w->rank; a++)
        if (tf_dim_is_dynamic(w->dim[a]) || w->dim[a] < 1)
            return tf_bad(c, TUFF_E_SHAPE, "dims of the weight are fixed and at least 1 (%s)", tf_src_text(c, 1));
    return !tf_dim_is_dynamic(x->dim[1]) || tf_bad(c, TUFF_E_SHAPE, "the channels are a fixed number (%s)", tf_src_text(c, 0));
}

static bool check_bias(tf_infer *c, uint32_t i, int64_t channels)
{
    const tf_type *b = c->n_src > i ? c->type[i] : NULL;
    return !b || (b->rank == 1 && b->dim[0] == channels) || tf_bad(c, TUFF_E_SHAPE, "the bias is [%lld] (%s)", (long long)channels, tf_src_text(c, i));
}

static bool conv_infer(tf_infer *c)
{
    tuff_conv_desc *d = c->mut;
    const tf_type *x = c->type[0], *w = c->type[1];
    int32_t n;
    if (!check_operands(c, &n))
        return false;
    d->groups = TF_MAX(d->groups, 1);
    if (!fill(c, &d->stride, n, 1, 1, "stride") || !fill(c, &d->dilation, n, 1, 1, "dilation") || !fill(c, &d->padding, n, 0, 0, "padding"))
        return false;
    if (d->padding_end.n == 0)
        d->padding_end = d->padding;
    if (!fill(c, &d->padding_end, n, 0, 0, "padding_end"))
        return false;
    if (w->dim[1] * d->groups != x->dim[1] || w->dim[0] % d->groups)
        return tf_bad(c, TUFF_E_SHAPE, "the weight is [outputs, channels / groups, ..] with outputs a multiple of groups; groups is %d (%s; %s)", (int)d->groups,
                      tf_src_text(c, 0), tf_src_text(c, 1));
    c->out[0] = *x;
    c->out[0].dim[1] = w->dim[0];
    for (int32_t i = 0; i < n; i++) {
        if (!tf_check_pad(c, 2 + i, d->padding.v[i], (tuff_pad_mode)d->mode) || !tf_check_pad(c, 2 + i, d->padding_end.v[i], (tuff_pad_mode)d->mode))
            return false;
        const int64_t reach = (w->dim[2 + i] - 1) * d->dilation.v[i] + 1;
        const int64_t padded = tf_dim_bin(c->g, TUFF_DIM_ADD, x->dim[2 + i], d->padding.v[i] + d->padding_end.v[i]);
        if (!tf_dim_is_dynamic(padded) && padded < reach)
            return tf_bad(c, TUFF_E_SHAPE, "the kernel reaches over %lld elements of axis %d, which has %lld with its padding (%s)", (long long)reach, (int)(2 + i),
                          (long long)padded, tf_src_text(c, 0));
        const int64_t starts = tf_dim_bin(c->g, TUFF_DIM_SUB, padded, reach);
        c->out[0].dim[2 + i] = tf_dim_bin(c->g, TUFF_DIM_ADD, tf_dim_bin(c->g, TUFF_DIM_FLOORDIV, starts, d->stride.v[i]), 1);
    }
    return check_bias(c, 2, w->dim[0]);
}

static bool transpose_infer(tf_infer *c)
{
    tuff_conv_transpose_desc *d = c->mut;
    const tf_type *x = c->type[0], *w = c->type[1];
    int32_t n;
    if (!check_operands(c, &n))
        return false;
    d->groups = TF_MAX(d->groups, 1);
    if (!fill(c, &d->stride, n, 1, 1, "stride") || !fill(c, &d->dilation, n, 1, 1, "dilation") || !fill(c, &d->padding, n, 0, 0, "padding") ||
        !fill(c, &d->output_padding, n, 0, 0, "output_padding"))
        return false;
    if (w->dim[0] != x->dim[1] || x->dim[1] % d->groups)
        return tf_bad(c, TUFF_E_SHAPE, "the weight is [channels, outputs / groups, ..] with channels a multiple of groups; groups is %d (%s; %s)", (int)d->groups,
                      tf_src_text(c, 0), tf_src_text(c, 1));
    c->out[0] = *x;
    c->out[0].dim[1] = w->dim[1] * d->groups;
    for (int32_t i = 0; i < n; i++) {
        const int64_t s = d->stride.v[i], reach = (w->dim[2 + i] - 1) * d->dilation.v[i] + 1;
        if (d->output_padding.v[i] >= TF_MAX(s, d->dilation.v[i]))
            return tf_bad(c, TUFF_E_ATTRIBUTE, "output_padding %d is %lld; it is below the stride or the dilation", (int)i, (long long)d->output_padding.v[i]);
        const int64_t more = reach - s - 2 * d->padding.v[i] + d->output_padding.v[i];
        const int64_t size = tf_dim_bin(c->g, TUFF_DIM_ADD, tf_dim_bin(c->g, TUFF_DIM_MUL, x->dim[2 + i], s), more);
        if (!tf_dim_is_dynamic(size) && size < 1)
            return tf_bad(c, TUFF_E_SHAPE, "the padding leaves nothing of axis %d (%s)", (int)(2 + i), tf_src_text(c, 0));
        c->out[0].dim[2 + i] = size;
    }
    return check_bias(c, 2, c->out[0].dim[1]);
}

/* ---- reference ----------------------------------------------------------------------------------- */

/* A place of x in padding mode `mode`, -1: zero. */
static int64_t source_place(int64_t i, int64_t n, tuff_conv_padding mode)
{
    if (i >= 0 && i < n)
        return i;
    switch (mode) {
    case TUFF_CONV_EDGE: return i < 0 ? 0 : n - 1;
    case TUFF_CONV_REFLECT: return i < 0 ? -i : 2 * (n - 1) - i;
    case TUFF_CONV_WRAP: return (i % n + n) % n;
    default: return -1;
    }
}

typedef struct taps { int64_t in[MAX_AXES], out[MAX_AXES], k[MAX_AXES]; } taps;

static taps taps_of(const tf_ref *r)
{
    taps t = { { 1, 1, 1 }, { 1, 1, 1 }, { 1, 1, 1 } };
    for (int32_t i = 0, n = r->src[0]->rank - 2; i < n; i++) {
        t.in[i] = r->src[0]->dim[2 + i];
        t.out[i] = r->out[0].dim[2 + i];
        t.k[i] = r->src[1]->dim[2 + i];
    }
    return t;
}

static void split_place(int64_t at, const int64_t *dim, int64_t *place)
{
    for (int i = MAX_AXES; i-- > 0; at /= dim[i])
        place[i] = at % dim[i];
}

static tuff_status conv_sum(tf_ref *r, const tuff_conv_desc *d, bool flipped)
{
    const tf_ref_tensor *x = r->src[0], *w = r->src[1], *bias = r->n_src > 2 ? r->src[2] : NULL;
    const taps t = taps_of(r);
    const int32_t axes = x->rank - 2;
    const int64_t cg = w->dim[1], og = w->dim[0] / d->groups, k = t.k[0] * t.k[1] * t.k[2];
    const int64_t in = t.in[0] * t.in[1] * t.in[2], out = t.out[0] * t.out[1] * t.out[2];
    for (uint64_t i = 0; i < r->out[0].n; i++) {
        const int64_t o = (int64_t)i / out % w->dim[0], n = (int64_t)i / out / w->dim[0];
        int64_t at[MAX_AXES], tap[MAX_AXES];
        split_place((int64_t)i % out, t.out, at);
        double sum = bias ? bias->re[o] : 0;
        for (int64_t j = 0; j < k; j++) {
            split_place(j, t.k, tap);
            int64_t from = 0;
            for (int32_t a = 0; a < MAX_AXES && from >= 0; a++) {
                const int64_t p = a >= axes ? 0 : source_place(at[a] * d->stride.v[a] + tap[a] * d->dilation.v[a] - d->padding.v[a], t.in[a], d->mode);
                from = p < 0 ? -1 : from * t.in[a] + p;
            }
            for (int64_t c = 0; from >= 0 && c < cg; c++)
                sum += x->re[(n * x->dim[1] + o / og * cg + c) * in + from] * w->re[(o * cg + c) * k + (flipped ? k - 1 - j : j)];
        }
        r->out[0].re[i] = sum;
    }
    return TUFF_OK;
}
static tuff_status conv_reference(tf_ref *r) { return conv_sum(r, r->desc, false); }

static tuff_status transpose_reference(tf_ref *r)
{
    const tuff_conv_transpose_desc *d = r->desc;
    const tf_ref_tensor *x = r->src[0], *w = r->src[1], *bias = r->n_src > 2 ? r->src[2] : NULL;
    const taps t = taps_of(r);
    const int32_t axes = x->rank - 2;
    const int64_t og = w->dim[1], cg = x->dim[1] / d->groups, k = t.k[0] * t.k[1] * t.k[2], outputs = og * d->groups;
    const int64_t in = t.in[0] * t.in[1] * t.in[2], out = t.out[0] * t.out[1] * t.out[2];
    for (uint64_t i = 0; i < r->out[0].n; i++)
        r->out[0].re[i] = bias ? bias->re[(int64_t)i / out % outputs] : 0;
    for (uint64_t i = 0; i < x->n; i++) { /* every element spreads */
        const int64_t c = (int64_t)i / in % x->dim[1], n = (int64_t)i / in / x->dim[1];
        int64_t at[MAX_AXES], tap[MAX_AXES];
        split_place((int64_t)i % in, t.in, at);
        for (int64_t j = 0; j < k; j++) {
            split_place(j, t.k, tap);
            int64_t to = 0;
            for (int32_t a = 0; a < MAX_AXES && to >= 0; a++) {
                const int64_t p = a >= axes ? 0 : at[a] * d->stride.v[a] + tap[a] * d->dilation.v[a] - d->padding.v[a];
                to = p < 0 || p >= t.out[a] ? -1 : to * t.out[a] + p;
            }
            for (int64_t o = 0; to >= 0 && o < og; o++)
                r->out[0].re[(n * outputs + c / cg * og + o) * out + to] += x->re[i] * w->re[(c * og + o) * k + j];
        }
    }
    return TUFF_OK;
}

/* ---- lowering ------------------------------------------------------------------------------------ */

static tuff_tensor with_bias(tuff_tensor y, tuff_tensor bias)
{
    if (!y.id || !bias.id)
        return y;
    int64_t dim[TUFF_MAX_RANK];
    for (int32_t i = 0; i < tf_ty(y)->rank - 1; i++)
        dim[i] = i ? 1 : tf_ty(bias)->dim[0];
    return tuff_add(y, tf_reshaped(tf_cast_to(bias, tf_ty(y)->dtype), tf_ty(y)->rank - 1, dim));
}

/* x[n, c, ..] with unit axes put before the spatial ones, so that there are three. */
static tuff_tensor with_three_axes(tuff_tensor x)
{
    const tf_type t = *tf_ty(x);
    int64_t dim[5] = { t.dim[0], t.dim[1], 1, 1, 1 };
    for (int32_t i = 0; i < t.rank - 2; i++)
        dim[5 - (t.rank - 2) + i] = t.dim[2 + i];
    return tf_reshaped(x, 5, dim);
}

static bool all_are(const tuff_ints *list, int64_t v)
{
    for (int32_t i = 0; i < list->n; i++)
        if (list->v[i] != v)
            return false;
    return true;
}

/* y[n, groups * og, ..] = w[groups, og, k] x windows[n, groups, k, ..]. */
static tuff_tensor windows_matmul(tf_lower *l, tuff_tensor x, tuff_tensor w, const tuff_conv_desc *d, const tf_type *out)
{
    const tf_type t = *tf_ty(x), tw = *tf_ty(w);
    const int32_t n = t.rank - 2;
    tuff_graph *g = l->g;
    tuff_unfold_desc u = { .stride = d->stride, .dilation = d->dilation };
    tuff_ints sizes = { .n = n }, order = { .n = 2 + 2 * n };
    for (int32_t i = 0; i < n; i++) {
        sizes.v[i] = tw.dim[2 + i];
        u.axes.v[u.axes.n++] = 2 + i;
        order.v[2 + i] = 2 + n + i;
        order.v[2 + n + i] = 2 + i;
    }
    order.v[1] = 1;
    const bool one = tf_dim_product(g, tw.dim, 2, tw.rank) == 1 && all_are(&d->stride, 1);
    const tuff_tensor windows = one ? x : tuff_permute(tuff_unfold(x, sizes, &u), order);
    const int64_t k = tf_dim_product(g, tw.dim, 1, tw.rank), places = tf_dim_product(g, out->dim, 2, out->rank);
    const int64_t columns[4] = { t.dim[0], d->groups, k, places }, weights[4] = { 1, d->groups, tw.dim[0] / d->groups, k };
    if (!windows.id)
        return windows;
    const tuff_tensor y = tuff_matmul(tf_reshaped(w, 4, weights), tf_reshaped(windows, 4, columns), &(tuff_matmul_desc){ .dtype = TUFF_F32 });
    return y.id ? tf_reshaped(y, out->rank, out->dim) : y;
}

static tuff_tensor convolve(tf_lower *l, tuff_tensor x, tuff_tensor w, tuff_conv_desc d, const tf_type *out)
{
    const int32_t n = tf_ty(x)->rank - 2;
    const int64_t k = tf_dim_product(l->g, tf_ty(w)->dim, 2, n + 2), cg = tf_ty(w)->dim[1], og = tf_ty(w)->dim[0] / d.groups;
    x = tf_widened(x);
    w = tf_widened(w);
    const bool windows = (k == 1 && og > 1) || cg * k > TF_CPU_TRIPS || (l->limits->cpu ? cg * k > 64 && og > 1 : cg * k >= 32 && og >= 16);
    if (d.mode != TUFF_CONV_ZERO || (windows && !(all_are(&d.padding, 0) && all_are(&d.padding_end, 0)))) {
        tuff_ints lo = { .n = n + 2 }, hi = lo;
        memcpy(lo.v + 2, d.padding.v, (size_t)n * sizeof *lo.v);
        memcpy(hi.v + 2, d.padding_end.v, (size_t)n * sizeof *hi.v);
        x = tuff_pad(x, lo, hi, &(tuff_pad_desc){ .mode = (tuff_pad_mode)d.mode });
        memset(d.padding.v, 0, sizeof d.padding.v);
    }
    if (!x.id || !w.id)
        return x.id ? w : x;
    if (windows)
        return windows_matmul(l, x, w, &d, out);
    tf_conv_desc a = { .groups = d.groups, .stride = { 3, { 1, 1, 1 } }, .padding = { 3, { 0 } }, .dilation = { 3, { 1, 1, 1 } },
                           .out = { 3, { 1, 1, 1 } } };
    for (int32_t i = 0; i < n; i++) {
        a.stride.v[3 - n + i] = d.stride.v[i];
        a.padding.v[3 - n + i] = d.padding.v[i];
        a.dilation.v[3 - n + i] = d.dilation.v[i];
        a.out.dim[3 - n + i] = out->dim[2 + i];
    }
    const tuff_tensor src[2] = { with_three_axes(x), with_three_axes(w) };
    const tuff_tensor y = tf_add(l->g, &tf_op_anchor_conv, src, 2, &a);
    return y.id ? tf_reshaped(y, out->rank, out->dim) : y;
}

static void conv_lower(tf_lower *l)
{
    const tuff_conv_desc *d = l->desc;
    const tuff_tensor y = with_bias(convolve(l, l->src[0], l->src[1], *d, l->out_type), l->n_src > 2 ? l->src[2] : (tuff_tensor){ 0 });
    if (y.id)
        l->out[0] = tf_cast_to(y, l->out_type->dtype);
}

/* Axis `a` of x split into [size / s, s], the second part moved to `to`. */
static tuff_tensor split_axis(tuff_tensor x, int32_t a, int64_t s, int32_t to)
{
    if (!x.id)
        return x;
    const tf_type t = *tf_ty(x);
    int64_t dim[TUFF_MAX_RANK];
    tuff_ints order = { .n = t.rank + 1 };
    for (int32_t i = 0; i <= t.rank; i++)
        dim[i] = i < a ? t.dim[i] : i == a ? t.dim[a] / s : i == a + 1 ? s : t.dim[i - 1];
    for (int32_t i = 0, from = 0; i <= t.rank; i++) {
        from += from == a + 1;
        order.v[i] = i == to ? a + 1 : from++;
    }
    return tuff_permute(tf_reshaped(x, t.rank + 1, dim), order);
}

/* The reverse: axis `from` of x, which has the size s, becomes the inner part of the axis before which `a` - 1 stands. */
static tuff_tensor join_axis(tuff_tensor x, int32_t from, int64_t s, int32_t a)
{
    if (!x.id)
        return x;
    const tf_type t = *tf_ty(x);
    tuff_ints order = { .n = t.rank };
    for (int32_t i = 0, next = 0; i < t.rank; i++) {
        next += next == from;
        order.v[i] = i == a ? from : next++;
    }
    const tuff_tensor p = tuff_permute(x, order);
    int64_t dim[TUFF_MAX_RANK];
    for (int32_t i = 0; i < t.rank - 1; i++)
        dim[i] = tf_ty(p)->dim[i < a ? i : i + 1];
    dim[a - 1] = tf_dim_bin(x.graph, TUFF_DIM_MUL, tf_ty(p)->dim[a - 1], s);
    return tf_reshaped(p, t.rank - 1, dim);
}

/* Zeros between the elements of a kernel along axis a, and behind them up to `size`. */
static tuff_tensor spread(tuff_tensor w, int32_t a, int64_t dilation, int64_t size)
{
    const tf_type t = *tf_ty(w);
    tuff_ints lo = { .n = t.rank + 1 }, hi = lo;
    if (dilation > 1) {
        int64_t dim[TUFF_MAX_RANK];
        hi.v[a + 1] = dilation - 1;
        const tuff_tensor p = tuff_pad(tuff_unsqueeze(w, (tuff_ints){ 1, { a + 1 } }), lo, hi, NULL);
        memcpy(dim, t.dim, sizeof dim);
        dim[a] *= dilation;
        w = tuff_slice(tf_reshaped(p, t.rank, dim), (tuff_ints){ 1, { 0 } }, (tuff_ints){ 1, { dim[a] - dilation + 1 } }, &(tuff_slice_desc){ .axes = { 1, { a } } });
    }
    lo.n = hi.n = t.rank;
    hi.v[a + 1] = 0;
    hi.v[a] = size - tf_ty(w)->dim[a];
    return hi.v[a] ? tuff_pad(w, lo, hi, NULL) : w;
}

/* y[s * q + r] = sum over t of x[q - t] * w[s * t + r], cut to the padding: a convolution with results for each r. */
static void transpose_lower(tf_lower *l)
{
    const tuff_conv_transpose_desc *d = l->desc;
    const tf_type *tx = tf_ty(l->src[0]), *out = l->out_type;
    const int32_t n = tx->rank - 2;
    const int64_t groups = d->groups, og = tf_ty(l->src[1])->dim[1], channels = tx->dim[1];
    tuff_conv_desc c = { .groups = d->groups, .stride = { n, { 1, 1, 1 } }, .dilation = { n, { 1, 1, 1 } }, .padding = { .n = n } };
    tuff_tensor w = l->src[1];
    tf_type wide = *out;
    tuff_ints flips = { .n = n }, start = { .n = n }, stop = { .n = n }, axes = { .n = n }, lo = { .n = n + 2 }, hi = { .n = n + 2 };
    int64_t outputs = og;
    for (int32_t i = 0; i < n; i++) {
        const int64_t s = d->stride.v[i], reach = (tf_ty(w)->dim[2 + i] - 1) * d->dilation.v[i] + 1, t = (reach + s - 1) / s;
        w = spread(w, 2 + i, d->dilation.v[i], t * s);
        w = split_axis(w, 2 + i, s, 2); /* [channels, og * .., s, t, ..] */
        if (!w.id)
            return;
        outputs *= s;
        int64_t dim[TUFF_MAX_RANK] = { channels, outputs };
        memcpy(dim + 2, tf_ty(w)->dim + 3, (size_t)n * sizeof *dim);
        w = tf_reshaped(w, n + 2, dim);
        c.padding.v[i] = t - 1;
        wide.dim[2 + i] = tf_dim_bin(l->g, TUFF_DIM_ADD, tx->dim[2 + i], t - 1);
        flips.v[i] = axes.v[i] = 2 + i;
        start.v[i] = d->padding.v[i];
        stop.v[i] = tf_dim_bin(l->g, TUFF_DIM_ADD, out->dim[2 + i], d->padding.v[i]);
        hi.v[2 + i] = TF_MAX(reach - d->padding.v[i] + d->output_padding.v[i] - s * t, 0);
    }
    c.padding_end = c.padding;
    wide.dim[1] = groups * outputs;
    wide.dtype = TUFF_F32;
    w = tuff_flip(w, flips);
    if (!w.id)
        return;
    int64_t dim[TUFF_MAX_RANK] = { groups, channels / groups, outputs };
    memcpy(dim + 3, tf_ty(w)->dim + 2, (size_t)n * sizeof *dim);
    tuff_ints order = { .n = n + 3, .v = { 0, 2, 1, 3, 4, 5 } };
    w = tuff_permute(tf_reshaped(w, n + 3, dim), order);
    memmove(dim + 2, dim + 3, (size_t)n * sizeof *dim);
    dim[0] = groups * outputs;
    dim[1] = channels / groups;
    tuff_tensor y = convolve(l, l->src[0], tf_reshaped(w, n + 2, dim), c, &wide);
    for (int32_t i = n; i-- > 0;) { /* the last stride is the innermost part of the channels */
        const int64_t s = d->stride.v[i];
        if (s == 1 || !y.id)
            continue;
        y = join_axis(split_axis(y, 1, s, 2), 2, s, 3 + i);
    }
    if (y.id && !all_are(&hi, 0))
        y = tuff_pad(y, lo, hi, NULL);
    if (y.id)
        y = with_bias(tuff_slice(y, start, stop, &(tuff_slice_desc){ .axes = axes }), l->n_src > 2 ? l->src[2] : (tuff_tensor){ 0 });
    if (y.id)
        l->out[0] = tf_cast_to(y, out->dtype);
}

static const tf_attr conv_attrs[] = {
    TF_A(tuff_conv_desc, bias, TF_ATTR_TENSOR, "[outputs]; absent: 0"),
    TF_A(tuff_conv_desc, stride, TF_ATTR_INTS, "per spatial axis, or one for all; empty: 1"),
    TF_A(tuff_conv_desc, padding, TF_ATTR_INTS, "elements added before each spatial axis, and behind it; one for all; empty: 0"),
    TF_A(tuff_conv_desc, padding_end, TF_ATTR_INTS, "elements added behind each spatial axis; empty: padding"),
    TF_A(tuff_conv_desc, dilation, TF_ATTR_INTS, "distance of the kernel's elements; empty: 1"),
    TF_A(tuff_conv_desc, mode, TF_ATTR_ENUM, "what the padding holds: zero, the edge, reflected or wrapped elements", .choices = modes),
    TF_A(tuff_conv_desc, groups, TF_ATTR_INT, "channels are split into this many separate convolutions; 0: 1", .min = 0, .max = 2147483647),
};
const tf_op tf_op_conv = {
    .name = "conv", .doc = "x[n, c, spatial..], weight[o, c / groups, kernel..] -> y[n, o, ..], in 1 to 3 spatial axes; the kernel is not flipped",
    .operands = "x weight", .kind = TF_COMPOSITE, .attrs = conv_attrs, .attr_count = TF_COUNT(conv_attrs), .desc_size = sizeof(tuff_conv_desc),
    .classes = TF_CLS_FLOAT, .infer = conv_infer, .lower = conv_lower, .reference = conv_reference, .rel = 8,
};
tuff_tensor tuff_conv(tuff_tensor x, tuff_tensor weight, const tuff_conv_desc *desc)
{
    const tuff_tensor src[2] = { x, weight };
    return tf_add(x.graph, &tf_op_conv, src, 2, desc ? desc : &(tuff_conv_desc){ 0 });
}

static const tf_attr transpose_attrs[] = {
    TF_A(tuff_conv_transpose_desc, bias, TF_ATTR_TENSOR, "[outputs]; absent: 0"),
    TF_A(tuff_conv_transpose_desc, stride, TF_ATTR_INTS, "per spatial axis, or one for all; empty: 1"),
    TF_A(tuff_conv_transpose_desc, padding, TF_ATTR_INTS, "elements of the result cut off on both sides; empty: 0"),
    TF_A(tuff_conv_transpose_desc, output_padding, TF_ATTR_INTS, "elements of the result added behind; empty: 0"),
    TF_A(tuff_conv_transpose_desc, dilation, TF_ATTR_INTS, "distance of the kernel's elements; empty: 1"),
    TF_A(tuff_conv_transpose_desc, groups, TF_ATTR_INT, "channels are split into this many separate convolutions; 0: 1", .min = 0, .max = 2147483647),
};
const tf_op tf_op_conv_transpose = {
    .name = "conv_transpose",
    .doc = "x[n, c, spatial..], weight[c, o / groups, kernel..] -> y[n, o, ..]: element i adds x[i] * weight to y from i * stride - padding on",
    .operands = "x weight", .kind = TF_COMPOSITE, .attrs = transpose_attrs, .attr_count = TF_COUNT(transpose_attrs),
    .desc_size = sizeof(tuff_conv_transpose_desc), .classes = TF_CLS_FLOAT, .infer = transpose_infer, .lower = transpose_lower,
    .reference = transpose_reference, .rel = 8,
};
tuff_tensor tuff_conv_transpose(tuff_tensor x, tuff_tensor weight, const tuff_conv_transpose_desc *desc)
{
    const tuff_tensor src[2] = { x, weight };
    return tf_add(x.graph, &tf_op_conv_transpose, src, 2, desc ? desc : &(tuff_conv_transpose_desc){ 0 });
}

/* ---- the anchor ---------------------------------------------------------------------------------- */

static bool anchor_infer(tf_infer *c)
{
    const tf_conv_desc *d = c->desc;
    const tf_type *x = c->type[0], *w = c->type[1];
    if (x->rank != 5 || w->rank != 5 || x->dtype != TUFF_F32 || w->dtype != TUFF_F32)
        return tf_bad(c, TUFF_E_SHAPE, "x and weight are f32 of rank 5 (%s; %s)", tf_src_text(c, 0), tf_src_text(c, 1));
    if (d->groups < 1 || d->out.rank != 3 || d->stride.n != 3 || d->padding.n != 3 || d->dilation.n != 3 || w->dim[0] % d->groups ||
        w->dim[1] * d->groups != x->dim[1])
        return tf_bad(c, TUFF_E_ATTRIBUTE, "three spatial axes have a stride, a padding and a dilation each, and groups divides the channels");
    if ((d->flipped || d->wrapped) && (!all_are(&d->stride, 1) || !all_are(&d->dilation, 1) || (d->wrapped && (!d->flipped || x->dim[4] % 4))))
        return tf_bad(c, TUFF_E_ATTRIBUTE, "flipped weights have strides and dilations of 1; periodic rows are multiples of 4 and go with them");
    c->out[0] = *x;
    c->out[0].dim[1] = w->dim[0];
    memcpy(c->out[0].dim + 2, d->out.dim, 3 * sizeof *d->out.dim);
    return true;
}

static tuff_status anchor_reference(tf_ref *r)
{
    const tf_conv_desc *d = r->desc;
    const tuff_conv_desc whole = { .stride = d->stride, .padding = d->padding, .padding_end = d->padding, .dilation = d->dilation, .groups = d->groups,
                                   .mode = d->wrapped ? TUFF_CONV_WRAP : TUFF_CONV_ZERO };
    return conv_sum(r, &whole, d->flipped);
}

/* Registers: a tile of at most 16 vectors; many channels of one input first, then rows that share inputs. */
static void tile(const tf_kernel_build *k, int64_t og, int64_t oh, int64_t ow, const tf_conv_desc *d, int64_t kh, uint32_t *ob, uint32_t *rt, uint32_t *nv)
{
    const bool shares_rows = kh > 1 && d->stride.v[1] == 1 && d->dilation.v[1] == 1;
    *ob = og >= 4 ? 4 : og >= 2 ? 2 : 1;
    *nv = k->limits->cpu && ow > 4 ? 2 : 1;
    *rt = *ob == 1 && shares_rows && oh > 1 ? (kh <= 3 && oh > 2 ? 4 : 2) : 1;
}

static bool configure(tf_kernel_build *k)
{
    const tf_conv_desc *d = k->desc;
    const tf_type *x = k->src[0], *w = k->src[1], *y = &k->out[0];
    const int64_t og = w->dim[0] / d->groups, kw = w->dim[4], kp = (kw + 3) / 4 * 4, zw = d->padding.v[2] + (d->flipped ? kp - kw : 0), offset = (zw + 3) / 4 * 4;
    const bool sliding = d->flipped || (kw > VECTOR_TAPS && d->stride.v[2] == 1 && d->dilation.v[2] == 1);
    uint32_t ob = 1, rt = 1, nv = k->limits->cpu && tf_dim_bound(k->g, y->dim[4]) > 8 ? 8 : 1;
    if (!sliding) tile(k, og, tf_dim_bound(k->g, y->dim[3]), tf_dim_bound(k->g, y->dim[4]), d, w->dim[3], &ob, &rt, &nv);
    const int64_t columns = d->stride.v[2] * (4 * nv - 1) + ((sliding ? 4 : kw) - 1) * d->dilation.v[2] + offset - zw + 1, blocks = (columns + 3) / 4;
    const bool vector = sliding || (blocks <= 8 && kw <= VECTOR_TAPS);
    const bool rows = vector && w->dim[3] <= 7 && w->dim[3] * kw * rt <= 56 && ob == 1;
    const uint32_t wg = k->limits->cpu ? 16 : 64;
    static const char axis[] = "DHW";
    for (int i = 0; i < 3; i++) {
        char name[] = "SD", dim[] = "ID";
        dim[1] = name[1] = axis[i];
        tf_define(k, name, "%lld", (long long)d->stride.v[i]);
        name[0] = 'D';
        tf_define(k, name, "%lld", (long long)d->dilation.v[i]);
        name[0] = 'Z';
        tf_define(k, name, "%lld", (long long)(i == 2 ? zw : d->padding.v[i]));
        name[0] = 'K';
        tf_define(k, name, "%lld", (long long)w->dim[2 + i]);
        tf_define_dim(k, dim, x->dim[2 + i]);
        dim[0] = 'O';
        tf_define_dim(k, dim, y->dim[2 + i]);
    }
    tf_define_dim(k, "BATCH", x->dim[0]);
    tf_define(k, "GROUPS", "%d", (int)d->groups);
    tf_define(k, "CG", "%lld", (long long)w->dim[1]);
    tf_define(k, "OG", "%lld", (long long)og);
    tf_define(k, "OB", "%u", ob);
    tf_define(k, "RT", "%u", rt);
    tf_define(k, "NV", "%u", nv);
    tf_define(k, "NB", "%lld", (long long)blocks);
    tf_define(k, "OFFSET", "%lld", (long long)offset);
    tf_define(k, "KP", "%lld", (long long)kp);
    tf_define(k, "SLIDING", "%d", sliding);
    tf_define(k, "FLIPPED", "%d", d->flipped);
    tf_define(k, "WRAPPED", "%d", d->wrapped);
    tf_define(k, "VECTOR", "%d", vector && !sliding);
    tf_define(k, "WGSIZE", "%u", wg);
    tf_define(k, "ROWS_LOOP", "%s", rows ? "[[unroll]]" : "[[dont_unroll]]");
    tf_define(k, "TAPS_LOOP", "%s", vector ? "[[unroll]]" : "[[dont_unroll]]");
    int64_t work = tf_dim_bin(k->g, TUFF_DIM_MUL, y->dim[0], d->groups * ((og + ob - 1) / ob));
    work = tf_dim_bin(k->g, TUFF_DIM_MUL, work, y->dim[2]);
    work = tf_dim_bin(k->g, TUFF_DIM_MUL, work, tf_dim_ceildiv(k->g, y->dim[3], rt));
    work = tf_dim_bin(k->g, TUFF_DIM_MUL, work, tf_dim_ceildiv(k->g, y->dim[4], 4 * nv));
    k->source = tf_shader_text("anchors/conv.glsl");
    k->algorithm = sliding ? "columns over a moving window per invocation" : ob > 1 ? "tile of channels and columns per invocation" : "tile of rows and columns per invocation";
    k->local[0] = wg;
    k->local[1] = k->local[2] = 1;
    k->groups = tf_dim_ceildiv(k->g, work, wg);
    tf_count_bound(k->g, y, &k->flops);
    k->flops *= 2 * (uint64_t)tf_dim_product(k->g, w->dim, 1, 5);
    k->loads[0] = (tf_hook){ .name = "x", .widths = vector ? 4 : 1, .reread = 255 };
    k->loads[1] = (tf_hook){ .name = "w", .widths = sliding ? 4 : 1, .reread = 255, .uniform = sliding };
    k->stores[0] = (tf_hook){ .name = "y", .widths = 4 };
    return true;
}

static const tf_attr anchor_attrs[] = {
    TF_A(tf_conv_desc, groups, TF_ATTR_INT, "separate convolutions", .required = true),
    TF_A(tf_conv_desc, stride, TF_ATTR_INTS, "of three axes", .required = true),
    TF_A(tf_conv_desc, padding, TF_ATTR_INTS, "before three axes", .required = true),
    TF_A(tf_conv_desc, dilation, TF_ATTR_INTS, "of three axes", .required = true),
    TF_A(tf_conv_desc, out, TF_ATTR_SHAPE, "spatial dims of the result", .required = true),
    TF_A(tf_conv_desc, flipped, TF_ATTR_BOOL, "the weights count from the end"),
    TF_A(tf_conv_desc, wrapped, TF_ATTR_BOOL, "x is periodic"),
};
static const tf_anchor conv_anchor = {
    .name = "conv", .loads = { { .name = "x", .widths = 5, .reread = 255 }, { .name = "w", .widths = 5, .reread = 255 } },
    .stores = { { .name = "y", .widths = 4 } }, .configure = configure,
};
const tf_op tf_op_anchor_conv = {
    .name = "_conv", .doc = "x[n,c,d,h,w], weight[o,c/groups,kd,kh,kw] -> y[n,o,out..]", .operands = "x weight", .kind = TF_ANCHOR, .internal = true,
    .attrs = anchor_attrs, .attr_count = TF_COUNT(anchor_attrs), .desc_size = sizeof(tf_conv_desc), .infer = anchor_infer,
    .reference = anchor_reference, .anchor = &conv_anchor, .rel = 8,
};
