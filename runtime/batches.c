/* batches.c - how a run is cut into what is recorded and submitted.
 *
 * A run is a list of batches, each a stretch of steps in one command buffer, short enough for watchdogs. Long loops are not
 * recorded iteration by iteration: a chunk of iterations is recorded once, with indices that count from 0, and submitted
 * again and again, each time behind a prelude that writes where its iterations begin into the parameters of the kernels that
 * ask (TF_PARAM_ITERATION). A step is either in such chunks only or in none of them. */
#include "program.h"

#include <string.h>

enum {
    RUN_MAX = 1 << 28,      /* steps of a run */
    CHUNKS = 4,             /* a chunk has at most limits.recorded divided by this */
    RECORDED = 16,          /* times limits.recorded are the most, where loops cannot be cut */
    CHUNKS_MAX = 4096,      /* of one loop, unless its length asks for more */
    BATCHES_MAX = 2048
};

typedef struct cutter {
    tuff_program *p;
    uint64_t chunk;         /* loops of more steps than this are cut into chunks of so many */
    bool whole;             /* no loop is */
    uint64_t most_ns, used_ns;
    uint64_t recorded;
    uint32_t done;
    bool open;              /* the last batch may grow */
} cutter;

static tf_batch_plan *new_batch(cutter *k, tf_cursor first)
{
    tf_batch_plan *b = tf_push(&k->p->arena, &k->p->batches);
    if (!b) {
        tf_fault_set(&k->p->fault, TUFF_E_MEMORY, "out of host memory for the program");
        return NULL;
    }
    *b = (tf_batch_plan){ .first = first, .done = k->done };
    k->used_ns = 0;
    return b;
}

static bool count_recorded(cutter *k, uint64_t steps)
{
    k->recorded += steps;
    const uint64_t most = (uint64_t)RECORDED * k->p->dev->caps.limits.recorded;
    return k->recorded <= most ||
           tf_fault_set(&k->p->fault, TUFF_E_LIMIT,
                        "a run records more than %llu steps: loops that repeat nothing %d times, or with more than %llu steps an iteration, are recorded as a whole; "
                        "shorten them, or keep the values in states and run the program several times", (unsigned long long)most, TF_CHUNKED_TRIPS, (unsigned long long)k->chunk);
}

/* One step after the last: in its batch, or in one of its own if that is full. */
static bool add_step(cutter *k, tf_cursor at)
{
    tuff_program *p = k->p;
    const uint64_t ns = p->steps[at.step].ns;
    const bool full = p->dev->caps.on.serialize || k->used_ns > k->most_ns - TF_MIN(k->most_ns, ns);
    if (!k->open || (full && p->batches.data[p->batches.n - 1].count)) {
        tf_batch_plan *b = new_batch(k, at);
        if (!b)
            return false;
        b->cmd = p->n_cmds++;
        k->open = true;
    }
    p->batches.data[p->batches.n - 1].count++;
    k->used_ns += ns;
    k->done++;
    return count_recorded(k, 1);
}

/* Estimated duration of one iteration. */
static uint64_t iteration_ns(const tuff_program *p, uint32_t region)
{
    const tf_plan *plan = p->plan;
    uint64_t total = 0;
    for (uint32_t i = plan->regions.data[region - 1].first; i < plan->regions.data[region - 1].end; i++) {
        uint64_t ns = p->steps[i].ns;
        for (uint32_t r = plan->steps.data[i].region; r != region; r = plan->regions.data[r - 1].parent)
            ns *= (uint64_t)plan->regions.data[r - 1].count; /* a chunk's steps are few */
        total += ns;
    }
    return TF_MAX(total, 1);
}

/* `iterations` of a loop from at on: the recording of an equal chunk, if there is one. */
static bool add_chunk(cutter *k, uint32_t region, const tf_cursor *at, uint32_t steps)
{
    tuff_program *p = k->p;
    tf_batch_plan *b = new_batch(k, (tf_cursor){ .step = p->plan->regions.data[region - 1].first });
    if (!b)
        return false;
    k->open = false;
    b->region = region;
    b->count = steps;
    b->cmd = p->n_cmds;
    b->prelude = ++p->n_preludes;
    memcpy(b->base, at->at, sizeof b->base);
    for (uint32_t i = 0; i + 1 < p->batches.n && b->cmd == p->n_cmds; i++)
        if (p->batches.data[i].region == region && p->batches.data[i].count == steps)
            b->cmd = p->batches.data[i].cmd;
    k->done += steps;
    if (b->cmd < p->n_cmds)
        return true;
    p->n_cmds++;
    return count_recorded(k, steps);
}

static bool add_chunks(cutter *k, uint32_t region, tf_cursor *at)
{
    const tf_plan_region *r = &k->p->plan->regions.data[region - 1];
    const uint64_t once = r->run / (uint64_t)r->count, count = (uint64_t)r->count;
    uint64_t m = TF_MIN(k->chunk / once, count);
    m = TF_MIN(m, TF_MAX(k->most_ns / iteration_ns(k->p, region), count / CHUNKS_MAX + 1));
    if (r->odd) /* a chunk begins with an even iteration */
        m = TF_MAX(m / 2 * 2, 2);
    for (uint64_t i = 0; i < count; i += m) {
        at->at[r->depth - 1] = (int32_t)i;
        if (!add_chunk(k, region, at, (uint32_t)(TF_MIN(m, count - i) * once)))
            return false;
    }
    at->at[r->depth - 1] = 0;
    return true;
}

/* One iteration of region (0: the run), in the iterations `at` of the loops around. */
static bool cut(cutter *k, uint32_t region, tf_cursor *at)
{
    const tf_plan *plan = k->p->plan;
    const tf_plan_region *own = region ? &plan->regions.data[region - 1] : NULL;
    const bool odd = own && own->odd && at->at[own->depth - 1] % 2;
    const uint32_t end = !own ? plan->steps.n : own->odd && !odd ? own->odd : own->end;
    for (uint32_t i = !own ? 0 : odd ? own->odd : own->first; i < end;) {
        const uint32_t inner = tf_plan_loop_in(plan, region, i);
        at->step = i;
        if (!inner) {
            if (!add_step(k, *at))
                return false;
            i++;
            continue;
        }
        const tf_plan_region *r = &plan->regions.data[inner - 1];
        if (!k->whole && r->chunked && r->run > k->chunk && r->run / (uint64_t)r->count * (r->odd ? 2 : 1) <= k->chunk) {
            if (!add_chunks(k, inner, at))
                return false;
        } else
            for (; r->run && at->at[r->depth - 1] < r->count; at->at[r->depth - 1]++)
                if (!cut(k, inner, at))
                    return false;
        at->at[r->depth - 1] = 0;
        i = r->end;
    }
    return true;
}

bool tf_program_batches(tuff_program *p, uint64_t total_ns)
{
    const uint64_t n = tf_plan_run_steps(p->plan);
    if (n > RUN_MAX)
        return tf_fault_set(&p->fault, TUFF_E_LIMIT, "a run has %llu steps with all iterations of its loops; %d are possible: keep the values in states and run the program several times",
                            (unsigned long long)n, RUN_MAX);
    /* A CPU has no watchdog. */
    const bool cpu = p->dev->snapshot.type == VK_PHYSICAL_DEVICE_TYPE_CPU;
    cutter k = { .p = p, .chunk = p->dev->caps.limits.recorded / CHUNKS, .whole = n <= p->dev->caps.limits.recorded || p->dev->caps.on.serialize };
    k.most_ns = cpu ? UINT64_MAX : TF_MAX(TF_BATCH_NS, k.whole ? total_ns / (BATCHES_MAX / 2) : 0);
    p->n_run = (uint32_t)n;
    tf_cursor at = { .step = 0 };
    if (!cut(&k, 0, &at))
        return false;
    if (p->batches.n)
        return true;
    p->n_cmds = 1; /* nothing to do is a batch too */
    return new_batch(&k, tf_cursor_begin(p->plan)) != NULL;
}
