/* cases_ssm.c - reference cases of the state-space family. */
#include "case.h"

#include <string.h>

/* Phases of eigenvectors are free, so cases hold what does not depend on them. */
static bool write_nplr(case_builder *b)
{
    tf_str_printf(&b->text, "modes, b, p, v = hippo_nplr() {basis=%s, n=%.0f, theta=%.17g}\n", tool_json_text(b->attrs, "basis", "legs"),
                  tool_json_number(b->attrs, "N", 0.0), tool_json_number(b->attrs, "theta", 0.0));
    tf_str_add(&b->text, "lam = reshape(modes) {shape=[-1]}\nabsB = abs(b)\nabsP = abs(p)\nq = conj(p)\nB_conjP = mul(b, q)\n");
    return true;
}

#define STREAM "P=p B=b C=c D=d"
#define MODES "L=length B=b C=c P=p K=k Ctilde=ctilde"

/* conj_sym: the conjugates of the modes are left out, which is our default. */
static void kernel_units(cJSON *attrs)
{
    const cJSON *halves = cJSON_GetObjectItemCaseSensitive(attrs, "conj_sym");
    if (cJSON_IsBool(halves)) cJSON_AddBoolToObject(attrs, "full", cJSON_IsFalse(halves));
    cJSON_DeleteItemFromObjectCaseSensitive(attrs, "conj_sym");
    if (cJSON_IsFalse(cJSON_GetObjectItemCaseSensitive(attrs, "bidirectional"))) cJSON_DeleteItemFromObjectCaseSensitive(attrs, "bidirectional");
}

/* Models with a low-rank part have one discretisation. */
static void bilinear_units(cJSON *attrs)
{
    kernel_units(attrs);
    if (!strcmp(tool_json_text(attrs, "disc", ""), "bilinear")) cJSON_DeleteItemFromObjectCaseSensitive(attrs, "disc");
    case_no_choice(attrs, "disc");
}

/* A choice by its name becomes its index, as params of the zoo want it; other words are refused. */
static void to_index(cJSON *attrs, const char *name, const char *choices)
{
    const char *word = tool_json_text(attrs, name, NULL);
    int index = 0;
    for (const char *p = choices; word && *p; p += strcspn(p, " "), p += *p == ' ', index++)
        if (strlen(word) == strcspn(p, " ") && !strncmp(p, word, strlen(word))) {
            cJSON_DeleteItemFromObjectCaseSensitive(attrs, name);
            cJSON_AddNumberToObject(attrs, name, index);
            return;
        }
    case_no_choice(attrs, name);
}
#define METHODS "zoh bilinear euler_exp dirac forward backward"

static void ptd_units(cJSON *attrs)
{
    to_index(attrs, "disc", METHODS);
    to_index(attrs, "basis", "legs legt lagt fout");
}

/* What the graphs of the zoo are: GELU by erf, then a gated linear unit. The length is that of u. */
static void layer_units(cJSON *attrs)
{
    kernel_units(attrs);
    to_index(attrs, "disc", METHODS);
    cJSON_DeleteItemFromObjectCaseSensitive(attrs, "L");
    if (!strcmp(tool_json_text(attrs, "activation", ""), "gelu_erf")) cJSON_DeleteItemFromObjectCaseSensitive(attrs, "activation");
    case_no_choice(attrs, "activation");
    if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(attrs, "glu"))) cJSON_DeleteItemFromObjectCaseSensitive(attrs, "glu");
}

static void s4_layer_units(cJSON *attrs)
{
    bilinear_units(attrs);
    layer_units(attrs);
}

/* Host rows want constants; a diagonal discretisation stays on the device. */
const case_row ssm_cases[] = {
    { .op = "hippo_matrix", .target = "hippo_matrix", .renames = "N=n A=a B=b P=p" },
    { .op = "hippo_nplr", .ignored = "half basis N theta", .write = write_nplr },
    { .op = "s4d_init", .target = "s4d_init", .renames = "N=n" },
    { .op = "discretize", .target = "discretize", .renames = "A=a lam=a B=b Abar=abar Bbar=bbar", .constants = "A B dt" },
    { .op = "s4d_kernel", .target = "s4d_kernel", .renames = MODES, .ignored = "init subsampled", .constants = "lam B C dt", .convert = kernel_units },
    { .op = "s4_kernel", .target = "s4_kernel", .renames = MODES, .ignored = "rank init subsampled", .constants = "lam P B C dt", .convert = bilinear_units },
    { .op = "fft_causal_conv", .target = "causal_conv", .renames = "K=k D=d" },
    { .op = "s4_layer", .zoo = "ssm/s4", .params = "batch=u.0 features=u.1 length=u.2 modes=lam.1 rank=P.0 P.0=$rank full=$full", .ignored = "init subsampled", .constants = "lam P B C dt", .convert = s4_layer_units },
    { .op = "s4d_layer", .zoo = "ssm/s4d", .params = "batch=u.0 features=u.1 length=u.2 modes=lam.1 disc=$disc full=$full", .ignored = "init subsampled", .constants = "lam B C dt", .convert = layer_units },
    { .op = "s4_stream", .target = "s4_scan", .renames = STREAM, .ignored = "rank init subsampled", .constants = "lam P B C dt", .convert = bilinear_units },
    { .op = "s4d_stream", .target = "s4_scan", .renames = STREAM, .ignored = "init subsampled", .constants = "lam B C dt", .convert = kernel_units },
    { .op = "hippo_legs_online", .target = "hippo_online", .renames = "N=n", .convert = bilinear_units },
    { .op = "ptd", .zoo = "ssm/s4_ptd", .params = "N=E.0 E.0=$N length=$L dt=$dt disc=$disc basis=$basis", .ignored = "sort", .constants = "E C", .convert = ptd_units },
    { .op = "s5_ptd", .zoo = "ssm/s5_ptd", .params = "batch=u.0 length=u.1 features=u.2 modes=E.0", .constants = "E" },
    { .op = NULL }
};
