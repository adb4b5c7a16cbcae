/* test_gaunt.c - the equivariant family: host tables against identities, and on the device what the mathematics promises. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ops/sphere.h"
#include "support/support.h"

/* ---- host tables ------------------------------------------------------------------------------------ */

Test(gaunt_host, values_and_orthonormality)
{
    static const double want[9] = { 0.282095, 0.175897, 0.234529, 0.390882, 0.314654, 0.188792, -0.097393, 0.419539, 0.278818 };
    double y[9];
    tf_arena a;
    tf_arena_init(&a, NULL);
    tf_sh_eval(2, 0.36, 0.48, 0.8, y);
    for (int i = 0; i < 9; i++) cr_expect(fabs(y[i] - want[i]) < 1e-6, "Y[%d] = %g, not %g", i, y[i], want[i]);
    tf_sphere_grid grid;
    cr_assert(tf_sphere_grid_make(&a, 24, 0, &grid));
    const double *e = tf_sphere_values(&a, &grid, 12);
    double worst = 0;
    for (int i = 0; i < 169; i++)
        for (int j = 0; j <= i; j++) {
            double sum = 0;
            for (int p = 0; p < grid.nt * grid.np; p++) sum += grid.w[p / grid.np] * 2 * TF_PI / grid.np * e[p * 169 + i] * e[p * 169 + j];
            worst = fmax(worst, fabs(sum - (i == j)));
        }
    cr_expect(worst < 1e-13, "integrals of Y Y' are off by %g", worst);
    tf_arena_release(&a);
}

static int degree_of(int i) { return (int)sqrt(i + 0.5); }

/* Two routes to the same numbers: quadrature, and closed constants times the 3j tensor. */
static void expect_blocks(bool curl)
{
    tf_arena a;
    tf_gaunt_terms terms;
    tf_arena_init(&a, NULL);
    cr_assert(tf_gaunt_list(&a, 3, 4, 7, curl, &terms));
    cr_expect(terms.n > 500);
    double worst = 0;
    for (uint32_t t = 0; t < terms.n; t++) {
        const tf_gaunt_term *g = &terms.data[t];
        const int p = degree_of(g->i), q = degree_of(g->j), r = degree_of(g->k);
        const double *w = tf_wigner_3j(&a, p, q, r);
        double factor = tf_gaunt_norm(p, q, r);
        if (curl) factor = sqrt(p * (p + 1.0) * q * (q + 1.0) * (2 * p + 1) * (2 * q + 1) * (2 * r + 1) / (4 * TF_PI)) * fabs(tf_3j(p, q, r, 1, -1));
        worst = fmax(worst, fabs(g->g - factor * w[((g->i - p * p) * (2 * q + 1) + g->j - q * q) * (2 * r + 1) + g->k - r * r]));
        cr_expect(((p + q + r) & 1) == curl && r >= abs(p - q) && r <= p + q, "coefficient (%d, %d, %d) breaks a selection rule", p, q, r);
    }
    cr_expect(worst < 1e-12, "coefficients are off by %g", worst);
    tf_arena_release(&a);
}
Test(gaunt_host, coefficients_are_3j_tensors) { expect_blocks(false); }
Test(gaunt_host, curl_coefficients_are_3j_tensors) { expect_blocks(true); }

Test(gaunt_host, known_counts_and_norms)
{
    static const struct { int l1, l2, l3; uint32_t n; } counts[] = { { 1, 1, 1, 10 }, { 1, 1, 2, 21 }, { 2, 2, 2, 83 }, { 4, 4, 4, 1158 }, { 4, 4, 8, 2229 }, { 6, 6, 6, 6460 } };
    tf_arena a;
    tf_gaunt_terms terms;
    tf_arena_init(&a, NULL);
    for (size_t i = 0; i < COUNT(counts); i++) {
        cr_assert(tf_gaunt_list(&a, counts[i].l1, counts[i].l2, counts[i].l3, false, &terms));
        cr_expect(terms.n == counts[i].n, "%u coefficients for (%d, %d, %d), not %u", terms.n, counts[i].l1, counts[i].l2, counts[i].l3, counts[i].n);
    }
    cr_expect(fabs(tf_gaunt_norm(2, 2, 4) - 1.0115033) < 1e-7 && fabs(tf_gaunt_norm(3, 2, 1) - 0.8462844) < 1e-7 && tf_gaunt_norm(1, 1, 1) == 0);
    /* sum over m1, m2 of 3j^2 is 1 */
    for (int l = 4; l <= TF_3J_MAX; l += 4) {
        double sum = 0;
        for (int m1 = -l; m1 <= l; m1++)
            for (int m2 = -l; m2 <= l; m2++) sum += pow(tf_3j(l, l, l, m1, m2), 2);
        cr_expect(fabs(sum - 1) < 1e-11, "3j symbols of degree %d have the square sum %.15g", l, sum);
    }
    tf_arena_release(&a);
}

/* A turn about y by a, then about x by b, then about y by c. */
static void rotation(double a, double b, double c, double *r)
{
    const double y1[9] = { cos(a), 0, sin(a), 0, 1, 0, -sin(a), 0, cos(a) }, x[9] = { 1, 0, 0, 0, cos(b), -sin(b), 0, sin(b), cos(b) };
    const double y2[9] = { cos(c), 0, sin(c), 0, 1, 0, -sin(c), 0, cos(c) };
    double t[9];
    for (int i = 0; i < 9; i++) t[i] = y1[i / 3 * 3] * x[i % 3] + y1[i / 3 * 3 + 1] * x[3 + i % 3] + y1[i / 3 * 3 + 2] * x[6 + i % 3];
    for (int i = 0; i < 9; i++) r[i] = t[i / 3 * 3] * y2[i % 3] + t[i / 3 * 3 + 1] * y2[3 + i % 3] + t[i / 3 * 3 + 2] * y2[6 + i % 3];
}

static void turn(const double *r, const double *v, double *out)
{
    for (int i = 0; i < 3; i++) out[i] = r[3 * i] * v[0] + r[3 * i + 1] * v[1] + r[3 * i + 2] * v[2];
}

Test(gaunt_host, rotations)
{
    enum { L = 16 };
    double r[9], s[9], rs[9], v[3] = { 0.36, 0.48, 0.8 }, rv[3], y[(L + 1) * (L + 1)], yr[(L + 1) * (L + 1)], worst = 0;
    tf_arena a;
    tf_arena_init(&a, NULL);
    rotation(0.7, 1.9, -2.1, r);
    rotation(-0.3, 0.4, 1.1, s);
    for (int i = 0; i < 9; i++) rs[i] = r[i / 3 * 3] * s[i % 3] + r[i / 3 * 3 + 1] * s[3 + i % 3] + r[i / 3 * 3 + 2] * s[6 + i % 3];
    turn(r, v, rv);
    tf_sh_eval(L, v[0], v[1], v[2], y);
    tf_sh_eval(L, rv[0], rv[1], rv[2], yr);
    const double *d = tf_wigner_d(&a, L, r), *e = tf_wigner_d(&a, L, s), *f = tf_wigner_d(&a, L, rs);
    for (int l = 0; l <= L; l++)
        for (int m = 0; m <= 2 * l; m++) {
            const int n = 2 * l + 1;
            double sum = 0;
            for (int k = 0; k < n; k++) sum += d[tf_d_at(l) + m * n + k] * y[l * l + k];
            worst = fmax(worst, fabs(sum - yr[l * l + m]));
            for (int q = 0; q < n; q++) {
                sum = 0;
                for (int k = 0; k < n; k++) sum += d[tf_d_at(l) + m * n + k] * e[tf_d_at(l) + k * n + q];
                worst = fmax(worst, fabs(sum - f[tf_d_at(l) + m * n + q]));
            }
        }
    cr_expect(worst < 1e-12, "Y(R v) = D(R) Y(v) and D(R S) = D(R) D(S) are off by %g", worst);
    tf_arena_release(&a);
}

/* J by its own route is D of the half turn, and its own inverse at degrees where the other route has lost its digits. */
Test(gaunt_host, half_turns)
{
    static const double half_turn[9] = { 0, 1, 0, 1, 0, 0, 0, 0, -1 };
    enum { L = 128, N = 2 * L + 1 };
    tf_arena a;
    tf_arena_init(&a, NULL);
    const double *d = tf_wigner_d(&a, 16, half_turn), *j = tf_wigner_j(&a, L), *top = j + tf_d_at(L);
    double worst = 0;
    cr_assert(d && j);
    for (int64_t i = 0; i < tf_d_size(16); i++) worst = fmax(worst, fabs(d[i] - j[i]));
    for (int i = 0; i < N; i += 5)
        for (int k = 0; k < N; k++) {
            double sum = 0;
            for (int q = 0; q < N; q++) sum += top[i * N + q] * top[q * N + k];
            worst = fmax(worst, fabs(sum - (i == k)));
        }
    cr_expect(worst < 1e-12, "half turns are off by %g", worst);
    tf_arena_release(&a);
}

/* ---- on the device ---------------------------------------------------------------------------------- */

/* Compiles and runs a graph whose inputs are normal numbers (`rotation` inputs: rotations), and reads outputs into out[]. */
typedef struct result { float *data; size_t n; } result;

static void fill_rotations(rng *numbers, float *data, size_t n)
{
    for (size_t i = 0; i + 9 <= n; i += 9) {
        double r[9];
        rotation(6.28 * rng_uniform(numbers), acos(2 * rng_uniform(numbers) - 1), 6.28 * rng_uniform(numbers), r);
        for (int k = 0; k < 9; k++) data[i + (size_t)k] = (float)r[k];
    }
}

static void run_text(tuff_device *dev, const char *text, const char *const *outputs, result *out, size_t count)
{
    char message[512];
    tuff_graph *g = NULL;
    tuff_program *p = NULL;
    cr_assert(!tuff_graph_parse(text, strlen(text), NULL, &g, message, sizeof message), "%s\n%s", message, text);
    cr_assert(!tuff_compile(dev, g, NULL, &p), "%s\n%s", tuff_graph_error(g), text);
    static const char *const names[] = { "a", "b", "c", "r" };
    rng numbers = { 11 };
    for (size_t i = 0; i < COUNT(names); i++) {
        size_t bytes = 0;
        if (tuff_describe(p, names[i], &bytes, NULL, NULL)) continue;
        float *data = malloc(bytes + 1);
        cr_assert(data, "out of memory");
        if (names[i][0] == 'r') fill_rotations(&numbers, data, bytes / 4);
        else rng_fill(&numbers, TUFF_F32, data, bytes / 4);
        cr_assert(!tuff_write(p, names[i], data, bytes), "%s", tuff_program_error(p));
        free(data);
    }
    cr_assert(!tuff_run(p), "%s", tuff_program_error(p));
    for (size_t i = 0; i < count; i++) {
        size_t bytes = 0;
        cr_assert(!tuff_describe(p, outputs[i], &bytes, NULL, NULL));
        out[i] = (result){ malloc(bytes + 1), bytes / 4 };
        cr_assert(out[i].data && !tuff_read(p, outputs[i], out[i].data, bytes), "%s", tuff_program_error(p));
    }
    tuff_program_destroy(p);
    tuff_graph_destroy(g);
}

static double distance(const result *x, const result *y)
{
    double d = 0, n = 0;
    cr_assert(x->n == y->n);
    for (size_t i = 0; i < x->n; i++) {
        d += ((double)x->data[i] - (double)y->data[i]) * ((double)x->data[i] - (double)y->data[i]);
        n += (double)y->data[i] * (double)y->data[i];
    }
    return n > 0 ? sqrt(d / n) : sqrt(d);
}

/* Two outputs of one graph are equal but for rounding. */
static void expect_equal(tuff_device *dev, const char *text, double bound)
{
    result r[2];
    run_text(dev, text, (const char *const[]){ "y", "z" }, r, 2);
    const double d = distance(&r[0], &r[1]);
    cr_expect(d <= bound, "relative L2 distance %.3g, allowed %.3g:\n%s", d, bound, text);
    free(r[0].data);
    free(r[1].data);
}

/* Bounds: 2e-6 for a product, 4e-6 for a rotation; here are two of each. */
Test(gaunt, rotating_commutes_with_multiplying)
{
    static const int degrees[] = { 1, 2, 4, 6, 12 };
    tuff_device *dev = open_device(NULL);
    for (size_t i = 0; i < COUNT(degrees); i++) {
        const int l = degrees[i], n = (l + 1) * (l + 1);
        char text[1024];
        snprintf(text, sizeof text, "a = input f32[5,2,%d]\nb = input f32[5,2,%d]\nr = input f32[5,3,3]\nab = gaunt_tp(a, b) {lout=%d}\ny = sh_rotate(ab, r)\n"
                 "ar = sh_rotate(a, r)\nbr = sh_rotate(b, r)\nz = gaunt_tp(ar, br) {lout=%d}\noutput y\noutput z\n", n, n, l, l);
        expect_equal(dev, text, 6e-6);
        if (l > 4) continue;
        snprintf(text, sizeof text, "a = input f32[5,2,%d]\nb = input f32[5,2,%d]\nr = input f32[5,3,3]\nab = gaunt_curl_tp(a, b) {lout=%d}\ny = sh_rotate(ab, r)\n"
                 "ar = sh_rotate(a, r)\nbr = sh_rotate(b, r)\nz = gaunt_curl_tp(ar, br) {lout=%d}\noutput y\noutput z\n", n, n, l, l);
        expect_equal(dev, text, 8e-6);
    }
    tuff_device_close(dev);
}

Test(gaunt, identities)
{
    static const struct { const char *text; double bound; } cases[] = {
        /* the constant function 1 has Y_00 alone */
        { "a = input f32[9,49]\nt = iota() {shape=[1,9], axis=1, dtype=f32}\none = map(t=t) {expr=\"t == 0.0 ? 3.5449077018110318 : 0.0\"}\n"
          "y = gaunt_tp(a, one) {lout=6}\nz = add(a, 0)\noutput y\noutput z\n", 2e-6 },
        { "a = input f32[9,36]\nb = input f32[9,16]\ny = gaunt_tp(a, b) {lout=5}\nz = gaunt_tp(b, a) {lout=5}\noutput y\noutput z\n", 2e-6 },
        { "a = input f32[9,9]\nb = input f32[9,9]\nc = input f32[9,9]\nab = gaunt_tp(a, b) {lout=4}\nbc = gaunt_tp(b, c) {lout=4}\n"
          "y = gaunt_tp(ab, c) {lout=6}\nz = gaunt_tp(a, bc) {lout=6}\noutput y\noutput z\n", 4e-6 },
        { "a = input f32[9,9]\nb = input f32[9,9]\nc = input f32[9,9]\nab = gaunt_tp(a, b) {lout=4}\ny = gaunt_tp(ab, c) {lout=3}\n"
          "z = gaunt_manybody(a, b, c) {lout=3}\noutput y\noutput z\n", 4e-6 },
        { "a = input f32[9,25]\nb = input f32[9,25]\ny = gaunt_curl_tp(a, b) {lout=6}\nba = gaunt_curl_tp(b, a) {lout=6}\nz = neg(ba)\noutput y\noutput z\n", 4e-6 },
        /* degree 1 with degree 1: the cross product */
        { "a = input f32[9,4]\nb = input f32[9,4]\nx = gaunt_curl_tp(a, b) {lout=1}\ny = slice(x) {start=[1], stop=[4], axes=[1]}\nt = add(y, 0)\n"
          "z = map(a=a, b=b, t=t) {expr=\"let p = (i1 + 1) % 3 + 1; let q = (i1 + 2) % 3 + 1; 0.0 * t + 0.4886025119029199 * (a[i0, p] * b[i0, q] - a[i0, q] * b[i0, p])\"}\n"
          "output y\noutput z\n", 4e-6 },
        /* the filter is what it says */
        { "a = input f32[7,3,25]\nb = input f32[7,3]\nc = input f32[7,3,4]\ny = gaunt_conv(a, b, c) {lout=5}\nf = spherical_harmonics(b) {lmax=3}\ng = unsqueeze(f) {axes=[1]}\n"
          "z = gaunt_tp(a, g, w2=c) {lout=5}\noutput y\noutput z\n", 4e-6 },
        { "a = input f32[7,3,9]\nb = input f32[7,3]\nc = input f32[3,3]\ny = gaunt_conv(a, b, c) {lout=2}\nf = spherical_harmonics(b) {lmax=2}\ng = unsqueeze(f) {axes=[1]}\n"
          "z = gaunt_tp(a, g, w2=c) {lout=2}\noutput y\noutput z\n", 4e-6 },
        /* harmonics turn like their vector */
        { "a = input f32[9,3]\nr = input f32[9,3,3]\nc = unsqueeze(a) {axes=[2]}\nra = matmul(r, c)\nv = squeeze(ra) {axes=[2]}\ny = spherical_harmonics(v) {lmax=9}\n"
          "f = spherical_harmonics(a) {lmax=9}\nz = sh_rotate(f, r)\noutput y\noutput z\n", 6e-6 },
        { "a = input f32[5,400]\nr = input f32[5,3,3]\nx = sh_rotate(a, r)\nt = permute(r) {axes=[0,2,1]}\ny = sh_rotate(x, t)\nz = add(a, 0)\noutput y\noutput z\n", 1e-5 },
        { "a = input f32[2,8281]\nr = input f32[2,3,3]\nx = sh_rotate(a, r)\nt = permute(r) {axes=[0,2,1]}\ny = sh_rotate(x, t)\nz = add(a, 0)\noutput y\noutput z\n", 2e-5 },
        { "r = input f32[5,3,3]\nd = wigner_d(r) {lmax=4}\ny = slice(d) {start=[1], stop=[10], axes=[1]}\nz = reshape(r) {shape=[5,9]}\noutput y\noutput z\n", 4e-6 },
        { "a = input f32[5,100]\nf = sh_to_fourier(a)\ny = fourier_to_sh(f) {lout=9}\nz = add(a, 0)\noutput y\noutput z\n", 2e-6 },
    };
    tuff_device *dev = open_device(NULL);
    for (size_t i = 0; i < COUNT(cases); i++) expect_equal(dev, cases[i].text, cases[i].bound);
    tuff_device_close(dev);
}

Test(gaunt, transforms_return_what_they_were_given)
{
    static const struct { int lmax, nlat, nlon; const char *grid; } cases[] = {
        { 0, 1, 1, "gauss" }, { 5, 6, 11, "gauss" }, { 32, 40, 65, "gauss" }, { 128, 129, 257, "gauss" }, { 5, 11, 11, "regular" }, { 100, 201, 256, "regular" },
    };
    tuff_device *dev = open_device(NULL);
    for (size_t i = 0; i < COUNT(cases); i++) {
        char text[512];
        snprintf(text, sizeof text, "a = input f32[2,%d]\nf = sht_synthesis(a) {nlat=%d, nlon=%d, grid=%s}\ny = sht_analysis(f) {lmax=%d, grid=%s}\nz = add(a, 0)\noutput y\noutput z\n",
                 (cases[i].lmax + 1) * (cases[i].lmax + 1), cases[i].nlat, cases[i].nlon, cases[i].grid, cases[i].lmax, cases[i].grid);
        expect_equal(dev, text, 4e-6);
    }
    tuff_device_close(dev);
}

/* Every algorithm, with and without weights, for the kernels of both device classes, on more rows than a workgroup takes. */
static void all_algorithms(const tuff_device_desc *desc)
{
    static const char *const algorithms[] = { "auto", "sparse", "grid", "dense", "fourier" };
    static const struct { int l1, l2, lout; } shapes[] = { { 0, 0, 0 }, { 1, 1, 2 }, { 2, 3, 2 }, { 4, 4, 4 }, { 3, 1, 6 }, { 5, 4, 3 }, { 6, 6, 6 } };
    tuff_device *dev = open_device(desc);
    for (size_t s = 0; s < COUNT(shapes); s++)
        for (size_t i = 0; i < COUNT(algorithms); i++)
            for (int weighted = 0; weighted < 2; weighted++) {
                const int n1 = (shapes[s].l1 + 1) * (shapes[s].l1 + 1), n2 = (shapes[s].l2 + 1) * (shapes[s].l2 + 1);
                char text[512], message[256];
                tuff_graph *g = NULL;
                if (weighted && s != 2) continue;
                const int rows = s > 2 ? 24 : 23; /* 72 rows go by vectors across rows, 69 do not */
                snprintf(text, sizeof text, "a = input f32[%d,3,%d]\nb = input f32[%d,3,%d]\nu = input f32[3,%d]\nv = input f32[%d,1,%d]\nw = input f32[%d]\n"
                         "y = gaunt_tp(a, b%s) {lout=%d, algorithm=%s}\noutput y\n", rows, n1, rows, n2, shapes[s].l1 + 1, rows, shapes[s].l2 + 1, shapes[s].lout + 1,
                         weighted ? ", w1=u, w2=v, w3=w" : "", shapes[s].lout, algorithms[i]);
                cr_assert(!tuff_graph_parse(text, strlen(text), NULL, &g, message, sizeof message), "%s", message);
                expect_graph(text, dev, g, &(graph_options){ .seed = s + 1, .tolerance = { .rel = 2e-6 } });
                tuff_graph_destroy(g);
            }
    tuff_device_close(dev);
}
Test(gaunt, algorithms_on_cpus) { all_algorithms(&(tuff_device_desc){ .toggles = "+cpu" }); }
Test(gaunt, algorithms_on_gpus_at_the_floor)
{
    all_algorithms(&(tuff_device_desc){ .toggles = "-cpu,-subgroup,-storage16,-storage8", .limits = "shared=16K,invocations=128,bindings=4" });
}

/* Forced algorithms are what the plan shows. */
Test(gaunt, explain_names_the_algorithm)
{
    static const struct { const char *algorithm, *shown; } cases[] = { { "sparse", "sparse" }, { "grid", "separable grid" }, { "fourier", "fft" }, { "dense", "matmul" } };
    tuff_device *dev = open_device(NULL);
    for (size_t i = 0; i < COUNT(cases); i++) {
        char text[256], message[256];
        tuff_graph *g = NULL;
        tuff_program *p = NULL;
        snprintf(text, sizeof text, "a = input f32[80,9]\nb = input f32[80,9]\ny = gaunt_tp(a, b) {lout=2, algorithm=%s}\noutput y\n", cases[i].algorithm);
        cr_assert(!tuff_graph_parse(text, strlen(text), NULL, &g, message, sizeof message), "%s", message);
        cr_assert(!tuff_compile(dev, g, NULL, &p), "%s", tuff_graph_error(g));
        size_t n = tuff_program_explain(p, TUFF_EXPLAIN_TEXT, NULL, 0);
        char *shown = malloc(n + 1);
        cr_assert(shown, "out of memory");
        tuff_program_explain(p, TUFF_EXPLAIN_TEXT, shown, n + 1);
        cr_expect(strstr(shown, cases[i].shown), "%s does not show as \"%s\":\n%s", cases[i].algorithm, cases[i].shown, shown);
        free(shown);
        tuff_program_destroy(p);
        tuff_graph_destroy(g);
    }
    tuff_device_close(dev);
}

/* Poles, near-poles, tiny, huge and zero vectors. */
Test(gaunt, harmonics_of_special_vectors)
{
    static const float vectors[][3] = { { 0, 1, 0 }, { 0, -1, 0 }, { 1e-20f, 1, 0 }, { 1e-4f, -1, 1e-5f }, { 1, 0, 0 }, { 0, 0, -1 }, { 0, 0, 0 }, { 1e-13f, 0, 1e-13f },
                                        { 1e-11f, 0, 0 }, { 1e30f, 1e30f, -1e30f }, { 3e-7f, 1e-6f, 0 } };
    enum { L = 8, N = (L + 1) * (L + 1) };
    tuff_device *dev = open_device(NULL);
    tuff_graph *g = tuff_graph_create(NULL);
    tuff_program *p = NULL;
    tuff_output(g, "y", tuff_spherical_harmonics(tuff_input(g, "v", TUFF_F32, TUFF_SHAPE(COUNT(vectors), 3)), L, NULL));
    cr_assert(!tuff_compile(dev, g, NULL, &p), "%s", tuff_graph_error(g));
    float y[COUNT(vectors)][N];
    cr_assert(!tuff_write(p, "v", vectors, sizeof vectors) && !tuff_run(p) && !tuff_read(p, "y", y, sizeof y), "%s", tuff_program_error(p));
    for (size_t i = 0; i < COUNT(vectors); i++) {
        double want[N], d = 0, n = 0;
        tf_sh_eval_unit(L, (double)vectors[i][0], (double)vectors[i][1], (double)vectors[i][2], want);
        for (int k = 0; k < N; k++) {
            d += ((double)y[i][k] - want[k]) * ((double)y[i][k] - want[k]);
            n += want[k] * want[k];
        }
        cr_expect(sqrt(d / n) < 2e-6, "harmonics of (%g, %g, %g) are off by %.3g", (double)vectors[i][0], (double)vectors[i][1], (double)vectors[i][2], sqrt(d / n));
        if (n < 0.1)
            for (int k = 1; k < N; k++) cr_expect(y[i][k] == 0, "entry %d of a zero vector is %g", k, (double)y[i][k]);
    }
    tuff_program_destroy(p);
    tuff_graph_destroy(g);
    tuff_device_close(dev);
}

/* ---- messages ---------------------------------------------------------------------------------------- */

Test(gaunt, mistakes_are_named)
{
    static const struct { const char *text, *says; } cases[] = {
        { "a = input f32[5,8]\nb = input f32[5,9]\ny = gaunt_tp(a, b) {lout=2}\noutput y\n", "(L+1)^2" },
        { "a = input f32[5,9]\nb = input f32[4,9]\ny = gaunt_tp(a, b) {lout=2}\noutput y\n", "5" },
        { "a = input f32[5,9]\nb = input f32[5,9]\nw = input f32[4]\ny = gaunt_tp(a, b, w1=w) {lout=2}\noutput y\n", "last axis of 3" },
        { "a = input i32[5,9]\nb = input i32[5,9]\ny = gaunt_tp(a, b) {lout=2}\noutput y\n", "i32" },
        { "a = input f32[5,9]\nb = input f32[5,9]\ny = gaunt_tp(a, b) {lout=-1}\noutput y\n", "lout is -1" },
        { "a = input f32[5,196]\nb = input f32[5,9]\ny = gaunt_tp(a, b) {lout=3, algorithm=sparse}\noutput y\n", "up to 12" },
        { "a = input f32[5,4]\ny = spherical_harmonics(a) {lmax=2}\noutput y\n", "last axis of 3" },
        { "a = input f32[5,3]\ny = spherical_harmonics(a) {lmax=400}\noutput y\n", "from 0 to 320" },
        { "a = input f32[5,9]\nr = input f32[5,3,4]\ny = sh_rotate(a, r)\noutput y\n", "3, 3" },
        { "a = input f32[5,9]\nr = input f32[4,3,3]\ny = sh_rotate(a, r)\noutput y\n", "must be the first ones" },
        { "f = input f32[8,17]\ny = sht_analysis(f) {lmax=8}\noutput y\n", "needs 9 latitudes and 17" },
        { "x = input f32[5,9]\nv = input f32[4,3]\nh = input f32[3]\ny = gaunt_conv(x, v, h) {lout=2}\noutput y\n", "before its channels" },
        { "a = input f32[5,9]\nw = input f32[4,3]\ny = gaunt_manybody(a, w=w) {lout=2, order=3}\noutput y\n", "weights of 4 factors" },
        { "p = input f32[5,2]\nw = input f32[8,10]\nb = input f32[8]\ny = location_encoder(p, w, b) {degrees=3}\noutput y\n", "[out, 9]" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char message[512] = "";
        tuff_graph *g = NULL;
        const tuff_status s = tuff_graph_parse(cases[i].text, strlen(cases[i].text), NULL, &g, message, sizeof message);
        cr_expect(s && strstr(message, cases[i].says), "\"%s\" does not say \"%s\"", message, cases[i].says);
        tuff_graph_destroy(g);
    }
}
