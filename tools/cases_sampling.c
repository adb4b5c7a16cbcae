/* cases_sampling.c - reference cases that sample: diffusion.sample and its relatives, written as loops over
 * the rows of the case's solver table.
 *
 * The table itself is computed here from the statements written so far, so that a loop only carries the parts of the state that
 * its solver has. Denoisers are the analytic ones of the library; `prediction` sends their result through the
 * form in which a network would say it. */
#include "case.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cases_sampling.h"
#include "graph/graph.h"
#include "graph/text.h"

/* ---- denoisers ---- */

typedef struct denoiser { const char *kind, *op, *operands; } denoiser;
static const denoiser denoisers[] = {
    { "gaussian", "denoise_gaussian", "mu U lam" }, { "gaussian_diag", "denoise_diagonal", "mu var" }, { "gmm", "denoise_mixture", "weights means stds" },
    { "gaussian_pair", "denoise_gaussian", "mu U lam" },
};

bool case_denoiser(case_builder *b, case_denoiser_form *out)
{
    const cJSON *d = cJSON_GetObjectItemCaseSensitive(b->attrs, "denoiser");
    const char *kind = tool_json_text(d, "kind", "");
    *out = (case_denoiser_form){ .prediction = tool_json_text(d, "prediction", "x0") };
    if (!case_known_attributes(b, d, "kind prediction")) return false;
    for (size_t i = 0; i < TF_COUNT(denoisers); i++)
        if (!strcmp(denoisers[i].kind, kind)) {
            out->op = denoisers[i].op;
            out->operands = denoisers[i].operands;
            out->pair = !strcmp(kind, "gaussian_pair");
        }
    return out->op ? true : case_refuse(b, "denoiser.kind=\"%s\" is not known to op %s", kind, b->row->op);
}

void case_add_denoiser(case_builder *b, const case_denoiser_form *form, const char *result, const char *x, const char *alpha, const char *sigma, const char *prefix,
                       const char *tangent)
{
    tf_str_printf(&b->text, "%s = %s(%s, %s, %s", result, form->op, x, alpha, sigma);
    for (const char *p = form->operands; *p; p += strcspn(p, " "), p += *p == ' ') tf_str_printf(&b->text, ", %s%.*s", prefix, (int)strcspn(p, " "), p);
    if (tangent) tf_str_printf(&b->text, ", tangent=%s", tangent);
    tf_str_add(&b->text, ")\n");
}

/* ---- the table ---- */

typedef struct table {
    double *row;    /* [rows][TUFF_ROW_COLUMNS] */
    int *end;       /* last row of each step */
    int rows, steps;
} table;

static double *values_of(case_builder *b, tuff_graph *g, const char *name, size_t *n)
{
    const tf_port *p = tf_port_find(g, 1u << TF_PORT_OUTPUT, name);
    uint64_t count = 0;
    if (!p || !tf_count_bound(g, tf_type_of(g, p->value), &count)) return NULL;
    double *v = tf_arena_array(b->arena, double, (size_t)count + 1);
    *n = (size_t)count;
    return v && !tuff_host_value((tuff_tensor){ g, p->value }, v, (size_t)count) ? v : NULL;
}

/* `table, ends` of the statements so far. */
static bool read_table(case_builder *b, table *t)
{
    char message[256];
    size_t n = 0, steps = 0;
    tuff_graph *g = NULL;
    const char *text = tf_arena_printf(b->arena, "%s\noutput table\noutput ends\n", b->text.data);
    if (!text || tuff_graph_parse(text, strlen(text), NULL, &g, message, sizeof message)) return case_refuse(b, "%s", text ? message : "out of memory");
    t->row = values_of(b, g, "table", &n);
    const double *ends = values_of(b, g, "ends", &steps);
    tuff_graph_destroy(g);
    t->rows = (int)(n / TUFF_ROW_COLUMNS);
    t->steps = (int)steps;
    t->end = tf_arena_array(b->arena, int, steps + 1);
    if (!t->row || !ends || !t->end) return case_refuse(b, "the solver table could not be computed");
    for (size_t i = 0; i < steps; i++) t->end[i] = (int)ends[i];
    return true;
}

/* ---- rows as loops ---- */

typedef struct sampling {
    case_builder *b;
    case_denoiser_form form;
    table t;
    const char *start, *shape;   /* name of the first state; "8, 16" */
    const char *guidance;        /* "cfg", "apg" or NULL */
    const cJSON *params;
    const char *noise;           /* the noise input, NULL: from the generator by `random` */
    const char *random;          /* attributes of normal() */
    const char *bias;            /* rows added by the network and taken off again */
    bool own_network;            /* the denoiser is gaussian_flow to `flow_end`: a consistency function */
    double flow_end;
    bool base, noisy, apg;       /* parts of the state */
    bool direct;                 /* the denoisers' D is used as it is */
    int history;
} sampling;

static const double *row_at(const sampling *s, int r) { return s->t.row + (size_t)r * TUFF_ROW_COLUMNS; }

/* Sending D through an output of the network adds the rounding of px x to it. Where that is many times D, as for eps at little signal
 * or much noise, a case would measure its own detour. */
static bool blurs(const double *row)
{
    enum { MOST = 16 };
    return row[TUFF_ROW_EVAL] != 0 && !(fabs(row[TUFF_ROW_PX]) * hypot(row[TUFF_ROW_ALPHA], row[TUFF_ROW_SIGMA]) <= MOST);
}

static void find_parts(sampling *s)
{
    s->apg = s->form.pair && s->guidance && !strcmp(s->guidance, "apg");
    s->direct = s->form.prediction && !strcmp(s->form.prediction, "x0");
    for (int r = 0; r < s->t.rows; r++) {
        const double *row = row_at(s, r);
        s->direct = s->direct || blurs(row);
        s->base = s->base || memcmp(row + TUFF_ROW_X, row + TUFF_ROW_Y, 7 * sizeof *row);
        s->noisy = s->noisy || row[TUFF_ROW_NOISE] >= 0;
        for (int k = 1; k <= 3; k++)
            if (row[TUFF_ROW_X + 2 + k] != 0 || row[TUFF_ROW_Y + 2 + k] != 0) s->history = TF_MAX(s->history, k);
    }
}

/* One network on the state: its output in the case's form, brought back to D. */
static void add_network(sampling *s, const char *result, const char *prefix)
{
    case_builder *b = s->b;
    if (s->own_network) {
        tf_str_printf(&b->text, "%s = gaussian_flow(y, 1.0, s, 1.0, %.17g, mu, U, lam)\n", result, s->flow_end);
        return;
    }
    case_add_denoiser(b, &s->form, s->direct ? result : tf_arena_printf(b->arena, "%s_net", result), "y", "a", "s", prefix, NULL);
    if (s->direct) return;
    tf_str_printf(&b->text, "%s_said = convert_prediction(y, %s_net, a, s) {from=x0, to=%s}\n%s = solver_denoised(table, y, %s_said, step=r)\n", result, result, s->form.prediction, result, result);
}

static void add_denoised(sampling *s)
{
    tf_str *t = &s->b->text;
    if (s->form.pair) {
        const double w = tool_json_number(s->params, "w", 1.0);
        add_network(s, "dc", "cond_");
        add_network(s, "du", "uncond_");
        if (s->apg)
            tf_str_printf(t, "d, next_buffer = apg(dc, du, momentum=buffer) {scale=%.17g, eta=%.17g, limit=%.17g, beta=%.17g}\n", w, tool_json_number(s->params, "eta", 0.0),
                          tool_json_number(s->params, "r", 0.0), tool_json_number(s->params, "beta", 0.0));
        else
            tf_str_printf(t, "d = cfg(du, dc, scale=%.17g)\n", w);
    } else if (s->bias) {
        add_network(s, "exact", "");
        tf_str_printf(t, "b = gather(%s, gather(step_of, r) {axis=0}) {axis=0}\nbiased = add(exact, b)\nd = sub(biased, b)\n", s->bias);
    } else
        add_network(s, "d", "");
}

static void add_noise(sampling *s)
{
    tf_str *t = &s->b->text;
    if (!s->noisy) return;
    tf_str_printf(t, "draw = cast(gather(flat, add(mul(r, %d), %d)) {axis=0}) {dtype=i32}\n", TUFF_ROW_COLUMNS, TUFF_ROW_NOISE);
    if (s->noise)
        tf_str_printf(t, "z = gather(%s, draw) {axis=0}\n", s->noise);
    else
        tf_str_printf(t, "z = normal(step=draw) {shape=[%s], draw=1, %s}\n", s->shape, s->random);
}

/* Rows [first, end) as a loop from the state named y<first>, x<first>, m1.. to y<end>, .. and states<first>. */
static void add_loop(sampling *s, int first, int end)
{
    tf_str *t = &s->b->text;
    static const char *const memories[] = { "m1", "m2", "m3" }, *const shifted[] = { "m", "m1", "m2" };
    tf_str_printf(t, "y%d", end);
    if (s->base) tf_str_printf(t, ", x%d", end);
    for (int k = 0; k < s->history; k++) tf_str_printf(t, ", %s_%d", memories[k], end);
    if (s->apg) tf_str_printf(t, ", buffer_%d", end);
    tf_str_printf(t, ", states%d, estimates%d = loop %d step i (y = y%d", first, first, end - first, first);
    if (s->base) tf_str_printf(t, ", x = x%d", first);
    for (int k = 0; k < s->history; k++) tf_str_printf(t, ", %s = %s_%d", memories[k], memories[k], first);
    if (s->apg) tf_str_printf(t, ", buffer = buffer_%d", first);
    tf_str_printf(t, ") {\nr = add(i, %d)\na = gather(flat, add(mul(r, %d), %d)) {axis=0}\ns = gather(flat, add(mul(r, %d), %d)) {axis=0}\n", first, TUFF_ROW_COLUMNS, TUFF_ROW_ALPHA,
                  TUFF_ROW_COLUMNS, TUFF_ROW_SIGMA);
    add_denoised(s);
    add_noise(s);
    tf_str_printf(t, "next_y, next_x, m = solver_step(table, y, d, step=r%s", s->base ? ", x=x" : "");
    for (int k = 0; k < s->history; k++) tf_str_printf(t, ", %s=%s", memories[k], memories[k]);
    tf_str_printf(t, "%s)\nyield next_y%s", s->noisy ? ", noise=z" : "", s->base ? ", next_x" : "");
    for (int k = 0; k < s->history; k++) tf_str_printf(t, ", %s", shifted[k]);
    tf_str_printf(t, "%s stack next_y, d\n}\n", s->apg ? ", next_buffer" : "");
}

/* A row without evaluation: the state takes noise. Memories stay. */
static void add_noise_row(sampling *s, int r)
{
    tf_str *t = &s->b->text;
    tf_str_printf(t, "one = const i32[] = %d\nr = add(one, 0)\n", r);
    add_noise(s);
    tf_str_printf(t, "y%d, x%d, m = solver_step(table, y%d, y%d, step=r, noise=z)\nstates%d = unsqueeze(y%d) {axes=[0]}\n", r + 1, r + 1, r, r, r, r + 1);
    for (int k = 1; k <= s->history; k++) tf_str_printf(t, "m%d_%d = add(m%d_%d, 0.0)\n", k, r + 1, k, r);
    if (s->apg) tf_str_printf(t, "buffer_%d = add(buffer_%d, 0.0)\n", r + 1, r);
}

/* The state after row r of the segment that starts at `first`. */
static void add_state(sampling *s, const char *name, int first, int r)
{
    tf_str_printf(&s->b->text, "%s = reshape(slice(states%d) {start=[%d], stop=[%d]}) {shape=[%s]}\n", name, first, r - first, r - first + 1, s->shape);
}

static bool write_rows(sampling *s)
{
    tf_str *t = &s->b->text;
    if (!t->data || !read_table(s->b, &s->t)) return false;
    find_parts(s);
    if (s->bias) {
        tf_str_printf(t, "step_of = const i32[%d] = [", s->t.rows);
        for (int r = 0, step = 0; r < s->t.rows; r++) {
            while (step < s->t.steps - 1 && s->t.end[step] < r) step++;
            tf_str_printf(t, "%s%d", r ? ", " : "", step);
        }
        tf_str_add(t, "]\n");
    }
    tf_str_printf(t, "flat = reshape(table) {shape=[-1]}\ny0 = add(%s, 0.0)\nx0 = add(%s, 0.0)\nzero = mul(%s, 0.0)\n", s->start, s->start, s->start);
    for (int k = 1; k <= s->history; k++) tf_str_printf(t, "m%d_0 = add(zero, 0.0)\n", k);
    if (s->apg) tf_str_add(t, "buffer_0 = add(zero, 0.0)\n");
    for (int r = 0; r < s->t.rows;) {
        int end = r;
        while (end < s->t.rows && row_at(s, end)[TUFF_ROW_EVAL] != 0) end++;
        const int next = end > r ? end : r + 1;
        if (end > r) add_loop(s, r, end); else add_noise_row(s, r);
        for (int k = 0; k < s->t.steps; k++)
            if (s->t.end[k] >= r && s->t.end[k] < next) add_state(s, tf_arena_printf(s->b->arena, "x_step%d", k), r, s->t.end[k]);
        r = next;
    }
    tf_str_printf(t, "x_final = reshape(y%d) {shape=[%s]}\n", s->t.rows, s->shape);
    return true;
}

const char *case_shape(case_builder *b, const cJSON *list)
{
    tf_str s;
    tf_str_init(&s, NULL);
    const cJSON *item;
    cJSON_ArrayForEach(item, list) tf_str_printf(&s, item == list->child ? "%.0f" : ", %.0f", item->valuedouble);
    const char *out = tf_arena_string(b->arena, s.data ? s.data : "");
    tf_str_release(&s);
    return out;
}

static const char *input_shape(case_builder *b, const char *input) { return case_shape(b, cJSON_GetObjectItemCaseSensitive(case_input(b, input), "shape")); }

/* ---- diffusion.sample ---- */

static bool add_table(case_builder *b, const cJSON *params, const char *prediction)
{
    const char *solver = tool_json_text(b->attrs, "solver", ""), *variant = tool_json_text(params, "variant", ""), *variance = tool_json_text(params, "variance", "");
    const char *guidance = tool_json_text(params, "guidance", ""), *process = tool_json_text(b->attrs, "process", NULL);
    const cJSON *eta = cJSON_GetObjectItemCaseSensitive(params, "eta"), *noise = cJSON_GetObjectItemCaseSensitive(params, "s_noise");
    tf_str *t = &b->text;
    if (!case_known_attributes(b, params, "eta s_noise order variant r variance s_churn s_tmin s_tmax guidance w beta note")) return false;
    if (!strcmp(solver, "euler_ancestral") && cJSON_IsNumber(eta) && eta->valuedouble == 0) solver = "ddim"; /* the same without noise */
    tf_str_printf(t, "table, ends = solver_table(sigmas%s) {solver=%s, prediction=%s", case_input(b, "alphas") ? ", alphas=alphas" : "", solver, prediction);
    if (process) tf_str_printf(t, ", process=%s", process);
    if (cJSON_IsNumber(eta) && strcmp(guidance, "apg")) tf_str_printf(t, ", eta=%.17g", eta->valuedouble);
    if (cJSON_IsNumber(noise)) tf_str_printf(t, ", noise_scale=%.17g", noise->valuedouble ? noise->valuedouble : 1e-300);
    static const char *const numbers[] = { "order", "r", "s_churn", "s_tmin", "s_tmax" };
    for (size_t i = 0; i < TF_COUNT(numbers); i++) {
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(params, numbers[i]);
        if (cJSON_IsNumber(item) && !(i == 1 && !strcmp(guidance, "apg"))) tf_str_printf(t, ", %s=%.17g", numbers[i], item->valuedouble);
    }
    if (!strcmp(variant, "heun")) tf_str_add(t, ", heun=true");
    if (!strcmp(variant, "bh1")) tf_str_add(t, ", bh1=true");
    if (!strcmp(variance, "fixed_large")) tf_str_add(t, ", large_variance=true");
    tf_str_add(t, "}\n");
    if (*variant && strcmp(variant, "heun") && strcmp(variant, "bh1") && strcmp(variant, "midpoint") && strcmp(variant, "bh2"))
        return case_refuse(b, "solver_params.variant=\"%s\" is not known to op %s", variant, b->row->op);
    if (*variance && strcmp(variance, "fixed_large") && strcmp(variance, "fixed_small"))
        return case_refuse(b, "solver_params.variance=\"%s\" is not known to op %s", variance, b->row->op);
    if (*guidance && strcmp(guidance, "cfg") && strcmp(guidance, "apg")) return case_refuse(b, "solver_params.guidance=\"%s\" is not known to op %s", guidance, b->row->op);
    return true;
}

static const cJSON *solver_params(const case_builder *b) { return cJSON_GetObjectItemCaseSensitive(b->attrs, "solver_params"); }

static bool write_sample(case_builder *b)
{
    const cJSON *params = solver_params(b);
    sampling s = { .b = b, .start = "x_init", .params = params, .guidance = tool_json_text(params, "guidance", NULL), .noise = "noise" };
    if (!case_denoiser(b, &s.form) || !add_table(b, params, s.form.prediction)) return false;
    if (case_input(b, "x_init")) {
        s.shape = input_shape(b, "x_init");
    } else {
        const unsigned long long seed = (unsigned long long)tool_json_number(b->attrs, "seed_hi", 0.0) << 32 | (unsigned long long)tool_json_number(b->attrs, "seed_lo", 0.0);
        s.shape = case_shape(b, cJSON_GetObjectItemCaseSensitive(b->attrs, "shape"));
        s.random = tf_arena_printf(b->arena, "seed=%llu, stream=%.0f", seed, tool_json_number(b->attrs, "stream", 0.0));
    }
    if (!case_input(b, "noise")) {
        if (!s.random) s.random = "seed=0";
        s.noise = NULL;
    }
    if (!case_input(b, "x_init"))
        tf_str_printf(&b->text, "noise0 = normal() {shape=[%s], %s}\nfirst = cast(slice(sigmas) {start=[0], stop=[1]}) {dtype=f32}\nx_init = mul(noise0, first)\n", s.shape, s.random);
    return write_rows(&s);
}

/* ---- relatives ---- */

static void add_list(case_builder *b, const char *name, const char *attr)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(b->attrs, attr);
    tf_str_printf(&b->text, "%s = const f64[%d] = ", name, cJSON_GetArraySize(list));
    case_add_value(&b->text, list);
    tf_str_add(&b->text, "\n");
}

static bool write_calibrated(case_builder *b)
{
    sampling s = { .b = b, .start = "x_init", .shape = input_shape(b, "x_init"), .noise = "noise", .bias = "bias" };
    return case_denoiser(b, &s.form) && add_table(b, solver_params(b), s.form.prediction) && write_rows(&s);
}

static bool write_teleport(case_builder *b)
{
    sampling s = { .b = b, .start = "x_skip", .shape = input_shape(b, "x_init"), .noise = "noise" };
    if (!case_denoiser(b, &s.form) || !add_table(b, solver_params(b), s.form.prediction)) return false;
    tf_str_printf(&b->text, "x_skip = gaussian_flow(x_init, 1.0, %.17g, 1.0, %.17g, mean, basis, eig)\n", tool_json_number(b->attrs, "sigma_from", 80.0),
                  tool_json_number(b->attrs, "sigma_skip", 1.0));
    return write_rows(&s);
}

static bool write_consistency(case_builder *b)
{
    sampling s = { .b = b, .start = "x_init", .shape = input_shape(b, "x_init"), .noise = "noise", .own_network = true, .flow_end = tool_json_number(b->attrs, "eps", 0.002) };
    add_list(b, "taus", "taus");
    tf_str_printf(&b->text, "table, ends = solver_table(taus) {solver=consistency, sigma_min=%.17g}\n", s.flow_end);
    if (!write_rows(&s)) return false;
    tf_str_printf(&b->text, "x_onestep = reshape(slice(estimates0) {start=[0], stop=[1]}) {shape=[%s]}\n", s.shape);
    return true;
}

static bool write_lcm(case_builder *b)
{
    sampling s = { .b = b, .start = "x_init", .shape = input_shape(b, "x_init"), .noise = "noise" };
    if (!case_denoiser(b, &s.form)) return false;
    add_list(b, "times", "timesteps");
    tf_str_printf(&b->text, "table, ends = solver_table(sigmas, alphas=alphas, times=times) {solver=lcm, prediction=%s, sigma_data=%.17g, timestep_scaling=%.17g}\n", s.form.prediction,
                  tool_json_number(b->attrs, "sigma_data", 0.5), tool_json_number(b->attrs, "timestep_scaling", 10.0));
    return write_rows(&s);
}

static bool write_tcd(case_builder *b)
{
    sampling s = { .b = b, .start = "x_init", .shape = input_shape(b, "x_init"), .noise = "noise" };
    if (!case_denoiser(b, &s.form)) return false;
    tf_str_printf(&b->text, "table, ends = solver_table(sigmas, alphas=alphas, alphas_mid=alphas_s, sigmas_mid=sigmas_s) {solver=tcd, prediction=%s}\n", s.form.prediction);
    return write_rows(&s);
}

static bool write_gaussian_ode(case_builder *b)
{
    tf_str_printf(&b->text, "x_to = gaussian_flow(x, 1.0, %.17g, 1.0, %.17g, mu, U, lam)\n", tool_json_number(b->attrs, "sigma_from", 80.0),
                  tool_json_number(b->attrs, "sigma_to", 1.0));
    return true;
}
static bool write_order_test(case_builder *b)
{
    tf_str_printf(&b->text, "x_exact = gaussian_flow(x_init, 1.0, 10.0, 1.0, %.17g, mu, U, lam)\n", tool_json_number(b->attrs, "s_end", 0.2));
    return true;
}

/* ---- predictions, preconditioning, guidance ---- */

static bool write_convert(case_builder *b)
{
    const cJSON *to, *list = cJSON_GetObjectItemCaseSensitive(b->attrs, "to");
    const char *from = tool_json_text(b->attrs, "from", "x0");
    const bool flow = case_input(b, "t") != NULL;
    if (flow) tf_str_add(&b->text, "one_minus_t = map(t) {expr=\"1.0 - t\"}\n");
    cJSON_ArrayForEach(to, list)
    {
        if (!cJSON_IsString(to)) return case_refuse(b, "attribute \"to\" should be a list of names");
        tf_str_printf(&b->text, "%s = convert_prediction(x, %s, %s) {from=%s, to=%s}\n", to->valuestring, from, flow ? "one_minus_t, t" : "alphas, sigmas", from, to->valuestring);
    }
    return true;
}

static bool write_precondition(case_builder *b)
{
    const char *kind = tool_json_text(b->attrs, "kind", "");
    if (strcmp(kind, "edm") && strcmp(kind, "consistency")) return case_refuse(b, "kind=\"%s\" is not known to op %s", kind, b->row->op);
    tf_str_add(&b->text, "c_in_x, c_noise = precondition_input(x, sigmas)");
    case_add_attributes(b, "sigma_data", NULL);
    tf_str_add(&b->text, "denoised = precondition(x, F, sigmas)");
    case_add_attributes(b, "sigma_data sigma_min", tf_arena_printf(b->arena, "kind=%s", kind));
    return true;
}

static bool write_threshold(case_builder *b)
{
    if (strcmp(tool_json_text(b->attrs, "kind", "dynamic"), "dynamic")) return case_refuse(b, "kind=\"%s\" is not known to op %s", tool_json_text(b->attrs, "kind", ""), b->row->op);
    tf_str_add(&b->text, "d_out = dynamic_threshold(d)");
    case_add_attributes(b, "quantile max=most", NULL);
    return true;
}

static bool write_guidance(case_builder *b)
{
    const char *kind = tool_json_text(b->attrs, "kind", "");
    tf_str *t = &b->text;
    if (!strcmp(kind, "apg")) {
        tf_str_printf(t, "denoised, momentum_out = apg(d_cond, d_uncond%s)", case_input(b, "momentum") ? ", momentum=momentum" : "");
        case_add_attributes(b, "w=scale eta r=limit beta", NULL);
    } else if (!strcmp(kind, "cfg_rescale")) {
        tf_str_add(t, "guided = cfg_rescale(d_cond, d_uncond)");
        case_add_attributes(b, "w=scale phi=rescale", NULL);
    } else if (!strcmp(kind, "cfg_zero_star")) {
        tf_str_add(t, "guided = cfg_zero_star(v_cond, v_uncond)");
        case_add_attributes(b, "w=scale", NULL);
    } else if (!strcmp(kind, "cfg")) {
        tf_str_printf(t, "guided = cfg(d_uncond, d_cond, scale=%.17g)\n", tool_json_number(b->attrs, "w", 1.0));
    } else if (!strcmp(kind, "classifier")) {
        tf_str_printf(t, "denoised = classifier_guidance(d, grad_logp, %.17g, %.17g)", tool_json_number(b->attrs, "alpha", 1.0), tool_json_number(b->attrs, "sigma", 1.0));
        case_add_attributes(b, "scale", cJSON_HasObjectItem(b->attrs, "scale") ? NULL : "scale=1");
    } else
        return case_refuse(b, "kind=\"%s\" is not known to op %s", kind, b->row->op);
    return true;
}

#define SAMPLE_INFORMATION "schedule steps nfe noise_index rng "
const case_row sampling_cases[] = {
    { .op = "diffusion.sample", .write = write_sample, .constants = "sigmas alphas",
      .ignored = SAMPLE_INFORMATION "solver solver_params process denoiser seed_lo seed_hi stream shape" },
    { .op = "diffusion.calibrated_sample", .write = write_calibrated, .constants = "sigmas alphas", .ignored = SAMPLE_INFORMATION "solver solver_params process denoiser" },
    { .op = "diffusion.teleport_sample", .write = write_teleport, .constants = "sigmas alphas", .ignored = SAMPLE_INFORMATION "solver solver_params process denoiser sigma_from sigma_skip rank" },
    { .op = "diffusion.consistency_sample", .write = write_consistency, .ignored = "eps taus consistency_fn" },
    { .op = "diffusion.lcm_sample", .write = write_lcm, .constants = "sigmas alphas", .ignored = "timesteps sigma_data timestep_scaling denoiser" },
    { .op = "diffusion.tcd_sample", .write = write_tcd, .constants = "sigmas alphas sigmas_s alphas_s", .ignored = "timesteps gamma s_index denoiser" },
    { .op = "diffusion.gaussian_ode", .write = write_gaussian_ode, .ignored = "sigma_from sigma_to" },
    { .op = "diffusion.order_test", .write = write_order_test, .ignored = "N grid s_end solvers check unipc denoiser" },
    { .op = "diffusion.convert", .write = write_convert, .ignored = "from to per_sample v process" },
    { .op = "diffusion.precondition", .write = write_precondition, .ignored = "kind sigma_data sigma_min" },
    { .op = "diffusion.threshold", .write = write_threshold, .ignored = "kind quantile max" },
    { .op = "diffusion.guidance", .write = write_guidance, .ignored = "kind w eta r beta phi scale alpha sigma" },
    { .op = NULL }
};
