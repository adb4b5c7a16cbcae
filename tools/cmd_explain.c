/* cmd_explain.c - `tuff explain`: the plan that a device gets for a graph. */
#include "tool.h"

#include <stdlib.h>
#include <string.h>

#include "graph/capsule.h"
#include "runtime/device.h"

typedef struct explain_options {
    tool_common common;
    tool_list params;
    bool json, dot, glsl, no_fusion;
} explain_options;

static const tool_option options_table[] = {
    TOOL_OPTION(explain_options, json, "json", NULL, TOOL_FLAG, "as JSON"),
    TOOL_OPTION(explain_options, dot, "dot", NULL, TOOL_FLAG, "as a graph for Graphviz"),
    TOOL_OPTION(explain_options, glsl, "glsl", NULL, TOOL_FLAG, "the kernels' text"),
    TOOL_OPTION(explain_options, params, "param", "NAME=NUMBER", TOOL_LIST, "override a param of the file"),
    TOOL_OPTION(explain_options, no_fusion, "no-fusion", NULL, TOOL_FLAG, "one kernel per op"),
};

static int floor_limits(const tool_common *common, tf_limits *out)
{
    tf_fault fault = { TUFF_OK, "" };
    return tf_caps_floor(common->toggles, common->limits, out, &fault) ? TOOL_OK : tool_error("%s", fault.text);
}

static int explain(const tf_plan *plan, tuff_explain_format format)
{
    tf_str text;
    tf_str_init(&text, NULL);
    tf_plan_explain(plan, format, &text);
    if (text.data) fputs(text.data, stdout);
    tf_str_release(&text);
    return TOOL_OK;
}

static int explain_graph(const tool_file *file, const explain_options *o, const tf_limits *limits, tuff_explain_format format)
{
    tf_plan *plan = NULL;
    tuff_graph *g = NULL;
    const tf_compile_options options = { .no_fusion = o->no_fusion };
    int status = tool_parse(file, &o->params, &g);
    if (!status) status = tf_compile(g, limits, &options, NULL, &plan) ? tool_error("%s", tuff_graph_error(g)) : explain(plan, format);
    tf_plan_destroy(plan);
    tuff_graph_destroy(g);
    return status;
}

static int explain_capsule(const tool_file *file, const tf_limits *limits, tuff_explain_format format)
{
    tf_plan *plan;
    tf_str why;
    tf_str_init(&why, NULL);
    const int status = tf_capsule_choose(file->data, file->size, limits, NULL, &plan, &why) ? tool_error("%s: %s", file->path, why.data ? why.data : "out of memory")
                                                                                            : explain(plan, format);
    tf_plan_destroy(plan);
    tf_str_release(&why);
    return status;
}

static int run(const void *options)
{
    const explain_options *o = options;
    if (o->json + o->dot + o->glsl > 1) return tool_usage("explain", "--json, --dot and --glsl exclude each other");
    const tuff_explain_format format = o->json ? TUFF_EXPLAIN_JSON : o->dot ? TUFF_EXPLAIN_DOT : o->glsl ? TUFF_EXPLAIN_GLSL : TUFF_EXPLAIN_TEXT;
    tf_limits limits;
    tool_file file;
    tuff_device *dev = NULL;
    int status = tool_read(o->common.arguments.v[0], &file);
    if (!status && o->common.device && !strcmp(o->common.device, "floor"))
        status = floor_limits(&o->common, &limits);
    else if (!status && !(status = tool_open_device(&o->common, &dev)))
        limits = dev->caps.limits;
    if (!status) status = file.capsule ? explain_capsule(&file, &limits, format) : explain_graph(&file, o, &limits, format);
    tuff_device_close(dev);
    tool_release(&file);
    return status;
}

const tool_command tool_explain = {
    .name = "explain", .usage = "G.tuff|G.capsule [options]",
    .doc = "the compiled plan: kernels, what was fused and why not, algorithms, memory, barriers",
    .more = "--device floor plans for the least device that tuff supports and needs no driver.",
    .options = options_table, .option_count = TF_COUNT(options_table), .options_size = sizeof(explain_options), .least = 1, .most = 1, .run = run,
};
