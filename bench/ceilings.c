/* ceilings.c - the device's own limits, by kernels written here: nothing of tuff's operators or compiler takes part.
 *
 * A kernel is GLSL text in a plan made by hand, so that memory, recording and timing are those of every other program. */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/program.h"

/* ---- plans by hand -------------------------------------------------------------------------------------- */

typedef struct sketch {
    tuff_device *dev;
    tf_plan *plan;
    bool failed;
} sketch;

static sketch begin(tuff_device *dev)
{
    sketch s = { .dev = dev, .plan = tf_plan_create(NULL) };
    if (!s.plan) exit(tool_error("out of memory"));
    s.plan->limits = dev->caps.limits;
    return s;
}

static uint32_t add_buffer(sketch *s, tf_buffer_kind kind, const char *name, int64_t n)
{
    const tf_type type = { .dtype = TUFF_F32, .rank = 1, .dim = { n } };
    tf_buffer *b = tf_push(&s->plan->arena, &s->plan->buffers);
    if (!b) return s->failed = true, 0;
    *b = (tf_buffer){ .kind = kind, .type = type, .name = name, .bytes = tf_plan_bytes(s->plan, &type, NULL) };
    if (kind == TF_BUF_ARENA) return s->plan->buffers.n - 1;
    tf_plan_port *port = tf_push(&s->plan->arena, &s->plan->ports);
    if (port)
        *port = (tf_plan_port){ .kind = kind == TF_BUF_INPUT ? TF_PORT_INPUT : TF_PORT_OUTPUT, .name = name, .buffer = s->plan->buffers.n - 1, .type = type };
    return s->plan->buffers.n - 1;
}

/* body: the shader's text below arrays x0, x1 of the bindings, E (the first's element type), GROUP (folded workgroup index), WG
 * and LID. The second element type may be NULL: one binding. texels: x0 is a texel buffer. */
static uint32_t add_kernel(sketch *s, const char *name, uint32_t local, const char *const elements[2], bool texels, const char *body)
{
    tf_str text;
    tf_str_init(&text, NULL);
    tf_str_printf(&text, "#version 450\n%slayout(local_size_x = %u) in;\n#define E %s\n",
                  elements[0][0] == 'u' ? "#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require\n" : "", local, elements[0]);
    const uint32_t n_bindings = elements[1] ? 2 : 1;
    if (texels) tf_str_add(&text, "layout(set = 0, binding = 0) uniform usamplerBuffer x0;\n");
    for (uint32_t i = texels; i < n_bindings; i++)
        tf_str_printf(&text, "layout(std430, set = 0, binding = %u) buffer B%u { %s x%u[]; };\n", i, i, elements[i], i);
    tf_str_printf(&text, "#define WG %uu\n#define LID gl_LocalInvocationIndex\n"
                         "#define GROUP (gl_WorkGroupID.x + gl_NumWorkGroups.x * (gl_WorkGroupID.y + gl_NumWorkGroups.y * gl_WorkGroupID.z))\n", local);
    tf_str_add(&text, body);
    tf_kernel *k = tf_push(&s->plan->arena, &s->plan->kernels);
    const char *glsl = text.failed ? NULL : tf_arena_string(&s->plan->arena, text.data);
    tf_str_release(&text);
    if (!k || !glsl) return s->failed = true, 0;
    *k = (tf_kernel){ .name = name, .algorithm = "by hand", .glsl = glsl, .hash = tf_hash_string(0, glsl), .local = { local, 1, 1 }, .n_bindings = n_bindings };
    return s->plan->kernels.n - 1;
}

/* The last buffer is written, the others are read. */
static void add_step(sketch *s, uint32_t kernel, const uint32_t *buffers, uint32_t n, bool texels, int64_t groups)
{
    tf_step *step = tf_push(&s->plan->arena, &s->plan->steps);
    if (!step) {
        s->failed = true;
        return;
    }
    *step = (tf_step){ .kind = TF_STEP_DISPATCH, .kernel = kernel, .arg = s->plan->args.n, .n_args = n, .groups = groups,
                       .label = s->plan->kernels.data[kernel].name };
    for (uint32_t i = 0; i < n; i++) {
        tf_arg *a = tf_push(&s->plan->arena, &s->plan->args);
        if (a) *a = (tf_arg){ .buffer = buffers[i], .write = i + 1 == n, .read = i + 1 < n, .binding = i, .prefer_texel = texels && i == 0 };
    }
    step->n_bindings = n;
}

static int finish(sketch *s, tuff_program **out)
{
    tf_fault fault = { TUFF_OK, "" };
    *out = NULL;
    bool good = !s->failed && !s->plan->arena.failed;
    for (uint32_t i = 0; good && i < s->plan->steps.n; i++) good = !tf_share_step(s->plan, i);
    good = good && tf_schedule(s->plan) && tf_place(s->plan);
    for (uint32_t i = 0; good && i < s->plan->steps.n; i++) good = !tf_assign_bindings(s->plan, i);
    if (!good || tf_program_from_plan(s->dev, s->plan, NULL, out, &fault)) {
        tf_plan_destroy(s->plan);
        return tool_error("a kernel that measures the device: %s", good ? fault.text : "the plan could not be made");
    }
    return TOOL_OK;
}

static int write_input(tuff_program *p, const char *name)
{
    size_t bytes;
    if (tuff_describe(p, name, &bytes, NULL, NULL)) return tool_error("%s", tuff_program_error(p));
    float *data = tool_alloc(bytes);
    for (size_t i = 0; i < bytes / sizeof *data; i++) data[i] = (float)(i % 251) * 0.01f;
    const tuff_status status = tuff_write(p, name, data, bytes);
    free(data);
    return status ? tool_error("%s", tuff_program_error(p)) : TOOL_OK;
}

/* ---- streaming -------------------------------------------------------------------------------------------- */

typedef struct stream_shape {
    const char *name, *element, *body;
    uint32_t local;
    uint32_t floats;  /* an invocation's share */
    bool texels;      /* x0 is a texel buffer */
} stream_shape;

#define COPY_ONE "void main() { const uint i = GROUP * WG + LID; if (i < x0.length()) x1[i] = x0[i]; }\n"
#define COPY_FOUR "void main() { const uint i = GROUP * (4u * WG) + LID; if (i + 3u * WG < x0.length()) {\n" \
    "  const E a = x0[i], b = x0[i + WG], c = x0[i + 2u * WG], d = x0[i + 3u * WG];\n" \
    "  x1[i] = a; x1[i + WG] = b; x1[i + 2u * WG] = c; x1[i + 3u * WG] = d; } }\n"
#define COPY_TWO "void main() { const uint i = 2u * (GROUP * WG + LID); if (i + 1u < x0.length()) { const E a = x0[i], b = x0[i + 1u]; x1[i] = a; x1[i + 1u] = b; } }\n"
/* Four texels to the halves of two 4 longs. */
#define COPY_TEXELS "u64vec2 L(uvec4 v) { return u64vec2(packUint2x32(v.xy), packUint2x32(v.zw)); }\n" \
    "void main() { const uint i = 2u * (GROUP * WG + LID); if (i + 1u < x1.length()) { const int t = int(2u * i);\n" \
    "  const uvec4 a = texelFetch(x0, t), b = texelFetch(x0, t + 1), c = texelFetch(x0, t + 2), d = texelFetch(x0, t + 3);\n" \
    "  x1[i] = u64vec4(L(a), L(b)); x1[i + 1u] = u64vec4(L(c), L(d)); } }\n"
/* READ_ROWS sums rows of 256 elements, an invocation each; F(i) is element i as a vec4. */
#define READ_ROWS \
    "void main() { vec4 s = vec4(0.0), t = vec4(0.0); const uint i = (GROUP * WG + LID) * 256u;\n" \
    "  for (uint k = 0u; k < 256u; k += 8u) { s += F(i + k); t += F(i + k + 1u); s += F(i + k + 2u); t += F(i + k + 3u);\n" \
    "    s += F(i + k + 4u); t += F(i + k + 5u); s += F(i + k + 6u); t += F(i + k + 7u); }\n" \
    "  s += t; x1[GROUP * WG + LID] = s.x + s.y + s.z + s.w; }\n"

static const stream_shape copies[] = {
    { "float, group 256", "float", COPY_ONE, 256, 1, false },
    { "vec4, group 64", "vec4", COPY_ONE, 64, 4, false },
    { "vec4, group 256", "vec4", COPY_ONE, 256, 4, false },
    { "4 strided vec4, group 64", "vec4", COPY_FOUR, 64, 16, false },
    { "4 strided vec4, group 256", "vec4", COPY_FOUR, 256, 16, false },
    { "2 longs, group 256", "u64vec2", COPY_ONE, 256, 4, false },
    { "4 longs, group 256", "u64vec4", COPY_ONE, 256, 8, false },
    { "4 strided 2 longs, group 256", "u64vec2", COPY_FOUR, 256, 16, false },
    { "2 neighbouring 4 longs, group 256", "u64vec4", COPY_TWO, 256, 16, false },
    { "4 neighbouring texels, group 64", "u64vec4", COPY_TEXELS, 64, 16, true },
};

static const stream_shape reads[] = {
    { "row of 256 texels, group 64", "vec4", "#define F(i) uintBitsToFloat(texelFetch(x0, int(i)))\n" READ_ROWS, 64, 1024, true },
    { "16 strided vec4, group 256", "vec4",
      "void main() { vec4 s = vec4(0.0); const uint i = GROUP * (16u * WG) + LID;\n"
      "  for (uint k = 0u; k < 16u; k++) s += x0[i + k * WG];\n"
      "  x1[GROUP * WG + LID] = s.x + s.y + s.z + s.w; }\n", 256, 64, false },
    { "row of 256 vec4, group 64", "vec4", "#define F(i) x0[i]\n" READ_ROWS, 64, 1024, false },
    { "row of 256 x 2 longs, group 64", "u64vec2",
      "vec4 F(uint i) { return uintBitsToFloat(uvec4(unpackUint2x32(x0[i].x), unpackUint2x32(x0[i].y))); }\n" READ_ROWS, 64, 1024, false },
    { "64 strided vec4, group 256", "vec4",
      "void main() { vec4 s = vec4(0.0), t = vec4(0.0); const uint i = GROUP * (64u * WG) + LID;\n"
      "  for (uint k = 0u; k < 64u; k += 4u) { s += x0[i + k * WG]; t += x0[i + (k + 1u) * WG]; s += x0[i + (k + 2u) * WG]; t += x0[i + (k + 3u) * WG]; }\n"
      "  s += t; x1[GROUP * WG + LID] = s.x + s.y + s.z + s.w; }\n", 256, 256, false },
};

/* 64 MiB on CPUs, enough to leave every cache; more where caches are larger. */
static int64_t stream_floats(const tuff_device *dev)
{
    uint64_t bytes = dev->caps.limits.cpu ? UINT64_C(64) << 20 : UINT64_C(512) << 20;
    while (bytes > dev->caps.limits.storage_range || bytes > dev->caps.limits.max_buffer) bytes /= 2;
    return (int64_t)(bytes / 4);
}

static int stream_program(tuff_device *dev, const stream_shape *shape, bool copies_all, int64_t n, tuff_program **out)
{
    sketch s = begin(dev);
    const uint32_t x = add_buffer(&s, TF_BUF_INPUT, "x", n), y = add_buffer(&s, TF_BUF_OUTPUT, "y", copies_all ? n : n / shape->floats);
    const uint32_t kernel = add_kernel(&s, "stream", shape->local, (const char *[]){ shape->element, copies_all ? shape->element : "float" }, shape->texels, shape->body);
    add_step(&s, kernel, (uint32_t[]){ x, y }, 2, shape->texels, n / ((int64_t)shape->local * shape->floats));
    const int status = finish(&s, out);
    return status ? status : write_input(*out, "x");
}

int bench_copy_program(tuff_device *dev, const bench_ceilings *c, int64_t n, tuff_program **out)
{
    const stream_shape *shape = &copies[1];
    for (size_t i = 0; i < TF_COUNT(copies); i++)
        if (!strcmp(copies[i].name, c->copy_shape) && n % ((int64_t)copies[i].local * copies[i].floats) == 0) shape = &copies[i];
    return stream_program(dev, shape, true, n, out);
}

static int time_stream(tuff_device *dev, const stream_shape *shape, bool copies_all, double seconds, double *gbs)
{
    const int64_t n = stream_floats(dev);
    bench_time t;
    tuff_program *p;
    *gbs = 0.0;
    if (shape->local > dev->caps.limits.max_invocations || (shape->element[0] == 'u' && !dev->caps.limits.i64)) return TOOL_OK;
    if (shape->texels && (uint64_t)n * 4 > (dev->caps.limits.texel_bindings ? dev->caps.limits.texel_range : 0)) return TOOL_OK;
    int status = stream_program(dev, shape, copies_all, n, &p);
    if (!status) status = bench_measure(p, seconds, &t);
    if (!status) *gbs = (double)(copies_all ? 2 * n : n + n / shape->floats) * 4.0 / (t.median * 1e6);
    tuff_program_destroy(p);
    return status;
}

static int best_stream(tuff_device *dev, const stream_shape *shapes, size_t n, bool copies_all, double seconds, tool_progress *progress,
                       double *best, const char **name)
{
    int status = TOOL_OK;
    for (size_t i = 0; !status && i < n; i++) {
        double gbs;
        tool_progress_show(progress, "device ceilings: %s, %s", copies_all ? "copy" : "read", shapes[i].name);
        status = time_stream(dev, &shapes[i], copies_all, seconds, &gbs);
        if (gbs > *best) {
            *best = gbs;
            *name = shapes[i].name;
        }
    }
    return status;
}

/* ---- arithmetic -------------------------------------------------------------------------------------------- */

/* 8 chains of vec4, 16 fused multiply-adds each per trip: 512 a trip. */
#define FMA_ROW "a = fma(a, m, c); b = fma(b, m, c); d = fma(d, m, c); e = fma(e, m, c); f = fma(f, m, c); g = fma(g, m, c); h = fma(h, m, c); o = fma(o, m, c);\n"
#define FMA_4 FMA_ROW FMA_ROW FMA_ROW FMA_ROW
#define FMA_TRIPS 64
static const char fma_body[] =
    "void main() { const float s = x0[LID]; const vec4 m = vec4(0.999 + 1e-9 * s), c = vec4(s);\n"
    "  vec4 a = vec4(s), b = a + 1.0, d = a + 2.0, e = a + 3.0, f = a + 4.0, g = a + 5.0, h = a + 6.0, o = a + 7.0;\n"
    "  for (uint k = 0u; k < 64u; k++) {\n" FMA_4 FMA_4 FMA_4 FMA_4 "  }\n"
    "  a += b + d + e + f + g + h + o; x1[GROUP * WG + LID] = a.x + a.y + a.z + a.w; }\n";
static const char fma_scalar_body[] =
    "void main() { const float s = x0[LID], m = 0.999 + 1e-9 * s, c = s;\n"
    "  float a = s, b = a + 1.0, d = a + 2.0, e = a + 3.0, f = a + 4.0, g = a + 5.0, h = a + 6.0, o = a + 7.0;\n"
    "  for (uint k = 0u; k < 64u; k++) {\n" FMA_4 FMA_4 FMA_4 FMA_4 "  }\n"
    "  x1[GROUP * WG + LID] = a + b + d + e + f + g + h + o; }\n";

static int time_fma(tuff_device *dev, const char *body, double flops_each, int64_t groups, double seconds, double *gflops, double *ms)
{
    bench_time t;
    tuff_program *p;
    sketch s = begin(dev);
    const uint32_t x = add_buffer(&s, TF_BUF_INPUT, "x", 64), y = add_buffer(&s, TF_BUF_OUTPUT, "y", groups * 64);
    add_step(&s, add_kernel(&s, "fma", 64, (const char *[]){ "float", "float" }, false, body), (uint32_t[]){ x, y }, 2, false, groups);
    int status = finish(&s, &p);
    if (!status) status = write_input(p, "x");
    if (!status) status = bench_measure(p, seconds, &t);
    if (!status) {
        *ms = t.median;
        *gflops = flops_each * 64.0 * (double)groups / (t.median * 1e6);
    }
    tuff_program_destroy(p);
    return status;
}

static int measure_fma(tuff_device *dev, double seconds, tool_progress *progress, double *best)
{
    static const struct { const char *body; double flops; } kernels[] = { { fma_body, 2.0 * 4 * 8 * 16 * FMA_TRIPS }, { fma_scalar_body, 2.0 * 8 * 16 * FMA_TRIPS } };
    int status = TOOL_OK;
    for (size_t i = 0; !status && i < TF_COUNT(kernels); i++) {
        double gflops = 0.0, ms = 0.0;
        tool_progress_show(progress, "device ceilings: arithmetic");
        status = time_fma(dev, kernels[i].body, kernels[i].flops, 16, 0.0, &gflops, &ms);
        const double grow = ms > 0.0 ? 8.0 / ms : 1.0; /* to some milliseconds */
        if (!status && grow > 1.5) status = time_fma(dev, kernels[i].body, kernels[i].flops, (int64_t)TF_MIN(16.0 * grow, 65535.0), seconds, &gflops, &ms);
        *best = TF_MAX(*best, gflops);
    }
    return status;
}

/* ---- overheads ----------------------------------------------------------------------------------------------- */

static const char empty_body[] = "void main() { if (GROUP == 0xffffffffu) x0[LID] = 0.0; }\n";

/* n empty dispatches. apart: each writes a buffer of its own, so that no barrier is between them. */
static int build_empty(tuff_device *dev, uint32_t n, bool apart, tuff_program **out)
{
    sketch s = begin(dev);
    const uint32_t kernel = add_kernel(&s, "empty", 64, (const char *[]){ "float", NULL }, false, empty_body);
    const uint32_t y = add_buffer(&s, TF_BUF_OUTPUT, "y", 64);
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t to = apart && i + 1 < n ? add_buffer(&s, TF_BUF_ARENA, NULL, 64) : y;
        add_step(&s, kernel, &to, 1, false, 1);
    }
    return finish(&s, out);
}

static int time_empty(tuff_device *dev, uint32_t n, bool apart, double seconds, double *us)
{
    bench_time t;
    tuff_program *p;
    int status = build_empty(dev, n, apart, &p);
    if (!status) status = bench_measure(p, seconds, &t);
    if (!status) *us = t.median * 1e3;
    tuff_program_destroy(p);
    return status;
}

/* Median of the time that tuff_submit itself takes, or tuff_run. */
static int time_call(tuff_program *p, bool whole, double *us)
{
    double ms[101];
    uint64_t ticket = 0;
    for (uint32_t i = 0; i < TF_COUNT(ms); i++) {
        const uint64_t start = tf_clock_ns();
        tuff_status status = whole ? tuff_run(p) : tuff_submit(p, &ticket);
        ms[i] = (double)(tf_clock_ns() - start) * 1e-3;
        if (!status && !whole) status = tuff_wait(p, ticket, UINT64_MAX);
        if (status) return tool_error("%s", tuff_program_error(p));
    }
    qsort(ms, TF_COUNT(ms), sizeof *ms, tool_compare_doubles);
    *us = ms[TF_COUNT(ms) / 2];
    return TOOL_OK;
}

static int time_submit(tuff_device *dev, uint32_t kernels, bool whole, double *us)
{
    tuff_program *p;
    int status = build_empty(dev, kernels, false, &p);
    if (!status) status = time_call(p, whole, us);
    tuff_program_destroy(p);
    return status;
}

/* The driver's own: a submission without commands. */
static int time_driver(tuff_device *dev, double *submit_us, double *wait_us)
{
    double submit[101], both[101];
    const tf_batch nothing = { NULL, 0 };
    tf_fault fault = { TUFF_OK, "" };
    for (uint32_t i = 0; i < TF_COUNT(both); i++) {
        uint64_t ticket;
        const uint64_t start = tf_clock_ns();
        bool good = tf_submit(dev, &nothing, 1, (tf_semaphores){ 0 }, (tf_semaphores){ 0 }, &ticket, &fault);
        submit[i] = (double)(tf_clock_ns() - start) * 1e-3;
        good = good && tf_wait(dev, ticket, UINT64_MAX, &fault);
        both[i] = (double)(tf_clock_ns() - start) * 1e-3;
        if (!good) return tool_error("%s", fault.text);
    }
    qsort(submit, TF_COUNT(submit), sizeof *submit, tool_compare_doubles);
    qsort(both, TF_COUNT(both), sizeof *both, tool_compare_doubles);
    *submit_us = submit[TF_COUNT(submit) / 2];
    *wait_us = both[TF_COUNT(both) / 2];
    return TOOL_OK;
}

static int measure_overheads(tuff_device *dev, double seconds, tool_progress *progress, bench_ceilings *out)
{
    double few = 0.0, many = 0.0, apart = 0.0, ignored;
    tool_progress_show(progress, "device ceilings: overheads");
    int status = time_driver(dev, &out->driver_submit_us, &out->driver_wait_us);
    if (!status) status = time_empty(dev, 1, false, seconds, &few);
    if (!status) status = time_empty(dev, 257, false, seconds, &many);
    if (!status) status = time_empty(dev, 257, true, seconds, &apart);
    if (!status) status = time_submit(dev, 1, true, &ignored);
    if (!status) status = time_submit(dev, 1, true, &out->run_us);
    if (!status) status = time_submit(dev, 10, false, &out->submit_10_us);
    if (!status) status = time_submit(dev, 1000, false, &out->submit_1000_us);
    out->barrier_us = TF_MAX((many - few) / 256.0, 0.0);
    out->dispatch_us = TF_MAX((apart - few) / 256.0, 0.0);
    return status;
}

int bench_ceilings_measure(tuff_device *dev, double seconds, tool_progress *progress, bench_ceilings *out)
{
    *out = (bench_ceilings){ .copy_shape = "", .read_shape = "" };
    int status = best_stream(dev, copies, TF_COUNT(copies), true, seconds, progress, &out->copy_gbs, &out->copy_shape);
    if (!status) status = best_stream(dev, reads, TF_COUNT(reads), false, seconds, progress, &out->read_gbs, &out->read_shape);
    if (!status) status = measure_fma(dev, seconds, progress, &out->fma_gflops);
    return status ? status : measure_overheads(dev, seconds, progress, out);
}
