/* profile.c - where a program's time goes: timestamps around every step, with a full barrier between steps so that
 * they do not overlap. The sum is therefore more than a run takes; whole runs are timed as they are. */
#include "program.h"

#include <stdlib.h>
#include <string.h>

typedef struct clock_info { uint64_t mask; double ns; } clock_info;

static bool read_clock(tuff_program *p, clock_info *c)
{
    VkQueueFamilyProperties q[32];
    uint32_t n = TF_COUNT(q);
    p->dev->vk.GetPhysicalDeviceQueueFamilyProperties(p->dev->physical, &n, q);
    const uint32_t bits = p->dev->family < n ? q[p->dev->family].timestampValidBits : 0;
    if (!bits)
        return tf_fault_set(&p->fault, TUFF_E_UNSUPPORTED, "queues of device %s have no timestamps", p->dev->snapshot.name);
    c->mask = bits >= 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1;
    c->ns = p->dev->snapshot.limits.timestampPeriod;
    return true;
}

static bool create_queries(tuff_program *p, uint32_t n, VkQueryPool *out)
{
    const VkQueryPoolCreateInfo info = { .sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO, .queryType = VK_QUERY_TYPE_TIMESTAMP, .queryCount = n };
    if (tf_vk_ok(p->dev, &p->fault, p->dev->vk.CreateQueryPool(p->dev->device, &info, NULL, out), "vkCreateQueryPool"))
        return true;
    *out = VK_NULL_HANDLE;
    return false;
}

/* One run into p->aux: query 2i before step i, 2i + 1 after it. whole: only before the first and after the last. */
static bool record(tuff_program *p, const tf_run_slot *slot, uint32_t index, VkQueryPool queries, bool whole)
{
    const tf_vk *vk = &p->dev->vk;
    const uint32_t n = p->plan->steps.n;
    if (!tf_begin(p, p->aux, true))
        return false;
    vk->CmdResetQueryPool(p->aux, queries, 0, whole ? 2 : 2 * n);
    tf_record_barrier(p, p->aux);
    for (uint32_t i = 0; i < (whole ? 1 : n); i++) {
        vk->CmdWriteTimestamp(p->aux, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, queries, 2 * i);
        tf_record_steps(p, slot, index, p->aux, whole ? tf_cursor_begin(p->plan) : (tf_cursor){ .step = i }, whole ? p->n_run : 1);
        tf_record_barrier(p, p->aux);
        vk->CmdWriteTimestamp(p->aux, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, queries, 2 * i + 1);
    }
    return tf_end(p, p->aux);
}

static bool run_once(tuff_program *p, const tf_run_slot *slot, uint32_t index, VkQueryPool queries, bool whole, uint64_t *stamps)
{
    const uint32_t n = whole ? 2 : 2 * p->plan->steps.n;
    const tf_batch batch = { &p->aux, 1 };
    uint64_t ticket;
    return record(p, slot, index, queries, whole) &&
           tf_submit(p->dev, &batch, 1, (tf_semaphores){ 0 }, (tf_semaphores){ 0 }, &ticket, &p->fault) &&
           tf_wait(p->dev, ticket, UINT64_MAX, &p->fault) &&
           tf_vk_ok(p->dev, &p->fault, p->dev->vk.GetQueryPoolResults(p->dev->device, queries, 0, n, n * sizeof *stamps, stamps, sizeof *stamps,
                                                                     VK_QUERY_RESULT_64_BIT | VK_QUERY_RESULT_WAIT_BIT), "vkGetQueryPoolResults");
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *v, uint32_t n)
{
    qsort(v, n, sizeof *v, ascending);
    return n % 2 ? v[n / 2] : 0.5 * (v[n / 2 - 1] + v[n / 2]);
}

/* samples: repeats values per step, step by step, and then those of whole runs. */
static bool measure(tuff_program *p, uint32_t repeats, VkQueryPool queries, uint64_t *stamps, double *samples)
{
    const uint32_t n = p->plan->steps.n;
    clock_info clock;
    if (!read_clock(p, &clock) || !tf_program_can_run(p) || !tf_pending_flush(p))
        return false;
    const uint32_t index = 0;
    tf_run_slot *slot = &p->slots[index];
    if (slot->lent)
        return tf_fault_set(&p->fault, TUFF_E_STATE, "slot 0 is in use by tuff_record");
    if (!tf_wait(p->dev, slot->ticket, UINT64_MAX, &p->fault) || !tf_slot_prepare(p, slot, index))
        return false;
    for (uint32_t r = 0; r <= repeats; r++) { /* the first round warms up */
        if (!run_once(p, slot, index, queries, true, stamps))
            return false;
        if (r)
            samples[n * repeats + r - 1] = (double)((stamps[1] - stamps[0]) & clock.mask) * clock.ns;
        if (!run_once(p, slot, index, queries, false, stamps))
            return false;
        for (uint32_t i = 0; r && i < n; i++)
            samples[i * repeats + r - 1] = (double)((stamps[2 * i + 1] - stamps[2 * i]) & clock.mask) * clock.ns;
    }
    memcpy(p->run_dims, p->dims, p->plan->dim_params.n * sizeof *p->dims);
    return p->ran = true;
}

tuff_status tf_program_profile(tuff_program *p, uint32_t repeats, double *step_ns, double *run_ns)
{
    const uint32_t n = p->plan->steps.n;
    tf_arena scratch;
    VkQueryPool queries = VK_NULL_HANDLE;
    if (p->n_preludes && run_ns) {
        tf_fault_set(&p->fault, TUFF_E_UNSUPPORTED, "a run of %u steps is too long to be profiled as a whole", p->n_run);
        return p->fault.status;
    }
    if (!repeats || !n) {
        tf_fault_set(&p->fault, TUFF_E_ARGUMENT, "there is nothing to profile: %u steps, %u repeats", n, repeats);
        return p->fault.status;
    }
    tf_arena_init(&scratch, &p->dev->allocator);
    uint64_t *stamps = tf_arena_array(&scratch, uint64_t, 2 * (size_t)n);
    double *samples = tf_arena_array(&scratch, double, ((size_t)n + 1) * repeats);
    bool ok = !scratch.failed || tf_fault_set(&p->fault, TUFF_E_MEMORY, "out of host memory for profiling");
    ok = ok && create_queries(p, 2 * n, &queries) && measure(p, repeats, queries, stamps, samples);
    for (uint32_t i = 0; ok && i < n; i++)
        step_ns[i] = median(samples + (size_t)i * repeats, repeats);
    if (ok && run_ns)
        *run_ns = median(samples + (size_t)n * repeats, repeats);
    if (queries)
        p->dev->vk.DestroyQueryPool(p->dev->device, queries, NULL);
    tf_arena_release(&scratch);
    return ok ? TUFF_OK : p->fault.status;
}
