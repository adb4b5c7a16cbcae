/* fft.h - Fourier transforms and convolution by them. Included by tuff.h; the conventions are those of ops.h. */
#ifndef TUFF_FFT_H
#define TUFF_FFT_H

#ifndef TUFF_TUFF_H
#  include "tuff.h"
#endif

#ifdef __cplusplus
extern "C" {
#endif

#ifdef __cplusplus
}
#endif

#endif
