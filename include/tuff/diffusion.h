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
    double s_churn, s_tmin, s_tmax;     /* euler, heun: arXiv:2206.00364 algorithm 2; s_tmax 0: no limit */
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
 * Grids may start at alpha = 0 where the solver's formula does (not heun, dpm2, lms, rk4, ipndm, 2s, sde) and may end at sigma = 0. */
TUFF_API tuff_tensor tuff_solver_table(tuff_tensor sigmas, tuff_solver solver, const tuff_solver_desc *desc);

#ifdef __cplusplus
}
#endif

#endif
