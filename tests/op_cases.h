/* op_cases.h - for every op that is not pointwise, graphs of one node to run on the device against the reference. (Pointwise
 * rows need no table: test_ops_gpu runs each of them over every dtype of its classes. `custom` has no reference: it
 * has a test of its own.)
 *
 * X(op, types of the operands a b c ..., the rest of the statement after the op's name, fill). Fill of float inputs:
 * 'n' normal, 'p' positive, 'u' in [-1, 1), 'm' normal with the operand c negative, 'q' normal, and integers all different in 0..23. A test refuses an op without a row here. Sizes are odd where a
 * tile, a vector or a workgroup could hide a mistake, and a few exceed one workgroup. */
#ifndef TEST_OP_CASES_H
#define TEST_OP_CASES_H

#define CORE_OP_CASES(X) \
    X("cast", "f32[3,37]", "(a) {dtype=f16}", 'n') \
    X("cast", "f32[3,37]", "(a) {dtype=bf16}", 'n') \
    X("cast", "f32[5,7]", "(a) {dtype=i8}", 'n') \
    X("cast", "i32[129]", "(a) {dtype=f32}", 'n') \
    X("cast", "bool[33]", "(a) {dtype=f32}", 'n') \
    X("cast", "f32[8]", "(a) {dtype=bool}", 'n') \
    X("cast", "f16[3,5]", "(a) {dtype=f32}", 'n') \
    X("bitcast", "f32[65]", "(a) {dtype=u32}", 'n') \
    X("bitcast", "i32[65]", "(a) {dtype=f32}", 'n') \
    X("bitcast", "u8[65]", "(add(a, 122)) {dtype=f8e5m2}", 'n') \
    X("leaky_relu", "f32[3,37]", "(a) {slope=0.1}", 'n') \
    X("elu", "f32[3,37]", "(a) {alpha=0.5}", 'n') \
    X("dequant", "i8[4,64] f32[4,1]", "(a, b)", 'n') \
    X("dequant", "u4[6,64] f32[6,4] f32[6,4]", "(a, b, zero=c) {group=16}", 'n') \
    X("dequant", "f8e4m3[3,12] f32[1]", "(a, b)", 'n') \
    \
    X("reshape", "f32[6,35]", "(a) {shape=[7,30]}", 'n') \
    X("reshape", "f16[4,3,5]", "(a) {shape=[-1]}", 'n') \
    X("permute", "f32[3,5,7]", "(a) {axes=[2,0,1]}", 'n') \
    X("permute", "f16[33,65]", "(a) {axes=[1,0]}", 'n') \
    X("transpose", "f32[70,41]", "(a) {a=0, b=1}", 'n') \
    X("squeeze", "f32[1,5,1,3]", "(a)", 'n') \
    X("unsqueeze", "f32[5,3]", "(a) {axes=[0,2]}", 'n') \
    X("expand", "f32[5,1,3]", "(a) {shape=[2,5,4,3]}", 'n') \
    X("slice", "f32[9,33]", "(a) {start=[1,30], stop=[8,2], step=[2,-3]}", 'n') \
    X("slice", "i8[64,5]", "(a) {start=[3], stop=[40]}", 'n') \
    X("pad", "f32[5,7]", "(a) {lo=[1,2], hi=[3,4], value=1.5}", 'n') \
    X("pad", "f32[5,7]", "(a) {lo=[2,3], hi=[4,1], mode=edge}", 'n') \
    X("pad", "f32[5,7]", "(a) {lo=[4,6], hi=[3,2], mode=reflect}", 'n') \
    X("pad", "f32[5,7]", "(a) {lo=[5,1], hi=[2,7], mode=wrap}", 'n') \
    X("roll", "f32[5,9]", "(a) {shift=[2,-4], axes=[0,1]}", 'n') \
    X("flip", "f32[5,9,2]", "(a) {axes=[0,2]}", 'n') \
    X("diagonal", "f32[7,3,9]", "(a) {a=0, b=2, offset=1}", 'n') \
    X("unfold", "f32[17,23]", "(a) {sizes=[3,5]}", 'n') \
    X("unfold", "f32[2,40]", "(a) {sizes=[4], stride=[3], dilation=[2]}", 'n') \
    \
    X("concat", "f32[3,5] f32[3,8] f32[3,1]", "(a, b, c) {axis=1}", 'n') \
    X("concat", "f16[4,3] f16[9,3]", "(a, b) {axis=0}", 'n') \
    X("stack", "f32[3,5] f32[3,5]", "(a, b) {axis=1}", 'n') \
    X("split", "f32[4,18]", "(a) {axis=1, sections=3}", 'n') \
    X("gather", "f32[16,7] i32[5,3]", "(a, b) {axis=0}", 'n') \
    X("gather", "f16[3,16,5] i32[9]", "(a, b) {axis=1}", 'n') \
    X("take_along_axis", "f32[6,16] i32[6,5]", "(a, b) {axis=1}", 'n') \
    X("take_along_axis", "f32[6,0] i32[6,0]", "(a, b) {axis=1}", 'n') \
    X("scatter", "f32[24,5] i32[7] f32[7,5]", "(a, b, c) {axis=0, mode=add}", 'n') \
    X("scatter", "f32[24,5] i32[7] f32[7,5]", "(a, b, c) {axis=0}", 'q') \
    X("scatter", "f16[3,24] i32[24] f16[3,24]", "(a, b, c) {axis=1}", 'q') \
    X("one_hot", "i32[13]", "(a) {depth=9}", 'n') \
    X("tril", "f32[3,9,13]", "(a) {offset=1}", 'n') \
    X("triu", "f32[13,9]", "(a) {offset=-2}", 'n') \
    X("iota", "", "() {shape=[3,70], axis=1}", 'n') \
    X("iota", "", "() {shape=[5,6], axis=0, dtype=f32}", 'n') \
    X("map", "f32[5,9] f32[9]", "(x=a, y=b) {expr=\"let z = exp(-x*x); z * y + i1\"}", 'n') \
    X("map", "f32[5,9] i32[5,1]", "(x=a, t=b) {expr=\"x[t, i1] + 1.0\"}", 'n') \
    X("map", "f32[5,9] f32[9]", "(x=a, y=b) {expr=\"x > y && i0 < 3 ? min(x, y) : abs(x - y)\"}", 'n') \
    \
    X("uniform", "", "() {shape=[5,1023], seed=81985529216486895}", 'n') \
    X("normal", "", "() {shape=[3,257], seed=42, stream=7, draw=3}", 'n') \
    X("normal", "", "() {shape=[4,30], seed=1, antithetic=true}", 'n') \
    X("random_bits", "", "() {shape=[3,70], seed=7, antithetic=false}", 'n') \
    X("philox", "u32[5,4] u32[1,2]", "(a, b)", 'n') \
    X("gumbel", "", "() {shape=[2,100], seed=5}", 'n') \
    X("rademacher", "", "() {shape=[2,100], seed=5}", 'n') \
    \
    X("sum", "f32[5,300]", "(a) {axes=[1]}", 'n') \
    X("sum", "f32[300,5]", "(a) {axes=[0], keep=true}", 'n') \
    X("sum", "f32[7,11,13]", "(a) {axes=[0,2]}", 'n') \
    X("sum", "f32[3,40000]", "(a)", 'n') \
    X("sum", "f16[9,1000]", "(a) {axes=[-1]}", 'p') \
    X("sum", "i8[40,9]", "(a) {axes=[0]}", 'n') \
    X("sum", "c64[6,50]", "(a) {axes=[1]}", 'n') \
    X("mean", "f32[33,65]", "(a) {axes=[1]}", 'p') \
    X("prod", "f32[9,12]", "(a) {axes=[1]}", 'u') \
    X("max", "f32[9,333]", "(a) {axes=[1]}", 'n') \
    X("max", "i32[333,9]", "(a) {axes=[0]}", 'n') \
    X("min", "f32[9,4,33]", "(a) {axes=[1]}", 'n') \
    X("any", "bool[9,12]", "(a) {axes=[1]}", 'n') \
    X("all", "bool[9,3]", "(a) {axes=[1]}", 'n') \
    X("logsumexp", "f32[7,300]", "(a) {axes=[1]}", 'n') \
    X("logsumexp", "f32[7,0]", "(a) {axes=[1]}", 'n') \
    X("variance", "f32[7,0]", "(a) {axes=[1], correction=1}", 'n') \
    X("std", "f16[7,0]", "(a) {axes=[1]}", 'n') \
    X("argmax", "f32[9,333]", "(a) {axis=1}", 'n') \
    X("argmin", "f32[333,9]", "(a) {axis=0}", 'n') \
    X("variance", "f32[9,333]", "(a) {axes=[1], correction=1}", 'n') \
    X("std", "f32[9,33]", "(a) {axes=[1]}", 'n') \
    X("norm", "f32[9,333]", "(a) {axes=[1]}", 'n') \
    X("norm", "f32[9,33]", "(a) {axes=[1], order=l1}", 'n') \
    X("norm", "f32[9,33]", "(a) {axes=[0], order=max}", 'n') \
    \
    X("softmax", "f32[9,333]", "(a) {axis=1}", 'n') \
    X("softmax", "f32[33,9]", "(a) {axis=0}", 'n') \
    X("softmax", "f32[2,5000]", "(a) {axis=-1}", 'n') \
    X("softmax", "f16[2,5000]", "(a) {axis=-1}", 'n') \
    X("softmax", "f16[5,64]", "(a) {axis=-1}", 'n') \
    X("log_softmax", "f32[9,100]", "(a) {axis=1}", 'n') \
    X("layer_norm", "f32[9,100] f32[100] f32[100]", "(a, gain=b, bias=c)", 'n') \
    X("layer_norm", "f32[5,6,7]", "(a) {axes=2}", 'n') \
    X("rms_norm", "f32[9,333] f32[333]", "(a, gain=b)", 'n') \
    X("group_norm", "f32[2,12,5,5] f32[12] f32[12]", "(a, gain=b, bias=c) {groups=3, axis=1}", 'n') \
    X("batch_norm", "f32[3,6,7] f32[6] f32[6]", "(a, b, c) {axis=1}", 'p') \
    \
    X("matmul", "f32[37,65] f32[65,41]", "(a, b)", 'n') \
    X("matmul", "f32[128,128] f32[128,128]", "(a, b)", 'n') \
    X("matmul", "f32[2,61000] f32[61000,3]", "(a, b)", 'p') /* beyond the loop trips of some CPU drivers */ \
    X("matmul", "f32[1,300] f32[300,70]", "(a, b)", 'n') \
    X("matmul", "f32[2,1,17,33] f32[3,33,5]", "(a, b)", 'n') \
    X("matmul", "f32[33,17] f32[9,33]", "(a, b) {transpose_a=true, transpose_b=true}", 'n') \
    X("matmul", "f16[40,64] f16[64,24]", "(a, b) {dtype=f32}", 'n') \
    X("matmul", "bf16[8,64] f32[64,24]", "(a, b) {dtype=f32}", 'n') \
    X("matmul", "f32[65] f32[65]", "(a, b)", 'p') \
    X("matmul", "c64[5,9] c64[9,6]", "(a, b)", 'n') \
    X("matmul", "i8[5,9] i8[9,6]", "(a, b)", 'n') \
    X("conv", "f32[2,3,9,11] f32[4,3,3,3] f32[4]", "(a, b, bias=c) {padding=1}", 'n') \
    X("conv", "f32[1,6,13,10] f32[6,1,3,3]", "(a, b) {padding=1, groups=6}", 'n') \
    X("conv", "f32[2,4,15,18] f32[8,2,3,5]", "(a, b) {stride=[2,3], padding=[1,4], padding_end=[0,2], dilation=[2,1], groups=2}", 'n') \
    X("conv", "f32[1,2,6,7] f32[3,2,3,3]", "(a, b) {padding=[2,3], mode=wrap}", 'n') \
    X("conv", "f32[6,1,2] f32[2,1,10]", "(a, b) {stride=2, padding=4, mode=wrap}", 'n') \
    X("conv", "f32[1,2,6,7] f32[3,2,3,3]", "(a, b) {padding=2, mode=reflect, stride=2}", 'n') \
    X("conv", "f32[3,5,40] f32[7,5,4] f32[7]", "(a, b, bias=c) {padding=[3], padding_end=[0]}", 'n') \
    X("conv", "f32[1,2,70] f32[1,2,33]", "(a, b) {padding=16}", 'n') /* too long for registers */ \
    X("conv", "f32[2,2,5,6,7] f32[3,2,2,3,3]", "(a, b) {padding=[0,1,1], stride=[1,2,1]}", 'n') \
    X("conv", "f16[2,8,5,7] f16[16,8,1,1]", "(a, b)", 'n') \
    X("conv", "f32[1,4,9,9] f32[4,1,7,7]", "(a, b) {padding=3, groups=4, mode=edge}", 'n') \
    X("conv", "f32[1,3,8,9] f32[3,1,1,11]", "(a, b) {padding=[0,5], groups=3}", 'n') \
    X("conv", "f32[1,9,12,10] f32[17,9,3,3]", "(a, b) {padding=1}", 'n') \
    X("conv_transpose", "f32[2,3,5,6] f32[3,4,4,4] f32[4]", "(a, b, bias=c) {stride=2, padding=1}", 'n') \
    X("conv_transpose", "f32[1,4,7] f32[4,3,5]", "(a, b) {stride=3, padding=2, output_padding=1, dilation=2, groups=2}", 'n') \
    X("conv_transpose", "f32[1,2,4,5] f32[2,3,3,2]", "(a, b) {stride=[1,2], output_padding=[0,1]}", 'n') \
    X("conv_transpose", "f16[1,2,3,4,3] f16[2,2,2,3,2]", "(a, b) {stride=2, padding=[0,1,0]}", 'n') \
    X("conv_transpose", "f32[1,1,6] f32[1,1,2]", "(a, b) {stride=4}", 'n') \
    X("max_pool", "f32[2,3,9,11]", "(a) {size=[3,3], stride=1, padding=1}", 'n') \
    X("max_pool", "i32[20,7]", "(a) {size=[2,3], padding=[1,0], padding_end=[0,2]}", 'n') \
    X("max_pool", "f16[3,17,2]", "(a) {size=[3], axes=[1], stride=2, dilation=2}", 'n') \
    X("avg_pool", "f32[2,3,9,11]", "(a) {size=[2,2]}", 'n') \
    X("avg_pool", "f32[2,9,11]", "(a) {size=[3,4], stride=[1,2], padding=[1,2]}", 'n') \
    X("avg_pool", "f32[2,9,11]", "(a) {size=3, axes=1, stride=1, padding=1, count_padding=true}", 'n') \
    X("avg_pool", "f32[3,40,11]", "(a) {size=[9,3], stride=[2,1]}", 'n') \
    X("segment_reduce", "f32[40,5] i32[40]", "(a, b) {count=9}", 'q') \
    X("segment_reduce", "f32[3,300,4] u8[300]", "(a, b) {count=24, mode=mean, axis=1}", 'q') \
    X("segment_reduce", "f16[7,90] i32[90]", "(a, b) {count=30, mode=max, axis=-1}", 'q') \
    X("segment_reduce", "i32[700,3] i32[700]", "(a, b) {count=11, mode=min}", 'q') \
    X("hadamard", "f32[5,64]", "(a) {axis=1}", 'n') \
    X("hadamard", "f32[3,2048]", "(a) {axis=-1}", 'n') \
    X("hadamard", "f32[2,32,7]", "(a) {axis=1, unscaled=true}", 'n') \
    X("hadamard", "f16[128,12]", "(a) {axis=0}", 'n') \
    X("hadamard", "f32[9,2]", "(a) {axis=1}", 'n') \
    X("hadamard", "f32[4,1]", "(a) {axis=1}", 'n') \
    X("sort", "f32[9,333]", "(a) {axis=1}", 'n') \
    X("sort", "f16[33,9]", "(a) {axis=0, descending=true}", 'n') \
    X("sort", "i8[3,70,2]", "(a) {axis=1}", 'n') /* many ties */ \
    X("sort", "f32[2,5001]", "(a) {axis=-1, descending=true}", 'n') \
    X("sort", "bool[5,40]", "(a) {axis=1, descending=true}", 'n') \
    X("sort", "u32[3,16]", "(a) {axis=1}", 'n') \
    X("sort", "f32[3,1]", "(a) {axis=1}", 'n') \
    X("argsort", "i32[1200]", "(a) {axis=0}", 'n') \
    X("argsort", "bf16[7,100]", "(a) {axis=1, descending=true}", 'n') \
    X("topk", "f32[9,333]", "(a) {k=5, axis=1}", 'n') \
    X("topk", "f32[3,70]", "(a) {k=70, axis=1}", 'n') \
    X("topk", "i8[2,3001]", "(a) {k=37, axis=1, smallest=true}", 'n') \
    X("topk", "f16[600,3]", "(a) {k=20, axis=0}", 'n') \
    X("topk", "f32[5,17]", "(a) {k=1, axis=1}", 'n') \
    X("cumsum", "f32[9,333]", "(a) {axis=1}", 'p') \
    X("cumsum", "f32[3,5000]", "(a) {axis=1, reverse=true}", 'p') \
    X("cumsum", "i32[300,5]", "(a) {axis=0, exclusive=true}", 'n') \
    X("cumprod", "f32[9,33]", "(a) {axis=1}", 'u')

#define ATTENTION_OP_CASES(X) \
    X("attention", "f32[1,33,2,16] f32[1,33,2,16] f32[1,33,2,16]", "(a, b, c)", 'n') \
    X("attention", "f32[2,65,4,64] f32[2,70,2,64] f32[2,70,2,64]", "(a, b, c) {causal=true}", 'n') \
    X("attention", "f32[1,40,2,20] f32[1,40,1,20] f32[1,40,1,12] f32[1,2,40,40]", "(a, b, c, bias=d) {softcap=5, window_left=9}", 'n') \
    X("attention", "f32[1,1,4,64] f32[1,300,4,64] f32[1,300,4,64]", "(a, b, c)", 'n') \
    X("attention", "f16[1,20,2,32] f16[1,50,2,32] f16[1,50,2,32] bool[1,1,20,50]", "(a, b, c, mask=d)", 'n') \
    X("attention", "f32[3,16,1,27] f32[3,64,1,27] f32[3,64,1,3] f32[3,1,1,64]", \
      "(a, b, c, bias=d) {scale=0.5, causal_align=top_left, score=\"abs(k / 8 - q / 4 - 2) > 2 ? -1e30 : q == k ? s - 1.0 : s\"}", 'n') \
    X("attention_merge", "f32[3,2,9,2,20] f32[3,2,2,9]", "(a, b)", 'n') \
    X("attention_merge", "f16[5,1,70,2,7] f32[5,1,2,70]", "(a, b) {dtype=f16}", 'n') \
    X("rope", "f32[2,37,3,32]", "(a)", 'n') \
    X("rope", "f32[2,37,3,20] i32[37] i32[2]", "(a, positions=b, start=c) {rotary=12, pairing=interleaved, base=500}", 'n') \
    X("rope", "f16[2,300,2,64] i32[2,300]", "(a, positions=b) {scaling=yarn, factor=4, original=512, inverse=true}", 'n') \
    X("rope", "f32[1,300,1,64]", "(a) {scaling=llama3, factor=8, original=128, pairing=interleaved}", 'n') \
    X("rope", "f32[1,30,2,18] f32[9]", "(a, frequencies=b)", 'u') \
    X("mla_attention", "f32[2,9,3,16] f32[2,9,3,8] f32[2,21,24] f32[2,21,8] f32[3,16,24] f32[3,12,24]", "(a, b, c, d, e, f) {causal=true}", 'n') \
    X("mla_attention", "f16[1,1,4,16] f16[1,1,4,8] f16[1,300,20] f16[1,300,8] f16[4,16,20] f16[4,16,20] f32[4]", "(a, b, c, d, e, f, sinks=g) {softcap=9}", 'n') \
    X("linear_attention", "f32[2,37,4,16] f32[2,41,2,16] f32[2,41,2,12]", "(a, b, c)", 'p') \
    X("linear_attention", "f32[2,37,4,16] f32[2,41,2,16] f32[2,41,2,12]", "(a, b, c) {q_map=softmax, k_map=softmax_tokens}", 'n') \
    X("linear_attention", "f32[1,150,2,20] f32[1,150,1,20] f32[1,150,1,9]", "(a, b, c) {causal=true, q_map=elu, k_map=elu, eps=0.001}", 'n') \
    X("linear_attention", "f16[1,20,2,8] f16[1,20,2,8] f16[1,20,2,8] f32[1,2,8,8] f32[1,2,8]", "(a, b, c, state=d, norm=e) {causal=true, chunk=8}", 'p') \
    X("linear_attention", "f32[1,3,2,8] f32[1,3,2,8] f32[1,3,2,8] f32[1,2,8,8]", "(a, b, c, state=d) {causal=true, unnormalised=true, k_map=relu}", 'n') \
    X("favor_features", "f32[2,37,3,16] f32[40,16]", "(a, b)", 'u') \
    X("favor_features", "f32[2,37,3,16] f32[25,16]", "(a, b) {keys=true, eps=0.01}", 'u') \
    X("kv_append", "f32[2,24,3,5] f32[2,4,3,5] i32[2]", "(a, b, c)", 'q') \
    X("kv_append", "f16[2,24,8] f16[2,30,8] i32[2] i32[2]", "(a, b, c, count=d)", 'q') \
    X("kv_append", "i8[24,4,2,6] i8[2,3,2,6] i32[2] i32[2,9]", "(a, b, c, page_table=d)", 'q') \
    X("kv_append", "u4[2,24,2,8] u4[2,30,2,8] i32[2] i32[2]", "(a, b, c, count=d)", 'q') \
    X("kv_append", "i4[24,4,24] i4[2,3,24] i32[2] i32[2,9]", "(a, b, c, page_table=d)", 'q') \
    X("kv_gather", "u4[24,4,16] i32[2,5] i32[2] i32[2,9]", "(a, b, c, page_table=d)", 'q') \
    X("kv_gather", "f32[2,24,3,5] i32[2,7] i32[2]", "(a, b, c)", 'q') \
    X("kv_gather", "f16[24,4,8] i32[2,5] i32[2] i32[2,9]", "(a, b, c, page_table=d)", 'q') \
    X("kv_quantize", "f32[3,37,2,64]", "(a) {group=16}", 'n') \
    X("kv_quantize", "f16[3,7,2,40]", "(a) {dtype=u8, nibbles=true, group=16}", 'n') \
    X("kv_quantize", "f32[70,9]", "(a) {dtype=u8, nibbles=true}", 'n') \
    X("kv_quantize", "f32[5,33]", "(a) {dtype=u8, group=32}", 'n') \
    X("kv_quantize", "f32[3,7,2,40]", "(a) {dtype=u4, group=16}", 'n') \
    X("kv_quantize", "f32[5,34]", "(a) {dtype=i4, group=8}", 'n') \
    X("tree_mask", "i32[37]", "(a)", 'q') \
    X("tree_mask", "i32[3,70]", "(a)", 'q') \
    X("speculative_verify", "f32[5,6,30] f32[5,6,30] i32[5,6] f32[5,6]", "(a, b, c, d)", 'p') \
    X("speculative_verify", "f32[2,1,300] f32[2,1,300] i32[2,1] f32[2,1]", "(a, b, c, d)", 'p')

#define FFT_OP_CASES(X) \
    X("fft", "c64[3,64]", "(a)", 'n') \
    X("fft", "c64[5,60,7]", "(a) {axes=[1], direction=inverse, norm=ortho}", 'n') \
    X("fft", "c64[2,1001]", "(a)", 'n') \
    X("fft", "c64[3,97]", "(a) {norm=forward}", 'n') \
    X("fft", "c64[2,6000]", "(a)", 'n') \
    X("fft", "c64[1,4999]", "(a) {direction=inverse}", 'n') \
    X("fft", "f32[3,8,12,10]", "(a) {kind=r2c, axes=[3,0,1]}", 'n') \
    X("fft", "f16[4,50]", "(a) {kind=r2c, n=64, norm=ortho}", 'n') \
    X("fft", "f32[3,45]", "(a) {kind=r2c, direction=inverse}", 'n') \
    X("fft", "f32[2,10000]", "(a) {kind=r2c}", 'n') \
    X("fft", "c64[3,33]", "(a) {kind=c2r}", 'n') \
    X("fft", "c64[3,33,5]", "(a) {kind=c2r, axes=1, n=63, direction=forward}", 'n') \
    X("fft", "c64[6,9]", "(a) {kind=c2r, axes=[0,1], n=[5,34]}", 'n') \
    X("fft", "c64[5001]", "(a) {kind=c2r, n=10000}", 'n') \
    X("fft", "f32[4,30,20]", "(a) {axes=[-2,-1], n=[16,24]}", 'n') \
    X("fft_conv", "f32[3,100] f32[60]", "(a, b)", 'n') \
    X("fft_conv", "f32[4,3,100] f32[3,120]", "(a, b) {mode=causal}", 'n') \
    X("fft_conv", "f32[5,97] f32[40]", "(a, b) {mode=circular}", 'n') \
    X("fft_conv", "f32[2,64] f32[2,64]", "(a, b) {mode=circular}", 'n') \
    X("fft_conv", "c64[3,80] c64[3,50]", "(a, b)", 'n') \
    X("fft_conv", "f16[3,50] f16[5]", "(a, b) {mode=causal}", 'n') \
    X("fft_conv", "f32[2,3,45] f32[2,3,7]", "(a, b)", 'n') \
    X("fft_conv", "f32[3,50] f32[40]", "(a, b) {mode=circular, algorithm=direct}", 'n') \
    X("fft_conv", "f32[3,100] f32[37]", "(a, b) {algorithm=direct}", 'n') \
    X("fft_conv", "f16[2,3,72] f16[3,40]", "(a, b) {mode=causal, algorithm=direct}", 'n') \
    X("fft_conv", "f32[2,52] f32[2,51]", "(a, b) {mode=circular, algorithm=direct}", 'n') \
    X("fft_conv", "f32[2,9,20] f32[2,9,17]", "(a, b) {dims=2, mode=circular, algorithm=direct}", 'n') \
    X("fft_conv", "f32[2,19,30] f32[7,6]", "(a, b) {dims=2, algorithm=direct}", 'n') \
    X("fft_conv", "f32[2,300] f32[200]", "(a, b) {algorithm=fft}", 'n') \
    X("fft", "c64[3,512]", "(a)", 'n') \
    X("fft", "c64[2,1024]", "(a) {direction=inverse}", 'n') \
    X("fft", "c64[2,64,12]", "(a) {axes=[1]}", 'n') \
    X("fft", "c64[2,256,8]", "(a) {axes=[1], direction=inverse}", 'n') \
    X("conv", "f32[2,3,50] f32[3,1,21]", "(a, b) {groups=3, padding=[10]}", 'n') \
    X("fft_conv", "c64[33] c64[8]", "(a, b) {mode=circular}", 'n') \
    X("fft_conv", "f32[2,19,30] f32[9,11]", "(a, b) {dims=2}", 'n') \
    X("fft_conv", "f32[2,17,30] f32[2,9,11]", "(a, b) {dims=2, mode=circular}", 'n') \
    X("fft_conv", "f32[2,3,17,12] f32[3,3,3]", "(a, b) {dims=2, mode=causal}", 'n') \
    X("fft_conv", "c64[2,10,12] c64[7,6]", "(a, b) {dims=2, mode=causal}", 'n') \
    X("fft_conv", "f32[2,3000] f32[2500]", "(a, b) {mode=causal}", 'n')

#define GAUNT_OP_CASES(X) \
    X("gaunt_coefficients", "", "() {l1=2, l2=1, l3=3}", 'n') \
    X("wigner_3j", "", "() {l1=2, l2=3, l3=4}", 'n') \
    X("gaunt_norms", "", "() {lmax=3}", 'n') \
    X("gauss_legendre", "", "() {n=7}", 'n') \
    X("spherical_harmonics", "f32[37,3]", "(a) {lmax=5}", 'n') \
    X("spherical_harmonics", "f32[5,2,3]", "(a) {lmax=16, normalization=norm}", 'n') \
    X("spherical_harmonics", "f32[19,3]", "(a) {lmax=4, normalization=component, solid=true}", 'u') \
    X("gaunt_tp", "f32[3,9] f32[3,4] f32[3,21]", "(a, b, w3=c) {lout=20}", 'n') /* beyond the degrees of the product */ \
    X("gaunt_tp", "f32[33,3,9] f32[33,3,9]", "(a, b) {lout=2}", 'n') \
    X("gaunt_tp", "f32[7,3,16] f32[7,1,9] f32[3,4] f32[3] f32[7,1,7]", "(a, b, w1=c, w2=d, w3=e) {lout=6}", 'n') \
    X("gaunt_tp", "f32[65,25] f32[65,16] f32[5]", "(a, b, w1=c) {lout=3, algorithm=grid}", 'n') \
    X("gaunt_tp", "f32[9,16] f32[9,36] f32[4] f32[8]", "(a, b, w1=c, w3=d) {lout=7}", 'n') \
    X("gaunt_tp", "f32[5,16] f32[5,25]", "(a, b) {lout=8, algorithm=dense}", 'n') \
    X("gaunt_tp", "f32[5,25] f32[5,9]", "(a, b) {lout=4, algorithm=fourier}", 'n') \
    X("gaunt_tp", "f16[9,9] f16[9,4]", "(a, b) {lout=4, algorithm=sparse}", 'n') \
    X("gaunt_tp", "f32[3,64] f32[3,9] f32[3]", "(a, b, w2=c) {lout=4, algorithm=sparse}", 'n') \
    X("gaunt_tp", "f32[8,25] f32[8,9] f32[8,3] f32[5]", "(a, b, w2=c, w3=d) {lout=4, algorithm=sparse}", 'n') /* rows by vectors across them */ \
    X("gaunt_tp", "f32[4,3,49] f32[4,3,25] f32[7] f32[5]", "(a, b, w1=c, w3=d) {lout=4, algorithm=grid}", 'n') \
    X("gaunt_conv", "f32[4,3,25] f32[4,3] f32[4,3,4]", "(a, b, c) {lout=4}", 'n') \
    X("gaunt_curl_tp", "f32[12,9] f32[12,25]", "(a, b) {lout=4}", 'n') \
    X("sh_rotate", "f32[4,3,25] f32[4,3,3]", "(a, b)", 'n') \
    X("gaunt_manybody", "f32[4,9]", "(a) {lout=4, order=3}", 'n') \
    X("gaunt_curl_tp", "f32[5,3,9] f32[5,3,16]", "(a, b) {lout=4}", 'n') \
    X("gaunt_curl_tp", "f32[3,64] f32[3,25]", "(a, b) {lout=13}", 'n') \
    X("gaunt_conv", "f32[9,3,9] f32[9,3] f32[3,3]", "(a, b, c) {lout=2}", 'n') \
    X("gaunt_conv", "f32[5,2,36] f32[5,3] f32[5,2,4]", "(a, b, c) {lout=4}", 'n') \
    X("gaunt_manybody", "f32[7,4,9] f32[3,4,3] f32[3]", "(a, w=b, wout=c) {lout=2, order=3}", 'n') \
    X("gaunt_manybody", "f32[7,9] f32[7,4] f32[1,16] f32[2]", "(a, b, c, w1=d) {lout=3}", 'n') \
    X("gaunt_manybody", "f32[6,4]", "(a) {lout=5, order=9}", 'n') \
    X("cg_full_tp", "f32[5,9] f32[5,9]", "(a, b) {lout=4}", 'n') \
    X("cg_full_tp", "f32[2,36] f32[2,16]", "(a, b) {lout=3, normalization=norm}", 'n') \
    X("wigner_d", "f32[5,3,3]", "(a) {lmax=5}", 'n') \
    X("sh_rotate", "f32[5,3,16] f32[5,3,3]", "(a, b)", 'n') \
    X("sh_rotate", "f32[3,2,169] f32[3,3,3]", "(a, b)", 'n') \
    X("sh_to_fourier", "f32[3,2,25]", "(a)", 'n') \
    X("fourier_to_sh", "c64[5,7,7]", "(a) {lout=2}", 'n') \
    X("fourier_to_sh", "c64[2,5,5]", "(a) {lout=4}", 'n') \
    X("sht_synthesis", "f32[3,49]", "(a) {nlat=7, nlon=15}", 'n') \
    X("sht_synthesis", "f32[2,81]", "(a) {nlat=5, nlon=9, grid=regular}", 'n') \
    X("sht_analysis", "f32[3,9,17]", "(a) {lmax=8}", 'n') \
    X("sht_analysis", "f32[2,9,11]", "(a) {lmax=4, grid=regular}", 'n') \
    X("location_embedding", "f32[9,2]", "(a) {degrees=7}", 'n') \
    X("location_embedding", "f32[3,5,2]", "(a) {degrees=3, legacy_m0=true}", 'n') \
    X("location_encoder", "f32[9,2] f32[8,9] f32[8] f32[5,8] f32[5]", "(a, b, c, d, e) {degrees=3, w0_first=3}", 'u')

#define SSM_OP_CASES(X) \
    X("cummax", "f32[9,333]", "(a) {axis=1}", 'n') \
    X("cummax", "i32[3,5000]", "(a) {axis=1, exclusive=true, reverse=true}", 'n') \
    X("cummin", "f16[40,3,5]", "(a) {axis=0}", 'n') \
    X("cummin", "u8[2,70] bool[2,70]", "(a, seg_start=b) {axis=1, exclusive=true}", 'n') \
    X("logcumsumexp", "f32[7,300]", "(a) {axis=1}", 'n') \
    X("logcumsumexp", "f32[2,3001] f32[2] i32[2,3001]", "(a, initial=b, seg_start=c) {axis=1, reverse=true}", 'n') \
    X("logcumsumexp", "f32[900,2] f32[2]", "(a, initial=b) {axis=0, exclusive=true}", 'n') \
    X("cumsum", "f32[2,3000] bool[2,3000]", "(a, seg_start=b) {axis=1, exclusive=true}", 'p') \
    X("cumsum", "c64[3,2000] c64[3]", "(a, initial=b) {axis=-1}", 'n') \
    X("linear_scan", "f32[3,200] f32[3,200]", "(a, b) {axis=1}", 'u') \
    X("linear_scan", "f32[2,5000] f32[2,5000] f32[2]", "(a, b, initial=c) {axis=1}", 'u') \
    X("linear_scan", "c64[2,777] c64[2,777] bool[2,777]", "(a, b, seg_start=c) {axis=1, reverse=true}", 'u') \
    X("linear_scan", "f16[5,70,3] f16[70,3] f16[5,3]", "(a, b, initial=c) {axis=1, exclusive=true}", 'u') \
    X("linear_scan", "c64[1,4] c64[60,4]", "(a, b) {axis=0}", 'u') \
    X("selective_scan", "f32[2,6,37] f32[2,6,37] f32[6,5] f32[2,5,37] f32[2,5,37]", "(a, b, c, d, e) {delta_softplus=true}", 'm') \
    X("selective_scan", "f32[1,9,1100] f32[1,9,1100] f32[9,16] f32[1,3,16,1100] f32[9,16] f32[9] f32[9] f32[1,9,1100] f32[1,9,16] bool[1,1100]", \
      "(a, b, c, d, e, D=f, delta_bias=g, z=h, h0=i, seq_start=j) {delta_softplus=true}", 'm') \
    X("selective_scan", "f16[2,70,40] f16[2,70,40] f32[40,4] f16[2,70,2,4] f32[2,70,2,4] f16[2,70,40]", "(a, b, c, d, e, z=f) {layout=BLD, delta_softplus=true}", 'm') \
    X("selective_scan", "f32[2,600,6] f32[2,600,6] f32[6,20] f32[2,600,20] f32[6,20] f32[6]", "(a, b, c, d, e, D=f) {layout=BLD, delta_softplus=true}", 'm') \
    X("selective_scan", "f32[1,3,700] f32[1,3,700] c64[3,4] c64[1,4,700] f32[3,4] c64[1,3,4]", "(a, b, c, d, e, h0=f) {delta_softplus=true}", 'm') \
    X("selective_state_update", "f32[3,24,16] f32[3,24] f32[24,16] f32[3,24] f32[3,16] f32[3,16] f32[24] f32[3,24] f32[24]", \
      "(a, b, d, c, e, f, D=g, z=h, dt_bias=i) {dt_softplus=true}", 'm') \
    X("selective_state_update", "c64[2,6,5] f16[2,6] c64[6,5] f32[2,6] f32[2,3,5] c64[2,5]", "(a, b, d, c, e, f) {dt_softplus=true}", 'm') \
    X("dwconv_causal", "f32[2,5,37] f32[5,4] f32[5] f32[2,5,3]", "(a, b, bias=c, state=d) {activation=silu}", 'n') \
    X("dwconv_causal", "f16[1,7,2] f32[7,6]", "(a, b)", 'n') \
    X("dwconv_causal", "f32[2,3,9] f32[3,2] f32[2,3,1]", "(a, b, state=c)", 'n') \
    X("s5_scan", "f32[2,40,5] c64[7] c64[7,5] c64[5,14] f32[7] f32[5]", "(a, b, c, d, e, D=f) {bidirectional=true, clip=true}", 'n') \
    X("s5_scan", "f32[1,60,3] c64[4] c64[4,3] c64[3,4] f32[4]", "(a, b, c, d, e) {clip=true, full=true, disc=bilinear}", 'n') \
    X("ssd", "f32[2,150,4,6] f32[2,150,4] f32[4] f32[2,150,2,5] f32[2,150,2,5] f32[4,6] f32[2,150,4,6] f32[4] f32[2,4,6,5] i32[2,150]", \
      "(a, b, c, d, e, D=f, z=g, dt_bias=h, h0=i, seq_idx=j) {dt_softplus=true, dt_min=0.01, dt_max=1.5}", 'm') \
    X("ssd", "f16[1,33,2,8] f32[1,33,2] f32[2] f16[1,33,1,16] f16[1,33,1,16] f32[2]", "(a, b, c, d, e, D=f) {dt_softplus=true, chunk=8}", 'm') \
    X("ssd", "f32[3,1,2,4] f32[3,1,2] f32[2] f32[3,1,2,3] f32[3,1,2,3] f32[3,2,4,3]", "(a, b, c, d, e, h0=f) {dt_softplus=true}", 'm') \
    X("ssd_trapezoidal", "f32[2,70,2,6] f32[2,70,2] f32[2] f32[2,70,2] f32[2,70,2,5] f32[2,70,2,5]", "(a, b, c, d, e, f)", 'u') \
    X("gru", "f32[9,3,5] f32[21,5] f32[21,7] f32[21] f32[21] f32[3,7]", "(a, b, c, d, e, h0=f)", 'n') \
    X("gru", "f16[4,2,3] f32[600,3] f32[600,200] f32[600] f32[600]", "(a, b, c, d, e) {gate_order=zrn}", 'u') \
    X("selective_scan", "f32[3,5,1] f32[3,5,1] f32[5,16] f32[3,16,1] f32[3,16,1] f32[3,5,16]", "(a, b, c, d, e, h0=f)", 'm') \
    X("selective_scan", "f32[1,80,9] f32[1,80,9] f32[80,3] c64[80,3] f32[1,3,9]", "(a, b, c, d, e) {delta_softplus=true}", 'm') \
    X("scan", "f32[2,3000] f32[2,3000]", "(x=a, y=b) {axis=1, combine=\"x = a.x * b.x; y = b.x * a.y + b.y\"}", 'u') \
    X("scan", "f32[200,3] i32[200,1]", "(v=a, i=b) {axis=0, reverse=true, combine=\"v = a.v >= b.v ? a.v : b.v; i = a.v >= b.v ? a.i : b.i\"}", 'n') \
    X("scan", "i32[2,1000] i32[2]", "(x=a, start.x=b) {axis=1, exclusive=true, combine=\"max(a.x, b.x)\"}", 'n') \
    X("scan", "f32[2,901] bool[2,901] f32[2,901] f32[1,901] f32[2,901]", \
      "(p=a, seg_start=b, q=c, r=d, s=e) {axis=1, combine=\"p = a.p + b.p; q = a.q * b.q; r = max(a.r, b.r); s = b.s\"}", 'u')

#define STATE_SPACE_OP_CASES(X) \
    X("s4_cauchy_kernel", "c64[2,5] c64[1,2,5] c64[2,5] c64[2,5] f32[2]", "(sub(a, 3), b, c, d, e) {length=37}", 'p') \
    X("s4_cauchy_kernel", "c64[3,8] c64[2,3,8] c64[3,8] c64[3,8] f32[3]", "(sub(a, 4), mul(b, 0.5), c, d, e) {length=64}", 'p') \
    X("s4_cauchy_kernel", "c64[1,3] c64[1,1,3] f32[1]", "(sub(a, 3), b, a, a, c) {length=1, full=true}", 'p') \
    X("hippo_online", "f32[2,3,70]", "(a) {n=9, every=10}", 'n') \
    X("hippo_online", "f32[33,5] f32[33,40] i32[1]", "(a, state=b, start=c) {n=40}", 'q') \
    X("hippo_online", "f32[1,2100]", "(a) {n=64, every=1000}", 'n') /* several dispatches, and a rest */ \
    X("hippo_online", "f32[1,1100]", "(a) {n=64}", 'n') /* results take as many loops as steps */ \
    X("hippo_online", "f32[3]", "(a) {n=1, every=5}", 'n') \
    X("s4_scan", "f32[2,3,70] c64[3,5] c64[3,5] c64[3,5] f32[3] f32[3] c64[2,3,5]", "(a, sub(b, 3), c, d, mul(e, 0.1), d=f, state=g)", 'p') \
    X("s4_scan", "f32[1,2,9] c64[2,33] f32[2]", "(a, sub(b, 3), b, b, c) {disc=bilinear, full=true}", 'p') \
    X("s4_scan", "f32[2,1,700] c64[2,1,8] f32[1]", "(a, unsqueeze(s4d_init() {init=inv, n=16}) {axes=[0]}, unsqueeze(s4d_init() {init=lin, n=16}) {axes=[0]}, " \
      "unsqueeze(s4d_init() {init=quad, n=16}) {axes=[0]}, timescale_init() {n=1}, d=c, state=b) {disc=bilinear}", 'n') \
    X("s4_scan", "f32[2,1,601] c64[2,1,8]", "(a, unsqueeze(s4d_init() {init=inv, n=16}) {axes=[0]}, unsqueeze(s4d_init() {init=lin, n=16}) {axes=[0]}, " \
      "unsqueeze(s4d_init() {init=quad, n=16}) {axes=[0]}, timescale_init() {n=1}, p=unsqueeze(s4d_init() {init=legs, n=16}) {axes=[0,1]}, state=b)", 'n') \
    X("s4_scan", "f32[3,1,1] c64[3,1,8]", "(a, unsqueeze(s4d_init() {init=inv, n=16}) {axes=[0]}, unsqueeze(s4d_init() {init=lin, n=16}) {axes=[0]}, " \
      "unsqueeze(s4d_init() {init=quad, n=16}) {axes=[0]}, timescale_init() {n=1}, p=unsqueeze(s4d_init() {init=legs, n=16}) {axes=[0,1]}, state=b) {full=true}", 'n') \
    X("causal_conv", "f32[2,3,301] f32[3,77] f32[3]", "(a, b, d=c)", 'n') \
    X("causal_conv", "f32[2,5,130] f32[2,5,333] f32[5]", "(a, b, d=c) {bidirectional=true}", 'n') \
    X("causal_conv", "f32[3,401] f32[2,3,20]", "(a, b) {bidirectional=true}", 'n') \
    X("causal_conv", "f16[2,2,65] f32[2,90]", "(a, b)", 'n') \
    X("causal_conv", "f32[1,4,1] f32[4,1] f32[4]", "(a, b, d=c)", 'n') \
    X("s4d_kernel", "c64[3,7] c64[3,7] c64[3,7] f32[3]", "(mul(sub(a, 3), 0.25), b, c, mul(d, 0.1)) {length=301}", 'p') \
    X("s4d_kernel", "c64[2,33] c64[2,33] i32[70]", "(sub(a, 4), b, a, timescale_init() {n=2}, positions=c) {length=100, disc=dirac, full=true}", 'q') \
    X("s4d_kernel", "f32[1]", "(unsqueeze(s4d_init() {init=inv, n=64}) {axes=[0]}, unsqueeze(s4d_init() {init=lin, n=64}) {axes=[0]}, " \
      "unsqueeze(s4d_init() {init=legs, n=64}) {axes=[0]}, timescale_init() {n=1}) {length=1000, disc=bilinear}", 'p') \
    X("s4_kernel", "i32[5]", "(unsqueeze(s4d_init() {init=inv, n=16}) {axes=[0]}, unsqueeze(s4d_init() {init=lin, n=16}) {axes=[0, 1]}, " \
      "unsqueeze(s4d_init() {init=quad, n=16}) {axes=[0]}, unsqueeze(s4d_init() {init=legs, n=16}) {axes=[0]}, timescale_init() {n=1}, positions=a) {length=333}", 'q') \
    X("discretize", "c64[3,7] c64[3,7] f32[3]", "(a, b, c)", 'n') \
    X("discretize", "c64[40,33] c64[40,33] f32[40]", "(mul(a, 0.1), b, c) {method=bilinear}", 'u') \
    X("discretize", "c64[3,7] c64[3,7] f32[3]", "(a, b, c) {method=euler_exp}", 'n') \
    X("discretize", "c64[3,7] c64[3,7] f32[3]", "(a, b, c) {method=dirac}", 'n') \
    X("discretize", "c64[3,7] c64[3,7] f32[3]", "(a, b, c) {method=forward}", 'n') \
    X("discretize", "c64[3,7] c64[3,7] f32[3]", "(mul(a, 0.1), b, c) {method=backward}", 'u')

#define DIFFUSION_OP_CASES(X) \
    X("solver_step", "f32[24] f32[3,7,11] f32[3,7,11]", "(a, b, c)", 'n') \
    X("solver_step", "f32[1,24] f32[9,133] f32[9,133] f32[9,133] f32[9,133] f32[9,133] f32[9,133] f32[9,133]", "(a, b, c, x=d, m1=e, m2=f, m3=g, noise=h)", 'n') \
    X("solver_step", "f32[24,24] f32[9,133] f32[9,133] f32[9,133] i32[]", "(a, b, c, m1=d, step=e)", 'q') \
    X("solver_denoised", "f32[24] f32[5,300] f32[5,300]", "(a, b, c)", 'n') \
    X("solver_denoised", "f32[24,24] f32[5,300] f32[5,300] i32[]", "(a, b, c, step=d)", 'q') \
    X("denoise_gaussian", "f32[5,3,4] f32[] f32[] f32[12] f32[12,7] f32[7]", "(a, b, c, d, e, f)", 'p') \
    X("denoise_gaussian", "f32[9,33] f32[9] f32[9] f32[33] f32[33,33] f32[33] f32[9,33]", "(a, b, c, d, e, f, tangent=g)", 'p') \
    X("denoise_diagonal", "f32[5,3,41] f32[5] f32[1] f32[123] f32[123]", "(a, b, c, d, e)", 'p') \
    X("denoise_mixture", "f32[5,3,4] f32[] f32[] f32[3] f32[3,12] f32[3]", "(a, b, c, d, e, f)", 'p') \
    X("denoise_mixture", "f32[9,20] f32[9] f32[9] f32[5] f32[5,20] f32[5] f32[9,20]", "(a, b, c, d, e, f, tangent=g)", 'p') \
    X("gaussian_flow", "f32[7,12] f32[7] f32[7] f32[] f32[] f32[12] f32[12,12] f32[12]", "(a, b, c, d, e, f, g, h)", 'p') \
    X("gaussian_flow", "f32[7,12] f32[1] f32[] f32[] f32[] f32[12] f32[12,5] f32[5]", "(a, b, c, d, e, f, g, h)", 'p') \
    X("convert_prediction", "f32[5,33] f32[5,33] f32[5] f32[5]", "(a, b, c, d) {from=x0, to=v}", 'p') \
    X("convert_prediction", "f32[5,3,33] f32[5,3,33] f32[] f32[]", "(a, b, c, d) {from=eps, to=score}", 'p') \
    X("convert_prediction", "f32[5,33] f32[5,33] f32[5] f32[1]", "(a, b, c, d) {from=flow, to=eps}", 'p') \
    X("convert_prediction", "f32[5,33] f32[5,33] f32[5] f32[5]", "(a, b, c, d) {from=score, to=flow}", 'p') \
    X("convert_prediction", "f32[5,33] f32[5,33] f32[5] f32[5]", "(a, b, c, d) {from=v, to=x0}", 'p') \
    X("precondition_input", "f32[5,33] f32[5]", "(a, b)", 'p') \
    X("precondition", "f32[5,33] f32[5,33] f32[5]", "(a, b, c) {sigma_data=0.7}", 'p') \
    X("precondition", "f32[5,3,11] f32[5,3,11] f32[]", "(a, b, c) {kind=consistency}", 'p') \
    X("cfg", "f32[5,33] f32[5,33] f32[]", "(a, b, scale=c)", 'n') \
    X("cfg", "f32[5,33] f32[5,33] f32[5,33] f32[2]", "(a, b, c, scale=d)", 'n') \
    X("apg", "f32[5,300] f32[5,300] f32[5,300]", "(a, b, momentum=c) {scale=7, eta=0.3, limit=2.5, beta=-0.5}", 'n') \
    X("apg", "f32[3,4,5,6] f32[3,4,5,6]", "(a, b) {scale=4, axes=[1]}", 'n') \
    X("cfg", "f32[5,33] f32[5,33] f32[] f32[]", "(a, b, scale=c, level=d) {low=0.1, high=1e6}", 'n') \
    X("cfg", "f32[5,33] f32[5,33] f32[] f32[]", "(a, b, scale=c, level=d) {low=1000}", 'n') \
    X("cfg_rescale", "f32[5,300] f32[5,300]", "(a, b) {scale=7.5, rescale=0.7}", 'n') \
    X("cfg_zero_star", "f32[5,300] f32[5,300]", "(a, b) {scale=3}", 'n') \
    X("classifier_guidance", "f32[5,33] f32[5,33] f32[] f32[]", "(a, b, c, d) {scale=2}", 'p') \
    X("token_probabilities", "f32[9,37]", "(a) {temperature=0.7, top_k=10, top_p=0.8}", 'n') \
    X("token_probabilities", "f32[3,4,300]", "(a) {top_p=0.9}", 'n') \
    X("token_probabilities", "f32[5,37]", "(a) {temperature=2}", 'n') \
    X("sample_token", "f32[9,37] f32[9]", "(a, b)", 'p') \
    X("masked_diffusion_step", "i32[4,6] f32[4,6,11] f32[4,6] f32[4,6] f32[]", "(a, b, c, d, e) {mask=1}", 'p') \
    X("confidence_unmask", "i32[4,6] f32[4,6,11] i32[]", "(a, b, c) {mask=1}", 'p') \
    X("speculative_accept", "i32[4,6] f32[4,6,24] f32[4,7,24] f32[4,6] f32[4]", "(a, b, c, d, e)", 'p') \
    X("speculative_jacobi_step", "i32[4,6] f32[4,6,24] f32[4,6,24] f32[4,6] f32[4,6]", "(a, b, c, d, e)", 'p') \
    X("sde_marginals", "f32[33]", "(a) {sde=ve}", 'p') \
    X("sde_marginals", "f32[3,7]", "(a)", 'p') \
    X("sde_marginals", "f32[33]", "(a) {sde=subvp, beta_max=9}", 'p') \
    X("langevin_step", "f32[5,300] f32[5,300] f32[5,300] f32[]", "(a, b, c, d) {snr=0.16}", 'p') \
    X("langevin_step", "f32[5,3,11] f32[5,3,11] f32[5,3,11] f32[]", "(a, b, c, d) {snr=0.1, per_sample=true}", 'p') \
    X("dynamic_threshold", "f32[5,3,37]", "(a) {quantile=0.9}", 'n') \
    X("dynamic_threshold", "f32[3,300]", "(a) {quantile=0.995, most=1.5}", 'n')

#define OP_CASES(X) \
    CORE_OP_CASES(X) ATTENTION_OP_CASES(X) FFT_OP_CASES(X) GAUNT_OP_CASES(X) SSM_OP_CASES(X) STATE_SPACE_OP_CASES(X) DIFFUSION_OP_CASES(X)

#endif
