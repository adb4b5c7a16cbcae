/* caps.c - the pure half of device handling: floor, quirks, toggles and artificial limits, and their printing.
 * The order matters: a quirk lowers what the driver claims, a toggle overrules the quirk table for one run, an
 * artificial limit lowers what is left. Limits never rise above what the device reports. */
#include "caps.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct quirk {
    VkDriverId driver;
    const char *name;
    uint32_t first_bad, first_good;
    bool (*apply)(const tf_snapshot *s, tf_limits *l); /* false: its condition does not hold */
    const char *reason, *link;
} quirk;

/* One function per row, named by its line. */
#define GLUE2(a, b) a##b
#define GLUE(a, b) GLUE2(a, b)
#define Q(driver, name, bad, good, when, effect, reason, link) \
    static bool GLUE(quirk_at_, __LINE__)(const tf_snapshot *s, tf_limits *l) \
    { \
        (void)s; \
        if (!(when)) \
            return false; \
        effect; \
        return true; \
    }
#include "quirks.def"
#undef Q
#define Q(driver, name, bad, good, when, effect, reason, link) \
    { driver, name, bad, good, GLUE(quirk_at_, __LINE__), reason, link },
static const quirk quirks[] = {
#include "quirks.def"
};
#undef Q

/* ---- the floor ---------------------------------------------------------------------------------- */

const char *tf_caps_below_floor(const tf_snapshot *s, char *buffer, size_t size)
{
    const struct { const char *what; uint64_t has, needs; } numbers[] = {
        { "invocations in a workgroup", s->limits.maxComputeWorkGroupInvocations, 128 },
        { "bytes of shared memory", s->limits.maxComputeSharedMemorySize, 16384 },
        { "storage buffers in a shader", s->limits.maxPerStageDescriptorStorageBuffers, 4 },
        { "bytes in a uniform buffer", s->limits.maxUniformBufferRange, 16384 },
    };
    if (s->api < VK_API_VERSION_1_2) {
        snprintf(buffer, size, "it has Vulkan %u.%u, 1.2 is needed", VK_API_VERSION_MAJOR(s->api), VK_API_VERSION_MINOR(s->api));
        return buffer;
    }
    if (!s->timeline)
        return "the feature timelineSemaphore is missing or not enabled";
    if (!s->compute)
        return "it has no queue for compute";
    for (size_t i = 0; i < TF_COUNT(numbers); i++)
        if (numbers[i].has < numbers[i].needs) {
            snprintf(buffer, size, "it allows %llu %s, %llu are needed", (unsigned long long)numbers[i].has, numbers[i].what,
                     (unsigned long long)numbers[i].needs);
            return buffer;
        }
    return NULL;
}

/* ---- words "name", "+name", "-name", "name=value" ------------------------------------------------ */

typedef struct word { char sign; char name[32]; char value[32]; } word;

/* The next comma- or space-separated word; false at the end. A word too long to be known is cut, so it is refused. */
static bool next_word(const char **p, word *w)
{
    const char *s = *p + strspn(*p, ", \t\n");
    if (!*s)
        return false;
    const size_t n = strcspn(s, ", \t\n");
    *p = s + n;
    *w = (word){ .sign = '\0' };
    if (*s == '+' || *s == '-')
        w->sign = *s++;
    const char *eq = memchr(s, '=', (size_t)(*p - s));
    snprintf(w->name, sizeof w->name, "%.*s", (int)((eq ? eq : *p) - s), s);
    if (eq)
        snprintf(w->value, sizeof w->value, "%.*s", (int)(*p - eq - 1), eq + 1);
    return true;
}

static const char *const switch_names[] = {
#define TF_X(name, text, def) #name,
    TF_SWITCHES(TF_X)
#undef TF_X
#define TF_X(name, text, fields) name,
    TF_TIERS(TF_X)
#undef TF_X
};

static bool *find_switch(tf_switches *on, const char *name)
{
#define TF_X(n, text, def) if (strcmp(name, #n) == 0) return &on->n;
    TF_SWITCHES(TF_X)
#undef TF_X
    return NULL;
}

/* Set the fields of one tier to those of `from`: all off to take it away, the reported ones to give it back. */
static bool copy_tier(tf_limits *l, const tf_limits *from, const char *name)
{
#define TF_SET(field) l->field = from->field;
#define TF_X(n, text, fields) if (strcmp(name, n) == 0) { fields return true; }
    TF_TIERS(TF_X)
#undef TF_X
#undef TF_SET
    return false;
}

static bool clear_tier(tf_limits *l, const char *name)
{
    return copy_tier(l, &(tf_limits){ 0 }, name);
}

static bool unknown_word(tf_fault *f, const char *kind, const char *name, const char *const *names, uint32_t n)
{
    const char *near = tf_suggest(name, names, n);
    return tf_fault_set(f, TUFF_E_ATTRIBUTE, "unknown %s \"%s\"%s%s%s", kind, name, near ? "; did you mean \"" : "",
                        near ? near : "", near ? "\"?" : "");
}

bool tf_caps_switches(const char *toggles, tf_switches *out, tf_fault *f)
{
#define TF_X(name, text, def) out->name = def;
    TF_SWITCHES(TF_X)
#undef TF_X
    tf_limits scratch = { 0 };
    word w;
    for (const char *p = toggles ? toggles : ""; next_word(&p, &w);) {
        bool *s = find_switch(out, w.name);
        if (w.value[0] && (s || clear_tier(&scratch, w.name)))
            return tf_fault_set(f, TUFF_E_ATTRIBUTE, "toggle %s=%s: a toggle is +%s or -%s and has no value", w.name, w.value, w.name, w.name);
        if (s)
            *s = w.sign != '-';
        else if (!clear_tier(&scratch, w.name))
            return unknown_word(f, "toggle", w.name, switch_names, TF_COUNT(switch_names));
    }
    return true;
}

/* ---- artificial limits --------------------------------------------------------------------------- */

/* "64", "16K", "1M", "2G"; below 2^64. */
static bool parse_size(const char *s, uint64_t *out)
{
    uint64_t v = 0;
    if (*s < '0' || *s > '9')
        return false;
    for (; *s >= '0' && *s <= '9'; s++)
        if (!tf_mul_u64(&v, v, 10) || !tf_add_u64(&v, v, (uint64_t)(*s - '0')))
            return false;
    const uint64_t scale = *s == 'K' ? 1u << 10 : *s == 'M' ? 1u << 20 : *s == 'G' ? 1u << 30 : 1;
    if (scale > 1)
        s++;
    return *s == '\0' && tf_mul_u64(out, v, scale);
}

static const char *const limit_names[] = {
#define TF_X(name, text) #name,
    TF_LIMITS(TF_X)
#undef TF_X
};

static uint32_t lower(uint32_t have, uint64_t want) { return want < have ? (uint32_t)want : have; }

/* floor: the least value the library can work with. */
static bool apply_limit(tf_limits *l, const char *name, uint64_t v, uint64_t *floor)
{
    *floor = 0;
    if (strcmp(name, "range") == 0)            { *floor = 65536; l->storage_range = TF_MIN(l->storage_range, v); }
    else if (strcmp(name, "uniform") == 0)     { *floor = 16384; l->uniform_range = TF_MIN(l->uniform_range, v); }
    else if (strcmp(name, "shared") == 0)      { *floor = 16384; l->shared_bytes = lower(l->shared_bytes, v); }
    else if (strcmp(name, "bindings") == 0)    { *floor = 4;     l->storage_bindings = lower(l->storage_bindings, v); }
    else if (strcmp(name, "uniforms") == 0)    { *floor = 1;     l->uniform_bindings = lower(l->uniform_bindings, v); }
    else if (strcmp(name, "buffer") == 0)      { *floor = 65536; l->max_buffer = TF_MIN(l->max_buffer, v); }
    else if (strcmp(name, "recorded") == 0)    { *floor = 64;    l->recorded = lower(l->recorded, v); }
    else if (strcmp(name, "units") == 0)       l->units = v > UINT32_MAX ? UINT32_MAX : (uint32_t)v;
    else if (strcmp(name, "invocations") == 0) {
        *floor = 128;
        l->max_invocations = lower(l->max_invocations, v);
        for (int i = 0; i < 3; i++)
            l->max_local[i] = lower(l->max_local[i], v);
    } else if (strcmp(name, "groups") == 0) {
        *floor = 1;
        for (int i = 0; i < 3; i++)
            l->max_groups[i] = lower(l->max_groups[i], v);
    } else if (strcmp(name, "subgroup") == 0) {
        if (v == 0) { /* "size unknown": what a kernel must survive anywhere */
            clear_tier(l, "subgroup");
            l->subgroup_size = l->subgroup_min = l->subgroup_max = 0;
        }
    } else if (strcmp(name, "align") == 0) {
        *floor = 1;
        if (v <= 256 && (v & (v - 1)) == 0)
            l->storage_align = TF_MAX(l->storage_align, (uint32_t)v);
    } else
        return false;
    return true;
}

static bool apply_limits(tf_limits *l, const char *text, tf_fault *f)
{
    word w;
    for (const char *p = text ? text : ""; next_word(&p, &w);) {
        uint64_t v, floor;
        if (!parse_size(w.value, &v))
            return tf_fault_set(f, TUFF_E_ATTRIBUTE, "limit \"%s\" needs a size below 2^64 such as 64, 16K or 1M, \"%s\" was given", w.name, w.value);
        tf_limits next = *l;
        if (!apply_limit(&next, w.name, v, &floor))
            return unknown_word(f, "limit", w.name, limit_names, TF_COUNT(limit_names));
        if (strcmp(w.name, "align") == 0 && (v > 256 || (v & (v - 1))))
            return tf_fault_set(f, TUFF_E_ATTRIBUTE, "limit align=%s is no power of two from 1 to 256", w.value);
        if (strcmp(w.name, "subgroup") == 0 && v)
            return tf_fault_set(f, TUFF_E_ATTRIBUTE, "limit subgroup=%s: only 0, \"unknown\", can be set", w.value);
        if (v < floor)
            return tf_fault_set(f, TUFF_E_ATTRIBUTE, "limit %s=%s is below the least usable value %llu", w.name, w.value,
                                (unsigned long long)floor);
        *l = next;
    }
    return true;
}

tf_limits tf_caps_common(const tf_limits *l)
{
    static const char *const tiers[] = { "subgroup", "fp16", "int8", "int16", "coopmat" };
    static const uint32_t local[3] = { 128, 128, 64 };
    tf_limits out = *l;
    for (size_t i = 0; i < TF_COUNT(tiers); i++)
        clear_tier(&out, tiers[i]);
    for (int i = 0; i < 3; i++)
        out.max_local[i] = lower(out.max_local[i], local[i]);
    out.max_invocations = lower(out.max_invocations, 128);
    out.shared_bytes = lower(out.shared_bytes, 16384);
    out.subgroup_size = out.subgroup_min = out.subgroup_max = out.units = 0;
    out.cpu = out.uniform_loads = false;
    out.tuning = NULL;
    out.texel_bindings = 0;
    return out;
}

/* ---- planning ------------------------------------------------------------------------------------ */

static tf_limits reported_limits(const tf_snapshot *s)
{
    const VkPhysicalDeviceLimits *d = &s->limits;
    const uint32_t storage = TF_MIN(d->maxPerStageDescriptorStorageBuffers, d->maxDescriptorSetStorageBuffers);
    const uint32_t uniform = TF_MIN(d->maxPerStageDescriptorUniformBuffers, d->maxDescriptorSetUniformBuffers);
    tf_limits l = {
        .max_invocations = d->maxComputeWorkGroupInvocations,
        .shared_bytes = d->maxComputeSharedMemorySize,
        /* One resource of the stage's total stays free for the parameter block; a kernel has at most 64 bindings. */
        .storage_bindings = TF_MIN(TF_MIN(storage, d->maxPerStageResources - 1), 48),
        .uniform_bindings = TF_MIN(uniform, 15),
        .storage_range = d->maxStorageBufferRange,
        .uniform_range = d->maxUniformBufferRange,
        .texel_bindings = TF_MIN(TF_MIN(d->maxPerStageDescriptorSampledImages, d->maxDescriptorSetSampledImages), 16),
        .texel_range = 16 * (uint64_t)d->maxTexelBufferElements,
        /* One alignment serves bindings of all kinds. */
        .storage_align = (uint32_t)TF_MAX(TF_MAX(TF_MAX(d->minStorageBufferOffsetAlignment, d->minUniformBufferOffsetAlignment),
                                                 d->minTexelBufferOffsetAlignment), 4),
        .max_buffer = s->max_allocation,
        .subgroup_size = s->subgroup_size, .subgroup_min = s->subgroup_min, .subgroup_max = s->subgroup_max,
        .cpu = s->type == VK_PHYSICAL_DEVICE_TYPE_CPU,
        .subgroup_basic = s->subgroup_ops & VK_SUBGROUP_FEATURE_BASIC_BIT,
        .subgroup_vote = s->subgroup_ops & VK_SUBGROUP_FEATURE_VOTE_BIT,
        .subgroup_arithmetic = s->subgroup_ops & VK_SUBGROUP_FEATURE_ARITHMETIC_BIT,
        .subgroup_shuffle = s->subgroup_ops & VK_SUBGROUP_FEATURE_SHUFFLE_BIT,
        .subgroup_ballot = s->subgroup_ops & VK_SUBGROUP_FEATURE_BALLOT_BIT,
        .subgroup_control = s->subgroup_control,
        .storage16 = s->storage16, .storage8 = s->storage8,
        .f16 = s->f16, .i8 = s->i8, .i16 = s->i16, .i64 = s->i64, .f64 = s->f64,
        .coopmat = s->coopmat ? s->matrices : (tf_matrices){ 0 },
        .recorded = 1 << 16, /* a driver keeps up to 1 KiB for each */
        .units = s->units,
    };
    for (int i = 0; i < 3; i++) {
        l.max_local[i] = d->maxComputeWorkGroupSize[i];
        l.max_groups[i] = d->maxComputeWorkGroupCount[i];
    }
    return l;
}

static uint64_t apply_quirks(const tf_snapshot *s, tf_limits *l)
{
    uint64_t fired = 0;
    for (size_t i = 0; i < TF_COUNT(quirks); i++) {
        const quirk *q = &quirks[i];
        if (q->driver != s->driver_id || !strstr(s->name, q->name) || s->driver_version < q->first_bad ||
            (q->first_good && s->driver_version >= q->first_good))
            continue;
        if (q->apply(s, l))
            fired |= UINT64_C(1) << i;
    }
    return fired;
}

bool tf_caps_plan(const tf_snapshot *s, const char *toggles, const char *limits, tf_caps *out, tf_fault *f)
{
    *out = (tf_caps){ .quirks = 0 };
    if (!tf_caps_switches(toggles, &out->on, f))
        return false;
    const tf_limits reported = reported_limits(s);
    tf_limits *l = &out->limits;
    *l = reported;
    if (out->on.quirks)
        out->quirks = apply_quirks(s, l);
    word w;
    bool matrices = false;
    for (const char *p = toggles ? toggles : ""; next_word(&p, &w);) {
        matrices |= strcmp(w.name, "coopmat") == 0 && w.sign != '-';
        if (strcmp(w.name, "cpu") == 0)
            l->cpu = w.sign != '-';
        else if (strcmp(w.name, "uniform_loads") == 0)
            l->uniform_loads = w.sign != '-';
        else if (w.sign == '-')
            clear_tier(l, w.name);
        else
            copy_tier(l, &reported, w.name);
    }
    if (!l->cpu) /* GPUs load a vector at once from any buffer */
        l->texel_bindings = 0;
    out->on.cpu = l->cpu;
    out->on.uniform_loads = l->uniform_loads;
    if (!apply_limits(l, limits, f))
        return false;
    /* A CPU emulates them, slower than plain code, whatever class its kernels are: there they have to be asked for. */
    if (!l->f16 || !l->subgroup_control || !l->subgroup_size || (s->type == VK_PHYSICAL_DEVICE_TYPE_CPU && !matrices))
        l->coopmat = (tf_matrices){ 0 };
    return true;
}

bool tf_caps_floor(const char *toggles, const char *limits, tf_limits *out, tf_fault *f)
{
    tf_snapshot s = { .name = "floor", .type = VK_PHYSICAL_DEVICE_TYPE_OTHER, .max_allocation = 1u << 30, .compute = true, .timeline = true };
    s.limits.maxComputeWorkGroupInvocations = 128;
    s.limits.maxComputeSharedMemorySize = 16384;
    s.limits.maxPerStageDescriptorStorageBuffers = s.limits.maxDescriptorSetStorageBuffers = 4;
    s.limits.maxPerStageDescriptorUniformBuffers = s.limits.maxDescriptorSetUniformBuffers = 12;
    s.limits.maxPerStageResources = 128;
    s.limits.maxStorageBufferRange = 1u << 27;
    s.limits.maxUniformBufferRange = 16384;
    s.limits.minStorageBufferOffsetAlignment = s.limits.minUniformBufferOffsetAlignment = 256;
    for (int i = 0; i < 3; i++) {
        s.limits.maxComputeWorkGroupSize[i] = i < 2 ? 128 : 64;
        s.limits.maxComputeWorkGroupCount[i] = 65535;
    }
    tf_caps caps;
    if (!tf_caps_plan(&s, toggles, limits, &caps, f))
        return false;
    *out = caps.limits;
    return true;
}

/* ---- printing ------------------------------------------------------------------------------------ */

static const char *type_name(VkPhysicalDeviceType t)
{
    switch (t) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU: return "discrete GPU";
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU: return "integrated GPU";
    case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU: return "virtual GPU";
    case VK_PHYSICAL_DEVICE_TYPE_CPU: return "CPU";
    default: return "other";
    }
}

static void print_uuid(tf_str *out, const uint8_t uuid[VK_UUID_SIZE])
{
    for (uint32_t i = 0; i < VK_UUID_SIZE; i++)
        tf_str_printf(out, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", uuid[i]);
}

static void print_tiers(tf_str *out, const tf_limits *l)
{
    const struct { const char *name; bool on; } tiers[] = {
        { "subgroup basic", l->subgroup_basic }, { "vote", l->subgroup_vote }, { "arithmetic", l->subgroup_arithmetic },
        { "shuffle", l->subgroup_shuffle }, { "ballot", l->subgroup_ballot }, { "pinned size", l->subgroup_control },
        { "storage16", l->storage16 }, { "storage8", l->storage8 }, { "fp16", l->f16 }, { "int8", l->i8 },
        { "int16", l->i16 }, { "int64", l->i64 }, { "fp64", l->f64 },
        { "coopmat", l->coopmat.m },
    };
    const char *const heads[] = { "  has:     ", "  has not: " };
    for (int pass = 0; pass < 2; pass++) {
        bool any = false;
        for (size_t i = 0; i < TF_COUNT(tiers); i++)
            if (tiers[i].on == (pass == 0)) {
                tf_str_printf(out, "%s%s", any ? ", " : heads[pass], tiers[i].name);
                any = true;
            }
        if (any)
            tf_str_add(out, "\n");
    }
}

void tf_caps_print(const tf_snapshot *s, const tf_caps *c, tf_str *out)
{
    const tf_limits *l = &c->limits;
    char why[128];
    const char *below = tf_caps_below_floor(s, why, sizeof why);
    tf_str_printf(out, "%s (%s), Vulkan %u.%u.%u, driver %s %s\n  uuid:    ", s->name, type_name(s->type), VK_API_VERSION_MAJOR(s->api),
                  VK_API_VERSION_MINOR(s->api), VK_API_VERSION_PATCH(s->api), s->driver, s->driver_info);
    print_uuid(out, s->uuid);
    tf_str_add(out, "\n");
    if (below) {
        tf_str_printf(out, "  not usable: %s\n", below);
        return;
    }
    tf_str_printf(out, "  limits:  %u invocations, %u KiB shared, %u bindings, range %llu MiB, buffer %llu MiB, align %u, groups %u x %u x %u\n",
                  l->max_invocations, l->shared_bytes >> 10, l->storage_bindings, (unsigned long long)(l->storage_range >> 20),
                  (unsigned long long)(l->max_buffer >> 20), l->storage_align, l->max_groups[0], l->max_groups[1], l->max_groups[2]);
    tf_str_printf(out, "  lanes:   %u (%u to %u), units: %u%s\n", l->subgroup_size, l->subgroup_min, l->subgroup_max, l->units,
                  l->cpu ? ", kernels of the CPU class" : "");
    print_tiers(out, l);
    if (s->coopmat)
        tf_str_printf(out, "  coopmat: %u x %u x %u of f16, sums in f32%s\n", s->matrices.m, s->matrices.n, s->matrices.k, l->coopmat.m ? "" : "; off");
    for (size_t i = 0; i < TF_COUNT(quirks); i++)
        if (c->quirks >> i & 1)
            tf_str_printf(out, "  quirk:   %s (%s)\n", quirks[i].reason, quirks[i].link);
}
