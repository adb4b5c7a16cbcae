/* ssm.h - what the files of state-space models share on the device side. */
#ifndef TF_SSM_H
#define TF_SSM_H

#include "graph/op.h"

extern const tf_op tf_op_discretize_host;

/* A constant or literal: host rows can take it. */
bool tf_is_constant(tuff_tensor x);
/* e^{(re + i im) dt j} as c64, the phase exact to 48 bits; operands f32, broadcasting. */
tuff_tensor tf_power_of_mode(tuff_tensor re, tuff_tensor im, tuff_tensor dt, tuff_tensor j);
/* lam[h,n], b[h,n], dt[h] -> ab, bb [h,n]. */
void tf_discretize_on_device(tuff_graph *g, tuff_discretization method, tuff_tensor lam, tuff_tensor b, tuff_tensor dt, tuff_tensor *ab, tuff_tensor *bb);

#endif
