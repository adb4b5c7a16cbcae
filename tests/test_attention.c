/* test_attention.c - attention against its reference: every option, the corner cases of masks and NaN, shapes around
 * every tile, for the kernels of both device classes, with and without subgroup operations. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/interp.h"
#include "runtime/device.h"
#include "support/support.h"

/* Inputs are filled by their names, see fill(). */
typedef struct attention_case {
    const char *inputs, *call; /* attention(...) {...} */
    int live_q, live_k;        /* live values of dims n and m; 0: at the bound */
} attention_case;

#define QKV(q, k, v) "q = input f32[" q "]\nk = input f32[" k "]\nv = input f32[" v "]\n"
#define HALF(q, k, v) "q = input f16[" q "]\nk = input f16[" k "]\nv = input f16[" v "]\n"
#define SQUARE QKV("1,65,2,16", "1,65,2,16", "1,65,2,16")
#define GROUPED QKV("2,34,6,24", "2,50,2,24", "2,50,2,20")
#define DECODE QKV("2,1,4,64", "2,300,2,64", "2,300,2,64")
/* Segments of cuq and cuk, see number(): one without queries, one without keys, tokens behind the last. */
#define PACKED_KEYS(q, k, v) "q = input " q "\nk = input " k "\nv = input " v "\nones = input i32[5]\ncuk = input i32[5]\n"
#define PACKED "q = input f32[40,6,24]\nk = input f32[50,2,24]\nv = input f32[50,2,20]\ncuq = input i32[5]\ncuk = input i32[5]\n"
#define PAGED(t, q, k, v) "q = input " t "[" q "]\nk = input " t "[" k "]\nv = input " t "[" v "]\npages = input i32[2,6]\nlen = input i32[2]\n"

static const attention_case cases[] = {
    { SQUARE, "attention(q, k, v)", 0, 0 },
    { SQUARE, "attention(q, k, v) {causal=true, scale=0.5}", 0, 0 },
    { GROUPED, "attention(q, k, v)", 0, 0 },
    { GROUPED, "attention(q, k, v) {causal=true}", 0, 0 },
    { GROUPED, "attention(q, k, v) {causal=true, causal_align=top_left}", 0, 0 },
    { QKV("1,70,2,8", "1,40,2,8", "1,40,2,8"), "attention(q, k, v) {causal=true}", 0, 0 }, /* 30 rows see nothing */
    { GROUPED, "attention(q, k, v) {window_left=9}", 0, 0 },
    { GROUPED, "attention(q, k, v) {window_left=1, window_right=1}", 0, 0 },
    { GROUPED, "attention(q, k, v) {window_left=2147483647, window_right=2147483647}", 0, 0 },
    { GROUPED, "attention(q, k, v) {window_left=12, window_right=4, causal_align=top_left}", 0, 0 },
    { GROUPED, "attention(q, k, v) {softcap=2.5}", 0, 0 },
    { GROUPED "slopes = input f32[6]\n", "attention(q, k, v, alibi_slopes=slopes) {causal=true}", 0, 0 },
    { GROUPED "slopes = input f32[6]\n", "attention(q, k, v, alibi_slopes=slopes)", 0, 0 },
    { GROUPED "bias = input f32[2,6,34,50]\n", "attention(q, k, v, bias=bias)", 0, 0 },
    { GROUPED "bias = input f16[1,6,1,50]\n", "attention(q, k, v, bias=bias) {softcap=4}", 0, 0 },
    { GROUPED "bias = input f32[2,1,34,1]\nmask = input u8[1,6,34,50]\n", "attention(q, k, v, bias=bias, mask=mask)", 0, 0 },
    { GROUPED "mask = input bool[2,1,1,50]\n", "attention(q, k, v, mask=mask) {causal=true}", 0, 0 },
    { GROUPED "dead = input bool[2,1,34,50]\nsinks = input f32[6]\n", "attention(q, k, v, mask=dead, sinks=sinks)", 0, 0 },
    { GROUPED "dead = input bool[2,1,34,50]\n", "attention(q, k, v, mask=dead)", 0, 0 },
    { GROUPED "block = input bool[1,6,5,4]\n", "attention(q, k, v, block_mask=block) {block_q=8, block_kv=16}", 0, 0 },
    { GROUPED "block = input u8[2,1,12,10]\n", "attention(q, k, v, block_mask=block) {block_q=3, block_kv=5, causal=true}", 0, 0 },
    { GROUPED "sinks = input f32[6]\n", "attention(q, k, v, sinks=sinks) {causal=true}", 0, 0 },
    { GROUPED "len = input i32[2]\n", "attention(q, k, v, kv_len=len) {causal=true}", 0, 0 },
    { GROUPED "start = input i32[2]\n", "attention(q, k, v, q_start=start) {causal=true, window_left=8}", 0, 0 },
    { GROUPED "start = input i32[2]\nlen = input i32[2]\nslopes = input f32[6]\nbias = input f32[1,6,34,50]\nmask = input bool[1,1,34,50]\nsinks = input f32[6]\n",
      "attention(q, k, v, q_start=start, kv_len=len, alibi_slopes=slopes, bias=bias, mask=mask, sinks=sinks) {causal=true, window_left=20, softcap=5}", 0, 0 },
    { DECODE, "attention(q, k, v)", 0, 0 },
    { DECODE "len = input i32[2]\nsinks = input f32[4]\n", "attention(q, k, v, kv_len=len, sinks=sinks) {window_left=40}", 0, 0 },
    { DECODE "bias = input f32[1,4,1,300]\nslopes = input f32[4]\n", "attention(q, k, v, bias=bias, alibi_slopes=slopes) {softcap=6}", 0, 0 },
    { QKV("1,1,1,128", "1,1500,1,128", "1,1500,1,128"), "attention(q, k, v)", 0, 0 },
    { QKV("1,3,2,40", "1,700,1,40", "1,700,1,72"), "attention(q, k, v) {causal=true}", 0, 0 },
    { QKV("1,1,8,36", "1,600,1,36", "1,600,1,36"), "attention(q, k, v)", 0, 0 },
    { QKV("1,1,1,1", "1,1,1,1", "1,1,1,1"), "attention(q, k, v)", 0, 0 },
    { QKV("3,17,3,3", "3,9,1,3", "3,9,1,5"), "attention(q, k, v)", 0, 0 },
    { QKV("1,20,1,147", "1,33,1,147", "1,33,1,3"), "attention(q, k, v)", 0, 0 },
    { QKV("1,18,1,256", "1,40,1,256", "1,40,1,256"), "attention(q, k, v) {causal=true}", 0, 0 },
    { QKV("1,1,4,576", "1,90,1,576", "1,90,1,512"), "attention(q, k, v)", 0, 0 },
    { QKV("1,257,1,32", "1,257,1,32", "1,257,1,32"), "attention(q, k, v) {causal=true}", 0, 0 },
    { HALF("1,40,4,64", "1,40,2,64", "1,40,2,64"), "attention(q, k, v) {causal=true}", 0, 0 },
    { HALF("2,1,4,64", "2,200,2,64", "2,200,2,64"), "attention(q, k, v)", 0, 0 },
    { "q = input bf16[1,24,2,20]\nk = input bf16[1,30,2,20]\nv = input f32[1,30,2,20]\n", "attention(q, k, v)", 0, 0 },
    { "qnan = input f32[1,20,2,8]\nk = input f32[1,30,2,8]\nv = input f32[1,30,2,8]\n", "attention(qnan, k, v)", 0, 0 },
    { "q = input f32[1,20,2,8]\nknan = input f32[1,32,2,8]\nvnan = input f32[1,32,2,8]\nlen24 = input i32[1]\n",
      "attention(q, knan, vnan, kv_len=len24)", 0, 0 },
    { "q = input f32[1,1,2,32]\nknan = input f32[1,400,2,32]\nvnan = input f32[1,400,2,32]\nlen300 = input i32[1]\n",
      "attention(q, knan, vnan, kv_len=len300)", 0, 0 },
    { GROUPED, "attention(q, k, v) {score=\"s - 0.25 * f32(abs(q - k))\"}", 0, 0 },
    { SQUARE, "attention(q, k, v) {score=\"abs(k / 8 - q / 8) > 2 || abs(k % 8 - q % 8) > 1 ? -inf : s * 0.5\", causal_align=top_left}", 0, 0 },
    { SQUARE, "attention(q, k, v) {score=\"q == 3 ? -inf : s + f32(b + h)\", softcap=3}", 0, 0 },
    { GROUPED "w = input f32[50]\nt = input f32[6,8]\n", "attention(q, k, v, w=w, t=t) {score=\"s + w[k] * t[h, k % 8]\", causal=true}", 0, 0 },
    { DECODE "w = input f32[300]\n", "attention(q, k, v, w=w) {score=\"s + w[k]\"}", 0, 0 },
    { PACKED, "attention(q, k, v, cu_q=cuq, cu_kv=cuk)", 0, 0 },
    { PACKED, "attention(q, k, v, cu_q=cuq, cu_kv=cuk) {causal=true}", 0, 0 },
    { PACKED "slopes = input f32[6]\nsinks = input f32[6]\nlen4 = input i32[4]\nstart = input i32[4]\nw = input f32[4,50]\ntree = input u32[40,2]\n",
      "attention(q, k, v, cu_q=cuq, cu_kv=cuk, alibi_slopes=slopes, sinks=sinks, kv_len=len4, q_start=start, tree_mask=tree, w=w) {score=\"s + w[b, k]\", "
      "window_left=12, softcap=4}", 0, 0 },
    { PACKED_KEYS("f32[4,2,24]", "f32[70,2,24]", "f32[70,2,20]"), "attention(q, k, v, cu_q=ones, cu_kv=cuk) {causal=true, causal_align=top_left, window_right=3}", 0, 0 },
    { PACKED_KEYS("f16[4,6,24]", "f16[400,2,24]", "f16[400,2,20]"), "attention(q, k, v, cu_q=ones, cu_kv=cuk)", 0, 0 },
    { "q = input f32[24,2,8]\nknan = input f32[32,2,8]\nvnan = input f32[32,2,8]\ncu12 = input i32[3]\n", /* the second segment is NaN */
      "attention(q, knan, vnan, cu_q=cu12, cu_kv=cu12)", 0, 0 },
    { PAGED("f32", "2,34,6,24", "9,8,2,24", "9,8,2,20"), "attention(q, k, v, page_table=pages, kv_len=len) {causal=true}", 0, 0 },
    { PAGED("f32", "2,1,4,40", "9,8,2,40", "9,8,2,33"), "attention(q, k, v, page_table=pages, kv_len=len) {window_left=20}", 0, 0 },
    { PAGED("f16", "2,2,4,32", "9,7,2,32", "9,7,2,32"), "attention(q, k, v, page_table=pages, kv_len=len)", 0, 0 },
    { "q = input f32[40,2,16]\nk = input f32[9,8,2,16]\nv = input f32[9,8,2,16]\npages4 = input i32[4,3]\nlen4 = input i32[4]\ncuq = input i32[5]\nbias = input f32[4]\n",
      "attention(q, k, v, cu_q=cuq, page_table=pages4, kv_len=len4, bias4=bias) {causal=true, score=\"s + max(bias4[b], -1.0)\"}", 0, 0 },
    { "q = input f32[2,20,4,32]\nkcode = input i8[2,40,2,32]\nvcode = input i8[2,40,2,64]\nks = input f16[2,40,2,2]\nvs = input f16[2,40,2,4]\n",
      "attention(q, kcode, vcode, k_scale=ks, v_scale=vs) {group=16, causal=true}", 0, 0 },
    { "q = input f16[2,1,4,64]\nkcode = input u4[2,300,2,64]\nv = input f16[2,300,2,64]\nks = input f32[1,300,2,1]\nkz = input f16[2,1,2,1]\n",
      "attention(q, kcode, v, k_scale=ks, k_zero=kz) {dtype=f32}", 0, 0 },
    { "q = input f32[2,3,4,32]\nkcode = input i8[9,8,2,32]\nvcode = input u8[9,8,2,32]\nks = input f16[9,8,2,2]\nvs = input f16[9,8,2,2]\nvz = input f16[9,8,2,2]\n"
      "pages = input i32[2,6]\nlen = input i32[2]\nmask = input bool[2,1,3,48]\n",
      "attention(q, kcode, vcode, k_scale=ks, v_scale=vs, v_zero=vz, page_table=pages, kv_len=len, mask=mask) {group=16}", 0, 0 },
    { GROUPED "tree = input u32[1,34,2]\n", "attention(q, k, v, tree_mask=tree)", 0, 0 },
    { GROUPED "tree = input u32[2,34,2]\nlen = input i32[2]\nsinks = input f32[6]\n", "attention(q, k, v, tree_mask=tree, kv_len=len, sinks=sinks) {causal=true}", 0, 0 },
    { QKV("1,7,4,16", "1,200,2,16", "1,200,2,16") "tree = input u32[1,7,1]\n", "attention(q, k, v, tree_mask=tree) {window_left=150}", 0, 0 },
    { QKV("1,70,2,16", "1,90,1,16", "1,90,1,16") "block = input bool[1,2,3,3]\n", "attention(q, k, v, block_mask=block) {block_q=32, block_kv=32, causal=true}", 0, 0 },
    { QKV("1,70,2,16", "1,90,1,16", "1,90,1,16") "block = input bool[1,1,2,3]\n", "attention(q, k, v, block_mask=block) {block_q=40, block_kv=41}", 0, 0 },
    { HALF("1,40,4,64", "1,40,2,64", "1,40,2,64"), "attention(q, k, v) {dtype=f32}", 0, 0 },
    { "dim n <= 60\ndim m <= 90\nq = input f32[n,2,16]\nk = input f32[m,2,16]\nv = input f32[m,2,16]\ncuq = input i32[5]\ncuk = input i32[5]\n",
      "attention(q, k, v, cu_q=cuq, cu_kv=cuk) {causal=true}", 34, 50 },
    { "dim n <= 40\ndim m <= 90\n" QKV("2,n,4,16", "2,m,2,16", "2,m,2,16"), "attention(q, k, v) {causal=true}", 33, 71 },
    { "dim n <= 40\ndim m <= 90\n" QKV("2,n,4,16", "2,m,2,16", "2,m,2,16"), "attention(q, k, v) {window_left=5}", 1, 7 },
    { "dim n <= 2\ndim m <= 900\n" QKV("1,n,2,16", "1,m,2,16", "1,m,2,16") "bias = input f32[1,2,1,m]\n", "attention(q, k, v, bias=bias)", 1, 555 },
    { "dim n <= 4\ndim m <= 900\n" QKV("1,n,2,16", "1,m,2,16", "1,m,2,16"), "attention(q, k, v)", 3, 0 },
};

static double number(rng *numbers, const char *name, size_t i, size_t n)
{
    static const int cuq[] = { 0, 5, 5, 22, 34 }, cuk[] = { 0, 9, 21, 21, 50 }, len4[] = { 12, 3, 0, 20 }, pages4[] = { 7, 2, -1, 5, 99, -7, 3, 3, 3, 8, 6, 1 };
    const double x = rng_normal(numbers);
    if (!strcmp(name, "cuq")) return cuq[i];
    if (!strcmp(name, "cuk")) return cuk[i];
    if (!strcmp(name, "cu12")) return i == 2 ? 32 : (double)(i * 12);
    if (!strcmp(name, "ones")) return (double)i;
    if (!strcmp(name, "len4")) return len4[i];
    if (!strcmp(name, "pages4")) return pages4[i];
    if (!strcmp(name, "pages")) return i == 5 ? -1 : (double)((i * 5 + 3) % 9);
    if (!strcmp(name, "tree")) return (double)rng_below(numbers, UINT32_MAX);
    if (strstr(name, "code")) return (double)rng_below(numbers, 16);
    if (!strcmp(name, "ks") || !strcmp(name, "vs")) return 0.05 + 0.01 * (double)rng_below(numbers, 8);
    if (!strcmp(name, "kz") || !strcmp(name, "vz")) return 7 + 0.25 * (double)rng_below(numbers, 8);
    if (!strcmp(name, "bias")) return rng_below(numbers, 8) ? x : -INFINITY;
    if (!strcmp(name, "mask") || !strcmp(name, "block")) return rng_below(numbers, 3) != 0;
    if (!strcmp(name, "dead")) return i >= n / 3 && rng_below(numbers, 3) != 0; /* whole rows attend to nothing */
    if (!strcmp(name, "slopes")) return ldexp(1.0, -(int)i - 1);
    if (!strcmp(name, "len")) return i ? 0 : 41;
    if (!strncmp(name, "len", 3)) return atoi(name + 3);
    if (!strcmp(name, "start")) return i ? 20 : -3;
    if (!strcmp(name, "qnan")) return i == 100 ? (double)NAN : x;
    if (strstr(name, "nan")) return 4 * i >= 3 * n ? (double)NAN : x; /* the last quarter of the tokens */
    return x;
}

static void write_input(tuff_program *p, tf_interp *in, rng *numbers, const char *name)
{
    tuff_dtype dtype;
    size_t bytes = 0;
    cr_assert(!tf_interp_describe(in, name, &bytes, &dtype, NULL));
    const size_t n = bytes * 8 / tf_dtype_bits(dtype);
    void *data = calloc(1, bytes + 1);
    cr_assert(data, "out of memory");
    for (size_t i = 0; i < n; i++) tf_store_element(dtype, data, i, number(numbers, name, i, n), 0);
    cr_assert(!tuff_write(p, name, data, bytes) && !tf_interp_write(in, name, data, bytes), "%s: %s", name, tuff_program_error(p));
    free(data);
}

static bool compare(tuff_program *p, tf_interp *in, const char *name, const char *what)
{
    tuff_dtype dtype;
    size_t bytes = 0;
    cr_assert(!tf_interp_describe(in, name, &bytes, &dtype, NULL));
    const size_t n = bytes * 8 / tf_dtype_bits(dtype);
    void *got = malloc(bytes + 1), *want = malloc(bytes + 1);
    double *x = malloc((n + 1) * sizeof *x), *y = malloc((n + 1) * sizeof *y), im;
    char label[512];
    cr_assert(got && want && x && y, "out of memory");
    cr_assert(!tuff_read(p, name, got, bytes), "%s: %s", what, tuff_program_error(p));
    cr_assert(!tf_interp_read(in, name, want, bytes));
    for (size_t i = 0; i < n; i++) {
        x[i] = tf_load_element(dtype, got, i, &im);
        y[i] = tf_load_element(dtype, want, i, &im);
    }
    /* f32: what f32 flash attention reaches (spec: 1.3e-6 at most, 1e-5 allowed); others: one rounding of the result. */
    const double rel = dtype == TUFF_F32 ? 1e-5 : dtype == TUFF_F16 ? 1e-3 : 8e-3;
    snprintf(label, sizeof label, "%s of %.400s", name, what);
    const bool good = expect_array(label, dtype, x, y, n, (tolerance){ .rel = rel });
    free(got);
    free(want);
    free(x);
    free(y);
    return good;
}

/* "q = input f32[..]" becomes f16, and so do k and v. */
static void halve(char *text)
{
    for (char *s = text; s; s = strchr(s, '\n')) {
        s += *s == '\n';
        char *const type = strstr(s, " = input f32[");
        if (type && type < strchr(s, '\n') && strchr("qkv", *s) && (type == s + 1 || !strncmp(s + 1, "nan", 3))) memcpy(type + 9, "f16", 3);
    }
}

/* halves: of cooperative matrices only; without them in its plan the case is left out, and false comes back. */
static bool run_case_of(tuff_device *dev, const attention_case *c, const char *variant, bool halves)
{
    char text[2048], what[2560], message[256], plan[8192];
    tuff_graph *g = NULL;
    tuff_program *p = NULL;
    snprintf(text, sizeof text, "%so, lse = %s\noutput o\noutput lse\n", c->inputs, c->call);
    if (halves) halve(text);
    snprintf(what, sizeof what, "%s: %s", variant, text);
    for (char *s = what; *s; s++) *s = *s == '\n' ? ';' : *s;
    cr_assert(!tuff_graph_parse(text, strlen(text), NULL, &g, message, sizeof message), "%s: %s", what, message);
    cr_assert(!tuff_compile(dev, g, NULL, &p), "%s: %s", what, tuff_graph_error(g));
    tuff_program_explain(p, TUFF_EXPLAIN_TEXT, plan, sizeof plan);
    if (halves && !strstr(plan, "cooperative matrices")) {
        tuff_program_destroy(p);
        tuff_graph_destroy(g);
        return false;
    }
    tf_interp *in = tf_interp_create(g, NULL);
    cr_assert(in, "out of memory");
    if (c->live_q) cr_assert(!tuff_set_dim(p, "n", c->live_q) && !tf_interp_set_dim(in, "n", c->live_q));
    if (c->live_k) cr_assert(!tuff_set_dim(p, "m", c->live_k) && !tf_interp_set_dim(in, "m", c->live_k));
    rng numbers = { 7 };
    for (uint32_t i = 0; i < g->ports.n; i++)
        if (g->ports.data[i].kind == TF_PORT_INPUT) write_input(p, in, &numbers, g->ports.data[i].name);
    cr_assert(!tf_interp_run(in), "%s: %s", what, tf_interp_error(in));
    cr_assert(!tuff_run(p), "%s: %s", what, tuff_program_error(p));
    const bool o = compare(p, in, "o", what), lse = compare(p, in, "lse", what);
    tf_interp_destroy(in);
    tuff_program_destroy(p);
    tuff_graph_destroy(g);
    return o && lse;
}

static bool run_case(tuff_device *dev, const attention_case *c, const char *variant) { return run_case_of(dev, c, variant, false); }

/* Cases first, first + step, ...: variants that share a template with another one take every second case. */
static void run_cases(const char *variant, const tuff_device_desc *desc, size_t first, size_t step)
{
    tuff_device *dev = open_device(desc);
    for (size_t i = first; i < COUNT(cases); i += step) run_case(dev, &cases[i], variant);
    tuff_device_close(dev);
}

Test(attention, cpu_class) { run_cases("cpu", &(tuff_device_desc){ .toggles = "+cpu" }, 0, 1); }
Test(attention, cpu_class_with_uniform_loads) { run_cases("cpu with uniform loads", &(tuff_device_desc){ .toggles = "+cpu,+uniform_loads" }, 0, 1); }
Test(attention, cpu_class_without_subgroups) { run_cases("cpu without subgroups", &(tuff_device_desc){ .toggles = "+cpu,-subgroup" }, 0, 2); }
/* Many units: key ranges are split wherever that is possible. */
Test(attention, gpu_class) { run_cases("gpu", &(tuff_device_desc){ .toggles = "-cpu", .limits = "units=64" }, 0, 2); }
Test(attention, gpu_class_at_the_floor)
{
    run_cases("floor", &(tuff_device_desc){ .toggles = "-cpu,-subgroup,-storage16,-storage8", .limits = "shared=16K,invocations=128,bindings=4,units=1" }, 1, 2);
}

/* Every option once with halves, whole rows and split ones by turns. Decoding and wide heads have other kernels. */
Test(attention, matrices)
{
    uint32_t ran = 0;
    for (size_t d = 0; d < 2; d++) {
        tuff_device *dev = open_device(&(tuff_device_desc){ .toggles = "+coopmat", .limits = d ? "units=64" : "units=1" });
        if (!dev->caps.limits.coopmat.m) {
            tuff_device_close(dev);
            cr_skip_test("the device or the shader compiler has no cooperative matrices");
        }
        for (size_t i = d; i < COUNT(cases); i += 2) ran += run_case_of(dev, &cases[i], "matrices", true);
        tuff_device_close(dev);
    }
    cr_expect(ran >= 30, "%u cases ran", ran);
}

/* No option makes a program keep anything of the size of queries times keys, nor a copy of paged or quantised keys. */
Test(attention, memory)
{
#define LONG QKV("1,512,4,64", "1,32768,1,64", "1,32768,1,64")
    static const attention_case long_cases[] = {
        { LONG, "attention(q, k, v) {causal=true, window_left=9000, softcap=30}", 0, 0 },
        { LONG "slopes = input f32[4]\nsinks = input f32[4]\nstart = input i32[1]\nlen = input i32[1]\n",
          "attention(q, k, v, alibi_slopes=slopes, sinks=sinks, q_start=start, kv_len=len)", 0, 0 },
        { LONG "bias = input f16[1,4,1,32768]\nmask = input bool[1,1,512,1]\n", "attention(q, k, v, bias=bias, mask=mask)", 0, 0 },
        { LONG "block = input bool[1,1,8,512]\n", "attention(q, k, v, block_mask=block) {block_q=64, block_kv=64}", 0, 0 },
        { LONG "tree = input u32[1,512,16]\n", "attention(q, k, v, tree_mask=tree)", 0, 0 },
        { LONG "t = input f32[4,64]\n", "attention(q, k, v, t=t) {score=\"s + t[h, (q - k) / 512]\"}", 0, 0 },
        { "q = input f32[512,4,64]\nk = input f32[32768,1,64]\nv = input f32[32768,1,64]\ncuq = input i32[5]\n", "attention(q, k, v, cu_q=cuq, cu_kv=cuq)", 0, 0 },
        { "q = input f32[1,512,4,64]\nk = input f32[2048,16,1,64]\nv = input f32[2048,16,1,64]\nt = input i32[1,2048]\nlen = input i32[1]\n",
          "attention(q, k, v, page_table=t, kv_len=len)", 0, 0 },
        { "q = input f32[1,512,4,64]\nk = input i8[1,32768,1,64]\nv = input i8[1,32768,1,64]\ns = input f16[1,32768,1,2]\n",
          "attention(q, k, v, k_scale=s, v_scale=s) {group=32}", 0, 0 },
    };
    /* parts of o and lse, f32; the scores would take 256 MiB, one more k or v 8 MiB, which few bindings need */
    static const struct { const char *toggles, *limits; uint64_t mib; } variants[] = { { "+cpu", NULL, 7 }, { "-cpu", NULL, 7 }, { "-cpu,-subgroup", "bindings=4", 30 } };
    for (size_t d = 0; d < COUNT(variants); d++) {
        tuff_device *dev = open_device(&(tuff_device_desc){ .toggles = variants[d].toggles, .limits = variants[d].limits });
        for (size_t i = 0; i < COUNT(long_cases); i++) {
            char text[1024], message[256];
            tuff_graph *g = NULL;
            tuff_program *p = NULL;
            snprintf(text, sizeof text, "%so, lse = %s\noutput o\noutput lse\n", long_cases[i].inputs, long_cases[i].call);
            cr_assert(!tuff_graph_parse(text, strlen(text), NULL, &g, message, sizeof message), "%s", message);
            cr_assert(!tuff_compile(dev, g, NULL, &p), "%s", tuff_graph_error(g));
            cr_expect(tuff_program_memory(p).arena < variants[d].mib << 20, "%s, %s: %llu bytes", variants[d].toggles, long_cases[i].call,
                      (unsigned long long)tuff_program_memory(p).arena);
            tuff_program_destroy(p);
            tuff_graph_destroy(g);
        }
        tuff_device_close(dev);
    }
}

/* Combinations without a meaning, and shapes that do not fit: a sentence that names what is wrong. */
Test(attention, refusals)
{
    static const struct { const char *inputs, *call, *words; } refused[] = {
        { PACKED "bias = input f32[1,1,40,50]\n", "attention(q, k, v, cu_q=cuq, cu_kv=cuk, bias=bias)", "bias does not go with packed segments" },
        { PACKED "mask = input bool[1,1,40,50]\n", "attention(q, k, v, cu_q=cuq, cu_kv=cuk, mask=mask)", "mask does not go with packed segments" },
        { PACKED "block = input bool[1,1,1,1]\n", "attention(q, k, v, cu_q=cuq, cu_kv=cuk, block_mask=block)", "block_mask does not go with packed segments" },
        { PACKED, "attention(q, k, v, cu_q=cuq)", "cu_q needs cu_kv" },
        { PACKED, "attention(q, k, v, cu_kv=cuk)", "cu_kv needs cu_q" },
        { SQUARE "cuq = input i32[3]\n", "attention(q, k, v, cu_q=cuq, cu_kv=cuq)", "q has rank 4, it needs [token, head, channel] with cu_q" },
        { PACKED "four = input i32[4]\n", "attention(q, k, v, cu_q=cuq, cu_kv=four)", "cu_kv needs the shape [5]" },
        { PAGED("f32", "2,1,4,40", "9,8,2,40", "9,8,2,33"), "attention(q, k, v, page_table=pages)", "page_table needs kv_len" },
        { PAGED("f32", "3,1,4,40", "9,8,2,40", "9,8,2,33") "three = input i32[3]\n", "attention(q, k, v, page_table=pages, kv_len=three)", "page_table needs the shape [3, any]" },
        { PAGED("f32", "2,1,4,40", "9,8,2,40", "9,9,2,33"), "attention(q, k, v, page_table=pages, kv_len=len)", "v has 9 slots per page, k has 8" },
        { "q = input f32[1,4,2,8]\nk = input i8[1,4,2,8]\nv = input f32[1,4,2,8]\n", "attention(q, k, v)", "k is i8, it needs f32, f16 or bf16, or codes with a scale" },
        { SQUARE "s = input f32[1,65,2,1]\n", "attention(q, k, v, k_scale=s)", "k is f32; with a scale it needs i8" },
        { SQUARE "z = input f32[1,65,2,1]\n", "attention(q, k, v, v_zero=z)", "v_zero needs v_scale" },
        { SQUARE, "attention(q, k, v) {group=4}", "group is 4, but neither" },
        { SQUARE "tree = input u32[1,65,2]\n", "attention(q, k, v, tree_mask=tree)", "tree_mask needs a fixed number of words" },
        { SQUARE "tree = input i32[1,65,3]\n", "attention(q, k, v, tree_mask=tree)", "tree_mask is i32, it needs u32" },
        { SQUARE, "attention(q, k, v) {dtype=i8}", "dtype is i8" },
        { SQUARE "mask = input bool[1,1,65,64]\n", "attention(q, k, v, mask=mask)", "mask needs the shape [1, 2, 65, 65] or 1" },
    };
    for (size_t i = 0; i < COUNT(refused); i++) {
        char text[2048], message[512] = "";
        tuff_graph *g = NULL;
        snprintf(text, sizeof text, "%so, lse = %s\noutput o\n", refused[i].inputs, refused[i].call);
        cr_expect(tuff_graph_parse(text, strlen(text), NULL, &g, message, sizeof message), "%s is accepted", refused[i].call);
        cr_expect(strstr(message, refused[i].words), "%s: %s", refused[i].call, message);
        tuff_graph_destroy(g);
    }
}

/* Some drivers end a shader's loops after 65535 trips in all; long key ranges must be cut before that. */
Test(attention, long_key_range)
{
    static const attention_case c = { QKV("1,1,1,64", "1,70000,1,64", "1,70000,1,64"), "attention(q, k, v)", 0, 0 };
    static const attention_case rows = { QKV("1,16,1,64", "1,20000,1,64", "1,20000,1,64"), "attention(q, k, v)", 0, 0 };
    static const char *const toggles[] = { "-uniform_loads", "+uniform_loads" };
    for (size_t d = 0; d < COUNT(toggles); d++) {
        tuff_device *dev = open_device(&(tuff_device_desc){ .limits = "units=1", .toggles = toggles[d] });
        run_case(dev, &c, "few rows");
        run_case(dev, &rows, "many rows");
        tuff_device_close(dev);
    }
}

/* Keys beyond a core's cache: a workgroup takes all heads of a key before the next key, eight channels a load where they divide. The
 * last two: beyond all caches, with more heads than lanes can share. */
Test(attention, heads_in_order)
{
    static const attention_case long_cases[] = {
        { HALF("1,1,8,64", "1,700,8,64", "1,700,8,64") "len650 = input i32[1]\n", "attention(q, k, v, kv_len=len650) {dtype=f32}", 0, 0 },
        { QKV("1,1,8,128", "1,1100,2,128", "1,1100,2,128"), "attention(q, k, v) {window_left=1000}", 0, 0 },
        { QKV("1,1,4,64", "1,1100,4,64", "1,1100,4,96"), "attention(q, k, v)", 0, 0 },
        { "q = input f32[1,1,8,64]\nkcode = input u4[1,700,8,64]\nvcode = input i8[1,700,8,64]\nks = input f16[1,700,8,2]\nkz = input f16[1,700,8,2]\n"
          "vs = input f16[1,700,8,2]\n", "attention(q, kcode, vcode, k_scale=ks, k_zero=kz, v_scale=vs) {group=32}", 0, 0 },
        { HALF("1,1,16,128", "1,2100,16,128", "1,2100,16,128"), "attention(q, k, v) {dtype=f32, window_left=1500}", 0, 0 },
        { "q = input f32[1,1,16,128]\nkcode = input u4[1,4100,8,128]\nvcode = input i8[1,4100,8,128]\nks = input f16[1,4100,8,2]\nkz = input f16[1,4100,8,2]\n"
          "vs = input f16[1,4100,8,2]\n", "attention(q, kcode, vcode, k_scale=ks, k_zero=kz, v_scale=vs) {group=64}", 0, 0 },
    };
    static const char *const toggles[] = { "+cpu,-uniform_loads", "+cpu,+uniform_loads" };
    for (size_t d = 0; d < COUNT(toggles); d++) {
        tuff_device *dev = open_device(&(tuff_device_desc){ .toggles = toggles[d] });
        for (size_t i = 0; i < COUNT(long_cases); i++) run_case(dev, &long_cases[i], toggles[d]);
        tuff_device_close(dev);
    }
}
