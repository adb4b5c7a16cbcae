/* test_ops_gpu.c - every op on the device against the reference: pointwise rows over each dtype of their classes, other
 * rows over the table of op_cases.h; with fusion off, under artificial limits, and with tiers switched off as well. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/op.h"
#include "op_cases.h"
#include "support/support.h"

typedef struct op_case { const char *op, *types, *tail; char fill; } op_case;
#define X(op, types, tail, fill) { op, types, tail, fill },
static const op_case op_cases[] = { OP_CASES(X) };
#undef X

/* ---- inputs --------------------------------------------------------------------------------------- */

typedef struct filling { char kind; rng numbers; } filling;

static void fill(void *user, const char *name, tuff_dtype dtype, void *data, size_t n)
{
    filling *f = user;
    for (size_t i = 0; f->kind == 'q' && tf_dtype_is_int(dtype) && i < n; i++) tf_store_element(dtype, data, i, (double)((5 * i + 3) % 24), 0.0);
    if (f->kind == 'q' && tf_dtype_is_int(dtype)) return;
    if (f->kind == 'm' && !strcmp(name, "c")) {
        for (size_t i = 0; i < n; i++) tf_store_element(dtype, data, i, -0.2 - 2.0 * rng_uniform(&f->numbers), 6.0 * rng_uniform(&f->numbers));
        return;
    }
    if (!tf_dtype_is_float(dtype) || f->kind == 'm' || f->kind == 'n' || f->kind == 'q') {
        rng_fill(&f->numbers, dtype, data, n);
        return;
    }
    for (size_t i = 0; i < n; i++)
        tf_store_element(dtype, data, i, f->kind == 'u' ? 2.0 * rng_uniform(&f->numbers) - 1.0 : 0.5 + rng_uniform(&f->numbers), 0.0);
}

/* ---- the table ------------------------------------------------------------------------------------ */

/* "a = input f32[..] ... y0, y1 = op(a, b) {...} output y0 ..." */
static tuff_graph *parse_case(const op_case *c)
{
    const tf_op *op = tf_op_find(c->op);
    cr_assert(op, "no op is named %s", c->op);
    char text[2048], results[64] = "", outputs[128] = "", types[256];
    size_t n = 0;
    snprintf(types, sizeof types, "%s", c->types);
    char name = 'a';
    for (char *type = strtok(types, " "); type; type = strtok(NULL, " "))
        n += (size_t)snprintf(text + n, sizeof text - n, "%c = input %s\n", name++, type);
    int count = op->results ? 1 : !strcmp(c->op, "split") ? 3 : 1;
    for (const char *s = op->results; s && *s; s++) count += *s == ' ';
    for (const char *s = c->tail; !strcmp(c->op, "scan") && *s; s++) count += *s == ';'; /* one per field, as many as statements */
    if (!strcmp(c->op, "attention")) count = 1; /* lse is -inf or large where rows are masked: test_attention looks at it */
    for (int i = 0; i < count; i++) {
        snprintf(results + strlen(results), sizeof results - strlen(results), i ? ", y%d" : "y%d", i);
        snprintf(outputs + strlen(outputs), sizeof outputs - strlen(outputs), "output y%d\n", i);
    }
    snprintf(text + n, sizeof text - n, "%s = %s%s\n%s", results, c->op, c->tail, outputs);
    tuff_graph *g = NULL;
    char message[512];
    const tuff_status status = tuff_graph_parse(text, strlen(text), NULL, &g, message, sizeof message);
    cr_expect(!status, "%s: %s\n%s", c->op, message, text);
    return g;
}

static uint32_t run_table(tuff_device *dev, const tuff_compile_desc *compile, uint32_t step)
{
    uint32_t good = 0, total = 0;
    for (size_t i = 0; i < COUNT(op_cases); i += step) {
        const op_case *c = &op_cases[i];
        tuff_graph *g = parse_case(c);
        if (!g) continue;
        char what[256];
        snprintf(what, sizeof what, "%s %s%s", c->types, c->op, c->tail);
        filling f = { c->fill, { i + 1 } };
        total++;
        good += expect_graph(what, dev, g, &(graph_options){ .seed = i + 1, .fill = fill, .user = &f, .compile = *compile });
        tuff_graph_destroy(g);
    }
    cr_log_info("%u of %u cases are right", good, total);
    return good;
}

Test(ops_gpu, table)
{
    tuff_device *dev = open_device(NULL);
    cr_expect(run_table(dev, &(tuff_compile_desc){ 0 }, 1) > 0);
    tuff_device_close(dev);
}

/* The floor: what the specification promises, and no optional tier. */
Test(ops_gpu, table_at_the_floor)
{
    tuff_device *dev = open_device(&(tuff_device_desc){ .limits = "shared=16K,invocations=128,bindings=4", .toggles = "-subgroup,-fp16,-storage16,-storage8,-texels" });
    cr_expect(run_table(dev, &(tuff_compile_desc){ .no_fusion = true }, 1) > 0);
    tuff_device_close(dev);
}

/* ---- pointwise rows -------------------------------------------------------------------------------- */

static const tuff_dtype dtypes[] = { TUFF_F32, TUFF_F16, TUFF_BF16, TUFF_I32, TUFF_U32, TUFF_I8, TUFF_BOOL, TUFF_C64 };

static bool accepts(const tf_op *op, tuff_dtype t)
{
    const unsigned cls = tf_dtype_is_float(t) ? TF_CLS_FLOAT : tf_dtype_is_int(t) ? TF_CLS_INT : t == TUFF_BOOL ? TF_CLS_BOOL : TF_CLS_COMPLEX;
    return op->kind == TF_POINTWISE && !op->internal && (op->classes & cls);
}

static bool needs_attributes(const tf_op *op)
{
    for (uint32_t i = 0; i < op->attr_count; i++)
        if (op->attrs[i].required || op->attrs[i].type == TF_ATTR_TENSOR || op->attrs[i].type == TF_ATTR_NAMED) return true;
    return false;
}

/* Several rows in one graph: the outputs carry the rows' names. where() takes its condition first. */
static uint32_t add_rows(tuff_graph *g, tuff_dtype t, uint32_t first, uint32_t count, uint32_t *next)
{
    const tuff_tensor a = tuff_input(g, "a", t, TUFF_SHAPE(3, 43)), b = tuff_input(g, "b", t, TUFF_SHAPE(1, 43));
    const tuff_tensor c = tuff_input(g, "c", t, TUFF_SHAPE(3, 1));
    uint32_t added = 0, i = first;
    for (; tuff_ops[i] && added < count; i++) {
        const tf_op *op = tuff_ops[i];
        if (!accepts(op, t) || needs_attributes(op)) continue;
        tuff_tensor args[3] = { a, b, c };
        if (!strcmp(op->name, "where")) args[0] = tuff_input(g, "condition", TUFF_BOOL, TUFF_SHAPE(3, 43)), args[1] = a, args[2] = b;
        tuff_output(g, op->name, tf_add(g, op, args, op->arity, NULL));
        added++;
    }
    *next = i;
    return added;
}

static void run_pointwise(tuff_device *dev)
{
    for (size_t d = 0; d < COUNT(dtypes); d++)
        for (uint32_t next = 0; tuff_ops[next];) {
            tuff_graph *g = tuff_graph_create(NULL);
            const uint32_t first = next;
            if (add_rows(g, dtypes[d], first, 8, &next)) {
                char what[64];
                snprintf(what, sizeof what, "pointwise %s", tuff_dtype_name(dtypes[d]));
                cr_expect(!tuff_graph_status(g), "%s: %s", what, tuff_graph_error(g));
                if (!tuff_graph_status(g)) expect_graph(what, dev, g, &(graph_options){ .seed = 17 + next });
            }
            tuff_graph_destroy(g);
        }
}

Test(ops_gpu, pointwise)
{
    tuff_device *dev = open_device(NULL);
    run_pointwise(dev);
    tuff_device_close(dev);
}

Test(ops_gpu, pointwise_at_the_floor)
{
    tuff_device *dev = open_device(&(tuff_device_desc){ .limits = "bindings=4", .toggles = "-subgroup,-fp16,-storage16,-storage8,-texels" });
    run_pointwise(dev);
    tuff_device_close(dev);
}

/* ---- custom ----------------------------------------------------------------------------------------- */

/* A user's kernel between two pointwise ops: row sums, one row per invocation. */
Test(ops_gpu, custom)
{
    enum { ROWS = 70, COLUMNS = 9 };
    static const char glsl[] =
        "void main() {\n"
        "    const uint row = GROUP * WG + LID;\n"
        "    if (row >= uint(y_dim0)) return;\n"
        "    float sum = 0.0;\n"
        "    for (uint i = 0u; i < uint(x_dim1); i++) sum += x_at(row, i);\n"
        "    y_put(row, sum);\n"
        "}\n";
    tuff_device *dev = open_device(NULL);
    tuff_graph *g = tuff_graph_create(NULL);
    const tuff_tensor x = tuff_input(g, "x", TUFF_F32, TUFF_SHAPE(ROWS, COLUMNS));
    const tuff_named inputs[] = { { "x", tuff_mul(x, tuff_literal(g, 2.0, TUFF_F32)) } };
    const tuff_tensor y = tuff_custom(g, &(tuff_custom_desc){ .glsl = glsl, .shape = TUFF_SHAPE(ROWS), .inputs = inputs, .input_count = 1 });
    tuff_output(g, "y", tuff_neg(y));
    tuff_program *p = NULL;
    cr_assert(!tuff_compile(dev, g, NULL, &p), "%s", tuff_graph_error(g));
    float in[ROWS * COLUMNS], out[ROWS], want[ROWS] = { 0 };
    for (int i = 0; i < ROWS * COLUMNS; i++) in[i] = (float)(i % 13), want[i / COLUMNS] -= 2.0f * in[i];
    cr_assert(!tuff_write(p, "x", in, sizeof in) && !tuff_run(p) && !tuff_read(p, "y", out, sizeof out), "%s", tuff_program_error(p));
    expect_floats("custom", out, want, ROWS, (tolerance){ 0 });
    tuff_program_destroy(p);
    tuff_graph_destroy(g);

    /* A mistake in the text comes back with the compiler's words; the device lives on. */
    g = tuff_graph_create(NULL);
    tuff_output(g, "y", tuff_custom(g, &(tuff_custom_desc){ .glsl = "void main() { y_put(0, undeclared_thing); }", .shape = TUFF_SHAPE(1) }));
    p = NULL;
    const tuff_status status = tuff_compile(dev, g, NULL, &p);
    cr_expect(status == TUFF_E_COMPILER && !p, "status %s", tuff_status_text(status));
    cr_expect(strstr(tuff_graph_error(g), "undeclared_thing"), "%s", tuff_graph_error(g));
    tuff_graph_destroy(g);
    tuff_device_close(dev);
}
