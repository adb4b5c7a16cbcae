/* expr.h - scalar expressions: index arithmetic and hook bodies in one hash-consed DAG.
 *
 * A hook is an expression over coordinates. Views substitute coordinates, pointwise rows become nodes, tensor
 * reads become LOADs with an index expression. Equal expressions are one node, so the same hook prints the same
 * text. Constructors simplify on a canonical sum of products with ranges; that removes div/mod and proves
 * contiguity. Index expressions are 32-bit signed and never negative where they address memory. */
#ifndef TF_EXPR_H
#define TF_EXPR_H

#include "op.h"

typedef enum tf_ex_kind {
    TF_EX_NONE,
    TF_EX_INT,      /* i: constant index */
    TF_EX_VAR,      /* i: variable id; a: its limit as an expression; range [0, limit) (coordinates, thread ids) */
    TF_EX_DIM,      /* i: encoded dynamic dim, range [0, bound] */
    TF_EX_ADD, TF_EX_SUB, TF_EX_MUL, TF_EX_DIV, TF_EX_MOD, TF_EX_MIN, TF_EX_MAX, /* index arithmetic, non-negative DIV/MOD */
    TF_EX_LT, TF_EX_AND, TF_EX_OR, TF_EX_NOT, TF_EX_EQ,  /* predicates (bool) */
    TF_EX_TRUE,
    TF_EX_SELECT,   /* a ? b : c, of any one type */
    TF_EX_CONST,    /* f: value constant of type t */
    TF_EX_SCALAR,   /* i: value id of a scalar port */
    TF_EX_STEP,     /* i: depth of a loop; the index of its iteration (i32) */
    TF_EX_RESULT,   /* i: result number of the anchor, in a store hook */
    TF_EX_LOAD,     /* i: value id; a: element index; b: predicate or 0; c: fill constant or 0 */
    TF_EX_OP,       /* op row applied to args (values) */
    TF_EX_TO_VALUE, /* a: index expression as an i32 value */
    TF_EX_TO_INDEX  /* a: integer value as an index, clamped to [0, b] (gather) */
} tf_ex_kind;

typedef struct tf_ex_node {
    tf_ex_kind kind;
    tuff_dtype t;        /* values; TUFF_BOOL predicates; NONE index */
    tf_ex a, b, c;
    int64_t i;
    double f;
    const tf_op *op;
    const void *desc;
    int64_t lo, hi;      /* index: range over all values of the variables, saturated at +-2^60 */
} tf_ex_node;

struct tf_exprs {
    tf_arena *arena;
    const tuff_graph *g;
    TF_ARRAY(tf_ex_node) nodes;    /* nodes.data[id] */
    tf_ex_node none;               /* id 0: what constructors return when memory is out; they accept it too */
    uint32_t *table; uint32_t table_cap;
};

void tf_exprs_init(tf_exprs *x, tf_arena *arena, const tuff_graph *g);

static inline const tf_ex_node *tf_exn(const tf_exprs *x, tf_ex e) { return e ? &x->nodes.data[e] : &x->none; }

tf_ex tf_ex_int(tf_exprs *x, int64_t v);
tf_ex tf_ex_var(tf_exprs *x, int64_t id, int64_t dim);                   /* a variable in [0, dim) */
tf_ex tf_ex_dim(tf_exprs *x, int64_t dim);                              /* encoded dim, constant or dynamic */
tf_ex tf_ex_add(tf_exprs *x, tf_ex a, tf_ex b);
tf_ex tf_ex_sub(tf_exprs *x, tf_ex a, tf_ex b);
tf_ex tf_ex_mul(tf_exprs *x, tf_ex a, tf_ex b);
tf_ex tf_ex_div(tf_exprs *x, tf_ex a, tf_ex b);  /* a >= 0, b > 0 */
tf_ex tf_ex_mod(tf_exprs *x, tf_ex a, tf_ex b);
tf_ex tf_ex_min(tf_exprs *x, tf_ex a, tf_ex b);
tf_ex tf_ex_max(tf_exprs *x, tf_ex a, tf_ex b);
tf_ex tf_ex_lt(tf_exprs *x, tf_ex a, tf_ex b);
tf_ex tf_ex_eq(tf_exprs *x, tf_ex a, tf_ex b);
tf_ex tf_ex_and(tf_exprs *x, tf_ex a, tf_ex b);  /* 0 counts as true */
tf_ex tf_ex_or(tf_exprs *x, tf_ex a, tf_ex b);
tf_ex tf_ex_not(tf_exprs *x, tf_ex a);
tf_ex tf_ex_select(tf_exprs *x, tf_ex p, tf_ex a, tf_ex b);
tf_ex tf_ex_const(tf_exprs *x, tuff_dtype t, double v);
tf_ex tf_ex_load(tf_exprs *x, uint32_t value, tf_ex index, tf_ex valid, tf_ex fill);
tf_ex tf_ex_leaf(tf_exprs *x, tf_ex_kind kind, tuff_dtype t, int64_t i); /* SCALAR, STEP, RESULT */
tf_ex tf_ex_to_value(tf_exprs *x, tf_ex index);                          /* an index as an i32 value */
tf_ex tf_ex_to_index(tf_exprs *x, tf_ex value, int64_t dim);             /* an integer value as an index clamped to [0, dim) */
tf_ex tf_ex_apply(tf_exprs *x, const tf_op *op, tuff_dtype t, const void *desc, tf_ex a, tf_ex b, tf_ex c);

/* Linear row-major index of coordinates in a dense tensor. */
tf_ex tf_ex_linear(tf_exprs *x, const tf_type *t, const tf_ex *coords);
/* Coordinates of a linear index. */
void tf_ex_unlinear(tf_exprs *x, const tf_type *t, tf_ex linear, tf_ex *coords);
/* a - b when it is a constant, else false. */
bool tf_ex_difference(tf_exprs *x, tf_ex a, tf_ex b, int64_t *out);

#endif
