/* cmd_explain.c - `tuff explain`: the plan that a device gets for a graph. */
#include "tool.h"

#include <stdlib.h>
#include <string.h>

#include "graph/plan.h"
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

/* What Vulkan promises of any device that tuff runs on, and no optional feature. */
static bool floor_limits(const tool_common *common, tf_limits *out)
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
    tf_fault fault = { TUFF_OK, "" };
    if (!tf_caps_plan(&s, common->toggles, common->limits, &caps, &fault)) {
        tool_error("%s", fault.text);
        return false;
    }
    *out = caps.limits;
    return true;
}

static int plan_for(tuff_graph *g, const explain_options *o, const tf_limits *limits, tuff_explain_format format)
{
    tf_plan *plan = NULL;
    const tf_compile_options options = { .no_fusion = o->no_fusion };
    if (tf_compile(g, limits, &options, NULL, &plan)) return tool_error("%s", tuff_graph_error(g));
    tf_str text;
    tf_str_init(&text, NULL);
    tf_plan_explain(plan, format, &text);
    if (text.data) fputs(text.data, stdout);
    tf_str_release(&text);
    tf_plan_destroy(plan);
    return TOOL_OK;
}

static int run(const void *options)
{
    const explain_options *o = options;
    if (o->json + o->dot + o->glsl > 1) return tool_usage("explain", "--json, --dot and --glsl exclude each other");
    const tuff_explain_format format = o->json ? TUFF_EXPLAIN_JSON : o->dot ? TUFF_EXPLAIN_DOT : o->glsl ? TUFF_EXPLAIN_GLSL : TUFF_EXPLAIN_TEXT;
    tuff_graph *g;
    int status = tool_read_graph(o->common.arguments.v[0], &o->params, &g);
    if (status) return status;
    tf_limits limits;
    if (o->common.device && !strcmp(o->common.device, "floor"))
        status = floor_limits(&o->common, &limits) ? TOOL_OK : TOOL_FAILED;
    else {
        tuff_device *dev;
        if (!(status = tool_open_device(&o->common, &dev))) {
            limits = dev->caps.limits;
            tuff_device_close(dev);
        }
    }
    if (!status) status = plan_for(g, o, &limits, format);
    tuff_graph_destroy(g);
    return status;
}

const tool_command tool_explain = {
    .name = "explain", .usage = "G.tuff [options]",
    .doc = "the compiled plan: kernels, what was fused and why not, algorithms, memory, barriers",
    .more = "--device floor plans for the least device that tuff supports and needs no driver.",
    .options = options_table, .option_count = TF_COUNT(options_table), .options_size = sizeof(explain_options), .least = 1, .most = 1, .run = run,
};
