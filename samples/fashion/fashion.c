/* fashion - draws pictures of clothes with a small diffusion model, on the GPU.
 *
 *     fashion [--out PREFIX] [--seed 1] [--quick] [--device D]
 *
 * Writes PREFIXsolvers.png: five solvers at 4 to 16 evaluations of the network, all from the same noise; PREFIXguidance.png: every class under
 * classifier-free guidance of rising scale; PREFIXinpaint.png: pictures of the test set of which the upper half is kept and the rest drawn anew.
 * A sampler is a table of numbers, a network and one loop on the device: a run is one submission. --quick draws one row and no pictures. */
#include <math.h>
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../plot.h"
#include "model.h"

enum { SIDE = FASHION_SIDE, PIXELS = SIDE * SIDE, CLASSES = FASHION_CLASSES, MOST = 3 * CLASSES, ZOOM = 2, CELL = ZOOM * SIDE };
static const char *const class_names[CLASSES] = { "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot" };

typedef struct studio {
    fashion_model model;
    tuff_device *device;
    uint64_t seed;
    float examples[2][CLASSES][PIXELS]; /* a picture of the test set per class, and the mean picture of each class */
} studio;

/* What is drawn: picture i is of class i % CLASSES. */
typedef struct order {
    tuff_solver solver;
    int steps, pictures;
    double guidance;    /* 1: none */
    const float *known; /* [pictures][PIXELS], of which the upper half is kept; NULL: nothing is known */
} order;

/* ---- the sampler ------------------------------------------------------------------------------------ */

typedef struct network { const fashion_model *model; tuff_tensor labels[2]; } network; /* without and with a class */

static tuff_tensor denoise(void *user, const tuff_denoiser_call *c)
{
    const network *n = user;
    return fashion_network(n->model, c->x, c->time, n->labels[c->condition]);
}

static tuff_graph *build(const studio *s, const order *o)
{
    tuff_graph *g = tuff_graph_create(NULL);
    int32_t any[MOST], each[MOST];
    for (int i = 0; i < o->pictures; i++) any[i] = CLASSES, each[i] = i % CLASSES;
    network n = { &s->model, { tuff_const(g, TUFF_I32, TUFF_SHAPE(o->pictures), any, NULL), tuff_const(g, TUFF_I32, TUFF_SHAPE(o->pictures), each, NULL) } };
    const bool guided = o->guidance != 1;
    if (!guided) n.labels[0] = n.labels[1];
    const tuff_tensor levels = tuff_schedule_karras(g, o->steps, &(tuff_sigma_grid_desc){ .sigma_min = 0.02, .sigma_max = 20 });
    const tuff_solver_desc form = { .prediction = TUFF_PREDICT_EDM, .time = TUFF_TIME_LOG_SIGMA };
    tuff_sample_desc d = { .table = tuff_solver_table(levels, o->solver, &form), .denoiser = denoise, .user = &n, .shape = TUFF_SHAPE(o->pictures, 1, SIDE, SIDE), .seed = s->seed };
    if (guided) d.guidance = (tuff_guidance){ .kind = TUFF_GUIDANCE_CFG, .scale = o->guidance };
    if (o->known) {
        float mask[PIXELS];
        for (int i = 0; i < PIXELS; i++) mask[i] = i < PIXELS / 2 ? 1.0f : 0.0f;
        d.mask = tuff_const(g, TUFF_F32, TUFF_SHAPE(1, 1, SIDE, SIDE), mask, NULL);
        d.known = tuff_const(g, TUFF_F32, d.shape, o->known, NULL);
    }
    tuff_output(g, "pictures", tuff_sample((tuff_tensor){ NULL, 0 }, &d));
    return g;
}

static double now(void)
{
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* pictures[o->pictures][PIXELS]; *seconds is the time per picture, compilation apart. */
static bool draw(const studio *s, const order *o, float *pictures, double *seconds)
{
    tuff_graph *g = build(s, o);
    tuff_program *p = NULL;
    bool good = !tuff_compile(s->device, g, NULL, &p);
    if (!good) fprintf(stderr, "fashion: %s\n", tuff_graph_error(g));
    const double start = now();
    if (good && (tuff_run(p) || tuff_read(p, "pictures", pictures, (size_t)o->pictures * PIXELS * sizeof *pictures))) {
        fprintf(stderr, "fashion: %s\n", tuff_program_error(p));
        good = false;
    }
    *seconds = (now() - start) / o->pictures;
    tuff_program_destroy(p);
    tuff_graph_destroy(g);
    return good;
}

/* ---- pictures ------------------------------------------------------------------------------------------ */

static void show(plot *p, int x, int y, const float *picture)
{
    for (int i = 0; i < CELL * CELL; i++) {
        const unsigned char v = (unsigned char)lrintf(255 * fashion_to_pixel(picture[i / CELL / ZOOM * SIDE + i % CELL / ZOOM]));
        memset(p->rgb + 3 * ((size_t)(y + i / CELL) * (size_t)p->width + (size_t)(x + i % CELL)), v, 3);
    }
}
static void show_row(plot *p, int x, int y, const float *pictures, int n)
{
    for (int i = 0; i < n; i++) show(p, x + i * CELL, y, pictures + (size_t)i * PIXELS);
}
static bool finish(plot *p, const char *prefix, const char *name, bool good)
{
    char path[512];
    snprintf(path, sizeof path, "%s%s", prefix, name);
    good = good && plot_write(p, path);
    if (good) printf("wrote %s\n", path);
    plot_destroy(p);
    return good;
}

/* The test set's pictures and the classes' means, two rows of ten. */
static bool read_examples(studio *s, const char *path)
{
    png_image image = { .version = PNG_IMAGE_VERSION };
    png_byte bytes[2 * CLASSES * PIXELS];
    bool good = png_image_begin_read_from_file(&image, path) != 0;
    image.format = PNG_FORMAT_GRAY;
    good = good && image.width == CLASSES * SIDE && image.height == 2 * SIDE && png_image_finish_read(&image, NULL, bytes, 0, NULL);
    if (!good) fprintf(stderr, "fashion: %s: %s\n", path, image.message[0] ? image.message : "it is not of 280 x 56 pixels");
    png_image_free(&image);
    for (int i = 0; good && i < 2 * CLASSES * PIXELS; i++) {
        const int row = i / (CLASSES * PIXELS), y = i / (CLASSES * SIDE) % SIDE, x = i % (CLASSES * SIDE);
        s->examples[row][x / SIDE][y * SIDE + x % SIDE] = fashion_from_pixel((float)bytes[i] / 255);
    }
    return good;
}

/* How many of the pictures look more like the mean of their own class than like any other's. */
static int recognised(const studio *s, const float *pictures, int n)
{
    int hits = 0;
    for (int i = 0; i < n; i++) {
        double least = INFINITY;
        int best = 0;
        for (int c = 0; c < CLASSES; c++) {
            double sum = 0;
            for (int k = 0; k < PIXELS; k++) sum += pow((double)pictures[i * PIXELS + k] - (double)s->examples[1][c][k], 2);
            if (sum < least) least = sum, best = c;
        }
        hits += best == i % CLASSES;
    }
    return hits;
}

/* ---- the three sheets ------------------------------------------------------------------------------------ */

typedef struct solver_row { const char *name; tuff_solver solver; int per_step; } solver_row;
static const solver_row solvers[] = {
    { "DDIM", TUFF_SOLVER_DDIM, 1 }, { "DPM++ 2M", TUFF_SOLVER_DPMPP_2M, 1 }, { "Heun", TUFF_SOLVER_HEUN, 2 }, { "UniPC", TUFF_SOLVER_UNIPC, 1 },
    { "Euler ancestral", TUFF_SOLVER_EULER_ANCESTRAL, 1 },
};
enum { SOLVERS = sizeof solvers / sizeof *solvers, SIZES = 3 /* 4, 8, 16 evaluations */ };

static bool solver_sheet(const studio *s, const char *prefix)
{
    static float pictures[CLASSES * PIXELS];
    plot p;
    bool good = true;
    if (!plot_create(&p, 20 + SIZES * (CLASSES * CELL / 2 + 20), 20 + SOLVERS * (2 * CELL + 30))) return false;
    printf("%d pictures, guidance 2; seconds per picture and pictures recognised at 4, 8, 16 evaluations\n", CLASSES);
    for (int i = 0; i < SOLVERS && good; i++) {
        printf("%-16s", solvers[i].name);
        for (int k = 0; k < SIZES && good; k++) {
            const int x = 20 + k * (CLASSES * CELL / 2 + 20), y = 30 + i * (2 * CELL + 30), evaluations = 4 << k;
            /* The last step of a solver with two evaluations has one. */
            const order o = { solvers[i].solver, solvers[i].per_step == 2 ? (evaluations + 1) / 2 : evaluations, CLASSES, 2, NULL };
            double seconds;
            char title[64];
            good = draw(s, &o, pictures, &seconds);
            snprintf(title, sizeof title, "%s, %d", solvers[i].name, evaluations);
            plot_text(&p, x, y - 14, 0x222222, title);
            for (int row = 0; row < 2; row++) show_row(&p, x, y + row * CELL, pictures + (size_t)row * (CLASSES / 2 * PIXELS), CLASSES / 2);
            if (good) printf("  %.3f s %2d of %d", seconds, recognised(s, pictures, CLASSES), CLASSES);
            fflush(stdout);
        }
        printf("\n");
    }
    return finish(&p, prefix, "solvers.png", good);
}

static bool guidance_sheet(const studio *s, const char *prefix)
{
    enum { EACH = 2 }; /* pictures of a class */
    static const double scales[] = { 0, 1, 2, 4, 8 };
    static float pictures[EACH * CLASSES * PIXELS];
    plot p;
    bool good = true;
    if (!plot_create(&p, 40 + EACH * CLASSES * CELL, 50 + 5 * (CELL + 24))) return false;
    printf("guidance, DPM++ 2M with 12 evaluations: seconds per picture and pictures recognised of %d\n", EACH * CLASSES);
    for (int c = 0; c < CLASSES; c++) plot_text(&p, 20 + EACH * c * CELL, 10, 0x222222, class_names[c]);
    for (int i = 0; i < 5 && good; i++) {
        double seconds;
        char title[32];
        const order o = { TUFF_SOLVER_DPMPP_2M, 12, EACH * CLASSES, scales[i], NULL };
        good = draw(s, &o, pictures, &seconds);
        snprintf(title, sizeof title, "scale %g", scales[i]);
        plot_text(&p, 20, 34 + i * (CELL + 24), 0x222222, title);
        for (int k = 0; k < EACH * CLASSES; k++) /* those of a class beside each other */
            show(&p, 20 + (k % CLASSES * EACH + k / CLASSES) * CELL, 48 + i * (CELL + 24), pictures + (size_t)k * PIXELS);
        if (good) printf("scale %-4g %.3f s  %2d\n", scales[i], seconds, recognised(s, pictures, EACH * CLASSES));
    }
    return finish(&p, prefix, "guidance.png", good);
}

static bool inpaint_sheet(const studio *s, const char *prefix)
{
    static float pictures[MOST * PIXELS], known[MOST * PIXELS];
    enum { TRIES = 3 };
    plot p;
    double seconds = 0, error = 0;
    const order o = { TUFF_SOLVER_EULER_ANCESTRAL, 24, TRIES * CLASSES, 2, known };
    for (int i = 0; i < o.pictures; i++) memcpy(known + (size_t)i * PIXELS, s->examples[0][i % CLASSES], PIXELS * sizeof *known);
    if (!plot_create(&p, 40 + CLASSES * CELL, 60 + (TRIES + 2) * (CELL + 4))) return false;
    const bool good = draw(s, &o, pictures, &seconds);
    for (int i = 0; i < o.pictures; i++)
        for (int k = 0; k < PIXELS / 2; k++) error = fmax(error, fabs((double)pictures[i * PIXELS + k] - (double)known[i * PIXELS + k]));
    plot_text(&p, 20, 10, 0x222222, "test set, what is kept, three continuations");
    for (int row = 0; row < TRIES + 2; row++)
        show_row(&p, 20, 30 + row * (CELL + 4), row < 2 ? known : pictures + (size_t)(row - 2) * (CLASSES * PIXELS), CLASSES);
    for (int y = CELL / 2; y < CELL; y++) memset(p.rgb + 3 * ((size_t)(34 + CELL + y) * (size_t)p.width + 20), 200, 3 * CLASSES * CELL);
    if (good) printf("inpainting, Euler ancestral with 24 evaluations: %.3f s per picture; what is kept differs by at most %.1e\n", seconds, error);
    return finish(&p, prefix, "inpaint.png", good);
}

static bool quick(const studio *s)
{
    static float pictures[CLASSES * PIXELS];
    double seconds;
    const order o = { TUFF_SOLVER_DPMPP_2M, 6, CLASSES, 2, NULL };
    const bool good = draw(s, &o, pictures, &seconds);
    if (good) printf("DPM++ 2M, 6 evaluations: %.3f s per picture, %d of %d recognised\n", seconds, recognised(s, pictures, CLASSES), CLASSES);
    return good;
}

int main(int argc, char **argv)
{
    const char *prefix = "", *device = NULL;
    char message[256];
    bool fast = false;
    static studio s = { .seed = 1 };
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (!strcmp(argv[i], "--quick")) fast = true;
        else if (!strcmp(argv[i], "--out")) prefix = value, i++;
        else if (!strcmp(argv[i], "--seed")) s.seed = strtoull(value, NULL, 0), i++;
        else if (!strcmp(argv[i], "--device")) device = value, i++;
        else return fprintf(stderr, "fashion [--out PREFIX] [--seed N] [--quick] [--device D]\n"), 2;
    }
    bool good = fashion_model_read(&s.model, FASHION_DIR "/model.bin", message, sizeof message);
    if (!good) fprintf(stderr, "fashion: %s\n", message);
    good = good && read_examples(&s, FASHION_DIR "/examples.png");
    if (good && tuff_device_open(&(tuff_device_desc){ .select = device }, &s.device)) {
        fprintf(stderr, "fashion: %s\n", tuff_device_error(NULL));
        good = false;
    }
    if (good) printf("on %s\n", tuff_device_name(s.device));
    good = good && (fast ? quick(&s) : solver_sheet(&s, prefix) && guidance_sheet(&s, prefix) && inpaint_sheet(&s, prefix));
    tuff_device_close(s.device);
    fashion_model_free(&s.model);
    return good ? 0 : 1;
}
