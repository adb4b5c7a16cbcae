/* test_hostile.c - damaged and malicious files, and memory that runs out at every single allocation. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz_targets.h"
#include "graph/capsule.h"
#include "graph/npy.h"
#include "graph/plan.h"
#include "random_graph.h"
#include "support/support.h"

/* ---- damaged files --------------------------------------------------------------------------------- */

enum { MAX_FILE = 16384, DAMAGES = 3000 };

static const char *const texts[] = {
    "q = input f32[1,256,8,64]\nk = input f32[1,256,2,64]\nv = input f32[1,256,2,64]\no = attention(q, k, v) {causal=true}\noutput o\n",
    "param heads = 4\ndim n <= 128\nx = input f16[n, heads * 16]\ny = reshape(x) {shape=[n, heads, 16]}\nz = softmax(y) {axis=-1}\noutput \"a b\" = z\n",
    "x = input f32[3,5]\nw = const f32[5,2] = [1, 2, 3, 4, 5, 6, 7, 8, 9, -0x1p-3]\ns = state f32[3,2]\ny = matmul(x, w)\nt = assign(s, y)\nz = add(t, s)\noutput z\n",
    "x = input f32[2,9]\nrepeat i in 0..3 { x = gelu(x) }\ny = map(x=x) {expr=\"\"\"let a = x * 2.0;\na + 1.0\"\"\"}\noutput y # end\n",
    "def f(a, b) -> (c) { c = add(a, b) }\nx = input i32[4]\ny = f(x, x)\nz = pad(y) {lo=[1], hi=[2], mode=edge}\noutput z\n",
    "x = input c64[7]\ny = exp(x)\na = abs(y)\nb, i = split(a) {axis=0, sections=7}\noutput b\n",
};

/* One of: flip a bit, set a byte, cut the end, repeat a piece, swap in a word that parsers find hard. */
static size_t damage(rng *r, uint8_t *data, size_t n)
{
    static const char *const words[] = { "9223372036854775807", "-1", "[", "]", "{", "}", "\"", "\"\"\"", "nan", "1e999", "0x", "output", "f32[", "(", "\\", "=", ",",
                                         "999999999999999999999999", "\xff\xfe", "-9223372036854775808", "def f(", "repeat i in 0..999999999 {", "@/etc/passwd" };
    const size_t at = n ? rng_below(r, (uint32_t)n) : 0;
    switch (rng_below(r, 5)) {
    case 0: if (n) data[at] ^= (uint8_t)(1u << rng_below(r, 8)); return n;
    case 1: if (n) data[at] = (uint8_t)rng_below(r, 256); return n;
    case 2: return at;
    case 3: {
        size_t piece = rng_below(r, 40);
        if (at + piece > n) piece = n - at;
        if (n + piece > MAX_FILE) return n;
        memmove(data + at + piece, data + at, n - at);
        return n + piece;
    }
    default: {
        const char *word = words[rng_below(r, COUNT(words))];
        const size_t w = strlen(word);
        if (n + w > MAX_FILE) return n;
        memmove(data + at + w, data + at, n - at);
        memcpy(data + at, word, w);
        return n + w;
    }
    }
}

static void damage_and_feed(uint64_t seed, const void *file, size_t n, void (*target)(const uint8_t *, size_t))
{
    rng r = { seed };
    for (int i = 0; i < DAMAGES; i++) {
        uint8_t data[MAX_FILE + 1];
        size_t size = n;
        memcpy(data, file, n);
        for (uint32_t times = 1 + rng_below(&r, 4); times; times--) size = damage(&r, data, size);
        uint8_t *exact = malloc(size + !size); /* exactly as long as promised: sanitizers see a read beyond */
        cr_assert(exact, "out of memory");
        memcpy(exact, data, size);
        target(exact, size);
        free(exact);
    }
}

Test(hostile, text)
{
    for (size_t i = 0; i < COUNT(texts); i++) {
        tuff_graph *g = NULL;
        char message[256];
        cr_expect(!tuff_graph_parse(texts[i], strlen(texts[i]), NULL, &g, message, sizeof message), "text %zu is healthy: %s", i, message);
        tuff_graph_destroy(g);
        fuzz_text((const uint8_t *)texts[i], strlen(texts[i]));
        damage_and_feed(i + 1, texts[i], strlen(texts[i]), fuzz_text);
    }
}

Test(hostile, expression)
{
    static const char *const expressions[] = { "let y = x * 2.0 + t[i, 1]; y > 1.0 && b ? exp(-y * y) : float(i % 3)", "real(z) + max(x, 1e-3) / 2" };
    for (size_t i = 0; i < COUNT(expressions); i++) damage_and_feed(i + 1, expressions[i], strlen(expressions[i]), fuzz_expression);
}

Test(hostile, npy)
{
    static const float floats[12] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 };
    static const struct { tuff_dtype dtype; tuff_shape shape; } files[] = {
        { TUFF_F32, { 2, { 3, 4 } } }, { TUFF_F16, { 1, { 24 } } }, { TUFF_C64, { 3, { 1, 2, 3 } } }, { TUFF_BOOL, { 1, { 48 } } }, { TUFF_I32, { 0, { 0 } } },
        { TUFF_U8, { 2, { 0, 5 } } },
    };
    for (size_t i = 0; i < COUNT(files); i++) {
        tf_str file;
        tf_str_init(&file, NULL);
        cr_assert(!tf_npy_format(files[i].dtype, &files[i].shape, floats, &file));
        fuzz_npy((const uint8_t *)file.data, file.n);
        damage_and_feed(i + 1, file.data, file.n, fuzz_npy);
        tf_str_release(&file);
    }
}

/* A desktop device, as far as planning is concerned. */
static const tf_limits limits = {
    .max_invocations = 1024, .max_local = { 1024, 1024, 64 }, .shared_bytes = 32768, .storage_bindings = 16, .uniform_bindings = 12,
    .storage_range = 1u << 30, .uniform_range = 65536, .storage_align = 64, .max_groups = { 65535, 65535, 65535 }, .max_buffer = 1u << 30,
    .subgroup_size = 32, .subgroup_min = 32, .subgroup_max = 32, .units = 32,
};

/* A plan with everything a plan may have, and code that is just enough to be taken for some. */
static const char capsule_text[] =
    "dim n <= 24\nx = input f32[n, 8]\nk = scalar f32 = 2\nw = const f32[8,4] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5]\n"
    "s = state f32[4]\ny = matmul(x, w)\nz = mul(softmax(y) {axis=-1}, k)\nr = sum(z) {axes=[0]}\nt = assign(s, add(s, r))\n"
    "a, b = loop 5 step i (u = r, v = s) {\n u2 = add(v, 1.0)\n v2 = mul(u, 0.5)\n yield u2, v2\n}\n"
    "q, count, more = while go <= 6 (h = r) {\n h2 = mul(h, 0.5)\n go = any(greater(h2, 0.1)) {axes=[0]}\n yield h2\n}\n"
    "output z\noutput t\noutput a\noutput b\noutput q\n";

static void give_code(tf_plan *plan)
{
    static const uint32_t code[] = { 0x07230203, 0x10300, 0, 9, 0, 2u << 16 | 17, 1, 5u << 16 | 15, 5, 1, 0x6e69616d, 0 };
    for (uint32_t i = 0; i < plan->kernels.n; i++) {
        plan->kernels.data[i].code = code;
        plan->kernels.data[i].code_words = COUNT(code);
    }
}

Test(hostile, capsule)
{
    tuff_graph *g = NULL;
    char message[256] = "";
    tf_plan *plan = NULL;
    tf_str file;
    tf_str_init(&file, NULL);
    cr_assert(!tuff_graph_parse(capsule_text, strlen(capsule_text), NULL, &g, message, sizeof message), "%s", message);
    cr_assert(!tf_compile(g, &limits, &(tf_compile_options){ 0 }, NULL, &plan), "%s", tuff_graph_error(g));
    give_code(plan);
    cr_assert(tf_capsule_write((const tf_plan *const[]){ plan }, 1, &file) && file.n <= MAX_FILE);
    tf_plan *back;
    tf_str why;
    tf_str_init(&why, NULL);
    cr_assert(!tf_capsule_choose(file.data, file.n, &limits, NULL, &back, &why), "%s", why.data);
    cr_expect(back->steps.n == plan->steps.n && back->kernels.n == plan->kernels.n && back->arena_bytes == plan->arena_bytes && tf_plan_run_steps(back) == tf_plan_run_steps(plan));
    tf_str again;
    tf_str_init(&again, NULL);
    cr_assert(tf_capsule_write((const tf_plan *const[]){ back }, 1, &again));
    cr_expect(again.n == file.n && !memcmp(again.data, file.data, file.n), "what was read is written as it was");
    tf_plan_destroy(back);

    /* Every cut is noticed, and so is every byte in front of the constants. */
    uint64_t hashed;
    memcpy(&hashed, file.data + 24, sizeof hashed);
    for (size_t n = 0; n < file.n; n++)
        cr_expect(tf_capsule_choose(file.data, n, &limits, NULL, &back, &why) == TUFF_E_PARSE && !back, "cut after %zu of %zu bytes", n, file.n);
    for (size_t i = 0; i < 48 + hashed; i++) {
        file.data[i] ^= 0x10;
        cr_expect(tf_capsule_choose(file.data, file.n, &limits, NULL, &back, &why) == TUFF_E_PARSE && !back, "byte %zu changed", i);
        file.data[i] ^= 0x10;
    }
    /* And what has the right hash is still not believed. */
    fuzz_capsule((const uint8_t *)file.data, file.n);
    damage_and_feed(1, file.data, file.n, fuzz_capsule);
    rng r = { 2 };
    for (int i = 0; i < 4 * DAMAGES; i++) { /* a whole number at a time: counts, indices and sizes */
        static const uint64_t numbers[] = { 0, 1, 2, 7, 255, 65536, 0x7fffffff, 0xffffffff, 0xfffffffe, 0x7fffffffffffffff, 0xfffffffffffffff0, 0xc000000000000003 };
        const size_t at = 48 + rng_below(&r, (uint32_t)hashed - 8), bytes = rng_below(&r, 2) ? 4 : 8;
        uint64_t kept;
        memcpy(&kept, file.data + at, 8);
        memcpy(file.data + at, &numbers[rng_below(&r, COUNT(numbers))], bytes);
        fuzz_capsule((const uint8_t *)file.data, file.n);
        memcpy(file.data + at, &kept, 8);
    }
    tf_str_release(&why);
    tf_str_release(&again);
    tf_str_release(&file);
    tf_plan_destroy(plan);
    tuff_graph_destroy(g);
}

/* ---- memory that runs out --------------------------------------------------------------------------- */

static tuff_status through_a_capsule(tf_plan *plan, const tuff_allocator *allocator)
{
    tf_plan *back = NULL;
    tf_str file, why;
    tf_str_init(&file, allocator);
    tf_str_init(&why, NULL);
    give_code(plan);
    tuff_status status = TUFF_E_MEMORY;
    if (tf_capsule_write((const tf_plan *const[]){ plan }, 1, &file)) status = tf_capsule_choose(file.data, file.n, &limits, allocator, &back, &why);
    cr_expect((status == TUFF_OK) == (back != NULL), "%s", why.data);
    tf_plan_destroy(back);
    tf_str_release(&file);
    tf_str_release(&why);
    return status;
}

/* Parses, compiles, packs and loads with the n-th allocation failing. True when nothing failed any more. */
static bool with_failure(const char *text, uint64_t n, bool sticky)
{
    failing_allocator memory = { .fail_at = n, .sticky = sticky };
    const tuff_allocator allocator = failing(&memory);
    tuff_graph *g = NULL;
    char message[256] = "";
    tf_plan *plan = NULL;
    tuff_status status = tuff_graph_parse(text, strlen(text), &(tuff_parse_desc){ .allocator = allocator }, &g, message, sizeof message);
    cr_expect((status == TUFF_OK) == (g != NULL), "allocation %llu: status %s", (unsigned long long)n, tuff_status_text(status));
    if (!status) {
        status = tf_compile(g, &limits, &(tf_compile_options){ 0 }, &allocator, &plan);
        cr_expect((status == TUFF_OK) == (plan != NULL), "allocation %llu: status %s", (unsigned long long)n, tuff_status_text(status));
    }
    if (plan) status = through_a_capsule(plan, &allocator);
    const bool reached = memory.calls >= n;
    cr_expect(!reached || !sticky || status == TUFF_E_MEMORY, "allocation %llu failed but the status is '%s': %s%s", (unsigned long long)n,
              tuff_status_text(status), message, g ? tuff_graph_error(g) : "");
    cr_expect(!status || status == TUFF_E_MEMORY, "allocation %llu: %s", (unsigned long long)n, tuff_status_text(status));
    tf_plan_destroy(plan);
    tuff_graph_destroy(g);
    cr_expect(memory.live == 0, "allocation %llu: %llu bytes are left behind", (unsigned long long)n, (unsigned long long)memory.live);
    return !reached;
}

Test(hostile, every_allocation_fails)
{
    static const char text[] =
        "x = input f32[4,64]\nw = const f32[2,2] = [1, 2, 3, 4]\nb = input f32[64]\nh = matmul(x, b)\ny = softmax(x) {axis=-1}\nu = add(y, b)\nz = gelu(u)\n"
        "m = sum(z) {axes=[1]}\ns = state f32[4]\nn = add(s, m)\nt = assign(s, n)\np = permute(z) {axes=[1,0]}\noutput h\noutput t\noutput p\noutput w\n";
    for (int sticky = 0; sticky < 2; sticky++) {
        uint64_t n = 1;
        while (n < 100000 && !with_failure(text, n, sticky)) n++;
        cr_expect(n > 3 && n < 100000, "%llu allocations", (unsigned long long)n);
    }
}
