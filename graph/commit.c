/* commit.c - new values of states and carried values take the place of the old ones.
 *
 * The kernel that makes a new value writes straight into the old one's memory if nobody needs the old value any more: the
 * kernel itself reads it at most at the element it is about to store, and every other reader comes before or can be moved
 * before. Otherwise the value is made elsewhere and copied at the end of the region. A copy into an in-place kernel's
 * result that thereby becomes a copy onto itself is dropped. */
#include "plan.h"

#include <string.h>

#define NONE UINT32_MAX

typedef struct committer {
    tf_plan *plan;
    tf_arena arena;
    bool *read, *written;      /* per buffer: by the steps that must come after the writer */
    bool *after;               /* per step of the writer's segment */
    tf_step *moved;
} committer;

static tf_arg *args_of(const tf_plan *p, uint32_t step) { return &p->args.data[p->steps.data[step].arg]; }

static bool touches(const tf_plan *p, uint32_t step, uint32_t buffer, bool write)
{
    const tf_arg *a = args_of(p, step);
    for (uint32_t i = 0; i < p->steps.data[step].n_args; i++)
        if (a[i].buffer == buffer && (write ? a[i].write : a[i].read)) return true;
    return false;
}

static void note(committer *c, uint32_t step)
{
    const tf_arg *a = args_of(c->plan, step);
    for (uint32_t i = 0; i < c->plan->steps.data[step].n_args; i++) {
        c->read[a[i].buffer] |= a[i].read;
        c->written[a[i].buffer] |= a[i].write;
    }
}

static bool conflicts(const committer *c, uint32_t step)
{
    const tf_arg *a = args_of(c->plan, step);
    for (uint32_t i = 0; i < c->plan->steps.data[step].n_args; i++)
        if (c->written[a[i].buffer] || (a[i].write && c->read[a[i].buffer])) return true;
    return false;
}

/* Mark what must come after step w among [w, end). */
static void find_after(committer *c, uint32_t w, uint32_t end)
{
    memset(c->read, 0, c->plan->buffers.n * sizeof *c->read);
    memset(c->written, 0, c->plan->buffers.n * sizeof *c->written);
    note(c, w);
    for (uint32_t j = w; j < end; j++) {
        c->after[j] = j == w || conflicts(c, j);
        if (c->after[j]) note(c, j);
    }
}

/* Why the value cannot be made in place; NULL: it can, and readers of the old value stand before its writer now. */
static const char *arrange(committer *c, const tf_commit *m, uint32_t first, uint32_t end)
{
    tf_plan *p = c->plan;
    const tf_buffer *from = &p->buffers.data[m->from], *to = &p->buffers.data[m->to];
    uint32_t w = first;
    while (w < end && !touches(p, w, m->from, true)) w++;
    if (w == end || from->kind != TF_BUF_ARENA || from->bytes != to->bytes || from->type.dtype != to->type.dtype)
        return "its new value is held in another form";
    if (p->steps.data[w].region != m->region) return "its new value is made in another loop";
    const tf_arg *a = args_of(p, w);
    for (uint32_t i = 0; i < p->steps.data[w].n_args; i++)
        if (a[i].buffer == m->to && a[i].read && !a[i].aligned && p->steps.data[w].kind != TF_STEP_COPY)
            return "the kernel that makes its new value reads the old one at other elements";
    uint32_t segment = w + 1;
    while (segment < end && p->steps.data[segment].region == m->region) segment++;
    find_after(c, w, segment);
    bool late = false;
    for (uint32_t j = w + 1; j < end; j++) {
        if (!touches(p, j, m->to, false) && !touches(p, j, m->to, true)) continue;
        if (j >= segment || c->after[j]) return "its old value is read after the new one is made";
        late = true;
    }
    uint32_t n = 0;
    for (int pass = 0; late && pass < 2; pass++)
        for (uint32_t j = w; j < segment; j++)
            if (c->after[j] == (pass == 1)) c->moved[n++] = p->steps.data[j];
    if (late) memcpy(&p->steps.data[w], c->moved, n * sizeof *c->moved);
    return NULL;
}

/* Several operands of a kernel in one buffer become one operand. */
static void join_operands(tf_arg *a, uint32_t n, uint32_t buffer)
{
    uint32_t first = NONE;
    for (uint32_t i = 0; i < n; i++) {
        if (a[i].buffer != buffer) continue;
        if (first == NONE) { first = i; continue; }
        a[i].twin = first + 1;
        a[first].read |= a[i].read;
        a[first].write |= a[i].write;
    }
    if (first != NONE && a[first].write) a[first].prefer_uniform = a[first].prefer_texel = false;
}

static void alias(tf_plan *p, uint32_t from, uint32_t to)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < p->steps.n; i++) {
        tf_step *s = &p->steps.data[i];
        tf_arg *a = args_of(p, i);
        bool changed = false;
        for (uint32_t k = 0; k < s->n_args; k++)
            if (a[k].buffer == from) {
                a[k].buffer = to;
                changed = true;
            }
        if (changed && s->kind == TF_STEP_COPY && a[0].buffer == a[1].buffer) continue;
        if (changed && s->kind != TF_STEP_COPY) join_operands(a, s->n_args, to);
        p->steps.data[kept++] = *s;
    }
    p->steps.n = kept;
}

static bool add_copy(tf_plan *p, const tf_commit *m, uint32_t at)
{
    const uint32_t arg = p->args.n;
    tf_arg *a = tf_push(&p->arena, &p->args);
    if (a) *a = (tf_arg){ .buffer = m->from, .read = true };
    tf_arg *b = tf_push(&p->arena, &p->args);
    if (b) *b = (tf_arg){ .buffer = m->to, .write = true };
    const tf_step *grown = tf_push(&p->arena, &p->steps);
    if (!a || !b || !grown) return false;
    memmove(&p->steps.data[at + 1], &p->steps.data[at], (p->steps.n - 1 - at) * sizeof *p->steps.data);
    p->steps.data[at] = (tf_step){ .kind = TF_STEP_COPY, .arg = arg, .n_args = 2, .region = m->region,
                                   .label = m->name ? "assign" : "carry", .bytes = 2 * p->buffers.data[m->from].bytes };
    return true;
}

/* ---- two places by turns ------------------------------------------------------------------------- */

/* In a loop at the top level, the copies at the end of an iteration are not needed if the next one finds the values where
 * they were made: the body stands twice, and odd iterations read and write with the places changed. */
typedef struct turner {
    tf_plan *plan;
    uint32_t region, first, end; /* steps */
    uint32_t *to;              /* [buffer] what it is in odd iterations */
    uint8_t *seen;             /* [buffer] 1: first written in the body, 2: first read, 4: touched outside */
} turner;

/* Is it the copy of a carried value's new value? */
static bool is_carry(const tf_plan *p, uint32_t region, const tf_arg *a)
{
    for (uint32_t i = 0; i < p->commits.n; i++) {
        const tf_commit *m = &p->commits.data[i];
        if (m->region == region && m->copied && !m->name && m->from == a[0].buffer && m->to == a[1].buffer) return true;
    }
    return false;
}

static bool takes_turns(const turner *t, const tf_step *s)
{
    const tf_plan *p = t->plan;
    const tf_arg *a = &p->args.data[s->arg];
    if (s->kind != TF_STEP_COPY || !is_carry(p, t->region, a)) return false;
    const tf_buffer *from = &p->buffers.data[a[0].buffer], *to = &p->buffers.data[a[1].buffer];
    return from->kind == TF_BUF_ARENA && to->kind == TF_BUF_ARENA && from->bytes == to->bytes && from->type.dtype == to->type.dtype &&
           t->seen[a[0].buffer] == 1 && t->to[a[0].buffer] == a[0].buffer && t->to[a[1].buffer] == a[1].buffer;
}

static void look(turner *t)
{
    const tf_plan *p = t->plan;
    for (uint32_t i = 0; i < p->steps.n; i++) {
        const tf_step *s = &p->steps.data[i];
        const bool inside = i >= t->first && i < t->end;
        for (uint32_t j = 0; j < s->n_args; j++) {
            const tf_arg *a = &p->args.data[s->arg + j];
            t->seen[a->buffer] |= !inside ? 4 : t->seen[a->buffer] & 3 ? 0 : a->read ? 2 : 1;
        }
    }
}

/* A copy of the step with its buffers changed. */
static bool add_turned(turner *t, tf_step s, tf_step *out)
{
    tf_plan *p = t->plan;
    const uint32_t arg = p->args.n;
    for (uint32_t j = 0; j < s.n_args; j++) {
        tf_arg a = p->args.data[s.arg + j];
        a.buffer = t->to[a.buffer];
        tf_arg *x = tf_push(&p->arena, &p->args);
        if (!x) return false;
        *x = a;
    }
    s.arg = arg;
    s.phase = 1;
    *out = s;
    return true;
}

/* Values that an odd iteration makes for itself have memory of their own, as short-lived as in the even one. */
static bool rename_temporaries(turner *t, uint32_t n)
{
    tf_plan *p = t->plan;
    for (uint32_t b = 0; b < n; b++) {
        if (t->to[b] != b || t->seen[b] != 1 || p->buffers.data[b].kind != TF_BUF_ARENA) continue;
        tf_buffer *x = tf_push(&p->arena, &p->buffers);
        if (!x) return false;
        *x = p->buffers.data[b];
        t->to[b] = p->buffers.n - 1;
    }
    return true;
}

static bool turn(turner *t)
{
    tf_plan *p = t->plan;
    const uint32_t n = p->buffers.n;
    uint32_t body = t->end;
    for (uint32_t b = 0; b < n; b++) t->to[b] = b;
    memset(t->seen, 0, n * sizeof *t->seen);
    look(t);
    for (; body > t->first && takes_turns(t, &p->steps.data[body - 1]); body--) {
        const tf_arg *a = &p->args.data[p->steps.data[body - 1].arg];
        t->to[a[0].buffer] = a[1].buffer;
        t->to[a[1].buffer] = a[0].buffer;
    }
    if (body == t->end) return true;
    for (uint32_t i = t->first; i < body; i++) /* the rest's copies could be those of values that take turns */
        if (p->steps.data[i].kind == TF_STEP_COPY) return true;
    for (uint32_t i = 0; i < p->commits.n; i++) {
        tf_commit *m = &p->commits.data[i];
        if (m->region != t->region || !m->copied) continue;
        m->copied = NULL;
        m->turns = true;
    }
    const bool odd = p->regions.data[t->region - 1].count % 2;
    for (uint32_t i = t->end; i < p->steps.n && odd; i++)
        for (uint32_t j = 0; j < p->steps.data[i].n_args; j++) {
            tf_arg *a = &p->args.data[p->steps.data[i].arg + j];
            a->buffer = t->to[a->buffer];
        }
    if (!rename_temporaries(t, n)) return false;
    const uint32_t kept = body - t->first, copies = t->end - body, steps = p->steps.n;
    for (uint32_t k = copies; k < kept; k++) {
        const tf_step *grown = tf_push(&p->arena, &p->steps);
        if (!grown) return false;
    }
    memmove(&p->steps.data[body + kept], &p->steps.data[t->end], (steps - t->end) * sizeof *p->steps.data);
    p->steps.n = steps + kept - copies;
    for (uint32_t k = 0; k < kept; k++)
        if (!add_turned(t, p->steps.data[t->first + k], &p->steps.data[body + k])) return false;
    return true;
}

static bool take_turns(tf_plan *plan, tf_arena *scratch)
{
    turner t = { .plan = plan };
    for (t.region = 1; t.region <= plan->regions.n; t.region++) {
        const tf_plan_region *r = &plan->regions.data[t.region - 1];
        bool alone = !r->parent && !r->again && r->count >= 2;
        for (uint32_t k = t.region; k < plan->regions.n; k++) alone = alone && plan->regions.data[k].parent != t.region;
        if (!alone) continue;
        t.first = 0;
        while (t.first < plan->steps.n && plan->steps.data[t.first].region != t.region) t.first++;
        for (t.end = t.first; t.end < plan->steps.n && plan->steps.data[t.end].region == t.region;) t.end++;
        t.to = tf_arena_array(scratch, uint32_t, plan->buffers.n);
        t.seen = tf_arena_array(scratch, uint8_t, plan->buffers.n);
        if (!t.to || !t.seen || !turn(&t)) return false;
    }
    return true;
}

bool tf_plan_commit(tf_plan *plan)
{
    committer c = { .plan = plan };
    tf_arena_init(&c.arena, &plan->arena.allocator);
    c.read = tf_arena_array(&c.arena, bool, plan->buffers.n);
    c.written = tf_arena_array(&c.arena, bool, plan->buffers.n);
    c.after = tf_arena_array(&c.arena, bool, (size_t)plan->steps.n + plan->commits.n);
    c.moved = tf_arena_array(&c.arena, tf_step, (size_t)plan->steps.n + plan->commits.n);
    bool ok = !c.arena.failed;
    for (uint32_t i = 0; ok && i < plan->commits.n; i++) {
        tf_commit *m = &plan->commits.data[i];
        uint32_t first = 0, end;
        if (!plan->buffers.data[m->from].bytes) continue;
        while (first < plan->steps.n && !tf_plan_within(plan, plan->steps.data[first].region, m->region)) first++;
        for (end = first; end < plan->steps.n && tf_plan_within(plan, plan->steps.data[end].region, m->region);) end++;
        m->copied = arrange(&c, m, first, end);
        if (m->copied) ok = add_copy(plan, m, end);
        else alias(plan, m->from, m->to);
    }
    ok = ok && take_turns(plan, &c.arena);
    tf_arena_release(&c.arena);
    return ok;
}
