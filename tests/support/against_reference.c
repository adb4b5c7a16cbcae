/* against_reference.c - runs a graph on the device and in the interpreter on the same inputs and compares what
 * comes out. */
#include "support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/compare.h"
#include "graph/interp.h"

tolerance value_tolerance(const tuff_graph *g, uint32_t value)
{
    tf_bound b;
    cr_assert(tf_value_bound(g, value, NULL, &b), "out of memory");
    return (tolerance){ .ulp = b.ulp, .rel = b.rel, .abs = b.abs };
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
        const uint64_t n = (uint64_t)bytes * 8 / tf_dtype_bits(dtype);
        tolerance t = r->options->tolerance;
        if (t.ulp == 0.0 && t.rel == 0.0 && t.abs == 0.0) t = value_tolerance(r->g, port->kind == TF_PORT_STATE && port->assigned ? port->assigned : port->value);
        const tf_difference d = tf_compare(dtype, got, want, n, (tf_bound){ .ulp = t.ulp, .rel = t.rel, .abs = t.abs });
        good = d.pass;
        cr_expect(good, "%s, %s after run %u: %llu of %llu elements are wrong; [%llu]: got %.9g, want %.9g; %.3g ulp, relative L2 %.3g; allowed %.3g ulp, %.3g relative, %.3g absolute",
                  r->what, port->name, round + 1, (unsigned long long)d.wrong, (unsigned long long)n, (unsigned long long)d.first, d.got, d.want, d.ulp,
                  d.rel_l2, t.ulp, t.rel, t.abs);
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
