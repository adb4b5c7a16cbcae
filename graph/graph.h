/* graph.h - the graph in memory: nodes in one array in topological order, values (results) in another.
 *
 * The same structure holds the graph a user built and the lowered graph: lowering rewrites every node into
 * rows of kind POINTWISE, VIEW, ANCHOR or TRANSFER. So one printer, one interpreter and one set of checks
 * serve every stage. Invariants: a node's sources precede it; value ids are 1-based, 0 is "absent". */
#ifndef TF_GRAPH_H
#define TF_GRAPH_H

#include "base/base.h"

typedef struct tf_op tf_op;

/* ---- dims ---------------------------------------------------------------------------------------
 * A dim is a count >= 0, or tf_dim_of(expr): an index into the graph's table of dim expressions. */
typedef enum tf_dim_kind { TF_DIM_CONST, TF_DIM_PARAM, TF_DIM_BIN } tf_dim_kind;
typedef struct tf_dim_expr {
    tf_dim_kind kind;
    tuff_dim_operator op; /* BIN */
    int64_t a, b;         /* CONST: a; PARAM: a = index into dim_params; BIN: dims (encoded like any dim) */
    int64_t lo, hi;       /* range over all parameter values 0..max, saturated */
    uint32_t size;        /* terms, bounded so that recursion stays shallow */
} tf_dim_expr;
typedef struct tf_dim_param { const char *name; int64_t max; } tf_dim_param;

#define TF_DIM_BASE (INT64_MIN / 2)
static inline bool tf_dim_is_dynamic(int64_t d) { return d < TF_DIM_BASE / 2; }
static inline uint32_t tf_dim_index(int64_t d) { return (uint32_t)(d - TF_DIM_BASE); }

typedef struct tf_type {
    tuff_dtype dtype;
    int32_t rank;
    int64_t dim[TUFF_MAX_RANK];
} tf_type;

typedef struct tf_value {
    uint32_t node;
    uint32_t result;
    tf_type type;
    const char *name; /* NULL: unnamed */
} tf_value;

typedef struct tf_node {
    const tf_op *op;
    const void *desc;     /* arena copy of the op's desc struct; NULL only if desc_size is 0 */
    uint32_t *src;        /* value ids; 0: absent optional operand */
    uint32_t n_src;
    uint32_t out;         /* first value id */
    uint32_t n_out;
    uint32_t region;      /* 0: top level */
    uint32_t line, column; /* text form; 0: built in C */
} tf_node;

/* A name the program exposes. */
typedef enum tf_port_kind { TF_PORT_INPUT, TF_PORT_OUTPUT, TF_PORT_STATE, TF_PORT_CONST, TF_PORT_SCALAR } tf_port_kind;
typedef struct tf_port {
    tf_port_kind kind;
    const char *name;   /* CONST: may be NULL */
    uint32_t value;     /* the value read (INPUT, STATE, CONST, SCALAR) or exposed (OUTPUT) */
    uint32_t assigned;  /* STATE: result of the assign node, committed at the end; 0: none */
} tf_port;

/* A loop on the device. Its body is a stretch of the node array that begins with _step and one _carry per carried value;
 * the _leave and _stacked nodes behind it, in the parent region, are its results. Values of a body are read in it and in
 * loops inside it only. */
typedef struct tf_carry {
    uint32_t value;     /* at the start of an iteration: a _carry, whose source is the first value */
    uint32_t next;      /* at its end */
} tf_carry;
typedef struct tf_region {
    uint32_t parent;    /* 0: top level */
    uint32_t depth;     /* 1: in the top level */
    int64_t count;      /* iterations; while: the most */
    bool is_while;      /* the last two carried values are: is there another iteration (bool), iterations done (i32) */
    TF_ARRAY(tf_carry) carries;
} tf_region;
enum { TF_MAX_LOOP_DEPTH = 4 };

struct tuff_graph {
    tf_arena arena;
    TF_ARRAY(tf_node) nodes;
    TF_ARRAY(tf_value) values;          /* values.data[id - 1] */
    TF_ARRAY(tf_dim_expr) dims;
    TF_ARRAY(tf_dim_param) dim_params;
    TF_ARRAY(tf_port) ports;
    TF_ARRAY(tf_region) regions;        /* regions.data[id - 1] */
    uint32_t region;                    /* region of nodes being added */
    tuff_status status;                 /* first build error */
    tuff_status compile_status;
    const char *error, *compile_error;  /* arena strings */
    const char *file;                   /* text form's name, NULL when built in C */
    uint32_t line, column;              /* where nodes being added stand */
};

/* ---- sources -----------------------------------------------------------------------------------
 * One desc serves the rows input, const, literal, state and scalar; adding such a node registers its port.
 * Constant data stays where it is: tuff_const copies it into the arena of the user's graph, and copies of the
 * node in other graphs point there. */
typedef struct tf_source_desc {
    const char *name;     /* port name; NULL for literals and unnamed constants */
    tuff_dtype dtype;     /* literal, scalar: 0 is f32 */
    tuff_shape shape;
    double value;         /* literal; scalar: the initial value. Unrounded: see tf_round_to */
    bool implied;         /* literal: given without a dtype, so it takes that of the operand beside it */
    bool borrow;          /* const: data belongs to the caller */
    const char *file;     /* const: "@w.npy" it was read from, as written; NULL: none */
    const void *data;     /* const: dense elements; NULL if there are none */
    uint64_t bytes;
} tf_source_desc;

extern const tf_op tf_op_input, tf_op_const, tf_op_literal, tf_op_state, tf_op_scalar, tf_op_assign;

/* ---- loops (loop.c) ----------------------------------------------------------------------------- */
extern const tf_op tf_op_step, tf_op_carry, tf_op_leave, tf_op_stacked, tf_op_zeros;
/* Open a loop with n carried values; step and in[n] are the body's. False: the graph has failed. A while loop gets two more
 * carried values: `again` first (absent: true). */
bool tf_loop_begin(tuff_graph *g, int64_t count, bool is_while, const tuff_tensor *init, uint32_t n, tuff_tensor again,
                   tuff_tensor *step, tuff_tensor *in);
/* Close it with the values at the end of an iteration and what is stacked; out[n + stacked], two more for a while loop. */
bool tf_loop_end(tuff_graph *g, const tuff_tensor *next, uint32_t n, tuff_tensor again, const tuff_tensor *stack, uint32_t stacked, tuff_tensor *out);
/* Is a value of region `inner` or one around it? */
static inline bool tf_region_within(const tuff_graph *g, uint32_t inner, uint32_t outer)
{
    while (inner && inner != outer) inner = g->regions.data[inner - 1].parent;
    return inner == outer;
}
/* Iterations of a body in one run, at most; 1 at the top level. */
double tf_region_trips(const tuff_graph *g, uint32_t region);
/* May runs submit this loop, with those around and inside it, in chunks? Something in the nest has so many iterations. */
enum { TF_CHUNKED_TRIPS = 64 };
bool tf_region_chunked(const tuff_graph *g, uint32_t region);
/* Nodes that outputs, new state values and named ports need, with the loops they stand in; wanted (may be NULL): values read. */
void tf_mark_live(const tuff_graph *g, bool *live, bool *wanted);

/* ---- building ---------------------------------------------------------------------------------- */

/* Sticky build error; the first one wins. Always returns the none tensor so that `return tf_fail(...)` works. */
tuff_tensor tf_fail(tuff_graph *g, tuff_status status, const char *format, ...) TF_PRINTF(3, 4);

/* Add a node: checks the graph is healthy, operands belong to g and are present, checks attributes against
 * the row, copies desc (NULL: zeroed), appends the desc's TENSOR and NAMED attributes to the sources, infers.
 * Variadic rows take any n >= 1. Returns result 0. */
tuff_tensor tf_add(tuff_graph *g, const tf_op *op, const tuff_tensor *operands, uint32_t n, const void *desc);

/* The same from a complete source list as a node holds it (positional, then TENSOR, then NAMED operands; none
 * where absent): copies a node into another graph. The desc's tensor fields are set from `src`. */
tuff_tensor tf_add_sources(tuff_graph *g, const tf_op *op, const tuff_tensor *src, uint32_t n_src, const void *desc);

/* How many of a node's sources are positional. */
uint32_t tf_positional(const tf_op *op, uint32_t n_src, const void *desc);
/* Name of source i: "q", "xs[2]", "mask"; into buffer. */
void tf_src_name(const tf_op *op, uint32_t n_src, const void *desc, uint32_t i, char *buffer, size_t size);

/* The port called `name` of one of the kinds in `kinds` (bit 1 << kind), or NULL. */
tf_port *tf_port_find(const tuff_graph *g, unsigned kinds, const char *name);
/* 1 to 255 bytes without control characters. */
bool tf_name_ok(const char *name);
/* The status with out-of-memory of the arena folded in. */
tuff_status tf_status(const tuff_graph *g);

static inline tuff_tensor tf_tensor(tuff_graph *g, uint32_t value) { return (tuff_tensor){ value ? g : NULL, value }; }
static inline const tf_value *tf_val(const tuff_graph *g, uint32_t id) { return &g->values.data[id - 1]; }
static inline const tf_node *tf_def(const tuff_graph *g, uint32_t value) { return &g->nodes.data[tf_val(g, value)->node]; }
static inline const tf_type *tf_type_of(const tuff_graph *g, uint32_t value) { return &tf_val(g, value)->type; }

/* input "k" f32[1,2,256,32]: what messages call a value, with its place in the text form. Arena string. */
const char *tf_describe_value(tuff_graph *g, uint32_t value);
/* "f32[1,n,64]" into the arena. */
const char *tf_type_text(tuff_graph *g, const tf_type *t);
/* "n*2" or "64" into the arena. */
const char *tf_dim_text(tuff_graph *g, int64_t dim);

/* The same, appended to s. */
void tf_type_write(tf_str *s, const tuff_graph *g, const tf_type *t);
void tf_dim_write(tf_str *s, const tuff_graph *g, int64_t dim);

/* ---- dims -------------------------------------------------------------------------------------- */
int64_t tf_dim_bin(tuff_graph *g, tuff_dim_operator op, int64_t a, int64_t b); /* folds constants, merges equals */
int64_t tf_dim_bound(const tuff_graph *g, int64_t d);                           /* largest value */
int64_t tf_dim_least(const tuff_graph *g, int64_t d);                           /* smallest value */
int64_t tf_dim_eval(const tuff_graph *g, int64_t d, const int64_t *params);     /* params[i]: live value of dim_params[i] */
bool tf_dim_equal(int64_t a, int64_t b);                                        /* equal for all parameter values (structural) */
/* Range and size of entry i of the table of a graph that came from a file, whose kind and op are in range. False: it refers to what does not
 * stand before it, or it is too large. */
bool tf_dim_restore(tuff_graph *g, uint32_t i);
/* Product of dims [first, end). */
int64_t tf_dim_product(tuff_graph *g, const int64_t *dims, int32_t first, int32_t end);
/* Elements at the bound; false on overflow of int64. */
bool tf_count_bound(const tuff_graph *g, const tf_type *t, uint64_t *out);
/* Bytes at the bound (packed types rounded up), overflow-checked. */
bool tf_bytes_bound(const tuff_graph *g, const tf_type *t, uint64_t *out);
bool tf_type_is_static(const tf_type *t);

/* The text form of g (text_print.c). */
void tf_graph_write(const tuff_graph *g, tf_str *out);

/* ---- whole graph --------------------------------------------------------------------------------- */
/* Structure checks after every pass in debug builds and fuzzing: NULL, or a sentence saying what is wrong. */
const char *tf_graph_check(const tuff_graph *g);

#endif
