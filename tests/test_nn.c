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

#define CONV(x, w, tail) "x = input f32[" x "]\nw = input f32[" w "]\ny = conv(x, w) {" tail "}\noutput y"
#define TRANSPOSED(x, w, tail) "x = input f32[" x "]\nw = input f32[" w "]\ny = conv_transpose(x, w) {" tail "}\noutput y"

static const char *const convolutions[] = {
    CONV("1,5,17,19", "5,1,3,3", "padding=1, groups=5"),
    CONV("2,3,9,8", "3,1,7,7", "padding=3, groups=3"),
    CONV("1,4,3,2", "4,1,5,5", "padding=2, groups=4"),          /* the kernel is larger than x */
    CONV("1,6,8,9", "12,2,3,3", "groups=3, padding=[0,2], padding_end=[3,0]"),
    CONV("1,2,31,33", "3,2,3,3", "stride=3, dilation=2, padding=4"),
    CONV("1,1,40,1", "2,1,9,1", "padding=[4,0]"),
    CONV("1,16,9,9", "24,16,3,3", "padding=1, stride=2"),
    CONV("3,20,14", "18,10,1", "groups=2"),
    CONV("1,4,50", "8,2,12", "groups=2, stride=5, padding=6"),
    CONV("2,3,4,5,6", "6,1,2,3,3", "groups=3, padding=1, dilation=[1,2,1]"),
    CONV("1,8,6,7", "8,1,3,3", "groups=8, padding=2, mode=wrap"),
    CONV("1,8,6,7", "4,8,3,3", "padding=[2,1], mode=edge"),
    TRANSPOSED("2,6,7,5", "6,3,4,4", "stride=2, padding=1, groups=2"),
    TRANSPOSED("1,4,9", "4,5,3", "stride=4, output_padding=3"),
    TRANSPOSED("1,2,5,4", "2,16,3,3", "padding=2, dilation=2"),
    /* Dims of any run, narrow floats, and what stands around it in one kernel. */
    "dim n <= 3\ndim h <= 13\nx = input f32[n,4,h,10]\nw = input f32[4,1,3,3]\ny = conv(x, w) {padding=1, groups=4, stride=[2,1]}\noutput y",
    "x = input f16[1,9,6,11]\nw = input f32[9,1,3,3]\nb = input f32[9]\ny = gelu(add(x, conv(x, w, bias=b) {padding=1, groups=9}))\noutput y",
    "x = input f32[1,6,5,7]\nw = input f32[3,6,2,2]\ny = relu(conv(mul(permute(x) {axes=[0,1,3,2]}, 2), w))\noutput y",
    "x = input f32[0,3,8,8]\nw = input f32[2,3,3,3]\ny = conv(x, w)\noutput y",
    "x = input f32[2,3,9,9]\ny = max_pool(avg_pool(x) {size=2, axes=[2], stride=1}) {size=[3,3], stride=[1,2], padding=[1,0]}\noutput y",
};

Test(nn, conv_cpu_class) { run_cases("cpu", &(tuff_device_desc){ .toggles = "+cpu" }, convolutions, COUNT(convolutions), NULL); }
Test(nn, conv_gpu_class) { run_cases("gpu", &(tuff_device_desc){ .toggles = "-cpu" }, convolutions, COUNT(convolutions), NULL); }
Test(nn, conv_gpu_class_at_the_floor)
{
    run_cases("gpu floor", &(tuff_device_desc){ .toggles = "-cpu,-subgroup,-fp16,-storage16,-storage8", .limits = "invocations=128,shared=16K,bindings=4" },
              convolutions, COUNT(convolutions), NULL);
}

/* What is wrong is said with names and numbers. */
Test(nn, mistakes)
{
    static const struct { const char *text, *part; } cases[] = {
        { CONV("1,4,8,8", "4,2,3,3", "groups=1"), "the weight is [outputs, channels / groups, ..]" },
        { CONV("1,4,8,8", "4,4,3", "groups=1"), "the weight has rank 3, x has rank 4" },
        { CONV("1,4,2,8", "4,4,3,3", "groups=1"), "the kernel reaches over 3 elements of axis 2, which has 2 with its padding" },
        { CONV("1,4,8,8", "4,4,3,3", "stride=[1,2,3]"), "stride has 3 entries; there are 2 spatial axes" },
        { CONV("1,4,3,8", "4,4,3,3", "padding=3, mode=reflect"), "axis 2 is padded by 3; this mode takes at most 2" },
        { CONV("1,4,8,8", "4,4,3,3", "stride=0"), "stride 0 is 0; it is at least 1" },
        { CONV("4,8", "4,4", "groups=1"), "x has rank 2; it is [batch, channels] and one to three spatial axes" },
        { TRANSPOSED("1,4,8", "4,4,3", "stride=2, output_padding=2"), "output_padding 0 is 2; it is below the stride or the dilation" },
        { "x = input f32[4,8]\ny = topk(x) {k=9, axis=1}\noutput y", "k is 9; it is 1 to 8, the size of axis 1" },
        { "x = input c64[4,8]\ny = sort(x) {axis=1}\noutput y", "c64 is not among its dtypes" },
        { "x = input f32[4,6]\ny = hadamard(x) {axis=1}\noutput y", "axis 1 has the size 6; it is a power of two" },
        { "x = input f32[4,8]\ny = max_pool(x) {size=[3], padding=3}\noutput y", "padding 0 leaves windows without an element" },
        { "x = input f32[4,8]\ns = input i32[5]\ny = segment_reduce(x, s) {count=2}\noutput y", "segments are integers, one for each element of axis 0" },
        { "x = input i32[4]\ns = input i32[4]\ny = segment_reduce(x, s) {count=2, mode=mean}\noutput y", "a mean of i32 is no i32" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char message[512];
        tuff_graph *g = NULL;
        cr_expect(tuff_graph_parse(cases[i].text, strlen(cases[i].text), NULL, &g, message, sizeof message) && strstr(message, cases[i].part), "%s\n%s", message,
                  cases[i].text);
        tuff_graph_destroy(g);
    }
}
