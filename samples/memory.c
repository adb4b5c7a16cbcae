/* memory - a signal remembered by 64 numbers, in four ways.
 *
 * A HiPPO system x' = A x + B u reads a signal and keeps the coefficients of its past in a basis: Legendre polynomials of all of it
 * (LegS) or of a sliding window (LegT), decaying Laguerre functions (LagT), a Fourier series of a window (FouT). Here the
 * coefficients after the last sample are multiplied with their basis again: what comes out is what the state remembers.
 *
 *     memory [--coefficients 64] [--out memory.png] [--device D]
 *
 * Prints how far each memory is from the signal, and draws both. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tuff/tuff.h>

#include "plot.h"

enum { LENGTH = 1200, WINDOW = 400, KINDS = 4 };

typedef struct kind {
    const char *name, *title;
    tuff_hippo basis;
    double step;  /* of the system, per sample; LegS has its own, 1 / k */
    int length;   /* samples, the last ones, that are reconstructed */
    unsigned colour;
} kind;

static const kind kinds[KINDS] = {
    { "legs", "LegS: all of the past", TUFF_HIPPO_LEGS, 0, LENGTH, 0x1f77b4 },
    { "legt", "LegT: a window", TUFF_HIPPO_LEGT, 1.0 / WINDOW, WINDOW, 0xd62728 },
    { "lagt", "LagT: fading", TUFF_HIPPO_LAGT, 0.2, WINDOW, 0x2ca02c },
    { "fout", "FouT: a window, periodic", TUFF_HIPPO_FOUT, 1.0 / WINDOW, WINDOW, 0x9467bd },
};

/* Slow and fast waves whose strengths change. */
static void make_signal(float *u)
{
    for (int i = 0; i < LENGTH; i++) {
        const double t = (double)i / LENGTH;
        u[i] = (float)(0.6 * sin(14 * t + 1) + 0.35 * sin(45 * t) * exp(-4 * (t - 0.3) * (t - 0.3)) + 0.25 * sin(110 * t * t + 2) * t);
    }
}

/* ---- the bases: row n holds function n at the last `length` samples, the oldest first ---- */

static void legendre(float *v, int n, int length)
{
    for (int i = 0; i < length; i++) {
        const double x = 2 * (i + 0.5) / length - 1;
        double p0 = 1, p1 = x;
        for (int k = 0; k < n; k++) {
            v[k * length + i] = (float)(sqrt(2 * k + 1) * p0);
            const double next = ((2 * k + 3) * x * p1 - (k + 1) * p0) / (k + 2);
            p0 = p1;
            p1 = next;
        }
    }
}

static void laguerre(float *v, int n, int length, double step)
{
    for (int i = 0; i < length; i++) {
        const double t = (length - i - 0.5) * step;
        double l0 = exp(-t / 2), l1 = (1 - t) * l0;
        for (int k = 0; k < n; k++) {
            v[k * length + i] = (float)l0;
            const double next = ((2 * k + 3 - t) * l1 - (k + 1) * l0) / (k + 2);
            l0 = l1;
            l1 = next;
        }
    }
}

static void fourier(float *v, int n, int length)
{
    for (int i = 0; i < length; i++) {
        const double angle = 2 * 3.14159265358979323846 * (length - i - 0.5) / length;
        for (int k = 0; k < n; k++)
            v[k * length + i] = (float)(k == 0 ? 1 : sqrt(2) * (k % 2 ? sin(k / 2 * angle) : cos(k / 2 * angle)));
    }
}

/* ---- the graph ---- */

/* The coefficients [1, n] after the last sample. */
static tuff_tensor remember(tuff_graph *g, tuff_tensor u, const kind *k, int n)
{
    if (k->basis == TUFF_HIPPO_LEGS) {
        const tuff_tensor c = tuff_hippo_online(u, n, &(tuff_hippo_online_desc){ .every = LENGTH });
        return tuff_reshape(c, TUFF_SHAPE(1, n));
    }
    const float step = (float)k->step;
    const tuff_ints front = TUFF_INTS(0);
    const tuff_tensor lam = tuff_hippo_nplr(g, k->basis, n, NULL), b = tuff_result(lam, 1), p = tuff_result(lam, 2), v = tuff_result(lam, 3);
    const tuff_tensor modes = tuff_unsqueeze(lam, front), dt = tuff_const(g, TUFF_F32, TUFF_SHAPE(1), &step, NULL);
    const tuff_tensor y = tuff_s4_scan(tuff_reshape(u, TUFF_SHAPE(1, 1, LENGTH)), modes, tuff_unsqueeze(b, front), modes, dt,
                                       &(tuff_s4_scan_desc){ .p = tuff_unsqueeze(p, TUFF_INTS(1)) });
    const tuff_tensor state = tuff_reshape(tuff_result(y, 1), TUFF_SHAPE(1, n / 2)); /* in the eigenvectors' coordinates, one of each pair */
    const tuff_tensor x = tuff_real(tuff_matmul(state, v, &(tuff_matmul_desc){ .transpose_b = true }));
    return tuff_mul(x, tuff_literal(g, 2, TUFF_F32));
}

static tuff_graph *build(int n)
{
    tuff_graph *g = tuff_graph_create(NULL);
    const tuff_tensor u = tuff_input(g, "u", TUFF_F32, TUFF_SHAPE(LENGTH));
    float *table = malloc((size_t)n * LENGTH * sizeof *table);
    for (int i = 0; table && i < KINDS; i++) {
        const kind *k = &kinds[i];
        if (k->basis == TUFF_HIPPO_FOUT) fourier(table, n, k->length);
        else if (k->basis == TUFF_HIPPO_LAGT) laguerre(table, n, k->length, k->step);
        else legendre(table, n, k->length);
        const tuff_tensor basis = tuff_const(g, TUFF_F32, TUFF_SHAPE(n, k->length), table, NULL);
        tuff_output(g, k->name, tuff_matmul(remember(g, u, k, n), basis, NULL));
    }
    free(table);
    return g;
}

/* ---- the picture ---- */

static double error_of(const float *u, const float *memory, int length)
{
    double error = 0, norm = 0;
    for (int i = 0; i < length; i++) {
        const double want = (double)u[LENGTH - length + i], d = (double)memory[i] - want;
        error += d * d;
        norm += want * want;
    }
    return sqrt(error / norm);
}

static bool draw(const char *path, const float *u, float (*memory)[LENGTH])
{
    plot p;
    if (!plot_create(&p, 1000, 40 + KINDS * 190)) return false;
    for (int i = 0; i < KINDS; i++) {
        const kind *k = &kinds[i];
        const plot_panel whole = plot_frame(&p, 60, 30 + i * 190, 900, 150, -1.5, 1.5, k->title);
        plot_panel part = whole;
        part.width = 900 * k->length / LENGTH;
        part.x += 900 - part.width;
        plot_line(&p, &whole, u, LENGTH, 0xbbbbbb);
        plot_line(&p, &part, memory[i], (size_t)k->length, k->colour);
    }
    const bool good = plot_write(&p, path);
    plot_destroy(&p);
    return good;
}

static bool run(const char *device, int n, const char *path)
{
    static float u[LENGTH], memory[KINDS][LENGTH];
    tuff_device *dev = NULL;
    tuff_program *p = NULL;
    make_signal(u);
    if (tuff_device_open(&(tuff_device_desc){ .select = device }, &dev)) {
        fprintf(stderr, "memory: %s\n", tuff_device_error(NULL));
        return false;
    }
    const double start = plot_now();
    tuff_graph *g = build(n);
    bool good = !tuff_compile(dev, g, NULL, &p);
    if (!good) fprintf(stderr, "memory: %s\n", tuff_graph_error(g));
    if (good) {
        good = !tuff_write(p, "u", u, sizeof u) && !tuff_run(p);
        for (int i = 0; good && i < KINDS; i++) good = !tuff_read(p, kinds[i].name, memory[i], (size_t)kinds[i].length * sizeof **memory);
        if (!good) fprintf(stderr, "memory: %s\n", tuff_program_error(p));
    }
    if (good) printf("%s: first result %.2f s\n", tuff_device_name(dev), plot_now() - start);
    for (int i = 0; good && i < KINDS; i++)
        printf("%s  %4d samples from %d numbers, error %.3f\n", kinds[i].name, kinds[i].length, n, error_of(u, memory[i], kinds[i].length));
    good = good && draw(path, u, memory);
    if (good) printf("wrote %s\n", path);
    tuff_program_destroy(p);
    tuff_graph_destroy(g);
    tuff_device_close(dev);
    return good;
}

int main(int argc, char **argv)
{
    const char *device = NULL, *path = "memory.png";
    int n = 64;
    for (int i = 1; i < argc; i += 2) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (!strcmp(argv[i], "--coefficients")) n = atoi(value);
        else if (!strcmp(argv[i], "--out")) path = value;
        else if (!strcmp(argv[i], "--device")) device = value;
        else n = 0;
    }
    if (n < 2 || n > 256 || n % 2) {
        fprintf(stderr, "usage: memory [--coefficients 64] [--out memory.png] [--device D]\n       coefficients: even, 2 to 256\n");
        return 2;
    }
    return run(device, n, path) ? 0 : 1;
}
