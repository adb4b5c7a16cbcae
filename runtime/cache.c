/* cache.c - what is kept on disk between processes: SPIR-V modules, one file each, and the driver's pipeline cache.
 *
 * Every file starts with a header of ours that names the content and hashes it; a file that is truncated, damaged or
 * of another build, device or driver is the same as none. Files are replaced in one step, so any number of
 * processes may share the directory and may be killed at any time. Failing to write is never an error. */
#include "device.h"
#include "graph/spirv.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SPIRV_LIMIT = 16 << 20, PIPELINES_LIMIT = 256 << 20, SPIRV_FILES = 4096 };

/* All fields little endian on the machines Vulkan runs on; a file from elsewhere fails the magic. */
typedef struct header {
    uint64_t magic, format;
    uint64_t key[2];
    uint64_t compiler;          /* hash of the compiler's version, 0 for what no compiler of ours made */
    uint64_t bytes, hash;       /* of what follows */
} header;

#define MAGIC UINT64_C(0x0a0d656863616674) /* "tfcache\r\n" less one */

/* Code of another compiler is compiled again, except by a build that has none: so a cache that one build filled serves another. */
static bool valid(const void *file, size_t size, tf_key key, uint64_t compiler)
{
    header h;
    if (size < sizeof h)
        return false;
    memcpy(&h, file, sizeof h);
    return h.magic == MAGIC && h.format == 2 && h.key[0] == key.h[0] && h.key[1] == key.h[1] && (!compiler || h.compiler == compiler) &&
           h.bytes == size - sizeof h &&
           h.hash == tf_hash(0, (const unsigned char *)file + sizeof h, size - sizeof h);
}

static bool write_file(tuff_device *dev, const char *path, tf_key key, uint64_t compiler, const void *data, size_t bytes, bool sync)
{
    const header h = { MAGIC, 2, { key.h[0], key.h[1] }, compiler, bytes, tf_hash(0, data, bytes) };
    unsigned char *file = tf_alloc(&dev->allocator, sizeof h + bytes);
    if (!file)
        return false;
    memcpy(file, &h, sizeof h);
    memcpy(file + sizeof h, data, bytes);
    const bool ok = tf_file_replace(path, file, sizeof h + bytes, sync);
    tf_free(&dev->allocator, file, sizeof h + bytes);
    return ok;
}

static bool cache_path(const tuff_device *dev, const char *kind, tf_key key, char *out, size_t size)
{
    if (!dev->cache_dir[0])
        return false;
    const int n = snprintf(out, size, "%s/%s%016" PRIx64 "%016" PRIx64 ".%s", dev->cache_dir, kind[0] == 's' ? "spirv/" : "", key.h[0],
                           key.h[1], kind);
    return n > 0 && (size_t)n < size;
}

static tf_key hash_pair(const char *salt, const void *data, size_t size)
{
    const uint64_t a = tf_hash_string(0, salt), b = tf_hash_string(tf_hash_string(0, "second"), salt);
    return (tf_key){ { tf_hash(a, data, size), tf_hash(b, data, size) } };
}

/* ---- SPIR-V ------------------------------------------------------------------------------------- */

tf_key tf_spirv_key(const tf_kernel *k)
{
    return k->code ? hash_pair("code", k->code, k->code_words * sizeof *k->code) : hash_pair("vulkan 1.1, spir-v 1.3", k->glsl, strlen(k->glsl));
}

static uint64_t compiler_hash(void) { return tf_jit_version() ? tf_hash_string(0, tf_jit_version()) : 0; }

bool tf_spirv_load(tuff_device *dev, tf_key key, tf_spirv *out)
{
    char path[1200];
    size_t size;
    if (!cache_path(dev, "spv", key, path, sizeof path))
        return false;
    unsigned char *file = tf_os_file_read(&dev->allocator, path, SPIRV_LIMIT, &size);
    if (!file)
        return false;
    bool ok = valid(file, size, key, compiler_hash()) && size >= sizeof(header) + 20 && (size - sizeof(header)) % 4 == 0;
    if (ok) {
        out->n = (size - sizeof(header)) / 4;
        out->words = malloc(out->n * 4);
        if ((ok = out->words != NULL))
            memcpy(out->words, file + sizeof(header), out->n * 4);
        if (ok && !tf_spirv_plausible(out->words, out->n)) { /* a well-made header around something else */
            free(out->words);
            ok = false;
        }
    }
    tf_free(&dev->allocator, file, size);
    return ok;
}

void tf_spirv_store(tuff_device *dev, tf_key key, const tf_spirv *s)
{
    char path[1200], directory[1100];
    if (!cache_path(dev, "spv", key, path, sizeof path))
        return;
    /* Not synced: a module lost to a power cut is compiled again, and a torn one fails its hash. */
    if (write_file(dev, path, key, compiler_hash(), s->words, s->n * 4, false))
        goto trim;
    snprintf(directory, sizeof directory, "%s/spirv", dev->cache_dir);
    if (!tf_make_directories(directory) || !write_file(dev, path, key, compiler_hash(), s->words, s->n * 4, false)) {
        tf_log(dev, TUFF_LOG_DEBUG, "the cache %s cannot be written", path);
        return;
    }
trim:
    if (key.h[0] % 256 == 0) { /* a look at the directory once in a while keeps it bounded */
        snprintf(directory, sizeof directory, "%s/spirv", dev->cache_dir);
        tf_directory_trim(directory, ".spv", SPIRV_FILES);
    }
}

void tf_kernel_dump(tuff_device *dev, const tf_kernel *k, tf_key key, const tf_spirv *s)
{
    char path[1200], name[64];
    snprintf(name, sizeof name, "%s", k->name);
    for (char *c = name; *c; c++)
        if (*c == '/' || *c == '\\' || *c == ':')
            *c = '_';
    const int n = snprintf(path, sizeof path, "%s/%s-%016" PRIx64, dev->dump_dir, name, key.h[0]);
    strcpy(path + n, ".comp");
    bool ok = tf_make_directories(dev->dump_dir) && (!k->glsl || tf_file_replace(path, k->glsl, strlen(k->glsl), false));
    strcpy(path + n, ".spv");
    ok = ok && tf_file_replace(path, s->words, s->n * 4, false);
    if (!ok)
        tf_log(dev, TUFF_LOG_WARNING, "%s cannot be written", path);
}

/* ---- the driver's pipeline cache ---------------------------------------------------------------- */

/* Everything that must agree before bytes of the file may reach the driver. */
tf_key tf_device_key(const tuff_device *dev)
{
    struct { uint32_t vendor, device, driver_version, driver_id; uint8_t cache_uuid[VK_UUID_SIZE], uuid[VK_UUID_SIZE]; } id = {
        dev->snapshot.vendor, dev->snapshot.device, dev->snapshot.driver_version, (uint32_t)dev->snapshot.driver_id, { 0 }, { 0 } };
    memcpy(id.cache_uuid, dev->snapshot.cache_uuid, VK_UUID_SIZE);
    memcpy(id.uuid, dev->snapshot.uuid, VK_UUID_SIZE);
    return hash_pair("pipelines 1", &id, sizeof id);
}

/* The header every driver writes, checked once more because a driver is free to trust it. */
static bool driver_header_fits(const tuff_device *dev, const unsigned char *data, size_t size)
{
    VkPipelineCacheHeaderVersionOne h;
    if (size < sizeof h)
        return false;
    memcpy(&h, data, sizeof h);
    return h.headerSize >= sizeof h && h.headerVersion == VK_PIPELINE_CACHE_HEADER_VERSION_ONE && h.vendorID == dev->snapshot.vendor &&
           h.deviceID == dev->snapshot.device && memcmp(h.pipelineCacheUUID, dev->snapshot.cache_uuid, VK_UUID_SIZE) == 0;
}

/* A driver cache object from the file, empty if there is none that fits. *hash: of the file's content, 0 if none. */
static VkPipelineCache load(tuff_device *dev, uint64_t *hash)
{
    char path[1200];
    size_t size = 0;
    const tf_key key = tf_device_key(dev);
    unsigned char *file = NULL;
    VkPipelineCacheCreateInfo info = { .sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO };
    VkPipelineCache cache = VK_NULL_HANDLE;
    *hash = 0;
    if (cache_path(dev, "pipelines", key, path, sizeof path) && (file = tf_os_file_read(&dev->allocator, path, PIPELINES_LIMIT, &size))) {
        const unsigned char *data = file + sizeof(header);
        if (valid(file, size, key, 0) && driver_header_fits(dev, data, size - sizeof(header))) {
            info.initialDataSize = size - sizeof(header);
            info.pInitialData = data;
            *hash = tf_hash(0, data, info.initialDataSize);
        } else
            tf_log(dev, TUFF_LOG_INFO, "the pipeline cache %s is damaged or of another driver; starting anew", path);
    }
    /* Without a cache object everything still works. */
    if (dev->vk.CreatePipelineCache(dev->device, &info, NULL, &cache) != VK_SUCCESS)
        cache = VK_NULL_HANDLE;
    if (file)
        tf_free(&dev->allocator, file, size);
    return cache;
}

void tf_pipeline_cache_open(tuff_device *dev)
{
    if (dev->cache_ready)
        return;
    dev->cache_ready = true;
    if (dev->cache_dir[0] && dev->caps.on.pipeline_cache)
        dev->pipeline_cache = load(dev, &dev->cache_hash);
}

static void write_pipelines(tuff_device *dev, VkPipelineCache cache, const char *path, tf_key key)
{
    size_t size = 0;
    if (dev->vk.GetPipelineCacheData(dev->device, cache, &size, NULL) != VK_SUCCESS || !size)
        return;
    unsigned char *data = tf_alloc(&dev->allocator, size);
    if (!data)
        return;
    size_t got = size;
    if (dev->vk.GetPipelineCacheData(dev->device, cache, &got, data) == VK_SUCCESS) {
        const uint64_t hash = tf_hash(0, data, got);
        if (hash != dev->cache_hash && (write_file(dev, path, key, 0, data, got, true) ||
                                        (tf_make_directories(dev->cache_dir) && write_file(dev, path, key, 0, data, got, true))))
            dev->cache_hash = hash;
    }
    tf_free(&dev->allocator, data, size);
}

/* Another process may have written since; its pipelines are kept, so that the last writer does not erase them. The
 * merge goes into an object of our own: other threads may be compiling with the device's. */
static void merge_and_write(tuff_device *dev, const char *path, tf_key key)
{
    uint64_t hash;
    const VkPipelineCache all = load(dev, &hash);
    if (!all)
        return;
    if (dev->vk.MergePipelineCaches(dev->device, all, 1, &dev->pipeline_cache) == VK_SUCCESS)
        write_pipelines(dev, all, path, key);
    dev->vk.DestroyPipelineCache(dev->device, all, NULL);
}

/* The file is written right after compiling, since a process may be killed, but not more than once a second: a
 * program that compiles all the time would otherwise write all the time. */
void tf_pipeline_cache_save(tuff_device *dev, bool now)
{
    char path[1200];
    const tf_key key = tf_device_key(dev);
    tf_mutex_lock(&dev->pipe_lock);
    if (dev->pipeline_cache && dev->cache_dirty && !atomic_load(&dev->lost) && (now || tf_clock_ns() - dev->cache_saved > 1000000000u) &&
        cache_path(dev, "pipelines", key, path, sizeof path)) {
        merge_and_write(dev, path, key);
        dev->cache_dirty = false;
        dev->cache_saved = tf_clock_ns();
    }
    tf_mutex_unlock(&dev->pipe_lock);
}
