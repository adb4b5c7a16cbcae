/* kernel.h - an anchor: one kernel template and the function that fits it to a node and a device.
 *
 * A template (shaders/anchors/<name>.glsl) is GLSL text below a generated prelude. The prelude declares
 * bindings, prints hooks and the #defines that configure() chose:
 *   T x_at(uint c0, uint c1, ...)      load hook of an operand: one element at coordinates (operand's rank)
 *   Tn x_at4(uint c0, ..., uint cl)    the same for 4 elements cl..cl+3; cl is a multiple of 4; beyond the dim: clamped
 *   void x_at8(uint c0, ..., out Tn p, out Tn q)  8 elements from cl; cl and the operand's last dim are multiples of 8
 *   void y_put(uint c0, ..., T v)      store hook of a result; y_put4(.., v), y_put8(.., p, q) likewise; elements beyond the dim are not stored
 *   GROUP, NGROUPS                     linear workgroup id and count; whole groups with GROUP >= NGROUPS have left
 *   LID                                gl_LocalInvocationIndex;  WG: workgroup size
 * A template never returns before barrier() in part of a workgroup, never assumes a subgroup size. */
#ifndef TF_KERNEL_H
#define TF_KERNEL_H

#include "plan.h"
#include "op.h"

typedef struct tf_hook {
    const char *name;     /* "a": makes a_at / a_at4, or y_put / y_put4. NULL: end of list */
    uint8_t widths;       /* 1: scalar form, 4: vector form, 8: two vectors; added up where several are used */
    uint8_t reread;       /* reads of each element beyond the first: large values keep costly producers out */
    bool uniform;         /* loads: a table read by vectors, faster as a uniform block where that fits */
} tf_hook;

typedef struct tf_kernel_build {
    tuff_graph *g;                  /* lowered graph */
    const tf_node *node;
    const void *desc;
    const tf_type *const *src;      /* operand types, NULL absent */
    uint32_t n_src;
    const tf_type *out;             /* result types */
    uint32_t n_out;
    const tf_limits *limits;
    const bool *want;               /* result i is read */
    uint32_t text;                  /* what its hooks weigh (tf_group): heavy ones are better not unrolled much */
    const bool *plain;              /* operand i is a plain dense buffer read (no hook arithmetic) */
    /* filled by configure */
    tf_str *defines;                /* "#define ..." lines */
    const char *algorithm;
    const char *source;             /* embedded text of the template */
    uint32_t local[3];
    int64_t groups;                 /* dim */
    uint32_t shared_bytes, subgroup_size;
    uint64_t flops;                 /* at the bound */
    bool need_subgroup_arithmetic, need_subgroup_shuffle, need_subgroup_ballot;
    bool need_matrices;             /* cooperative ones; subgroup_size is set */
    tf_hook loads[16], stores[8];   /* one per operand / result; the widths used */
    bool score;                     /* print the score hook */
    int64_t score_dim[4];           /* dims that bound its b h q k */
    uint32_t join;                  /* fields of a scan's state: print the join hook; 0: do not */
    uint32_t ways, way;             /* set by tf_way */
    bool tuned;                     /* the way is what tuning found */
    uint64_t choice;
} tf_kernel_build;

struct tf_anchor {
    const char *name;
    tf_hook loads[16];              /* per operand, with the largest set of widths */
    tf_hook stores[8];
    bool in_place;                  /* result 0 is operand 0 but for the elements that the kernel stores */
    bool (*configure)(tf_kernel_build *k); /* false: error text was set with tf_fail on k->g */
    /* Score hook of attention, NULL in other anchors. When configure set k->score, the emitter prints behind the load hooks
     *   float score_hook(float r0, uint c0, uint c1, uint c2, uint c3)     score, batch, head, query position, key index
     * with the body score(v, s): s is the leaf TF_EX_RESULT 0 of dtype F32 (r0); v has x, g, node, desc, out[j] = variable
     * TF_VAR_COORD + j in [0, score_dim[j]) and operand() as in an INDEXED row, reading the anchor's operand i with all that
     * sank into it. 0: the error text was set as by a hook that fails. */
    tf_ex (*score)(tf_view_map *v, tf_ex s);
    /* Join hook of scans, NULL in other anchors. When configure set k->join = n (at most 4), the emitter prints
     *   void join_hook(T0 r0, .., T0 r<n>, .., out T0 y0, ..)   the fields of a state, of the one after it, and of both
     * with the bodies join() puts into y[0..n): expressions of the leaves TF_EX_RESULT 0 .. 2n-1 in leaf[]. */
    bool (*join)(tf_view_map *v, const tf_ex *leaf, tf_ex *y);
};

/* Do vectors travel as words of 64 bits, complex numbers among them? Drivers for CPUs pay per component, whatever its width. */
bool tf_emit_long_words(const tf_limits *limits);
/* Are eight neighbouring elements at once faster than twice four? */
bool tf_emit_octets(const tf_limits *limits);

/* Embedded text by its path under shaders/ ("anchors/matmul.glsl"), or NULL. */
const char *tf_shader_text(const char *path);
/* Append the functions of shaders/lib that `body` calls, directly or through each other, in an order that compiles
 * (shaders/library.c). #define TF_F64 above them makes the overloads for double, TF_CPU what software drivers need. */
void tf_shader_library(const char *body, tf_str *out);

/* One of n kernels that all give the right result: `best` by estimate, unless tuning found another to be faster for the node's op, dtypes,
 * sizes (about) and `flags`, whatever else of its desc makes a difference. Called once, by configure. */
uint32_t tf_way(tf_kernel_build *k, uint32_t n, uint32_t best, uint64_t flags);

/* "#define NAME 512" or, for a dynamic dim, "#define NAME <uniform>" (registered as a parameter). */
void tf_define_dim(tf_kernel_build *k, const char *name, int64_t dim);
/* A dim as a uint that is no part of the text, so that steps that differ in it alone share a kernel: for passes that repeat. */
void tf_define_live(tf_kernel_build *k, const char *name, int64_t dim);
void tf_define(tf_kernel_build *k, const char *name, const char *format, ...) TF_PRINTF(3, 4);

#endif
