/* cases_diffusion.c - reference cases of the diffusion family: schedules and solver tables. The cases that sample are in
 * cases_sampling.c.
 *
 * Cases call one op by kinds; ours are ops of their own, so graphs are written here. Host rows give f64: casts make the f32 of the cases. */
#include "case.h"

#include <string.h>

static bool has(const case_builder *b, const char *attr) { return cJSON_HasObjectItem(b->attrs, attr); }

/* "{a=1, b=2}" of the attributes in `names` ("n sigma_min=low": ours after =) that the case has, and `more`. */
void case_add_attributes(case_builder *b, const char *names, const char *more)
{
    const char *separator = " {";
    for (const char *p = names; *p; p += strcspn(p, " "), p += *p == ' ') {
        const size_t length = strcspn(p, " "), own = strcspn(p, "= ");
        const char *name = tf_arena_string_n(b->arena, p, own);
        const cJSON *item = name ? cJSON_GetObjectItemCaseSensitive(b->attrs, name) : NULL;
        if (!item || cJSON_IsNull(item) || cJSON_IsString(item)) continue;
        tf_str_add(&b->text, separator);
        if (own < length) tf_str_add_n(&b->text, p + own + 1, length - own - 1);
        else tf_str_add(&b->text, name);
        tf_str_add(&b->text, "=");
        case_add_value(&b->text, item);
        separator = ", ";
    }
    if (more && *more) tf_str_printf(&b->text, "%s%s", separator, more);
    tf_str_add(&b->text, (more && *more) || *separator == ',' ? "}\n" : "\n");
}

/* ---- schedules ---- */

typedef struct schedule_row {
    const char *kind, *results, *op, *attributes, *more;
    const char *allowed; /* further attributes of the case, information or read by C */
} schedule_row;

#define VP "beta_min beta_max"
static const schedule_row schedules[] = {
    { "karras", "sigmas", "schedule_karras()", "n sigma_min sigma_max rho", NULL, "" },
    { "exponential", "sigmas", "schedule_exponential()", "n sigma_min sigma_max", NULL, "" },
    { "polyexponential", "sigmas", "schedule_exponential()", "n sigma_min sigma_max rho", NULL, "" },
    { "vp", "sigmas", "schedule_vp()", "n beta_min beta_max eps_s=t_end", NULL, "beta_d" },
    { "beta_linear", "betas alphas_cumprod sigmas_ve", "schedule_beta()", "T=steps beta_start beta_end", "kind=linear", "" },
    { "beta_scaled_linear", "betas alphas_cumprod sigmas_ve", "schedule_beta()", "T=steps beta_start beta_end", "kind=scaled_linear", "" },
    { "beta_cosine", "betas alphas_cumprod sigmas_ve", "schedule_beta()", "T=steps", "kind=cosine", "beta_start beta_end" },
    { "vp_sde_marginals", "alphas sigmas lambdas t_of_lambda sigmas_subvp", "vp_marginals()", "n t_start t_end " VP, NULL, "t" },
    { "logsnr_uniform_vp", "alphas sigmas t", "schedule_logsnr()", "n t_start t_end " VP, NULL, "" },
    { "beta_distribution", "sigmas", "schedule_beta_distribution()", "n sigma_min sigma_max alpha beta", NULL, "" },
};

static bool in_list(const char *list, const char *word)
{
    const size_t n = strlen(word);
    for (const char *p = list; p && *p; p += strcspn(p, " "), p += *p == ' ')
        if (!strncmp(p, word, n) && (p[n] == ' ' || !p[n] || p[n] == '=')) return true;
    return false;
}

bool case_known_attributes(case_builder *b, const cJSON *attrs, const char *known)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, attrs)
    {
        if (!in_list(known, item->string) && !cJSON_IsString(item) && !case_is_result(item->string))
            return case_refuse(b, "attribute \"%s\" is not known to op %s", item->string, b->row->op);
    }
    return true;
}

/* "sigmas = cast(sigmas_64) {dtype=f32}" for each name. */
static void add_casts(case_builder *b, const char *names)
{
    for (const char *p = names; *p; p += strcspn(p, " "), p += *p == ' ') {
        const int n = (int)strcspn(p, " ");
        tf_str_printf(&b->text, "%.*s = cast(%.*s_64) {dtype=f32}\n", n, p, n, p);
    }
}

static void add_results(case_builder *b, const char *names)
{
    for (const char *p = names; *p; p += strcspn(p, " "), p += *p == ' ') tf_str_printf(&b->text, "%s%.*s_64", p == names ? "" : ", ", (int)strcspn(p, " "), p);
    tf_str_add(&b->text, " = ");
}

static bool write_simple_schedule(case_builder *b, const schedule_row *s)
{
    const char *known = tf_arena_printf(b->arena, "kind %s %s", s->attributes, s->allowed);
    if (!known || !case_known_attributes(b, b->attrs, known)) return false;
    if (has(b, "beta_d")) /* the slope of beta */
        cJSON_AddNumberToObject(b->attrs, "beta_max", tool_json_number(b->attrs, "beta_d", 19.9) + tool_json_number(b->attrs, "beta_min", 0.1));
    if (has(b, "beta_d")) cJSON_DeleteItemFromObjectCaseSensitive(b->attrs, "beta_d");
    add_results(b, s->results);
    tf_str_add(&b->text, s->op);
    case_add_attributes(b, s->attributes, s->more);
    add_casts(b, s->results);
    return true;
}

static bool write_timesteps(case_builder *b)
{
    static const char *const spacings[] = { "linspace", "leading", "trailing" };
    if (!case_known_attributes(b, b->attrs, "kind T n steps_offset")) return false;
    for (size_t i = 0; i < TF_COUNT(spacings); i++) {
        tf_str_printf(&b->text, "%s = timestep_spacing()", spacings[i]);
        case_add_attributes(b, i == 1 ? "n T=steps steps_offset=offset" : "n T=steps", tf_arena_printf(b->arena, "spacing=%s", spacings[i]));
    }
    return true;
}

static bool write_ict(case_builder *b)
{
    if (!case_known_attributes(b, b->attrs, "kind K s0 s1 k N P_mean P_std sigma_min sigma_max rho")) return false;
    tf_str_add(&b->text, "N_of_k = ict_discretization()");
    case_add_attributes(b, "K=total s0 s1", "n=20");
    tf_str_add(&b->text, "sigmas_64, p_64, weights_64 = schedule_ict()");
    case_add_attributes(b, "N=n sigma_min sigma_max rho P_mean=mean P_std=std", NULL);
    add_casts(b, "sigmas p weights");
    return true;
}

static bool write_flow(case_builder *b)
{
    if (!case_known_attributes(b, b->attrs, "kind n shift mu")) return false;
    tf_str_add(&b->text, "sigmas_shift_64 = schedule_flow()");
    case_add_attributes(b, "n shift", NULL);
    tf_str_add(&b->text, "sigmas_dynamic_64 = schedule_flow()");
    case_add_attributes(b, "n mu", NULL);
    add_casts(b, "sigmas_shift sigmas_dynamic");
    return true;
}

static bool write_from_betas(case_builder *b, bool zero_snr)
{
    const char *base = tool_json_text(b->attrs, "base", "beta_scaled_linear");
    if (!case_known_attributes(b, b->attrs, zero_snr ? "kind base T beta_start beta_end" : "kind T n beta_start beta_end rho sigma_min sigma_max t")) return false;
    tf_str_add(&b->text, "betas, products, levels = schedule_beta()");
    case_add_attributes(b, "T=steps beta_start beta_end", tf_arena_printf(b->arena, "kind=%s", strncmp(base, "beta_", 5) ? base : base + 5));
    tf_str_add(&b->text, zero_snr ? "alphas_64, sigmas_64 = rescale_zero_snr(products)\n" : "sigmas_64, alphas_64, timesteps_64 = schedule_karras_on_vp(levels)");
    if (!zero_snr) case_add_attributes(b, "n rho", NULL);
    add_casts(b, zero_snr ? "alphas sigmas" : "sigmas alphas timesteps");
    return true;
}

static bool write_schedule(case_builder *b)
{
    const char *kind = tool_json_text(b->attrs, "kind", "");
    for (size_t i = 0; i < TF_COUNT(schedules); i++)
        if (!strcmp(schedules[i].kind, kind)) return write_simple_schedule(b, &schedules[i]);
    if (!strcmp(kind, "timestep_spacing")) return write_timesteps(b);
    if (!strcmp(kind, "ict")) return write_ict(b);
    if (!strcmp(kind, "flow")) return write_flow(b);
    if (!strcmp(kind, "rescale_zero_snr")) return write_from_betas(b, true);
    if (!strcmp(kind, "karras_on_discrete_vp")) return write_from_betas(b, false);
    if (strcmp(kind, "lcm")) return case_refuse(b, "kind=\"%s\" is not known to op %s", kind, b->row->op);
    if (!case_known_attributes(b, b->attrs, "kind T original_steps n")) return false;
    tf_str_add(&b->text, "timesteps = lcm_timesteps()");
    case_add_attributes(b, "T=steps original_steps=original n", NULL);
    return true;
}

/* ---- solver tables ---- */

/* The case's columns, in its order, from ours. */
static bool write_tables(case_builder *b)
{
    static const struct { const char *name, *attributes; } tables[] = {
        { "euler", "solver=euler" }, { "heun", "solver=heun" },
        { "heun_churn", "solver=heun, s_churn=1e9, s_tmin=0.05, s_tmax=12, noise_scale=1.003" }, { "dpm2", "solver=dpm2" }, { "lms4", "solver=lms, order=4" },
        { "lms3", "solver=lms, order=3" }, { "rk4", "solver=rk4" }, { "euler_ancestral", "solver=euler_ancestral" }, { "dpmpp_2m", "solver=dpmpp_2m" },
        { "dpmpp_2m_sde", "solver=dpmpp_2m, eta=1" }, { "dpmpp_3m", "solver=dpmpp_3m" }, { "dpmpp_3m_sde", "solver=dpmpp_3m, eta=1" }, { "dpmpp_2s", "solver=dpmpp_2s" },
        { "dpmpp_2s_ancestral", "solver=dpmpp_2s, eta=1" }, { "dpmpp_sde", "solver=dpmpp_sde, eta=1, r=0.5" }, { "unipc2", "solver=unipc, order=2" },
        { "unipc3", "solver=unipc, order=3" }, { "ddim", "solver=ddim" },
    };
    for (size_t i = 0; i < TF_COUNT(tables); i++) {
        const char *n = tables[i].name;
        tf_str_printf(&b->text, "t_%s, steps_%s = solver_table(sigmas%s) {%s}\n", n, n, case_input(b, "alphas") ? ", alphas=alphas" : "", tables[i].attributes);
        tf_str_printf(&b->text, "point_%s = slice(t_%s) {start=[0], stop=[3], axes=[1]}\n", n, n);
        tf_str_printf(&b->text, "rest_%s = slice(t_%s) {start=[%d], stop=[%d], axes=[1]}\n", n, n, TUFF_ROW_KX, TUFF_ROW_NOISE);
        tf_str_printf(&b->text, "table_%s = concat(point_%s, rest_%s) {axis=1}\n", n, n, n);
        tf_str_printf(&b->text, "draws_%s = slice(t_%s) {start=[%d], stop=[%d], axes=[1]}\n", n, n, TUFF_ROW_NOISE, TUFF_ROW_COLUMNS);
        tf_str_printf(&b->text, "flat_%s = reshape(draws_%s) {shape=[-1]}\nnoise_%s = cast(flat_%s) {dtype=i32}\n", n, n, n, n);
    }
    return true;
}

const case_row diffusion_cases[] = {
    { .op = "diffusion.schedule", .write = write_schedule,
      .ignored = "kind n T base beta_start beta_end beta_min beta_max beta_d eps_s sigma_min sigma_max rho t t_start t_end alpha beta steps_offset K s0 s1 k N P_mean P_std shift "
                 "mu original_steps" },
    { .op = "diffusion.table", .write = write_tables, .constants = "sigmas alphas", .ignored = "columns noise" },
    { .op = NULL }
};
