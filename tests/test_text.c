/* test_text.c - the text form and user expressions: what is read, what is printed, what is refused and how. */
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "graph/interp.h"
#include "graph/npy.h"
#include "graph/text.h"
#include "graph/userexpr.h"
#include "support/support.h"

/* ---- reading and printing ---- */

static char *print(const tuff_graph *g)
{
    const size_t n = tuff_graph_print(g, NULL, 0);
    char *text = malloc(n + 1);
    cr_assert_eq(tuff_graph_print(g, text, n + 1), n);
    return text;
}

static tuff_graph *parse(const char *text, const tuff_parse_desc *desc)
{
    char message[512];
    tuff_graph *g = NULL;
    const tuff_status status = tuff_graph_parse(text, strlen(text), desc, &g, message, sizeof message);
    cr_assert_eq(status, TUFF_OK, "%s\n%s", message, text);
    cr_assert_null(tf_graph_check(g), "%s", tf_graph_check(g));
    return g;
}

/* Text in, text out; the latter parses to a graph that prints the same. */
static const struct { const char *in, *out; } identities[] = {
    { "", "" },
    { "# only a comment", "" },
    { "input x f32[4]\ny = relu(x)\noutput y", "input x f32[4]\ny = relu(x)\noutput y\n" },
    { "x = input f32[4] y = relu(x,) output y", "input x f32[4]\ny = relu(x)\noutput y\n" },
    { "input x f32\noutput x", "input x f32\noutput x\n" },
    { "input x f32[ ]\ny = exp(log(x))\noutput \"e\" = y", "input x f32\nv1 = log(x)\ny = exp(v1)\noutput e = y\n" },
    { "input x f32[2]\nx = relu(x)\nx = relu(x)\noutput y = x", "input x f32[2]\nx_1 = relu(x)\nx_2 = relu(x_1)\noutput y = x_2\n" },
    { "input \"two words\" f32[2]\noutput y = \"two words\"", "input \"two words\" f32[2]\noutput y = \"two words\"\n" },
    { "input \"input\" f32[2]\noutput \"a\\\"b\\\\\" = \"input\"", "input \"input\" f32[2]\noutput \"a\\\"b\\\\\" = \"input\"\n" },
    { "input \"a\\{b\" f32[2]", "input \"a\\{b\" f32[2]\n" },
    { "input x f32[2]\ny = mul(x, 2)\nz = add(-0.5, y)\nw = maximum(z, -inf)\noutput w",
      "input x f32[2]\ny = mul(x, 2)\nz = add(-0.5, y)\nw = maximum(z, -inf)\noutput w\n" },
    { "input x f16[2]\ny = mul(x, 0x1.8p1)\noutput y", "input x f16[2]\ny = mul(x, 3)\noutput y\n" },
    { "input x i32[2]\ny = where(less(x, 3), x, 0)\noutput y", "input x i32[2]\nv1 = less(x, 3)\ny = where(v1, x, 0)\noutput y\n" },
    { "input x bool[2]\ny = logical_xor(x, true)\noutput y", "input x bool[2]\ny = logical_xor(x, 1)\noutput y\n" },
    { "c = const f32[3] = [1, 2.5, -inf]\noutput c", "c = const f32[3] = [1, 2.5, -inf]\noutput c\n" },
    { "const c f32[3] = [1, nan, 1e-30]", "const c f32[3] = [1, nan, 1e-30]\n" },
    { "const c i32[2,2] = [[1,2],[3,-4]]", "const c i32[2,2] = [1, 2, 3, -4]\n" },
    { "const c c64[2] = [(1, -2), 3]", "const c c64[2] = [(1, -2), (3, 0)]\n" },
    { "const c bool[2] = [true, false]", "const c bool[2] = [1, 0]\n" },
    { "const c u4[4] = [1,2,3,15]", "const c u4[4] = [1, 2, 3, 15]\n" },
    { "const c f32[1000] = 0.1", "const c f32[1000] = 0.1\n" },
    { "const c f32[0] = []", "const c f32[0] = []\n" },
    { "const c f32 = 7", "const c f32 = 7\n" },
    { "const c f64[2] = [0.1, 1e300]", "const c f64[2] = [0.1, 1e300]\n" },
    { "scalar t f32 = 0.1\nscalar i i32 = -3\nscalar u u32", "scalar t f32 = 0.1\nscalar i i32 = -3\nscalar u u32 = 0\n" },
    { "state s f32[2]\ns2 = assign(s, relu(s))\noutput s2", "state s f32[2]\nv1 = relu(s)\ns2 = assign(s, v1)\noutput s2\n" },
    { "dim n <= 8*2\ninput x f32[n, n*2+1, (n+3)/4, max(n-4, 1), 16 - n % 4]",
      "dim n <= 16\ninput x f32[n,n*2+1,(n+3)/4,max(n-4, 1),16-(n-n/4*4)]\n" },
    { "param a = 2\nparam b = a * 3 - 1\ninput x f32[b, -a + 4, b % a, b / a, max(a, b), min(a, b)]", "input x f32[5,2,1,2,5,2]\n" },
    { "input x f32[4]\nrepeat i in 0..3 { x = mul(x, i) }\noutput y = x", "input x f32[4]\nx_1 = mul(x, 0)\nx_2 = mul(x_1, 1)\nx_3 = mul(x_2, 2)\noutput y = x_3\n" },
    { "repeat i in 0..2 { repeat j in i..2 { input \"w{i}.{j}\" f32 } }", "input w0.0 f32\ninput w0.1 f32\ninput w1.1 f32\n" },
    { "repeat i in 3..1 { nonsense }", "" },
    { "repeat i in 0..2 { w = input \"w{i}\" f32[2] \n y = relu(w) }\noutput y", "input w0 f32[2]\ny = relu(w0)\ninput w1 f32[2]\ny_1 = relu(w1)\noutput y = y_1\n" },
    { "def f(x) -> (y) { y = relu(x) }\ninput a f32\nb = f(a)\nc = f(f(b))\noutput c",
      "input a f32\ny = relu(a)\ny_1 = relu(y)\ny_2 = relu(y_1)\noutput c = y_2\n" },
    { "def f(x, k) -> (lo, hi) { lo = minimum(x, k) hi = maximum(x, limit) }\ninput limit f32\ninput a f32\np, q = f(a, 3)\noutput p output q",
      "input limit f32\ninput a f32\nlo = minimum(a, 3)\nhi = maximum(a, limit)\noutput p = lo\noutput q = hi\n" },
    { "def f(x) -> (x) { repeat i in 0..n { x = relu(x) } }\ninput a f32\nb = f(a) {n=2}\noutput b", "input a f32\nx = relu(a)\nx_1 = relu(x)\noutput b = x_1\n" },
    { "input q f32[1,4,2,8]\ninput m bool[1,1,4,4]\n_, l = attention(q, q, q, mask=m) {causal=true, window_left=2}\noutput l",
      "input q f32[1,4,2,8]\ninput m bool[1,1,4,4]\n_, l = attention(q, q, q, mask=m) {causal=true, window_left=2}\noutput l\n" },
    { "input x f32[4]\ninput y f32[4]\nz = map(x, y) {expr=\"x + y\"}\nw = map(a=x, y=z) {expr=\"\"\"a\n * y\"\"\"}\noutput w",
      "input x f32[4]\ninput y f32[4]\nz = map(x=x, y=y) {expr=\"x + y\"}\nw = map(a=x, y=z) {expr=\"\"\"a\n * y\"\"\"}\noutput w\n" },
    { "input x f32[4]\nl = literal() {value=2, dtype=f16}\nh = mul(cast(x) {dtype=f16}, l)\noutput h",
      "input x f32[4]\nl = literal() {value=2, dtype=f16}\nv1 = cast(x) {dtype=f16}\nh = mul(v1, l)\noutput h\n" },
    { "input x f32[4,6]\ny = permute(x) {axes=[1,0]}\nz = sum(y) {axes=-1, keep=true}\np = pad(x) {lo=[1,0], hi=[0,2], mode=reflect}\noutput z",
      "input x f32[4,6]\ny = permute(x) {axes=[1,0]}\nz = sum(y) {axes=[1], keep=true}\np = pad(x) {lo=[1,0], hi=[0,2], mode=reflect}\noutput z\n" },
    { "u = uniform() {shape=[2,3], seed=18446744073709551615, stream=1}\noutput u", "u = uniform() {shape=[2,3], seed=18446744073709551615, stream=1}\noutput u\n" },
};

Test(text, identity)
{
    for (size_t i = 0; i < COUNT(identities); i++) {
        tuff_graph *g = parse(identities[i].in, NULL);
        char *once = print(g);
        cr_expect_str_eq(once, identities[i].out);
        tuff_graph *h = parse(once, NULL);
        char *twice = print(h);
        cr_expect_str_eq(twice, once);
        cr_expect_eq(h->ports.n, g->ports.n);
        tuff_graph_destroy(g);
        tuff_graph_destroy(h);
        free(once);
        free(twice);
    }
}

/* Whatever a C program names its values, the text parses back. */
Test(text, names_of_c_programs)
{
    tuff_graph *g = tuff_graph_create(NULL);
    static const char *const names[] = { "v1", "x", "x", "_", "max", "a b", "{i}", "\\", "\"", "n", "end", "f32", "output", "x_1", "1", "\xc3\xa9" };
    tuff_tensor x = tuff_input(g, "x", TUFF_F32, TUFF_SHAPE(tuff_dim_param(g, "n", 4)));
    x = tuff_add(x, tuff_input(g, "max", TUFF_F32, TUFF_SCALAR_SHAPE));
    for (size_t i = 0; i < COUNT(names); i++) {
        x = tuff_relu(tuff_name(tuff_relu(x), names[i]));
        char name[8];
        snprintf(name, sizeof name, "o{%zu}", i);
        tuff_output(g, name, x);
    }
    cr_assert_eq(tuff_graph_status(g), TUFF_OK, "%s", tuff_graph_error(g));
    char *once = print(g);
    tuff_graph *h = parse(once, NULL);
    char *twice = print(h);
    cr_expect_str_eq(twice, once);
    for (uint32_t i = 0; i < g->ports.n; i++)
        cr_expect_str_eq(h->ports.data[i].name, g->ports.data[i].name);
    tuff_graph_destroy(g);
    tuff_graph_destroy(h);
    free(once);
    free(twice);
}

Test(text, positions)
{
    tuff_graph *g = parse("input x f32[4]\n\n  y = relu(\n exp(x))\n", &(tuff_parse_desc){ .name = "a.tuff" });
    const tf_node *n = &g->nodes.data[g->nodes.n - 1];
    cr_expect_eq(n->line, 3u);
    cr_expect_eq(n->column, 7u);
    cr_expect_str_eq(tf_describe_value(g, n->out), "relu \"y\" f32[4], a.tuff:3:7");
    cr_expect_eq(g->nodes.data[1].line, 4u);
    tuff_graph_destroy(g);
}

Test(text, overrides)
{
    static const char text[] = "param heads = 2\nparam size = heads * 8\ninput x f32[heads, size]\n";
    static const char *const params[] = { "heads=3" };
    tuff_graph *g = parse(text, &(tuff_parse_desc){ .params = params, .param_count = 1 });
    char *out = print(g);
    cr_expect_str_eq(out, "input x f32[3,24]\n");
    free(out);
    tuff_graph_destroy(g);
    static const struct { const char *param, *error; } bad[] = {
        { "head=3", "the override \"head=3\" names no param of the text" },
        { "heads=x", "the override \"heads=x\" is no integer" },
        { "heads=", "the override \"heads=\" is no integer" },
        { "heads=99999999999999999999", "the override \"heads=99999999999999999999\" is no integer" },
        { "heads=2.5", "the override \"heads=2.5\" is no integer" },
        { "heads=inf", "the override \"heads=inf\" is no integer" },
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        char message[256];
        cr_expect_neq(tuff_graph_parse(text, strlen(text), &(tuff_parse_desc){ .params = &bad[i].param, .param_count = 1 }, &g, message, sizeof message), TUFF_OK);
        cr_expect_str_eq(message, bad[i].error);
        cr_expect_null(g);
    }
}

Test(text, params_that_are_no_integers)
{
    tuff_graph *flags = parse("param yes = 1\nparam no = 0\ninput x f32[2]\na = sum(x) {keep=yes}\nb = sum(x) {keep=no}\noutput a\noutput b", NULL);
    char *kept = print(flags);
    cr_expect_str_eq(kept, "input x f32[2]\na = sum(x) {axes=[0], keep=true}\nb = sum(x) {axes=[0]}\noutput a\noutput b\n");
    free(kept);
    tuff_graph_destroy(flags);
    static const char text[] = "param eps = 1e-5\nparam scale = -0.5\nparam top = -scale\ndef f(x) -> (y) { y = add(mul(x, scale), -bias) }\n"
                               "input x f32[2,4]\ny = f(layer_norm(x) {eps=eps}) {bias=top}\nz = f(y) {bias=3}\nconst c f32[2] = [eps, -eps]\noutput z\noutput c";
    static const char *const params[] = { "eps=2.5e-3", "scale=3" };
    tuff_graph *g = parse(text, NULL);
    char *out = print(g);
    cr_expect_str_eq(out, "input x f32[2,4]\nv1 = layer_norm(x) {eps=0.00001, axes=1}\nv2 = mul(v1, -0.5)\ny = add(v2, -0.5)\nv3 = mul(y, -0.5)\ny_1 = add(v3, -3)\n"
                          "const c f32[2] = [0.00001, -0.00001]\noutput z = y_1\noutput c\n");
    free(out);
    tuff_graph_destroy(g);
    g = parse(text, &(tuff_parse_desc){ .params = params, .param_count = 2 });
    out = print(g);
    cr_expect_str_eq(out, "input x f32[2,4]\nv1 = layer_norm(x) {eps=0.0025, axes=1}\nv2 = mul(v1, 3)\ny = add(v2, 3)\nv3 = mul(y, 3)\ny_1 = add(v3, -3)\n"
                          "const c f32[2] = [0.0025, -0.0025]\noutput z = y_1\noutput c\n");
    free(out);
    tuff_graph_destroy(g);
    static const struct { const char *text, *param, *error; } bad[] = {
        { "param eps = 1e-5", "eps=x", "the override \"eps=x\" is no number" },
        { "param eps = 1e-5", "eps=1 2", "the override \"eps=1 2\" is no number" },
        { "param eps = 1e-5\ninput x f32[eps]", "eps=2", "<text>:2:13: \"eps\" is a number; an integer is needed here" },
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        char message[256];
        cr_expect_neq(tuff_graph_parse(bad[i].text, strlen(bad[i].text), &(tuff_parse_desc){ .params = &bad[i].param, .param_count = 1 }, &g, message, sizeof message), TUFF_OK);
        cr_expect_str_eq(message, bad[i].error);
    }
}

Test(text, constants_from_files)
{
    static const char file[] = "test_text_constant.npy";
    char message[512];
    tuff_graph *g;
    const double data[3] = { 1, 2, 0.1 };
    cr_assert_eq(tf_npy_write(file, TUFF_F64, &TUFF_SHAPE(3), data, NULL, message, sizeof message), TUFF_OK, "%s", message);
    static const char *const forms[] = { "const c f32[3] = @test_text_constant.npy\noutput c", "const c f32[3] = @\"test_text_constant.npy\"\noutput c",
                                         "const c f32[3] \"@test_text_constant.npy\"\noutput c" };
    for (size_t i = 0; i < COUNT(forms); i++) {
        g = parse(forms[i], &(tuff_parse_desc){ .dir = "." });
        char *out = print(g);
        cr_expect_str_eq(out, "const c f32[3] = @\"test_text_constant.npy\"\noutput c\n");
        free(out);
        const tf_source_desc *d = g->nodes.data[0].desc;
        expect_floats("file", d->data, (const float[]){ 1, 2, 0.1f }, 3, (tolerance){ 0 });
        tuff_graph_destroy(g);
    }
    static const char wrong[] = "const c f32[4] = @test_text_constant.npy", none[] = "\nconst c f32[4] = @nowhere.npy";
    cr_expect_eq(tuff_graph_parse(wrong, sizeof wrong - 1, NULL, &g, message, sizeof message), TUFF_E_SHAPE);
    cr_expect_str_eq(message, "<text>:1:18: test_text_constant.npy holds f32[3], not f32[4]");
    cr_expect_eq(tuff_graph_parse(none, sizeof none - 1, NULL, &g, message, sizeof message), TUFF_E_IO);
    cr_expect(strstr(message, "<text>:2:18: nowhere.npy: ") == message, "%s", message);
    remove(file);
}

/* ---- refusals ---- */

Test(text, messages)
{
    static const struct { const char *text; tuff_status status; const char *message; } cases[] = {
        { "y = atention(x)", TUFF_E_NAME, "1:5: unknown op \"atention\"; did you mean \"attention\"?" },
        { "input abc f32[4]\ny = relu(abd)", TUFF_E_NAME, "2:10: unknown tensor \"abd\"; did you mean \"abc\"?" },
        { "input x f32[4]\ny = softmax(x) {axes=0}", TUFF_E_ATTRIBUTE, "2:17: softmax has no attribute \"axes\"; did you mean \"axis\"?" },
        { "input x f32[4]\ny = softmax(x)", TUFF_E_ATTRIBUTE, "2:5: softmax needs the attribute axis" },
        { "input x f32[4]\ny = softmax(x) {axis=0, axis=0}", TUFF_E_ATTRIBUTE, "2:25: attribute axis is given twice" },
        { "input x f32[4]\ny = softmax(x) {axis=3000000000}", TUFF_E_ATTRIBUTE, "2:22: axis is 3000000000; it has 32 bits" },
        { "input x f32[4]\ny = softmax(x) {axis=1.5}", TUFF_E_PARSE, "2:22: 1.5 is no integer" },
        { "input x f32[4]\ny = pad(x) {lo=1, hi=1, mode=mirror}", TUFF_E_ATTRIBUTE, "2:30: mode is \"mirror\"; its values are constant, edge, reflect, wrap" },
        { "input x f32[4]\ny = pad(x) {lo=1, hi=1, mode=1}", TUFF_E_PARSE, "2:30: a choice is expected here, not 1" },
        { "input x f32[4]\ny = add(x)", TUFF_E_ARGUMENT, "2:5: add: 1 operand given; it takes 2 (a b)" },
        { "input x f32[4]\ny = exp(x, x)", TUFF_E_ARGUMENT, "2:5: exp: 2 operands given; it takes 1 (x)" },
        { "input q f32[4]\ny = layer_norm(q, gian=q)", TUFF_E_NAME, "2:19: layer_norm has no optional operand \"gian\"; did you mean \"gain\"?" },
        { "input q f32[1,4,2,8]\ny = attention(q, q, q, causal=1)", TUFF_E_PARSE, "2:24: causal is an attribute of attention; attributes stand in braces: {causal=...}" },
        { "input q f32[1,4,2,8]\ny = attention(q, q, q, causal=true)", TUFF_E_PARSE, "2:24: causal is an attribute; attributes stand in braces: {causal=...}" },
        { "input q f32[1,4,2,8]\ny = attention(q, q, q) {mask=q}", TUFF_E_PARSE, "2:30: mask is an operand; it stands in the parentheses: mask=x" },
        { "input q f32[1,4,2,8]\ny = attention(q, q, q) {causal=1}", TUFF_E_PARSE, "2:32: true or false is needed here, not 1" },
        { "input x f23[4]", TUFF_E_PARSE, "1:9: f23 is no dtype; did you mean \"f32\"?" },
        { "input x f32[4", TUFF_E_PARSE, "1:14: , is expected the shape, not the end of the text" },
        { "input x f32[m]", TUFF_E_NAME, "1:13: unknown integer \"m\"" },
        { "input x f32[1,1,1,1,1,1,1,1,1]", TUFF_E_LIMIT, "1:29: the shape has more than 8 entries" },
        { "input x f32[4] = 3", TUFF_E_PARSE, "1:18: an input has no value here; it is written before a run" },
        { "state x f32[4] = 3", TUFF_E_PARSE, "1:18: a state has no value here; it is zero at first" },
        { "const x f32[4]", TUFF_E_PARSE, "1:15: the constant \"x\" needs = and a number, a list or @file.npy" },
        { "const x f32[2] = [1]", TUFF_E_SHAPE, "1:18: the list has 1 elements; the shape needs 2 here" },
        { "const x f32[2] = [1, 2, 3]", TUFF_E_SHAPE, "1:25: there are more than the 2 elements of the shape" },
        { "const x f32[2] = [[1, 2]]", TUFF_E_SHAPE, "1:19: the lists nest deeper than the rank 1" },
        { "const x f32[2,2] = [[1, 2], 3, 4]", TUFF_E_SHAPE, "1:20: a list holds numbers or lists, not both" },
        { "const x u8[2] = [1, 300]", TUFF_E_DTYPE, "1:21: 300 is not a value of u8" },
        { "const x f32[100000000] = 1", TUFF_E_LIMIT, "1:26: f32[100000000] is too large to be given in text; use a file or expand" },
        { "dim n <= 4\nconst x f32[n] = 1", TUFF_E_SHAPE, "2:18: a constant's dims are fixed counts; dim 0 is n" },
        { "dim n <= 4\nparam m = n * 2", TUFF_E_PARSE, "2:11: a param is fixed at compile time; n*2 is dynamic" },
        { "param m = 1 / 0", TUFF_E_ARGUMENT, "1:11: a dim is divided by 0" },
        { "param m = 1000000000 * 1000000000", TUFF_E_OVERFLOW, "1:22: the integer overflows" },
        { "input x f32\nx = 3", TUFF_E_PARSE, "2:5: an op is expected here, not 3" },
        { "input x f32\ny = x", TUFF_E_PARSE, "2:6: ( is expected after x, not the end of the text" },
        { "inptu x f32", TUFF_E_PARSE, "1:1: a statement does not begin with inptu; did you mean \"input\"?" },
        { "3", TUFF_E_PARSE, "1:1: a statement is expected here, not 3" },
        { "input x f32\na, b = exp(x)", TUFF_E_ARGUMENT, "2:1: exp yields 1 result, not 2" },
        { "y = input()", TUFF_E_PARSE, "1:10: ( is no dtype" },
        { "input x f32\ny = exp(input())", TUFF_E_PARSE, "2:9: input is a statement: input name f32[...]" },
        { "output y", TUFF_E_NAME, "1:8: unknown tensor \"y\"" },
        { "input x f32\noutput x output x", TUFF_E_NAME, "2:17: output: the name \"x\" is taken by an output" },
        { "loop 4 (x = y) { yield x }", TUFF_E_NAME, "1:13: unknown tensor \"y\"" },
        { "input y f32 loop 4 (x = y) { z = exp(x) }", TUFF_E_PARSE, "1:41: a loop's body ends with yield and the next carried values" },
        { "input y f32 loop 4 (x = y) { z = exp(x) yield z } w = exp(z)", TUFF_E_NAME, "1:59: unknown tensor \"z\"" },
        { "input y f32 loop 4 (x = y) { yield x, x }", TUFF_E_ARGUMENT, "1:36: the loop carries 1 value, yield has 2" },
        { "input y f32 loop 4 (x = y) { yield greater(x, 0) }", TUFF_E_SHAPE, "1:36: loop: carried value 0 is f32 but its next value is greater bool, t:1:36" },
        { "input y f32 loop 4 (x = y) { input z f32 yield x }", TUFF_E_STATE, "1:36: input: \"z\" is declared in a loop's body; what a program exposes stands before the loop" },
        { "input y f32 while go <= 4 (x = y) { yield x }", TUFF_E_NAME, "1:43: the body gives go no new value, so the loop would not end by it" },
        { "input y f32 while go <= 4 (x = y) { yield x again x }", TUFF_E_DTYPE, "1:35: while: the condition is one bool, not _carry \"x\" f32, t:1:35" },
        { "yield x", TUFF_E_PARSE, "1:1: yield ends a loop's body; here is none" },
        { "def f(x) -> (y) { y = relu(x)", TUFF_E_PARSE, "1:17: the block has no closing }" },
        { "def f(x) -> (y) { y = f(x) }\ninput a f32\nb = f(a)", TUFF_E_LIMIT, "1:23: defs call one another deeper than 32; one may call itself" },
        { "def f(x) -> (y) { y = relu(x) }\ninput a f32\nb = f(a, a)", TUFF_E_ARGUMENT, "3:5: f takes 1 operands in order, not 2" },
        { "input a f32\ndef f() -> (y) { z = relu(a) }\nb = f()", TUFF_E_NAME, "3:5: unknown tensor \"y\"" },
        { "def f() -> (y) { y = relu(hidden) }\ndef g(hidden) -> (y) { y = f() }\ninput a f32\nb = g(a)", TUFF_E_NAME, "1:27: unknown tensor \"hidden\"" },
        { "repeat i in 0..2 { x = }", TUFF_E_PARSE, "1:24: an op is expected here, not }" },
        { "repeat i in 0..2 {", TUFF_E_PARSE, "1:19: a block has no closing }" },
        { "repeat i in 0..1000000000 { }", TUFF_E_LIMIT, "1:8: the graph has more than 262144 statements" },
        { "input \"w{j}\" f32", TUFF_E_NAME, "1:7: {j} in a name is no integer; write \\{ for a brace" },
        { "input \"abc f32", TUFF_E_PARSE, "1:7: the string has no closing quote on its line; use \"\"\" for several lines: \"abc f32" },
        { "input \"a\\q\" f32", TUFF_E_PARSE, "1:7: an escape is none of \\n \\t \\\" \\\\ \\{ \\xHH" },
        { "input $ f32", TUFF_E_PARSE, "1:7: this character has no place here: $" },
        { "input x f32\ny = add(x, 1.5abc)", TUFF_E_PARSE, "2:12: this is no number: 1.5abc" },
        { "input x f32[4]\ny = map(x) {expr=\"x +\"}", TUFF_E_PARSE, "2:5: map: 1:4: the expression ends where a value is expected" },
        { "input k f32[1,256,2,32]\ninput q f32[1,256,8,64]\no = attention(q, k, k)", TUFF_E_SHAPE, NULL },
        { "input x f32[4]\nd = exp(y=x)", TUFF_E_NAME, "2:9: exp has no optional operand \"y\"" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char message[512], want[512];
        tuff_graph *g;
        const tuff_status status = tuff_graph_parse(cases[i].text, strlen(cases[i].text), &(tuff_parse_desc){ .name = "t" }, &g, message, sizeof message);
        snprintf(want, sizeof want, "t:%s", cases[i].message ? cases[i].message : "");
        if (cases[i].message)
            cr_expect_str_eq(message, want);
        else
            cr_expect(strstr(message, "t:3:5: attention: ") == message && strstr(message, "t:1:7"), "%s", message);
        cr_expect_eq(status, cases[i].status, "status %d: %s", (int)status, message);
        cr_expect_null(g);
    }
}

/* Deep or endless text ends with a message, not with the stack. */
Test(text, hostile)
{
    static const struct { const char *head, *unit; int times; const char *tail; } cases[] = {
        { "input x f32\ny = ", "exp(", 100000, "x" },
        { "param x = ", "(", 100000, "1" },
        { "param x = ", "-", 100000, "1" },
        { "", "repeat i in 0..1 {", 100000, "" },
        { "const c f32[1] = ", "[", 100000, "" },
        { "", "def f() -> () {", 100000, "" },
        { "input x f32\ny = concat(", "x,", 100000, ") {axis=0}" },
        { "", "a,", 100000, "b = exp(x)" },
        { "input x f32[", "1,", 100000, "]" },
        { "# ", "\xff\xfe", 100000, "\n" },
        { "input x f32\n", "repeat i in 0..1000000 { ", 6, "x = relu(x) }}}}}}" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        tf_str s;
        tf_str_init(&s, NULL);
        tf_str_add(&s, cases[i].head);
        for (int k = 0; k < cases[i].times; k++)
            tf_str_add(&s, cases[i].unit);
        tf_str_add(&s, cases[i].tail);
        char message[512];
        tuff_graph *g;
        const tuff_status status = tuff_graph_parse(s.data, s.n, NULL, &g, message, sizeof message);
        cr_expect((status != TUFF_OK) == (cases[i].head[0] != '#'), "case %zu: status %d", i, (int)status);
        cr_expect(status == TUFF_OK || message[0], "case %zu", i);
        tuff_graph_destroy(g);
        tf_str_release(&s);
    }
    char message[256];
    tuff_graph *g;
    cr_expect_eq(tuff_graph_parse("input x\0 f32", 12, NULL, &g, message, sizeof message), TUFF_E_PARSE);
    cr_expect_str_eq(message, "<text>:1:8: this character has no place here: ");
    cr_expect_eq(tuff_graph_parse(NULL, 0, NULL, &g, NULL, 0), TUFF_OK);
    tuff_graph_destroy(g);
}

/* ---- numbers ---- */

/* Text to number and back, in the C locale and in one with a decimal comma. */
Test(text, numbers)
{
    static const struct { const char *text; double value; bool integer; } reads[] = {
        { "0", 0, true },       { "007", 7, true },       { "1.5", 1.5, false },         { ".25", 0.25, false }, { "2.", 2, false },
        { "1e3", 1000, false }, { "1E-2", 0.01, false },  { "0x10", 16, true },          { "0x1.8p1", 3, false }, { "0x.8p-1", 0.25, false },
        { "0.1", 0.1, false },  { "123456789.123456789", 123456789.123456789, false },   { "1e400", (double)INFINITY, false }, { "1e-400", 0, false },
        { "4.9406564584124654e-324", 4.9406564584124654e-324, false },                   { "18446744073709551615", 18446744073709551615.0, true },
        { "18446744073709551616", 18446744073709551616.0, false },                       { "0x1p-1074", 0x1p-1074, false },
        { "0xffffffffffffffffff", 0xffffffffffffffffffp0, false },                       { "1e99999999999999999999", (double)INFINITY, false },
        { "0.000000000000000000000000000000000000000000000000000001e54", 1, false },
    };
    static const double writes[] = { 0, 1, -1, 0.1, 1.0 / 3, 1e15, 1e16, 123456.789, 1e-5, 1e-6, 1e300, 5e-324, 3.4028234663852886e38, 1.1754943508222875e-38 };
    for (int comma = 0; comma < 2; comma++) {
        if (comma && !setlocale(LC_NUMERIC, "de_DE.UTF-8") && !setlocale(LC_NUMERIC, "fr_FR.UTF-8"))
            break; /* no such locale on this machine */
        for (size_t i = 0; i < COUNT(reads); i++) {
            tf_lexer lx;
            tf_lexer_init(&lx, reads[i].text, strlen(reads[i].text));
            const tf_tok t = tf_lex(&lx);
            cr_expect_eq(t.kind, TF_TOK_NUMBER, "%s", reads[i].text);
            cr_expect_eq(t.number, reads[i].value, "%s reads as %.17g", reads[i].text, t.number);
            cr_expect_eq(t.is_integer, reads[i].integer, "%s", reads[i].text);
        }
        for (size_t i = 0; i < COUNT(writes); i++) {
            tf_str s;
            tf_str_init(&s, NULL);
            tf_write_number(&s, TUFF_F64, writes[i]);
            tf_lexer lx;
            tf_lexer_init(&lx, s.data, s.n);
            tf_tok t = tf_lex(&lx);
            const bool minus = tf_tok_is(&t, "-");
            if (minus)
                t = tf_lex(&lx);
            cr_expect_eq(minus ? -t.number : t.number, writes[i], "%s", s.data);
            tf_str_release(&s);
        }
    }
    static const char *const bad[] = { "1e", "0x", "0xg", "1.5f", "0x1p", "1..", "3abc" };
    for (size_t i = 0; i < COUNT(bad); i++) {
        tf_lexer lx;
        tf_lexer_init(&lx, bad[i], strlen(bad[i]));
        const tf_tok t = tf_lex(&lx);
        cr_expect(t.kind == TF_TOK_BAD || (i == 5 && t.kind == TF_TOK_NUMBER && t.n == 1), "%s", bad[i]);
    }
    tf_str s;
    tf_str_init(&s, NULL);
    tf_write_number(&s, TUFF_F32, (double)0.1f);
    tf_str_add(&s, " ");
    tf_write_number(&s, TUFF_F32, -(double)INFINITY);
    tf_str_add(&s, " ");
    tf_write_number(&s, TUFF_F32, (double)NAN);
    tf_str_add(&s, " ");
    tf_write_number(&s, TUFF_F32, 1e-7);
    tf_str_add(&s, " ");
    tf_write_number(&s, TUFF_F32, -0.0);
    cr_expect_str_eq(s.data, "0.1 -inf nan 1e-7 -0");
    tf_str_release(&s);
}

/* ---- user expressions ---- */

static const int64_t dims_t[1] = { 4 }, dims_u[2] = { 2, 3 };
static const tf_uname unames[] = {
    { .name = "x", .dtype = TUFF_F32, .value = true },
    { .name = "y", .dtype = TUFF_F32, .value = true },
    { .name = "h", .dtype = TUFF_F16, .value = true },
    { .name = "b", .dtype = TUFF_BOOL, .value = true },
    { .name = "i0", .dtype = TUFF_I32, .value = true },
    { .name = "t", .dtype = TUFF_F32, .lookup = true, .rank = 1, .dim = dims_t },
    { .name = "u", .dtype = TUFF_I32, .lookup = true, .rank = 2, .dim = dims_u },
    { .name = "n", .dtype = TUFF_U32, .value = true },
    { .name = "z", .dtype = TUFF_C64, .value = true },
    { .name = "a.re", .dtype = TUFF_F32, .value = true },
};
static const tf_scalar uvalues[] = { { 0.5, 0 }, { -3, 0 }, { 2048, 0 }, { 1, 0 }, { 7, 0 }, { 0, 0 }, { 0, 0 }, { 9, 0 }, { 1, 2 }, { 4, 0 } };

static tf_scalar uvalue(void *user, uint32_t name)
{
    (void)user;
    return uvalues[name];
}

static const tf_uexpr *uparse(tf_arena *arena, const char *text, const char **message)
{
    return tf_uexpr_parse(arena, text, unames, COUNT(unames), message);
}

Test(userexpr, values)
{
    double t[4] = { 10, 20, 30, 40 }, u[6] = { 0, 1, 2, 3, 4, 5 };
    const tf_ref_tensor tt = { .dtype = TUFF_F32, .rank = 1, .dim = { 4 }, .n = 4, .re = t }, tu = { .dtype = TUFF_I32, .rank = 2, .dim = { 2, 3 }, .n = 6, .re = u };
    const tf_ref_tensor *tensors[COUNT(unames)] = { [5] = &tt, [6] = &tu };
    static const struct { const char *text; tuff_dtype dtype; double value; } cases[] = {
        { "1", TUFF_I32, 1 },
        { "1.0", TUFF_F32, 1 },
        { "x", TUFF_F32, 0.5 },
        { "x + 1", TUFF_F32, 1.5 },
        { "1 + 2 * 3 - 4", TUFF_I32, 3 },
        { "7 / 2", TUFF_I32, 3 },
        { "7 / 2.0", TUFF_F32, 3.5 },
        { "-7 / 2", TUFF_I32, -3 },
        { "i0 % 4", TUFF_I32, 3 },
        { "-i0 % 4", TUFF_I32, 1 },
        { "i0 * 0.5", TUFF_F32, 3.5 },
        { "x * i0", TUFF_F32, 3.5 },
        { "10 - 3 - 2", TUFF_I32, 5 },
        { "2 * (3 + 4)", TUFF_I32, 14 },
        { "- - x", TUFF_F32, 0.5 },
        { "-x * y", TUFF_F32, 1.5 },
        { "x > 0 ? y : x", TUFF_F32, -3 },
        { "x < 0 ? 1 : y < 0 ? 2 : 3", TUFF_I32, 2 },
        { "b ? x : 2", TUFF_F32, 0.5 },
        { "i0 ? 1 : 2", TUFF_I32, 1 },
        { "x > 0 && y > 0", TUFF_BOOL, 0 },
        { "x > 0 || y > 0 && false", TUFF_BOOL, 1 },
        { "!b", TUFF_BOOL, 0 },
        { "!i0", TUFF_BOOL, 0 },
        { "x == 0.5", TUFF_BOOL, 1 },
        { "x != 0.5", TUFF_BOOL, 0 },
        { "i0 >= 7", TUFF_BOOL, 1 },
        { "b == true", TUFF_BOOL, 1 },
        { "max(x, y) + min(1, 2)", TUFF_F32, 1.5 },
        { "maximum(i0, 9)", TUFF_I32, 9 },
        { "exp(0)", TUFF_F32, 1 },
        { "floor(i0)", TUFF_I32, 7 },
        { "sqrt(i0 + 2)", TUFF_F32, 3 },
        { "where(b, x, y)", TUFF_F32, 0.5 },
        { "clamp(x, 1, 2)", TUFF_F32, 1 },
        { "f32(i0) / 2", TUFF_F32, 3.5 },
        { "i32(x * 7)", TUFF_I32, 3 },
        { "i32(2.7)", TUFF_I32, 2 },
        { "bool(x)", TUFF_BOOL, 1 },
        { "f32(b) + 1", TUFF_F32, 2 },
        { "h + 1", TUFF_F16, 2048 },         /* 2049 is no f16 */
        { "h + 1 + 1", TUFF_F16, 2048 },     /* each operation rounds */
        { "f32(h) + 1", TUFF_F32, 2049 },
        { "h * x", TUFF_F32, 1024 },
        { "t[0]", TUFF_F32, 10 },
        { "t[i0]", TUFF_F32, 40 },           /* clamped */
        { "t[-5] + t[1]", TUFF_F32, 30 },
        { "t[i32(x) + 1]", TUFF_F32, 20 },
        { "u[1, 2]", TUFF_I32, 5 },
        { "u[u[0, 1], 0]", TUFF_I32, 3 },
        { "let a = x * 2; a + a", TUFF_F32, 2 },
        { "a = x * 2; c = a + 1; a * c;", TUFF_F32, 2 },
        { "x = 3; x + 1", TUFF_I32, 4 },     /* a let hides an operand */
        { "n + 1", TUFF_U32, 10 },
        { "inf", TUFF_F32, (double)INFINITY },
        { "-inf < x", TUFF_BOOL, 1 },
        { "real(z) + imag(z * 2)", TUFF_F32, 5 },
        { "real(z * x)", TUFF_F32, 0.5 },
        { "abs(complex(3, 4))", TUFF_F32, 5 },
        { "a.re * 2", TUFF_F32, 8 },
        { "x # a comment\n + 1", TUFF_F32, 1.5 },
        { "pow(2.0, 10)", TUFF_F32, 1024 },
        { "0x1p-1 + .5", TUFF_F32, 1 },
        { "2147483647 + 1", TUFF_I32, -2147483648.0 },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        tf_arena arena;
        const char *message;
        tf_arena_init(&arena, NULL);
        const tf_uexpr *e = uparse(&arena, cases[i].text, &message);
        cr_expect_not_null(e, "%s: %s", cases[i].text, message);
        if (e) {
            tf_scalar *scratch = tf_arena_array(&arena, tf_scalar, e->n);
            const tf_scalar y = tf_uexpr_eval(e, &(tf_ueval){ .value = uvalue, .tensor = tensors, .scratch = scratch });
            cr_expect_eq(e->dtype, cases[i].dtype, "%s is %s", cases[i].text, tuff_dtype_name(e->dtype));
            cr_expect_eq(y.re, cases[i].value, "%s is %g, not %g", cases[i].text, y.re, cases[i].value);
        }
        tf_arena_release(&arena);
    }
}

Test(userexpr, messages)
{
    static const struct { const char *text, *message; } cases[] = {
        { "", "1:1: the expression ends where a value is expected" },
        { "x +", "1:4: the expression ends where a value is expected" },
        { "x x", "1:3: the expression continues with x" },
        { "(x", "1:3: ) is expected after the value, but the expression ends" },
        { "x +\n  * y", "2:3: a value is expected here, not *" },
        { "exq(x)", "1:1: unknown function \"exq\"; did you mean \"exp\"?" },
        { "xx", "1:1: unknown name \"xx\"; did you mean \"x\"?" },
        { "exp", "1:1: unknown function \"exp\"; did you mean \"exp\"?" },
        { "exp(x, y)", "1:1: exp takes 1 value, not 2" },
        { "matmul(x, y)", "1:1: matmul cannot be called in an expression" },
        { "leaky_relu(x)", "1:1: leaky_relu cannot be called in an expression" },
        { "b + 1", "1:3: bool and a number do not mix; write true or false" },
        { "b + x", "1:3: bool and f32 do not mix; convert one: f32(...)" },
        { "b + b", "1:3: + does not take bool" },
        { "n + i0", "1:3: u32 and i32 do not mix; convert one: u32(...)" },
        { "b ? x : b", "1:3: f32 and bool do not mix; convert one: f32(...)" },
        { "x ? 1", "1:6: : is expected between the choices, but the expression ends" },
        { "t", "1:1: t is a tensor; look up an element: t[...]" },
        { "x[0]", "1:1: x is one value; it has no elements to look up" },
        { "t[0, 1]", "1:1: t takes 1 indices, not 2" },
        { "t[x]", "1:1: index 0 of t is f32; indices are integers: i32(...)" },
        { "t[0", "1:4: , is expected between the values, but the expression ends" },
        { "let = 3; x", "1:5: let is followed by a name and =" },
        { "a = 3 x", "1:7: ; is expected after the value, not x" },
        { "a = 3;", "1:7: the expression ends where a value is expected" },
        { "i0 < i0 < i0", "1:9: bool and i32 do not mix; convert one: i32(...)" },
        { "f32(x, y)", "1:1: f32(x) converts one value, not 2" },
        { "u4(x)", "1:1: there is no arithmetic in u4" },
        { "$", "1:1: this character has no place here" },
        { "\"s\"", "1:1: a value is expected here, not \"s\"" },
        { "bit_and(x, 1)", "1:1: bit_and does not take f32" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        tf_arena arena;
        const char *message;
        tf_arena_init(&arena, NULL);
        cr_expect_null(uparse(&arena, cases[i].text, &message), "%s", cases[i].text);
        cr_expect_str_eq(message, cases[i].message);
        tf_arena_release(&arena);
    }
}

/* ---- damage ---- */

/* A mutation of text: bytes changed, doubled, dropped, or pieces of another text put in. */
static size_t mutate(rng *r, char *text, size_t n, size_t cap, const char *other)
{
    static const char spice[] = "{}[]()=,.\"#@<>-+*/%?:;&|! \n0123456789eExp_inf\\";
    for (uint32_t k = 1 + rng_below(r, 4); k && n; k--) {
        const size_t at = rng_below(r, (uint32_t)n);
        const size_t len = 1 + rng_below(r, 12);
        switch (rng_below(r, 5)) {
        case 0: text[at] = spice[rng_below(r, sizeof spice - 1)]; break;
        case 1: text[at] = (char)rng_next(r); break;
        case 2:
            if (at + len <= n) {
                memmove(text + at, text + at + len, n - at - len);
                n -= len;
            }
            break;
        case 3:
            if (at + len <= n && n + len < cap) {
                memmove(text + at + len, text + at, n - at);
                n += len;
            }
            break;
        default: {
            const size_t m = strlen(other), from = m ? rng_below(r, (uint32_t)m) : 0, take = TF_MIN(len, m - from);
            if (at + take <= n)
                memcpy(text + at, other + from, take);
        }
        }
    }
    return n;
}

Test(text, mutations)
{
    rng r = { 5 };
    uint32_t parsed = 0;
    for (int round = 0; round < 8000; round++) {
        const char *in = identities[rng_below(&r, COUNT(identities))].in, *other = identities[rng_below(&r, COUNT(identities))].in;
        char text[1024], message[512] = "";
        memcpy(text, in, strlen(in));
        const size_t n = mutate(&r, text, strlen(in), sizeof text, other);
        char *exact = malloc(n ? n : 1); /* so that the sanitizer sees reads beyond the end */
        memcpy(exact, text, n);
        tuff_graph *g;
        const tuff_status status = tuff_graph_parse(exact, n, NULL, &g, message, sizeof message);
        free(exact);
        cr_assert((status == TUFF_OK) == (g != NULL));
        cr_assert(status == TUFF_OK || message[0]);
        cr_assert_neq(status, TUFF_E_INTERNAL, "%s", message);
        if (!g)
            continue;
        parsed++;
        cr_assert_null(tf_graph_check(g), "%s\n%.*s", tf_graph_check(g), (int)n, text);
        char *once = print(g);
        tuff_graph *h;
        const tuff_status again = tuff_graph_parse(once, strlen(once), NULL, &h, message, sizeof message);
        /* Constants too long to be written name files that are not there. */
        cr_assert(again == TUFF_OK || again == TUFF_E_IO, "%s\n%.*s\n-- printed --\n%s", message, (int)n, text, once);
        if (h) {
            char *twice = print(h);
            cr_assert_str_eq(twice, once);
            free(twice);
        }
        free(once);
        tuff_graph_destroy(g);
        tuff_graph_destroy(h);
    }
    cr_expect_gt(parsed, 500u, "%u", parsed);
}

Test(userexpr, mutations)
{
    static const char *const seeds[] = {
        "let a = x * 2; a > 0 ? max(a, y) : exp(t[i0 + 1]) + pi", "u[i0 / 2, i0 % 3] * 0.5 + f32(b) - h", "(x < 1 && !(y >= 2)) || b ? -x : clamp(y, 0, 1e3)",
    };
    double t[4] = { 1, 2, 3, 4 }, u[6] = { 0 };
    const tf_ref_tensor tt = { .dtype = TUFF_F32, .rank = 1, .dim = { 4 }, .n = 4, .re = t }, tu = { .dtype = TUFF_I32, .rank = 2, .dim = { 2, 3 }, .n = 6, .re = u };
    const tf_ref_tensor *tensors[COUNT(unames)] = { [5] = &tt, [6] = &tu };
    rng r = { 9 };
    uint32_t parsed = 0;
    for (int round = 0; round < 8000; round++) {
        char text[512];
        const char *in = seeds[rng_below(&r, COUNT(seeds))];
        memcpy(text, in, strlen(in));
        const size_t n = mutate(&r, text, strlen(in), sizeof text - 1, seeds[rng_below(&r, COUNT(seeds))]);
        text[n] = 0;
        tf_arena arena;
        const char *message;
        tf_arena_init(&arena, NULL);
        const tf_uexpr *e = uparse(&arena, text, &message);
        cr_assert(e || message);
        if (e) {
            parsed++;
            tf_uexpr_eval(e, &(tf_ueval){ .value = uvalue, .tensor = tensors, .scratch = tf_arena_array(&arena, tf_scalar, e->n) });
        }
        tf_arena_release(&arena);
    }
    cr_expect_gt(parsed, 300u, "%u", parsed);
    /* Depth and size are bounded. */
    static const char *const units[] = { "(", "-", "!", "exp(", "x?", "x?x:", "t[", "x+", "x==" };
    for (size_t i = 0; i < COUNT(units); i++) {
        tf_str s;
        tf_str_init(&s, NULL);
        for (int k = 0; k < 20000; k++)
            tf_str_add(&s, units[i]);
        tf_arena arena;
        const char *message;
        tf_arena_init(&arena, NULL);
        cr_expect_null(uparse(&arena, s.data, &message));
        cr_expect_not_null(message);
        tf_arena_release(&arena);
        tf_str_release(&s);
    }
}

/* ---- memory ---- */

Test(text, every_allocation_may_fail)
{
    static const char text[] = "param k = 2\ndim n <= 4\ninput x f32[n,4]\nconst c f32[4] = [1, 2, 3, 4]\ndef f(a) -> (b) { b = add(relu(a), c) }\n"
                               "repeat i in 0..k { x = f(x) input \"w{i}\" f32 }\nstate s f32[n,4]\ns2 = assign(s, x)\n"
                               "m = map(x, c) {expr=\"let q = x + c; q > 0 ? exp(q) : 1\"}\ny = softmax(m) {axis=-1}\noutput \"a b\" = y\n";
    for (uint64_t n = 1;; n++)
        for (int sticky = 0; sticky < 2; sticky++) {
            failing_allocator f = { .fail_at = n, .sticky = sticky != 0 };
            char message[256], out[2048];
            tuff_graph *g;
            const tuff_status status = tuff_graph_parse(text, sizeof text - 1, &(tuff_parse_desc){ .allocator = failing(&f) }, &g, message, sizeof message);
            cr_assert((status == TUFF_OK) == (g != NULL));
            cr_assert(status == TUFF_OK || status == TUFF_E_MEMORY, "call %llu: %d %s", (unsigned long long)n, (int)status, message);
            const size_t length = g ? tuff_graph_print(g, out, sizeof out) : 0;
            tuff_graph_destroy(g);
            cr_assert_eq(f.live, 0u, "call %llu leaks", (unsigned long long)n);
            cr_assert(length == 0 || length > 200, "call %llu: half a graph is printed", (unsigned long long)n);
            if (f.calls < n) {
                cr_expect_gt(length, 200u);
                return;
            }
        }
}
