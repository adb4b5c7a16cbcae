/* schedule.c - noise schedules of diffusion models: grids of noise levels, beta tables, lists of time steps.
 *
 * All rows run on the host in double precision when the graph is compiled (or at once, by tuff_host_value), so a table
 * is rounded only where it is cast. A grid goes from much noise to none. VE noise level S = sigma / alpha; log-SNR
 * lambda = ln(alpha / sigma). Times of variance preserving (VP) processes run in [0, 1] with beta(t) = beta_min +
 * t (beta_max - beta_min); ln alpha = -(beta_max - beta_min) t^2 / 4 - beta_min t / 2. */
#include "ops.h"
#include "schedule.h"

#include <math.h>
#include <string.h>

enum { MOST_STEPS = 1 << 20 };
static const double half_pi = 1.57079632679489661923;

/* ---- shared ---- */

static double or_default(double v, double standard) { return v == 0 ? standard : v; }

/* i of n points from a to b. */
static double between(double a, double b, int64_t i, int64_t n) { return n < 2 ? a : a + (b - a) * (double)i / (double)(n - 1); }

static bool vector(tf_infer *c, uint32_t result, tuff_dtype t, int64_t n)
{
    c->out[result] = (tf_type){ .dtype = t, .rank = 1, .dim = { n } };
    if (result >= c->n_out) c->n_out = result + 1;
    return true;
}

static bool positive(tf_infer *c, const char *name, double v)
{
    if (v > 0 && isfinite(v)) return true;
    return tf_bad(c, TUFF_E_ATTRIBUTE, "%s is %g; it must be positive", name, v);
}

static bool ordered(tf_infer *c, const char *low_name, double low, const char *high_name, double high)
{
    if (low < high && isfinite(high)) return true;
    return tf_bad(c, TUFF_E_ATTRIBUTE, "%s is %g and %s is %g; the first must be smaller", low_name, low, high_name, high);
}

/* A vector operand that is known now. */
static bool known_vector(tf_infer *c, uint32_t i, int64_t least)
{
    const tf_type *t = c->type[i];
    if (t->rank != 1 || tf_dim_is_dynamic(t->dim[0]) || tf_dtype_class(t->dtype) != TF_CLS_FLOAT)
        return tf_bad(c, TUFF_E_SHAPE, "%s must be a float vector", tf_src_text(c, i));
    if (t->dim[0] < least) return tf_bad(c, TUFF_E_SHAPE, "%s has %lld elements; at least %lld are needed", tf_src_text(c, i), (long long)t->dim[0], (long long)least);
    return true;
}

double tf_vp_log_alpha(double t, double beta_min, double beta_max) { return -0.25 * (beta_max - beta_min) * t * t - 0.5 * beta_min * t; }

/* Time at which a VP process has this lambda. */
static double vp_time(double lambda, double beta_min, double beta_max)
{
    const double l = lambda > 0 ? log1p(exp(-2 * lambda)) : -2 * lambda + log1p(exp(2 * lambda));
    return 2 * l / (sqrt(beta_min * beta_min + 2 * (beta_max - beta_min) * l) + beta_min);
}

static double vp_lambda(double t, double beta_min, double beta_max)
{
    const double log_alpha = tf_vp_log_alpha(t, beta_min, beta_max);
    return log_alpha - 0.5 * log(-expm1(2 * log_alpha));
}

/* ---- grids of VE noise levels ---- */

typedef struct grid_desc {
    int64_t n;
    double sigma_min, sigma_max, rho;
    bool open;
} grid_desc;

static bool grid_infer(tf_infer *c, double rho)
{
    grid_desc *d = c->mut;
    d->sigma_min = or_default(d->sigma_min, 0.002);
    d->sigma_max = or_default(d->sigma_max, 80);
    d->rho = or_default(d->rho, rho);
    return positive(c, "sigma_min", d->sigma_min) && ordered(c, "sigma_min", d->sigma_min, "sigma_max", d->sigma_max) && positive(c, "rho", d->rho) &&
           vector(c, 0, TUFF_F64, d->n + !d->open);
}
static bool karras_infer(tf_infer *c) { return grid_infer(c, 7); }
static bool exponential_infer(tf_infer *c) { return grid_infer(c, 1); }

static double karras(double first, double last, double rho, int64_t i, int64_t n)
{
    return pow(between(pow(first, 1 / rho), pow(last, 1 / rho), i, n), rho);
}

static tuff_status karras_reference(tf_ref *r)
{
    const grid_desc *d = r->desc;
    for (int64_t i = 0; i < d->n; i++) r->out[0].re[i] = karras(d->sigma_max, d->sigma_min, d->rho, i, d->n);
    if (!d->open) r->out[0].re[d->n] = 0;
    return TUFF_OK;
}
static tuff_status exponential_reference(tf_ref *r)
{
    const grid_desc *d = r->desc;
    for (int64_t i = 0; i < d->n; i++)
        r->out[0].re[i] = exp(pow(between(1, 0, i, d->n), d->rho) * log(d->sigma_max / d->sigma_min) + log(d->sigma_min));
    if (!d->open) r->out[0].re[d->n] = 0;
    return TUFF_OK;
}

#define STEPS(desc) TF_A(desc, n, TF_ATTR_I64, "points", .required = true, .min = 1, .max = MOST_STEPS)
#define OPEN(desc) TF_A(desc, open, TF_ATTR_BOOL, "leave out the noise level 0 that ends the grid")
static const tf_attr karras_attrs[] = {
    STEPS(grid_desc), TF_A(grid_desc, sigma_min, TF_ATTR_DOUBLE, "last level above 0; 0: 0.002"),
    TF_A(grid_desc, sigma_max, TF_ATTR_DOUBLE, "first level; 0: 80"), TF_A(grid_desc, rho, TF_ATTR_DOUBLE, "exponent; 0: 7"), OPEN(grid_desc) };
static const tf_attr exponential_attrs[] = {
    STEPS(grid_desc), TF_A(grid_desc, sigma_min, TF_ATTR_DOUBLE, "last level above 0; 0: 0.002"), TF_A(grid_desc, sigma_max, TF_ATTR_DOUBLE, "first level; 0: 80"),
    TF_A(grid_desc, rho, TF_ATTR_DOUBLE, "exponent of the position: polyexponential; 0: 1"), OPEN(grid_desc) };

#define HOST(op, text, from, takes, gives, desc, list) \
    const tf_op tf_op_##op = { .name = #op, .doc = text, .source = from, .operands = takes, .results = gives, .kind = TF_HOST, .attrs = list, \
        .attr_count = TF_COUNT(list), .desc_size = sizeof(desc), .infer = op##_infer, .reference = op##_reference }

#define schedule_karras_infer karras_infer
#define schedule_karras_reference karras_reference
#define schedule_exponential_infer exponential_infer
#define schedule_exponential_reference exponential_reference
HOST(schedule_karras, "noise levels [n + 1] (f64): (max^(1/rho) + i/(n-1) (min^(1/rho) - max^(1/rho)))^rho, then 0", "arXiv:2206.00364 eq. 5", "", "sigmas",
     grid_desc, karras_attrs);
HOST(schedule_exponential, "noise levels [n + 1] (f64): exp(u^rho ln(max/min) + ln min), u from 1 to 0, then 0", NULL, "", "sigmas", grid_desc, exponential_attrs);

static tuff_tensor grid(tuff_graph *g, const tf_op *op, int64_t n, const tuff_sigma_grid_desc *desc)
{
    grid_desc d = { .n = n };
    if (desc) { d.sigma_min = desc->sigma_min; d.sigma_max = desc->sigma_max; d.rho = desc->rho; d.open = desc->open; }
    return tf_add(g, op, NULL, 0, &d);
}
tuff_tensor tuff_schedule_karras(tuff_graph *g, int64_t n, const tuff_sigma_grid_desc *desc) { return grid(g, &tf_op_schedule_karras, n, desc); }
tuff_tensor tuff_schedule_exponential(tuff_graph *g, int64_t n, const tuff_sigma_grid_desc *desc) { return grid(g, &tf_op_schedule_exponential, n, desc); }

/* ---- VP, continuous time ---- */

typedef struct vp_desc {
    int64_t n;
    double t_start, t_end, beta_min, beta_max;
    bool open;
} vp_desc;

static bool vp_defaults(tf_infer *c, double t_start, double t_end)
{
    vp_desc *d = c->mut;
    d->t_start = or_default(d->t_start, t_start);
    d->t_end = or_default(d->t_end, t_end);
    d->beta_min = or_default(d->beta_min, 0.1);
    d->beta_max = or_default(d->beta_max, 20);
    return positive(c, "t_end", d->t_end) && positive(c, "t_start", d->t_start) && positive(c, "beta_min", d->beta_min) &&
           ordered(c, "beta_min", d->beta_min, "beta_max", d->beta_max);
}

static bool schedule_vp_infer(tf_infer *c)
{
    const vp_desc *d = c->desc;
    return vp_defaults(c, 1, 1e-3) && vector(c, 0, TUFF_F64, d->n + !d->open);
}
static tuff_status schedule_vp_reference(tf_ref *r)
{
    const vp_desc *d = r->desc;
    for (int64_t i = 0; i < d->n; i++)
        r->out[0].re[i] = sqrt(expm1(-2 * tf_vp_log_alpha(between(d->t_start, d->t_end, i, d->n), d->beta_min, d->beta_max)));
    if (!d->open) r->out[0].re[d->n] = 0;
    return TUFF_OK;
}

#define BETAS(desc) \
    TF_A(desc, beta_min, TF_ATTR_DOUBLE, "beta at time 0; 0: 0.1"), TF_A(desc, beta_max, TF_ATTR_DOUBLE, "beta at time 1; 0: 20")
#define TIMES(desc) \
    TF_A(desc, t_start, TF_ATTR_DOUBLE, "first time; 0: 1"), TF_A(desc, t_end, TF_ATTR_DOUBLE, "last time; 0: 0.001")
static const tf_attr schedule_vp_attrs[] = { STEPS(vp_desc), TIMES(vp_desc), BETAS(vp_desc), OPEN(vp_desc) };
HOST(schedule_vp, "noise levels [n + 1] (f64) of a VP process at times in equal steps, then 0", "arXiv:2011.13456", "", "sigmas", vp_desc, schedule_vp_attrs);

static tuff_tensor vp(tuff_graph *g, const tf_op *op, int64_t n, const tuff_vp_desc *desc)
{
    vp_desc d = { .n = n };
    if (desc) d = (vp_desc){ n, desc->t_start, desc->t_end, desc->beta_min, desc->beta_max, desc->open };
    return tf_add(g, op, NULL, 0, &d);
}
tuff_tensor tuff_schedule_vp(tuff_graph *g, int64_t n, const tuff_vp_desc *desc) { return vp(g, &tf_op_schedule_vp, n, desc); }

static bool schedule_logsnr_infer(tf_infer *c)
{
    const vp_desc *d = c->desc;
    return vp_defaults(c, 1, 1e-3) && vector(c, 0, TUFF_F64, d->n) && vector(c, 1, TUFF_F64, d->n) && vector(c, 2, TUFF_F64, d->n);
}
static tuff_status schedule_logsnr_reference(tf_ref *r)
{
    const vp_desc *d = r->desc;
    const double first = vp_lambda(d->t_start, d->beta_min, d->beta_max), last = vp_lambda(d->t_end, d->beta_min, d->beta_max);
    for (int64_t i = 0; i < d->n; i++) {
        const double t = vp_time(between(first, last, i, d->n), d->beta_min, d->beta_max), log_alpha = tf_vp_log_alpha(t, d->beta_min, d->beta_max);
        r->out[0].re[i] = exp(log_alpha);
        r->out[1].re[i] = sqrt(-expm1(2 * log_alpha));
        r->out[2].re[i] = t;
    }
    return TUFF_OK;
}
static const tf_attr schedule_logsnr_attrs[] = { STEPS(vp_desc), TIMES(vp_desc), BETAS(vp_desc) };
HOST(schedule_logsnr, "alphas, sigmas and times [n] (f64) of a VP process, lambda in equal steps", "arXiv:2206.00927", "", "alphas sigmas t", vp_desc,
     schedule_logsnr_attrs);
tuff_tensor tuff_schedule_logsnr(tuff_graph *g, int64_t n, const tuff_vp_desc *desc) { return vp(g, &tf_op_schedule_logsnr, n, desc); }

static bool vp_marginals_infer(tf_infer *c)
{
    if (!vp_defaults(c, 1, 1e-3)) return false;
    for (uint32_t i = 0; i < 5; i++) vector(c, i, TUFF_F64, ((const vp_desc *)c->desc)->n);
    return true;
}
static tuff_status vp_marginals_reference(tf_ref *r)
{
    const vp_desc *d = r->desc;
    for (int64_t i = 0; i < d->n; i++) {
        const double t = between(d->t_start, d->t_end, i, d->n), log_alpha = tf_vp_log_alpha(t, d->beta_min, d->beta_max);
        const double sigma2 = -expm1(2 * log_alpha), lambda = log_alpha - 0.5 * log(sigma2);
        r->out[0].re[i] = exp(log_alpha);
        r->out[1].re[i] = sqrt(sigma2);
        r->out[2].re[i] = lambda;
        r->out[3].re[i] = vp_time(lambda, d->beta_min, d->beta_max);
        r->out[4].re[i] = sigma2;
    }
    return TUFF_OK;
}
HOST(vp_marginals, "alphas, sigmas, lambdas, the times back from them, and sub-VP sigmas [n] (f64), times in equal steps", "arXiv:2011.13456", "",
     "alphas sigmas lambdas t sigmas_subvp", vp_desc, schedule_logsnr_attrs);
tuff_tensor tuff_vp_marginals(tuff_graph *g, int64_t n, const tuff_vp_desc *desc) { return vp(g, &tf_op_vp_marginals, n, desc); }

/* ---- discrete betas ---- */

typedef struct beta_desc {
    int64_t steps;
    tuff_beta_kind kind;
    double beta_start, beta_end;
} beta_desc;

static const char *const beta_kinds[] = { "linear", "scaled_linear", "cosine", NULL };

static bool schedule_beta_infer(tf_infer *c)
{
    beta_desc *d = c->mut;
    d->steps = d->steps ? d->steps : 1000;
    d->beta_start = or_default(d->beta_start, d->kind == TUFF_BETA_SCALED_LINEAR ? 0.00085 : 1e-4);
    d->beta_end = or_default(d->beta_end, d->kind == TUFF_BETA_SCALED_LINEAR ? 0.012 : 0.02);
    return positive(c, "beta_start", d->beta_start) && positive(c, "beta_end", d->beta_end) && vector(c, 0, TUFF_F64, d->steps) && vector(c, 1, TUFF_F64, d->steps) &&
           vector(c, 2, TUFF_F64, d->steps);
}

static double squared_cosine(double u)
{
    const double v = cos((u + 0.008) / 1.008 * half_pi);
    return v * v;
}

static double beta_at(const beta_desc *d, int64_t i)
{
    const double n = (double)d->steps, root = between(sqrt(d->beta_start), sqrt(d->beta_end), i, d->steps);
    switch (d->kind) {
    case TUFF_BETA_SCALED_LINEAR: return root * root;
    case TUFF_BETA_COSINE: return fmin(1 - squared_cosine((double)(i + 1) / n) / squared_cosine((double)i / n), 0.999);
    default: return between(d->beta_start, d->beta_end, i, d->steps);
    }
}

static tuff_status schedule_beta_reference(tf_ref *r)
{
    const beta_desc *d = r->desc;
    double product = 1;
    for (int64_t i = 0; i < d->steps; i++) {
        r->out[0].re[i] = beta_at(d, i);
        r->out[1].re[i] = product *= 1 - r->out[0].re[i];
        r->out[2].re[i] = sqrt((1 - product) / product);
    }
    return TUFF_OK;
}

static const tf_attr schedule_beta_attrs[] = {
    TF_A(beta_desc, kind, TF_ATTR_ENUM, "linear in beta, linear in sqrt(beta), or cosine in alphas_cumprod", .choices = beta_kinds),
    TF_A(beta_desc, steps, TF_ATTR_I64, "training steps; 0: 1000", .min = 0, .max = MOST_STEPS),
    TF_A(beta_desc, beta_start, TF_ATTR_DOUBLE, "first beta; 0: 1e-4, scaled_linear 8.5e-4"),
    TF_A(beta_desc, beta_end, TF_ATTR_DOUBLE, "last beta; 0: 0.02, scaled_linear 0.012"),
};
HOST(schedule_beta, "betas, their products alphas_cumprod = prod(1 - beta) and VE noise levels [steps] (f64) of a discrete VP process",
     "arXiv:2006.11239, arXiv:2102.09672", "", "betas alphas_cumprod sigmas", beta_desc, schedule_beta_attrs);
tuff_tensor tuff_schedule_beta(tuff_graph *g, tuff_beta_kind kind, const tuff_beta_desc *desc)
{
    beta_desc d = { .kind = kind };
    if (desc) d = (beta_desc){ desc->steps, kind, desc->beta_start, desc->beta_end };
    return tf_add(g, &tf_op_schedule_beta, NULL, 0, &d);
}

static bool rescale_zero_snr_infer(tf_infer *c)
{
    if (!known_vector(c, 0, 2)) return false;
    return vector(c, 0, TUFF_F64, c->type[0]->dim[0]) && vector(c, 1, TUFF_F64, c->type[0]->dim[0]);
}
static tuff_status rescale_zero_snr_reference(tf_ref *r)
{
    const double *ab = r->src[0]->re;
    const uint64_t n = r->src[0]->n;
    const double first = sqrt(ab[0]), last = sqrt(ab[n - 1]);
    for (uint64_t i = 0; i < n; i++) {
        const double q = (sqrt(ab[i]) - last) * first / (first - last);
        r->out[0].re[i] = q;
        r->out[1].re[i] = sqrt(1 - q * q);
    }
    return TUFF_OK;
}
const tf_op tf_op_rescale_zero_snr = { .name = "rescale_zero_snr", .doc = "alphas_cumprod[T] -> alphas, sigmas (f64), moved so that the last alpha is 0: no signal is left",
    .source = "arXiv:2305.08891", .operands = "alphas_cumprod", .results = "alphas sigmas", .kind = TF_HOST, .infer = rescale_zero_snr_infer,
    .reference = rescale_zero_snr_reference };
tuff_tensor tuff_rescale_zero_snr(tuff_tensor alphas_cumprod) { return tf_add(NULL, &tf_op_rescale_zero_snr, &alphas_cumprod, 1, NULL); }

/* ---- time steps of discrete models ---- */

typedef struct spacing_desc {
    int64_t n, steps;
    tuff_spacing spacing;
    int64_t offset;
} spacing_desc;

static const char *const spacings[] = { "leading", "trailing", "linspace", NULL };

static bool timestep_spacing_infer(tf_infer *c)
{
    spacing_desc *d = c->mut;
    d->steps = d->steps ? d->steps : 1000;
    if (d->n > d->steps) return tf_bad(c, TUFF_E_ATTRIBUTE, "n is %lld, more than the %lld training steps", (long long)d->n, (long long)d->steps);
    return vector(c, 0, TUFF_I32, d->n);
}
static tuff_status timestep_spacing_reference(tf_ref *r)
{
    const spacing_desc *d = r->desc;
    for (int64_t i = 0; i < d->n; i++) {
        const int64_t back = d->n - 1 - i;
        double t = (double)(back * (d->steps / d->n) + d->offset);
        if (d->spacing == TUFF_SPACING_TRAILING) t = nearbyint((double)d->steps - (double)i * ((double)d->steps / (double)d->n)) - 1;
        if (d->spacing == TUFF_SPACING_LINSPACE) t = nearbyint(between(0, (double)(d->steps - 1), back, d->n));
        r->out[0].re[i] = t;
    }
    return TUFF_OK;
}
static const tf_attr timestep_spacing_attrs[] = {
    STEPS(spacing_desc), TF_A(spacing_desc, steps, TF_ATTR_I64, "training steps; 0: 1000", .min = 0, .max = MOST_STEPS),
    TF_A(spacing_desc, spacing, TF_ATTR_ENUM, "leading i (steps/n), trailing steps - i steps/n - 1, or linspace from 0 to steps - 1", .choices = spacings),
    TF_A(spacing_desc, offset, TF_ATTR_I64, "added to leading steps", .min = 0, .max = MOST_STEPS),
};
HOST(timestep_spacing, "n of the training steps (i32), the noisiest first; rounding ties to even", "arXiv:2305.08891", "", "timesteps", spacing_desc, timestep_spacing_attrs);
tuff_tensor tuff_timestep_spacing(tuff_graph *g, int64_t n, const tuff_spacing_desc *desc)
{
    spacing_desc d = { .n = n };
    if (desc) d = (spacing_desc){ n, desc->steps, desc->spacing, desc->offset };
    return tf_add(g, &tf_op_timestep_spacing, NULL, 0, &d);
}

typedef struct lcm_desc { int64_t n, steps, original; } lcm_desc;
static bool lcm_timesteps_infer(tf_infer *c)
{
    lcm_desc *d = c->mut;
    d->steps = d->steps ? d->steps : 1000;
    d->original = d->original ? d->original : 50;
    if (d->original > d->steps || d->n > d->original)
        return tf_bad(c, TUFF_E_ATTRIBUTE, "n is %lld, original %lld, steps %lld; each must be at most the next", (long long)d->n, (long long)d->original, (long long)d->steps);
    return vector(c, 0, TUFF_I32, d->n);
}
static tuff_status lcm_timesteps_reference(tf_ref *r)
{
    const lcm_desc *d = r->desc;
    for (int64_t i = 0; i < d->n; i++) r->out[0].re[i] = (double)((d->original - i * d->original / d->n) * (d->steps / d->original) - 1);
    return TUFF_OK;
}
static const tf_attr lcm_timesteps_attrs[] = {
    STEPS(lcm_desc), TF_A(lcm_desc, steps, TF_ATTR_I64, "training steps; 0: 1000", .min = 0, .max = MOST_STEPS),
    TF_A(lcm_desc, original, TF_ATTR_I64, "steps of the distilled schedule; 0: 50", .min = 0, .max = MOST_STEPS),
};
HOST(lcm_timesteps, "n of the distilled steps of a latent consistency model (i32), the noisiest first", "arXiv:2310.04378", "", "timesteps", lcm_desc, lcm_timesteps_attrs);
tuff_tensor tuff_lcm_timesteps(tuff_graph *g, int64_t n, const tuff_lcm_timesteps_desc *desc)
{
    lcm_desc d = { .n = n };
    if (desc) d = (lcm_desc){ n, desc->steps, desc->original };
    return tf_add(g, &tf_op_lcm_timesteps, NULL, 0, &d);
}

typedef struct on_vp_desc { int64_t n; double rho; } on_vp_desc;
static bool schedule_karras_on_vp_infer(tf_infer *c)
{
    on_vp_desc *d = c->mut;
    d->rho = or_default(d->rho, 7);
    return known_vector(c, 0, 2) && positive(c, "rho", d->rho) && vector(c, 0, TUFF_F64, d->n + 1) && vector(c, 1, TUFF_F64, d->n + 1) && vector(c, 2, TUFF_F64, d->n);
}
/* Index k, in fractions, at which the rising table s has this level: linear in ln s. */
static double index_of(const double *s, uint64_t n, double level)
{
    uint64_t k = 0;
    while (k + 2 < n && s[k + 1] <= level) k++;
    const double w = (log(level) - log(s[k])) / (log(s[k + 1]) - log(s[k]));
    return (double)k + fmin(fmax(w, 0), 1);
}
static tuff_status schedule_karras_on_vp_reference(tf_ref *r)
{
    const on_vp_desc *d = r->desc;
    const tf_ref_tensor *s = r->src[0];
    for (int64_t i = 0; i < d->n; i++) {
        const double level = karras(s->re[s->n - 1], s->re[0], d->rho, i, d->n);
        r->out[0].re[i] = level;
        r->out[1].re[i] = 1 / sqrt(1 + level * level);
        r->out[2].re[i] = index_of(s->re, s->n, level);
    }
    r->out[0].re[d->n] = 0;
    r->out[1].re[d->n] = 1;
    return TUFF_OK;
}
static const tf_attr schedule_karras_on_vp_attrs[] = { STEPS(on_vp_desc), TF_A(on_vp_desc, rho, TF_ATTR_DOUBLE, "exponent; 0: 7") };
HOST(schedule_karras_on_vp, "sigmas[T], the rising VE levels of a discrete model -> Karras levels and alphas [n + 1], time steps [n] (f64)", "arXiv:2206.00364", "sigmas",
     "sigmas alphas timesteps", on_vp_desc, schedule_karras_on_vp_attrs);
tuff_tensor tuff_schedule_karras_on_vp(tuff_tensor sigmas, int64_t n, double rho) { return tf_add(NULL, &tf_op_schedule_karras_on_vp, &sigmas, 1, &(on_vp_desc){ n, rho }); }

/* ---- rectified flow ---- */

typedef struct flow_desc { int64_t n; double shift, mu; } flow_desc;
static bool schedule_flow_infer(tf_infer *c)
{
    flow_desc *d = c->mut;
    d->shift = or_default(d->shift, 1);
    return positive(c, "shift", d->shift) && vector(c, 0, TUFF_F64, d->n + 1);
}
static tuff_status schedule_flow_reference(tf_ref *r)
{
    const flow_desc *d = r->desc;
    const double shift = d->shift * exp(d->mu);
    for (int64_t i = 0; i <= d->n; i++) {
        const double u = 1 - (double)i / (double)d->n;
        r->out[0].re[i] = shift * u / (1 + (shift - 1) * u);
    }
    return TUFF_OK;
}
static const tf_attr schedule_flow_attrs[] = { STEPS(flow_desc), TF_A(flow_desc, shift, TF_ATTR_DOUBLE, "time shift; 0: 1"),
                                               TF_A(flow_desc, mu, TF_ATTR_DOUBLE, "dynamic shift: the shift is multiplied by e^mu") };
HOST(schedule_flow, "times [n + 1] (f64) from 1 to 0 with the shift c u / (1 + (c - 1) u); sigma = t, alpha = 1 - t", "arXiv:2403.03206", "", "sigmas", flow_desc, schedule_flow_attrs);
tuff_tensor tuff_schedule_flow(tuff_graph *g, int64_t n, const tuff_flow_schedule_desc *desc)
{
    return tf_add(g, &tf_op_schedule_flow, NULL, 0, &(flow_desc){ n, desc ? desc->shift : 0, desc ? desc->mu : 0 });
}

/* ---- quantiles of the beta distribution ---- */

/* Continued fraction of the incomplete beta function by Lentz's method; x below the mean. */
static double beta_fraction(double a, double b, double x)
{
    double c = 1, d = 1 / fmax(fabs(1 - (a + b) * x / (a + 1)), 1e-300), f = d;
    for (int m = 1; m < 500; m++) {
        const double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)), odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
        d = 1 / (1 + even * d);
        c = 1 + even / c;
        f *= d * c;
        d = 1 / (1 + odd * d);
        c = 1 + odd / c;
        f *= d * c;
        if (fabs(d * c - 1) < 1e-16) break;
    }
    return f;
}
static double beta_cdf(double a, double b, double x)
{
    if (x <= 0 || x >= 1) return x <= 0 ? 0 : 1;
    const double front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x));
    return x < (a + 1) / (a + b + 2) ? front * beta_fraction(a, b, x) / a : 1 - front * beta_fraction(b, a, 1 - x) / b;
}
static double beta_quantile(double a, double b, double p)
{
    double lo = 0, hi = 1;
    for (int i = 0; i < 200 && hi - lo > 1e-17; i++) {
        const double mid = 0.5 * (lo + hi);
        *(beta_cdf(a, b, mid) < p ? &lo : &hi) = mid;
    }
    return p <= 0 ? 0 : p >= 1 ? 1 : 0.5 * (lo + hi);
}

typedef struct beta_dist_desc { int64_t n; double sigma_min, sigma_max, alpha, beta; } beta_dist_desc;
static bool schedule_beta_distribution_infer(tf_infer *c)
{
    beta_dist_desc *d = c->mut;
    d->sigma_min = or_default(d->sigma_min, 0.002);
    d->sigma_max = or_default(d->sigma_max, 80);
    d->alpha = or_default(d->alpha, 0.6);
    d->beta = or_default(d->beta, 0.6);
    return positive(c, "sigma_min", d->sigma_min) && ordered(c, "sigma_min", d->sigma_min, "sigma_max", d->sigma_max) && positive(c, "alpha", d->alpha) && positive(c, "beta", d->beta) && vector(c, 0, TUFF_F64, d->n);
}
static tuff_status schedule_beta_distribution_reference(tf_ref *r)
{
    const beta_dist_desc *d = r->desc;
    for (int64_t i = 0; i < d->n; i++)
        r->out[0].re[i] = d->sigma_min + (d->sigma_max - d->sigma_min) * beta_quantile(d->alpha, d->beta, between(1, 0, i, d->n));
    return TUFF_OK;
}
static const tf_attr schedule_beta_distribution_attrs[] = {
    STEPS(beta_dist_desc), TF_A(beta_dist_desc, sigma_min, TF_ATTR_DOUBLE, "last level; 0: 0.002"), TF_A(beta_dist_desc, sigma_max, TF_ATTR_DOUBLE, "first level; 0: 80"),
    TF_A(beta_dist_desc, alpha, TF_ATTR_DOUBLE, "first parameter of the distribution; 0: 0.6"), TF_A(beta_dist_desc, beta, TF_ATTR_DOUBLE, "second parameter; 0: 0.6") };
HOST(schedule_beta_distribution, "noise levels [n] (f64): min + (max - min) quantile of the beta distribution at 1..0", "arXiv:2407.12173", "", "sigmas", beta_dist_desc,
     schedule_beta_distribution_attrs);
tuff_tensor tuff_schedule_beta_distribution(tuff_graph *g, int64_t n, const tuff_beta_distribution_desc *desc)
{
    beta_dist_desc d = { .n = n };
    if (desc) d = (beta_dist_desc){ n, desc->sigma_min, desc->sigma_max, desc->alpha, desc->beta };
    return tf_add(g, &tf_op_schedule_beta_distribution, NULL, 0, &d);
}

/* ---- improved consistency training ---- */

typedef struct ict_desc { int64_t n; double sigma_min, sigma_max, rho, mean, std; } ict_desc;
static bool schedule_ict_infer(tf_infer *c)
{
    ict_desc *d = c->mut;
    d->sigma_min = or_default(d->sigma_min, 0.002);
    d->sigma_max = or_default(d->sigma_max, 80);
    d->rho = or_default(d->rho, 7);
    d->mean = or_default(d->mean, -1.1);
    d->std = or_default(d->std, 2);
    return positive(c, "sigma_min", d->sigma_min) && ordered(c, "sigma_min", d->sigma_min, "sigma_max", d->sigma_max) && positive(c, "rho", d->rho) && positive(c, "std", d->std) &&
           vector(c, 0, TUFF_F64, d->n) && vector(c, 1, TUFF_F64, d->n - 1) && vector(c, 2, TUFF_F64, d->n - 1);
}
static tuff_status schedule_ict_reference(tf_ref *r)
{
    const ict_desc *d = r->desc;
    double sum = 0, *s = r->out[0].re, *p = r->out[1].re, *w = r->out[2].re;
    for (int64_t i = 0; i < d->n; i++) s[i] = karras(d->sigma_min, d->sigma_max, d->rho, i, d->n);
    for (int64_t i = 0; i + 1 < d->n; i++) {
        p[i] = erf((log(s[i + 1]) - d->mean) / (sqrt(2) * d->std)) - erf((log(s[i]) - d->mean) / (sqrt(2) * d->std));
        w[i] = 1 / (s[i + 1] - s[i]);
        sum += p[i];
    }
    for (int64_t i = 0; i + 1 < d->n; i++) p[i] /= sum;
    return TUFF_OK;
}
static const tf_attr schedule_ict_attrs[] = {
    TF_A(ict_desc, n, TF_ATTR_I64, "points", .required = true, .min = 2, .max = MOST_STEPS), TF_A(ict_desc, sigma_min, TF_ATTR_DOUBLE, "first level; 0: 0.002"),
    TF_A(ict_desc, sigma_max, TF_ATTR_DOUBLE, "last level; 0: 80"), TF_A(ict_desc, rho, TF_ATTR_DOUBLE, "exponent; 0: 7"),
    TF_A(ict_desc, mean, TF_ATTR_DOUBLE, "mean of ln sigma in training; 0: -1.1"), TF_A(ict_desc, std, TF_ATTR_DOUBLE, "its standard deviation; 0: 2") };
HOST(schedule_ict, "rising Karras levels [n], the chance of each interval in training and its weight [n - 1] (f64)", "arXiv:2310.14189", "", "sigmas p weights", ict_desc,
     schedule_ict_attrs);
tuff_tensor tuff_schedule_ict(tuff_graph *g, int64_t n, const tuff_ict_desc *desc)
{
    ict_desc d = { .n = n };
    if (desc) d = (ict_desc){ n, desc->sigma_min, desc->sigma_max, desc->rho, desc->mean, desc->std };
    return tf_add(g, &tf_op_schedule_ict, NULL, 0, &d);
}

typedef struct ict_steps_desc { int64_t n, total, s0, s1; } ict_steps_desc;
static bool ict_discretization_infer(tf_infer *c)
{
    ict_steps_desc *d = c->mut;
    d->s0 = d->s0 ? d->s0 : 10;
    d->s1 = d->s1 ? d->s1 : 1280;
    if (d->s1 < d->s0) return tf_bad(c, TUFF_E_ATTRIBUTE, "s1 is %lld, less than s0 = %lld", (long long)d->s1, (long long)d->s0);
    return vector(c, 0, TUFF_I32, d->n);
}
static tuff_status ict_discretization_reference(tf_ref *r)
{
    const ict_steps_desc *d = r->desc;
    const double stretch = floor((double)d->total / (log2((double)(d->s1 / d->s0)) + 1));
    for (int64_t i = 0; i < d->n; i++) {
        const double k = (double)(i * (d->total / d->n)), doublings = stretch > 0 ? floor(k / stretch) : 62;
        r->out[0].re[i] = fmin((double)d->s0 * exp2(doublings), (double)d->s1) + 1;
    }
    return TUFF_OK;
}
static const tf_attr ict_discretization_attrs[] = {
    STEPS(ict_steps_desc), TF_A(ict_steps_desc, total, TF_ATTR_I64, "training iterations", .required = true, .min = 1, .max = 1e15),
    TF_A(ict_steps_desc, s0, TF_ATTR_I64, "intervals at the start; 0: 10", .min = 0, .max = MOST_STEPS), TF_A(ict_steps_desc, s1, TF_ATTR_I64, "intervals at most; 0: 1280", .min = 0, .max = MOST_STEPS) };
HOST(ict_discretization, "points of the grid at iterations 0, total/n, ... of training: min(s0 2^floor(k/K'), s1) + 1 (i32)", "arXiv:2310.14189", "", "points", ict_steps_desc,
     ict_discretization_attrs);
tuff_tensor tuff_ict_discretization(tuff_graph *g, int64_t n, int64_t total, const tuff_ict_discretization_desc *desc)
{
    return tf_add(g, &tf_op_ict_discretization, NULL, 0, &(ict_steps_desc){ n, total, desc ? desc->s0 : 0, desc ? desc->s1 : 0 });
}
