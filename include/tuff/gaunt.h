/* gaunt.h - spherical harmonics and equivariant tensor products. Included by tuff.h; the conventions are those of ops.h. */
#ifndef TUFF_GAUNT_H
#define TUFF_GAUNT_H

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
