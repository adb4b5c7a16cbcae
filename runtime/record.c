/* record.c - descriptor sets, parameters and command buffers of a slot.
 *
 * Recording is one plain loop over the plan's steps with one memory barrier between waves. It only reads the plan
 * and the slot, so the same loop fills our own command buffers, the application's and the profiler's. */
#include "program.h"

#include <string.h>

#include <tuff/tuff_vulkan.h>

enum { PROGRESS_MARKS = 1000, UNROLL_MAX = 1 << 20 };

static const VkPipelineStageFlags work_stages = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT;
static const VkAccessFlags work_writes = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT;
static const VkAccessFlags work_access = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_UNIFORM_READ_BIT |
                                         VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT | VK_ACCESS_INDIRECT_COMMAND_READ_BIT;

static void barrier(const tuff_program *p, VkCommandBuffer cmd, VkPipelineStageFlags from, VkAccessFlags wrote, VkPipelineStageFlags to, VkAccessFlags access)
{
    const VkMemoryBarrier b = { .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER, .srcAccessMask = wrote, .dstAccessMask = access };
    p->dev->vk.CmdPipelineBarrier(cmd, from, to, 0, 1, &b, 0, NULL, 0, NULL);
}

void tf_record_barrier(const tuff_program *p, VkCommandBuffer cmd)
{
    if (!p->dev->caps.on.barriers) return;
    barrier(p, cmd, work_stages, work_writes, work_stages | VK_PIPELINE_STAGE_DRAW_INDIRECT_BIT, work_access);
}

/* ---- descriptor sets ---------------------------------------------------------------------------- */

/* What binding `b` of a step refers to. Own buffers are rounded up to whole words, and so may the range be. */
static VkDescriptorBufferInfo describe(const tuff_program *p, const tf_binding *b)
{
    VkDescriptorBufferInfo info = { .range = b->range };
    uint64_t base, bytes;
    tf_buffer_locate(p, b->buffer, &info.buffer, &base);
    const tf_buffer *t = &p->plan->buffers.data[b->buffer];
    const tf_tensor_place *at = &p->places[b->buffer];
    if (!b->range || !t->bytes)
        return (VkDescriptorBufferInfo){ p->null.buffer, 0, 256 };
    if (t->kind == TF_BUF_ARENA) {
        info.offset = b->offset; /* in the chunk */
        bytes = p->chunks[t->chunk].bytes;
    } else {
        info.offset = base + b->offset;
        bytes = at->external ? at->offset + at->range : at->object->mem.bytes;
    }
    if (info.offset < bytes && info.range > bytes - info.offset)
        info.range = bytes - info.offset;
    return info;
}

/* The slot is idle, and so is the view that stood there. */
static bool renew_view(tuff_program *p, VkBufferView *view, const VkDescriptorBufferInfo *at)
{
    const VkBufferViewCreateInfo info = { .sType = VK_STRUCTURE_TYPE_BUFFER_VIEW_CREATE_INFO, .buffer = at->buffer,
                                          .format = VK_FORMAT_R32G32B32A32_UINT, .offset = at->offset, .range = at->range };
    p->dev->vk.DestroyBufferView(p->dev->device, *view, NULL);
    *view = VK_NULL_HANDLE;
    if (tf_vk_ok(p->dev, &p->fault, p->dev->vk.CreateBufferView(p->dev->device, &info, NULL, view), "vkCreateBufferView"))
        return true;
    *view = VK_NULL_HANDLE;
    return false;
}

static bool write_set(tuff_program *p, const tf_run_slot *slot, uint32_t index, const tf_step *step, const tf_step_state *state)
{
    VkDescriptorBufferInfo info[65];
    VkWriteDescriptorSet w[65];
    const tf_kernel *k = &p->plan->kernels.data[step->kernel];
    uint32_t n = 0;
    for (; n < k->n_bindings; n++)
        info[n] = describe(p, &p->plan->bindings.data[step->binding + n]);
    if (k->n_params)
        info[n++] = (VkDescriptorBufferInfo){ p->control.buffer, index * p->control_stride + state->params_at, tf_align_up(4ull * k->n_params, 16) };
    for (uint32_t i = 0; i < n; i++) {
        const bool params = i == k->n_bindings, texel = !params && p->plan->bindings.data[step->binding + i].texel;
        const bool uniform = params || p->plan->bindings.data[step->binding + i].uniform;
        VkBufferView *view = texel ? &slot->views[step->binding + i] : NULL;
        if (view && !renew_view(p, view, &info[i]))
            return false;
        w[i] = (VkWriteDescriptorSet){ .sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET, .dstSet = slot->sets[state->set], .dstBinding = i,
                                       .descriptorCount = 1, .pBufferInfo = &info[i], .pTexelBufferView = view,
                                       .descriptorType = uniform ? VK_DESCRIPTOR_TYPE_UNIFORM_BUFFER
                                                       : texel ? VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER : VK_DESCRIPTOR_TYPE_STORAGE_BUFFER };
    }
    if (n)
        p->dev->vk.UpdateDescriptorSets(p->dev->device, n, w, 0, NULL);
    return true;
}

static bool create_descriptors(tuff_program *p)
{
    if (p->descriptors || !p->n_sets)
        return true;
    VkDescriptorPoolSize sizes[3];
    uint32_t n = 0;
    if (p->n_storage)
        sizes[n++] = (VkDescriptorPoolSize){ VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, p->n_storage * p->n_slots };
    if (p->n_uniform)
        sizes[n++] = (VkDescriptorPoolSize){ VK_DESCRIPTOR_TYPE_UNIFORM_BUFFER, p->n_uniform * p->n_slots };
    if (p->n_texel)
        sizes[n++] = (VkDescriptorPoolSize){ VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER, p->n_texel * p->n_slots };
    const VkDescriptorPoolCreateInfo info = { .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO, .maxSets = p->n_sets * p->n_slots,
                                              .poolSizeCount = n, .pPoolSizes = sizes };
    if (tf_vk_ok(p->dev, &p->fault, p->dev->vk.CreateDescriptorPool(p->dev->device, &info, NULL, &p->descriptors), "vkCreateDescriptorPool"))
        return true;
    p->descriptors = VK_NULL_HANDLE;
    return false;
}

static bool allocate_sets(tuff_program *p, tf_run_slot *slot)
{
    if (!create_descriptors(p))
        return false;
    for (uint32_t i = 0; i < p->plan->steps.n; i++) {
        const uint32_t set = p->steps[i].set;
        if (set == UINT32_MAX || slot->sets[set])
            continue;
        const VkDescriptorSetAllocateInfo info = { .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO, .descriptorPool = p->descriptors,
            .descriptorSetCount = 1, .pSetLayouts = &p->pipelines[p->plan->steps.data[i].kernel]->layout->set };
        if (!tf_vk_ok(p->dev, &p->fault, p->dev->vk.AllocateDescriptorSets(p->dev->device, &info, &slot->sets[set]), "vkAllocateDescriptorSets")) {
            slot->sets[set] = VK_NULL_HANDLE;
            return false;
        }
    }
    return true;
}

/* ---- parameters and grids ----------------------------------------------------------------------- */

static void store(unsigned char *control, uint32_t at, uint32_t value) { memcpy(control + at, &value, sizeof value); }

static void store_bases(const tuff_program *p, unsigned char *control)
{
    for (uint32_t i = 0; i < p->plan->steps.n; i++) {
        const tf_step *s = &p->plan->steps.data[i];
        for (uint32_t k = 0; k < s->n_params; k++) {
            const tf_param *v = &p->plan->params.data[s->param + k];
            if (v->kind == TF_PARAM_BASE || v->kind == TF_PARAM_ITERATION)
                store(control, p->steps[i].params_at + 4 * k, tf_plan_param(p->plan, s, v, NULL));
        }
    }
}

static bool store_grids(tuff_program *p, unsigned char *control)
{
    for (uint32_t i = 0; i < p->n_grid_words; i++) {
        uint32_t grid[3] = { 0, 0, 0 };
        const int64_t groups = tf_plan_dim(p->plan, p->grid_words[i].a, p->dims);
        if (groups > 0 && !tf_program_grid(p, groups, grid))
            return tf_fault_set(&p->fault, TUFF_E_LIMIT, "a kernel needs %lld workgroups, more than the device can start", (long long)groups);
        for (uint32_t k = 0; k < 3; k++)
            store(control, p->grid_words[i].at + 4 * k, grid[k]);
    }
    return true;
}

void tf_slot_cancel(tuff_program *p, uint32_t index, bool cancel)
{
    tf_fault ignored = { TUFF_OK, "" };
    unsigned char *control = p->control.mapped ? p->control.mapped + index * p->control_stride : NULL;
    if (!control || !(p->n_cancel_words || p->n_stop_words))
        return;
    for (uint32_t i = 0; i < p->n_cancel_words; i++)
        store(control, p->cancel_words[i].at, cancel);
    for (uint32_t i = 0; i < p->n_stop_words && cancel; i++)
        store(control, p->stop_words[i], 0);
    if (!cancel)
        p->slots[index].dims = 0; /* grids are written again */
    tf_mem_flush(p->dev, &p->control, index * p->control_stride, p->control_stride, &ignored);
    p->slots[index].cancelled = cancel;
}

bool tf_slot_prepare(tuff_program *p, tf_run_slot *slot, uint32_t index)
{
    unsigned char *control = p->control.mapped ? p->control.mapped + index * p->control_stride : NULL;
    const bool fresh = slot->bindings == 0;
    if (slot->bindings != p->bindings_version) {
        if (!allocate_sets(p, slot))
            return false;
        for (uint32_t i = 0; i < p->plan->steps.n; i++)
            if (p->steps[i].set != UINT32_MAX && !write_set(p, slot, index, &p->plan->steps.data[i], &p->steps[i]))
                return false;
        slot->bindings = p->bindings_version;
        slot->recorded = false;
    }
    if (fresh || slot->cancelled) {
        tf_mutex_lock(&p->dev->object_lock);
        tf_slot_cancel(p, index, false);
        tf_mutex_unlock(&p->dev->object_lock);
    }
    if (p->progress.mapped) {
        memset(p->progress.mapped + (size_t)index * PROGRESS_STRIDE, 0, sizeof(uint32_t));
        if (!tf_mem_flush(p->dev, &p->progress, (uint64_t)index * PROGRESS_STRIDE, PROGRESS_STRIDE, &p->fault))
            return false;
    }
    if (!control || (!fresh && slot->dims == p->dims_version && slot->scalars == p->scalars_version))
        return true;
    if (fresh)
        store_bases(p, control);
    if (slot->dims != p->dims_version) {
        for (uint32_t i = 0; i < p->n_dim_words; i++)
            store(control, p->dim_words[i].at, (uint32_t)tf_plan_dim(p->plan, p->dim_words[i].a, p->dims));
        if (!store_grids(p, control))
            return false;
        slot->dims = p->dims_version;
    }
    if (slot->scalars != p->scalars_version) {
        for (uint32_t i = 0; i < p->n_scalar_words; i++)
            store(control, p->scalar_words[i].at, p->ports[p->scalar_words[i].a].scalar);
        slot->scalars = p->scalars_version;
    }
    return tf_mem_flush(p->dev, &p->control, index * p->control_stride, p->control_stride, &p->fault);
}

/* ---- steps -------------------------------------------------------------------------------------- */

static void record_copy(const tuff_program *p, VkCommandBuffer cmd, const tf_step *s)
{
    const uint32_t from = p->plan->args.data[s->arg].buffer, to = p->plan->args.data[s->arg + 1].buffer;
    VkBuffer src, dst;
    VkBufferCopy region;
    tf_buffer_locate(p, from, &src, &region.srcOffset);
    tf_buffer_locate(p, to, &dst, &region.dstOffset);
    region.size = TF_MIN(p->plan->buffers.data[from].bytes, p->plan->buffers.data[to].bytes);
    if (region.size)
        p->dev->vk.CmdCopyBuffer(cmd, src, dst, 1, &region);
}

static void record_fill(const tuff_program *p, VkCommandBuffer cmd, const tf_step *s)
{
    const uint32_t to = p->plan->args.data[s->arg].buffer;
    const uint64_t bytes = tf_align_up(p->plan->buffers.data[to].bytes, 4);
    VkBuffer dst;
    uint64_t offset;
    tf_buffer_locate(p, to, &dst, &offset);
    if (bytes)
        p->dev->vk.CmdFillBuffer(cmd, dst, offset, bytes, s->fill);
}

static void record_dispatch(const tuff_program *p, const tf_run_slot *slot, uint32_t index, VkCommandBuffer cmd, const tf_cursor *c)
{
    const tf_vk *vk = &p->dev->vk;
    const tf_step *s = &p->plan->steps.data[c->step];
    const tf_step_state *t = &p->steps[c->step];
    vk->CmdBindPipeline(cmd, VK_PIPELINE_BIND_POINT_COMPUTE, t->pipeline);
    if (p->plan->kernels.data[s->kernel].steps)
        vk->CmdPushConstants(cmd, t->layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, sizeof c->at, c->at);
    if (t->set != UINT32_MAX)
        vk->CmdBindDescriptorSets(cmd, VK_PIPELINE_BIND_POINT_COMPUTE, t->layout, 0, 1, &slot->sets[t->set], 0, NULL);
    if (s->kind == TF_STEP_DISPATCH_INDIRECT) { /* the grid is the last argument, written by a kernel before */
        VkBuffer grid;
        uint64_t offset;
        tf_buffer_locate(p, p->plan->args.data[s->arg + s->n_args - 1].buffer, &grid, &offset);
        vk->CmdDispatchIndirect(cmd, grid, offset + s->grid_at);
    } else if (t->grid_at != UINT32_MAX)
        vk->CmdDispatchIndirect(cmd, p->control.buffer, index * p->control_stride + t->grid_at);
    else
        vk->CmdDispatch(cmd, t->grid[0], t->grid[1], t->grid[2]);
}

static void record_step(const tuff_program *p, const tf_run_slot *slot, uint32_t index, VkCommandBuffer cmd, const tf_cursor *c)
{
    const tf_step *s = &p->plan->steps.data[c->step];
    const tf_step_state *t = &p->steps[c->step];
    const bool label = p->dev->caps.on.labels && p->dev->vk.CmdBeginDebugUtilsLabelEXT && s->label;
    if (label)
        p->dev->vk.CmdBeginDebugUtilsLabelEXT(cmd, &(VkDebugUtilsLabelEXT){ .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_LABEL_EXT, .pLabelName = s->label });
    if (s->kind == TF_STEP_COPY)
        record_copy(p, cmd, s);
    else if (s->kind == TF_STEP_FILL)
        record_fill(p, cmd, s);
    else if (s->kind == TF_STEP_DISPATCH_INDIRECT || t->grid_at != UINT32_MAX || t->grid[0])
        record_dispatch(p, slot, index, cmd, c);
    if (label)
        p->dev->vk.CmdEndDebugUtilsLabelEXT(cmd);
}

void tf_record_steps(const tuff_program *p, const tf_run_slot *slot, uint32_t index, VkCommandBuffer cmd, tf_cursor first, uint32_t count)
{
    tf_cursor c = first;
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t before = c.step;
        if (i > 0) {
            tf_cursor_next(p->plan, &c);
            if (tf_cursor_barrier(p->plan, before, c.step))
                tf_record_barrier(p, cmd);
        }
        record_step(p, slot, index, cmd, &c);
    }
}

/* Steps [done, done + count) of a run, in parts that end with an iteration of a loop at the top level: behind each the device
 * tells how far it is. */
static void record_progress(const tuff_program *p, const tf_run_slot *slot, uint32_t index, VkCommandBuffer cmd, tf_cursor c, uint32_t done, uint32_t count)
{
    const uint32_t least = TF_MAX(p->n_run / PROGRESS_MARKS, 1u);
    while (count) {
        tf_cursor at = c;
        uint32_t n = 0;
        do {
            n++;
            tf_cursor_next(p->plan, &at);
        } while (n < count && (n < least || (at.at[0] == c.at[0] && at.step > c.step)));
        tf_record_steps(p, slot, index, cmd, c, n);
        tf_record_barrier(p, cmd);
        done += n;
        count -= n;
        c = at;
        p->dev->vk.CmdFillBuffer(cmd, p->progress.buffer, (uint64_t)index * PROGRESS_STRIDE, sizeof(uint32_t), done);
    }
}

/* Where the iterations of a chunk begin, and how far the run is; NULL: every loop from its first on. */
static void record_prelude(const tuff_program *p, uint32_t index, VkCommandBuffer cmd, const tf_batch_plan *b)
{
    barrier(p, cmd, work_stages, work_writes, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT);
    for (uint32_t i = 0; i < p->n_iteration_words; i++) {
        const tf_iteration_word *w = &p->iteration_words[i];
        if (b && !tf_plan_within(p->plan, w->region, b->region))
            continue;
        const uint32_t value = b ? (uint32_t)b->base[w->depth] : 0;
        p->dev->vk.CmdUpdateBuffer(cmd, p->control.buffer, index * p->control_stride + w->at, sizeof value, &value);
    }
    if (b && p->progress.buffer)
        p->dev->vk.CmdFillBuffer(cmd, p->progress.buffer, (uint64_t)index * PROGRESS_STRIDE, sizeof(uint32_t), b->done);
    tf_record_barrier(p, cmd);
}

static bool record_batch(tuff_program *p, const tf_run_slot *slot, uint32_t index, const tf_batch_plan *b, bool first, bool last)
{
    const VkCommandBuffer cmd = slot->cmds[b->cmd];
    if (!tf_begin(p, cmd, false))
        return false;
    /* The arena, state and outputs were used by the run before; on a shared queue inputs may come from any command. */
    if (first && !p->dev->owned)
        barrier(p, cmd, VK_PIPELINE_STAGE_ALL_COMMANDS_BIT, VK_ACCESS_MEMORY_WRITE_BIT, work_stages | VK_PIPELINE_STAGE_DRAW_INDIRECT_BIT, work_access);
    else
        tf_record_barrier(p, cmd);
    if (p->progress.buffer && !b->prelude)
        record_progress(p, slot, index, cmd, b->first, b->done, b->count);
    else
        tf_record_steps(p, slot, index, cmd, b->first, b->count);
    if (last || b->prelude) /* a chunk may also be the last one */
        barrier(p, cmd, work_stages, work_writes, VK_PIPELINE_STAGE_HOST_BIT | (p->dev->owned ? 0 : VK_PIPELINE_STAGE_ALL_COMMANDS_BIT),
                VK_ACCESS_HOST_READ_BIT | (p->dev->owned ? 0 : VK_ACCESS_MEMORY_READ_BIT | VK_ACCESS_MEMORY_WRITE_BIT));
    return tf_end(p, cmd);
}

bool tf_slot_record(tuff_program *p, tf_run_slot *slot, uint32_t index)
{
    uint32_t recorded = 0;
    if (slot->recorded)
        return true;
    for (uint32_t i = 0; i < p->batches.n; i++) {
        const tf_batch_plan *b = &p->batches.data[i];
        if (b->prelude) {
            const VkCommandBuffer cmd = slot->cmds[p->n_cmds + b->prelude - 1];
            if (!tf_begin(p, cmd, false))
                return false;
            record_prelude(p, index, cmd, b);
            if (!tf_end(p, cmd))
                return false;
        }
        if (b->cmd < recorded)
            continue;
        if (!record_batch(p, slot, index, b, i == 0, i + 1 == p->batches.n))
            return false;
        recorded++;
    }
    return slot->recorded = true;
}

/* ---- the application's command buffer ------------------------------------------------------------ */

static uint32_t steps_in_budget(const tuff_program *p, tf_cursor c, uint32_t most, uint64_t budget)
{
    uint64_t used = 0;
    uint32_t n = 0;
    for (; n < most && (n == 0 || !budget || used + p->steps[c.step].ns <= budget); n++) {
        used += p->steps[c.step].ns;
        tf_cursor_next(p->plan, &c);
    }
    return n;
}

static bool record(tuff_program *p, VkCommandBuffer cmd, const tuff_record_desc *d, uint32_t *next)
{
    const uint32_t n = p->n_run;
    if (!cmd)
        return tf_fault_set(&p->fault, TUFF_E_ARGUMENT, "tuff_record: the command buffer is NULL");
    if (d->slot >= p->n_slots)
        return tf_fault_set(&p->fault, TUFF_E_ARGUMENT, "tuff_record: slot %u of %u", d->slot, p->n_slots);
    if (d->first > n || d->count > n - d->first)
        return tf_fault_set(&p->fault, TUFF_E_ARGUMENT, "tuff_record: steps %u to %u, the program has %u", d->first, d->first + d->count, n);
    const uint32_t wanted = d->count ? d->count : n - d->first, most = TF_MIN(wanted, UNROLL_MAX);
    if (most < wanted && !next)
        return tf_fault_set(&p->fault, TUFF_E_ARGUMENT, "tuff_record: %u steps are more than one call records (%d); pass `next` and go on from there", wanted, UNROLL_MAX);
    tf_run_slot *slot = &p->slots[d->slot];
    if (!slot->lent && slot->ticket && !tf_wait(p->dev, slot->ticket, UINT64_MAX, &p->fault))
        return false;
    if (d->first == 0) /* a new run: the slot's previous use is over */
        tf_staging_release_slot(p, d->slot);
    slot->lent = true;
    if (!tf_slot_prepare(p, slot, d->slot))
        return false;
    if (!d->no_begin_barrier)
        barrier(p, cmd, VK_PIPELINE_STAGE_ALL_COMMANDS_BIT, VK_ACCESS_MEMORY_WRITE_BIT, work_stages | VK_PIPELINE_STAGE_DRAW_INDIRECT_BIT, work_access);
    if (p->pending.n) {
        tf_pending_record(p, cmd);
        tf_record_barrier(p, cmd);
        tf_pending_taken(p, 0, d->slot + 1);
    }
    if (p->n_preludes)
        record_prelude(p, d->slot, cmd, NULL);
    const tf_cursor at = tf_cursor_at(p->plan, d->first);
    const uint32_t count = steps_in_budget(p, at, most, d->budget_ns);
    tf_record_steps(p, slot, d->slot, cmd, at, count);
    if (!d->no_end_barrier)
        barrier(p, cmd, work_stages, work_writes, VK_PIPELINE_STAGE_ALL_COMMANDS_BIT, VK_ACCESS_MEMORY_READ_BIT | VK_ACCESS_MEMORY_WRITE_BIT);
    if (next)
        *next = d->first + count;
    memcpy(p->run_dims, p->dims, p->plan->dim_params.n * sizeof *p->dims);
    p->ran = p->ran || d->first + count == n;
    return true;
}

tuff_status tuff_record(tuff_program *p, VkCommandBuffer cmd, const tuff_record_desc *desc, uint32_t *next)
{
    static const tuff_record_desc none;
    if (!p)
        return TUFF_E_ARGUMENT;
    return tf_program_can_run(p) && record(p, cmd, desc ? desc : &none, next) ? TUFF_OK : p->fault.status;
}

uint32_t tuff_step_count(const tuff_program *p) { return p ? p->n_run : 0; }
