/* fft_accuracy - relative L2 errors of tuff's transforms against FFTW in double precision, as multiples of eps sqrt(log2 n).
 *
 *     fft_accuracy [FIRST LAST]... [--kind c2c|r2c|c2r] [--toggles TEXT] [--every N]
 *
 * Each pair is a range of lengths (default 1 4096), of which every N-th is taken. Lengths whose primes are at most 13 may
 * reach 1, others 3: those beyond are printed and make the exit status 1. The largest multiple of both kinds so far is printed
 * every 256 lengths and at the end. The device is the first one that Vulkan lists. */
#include <fftw3.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tuff/tuff.h>

typedef enum kind { C2C, R2C, C2R } kind;
typedef struct worst { double ratio; long long n; } worst;

static bool smooth(long long n)
{
    static const int primes[] = { 2, 3, 5, 7, 11, 13 };
    for (size_t i = 0; i < sizeof primes / sizeof *primes; i++)
        while (n % primes[i] == 0) n /= primes[i];
    return n == 1;
}

/* x as floats into y, through tuff. */
static bool by_tuff(tuff_device *dev, kind k, long long n, const float *x, size_t x_bytes, float *y, size_t y_bytes)
{
    tuff_graph *g = tuff_graph_create(NULL);
    tuff_program *p = NULL;
    const tuff_tensor in = tuff_input(g, "x", k == R2C ? TUFF_F32 : TUFF_C64, TUFF_SHAPE(k == C2R ? n / 2 + 1 : n));
    static const tuff_fft_kind kinds[] = { TUFF_FFT_C2C, TUFF_FFT_R2C, TUFF_FFT_C2R };
    tuff_output(g, "y", tuff_fft(in, &(tuff_fft_desc){ .kind = kinds[k], .n = TUFF_INTS(n), .norm = k == C2R ? TUFF_FFT_NORM_FORWARD : TUFF_FFT_BACKWARD }));
    bool good = !tuff_compile(dev, g, NULL, &p);
    if (!good) fprintf(stderr, "%lld: %s\n", n, tuff_graph_error(g));
    if (good && (tuff_write(p, "x", x, x_bytes) || tuff_run(p) || tuff_read(p, "y", y, y_bytes))) {
        fprintf(stderr, "%lld: %s\n", n, tuff_program_error(p));
        good = false;
    }
    tuff_program_destroy(p);
    tuff_graph_destroy(g);
    return good;
}

/* The multiple of eps sqrt(log2 n); infinity when something failed. */
static double ratio_of(tuff_device *dev, kind k, long long n)
{
    const size_t bins = (size_t)n / 2 + 1, in = k == R2C ? (size_t)n : k == C2R ? 2 * bins : 2 * (size_t)n, out = k == R2C ? 2 * bins : k == C2R ? (size_t)n : 2 * (size_t)n;
    float *x = malloc(in * sizeof *x), *y = malloc(out * sizeof *y);
    double *a = fftw_malloc(in * sizeof *a), *b = fftw_malloc(out * sizeof *b), e = 0, norm = 0, ratio = INFINITY;
    if (!x || !y || !a || !b) return ratio;
    const fftw_plan plan = k == R2C ? fftw_plan_dft_r2c_1d((int)n, a, (fftw_complex *)b, FFTW_ESTIMATE)
                         : k == C2R ? fftw_plan_dft_c2r_1d((int)n, (fftw_complex *)a, b, FFTW_ESTIMATE)
                         : fftw_plan_dft_1d((int)n, (fftw_complex *)a, (fftw_complex *)b, FFTW_FORWARD, FFTW_ESTIMATE);
    unsigned state = (unsigned)n;
    for (size_t j = 0; j < in; j++) {
        state = state * 1664525u + 1013904223u;
        x[j] = (float)(state >> 8) / 8388608.0f - 1.0f;
        a[j] = (double)x[j];
    }
    if (k == C2R) a[1] = 0;
    if (k == C2R && n % 2 == 0) a[2 * bins - 1] = 0;
    fftw_execute(plan);
    if (by_tuff(dev, k, n, x, in * sizeof *x, y, out * sizeof *y)) {
        for (size_t j = 0; j < out; j++) {
            e += ((double)y[j] - b[j]) * ((double)y[j] - b[j]);
            norm += b[j] * b[j];
        }
        ratio = sqrt(e / norm) / (1.1920928955078125e-7 * sqrt(fmax(log2((double)n), 1)));
    }
    fftw_destroy_plan(plan);
    fftw_free(a);
    fftw_free(b);
    free(x);
    free(y);
    return ratio;
}

static void report(const char *device, int tested, int bad, const worst of[2])
{
    printf("%s: %d lengths, %d beyond the bound; largest multiples of eps sqrt(log2 n): %.3f at %lld (primes up to 13), %.3f at %lld (others)\n",
           device, tested, bad, of[0].ratio, of[0].n, of[1].ratio, of[1].n);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    kind k = C2C;
    long long every = 1, given[64] = { 1, 4096 };
    int n = 0, bad = 0, tested = 0;
    const char *toggles = NULL;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--kind") && i + 1 < argc) k = argv[++i][0] == 'r' ? R2C : argv[i][2] == 'r' ? C2R : C2C;
        else if (!strcmp(argv[i], "--toggles") && i + 1 < argc) toggles = argv[++i];
        else if (!strcmp(argv[i], "--every") && i + 1 < argc) every = atoll(argv[++i]);
        else if (n < 64) given[n++] = atoll(argv[i]);
    }
    tuff_device *dev = NULL;
    if (every < 1 || n % 2 || tuff_device_open(&(tuff_device_desc){ .cache_dir = "", .toggles = toggles }, &dev)) {
        fprintf(stderr, "fft_accuracy: %s\n", every < 1 || n % 2 ? "ranges are pairs of lengths" : tuff_device_error(NULL));
        return 2;
    }
    worst of[2] = { { 0, 0 }, { 0, 0 } };
    for (int i = 0; i < (n ? n : 2); i += 2)
        for (long long m = given[i]; m <= given[i + 1]; m += every) {
            const bool other = !smooth(m);
            const double ratio = ratio_of(dev, k, m);
            if (!(ratio <= (other ? 3 : 1))) {
                printf("%lld: %.3f\n", m, ratio);
                fflush(stdout);
                bad++;
            }
            if (!(ratio <= of[other].ratio)) of[other] = (worst){ ratio, m };
            if (++tested % 256 == 0) report(tuff_device_name(dev), tested, bad, of);
        }
    report(tuff_device_name(dev), tested, bad, of);
    tuff_device_close(dev);
    return bad != 0;
}
