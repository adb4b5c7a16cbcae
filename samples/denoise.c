/* denoise - removes the noise of a photograph by non-local means, written as one attention.
 *
 * Every pixel becomes the average of the pixels around it, weighted by how much the patches around both look alike:
 * exp(-|p_i - p_j|^2 / h^2), normalised. That is attention: |p_i - p_j|^2 = |p_i|^2 - 2 p_i.p_j + |p_j|^2, where the
 * first term is the same for all j and cancels in the softmax. So queries and keys are patches (overlapping windows,
 * a view), values are pixels, the scale is 2 / h^2, and -|p_j|^2 / h^2 is a bias per key. The picture is cut into
 * tiles; the keys of a tile are the tile and a halo, and a score expression keeps to the search window.
 *
 *     denoise PICTURE.png [--sigma 25] [--noisy] [--patch 3] [--radius 6] [--strength 0.8] [--seed 1] [--device D]
 *
 * Writes noisy.png, denoised.png and side_by_side.png (clean, noisy, denoised) into the working directory. */
#include <math.h>
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <tuff/tuff.h>

typedef struct options {
    const char *picture, *device;
    double sigma;      /* standard deviation of the noise, of 255 */
    double strength;   /* h in units of the noise's own distance between two patches, sigma * sqrt(patch elements) */
    int64_t patch;     /* side of a patch, odd */
    int64_t radius;    /* search window: |dy|, |dx| <= radius */
    uint64_t seed;
    bool noisy;        /* the picture is noisy already: add nothing, compare with nothing */
} options;

typedef struct picture { int64_t height, width; float *rgb; } picture; /* [height, width, 3] in 0..1 */

enum { TILE = 8, CHANNELS = 3 };

/* ---- the graph ---------------------------------------------------------------------------------- */

/* image [rows, columns, c] in tiles of `size` pixels, one every TILE -> [tiles, size * size, 1, c] */
static tuff_tensor tiles(tuff_tensor image, int64_t size)
{
    const int64_t channels = tuff_tensor_shape(image).dim[2];
    tuff_tensor t = tuff_unfold(image, TUFF_INTS(size, size),
                                &(tuff_unfold_desc){ .axes = TUFF_INTS(0, 1), .stride = TUFF_INTS(TILE, TILE) });
    t = tuff_permute(t, TUFF_INTS(0, 1, 3, 4, 2)); /* [tile row, tile column, y, x, channel] */
    return tuff_reshape(t, TUFF_SHAPE(-1, size * size, 1, channels));
}

static tuff_tensor interior(tuff_tensor image, int64_t margin)
{
    const tuff_shape s = tuff_tensor_shape(image);
    return tuff_slice(image, TUFF_INTS(margin, margin), TUFF_INTS(s.dim[0] - margin, s.dim[1] - margin), NULL);
}

static tuff_tensor mean_square(tuff_tensor a, tuff_tensor b)
{
    return tuff_mean(tuff_square(tuff_sub(a, b)), NULL);
}

static tuff_graph *build(const options *o, int64_t height, int64_t width)
{
    const int64_t halo = o->radius, margin = o->patch / 2, area = TILE + 2 * halo, elements = o->patch * o->patch * CHANNELS;
    const int64_t rows = (height + TILE - 1) / TILE, columns = (width + TILE - 1) / TILE;
    const double sigma = o->sigma / 255.0, h2 = o->strength * o->strength * sigma * sigma * (double)elements;

    tuff_graph *g = tuff_graph_create(NULL);
    tuff_tensor clean = tuff_input(g, "picture", TUFF_F32, TUFF_SHAPE(height, width, CHANNELS));
    tuff_tensor noise = tuff_mul(tuff_normal(g, TUFF_SHAPE(height, width, CHANNELS), o->seed, NULL), tuff_literal(g, sigma, TUFF_F32));
    tuff_tensor noisy = o->noisy ? clean : tuff_add(clean, noise);

    /* Whole tiles with a halo all around; patches reach `margin` further. Centred, because small numbers cancel better. */
    const tuff_ints lo = TUFF_INTS(halo + margin, halo + margin);
    const tuff_ints hi = TUFF_INTS(rows * TILE - height + halo + margin, columns * TILE - width + halo + margin);
    tuff_tensor x = tuff_pad(tuff_sub(noisy, tuff_literal(g, 0.5, TUFF_F32)), lo, hi, &(tuff_pad_desc){ .mode = TUFF_PAD_EDGE });
    tuff_tensor patches = tuff_unfold(x, TUFF_INTS(o->patch, o->patch), &(tuff_unfold_desc){ .axes = TUFF_INTS(0, 1) });
    patches = tuff_reshape(patches, TUFF_SHAPE(rows * TILE + 2 * halo, columns * TILE + 2 * halo, elements));
    tuff_tensor length = tuff_sum(tuff_square(patches), &(tuff_reduce_desc){ .axes = TUFF_INTS(2), .keep = true });

    tuff_tensor q = tiles(interior(patches, halo), TILE);
    tuff_tensor k = tiles(patches, area);
    tuff_tensor v = tiles(interior(x, margin), area);
    tuff_tensor bias = tuff_mul(tuff_permute(tiles(length, area), TUFF_INTS(0, 2, 3, 1)), tuff_literal(g, -1.0 / h2, TUFF_F32));

    /* A patch is at distance 0 from itself, every other one at 2 sigma^2 per element on average, by noise alone: charge
     * it the same, or each pixel would mostly keep its own noise. */
    char score[512];
    snprintf(score, sizeof score,
             "let dy = k / %d - q / %d - %d; let dx = k %% %d - q %% %d - %d;"
             "abs(dy) > %d || abs(dx) > %d ? -1e30 : dy == 0 && dx == 0 ? s - %.6f : s",
             (int)area, TILE, (int)halo, (int)area, TILE, (int)halo, (int)o->radius, (int)o->radius,
             2.0 * sigma * sigma * (double)elements / h2);
    tuff_tensor y = tuff_attention(q, k, v, &(tuff_attention_desc){
        .scale = (float)(2.0 / h2), .bias = bias, .score = score, .causal_align = TUFF_CAUSAL_TOP_LEFT });

    y = tuff_permute(tuff_reshape(y, TUFF_SHAPE(rows, columns, TILE, TILE, CHANNELS)), TUFF_INTS(0, 2, 1, 3, 4));
    y = tuff_reshape(y, TUFF_SHAPE(rows * TILE, columns * TILE, CHANNELS));
    y = tuff_slice(y, TUFF_INTS(0, 0), TUFF_INTS(height, width), NULL);
    const tuff_tensor zero = tuff_literal(g, 0.0, TUFF_F32), one = tuff_literal(g, 1.0, TUFF_F32);
    tuff_tensor denoised = tuff_clamp(tuff_add(y, tuff_literal(g, 0.5, TUFF_F32)), zero, one);
    tuff_tensor shown = tuff_clamp(noisy, zero, one);
    tuff_output(g, "noisy", shown);
    tuff_output(g, "denoised", denoised);
    tuff_output(g, "error_before", mean_square(shown, clean));
    tuff_output(g, "error_after", mean_square(denoised, clean));
    return g;
}

/* ---- running it --------------------------------------------------------------------------------- */

static double now(void)
{
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

typedef struct result {
    picture noisy, denoised;
    float error_before, error_after;
    double first, again; /* seconds: device open to first result; one more run */
    size_t kernels;
    char device[256];
} result;

static bool run(tuff_program *p, const picture *in, result *r)
{
    const size_t bytes = (size_t)(in->height * in->width) * CHANNELS * sizeof(float);
    return !tuff_write(p, "picture", in->rgb, bytes) && !tuff_run(p) && !tuff_read(p, "noisy", r->noisy.rgb, bytes) &&
           !tuff_read(p, "denoised", r->denoised.rgb, bytes) && !tuff_read(p, "error_before", &r->error_before, sizeof(float)) &&
           !tuff_read(p, "error_after", &r->error_after, sizeof(float));
}

/* Kernels of the plan: its JSON gives each one's "workgroups". */
static size_t count_kernels(const tuff_program *p)
{
    const size_t size = tuff_program_explain(p, TUFF_EXPLAIN_JSON, NULL, 0) + 1;
    char *json = malloc(size);
    if (!json) return 0;
    tuff_program_explain(p, TUFF_EXPLAIN_JSON, json, size);
    size_t n = 0;
    for (const char *at = json; (at = strstr(at, "\"workgroups\"")); at++) n++;
    free(json);
    return n;
}

/* From nothing to a result: open, build, compile, run, and run once more if asked to. cache_dir as in tuff_device_desc. */
static bool denoise(const options *o, const picture *in, const char *cache_dir, bool again, result *r)
{
    tuff_device *dev = NULL;
    tuff_program *p = NULL;
    const double start = now();
    if (tuff_device_open(&(tuff_device_desc){ .select = o->device, .cache_dir = cache_dir }, &dev)) {
        fprintf(stderr, "denoise: %s\n", tuff_device_error(NULL));
        return false;
    }
    tuff_graph *g = build(o, in->height, in->width);
    bool good = !tuff_compile(dev, g, NULL, &p);
    if (!good)
        fprintf(stderr, "denoise: %s\n", tuff_graph_error(g));
    else if (!(good = run(p, in, r)))
        fprintf(stderr, "denoise: %s\n", tuff_program_error(p));
    r->first = now() - start;
    if (good && again) {
        const double second = now();
        good = run(p, in, r);
        r->again = now() - second;
    }
    if (good) {
        r->kernels = count_kernels(p);
        snprintf(r->device, sizeof r->device, "%s", tuff_device_name(dev));
    }
    tuff_program_destroy(p);
    tuff_graph_destroy(g);
    tuff_device_close(dev);
    return good;
}

/* ---- pictures ----------------------------------------------------------------------------------- */

static bool read_png(const char *path, picture *out)
{
    png_image image = { .version = PNG_IMAGE_VERSION };
    if (!png_image_begin_read_from_file(&image, path)) {
        fprintf(stderr, "denoise: %s: %s\n", path, image.message);
        return false;
    }
    image.format = PNG_FORMAT_RGB;
    const size_t n = (size_t)image.width * image.height * CHANNELS;
    png_byte *bytes = malloc(n);
    float *rgb = malloc(n * sizeof(float));
    const bool good = bytes && rgb && png_image_finish_read(&image, NULL, bytes, 0, NULL);
    if (!good) fprintf(stderr, "denoise: %s: %s\n", path, image.message[0] ? image.message : "out of memory");
    for (size_t i = 0; good && i < n; i++) rgb[i] = (float)bytes[i] / 255.0f;
    png_image_free(&image);
    free(bytes);
    if (!good) {
        free(rgb);
        return false;
    }
    *out = (picture){ .height = image.height, .width = image.width, .rgb = rgb };
    return true;
}

/* The pictures, of one size, beside each other. */
static bool write_png(const char *path, size_t n, const picture *const *pictures)
{
    const size_t height = (size_t)pictures[0]->height, row = (size_t)pictures[0]->width * CHANNELS;
    png_byte *bytes = malloc(height * row * n);
    if (!bytes) return false;
    for (size_t y = 0; y < height; y++)
        for (size_t i = 0; i < n; i++)
            for (size_t x = 0; x < row; x++)
                bytes[(y * n + i) * row + x] = (png_byte)lrintf(255.0f * pictures[i]->rgb[y * row + x]);
    png_image image = { .version = PNG_IMAGE_VERSION, .format = PNG_FORMAT_RGB, .height = (png_uint_32)height,
                        .width = (png_uint_32)(row / CHANNELS * n) };
    const bool good = png_image_write_to_file(&image, path, 0, bytes, 0, NULL);
    if (!good) fprintf(stderr, "denoise: %s: %s\n", path, image.message);
    free(bytes);
    return good;
}

/* ---- the command --------------------------------------------------------------------------------- */

static bool parse(int argc, char **argv, options *o)
{
    *o = (options){ .sigma = 25, .strength = 0.8, .patch = 3, .radius = 6, .seed = 1 };
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i], *value = i + 1 < argc ? argv[i + 1] : "";
        if (word[0] != '-') { o->picture = word; continue; }
        if (!strcmp(word, "--noisy")) { o->noisy = true; continue; }
        if (!strcmp(word, "--sigma")) o->sigma = atof(value);
        else if (!strcmp(word, "--strength")) o->strength = atof(value);
        else if (!strcmp(word, "--patch")) o->patch = atoi(value);
        else if (!strcmp(word, "--radius")) o->radius = atoi(value);
        else if (!strcmp(word, "--seed")) o->seed = strtoull(value, NULL, 0);
        else if (!strcmp(word, "--device")) o->device = value;
        else return false;
        i++;
    }
    return o->picture && o->sigma > 0 && o->strength > 0 && o->patch % 2 == 1 && o->patch > 0 && o->radius > 0 && o->radius <= 64;
}

static double decibels(float mean_square_error) { return -10.0 * log10((double)mean_square_error); }

int main(int argc, char **argv)
{
    options o;
    if (!parse(argc, argv, &o)) {
        fprintf(stderr, "usage: denoise PICTURE.png [--sigma 25] [--noisy] [--patch 3] [--radius 6] [--strength 0.8] [--seed 1] [--device D]\n"
                        "       sigma and strength are positive, patch is odd, radius is 1 to 64\n");
        return 2;
    }
    picture in;
    if (!read_png(o.picture, &in)) return 1;
    const size_t bytes = (size_t)(in.height * in.width) * CHANNELS * sizeof(float);
    result cold = { .noisy = in, .denoised = in };
    cold.noisy.rgb = malloc(bytes);
    cold.denoised.rgb = malloc(bytes);
    result warm = cold;

    /* Cold: no cache on disk. The second pass makes sure that the user's cache is filled, the third is warm. */
    bool good = cold.noisy.rgb && cold.denoised.rgb;
    good = good && denoise(&o, &in, "", false, &cold) && denoise(&o, &in, NULL, false, &warm) && denoise(&o, &in, NULL, true, &warm);
    good = good && write_png("noisy.png", 1, (const picture *[]){ &warm.noisy });
    good = good && write_png("denoised.png", 1, (const picture *[]){ &warm.denoised });
    good = good && write_png("side_by_side.png", 3, (const picture *[]){ &in, &warm.noisy, &warm.denoised });
    if (good) {
        printf("device        %s\n", warm.device);
        printf("picture       %s, %d x %d\n", o.picture, (int)in.width, (int)in.height);
        if (!o.noisy)
            printf("PSNR          %.2f dB noisy, %.2f dB denoised: %+.2f dB\n", decibels(warm.error_before), decibels(warm.error_after),
                   decibels(warm.error_after) - decibels(warm.error_before));
        printf("kernels       %zu\n", warm.kernels);
        printf("first result  %.2f s cold, %.2f s warm; one more run %.3f s\n", cold.first, warm.first, warm.again);
        printf("wrote         noisy.png denoised.png side_by_side.png\n");
    }
    free(cold.noisy.rgb);
    free(cold.denoised.rgb);
    free(in.rgb);
    return good ? 0 : 1;
}
