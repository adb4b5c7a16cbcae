/* order.c - dependencies of steps, and serial orders that need little memory.
 *
 * Steps that touch one buffer, one of them writing, keep their order. Serial orders come from the given one and from
 * greedy list schedules, from the front and from the back, that prefer the step which frees most bytes or the one
 * that just became ready. Then single steps move where that saves memory. */
#include "order.h"

#include <string.h>

#define NONE UINT32_MAX
enum { POLISH_MAX = 300 }; /* steps */

/* ---- dependencies ------------------------------------------------------------------------------- */

typedef struct edge { uint32_t from, to; } edge;
typedef TF_ARRAY(edge) edges;

static bool add_edge(tf_sched *s, edges *e, uint32_t from, uint32_t to)
{
    if (from == NONE || from == to)
        return true;
    edge *x = tf_push(&s->arena, e);
    if (x)
        *x = (edge){ from, to };
    return x != NULL;
}

/* Group the edges by `from` (reverse: by `to`). */
static bool group(tf_sched *s, const edges *e, uint32_t keys, bool reverse, uint32_t **items, uint32_t **first)
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

typedef struct access { uint32_t writer, readers; } access; /* readers: head of a chain of links */
typedef struct link { uint32_t step, next; } link;

static bool find_edges(tf_sched *s, edges *out)
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

static bool find_touches(tf_sched *s, edges *out)
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

static bool analyse(tf_sched *s)
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
        s->segment[i] = s->segment[i - 1] + (p->steps.data[i].region != p->steps.data[i - 1].region || p->steps.data[i].phase != p->steps.data[i - 1].phase);
    for (uint32_t i = s->n; i-- > 0;)
        for (uint32_t k = s->succ_first[i]; k < s->succ_first[i + 1]; k++)
            s->height[i] = TF_MAX(s->height[i], s->height[s->succ[k]] + 1);
    return true;
}

/* ---- serial orders ------------------------------------------------------------------------------ */

uint64_t tf_sched_peak(const tf_sched *s, const uint32_t *order, uint32_t *uses_left, uint64_t *profile)
{
    uint64_t live = 0, peak = 0;
    for (uint32_t b = 0; b < s->plan->buffers.n; b++)
        uses_left[b] = s->user_first[b + 1] - s->user_first[b];
    for (uint32_t p = 0; p < s->n; p++) {
        const uint32_t *t = s->touch + s->touch_first[order[p]], n = s->touch_first[order[p] + 1] - s->touch_first[order[p]];
        for (uint32_t k = 0; k < n; k++)
            live += uses_left[t[k]] == s->user_first[t[k] + 1] - s->user_first[t[k]] ? s->bytes[t[k]] : 0;
        peak = TF_MAX(peak, live);
        profile[p] = live;
        for (uint32_t k = 0; k < n; k++)
            live -= --uses_left[t[k]] == 0 ? s->bytes[t[k]] : 0;
    }
    return peak;
}

/* Bytes that running the step adds to what stays live after it; negative: frees. */
static int64_t net_bytes(const tf_sched *s, uint32_t step, const uint32_t *uses_left)
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
static bool greedy_order(tf_sched *s, bool backward, bool newest_first, uint32_t *order)
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

static cost cost_of(const tf_sched *s, const uint32_t *order, uint32_t *uses_left, uint64_t *profile)
{
    cost c = { tf_sched_peak(s, order, uses_left, profile), 0 };
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
static bool polish(tf_sched *s, uint32_t *order)
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
static bool keep_segments(tf_sched *s, uint32_t *order)
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

/* ---- the set of orders -------------------------------------------------------------------------- */

static bool finish_order(tf_sched *s, uint32_t k)
{
    uint32_t *uses_left = tf_arena_array(&s->arena, uint32_t, s->plan->buffers.n);
    uint64_t *profile = tf_arena_array(&s->arena, uint64_t, s->n);
    if (!uses_left || !profile || !polish(s, s->order[k]) || !keep_segments(s, s->order[k]))
        return false;
    s->peak[k] = tf_sched_peak(s, s->order[k], uses_left, profile);
    return true;
}

bool tf_sched_open(tf_sched *s, const tf_plan *plan)
{
    *s = (tf_sched){ .plan = plan };
    tf_arena_init(&s->arena, &plan->arena.allocator);
    if (!analyse(s))
        return false;
    for (uint32_t k = 0; k < TF_ORDERS; k++) {
        s->order[k] = tf_arena_array(&s->arena, uint32_t, s->n);
        if (!s->order[k])
            return false;
        for (uint32_t i = 0; i < s->n; i++)
            s->order[k][i] = i;
        if (k > 0 && !greedy_order(s, k % 2 == 0, k > 2, s->order[k]))
            return false;
        if (!finish_order(s, k))
            return false;
    }
    return true;
}

bool tf_sched_learn(tf_sched *s, const uint32_t *order)
{
    uint32_t worst = 0;
    for (uint32_t k = 1; k < TF_ORDERS; k++)
        worst = s->peak[k] > s->peak[worst] ? k : worst;
    if (s->n)
        memcpy(s->order[worst], order, s->n * sizeof *order);
    return finish_order(s, worst);
}

uint64_t tf_sched_lowest(const tf_sched *s)
{
    uint64_t lowest = s->peak[0];
    for (uint32_t k = 1; k < TF_ORDERS; k++)
        lowest = TF_MIN(lowest, s->peak[k]);
    return lowest;
}
