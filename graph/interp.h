/* interp.h - runs a graph in double precision on the CPU through the rows' references.
 *
 * It takes any graph, before or after lowering. Every node's result is rounded to its dtype, so the outcome is
 * what an exact device would compute. Values are freed after their last reader unless kept. */
#ifndef TF_INTERP_H
#define TF_INTERP_H

#include "op.h"

typedef struct tf_interp tf_interp;

/* g must outlive the interpreter and stay unchanged. NULL when memory is out. */
tf_interp *tf_interp_create(const tuff_graph *g, const tuff_allocator *allocator);
void tf_interp_destroy(tf_interp *in); /* NULL is allowed */

/* Dims start at their bounds, scalars at their initial values, states at zero. Set dims first: data is checked
 * against the live shape. `data` is dense, in the port's dtype. */
tuff_status tf_interp_set_dim(tf_interp *in, const char *name, int64_t value);
tuff_status tf_interp_set_scalar(tf_interp *in, const char *name, double value);
tuff_status tf_interp_write(tf_interp *in, const char *name, const void *data, size_t bytes); /* input, state or named constant */

/* Keep a value after the run (0: all of them). */
void tf_interp_keep(tf_interp *in, uint32_t value);

/* Evaluates the whole graph, then commits assigned states. */
tuff_status tf_interp_run(tf_interp *in);
const char *tf_interp_error(const tf_interp *in);

/* After a run. NULL if there is no such value, or it was not kept. */
const tf_ref_tensor *tf_interp_value(const tf_interp *in, uint32_t value);
const tf_ref_tensor *tf_interp_get(const tf_interp *in, const char *name); /* output or state */
/* An output or state as dense elements of its dtype. */
tuff_status tf_interp_read(tf_interp *in, const char *name, void *data, size_t bytes);
/* Live shape of a named input, output or state. Any pointer may be NULL. */
tuff_status tf_interp_describe(const tf_interp *in, const char *name, size_t *bytes, tuff_dtype *dtype, tuff_shape *shape);

/* ---- one node ---- */

/* A reference tensor of type t at the live dims, zeroed. False when memory is out. */
bool tf_ref_create(tf_ref_tensor *out, const tuff_graph *g, const tf_type *t, const int64_t *dims, const tuff_allocator *allocator);
void tf_ref_release(tf_ref_tensor *t, const tuff_allocator *allocator);
void tf_ref_decode(tf_ref_tensor *t, const void *data);   /* from dense elements of t's dtype */
void tf_ref_encode(const tf_ref_tensor *t, void *data);   /* to dense elements; packed: zero the buffer first */
uint64_t tf_ref_bytes(const tf_ref_tensor *t);

/* Evaluates one node: out[0..n_out) are created by tf_ref_create and rounded; on failure none is left. src[i] may be
 * NULL for absent operands. *error: a static or arena text without the op's name. */
tuff_status tf_eval_node(const tuff_graph *g, const tf_node *node, const tf_ref_tensor *const *src, const int64_t *dims,
                         const tuff_allocator *allocator, tf_ref_tensor *out, tf_arena *scratch, const char **error);

/* Constant folding. Foldable: the row has a reference, every source is a constant or literal, all dims are fixed. */
bool tf_foldable(const tuff_graph *g, const tf_node *node);
/* The results of a foldable node as dense elements in `arena`. */
tuff_status tf_fold(const tuff_graph *g, const tf_node *node, tf_arena *arena, void *data[TF_MAX_RESULTS], const char **error);

/* The elements of a value that depends on constants only (the real parts), evaluated in double; E_ARGUMENT if it does not. */
tuff_status tf_host_values(const tuff_graph *g, uint32_t value, double *out, const char **error);

#endif
