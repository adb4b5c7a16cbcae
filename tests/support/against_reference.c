/* against_reference.c - runs a graph on the device and in the interpreter on the same inputs and compares what
 * comes out. */
#include "support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/interp.h"

/* Unit roundoff of a dtype's arithmetic; 0: exact. */
static double roundoff(tuff_dtype dtype)
{
    switch (dtype) {
    case TUFF_F32: case TUFF_C64: return ldexp(1.0, -24);
    case TUFF_F16: return ldexp(1.0, -11);
    case TUFF_BF16: return ldexp(1.0, -8);
    case TUFF_F64: return ldexp(1.0, -24); /* computed in f32 where the device lacks f64: rows say otherwise */
    case TUFF_F8E4M3: return ldexp(1.0, -4);
    case TUFF_F8E5M2: return ldexp(1.0, -3);
    default: return 0.0;
    }
}

static double elements(const tuff_graph *g, uint32_t value)
{
    uint64_t n = 0;
    return tf_count_bound(g, tf_type_of(g, value), &n) ? (double)n : 1.0;
}

/* What a row promises for one node, as a relative error: ULP for pointwise rows, c * eps * sqrt(length) for the others,
 * where length is how many elements of the largest operand go into one of the result. */
static double node_bound(const tuff_graph *g, const tf_node *node)
{
    double largest = 1.0;
    for (uint32_t i = 0; i < node->n_src; i++)
        if (node->src[i]) largest = fmax(largest, elements(g, node->src[i]));
    const double u = roundoff(tf_type_of(g, node->out)->dtype), f32 = roundoff(TUFF_F32);
    const double length = fmax(1.0, largest / fmax(1.0, elements(g, node->out)));
    return 2.0 * f32 * node->op->ulp + node->op->rel * 2.0 * f32 * sqrt(length) + (u > f32 ? 2.0 * u : 0.0);
}

/* The nodes that value depends on, marked in `seen`. */
static void mark(const tuff_graph *g, uint32_t value, bool *seen)
{
    const uint32_t at = tf_val(g, value)->node;
    if (seen[at]) return;
    seen[at] = true;
    const tf_node *node = &g->nodes.data[at];
    for (uint32_t i = 0; i < node->n_src; i++)
        if (node->src[i]) mark(g, node->src[i], seen);
}

tolerance value_tolerance(const tuff_graph *g, uint32_t value)
{
    const tf_node *only = NULL;
    uint32_t computing = 0;
    double total = 0.0;
    bool *seen = calloc(g->nodes.n, sizeof *seen);
    cr_assert(seen, "out of memory");
    mark(g, value, seen);
    for (uint32_t i = 0; i < g->nodes.n; i++) {
        const tf_node *node = &g->nodes.data[i];
        if (!seen[i] || node->op->kind == TF_SOURCE || node->op->kind == TF_EFFECT) continue;
        total += node_bound(g, node);
        only = node;
        computing++;
    }
    free(seen);
    if (computing == 0) return (tolerance){ 0 };
    /* With three operands or two parts a result can be small beside what it is the difference of: no ULP bound holds. */
    if (computing == 1 && only->op->kind == TF_POINTWISE && only->op->arity < 3 && tf_type_of(g, value)->dtype != TUFF_C64) {
        /* Half a unit more, since the reference is rounded too; a device may flush numbers below the smallest normal one. */
        const bool narrow = roundoff(tf_type_of(g, value)->dtype) > roundoff(TUFF_F32);
        return (tolerance){ .ulp = narrow ? 1.0 : only->op->ulp + (only->op->ulp > 0.0 ? 0.5 : 0.0), .abs = ldexp(1.0, -126) };
    }
    return (tolerance){ .rel = fmax(total, 4.0 * roundoff(TUFF_F32)) };
}

static void *bytes_of(size_t n)
{
    void *p = calloc(n + 1, 1);
    cr_assert(p, "out of memory");
    return p;
}

typedef struct run {
    const char *what;
    const tuff_graph *g;
    tuff_program *p;
    tf_interp *reference;
    const graph_options *options;
} run;

/* Element i of both buffers as numbers to compare. Complex: |want| and |want| + |got - want|, so that errors count in
 * units of the modulus. */
static void element(tuff_dtype dtype, const void *got, const void *want, size_t i, double *a, double *b)
{
    double got_im = 0.0, want_im = 0.0;
    *a = tf_load_element(dtype, got, i, &got_im);
    *b = tf_load_element(dtype, want, i, &want_im);
    if (dtype != TUFF_C64) return;
    const bool finite = isfinite(*b) && isfinite(want_im);
    const double distance = hypot(*a - *b, got_im - want_im);
    *b = finite ? hypot(*b, want_im) : NAN;
    *a = !finite && !(isfinite(*a) && isfinite(got_im)) ? NAN : finite ? *b + distance : 0.0;
}

static bool describe(const run *r, const char *name, size_t *bytes, tuff_dtype *dtype)
{
    const tuff_status status = tuff_describe(r->p, name, bytes, dtype, NULL);
    cr_expect(!status, "%s: describe %s: %s", r->what, name, tuff_program_error(r->p));
    return !status;
}

static bool write_inputs(const run *r, uint32_t round)
{
    for (uint32_t i = 0; i < r->g->ports.n; i++) {
        const tf_port *port = &r->g->ports.data[i];
        if (port->kind != TF_PORT_INPUT) continue;
        size_t bytes = 0;
        tuff_dtype dtype = TUFF_DTYPE_NONE;
        if (!describe(r, port->name, &bytes, &dtype)) return false;
        void *data = bytes_of(bytes);
        rng numbers = { r->options->seed * 1000003u + round * 7919u + i };
        const size_t n = bytes * 8 / tf_dtype_bits(dtype);
        if (r->options->fill)
            r->options->fill(r->options->user, port->name, dtype, data, n);
        else
            rng_fill(&numbers, dtype, data, n);
        const bool good = !tuff_write(r->p, port->name, data, bytes) && !tf_interp_write(r->reference, port->name, data, bytes);
        free(data);
        cr_expect(good, "%s: write %s: %s%s", r->what, port->name, tuff_program_error(r->p), tf_interp_error(r->reference));
        if (!good) return false;
    }
    return true;
}

static bool compare(const run *r, const tf_port *port, uint32_t round)
{
    size_t bytes = 0;
    tuff_dtype dtype = TUFF_DTYPE_NONE;
    if (!describe(r, port->name, &bytes, &dtype)) return false;
    void *got = bytes_of(bytes), *want = bytes_of(bytes);
    const tuff_status status = tuff_read(r->p, port->name, got, bytes);
    cr_expect(!status, "%s: read %s: %s", r->what, port->name, tuff_program_error(r->p));
    bool good = !status;
    if (good && (good = !tf_interp_read(r->reference, port->name, want, bytes))) {
        const size_t n = bytes * 8 / tf_dtype_bits(dtype);
        double *a = bytes_of(n * sizeof *a), *b = bytes_of(n * sizeof *b);
        for (size_t i = 0; i < n; i++) element(dtype, got, want, i, &a[i], &b[i]);
        char label[256];
        snprintf(label, sizeof label, round ? "%s, %s after run %u" : "%s, %s", r->what, port->name, round + 1);
        tolerance t = r->options->tolerance;
        if (t.ulp == 0.0 && t.rel == 0.0 && t.abs == 0.0) t = value_tolerance(r->g, port->kind == TF_PORT_STATE && port->assigned ? port->assigned : port->value);
        if (!(roundoff(dtype) > 0.0)) t = (tolerance){ 0 };
        good = expect_array(label, dtype, a, b, n, t);
        free(a);
        free(b);
    } else if (!status)
        cr_expect(0, "%s: the reference has no %s: %s", r->what, port->name, tf_interp_error(r->reference));
    free(got);
    free(want);
    return good;
}

static bool one_round(const run *r, uint32_t round)
{
    if (!write_inputs(r, round)) return false;
    const tuff_status device = tuff_run(r->p), reference = tf_interp_run(r->reference);
    cr_expect(!device, "%s: run: %s", r->what, tuff_program_error(r->p));
    cr_expect(!reference, "%s: reference: %s", r->what, tf_interp_error(r->reference));
    bool good = !device && !reference;
    for (uint32_t i = 0; good && i < r->g->ports.n; i++) {
        const tf_port *port = &r->g->ports.data[i];
        if (port->kind == TF_PORT_OUTPUT || port->kind == TF_PORT_STATE) good = compare(r, port, round);
    }
    return good;
}

bool expect_graph(const char *what, tuff_device *dev, tuff_graph *g, const graph_options *options)
{
    static const graph_options none;
    run r = { .what = what, .g = g, .options = options ? options : &none };
    const tuff_status status = tuff_compile(dev, g, &r.options->compile, &r.p);
    cr_expect(!status, "%s: compile: %s", what, tuff_graph_error(g));
    if (status) return false;
    r.reference = tf_interp_create(g, NULL);
    cr_assert(r.reference, "out of memory");
    bool good = true;
    const uint32_t rounds = r.options->runs ? r.options->runs : 1;
    for (uint32_t i = 0; good && i < rounds; i++) good = one_round(&r, i);
    tf_interp_destroy(r.reference);
    tuff_program_destroy(r.p);
    return good;
}
