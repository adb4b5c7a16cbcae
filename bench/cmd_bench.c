/* cmd_bench.c - `tuff bench`: this device's ceilings, tuff's speed on it in percent of them, and two reports compared. */
#include "bench.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/program.h"

typedef struct bench_options {
    tool_common common;
    const char *json, *compare, *commit;
    tool_list params;
    uint64_t milliseconds;
} bench_options;

static const tool_option options_table[] = {
    TOOL_OPTION(bench_options, json, "json", "FILE", TOOL_TEXT, "write the report as JSON (- for stdout)"),
    TOOL_OPTION(bench_options, compare, "compare", "A.json", TOOL_TEXT, "compare report A.json with the one given as argument"),
    TOOL_OPTION(bench_options, milliseconds, "ms", "N", TOOL_COUNT, "time spent on each case; default 500"),
    TOOL_OPTION(bench_options, params, "param", "NAME=NUMBER", TOOL_LIST, "override a param of a .tuff file"),
    TOOL_OPTION(bench_options, commit, "commit", "TEXT", TOOL_TEXT, "what was built, for the report"),
};

typedef struct bench_run {
    const bench_options *o;
    tuff_device *dev;
    tool_progress progress;
    bench_ceilings ceilings;
    cJSON *report, *cases;
} bench_run;

/* ---- one case --------------------------------------------------------------------------------------------- */

static double traffic(const tf_plan *plan)
{
    double bytes = 0.0;
    for (uint32_t i = 0; i < plan->buffers.n; i++)
        if (plan->buffers.data[i].kind != TF_BUF_ARENA) bytes += (double)plan->buffers.data[i].bytes;
    return bytes;
}

/* What a copy as long as the first output moves. */
static double copied_bytes(const tf_plan *plan)
{
    for (uint32_t i = 0; i < plan->ports.n; i++)
        if (plan->ports.data[i].kind == TF_PORT_OUTPUT) return 2.0 * (double)plan->buffers.data[plan->ports.data[i].buffer].bytes;
    return 0.0;
}

static double planned_flops(const tf_plan *plan)
{
    double flops = 0.0;
    for (uint32_t i = 0; i < plan->steps.n; i++) flops += (double)plan->steps.data[i].flops;
    return flops;
}

int bench_write_inputs(tuff_program *p)
{
    for (uint32_t i = 0; i < p->plan->ports.n; i++) {
        const tf_plan_port *port = &p->plan->ports.data[i];
        size_t bytes;
        tuff_dtype t;
        if (port->kind != TF_PORT_INPUT) continue;
        if (tuff_describe(p, port->name, &bytes, &t, NULL)) return tool_error("%s", tuff_program_error(p));
        const uint64_t n = (uint64_t)bytes * 8 / tf_dtype_bits(t);
        void *data = tool_alloc(bytes);
        /* A stretch of random numbers, repeated: filling costs more than the case otherwise. */
        const uint64_t stretch = TF_MIN(n, 65536), stretch_bytes = stretch * tf_dtype_bits(t) / 8;
        tool_fill(0, port->name, t, data, stretch);
        for (uint64_t at = stretch_bytes; at < bytes; at += stretch_bytes) memcpy((char *)data + at, data, TF_MIN(stretch_bytes, bytes - at));
        const tuff_status status = tuff_write(p, port->name, data, bytes);
        free(data);
        if (status) return tool_error("%s", tuff_program_error(p));
    }
    return TOOL_OK;
}

static double ceiling_of(const bench_ceilings *c, bench_limit limit)
{
    return limit == BENCH_COPY ? c->copy_gbs : limit == BENCH_READ ? c->read_gbs : c->fma_gflops;
}

static void print_head(void)
{
    printf("\n%-36s %10s %17s %9s %9s %8s %8s %9s\n", "case", "median", "p10 .. p90", "GB/s", "GFLOP/s", "ceiling", "compile", "first run");
}

static const cJSON *find_case(const cJSON *cases, const char *name)
{
    const cJSON *c;
    cJSON_ArrayForEach(c, cases)
    {
        if (!strcmp(tool_json_text(c, "name", ""), name)) return c;
    }
    return NULL;
}

/* What case `name` is set against, NULL if nothing; *ratio: its time ms over the sum of theirs. */
static const bench_ratio *find_ratio(const bench_run *r, const char *name, double ms, double *ratio)
{
    for (uint32_t i = 0; i < bench_ratio_count; i++) {
        const bench_ratio *b = &bench_ratios[i];
        if (strcmp(b->name, name)) continue;
        double sum = tool_json_number(find_case(r->cases, b->against[0]), "ms", 0.0);
        if (b->against[1]) sum += tool_json_number(find_case(r->cases, b->against[1]), "ms", 0.0);
        *ratio = sum > 0.0 ? ms / sum : 0.0;
        return sum > 0.0 ? b : NULL;
    }
    return NULL;
}

/* t[0], or also t[1] of a copy and t[2] of the same graph unfused. */
static void conclude(bench_run *r, const bench_case *c, tuff_program *p, const bench_time *t, double compile_ms)
{
    static const char *const limits[] = { "copy", "read", "fma", "copy" };
    const bool beside = c->limit == BENCH_COPY_BESIDE;
    const double bytes = traffic(p->plan), flops = c->flops > 0.0 ? c->flops : planned_flops(p->plan);
    const double gbs = bytes / (t->median * 1e6), gflops = flops / (t->median * 1e6), ceiling = beside ? gbs * copied_bytes(p->plan) / (bytes * t[1].ratio) : ceiling_of(&r->ceilings, c->limit);
    const double percent = ceiling > 0.0 ? 100.0 * (c->limit == BENCH_FMA ? gflops : gbs) / ceiling : 0.0;
    tool_text median, low, high, compile, first;
    char spread[64], share[32] = "";
    tool_progress_end(&r->progress);
    snprintf(spread, sizeof spread, "%s .. %s", tool_time(low, t->p10), tool_time(high, t->p90));
    if (ceiling > 0.0) snprintf(share, sizeof share, "%.0f%% %s", percent, limits[c->limit]);
    double ratio = 0.0;
    const bench_ratio *b = find_ratio(r, c->name, t->median, &ratio);
    printf("%-36s %10s %17s %9.3g %9.3g %8s %8s %9s", c->name, tool_time(median, t->median), spread, gbs, gflops, share, tool_time(compile, compile_ms), tool_time(first, t->first));
    if (b) printf("  %.2fx %s%s%s", ratio, b->against[0], b->against[1] ? " + " : "", b->against[1] ? b->against[1] : "");
    printf("\n");
    if (beside) printf("%36s %.0f%% of the copy by least times; %.2f times as long unfused\n", "", 100.0 * bytes * t[1].least / (copied_bytes(p->plan) * t->least), t[2].ratio);
    fflush(stdout);
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "suite", c->suite);
    cJSON_AddStringToObject(o, "name", c->name);
    cJSON_AddNumberToObject(o, "ms", t->median);
    cJSON_AddNumberToObject(o, "least_ms", t->least);
    cJSON_AddNumberToObject(o, "p10_ms", t->p10);
    cJSON_AddNumberToObject(o, "p90_ms", t->p90);
    cJSON_AddNumberToObject(o, "samples", t->samples);
    cJSON_AddNumberToObject(o, "runs_per_sample", t->batch);
    cJSON_AddNumberToObject(o, "compile_ms", compile_ms);
    cJSON_AddNumberToObject(o, "first_run_ms", t->first);
    cJSON_AddNumberToObject(o, "kernels", p->plan->steps.n);
    cJSON_AddNumberToObject(o, "bytes", bytes);
    cJSON_AddNumberToObject(o, "flops", flops);
    cJSON_AddNumberToObject(o, "gbs", gbs);
    cJSON_AddNumberToObject(o, "gflops", gflops);
    cJSON_AddStringToObject(o, "ceiling", limits[c->limit]);
    if (ceiling > 0.0) cJSON_AddNumberToObject(o, "percent", percent);
    if (beside) cJSON_AddNumberToObject(o, "unfused_ratio", t[2].ratio);
    if (b) cJSON_AddNumberToObject(o, "ratio", ratio);
    cJSON_AddItemToArray(r->cases, o);
}

static int bench_graph(bench_run *r, const bench_case *c, tuff_graph *g)
{
    const bool beside = c->limit == BENCH_COPY_BESIDE;
    tuff_program *p[3] = { NULL, NULL, NULL };
    bench_time t[3];
    tool_progress_show(&r->progress, "%s", c->name);
    const uint64_t start = tf_clock_ns();
    int status = tool_compile(r->dev, g, &(tuff_compile_desc){ .slots = 3 }, &r->o->common, &p[0]);
    const double compile_ms = (double)(tf_clock_ns() - start) * 1e-6;
    if (!status) status = bench_write_inputs(p[0]);
    if (!status && beside) status = bench_copy_program(r->dev, &r->ceilings, (int64_t)(copied_bytes(p[0]->plan) / 8.0), &p[1]);
    if (!status && beside) status = tool_compile(r->dev, g, &(tuff_compile_desc){ .slots = 3, .no_fusion = true }, &r->o->common, &p[2]);
    if (!status && beside) status = bench_write_inputs(p[2]);
    if (!status) status = bench_measure_beside(p, beside ? 3 : 1, (double)r->o->milliseconds * 1e-3, t);
    if (!status) conclude(r, c, p[0], t, compile_ms);
    for (uint32_t i = 0; i < TF_COUNT(p); i++) tuff_program_destroy(p[i]);
    return status;
}

/* ---- a sampler beside its network -------------------------------------------------------------------------- */

enum { EVALUATION_MS = 20 };

static int compile_sampler(bench_run *r, double gflops, bool alone, tuff_program **out)
{
    tuff_graph *g = bench_sampler_graph(EVALUATION_MS, gflops, alone);
    int status = g ? tool_compile(r->dev, g, &(tuff_compile_desc){ .slots = 1 }, &r->o->common, out) : tool_error("out of memory");
    if (!status) status = bench_write_inputs(*out);
    tuff_graph_destroy(g);
    return status;
}

static uint32_t body_kernels(const tuff_program *p)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->plan->steps.n; i++) n += p->plan->steps.data[i].region == 1 && !p->plan->steps.data[i].phase;
    return p->plan->regions.n ? n : 0;
}

/* The whole sampler is one submission; what it takes beyond its evaluations is the solver's. */
static int bench_sampler(bench_run *r)
{
    tuff_program *p[2] = { NULL, NULL };
    bench_time t[2];
    tool_text a, b, c;
    uint64_t before = 0, after = 0;
    tool_progress_show(&r->progress, "a sampler beside its network");
    double gflops = 0.3 * r->ceilings.fma_gflops; /* a first guess, to see what the network reaches */
    int status = compile_sampler(r, gflops, true, &p[0]);
    if (!status) status = bench_measure(p[0], 0.0, t);
    if (!status) gflops *= EVALUATION_MS * BENCH_SAMPLER_STEPS / t->least;
    tuff_program_destroy(p[0]);
    p[0] = NULL;
    if (!status) status = compile_sampler(r, gflops, true, &p[0]);
    if (!status) status = compile_sampler(r, gflops, false, &p[1]);
    if (!status) status = bench_measure_beside(p, 2, (double)r->o->milliseconds * 20e-3, t); /* about ten pairs */
    if (!status) {
        before = tf_last_ticket(r->dev);
        if (tuff_run(p[1])) status = tool_error("%s", tuff_program_error(p[1]));
        after = tf_last_ticket(r->dev);
    }
    tool_progress_end(&r->progress);
    if (!status) {
        const double median = 100.0 * (t[1].ratio - 1.0), low = 100.0 * (t[1].ratio_p25 - 1.0), high = 100.0 * (t[1].ratio_p75 - 1.0);
        const double least = 100.0 * (t[1].least / t[0].least - 1.0);
        printf("%d steps of dpmpp_2m %s, %d evaluations alone %s (%s each): the solver adds %.2f%%\n(median of %u pairs run by turns, the middle half %.2f .. %.2f%%; of the least times %.2f%%);\n"
               "kernels of a step %u, of an evaluation %u; submissions of the sampler: %u\n", BENCH_SAMPLER_STEPS, tool_time(a, t[1].median), BENCH_SAMPLER_STEPS,
               tool_time(b, t[0].median), tool_time(c, t[0].median / BENCH_SAMPLER_STEPS), median, t[1].samples, low, high, least, body_kernels(p[1]), body_kernels(p[0]), (unsigned)(after - before));
        fflush(stdout);
        cJSON *o = cJSON_AddObjectToObject(r->report, "sampler");
        cJSON_AddNumberToObject(o, "steps", BENCH_SAMPLER_STEPS);
        cJSON_AddNumberToObject(o, "ms", t[1].median);
        cJSON_AddNumberToObject(o, "evaluations_ms", t[0].median);
        cJSON_AddNumberToObject(o, "overhead_percent", median);
        cJSON_AddNumberToObject(o, "overhead_p25_percent", low);
        cJSON_AddNumberToObject(o, "overhead_p75_percent", high);
        cJSON_AddNumberToObject(o, "overhead_of_least_percent", least);
        cJSON_AddNumberToObject(o, "pairs", t[1].samples);
        cJSON_AddNumberToObject(o, "kernels_per_step", body_kernels(p[1]));
        cJSON_AddNumberToObject(o, "kernels_per_evaluation", body_kernels(p[0]));
        cJSON_AddNumberToObject(o, "submissions", (double)(after - before));
    }
    tuff_program_destroy(p[0]);
    tuff_program_destroy(p[1]);
    return status;
}

static int bench_one(bench_run *r, const bench_case *c)
{
    char message[512];
    tuff_graph *g;
    if (tuff_graph_parse(c->text, strlen(c->text), &(tuff_parse_desc){ .name = c->name }, &g, message, sizeof message)) return tool_error("%s", message);
    int status = bench_graph(r, c, g);
    tuff_graph_destroy(g);
    return status;
}

static int bench_file(bench_run *r, const char *path)
{
    tuff_graph *g;
    int status = tool_read_graph(path, &r->o->params, &g);
    if (!status) status = bench_graph(r, &(bench_case){ .suite = "file", .name = path, .limit = BENCH_COPY }, g);
    tuff_graph_destroy(g);
    return status;
}

/* ---- ceilings --------------------------------------------------------------------------------------------- */

static int bench_device(bench_run *r)
{
    const bench_ceilings *c = &r->ceilings;
    const int status = bench_ceilings_measure(r->dev, (double)r->o->milliseconds * 1e-3, &r->progress, &r->ceilings);
    tool_progress_end(&r->progress);
    if (status) return status;
    printf("copy           %8.3g GB/s read + written (%s)\nread           %8.3g GB/s (%s)\nfma            %8.3g GFLOP/s f32\n", c->copy_gbs, c->copy_shape, c->read_gbs,
           c->read_shape, c->fma_gflops);
    printf("dispatch       %8.3g us, with a barrier %.3g us\n", c->dispatch_us, c->barrier_us);
    printf("submit + wait  %8.3g us of nothing by the driver, %.3g us a run of one kernel\n", c->driver_wait_us, c->run_us);
    printf("submit alone   %8.3g us of nothing by the driver, %.3g us of 10 kernels, %.3g us of 1000 kernels\n", c->driver_submit_us, c->submit_10_us, c->submit_1000_us);
    fflush(stdout);
    cJSON *o = cJSON_AddObjectToObject(r->report, "ceilings");
    cJSON_AddNumberToObject(o, "copy_gbs", c->copy_gbs);
    cJSON_AddStringToObject(o, "copy_shape", c->copy_shape);
    cJSON_AddNumberToObject(o, "read_gbs", c->read_gbs);
    cJSON_AddStringToObject(o, "read_shape", c->read_shape);
    cJSON_AddNumberToObject(o, "fma_gflops", c->fma_gflops);
    cJSON_AddNumberToObject(o, "dispatch_us", c->dispatch_us);
    cJSON_AddNumberToObject(o, "barrier_us", c->barrier_us);
    cJSON_AddNumberToObject(o, "driver_wait_us", c->driver_wait_us);
    cJSON_AddNumberToObject(o, "run_us", c->run_us);
    cJSON_AddNumberToObject(o, "driver_submit_us", c->driver_submit_us);
    cJSON_AddNumberToObject(o, "submit_10_us", c->submit_10_us);
    cJSON_AddNumberToObject(o, "submit_1000_us", c->submit_1000_us);
    return TOOL_OK;
}

/* ---- what "auto" chose ------------------------------------------------------------------------------------ */

/* Each case "X, auto" beside the fastest of the cases "X, ..." that name an algorithm. */
static void print_choices(const cJSON *cases)
{
    static const char tail[] = ", auto";
    bool head = false;
    const cJSON *c, *o;
    cJSON_ArrayForEach(c, cases)
    {
        const char *name = tool_json_text(c, "name", ""), *best = NULL;
        const size_t n = strlen(name);
        double least = INFINITY;
        if (n < sizeof tail || strcmp(name + n - (sizeof tail - 1), tail) != 0) continue;
        cJSON_ArrayForEach(o, cases)
        {
            const char *other = tool_json_text(o, "name", "");
            if (o == c || strncmp(other, name, n - 4) != 0 || !(tool_json_number(o, "ms", 0.0) < least)) continue;
            least = tool_json_number(o, "ms", 0.0);
            best = other + n - 4;
        }
        if (!best) continue;
        if (!head) printf("\n%-44s %10s %10s %8s\n", "what auto chose", "auto", "fastest", "ratio");
        head = true;
        tool_text x, y;
        const double ms = tool_json_number(c, "ms", 0.0);
        printf("%-44.*s %10s %10s %8.2f  %s\n", (int)(n - (sizeof tail - 1)), name, tool_time(x, ms), tool_time(y, least), ms / least, best);
    }
}

/* ---- two reports ------------------------------------------------------------------------------------------ */

static void print_comparison(const cJSON *a, const cJSON *b)
{
    const cJSON *c;
    double logs = 0.0;
    uint32_t n = 0;
    printf("%-36s %10s %10s %9s\n", "case", "A", "B", "B faster");
    cJSON_ArrayForEach(c, cJSON_GetObjectItemCaseSensitive(b, "cases"))
    {
        const char *name = tool_json_text(c, "name", "?");
        const cJSON *old = find_case(cJSON_GetObjectItemCaseSensitive(a, "cases"), name);
        const double before = tool_json_number(old, "ms", 0.0), after = tool_json_number(c, "ms", 0.0);
        if (!(before > 0.0) || !(after > 0.0)) continue;
        /* A difference inside both spreads is none. */
        const bool clear = tool_json_number(c, "p10_ms", after) > tool_json_number(old, "p90_ms", before) ||
                           tool_json_number(c, "p90_ms", after) < tool_json_number(old, "p10_ms", before);
        tool_text x, y;
        printf("%-36s %10s %10s %8.2fx%s\n", name, tool_time(x, before), tool_time(y, after), before / after, clear ? "" : " (within the spread)");
        logs += log(before / after);
        n++;
    }
    if (n) printf("geometric mean of %u cases: %.3fx\n", n, exp(logs / n));
}

static int compare(const bench_options *o)
{
    if (o->common.arguments.n != 1) return tool_usage("bench", "--compare A.json needs the other report as its one argument");
    cJSON *a = tool_read_json(o->compare), *b = a ? tool_read_json(o->common.arguments.v[0]) : NULL;
    int status = a && b ? TOOL_OK : TOOL_FAILED;
    if (!status && (!cJSON_IsArray(cJSON_GetObjectItemCaseSensitive(a, "cases")) || !cJSON_IsArray(cJSON_GetObjectItemCaseSensitive(b, "cases"))))
        status = tool_error("both files must be reports of tuff bench");
    if (!status) print_comparison(a, b);
    cJSON_Delete(a);
    cJSON_Delete(b);
    return status;
}

/* ---- the command ------------------------------------------------------------------------------------------ */

static bool is_file(const char *word)
{
    const size_t n = strlen(word);
    return n > 5 && !strcmp(word + n - 5, ".tuff");
}

static bool wanted(const bench_options *o, const char *suite)
{
    bool named = false;
    for (uint32_t i = 0; i < o->common.arguments.n; i++) {
        if (!strcmp(o->common.arguments.v[i], suite)) return true;
        named = true;
    }
    return !named;
}

static int check_suites(const bench_options *o)
{
    const char *names[64] = { "ceilings" };
    uint32_t n = 1;
    for (uint32_t i = 0; i < bench_case_count && n < TF_COUNT(names); i++)
        if (i == 0 || strcmp(bench_cases[i].suite, bench_cases[i - 1].suite) != 0) names[n++] = bench_cases[i].suite;
    for (uint32_t i = 0; i < o->common.arguments.n; i++) {
        const char *word = o->common.arguments.v[i];
        bool known = is_file(word);
        for (uint32_t k = 0; k < n; k++) known = known || !strcmp(names[k], word);
        if (known) continue;
        const char *near = tf_suggest(word, names, n);
        return tool_usage("bench", "there is no suite \"%s\"; did you mean \"%s\"? Graphs end in .tuff", word, near ? near : "ceilings");
    }
    return TOOL_OK;
}

static int run_all(bench_run *r)
{
    int status = bench_device(r);
    bool head = false;
    for (uint32_t i = 0; !status && i < bench_case_count; i++) {
        if (!wanted(r->o, bench_cases[i].suite)) continue;
        if (!head) print_head();
        head = true;
        status = bench_one(r, &bench_cases[i]);
    }
    if (!status && wanted(r->o, "diffusion")) status = bench_sampler(r);
    for (uint32_t i = 0; !status && i < r->o->common.arguments.n; i++) {
        if (!is_file(r->o->common.arguments.v[i])) continue;
        if (!head) print_head();
        head = true;
        status = bench_file(r, r->o->common.arguments.v[i]);
    }
    return status;
}

static int run(const void *options)
{
    bench_options o = *(const bench_options *)options;
    if (o.compare) return compare(&o);
    if (!o.milliseconds) o.milliseconds = 500;
    bench_run r = { .o = &o };
    int status = check_suites(&o);
    if (status) return status;
    if ((status = tool_open_device(&o.common, &r.dev))) return status;
    tool_progress_begin(&r.progress, &o.common);
    r.report = cJSON_CreateObject();
    cJSON *environment = tool_environment(r.dev, &o.common);
    if (o.commit) cJSON_AddStringToObject(environment, "commit", o.commit);
    cJSON_AddItemToObject(r.report, "environment", environment);
    r.cases = cJSON_CreateArray();
    printf("%s\n", tuff_device_name(r.dev));
    status = run_all(&r);
    if (!status) print_choices(r.cases);
    cJSON_AddItemToObject(r.report, "cases", r.cases);
    if (o.json && !tool_write_json(o.json, r.report)) status = TOOL_FAILED;
    cJSON_Delete(r.report);
    tuff_device_close(r.dev);
    return status;
}

const tool_command tool_bench = {
    .name = "bench", .usage = "[SUITE | G.tuff]... [options]", .doc = "speed of this device and of tuff on it, in percent of the device's ceilings",
    .more = "Suites: ceilings pointwise movement reduce norm matmul nn ssm attention fft gaunt diffusion; without one all of them. The ceilings are measured in every run.\n"
            "GB/s counts inputs and outputs once. The report holds the environment; bench --compare A.json B.json sets two reports side by side.",
    .options = options_table, .option_count = TF_COUNT(options_table), .options_size = sizeof(bench_options), .most = 100, .run = run,
};
