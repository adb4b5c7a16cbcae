/* anchors.c - bringing any axes into the few dims an anchor knows, and small helpers of the anchors' configure
 * functions. Everything here is views and casts, which fuse into the anchors' hooks. */
#include "anchors.h"

#include <math.h>
#include <string.h>

const tf_type *tf_ty(tuff_tensor x)
{
    static const tf_type none = { .dtype = TUFF_F32 };
    return x.graph && x.id && x.id <= x.graph->values.n ? tf_type_of(x.graph, x.id) : &none; /* users' handles come here, too */
}

tuff_tensor tf_reshaped(tuff_tensor x, int32_t rank, const int64_t *d)
{
    const tf_type *t = tf_ty(x);
    bool same = t->rank == rank;
    for (int32_t i = 0; same && i < rank; i++)
        same = tf_dim_equal(t->dim[i], d[i]);
    if (same)
        return x;
    tuff_shape s = { .rank = rank };
    for (int32_t i = 0; i < rank; i++)
        s.dim[i] = d[i];
    return tuff_reshape(x, s);
}

double tf_softplus(double x) { return fmax(x, 0) + log1p(exp(-fabs(x))); }

tuff_tensor tf_cast_to(tuff_tensor x, tuff_dtype dtype)
{
    return tf_ty(x)->dtype == dtype ? x : tuff_cast(x, dtype);
}

tuff_tensor tf_widened(tuff_tensor x)
{
    const tuff_dtype t = tf_ty(x)->dtype;
    return t == TUFF_F16 || t == TUFF_BF16 ? tuff_cast(x, TUFF_F32) : x;
}

static tuff_tensor permuted(tuff_tensor x, tuff_ints axes)
{
    bool same = true;
    for (int32_t i = 0; i < axes.n; i++)
        same = same && axes.v[i] == i;
    return same ? x : tuff_permute(x, axes);
}

tuff_tensor tf_as_rows(tuff_tensor x, int32_t axis)
{
    const tf_type t = *tf_ty(x);
    if (!x.id)
        return x;
    tuff_ints order = { .n = t.rank };
    int32_t n = 0;
    for (int32_t i = 0; i < t.rank; i++)
        if (i != axis)
            order.v[n++] = i;
    order.v[n] = axis;
    const tuff_tensor p = permuted(x, order);
    const int64_t d[2] = { tf_dim_product(x.graph, tf_ty(p)->dim, 0, t.rank - 1), t.dim[axis] };
    return tf_reshaped(p, 2, d);
}

tuff_tensor tf_from_rows(tuff_tensor rows, const tf_type *like, int32_t axis)
{
    tf_type moved = { .rank = like->rank };
    tuff_ints order = { .n = like->rank };
    int32_t n = 0;
    for (int32_t i = 0; i < like->rank; i++)
        if (i != axis) {
            order.v[i] = n;
            moved.dim[n++] = like->dim[i];
        }
    order.v[axis] = n;
    moved.dim[n] = like->dim[axis];
    return rows.id ? permuted(tf_reshaped(rows, like->rank, moved.dim), order) : rows;
}

bool tf_axes_mask(tf_infer *c, tuff_ints *axes, int32_t rank, uint32_t *mask)
{
    *mask = 0;
    for (int32_t i = 0; i < axes->n; i++) {
        int32_t a;
        if (!tf_axis(c, axes->v[i], rank, &a))
            return false;
        if (*mask >> a & 1)
            return tf_bad(c, TUFF_E_ATTRIBUTE, "axis %d is listed twice", (int)a);
        *mask |= 1u << a;
    }
    if (axes->n == 0)
        *mask = (1u << rank) - 1;
    *axes = (tuff_ints){ 0 };
    for (int32_t a = 0; a < rank; a++)
        if (*mask >> a & 1)
            axes->v[axes->n++] = a;
    return true;
}

int64_t tf_dim_ceildiv(tuff_graph *g, int64_t a, int64_t b)
{
    return tf_dim_bin(g, TUFF_DIM_FLOORDIV, tf_dim_bin(g, TUFF_DIM_ADD, a, b - 1), b);
}

uint32_t tf_pow2_ceil(uint64_t x)
{
    uint32_t p = 1;
    while (p < x && p < UINT32_C(1) << 30)
        p *= 2;
    return p;
}

static uint32_t log2_of(uint32_t power)
{
    uint32_t n = 0;
    while (power > 1) {
        power /= 2;
        n++;
    }
    return n;
}

uint32_t tf_tuned_lanes(tf_kernel_build *k, uint32_t least, uint32_t lanes, uint32_t most, uint64_t flags)
{
    return least << tf_way(k, log2_of(most / least) + 1, log2_of(lanes / least), flags);
}

uint32_t tf_units(const tf_limits *limits)
{
    return limits->units ? limits->units : limits->cpu ? 4 : 32;
}

uint32_t tf_row_group(const tf_limits *limits, int64_t rows)
{
    if (limits->cpu)
        return rows >= 64 * (int64_t)tf_units(limits) ? 64 : 8;
    uint32_t wg = 256;
    while (wg > limits->max_invocations)
        wg /= 2;
    return wg;
}

uint32_t tf_shuffle_lanes(const tf_limits *l)
{
    const uint32_t n = l->subgroup_size;
    const bool fixed = (l->subgroup_min == n && l->subgroup_max == n) || l->subgroup_control;
    return l->subgroup_shuffle && fixed && n >= 4 && n <= 128 && (n & (n - 1)) == 0 && n <= l->max_invocations ? n : 0;
}

uint32_t tf_unroll_most(const tf_kernel_build *k, uint32_t most, int width)
{
    while (k->limits->cpu && most > 1 && most * (uint32_t)width * k->text > 64)
        most /= 2;
    return most;
}

uint32_t tf_unroll(int64_t n, uint32_t most)
{
    if (n <= most)
        return (uint32_t)TF_MAX(n, 1);
    for (uint32_t u = most; u >= most / 2; u--)
        if (n % u == 0)
            return u;
    return most;
}

int tf_define_type(tf_kernel_build *k, tuff_dtype dtype)
{
    static const struct { const char *one, *four; } names[] = {
        [TF_CLS_FLOAT] = { "float", "vec4" }, [TF_CLS_INT] = { "int", "ivec4" }, [TF_CLS_BOOL] = { "bool", "bvec4" },
        [TF_CLS_COMPLEX] = { "vec2", NULL },
    };
    const unsigned cls = tf_dtype_class(dtype);
    const char *one = names[cls].one, *four = names[cls].four;
    if (dtype == TUFF_F64) {
        one = "double";
        four = NULL;
    } else if (cls == TF_CLS_INT && !tf_dtype_is_signed_int(dtype)) {
        one = "uint";
        four = "uvec4";
    }
    tf_define(k, "T", "%s", one);
    if (four)
        tf_define(k, "T4", "%s", four);
    return four ? 4 : 1;
}
