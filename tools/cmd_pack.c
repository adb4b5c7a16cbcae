/* cmd_pack.c - `tuff pack`: a graph compiled ahead of time into a capsule, and capsules of several devices put into one. */
#include "tool.h"

#include <stdlib.h>

#include "graph/capsule.h"
#include "runtime/os.h"

enum { FILES = 16, VARIANTS = 64 };

typedef struct pack_options {
    tool_common common;
    tool_list constants, params;
    const char *out;
    bool no_fusion, relaxed, deterministic;
} pack_options;

static const tool_option options_table[] = {
    TOOL_OPTION(pack_options, out, "o", "FILE", TOOL_TEXT, "the capsule"),
    TOOL_OPTION(pack_options, constants, "const", "NAME=FILE.npy", TOOL_LIST, "make an input a constant"),
    TOOL_OPTION(pack_options, params, "param", "NAME=NUMBER", TOOL_LIST, "override a param of the file"),
    TOOL_OPTION(pack_options, no_fusion, "no-fusion", NULL, TOOL_FLAG, "one kernel per op"),
    TOOL_OPTION(pack_options, relaxed, "relaxed", NULL, TOOL_FLAG, "do not round f16 and bf16 inside fused chains"),
    TOOL_OPTION(pack_options, deterministic, "deterministic", NULL, TOOL_FLAG, "only the kernels that every device can run"),
};

static int pack_graph(const pack_options *o, const tool_file *file)
{
    tuff_graph *g = NULL;
    tuff_device *dev = NULL;
    tool_progress progress;
    int status = tool_parse(file, &o->params, &g);
    if (!status) status = tool_make_constants(g, &o->constants);
    if (!status) status = tool_open_device(&o->common, &dev);
    tool_progress_begin(&progress, &o->common);
    const tuff_compile_desc desc = { .no_fusion = o->no_fusion, .relaxed = o->relaxed, .deterministic = o->deterministic,
                                     .progress = progress.on ? tool_progress_compile : NULL, .progress_user = &progress };
    const bool failed = !status && tuff_pack(dev, g, &desc, o->out);
    tool_progress_end(&progress);
    if (failed) status = tool_error("%s", tuff_graph_error(g));
    tuff_device_close(dev);
    tuff_graph_destroy(g);
    return status;
}

/* All variants of all files; a device takes what suits it best wherever it stands. */
static int merge(const pack_options *o, const tool_file *files, uint32_t n)
{
    tf_plan *plans[VARIANTS];
    uint32_t count = 0;
    int status = TOOL_OK;
    tf_str text;
    tf_str_init(&text, NULL);
    for (uint32_t i = 0; !status && i < n; i++) {
        const char *damage;
        const uint32_t variants = tf_capsule_variants(files[i].data, files[i].size, &damage);
        if (!variants) status = tool_error("%s: %s", files[i].path, damage);
        for (uint32_t k = 0; !status && k < variants; k++) {
            if (count == VARIANTS)
                status = tool_error("%s: a capsule holds at most %d variants", files[i].path, VARIANTS);
            else if (tf_capsule_read(files[i].data, k, NULL, NULL, &plans[count], &text))
                status = tool_error("%s: %s", files[i].path, text.data ? text.data : "out of memory");
            else
                count++;
        }
    }
    text.n = 0;
    if (!status && !tf_capsule_write((const tf_plan *const *)plans, count, &text)) status = tool_error("out of memory");
    if (!status && !tf_file_replace(o->out, text.data, text.n, true)) status = tool_error("%s cannot be written", o->out);
    for (uint32_t i = 0; i < count; i++) tf_plan_destroy(plans[i]);
    tf_str_release(&text);
    return status;
}

static int run(const void *options)
{
    const pack_options *o = options;
    const tool_list *names = &o->common.arguments;
    tool_file files[FILES] = { 0 };
    uint32_t capsules = 0;
    int status = o->out ? TOOL_OK : tool_usage("pack", "-o FILE says where the capsule goes");
    for (uint32_t i = 0; !status && i < names->n; i++) {
        status = tool_read(names->v[i], &files[i]);
        capsules += files[i].capsule;
    }
    if (!status && capsules == names->n)
        status = merge(o, files, names->n);
    else if (!status)
        status = names->n == 1 ? pack_graph(o, files) : tool_usage("pack", "one graph, or several capsules");
    for (uint32_t i = 0; i < names->n; i++) tool_release(&files[i]);
    return status;
}

const tool_command tool_pack = {
    .name = "pack", .usage = "G.tuff|CAPSULE... -o FILE [options]", .doc = "compile a graph ahead of time, for programs without a shader compiler",
    .more = "The capsule holds kernels for devices like the one at hand and for any device. Capsules of one graph, made on several devices, become one "
            "that has\nthe kernels of all. `tuff run` and `tuff explain` take capsules too; an application loads them with tuff_program_load.",
    .options = options_table, .option_count = TF_COUNT(options_table), .options_size = sizeof(pack_options), .least = 1, .most = FILES, .run = run,
};
