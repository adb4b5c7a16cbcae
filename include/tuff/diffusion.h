/* diffusion.h - schedules, solvers, sampling, discrete decoding. Included by tuff.h; the conventions are those of ops.h. */
#ifndef TUFF_DIFFUSION_H
#define TUFF_DIFFUSION_H

#ifndef TUFF_TUFF_H
#  include "tuff.h"
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* x_t = alpha x_0 + sigma noise. VE noise level S = sigma / alpha; lambda = ln(alpha / sigma). D is the denoised x_0 that a network predicts. */

/* ---- schedules: host rows ---------------------------------------------------------------------------
 * Computed in double precision when the graph is compiled, or at once by tuff_host_value; f64 unless noted, so cast to f32 for
 * kernels. Grids go from much noise to none. E_ATTRIBUTE: a parameter out of its range. */

typedef struct tuff_sigma_grid_desc {
    double sigma_min, sigma_max; /* 0: 0.002, 80 */
    double rho;                  /* 0: 7 (karras), 1 (exponential; others give the polyexponential grid) */
    bool open;                   /* leave out the 0 at the end */
} tuff_sigma_grid_desc;
/* [n + 1]: (max^(1/rho) + i/(n-1) (min^(1/rho) - max^(1/rho)))^rho for i < n, then 0. arXiv:2206.00364 eq. 5 */
TUFF_API tuff_tensor tuff_schedule_karras(tuff_graph *g, int64_t n, const tuff_sigma_grid_desc *desc);
/* [n + 1]: exp(u^rho ln(max/min) + ln min), u from 1 to 0, then 0. */
TUFF_API tuff_tensor tuff_schedule_exponential(tuff_graph *g, int64_t n, const tuff_sigma_grid_desc *desc);

typedef struct tuff_vp_desc {
    double t_start, t_end;      /* 0: 1, 0.001 */
    double beta_min, beta_max;  /* 0: 0.1, 20 */
    bool open;                  /* schedule_vp: leave out the 0 at the end */
} tuff_vp_desc;
/* [n + 1]: VE noise levels of a VP process at times in equal steps, then 0. arXiv:2011.13456 */
TUFF_API tuff_tensor tuff_schedule_vp(tuff_graph *g, int64_t n, const tuff_vp_desc *desc);
/* Results alphas, sigmas, t [n]: lambda in equal steps. */
TUFF_API tuff_tensor tuff_schedule_logsnr(tuff_graph *g, int64_t n, const tuff_vp_desc *desc);
/* Results alphas, sigmas, lambdas, t computed back from lambda, sigmas of the sub-VP process [n]; times in equal steps. */
TUFF_API tuff_tensor tuff_vp_marginals(tuff_graph *g, int64_t n, const tuff_vp_desc *desc);

typedef enum tuff_beta_kind { TUFF_BETA_LINEAR, TUFF_BETA_SCALED_LINEAR, TUFF_BETA_COSINE } tuff_beta_kind;
typedef struct tuff_beta_desc {
    int64_t steps;                /* training steps; 0: 1000 */
    double beta_start, beta_end;  /* 0: 1e-4, 0.02; scaled_linear: 8.5e-4, 0.012 */
} tuff_beta_desc;
/* Results betas, alphas_cumprod, sigmas (VE levels) [steps] of a discrete VP process. */
TUFF_API tuff_tensor tuff_schedule_beta(tuff_graph *g, tuff_beta_kind kind, const tuff_beta_desc *desc);
/* alphas_cumprod[T] -> results alphas, sigmas with the last alpha exactly 0. arXiv:2305.08891 */
TUFF_API tuff_tensor tuff_rescale_zero_snr(tuff_tensor alphas_cumprod);

typedef enum tuff_spacing { TUFF_SPACING_LEADING, TUFF_SPACING_TRAILING, TUFF_SPACING_LINSPACE } tuff_spacing;
typedef struct tuff_spacing_desc {
    int64_t steps;        /* training steps; 0: 1000 */
    tuff_spacing spacing;
    int64_t offset;       /* added to leading steps */
} tuff_spacing_desc;
/* i32[n]: time steps of a discrete model, the noisiest first. */
TUFF_API tuff_tensor tuff_timestep_spacing(tuff_graph *g, int64_t n, const tuff_spacing_desc *desc);
typedef struct tuff_lcm_timesteps_desc { int64_t steps, original; /* 0: 1000, 50 */ } tuff_lcm_timesteps_desc;
/* i32[n]: time steps of a latent consistency model. arXiv:2310.04378 */
TUFF_API tuff_tensor tuff_lcm_timesteps(tuff_graph *g, int64_t n, const tuff_lcm_timesteps_desc *desc);
/* sigmas[T], the rising VE levels of a discrete model -> results sigmas, alphas [n + 1], timesteps [n] (fractions of an index). rho 0: 7 */
TUFF_API tuff_tensor tuff_schedule_karras_on_vp(tuff_tensor sigmas, int64_t n, double rho);

typedef struct tuff_flow_schedule_desc {
    double shift; /* 0: 1 */
    double mu;    /* the shift is multiplied by e^mu */
} tuff_flow_schedule_desc;
/* [n + 1]: times from 1 to 0 of a rectified flow, shifted by c u / (1 + (c - 1) u); sigma = t, alpha = 1 - t. */
TUFF_API tuff_tensor tuff_schedule_flow(tuff_graph *g, int64_t n, const tuff_flow_schedule_desc *desc);
typedef struct tuff_beta_distribution_desc { double sigma_min, sigma_max, alpha, beta; /* 0: 0.002, 80, 0.6, 0.6 */ } tuff_beta_distribution_desc;
/* [n]: levels at the quantiles 1..0 of a beta distribution. arXiv:2407.12173 */
TUFF_API tuff_tensor tuff_schedule_beta_distribution(tuff_graph *g, int64_t n, const tuff_beta_distribution_desc *desc);

typedef struct tuff_ict_desc {
    double sigma_min, sigma_max, rho; /* 0: 0.002, 80, 7 */
    double mean, std;                 /* of ln sigma in training; 0: -1.1, 2 */
} tuff_ict_desc;
/* Improved consistency training: results sigmas [n] rising, p and weights [n - 1]. arXiv:2310.14189 */
TUFF_API tuff_tensor tuff_schedule_ict(tuff_graph *g, int64_t n, const tuff_ict_desc *desc);
typedef struct tuff_ict_discretization_desc { int64_t s0, s1; /* 0: 10, 1280 */ } tuff_ict_discretization_desc;
/* i32[n]: points of the grid at iterations 0, total/n, 2 total/n, ... */
TUFF_API tuff_tensor tuff_ict_discretization(tuff_graph *g, int64_t n, int64_t total, const tuff_ict_discretization_desc *desc);

/* ---- solvers as tables ------------------------------------------------------------------------------ */

typedef enum tuff_solver {
    TUFF_SOLVER_EULER, TUFF_SOLVER_HEUN, TUFF_SOLVER_DPM2, TUFF_SOLVER_LMS, TUFF_SOLVER_RK4, TUFF_SOLVER_DPMPP_2M, TUFF_SOLVER_DPMPP_3M,
    TUFF_SOLVER_DPMPP_2S, TUFF_SOLVER_DPMPP_SDE, TUFF_SOLVER_UNIPC, TUFF_SOLVER_EULER_ANCESTRAL,
    TUFF_SOLVER_DDIM, TUFF_SOLVER_DDPM, TUFF_SOLVER_FLOW_EULER, TUFF_SOLVER_FLOW_HEUN, TUFF_SOLVER_FLOW_MIDPOINT,
    TUFF_SOLVER_LCM, TUFF_SOLVER_TCD,
    TUFF_SOLVER_CONSISTENCY, /* multistep consistency: D, then noise up to the next level */
    TUFF_SOLVER_IPNDM,
    TUFF_SOLVER_CFG_PP       /* arXiv:2406.08070; m1 of solver_step is the unconditional D */
} tuff_solver;
/* What a network's output F is. */
typedef enum tuff_prediction {
    TUFF_PREDICT_X0, TUFF_PREDICT_EPS,
    TUFF_PREDICT_V,           /* alpha noise - sigma x_0 */
    TUFF_PREDICT_SCORE,       /* -noise / sigma */
    TUFF_PREDICT_FLOW,        /* noise - x_0 */
    TUFF_PREDICT_EDM,         /* the raw F of arXiv:2206.00364, on a scaled input */
    TUFF_PREDICT_CONSISTENCY  /* the raw F of arXiv:2303.01469: D = x at sigma_min */
} tuff_prediction;
/* How alpha follows from the noise level between the points of a grid. AUTO: by what the points satisfy, else interpolated. */
typedef enum tuff_process { TUFF_PROCESS_AUTO, TUFF_PROCESS_VE, TUFF_PROCESS_VP, TUFF_PROCESS_FLOW } tuff_process;
typedef enum tuff_time_input { TUFF_TIME_SIGMA, TUFF_TIME_LOG_SIGMA /* ln(S) / 4 */ } tuff_time_input;

/* Columns of a table row. X and Y columns hold the coefficients of X, Y, m0, m1, m2, m3, z. */
enum {
    TUFF_ROW_EVAL, TUFF_ROW_ALPHA, TUFF_ROW_SIGMA, TUFF_ROW_TIME, TUFF_ROW_INPUT_SCALE, TUFF_ROW_PX, TUFF_ROW_PF, TUFF_ROW_KX, TUFF_ROW_KF,
    TUFF_ROW_X, TUFF_ROW_Y = TUFF_ROW_X + 7, TUFF_ROW_NOISE = TUFF_ROW_Y + 7, TUFF_ROW_COLUMNS
};

typedef struct tuff_solver_desc {
    tuff_tensor alphas;                 /* [points]; none: all 1 */
    tuff_tensor times;                  /* [points] or without the last: what the network is told; none: by `time` */
    tuff_tensor alphas_mid, sigmas_mid; /* tcd: where each step goes before noise is added */
    tuff_prediction prediction;
    tuff_process process;
    tuff_time_input time;
    double eta;                         /* noise per step; 0: none, euler_ancestral 1 */
    double noise_scale;                 /* on all noise; 0: 1 */
    int32_t order;                      /* lms, ipndm 1..4, 0: 4; unipc 1..3, 0: 2 */
    double r;                           /* dpmpp_sde: place of the middle; 0: 0.5 */
    bool heun;                          /* dpmpp_2m: heun instead of midpoint */
    bool bh1;                           /* unipc: B(h) = h instead of e^h - 1 */
    bool large_variance;                /* ddpm: variance 1 - (alpha/alpha')^2 */
    bool keep_order;                    /* unipc: not lowered at the end */
    double s_churn, s_tmin, s_tmax;     /* euler, heun, dpm2: arXiv:2206.00364 algorithm 2; s_tmax 0: no limit */
    bool restart;                       /* steps to a higher level add noise (arXiv:2306.14878); else they run backwards: inversion */
    bool scale_input;                   /* the network sees x / sqrt(1 + S^2) */
    double sigma_data;                  /* edm, consistency, lcm; 0: 0.5 */
    double sigma_min;                   /* consistency; 0: 0.002 */
    double timestep_scaling;            /* lcm; 0: 10 */
} tuff_solver_desc;
/* sigmas[points] and alphas, which must be constants -> result 0 the table f32[rows, TUFF_ROW_COLUMNS], result 1 i32[points - 1] the last row
 * of each step. A row: where eval is 1 the network runs on input_scale * Y at (alpha, sigma, time), D = px Y + pf F, the memory shifts and
 * m0 = kx Y + kf D; then X, Y become their combinations of the old X, Y, m0..m3 and noise z. The result is Y after the last row. noise is the
 * number of the draw, -1 for none: step i draws number i, dpmpp_sde 2 i and 2 i + 1. Solvers with two evaluations have two rows a step.
 * Grids may start at alpha = 0 where the solver's formula does (not heun, dpm2, lms, rk4, ipndm, 2s, sde) and may end at sigma = 0.
 * lms, ipndm and rk4 keep slopes: a step in which alpha grows k times costs them k times the rounding. */
TUFF_API tuff_tensor tuff_solver_table(tuff_tensor sigmas, tuff_solver solver, const tuff_solver_desc *desc);

/* ---- denoisers known in closed form ------------------------------------------------------------------
 * x[b, ..] at x = alpha x_0 + sigma noise -> E[x_0 | x]. alpha, sigma: one number, or one per sample [b]. f32; n elements per sample.
 * For tests, samples of solvers, and as the base of learned corrections. E_SHAPE: operands that do not fit n. */
typedef struct tuff_tangent_desc { tuff_tensor tangent; /* like x: result 1 is the derivative along it (0 without) */ } tuff_tangent_desc;
/* Data N(mu[n], u[n, rank] diag(lam[rank]) u^T): mu + u diag(a lam/(a^2 lam + s^2)) u^T (x - a mu). */
TUFF_API tuff_tensor tuff_denoise_gaussian(tuff_tensor x, tuff_tensor alpha, tuff_tensor sigma, tuff_tensor mu, tuff_tensor u, tuff_tensor lam,
                                           const tuff_tangent_desc *desc);
/* Data N(mu[n], diag(variance[n])). */
TUFF_API tuff_tensor tuff_denoise_diagonal(tuff_tensor x, tuff_tensor alpha, tuff_tensor sigma, tuff_tensor mu, tuff_tensor variance);
/* Data sum_k weights[k] N(means[k, n], stds[k]^2 I). */
TUFF_API tuff_tensor tuff_denoise_mixture(tuff_tensor x, tuff_tensor alpha, tuff_tensor sigma, tuff_tensor weights, tuff_tensor means, tuff_tensor stds,
                                          const tuff_tangent_desc *desc);
/* The probability-flow ODE of Gaussian data from (alpha, sigma) to (alpha_to, sigma_to), exactly; u orthonormal. With rank < n: data
 * without variance outside u, the score teleportation of arXiv:2412.09726. */
TUFF_API tuff_tensor tuff_gaussian_flow(tuff_tensor x, tuff_tensor alpha, tuff_tensor sigma, tuff_tensor alpha_to, tuff_tensor sigma_to, tuff_tensor mu,
                                        tuff_tensor u, tuff_tensor lam);

/* ---- what networks predict --------------------------------------------------------------------------- */

/* value, one form of a prediction at x[b, ..], as another: X0, EPS, V, SCORE or FLOW. alpha, sigma as above. */
TUFF_API tuff_tensor tuff_convert_prediction(tuff_tensor x, tuff_tensor value, tuff_tensor alpha, tuff_tensor sigma, tuff_prediction from, tuff_prediction to);
typedef enum tuff_preconditioning { TUFF_PRECONDITION_EDM, TUFF_PRECONDITION_CONSISTENCY } tuff_preconditioning;
typedef struct tuff_precondition_desc {
    tuff_preconditioning kind;
    double sigma_data; /* 0: 0.5 */
    double sigma_min;  /* CONSISTENCY: 0: 0.002 */
} tuff_precondition_desc;
/* What a preconditioned network sees in VE coordinates: x / sqrt(sigma^2 + sigma_data^2), and as result 1 ln(sigma) / 4. */
TUFF_API tuff_tensor tuff_precondition_input(tuff_tensor x, tuff_tensor sigma, const tuff_precondition_desc *desc);
/* Its output f to the denoised c_skip x + c_out f. arXiv:2206.00364, arXiv:2303.01469 */
TUFF_API tuff_tensor tuff_precondition(tuff_tensor x, tuff_tensor f, tuff_tensor sigma, const tuff_precondition_desc *desc);

/* ---- guidance and thresholds: estimates [b, ..], f32, norms per sample -------------------------------- */

typedef struct tuff_cfg_desc {
    tuff_tensor level; /* the noise level sigma / alpha, f32 of rank 0: outside (low, high] every scale is 1; none: no interval */
    double low, high;  /* high 0: any level */
} tuff_cfg_desc;
/* xs[0] unconditional, xs[1..] conditional: xs[0] + sum_k scale_k (xs[k] - xs[0]). scale: one number or one per condition.
 * arXiv:2207.12598, arXiv:2206.01714 (several conditions), arXiv:2404.07724 (interval) */
TUFF_API tuff_tensor tuff_cfg(const tuff_tensor *xs, uint32_t n, tuff_tensor scale, const tuff_cfg_desc *desc);
typedef struct tuff_apg_desc {
    tuff_tensor momentum; /* result 1 of the step before; none: 0 */
    double eta;           /* how much of the part along cond stays */
    double limit;         /* largest norm of the difference; 0: none */
    double beta;          /* factor on momentum, usually negative */
    tuff_ints axes;       /* of the norms; n 0: all but the first */
} tuff_apg_desc;
/* Results guided, momentum. arXiv:2410.02416 */
TUFF_API tuff_tensor tuff_apg(tuff_tensor cond, tuff_tensor uncond, double scale, const tuff_apg_desc *desc);
/* G = guided; rescale G std(cond)/std(G) + (1 - rescale) G. arXiv:2305.08891 */
TUFF_API tuff_tensor tuff_cfg_rescale(tuff_tensor cond, tuff_tensor uncond, double scale, double rescale);
/* k uncond + scale (cond - k uncond), k = <cond, uncond>/|uncond|^2, of velocities. arXiv:2503.18886 */
TUFF_API tuff_tensor tuff_cfg_zero_star(tuff_tensor cond, tuff_tensor uncond, double scale);
/* d + sigma^2/alpha scale grad, grad = d log p(class | x)/dx; alpha, sigma of rank 0. arXiv:2105.05233 */
TUFF_API tuff_tensor tuff_classifier_guidance(tuff_tensor d, tuff_tensor grad, tuff_tensor alpha, tuff_tensor sigma, double scale);
/* clip(d, -q, q) / q with q = max(1, quantile of |d|) per sample, at most `most` (0: any). arXiv:2205.11487 */
TUFF_API tuff_tensor tuff_dynamic_threshold(tuff_tensor d, double quantile, double most);

/* ---- executing a table ------------------------------------------------------------------------------- */

typedef struct tuff_solver_step_desc {
    tuff_tensor x;          /* base state; none: equal to y */
    tuff_tensor m1, m2, m3; /* result m of the rows before; none: their columns must be 0 */
    tuff_tensor noise;      /* none: the row draws nothing */
    tuff_tensor step;       /* the row, i32 of rank 0 (a loop's step); none: table is one row */
} tuff_solver_step_desc;
/* Row `step` of table f32[rows, 24] (constant, or an input written at run time) on the state y[..] and the denoised d[..].
 * Results: y and x after the row, and m = kx y + kf d. One kernel. */
TUFF_API tuff_tensor tuff_solver_step(tuff_tensor table, tuff_tensor y, tuff_tensor d, const tuff_solver_step_desc *desc);
/* The network's output f as the denoised px y + pf f. The network sees input_scale * y at the row's alpha, sigma, time. step: as above. */
TUFF_API tuff_tensor tuff_solver_denoised(tuff_tensor table, tuff_tensor y, tuff_tensor f, tuff_tensor step);

/* ---- sampling ----------------------------------------------------------------------------------------- */

/* What a network is asked. It returns its output F, of the shape of x, as the table's prediction says. The function builds nodes and is
 * called once per loop (and condition), not once per step. */
typedef struct tuff_denoiser_call {
    tuff_graph *graph;
    tuff_tensor x;                  /* what the network sees: input_scale * state */
    tuff_tensor state;              /* at (alpha, sigma) */
    tuff_tensor alpha, sigma, time; /* f32 of rank 0 */
    tuff_tensor table, step;        /* the table, and the row's number: i32 of rank 0 */
    uint32_t condition;             /* guidance: 0 is the unconditional estimate, 1.. the conditions */
    void *user;
} tuff_denoiser_call;
typedef tuff_tensor (*tuff_denoiser_fn)(void *user, const tuff_denoiser_call *call);
typedef tuff_tensor (*tuff_sample_hook)(void *user, const tuff_denoiser_call *call, tuff_tensor value);

#define TUFF_MAX_CONDITIONS 8
typedef enum tuff_guidance_kind {
    TUFF_GUIDANCE_NONE, TUFF_GUIDANCE_CFG, TUFF_GUIDANCE_APG, TUFF_GUIDANCE_RESCALE, TUFF_GUIDANCE_ZERO_STAR,
    TUFF_GUIDANCE_CFG_PP /* with a table of TUFF_SOLVER_CFG_PP */
} tuff_guidance_kind;
typedef struct tuff_guidance {
    tuff_guidance_kind kind;
    uint32_t conditions;     /* CFG, CFG_PP: 0: 1 */
    double scale;
    tuff_tensor scale_tensor; /* CFG, CFG_PP: instead of scale; one number or one per condition */
    double eta, limit, beta;  /* APG */
    double rescale;           /* RESCALE */
    double low, high;         /* noise levels sigma / alpha: guidance acts in (low, high] only, high 0: any level (arXiv:2404.07724). Elsewhere scales
                               * are 1; with one condition and a constant table the unconditional network does not even run there (except CFG_PP) */
} tuff_guidance;

typedef struct tuff_sample_desc {
    tuff_tensor table;        /* f32[rows, 24]: constant, or an input that can change between runs */
    tuff_tensor like;         /* for a table that is no constant: a constant one of the same solver, so that the state has only the parts needed */
    tuff_denoiser_fn denoiser;
    void *user;
    tuff_shape shape;         /* of the state [batch, ..] when x is none */
    uint64_t seed;            /* of the noise: draw 0 starts, draw 1 + number of the row's draw */
    uint32_t stream, sample;  /* as in tuff_random_desc; stream + 2 fills what is known */
    bool antithetic;
    tuff_tensor noise;        /* [draws, batch, ..] instead of the generator */
    tuff_guidance guidance;
    tuff_tensor bias;         /* [rows, ..], broadcast to D and subtracted: calibration (arXiv:2302.10688) */
    double clip;              /* D is clipped to +- clip; 0: not */
    double quantile, most;    /* tuff_dynamic_threshold of D; quantile 0: not */
    tuff_sample_hook estimate_hook, state_hook; /* on D before the update; on the state after it; NULL: none */
    tuff_tensor mask, known;  /* inpainting: where mask is 1 the state follows the known x_0 */
    tuff_tensor *states;      /* gets the states after each row, [rows, batch, ..]; NULL: not kept */
} tuff_sample_desc;
/* From the state x (none: noise of the first level from the seed) through all rows of the table, as loops on the device:
 * one run, no host between steps. Returns the state after the last row.
 * x is whatever stands before sampling: a picture with noise, for a table that starts at its level; what tuff_gaussian_flow leaves of the first part
 * (teleportation, arXiv:2412.09726); noise that a network has suited to the prompt (arXiv:2411.09502). A network that returns the result itself
 * (consistency models, idempotent generators, arXiv:2509.21470) goes with TUFF_SOLVER_CONSISTENCY: its output, then noise up to the next level.
 * Search of time steps: a table that is an input changes without compiling; tuff_cheapest_path finds the best path through known costs. */
TUFF_API tuff_tensor tuff_sample(tuff_tensor x, const tuff_sample_desc *desc);

/* ---- score-based SDEs: predictor-corrector sampling, arXiv:2011.13456 ---------------------------------- */

typedef enum tuff_sde { TUFF_SDE_VP, TUFF_SDE_VE, TUFF_SDE_SUBVP } tuff_sde;
typedef enum tuff_predictor { TUFF_PREDICTOR_REVERSE_DIFFUSION, TUFF_PREDICTOR_ANCESTRAL, TUFF_PREDICTOR_EULER_MARUYAMA } tuff_predictor;
/* Columns: x_mean = X x + SCORE score, x = x_mean + NOISE z; CORRECTOR is the scale of langevin_step. */
enum { TUFF_PC_ALPHA, TUFF_PC_SIGMA, TUFF_PC_TIME, TUFF_PC_X, TUFF_PC_SCORE, TUFF_PC_NOISE, TUFF_PC_CORRECTOR, TUFF_PC_COLUMNS };
typedef struct tuff_pc_desc {
    tuff_sde sde;
    tuff_predictor predictor;    /* sub-VP has no ancestral one; its reverse diffusion is euler_maruyama */
    bool probability_flow;       /* half the score, no noise */
    double t_end;                /* 0: 1e-5 (VE), 1e-3 */
    double sigma_min, sigma_max; /* VE; 0: 0.01, 50 */
    double beta_min, beta_max;   /* VP, sub-VP; 0: 0.1, 20 */
} tuff_pc_desc;
/* Host row f32[n, TUFF_PC_COLUMNS]: n steps from time 1 to t_end. */
TUFF_API tuff_tensor tuff_pc_table(tuff_graph *g, int64_t n, const tuff_pc_desc *desc);
/* x, score, noise [b, ..], scale of rank 0: results x + eta score + sqrt(2 eta) noise, and the mean without noise;
 * eta = 2 scale (snr |noise| / |score|)^2, norms of each sample, or their means over the batch (then samples depend on the batch). */
TUFF_API tuff_tensor tuff_langevin_step(tuff_tensor x, tuff_tensor score, tuff_tensor noise, tuff_tensor scale, double snr, bool per_sample);

typedef struct tuff_pc_sample_desc {
    tuff_tensor table;           /* of tuff_pc_table, or an input */
    tuff_denoiser_fn denoiser;
    void *user;
    tuff_prediction prediction;  /* X0, EPS, V, SCORE or FLOW */
    uint32_t corrector_steps;    /* Langevin steps before each predictor */
    double snr;
    bool per_sample;             /* norms; see tuff_langevin_step */
    uint64_t seed;
    uint32_t stream, sample;     /* predictor: stream, corrector: + 1, known elements: + 2; draw 1 + index */
    tuff_tensor noise, corrector_noise, replace_noise; /* [index, batch, ..] instead of the generator; index: step, step * corrector_steps + k,
                                                        * 2 step (after the corrector) and 2 step + 1 (after the predictor) */
    tuff_tensor mask, known;     /* where mask is 1 the state follows the known x_0 */
    tuff_tensor (*transform)(void *user, tuff_tensor x, bool back); /* orthonormal map into the coordinates of mask and known, and back; NULL: none */
    tuff_tensor *noisy, *states; /* get x after the last predictor, with noise; x after each step [steps, ..]; NULL: not kept */
} tuff_pc_sample_desc;
/* From x, noise of the first level, to x_mean of the last predictor. */
TUFF_API tuff_tensor tuff_pc_sample(tuff_tensor x, const tuff_pc_sample_desc *desc);

/* ---- adaptive integration ------------------------------------------------------------------------------ */

/* dy/dt at t (f32 of rank 0) for n states y; the function sets dy[i] of y[i]'s shape. Called once per stage, not per step. */
typedef struct tuff_ode_call {
    tuff_graph *graph;
    tuff_tensor t;
    const tuff_tensor *y;
    tuff_tensor *dy;
    uint32_t n;
    void *user;
} tuff_ode_call;
typedef void (*tuff_ode_fn)(void *user, tuff_ode_call *call);
typedef struct tuff_ode_desc {
    tuff_ode_fn rhs;
    void *user;
    double t0, t1;       /* t1 < t0 goes back */
    double rtol, atol;   /* 0: 1e-5; below 1e-6 f32 gains nothing */
    double h0;           /* first step; 0: |t1 - t0| / 100 */
    int64_t max_steps;   /* accepted and rejected; 0: 1000 */
    uint32_t measured;   /* the first `measured` states decide about steps; 0: all */
    tuff_tensor *report; /* gets f32[7]: t reached (t1 when done), next step, accepted, rejected, evaluations, sum of |h| |error vector|, largest
                          * |h| times the stiffness estimate (above 3.25: stiff; arXiv:2105.03918). NULL: not kept */
    tuff_tensor *trace;  /* gets f32[max_steps, 4]: t, h, error, accepted (1 or 0); rows of steps that did not run are 0 */
} tuff_ode_desc;
/* Dormand-Prince 5(4) from t0 to t1 with a PI controller, as one loop on the device: results[i] is y[i] at t1. 1 to 4 states.
 * The error of a step is the RMS over all elements of error / (atol + rtol max(|y|, |y'|)). */
TUFF_API tuff_status tuff_ode_solve(tuff_graph *g, const tuff_tensor *y, uint32_t n, const tuff_ode_desc *desc, tuff_tensor *results);
/* One step of size h (rank 0) from t: results[0..n) the states, then the error and the stiffness estimate |k7 - k6| / |y7 - y6|. */
TUFF_API tuff_status tuff_rk45_step(tuff_graph *g, tuff_tensor t, tuff_tensor h, const tuff_tensor *y, uint32_t n, const tuff_ode_desc *desc, tuff_tensor *results);

typedef struct tuff_sde_desc {
    tuff_sde sde;
    double sigma_min, sigma_max; /* VE; 0: 0.01, 50 */
    double beta_min, beta_max;   /* VP, sub-VP; 0: 0.1, 20 */
} tuff_sde_desc;
/* t[..] in [0, 1] -> results alpha, sigma, drift f, diffusion g^2 of dx = f x dt + g dw. arXiv:2011.13456 */
TUFF_API tuff_tensor tuff_sde_marginals(tuff_tensor t, const tuff_sde_desc *desc);

typedef struct tuff_flow_desc {
    tuff_sde_desc process;
    tuff_denoiser_fn denoiser;
    void *user;
    tuff_prediction prediction;   /* X0, EPS, V, SCORE or FLOW */
    double t0, t1;                /* 0: 1 to 0.001; likelihood: 1e-5 to 1 */
    double rtol, atol, h0;        /* as in tuff_ode_desc */
    int64_t max_steps;
    tuff_tensor *report, *trace;
    /* likelihood: */
    tuff_tensor (*derivative)(void *user, const tuff_denoiser_call *call, tuff_tensor v); /* J v of the denoiser's output; NULL: central differences */
    double difference;            /* their step, times alpha + sigma; 0: 0.01 */
    bool exact_trace;             /* n derivatives along unit vectors instead of probes: for small n */
    tuff_tensor probes;           /* [count, batch, ..]; none: drawn from seed, stream, draw = number of the probe */
    uint32_t probe_count;         /* 0: 1; at most 64 */
    bool gaussian_probes;         /* instead of signs */
    uint64_t seed;
    uint32_t stream;
} tuff_flow_desc;
/* x[b, ..] along dx/dt = f x - g^2/2 score from t0 to t1, adaptively. */
TUFF_API tuff_tensor tuff_probability_flow(tuff_tensor x, const tuff_flow_desc *desc);
/* log p(x) in nats, [count, b] with one estimate per probe, or [b] with exact_trace; *latent (may be NULL) gets x at t1. Bits per dim:
 * -log p / (n ln 2). arXiv:2011.13456 section 4.3 */
TUFF_API tuff_tensor tuff_log_likelihood(tuff_tensor x, const tuff_flow_desc *desc, tuff_tensor *latent);

/* ---- tokens: the last axis of a distribution counts the vocabulary. f32; tokens are i32 ---------------- */

typedef struct tuff_token_filter_desc {
    double temperature; /* logits are divided by it; 0: 1 */
    double top_p;       /* after top-k: the most probable until their sum reaches it, at least one; 0: all */
    int64_t top_k;      /* only the k most probable, lower tokens first among equals; 0: all */
} tuff_token_filter_desc;
/* logits[.., v] -> probabilities, renormalised after each filter. */
TUFF_API tuff_tensor tuff_token_probabilities(tuff_tensor logits, const tuff_token_filter_desc *desc);
/* p[.., v] >= 0, u[..] in (0, 1) -> the first token whose running sum exceeds u * sum. */
TUFF_API tuff_tensor tuff_sample_token(tuff_tensor p, tuff_tensor u);
/* tokens[..], logits[.., v] without the mask, u, u_token[..], chance of rank 0: positions that hold `mask` and have u < chance get a token
 * drawn by u_token. From time t to s chance = (alpha_s - alpha_t) / (1 - alpha_t). arXiv:2406.07524 */
TUFF_API tuff_tensor tuff_masked_diffusion_step(tuff_tensor tokens, tuff_tensor logits, tuff_tensor u, tuff_tensor u_token, tuff_tensor chance, int32_t mask);
/* tokens[.., n], logits[.., n, v], count (i32 of rank 0): the `count` most confident masked positions of each row get their best token;
 * lower positions first among equals. arXiv:2202.04200 */
TUFF_API tuff_tensor tuff_confidence_unmask(tuff_tensor tokens, tuff_tensor logits, tuff_tensor count, int32_t mask);
/* draft[.., n] drawn from q[.., n, v], the model's p[.., n + 1, v], r[.., n] and u[..] in (0, 1) -> results tokens[.., n + 1], accepted[..]:
 * tokens are accepted while r q < p; the next one is drawn from max(p - q, 0), or from p behind the last; then -1. arXiv:2211.17192 */
TUFF_API tuff_tensor tuff_speculative_accept(tuff_tensor draft, tuff_tensor q, tuff_tensor p, tuff_tensor r, tuff_tensor u);
/* draft[.., n] drawn from q[.., n, v] in the last iteration, p[.., n, v] of this one, r, u[.., n] -> results tokens[.., n], accepted[..]: as
 * above, and positions behind the first rejected are drawn from p. arXiv:2410.01699 */
TUFF_API tuff_tensor tuff_speculative_jacobi_step(tuff_tensor draft, tuff_tensor q, tuff_tensor p, tuff_tensor r, tuff_tensor u);

typedef struct tuff_jacobi_desc {
    tuff_tensor (*logits)(void *user, tuff_tensor tokens); /* tokens i32[.., n] -> [.., n, v]: at each position from what precedes it; called once */
    void *user;
    int64_t max;             /* iterations at most; 0: n + 1, which is always enough */
    tuff_tensor *iterations; /* gets i32 of rank 0: iterations done, the last of which changed nothing; NULL: not kept */
} tuff_jacobi_desc;
/* All positions of start i32[.., n] at once become the likeliest token, again and again until nothing changes in any row: greedy decoding, in as
 * many iterations as the model's tokens depend on others, not n. A loop on the device that ends itself. arXiv:2403.00835 */
TUFF_API tuff_tensor tuff_jacobi_decode(tuff_tensor start, const tuff_jacobi_desc *desc);

/* Host row: cost[n, n], a constant -> results points i32[edges + 1], total[1] of the cheapest rising path from 0 to n - 1 with that many edges. */
TUFF_API tuff_tensor tuff_cheapest_path(tuff_tensor cost, int32_t edges);

#ifdef __cplusplus
}
#endif

#endif
