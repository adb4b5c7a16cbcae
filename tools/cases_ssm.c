/* cases_ssm.c - reference cases of the state-space family. */
#include "case.h"

/* Phases of eigenvectors are free, so cases hold what does not depend on them. */
static bool write_nplr(case_builder *b)
{
    tf_str_printf(&b->text, "modes, b, p, v = hippo_nplr() {basis=%s, n=%.0f, theta=%.17g}\n", tool_json_text(b->attrs, "basis", "legs"),
                  tool_json_number(b->attrs, "N", 0.0), tool_json_number(b->attrs, "theta", 0.0));
    tf_str_add(&b->text, "lam = reshape(modes) {shape=[-1]}\nabsB = abs(b)\nabsP = abs(p)\nq = conj(p)\nB_conjP = mul(b, q)\n");
    return true;
}

/* Host rows want constants; a diagonal discretisation stays on the device. */
const case_row ssm_cases[] = {
    { .op = "hippo_matrix", .target = "hippo_matrix", .renames = "N=n A=a B=b P=p" },
    { .op = "hippo_nplr", .ignored = "half basis N theta", .write = write_nplr },
    { .op = "s4d_init", .target = "s4d_init", .renames = "N=n" },
    { .op = "discretize", .target = "discretize", .renames = "A=a lam=a B=b Abar=abar Bbar=bbar", .constants = "A B dt" },
    { .op = "ptd", .target = "hippo_ptd", .renames = "E=e C=c L=length K=kernel condV=condition", .ignored = "N sort", .constants = "E C" },
    { .op = NULL }
};
