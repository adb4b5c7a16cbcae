/* tuff.h - build a computation graph, compile it for a Vulkan device, run it many times.
 *
 * Everything a C user needs is here and in the operators' headers (ops.h and one per family, included at the end). Applications that
 * own a VkDevice also include tuff_vulkan.h. The header compiles as C17 and as C++17.
 *
 * Conventions, valid for every function unless it says otherwise:
 *   - A zeroed descriptor, or NULL in its place, is the sensible default; fields say what 0 means.
 *   - Strings and descriptors passed in are copied; the caller keeps ownership of what it passes.
 *   - A graph or a program is used by one thread at a time; a device may be used by any thread.
 *   - Tensors are dense, row-major (last axis fastest), little endian.
 *   - Nothing aborts, exits or prints; failures are tuff_status values with a text to fetch.
 */
#ifndef TUFF_TUFF_H
#define TUFF_TUFF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_WIN32) && defined(TUFF_SHARED)
#  ifdef TUFF_BUILDING
#    define TUFF_API __declspec(dllexport)
#  else
#    define TUFF_API __declspec(dllimport)
#  endif
#elif defined(__GNUC__)
#  define TUFF_API __attribute__((visibility("default")))
#else
#  define TUFF_API
#endif

#define TUFF_VERSION_MAJOR 0
#define TUFF_VERSION_MINOR 1
#define TUFF_VERSION_PATCH 0

/* Version of the library linked at run time: major * 1000000 + minor * 1000 + patch. */
TUFF_API uint32_t tuff_version(void);

/* ---- status ------------------------------------------------------------------------------------- */

/* One row per status: name without the TUFF_ prefix, text. */
#define TUFF_STATUSES(X) \
    X(OK,              "no error") \
    X(E_ARGUMENT,      "an argument is not usable") \
    X(E_SHAPE,         "operand shapes do not fit") \
    X(E_DTYPE,         "operand dtypes do not fit") \
    X(E_ATTRIBUTE,     "an attribute is unknown or out of range") \
    X(E_NAME,          "no such name") \
    X(E_PARSE,         "the text could not be parsed") \
    X(E_LIMIT,         "a limit of the library or the device is exceeded") \
    X(E_OVERFLOW,      "a size overflows") \
    X(E_MEMORY,        "out of host memory") \
    X(E_DEVICE_MEMORY, "out of device memory") \
    X(E_NO_DRIVER,     "no Vulkan loader or driver") \
    X(E_NO_DEVICE,     "no usable Vulkan device") \
    X(E_UNSUPPORTED,   "the device or this build lacks a needed feature") \
    X(E_DEVICE_LOST,   "the device was lost") \
    X(E_IO,            "a file could not be read or written") \
    X(E_FORMAT,        "a file is damaged or of another format") \
    X(E_COMPILER,      "a shader did not compile") \
    X(E_STATE,         "the call does not fit the object's state") \
    X(E_CANCELLED,     "the work was cancelled") \
    X(E_TIMEOUT,       "the time limit passed") \
    X(E_INTERNAL,      "a fault inside tuff")

typedef enum tuff_status {
#define TUFF_X(name, text) TUFF_##name,
    TUFF_STATUSES(TUFF_X)
#undef TUFF_X
    TUFF_STATUS_COUNT
} tuff_status;

/* Static text of a status ("operand shapes do not fit"); never NULL. */
TUFF_API const char *tuff_status_text(tuff_status status);

/* ---- types -------------------------------------------------------------------------------------- */

/* name, text form, bits per element in memory. i4/u4 are packed, low nibble first, last axis even. */
#define TUFF_DTYPES(X) \
    X(F32,  "f32",  32) \
    X(F16,  "f16",  16) \
    X(BF16, "bf16", 16) \
    X(F64,  "f64",  64) \
    X(C64,  "c64",  64)  /* complex: two f32, real first */ \
    X(I32,  "i32",  32) \
    X(U32,  "u32",  32) \
    X(I16,  "i16",  16) \
    X(U16,  "u16",  16) \
    X(I8,   "i8",    8) \
    X(U8,   "u8",    8) \
    X(BOOL, "bool",  8)  /* one byte, non-zero is true */ \
    X(I4,   "i4",    4) \
    X(U4,   "u4",    4) \
    X(F8E4M3, "f8e4m3", 8)  /* storage only */ \
    X(F8E5M2, "f8e5m2", 8)  /* storage only */

typedef enum tuff_dtype {
    TUFF_DTYPE_NONE = 0, /* "the default" wherever a dtype is asked for */
#define TUFF_X(name, text, bits) TUFF_##name,
    TUFF_DTYPES(TUFF_X)
#undef TUFF_X
    TUFF_DTYPE_COUNT
} tuff_dtype;

/* "f32", "c64", ...; "?" for an invalid value. */
TUFF_API const char *tuff_dtype_name(tuff_dtype dtype);

#define TUFF_MAX_RANK 8

/* A shape: rank 0 to 8; each dim is a count >= 0 or a dynamic dim made by tuff_dim_param / tuff_dim_op. */
typedef struct tuff_shape {
    int32_t rank;
    int64_t dim[TUFF_MAX_RANK];
} tuff_shape;

/* A short list of integers (axes, starts, steps, ...). n = 0: the op's default. */
typedef struct tuff_ints {
    int32_t n;
    int64_t v[TUFF_MAX_RANK];
} tuff_ints;

#ifdef __cplusplus
} /* extern "C" */
template <typename... D> constexpr tuff_shape tuff_shape_of(D... d)
{
    return tuff_shape{ static_cast<int32_t>(sizeof...(D)), { static_cast<int64_t>(d)... } };
}
template <typename... D> constexpr tuff_ints tuff_ints_of(D... d)
{
    return tuff_ints{ static_cast<int32_t>(sizeof...(D)), { static_cast<int64_t>(d)... } };
}
#define TUFF_SHAPE(...) tuff_shape_of(__VA_ARGS__)
#define TUFF_INTS(...)  tuff_ints_of(__VA_ARGS__)
#define TUFF_SCALAR_SHAPE tuff_shape{}
extern "C" {
#else
/* TUFF_SHAPE(1, 256, 8, 64); more than 8 dims is a compile-time excess-initialiser error. */
#define TUFF_SHAPE(...) \
    ((tuff_shape){ (int32_t)(sizeof((int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t)), { __VA_ARGS__ } })
#define TUFF_INTS(...) \
    ((tuff_ints){ (int32_t)(sizeof((int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t)), { __VA_ARGS__ } })
#define TUFF_SCALAR_SHAPE ((tuff_shape){ 0, { 0 } })
#endif

typedef struct tuff_graph tuff_graph;
typedef struct tuff_device tuff_device;
typedef struct tuff_program tuff_program;

/* A handle to one value of a graph. {NULL, 0} is "none": absent as an optional operand, and what a failed
 * op returns; ops on it fail silently so that only the first error of a graph is reported. */
typedef struct tuff_tensor {
    tuff_graph *graph;
    uint32_t id;
} tuff_tensor;

typedef struct tuff_named {
    const char *name;
    tuff_tensor tensor;
} tuff_named;

/* All host memory of an object goes through its allocator. resize(user, ptr, old_size, new_size) is
 * malloc (ptr NULL), realloc, and free (new_size 0); it returns NULL on failure and on free.
 * Results are aligned for any type. Must be callable from any thread that uses the object. NULL functions: the C library's. */
typedef struct tuff_allocator {
    void *user;
    void *(*resize)(void *user, void *ptr, size_t old_size, size_t new_size);
} tuff_allocator;

typedef enum tuff_log_level { TUFF_LOG_ERROR = 1, TUFF_LOG_WARNING, TUFF_LOG_INFO, TUFF_LOG_DEBUG } tuff_log_level;
typedef void (*tuff_log_fn)(void *user, tuff_log_level level, const char *text);
/* done of total units of work; called from the thread that compiles. Return false to cancel. */
typedef bool (*tuff_progress_fn)(void *user, const char *what, uint32_t done, uint32_t total);

/* ---- graph -------------------------------------------------------------------------------------- */

typedef struct tuff_graph_desc {
    tuff_allocator allocator; /* zero: the C library's */
} tuff_graph_desc;

/* NULL only when memory is out. Needs no driver and no device. */
TUFF_API tuff_graph *tuff_graph_create(const tuff_graph_desc *desc);
TUFF_API void tuff_graph_destroy(tuff_graph *g); /* NULL is allowed; programs compiled from g live on */

/* Parse text form (docs/text.md). `name` is used in messages ("file:line:column"). `params` are
 * "name=number" overrides of `param` statements, may be NULL. Relative @file.npy paths start at `dir` (NULL: the
 * working directory). On failure *out is NULL and the text is in message (always terminated). */
typedef struct tuff_parse_desc {
    const char *name;               /* NULL: "<text>" */
    const char *dir;                /* NULL: working directory */
    const char *const *params;      /* "heads=4", "eps=1e-5" */
    uint32_t param_count;
    tuff_allocator allocator;
} tuff_parse_desc;
TUFF_API tuff_status tuff_graph_parse(const char *text, size_t size, const tuff_parse_desc *desc, tuff_graph **out,
                                      char *message, size_t message_size);

/* Turn input `name` of a graph that is not compiled yet into a constant with these dense elements, copied: for weights of parsed graphs, and for
 * operands of ops that run when the graph is compiled. E_NAME without such an input, E_ARGUMENT if bytes is not its size. */
TUFF_API tuff_status tuff_make_const(tuff_graph *g, const char *name, const void *data, size_t bytes);

/* Write the text form of g. A constant of more than 16 unequal elements is written as @NAME.npy, or as the file it came from; no such
 * file is made.
 * Returns the length needed without the terminator; writes at most size bytes, always terminated if size > 0. */
TUFF_API size_t tuff_graph_print(const tuff_graph *g, char *buffer, size_t size);

/* The first build error, sticky; TUFF_OK if none. */
TUFF_API tuff_status tuff_graph_status(const tuff_graph *g);
/* Text of the last error: the build error, else the last compile error; "" if none. Owned by g. */
TUFF_API const char *tuff_graph_error(const tuff_graph *g);

/* An input written before a run. */
TUFF_API tuff_tensor tuff_input(tuff_graph *g, const char *name, tuff_dtype dtype, tuff_shape shape);
/* A constant. data: dense elements, copied (borrow: kept as a pointer that must outlive g and be unchanged). */
typedef struct tuff_const_desc {
    const char *name; /* NULL: unnamed; a name lets programs share it */
    bool borrow;
} tuff_const_desc;
TUFF_API tuff_tensor tuff_const(tuff_graph *g, tuff_dtype dtype, tuff_shape shape, const void *data, const tuff_const_desc *desc);
/* A rank-0 constant of dtype (NONE: f32) rounded from value. */
TUFF_API tuff_tensor tuff_literal(tuff_graph *g, double value, tuff_dtype dtype);
/* Persistent state: zero at first, survives runs. Reading it gives the value at the start of the run. */
TUFF_API tuff_tensor tuff_state(tuff_graph *g, const char *name, tuff_dtype dtype, tuff_shape shape);
/* Commit x (same dtype and shape) to state s at the end of the run; yields x. At most once per state. */
TUFF_API tuff_tensor tuff_assign(tuff_tensor s, tuff_tensor x);
/* A rank-0 value set between runs without recompiling. dtype: F32, I32 or U32. */
TUFF_API tuff_tensor tuff_scalar(tuff_graph *g, const char *name, tuff_dtype dtype, double initial);
/* Make x readable after a run under `name`. A tensor may have several names. */
TUFF_API void tuff_output(tuff_graph *g, const char *name, tuff_tensor x);

/* ---- loops on the device ----
 * The body is built once, by a call of `body`, and runs `count` times without the host in between. Whatever the body reads
 * from outside is the same in every iteration; what changes are the carried values and the step index, by which tables
 * are read: tuff_gather(table, it->step, 0). A state assigned in a body is read by the next iteration as assigned. */
#define TUFF_LOOP_MAX 64           /* carried and stacked values of one loop, each; loops nest up to 4 deep */
typedef struct tuff_iteration {
    tuff_graph *graph;
    tuff_tensor step;              /* i32 of rank 0: 0, 1, 2, ... */
    const tuff_tensor *in;         /* the carried values at the start of the iteration */
    tuff_tensor *out;              /* to be set: their values at its end, of the same types */
    tuff_tensor *stacked;          /* to be set: what each stacked result gets from this iteration */
    tuff_tensor again;             /* tuff_while, to be set: a bool of rank 0, whether another iteration follows */
} tuff_iteration;
typedef void (*tuff_loop_fn)(void *user, tuff_iteration *it);

typedef struct tuff_loop_desc {
    int64_t count;
    const tuff_tensor *carried;    /* n values before the first iteration */
    uint32_t n;
    tuff_loop_fn body;
    void *user;
    uint32_t stacked;              /* results of shape [count, ...] that collect a value of every iteration */
} tuff_loop_desc;
/* results: the n carried values after the last iteration, then the stacked ones. */
TUFF_API tuff_status tuff_loop(tuff_graph *g, const tuff_loop_desc *desc, tuff_tensor *results);

typedef struct tuff_while_desc {
    int64_t max;                   /* iterations at most */
    const tuff_tensor *carried;
    uint32_t n;
    tuff_loop_fn body;
    void *user;
    uint32_t stacked;              /* of shape [max, ...]; rows of iterations that did not run are zero */
    tuff_tensor again;             /* a bool of rank 0: whether there is a first iteration; none: yes */
} tuff_while_desc;
/* results: as of tuff_loop, then the number of iterations done (i32) and whether there would have been another one
 * (bool: true when the bound ended the loop). */
TUFF_API tuff_status tuff_while(tuff_graph *g, const tuff_while_desc *desc, tuff_tensor *results);

/* A dim bounded by 1 <= max, set before a run by tuff_set_dim (initially max). Usable as a dim in shapes. */
TUFF_API int64_t tuff_dim_param(tuff_graph *g, const char *name, int64_t max);
typedef enum tuff_dim_operator { TUFF_DIM_ADD, TUFF_DIM_SUB, TUFF_DIM_MUL, TUFF_DIM_FLOORDIV, TUFF_DIM_MAX } tuff_dim_operator;
/* a op b, each a count or a dynamic dim. */
TUFF_API int64_t tuff_dim_op(tuff_graph *g, tuff_dim_operator op, int64_t a, int64_t b);

/* Result i of the op that made t (result 0 is t itself). */
TUFF_API tuff_tensor tuff_result(tuff_tensor t, uint32_t i);
/* Name t in messages, listings and the text form; returns t. */
TUFF_API tuff_tensor tuff_name(tuff_tensor t, const char *name);
TUFF_API tuff_dtype tuff_tensor_dtype(tuff_tensor t);
TUFF_API tuff_shape tuff_tensor_shape(tuff_tensor t); /* dynamic dims as their bound */
/* The elements of t, computed at once on the host in double precision, when t depends on constants only: tables that rows like
 * the schedules of diffusion.h make. count: its elements. E_ARGUMENT if count differs or t needs a run. */
TUFF_API tuff_status tuff_host_value(tuff_tensor t, double *out, size_t count);

/* ---- device ------------------------------------------------------------------------------------- */

typedef struct tuff_device_desc {
    const char *select;       /* NULL: $TUFF_DEVICE, else the best one; an index, a UUID, or part of name or driver */
    const char *cache_dir;    /* NULL: $TUFF_CACHE_DIR, else the user's cache directory; "": no disk cache */
    const char *toggles;      /* NULL: $TUFF_TOGGLES; e.g. "-fp16,-subgroup,+validate" */
    const char *limits;       /* NULL: $TUFF_LIMITS; e.g. "range=1M,shared=16K,invocations=128,bindings=4" */
    bool validate;            /* enable the Khronos validation layer when installed */
    tuff_allocator allocator;
    tuff_log_fn log;          /* NULL: silent */
    void *log_user;
    const char *dump_dir;     /* NULL: $TUFF_DUMP; every kernel's text and SPIR-V is written there, for a look or a driver's bug report; "": no */
} tuff_device_desc;

TUFF_API tuff_status tuff_device_open(const tuff_device_desc *desc, tuff_device **out);
/* Destroys everything; programs of the device must be destroyed before. NULL is allowed. */
TUFF_API void tuff_device_close(tuff_device *dev);
/* dev NULL: why the last tuff_device_open, or call of tuff_vulkan.h for a device, of this thread failed; valid until the next one. Of an open
 * device: whether it was lost. What else fails later is in the text of its graph or program. */
TUFF_API const char *tuff_device_error(const tuff_device *dev);
/* As the driver calls it; owned by dev. */
TUFF_API const char *tuff_device_name(const tuff_device *dev);

/* ---- program ------------------------------------------------------------------------------------ */

typedef struct tuff_compile_desc {
    const tuff_program *share; /* NULL: none; state and named constants of equal dtype and shape are shared */
    uint32_t slots;            /* runs that may be in flight; 0: 2 */
    bool no_fusion;            /* one kernel per op: for debugging and differential tests */
    bool relaxed;              /* do not round f16/bf16 intermediates of fused chains */
    bool deterministic;        /* the kernels that every device can run, so sums have one order everywhere; slower. Devices may still round
                                * elementary functions differently and contract a * b + c */
    uint32_t threads;          /* compile threads; 0: as many as cores, at most 8 */
    tuff_progress_fn progress; /* NULL: none */
    void *progress_user;
} tuff_compile_desc;

/* Compile g for dev. On failure *out is NULL and tuff_graph_error(g) has the text. */
TUFF_API tuff_status tuff_compile(tuff_device *dev, tuff_graph *g, const tuff_compile_desc *desc, tuff_program **out);
/* ---- capsules: compiled now, run later without a shader compiler ----
 * A capsule is a file with everything that running a graph takes: plan, SPIR-V of its kernels, constants. */

/* Compile g and write it to path, replaced in one step: for devices like dev and, if its tensors are small enough for that, for every device
 * that tuff runs on; with desc->deterministic for the latter only. Of desc the fields that choose kernels and progress count. Needs a build
 * with the compiler. On failure tuff_graph_error(g) has the text; the file is then as it was. */
TUFF_API tuff_status tuff_pack(tuff_device *dev, tuff_graph *g, const tuff_compile_desc *desc, const char *path);
/* The program of a capsule of `size` bytes, read or mapped, aligned or not. data must stay as it is until the program is destroyed:
 * constants are taken from there when they are first needed. Of desc (may be NULL) share, slots, threads and progress count. The best
 * variant that the device can run is taken. E_PARSE: no whole capsule of this version of tuff; E_UNSUPPORTED: no variant fits this device.
 * On failure *out is NULL and the text is in message (may be NULL; always terminated). What a capsule says is checked, its SPIR-V is not
 * more than looked at: take capsules from where you would take shaders. */
TUFF_API tuff_status tuff_program_load(tuff_device *dev, const void *data, size_t size, const tuff_compile_desc *desc, tuff_program **out,
                                       char *message, size_t message_size);

TUFF_API void tuff_program_destroy(tuff_program *p); /* waits for its runs; NULL is allowed */
/* Text of the last call on p that failed; "" if none. Owned by p. */
TUFF_API const char *tuff_program_error(const tuff_program *p);

/* Device memory in bytes that running p takes, by purpose. Available before anything is allocated:
 * memory is allocated at the first write or run. */
typedef struct tuff_memory {
    uint64_t arena, inputs, outputs, constants, states, staging;
} tuff_memory;
TUFF_API tuff_memory tuff_program_memory(const tuff_program *p);

/* Copy bytes into input, state or (unshared) constant `name`; bytes must be its exact live size. Taken by the next submit. */
TUFF_API tuff_status tuff_write(tuff_program *p, const char *name, const void *data, size_t bytes);
/* Wait for the last submitted run, then copy output or state `name` out; bytes must be its exact live size. */
TUFF_API tuff_status tuff_read(tuff_program *p, const char *name, void *data, size_t bytes);
/* Zero a state (NULL: all states). */
TUFF_API tuff_status tuff_reset(tuff_program *p, const char *state);
TUFF_API tuff_status tuff_set_dim(tuff_program *p, const char *name, int64_t value); /* 0 <= value <= max */
TUFF_API tuff_status tuff_set_scalar(tuff_program *p, const char *name, double value);

TUFF_API tuff_status tuff_run(tuff_program *p); /* submit and wait */
/* ticket (may be NULL) identifies the run. Blocks only if all slots are in flight. */
TUFF_API tuff_status tuff_submit(tuff_program *p, uint64_t *ticket);
TUFF_API tuff_status tuff_wait(tuff_program *p, uint64_t ticket, uint64_t timeout_ns); /* UINT64_MAX: no limit */
/* Ask the running work to end early; any thread. tuff_wait then returns TUFF_E_CANCELLED soon, and loops start no further kernels
 * (those of a fixed count if the run is estimated at more than 100 ms); other work on the device runs to its end. Outputs and
 * states that the run writes are then undefined. */
TUFF_API void tuff_cancel(tuff_program *p);
/* How much of the last submitted run's steps is done, from 0 to 1, as seen at the iterations of its loops; any thread, never waits. */
TUFF_API double tuff_progress(tuff_program *p);

/* Size in bytes, dtype and shape (at the live dims) of a named input, output or state. Any pointer may be NULL. */
TUFF_API tuff_status tuff_describe(const tuff_program *p, const char *name, size_t *bytes, tuff_dtype *dtype, tuff_shape *shape);

typedef enum tuff_explain_format { TUFF_EXPLAIN_TEXT, TUFF_EXPLAIN_JSON, TUFF_EXPLAIN_DOT, TUFF_EXPLAIN_GLSL } tuff_explain_format;
/* The compiled plan: kernels, fusions, refusals, memory, barriers. Sizes as in tuff_graph_print. */
TUFF_API size_t tuff_program_explain(const tuff_program *p, tuff_explain_format format, char *buffer, size_t size);

#ifdef __cplusplus
}
#endif

#include "ops.h"
#include "attention.h"
#include "fft.h"
#include "gaunt.h"
#include "ssm.h"
#include "diffusion.h"

#endif
