/* snapshot.c - the only code that reads features, extensions and properties from a driver. What is *supported* is
 * kept apart from what is *enabled*: kernels may use only the latter. */
#include "snapshot.h"

#include <string.h>

#include "device.h"

/* ---- extensions --------------------------------------------------------------------------------- */

/* Extensions that are used when present. From Vulkan 1.3 on subgroup size control is core. */
static const char *const wanted_extensions[] = {
    VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME,
    "VK_KHR_portability_subset", /* must be enabled where it exists */
};
static const char matrix_extension[] = "VK_KHR_cooperative_matrix"; /* used where halves can be multiplied */

static bool contains(const char *const *list, uint32_t n, const char *name)
{
    for (uint32_t i = 0; i < n; i++)
        if (strcmp(list[i], name) == 0)
            return true;
    return false;
}

typedef struct extensions { VkExtensionProperties *data; uint32_t n; } extensions;

static bool has_extension(const extensions *x, const char *name)
{
    for (uint32_t i = 0; i < x->n; i++)
        if (strcmp(x->data[i].extensionName, name) == 0)
            return true;
    return false;
}

static bool read_extensions(const tf_vk *vk, VkPhysicalDevice physical, const tuff_allocator *a, extensions *x, tf_fault *f)
{
    VkResult r;
    do { /* the list may grow between the two calls */
        *x = (extensions){ NULL, 0 };
        r = vk->EnumerateDeviceExtensionProperties(physical, NULL, &x->n, NULL);
        if (r != VK_SUCCESS || !x->n)
            break;
        if (!(x->data = tf_alloc(a, x->n * sizeof *x->data)))
            return tf_fault_set(f, TUFF_E_MEMORY, "out of host memory for the device's extensions");
        const uint32_t cap = x->n;
        r = vk->EnumerateDeviceExtensionProperties(physical, NULL, &x->n, x->data);
        if (r != VK_SUCCESS)
            tf_free(a, x->data, cap * sizeof *x->data);
        else if (x->n != cap) /* freed later with its true size */
            x->data = tf_resize(a, x->data, cap * sizeof *x->data, x->n * sizeof *x->data);
    } while (r == VK_INCOMPLETE);
    if (r != VK_SUCCESS)
        return tf_fault_set(f, r == VK_ERROR_OUT_OF_HOST_MEMORY ? TUFF_E_MEMORY : TUFF_E_NO_DEVICE,
                            "vkEnumerateDeviceExtensionProperties: %s", tf_vk_result_name(r));
    return true;
}

/* ---- properties --------------------------------------------------------------------------------- */

static uint32_t read_units(const tf_vk *vk, VkPhysicalDevice physical, const extensions *x, VkPhysicalDeviceType type)
{
    if (type == VK_PHYSICAL_DEVICE_TYPE_CPU)
        return tf_cores();
    VkPhysicalDeviceProperties2 p = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2 };
    VkPhysicalDeviceShaderSMBuiltinsPropertiesNV nv = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_SM_BUILTINS_PROPERTIES_NV };
    VkPhysicalDeviceShaderCorePropertiesAMD amd = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_CORE_PROPERTIES_AMD };
    if (has_extension(x, VK_NV_SHADER_SM_BUILTINS_EXTENSION_NAME)) {
        p.pNext = &nv;
        vk->GetPhysicalDeviceProperties2(physical, &p);
        return nv.shaderSMCount;
    }
    if (has_extension(x, VK_AMD_SHADER_CORE_PROPERTIES_EXTENSION_NAME)) {
        p.pNext = &amd;
        vk->GetPhysicalDeviceProperties2(physical, &p);
        return amd.shaderEngineCount * amd.shaderArraysPerEngineCount * amd.computeUnitsPerShaderArray;
    }
    return 0;
}

static void read_properties(const tf_vk *vk, VkPhysicalDevice physical, bool size_control, tf_snapshot *s)
{
    VkPhysicalDeviceSubgroupSizeControlProperties size = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES };
    VkPhysicalDeviceSubgroupProperties group = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES, .pNext = size_control ? &size : NULL };
    VkPhysicalDeviceMaintenance3Properties m3 = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES, .pNext = &group };
    VkPhysicalDeviceIDProperties id = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_ID_PROPERTIES, .pNext = &m3 };
    VkPhysicalDeviceDriverProperties driver = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES, .pNext = &id };
    VkPhysicalDeviceProperties2 p = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &driver };
    vk->GetPhysicalDeviceProperties2(physical, &p);
    s->limits = p.properties.limits;
    s->driver_id = driver.driverID;
    memcpy(s->driver, driver.driverName, sizeof s->driver);
    memcpy(s->driver_info, driver.driverInfo, sizeof s->driver_info);
    memcpy(s->uuid, id.deviceUUID, sizeof s->uuid);
    s->max_allocation = m3.maxMemoryAllocationSize;
    s->subgroup_size = s->subgroup_min = s->subgroup_max = group.subgroupSize;
    s->subgroup_ops = group.supportedStages & VK_SHADER_STAGE_COMPUTE_BIT ? group.supportedOperations : 0;
    if (size_control && size.requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT) {
        s->subgroup_min = size.minSubgroupSize;
        s->subgroup_max = size.maxSubgroupSize;
        s->subgroup_control = true; /* until tf_snapshot_enable says otherwise */
    }
}

/* Tiles are made of powers of two. */
static bool usable_size(uint32_t n) { return n >= 8 && n <= 64 && (n & (n - 1)) == 0; }

/* The largest product of halves summed in f32. */
static tf_matrices read_matrices(const tf_vk *vk, VkPhysicalDevice physical)
{
    VkCooperativeMatrixPropertiesKHR p[128];
    uint32_t n = TF_COUNT(p);
    tf_matrices best = { 0 };
    memset(p, 0, sizeof p);
    for (uint32_t i = 0; i < n; i++)
        p[i].sType = (VkStructureType)TF_VK_COOPERATIVE_MATRIX_PROPERTIES;
    const VkResult r = vk->GetPhysicalDeviceCooperativeMatrixPropertiesKHR(physical, &n, p);
    for (uint32_t i = 0; (r == VK_SUCCESS || r == VK_INCOMPLETE) && i < n; i++) {
        const VkCooperativeMatrixPropertiesKHR *c = &p[i];
        const bool halves = c->AType == VK_COMPONENT_TYPE_FLOAT16_KHR && c->BType == VK_COMPONENT_TYPE_FLOAT16_KHR;
        const bool sums = c->CType == VK_COMPONENT_TYPE_FLOAT32_KHR && c->ResultType == VK_COMPONENT_TYPE_FLOAT32_KHR && !c->saturatingAccumulation;
        if (halves && sums && c->scope == VK_SCOPE_SUBGROUP_KHR && usable_size(c->MSize) && usable_size(c->NSize) && usable_size(c->KSize) &&
            c->MSize * c->NSize * c->KSize > best.m * best.n * best.k)
            best = (tf_matrices){ c->MSize, c->NSize, c->KSize };
    }
    return best;
}

/* A fault that quirks.def comes too late for (AMDVLK issue 422). */
static bool query_crashes(const tf_snapshot *s)
{
    return s->driver_id == VK_DRIVER_ID_AMD_PROPRIETARY && s->type == VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU;
}

static void chain(tuff_requirements *r, bool size_control, bool matrices)
{
    r->features.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2;
    r->vulkan11.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES;
    r->vulkan12.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES;
    r->subgroup_size.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES;
    r->features.pNext = &r->vulkan11;
    r->vulkan11.pNext = &r->vulkan12;
    r->vulkan12.pNext = size_control ? &r->subgroup_size : NULL;
    r->matrices.sType = (VkStructureType)(matrices ? TF_VK_COOPERATIVE_MATRIX_FEATURES : 0);
    r->subgroup_size.pNext = matrices ? &r->matrices : NULL; /* of no use without subgroups of a known size */
    r->matrices.pNext = NULL;
}

bool tf_snapshot_read(const tf_vk *vk, VkPhysicalDevice physical, uint32_t instance_api, const tuff_allocator *a,
                      tf_snapshot *s, tuff_requirements *supported, tf_fault *f)
{
    *s = (tf_snapshot){ .api = 0 };
    *supported = (tuff_requirements){ .api_version = VK_API_VERSION_1_2 };
    VkPhysicalDeviceProperties p;
    vk->GetPhysicalDeviceProperties(physical, &p);
    s->api = TF_MIN(p.apiVersion, instance_api);
    s->driver_version = p.driverVersion;
    s->vendor = p.vendorID;
    s->device = p.deviceID;
    s->type = p.deviceType;
    s->limits = p.limits;
    memcpy(s->name, p.deviceName, sizeof s->name);
    memcpy(s->cache_uuid, p.pipelineCacheUUID, sizeof s->cache_uuid);
    s->compute = tf_compute_family(vk, physical) != UINT32_MAX;
    if (s->api < VK_API_VERSION_1_2)
        return true; /* below the floor: the structures used from here on do not exist */

    extensions x;
    if (!read_extensions(vk, physical, a, &x, f))
        return false;
    for (size_t i = 0; i < TF_COUNT(wanted_extensions); i++)
        if (has_extension(&x, wanted_extensions[i]) && (i > 0 || s->api < VK_API_VERSION_1_3))
            supported->extensions[supported->extension_count++] = wanted_extensions[i];
    const bool size_control = s->api >= VK_API_VERSION_1_3 || has_extension(&x, VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME);
    const bool matrices = size_control && has_extension(&x, matrix_extension) && tf_jit_matrices();
    s->memory_budget = has_extension(&x, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME);
    s->units = read_units(vk, physical, &x, s->type);
    tf_free(a, x.data, x.n * sizeof *x.data);
    read_properties(vk, physical, size_control, s);
    if (matrices && vk->GetPhysicalDeviceCooperativeMatrixPropertiesKHR && !query_crashes(s))
        s->matrices = read_matrices(vk, physical);
    if (s->matrices.m)
        supported->extensions[supported->extension_count++] = matrix_extension;
    chain(supported, size_control, s->matrices.m);
    vk->GetPhysicalDeviceFeatures2(physical, &supported->features);
    return true;
}

void tf_requirements_reduce(tuff_requirements *r)
{
    const tuff_requirements all = *r;
    r->features.features = (VkPhysicalDeviceFeatures){
        .shaderFloat64 = all.features.features.shaderFloat64,
        .shaderInt64 = all.features.features.shaderInt64,
        .shaderInt16 = all.features.features.shaderInt16,
    };
    r->vulkan11 = (VkPhysicalDeviceVulkan11Features){ .storageBuffer16BitAccess = all.vulkan11.storageBuffer16BitAccess };
    r->vulkan12 = (VkPhysicalDeviceVulkan12Features){
        .storageBuffer8BitAccess = all.vulkan12.storageBuffer8BitAccess,
        .shaderFloat16 = all.vulkan12.shaderFloat16,
        .shaderInt8 = all.vulkan12.shaderInt8,
        .timelineSemaphore = all.vulkan12.timelineSemaphore,
        .vulkanMemoryModel = all.matrices.cooperativeMatrix && all.vulkan12.vulkanMemoryModel,
    };
    r->matrices = (tuff_matrix_features){ .cooperativeMatrix = all.matrices.cooperativeMatrix };
    r->subgroup_size = (VkPhysicalDeviceSubgroupSizeControlFeatures){
        .subgroupSizeControl = all.subgroup_size.subgroupSizeControl,
        .computeFullSubgroups = all.subgroup_size.computeFullSubgroups,
    };
    chain(r, all.vulkan12.pNext != NULL, all.matrices.sType);
}

/* ---- what is enabled ---------------------------------------------------------------------------- */

static void enable_core(tf_snapshot *s, const VkPhysicalDeviceFeatures *f)
{
    s->f64 |= f->shaderFloat64;
    s->i64 |= f->shaderInt64;
    s->i16 |= f->shaderInt16;
}

/* One struct of the chain given to vkCreateDevice; features may come in the versioned structs or in single ones. */
typedef struct parts { bool size_control, full, matrices, memory_model; } parts; /* of tiers that need several features */

static void enable_struct(tf_snapshot *s, const VkBaseInStructure *b, parts *on)
{
#define AS(type) ((const type *)(const void *)b)
    switch ((int)b->sType) {
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2: enable_core(s, &AS(VkPhysicalDeviceFeatures2)->features); break;
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES:
        s->storage16 |= AS(VkPhysicalDeviceVulkan11Features)->storageBuffer16BitAccess;
        break;
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES:
        s->storage8 |= AS(VkPhysicalDeviceVulkan12Features)->storageBuffer8BitAccess;
        s->f16 |= AS(VkPhysicalDeviceVulkan12Features)->shaderFloat16;
        s->i8 |= AS(VkPhysicalDeviceVulkan12Features)->shaderInt8;
        s->timeline |= AS(VkPhysicalDeviceVulkan12Features)->timelineSemaphore;
        on->memory_model |= AS(VkPhysicalDeviceVulkan12Features)->vulkanMemoryModel;
        break;
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_16BIT_STORAGE_FEATURES:
        s->storage16 |= AS(VkPhysicalDevice16BitStorageFeatures)->storageBuffer16BitAccess;
        break;
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_8BIT_STORAGE_FEATURES:
        s->storage8 |= AS(VkPhysicalDevice8BitStorageFeatures)->storageBuffer8BitAccess;
        break;
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT16_INT8_FEATURES:
        s->f16 |= AS(VkPhysicalDeviceShaderFloat16Int8Features)->shaderFloat16;
        s->i8 |= AS(VkPhysicalDeviceShaderFloat16Int8Features)->shaderInt8;
        break;
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_TIMELINE_SEMAPHORE_FEATURES:
        s->timeline |= AS(VkPhysicalDeviceTimelineSemaphoreFeatures)->timelineSemaphore;
        break;
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_MEMORY_MODEL_FEATURES:
        on->memory_model |= AS(VkPhysicalDeviceVulkanMemoryModelFeatures)->vulkanMemoryModel;
        break;
    case TF_VK_COOPERATIVE_MATRIX_FEATURES: on->matrices |= AS(tuff_matrix_features)->cooperativeMatrix; break;
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES:
        on->size_control |= AS(VkPhysicalDeviceSubgroupSizeControlFeatures)->subgroupSizeControl;
        on->full |= AS(VkPhysicalDeviceSubgroupSizeControlFeatures)->computeFullSubgroups;
        break;
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_FEATURES:
        on->size_control |= AS(VkPhysicalDeviceVulkan13Features)->subgroupSizeControl;
        on->full |= AS(VkPhysicalDeviceVulkan13Features)->computeFullSubgroups;
        break;
    default: break;
    }
#undef AS
}

void tf_snapshot_enable(tf_snapshot *s, const void *features, const VkPhysicalDeviceFeatures *core,
                        const char *const *names, uint32_t n)
{
    parts on = { 0 };
    s->timeline = s->storage16 = s->storage8 = s->f16 = s->i8 = s->i16 = s->i64 = s->f64 = false;
    if (core)
        enable_core(s, core);
    for (const VkBaseInStructure *b = features; b; b = b->pNext)
        enable_struct(s, b, &on);
    if (s->api < VK_API_VERSION_1_3 && !contains(names, n, VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME))
        on.size_control = false;
    s->subgroup_control = s->subgroup_control && on.size_control && on.full;
    s->coopmat = s->matrices.m && on.matrices && on.memory_model && contains(names, n, matrix_extension);
}

uint32_t tf_compute_family(const tf_vk *vk, VkPhysicalDevice physical)
{
    VkQueueFamilyProperties q[32];
    uint32_t n = TF_COUNT(q), best = UINT32_MAX;
    vk->GetPhysicalDeviceQueueFamilyProperties(physical, &n, q);
    for (uint32_t i = 0; i < n; i++) {
        if (!(q[i].queueFlags & VK_QUEUE_COMPUTE_BIT) || !q[i].queueCount)
            continue;
        if (best == UINT32_MAX || (q[best].queueFlags & VK_QUEUE_GRAPHICS_BIT && !(q[i].queueFlags & VK_QUEUE_GRAPHICS_BIT)))
            best = i;
    }
    return best;
}
