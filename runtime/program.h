/* program.h - tuff_program: a plan with its pipelines, memory and recordings.
 *
 * Everything that a run needs is built once; a run is one vkQueueSubmit of command buffers recorded before. What may
 * change between runs lives where recorded commands read it: parameter blocks and dynamic grids in `control`, one
 * stretch per slot. A slot (recording, descriptor sets, control stretch) belongs to at most one run in flight, so
 * nothing a pending run reads is ever written. Memory is allocated when first needed. */
#ifndef TF_PROGRAM_H
#define TF_PROGRAM_H

#include "device.h"

/* The memory of a tensor that is not in the arena, possibly shared between programs. Under object_lock until filled. */
typedef struct tf_object {
    uint32_t refs;
    tf_mem mem;
    bool filled;              /* zeros, constant data or poison are in place */
} tf_object;

typedef struct tf_tensor_place {
    tf_object *object;        /* NULL: arena or zero bytes */
    VkBuffer external;        /* of the application; replaces object */
    uint64_t offset, range;   /* of external */
} tf_tensor_place;

typedef struct tf_port_state {
    uint64_t written_bytes;   /* INPUT: live size when written; 0: never */
    uint32_t scalar;          /* SCALAR: bits */
} tf_port_state;

/* Memory towards the device, held from tuff_write until the run that takes it has finished. */
typedef struct tf_staging {
    tf_mem mem;
    uint64_t ticket;          /* last submission that reads it */
    uint32_t slot;            /* + 1, while a recording of the application reads it; 0: none */
    bool pending;             /* in a write not submitted yet */
    struct tf_staging *next;
} tf_staging;

/* A write or reset not yet submitted. */
typedef struct tf_pending { uint32_t buffer; tf_staging *from; uint64_t bytes; } tf_pending; /* from NULL: zeros */

typedef struct tf_step_state {
    VkPipeline pipeline;      /* COPY, FILL: none */
    VkPipelineLayout layout;
    uint32_t grid[3];         /* fixed grid; x = 0: nothing to do */
    uint32_t grid_at;         /* offset of a dynamic grid in the control stretch; UINT32_MAX: fixed */
    uint32_t params_at;       /* offset of the parameter block */
    uint32_t set;             /* index into a slot's sets; UINT32_MAX: none */
    uint64_t ns;              /* estimated duration */
    bool stops;               /* its grid is taken away to cancel a run */
} tf_step_state;

/* One 32-bit number of the control stretch that follows dims or scalars. */
typedef struct tf_control_word { uint32_t at; int64_t a; } tf_control_word;

typedef struct tf_iteration_word { uint32_t at, depth, region; } tf_iteration_word;

typedef struct tf_run_slot {
    VkCommandBuffer *cmds;    /* n_cmds, then preludes */
    VkCommandBuffer *run;     /* two per batch: prelude or none, and command buffer */
    VkCommandBuffer prologue; /* uploads before the run */
    VkDescriptorSet *sets;
    VkBufferView *views;      /* per binding of the plan, of those that are texel buffers; NULL: no such binding */
    uint64_t ticket;          /* last run; 0: never used */
    uint64_t bindings, dims, scalars; /* versions its sets and control stretch hold; 0: none */
    bool cancelled;           /* its cancel words are set; with them and ticket under object_lock */
    bool recorded;
    bool lent;                /* last used by tuff_record: its end is not known here */
} tf_run_slot;

enum { PROGRESS_STRIDE = 256 };

/* A stretch of a run, in one command buffer (batches.c). */
typedef struct tf_batch_plan {
    tf_cursor first;          /* of a chunk of a loop: counted from 0 */
    uint32_t count;           /* steps */
    uint32_t done;            /* steps of the run before it */
    uint32_t cmd;             /* command buffer; equal chunks share one */
    uint32_t prelude;         /* prelude + 1; 0: none */
    uint32_t region;          /* of a chunk, else 0 */
    int32_t base[TF_MAX_LOOP_DEPTH]; /* of a chunk: the iterations where it begins */
} tf_batch_plan;

static const uint64_t TF_BATCH_NS = 100000000;

struct tuff_program {
    tuff_device *dev;
    tf_plan *plan;
    tf_arena arena;           /* all arrays below */
    tf_fault fault;

    tf_pipeline **pipelines;  /* per kernel */
    tf_step_state *steps;
    TF_ARRAY(tf_batch_plan) batches;
    uint32_t n_cmds, n_preludes, n_sets;
    uint32_t n_run;           /* steps of a run, with every iteration of loops */
    uint32_t n_storage, n_uniform, n_texel; /* descriptors per slot */

    tf_mem *chunks;
    tf_tensor_place *places;  /* per plan buffer */
    tf_mem control, null;     /* null: bound where a tensor has no elements */
    uint64_t control_stride;  /* bytes per slot */
    tf_control_word *dim_words, *scalar_words, *grid_words, *cancel_words; /* grid: a is the dim of the group count */
    uint32_t n_dim_words, n_scalar_words, n_grid_words, n_cancel_words;
    tf_iteration_word *iteration_words; uint32_t n_iteration_words; /* where a chunk's iterations begin */
    uint32_t *stop_words, n_stop_words; /* grids of loops of a fixed count: 0 workgroups end them */
    bool stoppable;           /* runs take long enough for that */
    tf_mem progress;          /* PROGRESS_STRIDE bytes per slot: steps done, written by the device; only with loops */

    tf_port_state *ports;
    int64_t *dims, *run_dims; /* live values; those of the last submitted run */
    uint64_t bindings_version, dims_version, scalars_version;
    bool ready;               /* everything is allocated */
    bool inputs_missing;      /* some input may lack contents: look before the next run */

    VkCommandPool pool;
    VkCommandBuffer aux;      /* copies outside runs; always waited for */
    VkDescriptorPool descriptors;
    tf_run_slot *slots;
    uint32_t n_slots;
    tf_staging *staging;
    TF_ARRAY(tf_pending) pending;
    tf_mem readback;

    _Atomic uint64_t last;    /* ticket of the last run */
    _Atomic uint64_t cancel_first, cancelled; /* tickets of the runs that were cancelled last; 0: none */
    bool ran;
};

/* What tuff_compile does after tf_compile. Takes the plan over on success only. */
tuff_status tf_program_from_plan(tuff_device *dev, tf_plan *plan, const tuff_compile_desc *desc, tuff_program **out, tf_fault *f);

/* The grid of groups > 0 workgroups; false: more than the device can start. */
bool tf_program_grid(const tuff_program *p, int64_t groups, uint32_t out[3]);

/* ---- batches.c ---- */
bool tf_program_batches(tuff_program *p, uint64_t total_ns); /* sets batches and n_run */

/* ---- buffers.c ---- */
bool tf_program_allocate(tuff_program *p);                      /* everything a run needs */
bool tf_buffer_ensure(tuff_program *p, uint32_t buffer);        /* memory and first contents of one tensor */
/* Where a tensor is; needs its memory. Zero bytes: the null buffer. */
void tf_buffer_locate(const tuff_program *p, uint32_t buffer, VkBuffer *handle, uint64_t *offset);
void tf_buffer_release(tuff_program *p, uint32_t buffer);
bool tf_buffer_write(tuff_program *p, uint32_t buffer, const void *data, uint64_t bytes);
bool tf_buffer_zero(tuff_program *p, uint32_t buffer);
bool tf_buffer_read(tuff_program *p, uint32_t buffer, void *data, uint64_t bytes);
/* Record pending writes; ticket or slot + 1 then keeps their staging memory busy. */
void tf_pending_record(tuff_program *p, VkCommandBuffer cmd);
void tf_pending_taken(tuff_program *p, uint64_t ticket, uint32_t slot);
void tf_pending_forget(tuff_program *p, uint32_t buffer);       /* drop what was to be written */
bool tf_pending_flush(tuff_program *p);                         /* submit them now */
void tf_staging_release_slot(tuff_program *p, uint32_t slot);
bool tf_begin(tuff_program *p, VkCommandBuffer cmd, bool once);
bool tf_end(tuff_program *p, VkCommandBuffer cmd);

/* ---- record.c ---- */
/* Sets, parameters and grids of a slot brought up to date; the slot must be free. */
bool tf_slot_prepare(tuff_program *p, tf_run_slot *slot, uint32_t index);
void tf_record_barrier(const tuff_program *p, VkCommandBuffer cmd);  /* between waves */
/* The one loop: `count` steps of a run with a barrier between waves, none at the ends. */
void tf_record_steps(const tuff_program *p, const tf_run_slot *slot, uint32_t index, VkCommandBuffer cmd, tf_cursor first, uint32_t count);
/* Set the words that cancel a slot's run, or take them back. Under object_lock. */
void tf_slot_cancel(tuff_program *p, uint32_t index, bool cancel);
bool tf_slot_record(tuff_program *p, tf_run_slot *slot, uint32_t index);

/* ---- port.c ---- */
/* Device alive, inputs written, memory allocated; otherwise the fault says what is wrong. */
bool tf_program_can_run(tuff_program *p);
bool tf_scalar_bits(tuff_dtype t, double v, uint32_t *bits);    /* false: the dtype cannot hold v */

/* ---- profile.c ---- */
/* Time each step alone: `repeats` runs with a full barrier after every step, then the median, in ns, into step_ns
 * (plan->steps.n entries); *run_ns (may be NULL) gets the median of whole runs as they are submitted. Inputs must be
 * written; states advance. */
tuff_status tf_program_profile(tuff_program *p, uint32_t repeats, double *step_ns, double *run_ns);

#endif
