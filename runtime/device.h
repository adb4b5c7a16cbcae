/* device.h - tuff_device and what hangs on it: memory, shader compiler, caches, pipelines.
 *
 * Any thread may use a device. What changes after opening is behind a lock of its own: heap_lock (memory blocks),
 * pipe_lock (pipelines, layouts, caches), queue_lock (queue and tickets), object_lock (shared tensors). Log and progress
 * callbacks are called with none of them held that they could need; the application's queue lock is taken last. */
#ifndef TF_DEVICE_H
#define TF_DEVICE_H

#include <stdatomic.h>

#include "caps.h"
#include "os.h"

typedef struct tf_block tf_block;
typedef struct tf_span tf_span;
typedef struct tf_pipeline tf_pipeline;
typedef struct tf_layout tf_layout;

struct tuff_device {
    tuff_allocator allocator;
    tuff_log_fn log;
    void *log_user;

    void *loader;                     /* our own loader; NULL when adopted */
    bool owned;                       /* instance and device are ours */
    tf_vk vk;
    VkInstance instance;
    VkPhysicalDevice physical;
    VkDevice device;
    VkDebugUtilsMessengerEXT messenger;
    atomic_uint messages;             /* validation messages so far */

    tf_snapshot snapshot;
    tf_caps caps;
    VkPhysicalDeviceMemoryProperties memory;
    bool unified;                     /* every heap is device-local: no staging */
    bool whole_vram_visible;          /* host-visible device memory is not just a small window */

    uint32_t family;
    VkQueue queue;
    void (*lock_queue)(void *);
    void (*unlock_queue)(void *);
    void *lock_user;
    tf_mutex queue_lock;
    VkSemaphore timeline;             /* value = ticket of the last finished run */
    uint64_t ticket;                  /* last submitted; under queue_lock */
    _Atomic uint64_t finished;        /* cached lower bound of the timeline */
    atomic_bool lost;

    tf_mutex heap_lock;
    tf_block *blocks;
    uint64_t allocated;               /* bytes of device memory held */
    uint32_t placed;                  /* large buffers so far */

    tf_mutex pipe_lock;
    tf_pipeline *pipelines;
    tf_layout *layouts;
    VkPipelineCache pipeline_cache;
    bool cache_ready, cache_dirty;
    uint64_t cache_hash;              /* of the blob on disk when it was read or written */
    uint64_t cache_saved;             /* clock at the last write */
    char cache_dir[1024];             /* "": off */
    tf_tuned *tuning_rows;            /* of so many lines of the file */
    uint32_t tuning_lines;
    tf_tuning tuning;                 /* without those that came twice */
    char dump_dir[1024];              /* "": off */
    atomic_uint spirv_hits, spirv_misses;

    tf_mutex object_lock;             /* tensors shared between programs: counts, allocation, first contents */
};

/* For tests: called with the table of entry points after each load; may replace entries. */
typedef struct tf_device_hooks {
    void (*patch)(void *user, tf_vk *vk);
    void *user;
} tf_device_hooks;
tuff_status tf_device_open_with(const tuff_device_desc *desc, const tf_device_hooks *hooks, tuff_device **out);

/* Describe every Vulkan device to out, as `tuff devices` prints them. */
tuff_status tf_devices_print(const tuff_device_desc *desc, tf_str *out);
/* Number of validation messages since the device was opened. */
uint32_t tf_device_messages(const tuff_device *dev);

void tf_log(tuff_device *dev, tuff_log_level level, const char *format, ...) TF_PRINTF(3, 4);
/* The one place where a VkResult becomes a status: true for success; otherwise fills f ("what: VK_ERROR_...") and
 * latches a lost device. VK_TIMEOUT and VK_NOT_READY count as failures. */
bool tf_vk_ok(tuff_device *dev, tf_fault *f, VkResult r, const char *what);
bool tf_device_alive(tuff_device *dev, tf_fault *f); /* false, with a text, after the device was lost */
/* Name an object for debuggers and messages; does nothing without labels. */
void tf_label(tuff_device *dev, VkObjectType type, uint64_t handle, const char *name);

/* One vkQueueSubmit; the last batch also signals the timeline with the new ticket. */
typedef struct tf_batch { const VkCommandBuffer *cmds; uint32_t n; } tf_batch;
typedef struct tf_semaphores { const VkSemaphore *handles; const uint64_t *values; uint32_t n; } tf_semaphores;
bool tf_submit(tuff_device *dev, const tf_batch *batches, uint32_t n, tf_semaphores waits, tf_semaphores signals,
               uint64_t *ticket, tf_fault *f);
bool tf_finished(tuff_device *dev, uint64_t ticket);  /* without waiting */
uint64_t tf_last_ticket(tuff_device *dev);
/* False with TUFF_E_TIMEOUT when timeout_ns has passed. */
bool tf_wait(tuff_device *dev, uint64_t ticket, uint64_t timeout_ns, tf_fault *f);
/* Before destroying what a submission uses: waits whatever happens, also on a device that was lost. */
void tf_drain(tuff_device *dev, uint64_t ticket);

/* ---- heap.c: buffers out of pooled memory ---- */
typedef enum tf_mem_use {
    TF_MEM_DEVICE,     /* arenas, constants, state, outputs */
    TF_MEM_INPUT,      /* written by the host, read by kernels */
    TF_MEM_UPLOAD,     /* staging towards the device, parameters */
    TF_MEM_READBACK    /* staging towards the host */
} tf_mem_use;

typedef struct tf_mem {
    VkBuffer buffer;
    uint64_t bytes;
    tf_block *block;
    tf_span *span;
    unsigned char *mapped;   /* NULL: not visible to the host */
    bool cached;             /* host reads are fast */
} tf_mem;
/* what: for the message when memory is out. bytes > 0. */
bool tf_mem_create(tuff_device *dev, tf_mem_use use, uint64_t bytes, const char *what, tf_mem *out, tf_fault *f);
void tf_mem_destroy(tuff_device *dev, tf_mem *m); /* zeroed: nothing */
/* Around host access to mapped memory; no-ops when coherent. */
bool tf_mem_flush(tuff_device *dev, const tf_mem *m, uint64_t offset, uint64_t bytes, tf_fault *f);
bool tf_mem_invalidate(tuff_device *dev, const tf_mem *m, uint64_t offset, uint64_t bytes, tf_fault *f);
void tf_heap_release(tuff_device *dev);

/* ---- jit.c: GLSL to SPIR-V ---- */
typedef struct tf_spirv { uint32_t *words; size_t n; } tf_spirv;
/* Text that names compiler and version; NULL: this build has none. */
const char *tf_jit_version(void);
/* Does it know cooperative matrices? Without a compiler: may those that filled the cache. */
bool tf_jit_matrices(void);
/* Thread-safe. words come from the C heap (free). */
bool tf_jit(const char *name, const char *glsl, tf_spirv *out, tf_fault *f);

/* ---- cache.c: both caches on disk ---- */
typedef struct tf_key { uint64_t h[2]; } tf_key;
tf_key tf_spirv_key(const tf_kernel *k);                            /* of its text, or of the code it comes with */
bool tf_spirv_load(tuff_device *dev, tf_key key, tf_spirv *out);    /* words from the C heap */
void tf_spirv_store(tuff_device *dev, tf_key key, const tf_spirv *s);
/* Its text and SPIR-V as files NAME-KEY.comp and NAME-KEY.spv in the dump directory. */
void tf_kernel_dump(tuff_device *dev, const tf_kernel *k, tf_key key, const tf_spirv *s);
tf_key tf_device_key(const tuff_device *dev);                        /* of this device with this driver */
void tf_pipeline_cache_open(tuff_device *dev);                       /* at the first compile; under pipe_lock */
void tf_pipeline_cache_save(tuff_device *dev, bool now);             /* now: even if one was just written */

/* ---- tuning.c: choices between kernels, measured by `tuff tune`; one text file per device and driver, a choice and a number a line ---- */
bool tf_tuning_path(const tuff_device *dev, char *out, size_t size);
/* Into the device's limits what the file says; one that lacks or is damaged says less. False: out of memory. */
bool tf_tuning_load(tuff_device *dev);
void tf_tuning_forget(tuff_device *dev);
/* Adds a row to n sorted ones, of which there is room for one more, or replaces that of the same choice; how many there are now. */
uint32_t tf_tuning_put(tf_tuned *rows, uint32_t n, tf_tuned row);
bool tf_tuning_save(tuff_device *dev, const tf_tuned *rows, uint32_t n);

/* ---- pipeline.c ---- */
/* The code of a kernel: what it comes with, the cache's, or compiled now. Thread-safe; free words. */
bool tf_code_get(tuff_device *dev, const tf_kernel *k, tf_spirv *code, tf_fault *f);
typedef struct tf_kinds { uint64_t uniform, texel; } tf_kinds; /* bit i: tensor binding i is a uniform or texel buffer, else a storage buffer */
struct tf_layout {
    tf_kinds kinds;
    uint32_t n_bindings;                /* tensors; at most 64 */
    bool params;                        /* parameter block at binding n_bindings */
    VkDescriptorSetLayout set;
    VkPipelineLayout pipeline;
    tf_layout *next;
};
struct tf_pipeline {
    tf_key key;
    uint32_t refs;
    const tf_layout *layout;
    VkPipeline handle;
    tf_pipeline *next;
};
/* A pipeline for each kernel of the plan; release each with tf_pipeline_release. kinds[k]: of the
 * bindings of kernel k. Compiles on desc->threads threads with progress; all or nothing. */
bool tf_pipelines_create(tuff_device *dev, const tf_plan *plan, const tf_kinds *kinds,
                         const tuff_compile_desc *desc, tf_pipeline **out, tf_fault *f);
void tf_pipeline_release(tuff_device *dev, tf_pipeline *p); /* NULL is allowed */
void tf_pipelines_destroy_all(tuff_device *dev);

#endif
