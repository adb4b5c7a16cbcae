/* bindings.c - descriptor slots of a kernel's operands under the device's limits.
 *
 * Normally every operand has a slot with its exact range, of the kind that its kernel wishes where that holds it. Where
 * a device allows fewer, in this order: small read-only operands become uniform buffers; the smallest arena operands share one slot and are told apart by an
 * element base in the parameters; operands outside the arena are copied into it so that they can share too.
 * tf_share_bindings decides from sizes alone, before anything has an address, so that kernel text can be printed
 * first; tf_place keeps what shares a slot in one chunk; tf_assign_bindings then only reads off the ranges. */
#include "plan.h"

#include <string.h>

enum { OPERANDS_MAX = 128 };

/* A uniform block is declared uvec4[]: whole words, and 16-byte rows that the buffer must really have. Arena
 * buffers are padded; a buffer of the caller's may end with its last element. */
static bool can_be_uniform(const tf_operand *o, const tf_limits *limits)
{
    return !o->write && o->bytes > 0 && o->bits % 32 == 0 && o->bytes <= limits->uniform_range
        && (o->arena || o->bytes % 16 == 0);
}

static bool can_be_texel(const tf_operand *o, const tf_limits *limits)
{
    return !o->write && o->bytes > 0 && o->bytes % 16 == 0 && o->bytes <= limits->texel_range;
}

static bool can_share(const tf_operand *o)
{
    return o->arena || o->bytes == 0; /* zero elements: any address does */
}

static bool free_to_change(const tf_slot *s)
{
    return !s->uniform && !s->texel && !s->shared;
}

/* Index of the smallest unchanged operand that passes, or n. */
static uint32_t smallest(const tf_operand *o, uint32_t n, const tf_slot *s, const tf_limits *limits, bool uniform)
{
    uint32_t best = n;
    for (uint32_t i = 0; i < n; i++)
        if (free_to_change(&s[i]) && (uniform ? can_be_uniform(&o[i], limits) : can_share(&o[i]))
            && (best == n || o[i].bytes < o[best].bytes))
            best = i;
    return best;
}

static tf_slots number_slots(uint32_t n, tf_slot *out)
{
    tf_slots r = { 0 };
    uint32_t shared = UINT32_MAX;
    for (uint32_t i = 0; i < n; i++) {
        if (out[i].shared && shared != UINT32_MAX) {
            out[i].slot = shared;
            continue;
        }
        out[i].slot = r.n++;
        r.storage += !out[i].uniform && !out[i].texel;
        if (out[i].shared)
            shared = out[i].slot;
    }
    return r;
}

tf_slots tf_share_bindings(const tf_operand *operands, uint32_t n, const tf_limits *limits, tf_slot *out)
{
    const uint32_t limit = limits->storage_bindings;
    uint32_t storage = n, outside = 0;
    for (uint32_t i = 0; i < n; i++)
        out[i] = (tf_slot){ 0 };
    uint32_t u = 1, texels = 0; /* one is taken by the parameters */
    for (uint32_t i = 0; i < n; i++)
        if (operands[i].prefer_texel && texels < limits->texel_bindings && can_be_texel(&operands[i], limits)) {
            out[i].texel = true;
            storage--;
            texels++;
        }
    for (uint32_t i = 0; i < n; i++)
        if (operands[i].prefer_uniform && !out[i].texel && u < limits->uniform_bindings && can_be_uniform(&operands[i], limits)) {
            out[i].uniform = true;
            storage--;
            u++;
        }
    for (; storage > limit && u < limits->uniform_bindings; u++) {
        const uint32_t i = smallest(operands, n, out, limits, true);
        if (i == n)
            break;
        out[i].uniform = true;
        storage--;
    }
    if (storage > limit) {
        const uint32_t wanted = storage - limit + 1; /* k operands in one slot save k - 1 */
        for (uint32_t k = 0; k < wanted; k++) {
            const uint32_t i = smallest(operands, n, out, limits, false);
            if (i == n)
                break;
            out[i].shared = true;
        }
    }
    tf_slots r = number_slots(n, out);
    if (r.storage > limit) {
        for (uint32_t i = 0; i < n; i++)
            outside += free_to_change(&out[i]);
        r.copies = TF_MIN(outside, outside + 1 - TF_MIN(limit, outside + 1));
    }
    return r;
}

/* ---- steps -------------------------------------------------------------------------------------- */

static bool is_dispatch(const tf_step *s)
{
    return s->kind == TF_STEP_DISPATCH || s->kind == TF_STEP_DISPATCH_INDIRECT;
}

/* Slots of a step's args; twins have that of the first. */
static tf_slots share(const tf_plan *plan, const tf_step *s, tf_slot *slots)
{
    tf_operand o[OPERANDS_MAX] = { { 0 } };
    tf_slot own[OPERANDS_MAX];
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->n_args; i++) {
        const tf_arg *a = &plan->args.data[s->arg + i];
        const tf_buffer *b = &plan->buffers.data[a->buffer];
        if (!a->twin && !a->grid)
            o[n++] = (tf_operand){ .arena = b->kind == TF_BUF_ARENA, .write = a->write, .bytes = b->bytes,
                                   .bits = tf_dtype_bits(b->type.dtype), .prefer_uniform = a->prefer_uniform, .prefer_texel = a->prefer_texel };
    }
    const tf_slots r = tf_share_bindings(o, n, &plan->limits, own);
    n = 0;
    for (uint32_t i = 0; i < s->n_args; i++) {
        const uint32_t twin = plan->args.data[s->arg + i].twin;
        if (plan->args.data[s->arg + i].grid)
            slots[i] = (tf_slot){ 0 };
        else
            slots[i] = twin ? slots[twin - 1] : own[n++];
    }
    return r;
}

static const char *step_name(const tf_step *s)
{
    return s->label ? s->label : "?";
}

static const char *or_memory(const char *text)
{
    return text ? text : "out of host memory";
}

const char *tf_share_step(tf_plan *plan, uint32_t step)
{
    tf_step *s = &plan->steps.data[step];
    tf_slot slots[OPERANDS_MAX];
    if (!is_dispatch(s))
        return NULL;
    if (s->n_args > OPERANDS_MAX)
        return or_memory(tf_arena_printf(&plan->arena, "kernel '%s' has %u operands; a kernel can have %d",
                                              step_name(s), s->n_args, OPERANDS_MAX));
    const tf_slots r = share(plan, s, slots);
    if (r.storage > plan->limits.storage_bindings)
        return or_memory(tf_arena_printf(&plan->arena, "kernel '%s' needs %u storage bindings; the device allows %u",
                                              step_name(s), r.storage, plan->limits.storage_bindings));
    for (uint32_t i = 0; i < s->n_args; i++) {
        tf_arg *a = &plan->args.data[s->arg + i];
        a->binding = slots[i].slot;
        a->uniform = slots[i].uniform;
        a->texel = slots[i].texel;
        a->shared = slots[i].shared;
    }
    s->n_bindings = r.n;
    return NULL;
}

/* ---- copies into the arena ---------------------------------------------------------------------- */

typedef struct copier {
    tf_plan *plan;
    TF_ARRAY(tf_step) steps;   /* the new list */
    uint32_t *copy;            /* per buffer: an arena buffer with equal contents, or NONE */
    bool *written;             /* per buffer: some earlier step wrote it */
    uint32_t n_buffers;        /* those of the caller; the rest are ours */
} copier;
#define NONE UINT32_MAX

static bool add_copy(copier *c, uint32_t from, uint32_t to, const tf_step *near)
{
    tf_plan *plan = c->plan;
    const uint32_t first = plan->args.n;
    tf_arg *a = tf_push(&plan->arena, &plan->args);
    if (a)
        *a = (tf_arg){ .buffer = from, .read = true };
    tf_arg *b = tf_push(&plan->arena, &plan->args);
    if (b)
        *b = (tf_arg){ .buffer = to, .write = true };
    tf_step *s = tf_push(&plan->arena, &c->steps);
    if (!a || !b || !s)
        return false;
    *s = (tf_step){ .kind = TF_STEP_COPY, .arg = first, .n_args = 2, .region = near->region, .phase = near->phase,
                    .bytes = 2 * plan->buffers.data[from].bytes, .label = "copied: bindings" };
    return true;
}

static uint32_t new_arena_buffer(copier *c, uint32_t like)
{
    tf_plan *plan = c->plan;
    tf_buffer *b = tf_push(&plan->arena, &plan->buffers);
    if (!b)
        return NONE;
    const tf_buffer *l = &plan->buffers.data[like];
    *b = (tf_buffer){ .kind = TF_BUF_ARENA, .type = l->type, .bytes = l->bytes };
    return plan->buffers.n - 1;
}

/* The next operand to copy: read-only before written, small before large. */
static uint32_t pick_outside(const tf_plan *plan, const tf_step *s, const tf_slot *slots)
{
    uint32_t best = NONE;
    uint64_t best_bytes = 0;
    bool best_write = false;
    for (uint32_t i = 0; i < s->n_args; i++) {
        const tf_arg *a = &plan->args.data[s->arg + i];
        const tf_buffer *b = &plan->buffers.data[a->buffer];
        if (b->kind == TF_BUF_ARENA || b->bytes == 0 || a->twin || a->grid || !free_to_change(&slots[i]))
            continue;
        if (best == NONE || a->write < best_write || (a->write == best_write && b->bytes < best_bytes)) {
            best = i;
            best_bytes = b->bytes;
            best_write = a->write;
        }
    }
    return best;
}

/* Redirect operand `i` of the step to an arena copy; *back is set when the copy must be written back after it. */
static bool copy_operand(copier *c, const tf_step *s, uint32_t i, bool *back)
{
    tf_plan *plan = c->plan;
    const uint32_t from = plan->args.data[s->arg + i].buffer;
    const bool write = plan->args.data[s->arg + i].write, read = plan->args.data[s->arg + i].read;
    uint32_t to = write ? NONE : c->copy[from];
    if (to == NONE) {
        to = new_arena_buffer(c, from);
        /* A kernel may write part of a buffer: what was there before has to be in the copy too. */
        const bool fill = read || c->written[from] || plan->buffers.data[from].kind == TF_BUF_STATE;
        if (to == NONE || (fill && !add_copy(c, from, to, s)))
            return false;
        c->copy[from] = to;
    }
    /* One buffer may be several operands of a kernel. */
    for (uint32_t j = 0; j < s->n_args; j++) {
        tf_arg *a = &plan->args.data[s->arg + j];
        if (a->buffer == from) {
            a->buffer = to;
            *back = *back || a->write;
        }
    }
    return true;
}

static bool copy_step(copier *c, const tf_step *s)
{
    tf_plan *plan = c->plan;
    tf_slot slots[OPERANDS_MAX];
    struct { uint32_t from, to; } back[OPERANDS_MAX];
    uint32_t n_back = 0;
    while (is_dispatch(s) && s->n_args <= OPERANDS_MAX) {
        const tf_slots r = share(plan, s, slots);
        const uint32_t i = r.storage > plan->limits.storage_bindings ? pick_outside(plan, s, slots) : NONE;
        if (i == NONE)
            break;
        const uint32_t from = plan->args.data[s->arg + i].buffer;
        bool writes = false;
        if (!copy_operand(c, s, i, &writes))
            return false;
        if (writes) {
            back[n_back].from = plan->args.data[s->arg + i].buffer;
            back[n_back++].to = from;
        }
    }
    tf_step *kept = tf_push(&plan->arena, &c->steps);
    if (!kept)
        return false;
    *kept = *s;
    for (uint32_t i = 0; i < s->n_args; i++) {
        const tf_arg *a = &plan->args.data[s->arg + i];
        if (a->write && a->buffer < c->n_buffers) {
            c->copy[a->buffer] = NONE;
            c->written[a->buffer] = true;
        }
    }
    for (uint32_t i = 0; i < n_back; i++) {
        if (!add_copy(c, back[i].from, back[i].to, kept))
            return false;
        c->written[back[i].to] = true;
    }
    return true;
}

bool tf_copy_in_externals(tf_plan *plan)
{
    copier c = { .plan = plan, .n_buffers = plan->buffers.n };
    tf_arena scratch;
    tf_arena_init(&scratch, &plan->arena.allocator);
    c.copy = tf_arena_array(&scratch, uint32_t, c.n_buffers);
    c.written = tf_arena_array(&scratch, bool, c.n_buffers);
    bool ok = c.copy && c.written;
    if (ok)
        memset(c.copy, 0xff, c.n_buffers * sizeof *c.copy);
    for (uint32_t i = 0; ok && i < plan->steps.n; i++) {
        const tf_step s = plan->steps.data[i];
        ok = copy_step(&c, &s);
    }
    if (ok && c.steps.n != plan->steps.n) {
        plan->steps.data = c.steps.data;
        plan->steps.n = c.steps.n;
        plan->steps.cap = c.steps.cap;
    }
    tf_arena_release(&scratch);
    return ok;
}

/* ---- ranges ------------------------------------------------------------------------------------- */

/* What the kernel may touch: whole words of a storage buffer, whole rows of 16 bytes of others. */
static uint64_t bound_bytes(const tf_buffer *b, bool rows)
{
    return tf_align_up(b->bytes, rows ? 16 : 4);
}

static void widen(tf_binding *r, const tf_buffer *b, const tf_arg *a, uint32_t buffer)
{
    const uint64_t bytes = bound_bytes(b, a->uniform || a->texel), end = b->offset + bytes;
    if (bytes == 0)
        return;
    if (r->range == 0) {
        *r = (tf_binding){ .uniform = a->uniform, .texel = a->texel, .kind = b->kind, .buffer = buffer, .offset = b->offset, .range = bytes };
        return;
    }
    const uint64_t old_end = r->offset + r->range;
    r->offset = TF_MIN(r->offset, b->offset);
    r->range = TF_MAX(old_end, end) - r->offset;
}

uint64_t tf_binding_limit(const tf_limits *l, const tf_binding *r)
{
    return r->uniform ? l->uniform_range : r->texel ? l->texel_range : l->storage_range;
}

const char *tf_binding_word(const tf_binding *r)
{
    return r->uniform ? "uniform" : r->texel ? "texel" : "storage";
}

static const char *too_large(tf_plan *plan, const tf_step *s, const tf_binding *r)
{
    const uint64_t limit = tf_binding_limit(&plan->limits, r);
    const char *name = plan->buffers.data[r->buffer].name;
    return or_memory(tf_arena_printf(&plan->arena,
        "kernel '%s' binds %llu bytes (%s); the device's largest %s binding is %llu bytes", step_name(s),
        (unsigned long long)r->range, name ? name : "an intermediate result", tf_binding_word(r),
        (unsigned long long)limit));
}

static const char *set_base(tf_plan *plan, const tf_step *s, tf_arg *a)
{
    const tf_buffer *b = &plan->buffers.data[a->buffer];
    const tf_binding *r = &plan->bindings.data[s->binding + a->binding];
    const uint32_t bits = tf_dtype_bits(b->type.dtype);
    a->base = a->shared && b->bytes ? b->offset - r->offset : 0;
    if (bits == 0 || a->base * 8 / bits <= UINT32_MAX)
        return NULL;
    return or_memory(tf_arena_printf(&plan->arena,
        "kernel '%s' reads an operand %llu elements into a shared binding; 32-bit indices reach %u", step_name(s),
        (unsigned long long)(a->base * 8 / bits), UINT32_MAX));
}

const char *tf_assign_bindings(tf_plan *plan, uint32_t step)
{
    tf_step *s = &plan->steps.data[step];
    if (!is_dispatch(s))
        return NULL;
    const char *wrong = tf_share_step(plan, step);
    if (wrong)
        return wrong;
    s->binding = plan->bindings.n;
    for (uint32_t i = 0; i < s->n_bindings; i++) {
        const tf_binding *fresh = tf_push(&plan->arena, &plan->bindings);
        if (!fresh)
            return or_memory(NULL);
    }
    for (uint32_t i = 0; i < s->n_args; i++) {
        const tf_arg *a = &plan->args.data[s->arg + i];
        if (a->grid)
            continue;
        tf_binding *r = &plan->bindings.data[s->binding + a->binding];
        if (r->range == 0) {
            r->uniform = a->uniform;
            r->texel = a->texel;
            r->kind = plan->buffers.data[a->buffer].kind;
            r->buffer = a->buffer;
        } else if (plan->buffers.data[r->buffer].chunk != plan->buffers.data[a->buffer].chunk && a->shared
                   && plan->buffers.data[a->buffer].bytes) {
            return or_memory(tf_arena_printf(&plan->arena,
                "kernel '%s' shares a binding between chunks %u and %u of the arena; a binding lies in one", step_name(s),
                plan->buffers.data[r->buffer].chunk, plan->buffers.data[a->buffer].chunk));
        }
        widen(r, &plan->buffers.data[a->buffer], a, a->buffer);
    }
    for (uint32_t i = 0; i < s->n_bindings; i++) {
        const tf_binding *r = &plan->bindings.data[s->binding + i];
        if (r->range > tf_binding_limit(&plan->limits, r))
            return too_large(plan, s, r);
    }
    for (uint32_t i = 0; i < s->n_args && !wrong; i++)
        wrong = plan->args.data[s->arg + i].grid ? NULL : set_base(plan, s, &plan->args.data[s->arg + i]);
    return wrong;
}
