/* emit.h - from a group (fuse.h) to a kernel: hooks as expressions, printed into GLSL around an anchor's template.
 *
 * hook.c builds expressions (which element of which buffer, through views and pointwise rows) and prints them;
 * declare.c declares the operands; emit.c writes maps and assembles the text. All work on one tf_emitter per kernel. */
#ifndef TF_EMIT_H
#define TF_EMIT_H

#include "expr.h"
#include "fuse.h"
#include "kernel.h"

/* Variable ids of expressions. */
enum { TF_VAR_GROUP, TF_VAR_STEP, TF_VAR_LANE, TF_VAR_COORD = 16, TF_VAR_QUAD = 32, TF_VAR_OCTET = 48 }; /* maps; coordinate j; last coordinate / 4; / 8 */

typedef struct tf_kernel_arg {
    uint32_t value;         /* value id in the lowered graph */
    bool read, write;
    bool vec_read, vec_write, scalar_used;
    bool fixed_read;        /* a single element is read at a constant index */
    bool oct_read, oct_write; /* eight neighbours at once: then vec_ is set, too */
    bool wide;              /* narrow dtype held as 32-bit elements (no 8/16-bit storage on this device) */
    bool external;          /* not in the arena */
    uint32_t slot;
    bool shared, uniform, texel; /* base offset by parameter; uniform block; texel buffer */
    uint32_t twin;          /* argument + 1 that lies in the same buffer and was declared before; 0: none */
    uint64_t uniform_bytes;
} tf_kernel_arg;

typedef struct tf_memo { uint32_t value; tf_ex guard; tf_ex coord[TUFF_MAX_RANK]; tf_ex out; } tf_memo;

typedef struct tf_emitter {
    tf_kernel_build build;  /* first: configure() gets this */
    const tuff_graph *g;
    const tf_fusion *fusion;
    uint32_t group;         /* id + 1 */
    tf_arena *arena;        /* scratch of this kernel */
    const tf_compile_options *options;
    tf_exprs x;
    TF_ARRAY(tf_kernel_arg) args;
    TF_ARRAY(tf_param) params;
    TF_ARRAY(tf_memo) memo;
    uint32_t *memo_table; uint32_t memo_cap;
    tf_str body, defines_text;
    uint32_t *printed; uint32_t printed_cap, epoch; /* [ex] stamp of the function being printed */
    uint32_t *vector;       /* [ex] LOAD: 1 + 4 * id of lane 0's load + lane; 0: scalar */
    uint32_t *octet;        /* [ex] lane 0's load of a vector: that of its other half */
    const char *algorithm;
    TF_ARRAY(uint32_t) inlined; /* nodes whose value was computed in a hook, for the name */
    uint32_t slots;             /* binding slots before the parameter block */
    uint32_t lane;              /* store side: RESULT means component lane - 1; 0: the scalar */
    bool store_side;        /* results of the group are available */
    bool steps;             /* the index of an iteration is read */
    TF_ARRAY(uint32_t) elsewhere; /* carried values and states read at other elements than the one being stored */
    bool failed;
    const char *error;      /* arena string; NULL with failed: out of memory */
} tf_emitter;

/* ---- hook.c ---- */
const char *tf_say(tf_emitter *m, const char *format, ...) TF_PRINTF(2, 3);
/* The value at coordinates; `whole` expands the group's own stored root instead of reading it back. */
tf_ex tf_hook_value(tf_emitter *m, uint32_t value, const tf_ex *coords, tf_ex guard, bool whole);
/* The score expression of an attention anchor at (batch, head, query, key). */
tf_ex tf_hook_score(tf_emitter *m, const tf_node *node, const tf_ex *coords, tf_ex s);
/* The fields of two joined states of a scan anchor, from the leaves of both; false: out of memory. */
bool tf_hook_join(tf_emitter *m, const tf_node *node, const tf_ex *leaf, tf_ex *y);
/* Does some load move by one element from `at` to `next`, but by more from `at` to `across`? */
bool tf_hook_steps(tf_emitter *m, tf_ex at, tf_ex next, tf_ex across);
/* Note what e reads of carried values and states at other elements than `index` (0: everything). */
void tf_hook_elsewhere(tf_emitter *m, tf_ex e, tf_ex index);
/* Is value read only at the element that the same invocation stores? */
bool tf_hook_aligned(const tf_emitter *m, uint32_t value);
/* Start a new function: nothing printed yet. `roots` decide which loads become vector loads. */
void tf_print_begin(tf_emitter *m, const tf_ex *roots, uint32_t n);
/* Print the loads below roots that a whole workgroup shares, ahead of a loop over its steps. */
void tf_print_invariants(tf_emitter *m, const tf_ex *roots, uint32_t n, const char *indent);
/* Print what e needs into m->body with the indent; returns its name or literal (arena string). */
const char *tf_print(tf_emitter *m, tf_ex e, const char *indent);
const char *tf_glsl_type(tuff_dtype t);   /* of one value in a kernel */
const char *tf_glsl_vector(tuff_dtype t); /* of four; of c64 a matrix whose columns they are */
/* Argument index of a value, added on first use. */
uint32_t tf_emit_arg(tf_emitter *m, uint32_t value);
/* Index of a parameter word, added on first use. */
uint32_t tf_emit_param(tf_emitter *m, tf_param_kind kind, int64_t a);
/* A narrow dtype on a device without the storage tier for it: kept as whole words. */
bool tf_emit_packed(const tf_emitter *m, tuff_dtype t);
/* Is index base + constant with base a multiple of 4? */
bool tf_ex_quad(const tf_exprs *x, tf_ex e, tf_ex *base, int64_t *constant);

/* ---- declare.c ---- */
/* The declaration of argument i and the macros to load and store its elements, once slots are set. */
void tf_declare(tf_emitter *m, tf_str *out, uint32_t i);
/* Do four neighbouring elements of argument i go by one vector, loaded or stored? */
bool tf_by_vectors(const tf_emitter *m, uint32_t i, bool stored);

/* ---- emit.c ----
 * Two steps, because binding slots depend on all kernels' operands: hooks first, then the text. */
/* Print the hooks and body of group (id + 1) into m, whose args, params and build are then complete. `scratch` holds
 * everything m refers to. NULL, or a message. */
const char *tf_emit_hooks(tf_emitter *m, tuff_graph *g, const tf_fusion *fusion, uint32_t group, const tf_limits *limits,
                          const tf_compile_options *options, tf_arena *scratch);
/* Assemble the kernel, with slots of args set; m->params gains one BASE word per shared arg. Strings go to `out`. */
const char *tf_emit_text(tf_emitter *m, tf_arena *out, tf_kernel *kernel);
void tf_emit_release(tf_emitter *m);

#endif
