/* test_caps.c - what a device is said to allow: snapshots, toggles and limits, quirks, descriptions, and the memory budget. */
#define _POSIX_C_SOURCE 200809L

#include <stdio.h>
#include <string.h>

#include <tuff/tuff_vulkan.h>

#include "runtime/program.h"
#include "support/plans.h"
#include "support/support.h"

/* ---- caps: no device ---------------------------------------------------------------------------- */

static tf_snapshot good_snapshot(void)
{
    tf_snapshot s = { .name = "made up", .api = VK_API_VERSION_1_2, .type = VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU, .max_allocation = 1u << 30,
                      .subgroup_size = 32, .subgroup_min = 32, .subgroup_max = 32, .subgroup_ops = 0xff, .compute = true, .timeline = true,
                      .storage16 = true, .f16 = true, .subgroup_control = true, .driver_version = 100 };
    s.limits.maxComputeWorkGroupInvocations = 1024;
    s.limits.maxComputeSharedMemorySize = 49152;
    s.limits.maxPerStageDescriptorStorageBuffers = s.limits.maxDescriptorSetStorageBuffers = 32;
    s.limits.maxPerStageDescriptorUniformBuffers = s.limits.maxDescriptorSetUniformBuffers = 15;
    s.limits.maxPerStageDescriptorSampledImages = s.limits.maxDescriptorSetSampledImages = 12;
    s.limits.maxTexelBufferElements = 65536;
    s.limits.maxPerStageResources = 200;
    s.limits.maxStorageBufferRange = 1u << 30;
    s.limits.maxUniformBufferRange = 65536;
    s.limits.minStorageBufferOffsetAlignment = 16;
    s.limits.minUniformBufferOffsetAlignment = 64;
    for (int i = 0; i < 3; i++) {
        s.limits.maxComputeWorkGroupSize[i] = i == 2 ? 64 : 1024;
        s.limits.maxComputeWorkGroupCount[i] = 65535;
    }
    return s;
}

Test(caps, limits_come_from_snapshot_toggles_and_limits)
{
    tf_caps c;
    tf_fault f;
    tf_snapshot s = good_snapshot();
    char text[256];
    cr_expect(!tf_caps_below_floor(&s, text, sizeof text));
    cr_assert(tf_caps_plan(&s, NULL, NULL, &c, &f));
    cr_expect(c.limits.f16 && c.limits.subgroup_arithmetic && c.limits.subgroup_control && c.limits.storage_align == 64 && !c.limits.cpu);
    cr_assert(tf_caps_plan(&s, "-fp16,-subgroup +validate,+cpu", "range=1M,shared=16K,invocations=128,bindings=4,groups=100", &c, &f));
    cr_expect(!c.limits.f16 && !c.limits.subgroup_basic && !c.limits.subgroup_control && c.on.validate && c.limits.cpu && c.limits.storage16);
    cr_expect(c.limits.storage_range == 1 << 20 && c.limits.shared_bytes == 16384 && c.limits.max_invocations == 128 &&
              c.limits.max_local[0] == 128 && c.limits.max_local[2] == 64 && c.limits.storage_bindings == 4 && c.limits.max_groups[1] == 100);
    cr_assert(tf_caps_plan(&s, "", "subgroup=0,range=4G,align=256", &c, &f)); /* limits never rise */
    cr_expect(c.limits.subgroup_size == 0 && !c.limits.subgroup_vote && c.limits.storage_range == 1u << 30 && c.limits.storage_align == 256);

    const struct { const char *toggles, *limits, *text; } bad[] = {
        { "-fp61", NULL, "unknown toggle \"fp61\"; did you mean \"fp16\"?" },
        { "-xyzzy", NULL, "unknown toggle \"xyzzy\"" },
        { "fp16=3", NULL, "toggle fp16=3: a toggle is +fp16 or -fp16 and has no value" },
        { NULL, "rnage=1M", "unknown limit \"rnage\"; did you mean \"range\"?" },
        { NULL, "range=lots", "limit \"range\" needs a size below 2^64 such as 64, 16K or 1M, \"lots\" was given" },
        { NULL, "shared=99999999999999999999", "limit \"shared\" needs a size below 2^64" },
        { NULL, "align=3", "limit align=3 is no power of two" },
        { NULL, "subgroup=8", "limit subgroup=8: only 0" },
        { NULL, "range", "needs a size" },
        { NULL, "invocations=64", "limit invocations=64 is below the least usable value 128" },
        { NULL, "range=99999999999G", "needs a size" },
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        cr_expect(!tf_caps_plan(&s, bad[i].toggles, bad[i].limits, &c, &f) && f.status == TUFF_E_ATTRIBUTE && strstr(f.text, bad[i].text),
                  "case %zu: %s", i, f.text);
    }
}

/* Texel buffers are for CPUs. */
Test(caps, texels)
{
    static const struct { VkPhysicalDeviceType type; const char *toggles; uint32_t bindings; } rows[] = {
        { VK_PHYSICAL_DEVICE_TYPE_CPU, NULL, 12 }, { VK_PHYSICAL_DEVICE_TYPE_CPU, "-texels", 0 }, { VK_PHYSICAL_DEVICE_TYPE_CPU, "-cpu", 0 },
        { VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU, NULL, 0 }, { VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU, "+texels", 0 },
        { VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU, "+cpu", 12 },
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        tf_caps c;
        tf_fault f;
        tf_snapshot s = good_snapshot();
        s.type = rows[i].type;
        cr_assert(tf_caps_plan(&s, rows[i].toggles, NULL, &c, &f), "%s", f.text);
        cr_expect(c.limits.texel_bindings == rows[i].bindings && c.limits.texel_range == 1 << 20, "row %zu: %u bindings", i, c.limits.texel_bindings);
    }
}

/* Cooperative matrices need halves and subgroups of a known size, and on a CPU someone who asks for them. */
Test(caps, matrices)
{
    static const struct { VkPhysicalDeviceType type; const char *toggles, *limits; bool enabled, usable; } rows[] = {
        { VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU, NULL, NULL, true, true },
        { VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU, "+cpu", NULL, true, true },
        { VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU, "+coopmat", NULL, false, false },
        { VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU, "-coopmat", NULL, true, false },
        { VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU, "-fp16", NULL, true, false },
        { VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU, "-subgroup_size", NULL, true, false },
        { VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU, NULL, "subgroup=0", true, false },
        { VK_PHYSICAL_DEVICE_TYPE_CPU, NULL, NULL, true, false },
        { VK_PHYSICAL_DEVICE_TYPE_CPU, "-cpu", NULL, true, false },
        { VK_PHYSICAL_DEVICE_TYPE_CPU, "+coopmat", NULL, true, true },
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        tf_caps c;
        tf_fault f;
        tf_snapshot s = good_snapshot();
        s.type = rows[i].type;
        s.coopmat = rows[i].enabled;
        s.matrices = (tf_matrices){ 16, 8, 32 };
        cr_assert(tf_caps_plan(&s, rows[i].toggles, rows[i].limits, &c, &f), "%s", f.text);
        const tf_matrices m = c.limits.coopmat;
        cr_expect(rows[i].usable ? m.m == 16 && m.n == 8 && m.k == 32 : !m.m && !m.n && !m.k, "row %zu: %u x %u x %u", i, m.m, m.n, m.k);
    }
}

Test(caps, quirks_and_floor)
{
    tf_caps c;
    tf_fault f;
    char text[256];
    tf_snapshot s = good_snapshot();
    s.driver_id = VK_DRIVER_ID_MOLTENVK;
    strcpy(s.name, "AMD Radeon");
    s.limits.maxStorageBufferRange = 0;
    cr_assert(tf_caps_plan(&s, NULL, NULL, &c, &f));
    cr_expect(c.quirks == 3 && !c.limits.subgroup_shuffle && c.limits.subgroup_basic && c.limits.storage_range == 128u << 20);
    cr_assert(tf_caps_plan(&s, "+subgroup", NULL, &c, &f)); /* a toggle overrules a quirk */
    cr_expect(c.limits.subgroup_shuffle);
    cr_assert(tf_caps_plan(&s, "-quirks", NULL, &c, &f));
    cr_expect(c.quirks == 0 && c.limits.subgroup_shuffle && c.limits.storage_range == 0);
    s = good_snapshot();
    s.driver_id = VK_DRIVER_ID_QUALCOMM_PROPRIETARY;
    cr_assert(tf_caps_plan(&s, NULL, NULL, &c, &f));
    cr_expect(c.quirks == 0 && c.limits.f16);
    s.storage16 = false;
    cr_assert(tf_caps_plan(&s, NULL, NULL, &c, &f));
    cr_expect(c.quirks != 0 && !c.limits.f16);

    s = good_snapshot();
    s.driver_id = VK_DRIVER_ID_MESA_LLVMPIPE;
    s.driver_version = VK_MAKE_API_VERSION(0, 25, 3, 9);
    cr_assert(tf_caps_plan(&s, NULL, NULL, &c, &f));
    cr_expect(c.quirks == 0 && !c.limits.uniform_loads);
    s.driver_version = VK_MAKE_API_VERSION(0, 26, 0, 0);
    cr_assert(tf_caps_plan(&s, NULL, NULL, &c, &f));
    cr_expect(c.quirks != 0 && c.limits.uniform_loads && c.on.uniform_loads);
    cr_assert(tf_caps_plan(&s, "-quirks", NULL, &c, &f));
    cr_expect(!c.limits.uniform_loads);

    s = good_snapshot();
    s.api = VK_API_VERSION_1_1;
    cr_expect(strstr(tf_caps_below_floor(&s, text, sizeof text), "Vulkan 1.1, 1.2 is needed"));
    s = good_snapshot();
    s.timeline = false;
    cr_expect(strstr(tf_caps_below_floor(&s, text, sizeof text), "timelineSemaphore"));
    s = good_snapshot();
    s.limits.maxComputeSharedMemorySize = 8192;
    cr_expect(strstr(tf_caps_below_floor(&s, text, sizeof text), "8192 bytes of shared memory, 16384 are needed"));
    tf_str out;
    tf_str_init(&out, NULL);
    tf_caps_print(&s, &c, &out);
    cr_expect(strstr(out.data, "not usable"));
    tf_str_release(&out);
}

Test(caps, without_a_driver)
{
    tuff_device *dev = NULL;
    setenv("VK_DRIVER_FILES", "/nonexistent", 1);
    setenv("VK_ICD_FILENAMES", "/nonexistent", 1);
    const tuff_status status = tuff_device_open(NULL, &dev);
    cr_expect((status == TUFF_E_NO_DRIVER || status == TUFF_E_NO_DEVICE) && !dev && strlen(tuff_device_error(NULL)) > 20, "%s", tuff_device_error(NULL));
    tf_str s;
    tf_str_init(&s, NULL);
    cr_expect(tf_devices_print(NULL, &s) == status);
    tf_str_release(&s);
}

Test(caps, devices_are_described)
{
    tuff_device *dev = open_device(NULL);
    char index[2] = "0";
    tf_str s;
    tf_str_init(&s, NULL);
    cr_assert(tf_devices_print(NULL, &s) == TUFF_OK, "%s", tuff_device_error(NULL));
    cr_expect(strstr(s.data, "0: ") && strstr(s.data, tuff_device_name(dev)) && strstr(s.data, "limits:"), "%s", s.data);
    tf_str_release(&s);
    const char *const by[] = { index, dev->snapshot.driver, dev->snapshot.name };
    for (size_t i = 0; i < COUNT(by); i++) {
        tuff_device *other = open_device(&(tuff_device_desc){ .select = by[i] });
        tuff_device_close(other);
    }
    tuff_device_close(dev);
    tuff_device_close(NULL);
}

/* ---- the memory budget ---------------------------------------------------------------------------- */

static uint64_t budget;
static VKAPI_ATTR void VKAPI_CALL report_budget(VkPhysicalDevice physical, VkPhysicalDeviceMemoryProperties2 *p)
{
    VkPhysicalDeviceMemoryBudgetPropertiesEXT *b = p->pNext;
    (void)physical;
    for (uint32_t i = 0; i < VK_MAX_MEMORY_HEAPS; i++) {
        b->heapBudget[i] = budget;
        b->heapUsage[i] = 1000;
    }
}

static void patch_budget(void *user, tf_vk *vk)
{
    (void)user;
    vk->GetPhysicalDeviceMemoryProperties2 = report_budget;
}

Test(caps, the_memory_budget_is_kept)
{
    static const struct { uint64_t budget; bool fits; } rows[] = { { 0, true }, { 1 << 20, false }, { UINT64_C(1) << 40, true }, { 500, false } };
    for (size_t i = 0; i < COUNT(rows); i++) {
        tuff_device *dev = NULL;
        budget = rows[i].budget;
        cr_assert(tf_device_open_with(&(tuff_device_desc){ .toggles = "" }, &(tf_device_hooks){ .patch = patch_budget }, &dev) == TUFF_OK, "%s", tuff_device_error(NULL));
        dev->snapshot.memory_budget = true;
        tuff_graph *g = tuff_graph_create(NULL);
        tuff_output(g, "y", tuff_exp(tuff_input(g, "x", TUFF_F32, TUFF_SHAPE(1 << 20))));
        tuff_program *p = NULL;
        cr_assert(tuff_compile(dev, g, NULL, &p) == TUFF_OK, "%s", tuff_graph_error(g));
        float *x = calloc(1 << 20, sizeof *x);
        const tuff_status s = tuff_write(p, "x", x, sizeof *x << 20);
        cr_expect(s == (rows[i].fits ? TUFF_OK : TUFF_E_DEVICE_MEMORY), "budget %llu: %s", (unsigned long long)budget, tuff_program_error(p));
        free(x);
        tuff_program_destroy(p);
        tuff_graph_destroy(g);
        tuff_device_close(dev);
    }
}
