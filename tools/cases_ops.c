/* cases_ops.c - reference cases of operators from many models: graphs of samples/zoo/attention, and those that need a list or a
 * number of layers written out. */
#include "case.h"

#include <string.h>

/* ---- units ---------------------------------------------------------------------------------------- */

static void newton_units(cJSON *attrs)
{
    static const char *const names[] = { "a", "b", "c" };
    const cJSON *coeffs = cJSON_GetObjectItemCaseSensitive(attrs, "coeffs");
    for (int i = 0; i < 3 && cJSON_GetArraySize(coeffs) == 3; i++) cJSON_AddNumberToObject(attrs, names[i], cJSON_GetArrayItem(coeffs, i)->valuedouble);
    cJSON_DeleteItemFromObjectCaseSensitive(attrs, "coeffs");
}

/* Bits of a code -> its largest value. */
static void code_units(cJSON *attrs)
{
    static const char *const names[2][2] = { { "bits_a", "most_a" }, { "bits_w", "most_w" } };
    for (int i = 0; i < 2; i++) {
        const double bits = tool_json_number(attrs, names[i][0], 4.0);
        cJSON_DeleteItemFromObjectCaseSensitive(attrs, names[i][0]);
        cJSON_AddNumberToObject(attrs, names[i][1], (double)((1 << ((int)bits - 1)) - 1));
    }
}

static void radial_units(cJSON *attrs)
{
    const char *rbf = tool_json_text(attrs, "rbf", "ivq_a");
    if (strcmp(rbf, "ivq_a") && strcmp(rbf, "gauss_a")) case_no_choice(attrs, "rbf");
    cJSON_AddNumberToObject(attrs, "gauss", !strcmp(rbf, "gauss_a"));
    cJSON_DeleteItemFromObjectCaseSensitive(attrs, "rbf");
}

/* thresholds: { name: number } -> attributes of those names. */
static void spike_units(cJSON *attrs)
{
    const cJSON *item, *thresholds = cJSON_GetObjectItemCaseSensitive(attrs, "thresholds");
    cJSON_ArrayForEach(item, thresholds) cJSON_AddNumberToObject(attrs, item->string, item->valuedouble);
    cJSON_DeleteItemFromObjectCaseSensitive(attrs, "thresholds");
}

/* Steps of the staircase. */
static void staircase_units(cJSON *attrs)
{
    cJSON_AddNumberToObject(attrs, "levels", cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(attrs, "bits")));
}

/* ---- MgNO ---------------------------------------------------------------------------------------------- */

static const char *padding_mode(case_builder *b)
{
    static const char *const names[][2] = { { "zeros", "zero" }, { "circular", "wrap" }, { "reflect", "reflect" } };
    const char *padding = tool_json_text(b->attrs, "padding", "zeros");
    for (size_t i = 0; i < TF_COUNT(names); i++)
        if (!strcmp(padding, names[i][0])) return names[i][1];
    case_refuse(b, "padding \"%s\" is not known: zeros, circular, reflect", padding);
    return NULL;
}

/* conv(x, layer.weight[, bias]) {...} of a 3x3 layer. */
static void add_conv(case_builder *b, const char *x, const char *layer, const char *mode, int stride)
{
    char bias[160] = "", name[160];
    snprintf(name, sizeof name, "%s.bias", layer);
    if (case_input(b, name)) snprintf(bias, sizeof bias, ", bias=%s.bias", layer);
    tf_str_printf(&b->text, "conv(%s, %s.weight%s) {padding=1, mode=%s, stride=%d}", x, layer, bias, mode, stride);
}

/* u += S (f - A u), for layers `prefix`first, `prefix`first+1, ... as long as there are weights. */
static void add_smoothings(case_builder *b, const char *prefix, int first, const char *mode)
{
    char layer[128], name[160];
    for (int i = first;; i++) {
        snprintf(name, sizeof name, "%s%d.A.weight", prefix, i);
        if (!case_input(b, name)) return;
        snprintf(layer, sizeof layer, "%s%d.A", prefix, i);
        tf_str_add(&b->text, "r = sub(f, ");
        add_conv(b, "u", layer, mode, 1);
        snprintf(layer, sizeof layer, "%s%d.S", prefix, i);
        tf_str_add(&b->text, ")\nu = add(u, ");
        add_conv(b, "r", layer, mode, 1);
        tf_str_add(&b->text, ")\n");
    }
}

static void add_restriction(case_builder *b, int level, const char *mode)
{
    char layer[128], name[160];
    snprintf(name, sizeof name, "layer%d.0.A.weight", level);
    if (case_input(b, name)) {
        snprintf(layer, sizeof layer, "layer%d.0.A", level);
        tf_str_add(&b->text, "r = sub(f, ");
        add_conv(b, "u", layer, mode, 1);
        tf_str_add(&b->text, ")\n");
    } else
        tf_str_add(&b->text, "r = reshape(f) {shape=[-1]}\n");
    snprintf(layer, sizeof layer, "layer%d.0.R", level);
    tf_str_printf(&b->text, "f = ");
    add_conv(b, case_input(b, name) ? "r" : "f", layer, mode, 2);
    snprintf(layer, sizeof layer, "layer%d.0.Pi", level);
    tf_str_add(&b->text, "\nu = ");
    add_conv(b, "u", layer, mode, 2);
    tf_str_add(&b->text, "\n");
}

static bool write_vcycle(case_builder *b)
{
    const int levels = cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(b->attrs, "iters"));
    const char *mode = padding_mode(b);
    char prefix[64];
    if (!mode) return false;
    tf_str_add(&b->text, "u = ");
    add_conv(b, "f", "layer0.0.S", mode, 1);
    tf_str_add(&b->text, "\n");
    for (int l = 0; l < levels; l++) {
        if (l) add_restriction(b, l, mode);
        snprintf(prefix, sizeof prefix, "layer%d.", l);
        add_smoothings(b, prefix, 1, mode);
        tf_str_printf(&b->text, "u%d = add(u, 0)\nf%d = add(f, 0)\n", l, l);
    }
    for (int l = levels - 1; l-- > 0;) {
        tf_str_printf(&b->text, "u = add(u%d, conv_transpose(u, RTlayers.%d.weight) {stride=2, padding=1})\nf = add(f%d, 0)\n", l, l, l);
        snprintf(prefix, sizeof prefix, "post_smooth_layer%d.", l);
        add_smoothings(b, prefix, 0, mode);
    }
    return true;
}

#define BLOCK "B=x.0 N=x.1 C=x.2 eps=$ln_eps "

const case_row ops_cases[] = {
    { .op = "block_quant", .zoo = "attention/block_quant", .params = "R=x.0 C=x.1 M=w.0", .ignored = "q8_0 q4_0" },
    { .op = "contrastive_rank", .zoo = "attention/contrastive_rank", .params = "B=probs.0 K=probs.1 S=context_hidden.1 D=context_hidden.2 alpha=$alpha" },
    { .op = "convnext_block_conditional", .zoo = "attention/convnext_block_conditional", .ignored = "act kernel",
         .params = BLOCK "H=$H W=$W kernel=dwconv.weight.2 hidden=pwconv1.weight.0" },
    { .op = "crate_layer", .zoo = "attention/crate_layer", .params = BLOCK "layers=layers.#.0.norm.weight heads=$heads dim_head=$dim_head step=$ista_step lambda=$ista_lambda" },
    { .op = "dagnn_propagate", .zoo = "attention/dagnn_propagate", .params = "N=x.0 F=x.1 E=edge_index.1 K=$K" },
    { .op = "davit_channel_block", .zoo = "attention/davit_channel_block", .params = BLOCK "H=$H W=$W heads=$heads hidden=mlp.fc1.weight.0", .ignored = "scale act" },
    { .op = "davit_spatial_block", .zoo = "attention/davit_spatial_block", .params = BLOCK "H=$H W=$W heads=$heads window=$window hidden=mlp.fc1.weight.0", .ignored = "act" },
    { .op = "dense_sparse_linear", .zoo = "attention/dense_sparse_linear", .params = "N=x.0 D=x.1 M=dense.1 S=idx.0 J=idx.1", .ignored = "nnz_per_column" },
    { .op = "fp8_convert", .zoo = "attention/fp8_convert", .params = "A=x_e4m3.0 B=x_e5m2.0", .ignored = "round e4m3 e5m2" },
    { .op = "hadamard_scale_int4_linear", .zoo = "attention/hadamard_scale_int4_linear", .convert = code_units, .ignored = "act weight round transform",
         .params = "N=x.0 D=x.1 O=w.0 most_a=$most_a most_w=$most_w" },
    { .op = "householder_projector", .zoo = "attention/householder_projector", .params = "M=u.0 MC=u.1 N=v.0 NC=v.1 rank=$rank" },
    { .op = "inceptionnext_block", .zoo = "attention/inceptionnext_block", .ignored = "square band branch_ratio split act",
         .params = "B=x.0 C=x.1 H=x.2 W=x.3 G=token_mixer.dwconv_hw.weight.0 square=token_mixer.dwconv_hw.weight.2 band=token_mixer.dwconv_w.weight.3"
                   " hidden=mlp.fc1.weight.0 eps=$bn_eps" },
    { .op = "knn_retrieve", .zoo = "attention/knn_retrieve", .params = "M=db.0 N=query.0 D=query.1 k=$k", .ignored = "metric" },
    { .op = "matching_pursuit", .zoo = "attention/matching_pursuit", .params = "N=x.0 D=x.1 M=dict_atoms.0 steps=$steps" },
    { .op = "matrix_exp_log_polar", .zoo = "attention/matrix_exp_log_polar", .params = "B=x.0 n=x.1" },
    { .op = "matryoshka_kv_attention", .zoo = "attention/matryoshka_kv", .params = "B=q.0 H=q.1 Q=q.2 S=k.2 N=q.3 causal=$causal", .lists = "key_rank value_rank",
         .ignored = "layout orthogonal" },
    { .op = "mgno_vcycle", .write = write_vcycle, .ignored = "iters padding restrict prolong u0 use_res" },
    { .op = "neurbf_eval", .zoo = "attention/neurbf_eval", .convert = radial_units,
         .params = "N=x.0 D=x.1 M=kernel_centers.0 C=features.1 H=w0.0 O=w2.0 knn=$knn keep=$keep gauss=$gauss eps=$normalize_eps" },
    { .op = "newton_schulz5", .zoo = "attention/newton_schulz5", .convert = newton_units, .ignored = "norm",
         .params = "R=g.0 C=g.1 steps=$steps a=$a b=$b c=$c m=$momentum nesterov=$nesterov" },
    { .op = "ono_block", .zoo = "attention/ono_block", .ignored = "attn mlp whiten psi_dim",
         .params = BLOCK "heads=$heads P=feature_cov.0 hidden=mlp.linear_pre.0.weight.0 out=mlp2.linear_post.weight.0" },
    { .op = "orthogonal_fusion", .zoo = "attention/orthogonal_fusion", .params = "B=f_local.0 C=f_local.1 H=f_local.2 W=f_local.3" },
    { .op = "powernorm", .zoo = "attention/powernorm", .params = "T=x.0 B=x.1 C=x.2 groups=$groups eps=$eps alpha=$alpha_fwd", .ignored = "layout" },
    { .op = "probabilistic_block_attention", .zoo = "attention/probabilistic_block_attention",
         .params = "B=q.0 S=q.1 H=q.2 D=q.3 K=k.2 V=v.3 block=$block causal=$causal" },
    { .op = "puct_score", .zoo = "attention/puct_score", .params = "N=visits.0 c1=$c1 c2=$c2 parent_visits=$parent_visits" },
    { .op = "random_feature_ffn", .zoo = "attention/random_feature_ffn", .params = "N=x.0 D=x.1 O=w.0 M=proj.0 relu_constant=$relu_constant", .ignored = "features" },
    { .op = "scot_swinv2_layer", .zoo = "attention/scot_swinv2_layer", .ignored = "logit_scale_max norm_eps region_mask cpb act order",
         .params = BLOCK "H=$H W=$W largest=$window moved=$shift heads=$heads cpb=attention.a.cpb_mlp.0.weight.0 hidden=intermediate.d.weight.0" },
    { .op = "separable_hybrid_attention", .zoo = "attention/separable_hybrid_attention", .ignored = "reduction pool act restore gate",
         .params = "B=x.0 C=x.1 H=x.2 W=x.3 R=w_reduce.0 groups=$shuffle_groups" },
    { .op = "spike_attention", .zoo = "attention/spike_attention", .convert = spike_units, .ignored = "sym steps",
         .params = "T=x.0 B=x.1 N=x.2 C=x.3 heads=$heads level=$level q_IF=$q_IF k_IF=$k_IF v_IF=$v_IF attn_IF=$attn_IF after_attn_IF=$after_attn_IF proj_IF=$proj_IF" },
    { .op = "spike_bif_neuron", .zoo = "attention/spike_bif_neuron", .params = "T=x.0 N=x.1 threshold=$threshold level=$level init_potential=$init_potential", .ignored = "steps" },
    { .op = "staircase_kv_quant", .zoo = "attention/staircase_kv", .params = "B=q.0 N=q.1 H=q.2 T=k.0 D=k.1 V=v.1 S=$residual G=$group levels=$levels", .lists = "bits",
         .convert = staircase_units },
    { .op = "submanifold_dwconv3d", .zoo = "attention/submanifold_dwconv3d", .params = "N=x.0 C=x.1 K=weight.0", .ignored = "kernel weight_layout" },
    { .op = "superposed_embedding", .zoo = "attention/superposed_embedding", .params = "B=tokens.0 K=tokens.1 V=embed.0 D=embed.1" },
    { .op = "topk_sae", .zoo = "attention/topk_sae", .params = "N=x.0 D=x.1 L=encoder.weight.0 k=$k eps=$eps" },
    { .op = "triplane_window_attention", .zoo = "attention/triplane_window_attention", .ignored = "head_dim planes scale shift tables",
         .params = "N=q.0 heads=q.1 D=q.2 R=q_table.0 window=$window quant=$quant" },
    { .op = "ulsam", .zoo = "attention/ulsam", .params = "B=x.0 C=x.1 H=x.2 W=x.3 splits=$num_splits eps=$bn_eps", .ignored = "maxpool" },
    { .op = "wavelet_packet2d", .zoo = "attention/wavelet_packet2d", .params = "B=x.0 C=x.1 H=x.2 W=x.3 levels=$levels L=dec_lo.0", .ignored = "wavelet mode formula inverse" },
    { .op = NULL }
};
