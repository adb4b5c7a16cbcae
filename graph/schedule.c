/* schedule.c - steps into waves: few barriers without much more memory than the best serial order needs.
 *
 * 1. Dependencies: steps that touch one buffer, one of them writing, keep their order.
 * 2. Serial orders: the given one, and greedy list schedules from the front and from the back that prefer the step
 *    which frees most bytes, or the one that just became ready; then single steps move where that saves memory.
 *    The lowest peak is serial_bytes.
 * 3. Waves: walk a serial order; a wave is its first remaining step plus every ready step that can be moved up
 *    from further back while the memory of all later positions stays within 1.25 times serial_bytes. Since the
 *    rest could always go on serially, the bound holds by construction. The result with the fewest waves is kept,
 *    then the one with the least memory. Run serially it is one more order; if it is the best, again from there.
 * Waves never span regions. */
#include "plan.h"

#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX
enum { REJECTS_MAX = 32, MANY_STEPS = 2000, POLISH_MAX = 300, ROUNDS = 4 };

typedef struct sched {
    tf_arena arena;
    const tf_plan *plan;
    uint32_t n;                                  /* steps */
    /* Lists of lists: those of i are at [first[i], first[i + 1]). */
    uint32_t *succ, *succ_first;                 /* successors of a step */
    uint32_t *pred, *pred_first;
    uint32_t *touch, *touch_first;               /* arena buffers of a step, each once */
    uint32_t *user, *user_first;                 /* steps that touch an arena buffer */
    uint64_t *bytes;                             /* per buffer */
    uint32_t *height;                            /* longest path to a last step */
    uint32_t *segment;                           /* runs of one region */
} sched;

/* ---- dependencies ------------------------------------------------------------------------------- */

typedef struct edge { uint32_t from, to; } edge;
typedef TF_ARRAY(edge) edges;

static bool add_edge(sched *s, edges *e, uint32_t from, uint32_t to)
{
    if (from == NONE || from == to)
        return true;
    edge *x = tf_push(&s->arena, e);
    if (x)
        *x = (edge){ from, to };
    return x != NULL;
}

/* Group the edges by `from` (reverse: by `to`). */
static bool group(sched *s, const edges *e, uint32_t keys, bool reverse, uint32_t **items, uint32_t **first)
{
    *items = tf_arena_array(&s->arena, uint32_t, e->n);
    *first = tf_arena_array(&s->arena, uint32_t, (size_t)keys + 2);
    if (!*items || !*first)
        return false;
    for (uint32_t i = 0; i < e->n; i++)
        (*first)[(reverse ? e->data[i].to : e->data[i].from) + 2]++;
    for (uint32_t k = 2; k < keys + 2; k++)
        (*first)[k] += (*first)[k - 1];
    for (uint32_t i = 0; i < e->n; i++) {
        const edge x = e->data[i];
        (*items)[(*first)[(reverse ? x.to : x.from) + 1]++] = reverse ? x.from : x.to;
    }
    return true;
}

typedef struct access { uint32_t writer, n_readers, readers; } access; /* readers: head of a chain in `chain` */
typedef struct link { uint32_t step, next; } link;

static bool find_edges(sched *s, edges *out)
{
    const tf_plan *p = s->plan;
    access *state = tf_arena_array(&s->arena, access, p->buffers.n);
    TF_ARRAY(link) chain = { 0 };
    if (!state)
        return false;
    for (uint32_t b = 0; b < p->buffers.n; b++)
        state[b] = (access){ .writer = NONE, .readers = NONE };
    bool ok = true;
    for (uint32_t i = 0; i < s->n && ok; i++) {
        const tf_step *step = &p->steps.data[i];
        for (uint32_t j = 0; j < step->n_args && ok; j++) {
            const tf_arg *a = &p->args.data[step->arg + j];
            access *x = &state[a->buffer];
            ok = add_edge(s, out, x->writer, i);
            for (uint32_t r = a->write ? x->readers : NONE; r != NONE && ok; r = chain.data[r].next)
                ok = add_edge(s, out, chain.data[r].step, i);
        }
        for (uint32_t j = 0; j < step->n_args && ok; j++) { /* after all: a step does not depend on itself */
            const tf_arg *a = &p->args.data[step->arg + j];
            access *x = &state[a->buffer];
            if (a->write) {
                x->writer = i;
                x->readers = NONE;
            } else if (x->writer != i) {
                link *l = tf_push(&s->arena, &chain);
                ok = l != NULL;
                if (l)
                    *l = (link){ i, x->readers };
                x->readers = chain.n - 1;
            }
        }
    }
    return ok;
}

static bool find_touches(sched *s, edges *out)
{
    const tf_plan *p = s->plan;
    uint32_t *seen = tf_arena_array(&s->arena, uint32_t, p->buffers.n); /* last step + 1 */
    if (!seen)
        return false;
    for (uint32_t i = 0; i < s->n; i++)
        for (uint32_t j = 0; j < p->steps.data[i].n_args; j++) {
            const uint32_t b = p->args.data[p->steps.data[i].arg + j].buffer;
            if (!s->bytes[b] || seen[b] == i + 1)
                continue;
            seen[b] = i + 1;
            edge *x = tf_push(&s->arena, out);
            if (!x)
                return false;
            *x = (edge){ i, b };
        }
    return true;
}

static bool analyse(sched *s)
{
    const tf_plan *p = s->plan;
    edges deps = { 0 }, touches = { 0 };
    s->n = p->steps.n;
    s->bytes = tf_arena_array(&s->arena, uint64_t, p->buffers.n);
    s->height = tf_arena_array(&s->arena, uint32_t, s->n);
    s->segment = tf_arena_array(&s->arena, uint32_t, s->n);
    if (!s->bytes || !s->height || !s->segment)
        return false;
    for (uint32_t b = 0; b < p->buffers.n; b++)
        if (p->buffers.data[b].kind == TF_BUF_ARENA)
            s->bytes[b] = tf_arena_bytes(&p->limits, p->buffers.data[b].bytes);
    if (!find_edges(s, &deps) || !find_touches(s, &touches)
        || !group(s, &deps, s->n, false, &s->succ, &s->succ_first)
        || !group(s, &deps, s->n, true, &s->pred, &s->pred_first)
        || !group(s, &touches, s->n, false, &s->touch, &s->touch_first)
        || !group(s, &touches, p->buffers.n, true, &s->user, &s->user_first))
        return false;
    for (uint32_t i = 1; i < s->n; i++)
        s->segment[i] = s->segment[i - 1] + (p->steps.data[i].region != p->steps.data[i - 1].region);
    for (uint32_t i = s->n; i-- > 0;)
        for (uint32_t k = s->succ_first[i]; k < s->succ_first[i + 1]; k++)
            s->height[i] = TF_MAX(s->height[i], s->height[s->succ[k]] + 1);
    return true;
}

/* ---- serial orders ------------------------------------------------------------------------------ */

/* Live bytes while each position of `order` runs; returns the largest. profile may be NULL. */
static uint64_t serial_peak(const sched *s, const uint32_t *order, uint32_t *uses_left, uint64_t *profile)
{
    uint64_t live = 0, peak = 0;
    for (uint32_t b = 0; b < s->plan->buffers.n; b++)
        uses_left[b] = s->user_first[b + 1] - s->user_first[b];
    for (uint32_t p = 0; p < s->n; p++) {
        const uint32_t *t = s->touch + s->touch_first[order[p]], n = s->touch_first[order[p] + 1] - s->touch_first[order[p]];
        for (uint32_t k = 0; k < n; k++)
            live += uses_left[t[k]] == s->user_first[t[k] + 1] - s->user_first[t[k]] ? s->bytes[t[k]] : 0;
        peak = TF_MAX(peak, live);
        if (profile)
            profile[p] = live;
        for (uint32_t k = 0; k < n; k++)
            live -= --uses_left[t[k]] == 0 ? s->bytes[t[k]] : 0;
    }
    return peak;
}

/* Bytes that running the step adds to what stays live after it; negative: frees. */
static int64_t net_bytes(const sched *s, uint32_t step, const uint32_t *uses_left)
{
    int64_t net = 0;
    for (uint32_t k = s->touch_first[step]; k < s->touch_first[step + 1]; k++) {
        const uint32_t b = s->touch[k], uses = s->user_first[b + 1] - s->user_first[b];
        net += uses_left[b] == uses ? (int64_t)s->bytes[b] : 0;
        net -= uses_left[b] == 1 ? (int64_t)s->bytes[b] : 0;
    }
    return net;
}

/* A list schedule along succ (backward: along pred, and the order is reversed). What is born for the first user is,
 * backward, born for the last one, so the same counts serve both. */
static bool greedy_order(sched *s, bool backward, bool newest_first, uint32_t *order)
{
    const uint32_t *next = backward ? s->pred : s->succ, *next_first = backward ? s->pred_first : s->succ_first;
    const uint32_t *prev_first = backward ? s->succ_first : s->pred_first;
    uint32_t *waiting = tf_arena_array(&s->arena, uint32_t, s->n);
    uint32_t *ready = tf_arena_array(&s->arena, uint32_t, s->n);
    uint32_t *uses_left = tf_arena_array(&s->arena, uint32_t, s->plan->buffers.n);
    if (!waiting || !ready || !uses_left)
        return false;
    for (uint32_t b = 0; b < s->plan->buffers.n; b++)
        uses_left[b] = s->user_first[b + 1] - s->user_first[b];
    uint32_t n_ready = 0;
    for (uint32_t i = 0; i < s->n; i++) {
        const uint32_t step = backward ? s->n - 1 - i : i;
        waiting[step] = prev_first[step + 1] - prev_first[step];
        if (waiting[step] == 0)
            ready[n_ready++] = step;
    }
    for (uint32_t done = 0; done < s->n; done++) {
        uint32_t best = 0;
        int64_t best_net = INT64_MAX;
        for (uint32_t r = 0; r < n_ready; r++) {
            const int64_t net = net_bytes(s, ready[r], uses_left);
            if (net < best_net || (net == best_net && newest_first)) {
                best = r;
                best_net = net;
            }
        }
        if (newest_first && best_net >= 0)
            best = n_ready - 1; /* nothing frees memory: go deeper */
        const uint32_t step = ready[best];
        memmove(ready + best, ready + best + 1, (n_ready - best - 1) * sizeof *ready);
        n_ready--;
        order[backward ? s->n - 1 - done : done] = step;
        for (uint32_t k = s->touch_first[step]; k < s->touch_first[step + 1]; k++)
            uses_left[s->touch[k]]--;
        for (uint32_t k = next_first[step]; k < next_first[step + 1]; k++)
            if (--waiting[next[k]] == 0)
                ready[n_ready++] = next[k];
    }
    return true;
}

typedef struct cost { uint64_t peak, sum; } cost;

static cost cost_of(const sched *s, const uint32_t *order, uint32_t *uses_left, uint64_t *profile)
{
    cost c = { serial_peak(s, order, uses_left, profile), 0 };
    for (uint32_t p = 0; p < s->n; p++)
        c.sum += profile[p];
    return c;
}

static void move_step(uint32_t *order, uint32_t from, uint32_t to)
{
    const uint32_t step = order[from];
    if (from < to)
        memmove(order + from, order + from + 1, (to - from) * sizeof *order);
    else
        memmove(order + to + 1, order + to, (from - to) * sizeof *order);
    order[to] = step;
}

/* Move single steps as early or as late as their neighbours in the graph allow, where that lowers the peak, or the
 * sum of live bytes at the same peak. */
static bool polish(sched *s, uint32_t *order)
{
    uint32_t *uses_left = tf_arena_array(&s->arena, uint32_t, s->plan->buffers.n);
    uint32_t *at = tf_arena_array(&s->arena, uint32_t, s->n);
    uint64_t *profile = tf_arena_array(&s->arena, uint64_t, s->n);
    if (!uses_left || !at || !profile)
        return false;
    if (s->n > POLISH_MAX)
        return true;
    cost best = cost_of(s, order, uses_left, profile);
    for (uint32_t trial = 0; trial < 4 * s->n; trial++) {
        const uint32_t step = trial / 2 % s->n;
        for (uint32_t p = 0; p < s->n; p++)
            at[order[p]] = p;
        uint32_t low = 0, high = s->n - 1;
        for (uint32_t k = s->pred_first[step]; k < s->pred_first[step + 1]; k++)
            low = TF_MAX(low, at[s->pred[k]] + 1);
        for (uint32_t k = s->succ_first[step]; k < s->succ_first[step + 1]; k++)
            high = TF_MIN(high, at[s->succ[k]] - 1);
        const uint32_t from = at[step], to = trial % 2 ? low : high;
        if (from == to)
            continue;
        move_step(order, from, to);
        const cost c = cost_of(s, order, uses_left, profile);
        if (c.peak < best.peak || (c.peak == best.peak && c.sum < best.sum))
            best = c;
        else
            move_step(order, to, from);
    }
    return true;
}

/* Stable by segment. Dependencies never point to an earlier segment, so the order stays topological. */
static bool keep_segments(sched *s, uint32_t *order)
{
    const uint32_t segments = s->n ? s->segment[s->n - 1] + 1 : 0;
    if (segments < 2)
        return true;
    uint32_t *sorted = tf_arena_array(&s->arena, uint32_t, s->n);
    uint32_t *place = tf_arena_array(&s->arena, uint32_t, (size_t)segments + 1);
    if (!sorted || !place)
        return false;
    for (uint32_t i = 0; i < s->n; i++)
        place[s->segment[i] + 1]++;
    for (uint32_t k = 1; k <= segments; k++)
        place[k] += place[k - 1];
    for (uint32_t i = 0; i < s->n; i++)
        sorted[place[s->segment[order[i]]]++] = order[i];
    memcpy(order, sorted, s->n * sizeof *order);
    return true;
}

/* ---- waves -------------------------------------------------------------------------------------- */

typedef struct waves {
    const sched *s;
    uint64_t budget;
    const uint32_t *order;      /* step at a position */
    uint32_t *position;         /* of a step */
    uint64_t *profile;          /* live bytes at each position if the rest runs serially */
    uint32_t *wave;             /* of a step, NONE: still to come */
    uint32_t *waiting;          /* per step: predecessors not in an earlier wave */
    uint32_t *born, *last;      /* per buffer: its live positions; born NONE: not yet live in an earlier wave */
    uint32_t *ready, n_ready;
    uint32_t front;             /* position of the wave being formed */
} waves;

/* The last position at which a buffer is still needed when `moved` runs at the front. */
static uint32_t last_need(const waves *w, uint32_t buffer, uint32_t moved)
{
    uint32_t last = w->front;
    for (uint32_t k = w->s->user_first[buffer]; k < w->s->user_first[buffer + 1]; k++) {
        const uint32_t u = w->s->user[k];
        if (u != moved && w->wave[u] == NONE)
            last = TF_MAX(last, w->position[u]);
    }
    return last;
}

/* Live positions of the step's k-th buffer before and after moving the step to the front: what is added below the
 * old birth and what is removed above the new end. */
static void change(const waves *w, uint32_t step, uint32_t buffer, uint32_t *add_end, uint32_t *cut_first, uint32_t *cut_end)
{
    *add_end = TF_MAX(w->born[buffer], w->front);
    *cut_first = *cut_end = 0;
    if (w->last[buffer] == w->position[step]) {
        *cut_first = last_need(w, buffer, step) + 1;
        *cut_end = w->last[buffer] + 1;
    }
}

/* Returns what the move adds to the memory live after the wave; negative: it frees. */
static int64_t apply_move(waves *w, uint32_t step, int sign)
{
    const sched *s = w->s;
    int64_t net = 0;
    for (uint32_t k = s->touch_first[step]; k < s->touch_first[step + 1]; k++) {
        const uint32_t b = s->touch[k];
        const uint64_t bytes = sign > 0 ? s->bytes[b] : 0 - s->bytes[b];
        uint32_t add_end, cut_first, cut_end;
        change(w, step, b, &add_end, &cut_first, &cut_end);
        for (uint32_t p = w->front; p < add_end; p++)
            w->profile[p] += bytes;
        for (uint32_t p = cut_first; p < cut_end; p++)
            w->profile[p] -= bytes;
        net += add_end > w->front ? (int64_t)bytes : 0;
        net -= cut_end > cut_first && cut_first == w->front + 1 ? (int64_t)bytes : 0;
    }
    return net;
}

static void take(waves *w, uint32_t step, uint32_t wave)
{
    const sched *s = w->s;
    for (uint32_t k = s->touch_first[step]; k < s->touch_first[step + 1]; k++) {
        const uint32_t b = s->touch[k];
        w->last[b] = w->last[b] == w->position[step] ? last_need(w, b, step) : w->last[b];
        w->born[b] = TF_MIN(w->born[b], w->front);
    }
    w->wave[step] = wave;
}

/* Move a ready step to the wave at the front if memory allows. frugal: only if nothing more stays live after it. */
static bool try_move(waves *w, uint32_t step, uint32_t wave, bool frugal)
{
    const uint32_t end = w->position[step];
    const int64_t net = apply_move(w, step, 1);
    bool fits = !frugal || net <= 0;
    for (uint32_t p = w->front; p < end && fits; p++)
        fits = w->profile[p] <= w->budget;
    if (fits)
        take(w, step, wave);
    else
        apply_move(w, step, -1);
    return fits;
}

static int by_height(const sched *s, const uint32_t *position, uint32_t a, uint32_t b)
{
    if (s->height[a] != s->height[b])
        return s->height[a] > s->height[b] ? -1 : 1;
    return position[a] < position[b] ? -1 : 1;
}

/* Longest path first, so that what the end waits for is moved up before memory runs out. Insertion: the list is
 * nearly sorted from wave to wave. */
static void sort_ready(waves *w)
{
    for (uint32_t i = 1; i < w->n_ready; i++) {
        const uint32_t x = w->ready[i];
        uint32_t j = i;
        for (; j > 0 && by_height(w->s, w->position, x, w->ready[j - 1]) < 0; j--)
            w->ready[j] = w->ready[j - 1];
        w->ready[j] = x;
    }
}

/* The wave has its members: drop them from the ready list, add those that now may run. */
static void close_wave(waves *w, uint32_t wave)
{
    const sched *s = w->s;
    const uint32_t n = w->n_ready;
    uint32_t kept = 0, n_new = n;
    for (uint32_t r = 0; r < n; r++) {
        const uint32_t step = w->ready[r];
        if (w->wave[step] != wave)
            continue;
        for (uint32_t k = s->succ_first[step]; k < s->succ_first[step + 1]; k++)
            if (--w->waiting[s->succ[k]] == 0)
                w->ready[n_new++] = s->succ[k]; /* never more than the steps in all: each enters once */
    }
    for (uint32_t r = 0; r < n_new; r++)
        if (w->wave[w->ready[r]] != wave)
            w->ready[kept++] = w->ready[r];
    w->n_ready = kept;
}

static uint32_t form_waves(waves *w, bool eager)
{
    const sched *s = w->s;
    uint32_t wave = 0;
    for (uint32_t b = 0; b < s->plan->buffers.n; b++) {
        w->born[b] = NONE;
        w->last[b] = 0;
        for (uint32_t k = s->user_first[b]; k < s->user_first[b + 1]; k++) {
            w->born[b] = TF_MIN(w->born[b], w->position[s->user[k]]);
            w->last[b] = TF_MAX(w->last[b], w->position[s->user[k]]);
        }
    }
    w->n_ready = 0;
    for (uint32_t i = 0; i < s->n; i++) {
        w->wave[i] = NONE;
        w->waiting[i] = s->pred_first[i + 1] - s->pred_first[i];
        if (w->waiting[i] == 0)
            w->ready[w->n_ready++] = i;
    }
    for (w->front = 0; w->front < s->n; w->front++) {
        const uint32_t first = w->order[w->front];
        if (w->wave[first] != NONE)
            continue;
        take(w, first, wave);
        sort_ready(w);
        const uint32_t top = s->height[w->ready[0]];
        uint32_t rejects = 0;
        for (uint32_t r = 0; r < w->n_ready && rejects < REJECTS_MAX; r++) {
            const uint32_t step = w->ready[r];
            if (w->wave[step] == NONE && s->segment[step] == s->segment[first])
                rejects += !try_move(w, step, wave, !eager && s->height[step] < top);
        }
        close_wave(w, wave++);
    }
    return wave;
}

/* ---- the pass ----------------------------------------------------------------------------------- */

/* Largest sum of live bytes over waves. */
static uint64_t wave_peak(const sched *s, const uint32_t *wave, uint32_t waves_n, uint64_t *delta)
{
    memset(delta, 0, ((size_t)waves_n + 1) * sizeof *delta);
    for (uint32_t b = 0; b < s->plan->buffers.n; b++) {
        uint32_t first = NONE, last = 0;
        for (uint32_t k = s->user_first[b]; k < s->user_first[b + 1]; k++) {
            first = TF_MIN(first, wave[s->user[k]]);
            last = TF_MAX(last, wave[s->user[k]]);
        }
        if (first == NONE)
            continue;
        delta[first] += s->bytes[b];
        delta[last + 1] -= s->bytes[b];
    }
    uint64_t live = 0, peak = 0;
    for (uint32_t w = 0; w < waves_n; w++) {
        live += delta[w];
        peak = TF_MAX(peak, live);
    }
    return peak;
}

enum { ORDERS = 5 };

typedef struct result { uint32_t *wave, *position, waves; uint64_t live; } result;

static bool make_orders(sched *s, uint32_t *order[ORDERS], uint64_t peak[ORDERS])
{
    uint32_t *uses_left = tf_arena_array(&s->arena, uint32_t, s->plan->buffers.n);
    for (uint32_t k = 0; k < ORDERS; k++) {
        order[k] = tf_arena_array(&s->arena, uint32_t, s->n);
        if (!order[k] || !uses_left)
            return false;
        for (uint32_t i = 0; i < s->n; i++)
            order[k][i] = i;
        if (k > 0 && !greedy_order(s, k % 2 == 0, k > 2, order[k]))
            return false;
        if (!polish(s, order[k]) || !keep_segments(s, order[k]))
            return false;
        peak[k] = serial_peak(s, order[k], uses_left, NULL);
    }
    return true;
}

static bool start_waves(sched *s, waves *w, uint64_t budget)
{
    const uint32_t nb = s->plan->buffers.n;
    *w = (waves){ .s = s, .budget = budget };
    w->position = tf_arena_array(&s->arena, uint32_t, s->n);
    w->profile = tf_arena_array(&s->arena, uint64_t, s->n);
    w->wave = tf_arena_array(&s->arena, uint32_t, s->n);
    w->waiting = tf_arena_array(&s->arena, uint32_t, s->n);
    w->ready = tf_arena_array(&s->arena, uint32_t, s->n);
    w->born = tf_arena_array(&s->arena, uint32_t, nb);
    w->last = tf_arena_array(&s->arena, uint32_t, nb);
    return !s->arena.failed;
}

/* Try every order within the budget, eagerly and frugally; keep the fewest waves, then the least memory. */
static bool best_waves(sched *s, uint32_t *order[ORDERS], const uint64_t peak[ORDERS], uint64_t serial, result *best)
{
    waves w;
    uint32_t *uses_left = tf_arena_array(&s->arena, uint32_t, s->plan->buffers.n);
    uint64_t *delta = tf_arena_array(&s->arena, uint64_t, (size_t)s->n + 1);
    best->wave = tf_arena_array(&s->arena, uint32_t, s->n);
    best->position = tf_arena_array(&s->arena, uint32_t, s->n);
    if (!start_waves(s, &w, serial + serial / 4) || !uses_left || !delta)
        return false;
    best->waves = NONE;
    for (uint32_t k = 0; k < ORDERS; k++) {
        if (peak[k] > (s->n > MANY_STEPS ? serial : w.budget))
            continue;
        w.order = order[k];
        for (uint32_t p = 0; p < s->n; p++)
            w.position[order[k][p]] = p;
        for (int eager = 0; eager < 2; eager++) {
            serial_peak(s, order[k], uses_left, w.profile);
            const uint32_t n = form_waves(&w, eager);
            const uint64_t live = wave_peak(s, w.wave, n, delta);
            if (n > best->waves || (n == best->waves && live >= best->live))
                continue;
            best->waves = n;
            best->live = live;
            memcpy(best->wave, w.wave, s->n * sizeof *w.wave);
            memcpy(best->position, w.position, s->n * sizeof *w.position);
        }
    }
    return true;
}

/* A wave schedule run step by step is a serial order too, and may be better than the one it came from. Replaces the
 * worst order by it. */
static bool learn(sched *s, const result *r, uint32_t *order[ORDERS], uint64_t peak[ORDERS])
{
    uint32_t worst = 0, *place = tf_arena_array(&s->arena, uint32_t, (size_t)s->n + 1);
    uint32_t *uses_left = tf_arena_array(&s->arena, uint32_t, s->plan->buffers.n);
    uint32_t *at = tf_arena_array(&s->arena, uint32_t, s->n);
    if (!place || !uses_left || !at)
        return false;
    for (uint32_t k = 1; k < ORDERS; k++)
        worst = peak[k] > peak[worst] ? k : worst;
    for (uint32_t i = 0; i < s->n; i++) {
        at[r->position[i]] = i;
        place[r->wave[i] + 1]++;
    }
    for (uint32_t w = 1; w <= r->waves; w++)
        place[w] += place[w - 1];
    for (uint32_t p = 0; p < s->n; p++)
        order[worst][place[r->wave[at[p]]]++] = at[p];
    if (!polish(s, order[worst]) || !keep_segments(s, order[worst]))
        return false;
    peak[worst] = serial_peak(s, order[worst], uses_left, NULL);
    return true;
}

static bool reorder(sched *s, tf_plan *plan, const result *r)
{
    tf_step *sorted = tf_arena_array(&s->arena, tf_step, s->n);
    uint32_t *place = tf_arena_array(&s->arena, uint32_t, (size_t)r->waves + 1);
    uint32_t *at = tf_arena_array(&s->arena, uint32_t, s->n);
    if (!sorted || !place || !at)
        return false;
    for (uint32_t i = 0; i < s->n; i++) {
        at[r->position[i]] = i;
        place[r->wave[i] + 1]++;
    }
    for (uint32_t k = 1; k <= r->waves; k++)
        place[k] += place[k - 1];
    for (uint32_t p = 0; p < s->n; p++) {
        tf_step *to = &sorted[place[r->wave[at[p]]]++];
        *to = plan->steps.data[at[p]];
        to->wave = r->wave[at[p]];
    }
    for (uint32_t b = 0; b < plan->buffers.n; b++) {
        tf_buffer *x = &plan->buffers.data[b];
        x->first_wave = NONE;
        x->last_wave = 0;
        for (uint32_t k = s->user_first[b]; k < s->user_first[b + 1]; k++) {
            x->first_wave = TF_MIN(x->first_wave, r->wave[s->user[k]]);
            x->last_wave = TF_MAX(x->last_wave, r->wave[s->user[k]]);
        }
    }
    if (s->n)
        memcpy(plan->steps.data, sorted, s->n * sizeof *sorted);
    return true;
}

bool tf_schedule(tf_plan *plan)
{
    sched s = { .plan = plan };
    uint32_t *order[ORDERS];
    uint64_t peak[ORDERS];
    result best = { 0 };
    tf_arena_init(&s.arena, &plan->arena.allocator);
    bool ok = analyse(&s) && make_orders(&s, order, peak);
    plan->serial_bytes = UINT64_MAX;
    for (int round = 0; ok && round < ROUNDS; round++) {
        uint64_t lowest = peak[0];
        for (uint32_t k = 1; k < ORDERS; k++)
            lowest = TF_MIN(lowest, peak[k]);
        if (lowest >= plan->serial_bytes)
            break;
        plan->serial_bytes = lowest;
        ok = best_waves(&s, order, peak, lowest, &best) && learn(&s, &best, order, peak);
    }
    ok = ok && reorder(&s, plan, &best);
    if (ok) {
        plan->waves = best.waves;
        plan->live_bytes = best.live;
    }
    tf_arena_release(&s.arena);
    return ok;
}
