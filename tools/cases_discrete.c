/* cases_discrete.c - reference cases of discrete diffusion and parallel decoding. */
#include "case.h"

#include <string.h>

static bool write_sample_tokens(case_builder *b)
{
    tf_str_add(&b->text, "probs = token_probabilities(logits)");
    case_add_attributes(b, "temperature top_k top_p", NULL);
    tf_str_add(&b->text, "token = sample_token(probs, u)\n");
    return true;
}

/* logits of the cases' toy model: TA[z[i-1]] + TB[z[i+1]] + TP[i], the mask outside. */
static void add_toy_logits(case_builder *b, const char *tokens, const char *mask)
{
    tf_str_printf(&b->text, "left = slice(pad(%s) {lo=[0,1], hi=[0,0], value=%s}) {start=[0], stop=[-1], axes=[1]}\n", tokens, mask);
    tf_str_printf(&b->text, "right = slice(pad(%s) {lo=[0,0], hi=[0,1], value=%s}) {start=[1], stop=[2147483647], axes=[1]}\n", tokens, mask);
    tf_str_add(&b->text, "logits = add(add(gather(TA, left) {axis=0}, gather(TB, right) {axis=0}), TP)\n");
}

/* dim of an output. */
static int output_dim(const case_builder *b, const char *name, int i)
{
    const cJSON *shape = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(b->root, "outputs"), name), "shape");
    const cJSON *dim = cJSON_GetArrayItem(shape, i);
    return dim ? (int)dim->valuedouble : 0;
}

static bool write_confidence(case_builder *b)
{
    const int batch = output_dim(b, "tokens_final", 0), length = output_dim(b, "tokens_final", 1), steps = (int)tool_json_number(b->attrs, "steps", 0.0);
    const char *mask = tf_arena_printf(b->arena, "%.0f", tool_json_number(b->attrs, "mask_id", 0.0));
    tf_str *t = &b->text;
    tf_str_printf(t, "start = const i32[%d,%d] = %s\ncounts = const i32[%d] = ", batch, length, mask, steps);
    case_add_value(t, cJSON_GetObjectItemCaseSensitive(b->attrs, "unmask_per_step"));
    tf_str_printf(t, "\nfinal, tokens_steps = loop %d step i (z = start) {\n", steps);
    add_toy_logits(b, "z", mask);
    tf_str_printf(t, "n = confidence_unmask(z, logits, gather(counts, i) {axis=0}) {mask=%s}\nyield n stack n\n}\ntokens_final = add(final, 0)\n", mask);
    return true;
}

const case_row discrete_cases[] = {
    { .op = "discrete.sample", .write = write_sample_tokens, .ignored = "temperature top_k top_p order" },
    { .op = "discrete.masked_diffusion_sample", .zoo = "diffusion/masked_text",
      .params = "batch=u_token.1 length=TP.0 v=$V mask=$mask_id steps=$steps", .ignored = "logits" },
    { .op = "discrete.masked_confidence_sample", .write = write_confidence, .ignored = "mask_id V steps unmask_per_step logits" },
    { .op = "discrete.jacobi_decode", .zoo = "diffusion/jacobi", .params = "v=$V length=$L shown=$iterations", .ignored = "logits init stop" },
    { .op = "discrete.speculative_accept", .ignored = "K", .graph = "tokens, n_accepted = speculative_accept(draft, q, p, r, u)\n" },
    { .op = "discrete.speculative_jacobi_step", .ignored = "L", .graph = "tokens, n = speculative_jacobi_step(draft, q, p, r, u)\nn_accepted = reshape(n) {shape=[1]}\n" },
    { .op = "diffusion.timestep_search", .zoo = "diffusion/timestep_search", .params = "n=cost.0 edges=$edges", .constants = "cost", .ignored = "kind" },
    { .op = NULL }
};
