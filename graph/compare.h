/* compare.h - how far a device's result lies from the reference's, and how far the rows allow it to lie.
 *
 * Shared by the tests and by `tuff verify`, so that both judge alike. */
#ifndef TF_COMPARE_H
#define TF_COMPARE_H

#include "op.h"

/* Elements are right when within ulp units in the last place of the wanted value (of the dtype) or within abs. With
 * rel > 0 the whole tensor decides instead: by its relative L2 distance, or by its root mean square distance within abs. All
 * zero: equal, as integers always must be. NaN equals NaN, infinities must match, zeros of both signs are equal. */
typedef struct tf_bound { double ulp, rel, abs; } tf_bound;

/* What the rows promise for a value: ULP if it is one pointwise node of one or two real sources, else a relative L2 bound, the
 * sum over all nodes it depends on. False: out of memory. */
bool tf_value_bound(const tuff_graph *g, uint32_t value, const tuff_allocator *allocator, tf_bound *out);

/* |got - want| in units in the last place of a dtype at |want|; infinite where only one of them is finite. */
double tf_ulp_distance(tuff_dtype dtype, double got, double want);

typedef struct tf_difference {
    bool pass;
    uint64_t n, wrong;      /* elements; those outside the bound (rel: those that are wrong whatever the distance) */
    uint64_t first;         /* first wrong element, else the worst one */
    double got, want;       /* there; complex: see below */
    double ulp;             /* largest distance of a finite element */
    double rel_l2;          /* relative L2 distance of the finite elements */
} tf_difference;

/* Dense elements of dtype. Complex elements are compared by |got - want| in units of |want|; got and want are moduli. */
tf_difference tf_compare(tuff_dtype dtype, const void *got, const void *want, uint64_t n, tf_bound bound);

#endif
