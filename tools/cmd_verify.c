/* cmd_verify.c - `tuff verify`: the options, and the report that both kinds of verification append to. */
#include "verify.h"

#include <stdlib.h>
#include <string.h>

static const tool_option options_table[] = {
    TOOL_OPTION(verify_options, json, "json", "FILE", TOOL_TEXT, "append the report to FILE: one JSON object per line"),
    TOOL_OPTION(verify_options, resume, "resume", NULL, TOOL_FLAG, "skip what FILE already holds"),
    TOOL_OPTION(verify_options, variants, "variant", "NAME", TOOL_LIST, "default, floor, other or matrices (see above); may be given several times"),
    TOOL_OPTION(verify_options, seconds, "seconds", "N", TOOL_COUNT, "time limit of one op or case; default 120"),
    TOOL_OPTION(verify_options, seed, "seed", "N", TOOL_COUNT, "seed of the random inputs; default 0"),
    TOOL_OPTION(verify_options, cases, "cases", "DIR", TOOL_TEXT, "run the reference cases below DIR (case.json and .npy files)"),
    TOOL_OPTION(verify_options, save, "save", "OUT", TOOL_TEXT, "with --cases: write OUT/<case>/<output>.npy"),
};

int verify_report_open(verify_report *r, const verify_options *o, const char *key, tf_arena *arena)
{
    *r = (verify_report){ .path = o->json, .arena = arena };
    if (o->resume && !o->json) return tool_usage("verify", "--resume needs --json");
    if (!o->json) return TOOL_OK;
    if (!o->resume) return tool_write_text(o->json, "", false) ? TOOL_OK : TOOL_FAILED;
    FILE *f = fopen(o->json, "rb");
    if (!f) return TOOL_OK;
    TF_ARRAY(const char *) names = { 0 };
    size_t cap = 1 << 20;
    char *line = tool_alloc(cap);
    while (fgets(line, (int)cap, f)) {
        cJSON *json = cJSON_Parse(line);
        const char *name = tool_json_text(json, key, NULL);
        const char **slot = name ? tf_push(arena, &names) : NULL;
        if (slot) *slot = tf_arena_string(arena, name);
        cJSON_Delete(json);
    }
    free(line);
    fclose(f);
    r->done = (tool_list){ names.data, names.n };
    return TOOL_OK;
}

void verify_report_line(verify_report *r, const cJSON *line)
{
    if (!r->path || r->failed) return;
    char *text = cJSON_PrintUnformatted(line);
    char *full = text ? tf_arena_printf(r->arena, "%s\n", text) : NULL;
    r->failed = !full || !tool_write_text(r->path, full, true);
    cJSON_free(text);
}

bool verify_report_has(const verify_report *r, const char *name)
{
    for (uint32_t i = 0; i < r->done.n; i++)
        if (!strcmp(r->done.v[i], name)) return true;
    return false;
}

/* ---- the environment -------------------------------------------------------------------------------- */

static int describe_environment(void *user, FILE *out)
{
    const verify_options *o = user;
    tuff_device *dev;
    if (tool_open_device(&o->common, &dev)) return TOOL_FAILED;
    cJSON *line = cJSON_CreateObject();
    cJSON_AddItemToObject(line, "environment", tool_environment(dev, &o->common));
    cJSON_AddStringToObject(line, "name", tuff_device_name(dev));
    char *text = cJSON_PrintUnformatted(line);
    if (text) fprintf(out, "%s\n", text);
    cJSON_free(text);
    cJSON_Delete(line);
    tuff_device_close(dev);
    return TOOL_OK;
}

static void take_environment(void *user, const char *text)
{
    verify_report *r = user;
    cJSON *line = cJSON_Parse(text);
    const char *name = tool_json_text(line, "name", NULL);
    if (name) printf("%s\n", name);
    if (line && !r->done.n) verify_report_line(r, line);
    cJSON_Delete(line);
}

int verify_report_environment(verify_report *r, const verify_options *o)
{
    tool_child child;
    if (!tool_isolate(describe_environment, (void *)(uintptr_t)o, take_environment, r, 60.0, &child)) return tool_error("no child process could be started");
    if (child.end == TOOL_END_TIMEOUT) return tool_error("the device did not open within 60 seconds");
    if (child.end == TOOL_END_CRASH) return tool_error("opening the device ended with signal %d", child.code);
    return child.code;
}

static int run(const void *options)
{
    verify_options o = *(const verify_options *)options;
    if (!o.seconds) o.seconds = 120;
    if (o.save && !o.cases) return tool_usage("verify", "--save needs --cases");
    if (o.cases && o.common.arguments.n) return tool_usage("verify", "ops and --cases exclude each other");
    return o.cases ? verify_cases(&o) : verify_ops(&o);
}

const tool_command tool_verify = {
    .name = "verify", .usage = "[OP...] [options]", .doc = "each operator and kernel variant on this device against the CPU reference",
    .more = "Every op runs in a process of its own, so that a crash, a hang or a lost device is a result like any other. Four variants: `default`, what\n"
            "this device gets; `floor`, the least limits and no optional feature; `other`, the kernels of the other class (GPU or CPU); `matrices`,\n"
            "cooperative matrices wherever they can be used, on devices that have them. The report holds the device, the results, and the text of\n"
            "kernels that fail.",
    .options = options_table, .option_count = TF_COUNT(options_table), .options_size = sizeof(verify_options), .most = 1000, .run = run,
};
