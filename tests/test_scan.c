/* test_scan.c - selective state spaces whole, in chunks and streamed: the same numbers whichever way; steps that continue from the
 * state of a block by sharing it; extreme time steps and eigenvalues. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/support.h"

static tuff_program *compile(tuff_device *dev, const char *text, const tuff_program *share, tuff_graph **g)
{
    char message[512];
    tuff_program *p = NULL;
    cr_assert(!tuff_graph_parse(text, strlen(text), NULL, g, message, sizeof message), "%s\n%s", message, text);
    cr_assert(!tuff_compile(dev, *g, &(tuff_compile_desc){ .share = share }, &p), "%s\n%s", tuff_graph_error(*g), text);
    return p;
}

static void write(tuff_program *p, const char *name, const float *data, size_t n)
{
    cr_assert(!tuff_write(p, name, data, n * sizeof *data), "%s: %s", name, tuff_program_error(p));
}

static void read(tuff_program *p, const char *name, float *data, size_t n)
{
    cr_assert(!tuff_read(p, name, data, n * sizeof *data), "%s: %s", name, tuff_program_error(p));
}

/* Mean square distance over the mean square. */
static double distance(const float *got, const float *want, size_t n)
{
    double d = 0, w = 0;
    for (size_t i = 0; i < n; i++) {
        cr_assert(isfinite(got[i]), "element %zu is %g", i, (double)got[i]);
        d += ((double)got[i] - (double)want[i]) * ((double)got[i] - (double)want[i]);
        w += (double)want[i] * (double)want[i];
    }
    return w > 0 ? sqrt(d / w) : sqrt(d);
}

/* ---- one sequence, in blocks of any size and step by step ------------------------------------------------ */

enum { CHANNELS = 6, STATES = 5, LENGTH = 75 };

static float *numbers(rng *r, size_t n, double scale, double shift)
{
    float *x = malloc((n + 1) * sizeof *x);
    cr_assert(x, "out of memory");
    for (size_t i = 0; i < n; i++) x[i] = (float)(scale * rng_normal(r) + shift);
    return x;
}

typedef struct sequence { float *u, *delta, *b, *c, *z, *a, *d, *bias; } sequence;

static sequence random_sequence(void)
{
    rng r = { 7 };
    sequence s = { numbers(&r, LENGTH * CHANNELS, 1, 0), numbers(&r, LENGTH * CHANNELS, 1, -1), numbers(&r, LENGTH * STATES, 1, 0),
                   numbers(&r, LENGTH * STATES, 1, 0), numbers(&r, LENGTH * CHANNELS, 1, 0), numbers(&r, CHANNELS * STATES, 0.3, -1.5),
                   numbers(&r, CHANNELS, 1, 0), numbers(&r, CHANNELS, 0.1, 0) };
    return s;
}

static void free_sequence(sequence *s)
{
    free(s->u); free(s->delta); free(s->b); free(s->c); free(s->z); free(s->a); free(s->d); free(s->bias);
}

#define OPERANDS(l) \
    "u = input f32[1," l ",6]\ndelta = input f32[1," l ",6]\nB = input f32[1," l ",5]\nC = input f32[1," l ",5]\nz = input f32[1," l ",6]\n" \
    "A = input f32[6,5]\nD = input f32[6]\nbias = input f32[6]\n"
#define SCAN(tail) "y, last = selective_scan(u, delta, A, B, C, D=D, z=z, delta_bias=bias" tail ") {layout=BLD, delta_softplus=true}\noutput y\n"

static void write_steps(tuff_program *p, const sequence *s, size_t first, size_t n)
{
    write(p, "u", s->u + first * CHANNELS, n * CHANNELS);
    write(p, "delta", s->delta + first * CHANNELS, n * CHANNELS);
    write(p, "z", s->z + first * CHANNELS, n * CHANNELS);
    write(p, "B", s->b + first * STATES, n * STATES);
    write(p, "C", s->c + first * STATES, n * STATES);
    write(p, "A", s->a, CHANNELS * STATES);
    write(p, "D", s->d, CHANNELS);
    write(p, "bias", s->bias, CHANNELS);
}

static const char block_text[] = "dim n <= 75\nstate h f32[1,6,5]\n" OPERANDS("n") SCAN(", h0=h") "h2 = assign(h, last)\n";
static const char step_text[] = "state h f32[1,6,5]\nx = input f32[1,6]\ndt = input f32[1,6]\nB = input f32[1,5]\nC = input f32[1,5]\nz = input f32[1,6]\n"
                                "A = input f32[6,5]\nD = input f32[6]\nbias = input f32[6]\n"
                                "y, next = selective_state_update(h, x, dt, A, B, C, D=D, z=z, dt_bias=bias) {dt_softplus=true}\noutput y\nh2 = assign(h, next)\n";

static void run_step(tuff_program *p, const sequence *s, size_t t, float *y)
{
    write(p, "x", s->u + t * CHANNELS, CHANNELS);
    write(p, "dt", s->delta + t * CHANNELS, CHANNELS);
    write(p, "z", s->z + t * CHANNELS, CHANNELS);
    write(p, "B", s->b + t * STATES, STATES);
    write(p, "C", s->c + t * STATES, STATES);
    write(p, "A", s->a, CHANNELS * STATES);
    write(p, "D", s->d, CHANNELS);
    write(p, "bias", s->bias, CHANNELS);
    cr_assert(!tuff_run(p), "%s", tuff_program_error(p));
    read(p, "y", y + t * CHANNELS, CHANNELS);
}

static void run_block(tuff_program *p, const sequence *s, size_t first, size_t n, float *y)
{
    cr_assert(!tuff_set_dim(p, "n", (int64_t)n), "%s", tuff_program_error(p));
    write_steps(p, s, first, n);
    cr_assert(!tuff_run(p), "%s", tuff_program_error(p));
    read(p, "y", y + first * CHANNELS, n * CHANNELS);
}

static void reset(tuff_program *p)
{
    const float zero[CHANNELS * STATES] = { 0 };
    write(p, "h", zero, CHANNELS * STATES);
}

Test(scan, whole_blocks_and_steps_agree)
{
    tuff_device *dev = open_device(NULL);
    tuff_graph *g[3];
    sequence s = random_sequence();
    tuff_program *whole = compile(dev, OPERANDS("75") SCAN(""), NULL, &g[0]), *block = compile(dev, block_text, NULL, &g[1]);
    tuff_program *step = compile(dev, step_text, block, &g[2]);
    float want[LENGTH * CHANNELS], got[LENGTH * CHANNELS];
    write_steps(whole, &s, 0, LENGTH);
    cr_assert(!tuff_run(whole));
    read(whole, "y", want, LENGTH * CHANNELS);

    for (size_t t = 0, n = 1; t < LENGTH; t += n, n = n * 2 + 1) { /* 1, 3, 7, .. steps; the state carries over */
        if (t == 0) reset(block);
        n = t + n > LENGTH ? LENGTH - t : n;
        run_block(block, &s, t, n, got);
    }
    cr_expect(distance(got, want, LENGTH * CHANNELS) < 1e-6, "blocks: %g", distance(got, want, LENGTH * CHANNELS));

    memset(got, 0, sizeof got);
    reset(block);
    run_block(block, &s, 0, 40, got); /* then single steps, which share the state */
    for (size_t t = 40; t < LENGTH; t++) run_step(step, &s, t, got);
    cr_expect(distance(got, want, LENGTH * CHANNELS) < 1e-6, "a block, then steps: %g", distance(got, want, LENGTH * CHANNELS));

    tuff_program_destroy(step);
    tuff_program_destroy(block);
    tuff_program_destroy(whole);
    for (int i = 0; i < 3; i++) tuff_graph_destroy(g[i]);
    free_sequence(&s);
    tuff_device_close(dev);
}

/* ---- chunks of any size ----------------------------------------------------------------------------------- */

Test(scan, ssd_does_not_depend_on_its_chunks)
{
    tuff_device *dev = open_device(NULL);
    static const int sizes[] = { 1, 7, 32, 64, 70, 200 };
    float want[70 * 2 * 4], got[70 * 2 * 4];
    for (size_t i = 0; i < COUNT(sizes); i++) {
        char text[512];
        tuff_graph *g;
        rng r = { 3 };
        snprintf(text, sizeof text,
                 "x = input f32[1,70,2,4]\ndt = input f32[1,70,2]\nA = input f32[2]\nB = input f32[1,70,1,3]\nC = input f32[1,70,1,3]\nids = input i32[1,70]\n"
                 "y, h = ssd(x, dt, A, B, C, seq_idx=ids) {dt_softplus=true, chunk=%d}\noutput y\n", sizes[i]);
        tuff_program *p = compile(dev, text, NULL, &g);
        static const char *const names[] = { "x", "dt", "B", "C" };
        static const size_t counts[] = { 560, 140, 210, 210 };
        for (size_t k = 0; k < COUNT(names); k++) {
            float *data = numbers(&r, counts[k], 1, 0);
            write(p, names[k], data, counts[k]);
            free(data);
        }
        write(p, "A", (const float[]){ -0.1f, -1.5f }, 2);
        int32_t ids[70];
        for (int t = 0; t < 70; t++) ids[t] = t < 33 ? 4 : t < 34 ? 1 : 4; /* a number that comes again is another sequence */
        cr_assert(!tuff_write(p, "ids", ids, sizeof ids));
        cr_assert(!tuff_run(p), "%s", tuff_program_error(p));
        read(p, "y", i ? got : want, COUNT(got));
        if (i) cr_expect(distance(got, want, COUNT(got)) < 2e-6, "chunk %d: %g", sizes[i], distance(got, want, COUNT(got)));
        tuff_program_destroy(p);
        tuff_graph_destroy(g);
    }
    tuff_device_close(dev);
}

/* ---- extremes ---------------------------------------------------------------------------------------------- */

/* Steps from 1e-7 to 1e2, eigenvalues to -1e5, decays next to 1. */
static void extreme(void *user, const char *name, tuff_dtype dtype, void *data, size_t n)
{
    rng r = { (uint64_t)(unsigned char)name[0] };
    float *x = data;
    (void)user;
    n *= dtype == TUFF_C64 ? 2 : 1;
    for (size_t i = 0; i < n; i++) {
        const double v = rng_uniform(&r);
        x[i] = (float)(!strcmp(name, "delta") ? pow(10, 9 * v - 7) : !strcmp(name, "A") ? -pow(10, 11 * v - 6) : !strcmp(name, "a") ? 1 - 1e-6 * v : rng_normal(&r));
    }
}

Test(scan, extreme_steps_and_eigenvalues)
{
    static const char *const texts[] = {
        "u = input f32[2,7,300]\ndelta = input f32[2,7,300]\nA = input f32[7,4]\nB = input f32[2,4,300]\nC = input f32[2,4,300]\n"
        "y, h = selective_scan(u, delta, A, B, C)\noutput y\noutput h\n",
        "u = input f32[1,3,2000]\ndelta = input f32[1,3,2000]\nA = input f32[3,4]\nB = input f32[1,4,2000]\nC = input f32[1,4,2000]\n"
        "y, h = selective_scan(u, delta, A, B, C)\noutput y\noutput h\n",
        "u = input f32[1,130,30000]\ndelta = input f32[1,130,30000]\nA = input f32[130,1]\nB = input c64[130,1]\nC = input f32[130,1]\n" /* many trips */
        "y, h = selective_scan(u, delta, A, B, C)\noutput h\n",
        "a = input f32[2,9000]\nb = input f32[2,9000]\nh = linear_scan(a, b) {axis=1}\noutput h\n",
        "x = input f32[1,150,2,4]\ndelta = input f32[1,150,2]\nA = input f32[2]\nB = input f32[1,150,1,3]\nC = input f32[1,150,1,3]\n"
        "y, h = ssd(x, delta, A, B, C)\noutput y\noutput h\n",
        "h = input f32[2,7,4]\nx = input f32[2,7]\ndelta = input f32[2,7]\nA = input f32[7,4]\nB = input f32[2,4]\nC = input f32[2,4]\n"
        "y, h2 = selective_state_update(h, x, delta, A, B, C)\noutput y\noutput h2\n",
        "delta = input f32[5]\nA = input f32[5,6]\nB = input c64[5,6]\nC = input c64[5,6]\nlam = complex(A, mul(A, 0.7))\n" /* device: steps, and the kernel */
        "k = s4d_kernel(lam, B, C, delta) {length=700}\noutput k\n",
        "u = input f32[1,5,300]\ndelta = input f32[5]\nA = input f32[5,6]\nB = input c64[5,6]\nC = input c64[5,6]\nlam = complex(A, mul(A, 0.7))\n"
        "y, h = s4_scan(u, lam, B, C, delta)\noutput y\noutput h\n",
    };
    tuff_device *dev = open_device(NULL);
    for (size_t i = 0; i < COUNT(texts); i++) {
        tuff_graph *g;
        char message[512];
        cr_assert(!tuff_graph_parse(texts[i], strlen(texts[i]), NULL, &g, message, sizeof message), "%s", message);
        expect_graph(texts[i], dev, g, &(graph_options){ .seed = 5, .fill = extreme, .tolerance = { .rel = 2e-5 } });
        tuff_graph_destroy(g);
    }
    tuff_device_close(dev);
}

/* ---- running sums of exponentials: jumps, infinities, NaN ----------------------------------------------------- */

Test(scan, logcumsumexp_of_anything)
{
    enum { N = 4099 }; /* parts, and a ragged end */
    tuff_device *dev = open_device(NULL);
    tuff_graph *g;
    tuff_program *p = compile(dev, "x = input f32[3,4099]\ny = logcumsumexp(x) {axis=1}\nz = logcumsumexp(x) {axis=1, reverse=true, exclusive=true}\noutput y\noutput z\n", NULL, &g);
    float *x = malloc(3 * N * sizeof *x), *y = malloc(3 * N * sizeof *y), *z = malloc(3 * N * sizeof *z);
    cr_assert(x && y && z);
    for (int i = 0; i < N; i++) {
        x[i] = i < 5 ? -INFINITY : i < 2000 ? -300.0f + (float)(i % 7) : i < 3000 ? 80.0f : -1e30f; /* nothing, far below, then a jump */
        x[N + i] = i == 2500 ? INFINITY : (float)sin(i);
        x[2 * N + i] = i == 70 ? NAN : -0.25f;
    }
    write(p, "x", x, 3 * N);
    cr_assert(!tuff_run(p), "%s", tuff_program_error(p));
    read(p, "y", y, 3 * N);
    read(p, "z", z, 3 * N);
    double sum[3] = { 0 }, most[3] = { -INFINITY, -INFINITY, -INFINITY };
    for (int r = 0; r < 2; r++)
        for (int i = 0; i < N; i++) {
            const double v = x[r * N + i], m = fmax(most[r], v);
            sum[r] = isinf(m) && m < 0 ? 0 : (most[r] == m ? sum[r] : sum[r] * exp(most[r] - m)) + (v == m ? 1 : exp(v - m));
            most[r] = m;
            const double want = isinf(m) ? m : m + log(sum[r]);
            cr_assert(isinf(want) ? y[r * N + i] == want : fabs(y[r * N + i] - want) <= 4e-7 * fmax(fabs(want), 1) + 1e-9 * i, "row %d, %d: %g, not %g", r, i, (double)y[r * N + i], want);
        }
    for (int i = 0; i < N; i++) {
        cr_assert(isnan(y[2 * N + i]) == (i >= 70), "NaN, %d: %g", i, (double)y[2 * N + i]);
        cr_assert(isnan(z[2 * N + i]) == (i < 70), "NaN from the end, %d: %g", i, (double)z[2 * N + i]);
    }
    cr_expect(z[N - 1] == -INFINITY && z[2 * N - 1] == -INFINITY, "an exclusive scan starts with nothing");
    cr_expect(z[N] == INFINITY && isfinite(z[N + 2600]));
    free(x);
    free(y);
    free(z);
    tuff_program_destroy(p);
    tuff_graph_destroy(g);
    tuff_device_close(dev);
}

/* Rows long enough for every kind of trip and for parts: the largest rises by leaps, by little, by so little that sums grow beside it, or
 * again and again just when nothing more was expected to rise. */
enum { JUMPY = 16, LONG = 270005 };

static void jumpy_row(int kind, float *x)
{
    rng r = { 41 + (uint64_t)kind };
    double sum = 0;
    for (int i = 0; i < LONG; i++) {
        const double noise = rng_normal(&r);
        double v = noise;
        switch (kind) {
        case 1: v = i == LONG / 2 ? 50 : noise; break;
        case 2: v = i == 100000 ? 1000 : i == 200001 ? 1e30 : noise; break;
        case 3: v = noise + (i / 1000 % 2 ? 100 : -100); break;
        case 4: v = noise + (i / 37 % 2 ? 1000 : -1000) - (i < LONG / 2 ? 5000 : 0); break;
        case 5: v = 0.01 * i - 1000; break;
        case 6: v = 1000 - 0.01 * i; break;
        case 7: v = noise + 2e-4 * i - 30; break; /* the sum grows from trip to trip, never much */
        case 8: v = i < 100001 ? (double)-INFINITY : noise; break;
        case 9: v = (double)-INFINITY; break;
        case 10: v = i == 200001 ? (double)INFINITY : noise; break;
        case 11: v = i == 150000 ? NAN : noise; break;
        case 12: v = i % 5 ? (double)-INFINITY : -0.25; break;
        case 13: v = i % 3 ? -1e30 : 1e30 * noise; break;
        case 14: v = i % 128 == 77 && i > 40000 ? log(sum / 150) : noise; break;
        case 15: v = i < 60000 ? -88 : i < 120000 ? 0 : i < 180000 ? 87.5 : i < 200000 ? 200 : 16; break;
        default: break;
        }
        x[i] = (float)v;
        sum += kind == 14 ? exp((double)x[i]) : 0;
    }
}

/* The running logarithms of y, and of z without the own element, are those of x. */
static void check_running(const char *class, int kind, const float *x, const float *y, const float *z)
{
    double sum = 0, most = -INFINITY, before = -INFINITY;
    for (int i = 0; i < LONG; i++) {
        const double v = (double)x[i], m = isnan(most) || most > v ? most : v;
        sum = isinf(m) ? 0 : (most == m ? sum : sum * exp(most - m)) + (v == m ? 1 : exp(v - m));
        most = m;
        const double want[2] = { isinf(m) ? m : m + log(sum), before };
        const float got[2] = { y[i], z[i] };
        for (int k = 0; k < 2; k++) {
            const double bound = 4e-7 * fmax(fabs(want[k]), 1) + 1e-9 * i;
            const bool right = isnan(want[k]) ? isnan(got[k]) : isinf(want[k]) ? (double)got[k] == want[k] : fabs((double)got[k] - want[k]) <= bound;
            cr_assert(right, "%s, row %d, element %d%s: %.9g, not %.9g", class, kind, i, k ? " exclusive" : "", (double)got[k], want[k]);
        }
        before = want[0];
    }
}

static void run_jumpy(const tuff_device_desc *desc, int most, float *x, float *y, float *z)
{
    char text[256], class[96];
    for (int rows = 1; rows <= most; rows += JUMPY - 1) { /* one, in parts; all together, each whole */
        tuff_device *dev = open_device(desc);
        tuff_graph *g;
        snprintf(text, sizeof text, "x = input f32[%d,%d]\ny = logcumsumexp(x) {axis=1}\nz = logcumsumexp(x) {axis=1, exclusive=true}\noutput y\noutput z\n", rows, (int)LONG);
        snprintf(class, sizeof class, "%s %s, %d rows", desc->toggles ? desc->toggles : "", desc->limits ? desc->limits : "", rows);
        tuff_program *p = compile(dev, text, NULL, &g);
        for (int first = 0; first < JUMPY; first += rows) {
            write(p, "x", x + (size_t)first * LONG, (size_t)rows * LONG);
            cr_assert(!tuff_run(p), "%s", tuff_program_error(p));
            read(p, "y", y, (size_t)rows * LONG);
            read(p, "z", z, (size_t)rows * LONG);
            for (int k = 0; k < rows; k++) check_running(class, first + k, x + (size_t)(first + k) * LONG, y + (size_t)k * LONG, z + (size_t)k * LONG);
        }
        tuff_program_destroy(p);
        tuff_graph_destroy(g);
        tuff_device_close(dev);
    }
}

Test(scan, logcumsumexp_of_long_rows)
{
    static const tuff_device_desc classes[] = { { .toggles = "+cpu", .limits = "units=4" }, { .toggles = "-cpu", .limits = "units=1" },
                                                { .toggles = "-cpu,-subgroup", .limits = "invocations=128,shared=16K,bindings=4,units=1" } };
    float *x = malloc((size_t)JUMPY * LONG * sizeof *x), *y = malloc((size_t)JUMPY * LONG * sizeof *y), *z = malloc((size_t)JUMPY * LONG * sizeof *z);
    cr_assert(x && y && z);
    for (int k = 0; k < JUMPY; k++) jumpy_row(k, x + (size_t)k * LONG);
    const size_t n = strcmp(driver_name(), "swiftshader") ? COUNT(classes) : 2; /* that driver takes minutes for long rows at the floor */
    for (size_t i = 0; i < n; i++) run_jumpy(&classes[i], i ? 1 : JUMPY, x, y, z);
    free(x);
    free(y);
    free(z);
}

/* Products that overflow: a state of 0 stays 0 and what follows a 0 is what it is by itself. */
Test(scan, overflowing_products)
{
    enum { N = 3001 };
    tuff_device *dev = open_device(NULL);
    tuff_graph *g;
    tuff_program *p = compile(dev, "a = input f32[3001]\nb = input f32[3001]\nh = linear_scan(a, b) {axis=0}\noutput h\n", NULL, &g);
    float a[N], b[N], h[N];
    for (int i = 0; i < N; i++) {
        a[i] = i < 2000 ? (i % 2 ? -1e9f : 1e8f) : i == 2000 ? 0.0f : 0.5f;
        b[i] = i < 2000 ? 0.0f : 1.0f;
    }
    write(p, "a", a, N);
    write(p, "b", b, N);
    cr_assert(!tuff_run(p), "%s", tuff_program_error(p));
    read(p, "h", h, N);
    double want = 0;
    for (int i = 0; i < N; i++) {
        want = want * (double)a[i] + (double)b[i];
        cr_assert(fabs(h[i] - want) <= 1e-6 * want, "%d: %g, not %g", i, (double)h[i], want);
    }
    tuff_program_destroy(p);
    tuff_graph_destroy(g);
    tuff_device_close(dev);
}

/* ---- step programs of the zoo: whole, in blocks and step by step --------------------------------------------------- */

/* A value with time somewhere in its shape: [outer, time, inner]. */
typedef struct timed { const char *name; size_t outer, inner; } timed;

typedef struct streamed {
    const char *whole, *step;      /* graphs in samples/zoo/ssm; whole NULL: the step program in one block */
    const char *length;            /* the whole graph's param for the time */
    timed in[4], out;
    struct { const char *name; size_t n; } fixed[4], state[3];
    size_t missing;                /* outputs of incomplete windows, which the whole does not have */
    bool single;                   /* steps only: no param block */
} streamed;

enum { TIME = 24 };

static const streamed streams[] = {
    { "continual_conv", "continual_conv_step", "length", { { "x", 6, 1 } }, { "y", 10, 1 }, { { "w", 60 }, { "bias", 5 } }, { { "past", 18 } }, 3, false },
    { "continual_attention", "continual_attention_step", "length", { { "q", 1, 8 }, { "k", 1, 8 }, { "v", 1, 8 } }, { "y", 1, 8 }, { { NULL, 0 } },
      { { "keys", 40 }, { "values", 40 } }, 5, false },
    { "retroactive_attention", "retroactive_attention_step", "length", { { "q", 1, 8 }, { "k", 1, 8 }, { "v", 1, 8 } }, { "y", 1, 48 }, { { NULL, 0 } },
      { { "queries", 40 }, { "keys", 40 }, { "values", 40 } }, 5, true },
    { NULL, "dwconv_step", "block", { { "x", 6, 1 } }, { "y", 6, 1 }, { { "w", 24 }, { "bias", 6 } }, { { "past", 18 } }, 0, false },
    { NULL, "gru_step", "block", { { "x", 1, 7 } }, { "y", 1, 9 }, { { "Wi", 189 }, { "Wh", 243 }, { "bi", 27 }, { "bh", 27 } }, { { "h", 9 } }, 0, false },
};

static tuff_program *compile_zoo(tuff_device *dev, const char *name, const char *param, int value, const tuff_program *share, tuff_graph **g)
{
    char path[512], override[64], message[512];
    tuff_program *p = NULL;
    snprintf(path, sizeof path, TUFF_SOURCE_DIR "/samples/zoo/ssm/%s.tuff", name);
    snprintf(override, sizeof override, "%s=%d", param ? param : "", value);
    const char *const params[] = { override };
    FILE *f = fopen(path, "rb");
    cr_assert(f, "%s is missing", path);
    char text[4096];
    const size_t n = fread(text, 1, sizeof text, f);
    fclose(f);
    cr_assert(!tuff_graph_parse(text, n, &(tuff_parse_desc){ .name = name, .params = params, .param_count = param != NULL }, g, message, sizeof message), "%s", message);
    cr_assert(!tuff_compile(dev, *g, &(tuff_compile_desc){ .share = share }, &p), "%s", tuff_graph_error(*g));
    return p;
}

/* The part [first, first + n) of `from` [outer, time, inner] into `to` [outer, n, inner] of another length, or back. */
static void copy_time(float *to, size_t to_time, size_t to_first, const float *from, size_t from_time, size_t from_first, const timed *t, size_t n)
{
    for (size_t o = 0; o < t->outer; o++)
        memcpy(to + (o * to_time + to_first) * t->inner, from + (o * from_time + from_first) * t->inner, n * t->inner * sizeof *to);
}

static void write_fixed(tuff_program *p, const streamed *s)
{
    rng r = { 17 };
    for (size_t i = 0; i < 4 && s->fixed[i].name; i++) {
        float *x = numbers(&r, s->fixed[i].n, 0.5, 0);
        write(p, s->fixed[i].name, x, s->fixed[i].n);
        free(x);
    }
}

static void run_part(tuff_program *p, const streamed *s, float *const *in, size_t first, size_t n, float *out)
{
    float part[4096];
    for (size_t i = 0; i < 4 && s->in[i].name; i++) {
        copy_time(part, n, 0, in[i], TIME, first, &s->in[i], n);
        write(p, s->in[i].name, part, s->in[i].outer * n * s->in[i].inner);
    }
    cr_assert(!tuff_run(p), "%s", tuff_program_error(p));
    read(p, s->out.name, part, s->out.outer * n * s->out.inner);
    copy_time(out, TIME, first, part, n, 0, &s->out, n);
}

static void stream(tuff_device *dev, const streamed *s)
{
    static const size_t sizes[] = { 1, 8, 15 }, plans[][24] = { { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 }, { 8, 8, 8 }, { 15, 1, 8 }, { 15, 1, 1, 1, 1, 1, 1, 1, 1, 1 } };
    tuff_graph *g[4];
    tuff_program *p[3] = { NULL }, *whole = compile_zoo(dev, s->whole ? s->whole : s->step, s->length, TIME, NULL, &g[3]);
    const size_t count = s->single ? 1 : 3, n_out = s->out.outer * TIME * s->out.inner, steps = TIME - s->missing;
    rng r = { 23 };
    float *in[4] = { NULL }, *want = calloc(n_out, sizeof *want), *got = calloc(n_out, sizeof *got), *zero = calloc(256, sizeof *zero);
    cr_assert(want && got && zero);
    for (size_t i = 0; i < count; i++) {
        p[i] = compile_zoo(dev, s->step, s->single ? NULL : "block", (int)sizes[i], i ? p[0] : NULL, &g[i]);
        write_fixed(p[i], s);
    }
    write_fixed(whole, s);
    for (size_t i = 0; i < 4 && s->in[i].name; i++) {
        in[i] = numbers(&r, s->in[i].outer * TIME * s->in[i].inner, 1, 0);
        write(whole, s->in[i].name, in[i], s->in[i].outer * TIME * s->in[i].inner);
    }
    cr_assert(!tuff_run(whole));
    read(whole, s->out.name, want, s->out.outer * steps * s->out.inner);
    for (size_t k = 0; k < (s->single ? 1 : COUNT(plans)); k++) {
        for (size_t i = 0; i < 3 && s->state[i].name; i++) write(p[0], s->state[i].name, zero, s->state[i].n);
        for (size_t t = 0, i = 0; t < TIME; t += plans[k][i++])
            run_part(p[plans[k][i] == 1 ? 0 : plans[k][i] == 8 ? 1 : 2], s, in, t, plans[k][i], got);
        float *same = calloc(n_out, sizeof *same); /* without the outputs of incomplete windows */
        cr_assert(same);
        copy_time(same, steps, 0, got, TIME, s->missing, &s->out, steps);
        const double d = distance(same, want, s->out.outer * steps * s->out.inner);
        cr_expect(d < 1e-6, "%s, plan %zu: %g", s->step, k, d);
        free(same);
    }
    for (size_t i = 3; i-- > 0;) tuff_program_destroy(p[i]);
    tuff_program_destroy(whole);
    for (size_t i = 0; i < count; i++) tuff_graph_destroy(g[i]);
    tuff_graph_destroy(g[3]);
    for (size_t i = 0; i < 4; i++) free(in[i]);
    free(want);
    free(got);
    free(zero);
}

Test(scan, step_programs_of_the_zoo)
{
    tuff_device *dev = open_device(NULL);
    for (size_t i = 0; i < COUNT(streams); i++) stream(dev, &streams[i]);
    tuff_device_close(dev);
}
