/* support.c - comparators, the failing allocator, reproducible numbers, and the device under test. */
#include "support.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/base/base.h"
#include "graph/compare.h"

/* ---- comparing ---------------------------------------------------------------------------------- */

static bool one_is_wrong(tuff_dtype dtype, double got, double want, tolerance t)
{
    const double ulp = tf_ulp_distance(dtype, got, want);
    if (ulp == 0.0) return false;
    if (isinf(ulp)) return true;
    if (t.rel > 0.0) return false; /* the whole array decides */
    return ulp > t.ulp && fabs(got - want) > t.abs;
}

bool expect_array(const char *what, tuff_dtype dtype, const double *got, const double *want, size_t n, tolerance t)
{
    size_t wrong = 0, first = 0;
    double error = 0.0, norm = 0.0;
    for (size_t i = 0; i < n; i++) {
        if (one_is_wrong(dtype, got[i], want[i], t)) {
            if (!wrong++) first = i;
        } else if (isfinite(got[i]) && isfinite(want[i])) {
            error += (got[i] - want[i]) * (got[i] - want[i]);
            norm += want[i] * want[i];
        }
    }
    cr_expect(!wrong, "%s: %zu of %zu elements are wrong, the first is [%zu]: got %.9g, want %.9g (%.3g ulp, allowed %.3g ulp or %.3g)",
              what, wrong, n, first, n ? got[first] : 0.0, n ? want[first] : 0.0,
              n ? tf_ulp_distance(dtype, got[first], want[first]) : 0.0, t.ulp, t.abs);
    if (t.rel <= 0.0) return !wrong;
    const double distance = norm > 0.0 ? sqrt(error / norm) : sqrt(error);
    const bool close = distance <= t.rel || sqrt(n ? error / (double)n : 0.0) <= t.abs;
    cr_expect(close, "%s: relative L2 distance %.3g over %zu elements, allowed %.3g", what, distance, n, t.rel);
    return !wrong && close;
}

bool expect_floats(const char *what, const float *got, const float *want, size_t n, tolerance t)
{
    double *a = malloc((n + 1) * sizeof *a), *b = malloc((n + 1) * sizeof *b);
    cr_assert(a && b, "out of memory");
    for (size_t i = 0; i < n; i++) a[i] = (double)got[i], b[i] = (double)want[i];
    const bool good = expect_array(what, TUFF_F32, a, b, n, t);
    free(a);
    free(b);
    return good;
}

/* ---- an allocator that fails --------------------------------------------------------------------- */

static void *failing_resize(void *user, void *ptr, size_t old_size, size_t new_size)
{
    failing_allocator *f = user;
    if (new_size) {
        f->calls++;
        if (f->fail_at && (f->sticky ? f->calls >= f->fail_at : f->calls == f->fail_at)) return NULL;
    }
    void *result = NULL;
    if (!new_size)
        free(ptr);
    else if (!(result = realloc(ptr, new_size)))
        return NULL;
    f->live += new_size;
    f->live -= ptr ? old_size : 0;
    f->peak = f->live > f->peak ? f->live : f->peak;
    return result;
}

tuff_allocator failing(failing_allocator *f)
{
    return (tuff_allocator){ .user = f, .resize = failing_resize };
}

/* ---- numbers ------------------------------------------------------------------------------------- */

uint64_t rng_next(rng *r) /* splitmix64 */
{
    uint64_t z = r->state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

double rng_uniform(rng *r) { return ldexp((double)(rng_next(r) >> 11), -53); }

double rng_normal(rng *r)
{
    const double radius = sqrt(-2.0 * log(1.0 - rng_uniform(r)));
    return radius * cos(6.283185307179586 * rng_uniform(r));
}

uint32_t rng_below(rng *r, uint32_t n) { return (uint32_t)(rng_uniform(r) * n); }

void rng_fill(rng *r, tuff_dtype dtype, void *data, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double re = rng_normal(r), im = dtype == TUFF_C64 ? rng_normal(r) : 0.0;
        switch (dtype) {
        case TUFF_BOOL: re = rng_below(r, 2); break;
        case TUFF_I32: case TUFF_I16: case TUFF_I8: re = (double)rng_below(r, 17) - 8.0; break;
        case TUFF_U32: case TUFF_U16: case TUFF_U8: case TUFF_U4: re = rng_below(r, 16); break;
        case TUFF_I4: re = (double)rng_below(r, 16) - 8.0; break;
        default: break;
        }
        tf_store_element(dtype, data, i, re, im);
    }
}

/* ---- the device under test ------------------------------------------------------------------------ */

const char *driver_name(void)
{
    const char *name = getenv("TUFF_TEST_DRIVER");
    return name ? name : "";
}

/* $TUFF_TEST_VALIDATE: every device runs under the validation layer, whose warnings fail the test as its errors do. */
static bool validating(void)
{
    const char *on = getenv("TUFF_TEST_VALIDATE");
    return on && *on && strcmp(on, "0") != 0;
}

static void device_log(void *user, tuff_log_level level, const char *text)
{
    (void)user;
    const bool layer_said = !strncmp(text, "validation", strlen("validation")); /* also that there is no layer */
    cr_expect(level != TUFF_LOG_ERROR && !(validating() && layer_said), "the device reports: %s", text);
}

tuff_device *open_device(const tuff_device_desc *desc)
{
    tuff_device_desc d = desc ? *desc : (tuff_device_desc){ .validate = true };
    if (!d.log) d.log = device_log;
    d.validate |= validating();
    tuff_device *dev = NULL;
    const tuff_status status = tuff_device_open(&d, &dev);
    const bool promised = driver_name()[0] != 0 && strcmp(driver_name(), "system"); /* ctest found its files */
    if (!promised && (status == TUFF_E_NO_DRIVER || status == TUFF_E_NO_DEVICE)) cr_skip_test("%s", tuff_device_error(NULL));
    cr_assert(status == TUFF_OK, "tuff_device_open: %s", tuff_device_error(NULL));
    return dev;
}
