/* schedule.c - steps into waves: few barriers without much more memory than the best serial order needs.
 *
 * Walk a serial order (order.c); a wave is its first remaining step plus every ready step that can be moved up from
 * further back while the memory of all later positions stays within 1.25 times the lowest serial peak. Since the
 * rest could always go on serially, the bound holds by construction. The result with the fewest waves is kept, then
 * the one with the least memory. Run step by step it is one more serial order; if it is the best, again from there.
 * Waves never span regions. */
#include "order.h"

#include <string.h>

#define NONE UINT32_MAX
enum { REJECTS_MAX = 32, MANY_STEPS = 2000, ROUNDS = 4 };

/* ---- waves -------------------------------------------------------------------------------------- */

typedef struct waves {
    const tf_sched *s;
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
    const tf_sched *s = w->s;
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
    const tf_sched *s = w->s;
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

static int by_height(const tf_sched *s, const uint32_t *position, uint32_t a, uint32_t b)
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
    const tf_sched *s = w->s;
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
    const tf_sched *s = w->s;
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
static uint64_t wave_peak(const tf_sched *s, const uint32_t *wave, uint32_t waves_n, uint64_t *delta)
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

typedef struct result { uint32_t *wave, *position, waves; uint64_t live; } result;

static bool start_waves(tf_sched *s, waves *w, uint64_t budget)
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
static bool best_waves(tf_sched *s, uint64_t serial, result *best)
{
    waves w;
    uint32_t *uses_left = tf_arena_array(&s->arena, uint32_t, s->plan->buffers.n);
    uint64_t *delta = tf_arena_array(&s->arena, uint64_t, (size_t)s->n + 1);
    best->wave = tf_arena_array(&s->arena, uint32_t, s->n);
    best->position = tf_arena_array(&s->arena, uint32_t, s->n);
    if (!start_waves(s, &w, serial + serial / 4) || !uses_left || !delta)
        return false;
    best->waves = NONE;
    for (uint32_t k = 0; k < TF_ORDERS; k++) {
        if (s->peak[k] > (s->n > MANY_STEPS ? serial : w.budget))
            continue;
        w.order = s->order[k];
        for (uint32_t p = 0; p < s->n; p++)
            w.position[s->order[k][p]] = p;
        for (int eager = 0; eager < 2; eager++) {
            tf_sched_peak(s, s->order[k], uses_left, w.profile);
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

/* Steps by wave, and within a wave as in the serial order they came from. */
static uint32_t *wave_order(tf_sched *s, const result *r)
{
    uint32_t *order = tf_arena_array(&s->arena, uint32_t, s->n);
    uint32_t *at = tf_arena_array(&s->arena, uint32_t, s->n);
    uint32_t *place = tf_arena_array(&s->arena, uint32_t, (size_t)r->waves + 1);
    if (!order || !at || !place)
        return NULL;
    for (uint32_t i = 0; i < s->n; i++) {
        at[r->position[i]] = i;
        place[r->wave[i] + 1]++;
    }
    for (uint32_t k = 1; k <= r->waves; k++)
        place[k] += place[k - 1];
    for (uint32_t p = 0; p < s->n; p++)
        order[place[r->wave[at[p]]]++] = at[p];
    return order;
}

/* What an iteration finds in memory must outlast the iteration before: buffers used outside of a loop too, and those
 * that it reads before it writes them, live as long as the loop. Inner loops have higher numbers and come first. */
static bool extend_over_loops(tf_sched *s, tf_plan *plan)
{
    const uint32_t nb = plan->buffers.n;
    uint8_t *first = tf_arena_array(&s->arena, uint8_t, nb); /* 1: written first inside, 2: read first, 4: used outside */
    uint64_t *delta = tf_arena_array(&s->arena, uint64_t, (size_t)plan->waves + 1);
    if (!first || !delta)
        return false;
    for (uint32_t k = plan->regions.n; k > 0; k--) {
        const tf_plan_region *r = &plan->regions.data[k - 1];
        if (r->first == r->end)
            continue;
        memset(first, 0, nb * sizeof *first);
        for (uint32_t i = 0; i < plan->steps.n; i++) {
            const tf_arg *a = &plan->args.data[plan->steps.data[i].arg];
            const bool inside = i >= r->first && i < r->end;
            for (uint32_t j = 0; j < plan->steps.data[i].n_args; j++)
                first[a[j].buffer] |= !inside ? 4 : first[a[j].buffer] & 3 ? 0 : a[j].read ? 2 : 1;
        }
        for (uint32_t b = 0; b < nb; b++) {
            tf_buffer *x = &plan->buffers.data[b];
            if (!(first[b] & 2) && (first[b] & 5) != 5)
                continue;
            x->first_wave = TF_MIN(x->first_wave, plan->steps.data[r->first].wave);
            x->last_wave = TF_MAX(x->last_wave, plan->steps.data[r->end - 1].wave);
        }
    }
    uint64_t live = 0, peak = 0;
    for (uint32_t b = 0; b < nb; b++) {
        const tf_buffer *x = &plan->buffers.data[b];
        if (x->first_wave > x->last_wave)
            continue;
        delta[x->first_wave] += s->bytes[b];
        delta[x->last_wave + 1] -= s->bytes[b];
    }
    for (uint32_t w = 0; w < plan->waves; w++) {
        live += delta[w];
        peak = TF_MAX(peak, live);
    }
    plan->live_bytes = peak;
    return true;
}

static bool deliver(tf_sched *s, tf_plan *plan, const result *r, const uint32_t *order)
{
    tf_step *sorted = tf_arena_array(&s->arena, tf_step, s->n);
    if (!sorted)
        return false;
    for (uint32_t p = 0; p < s->n; p++) {
        sorted[p] = plan->steps.data[order[p]];
        sorted[p].wave = r->wave[order[p]];
    }
    if (s->n)
        memcpy(plan->steps.data, sorted, s->n * sizeof *sorted);
    for (uint32_t b = 0; b < plan->buffers.n; b++) {
        tf_buffer *x = &plan->buffers.data[b];
        x->first_wave = NONE;
        x->last_wave = 0;
        for (uint32_t k = s->user_first[b]; k < s->user_first[b + 1]; k++) {
            x->first_wave = TF_MIN(x->first_wave, r->wave[s->user[k]]);
            x->last_wave = TF_MAX(x->last_wave, r->wave[s->user[k]]);
        }
    }
    plan->waves = r->waves;
    plan->live_bytes = r->live;
    tf_plan_span(plan);
    return extend_over_loops(s, plan);
}

bool tf_schedule(tf_plan *plan)
{
    tf_sched s;
    result best = { 0 };
    uint32_t *order = NULL;
    bool ok = tf_sched_open(&s, plan);
    plan->serial_bytes = UINT64_MAX;
    for (int round = 0; ok && round < ROUNDS && tf_sched_lowest(&s) < plan->serial_bytes; round++) {
        plan->serial_bytes = tf_sched_lowest(&s);
        ok = best_waves(&s, plan->serial_bytes, &best);
        order = ok ? wave_order(&s, &best) : NULL;
        ok = order && tf_sched_learn(&s, order);
    }
    ok = ok && deliver(&s, plan, &best, order);
    tf_arena_release(&s.arena);
    return ok;
}
