/* fft.h - what the files of the Fourier transforms share: the anchor _fft, its tables, and the printer of butterflies.
 *
 * The anchor works on lines: x[batch, n, inner], transformed along the axis in the middle, so that no axis of a user's tensor
 * has to be moved. Everything a device cannot compute exactly enough (roots of unity) comes from the host rows
 * _fft_table in double precision. */
#ifndef TF_FFT_H
#define TF_FFT_H

#include "graph/kernel.h"
#include "graph/op.h"

typedef enum tf_fft_real {
    TF_FFT_COMPLEX, /* c64 -> c64 */
    TF_FFT_R2C,     /* f32 -> c64, bins 0..n/2 */
    TF_FFT_C2R,     /* c64, bins 0..n/2 -> f32 */
    TF_FFT_PAIRS    /* f32 -> f32 through a filter whose inverse transform is real: two lines as one complex */
} tf_fft_real;

/* How lines lie, for kernels that read and write what is side by side by vectors: rows: inner is 1 and x is [batch, 1, m], y [batch, 1, keep],
 * the filter [rows, 1, n]; beside: four neighbours at once, inner is a multiple of 4; turned: likewise, but y is [batch, inner, keep]; singly:
 * without vectors. Those need lanes; inner: the kernel with shared memory, or what fits best. */
typedef enum tf_fft_way { TF_FFT_INNER, TF_FFT_ROWS, TF_FFT_TURNED, TF_FFT_SINGLY, TF_FFT_BESIDE } tf_fft_way;

/* _fft x[batch, m, inner], w c64[n] (table "roots") -> y[batch, keep, inner] = scale * transform of length n; elements of x
 * from m on are zeros. With a filter c64[rows, n, 1 or inner]: scale * n * inverse(filter * forward(x)), where line b takes row
 * b % rows and rows divide the batch. */
typedef struct tf_fft_desc {
    int64_t n;
    tf_fft_real real;
    bool inverse;
    float scale;        /* 0: 1 */
    int64_t keep;       /* elements of the result that are stored; 0: all */
    int32_t lanes;      /* 0: the kernel with shared memory, w is the table "roots"; else fft_lanes.c with w its table */
    tuff_tensor filter;
    int32_t way;        /* tf_fft_way */
} tf_fft_desc;

typedef enum tf_fft_table {
    TF_FFT_ROOTS,     /* [n]: e^(-2 pi i j / n) */
    TF_FFT_STEPS,     /* [n, m]: e^(-2 pi i a step b / period), between the two halves of a long line */
    TF_FFT_CHIRP,     /* [n]: e^(-pi i j^2 / n) */
    TF_FFT_LANES,     /* f32[..]: what fft_lanes.c reads, for n points, m lanes, step = tf_fft_real */
    TF_FFT_ANTICHIRP  /* [m]: transform of the conjugate chirp of length n, mirrored into m >= 2n - 1 places; over m */
} tf_fft_table;
typedef struct tf_fft_table_desc {
    tf_fft_table table;
    int64_t n, m, step, period; /* LANES: period is tf_fft_way */
    bool filter;        /* LANES: of a kernel with one */
} tf_fft_table_desc;

/* _fft_spectrum, a host row: h[rows, k0, k1] -> c64[rows, n0, columns], its two-dimensional transform over n0 n1. packed: of
 * lines h[rows, 1, k], c64[rows, 2, n1 / 2], H and M as below, over n1 / 2. */
typedef struct tf_fft_spectrum_desc { int64_t n0, n1, columns; bool packed; } tf_fft_spectrum_desc;

extern const tf_op tf_op_fft_anchor, tf_op_fft_table, tf_op_fft_spectrum;

/* Lines of any length as anchors: d as for _fft, but any n, and x of any m <= n. */
tuff_tensor tf_fft_lines(tf_lower *l, tuff_tensor x, const tf_fft_desc *d);

/* Long real convolutions, on lines of n / 2 complex points z[j] = x[2j] + i x[2j+1], n even. Where Z, H are transforms of such lines
 * and w the roots of n / 2, that of their convolution is Z H - (Z - conj Z[-k]) M with M = (1 + w) (H - conj H[-k]) / 4.
 * packed: x[b, <= n, 1] -> Z; mixer: H -> M; packed_product: Z, H / (n / 2), M / (n / 2) -> y[b, keep, 1]; line b takes row b % rows. */
tuff_tensor tf_fft_packed(tf_lower *l, tuff_tensor x, int64_t n, float scale);
tuff_tensor tf_fft_mixer(tf_lower *l, tuff_tensor h);
tuff_tensor tf_fft_packed_product(tf_lower *l, tuff_tensor z, tuff_tensor h, tuff_tensor m, int64_t keep);

/* Is n a product of 2, 3, 5, 7, 11 and 13? */
bool tf_fft_smooth(int64_t n);
/* A smooth number >= n, at most n / 8 larger where there is one: odd factors cost more than a few more points. */
int64_t tf_fft_good_size(int64_t n);
/* Likewise for rows on this device: the next power of two where rows of it stay in registers, read and written by vectors. */
int64_t tf_fft_line_size(const tf_limits *limits, int64_t n);
bool tf_fft_row_in_registers(const tf_limits *limits, int64_t points);
/* Radices of at most `most`, few and balanced, whose product is n (smooth). False: none found. */
bool tf_fft_factor(int64_t n, uint32_t most, uint32_t *radix, uint32_t *passes);
/* Does one kernel of this device take lines of so many complex points? */
bool tf_fft_fits(const tf_limits *limits, int64_t points);

/* The transform in double precision, in place, any n, not scaled. scratch: roots and room for length n and sign (-1: forward),
 * NULL when memory is out. */
double *tf_fft_scratch(tf_arena *arena, uint64_t n, int sign);
void tf_fft_double(double *re, double *im, uint64_t n, double *scratch);

/* e^(2 pi i j / n) */
void tf_fft_root(uint64_t j, uint64_t n, double *re, double *im);

enum { TF_FFT_PASSES = 8 };

/* The kernel of fft_lanes.c for lines of n points, and where its table has what, in vectors of 4. real: of a packed line. */
typedef struct tf_fft_lanes {
    int64_t points;
    uint32_t lanes, stages, m;
    uint32_t hi;        /* of the m points, digits above the lane's; the others are below */
    bool halves;        /* bins in two rounds of a loop, by the upper digit of `hi`, 8 */
    uint32_t radix[TF_FFT_PASSES], steps; /* of the m points of a lane; one step: all of them are in registers */
    bool shared;        /* where points wait between steps; else in an array of the lane */
    uint32_t fine;      /* root of point q: one of q % fine times one of q / fine, so that a lane holds few */
    tf_fft_real real;
    uint32_t at_q, at_h, at_j, at_t[TF_FFT_PASSES], at_v, at_u, count;
} tf_fft_lanes;
tf_fft_lanes tf_fft_lanes_of(int64_t points, uint32_t lanes, tf_fft_real real, tf_fft_way way, bool filter);
/* Is that kernel the one for this device? */
bool tf_fft_by_lanes(const tf_limits *limits);
/* Lanes per line of that kernel; 0: it is not for this device or length. strided: neighbours in a line are none in memory. */
uint32_t tf_fft_choose_lanes(const tf_limits *limits, int64_t points, bool strided);
/* Does that kernel take four neighbouring lines of so many points at once, of `inner` that are neighbours? */
bool tf_fft_short_column(const tf_limits *limits, int64_t points, int64_t inner);
/* Lanes of such lines whose results are turned into rows; 0: it does not. */
uint32_t tf_fft_turned_lanes(const tf_limits *limits, int64_t points);
void tf_fft_lane_table(const tf_fft_lanes *f, double *out); /* 4 * count numbers */
void tf_fft_print_lanes(tf_str *out, const tf_fft_lanes *f, bool filter, tf_fft_way way, bool long_words);

/* Prints the forward transform of r <= 64 variables, named before + j + after, in straight lines. */
void tf_fft_print_points(tf_str *out, uint32_t r, const char *before, const char *after);
/* The same of variables with any names. */
void tf_fft_print_named(tf_str *out, uint32_t r, const char *const *names);
/* Of eight variables, bins 0..3 (`side` is 1.0) or 4..7 (-1.0), into those of even index. */
void tf_fft_print_half(tf_str *out, const char *const *names);
/* The same as `void dft<r>(inout vec2 v[r])`. */
void tf_fft_print_dft(tf_str *out, uint32_t r);

#endif
