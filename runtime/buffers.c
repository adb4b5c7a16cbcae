/* buffers.c - a program's tensors in memory, and bytes between them and the host.
 *
 * A write goes straight to the tensor when its memory is visible to the host and no run can be reading it; otherwise
 * into staging memory, and a copy is recorded in front of the next run. So a write never waits, and a run in flight
 * never sees it. Reads wait for the run and take the same two ways. */
#include "program.h"

#include <string.h>

enum { CHUNK = 32 << 20 }; /* staging for long transfers */

static const tf_buffer *plan_buffer(const tuff_program *p, uint32_t buffer) { return &p->plan->buffers.data[buffer]; }

static const char *buffer_name(const tuff_program *p, uint32_t buffer)
{
    static const char *const kinds[] = { "an intermediate tensor", "an input", "an output", "a constant", "a state" };
    const tf_buffer *b = plan_buffer(p, buffer);
    return b->name ? b->name : kinds[b->kind];
}

/* ---- command buffers outside of runs ------------------------------------------------------------- */

bool tf_begin(tuff_program *p, VkCommandBuffer cmd, bool once)
{
    const VkCommandBufferBeginInfo info = { .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
                                            .flags = once ? VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT
                                                   : p->n_preludes ? VK_COMMAND_BUFFER_USAGE_SIMULTANEOUS_USE_BIT : 0 };
    return tf_vk_ok(p->dev, &p->fault, p->dev->vk.BeginCommandBuffer(cmd, &info), "vkBeginCommandBuffer");
}

bool tf_end(tuff_program *p, VkCommandBuffer cmd)
{
    return tf_vk_ok(p->dev, &p->fault, p->dev->vk.EndCommandBuffer(cmd), "vkEndCommandBuffer");
}

static void barrier(const tuff_program *p, VkCommandBuffer cmd, VkPipelineStageFlags from, VkAccessFlags wrote, VkPipelineStageFlags to, VkAccessFlags access)
{
    const VkMemoryBarrier b = { .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER, .srcAccessMask = wrote, .dstAccessMask = access };
    p->dev->vk.CmdPipelineBarrier(cmd, from, to, 0, 1, &b, 0, NULL, 0, NULL);
}

/* Transfers of this file stand between runs: everything before is ordered against them, and they against the host.
 * Whatever follows begins with a barrier of its own. */
static void transfer_begin(const tuff_program *p, VkCommandBuffer cmd)
{
    const VkPipelineStageFlags from = p->dev->owned ? VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT
                                                    : VK_PIPELINE_STAGE_ALL_COMMANDS_BIT;
    const VkAccessFlags wrote = p->dev->owned ? VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT : VK_ACCESS_MEMORY_WRITE_BIT;
    barrier(p, cmd, from, wrote, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT);
}

static bool aux_begin(tuff_program *p)
{
    if (!tf_begin(p, p->aux, true))
        return false;
    transfer_begin(p, p->aux);
    return true;
}

static bool aux_run(tuff_program *p)
{
    uint64_t ticket;
    const tf_batch batch = { &p->aux, 1 };
    barrier(p, p->aux, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT, VK_PIPELINE_STAGE_HOST_BIT, VK_ACCESS_HOST_READ_BIT);
    if (!tf_end(p, p->aux) || !tf_submit(p->dev, &batch, 1, (tf_semaphores){ 0 }, (tf_semaphores){ 0 }, &ticket, &p->fault))
        return false;
    if (tf_wait(p->dev, ticket, UINT64_MAX, &p->fault))
        return true;
    tf_drain(p->dev, ticket); /* it is recorded again next time */
    return false;
}

/* ---- staging ------------------------------------------------------------------------------------ */

static tf_staging *staging_get(tuff_program *p, uint64_t bytes)
{
    for (tf_staging *s = p->staging; s; s = s->next)
        if (!s->pending && !s->slot && s->mem.bytes >= bytes && s->mem.bytes / 4 <= bytes && tf_finished(p->dev, s->ticket))
            return s;
    tf_staging *s = tf_alloc(&p->dev->allocator, sizeof *s);
    if (!s)
        return tf_fault_set(&p->fault, TUFF_E_MEMORY, "out of host memory for staging"), NULL;
    if (!tf_mem_create(p->dev, TF_MEM_UPLOAD, bytes, "staging memory", &s->mem, &p->fault)) {
        tf_free(&p->dev->allocator, s, sizeof *s);
        return NULL;
    }
    s->next = p->staging;
    return p->staging = s;
}

void tf_staging_release_slot(tuff_program *p, uint32_t slot)
{
    for (tf_staging *s = p->staging; s; s = s->next)
        if (s->slot == slot + 1)
            s->slot = 0;
}

/* ---- first contents ----------------------------------------------------------------------------- */

static bool upload_now(tuff_program *p, const tf_mem *m, const void *data, uint64_t bytes)
{
    for (uint64_t at = 0; at < bytes; at += CHUNK) {
        const uint64_t n = TF_MIN(bytes - at, (uint64_t)CHUNK);
        tf_staging *s = staging_get(p, n);
        if (!s)
            return false;
        memcpy(s->mem.mapped, (const unsigned char *)data + at, (size_t)n);
        if (!tf_mem_flush(p->dev, &s->mem, 0, n, &p->fault) || !aux_begin(p))
            return false;
        p->dev->vk.CmdCopyBuffer(p->aux, s->mem.buffer, m->buffer, 1, &(VkBufferCopy){ 0, at, n });
        if (!aux_run(p))
            return false;
    }
    return true;
}

static bool fill_now(tuff_program *p, const tf_mem *m, unsigned char byte)
{
    if (m->mapped) {
        memset(m->mapped, byte, (size_t)m->bytes);
        return tf_mem_flush(p->dev, m, 0, m->bytes, &p->fault);
    }
    if (!aux_begin(p))
        return false;
    p->dev->vk.CmdFillBuffer(p->aux, m->buffer, 0, m->bytes, byte * 0x01010101u);
    return aux_run(p);
}

static bool first_contents(tuff_program *p, const tf_buffer *b, const tf_mem *m)
{
    if (b->kind == TF_BUF_STATE)
        return fill_now(p, m, 0);
    if (b->kind != TF_BUF_CONST)
        return !p->dev->caps.on.poison || fill_now(p, m, 0xff);
    if (!b->data)
        return tf_fault_set(&p->fault, TUFF_E_INTERNAL, "a constant has no data");
    if (!m->mapped)
        return upload_now(p, m, b->data, b->bytes);
    memcpy(m->mapped, b->data, (size_t)b->bytes);
    return tf_mem_flush(p->dev, m, 0, b->bytes, &p->fault);
}

/* ---- places ------------------------------------------------------------------------------------- */

static bool ensure_object(tuff_program *p, uint32_t buffer)
{
    const tf_buffer *b = plan_buffer(p, buffer);
    tf_object *o = p->places[buffer].object;
    if (o->filled)
        return true;
    if (!o->mem.buffer && !tf_mem_create(p->dev, b->kind == TF_BUF_INPUT ? TF_MEM_INPUT : TF_MEM_DEVICE, b->bytes, buffer_name(p, buffer), &o->mem, &p->fault))
        return false;
    return o->filled = first_contents(p, b, &o->mem);
}

bool tf_buffer_ensure(tuff_program *p, uint32_t buffer)
{
    const tf_tensor_place *at = &p->places[buffer];
    if (!at->object || at->external)
        return true;
    tf_mutex_lock(&p->dev->object_lock); /* two programs may share the tensor */
    const bool ok = ensure_object(p, buffer);
    tf_mutex_unlock(&p->dev->object_lock);
    return ok;
}

void tf_buffer_locate(const tuff_program *p, uint32_t buffer, VkBuffer *handle, uint64_t *offset)
{
    const tf_buffer *b = plan_buffer(p, buffer);
    const tf_tensor_place *at = &p->places[buffer];
    *offset = 0;
    if (!b->bytes)
        *handle = p->null.buffer;
    else if (b->kind == TF_BUF_ARENA) {
        *handle = p->chunks[b->chunk].buffer;
        *offset = b->offset;
    } else if (at->external) {
        *handle = at->external;
        *offset = at->offset;
    } else
        *handle = at->object->mem.buffer;
}

void tf_buffer_release(tuff_program *p, uint32_t buffer)
{
    tf_object *o = p->places[buffer].object;
    if (!o)
        return;
    tf_mutex_lock(&p->dev->object_lock);
    const bool last = --o->refs == 0;
    tf_mutex_unlock(&p->dev->object_lock);
    p->places[buffer].object = NULL;
    if (last) {
        tf_mem_destroy(p->dev, &o->mem);
        tf_free(&p->dev->allocator, o, sizeof *o);
    }
}

bool tf_program_allocate(tuff_program *p)
{
    if (p->ready)
        return true;
    for (uint32_t i = 0; i < p->plan->buffers.n; i++)
        if (!tf_buffer_ensure(p, i))
            return false;
    for (uint32_t i = 0; i < p->plan->chunks.n; i++) {
        if (p->chunks[i].buffer || !p->plan->chunks.data[i])
            continue;
        if (!tf_mem_create(p->dev, TF_MEM_DEVICE, p->plan->chunks.data[i], "the arena for intermediate tensors", &p->chunks[i], &p->fault) ||
            (p->dev->caps.on.poison && !fill_now(p, &p->chunks[i], 0xff)))
            return false;
    }
    if (!p->null.buffer && !tf_mem_create(p->dev, TF_MEM_DEVICE, 256, "the buffer of empty tensors", &p->null, &p->fault))
        return false;
    if (!p->control.buffer && p->control_stride &&
        !tf_mem_create(p->dev, TF_MEM_UPLOAD, p->control_stride * p->n_slots, "parameters", &p->control, &p->fault))
        return false;
    if (!p->progress.buffer && p->plan->regions.n &&
        !tf_mem_create(p->dev, TF_MEM_READBACK, (uint64_t)PROGRESS_STRIDE * p->n_slots, "the progress of runs", &p->progress, &p->fault))
        return false;
    p->ready = true;
    return true;
}

/* ---- writing ------------------------------------------------------------------------------------ */

/* No run that could touch the tensor is in flight. */
static bool idle(tuff_program *p, const tf_object *o)
{
    for (uint32_t i = 0; i < p->n_slots; i++)
        if (p->slots[i].lent)
            return false;
    return tf_finished(p->dev, o->refs > 1 ? tf_last_ticket(p->dev) : atomic_load(&p->last));
}

/* The pending entry of a buffer, made if needed. */
static tf_pending *pending_of(tuff_program *p, uint32_t buffer)
{
    for (uint32_t i = 0; i < p->pending.n; i++)
        if (p->pending.data[i].buffer == buffer)
            return &p->pending.data[i];
    tf_pending *e = tf_push(&p->arena, &p->pending);
    if (!e)
        return tf_fault_set(&p->fault, TUFF_E_MEMORY, "out of host memory for a write"), NULL;
    e->buffer = buffer;
    return e;
}

void tf_pending_forget(tuff_program *p, uint32_t buffer)
{
    for (uint32_t i = 0; i < p->pending.n; i++)
        if (p->pending.data[i].buffer == buffer) {
            if (p->pending.data[i].from)
                p->pending.data[i].from->pending = false;
            p->pending.data[i] = p->pending.data[--p->pending.n];
            return;
        }
}

static bool write_staged(tuff_program *p, uint32_t buffer, const void *data, uint64_t bytes)
{
    tf_pending_forget(p, buffer);
    tf_staging *s = staging_get(p, bytes);
    tf_pending *e = s ? pending_of(p, buffer) : NULL;
    if (!e)
        return false;
    memcpy(s->mem.mapped, data, (size_t)bytes);
    s->pending = true;
    e->from = s;
    e->bytes = bytes;
    return tf_mem_flush(p->dev, &s->mem, 0, bytes, &p->fault);
}

bool tf_buffer_write(tuff_program *p, uint32_t buffer, const void *data, uint64_t bytes)
{
    const tf_tensor_place *at = &p->places[buffer];
    if (!tf_buffer_ensure(p, buffer))
        return false;
    if (at->external || !at->object->mem.mapped || !idle(p, at->object))
        return write_staged(p, buffer, data, bytes);
    tf_pending_forget(p, buffer);
    memcpy(at->object->mem.mapped, data, (size_t)bytes);
    return tf_mem_flush(p->dev, &at->object->mem, 0, bytes, &p->fault);
}

bool tf_buffer_zero(tuff_program *p, uint32_t buffer)
{
    const uint64_t bytes = plan_buffer(p, buffer)->bytes;
    if (!bytes || (p->places[buffer].object && !p->places[buffer].external && !p->places[buffer].object->mem.buffer))
        return true; /* a state without memory starts as zeros */
    tf_pending_forget(p, buffer);
    tf_pending *e = pending_of(p, buffer);
    if (!e)
        return false;
    e->from = NULL;
    e->bytes = tf_align_up(bytes, 4);
    return true;
}

void tf_pending_record(tuff_program *p, VkCommandBuffer cmd)
{
    transfer_begin(p, cmd);
    for (uint32_t i = 0; i < p->pending.n; i++) {
        const tf_pending *e = &p->pending.data[i];
        VkBuffer handle;
        uint64_t offset;
        tf_buffer_locate(p, e->buffer, &handle, &offset);
        if (e->from)
            p->dev->vk.CmdCopyBuffer(cmd, e->from->mem.buffer, handle, 1, &(VkBufferCopy){ 0, offset, e->bytes });
        else
            p->dev->vk.CmdFillBuffer(cmd, handle, offset, e->bytes, 0);
    }
}

void tf_pending_taken(tuff_program *p, uint64_t ticket, uint32_t slot)
{
    for (uint32_t i = 0; i < p->pending.n; i++) {
        tf_staging *s = p->pending.data[i].from;
        if (!s)
            continue;
        s->pending = false;
        s->ticket = ticket;
        s->slot = slot;
    }
    p->pending.n = 0;
}

bool tf_pending_flush(tuff_program *p)
{
    if (!p->pending.n)
        return true;
    if (!tf_begin(p, p->aux, true))
        return false;
    tf_pending_record(p, p->aux);
    if (!aux_run(p))
        return false;
    tf_pending_taken(p, 0, 0);
    return true;
}

/* ---- reading ------------------------------------------------------------------------------------ */

static bool read_staged(tuff_program *p, uint32_t buffer, unsigned char *data, uint64_t bytes)
{
    VkBuffer handle;
    uint64_t offset;
    tf_buffer_locate(p, buffer, &handle, &offset);
    const uint64_t chunk = TF_MIN(bytes, (uint64_t)CHUNK);
    if (p->readback.bytes < chunk) {
        tf_mem_destroy(p->dev, &p->readback);
        if (!tf_mem_create(p->dev, TF_MEM_READBACK, chunk, "staging memory", &p->readback, &p->fault))
            return false;
    }
    for (uint64_t at = 0; at < bytes; at += chunk) {
        const uint64_t n = TF_MIN(bytes - at, chunk);
        if (!aux_begin(p))
            return false;
        p->dev->vk.CmdCopyBuffer(p->aux, handle, p->readback.buffer, 1, &(VkBufferCopy){ offset + at, 0, n });
        if (!aux_run(p) || !tf_mem_invalidate(p->dev, &p->readback, 0, n, &p->fault))
            return false;
        memcpy(data + at, p->readback.mapped, (size_t)n);
    }
    return true;
}

bool tf_buffer_read(tuff_program *p, uint32_t buffer, void *data, uint64_t bytes)
{
    const tf_tensor_place *at = &p->places[buffer];
    if (!tf_pending_flush(p) || !tf_buffer_ensure(p, buffer))
        return false;
    /* Host reads of memory that is not cached are far slower than a copy. */
    if (at->external || !at->object || !at->object->mem.mapped || !at->object->mem.cached)
        return read_staged(p, buffer, data, bytes);
    const tf_mem *m = &at->object->mem;
    const uint64_t ticket = at->object->refs > 1 ? tf_last_ticket(p->dev) : atomic_load(&p->last);
    if (!tf_wait(p->dev, ticket, UINT64_MAX, &p->fault) || !tf_mem_invalidate(p->dev, m, 0, bytes, &p->fault))
        return false;
    memcpy(data, m->mapped, (size_t)bytes);
    return true;
}
