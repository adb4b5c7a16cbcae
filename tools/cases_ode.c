/* cases_ode.c - reference cases of adaptive integration: one Dormand-Prince step, probability-flow ODEs, likelihoods. They call the
 * library's C functions, which take callbacks. */
#include "case.h"

#include <math.h>
#include <string.h>

#include "graph/graph.h"

enum { STEPS = 250 }; /* accepted and rejected; cases take at most a fifth of them */

static tuff_tensor named(tuff_graph *g, const char *name)
{
    const tf_port *p = tf_port_find(g, 1u << TF_PORT_INPUT, name);
    return p ? (tuff_tensor){ g, p->value } : (tuff_tensor){ NULL, 0 };
}
static const cJSON *attrs_of(const cJSON *root) { return cJSON_GetObjectItemCaseSensitive(root, "attrs"); }
static double attr(const cJSON *root, const char *name, double otherwise) { return tool_json_number(attrs_of(root), name, otherwise); }
static bool wants(const cJSON *root, const char *output) { return cJSON_HasObjectItem(cJSON_GetObjectItemCaseSensitive(root, "outputs"), output); }
static int dim_of(const cJSON *root, const char *output, int i)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(root, "outputs"), output);
    const cJSON *dim = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(item, "shape"), i);
    return dim ? (int)dim->valuedouble : 0;
}

/* ---- networks of cases ---- */

typedef enum network_kind { GAUSSIAN, DIAGONAL, MIXTURE, NETWORK_KINDS } network_kind;
static const struct { const char *name, *inputs[3]; } network_kinds[NETWORK_KINDS] = {
    { "gaussian", { "mu", "U", "lam" } }, { "gaussian_diag", { "mu", "var", "var" } }, { "gmm", { "weights", "means", "stds" } } };

typedef struct network {
    network_kind kind;
    tuff_tensor a, b, c;         /* its inputs */
    tuff_prediction prediction;
} network;

static bool find_network(tuff_graph *g, const cJSON *root, network *n)
{
    static const char *const forms[] = { "x0", "eps", "v", "score", "flow" };
    const cJSON *d = cJSON_GetObjectItemCaseSensitive(attrs_of(root), "denoiser");
    const char *kind = tool_json_text(d, "kind", ""), *form = tool_json_text(d, "prediction", "score");
    while (n->kind < NETWORK_KINDS && strcmp(network_kinds[n->kind].name, kind)) n->kind++;
    if (n->kind < NETWORK_KINDS) {
        const char *const *inputs = network_kinds[n->kind].inputs;
        n->a = named(g, inputs[0]);
        n->b = named(g, inputs[1]);
        n->c = named(g, inputs[2]);
    }
    for (size_t i = 0; i < TF_COUNT(forms); i++)
        if (!strcmp(forms[i], form)) n->prediction = (tuff_prediction)i;
    if (n->a.id && n->b.id && n->c.id) return true;
    tf_fail(g, TUFF_E_NAME, "denoiser.kind=\"%s\" is not known, or its inputs are missing", kind);
    return false;
}

static tuff_tensor data_estimate(const network *n, const tuff_denoiser_call *c)
{
    if (n->kind == DIAGONAL) return tuff_denoise_diagonal(c->x, c->alpha, c->sigma, n->a, n->b);
    return (n->kind == GAUSSIAN ? tuff_denoise_gaussian : tuff_denoise_mixture)(c->x, c->alpha, c->sigma, n->a, n->b, n->c, NULL);
}
/* Its derivative along v. */
static tuff_tensor data_estimate_along(const network *n, const tuff_denoiser_call *c, tuff_tensor v)
{
    if (n->kind == DIAGONAL) return tuff_denoise_diagonal(v, c->alpha, c->sigma, tuff_mul(n->a, tuff_literal(n->a.graph, 0, TUFF_F32)), n->b);
    return tuff_result((n->kind == GAUSSIAN ? tuff_denoise_gaussian : tuff_denoise_mixture)(c->x, c->alpha, c->sigma, n->a, n->b, n->c, &(tuff_tangent_desc){ v }), 1);
}
static tuff_tensor said(void *user, const tuff_denoiser_call *c)
{
    const network *n = user;
    return tuff_convert_prediction(c->x, data_estimate(n, c), c->alpha, c->sigma, TUFF_PREDICT_X0, n->prediction);
}
static tuff_tensor said_along(void *user, const tuff_denoiser_call *c, tuff_tensor v)
{
    const network *n = user;
    return tuff_convert_prediction(v, data_estimate_along(n, c, v), c->alpha, c->sigma, TUFF_PREDICT_X0, n->prediction);
}

static tuff_flow_desc flow_of(const cJSON *root, network *n)
{
    const char *sde = tool_json_text(attrs_of(root), "sde", "vp");
    return (tuff_flow_desc){ .process = { !strcmp(sde, "ve") ? TUFF_SDE_VE : !strcmp(sde, "subvp") ? TUFF_SDE_SUBVP : TUFF_SDE_VP, attr(root, "sigma_min", 0), attr(root, "sigma_max", 0),
                                          attr(root, "beta_min", 0), attr(root, "beta_max", 0) },
                             .denoiser = said, .user = n, .prediction = n->prediction, .t0 = attr(root, "t0", 0), .t1 = attr(root, "t1", 0), .rtol = attr(root, "rtol", 0),
                             .atol = attr(root, "atol", 0), .h0 = attr(root, "h0", 0.01), .max_steps = STEPS };
}

/* ---- cases ---- */

static void linear(void *user, tuff_ode_call *c) { c->dy[0] = tuff_mul(*(tuff_tensor *)user, c->y[0]); }

static bool extend_step(tuff_graph *g, const cJSON *root)
{
    tuff_tensor y = named(g, "y"), lam = named(g, "lam"), out[3], errors[64];
    const tuff_ode_desc d = { .rhs = linear, .user = &lam, .rtol = attr(root, "rtol", 0), .atol = attr(root, "atol", 0) };
    const tuff_tensor t = tuff_literal(g, 0, TUFF_F32), h = tuff_literal(g, attr(root, "h", 0), TUFF_F32);
    if (tuff_rk45_step(g, t, h, &y, 1, &d, out)) return false;
    tuff_output(g, "y_next", out[0]);
    tuff_output(g, "err_norm_rms", tuff_reshape(out[1], TUFF_SHAPE(1)));
    tuff_output(g, "stiffness", tuff_reshape(out[2], TUFF_SHAPE(1)));
    const int64_t batch = tuff_tensor_shape(y).dim[0];
    if (wants(root, "err_norm_rms_per_sample") && batch <= 64) {
        for (int64_t b = 0; b < batch; b++) { /* each sample alone */
            const tuff_tensor one = tuff_slice(y, TUFF_INTS(b), TUFF_INTS(b + 1), NULL);
            if (tuff_rk45_step(g, t, h, &one, 1, &d, out)) return false;
            errors[b] = tuff_reshape(out[1], TUFF_SHAPE(1));
        }
        tuff_output(g, "err_norm_rms_per_sample", tuff_concat(errors, (uint32_t)batch, 0));
    }
    return !tuff_graph_status(g);
}

static bool extend_flow(tuff_graph *g, const cJSON *root)
{
    network n = { .kind = GAUSSIAN };
    tuff_tensor trace, x = named(g, "x_init");
    if (!find_network(g, root, &n)) return false;
    tuff_flow_desc d = flow_of(root, &n);
    d.trace = &trace;
    x = tuff_probability_flow(x, &d);
    tuff_output(g, wants(root, "x_final_exact") ? "x_final_exact" : "x_final", x);
    if (wants(root, "accepted_t_h_err") && !tuff_graph_status(g)) { /* the accepted rows in front */
        const tuff_tensor taken = tuff_squeeze(tuff_slice(trace, TUFF_INTS(3), TUFF_INTS(4), &(tuff_slice_desc){ .axes = TUFF_INTS(1) }), NULL);
        const tuff_tensor order = tuff_argsort(taken, 0, &(tuff_sort_desc){ .descending = true });
        tuff_output(g, "accepted_t_h_err", tuff_slice(tuff_gather(trace, order, 0), TUFF_INTS(0, 0), TUFF_INTS(dim_of(root, "accepted_t_h_err", 0), 3), NULL));
    }
    return !tuff_graph_status(g);
}

/* log density of the data x[b, n] after noise (alpha, sigma), in closed form. */
static tuff_tensor log_density(const network *n, tuff_tensor x, tuff_tensor alpha, tuff_tensor sigma)
{
    tuff_graph *g = x.graph;
    const double two_pi = 6.28318530717958647693;
    const tuff_tensor half = tuff_literal(g, -0.5, TUFF_F32), s2 = tuff_square(sigma), a2 = tuff_square(alpha), scale = tuff_literal(g, two_pi, TUFF_F32);
    const tuff_reduce_desc last = { .axes = TUFF_INTS(-1) };
    if (n->kind != MIXTURE) {
        const tuff_tensor off = tuff_sub(x, tuff_mul(alpha, n->a)), v = tuff_add(tuff_mul(a2, n->c), s2), e = n->kind == GAUSSIAN ? tuff_matmul(off, n->b, NULL) : off;
        return tuff_mul(half, tuff_sum(tuff_add(tuff_div(tuff_square(e), v), tuff_log(tuff_mul(scale, v))), &last));
    }
    const tuff_tensor v = tuff_add(tuff_mul(a2, tuff_square(n->c)), s2), e = tuff_sub(tuff_unsqueeze(x, TUFF_INTS(1)), tuff_mul(alpha, n->b));
    const tuff_tensor dims = tuff_literal(g, (double)tuff_tensor_shape(x).dim[1], TUFF_F32);
    const tuff_tensor each = tuff_add(tuff_div(tuff_sum(tuff_square(e), &last), v), tuff_mul(dims, tuff_log(tuff_mul(scale, v))));
    return tuff_logsumexp(tuff_add(tuff_log(n->a), tuff_mul(half, each)), &last);
}

static bool extend_likelihood(tuff_graph *g, const cJSON *root)
{
    network n = { .kind = GAUSSIAN };
    tuff_tensor z, x = named(g, "x");
    if (!find_network(g, root, &n)) return false;
    tuff_flow_desc d = flow_of(root, &n);
    d.derivative = said_along;
    d.exact_trace = true;
    const tuff_tensor exact = tuff_log_likelihood(x, &d, &z);
    if (!exact.id) return false;
    const tuff_tensor flat = tuff_reshape(x, TUFF_SHAPE(tuff_tensor_shape(x).dim[0], -1));
    const double bits = -1 / ((double)tuff_tensor_shape(flat).dim[1] * log(2));
    tuff_output(g, "z", z);
    tuff_output(g, "logp_exact_trace", exact);
    if (wants(root, "bpd_exact_trace")) tuff_output(g, "bpd_exact_trace", tuff_mul(exact, tuff_literal(g, bits, TUFF_F32)));
    if (wants(root, "logp_hutchinson")) {
        d.exact_trace = false;
        d.probes = named(g, "probes");
        tuff_output(g, "logp_hutchinson", tuff_log_likelihood(x, &d, NULL));
    }
    if (wants(root, "logp_true_data_t0")) {
        const tuff_tensor alpha = tuff_sde_marginals(tuff_literal(g, d.t0, TUFF_F32), &d.process);
        tuff_output(g, "logp_true_data_t0", log_density(&n, flat, alpha, tuff_result(alpha, 1)));
    }
    return !tuff_graph_status(g);
}

#define FLOW_ATTRIBUTES "sde beta_min beta_max sigma_min sigma_max t0 t1 rtol atol h0 denoiser "
const case_row ode_cases[] = {
    { .op = "diffusion.rk45_step", .extend = extend_step, .ignored = "rhs h rtol atol" },
    { .op = "diffusion.pf_ode", .extend = extend_flow, .informative = "accepted_t_h_err", .ignored = FLOW_ATTRIBUTES "controller" },
    { .op = "diffusion.log_likelihood", .extend = extend_likelihood, .ignored = FLOW_ATTRIBUTES "prior units probes" },
    { .op = NULL }
};
