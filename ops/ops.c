/* ops.c - the one list of operators. Adding an op means adding its row here. */
#include "graph/op.h"

/* Rows by the file that defines them; the pointwise rows without attributes come from pointwise.def. */
#define CORE_ROWS(X) \
    X(input) X(const) X(literal) X(state) X(scalar) X(assign) \
    X(leaky_relu) X(elu) X(cast) X(bitcast) X(where) X(clamp) X(fma) X(lerp) X(dequant) X(map) \
    X(reshape) X(permute) X(transpose) X(squeeze) X(unsqueeze) X(expand) X(slice) X(pad) X(roll) X(flip) X(diagonal) X(unfold) \
    X(concat) X(stack) X(split) X(gather) X(take_along_axis) X(scatter) X(one_hot) X(iota) X(tril) X(triu) \
    X(random_bits) X(uniform) X(normal) X(gumbel) X(rademacher) X(philox) \
    X(sum) X(mean) X(prod) X(max) X(min) X(argmax) X(argmin) X(any) X(all) X(logsumexp) X(variance) X(std) X(norm) \
    X(softmax) X(log_softmax) X(layer_norm) X(rms_norm) X(group_norm) X(batch_norm) \
    X(sort) X(argsort) X(topk) \
    X(conv) X(conv_transpose) X(max_pool) X(avg_pool) X(segment_reduce) X(hadamard) \
    X(matmul) X(custom)

#define ATTENTION_ROWS(X) \
    X(attention) X(attention_merge) X(mla_attention) X(linear_attention) X(favor_features) \
    X(rope) X(kv_append) X(kv_gather) X(kv_quantize) X(tree_mask) X(speculative_verify)

#define FFT_ROWS(X) \
    X(fft) X(fft_conv)

#define GAUNT_ROWS(X) \
    X(gaunt_coefficients) X(wigner_3j) X(gaunt_norms) X(gauss_legendre) \
    X(spherical_harmonics) X(gaunt_tp) X(gaunt_curl_tp) X(gaunt_conv) X(gaunt_manybody) X(cg_full_tp) X(wigner_d) X(sh_rotate) \
    X(sh_to_fourier) X(fourier_to_sh) X(sht_synthesis) X(sht_analysis) X(location_embedding) X(location_encoder)
#define GAUNT_INTERNAL_ROWS(X) X(gaunt_code) X(sphere_table)

#define SSM_ROWS(X) \
    X(cumsum) X(cumprod) X(cummax) X(cummin) X(logcumsumexp) X(linear_scan) X(scan) \
    X(selective_scan) X(selective_state_update) X(dwconv_causal) X(s5_scan) X(ssd) X(ssd_trapezoidal) X(gru)

#define SCAN_INTERNAL_ROWS(X) X(anchor_scan) X(selective_anchor) X(gru_anchor)
#define STATE_SPACE_ROWS(X) \
    X(hippo_matrix) X(hippo_nplr) X(hippo_ptd) X(s4d_init) X(timescale_init) X(discretize) X(s4d_kernel) X(s4_kernel) X(causal_conv) X(s4_scan) X(s4_cauchy_kernel) X(hippo_online)

#define DIFFUSION_ROWS(X) \
    X(schedule_karras) X(schedule_exponential) X(schedule_vp) X(schedule_logsnr) X(vp_marginals) X(schedule_beta) X(rescale_zero_snr) \
    X(timestep_spacing) X(lcm_timesteps) X(schedule_karras_on_vp) X(schedule_flow) X(schedule_beta_distribution) X(schedule_ict) X(ict_discretization) \
    X(solver_table) X(solver_step) X(solver_denoised) \
    X(denoise_gaussian) X(denoise_diagonal) X(denoise_mixture) X(gaussian_flow) X(convert_prediction) X(precondition_input) X(precondition) \
    X(cfg) X(apg) X(cfg_rescale) X(cfg_zero_star) X(classifier_guidance) X(dynamic_threshold) \
    X(pc_table) X(langevin_step) X(sde_marginals) \
    X(token_probabilities) X(sample_token) X(masked_diffusion_step) X(confidence_unmask) X(speculative_accept) X(speculative_jacobi_step) X(cheapest_path)

#define ROWS(X) CORE_ROWS(X) ATTENTION_ROWS(X) FFT_ROWS(X) GAUNT_ROWS(X) SSM_ROWS(X) STATE_SPACE_ROWS(X) DIFFUSION_ROWS(X)

#define STATE_SPACE_INTERNAL_ROWS(X) \
    X(cis) X(discretize_host) X(ssm_tables) X(ssm_kernel) X(ssm_steps) X(half_angles) X(anchor_hippo_online) X(ssm_truncation)

#define ATTENTION_INTERNAL_ROWS(X) \
    X(attention_anchor) X(rope_turns) X(tree_anchor)

/* Made by lowering only. */
#define INTERNAL_ROWS(X) \
    X(anchor_reduce) X(anchor_reduce_cols) X(anchor_rownorm) X(anchor_matmul) X(anchor_put) X(put_row) X(mul_high) \
    X(anchor_segment) X(anchor_segment_starts) X(anchor_hadamard) X(anchor_sort_blocks) X(anchor_sort_merge) X(anchor_conv) \
    ATTENTION_INTERNAL_ROWS(X) \
    SCAN_INTERNAL_ROWS(X) \
    X(fft_anchor) X(fft_table) X(fft_spectrum) \
    STATE_SPACE_INTERNAL_ROWS(X) \
    GAUNT_INTERNAL_ROWS(X)

#define X(op) extern const tf_op tf_op_##op;
ROWS(X)
INTERNAL_ROWS(X)
#undef X
#define U(op, ...) extern const tf_op tf_op_##op;
#define B(op, ...) extern const tf_op tf_op_##op;
#include "pointwise.def"
#undef U
#undef B

const tf_op *const tuff_ops[] = {
#define U(op, ...) &tf_op_##op,
#define B(op, ...) &tf_op_##op,
#include "pointwise.def"
#undef U
#undef B
#define X(op) &tf_op_##op,
    ROWS(X)
    INTERNAL_ROWS(X)
#undef X
    NULL
};
