/* ssm.h - scans, state-space models. Included by tuff.h; the conventions are those of ops.h. */
#ifndef TUFF_SSM_H
#define TUFF_SSM_H

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
