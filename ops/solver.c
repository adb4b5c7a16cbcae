/* solver.c - solver_table: any fixed-grid sampler of a diffusion model as rows of coefficients.
 *
 * A row says at which point (alpha, sigma) the network runs, how its output becomes the denoised D, what is remembered
 * (m = kx Y + kf D) and how the states follow: X', Y' = coefficients of (X, Y, m0..m3, z). One update kernel executes every
 * table, so solvers are data. Everything here is double precision on the host. Solvers stated for VE coordinates (alpha = 1) run
 * any process: x = alpha x_ve, which scales coefficients. Rows are finite where the last sigma is 0 and where the first
 * alpha is 0. */
#include "ops.h"
#include "schedule.h"
#include "graph/interp.h"

#include <math.h>
#include <string.h>

enum { X, Y, M0, M1, M2, M3, Z, TERMS };
enum { HISTORY = 4 };

typedef struct row {
    double eval, alpha, sigma, t, c_in, px, pf, kx, kf, x[TERMS], y[TERMS], noise;
} row;
_Static_assert(sizeof(row) == TUFF_ROW_COLUMNS * sizeof(double), "a row is its columns");

typedef struct table_desc {
    tuff_solver solver;
    tuff_prediction prediction;
    tuff_process process;
    tuff_time_input time;
    double eta, noise_scale, r, s_churn, s_tmin, s_tmax, sigma_data, sigma_min, timestep_scaling;
    int32_t order;
    bool heun, bh1, large_variance, keep_order, restart, scale_input;
    tuff_tensor alphas, times, alphas_mid, sigmas_mid;
} table_desc;

typedef struct build {
    const table_desc *d;
    const double *a, *s, *times, *mid_a, *mid_s;
    int64_t n;             /* steps; a and s have n + 1 points */
    int64_t start;         /* first step of the present run of steps: multistep solvers warm up from here */
    row *rows;
    int64_t n_rows;
    int64_t *step_end;     /* last row of each step */
    tuff_process process;
} build;

/* ---- points ---- */

static double level(const build *b, int64_t i) { return b->s[i] / b->a[i]; } /* VE noise level */
/* exp(-h), h the step in lambda; 0 where alpha or the next sigma is 0. */
static double decay(const build *b, int64_t i, int64_t to) { return b->s[to] * b->a[i] / (b->a[to] * b->s[i]); }
static double step_of(const build *b, int64_t i) { return -log(decay(b, i, i + 1)); }

/* alpha at a VE level between the points i and i + 1. */
static double alpha_at(const build *b, int64_t i, double ve)
{
    if (b->process == TUFF_PROCESS_VE) return 1;
    if (b->process == TUFF_PROCESS_VP) return 1 / sqrt(1 + ve * ve);
    if (b->process == TUFF_PROCESS_FLOW) return 1 / (1 + ve);
    const double l0 = log(level(b, i)), l1 = log(level(b, i + 1)), w = l0 == l1 || !isfinite(l1) ? 0 : (log(ve) - l0) / (l1 - l0);
    return exp(log(b->a[i]) + w * (log(b->a[i + 1]) - log(b->a[i])));
}

static double time_at(const build *b, int64_t i, double alpha, double sigma)
{
    const double ve = sigma / alpha;
    if (!b->times) return b->d->time == TUFF_TIME_LOG_SIGMA ? 0.25 * log(ve) : sigma;
    const double l0 = log(level(b, i)), l1 = i < b->n ? log(level(b, i + 1)) : -INFINITY, w = (log(ve) - l0) / (l1 - l0);
    return isfinite(w) && i < b->n ? b->times[i] + w * (b->times[i + 1] - b->times[i]) : b->times[i];
}

/* How the network's output becomes D = px x + pf F at a point. */
static void set_prediction(const build *b, row *r)
{
    const double a = r->alpha, s = r->sigma, ve = s / a, sd = b->d->sigma_data, v = a * a + s * s;
    r->c_in = b->d->scale_input ? 1 / sqrt(1 + ve * ve) : 1;
    switch (b->d->prediction) {
    case TUFF_PREDICT_X0: r->px = 0; r->pf = 1; break;
    case TUFF_PREDICT_EPS: r->px = 1 / a; r->pf = -s / a; break;
    case TUFF_PREDICT_SCORE: r->px = 1 / a; r->pf = s * s / a; break;
    case TUFF_PREDICT_V: r->px = a / v; r->pf = -s / v; break;
    case TUFF_PREDICT_FLOW: r->px = 1 / (a + s); r->pf = -s / (a + s); break;
    case TUFF_PREDICT_EDM:
        r->px = sd * sd / (ve * ve + sd * sd) / a;
        r->pf = ve * sd / sqrt(ve * ve + sd * sd);
        r->c_in = 1 / (a * sqrt(ve * ve + sd * sd));
        break;
    case TUFF_PREDICT_CONSISTENCY: {
        const double above = ve - b->d->sigma_min;
        r->px = sd * sd / (above * above + sd * sd) / a;
        r->pf = above * sd / sqrt(ve * ve + sd * sd);
        r->c_in = 1 / (a * sqrt(ve * ve + sd * sd));
        break;
    }
    }
}

/* ---- rows ---- */

/* A row that runs the network at (alpha, sigma) in step i and stores D. */
static row *add_row(build *b, int64_t i, double alpha, double sigma)
{
    row *r = &b->rows[b->n_rows++];
    *r = (row){ .eval = 1, .alpha = alpha, .sigma = sigma, .t = time_at(b, i, alpha, sigma), .kf = 1, .noise = -1 };
    set_prediction(b, r);
    return r;
}
static row *at_point(build *b, int64_t i) { return add_row(b, i, b->a[i], b->s[i]); }

static void both(row *r, int term, double v) { r->x[term] = r->y[term] = v; }

static void add_noise(row *r, double v, int64_t id)
{
    if (v == 0) return;
    both(r, Z, v);
    r->noise = (double)id;
}

/* The noise to add and the level to go down to first, from (s) to s2 with e = exp(-h). */
static void ancestral(double s2, double e, double eta, double *up, double *down)
{
    const double full = s2 * sqrt(fmax(1 - e * e, 0));
    *up = fmin(s2, eta * full);
    *down = sqrt(fmax(s2 * s2 - *up * *up, 0));
}

/* Rows of VE solvers are written for alpha = 1. X belongs to a point with alpha x_before, and to x_after, y_after once the row
 * has run; Y to the point the network sees. */
static void conjugate(row *r, double x_before, double x_after, double y_after)
{
    for (int k = 0; k < TERMS; k++) {
        const double from = k == X ? x_before : k == Y ? r->alpha : 1;
        r->x[k] *= x_after / from;
        r->y[k] *= y_after / from;
    }
    r->kx /= r->alpha;
}

/* ---- one-step solvers ---- */

static void first_order(row *r, double c, double a, double a2)
{
    both(r, Y, c);
    both(r, M0, a2 - c * a);
}

static void euler_step(build *b, int64_t i) { first_order(at_point(b, i), b->s[i + 1] / b->s[i], b->a[i], b->a[i + 1]); }

static void ancestral_step(build *b, int64_t i)
{
    const table_desc *d = b->d;
    double up, down;
    row *r = at_point(b, i);
    ancestral(b->s[i + 1], decay(b, i, i + 1), d->solver == TUFF_SOLVER_DDPM ? 1 : d->eta, &up, &down);
    if (d->solver == TUFF_SOLVER_DDPM && d->large_variance) {
        const double q = b->a[i] / b->a[i + 1];
        up = i + 1 < b->n && b->s[i + 1] > 0 ? sqrt(fmax(1 - q * q, 0)) : 0;
    }
    first_order(r, down / b->s[i], b->a[i], b->a[i + 1]);
    add_noise(r, up * d->noise_scale, i);
}

static void lcm_step(build *b, int64_t i)
{
    row *r = at_point(b, i);
    const double sd = b->d->sigma_data, t = b->d->timestep_scaling * r->t, v = t * t + sd * sd;
    r->kx = sd * sd / v;
    r->kf = t / sqrt(v);
    both(r, M0, b->a[i + 1]);
    add_noise(r, b->s[i + 1] * b->d->noise_scale, i);
}

static void tcd_step(build *b, int64_t i)
{
    row *r = at_point(b, i);
    const double a = b->mid_a[i], q = i + 1 < b->n ? b->a[i + 1] / a : 1;
    first_order(r, b->mid_s[i] / b->s[i], b->a[i], a);
    both(r, Y, r->y[Y] * q);
    both(r, M0, r->y[M0] * q);
    add_noise(r, sqrt(fmax(1 - q * q, 0)) * b->d->noise_scale, i);
}

static void consistency_step(build *b, int64_t i)
{
    row *r = at_point(b, i);
    const double next = level(b, i + 1), low = b->d->sigma_min;
    both(r, M0, b->a[i + 1]);
    add_noise(r, i + 1 < b->n && next > low ? b->a[i + 1] * sqrt(next * next - low * low) * b->d->noise_scale : 0, i);
}

/* D_u, of the unconditional network, stands in m1. */
static void cfg_pp_step(build *b, int64_t i)
{
    row *r = at_point(b, i);
    const double c = b->s[i + 1] / b->s[i];
    both(r, Y, c);
    both(r, M0, b->a[i + 1]);
    both(r, M1, -c * b->a[i]);
}

/* ---- two evaluations per step, VE coordinates ---- */

/* The first row of a step from tau to tau2: x stays, y goes to `to`, where the second evaluation takes place. False: the step ends
 * at tau2 = 0, which this row reaches. ve: the alphas are those of VE coordinates. */
static bool trial_row(build *b, int64_t i, double a, double tau, double to, double a_to, double tau2, bool ve)
{
    row *r = add_row(b, i, a, ve ? tau * a : tau);
    if (tau2 == 0) {
        both(r, M0, 1);
        if (ve) conjugate(r, a, b->a[i + 1], b->a[i + 1]);
        return false;
    }
    r->x[X] = 1;
    r->y[X] = to / tau;
    r->y[M0] = 1 - to / tau;
    if (ve) conjugate(r, a, a, a_to);
    return true;
}

/* Heun's method: the whole step, then again with the mean of both slopes. */
static void heun_rows(build *b, int64_t i, double a, double tau, double tau2, bool ve)
{
    const double step = tau2 - tau, a2 = b->a[i + 1];
    if (!trial_row(b, i, a, tau, tau2, a2, tau2, ve)) return;
    row *r = add_row(b, i, a2, ve ? tau2 * a2 : tau2);
    both(r, X, 1 + step / (2 * tau));
    both(r, Y, step / (2 * tau2));
    both(r, M1, -step / (2 * tau));
    both(r, M0, -step / (2 * tau2));
    if (ve) conjugate(r, a, a2, a2);
}

/* DPM-2: a step to the middle, then the whole step with the slope found there. */
static void midpoint_rows(build *b, int64_t i, double a, double tau, double tau2, double middle, double a_middle, bool ve)
{
    if (!trial_row(b, i, a, tau, middle, a_middle, tau2, ve)) return;
    row *r = add_row(b, i, a_middle, ve ? middle * a_middle : middle);
    both(r, X, 1);
    both(r, Y, (tau2 - tau) / middle);
    both(r, M0, -(tau2 - tau) / middle);
    if (ve) conjugate(r, a, b->a[i + 1], b->a[i + 1]);
}

static double churned(const build *b, int64_t i)
{
    const table_desc *d = b->d;
    const double s = level(b, i);
    if (d->s_churn <= 0 || s < d->s_tmin || s > d->s_tmax) return s;
    return s * (1 + fmin(d->s_churn / (double)b->n, sqrt(2) - 1));
}

/* Y becomes scale * Y + up * z: inside the row before if that draws nothing, else a row without evaluation. */
static void noise_row(build *b, int64_t i, double scale, double up)
{
    row *r = b->n_rows ? &b->rows[b->n_rows - 1] : NULL;
    if (r && r->noise < 0) {
        for (int k = 0; k < TERMS; k++) both(r, k, r->y[k] * scale);
    } else {
        r = at_point(b, i);
        r->eval = r->kf = 0;
        both(r, Y, scale);
    }
    add_noise(r, up, i);
}

static void churn_step(build *b, int64_t i)
{
    const double s = level(b, i), hat = churned(b, i), a = hat > s ? alpha_at(b, i, hat) : b->a[i];
    const double s2 = level(b, i + 1), a2 = b->a[i + 1];
    if (hat > s) noise_row(b, i, a / b->a[i], a * sqrt(hat * hat - s * s) * b->d->noise_scale);
    if (b->d->solver == TUFF_SOLVER_HEUN) {
        heun_rows(b, i, a, hat, s2, true);
    } else if (b->d->solver == TUFF_SOLVER_DPM2) {
        const double middle = sqrt(hat * s2);
        midpoint_rows(b, i, a, hat, s2, middle, middle > 0 ? alpha_at(b, i, middle) : 1, true);
    } else {
        const double from = hat > s ? hat * a : b->s[i]; /* alpha may be 0 */
        first_order(add_row(b, i, a, from), b->s[i + 1] / from, a, a2);
    }
}

static void flow_heun_step(build *b, int64_t i) { heun_rows(b, i, b->a[i], b->s[i], b->s[i + 1], false); }

static void flow_midpoint_step(build *b, int64_t i)
{
    const double middle = 0.5 * (b->s[i] + b->s[i + 1]);
    midpoint_rows(b, i, b->a[i], b->s[i], b->s[i + 1], middle, 1 - middle, false);
}

static void last_to_clean(build *b, int64_t i) { both(at_point(b, i), M0, b->a[i + 1]); }

static void dpmpp_2s_step(build *b, int64_t i)
{
    const double s = level(b, i), s2 = level(b, i + 1);
    double up, down;
    if (s2 == 0) { last_to_clean(b, i); return; }
    ancestral(s2, s2 / s, b->d->eta, &up, &down);
    row *r;
    if (down > 0) {
        const double middle = sqrt(s * down), a_middle = alpha_at(b, i, middle);
        r = at_point(b, i);
        r->x[X] = 1;
        r->y[X] = middle / s;
        r->y[M0] = 1 - middle / s;
        conjugate(r, b->a[i], b->a[i], a_middle);
        r = add_row(b, i, a_middle, middle * a_middle);
    } else
        r = at_point(b, i); /* all of the next level is fresh noise */
    both(r, X, down / s);
    both(r, M0, 1 - down / s);
    add_noise(r, up * b->d->noise_scale, i);
    conjugate(r, b->a[i], b->a[i + 1], b->a[i + 1]);
}

static void dpmpp_sde_step(build *b, int64_t i)
{
    const table_desc *d = b->d;
    const double s = level(b, i), s2 = level(b, i + 1), f = 1 / (2 * d->r);
    double up, down;
    if (s2 == 0) { last_to_clean(b, i); return; }
    const double middle = pow(s, 1 - d->r) * pow(s2, d->r), a_middle = alpha_at(b, i, middle);
    row *r = at_point(b, i);
    ancestral(middle, middle / s, d->eta, &up, &down);
    r->x[X] = 1;
    r->y[X] = down / s;
    r->y[M0] = 1 - down / s;
    if (up > 0) { r->y[Z] = up * d->noise_scale; r->noise = (double)(2 * i); }
    conjugate(r, b->a[i], b->a[i], a_middle);
    r = add_row(b, i, a_middle, middle * a_middle);
    ancestral(s2, s2 / s, d->eta, &up, &down);
    both(r, X, down / s);
    both(r, M1, (1 - down / s) * (1 - f));
    both(r, M0, (1 - down / s) * f);
    add_noise(r, up * d->noise_scale, 2 * i + 1);
    conjugate(r, b->a[i], b->a[i + 1], b->a[i + 1]);
}

/* ---- slopes, VE coordinates ---- */

static row *slope_row(build *b, int64_t i, double alpha, double ve)
{
    row *r = add_row(b, i, alpha, alpha * ve);
    r->kx = 1 / ve;
    r->kf = -1 / ve;
    return r;
}

static void rk4_step(build *b, int64_t i)
{
    const double s = level(b, i), s2 = level(b, i + 1), h = s2 - s, a = b->a[i], a2 = b->a[i + 1];
    row *r = slope_row(b, i, a, s);
    if (s2 == 0) {
        both(r, X, 1);
        both(r, M0, h);
        conjugate(r, a, a2, a2);
        return;
    }
    const double middle = s + h / 2, a_middle = alpha_at(b, i, middle), at[3] = { middle, middle, s2 }, alpha[3] = { a_middle, a_middle, a2 };
    for (int k = 0; k < 3; k++) {
        r->x[X] = r->y[X] = 1;
        r->y[M0] = k < 2 ? h / 2 : h;
        conjugate(r, a, a, alpha[k]);
        r = slope_row(b, i, alpha[k], at[k]);
    }
    both(r, X, 1);
    both(r, M0, h / 6);
    both(r, M1, h / 3);
    both(r, M2, h / 3);
    both(r, M3, h / 6);
    conjugate(r, a, a2, a2);
}

/* Integral over [s, s2] of the Lagrange polynomial of node j of n; three Gauss points are exact up to degree 5. */
static double lagrange_integral(const double *node, int n, int j, double s, double s2)
{
    static const double at[3] = { -0.77459666924148337704, 0, 0.77459666924148337704 }, weight[3] = { 5.0 / 9, 8.0 / 9, 5.0 / 9 };
    double sum = 0;
    for (int g = 0; g < 3; g++) {
        const double u = 0.5 * (s + s2) + 0.5 * (s2 - s) * at[g];
        double p = 1;
        for (int k = 0; k < n; k++)
            if (k != j) p *= (u - node[k]) / (node[j] - node[k]);
        sum += weight[g] * p;
    }
    return 0.5 * (s2 - s) * sum;
}

static void slopes_step(build *b, int64_t i)
{
    static const double pndm[4][4] = { { 1 }, { 1.5, -0.5 }, { 23 / 12.0, -16 / 12.0, 5 / 12.0 }, { 55 / 24.0, -59 / 24.0, 37 / 24.0, -9 / 24.0 } };
    const int n = (int)TF_MIN(i - b->start + 1, (int64_t)b->d->order);
    const double s = level(b, i), s2 = level(b, i + 1);
    double node[HISTORY];
    row *r = slope_row(b, i, b->a[i], s);
    for (int k = 0; k < n; k++) node[k] = level(b, i - k);
    both(r, Y, 1);
    for (int k = 0; k < n; k++) both(r, M0 + k, b->d->solver == TUFF_SOLVER_IPNDM ? (s2 - s) * pndm[n - 1][k] : lagrange_integral(node, n, k, s, s2));
    conjugate(r, b->a[i], b->a[i + 1], b->a[i + 1]);
}

/* ---- DPM-Solver++ multistep ---- */

static void multistep_row(build *b, int64_t i, bool third)
{
    const table_desc *d = b->d;
    const double s2 = b->s[i + 1], a2 = b->a[i + 1];
    row *r = at_point(b, i);
    if (s2 == 0) { both(r, M0, a2); return; }
    const double h = step_of(b, i), e = decay(b, i, i + 1), q = (1 + d->eta) * h, grow = -expm1(-q), phi2 = isfinite(q) ? 1 - grow / q : 1;
    const double phi3 = isfinite(q) ? phi2 / q - 0.5 : -0.5;
    const double r0 = i > b->start ? step_of(b, i - 1) / h : INFINITY, r1 = i > b->start + 1 ? step_of(b, i - 2) / h : INFINITY;
    both(r, Y, s2 / b->s[i] * (d->eta > 0 ? pow(e, d->eta) : 1));
    both(r, M0, a2 * grow);
    add_noise(r, s2 * sqrt(fmax(1 - pow(e, 2 * d->eta), 0)) * d->noise_scale, i);
    if (!isfinite(r0)) return;
    if (!third || !isfinite(r1)) {
        const double w = third || d->heun ? a2 * phi2 / r0 : 0.5 * a2 * grow / r0;
        both(r, M0, r->y[M0] + w);
        both(r, M1, -w);
        return;
    }
    /* a2 (phi2 d1 - phi3 d2) with d1 = d10 + (d10 - d11) r0 / (r0 + r1), d2 = (d10 - d11) / (r0 + r1) */
    const double second = a2 * (phi2 * r0 - phi3) / (r0 + r1), d10 = a2 * phi2 + second, d11 = -second;
    both(r, M0, r->y[M0] + d10 / r0);
    both(r, M1, -d10 / r0 + d11 / r1);
    both(r, M2, -d11 / r1);
}
static void dpmpp_2m_step(build *b, int64_t i) { multistep_row(b, i, false); }
static void dpmpp_3m_step(build *b, int64_t i) { multistep_row(b, i, true); }

/* ---- UniPC ---- */

/* Solve the n x n system in place; partial pivoting. */
static void solve(double m[3][3], double *v, int n)
{
    for (int c = 0; c < n; c++) {
        int p = c;
        for (int r = c + 1; r < n; r++) if (fabs(m[r][c]) > fabs(m[p][c])) p = r;
        for (int k = 0; k < n; k++) { const double t = m[c][k]; m[c][k] = m[p][k]; m[p][k] = t; }
        const double t = v[c];
        v[c] = v[p];
        v[p] = t;
        for (int r = 0; r < n; r++) {
            if (r == c) continue;
            const double f = m[r][c] / m[c][c];
            for (int k = c; k < n; k++) m[r][k] -= f * m[c][k];
            v[r] -= f * v[c];
        }
    }
    for (int r = 0; r < n; r++) v[r] /= m[r][r];
}

/* Order used by the predictor of step i: what history there is, lower at the end, and no farther back than lambda is finite. */
static int unipc_order(const build *b, int64_t i)
{
    int64_t p = TF_MIN(i - b->start + 1, (int64_t)b->d->order);
    if (!b->d->keep_order) p = TF_MIN(p, b->n - i);
    while (p > 1 && !(b->a[i - p + 1] > 0)) p--;
    return (int)p;
}

/* Step from point i to i + 1 of order p: coefficients of the state and of m(i + 1), m(i), m(i - 1), ... */
static void unipc(const build *b, int64_t i, int p, bool corrector, double *state, double m[HISTORY])
{
    const double a2 = b->a[i + 1], e = decay(b, i, i + 1), hh = log(e), hp1 = e - 1, bh = b->d->bh1 ? hh : hp1;
    double ratio[3] = { 0, 0, 0 }, matrix[3][3], rho[3] = { 0, 0, 0 }, phi = hp1 / hh - 1, factorial = 1;
    *state = b->s[i + 1] / b->s[i];
    m[1] = -a2 * hp1;
    if (!isfinite(hh)) return; /* from alpha = 0: first order is all there is */
    for (int k = 1; k < p; k++) ratio[k - 1] = log(decay(b, i - k, i)) / -hh;
    ratio[p - 1] = 1;
    for (int q = 0; q < p; q++) {
        factorial *= q + 1;
        for (int k = 0; k < p; k++) matrix[q][k] = pow(ratio[k], q);
        rho[q] = phi * factorial / bh;
        phi = phi / hh - 1 / (factorial * (q + 2));
    }
    const int used = corrector ? p : p - 1;
    if (used == 1)
        rho[0] = 0.5;
    else if (used > 1)
        solve(matrix, rho, used);
    for (int k = 0; k < used; k++) {
        const bool ahead = corrector && k == p - 1;
        const double w = -a2 * bh * rho[k] / ratio[k];
        m[ahead ? 0 : k + 2] += w;
        m[1] -= w;
    }
}

static void unipc_step(build *b, int64_t i)
{
    row *r = at_point(b, i);
    double state, m[HISTORY + 1] = { 0 };
    if (i > b->start) {
        double old[HISTORY + 1] = { 0 };
        unipc(b, i - 1, unipc_order(b, i - 1), true, &r->x[X], old);
        for (int k = 0; k < HISTORY; k++) r->x[M0 + k] = old[k];
    } else
        r->x[Y] = 1;
    if (b->s[i + 1] == 0) { r->y[M0] = b->a[i + 1]; return; }
    unipc(b, i, unipc_order(b, i), false, &state, m);
    for (int k = 0; k < TERMS; k++) r->y[k] = state * r->x[k];
    for (int k = 0; k + 1 < HISTORY; k++) r->y[M0 + k] += m[k + 1];
}

/* ---- the table ---- */

typedef void (*step_fn)(build *b, int64_t i);
static const struct { const char *name; step_fn step; int rows; int order, most; } solvers[] = {
    [TUFF_SOLVER_EULER] = { "euler", churn_step, 2, 0, 0 }, [TUFF_SOLVER_HEUN] = { "heun", churn_step, 3, 0, 0 }, [TUFF_SOLVER_DPM2] = { "dpm2", churn_step, 3, 0, 0 },
    [TUFF_SOLVER_LMS] = { "lms", slopes_step, 1, 4, 4 }, [TUFF_SOLVER_RK4] = { "rk4", rk4_step, 4, 0, 0 }, [TUFF_SOLVER_DPMPP_2M] = { "dpmpp_2m", dpmpp_2m_step, 1, 0, 0 },
    [TUFF_SOLVER_DPMPP_3M] = { "dpmpp_3m", dpmpp_3m_step, 1, 0, 0 }, [TUFF_SOLVER_DPMPP_2S] = { "dpmpp_2s", dpmpp_2s_step, 2, 0, 0 },
    [TUFF_SOLVER_DPMPP_SDE] = { "dpmpp_sde", dpmpp_sde_step, 2, 0, 0 }, [TUFF_SOLVER_UNIPC] = { "unipc", unipc_step, 1, 2, 3 },
    [TUFF_SOLVER_EULER_ANCESTRAL] = { "euler_ancestral", ancestral_step, 1, 0, 0 }, [TUFF_SOLVER_DDIM] = { "ddim", ancestral_step, 1, 0, 0 },
    [TUFF_SOLVER_DDPM] = { "ddpm", ancestral_step, 1, 0, 0 }, [TUFF_SOLVER_FLOW_EULER] = { "flow_euler", euler_step, 1, 0, 0 },
    [TUFF_SOLVER_FLOW_HEUN] = { "flow_heun", flow_heun_step, 2, 0, 0 }, [TUFF_SOLVER_FLOW_MIDPOINT] = { "flow_midpoint", flow_midpoint_step, 2, 0, 0 },
    [TUFF_SOLVER_LCM] = { "lcm", lcm_step, 1, 0, 0 }, [TUFF_SOLVER_TCD] = { "tcd", tcd_step, 1, 0, 0 }, [TUFF_SOLVER_CONSISTENCY] = { "consistency", consistency_step, 1, 0, 0 },
    [TUFF_SOLVER_IPNDM] = { "ipndm", slopes_step, 1, 4, 4 }, [TUFF_SOLVER_CFG_PP] = { "cfg_pp", cfg_pp_step, 1, 0, 0 },
};
static const char *const solver_names[] = { "euler", "heun", "dpm2", "lms", "rk4", "dpmpp_2m", "dpmpp_3m", "dpmpp_2s", "dpmpp_sde", "unipc", "euler_ancestral",
    "ddim", "ddpm", "flow_euler", "flow_heun", "flow_midpoint", "lcm", "tcd", "consistency", "ipndm", "cfg_pp", NULL };
static const char *const predictions[] = { "x0", "eps", "v", "score", "flow", "edm", "consistency", NULL };
static const char *const processes[] = { "auto", "ve", "vp", "flow", NULL };
static const char *const time_inputs[] = { "sigma", "log_sigma", NULL };

static bool ends_clean(tuff_solver s) { return s == TUFF_SOLVER_LCM || s == TUFF_SOLVER_CONSISTENCY; }

static tuff_process process_of(const build *b)
{
    bool ve = true, vp = true, flow = true;
    if (b->d->process) return b->d->process;
    for (int64_t i = 0; i <= b->n; i++) {
        ve = ve && b->a[i] == 1;
        vp = vp && fabs(b->a[i] * b->a[i] + b->s[i] * b->s[i] - 1) < 1e-4;
        flow = flow && fabs(b->a[i] + b->s[i] - 1) < 1e-4;
    }
    return ve ? TUFF_PROCESS_VE : vp ? TUFF_PROCESS_VP : flow ? TUFF_PROCESS_FLOW : TUFF_PROCESS_AUTO;
}

static void fill_rows(build *b)
{
    b->process = process_of(b);
    for (int64_t i = 0; i < b->n; i++) {
        const double scale = b->a[i + 1] / b->a[i], s = b->s[i] * scale, s2 = b->s[i + 1];
        if (b->d->restart && level(b, i + 1) > level(b, i)) {
            noise_row(b, i, scale, sqrt(s2 * s2 - s * s) * b->d->noise_scale);
            b->start = i + 1;
        } else
            solvers[b->d->solver].step(b, i);
        b->step_end[i] = b->n_rows - 1;
    }
}

static const char *or_memory(const char *text) { return text ? text : "out of host memory"; }

/* The sources' values into the build; scratch holds what has to be made. */
static const char *take_sources(build *b, const double *sigmas, int64_t n, const double *alphas, tf_arena *scratch)
{
    const bool append = ends_clean(b->d->solver) && sigmas[n - 1] != 0;
    const int64_t points = n + append;
    double *s = tf_arena_array(scratch, double, (size_t)points), *a = tf_arena_array(scratch, double, (size_t)points);
    b->n = points - 1;
    b->rows = tf_arena_array(scratch, row, (size_t)(b->n * solvers[b->d->solver].rows + b->n + 1));
    b->step_end = tf_arena_array(scratch, int64_t, (size_t)points);
    if (!s || !a || !b->rows || !b->step_end) return "out of host memory";
    b->s = s;
    b->a = a;
    for (int64_t i = 0; i < points; i++) {
        s[i] = i < n ? sigmas[i] : 0;
        a[i] = i < n && alphas ? alphas[i] : 1;
        if (!(s[i] >= 0) || !isfinite(s[i]) || !(a[i] >= 0) || !isfinite(a[i]))
            return or_memory(tf_arena_printf(scratch, "point %lld of the grid has sigma %g and alpha %g; both must be finite, 0 or more", (long long)i, s[i], a[i]));
        if (s[i] == 0 && i < points - 1) return or_memory(tf_arena_printf(scratch, "sigma is 0 at point %lld, before the last point %lld of the grid", (long long)i, (long long)points - 1));
        if (a[i] == 0 && s[i] == 0) return or_memory(tf_arena_printf(scratch, "alpha and sigma are 0 at point %lld of the grid", (long long)i));
    }
    return NULL;
}

static bool all_finite(const double *v, int n)
{
    for (int i = 0; i < n; i++)
        if (!isfinite(v[i])) return false;
    return true;
}

/* NULL, or why a row has no meaning: a point with alpha = 0 has no sigma / alpha. */
static const char *check_rows(const build *b, tf_arena *scratch)
{
    for (int64_t i = 0, k = 0; k < b->n_rows; k++) {
        const row *r = &b->rows[k];
        while (b->step_end[i] < k) i++;
        if (!all_finite(&r->kx, 2) || !all_finite(r->x, TERMS) || !all_finite(r->y, TERMS))
            return or_memory(tf_arena_printf(scratch, "step %lld from alpha %g, sigma %g to %g, %g has no finite row of solver=%s", (long long)i, b->a[i], b->s[i], b->a[i + 1],
                                             b->s[i + 1], solvers[b->d->solver].name));
        if (!all_finite(&r->t, 4)) /* t, c_in, px, pf */
            return or_memory(tf_arena_printf(scratch, "step %lld has a row at alpha %g, where prediction=%s, time=%s is not defined; x0 and v are, with times or time=sigma", (long long)i,
                                             r->alpha, predictions[b->d->prediction], time_inputs[b->d->time]));
    }
    return NULL;
}

enum { S_SIGMAS, S_ALPHAS, S_TIMES, S_MID_A, S_MID_S, SOURCES };

/* Values of the sources as doubles: NULL and *error, or the finished table. */
static bool build_table(build *b, const double *const v[SOURCES], int64_t n, tf_arena *scratch, const char **error)
{
    *error = take_sources(b, v[S_SIGMAS], n, v[S_ALPHAS], scratch);
    if (*error) return false;
    b->times = v[S_TIMES];
    b->mid_a = v[S_MID_A];
    b->mid_s = v[S_MID_S];
    fill_rows(b);
    *error = check_rows(b, scratch);
    return !*error;
}

static bool defaults(tf_infer *c)
{
    table_desc *d = c->mut;
    if (d->eta == 0 && d->solver == TUFF_SOLVER_EULER_ANCESTRAL) d->eta = 1;
    if (d->noise_scale == 0) d->noise_scale = 1;
    if (d->r == 0) d->r = 0.5;
    if (d->s_tmax == 0) d->s_tmax = INFINITY;
    if (d->sigma_data == 0) d->sigma_data = 0.5;
    if (d->sigma_min == 0) d->sigma_min = 0.002;
    if (d->timestep_scaling == 0) d->timestep_scaling = 10;
    if (d->order == 0) d->order = solvers[d->solver].order;
    const int most = solvers[d->solver].most;
    if (most && d->order > most) return tf_bad(c, TUFF_E_ATTRIBUTE, "order is %d; %s has orders 1 to %d", (int)d->order, solvers[d->solver].name, most);
    if (d->solver == TUFF_SOLVER_LCM && !c->type[S_TIMES]) return tf_bad(c, TUFF_E_ARGUMENT, "lcm needs the operand times");
    if (d->solver == TUFF_SOLVER_TCD && (!c->type[S_MID_A] || !c->type[S_MID_S])) return tf_bad(c, TUFF_E_ARGUMENT, "tcd needs the operands alphas_mid and sigmas_mid");
    return true;
}

/* Lengths of the operands: the points of the grid; times and middles may leave out the last. */
static bool check_lengths(tf_infer *c)
{
    for (uint32_t i = 0; i < SOURCES; i++) {
        const tf_type *t = c->type[i];
        if (!t) continue;
        if (t->rank != 1 || tf_dim_is_dynamic(t->dim[0])) return tf_bad(c, TUFF_E_SHAPE, "%s must be a vector of fixed length", tf_src_text(c, i));
        const int64_t n = c->type[0]->dim[0], m = t->dim[0];
        if (m != n && !(i >= S_TIMES && m == n - 1))
            return tf_bad(c, TUFF_E_SHAPE, "%s has %lld elements; sigmas has %lld", tf_src_text(c, i), (long long)m, (long long)n);
    }
    if (c->type[0]->dim[0] >= (ends_clean(((const table_desc *)c->desc)->solver) ? 1 : 2)) return true;
    return tf_bad(c, TUFF_E_SHAPE, "%s is no grid: it has %lld points", tf_src_text(c, 0), (long long)c->type[0]->dim[0]);
}

static bool table_types(tf_infer *c, const build *b)
{
    c->n_out = 2;
    c->out[0] = (tf_type){ .dtype = TUFF_F32, .rank = 2, .dim = { b->n_rows, TUFF_ROW_COLUMNS } };
    c->out[1] = (tf_type){ .dtype = TUFF_I32, .rank = 1, .dim = { b->n } };
    return true;
}

/* times may end before the last point, which no network sees. */
static const double *padded(const double *v, int64_t have, int64_t want, tf_arena *scratch)
{
    if (!v || have == want) return v;
    double *p = tf_arena_array(scratch, double, (size_t)want);
    if (p) memcpy(p, v, (size_t)have * sizeof *v);
    for (int64_t i = have; p && i < want; i++) p[i] = v[have - 1];
    return p;
}

static bool table_infer_values(tf_infer *c, tf_arena *scratch)
{
    const double *v[SOURCES] = { NULL };
    const char *error = NULL;
    build b = { .d = c->desc };
    const int64_t n = c->type[0]->dim[0];
    for (uint32_t i = 0; i < SOURCES; i++) {
        if (!c->src[i]) continue;
        double *values = tf_arena_array(scratch, double, (size_t)c->type[i]->dim[0] + 1);
        if (!values) return tf_bad(c, TUFF_E_MEMORY, "out of host memory");
        if (tf_host_values(c->g, c->src[i], values, &error) != TUFF_OK)
            return tf_bad(c, TUFF_E_ARGUMENT, "%s must be known when the graph is built: %s", tf_src_text(c, i), error);
        v[i] = i == S_TIMES ? padded(values, c->type[i]->dim[0], n + 1, scratch) : values;
    }
    if (!build_table(&b, v, n, scratch, &error)) return tf_bad(c, TUFF_E_ARGUMENT, "%s", error);
    return table_types(c, &b);
}

static bool solver_table_infer(tf_infer *c)
{
    if (!defaults(c) || !check_lengths(c)) return false;
    tf_arena scratch;
    tf_arena_init(&scratch, &c->g->arena.allocator);
    const bool good = table_infer_values(c, &scratch);
    tf_arena_release(&scratch);
    return good;
}

static tuff_status solver_table_reference(tf_ref *r)
{
    const double *v[SOURCES] = { NULL };
    build b = { .d = r->desc };
    for (uint32_t i = 0; i < r->n_src && i < SOURCES; i++) v[i] = r->src[i] ? r->src[i]->re : NULL;
    const int64_t n = (int64_t)r->src[0]->n;
    if (v[S_TIMES]) v[S_TIMES] = padded(v[S_TIMES], (int64_t)r->src[S_TIMES]->n, n + 1, r->scratch);
    if (!build_table(&b, v, n, r->scratch, &r->error)) return TUFF_E_ARGUMENT;
    if (b.n_rows != r->out[0].dim[0] || b.n != r->out[1].dim[0]) {
        r->error = "the operands changed the number of rows; write a table of the same length instead";
        return TUFF_E_ARGUMENT;
    }
    memcpy(r->out[0].re, b.rows, (size_t)b.n_rows * sizeof *b.rows);
    for (int64_t i = 0; i < b.n; i++) r->out[1].re[i] = (double)b.step_end[i];
    return TUFF_OK;
}

static const tf_attr solver_table_attrs[] = {
    TF_A(table_desc, solver, TF_ATTR_ENUM, "the sampler", .required = true, .choices = solver_names),
    TF_A(table_desc, alphas, TF_ATTR_TENSOR, "signal levels of the points; absent: 1, VE coordinates"),
    TF_A(table_desc, times, TF_ATTR_TENSOR, "what the network is told at each point; absent: by `time`"),
    TF_A(table_desc, alphas_mid, TF_ATTR_TENSOR, "tcd: signal level that each step goes to first"),
    TF_A(table_desc, sigmas_mid, TF_ATTR_TENSOR, "tcd: its noise level"),
    TF_A(table_desc, prediction, TF_ATTR_ENUM, "what the network's output is", .choices = predictions),
    TF_A(table_desc, process, TF_ATTR_ENUM, "how alpha follows from the noise level between points; auto: from the grid", .choices = processes),
    TF_A(table_desc, time, TF_ATTR_ENUM, "what the network is told without times: sigma or ln(sigma / alpha) / 4", .choices = time_inputs),
    TF_A(table_desc, eta, TF_ATTR_DOUBLE, "noise per step, 1: as the reverse SDE; 0: none, euler_ancestral 1", .min = 0, .max = 1e6),
    TF_A(table_desc, noise_scale, TF_ATTR_DOUBLE, "factor on all noise; 0: 1"),
    TF_A(table_desc, order, TF_ATTR_INT, "lms, ipndm: 1..4, 0: 4; unipc: 1..3, 0: 2", .min = 0, .max = 4),
    TF_A(table_desc, r, TF_ATTR_DOUBLE, "dpmpp_sde: place of the middle; 0: 0.5", .min = 0, .max = 1),
    TF_A(table_desc, heun, TF_ATTR_BOOL, "dpmpp_2m: the heun form instead of midpoint"),
    TF_A(table_desc, bh1, TF_ATTR_BOOL, "unipc: B(h) = h instead of e^h - 1"),
    TF_A(table_desc, large_variance, TF_ATTR_BOOL, "ddpm: variance 1 - (alpha/alpha')^2 instead of the posterior's"),
    TF_A(table_desc, keep_order, TF_ATTR_BOOL, "unipc: do not lower the order in the last steps"),
    TF_A(table_desc, s_churn, TF_ATTR_DOUBLE, "euler, heun, dpm2: noise added before steps, in all", .min = 0, .max = 1e9),
    TF_A(table_desc, s_tmin, TF_ATTR_DOUBLE, "lowest level at which it is added"),
    TF_A(table_desc, s_tmax, TF_ATTR_DOUBLE, "highest level; 0: no limit"),
    TF_A(table_desc, restart, TF_ATTR_BOOL, "steps to a higher noise level add noise; otherwise they run the solver backwards"),
    TF_A(table_desc, scale_input, TF_ATTR_BOOL, "the network sees x / sqrt(1 + S^2): an eps model of a VP process in VE coordinates"),
    TF_A(table_desc, sigma_data, TF_ATTR_DOUBLE, "edm, consistency, lcm: standard deviation of the data; 0: 0.5"),
    TF_A(table_desc, sigma_min, TF_ATTR_DOUBLE, "consistency: noise level of the result; 0: 0.002"),
    TF_A(table_desc, timestep_scaling, TF_ATTR_DOUBLE, "lcm: factor on times in the boundary condition; 0: 10"),
};
const tf_op tf_op_solver_table = { .name = "solver_table",
    .doc = "sigmas[points] -> table[rows, 24] (f32), steps[points - 1] (i32): a sampler as rows for solver_step, and the last row of each step",
    .source = "arXiv:2206.00364, 2010.02502, 2211.01095, 2302.04867, 2310.04378, 2402.19159, 2303.01469, 2306.14878, 2406.08070", .operands = "sigmas",
    .results = "table steps", .kind = TF_HOST, .attrs = solver_table_attrs, .attr_count = TF_COUNT(solver_table_attrs), .desc_size = sizeof(table_desc),
    .infer = solver_table_infer, .reference = solver_table_reference };

tuff_tensor tuff_solver_table(tuff_tensor sigmas, tuff_solver solver, const tuff_solver_desc *desc)
{
    const tuff_solver_desc s = desc ? *desc : (tuff_solver_desc){ .order = 0 };
    const table_desc d = { .solver = solver, .prediction = s.prediction, .process = s.process, .time = s.time, .eta = s.eta, .noise_scale = s.noise_scale, .r = s.r,
        .s_churn = s.s_churn, .s_tmin = s.s_tmin, .s_tmax = s.s_tmax, .sigma_data = s.sigma_data, .sigma_min = s.sigma_min, .timestep_scaling = s.timestep_scaling,
        .order = s.order, .heun = s.heun, .bh1 = s.bh1, .large_variance = s.large_variance, .keep_order = s.keep_order, .restart = s.restart,
        .scale_input = s.scale_input, .alphas = s.alphas, .times = s.times, .alphas_mid = s.alphas_mid, .sigmas_mid = s.sigmas_mid };
    return tf_add(sigmas.graph, &tf_op_solver_table, &sigmas, 1, &d);
}
