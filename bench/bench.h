/* bench.h - measuring programs: what the parts of `tuff bench` share. */
#ifndef BENCH_H
#define BENCH_H

#include "tools/tool.h"

/* One number with its spread. All in milliseconds per run. */
typedef struct bench_time {
    double median, least, p10, p90;
    uint32_t samples;
    uint32_t batch;       /* runs in flight per sample */
    double first;         /* the first run, with what the driver compiles then */
    double ratio;         /* to the first program measured beside it, round by round: the median, and the middle half */
    double ratio_p25, ratio_p75;
} bench_time;

/* Reproducible numbers into all inputs of p. TOOL_OK, or the message was printed. */
int bench_write_inputs(tuff_program *p);

/* Runs p for about `seconds`: a first run, a warm-up, then samples of as many runs as take some milliseconds, so that
 * submission does not count where a run is short. Inputs must be written. TOOL_OK, or the message was printed. */
int bench_measure(tuff_program *p, double seconds, bench_time *out);
/* The same for n programs by turns, `seconds` each, so that what else the machine does meets all of them. */
int bench_measure_beside(tuff_program *const *p, uint32_t n, double seconds, bench_time *out);

/* What the device can do, by kernels written for that alone. 0: not measured. */
typedef struct bench_ceilings {
    double copy_gbs;           /* read + written bytes, best of several shapes */
    const char *copy_shape;
    double read_gbs;
    const char *read_shape;
    double fma_gflops;         /* f32, 2 per fused multiply-add */
    double dispatch_us;        /* one more empty dispatch in a run */
    double barrier_us;         /* the same with a barrier before it */
    double driver_wait_us;     /* vkQueueSubmit of nothing, and waiting */
    double run_us;             /* tuff_run of one empty dispatch */
    double driver_submit_us;   /* vkQueueSubmit of nothing: the call alone */
    double submit_10_us, submit_1000_us; /* tuff_submit of 10 and 1000 kernels: the call alone */
} bench_ceilings;
int bench_ceilings_measure(tuff_device *dev, double seconds, tool_progress *progress, bench_ceilings *out);

/* The best copy at another size: n floats, a multiple of 256. */
int bench_copy_program(tuff_device *dev, const bench_ceilings *c, int64_t n, tuff_program **out);

/* COPY_BESIDE: by turns with a copy as long as the first output and with the same graph unfused. */
typedef enum bench_limit { BENCH_COPY, BENCH_READ, BENCH_FMA, BENCH_COPY_BESIDE } bench_limit;
typedef struct bench_case {
    const char *suite, *name, *text;
    double flops;              /* 0: none worth counting */
    bench_limit limit;         /* the ceiling it is compared with */
} bench_case;
extern const bench_case bench_cases[];
extern const uint32_t bench_case_count;
/* A case whose time is shown as a multiple of that of one or two cases before it. */
typedef struct bench_ratio { const char *name, *against[2]; } bench_ratio;
extern const bench_ratio bench_ratios[];
extern const uint32_t bench_ratio_count;

/* A sampler of 50 steps and its network 50 times alone (sampler.c): a denoiser that takes about `ms` at `gflops`. */
tuff_graph *bench_sampler_graph(double ms, double gflops, bool alone);
enum { BENCH_SAMPLER_STEPS = 50 };

#endif
