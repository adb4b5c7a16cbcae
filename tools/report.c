/* report.c - the environment record of reports, and JSON to and from files. */
#include "tool.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/device.h"

/* "  quirk:   reason (link)" lines of the device's description. */
static cJSON *fired_quirks(const tuff_device *dev)
{
    cJSON *list = cJSON_CreateArray();
    tf_str text;
    tf_str_init(&text, NULL);
    tf_caps_print(&dev->snapshot, &dev->caps, &text);
    static const char head[] = "  quirk:   ";
    for (const char *p = text.data; p && (p = strstr(p, head));) {
        p += sizeof head - 1;
        char line[512];
        snprintf(line, sizeof line, "%.*s", (int)strcspn(p, "\n"), p);
        cJSON_AddItemToArray(list, cJSON_CreateString(line));
    }
    tf_str_release(&text);
    return list;
}

static cJSON *tiers_of(const tf_limits *l)
{
    const struct { const char *name; bool on; } tiers[] = {
        { "subgroup_basic", l->subgroup_basic }, { "subgroup_vote", l->subgroup_vote }, { "subgroup_arithmetic", l->subgroup_arithmetic },
        { "subgroup_shuffle", l->subgroup_shuffle }, { "subgroup_ballot", l->subgroup_ballot }, { "subgroup_control", l->subgroup_control },
        { "storage16", l->storage16 }, { "storage8", l->storage8 }, { "fp16", l->f16 }, { "int8", l->i8 }, { "int16", l->i16 },
        { "int64", l->i64 }, { "fp64", l->f64 }, { "texels", l->texel_bindings > 0 }, { "coopmat", l->coopmat.m }, { "cpu", l->cpu },
    };
    cJSON *list = cJSON_CreateArray();
    for (size_t i = 0; i < TF_COUNT(tiers); i++)
        if (tiers[i].on) cJSON_AddItemToArray(list, cJSON_CreateString(tiers[i].name));
    return list;
}

static cJSON *limits_of(const tf_limits *l)
{
    cJSON *o = cJSON_CreateObject();
    cJSON_AddNumberToObject(o, "invocations", l->max_invocations);
    cJSON_AddNumberToObject(o, "shared_bytes", l->shared_bytes);
    cJSON_AddNumberToObject(o, "storage_bindings", l->storage_bindings);
    cJSON_AddNumberToObject(o, "uniform_bindings", l->uniform_bindings);
    cJSON_AddNumberToObject(o, "storage_range", (double)l->storage_range);
    cJSON_AddNumberToObject(o, "uniform_range", (double)l->uniform_range);
    cJSON_AddNumberToObject(o, "storage_align", l->storage_align);
    cJSON_AddNumberToObject(o, "max_buffer", (double)l->max_buffer);
    cJSON_AddNumberToObject(o, "max_groups", l->max_groups[0]);
    cJSON_AddNumberToObject(o, "subgroup_size", l->subgroup_size);
    cJSON_AddNumberToObject(o, "subgroup_min", l->subgroup_min);
    cJSON_AddNumberToObject(o, "subgroup_max", l->subgroup_max);
    cJSON_AddNumberToObject(o, "units", l->units);
    return o;
}

static cJSON *driver_of(const tf_snapshot *s)
{
    char text[64];
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "name", s->name);
    cJSON_AddStringToObject(o, "driver", s->driver);
    cJSON_AddStringToObject(o, "driver_info", s->driver_info);
    cJSON_AddNumberToObject(o, "driver_id", (double)s->driver_id);
    snprintf(text, sizeof text, "0x%08x", s->driver_version);
    cJSON_AddStringToObject(o, "driver_version", text);
    snprintf(text, sizeof text, "%04x:%04x", s->vendor, s->device);
    cJSON_AddStringToObject(o, "pci", text);
    snprintf(text, sizeof text, "%u.%u.%u", VK_API_VERSION_MAJOR(s->api), VK_API_VERSION_MINOR(s->api), VK_API_VERSION_PATCH(s->api));
    cJSON_AddStringToObject(o, "vulkan", text);
    return o;
}

cJSON *tool_environment(const tuff_device *dev, const tool_common *common)
{
    char text[256];
    const uint32_t v = tuff_version();
    cJSON *o = cJSON_CreateObject();
    snprintf(text, sizeof text, "%u.%u.%u", v / 1000000, v / 1000 % 1000, v % 1000);
    cJSON_AddStringToObject(o, "tuff", text);
    tool_date(text, sizeof text);
    cJSON_AddStringToObject(o, "date", text);
    tool_system_name(text, sizeof text);
    cJSON_AddStringToObject(o, "system", text);
    cJSON_AddNumberToObject(o, "cores", tf_cores());
    cJSON_AddStringToObject(o, "compiler", tf_jit_version() ? tf_jit_version() : "none");
    cJSON_AddItemToObject(o, "device", driver_of(&dev->snapshot));
    cJSON_AddItemToObject(o, "limits", limits_of(&dev->caps.limits));
    cJSON_AddItemToObject(o, "tiers", tiers_of(&dev->caps.limits));
    cJSON_AddItemToObject(o, "quirks", fired_quirks(dev));
    if (common->toggles) cJSON_AddStringToObject(o, "toggles", common->toggles);
    if (common->limits) cJSON_AddStringToObject(o, "artificial_limits", common->limits);
    return o;
}

/* ---- files ---------------------------------------------------------------------------------------- */

bool tool_write_text(const char *path, const char *text, bool append)
{
    const bool standard = !strcmp(path, "-");
    FILE *f = standard ? stdout : fopen(path, append ? "ab" : "wb");
    bool good = f && fputs(text, f) >= 0;
    if (f && !standard) good = !fclose(f) && good;
    if (!good) tool_error("%s could not be written", path);
    return good;
}

bool tool_write_json(const char *path, const cJSON *json)
{
    char *text = cJSON_Print(json);
    if (!text) return tool_error("out of memory"), false;
    const bool good = tool_write_text(path, text, false) && (strcmp(path, "-") != 0 || puts("") >= 0);
    cJSON_free(text);
    return good;
}

cJSON *tool_read_json(const char *path)
{
    FILE *f = fopen(path, "rb");
    size_t n = 0, cap = 1 << 16, got;
    char *text = tool_alloc(cap);
    while (f && (got = fread(text + n, 1, cap - n - 1, f)) > 0) {
        n += got;
        if (cap - n > 1) continue;
        char *more = realloc(text, cap *= 2);
        if (!more) exit(tool_error("out of memory"));
        text = more;
    }
    text[n] = '\0';
    const bool read = f && !ferror(f);
    if (f) fclose(f);
    const char *end = NULL;
    cJSON *json = read ? cJSON_ParseWithOpts(text, &end, false) : NULL;
    if (!read)
        tool_error("%s could not be read", path);
    else if (!json) {
        uint32_t line = 1;
        for (const char *p = text; end && p < end; p++) line += *p == '\n';
        tool_error("%s:%u: this is no JSON", path, line);
    }
    free(text);
    return json;
}

double tool_json_number(const cJSON *object, const char *name, double otherwise)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    return cJSON_IsNumber(item) ? item->valuedouble : otherwise;
}

const char *tool_json_text(const cJSON *object, const char *name, const char *otherwise)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    return cJSON_IsString(item) ? item->valuestring : otherwise;
}
