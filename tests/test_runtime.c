/* test_runtime.c - the Vulkan half on plans made by hand: runs, slots, caches, faults, embedding. The compiler is not
 * involved, so what fails here is the runtime's. Each Test opens few devices and walks a table of cases. */
#define _POSIX_C_SOURCE 200809L

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <tuff/tuff_vulkan.h>

#include "runtime/program.h"
#include "support/support.h"

/* ---- plans by hand ------------------------------------------------------------------------------ */

static tf_type vec(tuff_dtype t, int64_t n) { return (tf_type){ .dtype = t, .rank = 1, .dim = { n } }; }

static uint32_t add_buffer(tf_plan *plan, tf_buffer_kind kind, const char *name, tf_type type, const void *data)
{
    tf_buffer *b = tf_push(&plan->arena, &plan->buffers);
    *b = (tf_buffer){ .kind = kind, .type = type, .name = name, .bytes = tf_plan_bytes(plan, &type, NULL), .data = data };
    static const tf_port_kind ports[] = { [TF_BUF_INPUT] = TF_PORT_INPUT, [TF_BUF_OUTPUT] = TF_PORT_OUTPUT, [TF_BUF_CONST] = TF_PORT_CONST,
                                          [TF_BUF_STATE] = TF_PORT_STATE };
    if (kind != TF_BUF_ARENA)
        *tf_push(&plan->arena, &plan->ports) = (tf_plan_port){ .kind = ports[kind], .name = name, .buffer = plan->buffers.n - 1, .type = type };
    return plan->buffers.n - 1;
}

/* The kernel b<n_args-1>[i] = expr for i < p[0].x, all f32, 64 lanes a group; p[0].y is free for expr. */
static uint32_t add_kernel(tf_plan *plan, const char *name, uint32_t n_args, const char *expr)
{
    tf_str s;
    tf_str_init(&s, NULL);
    tf_str_add(&s, "#version 450\nlayout(local_size_x = 64) in;\n");
    for (uint32_t i = 0; i < n_args; i++)
        tf_str_printf(&s, "layout(std430, set = 0, binding = %u) %sbuffer B%u { float b%u[]; };\n", i, i + 1 < n_args ? "readonly " : "", i, i);
    tf_str_printf(&s, "layout(std140, set = 0, binding = %u) uniform Params { uvec4 p[1]; };\nvoid main()\n{\n"
                      "    uint g = gl_WorkGroupID.x + gl_NumWorkGroups.x * (gl_WorkGroupID.y + gl_NumWorkGroups.y * gl_WorkGroupID.z);\n"
                      "    uint i = g * 64u + gl_LocalInvocationIndex;\n    if (i < p[0].x) b%u[i] = %s;\n}\n", n_args, n_args - 1, expr);
    tf_kernel *k = tf_push(&plan->arena, &plan->kernels);
    *k = (tf_kernel){ .name = name, .algorithm = "map", .glsl = tf_arena_string(&plan->arena, s.data), .local = { 64, 1, 1 },
                      .n_bindings = n_args, .n_params = 2 };
    k->hash = tf_hash_string(0, k->glsl);
    tf_str_release(&s);
    return plan->kernels.n - 1;
}

static void add_arg(tf_plan *plan, tf_step *s, uint32_t buffer, bool write, bool read)
{
    *tf_push(&plan->arena, &plan->args) = (tf_arg){ .buffer = buffer, .write = write, .read = read };
    s->n_args++;
}

/* args end with the written one. groups: a dim; param: the second word. */
static tf_step *add_step(tf_plan *plan, uint32_t kernel, const uint32_t *args, uint32_t n, int64_t elements, int64_t groups, tf_param param)
{
    tf_step *s = tf_push(&plan->arena, &plan->steps);
    *s = (tf_step){ .kind = TF_STEP_DISPATCH, .kernel = kernel, .arg = plan->args.n, .groups = groups, .param = plan->params.n, .n_params = 2,
                    .label = plan->kernels.data[kernel].name, .bytes = 4096, .flops = 4096 };
    for (uint32_t i = 0; i < n; i++)
        add_arg(plan, s, args[i], i + 1 == n, i + 1 < n);
    *tf_push(&plan->arena, &plan->params) = (tf_param){ TF_PARAM_DIM, elements };
    *tf_push(&plan->arena, &plan->params) = param;
    return s;
}

static void add_transfer(tf_plan *plan, tf_step_kind kind, uint32_t from, uint32_t to, uint32_t fill)
{
    tf_step *s = tf_push(&plan->arena, &plan->steps);
    *s = (tf_step){ .kind = kind, .arg = plan->args.n, .fill = fill, .label = kind == TF_STEP_COPY ? "copy" : "fill" };
    if (kind == TF_STEP_COPY)
        add_arg(plan, s, from, false, true);
    add_arg(plan, s, to, true, false);
}

static tf_plan *new_plan(const tuff_device *dev)
{
    tf_plan *plan = tf_plan_create(NULL);
    cr_assert(plan);
    plan->limits = dev->caps.limits;
    return plan;
}

static tf_plan *finish(tf_plan *plan)
{
    cr_assert(tf_schedule(plan) && tf_place(plan));
    for (uint32_t i = 0; i < plan->steps.n; i++) {
        const char *error = tf_assign_bindings(plan, i);
        cr_assert(!error, "%s", error);
    }
    tf_str s;
    tf_str_init(&s, NULL);
    const char *error = tf_plan_check(plan, &s);
    cr_assert(!error, "%s", error);
    tf_str_release(&s);
    return plan;
}

static tuff_program *build(tuff_device *dev, tf_plan *plan, const tuff_compile_desc *desc)
{
    tuff_program *p = NULL;
    tf_fault f = { TUFF_OK, "" };
    const tuff_status status = tf_program_from_plan(dev, plan, desc, &p, &f);
    cr_assert(status == TUFF_OK, "%s", f.text);
    return p;
}

enum { N = 1000, GROUPS = (N + 63) / 64 };

/* y = ((x + 1) * 2 + 1) * 2 ... through the arena, `length` kernels in a chain. */
static tf_plan *chain_plan(const tuff_device *dev, uint32_t length)
{
    tf_plan *plan = new_plan(dev);
    const uint32_t x = add_buffer(plan, TF_BUF_INPUT, "x", vec(TUFF_F32, N), NULL);
    const uint32_t y = add_buffer(plan, TF_BUF_OUTPUT, "y", vec(TUFF_F32, N), NULL);
    const uint32_t add = add_kernel(plan, "add", 2, "b0[i] + 1.0"), twice = add_kernel(plan, "twice", 2, "b0[i] * 0.5");
    uint32_t from = x;
    for (uint32_t i = 0; i < length; i++) {
        const uint32_t to = i + 1 == length ? y : add_buffer(plan, TF_BUF_ARENA, NULL, vec(TUFF_F32, N), NULL);
        add_step(plan, i % 2 ? twice : add, (uint32_t[]){ from, to }, 2, N, GROUPS, (tf_param){ TF_PARAM_DIM, 0 });
        from = to;
    }
    return finish(plan);
}

static float chain_value(float x, uint32_t length)
{
    for (uint32_t i = 0; i < length; i++)
        x = i % 2 ? x * 0.5f : x + 1.0f;
    return x;
}

/* acc += x * s; y = acc + c: a state, a scalar, a constant, two kernels and a copy that keeps the state's old value. */
static tf_plan *state_plan(const tuff_device *dev, const float *constant)
{
    tf_plan *plan = new_plan(dev);
    const uint32_t x = add_buffer(plan, TF_BUF_INPUT, "x", vec(TUFF_F32, N), NULL);
    const uint32_t c = add_buffer(plan, TF_BUF_CONST, "c", vec(TUFF_F32, N), constant);
    const uint32_t s = add_buffer(plan, TF_BUF_STATE, "acc", vec(TUFF_F32, N), NULL);
    const uint32_t y = add_buffer(plan, TF_BUF_OUTPUT, "y", vec(TUFF_F32, N), NULL);
    const uint32_t z = add_buffer(plan, TF_BUF_OUTPUT, "zeros", vec(TUFF_F32, 5), NULL);
    const uint32_t old = add_buffer(plan, TF_BUF_ARENA, NULL, vec(TUFF_F32, N), NULL);
    *tf_push(&plan->arena, &plan->ports) = (tf_plan_port){ .kind = TF_PORT_SCALAR, .name = "s", .type = { .dtype = TUFF_F32 }, .initial = 1.0 };
    const tf_param scalar = { TF_PARAM_SCALAR, plan->ports.n - 1 };
    const uint32_t fma = add_kernel(plan, "accumulate", 3, "b0[i] + b1[i] * uintBitsToFloat(p[0].y)");
    const uint32_t sum = add_kernel(plan, "sum", 3, "b0[i] + b1[i]");
    add_transfer(plan, TF_STEP_COPY, s, old, 0);
    add_transfer(plan, TF_STEP_FILL, 0, z, 0x40400000);
    add_step(plan, fma, (uint32_t[]){ old, x, s }, 3, N, GROUPS, scalar);
    add_step(plan, sum, (uint32_t[]){ s, c, y }, 3, N, GROUPS, (tf_param){ TF_PARAM_DIM, 0 });
    return finish(plan);
}

/* y[0..n) = x + 1 with 0 <= n <= N, and an empty operand beside it. */
static tf_plan *dynamic_plan(const tuff_device *dev)
{
    tf_plan *plan = new_plan(dev);
    *tf_push(&plan->arena, &plan->dim_params) = (tf_dim_param){ "n", N };
    const int64_t n = TF_DIM_BASE, rounded = TF_DIM_BASE + 1, groups = TF_DIM_BASE + 2;
    *tf_push(&plan->arena, &plan->dims) = (tf_dim_expr){ .kind = TF_DIM_PARAM, .a = 0, .hi = N };
    *tf_push(&plan->arena, &plan->dims) = (tf_dim_expr){ .kind = TF_DIM_BIN, .op = TUFF_DIM_ADD, .a = n, .b = 63, .lo = 63, .hi = N + 63 };
    *tf_push(&plan->arena, &plan->dims) = (tf_dim_expr){ .kind = TF_DIM_BIN, .op = TUFF_DIM_FLOORDIV, .a = rounded, .b = 64, .hi = GROUPS };
    const uint32_t x = add_buffer(plan, TF_BUF_INPUT, "x", vec(TUFF_F32, n), NULL);
    const uint32_t e = add_buffer(plan, TF_BUF_INPUT, "empty", vec(TUFF_F32, 0), NULL);
    const uint32_t y = add_buffer(plan, TF_BUF_OUTPUT, "y", vec(TUFF_F32, n), NULL);
    const uint32_t k = add_kernel(plan, "add", 3, "b1[i] + 1.0");
    add_step(plan, k, (uint32_t[]){ e, x, y }, 3, n, groups, (tf_param){ TF_PARAM_DIM, 0 });
    return finish(plan);
}

static void ramp(float *x, float scale)
{
    for (int i = 0; i < N; i++)
        x[i] = scale * (float)(i - 300) * 0.125f;
}

static void expect_no_messages(const tuff_device *dev, const char *what)
{
    cr_expect(tf_device_messages(dev) == 0, "%s: %u validation messages", what, tf_device_messages(dev));
}

/* ---- caps: no device ---------------------------------------------------------------------------- */

static tf_snapshot good_snapshot(void)
{
    tf_snapshot s = { .name = "made up", .api = VK_API_VERSION_1_2, .type = VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU, .max_allocation = 1u << 30,
                      .subgroup_size = 32, .subgroup_min = 32, .subgroup_max = 32, .subgroup_ops = 0xff, .compute = true, .timeline = true,
                      .storage16 = true, .f16 = true, .subgroup_control = true, .driver_version = 100 };
    s.limits.maxComputeWorkGroupInvocations = 1024;
    s.limits.maxComputeSharedMemorySize = 49152;
    s.limits.maxPerStageDescriptorStorageBuffers = s.limits.maxDescriptorSetStorageBuffers = 32;
    s.limits.maxPerStageDescriptorUniformBuffers = s.limits.maxDescriptorSetUniformBuffers = 15;
    s.limits.maxPerStageResources = 200;
    s.limits.maxStorageBufferRange = 1u << 30;
    s.limits.maxUniformBufferRange = 65536;
    s.limits.minStorageBufferOffsetAlignment = 16;
    s.limits.minUniformBufferOffsetAlignment = 64;
    for (int i = 0; i < 3; i++) {
        s.limits.maxComputeWorkGroupSize[i] = i == 2 ? 64 : 1024;
        s.limits.maxComputeWorkGroupCount[i] = 65535;
    }
    return s;
}

Test(runtime, limits_come_from_snapshot_toggles_and_limits)
{
    tf_caps c;
    tf_fault f;
    tf_snapshot s = good_snapshot();
    char text[256];
    cr_expect(!tf_caps_below_floor(&s, text, sizeof text));
    cr_assert(tf_caps_plan(&s, NULL, NULL, &c, &f));
    cr_expect(c.limits.f16 && c.limits.subgroup_arithmetic && c.limits.subgroup_control && c.limits.storage_align == 64 && !c.limits.cpu);
    cr_assert(tf_caps_plan(&s, "-fp16,-subgroup +validate,+cpu", "range=1M,shared=16K,invocations=128,bindings=4,groups=100", &c, &f));
    cr_expect(!c.limits.f16 && !c.limits.subgroup_basic && !c.limits.subgroup_control && c.on.validate && c.limits.cpu && c.limits.storage16);
    cr_expect(c.limits.storage_range == 1 << 20 && c.limits.shared_bytes == 16384 && c.limits.max_invocations == 128 &&
              c.limits.max_local[0] == 128 && c.limits.max_local[2] == 64 && c.limits.storage_bindings == 4 && c.limits.max_groups[1] == 100);
    cr_assert(tf_caps_plan(&s, "", "subgroup=0,range=4G,align=256", &c, &f)); /* limits never rise */
    cr_expect(c.limits.subgroup_size == 0 && !c.limits.subgroup_vote && c.limits.storage_range == 1u << 30 && c.limits.storage_align == 256);

    const struct { const char *toggles, *limits, *text; } bad[] = {
        { "-fp61", NULL, "unknown toggle \"fp61\"; did you mean \"fp16\"?" },
        { "-xyzzy", NULL, "unknown toggle \"xyzzy\"" },
        { "fp16=3", NULL, "unknown toggle" },
        { NULL, "rnage=1M", "unknown limit \"rnage\"; did you mean \"range\"?" },
        { NULL, "range=lots", "limit \"range\" needs a size below 2^64 such as 64, 16K or 1M, \"lots\" was given" },
        { NULL, "shared=99999999999999999999", "limit \"shared\" needs a size below 2^64" },
        { NULL, "align=3", "limit align=3 is no power of two" },
        { NULL, "subgroup=8", "limit subgroup=8: only 0" },
        { NULL, "range", "needs a size" },
        { NULL, "invocations=64", "limit invocations=64 is below the least usable value 128" },
        { NULL, "range=99999999999G", "needs a size" },
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        cr_expect(!tf_caps_plan(&s, bad[i].toggles, bad[i].limits, &c, &f) && f.status == TUFF_E_ATTRIBUTE && strstr(f.text, bad[i].text),
                  "case %zu: %s", i, f.text);
    }
}

Test(runtime, quirks_and_floor)
{
    tf_caps c;
    tf_fault f;
    char text[256];
    tf_snapshot s = good_snapshot();
    s.driver_id = VK_DRIVER_ID_MOLTENVK;
    strcpy(s.name, "AMD Radeon");
    s.limits.maxStorageBufferRange = 0;
    cr_assert(tf_caps_plan(&s, NULL, NULL, &c, &f));
    cr_expect(c.quirks == 3 && !c.limits.subgroup_shuffle && c.limits.subgroup_basic && c.limits.storage_range == 128u << 20);
    cr_assert(tf_caps_plan(&s, "+subgroup", NULL, &c, &f)); /* a toggle overrules a quirk */
    cr_expect(c.limits.subgroup_shuffle);
    cr_assert(tf_caps_plan(&s, "-quirks", NULL, &c, &f));
    cr_expect(c.quirks == 0 && c.limits.subgroup_shuffle && c.limits.storage_range == 0);
    s = good_snapshot();
    s.driver_id = VK_DRIVER_ID_QUALCOMM_PROPRIETARY;
    cr_assert(tf_caps_plan(&s, NULL, NULL, &c, &f));
    cr_expect(c.quirks == 0 && c.limits.f16);
    s.storage16 = false;
    cr_assert(tf_caps_plan(&s, NULL, NULL, &c, &f));
    cr_expect(c.quirks != 0 && !c.limits.f16);

    s = good_snapshot();
    s.api = VK_API_VERSION_1_1;
    cr_expect(strstr(tf_caps_below_floor(&s, text, sizeof text), "Vulkan 1.1, 1.2 is needed"));
    s = good_snapshot();
    s.timeline = false;
    cr_expect(strstr(tf_caps_below_floor(&s, text, sizeof text), "timelineSemaphore"));
    s = good_snapshot();
    s.limits.maxComputeSharedMemorySize = 8192;
    cr_expect(strstr(tf_caps_below_floor(&s, text, sizeof text), "8192 bytes of shared memory, 16384 are needed"));
    tf_str out;
    tf_str_init(&out, NULL);
    tf_caps_print(&s, &c, &out);
    cr_expect(strstr(out.data, "not usable"));
    tf_str_release(&out);
}

/* ---- runs --------------------------------------------------------------------------------------- */

static void run_chain(tuff_device *dev, const char *what)
{
    float x[N], y[N];
    const uint32_t length = 7;
    tuff_program *p = build(dev, chain_plan(dev, length), NULL);
    ramp(x, 1.0f);
    cr_expect(tuff_write(p, "x", x, sizeof x) == TUFF_OK, "%s: %s", what, tuff_program_error(p));
    for (int r = 0; r < 3; r++) {
        cr_expect(tuff_run(p) == TUFF_OK, "%s: %s", what, tuff_program_error(p));
        cr_expect(tuff_read(p, "y", y, sizeof y) == TUFF_OK, "%s: %s", what, tuff_program_error(p));
    }
    for (int i = 0; i < N; i++)
        if (y[i] != chain_value(x[i], length)) {
            cr_expect(false, "%s: y[%d] = %g, want %g", what, i, (double)y[i], (double)chain_value(x[i], length));
            break;
        }
    tuff_program_destroy(p);
}

/* Several runs in flight, each with data and a scalar of its own: what a run sees is what was set before its submit. */
static void run_state(tuff_device *dev, const char *what)
{
    static float c[N];
    float x[N], y[N], zeros[5];
    for (int i = 0; i < N; i++)
        c[i] = (float)i;
    tuff_program *p = build(dev, state_plan(dev, c), &(tuff_compile_desc){ .slots = 3 });
    float sum = 0.0f;
    uint64_t ticket = 0, before = 0;
    for (int r = 1; r <= 9; r++) {
        ramp(x, (float)r);
        cr_expect(tuff_write(p, "x", x, sizeof x) == TUFF_OK && tuff_set_scalar(p, "s", r % 4) == TUFF_OK && tuff_submit(p, &ticket) == TUFF_OK,
                  "%s: %s", what, tuff_program_error(p));
        cr_expect(ticket > before, "%s: tickets grow", what);
        before = ticket;
        sum += (float)(r * (r % 4));
    }
    cr_expect(tuff_wait(p, ticket, UINT64_MAX) == TUFF_OK, "%s: %s", what, tuff_program_error(p));
    cr_expect(tuff_read(p, "y", y, sizeof y) == TUFF_OK && tuff_read(p, "zeros", zeros, sizeof zeros) == TUFF_OK, "%s: %s", what, tuff_program_error(p));
    for (int i = 0; i < N; i++)
        if (y[i] != sum * (float)(i - 300) * 0.125f + (float)i) {
            cr_expect(false, "%s: y[%d] = %g, want %g", what, i, (double)y[i], (double)(sum * (float)(i - 300) * 0.125f + (float)i));
            break;
        }
    for (int i = 0; i < 5; i++)
        cr_expect(zeros[i] == 3.0f, "%s: fill", what);

    /* write a state, read it back without a run, reset it while a run is in flight */
    ramp(x, 1.0f);
    cr_expect(tuff_write(p, "acc", x, sizeof x) == TUFF_OK && tuff_read(p, "acc", y, sizeof y) == TUFF_OK && memcmp(x, y, sizeof x) == 0, "%s: state", what);
    cr_expect(tuff_submit(p, NULL) == TUFF_OK && tuff_reset(p, NULL) == TUFF_OK && tuff_read(p, "acc", y, sizeof y) == TUFF_OK, "%s: reset", what);
    for (int i = 0; i < N; i++)
        if (y[i] != 0.0f) {
            cr_expect(false, "%s: after reset acc[%d] = %g", what, i, (double)y[i]);
            break;
        }
    /* constants can be replaced */
    memset(x, 0, sizeof x);
    cr_expect(tuff_write(p, "c", x, sizeof x) == TUFF_OK && tuff_set_scalar(p, "s", 0.0) == TUFF_OK && tuff_run(p) == TUFF_OK &&
              tuff_read(p, "y", y, sizeof y) == TUFF_OK && y[N - 1] == 0.0f, "%s: constant", what);
    tuff_program_destroy(p);
}

static void run_dynamic(tuff_device *dev, const char *what)
{
    float x[N], y[N];
    tuff_program *p = build(dev, dynamic_plan(dev), NULL);
    const int64_t sizes[] = { N, 1, 64, 65, 0, 999 };
    ramp(x, 1.0f);
    for (size_t k = 0; k < COUNT(sizes); k++) {
        const size_t n = (size_t)sizes[k], bytes = n * sizeof *x;
        size_t described = 1;
        tuff_shape shape;
        tuff_dtype dtype;
        cr_expect(tuff_set_dim(p, "n", sizes[k]) == TUFF_OK && tuff_describe(p, "y", &described, &dtype, &shape) == TUFF_OK);
        cr_expect(described == bytes && dtype == TUFF_F32 && shape.rank == 1 && shape.dim[0] == sizes[k]);
        if (n)
            cr_expect(tuff_run(p) == TUFF_E_STATE, "%s: an input of another size must be written again", what);
        cr_expect(tuff_write(p, "x", x, bytes) == TUFF_OK, "%s: %s", what, tuff_program_error(p));
        cr_expect(tuff_run(p) == TUFF_OK, "%s: %s", what, tuff_program_error(p));
        memset(y, 0xff, sizeof y);
        cr_expect(tuff_read(p, "y", y, bytes) == TUFF_OK, "%s: %s", what, tuff_program_error(p));
        for (size_t i = 0; i < n; i++)
            if (y[i] != x[i] + 1.0f) {
                cr_expect(false, "%s: n = %zu, y[%zu] = %g, want %g", what, n, i, (double)y[i], (double)(x[i] + 1.0f));
                break;
            }
    }
    tuff_program_destroy(p);
}

Test(runtime, runs_in_every_memory_mode)
{
    const char *const toggles[] = { "", "-mapping", "+poison", "-mapping,+poison,-pipeline_cache", "+serialize,+labels" };
    for (size_t i = 0; i < COUNT(toggles); i++) {
        tuff_device *dev = open_device(&(tuff_device_desc){ .toggles = toggles[i], .validate = true });
        run_chain(dev, toggles[i]);
        run_state(dev, toggles[i]);
        run_dynamic(dev, toggles[i]);
        expect_no_messages(dev, toggles[i]);
        tuff_device_close(dev);
    }
}

Test(runtime, grids_are_folded)
{
    tuff_device *dev = open_device(&(tuff_device_desc){ .limits = "groups=3", .validate = true });
    run_chain(dev, "groups=3");
    run_dynamic(dev, "groups=3");
    tf_plan *plan = new_plan(dev);
    plan->limits.max_groups[0] = 65535; /* planned for another device */
    const uint32_t x = add_buffer(plan, TF_BUF_INPUT, "x", vec(TUFF_F32, N), NULL), y = add_buffer(plan, TF_BUF_OUTPUT, "y", vec(TUFF_F32, N), NULL);
    add_step(plan, add_kernel(plan, "wide", 2, "b0[i]"), (uint32_t[]){ x, y }, 2, N, 28, (tf_param){ TF_PARAM_DIM, 0 });
    tuff_program *p;
    tf_fault f;
    cr_expect(tf_program_from_plan(dev, finish(plan), NULL, &p, &f) == TUFF_E_LIMIT && strstr(f.text, "kernel wide needs 28 workgroups"), "%s", f.text);
    tf_plan_destroy(plan);
    expect_no_messages(dev, "groups");
    tuff_device_close(dev);
}

static void no_log(void *user, tuff_log_level level, const char *text)
{
    (void)user, (void)level, (void)text;
}

/* Validation does notice a missing barrier: the silence of every other test means something. */
Test(runtime, missing_barriers_are_noticed)
{
    tuff_device *dev = open_device(&(tuff_device_desc){ .toggles = "-barriers", .validate = true, .log = no_log });
    float x[N];
    ramp(x, 1.0f);
    tuff_program *p = build(dev, chain_plan(dev, 6), NULL);
    cr_assert(tuff_write(p, "x", x, sizeof x) == TUFF_OK && tuff_run(p) == TUFF_OK, "%s", tuff_program_error(p));
    if (dev->messenger)
        cr_expect(tf_device_messages(dev) > 0, "six dependent kernels without barriers raise no message");
    else
        cr_skip_test("skipped: the validation layer is not installed");
    tuff_program_destroy(p);
    tuff_device_close(dev);
}

/* Device-written grids, uniform operands, several operands in one binding. */
Test(runtime, indirect_uniform_and_shared_bindings)
{
    tuff_device *dev = open_device(&(tuff_device_desc){ .toggles = "+poison", .validate = true });
    static const uint32_t grid[3] = { 2, 1, 1 };
    float x[N], y[N], u[4] = { 2.0f, 3.0f, 5.0f, 7.0f };
    tf_plan *plan = new_plan(dev);
    const uint32_t bx = add_buffer(plan, TF_BUF_INPUT, "x", vec(TUFF_F32, N), NULL), bu = add_buffer(plan, TF_BUF_INPUT, "u", vec(TUFF_F32, 4), NULL);
    const uint32_t by = add_buffer(plan, TF_BUF_OUTPUT, "y", vec(TUFF_F32, N), NULL), bz = add_buffer(plan, TF_BUF_OUTPUT, "z", vec(TUFF_F32, N), NULL);
    const uint32_t ba = add_buffer(plan, TF_BUF_ARENA, NULL, vec(TUFF_F32, 300), NULL), bb = add_buffer(plan, TF_BUF_ARENA, NULL, vec(TUFF_F32, N), NULL);
    const uint32_t gc = add_buffer(plan, TF_BUF_CONST, "grid", vec(TUFF_U32, 3), grid), ga = add_buffer(plan, TF_BUF_ARENA, NULL, vec(TUFF_U32, 3), NULL);
    const uint32_t add = add_kernel(plan, "add", 2, "b0[i] + 1.0");
    const uint32_t base = add_kernel(plan, "base", 3, "b1[i] * b0[i & 3u] + float(p[0].y)");
    const uint32_t uni = add_kernel(plan, "uniform", 2, "b0[i]");
    tf_kernel *k = &plan->kernels.data[uni];
    k->glsl = "#version 450\nlayout(local_size_x = 64) in;\nlayout(std140, set = 0, binding = 0) uniform U { vec4 u[1]; };\n"
              "layout(std430, set = 0, binding = 1) buffer B { float b[]; };\nlayout(std140, set = 0, binding = 2) uniform P { uvec4 p[1]; };\n"
              "void main() { uint i = gl_WorkGroupID.x * 64u + gl_LocalInvocationIndex; if (i < p[0].x) b[i] = u[0][i & 3u]; }\n";
    add_transfer(plan, TF_STEP_COPY, gc, ga, 0);
    add_step(plan, add, (uint32_t[]){ bx, bb }, 2, N, GROUPS, (tf_param){ TF_PARAM_DIM, 0 });
    add_step(plan, uni, (uint32_t[]){ bu, ba }, 2, 300, 5, (tf_param){ TF_PARAM_DIM, 0 });
    tf_step *s = add_step(plan, base, (uint32_t[]){ ba, bb, by }, 3, N, 0, (tf_param){ TF_PARAM_BASE, 1 });
    s->kind = TF_STEP_DISPATCH_INDIRECT;
    add_step(plan, add, (uint32_t[]){ bb, bz }, 2, N, GROUPS, (tf_param){ TF_PARAM_DIM, 0 });
    cr_assert(tf_schedule(plan) && tf_place(plan));
    for (uint32_t i = 0; i < plan->steps.n; i++)
        cr_assert(!tf_assign_bindings(plan, i));
    for (uint32_t i = 0; i < plan->steps.n; i++) {
        tf_step *t = &plan->steps.data[i];
        if (t->kind == TF_STEP_DISPATCH && t->kernel == uni) { /* what assign_bindings does under a small limit */
            plan->args.data[t->arg].uniform = plan->bindings.data[t->binding].uniform = true;
        }
        if (t->kind == TF_STEP_DISPATCH_INDIRECT) { /* the grid rides along as an argument without a binding */
            const uint32_t first = plan->args.n;
            for (uint32_t a = 0; a < 3; a++) {
                const tf_arg copy = plan->args.data[t->arg + a];
                *tf_push(&plan->arena, &plan->args) = copy;
            }
            plan->args.data[first + 1].base = 40;
            t->arg = first;
            add_arg(plan, t, ga, false, true);
        }
    }
    tuff_program *p = build(dev, plan, NULL);
    ramp(x, 1.0f);
    cr_assert(tuff_write(p, "x", x, sizeof x) == TUFF_OK && tuff_write(p, "u", u, sizeof u) == TUFF_OK);
    cr_assert(tuff_run(p) == TUFF_OK && tuff_read(p, "y", y, sizeof y) == TUFF_OK, "%s", tuff_program_error(p));
    for (int i = 0; i < N; i++) {
        const float want = (x[i] + 1.0f) * u[i & 3] + 10.0f; /* 40 bytes are 10 elements */
        if (i < 128 ? y[i] != want : y[i] == y[i]) { /* the device's grid has two groups; beyond is poison, a NaN */
            cr_expect(false, "y[%d] = %g, want %g", i, (double)y[i], (double)want);
            break;
        }
    }
    tuff_program_destroy(p);
    expect_no_messages(dev, "indirect");
    tuff_device_close(dev);
}

/* Prefill and decode: two programs on one state; a third with another shape keeps its own. */
Test(runtime, states_are_shared_by_name)
{
    tuff_device *dev = open_device(&(tuff_device_desc){ .validate = true });
    static float c[N];
    float x[N], y[N];
    ramp(x, 1.0f);
    tuff_program *a = build(dev, state_plan(dev, c), NULL), *b = build(dev, state_plan(dev, c), &(tuff_compile_desc){ .share = a });
    tuff_program *alone = build(dev, state_plan(dev, c), NULL);
    tuff_program *const all[] = { a, b, alone };
    for (size_t i = 0; i < COUNT(all); i++)
        cr_assert(tuff_write(all[i], "x", x, sizeof x) == TUFF_OK && tuff_run(all[i]) == TUFF_OK, "%s", tuff_program_error(all[i]));
    cr_expect(tuff_submit(a, NULL) == TUFF_OK && tuff_read(b, "acc", y, sizeof y) == TUFF_OK && y[0] == 3.0f * x[0], "%g, want %g", (double)y[0], 3.0 * (double)x[0]);
    cr_expect(tuff_read(alone, "acc", y, sizeof y) == TUFF_OK && y[0] == x[0]);
    cr_expect(tuff_write(b, "c", x, sizeof x) == TUFF_E_STATE && strstr(tuff_program_error(b), "\"c\" is shared"), "%s", tuff_program_error(b));
    tuff_program_destroy(a); /* the state lives on in b */
    cr_expect(tuff_run(b) == TUFF_OK && tuff_read(b, "acc", y, sizeof y) == TUFF_OK && y[0] == 4.0f * x[0]);
    tuff_program_destroy(b);
    tuff_program_destroy(alone);
    cr_expect(dev->allocated == 0, "%llu bytes are left", (unsigned long long)dev->allocated);
    expect_no_messages(dev, "sharing");
    tuff_device_close(dev);
}

/* ---- what a run costs the CPU, counted ------------------------------------------------------------ */

static struct { uint32_t submits, begins, updates, others; } calls;
static tf_vk real;

static VKAPI_ATTR VkResult VKAPI_CALL count_submit(VkQueue q, uint32_t n, const VkSubmitInfo *s, VkFence f) { calls.submits++; return real.QueueSubmit(q, n, s, f); }
static VKAPI_ATTR VkResult VKAPI_CALL count_begin(VkCommandBuffer c, const VkCommandBufferBeginInfo *i) { calls.begins++; return real.BeginCommandBuffer(c, i); }
static VKAPI_ATTR void VKAPI_CALL count_update(VkDevice d, uint32_t n, const VkWriteDescriptorSet *w, uint32_t m, const VkCopyDescriptorSet *c)
{ calls.updates++; real.UpdateDescriptorSets(d, n, w, m, c); }
static VKAPI_ATTR void VKAPI_CALL count_bind(VkCommandBuffer c, VkPipelineBindPoint b, VkPipeline p) { calls.others++; real.CmdBindPipeline(c, b, p); }

static void count_calls(void *user, tf_vk *vk)
{
    (void)user;
    if (!vk->QueueSubmit || vk->QueueSubmit == count_submit)
        return;
    real = *vk;
    vk->QueueSubmit = count_submit;
    vk->BeginCommandBuffer = count_begin;
    vk->UpdateDescriptorSets = count_update;
    vk->CmdBindPipeline = count_bind;
}

Test(runtime, a_run_is_one_submission)
{
    tuff_device *dev = NULL;
    cr_assert(tf_device_open_with(&(tuff_device_desc){ .toggles = "" }, &(tf_device_hooks){ .patch = count_calls }, &dev) == TUFF_OK, "%s", tuff_device_error(NULL));
    const uint32_t lengths[] = { 10, 500 };
    float x[N];
    ramp(x, 1.0f);
    for (size_t i = 0; i < COUNT(lengths); i++) {
        tuff_program *p = build(dev, chain_plan(dev, lengths[i]), NULL);
        cr_assert(tuff_write(p, "x", x, sizeof x) == TUFF_OK);
        for (int r = 0; r < 2; r++) /* both slots are recorded */
            cr_assert(tuff_submit(p, NULL) == TUFF_OK, "%s", tuff_program_error(p));
        memset(&calls, 0, sizeof calls);
        for (int r = 0; r < 10; r++)
            cr_assert(tuff_run(p) == TUFF_OK, "%s", tuff_program_error(p));
        cr_expect(calls.submits == 10 && !calls.begins && !calls.updates && !calls.others, "%u kernels: %u submits, %u recordings, %u updates",
                  lengths[i], calls.submits, calls.begins, calls.updates);
        tuff_program_destroy(p);
    }
    tuff_device_close(dev);
}

/* ---- bad input ---------------------------------------------------------------------------------- */

#define EXPECT_ERROR(call, status, part) \
    do { \
        const tuff_status got_ = (call); \
        cr_expect(got_ == (status) && strstr(tuff_program_error(p), part), "%s: status %d, %s", #call, (int)got_, tuff_program_error(p)); \
    } while (0)

Test(runtime, bad_input_is_refused_and_leaves_things_healthy)
{
    tuff_device *dev = open_device(&(tuff_device_desc){ .validate = true });
    static float c[N];
    float x[N], y[N];
    ramp(x, 1.0f);
    tuff_program *p = build(dev, state_plan(dev, c), NULL);
    EXPECT_ERROR(tuff_run(p), TUFF_E_STATE, "input \"x\" f32[1000] was never written");
    EXPECT_ERROR(tuff_read(p, "y", y, sizeof y), TUFF_E_STATE, "before the first run");
    EXPECT_ERROR(tuff_write(p, "x", x, 17), TUFF_E_ARGUMENT, "input \"x\" f32[1000] takes 4000 bytes, 17 were given");
    EXPECT_ERROR(tuff_write(p, "x", NULL, sizeof x), TUFF_E_ARGUMENT, "is NULL");
    EXPECT_ERROR(tuff_write(p, NULL, x, sizeof x), TUFF_E_ARGUMENT, "name");
    EXPECT_ERROR(tuff_write(p, "y", x, sizeof x), TUFF_E_NAME, "\"y\" is an output");
    EXPECT_ERROR(tuff_write(p, "acd", x, sizeof x), TUFF_E_NAME, "did you mean \"acc\"?");
    EXPECT_ERROR(tuff_read(p, "x", x, sizeof x), TUFF_E_NAME, "\"x\" is an input");
    EXPECT_ERROR(tuff_set_dim(p, "n", 3), TUFF_E_NAME, "no dim named \"n\"");
    EXPECT_ERROR(tuff_set_scalar(p, "x", 3), TUFF_E_NAME, "\"x\" is an input");
    EXPECT_ERROR(tuff_reset(p, "x"), TUFF_E_NAME, "\"x\" is an input");
    EXPECT_ERROR(tuff_wait(p, 1000000, 0), TUFF_E_ARGUMENT, "ticket 1000000");
    cr_expect(tuff_describe(p, "nope", NULL, NULL, NULL) == TUFF_E_NAME && tuff_run(NULL) == TUFF_E_ARGUMENT);
    tuff_program_destroy(p);
    p = build(dev, dynamic_plan(dev), NULL);
    EXPECT_ERROR(tuff_set_dim(p, "n", N + 1), TUFF_E_ARGUMENT, "dim \"n\" is between 0 and 1000, 1001 was given");
    EXPECT_ERROR(tuff_set_dim(p, "n", -1), TUFF_E_ARGUMENT, "-1 was given");
    cr_expect(tuff_write(p, "x", x, sizeof x) == TUFF_OK && tuff_set_dim(p, "n", 10) == TUFF_OK);
    EXPECT_ERROR(tuff_run(p), TUFF_E_STATE, "was written with 4000 bytes, before a dim changed");
    tuff_program_destroy(p);
    tuff_program_destroy(NULL);

    tf_plan *plan = chain_plan(dev, 2);
    tf_fault f;
    plan->kernels.data[0].glsl = "#version 450\nlayout(local_size_x = 64) in;\nvoid main() { florp x; }\n";
    cr_expect(tf_program_from_plan(dev, plan, NULL, &p, &f) == TUFF_E_COMPILER && strstr(f.text, "kernel add does not compile") &&
              strstr(f.text, "florp x;"), "%s", f.text);
    tf_plan_destroy(plan);
    run_chain(dev, "afterwards");
    expect_no_messages(dev, "bad input");
    tuff_device_close(dev);

    const struct { tuff_device_desc desc; tuff_status status; const char *text; } opens[] = {
        { { .select = "no such thing" }, TUFF_E_NO_DEVICE, "no device matches \"no such thing\"; there are 0: " },
        { { .select = "77" }, TUFF_E_NO_DEVICE, "no device matches \"77\"" },
        { { .toggles = "-nope" }, TUFF_E_ATTRIBUTE, "unknown toggle" },
        { { .limits = "shared=1" }, TUFF_E_ATTRIBUTE, "below the least usable value" },
    };
    for (size_t i = 0; i < COUNT(opens); i++) {
        tuff_device *d = (tuff_device *)&d;
        const tuff_status status = tuff_device_open(&opens[i].desc, &d);
        cr_expect(status == opens[i].status && !d && strstr(tuff_device_error(NULL), opens[i].text), "%zu: %s", i, tuff_device_error(NULL));
    }
}

Test(runtime, without_a_driver)
{
    tuff_device *dev = NULL;
    setenv("VK_DRIVER_FILES", "/nonexistent", 1);
    setenv("VK_ICD_FILENAMES", "/nonexistent", 1);
    const tuff_status status = tuff_device_open(NULL, &dev);
    cr_expect((status == TUFF_E_NO_DRIVER || status == TUFF_E_NO_DEVICE) && !dev && strlen(tuff_device_error(NULL)) > 20, "%s", tuff_device_error(NULL));
    tf_str s;
    tf_str_init(&s, NULL);
    cr_expect(tf_devices_print(NULL, &s) == status);
    tf_str_release(&s);
}

Test(runtime, devices_are_described)
{
    tuff_device *dev = open_device(NULL);
    char index[2] = "0";
    tf_str s;
    tf_str_init(&s, NULL);
    cr_assert(tf_devices_print(NULL, &s) == TUFF_OK, "%s", tuff_device_error(NULL));
    cr_expect(strstr(s.data, "0: ") && strstr(s.data, tuff_device_name(dev)) && strstr(s.data, "limits:"), "%s", s.data);
    tf_str_release(&s);
    const char *const by[] = { index, dev->snapshot.driver, dev->snapshot.name };
    for (size_t i = 0; i < COUNT(by); i++) {
        tuff_device *other = open_device(&(tuff_device_desc){ .select = by[i] });
        tuff_device_close(other);
    }
    tuff_device_close(dev);
    tuff_device_close(NULL);
}

/* ---- several devices and threads ------------------------------------------------------------------ */

typedef struct runner { tuff_device *dev; float got; } runner;

static void run_in_thread(void *arg)
{
    runner *r = arg;
    float x[N], y[N];
    ramp(x, 1.0f);
    tuff_program *p = build(r->dev, chain_plan(r->dev, 3), &(tuff_compile_desc){ .threads = 1 });
    for (int i = 0; i < 20; i++)
        cr_expect(tuff_write(p, "x", x, sizeof x) == TUFF_OK && tuff_run(p) == TUFF_OK && tuff_read(p, "y", y, sizeof y) == TUFF_OK, "%s", tuff_program_error(p));
    r->got = y[7];
    tuff_program_destroy(p);
}

Test(runtime, two_devices_and_four_threads)
{
    tuff_device *dev[2] = { open_device(NULL), open_device(NULL) };
    runner r[4];
    tf_thread t[4];
    for (int i = 0; i < 4; i++) {
        r[i] = (runner){ .dev = dev[i % 2] };
        cr_assert(tf_thread_start(&t[i], run_in_thread, &r[i]));
    }
    for (int i = 0; i < 4; i++) {
        tf_thread_join(&t[i]);
        cr_expect(r[i].got == chain_value((float)(7 - 300) * 0.125f, 3));
    }
    for (int i = 0; i < 2; i++) {
        expect_no_messages(dev[i], "threads");
        tuff_device_close(dev[i]);
    }
}

/* ---- cancelling and progress ---------------------------------------------------------------------- */

typedef struct progress { uint32_t calls, last, stop_at; } progress;

static bool on_progress(void *user, const char *what, uint32_t done, uint32_t total)
{
    progress *g = user;
    (void)what;
    g->calls++;
    g->last = done;
    return !(g->stop_at && done >= g->stop_at) || done > total;
}

Test(runtime, compiling_reports_and_can_be_cancelled)
{
    tuff_device *dev = open_device(NULL);
    progress g = { 0 };
    tuff_program *p = build(dev, chain_plan(dev, 2), &(tuff_compile_desc){ .progress = on_progress, .progress_user = &g });
    cr_expect(g.calls > 0 && g.last == 2, "%u calls, last %u", g.calls, g.last);
    tuff_program_destroy(p);
    g = (progress){ .stop_at = 1 };
    tf_plan *plan = chain_plan(dev, 2);
    tf_fault f;
    cr_expect(tf_program_from_plan(dev, plan, &(tuff_compile_desc){ .progress = on_progress, .progress_user = &g, .threads = 1 }, &p, &f) == TUFF_E_CANCELLED,
              "%s", f.text);
    tf_plan_destroy(plan);
    run_chain(dev, "after a cancel");
    tuff_device_close(dev);
}

/* ---- caches ------------------------------------------------------------------------------------- */

static char *temp_dir(char *out, size_t size)
{
    const char *base = getenv("TMPDIR");
    snprintf(out, size, "%s/tuff-test-XXXXXX", base ? base : "/tmp");
    cr_assert(mkdtemp(out));
    return out;
}

static void remove_dir(const char *dir)
{
    char path[256];
    const char *const suffixes[] = { ".spv", ".pipelines", ".tmp" };
    snprintf(path, sizeof path, "%s/spirv", dir);
    for (size_t i = 0; i < COUNT(suffixes); i++) {
        tf_directory_trim(path, suffixes[i], 0);
        tf_directory_trim(dir, suffixes[i], 0);
    }
    rmdir(path);
    rmdir(dir);
}

/* Apply change to every file of the cache below dir; returns how many there are. */
static uint32_t each_file(const char *dir, void (*change)(const char *path, uint32_t i))
{
    char command[512], line[512];
    uint32_t n = 0;
    snprintf(command, sizeof command, "find %s -type f", dir);
    FILE *list = popen(command, "r");
    while (list && fgets(line, sizeof line, list)) {
        line[strcspn(line, "\n")] = '\0';
        if (change)
            change(line, n);
        n++;
    }
    if (list)
        pclose(list);
    return n;
}

static void truncate_file(const char *path, uint32_t i) { cr_expect(truncate(path, (long)(i * 13 % 60)) == 0); }
static void empty_file(const char *path, uint32_t i) { (void)i; cr_expect(truncate(path, 0) == 0); }
static void grow_file(const char *path, uint32_t i)
{
    FILE *f = fopen(path, "ab");
    fprintf(f, "%u", i);
    fclose(f);
}
static void flip_bit(const char *path, uint32_t i)
{
    FILE *f = fopen(path, "r+b");
    fseek(f, 0, SEEK_END);
    const long at = (long)((i + 1) * 7919) % ftell(f);
    fseek(f, at, SEEK_SET);
    const int byte = fgetc(f);
    fseek(f, at, SEEK_SET);
    fputc(byte ^ 0x10, f);
    fclose(f);
}

/* A header that fits around contents that do not: magic, format, key, bytes, hash of the rest. */
static void forge(const char *path, uint32_t i)
{
    uint64_t header[6];
    uint32_t body[64];
    for (size_t k = 0; k < COUNT(body); k++)
        body[k] = k < 5 ? 0x07230203 : 0x00020000u * (i + 1) + (uint32_t)k; /* the start of a module, then noise */
    FILE *f = fopen(path, "r+b");
    cr_assert(f && fread(header, sizeof header, 1, f) == 1);
    header[4] = sizeof body;
    header[5] = tf_hash(0, body, sizeof body);
    rewind(f);
    cr_expect(fwrite(header, sizeof header, 1, f) == 1 && fwrite(body, sizeof body, 1, f) == 1);
    fclose(f);
    cr_expect(truncate(path, sizeof header + sizeof body) == 0);
}

Test(runtime, caches_survive_anything)
{
    char dir[128];
    temp_dir(dir, sizeof dir);
    void (*const changes[])(const char *, uint32_t) = { NULL, truncate_file, flip_bit, empty_file, grow_file, forge };
    for (size_t i = 0; i <= COUNT(changes); i++) {
        tuff_device *dev = open_device(&(tuff_device_desc){ .cache_dir = dir });
        run_chain(dev, "cache");
        /* Cold at first; warm after an untouched cache; cold again for every damaged file. */
        const uint32_t misses = i == 1 ? 0 : 2;
        cr_expect(dev->spirv_misses == misses && dev->spirv_hits == 2 - misses, "round %zu: %u hits, %u misses", i, dev->spirv_hits, dev->spirv_misses);
        tuff_device_close(dev);
        if (i < COUNT(changes))
            cr_expect(each_file(dir, changes[i]) >= 2);
    }
    tuff_device *dev = open_device(&(tuff_device_desc){ .cache_dir = "/proc/nowhere/at/all" });
    run_chain(dev, "no place for a cache");
    tuff_device_close(dev);
    dev = open_device(&(tuff_device_desc){ .cache_dir = "" });
    run_chain(dev, "no cache");
    tuff_device_close(dev);
    remove_dir(dir);
}

/* Writers of one file killed at any moment leave it whole: the old contents or the new. */
Test(runtime, killed_writers_leave_whole_files)
{
    char dir[128], path[256];
    snprintf(path, sizeof path, "%s/file.pipelines", temp_dir(dir, sizeof dir));
    enum { SIZE = 1 << 20 };
    unsigned char *data = malloc(SIZE);
    for (int round = 0; round < 12; round++) {
        const pid_t child = fork();
        if (child == 0)
            for (unsigned char byte = 1;; byte++) {
                memset(data, byte, SIZE);
                tf_file_replace(path, data, SIZE, round % 2);
            }
        tf_sleep_ms(5 + 7 * (uint32_t)round);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        size_t size = 0;
        unsigned char *file = tf_os_file_read(NULL, path, SIZE, &size);
        if (!file)
            continue; /* killed before the first one was complete */
        bool whole = size == SIZE;
        for (size_t i = 1; whole && i < size; i++)
            whole = file[i] == file[0];
        cr_expect(whole, "round %d: %zu bytes", round, size);
        tf_free(NULL, file, size);
    }
    free(data);
    remove_dir(dir);
}

/* ---- faults ------------------------------------------------------------------------------------- */

/* Every function that returns a VkResult fails once, at the n-th call counted over all of them. */
static struct { uint32_t calls, fail_at; VkResult with; } fault;
static bool fails(void) { return ++fault.calls == fault.fail_at; }

#define FAULTS(X) \
    X(CreateDevice, (VkPhysicalDevice a, const VkDeviceCreateInfo *b, const VkAllocationCallbacks *c, VkDevice *d), (a, b, c, d)) \
    X(CreateSemaphore, (VkDevice a, const VkSemaphoreCreateInfo *b, const VkAllocationCallbacks *c, VkSemaphore *d), (a, b, c, d)) \
    X(AllocateMemory, (VkDevice a, const VkMemoryAllocateInfo *b, const VkAllocationCallbacks *c, VkDeviceMemory *d), (a, b, c, d)) \
    X(MapMemory, (VkDevice a, VkDeviceMemory b, VkDeviceSize c, VkDeviceSize d, VkMemoryMapFlags e, void **f), (a, b, c, d, e, f)) \
    X(CreateBuffer, (VkDevice a, const VkBufferCreateInfo *b, const VkAllocationCallbacks *c, VkBuffer *d), (a, b, c, d)) \
    X(BindBufferMemory, (VkDevice a, VkBuffer b, VkDeviceMemory c, VkDeviceSize d), (a, b, c, d)) \
    X(CreateShaderModule, (VkDevice a, const VkShaderModuleCreateInfo *b, const VkAllocationCallbacks *c, VkShaderModule *d), (a, b, c, d)) \
    X(CreatePipelineCache, (VkDevice a, const VkPipelineCacheCreateInfo *b, const VkAllocationCallbacks *c, VkPipelineCache *d), (a, b, c, d)) \
    X(GetPipelineCacheData, (VkDevice a, VkPipelineCache b, size_t *c, void *d), (a, b, c, d)) \
    X(CreateDescriptorSetLayout, (VkDevice a, const VkDescriptorSetLayoutCreateInfo *b, const VkAllocationCallbacks *c, VkDescriptorSetLayout *d), (a, b, c, d)) \
    X(CreatePipelineLayout, (VkDevice a, const VkPipelineLayoutCreateInfo *b, const VkAllocationCallbacks *c, VkPipelineLayout *d), (a, b, c, d)) \
    X(CreateComputePipelines, (VkDevice a, VkPipelineCache b, uint32_t c, const VkComputePipelineCreateInfo *d, const VkAllocationCallbacks *e, VkPipeline *f), (a, b, c, d, e, f)) \
    X(CreateDescriptorPool, (VkDevice a, const VkDescriptorPoolCreateInfo *b, const VkAllocationCallbacks *c, VkDescriptorPool *d), (a, b, c, d)) \
    X(AllocateDescriptorSets, (VkDevice a, const VkDescriptorSetAllocateInfo *b, VkDescriptorSet *c), (a, b, c)) \
    X(CreateCommandPool, (VkDevice a, const VkCommandPoolCreateInfo *b, const VkAllocationCallbacks *c, VkCommandPool *d), (a, b, c, d)) \
    X(AllocateCommandBuffers, (VkDevice a, const VkCommandBufferAllocateInfo *b, VkCommandBuffer *c), (a, b, c)) \
    X(BeginCommandBuffer, (VkCommandBuffer a, const VkCommandBufferBeginInfo *b), (a, b)) \
    X(EndCommandBuffer, (VkCommandBuffer a), (a)) \
    X(QueueSubmit, (VkQueue a, uint32_t b, const VkSubmitInfo *c, VkFence d), (a, b, c, d)) \
    X(QueueWaitIdle, (VkQueue a), (a)) \
    X(WaitSemaphores, (VkDevice a, const VkSemaphoreWaitInfo *b, uint64_t c), (a, b, c)) \
    X(GetSemaphoreCounterValue, (VkDevice a, VkSemaphore b, uint64_t *c), (a, b, c)) \
    X(FlushMappedMemoryRanges, (VkDevice a, uint32_t b, const VkMappedMemoryRange *c), (a, b, c)) \
    X(InvalidateMappedMemoryRanges, (VkDevice a, uint32_t b, const VkMappedMemoryRange *c), (a, b, c))

#define X(name, parameters, arguments) \
    static PFN_vk##name real_##name; \
    static VKAPI_ATTR VkResult VKAPI_CALL faulty_##name parameters { return fails() ? fault.with : real_##name arguments; }
FAULTS(X)
#undef X

static void inject(void *user, tf_vk *vk)
{
    (void)user;
#define X(name, parameters, arguments) \
    if (vk->name && vk->name != faulty_##name) { \
        real_##name = vk->name; \
        vk->name = faulty_##name; \
    }
    FAULTS(X)
#undef X
}

/* Open, compile, write, run, read: the first status that is not OK, with its text. */
static tuff_status whole_life(const tuff_device_desc *desc, const tf_device_hooks *hooks, char *text, size_t size)
{
    tuff_device *dev = NULL;
    tuff_program *p = NULL;
    tf_fault f = { TUFF_OK, "" };
    static float c[N];
    float x[N] = { 1.0f }, y[N] = { 0 };
    tuff_status status = tf_device_open_with(desc, hooks, &dev);
    snprintf(text, size, "%s", tuff_device_error(NULL));
    if (status)
        return status;
    tf_plan *plan = state_plan(dev, c);
    status = tf_program_from_plan(dev, plan, &(tuff_compile_desc){ .threads = 1 }, &p, &f);
    if (status) {
        tf_plan_destroy(plan);
        snprintf(text, size, "%s", f.text);
    } else {
        status = tuff_write(p, "x", x, sizeof x);
        for (int r = 0; r < 2; r++) {
            status = status ? status : tuff_write(p, "x", x, sizeof x);
            status = status ? status : tuff_submit(p, NULL);
        }
        status = status ? status : tuff_read(p, "y", y, sizeof y);
        snprintf(text, size, "%s", tuff_program_error(p));
        cr_expect(status || y[0] == 2.0f, "y[0] = %g", (double)y[0]);
        if (status == TUFF_E_DEVICE_LOST)
            cr_expect(tuff_run(p) == TUFF_E_DEVICE_LOST && tuff_write(p, "x", x, sizeof x) == TUFF_E_DEVICE_LOST);
        tuff_program_destroy(p);
    }
    tuff_device_close(dev);
    return status;
}

Test(runtime, every_vulkan_call_may_fail)
{
    char dir[128], text[1024];
    temp_dir(dir, sizeof dir);
    const struct { const char *toggles; VkResult with; tuff_status status; } modes[] = {
        { "", VK_ERROR_OUT_OF_DEVICE_MEMORY, TUFF_E_DEVICE_MEMORY },
        { "-mapping", VK_ERROR_DEVICE_LOST, TUFF_E_DEVICE_LOST },
        { "-mapping", VK_ERROR_OUT_OF_HOST_MEMORY, TUFF_E_MEMORY },
    };
    for (size_t m = 0; m < COUNT(modes); m++) {
        const tuff_device_desc desc = { .toggles = modes[m].toggles, .cache_dir = dir };
        uint32_t n = 1, survived = 0;
        for (;; n++) {
            fault.calls = 0;
            fault.fail_at = n;
            fault.with = modes[m].with;
            const tuff_status status = whole_life(&desc, &(tf_device_hooks){ .patch = inject }, text, sizeof text);
            if (fault.calls < n)
                break; /* nothing failed: all calls have had their turn */
            survived += !status;
            cr_expect(!status || (status == modes[m].status && strlen(text) > 10), "mode %zu, call %u: status %d, %s", m, n, (int)status, text);
        }
        /* Calls whose failure costs nothing: the driver's cache, a second memory type. */
        cr_expect(n > 30 && survived < 12, "mode %zu: %u calls, %u without effect", m, n, survived);
    }
    remove_dir(dir);
}

Test(runtime, every_allocation_may_fail)
{
    char text[1024];
    /* Opening a device takes most of the time of a life; its allocations fail one by one, then those after it in turn. */
    for (uint64_t n = 1;; n++) {
        failing_allocator a = { .fail_at = n };
        const tuff_device_desc desc = { .allocator = failing(&a), .cache_dir = "", .toggles = n % 2 ? "" : "-mapping" };
        const tuff_status status = whole_life(&desc, NULL, text, sizeof text);
        cr_expect(a.live == 0, "allocation %llu: %llu bytes leak", (unsigned long long)n, (unsigned long long)a.live);
        if (a.calls < n) {
            cr_expect(status == TUFF_OK && n > 15, "%s", text);
            break;
        }
        cr_expect(!status || status == TUFF_E_MEMORY, "allocation %llu: status %d, %s", (unsigned long long)n, (int)status, text);
    }
}

/* ---- inside an application ------------------------------------------------------------------------ */

typedef struct app {
    tuff_device *host;          /* opens a device as an application would; only its handles are used */
    VkDevice device;
    VkQueue queue;
    tf_vk vk;
    tuff_requirements need;
    VkCommandPool pool;
    VkCommandBuffer cmd;
    int locked, locks;
} app;

static void lock_app(void *user)
{
    app *a = user;
    cr_expect(a->locked == 0);
    a->locked++;
    a->locks++;
}
static void unlock_app(void *user) { ((app *)user)->locked--; }

static void create_app(app *a)
{
    *a = (app){ .host = open_device(&(tuff_device_desc){ .validate = true, .cache_dir = "" }) };
    a->vk = a->host->vk;
    const float priority = 1.0f;
    const tf_vk *vk = &a->vk;
    cr_assert(tuff_device_requirements(vk->GetInstanceProcAddr, a->host->instance, a->host->physical, &a->need) == TUFF_OK, "%s", tuff_device_error(NULL));
    const VkDeviceQueueCreateInfo queue = { .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO, .queueFamilyIndex = a->host->family,
                                            .queueCount = 1, .pQueuePriorities = &priority };
    const VkDeviceCreateInfo info = { .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO, .pNext = &a->need.features, .queueCreateInfoCount = 1,
                                      .pQueueCreateInfos = &queue, .enabledExtensionCount = a->need.extension_count, .ppEnabledExtensionNames = a->need.extensions };
    cr_assert(vk->CreateDevice(a->host->physical, &info, NULL, &a->device) == VK_SUCCESS);
    cr_assert(!tf_vk_load_device(&a->vk, a->device));
    vk->GetDeviceQueue(a->device, a->host->family, 0, &a->queue);
    const VkCommandPoolCreateInfo pool = { .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO, .flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT,
                                           .queueFamilyIndex = a->host->family };
    cr_assert(vk->CreateCommandPool(a->device, &pool, NULL, &a->pool) == VK_SUCCESS);
    const VkCommandBufferAllocateInfo cmd = { .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO, .commandPool = a->pool, .commandBufferCount = 1 };
    cr_assert(vk->AllocateCommandBuffers(a->device, &cmd, &a->cmd) == VK_SUCCESS);
}

static void destroy_app(app *a)
{
    a->vk.DestroyCommandPool(a->device, a->pool, NULL);
    a->vk.DestroyDevice(a->device, NULL);
    expect_no_messages(a->host, "embedding");
    tuff_device_close(a->host);
}

/* A buffer of the application, mapped. */
typedef struct app_buffer { VkBuffer buffer; VkDeviceMemory memory; float *data; } app_buffer;

static app_buffer create_buffer(const app *a, VkDeviceSize bytes)
{
    app_buffer b;
    void *p;
    VkMemoryRequirements need;
    const VkBufferCreateInfo info = { .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO, .size = bytes,
                                      .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT };
    cr_assert(a->vk.CreateBuffer(a->device, &info, NULL, &b.buffer) == VK_SUCCESS);
    a->vk.GetBufferMemoryRequirements(a->device, b.buffer, &need);
    uint32_t type = 0;
    const VkMemoryPropertyFlags want = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    while (!(need.memoryTypeBits >> type & 1) || (a->host->memory.memoryTypes[type].propertyFlags & want) != want)
        type++;
    const VkMemoryAllocateInfo memory = { .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO, .allocationSize = need.size, .memoryTypeIndex = type };
    cr_assert(a->vk.AllocateMemory(a->device, &memory, NULL, &b.memory) == VK_SUCCESS && a->vk.BindBufferMemory(a->device, b.buffer, b.memory, 0) == VK_SUCCESS &&
              a->vk.MapMemory(a->device, b.memory, 0, VK_WHOLE_SIZE, 0, &p) == VK_SUCCESS);
    b.data = p;
    return b;
}

static void destroy_buffer(const app *a, app_buffer *b)
{
    a->vk.DestroyBuffer(a->device, b->buffer, NULL);
    a->vk.FreeMemory(a->device, b->memory, NULL);
}

static tuff_device *adopt(app *a)
{
    tuff_device *dev = NULL;
    const tuff_adopt_desc desc = {
        .get_instance_proc_addr = a->vk.GetInstanceProcAddr, .instance = a->host->instance, .physical_device = a->host->physical, .device = a->device,
        .queue = a->queue, .queue_family = a->host->family, .api_version = VK_API_VERSION_1_3, .features = &a->need.features,
        .extensions = a->need.extensions, .extension_count = a->need.extension_count, .lock_queue = lock_app, .unlock_queue = unlock_app, .lock_user = a,
        .desc = { .cache_dir = "" } };
    cr_assert(tuff_device_adopt(&desc, &dev) == TUFF_OK, "%s", tuff_device_error(NULL));
    return dev;
}

static void begin(const app *a)
{
    cr_assert(a->vk.BeginCommandBuffer(a->cmd, &(VkCommandBufferBeginInfo){ .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO }) == VK_SUCCESS);
}

static void submit_and_wait(const app *a)
{
    const VkMemoryBarrier b = { .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER, .srcAccessMask = VK_ACCESS_MEMORY_WRITE_BIT, .dstAccessMask = VK_ACCESS_HOST_READ_BIT };
    a->vk.CmdPipelineBarrier(a->cmd, VK_PIPELINE_STAGE_ALL_COMMANDS_BIT, VK_PIPELINE_STAGE_HOST_BIT, 0, 1, &b, 0, NULL, 0, NULL);
    const VkSubmitInfo info = { .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO, .commandBufferCount = 1, .pCommandBuffers = &a->cmd };
    cr_assert(a->vk.EndCommandBuffer(a->cmd) == VK_SUCCESS && a->vk.QueueSubmit(a->queue, 1, &info, VK_NULL_HANDLE) == VK_SUCCESS &&
              a->vk.DeviceWaitIdle(a->device) == VK_SUCCESS);
}

static void expect_chain(const float *y, const float *x, uint32_t length, const char *what)
{
    for (int i = 0; i < N; i++)
        if (y[i] != chain_value(x[i], length)) {
            cr_expect(false, "%s: y[%d] = %g, want %g", what, i, (double)y[i], (double)chain_value(x[i], length));
            break;
        }
}

Test(runtime, adopted_device_runs_on_the_applications_buffers)
{
    app a;
    create_app(&a);
    tuff_device *dev = adopt(&a);
    cr_expect(dev->caps.limits.f16 == a.host->caps.limits.f16 && dev->caps.limits.subgroup_control == a.host->caps.limits.subgroup_control);
    const VkDeviceSize at = tuff_bind_alignment(dev);
    app_buffer in = create_buffer(&a, at + 4 * N), out = create_buffer(&a, 4 * N);
    float *x = in.data + at / 4;
    ramp(x, 1.0f);
    tuff_program *p = build(dev, chain_plan(dev, 5), NULL);
    EXPECT_ERROR(tuff_bind_buffer(p, "x", in.buffer, at, 4 * N - 4), TUFF_E_ARGUMENT, "needs 4000 bytes");
    EXPECT_ERROR(tuff_bind_buffer(p, "x", in.buffer, at + 1, 4 * N), TUFF_E_ARGUMENT, "at a multiple of");
    EXPECT_ERROR(tuff_bind_buffer(p, "q", in.buffer, at, 4 * N), TUFF_E_NAME, "no input, output or state named \"q\"");
    cr_assert(tuff_bind_buffer(p, "x", in.buffer, at, 4 * N) == TUFF_OK && tuff_bind_buffer(p, "y", out.buffer, 0, 4 * N) == TUFF_OK);

    /* submitted by tuff, between the application's semaphores */
    VkSemaphore sem;
    const VkSemaphoreTypeCreateInfo timeline = { .sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO, .semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE, .initialValue = 1 };
    cr_assert(a.vk.CreateSemaphore(a.device, &(VkSemaphoreCreateInfo){ .sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO, .pNext = &timeline }, NULL, &sem) == VK_SUCCESS);
    uint64_t ticket, value = 0;
    const tuff_submit_desc s = { .waits = &sem, .wait_values = (uint64_t[]){ 1 }, .wait_count = 1, .signals = &sem, .signal_values = (uint64_t[]){ 9 }, .signal_count = 1 };
    cr_assert(tuff_submit_with(p, &s, &ticket) == TUFF_OK && tuff_wait(p, ticket, UINT64_MAX) == TUFF_OK, "%s", tuff_program_error(p));
    const VkSemaphoreWaitInfo nine = { .sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO, .semaphoreCount = 1, .pSemaphores = &sem, .pValues = (uint64_t[]){ 9 } };
    cr_expect(a.vk.WaitSemaphores(a.device, &nine, UINT64_MAX) == VK_SUCCESS); /* signals of one submission come in any order */
    cr_expect(a.vk.GetSemaphoreCounterValue(a.device, tuff_device_timeline(dev), &value) == VK_SUCCESS && value == ticket);
    expect_chain(out.data, x, 5, "bound");
    cr_expect(a.locks > 0 && a.locked == 0);

    /* bound elsewhere, and back to memory of its own */
    app_buffer other = create_buffer(&a, 4 * N);
    cr_assert(tuff_bind_buffer(p, "y", other.buffer, 0, 4 * N) == TUFF_OK && tuff_run(p) == TUFF_OK);
    expect_chain(other.data, x, 5, "bound again");
    float y[N];
    cr_expect(tuff_read(p, "y", y, sizeof y) == TUFF_OK && memcmp(y, other.data, sizeof y) == 0);
    cr_assert(tuff_bind_buffer(p, "y", VK_NULL_HANDLE, 0, 0) == TUFF_OK && tuff_bind_buffer(p, "x", VK_NULL_HANDLE, 0, 0) == TUFF_OK);
    EXPECT_ERROR(tuff_run(p), TUFF_E_STATE, "never written");
    cr_expect(tuff_write(p, "x", x, 4 * N) == TUFF_OK && tuff_run(p) == TUFF_OK && tuff_read(p, "y", y, sizeof y) == TUFF_OK);
    expect_chain(y, x, 5, "own memory");

    tuff_program_destroy(p);
    a.vk.DestroySemaphore(a.device, sem, NULL);
    destroy_buffer(&a, &in);
    destroy_buffer(&a, &out);
    destroy_buffer(&a, &other);
    tuff_device_close(dev);
    destroy_app(&a);
}

Test(runtime, recording_into_the_applications_command_buffer)
{
    app a;
    create_app(&a);
    tuff_device *dev = adopt(&a);
    app_buffer out = create_buffer(&a, 4 * N);
    float x[N];
    uint32_t next = 0, parts = 0;
    ramp(x, 1.0f);
    tuff_program *p = build(dev, chain_plan(dev, 9), NULL);
    cr_assert(tuff_step_count(p) == 9);
    cr_assert(tuff_bind_buffer(p, "y", out.buffer, 0, 4 * N) == TUFF_OK);
    EXPECT_ERROR(tuff_record(p, a.cmd, NULL, NULL), TUFF_E_STATE, "never written");
    /* whole, with a write that travels in the command buffer */
    for (int r = 0; r < 3; r++) {
        ramp(x, (float)(r + 1));
        cr_assert(tuff_write(p, "x", x, sizeof x) == TUFF_OK);
        begin(&a);
        cr_assert(tuff_record(p, a.cmd, &(tuff_record_desc){ .slot = (uint32_t)r % 2 }, &next) == TUFF_OK && next == 9, "%s", tuff_program_error(p));
        submit_and_wait(&a);
        expect_chain(out.data, x, 9, "whole");
    }
    /* two runs in one command buffer; the second reads what the first wrote, so validation sees if a barrier lacks */
    float one[N];
    tf_plan *count = new_plan(dev);
    const uint32_t s = add_buffer(count, TF_BUF_STATE, "s", vec(TUFF_F32, N), NULL);
    add_step(count, add_kernel(count, "count", 2, "b0[i] + 1.0"), (uint32_t[]){ s, s }, 2, N, GROUPS, (tf_param){ TF_PARAM_DIM, 0 });
    tuff_program *twice = build(dev, finish(count), NULL);
    begin(&a);
    for (uint32_t r = 0; r < 2; r++)
        cr_assert(tuff_record(twice, a.cmd, &(tuff_record_desc){ .slot = r }, NULL) == TUFF_OK, "%s", tuff_program_error(twice));
    submit_and_wait(&a);
    cr_expect(tuff_read(twice, "s", one, sizeof one) == TUFF_OK && one[0] == 2.0f && one[N - 1] == 2.0f, "%g: %s", (double)one[0], tuff_program_error(twice));
    tuff_program_destroy(twice);
    /* in parts, one command buffer per part: each fits a budget of two steps */
    for (next = 0; next < 9; parts++) {
        begin(&a);
        const tuff_record_desc part = { .slot = 0, .first = next, .budget_ns = 2 * p->steps[0].ns };
        cr_assert(tuff_record(p, a.cmd, &part, &next) == TUFF_OK, "%s", tuff_program_error(p));
        submit_and_wait(&a);
    }
    cr_expect(parts == 5, "%u parts", parts);
    expect_chain(out.data, x, 9, "parts");
    EXPECT_ERROR(tuff_record(p, a.cmd, &(tuff_record_desc){ .slot = 2 }, NULL), TUFF_E_ARGUMENT, "slot 2 of 2");
    EXPECT_ERROR(tuff_record(p, a.cmd, &(tuff_record_desc){ .first = 8, .count = 2 }, NULL), TUFF_E_ARGUMENT, "the program has 9");
    EXPECT_ERROR(tuff_submit(p, NULL), TUFF_E_STATE, "all 2 slots were used with tuff_record");

    /* a tensor as a picture */
    VkImage image;
    VkMemoryRequirements need;
    VkDeviceMemory memory;
    const VkImageCreateInfo info = { .sType = VK_STRUCTURE_TYPE_IMAGE_CREATE_INFO, .imageType = VK_IMAGE_TYPE_2D, .format = VK_FORMAT_R32_SFLOAT, .extent = { 40, 25, 1 },
                                     .mipLevels = 1, .arrayLayers = 1, .samples = VK_SAMPLE_COUNT_1_BIT, .usage = VK_IMAGE_USAGE_TRANSFER_DST_BIT | VK_IMAGE_USAGE_TRANSFER_SRC_BIT };
#define LOAD(name) const PFN_vk##name name = (PFN_vk##name)a.vk.GetDeviceProcAddr(a.device, "vk" #name)
    LOAD(CreateImage);
    LOAD(DestroyImage);
    LOAD(GetImageMemoryRequirements);
    LOAD(BindImageMemory);
    LOAD(CmdCopyImageToBuffer);
    cr_assert(CreateImage(a.device, &info, NULL, &image) == VK_SUCCESS);
    GetImageMemoryRequirements(a.device, image, &need);
    uint32_t type = 0;
    while (!(need.memoryTypeBits >> type & 1))
        type++;
    cr_assert(a.vk.AllocateMemory(a.device, &(VkMemoryAllocateInfo){ .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO, .allocationSize = need.size, .memoryTypeIndex = type },
                                  NULL, &memory) == VK_SUCCESS && BindImageMemory(a.device, image, memory, 0) == VK_SUCCESS);
    app_buffer back = create_buffer(&a, 4 * N);
    VkImageMemoryBarrier b = { .sType = VK_STRUCTURE_TYPE_IMAGE_MEMORY_BARRIER, .dstAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT, .newLayout = VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL,
                               .image = image, .subresourceRange = { VK_IMAGE_ASPECT_COLOR_BIT, 0, 1, 0, 1 } };
    begin(&a);
    cr_assert(tuff_record(p, a.cmd, NULL, NULL) == TUFF_OK);
    a.vk.CmdPipelineBarrier(a.cmd, VK_PIPELINE_STAGE_TOP_OF_PIPE_BIT, VK_PIPELINE_STAGE_TRANSFER_BIT, 0, 0, NULL, 0, NULL, 1, &b);
    EXPECT_ERROR(tuff_record_image(p, a.cmd, "y", &(tuff_image_desc){ .image = image, .extent = { 40, 26, 1 }, .texel_bytes = 4 }), TUFF_E_ARGUMENT, "takes 4160 bytes");
    cr_assert(tuff_record_image(p, a.cmd, "y", &(tuff_image_desc){ .image = image, .extent = { 40, 25, 1 }, .texel_bytes = 4 }) == TUFF_OK);
    b.srcAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT;
    b.dstAccessMask = VK_ACCESS_TRANSFER_READ_BIT;
    b.oldLayout = b.newLayout;
    b.newLayout = VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL;
    a.vk.CmdPipelineBarrier(a.cmd, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_PIPELINE_STAGE_TRANSFER_BIT, 0, 0, NULL, 0, NULL, 1, &b);
    const VkBufferImageCopy region = { .imageSubresource = { VK_IMAGE_ASPECT_COLOR_BIT, 0, 0, 1 }, .imageExtent = { 40, 25, 1 } };
    CmdCopyImageToBuffer(a.cmd, image, VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL, back.buffer, 1, &region);
    submit_and_wait(&a);
    expect_chain(back.data, x, 9, "image");

    tuff_program_destroy(p);
    DestroyImage(a.device, image, NULL);
    a.vk.FreeMemory(a.device, memory, NULL);
    destroy_buffer(&a, &back);
    destroy_buffer(&a, &out);
    tuff_device_close(dev);
    destroy_app(&a);
}

Test(runtime, adopting_needs_what_it_needs)
{
    app a;
    create_app(&a);
    tuff_device *dev = NULL;
    tuff_adopt_desc desc = { .get_instance_proc_addr = a.vk.GetInstanceProcAddr, .instance = a.host->instance, .physical_device = a.host->physical, .device = a.device,
                             .queue = a.queue, .queue_family = a.host->family, .api_version = VK_API_VERSION_1_3 };
    cr_expect(tuff_device_adopt(&desc, &dev) == TUFF_E_UNSUPPORTED && !dev && strstr(tuff_device_error(NULL), "timelineSemaphore"), "%s", tuff_device_error(NULL));
    /* only what was enabled counts, wherever in the chain it stands */
    const VkPhysicalDeviceTimelineSemaphoreFeatures timeline = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_TIMELINE_SEMAPHORE_FEATURES, .timelineSemaphore = VK_TRUE };
    desc.features = &timeline;
    cr_assert(tuff_device_adopt(&desc, &dev) == TUFF_OK, "%s", tuff_device_error(NULL));
    cr_expect(!dev->caps.limits.f16 && !dev->caps.limits.storage16 && !dev->caps.limits.subgroup_control);
    tuff_device_close(dev);
    desc.queue = VK_NULL_HANDLE;
    cr_expect(tuff_device_adopt(&desc, &dev) == TUFF_E_ARGUMENT && !dev);
    desc.queue = a.queue;
    desc.lock_queue = lock_app;
    cr_expect(tuff_device_adopt(&desc, &dev) == TUFF_E_ARGUMENT && strstr(tuff_device_error(NULL), "go together"));
    destroy_app(&a);
}

/* ---- profiling ---------------------------------------------------------------------------------- */

Test(runtime, steps_are_timed)
{
    tuff_device *dev = open_device(&(tuff_device_desc){ .validate = true });
    double ns[6], run = 0.0;
    float x[N], y[N];
    ramp(x, 1.0f);
    tuff_program *p = build(dev, chain_plan(dev, 6), NULL);
    cr_assert(tuff_write(p, "x", x, sizeof x) == TUFF_OK);
    const tuff_status status = tf_program_profile(p, 3, ns, &run);
    cr_expect(status == TUFF_OK, "%s", tuff_program_error(p));
    for (int i = 0; i < 6; i++)
        cr_expect(ns[i] >= 0.0 && ns[i] < 1e9, "step %d takes %g ns", i, ns[i]);
    cr_expect(run > 0.0 && tuff_read(p, "y", y, sizeof y) == TUFF_OK);
    expect_chain(y, x, 6, "profiled");
    tuff_program_destroy(p);
    expect_no_messages(dev, "profile");
    tuff_device_close(dev);
}

/* Outputs whose values turn out to be one: each is written. */
Test(runtime, equal_outputs)
{
    static const char text[] = "x = input f32[40]\na = sum(x)\nb = sum(x)\nc = add(x, 1)\nd = add(x, 1)\noutput a\noutput b\noutput c\noutput d\n"
                               "p = map(u=x, w=c) {expr=\"u - w\"}\nq = map(w=x, u=c) {expr=\"u - w\"}\ns = sum(p)\nt = sum(q)\noutput s\noutput t\n";
    char message[256];
    tuff_device *dev = open_device(NULL);
    tuff_graph *g = NULL;
    tuff_program *p = NULL;
    float x[40], a, b, c[40], d[40], less, more;
    for (int i = 0; i < 40; i++) x[i] = (float)i;
    cr_assert(!tuff_graph_parse(text, strlen(text), NULL, &g, message, sizeof message), "%s", message);
    cr_assert(!tuff_compile(dev, g, NULL, &p), "%s", tuff_graph_error(g));
    cr_assert(!tuff_write(p, "x", x, sizeof x) && !tuff_run(p) && !tuff_read(p, "a", &a, sizeof a) && !tuff_read(p, "b", &b, sizeof b), "%s", tuff_program_error(p));
    cr_assert(!tuff_read(p, "c", c, sizeof c) && !tuff_read(p, "d", d, sizeof d), "%s", tuff_program_error(p));
    cr_assert(!tuff_read(p, "s", &less, sizeof less) && !tuff_read(p, "t", &more, sizeof more), "%s", tuff_program_error(p));
    cr_expect(less == -40.0f && more == 40.0f, "the same tensors by other names are another value: %g %g", (double)less, (double)more);
    cr_expect(a == 780.0f && b == 780.0f && c[39] == 40.0f && d[39] == 40.0f, "%g %g %g %g", (double)a, (double)b, (double)c[39], (double)d[39]);
    tuff_program_destroy(p);
    tuff_graph_destroy(g);
    tuff_device_close(dev);
}

/* ---- the memory budget ---------------------------------------------------------------------------- */

static uint64_t budget;
static VKAPI_ATTR void VKAPI_CALL report_budget(VkPhysicalDevice physical, VkPhysicalDeviceMemoryProperties2 *p)
{
    VkPhysicalDeviceMemoryBudgetPropertiesEXT *b = p->pNext;
    (void)physical;
    for (uint32_t i = 0; i < VK_MAX_MEMORY_HEAPS; i++) {
        b->heapBudget[i] = budget;
        b->heapUsage[i] = 1000;
    }
}

static void patch_budget(void *user, tf_vk *vk)
{
    (void)user;
    vk->GetPhysicalDeviceMemoryProperties2 = report_budget;
}

Test(runtime, the_memory_budget_is_kept)
{
    static const struct { uint64_t budget; bool fits; } rows[] = { { 0, true }, { 1 << 20, false }, { UINT64_C(1) << 40, true }, { 500, false } };
    for (size_t i = 0; i < COUNT(rows); i++) {
        tuff_device *dev = NULL;
        budget = rows[i].budget;
        cr_assert(tf_device_open_with(&(tuff_device_desc){ .toggles = "" }, &(tf_device_hooks){ .patch = patch_budget }, &dev) == TUFF_OK, "%s", tuff_device_error(NULL));
        dev->snapshot.memory_budget = true;
        tuff_graph *g = tuff_graph_create(NULL);
        tuff_output(g, "y", tuff_exp(tuff_input(g, "x", TUFF_F32, TUFF_SHAPE(1 << 20))));
        tuff_program *p = NULL;
        cr_assert(tuff_compile(dev, g, NULL, &p) == TUFF_OK, "%s", tuff_graph_error(g));
        float *x = calloc(1 << 20, sizeof *x);
        const tuff_status s = tuff_write(p, "x", x, sizeof *x << 20);
        cr_expect(s == (rows[i].fits ? TUFF_OK : TUFF_E_DEVICE_MEMORY), "budget %llu: %s", (unsigned long long)budget, tuff_program_error(p));
        free(x);
        tuff_program_destroy(p);
        tuff_graph_destroy(g);
        tuff_device_close(dev);
    }
}
