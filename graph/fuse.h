/* fuse.h - the fusion pass: which values are stored, and which kernel computes what.
 *
 * Requires a lowered, merged graph. A group is one kernel: an anchor with everything risen into its store hooks, or
 * a map over one stored value. Whatever is neither stored nor risen is recomputed inside the groups that read it. */
#ifndef TF_FUSE_H
#define TF_FUSE_H

#include "kernel.h"
#include "lower.h"
#include "plan.h"

#define TF_NO_NODE UINT32_MAX

/* Values one kernel's store side may write. */
enum { TF_MAX_STORES = 16 };

typedef struct tf_group {
    uint32_t anchor;              /* node; TF_NO_NODE: a map */
    TF_ARRAY(uint32_t) members;   /* nodes computed by this kernel's store hooks (and the anchor itself), or the map's root */
    TF_ARRAY(uint32_t) stores;    /* values it writes */
    uint32_t leaves, ops;         /* distinct operands at the frontier; pointwise nodes inside */
    uint32_t text;                /* the same nodes, weighed by what they cost a driver to compile */
} tf_group;

typedef struct tf_fusion {
    const tuff_graph *g;
    tf_arena *arena;
    const tf_limits *limits;
    TF_ARRAY(tf_group) groups;
    uint32_t *stored;             /* [value id]: group + 1 that writes it to memory, 0: nobody */
    uint32_t *risen;              /* [node]: group + 1 whose store side computes it, 0: none */
    bool *live;                   /* [node] */
    uint32_t *segment;            /* [node]: stretches of one region, in order; a kernel's nodes are of one segment */
    TF_ARRAY(tf_refusal) refusals;
} tf_fusion;

/* Writes only some elements of operand 0, which is also its result. */
static inline bool tf_op_in_place(const tf_op *op) { return op->anchor && op->anchor->in_place; }
/* Writes whole words, whatever the elements: what it makes is never held wider than its dtype. */
static inline bool tf_op_packs(const tf_op *op) { return op == &tf_op_copy || tf_op_in_place(op); }

/* False when memory is out. */
bool tf_fuse(const tuff_graph *g, const tf_limits *limits, const tf_compile_options *options, tf_arena *arena, tf_fusion *out);

#endif
