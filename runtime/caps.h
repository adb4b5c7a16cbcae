/* caps.h - from what a driver reports to what the compiler may use.
 *
 * snapshot (plain numbers) -> quirks -> toggles -> artificial limits -> tf_caps. tf_caps_plan is pure: tests feed
 * it snapshots of devices that are not present. Opening and adopting a device share it. */
#ifndef TF_CAPS_H
#define TF_CAPS_H

#include "graph/plan.h"
#include "vk.h"

/* What the driver reports and, for an adopted device, what the application enabled of it. */
typedef struct tf_snapshot {
    char name[VK_MAX_PHYSICAL_DEVICE_NAME_SIZE];
    char driver[VK_MAX_DRIVER_NAME_SIZE], driver_info[VK_MAX_DRIVER_INFO_SIZE];
    uint32_t api;                   /* usable version: the lower of instance and device */
    uint32_t driver_version, vendor, device;
    VkDriverId driver_id;
    VkPhysicalDeviceType type;
    uint8_t uuid[VK_UUID_SIZE], cache_uuid[VK_UUID_SIZE];
    VkPhysicalDeviceLimits limits;
    uint64_t max_allocation;
    uint32_t subgroup_size, subgroup_min, subgroup_max;
    VkSubgroupFeatureFlags subgroup_ops; /* usable in compute shaders */
    bool memory_budget;             /* VK_EXT_memory_budget */
    uint32_t units;                 /* compute units, SMs or processors; 0: unknown */
    bool compute;                   /* has a queue family with compute */
    bool timeline, storage16, storage8, f16, i8, i16, i64, f64;
    bool subgroup_control;          /* sizes can be required of compute shaders, and full subgroups */
    bool coopmat;                   /* enabled, and the shader compiler knows them */
    tf_matrices matrices;           /* the largest usable shape; m 0: none */
} tf_snapshot;

/* Tiers that can be switched off by name: name, text, the fields of tf_limits it stands for. TF_SET(field) copies a
 * field from one tf_limits to another, so one row both takes a tier away and gives it back. */
#define TF_TIERS(X) \
    X("subgroup",      "subgroup operations",        TF_SET(subgroup_basic) TF_SET(subgroup_vote) TF_SET(subgroup_arithmetic) \
                                                     TF_SET(subgroup_shuffle) TF_SET(subgroup_ballot) TF_SET(subgroup_control)) \
    X("subgroup_size", "pinned subgroup size",       TF_SET(subgroup_control)) \
    X("storage16",     "16-bit storage buffers",     TF_SET(storage16)) \
    X("storage8",      "8-bit storage buffers",      TF_SET(storage8)) \
    X("fp16",          "16-bit float arithmetic",    TF_SET(f16)) \
    X("int8",          "8-bit integer arithmetic",   TF_SET(i8)) \
    X("int16",         "16-bit integer arithmetic",  TF_SET(i16)) \
    X("int64",         "64-bit integer arithmetic",  TF_SET(i64)) \
    X("fp64",          "64-bit float arithmetic",    TF_SET(f64)) \
    X("texels",        "reads of vectors as texels", TF_SET(texel_bindings)) \
    X("coopmat",       "cooperative matrix",         TF_SET(coopmat))

/* Switches of the runtime: name, text, default. */
#define TF_SWITCHES(X) \
    X(validate,       "Khronos validation layer with synchronisation checks", false) \
    X(quirks,         "the table of known driver faults",                     true) \
    X(pipeline_cache, "pipeline cache on disk",                               true) \
    X(mapping,        "direct host access to device memory where it exists",  true) \
    X(tuning,         "choices between kernels that tuff tune has measured",      true) \
    X(labels,         "names of kernels for debuggers and captures",          false) \
    X(serialize,      "one submission per step, waited for: names a step that kills the device", false) \
    X(barriers,       "barriers between waves; without them validation must complain", true) \
    X(poison,         "fill new device memory with NaN patterns",             false) \
    X(cpu,            "treat the device as a CPU when choosing kernels",      false) \
    X(uniform_loads,  "loads of one address by all lanes cost next to nothing", false)

/* Limits that can be lowered: name, text. */
#define TF_LIMITS(X) \
    X(range,       "bytes of a storage binding") \
    X(uniform,     "bytes of a uniform binding") \
    X(shared,      "bytes of shared memory") \
    X(invocations, "invocations of a workgroup") \
    X(bindings,    "storage bindings of a kernel") \
    X(uniforms,    "uniform bindings of a kernel") \
    X(groups,      "workgroups along each axis of a dispatch") \
    X(subgroup,    "0: subgroups of unknown size, and no operations of theirs") \
    X(buffer,      "bytes of a buffer") \
    X(align,       "bytes that offsets of bindings are multiples of; this one is raised") \
    X(units,       "compute units the plan reckons with; any number") \
    X(recorded,    "steps that are recorded as a whole")

typedef struct tf_switches {
#define TF_X(name, text, def) bool name;
    TF_SWITCHES(TF_X)
#undef TF_X
} tf_switches;

typedef struct tf_caps {
    tf_limits limits;
    tf_switches on;
    uint64_t quirks;                /* bit i: row i of quirks.def fired */
} tf_caps;

/* NULL when the device can be used; otherwise what it lacks ("timeline semaphores"), in buffer. */
const char *tf_caps_below_floor(const tf_snapshot *s, char *buffer, size_t size);
/* toggles and limits: as in tuff_device_desc, NULL or "": none. False: a word is not understood, f says which. */
bool tf_caps_plan(const tf_snapshot *s, const char *toggles, const char *limits, tf_caps *out, tf_fault *f);
/* What of l decides how results are computed is taken down to what every device has: kernels, their tiles and the order of their sums
 * are then the same everywhere. */
tf_limits tf_caps_common(const tf_limits *l);
/* What Vulkan promises of any device that tuff runs on, and no optional feature; toggles and limits as for tf_caps_plan. */
bool tf_caps_floor(const char *toggles, const char *limits, tf_limits *out, tf_fault *f);
/* The switches alone, which are needed before there is a device. */
bool tf_caps_switches(const char *toggles, tf_switches *out, tf_fault *f);
/* What `tuff devices` shows of a device. */
void tf_caps_print(const tf_snapshot *s, const tf_caps *c, tf_str *out);

#endif
