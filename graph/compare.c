/* compare.c - error bounds from the rows, and distances between tensors. */
#include "compare.h"

#include <math.h>

/* ---- bounds ----------------------------------------------------------------------------------------- */

/* Unit roundoff of what a dtype's results carry; 0: exact. */
static double roundoff(tuff_dtype dtype)
{
    switch (dtype) {
    case TUFF_F32: case TUFF_C64: return 0x1p-24;
    case TUFF_F16: return 0x1p-11;
    case TUFF_BF16: return 0x1p-8;
    case TUFF_F64: return 0x1p-24; /* most rows compute in f32 */
    case TUFF_F8E4M3: return 0x1p-4;
    case TUFF_F8E5M2: return 0x1p-3;
    default: return 0.0;
    }
}

static double elements(const tuff_graph *g, uint32_t value)
{
    uint64_t n = 0;
    return tf_count_bound(g, tf_type_of(g, value), &n) ? (double)n : 1.0;
}

/* What a row promises for one node, as a relative error: ULP for pointwise rows, c * eps * sqrt(length) for the others,
 * where length is how many elements of the largest operand go into one of the result. */
static double node_bound(const tuff_graph *g, const tf_node *node)
{
    double largest = 1.0;
    for (uint32_t i = 0; i < node->n_src; i++)
        if (node->src[i]) largest = fmax(largest, elements(g, node->src[i]));
    const double u = roundoff(tf_type_of(g, node->out)->dtype), f32 = roundoff(TUFF_F32);
    const double length = fmax(1.0, largest / fmax(1.0, elements(g, node->out)));
    return 2.0 * f32 * node->op->ulp + node->op->rel * 2.0 * f32 * sqrt(length) + (u > f32 ? 2.0 * u : 0.0);
}

/* The nodes a value depends on: sources precede their readers, so one walk from the back finds them. */
static void mark(const tuff_graph *g, uint32_t value, bool *seen)
{
    const uint32_t last = tf_val(g, value)->node;
    seen[last] = true;
    for (uint32_t i = last + 1; i-- > 0;) {
        const tf_node *node = &g->nodes.data[i];
        for (uint32_t s = 0; seen[i] && s < node->n_src; s++)
            if (node->src[s]) seen[tf_val(g, node->src[s])->node] = true;
    }
}

bool tf_value_bound(const tuff_graph *g, uint32_t value, const tuff_allocator *allocator, tf_bound *out)
{
    const tf_node *only = NULL;
    uint32_t computing = 0;
    double total = 0.0;
    bool *seen = tf_alloc(allocator, g->nodes.n * sizeof *seen);
    *out = (tf_bound){ 0 };
    if (!seen) return false;
    mark(g, value, seen);
    for (uint32_t i = 0; i < g->nodes.n; i++) {
        const tf_node *node = &g->nodes.data[i];
        if (!seen[i] || node->op->kind == TF_SOURCE || node->op->kind == TF_EFFECT) continue;
        total += node_bound(g, node);
        only = node;
        computing++;
    }
    tf_free(allocator, seen, g->nodes.n * sizeof *seen);
    if (computing == 0 || !(roundoff(tf_type_of(g, value)->dtype) > 0.0)) return true;
    /* With three operands or two parts a result can be small beside what it is the difference of: no ULP bound holds. */
    if (computing == 1 && only->op->kind == TF_POINTWISE && only->op->arity < 3 && tf_type_of(g, value)->dtype != TUFF_C64) {
        /* Half a unit more, since the reference is rounded too. A device may flush numbers below the smallest normal one, also
         * those a row multiplies by its operand afterwards (x * sigmoid(x)): hence the factor 2^8. */
        const bool narrow = roundoff(tf_type_of(g, value)->dtype) > roundoff(TUFF_F32);
        *out = (tf_bound){ .ulp = narrow ? 1.0 : only->op->ulp + (only->op->ulp > 0.0 ? 0.5 : 0.0), .abs = 0x1p-118 };
    } else
        *out = (tf_bound){ .rel = fmax(total, 4.0 * roundoff(TUFF_F32)) };
    return true;
}

/* ---- distances -------------------------------------------------------------------------------------- */

/* Distance between neighbouring numbers of a floating dtype at |x|. */
static double spacing(tuff_dtype dtype, double x)
{
    int mantissa = 23, least = -126;
    switch (dtype) {
    case TUFF_F16: mantissa = 10, least = -14; break;
    case TUFF_BF16: mantissa = 7; break;
    case TUFF_F64: mantissa = 52, least = -1022; break;
    case TUFF_F8E4M3: mantissa = 3, least = -6; break;
    case TUFF_F8E5M2: mantissa = 2, least = -14; break;
    default: break;
    }
    int exponent = least;
    if (x != 0.0 && isfinite(x)) {
        frexp(x, &exponent); /* |x| = [0.5, 1) * 2^exponent */
        exponent = exponent - 1 < least ? least : exponent - 1;
    }
    return ldexp(1.0, exponent - mantissa);
}

double tf_ulp_distance(tuff_dtype dtype, double got, double want)
{
    if (got == want || (isnan(got) && isnan(want))) return 0.0;
    if (!isfinite(got) || !isfinite(want)) return INFINITY;
    if (!(roundoff(dtype) > 0.0)) return fabs(got - want);
    return fabs(got - want) / spacing(dtype, want);
}

/* Element i of both as numbers to compare. Complex: |want| and |want| + |got - want|. */
static void element(tuff_dtype dtype, const void *got, const void *want, uint64_t i, double *a, double *b)
{
    double got_im = 0.0, want_im = 0.0;
    *a = tf_load_element(dtype, got, i, &got_im);
    *b = tf_load_element(dtype, want, i, &want_im);
    if (dtype != TUFF_C64) return;
    const bool finite = isfinite(*b) && isfinite(want_im);
    const double distance = hypot(*a - *b, got_im - want_im);
    *b = finite ? hypot(*b, want_im) : NAN;
    *a = !finite && !(isfinite(*a) && isfinite(got_im)) ? NAN : finite ? *b + distance : 0.0;
}

static void note(tf_difference *d, uint64_t i, double got, double want)
{
    d->first = i;
    d->got = got;
    d->want = want;
}

tf_difference tf_compare(tuff_dtype dtype, const void *got, const void *want, uint64_t n, tf_bound bound)
{
    tf_difference d = { .n = n };
    double error = 0.0, norm = 0.0;
    if (!(roundoff(dtype) > 0.0)) bound = (tf_bound){ 0 };
    for (uint64_t i = 0; i < n; i++) {
        double a, b;
        element(dtype, got, want, i, &a, &b);
        const double ulp = tf_ulp_distance(dtype, a, b);
        const bool wrong = isinf(ulp) || (bound.rel <= 0.0 && ulp > bound.ulp && fabs(a - b) > bound.abs);
        if (wrong && !d.wrong++)
            note(&d, i, a, b);
        if (isfinite(ulp) && ulp > d.ulp && !(fabs(a - b) <= bound.abs)) {
            d.ulp = ulp;
            if (!d.wrong) note(&d, i, a, b);
        }
        if (!isfinite(a) || !isfinite(b)) continue;
        error += (a - b) * (a - b);
        norm += b * b;
    }
    d.rel_l2 = norm > 0.0 ? sqrt(error / norm) : sqrt(error);
    d.pass = !d.wrong && (bound.rel <= 0.0 || d.rel_l2 <= bound.rel || sqrt(n ? error / (double)n : 0.0) <= bound.abs);
    return d;
}
