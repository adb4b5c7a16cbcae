/* cases_gaunt.c - reference cases of spherical harmonics and equivariant products. */
#include "case.h"

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

const case_row gaunt_cases[] = {
    { .op = "gaunt_coeffs", .target = "gaunt_coefficients", .renames = "L1=l1 L2=l2 L3=l3 G=y" },
    { .op = "w3j_table", .write = write_w3j, .ignored = "packing lmax" },
    { .op = "gaunt_w3j_const", .target = "gaunt_norms", .renames = "g=y" },
    { .op = NULL }
};
