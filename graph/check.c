/* check.c - the hazard checker: proves of a finished plan what no CPU driver would show.
 *
 * Every index is in range; no step of a wave writes bytes that another one of it touches; every read of the arena
 * or of an output finds the bytes that the same buffer's writer left; buffers live together do not overlap; every
 * descriptor is aligned, within the device's limits, and covers its operands. The first fault found is the answer:
 * a sentence with the steps' names and the numbers. Nothing here trusts the passes that made the plan. */
#include "plan.h"

#include <stdlib.h>

typedef unsigned long long ull;

typedef struct access {
    uint64_t place;          /* chunk, or CHUNKS + buffer */
    uint64_t first, end;     /* bytes */
    uint32_t step, buffer;
    bool write;
} access;
#define CHUNKS (UINT64_C(1) << 32)

typedef struct checker {
    const tf_plan *plan;
    tf_str *message;
    tf_arena arena;
} checker;

static bool fault(checker *c, const char *format, ...) TF_PRINTF(2, 3);
static bool fault(checker *c, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    tf_str_vprintf(c->message, format, args);
    va_end(args);
    return false;
}

static const char *name_of(const checker *c, uint32_t step)
{
    const char *label = c->plan->steps.data[step].label;
    return label ? label : "?";
}

static bool is_dispatch(const tf_step *s)
{
    return s->kind == TF_STEP_DISPATCH || s->kind == TF_STEP_DISPATCH_INDIRECT;
}

/* Arena buffers have a last wave before their first when no step uses them. */
static bool is_placed(const tf_buffer *b)
{
    return b->kind == TF_BUF_ARENA && b->bytes > 0 && b->first_wave <= b->last_wave;
}

static uint64_t place_of(const tf_plan *p, uint32_t buffer)
{
    const tf_buffer *b = &p->buffers.data[buffer];
    return b->kind == TF_BUF_ARENA ? b->chunk : CHUNKS + buffer;
}

static bool inside(uint32_t first, uint32_t n, uint32_t limit)
{
    return first <= limit && n <= limit - first;
}

/* ---- indices ------------------------------------------------------------------------------------ */

static bool dim_ok(const tf_plan *p, int64_t d)
{
    return tf_dim_is_dynamic(d) ? d >= TF_DIM_BASE && tf_dim_index(d) < p->dims.n : d >= 0;
}

static bool check_param(checker *c, uint32_t i, const tf_param *m)
{
    const tf_plan *p = c->plan;
    switch (m->kind) {
    case TF_PARAM_DIM:
        return dim_ok(p, m->a) || fault(c, "step %u '%s': a parameter names dim %lld, which is not in the plan", i, name_of(c, i), (long long)m->a);
    case TF_PARAM_SCALAR:
        return (m->a >= 0 && m->a < (int64_t)p->ports.n && p->ports.data[m->a].kind == TF_PORT_SCALAR)
            || fault(c, "step %u '%s': a parameter names port %lld, which is no scalar", i, name_of(c, i), (long long)m->a);
    case TF_PARAM_CANCEL:
        return true;
    case TF_PARAM_ITERATION:
        return (m->a >= 0 && m->a < TF_MAX_LOOP_DEPTH) || fault(c, "step %u '%s': a parameter names a loop of depth %lld", i, name_of(c, i), (long long)m->a + 1);
    case TF_PARAM_BASE:
        return (m->a >= 0 && m->a < (int64_t)p->steps.data[i].n_args)
            || fault(c, "step %u '%s': a parameter names argument %lld of %u", i, name_of(c, i), (long long)m->a, p->steps.data[i].n_args);
    }
    return fault(c, "step %u '%s': a parameter has the unknown kind %d", i, name_of(c, i), (int)m->kind);
}

static bool check_transfer(checker *c, uint32_t i)
{
    const tf_plan *p = c->plan;
    const tf_step *s = &p->steps.data[i];
    const uint32_t wanted = s->kind == TF_STEP_COPY ? 2 : 1;
    if (s->n_args != wanted)
        return fault(c, "step %u '%s': a %s has %u arguments; it needs %u", i, name_of(c, i),
                     wanted == 2 ? "copy" : "fill", s->n_args, wanted);
    if (s->n_params || s->n_bindings)
        return fault(c, "step %u '%s': a copy or fill has %u parameters and %u bindings; it needs none", i, name_of(c, i), s->n_params, s->n_bindings);
    const tf_arg *a = &p->args.data[s->arg];
    if (!a[wanted - 1].write || (wanted == 2 && (!a[0].read || a[0].write)))
        return fault(c, "step %u '%s': arguments of a copy or fill are not marked read and written", i, name_of(c, i));
    if (wanted == 2 && p->buffers.data[a[0].buffer].bytes != p->buffers.data[a[1].buffer].bytes)
        return fault(c, "step %u '%s' copies %llu bytes to a buffer of %llu", i, name_of(c, i),
                     (ull)p->buffers.data[a[0].buffer].bytes, (ull)p->buffers.data[a[1].buffer].bytes);
    return true;
}

static bool check_kernel(checker *c, uint32_t i)
{
    const tf_plan *p = c->plan;
    const tf_step *s = &p->steps.data[i];
    const tf_limits *l = &p->limits;
    if (s->kernel >= p->kernels.n)
        return fault(c, "step %u '%s' runs kernel %u of %u", i, name_of(c, i), s->kernel, p->kernels.n);
    const tf_kernel *k = &p->kernels.data[s->kernel];
    const uint64_t size = (uint64_t)k->local[0] * k->local[1] * k->local[2];
    for (int d = 0; d < 3; d++)
        if (k->local[d] == 0 || k->local[d] > l->max_local[d])
            return fault(c, "kernel '%s': workgroup dim %d is %u; the device allows 1 to %u", name_of(c, i), d, k->local[d], l->max_local[d]);
    if (size > l->max_invocations)
        return fault(c, "kernel '%s' has %llu invocations a workgroup; the device allows %u", name_of(c, i), (ull)size, l->max_invocations);
    if (k->shared_bytes > l->shared_bytes)
        return fault(c, "kernel '%s' takes %u bytes of shared memory; the device has %u", name_of(c, i), k->shared_bytes, l->shared_bytes);
    if (k->n_bindings != s->n_bindings)
        return fault(c, "step %u '%s' has %u bindings; its kernel declares %u", i, name_of(c, i), s->n_bindings, k->n_bindings);
    if (s->kind == TF_STEP_DISPATCH_INDIRECT && (!s->n_args || !p->args.data[s->arg + s->n_args - 1].grid))
        return fault(c, "step %u '%s' is indirect; its last argument is not its grid", i, name_of(c, i));
    if (k->n_params != s->n_params)
        return fault(c, "step %u '%s' has %u parameters; its kernel declares %u", i, name_of(c, i), s->n_params, k->n_params);
    if (!dim_ok(p, s->groups))
        return fault(c, "step %u '%s': its number of workgroups is not a dim of the plan", i, name_of(c, i));
    uint32_t grid[3];
    const uint64_t groups = (uint64_t)TF_MAX(tf_plan_dim(p, s->groups, NULL), (int64_t)0);
    return tf_fold_grid(l, groups, grid)
        || fault(c, "kernel '%s' needs %llu workgroups; the device allows %u x %u x %u", name_of(c, i), (ull)groups,
                 l->max_groups[0], l->max_groups[1], l->max_groups[2]);
}

static bool check_indices(checker *c)
{
    const tf_plan *p = c->plan;
    uint32_t wave = 0;
    for (uint32_t i = 0; i < p->steps.n; i++) {
        const tf_step *s = &p->steps.data[i];
        if (!inside(s->arg, s->n_args, p->args.n) || !inside(s->param, s->n_params, p->params.n)
            || !inside(s->binding, s->n_bindings, p->bindings.n))
            return fault(c, "step %u '%s': its arguments, parameters or bindings lie outside the plan's arrays", i, name_of(c, i));
        if (s->wave < wave || s->wave >= p->waves)
            return fault(c, "step %u '%s' is of wave %u after wave %u of %u", i, name_of(c, i), s->wave, wave, p->waves);
        if (s->wave == wave && i > 0 && p->steps.data[i - 1].wave == wave && p->steps.data[i - 1].region != s->region)
            return fault(c, "steps '%s' and '%s' of wave %u belong to regions %u and %u", name_of(c, i - 1), name_of(c, i), wave,
                         p->steps.data[i - 1].region, s->region);
        wave = s->wave;
        for (uint32_t j = 0; j < s->n_args; j++)
            if (p->args.data[s->arg + j].buffer >= p->buffers.n)
                return fault(c, "step %u '%s': argument %u names buffer %u of %u", i, name_of(c, i), j,
                             p->args.data[s->arg + j].buffer, p->buffers.n);
        for (uint32_t j = 0; j < s->n_params; j++)
            if (!check_param(c, i, &p->params.data[s->param + j]))
                return false;
        if (!(is_dispatch(s) ? check_kernel(c, i) : check_transfer(c, i)))
            return false;
    }
    for (uint32_t i = 0; i < p->ports.n; i++)
        if (p->ports.data[i].kind != TF_PORT_SCALAR && p->ports.data[i].buffer >= p->buffers.n)
            return fault(c, "port '%s' names buffer %u of %u", p->ports.data[i].name ? p->ports.data[i].name : "?",
                         p->ports.data[i].buffer, p->buffers.n);
    return true;
}

/* ---- memory ------------------------------------------------------------------------------------- */

static int compare_access(const void *a, const void *b)
{
    const access *x = a, *y = b;
    if (x->place != y->place)
        return x->place < y->place ? -1 : 1;
    if (x->first != y->first)
        return x->first < y->first ? -1 : 1;
    return x->step < y->step ? -1 : x->step > y->step;
}

static bool check_places(checker *c)
{
    const tf_plan *p = c->plan;
    uint64_t total = 0;
    for (uint32_t k = 0; k < p->chunks.n; k++) {
        total += p->chunks.data[k];
        if (p->chunks.data[k] > p->limits.max_buffer)
            return fault(c, "chunk %u of the arena has %llu bytes; the device's largest buffer is %llu", k,
                         (ull)p->chunks.data[k], (ull)p->limits.max_buffer);
    }
    if (total != p->arena_bytes)
        return fault(c, "the arena's chunks sum to %llu bytes; the plan says %llu", (ull)total, (ull)p->arena_bytes);
    for (uint32_t b = 0; b < p->buffers.n; b++) {
        const tf_buffer *x = &p->buffers.data[b];
        if (x->kind != TF_BUF_ARENA && x->bytes > p->limits.max_buffer)
            return fault(c, "'%s' takes %llu bytes; the device's largest buffer is %llu", x->name ? x->name : "a constant",
                         (ull)x->bytes, (ull)p->limits.max_buffer);
        if (!is_placed(x))
            continue;
        if (x->chunk >= p->chunks.n)
            return fault(c, "arena buffer %u lies in chunk %u of %u", b, x->chunk, p->chunks.n);
        const uint64_t size = tf_arena_bytes(&p->limits, x->bytes), chunk = p->chunks.data[x->chunk];
        if (x->offset > chunk || size > chunk - x->offset)
            return fault(c, "arena buffer %u ends at byte %llu of a chunk of %llu", b, (ull)(x->offset + size), (ull)chunk);
        if (x->offset % TF_MAX(p->limits.storage_align, 1u) || x->offset % 16)
            return fault(c, "arena buffer %u starts at byte %llu, not a multiple of %u", b, (ull)x->offset,
                         TF_MAX(p->limits.storage_align, 16u));
        if (x->last_wave >= p->waves)
            return fault(c, "arena buffer %u lives until wave %u of %u", b, x->last_wave, p->waves);
    }
    return true;
}

static bool check_overlap(checker *c)
{
    const tf_plan *p = c->plan;
    access *a = tf_arena_array(&c->arena, access, p->buffers.n);
    uint32_t n = 0;
    if (!a)
        return fault(c, "out of host memory");
    for (uint32_t b = 0; b < p->buffers.n; b++) {
        const tf_buffer *x = &p->buffers.data[b];
        if (is_placed(x))
            a[n++] = (access){ .place = x->chunk, .first = x->offset, .end = x->offset + x->bytes, .buffer = b };
    }
    qsort(a, n, sizeof *a, compare_access);
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = i + 1; j < n && a[j].place == a[i].place && a[j].first < a[i].end; j++) {
            const tf_buffer *x = &p->buffers.data[a[i].buffer], *y = &p->buffers.data[a[j].buffer];
            if (x->first_wave <= y->last_wave && y->first_wave <= x->last_wave)
                return fault(c, "arena buffers %u and %u overlap at byte %llu of chunk %u and both live in wave %u",
                             a[i].buffer, a[j].buffer, (ull)a[j].first, x->chunk, TF_MAX(x->first_wave, y->first_wave));
        }
    return true;
}

/* ---- loops -------------------------------------------------------------------------------------- */

/* What the second iteration finds: a buffer that a loop reads before it writes it, or that is used outside too, must hold
 * its bytes in all waves of the loop. That nothing else takes them there follows from check_overlap. */
static bool check_loop(checker *c, uint32_t region, uint8_t *seen)
{
    const tf_plan *p = c->plan;
    const tf_plan_region *r = &p->regions.data[region - 1];
    if (r->parent >= region || r->depth < 1 || r->depth > TF_MAX_LOOP_DEPTH || r->count < 0 || r->first > r->end || r->end > p->steps.n)
        return fault(c, "loop %u has steps %u to %u, parent %u and depth %u", region, r->first, r->end, r->parent, r->depth);
    for (uint32_t b = 0; b < p->buffers.n; b++)
        seen[b] = 0;
    for (uint32_t i = 0; i < p->steps.n; i++) {
        const bool in = i >= r->first && i < r->end;
        if (in != tf_plan_within(p, p->steps.data[i].region, region))
            return fault(c, "step %u '%s' lies on the wrong side of loop %u", i, name_of(c, i), region);
        if (i > 0 && i < p->steps.n && (i == r->first || i == r->end) && r->first < r->end && p->steps.data[i].wave == p->steps.data[i - 1].wave)
            return fault(c, "wave %u reaches across an end of loop %u", p->steps.data[i].wave, region);
        for (uint32_t j = 0; j < p->steps.data[i].n_args; j++) {
            const tf_arg *a = &p->args.data[p->steps.data[i].arg + j];
            seen[a->buffer] |= !in ? 4 : seen[a->buffer] & 3 ? 0 : a->read ? 2 : 1;
        }
    }
    for (uint32_t b = 0; r->first < r->end && b < p->buffers.n; b++) {
        const tf_buffer *x = &p->buffers.data[b];
        if (is_placed(x) && ((seen[b] & 2) || (seen[b] & 5) == 5) &&
            (x->first_wave > p->steps.data[r->first].wave || x->last_wave < p->steps.data[r->end - 1].wave))
            return fault(c, "arena buffer %u is kept from one iteration of loop %u to the next but lives in waves %u to %u only", b, region,
                         x->first_wave, x->last_wave);
    }
    return true;
}

static bool check_loops(checker *c)
{
    uint8_t *seen = tf_arena_array(&c->arena, uint8_t, c->plan->buffers.n);
    if (!seen)
        return fault(c, "out of host memory");
    for (uint32_t r = 1; r <= c->plan->regions.n; r++)
        if (!check_loop(c, r, seen))
            return false;
    return true;
}

/* ---- hazards ------------------------------------------------------------------------------------ */

/* Accesses of steps [first, end), sorted by place; *n of them. */
static bool check_wave(checker *c, uint32_t first, uint32_t end, access *a)
{
    const tf_plan *p = c->plan;
    uint32_t n = 0;
    for (uint32_t i = first; i < end; i++)
        for (uint32_t j = 0; j < p->steps.data[i].n_args; j++) {
            const tf_arg *g = &p->args.data[p->steps.data[i].arg + j];
            const tf_buffer *b = &p->buffers.data[g->buffer];
            if (!g->read && !g->write)
                return fault(c, "step %u '%s': argument %u is neither read nor written", i, name_of(c, i), j);
            if (is_placed(b) && (p->steps.data[i].wave < b->first_wave || p->steps.data[i].wave > b->last_wave))
                return fault(c, "step '%s' of wave %u uses arena buffer %u, which lives in waves %u to %u", name_of(c, i),
                             p->steps.data[i].wave, g->buffer, b->first_wave, b->last_wave);
            if (b->bytes)
                a[n++] = (access){ place_of(p, g->buffer), b->offset, b->offset + b->bytes, i, g->buffer, g->write };
        }
    qsort(a, n, sizeof *a, compare_access);
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = i + 1; j < n && a[j].place == a[i].place && a[j].first < a[i].end; j++)
            if (a[i].step != a[j].step && (a[i].write || a[j].write)) {
                const access *w = a[i].write ? &a[i] : &a[j], *o = a[i].write ? &a[j] : &a[i];
                return fault(c, "step '%s' writes bytes of buffer %u that step '%s' of the same wave %u %s as buffer %u",
                             name_of(c, w->step), w->buffer, name_of(c, o->step), p->steps.data[w->step].wave,
                             o->write ? "writes" : "reads", o->buffer);
            }
    return true;
}

/* `written` per buffer: whether it holds anything. That it still holds it when read follows from check_overlap, since
 * check_wave has seen every use inside the buffer's interval. */
static bool check_contents(checker *c, uint32_t first, uint32_t end, bool *written)
{
    const tf_plan *p = c->plan;
    for (uint32_t i = first; i < end; i++)
        for (uint32_t j = 0; j < p->steps.data[i].n_args; j++) {
            const tf_arg *g = &p->args.data[p->steps.data[i].arg + j];
            const tf_buffer *b = &p->buffers.data[g->buffer];
            if (g->write && (b->kind == TF_BUF_CONST || b->kind == TF_BUF_INPUT))
                return fault(c, "step '%s' writes '%s', which is an input or a constant", name_of(c, i), b->name ? b->name : "?");
            if (g->read && b->bytes > 0 && !written[g->buffer])
                return fault(c, "step '%s' of wave %u reads buffer %u, which no earlier wave has written", name_of(c, i),
                             p->steps.data[i].wave, g->buffer);
        }
    for (uint32_t i = first; i < end; i++)
        for (uint32_t j = 0; j < p->steps.data[i].n_args; j++) {
            const tf_arg *g = &p->args.data[p->steps.data[i].arg + j];
            written[g->buffer] = written[g->buffer] || g->write;
        }
    return true;
}

static bool check_hazards(checker *c)
{
    const tf_plan *p = c->plan;
    uint64_t all_args = 0;
    for (uint32_t i = 0; i < p->steps.n; i++)
        all_args += p->steps.data[i].n_args;
    access *a = tf_arena_array(&c->arena, access, (size_t)all_args);
    bool *written = tf_arena_array(&c->arena, bool, p->buffers.n);
    if (!a || !written)
        return fault(c, "out of host memory");
    for (uint32_t b = 0; b < p->buffers.n; b++)
        written[b] = p->buffers.data[b].kind != TF_BUF_ARENA && p->buffers.data[b].kind != TF_BUF_OUTPUT;
    for (uint32_t first = 0, end; first < p->steps.n; first = end) {
        for (end = first + 1; end < p->steps.n && p->steps.data[end].wave == p->steps.data[first].wave; end++) {}
        if (!check_wave(c, first, end, a) || !check_contents(c, first, end, written))
            return false;
    }
    return true;
}

/* ---- descriptors -------------------------------------------------------------------------------- */

static bool check_binding(checker *c, uint32_t i, uint32_t slot)
{
    const tf_plan *p = c->plan;
    const tf_binding *r = &p->bindings.data[p->steps.data[i].binding + slot];
    const uint64_t limit = tf_binding_limit(&p->limits, r);
    if (r->buffer >= p->buffers.n)
        return fault(c, "step '%s': binding %u names buffer %u of %u", name_of(c, i), slot, r->buffer, p->buffers.n);
    if (r->range > limit)
        return fault(c, "step '%s': binding %u takes %llu bytes; the device's largest %s binding is %llu", name_of(c, i), slot,
                     (ull)r->range, tf_binding_word(r), (ull)limit);
    if (r->offset % TF_MAX(p->limits.storage_align, 1u))
        return fault(c, "step '%s': binding %u starts at byte %llu, not a multiple of %u", name_of(c, i), slot, (ull)r->offset,
                     p->limits.storage_align);
    const tf_buffer *b = &p->buffers.data[r->buffer];
    if (b->kind == TF_BUF_ARENA && r->range && b->chunk >= p->chunks.n)
        return fault(c, "step '%s': binding %u lies in chunk %u of %u", name_of(c, i), slot, b->chunk, p->chunks.n);
    const uint64_t whole = b->kind == TF_BUF_ARENA && r->range ? p->chunks.data[b->chunk] : tf_align_up(b->bytes, 4);
    if (r->offset > whole || r->range > whole - r->offset)
        return fault(c, "step '%s': binding %u ends at byte %llu of a buffer of %llu", name_of(c, i), slot,
                     (ull)(r->offset + r->range), (ull)whole);
    return true;
}

static bool check_arg(checker *c, uint32_t i, uint32_t j)
{
    const tf_plan *p = c->plan;
    const tf_step *s = &p->steps.data[i];
    const tf_arg *a = &p->args.data[s->arg + j];
    const tf_buffer *b = &p->buffers.data[a->buffer];
    if (a->grid)
        return (s->kind == TF_STEP_DISPATCH_INDIRECT && j + 1 == s->n_args && s->grid_at % 4 == 0 && (uint64_t)s->grid_at + 12 <= b->bytes)
            || fault(c, "step '%s': its grid lies at byte %u of %llu", name_of(c, i), s->grid_at, (ull)b->bytes);
    if (a->binding >= s->n_bindings)
        return fault(c, "step '%s': argument %u has binding %u of %u", name_of(c, i), j, a->binding, s->n_bindings);
    const tf_binding *r = &p->bindings.data[s->binding + a->binding];
    if (a->uniform != r->uniform || a->texel != r->texel || ((a->uniform || a->texel) && a->write))
        return fault(c, "step '%s': argument %u is written through or disagrees on a %s binding", name_of(c, i), j, tf_binding_word(r));
    if (b->bytes == 0)
        return true;
    if (place_of(p, a->buffer) != place_of(p, r->buffer))
        return fault(c, "step '%s': argument %u lies in another buffer than its binding", name_of(c, i), j);
    if (b->offset < r->offset || b->offset + b->bytes > r->offset + r->range)
        return fault(c, "step '%s': argument %u lies at bytes %llu to %llu; its binding covers %llu to %llu", name_of(c, i), j,
                     (ull)b->offset, (ull)(b->offset + b->bytes), (ull)r->offset, (ull)(r->offset + r->range));
    if (a->base != b->offset - r->offset || (a->base && !a->shared))
        return fault(c, "step '%s': argument %u has base %llu; it lies %llu bytes into its binding", name_of(c, i), j,
                     (ull)a->base, (ull)(b->offset - r->offset));
    return true;
}

static bool check_bindings(checker *c)
{
    const tf_plan *p = c->plan;
    for (uint32_t i = 0; i < p->steps.n; i++) {
        const tf_step *s = &p->steps.data[i];
        uint32_t storage = 0, uniform = s->n_params > 0, texels = 0;
        if (!is_dispatch(s))
            continue;
        for (uint32_t k = 0; k < s->n_bindings; k++) {
            if (!check_binding(c, i, k))
                return false;
            const tf_binding *r = &p->bindings.data[s->binding + k];
            *(r->uniform ? &uniform : r->texel ? &texels : &storage) += 1;
        }
        if (storage > p->limits.storage_bindings || uniform > TF_MAX(p->limits.uniform_bindings, 1u))
            return fault(c, "step '%s' has %u storage and %u uniform bindings; the device allows %u and %u", name_of(c, i),
                         storage, uniform, p->limits.storage_bindings, p->limits.uniform_bindings);
        if (texels > p->limits.texel_bindings)
            return fault(c, "step '%s' has %u texel bindings; the device allows %u", name_of(c, i), texels, p->limits.texel_bindings);
        for (uint32_t j = 0; j < s->n_args; j++)
            if (!check_arg(c, i, j))
                return false;
    }
    return true;
}

const char *tf_plan_check(const tf_plan *plan, tf_str *message)
{
    checker c = { .plan = plan, .message = message };
    tf_arena_init(&c.arena, &plan->arena.allocator);
    const bool good = check_indices(&c) && check_places(&c) && check_loops(&c) && check_overlap(&c) && check_hazards(&c) && check_bindings(&c);
    tf_arena_release(&c.arena);
    if (good)
        return NULL;
    return message->failed ? "out of host memory" : message->data;
}
