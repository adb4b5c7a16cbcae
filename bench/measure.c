/* measure.c - timing a program. Wall time on purpose: it is what a user waits for. */
#include "bench.h"

#include <stdlib.h>

#include "runtime/os.h"

enum { SAMPLES = 400, BATCH = 64 };

static double ms_since(uint64_t start) { return (double)(tf_clock_ns() - start) * 1e-6; }

static bool run_batch(tuff_program *p, uint32_t n, double *ms)
{
    uint64_t ticket = 0;
    const uint64_t start = tf_clock_ns();
    for (uint32_t i = 0; i < n; i++)
        if (tuff_submit(p, &ticket)) return false;
    if (tuff_wait(p, ticket, UINT64_MAX)) return false;
    *ms = ms_since(start) / n;
    return true;
}

static bool measure(tuff_program *p, double seconds, bench_time *out)
{
    double *ms = tool_alloc(SAMPLES * sizeof *ms), once = 1.0;
    bool good = run_batch(p, 1, &out->first) && run_batch(p, 1, &once) && run_batch(p, 1, &once);
    out->batch = once >= 4.0 ? 1 : (uint32_t)TF_MIN(TF_MAX(4.0 / once, 1.0), (double)BATCH);
    const uint64_t start = tf_clock_ns();
    uint32_t n = 0;
    while (good && n < SAMPLES && (n < 3 || ms_since(start) < seconds * 1e3)) good = run_batch(p, out->batch, &ms[n++]);
    qsort(ms, n, sizeof *ms, tool_compare_doubles);
    out->samples = n;
    out->least = n ? ms[0] : 0.0;
    out->median = tool_percentile(ms, n, 0.5);
    out->p10 = tool_percentile(ms, n, 0.1);
    out->p90 = tool_percentile(ms, n, 0.9);
    free(ms);
    return good;
}

int bench_measure(tuff_program *p, double seconds, bench_time *out)
{
    *out = (bench_time){ .batch = 1 };
    return measure(p, seconds, out) ? TOOL_OK : tool_error("%s", tuff_program_error(p));
}
