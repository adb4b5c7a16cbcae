/* plans.c - plans and programs made by hand. */
#include "plans.h"

#include <stdio.h>
#include <string.h>

#include "support.h"

tf_type vec(tuff_dtype t, int64_t n) { return (tf_type){ .dtype = t, .rank = 1, .dim = { n } }; }

uint32_t add_buffer(tf_plan *plan, tf_buffer_kind kind, const char *name, tf_type type, const void *data)
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
uint32_t add_kernel(tf_plan *plan, const char *name, uint32_t n_args, const char *expr)
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

void add_arg(tf_plan *plan, tf_step *s, uint32_t buffer, bool write, bool read)
{
    *tf_push(&plan->arena, &plan->args) = (tf_arg){ .buffer = buffer, .write = write, .read = read };
    s->n_args++;
}

/* args end with the written one. groups: a dim; param: the second word. */
tf_step *add_step(tf_plan *plan, uint32_t kernel, const uint32_t *args, uint32_t n, int64_t elements, int64_t groups, tf_param param)
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

void add_transfer(tf_plan *plan, tf_step_kind kind, uint32_t from, uint32_t to, uint32_t fill)
{
    tf_step *s = tf_push(&plan->arena, &plan->steps);
    *s = (tf_step){ .kind = kind, .arg = plan->args.n, .fill = fill, .label = kind == TF_STEP_COPY ? "copy" : "fill" };
    if (kind == TF_STEP_COPY)
        add_arg(plan, s, from, false, true);
    add_arg(plan, s, to, true, false);
}

tf_plan *new_plan(const tuff_device *dev)
{
    tf_plan *plan = tf_plan_create(NULL);
    cr_assert(plan);
    plan->limits = dev->caps.limits;
    return plan;
}

tf_plan *finish(tf_plan *plan)
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

tuff_program *build(tuff_device *dev, tf_plan *plan, const tuff_compile_desc *desc)
{
    tuff_program *p = NULL;
    tf_fault f = { TUFF_OK, "" };
    const tuff_status status = tf_program_from_plan(dev, plan, desc, &p, &f);
    cr_assert(status == TUFF_OK, "%s", f.text);
    return p;
}


/* y = ((x + 1) * 2 + 1) * 2 ... through the arena, `length` kernels in a chain. */
tf_plan *chain_plan(const tuff_device *dev, uint32_t length)
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

float chain_value(float x, uint32_t length)
{
    for (uint32_t i = 0; i < length; i++)
        x = i % 2 ? x * 0.5f : x + 1.0f;
    return x;
}

/* acc += x * s; y = acc + c: a state, a scalar, a constant, two kernels and a copy that keeps the state's old value. */
tf_plan *state_plan(const tuff_device *dev, const float *constant)
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
tf_plan *dynamic_plan(const tuff_device *dev)
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

void ramp(float *x, float scale)
{
    for (int i = 0; i < N; i++)
        x[i] = scale * (float)(i - 300) * 0.125f;
}

void expect_no_messages(const tuff_device *dev, const char *what)
{
    cr_expect(tf_device_messages(dev) == 0, "%s: %u validation messages", what, tf_device_messages(dev));
}

void run_chain(tuff_device *dev, const char *what)
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

void expect_chain(const float *y, const float *x, uint32_t length, const char *what)
{
    for (int i = 0; i < N; i++)
        if (y[i] != chain_value(x[i], length)) {
            cr_expect(false, "%s: y[%d] = %g, want %g", what, i, (double)y[i], (double)chain_value(x[i], length));
            break;
        }
}
