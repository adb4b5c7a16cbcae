/* hello - attention in twenty lines: build a graph, compile it for the best device, run it, read the result. The README
 * shows the middle of this file. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <tuff/tuff.h>

enum { TOKENS = 256, HEADS = 8, KV_HEADS = 2, CHANNELS = 64 };

static int fail(const char *text)
{
    fprintf(stderr, "hello: %s\n", text);
    return 1;
}

int main(void)
{
    static float q_data[TOKENS * HEADS * CHANNELS], k_data[TOKENS * KV_HEADS * CHANNELS], v_data[TOKENS * KV_HEADS * CHANNELS];
    static float o_data[TOKENS * HEADS * CHANNELS];
    for (size_t i = 0; i < sizeof q_data / sizeof *q_data; i++) q_data[i] = sinf(0.1f * (float)i);
    for (size_t i = 0; i < sizeof k_data / sizeof *k_data; i++) k_data[i] = cosf(0.3f * (float)i), v_data[i] = (float)(i % CHANNELS);

    /* [readme] */
    tuff_device *dev;
    if (tuff_device_open(NULL, &dev) != TUFF_OK) return fail(tuff_device_error(NULL));

    tuff_graph *g = tuff_graph_create(NULL);
    tuff_tensor q = tuff_input(g, "q", TUFF_F32, TUFF_SHAPE(1, 256, 8, 64)); /* batch, token, head, channel */
    tuff_tensor k = tuff_input(g, "k", TUFF_F32, TUFF_SHAPE(1, 256, 2, 64));
    tuff_tensor v = tuff_input(g, "v", TUFF_F32, TUFF_SHAPE(1, 256, 2, 64));
    tuff_tensor o = tuff_attention(q, k, v, &(tuff_attention_desc){ .causal = true });
    tuff_output(g, "o", tuff_silu(o)); /* fused into the attention kernel */

    tuff_program *p;
    if (tuff_compile(dev, g, NULL, &p) != TUFF_OK) return fail(tuff_graph_error(g));
    tuff_write(p, "q", q_data, sizeof q_data);
    tuff_write(p, "k", k_data, sizeof k_data);
    tuff_write(p, "v", v_data, sizeof v_data);
    if (tuff_run(p) != TUFF_OK || tuff_read(p, "o", o_data, sizeof o_data) != TUFF_OK) return fail(tuff_program_error(p));
    /* [readme] */

    /* Channel c of every value is c, so is every weighted mean of values: o = silu(c) whatever the weights. */
    double worst = 0;
    for (size_t i = 0; i < sizeof o_data / sizeof *o_data; i++) {
        const double c = (double)(i % CHANNELS);
        worst = fmax(worst, fabs((double)o_data[i] - c / (1.0 + exp(-c))));
    }
    printf("%s: o[0, 255, 0, 63] = %.4f, largest error %.1e\n", tuff_device_name(dev), (double)o_data[(255 * HEADS) * CHANNELS + 63], worst);
    tuff_program_destroy(p);
    tuff_graph_destroy(g);
    tuff_device_close(dev);
    return worst < 1e-3 ? 0 : 1;
}
