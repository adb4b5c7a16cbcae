/* program.c - from a plan to something that runs, and running it.
 *
 * This is the one place that knows both the compiler and the device: tuff_compile hands the device's limits to
 * tf_compile and builds the program from the plan. Runs of all programs go to one queue in order; a run is one
 * submission of a slot's command buffers, so its cost does not grow with the number of kernels. */
#include "program.h"

#include <string.h>

#include <tuff/tuff_vulkan.h>

enum { SLOTS_DEFAULT = 2, SLOTS_MAX = 16, BATCHES_LOCAL = 60 };

/* ---- building ----------------------------------------------------------------------------------- */

/* A rough time of a step at the bound: enough to keep submissions far from watchdogs and to fill a frame's budget. */
static uint64_t estimate_ns(const tuff_device *dev, const tf_step *s)
{
    uint64_t bytes_per_us, flops_per_us;
    switch (dev->snapshot.type) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU: bytes_per_us = 150000; flops_per_us = 1500000; break;
    case VK_PHYSICAL_DEVICE_TYPE_CPU: bytes_per_us = 5000; flops_per_us = 10000; break;
    default: bytes_per_us = 15000; flops_per_us = 150000; break;
    }
    return 2000 + TF_MAX(s->bytes / bytes_per_us, s->flops / flops_per_us) * 1000;
}

/* Estimated duration of a run, saturated. */
static uint64_t run_ns(const tuff_program *p)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < p->plan->steps.n; i++) {
        uint64_t ns = p->steps[i].ns;
        for (uint32_t r = p->plan->steps.data[i].region; r && r <= p->plan->regions.n; r = p->plan->regions.data[r - 1].parent)
            if (!tf_mul_u64(&ns, ns, (uint64_t)p->plan->regions.data[r - 1].count)) ns = UINT64_MAX / 2;
        if (!tf_add_u64(&total, total, ns)) total = UINT64_MAX;
    }
    return total;
}

/* In loops of a fixed count and in no while loop, whose gates have a word of their own. */
static bool in_fixed_loop(const tf_plan *plan, uint32_t region)
{
    const bool inside = region && region <= plan->regions.n;
    for (; region && region <= plan->regions.n; region = plan->regions.data[region - 1].parent)
        if (plan->regions.data[region - 1].again) return false;
    return inside;
}

/* Kernels were made for the plan's limits, which in a capsule are another device's. */
bool tf_program_grid(const tuff_program *p, int64_t groups, uint32_t out[3])
{
    const uint32_t *most = p->dev->caps.limits.max_groups;
    return tf_fold_grid(&p->plan->limits, (uint64_t)groups, out) && out[0] <= most[0] && out[1] <= most[1] && out[2] <= most[2];
}

static bool fixed_grid(tuff_program *p, const tf_step *s, tf_step_state *t)
{
    if (s->groups > 0 && !tf_program_grid(p, s->groups, t->grid))
        return tf_fault_set(&p->fault, TUFF_E_LIMIT, "kernel %s needs %lld workgroups, more than the device can start",
                            p->plan->kernels.data[s->kernel].name, (long long)s->groups);
    return true;
}

/* Lays out the control stretch: parameter blocks first, each aligned for a uniform binding, then dynamic grids. */
static bool plan_step(tuff_program *p, uint32_t i, uint64_t *params_end, uint32_t *grids)
{
    const tf_step *s = &p->plan->steps.data[i];
    tf_step_state *t = &p->steps[i];
    t->grid_at = t->set = UINT32_MAX;
    if (s->kind == TF_STEP_COPY || s->kind == TF_STEP_FILL)
        return true;
    const tf_kernel *k = &p->plan->kernels.data[s->kernel];
    t->pipeline = p->pipelines[s->kernel]->handle;
    t->layout = p->pipelines[s->kernel]->layout->pipeline;
    if (k->n_bindings || k->n_params)
        t->set = p->n_sets++;
    for (uint32_t b = 0; b < k->n_bindings; b++) {
        const tf_binding *r = &p->plan->bindings.data[s->binding + b];
        *(r->uniform ? &p->n_uniform : r->texel ? &p->n_texel : &p->n_storage) += 1;
    }
    if (k->n_params) {
        const uint64_t align = TF_MAX(p->dev->snapshot.limits.minUniformBufferOffsetAlignment, 16);
        t->params_at = (uint32_t)*params_end;
        *params_end = tf_align_up(*params_end + 4ull * k->n_params, align);
        p->n_uniform++;
    }
    t->stops = s->kind == TF_STEP_DISPATCH && p->stoppable && in_fixed_loop(p->plan, s->region);
    if (s->kind == TF_STEP_DISPATCH && (t->stops || tf_dim_is_dynamic(s->groups)))
        t->grid_at = (*grids)++ * 16;
    else if (s->kind == TF_STEP_DISPATCH)
        return fixed_grid(p, s, t);
    return *params_end < UINT32_MAX / 2 || tf_fault_set(&p->fault, TUFF_E_LIMIT, "the program has too many parameters");
}

/* The lists of numbers that change with dims and scalars. */
static void plan_words(tuff_program *p, uint64_t grids_at)
{
    for (uint32_t i = 0; i < p->plan->steps.n; i++) {
        const tf_step *s = &p->plan->steps.data[i];
        tf_step_state *t = &p->steps[i];
        for (uint32_t k = 0; k < s->n_params; k++) {
            const tf_param *v = &p->plan->params.data[s->param + k];
            const tf_control_word word = { t->params_at + 4 * k, v->a };
            if (v->kind == TF_PARAM_DIM)
                p->dim_words[p->n_dim_words++] = word;
            else if (v->kind == TF_PARAM_SCALAR)
                p->scalar_words[p->n_scalar_words++] = word;
            else if (v->kind == TF_PARAM_CANCEL)
                p->cancel_words[p->n_cancel_words++] = word;
            else if (v->kind == TF_PARAM_ITERATION)
                p->iteration_words[p->n_iteration_words++] = (tf_iteration_word){ word.at, (uint32_t)v->a, s->region };
        }
        if (t->grid_at == UINT32_MAX)
            continue;
        t->grid_at += (uint32_t)grids_at;
        p->grid_words[p->n_grid_words++] = (tf_control_word){ t->grid_at, s->groups };
        if (t->stops)
            p->stop_words[p->n_stop_words++] = t->grid_at;
    }
}

static bool plan_steps(tuff_program *p)
{
    uint64_t params_end = 0;
    uint32_t grids = 0;
    for (uint32_t i = 0; i < p->plan->steps.n; i++)
        p->steps[i].ns = estimate_ns(p->dev, &p->plan->steps.data[i]);
    const uint64_t total = run_ns(p);
    p->stoppable = total > TF_BATCH_NS; /* a shorter run has ended before anybody could ask */
    for (uint32_t i = 0; i < p->plan->steps.n; i++)
        if (!plan_step(p, i, &params_end, &grids))
            return false;
    plan_words(p, params_end);
    /* Slots are flushed one by one, so each stretch ends on a whole atom. */
    const uint64_t align = TF_MAX(TF_MAX(p->dev->snapshot.limits.nonCoherentAtomSize, p->dev->snapshot.limits.minUniformBufferOffsetAlignment), 256);
    p->control_stride = tf_align_up(params_end + 16ull * grids, align);
    return tf_program_batches(p, total);
}

static bool create_commands(tuff_program *p)
{
    const tf_vk *vk = &p->dev->vk;
    const VkCommandPoolCreateInfo pool = { .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                           .flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT, .queueFamilyIndex = p->dev->family };
    if (!tf_vk_ok(p->dev, &p->fault, vk->CreateCommandPool(p->dev->device, &pool, NULL, &p->pool), "vkCreateCommandPool")) {
        p->pool = VK_NULL_HANDLE;
        return false;
    }
    VkCommandBufferAllocateInfo info = { .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO, .commandPool = p->pool,
                                         .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY, .commandBufferCount = 1 };
    if (!tf_vk_ok(p->dev, &p->fault, vk->AllocateCommandBuffers(p->dev->device, &info, &p->aux), "vkAllocateCommandBuffers"))
        return false;
    for (uint32_t i = 0; i < p->n_slots; i++) {
        tf_run_slot *s = &p->slots[i];
        info.commandBufferCount = 1;
        if (!tf_vk_ok(p->dev, &p->fault, vk->AllocateCommandBuffers(p->dev->device, &info, &s->prologue), "vkAllocateCommandBuffers"))
            return false;
        info.commandBufferCount = p->n_cmds + p->n_preludes;
        if (!tf_vk_ok(p->dev, &p->fault, vk->AllocateCommandBuffers(p->dev->device, &info, s->cmds), "vkAllocateCommandBuffers"))
            return false;
        for (uint32_t b = 0; b < p->batches.n; b++) {
            const tf_batch_plan *x = &p->batches.data[b];
            s->run[2 * b] = x->prelude ? s->cmds[p->n_cmds + x->prelude - 1] : VK_NULL_HANDLE;
            s->run[2 * b + 1] = s->cmds[x->cmd];
        }
    }
    return true;
}

/* ---- sharing ------------------------------------------------------------------------------------ */

static bool same_type(const tf_type *a, const tf_type *b)
{
    if (a->dtype != b->dtype || a->rank != b->rank)
        return false;
    for (int32_t i = 0; i < a->rank; i++)
        if (a->dim[i] != b->dim[i])
            return false;
    return true;
}

/* Two programs mean the same tensor: states by name, constants by name or, without one, by contents. */
static bool same_tensor(const tf_buffer *a, const tf_buffer *b)
{
    if (a->kind != b->kind || a->bytes != b->bytes || !same_type(&a->type, &b->type))
        return false;
    if (a->kind == TF_BUF_STATE)
        return strcmp(a->name, b->name) == 0;
    if (a->kind != TF_BUF_CONST || !a->name != !b->name)
        return false;
    return a->name ? strcmp(a->name, b->name) == 0 : a->hash == b->hash && a->data && b->data && memcmp(a->data, b->data, (size_t)a->bytes) == 0;
}

static tf_object *shared_object(const tuff_program *with, const tf_buffer *b)
{
    for (uint32_t i = 0; with && i < with->plan->buffers.n; i++)
        if (with->places[i].object && same_tensor(b, &with->plan->buffers.data[i]))
            return with->places[i].object;
    return NULL;
}

static bool create_objects(tuff_program *p, const tuff_program *with)
{
    for (uint32_t i = 0; i < p->plan->buffers.n; i++) {
        const tf_buffer *b = &p->plan->buffers.data[i];
        if (b->kind == TF_BUF_ARENA || !b->bytes)
            continue;
        tf_mutex_lock(&p->dev->object_lock);
        tf_object *o = b->kind == TF_BUF_STATE || b->kind == TF_BUF_CONST ? shared_object(with, b) : NULL;
        if (!o)
            o = tf_alloc(&p->dev->allocator, sizeof *o);
        if (o)
            o->refs++;
        tf_mutex_unlock(&p->dev->object_lock);
        if (!o)
            return tf_fault_set(&p->fault, TUFF_E_MEMORY, "out of host memory for the program's tensors");
        p->places[i].object = o;
    }
    return true;
}

/* ---- creation and destruction --------------------------------------------------------------------- */

static void init_ports(tuff_program *p)
{
    for (uint32_t i = 0; i < p->plan->ports.n; i++) {
        const tf_plan_port *port = &p->plan->ports.data[i];
        if (port->kind == TF_PORT_SCALAR && !tf_scalar_bits(port->type.dtype, port->initial, &p->ports[i].scalar))
            p->ports[i].scalar = 0;
    }
    for (uint32_t i = 0; i < p->plan->dim_params.n; i++)
        p->dims[i] = p->run_dims[i] = p->plan->dim_params.data[i].max;
    p->bindings_version = p->dims_version = p->scalars_version = 1;
    p->inputs_missing = true;
}

static bool allocate_arrays(tuff_program *p)
{
    tf_arena *a = &p->arena;
    const tf_plan *plan = p->plan;
    const size_t steps = plan->steps.n, params = plan->params.n;
    size_t words = 0; /* a parameter belongs to one step, but nothing forbids two steps from sharing a stretch */
    for (uint32_t i = 0; i < plan->steps.n; i++)
        words += plan->steps.data[i].n_params;
    words = TF_MAX(words, params);
    p->pipelines = tf_arena_array(a, tf_pipeline *, plan->kernels.n);
    p->steps = tf_arena_array(a, tf_step_state, steps);
    p->chunks = tf_arena_array(a, tf_mem, plan->chunks.n);
    p->places = tf_arena_array(a, tf_tensor_place, plan->buffers.n);
    p->dim_words = tf_arena_array(a, tf_control_word, words);
    p->scalar_words = tf_arena_array(a, tf_control_word, words);
    p->cancel_words = tf_arena_array(a, tf_control_word, steps);
    p->iteration_words = tf_arena_array(a, tf_iteration_word, words);
    p->grid_words = tf_arena_array(a, tf_control_word, steps);
    p->stop_words = tf_arena_array(a, uint32_t, steps);
    p->ports = tf_arena_array(a, tf_port_state, plan->ports.n);
    p->dims = tf_arena_array(a, int64_t, plan->dim_params.n);
    p->run_dims = tf_arena_array(a, int64_t, plan->dim_params.n);
    p->slots = tf_arena_array(a, tf_run_slot, p->n_slots);
    return !a->failed || tf_fault_set(&p->fault, TUFF_E_MEMORY, "out of host memory for the program");
}

static bool allocate_slots(tuff_program *p)
{
    for (uint32_t i = 0; i < p->n_slots; i++) {
        p->slots[i].cmds = tf_arena_array(&p->arena, VkCommandBuffer, (size_t)p->n_cmds + p->n_preludes);
        p->slots[i].run = tf_arena_array(&p->arena, VkCommandBuffer, 2 * (size_t)p->batches.n);
        p->slots[i].sets = tf_arena_array(&p->arena, VkDescriptorSet, p->n_sets);
        p->slots[i].views = p->n_texel ? tf_arena_array(&p->arena, VkBufferView, p->plan->bindings.n) : NULL;
    }
    return !p->arena.failed || tf_fault_set(&p->fault, TUFF_E_MEMORY, "out of host memory for the program");
}

static bool create_pipelines(tuff_program *p, const tuff_compile_desc *desc)
{
    const tf_plan *plan = p->plan;
    tf_kinds *kinds = tf_arena_array(&p->arena, tf_kinds, plan->kernels.n);
    if (!kinds && plan->kernels.n)
        return tf_fault_set(&p->fault, TUFF_E_MEMORY, "out of host memory for the program");
    for (uint32_t i = 0; i < plan->steps.n; i++) {
        const tf_step *s = &plan->steps.data[i];
        for (uint32_t b = 0; b < s->n_bindings && b < 64; b++) {
            kinds[s->kernel].uniform |= (uint64_t)plan->bindings.data[s->binding + b].uniform << b;
            kinds[s->kernel].texel |= (uint64_t)plan->bindings.data[s->binding + b].texel << b;
        }
    }
    return tf_pipelines_create(p->dev, plan, kinds, desc, p->pipelines, &p->fault);
}

tuff_status tf_program_from_plan(tuff_device *dev, tf_plan *plan, const tuff_compile_desc *desc, tuff_program **out, tf_fault *f)
{
    static const tuff_compile_desc none;
    *out = NULL;
    desc = desc ? desc : &none;
    if (desc->slots > SLOTS_MAX) {
        tf_fault_set(f, TUFF_E_LIMIT, "%u slots were asked for, a program has at most %d", desc->slots, SLOTS_MAX);
        return f->status;
    }
    if (desc->share && desc->share->dev != dev) {
        tf_fault_set(f, TUFF_E_ARGUMENT, "a program can share state only with a program of the same device");
        return f->status;
    }
    if (!tf_device_alive(dev, f))
        return f->status;
    tuff_program *p = tf_alloc(&dev->allocator, sizeof *p);
    if (!p) {
        tf_fault_set(f, TUFF_E_MEMORY, "out of host memory for the program");
        return f->status;
    }
    p->dev = dev;
    p->plan = plan;
    p->n_slots = desc->slots ? desc->slots : SLOTS_DEFAULT;
    tf_arena_init(&p->arena, &dev->allocator);
    const bool ok = allocate_arrays(p) && create_pipelines(p, desc) && plan_steps(p) && allocate_slots(p) && create_commands(p) &&
                    create_objects(p, desc->share);
    if (!ok) {
        *f = p->fault;
        p->plan = NULL; /* still the caller's */
        for (uint32_t i = 0; p->places && i < plan->buffers.n; i++)
            tf_buffer_release(p, i);
        for (uint32_t i = 0; p->pipelines && i < plan->kernels.n; i++)
            tf_pipeline_release(dev, p->pipelines[i]);
        tuff_program_destroy(p);
        return f->status;
    }
    init_ports(p);
    *out = p;
    return TUFF_OK;
}

tuff_status tuff_compile(tuff_device *dev, tuff_graph *g, const tuff_compile_desc *desc, tuff_program **out)
{
    static const tuff_compile_desc none;
    if (out)
        *out = NULL;
    if (g) {
        g->compile_status = TUFF_OK;
        g->compile_error = !dev ? "compile: the device is NULL" : !out ? "compile: the place for the program is NULL" : NULL;
    }
    if (!dev || !g || !out)
        return TUFF_E_ARGUMENT;
    desc = desc ? desc : &none;
    const tf_compile_options options = { .no_fusion = desc->no_fusion, .relaxed = desc->relaxed };
    const tf_limits limits = desc->deterministic ? tf_caps_common(&dev->caps.limits) : dev->caps.limits;
    tf_plan *plan = NULL;
    const tuff_status status = tf_compile(g, &limits, &options, &dev->allocator, &plan);
    if (status)
        return status;
    tf_fault f = { TUFF_OK, "" };
    if (tf_program_from_plan(dev, plan, desc, out, &f) == TUFF_OK)
        return TUFF_OK;
    tf_plan_destroy(plan);
    g->compile_status = f.status;
    g->compile_error = tf_arena_string(&g->arena, f.text);
    return f.status;
}

static void destroy_commands(tuff_program *p)
{
    const tf_vk *vk = &p->dev->vk;
    if (p->descriptors)
        vk->DestroyDescriptorPool(p->dev->device, p->descriptors, NULL);
    for (uint32_t i = 0; i < p->n_slots && p->slots && p->plan; i++) /* without a plan nothing was recorded */
        for (uint32_t k = 0; k < p->plan->bindings.n && p->slots[i].views; k++)
            vk->DestroyBufferView(p->dev->device, p->slots[i].views[k], NULL);
    if (p->pool)
        vk->DestroyCommandPool(p->dev->device, p->pool, NULL);
}

static void destroy_memory(tuff_program *p)
{
    for (uint32_t i = 0; p->plan && i < p->plan->buffers.n; i++)
        tf_buffer_release(p, i);
    for (uint32_t i = 0; p->plan && i < p->plan->chunks.n; i++)
        tf_mem_destroy(p->dev, &p->chunks[i]);
    while (p->staging) {
        tf_staging *s = p->staging;
        p->staging = s->next;
        tf_mem_destroy(p->dev, &s->mem);
        tf_free(&p->dev->allocator, s, sizeof *s);
    }
    tf_mem_destroy(p->dev, &p->control);
    tf_mem_destroy(p->dev, &p->progress);
    tf_mem_destroy(p->dev, &p->null);
    tf_mem_destroy(p->dev, &p->readback);
}

void tuff_program_destroy(tuff_program *p)
{
    if (!p)
        return;
    tf_drain(p->dev, atomic_load(&p->last));
    destroy_commands(p);
    destroy_memory(p);
    for (uint32_t i = 0; p->plan && i < p->plan->kernels.n; i++)
        tf_pipeline_release(p->dev, p->pipelines[i]);
    tf_plan_destroy(p->plan);
    tf_arena_release(&p->arena);
    const tuff_allocator a = p->dev->allocator;
    tf_free(&a, p, sizeof *p);
}

/* ---- running ------------------------------------------------------------------------------------ */

/* A free slot, best one whose recording is current; waits for the oldest run when all are in flight. */
static bool take_slot(tuff_program *p, uint32_t *index)
{
    uint32_t free_slot = UINT32_MAX, oldest = UINT32_MAX;
    for (uint32_t i = 0; i < p->n_slots; i++) {
        tf_run_slot *s = &p->slots[i];
        if (s->lent)
            continue;
        if (tf_finished(p->dev, s->ticket)) {
            const bool current = s->recorded && s->bindings == p->bindings_version;
            if (free_slot == UINT32_MAX || current)
                free_slot = i;
            if (current)
                break;
        } else if (oldest == UINT32_MAX || s->ticket < p->slots[oldest].ticket)
            oldest = i;
    }
    *index = free_slot != UINT32_MAX ? free_slot : oldest;
    if (free_slot != UINT32_MAX)
        return true;
    if (oldest == UINT32_MAX)
        return tf_fault_set(&p->fault, TUFF_E_STATE, "all %u slots were used with tuff_record; compile with more slots to submit runs too", p->n_slots);
    return tf_wait(p->dev, p->slots[oldest].ticket, UINT64_MAX, &p->fault);
}

static bool record_prologue(tuff_program *p, tf_run_slot *slot)
{
    if (!tf_begin(p, slot->prologue, true))
        return false;
    tf_pending_record(p, slot->prologue);
    return tf_end(p, slot->prologue);
}

/* One submission per step, waited for, so that a step that kills the device can be named. */
static bool submit_serialized(tuff_program *p, const tf_batch *batches, tf_semaphores waits, tf_semaphores signals, uint64_t *ticket)
{
    for (uint32_t b = 0; b < p->batches.n; b++) {
        const bool last = b + 1 == p->batches.n;
        if (tf_submit(p->dev, &batches[b], 1, b ? (tf_semaphores){ 0 } : waits, last ? signals : (tf_semaphores){ 0 }, ticket, &p->fault) &&
            tf_wait(p->dev, *ticket, UINT64_MAX, &p->fault))
            continue;
        char text[sizeof p->fault.text];
        memcpy(text, p->fault.text, sizeof text);
        const uint32_t step = p->batches.data[b].first.step;
        const tf_step *s = &p->plan->steps.data[step];
        return tf_fault_set(&p->fault, p->fault.status, "step %u (%s): %.900s", step, s->label ? s->label : "?", text);
    }
    return true;
}

static bool submit(tuff_program *p, tf_semaphores waits, tf_semaphores signals, uint64_t *ticket)
{
    uint32_t index;
    VkCommandBuffer first[3];
    tf_batch local[BATCHES_LOCAL], *batches = local;
    if (!tf_program_can_run(p) || !take_slot(p, &index))
        return false;
    tf_run_slot *slot = &p->slots[index];
    if (!tf_slot_prepare(p, slot, index) || !tf_slot_record(p, slot, index) || (p->pending.n && !record_prologue(p, slot)))
        return false;
    const uint32_t n = p->batches.n;
    if (n > BATCHES_LOCAL && !(batches = tf_alloc(&p->dev->allocator, n * sizeof *batches)))
        return tf_fault_set(&p->fault, TUFF_E_MEMORY, "out of host memory for a submission");
    for (uint32_t b = 0; b < n; b++)
        batches[b] = slot->run[2 * b] ? (tf_batch){ &slot->run[2 * b], 2 } : (tf_batch){ &slot->run[2 * b + 1], 1 };
    if (p->pending.n) {
        first[0] = slot->prologue;
        memcpy(&first[1], batches[0].cmds, batches[0].n * sizeof *first);
        batches[0] = (tf_batch){ first, batches[0].n + 1 };
    }
    const bool ok = p->dev->caps.on.serialize ? submit_serialized(p, batches, waits, signals, ticket)
                                              : tf_submit(p->dev, batches, n, waits, signals, ticket, &p->fault);
    if (batches != local)
        tf_free(&p->dev->allocator, batches, n * sizeof *batches);
    if (!ok)
        return false;
    tf_pending_taken(p, *ticket, 0);
    tf_mutex_lock(&p->dev->object_lock); /* a cancel from another thread looks for runs in flight */
    slot->ticket = *ticket;
    tf_mutex_unlock(&p->dev->object_lock);
    atomic_store(&p->last, *ticket);
    memcpy(p->run_dims, p->dims, p->plan->dim_params.n * sizeof *p->dims);
    p->ran = true;
    return true;
}

tuff_status tuff_submit_with(tuff_program *p, const tuff_submit_desc *desc, uint64_t *ticket)
{
    static const tuff_submit_desc none;
    uint64_t own;
    if (!p)
        return TUFF_E_ARGUMENT;
    desc = desc ? desc : &none;
    const tf_semaphores waits = { desc->waits, desc->wait_values, desc->wait_count };
    const tf_semaphores signals = { desc->signals, desc->signal_values, desc->signal_count };
    return submit(p, waits, signals, ticket ? ticket : &own) ? TUFF_OK : p->fault.status;
}

tuff_status tuff_submit(tuff_program *p, uint64_t *ticket) { return tuff_submit_with(p, NULL, ticket); }

/* Waits in slices, so that a cancel from another thread is noticed soon. */
static bool wait_cancellable(tuff_program *p, uint64_t ticket, uint64_t timeout_ns)
{
    const uint64_t slice = 10000000, start = tf_clock_ns();
    for (;;) {
        tf_fault f = { TUFF_OK, "" }; /* a slice that passes is no failure */
        const uint64_t passed = tf_clock_ns() - start, left = timeout_ns == UINT64_MAX ? UINT64_MAX : timeout_ns - TF_MIN(passed, timeout_ns);
        const bool done = tf_wait(p->dev, ticket, TF_MIN(left, slice), &f);
        if (!done && f.status != TUFF_E_TIMEOUT)
            return tf_fault_set(&p->fault, f.status, "%s", f.text);
        if (ticket >= atomic_load(&p->cancel_first) && ticket <= atomic_load(&p->cancelled))
            return tf_fault_set(&p->fault, TUFF_E_CANCELLED, "the run was cancelled; its outputs are undefined");
        if (done)
            return true;
        if (left <= slice)
            return tf_fault_set(&p->fault, TUFF_E_TIMEOUT, "the run did not finish in %.3f s", (double)timeout_ns * 1e-9);
    }
}

tuff_status tuff_wait(tuff_program *p, uint64_t ticket, uint64_t timeout_ns)
{
    if (!p)
        return TUFF_E_ARGUMENT;
    if (!ticket || ticket > atomic_load(&p->last)) {
        tf_fault_set(&p->fault, TUFF_E_ARGUMENT, "ticket %llu was not given by tuff_submit of this program", (unsigned long long)ticket);
        return p->fault.status;
    }
    return wait_cancellable(p, ticket, timeout_ns) ? TUFF_OK : p->fault.status;
}

tuff_status tuff_run(tuff_program *p)
{
    uint64_t ticket;
    const tuff_status status = tuff_submit(p, &ticket);
    return status ? status : tuff_wait(p, ticket, UINT64_MAX);
}

void tuff_cancel(tuff_program *p)
{
    if (!p)
        return;
    tf_mutex_lock(&p->dev->object_lock);
    uint64_t first = UINT64_MAX;
    for (uint32_t i = 0; i < p->n_slots; i++) {
        const uint64_t ticket = p->slots[i].ticket;
        if (!ticket || p->slots[i].lent || tf_finished(p->dev, ticket))
            continue;
        first = TF_MIN(first, ticket);
        tf_slot_cancel(p, i, true);
    }
    if (first != UINT64_MAX) {
        atomic_store(&p->cancel_first, first);
        atomic_store(&p->cancelled, atomic_load(&p->last));
    }
    tf_mutex_unlock(&p->dev->object_lock);
}

double tuff_progress(tuff_program *p)
{
    uint32_t done = 0;
    if (!p)
        return 0;
    tf_mutex_lock(&p->dev->object_lock);
    const uint64_t last = atomic_load(&p->last);
    const bool finished = tf_finished(p->dev, last);
    for (uint32_t i = 0; i < p->n_slots && !finished && p->progress.mapped; i++) {
        tf_fault ignored = { TUFF_OK, "" };
        if (p->slots[i].ticket == last && tf_mem_invalidate(p->dev, &p->progress, (uint64_t)i * PROGRESS_STRIDE, PROGRESS_STRIDE, &ignored))
            memcpy(&done, p->progress.mapped + (size_t)i * PROGRESS_STRIDE, sizeof done);
    }
    tf_mutex_unlock(&p->dev->object_lock);
    return finished ? last != 0 : (double)done / TF_MAX(p->n_run, 1u);
}

/* ---- looking at it ------------------------------------------------------------------------------- */

const char *tuff_program_error(const tuff_program *p) { return p ? p->fault.text : ""; }

tuff_memory tuff_program_memory(const tuff_program *p)
{
    tuff_memory m = { .arena = 0 };
    if (!p)
        return m;
    uint64_t *const sums[] = { &m.arena, &m.inputs, &m.outputs, &m.constants, &m.states };
    for (uint32_t i = 0; i < p->plan->chunks.n; i++)
        m.arena += p->plan->chunks.data[i];
    for (uint32_t i = 0; i < p->plan->buffers.n; i++) {
        const tf_buffer *b = &p->plan->buffers.data[i];
        if (b->kind != TF_BUF_ARENA && !p->places[i].external)
            *sums[b->kind] += tf_align_up(b->bytes, 16);
    }
    m.staging = p->control_stride * p->n_slots;
    if (!(p->dev->unified && p->dev->caps.on.mapping)) /* bytes pass through memory of their own */
        m.staging += m.inputs + m.outputs;
    return m;
}

size_t tuff_program_explain(const tuff_program *p, tuff_explain_format format, char *buffer, size_t size)
{
    tf_str s;
    tf_str_init(&s, p ? &p->dev->allocator : NULL);
    if (p)
        tf_plan_explain(p->plan, format, &s);
    const size_t n = tf_str_deliver(&s, buffer, size);
    tf_str_release(&s);
    return n;
}
