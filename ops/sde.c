/* sde.c - score-based SDEs: the tables of predictor-corrector samplers, Langevin corrections, and tuff_pc_sample.
 *
 * A predictor is x_mean = cx x + cs score, x = x_mean + cn z with three numbers per step, so pc_table holds them all. Only the
 * step of the Langevin corrector comes from norms on the device. Forward process: dx = f x dt + g dw with marginals
 * x_t = alpha x_0 + sigma noise, t in [0, 1]. */
#include "anchors.h"
#include "ops.h"
#include "schedule.h"

#include <math.h>
#include <string.h>

/* ---- tables ---- */

typedef struct pc_desc {
    int64_t n;
    tuff_sde sde;
    tuff_predictor predictor;
    bool probability_flow;
    double t_end, sigma_min, sigma_max, beta_min, beta_max;
} pc_desc;

static const char *const sdes[] = { "vp", "ve", "subvp", NULL };
static const char *const predictors[] = { "reverse_diffusion", "ancestral", "euler_maruyama", NULL };

static bool pc_table_infer(tf_infer *c)
{
    pc_desc *d = c->mut;
    if (d->t_end == 0) d->t_end = d->sde == TUFF_SDE_VE ? 1e-5 : 1e-3;
    if (d->sigma_min == 0) d->sigma_min = 0.01;
    if (d->sigma_max == 0) d->sigma_max = 50;
    if (d->beta_min == 0) d->beta_min = 0.1;
    if (d->beta_max == 0) d->beta_max = 20;
    if (d->sde == TUFF_SDE_SUBVP && d->predictor == TUFF_PREDICTOR_ANCESTRAL) return tf_bad(c, TUFF_E_ATTRIBUTE, "ancestral sampling is not defined for the sub-VP process");
    if (!(d->sigma_min > 0 && d->sigma_min < d->sigma_max && d->beta_min > 0 && d->beta_min < d->beta_max && d->t_end > 0 && d->t_end < 1))
        return tf_bad(c, TUFF_E_ATTRIBUTE, "sigma_min < sigma_max, beta_min < beta_max and t_end in (0, 1) are needed, all positive");
    if (d->beta_max / (double)d->n >= 1 && d->sde != TUFF_SDE_VE && d->predictor != TUFF_PREDICTOR_EULER_MARUYAMA)
        return tf_bad(c, TUFF_E_ATTRIBUTE, "n is %lld; the discrete betas beta_max / n must stay below 1", (long long)d->n);
    c->out[0] = (tf_type){ .dtype = TUFF_F32, .rank = 2, .dim = { d->n, TUFF_PC_COLUMNS } };
    return true;
}

/* i of n points from a to b. */
static double between(double a, double b, int64_t i, int64_t n) { return n < 2 ? a : a + (b - a) * (double)i / (double)(n - 1); }

static void pc_row(const pc_desc *d, int64_t i, double *row)
{
    const int64_t k = d->n - 1 - i;
    const double n = (double)d->n, t = between(1, d->t_end, i, d->n), ratio = d->sigma_max / d->sigma_min;
    const double log_alpha = d->sde == TUFF_SDE_VE ? 0 : tf_vp_log_alpha(t, d->beta_min, d->beta_max), rest = -expm1(2 * log_alpha);
    const double beta = d->beta_min + t * (d->beta_max - d->beta_min), bk = between(d->beta_min, d->beta_max, k, d->n) / n;
    const double sigma = d->sde == TUFF_SDE_VE ? d->sigma_min * pow(ratio, t) : d->sde == TUFF_SDE_VP ? sqrt(rest) : rest;
    const double g2 = d->sde == TUFF_SDE_VE ? sigma * sigma * 2 * log(ratio) : d->sde == TUFF_SDE_VP ? beta : beta * -expm1(4 * log_alpha);
    double cx = 1 + (d->sde == TUFF_SDE_VE ? 0 : beta / (2 * n)), cs = g2 / n, cn = sqrt(g2 / n);
    if (d->predictor != TUFF_PREDICTOR_EULER_MARUYAMA && d->sde == TUFF_SDE_VE) {
        const double s1 = d->sigma_min * pow(ratio, between(0, 1, k, d->n)), s0 = k ? d->sigma_min * pow(ratio, between(0, 1, k - 1, d->n)) : 0;
        cx = 1;
        cs = s1 * s1 - s0 * s0;
        cn = d->predictor == TUFF_PREDICTOR_ANCESTRAL ? sqrt(s0 * s0 * cs) / s1 : sqrt(cs);
    } else if (d->predictor != TUFF_PREDICTOR_EULER_MARUYAMA && d->sde == TUFF_SDE_VP) {
        const double keep = sqrt(1 - bk);
        cx = d->predictor == TUFF_PREDICTOR_ANCESTRAL ? 1 / keep : 2 - keep;
        cs = d->predictor == TUFF_PREDICTOR_ANCESTRAL ? bk / keep : bk;
        cn = sqrt(bk);
    }
    row[TUFF_PC_ALPHA] = exp(log_alpha);
    row[TUFF_PC_SIGMA] = sigma;
    row[TUFF_PC_TIME] = t;
    row[TUFF_PC_X] = cx;
    row[TUFF_PC_SCORE] = d->probability_flow ? cs / 2 : cs;
    row[TUFF_PC_NOISE] = d->probability_flow ? 0 : cn;
    row[TUFF_PC_CORRECTOR] = d->sde == TUFF_SDE_VE ? 1 : 1 - bk;
}
static tuff_status pc_table_reference(tf_ref *r)
{
    const pc_desc *d = r->desc;
    for (int64_t i = 0; i < d->n; i++) pc_row(d, i, r->out[0].re + i * TUFF_PC_COLUMNS);
    return TUFF_OK;
}
static const tf_attr pc_attrs[] = {
    TF_A(pc_desc, n, TF_ATTR_I64, "steps", .required = true, .min = 1, .max = 1 << 20), TF_A(pc_desc, sde, TF_ATTR_ENUM, "the forward process", .choices = sdes),
    TF_A(pc_desc, predictor, TF_ATTR_ENUM, "how a step goes back", .choices = predictors),
    TF_A(pc_desc, probability_flow, TF_ATTR_BOOL, "half the score and no noise"),
    TF_A(pc_desc, t_end, TF_ATTR_DOUBLE, "last time; 0: 1e-5 (ve), 1e-3"), TF_A(pc_desc, sigma_min, TF_ATTR_DOUBLE, "ve: sigma at time 0; 0: 0.01"),
    TF_A(pc_desc, sigma_max, TF_ATTR_DOUBLE, "ve: sigma at time 1; 0: 50"), TF_A(pc_desc, beta_min, TF_ATTR_DOUBLE, "vp, subvp: beta at time 0; 0: 0.1"),
    TF_A(pc_desc, beta_max, TF_ATTR_DOUBLE, "vp, subvp: beta at time 1; 0: 20"),
};
const tf_op tf_op_pc_table = { .name = "pc_table", .doc = "table[n, 7] (f32) of a predictor-corrector sampler: alpha, sigma, t, x_mean's factors on x and score, the noise's, the corrector's",
    .source = "arXiv:2011.13456 appendix", .operands = "", .results = "table", .kind = TF_HOST, .attrs = pc_attrs, .attr_count = TF_COUNT(pc_attrs), .desc_size = sizeof(pc_desc),
    .infer = pc_table_infer, .reference = pc_table_reference };
tuff_tensor tuff_pc_table(tuff_graph *g, int64_t n, const tuff_pc_desc *desc)
{
    const tuff_pc_desc s = desc ? *desc : (tuff_pc_desc){ .t_end = 0 };
    const pc_desc d = { n, s.sde, s.predictor, s.probability_flow, s.t_end, s.sigma_min, s.sigma_max, s.beta_min, s.beta_max };
    return tf_add(g, &tf_op_pc_table, NULL, 0, &d);
}

/* ---- Langevin corrector ---- */

typedef struct langevin_desc { double snr; bool per_sample; } langevin_desc;

static bool langevin_step_infer(tf_infer *c)
{
    const tf_type *x = c->type[0], *w = c->type[3];
    for (uint32_t i = 0; i < 3; i++) {
        bool same = c->type[i]->rank == x->rank && x->rank >= 1 && c->type[i]->dtype == TUFF_F32;
        for (int32_t k = 0; same && k < x->rank; k++) same = tf_dim_equal(c->type[i]->dim[k], x->dim[k]);
        if (!same) return tf_bad(c, TUFF_E_SHAPE, "%s must be f32 with a batch axis and the shape of %s", tf_src_text(c, i), tf_src_text(c, 0));
    }
    if (w->rank != 0 || w->dtype != TUFF_F32) return tf_bad(c, TUFF_E_SHAPE, "%s must be f32 of rank 0", tf_src_text(c, 3));
    c->out[0] = c->out[1] = *x;
    c->n_out = 2;
    return true;
}
static tuff_tensor norms(tuff_tensor x, bool per_sample)
{
    tuff_ints axes = { .n = 0 };
    const int32_t rank = tf_ty(x)->rank;
    for (int32_t i = 1; i < rank; i++) axes.v[axes.n++] = i;
    const tuff_tensor each = axes.n ? tuff_norm(x, &(tuff_norm_desc){ .axes = axes, .keep = true }) : tuff_abs(x);
    return per_sample ? each : tf_reshaped(tuff_mean(each, NULL), 0, NULL);
}
static void langevin_step_lower(tf_lower *l)
{
    const langevin_desc *d = l->desc;
    const tuff_tensor snr = tuff_literal(l->g, d->snr, TUFF_F32), two = tuff_literal(l->g, 2, TUFF_F32);
    const tuff_tensor ratio = tuff_mul(snr, tuff_div(norms(l->src[2], d->per_sample), norms(l->src[1], d->per_sample)));
    const tuff_tensor eta = tuff_mul(tuff_mul(two, l->src[3]), tuff_square(ratio)), mean = tuff_add(l->src[0], tuff_mul(eta, l->src[1]));
    if (l->want[0]) l->out[0] = tuff_add(mean, tuff_mul(tuff_sqrt(tuff_mul(two, eta)), l->src[2]));
    if (l->want[1]) l->out[1] = mean;
}
static double norm_of(const double *x, uint64_t n)
{
    double s = 0;
    for (uint64_t i = 0; i < n; i++) s += x[i] * x[i];
    return sqrt(s);
}
static tuff_status langevin_step_reference(tf_ref *r)
{
    const langevin_desc *d = r->desc;
    const uint64_t batch = r->src[0]->n ? (uint64_t)r->src[0]->dim[0] : 0, n = batch ? r->src[0]->n / batch : 0;
    double g = 0, z = 0;
    for (uint64_t b = 0; b < batch; b++) {
        g += norm_of(r->src[1]->re + b * n, n) / (double)batch;
        z += norm_of(r->src[2]->re + b * n, n) / (double)batch;
    }
    for (uint64_t i = 0; i < r->src[0]->n; i++) {
        const uint64_t first = n * (i / n);
        const double ratio = d->per_sample ? norm_of(r->src[2]->re + first, n) / norm_of(r->src[1]->re + first, n) : z / g;
        const double eta = 2 * r->src[3]->re[0] * d->snr * d->snr * ratio * ratio;
        r->out[1].re[i] = r->src[0]->re[i] + eta * r->src[1]->re[i];
        r->out[0].re[i] = r->out[1].re[i] + sqrt(2 * eta) * r->src[2]->re[i];
    }
    return TUFF_OK;
}
static const tf_attr langevin_attrs[] = { TF_A(langevin_desc, snr, TF_ATTR_DOUBLE, "signal-to-noise ratio of a step", .required = true),
                                          TF_A(langevin_desc, per_sample, TF_ATTR_BOOL, "norms of each sample; else their mean over the batch") };
const tf_op tf_op_langevin_step = { .name = "langevin_step",
    .doc = "x, score, noise z [b, ..], scale A -> x + eta score + sqrt(2 eta) z, and that without noise; eta = 2 A (snr |z|/|score|)^2", .source = "arXiv:2011.13456 algorithm 4",
    .operands = "x score noise scale", .results = "y mean", .kind = TF_COMPOSITE, .attrs = langevin_attrs, .attr_count = TF_COUNT(langevin_attrs),
    .desc_size = sizeof(langevin_desc), .infer = langevin_step_infer, .reference = langevin_step_reference, .lower = langevin_step_lower, .rel = 64 };
tuff_tensor tuff_langevin_step(tuff_tensor x, tuff_tensor score, tuff_tensor noise, tuff_tensor scale, double snr, bool per_sample)
{
    return tf_add(NULL, &tf_op_langevin_step, (tuff_tensor[]){ x, score, noise, scale }, 4, &(langevin_desc){ snr, per_sample });
}

/* ---- the sampler ---- */

typedef struct pc { const tuff_pc_sample_desc *d; tuff_graph *g; tuff_shape shape; } pc;

static tuff_tensor pc_entry(const pc *s, tuff_tensor step, int column)
{
    const tuff_tensor flat = tf_reshaped(s->d->table, 1, (const int64_t[]){ tf_ty(s->d->table)->dim[0] * TUFF_PC_COLUMNS });
    return tuff_gather(flat, tuff_add(tuff_mul(step, tuff_literal(s->g, TUFF_PC_COLUMNS, TUFF_I32)), tuff_literal(s->g, column, TUFF_I32)), 0);
}

/* Streams of the noise: the start and the predictor, the corrector, what is known. */
enum { PREDICT, CORRECT, REPLACE };
static tuff_tensor pc_noise(const pc *s, tuff_tensor given, tuff_tensor index, uint32_t stream)
{
    if (given.id) return tuff_gather(given, index, 0);
    return tuff_normal(s->g, s->shape, s->d->seed, &(tuff_random_desc){ .stream = s->d->stream + stream, .draw = 1, .step = index, .sample = s->d->sample });
}

static tuff_tensor times_step(const pc *s, tuff_tensor step, int64_t by, int64_t plus)
{
    return tuff_add(tuff_mul(step, tuff_literal(s->g, (double)by, TUFF_I32)), tuff_literal(s->g, (double)plus, TUFF_I32));
}

static tuff_tensor score_at(const pc *s, tuff_tensor x, tuff_tensor step)
{
    tuff_denoiser_call call = { .graph = s->g, .x = x, .state = x, .alpha = pc_entry(s, step, TUFF_PC_ALPHA), .sigma = pc_entry(s, step, TUFF_PC_SIGMA),
                                .time = pc_entry(s, step, TUFF_PC_TIME), .table = s->d->table, .step = step, .user = s->d->user };
    const tuff_tensor f = s->d->denoiser(s->d->user, &call);
    return s->d->prediction == TUFF_PREDICT_SCORE ? f : tuff_convert_prediction(x, f, call.alpha, call.sigma, s->d->prediction, TUFF_PREDICT_SCORE);
}

/* Known elements at the step's noise; without noise where z is none. With a transform, mask and known are in its coordinates. */
static tuff_tensor known_again(const pc *s, tuff_tensor x, tuff_tensor step, tuff_tensor z)
{
    const tuff_pc_sample_desc *d = s->d;
    if (!d->mask.id) return x;
    const tuff_tensor one = tuff_literal(s->g, 1, TUFF_F32), here = d->transform ? d->transform(d->user, x, false) : x;
    tuff_tensor known = tuff_mul(pc_entry(s, step, TUFF_PC_ALPHA), d->known);
    if (z.id) known = tuff_add(known, tuff_mul(pc_entry(s, step, TUFF_PC_SIGMA), z));
    const tuff_tensor mixed = tuff_add(tuff_mul(here, tuff_sub(one, d->mask)), tuff_mul(known, d->mask));
    return d->transform ? d->transform(d->user, mixed, true) : mixed;
}

static void pc_body(void *user, tuff_iteration *it)
{
    const pc *s = user;
    const tuff_pc_sample_desc *d = s->d;
    const tuff_tensor none = { NULL, 0 };
    tuff_tensor x = it->in[0], mean = it->in[1];
    for (uint32_t k = 0; k < d->corrector_steps; k++) {
        const tuff_tensor z = pc_noise(s, d->corrector_noise, times_step(s, it->step, d->corrector_steps, k), CORRECT);
        x = tuff_langevin_step(x, score_at(s, x, it->step), z, pc_entry(s, it->step, TUFF_PC_CORRECTOR), d->snr, d->per_sample);
        mean = tuff_result(x, 1);
    }
    if (d->corrector_steps && d->mask.id) x = known_again(s, x, it->step, pc_noise(s, d->replace_noise, times_step(s, it->step, 2, 0), REPLACE));
    const tuff_tensor score = score_at(s, x, it->step), z = pc_noise(s, d->noise, it->step, PREDICT);
    mean = tuff_add(tuff_mul(pc_entry(s, it->step, TUFF_PC_X), x), tuff_mul(pc_entry(s, it->step, TUFF_PC_SCORE), score));
    x = tuff_add(mean, tuff_mul(pc_entry(s, it->step, TUFF_PC_NOISE), z));
    if (d->mask.id) {
        x = known_again(s, x, it->step, pc_noise(s, d->replace_noise, times_step(s, it->step, 2, 1), REPLACE));
        mean = known_again(s, mean, it->step, none);
    }
    it->out[0] = x;
    it->out[1] = mean;
    if (d->states) it->stacked[0] = x;
}

tuff_tensor tuff_pc_sample(tuff_tensor x, const tuff_pc_sample_desc *desc)
{
    const tuff_tensor none = { NULL, 0 };
    if (!desc || !desc->table.graph) return tf_fail(x.graph, TUFF_E_ARGUMENT, "pc_sample: the description or its table is missing");
    if (!x.graph) return tf_fail(desc->table.graph, TUFF_E_ARGUMENT, "pc_sample: the state is absent");
    pc s = { .d = desc, .g = x.graph, .shape = { .rank = tf_ty(x)->rank } };
    const tf_type *t = tf_ty(desc->table);
    memcpy(s.shape.dim, tf_ty(x)->dim, sizeof s.shape.dim);
    if (!desc->denoiser) return tf_fail(s.g, TUFF_E_ARGUMENT, "pc_sample: the denoiser is missing");
    if (t->rank != 2 || t->dim[1] != TUFF_PC_COLUMNS || tf_dim_is_dynamic(t->dim[0])) return tf_fail(s.g, TUFF_E_SHAPE, "pc_sample: the table is f32[steps, %d]", TUFF_PC_COLUMNS);
    if (!desc->mask.id != !desc->known.id) return tf_fail(s.g, TUFF_E_ARGUMENT, "pc_sample: mask and known go together");
    tuff_tensor results[3] = { none, none, none };
    const tuff_loop_desc loop = { .count = t->dim[0], .carried = (const tuff_tensor[]){ x, x }, .n = 2, .body = pc_body, .user = &s, .stacked = desc->states != NULL };
    if (tuff_loop(s.g, &loop, results) != TUFF_OK) return none;
    if (desc->noisy) *desc->noisy = results[0];
    if (desc->states) *desc->states = results[2];
    return results[1];
}
