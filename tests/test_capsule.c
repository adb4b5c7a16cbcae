/* test_capsule.c - what was packed and loaded gives the same bits as what was compiled, without the compiler. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/capsule.h"
#include "random_graph.h"
#include "runtime/program.h"

enum { RUNS = 2, RANDOM = 12, NODES = 14 };

static const char *const texts[] = {
    "q = input f32[1,40,4,16]\nk = input f16[1,40,2,16]\nv = input f16[1,40,2,16]\no = attention(q, k, v) {causal=true}\noutput o\n",
    "x = input f32[3,1000]\ny = fft(complex(x, 0)) {axes=[1]}\noutput y\n",
    "dim n <= 70\nx = input f32[n,8]\nk = scalar f32 = 2.5\ns = state f32[8]\nr = mul(sum(x) {axes=[0]}, k)\nt = assign(s, add(s, r))\noutput t\nx2 = mul(x, x)\noutput x2\n",
    "x = input f32[64]\nw = const f32[64,64] = 0.01\na, b = loop 7 step i (u = x, v = x) {\n u2 = matmul(v, w)\n v2 = add(u, 0.5)\n yield u2, v2\n}\noutput a\noutput b\n",
    "x = input f32[5]\ny, n, more = while go <= 40 (h = x) {\n h2 = mul(h, 0.5)\n go = any(greater(abs(h2), 0.01)) {axes=[0]}\n yield h2\n}\noutput y\noutput n\n",
    "x = input f16[33,7]\ny = softmax(x) {axis=0}\ni = argsort(y) {axis=0}\noutput y\noutput i\n",
    "x = input f32[3,0,2]\nw = const f32[0,2] = []\ny = sum(add(x, w)) {axes=[1]}\noutput y\n",
    "a = input f32[2,300]\nb = input f32[2,300]\nh = linear_scan(a, b) {axis=1}\noutput h\n",
};

static void write_inputs(const char *what, uint64_t seed, tuff_program *const *programs, uint32_t n)
{
    const tf_plan *plan = programs[0]->plan;
    for (uint32_t i = 0; i < plan->ports.n; i++) {
        const tf_plan_port *port = &plan->ports.data[i];
        size_t bytes;
        tuff_dtype dtype;
        if (port->kind != TF_PORT_INPUT) continue;
        cr_assert(!tuff_describe(programs[0], port->name, &bytes, &dtype, NULL));
        void *data = malloc(bytes + 1);
        cr_assert(data, "out of memory");
        rng r = { tf_hash_string(seed, port->name) };
        rng_fill(&r, dtype, data, bytes * 8 / tf_dtype_bits(dtype));
        for (uint32_t p = 0; p < n; p++) cr_expect(!tuff_write(programs[p], port->name, data, bytes), "%s: %s", what, tuff_program_error(programs[p]));
        free(data);
    }
}

/* exact: equal bits; otherwise close, as kernels of two classes are. */
static void compare(const char *what, const char *name, tuff_program *a, tuff_program *b, bool exact)
{
    size_t bytes;
    tuff_dtype dtype;
    cr_assert(!tuff_describe(a, name, &bytes, &dtype, NULL));
    unsigned char *x = malloc(bytes + 1), *y = malloc(bytes + 1);
    cr_assert(x && y, "out of memory");
    cr_expect(!tuff_read(a, name, x, bytes) && !tuff_read(b, name, y, bytes), "%s, %s: %s%s", what, name, tuff_program_error(a), tuff_program_error(b));
    double error = 0.0, norm = 0.0;
    for (size_t i = 0; !exact && i < bytes * 8 / tf_dtype_bits(dtype); i++) {
        double im, v = tf_load_element(dtype, x, i, &im), w = tf_load_element(dtype, y, i, &im);
        error += (v - w) * (v - w);
        norm += v * v;
    }
    cr_expect(exact ? !memcmp(x, y, bytes) : error <= 1e-6 * norm, "%s, %s: the results differ by %g of %g", what, name, sqrt(error), sqrt(norm));
    free(x);
    free(y);
}

static void run_both(const char *what, tuff_program *compiled, tuff_program *loaded, bool exact)
{
    tuff_program *const both[] = { compiled, loaded };
    const tf_plan *plan = compiled->plan;
    for (uint32_t k = 0; k < RUNS; k++) {
        for (uint32_t i = 0; plan->dim_params.n && i < 2; i++)
            cr_expect(!tuff_set_dim(both[i], plan->dim_params.data[0].name, 70 - k), "%s: %s", what, tuff_program_error(both[i]));
        write_inputs(what, k + 1, both, 2);
        for (uint32_t i = 0; i < 2; i++) cr_expect(!tuff_run(both[i]), "%s: %s", what, tuff_program_error(both[i]));
    }
    for (uint32_t i = 0; i < plan->ports.n; i++)
        if (plan->ports.data[i].kind == TF_PORT_OUTPUT || plan->ports.data[i].kind == TF_PORT_STATE) compare(what, plan->ports.data[i].name, compiled, loaded, exact);
}

static void *read_file(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    cr_assert(f, "%s", path);
    fseek(f, 0, SEEK_END);
    *size = (size_t)ftell(f);
    rewind(f);
    unsigned char *data = malloc(*size + 1);
    cr_assert(data && fread(data + 1, 1, *size, f) == *size, "%s", path); /* at an odd address, where files in memory may lie */
    fclose(f);
    return data;
}

typedef struct devices { tuff_device *own, *other; } devices; /* of the class that capsules are packed for, and one that only the portable variant suits */

static void one_graph(const devices *d, const char *what, tuff_graph *g, const char *path)
{
    char message[512] = "unset";
    tuff_program *compiled = NULL, *loaded = NULL, *portable = NULL;
    size_t size;
    cr_assert(!tuff_pack(d->own, g, NULL, path), "%s: %s", what, tuff_graph_error(g));
    unsigned char *file = read_file(path, &size);
    const uint32_t misses = atomic_load(&d->own->spirv_misses) + atomic_load(&d->other->spirv_misses);
    cr_assert(!tuff_program_load(d->own, file + 1, size, NULL, &loaded, message, sizeof message), "%s: %s", what, message);
    cr_expect(message[0] == 0, "%s: no message without an error", what);
    cr_assert(!tuff_program_load(d->other, file + 1, size, NULL, &portable, message, sizeof message), "%s: %s", what, message);
    cr_expect(misses == atomic_load(&d->own->spirv_misses) + atomic_load(&d->other->spirv_misses), "%s: loading compiled something", what);
    cr_assert(!tuff_compile(d->own, g, NULL, &compiled), "%s: %s", what, tuff_graph_error(g));
    run_both(what, compiled, loaded, true);
    tuff_program_destroy(loaded);
    tuff_program_destroy(compiled);
    cr_assert(!tuff_compile(d->own, g, NULL, &compiled), "%s: %s", what, tuff_graph_error(g));
    run_both(what, compiled, portable, false);
    tuff_program_destroy(portable);
    tuff_program_destroy(compiled);
    free(file);
}

Test(capsule, results_are_those_of_the_compiled_program)
{
    char message[512], path[64];
    snprintf(path, sizeof path, "results-%.20s.capsule", driver_name()); /* tests of several drivers run at once */
    /* The other device differs in class and in what its offsets must be multiples of; neither finds anything on disk. */
    const devices d = { open_device(&(tuff_device_desc){ .cache_dir = "", .toggles = "+cpu" }),
                        open_device(&(tuff_device_desc){ .cache_dir = "", .toggles = "-cpu", .limits = "align=256,invocations=128" }) };
    for (size_t i = 0; i < COUNT(texts); i++) {
        tuff_graph *g = NULL;
        cr_assert(!tuff_graph_parse(texts[i], strlen(texts[i]), NULL, &g, message, sizeof message), "graph %zu: %s", i, message);
        snprintf(message, sizeof message, "graph %zu", i);
        one_graph(&d, message, g, path);
        tuff_graph_destroy(g);
    }
    for (uint64_t seed = 1; seed <= RANDOM; seed++) {
        tuff_graph *g = random_graph(seed, NODES, false, message, sizeof message);
        cr_assert(g, "seed %llu: %s", (unsigned long long)seed, message);
        snprintf(message, sizeof message, "seed %llu", (unsigned long long)seed);
        one_graph(&d, message, g, path);
        tuff_graph_destroy(g);
    }
    remove(path);
    tuff_device_close(d.own);
    tuff_device_close(d.other);
}

Test(capsule, what_does_not_fit_is_refused)
{
    static const char text[] = "x = input f16[100]\nw = const f32[3] = [1, 2, 3]\ny = sum(x) {axes=[0]}\nz = mul(w, cast(y) {dtype=f32})\noutput z\n";
    char message[512] = "unset", path[64];
    snprintf(path, sizeof path, "refused-%.20s.capsule", driver_name());
    tuff_device *dev = open_device(NULL);
    tuff_graph *g = NULL;
    tuff_program *p = NULL;
    size_t size;
    cr_assert(!tuff_graph_parse(text, strlen(text), NULL, &g, message, sizeof message), "%s", message);
    cr_expect(tuff_pack(NULL, g, NULL, path) == TUFF_E_ARGUMENT && tuff_pack(dev, NULL, NULL, path) == TUFF_E_ARGUMENT);
    cr_expect(tuff_pack(dev, g, NULL, NULL) == TUFF_E_ARGUMENT && strstr(tuff_graph_error(g), "path"), "%s", tuff_graph_error(g));
    cr_expect(tuff_pack(dev, g, NULL, "no/such/folder/x") == TUFF_E_IO && strstr(tuff_graph_error(g), "no/such/folder/x"), "%s", tuff_graph_error(g));
    cr_assert(!tuff_pack(dev, g, NULL, path), "%s", tuff_graph_error(g));
    unsigned char *file = read_file(path, &size);
    remove(path);
    cr_expect(tuff_program_load(dev, file + 1, size - 1, NULL, &p, message, sizeof message) == TUFF_E_PARSE && !p && strstr(message, "ends early"), "%s", message);
    cr_expect(tuff_program_load(dev, text, sizeof text, NULL, &p, message, sizeof message) == TUFF_E_PARSE && strstr(message, "no capsule"), "%s", message);
    cr_expect(tuff_program_load(dev, file + 1, size, NULL, NULL, message, sizeof message) == TUFF_E_ARGUMENT && strstr(message, "place"), "%s", message);
    cr_expect(tuff_program_load(NULL, file + 1, size, NULL, &p, NULL, 0) == TUFF_E_ARGUMENT && !p);
    cr_expect(tuff_program_load(dev, file + 1, size, &(tuff_compile_desc){ .slots = 1000 }, &p, message, sizeof message) == TUFF_E_LIMIT && strstr(message, "slots"), "%s", message);

    /* What only a device like this one can run, on devices that lack it. */
    tf_limits limits = dev->caps.limits;
    tf_plan *plan = NULL, *back = NULL;
    tf_str one, why;
    tf_str_init(&one, NULL);
    tf_str_init(&why, NULL);
    cr_assert(!tf_capsule_read(file + 1, 0, &limits, NULL, &plan, &why), "%s", why.data);
    cr_assert(tf_capsule_write((const tf_plan *const[]){ plan }, 1, &one));
    cr_expect(!tf_capsule_choose(one.data, one.n, &limits, NULL, &back, &why), "%s", why.data);
    tf_plan_destroy(back);
    const bool halves = limits.storage16;
    limits.storage16 = false;
    cr_expect(!halves || (tf_capsule_choose(one.data, one.n, &limits, NULL, &back, &why) == TUFF_E_UNSUPPORTED && strstr(why.data, "16-bit storage buffers")), "%s", why.data);
    limits.storage16 = halves;
    limits.storage_align = 256;
    why.n = 0;
    cr_expect(dev->caps.limits.storage_align == 256 || (tf_capsule_choose(one.data, one.n, &limits, NULL, &back, &why) == TUFF_E_UNSUPPORTED && strstr(why.data, "aligned")), "%s", why.data);
    limits.storage_align = dev->caps.limits.storage_align;
    limits.max_invocations = 1;
    why.n = 0;
    cr_expect(tf_capsule_choose(one.data, one.n, &limits, NULL, &back, &why) == TUFF_E_UNSUPPORTED && strstr(why.data, "invocations"), "%s", why.data);
    tf_str_release(&why);
    tf_str_release(&one);
    tf_plan_destroy(plan);
    free(file);
    tuff_graph_destroy(g);
    tuff_device_close(dev);
}
