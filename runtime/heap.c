/* heap.c - device memory: a few large VkDeviceMemory blocks per memory type, handed out first-fit.
 *
 * Small buffers share blocks that grow with use; one large beside them has a block of its own, which goes back to the
 * driver with it. Host-visible blocks stay mapped. No two buffers ever overlap: memory that the planner aliases is
 * one buffer, where validation can see it. */
#include "device.h"

#include <string.h>

struct tf_span {               /* a used range; the list is sorted by offset */
    uint64_t offset, bytes;
    tf_span *next;
};

struct tf_block {
    VkDeviceMemory memory;
    uint64_t bytes;
    uint32_t type;
    bool coherent, cached;
    bool own;                  /* of one large buffer */
    unsigned char *mapped;
    tf_span *spans;
    tf_block *next;
};

enum { BLOCK_MIN = 1 << 20, BLOCK_MAX = 64 << 20 };
/* Buffers of LARGE bytes and more begin at different places of a page and in different pages: at equal ones, kernels that read many tensors of
 * one size at once meet in the same sets of the caches. */
enum { LARGE = 1 << 16, STEP = 4096 + 256, STEPS = 16 };

/* ---- memory types ------------------------------------------------------------------------------- */

/* A type's fitness for a use, 0: unusable. */
static uint32_t fitness(const tuff_device *dev, tf_mem_use use, VkMemoryPropertyFlags p)
{
    const bool local = p & VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT, visible = p & VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT;
    const bool coherent = p & VK_MEMORY_PROPERTY_HOST_COHERENT_BIT, cached = p & VK_MEMORY_PROPERTY_HOST_CACHED_BIT;
    const bool mapping = dev->caps.on.mapping;
    if (p & (VK_MEMORY_PROPERTY_PROTECTED_BIT | VK_MEMORY_PROPERTY_LAZILY_ALLOCATED_BIT))
        return 0;
    switch (use) {
    case TF_MEM_DEVICE:
        return 1 + 16u * local + (dev->unified && mapping ? 4u * (visible && cached) + 2u * (visible && coherent) : 4u * !visible);
    case TF_MEM_INPUT:
        return 1 + 16u * local + (dev->whole_vram_visible && mapping ? 4u * visible + 2u * coherent : 4u * !visible);
    case TF_MEM_UPLOAD:
        return visible ? 1 + 4u * coherent + 2u * !cached + 1u * (local && dev->whole_vram_visible) : 0;
    case TF_MEM_READBACK:
        return visible ? 1 + 8u * cached + 2u * coherent + 1u * !local : 0;
    }
    return 0;
}

/* The best type not yet in `tried`; UINT32_MAX: none is left. */
static uint32_t next_type(const tuff_device *dev, tf_mem_use use, uint32_t allowed, uint32_t tried)
{
    uint32_t best = UINT32_MAX, best_fitness = 0;
    for (uint32_t i = 0; i < dev->memory.memoryTypeCount; i++) {
        if (!(allowed >> i & 1) || tried >> i & 1)
            continue;
        const uint32_t fit = fitness(dev, use, dev->memory.memoryTypes[i].propertyFlags);
        if (fit > best_fitness) {
            best = i;
            best_fitness = fit;
        }
    }
    return best;
}

/* ---- blocks ------------------------------------------------------------------------------------- */

static void block_destroy(tuff_device *dev, tf_block *b)
{
    dev->allocated -= b->bytes;
    dev->vk.FreeMemory(dev->device, b->memory, NULL);
    tf_free(&dev->allocator, b, sizeof *b);
}

/* Does the driver expect so much more to fit, beside what other processes use? Without the extension: yes. */
static bool in_budget(const tuff_device *dev, uint32_t type, uint64_t bytes)
{
    if (!dev->snapshot.memory_budget)
        return true;
    VkPhysicalDeviceMemoryBudgetPropertiesEXT b = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT };
    VkPhysicalDeviceMemoryProperties2 p = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2, .pNext = &b };
    dev->vk.GetPhysicalDeviceMemoryProperties2(dev->physical, &p);
    const uint32_t heap = dev->memory.memoryTypes[type].heapIndex;
    const uint64_t budget = b.heapBudget[heap], used = b.heapUsage[heap];
    return !budget || (used <= budget && bytes <= budget - used); /* 0: not known */
}

static tf_block *block_create(tuff_device *dev, uint32_t type, uint64_t bytes, VkResult *result)
{
    const VkMemoryPropertyFlags flags = dev->memory.memoryTypes[type].propertyFlags;
    *result = VK_ERROR_OUT_OF_DEVICE_MEMORY;
    if (!in_budget(dev, type, bytes))
        return NULL;
    tf_block *b = tf_alloc(&dev->allocator, sizeof *b);
    *result = VK_ERROR_OUT_OF_HOST_MEMORY;
    if (!b)
        return NULL;
    b->type = type;
    b->bytes = bytes;
    b->coherent = flags & VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    b->cached = flags & VK_MEMORY_PROPERTY_HOST_CACHED_BIT;
    const VkMemoryAllocateInfo info = { .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO, .allocationSize = bytes, .memoryTypeIndex = type };
    *result = dev->vk.AllocateMemory(dev->device, &info, NULL, &b->memory);
    if (*result != VK_SUCCESS) {
        tf_free(&dev->allocator, b, sizeof *b);
        return NULL;
    }
    dev->allocated += bytes;
    if (flags & VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT) {
        void *p = NULL;
        *result = dev->vk.MapMemory(dev->device, b->memory, 0, VK_WHOLE_SIZE, 0, &p);
        if (*result != VK_SUCCESS) {
            block_destroy(dev, b);
            return NULL;
        }
        b->mapped = p;
    }
    b->next = dev->blocks;
    dev->blocks = b;
    return b;
}

/* First gap of the block that fits behind `lead` bytes; NULL if none or host memory is out. */
static tf_span *span_take(tuff_device *dev, tf_block *b, uint64_t bytes, uint64_t align, uint64_t lead)
{
    tf_span **at = &b->spans;
    uint64_t offset = 0;
    while (*at && tf_align_up(offset + lead, align) + bytes > (*at)->offset) {
        offset = (*at)->offset + (*at)->bytes;
        at = &(*at)->next;
    }
    offset = tf_align_up(offset + lead, align);
    if (offset > b->bytes || bytes > b->bytes - offset)
        return NULL;
    tf_span *s = tf_alloc(&dev->allocator, sizeof *s);
    if (s) {
        *s = (tf_span){ .offset = offset, .bytes = bytes, .next = *at };
        *at = s;
    }
    return s;
}

static void span_return(tuff_device *dev, tf_block *b, tf_span *s)
{
    for (tf_span **at = &b->spans; *at; at = &(*at)->next)
        if (*at == s) {
            *at = s->next;
            break;
        }
    tf_free(&dev->allocator, s, sizeof *s);
    if (b->spans)
        return;
    for (tf_block **at = &dev->blocks; *at; at = &(*at)->next)
        if (*at == b) {
            *at = b->next;
            break;
        }
    block_destroy(dev, b);
}

/* How large a new shared block of a type is: as much as is already in use, within limits. */
static uint64_t block_size(const tuff_device *dev, uint32_t type)
{
    uint64_t used = 0;
    for (const tf_block *b = dev->blocks; b; b = b->next)
        used += b->type == type ? b->bytes : 0;
    return used < BLOCK_MIN ? BLOCK_MIN : TF_MIN(tf_align_up(used, BLOCK_MIN), BLOCK_MAX);
}

static VkResult place(tuff_device *dev, uint32_t type, const VkMemoryRequirements *r, tf_mem *m)
{
    const uint64_t align = TF_MAX(r->alignment, dev->snapshot.limits.nonCoherentAtomSize);
    const uint64_t bytes = tf_align_up(r->size, align), shared = block_size(dev, type);
    uint64_t lead = bytes >= LARGE ? tf_align_up(dev->placed++ % STEPS * STEP, align) : 0;
    VkResult result = VK_SUCCESS;
    for (tf_block *b = dev->blocks; b && !m->span && bytes <= shared / 4; b = b->next)
        if (b->type == type && !b->own && (m->span = span_take(dev, b, bytes, align, lead)))
            m->block = b;
    if (!m->span && bytes <= shared / 4)
        m->block = block_create(dev, type, shared, &result);
    if (!m->span && !m->block && (bytes > shared / 4 || result == VK_ERROR_OUT_OF_DEVICE_MEMORY)) {
        if (bytes + lead > dev->snapshot.max_allocation)
            lead = 0;
        if ((m->block = block_create(dev, type, bytes + lead, &result)))
            m->block->own = true;
    }
    if (!m->block)
        return result;
    if (!m->span && !(m->span = span_take(dev, m->block, bytes, align, lead))) {
        tf_block *b = m->block;
        dev->blocks = b->next;
        block_destroy(dev, b);
        m->block = NULL;
        return VK_ERROR_OUT_OF_HOST_MEMORY;
    }
    m->mapped = m->block->mapped ? m->block->mapped + m->span->offset : NULL;
    m->cached = m->block->cached;
    return VK_SUCCESS;
}

/* ---- buffers ------------------------------------------------------------------------------------ */

static void unplace(tuff_device *dev, tf_mem *m)
{
    tf_mutex_lock(&dev->heap_lock);
    if (m->span)
        span_return(dev, m->block, m->span);
    tf_mutex_unlock(&dev->heap_lock);
}

static bool bind_memory(tuff_device *dev, tf_mem_use use, tf_mem *m, const char *what, tf_fault *f)
{
    VkMemoryRequirements need;
    dev->vk.GetBufferMemoryRequirements(dev->device, m->buffer, &need);
    VkResult result = VK_ERROR_OUT_OF_DEVICE_MEMORY;
    tf_mutex_lock(&dev->heap_lock);
    for (uint32_t tried = 0, type; (type = next_type(dev, use, need.memoryTypeBits, tried)) != UINT32_MAX; tried |= 1u << type)
        if ((result = place(dev, type, &need, m)) != VK_ERROR_OUT_OF_DEVICE_MEMORY)
            break;
    const uint64_t held = dev->allocated;
    tf_mutex_unlock(&dev->heap_lock);
    if (result == VK_ERROR_OUT_OF_DEVICE_MEMORY)
        return tf_fault_set(f, TUFF_E_DEVICE_MEMORY, "out of device memory: %s takes %llu bytes, %llu are in use by this device already",
                            what, (unsigned long long)m->bytes, (unsigned long long)held);
    return tf_vk_ok(dev, f, result, what) &&
           tf_vk_ok(dev, f, dev->vk.BindBufferMemory(dev->device, m->buffer, m->block->memory, m->span->offset), "vkBindBufferMemory");
}

bool tf_mem_create(tuff_device *dev, tf_mem_use use, uint64_t bytes, const char *what, tf_mem *out, tf_fault *f)
{
    *out = (tf_mem){ .bytes = tf_align_up(bytes, 16) }; /* whole words past the end of narrow tensors may be touched */
    if (out->bytes > dev->caps.limits.max_buffer)
        return tf_fault_set(f, TUFF_E_LIMIT, "%s takes %llu bytes, a buffer of this device holds at most %llu", what,
                            (unsigned long long)bytes, (unsigned long long)dev->caps.limits.max_buffer);
    const VkBufferCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO, .size = out->bytes,
        .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_UNIFORM_BUFFER_BIT | VK_BUFFER_USAGE_INDIRECT_BUFFER_BIT |
                 VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT |
                 (dev->caps.limits.texel_bindings ? VK_BUFFER_USAGE_UNIFORM_TEXEL_BUFFER_BIT : 0),
    };
    if (!tf_vk_ok(dev, f, dev->vk.CreateBuffer(dev->device, &info, NULL, &out->buffer), "vkCreateBuffer")) {
        out->buffer = VK_NULL_HANDLE;
        return false;
    }
    if (!bind_memory(dev, use, out, what, f)) {
        tf_mem_destroy(dev, out);
        return false;
    }
    tf_label(dev, VK_OBJECT_TYPE_BUFFER, (uint64_t)out->buffer, what);
    return true;
}

void tf_mem_destroy(tuff_device *dev, tf_mem *m)
{
    if (m->buffer)
        dev->vk.DestroyBuffer(dev->device, m->buffer, NULL);
    unplace(dev, m);
    *m = (tf_mem){ 0 };
}

/* The range in the block, widened to whole atoms as Vulkan asks. Spans begin and end on atoms. */
static VkMappedMemoryRange mapped_range(const tuff_device *dev, const tf_mem *m, uint64_t offset, uint64_t bytes)
{
    const uint64_t atom = dev->snapshot.limits.nonCoherentAtomSize;
    const uint64_t first = (m->span->offset + offset) / atom * atom;
    const uint64_t end = TF_MIN(tf_align_up(m->span->offset + offset + bytes, atom), m->block->bytes);
    return (VkMappedMemoryRange){ .sType = VK_STRUCTURE_TYPE_MAPPED_MEMORY_RANGE, .memory = m->block->memory, .offset = first, .size = end - first };
}

bool tf_mem_flush(tuff_device *dev, const tf_mem *m, uint64_t offset, uint64_t bytes, tf_fault *f)
{
    if (!bytes || m->block->coherent)
        return true;
    const VkMappedMemoryRange range = mapped_range(dev, m, offset, bytes);
    return tf_vk_ok(dev, f, dev->vk.FlushMappedMemoryRanges(dev->device, 1, &range), "vkFlushMappedMemoryRanges");
}

bool tf_mem_invalidate(tuff_device *dev, const tf_mem *m, uint64_t offset, uint64_t bytes, tf_fault *f)
{
    if (!bytes || m->block->coherent)
        return true;
    const VkMappedMemoryRange range = mapped_range(dev, m, offset, bytes);
    return tf_vk_ok(dev, f, dev->vk.InvalidateMappedMemoryRanges(dev->device, 1, &range), "vkInvalidateMappedMemoryRanges");
}

void tf_heap_release(tuff_device *dev)
{
    while (dev->blocks) {
        tf_block *b = dev->blocks;
        dev->blocks = b->next;
        while (b->spans) {
            tf_span *s = b->spans;
            b->spans = s->next;
            tf_free(&dev->allocator, s, sizeof *s);
        }
        block_destroy(dev, b);
    }
}
