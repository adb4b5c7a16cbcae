/* vk.h - Vulkan entry points and how a failing call is reported.
 *
 * The library never links Vulkan and defines no vk* symbol, so that it can stand beside any other loader in one
 * process, linked statically or not: every device carries its own table, loaded from the vkGetInstanceProcAddr
 * it was given. Calls read dev->vk.QueueSubmit(...). Tests replace entries of a table to inject faults. */
#ifndef TF_VK_H
#define TF_VK_H

#ifndef VK_NO_PROTOTYPES
#  define VK_NO_PROTOTYPES
#endif
#include <vulkan/vulkan_core.h>

#include "graph/base/base.h"

#ifndef VK_KHR_cooperative_matrix /* headers before 1.3.255 */
typedef enum VkComponentTypeKHR { VK_COMPONENT_TYPE_FLOAT16_KHR, VK_COMPONENT_TYPE_FLOAT32_KHR } VkComponentTypeKHR;
typedef enum VkScopeKHR { VK_SCOPE_SUBGROUP_KHR = 3 } VkScopeKHR;
typedef struct VkCooperativeMatrixPropertiesKHR {
    VkStructureType sType;
    void *pNext;
    uint32_t MSize, NSize, KSize;
    VkComponentTypeKHR AType, BType, CType, ResultType;
    VkBool32 saturatingAccumulation;
    VkScopeKHR scope;
} VkCooperativeMatrixPropertiesKHR;
typedef VkResult (VKAPI_PTR *PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR)(VkPhysicalDevice, uint32_t *, VkCooperativeMatrixPropertiesKHR *);
#endif
/* Their VkStructureType. */
enum { TF_VK_COOPERATIVE_MATRIX_FEATURES = 1000506000, TF_VK_COOPERATIVE_MATRIX_PROPERTIES = 1000506001 };

#define TF_VK_GLOBAL(X) \
    X(CreateInstance) X(EnumerateInstanceVersion) X(EnumerateInstanceLayerProperties) \
    X(EnumerateInstanceExtensionProperties)

#define TF_VK_INSTANCE(X) \
    X(DestroyInstance) X(EnumeratePhysicalDevices) X(GetPhysicalDeviceProperties) X(GetPhysicalDeviceProperties2) \
    X(GetPhysicalDeviceFeatures2) X(GetPhysicalDeviceMemoryProperties) X(GetPhysicalDeviceMemoryProperties2) X(GetPhysicalDeviceQueueFamilyProperties) \
    X(EnumerateDeviceExtensionProperties) X(CreateDevice) X(GetDeviceProcAddr)

/* Absent without their extensions. */
#define TF_VK_OPTIONAL(X) \
    X(GetPhysicalDeviceCooperativeMatrixPropertiesKHR) \
    X(CreateDebugUtilsMessengerEXT) X(DestroyDebugUtilsMessengerEXT) X(SetDebugUtilsObjectNameEXT) \
    X(CmdBeginDebugUtilsLabelEXT) X(CmdEndDebugUtilsLabelEXT)

#define TF_VK_DEVICE(X) \
    X(DestroyDevice) X(GetDeviceQueue) X(DeviceWaitIdle) X(QueueSubmit) X(QueueWaitIdle) \
    X(AllocateMemory) X(FreeMemory) X(MapMemory) X(UnmapMemory) X(FlushMappedMemoryRanges) X(InvalidateMappedMemoryRanges) \
    X(CreateBuffer) X(DestroyBuffer) X(CreateBufferView) X(DestroyBufferView) X(GetBufferMemoryRequirements) X(BindBufferMemory) \
    X(CreateSemaphore) X(DestroySemaphore) X(GetSemaphoreCounterValue) X(WaitSemaphores) \
    X(CreateShaderModule) X(DestroyShaderModule) \
    X(CreatePipelineCache) X(DestroyPipelineCache) X(GetPipelineCacheData) X(MergePipelineCaches) \
    X(CreateDescriptorSetLayout) X(DestroyDescriptorSetLayout) X(CreatePipelineLayout) X(DestroyPipelineLayout) \
    X(CreateComputePipelines) X(DestroyPipeline) \
    X(CreateDescriptorPool) X(DestroyDescriptorPool) X(AllocateDescriptorSets) X(UpdateDescriptorSets) \
    X(CreateCommandPool) X(DestroyCommandPool) X(AllocateCommandBuffers) X(BeginCommandBuffer) X(EndCommandBuffer) \
    X(CreateQueryPool) X(DestroyQueryPool) X(GetQueryPoolResults) X(CmdResetQueryPool) X(CmdWriteTimestamp) \
    X(CmdBindPipeline) X(CmdBindDescriptorSets) X(CmdDispatch) X(CmdDispatchIndirect) X(CmdPushConstants) X(CmdPipelineBarrier) \
    X(CmdCopyBuffer) X(CmdFillBuffer) X(CmdUpdateBuffer) X(CmdCopyBufferToImage)

typedef struct tf_vk {
    PFN_vkGetInstanceProcAddr GetInstanceProcAddr;
#define TF_X(name) PFN_vk##name name;
    TF_VK_GLOBAL(TF_X)
    TF_VK_INSTANCE(TF_X)
    TF_VK_OPTIONAL(TF_X)
    TF_VK_DEVICE(TF_X)
#undef TF_X
} tf_vk;

/* Each returns NULL, or the name of the first required entry point that is missing. */
const char *tf_vk_load_global(tf_vk *vk, PFN_vkGetInstanceProcAddr get);
const char *tf_vk_load_instance(tf_vk *vk, VkInstance instance);
const char *tf_vk_load_device(tf_vk *vk, VkDevice device);

/* The process's Vulkan loader; *library is to be closed after the last call. NULL if there is none. */
PFN_vkGetInstanceProcAddr tf_vk_open_loader(void **library);

const char *tf_vk_result_name(VkResult r);

/* A status with its sentence. Functions that can fail take a tf_fault and return false after filling it; so that
 * threads never share one, each object and each compile thread has its own. */
typedef struct tf_fault {
    tuff_status status;
    char text[1024];
} tf_fault;
/* Always false, for `return tf_fault_set(...)`. */
bool tf_fault_set(tf_fault *f, tuff_status status, const char *format, ...) TF_PRINTF(3, 4);

#endif
