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

static void summarize(double *ms, uint32_t n, bench_time *out)
{
    qsort(ms, n, sizeof *ms, tool_compare_doubles);
    out->samples = n;
    out->least = n ? ms[0] : 0.0;
    out->median = tool_percentile(ms, n, 0.5);
    out->p10 = tool_percentile(ms, n, 0.1);
    out->p90 = tool_percentile(ms, n, 0.9);
}

static bool warm_up(tuff_program *p, bench_time *out)
{
    double once = 1.0;
    *out = (bench_time){ .batch = 1 };
    if (!run_batch(p, 1, &out->first) || !run_batch(p, 1, &once) || (once < 500.0 && !run_batch(p, 1, &once))) return false;
    out->batch = once >= 4.0 ? 1 : (uint32_t)TF_MIN(TF_MAX(4.0 / once, 1.0), (double)BATCH);
    return true;
}

int bench_measure_beside(tuff_program *const *p, uint32_t n, double seconds, bench_time *out)
{
    double *ms = tool_alloc((size_t)n * SAMPLES * sizeof *ms), *ratio = tool_alloc(SAMPLES * sizeof *ratio);
    uint32_t wrong = n, rounds = 0;
    for (uint32_t i = 0; i < n && wrong == n; i++)
        if (!warm_up(p[i], &out[i])) wrong = i;
    const uint64_t start = tf_clock_ns();
    for (; wrong == n && rounds < SAMPLES && (rounds < 3 || ms_since(start) < seconds * 1e3 * n); rounds++)
        for (uint32_t k = 0; k < n && wrong == n; k++) { /* there and back, so that a drift favours none */
            const uint32_t i = rounds % 2 ? n - 1 - k : k;
            if (!run_batch(p[i], out[i].batch, &ms[i * SAMPLES + rounds])) wrong = i;
        }
    for (uint32_t i = n; i-- > 0 && wrong == n;) { /* the first one's last: the others are compared with it in order */
        for (uint32_t k = 0; k < rounds; k++) ratio[k] = ms[i * SAMPLES + k] / ms[k];
        qsort(ratio, rounds, sizeof *ratio, tool_compare_doubles);
        out[i].ratio = tool_percentile(ratio, rounds, 0.5);
        out[i].ratio_p25 = tool_percentile(ratio, rounds, 0.25);
        out[i].ratio_p75 = tool_percentile(ratio, rounds, 0.75);
        summarize(&ms[i * SAMPLES], rounds, &out[i]);
    }
    free(ms);
    free(ratio);
    return wrong == n ? TOOL_OK : tool_error("%s", tuff_program_error(p[wrong]));
}

int bench_measure(tuff_program *p, double seconds, bench_time *out) { return bench_measure_beside(&p, 1, seconds, out); }
