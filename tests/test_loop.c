/* test_loop.c - loops on the device: against the interpreter, which evaluates them iteration by iteration, with and without
 * fusion and at the floor; what a run records, and what it costs the host. */
#include <stdio.h>
#include <string.h>

#include "graph/op.h"
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
