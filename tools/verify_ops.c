/* verify_ops.c - every op on the device against its reference.
 *
 * A case is a small graph in text form around one op: pointwise rows give theirs over dtypes, shapes and ranges of
 * values; the others come from the table that the tests use, repeated with narrower floats. A child process
 * opens the device once per variant, runs all cases of one op and reports each by a line of JSON; this process
 * adds them up. A "begin" line before each case tells which one ended the child. */
#include "verify.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "graph/compare.h"
#include "graph/interp.h"
#include "runtime/device.h"
#include "tests/op_cases.h"

/* ---- variants --------------------------------------------------------------------------------------- */

typedef struct variant { const char *name, *toggles, *limits; } variant;

static const variant variants[] = {
    { "default", NULL, NULL },
    { "floor", "-subgroup,-storage16,-storage8,-fp16,-int8,-int16,-int64", "invocations=128,shared=16K,bindings=4" },
    { "other", NULL, NULL }, /* +cpu or -cpu, whatever the device is not */
    { "matrices", "+coopmat", "units=1" }, /* cooperative ones, in large tiles: cases whose plan has them */
};

static bool variant_wanted(const verify_options *o, const char *name)
{
    for (uint32_t i = 0; i < o->variants.n; i++)
        if (!strcmp(o->variants.v[i], name)) return true;
    return o->variants.n == 0;
}

static const char *joined(tf_arena *arena, const char *a, const char *b)
{
    return !a ? b : !b ? a : tf_arena_printf(arena, "%s,%s", a, b);
}

/* ---- cases ------------------------------------------------------------------------------------------ */

/* fill: 'n' normal, 'm' the same with decays in the operand c, 'p' in (0.5, 1.5), 'u' in (-1, 1), 'w' magnitudes from 2^-10 to 2^10, 'q' normal, whole numbers all
 * different in 0..23. */
typedef struct verify_case { const char *text; char fill; } verify_case;
typedef TF_ARRAY(verify_case) verify_case_list;

static void add_case(tf_arena *arena, verify_case_list *list, char fill, const char *text)
{
    verify_case *c = text ? tf_push(arena, list) : NULL;
    if (c) *c = (verify_case){ text, fill };
}

static bool needs_attributes(const tf_op *op)
{
    for (uint32_t i = 0; i < op->attr_count; i++)
        if (op->attrs[i].required || op->attrs[i].type == TF_ATTR_TENSOR || op->attrs[i].type == TF_ATTR_NAMED) return true;
    return false;
}

static unsigned class_of(tuff_dtype t)
{
    return tf_dtype_is_float(t) ? TF_CLS_FLOAT : tf_dtype_is_int(t) ? TF_CLS_INT : t == TUFF_BOOL ? TF_CLS_BOOL : t == TUFF_C64 ? TF_CLS_COMPLEX : 0;
}

/* shapes: one per operand, "3,43 43 3,1". */
static void add_pointwise(tf_arena *arena, verify_case_list *list, const tf_op *op, tuff_dtype t, char fill, const char *const shapes[3])
{
    tf_str s;
    tf_str_init(&s, NULL);
    for (uint32_t i = 0; i < op->arity; i++) {
        const bool condition = i == 0 && !strcmp(op->name, "where");
        tf_str_printf(&s, "%c = input %s[%s]\n", 'a' + (int)i, condition ? "bool" : tuff_dtype_name(t), shapes[i]);
    }
    tf_str_printf(&s, "y = %s(", op->name);
    for (uint32_t i = 0; i < op->arity; i++) tf_str_printf(&s, i ? ", %c" : "%c", 'a' + (int)i);
    tf_str_add(&s, ")\noutput y\n");
    add_case(arena, list, fill, s.failed ? NULL : tf_arena_string(arena, s.data));
    tf_str_release(&s);
}

static void pointwise_cases(tf_arena *arena, verify_case_list *list, const tf_op *op)
{
    static const tuff_dtype dtypes[] = { TUFF_F32, TUFF_F16, TUFF_BF16, TUFF_F64, TUFF_I32, TUFF_U32, TUFF_I16, TUFF_U16,
                                         TUFF_I8, TUFF_U8, TUFF_BOOL, TUFF_C64 };
    static const char *const broadcast[] = { "3,43", "43", "3,1" }, *const line[] = { "1027", "1027", "1027" }, *const one[] = { "1", "1", "1" };
    static const char *const scalar[] = { "", "", "" }, *const wide[] = { "33,65", "33,65", "33,1" };
    const bool f32_only = op->result == TF_RESULT_COMPLEX;
    for (size_t i = 0; i < TF_COUNT(dtypes); i++)
        if ((class_of(dtypes[i]) & op->classes) && (!f32_only || dtypes[i] == TUFF_F32)) add_pointwise(arena, list, op, dtypes[i], 'n', broadcast);
    const tuff_dtype first = op->classes & TF_CLS_FLOAT ? TUFF_F32 : op->classes & TF_CLS_INT ? TUFF_I32 : op->classes & TF_CLS_BOOL ? TUFF_BOOL : TUFF_C64;
    add_pointwise(arena, list, op, first, 'n', one);
    add_pointwise(arena, list, op, first, 'n', scalar);
    add_pointwise(arena, list, op, first, 'n', wide);
    if (!(op->classes & TF_CLS_FLOAT)) return;
    add_pointwise(arena, list, op, TUFF_F32, 'p', line);
    add_pointwise(arena, list, op, TUFF_F32, 'u', line);
    add_pointwise(arena, list, op, TUFF_F32, 'w', line);
}

typedef struct table_case { const char *op, *types, *tail; char fill; } table_case;
#define X(op, types, tail, fill) { op, types, tail, fill },
static const table_case table[] = { OP_CASES(X) };
#undef X

/* Every result is an output; how many there are is known once the op is built. 0: it refuses its operands. */
static uint32_t result_count(const char *head, const char *call)
{
    char message[256];
    tuff_graph *g = NULL;
    tf_str s;
    tf_str_init(&s, NULL);
    tf_str_printf(&s, "%sy0 = %s", head, call);
    const tuff_status status = s.failed ? TUFF_E_MEMORY : tuff_graph_parse(s.data, s.n, NULL, &g, message, sizeof message);
    const uint32_t results = status ? 0 : tf_def(g, g->values.n)->n_out;
    tf_str_release(&s);
    tuff_graph_destroy(g);
    return results;
}

/* `to` replaces f32 in the operands' dtypes (NULL: nothing does); what the op then refuses is no case. */
static void add_table_case(tf_arena *arena, verify_case_list *list, const tf_op *op, const table_case *c, const char *to)
{
    tf_str head, call, all;
    tf_str_init(&head, NULL);
    tf_str_init(&call, NULL);
    tf_str_init(&all, NULL);
    char name = 'a';
    for (const char *p = c->types; *p; name++) {
        const int n = (int)strcspn(p, " ");
        const bool replace = to && !strncmp(p, "f32[", 4);
        tf_str_printf(&head, "%c = input %s%.*s\n", name, replace ? to : "", replace ? n - 3 : n, replace ? p + 3 : p);
        p += n + (p[n] == ' ');
    }
    tf_str_printf(&call, "%s%s\n", op->name, c->tail);
    const bool good = !head.failed && !call.failed;
    const uint32_t results = good ? result_count(head.data ? head.data : "", call.data) : 0;
    tf_str_printf(&all, "%sy0", head.data ? head.data : "");
    for (uint32_t i = 1; i < results; i++) tf_str_printf(&all, ", y%u", i);
    tf_str_printf(&all, " = %s", call.data ? call.data : "");
    for (uint32_t i = 0; i < results; i++) tf_str_printf(&all, "output y%u\n", i);
    if (good && !all.failed && (results || !to)) add_case(arena, list, c->fill, tf_arena_string(arena, all.data));
    tf_str_release(&head);
    tf_str_release(&call);
    tf_str_release(&all);
}

static void table_cases(tf_arena *arena, verify_case_list *list, const tf_op *op)
{
    for (size_t i = 0; i < TF_COUNT(table); i++) {
        if (strcmp(table[i].op, op->name) != 0) continue;
        add_table_case(arena, list, op, &table[i], NULL);
        if (!strstr(table[i].types, "f32[")) continue;
        add_table_case(arena, list, op, &table[i], "f16");
        add_table_case(arena, list, op, &table[i], "bf16");
    }
}

static verify_case_list cases_of(tf_arena *arena, const tf_op *op)
{
    verify_case_list list = { 0 };
    if (op->kind == TF_POINTWISE && !needs_attributes(op)) pointwise_cases(arena, &list, op);
    table_cases(arena, &list, op);
    return list;
}

/* ---- one case, in the child --------------------------------------------------------------------------- */

static void fill_input(uint64_t seed, const char *name, char fill, tuff_dtype t, void *data, uint64_t n)
{
    const bool whole = tf_dtype_is_int(t);
    if (fill == 'm' && !strcmp(name, "c")) {
        tool_random decays = { tf_hash_string(seed + 1, name) };
        for (uint64_t i = 0; i < n; i++) {
            const double re = -0.2 - 2.0 * tool_uniform(&decays);
            tf_store_element(t, data, i, re, 6.0 * tool_uniform(&decays));
        }
        return;
    }
    if (fill == 'm') fill = 'n';
    if (!tf_dtype_is_float(t) || fill == 'n' || (fill == 'q' && !whole)) {
        if (!(fill == 'q' && whole)) {
            tool_fill(seed, name, t, data, n);
            return;
        }
    }
    tool_random r = { tf_hash_string(seed + 1, name) };
    for (uint64_t i = 0; i < n; i++) {
        double x = tool_uniform(&r);
        if (fill == 'q') x = (double)((5 * i + 3) % 24);
        if (fill == 'p') x += 0.5;
        if (fill == 'u') x = 2.0 * x - 1.0;
        if (fill == 'w') x = (tool_random_next(&r) & 1 ? -1.0 : 1.0) * exp2(20.0 * x - 10.0);
        tf_store_element(t, data, i, x, 0.0);
    }
}

typedef struct case_run {
    const verify_options *o;
    const verify_case *c;
    const char *variant;
    FILE *out;
    tuff_device *dev;
    tuff_graph *g;
    tuff_program *p;
    tf_interp *reference;
    cJSON *line;
    bool pass;
} case_run;

static void say_line(FILE *out, cJSON *line)
{
    char *text = cJSON_PrintUnformatted(line);
    if (text) fprintf(out, "%s\n", text);
    fflush(out);
    cJSON_free(text);
    cJSON_Delete(line);
}

static bool case_fails(case_run *r, tuff_status status, const char *stage, const char *text)
{
    cJSON_AddStringToObject(r->line, status == TUFF_E_UNSUPPORTED ? "skipped" : "error", text);
    cJSON_AddStringToObject(r->line, "stage", stage);
    if (status == TUFF_E_DEVICE_LOST) cJSON_AddTrueToObject(r->line, "lost");
    r->pass = false;
    return false;
}

static bool write_inputs(case_run *r)
{
    for (uint32_t i = 0; i < r->g->ports.n; i++) {
        const tf_port *port = &r->g->ports.data[i];
        size_t bytes;
        tuff_dtype t;
        if (port->kind != TF_PORT_INPUT) continue;
        tuff_status status = tuff_describe(r->p, port->name, &bytes, &t, NULL);
        if (status) return case_fails(r, status, "describe", tuff_program_error(r->p));
        void *data = tool_alloc(bytes);
        fill_input(r->o->seed, port->name, r->c->fill, t, data, (uint64_t)bytes * 8 / tf_dtype_bits(t));
        status = tuff_write(r->p, port->name, data, bytes);
        const tuff_status reference = status ? TUFF_OK : tf_interp_write(r->reference, port->name, data, bytes);
        free(data);
        if (status) return case_fails(r, status, "write", tuff_program_error(r->p));
        if (reference) return case_fails(r, reference, "write", tf_interp_error(r->reference));
    }
    return true;
}

static void add_number(cJSON *o, const char *name, double x)
{
    char text[32];
    if (isfinite(x))
        cJSON_AddNumberToObject(o, name, x);
    else {
        snprintf(text, sizeof text, "%g", x);
        cJSON_AddStringToObject(o, name, text);
    }
}

static bool compare_output(case_run *r, const tf_port *port, cJSON *outputs)
{
    size_t bytes;
    tuff_dtype t;
    tf_bound bound;
    tuff_status status = tuff_describe(r->p, port->name, &bytes, &t, NULL);
    if (status) return case_fails(r, status, "describe", tuff_program_error(r->p));
    void *got = tool_alloc(bytes), *want = tool_alloc(bytes);
    if ((status = tuff_read(r->p, port->name, got, bytes)))
        case_fails(r, status, "read", tuff_program_error(r->p));
    else if ((status = tf_interp_read(r->reference, port->name, want, bytes)))
        case_fails(r, status, "reference", tf_interp_error(r->reference));
    else if (!tf_value_bound(r->g, port->value, NULL, &bound))
        case_fails(r, status = TUFF_E_MEMORY, "compare", "out of memory");
    else {
        const tf_difference d = tf_compare(t, got, want, (uint64_t)bytes * 8 / tf_dtype_bits(t), bound);
        cJSON *o = cJSON_CreateObject();
        cJSON_AddStringToObject(o, "output", port->name);
        add_number(o, "ulp", d.ulp);
        add_number(o, "rel_l2", d.rel_l2);
        add_number(o, bound.rel > 0.0 ? "allowed_rel_l2" : "allowed_ulp", bound.rel > 0.0 ? bound.rel : bound.ulp);
        if (!d.pass) {
            cJSON_AddNumberToObject(o, "elements", (double)d.n);
            cJSON_AddNumberToObject(o, "wrong", (double)d.wrong);
            cJSON_AddNumberToObject(o, "element", (double)d.first);
            add_number(o, "got", d.got);
            add_number(o, "want", d.want);
            r->pass = false;
        }
        cJSON_AddItemToArray(outputs, o);
    }
    free(got);
    free(want);
    return !status;
}

static void add_kernels(case_run *r)
{
    const size_t n = tuff_program_explain(r->p, TUFF_EXPLAIN_GLSL, NULL, 0) + 1;
    char *text = tool_alloc(n);
    tuff_program_explain(r->p, TUFF_EXPLAIN_GLSL, text, n);
    cJSON_AddStringToObject(r->line, "glsl", text);
    free(text);
}

static bool evaluate(case_run *r)
{
    char message[512];
    tuff_status status = tuff_graph_parse(r->c->text, strlen(r->c->text), NULL, &r->g, message, sizeof message);
    if (status) return case_fails(r, status, "build", message);
    const tuff_compile_desc desc = { .threads = 1 };
    if ((status = tuff_compile(r->dev, r->g, &desc, &r->p))) return case_fails(r, status, "compile", tuff_graph_error(r->g));
    if (!(r->reference = tf_interp_create(r->g, NULL))) return case_fails(r, TUFF_E_MEMORY, "reference", "out of memory");
    if (!write_inputs(r)) return false;
    if ((status = tuff_run(r->p))) return case_fails(r, status, "run", tuff_program_error(r->p));
    if ((status = tf_interp_run(r->reference))) return case_fails(r, status, "reference", tf_interp_error(r->reference));
    cJSON *outputs = cJSON_AddArrayToObject(r->line, "outputs");
    for (uint32_t i = 0; i < r->g->ports.n; i++)
        if (r->g->ports.data[i].kind == TF_PORT_OUTPUT && !compare_output(r, &r->g->ports.data[i], outputs)) return false;
    return true;
}

/* False when the device is lost. */
static bool run_case(const verify_options *o, const verify_case *c, const char *variant_name, tuff_device *dev, FILE *out)
{
    cJSON *begin = cJSON_CreateObject();
    cJSON_AddStringToObject(begin, "begin", c->text);
    cJSON_AddStringToObject(begin, "variant", variant_name);
    say_line(out, begin);
    case_run r = { .o = o, .c = c, .variant = variant_name, .out = out, .dev = dev, .line = cJSON_CreateObject(), .pass = true };
    cJSON_AddStringToObject(r.line, "graph", c->text);
    cJSON_AddStringToObject(r.line, "variant", variant_name);
    evaluate(&r);
    if (!r.pass && r.p) add_kernels(&r);
    const bool lost = cJSON_HasObjectItem(r.line, "lost");
    cJSON_AddBoolToObject(r.line, "pass", r.pass);
    tf_interp_destroy(r.reference);
    tuff_program_destroy(r.p);
    tuff_graph_destroy(r.g);
    say_line(out, r.line);
    return !lost;
}

static bool uses_matrices(const char *text, const tf_limits *limits)
{
    const tf_compile_options options = { 0 };
    char message[512];
    tuff_graph *g = NULL;
    tf_plan *plan = NULL;
    bool uses = false;
    if (!tuff_graph_parse(text, strlen(text), NULL, &g, message, sizeof message) && !tf_compile(g, limits, &options, NULL, &plan))
        for (uint32_t i = 0; i < plan->kernels.n; i++) uses = uses || strstr(plan->kernels.data[i].algorithm, "cooperative matrices");
    tf_plan_destroy(plan);
    tuff_graph_destroy(g);
    return uses;
}

typedef struct op_job { const verify_options *o; const tf_op *op; } op_job;

static int run_variant(const verify_options *o, const verify_case_list *list, const variant *v, const char *toggles, tf_arena *arena, FILE *out)
{
    tuff_device *dev;
    tool_common common = o->common;
    common.toggles = joined(arena, common.toggles, toggles);
    common.limits = joined(arena, common.limits, v->limits);
    if (tool_open_device(&common, &dev)) return TOOL_FAILED;
    const bool matrices = !strcmp(v->name, "matrices");
    bool alive = true;
    for (uint32_t i = 0; alive && i < list->n; i++)
        if (!matrices || uses_matrices(list->data[i].text, &dev->caps.limits)) alive = run_case(o, &list->data[i], v->name, dev, out);
    tuff_device_close(dev);
    return alive ? TOOL_OK : TOOL_FAILED;
}

/* -1: no device. */
static int device_is_cpu(const verify_options *o)
{
    tuff_device *dev;
    if (tool_open_device(&o->common, &dev)) return -1;
    const bool cpu = dev->caps.limits.cpu;
    tuff_device_close(dev);
    return cpu;
}

static int work_op(void *user, FILE *out)
{
    const op_job *job = user;
    tf_arena arena;
    tf_arena_init(&arena, NULL);
    const verify_case_list list = cases_of(&arena, job->op);
    const int cpu = variant_wanted(job->o, "other") ? device_is_cpu(job->o) : 0;
    int status = cpu < 0 ? TOOL_FAILED : TOOL_OK;
    for (size_t i = 0; !status && i < TF_COUNT(variants); i++) {
        const variant *v = &variants[i];
        if (!variant_wanted(job->o, v->name)) continue;
        if (!strcmp(v->name, "matrices") && job->op->kind != TF_COMPOSITE && job->op->kind != TF_ANCHOR) continue;
        const char *toggles = strcmp(v->name, "other") != 0 ? v->toggles : cpu ? "-cpu" : "+cpu";
        status = run_variant(job->o, &list, v, toggles, &arena, out);
    }
    tf_arena_release(&arena);
    return status;
}

/* ---- adding up, in the parent --------------------------------------------------------------------------- */

typedef struct op_result {
    uint32_t passed, failed, skipped;
    double ulp, rel_l2;
    cJSON *failures;
    cJSON *begun;          /* the case that has begun and not ended */
    tool_progress *progress;
    const char *name;
} op_result;

static void take_line(void *user, const char *text)
{
    op_result *r = user;
    cJSON *line = cJSON_Parse(text);
    if (!line) return;
    cJSON_Delete(r->begun);
    r->begun = NULL;
    if (cJSON_HasObjectItem(line, "begin")) {
        r->begun = line;
        return;
    }
    const cJSON *output;
    cJSON_ArrayForEach(output, cJSON_GetObjectItemCaseSensitive(line, "outputs"))
    {
        r->ulp = fmax(r->ulp, tool_json_number(output, "ulp", INFINITY));
        r->rel_l2 = fmax(r->rel_l2, tool_json_number(output, "rel_l2", INFINITY));
    }
    tool_progress_show(r->progress, "%s: %u cases", r->name, r->passed + r->failed + r->skipped + 1);
    if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(line, "pass")))
        r->passed++;
    else if (cJSON_HasObjectItem(line, "skipped"))
        r->skipped++;
    else {
        r->failed++;
        cJSON_AddItemToArray(r->failures, line);
        return;
    }
    cJSON_Delete(line);
}

static const char *verdict_of(const op_result *r, const tool_child *child)
{
    if (child->end == TOOL_END_TIMEOUT) return "hang";
    if (child->end == TOOL_END_CRASH) return "crash";
    const cJSON *failure;
    cJSON_ArrayForEach(failure, r->failures)
    {
        if (cJSON_HasObjectItem(failure, "lost")) return "device lost";
    }
    if (r->failed || child->code) return "failed";
    return r->passed ? "ok" : "no case";
}

static void print_failure(const cJSON *failure)
{
    const char *error = tool_json_text(failure, "error", NULL);
    printf("    %s: ", tool_json_text(failure, "variant", "?"));
    const cJSON *output;
    if (error) printf("%s: %s", tool_json_text(failure, "stage", "?"), error);
    cJSON_ArrayForEach(output, cJSON_GetObjectItemCaseSensitive(failure, "outputs"))
    {
        if (!cJSON_HasObjectItem(output, "wrong")) continue;
        printf("%s: %.0f of %.0f elements are wrong; [%.0f] is %.9g, should be %.9g; %.3g ulp, relative L2 %.3g; allowed %.3g", tool_json_text(output, "output", "?"),
               tool_json_number(output, "wrong", 0), tool_json_number(output, "elements", 0), tool_json_number(output, "element", 0),
               tool_json_number(output, "got", NAN), tool_json_number(output, "want", NAN), tool_json_number(output, "ulp", NAN),
               tool_json_number(output, "rel_l2", NAN), tool_json_number(output, "allowed_ulp", tool_json_number(output, "allowed_rel_l2", 0)));
        break;
    }
    printf("\n");
    for (const char *p = tool_json_text(failure, "graph", tool_json_text(failure, "begin", "")); *p;) {
        const int n = (int)strcspn(p, "\n");
        printf("        %.*s\n", n, p);
        p += n + (p[n] == '\n');
    }
}

static bool verify_one(const verify_options *o, const tf_op *op, verify_report *report, tool_progress *progress)
{
    op_job job = { o, op };
    op_result r = { .failures = cJSON_CreateArray(), .progress = progress, .name = op->name };
    tool_child child;
    tool_progress_show(progress, "%s", op->name);
    if (!tool_isolate(work_op, &job, take_line, &r, (double)o->seconds, &child)) exit(tool_error("no child process could be started"));
    tool_progress_end(progress);
    const char *verdict = verdict_of(&r, &child);
    if (r.begun) {
        cJSON_AddStringToObject(r.begun, "error", verdict);
        cJSON_AddItemToArray(r.failures, r.begun);
    }
    const bool good = !strcmp(verdict, "ok") || !strcmp(verdict, "no case");
    printf("%-18s %-12s %5u cases", op->name, verdict, r.passed + r.failed + r.skipped);
    if (r.passed + r.failed) printf("  worst %8.3g ulp  %8.2g rel L2", r.ulp, r.rel_l2);
    if (r.failed) printf("  %u failed", r.failed);
    if (r.skipped) printf("  %u not supported here", r.skipped);
    printf("\n");
    const cJSON *failure;
    uint32_t shown = 0;
    cJSON_ArrayForEach(failure, r.failures)
    {
        if (shown++ < 3) print_failure(failure);
    }
    fflush(stdout);
    cJSON *line = cJSON_CreateObject();
    cJSON_AddStringToObject(line, "op", op->name);
    cJSON_AddStringToObject(line, "verdict", verdict);
    if (child.end == TOOL_END_CRASH) cJSON_AddNumberToObject(line, "signal", child.code);
    cJSON_AddNumberToObject(line, "passed", r.passed);
    cJSON_AddNumberToObject(line, "failed", r.failed);
    cJSON_AddNumberToObject(line, "skipped", r.skipped);
    add_number(line, "worst_ulp", r.ulp);
    add_number(line, "worst_rel_l2", r.rel_l2);
    cJSON_AddItemToObject(line, "failures", r.failures);
    verify_report_line(report, line);
    cJSON_Delete(line);
    return good;
}

static bool can_verify(const tf_op *op)
{
    return !op->internal && op->kind != TF_SOURCE && op->kind != TF_EFFECT && (op->reference || op->scalar);
}

static int check_names(const verify_options *o)
{
    const char *names[1024];
    uint32_t n = 0;
    for (uint32_t i = 0; tuff_ops[i] && n < TF_COUNT(names); i++)
        if (can_verify(tuff_ops[i])) names[n++] = tuff_ops[i]->name;
    for (uint32_t i = 0; i < o->common.arguments.n; i++) {
        const char *name = o->common.arguments.v[i];
        const tf_op *op = tf_op_find(name);
        if (op && can_verify(op)) continue;
        if (op) return tool_usage("verify", "op \"%s\" has no reference to be checked against", name);
        const char *near = tf_suggest(name, names, n);
        return near ? tool_usage("verify", "there is no op \"%s\"; did you mean \"%s\"?", name, near)
                    : tool_usage("verify", "there is no op \"%s\"; tuff ops lists them", name);
    }
    for (uint32_t i = 0; i < o->variants.n; i++) {
        bool known = false;
        for (size_t v = 0; v < TF_COUNT(variants); v++) known = known || !strcmp(o->variants.v[i], variants[v].name);
        if (!known) return tool_usage("verify", "there is no variant \"%s\"; there are default, floor, other and matrices", o->variants.v[i]);
    }
    return TOOL_OK;
}

static bool asked_for(const verify_options *o, const tf_op *op)
{
    for (uint32_t i = 0; i < o->common.arguments.n; i++)
        if (!strcmp(o->common.arguments.v[i], op->name)) return true;
    return o->common.arguments.n == 0;
}

int verify_ops(const verify_options *o)
{
    tf_arena arena;
    verify_report report;
    tool_progress progress;
    uint32_t good = 0, bad = 0;
    tf_arena_init(&arena, NULL);
    tool_progress_begin(&progress, &o->common);
    int status = check_names(o);
    if (!status) status = verify_report_open(&report, o, "op", &arena);
    if (!status) status = verify_report_environment(&report, o);
    for (uint32_t i = 0; !status && tuff_ops[i]; i++) {
        const tf_op *op = tuff_ops[i];
        if (!can_verify(op) || !asked_for(o, op) || verify_report_has(&report, op->name)) continue;
        *(verify_one(o, op, &report, &progress) ? &good : &bad) += 1;
    }
    if (!status) {
        printf("%u ops are right, %u are wrong\n", good, bad);
        status = bad || report.failed ? TOOL_FAILED : TOOL_OK;
    }
    tf_arena_release(&arena);
    return status;
}
