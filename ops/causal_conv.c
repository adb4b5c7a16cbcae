/* causal_conv.c - long convolutions of state-space layers: causal, or to both sides with a kernel each, and the skip d u.
 *
 * Causal: fft_conv, with the kernel cut to the input's length. Both sides: one circular convolution of the packed pair, on a period
 * with small factors that is long enough for nothing to wrap. What follows (activations, gates) fuses into its last kernel. */
#include "anchors.h"

typedef tuff_causal_conv_desc conv_desc;

static bool infer(tf_infer *c)
{
    const conv_desc *d = c->desc;
    const tf_type *u = c->type[0], *k = c->type[1], *skip = c->type[2];
    const int32_t first = d->bidirectional ? 1 : 0;
    if (u->dtype != TUFF_F32 && u->dtype != TUFF_F16 && u->dtype != TUFF_BF16)
        return tf_bad(c, TUFF_E_DTYPE, "%s is not among its dtypes: f32 f16 bf16 (%s)", tuff_dtype_name(u->dtype), tf_src_text(c, 0));
    if (u->rank < 2 || tf_dim_is_dynamic(u->dim[u->rank - 1]) || tf_dim_is_dynamic(u->dim[u->rank - 2]))
        return tf_bad(c, TUFF_E_SHAPE, "u is [...,h,length] with fixed h and length (%s)", tf_src_text(c, 0));
    if (k->dtype != TUFF_F32 || k->rank != 2 + first || !tf_type_is_static(k) || k->dim[first] != u->dim[u->rank - 2] || k->dim[first + 1] < 1 || (first && k->dim[0] != 2))
        return tf_bad(c, TUFF_E_SHAPE, "the kernel is f32[%sh,m] with u's h and m >= 1 (%s; %s)", first ? "2," : "", tf_src_text(c, 1), tf_src_text(c, 0));
    if (skip && (skip->dtype != TUFF_F32 || skip->rank != 1 || skip->dim[0] != u->dim[u->rank - 2]))
        return tf_bad(c, TUFF_E_SHAPE, "d is f32[h] (%s)", tf_src_text(c, 2));
    c->out[0] = *u;
    return true;
}

static tuff_status reference(tf_ref *r)
{
    const conv_desc *d = r->desc;
    const tf_ref_tensor *u = r->src[0], *k = r->src[1], *skip = r->src[2];
    const int64_t h = u->dim[u->rank - 2], n = u->dim[u->rank - 1], m = k->dim[k->rank - 1];
    for (uint64_t row = 0; n && row < u->n / (uint64_t)n; row++) {
        const double *x = u->re + row * (uint64_t)n, *k0 = k->re + row % (uint64_t)h * (uint64_t)m, *k1 = k0 + h * m;
        for (int64_t t = 0; t < n; t++) {
            double sum = skip ? skip->re[row % (uint64_t)h] * x[t] : 0;
            for (int64_t j = 0; j < m && j <= t; j++)
                sum += k0[j] * x[t - j];
            for (int64_t j = 0; d->bidirectional && j < m && t + 1 + j < n; j++)
                sum += k1[j] * x[t + 1 + j];
            r->out[0].re[row * (uint64_t)n + (uint64_t)t] = sum;
        }
    }
    return TUFF_OK;
}

/* The least product of 2, 3 and 5 that is not below n. */
static int64_t smooth(int64_t n)
{
    for (;; n++) {
        int64_t rest = n;
        for (int64_t p = 2; p <= 5; p++)
            while (rest % p == 0)
                rest /= p;
        if (rest == 1)
            return n;
    }
}

/* Elements [0, n) of the last axis, of row `row` of the first where row >= 0. */
static tuff_tensor cut(tuff_tensor k, int64_t row, int64_t n)
{
    const int32_t last = tf_ty(k)->rank - 1;
    if (row < 0 && tf_ty(k)->dim[last] == n) /* a constant stays one */
        return k;
    if (row < 0)
        return tuff_slice(k, TUFF_INTS(0), TUFF_INTS(n), &(tuff_slice_desc){ .axes = TUFF_INTS(last) });
    const tuff_tensor one = tuff_slice(k, TUFF_INTS(row, 0), TUFF_INTS(row + 1, n), &(tuff_slice_desc){ .axes = TUFF_INTS(0, last) });
    return tuff_squeeze(one, &(tuff_squeeze_desc){ TUFF_INTS(0) });
}

static tuff_tensor both_sides(tuff_tensor u, tuff_tensor k, int64_t n, int64_t m)
{
    const int32_t rank = tf_ty(u)->rank;
    const int64_t period = smooth(n + m);
    tuff_ints zero = { rank, { 0 } }, after = { rank, { 0 } };
    after.v[rank - 1] = period - n;
    const tuff_tensor future = tuff_flip(cut(k, 1, m), TUFF_INTS(1));
    const tuff_tensor past = tuff_pad(cut(k, 0, m), TUFF_INTS(0, 0), TUFF_INTS(0, period - 2 * m), NULL);
    const tuff_tensor y = tuff_fft_conv(tuff_pad(u, zero, after, NULL), tuff_concat((tuff_tensor[]){ past, future }, 2, 1),
                                        &(tuff_fft_conv_desc){ .mode = TUFF_CONV_CIRCULAR });
    return cut(y, -1, n);
}

static void lower(tf_lower *l)
{
    const conv_desc *d = l->desc;
    const tuff_tensor u = tf_widened(l->src[0]), k = l->src[1];
    if (!u.id || !k.id)
        return;
    const tf_type *t = tf_ty(u);
    const int64_t n = t->dim[t->rank - 1], m = TF_MIN(tf_ty(k)->dim[tf_ty(k)->rank - 1], n);
    tuff_tensor y = u; /* without elements */
    if (n > 0)
        y = d->bidirectional ? both_sides(u, k, n, m) : tuff_fft_conv(u, cut(k, -1, m), &(tuff_fft_conv_desc){ .mode = TUFF_CONV_CAUSAL });
    if (l->n_src > 2 && l->src[2].id)
        y = tuff_add(y, tuff_mul(u, tuff_unsqueeze(l->src[2], TUFF_INTS(1))));
    if (y.id)
        l->out[0] = tf_cast_to(y, l->out_type->dtype);
}

static const tf_attr attrs[] = {
    TF_A(conv_desc, d, TF_ATTR_TENSOR, "f32[h]: adds d u; absent: 0"),
    TF_A(conv_desc, bidirectional, TF_ATTR_BOOL, "k is [2,h,m]: k[0] causal, k[1] over what comes strictly after"),
};
const tf_op tf_op_causal_conv = {
    .name = "causal_conv", .doc = "u[...,h,n], k[h,m] -> y[...,h,n], y_t = sum_j k_j u_{t-j} + d u_t; m may be below or above n",
    .source = "arXiv:2111.00396", .operands = "u k", .kind = TF_COMPOSITE, .attrs = attrs, .attr_count = TF_COUNT(attrs), .desc_size = sizeof(conv_desc),
    .infer = infer, .lower = lower, .reference = reference, .rel = 32,
};
tuff_tensor tuff_causal_conv(tuff_tensor u, tuff_tensor k, const tuff_causal_conv_desc *desc)
{
    return tf_add(NULL, &tf_op_causal_conv, (tuff_tensor[]){ u, k }, 2, desc);
}
