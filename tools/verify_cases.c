/* verify_cases.c - `tuff verify --cases DIR`: reference cases on the device against the results that come with them.
 *
 * A case is a folder with case.json and .npy files. Its graph is built here; what needs the device runs in a child
 * process per case. A case without its expected file is computed and counts as good. */
#include "verify.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "graph/graph.h"
#include "graph/npy.h"

bool tf_make_directories(const char *path); /* runtime/os.h */

/* ---- the comparator ------------------------------------------------------------------------------------ */

typedef struct allowance { double rel_l2, max_abs; bool exact; } allowance;

static allowance allowance_of(const cJSON *root, const char *output)
{
    const cJSON *tolerance = cJSON_GetObjectItemCaseSensitive(root, "tolerance");
    const cJSON *own = cJSON_GetObjectItemCaseSensitive(tolerance, output);
    allowance a = { .rel_l2 = tool_json_number(tolerance, "rel_l2", 1e-5), .max_abs = tool_json_number(tolerance, "max_abs", INFINITY) };
    if (cJSON_IsNumber(own)) a.rel_l2 = own->valuedouble;
    if (cJSON_IsObject(own)) a.rel_l2 = tool_json_number(own, "rel_l2", a.rel_l2);
    if (!strncmp(output, "err_norm_", 9)) a.rel_l2 = tool_json_number(tolerance, "err_rel", a.rel_l2);
    a.exact = a.rel_l2 == 0.0 || cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(tolerance, "exact"));
    return a;
}

static bool same_kind(double got, double want)
{
    if (isnan(want)) return isnan(got);
    if (isinf(want)) return got == want;
    return isfinite(got);
}

/* NULL, or what is wrong. Both are dense elements of t. */
static const char *judge(tuff_dtype t, const void *got, const void *want, uint64_t n, allowance a, double *rel_l2, char *reason, size_t size)
{
    double error = 0.0, norm = 0.0;
    const bool whole = !tf_dtype_is_float(t) && t != TUFF_C64;
    for (uint64_t i = 0; i < n; i++) {
        double x[2] = { 0.0, 0.0 }, y[2] = { 0.0, 0.0 };
        x[0] = tf_load_element(t, got, i, &x[1]);
        y[0] = tf_load_element(t, want, i, &y[1]);
        for (int part = 0; part < 2; part++) {
            const bool different = !same_kind(x[part], y[part]) || ((whole || a.exact) && x[part] != y[part] && !isnan(y[part]));
            if (different || fabs(x[part] - y[part]) > a.max_abs) {
                snprintf(reason, size, "element %llu is %.9g, should be %.9g", (unsigned long long)i, x[part], y[part]);
                return reason;
            }
            if (!isfinite(y[part])) continue;
            error += (x[part] - y[part]) * (x[part] - y[part]);
            norm += y[part] * y[part];
        }
    }
    *rel_l2 = norm > 0.0 ? sqrt(error / norm) : sqrt(error);
    if (*rel_l2 <= a.rel_l2) return NULL;
    snprintf(reason, size, "relative L2 distance %.3g, allowed %.3g", *rel_l2, a.rel_l2);
    return reason;
}

/* ---- one case, in the child ------------------------------------------------------------------------------ */

typedef struct case_job {
    const verify_options *o;
    const char *folder, *name;
    const cJSON *root;
    const case_graph *graph;
    tf_arena *arena;
    cJSON *line;
    tuff_device *dev;
    tuff_graph *g;
    tuff_program *p;
} case_job;

static int case_fails(case_job *j, const char *format, ...) TF_PRINTF(2, 3);
static int case_fails(case_job *j, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    cJSON_AddStringToObject(j->line, "reason", text);
    return TOOL_FAILED;
}

static const char *file_of(case_job *j, const cJSON *item, const char *prefix)
{
    const char *file = tool_json_text(item, "file", NULL);
    return file ? tf_arena_printf(j->arena, "%s/%s", j->folder, file) : tf_arena_printf(j->arena, "%s/%s%s.npy", j->folder, prefix, item->string);
}

/* Graphs of the zoo declare all inputs: those that must be constants become so before the graph is compiled. */
static int make_constants(case_job *j)
{
    char message[512];
    const cJSON *input;
    cJSON_ArrayForEach(input, cJSON_GetObjectItemCaseSensitive(j->root, "inputs"))
    {
        tf_npy npy;
        const tf_port *port = tf_port_find(j->g, 1u << TF_PORT_INPUT, input->string);
        if (!port || !case_listed(j->graph->constants, input->string)) continue;
        if (tf_npy_read(file_of(j, input, "in_"), tf_type_of(j->g, port->value)->dtype, NULL, &npy, message, sizeof message)) return case_fails(j, "%s", message);
        const tuff_status status = tuff_make_const(j->g, input->string, npy.data, npy.bytes);
        tf_npy_release(&npy, NULL);
        if (status) return case_fails(j, "%s", tuff_graph_error(j->g));
    }
    return TOOL_OK;
}

static int write_inputs(case_job *j)
{
    char message[512];
    const cJSON *input;
    cJSON_ArrayForEach(input, cJSON_GetObjectItemCaseSensitive(j->root, "inputs"))
    {
        tf_npy npy;
        tuff_dtype t;
        if (case_listed(j->graph->constants, input->string)) continue;
        if (tuff_describe(j->p, input->string, NULL, &t, NULL)) return case_fails(j, "the graph has no input \"%s\"", input->string);
        if (tf_npy_read(file_of(j, input, "in_"), t, NULL, &npy, message, sizeof message)) return case_fails(j, "%s", message);
        const tuff_status status = tuff_write(j->p, input->string, npy.data, npy.bytes);
        tf_npy_release(&npy, NULL);
        if (status) return case_fails(j, "%s", tuff_program_error(j->p));
    }
    return TOOL_OK;
}

static tuff_dtype listed_dtype(const cJSON *output, tuff_dtype otherwise)
{
    const char *name = tool_json_text(output, "dtype", "");
    return !strcmp(name, "float32") && (tf_dtype_is_float(otherwise)) ? TUFF_F32 : !strcmp(name, "float16") && tf_dtype_is_float(otherwise) ? TUFF_F16 : otherwise;
}

static int save(case_job *j, const char *output, tuff_dtype t, const tuff_shape *shape, const void *data)
{
    char message[512];
    const char *folder = tf_arena_printf(j->arena, "%s/%s", j->o->save, j->name);
    const char *path = tf_arena_printf(j->arena, "%s/%s.npy", folder, output);
    if (!tf_make_directories(folder)) return case_fails(j, "folder %s could not be made", folder);
    return tf_npy_write(path, t, shape, data, NULL, message, sizeof message) ? case_fails(j, "%s", message) : TOOL_OK;
}

static int compare_file(case_job *j, const cJSON *output, const tf_npy *have, cJSON *result)
{
    char message[512];
    const char *path = file_of(j, output, "out_");
    tf_npy want;
    if (!tool_file_exists(path)) {
        cJSON_AddStringToObject(result, "note", "no expected file");
        return TOOL_OK;
    }
    if (tf_npy_read(path, have->dtype, NULL, &want, message, sizeof message)) return case_fails(j, "%s", message);
    bool same = want.shape.rank == have->shape.rank;
    for (int32_t i = 0; same && i < have->shape.rank; i++) same = want.shape.dim[i] == have->shape.dim[i];
    int status = TOOL_OK;
    double rel_l2 = 0.0;
    if (same) {
        const char *wrong = judge(have->dtype, have->data, want.data, (uint64_t)have->bytes * 8 / tf_dtype_bits(have->dtype),
                                  allowance_of(j->root, output->string), &rel_l2, message, sizeof message);
        cJSON_AddNumberToObject(result, "rel_l2", rel_l2);
        if (wrong) status = case_fails(j, "output \"%s\": %s", output->string, wrong);
    } else {
        tool_text a, b;
        status = case_fails(j, "output \"%s\" is %s, should be %s", output->string, tool_type(a, have->dtype, &have->shape), tool_type(b, want.dtype, &want.shape));
    }
    tf_npy_release(&want, NULL);
    return status;
}

/* The output in the dtype that the case lists. */
static int read_output(case_job *j, const char *name, const cJSON *output, tf_npy *out)
{
    size_t bytes;
    tuff_dtype t;
    if (tuff_describe(j->p, name, &bytes, &t, &out->shape)) return case_fails(j, "the graph has no output \"%s\"", name);
    const uint64_t n = (uint64_t)bytes * 8 / tf_dtype_bits(t);
    out->dtype = listed_dtype(output, t);
    out->bytes = (size_t)(n * tf_dtype_bits(out->dtype) / 8);
    void *raw = tf_arena_alloc(j->arena, bytes + 1);
    out->data = tf_arena_alloc(j->arena, out->bytes + 1);
    if (!raw || !out->data) return case_fails(j, "out of memory");
    if (tuff_read(j->p, name, raw, bytes)) return case_fails(j, "%s", tuff_program_error(j->p));
    for (uint64_t i = 0; i < n; i++) {
        double im = 0.0;
        const double re = tf_load_element(t, raw, i, &im);
        tf_store_element(out->dtype, out->data, i, re, im);
    }
    return TOOL_OK;
}

static int take_outputs(case_job *j)
{
    const cJSON *output;
    int status = TOOL_OK;
    cJSON *results = cJSON_AddObjectToObject(j->line, "outputs");
    cJSON_ArrayForEach(output, cJSON_GetObjectItemCaseSensitive(j->root, "outputs"))
    {
        tf_npy have;
        if (read_output(j, case_output_name(j->root, output->string, j->arena), output, &have)) return TOOL_FAILED;
        if (j->o->save && save(j, output->string, have.dtype, &have.shape, have.data)) return TOOL_FAILED;
        cJSON *result = cJSON_AddObjectToObject(results, output->string);
        if (case_listed(j->graph->informative, output->string))
            cJSON_AddStringToObject(result, "note", "informative");
        else if (compare_file(j, output, &have, result))
            status = TOOL_FAILED;
    }
    return status;
}

static int evaluate(case_job *j)
{
    char message[512];
    if (tuff_graph_parse(j->graph->text, strlen(j->graph->text),
                         &(tuff_parse_desc){ .name = j->name, .params = j->graph->params, .param_count = j->graph->param_count }, &j->g, message, sizeof message)) return case_fails(j, "%s", message);
    if (make_constants(j)) return TOOL_FAILED;
    if (j->graph->extend && !j->graph->extend(j->g, j->root)) return case_fails(j, "%s", tuff_graph_error(j->g));
    if (tool_open_device(&j->o->common, &j->dev)) return case_fails(j, "%s", tuff_device_error(NULL));
    if (tuff_compile(j->dev, j->g, NULL, &j->p)) return case_fails(j, "%s", tuff_graph_error(j->g));
    int status = write_inputs(j);
    if (!status && tuff_run(j->p)) status = case_fails(j, "%s", tuff_program_error(j->p));
    return status ? status : take_outputs(j);
}

static int work_case(void *user, FILE *out)
{
    case_job *j = user;
    j->line = cJSON_CreateObject();
    const int status = evaluate(j);
    cJSON_AddBoolToObject(j->line, "pass", !status);
    char *text = cJSON_PrintUnformatted(j->line);
    if (text) fprintf(out, "%s\n", text);
    cJSON_free(text);
    cJSON_Delete(j->line);
    tuff_program_destroy(j->p);
    tuff_graph_destroy(j->g);
    tuff_device_close(j->dev);
    return status;
}

/* ---- all cases ------------------------------------------------------------------------------------------- */

typedef struct cases_run {
    const verify_options *o;
    tf_arena *arena;
    verify_report report;
    tool_progress progress;
    uint32_t good, bad;
} cases_run;

static void take_line(void *user, const char *text)
{
    cJSON **line = user;
    cJSON_Delete(*line);
    *line = cJSON_Parse(text);
}

static void conclude(cases_run *r, const char *name, const char *op, cJSON *line)
{
    const bool pass = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(line, "pass"));
    const cJSON *output;
    tool_progress_end(&r->progress);
    printf("%-4s %-40s", pass ? "ok" : "FAIL", name);
    if (pass)
        cJSON_ArrayForEach(output, cJSON_GetObjectItemCaseSensitive(line, "outputs"))
        {
            const char *note = tool_json_text(output, "note", NULL);
            printf(" %s", output->string);
            if (note) printf(" (%s)", note);
            else printf(" %.2g", tool_json_number(output, "rel_l2", NAN));
        }
    else
        printf(" %s", tool_json_text(line, "reason", "?"));
    printf("\n");
    fflush(stdout);
    cJSON_AddStringToObject(line, "case", name);
    cJSON_AddStringToObject(line, "op", op);
    verify_report_line(&r->report, line);
    *(pass ? &r->good : &r->bad) += 1;
}

static void run_case(cases_run *r, const char *folder, const char *name)
{
    const char *path = tf_arena_printf(r->arena, "%s/case.json", folder);
    if (!path || verify_report_has(&r->report, name)) return;
    cJSON *line = NULL, *root = tool_read_json(path);
    case_graph graph = { .reason = "case.json could not be read" };
    if (root) case_graph_build(root, folder, r->arena, &graph);
    const char *op = tool_json_text(root, "op", "?"), *reason = NULL;
    tool_progress_show(&r->progress, "%s", name);
    if (graph.text) {
        case_job job = { .o = r->o, .folder = folder, .name = name, .root = root, .graph = &graph, .arena = r->arena };
        tool_child child;
        if (!tool_isolate(work_case, &job, take_line, &line, (double)r->o->seconds, &child)) exit(tool_error("no child process could be started"));
        if (child.end == TOOL_END_TIMEOUT) reason = "hang: the time limit passed";
        if (child.end == TOOL_END_CRASH) reason = "crash";
        if (!line && !reason) reason = "the case ended without a result";
    } else
        reason = graph.reason;
    if (reason) {
        cJSON_Delete(line);
        line = cJSON_CreateObject();
        cJSON_AddBoolToObject(line, "pass", false);
        cJSON_AddStringToObject(line, "reason", reason);
    }
    if (!cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(line, "pass")) && graph.text) cJSON_AddStringToObject(line, "graph", graph.text);
    conclude(r, name, op, line);
    cJSON_Delete(line);
    cJSON_Delete(root);
}

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

/* A case, or a folder of cases, or of such folders. */
static void walk(cases_run *r, const char *folder, int depth)
{
    const char *path = tf_arena_printf(r->arena, "%s/case.json", folder);
    tool_list folders = { 0 };
    if (path && tool_file_exists(path)) {
        run_case(r, folder, last_part(folder));
        return;
    }
    if (depth == 0 || !tool_folders(folder, r->arena, &folders)) return;
    for (uint32_t i = 0; i < folders.n; i++) {
        const char *inside = tf_arena_printf(r->arena, "%s/%s", folder, folders.v[i]);
        if (inside) walk(r, inside, depth - 1);
    }
}

int verify_cases(const verify_options *o)
{
    tf_arena arena;
    tf_arena_init(&arena, NULL);
    cases_run r = { .o = o, .arena = &arena };
    tool_progress_begin(&r.progress, &o->common);
    int status = verify_report_open(&r.report, o, "case", &arena);
    if (!status) status = verify_report_environment(&r.report, o);
    if (!status) walk(&r, o->cases, 2);
    if (!status && !r.good && !r.bad && !r.report.done.n)
        status = tool_error("there is no case.json in %s or in the folders below it", o->cases);
    else if (!status) {
        printf("%u cases pass, %u fail\n", r.good, r.bad);
        status = r.bad || r.report.failed ? TOOL_FAILED : TOOL_OK;
    }
    tf_arena_release(&arena);
    return status;
}
