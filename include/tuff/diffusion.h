/* diffusion.h - schedules, solvers, sampling, discrete decoding. Included by tuff.h; the conventions are those of ops.h. */
#ifndef TUFF_DIFFUSION_H
#define TUFF_DIFFUSION_H

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
