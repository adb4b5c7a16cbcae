/* op.h - the op table's row type.
 *
 * One row is everything tuff knows about an op: the C builders, the text parser and printer, `tuff ops`,
 * docs/ops.md, the fuzzer, `tuff verify` and messages all read it. A POINTWISE row is a GLSL expression and a
 * reference function; a VIEW row maps output coordinates to source coordinates; an ANCHOR row is one kernel
 * template; a COMPOSITE row expands into other rows; a HOST row runs in double precision at compile time.
 * An INDEXED row builds its value from coordinates and from operands read at any coordinates. */
#ifndef TF_OP_H
#define TF_OP_H

#include "graph.h"

#define TF_MAX_RESULTS 8
#define TF_MAX_OPERANDS 64

typedef enum tf_op_kind {
    TF_SOURCE,     /* input, const, state, scalar, literal */
    TF_POINTWISE,
    TF_VIEW,       /* coordinates only: never runs by itself */
    TF_INDEXED,    /* an expression of coordinates and of operands at any coordinates: gather, concat, iota, map */
    TF_ANCHOR,
    TF_COMPOSITE,
    TF_HOST,
    TF_EFFECT      /* assign */
} tf_op_kind;

/* ---- attributes ---- */
typedef enum tf_attr_type {
    TF_ATTR_BOOL,   /* bool */
    TF_ATTR_INT,    /* int32_t */
    TF_ATTR_I64,    /* int64_t */
    TF_ATTR_U64,    /* uint64_t (seeds) */
    TF_ATTR_FLOAT,  /* float */
    TF_ATTR_DOUBLE, /* double */
    TF_ATTR_DTYPE,  /* tuff_dtype */
    TF_ATTR_ENUM,   /* int32_t-sized enum; choices[] names the values from 0 */
    TF_ATTR_INTS,   /* tuff_ints; the text form takes a list or one int */
    TF_ATTR_SHAPE,  /* tuff_shape; entries may be dynamic dims */
    TF_ATTR_STRING, /* const char *; NULL: absent */
    TF_ATTR_TENSOR, /* tuff_tensor: an optional operand; in text form it stands in the parentheses: mask=m */
    TF_ATTR_NAMED   /* const tuff_named *, and its uint32_t count at offset2 */
} tf_attr_type;

typedef struct tf_attr {
    const char *name;
    const char *doc;               /* one line; says what 0 means */
    tf_attr_type type;
    bool required;                 /* must be given in text form; a C builder passes it as an argument */
    uint32_t offset, offset2;      /* into the desc struct */
    double min, max;               /* numbers; both 0: any */
    const char *const *choices;    /* ENUM: NULL-terminated */
} tf_attr;

/* TF_A(tuff_softmax_desc, axis, TF_ATTR_INT, "doc"), with further fields after the doc: .min = 1, .max = 8 */
#define TF_A(desc, field, kind, ...) \
    { .name = #field, .type = kind, .offset = (uint32_t)offsetof(desc, field), .doc = __VA_ARGS__ }

/* ---- inference ---- */
typedef struct tf_infer {
    tuff_graph *g;
    const tf_op *op;
    const void *desc;      /* the node's own copy; infer may normalise it (axes >= 0, defaults filled) through mut */
    void *mut;             /* same memory as desc, writable */
    uint32_t n_src;
    const uint32_t *src;   /* value ids, 0 absent */
    const tf_type *const *type; /* types of sources, NULL absent */
    tf_type out[TF_MAX_RESULTS];
    uint32_t n_out;        /* preset to 1 */
} tf_infer;
/* Fail the graph with a message prefixed by the op's name; returns false so that infer can `return tf_bad(...)`. */
bool tf_bad(tf_infer *c, tuff_status status, const char *format, ...) TF_PRINTF(3, 4);
/* k = input "k" f32[1,2,256,32]: source i for messages. */
const char *tf_src_text(tf_infer *c, uint32_t i);
/* NumPy broadcasting of two shapes into *out (dtype untouched); false: tf_bad was called. */
bool tf_broadcast(tf_infer *c, const tf_type *a, const tf_type *b, tf_type *out);
/* The rule of pointwise rows for sources [first, first + n): one dtype (implied literals take that of the others),
 * within the row's classes, shapes broadcast. *out gets that dtype and shape; false: tf_bad was called. */
bool tf_unify(tf_infer *c, uint32_t first, uint32_t n, tf_type *out);
/* TF_CLS_* of a dtype, 0 for those that are storage only. */
unsigned tf_dtype_class(tuff_dtype t);
/* Axis in [-rank, rank) -> [0, rank); false: tf_bad was called. */
bool tf_axis(tf_infer *c, int64_t axis, int32_t rank, int32_t *out);
/* Source i, where present, is f32, f16 or bf16; has the dims of a shape. False: tf_bad was called. */
bool tf_infer_single(tf_infer *c, uint32_t i);
bool tf_infer_dims(tf_infer *c, uint32_t i, int32_t rank, const int64_t *dim);
/* Source i, where present, has the dtype and shape of `want`. */
bool tf_infer_type(tf_infer *c, uint32_t i, const tf_type *want);

/* ---- reference ----
 * Every element is held as double (complex: im too), so one plain C function serves all dtypes. The interpreter
 * rounds outputs to the node's dtype afterwards and sizes out[].re/.im to the inferred type. */
typedef struct tf_ref_tensor {
    tuff_dtype dtype;
    int32_t rank;
    int64_t dim[TUFF_MAX_RANK]; /* live dims */
    uint64_t n;                 /* elements */
    double *re;
    double *im;                 /* C64 only, else NULL */
} tf_ref_tensor;
typedef struct tf_ref {
    const tuff_graph *g;
    const tf_node *node;
    const void *desc;
    uint32_t n_src, n_out;
    const tf_ref_tensor *const *src; /* NULL absent */
    tf_ref_tensor *out;
    tf_arena *scratch;
    const int64_t *dim_values;       /* for tf_dim_eval */
    const char *error;               /* set with status TUFF_E_* */
} tf_ref;

/* ---- pointwise ---- */
/* Complex-free scalar reference: arguments and result as double. `t` is the operand dtype (integers wrap after). */
typedef struct tf_scalar { double re, im; } tf_scalar;
typedef tf_scalar (*tf_pointwise_fn)(const tf_scalar *args, tuff_dtype t, const void *desc);

/* dtype classes a pointwise row accepts; all value operands share one dtype after the rule below. */
enum { TF_CLS_FLOAT = 1, TF_CLS_INT = 2, TF_CLS_BOOL = 4, TF_CLS_COMPLEX = 8, TF_CLS_ANY = 15, TF_CLS_REAL = 7, TF_CLS_NUM = 11 };
typedef enum tf_result_rule {
    TF_RESULT_SAME,    /* dtype of the operands */
    TF_RESULT_BOOL,    /* comparisons, predicates */
    TF_RESULT_REAL,    /* f32 for c64 operands, else the same */
    TF_RESULT_COMPLEX, /* c64 from f32 parts */
    TF_RESULT_ATTR     /* cast: attribute "dtype" */
} tf_result_rule;

/* ---- views ----
 * view() receives output coordinates as expressions and returns source coordinates, a validity predicate
 * (0: always) and a fill value used where it is false. See expr.h for building expressions. */
typedef uint32_t tf_ex;
typedef struct tf_exprs tf_exprs;
typedef struct tf_view_map {
    tf_exprs *x;
    const tuff_graph *g;
    const tf_node *node;
    const void *desc;
    const tf_ex *out;                 /* output coordinates, out_type->rank of them */
    const tf_type *out_type, *src_type;
    tf_ex src[TUFF_MAX_RANK];         /* filled by view() */
    tf_ex valid;                      /* boolean, 0: always */
    double fill;
    /* INDEXED rows: the value of operand i at the given coordinates (its own rank), as an expression. It is read only
     * where m->valid holds at the time of the call (0: always) and is 0 elsewhere, so coordinates may leave the operand. */
    tf_ex (*operand)(struct tf_view_map *m, uint32_t i, const tf_ex *coords);
    void *user;
} tf_view_map;

/* ---- lowering ----
 * lower() expands a composite into nodes of the lowered graph with the public builders (tuff_*): src[] are
 * handles in the lowered graph (none: absent), out[i] must be set to a tensor of the inferred type. */
typedef struct tf_limits tf_limits;
typedef struct tf_lower {
    tuff_graph *g;                    /* the lowered graph */
    const tf_node *node;              /* of the original graph */
    const tf_type *out_type;
    const void *desc;
    const tuff_tensor *src;
    uint32_t n_src;
    tuff_tensor out[TF_MAX_RESULTS];
    const tf_limits *limits;
    bool want[TF_MAX_RESULTS];        /* result i has a reader */
} tf_lower;

typedef struct tf_anchor tf_anchor;   /* kernel.h */

struct tf_op {
    const char *name;
    const char *doc;                  /* one line with shapes: "a[..,m,k] x b[..,k,n] -> [..,m,n]" */
    const char *source;               /* paper or formula, may be NULL */
    const char *operands;             /* "q k v"; "xs..." is variadic; optional operands are TENSOR attributes */
    const char *results;              /* NULL: "y"; "o lse" */
    tf_op_kind kind;
    bool internal;                    /* made by lowering only; not in docs, parser accepts it for tests */
    const tf_attr *attrs;
    uint32_t attr_count;
    uint32_t desc_size;

    bool (*infer)(tf_infer *c);       /* NULL for POINTWISE: the generic rule */
    tuff_status (*reference)(tf_ref *r); /* NULL for POINTWISE (generic loop over scalar) */
    void (*lower)(tf_lower *l);       /* COMPOSITE */
    void (*view)(tf_view_map *m);     /* VIEW */
    tf_ex (*expr)(tf_view_map *m);    /* INDEXED: the value at m->out */
    bool constants;                   /* COMPOSITE: takes a better path where operands are constants, so constant ones are folded whatever their size */
    bool partition;                   /* INDEXED: each element comes from one operand (concat, stack) */
    bool bijective;                   /* VIEW: every source element appears exactly once (reshape, permute, flip, roll) */
    void (*inverse)(tf_view_map *m);  /* bijective VIEW: given source coordinates in out[], output coordinates into src[] */
    const tf_anchor *anchor;          /* ANCHOR */

    /* POINTWISE */
    uint32_t arity;
    unsigned classes;                 /* TF_CLS_* of operands */
    tf_result_rule result;
    /* Device text, chosen by the class of operand 0; NULL: the text of `glsl`. $0 $1 $2 are operands (float, double, int,
     * uint, bool, or vec2 for c64), $t is operand 0's dtype ("f16"), @name an attribute: INT and FLOAT as literals, a DTYPE as
     * its text form. Functions come from shaders/lib (tf_shader_library). The result of a row with a 16, 8 or 4-bit dtype
     * still has to be rounded to it: tf_to_<dtype>(...). */
    const char *glsl;                 /* float class */
    const char *glsl_int;             /* int class, operands int or uint */
    const char *glsl_bool;            /* bool class */
    const char *glsl_complex;         /* complex class */
    bool f64;                         /* `glsl` also holds for double operands */
    tf_pointwise_fn scalar;
    uint32_t flops;                   /* cost in flops, for fusion decisions */
    bool discontinuous;               /* floor, compare, ...: the fuzzer feeds exactly representable values */
    double ulp;                       /* bound in ULP of f32; 0: exact */
    double rel;                       /* other rows: relative L2 bound c, times eps*sqrt(n) of the reduction length */
};

extern const tf_op *const tuff_ops[]; /* NULL-terminated; ops/ops.c */
const tf_op *tf_op_find(const char *name);
const tf_attr *tf_attr_find(const tf_op *op, const char *name);

#endif
