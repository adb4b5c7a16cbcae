/* order.h - what scheduling knows of a plan: dependencies, who touches which buffer, and good serial orders. */
#ifndef TF_ORDER_H
#define TF_ORDER_H

#include "plan.h"

#define TF_ORDERS 5

/* Lists of lists: those of i are at [first[i], first[i + 1]). */
typedef struct tf_sched {
    tf_arena arena;                              /* of everything here */
    const tf_plan *plan;
    uint32_t n;                                  /* steps */
    uint32_t *succ, *succ_first;                 /* steps that must come after a step */
    uint32_t *pred, *pred_first;                 /* steps that must come before */
    uint32_t *touch, *touch_first;               /* arena buffers of a step, each once */
    uint32_t *user, *user_first;                 /* steps that touch an arena buffer */
    uint64_t *bytes;                             /* per buffer, aligned; 0: not in the arena */
    uint32_t *height;                            /* longest path to a last step */
    uint32_t *segment;                           /* runs of one region */
    uint32_t *order[TF_ORDERS];                  /* serial orders */
    uint64_t peak[TF_ORDERS];                    /* live bytes they need */
} tf_sched;

/* All functions: false when memory is out. The caller releases s->arena either way. */
bool tf_sched_open(tf_sched *s, const tf_plan *plan);
/* Replace the order with the highest peak by this one, after polishing it. */
bool tf_sched_learn(tf_sched *s, const uint32_t *order);
/* Lowest peak of the orders. */
uint64_t tf_sched_lowest(const tf_sched *s);
/* Live bytes while each position of an order runs; returns the largest. uses_left: scratch, one per buffer. */
uint64_t tf_sched_peak(const tf_sched *s, const uint32_t *order, uint32_t *uses_left, uint64_t *profile);

#endif
