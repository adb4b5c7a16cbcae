/* cases_scan.c - reference cases of scans, selective state spaces and recurrences. */
#include "case.h"

#include <math.h>
#include <string.h>

/* Cases run along the last axis unless they say otherwise. */
static void scan_units(cJSON *attrs)
{
    if (!cJSON_HasObjectItem(attrs, "axis")) cJSON_AddNumberToObject(attrs, "axis", -1.0);
}

/* silu unless they say otherwise. */
static void conv_units(cJSON *attrs)
{
    const cJSON *activation = cJSON_GetObjectItemCaseSensitive(attrs, "activation");
    if (!activation) cJSON_AddStringToObject(attrs, "activation", "silu");
    else if (cJSON_IsNull(activation) || (cJSON_IsString(activation) && !activation->valuestring[0])) cJSON_DeleteItemFromObjectCaseSensitive(attrs, "activation");
}

/* dt_limit [lo, hi] or null. */
static void ssd_units(cJSON *attrs)
{
    cJSON *limit = cJSON_DetachItemFromObjectCaseSensitive(attrs, "dt_limit");
    if (cJSON_IsArray(limit) && cJSON_GetArraySize(limit) == 2) {
        const cJSON *lo = cJSON_GetArrayItem(limit, 0), *hi = cJSON_GetArrayItem(limit, 1);
        cJSON_AddNumberToObject(attrs, "dt_min", cJSON_IsNumber(lo) ? lo->valuedouble : 0.0);
        cJSON_AddNumberToObject(attrs, "dt_max", cJSON_IsNumber(hi) ? hi->valuedouble : 3.0e38); /* null, "inf": no upper limit */
    }
    cJSON_Delete(limit);
}

/* conj_sym true: one mode of each conjugate pair is given. */
static void s5_units(cJSON *attrs)
{
    cJSON *pairs = cJSON_DetachItemFromObjectCaseSensitive(attrs, "conj_sym");
    if (cJSON_IsBool(pairs)) cJSON_AddBoolToObject(attrs, "full", !cJSON_IsTrue(pairs));
    cJSON_Delete(pairs);
}

/* A list that graphs of the zoo are made for goes; any other stays under a name that says what was expected. */
static void expect_list(cJSON *attrs, const char *name, const char *json, const char *otherwise)
{
    cJSON *want = cJSON_Parse(json), *got = cJSON_DetachItemFromObjectCaseSensitive(attrs, name);
    if (got && !cJSON_Compare(got, want, true)) cJSON_AddTrueToObject(attrs, otherwise);
    cJSON_Delete(want);
    cJSON_Delete(got);
}

/* Choices are indices where they are params. */
static void router_units(cJSON *attrs)
{
    const char *order = tool_json_text(attrs, "gate_order", NULL);
    const int index = order && !strcmp(order, "zrn");
    if (!order || (!index && strcmp(order, "rzn") != 0)) return;
    cJSON_DeleteItemFromObjectCaseSensitive(attrs, "gate_order");
    cJSON_AddNumberToObject(attrs, "gate_order", index);
}

static void class_units(cJSON *attrs) { expect_list(attrs, "avg_dims", "[0,1,3]", "avg_dims other than [0, 1, 3]"); }

/* Parameters of graphs are whole numbers. */
static void norm_units(cJSON *attrs)
{
    expect_list(attrs, "directions", "[\"h\",\"h_flip\",\"v\",\"v_flip\"]", "directions other than h, h_flip, v, v_flip");
    cJSON *eps = cJSON_DetachItemFromObjectCaseSensitive(attrs, "ln_eps");
    cJSON_AddNumberToObject(attrs, "eps_e12", round((cJSON_IsNumber(eps) ? eps->valuedouble : 1e-5) * 1e12));
    cJSON_Delete(eps);
}

/* The graph ssm/cross_scan of the zoo for any directions: x as sequences, and their sum back in place. */
static bool write_cross_scan(case_builder *b)
{
    static const char *const known[] = { "h", "h_flip", "v", "v_flip" };
    const cJSON *names = cJSON_GetObjectItemCaseSensitive(b->attrs, "directions");
    const int n = names ? cJSON_GetArraySize(names) : 4;
    if (case_dim(b, "x", 3) < 0 || n < 1) return case_refuse(b, "x needs rank 4, and \"directions\" one name (%d)", n);
    const char *flat = tf_arena_printf(b->arena, "{shape=[%d,%d,%d]}", (int)case_dim(b, "x", 0), (int)case_dim(b, "x", 1), (int)(case_dim(b, "x", 2) * case_dim(b, "x", 3)));
    const char *turned = tf_arena_printf(b->arena, "{shape=[%d,%d,%d,%d]}", (int)case_dim(b, "x", 0), (int)case_dim(b, "x", 1), (int)case_dim(b, "x", 3), (int)case_dim(b, "x", 2));
    const char *stacked = "", *sum = NULL;
    for (int i = 0; i < n; i++) {
        const cJSON *item = names ? cJSON_GetArrayItem(names, i) : NULL;
        const char *name = !item ? known[i] : cJSON_IsString(item) ? item->valuestring : "?";
        int k = 0;
        while (k < 4 && strcmp(name, known[k]) != 0) k++;
        if (k == 4) return case_refuse(b, "direction \"%s\" is none of h, h_flip, v, v_flip", name);
        const char *sequence = tf_arena_printf(b->arena, k > 1 ? "reshape(permute(x) {axes=[0,1,3,2]}) %s" : "reshape(x) %s", flat);
        tf_str_printf(&b->text, k & 1 ? "s%d = flip(%s) {axes=[2]}\n" : "s%d = %s\n", i, sequence);
        tf_str_printf(&b->text, k & 1 ? "f%d = flip(s%d) {axes=[2]}\n" : "f%d = reshape(s%d) %s\n", i, i, flat);
        tf_str_printf(&b->text, k > 1 ? "m%d = reshape(permute(reshape(f%d) %s) {axes=[0,1,3,2]}) %s\n" : "m%d = reshape(f%d) %.0s%s\n", i, i, turned, flat);
        stacked = tf_arena_printf(b->arena, i ? "%s, s%d" : "%ss%d", stacked, i);
        sum = sum ? tf_arena_printf(b->arena, "add(%s, m%d)", sum, i) : tf_arena_printf(b->arena, "m%d", i);
    }
    tf_str_printf(&b->text, "y = stack(%s) {axis=1}\nmerged = reshape(%s) %s\n", stacked, sum, flat);
    return true;
}

/* The graphs ssm/continual_attention and ssm/retroactive_attention of the zoo, by the mode. */
static bool write_attention(case_builder *b)
{
    const char *mode = tool_json_text(b->attrs, "mode", "single_output");
    const int window = (int)tool_json_number(b->attrs, "window", 0.0), length = (int)case_dim(b, "q", 0), channels = (int)case_dim(b, "q", 1);
    if (window < 1 || window > length) return case_refuse(b, "window is %d; the sequence has %d tokens", window, length);
    if (!strcmp(mode, "retroactive")) {
        static const char names[] = "qkv";
        for (const char *n = names; *n; n++)
            tf_str_printf(&b->text, "%cw = unsqueeze(permute(unfold(%c) {sizes=[%d], axes=[0]}) {axes=[0,2,1]}) {axes=[2]}\n", *n, *n, window);
        tf_str_printf(&b->text, "y = reshape(attention(qw, kw, vw)) {shape=[%d,%d,%d]}\n", length - window + 1, window, channels);
        return true;
    }
    if (strcmp(mode, "single_output") != 0) return case_refuse(b, "mode \"%s\" is not known to op co_attention", mode);
    tf_str_printf(&b->text,
                  "o = attention(unsqueeze(q) {axes=[0,2]}, unsqueeze(k) {axes=[0,2]}, unsqueeze(v) {axes=[0,2]}) {causal=true, window_left=%d}\n"
                  "y = reshape(slice(o) {start=[%d], stop=[%d], axes=[1]}) {shape=[%d,%d]}\n", window, window - 1, length, length - window + 1, channels);
    return true;
}

/* These repeat which inputs exist. */
#define SCAN_KNOWN "segmented initial"

const case_row scan_cases[] = {
    { .op = "cumsum", .target = "cumsum", .convert = scan_units, .ignored = SCAN_KNOWN, .renames = "h0=initial" },
    { .op = "cumprod", .target = "cumprod", .convert = scan_units, .ignored = SCAN_KNOWN, .renames = "h0=initial" },
    { .op = "cummax", .target = "cummax", .convert = scan_units, .ignored = SCAN_KNOWN, .renames = "h0=initial" },
    { .op = "cummin", .target = "cummin", .convert = scan_units, .ignored = SCAN_KNOWN, .renames = "h0=initial" },
    { .op = "logcumsumexp", .target = "logcumsumexp", .convert = scan_units, .ignored = SCAN_KNOWN, .renames = "h0=initial" },
    { .op = "linear_scan", .target = "linear_scan", .convert = scan_units, .ignored = SCAN_KNOWN, .renames = "h0=initial" },
    { .op = "selective_scan", .target = "selective_scan", .ignored = "stream_chunks" },
    { .op = "selective_state_update", .target = "selective_state_update" },
    { .op = "dwconv_causal", .target = "dwconv_causal", .convert = conv_units },
    { .op = "ssd", .target = "ssd", .convert = ssd_units },
    { .op = "ssd_trapezoidal", .target = "ssd_trapezoidal" },
    { .op = "s5_scan", .target = "s5_scan", .convert = s5_units, .renames = "clip_eigs=clip" },
    { .op = "gru", .target = "gru" },
    { .op = "mamba_block", .zoo = "ssm/mamba_block", .ignored = "expand", /* as in_proj shows */
      .params = "batch=x.0 length=x.1 model=x.2 inner=A_log.0 d_state=$d_state d_conv=$d_conv dt_rank=$dt_rank" },
    { .op = "cross_scan", .write = write_cross_scan, .ignored = "directions" },
    { .op = "ss2d_core", .zoo = "ssm/ss2d", .convert = norm_units,
      .params = "batch=x.0 channels=x.1 height=x.2 width=x.3 states=A_log.1 dt_rank=$dt_rank eps_e12=$eps_e12" },
    { .op = "class_sep_loss", .zoo = "ssm/class_separation", .convert = class_units,
      .params = "samples=params.0 directions=params.1 features=params.2 length=params.3" },
    { .op = "rmoe_router", .zoo = "ssm/rmoe_router", .convert = router_units,
      .params = "gate_order=$gate_order layers=x.0 tokens=x.1 model=x.2 units=Wh.1 experts_all=W2.1 top_k=$top_k" },
    { .op = "rmoe_layer", .zoo = "ssm/rmoe_layer", .ignored = "router expert",
      .params = "tokens=x.0 model=x.1 units=h_prev.1 experts=$experts hidden=expert_w1.1 top_k=$top_k" },
    { .op = "co_conv1d", .zoo = "ssm/continual_conv", .params = "w.2=$kernel batch=x.0 channels=x.1 length=x.2 outs=w.0 kernel=w.2 stride=$stride" },
    { .op = "co_attention", .write = write_attention, .ignored = "window mode" },
    { .op = NULL }
};
