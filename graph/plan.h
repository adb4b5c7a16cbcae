/* plan.h - what the compiler hands to the runtime: a flat list of steps, the kernels' texts, buffers with
 * offsets, and the few numbers that may change between runs. Pure data, no Vulkan, no pointers into a graph:
 * one arena holds it all, so it can be printed, checked, stored in a capsule and replayed. */
#ifndef TF_PLAN_H
#define TF_PLAN_H

#include "graph.h"

/* Matrices that the lanes of a subgroup hold together: products of m x k by k x n halves, summed in f32. m 0: none. */
typedef struct tf_matrices { uint32_t m, n, k; } tf_matrices;

/* Choices between kernels that `tuff tune` has measured on a device, sorted by `choice`. */
typedef struct tf_tuned { uint64_t choice; uint32_t way; } tf_tuned;
typedef struct tf_tuning { const tf_tuned *rows; uint32_t n; } tf_tuning;

/* What a device allows: filled by the runtime from the driver, quirks, toggles and artificial limits; filled by
 * hand in tests. All sizes in bytes. */
typedef struct tf_limits {
    uint32_t max_invocations;       /* per workgroup; >= 128 */
    uint32_t max_local[3];
    uint32_t shared_bytes;          /* >= 16384 */
    uint32_t storage_bindings;      /* per stage; >= 4 */
    uint32_t uniform_bindings;      /* per stage, one is taken by the parameters */
    uint64_t storage_range;         /* largest storage binding */
    uint64_t uniform_range;         /* largest uniform binding; >= 16384 */
    uint32_t texel_bindings;        /* per stage, of buffers that are read as texels of 16 bytes; 0: none, as on GPUs */
    uint64_t texel_range;           /* largest of them */
    uint32_t storage_align;         /* binding offset alignment, power of two <= 256 */
    uint32_t max_groups[3];         /* workgroup counts; >= 65535 */
    uint64_t max_buffer;            /* largest single allocation */
    uint32_t subgroup_size;         /* reported size; 0: unknown */
    uint32_t subgroup_min, subgroup_max;
    bool cpu;                       /* VK_PHYSICAL_DEVICE_TYPE_CPU: many registers, slow shared memory and barriers */
    bool uniform_loads;             /* a load of one address by all lanes costs next to nothing; matters on CPUs */
    bool subgroup_basic, subgroup_vote, subgroup_arithmetic, subgroup_shuffle, subgroup_ballot;
    bool subgroup_control;          /* a required size can be pinned, with full subgroups, in compute */
    bool storage16, storage8;       /* 16/8-bit storage buffer access */
    bool f16, i8, i16, i64, f64;    /* shader arithmetic */
    tf_matrices coopmat;            /* of subgroup_size lanes; then f16 and subgroup_control hold */
    uint32_t recorded;              /* steps of a run that are recorded as they are; of longer ones, loops are submitted in chunks */
    uint32_t units;                 /* parallel units for splitting decisions; 0: unknown */
    const tf_tuning *tuning;        /* NULL: none; outlives what is compiled with it */
} tf_limits;

typedef enum tf_step_kind {
    TF_STEP_DISPATCH,          /* the number of groups is known on the host, from fixed or live dims */
    TF_STEP_DISPATCH_INDIRECT, /* the last argument holds the grid, written by a kernel before */
    TF_STEP_COPY,
    TF_STEP_FILL
} tf_step_kind;

/* A number placed into a step's uniform block; all are 32 bits. */
typedef enum tf_param_kind {
    TF_PARAM_DIM,      /* live value of dim a (encoded, evaluated by tf_plan_dim) */
    TF_PARAM_SCALAR,   /* scalar port a, in its own dtype's bits */
    TF_PARAM_CANCEL,   /* 0, until the host cancels the run */
    TF_PARAM_ITERATION, /* tf_region_chunked: added to the recorded index of the loop of depth a + 1; 0, or where a chunk begins */
    TF_PARAM_BASE      /* element base of argument a inside its binding (bindings shared by assign_bindings) */
} tf_param_kind;
typedef struct tf_param { tf_param_kind kind; int64_t a; } tf_param;

typedef enum tf_buffer_kind { TF_BUF_ARENA, TF_BUF_INPUT, TF_BUF_OUTPUT, TF_BUF_CONST, TF_BUF_STATE } tf_buffer_kind;
/* Something with an address. Arena tensors carry chunk and offset; others own a buffer each. */
typedef struct tf_buffer {
    tf_buffer_kind kind;
    tf_type type;
    const char *name;          /* port name; NULL for arena and unnamed constants */
    uint64_t bytes;            /* at the bound; 0: never bound */
    uint32_t chunk;            /* ARENA */
    uint64_t offset;           /* ARENA: byte offset in the chunk */
    uint32_t first_wave, last_wave; /* ARENA: live interval, inclusive; first > last: never used */
    const void *data;          /* CONST: contents, in the plan's arena or borrowed */
    uint64_t hash;             /* CONST: of the contents, for sharing */
} tf_buffer;

typedef struct tf_arg {
    uint32_t buffer;
    bool write, read;
    uint32_t binding;          /* binding slot in the kernel; tf_share_step may give one slot to several args */
    bool uniform;              /* slot is a uniform buffer: the kernel declares uvec4[ceil(words / 4)] */
    bool texel;                /* slot is a texel buffer: the kernel declares a usamplerBuffer */
    bool shared;               /* slot holds several args: the kernel adds TF_PARAM_BASE to its indices */
    bool prefer_uniform, prefer_texel; /* wishes of the kernel: see tf_operand */
    uint64_t base;             /* byte base of this arg inside its binding's range; 0 unless shared */
    bool aligned;              /* read only at the element that the same invocation stores of the step's results */
    bool grid;                 /* DISPATCH_INDIRECT: read by the dispatch itself, not by the kernel: no binding */
    uint32_t twin;             /* argument of the step + 1, before this one, in the same buffer: they are one operand */
} tf_arg;

/* A binding slot of one step: the exact descriptor range. */
typedef struct tf_binding {
    bool uniform, texel;
    tf_buffer_kind kind; uint32_t buffer; /* a representative buffer (its chunk, for the arena) */
    uint64_t offset, range;    /* range 0: zero-element tensor, bind anything */
} tf_binding;

typedef struct tf_kernel {
    const char *name;          /* "matmul+bias+gelu" */
    const char *algorithm;     /* "row per invocation", ... */
    const char *glsl;          /* NULL: there is only code */
    const uint32_t *code;      /* SPIR-V; NULL: to be compiled from glsl */
    size_t code_words;
    uint64_t hash;             /* of glsl and subgroup requirements */
    uint32_t local[3];
    uint32_t n_bindings;       /* storage/uniform/texel tensor bindings 0..n-1; the parameter block is binding n_bindings */
    uint32_t n_params;         /* 32-bit words in the parameter block; 0: no block */
    uint32_t subgroup_size;    /* required size with full subgroups; 0: none */
    uint32_t shared_bytes;
    bool steps;                /* reads the indices of iterations: push constants, one per depth */
    uint32_t ways, way;        /* equally right kernels for its shapes, and which of them it is (tf_way); ways 0: there is one */
    uint64_t choice;           /* names these shapes */
} tf_kernel;

typedef struct tf_step {
    tf_step_kind kind;
    uint32_t kernel;           /* dispatches */
    uint32_t arg, n_args;      /* into plan.args. COPY: args[0] -> args[1]; FILL: args[0] */
    uint32_t binding, n_bindings; /* into plan.bindings */
    uint32_t param, n_params;  /* into plan.params */
    int64_t groups;            /* number of workgroups, a dim; folded to x,y,z by the runtime (tf_fold_grid) */
    uint32_t fill;             /* FILL: the 32-bit pattern */
    uint32_t grid_at;          /* DISPATCH_INDIRECT: byte offset of the grid in the last argument */
    uint32_t wave;             /* steps of a wave are independent; a barrier stands between waves */
    uint32_t region;
    uint32_t phase;            /* of a loop whose iterations take turns: 1 in the odd ones */
    uint64_t bytes, flops;     /* estimates at the bound */
    const char *label;
} tf_step;

/* A loop: its steps, and those of loops inside it, are one stretch that runs `count` times. */
typedef struct tf_plan_region {
    uint32_t parent, depth;    /* 0: top level; depth 1: in the top level */
    int64_t count;
    uint32_t again;            /* while loop: buffer + 1 of the bool that says whether an iteration takes place; 0: all do */
    uint32_t first, end;       /* steps [first, end); waves follow from them */
    uint32_t odd;              /* iterations take turns: even ones run [first, odd), odd ones [odd, end); 0: all run all */
    uint64_t run;              /* steps that all its iterations run, saturated */
    bool chunked;              /* its kernels add TF_PARAM_ITERATION to indices */
} tf_plan_region;

/* A carried value or a state takes a new value at the end of a region (0: of the run): from `from` to `to`, without a
 * copy if `from` could be given the memory of `to`. */
typedef struct tf_commit {
    uint32_t region, from, to;
    const char *name;          /* of the state; NULL: a carried value */
    const char *copied;        /* why a copy was needed; NULL: in place */
    bool turns;                /* and why it is none: iterations read and write two places by turns */
} tf_commit;

/* Why two nodes stayed in separate kernels: what explain prints. */
#define TF_REFUSALS(X) \
    X(READERS,    "several kernels read it and recomputing costs more than storing") \
    X(RECOMPUTE,  "the reading kernel reads each element many times") \
    X(BINDINGS,   "too many bindings") \
    X(SIZE,       "the generated kernel would be too large") \
    X(SHAPE,      "the reader runs over another shape") \
    X(CYCLE,      "the result depends on another reader") \
    X(NARROW,     "a store narrower than 4 bytes needs its own kernel on this device") \
    X(OUTPUT,     "it is an output or state") \
    X(ANCHOR,     "two anchors never share a kernel") \
    X(DISABLED,   "fusion is off")
typedef enum tf_refusal_reason {
#define TF_X(name, text) TF_REFUSE_##name,
    TF_REFUSALS(TF_X)
#undef TF_X
    TF_REFUSE_COUNT
} tf_refusal_reason;
typedef struct tf_refusal { const char *producer, *reader; tf_refusal_reason reason; } tf_refusal;

typedef struct tf_plan_port {
    tf_port_kind kind;
    const char *name;
    uint32_t buffer;           /* INPUT, OUTPUT, STATE, CONST */
    tf_type type;
    double initial;            /* SCALAR */
} tf_plan_port;

typedef struct tf_plan {
    tf_arena arena;
    tf_limits limits;
    TF_ARRAY(tf_kernel) kernels;
    TF_ARRAY(tf_step) steps;
    TF_ARRAY(tf_arg) args;
    TF_ARRAY(tf_binding) bindings;
    TF_ARRAY(tf_param) params;
    TF_ARRAY(tf_buffer) buffers;
    TF_ARRAY(tf_plan_port) ports;
    TF_ARRAY(tf_dim_param) dim_params;
    TF_ARRAY(tf_dim_expr) dims;
    TF_ARRAY(tf_refusal) refusals;
    TF_ARRAY(tf_plan_region) regions; /* regions.data[id - 1]; steps of regions beyond run once */
    TF_ARRAY(tf_commit) commits;
    TF_ARRAY(uint64_t) chunks;      /* bytes of each arena chunk */
    uint32_t waves;
    uint64_t arena_bytes;           /* sum of chunks */
    uint64_t live_bytes;            /* largest sum of live arena bytes over waves, each buffer aligned: the lower bound */
    uint64_t serial_bytes;          /* the same for the best serial order found */
} tf_plan;

/* ---- passes over a plan, each pure and separately tested ----
 * Order: steps with args -> tf_plan_commit -> tf_plan_gate -> tf_copy_in_externals -> per dispatch tf_share_step, then its text is printed ->
 * tf_merge_kernels -> tf_schedule -> tf_place -> tf_assign_bindings for every step -> tf_plan_check. */

/* Resolve plan->commits (commit.c): alias buffers where every read of the old value comes before the write of the new one,
 * else add a copy at the end of the region. False: out of memory. */
bool tf_plan_commit(tf_plan *plan);
/* Give every while loop its gate (gate.c). The kernels this takes come with their texts, numbered from first_raw. NULL or a
 * message. */
typedef TF_ARRAY(tf_kernel) tf_raw_kernels;
const char *tf_plan_gate(tf_plan *plan, uint32_t first_raw, tf_raw_kernels *raw);
/* Set first, end and run of all regions from the steps (plan.c). */
void tf_plan_span(tf_plan *plan);
/* Steps a run executes, loops included, saturated. */
uint64_t tf_plan_run_steps(const tf_plan *plan);
/* A place in a run: a step, and the iteration of each loop around it. */
typedef struct tf_cursor { uint32_t step; int32_t at[TF_MAX_LOOP_DEPTH]; } tf_cursor;
/* The first step of a run; step == steps.n: there is none. */
tf_cursor tf_cursor_begin(const tf_plan *plan);
void tf_cursor_next(const tf_plan *plan, tf_cursor *c);
/* The n-th step of a run, n < tf_plan_run_steps. */
tf_cursor tf_cursor_at(const tf_plan *plan, uint64_t n);
/* The loop directly in `region` (0: the run) that a step of it stands in; 0: none. */
uint32_t tf_plan_loop_in(const tf_plan *plan, uint32_t region, uint32_t step);
/* Is there a barrier between a step and the one that runs after it? */
static inline bool tf_cursor_barrier(const tf_plan *plan, uint32_t from, uint32_t to)
{
    return to <= from || plan->steps.data[from].wave != plan->steps.data[to].wave;
}
/* Is region `inner` the region `outer` or inside it? */
static inline bool tf_plan_within(const tf_plan *plan, uint32_t inner, uint32_t outer)
{
    while (inner && inner != outer) inner = inner <= plan->regions.n ? plan->regions.data[inner - 1].parent : 0;
    return inner == outer;
}
/* An operand of a kernel before it has an address. */
typedef struct tf_operand {
    bool arena;                /* placed by tf_place, else a buffer of its own */
    bool write;
    uint64_t bytes;            /* at the bound */
    uint32_t bits;             /* per element */
    bool prefer_uniform;       /* faster as a uniform buffer, where it fits */
    bool prefer_texel;         /* faster still as a texel buffer */
} tf_operand;
typedef struct tf_slot { uint32_t slot; bool uniform, texel, shared; } tf_slot;
typedef struct tf_slots {
    uint32_t n;                /* slots in all */
    uint32_t storage;          /* storage slots among them; more than limits->storage_bindings: does not fit */
    uint32_t copies;           /* operands outside the arena that must be copied into it so that it fits */
} tf_slots;
/* Slots of a kernel's operands within the limits (bindings.c): one each if that fits; else small read-only operands
 * become uniform; else the smallest arena operands share one slot, and must then be placed in one chunk. */
tf_slots tf_share_bindings(const tf_operand *operands, uint32_t n, const tf_limits *limits, tf_slot *out);
/* tf_share_bindings for a step of the plan: fills binding, uniform and shared of its args and step.n_bindings. Two
 * args on one buffer keep their own slots. NULL or a message. */
const char *tf_share_step(tf_plan *plan, uint32_t step);
/* Where a dispatch still has too many bindings, copy operands from outside into the arena before it (results: after
 * it), as COPY steps labelled "copied: bindings". Run before tf_share_step; steps are renumbered. False: out of memory. */
bool tf_copy_in_externals(tf_plan *plan);
/* Steps whose kernels have equal text and needs get one kernel; kernels no step uses are dropped (plan.c). Any time
 * after the texts are there. False: out of memory. */
bool tf_merge_kernels(tf_plan *plan);
/* Assign steps to waves and reorder them by wave (schedule.c). Steps come in any topological order; a step reads what
 * the last earlier writer of the buffer left. Buffers, args, bindings keep their numbers. False: out of memory. */
bool tf_schedule(tf_plan *plan);
/* Place arena buffers: two buffers live in a common wave never overlap; args sharing a slot lie in one chunk
 * (memory.c). False: out of memory or a size overflows. */
bool tf_place(tf_plan *plan);
/* Fill the step's bindings (exact ranges, rounded up to whole words) and its args' base (bindings.c). NULL or a
 * message. Steps that are not dispatches get no bindings. */
const char *tf_assign_bindings(tf_plan *plan, uint32_t step);
/* The largest range of a binding of its kind, and the kind's name. */
uint64_t tf_binding_limit(const tf_limits *l, const tf_binding *r);
const char *tf_binding_word(const tf_binding *r);
/* Hazard checker (check.c): NULL, or a sentence naming two steps of one wave that conflict, a read of bytes
 * never written, an index out of range, or overlapping live buffers. */
const char *tf_plan_check(const tf_plan *plan, tf_str *message);
/* The status of what a pass complains of: E_MEMORY, or `otherwise`. */
tuff_status tf_plan_status(const char *wrong, tuff_status otherwise);
/* Bytes an arena buffer takes: aligned so that any device may bind it. */
uint64_t tf_arena_bytes(const tf_limits *limits, uint64_t bytes);
/* explain (explain.c) */
void tf_plan_explain(const tf_plan *plan, tuff_explain_format format, tf_str *out);

/* Live value of a dim; params NULL: its bound. */
int64_t tf_plan_dim(const tf_plan *plan, int64_t dim, const int64_t *params);
/* Live bytes of a tensor of the plan (packed types rounded up); params NULL: at the bound. Overflow saturates. */
uint64_t tf_plan_bytes(const tf_plan *plan, const tf_type *type, const int64_t *params);
/* The 32 bits of a parameter of a step, except SCALAR, whose value the program holds. */
uint32_t tf_plan_param(const tf_plan *plan, const tf_step *step, const tf_param *param, const int64_t *params);
/* x*y*z >= groups, each within limits, as few rows and then as few spare groups as possible; 0 groups: {0, 1, 1}.
 * False if it does not fit. */
bool tf_fold_grid(const tf_limits *limits, uint64_t groups, uint32_t out[3]);

/* ---- the compiler ---- */
typedef struct tf_compile_options {
    bool no_fusion, relaxed;
} tf_compile_options;
/* All passes: folds, lowers, fuses, schedules, places, emits. On failure returns the status, sets g's compile error and *out to
 * NULL. The plan is independent of g afterwards and is released by tf_plan_destroy. */
tuff_status tf_compile(tuff_graph *g, const tf_limits *limits, const tf_compile_options *options,
                       const tuff_allocator *allocator, tf_plan **out);
/* A plan with an empty arena; NULL when memory is out. */
tf_plan *tf_plan_create(const tuff_allocator *allocator);
void tf_plan_destroy(tf_plan *plan); /* NULL is allowed */

#endif
