/* test_decoding.c - what stands around attention, by identities: each graph computes the same thing in two ways, as outputs a and b. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/support.h"

typedef struct identity { const char *name, *text; double rel; } identity;

#define NORMAL(name, shape, seed) name " = normal() {shape=[" shape "], seed=" seed "}\n"
#define CODES "len = const i32[2] = [0, 2]\nmore = add(len, 5)\ntotal = add(len, 8)\ntable = const i32[2,4] = [5, 0, -1, 3, 1, 2, 6, -1]\n" \
              NORMAL("x", "2,5,2,8", "1") NORMAL("y", "2,3,2,8", "2") NORMAL("q", "2,2,4,8", "3")

static const identity identities[] = {
    { "a turn of one", "x = const f32[1,2,1,2] = [1, 1, 1, 1]\ny = rope(x) {pairing=interleaved}\na = slice(y) {axes=[1], start=[1], stop=[2]}\n"
      "b = const f32[1,1,1,2] = [-0.30116867893975674, 1.3817732906760363]\n", 3e-7 },
    { "products depend on distance", NORMAL("q", "1,1,1,64", "1") NORMAL("k", "1,1,1,64", "2") "s0 = const i32[1] = [0]\ns1 = const i32[1] = [37]\n"
      "t0 = const i32[1] = [1000000000]\nt1 = const i32[1] = [1000000037]\nqa = rope(q, start=s0)\nka = rope(k, start=s1)\nqb = rope(q, start=t0)\nkb = rope(k, start=t1)\n"
      "ma = mul(qa, ka)\nmb = mul(qb, kb)\na = sum(ma)\nb = sum(mb)\n", 1e-5 },
    { "negative positions turn back", NORMAL("x", "1,9,2,20", "1") "p = iota() {shape=[9], axis=0}\nn = neg(p)\na = rope(x, positions=n) {rotary=12}\nb = rope(x) {rotary=12, inverse=true}\n", 1e-6 },
    { "there and back", NORMAL("b", "1,70,2,32", "1") "y = rope(b) {scaling=yarn, factor=4, original=16, amplitude=1}\na = rope(y) {scaling=yarn, factor=4, original=16, amplitude=1, inverse=true}\n", 1e-6 },
    { "linear scaling", NORMAL("x", "1,30,2,32", "1") "p = iota() {shape=[30], axis=0}\nd = mul(p, 2)\na = rope(x, positions=d) {scaling=linear, factor=2}\nb = rope(x)\n", 1e-6 },
    { "ntk is another base", NORMAL("x", "1,30,2,4", "1") "a = rope(x) {scaling=ntk, factor=3}\nb = rope(x) {base=90000}\n", 1e-6 },
    { "llama3 far below its context", NORMAL("x", "1,30,2,32", "1") "a = rope(x) {scaling=llama3, factor=8, original=2000000000, base=100}\nb = rope(x) {base=100}\n", 1e-6 },
    { "llama3 far beyond its context", NORMAL("x", "1,30,2,32", "1") "a = rope(x) {scaling=llama3, factor=8, original=1}\nb = rope(x) {scaling=linear, factor=8}\n", 1e-6 },
    { "yarn of factor one", NORMAL("x", "1,30,2,32", "1") "a = rope(x) {scaling=yarn, factor=1}\nb = rope(x)\n", 1e-6 },
    { "frequencies of one's own", NORMAL("x", "1,30,2,4", "1") "w = const f32[2] = [1, 0.01]\na = rope(x, frequencies=w)\nb = rope(x)\n", 2e-6 },

    { "parts joined", NORMAL("q", "2,9,4,16", "1") NORMAL("k", "2,50,2,16", "2") NORMAL("v", "2,50,2,16", "3")
      "k0 = slice(k) {axes=[1], start=[0], stop=[17]}\nk1 = slice(k) {axes=[1], start=[17], stop=[50]}\nv0 = slice(v) {axes=[1], start=[0], stop=[17]}\n"
      "v1 = slice(v) {axes=[1], start=[17], stop=[50]}\no0, l0 = attention(q, k0, v0)\no1, l1 = attention(q, k1, v1)\no = stack(o0, o1) {axis=0}\nl = stack(l0, l1) {axis=0}\n"
      "a = attention_merge(o, l)\nb = attention(q, k, v)\n", 2e-6 },
    { "a chain of drafts is causal", "p = const i32[1,9] = [-1, 0, 1, 2, 3, 4, 5, 6, 7]\n" NORMAL("q", "1,9,4,16", "1") NORMAL("k", "1,40,2,16", "2") NORMAL("v", "1,40,2,16", "3")
      "bits = tree_mask(p)\na = attention(q, k, v, tree_mask=bits)\nb = attention(q, k, v) {causal=true}\n", 1e-6 },
    { "depths of a tree", "p = const i32[7] = [-1, 0, 0, 1, -5, 4, 99]\nm, d = tree_mask(p)\na = cast(d) {dtype=f32}\nb = const f32[7] = [0, 1, 1, 2, 0, 1, 0]\n", 0 },
    { "a paged cache is a cache", CODES "z = const f32[1] = [0]\nc0 = expand(z) {shape=[2,16,2,8]}\nc1 = kv_append(c0, x, len)\nc2 = kv_append(c1, y, more)\n"
      "p0 = expand(z) {shape=[8,4,2,8]}\np1 = kv_append(p0, x, len, page_table=table)\np2 = kv_append(p1, y, more, page_table=table)\n"
      "a = attention(q, p2, p2, page_table=table, kv_len=total) {causal=true}\nb = attention(q, c2, c2, kv_len=total) {causal=true}\n", 1e-6 },
    { "rows dropped", CODES "z = const f32[1] = [0]\nc0 = expand(z) {shape=[2,16,2,8]}\nc1 = kv_append(c0, x, len)\nr = const i32[2,3] = [1, 2, 4, 0, 3, 4]\nc2 = kv_gather(c1, r, len)\n"
      "i = const i32[2,3,1,1] = [1, 2, 4, 0, 3, 4]\nb = take_along_axis(x, i) {axis=1}\nj = const i32[2,3,1,1] = [0, 1, 2, 2, 3, 4]\na = take_along_axis(c2, j) {axis=1}\n", 0 },
    { "codes or numbers", NORMAL("q", "1,3,4,32", "1") NORMAL("k", "1,40,2,32", "2") "c, s, z = kv_quantize(k) {dtype=u8, nibbles=true, group=8}\nn = dequant(c, s, zero=z) {group=8}\n"
      "a = attention(q, c, c, k_scale=s, k_zero=z, v_scale=s, v_zero=z) {group=8}\nb = attention(q, n, n)\n", 1e-6 },
    { "packed or not", CODES "f = const f32[1] = [0]\nh = cast(f) {dtype=f16}\ns0 = expand(h) {shape=[2,16,2,2]}\ne = expand(f) {shape=[2,16,2,8]}\nu0 = cast(e) {dtype=u8}\nn0 = cast(e) {dtype=u4}\n"
      "c, s, z = kv_quantize(x) {dtype=u8, nibbles=true, group=4}\nd, t, y0 = kv_quantize(x) {dtype=u4, group=4}\nc1 = kv_append(u0, c, len)\nd1 = kv_append(n0, d, len)\n"
      "s1 = kv_append(s0, s, len)\nz1 = kv_append(s0, z, len)\nt1 = kv_append(s0, t, len)\ny1 = kv_append(s0, y0, len)\n"
      "a = attention(q, d1, d1, k_scale=t1, k_zero=y1, v_scale=t1, v_zero=y1, kv_len=more) {group=4}\nb = attention(q, c1, c1, k_scale=s1, k_zero=z1, v_scale=s1, v_zero=z1, kv_len=more) {group=4}\n", 1e-6 },
    { "packed pages", CODES "f = const f32[1] = [0]\nw = const f16[1] = [0.5]\nw1 = expand(w) {shape=[1,1,1,1]}\ne0 = expand(f) {shape=[2,16,2,8]}\ne1 = expand(f) {shape=[8,4,2,8]}\nn0 = cast(e0) {dtype=i4}\np0 = cast(e1) {dtype=i4}\n"
      "d, t = kv_quantize(x) {dtype=i4}\nd1 = kv_append(n0, d, len)\np1 = kv_append(p0, d, len, page_table=table)\n"
      "a = attention(q, p1, p1, k_scale=w1, v_scale=w1, page_table=table, kv_len=more)\nb = attention(q, d1, d1, k_scale=w1, v_scale=w1, kv_len=more)\n", 1e-6 },
    { "eight bits are close", NORMAL("b", "7,64", "2") "c, s = kv_quantize(b) {group=16}\na = dequant(c, s) {group=16}\n", 1e-2 },
    { "equal values are kept", "x = const f32[1,4] = [0.75, 0.75, 0.75, 0.75]\nc, s, z = kv_quantize(x) {dtype=u8}\na = dequant(c, s, zero=z)\nb = add(x, 0)\n", 0 },

    { "linear attention in pieces", NORMAL("q", "1,50,2,8", "1") NORMAL("k", "1,50,2,8", "2") NORMAL("v", "1,50,2,12", "3")
      "q0 = slice(q) {axes=[1], start=[0], stop=[33]}\nq1 = slice(q) {axes=[1], start=[33], stop=[50]}\nk0 = slice(k) {axes=[1], start=[0], stop=[33]}\nk1 = slice(k) {axes=[1], start=[33], stop=[50]}\n"
      "v0 = slice(v) {axes=[1], start=[0], stop=[33]}\nv1 = slice(v) {axes=[1], start=[33], stop=[50]}\no0, s, n = linear_attention(q0, k0, v0) {causal=true, q_map=elu, k_map=elu, chunk=8}\n"
      "o1 = linear_attention(q1, k1, v1, state=s, norm=n) {causal=true, q_map=elu, k_map=elu}\na = concat(o0, o1) {axis=1}\nb = linear_attention(q, k, v) {causal=true, q_map=elu, k_map=elu, chunk=16}\n", 2e-6 },
    { "the last query sees all keys", NORMAL("q", "1,50,2,8", "1") NORMAL("k", "1,50,2,8", "2") NORMAL("v", "1,50,2,12", "3")
      "x = linear_attention(q, k, v) {causal=true, q_map=elu, k_map=elu, chunk=8}\ny = linear_attention(q, k, v) {q_map=elu, k_map=elu}\n"
      "a = slice(x) {axes=[1], start=[49], stop=[50]}\nb = slice(y) {axes=[1], start=[49], stop=[50]}\n", 2e-6 },
    { "features do not see their maximum", NORMAL("x", "1,9,2,8", "1") NORMAL("w", "64,8", "2") NORMAL("v", "1,9,2,8", "4")
      "f = favor_features(x, w)\ng = favor_features(x, w) {keys=true, eps=1e-30}\nh = favor_features(x, w) {eps=1e-30}\na = linear_attention(h, g, v)\nf2 = mul(h, 3.0)\nb = linear_attention(f2, g, v)\n", 2e-6 },
    { "latent keys expanded", NORMAL("qn", "1,5,3,8", "1") NORMAL("qr", "1,5,3,4", "2") NORMAL("c", "1,20,6", "3") NORMAL("kr", "1,20,4", "4") NORMAL("wk", "3,8,6", "5") NORMAL("wv", "3,10,6", "6")
      "c1 = unsqueeze(c) {axes=[1]}\nkh = matmul(c1, wk) {transpose_b=true}\nkt = permute(kh) {axes=[0,2,1,3]}\nr1 = unsqueeze(kr) {axes=[2]}\nr3 = expand(r1) {shape=[1,20,3,4]}\nk = concat(kt, r3) {axis=3}\n"
      "vh = matmul(c1, wv) {transpose_b=true}\nv = permute(vh) {axes=[0,2,1,3]}\nq = concat(qn, qr) {axis=3}\na = mla_attention(qn, qr, c, kr, wk, wv) {causal=true}\nb = attention(q, k, v) {causal=true}\n", 3e-6 },

    { "drafts of the model itself", "l = normal() {shape=[3,4,50], seed=1}\np = softmax(l) {axis=2}\nt = argmax(p) {axis=2}\nu = uniform() {shape=[3,4], seed=2}\nn, r = speculative_verify(p, p, t, u)\n"
      "nf = cast(n) {dtype=f32}\ns = sum(r)\na = add(nf, s)\nb = const f32[3] = [4, 4, 4]\n", 0 },
    { "a draft the model rules out", "p = const f32[1,2,3] = [0.5, 0.25, 0.25, 0.5, 0.5, 0]\nq = const f32[1,2,3] = [0.5, 0.25, 0.25, 0, 0.75, 0.25]\nt = const i32[1,2] = [1, 0]\nu = const f32[1,2] = [0.5, 0]\n"
      "n, r = speculative_verify(p, q, t, u)\nnf = cast(n) {dtype=f32}\nc = reshape(nf) {shape=[1,1]}\na = concat(c, r) {axis=1}\nb = const f32[1,4] = [1, 0, 0.5, 0.5]\n", 1e-7 },
};

static float *values(tuff_program *p, const char *name, size_t *n)
{
    size_t bytes = 0;
    cr_assert(!tuff_describe(p, name, &bytes, NULL, NULL), "%s: %s", name, tuff_program_error(p));
    float *x = malloc(bytes + 1);
    cr_assert(x && !tuff_read(p, name, x, bytes), "%s: %s", name, tuff_program_error(p));
    *n = bytes / sizeof *x;
    return x;
}

static void run_identities(const tuff_device_desc *desc)
{
    tuff_device *dev = open_device(desc);
    for (size_t i = 0; i < COUNT(identities); i++) {
        char text[4096], message[512];
        tuff_graph *g = NULL;
        tuff_program *p = NULL;
        snprintf(text, sizeof text, "%soutput a\noutput b\n", identities[i].text);
        cr_expect(!tuff_graph_parse(text, strlen(text), NULL, &g, message, sizeof message), "%s: %s", identities[i].name, message);
        if (!g) continue;
        cr_expect(!tuff_compile(dev, g, NULL, &p), "%s: %s", identities[i].name, tuff_graph_error(g));
        if (p) {
            cr_assert(!tuff_run(p), "%s: %s", identities[i].name, tuff_program_error(p));
            size_t na, nb;
            float *a = values(p, "a", &na), *b = values(p, "b", &nb);
            cr_expect(na == nb, "%s: %zu and %zu elements", identities[i].name, na, nb);
            if (na == nb) expect_floats(identities[i].name, a, b, na, (tolerance){ .rel = identities[i].rel });
            free(a);
            free(b);
        }
        tuff_program_destroy(p);
        tuff_graph_destroy(g);
    }
    tuff_device_close(dev);
}

Test(decoding, identities) { run_identities(NULL); }
Test(decoding, identities_gpu_class_at_the_floor)
{
    run_identities(&(tuff_device_desc){ .toggles = "-cpu,-subgroup,-storage16,-storage8,-fp16", .limits = "shared=16K,invocations=128,bindings=4" });
}

Test(decoding, packed_codes_that_do_not_fit)
{
    static const struct { const char *text, *words; } refused[] = {
        { "c = input u4[1,16,2,12]\nx = input u4[1,3,2,12]\nn = input i32[1]\ny = kv_append(c, x, n)\noutput y\n", "the cache has eight u4 a word, so its last axis, behind that of the tokens, needs a multiple of 8" },
        { "c = input i4[1,16]\nx = input i4[1,4]\nn = input i32[1]\ny = kv_append(c, x, n)\noutput y\n", "the cache has eight i4 a word" },
        { "c = input u4[1,16,8]\nx = input u8[1,3,8]\nn = input i32[1]\ny = kv_append(c, x, n)\noutput y\n", "x and cache differ in dtype" },
        { "x = input f32[3,9]\ny, s, z = kv_quantize(x) {dtype=u4}\noutput y\n", "u4 has two codes a byte, so the last axis of x needs an even size" },
        { "x = input f32[3,8]\ny, s, z = kv_quantize(x) {dtype=i16}\noutput y\n", "dtype is i16, it needs i8, u8, i4 or u4" },
    };
    for (size_t i = 0; i < COUNT(refused); i++) {
        char message[512] = "";
        tuff_graph *g = NULL;
        cr_expect(tuff_graph_parse(refused[i].text, strlen(refused[i].text), NULL, &g, message, sizeof message), "%s is accepted", refused[i].text);
        cr_expect(strstr(message, refused[i].words), "%s: %s", refused[i].text, message);
        tuff_graph_destroy(g);
    }
}
