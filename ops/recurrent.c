/* recurrent.c - gated recurrent units and the routers made of them. The anchor _gru keeps the state in shared memory over all
 * steps; the products with the inputs are one matmul before it. */
#include "anchors.h"

#include <math.h>
#include <string.h>

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

/* ---- _gru ------------------------------------------------------------------------------------------ */

typedef struct cell_desc {
    tuff_gru_order order;
    tuff_tensor h0;
} cell_desc;
enum { GI, WH, BH, START };

static bool cell_infer(tf_infer *c)
{
    const tf_type *gi = c->type[GI], *wh = c->type[WH];
    if (gi->rank != 3 || wh->rank != 2 || tf_dim_is_dynamic(wh->dim[1]))
        return tf_bad(c, TUFF_E_SHAPE, "gi is [t, b, 3 h], wh [3 h, h] of fixed size (%s, %s)", tf_src_text(c, GI), tf_src_text(c, WH));
    c->out[0] = (tf_type){ .dtype = TUFF_F32, .rank = 3, .dim = { gi->dim[0], gi->dim[1], wh->dim[1] } };
    return true;
}

static tuff_status cell_reference(tf_ref *r)
{
    const tf_ref_tensor *gi = r->src[GI], *wh = r->src[WH], *bh = r->src[BH], *h0 = r->src[START];
    const uint64_t steps = (uint64_t)gi->dim[0], nb = (uint64_t)gi->dim[1], n = (uint64_t)wh->dim[1];
    const uint64_t gr = ((const cell_desc *)r->desc)->order == TUFF_GRU_ZRN ? n : 0, gz = n - gr;
    for (uint64_t t = 0; t < steps; t++)
        for (uint64_t b = 0; b < nb; b++)
            for (uint64_t j = 0; j < n; j++) {
                const double *before = t ? &r->out[0].re[((t - 1) * nb + b) * n] : h0 ? &h0->re[b * n] : NULL, *x = &gi->re[(t * nb + b) * 3 * n];
                double a[3] = { bh->re[gr + j], bh->re[gz + j], bh->re[2 * n + j] };
                for (uint64_t k = 0; before && k < n; k++) {
                    a[0] += wh->re[(gr + j) * n + k] * before[k];
                    a[1] += wh->re[(gz + j) * n + k] * before[k];
                    a[2] += wh->re[(2 * n + j) * n + k] * before[k];
                }
                const double reset = sigmoid(x[gr + j] + a[0]), z = sigmoid(x[gz + j] + a[1]), m = tanh(x[2 * n + j] + reset * a[2]);
                r->out[0].re[(t * nb + b) * n + j] = (1 - z) * m + (before ? z * before[j] : 0);
            }
    return TUFF_OK;
}

static bool cell_configure(tf_kernel_build *k)
{
    const int64_t n = k->src[WH]->dim[1], padded = (n + 3) / 4 * 4;
    const uint32_t wg = TF_MIN(tf_pow2_ceil((uint64_t)n), TF_MIN(k->limits->max_invocations, 128u));
    tf_define(k, "H", "%lldu", (long long)n);
    tf_define(k, "HP", "%lldu", (long long)padded);
    tf_define(k, "WGSIZE", "%uu", wg);
    tf_define(k, "START", "%d", k->src[START] != NULL);
    tf_define(k, "GATE_R", "%s", ((const cell_desc *)k->desc)->order == TUFF_GRU_ZRN ? "1u" : "0u");
    tf_define(k, "GATE_Z", "%s", ((const cell_desc *)k->desc)->order == TUFF_GRU_ZRN ? "0u" : "1u");
    tf_define_dim(k, "STEPS", k->src[GI]->dim[0]);
    k->source = tf_shader_text("anchors/gru.glsl");
    k->algorithm = "batch entry per workgroup";
    k->local[0] = wg;
    k->local[1] = k->local[2] = 1;
    k->groups = k->src[GI]->dim[1];
    k->shared_bytes = (uint32_t)padded * 8;
    tf_count_bound(k->g, k->src[GI], &k->flops);
    k->flops *= 2 * (uint64_t)n;
    k->loads[GI] = (tf_hook){ .name = "gi", .widths = 1 };
    k->loads[WH] = (tf_hook){ .name = "wh", .widths = 4, .reread = 255 };
    k->loads[BH] = (tf_hook){ .name = "bh", .widths = 1, .reread = 255 };
    k->loads[START] = (tf_hook){ .name = "h0", .widths = 1 };
    k->stores[0] = (tf_hook){ .name = "y", .widths = 1 };
    return true;
}

static const char *const orders[] = { "rzn", "zrn", NULL };
static const tf_attr cell_attrs[] = {
    TF_A(cell_desc, h0, TF_ATTR_TENSOR, "[b,h]: the state before the first step"),
    TF_A(cell_desc, order, TF_ATTR_ENUM, "of the gates in the rows of gi, wh, bh", .choices = orders),
};
static const tf_anchor cell_anchor = {
    .name = "gru", .loads = { { "gi", 1, 0, false }, { "wh", 4, 255, false }, { "bh", 1, 255, false }, { "h0", 1, 0, false } }, .stores = { { "y", 1, 0, false } }, .configure = cell_configure,
};
const tf_op tf_op_gru_anchor = {
    .name = "_gru", .doc = "gi[t,b,3 h], wh[3 h,h], bh[3 h] -> h[t,b,h]", .operands = "gi wh bh", .kind = TF_ANCHOR, .internal = true, .attrs = cell_attrs,
    .attr_count = TF_COUNT(cell_attrs), .desc_size = sizeof(cell_desc), .infer = cell_infer, .reference = cell_reference, .anchor = &cell_anchor, .rel = 64,
};

/* ---- gru ------------------------------------------------------------------------------------------- */

enum { X, WI, WH_, BI, BH_, H0 };

static bool gru_infer(tf_infer *c)
{
    const tf_type *x = c->type[X], *wh = c->type[WH_];
    for (uint32_t i = 0; i < c->n_src; i++)
        if (!tf_infer_single(c, i))
            return false;
    if (x->rank != 3 || wh->rank != 2)
        return tf_bad(c, TUFF_E_SHAPE, "x needs rank 3, Wh rank 2 (%s, %s)", tf_src_text(c, X), tf_src_text(c, WH_));
    const int64_t n = wh->dim[1];
    if (tf_dim_is_dynamic(n) || n < 1 || n > 2044)
        return tf_bad(c, TUFF_E_LIMIT, "Wh has %s units; there are 1 to 2044 (%s)", tf_dim_text(c->g, n), tf_src_text(c, WH_));
    const int64_t three = 3 * n;
    c->out[0] = (tf_type){ .dtype = x->dtype, .rank = 3, .dim = { x->dim[0], x->dim[1], n } };
    return tf_infer_dims(c, WI, 2, (int64_t[]){ three, x->dim[2] }) && tf_infer_dims(c, WH_, 2, (int64_t[]){ three, n }) && tf_infer_dims(c, BI, 1, &three) && tf_infer_dims(c, BH_, 1, &three) &&
           tf_infer_dims(c, H0, 2, (int64_t[]){ x->dim[1], n });
}

static tuff_status gru_reference(tf_ref *r)
{
    const tf_ref_tensor *x = r->src[X], *wi = r->src[WI];
    const uint64_t n = (uint64_t)r->src[WH_]->dim[1], in = (uint64_t)x->dim[2], rows = (uint64_t)(x->dim[0] * x->dim[1]);
    tf_ref_tensor gi = { .dtype = TUFF_F32, .rank = 3, .dim = { x->dim[0], x->dim[1], (int64_t)(3 * n) }, .n = rows * 3 * n };
    if (!(gi.re = tf_arena_array(r->scratch, double, (size_t)gi.n + 1)))
        return TUFF_E_MEMORY;
    for (uint64_t i = 0; i < gi.n; i++) {
        gi.re[i] = r->src[BI]->re[i % (3 * n)];
        for (uint64_t k = 0; k < in; k++)
            gi.re[i] += wi->re[i % (3 * n) * in + k] * x->re[i / (3 * n) * in + k];
    }
    const tf_ref_tensor *const src[] = { &gi, r->src[WH_], r->src[BH_], r->n_src > H0 ? r->src[H0] : NULL };
    const cell_desc d = { .order = ((const tuff_gru_desc *)r->desc)->gate_order };
    tf_ref cell = *r;
    cell.src = src;
    cell.n_src = 4;
    cell.desc = &d;
    return cell_reference(&cell);
}

/* The states of all steps, in as many kernels as the loops of some CPU drivers allow. */
static tuff_tensor run_cells(tf_lower *l, tuff_tensor gi, tuff_tensor wh, tuff_tensor bh, cell_desc d)
{
    tuff_tensor parts[TF_MAX_OPERANDS];
    const int64_t n = tf_ty(wh)->dim[1], steps = tf_dim_bound(l->g, tf_ty(gi)->dim[0]), trips = (n + 127) / 128 * (3 * n / 4 + 4);
    const int64_t most = TF_MAX(l->limits->cpu ? TF_CPU_TRIPS / trips : INT32_MAX, (steps + TF_MAX_OPERANDS - 1) / TF_MAX_OPERANDS);
    if (steps <= most)
        return tf_add(l->g, &tf_op_gru_anchor, (tuff_tensor[]){ gi, wh, bh }, 3, &d);
    uint32_t count = 0;
    for (int64_t at = 0; at < steps; at += most) {
        const tuff_ints first = TUFF_INTS(0);
        const tuff_tensor part = tuff_slice(gi, TUFF_INTS(at), TUFF_INTS(TF_MIN(at + most, steps)), NULL);
        parts[count] = tf_add(l->g, &tf_op_gru_anchor, (tuff_tensor[]){ part, wh, bh }, 3, &d);
        const tuff_tensor last = tuff_slice(parts[count], TUFF_INTS(-1), TUFF_INTS(TUFF_END), &(tuff_slice_desc){ .axes = first });
        d.h0 = tuff_squeeze(last, &(tuff_squeeze_desc){ .axes = first });
        count++;
    }
    return tuff_concat(parts, count, 0);
}

static void gru_lower(tf_lower *l)
{
    const tuff_gru_desc *o = l->desc;
    const tuff_tensor *s = l->src;
    const tf_type *x = tf_ty(s[X]);
    const int64_t rows = tf_dim_bin(l->g, TUFF_DIM_MUL, x->dim[0], x->dim[1]), n3 = tf_ty(s[WI])->dim[0];
    const tuff_tensor flat = tf_reshaped(tf_widened(s[X]), 2, (int64_t[]){ rows, x->dim[2] });
    tuff_tensor gi = tuff_add(tuff_matmul(flat, tf_widened(s[WI]), &(tuff_matmul_desc){ .transpose_b = true }), tf_widened(s[BI]));
    gi = tf_reshaped(gi, 3, (int64_t[]){ x->dim[0], x->dim[1], n3 });
    const tuff_tensor y = run_cells(l, gi, tf_widened(s[WH_]), tf_widened(s[BH_]), (cell_desc){ .order = o->gate_order, .h0 = tf_widened(s[H0]) });
    if (y.id)
        l->out[0] = tf_cast_to(y, l->out_type->dtype);
}

static const tf_attr gru_attrs[] = {
    TF_A(tuff_gru_desc, h0, TF_ATTR_TENSOR, "[b,h]: the state before the first step; absent: 0"),
    TF_A(tuff_gru_desc, gate_order, TF_ATTR_ENUM, "of the gates in the rows of the weights: reset, update, new", .choices = orders),
};
const tf_op tf_op_gru = {
    .name = "gru", .doc = "gated recurrent units over x[t,b,i], Wi[3 h,i], Wh[3 h,h], bi[3 h], bh[3 h] -> h[t,b,h]; n = tanh(Wi x + bi + r (Wh h + bh))",
    .source = "Cho et al. 2014, arXiv 1406.1078", .operands = "x Wi Wh bi bh", .results = "h", .kind = TF_COMPOSITE, .attrs = gru_attrs,
    .attr_count = TF_COUNT(gru_attrs), .desc_size = sizeof(tuff_gru_desc), .infer = gru_infer, .lower = gru_lower, .reference = gru_reference, .rel = 64,
};
tuff_tensor tuff_gru(tuff_tensor x, tuff_tensor Wi, tuff_tensor Wh, tuff_tensor bi, tuff_tensor bh, const tuff_gru_desc *desc)
{
    return tf_add(x.graph, &tf_op_gru, (tuff_tensor[]){ x, Wi, Wh, bi, bh }, 5, desc);
}
