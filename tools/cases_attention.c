/* cases_attention.c - reference cases of the attention family. */
#include "case.h"

#include <string.h>

/* Cases count window keys beyond the query's own, -1 for no limit; we count them including its own, 0 for no limit. */
static void window(cJSON *attrs, const char *name)
{
    cJSON *item = cJSON_GetObjectItemCaseSensitive(attrs, name);
    if (!cJSON_IsNumber(item)) return;
    if (item->valuedouble < 0.0)
        cJSON_DeleteItemFromObjectCaseSensitive(attrs, name);
    else
        cJSON_SetNumberValue(item, item->valuedouble + 1.0);
}

static bool is_one_of(const char *word, const char *const *words)
{
    for (; *words; words++)
        if (!strcmp(word, *words)) return true;
    return false;
}

/* Layout and format follow from the inputs; o is f32 in every case. */
static void attention_units(cJSON *attrs)
{
    static const char *const layouts[] = { "dense", "packed", "paged", NULL }, *const formats[] = { "none", "int8_sym", "uint4_asym_unpacked", NULL };
    window(attrs, "window_left");
    window(attrs, "window_right");
    if (is_one_of(tool_json_text(attrs, "layout", ""), layouts)) cJSON_DeleteItemFromObjectCaseSensitive(attrs, "layout");
    if (is_one_of(tool_json_text(attrs, "kv_format", ""), formats)) cJSON_DeleteItemFromObjectCaseSensitive(attrs, "kv_format");
    case_no_choice(attrs, "layout");
    case_no_choice(attrs, "kv_format");
    cJSON_AddItemToObject(attrs, "dtype", cJSON_CreateRaw("f32"));
}

/* Inputs of a case in [b, n, h, d], whatever its layout; `names` are one letter each and get an s behind. */
static void add_tokens_first(case_builder *b, const char *names)
{
    for (; *names; names++)
        if (!strcmp(tool_json_text(b->attrs, "layout", ""), "BHSD"))
            tf_str_printf(&b->text, "%cs = permute(%c) {axes=[0,2,1,3]}\n", *names, *names);
        else
            tf_str_printf(&b->text, "%cs = reshape(%c) {shape=[%d,%d,%d,%d]}\n", *names, *names, (int)case_dim(b, "q", 0), (int)case_dim(b, (char[]){ *names, 0 }, 1),
                          (int)case_dim(b, (char[]){ *names, 0 }, 2), (int)case_dim(b, (char[]){ *names, 0 }, 3));
}

/* The result `from` in the layout of the case. */
static void add_output(case_builder *b, const char *name, const char *from)
{
    const bool heads_first = !strcmp(tool_json_text(b->attrs, "layout", ""), "BHSD");
    tf_str_printf(&b->text, heads_first ? "%s = permute(%s) {axes=[0,2,1,3]}\n" : "%s = slice(%s) {start=[0], stop=[2147483647]}\n", name, from);
}

/* The features of `attribute` in our words, NULL if unknown. */
static const char *features_of(case_builder *b, const char *attribute)
{
    static const char *const known[][2] = { { "", "none" }, { "none", "none" }, { "identity", "none" }, { "relu", "relu" }, { "elu + 1", "elu" }, { "elu+1", "elu" },
                                            { "softmax over feature", "softmax" }, { "softmax over features", "softmax" }, { "softmax over tokens", "softmax_tokens" } };
    const char *word = tool_json_text(b->attrs, attribute, "");
    for (size_t i = 0; i < TF_COUNT(known); i++)
        if (!strcmp(word, known[i][0])) return known[i][1];
    case_refuse(b, "attribute %s=\"%s\" is not known to op linear_attention", attribute, word);
    return NULL;
}

static bool write_linear_attention(case_builder *b)
{
    const char *q = features_of(b, "q_map"), *k = features_of(b, "k_map");
    if (!q || !k) return false;
    add_tokens_first(b, "qkv");
    tf_str_printf(&b->text, "y = linear_attention(qs, ks, vs) {q_map=%s, k_map=%s, causal=%s}\n", q, k,
                  cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(b->attrs, "causal")) ? "true" : "false");
    add_output(b, "o", "y");
    return true;
}

/* Which axis of q, k, v is which. */
static void favor_units(cJSON *attrs)
{
    const bool heads_first = !strcmp(tool_json_text(attrs, "layout", ""), "BHSD");
    cJSON_AddNumberToObject(attrs, "tokens", heads_first ? 2 : 1);
    cJSON_AddNumberToObject(attrs, "heads", heads_first ? 1 : 2);
}

const case_row attention_cases[] = {
    { .op = "attention", .target = "attention", .convert = attention_units },
    { .op = "attention_merge", .target = "attention_merge", .renames = "o_parts=o lse_parts=lse" },
    { .op = "rope", .ignored = "layout",
      .graph = "y_half = rope(x, positions=pos) {rotary=$rot_dim, base=$base}\n"
               "y_interleaved = rope(x, positions=pos) {rotary=$rot_dim, base=$base, pairing=interleaved}\n" },
    { .op = "mla_attention", .target = "mla_attention" },
    { .op = "linear_attention", .write = write_linear_attention, .ignored = "q_map k_map layout causal" },
    { .op = "favor_plus", .zoo = "attention/performer", .convert = favor_units, .ignored = "nb_features layout max_subtraction",
      .params = "B=q.0 Q1=q.1 Q2=q.2 K1=k.1 K2=k.2 D=q.3 V=v.3 M=proj.0 tokens=$tokens heads=$heads eps=$eps causal_eps=$causal_den_eps" },
    { .op = "tree_attention", .zoo = "attention/prompt_tree", .ignored = "prefix_len num_special_tokens candidates",
      .params = "B=q.0 N=q.1 H=q.2 D=q.3 S=k.1 K=k.2 V=v.3" },
    { .op = "speculative_verify", .zoo = "attention/speculative_jacobi_verify", .params = "B=p_draft.0 L=p_draft.1 V=p_draft.2" },
    { .op = "qk_norm_rope_attention", .ignored = "rope order",
      .graph = "qn = rms_norm(q, gain=q_gain) {eps=$rms_eps}\nkn = rms_norm(k, gain=k_gain) {eps=$rms_eps}\n"
               "qr = rope(qn)\nkr = rope(kn)\no = attention(qr, kr, v) {causal=$causal}\n" },
    { .op = NULL }
};
