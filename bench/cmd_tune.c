/* cmd_tune.c - `tuff tune`: where several kernels are right (tf_way), which is the fastest on this device.
 *
 * Each choice of a graph is tried alone: the whole graph with the other kernel, by turns with the best so far. What gives other results is not
 * taken, however fast. */
#include "bench.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/program.h"

typedef struct tune_options {
    tool_common common;
    tool_list params;
    uint64_t milliseconds;
} tune_options;

static const tool_option options_table[] = {
    TOOL_OPTION(tune_options, milliseconds, "ms", "N", TOOL_COUNT, "time for each kernel that is tried; default 200"),
    TOOL_OPTION(tune_options, params, "param", "NAME=NUMBER", TOOL_LIST, "override a param of the file"),
};

typedef struct tuner {
    const tune_options *o;
    tuff_device *dev;
    tf_tuned *rows;           /* those of the device, changed by what is found */
    uint32_t n;
    tf_tuning table;          /* rows as the compiler takes them */
    uint64_t *done;           /* choices that were tried */
    uint32_t n_done;
    uint32_t changed;
    tool_progress progress;
} tuner;

static void put(tuner *t, uint64_t choice, uint32_t way)
{
    t->rows = realloc(t->rows, (t->n + 1) * sizeof *t->rows);
    if (!t->rows) exit(tool_error("out of memory"));
    t->n = tf_tuning_put(t->rows, t->n, (tf_tuned){ choice, way });
}

static void drop(tuner *t, uint64_t choice)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < t->n; i++)
        if (t->rows[i].choice != choice) t->rows[kept++] = t->rows[i];
    t->n = kept;
}

static bool tried(tuner *t, uint64_t choice)
{
    for (uint32_t i = 0; i < t->n_done; i++)
        if (t->done[i] == choice) return true;
    t->done = realloc(t->done, (t->n_done + 1) * sizeof *t->done);
    if (!t->done) exit(tool_error("out of memory"));
    t->done[t->n_done++] = choice;
    return false;
}

/* The graph with the choices as they stand, run once. */
static int prepare(tuner *t, tuff_graph *g, tuff_program **out)
{
    t->table = (tf_tuning){ t->rows, t->n };
    t->dev->caps.limits.tuning = &t->table;
    int status = tool_compile(t->dev, g, NULL, &t->o->common, out);
    if (!status) status = bench_write_inputs(*out);
    return status || !tuff_run(*out) ? status : tool_error("%s", tuff_program_error(*out));
}

static double *read_output(tuff_program *p, const char *name, uint64_t *n)
{
    size_t bytes;
    tuff_dtype dtype;
    if (tuff_describe(p, name, &bytes, &dtype, NULL)) return NULL;
    void *data = tool_alloc(bytes);
    double *x = tuff_read(p, name, data, bytes) ? NULL : tool_alloc((*n = (uint64_t)bytes * 8 / tf_dtype_bits(dtype)) * 2 * sizeof *x);
    for (uint64_t i = 0; x && i < *n; i++) {
        x[2 * i + 1] = 0.0;
        x[2 * i] = tf_load_element(dtype, data, i, &x[2 * i + 1]);
    }
    free(data);
    return x;
}

/* Sums in another order differ by roundings; a wrong kernel by more. */
static bool agree(tuff_program *a, tuff_program *b)
{
    bool same = true;
    for (uint32_t i = 0; same && i < a->plan->ports.n; i++) {
        const tf_plan_port *port = &a->plan->ports.data[i];
        if (port->kind != TF_PORT_OUTPUT) continue;
        uint64_t n = 0, m = 0;
        double *x = read_output(a, port->name, &n), *y = read_output(b, port->name, &m), error = 0.0, norm = 0.0;
        for (uint64_t k = 0; x && y && k < 2 * n; k++) {
            if (!isfinite(x[k]) || !isfinite(y[k])) {
                if (!(x[k] == y[k] || (isnan(x[k]) && isnan(y[k])))) error = INFINITY;
                continue;
            }
            error += (x[k] - y[k]) * (x[k] - y[k]);
            norm += x[k] * x[k];
        }
        same = x && y && n == m && error <= 1e-6 * norm;
        free(x);
        free(y);
    }
    return same;
}

static const tf_kernel *kernel_of(const tuff_program *p, uint64_t choice)
{
    for (uint32_t i = 0; i < p->plan->kernels.n; i++)
        if (p->plan->kernels.data[i].ways > 1 && p->plan->kernels.data[i].choice == choice) return &p->plan->kernels.data[i];
    return NULL;
}

/* Tries the ways of one choice; *best is the program with the fastest so far. */
static int tune_choice(tuner *t, tuff_graph *g, const char *where, uint64_t choice, tuff_program **best)
{
    const uint32_t estimated = kernel_of(*best, choice)->way, ways = kernel_of(*best, choice)->ways;
    uint32_t way = estimated;
    double gain = 1.0;
    for (uint32_t w = 0; w < ways; w++) {
        tuff_program *other = NULL;
        bench_time times[2];
        if (w == estimated) continue;
        put(t, choice, w);
        const int status = prepare(t, g, &other);
        const tf_kernel *k = status ? NULL : kernel_of(other, choice);
        tool_progress_show(&t->progress, "%s: %s", where, k ? k->algorithm : "");
        if (k && !agree(*best, other))
            fprintf(stderr, "tuff: %s: %s (%s) gives other results and is not taken\n", where, k->name, k->algorithm);
        else if (k && !bench_measure_beside((tuff_program *[]){ *best, other }, 2, (double)t->o->milliseconds * 1e-3, times) && times[1].ratio < 0.97) {
            tuff_program *slower = *best;
            *best = other;
            other = slower;
            gain *= times[1].ratio;
            way = w;
        }
        tuff_program_destroy(other);
        if (status) return status;
    }
    if (way == estimated)
        drop(t, choice);
    else {
        put(t, choice, way);
        t->changed++;
        tool_progress_end(&t->progress);
        printf("%s: %s (%s): %.0f%% of the time\n", where, kernel_of(*best, choice)->name, kernel_of(*best, choice)->algorithm, 100.0 * gain);
        fflush(stdout);
    }
    return TOOL_OK;
}

static int tune_graph(tuner *t, tuff_graph *g, const char *where)
{
    tuff_program *best = NULL;
    int status = prepare(t, g, &best);
    const uint32_t n = status ? 0 : best->plan->kernels.n;
    uint64_t *choices = tool_alloc((n + 1) * sizeof *choices);
    uint32_t count = 0;
    for (uint32_t i = 0; i < n; i++)
        if (best->plan->kernels.data[i].ways > 1 && !tried(t, best->plan->kernels.data[i].choice)) choices[count++] = best->plan->kernels.data[i].choice;
    for (uint32_t i = 0; !status && i < count; i++) { /* from the estimates on, whatever was found before */
        tuff_program_destroy(best);
        drop(t, choices[i]);
        status = prepare(t, g, &best);
        if (!status && kernel_of(best, choices[i])) status = tune_choice(t, g, where, choices[i], &best);
    }
    tuff_program_destroy(best);
    free(choices);
    return status;
}

static int tune_cases(tuner *t)
{
    int status = TOOL_OK;
    for (uint32_t i = 0; !status && i < bench_case_count; i++) {
        char message[512];
        tuff_graph *g = NULL;
        tool_progress_show(&t->progress, "%s", bench_cases[i].name);
        if (tuff_graph_parse(bench_cases[i].text, strlen(bench_cases[i].text), NULL, &g, message, sizeof message)) status = tool_error("%s", message);
        if (!status && tune_graph(t, g, bench_cases[i].name)) status = TOOL_FAILED;
        tuff_graph_destroy(g);
    }
    return status;
}

static int run(const void *options)
{
    tune_options o = *(const tune_options *)options;
    tuner t = { .o = &o };
    tuff_graph *g = NULL;
    char path[1200];
    if (!o.milliseconds) o.milliseconds = 200;
    const char *file = o.common.arguments.n ? o.common.arguments.v[0] : NULL;
    int status = file ? tool_read_graph(file, &o.params, &g) : TOOL_OK;
    if (!status) status = tool_open_device(&o.common, &t.dev);
    if (!status && !tf_tuning_path(t.dev, path, sizeof path)) status = tool_error("there is no cache directory to keep what is found (TUFF_CACHE_DIR)");
    for (uint32_t i = 0; !status && i < t.dev->tuning.n; i++) put(&t, t.dev->tuning_rows[i].choice, t.dev->tuning_rows[i].way);
    tool_progress_begin(&t.progress, &o.common);
    if (!status) status = file ? tune_graph(&t, g, file) : tune_cases(&t);
    tool_progress_end(&t.progress);
    if (!status && !tf_tuning_save(t.dev, t.rows, t.n)) status = tool_error("%s cannot be written", path);
    if (!status) printf("%u of %u choices differ from the estimate; kept in %s\n", t.changed, t.n_done, path);
    tuff_device_close(t.dev);
    tuff_graph_destroy(g);
    free(t.rows);
    free(t.done);
    return status;
}

const tool_command tool_tune = {
    .name = "tune", .usage = "[G.tuff] [options]", .doc = "measure which of several right kernels is the fastest on this device, and remember",
    .more = "Without a graph: for those of `tuff bench`. What is found is kept beside the compiled kernels, for this device and driver, and counts for\n"
            "graphs of other sizes of about the same magnitude too; --toggles=-tuning leaves it out of account.",
    .options = options_table, .option_count = TF_COUNT(options_table), .options_size = sizeof(tune_options), .least = 0, .most = 1, .run = run,
};
