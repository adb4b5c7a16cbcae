/* cases.c - what `tuff bench` times. A case is a graph in text form; its bytes are those of its inputs and outputs,
 * each moved once. */
#include "bench.h"

#define ATTENTION(b, sq, sk, hq, hk, d, t, tail) \
    "q = input " t "[" #b "," #sq "," #hq "," #d "]\nk = input " t "[" #b "," #sk "," #hk "," #d "]\n" \
    "v = input " t "[" #b "," #sk "," #hk "," #d "]\no = attention(q, k, v)" tail "\noutput o\n"
#define SCORED(inputs, operands, tail) \
    "q = input f32[1,512,4,64]\nk = input f32[1,512,4,64]\nv = input f32[1,512,4,64]\n" inputs "o = attention(q, k, v" operands ")" tail "\noutput o\n"
/* The scores in memory: two matrix products and a softmax. */
#define UNFUSED(sq, sk, h, d) \
    { "attention", "attention " #sq "x" #sk " h" #h " d" #d, ATTENTION(1, sq, sk, h, h, d, "f32", ""), ATTENTION_FLOPS(1, sq, sk, h, d), BENCH_FMA }, \
    { "attention", "unfused " #sq "x" #sk " h" #h " d" #d, "q = input f32[1," #sq "," #h "," #d "]\nk = input f32[1," #sk "," #h "," #d "]\nv = input f32[1," #sk "," #h "," #d "]\n" \
      "s = matmul(permute(q) {axes=[0,2,1,3]}, permute(k) {axes=[0,2,1,3]}) {transpose_b=true}\n" \
      "o = permute(matmul(softmax(mul(s, 0.125)) {axis=3}, permute(v) {axes=[0,2,1,3]})) {axes=[0,2,1,3]}\noutput o\n", ATTENTION_FLOPS(1, sq, sk, h, d), BENCH_FMA },
/* Queries and keys turned, then attention. */
#define ROTARY(s, h, d) \
    { "attention", "pass over k, " #s " h" #h " d" #d, "k = input f32[1," #s "," #h "," #d "]\ny = neg(k)\noutput y\n", 0.0, BENCH_COPY }, \
    { "attention", "rotary, " #s " h" #h " d" #d, "q0 = input f32[1," #s "," #h "," #d "]\nk0 = input f32[1," #s "," #h "," #d "]\nv = input f32[1," #s "," #h "," #d "]\n" \
      "q = rope(q0)\nk = rope(k0)\no = attention(q, k, v)\noutput o\n", ATTENTION_FLOPS(1, s, s, h, d), BENCH_FMA },
#define UNFUSED_SHAPES(X) X(16, 16, 4, 64) X(64, 64, 4, 64) X(128, 128, 4, 64) X(256, 256, 4, 64) X(512, 512, 4, 64) X(64, 64, 4, 128) X(256, 256, 4, 128) X(1, 1024, 8, 64)
#define ROTARY_SHAPES(X) X(1024, 2, 64) X(1024, 2, 128)
#define ATTENTION_FLOPS(b, sq, sk, hq, d) (4.0 * (b) * (sq) * (sk) * (hq) * (d))
#define ROWS(n, m, call) "x = input f32[" #n "," #m "]\ny = " call "\noutput y\n"
#define CONV(x, w, tail) "x = input f32[" x "]\nw = input f32[" w "]\ny = conv(x, w) {" tail "}\noutput y\n"
#define MATMUL(m, k, n, t) "a = input " t "[" #m "," #k "]\nb = input " t "[" #k "," #n "]\ny = matmul(a, b)\noutput y\n"
#define GAUNT(l, d, rows, algorithm) { "gaunt", "tensor product L=" #l ", " #rows " rows, " #algorithm, \
    "a = input f32[" #rows "," #d "]\nb = input f32[" #rows "," #d "]\ny = gaunt_tp(a, b) {lout=" #l ", algorithm=" #algorithm "}\noutput y\n", 0.0, BENCH_COPY },
#define GAUNT_GRID(l, d, rows) GAUNT(l, d, rows, auto) GAUNT(l, d, rows, grid)
#define GAUNT_LARGE(l, d, rows) GAUNT_GRID(l, d, rows) GAUNT(l, d, rows, dense) GAUNT(l, d, rows, fourier)
#define GAUNT_ALL(l, d, rows) GAUNT_LARGE(l, d, rows) GAUNT(l, d, rows, sparse)
#define GAUNT_DEGREES(rows) \
    GAUNT_ALL(1, 4, rows) GAUNT_ALL(2, 9, rows) GAUNT_ALL(3, 16, rows) GAUNT_ALL(4, 25, rows) GAUNT_ALL(5, 36, rows) GAUNT_ALL(6, 49, rows)
/* A convolution over edges, and the same by a filter that is stored first. */
#define CONV_EDGES(l, d, n, edges) \
    { "gaunt", "convolution L=" #l ", " #edges " edges, 16 channels", "x = input f32[" #edges ",16," #d "]\nv = input f32[" #edges ",3]\nh = input f32[" #edges ",16," #n "]\n" \
      "y = gaunt_conv(x, v, h) {lout=" #l "}\noutput y\n", 0.0, BENCH_COPY }, \
    { "gaunt", "filter, then product L=" #l, "x = input f32[" #edges ",16," #d "]\nv = input f32[" #edges ",3]\nh = input f32[" #edges ",16," #n "]\n" \
      "f = spherical_harmonics(v) {lmax=" #l "}\ng = unsqueeze(f) {axes=[1]}\ny = gaunt_tp(x, g, w2=h) {lout=" #l "}\noutput y\n", 0.0, BENCH_COPY },
#define FFT(name, type, dims, attributes, flops) { "fft", name, "x = input " type "[" dims "]\ny = fft(x) {" attributes "}\noutput y\n", flops, BENCH_COPY },
#define FFT_LINE(n, batch, log) FFT(#n, "c64", #batch "," #n, "", 5.0 * (batch) * (n) * (log))
#define FFT_REAL(n, batch, log) FFT(#n " r2c", "f32", #batch "," #n, "kind=r2c", 2.5 * (batch) * (n) * (log))
/* Real rows: n elements by k, in one dispatch where a line fits, and by sums of shifted products. */
#define FFT_CONV(rows, n, k, how) { "fft", "convolution " #rows " x " #n " by " #k ", " #how, "x = input f32[" #rows "," #n "]\nh = input f32[" #k "]\n" \
    "y = fft_conv(x, h) {mode=causal, algorithm=" #how "}\noutput y\n", 0.0, BENCH_COPY },
/* Planes of n x n by k x k, periodic. */
#define FFT_PLANE(planes, n, k, how) { "fft", "convolution " #planes " x " #n "^2 by " #k "^2, " #how, "x = input f32[" #planes "," #n "," #n "]\nh = input f32[" #k "," #k "]\n" \
    "y = fft_conv(x, h) {mode=circular, dims=2, algorithm=" #how "}\noutput y\n", 0.0, BENCH_COPY },
#define FFT_PLANES(planes, n, k) FFT_PLANE(planes, n, k, auto) FFT_PLANE(planes, n, k, fft) FFT_PLANE(planes, n, k, direct)
#define FFT_CONVS(rows, n, k) FFT_CONV(rows, n, k, auto) FFT_CONV(rows, n, k, fft) FFT_CONV(rows, n, k, direct)
/* One row of a sampler on n elements. */
#define STATES(n) "row = input f32[24]\ny = input f32[" #n "]\nd = input f32[" #n "]\n"
#define UPDATES(n) \
    { "diffusion", "euler, " #n " elements", STATES(n) "a, b, c = solver_step(row, y, d)\noutput a\n", 0.0, BENCH_COPY_BESIDE }, \
    { "diffusion", "dpmpp_2m, " #n " elements", STATES(n) "m1 = input f32[" #n "]\na, b, c = solver_step(row, y, d, m1=m1)\noutput a\noutput c\n", 0.0, BENCH_COPY_BESIDE }, \
    { "diffusion", "dpmpp_2m sde, " #n " elements", STATES(n) "m1 = input f32[" #n "]\nz = normal() {shape=[" #n "], seed=1}\na, b, c = solver_step(row, y, d, m1=m1, noise=z)\n" \
      "output a\noutput c\n", 0.0, BENCH_COPY_BESIDE }, \
    { "diffusion", "the noise alone, " #n " elements", "z = normal() {shape=[" #n "], seed=1}\noutput z\n", 0.0, BENCH_COPY_BESIDE }, \
    { "diffusion", "unipc, " #n " elements", STATES(n) "x = input f32[" #n "]\nm1 = input f32[" #n "]\nm2 = input f32[" #n "]\n" \
      "a, b, c = solver_step(row, y, d, x=x, m1=m1, m2=m2)\noutput a\noutput b\noutput c\n", 0.0, BENCH_COPY_BESIDE },

#define SELECTIVE(l) \
    { "ssm", "selective scan d1536 n16 L" #l, "u = input f32[1,1536," #l "]\ndelta = input f32[1,1536," #l "]\nz = input f32[1,1536," #l "]\nA_log = input f32[1536,16]\n" \
      "B = input f32[1,16," #l "]\nC = input f32[1,16," #l "]\nD = input f32[1536]\nbias = input f32[1536]\n" \
      "y, h = selective_scan(u, delta, neg(exp(A_log)), B, C, D=D, z=z, delta_bias=bias) {delta_softplus=true}\noutput y\noutput h\n", 7.0 * 1536 * 16 * (l), BENCH_FMA },
#define SCAN1(name, call, n) { "ssm", name " of " #n, "x = input f32[" #n "]\ny = " call "\noutput y\n", 1.0 * (n), BENCH_COPY },
#define LINEAR(n) \
    { "ssm", "linear recurrence, " #n, "a = input f32[" #n "]\nb = input f32[" #n "]\nh = linear_scan(mul(a, 0.1), b) {axis=0}\noutput h\n", 4.0 * (n), BENCH_COPY },

const bench_case bench_cases[] = {
    { "pointwise", "chain of 8, 16M floats",
      "a = input f32[4096,4096]\nb = input f32[4096,4096]\nr = input f32[4096]\nc = input f32[4096,1]\n"
      "t1 = mul(a, b)\nt2 = add(t1, r)\nt3 = mul(t2, c)\nt4 = add(t3, a)\nt5 = mul(t4, r)\nt6 = add(t5, c)\nt7 = mul(t6, b)\ny = add(t7, 0.5)\noutput y\n",
      8.0 * 4096 * 4096, BENCH_COPY },
    { "pointwise", "add, 16M floats", "a = input f32[16777216]\nb = input f32[16777216]\ny = add(a, b)\noutput y\n", 16777216.0, BENCH_COPY },
    { "pointwise", "gelu, 4M floats", "x = input f32[4194304]\ny = gelu(x)\noutput y\n", 0.0, BENCH_COPY },
    { "pointwise", "add, 4M halves", "a = input f16[4194304]\nb = input f16[4194304]\ny = add(a, b)\noutput y\n", 0.0, BENCH_COPY },
    { "pointwise", "add, 4M bfloats", "a = input bf16[4194304]\nb = input bf16[4194304]\ny = add(a, b)\noutput y\n", 0.0, BENCH_COPY },
    { "pointwise", "silu, 4M halves", "x = input f16[4194304]\ny = silu(x)\noutput y\n", 0.0, BENCH_COPY },
    { "movement", "transpose 4096x4096", "x = input f32[4096,4096]\ny = permute(x) {axes=[1,0]}\noutput y\n", 0.0, BENCH_COPY },
    { "movement", "normal numbers, 4M", "y = normal() {shape=[4194304], seed=1}\noutput y\n", 0.0, BENCH_COPY },

    { "reduce", "sum of rows 4096x1024", ROWS(4096, 1024, "sum(x) {axes=[1]}"), 4096.0 * 1024, BENCH_READ },
    { "reduce", "sum of columns 4096x1024", ROWS(4096, 1024, "sum(x) {axes=[0]}"), 4096.0 * 1024, BENCH_READ },
    { "reduce", "sum of all 16M", "x = input f32[16777216]\ny = sum(x)\noutput y\n", 16777216.0, BENCH_READ },
    { "reduce", "argmax of rows 4096x1024", ROWS(4096, 1024, "argmax(x) {axis=1}"), 0.0, BENCH_READ },
    { "reduce", "cumsum of rows 4096x1024", ROWS(4096, 1024, "cumsum(x) {axis=1}"), 4096.0 * 1024, BENCH_COPY },

    { "norm", "softmax 4096x1024", ROWS(4096, 1024, "softmax(x) {axis=1}"), 0.0, BENCH_COPY },
    { "norm", "softmax 1024x4096", ROWS(1024, 4096, "softmax(x) {axis=1}"), 0.0, BENCH_COPY },
    { "norm", "softmax 64x65536", ROWS(64, 65536, "softmax(x) {axis=1}"), 0.0, BENCH_COPY },
    { "norm", "rms_norm 4096x1024", "x = input f32[4096,1024]\ngain = input f32[1024]\ny = rms_norm(x, gain=gain)\noutput y\n", 0.0, BENCH_COPY },
    { "norm", "layer_norm 4096x1024", "x = input f32[4096,1024]\ngain = input f32[1024]\nbias = input f32[1024]\n"
      "y = layer_norm(x, gain=gain, bias=bias)\noutput y\n", 0.0, BENCH_COPY },

    { "matmul", "matmul 512 f32", MATMUL(512, 512, 512, "f32"), 2.0 * 512 * 512 * 512, BENCH_FMA },
    { "matmul", "matmul 1024 f32", MATMUL(1024, 1024, 1024, "f32"), 2.0 * 1024 * 1024 * 1024, BENCH_FMA },
    { "matmul", "matmul 512 f16", MATMUL(512, 512, 512, "f16"), 2.0 * 512 * 512 * 512, BENCH_FMA },
    { "matmul", "matmul 1024 f16", MATMUL(1024, 1024, 1024, "f16"), 2.0 * 1024 * 1024 * 1024, BENCH_FMA },
    { "matmul", "matmul 512 int8 weights", "x = input f32[512,512]\ncodes = input i8[512,512]\nscale = input f16[512,8]\n"
      "w = dequant(codes, scale) {group=64}\ny = matmul(x, w)\noutput y\n", 2.0 * 512 * 512 * 512, BENCH_FMA },
    { "matmul", "matmul 512 int4 weights", "x = input f32[512,512]\ncodes = input u4[512,512]\nscale = input f16[512,8]\nzero = input f16[512,8]\n"
      "w = dequant(codes, scale, zero=zero) {group=64}\ny = matmul(x, w)\noutput y\n", 2.0 * 512 * 512 * 512, BENCH_FMA },
    { "matmul", "matmul 512 + bias + gelu + residual", "x = input f32[512,512]\nw = input f32[512,512]\nb = input f32[512]\n"
      "h = matmul(x, w)\nhb = add(h, b)\ng = gelu(hb)\ny = add(g, x)\noutput y\n", 2.0 * 512 * 512 * 512, BENCH_FMA },
    { "matmul", "vector x matrix 4096 f32", "a = input f32[1,4096]\nb = input f32[4096,4096]\ny = matmul(a, b)\noutput y\n", 2.0 * 4096 * 4096, BENCH_READ },
    { "matmul", "matrix x vector 4096 f16", "a = input f16[4096,4096]\nb = input f32[4096,1]\ny = matmul(a, b) {dtype=f32}\noutput y\n", 2.0 * 4096 * 4096, BENCH_READ },

    { "nn", "depthwise 3x3, 256x56x56", CONV("1,256,56,56", "256,1,3,3", "padding=1, groups=256"), 2.0 * 9 * 256 * 56 * 56, BENCH_COPY },
    { "nn", "depthwise 7x7, 256x56x56", CONV("1,256,56,56", "256,1,7,7", "padding=3, groups=256"), 2.0 * 49 * 256 * 56 * 56, BENCH_FMA },
    { "nn", "conv 3x3, 64x56x56 -> 64", CONV("1,64,56,56", "64,64,3,3", "padding=1"), 2.0 * 576 * 64 * 56 * 56, BENCH_FMA },
    { "nn", "conv 3x3, 64x64x64 -> 64", CONV("1,64,64,64", "64,64,3,3", "padding=1"), 2.0 * 576 * 64 * 64 * 64, BENCH_FMA },
    { "nn", "conv 3x3 stride 2, 64x56x56 -> 128", CONV("1,64,56,56", "128,64,3,3", "padding=1, stride=2"), 2.0 * 576 * 128 * 28 * 28, BENCH_FMA },
    { "nn", "conv 1x1, 256x56x56 -> 64", CONV("1,256,56,56", "64,256,1,1", "groups=1"), 2.0 * 256 * 64 * 56 * 56, BENCH_FMA },
    { "nn", "argsort of rows 1000x512", ROWS(1000, 512, "argsort(x) {axis=1}"), 0.0, BENCH_COPY },
    { "nn", "argsort of 1M", "x = input f32[1000000]\ny = argsort(x) {axis=0}\noutput y\n", 0.0, BENCH_COPY },
    { "nn", "topk 50 of rows 16x32000", ROWS(16, 32000, "topk(x) {k=50, axis=1}"), 0.0, BENCH_READ },

    SELECTIVE(512) SELECTIVE(2048) SELECTIVE(16384)
    { "ssm", "selective step b64 d1536 n16", "h = input f32[64,1536,16]\nx = input f32[64,1536]\ndt = input f32[64,1536]\nA_log = input f32[1536,16]\nB = input f32[64,16]\n"
      "C = input f32[64,16]\ny, h2 = selective_state_update(h, x, dt, neg(exp(A_log)), B, C) {dt_softplus=true}\noutput y\noutput h2\n", 0.0, BENCH_COPY },
    { "ssm", "ssd h8 p64 n128 L256", "x = input f32[1,256,8,64]\ndt = input f32[1,256,8]\nA_log = input f32[8]\nB = input f32[1,256,1,128]\nC = input f32[1,256,1,128]\n"
      "y, h = ssd(x, dt, neg(exp(A_log)), B, C) {dt_softplus=true}\noutput y\noutput h\n", 6.0 * 256 * 8 * 64 * 128, BENCH_FMA },
    SCAN1("cumsum", "cumsum(x) {axis=0}", 1) SCAN1("cumsum", "cumsum(x) {axis=0}", 1000) SCAN1("cumsum", "cumsum(x) {axis=0}", 100000)
    SCAN1("cumsum", "cumsum(x) {axis=0}", 10000000) SCAN1("cummax", "cummax(x) {axis=0}", 10000000) SCAN1("logcumsumexp", "logcumsumexp(x) {axis=0}", 10000000)
    LINEAR(1) LINEAR(1000) LINEAR(100000) LINEAR(10000000)
    { "ssm", "linear recurrence c64, 5000000", "a = input c64[5000000]\nb = input c64[5000000]\nh = linear_scan(mul(a, complex(0.1, 0.0)), b) {axis=0}\noutput h\n", 0.0, BENCH_COPY },
    { "ssm", "scan by expression, 10000000", "x = input f32[10000000]\ny = input f32[10000000]\np, q = scan(x=mul(x, 0.1), y=y) {axis=0, combine=\"x = a.x * b.x; y = b.x * a.y + b.y\"}\noutput q\n", 0.0, BENCH_COPY },
    { "ssm", "s4d_kernel h128 n32 L16384, device", "lam = input c64[128,32]\nb = input c64[128,32]\nc = input c64[128,32]\ndt = input f32[128]\n"
      "k = s4d_kernel(lam, b, c, dt) {length=16384}\noutput k\n", 4.0 * 32 * 128 * 16384, BENCH_FMA },
    { "ssm", "S4D layer h128 L16384", "u = input f32[1,128,16384]\nd = input f32[128]\nl, b = s4d_init() {init=lin, n=64}\nlam = expand(l) {shape=[128,32]}\n"
      "c = expand(b) {shape=[128,32]}\ndt = timescale_init() {n=128}\nk = s4d_kernel(lam, c, c, dt) {length=16384}\n"
      "y = gelu(causal_conv(u, k, d=d))\noutput y\n", 0.0, BENCH_COPY },
    { "ssm", "S4 stream h128 n32, 256 steps", "u = input f32[1,128,256]\nstate x c64[1,128,32]\nl, b, p, v = hippo_nplr() {basis=legs, n=64}\n"
      "lam = expand(l) {shape=[128,32]}\nq = expand(b) {shape=[128,32]}\nr = expand(unsqueeze(p) {axes=[1]}) {shape=[1,128,32]}\ndt = timescale_init() {n=128}\n"
      "y, z = s4_scan(u, lam, q, q, dt, p=r, state=x)\nnext = assign(x, z)\noutput y\n", 0.0, BENCH_COPY },

    { "attention", "prefill d64 256x256 h4", ATTENTION(1, 256, 256, 4, 4, 64, "f32", ""), ATTENTION_FLOPS(1, 256, 256, 4, 64), BENCH_FMA },
    { "attention", "prefill d64 256x256 h4 causal", ATTENTION(1, 256, 256, 4, 4, 64, "f32", " {causal=true}"), ATTENTION_FLOPS(1, 256, 256, 4, 64), BENCH_FMA },
    { "attention", "prefill d64 512x512 h4", ATTENTION(1, 512, 512, 4, 4, 64, "f32", ""), ATTENTION_FLOPS(1, 512, 512, 4, 64), BENCH_FMA },
    { "attention", "prefill d64 512x512 h4 causal", ATTENTION(1, 512, 512, 4, 4, 64, "f32", " {causal=true}"), ATTENTION_FLOPS(1, 512, 512, 4, 64), BENCH_FMA },
    { "attention", "prefill d64 1024x1024 h2", ATTENTION(1, 1024, 1024, 2, 2, 64, "f32", ""), ATTENTION_FLOPS(1, 1024, 1024, 2, 64), BENCH_FMA },
    { "attention", "prefill d64 1024x1024 h2 causal", ATTENTION(1, 1024, 1024, 2, 2, 64, "f32", " {causal=true}"), ATTENTION_FLOPS(1, 1024, 1024, 2, 64), BENCH_FMA },
    { "attention", "prefill d64 4096x4096 h1", ATTENTION(1, 4096, 4096, 1, 1, 64, "f32", ""), ATTENTION_FLOPS(1, 4096, 4096, 1, 64), BENCH_FMA },
    { "attention", "prefill d64 4096x4096 h1 causal", ATTENTION(1, 4096, 4096, 1, 1, 64, "f32", " {causal=true}"), ATTENTION_FLOPS(1, 4096, 4096, 1, 64), BENCH_FMA },
    { "attention", "prefill d128 512x512 h4", ATTENTION(1, 512, 512, 4, 4, 128, "f32", ""), ATTENTION_FLOPS(1, 512, 512, 4, 128), BENCH_FMA },
    { "attention", "prefill d128 512x512 h4 causal", ATTENTION(1, 512, 512, 4, 4, 128, "f32", " {causal=true}"), ATTENTION_FLOPS(1, 512, 512, 4, 128), BENCH_FMA },
    { "attention", "prefill d128 1024x1024 h2", ATTENTION(1, 1024, 1024, 2, 2, 128, "f32", ""), ATTENTION_FLOPS(1, 1024, 1024, 2, 128), BENCH_FMA },
    { "attention", "prefill d128 1024x1024 h2 causal", ATTENTION(1, 1024, 1024, 2, 2, 128, "f32", " {causal=true}"), ATTENTION_FLOPS(1, 1024, 1024, 2, 128), BENCH_FMA },
    { "attention", "prefill d128 4096x4096 h1", ATTENTION(1, 4096, 4096, 1, 1, 128, "f32", ""), ATTENTION_FLOPS(1, 4096, 4096, 1, 128), BENCH_FMA },
    { "attention", "prefill d128 4096x4096 h1 causal", ATTENTION(1, 4096, 4096, 1, 1, 128, "f32", " {causal=true}"), ATTENTION_FLOPS(1, 4096, 4096, 1, 128), BENCH_FMA },
    { "attention", "prefill d128 512x512 h4/1 causal", ATTENTION(1, 512, 512, 4, 1, 128, "f32", " {causal=true}"), ATTENTION_FLOPS(1, 512, 512, 4, 128), BENCH_FMA },
    { "attention", "prefill d64 1024x1024 h8/2 causal", ATTENTION(1, 1024, 1024, 8, 2, 64, "f32", " {causal=true}"), ATTENTION_FLOPS(1, 1024, 1024, 8, 64), BENCH_FMA },
    { "attention", "softcap, built in", SCORED("", "", " {softcap=20}"), ATTENTION_FLOPS(1, 512, 512, 4, 64), BENCH_FMA },
    { "attention", "softcap, as a score", SCORED("", "", " {score=\"20.0 * tanh(s / 20.0)\"}"), ATTENTION_FLOPS(1, 512, 512, 4, 64), BENCH_FMA },
    { "attention", "alibi, built in", SCORED("m = input f32[4]\n", ", alibi_slopes=m", ""), ATTENTION_FLOPS(1, 512, 512, 4, 64), BENCH_FMA },
    { "attention", "alibi, as a score", SCORED("m = input f32[4]\n", ", m=m", " {score=\"s - m[h] * f32(abs(q - k))\"}"), ATTENTION_FLOPS(1, 512, 512, 4, 64), BENCH_FMA },
    { "attention", "relative bias look-up, as a score", SCORED("t = input f32[4,1023]\n", ", t=t", " {score=\"s + t[h, q - k + 511]\"}"), ATTENTION_FLOPS(1, 512, 512, 4, 64), BENCH_FMA },
    { "attention", "distance decay, as a score", SCORED("", "", " {score=\"s - 0.02 * f32(abs(q - k))\"}"), ATTENTION_FLOPS(1, 512, 512, 4, 64), BENCH_FMA },
    UNFUSED_SHAPES(UNFUSED) ROTARY_SHAPES(ROTARY)
    { "attention", "decode d64 1k keys h8 f16", ATTENTION(1, 1, 1024, 8, 8, 64, "f16", ""), ATTENTION_FLOPS(1, 1, 1024, 8, 64), BENCH_READ },
    { "attention", "decode d64 1k keys h8 4 queries f16", ATTENTION(1, 4, 1024, 8, 8, 64, "f16", ""), ATTENTION_FLOPS(1, 4, 1024, 8, 64), BENCH_READ },
    { "attention", "decode d64 1k keys h8 16 queries f16", ATTENTION(1, 16, 1024, 8, 8, 64, "f16", ""), ATTENTION_FLOPS(1, 16, 1024, 8, 64), BENCH_READ },
    { "attention", "decode d128 4k keys h8/2 f16", ATTENTION(1, 1, 4096, 8, 2, 128, "f16", ""), ATTENTION_FLOPS(1, 1, 4096, 8, 128), BENCH_READ },
    { "attention", "decode d64 8k keys h8 f32", ATTENTION(1, 1, 8192, 8, 8, 64, "f32", ""), ATTENTION_FLOPS(1, 1, 8192, 8, 64), BENCH_READ },
    { "attention", "decode d64 8k keys h8/2 16 queries f16", ATTENTION(1, 16, 8192, 8, 2, 64, "f16", ""), ATTENTION_FLOPS(1, 16, 8192, 8, 64), BENCH_READ },
    { "attention", "decode d128 32k keys h8/8 f16", ATTENTION(1, 1, 32768, 8, 8, 128, "f16", ""), ATTENTION_FLOPS(1, 1, 32768, 8, 128), BENCH_READ },

    FFT_LINE(64, 16384, 6) FFT_LINE(128, 8192, 7) FFT_LINE(256, 4096, 8) FFT_LINE(512, 2048, 9) FFT_LINE(1024, 1024, 10) FFT_LINE(2048, 512, 11)
    FFT_LINE(4096, 256, 12) FFT_LINE(8192, 128, 13) FFT_LINE(16384, 64, 14) FFT_LINE(32768, 32, 15) FFT_LINE(65536, 16, 16) FFT_LINE(1000, 1048, 9.97)
    FFT_LINE(997, 1051, 9.96) FFT_LINE(1048576, 1, 20)
    FFT("16x16", "c64", "4096,16,16", "axes=[1,2]", 5.0 * 1048576 * 8) FFT("256x256", "c64", "16,256,256", "axes=[1,2]", 5.0 * 1048576 * 16)
    FFT("512x512", "c64", "4,512,512", "axes=[1,2]", 5.0 * 1048576 * 18) FFT("64x64x64", "c64", "4,64,64,64", "axes=[1,2,3]", 5.0 * 1048576 * 18)
    FFT_REAL(256, 4096, 8) FFT_REAL(1024, 1024, 10) FFT_REAL(4096, 256, 12) FFT("512x512 r2c", "f32", "4,512,512", "axes=[1,2], kind=r2c", 2.5 * 1048576 * 18)
    FFT_CONVS(8192, 100, 4) FFT_CONVS(8192, 100, 8) FFT_CONVS(8192, 96, 16) FFT_CONVS(8192, 96, 32) FFT_CONVS(4096, 192, 64) FFT_CONVS(512, 2048, 8)
    FFT_CONVS(512, 2048, 16) FFT_CONVS(512, 2048, 32) FFT_CONVS(512, 2048, 64) FFT_CONVS(64, 16384, 16) FFT_CONVS(64, 16384, 32) FFT_CONVS(64, 16384, 64)
    FFT_CONVS(512, 2048, 128) FFT_CONVS(64, 16384, 256) FFT_PLANES(64, 128, 5) FFT_PLANES(16, 256, 11) FFT_PLANES(16, 256, 21)
    { "fft", "convolution of 128 x 16384 by a row each", "x = input f32[128,16384]\nh = input f32[128,16384]\ny = fft_conv(x, h) {mode=causal}\noutput y\n", 0.0, BENCH_COPY },

    GAUNT_DEGREES(1000) GAUNT_LARGE(7, 64, 1000) GAUNT_LARGE(8, 81, 1000) GAUNT_LARGE(9, 100, 1000) GAUNT_LARGE(10, 121, 1000)
    GAUNT_DEGREES(10000) GAUNT_LARGE(7, 64, 10000) GAUNT_LARGE(8, 81, 10000) GAUNT_LARGE(9, 100, 10000) GAUNT_LARGE(10, 121, 10000)
    GAUNT_ALL(1, 4, 100000) GAUNT_ALL(2, 9, 100000) GAUNT_ALL(3, 16, 100000) GAUNT_ALL(4, 25, 100000) GAUNT_GRID(5, 36, 100000) GAUNT(5, 36, 100000, dense)
    GAUNT_GRID(6, 49, 100000) GAUNT(6, 49, 100000, dense) GAUNT_GRID(7, 64, 100000) GAUNT_GRID(8, 81, 100000) GAUNT_GRID(9, 100, 100000) GAUNT_GRID(10, 121, 100000)
    CONV_EDGES(2, 9, 3, 1000) CONV_EDGES(4, 25, 5, 1000) CONV_EDGES(6, 49, 7, 1000)
    { "gaunt", "many-body order 3 L=2, 16384 rows", "x = input f32[16384,9]\ny = gaunt_manybody(x) {lout=2, order=3}\noutput y\n", 0.0, BENCH_COPY },
    { "gaunt", "rotation L=6, 16384 rows", "x = input f32[1024,16,49]\nr = input f32[1024,3,3]\ny = sh_rotate(x, r)\noutput y\n", 0.0, BENCH_COPY },
    { "gaunt", "harmonics L=6, 100000 vectors", "v = input f32[100000,3]\ny = spherical_harmonics(v) {lmax=6}\noutput y\n", 0.0, BENCH_COPY },
    { "gaunt", "sphere transform L=128, synthesis", "x = input f32[16641]\nf = sht_synthesis(x) {nlat=129, nlon=257}\noutput f\n", 0.0, BENCH_COPY },
    { "gaunt", "sphere transform L=128, analysis", "f = input f32[129,257]\nx = sht_analysis(f) {lmax=128}\noutput x\n", 0.0, BENCH_COPY },

    UPDATES(1024) UPDATES(65536) UPDATES(1048576) UPDATES(16777216)
};
const uint32_t bench_case_count = TF_COUNT(bench_cases);

#define CAUSAL_RATIO(d, shape) { "prefill d" #d " " shape " causal", { "prefill d" #d " " shape } },
#define SCORE_RATIO(name) { name, { "prefill d64 512x512 h4" } },
#define UNFUSED_RATIO(sq, sk, h, d) { "unfused " #sq "x" #sk " h" #h " d" #d, { "attention " #sq "x" #sk " h" #h " d" #d } },
#define ROTARY_RATIO(s, h, d) { "rotary, " #s " h" #h " d" #d, { "prefill d" #d " " #s "x" #s " h" #h, "pass over k, " #s " h" #h " d" #d } },
const bench_ratio bench_ratios[] = {
    CAUSAL_RATIO(64, "256x256 h4") CAUSAL_RATIO(64, "512x512 h4") CAUSAL_RATIO(64, "1024x1024 h2") CAUSAL_RATIO(64, "4096x4096 h1")
    CAUSAL_RATIO(128, "512x512 h4") CAUSAL_RATIO(128, "1024x1024 h2") CAUSAL_RATIO(128, "4096x4096 h1")
    SCORE_RATIO("softcap, built in") SCORE_RATIO("softcap, as a score") SCORE_RATIO("alibi, built in") SCORE_RATIO("alibi, as a score")
    SCORE_RATIO("relative bias look-up, as a score") SCORE_RATIO("distance decay, as a score")
    UNFUSED_SHAPES(UNFUSED_RATIO) ROTARY_SHAPES(ROTARY_RATIO)
};
const uint32_t bench_ratio_count = TF_COUNT(bench_ratios);
