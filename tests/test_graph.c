/* test_graph.c - building graphs: messages, dims, inference, states and names; the interpreter; .npy files. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "graph/interp.h"
#include "graph/npy.h"
#include "support/support.h"

/* ---- messages ---- */

static tuff_tensor f32(tuff_graph *g, const char *name, int64_t a, int64_t b)
{
    return tuff_input(g, name, TUFF_F32, TUFF_SHAPE(a, b));
}

static void differing_shapes(tuff_graph *g) { tuff_add(f32(g, "a", 2, 3), f32(g, "b", 2, 4)); }
static void differing_dtypes(tuff_graph *g) { tuff_mul(f32(g, "a", 2, 3), tuff_input(g, "i", TUFF_I32, TUFF_SHAPE(3))); }
static void wrong_class(tuff_graph *g) { tuff_exp(tuff_input(g, "i", TUFF_I32, TUFF_SHAPE(3))); }
static void storage_only(tuff_graph *g) { tuff_neg(tuff_input(g, "w", TUFF_U4, TUFF_SHAPE(4))); }
static void odd_nibbles(tuff_graph *g) { tuff_input(g, "w", TUFF_I4, TUFF_SHAPE(3)); }
static void name_taken(tuff_graph *g) { f32(g, "a", 1, 1), f32(g, "a", 1, 1); }
static void name_of_dim(tuff_graph *g) { tuff_dim_param(g, "n", 8), f32(g, "n", 1, 1); }
static void name_empty(tuff_graph *g) { f32(g, "", 1, 1); }
static void name_control(tuff_graph *g) { f32(g, "a\nb", 1, 1); }
static void rank_nine(tuff_graph *g)
{
    tuff_shape s = { .rank = 9 };
    tuff_input(g, "a", TUFF_F32, s);
}
static void negative_dim(tuff_graph *g) { f32(g, "a", -5, 1); }
static void minus_one(tuff_graph *g) { f32(g, "a", -1, 1); }
static void too_many(tuff_graph *g) { f32(g, "a", 65536, 65536); }
static void overflow(tuff_graph *g) { f32(g, "a", INT64_C(1) << 40, INT64_C(1) << 40); }
static void no_dtype(tuff_graph *g) { tuff_input(g, "a", TUFF_DTYPE_NONE, TUFF_SHAPE(1)); }
static void absent(tuff_graph *g) { tuff_add(f32(g, "a", 1, 1), (tuff_tensor){ 0 }); }
static void no_such_result(tuff_graph *g) { tuff_result(f32(g, "a", 1, 1), 1); }
static void second_assign(tuff_graph *g)
{
    const tuff_tensor s = tuff_state(g, "s", TUFF_F32, TUFF_SHAPE(2));
    tuff_assign(s, tuff_relu(s));
    tuff_assign(s, s);
}
static void assign_to_input(tuff_graph *g) { tuff_assign(f32(g, "a", 1, 1), f32(g, "b", 1, 1)); }
static void assign_shape(tuff_graph *g) { tuff_assign(tuff_state(g, "s", TUFF_F32, TUFF_SHAPE(2)), f32(g, "b", 1, 2)); }
static void bad_scalar(tuff_graph *g) { tuff_scalar(g, "t", TUFF_F16, 1); }
static void output_twice(tuff_graph *g)
{
    const tuff_tensor a = f32(g, "a", 1, 1);
    tuff_output(g, "y", a), tuff_output(g, "y", tuff_relu(a));
}
static void output_like_input(tuff_graph *g) { tuff_output(g, "a", tuff_relu(f32(g, "a", 1, 1))); }
static void output_absent(tuff_graph *g) { tuff_output(g, "y", (tuff_tensor){ 0 }); }
static void bad_axis(tuff_graph *g) { tuff_softmax(f32(g, "a", 2, 3), 2); }
static void bad_literal(tuff_graph *g) { tuff_add(tuff_input(g, "i", TUFF_U8, TUFF_SHAPE(2)), tuff_literal(g, 2.5, TUFF_DTYPE_NONE)); }
static void null_const(tuff_graph *g) { tuff_const(g, TUFF_F32, TUFF_SHAPE(4), NULL, NULL); }
static void dynamic_const(tuff_graph *g)
{
    static const float x[8];
    tuff_const(g, TUFF_F32, TUFF_SHAPE(tuff_dim_param(g, "n", 8)), x, NULL);
}
static void dims_differ(tuff_graph *g)
{
    const int64_t n = tuff_dim_param(g, "n", 8), m = tuff_dim_param(g, "m", 8);
    tuff_add(f32(g, "a", n, 4), f32(g, "b", m, 4));
}
static void dim_bound(tuff_graph *g) { tuff_dim_param(g, "n", 0); }
static void dim_by_zero(tuff_graph *g) { tuff_dim_op(g, TUFF_DIM_FLOORDIV, tuff_dim_param(g, "n", 4), 0); }
static void dim_operator(tuff_graph *g) { tuff_dim_op(g, (tuff_dim_operator)9, 2, 3); }
static void rename_input(tuff_graph *g) { tuff_name(f32(g, "a", 1, 1), "b"); }
static void first_wins(tuff_graph *g)
{
    const tuff_tensor a = tuff_exp(tuff_input(g, "i", TUFF_I32, TUFF_SHAPE(3)));
    tuff_output(g, "y", tuff_add(a, f32(g, "b", 1, 1)));
}

Test(graph, messages)
{
    static const struct { void (*build)(tuff_graph *g); tuff_status status; const char *text; } cases[] = {
        { differing_shapes, TUFF_E_SHAPE, "add: f32[2,3] and f32[2,4] do not broadcast: axis -1 has 3 and 4" },
        { differing_dtypes, TUFF_E_DTYPE, "mul: the operands' dtypes differ; cast one of them (a = input \"a\" f32[2,3]; b = input \"i\" i32[3])" },
        { wrong_class, TUFF_E_DTYPE, "exp: i32 is not among its dtypes: float c64 (x = input \"i\" i32[3])" },
        { storage_only, TUFF_E_DTYPE, "neg: u4 is for storage only; cast it first (x = input \"w\" u4[4])" },
        { odd_nibbles, TUFF_E_SHAPE, "input: i4[3] has two elements a byte, so its last dim is a fixed even number" },
        { name_taken, TUFF_E_NAME, "input: the name \"a\" is taken" },
        { name_of_dim, TUFF_E_NAME, "input: the name \"n\" is taken" },
        { name_empty, TUFF_E_NAME, "input: a name has 1 to 255 bytes and no control characters" },
        { name_control, TUFF_E_NAME, "input: a name has 1 to 255 bytes and no control characters" },
        { rank_nine, TUFF_E_LIMIT, "input: attribute shape has rank 9; ranks are 0 to 8" },
        { negative_dim, TUFF_E_SHAPE, "input: attribute shape has dim 0 = -5; dims are counts" },
        { minus_one, TUFF_E_SHAPE, "input: \"a\" has dim 0 = -1; dims are counts" },
        { too_many, TUFF_E_LIMIT, "input: f32[65536,65536] has 4294967296 elements; a tensor holds at most 2147483647" },
        { overflow, TUFF_E_OVERFLOW, "input: the element count of f32[1099511627776,1099511627776] overflows" },
        { no_dtype, TUFF_E_DTYPE, "input: \"a\" has no dtype" },
        { absent, TUFF_E_ARGUMENT, "add: operand b is absent" },
        { no_such_result, TUFF_E_ARGUMENT, "input has 1 result; there is no result 1" },
        { second_assign, TUFF_E_STATE, "assign: state \"s\" is assigned already; it takes one new value a run" },
        { assign_to_input, TUFF_E_ARGUMENT, "assign: s is no state (s = input \"a\" f32[1,1])" },
        { assign_shape, TUFF_E_SHAPE, "assign: the types differ (s = state \"s\" f32[2]; x = input \"b\" f32[1,2])" },
        { bad_scalar, TUFF_E_DTYPE, "scalar: \"t\" is f16; a scalar is f32, i32 or u32" },
        { output_twice, TUFF_E_NAME, "output: the name \"y\" is taken by an output" },
        { output_like_input, TUFF_E_NAME, "output: the name \"a\" is taken by an input" },
        { output_absent, TUFF_E_ARGUMENT, "output \"y\": the tensor is absent" },
        { bad_axis, TUFF_E_ATTRIBUTE, "softmax: axis is 2; for rank 2 it is from -2 to 1" },
        { bad_literal, TUFF_E_DTYPE, "add: 2.5 is not a value of u8, the dtype of the other operand" },
        { null_const, TUFF_E_ARGUMENT, "const: the data of f32[4] is NULL" },
        { dynamic_const, TUFF_E_SHAPE, "const: dim 0 is dynamic; a constant's dims are fixed" },
        { dims_differ, TUFF_E_SHAPE, "add: f32[n,4] and f32[m,4] do not broadcast: axis -2 has n and m" },
        { dim_bound, TUFF_E_ARGUMENT, "dim \"n\": the bound is 0; it is from 1 to 2147483647" },
        { dim_by_zero, TUFF_E_ARGUMENT, "a dim is divided by 0" },
        { dim_operator, TUFF_E_ARGUMENT, "9 is not a dim operator" },
        { rename_input, TUFF_E_NAME, "\"b\" names input \"a\" f32[1,1], which has its name for good" },
        { first_wins, TUFF_E_DTYPE, "exp: i32 is not among its dtypes: float c64 (x = input \"i\" i32[3])" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        tuff_graph *g = tuff_graph_create(NULL);
        cases[i].build(g);
        cr_expect_str_eq(tuff_graph_error(g), cases[i].text);
        cr_expect_eq(tuff_graph_status(g), cases[i].status, "case %zu: status %d", i, (int)tuff_graph_status(g));
        cr_expect_null(tf_graph_check(g));
        /* The error sticks and later calls stay silent. */
        cr_expect_eq(f32(g, "later", 1, 1).id, 0u);
        cr_expect_str_eq(tuff_graph_error(g), cases[i].text);
        tuff_graph_destroy(g);
    }
}

Test(graph, another_graphs_tensor)
{
    tuff_graph *g = tuff_graph_create(NULL), *h = tuff_graph_create(NULL);
    tuff_add(f32(g, "a", 1, 1), f32(h, "b", 1, 1));
    cr_expect_str_eq(tuff_graph_error(g), "add: operand b belongs to another graph");
    cr_expect_eq(tuff_graph_status(h), TUFF_OK);
    tuff_graph_destroy(g);
    tuff_graph_destroy(h);
    tuff_graph_destroy(NULL);
}

/* ---- dims ---- */

Test(graph, dims_fold)
{
    tuff_graph *g = tuff_graph_create(NULL);
    const int64_t n = tuff_dim_param(g, "n", 100), m = tuff_dim_param(g, "m", 7);
#define ADD(a, b) tuff_dim_op(g, TUFF_DIM_ADD, a, b)
#define SUB(a, b) tuff_dim_op(g, TUFF_DIM_SUB, a, b)
#define MUL(a, b) tuff_dim_op(g, TUFF_DIM_MUL, a, b)
#define DIV(a, b) tuff_dim_op(g, TUFF_DIM_FLOORDIV, a, b)
#define MAX(a, b) tuff_dim_op(g, TUFF_DIM_MAX, a, b)
    const struct { int64_t dim; const char *text; int64_t bound, least; } cases[] = {
        { ADD(2, 3), "5", 5, 5 },
        { DIV(-7, 2), "-4", -4, -4 },
        { ADD(n, 0), "n", 100, 0 },
        { MUL(n, 0), "0", 0, 0 },
        { SUB(n, n), "0", 0, 0 },
        { SUB(ADD(n, 5), n), "5", 5, 5 },
        { ADD(SUB(n, 3), 1), "n-2", 98, -2 },
        { ADD(n, n), "n*2", 200, 0 },
        { MUL(MUL(n, 4), 8), "n*32", 3200, 0 },
        { MUL(4, n), "n*4", 400, 0 },
        { DIV(MUL(n, 8), 4), "n*2", 200, 0 },
        { DIV(ADD(MUL(n, 8), 12), 4), "n*2+3", 203, 3 },
        { DIV(n, 4), "n/4", 25, 0 },
        { DIV(ADD(n, 3), 4), "(n+3)/4", 25, 0 },
        { MAX(n, 200), "200", 200, 200 },
        { MAX(n, -1), "n", 100, 0 },
        { MAX(SUB(n, 3), 0), "max(n-3, 0)", 97, 0 },
        { MUL(ADD(n, 1), ADD(m, 1)), "(m+1)*(n+1)", 808, 1 },
        { SUB(MUL(n, 2), m), "n*2-m", 200, -7 },
        { SUB(n, SUB(n, m)), "n-(n-m)", 107, -100 }, /* ranges take operands as independent */
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *text = tf_dim_text(g, cases[i].dim);
        /* Operands of commuting operators are kept in one order, whichever it is. */
        const bool either = !strcmp(cases[i].text, "(m+1)*(n+1)") && !strcmp(text, "(n+1)*(m+1)");
        cr_expect(either || !strcmp(text, cases[i].text), "case %zu: %s, not %s", i, text, cases[i].text);
        cr_expect_eq(tf_dim_bound(g, cases[i].dim), cases[i].bound, "%s: bound %lld", text, (long long)tf_dim_bound(g, cases[i].dim));
        cr_expect_eq(tf_dim_least(g, cases[i].dim), cases[i].least, "%s: least %lld", text, (long long)tf_dim_least(g, cases[i].dim));
    }
    cr_expect_eq(MUL(n, m), MUL(m, n));
    cr_expect_eq(ADD(ADD(n, m), 2), ADD(2, ADD(m, n)));
    cr_expect_eq(tuff_graph_status(g), TUFF_OK);
    tuff_graph_destroy(g);
}

/* Folding never changes a value: random expressions against direct evaluation, and within their range. */
Test(graph, dims_evaluate)
{
    rng r = { 7 };
    for (int round = 0; round < 300; round++) {
        tuff_graph *g = tuff_graph_create(NULL);
        int64_t dim[14] = { tuff_dim_param(g, "n", 9), tuff_dim_param(g, "m", 5), 1, 3 };
        int64_t values[14][60];
        for (int p = 0; p < 60; p++)
            values[0][p] = p % 10, values[1][p] = p / 10, values[2][p] = 1, values[3][p] = 3;
        for (int k = 4; k < 14; k++) {
            const uint32_t a = rng_below(&r, (uint32_t)k), b = rng_below(&r, (uint32_t)k), op = rng_below(&r, 5);
            if (op == TUFF_DIM_FLOORDIV && !tf_dim_is_dynamic(dim[b]) && dim[b] == 0) {
                dim[k] = dim[a];
                memcpy(values[k], values[a], sizeof values[k]);
                continue;
            }
            dim[k] = tuff_dim_op(g, (tuff_dim_operator)op, dim[a], dim[b]);
            for (int p = 0; p < 60; p++) {
                const int64_t x = values[a][p], y = values[b][p];
                const int64_t quotient = y == 0 ? 0 : x / y - (x % y != 0 && (x < 0) != (y < 0));
                values[k][p] = op == 0 ? x + y : op == 1 ? x - y : op == 2 ? x * y : op == 3 ? quotient : x > y ? x : y;
            }
        }
        for (int k = 0; k < 14; k++)
            for (int p = 0; p < 60; p++) {
                const int64_t at[2] = { values[0][p], values[1][p] }, got = tf_dim_eval(g, dim[k], at);
                cr_assert_eq(got, values[k][p], "%s at n=%lld m=%lld is %lld, not %lld", tf_dim_text(g, dim[k]), (long long)at[0], (long long)at[1],
                             (long long)got, (long long)values[k][p]);
                cr_assert(got >= tf_dim_least(g, dim[k]) && got <= tf_dim_bound(g, dim[k]), "%s leaves its range", tf_dim_text(g, dim[k]));
            }
        tuff_graph_destroy(g);
    }
}

/* A dim that may be negative is 0 there. */
Test(graph, dims_clamp)
{
    tuff_graph *g = tuff_graph_create(NULL);
    const int64_t n = tuff_dim_param(g, "n", 8);
    const tuff_tensor x = tuff_input(g, "x", TUFF_F32, TUFF_SHAPE(tuff_dim_op(g, TUFF_DIM_SUB, n, 3)));
    cr_expect_str_eq(tf_type_text(g, tf_type_of(g, x.id)), "f32[max(n-3, 0)]");
    cr_expect_eq(tuff_tensor_shape(x).dim[0], 5);
    tuff_graph_destroy(g);
}

Test(graph, dims_limits)
{
    tuff_graph *g = tuff_graph_create(NULL);
    int64_t d = tuff_dim_param(g, "n", 100);
    for (int i = 0; i < 40 && tuff_graph_status(g) == TUFF_OK; i++)
        d = tuff_dim_op(g, TUFF_DIM_MUL, d, tuff_dim_op(g, TUFF_DIM_ADD, d, 1));
    cr_expect_eq(tuff_graph_status(g), TUFF_E_LIMIT);
    cr_expect_str_eq(tuff_graph_error(g), "a dim expression has more than 256 terms");
    tuff_graph_destroy(g);
}

/* ---- inference ---- */

Test(graph, literals_adapt)
{
    tuff_graph *g = tuff_graph_create(NULL);
    static const tuff_dtype dtypes[] = { TUFF_F32, TUFF_F16, TUFF_BF16, TUFF_F64, TUFF_C64, TUFF_I32, TUFF_U8, TUFF_I16 };
    for (size_t i = 0; i < COUNT(dtypes); i++) {
        char name[8];
        snprintf(name, sizeof name, "x%zu", i);
        const tuff_tensor x = tuff_input(g, name, dtypes[i], TUFF_SHAPE(3));
        const tuff_tensor y = tuff_mul(x, tuff_literal(g, 2, TUFF_DTYPE_NONE)), z = tuff_mul(tuff_literal(g, 2, TUFF_DTYPE_NONE), x);
        cr_expect_eq(tuff_tensor_dtype(y), dtypes[i], "%s: %s", tuff_dtype_name(dtypes[i]), tuff_graph_error(g));
        cr_expect_eq(tuff_tensor_dtype(z), dtypes[i], "%s: %s", tuff_dtype_name(dtypes[i]), tuff_graph_error(g));
    }
    const tuff_tensor both = tuff_add(tuff_literal(g, 1.5, TUFF_DTYPE_NONE), tuff_literal(g, 2, TUFF_DTYPE_NONE));
    cr_expect_eq(tuff_tensor_dtype(both), TUFF_F32);
    cr_expect_null(tf_graph_check(g));
    /* A literal with a dtype keeps it. */
    tuff_add(tuff_input(g, "h", TUFF_F16, TUFF_SHAPE(3)), tuff_literal(g, 2, TUFF_F32));
    cr_expect_eq(tuff_graph_status(g), TUFF_E_DTYPE);
    tuff_graph_destroy(g);
}

Test(graph, broadcasting)
{
    static const struct { tuff_shape a, b, y; } cases[] = {
        { { 2, { 2, 3 } }, { 1, { 3 } }, { 2, { 2, 3 } } },          { { 0, { 0 } }, { 1, { 3 } }, { 1, { 3 } } },
        { { 3, { 4, 1, 3 } }, { 2, { 5, 1 } }, { 3, { 4, 5, 3 } } }, { { 1, { 0 } }, { 1, { 1 } }, { 1, { 0 } } },
        { { 0, { 0 } }, { 0, { 0 } }, { 0, { 0 } } },                { { 8, { 1, 1, 1, 1, 1, 1, 1, 2 } }, { 1, { 1 } }, { 8, { 1, 1, 1, 1, 1, 1, 1, 2 } } },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        tuff_graph *g = tuff_graph_create(NULL);
        const tuff_tensor y = tuff_add(tuff_input(g, "a", TUFF_F32, cases[i].a), tuff_input(g, "b", TUFF_F32, cases[i].b));
        const tuff_shape s = tuff_tensor_shape(y);
        cr_expect_eq(s.rank, cases[i].y.rank, "case %zu: %s", i, tuff_graph_error(g));
        cr_expect(memcmp(s.dim, cases[i].y.dim, sizeof s.dim) == 0, "case %zu", i);
        tuff_graph_destroy(g);
    }
}

/* Descs and what they point to may go away after the call. */
Test(graph, descs_are_copied)
{
    tuff_graph *g = tuff_graph_create(NULL);
    const tuff_tensor x = f32(g, "x", 2, 2), y = f32(g, "y", 2, 2);
    char expr[] = "p * q + q", p[] = "p", q[] = "q";
    tuff_named named[2] = { { p, x }, { q, y } };
    const tuff_tensor m = tuff_map(g, expr, 2, named);
    float data[2] = { 1, 2 };
    const tuff_tensor c = tuff_const(g, TUFF_F32, TUFF_SHAPE(2), data, NULL);
    tuff_output(g, "m", tuff_add(m, c));
    memset(expr, 'x', sizeof expr - 1);
    p[0] = q[0] = 'z';
    data[0] = data[1] = 9;
    memset(named, 0, sizeof named);
    char text[512];
    tuff_graph_print(g, text, sizeof text);
    cr_expect_str_eq(text, "input x f32[2,2]\ninput y f32[2,2]\nv1 = map(p=x, q=y) {expr=\"p * q + q\"}\nv2 = const f32[2] = [1, 2]\nm = add(v1, v2)\noutput m\n");
    tuff_graph_destroy(g);
}

/* A node can be copied into another graph from its sources alone. */
Test(graph, copies_of_nodes)
{
    static const char text[] = "input q f32[1,4,2,8]\ninput k f32[1,4,1,8]\ninput v f32[1,4,1,8]\ninput m bool[1,1,4,4]\ninput w f32[4]\n"
                               "const c f32[2] = [1, 2]\nscalar t f32 = 0.5\nstate s f32[1,4,2,8]\n"
                               "o = attention(q, k, v, mask=m, w=w) {causal=true, score=\"s + w[k]\"}\nz = mul(o, t)\ns2 = assign(s, z)\n"
                               "u, x = split(o) {axis=1, sections=2}\nj = concat(u, x) {axis=1}\nn = map(a=j, b=c) {expr=\"a + b[0]\"}\n";
    char message[256];
    tuff_graph *g;
    cr_assert_eq(tuff_graph_parse(text, sizeof text - 1, NULL, &g, message, sizeof message), TUFF_OK, "%s", message);
    tuff_graph *h = tuff_graph_create(NULL);
    for (uint32_t i = 0; i < g->nodes.n; i++) {
        const tf_node *n = &g->nodes.data[i];
        tuff_tensor src[TF_MAX_OPERANDS];
        for (uint32_t k = 0; k < n->n_src; k++)
            src[k] = tf_tensor(h, n->src[k]); /* values keep their ids when every node is copied */
        const tuff_tensor t = tf_add_sources(h, n->op, src, n->n_src, n->desc);
        cr_assert_eq(t.id, n->out, "%s: %s", n->op->name, tuff_graph_error(h));
        for (uint32_t k = 0; k < n->n_out; k++)
            if (!tf_val(h, n->out + k)->name && tf_val(g, n->out + k)->name)
                tuff_name(tuff_result(t, k), tf_val(g, n->out + k)->name);
    }
    char a[2048], b[2048];
    tuff_graph_print(g, a, sizeof a);
    tuff_graph_print(h, b, sizeof b);
    cr_expect_str_eq(a, b);
    cr_expect_null(tf_graph_check(h));
    tuff_graph_destroy(h);
    tuff_graph_destroy(g);
}

/* ---- the interpreter ---- */

static tuff_graph *parse(const char *text)
{
    char message[512];
    tuff_graph *g = NULL;
    const tuff_status status = tuff_graph_parse(text, strlen(text), NULL, &g, message, sizeof message);
    cr_assert_eq(status, TUFF_OK, "%s", message);
    return g;
}

Test(interp, broadcasts_and_rounds)
{
    tuff_graph *g = parse("input a f32[2,3]\ninput b f32[3]\ny = add(a, b)\nh = cast(y) {dtype=f16}\nr = mul(h, 3)\noutput y\noutput r\n");
    tf_interp *in = tf_interp_create(g, NULL);
    const float a[6] = { 1, 2, 3, 4, 5, 2048 }, b[3] = { 10, 20, 1 };
    cr_expect_eq(tf_interp_run(in), TUFF_E_STATE);
    cr_expect_str_eq(tf_interp_error(in), "input \"a\" was never written");
    cr_expect_eq(tf_interp_write(in, "a", a, 20), TUFF_E_ARGUMENT);
    cr_expect_str_eq(tf_interp_error(in), "\"a\" takes 24 bytes, not 20");
    cr_expect_eq(tf_interp_write(in, "z", a, 24), TUFF_E_NAME);
    cr_assert_eq(tf_interp_write(in, "a", a, sizeof a), TUFF_OK);
    cr_assert_eq(tf_interp_write(in, "b", b, sizeof b), TUFF_OK);
    cr_assert_eq(tf_interp_run(in), TUFF_OK, "%s", tf_interp_error(in));
    float y[6];
    cr_assert_eq(tf_interp_read(in, "y", y, sizeof y), TUFF_OK);
    expect_floats("y", y, (const float[]){ 11, 22, 4, 14, 25, 2049 }, 6, (tolerance){ 0 });
    /* 2049 is no f16: ties to 2048, times 3 is 6144. */
    const tf_ref_tensor *r = tf_interp_get(in, "r");
    cr_assert_not_null(r);
    expect_array("r", TUFF_F16, r->re, (const double[]){ 33, 66, 12, 42, 75, 6144 }, 6, (tolerance){ 0 });
    /* What nobody keeps is gone. */
    cr_expect_null(tf_interp_value(in, tf_def(g, tf_port_find(g, 1u << TF_PORT_OUTPUT, "r")->value)->src[0]));
    tf_interp_destroy(in);
    tuff_graph_destroy(g);
}

Test(interp, states_scalars_dims)
{
    tuff_graph *g = parse("dim n <= 4\ninput x f32[n]\nstate s f32[n]\nscalar k f32 = 2\nt = mul(x, k)\nu = add(s, t)\ns2 = assign(s, u)\nb = mul(s, 1)\n"
                          "output before = b\noutput after = s2\n");
    tf_interp *in = tf_interp_create(g, NULL);
    const float x[2] = { 1, 10 };
    float before[2], after[2];
    cr_expect_eq(tf_interp_set_dim(in, "n", 5), TUFF_E_ARGUMENT);
    cr_expect_str_eq(tf_interp_error(in), "dim \"n\" is 5; it is from 0 to 4");
    cr_assert_eq(tf_interp_set_dim(in, "n", 2), TUFF_OK);
    cr_assert_eq(tf_interp_write(in, "x", x, sizeof x), TUFF_OK);
    cr_assert_eq(tf_interp_run(in), TUFF_OK, "%s", tf_interp_error(in));
    cr_assert_eq(tf_interp_set_scalar(in, "k", 3), TUFF_OK);
    cr_assert_eq(tf_interp_run(in), TUFF_OK);
    cr_assert_eq(tf_interp_read(in, "before", before, sizeof before), TUFF_OK);
    cr_assert_eq(tf_interp_read(in, "after", after, sizeof after), TUFF_OK);
    expect_floats("before", before, (const float[]){ 2, 20 }, 2, (tolerance){ 0 });
    expect_floats("after", after, (const float[]){ 5, 50 }, 2, (tolerance){ 0 });
    float s[2];
    cr_assert_eq(tf_interp_read(in, "s", s, sizeof s), TUFF_OK);
    expect_floats("s", s, (const float[]){ 5, 50 }, 2, (tolerance){ 0 });
    /* Data of other dims is refused at the run. */
    cr_assert_eq(tf_interp_set_dim(in, "n", 3), TUFF_OK);
    cr_expect_eq(tf_interp_run(in), TUFF_E_STATE);
    cr_expect_str_eq(tf_interp_error(in), "input \"x\" was written at other dims than the run's");
    /* Nothing at all is fine. */
    tf_interp_destroy(in);
    in = tf_interp_create(g, NULL);
    cr_assert_eq(tf_interp_set_dim(in, "n", 0), TUFF_OK);
    cr_expect_eq(tf_interp_run(in), TUFF_OK, "%s", tf_interp_error(in));
    tf_interp_destroy(in);
    tuff_graph_destroy(g);
}

Test(interp, folding)
{
    tuff_graph *g = parse("const a f32[3] = [1, 2, 3]\nb = mul(a, 0.5)\nd = matmul(a, a)\ninput x f32[3]\ne = add(x, a)\n");
    static const struct { const char *op; bool folds; } want[] = { { "mul", true }, { "matmul", true }, { "add", false } };
    for (uint32_t i = 0, k = 0; i < g->nodes.n; i++) {
        const tf_node *n = &g->nodes.data[i];
        if (n->op->kind == TF_SOURCE)
            continue;
        cr_expect_str_eq(n->op->name, want[k].op);
        cr_expect_eq(tf_foldable(g, n), want[k].folds, "%s", n->op->name);
        tf_arena arena;
        tf_arena_init(&arena, NULL);
        void *data[TF_MAX_RESULTS];
        const char *error;
        if (want[k].folds) {
            cr_assert_eq(tf_fold(g, n, &arena, data, &error), TUFF_OK, "%s", error);
            static const float half[3] = { 0.5f, 1, 1.5f }, dot[1] = { 14 };
            expect_floats(n->op->name, data[0], k == 0 ? half : dot, k == 0 ? 3 : 1, (tolerance){ 0 });
        }
        tf_arena_release(&arena);
        k++;
    }
    tuff_graph_destroy(g);
}

Test(interp, every_allocation_may_fail)
{
    tuff_graph *g = parse("input x f32[4]\nconst c f32[4] = [1, 2, 3, 4]\nstate s f32[4]\ny = softmax(mul(x, c)) {axis=0}\nz = add(s, y)\ns2 = assign(s, z)\noutput z\n");
    const float x[4] = { 0 };
    for (uint64_t n = 1;; n++) {
        failing_allocator f = { .fail_at = n };
        const tuff_allocator a = failing(&f);
        tf_interp *in = tf_interp_create(g, &a);
        bool good = in && tf_interp_write(in, "x", x, sizeof x) == TUFF_OK;
        if (good) {
            const tuff_status status = tf_interp_run(in);
            cr_assert(status == TUFF_OK || status == TUFF_E_MEMORY, "call %llu: %d %s", (unsigned long long)n, (int)status, tf_interp_error(in));
            good = status == TUFF_OK;
        }
        tf_interp_destroy(in);
        cr_assert_eq(f.live, 0u, "call %llu leaks", (unsigned long long)n);
        if (f.calls < n) {
            cr_expect(good);
            break;
        }
    }
    tuff_graph_destroy(g);
}

/* ---- .npy ---- */

Test(npy, round_trip)
{
    rng r = { 3 };
    for (int t = 1; t < TUFF_DTYPE_COUNT; t++) {
        const tuff_dtype dtype = (tuff_dtype)t;
        const tuff_shape shapes[] = { { 2, { 3, 4 } }, { 1, { 6 } }, { 2, { 0, 4 } }, { 8, { 1, 2, 1, 2, 1, 1, 1, 2 } } };
        for (size_t s = 0; s < COUNT(shapes); s++) {
            size_t n = 1;
            for (int32_t i = 0; i < shapes[s].rank; i++)
                n *= (size_t)shapes[s].dim[i];
            unsigned char data[128] = { 0 };
            rng_fill(&r, dtype, data, n);
            tf_str file;
            tf_str_init(&file, NULL);
            cr_assert_eq(tf_npy_format(dtype, &shapes[s], data, &file), TUFF_OK);
            tf_npy back;
            char message[256];
            cr_assert_eq(tf_npy_parse(file.data, file.n, dtype, NULL, &back, message, sizeof message), TUFF_OK, "%s: %s", tuff_dtype_name(dtype), message);
            cr_expect_eq(back.dtype, dtype);
            cr_expect_eq(memcmp(&back.shape, &shapes[s], sizeof back.shape), 0);
            cr_expect_eq(back.bytes, (n * tf_dtype_bits(dtype) + 7) / 8);
            cr_expect(back.bytes == 0 || memcmp(back.data, data, back.bytes) == 0, "%s comes back changed", tuff_dtype_name(dtype));
            tf_npy_release(&back, NULL);
            tf_str_release(&file);
        }
    }
}

/* A file of the given header and elements. */
static size_t npy_file(char *out, int version, const char *dict, const void *data, size_t bytes)
{
    const size_t n = strlen(dict), at = version == 1 ? 10 : 12;
    memcpy(out, "\x93NUMPY", 6);
    out[6] = (char)version;
    out[7] = 0;
    out[8] = (char)(n & 255);
    out[9] = (char)(n >> 8);
    out[10] = out[11] = 0;
    memcpy(out + at, dict, n);
    if (bytes)
        memcpy(out + at + n, data, bytes);
    return at + n + bytes;
}

#define DICT(descr, order, shape) "{'descr': '" descr "', 'fortran_order': " order ", 'shape': " shape ", }"

Test(npy, conversions)
{
    const int64_t big[2] = { 5, INT64_C(1) << 31 }, small[2] = { -5, INT32_MAX };
    const uint64_t ubig[2] = { 5, UINT64_C(1) << 32 };
    const double wide[2] = { 1.5, 1e300 }, fine[2] = { 0.1, -2 }, complex_wide[2] = { 1.5, -0.25 };
    const float fractions[2] = { 0.5f, 2 };
    const unsigned char swapped[8] = { 0x3f, 0x80, 0, 0, 0xc0, 0, 0, 0 };
    const int32_t grid[6] = { 0, 3, 1, 4, 2, 5 };
    const struct { const char *dict; const void *data; size_t bytes; tuff_dtype want; const char *error; tuff_dtype dtype; double v[2]; } cases[] = {
        { DICT("<i8", "False", "(2,)"), big, 16, 0, "element 1 (2147483648) is out of range as i32", 0, { 0 } },
        { DICT("<i8", "False", "(2,)"), small, 16, 0, NULL, TUFF_I32, { -5, INT32_MAX } },
        { DICT("<i8", "False", "(2,)"), small, 16, TUFF_U32, "element 0 (-5) is out of range as u32", 0, { 0 } },
        { DICT("<i8", "False", "(2,)"), small, 16, TUFF_F64, NULL, TUFF_F64, { -5, INT32_MAX } },
        { DICT("<i8", "False", "(2,)"), small, 16, TUFF_F32, "element 1 (2147483647) is not exactly representable as f32", 0, { 0 } },
        { DICT("<u8", "False", "(2,)"), ubig, 16, 0, "element 1 (4294967296) is out of range as u32", 0, { 0 } },
        { DICT("<f8", "False", "(2,)"), wide, 16, 0, "element 1 (1.0000000000000001e+300) is out of range as f32", 0, { 0 } },
        { DICT("<f8", "False", "(2,)"), wide, 16, TUFF_F64, NULL, TUFF_F64, { 1.5, 1e300 } },
        { DICT("<f8", "False", "(2,)"), fine, 16, 0, NULL, TUFF_F32, { (double)0.1f, -2 } },
        { DICT("<f8", "False", "(2,)"), fine, 16, TUFF_BF16, NULL, TUFF_BF16, { 0.10009765625, -2 } },
        { DICT("<f4", "False", "(2,)"), fractions, 8, TUFF_I32, "element 0 (0.5) is no integer as i32", 0, { 0 } },
        { DICT("<f4", "False", "(2,)"), fractions, 8, TUFF_BOOL, "element 0 (0.5) is neither 0 nor 1 as bool", 0, { 0 } },
        { DICT("<f4", "False", "(2,)"), fractions, 8, TUFF_C64, NULL, TUFF_C64, { 0.5, 2 } },
        { DICT("<c16", "False", "(1,)"), complex_wide, 16, 0, NULL, TUFF_C64, { 1.5 } },
        { DICT("<c16", "False", "(1,)"), complex_wide, 16, TUFF_F32, "element 0 (1.5) is complex as f32", 0, { 0 } },
        { DICT(">f4", "False", "(2,)"), swapped, 8, 0, NULL, TUFF_F32, { 1, -2 } },
        { DICT("<i4", "True", "(2, 3)"), grid, 24, 0, NULL, TUFF_I32, { 0, 1 } }, /* columns first: rows are 0 1 2, 3 4 5 */
        { DICT("|b1", "False", "(2,)"), "\x02\x00", 2, 0, NULL, TUFF_BOOL, { 1, 0 } },
        { DICT("<i8", "False", "()"), small, 8, 0, NULL, TUFF_I32, { -5 } },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char file[512], message[256];
        tf_npy npy;
        const size_t n = npy_file(file, 1 + (int)(i % 3), cases[i].dict, cases[i].data, cases[i].bytes);
        const tuff_status status = tf_npy_parse(file, n, cases[i].want, NULL, &npy, message, sizeof message);
        if (cases[i].error) {
            cr_expect_neq(status, TUFF_OK, "case %zu", i);
            cr_expect_str_eq(message, cases[i].error);
            cr_expect_null(npy.data);
            continue;
        }
        cr_assert_eq(status, TUFF_OK, "case %zu: %s", i, message);
        cr_expect_eq(npy.dtype, cases[i].dtype, "case %zu: %s", i, tuff_dtype_name(npy.dtype));
        for (uint64_t k = 0; k < 2 && (k == 0 || npy.bytes > tf_dtype_bits(npy.dtype) / 8); k++)
            cr_expect_eq(tf_load_element(npy.dtype, npy.data, k, NULL), cases[i].v[k], "case %zu, element %d", i, (int)k);
        tf_npy_release(&npy, NULL);
    }
}

Test(npy, hostile_headers)
{
    static const struct { const char *dict, *error; } cases[] = {
        { DICT("<f4", "False", "(99999999999999999999,)"), "a dim of its shape overflows" },
        { DICT("<f4", "False", "(4611686018427387904, 8)"), "its element count overflows" },
        { DICT("<f4", "False", "(65536, 65536)"), "it has 4294967296 elements; a tensor holds at most 2147483647" },
        { DICT("<f4", "False", "(1, 1, 1, 1, 1, 1, 1, 1, 1)"), "its rank is above 8" },
        { DICT("<f4", "False", "(2000000000,)"), "it holds 4 bytes of elements, its header promises 8000000000" },
        { DICT("<f4", "False", "(-1,)"), "the header's shape is not readable" },
        { DICT("<f4", "False", "(1"), "the header's shape is not readable" },
        { DICT("<f4", "False", "1"), "the header's shape is not readable" },
        { DICT("<f4", "Maybe", "(1,)"), "the header's fortran_order is neither True nor False" },
        { DICT("<U8", "False", "(1,)"), "its dtype '<U8' is none that tuff reads" },
        { DICT("|O", "False", "(1,)"), "its dtype '|O' is none that tuff reads" },
        { "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}", "it holds records; save one plain array" },
        { "{'descr': '<f4', 'shape': (1,)}", "the header lacks fortran_order" },
        { "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", "the header has a surprising key 'descr'" },
        { "{'descr': '<f4aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', 'shape': (1,)}", "the header's descr is not readable" },
        { "", "the header is not a dict" },
        { "{", "the header is not readable" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char file[512], message[256];
        tf_npy npy;
        const size_t n = npy_file(file, 1 + (int)(i % 3), cases[i].dict, "\0\0\0\0", 4);
        cr_expect_neq(tf_npy_parse(file, n, TUFF_DTYPE_NONE, NULL, &npy, message, sizeof message), TUFF_OK);
        cr_expect_str_eq(message, cases[i].error);
    }
}

/* Every prefix of a file is an error, and so is every file with more bytes. */
Test(npy, truncated)
{
    char file[512], message[256];
    const float data[4] = { 1, 2, 3, 4 };
    const size_t n = npy_file(file, 1, DICT("<f4", "False", "(4,)"), data, sizeof data);
    for (size_t k = 0; k <= n + 1; k++) {
        tf_npy npy;
        char *exact = malloc(k ? k : 1); /* so that the sanitizer sees reads beyond the end */
        memcpy(exact, file, k);
        const tuff_status status = tf_npy_parse(exact, k, TUFF_DTYPE_NONE, NULL, &npy, message, sizeof message);
        cr_expect((status == TUFF_OK) == (k == n), "%zu bytes: %s", k, message);
        cr_expect(status == TUFF_OK || message[0], "%zu bytes: no message", k);
        tf_npy_release(&npy, NULL);
        free(exact);
    }
}

Test(npy, files)
{
    static const char path[] = "test_graph.npy"; /* in the build tree, where ctest runs */
    char message[256];
    const float data[2] = { 1.5f, -2 };
    cr_assert_eq(tf_npy_write(path, TUFF_F32, &TUFF_SHAPE(2), data, NULL, message, sizeof message), TUFF_OK, "%s", message);
    tf_npy npy;
    cr_assert_eq(tf_npy_read(path, TUFF_DTYPE_NONE, NULL, &npy, message, sizeof message), TUFF_OK, "%s", message);
    expect_floats("file", npy.data, data, 2, (tolerance){ 0 });
    tf_npy_release(&npy, NULL);
    for (uint64_t n = 1;; n++) {
        failing_allocator f = { .fail_at = n };
        const tuff_allocator a = failing(&f);
        const tuff_status status = tf_npy_read(path, TUFF_F16, &a, &npy, message, sizeof message);
        tf_npy_release(&npy, &a);
        cr_assert_eq(f.live, 0u, "call %llu leaks", (unsigned long long)n);
        cr_assert_eq(status, f.calls < n ? TUFF_OK : TUFF_E_MEMORY, "call %llu: %s", (unsigned long long)n, message);
        if (f.calls < n)
            break;
    }
    remove(path);
    cr_expect_eq(tf_npy_read(path, TUFF_DTYPE_NONE, NULL, &npy, message, sizeof message), TUFF_E_IO);
    cr_expect_eq(tf_npy_write("/nonexistent/x.npy", TUFF_F32, &TUFF_SHAPE(2), data, NULL, message, sizeof message), TUFF_E_IO);
}

/* Damaged files never crash; they parse or give a message. */
Test(npy, mutations)
{
    rng r = { 11 };
    const float data[6] = { 1, 2, 3, 4, 5, 6 };
    for (int round = 0; round < 4000; round++) {
        char file[512], message[256] = "";
        size_t n = npy_file(file, 1 + (int)rng_below(&r, 3), round % 2 ? DICT("<f4", "True", "(2, 3)") : DICT("<i8", "False", "(3, )"), data, sizeof data);
        const uint32_t changes = 1 + rng_below(&r, 4);
        for (uint32_t k = 0; k < changes; k++)
            file[rng_below(&r, (uint32_t)n)] = (char)(rng_below(&r, 2) ? rng_next(&r) : (uint64_t)"(){}':,0123456789<>|TF"[rng_below(&r, 22)]);
        if (rng_below(&r, 4) == 0)
            n = rng_below(&r, (uint32_t)n + 1);
        char *exact = malloc(n ? n : 1);
        memcpy(exact, file, n);
        tf_npy npy;
        const tuff_status status = tf_npy_parse(exact, n, (tuff_dtype)rng_below(&r, TUFF_DTYPE_COUNT), NULL, &npy, message, sizeof message);
        cr_assert(status == TUFF_OK || message[0]);
        tf_npy_release(&npy, NULL);
        free(exact);
    }
}
