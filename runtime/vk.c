/* vk.c - loads the tables of vk.h. */
#include "vk.h"

#include <stdio.h>

#include "os.h"

const char *tf_vk_load_global(tf_vk *vk, PFN_vkGetInstanceProcAddr get)
{
    vk->GetInstanceProcAddr = get;
#define TF_X(name) if (!(vk->name = (PFN_vk##name)get(NULL, "vk" #name))) return "vk" #name;
    TF_VK_GLOBAL(TF_X)
#undef TF_X
    return NULL;
}

const char *tf_vk_load_instance(tf_vk *vk, VkInstance instance)
{
    const PFN_vkGetInstanceProcAddr get = vk->GetInstanceProcAddr;
#define TF_X(name) if (!(vk->name = (PFN_vk##name)get(instance, "vk" #name))) return "vk" #name;
    TF_VK_INSTANCE(TF_X)
#undef TF_X
#define TF_X(name) vk->name = (PFN_vk##name)get(instance, "vk" #name);
    TF_VK_OPTIONAL(TF_X)
#undef TF_X
    return NULL;
}

const char *tf_vk_load_device(tf_vk *vk, VkDevice device)
{
#define TF_X(name) if (!(vk->name = (PFN_vk##name)vk->GetDeviceProcAddr(device, "vk" #name))) return "vk" #name;
    TF_VK_DEVICE(TF_X)
#undef TF_X
    return NULL;
}

PFN_vkGetInstanceProcAddr tf_vk_open_loader(void **library)
{
    static const char *const names[] = {
#if defined(_WIN32)
        "vulkan-1.dll",
#elif defined(__APPLE__)
        "libvulkan.dylib", "libvulkan.1.dylib", "libMoltenVK.dylib",
#else
        "libvulkan.so.1", "libvulkan.so",
#endif
    };
    for (size_t i = 0; i < TF_COUNT(names); i++) {
        if (!(*library = tf_library_open(names[i])))
            continue;
        const PFN_vkGetInstanceProcAddr get =
            (PFN_vkGetInstanceProcAddr)tf_library_symbol(*library, "vkGetInstanceProcAddr");
        if (get)
            return get;
        tf_library_close(*library);
    }
    *library = NULL;
    return NULL;
}

const char *tf_vk_result_name(VkResult r)
{
    switch ((int)r) {
#define TF_X(name) case name: return #name;
    TF_X(VK_SUCCESS) TF_X(VK_NOT_READY) TF_X(VK_TIMEOUT) TF_X(VK_INCOMPLETE)
    TF_X(VK_ERROR_OUT_OF_HOST_MEMORY) TF_X(VK_ERROR_OUT_OF_DEVICE_MEMORY) TF_X(VK_ERROR_INITIALIZATION_FAILED)
    TF_X(VK_ERROR_DEVICE_LOST) TF_X(VK_ERROR_MEMORY_MAP_FAILED) TF_X(VK_ERROR_LAYER_NOT_PRESENT)
    TF_X(VK_ERROR_EXTENSION_NOT_PRESENT) TF_X(VK_ERROR_FEATURE_NOT_PRESENT) TF_X(VK_ERROR_INCOMPATIBLE_DRIVER)
    TF_X(VK_ERROR_TOO_MANY_OBJECTS) TF_X(VK_ERROR_FRAGMENTED_POOL) TF_X(VK_ERROR_OUT_OF_POOL_MEMORY)
    TF_X(VK_ERROR_FRAGMENTATION) TF_X(VK_ERROR_UNKNOWN)
#undef TF_X
    default: return "an unknown VkResult";
    }
}

bool tf_fault_set(tf_fault *f, tuff_status status, const char *format, ...)
{
    if (!f)
        return false;
    f->status = status;
    va_list args;
    va_start(args, format);
    vsnprintf(f->text, sizeof f->text, format, args);
    va_end(args);
    return false;
}
