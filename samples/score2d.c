/* score2d - one mixture in the plane, sampled by every solver: where samples end and the paths of a few, and the distance to the
 * exact flow against the number of network evaluations.
 *
 *     score2d [--out score2d.png] [--device D]
 *
 * The network is the closed-form denoiser of the mixture, so all errors are the solvers' own. All solvers share one noise. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tuff/tuff.h>

#include "plot.h"

enum { POINTS = 2000, PARTS = 8, PATHS = 24, MOST_ROWS = 64 };

typedef struct solver_row { const char *name; tuff_solver solver; tuff_solver_desc d; int steps; bool stochastic; unsigned colour; } solver_row;
static const solver_row solvers[] = {
    { "euler", TUFF_SOLVER_EULER, { .order = 0 }, 12, false, 0x808080 }, { "heun", TUFF_SOLVER_HEUN, { .order = 0 }, 7, false, 0x1f77b4 },
    { "dpm2", TUFF_SOLVER_DPM2, { .order = 0 }, 7, false, 0x17becf }, { "rk4", TUFF_SOLVER_RK4, { .order = 0 }, 4, false, 0x000000 },
    { "lms4", TUFF_SOLVER_LMS, { .order = 4 }, 12, false, 0x9467bd }, { "dpmpp_2m", TUFF_SOLVER_DPMPP_2M, { .order = 0 }, 12, false, 0xd62728 },
    { "dpmpp_3m", TUFF_SOLVER_DPMPP_3M, { .order = 0 }, 12, false, 0xff7f0e }, { "unipc3", TUFF_SOLVER_UNIPC, { .order = 3 }, 12, false, 0x2ca02c },
    { "euler_ancestral", TUFF_SOLVER_EULER_ANCESTRAL, { .order = 0 }, 12, true, 0 }, { "dpmpp_2m sde", TUFF_SOLVER_DPMPP_2M, { .eta = 1 }, 12, true, 0 },
    { "dpmpp_sde", TUFF_SOLVER_DPMPP_SDE, { .eta = 1 }, 7, true, 0 }, { "heun with churn", TUFF_SOLVER_HEUN, { .s_churn = 8, .s_tmin = 0.05 }, 7, true, 0 },
};
enum { SOLVERS = sizeof solvers / sizeof *solvers };

typedef struct mixture { tuff_tensor weights, means, stds; } mixture;

static mixture add_mixture(tuff_graph *g)
{
    float w[PARTS], m[PARTS * 2], s[PARTS];
    for (int k = 0; k < PARTS; k++) {
        const double angle = 2 * 3.14159265358979323846 * k / PARTS, r = k % 2 ? 1.1 : 2.0;
        w[k] = k % 2 ? 0.1f : 0.15f;
        m[2 * k] = (float)(r * cos(angle));
        m[2 * k + 1] = (float)(r * sin(angle));
        s[k] = k % 2 ? 0.08f : 0.14f;
    }
    return (mixture){ tuff_const(g, TUFF_F32, TUFF_SHAPE(PARTS), w, NULL), tuff_const(g, TUFF_F32, TUFF_SHAPE(PARTS, 2), m, NULL), tuff_const(g, TUFF_F32, TUFF_SHAPE(PARTS), s, NULL) };
}
static tuff_tensor denoise(void *user, const tuff_denoiser_call *c)
{
    const mixture *m = user;
    return tuff_denoise_mixture(c->x, c->alpha, c->sigma, m->weights, m->means, m->stds, NULL);
}

typedef struct outcome { float final[POINTS * 2], path[(MOST_ROWS + 1) * POINTS * 2]; int rows; } outcome;

/* Sample with `steps` steps; the states after each row if `paths`. */
static bool sample(tuff_device *dev, const solver_row *s, int steps, bool paths, outcome *out)
{
    tuff_graph *g = tuff_graph_create(NULL);
    tuff_program *p = NULL;
    tuff_tensor states = { NULL, 0 };
    mixture m = add_mixture(g);
    const tuff_tensor table = tuff_solver_table(tuff_schedule_karras(g, steps, &(tuff_sigma_grid_desc){ .sigma_min = 0.02, .sigma_max = 20 }), s->solver, &s->d);
    const tuff_tensor x = tuff_sample((tuff_tensor){ NULL, 0 }, &(tuff_sample_desc){ .table = table, .denoiser = denoise, .user = &m, .shape = TUFF_SHAPE(POINTS, 2), .seed = 2026,
                                                                                   .states = paths ? &states : NULL });
    tuff_output(g, "x", x);
    if (paths) tuff_output(g, "states", states);
    bool good = tuff_compile(dev, g, NULL, &p) == TUFF_OK && tuff_run(p) == TUFF_OK && tuff_read(p, "x", out->final, sizeof out->final) == TUFF_OK;
    if (!good) fprintf(stderr, "%s: %s%s\n", s->name, tuff_graph_error(g), p ? tuff_program_error(p) : "");
    if (good && paths) {
        out->rows = (int)tuff_tensor_shape(states).dim[0];
        good = out->rows <= MOST_ROWS && tuff_read(p, "states", out->path, (size_t)out->rows * POINTS * 2 * sizeof(float)) == TUFF_OK;
    }
    tuff_program_destroy(p);
    tuff_graph_destroy(g);
    return good;
}

/* ---- drawing ---- */

static const double reach = 3.2; /* half the side of a panel */

static void dot(plot *p, int x, int y, unsigned colour)
{
    if (x < 0 || y < 0 || x >= p->width || y >= p->height) return;
    unsigned char *c = p->rgb + 3 * ((size_t)y * (size_t)p->width + (size_t)x);
    for (int k = 0; k < 3; k++) c[k] = (unsigned char)((c[k] + 2 * (colour >> (16 - 8 * k) & 255)) / 3);
}
static void place(const plot_panel *q, const float *at, double *x, double *y)
{
    *x = q->x + (0.5 + (double)at[0] / (2 * reach)) * q->width;
    *y = q->y + (0.5 - (double)at[1] / (2 * reach)) * q->height;
}
static bool inside(const plot_panel *q, double x, double y) { return x > q->x && y > q->y && x < q->x + q->width && y < q->y + q->height; }

static void draw_path(plot *p, const plot_panel *q, const float *from, const float *to)
{
    double x0, y0, x1, y1;
    place(q, from, &x0, &y0);
    place(q, to, &x1, &y1);
    const double n = fmin(ceil(fmax(fabs(x1 - x0), fabs(y1 - y0))) + 1, 4000);
    for (double i = 0; i <= n; i++) {
        const double x = x0 + (x1 - x0) * i / n, y = y0 + (y1 - y0) * i / n;
        if (inside(q, x, y)) dot(p, (int)x, (int)y, 0xe0a040);
    }
}
static void draw_samples(plot *p, const plot_panel *q, const outcome *o)
{
    for (int r = 0; r + 1 < o->rows; r++)
        for (int i = 0; i < PATHS; i++) draw_path(p, q, o->path + 2 * ((size_t)r * POINTS + (size_t)i), o->path + 2 * ((size_t)(r + 1) * POINTS + (size_t)i));
    for (int i = 0; i < POINTS; i++) {
        double x, y;
        place(q, o->final + 2 * i, &x, &y);
        if (inside(q, x, y)) dot(p, (int)x, (int)y, 0x1040a0);
    }
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The median: a point that starts between two parts of the mixture may end in the other one however small the error. */
static double distance(const float *a, const float *b)
{
    static double d[POINTS];
    for (int i = 0; i < POINTS; i++) d[i] = hypot((double)a[2 * i] - (double)b[2 * i], (double)a[2 * i + 1] - (double)b[2 * i + 1]);
    qsort(d, POINTS, sizeof *d, by_size);
    return d[POINTS / 2];
}

/* log10 of the distance at 6, 12, 24, 48, 96 evaluations. */
static bool draw_errors(tuff_device *dev, plot *p, outcome *o, int x, int y)
{
    enum { SIZES = 5 };
    static float exact[POINTS * 2];
    const solver_row best = { "exact", TUFF_SOLVER_RK4, { .order = 0 }, 0, false, 0 };
    if (!sample(dev, &best, 400, false, o)) return false;
    memcpy(exact, o->final, sizeof exact);
    plot_panel q = plot_frame(p, x, y, 560, 300, -6, 2, "log10 of the median distance to the exact flow at 6 12 24 48 96 evaluations");
    for (int i = 0, line = 0; i < SOLVERS; i++) {
        float log_error[SIZES];
        if (solvers[i].stochastic) continue;
        const int per_step = solvers[i].solver == TUFF_SOLVER_RK4 ? 4 : solvers[i].solver == TUFF_SOLVER_HEUN || solvers[i].solver == TUFF_SOLVER_DPM2 ? 2 : 1;
        printf("%-10s", solvers[i].name);
        for (int k = 0; k < SIZES; k++) {
            const int steps = (6 << k) / per_step;
            if (!sample(dev, &solvers[i], steps > 2 ? steps : 2, false, o)) return false;
            log_error[k] = (float)log10(distance(o->final, exact) + 1e-9);
            printf("  %8.2g", distance(o->final, exact));
        }
        printf("\n");
        plot_line(p, &q, log_error, SIZES, solvers[i].colour);
        plot_text(p, x + 600, y + 20 + 18 * line++, solvers[i].colour, solvers[i].name);
    }
    return true;
}

int main(int argc, char **argv)
{
    const char *device = NULL, *path = "score2d.png";
    tuff_device *dev;
    plot p;
    static outcome o;
    for (int i = 1; i < argc; i += 2) {
        if (!strcmp(argv[i], "--out") && i + 1 < argc) path = argv[i + 1];
        else if (!strcmp(argv[i], "--device") && i + 1 < argc) device = argv[i + 1];
        else return fprintf(stderr, "usage: score2d [--out score2d.png] [--device D]\n"), 2;
    }
    if (tuff_device_open(&(tuff_device_desc){ .select = device }, &dev) != TUFF_OK) {
        fprintf(stderr, "score2d: %s\n", tuff_device_error(NULL));
        return 1;
    }
    const double start = plot_now();
    bool good = plot_create(&p, 1280, 1320);
    printf("device %s\nmedian distance to the exact flow at 6 12 24 48 96 evaluations\n", tuff_device_name(dev));
    for (int i = 0; i < SOLVERS && good; i++) {
        char title[64];
        plot_panel q;
        good = sample(dev, &solvers[i], solvers[i].steps, true, &o);
        snprintf(title, sizeof title, "%s %d steps", solvers[i].name, solvers[i].steps);
        q = plot_frame(&p, 50 + i % 4 * 310, 30 + i / 4 * 310, 260, 260, -reach, reach, title);
        if (good) draw_samples(&p, &q, &o);
    }
    good = good && draw_errors(dev, &p, &o, 60, 980) && plot_write(&p, path);
    if (good) printf("wrote %s after %.1f s, with compiling\n", path, plot_now() - start);
    plot_destroy(&p);
    tuff_device_close(dev);
    return good ? 0 : 1;
}
