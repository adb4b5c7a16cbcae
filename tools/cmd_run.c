/* cmd_run.c - `tuff run`: a graph on a device, with inputs from .npy files or random, results into .npy files or as a
 * summary, timing, a profile per kernel, and a trace for chrome://tracing or Perfetto. */
#include "tool.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "graph/npy.h"
#include "runtime/program.h"

typedef struct run_options {
    tool_common common;
    tool_list in, constants, out, dims, scalars, params;
    uint64_t seed, repeat;
    bool profile, no_fusion, relaxed, deterministic;
    const char *trace;
} run_options;

static const tool_option options_table[] = {
    TOOL_OPTION(run_options, in, "in", "NAME=FILE.npy", TOOL_LIST, "contents of an input or state"),
    TOOL_OPTION(run_options, constants, "const", "NAME=FILE.npy", TOOL_LIST, "make an input a constant: what runs when the graph is compiled needs it"),
    TOOL_OPTION(run_options, out, "out", "NAME=FILE.npy", TOOL_LIST, "write an output or state"),
    TOOL_OPTION(run_options, dims, "dim", "NAME=N", TOOL_LIST, "set a dynamic dim; default: its bound"),
    TOOL_OPTION(run_options, scalars, "scalar", "NAME=X", TOOL_LIST, "set a scalar"),
    TOOL_OPTION(run_options, params, "param", "NAME=NUMBER", TOOL_LIST, "override a param of the file"),
    TOOL_OPTION(run_options, seed, "seed", "N", TOOL_COUNT, "seed of the inputs that are not given; default 0"),
    TOOL_OPTION(run_options, repeat, "repeat", "N", TOOL_COUNT, "run N times and print least and median time"),
    TOOL_OPTION(run_options, profile, "profile", NULL, TOOL_FLAG, "time of each kernel"),
    TOOL_OPTION(run_options, trace, "trace", "FILE.json", TOOL_TEXT, "kernels on a time line, in Chrome's trace format"),
    TOOL_OPTION(run_options, no_fusion, "no-fusion", NULL, TOOL_FLAG, "one kernel per op"),
    TOOL_OPTION(run_options, relaxed, "relaxed", NULL, TOOL_FLAG, "do not round f16 and bf16 inside fused chains"),
    TOOL_OPTION(run_options, deterministic, "deterministic", NULL, TOOL_FLAG, "the kernels that every device can run, for comparing devices"),
};

typedef struct session {
    const run_options *o;
    tf_arena arena;
    tool_file file;
    tuff_graph *g;
    tuff_device *dev;
    tuff_program *p;
} session;

static const char *value_for(session *s, const tool_list *list, const char *name)
{
    const char *found = NULL, *key, *value;
    for (uint32_t i = 0; i < list->n; i++)
        if (tool_pair(&s->arena, list->v[i], &key, &value) && !strcmp(key, name)) found = value;
    return found;
}

/* ---- settings --------------------------------------------------------------------------------------- */

static int set_dims(session *s)
{
    const char *name, *value;
    for (uint32_t i = 0; i < s->o->dims.n; i++) {
        int64_t n;
        if (!tool_pair(&s->arena, s->o->dims.v[i], &name, &value) || !tool_integer(value, &n))
            return tool_usage("run", "--dim %s: the value must be a whole number", s->o->dims.v[i]);
        if (tuff_set_dim(s->p, name, n)) return tool_error("%s", tuff_program_error(s->p));
    }
    return TOOL_OK;
}

static int set_scalars(session *s)
{
    const char *name, *value;
    for (uint32_t i = 0; i < s->o->scalars.n; i++) {
        char *end = NULL;
        if (!tool_pair(&s->arena, s->o->scalars.v[i], &name, &value)) continue;
        const double x = strtod(value, &end);
        if (end == value || *end) return tool_usage("run", "--scalar %s: the value must be a number", s->o->scalars.v[i]);
        if (tuff_set_scalar(s->p, name, x)) return tool_error("%s", tuff_program_error(s->p));
    }
    return TOOL_OK;
}

/* kinds: bit 1 << tf_port_kind of what would have done. */
static int unknown_port(const session *s, const char *option, const char *name, unsigned kinds)
{
    const char *names[64];
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->p->plan->ports.n && n < TF_COUNT(names); i++)
        if ((kinds >> s->p->plan->ports.data[i].kind & 1) && s->p->plan->ports.data[i].name) names[n++] = s->p->plan->ports.data[i].name;
    const char *near = tf_suggest(name, names, n), *what = kinds >> TF_PORT_INPUT & 1 ? "input" : "output";
    if (near) return tool_error("%s: the graph has no %s or state \"%s\"; did you mean \"%s\"?", option, what, name, near);
    return tool_error("%s: the graph has no %s or state \"%s\"", option, what, name);
}

/* ---- inputs ----------------------------------------------------------------------------------------- */

static int write_file(session *s, const char *name, const char *path)
{
    char message[1024];
    tuff_dtype dtype;
    tuff_shape shape;
    size_t bytes;
    if (tuff_describe(s->p, name, &bytes, &dtype, &shape)) return unknown_port(s, "--in", name, 1u << TF_PORT_INPUT | 1u << TF_PORT_STATE);
    tf_npy npy;
    if (tf_npy_read(path, dtype, NULL, &npy, message, sizeof message)) return tool_error("%s", message);
    int status = TOOL_OK;
    bool same = npy.shape.rank == shape.rank;
    for (int32_t i = 0; same && i < shape.rank; i++) same = npy.shape.dim[i] == shape.dim[i];
    tool_text have, need;
    if (!same)
        status = tool_error("%s holds %s, input \"%s\" needs %s", path, tool_type(have, npy.dtype, &npy.shape), name, tool_type(need, dtype, &shape));
    else if (tuff_write(s->p, name, npy.data, npy.bytes))
        status = tool_error("%s", tuff_program_error(s->p));
    tf_npy_release(&npy, NULL);
    return status;
}

static int write_random(session *s, const char *name)
{
    size_t bytes;
    tuff_dtype dtype;
    if (tuff_describe(s->p, name, &bytes, &dtype, NULL)) return tool_error("%s", tuff_program_error(s->p));
    void *data = tool_alloc(bytes);
    tool_fill(s->o->seed, name, dtype, data, (uint64_t)bytes * 8 / tf_dtype_bits(dtype));
    const tuff_status status = tuff_write(s->p, name, data, bytes);
    free(data);
    return status ? tool_error("%s", tuff_program_error(s->p)) : TOOL_OK;
}

static int write_inputs(session *s)
{
    const char *name, *path;
    int status = TOOL_OK;
    for (uint32_t i = 0; !status && i < s->o->in.n; i++)
        if (tool_pair(&s->arena, s->o->in.v[i], &name, &path)) status = write_file(s, name, path);
    tf_str random;
    tf_str_init(&random, NULL);
    for (uint32_t i = 0; !status && i < s->p->plan->ports.n; i++) {
        const tf_plan_port *port = &s->p->plan->ports.data[i];
        if (port->kind != TF_PORT_INPUT || value_for(s, &s->o->in, port->name)) continue;
        status = write_random(s, port->name);
        tf_str_printf(&random, "%s%s", random.n ? ", " : "", port->name);
    }
    if (!status && random.n && !s->o->common.quiet)
        fprintf(stderr, "tuff: random numbers (seed %llu) for %s\n", (unsigned long long)s->o->seed, random.data);
    tf_str_release(&random);
    return status;
}

/* ---- results ---------------------------------------------------------------------------------------- */

static void print_summary(const char *name, tuff_dtype dtype, const tuff_shape *shape, const void *data, uint64_t n)
{
    double sum = 0.0, least = INFINITY, most = -INFINITY;
    uint64_t odd = 0;
    for (uint64_t i = 0; i < n; i++) {
        double im = 0.0, x = tf_load_element(dtype, data, i, &im);
        if (dtype == TUFF_C64) x = hypot(x, im);
        if (!isfinite(x)) {
            odd++;
            continue;
        }
        sum += x;
        least = fmin(least, x);
        most = fmax(most, x);
    }
    tool_text type;
    printf("%s %s", name, tool_type(type, dtype, shape));
    if (n > odd) printf("  %smean %.6g, least %.6g, most %.6g", dtype == TUFF_C64 ? "modulus: " : "", sum / (double)(n - odd), least, most);
    if (odd) printf("%s%llu not finite", n > odd ? ", " : "  ", (unsigned long long)odd);
    putchar('\n');
}

static int read_result(session *s, const char *name, const char *path)
{
    char message[1024];
    tuff_dtype dtype;
    tuff_shape shape;
    size_t bytes;
    if (tuff_describe(s->p, name, &bytes, &dtype, &shape)) return unknown_port(s, "--out", name, 1u << TF_PORT_OUTPUT | 1u << TF_PORT_STATE);
    void *data = tool_alloc(bytes);
    int status = TOOL_OK;
    if (tuff_read(s->p, name, data, bytes))
        status = tool_error("%s", tuff_program_error(s->p));
    else if (!path)
        print_summary(name, dtype, &shape, data, (uint64_t)bytes * 8 / tf_dtype_bits(dtype));
    else if (tf_npy_write(path, dtype, &shape, data, NULL, message, sizeof message))
        status = tool_error("%s", message);
    free(data);
    return status;
}

static int read_results(session *s)
{
    const char *name, *path;
    int status = TOOL_OK;
    for (uint32_t i = 0; !status && i < s->o->out.n; i++)
        if (tool_pair(&s->arena, s->o->out.v[i], &name, &path)) status = read_result(s, name, path);
    for (uint32_t i = 0; !status && i < s->p->plan->ports.n; i++) {
        const tf_plan_port *port = &s->p->plan->ports.data[i];
        if (port->kind == TF_PORT_OUTPUT && !value_for(s, &s->o->out, port->name)) status = read_result(s, port->name, NULL);
    }
    return status;
}

/* ---- timing ----------------------------------------------------------------------------------------- */

static int run_times(session *s)
{
    const uint32_t n = s->o->repeat ? (uint32_t)TF_MIN(s->o->repeat, 1000000) : 1;
    double *ms = tool_alloc(n * sizeof *ms);
    int status = TOOL_OK;
    tool_progress progress;
    tool_progress_begin(&progress, &s->o->common);
    for (uint32_t i = 0; !status && i < n; i++) {
        const uint64_t start = tf_clock_ns();
        if (tuff_run(s->p)) status = tool_error("%s", tuff_program_error(s->p));
        ms[i] = (double)(tf_clock_ns() - start) * 1e-6;
        tool_progress_show(&progress, "run %u/%u", i + 1, n);
    }
    tool_progress_end(&progress);
    if (!status && s->o->repeat) {
        tool_text first, least, median;
        tool_time(first, ms[0]);
        qsort(ms, n, sizeof *ms, tool_compare_doubles);
        printf("first run %s, least %s, median %s of %u runs on %s\n", first, tool_time(least, ms[0]), tool_time(median, tool_percentile(ms, n, 0.5)), n,
               tuff_device_name(s->dev));
    }
    free(ms);
    return status;
}

static const char *step_name(const tf_plan *plan, const tf_step *step)
{
    if (step->kind == TF_STEP_DISPATCH || step->kind == TF_STEP_DISPATCH_INDIRECT) return plan->kernels.data[step->kernel].name;
    return step->label ? step->label : step->kind == TF_STEP_COPY ? "copy" : "fill";
}

static void print_profile(const tf_plan *plan, const double *ns, double whole)
{
    double sum = 0.0;
    for (uint32_t i = 0; i < plan->steps.n; i++) sum += ns[i];
    printf("%10s %6s %9s %9s  kernel\n", "time", "share", "GB/s", "GFLOP/s");
    for (uint32_t i = 0; i < plan->steps.n; i++) {
        const tf_step *step = &plan->steps.data[i];
        tool_text time;
        printf("%10s %5.1f%% %9.3g %9.3g  %s\n", tool_time(time, ns[i] * 1e-6), sum > 0.0 ? 100.0 * ns[i] / sum : 0.0,
               ns[i] > 0.0 ? (double)step->bytes / ns[i] : 0.0, ns[i] > 0.0 ? (double)step->flops / ns[i] : 0.0, step_name(plan, step));
    }
    tool_text all, alone;
    printf("the whole run takes %s, its kernels one by one %s\n", tool_time(all, whole * 1e-6), tool_time(alone, sum * 1e-6));
}

static bool write_trace(const char *path, const tf_plan *plan, const double *ns, const char *device)
{
    cJSON *root = cJSON_CreateObject(), *events = cJSON_AddArrayToObject(root, "traceEvents");
    double at = 0.0;
    for (uint32_t i = 0; i < plan->steps.n; i++) {
        const tf_step *step = &plan->steps.data[i];
        cJSON *e = cJSON_CreateObject(), *args = cJSON_CreateObject();
        cJSON_AddStringToObject(e, "name", step_name(plan, step));
        cJSON_AddStringToObject(e, "ph", "X");
        cJSON_AddNumberToObject(e, "pid", 1);
        cJSON_AddNumberToObject(e, "tid", 1);
        cJSON_AddNumberToObject(e, "ts", at * 1e-3);
        cJSON_AddNumberToObject(e, "dur", ns[i] * 1e-3);
        cJSON_AddNumberToObject(args, "wave", step->wave);
        cJSON_AddNumberToObject(args, "bytes", (double)step->bytes);
        cJSON_AddNumberToObject(args, "flops", (double)step->flops);
        cJSON_AddItemToObject(e, "args", args);
        cJSON_AddItemToArray(events, e);
        at += ns[i];
    }
    cJSON_AddStringToObject(root, "displayTimeUnit", "ns");
    cJSON_AddStringToObject(root, "device", device);
    const bool good = tool_write_json(path, root);
    cJSON_Delete(root);
    return good;
}

static int profile(session *s)
{
    const tf_plan *plan = s->p->plan;
    if (!s->o->profile && !s->o->trace) return TOOL_OK;
    if (!plan->steps.n) return tool_error("the graph has no kernel to profile");
    double *ns = tool_alloc(plan->steps.n * sizeof *ns), whole = 0.0;
    const uint32_t repeats = s->o->repeat ? (uint32_t)TF_MIN(s->o->repeat, 1000) : 5;
    int status = TOOL_OK;
    if (tf_program_profile(s->p, repeats, ns, &whole)) status = tool_error("%s", tuff_program_error(s->p));
    if (!status && s->o->profile) print_profile(plan, ns, whole);
    if (!status && s->o->trace && !write_trace(s->o->trace, plan, ns, tuff_device_name(s->dev))) status = TOOL_FAILED;
    free(ns);
    return status;
}

/* ---- the command ------------------------------------------------------------------------------------- */

static int compile(session *s)
{
    const tuff_compile_desc desc = { .no_fusion = s->o->no_fusion, .relaxed = s->o->relaxed, .deterministic = s->o->deterministic };
    int status = tool_parse(&s->file, &s->o->params, &s->g);
    if (!status) status = tool_make_constants(s->g, &s->o->constants);
    if (!status) status = tool_open_device(&s->o->common, &s->dev);
    if (!status) status = tool_compile(s->dev, s->g, &desc, &s->o->common, &s->p);
    return status;
}

static int load(session *s)
{
    char message[1024];
    if (s->o->params.n || s->o->constants.n || s->o->no_fusion || s->o->relaxed || s->o->deterministic)
        return tool_usage("run", "%s is a capsule, compiled before: --param, --const, --no-fusion, --relaxed and --deterministic come too late", s->file.path);
    const int status = tool_open_device(&s->o->common, &s->dev);
    if (!status && tuff_program_load(s->dev, s->file.data, s->file.size, NULL, &s->p, message, sizeof message))
        return tool_error("%s: %s", s->file.path, message);
    return status;
}

static int run_session(session *s)
{
    int status = tool_read(s->o->common.arguments.v[0], &s->file);
    if (!status) status = s->file.capsule ? load(s) : compile(s);
    if (!status) status = set_dims(s);
    if (!status) status = set_scalars(s);
    if (!status) status = write_inputs(s);
    if (!status) status = run_times(s);
    if (!status) status = read_results(s);
    return status ? status : profile(s);
}

static int run(const void *options)
{
    session s = { .o = options };
    tf_arena_init(&s.arena, NULL);
    const int status = run_session(&s);
    tuff_program_destroy(s.p);
    tuff_device_close(s.dev);
    tuff_graph_destroy(s.g);
    tool_release(&s.file);
    tf_arena_release(&s.arena);
    return status;
}

const tool_command tool_run = {
    .name = "run", .usage = "G.tuff|G.capsule [options]", .doc = "run a graph",
    .more = "Inputs that are not given are filled with random numbers: normal floats, whole numbers from 0 to 8, both booleans; --seed "
            "chooses them.\nOutputs that are not written to a file are summed up on stdout.\n--profile and --trace run the graph again, so states move on.",
    .options = options_table, .option_count = TF_COUNT(options_table), .options_size = sizeof(run_options), .least = 1, .most = 1, .run = run,
};
