/* molecule - numbers that describe a molecule and do not change when it is turned.
 *
 * Around each atom the neighbours are a density on spheres, expanded in spherical harmonics: c[k, lm] = sum over atoms j of R_k(r_j) Z_j Y_lm(r_j / |r_j|), with
 * bumps R_k at several radii. Turning the molecule turns c by Wigner's D matrices, so the sum over m of c^2 (power) and the products of three
 * functions projected on degree 0 (gaunt_manybody, the bispectrum's diagonal) stay as they are. Their sums over the atoms describe the molecule.
 *
 *     molecule [FOLDER or FILE.cml ...] [--turns 8] [--device D]
 *
 * Reads the atoms' coordinates of CML files, by default those of Debian's package chemical-structures-data where it is installed, else a few
 * built-in molecules. Prints the first numbers of each molecule, the molecule most alike, and the largest change under random rotations. */
#include <dirent.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <tuff/tuff.h>

enum { ATOMS = 24, MOST = 48, LMAX = 4, RADII = 6, SIZE = (LMAX + 1) * (LMAX + 1), NUMBERS = RADII * (LMAX + 2) };

typedef struct molecule {
    char name[48];
    int atoms;
    float charge[ATOMS], position[ATOMS][3]; /* absent atoms have charge 0 */
} molecule;

typedef struct options {
    const char *device;
    int turns;
} options;

/* ---- molecules ------------------------------------------------------------------------------------ */

static float charge_of(const char *element)
{
    static const struct { const char *name; float z; } table[] = { { "H", 1 }, { "B", 5 }, { "C", 6 }, { "N", 7 }, { "O", 8 }, { "F", 9 }, { "Si", 14 }, { "P", 15 },
                                                                   { "S", 16 }, { "Cl", 17 }, { "Br", 35 }, { "I", 53 } };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (!strcmp(table[i].name, element)) return table[i].z;
    return 0;
}

static int attribute(const char *tag, const char *name, char *out, size_t size)
{
    const char *p = strstr(tag, name), *end = strchr(tag, '>');
    if (!p || !end || p > end) return 0;
    p += strlen(name);
    size_t n = strcspn(p, "\"");
    if (n >= size) return 0;
    memcpy(out, p, n);
    out[n] = 0;
    return 1;
}

/* <atom .. elementType="C" x3=".." y3=".." z3=".."/> */
static int read_cml(const char *path, molecule *m)
{
    char text[65536], value[64];
    FILE *f = fopen(path, "rb");
    if (!f) return 0;
    const size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = 0;
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    memset(m, 0, sizeof *m);
    snprintf(m->name, sizeof m->name, "%.*s", (int)strcspn(base, "."), base);
    for (const char *p = text; (p = strstr(p, "<atom ")); p++) {
        if (m->atoms == ATOMS || !attribute(p, "elementType=\"", value, sizeof value) || charge_of(value) == 0) return 0;
        m->charge[m->atoms] = charge_of(value);
        for (int k = 0; k < 3; k++) {
            static const char *const names[3] = { "x3=\"", "y3=\"", "z3=\"" };
            if (!attribute(p, names[k], value, sizeof value)) return 0;
            m->position[m->atoms][k] = (float)atof(value);
        }
        m->atoms++;
    }
    return m->atoms > 1;
}

static int compare_names(const void *a, const void *b) { return strcmp(a, b); }

/* Files below a folder, sorted, each `stride`-th kept so that all kinds are seen. */
static int read_folder(const char *folder, molecule *out, int most)
{
    enum { FILES = 4096, PATH = 256 };
    char (*paths)[PATH] = malloc(sizeof *paths * FILES);
    int files = 0, depth = 0, count = 0;
    if (!paths) return 0;
    snprintf(paths[0], PATH, "%s", folder);
    for (int pending = 1, at = 0; at < pending && pending < 256; at++) { /* folders first, files are appended behind them below */
        DIR *d = opendir(paths[at]);
        for (struct dirent *e; d && (e = readdir(d));) {
            char path[PATH];
            if (e->d_name[0] == '.' || snprintf(path, PATH, "%s/%s", paths[at], e->d_name) >= PATH) continue;
            const char *dot = strrchr(e->d_name, '.');
            if (!dot && depth == 0 && pending < 256) snprintf(paths[pending++], PATH, "%s", path);
            else if (dot && !strcmp(dot, ".cml") && files < FILES - 256) snprintf(paths[256 + files++], PATH, "%s", path);
        }
        if (d) closedir(d);
    }
    qsort(paths + 256, (size_t)files, sizeof *paths, compare_names);
    for (int i = 0; i < files && count < most; i++) {
        const int of = (int)((int64_t)i * 7919 % files); /* spread over the kinds, in an order that does not change */
        count += read_cml(paths[256 + of], &out[count]);
    }
    free(paths);
    return count;
}

static int built_in(molecule *out)
{
    static const struct { const char *name; int n; const char *elements; float r[9][3]; } list[] = {
        { "water", 3, "OHH", { { 0, 0, 0.117f }, { 0, 0.757f, -0.470f }, { 0, -0.757f, -0.470f } } },
        { "ammonia", 4, "NHHH", { { 0, 0, 0.116f }, { 0, 0.940f, -0.272f }, { 0.814f, -0.470f, -0.272f }, { -0.814f, -0.470f, -0.272f } } },
        { "methane", 5, "CHHHH", { { 0, 0, 0 }, { 0.629f, 0.629f, 0.629f }, { -0.629f, -0.629f, 0.629f }, { -0.629f, 0.629f, -0.629f }, { 0.629f, -0.629f, -0.629f } } },
        { "methanol", 6, "CHHHOH", { { 0.350f, 0.007f, 0.061f }, { 0.848f, 0.035f, 1.035f }, { 0.635f, 0.893f, -0.520f }, { 0.662f, -0.893f, -0.483f }, { -1.011f, -0.008f, 0.364f }, { -1.485f, -0.033f, -0.457f } } },
        { "ethanol", 9, "CCOHHHHHH", { { 1.168f, -0.398f, 0 }, { 0, 0.555f, 0 }, { -1.190f, -0.215f, 0 }, { -1.946f, 0.381f, 0 }, { 2.102f, 0.163f, 0 }, { 1.132f, -1.033f, 0.884f }, { 1.132f, -1.033f, -0.884f }, { 0.043f, 1.194f, 0.883f }, { 0.043f, 1.194f, -0.883f } } },
        { "carbon dioxide", 3, "COO", { { 0, 0, 0 }, { 0, 0, 1.162f }, { 0, 0, -1.162f } } },
    };
    const int n = (int)(sizeof list / sizeof *list);
    for (int i = 0; i < n; i++) {
        memset(&out[i], 0, sizeof out[i]);
        snprintf(out[i].name, sizeof out[i].name, "%s", list[i].name);
        out[i].atoms = list[i].n;
        for (int k = 0; k < list[i].n; k++) {
            const char element[3] = { list[i].elements[k], 0 };
            out[i].charge[k] = charge_of(element);
            memcpy(out[i].position[k], list[i].r[k], sizeof list[i].r[k]);
        }
    }
    return n;
}

/* ---- the graph ------------------------------------------------------------------------------------ */

/* [SIZE, LMAX + 1]: which degree an entry has. */
static tuff_tensor degree_table(tuff_graph *g)
{
    float table[SIZE][LMAX + 1] = { { 0 } };
    for (int l = 0; l <= LMAX; l++)
        for (int i = l * l; i < (l + 1) * (l + 1); i++) table[i][l] = 1;
    return tuff_const(g, TUFF_F32, TUFF_SHAPE(SIZE, LMAX + 1), table, NULL);
}

/* position[b, atoms, 3], charge[b, atoms] -> numbers[b, NUMBERS] */
static tuff_graph *build(int batch)
{
    tuff_graph *g = tuff_graph_create(NULL);
    tuff_tensor x = tuff_input(g, "position", TUFF_F32, TUFF_SHAPE(batch, ATOMS, 3)), z = tuff_input(g, "charge", TUFF_F32, TUFF_SHAPE(batch, ATOMS));
    tuff_tensor to = tuff_sub(tuff_unsqueeze(x, TUFF_INTS(1)), tuff_unsqueeze(x, TUFF_INTS(2))); /* [b, i, j, 3] = x_j - x_i */
    tuff_tensor y = tuff_spherical_harmonics(to, LMAX, NULL);                                     /* [b, i, j, lm] */
    tuff_tensor r = tuff_norm(to, &(tuff_norm_desc){ .axes = TUFF_INTS(3) });
    /* [b, i, k, j]: bumps (1 - d^2)^2 around 0.8, 1.3, .. angstrom; the atom itself is left out */
    tuff_tensor bump = tuff_map(g, "let d = (r - (0.8 + 0.5 * f32(i2))) / 0.9; let q = max(0.0, 1.0 - d * d); r < 0.01 ? 0.0 * z : z * q * q + 0.0 * k", 3,
                                (tuff_named[]){ { "r", tuff_unsqueeze(r, TUFF_INTS(2)) }, { "z", tuff_unsqueeze(z, TUFF_INTS(1, 2)) },
                                                { "k", tuff_expand(tuff_literal(g, 0, TUFF_F32), TUFF_SHAPE(1, 1, RADII, 1)) } });
    tuff_tensor c = tuff_matmul(bump, y, NULL); /* [b, i, k, lm] */
    tuff_tensor power = tuff_matmul(tuff_square(c), degree_table(g), NULL);
    tuff_tensor triple = tuff_gaunt_manybody(&c, 1, 0, &(tuff_gaunt_manybody_desc){ .order = 3 });
    tuff_tensor parts[2] = { power, triple };
    tuff_tensor each = tuff_mul(tuff_concat(parts, 2, 3), tuff_reshape(z, TUFF_SHAPE(batch, ATOMS, 1, 1))); /* absent atoms count 0 */
    tuff_output(g, "numbers", tuff_reshape(tuff_sum(each, &(tuff_reduce_desc){ .axes = TUFF_INTS(1) }), TUFF_SHAPE(batch, NUMBERS)));
    return g;
}

/* ---- running ---------------------------------------------------------------------------------------- */

static double uniform(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (double)(*state >> 11) * 0x1p-53;
}

/* A random rotation from a random unit quaternion. */
static void rotation(uint64_t *state, double *r)
{
    double q[4], n = 0;
    do {
        n = 0;
        for (int i = 0; i < 4; i++) {
            q[i] = 2 * uniform(state) - 1;
            n += q[i] * q[i];
        }
    } while (n > 1 || n < 0.01);
    for (int i = 0; i < 4; i++) q[i] /= sqrt(n);
    const double w = q[0], x = q[1], y = q[2], z = q[3];
    const double m[9] = { 1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y), 2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
                          2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y) };
    memcpy(r, m, sizeof m);
}

static double distance(const float *a, const float *b)
{
    double d = 0, n = 0;
    for (int i = 0; i < NUMBERS; i++) {
        d += pow((double)a[i] - (double)b[i], 2);
        n += pow((double)a[i], 2) + pow((double)b[i], 2);
    }
    return sqrt(2 * d / n);
}

static void report(const molecule *list, int count, int turns, const float *numbers)
{
    double worst = 0;
    printf("%-32s %5s  %9s %9s %9s   %s\n", "molecule", "atoms", "power 0", "power 1", "power 2", "most like");
    for (int i = 0; i < count; i++) {
        const float *own = numbers + (size_t)i * (size_t)(turns + 1) * NUMBERS;
        int nearest = -1;
        double least = INFINITY;
        for (int k = 0; k < count; k++) {
            const double d = distance(own, numbers + (size_t)k * (size_t)(turns + 1) * NUMBERS);
            if (k != i && d < least) { least = d; nearest = k; }
        }
        for (int t = 1; t <= turns; t++) worst = fmax(worst, distance(own, own + (size_t)t * NUMBERS));
        printf("%-32.32s %5d  %9.4g %9.4g %9.4g   %s (%.2g)\n", list[i].name, list[i].atoms, (double)own[0], (double)own[1], (double)own[2], nearest < 0 ? "-" : list[nearest].name, least);
    }
    printf("largest change under %d random rotations of each: %.2g (relative)\n", turns, worst);
}

static double now(void)
{
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int run(const options *o, const molecule *list, int count)
{
    const int batch = count * (o->turns + 1);
    float *position = calloc((size_t)batch * ATOMS * 3, sizeof *position), *charge = calloc((size_t)batch * ATOMS, sizeof *charge);
    float *numbers = calloc((size_t)batch * NUMBERS, sizeof *numbers);
    uint64_t state = 1;
    for (int b = 0; position && charge && b < batch; b++) {
        const molecule *m = &list[b / (o->turns + 1)];
        double r[9] = { 1, 0, 0, 0, 1, 0, 0, 0, 1 };
        if (b % (o->turns + 1)) rotation(&state, r);
        memcpy(charge + (size_t)b * ATOMS, m->charge, sizeof m->charge);
        for (int a = 0; a < m->atoms; a++)
            for (int k = 0; k < 3; k++)
                position[((size_t)b * ATOMS + (size_t)a) * 3 + (size_t)k] =
                    (float)(r[3 * k] * (double)m->position[a][0] + r[3 * k + 1] * (double)m->position[a][1] + r[3 * k + 2] * (double)m->position[a][2]);
    }
    tuff_device *dev = NULL;
    tuff_program *p = NULL;
    const double start = now();
    tuff_graph *g = build(batch);
    int good = position && charge && numbers;
    if (good && tuff_device_open(&(tuff_device_desc){ .select = o->device }, &dev)) { fprintf(stderr, "molecule: %s\n", tuff_device_error(NULL)); good = 0; }
    if (good && tuff_compile(dev, g, NULL, &p)) { fprintf(stderr, "molecule: %s\n", tuff_graph_error(g)); good = 0; }
    if (good && (tuff_write(p, "position", position, (size_t)batch * ATOMS * 3 * sizeof *position) || tuff_write(p, "charge", charge, (size_t)batch * ATOMS * sizeof *charge) ||
                 tuff_run(p) || tuff_read(p, "numbers", numbers, (size_t)batch * NUMBERS * sizeof *numbers))) {
        fprintf(stderr, "molecule: %s\n", tuff_program_error(p));
        good = 0;
    }
    if (good) printf("%s: %d molecules, each turned %d ways, first result %.2f s\n", tuff_device_name(dev), count, o->turns, now() - start);
    if (good) report(list, count, o->turns, numbers);
    tuff_program_destroy(p);
    tuff_graph_destroy(g);
    tuff_device_close(dev);
    free(position);
    free(charge);
    free(numbers);
    return good;
}

int main(int argc, char **argv)
{
    options o = { .turns = 8 };
    molecule *list = calloc(MOST, sizeof *list);
    int count = 0, named = 0;
    for (int i = 1; list && i < argc; i++) {
        const size_t n = strlen(argv[i]);
        if (!strcmp(argv[i], "--turns") && i + 1 < argc) o.turns = atoi(argv[++i]);
        else if (!strcmp(argv[i], "--device") && i + 1 < argc) o.device = argv[++i];
        else if (argv[i][0] == '-') o.turns = 0;
        else if (n > 4 && !strcmp(argv[i] + n - 4, ".cml")) {
            named = 1;
            if (count < MOST) count += read_cml(argv[i], &list[count]);
        } else {
            named = 1;
            count += read_folder(argv[i], list + count, MOST - count);
        }
    }
    if (o.turns < 1 || o.turns > 1000) {
        fprintf(stderr, "usage: molecule [FOLDER or FILE.cml ...] [--turns 1..1000] [--device D]\n");
        free(list);
        return 2;
    }
    if (list && !named) count = read_folder("/usr/share/chemical-structures", list, MOST);
    if (list && !named && !count) count = built_in(list);
    if (!count) fprintf(stderr, "molecule: none of the files can be read and holds a molecule of 2 to %d known atoms\n", ATOMS);
    const int good = count && run(&o, list, count);
    free(list);
    return good ? 0 : 1;
}
