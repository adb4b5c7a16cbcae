/* test_fft.c - accuracy of transforms over lengths of every kind, for the kernels of both device classes, and identities that
 * need no reference: linearity, Parseval, shift, and convolution with a constant kernel against an input one.
 *
 * TUFF_TEST_FFT_LENGTHS=first,last tests every length of that range instead of the spread below. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/support.h"

static const double EPS = 1.1920928955078125e-7;

static bool smooth(int64_t n)
{
    static const int64_t primes[] = { 2, 3, 5, 7, 11, 13 };
    for (size_t i = 0; i < COUNT(primes); i++)
        while (n % primes[i] == 0) n /= primes[i];
    return n == 1;
}

/* What fft.h promises. */
static double bound(int64_t n) { return n < 2 ? EPS : (smooth(n) ? 1 : 3) * EPS * sqrt(log2((double)n)); }

/* ---- accuracy --------------------------------------------------------------------------------------- */

/* Up to 8 transforms of f(n) in one graph, each with its own bound. */
static void check_lengths(tuff_device *dev, const int64_t *lengths, size_t count, const char *call, const char *type)
{
    for (size_t i = 0; i < count; i++) {
        char text[256], what[64], message[256];
        snprintf(text, sizeof text, "x = input %s[2,%lld]\ny = fft(x) %s\noutput y\n", type, (long long)lengths[i], call);
        snprintf(what, sizeof what, "fft %lld %s", (long long)lengths[i], call);
        tuff_graph *g = NULL;
        cr_assert(!tuff_graph_parse(text, strlen(text), NULL, &g, message, sizeof message), "%s", message);
        expect_graph(what, dev, g, &(graph_options){ .seed = (uint64_t)lengths[i], .tolerance.rel = bound(lengths[i]) });
        tuff_graph_destroy(g);
    }
}

/* Radices 2 to 13, products, both sides of what one kernel holds, primes, and products with large primes. */
static const int64_t spread[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 17, 19, 22, 25, 27, 31, 32, 33, 37, 49, 56, 64, 91, 97, 100, 121, 125, 127, 143, 169, 180,
                                  192, 210, 240, 255, 256, 257, 288, 343, 360, 500, 509, 512, 625, 729, 997, 1001, 1024, 1331, 2048, 2187, 3003, 4093, 4096 };

static void range(tuff_device *dev)
{
    const char *text = getenv("TUFF_TEST_FFT_LENGTHS");
    int64_t first = 0, last = -1;
    if (text) {
        char *end;
        first = strtoll(text, &end, 10);
        last = *end == ',' ? strtoll(end + 1, NULL, 10) : first;
        for (int64_t n = first; n <= last; n++) check_lengths(dev, &n, 1, "", "c64");
        return;
    }
    check_lengths(dev, spread, COUNT(spread), "", "c64");
}

Test(fft, accuracy)
{
    tuff_device *dev = open_device(NULL);
    range(dev);
    tuff_device_close(dev);
}

static const int64_t few[] = { 2, 15, 64, 97, 210, 256, 1000, 1024, 2187, 4096 };

Test(fft, accuracy_of_the_other_class)
{
    tuff_device *dev = open_device(&(tuff_device_desc){ .toggles = "-cpu" });
    check_lengths(dev, few, COUNT(few), "", "c64");
    check_lengths(dev, few, COUNT(few), "{direction=inverse, norm=ortho}", "c64");
    tuff_device_close(dev);
    dev = open_device(&(tuff_device_desc){ .toggles = "+cpu,-int64" });
    check_lengths(dev, few, COUNT(few), "", "c64");
    tuff_device_close(dev);
    dev = open_device(&(tuff_device_desc){ .toggles = "+cpu,-subgroup", .limits = "shared=16K,invocations=128,bindings=4" });
    check_lengths(dev, few, COUNT(few), "", "c64");
    tuff_device_close(dev);
}

Test(fft, accuracy_of_real_lines)
{
    static const int64_t lengths[] = { 2, 3, 4, 6, 15, 16, 62, 64, 97, 128, 256, 500, 512, 514, 1000, 1024, 4096 };
    for (int cpu = 0; cpu < 2; cpu++) {
        tuff_device *dev = open_device(&(tuff_device_desc){ .toggles = cpu ? "+cpu" : "-cpu" });
        for (size_t i = 0; i < COUNT(lengths); i++) {
            char call[96];
            check_lengths(dev, &lengths[i], 1, "{kind=r2c}", "f32");
            snprintf(call, sizeof call, "{kind=c2r, n=%lld, norm=ortho}", (long long)lengths[i]);
            check_lengths(dev, &lengths[i], 1, call, "c64"); /* twice as many bins as it needs: the rest is cut off */
        }
        tuff_device_close(dev);
    }
}

/* ---- identities -------------------------------------------------------------------------------------- */

typedef struct identity { const char *name, *text; double tolerance; } identity;

/* Output y is 0 but for rounding, relative to 1: a mean of squares over one of the data. */
static const identity identities[] = {
    { "linearity", "f = fft(a)\ng = fft(b)\nf2 = mul(f, 2.5)\ns = add(f2, g)\na2 = mul(a, 2.5)\nab = add(a2, b)\nt = fft(ab)\nd = sub(s, t)\n", 1e-12 },
    { "shift: a roll by 5 multiplies bin k by a root", "r = roll(a) {shift=[5], axes=[1]}\nf = fft(r)\ng = fft(a)\n"
      "k = iota() {shape=[210], axis=0, dtype=f32}\nt = mul(k, -0.14959965017094252)\nc = cos(t)\ns = sin(t)\nw = complex(c, s)\n"
      "gw = mul(g, w)\nd = sub(f, gw)\n", 1e-11 },
    { "there and back", "f = fft(a)\nb2 = fft(f) {direction=inverse}\ne = sub(b2, a)\nd = mul(e, 14.49)\n", 1e-12 },
    { "twice the transform is the mirror", "f = fft(a)\ng = fft(f)\nm = flip(a) {axes=[1]}\nm2 = roll(m) {shift=[1], axes=[1]}\n"
      "m3 = mul(m2, 210.0)\ne = sub(g, m3)\nd = div(e, 14.49)\n", 1e-12 },
};

static double run_identity(tuff_device *dev, const identity *c)
{
    char text[1024], message[256];
    snprintf(text, sizeof text, "a = input c64[3,210]\nb = input c64[3,210]\n%sm = abs(d)\nq = square(m)\ny = mean(q)\noutput y\n", c->text);
    tuff_graph *g = NULL;
    tuff_program *p = NULL;
    cr_assert(!tuff_graph_parse(text, strlen(text), NULL, &g, message, sizeof message), "%s: %s", c->name, message);
    cr_assert(!tuff_compile(dev, g, NULL, &p), "%s: %s", c->name, tuff_graph_error(g));
    float a[3 * 210 * 2], b[3 * 210 * 2], y = NAN;
    rng r = { 5 };
    rng_fill(&r, TUFF_C64, a, 3 * 210);
    rng_fill(&r, TUFF_C64, b, 3 * 210);
    cr_assert(!tuff_write(p, "a", a, sizeof a) && !tuff_write(p, "b", b, sizeof b) && !tuff_run(p) &&
              !tuff_read(p, "y", &y, sizeof y), "%s: %s", c->name, tuff_program_error(p));
    tuff_program_destroy(p);
    tuff_graph_destroy(g);
    return (double)y / (2 * 210); /* |bin|^2 of normal complex data is 420 on average */
}

Test(fft, identities)
{
    tuff_device *dev = open_device(NULL);
    for (size_t i = 0; i < COUNT(identities); i++) {
        const double y = run_identity(dev, &identities[i]);
        cr_expect(y <= identities[i].tolerance, "%s: %g, allowed %g", identities[i].name, y, identities[i].tolerance);
    }
    tuff_device_close(dev);
}

/* Parseval: sums of |x|^2 and of |X|^2 / n agree, for a length of each kind. */
Test(fft, parseval)
{
    static const int64_t lengths[] = { 64, 97, 600, 997 };
    tuff_device *dev = open_device(NULL);
    for (size_t i = 0; i < COUNT(lengths); i++) {
        const int64_t n = lengths[i];
        tuff_graph *g = tuff_graph_create(NULL);
        const tuff_tensor x = tuff_input(g, "x", TUFF_C64, TUFF_SHAPE(n));
        const tuff_tensor f = tuff_fft(x, &(tuff_fft_desc){ .norm = TUFF_FFT_ORTHO });
        tuff_output(g, "a", tuff_sum(tuff_square(tuff_abs(x)), NULL));
        tuff_output(g, "b", tuff_sum(tuff_square(tuff_abs(f)), NULL));
        tuff_program *p = NULL;
        cr_assert(!tuff_compile(dev, g, NULL, &p), "%s", tuff_graph_error(g));
        float *data = malloc((size_t)n * 8), a = 0, b = 1;
        rng r = { 9 };
        rng_fill(&r, TUFF_C64, data, (size_t)n);
        cr_assert(!tuff_write(p, "x", data, (size_t)n * 8) && !tuff_run(p) && !tuff_read(p, "a", &a, 4) && !tuff_read(p, "b", &b, 4));
        cr_expect(fabs((double)a - (double)b) <= 4e-6 * (double)a, "n %lld: %g and %g", (long long)n, (double)a, (double)b);
        free(data);
        tuff_program_destroy(p);
        tuff_graph_destroy(g);
    }
    tuff_device_close(dev);
}

/* ---- convolution -------------------------------------------------------------------------------------- */

/* A constant h (its transform comes from the host) and an input h per row, by transforms and directly. */
Test(fft, convolution_with_constants)
{
    static const struct { int64_t rows, n, k; tuff_conv_mode mode; } cases[] = {
        { 5, 100, 20, TUFF_CONV_LINEAR }, { 4, 90, 40, TUFF_CONV_CAUSAL }, { 3, 97, 31, TUFF_CONV_CIRCULAR }, { 2, 3000, 80, TUFF_CONV_LINEAR },
        { 3, 701, 601, TUFF_CONV_CAUSAL }, { 2, 1200, 1199, TUFF_CONV_CIRCULAR },
    };
    tuff_device *dev = open_device(NULL);
    for (size_t i = 0; i < COUNT(cases); i++)
        for (int way = 0; way < 3; way++) {
            const bool constant = way < 2;
            const tuff_conv_algorithm algorithm = way == 1 ? TUFF_CONV_DIRECT : TUFF_CONV_FFT;
            float h[1200];
            rng r = { i + 1 };
            rng_fill(&r, TUFF_F32, h, (size_t)cases[i].k);
            tuff_graph *g = tuff_graph_create(NULL);
            const tuff_tensor x = tuff_input(g, "x", TUFF_F32, TUFF_SHAPE(cases[i].rows, cases[i].n));
            const tuff_tensor kernel = constant ? tuff_const(g, TUFF_F32, TUFF_SHAPE(cases[i].k), h, NULL)
                                                : tuff_input(g, "h", TUFF_F32, TUFF_SHAPE(cases[i].rows, cases[i].k));
            tuff_output(g, "y", tuff_fft_conv(x, kernel, &(tuff_fft_conv_desc){ .mode = cases[i].mode, .algorithm = algorithm }));
            char what[96];
            snprintf(what, sizeof what, "fft_conv %lld by %s %lld, algorithm %d", (long long)cases[i].n, constant ? "constant" : "input", (long long)cases[i].k,
                     (int)algorithm);
            expect_graph(what, dev, g, &(graph_options){ .seed = i + 3, .tolerance.rel = 2e-6 });
            tuff_graph_destroy(g);
        }
    tuff_device_close(dev);
}

/* Mistakes are refused by name. */
Test(fft, refusals)
{
    static const struct { const char *text, *word; } cases[] = {
        { "x = input i32[8]\ny = fft(x)\n", "i32" }, { "x = input c64[8]\ny = fft(x) {kind=r2c}\n", "c64" },
        { "x = input c64[8]\ny = fft(x) {n=0}\n", "length" }, { "x = input c64[8,8]\ny = fft(x) {axes=[0,0]}\n", "twice" },
        { "x = input c64[8]\ny = fft(x) {axes=[1]}\n", "axis" }, { "x = input c64[8,8]\ny = fft(x) {axes=[0,1], n=[4]}\n", "entries" },
        { "dim m <= 8\nx = input c64[m]\ny = fft(x)\n", "fixed" }, { "x = input c64[0]\ny = fft(x) {n=4}\n", "elements" },
        { "x = input f32[8]\nh = input f32[9]\ny = fft_conv(x, h) {mode=circular}\n", "period" },
        { "x = input f32[3,8]\nh = input f32[2,4]\ny = fft_conv(x, h)\n", "per row" }, { "x = input f32[8]\nh = input c64[4]\ny = fft_conv(x, h)\n", "dtype" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char message[512] = "";
        tuff_graph *g = NULL;
        const tuff_status s = tuff_graph_parse(cases[i].text, strlen(cases[i].text), NULL, &g, message, sizeof message);
        cr_expect(s && strstr(message, cases[i].word), "%s: %s", cases[i].text, message);
        tuff_graph_destroy(g);
    }
}
