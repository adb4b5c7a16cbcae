/* test_faults.c - caches that others damage or kill, Vulkan calls and allocations that fail. */
#define _POSIX_C_SOURCE 200809L

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <tuff/tuff_vulkan.h>

#include "runtime/program.h"
#include "support/plans.h"
#include "support/support.h"

/* ---- caches ------------------------------------------------------------------------------------- */

static char *temp_dir(char *out, size_t size)
{
    const char *base = getenv("TMPDIR");
    snprintf(out, size, "%s/tuff-test-XXXXXX", base ? base : "/tmp");
    cr_assert(mkdtemp(out));
    return out;
}

static void remove_dir(const char *dir)
{
    char path[256];
    const char *const suffixes[] = { ".spv", ".pipelines", ".tmp" };
    snprintf(path, sizeof path, "%s/spirv", dir);
    for (size_t i = 0; i < COUNT(suffixes); i++) {
        tf_directory_trim(path, suffixes[i], 0);
        tf_directory_trim(dir, suffixes[i], 0);
    }
    rmdir(path);
    rmdir(dir);
}

/* Apply change to every file of the cache below dir; returns how many there are. */
static uint32_t each_file(const char *dir, void (*change)(const char *path, uint32_t i))
{
    char command[512], line[512];
    uint32_t n = 0;
    snprintf(command, sizeof command, "find %s -type f", dir);
    FILE *list = popen(command, "r");
    while (list && fgets(line, sizeof line, list)) {
        line[strcspn(line, "\n")] = '\0';
        if (change)
            change(line, n);
        n++;
    }
    if (list)
        pclose(list);
    return n;
}

static void truncate_file(const char *path, uint32_t i) { cr_expect(truncate(path, (long)(i * 13 % 60)) == 0); }
static void empty_file(const char *path, uint32_t i) { (void)i; cr_expect(truncate(path, 0) == 0); }
static void grow_file(const char *path, uint32_t i)
{
    FILE *f = fopen(path, "ab");
    fprintf(f, "%u", i);
    fclose(f);
}
static void flip_bit(const char *path, uint32_t i)
{
    FILE *f = fopen(path, "r+b");
    fseek(f, 0, SEEK_END);
    const long at = (long)((i + 1) * 7919) % ftell(f);
    fseek(f, at, SEEK_SET);
    const int byte = fgetc(f);
    fseek(f, at, SEEK_SET);
    fputc(byte ^ 0x10, f);
    fclose(f);
}

/* A header that fits around contents that do not: magic, format, key, bytes, hash of the rest. */
static void forge(const char *path, uint32_t i)
{
    uint64_t header[6];
    uint32_t body[64];
    for (size_t k = 0; k < COUNT(body); k++)
        body[k] = k < 5 ? 0x07230203 : 0x00020000u * (i + 1) + (uint32_t)k; /* the start of a module, then noise */
    FILE *f = fopen(path, "r+b");
    cr_assert(f && fread(header, sizeof header, 1, f) == 1);
    header[4] = sizeof body;
    header[5] = tf_hash(0, body, sizeof body);
    rewind(f);
    cr_expect(fwrite(header, sizeof header, 1, f) == 1 && fwrite(body, sizeof body, 1, f) == 1);
    fclose(f);
    cr_expect(truncate(path, sizeof header + sizeof body) == 0);
}

Test(faults, caches_survive_anything)
{
    char dir[128];
    temp_dir(dir, sizeof dir);
    void (*const changes[])(const char *, uint32_t) = { NULL, truncate_file, flip_bit, empty_file, grow_file, forge };
    for (size_t i = 0; i <= COUNT(changes); i++) {
        tuff_device *dev = open_device(&(tuff_device_desc){ .cache_dir = dir });
        run_chain(dev, "cache");
        /* Cold at first; warm after an untouched cache; cold again for every damaged file. */
        const uint32_t misses = i == 1 ? 0 : 2;
        cr_expect(dev->spirv_misses == misses && dev->spirv_hits == 2 - misses, "round %zu: %u hits, %u misses", i, dev->spirv_hits, dev->spirv_misses);
        tuff_device_close(dev);
        if (i < COUNT(changes))
            cr_expect(each_file(dir, changes[i]) >= 2);
    }
    tuff_device *dev = open_device(&(tuff_device_desc){ .cache_dir = "/proc/nowhere/at/all" });
    run_chain(dev, "no place for a cache");
    tuff_device_close(dev);
    dev = open_device(&(tuff_device_desc){ .cache_dir = "" });
    run_chain(dev, "no cache");
    tuff_device_close(dev);
    remove_dir(dir);
}

/* Writers of one file killed at any moment leave it whole: the old contents or the new. */
Test(faults, killed_writers_leave_whole_files)
{
    char dir[128], path[256];
    snprintf(path, sizeof path, "%s/file.pipelines", temp_dir(dir, sizeof dir));
    enum { SIZE = 1 << 20 };
    unsigned char *data = malloc(SIZE);
    for (int round = 0; round < 12; round++) {
        const pid_t child = fork();
        if (child == 0)
            for (unsigned char byte = 1;; byte++) {
                memset(data, byte, SIZE);
                tf_file_replace(path, data, SIZE, round % 2);
            }
        tf_sleep_ms(5 + 7 * (uint32_t)round);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        size_t size = 0;
        unsigned char *file = tf_os_file_read(NULL, path, SIZE, &size);
        if (!file)
            continue; /* killed before the first one was complete */
        bool whole = size == SIZE;
        for (size_t i = 1; whole && i < size; i++)
            whole = file[i] == file[0];
        cr_expect(whole, "round %d: %zu bytes", round, size);
        tf_free(NULL, file, size);
    }
    free(data);
    remove_dir(dir);
}

/* ---- faults ------------------------------------------------------------------------------------- */

/* Every function that returns a VkResult fails once, at the n-th call counted over all of them. */
static struct { uint32_t calls, fail_at; VkResult with; } fault;
static bool fails(void) { return ++fault.calls == fault.fail_at; }

#define FAULTS(X) \
    X(CreateDevice, (VkPhysicalDevice a, const VkDeviceCreateInfo *b, const VkAllocationCallbacks *c, VkDevice *d), (a, b, c, d)) \
    X(CreateSemaphore, (VkDevice a, const VkSemaphoreCreateInfo *b, const VkAllocationCallbacks *c, VkSemaphore *d), (a, b, c, d)) \
    X(AllocateMemory, (VkDevice a, const VkMemoryAllocateInfo *b, const VkAllocationCallbacks *c, VkDeviceMemory *d), (a, b, c, d)) \
    X(MapMemory, (VkDevice a, VkDeviceMemory b, VkDeviceSize c, VkDeviceSize d, VkMemoryMapFlags e, void **f), (a, b, c, d, e, f)) \
    X(CreateBuffer, (VkDevice a, const VkBufferCreateInfo *b, const VkAllocationCallbacks *c, VkBuffer *d), (a, b, c, d)) \
    X(BindBufferMemory, (VkDevice a, VkBuffer b, VkDeviceMemory c, VkDeviceSize d), (a, b, c, d)) \
    X(CreateShaderModule, (VkDevice a, const VkShaderModuleCreateInfo *b, const VkAllocationCallbacks *c, VkShaderModule *d), (a, b, c, d)) \
    X(CreatePipelineCache, (VkDevice a, const VkPipelineCacheCreateInfo *b, const VkAllocationCallbacks *c, VkPipelineCache *d), (a, b, c, d)) \
    X(GetPipelineCacheData, (VkDevice a, VkPipelineCache b, size_t *c, void *d), (a, b, c, d)) \
    X(CreateDescriptorSetLayout, (VkDevice a, const VkDescriptorSetLayoutCreateInfo *b, const VkAllocationCallbacks *c, VkDescriptorSetLayout *d), (a, b, c, d)) \
    X(CreatePipelineLayout, (VkDevice a, const VkPipelineLayoutCreateInfo *b, const VkAllocationCallbacks *c, VkPipelineLayout *d), (a, b, c, d)) \
    X(CreateComputePipelines, (VkDevice a, VkPipelineCache b, uint32_t c, const VkComputePipelineCreateInfo *d, const VkAllocationCallbacks *e, VkPipeline *f), (a, b, c, d, e, f)) \
    X(CreateDescriptorPool, (VkDevice a, const VkDescriptorPoolCreateInfo *b, const VkAllocationCallbacks *c, VkDescriptorPool *d), (a, b, c, d)) \
    X(AllocateDescriptorSets, (VkDevice a, const VkDescriptorSetAllocateInfo *b, VkDescriptorSet *c), (a, b, c)) \
    X(CreateCommandPool, (VkDevice a, const VkCommandPoolCreateInfo *b, const VkAllocationCallbacks *c, VkCommandPool *d), (a, b, c, d)) \
    X(AllocateCommandBuffers, (VkDevice a, const VkCommandBufferAllocateInfo *b, VkCommandBuffer *c), (a, b, c)) \
    X(BeginCommandBuffer, (VkCommandBuffer a, const VkCommandBufferBeginInfo *b), (a, b)) \
    X(EndCommandBuffer, (VkCommandBuffer a), (a)) \
    X(QueueSubmit, (VkQueue a, uint32_t b, const VkSubmitInfo *c, VkFence d), (a, b, c, d)) \
    X(QueueWaitIdle, (VkQueue a), (a)) \
    X(WaitSemaphores, (VkDevice a, const VkSemaphoreWaitInfo *b, uint64_t c), (a, b, c)) \
    X(GetSemaphoreCounterValue, (VkDevice a, VkSemaphore b, uint64_t *c), (a, b, c)) \
    X(FlushMappedMemoryRanges, (VkDevice a, uint32_t b, const VkMappedMemoryRange *c), (a, b, c)) \
    X(InvalidateMappedMemoryRanges, (VkDevice a, uint32_t b, const VkMappedMemoryRange *c), (a, b, c))

#define X(name, parameters, arguments) \
    static PFN_vk##name real_##name; \
    static VKAPI_ATTR VkResult VKAPI_CALL faulty_##name parameters { return fails() ? fault.with : real_##name arguments; }
FAULTS(X)
#undef X

static void inject(void *user, tf_vk *vk)
{
    (void)user;
#define X(name, parameters, arguments) \
    if (vk->name && vk->name != faulty_##name) { \
        real_##name = vk->name; \
        vk->name = faulty_##name; \
    }
    FAULTS(X)
#undef X
}

/* Open, compile, write, run, read: the first status that is not OK, with its text. */
static tuff_status whole_life(const tuff_device_desc *desc, const tf_device_hooks *hooks, char *text, size_t size)
{
    tuff_device *dev = NULL;
    tuff_program *p = NULL;
    tf_fault f = { TUFF_OK, "" };
    static float c[N];
    float x[N] = { 1.0f }, y[N] = { 0 };
    tuff_status status = tf_device_open_with(desc, hooks, &dev);
    snprintf(text, size, "%s", tuff_device_error(NULL));
    if (status)
        return status;
    tf_plan *plan = state_plan(dev, c);
    status = tf_program_from_plan(dev, plan, &(tuff_compile_desc){ .threads = 1 }, &p, &f);
    if (status) {
        tf_plan_destroy(plan);
        snprintf(text, size, "%s", f.text);
    } else {
        status = tuff_write(p, "x", x, sizeof x);
        for (int r = 0; r < 2; r++) {
            status = status ? status : tuff_write(p, "x", x, sizeof x);
            status = status ? status : tuff_submit(p, NULL);
        }
        status = status ? status : tuff_read(p, "y", y, sizeof y);
        snprintf(text, size, "%s", tuff_program_error(p));
        cr_expect(status || y[0] == 2.0f, "y[0] = %g", (double)y[0]);
        if (status == TUFF_E_DEVICE_LOST)
            cr_expect(tuff_run(p) == TUFF_E_DEVICE_LOST && tuff_write(p, "x", x, sizeof x) == TUFF_E_DEVICE_LOST);
        tuff_program_destroy(p);
    }
    tuff_device_close(dev);
    return status;
}

Test(faults, every_vulkan_call_may_fail)
{
    char dir[128], text[1024];
    temp_dir(dir, sizeof dir);
    const struct { const char *toggles; VkResult with; tuff_status status; } modes[] = {
        { "", VK_ERROR_OUT_OF_DEVICE_MEMORY, TUFF_E_DEVICE_MEMORY },
        { "-mapping", VK_ERROR_DEVICE_LOST, TUFF_E_DEVICE_LOST },
        { "-mapping", VK_ERROR_OUT_OF_HOST_MEMORY, TUFF_E_MEMORY },
    };
    for (size_t m = 0; m < COUNT(modes); m++) {
        const tuff_device_desc desc = { .toggles = modes[m].toggles, .cache_dir = dir };
        uint32_t n = 1, survived = 0;
        for (;; n++) {
            fault.calls = 0;
            fault.fail_at = n;
            fault.with = modes[m].with;
            const tuff_status status = whole_life(&desc, &(tf_device_hooks){ .patch = inject }, text, sizeof text);
            if (fault.calls < n)
                break; /* nothing failed: all calls have had their turn */
            survived += !status;
            cr_expect(!status || (status == modes[m].status && strlen(text) > 10), "mode %zu, call %u: status %d, %s", m, n, (int)status, text);
        }
        /* Calls whose failure costs nothing: the driver's cache, a second memory type. */
        cr_expect(n > 30 && survived < 12, "mode %zu: %u calls, %u without effect", m, n, survived);
    }
    remove_dir(dir);
}

Test(faults, every_allocation_may_fail)
{
    char text[1024];
    /* Opening a device takes most of the time of a life; its allocations fail one by one, then those after it in turn. */
    for (uint64_t n = 1;; n++) {
        failing_allocator a = { .fail_at = n };
        const tuff_device_desc desc = { .allocator = failing(&a), .cache_dir = "", .toggles = n % 2 ? "" : "-mapping" };
        const tuff_status status = whole_life(&desc, NULL, text, sizeof text);
        cr_expect(a.live == 0, "allocation %llu: %llu bytes leak", (unsigned long long)n, (unsigned long long)a.live);
        if (a.calls < n) {
            cr_expect(status == TUFF_OK && n > 15, "%s", text);
            break;
        }
        cr_expect(!status || status == TUFF_E_MEMORY, "allocation %llu: status %d, %s", (unsigned long long)n, (int)status, text);
    }
}
