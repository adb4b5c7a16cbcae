/* cases_sde.c - reference cases of score-based SDEs: predictor-corrector samplers with inpainting and colourisation. */
#include "case.h"

#include <string.h>

#include "cases_sampling.h"

typedef struct pc_case {
    case_denoiser_form form;
    const char *shape;      /* "8, 16" */
    int steps, corrector_steps;
    const char *corrector;  /* attributes of langevin_step */
    bool mask, colour;
} pc_case;

static void add_score(case_builder *b, const pc_case *c)
{
    case_add_denoiser(b, &c->form, "d", "x", "a", "s", "", NULL);
    tf_str_add(&b->text, "g = convert_prediction(x, d, a, s) {from=x0, to=score}\n");
}

/* `name` with its known elements replaced; z: with noise. */
static void add_replacement(case_builder *b, const pc_case *c, const char *name, bool noise)
{
    tf_str *t = &b->text;
    const char *known = noise ? "add(mul(a, truth), mul(s, z))" : "mul(a, truth)";
    if (c->colour) {
        tf_str_printf(t, "t = permute(matmul(permute(%s) {axes=[0,2,3,1]}, M)) {axes=[0,3,1,2]}\n", name);
        tf_str_printf(t, "t = add(mul(t, sub(1.0, m)), mul(%s, m))\n", known);
        tf_str_printf(t, "%s = permute(matmul(permute(t) {axes=[0,2,3,1]}, M) {transpose_b=true}) {axes=[0,3,1,2]}\n", name);
    } else
        tf_str_printf(t, "%s = add(mul(%s, sub(1.0, mask)), mul(%s, mask))\n", name, name, known);
}

static void add_step(case_builder *b, const pc_case *c)
{
    tf_str *t = &b->text;
    static const struct { const char *name; int column; } columns[] = {
        { "a", TUFF_PC_ALPHA }, { "s", TUFF_PC_SIGMA }, { "cx", TUFF_PC_X }, { "cs", TUFF_PC_SCORE }, { "cn", TUFF_PC_NOISE }, { "ca", TUFF_PC_CORRECTOR } };
    for (size_t k = 0; k < TF_COUNT(columns); k++) tf_str_printf(t, "%s = gather(flat, add(mul(i, %d), %d)) {axis=0}\n", columns[k].name, TUFF_PC_COLUMNS, columns[k].column);
    for (int k = 0; k < c->corrector_steps; k++) {
        add_score(b, c);
        tf_str_printf(t, "z = gather(noise_corrector, add(mul(i, %d), %d)) {axis=0}\nx, mean = langevin_step(x, g, z, ca) {%s}\n", c->corrector_steps, k, c->corrector);
    }
    if (c->mask && c->corrector_steps) {
        tf_str_add(t, "z = gather(noise_replace, mul(i, 2)) {axis=0}\n");
        add_replacement(b, c, "x", true);
    }
    add_score(b, c);
    tf_str_add(t, "z = gather(noise_predictor, i) {axis=0}\nmean = add(mul(cx, x), mul(cs, g))\nx = add(mean, mul(cn, z))\n");
    if (!c->mask) return;
    tf_str_add(t, "z = gather(noise_replace, add(mul(i, 2), 1)) {axis=0}\n");
    add_replacement(b, c, "x", true);
    add_replacement(b, c, "mean", false);
}

static bool read_case(case_builder *b, pc_case *c)
{
    const char *corrector = tool_json_text(b->attrs, "corrector", "none"), *norm = tool_json_text(b->attrs, "norm", "batch_mean");
    c->steps = (int)tool_json_number(b->attrs, "N", 0.0);
    c->corrector_steps = strcmp(corrector, "none") ? (int)tool_json_number(b->attrs, "corrector_steps", 1.0) : 0;
    c->shape = case_shape(b, cJSON_GetObjectItemCaseSensitive(case_input(b, "x_init"), "shape"));
    c->corrector = tf_arena_printf(b->arena, "snr=%.17g, per_sample=%s", tool_json_number(b->attrs, "snr", 0.16), strcmp(norm, "per_sample") ? "false" : "true");
    if (strcmp(corrector, "none") && strcmp(corrector, "langevin")) return case_refuse(b, "corrector=\"%s\" is not known to op %s", corrector, b->row->op);
    if (strcmp(norm, "per_sample") && strcmp(norm, "batch_mean")) return case_refuse(b, "norm=\"%s\" is not known to op %s", norm, b->row->op);
    return case_denoiser(b, &c->form);
}

static bool write_pc_case(case_builder *b, pc_case *c)
{
    tf_str *t = &b->text;
    const cJSON *output;
    if (!read_case(b, c)) return false;
    tf_str_printf(t, "table = pc_table()");
    case_add_attributes(b, "N=n t_eps=t_end sigma_min sigma_max beta_min beta_max probability_flow",
                        tf_arena_printf(b->arena, "sde=%s, predictor=%s", tool_json_text(b->attrs, "sde", "vp"), tool_json_text(b->attrs, "predictor", "reverse_diffusion")));
    tf_str_add(t, "flat = reshape(table) {shape=[-1]}\n");
    if (c->colour) {
        tf_str_add(t, "truth = permute(matmul(permute(data) {axes=[0,2,3,1]}, M)) {axes=[0,3,1,2]}\n"
                      "m = const f32[3,1,1] = [1, 0, 0]\nx0 = add(x_init, 0.0)\n");
    } else if (c->mask)
        tf_str_add(t, "truth = add(data, 0.0)\nx0 = add(mul(x_init, sub(1.0, mask)), mul(data, mask))\n");
    else
        tf_str_add(t, "x0 = add(x_init, 0.0)\n");
    tf_str_printf(t, "noisy, final, states = loop %d step i (x = x0, mean = x0) {\n", c->steps);
    add_step(b, c);
    tf_str_printf(t, "yield x, mean stack x\n}\nx_final = reshape(final) {shape=[%s]}\nx_noisy_final = reshape(noisy) {shape=[%s]}\n", c->shape, c->shape);
    cJSON_ArrayForEach(output, cJSON_GetObjectItemCaseSensitive(b->root, "outputs"))
    {
        int k;
        if (sscanf(output->string, "x_step%d", &k) == 1)
            tf_str_printf(t, "x_step%d = reshape(slice(states) {start=[%d], stop=[%d]}) {shape=[%s]}\n", k, k, k + 1, c->shape);
    }
    return true;
}

static bool write_pc_sample(case_builder *b) { return write_pc_case(b, &(pc_case){ .mask = false }); }
static bool write_pc_inpaint(case_builder *b) { return write_pc_case(b, &(pc_case){ .mask = true }); }
static bool write_pc_colorize(case_builder *b) { return write_pc_case(b, &(pc_case){ .mask = true, .colour = true }); }

#define PC_ATTRIBUTES "sde N predictor corrector snr corrector_steps norm t_eps sigma_min sigma_max beta_min beta_max probability_flow denoiser order return "
const case_row sde_cases[] = {
    { .op = "diffusion.pc_sample", .write = write_pc_sample, .ignored = PC_ATTRIBUTES },
    { .op = "diffusion.pc_inpaint", .write = write_pc_inpaint, .ignored = PC_ATTRIBUTES "replace_mean_from noise_replace_index flatten" },
    { .op = "diffusion.pc_colorize", .write = write_pc_colorize, .ignored = PC_ATTRIBUTES "replace_mean_from noise_replace_index flatten" },
    { .op = NULL }
};
