/* spirv.h - what can be read off a SPIR-V module without a library: whether it is one, and what it declares to need. */
#ifndef TF_SPIRV_H
#define TF_SPIRV_H

#include "plan.h"

enum { TF_SPIRV_MATRICES = 6022 }; /* the capability of cooperative matrices */

/* Instructions of plausible lengths up to exactly the end, with an entry point: what a driver may rely on before it looks closer. */
bool tf_spirv_plausible(const uint32_t *words, size_t n);
/* Does a plausible module declare this capability? */
bool tf_spirv_uses(const uint32_t *words, size_t n, uint32_t capability);
/* What it declares to need and limits lack ("16-bit storage buffers"); NULL: nothing that tuff knows of. */
const char *tf_spirv_lacks(const uint32_t *words, size_t n, const tf_limits *limits);

#endif
