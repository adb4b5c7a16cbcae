/* ode.c - Dormand-Prince 5(4) with a PI controller entirely on the device; the probability-flow ODE and its likelihood.
 *
 * One while loop: six evaluations of the right side, one reduction to the error, and a few numbers that decide. A rejected
 * step selects the old values. Time is a sum of two floats, so that small steps near its end are not lost. The evaluations of
 * the body are nodes like any others: the callback builds them once per stage. */
#include "anchors.h"
#include "ops.h"
#include "schedule.h"

#include <math.h>
#include <string.h>

enum { STAGES = 7, MOST_STATES = 4 };
static const double node_at[STAGES] = { 0, 0.2, 0.3, 0.8, 8.0 / 9, 1, 1 };
static const double weight[STAGES][6] = {
    { 0 }, { 1.0 / 5 }, { 3.0 / 40, 9.0 / 40 }, { 44.0 / 45, -56.0 / 15, 32.0 / 9 }, { 19372.0 / 6561, -25360.0 / 2187, 64448.0 / 6561, -212.0 / 729 },
    { 9017.0 / 3168, -355.0 / 33, 46732.0 / 5247, 49.0 / 176, -5103.0 / 18656 }, { 35.0 / 384, 0, 500.0 / 1113, 125.0 / 192, -2187.0 / 6784, 11.0 / 84 },
};
static const double error_weight[STAGES] = { 71.0 / 57600, 0, -71.0 / 16695, 71.0 / 1920, -17253.0 / 339200, 22.0 / 525, -1.0 / 40 };

static tuff_tensor f32(tuff_graph *g, double v) { return tuff_literal(g, v, TUFF_F32); }

/* ---- one step ---- */

typedef struct step_io {
    const tuff_tensor *y, *k1;                 /* states and their slopes at t */
    tuff_tensor t, h;
    tuff_tensor next[MOST_STATES], slope[MOST_STATES]; /* at t + h */
    tuff_tensor error, error_size, stiffness;  /* scaled RMS; |error vector|; |k7 - k6| / |y7 - y6| */
} step_io;

static void slopes(const tuff_ode_desc *d, tuff_graph *g, tuff_tensor t, const tuff_tensor *y, uint32_t n, tuff_tensor *dy)
{
    tuff_ode_call call = { .graph = g, .t = t, .y = y, .dy = dy, .n = n, .user = d->user };
    for (uint32_t i = 0; i < n; i++) dy[i] = (tuff_tensor){ NULL, 0 };
    d->rhs(d->user, &call);
}

static tuff_tensor weighted(tuff_graph *g, tuff_tensor start, tuff_tensor h, const double *w, uint32_t n, tuff_tensor k[STAGES][MOST_STATES], uint32_t state)
{
    tuff_tensor sum = { NULL, 0 };
    for (uint32_t j = 0; j < n; j++) {
        if (w[j] == 0) continue;
        const tuff_tensor term = tuff_mul(f32(g, w[j]), k[j][state]);
        sum = sum.id ? tuff_add(sum, term) : term;
    }
    sum = tuff_mul(h, sum);
    return start.id ? tuff_add(start, sum) : sum;
}

static tuff_tensor sum_of_squares(tuff_tensor x) { return tuff_sum(tuff_square(x), NULL); }

static void measure(const tuff_ode_desc *d, tuff_graph *g, uint32_t n, step_io *s, tuff_tensor k[STAGES][MOST_STATES], const tuff_tensor *before_last)
{
    const uint32_t measured = d->measured && d->measured < n ? d->measured : n;
    tuff_tensor scaled = f32(g, 0), plain = scaled, turn = scaled, moved = scaled;
    double count = 0;
    for (uint32_t i = 0; i < measured; i++) {
        uint64_t elements = 1;
        const tuff_tensor e = weighted(g, (tuff_tensor){ NULL, 0 }, s->h, error_weight, STAGES, k, i);
        const tuff_tensor size = tuff_add(f32(g, d->atol), tuff_mul(f32(g, d->rtol), tuff_maximum(tuff_abs(s->y[i]), tuff_abs(s->next[i]))));
        scaled = tuff_add(scaled, sum_of_squares(tuff_div(e, size)));
        plain = tuff_add(plain, sum_of_squares(e));
        turn = tuff_add(turn, sum_of_squares(tuff_sub(k[6][i], k[5][i])));
        moved = tuff_add(moved, sum_of_squares(tuff_sub(s->next[i], before_last[i])));
        tf_count_bound(g, tf_ty(s->y[i]), &elements);
        count += (double)elements;
    }
    s->error = tuff_sqrt(tuff_mul(scaled, f32(g, 1 / count)));
    s->error_size = tuff_sqrt(plain);
    s->stiffness = tuff_sqrt(tuff_div(turn, tuff_maximum(moved, f32(g, 1e-37))));
}

static void rk45(const tuff_ode_desc *d, tuff_graph *g, uint32_t n, step_io *s)
{
    tuff_tensor k[STAGES][MOST_STATES], at[MOST_STATES], before[MOST_STATES];
    for (uint32_t i = 0; i < n; i++) k[0][i] = s->k1[i];
    for (uint32_t stage = 1; stage < STAGES; stage++) {
        for (uint32_t i = 0; i < n; i++) {
            at[i] = weighted(g, s->y[i], s->h, weight[stage], stage, k, i);
            if (stage == STAGES - 2) before[i] = at[i];
        }
        slopes(d, g, tuff_add(s->t, tuff_mul(f32(g, node_at[stage]), s->h)), at, n, k[stage]);
    }
    for (uint32_t i = 0; i < n; i++) {
        s->next[i] = at[i];
        s->slope[i] = k[STAGES - 1][i];
    }
    measure(d, g, n, s, k, before);
}

static bool usable(tuff_graph *g, const tuff_ode_desc *d, const tuff_tensor *y, uint32_t n, const tuff_tensor *results)
{
    if (!g) return false;
    if (!y || !results) { tf_fail(g, TUFF_E_ARGUMENT, "ode: the states or the results are NULL"); return false; }
    if (!d || !d->rhs) { tf_fail(g, TUFF_E_ARGUMENT, "ode: the right side is missing"); return false; }
    if (n == 0 || n > MOST_STATES) { tf_fail(g, TUFF_E_LIMIT, "ode: %u states; 1 to %d are possible", n, MOST_STATES); return false; }
    for (uint32_t i = 0; i < n; i++)
        if (y[i].graph != g || tuff_tensor_dtype(y[i]) != TUFF_F32) { tf_fail(g, TUFF_E_DTYPE, "ode: state %u must be an f32 tensor of this graph", i); return false; }
    if (!(d->rtol >= 0 && d->atol >= 0 && d->rtol + d->atol >= 0)) { tf_fail(g, TUFF_E_ATTRIBUTE, "ode: rtol is %g and atol is %g", d->rtol, d->atol); return false; }
    return true;
}

static tuff_ode_desc with_defaults(const tuff_ode_desc *desc)
{
    tuff_ode_desc d = *desc;
    if (d.rtol == 0) d.rtol = 1e-5;
    if (d.atol == 0) d.atol = 1e-5;
    if (d.h0 == 0) d.h0 = 0.01 * fabs(d.t1 - d.t0);
    if (d.max_steps == 0) d.max_steps = 1000;
    return d;
}

tuff_status tuff_rk45_step(tuff_graph *g, tuff_tensor t, tuff_tensor h, const tuff_tensor *y, uint32_t n, const tuff_ode_desc *desc, tuff_tensor *results)
{
    if (!usable(g, desc, y, n, results)) return g ? tuff_graph_status(g) : TUFF_E_ARGUMENT;
    const tuff_ode_desc d = with_defaults(desc);
    tuff_tensor k1[MOST_STATES];
    slopes(&d, g, t, y, n, k1);
    step_io s = { .y = y, .k1 = k1, .t = t, .h = h };
    rk45(&d, g, n, &s);
    for (uint32_t i = 0; i < n; i++) results[i] = s.next[i];
    results[n] = s.error;
    results[n + 1] = s.stiffness;
    return tuff_graph_status(g);
}

/* ---- the controller ---- */

/* Carried numbers behind the states and slopes. */
enum { C_T, C_T_LOW, C_H, C_OLD_ERROR, C_REJECTED_BEFORE, C_ACCEPTED, C_STEPS, C_ERROR_SUM, C_STIFF, CONTROL };

typedef struct solve { const tuff_ode_desc *d; uint32_t n; } solve;

static tuff_tensor select(tuff_tensor c, tuff_tensor a, tuff_tensor b) { return tuff_where(c, a, b); }

/* t + h as a sum of two floats. */
static void advance(tuff_graph *g, tuff_tensor hi, tuff_tensor lo, tuff_tensor h, tuff_tensor *out_hi, tuff_tensor *out_lo)
{
    (void)g;
    const tuff_tensor sum = tuff_add(hi, h), back = tuff_sub(sum, hi), rest = tuff_add(tuff_sub(hi, tuff_sub(sum, back)), tuff_sub(h, back));
    const tuff_tensor low = tuff_add(lo, rest), whole = tuff_add(sum, low);
    *out_hi = whole;
    *out_lo = tuff_sub(low, tuff_sub(whole, sum));
}

static tuff_tensor next_step(tuff_graph *g, tuff_tensor error, tuff_tensor old, tuff_tensor rejected_before, tuff_tensor accept)
{
    const tuff_tensor e = tuff_maximum(error, f32(g, 1e-10)), one = f32(g, 1);
    const tuff_tensor grow = tuff_clamp(tuff_mul(f32(g, 0.9), tuff_mul(tuff_pow(e, f32(g, -0.17)), tuff_pow(old, f32(g, 0.04)))), f32(g, 0.2), f32(g, 10));
    const tuff_tensor careful = select(tuff_greater(rejected_before, f32(g, 0.5)), tuff_minimum(grow, one), grow);
    const tuff_tensor shrink = tuff_maximum(f32(g, 0.2), tuff_mul(f32(g, 0.9), tuff_pow(e, f32(g, -0.2))));
    return select(accept, careful, select(tuff_isfinite(error), shrink, f32(g, 0.2)));
}

static void solve_body(void *user, tuff_iteration *it)
{
    const solve *s = user;
    const tuff_ode_desc *d = s->d;
    tuff_graph *g = it->graph;
    const uint32_t n = s->n;
    const tuff_tensor *c = it->in + 2 * n;
    tuff_tensor *out = it->out + 2 * n;
    const tuff_tensor end = f32(g, d->t1), left = tuff_sub(tuff_sub(end, c[C_T]), c[C_T_LOW]), last = tuff_greater_equal(tuff_abs(c[C_H]), tuff_abs(left));
    step_io io = { .y = it->in, .k1 = it->in + n, .t = tuff_add(c[C_T], c[C_T_LOW]), .h = select(last, left, c[C_H]) };
    rk45(d, g, n, &io);
    const tuff_tensor accept = tuff_less_equal(io.error, f32(g, 1)), done = tuff_logical_and(accept, last), taken = tuff_cast(accept, TUFF_F32);
    for (uint32_t i = 0; i < n; i++) {
        it->out[i] = select(accept, io.next[i], it->in[i]);
        it->out[n + i] = select(accept, io.slope[i], it->in[n + i]);
    }
    tuff_tensor hi, lo;
    advance(g, c[C_T], c[C_T_LOW], io.h, &hi, &lo);
    out[C_T] = select(done, end, select(accept, hi, c[C_T]));
    out[C_T_LOW] = select(done, f32(g, 0), select(accept, lo, c[C_T_LOW]));
    out[C_H] = tuff_mul(io.h, next_step(g, io.error, c[C_OLD_ERROR], c[C_REJECTED_BEFORE], accept));
    out[C_OLD_ERROR] = select(accept, tuff_maximum(io.error, f32(g, 1e-4)), c[C_OLD_ERROR]);
    out[C_REJECTED_BEFORE] = tuff_sub(f32(g, 1), taken);
    out[C_ACCEPTED] = tuff_add(c[C_ACCEPTED], taken);
    out[C_STEPS] = tuff_add(c[C_STEPS], f32(g, 1));
    out[C_ERROR_SUM] = tuff_add(c[C_ERROR_SUM], tuff_mul(taken, tuff_mul(tuff_abs(io.h), io.error_size)));
    out[C_STIFF] = tuff_maximum(c[C_STIFF], tuff_mul(taken, tuff_mul(tuff_abs(io.h), io.stiffness)));
    const tuff_tensor smallest = f32(g, 1e-7 * fabs(d->t1 - d->t0));
    it->again = tuff_logical_and(tuff_logical_not(done), tuff_greater(tuff_abs(out[C_H]), smallest));
    if (d->trace) it->stacked[0] = tuff_stack((const tuff_tensor[]){ tuff_add(out[C_T], out[C_T_LOW]), io.h, io.error, taken }, 4, 0);
}

tuff_status tuff_ode_solve(tuff_graph *g, const tuff_tensor *y, uint32_t n, const tuff_ode_desc *desc, tuff_tensor *results)
{
    if (!usable(g, desc, y, n, results)) return g ? tuff_graph_status(g) : TUFF_E_ARGUMENT;
    const tuff_ode_desc d = with_defaults(desc);
    const double start[CONTROL] = { [C_T] = (double)(float)d.t0, [C_T_LOW] = d.t0 - (double)(float)d.t0, [C_H] = d.t1 < d.t0 ? -d.h0 : d.h0, [C_OLD_ERROR] = 1e-4 };
    tuff_tensor carried[2 * MOST_STATES + CONTROL], out[2 * MOST_STATES + CONTROL + 3];
    solve s = { &d, n };
    for (uint32_t i = 0; i < n; i++) carried[i] = y[i];
    slopes(&d, g, f32(g, d.t0), y, n, carried + n);
    for (uint32_t i = 0; i < CONTROL; i++) carried[2 * n + i] = f32(g, start[i]);
    const tuff_while_desc loop = { .max = d.max_steps, .carried = carried, .n = 2 * n + CONTROL, .body = solve_body, .user = &s, .stacked = d.trace != NULL };
    if (tuff_while(g, &loop, out) != TUFF_OK) return tuff_graph_status(g);
    const tuff_tensor *c = out + 2 * n;
    for (uint32_t i = 0; i < n; i++) results[i] = out[i];
    const tuff_tensor evaluations = tuff_add(tuff_mul(c[C_STEPS], f32(g, 6)), f32(g, 1));
    if (d.report)
        *d.report = tuff_stack((const tuff_tensor[]){ c[C_T], c[C_H], c[C_ACCEPTED], tuff_sub(c[C_STEPS], c[C_ACCEPTED]), evaluations, c[C_ERROR_SUM], c[C_STIFF] }, 7, 0);
    if (d.trace) *d.trace = c[CONTROL];
    return tuff_graph_status(g);
}

/* ---- processes in continuous time ---- */

typedef struct marginal_desc { tuff_sde sde; double sigma_min, sigma_max, beta_min, beta_max; } marginal_desc;
static const char *const sdes[] = { "vp", "ve", "subvp", NULL };

static bool sde_marginals_infer(tf_infer *c)
{
    marginal_desc *d = c->mut;
    if (d->sigma_min == 0) d->sigma_min = 0.01;
    if (d->sigma_max == 0) d->sigma_max = 50;
    if (d->beta_min == 0) d->beta_min = 0.1;
    if (d->beta_max == 0) d->beta_max = 20;
    if (c->type[0]->dtype != TUFF_F32) return tf_bad(c, TUFF_E_DTYPE, "%s must be f32", tf_src_text(c, 0));
    if (!(d->sigma_min > 0 && d->sigma_min < d->sigma_max && d->beta_min > 0 && d->beta_min < d->beta_max))
        return tf_bad(c, TUFF_E_ATTRIBUTE, "sigma_min < sigma_max and beta_min < beta_max are needed, all positive");
    for (uint32_t i = 0; i < 4; i++) c->out[i] = *c->type[0];
    c->n_out = 4;
    return true;
}
static void sde_marginals_lower(tf_lower *l)
{
    const marginal_desc *d = l->desc;
    tuff_graph *g = l->g;
    const tuff_tensor t = l->src[0];
    if (d->sde == TUFF_SDE_VE) {
        const double rate = log(d->sigma_max / d->sigma_min);
        const tuff_tensor sigma = tuff_exp(tuff_add(f32(g, log(d->sigma_min)), tuff_mul(f32(g, rate), t))), zero = tuff_mul(t, f32(g, 0));
        l->out[0] = tuff_add(zero, f32(g, 1));
        l->out[1] = sigma;
        l->out[2] = zero;
        l->out[3] = tuff_mul(f32(g, 2 * rate), tuff_square(sigma));
        return;
    }
    const double slope = d->beta_max - d->beta_min;
    const tuff_tensor la = tuff_mul(t, tuff_sub(f32(g, -0.5 * d->beta_min), tuff_mul(f32(g, 0.25 * slope), t))), rest = tuff_neg(tuff_expm1(tuff_mul(f32(g, 2), la)));
    const tuff_tensor beta = tuff_add(f32(g, d->beta_min), tuff_mul(f32(g, slope), t));
    l->out[0] = tuff_exp(la);
    l->out[1] = d->sde == TUFF_SDE_VP ? tuff_sqrt(rest) : rest;
    l->out[2] = tuff_mul(f32(g, -0.5), beta);
    l->out[3] = d->sde == TUFF_SDE_VP ? beta : tuff_mul(beta, tuff_neg(tuff_expm1(tuff_mul(f32(g, 4), la))));
}
static tuff_status sde_marginals_reference(tf_ref *r)
{
    const marginal_desc *d = r->desc;
    for (uint64_t i = 0; i < r->src[0]->n; i++) {
        const double t = r->src[0]->re[i], rate = log(d->sigma_max / d->sigma_min), la = d->sde == TUFF_SDE_VE ? 0 : tf_vp_log_alpha(t, d->beta_min, d->beta_max);
        const double rest = -expm1(2 * la), beta = d->beta_min + t * (d->beta_max - d->beta_min);
        const double sigma = d->sde == TUFF_SDE_VE ? d->sigma_min * exp(rate * t) : d->sde == TUFF_SDE_VP ? sqrt(rest) : rest;
        r->out[0].re[i] = exp(la);
        r->out[1].re[i] = sigma;
        r->out[2].re[i] = d->sde == TUFF_SDE_VE ? 0 : -0.5 * beta;
        r->out[3].re[i] = d->sde == TUFF_SDE_VE ? 2 * rate * sigma * sigma : d->sde == TUFF_SDE_VP ? beta : beta * -expm1(4 * la);
    }
    return TUFF_OK;
}
static const tf_attr marginal_attrs[] = {
    TF_A(marginal_desc, sde, TF_ATTR_ENUM, "the forward process", .choices = sdes), TF_A(marginal_desc, sigma_min, TF_ATTR_DOUBLE, "ve: sigma at time 0; 0: 0.01"),
    TF_A(marginal_desc, sigma_max, TF_ATTR_DOUBLE, "ve: sigma at time 1; 0: 50"), TF_A(marginal_desc, beta_min, TF_ATTR_DOUBLE, "vp, subvp: beta at time 0; 0: 0.1"),
    TF_A(marginal_desc, beta_max, TF_ATTR_DOUBLE, "vp, subvp: beta at time 1; 0: 20"),
};
const tf_op tf_op_sde_marginals = { .name = "sde_marginals", .doc = "t[..] -> alpha, sigma of x_t = alpha x_0 + sigma noise; drift f and diffusion g^2 of dx = f x dt + g dw",
    .source = "arXiv:2011.13456", .operands = "t", .results = "alpha sigma drift diffusion", .kind = TF_COMPOSITE, .attrs = marginal_attrs, .attr_count = TF_COUNT(marginal_attrs),
    .desc_size = sizeof(marginal_desc), .infer = sde_marginals_infer, .reference = sde_marginals_reference, .lower = sde_marginals_lower, .rel = 64 };
tuff_tensor tuff_sde_marginals(tuff_tensor t, const tuff_sde_desc *desc)
{
    const tuff_sde_desc s = desc ? *desc : (tuff_sde_desc){ .sigma_min = 0 };
    return tf_add(t.graph, &tf_op_sde_marginals, &t, 1, &(marginal_desc){ s.sde, s.sigma_min, s.sigma_max, s.beta_min, s.beta_max });
}

/* ---- probability flow and likelihood ---- */

typedef struct flow {
    const tuff_flow_desc *d;
    tuff_tensor probes;      /* [P, b, n], none: no divergence */
    bool exact;
} flow;

typedef struct point { tuff_tensor alpha, sigma, drift, diffusion; } point;

static tuff_denoiser_call asked(const flow *f, tuff_graph *g, tuff_tensor x, tuff_tensor t, point *p)
{
    p->alpha = tuff_sde_marginals(t, &f->d->process);
    p->sigma = tuff_result(p->alpha, 1);
    p->drift = tuff_result(p->alpha, 2);
    p->diffusion = tuff_result(p->alpha, 3);
    return (tuff_denoiser_call){ .graph = g, .x = x, .state = x, .alpha = p->alpha, .sigma = p->sigma, .time = t, .user = f->d->user };
}
/* f x - g^2/2 score; it is linear in (x, F), so the same maps (v, J v) to the derivative along v. */
static tuff_tensor velocity(const flow *f, tuff_tensor x, tuff_tensor said, const point *p)
{
    const tuff_tensor score = f->d->prediction == TUFF_PREDICT_SCORE ? said : tuff_convert_prediction(x, said, p->alpha, p->sigma, f->d->prediction, TUFF_PREDICT_SCORE);
    return tuff_sub(tuff_mul(p->drift, x), tuff_mul(tuff_mul(f32(x.graph, 0.5), p->diffusion), score));
}

static tuff_tensor along(const flow *f, tuff_tensor x, tuff_tensor v, tuff_tensor t)
{
    tuff_graph *g = x.graph;
    point p;
    tuff_denoiser_call call = asked(f, g, x, t, &p);
    if (f->d->derivative) return velocity(f, v, f->d->derivative(f->d->user, &call, v), &p);
    const tuff_tensor step = tuff_mul(f32(g, f->d->difference), tuff_add(p.alpha, p.sigma)), shift = tuff_mul(step, v);
    tuff_tensor side[2];
    for (int k = 0; k < 2; k++) {
        call.x = call.state = k ? tuff_sub(x, shift) : tuff_add(x, shift);
        side[k] = velocity(f, call.x, f->d->denoiser(f->d->user, &call), &p);
    }
    return tuff_div(tuff_sub(side[0], side[1]), tuff_mul(f32(g, 2), step));
}

/* [P, b, n] probes: v^T J v -> [P, b]; all probes run as one batch. */
static tuff_tensor divergence(const flow *f, tuff_tensor x, tuff_tensor t)
{
    const tf_type v = *tf_ty(f->probes), rows = *tf_ty(x);
    tuff_shape shape = { .rank = rows.rank + 1, .dim = { v.dim[0] } }, batch = { .rank = rows.rank };
    memcpy(shape.dim + 1, rows.dim, (size_t)rows.rank * sizeof *rows.dim);
    memcpy(batch.dim, rows.dim, sizeof batch.dim);
    batch.dim[0] = v.dim[0] * rows.dim[0];
    const tuff_tensor many = tuff_reshape(tuff_expand(x, shape), batch), probes = tuff_reshape(f->probes, batch);
    const tuff_tensor product = tuff_mul(probes, along(f, many, probes, t));
    const int64_t n = tf_dim_product(x.graph, rows.dim, 1, rows.rank);
    const tuff_tensor sums = tuff_sum(tuff_reshape(product, TUFF_SHAPE(v.dim[0], rows.dim[0], n)), &(tuff_reduce_desc){ .axes = TUFF_INTS(2) });
    return f->exact ? tuff_sum(sums, &(tuff_reduce_desc){ .axes = TUFF_INTS(0), .keep = true }) : sums;
}

static void flow_rhs(void *user, tuff_ode_call *c)
{
    const flow *f = user;
    point p;
    tuff_denoiser_call call = asked(f, c->graph, c->y[0], c->t, &p);
    c->dy[0] = velocity(f, c->y[0], f->d->denoiser(f->d->user, &call), &p);
    if (c->n > 1) c->dy[1] = divergence(f, c->y[0], c->t);
}

static bool flow_ok(tuff_tensor x, const tuff_flow_desc *d)
{
    if (!d || !d->denoiser) { tf_fail(x.graph, TUFF_E_ARGUMENT, "probability flow: the denoiser is missing"); return false; }
    if (tf_ty(x)->rank < 2 || !tf_type_is_static(tf_ty(x))) { tf_fail(x.graph, TUFF_E_SHAPE, "probability flow: the state is f32[batch, ..] of fixed size"); return false; }
    return true;
}

static tuff_ode_desc ode_of(const tuff_flow_desc *d, flow *f, double t0, double t1)
{
    return (tuff_ode_desc){ .rhs = flow_rhs, .user = f, .t0 = d->t0 != 0 ? d->t0 : t0, .t1 = d->t1 != 0 ? d->t1 : t1, .rtol = d->rtol, .atol = d->atol, .h0 = d->h0,
                            .max_steps = d->max_steps, .report = d->report, .trace = d->trace };
}

tuff_tensor tuff_probability_flow(tuff_tensor x, const tuff_flow_desc *desc)
{
    tuff_tensor out = { NULL, 0 };
    if (!x.id || !flow_ok(x, desc)) return out;
    flow f = { .d = desc };
    const tuff_ode_desc ode = ode_of(desc, &f, 1, 1e-3);
    tuff_ode_solve(x.graph, &x, 1, &ode, &out);
    return out;
}

/* Unit vectors [n, b, ..]: the sum over them is the trace. */
static tuff_tensor unit_vectors(tuff_tensor x)
{
    const tf_type t = *tf_ty(x);
    const int64_t n = tf_dim_product(x.graph, t.dim, 1, t.rank);
    tuff_shape shape = { .rank = t.rank + 1, .dim = { n } };
    memcpy(shape.dim + 1, t.dim, (size_t)t.rank * sizeof *t.dim);
    const tuff_tensor row = tuff_iota(x.graph, TUFF_SHAPE(n, 1, n), 0, NULL), column = tuff_iota(x.graph, TUFF_SHAPE(n, 1, n), 2, NULL);
    return tuff_reshape(tuff_expand(tuff_cast(tuff_equal(row, column), TUFF_F32), TUFF_SHAPE(n, t.dim[0], n)), shape);
}

static tuff_tensor probes_of(tuff_tensor x, const tuff_flow_desc *d)
{
    const tf_type t = *tf_ty(x);
    tuff_shape shape = { .rank = t.rank }, apart = { .rank = t.rank + 1 };
    const int64_t count = d->probe_count ? (int64_t)d->probe_count : 1;
    tuff_tensor parts[TF_MAX_OPERANDS];
    if (d->probes.id) return d->probes;
    memcpy(shape.dim, t.dim, sizeof shape.dim);
    memcpy(apart.dim + 1, t.dim, (size_t)t.rank * sizeof *t.dim);
    apart.dim[0] = 1;
    for (int64_t k = 0; k < count && k < TF_MAX_OPERANDS; k++) {
        const tuff_random_desc r = { .stream = d->stream, .draw = (uint32_t)k };
        parts[k] = tuff_reshape(d->gaussian_probes ? tuff_normal(x.graph, shape, d->seed, &r) : tuff_rademacher(x.graph, shape, d->seed, &r), apart);
    }
    return tuff_concat(parts, (uint32_t)TF_MIN(count, (int64_t)TF_MAX_OPERANDS), 0);
}

tuff_tensor tuff_log_likelihood(tuff_tensor x, const tuff_flow_desc *desc, tuff_tensor *latent)
{
    const tuff_tensor none = { NULL, 0 };
    if (!x.id || !flow_ok(x, desc)) return none;
    tuff_graph *g = x.graph;
    tuff_flow_desc d = *desc;
    if (d.difference == 0) d.difference = 0.01;
    const tf_type t = *tf_ty(x);
    const int64_t n = tf_dim_product(g, t.dim, 1, t.rank);
    flow f = { .d = &d, .exact = d.exact_trace, .probes = d.exact_trace ? unit_vectors(x) : probes_of(x, &d) };
    if (!f.probes.id) return none;
    const tf_type v = *tf_ty(f.probes);
    if (v.rank != t.rank + 1 || v.dim[1] != t.dim[0]) return tf_fail(g, TUFF_E_SHAPE, "log_likelihood: probes are f32[count, batch, ..] in the shape of the state");
    const tuff_tensor l0 = tuff_mul(tuff_literal(g, 0, TUFF_F32), tuff_cast(tuff_iota(g, TUFF_SHAPE(d.exact_trace ? 1 : v.dim[0], t.dim[0]), 0, NULL), TUFF_F32));
    tuff_ode_desc ode = ode_of(&d, &f, 1e-5, 1);
    ode.measured = d.derivative ? 2 : 1; /* differences are too coarse to steer by */
    tuff_tensor out[2] = { none, none };
    if (tuff_ode_solve(g, (const tuff_tensor[]){ x, l0 }, 2, &ode, out) != TUFF_OK) return none;
    if (latent) *latent = out[0];
    const double variance = d.process.sde == TUFF_SDE_VE ? pow(d.process.sigma_max != 0 ? d.process.sigma_max : 50, 2) : 1;
    const tuff_tensor squares = tuff_sum(tuff_square(tuff_reshape(out[0], TUFF_SHAPE(1, t.dim[0], n))), &(tuff_reduce_desc){ .axes = TUFF_INTS(2) });
    const tuff_tensor prior = tuff_add(tuff_mul(f32(g, -0.5 / variance), squares), f32(g, -0.5 * (double)n * log(2 * 3.14159265358979323846 * variance)));
    const tuff_tensor logp = tuff_add(out[1], prior);
    return d.exact_trace ? tuff_reshape(logp, TUFF_SHAPE(t.dim[0])) : logp;
}
