/* userexpr.h - the expression language of tuff_map, attention scores and scan operators.
 *
 *   text   = { ["let"] name "=" value ";" } value [";"]
 *   value  = C's ?: || && == != < <= > >= + - * / % unary - ! ( ), function calls, name, name[i, j], numbers
 *
 * Functions are the pointwise rows by name (max and min too) and the dtypes as conversions: f32(x). Numbers are
 * those of the text form, and inf, nan, pi, true, false. Mixed operands convert as in C: integers to the float
 * beside them, narrow to wide; bool never. Every operation rounds to its dtype like a node of the graph.
 * Look-ups are clamped to the tensor. An expression is parsed and typed once, when its node is inferred. */
#ifndef TF_USEREXPR_H
#define TF_USEREXPR_H

#include "expr.h"

/* A name the expression may use. */
typedef struct tf_uname {
    const char *name;
    tuff_dtype dtype;
    bool value;        /* usable as a plain value: x */
    bool lookup;       /* usable as x[i, ...] with `rank` indices */
    int32_t rank;
    const int64_t *dim; /* look-ups: encoded dims, kept alive by the caller */
} tf_uname;

typedef enum tf_unode_kind { TF_U_NUMBER, TF_U_NAME, TF_U_LOOKUP, TF_U_OP } tf_unode_kind;
typedef struct tf_unode {
    tf_unode_kind kind;
    tuff_dtype dtype;
    double number;      /* NUMBER */
    uint32_t name;      /* NAME, LOOKUP: index into the names */
    const tf_op *op;    /* OP: a pointwise row */
    const void *desc;
    uint32_t n_arg;     /* OP: operands, LOOKUP: indices */
    uint32_t arg[TUFF_MAX_RANK]; /* earlier nodes */
} tf_unode;

/* Nodes in topological order, equal ones merged; the last is the result. */
typedef struct tf_uexpr {
    const tf_unode *node;
    uint32_t n;
    tuff_dtype dtype;
    const tf_uname *names; /* copied */
    uint32_t n_names;
} tf_uexpr;

/* NULL on failure with a message "1:7: unknown name "exq"; ..." (line:column in the text) in the arena, NULL when memory is out. */
const tf_uexpr *tf_uexpr_parse(tf_arena *arena, const char *text, const tf_uname *names, uint32_t n, const char **message);
/* Whether name i is used (as value or look-up). */
bool tf_uexpr_uses(const tf_uexpr *e, uint32_t name);

/* As an expression for kernels. 0 when memory is out. */
typedef struct tf_ubuild {
    tf_exprs *x;
    void *user;
    tf_ex (*value)(void *user, uint32_t name);                        /* a plain name, as a value */
    tf_ex (*index)(void *user, uint32_t name);                        /* an integer name as an index expression, 0: it is none.
                                                                       * Keeps x[i0 + 1] analysable. May be NULL */
    tf_ex (*lookup)(void *user, uint32_t name, const tf_ex *coords);  /* element at coordinates (within range) */
} tf_ubuild;
tf_ex tf_uexpr_build(const tf_uexpr *e, const tf_ubuild *b);

/* In double, for references. tensor[i]: what name i looks up, NULL for plain names; scratch: e->n scalars. */
typedef struct tf_ueval {
    void *user;
    tf_scalar (*value)(void *user, uint32_t name);
    const tf_ref_tensor *const *tensor;
    tf_scalar *scratch;
} tf_ueval;
tf_scalar tf_uexpr_eval(const tf_uexpr *e, const tf_ueval *env);

#endif
