/* support.h - what the test files share: comparators that say which element is wrong, an allocator that fails at
 * the n-th call, opening the device under test, and running a graph against the reference.
 *
 * Comparators and expect_graph return true when all is well; otherwise they fail the running Criterion test with
 * one message that names the case, and let it go on to the next case. */
#ifndef TEST_SUPPORT_H
#define TEST_SUPPORT_H

#include <criterion/criterion.h>
#include <tuff/tuff.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* ---- comparing ---------------------------------------------------------------------------------- */

/* Elements pass when within ulp units in the last place of the wanted value (of the dtype) or within abs. When rel
 * is given, the relative L2 distance of the whole array decides instead. All zero: equal. NaN equals NaN,
 * infinities must match; zeros of both signs are equal. */
typedef struct tolerance {
    double ulp;
    double rel;
    double abs;
} tolerance;

bool expect_array(const char *what, tuff_dtype dtype, const double *got, const double *want, size_t n, tolerance t);
bool expect_floats(const char *what, const float *got, const float *want, size_t n, tolerance t);

/* ---- an allocator that fails --------------------------------------------------------------------- */

/* Counts calls that ask for memory and live bytes; the call numbered fail_at (1-based, 0: none) and, if `sticky`,
 * all later ones return NULL. A healthy object leaves `live` at 0 after its destruction. */
typedef struct failing_allocator {
    uint64_t calls, fail_at;
    bool sticky;
    uint64_t live, peak;
} failing_allocator;
tuff_allocator failing(failing_allocator *f);

/* ---- inputs -------------------------------------------------------------------------------------- */

/* Reproducible numbers. */
typedef struct rng { uint64_t state; } rng;
uint64_t rng_next(rng *r);
double rng_uniform(rng *r);             /* [0, 1) */
double rng_normal(rng *r);
uint32_t rng_below(rng *r, uint32_t n); /* [0, n) */
/* n elements of dtype as its bytes: normal floats, small integers, both booleans. */
void rng_fill(rng *r, tuff_dtype dtype, void *data, size_t n);

/* ---- the device under test ------------------------------------------------------------------------ */

/* Opens the device that ctest chose for this run (VK_DRIVER_FILES), with validation where the layer is installed: an
 * error from it fails the test. When there is no driver the test is skipped, which is reported, and this does
 * not return. `desc` may be NULL or preset with toggles and limits. */
tuff_device *open_device(const tuff_device_desc *desc);
/* "lavapipe", "swiftshader", "system" or "" outside ctest. */
const char *driver_name(void);

/* ---- graph against reference ---------------------------------------------------------------------- */

typedef struct graph_options {
    uint64_t seed;              /* of the inputs' values */
    tolerance tolerance;        /* zero: value_tolerance of each output */
    tuff_compile_desc compile;
    uint32_t runs;              /* 0: 1; states carry over */
    /* Sets the values of an input instead of rng_fill; NULL: rng_fill. */
    void (*fill)(void *user, const char *name, tuff_dtype dtype, void *data, size_t n);
    void *user;
} graph_options;

/* Compile g for dev, run it on reproducible inputs, compare every output and state with the interpreter. */
bool expect_graph(const char *what, tuff_device *dev, tuff_graph *g, const graph_options *options);
/* What the rows promise for a value: ULP if it is one pointwise node of sources, else a relative L2 bound, the sum
 * over all nodes it depends on. */
tolerance value_tolerance(const tuff_graph *g, uint32_t value);

#endif
