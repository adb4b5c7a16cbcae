/* tuff_vulkan.h - tuff inside an application that has its own Vulkan device.
 *
 * An adopted device touches nothing global: function pointers come from the vkGetInstanceProcAddr given, work goes
 * to the queue given (under the lock callbacks given), and only what the application enabled is used. Conventions
 * are those of tuff.h. Handles passed in stay the application's.
 *
 *     tuff_requirements need;
 *     tuff_device_requirements(vkGetInstanceProcAddr, instance, physical, &need);
 *     // VkDeviceCreateInfo: .pNext = &need.features, extensions: need.extensions[0 .. need.extension_count)
 *     tuff_device_adopt(&(tuff_adopt_desc){ .get_instance_proc_addr = vkGetInstanceProcAddr, .instance = instance,
 *         .physical_device = physical, .device = device, .queue = queue, .queue_family = family,
 *         .api_version = VK_API_VERSION_1_3, .features = &need.features, .extensions = need.extensions,
 *         .extension_count = need.extension_count }, &dev);
 */
#ifndef TUFF_TUFF_VULKAN_H
#define TUFF_TUFF_VULKAN_H

#include <vulkan/vulkan_core.h>

#include "tuff.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- device ------------------------------------------------------------------------------------- */

/* VkPhysicalDeviceCooperativeMatrixFeaturesKHR, under a name of its own: not every header has it. */
typedef struct tuff_matrix_features {
    VkStructureType sType;
    void *pNext;
    VkBool32 cooperativeMatrix;
    VkBool32 cooperativeMatrixRobustBufferAccess;
} tuff_matrix_features;

/* What to pass to vkCreateDevice. `features` heads a chain through the members below it, so the struct must not be
 * moved after it was filled. Of all this only timelineSemaphore is required; the rest makes kernels faster. An
 * application with its own feature structs copies the bits that are set instead of chaining. */
typedef struct tuff_requirements {
    uint32_t api_version;               /* least version of the device: 1.2 */
    const char *extensions[8];          /* supported ones that are used when enabled; none is required */
    uint32_t extension_count;
    VkPhysicalDeviceFeatures2 features;
    VkPhysicalDeviceVulkan11Features vulkan11;
    VkPhysicalDeviceVulkan12Features vulkan12;
    VkPhysicalDeviceSubgroupSizeControlFeatures subgroup_size;
    tuff_matrix_features matrices;      /* used with vulkanMemoryModel, shaderFloat16 and the bits of subgroup_size */
} tuff_requirements;

/* The instance must have been created with apiVersion >= 1.2. TUFF_E_UNSUPPORTED: the physical device is below the
 * floor; tuff_device_error(NULL) says why. */
TUFF_API tuff_status tuff_device_requirements(PFN_vkGetInstanceProcAddr get_instance_proc_addr, VkInstance instance,
                                              VkPhysicalDevice physical_device, tuff_requirements *out);

typedef struct tuff_adopt_desc {
    PFN_vkGetInstanceProcAddr get_instance_proc_addr; /* required */
    VkInstance instance;                /* required, as the next three */
    VkPhysicalDevice physical_device;
    VkDevice device;
    VkQueue queue;
    uint32_t queue_family;              /* of queue; must have compute */
    uint32_t api_version;               /* apiVersion the instance was created with; 0: 1.2 */
    const void *features;               /* the pNext chain vkCreateDevice got (read during the call): only features set there are used */
    const VkPhysicalDeviceFeatures *core_features; /* pEnabledFeatures when the chain has no VkPhysicalDeviceFeatures2 */
    const char *const *extensions;      /* device extensions that were enabled */
    uint32_t extension_count;
    void (*lock_queue)(void *user);     /* called around every use of queue; NULL: only tuff uses it */
    void (*unlock_queue)(void *user);
    void *lock_user;
    tuff_device_desc desc;              /* cache_dir, toggles, limits, allocator, log; select and validate are ignored */
} tuff_adopt_desc;

/* tuff_device_close ends the adoption; the VkDevice stays alive. */
TUFF_API tuff_status tuff_device_adopt(const tuff_adopt_desc *desc, tuff_device **out);

TUFF_API VkInstance tuff_device_vk_instance(const tuff_device *dev);
TUFF_API VkPhysicalDevice tuff_device_vk_physical_device(const tuff_device *dev);
TUFF_API VkDevice tuff_device_vk_device(const tuff_device *dev);
/* A timeline semaphore whose value reaches a run's ticket when the run and everything before it is complete.
 * To be waited for, never to be signalled. */
TUFF_API VkSemaphore tuff_device_timeline(const tuff_device *dev);

/* ---- buffers ------------------------------------------------------------------------------------ */

/* Let input, output or unshared state `name` live in the application's buffer, from the next submit or record on;
 * nothing is copied or recompiled. buffer VK_NULL_HANDLE: back to memory of the program's own. The tensor starts at offset,
 * a multiple of tuff_bind_alignment; range holds at least its bytes at the largest dims, rounded up to 4. usage needs
 * STORAGE_BUFFER, TRANSFER_SRC and TRANSFER_DST, UNIFORM_BUFFER where the buffer has it, and on a device that tuff opened
 * (not adopted) UNIFORM_TEXEL_BUFFER. The buffer stays bound, and must stay alive, until it is unbound and the runs submitted
 * before are complete. tuff_write and tuff_read still work on it. A bound input counts as written. */
TUFF_API tuff_status tuff_bind_buffer(tuff_program *p, const char *name, VkBuffer buffer, VkDeviceSize offset, VkDeviceSize range);
TUFF_API VkDeviceSize tuff_bind_alignment(const tuff_device *dev);

/* Where the tensor lives now, for kernels and copies of the application. Allocates it if needed. */
TUFF_API tuff_status tuff_get_buffer(tuff_program *p, const char *name, VkBuffer *buffer, VkDeviceSize *offset, VkDeviceSize *bytes);

/* ---- running ------------------------------------------------------------------------------------- */

/* tuff_submit with timeline semaphores (binary ones with value 0 are allowed where Vulkan allows them) that the
 * run waits for before its first command, and signals after its last. */
typedef struct tuff_submit_desc {
    const VkSemaphore *waits;
    const uint64_t *wait_values;
    uint32_t wait_count;
    const VkSemaphore *signals;
    const uint64_t *signal_values;
    uint32_t signal_count;
} tuff_submit_desc;
TUFF_API tuff_status tuff_submit_with(tuff_program *p, const tuff_submit_desc *desc, uint64_t *ticket);

/* Record a run, or a part of it, into a command buffer of the application: outside a render pass, on a queue family
 * with compute. Disturbs only the compute pipeline and descriptor set 0 of the compute bind point.
 *
 * Barriers. The first command is a memory barrier from all earlier commands and writes to compute and transfer; the
 * last one is a memory barrier from compute and transfer to all later commands, reads and writes. The no_* fields drop
 * one of them when the application's own barriers cover it; the parts of one run recorded one after another need
 * barriers between them. Reading results on the host also needs the end of a fence or semaphore and, after the
 * last barrier, a dependency to the host stage.
 *
 * Parameters (live dims, scalars) are taken from the program at the time of the call and stay in slot `slot` of the
 * compile desc's `slots`: the caller guarantees that the slot's previous use has finished. Data given to tuff_write
 * before is uploaded by the call itself (it submits to the queue and may wait). */
typedef struct tuff_record_desc {
    uint32_t slot;
    uint32_t first, count;       /* steps first .. first + count - 1; count 0: to the end */
    uint64_t budget_ns;          /* stop before the step that would exceed this estimate; at least one step. 0: no budget */
    bool no_begin_barrier;
    bool no_end_barrier;
} tuff_record_desc;
/* next (may be NULL) receives the step to continue with, or the number of steps when the run is complete. Loops are unrolled: a
 * call records at most 2^20 steps, fewer if count or budget_ns say so, and fails without `next` if those asked for are more. */
TUFF_API tuff_status tuff_record(tuff_program *p, VkCommandBuffer cmd, const tuff_record_desc *desc, uint32_t *next);
TUFF_API uint32_t tuff_step_count(const tuff_program *p);

/* Record a copy of tensor `name` (input, output or state) into an image that is in TRANSFER_DST_OPTIMAL or GENERAL
 * layout: rows of `extent` texels, dense, in the tensor's order. The tensor's bytes must cover the region. A barrier from
 * compute to transfer must stand before (tuff_record's last one does); the application's own must follow. */
typedef struct tuff_image_desc {
    VkImage image;
    VkImageLayout layout;        /* UNDEFINED (0): TRANSFER_DST_OPTIMAL */
    VkImageSubresourceLayers subresource; /* aspectMask 0: colour; layerCount 0: 1 */
    VkOffset3D offset;
    VkExtent3D extent;           /* height 0, depth 0: 1 */
    uint32_t texel_bytes;        /* of the image's format */
} tuff_image_desc;
TUFF_API tuff_status tuff_record_image(tuff_program *p, VkCommandBuffer cmd, const char *name, const tuff_image_desc *desc);

#ifdef __cplusplus
}
#endif

#endif
