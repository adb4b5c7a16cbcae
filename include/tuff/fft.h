/* fft.h - Fourier transforms and convolution by them. Included by tuff.h; the conventions are those of ops.h. */
#ifndef TUFF_FFT_H
#define TUFF_FFT_H

#ifndef TUFF_TUFF_H
#  include "tuff.h"
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef enum tuff_fft_kind {
    TUFF_FFT_C2C, /* real x: imaginary parts are 0 */
    TUFF_FFT_R2C, /* real x -> bins 0..n/2 of the last listed axis; the others are their conjugates */
    TUFF_FFT_C2R  /* such bins -> real; imaginary parts of bin 0 and, for even n, bin n/2 are ignored */
} tuff_fft_kind;
typedef enum tuff_fft_direction {
    TUFF_FFT_AUTO,    /* forward, C2R: inverse */
    TUFF_FFT_FORWARD, /* e^(-2 pi i j k / n) */
    TUFF_FFT_INVERSE  /* e^(+2 pi i j k / n) */
} tuff_fft_direction;
typedef enum tuff_fft_norm {
    TUFF_FFT_BACKWARD,    /* the inverse is divided by n */
    TUFF_FFT_ORTHO,       /* both by sqrt(n) */
    TUFF_FFT_NORM_FORWARD /* the forward one by n */
} tuff_fft_norm;
typedef struct tuff_fft_desc {
    tuff_fft_kind kind;
    tuff_fft_direction direction;
    tuff_ints axes;   /* in any order, R2C and C2R: the halved one last; n 0: the last axis, or as many last axes as n lists */
    tuff_ints n;      /* length per axis, 1 to 2^24: x is cut or extended by zeros at its end; n 0: as x is, C2R: 2 (bins - 1) */
    tuff_fft_norm norm;
} tuff_fft_desc;
/* x[...] (f32 f16 bf16 c64) -> y[...] = sum over j of x[j] e^(-+ 2 pi i j k / n) along each listed axis, computed in f32. c64, C2R: f32.
 * Transformed axes have fixed sizes. Any length: products of 2 3 5 7 11 13 directly, others as convolutions with a chirp. Error
 * relative to the exact result, root mean square: below eps sqrt(log2 n) for such products, 3 eps sqrt(log2 n) for others.
 * Cooley, Tukey, Math. Comp. 19 (1965); Bluestein, IEEE Trans. AU-18 (1970). */
TUFF_API tuff_tensor tuff_fft(tuff_tensor x, const tuff_fft_desc *desc);

typedef enum tuff_conv_mode {
    TUFF_CONV_LINEAR,  /* all n + k - 1 results */
    TUFF_CONV_CAUSAL,  /* the first n of them */
    TUFF_CONV_CIRCULAR /* period n, k <= n */
} tuff_conv_mode;
typedef enum tuff_conv_algorithm {
    TUFF_CONV_AUTO,  /* by the number of elements of h, from measurements */
    TUFF_CONV_FFT,
    TUFF_CONV_DIRECT /* at most 90 elements of h per row */
} tuff_conv_algorithm;
typedef struct tuff_fft_conv_desc {
    tuff_conv_mode mode;
    int32_t dims;      /* how many last axes are convolved, 1 or 2; 0: 1 */
    tuff_conv_algorithm algorithm;
} tuff_fft_conv_desc;
/* x[..., n], h[k] or one h per row: h[rows..., k] where rows are the last axes of x before the convolved ones, or [rows, k] with as
 * many rows as x has -> y[..., n + k - 1 or n], y[t] = sum over s of h[s] x[t - s]; f32 f16 bf16 c64, one dtype, computed in f32.
 * dims 2: the same over the last two axes. Convolved axes and h have fixed sizes. A constant h is transformed once, when the
 * program is compiled. */
TUFF_API tuff_tensor tuff_fft_conv(tuff_tensor x, tuff_tensor h, const tuff_fft_conv_desc *desc);

#ifdef __cplusplus
}
#endif

#endif
