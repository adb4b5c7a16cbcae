/* plan.c - the plan as a value: its life, its dims and parameters at live sizes, the grid of a dispatch, and kernels
 * that several steps share. */
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

tuff_status tf_plan_status(const char *wrong, tuff_status otherwise) { return strcmp(wrong, "out of host memory") ? otherwise : TUFF_E_MEMORY; }

int64_t tf_plan_dim(const tf_plan *plan, int64_t dim, const int64_t *params)
{
    if (!tf_dim_is_dynamic(dim))
        return dim;
    /* A plan carries its graph's table of dims; evaluation needs no more of a graph than that. */
    const tuff_graph g = { .dims.data = plan->dims.data, .dims.n = plan->dims.n };
    return params ? tf_dim_eval(&g, dim, params) : tf_dim_bound(&g, dim);
}

void tf_plan_span(tf_plan *plan)
{
    for (uint32_t r = 1; r <= plan->regions.n; r++) {
        tf_plan_region *x = &plan->regions.data[r - 1];
        x->first = x->end = x->odd = 0;
        for (uint32_t i = 0; i < plan->steps.n; i++) {
            if (!tf_plan_within(plan, plan->steps.data[i].region, r))
                continue;
            if (plan->steps.data[i].region == r && plan->steps.data[i].phase && !x->odd)
                x->odd = i;
            x->first = x->end ? x->first : i;
            x->end = i + 1;
        }
    }
    for (uint32_t r = plan->regions.n; r > 0; r--) { /* inner loops have higher numbers */
        tf_plan_region *x = &plan->regions.data[r - 1];
        uint64_t once = 0;
        for (uint32_t i = x->first; i < x->end; i++)
            once += plan->steps.data[i].region == r && !plan->steps.data[i].phase;
        for (uint32_t k = r; k < plan->regions.n; k++)
            if (plan->regions.data[k].parent == r && !tf_add_u64(&once, once, plan->regions.data[k].run))
                once = UINT64_MAX;
        if (!tf_mul_u64(&x->run, once, (uint64_t)x->count))
            x->run = UINT64_MAX;
    }
}

static uint32_t loop_of(const tf_plan *plan, uint32_t step)
{
    const uint32_t r = plan->steps.data[step].region;
    return r <= plan->regions.n ? r : 0;
}

uint32_t tf_plan_loop_in(const tf_plan *plan, uint32_t region, uint32_t step)
{
    uint32_t inner = loop_of(plan, step);
    if (inner == region)
        return 0;
    while (plan->regions.data[inner - 1].parent != region)
        inner = plan->regions.data[inner - 1].parent;
    return inner;
}

uint64_t tf_plan_run_steps(const tf_plan *plan)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < plan->steps.n; i++)
        n += loop_of(plan, i) == 0;
    for (uint32_t r = 0; r < plan->regions.n; r++)
        if (plan->regions.data[r].parent == 0 && !tf_add_u64(&n, n, plan->regions.data[r].run))
            n = UINT64_MAX;
    return n;
}

static uint32_t iteration_first(const tf_plan_region *r, int32_t at) { return r->odd && at % 2 ? r->odd : r->first; }
static uint32_t iteration_end(const tf_plan_region *r, int32_t at) { return r->odd && at % 2 == 0 ? r->odd : r->end; }

/* c stands at a step, or behind the last one of `region`: into loops that begin here, past those that run nothing, back to
 * the start of a body, or out of it. */
static void settle(const tf_plan *plan, tf_cursor *c, uint32_t region)
{
    for (;;) {
        const tf_plan_region *r = region ? &plan->regions.data[region - 1] : NULL;
        if (r && c->step == iteration_end(r, c->at[r->depth - 1])) {
            if (++c->at[r->depth - 1] < r->count)
                c->step = iteration_first(r, c->at[r->depth - 1]);
            else {
                c->at[r->depth - 1] = 0;
                c->step = r->end;
                region = r->parent;
            }
            continue;
        }
        if (c->step == plan->steps.n)
            return;
        const uint32_t inner = tf_plan_loop_in(plan, region, c->step);
        if (!inner)
            return;
        if (plan->regions.data[inner - 1].run)
            region = inner;
        else
            c->step = plan->regions.data[inner - 1].end;
    }
}

tf_cursor tf_cursor_begin(const tf_plan *plan)
{
    tf_cursor c = { 0 };
    settle(plan, &c, 0);
    return c;
}

void tf_cursor_next(const tf_plan *plan, tf_cursor *c)
{
    const uint32_t region = loop_of(plan, c->step);
    c->step++;
    settle(plan, c, region);
}

tf_cursor tf_cursor_at(const tf_plan *plan, uint64_t n)
{
    tf_cursor c = { 0 };
    uint32_t region = 0;
    while (c.step < plan->steps.n) {
        const uint32_t inner = tf_plan_loop_in(plan, region, c.step);
        const tf_plan_region *r = inner ? &plan->regions.data[inner - 1] : NULL;
        const uint64_t steps = r ? r->run : 1;
        if (n < steps && !r)
            break;
        if (n < steps) { /* in this loop: its iteration, and the rest from the start of the body */
            const uint64_t once = steps / (uint64_t)r->count;
            c.at[r->depth - 1] = (int32_t)(n / once);
            n %= once;
            c.step = iteration_first(r, c.at[r->depth - 1]);
            region = inner;
            continue;
        }
        n -= steps;
        c.step = r ? r->end : c.step + 1;
    }
    return c;
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
    if (param->kind != TF_PARAM_BASE) /* CANCEL: nobody has; ITERATION: from the first */
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

/* ---- shared kernels ----------------------------------------------------------------------------- */

static bool is_dispatch(const tf_step *s)
{
    return s->kind == TF_STEP_DISPATCH || s->kind == TF_STEP_DISPATCH_INDIRECT;
}

static bool same_kernel(const tf_kernel *a, const tf_kernel *b)
{
    return a->hash == b->hash && a->glsl && b->glsl && memcmp(a->local, b->local, sizeof a->local) == 0
        && a->n_bindings == b->n_bindings && a->n_params == b->n_params && a->subgroup_size == b->subgroup_size
        && a->shared_bytes == b->shared_bytes && strcmp(a->glsl, b->glsl) == 0;
}

bool tf_merge_kernels(tf_plan *plan)
{
    const uint32_t n = plan->kernels.n;
    tf_kernel *k = plan->kernels.data;
    tf_arena scratch;
    tf_arena_init(&scratch, &plan->arena.allocator);
    uint32_t cap = 16, kept = 0;
    while (cap < 2 * (uint64_t)n && cap < UINT32_C(1) << 31)
        cap *= 2;
    uint32_t *table = tf_arena_array(&scratch, uint32_t, cap); /* new number + 1, by hash */
    uint32_t *number = tf_arena_array(&scratch, uint32_t, n);
    bool *used = tf_arena_array(&scratch, bool, n);
    const bool ok = table && number && used;
    for (uint32_t i = 0; ok && i < plan->steps.n; i++)
        if (is_dispatch(&plan->steps.data[i]))
            used[plan->steps.data[i].kernel] = true;
    for (uint32_t i = 0; ok && i < n; i++) {
        uint32_t at = (uint32_t)k[i].hash & (cap - 1);
        while (used[i] && table[at] && !same_kernel(&k[table[at] - 1], &k[i]))
            at = (at + 1) & (cap - 1);
        if (used[i] && !table[at]) {
            k[kept] = k[i];
            table[at] = ++kept;
        }
        number[i] = used[i] ? table[at] - 1 : 0;
    }
    for (uint32_t i = 0; ok && i < plan->steps.n; i++)
        if (is_dispatch(&plan->steps.data[i]))
            plan->steps.data[i].kernel = number[plan->steps.data[i].kernel];
    if (ok)
        plan->kernels.n = kept;
    tf_arena_release(&scratch);
    return ok;
}
