/* test_diffusion.c - samplers as loops on the device: orders of convergence against the exact flow of Gaussian data, loops
 * against the interpreter, tables that change between runs, the same numbers in every batch, guidance, inpainting; and known
 * answers of schedules and tables on the host. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "graph/npy.h"
#include "runtime/device.h"
#include "support/support.h"

#define DATA TUFF_SOURCE_DIR "/tests/data/diffusion/order_convergence/"
enum { BATCH = 8, N = 16 };

typedef struct gaussian { float x[BATCH * N], exact[BATCH * N], mu[N], u[N * N], lam[N]; } gaussian;

static void load(const char *name, float *out, size_t n)
{
    char path[512], message[256];
    tf_npy npy;
    snprintf(path, sizeof path, DATA "%s.npy", name);
    cr_assert(tf_npy_read(path, TUFF_F32, NULL, &npy, message, sizeof message) == TUFF_OK, "%s", message);
    cr_assert_eq(npy.bytes, n * sizeof *out);
    memcpy(out, npy.data, npy.bytes);
    tf_npy_release(&npy, NULL);
}
static gaussian load_gaussian(void)
{
    gaussian d;
    load("x_init", d.x, BATCH * N);
    load("x_exact", d.exact, BATCH * N);
    load("mu", d.mu, N);
    load("U", d.u, N * N);
    load("lam", d.lam, N);
    return d;
}

/* ---- networks ---- */

typedef struct network { tuff_tensor mu, u, lam; } network;

static network gaussian_network(tuff_graph *g, const gaussian *d)
{
    return (network){ tuff_const(g, TUFF_F32, TUFF_SHAPE(N), d->mu, NULL), tuff_const(g, TUFF_F32, TUFF_SHAPE(N, N), d->u, NULL), tuff_const(g, TUFF_F32, TUFF_SHAPE(N), d->lam, NULL) };
}
static tuff_tensor gaussian_denoiser(void *user, const tuff_denoiser_call *c)
{
    const network *n = user;
    return tuff_denoise_gaussian(c->x, c->alpha, c->sigma, n->mu, n->u, n->lam, NULL);
}
/* Says noise, from data of unit variance around 0.5 (conditional: around 1.5): pointwise, so that bits can be compared. */
static tuff_tensor simple_noise(void *user, const tuff_denoiser_call *c)
{
    (void)user;
    const tuff_named in[] = { { "x", c->x }, { "a", c->alpha }, { "s", c->sigma } };
    return tuff_map(c->graph, c->condition ? "let m = 1.5; (x - a * m) * s / (a * a + s * s)" : "let m = 0.5; (x - a * m) * s / (a * a + s * s)", 3, in);
}

/* ---- running ---- */

static tuff_program *compile(tuff_device *dev, tuff_graph *g)
{
    tuff_program *p = NULL;
    cr_assert(tuff_compile(dev, g, NULL, &p) == TUFF_OK, "%s", tuff_graph_error(g));
    return p;
}
static void result(tuff_program *p, const char *name, float *out, size_t n)
{
    cr_assert(tuff_run(p) == TUFF_OK && tuff_read(p, name, out, n * sizeof *out) == TUFF_OK, "%s", tuff_program_error(p));
}
static double distance(const float *a, const float *b, size_t n)
{
    double d = 0, norm = 0;
    for (size_t i = 0; i < n; i++) {
        d += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        norm += (double)b[i] * (double)b[i];
    }
    return sqrt(d / norm);
}

/* ---- orders of convergence ---- */

/* Errors in double precision at 8, 16, 32 and 64 steps from sigma 10 to 0.2 in equal ratios. */
static const struct { const char *name; tuff_solver solver; int32_t order; double error[4]; } orders[] = {
    { "euler", TUFF_SOLVER_EULER, 0, { 0.10117749571972308, 0.05198499489954623, 0.02635662100850188, 0.013271327319650075 } },
    { "heun", TUFF_SOLVER_HEUN, 0, { 0.03127208444534956, 0.007321990239961696, 0.0017734169781123002, 0.0004365234935568564 } },
    { "dpm2", TUFF_SOLVER_DPM2, 0, { 0.014230363013290719, 0.0034111956679964196, 0.000834758420811111, 0.0002064578129999517 } },
    { "dpmpp_2s", TUFF_SOLVER_DPMPP_2S, 0, { 0.011841083893273088, 0.003119373590666077, 0.0007988495501140947, 0.00020201061781247986 } },
    { "dpmpp_2m", TUFF_SOLVER_DPMPP_2M, 0, { 0.005059046045927718, 0.0018686439824058185, 0.0005276242699087418, 0.0001378184997746759 } },
    { "dpmpp_3m", TUFF_SOLVER_DPMPP_3M, 0, { 0.010802146177239154, 0.001343085929232782, 0.00023066219291102995, 4.883235902114707e-05 } },
    { "unipc2", TUFF_SOLVER_UNIPC, 2, { 0.008876939905282653, 0.0012744831740632962, 0.00016239100208692057, 2.0362865970604296e-05 } },
    { "unipc3", TUFF_SOLVER_UNIPC, 3, { 0.004802551671775131, 0.00013719907367057754, 9.628699689379676e-06, 6.937228120337715e-07 } },
    { "lms4", TUFF_SOLVER_LMS, 4, { 0.026679823006005122, 0.003494920648879176, 0.0003615599585083567, 3.9495486506667425e-05 } },
    { "rk4", TUFF_SOLVER_RK4, 0, { 0.00046212276432137044, 2.867042831293543e-05, 1.7755938295244823e-06, 1.1096163474496711e-07 } },
};

static double error_of(tuff_device *dev, const gaussian *d, tuff_solver solver, int32_t order, int64_t steps)
{
    tuff_graph *g = tuff_graph_create(NULL);
    network n = gaussian_network(g, d);
    const tuff_tensor sigmas = tuff_schedule_exponential(g, steps + 1, &(tuff_sigma_grid_desc){ .sigma_min = 0.2, .sigma_max = 10, .open = true });
    const tuff_tensor table = tuff_solver_table(sigmas, solver, &(tuff_solver_desc){ .order = order, .keep_order = true });
    const tuff_tensor x = tuff_const(g, TUFF_F32, TUFF_SHAPE(BATCH, N), d->x, NULL);
    tuff_output(g, "x", tuff_sample(x, &(tuff_sample_desc){ .table = table, .denoiser = gaussian_denoiser, .user = &n }));
    tuff_program *p = compile(dev, g);
    float got[BATCH * N];
    result(p, "x", got, BATCH * N);
    tuff_program_destroy(p);
    tuff_graph_destroy(g);
    return distance(got, d->exact, BATCH * N);
}

Test(diffusion, orders_of_convergence)
{
    static const int steps[4] = { 8, 16, 32, 64 };
    tuff_device *dev = open_device(NULL);
    const gaussian d = load_gaussian();
    for (size_t i = 0; i < COUNT(orders); i++) {
        double before = 0;
        for (size_t k = 0; k < 4; k++) {
            const double want = orders[i].error[k], got = error_of(dev, &d, orders[i].solver, orders[i].order, steps[k]);
            cr_expect(fabs(got - want) <= 0.1 * want || (want < 3e-6 && got < 3e-6), "%s, %d steps: error %.4g, in double precision %.4g", orders[i].name, steps[k], got, want);
            if (k && want > 1e-5)
                cr_expect(fabs(log2(before / got) - log2(orders[i].error[k - 1] / want)) < 0.35, "%s: order %.2f from %d to %d steps", orders[i].name, log2(before / got), steps[k - 1], steps[k]);
            before = got;
        }
    }
    tuff_device_close(dev);
}

/* ---- loops against the interpreter ---- */

typedef struct solver_case { const char *name; tuff_solver solver; tuff_solver_desc d; bool vp; tuff_guidance guidance; } solver_case;

static const solver_case solver_cases[] = {
    { .name = "heun", .solver = TUFF_SOLVER_HEUN, .vp = true }, { .name = "rk4", .solver = TUFF_SOLVER_RK4, .vp = true }, { .name = "dpm2", .solver = TUFF_SOLVER_DPM2, .vp = true },
    { .name = "lms", .solver = TUFF_SOLVER_LMS }, { .name = "ipndm", .solver = TUFF_SOLVER_IPNDM, .vp = true }, { .name = "unipc", .solver = TUFF_SOLVER_UNIPC, .d = { .order = 3 }, .vp = true },
    { .name = "sde", .solver = TUFF_SOLVER_DPMPP_SDE, .d = { .eta = 1 } }, { .name = "3m sde", .solver = TUFF_SOLVER_DPMPP_3M, .d = { .eta = 0.7 }, .vp = true },
    { .name = "2s ancestral", .solver = TUFF_SOLVER_DPMPP_2S, .d = { .eta = 1 } },
    { .name = "churn from the first step", .solver = TUFF_SOLVER_HEUN, .d = { .s_churn = 5 } },
    { .name = "cfg", .solver = TUFF_SOLVER_EULER, .guidance = { .kind = TUFF_GUIDANCE_CFG, .scale = 3 } },
    { .name = "cfg++", .solver = TUFF_SOLVER_CFG_PP, .vp = true, .guidance = { .kind = TUFF_GUIDANCE_CFG_PP, .scale = 0.6 } },
    { .name = "apg", .solver = TUFF_SOLVER_DPMPP_2M, .guidance = { .kind = TUFF_GUIDANCE_APG, .scale = 4, .eta = 0.2, .limit = 2, .beta = -0.5 } },
    { .name = "rescale", .solver = TUFF_SOLVER_DDIM, .d = { .eta = 0.5 }, .vp = true, .guidance = { .kind = TUFF_GUIDANCE_RESCALE, .scale = 4, .rescale = 0.7 } },
    { .name = "zero star", .solver = TUFF_SOLVER_EULER, .guidance = { .kind = TUFF_GUIDANCE_ZERO_STAR, .scale = 2 } },
    { .name = "ddpm", .solver = TUFF_SOLVER_DDPM, .d = { .large_variance = true }, .vp = true },
    { .name = "consistency", .solver = TUFF_SOLVER_CONSISTENCY },
};

static tuff_tensor grid_of(tuff_graph *g, const solver_case *c, tuff_solver_desc *d)
{
    if (!c->vp) return tuff_schedule_karras(g, 6, &(tuff_sigma_grid_desc){ .sigma_min = 0.05, .sigma_max = 20 });
    d->alphas = tuff_schedule_logsnr(g, 6, NULL);
    return tuff_result(d->alphas, 1);
}

Test(diffusion, loops_against_the_interpreter)
{
    tuff_device *dev = open_device(NULL);
    for (size_t i = 0; i < COUNT(solver_cases); i++) {
        const solver_case *c = &solver_cases[i];
        tuff_graph *g = tuff_graph_create(NULL);
        tuff_solver_desc d = c->d;
        tuff_tensor states = { NULL, 0 };
        d.prediction = TUFF_PREDICT_EPS;
        const tuff_tensor sigmas = grid_of(g, c, &d), table = tuff_solver_table(sigmas, c->solver, &d);
        const tuff_sample_desc s = { .table = table, .denoiser = simple_noise, .shape = TUFF_SHAPE(3, 37), .seed = 7 + i, .guidance = c->guidance, .states = &states };
        tuff_output(g, "x", tuff_sample((tuff_tensor){ NULL, 0 }, &s));
        tuff_output(g, "states", states);
        cr_expect(tuff_graph_status(g) == TUFF_OK, "%s: %s", c->name, tuff_graph_error(g));
        if (tuff_graph_status(g) == TUFF_OK) expect_graph(c->name, dev, g, &(graph_options){ .tolerance = { .rel = 2e-5 } });
        tuff_graph_destroy(g);
    }
    tuff_device_close(dev);
}

/* A table that ends where it started: steps back to more noise. */
Test(diffusion, restart_and_inversion)
{
    tuff_device *dev = open_device(NULL);
    static const double levels[] = { 10, 3, 1, 4, 2, 1, 4, 1, 0.1, 0 };
    for (int restart = 0; restart < 2; restart++) {
        tuff_graph *g = tuff_graph_create(NULL);
        const tuff_tensor sigmas = tuff_const(g, TUFF_F64, TUFF_SHAPE(COUNT(levels)), levels, NULL);
        const tuff_tensor table = tuff_solver_table(sigmas, TUFF_SOLVER_HEUN, &(tuff_solver_desc){ .prediction = TUFF_PREDICT_EPS, .restart = restart });
        tuff_output(g, "x", tuff_sample((tuff_tensor){ NULL, 0 }, &(tuff_sample_desc){ .table = table, .denoiser = simple_noise, .shape = TUFF_SHAPE(4, 50), .seed = 3 }));
        expect_graph(restart ? "restart" : "inversion", dev, g, &(graph_options){ .tolerance = { .rel = 2e-5 } });
        tuff_graph_destroy(g);
    }
    tuff_device_close(dev);
}

/* ---- the same numbers in every batch ---- */

static void sample_batch(tuff_device *dev, int64_t batch, uint32_t first, float *out)
{
    tuff_graph *g = tuff_graph_create(NULL);
    const tuff_tensor sigmas = tuff_schedule_karras(g, 10, NULL);
    const tuff_tensor table = tuff_solver_table(sigmas, TUFF_SOLVER_EULER_ANCESTRAL, &(tuff_solver_desc){ .prediction = TUFF_PREDICT_EPS });
    tuff_output(g, "x", tuff_sample((tuff_tensor){ NULL, 0 },
                                    &(tuff_sample_desc){ .table = table, .denoiser = simple_noise, .shape = TUFF_SHAPE(batch, 61), .seed = 99, .sample = first }));
    tuff_program *p = compile(dev, g);
    result(p, "x", out, (size_t)batch * 61);
    float again[7 * 61];
    result(p, "x", again, (size_t)batch * 61);
    cr_expect_arr_eq(again, out, (size_t)batch * 61 * sizeof *out);
    tuff_program_destroy(p);
    tuff_graph_destroy(g);
}

Test(diffusion, same_numbers_in_every_batch)
{
    tuff_device *dev = open_device(NULL);
    float all[7 * 61], part[3 * 61];
    sample_batch(dev, 7, 0, all);
    sample_batch(dev, 3, 2, part);
    cr_expect_arr_eq(part, all + 2 * 61, sizeof part);
    cr_expect(memcmp(all, all + 61, 61 * sizeof *all) != 0);
    tuff_device_close(dev);
}

/* ---- tables written between runs ---- */

static const struct { tuff_solver solver; tuff_solver_desc d; } exchanged[] = {
    { TUFF_SOLVER_DPMPP_2M, { .eta = 1 } }, { TUFF_SOLVER_DPMPP_2M, { .heun = true } }, { TUFF_SOLVER_EULER, { .eta = 0 } }, { TUFF_SOLVER_DDIM, { .eta = 0.5 } },
};

static tuff_tensor exchanged_table(tuff_graph *g, size_t i)
{
    tuff_solver_desc d = exchanged[i].d;
    d.prediction = TUFF_PREDICT_EPS;
    return tuff_solver_table(tuff_schedule_karras(g, 8, NULL), exchanged[i].solver, &d);
}
static tuff_tensor sampled_by(tuff_tensor table, tuff_tensor like)
{
    return tuff_sample((tuff_tensor){ NULL, 0 }, &(tuff_sample_desc){ .table = table, .like = like, .denoiser = simple_noise, .shape = TUFF_SHAPE(4, 33), .seed = 5 });
}

Test(diffusion, tables_change_between_runs)
{
    tuff_device *dev = open_device(NULL);
    tuff_graph *g = tuff_graph_create(NULL);
    const tuff_tensor like = exchanged_table(g, 0);
    tuff_output(g, "x", sampled_by(tuff_input(g, "table", TUFF_F32, TUFF_SHAPE(8, TUFF_ROW_COLUMNS)), like));
    tuff_program *p = compile(dev, g);
    for (size_t i = 0; i < COUNT(exchanged); i++) {
        tuff_graph *h = tuff_graph_create(NULL);
        const tuff_tensor table = exchanged_table(h, i);
        double rows[8 * TUFF_ROW_COLUMNS];
        float narrow[8 * TUFF_ROW_COLUMNS], got[4 * 33], want[4 * 33];
        cr_assert(tuff_host_value(table, rows, COUNT(rows)) == TUFF_OK);
        for (size_t k = 0; k < COUNT(rows); k++) narrow[k] = (float)rows[k];
        cr_assert(tuff_write(p, "table", narrow, sizeof narrow) == TUFF_OK, "%s", tuff_program_error(p));
        result(p, "x", got, COUNT(got));
        tuff_output(h, "x", sampled_by(table, (tuff_tensor){ NULL, 0 }));
        tuff_program *q = compile(dev, h);
        result(q, "x", want, COUNT(want));
        cr_expect(distance(got, want, COUNT(want)) < 2e-6, "table %zu: %.3g from the program made for it", i, distance(got, want, COUNT(want)));
        tuff_program_destroy(q);
        tuff_graph_destroy(h);
    }
    tuff_program_destroy(p);
    tuff_graph_destroy(g);
    tuff_device_close(dev);
}

/* ---- guidance and inpainting ---- */

static void guided(tuff_device *dev, tuff_guidance guidance, tuff_tensor (*f)(void *, const tuff_denoiser_call *), float *out)
{
    tuff_graph *g = tuff_graph_create(NULL);
    const tuff_tensor table = tuff_solver_table(tuff_schedule_karras(g, 6, NULL), TUFF_SOLVER_EULER, &(tuff_solver_desc){ .prediction = TUFF_PREDICT_EPS });
    tuff_output(g, "x", tuff_sample((tuff_tensor){ NULL, 0 }, &(tuff_sample_desc){ .table = table, .denoiser = f, .shape = TUFF_SHAPE(4, 33), .seed = 5, .guidance = guidance }));
    tuff_program *p = compile(dev, g);
    result(p, "x", out, 4 * 33);
    tuff_program_destroy(p);
    tuff_graph_destroy(g);
}
static tuff_tensor conditional_only(void *user, const tuff_denoiser_call *c)
{
    tuff_denoiser_call one = *c;
    one.condition = 1;
    return simple_noise(user, &one);
}

Test(diffusion, guidance_agrees_with_its_limits)
{
    tuff_device *dev = open_device(NULL);
    float plain[4 * 33], one[4 * 33], cfg[4 * 33], apg[4 * 33];
    guided(dev, (tuff_guidance){ .kind = TUFF_GUIDANCE_NONE }, conditional_only, plain);
    guided(dev, (tuff_guidance){ .kind = TUFF_GUIDANCE_CFG, .scale = 1 }, simple_noise, one);
    cr_expect(distance(one, plain, COUNT(plain)) < 1e-5);
    guided(dev, (tuff_guidance){ .kind = TUFF_GUIDANCE_CFG, .scale = 3 }, simple_noise, cfg);
    guided(dev, (tuff_guidance){ .kind = TUFF_GUIDANCE_APG, .scale = 3, .eta = 1 }, simple_noise, apg);
    cr_expect(distance(apg, cfg, COUNT(cfg)) < 1e-5);
    cr_expect(distance(cfg, plain, COUNT(cfg)) > 0.1);
    tuff_device_close(dev);
}

/* Intervals: all levels, none, and a part; a table of which nothing is known agrees. Counts the calls of the network that are built. */
typedef struct counted { int calls[2]; } counted;
static tuff_tensor count_calls(void *user, const tuff_denoiser_call *c)
{
    ((counted *)user)->calls[c->condition]++;
    return simple_noise(NULL, c);
}
static void sampled_in_interval(tuff_device *dev, tuff_guidance guidance, bool known, counted *calls, float *out)
{
    tuff_graph *g = tuff_graph_create(NULL);
    tuff_tensor table = tuff_solver_table(tuff_schedule_karras(g, 6, NULL), TUFF_SOLVER_EULER, &(tuff_solver_desc){ .prediction = TUFF_PREDICT_EPS });
    double rows[6 * TUFF_ROW_COLUMNS];
    float narrow[6 * TUFF_ROW_COLUMNS];
    cr_assert(tuff_host_value(table, rows, COUNT(rows)) == TUFF_OK);
    for (size_t k = 0; k < COUNT(rows); k++) narrow[k] = (float)rows[k];
    if (!known) table = tuff_input(g, "table", TUFF_F32, TUFF_SHAPE(6, TUFF_ROW_COLUMNS));
    *calls = (counted){ { 0 } };
    tuff_output(g, "x", tuff_sample((tuff_tensor){ NULL, 0 }, &(tuff_sample_desc){ .table = table, .denoiser = count_calls, .user = calls, .shape = TUFF_SHAPE(4, 33), .seed = 5,
                                                                                 .guidance = guidance }));
    tuff_program *p = compile(dev, g);
    if (!known) cr_assert(tuff_write(p, "table", narrow, sizeof narrow) == TUFF_OK);
    result(p, "x", out, 4 * 33);
    tuff_program_destroy(p);
    tuff_graph_destroy(g);
}

Test(diffusion, guidance_in_an_interval)
{
    static const tuff_guidance_kind kinds[] = { TUFF_GUIDANCE_CFG, TUFF_GUIDANCE_APG, TUFF_GUIDANCE_RESCALE, TUFF_GUIDANCE_ZERO_STAR };
    tuff_device *dev = open_device(NULL);
    for (size_t i = 0; i < COUNT(kinds); i++) {
        tuff_guidance q = { .kind = kinds[i], .scale = 3, .rescale = 0.7, .beta = -0.5 };
        float always[4 * 33], all[4 * 33], never[4 * 33], plain[4 * 33], part[4 * 33], unknown[4 * 33];
        counted calls;
        guided(dev, q, simple_noise, always);
        guided(dev, (tuff_guidance){ .kind = TUFF_GUIDANCE_NONE }, conditional_only, plain);
        q.high = 1e6;
        sampled_in_interval(dev, q, true, &calls, all);
        cr_expect_arr_eq(all, always, sizeof all);
        q.low = 1e5;
        sampled_in_interval(dev, q, true, &calls, never);
        cr_expect(calls.calls[0] == 0 && calls.calls[1] == 1, "the unconditional network was built %d times", calls.calls[0]);
        cr_expect(distance(never, plain, COUNT(plain)) < 1e-6);
        q.low = 0.1, q.high = 5;
        sampled_in_interval(dev, q, true, &calls, part);
        cr_expect(calls.calls[0] == 1 && calls.calls[1] == 3, "%d and %d networks", calls.calls[0], calls.calls[1]);
        cr_expect(distance(part, plain, COUNT(plain)) > 1e-3 && distance(part, always, COUNT(plain)) > 1e-3);
        sampled_in_interval(dev, q, false, &calls, unknown);
        cr_expect(distance(unknown, part, COUNT(part)) < 1e-5, "kind %zu: %.3g from the constant table", i, distance(unknown, part, COUNT(part)));
    }
    tuff_device_close(dev);
}

Test(diffusion, inpainting_keeps_what_is_known)
{
    tuff_device *dev = open_device(NULL);
    tuff_graph *g = tuff_graph_create(NULL);
    float mask[33], known[33], got[4 * 33];
    for (int i = 0; i < 33; i++) {
        mask[i] = (float)(i % 3 == 0);
        known[i] = (float)i / 8;
    }
    const tuff_tensor table = tuff_solver_table(tuff_schedule_karras(g, 6, NULL), TUFF_SOLVER_HEUN, &(tuff_solver_desc){ .prediction = TUFF_PREDICT_EPS });
    const tuff_sample_desc d = { .table = table, .denoiser = simple_noise, .shape = TUFF_SHAPE(4, 33), .seed = 5, .mask = tuff_const(g, TUFF_F32, TUFF_SHAPE(33), mask, NULL),
                                 .known = tuff_const(g, TUFF_F32, TUFF_SHAPE(33), known, NULL) };
    tuff_output(g, "x", tuff_sample((tuff_tensor){ NULL, 0 }, &d));
    tuff_program *p = compile(dev, g);
    result(p, "x", got, COUNT(got));
    for (int i = 0; i < 4 * 33; i++)
        if (mask[i % 33] != 0) cr_expect(got[i] == known[i % 33], "element %d is %g, known as %g", i, (double)got[i], (double)known[i % 33]);
    tuff_program_destroy(p);
    tuff_graph_destroy(g);
    tuff_device_close(dev);
}

/* ---- predictor-corrector ---- */

static tuff_tensor swapped(void *user, tuff_tensor x, bool back)
{
    (void)user, (void)back;
    return tuff_flip(x, TUFF_INTS(1));
}

Test(diffusion, predictor_corrector)
{
    static const struct { const char *name; tuff_pc_desc d; uint32_t corrector; bool per_sample, known; } pc[] = {
        { "ve", { .sde = TUFF_SDE_VE, .sigma_max = 5 }, 1, false, false }, { "vp ancestral", { .predictor = TUFF_PREDICTOR_ANCESTRAL, .beta_max = 8 }, 2, true, false },
        { "sub-vp", { .sde = TUFF_SDE_SUBVP, .beta_max = 8 }, 0, false, true }, { "flow", { .probability_flow = true, .beta_max = 8 }, 0, false, false },
        { "known", { .sde = TUFF_SDE_VE, .sigma_max = 5 }, 1, true, true },
    };
    tuff_device *dev = open_device(NULL);
    for (size_t i = 0; i < COUNT(pc); i++) {
        tuff_graph *g = tuff_graph_create(NULL);
        tuff_tensor noisy, states;
        const tuff_tensor x = tuff_normal(g, TUFF_SHAPE(3, 37), 1, NULL);
        tuff_pc_sample_desc d = { .table = tuff_pc_table(g, 12, &pc[i].d), .denoiser = simple_noise, .prediction = TUFF_PREDICT_EPS, .corrector_steps = pc[i].corrector, .snr = 0.16,
                                  .per_sample = pc[i].per_sample, .seed = 4, .noisy = &noisy, .states = &states };
        if (pc[i].known) {
            d.mask = tuff_cast(tuff_greater(tuff_uniform(g, TUFF_SHAPE(37), 2, NULL), tuff_literal(g, 0.5, TUFF_F32)), TUFF_F32);
            d.known = tuff_normal(g, TUFF_SHAPE(37), 3, NULL);
            d.transform = pc[i].corrector ? swapped : NULL;
        }
        tuff_output(g, "mean", tuff_pc_sample(x, &d));
        tuff_output(g, "noisy", noisy);
        tuff_output(g, "states", states);
        cr_expect(tuff_graph_status(g) == TUFF_OK, "%s: %s", pc[i].name, tuff_graph_error(g));
        if (tuff_graph_status(g) == TUFF_OK) expect_graph(pc[i].name, dev, g, &(graph_options){ .tolerance = { .rel = 5e-5 } });
        tuff_graph_destroy(g);
    }
    tuff_device_close(dev);
}

/* ---- adaptive integration ---- */

static void circle(void *user, tuff_ode_call *c)
{
    (void)user;
    c->dy[0] = tuff_neg(c->y[1]);
    c->dy[1] = tuff_add(c->y[0], tuff_mul(tuff_literal(c->graph, 0, TUFF_F32), c->t));
}

/* A turn and a half around the circle, to the tolerance; steps that were rejected leave no trace in the state. */
Test(diffusion, adaptive_steps)
{
    tuff_device *dev = open_device(NULL);
    tuff_graph *g = tuff_graph_create(NULL);
    tuff_tensor out[2], report;
    const tuff_tensor start[2] = { tuff_literal(g, 1, TUFF_F32), tuff_literal(g, 0, TUFF_F32) };
    const double pi = 3.14159265358979323846;
    const tuff_tensor y[2] = { tuff_expand(start[0], TUFF_SHAPE(5)), tuff_expand(start[1], TUFF_SHAPE(5)) };
    cr_assert(tuff_ode_solve(g, y, 2, &(tuff_ode_desc){ .rhs = circle, .t1 = 3 * pi, .h0 = 5, .max_steps = 200, .report = &report }, out) == TUFF_OK, "%s", tuff_graph_error(g));
    tuff_output(g, "x", out[0]);
    tuff_output(g, "y", out[1]);
    tuff_output(g, "report", report);
    tuff_program *p = compile(dev, g);
    float x[5], z[5], r[7];
    result(p, "x", x, 5);
    result(p, "y", z, 5);
    result(p, "report", r, 7);
    cr_expect(fabs((double)x[4] + 1) < 2e-4 && fabs((double)z[4]) < 2e-4, "(%g, %g) is not (-1, 0)", (double)x[4], (double)z[4]);
    cr_expect(r[0] == (float)(3 * pi), "t is %g at the end", (double)r[0]);
    cr_expect(r[3] >= 1 && r[2] >= 10 && r[2] < 60, "%g steps accepted, %g rejected; a first step of 5 is too long", (double)r[2], (double)r[3]);
    cr_expect(r[4] == 6 * (r[2] + r[3]) + 1, "%g evaluations", (double)r[4]);
    const uint64_t before = tf_last_ticket(dev); /* every submission takes a ticket, a reader's too */
    cr_expect(tuff_run(p) == TUFF_OK && tf_last_ticket(dev) == before + 1, "a run with all its accepted and rejected steps is one submission, and nothing is read");
    tuff_program_destroy(p);
    tuff_graph_destroy(g);
    tuff_device_close(dev);
}

/* A right side that is never smooth enough: the loop ends at the smallest step and says where it is. */
static void wall(void *user, tuff_ode_call *c)
{
    (void)user;
    c->dy[0] = tuff_div(c->y[0], tuff_sub(tuff_literal(c->graph, 0.5, TUFF_F32), c->t));
}
Test(diffusion, adaptive_steps_give_up)
{
    tuff_device *dev = open_device(NULL);
    tuff_graph *g = tuff_graph_create(NULL);
    tuff_tensor out, report;
    const tuff_tensor y = tuff_expand(tuff_literal(g, 1, TUFF_F32), TUFF_SHAPE(3));
    cr_assert(tuff_ode_solve(g, &y, 1, &(tuff_ode_desc){ .rhs = wall, .t1 = 1, .max_steps = 20, .report = &report }, &out) == TUFF_OK, "%s", tuff_graph_error(g));
    tuff_output(g, "report", report);
    tuff_program *p = compile(dev, g);
    float r[7];
    result(p, "report", r, 7);
    cr_expect(r[0] < 1 && r[2] + r[3] <= 20, "t is %g after %g steps", (double)r[0], (double)(r[2] + r[3]));
    tuff_program_destroy(p);
    tuff_graph_destroy(g);
    tuff_device_close(dev);
}

/* Differences instead of derivatives: probes see the same trace; exactly so for the unit vectors' sum. */
Test(diffusion, likelihood_by_differences)
{
    tuff_device *dev = open_device(NULL);
    const gaussian d = load_gaussian();
    tuff_graph *g = tuff_graph_create(NULL);
    network n = gaussian_network(g, &d);
    float point[2 * N], got[2];
    for (int i = 0; i < 2 * N; i++) point[i] = d.mu[i % N] + 0.5f * d.x[i] / 10;
    const tuff_flow_desc flow = { .denoiser = gaussian_denoiser, .user = &n, .exact_trace = true, .max_steps = 100, .rtol = 1e-4, .atol = 1e-4 };
    tuff_output(g, "logp", tuff_log_likelihood(tuff_const(g, TUFF_F32, TUFF_SHAPE(2, N), point, NULL), &flow, NULL));
    tuff_program *p = compile(dev, g);
    result(p, "logp", got, 2);
    for (int b = 0; b < 2; b++) {
        double want = 0;
        for (int k = 0; k < N; k++) {
            double e = 0;
            for (int j = 0; j < N; j++) e += ((double)point[b * N + j] - (double)d.mu[j]) * (double)d.u[j * N + k];
            want -= 0.5 * (e * e / (double)d.lam[k] + log(2 * 3.14159265358979323846 * (double)d.lam[k]));
        }
        cr_expect(fabs((double)got[b] - want) < 2e-2 + 2e-3 * fabs(want), "log p is %g, in closed form %g", (double)got[b], want);
    }
    tuff_program_destroy(p);
    tuff_graph_destroy(g);
    tuff_device_close(dev);
}

/* ---- Jacobi decoding ---- */

enum { ROWS = 3, LENGTH = 20, VOCABULARY = 13 };

/* A position's logits are a row of the table by the token before it; position 0 follows token 0. */
static tuff_tensor bigrams(void *user, tuff_tensor tokens)
{
    const tuff_tensor before = tuff_slice(tuff_pad(tokens, TUFF_INTS(0, 1), TUFF_INTS(0, 0), NULL), TUFF_INTS(0), TUFF_INTS(LENGTH), &(tuff_slice_desc){ .axes = TUFF_INTS(1) });
    return tuff_gather(*(tuff_tensor *)user, before, 0);
}

/* Greedy decoding token by token; and a loop that may run twice only. */
Test(diffusion, jacobi_decoding_is_greedy)
{
    tuff_device *dev = open_device(NULL);
    tuff_graph *g = tuff_graph_create(NULL);
    rng r = { 5 };
    float table[VOCABULARY * VOCABULARY];
    int32_t start[ROWS * LENGTH], got[ROWS * LENGTH], cut[ROWS * LENGTH], n = 0, limited = 0;
    rng_fill(&r, TUFF_F32, table, COUNT(table));
    for (size_t i = 0; i < COUNT(start); i++) start[i] = (int32_t)rng_below(&r, VOCABULARY);
    tuff_tensor j = tuff_const(g, TUFF_F32, TUFF_SHAPE(VOCABULARY, VOCABULARY), table, NULL), done, twice;
    const tuff_tensor x = tuff_const(g, TUFF_I32, TUFF_SHAPE(ROWS, LENGTH), start, NULL);
    tuff_output(g, "tokens", tuff_jacobi_decode(x, &(tuff_jacobi_desc){ .logits = bigrams, .user = &j, .iterations = &done }));
    tuff_output(g, "cut", tuff_jacobi_decode(x, &(tuff_jacobi_desc){ .logits = bigrams, .user = &j, .max = 2, .iterations = &twice }));
    tuff_output(g, "n", done);
    tuff_output(g, "limited", twice);
    tuff_program *p = compile(dev, g);
    cr_assert(tuff_run(p) == TUFF_OK && tuff_read(p, "tokens", got, sizeof got) == TUFF_OK && tuff_read(p, "n", &n, sizeof n) == TUFF_OK, "%s", tuff_program_error(p));
    cr_assert(tuff_read(p, "cut", cut, sizeof cut) == TUFF_OK && tuff_read(p, "limited", &limited, sizeof limited) == TUFF_OK, "%s", tuff_program_error(p));
    cr_expect(n > 2 && n <= LENGTH + 1, "%d iterations", n);
    cr_expect_eq(limited, 2);
    for (int b = 0; b < ROWS; b++)
        for (int i = 0, before = 0; i < LENGTH; i++) {
            int best = 0;
            for (int v = 1; v < VOCABULARY; v++)
                if (table[before * VOCABULARY + v] > table[before * VOCABULARY + best]) best = v;
            cr_expect_eq(got[b * LENGTH + i], best, "row %d, position %d", b, i);
            if (i < 2) cr_expect_eq(cut[b * LENGTH + i], best, "row %d, position %d after two iterations", b, i);
            before = best;
        }
    tuff_program_destroy(p);
    tuff_graph_destroy(g);
    g = tuff_graph_create(NULL);
    tuff_jacobi_decode(tuff_input(g, "x", TUFF_F32, TUFF_SHAPE(4)), &(tuff_jacobi_desc){ .logits = bigrams });
    cr_expect(strstr(tuff_graph_error(g), "start must be i32"), "%s", tuff_graph_error(g));
    tuff_graph_destroy(g);
    tuff_device_close(dev);
}

/* ---- errors ---- */

Test(diffusion, errors_name_what_is_wrong)
{
    static const struct { const char *text, *message; } bad[] = {
        { "s = schedule_karras() {n=4}\nt, e = solver_table(s) {solver=lcm}", "lcm needs the operand times" },
        { "s = schedule_karras() {n=4}\nt, e = solver_table(s) {solver=unipc, order=4}", "order is 4; unipc has orders 1 to 3" },
        { "s = input f32[4]\nt, e = solver_table(s) {solver=euler}", "must be known when the graph is built" },
        { "s = const f32[3] = [1, 0, 0]\nt, e = solver_table(s) {solver=euler}", "sigma is 0 at point 1, before the last point 2" },
        { "s = const f32[3] = [1, -1, 0]\nt, e = solver_table(s) {solver=euler}", "point 1 of the grid has sigma -1 and alpha 1; both must be finite, 0 or more" },
        { "s = const f32[2] = [1, 0]\na = const f32[2] = [0, 1]\nt, e = solver_table(s, alphas=a) {solver=ddim, prediction=eps}", "step 0 has a row at alpha 0, where prediction=eps" },
        { "s = const f32[2] = [1, 0]\na = const f32[2] = [0, 1]\nt, e = solver_table(s, alphas=a) {solver=ddim, time=log_sigma}", "time=log_sigma" },
        { "s = const f32[3] = [1, 0.8, 0]\na = const f32[3] = [0, 0.6, 1]\nt, e = solver_table(s, alphas=a) {solver=heun}", "step 0 from alpha 0, sigma 1 to 0.6, 0.8 has no finite row of solver=heun" },
        { "s = const f32[1] = [1]\nt, e = solver_table(s) {solver=euler}", "is no grid: it has 1 points" },
        { "s = schedule_karras() {n=4, sigma_min=2, sigma_max=1}", "the first must be smaller" },
        { "s = schedule_beta_distribution() {n=4, sigma_min=-1, sigma_max=1}", "sigma_min is -1; it must be positive" },
        { "x = input f32[2,3]\nr = input f32[23]\ny, z, m = solver_step(r, x, x)", "is no row of a solver table: f32[24]" },
        { "x = input f32[2,3]\ny = cfg(x, x)", "the operand scale is missing" },
        { "x = input f32[2,3]\nm = input f32[3]\nu = input f32[3,4]\nl = input f32[4]\ny = gaussian_flow(x, 1.0, 2.0, 1.0, 1.0, m, u, l)", "has 4 columns; at most 3" },
        { "x = input f32[2,3]\ny = cfg(x, x, scale=2.0) {low=1}", "an interval needs the operand level" },
        { "x = input f32[2,3]\ny = cfg(x, x, scale=2.0, level=3.0) {low=2, high=1}", "low is 2, high 1; low must be smaller" },
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        tuff_graph *g = NULL;
        char message[512] = "";
        cr_expect(tuff_graph_parse(bad[i].text, strlen(bad[i].text), NULL, &g, message, sizeof message) != TUFF_OK, "%s", bad[i].text);
        cr_expect(strstr(message, bad[i].message), "\"%s\" should say \"%s\"", message, bad[i].message);
        tuff_graph_destroy(g);
    }
}
