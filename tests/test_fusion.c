/* What becomes a kernel: each graph of tests/graphs has an expected kernel list per device class, and its arena stays near the
 * lower bound. Lists stand in the table below as "name; name; ...", sorted by wave as the plan is. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/plan.h"

#define GRAPHS TUFF_SOURCE_DIR "/tests/graphs/"

static const tf_limits cpu = {
    .max_invocations = 1024, .max_local = { 1024, 1024, 64 }, .shared_bytes = 32768, .storage_bindings = 32, .uniform_bindings = 15,
    .storage_range = 1u << 27, .uniform_range = 65536, .storage_align = 16, .max_groups = { 65535, 65535, 65535 }, .max_buffer = 1u << 31,
    .subgroup_size = 8, .subgroup_min = 8, .subgroup_max = 8, .cpu = true, .subgroup_basic = true, .subgroup_vote = true,
    .subgroup_arithmetic = true, .subgroup_shuffle = true, .subgroup_ballot = true, .subgroup_control = true, .storage16 = true,
    .storage8 = true, .f16 = true, .i8 = true, .i16 = true, .i64 = true, .f64 = true, .units = 2,
};

static tf_limits gpu(void)
{
    tf_limits l = cpu;
    l.cpu = false;
    l.subgroup_size = l.subgroup_min = l.subgroup_max = 32;
    l.shared_bytes = 49152;
    l.storage_range = 1ull << 32;
    l.units = 64;
    return l;
}

static char *slurp(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    cr_assert(f, "%s is missing", path);
    char *text = malloc(65536);
    *size = fread(text, 1, 65535, f);
    text[*size] = 0;
    fclose(f);
    return text;
}

static tf_plan *plan_of(const char *name, const tf_limits *limits, bool no_fusion)
{
    char path[512], message[512];
    size_t size;
    tuff_graph *g;
    tf_plan *plan;
    snprintf(path, sizeof path, GRAPHS "%s.tuff", name);
    char *text = slurp(path, &size);
    cr_assert_eq(tuff_graph_parse(text, size, &(tuff_parse_desc){ .name = name }, &g, message, sizeof message), TUFF_OK, "%s", message);
    const tf_compile_options options = { .no_fusion = no_fusion };
    cr_assert_eq(tf_compile(g, limits, &options, &(tuff_allocator){ 0 }, &plan), TUFF_OK, "%s: %s", name, tuff_graph_error(g));
    tuff_graph_destroy(g);
    free(text);
    return plan;
}

static const struct { const char *graph, *cpu, *gpu; } expected[] = {
#include "graphs/expected.h"
};

Test(fusion, kernels_are_as_listed)
{
    const tf_limits limits[2] = { cpu, gpu() };
    for (size_t i = 0; i < TF_COUNT(expected); i++)
        for (int c = 0; c < 2; c++) {
            char got[2048] = "";
            tf_plan *p = plan_of(expected[i].graph, &limits[c], false);
            for (uint32_t s = 0; s < p->steps.n; s++) {
                const tf_step *step = &p->steps.data[s];
                const char *name = step->kind == TF_STEP_COPY ? "copy" : step->kind == TF_STEP_FILL ? "fill" : p->kernels.data[step->kernel].name;
                snprintf(got + strlen(got), sizeof got - strlen(got), "%s%s", s ? "; " : "", name);
            }
            cr_expect_str_eq(got, c ? expected[i].gpu : expected[i].cpu, "%s on the %s class:\n got  %s\n want %s", expected[i].graph,
                             c ? "gpu" : "cpu", got, c ? expected[i].gpu : expected[i].cpu);
            tf_plan_destroy(p);
        }
}

/* Arena <= 1.1 of the bytes live in the fullest wave, and that <= 1.25 of the best serial order's. */
Test(fusion, arena_is_near_the_lower_bound)
{
    const tf_limits limits[2] = { cpu, gpu() };
    for (size_t i = 0; i < TF_COUNT(expected); i++)
        for (int c = 0; c < 4; c++) {
            tf_plan *p = plan_of(expected[i].graph, &limits[c & 1], c >> 1);
            cr_expect((double)p->arena_bytes <= 1.1 * (double)p->live_bytes, "%s: arena %llu, live %llu", expected[i].graph,
                      (unsigned long long)p->arena_bytes, (unsigned long long)p->live_bytes);
            cr_expect((double)p->live_bytes <= 1.25 * (double)p->serial_bytes, "%s: live %llu, serial %llu", expected[i].graph,
                      (unsigned long long)p->live_bytes, (unsigned long long)p->serial_bytes);
            tf_plan_destroy(p);
        }
}

/* A kernel that stayed separate names its reason, and the reason is one of the table. */
Test(fusion, refusals_have_reasons)
{
    tf_plan *p = plan_of("norm_matmul", &cpu, false);
    tf_plan_destroy(p);
    p = plan_of("shared_value", &cpu, false);
    bool readers = false;
    for (uint32_t i = 0; i < p->refusals.n; i++) readers |= p->refusals.data[i].reason == TF_REFUSE_READERS;
    cr_expect(readers, "erf and tanh are read by three kernels, and nothing says so");
    tf_plan_destroy(p);
}

/* What a fused selective scan of d channels, n states and l steps moves: u, delta, z and y once, b and c once per block of channels, and
 * parameters and the last state. Cut into `parts`, it also moves their states, which cost 4 (4 n + 2) bytes a channel and part. */
Test(fusion, selective_scan_bytes)
{
    const uint64_t d = 1536, n = 16, l = 512, once = 16 * d * l + 8 * n * l + 4 * d * (2 * n + 2);
    const tf_limits devices[] = { cpu, gpu() };
    for (size_t i = 0; i < 2; i++) {
        tf_plan *plan = plan_of("selective_scan", &devices[i], false);
        uint64_t bytes = 0, parts = 1;
        for (uint32_t k = 0; k < plan->steps.n; k++) bytes += plan->steps.data[k].bytes;
        for (uint32_t k = 0; k < plan->buffers.n; k++)
            if (plan->buffers.data[k].kind == TF_BUF_ARENA && plan->buffers.data[k].type.rank == 4) parts = (uint64_t)plan->buffers.data[k].type.dim[1];
        cr_expect((plan->steps.n == 1) == devices[i].cpu && (parts > 1) != devices[i].cpu, "%u kernels, %u parts", plan->steps.n, (unsigned)parts);
        /* the fold reads delta, u and b again, and what a is made of goes through memory */
        const uint64_t most = once + (parts > 1 ? 8 * d * l + 4 * n * l + parts * d * 4 * (4 * n + 2) + 4 * d * (4 * n + 1) : 0);
        cr_expect(bytes <= most, "%llu bytes, not %llu", (unsigned long long)bytes, (unsigned long long)most);
        tf_plan_destroy(plan);
    }
}

/* Transform, product with a constant's transform, and the way back: one kernel wherever it holds a line, of n and k - 1 elements. */
Test(fusion, convolution_is_one_kernel)
{
    static const struct { int64_t n, k; bool small; } lines[] = { { 64, 60, true }, { 128, 129, true }, { 300, 180, true }, { 512, 513, true }, { 1000, 1024, true }, { 2048, 2049, false } };
    static const float h[2049] = { 1 };
    tf_limits devices[] = { cpu, gpu(), gpu() };
    devices[2].shared_bytes = 16384; /* 2048 points */
    devices[2].max_invocations = 128;
    for (size_t d = 0; d < 3; d++)
        for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
            tf_plan *plan;
            tuff_graph *g = tuff_graph_create(NULL);
            const tuff_tensor x = tuff_input(g, "x", TUFF_F32, TUFF_SHAPE(64, lines[i].n)), kernel = tuff_const(g, TUFF_F32, TUFF_SHAPE(lines[i].k), h, NULL);
            tuff_output(g, "y", tuff_silu(tuff_fft_conv(x, kernel, &(tuff_fft_conv_desc){ .algorithm = TUFF_CONV_FFT })));
            cr_assert_eq(tf_compile(g, &devices[d], &(tf_compile_options){ 0 }, &(tuff_allocator){ 0 }, &plan), TUFF_OK, "%s", tuff_graph_error(g));
            cr_expect((plan->steps.n == 1) == (lines[i].small || d < 2), "device %zu, %lld by %lld: %u kernels", d, (long long)lines[i].n, (long long)lines[i].k,
                      (unsigned)plan->steps.n);
            tf_plan_destroy(plan);
            tuff_graph_destroy(g);
        }
}
