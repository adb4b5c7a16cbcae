/* globe - the relief of the earth in spherical harmonics: analysed, smoothed, turned and drawn.
 *
 * A grid of heights becomes coefficients up to a degree (sht_analysis), which are damped with the degree (a low-pass), turned by a rotation
 * (sh_rotate, Wigner's D matrices) and evaluated again on a fine grid (sht_synthesis). The power of each degree does not change under a rotation;
 * how far it does is printed, with how well analysis undoes synthesis.
 *
 *     globe [GRID.cdf] [--lmax 85] [--low 10] [--lon 15] [--lat 30] [--size 480] [--out PREFIX] [--device D]
 *
 * GRID.cdf is a netCDF classic file with a variable on cell centres, latitudes from the south, such as etopo60.cdf of Debian's package
 * ferret-datasets, which is the default where it is installed; else the heights of a made-up planet are used. Writes PREFIXglobe.png (as analysed, smoothed,
 * and turned so that --lon, --lat are in the middle) and PREFIXspectrum.png (power by degree, logarithmic). */
#include <math.h>
#include <png.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <tuff/tuff.h>

#define PI 3.14159265358979

typedef struct options {
    const char *grid, *device, *out;
    int lmax, low, size;
    double lon, lat; /* the point that --lon, --lat bring to the middle */
} options;

typedef struct field {
    int nlat, nlon;
    double first_lon; /* of column 0, degrees */
    float *height;    /* [nlat, nlon], from the north */
} field;

enum { FINE_LAT = 360, FINE_LON = 720 };

/* ---- heights ------------------------------------------------------------------------------------ */

static uint32_t word(const unsigned char *p) { return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]; }

static double number(const unsigned char *p, int bytes)
{
    if (bytes == 4) {
        const uint32_t bits = word(p);
        float f;
        memcpy(&f, &bits, 4);
        return (double)f;
    }
    const uint64_t bits = (uint64_t)word(p) << 32 | word(p + 4);
    double d;
    memcpy(&d, &bits, 8);
    return d;
}

typedef struct reader { const unsigned char *data; size_t size, at; int good; } reader;

static uint32_t next(reader *r)
{
    if (r->at + 4 > r->size) { r->good = 0; return 0; }
    r->at += 4;
    return word(r->data + r->at - 4);
}
static void skip(reader *r, uint64_t bytes)
{
    bytes = (bytes + 3) / 4 * 4;
    if (bytes > r->size - r->at) r->good = 0;
    else r->at += (size_t)bytes;
}
static void skip_attributes(reader *r)
{
    static const int bytes[] = { 0, 1, 1, 2, 4, 4, 8 };
    (void)next(r);
    for (uint32_t n = next(r); n && r->good; n--) {
        skip(r, next(r));
        const uint32_t type = next(r), count = next(r);
        skip(r, type < 7 ? (uint64_t)bytes[type] * count : r->size);
    }
}

/* The first variable on two dims, with its longitudes' first value. netCDF classic: dims, attributes, variables, then data. */
static int parse_grid(reader *r, field *f)
{
    uint32_t dims[64] = { 0 }, first_lon = 0, lon_bytes = 8;
    if (r->size < 8 || memcmp(r->data, "CDF\1", 4)) return 0;
    r->at = 8;
    (void)next(r);
    const uint32_t n_dims = next(r);
    for (uint32_t i = 0; i < n_dims && r->good; i++) {
        skip(r, next(r));
        const uint32_t d = next(r);
        if (i < 64) dims[i] = d;
    }
    skip_attributes(r);
    (void)next(r);
    for (uint32_t n = next(r); n && r->good; n--) {
        skip(r, next(r));
        const uint32_t rank = next(r);
        uint32_t axis[8] = { 0 };
        for (uint32_t i = 0; i < rank && r->good; i++) {
            const uint32_t a = next(r);
            if (i < 8) axis[i] = a;
        }
        skip_attributes(r);
        const uint32_t type = next(r);
        (void)next(r);
        const uint32_t begin = next(r);
        if (rank == 1 && axis[0] == 0 && (type == 5 || type == 6)) {
            first_lon = begin;
            lon_bytes = type == 5 ? 4 : 8;
        }
        if (rank != 2 || type != 5 || axis[0] > 63 || axis[1] > 63) continue;
        f->nlat = (int)dims[axis[0]];
        f->nlon = (int)dims[axis[1]];
        const uint64_t count = (uint64_t)dims[axis[0]] * dims[axis[1]];
        if (f->nlat < 3 || f->nlon < 3 || f->nlat > 2048 || f->nlon > 2048 || begin + 4 * count > r->size || first_lon + lon_bytes > r->size) return 0;
        f->first_lon = first_lon ? number(r->data + first_lon, (int)lon_bytes) : 0;
        f->height = malloc((size_t)count * sizeof *f->height);
        for (int i = 0; f->height && i < f->nlat; i++)
            for (int k = 0; k < f->nlon; k++)
                f->height[(size_t)i * (size_t)f->nlon + (size_t)k] = (float)number(r->data + begin + 4 * ((size_t)(f->nlat - 1 - i) * (size_t)f->nlon + (size_t)k), 4);
        return f->height != NULL;
    }
    return 0;
}

static int read_grid(const char *path, field *f)
{
    FILE *file = fopen(path, "rb");
    if (!file) return 0;
    int good = 0;
    if (!fseek(file, 0, SEEK_END)) {
        const long size = ftell(file);
        unsigned char *data = size > 0 ? malloc((size_t)size) : NULL;
        rewind(file);
        if (data && fread(data, 1, (size_t)size, file) == (size_t)size) {
            reader r = { data, (size_t)size, 0, 1 };
            good = parse_grid(&r, f);
        }
        free(data);
    }
    fclose(file);
    return good;
}

/* Continents on an ocean floor: bumps exp(k (cos(angle) - 1)). */
static int make_planet(field *f)
{
    static const double bumps[][4] = { { 20, 10, 9000, 6 }, { 90, 45, 8000, 4 }, { 135, -25, 6500, 14 }, { 260, 45, 7500, 7 }, { 300, -15, 7000, 10 }, { 0, -90, 6000, 9 },
                                       { 80, 30, 3500, 60 }, { 290, -30, 3000, 80 }, { 320, 72, 4000, 40 } };
    *f = (field){ .nlat = 180, .nlon = 360, .first_lon = 0.5, .height = malloc(180 * 360 * sizeof(float)) };
    for (int i = 0; f->height && i < 180; i++)
        for (int k = 0; k < 360; k++) {
            const double lat = PI / 180 * (89.5 - i), lon = PI / 180 * (k + 0.5);
            double h = -4500;
            for (size_t b = 0; b < sizeof bumps / sizeof *bumps; b++) {
                const double la = PI / 180 * bumps[b][1], lo = PI / 180 * bumps[b][0];
                h += bumps[b][2] * exp(bumps[b][3] * (sin(lat) * sin(la) + cos(lat) * cos(la) * cos(lon - lo) - 1));
            }
            f->height[i * 360 + k] = (float)h;
        }
    return f->height != NULL;
}

/* ---- the graph ---------------------------------------------------------------------------------- */

/* A factor for each coefficient: 1 for small degrees, a half at `low`, then fast to 0. */
static tuff_tensor low_pass(tuff_graph *g, int lmax, int low)
{
    const int n = (lmax + 1) * (lmax + 1);
    float *w = malloc((size_t)n * sizeof *w);
    if (!w) return (tuff_tensor){ NULL, 0 };
    for (int l = 0, i = 0; l <= lmax; l++)
        for (; i < (l + 1) * (l + 1); i++) w[i] = (float)exp2(-(double)(l * l) / ((double)low * low));
    const tuff_tensor t = tuff_const(g, TUFF_F32, TUFF_SHAPE(n), w, NULL);
    free(w);
    return t;
}

static tuff_graph *build(const options *o, const field *f)
{
    tuff_graph *g = tuff_graph_create(NULL);
    tuff_tensor height = tuff_input(g, "height", TUFF_F32, TUFF_SHAPE(f->nlat, f->nlon));
    tuff_tensor north = tuff_input(g, "north", TUFF_F32, TUFF_SHAPE(1, 3, 3)), view = tuff_input(g, "view", TUFF_F32, TUFF_SHAPE(1, 3, 3));
    tuff_tensor x = tuff_reshape(tuff_sht_analysis(height, o->lmax, &(tuff_sht_desc){ TUFF_SHT_REGULAR }), TUFF_SHAPE(1, (o->lmax + 1) * (o->lmax + 1)));
    x = tuff_sh_rotate(x, north); /* column 0 of the grid is not at longitude 0 */
    tuff_tensor smooth = tuff_mul(x, low_pass(g, o->lmax, o->low)), turned = tuff_sh_rotate(x, view);
    tuff_tensor all[3] = { x, smooth, turned };
    tuff_tensor pictures = tuff_sht_synthesis(tuff_concat(all, 3, 0), FINE_LAT, FINE_LON, &(tuff_sht_desc){ TUFF_SHT_REGULAR });
    tuff_tensor again = tuff_sht_analysis(pictures, o->lmax, &(tuff_sht_desc){ TUFF_SHT_REGULAR });
    tuff_output(g, "x", x);
    tuff_output(g, "turned", turned);
    tuff_output(g, "pictures", pictures);
    tuff_output(g, "again", tuff_slice(again, TUFF_INTS(0), TUFF_INTS(1), NULL));
    return g;
}

/* ---- pictures ----------------------------------------------------------------------------------- */

static int write_png(const char *prefix, const char *name, int width, int height, const unsigned char *rgb)
{
    char path[1024];
    snprintf(path, sizeof path, "%s%s", prefix, name);
    png_image image = { .version = PNG_IMAGE_VERSION, .width = (png_uint_32)width, .height = (png_uint_32)height, .format = PNG_FORMAT_RGB };
    return png_image_write_to_file(&image, path, 0, rgb, 0, NULL) || (fprintf(stderr, "globe: %s: %s\n", path, image.message), 0);
}

/* Depths in blue, land from green over brown to white. */
static void colour(double height, double light, unsigned char *rgb)
{
    static const double at[] = { -9000, -4000, -200, 0, 1, 500, 1800, 4500, 7000 };
    static const double table[][3] = { { 8, 20, 60 }, { 20, 60, 130 }, { 80, 150, 205 }, { 150, 205, 230 }, { 70, 130, 70 }, { 120, 165, 90 }, { 190, 165, 110 }, { 235, 230, 225 }, { 255, 255, 255 } };
    size_t i = 0;
    while (i < 7 && height > at[i + 1]) i++;
    const double t = fmin(1, fmax(0, (height - at[i]) / (at[i + 1] - at[i])));
    for (int k = 0; k < 3; k++) rgb[k] = (unsigned char)fmin(255, light * (table[i][k] + t * (table[i + 1][k] - table[i][k])));
}

static double sample(const float *f, double theta, double phi)
{
    const double y = fmin(FINE_LAT - 1, fmax(0, theta / PI * FINE_LAT - 0.5)), x = (phi < 0 ? phi + 2 * PI : phi) / (2 * PI) * FINE_LON;
    const int y0 = (int)y, y1 = y0 + 1 < FINE_LAT ? y0 + 1 : y0, x0 = (int)x % FINE_LON, x1 = (x0 + 1) % FINE_LON;
    const double u = y - y0, v = x - floor(x);
    return (1 - u) * ((1 - v) * (double)f[y0 * FINE_LON + x0] + v * (double)f[y0 * FINE_LON + x1]) + u * ((1 - v) * (double)f[y1 * FINE_LON + x0] + v * (double)f[y1 * FINE_LON + x1]);
}

/* Seen from +z, north up: a pixel is the point (x, y, sqrt(1 - x^2 - y^2)). */
static void draw_globe(const float *f, int size, int width, unsigned char *rgb)
{
    for (int i = 0; i < size; i++)
        for (int k = 0; k < size; k++) {
            const double x = (k + 0.5 - size / 2.0) / (0.47 * size), y = -(i + 0.5 - size / 2.0) / (0.47 * size), r2 = x * x + y * y;
            unsigned char *p = rgb + 3 * ((size_t)i * (size_t)width + (size_t)k);
            if (r2 >= 1) { p[0] = p[1] = p[2] = 18; continue; }
            const double z = sqrt(1 - r2), theta = acos(y), phi = atan2(x, z), h = sample(f, theta, phi);
            const double slope = (sample(f, theta, phi + 0.02) - h) / 4000;
            colour(h, fmin(1.15, fmax(0.25, 0.45 + 0.6 * z - slope)), p);
        }
}

static void draw_spectrum(const double *power, int lmax, int width, int height, unsigned char *rgb)
{
    double low = INFINITY, high = -INFINITY;
    memset(rgb, 250, 3 * (size_t)width * (size_t)height);
    for (int l = 1; l <= lmax; l++) {
        low = fmin(low, log10(power[l] + 1e-30));
        high = fmax(high, log10(power[l] + 1e-30));
    }
    for (int l = 1; l <= lmax; l++) {
        const int x0 = (l - 1) * width / lmax, x1 = l * width / lmax - 1;
        const int top = height - 10 - (int)((height - 20) * (log10(power[l] + 1e-30) - low) / fmax(1e-9, high - low));
        for (int x = x0; x < (x1 > x0 ? x1 : x0 + 1); x++)
            for (int y = top; y < height; y++) {
                unsigned char *p = rgb + 3 * ((size_t)y * (size_t)width + (size_t)x);
                p[0] = 40; p[1] = 90; p[2] = 160;
            }
    }
}

/* ---- running -------------------------------------------------------------------------------------- */

static void power_of(const float *x, int lmax, double *power)
{
    for (int l = 0, i = 0; l <= lmax; l++) {
        power[l] = 0;
        for (; i < (l + 1) * (l + 1); i++) power[l] += (double)x[i] * (double)x[i];
    }
}

/* Turns about y (longitude) and x (latitude) that bring a point to the middle, +z. */
static void turn(double lon, double lat, float *r)
{
    const double a = -lon * PI / 180, b = lat * PI / 180, ca = cos(a), sa = sin(a), cb = cos(b), sb = sin(b);
    const double m[9] = { ca, 0, sa, sb * sa, cb, -sb * ca, -cb * sa, sb, cb * ca };
    for (int i = 0; i < 9; i++) r[i] = (float)m[i];
}

static int report(const options *o, tuff_program *p)
{
    const int n = (o->lmax + 1) * (o->lmax + 1), width = 3 * o->size;
    const size_t fine = (size_t)FINE_LAT * FINE_LON;
    float *x = malloc(3 * (size_t)n * sizeof *x), *pictures = malloc(3 * fine * sizeof *pictures);
    double *power = malloc(2 * (size_t)(o->lmax + 1) * sizeof *power), change = 0, error = 0, norm = 0;
    unsigned char *rgb = malloc(3 * (size_t)width * (size_t)o->size);
    int good = x && pictures && power && rgb;
    const size_t bytes = (size_t)n * sizeof *x;
    good = good && !tuff_read(p, "x", x, bytes) && !tuff_read(p, "turned", x + n, bytes) && !tuff_read(p, "again", x + 2 * n, bytes) &&
           !tuff_read(p, "pictures", pictures, 3 * fine * sizeof *pictures);
    if (good) {
        power_of(x, o->lmax, power);
        power_of(x + n, o->lmax, power + o->lmax + 1);
        for (int l = 0; l <= o->lmax; l++) change = fmax(change, fabs(power[o->lmax + 1 + l] / power[l] - 1));
        for (int i = 0; i < n; i++) {
            error += pow((double)(x[2 * n + i] - x[i]), 2);
            norm += pow((double)x[i], 2);
        }
        printf("analysis of the synthesis: relative difference %.2g\npower by degree after the turn: changed by at most %.2g\n", sqrt(error / norm), change);
        double kept = 0, all = 0;
        for (int l = 1; l <= o->lmax; l++) {
            all += power[l];
            if (l <= o->low) kept += power[l];
        }
        printf("standard deviation %.0f m; degrees 1 to %d hold %.1f %% of the variance\n", sqrt(all / (4 * PI)), o->low, 100 * kept / all);
        for (int i = 0; i < 3; i++) draw_globe(pictures + (size_t)i * fine, o->size, width, rgb + 3 * (size_t)i * (size_t)o->size);
        good = write_png(o->out, "globe.png", width, o->size, rgb);
        draw_spectrum(power, o->lmax, width, o->size, rgb);
        good = good && write_png(o->out, "spectrum.png", width, o->size, rgb);
    } else
        fprintf(stderr, "globe: %s\n", tuff_program_error(p));
    free(x);
    free(pictures);
    free(power);
    free(rgb);
    return good && error <= 1e-10 * norm && change < 1e-4;
}

static double now(void)
{
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int run(const options *o, const field *f)
{
    tuff_device *dev = NULL;
    tuff_program *p = NULL;
    float north[9], view[9];
    const double start = now();
    tuff_graph *g = build(o, f);
    turn(-f->first_lon, 0, north);
    turn(o->lon, o->lat, view);
    int good = !tuff_device_open(&(tuff_device_desc){ .select = o->device }, &dev);
    if (!good) fprintf(stderr, "globe: %s\n", tuff_device_error(NULL));
    else if (tuff_compile(dev, g, NULL, &p)) { fprintf(stderr, "globe: %s\n", tuff_graph_error(g)); good = 0; }
    if (good && (tuff_write(p, "height", f->height, (size_t)f->nlat * (size_t)f->nlon * sizeof(float)) || tuff_write(p, "north", north, sizeof north) ||
                 tuff_write(p, "view", view, sizeof view) || tuff_run(p))) {
        fprintf(stderr, "globe: %s\n", tuff_program_error(p));
        good = 0;
    }
    if (good) printf("%s: first result %.2f s\n", tuff_device_name(dev), now() - start);
    good = good && report(o, p);
    tuff_program_destroy(p);
    tuff_graph_destroy(g);
    tuff_device_close(dev);
    return good;
}

static int parse(int argc, char **argv, options *o)
{
    for (int i = 1; i < argc; i++) {
        const struct { const char *name; int *integer; double *real; } numbers[] = { { "--lmax", &o->lmax, NULL }, { "--low", &o->low, NULL }, { "--size", &o->size, NULL },
                                                                                     { "--lon", NULL, &o->lon }, { "--lat", NULL, &o->lat } };
        size_t k = 0;
        while (k < 5 && strcmp(argv[i], numbers[k].name)) k++;
        if (k < 5 && i + 1 < argc) {
            if (numbers[k].integer) *numbers[k].integer = atoi(argv[++i]);
            else *numbers[k].real = atof(argv[++i]);
        } else if (!strcmp(argv[i], "--device") && i + 1 < argc) o->device = argv[++i];
        else if (!strcmp(argv[i], "--out") && i + 1 < argc) o->out = argv[++i];
        else if (argv[i][0] != '-' && !o->grid) o->grid = argv[i];
        else return 0;
    }
    return o->lmax >= 1 && o->lmax <= 128 && o->low >= 1 && o->size >= 16 && o->size <= 4096;
}

int main(int argc, char **argv)
{
    options o = { .lmax = 85, .low = 10, .size = 480, .lon = 15, .lat = 30, .out = "" };
    field f = { 0 };
    if (!parse(argc, argv, &o)) {
        fprintf(stderr, "usage: globe [GRID.cdf] [--lmax 1..128] [--low L] [--lon DEGREES] [--lat DEGREES] [--size PIXELS] [--out PREFIX] [--device D]\n");
        return 2;
    }
    const char *installed = "/usr/share/ferret-vis/data/etopo60.cdf";
    if (o.grid && !read_grid(o.grid, &f)) {
        fprintf(stderr, "globe: %s cannot be read, or is no netCDF classic file with a variable of two dims\n", o.grid);
        return 1;
    }
    if (!o.grid && read_grid(installed, &f)) o.grid = installed;
    if (!f.height && !make_planet(&f)) return 1;
    printf("%s: %d x %d\n", o.grid ? o.grid : "a made-up planet", f.nlat, f.nlon);
    const int good = run(&o, &f);
    free(f.height);
    return good ? 0 : 1;
}
