/* gaunt.h - rows that only lowering makes, and what the files of the equivariant family share. */
#ifndef TF_GAUNT_H
#define TF_GAUNT_H

#include "anchors.h"
#include "sphere.h"

enum { TF_GAUNT_MAX = 7 }; /* factors of one kernel: each with its weights, and the result's weights, fit its 16 operands */

/* _gaunt: kernels of generated code, one row per invocation. Operands are matrices [rows, ...]: the factors [rows, (l+1)^2], then
 * weights [rows, l+1] of the factors and of the result whose bits are set in `weights` (bit i: factor i, bit n: the result). */
typedef enum tf_gaunt_form {
    TF_FORM_SPARSE,  /* product of two functions from the non-zero coefficients */
    TF_FORM_CURL,    /* rhat . (grad f1 x grad f2) likewise */
    TF_FORM_GRID,    /* product of any number of functions on a Gauss-Legendre grid, separably */
    TF_FORM_CG,      /* all blocks of the full tensor product */
    TF_FORM_ROTATE,  /* D(R) x; operands x, R [rows, 9] */
    TF_FORM_ALIGNED, /* product with a filter h_l Y_l(vec) in the frame of vec; operands x, vec [rows, 3], h [rows, l2+1] */
    TF_FORM_FILTER,  /* the same from the non-zero coefficients, the filter in registers */
    TF_FORM_SH,      /* spherical harmonics of vec [rows, 3] */
    TF_FORM_ANGLES   /* cos(m t), then sin(m t), m = 0..lout, of the angles f, g, h with R = Ry(f) Rx(g) Ry(h); operand R [rows, 9] */
} tf_gaunt_form;
typedef struct tf_gaunt_desc {
    tf_gaunt_form form;
    tuff_ints l;       /* degrees of the factors; SH: none; ALIGNED, FILTER: of x and of the filter */
    int32_t lout;
    int32_t weights;
    int32_t variant;   /* CG, SH: normalisation */
    bool same;         /* GRID: operand 0 serves all factors */
    bool solid;        /* SH */
    int32_t flat;      /* operands, as bits, that come as [1, rows * size]: the kernel reads them by vectors across rows; bit 16: so does the result */
    const char *why;   /* for explain: what the choice rests on; NULL: nothing to choose */
} tf_gaunt_desc;

extern const tf_op tf_op_gaunt_code, tf_op_sphere_table;

/* Adds such a node, with the table it needs, if any. */
tuff_tensor tf_gaunt_kernel(tf_lower *l, const tf_gaunt_desc *d, const tuff_tensor *xs, uint32_t n);
/* The product by Fourier coefficients of f32 rows [rows, (degrees[i]+1)^2] (gaunt_fourier.c). */
tuff_tensor tf_fourier_product(tf_lower *l, const tuff_tensor *xs, const int32_t *degrees, int32_t lout);

/* ---- tables: a host row -------------------------------------------------------------------------------------- */

typedef enum tf_sphere_table {
    TF_TABLE_POINTS,     /* Y at the points of the grid for `degree`: [(l+1)^2, points] */
    TF_TABLE_PROJECT,    /* the same with weights: [points, (l+1)^2] */
    TF_TABLE_SLOPE,      /* dY/dtheta, then dY/dphi / sin theta: [2, (l+1)^2, points] */
    TF_TABLE_PAIRS,      /* Lam at pairs of nodes, and their weights: [pairs, (l+1)(l+2)/2 + 1]; degree is the total, extra the quads */
    TF_TABLE_RECURRENCE, /* factors of the recurrence in l: [(l+1)(l+2)/2, 3]; extra is the normalisation */
    TF_TABLE_THETA,      /* Fourier coefficients over theta by order: [l+1, l+1, 2 degree + 1] */
    TF_TABLE_THETA_BACK, /* projections from them: [l+1, 2 degree + 1, l+1]; extra: only u >= 0, [l+1, degree + 1, l+1] */
    TF_TABLE_TURN,       /* D of a turn about x in powers of its angle: [2 l + 1, blocks] */
    TF_TABLE_HALF_TURN,  /* J by degree: [l+1, 2 l + 1, 2 l + 1] */
    TF_TABLE_SYNTHESIS,  /* Lam by order at the nodes of a grid: [l+1, l+1, nodes]; extra: kind of grid */
    TF_TABLE_ANALYSIS,   /* the same with weights: [l+1, nodes, l+1] */
    TF_TABLE_ANGLES      /* cos(m phi), then sin(m phi) at `degree` angles: [2 (l+1), degree] */
} tf_sphere_table;
typedef struct tf_sphere_table_desc { tf_sphere_table kind; int32_t l, degree, extra; } tf_sphere_table_desc;
tuff_tensor tf_sphere_table_of(tuff_graph *g, tf_sphere_table kind, int32_t l, int32_t degree, int32_t extra);

/* ---- rows: what lowering does to operands (gaunt_rows.c) ------------------------------------------------------- */

/* L of the last axis of source i, or -1 after tf_bad. */
int32_t tf_infer_degree(tf_infer *c, uint32_t i);
/* Leading axes of sources a and b (b may be absent) and `last`, with the dtype of a, into out. False: tf_bad was called. */
bool tf_infer_lead(tf_infer *c, uint32_t a, uint32_t b, int64_t last, tf_type *out);
/* Source i is absent, or its last axis is l + 1 long and the others broadcast into the leading axes of `like`. */
bool tf_infer_weights(tf_infer *c, uint32_t i, int32_t l, const tf_type *like);
/* x as f32 [rows, last], its leading axes broadcast to those of `like`. */
tuff_tensor tf_rows_of(tuff_tensor x, const tf_type *like);
/* The inverse, as the type `like`. */
tuff_tensor tf_rows_back(tuff_tensor rows, const tf_type *like);
/* x[rows, (l+1)^2] times w[rows, l+1]; w may be absent. */
tuff_tensor tf_weighted_rows(tuff_tensor x, tuff_tensor w, int32_t l);
/* x[rows, (l+1)^2] -> [l+1 (m), 2 rows (cosines, then sines), l+1], and back. Entries that do not exist hold any number. */
tuff_tensor tf_by_order(tuff_tensor x, int32_t l);
tuff_tensor tf_from_order(tuff_tensor x, int32_t l);
/* An i32 constant. */
tuff_tensor tf_indices(tuff_graph *g, int64_t n, const int32_t *data);
/* The same for references: row-major [rows of like, last] of a source, into the arena. */
double *tf_ref_rows(tf_ref *r, uint32_t src, const tf_ref_tensor *like);
void tf_ref_weights(double *x, const double *w, uint64_t rows, int32_t l);

/* Instructions of a kernel's text (about), and those one row takes. */
typedef struct tf_gaunt_cost { uint64_t text, work; } tf_gaunt_cost;
tf_gaunt_cost tf_gaunt_cost_of(const tf_gaunt_desc *d);

/* ---- references of rows (gaunt_ref.c): row-major matrices in double ---- */

/* y[rows, (lout+1)^2] = projection of the product of n functions; x[i] is [rows, (l[i]+1)^2]. */
tuff_status tf_ref_product(tf_arena *a, int32_t n, const int32_t *l, int32_t lout, uint64_t rows, const double *const *x, double *y);
tuff_status tf_ref_curl(tf_arena *a, int32_t l1, int32_t l2, int32_t lout, uint64_t rows, const double *x1, const double *x2, double *y);
/* All blocks; variant as tuff_cg_normalization. */
tuff_status tf_ref_cg(tf_arena *a, int32_t l1, int32_t l2, int32_t lout, int32_t variant, uint64_t rows, const double *x1, const double *x2, double *y);
int64_t tf_cg_size(int32_t l1, int32_t l2, int32_t lout);
/* The rotation next to a matrix, by angles: R = Ry(f) Rx(g) Ry(h). */
void tf_proper_rotation(const double *r, double *out);
/* Harmonics of one vector; normalization as tuff_sh_normalization. */
void tf_ref_sh(int32_t lmax, int32_t normalization, bool solid, const double *v, double *y);
/* y = D(R) x by quadrature; R goes through tf_proper_rotation. */
tuff_status tf_ref_rotate(tf_arena *a, int32_t l, uint64_t rows, const double *x, const double *r, double *y);

#endif
