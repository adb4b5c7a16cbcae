/* schedule.h - what the files of the diffusion family share. */
#ifndef TF_SCHEDULE_H
#define TF_SCHEDULE_H

#include "graph/op.h"

/* ln alpha of a VP process with linear beta. */
double tf_vp_log_alpha(double t, double beta_min, double beta_max);
/* One number of a solver table's row `step` (none: the table is one row), of rank 0. Each is a load of its own, which every reader
 * repeats, so that no kernel has to gather rows first. */
tuff_tensor tf_table_entry(tuff_tensor table, tuff_tensor step, int column);

#endif
