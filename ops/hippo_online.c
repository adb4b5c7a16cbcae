/* hippo_online.c - HiPPO-LegS coefficients of a signal as it arrives.
 *
 * The recurrence is time-varying and serial, so a kernel takes a row of the batch per invocation and runs through it; long signals are
 * cut into segments, one dispatch each, to stay below the loop trips and the run time that drivers allow. */
#include "hippo.h"

#include <string.h>

#include "anchors.h"

typedef struct online_desc {
    int32_t n;
    int64_t every;
    tuff_tensor state, start;
} online_desc;
typedef struct anchor_desc {
    int32_t n;
    int64_t every, before;
    tuff_tensor state, start;
} anchor_desc;
extern const tf_op tf_op_anchor_hippo_online;

static bool infer(tf_infer *c)
{
    online_desc *d = c->mut;
    const tf_type *u = c->type[0], *state = c->type[1], *start = c->type[2];
    d->every = d->every ? d->every : 1;
    if (u->dtype != TUFF_F32 || u->rank < 1 || !tf_type_is_static(u))
        return tf_bad(c, TUFF_E_SHAPE, "u is f32[...,length] of fixed size (%s)", tf_src_text(c, 0));
    if (u->rank == TUFF_MAX_RANK)
        return tf_bad(c, TUFF_E_LIMIT, "the result would have rank %d; at most %d is possible", TUFF_MAX_RANK + 1, TUFF_MAX_RANK);
    c->n_out = 2;
    c->out[0] = c->out[1] = *u;
    c->out[0].dim[u->rank - 1] = u->dim[u->rank - 1] / d->every;
    c->out[0].dim[c->out[0].rank++] = d->n;
    c->out[1].dim[u->rank - 1] = d->n;
    if (state && (state->dtype != TUFF_F32 || state->rank != u->rank || memcmp(state->dim, c->out[1].dim, (size_t)u->rank * sizeof *state->dim)))
        return tf_bad(c, TUFF_E_SHAPE, "the state is %s (%s)", tf_type_text(c->g, &c->out[1]), tf_src_text(c, 1));
    if (start && (!tf_dtype_is_int(start->dtype) || start->rank != 1 || start->dim[0] != 1))
        return tf_bad(c, TUFF_E_SHAPE, "start is one integer, int[1] (%s)", tf_src_text(c, 2));
    return true;
}

/* ---- reference: rows of A, forward substitution ---- */

static void reference_step(const double *a, const double *b, uint32_t n, double k, double u, double *c, double *next)
{
    for (uint32_t i = 0; i < n; i++) {
        double sum = c[i] + b[i] / k * u;
        for (uint32_t j = 0; j <= i; j++)
            sum += a[i * n + j] / (2 * k) * c[j];
        for (uint32_t j = 0; j < i; j++)
            sum += a[i * n + j] / (2 * k) * next[j];
        next[i] = sum / (1 - a[i * n + i] / (2 * k));
    }
    memcpy(c, next, n * sizeof *c);
}

/* y takes every coefficient vector after `every` steps, last (may be NULL) the final one. */
static tuff_status run_reference(tf_ref *r, uint32_t n, uint64_t every, uint64_t before, tf_ref_tensor *y, tf_ref_tensor *last)
{
    const tf_ref_tensor *u = r->src[0], *state = r->src[1], *start = r->src[2];
    const uint64_t length = (uint64_t)u->dim[u->rank - 1];
    double *a = tf_arena_array(r->scratch, double, (size_t)n * n), *b = tf_arena_array(r->scratch, double, n), *p = tf_arena_array(r->scratch, double, n);
    double *c = tf_arena_array(r->scratch, double, n), *next = tf_arena_array(r->scratch, double, n);
    uint64_t rows = 1;
    if (!a || !b || !p || !c || !next)
        return TUFF_E_MEMORY;
    for (int32_t i = 0; i + 1 < u->rank; i++)
        rows *= (uint64_t)u->dim[i];
    tf_hippo(TUFF_HIPPO_LEGS, n, 1, a, b, p);
    for (uint64_t row = 0; row < rows; row++) {
        for (uint32_t i = 0; i < n; i++)
            c[i] = state ? state->re[row * n + i] : 0;
        for (uint64_t t = 0; t < length; t++) {
            reference_step(a, b, n, (double)(before + t + 1) + (start ? start->re[0] : 0), u->re[row * length + t], c, next);
            if ((t + 1) % every == 0)
                memcpy(y->re + (row * (length / every) + t / every) * n, c, n * sizeof *c);
        }
        if (last)
            memcpy(last->re + row * n, c, n * sizeof *c);
    }
    return TUFF_OK;
}

static tuff_status reference(tf_ref *r)
{
    const online_desc *d = r->desc;
    return run_reference(r, (uint32_t)d->n, (uint64_t)d->every, 0, &r->out[0], &r->out[1]);
}

/* ---- segments ---- */

typedef struct chain {
    tf_lower *l;
    tuff_tensor u, state, start; /* u[rows, length], state[rows, n] or none */
    int64_t rows, at;
} chain;

/* The next `steps`: coefficients [rows, steps / every, n]; the state moves on. */
static tuff_tensor segment(chain *c, int64_t steps, int64_t every)
{
    const online_desc *d = c->l->desc;
    const tuff_tensor u = tuff_slice(c->u, TUFF_INTS(c->at), TUFF_INTS(c->at + steps), &(tuff_slice_desc){ .axes = TUFF_INTS(1) });
    const anchor_desc a = { .n = d->n, .every = every, .before = c->at, .state = c->state, .start = c->start };
    const tuff_tensor y = tf_add(NULL, &tf_op_anchor_hippo_online, &u, 1, &a);
    const int64_t count = steps / every;
    const tuff_tensor last = tuff_slice(y, TUFF_INTS(count - 1), TUFF_INTS(count), &(tuff_slice_desc){ .axes = TUFF_INTS(1) });
    c->state = tuff_reshape(last, TUFF_SHAPE(c->rows, d->n));
    c->at += steps;
    return y;
}

/* Steps of the next segment: whole groups of `every` where they fit one dispatch, else parts of one group. *keep: its coefficients are results. */
static int64_t next_segment(int64_t at, int64_t length, int64_t every, int64_t most, bool *keep)
{
    const int64_t group = every - at % every;
    if (every <= most && length - at >= every) {
        *keep = true;
        return TF_MIN(most, length - at) / every * every;
    }
    const int64_t steps = TF_MIN(TF_MIN(most, group), length - at);
    *keep = steps == group;
    return steps;
}

static void lower(tf_lower *l)
{
    const online_desc *d = l->desc;
    const tf_type u = *tf_ty(l->src[0]);
    const int64_t length = u.dim[u.rank - 1], rows = tf_dim_product(l->g, u.dim, 0, u.rank - 1), trips = d->n + 4;
    const int64_t most = (TF_CPU_TRIPS - 2 * trips) * d->every / (trips * (d->every + 1)); /* each step is a loop, and so is each result */
    chain c = { .l = l, .u = tuff_reshape(l->src[0], TUFF_SHAPE(rows, length)), .state = l->src[1], .start = l->src[2], .rows = rows };
    tuff_tensor parts[60];
    uint32_t n = 0;
    if (c.state.id)
        c.state = tuff_reshape(c.state, TUFF_SHAPE(rows, d->n));
    while (c.at < length && tf_status(l->g) == TUFF_OK) {
        bool keep;
        const int64_t steps = next_segment(c.at, length, d->every, most, &keep);
        const tuff_tensor y = segment(&c, steps, keep && steps >= d->every ? d->every : steps);
        if (n == TF_COUNT(parts)) { /* a concat takes so many operands */
            parts[0] = tuff_concat(parts, n, 1);
            n = 1;
        }
        if (keep)
            parts[n++] = y;
    }
    tf_type t = u;
    t.dim[u.rank - 1] = length / d->every;
    t.dim[t.rank++] = d->n;
    const tuff_tensor zero = tuff_literal(l->g, 0, TUFF_F32);
    if (n == 0)
        parts[n++] = tuff_expand(zero, TUFF_SHAPE(rows, 0, d->n));
    l->out[0] = tf_reshaped(n > 1 ? tuff_concat(parts, n, 1) : parts[0], t.rank, t.dim);
    t = u;
    t.dim[u.rank - 1] = d->n;
    l->out[1] = tf_reshaped(c.state.id ? c.state : tuff_expand(zero, TUFF_SHAPE(rows, d->n)), t.rank, t.dim);
}

#define START_ATTRS(DESC) \
    TF_A(DESC, state, TF_ATTR_TENSOR, "f32[...,n]: the coefficients before u; absent: 0"), \
    TF_A(DESC, start, TF_ATTR_TENSOR, "int[1]: how many steps went before u; absent: 0")

static const tf_attr attrs[] = {
    TF_A(online_desc, n, TF_ATTR_INT, "coefficients", .required = true, .min = 1, .max = 1024),
    TF_A(online_desc, every, TF_ATTR_I64, "keep the coefficients after every so many steps; 0: 1", .min = 0, .max = INT32_MAX),
    START_ATTRS(online_desc),
};
const tf_op tf_op_hippo_online = {
    .name = "hippo_online", .doc = "HiPPO-LegS coefficients of a signal as it arrives: u[...,length] -> c[...,length/every,n], state[...,n]",
    .source = "Gu et al. 2020, arXiv:2008.07669", .operands = "u", .results = "c state", .kind = TF_COMPOSITE, .attrs = attrs,
    .attr_count = TF_COUNT(attrs), .desc_size = sizeof(online_desc), .infer = infer, .lower = lower, .reference = reference, .rel = 64,
};
tuff_tensor tuff_hippo_online(tuff_tensor u, int32_t n, const tuff_hippo_online_desc *desc)
{
    const tuff_hippo_online_desc none = { 0 }, *d = desc ? desc : &none;
    return tf_add(NULL, &tf_op_hippo_online, &u, 1, &(online_desc){ n, d->every, d->state, d->start });
}

/* ---- the anchor ---- */

static bool anchor_infer(tf_infer *c)
{
    const anchor_desc *d = c->desc;
    const tf_type *u = c->type[0];
    if (u->rank != 2 || d->every < 1 || u->dim[1] % d->every)
        return tf_bad(c, TUFF_E_SHAPE, "u is [rows, a multiple of every] (%s)", tf_src_text(c, 0));
    c->out[0] = (tf_type){ TUFF_F32, 3, { u->dim[0], u->dim[1] / d->every, d->n } };
    return true;
}

static tuff_status anchor_reference(tf_ref *r)
{
    const anchor_desc *d = r->desc;
    return run_reference(r, (uint32_t)d->n, (uint64_t)d->every, (uint64_t)d->before, &r->out[0], NULL);
}

static bool configure(tf_kernel_build *k)
{
    const anchor_desc *d = k->desc;
    const uint32_t wg = k->limits->cpu ? 8 : 32;
    tf_define(k, "N", "%d", (int)d->n);
    tf_define(k, "EVERY", "%lldu", (long long)d->every);
    tf_define(k, "BEFORE", "%lldu", (long long)d->before);
    tf_define(k, "STATE", "%d", k->src[1] != NULL);
    tf_define(k, "START", "%d", k->src[2] != NULL);
    tf_define(k, "WGSIZE", "%u", wg);
    tf_define_dim(k, "ROWS", k->src[0]->dim[0]);
    tf_define_dim(k, "STEPS", k->src[0]->dim[1]);
    k->source = tf_shader_text("anchors/hippo_online.glsl");
    k->algorithm = "row per invocation";
    k->local[0] = wg;
    k->local[1] = k->local[2] = 1;
    k->groups = tf_dim_ceildiv(k->g, k->src[0]->dim[0], wg);
    k->flops = 12 * (uint64_t)d->n * (uint64_t)tf_dim_bound(k->g, tf_dim_product(k->g, k->src[0]->dim, 0, 2));
    k->loads[0] = (tf_hook){ .name = "u", .widths = 1 };
    k->loads[1] = (tf_hook){ .name = "state", .widths = 1 };
    k->loads[2] = (tf_hook){ .name = "start", .widths = 1 };
    k->stores[0] = (tf_hook){ .name = "y", .widths = 1 };
    return true;
}

static const tf_anchor anchor = {
    .name = "hippo_online", .loads = { { .name = "u", .widths = 1 }, { .name = "state", .widths = 1 }, { .name = "start", .widths = 1 } },
    .stores = { { .name = "y", .widths = 1 } }, .configure = configure,
};
static const tf_attr anchor_attrs[] = {
    TF_A(anchor_desc, n, TF_ATTR_INT, "coefficients"),
    TF_A(anchor_desc, every, TF_ATTR_I64, "steps between results"),
    TF_A(anchor_desc, before, TF_ATTR_I64, "steps that went before"),
    START_ATTRS(anchor_desc),
};
const tf_op tf_op_anchor_hippo_online = {
    .name = "_hippo_online", .doc = "u[rows,steps] -> y[rows,steps/every,n]: see hippo_online", .operands = "u", .kind = TF_ANCHOR, .internal = true,
    .attrs = anchor_attrs, .attr_count = TF_COUNT(anchor_attrs), .desc_size = sizeof(anchor_desc), .infer = anchor_infer,
    .reference = anchor_reference, .anchor = &anchor, .rel = 64,
};
