/* test_runtime.c - the Vulkan half on plans made by hand: runs, slots, bindings, states, bad input, threads, cancelling, profiling. The compiler is not
 * involved, so what fails here is the runtime's. Each Test opens few devices and walks a table of cases. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tuff/tuff_vulkan.h>

#include "runtime/program.h"
#include "support/plans.h"
#include "support/support.h"

/* ---- runs --------------------------------------------------------------------------------------- */

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
    cr_expect(!*tuff_program_error(p), "%s: nothing failed, but: %s", what, tuff_program_error(p));
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

/* Some versions of the layer, such as 1.3.275, do not follow what shaders access. */
static bool layer_sees_shaders(tuff_device *dev)
{
    VkLayerProperties layers[64];
    uint32_t n = COUNT(layers);
    dev->vk.EnumerateInstanceLayerProperties(&n, layers);
    for (uint32_t i = 0; i < n; i++)
        if (!strcmp(layers[i].layerName, "VK_LAYER_KHRONOS_validation"))
            return layers[i].specVersion < VK_MAKE_API_VERSION(0, 1, 3, 240) || layers[i].specVersion >= VK_MAKE_API_VERSION(0, 1, 4, 0);
    return false;
}

/* Validation does notice a missing barrier: the silence of every other test means something. */
Test(runtime, missing_barriers_are_noticed)
{
    tuff_device *dev = open_device(&(tuff_device_desc){ .toggles = "-barriers", .validate = true, .log = no_log });
    float x[N];
    ramp(x, 1.0f);
    tuff_program *p = build(dev, chain_plan(dev, 6), NULL);
    cr_assert(tuff_write(p, "x", x, sizeof x) == TUFF_OK && tuff_run(p) == TUFF_OK, "%s", tuff_program_error(p));
    if (!dev->messenger)
        cr_skip_test("skipped: the validation layer is not installed");
    if (!tf_device_messages(dev) && !layer_sees_shaders(dev))
        cr_skip_test("skipped: this version of the validation layer does not follow what shaders access");
    cr_expect(tf_device_messages(dev) > 0, "six dependent kernels without barriers raise no message");
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
        { { .select = "no such thing" }, TUFF_E_NO_DEVICE, "no device matches \"no such thing\"; the devices are 0: " },
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

/* ---- profiling ---------------------------------------------------------------------------------- */

/* The text of every kernel of a graph with sums of many kinds, for a device with these toggles and limits. */
static char *kernels_of(const char *toggles, const char *limits, bool deterministic)
{
    tuff_device *dev = open_device(&(tuff_device_desc){ .toggles = toggles, .limits = limits });
    tuff_graph *g = tuff_graph_create(NULL);
    tuff_tensor x = tuff_input(g, "x", TUFF_F32, TUFF_SHAPE(1, 256, 4, 64)), flat = tuff_reshape(x, TUFF_SHAPE(256, 256));
    tuff_output(g, "o", tuff_attention(x, x, x, NULL));
    tuff_output(g, "m", tuff_matmul(flat, flat, NULL));
    tuff_output(g, "s", tuff_softmax(flat, 1));
    tuff_output(g, "t", tuff_sum(flat, NULL));
    tuff_output(g, "c", tuff_cumsum(tuff_reshape(x, TUFF_SHAPE(65536)), 0, NULL));
    tuff_program *p;
    cr_assert(!tuff_compile(dev, g, &(tuff_compile_desc){ .deterministic = deterministic }, &p), "%s", tuff_graph_error(g));
    const size_t n = tuff_program_explain(p, TUFF_EXPLAIN_GLSL, NULL, 0) + 1;
    char *text = malloc(n);
    cr_assert(text);
    tuff_program_explain(p, TUFF_EXPLAIN_GLSL, text, n);
    tuff_program_destroy(p);
    tuff_graph_destroy(g);
    tuff_device_close(dev);
    return text;
}

Test(runtime, deterministic_programs_are_the_same_on_every_device)
{
    static const struct { const char *toggles, *limits; } devices[] = {
        { "-cpu", "" }, { "+cpu", "units=2" }, { "+cpu,+uniform_loads", "" }, { "-subgroup,-fp16,-int8,-int16", "invocations=128,shared=16K" }, { "-cpu", "units=64" } };
    char *one = kernels_of("", "", true), *class[2] = { kernels_of("-cpu", "", false), kernels_of("+cpu", "", false) };
    cr_expect(strcmp(class[0], class[1]), "the classes of devices have the same kernels: there is nothing to see here");
    for (size_t i = 0; i < COUNT(devices); i++) {
        char *other = kernels_of(devices[i].toggles, devices[i].limits, true);
        cr_expect(!strcmp(one, other), "other kernels with toggles %s and limits %s", devices[i].toggles, devices[i].limits);
        free(other);
    }
    free(one);
    free(class[0]);
    free(class[1]);
}

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
