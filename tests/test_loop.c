/* test_loop.c - loops on the device: against the interpreter, which evaluates them iteration by iteration, with and without
 * fusion and at the floor; what a run records, and what it costs the host. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <tuff/tuff_vulkan.h>

#include "graph/interp.h"
#include "graph/op.h"
#include "runtime/program.h"
#include "support/support.h"

typedef struct loop_case { const char *name, *text; uint32_t runs; } loop_case;
static const loop_case cases[] = {
    { "no iteration", "x = input f32[37] y = loop 0 (v = x) { yield mul(v, 2.0) } output y", 1 },
    { "one iteration", "x = input f32[37] y = loop 1 (v = x) { yield mul(v, 2.0) } output y", 1 },
    { "odd", "x = input f32[37] y = loop 3 (v = x) { yield add(mul(v, 0.5), x) } output y", 1 },
    { "even, over several workgroups", "x = input f32[9000] y = loop 4 (v = x) { yield add(mul(v, 0.5), x) } output y", 1 },
    { "read elsewhere", "x = input f32[5,12] y = loop 7 (v = x) { yield add(mul(v, 0.5), roll(v) {shift=[3], axes=[1]}) } output y", 1 },
    { "fibonacci: two values change places", "a0 = input i32[4] b0 = input i32[4] a, b = loop 10 (a = a0, b = b0) { yield b, add(a, b) } output a output b", 1 },
    { "three values in a circle", "a0 = input f32[40] b0 = input f32[40] c0 = input f32[40]"
      " a, b, c = loop 5 (a = a0, b = b0, c = c0) { yield roll(b) {shift=[1], axes=[0]}, c, mul(a, 0.5) } output a output b output c", 1 },
    { "by turns, even", "x = input f32[40] y = loop 6 step i (v = x) { yield add(mul(roll(v) {shift=[1], axes=[0]}, 0.5), cast(i) {dtype=f32}) } output y", 1 },
    { "by turns, two values", "x = input f32[40] w = input f32[40] y, z = loop 5 (v = x, u = w) { a = roll(v) {shift=[1], axes=[0]} yield add(mul(a, 0.5), u), mul(roll(u) {shift=[3], axes=[0]}, a) } output y output z", 1 },
    { "by turns, with temporaries and what follows", "x = input f32[6,6] w = input f32[6,6] b = add(x, 1.0) y = loop 3 (v = b) { h = softmax(matmul(v, w)) {axis=1} yield add(matmul(h, v), roll(v) {shift=[1], axes=[0]}) }"
      " z = loop 2 (u = y) { yield roll(u) {shift=[1], axes=[1]} } output y output z", 1 },
    { "by turns, one of two in place", "x = input f32[40] y, z, s = loop 5 (v = x, u = x) { yield roll(v) {shift=[1], axes=[0]}, add(u, v) stack v } output y output z output s", 1 },
    { "by turns, into a state", "state s f32[9] x = input f32[9] y = loop 3 (v = x) { yield add(roll(v) {shift=[1], axes=[0]}, s) } t = assign(s, y) output y", 3 },
    { "the step index", "x = input f32[6] y = loop 9 step i (v = x) { yield add(v, cast(i) {dtype=f32}) } output y", 1 },
    { "a table read by the step", "x = input f32[300] t = input f32[8,2] y = loop 8 step i (v = x) {"
      " r = gather(t, i) {axis=0} a = slice(r) {start=[0], stop=[1]} b = slice(r) {start=[1], stop=[2]} yield add(mul(v, a), b) } output y", 1 },
    { "stacked", "x = input f32[5,7] y, ys, zs = loop 6 step i (v = x) { w = mul(cos(v), 0.9) yield w stack sin(w), sum(w) } output y output ys output zs", 1 },
    { "stacked halves and bools", "x = input f16[6] ys, zs = loop 4 (v = x) { w = mul(v, 0.5) yield w stack w, greater(w, 0.1) } y = cast(zs) {dtype=i32} output ys output y", 1 },
    { "stacked, named results", "x = input f32[5] y, ys = loop 3 (v = x) { w = mul(v, 0.5) yield w stack w } output y output ys", 1 },
    { "reduction and matmul", "x = input f32[16,16] w = input f32[16,16] y = loop 4 (v = x) { h = matmul(v, w) yield softmax(h) {axis=-1} } output y", 1 },
    { "nested", "x = input f32[11] y = loop 3 step i (v = x) { u = loop 4 step j (u = v) { yield add(mul(u, 0.5), cast(add(mul(i, 10), j)) {dtype=f32}) } yield add(u, v) } output y", 1 },
    { "nested at the start and the end", "x = input f32[11] y = loop 2 (v = x) { u = loop 3 (u = v) { yield mul(u, 0.5) } w = loop 2 (w = u) { yield add(w, 1.0) } yield w } output y", 1 },
    { "nested, none inside", "x = input f32[11] y = loop 2 (v = x) { u = loop 0 (u = v) { yield mul(u, 0.5) } yield add(u, 1.0) } output y", 1 },
    { "nested stack", "x = input f32[3] y, s = loop 2 (v = x) { u, t = loop 3 (u = v) { w = mul(u, 0.5) yield w stack w } yield u stack t } output y output s", 1 },
    { "four deep", "x = input f32[3] y = loop 2 step a (v = x) { v = loop 2 step b (v = v) { v = loop 2 step c (v = v) { v = loop 2 step d (v = v) {"
      " k = add(mul(a, 8), add(mul(b, 4), add(mul(c, 2), d))) yield add(mul(v, 0.5), cast(k) {dtype=f32}) } yield v } yield v } yield v } output y", 1 },
    { "state assigned in a loop", "state s f32[4] x = input f32[4] y = loop 3 (v = x) { t = assign(s, add(s, v)) yield add(v, mul(s, 0.5)) } before = add(s, 0) output y output before", 3 },
    { "state in a loop inside a loop", "state s f32[4] x = input f32[4] y = loop 2 (v = x) { u = loop 3 (u = v) { t = assign(s, add(s, u)) yield add(u, mul(s, 0.25)) } yield add(u, s) } output y", 2 },
    { "state assigned behind a loop", "state s f32[4] x = input f32[4] y = loop 3 (v = x) { yield add(v, s) } t = assign(s, y) output y", 3 },
    { "random numbers of each step", "x = input f32[2,9] y, n = loop 4 step i (v = x) { z = normal(step=i) {shape=[2,9], seed=5} yield add(v, z) stack z } output y output n", 1 },
    { "mixed dtypes", "x = input f16[10] k = input i8[10] c = input c64[10] a, b, d = loop 5 step i (a = x, b = k, d = c) {"
      " yield mul(a, cast(0.5) {dtype=f16}), add(b, cast(i) {dtype=i8}), mul(d, d) } output a output b output d", 1 },
    { "carried bools", "x = input bool[13] y = loop 3 (v = x) { yield logical_not(v) } output y", 1 },
    { "a carried value that stays", "x = input f32[4] w = input f32[4] y, k = loop 3 (v = x, k = w) { yield add(v, k), k } output y output k", 1 },
    { "one value carried twice", "x = input f32[4] a, b = loop 3 (a = x, b = x) { n = mul(add(a, b), 0.5) yield n, n } output a output b", 1 },
    { "an invariant product", "x = input f32[8,8] w = input f32[8,8] e = exp(w) y = loop 3 (v = x) { yield add(matmul(v, e), x) } output y", 1 },
    { "invariants inside", "x = input f32[8,8] w = input f32[8,8] y = loop 3 (v = x) { e = matmul(w, exp(w)) s = softmax(e) {axis=1} yield add(matmul(v, s), x) } output y", 1 },
    { "invariants of nested loops", "x = input f32[6,6] w = input f32[6,6] y = loop 3 step i (v = x) { u = loop 4 step j (u = v) { a = matmul(w, w) b = matmul(a, v) c = mul(b, cast(i) {dtype=f32})"
      " yield add(mul(u, 0.1), add(c, mul(a, cast(j) {dtype=f32}))) } yield tanh(u) } output y", 1 },
    { "an invariant next value", "x = input f32[6,6] w = input f32[6,6] y, z = loop 3 (v = x, k = x) { yield add(mul(v, 0.5), k), matmul(w, w) } output y output z", 1 },
    { "invariants of a while that does not run", "x = input f32[6,6] no = less(x, x) go = any(no) y, n = while go <= 4 (v = x) { a = matmul(x, x) go = any(greater(v, a)) yield add(v, a) } output y output n", 1 },
    { "an invariant stacked", "x = input f32[5] y, s = loop 3 (v = x) { e = cumsum(x) {axis=0} yield add(v, e) stack e } output y output s", 1 },
    { "a state is not invariant", "state s f32[4] x = input f32[4] y = loop 3 (v = x) { a = cumsum(s) {axis=0} t = assign(s, add(s, v)) yield add(v, a) } output y", 2 },
    { "two loops", "x = input f32[8] y = loop 3 (v = x) { yield mul(v, 0.5) } z = loop 2 (v = y) { yield add(v, x) } output y output z", 1 },
    { "unused carried value", "x = input f32[8] y, z = loop 3 (v = x, u = x) { yield mul(v, 0.5), add(u, v) } output y", 1 },
    { "unused loop", "x = input f32[8] y = loop 3 (v = x) { yield mul(v, 0.5) } output z = x", 1 },
    { "empty tensors", "x = input f32[0,4] y, s = loop 3 (v = x) { w = mul(v, 0.5) yield w stack w } output y output s", 1 },
    { "while: ends by itself", "x = input f32[5,7] a, n, more = while go <= 20 (x = x) { z = mul(x, 0.5) go = greater(max(abs(z)), 0.1) yield z } output a output n output more", 1 },
    { "while: none", "x = input f32[5] no = less(x, x) go = any(no) y, s, n, more = while go <= 4 (v = x) { w = add(v, 1.0) go = logical_not(go) yield w stack w } output y output s output n output more", 1 },
    { "while: one", "x = input f32[5] y, s, n, more = while go <= 4 step i (v = x) { w = add(v, 1.0) go = less(i, 0) yield w stack w } output y output s output n output more", 1 },
    { "while: two, a value is copied", "x = input f32[5] y, s, n, more = while go <= 4 step i (v = x) { w = add(roll(v) {shift=[1], axes=[0]}, 1.0) go = less(i, 1) yield w stack w } output y output s output n output more", 1 },
    { "while: three of three", "x = input f32[5] y, n, more = while go <= 3 step i (v = x) { go = less(i, 2) yield add(v, 1.0) } output y output n output more", 1 },
    { "while: the bound", "x = input f32[5] y, n, more = while go <= 3 step i (v = x) { go = less(i, 100) yield add(v, 1.0) } output y output n output more", 1 },
    { "while: none are possible", "x = input f32[5] y, n, more = while go <= 0 step i (v = x) { go = less(i, 100) yield add(v, 1.0) } output y output n output more", 1 },
    { "while: fibonacci", "a0 = input i32[4] b0 = input i32[4] a, b, n = while go <= 30 step i (a = a0, b = b0) { go = less(i, 6) yield b, add(a, b) } output a output b output n", 1 },
    { "while in a loop", "x = input f32[3] y, c = loop 4 step k (v = x, c = cast(0) {dtype=i32}) { u, n = while go <= 5 step i (u = v) { go = less(i, k) yield mul(u, 0.5) } yield add(u, 1.0), add(mul(c, 10), n) } output y output c", 1 },
    { "loop in a while", "x = input f32[3] y, n = while go <= 5 step i (v = x) { u = loop 3 (u = roll(v) {shift=[1], axes=[0]}) { yield add(mul(u, 0.5), roll(u) {shift=[1], axes=[0]}) } go = less(i, 2) yield u } output y output n", 1 },
    { "while in a while", "x = input f32[3] y, n = while go <= 5 step i (v = x) { u, m = while on <= 4 step j (u = v) { on = less(j, i) yield add(roll(u) {shift=[1], axes=[0]}, 1.0) } go = less(i, 2) yield u } output y output n", 1 },
    { "while: a state", "state s f32[4] x = input f32[4] y, n = while go <= 5 step i (v = x) { t = assign(s, add(s, v)) go = less(i, 1) yield add(v, mul(s, 0.5)) } output y output n", 3 },
    { "while: a dim of the run", "dim m <= 9 x = input f32[m,4] y, n = while go <= 5 step i (v = x) { go = less(i, 1) yield mul(v, 0.5) } output y output n", 1 },
    { "rows of a state", "state s f32[40,6] i = input i32[3] u = input f32[3,6] t = assign(s, scatter(s, i, u) {axis=0}) output y = t", 3 },
    { "rows of a state, read before", "state s f32[40,6] i = input i32[3] u = input f32[3,6] b = sum(s) t = assign(s, scatter(s, i, u) {axis=0}) output b output y = t", 3 },
    { "rows of a state that depend on it", "state s f32[6,40] i = input i32[2] u = input f32[6,2] t = assign(s, scatter(s, i, add(u, slice(s) {start=[0,0], stop=[6,2]})) {axis=1}) output y = t", 3 },
    { "momentum", "state m f32[300] state w f32[300] g = input f32[300] n = assign(m, add(mul(m, 0.9), g)) v = assign(w, sub(w, mul(n, 0.1))) output y = v", 3 },
    { "states that change places", "state a f32[8] state b f32[8] x = input f32[8] n = assign(a, add(b, x)) m = assign(b, a) output n output m", 4 },
    { "a state that turns", "state a f32[9] x = input f32[9] n = assign(a, add(roll(a) {shift=[1], axes=[0]}, x)) output n", 3 },
    { "rows written into a carried tensor", "x = input f32[6,5] i = input i32[2] u = input f32[2,5] y = loop 3 step k (v = x) {"
      " yield scatter(v, i, add(u, cast(k) {dtype=f32})) {axis=0} } output y", 1 },
};

static tuff_graph *parse(const char *what, const char *text)
{
    tuff_graph *g = NULL;
    char message[512];
    const tuff_status status = tuff_graph_parse(text, strlen(text), NULL, &g, message, sizeof message);
    cr_expect(!status, "%s: %s", what, message);
    if (g) {
        const char *wrong = tf_graph_check(g);
        cr_expect(!wrong, "%s: %s", what, wrong);
    }
    return g;
}

static void fill(void *user, const char *name, tuff_dtype dtype, void *data, size_t n)
{
    rng r = { *(uint64_t *)user };
    (void)name;
    for (size_t i = 0; i < n; i++)
        if (tf_dtype_is_int(dtype)) tf_store_element(dtype, data, i, (double)rng_below(&r, 6), 0);
        else if (dtype == TUFF_BOOL) tf_store_element(dtype, data, i, (double)rng_below(&r, 2), 0);
        else tf_store_element(dtype, data, i, 2 * rng_uniform(&r) - 1, dtype == TUFF_C64 ? rng_uniform(&r) : 0);
}

static void run_cases(const tuff_device_desc *desc, const tuff_compile_desc *compile)
{
    tuff_device *dev = open_device(desc);
    for (size_t i = 0; i < COUNT(cases); i++) {
        tuff_graph *g = parse(cases[i].name, cases[i].text);
        uint64_t seed = i + 1;
        if (g) expect_graph(cases[i].name, dev, g, &(graph_options){ .seed = seed, .runs = cases[i].runs, .fill = fill, .user = &seed, .compile = *compile,
                                                                    .tolerance = { .rel = 1e-3 } });
        tuff_graph_destroy(g);
    }
    tuff_device_close(dev);
}

Test(loop, cases) { run_cases(NULL, &(tuff_compile_desc){ 0 }); }
Test(loop, unfused) { run_cases(NULL, &(tuff_compile_desc){ .no_fusion = true }); }
Test(loop, at_the_floor)
{
    run_cases(&(tuff_device_desc){ .limits = "shared=16K,invocations=128,bindings=4", .toggles = "-subgroup,-fp16,-storage16,-storage8" }, &(tuff_compile_desc){ 0 });
}

/* Printing and parsing again is the identity. */
Test(loop, text)
{
    for (size_t i = 0; i < COUNT(cases); i++) {
        tuff_graph *g = parse(cases[i].name, cases[i].text), *h;
        if (!g) continue;
        char one[8192], two[8192];
        cr_assert(tuff_graph_print(g, one, sizeof one) < sizeof one);
        h = parse(cases[i].name, one);
        if (h) {
            tuff_graph_print(h, two, sizeof two);
            cr_expect(!strcmp(one, two), "%s\n%s\n%s", cases[i].name, one, two);
        } else
            cr_log_info("%s", one);
        tuff_graph_destroy(h);
        tuff_graph_destroy(g);
    }
}

/* ---- the C interface -------------------------------------------------------------------------------- */

/* Newton's iteration for the square root, until it no longer moves. */
static void newton(void *user, tuff_iteration *it)
{
    const tuff_tensor a = *(const tuff_tensor *)user, x = it->in[0];
    const tuff_tensor next = tuff_mul(tuff_add(x, tuff_div(a, x)), tuff_literal(it->graph, 0.5, TUFF_F32));
    it->out[0] = next;
    it->again = tuff_greater(tuff_max(tuff_abs(tuff_sub(next, x)), NULL), tuff_literal(it->graph, 1e-4, TUFF_F32));
    it->stacked[0] = next;
}

Test(loop, c_interface)
{
    tuff_device *dev = open_device(NULL);
    tuff_graph *g = tuff_graph_create(NULL);
    const float values[3] = { 2.0f, 9.0f, 100.0f };
    tuff_tensor a = tuff_const(g, TUFF_F32, TUFF_SHAPE(3), values, NULL), r[4];
    cr_assert(tuff_while(g, &(tuff_while_desc){ .max = 50, .carried = &a, .n = 1, .body = newton, .user = &a, .stacked = 1 }, r) == TUFF_OK, "%s", tuff_graph_error(g));
    cr_expect(tuff_tensor_shape(r[1]).dim[0] == 50 && tuff_tensor_dtype(r[3]) == TUFF_BOOL);
    tuff_output(g, "root", r[0]);
    tuff_output(g, "steps", r[2]);
    tuff_output(g, "more", r[3]);
    tuff_program *p = NULL;
    cr_assert(tuff_compile(dev, g, NULL, &p) == TUFF_OK, "%s", tuff_graph_error(g));
    float root[3];
    int32_t steps;
    bool more;
    const uint64_t before = tf_last_ticket(dev);
    cr_assert(tuff_run(p) == TUFF_OK, "%s", tuff_program_error(p));
    cr_expect(tf_last_ticket(dev) == before + 1, "a run is one submission, whatever its loops do");
    cr_expect(tuff_read(p, "root", root, sizeof root) == TUFF_OK && tuff_read(p, "steps", &steps, sizeof steps) == TUFF_OK && tuff_read(p, "more", &more, sizeof more) == TUFF_OK);
    for (int i = 0; i < 3; i++) cr_expect(fabs((double)root[i] * root[i] - (double)values[i]) < 1e-3 * values[i], "%g", (double)root[i]);
    cr_expect(steps > 5 && steps < 20 && !more, "%d steps", steps);
    cr_expect(tuff_progress(p) == 1.0);
    tuff_program_destroy(p);
    tuff_graph_destroy(g);
    tuff_device_close(dev);
}

static void halve(void *user, tuff_iteration *it)
{
    (void)user;
    it->out[0] = tuff_mul(it->in[0], tuff_literal(it->graph, 0.5, TUFF_F32));
}
static void nothing(void *user, tuff_iteration *it) { (void)user; (void)it; }
static tuff_tensor escaped;
static void leak(void *user, tuff_iteration *it)
{
    halve(user, it);
    escaped = it->out[0];
}

Test(loop, mistakes)
{
    static const struct { const char *want; int64_t count; tuff_loop_fn body; } rows[] = {
        { "loop: -1 iterations; from 0 to 2147483647 are possible", -1, halve }, { "loop: next value 0 is absent", 3, nothing },
        { "loop: the body, the carried values or the results are NULL", 3, NULL },
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        tuff_graph *g = tuff_graph_create(NULL);
        tuff_tensor x = tuff_input(g, "x", TUFF_F32, TUFF_SHAPE(3)), y;
        cr_expect(tuff_loop(g, &(tuff_loop_desc){ .count = rows[i].count, .carried = &x, .n = 1, .body = rows[i].body }, &y) != TUFF_OK);
        cr_expect(!strcmp(tuff_graph_error(g), rows[i].want), "%s", tuff_graph_error(g));
        tuff_graph_destroy(g);
    }
    tuff_graph *g = tuff_graph_create(NULL);
    tuff_tensor x = tuff_input(g, "x", TUFF_F32, TUFF_SHAPE(3)), y;
    cr_expect(tuff_loop(g, &(tuff_loop_desc){ .count = 2, .carried = &x, .n = 1, .body = leak }, &y) == TUFF_OK);
    tuff_exp(escaped);
    cr_expect(strstr(tuff_graph_error(g), "is a value of a loop's body, which is not known outside of it"), "%s", tuff_graph_error(g));
    tuff_graph_destroy(g);
}

/* ---- running -------------------------------------------------------------------------------------- */

static tuff_program *compile(tuff_device *dev, const char *text)
{
    tuff_graph *g = parse("compile", text);
    tuff_program *p = NULL;
    cr_assert(g && tuff_compile(dev, g, NULL, &p) == TUFF_OK, "%s", tuff_graph_error(g));
    tuff_graph_destroy(g);
    return p;
}

Test(loop, runs_in_flight)
{
    tuff_device *dev = open_device(NULL);
    tuff_program *p = compile(dev, "state s f32[5] x = input f32[5] y = loop 4 (v = x) { t = assign(s, add(s, v)) yield mul(v, 2.0) } output y");
    float x[5] = { 1, 2, 3, 4, 5 }, s[5];
    cr_assert(tuff_write(p, "x", x, sizeof x) == TUFF_OK);
    for (int i = 0; i < 5; i++) cr_assert(tuff_submit(p, NULL) == TUFF_OK, "%s", tuff_program_error(p));
    cr_assert(tuff_read(p, "s", s, sizeof s) == TUFF_OK);
    for (int i = 0; i < 5; i++) cr_expect(s[i] == 75 * x[i], "%g", (double)s[i]);
    tuff_program_destroy(p);
    tuff_device_close(dev);
}

/* Into a command buffer of the application's, in parts of any size. */
Test(loop, recorded_in_parts)
{
    tuff_device *dev = open_device(NULL);
    tuff_program *p = compile(dev, "x = input f32[5] y = loop 4 step i (v = x) { u = loop 3 (u = v) { yield add(mul(u, 0.5), roll(u) {shift=[1], axes=[0]}) } yield add(u, cast(i) {dtype=f32}) } output y");
    float x[5] = { 1, -2, 3, -4, 5 }, want[5], got[5], zero[5] = { 0 };
    cr_assert(tuff_write(p, "x", x, sizeof x) == TUFF_OK && tuff_run(p) == TUFF_OK && tuff_read(p, "y", want, sizeof want) == TUFF_OK);
    const uint32_t n = tuff_step_count(p);
    cr_expect(n > 4 * 3 * 2, "%u steps", n);
    cr_assert(tuff_write(p, "x", zero, sizeof zero) == TUFF_OK && tuff_run(p) == TUFF_OK && tuff_write(p, "x", x, sizeof x) == TUFF_OK);
    cr_assert(tf_begin(p, p->aux, true));
    for (uint32_t first = 0, part = 1; first < n; part++) {
        uint32_t next = 0;
        const tuff_record_desc d = { .first = first, .count = TF_MIN(part, n - first) };
        cr_assert(tuff_record(p, p->aux, &d, &next) == TUFF_OK && next == first + d.count, "%s", tuff_program_error(p));
        first = next;
    }
    uint64_t ticket;
    cr_assert(tf_end(p, p->aux) && tf_submit(dev, &(tf_batch){ &p->aux, 1 }, 1, (tf_semaphores){ 0 }, (tf_semaphores){ 0 }, &ticket, &p->fault));
    cr_assert(tf_wait(dev, ticket, UINT64_MAX, &p->fault) && tuff_read(p, "y", got, sizeof got) == TUFF_OK, "%s", tuff_program_error(p));
    cr_expect(!memcmp(got, want, sizeof got));
    tuff_program_destroy(p);
    tuff_device_close(dev);
}

static float square[128 * 128];

/* Starts a run, sees it advance to a tenth, cancels it and sees the device end long before it would have. False: it was too fast. */
static bool cancel_early(tuff_device *dev, tuff_program *p)
{
    uint64_t ticket;
    const uint64_t t0 = tf_clock_ns();
    cr_assert(tuff_write(p, "x", square, sizeof square) == TUFF_OK && tuff_submit(p, &ticket) == TUFF_OK, "%s", tuff_program_error(p));
    double last = 0;
    for (int polls = 0; last < 0.1 && polls < 100000; polls++) {
        const double now = tuff_progress(p);
        cr_expect(now >= last && now <= 1.0, "%g after %g", now, last);
        last = now;
        cr_expect(tuff_wait(p, ticket, 1000000) != TUFF_E_CANCELLED);
    }
    const uint64_t t1 = tf_clock_ns();
    cr_expect(last >= 0.1);
    tuff_cancel(p);
    cr_expect(tuff_wait(p, ticket, UINT64_MAX) == TUFF_E_CANCELLED || last == 1.0, "%s", tuff_program_error(p));
    cr_assert(tf_wait(dev, ticket, UINT64_MAX, &p->fault));
    const uint64_t t2 = tf_clock_ns();
    const double whole = (double)(t1 - t0) / last;
    cr_expect(last > 0.6 || (double)(t2 - t1) < 0.5 * (1.0 - last) * whole, "%.0f ms of about %.0f were done, the rest took %.0f", (double)(t1 - t0) * 1e-6, whole * 1e-6,
              (double)(t2 - t1) * 1e-6);
    return last < 1.0;
}

/* A condition that never fails ends at the bound, seen to advance; cancelled, it ends long before. */
Test(loop, progress_and_cancel)
{
    tuff_device *dev = open_device(NULL);
    tuff_program *p = compile(dev, "x = input f32[128,128] y, n, more = while go <= 1000 step i (v = x) { w = tanh(matmul(v, x)) go = less(i, 100000) yield w } output y output n output more");
    const bool early = cancel_early(dev, p);
    int32_t n = 0;
    bool more = false;
    cr_assert(tuff_read(p, "n", &n, sizeof n) == TUFF_OK);
    cr_expect(!early || (n > 0 && n < 1000), "%d iterations", n);
    cr_assert(tuff_run(p) == TUFF_OK && tuff_read(p, "n", &n, sizeof n) == TUFF_OK && tuff_read(p, "more", &more, sizeof more) == TUFF_OK, "%s", tuff_program_error(p));
    cr_expect(n == 1000 && more, "the next run is not cancelled: %d iterations", n);
    tuff_program_destroy(p);
    tuff_device_close(dev);
}

/* So does a loop of a fixed count, also around a loop; runs after it are whole. */
Test(loop, cancel_a_fixed_count)
{
    static const char *const texts[] = {
        "x = input f32[128,128] y, c = loop 1000 (v = x, c = cast(0) {dtype=i32}) { yield tanh(matmul(v, x)), add(c, 1) } output y output c",
        "x = input f32[128,128] y, c = loop 100 (v = x, c = cast(0) {dtype=i32}) { u = loop 10 (u = v) { yield tanh(matmul(u, x)) } yield u, add(c, 1) } output y output c",
    };
    tuff_device *dev = open_device(NULL);
    for (size_t i = 0; i < COUNT(texts); i++) {
        tuff_program *p = compile(dev, texts[i]);
        const bool early = cancel_early(dev, p);
        int32_t n = 0, whole = i ? 100 : 1000;
        cr_assert(tuff_read(p, "c", &n, sizeof n) == TUFF_OK);
        cr_expect(!early || n < whole, "%zu: %d iterations", i, n);
        cr_assert(tuff_run(p) == TUFF_OK && tuff_read(p, "c", &n, sizeof n) == TUFF_OK, "%s", tuff_program_error(p));
        cr_expect(n == whole, "%zu: %d iterations of the next run", i, n);
        tuff_program_destroy(p);
    }
    tuff_device_close(dev);
}

#define SUM(y, x) y " = cumsum(" x ") {axis=0} "
#define SUMS SUM("a", "w") SUM("b", "a") SUM("c", "b") SUM("d", "c") SUM("e", "d") SUM("f", "e") SUM("g", "f")

/* Loops longer than a run may record: chunks recorded once and submitted again and again give what one recording gives. */
Test(loop, in_chunks)
{
    static const struct { const char *text; bool fails; } rows[] = {
        { "x = input i32[5] y = loop 1500 step i (v = x) { yield add(mul(v, 3), i) } output y", false },
        { "x = input i32[5] t = input i32[1500,5] y = loop 1500 step i (v = x) { w = gather(t, i) {axis=0} yield add(mul(roll(v) {shift=[1], axes=[0]}, 3), w) } output y", false },
        { "x = input i32[5] y, s = loop 2000 step i (v = x) { w = add(mul(v, 3), i) yield w stack w } output y output s", false },
        { "x = input i32[5] y = loop 60 step i (v = x) { w = loop 25 step j (u = v) { yield add(mul(u, 3), add(mul(i, 100), j)) } yield add(roll(w) {shift=[1], axes=[0]}, i) } output y", false },
        { "x = input i32[5] y = loop 3 step i (v = x) { w = loop 1200 step j (u = v) { yield add(mul(u, 3), add(mul(i, 100), j)) } yield add(roll(w) {shift=[1], axes=[0]}, i) } output y", false },
        { "x = input i32[5] y = loop 1501 step i (v = x) { yield add(mul(roll(v) {shift=[1], axes=[0]}, 3), i) } output y", false },
        { "state s i32[5] x = input i32[5] y = loop 1100 step i (v = x) { t = assign(s, add(s, i)) yield add(mul(v, 3), s) } z = loop 7 step i (v = y) { yield add(mul(v, 3), i) } output z", false },
        { "x = input i32[5] y, n = while go <= 3000 step i (v = x) { go = less(i, 1400) yield add(mul(v, 3), i) } output y output n", false },
        { "x = input i32[5] y = loop 60 (v = x) { a = loop 3 (w = v) {" SUMS "yield g } b = loop 3 (w = a) {" SUMS "yield g }"
          " c = loop 3 (w = b) {" SUMS "yield g } yield c } output y", true },
    };
    tuff_device *one = open_device(NULL), *many = open_device(&(tuff_device_desc){ .limits = "recorded=128" });
    for (size_t i = 0; i < COUNT(rows); i++) {
        tuff_graph *g = parse("in chunks", rows[i].text);
        uint64_t seed = i + 1;
        const graph_options o = { .seed = seed, .runs = 2, .fill = fill, .user = &seed };
        tuff_program *p = NULL;
        if (!g) continue;
        const tuff_status s = tuff_compile(many, g, NULL, &p);
        cr_expect(rows[i].fails ? s == TUFF_E_LIMIT && strstr(tuff_graph_error(g), "a run records more than 2048 steps") : s == TUFF_OK && p->n_preludes > 1, "%zu: %s", i, tuff_graph_error(g));
        tuff_program_destroy(p);
        if (!rows[i].fails) expect_graph(rows[i].text, many, g, &o);
        expect_graph(rows[i].text, one, g, &o);
        tuff_graph_destroy(g);
    }
    tuff_device_close(many);
    tuff_device_close(one);
}

/* A step is found by its number. */
Test(loop, steps_by_number)
{
    tuff_device *dev = open_device(NULL);
    tuff_program *p = compile(dev, "x = input f32[5] y = loop 4 (v = x) { u = loop 3 (u = v) { yield add(mul(u, 0.5), roll(u) {shift=[1], axes=[0]}) } n = loop 0 (m = u) { yield exp(m) }"
                                   " w = loop 2 (w = n) { yield add(w, roll(w) {shift=[1], axes=[0]}) } yield add(u, w) } z = loop 2 (v = y) { yield cos(v) } q = loop 5 (v = z) { yield roll(v) {shift=[1], axes=[0]} } output q");
    tf_cursor c = tf_cursor_begin(p->plan);
    bool turns = false;
    for (uint32_t r = 0; r < p->plan->regions.n; r++) turns |= p->plan->regions.data[r].odd != 0;
    cr_expect(turns);
    for (uint32_t i = 0; i < p->n_run; i++, tf_cursor_next(p->plan, &c)) {
        const tf_cursor at = tf_cursor_at(p->plan, i);
        cr_expect(at.step == c.step && !memcmp(at.at, c.at, sizeof c.at), "step %u of the run: %u instead of %u", i, at.step, c.step);
    }
    cr_expect(p->n_run > 40 && c.step == p->plan->steps.n);
    tuff_program_destroy(p);
    tuff_device_close(dev);
}

Test(loop, too_long)
{
    tuff_device *dev = open_device(NULL);
    tuff_graph *g = parse("too long", "x = input f32[5] y = loop 300000000 (v = x) { yield mul(v, 0.5) } output y");
    tuff_program *p = NULL;
    cr_expect(tuff_compile(dev, g, NULL, &p) == TUFF_E_LIMIT && strstr(tuff_graph_error(g), "a run has 300000002 steps"), "%s", tuff_graph_error(g));
    tuff_graph_destroy(g);
    tuff_device_close(dev);
}

/* ---- plans ----------------------------------------------------------------------------------------- */

/* How often a value is copied, and how many steps an iteration has. */
Test(loop, values_change_in_place)
{
    static const struct { const char *text; uint32_t copied, body; const char *why; } rows[] = {
        { "state m f32[300] state w f32[300] g = input f32[300] n = assign(m, add(mul(m, 0.9), g)) v = assign(w, sub(w, mul(n, 0.1))) output y = v", 0, 0, "" },
        { "state s f32[4000,16] i = input i32[1] u = input f32[1,16] old = sum(s) t = assign(s, scatter(s, i, u) {axis=0}) output old", 0, 0, "" },
        { "state s f32[40,16] i = input i32[1] u = input f32[1,16] t = scatter(s, i, u) {axis=0} k = matmul(u, permute(s) {axes=[1,0]}) r = assign(s, t) b = matmul(k, t) output b", 0, 0, "" },
        { "state a f32[9] x = input f32[9] n = assign(a, add(roll(a) {shift=[1], axes=[0]}, x)) output n", 1, 0, "the kernel that makes its new value reads the old one at other elements" },
        { "x = input f32[64,64] w = input f32[64,64] y = loop 5 step i (v = x) { h = matmul(v, w) yield add(mul(v, 0.9), mul(tanh(h), 0.1)) } output y", 0, 2, "" }, /* by turns */
        { "x = input f32[64,64] y = loop 1 (v = x) { yield roll(v) {shift=[1], axes=[0]} } output y", 1, 2, "the kernel that makes its new value reads the old one at other elements" },
        { "x = input f32[64,64] w = input f32[64,64] t = input f32[5,2] y = loop 5 step i (v = x) { h = softmax(matmul(v, w)) {axis=-1} c = gather(t, i) {axis=0} a = slice(c) {start=[0], stop=[1]} b = slice(c) {start=[1], stop=[2]}"
          " yield add(mul(v, a), mul(h, b)) } output y", 0, 2, "" },
        { "x = input f32[64] y, s = loop 5 (v = x) { w = mul(v, 0.5) yield w stack w } output y output s", 0, 2, "" },
    };
    tuff_device *dev = open_device(NULL);
    for (size_t i = 0; i < COUNT(rows); i++) {
        tuff_graph *g = parse("in place", rows[i].text);
        tf_plan *plan = NULL;
        tf_limits limits = dev->caps.limits;
        cr_assert(g && tf_compile(g, &limits, NULL, NULL, &plan) == TUFF_OK, "%s", tuff_graph_error(g));
        uint32_t copied = 0;
        for (uint32_t k = 0; k < plan->commits.n; k++)
            if (plan->commits.data[k].copied) {
                copied++;
                cr_expect(!strcmp(plan->commits.data[k].copied, rows[i].why), "%zu: %s", i, plan->commits.data[k].copied);
            }
        cr_expect(copied == rows[i].copied, "%zu: %u copies", i, copied);
        const uint32_t body = plan->regions.n ? plan->regions.data[0].end - plan->regions.data[0].first : 0;
        cr_expect(body == rows[i].body, "%zu: %u steps in the body", i, body);
        for (uint32_t k = 0; !rows[i].copied && k < plan->steps.n; k++) cr_expect(plan->steps.data[k].kind != TF_STEP_COPY, "%zu: %s", i, plan->steps.data[k].label);
        tf_plan_destroy(plan);
        tuff_graph_destroy(g);
    }
    tuff_device_close(dev);
}

/* What does not depend on the iteration runs once, however deep it stands. */
Test(loop, invariants_leave)
{
    static const struct { const char *text; uint32_t outside, inside; } rows[] = {
        { "x = input f32[64,64] w = input f32[64,64] y = loop 5 (v = x) { e = matmul(w, w) yield mul(v, e) } output y", 1, 1 },
        { "x = input f32[64,64] w = input f32[64,64] y = loop 5 step i (v = x) { e = mul(matmul(w, w), cast(i) {dtype=f32}) yield mul(v, e) } output y", 1, 1 },
        { "x = input f32[64,64] w = input f32[64,64] y = loop 2 (v = x) { u = loop 2 (u = v) { e = matmul(w, w) yield mul(u, e) } yield u } output y", 1, 3 }, /* with copies between the loops */
        { "x = input f32[64,64] w = input f32[64,64] y = loop 1 (v = x) { e = matmul(w, w) yield mul(v, e) } output y", 0, 1 },
    };
    tuff_device *dev = open_device(NULL);
    for (size_t i = 0; i < COUNT(rows); i++) {
        tuff_graph *g = parse("invariants", rows[i].text);
        tf_plan *plan = NULL;
        cr_assert(g && tf_compile(g, &dev->caps.limits, NULL, NULL, &plan) == TUFF_OK, "%s", tuff_graph_error(g));
        uint32_t outside = 0, inside = 0;
        for (uint32_t k = 0; k < plan->steps.n; k++) {
            const tf_step *s = &plan->steps.data[k];
            if (s->kind != TF_STEP_DISPATCH) continue;
            const bool anchor = strncmp(s->label, "matmul", 6) == 0 || strncmp(s->label, "scan", 4) == 0;
            if (s->region && s->region <= plan->regions.n) inside++;
            else outside += anchor;
        }
        cr_expect(outside == rows[i].outside && inside == rows[i].inside, "%zu: %u anchors outside, %u kernels inside", i, outside, inside);
        tf_plan_destroy(plan);
        tuff_graph_destroy(g);
    }
    tuff_device_close(dev);
}

/* The checker sees what only a second iteration would meet. */
Test(loop, checked_beyond_the_first_iteration)
{
    tuff_device *dev = open_device(NULL);
    tuff_graph *g = parse("checked", "x = input f32[64,64] w = input f32[64,64] e = matmul(w, w) y = loop 5 (v = x) { h = softmax(matmul(v, e)) {axis=-1} yield add(matmul(h, w), v) } output y");
    tf_plan *plan = NULL;
    cr_assert(g && tf_compile(g, &dev->caps.limits, NULL, NULL, &plan) == TUFF_OK, "%s", tuff_graph_error(g));
    const tf_plan_region *r = &plan->regions.data[0];
    uint32_t found = 0;
    for (uint32_t b = 0; b < plan->buffers.n; b++) {
        tf_buffer *x = &plan->buffers.data[b];
        const uint32_t last = plan->steps.data[r->end - 1].wave;
        tf_str message;
        tf_str_init(&message, &(tuff_allocator){ 0 });
        if (x->kind != TF_BUF_ARENA || x->last_wave != last || x->first_wave >= plan->steps.data[r->first].wave) continue;
        x->last_wave = plan->steps.data[r->first].wave; /* an invariant, read only at the start of an iteration */
        const char *wrong = tf_plan_check(plan, &message);
        found += wrong && strstr(wrong, "is kept from one iteration of loop 1 to the next");
        x->last_wave = last;
        tf_str_release(&message);
    }
    cr_expect(found >= 1, "no buffer outlives an iteration");
    cr_expect(!tf_plan_check(plan, &(tf_str){ 0 }));
    tf_plan_destroy(plan);
    tuff_graph_destroy(g);
    tuff_device_close(dev);
}

/* ---- short of memory -------------------------------------------------------------------------------- */

/* Parse, print, compile and evaluate with the n-th allocation failing, for every n. */
Test(loop, short_of_memory)
{
    static const char text[] = "state s f32[4] x = input f32[4] no = less(x, x) y, st, n, more = while go <= 4 step i (v = x) { t = assign(s, add(s, v))"
                               " u = loop 2 (u = roll(v) {shift=[1], axes=[0]}) { yield roll(u) {shift=[1], axes=[0]} } go = less(i, 1) yield u stack mul(u, 2.0) }"
                               " output y output st output n output more";
    tuff_device *dev = open_device(NULL);
    const tf_limits limits = dev->caps.limits;
    tuff_device_close(dev);
    uint64_t n = 1, failed = 0;
    for (bool done = false; !done && n < 100000; n++) {
        failing_allocator f = { .fail_at = n, .sticky = n % 2 };
        const tuff_allocator a = failing(&f);
        tuff_graph *g = NULL;
        tf_plan *plan = NULL;
        char message[256], printed[4096];
        tuff_status s = tuff_graph_parse(text, sizeof text - 1, &(tuff_parse_desc){ .allocator = a }, &g, message, sizeof message);
        if (!s) tuff_graph_print(g, printed, sizeof printed);
        if (!s) s = tf_compile(g, &limits, NULL, &a, &plan);
        tf_interp *in = s ? NULL : tf_interp_create(g, &a);
        const float x[4] = { 1, 2, 3, 4 };
        if (in && !tf_interp_write(in, "x", x, sizeof x)) s = tf_interp_run(in);
        done = f.calls < n;
        failed += s != TUFF_OK;
        cr_expect(s == TUFF_OK || s == TUFF_E_MEMORY, "allocation %llu: %s, %s", (unsigned long long)n, tuff_status_text(s), g ? tuff_graph_error(g) : message);
        tf_interp_destroy(in);
        tf_plan_destroy(plan);
        tuff_graph_destroy(g);
        cr_expect(f.live == 0, "allocation %llu: %llu bytes are left", (unsigned long long)n, (unsigned long long)f.live);
    }
    cr_expect(failed > 20, "%llu failures in %llu allocations", (unsigned long long)failed, (unsigned long long)n);
}
