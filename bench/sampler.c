/* sampler.c - a sampler and its network alone, as graphs: what a solver costs beside the evaluations that it asks for.
 *
 * The network is two layers, x -> tanh(W2 silu(W1 x)), as wide as makes one evaluation take a given time. */
#include "bench.h"

#include <math.h>
#include <stdlib.h>

#include <tuff/diffusion.h>

enum { ROWS = 64, FEATURES = 256 }; /* as many elements as a latent of 4 x 64 x 64 */

typedef struct network { tuff_tensor w1, w2; } network;

static tuff_tensor evaluate(const network *n, tuff_tensor x) { return tuff_tanh(tuff_matmul(tuff_silu(tuff_matmul(x, n->w1, NULL)), n->w2, NULL)); }

static tuff_tensor denoise(void *user, const tuff_denoiser_call *call) { return evaluate(user, call->x); }

static void alone_body(void *user, tuff_iteration *it) { it->out[0] = evaluate(user, it->in[0]); }

/* Numbers of a size that keeps activations near 1: no saturation and no denormals, which cost time of their own. */
static tuff_tensor weights(tuff_graph *g, int64_t rows, int64_t columns)
{
    const size_t n = (size_t)(rows * columns);
    float *w = tool_alloc(n * sizeof *w);
    uint32_t r = 12345;
    for (size_t i = 0; i < n; i++) {
        r = r * 1664525u + 1013904223u;
        w[i] = ((float)(r >> 8) / 8388608.0f - 1.0f) * 1.7f / sqrtf((float)rows);
    }
    const tuff_tensor t = tuff_const(g, TUFF_F32, TUFF_SHAPE(rows, columns), w, NULL);
    free(w);
    return t;
}

tuff_graph *bench_sampler_graph(double ms, double gflops, bool alone)
{
    tuff_graph *g = tuff_graph_create(NULL);
    const double width = ms * 1e6 * gflops / (4.0 * ROWS * FEATURES);
    const int64_t hidden = 32 * (int64_t)TF_MAX(TF_MIN(width / 32.0 + 0.5, 4096.0), 1.0);
    network n = { weights(g, FEATURES, hidden), weights(g, hidden, FEATURES) };
    tuff_tensor x = tuff_input(g, "x", TUFF_F32, TUFF_SHAPE(ROWS, FEATURES)), y = x;
    if (alone)
        tuff_loop(g, &(tuff_loop_desc){ .count = BENCH_SAMPLER_STEPS, .carried = &x, .n = 1, .body = alone_body, .user = &n }, &y);
    else {
        const tuff_tensor table = tuff_solver_table(tuff_schedule_karras(g, BENCH_SAMPLER_STEPS, NULL), TUFF_SOLVER_DPMPP_2M, &(tuff_solver_desc){ .prediction = TUFF_PREDICT_EPS });
        y = tuff_sample(x, &(tuff_sample_desc){ .table = table, .denoiser = denoise, .user = &n });
    }
    tuff_output(g, "y", y);
    return g;
}
