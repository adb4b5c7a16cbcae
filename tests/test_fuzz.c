/* test_fuzz.c - random graphs on the device, fused and unfused, against the reference.
 *
 * The allowed error comes from the graph itself: the reference of its noisy twin, where every intermediate result is
 * off by up to 2^-20, shows how errors grow; the device, whose operations are right to a few 2^-24, must stay
 * within 4 times that. TUFF_FUZZ=n runs n graphs, TUFF_FUZZ_SEED=s starts at seed s; a failure prints both the
 * seed and the graph. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/interp.h"
#include "random_graph.h"

enum { ROUNDS = 2 };

/* The same values for the same input of a graph and its twin: they depend on seed, name and round only. */
static void fill(uint64_t seed, uint32_t round, const char *name, float *data, size_t n)
{
    rng r = { tf_hash_string(seed * 31u + round, name) };
    for (size_t i = 0; i < n; i++)
        data[i] = name[0] == 'n' ? (float)(1.0 + ldexp(2.0 * rng_uniform(&r) - 1.0, -20))
                : name[0] == 'w' ? (float)rng_below(&r, 8) : (float)rng_normal(&r);
}

static void write_inputs(uint64_t seed, uint32_t round, const tuff_graph *g, tf_interp *reference, tuff_program *const *programs, uint32_t n)
{
    for (uint32_t i = 0; i < g->ports.n; i++) {
        const tf_port *port = &g->ports.data[i];
        size_t bytes = 0;
        if (port->kind != TF_PORT_INPUT) continue;
        cr_assert(!tf_interp_describe(reference, port->name, &bytes, NULL, NULL), "seed %llu: %s", (unsigned long long)seed, port->name);
        float *data = malloc(bytes + 1);
        cr_assert(data, "out of memory");
        fill(seed, round, port->name, data, bytes / sizeof *data);
        cr_expect(!tf_interp_write(reference, port->name, data, bytes), "seed %llu: %s", (unsigned long long)seed, tf_interp_error(reference));
        for (uint32_t p = 0; p < n; p++)
            cr_expect(!tuff_write(programs[p], port->name, data, bytes), "seed %llu: %s", (unsigned long long)seed, tuff_program_error(programs[p]));
        free(data);
    }
}

/* Distances in L2; integers held in f32 ("y2" and states) must be equal. */
static bool compare(uint64_t seed, const char *what, const char *name, tf_interp *reference, tf_interp *twin, tuff_program *p)
{
    const tf_ref_tensor *want = tf_interp_get(reference, name), *shaken = NULL;
    const bool exact = name[0] == 's' || !strcmp(name, "y2");
    if (!exact) shaken = tf_interp_get(twin, name);
    float *got = malloc(want->n * sizeof *got + 1);
    cr_assert(got, "out of memory");
    const tuff_status status = tuff_read(p, name, got, want->n * sizeof *got);
    cr_expect(!status, "seed %llu, %s: read %s: %s", (unsigned long long)seed, what, name, tuff_program_error(p));
    double error = 0.0, allowed = 0.0, norm = 0.0;
    size_t worst = 0;
    for (size_t i = 0; i < want->n; i++) {
        const double e = fabs((double)got[i] - want->re[i]);
        if (!(e <= fabs((double)got[worst] - want->re[worst]))) worst = i; /* a NaN is the worst */
        error += e * e;
        norm += want->re[i] * want->re[i];
        allowed += shaken ? (shaken->re[i] - want->re[i]) * (shaken->re[i] - want->re[i]) : 0.0;
    }
    const double bound = 4.0 * sqrt(allowed) + ldexp(sqrt(norm), -21);
    const bool good = !status && (exact ? error == 0.0 : sqrt(error) <= bound);
    cr_expect(good, "seed %llu, %s, %s: error %.3g, allowed %.3g; worst at [%zu]: got %.9g, want %.9g", (unsigned long long)seed, what, name,
              sqrt(error), exact ? 0.0 : bound, worst, want->n ? (double)got[worst] : 0.0, want->n ? want->re[worst] : 0.0);
    free(got);
    return good;
}

static void print_graph(const tuff_graph *g)
{
    static char text[1 << 16];
    tuff_graph_print(g, text, sizeof text);
    fprintf(stderr, "%s\n", text);
}

static bool one_graph(tuff_device *dev, uint64_t seed, uint32_t nodes)
{
    static const tuff_compile_desc ways[] = { { .no_fusion = false }, { .no_fusion = true } };
    static const char *const names[] = { "fused", "unfused" };
    char message[512] = "out of memory";
    tuff_graph *g = random_graph(seed, nodes, false, message, sizeof message);
    cr_expect(g, "seed %llu: %s", (unsigned long long)seed, message);
    tuff_graph *twin_graph = random_graph(seed, nodes, true, message, sizeof message);
    cr_expect(twin_graph, "seed %llu: twin: %s", (unsigned long long)seed, message);
    if (!g || !twin_graph) return tuff_graph_destroy(g), tuff_graph_destroy(twin_graph), false;

    tf_interp *reference = tf_interp_create(g, NULL), *twin = tf_interp_create(twin_graph, NULL);
    cr_assert(reference && twin, "out of memory");
    tuff_program *programs[COUNT(ways)] = { NULL };
    bool good = true;
    for (size_t w = 0; good && w < COUNT(ways); w++) {
        good = !tuff_compile(dev, g, &ways[w], &programs[w]);
        cr_expect(good, "seed %llu, %s: %s", (unsigned long long)seed, names[w], tuff_graph_error(g));
    }
    for (uint32_t round = 0; good && round < ROUNDS; round++) {
        write_inputs(seed, round, g, reference, programs, COUNT(ways));
        write_inputs(seed, round, twin_graph, twin, NULL, 0);
        good = !tf_interp_run(reference) && !tf_interp_run(twin);
        cr_expect(good, "seed %llu: %s%s", (unsigned long long)seed, tf_interp_error(reference), tf_interp_error(twin));
        for (size_t w = 0; good && w < COUNT(ways); w++) {
            good = !tuff_run(programs[w]);
            cr_expect(good, "seed %llu, %s: %s", (unsigned long long)seed, names[w], tuff_program_error(programs[w]));
            for (uint32_t i = 0; good && i < g->ports.n; i++) {
                const tf_port *port = &g->ports.data[i];
                if (port->kind == TF_PORT_OUTPUT || port->kind == TF_PORT_STATE)
                    good = compare(seed, names[w], port->name, reference, twin, programs[w]);
            }
        }
    }
    if (!good) print_graph(g);
    for (size_t w = 0; w < COUNT(ways); w++) tuff_program_destroy(programs[w]);
    tf_interp_destroy(reference);
    tf_interp_destroy(twin);
    tuff_graph_destroy(g);
    tuff_graph_destroy(twin_graph);
    return good;
}

static uint64_t number_from(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text && *text ? strtoull(text, NULL, 0) : otherwise;
}

static void fuzz(const tuff_device_desc *desc, uint64_t salt)
{
    tuff_device *dev = open_device(desc);
    const uint64_t graphs = number_from("TUFF_FUZZ", 25), first = number_from("TUFF_FUZZ_SEED", 1 + salt);
    uint64_t failures = 0;
    for (uint64_t i = 0; i < graphs && failures < 3; i++) failures += !one_graph(dev, first + i, 4 + (uint32_t)((first + i) * 7 % 28));
    tuff_device_close(dev);
}

Test(fuzz, device_equals_reference) { fuzz(NULL, 0); }

Test(fuzz, device_equals_reference_at_the_floor)
{
    fuzz(&(tuff_device_desc){ .limits = "shared=16K,invocations=128,bindings=4,range=1M", .toggles = "-subgroup,-fp16,-storage16,-storage8" }, 100000);
}
