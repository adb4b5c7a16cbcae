/* hadamard.c - the fast Walsh-Hadamard transform.
 *
 * The matrix of n = r * m rows is the Kronecker product of those of r and m rows, so the transform is a chain of butterflies over
 * groups of at most 16 elements in registers, each step one pass over memory. */
#include "anchors.h"

#include <math.h>
#include <string.h>

typedef struct hadamard_desc { int32_t axis; bool unscaled; } hadamard_desc;
typedef struct step_desc { float scale; } step_desc;

static bool infer(tf_infer *c)
{
    hadamard_desc *d = c->mut;
    const tf_type *x = c->type[0];
    if (!tf_infer_single(c, 0))
        return false;
    if (!tf_axis(c, d->axis, x->rank, &d->axis))
        return false;
    const int64_t n = x->dim[d->axis];
    if (n < 1 || (n & (n - 1)))
        return tf_bad(c, TUFF_E_SHAPE, "axis %d has the size %s; it is a power of two (%s)", (int)d->axis, tf_dim_text(c->g, n), tf_src_text(c, 0));
    c->out[0] = *x;
    return true;
}

static bool negative(uint64_t bits)
{
    bool odd = false;
    for (; bits; bits &= bits - 1)
        odd = !odd;
    return odd;
}

static tuff_status reference(tf_ref *r)
{
    const hadamard_desc *d = r->desc;
    const tf_ref_tensor *x = r->src[0];
    const uint64_t n = (uint64_t)x->dim[d->axis];
    uint64_t stride = 1;
    for (int32_t a = d->axis + 1; a < x->rank; a++)
        stride *= (uint64_t)x->dim[a];
    for (uint64_t i = 0; i < x->n; i++) {
        const uint64_t place = i / stride % n, row = i - place * stride;
        double sum = 0;
        for (uint64_t j = 0; j < n; j++)
            sum += negative(place & j) ? -x->re[row + j * stride] : x->re[row + j * stride];
        r->out[0].re[i] = d->unscaled ? sum : sum / sqrt((double)n);
    }
    return TUFF_OK;
}

static void lower(tf_lower *l)
{
    const hadamard_desc *d = l->desc;
    const tf_type *t = l->out_type;
    const int64_t n = t->dim[d->axis];
    int64_t outer = tf_dim_product(l->g, t->dim, 0, d->axis), inner = tf_dim_product(l->g, t->dim, d->axis + 1, t->rank), left = n;
    tuff_tensor x = tf_widened(l->src[0]);
    while (left > 1 && x.id) { /* the fastest part of the axis first */
        const int64_t radix = left % 16 == 0 ? 16 : left;
        left /= radix;
        const float scale = left == 1 && !d->unscaled ? (float)(1 / sqrt((double)n)) : 1;
        const tuff_tensor v = tf_reshaped(x, inner == 1 ? 2 : 3, (int64_t[3]){ tf_dim_bin(l->g, TUFF_DIM_MUL, outer, left), radix, inner });
        x = tf_add(l->g, &tf_op_anchor_hadamard, &v, 1, &(step_desc){ scale });
        inner = tf_dim_bin(l->g, TUFF_DIM_MUL, inner, radix);
    }
    if (x.id)
        l->out[0] = tf_cast_to(tf_reshaped(x, t->rank, t->dim), t->dtype);
}

static const tf_attr attrs[] = {
    TF_A(hadamard_desc, axis, TF_ATTR_INT, "the axis to transform, a power of two", .required = true),
    TF_A(hadamard_desc, unscaled, TF_ATTR_BOOL, "do not divide by sqrt(n)"),
};
const tf_op tf_op_hadamard = {
    .name = "hadamard", .doc = "Walsh-Hadamard transform along axis, y[i] = sum of (-1)^popcount(i & j) x[j], divided by sqrt(n)", .operands = "x",
    .kind = TF_COMPOSITE, .attrs = attrs, .attr_count = TF_COUNT(attrs), .desc_size = sizeof(hadamard_desc), .classes = TF_CLS_FLOAT, .infer = infer,
    .lower = lower, .reference = reference, .rel = 4,
};
tuff_tensor tuff_hadamard(tuff_tensor x, int32_t axis, const tuff_hadamard_desc *desc)
{
    return tf_add(x.graph, &tf_op_hadamard, &x, 1, &(hadamard_desc){ axis, desc && desc->unscaled });
}

/* ---- the anchor ---------------------------------------------------------------------------------- */

static bool step_infer(tf_infer *c)
{
    const tf_type *x = c->type[0];
    if (x->rank < 2 || x->rank > 3 || x->dtype != TUFF_F32 || x->dim[1] < 2 || x->dim[1] > 16 || (x->dim[1] & (x->dim[1] - 1)))
        return tf_bad(c, TUFF_E_SHAPE, "x is f32 [outer, 2 to 16, inner], the last dim may be missing (%s)", tf_src_text(c, 0));
    c->out[0] = *x;
    return true;
}

static tuff_status step_reference(tf_ref *r)
{
    const step_desc *d = r->desc;
    const tf_ref_tensor *x = r->src[0];
    const uint64_t n = (uint64_t)x->dim[1], stride = x->rank == 3 ? (uint64_t)x->dim[2] : 1;
    for (uint64_t i = 0; i < x->n; i++) {
        const uint64_t place = i / stride % n;
        double sum = 0;
        for (uint64_t j = 0; j < n; j++)
            sum += (negative(place & j) ? -1 : 1) * x->re[i - place * stride + j * stride];
        r->out[0].re[i] = sum * (double)d->scale;
    }
    return TUFF_OK;
}

static bool configure(tf_kernel_build *k)
{
    const step_desc *d = k->desc;
    const tf_type *x = k->src[0];
    const int64_t inner = x->rank == 3 ? x->dim[2] : 1;
    const int width = x->rank == 2 ? (x->dim[1] % 4 ? 2 : 0) : tf_dim_bound(k->g, inner) >= 4 ? 4 : 1;
    const int64_t vectors = width == 4 ? tf_dim_ceildiv(k->g, inner, 4) : inner;
    const int64_t work = tf_dim_bin(k->g, TUFF_DIM_MUL, x->dim[0], vectors);
    const uint32_t wg = tf_row_group(k->limits, tf_dim_bound(k->g, work));
    tf_define(k, "WIDTH", "%d", width);
    tf_define(k, "RADIX", "%lldu", (long long)x->dim[1]);
    tf_define(k, "STEPS", "%d", x->dim[1] == 2 ? 1 : x->dim[1] == 4 ? 2 : x->dim[1] == 8 ? 3 : 4);
    tf_define(k, "SCALE", "%.9g", (double)d->scale);
    tf_define(k, "WGSIZE", "%u", wg);
    tf_define_dim(k, "OUTER", x->dim[0]);
    tf_define_dim(k, "VECTORS", vectors);
    k->source = tf_shader_text("anchors/hadamard.glsl");
    k->algorithm = "butterflies in registers";
    k->local[0] = wg;
    k->local[1] = k->local[2] = 1;
    k->groups = tf_dim_ceildiv(k->g, work, wg);
    tf_count_bound(k->g, x, &k->flops);
    k->flops *= 4;
    k->loads[0] = (tf_hook){ .name = "x", .widths = width == 1 || width == 2 ? 1 : 4 };
    k->stores[0] = (tf_hook){ .name = "y", .widths = width == 1 || width == 2 ? 1 : 4 };
    return true;
}

static const tf_attr step_attrs[] = { TF_A(step_desc, scale, TF_ATTR_FLOAT, "factor of the result") };
static const tf_anchor anchor = { .name = "hadamard", .loads = { { .name = "x", .widths = 5 } }, .stores = { { .name = "y", .widths = 5 } }, .configure = configure };
const tf_op tf_op_anchor_hadamard = {
    .name = "_hadamard", .doc = "x[outer,r] or x[outer,r,inner] -> y alike, transformed along r", .operands = "x", .kind = TF_ANCHOR, .internal = true, .attrs = step_attrs,
    .attr_count = TF_COUNT(step_attrs), .desc_size = sizeof(step_desc), .infer = step_infer, .reference = step_reference, .anchor = &anchor, .rel = 4,
};
