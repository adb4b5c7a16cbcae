/* schedule.h - what the files of the diffusion family share. */
#ifndef TF_SCHEDULE_H
#define TF_SCHEDULE_H

#include "graph/op.h"

/* ln alpha of a VP process with linear beta. */
double tf_vp_log_alpha(double t, double beta_min, double beta_max);

#endif
