#include <math.h>
#include <stdio.h>
#include <tuff/tuff.h>

static float q_data[256 * 8 * 64], k_data[256 * 2 * 64], v_data[256 * 2 * 64], o_data[256 * 8 * 64];

int main(void)
{
    for (int i = 0; i < 256 * 8 * 64; i++) q_data[i] = sinf(0.1f * (float)i);
    for (int i = 0; i < 256 * 2 * 64; i++) k_data[i] = cosf(0.3f * (float)i), v_data[i] = (float)(i % 64);

    tuff_device *dev; /* the best device, or the one that $TUFF_DEVICE names */
    if (tuff_device_open(NULL, &dev)) return fprintf(stderr, "%s\n", tuff_device_error(NULL)), 1;

    tuff_graph *g = tuff_graph_create(NULL);
    tuff_tensor q = tuff_input(g, "q", TUFF_F32, TUFF_SHAPE(1, 256, 8, 64)); /* batch, token, head, channel */
    tuff_tensor k = tuff_input(g, "k", TUFF_F32, TUFF_SHAPE(1, 256, 2, 64));
    tuff_tensor v = tuff_input(g, "v", TUFF_F32, TUFF_SHAPE(1, 256, 2, 64));
    tuff_tensor o = tuff_attention(q, k, v, &(tuff_attention_desc){ .causal = true });
    tuff_output(g, "o", tuff_silu(o)); /* becomes part of the attention kernel */

    tuff_program *p;
    if (tuff_compile(dev, g, NULL, &p)) return fprintf(stderr, "%s\n", tuff_graph_error(g)), 1;
    tuff_write(p, "q", q_data, sizeof q_data);
    tuff_write(p, "k", k_data, sizeof k_data);
    tuff_write(p, "v", v_data, sizeof v_data);
    if (tuff_run(p) || tuff_read(p, "o", o_data, sizeof o_data)) return fprintf(stderr, "%s\n", tuff_program_error(p)), 1;

    /* Channel c of every value is c, and so is every weighted mean of them: this prints silu(63) = 63. */
    printf("%s: o[0, 255, 0, 63] = %g\n", tuff_device_name(dev), (double)o_data[255 * 8 * 64 + 63]);
    tuff_program_destroy(p);
    tuff_graph_destroy(g);
    tuff_device_close(dev);
    return 0;
}
