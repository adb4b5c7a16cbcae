/* ocean - a sea surface from its spectrum, as games draw it: per frame, waves of all directions are turned by their phase and
 * brought into space by three inverse transforms: height; both slopes; both horizontal displacements.
 *
 *     ocean [--size 256] [--frames 8] [--wind 12] [--patch 200] [--step 0.4] [--prefix ocean] [--device D]
 *
 * The spectrum is JONSWAP's (Hasselmann et al. 1973) over 100 km of fetch, spread around the wind; the dispersion that of
 * deep water, omega^2 = g k; the sum is Tessendorf's (2001). Two real fields share one complex transform, f + i g.
 * Writes PREFIX_strip.png with all frames. Prints the variance of the surface in space and in the spectrum: Parseval says
 * they are one number. */
#include <math.h>
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <tuff/tuff.h>

typedef struct options {
    const char *device, *prefix;
    int64_t size, frames;
    double wind, patch, step; /* m/s, metres, seconds between frames */
} options;

enum { WIDTH = 320, HEIGHT = 180 };
static const double PI = 3.141592653589793, GRAVITY = 9.81;

static double now(void)
{
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- the spectrum --------------------------------------------------------------------------------- */

/* Two independent normal numbers. */
static void normals(uint64_t *state, double *a, double *b)
{
    double u[2];
    for (int i = 0; i < 2; i++) {
        *state = *state * 6364136223846793005u + 1442695040888963407u;
        u[i] = ((double)(*state >> 11) + 0.5) / 9007199254740992.0;
    }
    *a = sqrt(-2.0 * log(u[0])) * cos(2.0 * PI * u[1]);
    *b = sqrt(-2.0 * log(u[0])) * sin(2.0 * PI * u[1]);
}

/* Variance per area of the wave plane: S(omega) D(theta) (d omega / d k) / k. */
static double density(double kx, double ky, double wind)
{
    const double k = sqrt(kx * kx + ky * ky), fetch = 1e5;
    if (k == 0 || kx <= 0) return 0; /* the wind blows along x; no wave runs against it */
    const double omega = sqrt(GRAVITY * k), peak = 22.0 * pow(GRAVITY * GRAVITY / (wind * fetch), 1.0 / 3.0);
    const double alpha = 0.076 * pow(wind * wind / (fetch * GRAVITY), 0.22), sigma = omega <= peak ? 0.07 : 0.09;
    const double r = exp(-(omega - peak) * (omega - peak) / (2.0 * sigma * sigma * peak * peak));
    const double s = alpha * GRAVITY * GRAVITY / pow(omega, 5.0) * exp(-1.25 * pow(peak / omega, 4.0)) * pow(3.3, r);
    const double cosine = kx / k;
    return s * 2.0 / PI * cosine * cosine * 0.5 * GRAVITY / omega / k;
}

typedef struct sea { float *h0, *mirror, *omega, *kx, *ky; } sea; /* [size, size]: rows along y, complex where c64 */

static bool make_sea(const options *o, sea *s)
{
    const int64_t n = o->size, count = n * n;
    const double dk = 2.0 * PI / o->patch;
    uint64_t state = 20;
    s->h0 = calloc((size_t)(7 * count), sizeof(float));
    if (!s->h0) return false;
    s->mirror = s->h0 + 2 * count;
    s->omega = s->h0 + 4 * count;
    s->kx = s->h0 + 5 * count;
    s->ky = s->h0 + 6 * count;
    for (int64_t i = 0; i < count; i++) {
        const int64_t x = i % n, y = i / n;
        const double kx = dk * (double)(x < n / 2 ? x : x - n), ky = dk * (double)(y < n / 2 ? y : y - n);
        double a, b;
        normals(&state, &a, &b);
        /* the middle frequencies have no partner of opposite sign: left out, or the fields would not be real */
        const double amplitude = x == n / 2 || y == n / 2 ? 0 : sqrt(density(kx, ky, o->wind) * dk * dk / 4.0);
        s->h0[2 * i] = (float)(a * amplitude);
        s->h0[2 * i + 1] = (float)(b * amplitude);
        s->omega[i] = (float)sqrt(GRAVITY * sqrt(kx * kx + ky * ky));
        s->kx[i] = (float)kx;
        s->ky[i] = (float)ky;
    }
    for (int64_t i = 0; i < count; i++) { /* conj(h0(-k)) */
        const int64_t j = (n - i / n) % n * n + (n - i % n) % n;
        s->mirror[2 * i] = s->h0[2 * j];
        s->mirror[2 * i + 1] = -s->h0[2 * j + 1];
    }
    return true;
}

/* ---- the graph ------------------------------------------------------------------------------------- */

/* i * a + i * i * b = i a - b for spectra a, b of real fields: its inverse transform holds both fields' derivatives. */
static tuff_tensor both(tuff_tensor h, tuff_tensor a, tuff_tensor b)
{
    const tuff_tensor re = tuff_real(h), im = tuff_imag(h);
    return tuff_complex(tuff_neg(tuff_add(tuff_mul(im, a), tuff_mul(re, b))), tuff_sub(tuff_mul(re, a), tuff_mul(im, b)));
}

static tuff_graph *build(const options *o, const sea *s)
{
    const int64_t n = o->size;
    tuff_graph *g = tuff_graph_create(NULL);
    const tuff_tensor time = tuff_scalar(g, "time", TUFF_F32, 0);
    const tuff_tensor h0 = tuff_const(g, TUFF_C64, TUFF_SHAPE(n, n), s->h0, NULL), mirror = tuff_const(g, TUFF_C64, TUFF_SHAPE(n, n), s->mirror, NULL);
    const tuff_tensor kx = tuff_const(g, TUFF_F32, TUFF_SHAPE(n, n), s->kx, NULL), ky = tuff_const(g, TUFF_F32, TUFF_SHAPE(n, n), s->ky, NULL);
    const tuff_tensor phase = tuff_mul(tuff_const(g, TUFF_F32, TUFF_SHAPE(n, n), s->omega, NULL), time);
    const tuff_tensor turn = tuff_complex(tuff_cos(phase), tuff_sin(phase));
    const tuff_tensor h = tuff_add(tuff_mul(h0, turn), tuff_mul(mirror, tuff_conj(turn)));

    const tuff_tensor tiny = tuff_literal(g, 1e-6, TUFF_F32);
    const tuff_tensor inverse_k = tuff_rsqrt(tuff_add(tuff_add(tuff_square(kx), tuff_square(ky)), tiny));
    const tuff_fft_desc back = { .direction = TUFF_FFT_INVERSE, .axes = TUFF_INTS(0, 1), .norm = TUFF_FFT_NORM_FORWARD }; /* a plain sum over waves */
    const tuff_tensor height = tuff_fft(h, &back);
    tuff_output(g, "height", tuff_real(height));
    tuff_output(g, "slope", tuff_fft(both(h, kx, ky), &back));                                      /* d/dx + i d/dy */
    tuff_output(g, "shift", tuff_fft(both(h, tuff_mul(kx, inverse_k), tuff_mul(ky, inverse_k)), &back)); /* towards crests */
    tuff_output(g, "in_space", tuff_mean(tuff_square(tuff_real(height)), NULL));
    tuff_output(g, "in_waves", tuff_sum(tuff_square(tuff_abs(h)), NULL));
    tuff_output(g, "imaginary", tuff_max(tuff_abs(tuff_imag(height)), NULL));
    return g;
}

/* ---- the picture ----------------------------------------------------------------------------------- */

typedef struct field { const float *height, *slope, *shift; int64_t n; double patch; } field;

/* Bilinear, periodic; component `c` of `stride`. */
static double sample(const field *f, const float *data, int stride, int c, double x, double y)
{
    const double n = (double)f->n, u = x / f->patch * n, v = y / f->patch * n, fu = u - floor(u), fv = v - floor(v);
    const int64_t x0 = ((int64_t)floor(u) % f->n + f->n) % f->n, y0 = ((int64_t)floor(v) % f->n + f->n) % f->n, x1 = (x0 + 1) % f->n, y1 = (y0 + 1) % f->n;
    const double a = (double)data[(y0 * f->n + x0) * stride + c], b = (double)data[(y0 * f->n + x1) * stride + c];
    const double d = (double)data[(y1 * f->n + x0) * stride + c], e = (double)data[(y1 * f->n + x1) * stride + c];
    return (a * (1 - fu) + b * fu) * (1 - fv) + (d * (1 - fu) + e * fu) * fv;
}

/* The surface's height above (x, y): the point that was shifted there. */
static double surface(const field *f, double *x, double *y)
{
    const double px = *x, py = *y;
    for (int i = 0; i < 2; i++) {
        const double sx = sample(f, f->shift, 2, 0, *x, *y), sy = sample(f, f->shift, 2, 1, *x, *y);
        *x = px + 0.8 * sx;
        *y = py + 0.8 * sy;
    }
    return sample(f, f->height, 1, 0, *x, *y);
}

static void sky(double dx, double dy, double dz, double *rgb)
{
    const double up = dz > 0 ? dz : 0, sun = fmax(0.0, 0.82 * dx + 0.5 * dy + 0.28 * dz), glow = pow(sun, 24.0);
    rgb[0] = 0.75 - 0.55 * sqrt(up) + 0.9 * glow;
    rgb[1] = 0.82 - 0.45 * sqrt(up) + 0.7 * glow;
    rgb[2] = 0.90 - 0.25 * sqrt(up) + 0.4 * glow;
}

static void water(const field *f, double x, double y, double dx, double dy, double dz, double distance, double *rgb)
{
    const double fade = 1 / (1 + distance / 220.0), sx = fade * sample(f, f->slope, 2, 0, x, y), sy = fade * sample(f, f->slope, 2, 1, x, y);
    const double l = 1 / sqrt(1 + sx * sx + sy * sy), nx = -sx * l, ny = -sy * l, nz = l;
    const double facing = -(dx * nx + dy * ny + dz * nz), c = facing > 0 ? facing : 0, fresnel = 0.02 + 0.98 * pow(1 - c, 5.0);
    double mirror[3];
    sky(dx + 2 * c * nx, dy + 2 * c * ny, fabs(dz + 2 * c * nz), mirror);
    const double deep[3] = { 0.01, 0.10 + 0.10 * c, 0.14 + 0.12 * c }, haze = 1 - exp(-distance / 900.0), steep = sx * sx + sy * sy;
    double air[3];
    sky(dx, dy, 0, air);
    const double foam = steep > 0.16 ? fmin(1.0, (steep - 0.16) * 5.0) : 0;
    for (int i = 0; i < 3; i++) {
        const double wet = deep[i] * (1 - fresnel) + mirror[i] * fresnel, surf = wet + foam * (0.9 - wet);
        rgb[i] = surf * (1 - haze) + air[i] * haze;
    }
}

/* One picture into a strip of `frames`: rays from 9 m above the sea, looking along the wind. */
static void draw(const field *f, png_byte *strip, int64_t frame, int64_t frames)
{
    for (int row = 0; row < HEIGHT; row++)
        for (int column = 0; column < WIDTH; column++) {
            const double u = (column - WIDTH / 2 + 0.5) / HEIGHT, v = (HEIGHT / 3 - row - 0.5) / HEIGHT;
            const double l = 1 / sqrt(1 + u * u + v * v), dx = l, dy = u * l, dz = v * l, eye = 9.0;
            double rgb[3], t = 3.0, before = 0, x = 0, y = 0;
            bool hit = false;
            for (int i = 0; i < 140 && !hit && t < 2000; i++) {
                x = t * dx;
                y = t * dy;
                const double above = eye + t * dz - surface(f, &x, &y);
                if (above < 0) {
                    hit = true;
                    t -= (t - before) * 0.5;
                } else {
                    before = t;
                    t += fmax(0.15 + 0.01 * t, 0.5 * above);
                }
            }
            if (hit) {
                x = t * dx;
                y = t * dy;
                surface(f, &x, &y);
                water(f, x, y, dx, dy, dz, t, rgb);
            } else sky(dx, dy, dz, rgb);
            for (int i = 0; i < 3; i++)
                strip[((size_t)row * WIDTH * (size_t)frames + (size_t)frame * WIDTH + (size_t)column) * 3 + (size_t)i] =
                    (png_byte)lrint(255.0 * pow(fmin(1.0, fmax(0.0, rgb[i])), 0.8));
        }
}

/* ---- the command ------------------------------------------------------------------------------------ */

static bool parse(int argc, char **argv, options *o)
{
    *o = (options){ .prefix = "ocean", .size = 256, .frames = 8, .wind = 12, .patch = 200, .step = 0.4 };
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *value = argv[i + 1];
        if (!strcmp(argv[i], "--size")) o->size = atoll(value);
        else if (!strcmp(argv[i], "--frames")) o->frames = atoll(value);
        else if (!strcmp(argv[i], "--wind")) o->wind = atof(value);
        else if (!strcmp(argv[i], "--patch")) o->patch = atof(value);
        else if (!strcmp(argv[i], "--step")) o->step = atof(value);
        else if (!strcmp(argv[i], "--prefix")) o->prefix = value;
        else if (!strcmp(argv[i], "--device")) o->device = value;
        else return false;
    }
    return argc % 2 == 1 && o->size >= 16 && o->size <= 2048 && o->size % 2 == 0 && o->frames >= 1 && o->frames <= 64 && o->wind > 0 && o->patch > 0;
}

static bool run(const options *o, tuff_device *dev, const sea *s)
{
    const size_t count = (size_t)(o->size * o->size);
    float *data = malloc(count * 5 * sizeof(float));
    png_byte *strip = malloc((size_t)o->frames * WIDTH * HEIGHT * 3);
    tuff_graph *g = build(o, s);
    tuff_program *p = NULL;
    bool good = data && strip && !tuff_compile(dev, g, NULL, &p);
    if (!good) fprintf(stderr, "ocean: %s\n", tuff_graph_error(g));
    double seconds = 0, worst = 0, space = 0, waves = 0, imaginary = 0;
    for (int64_t i = 0; good && i < o->frames; i++) {
        float v[3];
        const double start = now();
        good = !tuff_set_scalar(p, "time", 10.0 + (double)i * o->step) && !tuff_run(p);
        if (i) seconds += now() - start;
        good = good && !tuff_read(p, "height", data, count * 4) && !tuff_read(p, "slope", data + count, count * 8) &&
               !tuff_read(p, "shift", data + 3 * count, count * 8) && !tuff_read(p, "in_space", &v[0], 4) && !tuff_read(p, "in_waves", &v[1], 4) &&
               !tuff_read(p, "imaginary", &v[2], 4);
        if (!good) fprintf(stderr, "ocean: %s\n", tuff_program_error(p));
        space = (double)v[0];
        waves = (double)v[1];
        worst = fmax(worst, fabs(space / waves - 1));
        imaginary = fmax(imaginary, (double)v[2]);
        if (good) draw(&(field){ data, data + count, data + 3 * count, o->size, o->patch }, strip, i, o->frames);
    }
    char path[512];
    snprintf(path, sizeof path, "%s_strip.png", o->prefix);
    png_image image = { .version = PNG_IMAGE_VERSION, .format = PNG_FORMAT_RGB, .width = (png_uint_32)(WIDTH * o->frames), .height = HEIGHT };
    if (good && !png_image_write_to_file(&image, path, 0, strip, 0, NULL)) {
        fprintf(stderr, "ocean: %s: %s\n", path, image.message);
        good = false;
    }
    if (good) {
        printf("device        %s\n", tuff_device_name(dev));
        printf("sea           %d x %d points on %.0f m, wind %.0f m/s, significant height %.2f m\n", (int)o->size, (int)o->size, o->patch, o->wind, 4 * sqrt(waves));
        printf("variance      %.6f in space, %.6f in waves; they differ by %.1e at most\n", space, waves, worst);
        printf("imaginary     %.1e m at most\n", imaginary);
        if (o->frames > 1) printf("time          %.2f ms a frame on the device\n", 1e3 * seconds / (double)(o->frames - 1));
        printf("wrote         %s\n", path);
    }
    tuff_program_destroy(p);
    tuff_graph_destroy(g);
    free(data);
    free(strip);
    return good;
}

int main(int argc, char **argv)
{
    options o;
    if (!parse(argc, argv, &o)) {
        fprintf(stderr, "usage: ocean [--size 256] [--frames 8] [--wind 12] [--patch 200] [--step 0.4] [--prefix ocean] [--device D]\n"
                        "       size is even, 16 to 2048; frames 1 to 64\n");
        return 2;
    }
    sea s = { 0 };
    tuff_device *dev = NULL;
    if (!make_sea(&o, &s)) return 1;
    if (tuff_device_open(&(tuff_device_desc){ .select = o.device }, &dev)) {
        fprintf(stderr, "ocean: %s\n", tuff_device_error(NULL));
        free(s.h0);
        return 1;
    }
    const bool good = run(&o, dev, &s);
    tuff_device_close(dev);
    free(s.h0);
    return good ? 0 : 1;
}
