/* plan.c - the plan as a value: its life, its dims and parameters at live sizes, and the grid of a dispatch. */
#include "plan.h"

#include <string.h>

tf_plan *tf_plan_create(const tuff_allocator *allocator)
{
    tf_plan *plan = tf_alloc(allocator, sizeof *plan);
    if (plan)
        tf_arena_init(&plan->arena, allocator);
    return plan;
}

void tf_plan_destroy(tf_plan *plan)
{
    if (!plan)
        return;
    const tuff_allocator allocator = plan->arena.allocator;
    tf_arena_release(&plan->arena);
    tf_free(&allocator, plan, sizeof *plan);
}

int64_t tf_plan_dim(const tf_plan *plan, int64_t dim, const int64_t *params)
{
    if (!tf_dim_is_dynamic(dim))
        return dim;
    /* A plan carries its graph's table of dims; evaluation needs no more of a graph than that. */
    const tuff_graph g = { .dims.data = plan->dims.data, .dims.n = plan->dims.n };
    return params ? tf_dim_eval(&g, dim, params) : tf_dim_bound(&g, dim);
}

uint64_t tf_plan_bytes(const tf_plan *plan, const tf_type *type, const int64_t *params)
{
    uint64_t n = tf_dtype_bits(type->dtype) / 4;
    bool fits = true;
    for (int32_t i = 0; i < type->rank; i++) {
        const int64_t d = tf_plan_dim(plan, type->dim[i], params);
        if (d <= 0)
            return 0;
        fits = tf_mul_u64(&n, n, (uint64_t)d) && fits;
    }
    return fits ? n / 2 + n % 2 : UINT64_MAX;
}

uint32_t tf_plan_param(const tf_plan *plan, const tf_step *step, const tf_param *param, const int64_t *params)
{
    if (param->kind == TF_PARAM_DIM)
        return (uint32_t)tf_plan_dim(plan, param->a, params);
    if (param->kind != TF_PARAM_BASE)
        return 0;
    const tf_arg *arg = &plan->args.data[step->arg + (uint32_t)param->a];
    const uint32_t bits = tf_dtype_bits(plan->buffers.data[arg->buffer].type.dtype);
    return bits ? (uint32_t)(arg->base * 8 / bits) : 0;
}

static uint64_t ceil_div(uint64_t a, uint64_t b)
{
    return a / b + (a % b != 0);
}

bool tf_fold_grid(const tf_limits *limits, uint64_t groups, uint32_t out[3])
{
    out[0] = 0;
    out[1] = out[2] = 1;
    if (groups == 0)
        return true;
    if (limits->max_groups[0] == 0 || limits->max_groups[1] == 0 || limits->max_groups[2] == 0)
        return false;
    const uint64_t rows = ceil_div(groups, limits->max_groups[0]);
    const uint64_t z = ceil_div(rows, limits->max_groups[1]);
    if (z > limits->max_groups[2])
        return false;
    const uint64_t y = ceil_div(rows, z);
    out[0] = (uint32_t)ceil_div(groups, y * z);
    out[1] = (uint32_t)y;
    out[2] = (uint32_t)z;
    return true;
}
