/* likelihood - bits per dimension of a mixture in 16 dimensions by its probability-flow ODE, beside the exact value: for exact
 * derivatives, for probes and for differences, as a table and a picture.
 *
 *     likelihood [--out likelihood.png] [--device D]
 *
 * 16 points drawn from the data and 16 off it. Whatever differs from the exact column is the integrator's tolerance, the prior's
 * mismatch, or the noise of the probes. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tuff/tuff.h>

#include "plot.h"

enum { BATCH = 32, N = 16, PARTS = 4, PROBES = 8 };

typedef struct mixture { tuff_tensor weights, means, stds; } mixture;
typedef struct data { float w[PARTS], m[PARTS * N], s[PARTS], x[BATCH * N]; } data;

static double uniform(unsigned *state)
{
    *state = *state * 1664525u + 1013904223u;
    return ((double)(*state >> 8) + 0.5) / 16777216.0;
}
static double normal(unsigned *state) { return sqrt(-2 * log(uniform(state))) * cos(6.28318530717958647693 * uniform(state)); }

static data make_data(void)
{
    data d;
    unsigned state = 7;
    for (int k = 0; k < PARTS; k++) {
        d.w[k] = 0.25f;
        d.s[k] = 0.15f + 0.1f * (float)k;
        for (int j = 0; j < N; j++) d.m[k * N + j] = (float)(0.8 * normal(&state));
    }
    for (int b = 0; b < BATCH; b++)
        for (int j = 0; j < N; j++) d.x[b * N + j] = d.m[b % PARTS * N + j] + (float)((b < BATCH / 2 ? 1.0 : 2.0) * (double)d.s[b % PARTS] * normal(&state));
    return d;
}

static double exact_bits(const data *d, int b)
{
    double most = -INFINITY, term[PARTS], sum = 0;
    for (int k = 0; k < PARTS; k++) {
        double e = 0;
        for (int j = 0; j < N; j++) e += pow((double)d->x[b * N + j] - (double)d->m[k * N + j], 2);
        const double v = (double)d->s[k] * (double)d->s[k];
        term[k] = log((double)d->w[k]) - e / (2 * v) - 0.5 * N * log(6.28318530717958647693 * v);
        most = fmax(most, term[k]);
    }
    for (int k = 0; k < PARTS; k++) sum += exp(term[k] - most);
    return -(most + log(sum)) / (N * log(2));
}

static tuff_tensor denoise(void *user, const tuff_denoiser_call *c)
{
    const mixture *m = user;
    return tuff_denoise_mixture(c->x, c->alpha, c->sigma, m->weights, m->means, m->stds, NULL);
}
static tuff_tensor derivative(void *user, const tuff_denoiser_call *c, tuff_tensor v)
{
    const mixture *m = user;
    return tuff_result(tuff_denoise_mixture(c->x, c->alpha, c->sigma, m->weights, m->means, m->stds, &(tuff_tangent_desc){ v }), 1);
}

/* Bits per dimension of each sample, the mean over probes; report: steps and evaluations. */
static bool estimate(tuff_device *dev, const data *d, tuff_flow_desc flow, const char *name, float bits[BATCH])
{
    tuff_graph *g = tuff_graph_create(NULL);
    tuff_program *p = NULL;
    tuff_tensor report;
    mixture m = { tuff_const(g, TUFF_F32, TUFF_SHAPE(PARTS), d->w, NULL), tuff_const(g, TUFF_F32, TUFF_SHAPE(PARTS, N), d->m, NULL), tuff_const(g, TUFF_F32, TUFF_SHAPE(PARTS), d->s, NULL) };
    float r[7];
    flow.denoiser = denoise;
    flow.user = &m;
    flow.max_steps = 200;
    flow.report = &report;
    tuff_tensor logp = tuff_log_likelihood(tuff_const(g, TUFF_F32, TUFF_SHAPE(BATCH, N), d->x, NULL), &flow, NULL);
    if (!flow.exact_trace) logp = tuff_mean(logp, &(tuff_reduce_desc){ .axes = TUFF_INTS(0) });
    tuff_output(g, "bits", tuff_mul(logp, tuff_literal(g, -1 / (N * log(2)), TUFF_F32)));
    tuff_output(g, "report", report);
    const bool good = tuff_compile(dev, g, NULL, &p) == TUFF_OK && tuff_run(p) == TUFF_OK && tuff_read(p, "bits", bits, BATCH * sizeof *bits) == TUFF_OK &&
                      tuff_read(p, "report", r, sizeof r) == TUFF_OK;
    if (!good) fprintf(stderr, "%s: %s%s\n", name, tuff_graph_error(g), p ? tuff_program_error(p) : "");
    tuff_program_destroy(p);
    tuff_graph_destroy(g);
    if (!good) return false;
    double worst = 0, mean = 0, truth = 0;
    for (int b = 0; b < BATCH; b++) {
        worst = fmax(worst, fabs((double)bits[b] - exact_bits(d, b)));
        mean += (double)bits[b] / BATCH;
        truth += exact_bits(d, b) / BATCH;
    }
    printf("%-22s %9.5f  exact %9.5f  largest difference %.1e  %3.0f steps, %2.0f rejected, %4.0f evaluations\n", name, mean, truth, worst, (double)r[2], (double)r[3], (double)r[4]);
    return true;
}

static bool draw(const char *path, const float *exact, const float *trace, const float *probes)
{
    plot p;
    if (!plot_create(&p, 720, 330)) return false;
    plot_panel q = plot_frame(&p, 60, 30, 480, 260, -1, 3, "bits per dimension of 32 points");
    plot_line(&p, &q, exact, BATCH, 0xbbbbbb);
    plot_line(&p, &q, probes, BATCH, 0x1f77b4);
    plot_line(&p, &q, trace, BATCH, 0xd62728);
    plot_text(&p, 560, 60, 0xbbbbbb, "exact");
    plot_text(&p, 560, 80, 0xd62728, "exact trace");
    plot_text(&p, 560, 100, 0x1f77b4, "8 probes");
    const bool good = plot_write(&p, path);
    plot_destroy(&p);
    if (good) printf("wrote %s\n", path);
    return good;
}

int main(int argc, char **argv)
{
    const char *device = NULL, *path = "likelihood.png";
    tuff_device *dev;
    const data d = make_data();
    float exact[BATCH], trace[BATCH], probes[BATCH], differences[BATCH];
    for (int i = 1; i < argc; i += 2) {
        if (!strcmp(argv[i], "--out") && i + 1 < argc) path = argv[i + 1];
        else if (!strcmp(argv[i], "--device") && i + 1 < argc) device = argv[i + 1];
        else return fprintf(stderr, "usage: likelihood [--out likelihood.png] [--device D]\n"), 2;
    }
    if (tuff_device_open(&(tuff_device_desc){ .select = device }, &dev) != TUFF_OK) {
        fprintf(stderr, "likelihood: %s\n", tuff_device_error(NULL));
        return 1;
    }
    const double start = plot_now();
    printf("device %s\nbits per dimension, mean of %d points\n", tuff_device_name(dev), BATCH);
    bool good = estimate(dev, &d, (tuff_flow_desc){ .derivative = derivative, .exact_trace = true }, "exact trace", trace) &&
                estimate(dev, &d, (tuff_flow_desc){ .derivative = derivative, .probe_count = PROBES, .seed = 1 }, "probes", probes) &&
                estimate(dev, &d, (tuff_flow_desc){ .exact_trace = true }, "differences", differences) &&
                estimate(dev, &d, (tuff_flow_desc){ .process = { .sde = TUFF_SDE_SUBVP }, .derivative = derivative, .exact_trace = true }, "sub-VP, exact trace", differences);
    for (int b = 0; b < BATCH; b++) exact[b] = (float)exact_bits(&d, b);
    if (good) printf("time %.2f s with compiling\n", plot_now() - start);
    good = good && draw(path, exact, trace, probes);
    tuff_device_close(dev);
    return good ? 0 : 1;
}
