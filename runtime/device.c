/* device.c - opening and adopting a device, one path: open creates what an application would bring, then both
 * continue in `take`. Also tickets, waiting, errors and the log.
 *
 * All work of a device goes to one queue and one timeline semaphore whose value is the ticket of the last finished
 * submission, so runs of all programs are ordered and "is it done" is one comparison. */
#include "device.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot.h"

/* Texts of failed opens, which have no device to keep them. */
static _Thread_local tf_fault open_fault;

/* ---- log and errors ----------------------------------------------------------------------------- */

void tf_log(tuff_device *dev, tuff_log_level level, const char *format, ...)
{
    if (!dev->log)
        return;
    char text[2048];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    dev->log(dev->log_user, level, text);
}

bool tf_vk_ok(tuff_device *dev, tf_fault *f, VkResult r, const char *what)
{
    if (r == VK_SUCCESS)
        return true;
    tuff_status status = TUFF_E_INTERNAL;
    switch ((int)r) {
    case VK_ERROR_OUT_OF_HOST_MEMORY: status = TUFF_E_MEMORY; break;
    case VK_ERROR_OUT_OF_DEVICE_MEMORY: case VK_ERROR_OUT_OF_POOL_MEMORY: case VK_ERROR_FRAGMENTED_POOL:
    case VK_ERROR_TOO_MANY_OBJECTS: case VK_ERROR_MEMORY_MAP_FAILED: case VK_ERROR_FRAGMENTATION:
        status = TUFF_E_DEVICE_MEMORY;
        break;
    case VK_ERROR_DEVICE_LOST: status = TUFF_E_DEVICE_LOST; break;
    case VK_TIMEOUT: case VK_NOT_READY: status = TUFF_E_TIMEOUT; break;
    case VK_ERROR_FEATURE_NOT_PRESENT: case VK_ERROR_EXTENSION_NOT_PRESENT: status = TUFF_E_UNSUPPORTED; break;
    default: break;
    }
    if (status == TUFF_E_DEVICE_LOST && !atomic_exchange(&dev->lost, true))
        tf_log(dev, TUFF_LOG_ERROR, "device %s was lost in %s", dev->snapshot.name, what);
    return tf_fault_set(f, status, "%s: %s (%s)", tuff_status_text(status), what, tf_vk_result_name(r));
}

bool tf_device_alive(tuff_device *dev, tf_fault *f)
{
    if (!atomic_load(&dev->lost))
        return true;
    return tf_fault_set(f, TUFF_E_DEVICE_LOST, "device %s was lost earlier; close it and open it again", dev->snapshot.name);
}

/* Device calls fail only when opening; what fails later belongs to a program or a graph, which keep the text. */
const char *tuff_device_error(const tuff_device *dev)
{
    return dev && atomic_load(&dev->lost) ? "the device was lost" : dev ? "" : open_fault.text;
}

const char *tuff_device_name(const tuff_device *dev) { return dev ? dev->snapshot.name : ""; }
uint32_t tf_device_messages(const tuff_device *dev) { return atomic_load(&dev->messages); }

VkInstance tuff_device_vk_instance(const tuff_device *dev) { return dev ? dev->instance : NULL; }
VkPhysicalDevice tuff_device_vk_physical_device(const tuff_device *dev) { return dev ? dev->physical : NULL; }
VkDevice tuff_device_vk_device(const tuff_device *dev) { return dev ? dev->device : NULL; }
VkSemaphore tuff_device_timeline(const tuff_device *dev) { return dev ? dev->timeline : VK_NULL_HANDLE; }
VkDeviceSize tuff_bind_alignment(const tuff_device *dev) { return dev ? dev->caps.limits.storage_align : 0; }

void tf_label(tuff_device *dev, VkObjectType type, uint64_t handle, const char *name)
{
    if (!dev->caps.on.labels || !dev->vk.SetDebugUtilsObjectNameEXT)
        return;
    const VkDebugUtilsObjectNameInfoEXT info = { .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_OBJECT_NAME_INFO_EXT, .objectType = type,
                                                 .objectHandle = handle, .pObjectName = name };
    dev->vk.SetDebugUtilsObjectNameEXT(dev->device, &info);
}

/* ---- tickets ------------------------------------------------------------------------------------ */

static void queue_lock(tuff_device *dev)
{
    tf_mutex_lock(&dev->queue_lock);
    if (dev->lock_queue)
        dev->lock_queue(dev->lock_user);
}

static void queue_unlock(tuff_device *dev)
{
    if (dev->unlock_queue)
        dev->unlock_queue(dev->lock_user);
    tf_mutex_unlock(&dev->queue_lock);
}

enum { MAX_BATCHES = 64, MAX_SEMAPHORES = 16 };

bool tf_submit(tuff_device *dev, const tf_batch *batches, uint32_t n, tf_semaphores waits, tf_semaphores signals,
               uint64_t *ticket, tf_fault *f)
{
    VkSubmitInfo local[MAX_BATCHES], *info = local;
    VkSemaphore handles[MAX_SEMAPHORES];
    uint64_t values[MAX_SEMAPHORES];
    VkPipelineStageFlags stages[MAX_SEMAPHORES];
    if (!tf_device_alive(dev, f))
        return false;
    if (waits.n > MAX_SEMAPHORES || signals.n >= MAX_SEMAPHORES)
        return tf_fault_set(f, TUFF_E_LIMIT, "a submission takes at most %d waits and %d signals, %u and %u were given", MAX_SEMAPHORES,
                            MAX_SEMAPHORES - 1, waits.n, signals.n);
    if (n > MAX_BATCHES && !(info = tf_alloc(&dev->allocator, n * sizeof *info)))
        return tf_fault_set(f, TUFF_E_MEMORY, "out of host memory for a submission");
    for (uint32_t i = 0; i < n; i++)
        info[i] = (VkSubmitInfo){ .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO, .commandBufferCount = batches[i].n, .pCommandBuffers = batches[i].cmds };
    for (uint32_t i = 0; i < waits.n; i++)
        stages[i] = VK_PIPELINE_STAGE_ALL_COMMANDS_BIT;
    const VkTimelineSemaphoreSubmitInfo first = { .sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
                                                  .waitSemaphoreValueCount = waits.n, .pWaitSemaphoreValues = waits.values };
    VkTimelineSemaphoreSubmitInfo last = n == 1 ? first : (VkTimelineSemaphoreSubmitInfo){ .sType = first.sType };
    info[0].pNext = &first;
    info[0].waitSemaphoreCount = waits.n;
    info[0].pWaitSemaphores = waits.handles;
    info[0].pWaitDstStageMask = stages;
    handles[0] = dev->timeline;
    for (uint32_t i = 0; i < signals.n; i++) {
        handles[i + 1] = signals.handles[i];
        values[i + 1] = signals.values[i];
    }
    last.signalSemaphoreValueCount = info[n - 1].signalSemaphoreCount = signals.n + 1;
    last.pSignalSemaphoreValues = values;
    info[n - 1].pSignalSemaphores = handles;
    info[n - 1].pNext = &last;

    queue_lock(dev);
    values[0] = dev->ticket + 1;
    const VkResult r = dev->vk.QueueSubmit(dev->queue, n, info, VK_NULL_HANDLE);
    if (r == VK_SUCCESS)
        *ticket = ++dev->ticket;
    queue_unlock(dev);
    if (info != local)
        tf_free(&dev->allocator, info, n * sizeof *info);
    return tf_vk_ok(dev, f, r, "vkQueueSubmit");
}

static void raise_finished(tuff_device *dev, uint64_t value)
{
    uint64_t seen = atomic_load(&dev->finished);
    while (seen < value && !atomic_compare_exchange_weak(&dev->finished, &seen, value)) {}
}

bool tf_finished(tuff_device *dev, uint64_t ticket)
{
    if (atomic_load(&dev->finished) >= ticket)
        return true;
    uint64_t value = 0;
    if (!tf_vk_ok(dev, NULL, dev->vk.GetSemaphoreCounterValue(dev->device, dev->timeline, &value), "vkGetSemaphoreCounterValue"))
        return false;
    raise_finished(dev, value);
    return value >= ticket;
}

uint64_t tf_last_ticket(tuff_device *dev)
{
    tf_mutex_lock(&dev->queue_lock);
    const uint64_t ticket = dev->ticket;
    tf_mutex_unlock(&dev->queue_lock);
    return ticket;
}

bool tf_wait(tuff_device *dev, uint64_t ticket, uint64_t timeout_ns, tf_fault *f)
{
    if (!tf_device_alive(dev, f))
        return false;
    if (atomic_load(&dev->finished) >= ticket)
        return true;
    const VkSemaphoreWaitInfo info = { .sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO, .semaphoreCount = 1,
                                       .pSemaphores = &dev->timeline, .pValues = &ticket };
    const VkResult r = dev->vk.WaitSemaphores(dev->device, &info, timeout_ns);
    if (r == VK_TIMEOUT)
        return tf_fault_set(f, TUFF_E_TIMEOUT, "the run did not finish in %.3f s", (double)timeout_ns * 1e-9);
    if (!tf_vk_ok(dev, f, r, "vkWaitSemaphores"))
        return false;
    raise_finished(dev, ticket);
    return true;
}

void tf_drain(tuff_device *dev, uint64_t ticket)
{
    if (tf_wait(dev, ticket, UINT64_MAX, NULL))
        return;
    /* A lost device answers at once. One whose wait merely failed still works on what is about to go. */
    queue_lock(dev);
    dev->vk.QueueWaitIdle(dev->queue);
    queue_unlock(dev);
}

/* ---- validation messages ------------------------------------------------------------------------ */

static VKAPI_ATTR VkBool32 VKAPI_CALL on_message(VkDebugUtilsMessageSeverityFlagBitsEXT severity, VkDebugUtilsMessageTypeFlagsEXT types,
                                                 const VkDebugUtilsMessengerCallbackDataEXT *data, void *user)
{
    tuff_device *dev = user;
    if (!(types & VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT))
        return VK_FALSE;
    atomic_fetch_add(&dev->messages, 1);
    tf_log(dev, severity & VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT ? TUFF_LOG_ERROR : TUFF_LOG_WARNING, "validation: %s", data->pMessage);
    return VK_FALSE;
}

static VkDebugUtilsMessengerCreateInfoEXT messenger_info(tuff_device *dev)
{
    return (VkDebugUtilsMessengerCreateInfoEXT){
        .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
        .messageSeverity = VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
        .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_GENERAL_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT,
        .pfnUserCallback = on_message, .pUserData = dev };
}

static bool layer_installed(const tuff_device *dev, const char *name)
{
    VkLayerProperties layers[64];
    uint32_t n = TF_COUNT(layers);
    const VkResult r = dev->vk.EnumerateInstanceLayerProperties(&n, layers);
    for (uint32_t i = 0; (r == VK_SUCCESS || r == VK_INCOMPLETE) && i < n; i++)
        if (strcmp(layers[i].layerName, name) == 0)
            return true;
    return false;
}

static bool instance_extension(const tuff_device *dev, const char *layer, const char *name)
{
    VkExtensionProperties x[128];
    uint32_t n = TF_COUNT(x);
    const VkResult r = dev->vk.EnumerateInstanceExtensionProperties(layer, &n, x);
    for (uint32_t i = 0; (r == VK_SUCCESS || r == VK_INCOMPLETE) && i < n; i++)
        if (strcmp(x[i].extensionName, name) == 0)
            return true;
    return false;
}

/* ---- instance ----------------------------------------------------------------------------------- */

static uint32_t instance_api(const tuff_device *dev)
{
    uint32_t v = VK_API_VERSION_1_0;
    dev->vk.EnumerateInstanceVersion(&v);
    return TF_MIN(v, VK_API_VERSION_1_3);
}

/* Layers and extensions are looked up only when something asks for them: each look-up loads every driver. */
static bool create_instance(tuff_device *dev, const tf_switches *on, tf_fault *f)
{
    static const char *const layer = "VK_LAYER_KHRONOS_validation";
    const char *names[4];
    uint32_t n = 0;
    const bool validate = on->validate && layer_installed(dev, layer);
    if (on->validate && !validate)
        tf_log(dev, TUFF_LOG_WARNING, "validation was asked for, but %s is not installed", layer);
    if (validate || (on->labels && instance_extension(dev, NULL, VK_EXT_DEBUG_UTILS_EXTENSION_NAME)))
        names[n++] = VK_EXT_DEBUG_UTILS_EXTENSION_NAME;
    if (validate)
        names[n++] = VK_EXT_VALIDATION_FEATURES_EXTENSION_NAME;
    VkInstanceCreateFlags flags = 0;
#if defined(__APPLE__) && defined(VK_KHR_portability_enumeration)
    if (instance_extension(dev, NULL, VK_KHR_PORTABILITY_ENUMERATION_EXTENSION_NAME)) {
        names[n++] = VK_KHR_PORTABILITY_ENUMERATION_EXTENSION_NAME;
        flags = VK_INSTANCE_CREATE_ENUMERATE_PORTABILITY_BIT_KHR;
    }
#endif
    const VkValidationFeatureEnableEXT sync = VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT;
    const VkValidationFeaturesEXT features = { .sType = VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT,
                                               .enabledValidationFeatureCount = 1, .pEnabledValidationFeatures = &sync };
    const void *next = &features;
#ifdef VK_EXT_layer_settings /* newer layers leave out what shaders access unless asked */
    const VkBool32 yes = VK_TRUE;
    const VkLayerSettingEXT accesses = { layer, "syncval_shader_accesses_heuristic", VK_LAYER_SETTING_TYPE_BOOL32_EXT, 1, &yes };
    const VkLayerSettingsCreateInfoEXT settings = { .sType = VK_STRUCTURE_TYPE_LAYER_SETTINGS_CREATE_INFO_EXT, .pNext = next, .settingCount = 1,
                                                    .pSettings = &accesses };
    if (validate && instance_extension(dev, layer, VK_EXT_LAYER_SETTINGS_EXTENSION_NAME)) {
        names[n++] = VK_EXT_LAYER_SETTINGS_EXTENSION_NAME;
        next = &settings;
    }
#endif
    const VkApplicationInfo app = { .sType = VK_STRUCTURE_TYPE_APPLICATION_INFO, .pEngineName = "tuff", .engineVersion = tuff_version(),
                                    .apiVersion = instance_api(dev) };
    const VkInstanceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO, .pNext = validate ? next : NULL, .flags = flags, .pApplicationInfo = &app,
        .enabledLayerCount = validate, .ppEnabledLayerNames = &layer, .enabledExtensionCount = n, .ppEnabledExtensionNames = names };
    const VkResult r = dev->vk.CreateInstance(&info, NULL, &dev->instance);
    if (r != VK_SUCCESS) {
        dev->instance = VK_NULL_HANDLE;
        if (r == VK_ERROR_INCOMPATIBLE_DRIVER)
            return tf_fault_set(f, TUFF_E_NO_DRIVER, "the Vulkan loader found no driver: install one for the GPU, "
                                "or mesa-vulkan-drivers, which can run on the CPU");
        return tf_vk_ok(dev, f, r, "vkCreateInstance");
    }
    const char *missing = tf_vk_load_instance(&dev->vk, dev->instance);
    if (missing)
        return tf_fault_set(f, TUFF_E_NO_DRIVER, "the Vulkan loader lacks %s", missing);
    if (validate && dev->vk.CreateDebugUtilsMessengerEXT) {
        const VkDebugUtilsMessengerCreateInfoEXT m = messenger_info(dev);
        return tf_vk_ok(dev, f, dev->vk.CreateDebugUtilsMessengerEXT(dev->instance, &m, NULL, &dev->messenger), "vkCreateDebugUtilsMessengerEXT");
    }
    return true;
}

/* ---- choosing ----------------------------------------------------------------------------------- */

enum { MAX_DEVICES = 32 };

typedef struct candidates {
    uint32_t n;
    VkPhysicalDevice handle[MAX_DEVICES];
} candidates;

static bool list_devices(tuff_device *dev, candidates *c, tf_fault *f)
{
    c->n = MAX_DEVICES;
    const VkResult r = dev->vk.EnumeratePhysicalDevices(dev->instance, &c->n, c->handle);
    if (r != VK_SUCCESS && r != VK_INCOMPLETE) {
        if (r == VK_ERROR_INITIALIZATION_FAILED)
            return tf_fault_set(f, TUFF_E_NO_DEVICE, "no Vulkan driver of this machine could be started");
        return tf_vk_ok(dev, f, r, "vkEnumeratePhysicalDevices");
    }
    if (!c->n)
        return tf_fault_set(f, TUFF_E_NO_DEVICE, "the Vulkan drivers of this machine offer no device");
    return true;
}

static bool contains_fold(const char *text, const char *part)
{
    for (; *text; text++) {
        size_t i = 0;
        while (part[i] && tolower((unsigned char)text[i]) == tolower((unsigned char)part[i]))
            i++;
        if (!part[i])
            return true;
    }
    return !*part;
}

/* Hexadecimal digits of a UUID, dashes ignored. */
static bool is_uuid(const char *text, const uint8_t uuid[VK_UUID_SIZE])
{
    char hex[2 * VK_UUID_SIZE + 1];
    for (uint32_t i = 0; i < VK_UUID_SIZE; i++)
        snprintf(hex + 2 * i, 3, "%02x", uuid[i]);
    size_t n = 0;
    for (; *text; text++)
        if (*text != '-' && (n >= sizeof hex - 1 || tolower((unsigned char)*text) != hex[n++]))
            return false;
    return n == sizeof hex - 1;
}

static bool matches(const tf_snapshot *s, const char *select, uint32_t index)
{
    char *end;
    const unsigned long i = strtoul(select, &end, 10);
    if (*select >= '0' && *select <= '9' && *end == '\0')
        return i == index;
    return is_uuid(select, s->uuid) || contains_fold(s->name, select) || contains_fold(s->driver, select) || contains_fold(s->driver_info, select);
}

/* VK_DRIVER_ID_MESA_DOZEN, which older headers lack: Vulkan on Direct3D 12. */
enum { DRIVER_DOZEN = 23 };

/* Larger is better. A layered driver comes after native ones, a CPU after every GPU. */
static int rank(const tf_snapshot *s)
{
    if ((int)s->driver_id == DRIVER_DOZEN)
        return 2;
    switch (s->type) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU: return 5;
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU: return 4;
    case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU: return 3;
    case VK_PHYSICAL_DEVICE_TYPE_CPU: return 1;
    default: return 0;
    }
}

static bool read_candidate(tuff_device *dev, VkPhysicalDevice h, tf_snapshot *s, tuff_requirements *r, tf_fault *f)
{
    if (!tf_snapshot_read(&dev->vk, h, instance_api(dev), &dev->allocator, s, r, f))
        return false;
    tf_requirements_reduce(r);
    tf_snapshot_enable(s, r->features.sType ? &r->features : NULL, NULL, r->extensions, r->extension_count);
    return true;
}

static bool choose(tuff_device *dev, const char *select, tf_fault *f)
{
    candidates c;
    char names[512] = "", why[128];
    int best = -1;
    if (!list_devices(dev, &c, f))
        return false;
    for (uint32_t i = 0; i < c.n; i++) {
        tf_snapshot s;
        tuff_requirements r;
        if (!read_candidate(dev, c.handle[i], &s, &r, f))
            return false;
        const char *below = tf_caps_below_floor(&s, why, sizeof why);
        const size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s%u: %s%s%s%s", i ? "; " : "", i, s.name, below ? " (not usable: " : "",
                 below ? below : "", below ? ")" : "");
        if (select && !matches(&s, select, i))
            continue;
        if (below && select)
            tf_fault_set(f, TUFF_E_UNSUPPORTED, "device %s cannot be used: %s", s.name, below);
        if (!below && rank(&s) > best) {
            best = rank(&s);
            dev->physical = c.handle[i];
        }
    }
    if (best >= 0) {
        *f = (tf_fault){ TUFF_OK, "" };
        return true;
    }
    if (f->status)
        return false; /* a match below the floor */
    if (select)
        return tf_fault_set(f, TUFF_E_NO_DEVICE, "no device matches \"%s\"; the devices are %s", select, names);
    return tf_fault_set(f, TUFF_E_NO_DEVICE, "no device can be used: %s", names);
}

/* ---- device ------------------------------------------------------------------------------------- */

static bool create_device(tuff_device *dev, tuff_requirements *r, tf_fault *f)
{
    const float priority = 1.0f;
    dev->family = tf_compute_family(&dev->vk, dev->physical);
    const VkDeviceQueueCreateInfo queue = { .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO, .queueFamilyIndex = dev->family,
                                            .queueCount = 1, .pQueuePriorities = &priority };
    const VkDeviceCreateInfo info = { .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO, .pNext = &r->features, .queueCreateInfoCount = 1,
                                      .pQueueCreateInfos = &queue, .enabledExtensionCount = r->extension_count,
                                      .ppEnabledExtensionNames = r->extensions };
    const VkResult result = dev->vk.CreateDevice(dev->physical, &info, NULL, &dev->device);
    if (result != VK_SUCCESS) {
        dev->device = VK_NULL_HANDLE;
        return tf_vk_ok(dev, f, result, "vkCreateDevice");
    }
    return true;
}

static void read_memory(tuff_device *dev)
{
    dev->vk.GetPhysicalDeviceMemoryProperties(dev->physical, &dev->memory);
    uint64_t local = 0, visible = 0;
    dev->unified = true;
    for (uint32_t i = 0; i < dev->memory.memoryHeapCount; i++) {
        const bool is_local = dev->memory.memoryHeaps[i].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT;
        dev->unified = dev->unified && is_local;
        if (is_local)
            local = TF_MAX(local, dev->memory.memoryHeaps[i].size);
    }
    for (uint32_t i = 0; i < dev->memory.memoryTypeCount; i++) {
        const VkMemoryPropertyFlags both = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT | VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT;
        if ((dev->memory.memoryTypes[i].propertyFlags & both) == both)
            visible = TF_MAX(visible, dev->memory.memoryHeaps[dev->memory.memoryTypes[i].heapIndex].size);
    }
    /* A window of 256 MiB into a large card is precious and not ours to fill. */
    dev->whole_vram_visible = dev->unified || (visible && visible >= local);
}

/* From instance, physical device, device, queue and snapshot to a working tuff_device. */
static bool take(tuff_device *dev, const tuff_device_desc *desc, const tf_device_hooks *hooks, tf_fault *f)
{
    const char *missing = tf_vk_load_device(&dev->vk, dev->device);
    if (missing)
        return tf_fault_set(f, TUFF_E_UNSUPPORTED, "device %s lacks %s", dev->snapshot.name, missing);
    if (hooks)
        hooks->patch(hooks->user, &dev->vk);
    char why[128];
    const char *below = tf_caps_below_floor(&dev->snapshot, why, sizeof why);
    if (below)
        return tf_fault_set(f, TUFF_E_UNSUPPORTED, "device %s cannot be used: %s", dev->snapshot.name, below);
    const char *toggles = desc->toggles ? desc->toggles : getenv("TUFF_TOGGLES");
    const char *limits = desc->limits ? desc->limits : getenv("TUFF_LIMITS");
    if (!tf_caps_plan(&dev->snapshot, toggles, limits, &dev->caps, f))
        return false;
    const char *serialize = getenv("TUFF_SERIALIZE");
    dev->caps.on.serialize |= serialize && strcmp(serialize, "1") == 0;
    read_memory(dev);
    if (dev->owned)
        dev->vk.GetDeviceQueue(dev->device, dev->family, 0, &dev->queue);
    const char *cache = desc->cache_dir ? desc->cache_dir : getenv("TUFF_CACHE_DIR");
    if (cache ? snprintf(dev->cache_dir, sizeof dev->cache_dir, "%s", cache) >= (int)sizeof dev->cache_dir
              : !tf_cache_directory(dev->cache_dir, sizeof dev->cache_dir))
        dev->cache_dir[0] = '\0';
    if (!tf_tuning_load(dev))
        return tf_fault_set(f, TUFF_E_MEMORY, "out of host memory for the device");
    const char *dump = desc->dump_dir ? desc->dump_dir : getenv("TUFF_DUMP");
    if (dump && snprintf(dev->dump_dir, sizeof dev->dump_dir, "%s", dump) >= (int)sizeof dev->dump_dir)
        return tf_fault_set(f, TUFF_E_ARGUMENT, "the directory for kernels' texts has a name of %zu bytes; %zu are the most", strlen(dump), sizeof dev->dump_dir - 1);
    const VkSemaphoreTypeCreateInfo type = { .sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO, .semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE };
    const VkSemaphoreCreateInfo info = { .sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO, .pNext = &type };
    if (!tf_vk_ok(dev, f, dev->vk.CreateSemaphore(dev->device, &info, NULL, &dev->timeline), "vkCreateSemaphore")) {
        dev->timeline = VK_NULL_HANDLE;
        return false;
    }
    return true;
}

static tuff_device *new_device(const tuff_device_desc *desc)
{
    tuff_device *dev = tf_alloc(&desc->allocator, sizeof *dev);
    if (!dev)
        return NULL;
    dev->allocator = desc->allocator;
    dev->log = desc->log;
    dev->log_user = desc->log_user;
    tf_mutex_init(&dev->queue_lock);
    tf_mutex_init(&dev->heap_lock);
    tf_mutex_init(&dev->pipe_lock);
    tf_mutex_init(&dev->object_lock);
    return dev;
}

static bool open_loader(tuff_device *dev, tf_fault *f)
{
    const PFN_vkGetInstanceProcAddr get = tf_vk_open_loader(&dev->loader);
    if (!get)
        return tf_fault_set(f, TUFF_E_NO_DRIVER, "there is no Vulkan loader on this machine (libvulkan.so.1 or vulkan-1.dll): "
                            "install it, on Debian and Ubuntu with the package libvulkan1");
    const char *missing = tf_vk_load_global(&dev->vk, get);
    if (missing)
        return tf_fault_set(f, TUFF_E_NO_DRIVER, "the Vulkan loader is too old: it lacks %s", missing);
    return true;
}

static bool open_device(tuff_device *dev, const tuff_device_desc *desc, const tf_device_hooks *hooks, tf_fault *f)
{
    const char *select = desc->select ? desc->select : getenv("TUFF_DEVICE");
    tf_switches on;
    tuff_requirements r;
    if (!tf_caps_switches(desc->toggles ? desc->toggles : getenv("TUFF_TOGGLES"), &on, f))
        return false;
    on.validate |= desc->validate;
    dev->owned = true;
    if (!open_loader(dev, f))
        return false;
    if (hooks)
        hooks->patch(hooks->user, &dev->vk);
    if (!create_instance(dev, &on, f))
        return false;
    if (hooks)
        hooks->patch(hooks->user, &dev->vk);
    return choose(dev, select && *select ? select : NULL, f) && read_candidate(dev, dev->physical, &dev->snapshot, &r, f) &&
           create_device(dev, &r, f) && take(dev, desc, hooks, f);
}

static tuff_status finish_open(tuff_device *dev, bool ok, const tf_fault *f, tuff_device **out)
{
    if (!ok) {
        open_fault = *f;
        tuff_device_close(dev);
        return f->status;
    }
    tf_log(dev, TUFF_LOG_INFO, "device %s, driver %s %s", dev->snapshot.name, dev->snapshot.driver, dev->snapshot.driver_info);
    *out = dev;
    return TUFF_OK;
}

tuff_status tf_device_open_with(const tuff_device_desc *desc, const tf_device_hooks *hooks, tuff_device **out)
{
    static const tuff_device_desc none;
    tf_fault f = { TUFF_OK, "" };
    if (!out) {
        tf_fault_set(&open_fault, TUFF_E_ARGUMENT, "tuff_device_open: out is NULL");
        return TUFF_E_ARGUMENT;
    }
    *out = NULL;
    desc = desc ? desc : &none;
    tuff_device *dev = new_device(desc);
    if (!dev) {
        tf_fault_set(&open_fault, TUFF_E_MEMORY, "out of host memory for a device");
        return TUFF_E_MEMORY;
    }
    return finish_open(dev, open_device(dev, desc, hooks, &f), &f, out);
}

tuff_status tuff_device_open(const tuff_device_desc *desc, tuff_device **out) { return tf_device_open_with(desc, NULL, out); }

void tuff_device_close(tuff_device *dev)
{
    if (!dev)
        return;
    if (dev->device && dev->timeline) {
        tf_drain(dev, dev->ticket);
        tf_pipeline_cache_save(dev, true);
        tf_pipelines_destroy_all(dev);
        tf_heap_release(dev);
        dev->vk.DestroySemaphore(dev->device, dev->timeline, NULL);
    }
    if (dev->owned && dev->device && dev->vk.DestroyDevice)
        dev->vk.DestroyDevice(dev->device, NULL);
    if (dev->messenger)
        dev->vk.DestroyDebugUtilsMessengerEXT(dev->instance, dev->messenger, NULL);
    if (dev->owned && dev->instance && dev->vk.DestroyInstance)
        dev->vk.DestroyInstance(dev->instance, NULL);
    tf_library_close(dev->loader);
    tf_mutex_release(&dev->queue_lock);
    tf_mutex_release(&dev->heap_lock);
    tf_mutex_release(&dev->pipe_lock);
    tf_mutex_release(&dev->object_lock);
    tf_tuning_forget(dev);
    const tuff_allocator a = dev->allocator;
    tf_free(&a, dev, sizeof *dev);
}

/* ---- adopting ----------------------------------------------------------------------------------- */

tuff_status tuff_device_requirements(PFN_vkGetInstanceProcAddr get, VkInstance instance, VkPhysicalDevice physical, tuff_requirements *out)
{
    static const tuff_allocator heap;
    tf_fault f = { TUFF_OK, "" };
    tf_vk vk = { .GetInstanceProcAddr = get };
    tf_snapshot s;
    char why[128];
    if (!get || !instance || !physical || !out) {
        tf_fault_set(&open_fault, TUFF_E_ARGUMENT, "tuff_device_requirements: an argument is NULL");
        return TUFF_E_ARGUMENT;
    }
    const char *missing = tf_vk_load_instance(&vk, instance);
    if (missing)
        tf_fault_set(&f, TUFF_E_NO_DRIVER, "the instance lacks %s", missing);
    else if (tf_snapshot_read(&vk, physical, VK_API_VERSION_1_3, &heap, &s, out, &f)) {
        tf_requirements_reduce(out);
        tf_snapshot_enable(&s, out->features.sType ? &out->features : NULL, NULL, out->extensions, out->extension_count);
        const char *below = tf_caps_below_floor(&s, why, sizeof why);
        if (below)
            tf_fault_set(&f, TUFF_E_UNSUPPORTED, "device %s cannot be used: %s", s.name, below);
    }
    if (f.status)
        open_fault = f;
    return f.status;
}

static bool adopt(tuff_device *dev, const tuff_adopt_desc *d, tf_fault *f)
{
    if (!d->get_instance_proc_addr || !d->instance || !d->physical_device || !d->device || !d->queue)
        return tf_fault_set(f, TUFF_E_ARGUMENT, "tuff_device_adopt needs get_instance_proc_addr, instance, physical_device, device and queue");
    if (!d->lock_queue != !d->unlock_queue)
        return tf_fault_set(f, TUFF_E_ARGUMENT, "tuff_device_adopt: lock_queue and unlock_queue go together");
    dev->vk.GetInstanceProcAddr = d->get_instance_proc_addr;
    const char *missing = tf_vk_load_instance(&dev->vk, d->instance);
    if (missing)
        return tf_fault_set(f, TUFF_E_NO_DRIVER, "the adopted instance lacks %s", missing);
    tuff_requirements supported;
    const uint32_t api = d->api_version ? d->api_version : VK_API_VERSION_1_2;
    if (!tf_snapshot_read(&dev->vk, d->physical_device, api, &dev->allocator, &dev->snapshot, &supported, f))
        return false;
    tf_snapshot_enable(&dev->snapshot, d->features, d->core_features, d->extensions, d->extension_count);
    dev->instance = d->instance;
    dev->physical = d->physical_device;
    dev->device = d->device;
    dev->queue = d->queue;
    dev->family = d->queue_family;
    dev->lock_queue = d->lock_queue;
    dev->unlock_queue = d->unlock_queue;
    dev->lock_user = d->lock_user;
    if (!take(dev, &d->desc, NULL, f))
        return false;
    dev->caps.limits.texel_bindings = 0; /* the application's buffers need not be made for it */
    return true;
}

tuff_status tuff_device_adopt(const tuff_adopt_desc *desc, tuff_device **out)
{
    tf_fault f = { TUFF_OK, "" };
    if (out)
        *out = NULL;
    if (!desc || !out) {
        tf_fault_set(&open_fault, TUFF_E_ARGUMENT, "tuff_device_adopt: an argument is NULL");
        return TUFF_E_ARGUMENT;
    }
    tuff_device *dev = new_device(&desc->desc);
    if (!dev) {
        tf_fault_set(&open_fault, TUFF_E_MEMORY, "out of host memory for a device");
        return TUFF_E_MEMORY;
    }
    return finish_open(dev, adopt(dev, desc, &f), &f, out);
}

/* ---- listing ------------------------------------------------------------------------------------ */

static bool print_devices(tuff_device *dev, const tuff_device_desc *desc, tf_str *out, tf_fault *f)
{
    candidates c;
    tf_switches on = { .validate = false };
    if (!open_loader(dev, f) || !create_instance(dev, &on, f) || !list_devices(dev, &c, f))
        return false;
    for (uint32_t i = 0; i < c.n; i++) {
        tf_caps caps;
        tuff_requirements r;
        if (!read_candidate(dev, c.handle[i], &dev->snapshot, &r, f) ||
            !tf_caps_plan(&dev->snapshot, desc->toggles ? desc->toggles : getenv("TUFF_TOGGLES"),
                          desc->limits ? desc->limits : getenv("TUFF_LIMITS"), &caps, f))
            return false;
        tf_str_printf(out, "%u: ", i);
        tf_caps_print(&dev->snapshot, &caps, out);
    }
    return true;
}

tuff_status tf_devices_print(const tuff_device_desc *desc, tf_str *out)
{
    static const tuff_device_desc none;
    tf_fault f = { TUFF_OK, "" };
    desc = desc ? desc : &none;
    tuff_device *dev = new_device(desc);
    if (!dev)
        return TUFF_E_MEMORY;
    dev->owned = true;
    if (!print_devices(dev, desc, out, &f))
        open_fault = f;
    tuff_device_close(dev);
    return f.status;
}
