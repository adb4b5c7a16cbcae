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
    cJSON_AddItemToObject(attrs, "dtype", cJSON_CreateRaw("f32"));
}

const case_row attention_cases[] = {
    { .op = "attention", .target = "attention", .convert = attention_units },
    { .op = "attention_merge", .target = "attention_merge", .renames = "o_parts=o lse_parts=lse" },
    { .op = "rope", .ignored = "layout",
      .graph = "y_half = rope(x, positions=pos) {rotary=$rot_dim, base=$base}\n"
               "y_interleaved = rope(x, positions=pos) {rotary=$rot_dim, base=$base, pairing=interleaved}\n" },
    { .op = "qk_norm_rope_attention", .ignored = "rope order",
      .graph = "qn = rms_norm(q, gain=q_gain) {eps=$rms_eps}\nkn = rms_norm(k, gain=k_gain) {eps=$rms_eps}\n"
               "qr = rope(qn)\nkr = rope(kn)\no = attention(qr, kr, v) {causal=$causal}\n" },
    { .op = NULL }
};
