/* ssm.h - scans, state-space models. Included by tuff.h; the conventions are those of ops.h.
 *
 * Continuous systems x' = A x + B u, y = C x (no conjugate on C); steps x_t = Abar x_{t-1} + Bbar u_t, y_t = C x_t. A real system with
 * complex modes is given by half of them, those with Im(lam) >= 0: results are twice the real part of their sum. */
#ifndef TUFF_SSM_H
#define TUFF_SSM_H

#ifndef TUFF_TUFF_H
#  include "tuff.h"
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- state-space models: initial values, in double precision when the graph is compiled -------------------- */

typedef enum tuff_hippo {
    TUFF_HIPPO_LEGS, /* Legendre polynomials of the whole past */
    TUFF_HIPPO_LEGT, /* Legendre polynomials of a sliding window */
    TUFF_HIPPO_LAGT, /* Laguerre functions, exponential decay */
    TUFF_HIPPO_FOUT  /* Fourier series of a sliding window */
} tuff_hippo;
typedef struct tuff_hippo_desc {
    double theta; /* window length of legt and fout; 0: 1 */
} tuff_hippo_desc;
/* The system x' = A x + B u whose state holds the coefficients of the input's past in a basis. Result 0: A f32[n, n], 1: B f32[n],
 * 2: P f32[rank, n] such that A + P'P is normal (rank 2 for legt, else 1). n is from 1 to 4096. Gu et al., arXiv:2008.07669. */
TUFF_API tuff_tensor tuff_hippo_matrix(tuff_graph *g, tuff_hippo basis, int32_t n, const tuff_hippo_desc *desc);
/* The same system as diagonal plus low rank, A = V (diag(lam) - P'conj(P)) V*: result 0: lam c64[n/2], Im ascending, 1: B c64[n/2] = V*B,
 * 2: P c64[rank, n/2] = V*P, 3: V c64[n, n/2] (for C = V'C). n is even, from 2 to 512. Phases of V are arbitrary. arXiv:2111.00396. */
TUFF_API tuff_tensor tuff_hippo_nplr(tuff_graph *g, tuff_hippo basis, int32_t n, const tuff_hippo_desc *desc);

typedef enum tuff_s4d_spectrum {
    TUFF_S4D_LIN,  /* -1/2 + i pi m */
    TUFF_S4D_INV,  /* -1/2 + i (n / pi) (n / (2m + 1) - 1) */
    TUFF_S4D_QUAD, /* -1/2 + i (1 + 2m)^2 / pi */
    TUFF_S4D_LEGS, /* of the normal part of HiPPO-LegS */
    TUFF_S4D_REAL  /* -(m + 1) */
} tuff_s4d_spectrum;
/* Diagonal state matrices, m = 0 .. n/2 - 1: result 0: lam c64[n/2], 1: B c64[n/2] (1; for LEGS V*B). n is even, from 2 to 512. arXiv:2206.11893. */
TUFF_API tuff_tensor tuff_s4d_init(tuff_graph *g, tuff_s4d_spectrum init, int32_t n);

typedef struct tuff_timescale_desc {
    double min, max; /* 0: 0.001, 0.1 */
    uint64_t seed;
} tuff_timescale_desc;
/* dt f32[n], log-uniform between min and max. 1 / dt should cover the lengths of the dependencies. */
TUFF_API tuff_tensor tuff_timescale_init(tuff_graph *g, int64_t n, const tuff_timescale_desc *desc);

typedef enum tuff_discretization {
    TUFF_DISC_ZOH,       /* Abar = e^z, Bbar = (e^z - 1) / lam B, where z = dt lam */
    TUFF_DISC_BILINEAR,  /* (1 + z/2) / (1 - z/2), dt / (1 - z/2) B */
    TUFF_DISC_EULER_EXP, /* e^z, dt B */
    TUFF_DISC_DIRAC,     /* e^z, B */
    TUFF_DISC_FORWARD,   /* 1 + z, dt B */
    TUFF_DISC_BACKWARD   /* 1 / (1 - z), dt / (1 - z) B */
} tuff_discretization;

/* Perturb, then diagonalise: A + E = V diag(lam) V^-1 for the HiPPO matrix A. e f32[n, n] and c f32[n] are constants, n is up to 512. Result 0: lam
 * c64[n] by imaginary, then real part, 1: residues c64[n] = (c V)_k (V^-1 B)_k, which with lam are the model (as c of s4d_kernel with
 * b = 1 and full), 2: its kernel f32[length] for step dt, 3: condition f32[1] of V with unit columns, 4: stability f32[1] = largest Re(lam),
 * 5: V c64[n, n] and 6: its inverse, with which models of several inputs and outputs are V^-1 B and C V (s5_scan with full).
 * The model is exactly that of A + E. A moderate condition, below about 1e3, keeps f32 models accurate but needs an E that departs from HiPPO;
 * |E| / |A| = 1e-4 is a good start, and a random E above 1e-3 can make the model unstable: look at the stability. arXiv:2310.01698. */
typedef struct tuff_ptd_desc {
    double theta;             /* as in tuff_hippo_desc */
    tuff_discretization disc; /* of the kernel */
    bool require_stable;      /* Re(lam) >= 0 anywhere makes compiling fail with E_ARGUMENT and the value */
} tuff_ptd_desc;
TUFF_API tuff_tensor tuff_hippo_ptd(tuff_tensor e, tuff_tensor c, tuff_hippo basis, double dt, int64_t length, const tuff_ptd_desc *desc);

typedef enum tuff_discretize_kind { TUFF_DISCRETIZE_DIAG, TUFF_DISCRETIZE_DENSE } tuff_discretize_kind;
typedef struct tuff_discretize_desc {
    tuff_discretize_kind kind;
    tuff_discretization method;
} tuff_discretize_desc;
/* DIAG: a = eigenvalues c64[h, n], b c64[h, n], dt f32[h] -> Abar, Bbar (result 1) c64[h, n]; on the host if all are constants.
 * DENSE: a f32[n, n], b f32[n], dt f32[t], all constants -> Abar f32[t, n, n], Bbar f32[t, n]; exponentials and solves replace the scalar formulas. */
TUFF_API tuff_tensor tuff_discretize(tuff_tensor a, tuff_tensor b, tuff_tensor dt, const tuff_discretize_desc *desc);

/* ---- state-space models: convolution kernels -------------------------------------------------------------- */

typedef struct tuff_s4d_kernel_desc {
    tuff_discretization disc;
    bool full;              /* all modes are given; false: the half with Im >= 0, and the kernel is twice the real part */
    tuff_tensor positions;  /* int[m]: only these columns of 0 .. length - 1, clamped; absent: all */
} tuff_s4d_kernel_desc;
/* K_l = 2 Re sum_n c_n Bbar_n Abar_n^l, l = 0 .. length - 1: lam, b, c c64[h, n], dt f32[h] -> K f32[h, length]. n is up to 1024, length up to
 * 2^24. Constants: tables in double precision when the graph is compiled, any disc; the error relative to the largest terms is about 1e-7 at any
 * length. Parameters computed on the device: ZOH, EULER_EXP or DIRAC, phases exact to 48 bits. K does not depend on the input: a program that
 * assigns it to a state can share it with the one that uses it. arXiv:2206.11893. */
TUFF_API tuff_tensor tuff_s4d_kernel(tuff_tensor lam, tuff_tensor b, tuff_tensor c, tuff_tensor dt, int64_t length, const tuff_s4d_kernel_desc *desc);

typedef struct tuff_s4_kernel_desc {
    bool full;              /* as in tuff_s4d_kernel_desc */
    tuff_tensor positions;
} tuff_s4_kernel_desc;
/* The kernel of A = diag(lam) - P'conj(P) (with the conjugates of all unless full), bilinear: lam, b, c c64[h, n], p c64[rank, h, n], dt f32[h],
 * all constants -> K f32[h, length]; result 1: Ctilde c64[h, n] = c (I - Abar^length), what the truncated generating function needs.
 * Powers of the step are taken in double precision when the graph is compiled; errors as in s4d_kernel. arXiv:2111.00396. */
TUFF_API tuff_tensor tuff_s4_kernel(tuff_tensor lam, tuff_tensor p, tuff_tensor b, tuff_tensor c, tuff_tensor dt, int64_t length, const tuff_s4_kernel_desc *desc);

typedef struct tuff_s4_cauchy_kernel_desc {
    bool full; /* as in tuff_s4d_kernel_desc */
} tuff_s4_cauchy_kernel_desc;
/* s4_kernel for parameters that are computed on the device, of rank 1 or 2, from ctilde = c (I - Abar^length) as a parameter of its own:
 * Cauchy sums over the modes at the roots of unity, then an inverse transform. Its error is about 5e-6 for LegS; poles on the imaginary
 * axis (LegT, FouT) cancel to 1e-4 or worse: s4_kernel with constants does not. arXiv:2111.00396. */
TUFF_API tuff_tensor tuff_s4_cauchy_kernel(tuff_tensor lam, tuff_tensor p, tuff_tensor b, tuff_tensor ctilde, tuff_tensor dt, int64_t length,
                                           const tuff_s4_cauchy_kernel_desc *desc);

typedef struct tuff_causal_conv_desc {
    tuff_tensor d;      /* f32[h]: adds d u_t; absent: 0 */
    bool bidirectional; /* k is f32[2, h, m]: k[0] as below, k[1] over what comes strictly after: + sum_j k1_j u_{t+1+j} */
} tuff_causal_conv_desc;
/* y_t = sum_{j <= t} k_j u_{t-j} + d u_t: u[..., h, n] (f32 f16 bf16), k f32[h, m] -> y of u's shape and dtype; one kernel per feature, m below or
 * above n. Computed in f32 by fft_conv; pointwise ops on the result fuse into its last kernel. */
TUFF_API tuff_tensor tuff_causal_conv(tuff_tensor u, tuff_tensor k, const tuff_causal_conv_desc *desc);

typedef struct tuff_s4_scan_desc {
    tuff_tensor p;            /* c64[rank, h, n], a constant: A = diag(lam) - P'conj(P), bilinear; absent: diagonal */
    tuff_tensor d;            /* f32[h]: adds d u_t; absent: 0 */
    tuff_tensor state;        /* c64[b, h, n]: what precedes u_0; absent: 0 */
    tuff_discretization disc; /* diagonal models */
    bool full;                /* as in tuff_s4d_kernel_desc */
} tuff_s4_scan_desc;
/* The same models run as recurrences: x_t = Abar x_{t-1} + Bbar u_t, y_t = 2 Re sum_n c_n x_t + d u_t. u[b, h, length] (f32 f16 bf16), lam, b, c
 * c64[h, n], dt f32[h] -> y of u's type; result 1: the state after the last step c64[b, h, n]. Feeding a sequence in pieces, of any lengths, with
 * the state handed on (a tuff_state) gives what the whole sequence gives, and what causal_conv with the kernel gives. Constants: pieces are taken
 * in chunks by matrix products; others (diagonal only): step by step in a scan. arXiv:2111.00396. */
TUFF_API tuff_tensor tuff_s4_scan(tuff_tensor u, tuff_tensor lam, tuff_tensor b, tuff_tensor c, tuff_tensor dt, const tuff_s4_scan_desc *desc);

typedef struct tuff_hippo_online_desc {
    int64_t every;      /* keep the coefficients after every so many steps; 0: 1 */
    tuff_tensor state;  /* f32[..., n]: the coefficients before u; absent: 0 */
    tuff_tensor start;  /* int[1]: how many steps went before u; absent: 0 */
} tuff_hippo_online_desc;
/* HiPPO-LegS coefficients of all of a signal's past as it arrives: u f32[..., length] -> c f32[..., length / every, n], result 1: the last ones
 * f32[..., n]. Step k = 1, 2, .. solves (I - A/2k) c' = (I + A/2k) c + B u / k with A, B of LegS. n is up to 1024. arXiv:2008.07669. */
TUFF_API tuff_tensor tuff_hippo_online(tuff_tensor u, int32_t n, const tuff_hippo_online_desc *desc);

/* ---- scans: running combinations along an axis; tuff_scan_desc and sums are in ops.h ---------------- */

/* Running maximum or minimum; float, int; NaN stays. Exclusive scans start with -inf or +inf, the least or largest integer. */
TUFF_API tuff_tensor tuff_cummax(tuff_tensor x, int32_t axis, const tuff_scan_desc *desc);
TUFF_API tuff_tensor tuff_cummin(tuff_tensor x, int32_t axis, const tuff_scan_desc *desc);
/* log of the running sum of e^x, by maxima; float. */
TUFF_API tuff_tensor tuff_logcumsumexp(tuff_tensor x, int32_t axis, const tuff_scan_desc *desc);
/* h[t] = a[t] * h[t-1] + b[t] along axis; a and b broadcast; float, complex. initial: h before the first element; absent: 0.
 * |a| may exceed 1. */
TUFF_API tuff_tensor tuff_linear_scan(tuff_tensor a, tuff_tensor b, int32_t axis, const tuff_scan_desc *desc);
/* A scan of up to 4 named fields by an associative expression of their values before (a.*) and after (b.*):
 *   tuff_scan(g, "x = a.x * b.x; y = b.x * a.y + b.y", 1, 2, (tuff_named[]){{"x", x}, {"y", y}}, NULL)
 * Fields broadcast. One result per field. An input start.NAME, shaped without the axis, is what precedes the first element of field NAME;
 * all fields have one or none has. exclusive needs it and excludes seg_start; desc->initial is not used. Any field dtype but f64.
 * E_PARSE gives line and column of a bad expression. */
TUFF_API tuff_tensor tuff_scan(tuff_graph *g, const char *combine, int32_t axis, uint32_t n, const tuff_named *inputs, const tuff_scan_desc *desc);

/* ---- selective state spaces ------------------------------------------------------------------------ */

typedef enum tuff_scan_layout {
    TUFF_SCAN_BDL, /* u[b, d, l]; B and C per step [b, n, l] or [b, groups, n, l] */
    TUFF_SCAN_BLD  /* u[b, l, d]; [b, l, n] or [b, l, groups, n] */
} tuff_scan_layout;
typedef struct tuff_selective_scan_desc {
    tuff_tensor D;          /* [d]: y += D u */
    tuff_tensor z;          /* u's shape: y *= silu(z), after D */
    tuff_tensor delta_bias; /* [d]: added to delta */
    tuff_tensor h0;         /* [b, d, n]: the state before the first step; absent: 0 */
    tuff_tensor seq_start;  /* bool or int [b, l]: non-zero, a sequence starts here from state 0 (packed sequences) */
    bool delta_softplus;    /* delta becomes softplus(delta + bias) */
    tuff_scan_layout layout;
} tuff_selective_scan_desc;
/* h[t] = e^(delta[t] A) h[t-1] + delta[t] B[t] u[t], y[t] = sum over n of C[t] h[t] (Gu and Dao 2023). A[d, n] is real, or the half of a
 * complex spectrum, as may be B and C: then y is twice the real part. B and C are constants [d, n] or given per step, where
 * channel i uses group i / (d / groups). Results: y, h_last[b, d, n] (f32, c64). u, delta, z, D, delta_bias: f32 f16 bf16. d and n
 * are fixed sizes, n <= 1024. */
TUFF_API tuff_tensor tuff_selective_scan(tuff_tensor u, tuff_tensor delta, tuff_tensor A, tuff_tensor B, tuff_tensor C, const tuff_selective_scan_desc *desc);

typedef struct tuff_state_update_desc {
    tuff_tensor D;       /* [d]: y += D x */
    tuff_tensor z;       /* [b, d]: y *= silu(z), after D */
    tuff_tensor dt_bias; /* [d]: added to dt */
    bool dt_softplus;    /* dt becomes softplus(dt + bias) */
} tuff_state_update_desc;
/* One step of tuff_selective_scan: state[b, d, n] (f32, c64), x and dt[b, d], A[d, n], B and C[b, n] or [b, groups, n] -> y[b, d]; result 1 is
 * the new state, shaped for tuff_assign. */
TUFF_API tuff_tensor tuff_selective_state_update(tuff_tensor state, tuff_tensor x, tuff_tensor dt, tuff_tensor A, tuff_tensor B, tuff_tensor C,
                                                 const tuff_state_update_desc *desc);

typedef enum tuff_dwconv_activation { TUFF_DWCONV_NONE, TUFF_DWCONV_SILU } tuff_dwconv_activation;
typedef struct tuff_dwconv_desc {
    tuff_tensor bias;  /* [d] */
    tuff_tensor state; /* [b, d, k - 1]: the inputs before x, oldest first; absent: 0 */
    tuff_dwconv_activation activation;
} tuff_dwconv_desc;
/* Short causal convolution per channel: x[b, d, l], w[d, k] -> y[t] = sum over j of w[j] x[t - k + 1 + j]. Result 1: the last k - 1
 * inputs, the state of what follows. k <= 64. */
TUFF_API tuff_tensor tuff_dwconv_causal(tuff_tensor x, tuff_tensor w, const tuff_dwconv_desc *desc);

typedef struct tuff_ssd_desc {
    tuff_tensor D;          /* [heads] or [heads, p]: y += D x */
    tuff_tensor z;          /* x's shape: y *= silu(z), after D */
    tuff_tensor dt_bias;    /* [heads]: added to dt */
    tuff_tensor h0;         /* [b, heads, p, n]: the state before the first step; absent: 0 */
    tuff_tensor seq_idx;    /* int [b, l]: where it changes, a sequence starts from state 0; h0 belongs to the first */
    bool dt_softplus;       /* dt becomes softplus(dt + bias) */
    float dt_min, dt_max;   /* limits of dt after that; dt_max 0: none */
    int32_t chunk;          /* steps per chunk, a hint: the result does not depend on it; 0: 64 */
} tuff_ssd_desc;
/* State space duality (Dao and Gu 2024): h[t] = e^(dt A) h[t-1] + dt x B', y = h C, by products of matrices in chunks. x[b, l, heads, p],
 * dt[b, l, heads], A[heads], B and C[b, l, groups, n]; head i uses group i / (heads / groups). Results: y like x, h_last[b, heads, p, n] f32.
 * All sizes but b are fixed. f32 f16 bf16, in f32. */
TUFF_API tuff_tensor tuff_ssd(tuff_tensor x, tuff_tensor dt, tuff_tensor A, tuff_tensor B, tuff_tensor C, const tuff_ssd_desc *desc);
/* The same with the exponential-trapezoidal rule: h[t] = a h[t-1] + (1 - lam) dt a (B x)[t-1] + lam dt (B x)[t], a = e^(dt A), lam[b, l, heads]
 * in [0, 1]; lam = 1 is tuff_ssd. */
TUFF_API tuff_tensor tuff_ssd_trapezoidal(tuff_tensor x, tuff_tensor dt, tuff_tensor A, tuff_tensor lam, tuff_tensor B, tuff_tensor C);

typedef struct tuff_s5_desc {
    tuff_tensor D;            /* [h]: y += D u */
    tuff_discretization disc; /* 0: zoh */
    bool bidirectional;       /* a second scan from the end; C[h, 2 p] holds its columns behind those of the first */
    bool full;                /* all modes are given, not one of each conjugate pair: no factor 2 */
    bool clip;                /* Re(lam) <= -1e-4 */
} tuff_s5_desc;
/* S5 (Smith et al. 2023): u[b, l, h] through p modes shared by all features; lam[p], B[p, h], C[h, p] c64, log_step[p] = log dt:
 * x[t] = Ab x[t-1] + Bb u[t], y = 2 Re(C x) + D u. */
TUFF_API tuff_tensor tuff_s5_scan(tuff_tensor u, tuff_tensor lam, tuff_tensor B, tuff_tensor C, tuff_tensor log_step, const tuff_s5_desc *desc);

typedef enum tuff_gru_order { TUFF_GRU_RZN, TUFF_GRU_ZRN } tuff_gru_order; /* reset, update, new */
typedef struct tuff_gru_desc {
    tuff_tensor h0;            /* [b, h]: the state before the first step; absent: 0 */
    tuff_gru_order gate_order; /* of the rows of the weights */
} tuff_gru_desc;
/* Gated recurrent units: x[t, b, i], Wi[3 h, i], Wh[3 h, h], bi and bh[3 h] -> h[t, b, h]; r and z = sigmoid(Wi x + bi + Wh h + bh),
 * n = tanh(Wi x + bi + r (Wh h + bh)), h = (1 - z) n + z h. h <= 2044, a fixed size; t has a fixed size where it is long. */
TUFF_API tuff_tensor tuff_gru(tuff_tensor x, tuff_tensor Wi, tuff_tensor Wh, tuff_tensor bi, tuff_tensor bh, const tuff_gru_desc *desc);

#ifdef __cplusplus
}
#endif

#endif
