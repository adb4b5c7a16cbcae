/* forecast - monthly values half a year ahead by a state-space model with a linear readout.
 *
 * A HiPPO system (LegT, as diagonal plus low rank) keeps the last six years (or a third of what it is fitted on) as 48 coefficients of Legendre polynomials; each coefficient is an S4
 * model's output. Their readout is fitted by ridge regression on the first 70 % of the series, in closed form. The fitted model is one graph:
 * convolution with the models' kernels, then a matrix product. Skill is 1 - mse / mse of the calendar month's mean, on the months that were not used: 0 is no better than that mean.
 *
 *     forecast [SERIES.txt] [--ahead 6] [--ridge 0.3] [--out forecast.png] [--device D]
 *
 * SERIES.txt has one number per month, at least 120. Without it, 50 years of temperatures are made up: seasons whose strength wanders,
 * a swing of 43 months, a trend and weather. Where Debian's ferret-datasets is installed, real ones follow: eleven years of monthly zonal winds
 * (US Navy) over the Arabian Sea, drawn into winds.png. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tuff/tuff.h>

#include "cdf.h"
#include "plot.h"

enum { FEATURES = 48, MODES = FEATURES / 2, COLUMNS = FEATURES + 2, MOST = 4096 };
#define PI 3.14159265358979323846
#define WINDS "/usr/share/ferret-vis/data/monthly_navy_winds.cdf"

typedef struct series { int n, train, window; float raw[MOST], x[MOST]; double mean, deviation; } series; /* x: standardised by the training part */

/* ---- data ---- */

static double noise(unsigned long long *state)
{
    double sum = 0;
    for (int i = 0; i < 12; i++) {
        *state = *state * 6364136223846793005ull + 1442695040888963407ull;
        sum += (double)(*state >> 11) / 9007199254740992.0;
    }
    return sum - 6;
}

static void make_series(series *s)
{
    unsigned long long state = 2024;
    double weather = 0;
    s->n = 600;
    for (int i = 0; i < s->n; i++) {
        weather = 0.5 * weather + 0.6 * noise(&state);
        s->raw[i] = (float)(9.5 + (7 + 1.2 * sin(2 * PI * i / 130)) * sin(2 * PI * (i - 3.5) / 12) + 1.6 * sin(2 * PI * i / 43.0) + 0.002 * i + weather);
    }
}

static bool read_series(const char *path, series *s)
{
    FILE *f = fopen(path, "r");
    if (!f) return perror(path), false;
    for (s->n = 0; s->n < MOST && fscanf(f, "%f", &s->raw[s->n]) == 1;) s->n++;
    fclose(f);
    if (s->n < 120) fprintf(stderr, "forecast: %s has %d numbers; at least 120 are needed\n", path, s->n);
    return s->n >= 120;
}

static void standardise(series *s)
{
    double sum = 0, square = 0;
    s->train = s->n * 7 / 10;
    s->window = s->train / 3 < 72 ? s->train / 3 : 72; /* months that the state remembers */
    for (int i = 0; i < s->train; i++) sum += (double)s->raw[i], square += (double)s->raw[i] * (double)s->raw[i];
    s->mean = sum / s->train;
    s->deviation = sqrt(fmax(square / s->train - s->mean * s->mean, 1e-12));
    for (int i = 0; i < s->n; i++) s->x[i] = (float)(((double)s->raw[i] - s->mean) / s->deviation);
}

/* ---- the model ---- */

/* [COLUMNS, n]: the features, the input and 1. */
static tuff_tensor features(tuff_graph *g, tuff_tensor x, int64_t n, int window)
{
    const float step = 1.0f / (float)window;
    const tuff_shape modes = TUFF_SHAPE(FEATURES, MODES);
    const tuff_tensor lam = tuff_hippo_nplr(g, TUFF_HIPPO_LEGT, FEATURES, NULL), b = tuff_result(lam, 1), low_rank = tuff_result(lam, 2);
    const tuff_tensor p = tuff_expand(tuff_unsqueeze(low_rank, TUFF_INTS(1)), TUFF_SHAPE(2, FEATURES, MODES));
    const tuff_tensor c = tuff_result(lam, 3); /* row n of the eigenvectors gives coefficient n */
    const tuff_tensor dt = tuff_expand(tuff_const(g, TUFF_F32, TUFF_SHAPE(1), &step, NULL), TUFF_SHAPE(FEATURES));
    const tuff_tensor k = tuff_s4_kernel(tuff_expand(lam, modes), p, tuff_expand(b, modes), c, dt, n, NULL);
    const tuff_tensor y = tuff_causal_conv(tuff_expand(x, TUFF_SHAPE(FEATURES, n)), k, NULL), one = tuff_literal(g, 1, TUFF_F32);
    return tuff_concat((tuff_tensor[]){ y, tuff_reshape(x, TUFF_SHAPE(1, n)), tuff_expand(one, TUFF_SHAPE(1, n)) }, 3, 0);
}

/* Runs the features (weights NULL) or the forecasts on all of the series. */
static bool run(tuff_device *dev, const series *s, const float *weights, float *out)
{
    tuff_graph *g = tuff_graph_create(NULL);
    tuff_program *p = NULL;
    const tuff_tensor x = tuff_input(g, "x", TUFF_F32, TUFF_SHAPE(s->n)), f = features(g, x, s->n, s->window);
    tuff_output(g, "y", weights ? tuff_matmul(tuff_const(g, TUFF_F32, TUFF_SHAPE(COLUMNS), weights, NULL), f, NULL) : f);
    const size_t bytes = (size_t)s->n * sizeof(float);
    bool good = !tuff_compile(dev, g, NULL, &p);
    if (!good) fprintf(stderr, "forecast: %s\n", tuff_graph_error(g));
    if (good && !(good = !tuff_write(p, "x", s->x, bytes) && !tuff_run(p) && !tuff_read(p, "y", out, weights ? bytes : bytes * COLUMNS)))
        fprintf(stderr, "forecast: %s\n", tuff_program_error(p));
    tuff_program_destroy(p);
    tuff_graph_destroy(g);
    return good;
}

/* (F F' + r n diag(F F')) w = F y, by Cholesky; the target of month t is x[t + ahead]. */
static bool fit(const series *s, const float *f, int ahead, double ridge, float *weights)
{
    static double a[COLUMNS][COLUMNS];
    double w[COLUMNS];
    const int first = s->window, last = s->train - ahead; /* the memory fills first */
    for (int i = 0; i < COLUMNS; i++) {
        w[i] = 0;
        for (int t = first; t < last; t++) w[i] += (double)f[i * s->n + t] * (double)s->x[t + ahead];
        for (int j = 0; j <= i; j++) {
            a[i][j] = 0;
            for (int t = first; t < last; t++) a[i][j] += (double)f[i * s->n + t] * (double)f[j * s->n + t];
        }
    }
    for (int i = 0; i < COLUMNS; i++) a[i][i] *= 1 + ridge / (last - first);
    for (int i = 0; i < COLUMNS; i++)
        for (int j = 0; j <= i; j++) {
            for (int k = 0; k < j; k++) a[i][j] -= a[i][k] * a[j][k];
            if (i == j && a[i][i] <= 0) return false;
            a[i][j] = i == j ? sqrt(a[i][i]) : a[i][j] / a[j][j];
        }
    for (int i = 0; i < COLUMNS; i++) {
        for (int k = 0; k < i; k++) w[i] -= a[i][k] * w[k];
        w[i] /= a[i][i];
    }
    for (int i = COLUMNS; i-- > 0;) {
        for (int k = i + 1; k < COLUMNS; k++) w[i] -= a[k][i] * w[k];
        w[i] /= a[i][i];
        weights[i] = (float)w[i];
    }
    return true;
}

/* ---- judging ---- */

/* Forecasts in months: predicted[t] is of month t. Prints the errors, returns the skill. */
static double judge(const series *s, const float *predicted, int ahead)
{
    double month[12] = { 0 }, model = 0, climate = 0, last_year = 0;
    int count[12] = { 0 }, n = 0;
    for (int i = 0; i < s->train; i++) month[i % 12] += (double)s->raw[i], count[i % 12]++;
    for (int t = s->train + ahead; t < s->n; t++, n++) {
        const double want = (double)s->raw[t];
        model += pow((double)predicted[t] - want, 2);
        climate += pow(month[t % 12] / count[t % 12] - want, 2);
        last_year += pow((double)s->raw[t - 12] - want, 2);
    }
    printf("months      %d for fitting, %d for judging, %d ahead\n", s->train, n, ahead);
    printf("error       %.3f model, %.3f mean of the month, %.3f a year ago (root mean square)\n", sqrt(model / n), sqrt(climate / n), sqrt(last_year / n));
    printf("skill       %+.3f\n", 1 - model / climate);
    return 1 - model / climate;
}

static bool draw(const char *path, const series *s, const float *predicted)
{
    plot p;
    float low = s->raw[0], high = s->raw[0];
    for (int i = 0; i < s->n; i++) low = fminf(low, s->raw[i]), high = fmaxf(high, s->raw[i]);
    if (!plot_create(&p, 1000, 480)) return false;
    const plot_panel all = plot_frame(&p, 60, 30, 910, 180, (double)low, (double)high, "all months (grey), forecasts (red)");
    plot_line(&p, &all, s->raw, (size_t)s->n, 0xaaaaaa);
    plot_panel later = all;
    later.width = (s->n - s->train) * all.width / s->n;
    later.x += all.width - later.width;
    plot_line(&p, &later, predicted + s->train, (size_t)(s->n - s->train), 0xd62728);
    const int shown = s->n - s->train < 120 ? s->n - s->train : 120;
    const plot_panel end = plot_frame(&p, 60, 260, 910, 180, (double)low, (double)high, "the last ten years");
    plot_line(&p, &end, s->raw + s->n - shown, (size_t)shown, 0x888888);
    plot_line(&p, &end, predicted + s->n - shown, (size_t)shown, 0xd62728);
    const bool good = plot_write(&p, path);
    plot_destroy(&p);
    return good;
}

static bool forecast(const char *device, const series *s, int ahead, double ridge, const char *path)
{
    float weights[COLUMNS], *f = malloc((size_t)(COLUMNS * s->n) * sizeof *f), *y = malloc((size_t)s->n * sizeof *y), *predicted = malloc((size_t)s->n * sizeof *y);
    tuff_device *dev = NULL;
    const double start = plot_now();
    bool good = f && y && predicted;
    if (!good) fprintf(stderr, "forecast: out of memory\n");
    if (good && !(good = !tuff_device_open(&(tuff_device_desc){ .select = device }, &dev))) fprintf(stderr, "forecast: %s\n", tuff_device_error(NULL));
    good = good && run(dev, s, NULL, f);
    if (good && !(good = fit(s, f, ahead, ridge, weights))) fprintf(stderr, "forecast: the features are dependent; a larger --ridge helps\n");
    good = good && run(dev, s, weights, y);
    const double seconds = plot_now() - start;
    if (good) {
        for (int t = 0; t < s->n; t++) predicted[t] = t < ahead ? s->raw[t] : (float)(s->mean + s->deviation * (double)y[t - ahead]);
        printf("device      %s\n", tuff_device_name(dev));
        judge(s, predicted, ahead);
        printf("time        %.2f s for features, fit and forecasts, with compiling\n", seconds);
        good = draw(path, s, predicted);
    }
    if (good) printf("wrote       %s\n", path);
    free(f);
    free(y);
    free(predicted);
    tuff_device_close(dev);
    return good;
}

int main(int argc, char **argv)
{
    static series s;
    const char *in = NULL, *path = "forecast.png", *device = NULL;
    int ahead = 6;
    double ridge = 0.3;
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (argv[i][0] != '-') { in = argv[i]; continue; }
        if (!strcmp(argv[i], "--ahead")) ahead = atoi(value);
        else if (!strcmp(argv[i], "--ridge")) ridge = atof(value);
        else if (!strcmp(argv[i], "--out")) path = value;
        else if (!strcmp(argv[i], "--device")) device = value;
        else ahead = 0;
        i++;
    }
    if (ahead < 1 || ahead > 24 || ridge < 0) {
        fprintf(stderr, "usage: forecast [SERIES.txt] [--ahead 6] [--ridge 0.3] [--out forecast.png] [--device D]\n       ahead: 1 to 24 months\n");
        return 2;
    }
    if (in && !read_series(in, &s)) return 1;
    if (!in) make_series(&s);
    standardise(&s);
    if (!forecast(device, &s, ahead, ridge, path)) return 1;
    if (in || (s.n = cdf_series(WINDS, "UWND", 42, 16, s.raw, MOST)) < 120) return 0;
    printf("\nzonal wind at 15 N, 60 E\n");
    standardise(&s);
    return forecast(device, &s, ahead, 30, "winds.png") ? 0 : 1; /* few years: a firmer hand */
}
