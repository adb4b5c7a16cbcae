/* test_nn.c - sorting, convolution, pooling and other layers on the device against their references, where the table of
 * op_cases.h does not reach: special values, dynamic dims, shapes around every tile, the kernels of both device classes. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "graph/op.h"
#include "support/support.h"

/* Many equal numbers, both zeros, infinities, NaN and subnormals. */
static void special_values(void *user, const char *name, tuff_dtype dtype, void *data, size_t n)
{
    static const double values[] = { 0, -0.0, (double)INFINITY, -(double)INFINITY, (double)NAN, 1, -1, 0x1p-140, -0x1p-140, 3e38, -3e38, 0.5 };
    rng *r = user;
    (void)name;
    for (size_t i = 0; i < n; i++)
        tf_store_element(dtype, data, i, rng_below(r, 2) ? (double)((int)rng_below(r, 9) - 4) : values[rng_below(r, COUNT(values))], 0.0);
}

static void run_cases(const char *what, const tuff_device_desc *desc, const char *const *cases, size_t count,
                      void (*fill)(void *user, const char *name, tuff_dtype dtype, void *data, size_t n))
{
    tuff_device *dev = open_device(desc);
    for (size_t i = 0; i < count; i++) {
        char message[512], name[600];
        tuff_graph *g = NULL;
        cr_expect(!tuff_graph_parse(cases[i], strlen(cases[i]), NULL, &g, message, sizeof message), "%s\n%s", message, cases[i]);
        if (!g) continue;
        rng r = { i + 1 };
        snprintf(name, sizeof name, "%s: %s", what, cases[i]);
        expect_graph(name, dev, g, &(graph_options){ .seed = i + 1, .fill = fill, .user = &r });
        tuff_graph_destroy(g);
    }
    tuff_device_close(dev);
}

static const char *const sorts[] = {
    "x = input f32[70]\nv, o = sort(x) {axis=0}\noutput v\noutput o",
    "x = input f32[3,1030]\nv, o = sort(x) {axis=1, descending=true}\noutput v\noutput o",
    "x = input f16[5,33]\no = argsort(x) {axis=1}\noutput o",
    "x = input f32[2,515]\nv, o = topk(x) {k=129, axis=1}\noutput v\noutput o",
    "x = input f32[2,1600]\nv, o = topk(x) {k=17, axis=1, smallest=true}\noutput v\noutput o",
    "dim n <= 700\nx = input f32[2,n]\nv, o = sort(x) {axis=1}\noutput v\noutput o",
    "x = input f32[0,5]\ny = input f32[5,0]\na = argsort(x) {axis=1}\nb = argsort(y) {axis=1}\noutput a\noutput b",
    /* Producers and consumers fuse. */
    "x = input f32[6,130]\nv, o = topk(mul(x, x)) {k=9, axis=1}\nw = add(v, 1)\np = add(o, 1)\noutput w\noutput p",
};

Test(nn, sort_cpu_class) { run_cases("cpu", &(tuff_device_desc){ .toggles = "+cpu" }, sorts, COUNT(sorts), special_values); }
Test(nn, sort_gpu_class) { run_cases("gpu", &(tuff_device_desc){ .toggles = "-cpu" }, sorts, COUNT(sorts), special_values); }
Test(nn, sort_gpu_class_at_the_floor)
{
    run_cases("gpu floor", &(tuff_device_desc){ .toggles = "-cpu,-subgroup,-fp16,-storage16,-storage8", .limits = "invocations=128,shared=16K,bindings=4" }, sorts,
              COUNT(sorts), special_values);
}
