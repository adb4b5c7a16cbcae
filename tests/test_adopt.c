/* test_adopt.c - inside an application: its device, buffers, command buffers and semaphores. */
#include <stdlib.h>
#include <string.h>

#include <tuff/tuff_vulkan.h>

#include "runtime/program.h"
#include "support/plans.h"
#include "support/support.h"

/* ---- inside an application ------------------------------------------------------------------------ */

typedef struct app {
    tuff_device *host;          /* opens a device as an application would; only its handles are used */
    VkDevice device;
    VkQueue queue;
    tf_vk vk;
    tuff_requirements need;
    VkCommandPool pool;
    VkCommandBuffer cmd;
    int locked, locks;
} app;

static void lock_app(void *user)
{
    app *a = user;
    cr_expect(a->locked == 0);
    a->locked++;
    a->locks++;
}
static void unlock_app(void *user) { ((app *)user)->locked--; }

static void create_app(app *a)
{
    *a = (app){ .host = open_device(&(tuff_device_desc){ .validate = true, .cache_dir = "" }) };
    a->vk = a->host->vk;
    const float priority = 1.0f;
    const tf_vk *vk = &a->vk;
    cr_assert(tuff_device_requirements(vk->GetInstanceProcAddr, a->host->instance, a->host->physical, &a->need) == TUFF_OK, "%s", tuff_device_error(NULL));
    const VkDeviceQueueCreateInfo queue = { .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO, .queueFamilyIndex = a->host->family,
                                            .queueCount = 1, .pQueuePriorities = &priority };
    const VkDeviceCreateInfo info = { .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO, .pNext = &a->need.features, .queueCreateInfoCount = 1,
                                      .pQueueCreateInfos = &queue, .enabledExtensionCount = a->need.extension_count, .ppEnabledExtensionNames = a->need.extensions };
    cr_assert(vk->CreateDevice(a->host->physical, &info, NULL, &a->device) == VK_SUCCESS);
    cr_assert(!tf_vk_load_device(&a->vk, a->device));
    vk->GetDeviceQueue(a->device, a->host->family, 0, &a->queue);
    const VkCommandPoolCreateInfo pool = { .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO, .flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT,
                                           .queueFamilyIndex = a->host->family };
    cr_assert(vk->CreateCommandPool(a->device, &pool, NULL, &a->pool) == VK_SUCCESS);
    const VkCommandBufferAllocateInfo cmd = { .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO, .commandPool = a->pool, .commandBufferCount = 1 };
    cr_assert(vk->AllocateCommandBuffers(a->device, &cmd, &a->cmd) == VK_SUCCESS);
}

static void destroy_app(app *a)
{
    a->vk.DestroyCommandPool(a->device, a->pool, NULL);
    a->vk.DestroyDevice(a->device, NULL);
    expect_no_messages(a->host, "embedding");
    tuff_device_close(a->host);
}

/* A buffer of the application, mapped. */
typedef struct app_buffer { VkBuffer buffer; VkDeviceMemory memory; float *data; } app_buffer;

static app_buffer create_buffer(const app *a, VkDeviceSize bytes)
{
    app_buffer b;
    void *p;
    VkMemoryRequirements need;
    const VkBufferCreateInfo info = { .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO, .size = bytes,
                                      .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT };
    cr_assert(a->vk.CreateBuffer(a->device, &info, NULL, &b.buffer) == VK_SUCCESS);
    a->vk.GetBufferMemoryRequirements(a->device, b.buffer, &need);
    uint32_t type = 0;
    const VkMemoryPropertyFlags want = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    while (!(need.memoryTypeBits >> type & 1) || (a->host->memory.memoryTypes[type].propertyFlags & want) != want)
        type++;
    const VkMemoryAllocateInfo memory = { .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO, .allocationSize = need.size, .memoryTypeIndex = type };
    cr_assert(a->vk.AllocateMemory(a->device, &memory, NULL, &b.memory) == VK_SUCCESS && a->vk.BindBufferMemory(a->device, b.buffer, b.memory, 0) == VK_SUCCESS &&
              a->vk.MapMemory(a->device, b.memory, 0, VK_WHOLE_SIZE, 0, &p) == VK_SUCCESS);
    b.data = p;
    return b;
}

static void destroy_buffer(const app *a, app_buffer *b)
{
    a->vk.DestroyBuffer(a->device, b->buffer, NULL);
    a->vk.FreeMemory(a->device, b->memory, NULL);
}

static tuff_device *adopt(app *a)
{
    tuff_device *dev = NULL;
    const tuff_adopt_desc desc = {
        .get_instance_proc_addr = a->vk.GetInstanceProcAddr, .instance = a->host->instance, .physical_device = a->host->physical, .device = a->device,
        .queue = a->queue, .queue_family = a->host->family, .api_version = VK_API_VERSION_1_3, .features = &a->need.features,
        .extensions = a->need.extensions, .extension_count = a->need.extension_count, .lock_queue = lock_app, .unlock_queue = unlock_app, .lock_user = a,
        .desc = { .cache_dir = "" } };
    cr_assert(tuff_device_adopt(&desc, &dev) == TUFF_OK, "%s", tuff_device_error(NULL));
    return dev;
}

static void begin(const app *a)
{
    cr_assert(a->vk.BeginCommandBuffer(a->cmd, &(VkCommandBufferBeginInfo){ .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO }) == VK_SUCCESS);
}

static void submit_and_wait(const app *a)
{
    const VkMemoryBarrier b = { .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER, .srcAccessMask = VK_ACCESS_MEMORY_WRITE_BIT, .dstAccessMask = VK_ACCESS_HOST_READ_BIT };
    a->vk.CmdPipelineBarrier(a->cmd, VK_PIPELINE_STAGE_ALL_COMMANDS_BIT, VK_PIPELINE_STAGE_HOST_BIT, 0, 1, &b, 0, NULL, 0, NULL);
    const VkSubmitInfo info = { .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO, .commandBufferCount = 1, .pCommandBuffers = &a->cmd };
    cr_assert(a->vk.EndCommandBuffer(a->cmd) == VK_SUCCESS && a->vk.QueueSubmit(a->queue, 1, &info, VK_NULL_HANDLE) == VK_SUCCESS &&
              a->vk.DeviceWaitIdle(a->device) == VK_SUCCESS);
}

Test(adopt, adopted_device_runs_on_the_applications_buffers)
{
    app a;
    create_app(&a);
    tuff_device *dev = adopt(&a);
    cr_expect(dev->caps.limits.f16 == a.host->caps.limits.f16 && dev->caps.limits.subgroup_control == a.host->caps.limits.subgroup_control);
    cr_expect(dev->snapshot.coopmat == a.host->snapshot.coopmat);
    const VkDeviceSize at = tuff_bind_alignment(dev);
    app_buffer in = create_buffer(&a, at + 4 * N), out = create_buffer(&a, 4 * N);
    float *x = in.data + at / 4;
    ramp(x, 1.0f);
    tuff_program *p = build(dev, chain_plan(dev, 5), NULL);
    EXPECT_ERROR(tuff_bind_buffer(p, "x", in.buffer, at, 4 * N - 4), TUFF_E_ARGUMENT, "needs 4000 bytes");
    EXPECT_ERROR(tuff_bind_buffer(p, "x", in.buffer, at + 1, 4 * N), TUFF_E_ARGUMENT, "at a multiple of");
    EXPECT_ERROR(tuff_bind_buffer(p, "q", in.buffer, at, 4 * N), TUFF_E_NAME, "no input, output or state named \"q\"");
    cr_assert(tuff_bind_buffer(p, "x", in.buffer, at, 4 * N) == TUFF_OK && tuff_bind_buffer(p, "y", out.buffer, 0, 4 * N) == TUFF_OK);

    /* submitted by tuff, between the application's semaphores */
    VkSemaphore sem;
    const VkSemaphoreTypeCreateInfo timeline = { .sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO, .semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE, .initialValue = 1 };
    cr_assert(a.vk.CreateSemaphore(a.device, &(VkSemaphoreCreateInfo){ .sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO, .pNext = &timeline }, NULL, &sem) == VK_SUCCESS);
    uint64_t ticket, value = 0;
    const tuff_submit_desc s = { .waits = &sem, .wait_values = (uint64_t[]){ 1 }, .wait_count = 1, .signals = &sem, .signal_values = (uint64_t[]){ 9 }, .signal_count = 1 };
    cr_assert(tuff_submit_with(p, &s, &ticket) == TUFF_OK && tuff_wait(p, ticket, UINT64_MAX) == TUFF_OK, "%s", tuff_program_error(p));
    const VkSemaphoreWaitInfo nine = { .sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO, .semaphoreCount = 1, .pSemaphores = &sem, .pValues = (uint64_t[]){ 9 } };
    cr_expect(a.vk.WaitSemaphores(a.device, &nine, UINT64_MAX) == VK_SUCCESS); /* signals of one submission come in any order */
    cr_expect(a.vk.GetSemaphoreCounterValue(a.device, tuff_device_timeline(dev), &value) == VK_SUCCESS && value == ticket);
    expect_chain(out.data, x, 5, "bound");
    cr_expect(a.locks > 0 && a.locked == 0);

    /* bound elsewhere, and back to memory of its own */
    app_buffer other = create_buffer(&a, 4 * N);
    cr_assert(tuff_bind_buffer(p, "y", other.buffer, 0, 4 * N) == TUFF_OK && tuff_run(p) == TUFF_OK);
    expect_chain(other.data, x, 5, "bound again");
    float y[N];
    cr_expect(tuff_read(p, "y", y, sizeof y) == TUFF_OK && memcmp(y, other.data, sizeof y) == 0);
    cr_assert(tuff_bind_buffer(p, "y", VK_NULL_HANDLE, 0, 0) == TUFF_OK && tuff_bind_buffer(p, "x", VK_NULL_HANDLE, 0, 0) == TUFF_OK);
    EXPECT_ERROR(tuff_run(p), TUFF_E_STATE, "never written");
    cr_expect(tuff_write(p, "x", x, 4 * N) == TUFF_OK && tuff_run(p) == TUFF_OK && tuff_read(p, "y", y, sizeof y) == TUFF_OK);
    expect_chain(y, x, 5, "own memory");

    tuff_program_destroy(p);
    a.vk.DestroySemaphore(a.device, sem, NULL);
    destroy_buffer(&a, &in);
    destroy_buffer(&a, &out);
    destroy_buffer(&a, &other);
    tuff_device_close(dev);
    destroy_app(&a);
}

Test(adopt, recording_into_the_applications_command_buffer)
{
    app a;
    create_app(&a);
    tuff_device *dev = adopt(&a);
    app_buffer out = create_buffer(&a, 4 * N);
    float x[N];
    uint32_t next = 0, parts = 0;
    ramp(x, 1.0f);
    tuff_program *p = build(dev, chain_plan(dev, 9), NULL);
    cr_assert(tuff_step_count(p) == 9);
    cr_assert(tuff_bind_buffer(p, "y", out.buffer, 0, 4 * N) == TUFF_OK);
    EXPECT_ERROR(tuff_record(p, a.cmd, NULL, NULL), TUFF_E_STATE, "never written");
    /* whole, with a write that travels in the command buffer */
    for (int r = 0; r < 3; r++) {
        ramp(x, (float)(r + 1));
        cr_assert(tuff_write(p, "x", x, sizeof x) == TUFF_OK);
        begin(&a);
        cr_assert(tuff_record(p, a.cmd, &(tuff_record_desc){ .slot = (uint32_t)r % 2 }, &next) == TUFF_OK && next == 9, "%s", tuff_program_error(p));
        submit_and_wait(&a);
        expect_chain(out.data, x, 9, "whole");
    }
    /* two runs in one command buffer; the second reads what the first wrote, so validation sees if a barrier lacks */
    float one[N];
    tf_plan *count = new_plan(dev);
    const uint32_t s = add_buffer(count, TF_BUF_STATE, "s", vec(TUFF_F32, N), NULL);
    add_step(count, add_kernel(count, "count", 2, "b0[i] + 1.0"), (uint32_t[]){ s, s }, 2, N, GROUPS, (tf_param){ TF_PARAM_DIM, 0 });
    tuff_program *twice = build(dev, finish(count), NULL);
    begin(&a);
    for (uint32_t r = 0; r < 2; r++)
        cr_assert(tuff_record(twice, a.cmd, &(tuff_record_desc){ .slot = r }, NULL) == TUFF_OK, "%s", tuff_program_error(twice));
    submit_and_wait(&a);
    cr_expect(tuff_read(twice, "s", one, sizeof one) == TUFF_OK && one[0] == 2.0f && one[N - 1] == 2.0f, "%g: %s", (double)one[0], tuff_program_error(twice));
    tuff_program_destroy(twice);
    /* in parts, one command buffer per part: each fits a budget of two steps */
    for (next = 0; next < 9; parts++) {
        begin(&a);
        const tuff_record_desc part = { .slot = 0, .first = next, .budget_ns = 2 * p->steps[0].ns };
        cr_assert(tuff_record(p, a.cmd, &part, &next) == TUFF_OK, "%s", tuff_program_error(p));
        submit_and_wait(&a);
    }
    cr_expect(parts == 5, "%u parts", parts);
    expect_chain(out.data, x, 9, "parts");
    EXPECT_ERROR(tuff_record(p, a.cmd, &(tuff_record_desc){ .slot = 2 }, NULL), TUFF_E_ARGUMENT, "slot 2 of 2");
    EXPECT_ERROR(tuff_record(p, NULL, NULL, NULL), TUFF_E_ARGUMENT, "the command buffer is NULL");
    EXPECT_ERROR(tuff_record_image(p, a.cmd, "y", NULL), TUFF_E_ARGUMENT, "the description is NULL");
    EXPECT_ERROR(tuff_get_buffer(p, "y", NULL, NULL, NULL), TUFF_E_ARGUMENT, "the place for the buffer is NULL");
    EXPECT_ERROR(tuff_record(p, a.cmd, &(tuff_record_desc){ .first = 8, .count = 2 }, NULL), TUFF_E_ARGUMENT, "the program has 9");
    EXPECT_ERROR(tuff_submit(p, NULL), TUFF_E_STATE, "all 2 slots were used with tuff_record");

    /* a tensor as a picture */
    VkImage image;
    VkMemoryRequirements need;
    VkDeviceMemory memory;
    const VkImageCreateInfo info = { .sType = VK_STRUCTURE_TYPE_IMAGE_CREATE_INFO, .imageType = VK_IMAGE_TYPE_2D, .format = VK_FORMAT_R32_SFLOAT, .extent = { 40, 25, 1 },
                                     .mipLevels = 1, .arrayLayers = 1, .samples = VK_SAMPLE_COUNT_1_BIT, .usage = VK_IMAGE_USAGE_TRANSFER_DST_BIT | VK_IMAGE_USAGE_TRANSFER_SRC_BIT };
#define LOAD(name) const PFN_vk##name name = (PFN_vk##name)a.vk.GetDeviceProcAddr(a.device, "vk" #name)
    LOAD(CreateImage);
    LOAD(DestroyImage);
    LOAD(GetImageMemoryRequirements);
    LOAD(BindImageMemory);
    LOAD(CmdCopyImageToBuffer);
    cr_assert(CreateImage(a.device, &info, NULL, &image) == VK_SUCCESS);
    GetImageMemoryRequirements(a.device, image, &need);
    uint32_t type = 0;
    while (!(need.memoryTypeBits >> type & 1))
        type++;
    cr_assert(a.vk.AllocateMemory(a.device, &(VkMemoryAllocateInfo){ .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO, .allocationSize = need.size, .memoryTypeIndex = type },
                                  NULL, &memory) == VK_SUCCESS && BindImageMemory(a.device, image, memory, 0) == VK_SUCCESS);
    app_buffer back = create_buffer(&a, 4 * N);
    VkImageMemoryBarrier b = { .sType = VK_STRUCTURE_TYPE_IMAGE_MEMORY_BARRIER, .dstAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT, .newLayout = VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL,
                               .image = image, .subresourceRange = { VK_IMAGE_ASPECT_COLOR_BIT, 0, 1, 0, 1 } };
    begin(&a);
    cr_assert(tuff_record(p, a.cmd, NULL, NULL) == TUFF_OK);
    a.vk.CmdPipelineBarrier(a.cmd, VK_PIPELINE_STAGE_TOP_OF_PIPE_BIT, VK_PIPELINE_STAGE_TRANSFER_BIT, 0, 0, NULL, 0, NULL, 1, &b);
    EXPECT_ERROR(tuff_record_image(p, a.cmd, "y", &(tuff_image_desc){ .image = image, .extent = { 40, 26, 1 }, .texel_bytes = 4 }), TUFF_E_ARGUMENT, "takes 4160 bytes");
    cr_assert(tuff_record_image(p, a.cmd, "y", &(tuff_image_desc){ .image = image, .extent = { 40, 25, 1 }, .texel_bytes = 4 }) == TUFF_OK);
    b.srcAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT;
    b.dstAccessMask = VK_ACCESS_TRANSFER_READ_BIT;
    b.oldLayout = b.newLayout;
    b.newLayout = VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL;
    a.vk.CmdPipelineBarrier(a.cmd, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_PIPELINE_STAGE_TRANSFER_BIT, 0, 0, NULL, 0, NULL, 1, &b);
    const VkBufferImageCopy region = { .imageSubresource = { VK_IMAGE_ASPECT_COLOR_BIT, 0, 0, 1 }, .imageExtent = { 40, 25, 1 } };
    CmdCopyImageToBuffer(a.cmd, image, VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL, back.buffer, 1, &region);
    submit_and_wait(&a);
    expect_chain(back.data, x, 9, "image");

    tuff_program_destroy(p);
    DestroyImage(a.device, image, NULL);
    a.vk.FreeMemory(a.device, memory, NULL);
    destroy_buffer(&a, &back);
    destroy_buffer(&a, &out);
    tuff_device_close(dev);
    destroy_app(&a);
}

Test(adopt, adopting_needs_what_it_needs)
{
    app a;
    create_app(&a);
    tuff_device *dev = NULL;
    tuff_adopt_desc desc = { .get_instance_proc_addr = a.vk.GetInstanceProcAddr, .instance = a.host->instance, .physical_device = a.host->physical, .device = a.device,
                             .queue = a.queue, .queue_family = a.host->family, .api_version = VK_API_VERSION_1_3 };
    cr_expect(tuff_device_adopt(&desc, &dev) == TUFF_E_UNSUPPORTED && !dev && strstr(tuff_device_error(NULL), "timelineSemaphore"), "%s", tuff_device_error(NULL));
    /* only what was enabled counts, wherever in the chain it stands */
    const VkPhysicalDeviceTimelineSemaphoreFeatures timeline = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_TIMELINE_SEMAPHORE_FEATURES, .timelineSemaphore = VK_TRUE };
    desc.features = &timeline;
    cr_assert(tuff_device_adopt(&desc, &dev) == TUFF_OK, "%s", tuff_device_error(NULL));
    cr_expect(!dev->caps.limits.f16 && !dev->caps.limits.storage16 && !dev->caps.limits.subgroup_control && !dev->snapshot.coopmat);
    tuff_device_close(dev);
    desc.queue = VK_NULL_HANDLE;
    cr_expect(tuff_device_adopt(&desc, &dev) == TUFF_E_ARGUMENT && !dev);
    desc.queue = a.queue;
    desc.lock_queue = lock_app;
    cr_expect(tuff_device_adopt(&desc, &dev) == TUFF_E_ARGUMENT && strstr(tuff_device_error(NULL), "go together"));
    destroy_app(&a);
}
