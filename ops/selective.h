/* selective.h - what the rows of selective state spaces share. */
#ifndef TF_SELECTIVE_H
#define TF_SELECTIVE_H

#include "anchors.h"

/* _selective: u, dt[nb, d, l], a[d, n], b, c -> y[nb, d, l], h[nb, d, n]; f32, or a, b, c, h c64. See shaders/anchors/selective.glsl. */
enum { TF_SEL_U, TF_SEL_DT, TF_SEL_A, TF_SEL_B, TF_SEL_C, TF_SEL_H0, TF_SEL_SEG, TF_SEL_CARRY };
typedef struct tf_selective_desc {
    int32_t b_form, c_form; /* 0: [d, n]; 1: [nb, groups, n, l]; 2: [nb, groups, l, n] */
    bool softplus;          /* of dt */
    bool fold;              /* results s[nb, parts, n, d], total[nb, parts, d] instead */
    int64_t chunk;          /* steps per part, a multiple of 4; 0: all */
    tuff_tensor c, h0, seg, carry;
} tf_selective_desc;
extern const tf_op tf_op_selective_anchor;

#endif
