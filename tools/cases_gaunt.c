/* cases_gaunt.c - reference cases of spherical harmonics and equivariant products. */
#include "case.h"

#include <string.h>

/* All 3j tensors up to a degree, flat, end to end. At most 64 operands stand in one concat, so it nests. */
static bool write_w3j(case_builder *b)
{
    const int lmax = (int)tool_json_number(b->attrs, "lmax", 0.0);
    for (int l1 = 0; l1 <= lmax; l1++) {
        for (int l2 = 0; l2 <= lmax; l2++) {
            const int low = l1 < l2 ? l2 - l1 : l1 - l2, high = l1 + l2;
            for (int l3 = low; l3 <= high; l3++)
                tf_str_printf(&b->text, "t_%d_%d_%d = wigner_3j() {l1=%d, l2=%d, l3=%d}\nf_%d_%d_%d = reshape(t_%d_%d_%d) {shape=[-1]}\n", l1, l2, l3, l1, l2, l3, l1, l2, l3, l1, l2, l3);
            tf_str_printf(&b->text, "p_%d_%d = concat(", l1, l2);
            for (int l3 = low; l3 <= high; l3++) tf_str_printf(&b->text, "%sf_%d_%d_%d", l3 > low ? ", " : "", l1, l2, l3);
            tf_str_add(&b->text, ") {axis=0}\n");
        }
        tf_str_printf(&b->text, "q_%d = concat(", l1);
        for (int l2 = 0; l2 <= lmax; l2++) tf_str_printf(&b->text, "%sp_%d_%d", l2 ? ", " : "", l1, l2);
        tf_str_add(&b->text, ") {axis=0}\n");
    }
    tf_str_add(&b->text, "w = concat(");
    for (int l1 = 0; l1 <= lmax; l1++) tf_str_printf(&b->text, "%sq_%d", l1 ? ", " : "", l1);
    tf_str_add(&b->text, ") {axis=0}\n");
    return true;
}

/* normalize=false means solid harmonics. */
static void sh_units(cJSON *attrs)
{
    const cJSON *n = cJSON_GetObjectItemCaseSensitive(attrs, "normalize");
    if (!cJSON_IsBool(n)) return;
    cJSON_AddBoolToObject(attrs, "solid", !cJSON_IsTrue(n));
    cJSON_DeleteItemFromObjectCaseSensitive(attrs, "normalize");
}

/* Products know one normalisation. */
static void product_units(cJSON *attrs)
{
    if (!strcmp(tool_json_text(attrs, "normalization", ""), "integral")) cJSON_DeleteItemFromObjectCaseSensitive(attrs, "normalization");
    case_no_choice(attrs, "normalization");
}

/* y_rot comes from the turned inputs; the turn of y must be the same, so half of each is taken. */
static bool write_equivariance(case_builder *b)
{
    const int lout = (int)tool_json_number(b->attrs, "Lout", 0.0);
    tf_str_printf(&b->text, "product = gaunt_tp(x1, x2) {lout=%d}\nfirst = gaunt_tp(x1_rot, x2_rot) {lout=%d}\n"
                            "second = sh_rotate(product, R)\nturned = lerp(first, second, 0.5)\n", lout, lout);
    return true;
}

/* W0 b0 W1 b1 .. */
static bool write_encoder(case_builder *b)
{
    const int degrees = (int)tool_json_number(b->attrs, "degrees", 0.0), layers = (int)tool_json_number(b->attrs, "layers", 0.0);
    if (strcmp(tool_json_text(b->attrs, "final", "linear"), "linear")) return case_refuse(b, "final is not linear");
    if (cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(b->root, "inputs")) != 2 * layers + 1) return case_refuse(b, "%d layers do not match the inputs", layers);
    tf_str_add(&b->text, "y = location_encoder(lonlat");
    for (int i = 0; i < layers; i++) tf_str_printf(&b->text, ", W%d, b%d", i, i);
    tf_str_printf(&b->text, ") {degrees=%d, w0_first=%.9g, w0=%.9g}\n", degrees, tool_json_number(b->attrs, "w0_first", 30.0), tool_json_number(b->attrs, "w0", 1.0));
    return true;
}

/* One x and w with all factors' weights, or x0 x1 .. and w0 w1 ... */
static bool write_manybody(case_builder *b)
{
    const int nu = (int)tool_json_number(b->attrs, "nu", 0.0), lout = (int)tool_json_number(b->attrs, "Lout", 0.0);
    const bool same = case_input(b, "x") != NULL;
    const cJSON *input;
    int known = same;
    if (nu < 1 || nu > 16) return case_refuse(b, "nu is %d; it is from 1 to 16", nu);
    tf_str_add(&b->text, "y = gaunt_manybody(");
    for (int i = 0; !same && i < nu; i++) {
        tf_str_printf(&b->text, "%sx%d", i ? ", " : "", i);
        known++;
    }
    if (same) tf_str_add(&b->text, "x");
    cJSON_ArrayForEach(input, cJSON_GetObjectItemCaseSensitive(b->root, "inputs"))
    {
        if (input->string[0] != 'w') continue;
        tf_str_printf(&b->text, ", %s=%s", input->string, input->string);
        known++;
    }
    if (known != cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(b->root, "inputs"))) return case_refuse(b, "an input is neither a factor nor a weight");
    tf_str_printf(&b->text, ") {lout=%d", lout);
    if (same) tf_str_printf(&b->text, ", order=%d", nu);
    tf_str_add(&b->text, "}\n");
    return true;
}

const case_row gaunt_cases[] = {
    { .op = "sh", .target = "spherical_harmonics", .convert = sh_units },
    { .op = "gaunt_tp", .target = "gaunt_tp", .renames = "Lout=lout", .ignored = "L1 L2 weighted", .convert = product_units },
    { .op = "gaunt_curl_tp", .target = "gaunt_curl_tp", .renames = "Lout=lout", .ignored = "L1 L2" },
    { .op = "gaunt_tp_equivariance", .renames = "y=product y_rot=turned", .ignored = "L1 L2 Lout", .write = write_equivariance },
    { .op = "gaunt_conv", .target = "gaunt_conv", .renames = "Lout=lout", .ignored = "L1 L2 weights" },
    { .op = "gaunt_manybody", .write = write_manybody, .ignored = "nu L Lout same_input" },
    { .op = "cg_full_tp", .target = "cg_full_tp", .renames = "Lout=lout irrep_normalization=normalization", .ignored = "L1 L2 path_order paths" },
    { .op = "sh_to_fourier", .target = "sh_to_fourier", .renames = "F=y", .ignored = "L layout" },
    { .op = "fourier_to_sh", .target = "fourier_to_sh", .renames = "F=f z=y Lout=lout", .ignored = "Lf" },
    { .op = "location_embedding", .target = "location_embedding", .renames = "e=y" },
    { .op = "location_encoder", .write = write_encoder, .ignored = "degrees layers w0_first w0 final" },
    { .op = "wigner_d", .target = "wigner_d", .renames = "R=r D=y", .ignored = "packing" },
    { .op = "sh_rotate", .target = "sh_rotate", .renames = "R=r", .ignored = "L" },
    { .op = "gaunt_coeffs", .target = "gaunt_coefficients", .renames = "L1=l1 L2=l2 L3=l3 G=y" },
    { .op = "w3j_table", .write = write_w3j, .ignored = "packing lmax" },
    { .op = "gaunt_w3j_const", .target = "gaunt_norms", .renames = "g=y" },
    { .op = NULL }
};
