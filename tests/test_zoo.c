/* test_zoo.c - the graphs of samples/zoo/diffusion, and those of other folders that no reference case runs: those with a case compute its
 * outputs from its inputs; all agree with the interpreter, and what is known of the others' results holds. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "graph/graph.h"
#include "graph/npy.h"
#include "support/support.h"

#define DATA TUFF_SOURCE_DIR "/tests/data/diffusion/"

/* name: of a graph in samples/zoo/diffusion, or with another folder. */
static tuff_graph *parse(const char *name, const char *const *params, uint32_t n)
{
    char path[512], message[512], *text = NULL;
    size_t size = 0;
    tuff_graph *g = NULL;
    snprintf(path, sizeof path, TUFF_SOURCE_DIR "/samples/zoo/%s%s.tuff", strchr(name, '/') ? "" : "diffusion/", name);
    cr_assert(tf_file_read(path, NULL, &text, &size, message, sizeof message) == TUFF_OK, "%s", message);
    cr_assert(tuff_graph_parse(text, size, &(tuff_parse_desc){ .name = name, .params = params, .param_count = n }, &g, message, sizeof message) == TUFF_OK, "%s", message);
    tf_free(NULL, text, size + 1);
    return g;
}

/* ---- against reference cases ---- */

/* tolerance: the case's own, rel_l2; integers are exact. */
typedef struct zoo_case { const char *graph, *folder; double tolerance; } zoo_case;
static const zoo_case cases[] = {
    { "score_sde_ve", "pc_ve_reverse_diffusion", 3e-5 }, { "score_sde_vp", "pc_vp_reverse_diffusion_persample", 8e-5 }, { "score_sde_subvp", "pc_subvp_euler_maruyama", 7e-5 },
    { "consistency", "consistency_multistep", 1e-5 }, { "mlcm", "sample_multistep_segment_ddim", 1e-5 }, { "apg", "sample_apg_euler", 1e-5 },
    { "teleport", "teleport_lowrank_then_2m", 1e-5 }, { "calibration", "calibrated_sample", 1e-5 },
};

static bool read_port(const zoo_case *c, const tuff_graph *g, const tf_port *port, tf_npy *out)
{
    char path[512], message[256];
    snprintf(path, sizeof path, DATA "%s/%s.npy", c->folder, port->name);
    const bool good = tf_npy_read(path, tf_type_of(g, port->value)->dtype, NULL, out, message, sizeof message) == TUFF_OK;
    cr_expect(good, "%s: %s", c->graph, message);
    return good;
}

static void expect_case(tuff_device *dev, const zoo_case *c)
{
    tuff_graph *g = parse(c->graph, NULL, 0);
    tuff_program *p = NULL;
    tf_npy file;
    cr_assert(tuff_compile(dev, g, NULL, &p) == TUFF_OK, "%s", tuff_graph_error(g));
    for (uint32_t i = 0; i < g->ports.n; i++)
        if (g->ports.data[i].kind == TF_PORT_INPUT && read_port(c, g, &g->ports.data[i], &file)) {
            cr_assert(tuff_write(p, g->ports.data[i].name, file.data, file.bytes) == TUFF_OK, "%s: %s", c->graph, tuff_program_error(p));
            tf_npy_release(&file, NULL);
        }
    cr_assert(tuff_run(p) == TUFF_OK, "%s: %s", c->graph, tuff_program_error(p));
    for (uint32_t i = 0; i < g->ports.n; i++) {
        const tf_port *port = &g->ports.data[i];
        static char got[1 << 16];
        static double a[1 << 13], b[1 << 13];
        if (port->kind != TF_PORT_OUTPUT || !read_port(c, g, port, &file)) continue;
        const size_t size = tf_dtype_bits(file.dtype) / 8, n = file.bytes / size;
        cr_assert(file.bytes <= sizeof got && n <= COUNT(a));
        cr_assert(tuff_read(p, port->name, got, file.bytes) == TUFF_OK, "%s: %s", c->graph, tuff_program_error(p));
        for (size_t k = 0; k < n; k++) a[k] = tf_load_element(file.dtype, got, k, NULL), b[k] = tf_load_element(file.dtype, file.data, k, NULL);
        expect_array(port->name, file.dtype, a, b, n, (tolerance){ .rel = tf_dtype_is_int(file.dtype) ? 0 : c->tolerance });
        tf_npy_release(&file, NULL);
    }
    tuff_program_destroy(p);
    tuff_graph_destroy(g);
}

Test(zoo, reference_cases)
{
    tuff_device *dev = open_device(NULL);
    for (size_t i = 0; i < COUNT(cases); i++) expect_case(dev, &cases[i]);
    tuff_device_close(dev);
}

/* ---- against the interpreter ---- */

static void fill_positive(void *user, const char *name, tuff_dtype dtype, void *data, size_t n)
{
    rng r = { 11 };
    (void)user, (void)name;
    for (size_t i = 0; i < n; i++) tf_store_element(dtype, data, i, tf_dtype_is_int(dtype) ? (double)rng_below(&r, 8) : 0.5 + rng_uniform(&r), 0);
}
static void fill_normal(void *user, const char *name, tuff_dtype dtype, void *data, size_t n)
{
    rng r = { 12 };
    (void)user, (void)name;
    for (size_t i = 0; i < n; i++) tf_store_element(dtype, data, i, tf_dtype_is_int(dtype) ? (double)rng_below(&r, 8) : rng_normal(&r), 0);
}

Test(zoo, interpreter)
{
    static const struct { const char *name; bool normal; } graphs[] = {
        { "score_sde_ve", false }, { "score_sde_vp", false }, { "score_sde_subvp", false }, { "consistency", false }, { "mlcm", false }, { "apg", false }, { "teleport", false },
        { "calibration", false }, { "golden_noise", false }, { "nitrofusion", true }, { "jacobi", true }, { "speculative_jacobi", true },
        { "ssm/s5", true }, { "ssm/mamba_fscil", true }, { "ssm/cross_scan", true }, { "ssm/continual_attention", true },
    };
    tuff_device *dev = open_device(NULL);
    for (size_t i = 0; i < COUNT(graphs); i++) {
        tuff_graph *g = parse(graphs[i].name, NULL, 0);
        expect_graph(graphs[i].name, dev, g, &(graph_options){ .fill = graphs[i].normal ? fill_normal : fill_positive, .tolerance = { .rel = 1e-4 } });
        tuff_graph_destroy(g);
    }
    tuff_device_close(dev);
}

/* ---- what is known of results ---- */

enum { TABLES = 3, STEPS = 5 };

/* Orthonormal columns: an input "U" of `columns` columns is the first of the identity. */
typedef struct values { size_t columns; double scale; } values;
static void fill_known(void *user, const char *name, tuff_dtype dtype, void *data, size_t n)
{
    static const double rho[TABLES] = { 7, 1, 20 };
    const values *v = user;
    rng r = { (uint64_t)name[0] * 7 + (uint64_t)name[strlen(name) - 1] };
    if (!strcmp(name, "tables")) {
        for (int k = 0; k < TABLES; k++) {
            tuff_graph *g = tuff_graph_create(NULL);
            double rows[STEPS * TUFF_ROW_COLUMNS];
            const tuff_sigma_grid_desc grid = { .sigma_min = 0.02, .sigma_max = 20, .rho = rho[k] };
            cr_assert(tuff_host_value(tuff_solver_table(tuff_schedule_karras(g, STEPS, &grid), TUFF_SOLVER_EULER, NULL), rows, COUNT(rows)) == TUFF_OK);
            for (size_t i = 0; i < COUNT(rows); i++) ((float *)data)[(size_t)k * COUNT(rows) + i] = (float)rows[i];
            tuff_graph_destroy(g);
        }
        return;
    }
    for (size_t i = 0; i < n; i++) {
        const double x = !strcmp(name, "U") ? (double)(i / v->columns == i % v->columns) : !strcmp(name, "lam") ? 0.2 + rng_uniform(&r) : v->scale * rng_normal(&r);
        tf_store_element(dtype, data, i, tf_dtype_is_int(dtype) ? (double)rng_below(&r, 8) : x, 0);
    }
}

/* Runs a graph on fill_known's values. */
static tuff_program *run_known(tuff_device *dev, const char *name, values v)
{
    tuff_graph *g = parse(name, NULL, 0);
    tuff_program *p = NULL;
    static float data[1 << 14];
    cr_assert(tuff_compile(dev, g, NULL, &p) == TUFF_OK, "%s", tuff_graph_error(g));
    for (uint32_t i = 0; i < g->ports.n; i++) {
        const tf_port *port = &g->ports.data[i];
        uint64_t n = 0;
        if (port->kind != TF_PORT_INPUT) continue;
        cr_assert(tf_count_bound(g, tf_type_of(g, port->value), &n) && n <= COUNT(data));
        fill_known(&v, port->name, tf_type_of(g, port->value)->dtype, data, (size_t)n);
        cr_assert(tuff_write(p, port->name, data, (size_t)n * 4) == TUFF_OK, "%s", tuff_program_error(p));
    }
    cr_assert(tuff_run(p) == TUFF_OK, "%s", tuff_program_error(p));
    tuff_graph_destroy(g);
    return p;
}
static void read(tuff_program *p, const char *name, void *out, size_t size) { cr_assert(tuff_read(p, name, out, size) == TUFF_OK, "%s", tuff_program_error(p)); }

Test(zoo, idempotent)
{
    tuff_device *dev = open_device(NULL);
    float x[8 * 16], again[8 * 16], mu[16];
    tuff_program *p = run_known(dev, "idempotent", (values){ 6, 1 });
    read(p, "x", x, sizeof x);
    read(p, "again", again, sizeof again);
    fill_known(&(values){ 6, 1 }, "mu", TUFF_F32, mu, 16);
    expect_floats("f(f(x)) = f(x)", again, x, COUNT(x), (tolerance){ .rel = 1e-6 });
    for (int i = 0; i < 8 * 16; i++)
        if (i % 16 >= 6) cr_expect(x[i] == mu[i % 16], "element %d is off the plane", i);
    tuff_program_destroy(p);
    tuff_device_close(dev);
}

Test(zoo, one_step_at_a_shifted_time)
{
    tuff_device *dev = open_device(NULL);
    float x[8 * 16], time = 0, start[8 * 16], w[16 * 16], v[16], want[8 * 16];
    double product = 1;
    tuff_program *p = run_known(dev, "nitrofusion", (values){ 16, 0.3 });
    read(p, "x", x, sizeof x);
    read(p, "time", &time, sizeof time);
    cr_expect(time == 250);
    const values fill = { 16, 0.3 };
    fill_known((void *)&fill, "x_init", TUFF_F32, start, COUNT(start));
    fill_known((void *)&fill, "w", TUFF_F32, w, COUNT(w));
    fill_known((void *)&fill, "v", TUFF_F32, v, COUNT(v));
    for (int k = 0; k < 1000; k++) product *= 1 - pow(sqrt(0.00085) + (sqrt(0.012) - sqrt(0.00085)) * k / 999, 2);
    for (int i = 0; i < 8 * 16; i++) {
        double e = 0.25 * (double)v[i % 16];
        for (int k = 0; k < 16; k++) e += (double)start[i / 16 * 16 + k] * (double)w[k * 16 + i % 16];
        want[i] = (float)(((double)start[i] - sqrt(1 - product) * tanh(e)) / sqrt(product));
    }
    expect_floats("(x - sigma eps) / alpha", x, want, COUNT(x), (tolerance){ .rel = 1e-5 });
    tuff_program_destroy(p);
    tuff_device_close(dev);
}

/* A distribution of one token each: what is drawn is the likeliest. */
Test(zoo, speculative_decoding_of_a_sure_model_is_greedy)
{
    tuff_device *dev = open_device(NULL);
    int32_t drawn[24], greedy[24], accepted = 0;
    tuff_program *p = run_known(dev, "speculative_jacobi", (values){ 17, 3000 }), *q = run_known(dev, "jacobi", (values){ 17, 3000 });
    read(p, "tokens", drawn, sizeof drawn);
    read(p, "accepted", &accepted, sizeof accepted);
    read(q, "tokens", greedy, sizeof greedy);
    cr_expect_eq(accepted, 24);
    cr_expect_arr_eq(drawn, greedy, sizeof drawn);
    tuff_program_destroy(p);
    tuff_program_destroy(q);
    tuff_device_close(dev);
}

/* S5 against its recurrence, and a cross-scan against indices. */
Test(zoo, s5_and_cross_scan)
{
    enum { L = 200, H = 6, P = 8, D = 12, Y = 5, X = 7 };
    const values fill = { 0, 0.3 };
    tuff_device *dev = open_device(NULL);
    static float y[L * H], want[L * H], u[L * H], lam[2 * P], b[2 * P * H], c[2 * H * P], d[H], step[P], w[H * H];
    const struct { const char *name; float *data; size_t n; } in[] = { { "u", u, COUNT(u) }, { "D", d, COUNT(d) }, { "log_step", step, COUNT(step) }, { "W", w, COUNT(w) } };
    for (size_t i = 0; i < COUNT(in); i++) fill_known((void *)&fill, in[i].name, TUFF_F32, in[i].data, in[i].n);
    fill_known((void *)&(values){ 0, 0.3 }, "lam", TUFF_F32, lam, COUNT(lam));
    for (int k = 0; k < P; k++) lam[2 * k] = -lam[2 * k]; /* decaying, with frequencies */
    fill_known((void *)&fill, "B", TUFF_F32, b, COUNT(b));
    fill_known((void *)&fill, "C", TUFF_F32, c, COUNT(c));
    tuff_graph *g = parse("ssm/s5", NULL, 0);
    tuff_program *p = NULL;
    cr_assert(tuff_compile(dev, g, NULL, &p) == TUFF_OK, "%s", tuff_graph_error(g));
    for (size_t i = 0; i < COUNT(in); i++) cr_assert(tuff_write(p, in[i].name, in[i].data, in[i].n * sizeof(float)) == TUFF_OK);
    cr_assert(tuff_write(p, "lam", lam, sizeof lam) == TUFF_OK && tuff_write(p, "B", b, sizeof b) == TUFF_OK && tuff_write(p, "C", c, sizeof c) == TUFF_OK);
    cr_assert(tuff_run(p) == TUFF_OK, "%s", tuff_program_error(p));
    read(p, "y", y, sizeof y);
    double state[2 * P] = { 0 };
    for (int t = 0; t < L; t++) {
        double x[H];
        for (int k = 0; k < P; k++) {
            const double dt = exp((double)step[k]), re = (double)lam[2 * k], im = (double)lam[2 * k + 1], grow = exp(re * dt), n = re * re + im * im;
            const double a[2] = { grow * cos(im * dt), grow * sin(im * dt) }, s[2] = { state[2 * k], state[2 * k + 1] };
            const double f[2] = { ((a[0] - 1) * re + a[1] * im) / n, (a[1] * re - (a[0] - 1) * im) / n }; /* (e^z - 1) / lam */
            double bu[2] = { 0, 0 };
            for (int h = 0; h < H; h++)
                for (int r = 0; r < 2; r++) bu[r] += (double)b[2 * (k * H + h) + r] * (double)u[t * H + h];
            state[2 * k] = a[0] * s[0] - a[1] * s[1] + f[0] * bu[0] - f[1] * bu[1];
            state[2 * k + 1] = a[0] * s[1] + a[1] * s[0] + f[0] * bu[1] + f[1] * bu[0];
        }
        for (int h = 0; h < H; h++) {
            double v = (double)d[h] * (double)u[t * H + h];
            for (int k = 0; k < P; k++) v += 2 * ((double)c[2 * (h * P + k)] * state[2 * k] - (double)c[2 * (h * P + k) + 1] * state[2 * k + 1]);
            x[h] = v * (1 + erf(v / sqrt(2))) / 2;
        }
        for (int h = 0; h < H; h++) {
            double v = 0;
            for (int k = 0; k < H; k++) v += (double)w[h * H + k] * x[k];
            want[t * H + h] = (float)(x[h] / (1 + exp(-v)));
        }
    }
    expect_floats("s5", y, want, COUNT(y), (tolerance){ .rel = 2e-6 });
    tuff_program_destroy(p);
    tuff_graph_destroy(g);

    static float image[D * Y * X], scanned[4 * D * Y * X], merged[D * Y * X];
    p = run_known(dev, "ssm/cross_scan", (values){ 0, 1 });
    fill_known((void *)&(values){ 0, 1 }, "x", TUFF_F32, image, COUNT(image));
    read(p, "y", scanned, sizeof scanned);
    read(p, "merged", merged, sizeof merged);
    for (int i = 0; i < D * Y * X; i++) {
        const int channel = i / (Y * X), at = i % (Y * X), turned = at % X * Y + at / X, places[4] = { at, Y * X - 1 - at, turned, Y * X - 1 - turned };
        for (int k = 0; k < 4; k++) cr_expect(scanned[(k * D + channel) * Y * X + places[k]] == image[i], "direction %d, element %d", k, i);
        cr_expect(merged[i] == 4 * image[i], "element %d", i);
    }
    tuff_program_destroy(p);
    tuff_device_close(dev);
}

/* A new branch whose gate's weights are 0 changes nothing. */
Test(zoo, new_branch_starts_silent)
{
    enum { Y = 4 * 16, IN = 64 * 16, OUT = 16 * 32 };
    static float in[IN], out[OUT], y[2][Y];
    tuff_device *dev = open_device(NULL);
    tuff_program *p = run_known(dev, "ssm/mamba_fscil", (values){ 0, 0.3 });
    fill_known((void *)&(values){ 0, 0.3 }, "new_in", TUFF_F32, in, IN / 2);
    cr_assert(tuff_write(p, "new_in", in, sizeof in) == TUFF_OK && tuff_run(p) == TUFF_OK, "%s", tuff_program_error(p));
    read(p, "y", y[0], sizeof y[0]);
    cr_assert(tuff_write(p, "new_out", out, sizeof out) == TUFF_OK && tuff_run(p) == TUFF_OK, "%s", tuff_program_error(p));
    read(p, "y", y[1], sizeof y[1]);
    cr_expect_arr_eq(y[0], y[1], sizeof y[0]);
    double size = 0;
    for (int i = 0; i < Y; i++) size += fabs((double)y[0][i]);
    cr_expect(size > 0);
    tuff_program_destroy(p);
    tuff_device_close(dev);
}

/* The search scores every candidate as a run of its own table does, and names the best. */
Test(zoo, search_of_time_steps)
{
    tuff_device *dev = open_device(NULL);
    float errors[TABLES];
    int32_t best = -1;
    tuff_graph *g = parse("autodiffusion", NULL, 0);
    values v = { 16, 1 };
    expect_graph("autodiffusion", dev, g, &(graph_options){ .fill = fill_known, .user = &v, .tolerance = { .rel = 1e-4 } });
    tuff_graph_destroy(g);
    tuff_program *p = run_known(dev, "autodiffusion", v);
    read(p, "errors", errors, sizeof errors);
    read(p, "best", &best, sizeof best);
    cr_assert(best >= 0 && best < TABLES);
    for (int k = 0; k < TABLES; k++) cr_expect(errors[k] > 0 && errors[k] >= errors[best], "error %d is %g", k, (double)errors[k]);
    cr_expect(errors[1] > 2 * errors[best], "equal steps in sigma are no good grid");
    tuff_program_destroy(p);
    tuff_device_close(dev);
}
