/* lower.h - from the user's graph to rows a kernel can be made of. */
#ifndef TF_LOWER_H
#define TF_LOWER_H

#include "op.h"
#include "plan.h"

/* A new graph (own arena, same dim table) whose live nodes are POINTWISE, VIEW, INDEXED, ANCHOR or sources: host rows are
 * computed, constants folded, composites expanded, assigns resolved into the ports, equal nodes merged, and every
 * output or new state value given a node of its own. Folded constants live in `data`, which
 * must outlive *out. On failure the status, with the text in `message`. */
tuff_status tf_lower_graph(tuff_graph *g, const tf_limits *limits, tf_arena *data, tuff_graph **out, tf_str *message);

/* The identity row inserted in front of outputs: never merged, always stored. */
extern const tf_op tf_op_copy;

/* Move out of loops what does not depend on the iteration (values keep their ids; loop.c). False: out of memory. */
bool tf_hoist(tuff_graph *g);

/* Rewrite sources so that equal pure nodes are one (values keep their ids). */
bool tf_merge(tuff_graph *g);

#endif
