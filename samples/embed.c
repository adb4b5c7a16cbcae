/* embed - tuff inside an application that owns its Vulkan device: each frame records a simulation into the application's command
 * buffer, the picture lands in the application's image, and no byte passes through the host.
 *
 *     embed [--size 192] [--frames 100] [--out embed.png] [--device N]
 *
 * The simulation is Gray and Scott's reaction of two chemicals (Pearson, "Complex patterns in a simple system", 1993): STEPS
 * steps a frame, as a loop inside the program; the concentrations are states of the program, so they stay on the device between
 * frames. Two frames are in flight. In place of presenting, the last image is copied back and written as PNG; it is compared
 * with the same simulation in plain C. */
#include <math.h>
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <tuff/tuff_vulkan.h>
#include <vulkan/vulkan.h>

enum { STEPS = 16, IN_FLIGHT = 2 };
static const float FEED = 0.037f, KILL = 0.06f, DIFFUSE_U = 0.21f, DIFFUSE_V = 0.105f;

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "embed: %s: %s\n", what, why);
    exit(1);
}
static void check(VkResult r, const char *what)
{
    char text[32];
    snprintf(text, sizeof text, "VkResult %d", (int)r);
    if (r < 0) fail(what, text);
}

/* ---- the application: what an engine has anyway ------------------------------------------------------------ */

typedef struct app {
    VkInstance instance;
    VkPhysicalDevice physical;
    VkDevice device;
    VkQueue queue;
    uint32_t family;
    tuff_requirements need;      /* what tuff would like to find enabled */
    VkCommandPool pool;
    VkCommandBuffer cmd[IN_FLIGHT];
    VkFence done[IN_FLIGHT];
    VkImage image;               /* where a renderer would sample from */
    VkBuffer picture;            /* read by the host at the end */
    VkDeviceMemory image_memory, picture_memory;
} app;

static VkDeviceMemory allocate(const app *a, VkMemoryRequirements need, VkMemoryPropertyFlags flags)
{
    VkPhysicalDeviceMemoryProperties p;
    VkDeviceMemory memory;
    uint32_t type = 0;
    vkGetPhysicalDeviceMemoryProperties(a->physical, &p);
    while (type < p.memoryTypeCount && (!(need.memoryTypeBits >> type & 1) || (p.memoryTypes[type].propertyFlags & flags) != flags)) type++;
    if (type == p.memoryTypeCount) fail("memory", "no type fits");
    const VkMemoryAllocateInfo info = { .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO, .allocationSize = need.size, .memoryTypeIndex = type };
    check(vkAllocateMemory(a->device, &info, NULL, &memory), "vkAllocateMemory");
    return memory;
}

static void create_device(app *a, uint32_t index)
{
    VkPhysicalDevice all[16];
    uint32_t n = 16, families = 16;
    VkQueueFamilyProperties family[16];
    const float priority = 1;
    const VkApplicationInfo about = { .sType = VK_STRUCTURE_TYPE_APPLICATION_INFO, .pApplicationName = "embed", .apiVersion = VK_API_VERSION_1_2 };
    const VkInstanceCreateInfo instance = { .sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO, .pApplicationInfo = &about };
    check(vkCreateInstance(&instance, NULL, &a->instance), "vkCreateInstance");
    check(vkEnumeratePhysicalDevices(a->instance, &n, all), "vkEnumeratePhysicalDevices");
    if (index >= n) fail("--device", "there is no such Vulkan device");
    a->physical = all[index];
    vkGetPhysicalDeviceQueueFamilyProperties(a->physical, &families, family);
    while (a->family < families && !(family[a->family].queueFlags & VK_QUEUE_COMPUTE_BIT)) a->family++;
    if (a->family == families) fail("device", "no queue family computes");

    /* tuff says what it would use; the application enables that besides its own wishes. */
    if (tuff_device_requirements(vkGetInstanceProcAddr, a->instance, a->physical, &a->need)) fail("device", tuff_device_error(NULL));
    const VkDeviceQueueCreateInfo queue = { .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO, .queueFamilyIndex = a->family, .queueCount = 1,
                                            .pQueuePriorities = &priority };
    const VkDeviceCreateInfo device = { .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO, .pNext = &a->need.features, .queueCreateInfoCount = 1,
                                        .pQueueCreateInfos = &queue, .enabledExtensionCount = a->need.extension_count,
                                        .ppEnabledExtensionNames = a->need.extensions };
    check(vkCreateDevice(a->physical, &device, NULL, &a->device), "vkCreateDevice");
    vkGetDeviceQueue(a->device, a->family, 0, &a->queue);
}

static void create_objects(app *a, uint32_t size)
{
    const VkCommandPoolCreateInfo pool = { .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO, .flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT,
                                           .queueFamilyIndex = a->family };
    check(vkCreateCommandPool(a->device, &pool, NULL, &a->pool), "vkCreateCommandPool");
    const VkCommandBufferAllocateInfo cmd = { .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO, .commandPool = a->pool, .commandBufferCount = IN_FLIGHT };
    check(vkAllocateCommandBuffers(a->device, &cmd, a->cmd), "vkAllocateCommandBuffers");
    const VkFenceCreateInfo fence = { .sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO, .flags = VK_FENCE_CREATE_SIGNALED_BIT };
    for (int i = 0; i < IN_FLIGHT; i++) check(vkCreateFence(a->device, &fence, NULL, &a->done[i]), "vkCreateFence");

    VkMemoryRequirements need;
    const VkImageCreateInfo image = { .sType = VK_STRUCTURE_TYPE_IMAGE_CREATE_INFO, .imageType = VK_IMAGE_TYPE_2D, .format = VK_FORMAT_R8G8B8A8_UNORM,
                                      .extent = { size, size, 1 }, .mipLevels = 1, .arrayLayers = 1, .samples = VK_SAMPLE_COUNT_1_BIT,
                                      .tiling = VK_IMAGE_TILING_OPTIMAL, .usage = VK_IMAGE_USAGE_TRANSFER_DST_BIT | VK_IMAGE_USAGE_TRANSFER_SRC_BIT | VK_IMAGE_USAGE_SAMPLED_BIT };
    check(vkCreateImage(a->device, &image, NULL, &a->image), "vkCreateImage");
    vkGetImageMemoryRequirements(a->device, a->image, &need);
    a->image_memory = allocate(a, need, 0);
    check(vkBindImageMemory(a->device, a->image, a->image_memory, 0), "vkBindImageMemory");
    const VkBufferCreateInfo buffer = { .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO, .size = 4ull * size * size, .usage = VK_BUFFER_USAGE_TRANSFER_DST_BIT };
    check(vkCreateBuffer(a->device, &buffer, NULL, &a->picture), "vkCreateBuffer");
    vkGetBufferMemoryRequirements(a->device, a->picture, &need);
    a->picture_memory = allocate(a, need, VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT);
    check(vkBindBufferMemory(a->device, a->picture, a->picture_memory, 0), "vkBindBufferMemory");
}

static void destroy(app *a)
{
    vkDestroyBuffer(a->device, a->picture, NULL);
    vkDestroyImage(a->device, a->image, NULL);
    vkFreeMemory(a->device, a->picture_memory, NULL);
    vkFreeMemory(a->device, a->image_memory, NULL);
    for (int i = 0; i < IN_FLIGHT; i++) vkDestroyFence(a->device, a->done[i], NULL);
    vkDestroyCommandPool(a->device, a->pool, NULL);
    vkDestroyDevice(a->device, NULL);
    vkDestroyInstance(a->instance, NULL);
}

static void move_image(VkCommandBuffer cmd, VkImage image, VkImageLayout from, VkImageLayout to, VkAccessFlags before, VkAccessFlags after)
{
    const VkImageMemoryBarrier b = { .sType = VK_STRUCTURE_TYPE_IMAGE_MEMORY_BARRIER, .srcAccessMask = before, .dstAccessMask = after, .oldLayout = from,
                                     .newLayout = to, .srcQueueFamilyIndex = VK_QUEUE_FAMILY_IGNORED, .dstQueueFamilyIndex = VK_QUEUE_FAMILY_IGNORED,
                                     .image = image, .subresourceRange = { VK_IMAGE_ASPECT_COLOR_BIT, 0, 1, 0, 1 } };
    vkCmdPipelineBarrier(cmd, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_PIPELINE_STAGE_TRANSFER_BIT, 0, 0, NULL, 0, NULL, 1, &b);
}

/* ---- the simulation, as a graph ----------------------------------------------------------------------------- */

/* Mean of the four neighbours less the middle; indices beyond the edge read the edge. */
#define LAPLACE(x) "(0.25 * (" x "[i0 - 1, i1] + " x "[i0 + 1, i1] + " x "[i0, i1 - 1] + " x "[i0, i1 + 1]) - " x ")"

static void react(void *user, tuff_iteration *it)
{
    (void)user;
    tuff_graph *g = it->graph;
    const tuff_named in[] = { { "u", it->in[0] }, { "v", it->in[1] }, { "feed", tuff_literal(g, (double)FEED, TUFF_F32) },
                              { "kill", tuff_literal(g, (double)KILL, TUFF_F32) }, { "du", tuff_literal(g, (double)DIFFUSE_U, TUFF_F32) },
                              { "dv", tuff_literal(g, (double)DIFFUSE_V, TUFF_F32) } };
    it->out[0] = tuff_map(g, "u + (du * " LAPLACE("u") " - u * v * v + feed * (1.0 - u))", 6, in);
    it->out[1] = tuff_map(g, "v + (dv * " LAPLACE("v") " + u * v * v - (feed + kill) * v)", 6, in);
}

static tuff_program *build(tuff_device *dev, int64_t n)
{
    static const float low[] = { 12, 18, 42, 255 }, high[] = { 255, 236, 179, 255 };
    tuff_program *p;
    tuff_graph *g = tuff_graph_create(NULL);
    const tuff_tensor u = tuff_state(g, "u", TUFF_F32, TUFF_SHAPE(n, n)), v = tuff_state(g, "v", TUFF_F32, TUFF_SHAPE(n, n));
    tuff_tensor end[2] = { { 0 }, { 0 } };
    tuff_loop(g, &(tuff_loop_desc){ .count = STEPS, .carried = (tuff_tensor[]){ u, v }, .n = 2, .body = react }, end);
    tuff_assign(u, end[0]);
    tuff_assign(v, end[1]);
    /* RGBA of the image's format, so that the picture is a copy and nothing else. */
    const tuff_named in[] = { { "x", tuff_reshape(end[1], TUFF_SHAPE(n, n, 1)) }, { "low", tuff_const(g, TUFF_F32, TUFF_SHAPE(4), low, NULL) },
                              { "high", tuff_const(g, TUFF_F32, TUFF_SHAPE(4), high, NULL) } };
    tuff_output(g, "rgba", tuff_cast(tuff_map(g, "low + (high - low) * clamp(2.6 * x, 0.0, 1.0)", 3, in), TUFF_U8));
    if (tuff_compile(dev, g, &(tuff_compile_desc){ .slots = IN_FLIGHT }, &p)) fail("graph", tuff_graph_error(g));
    tuff_graph_destroy(g);
    return p;
}

/* The same in plain C. */
static void react_here(float *u, float *v, float *next_u, float *next_v, int n)
{
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            const int k = i * n + j, up = i ? k - n : k, down = i < n - 1 ? k + n : k, left = j ? k - 1 : k, right = j < n - 1 ? k + 1 : k;
            const float a = u[k], b = v[k], la = 0.25f * (u[up] + u[down] + u[left] + u[right]) - a, lb = 0.25f * (v[up] + v[down] + v[left] + v[right]) - b;
            next_u[k] = a + (DIFFUSE_U * la - a * b * b + FEED * (1 - a));
            next_v[k] = b + (DIFFUSE_V * lb + a * b * b - (FEED + KILL) * b);
        }
}

/* Squares of the second chemical in a sea of the first. */
static void seed(float *u, float *v, int n)
{
    uint32_t random = 1;
    for (int k = 0; k < n * n; k++) u[k] = 1, v[k] = 0;
    for (int s = 0; s < n / 8; s++) {
        random = random * 1664525u + 1013904223u;
        const int x = (int)(random >> 8) % (n - 10), y = (int)(random >> 20) * 7 % (n - 10);
        for (int i = 0; i < 10; i++)
            for (int j = 0; j < 10; j++) u[(y + i) * n + x + j] = 0.5f, v[(y + i) * n + x + j] = 0.25f;
    }
}

/* ---- frames --------------------------------------------------------------------------------------------------- */

static void frame(app *a, tuff_program *p, uint32_t slot, uint32_t size, bool last)
{
    const VkCommandBuffer cmd = a->cmd[slot];
    check(vkWaitForFences(a->device, 1, &a->done[slot], VK_TRUE, UINT64_MAX), "vkWaitForFences");
    check(vkResetFences(a->device, 1, &a->done[slot]), "vkResetFences");
    check(vkBeginCommandBuffer(cmd, &(VkCommandBufferBeginInfo){ .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO }), "vkBeginCommandBuffer");
    /* The whole run; an engine with little time left in its frame records a part: .budget_ns. Barriers at both ends are tuff's. */
    if (tuff_record(p, cmd, &(tuff_record_desc){ .slot = slot }, NULL)) fail("tuff_record", tuff_program_error(p));
    move_image(cmd, a->image, VK_IMAGE_LAYOUT_UNDEFINED, VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL, VK_ACCESS_TRANSFER_READ_BIT, VK_ACCESS_TRANSFER_WRITE_BIT);
    if (tuff_record_image(p, cmd, "rgba", &(tuff_image_desc){ .image = a->image, .extent = { size, size, 1 }, .texel_bytes = 4 }))
        fail("tuff_record_image", tuff_program_error(p));
    move_image(cmd, a->image, VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL, VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL, VK_ACCESS_TRANSFER_WRITE_BIT, VK_ACCESS_TRANSFER_READ_BIT);
    /* Here a renderer would draw with the image. */
    if (last) {
        const VkBufferImageCopy copy = { .imageSubresource = { VK_IMAGE_ASPECT_COLOR_BIT, 0, 0, 1 }, .imageExtent = { size, size, 1 } };
        const VkMemoryBarrier to_host = { .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER, .srcAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT, .dstAccessMask = VK_ACCESS_HOST_READ_BIT };
        vkCmdCopyImageToBuffer(cmd, a->image, VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL, a->picture, 1, &copy);
        vkCmdPipelineBarrier(cmd, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_PIPELINE_STAGE_HOST_BIT, 0, 1, &to_host, 0, NULL, 0, NULL);
    }
    check(vkEndCommandBuffer(cmd), "vkEndCommandBuffer");
    check(vkQueueSubmit(a->queue, 1, &(VkSubmitInfo){ .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO, .commandBufferCount = 1, .pCommandBuffers = &cmd }, a->done[slot]), "vkQueueSubmit");
}

static void write_png(const app *a, const char *path, uint32_t size)
{
    void *pixels;
    check(vkMapMemory(a->device, a->picture_memory, 0, VK_WHOLE_SIZE, 0, &pixels), "vkMapMemory");
    png_image png = { .version = PNG_IMAGE_VERSION, .width = size, .height = size, .format = PNG_FORMAT_RGBA };
    if (!png_image_write_to_file(&png, path, 0, pixels, 0, NULL)) fail(path, png.message);
    vkUnmapMemory(a->device, a->picture_memory);
}

/* Largest difference to the simulation in plain C. */
static double deviation(tuff_program *p, float *u, float *v, int n, int steps)
{
    const size_t count = (size_t)n * (size_t)n, bytes = count * sizeof(float);
    float *next_u = malloc(bytes), *next_v = malloc(bytes), *swap;
    double most = 0;
    if (!next_u || !next_v) fail("memory", "out of it");
    for (int s = 0; s < steps; s++) {
        react_here(u, v, next_u, next_v, n);
        swap = u, u = next_u, next_u = swap;
        swap = v, v = next_v, next_v = swap;
    }
    if (tuff_read(p, "v", next_v, bytes)) fail("tuff_read", tuff_program_error(p));
    for (size_t k = 0; k < count; k++) most = fmax(most, fabs((double)next_v[k] - (double)v[k]));
    free(u), free(v), free(next_u), free(next_v);
    return most;
}

static double now(void)
{
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* -1 if text is no number from 0 to a million. */
static int number(const char *text)
{
    char *end;
    const long n = strtol(text, &end, 10);
    return *text && !*end && n >= 0 && n <= 1000000 ? (int)n : -1;
}

int main(int argc, char **argv)
{
    int size = 192, frames = 100, device = 0;
    const char *out = "embed.png";
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--size")) size = number(argv[i + 1]);
        else if (!strcmp(argv[i], "--frames")) frames = number(argv[i + 1]);
        else if (!strcmp(argv[i], "--device")) device = number(argv[i + 1]);
        else if (!strcmp(argv[i], "--out")) out = argv[i + 1];
        else size = 0;
    }
    if (argc % 2 == 0 || size < 16 || size > 4096 || frames < 1 || device < 0) {
        fprintf(stderr, "usage: embed [--size 192] [--frames 100] [--out embed.png] [--device INDEX]\n       size is 16 to 4096\n");
        return 2;
    }

    app a = { 0 };
    create_device(&a, (uint32_t)device);
    create_objects(&a, (uint32_t)size);
    tuff_device *dev;
    const tuff_adopt_desc adopt = { .get_instance_proc_addr = vkGetInstanceProcAddr, .instance = a.instance, .physical_device = a.physical, .device = a.device,
                                    .queue = a.queue, .queue_family = a.family, .api_version = VK_API_VERSION_1_2, .features = &a.need.features,
                                    .extensions = a.need.extensions, .extension_count = a.need.extension_count };
    if (tuff_device_adopt(&adopt, &dev)) fail("tuff_device_adopt", tuff_device_error(NULL));
    tuff_program *p = build(dev, size);

    const size_t bytes = (size_t)size * (size_t)size * sizeof(float);
    float *u = malloc(bytes), *v = malloc(bytes);
    if (!u || !v) fail("memory", "out of it");
    seed(u, v, size);
    if (tuff_write(p, "u", u, bytes) || tuff_write(p, "v", v, bytes)) fail("tuff_write", tuff_program_error(p));
    double begin = 0;
    for (int f = 0; f < frames; f++) {
        if (f == 1) check(vkDeviceWaitIdle(a.device), "vkDeviceWaitIdle"), begin = now(); /* drivers compile in the first one */
        frame(&a, p, (uint32_t)f % IN_FLIGHT, (uint32_t)size, f == frames - 1);
    }
    check(vkDeviceWaitIdle(a.device), "vkDeviceWaitIdle");
    if (frames > 1) printf("%s: %.2f ms a frame of %d steps, %d x %d\n", tuff_device_name(dev), 1e3 * (now() - begin) / (frames - 1), STEPS, size, size);
    write_png(&a, out, (uint32_t)size);
    const double off = deviation(p, u, v, size, frames * STEPS);
    printf("%s: the simulation in plain C differs by at most %.2g: %s\n", out, off, off < 1e-3 ? "the same" : "WRONG");
    tuff_program_destroy(p);
    tuff_device_close(dev);
    destroy(&a);
    return off < 1e-3 ? 0 : 1;
}
