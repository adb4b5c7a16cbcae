/* memory.c - offsets for arena buffers: intervals of waves on one axis, bytes on the other.
 *
 * Two buffers live in a common wave never overlap, so reusing memory never needs a barrier beyond the wave edges.
 * Each buffer goes to the lowest gap that holds it, in three orders; then the buffer that ends highest is moved to
 * the front of the order a few times. The smallest result is kept. Chunks are one VkBuffer each. Buffers that share
 * a descriptor slot of some kernel must lie in one chunk, which then is no larger than a storage binding. */
#include "plan.h"

#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX
enum { ALIGN = 256, RETRIES = 40, MANY_ITEMS = 1500 };

typedef struct item {
    uint32_t buffer, first, last;
    uint64_t size, offset;
    uint32_t chunk;
    uint32_t next;           /* next item of the group, NONE: the end */
} item;

typedef struct group {
    uint32_t head;           /* items that share a chunk */
    uint64_t size, area;     /* of the largest member; size times waves over all members */
    uint32_t first;
    bool several;            /* more than one member: placed before the others, so that a slot's range stays short */
} group;

typedef struct packing {
    tf_arena arena;
    const tf_plan *plan;
    item *items;
    group *groups;
    uint32_t *order, *best_order; /* of groups */
    uint32_t n, n_groups;
    uint64_t limit;          /* of a chunk */
    uint32_t *placed;        /* items of all chunks, by chunk and offset */
    uint32_t *chunk_first;   /* chunk c: placed[chunk_first[c] .. chunk_first[c + 1]) */
    uint64_t *chunk_bytes;
    uint32_t chunks;
} packing;

uint64_t tf_arena_bytes(const tf_limits *limits, uint64_t bytes)
{
    return tf_align_up(bytes, TF_MAX((uint64_t)ALIGN, (uint64_t)limits->storage_align));
}

/* ---- groups ------------------------------------------------------------------------------------- */

static uint32_t root(uint32_t *parent, uint32_t i)
{
    while (parent[i] != i)
        i = parent[i] = parent[parent[i]];
    return i;
}

/* Buffers of one shared slot get one root. Returns whether any slot is shared. */
static bool unite_shared(const tf_plan *plan, uint32_t *parent)
{
    bool any = false;
    for (uint32_t i = 0; i < plan->steps.n; i++) {
        const tf_step *s = &plan->steps.data[i];
        uint32_t with = NONE;
        for (uint32_t j = 0; j < s->n_args; j++) {
            const tf_arg *a = &plan->args.data[s->arg + j];
            const tf_buffer *b = &plan->buffers.data[a->buffer];
            if (!a->shared || b->kind != TF_BUF_ARENA || b->bytes == 0)
                continue;
            if (with != NONE)
                parent[root(parent, a->buffer)] = root(parent, with);
            with = a->buffer;
            any = true;
        }
    }
    return any;
}

static bool collect(packing *k)
{
    const tf_plan *plan = k->plan;
    const uint32_t nb = plan->buffers.n;
    uint32_t *parent = tf_arena_array(&k->arena, uint32_t, nb);
    uint32_t *group_of = tf_arena_array(&k->arena, uint32_t, nb); /* root -> group + 1 */
    k->items = tf_arena_array(&k->arena, item, nb);
    k->groups = tf_arena_array(&k->arena, group, nb);
    if (k->arena.failed)
        return false;
    for (uint32_t b = 0; b < nb; b++)
        parent[b] = b;
    const bool sharing = unite_shared(plan, parent);
    for (uint32_t b = 0; b < nb; b++) {
        const tf_buffer *x = &plan->buffers.data[b];
        if (x->kind != TF_BUF_ARENA || x->bytes == 0 || x->first_wave > x->last_wave)
            continue;
        const uint32_t r = root(parent, b);
        if (!group_of[r]) {
            k->groups[k->n_groups++] = (group){ .head = NONE, .first = NONE };
            group_of[r] = k->n_groups;
        }
        group *g = &k->groups[group_of[r] - 1];
        item *t = &k->items[k->n];
        *t = (item){ .buffer = b, .first = x->first_wave, .last = x->last_wave,
                     .size = tf_arena_bytes(&plan->limits, x->bytes), .next = g->head };
        g->several = g->head != NONE;
        g->head = k->n++;
        g->size = TF_MAX(g->size, t->size);
        g->area += t->size * ((uint64_t)(t->last - t->first) + 1);
        g->first = TF_MIN(g->first, t->first);
    }
    k->limit = plan->limits.max_buffer ? plan->limits.max_buffer : UINT64_MAX;
    if (sharing && plan->limits.storage_range)
        k->limit = TF_MIN(k->limit, plan->limits.storage_range);
    return true;
}

/* ---- placing ------------------------------------------------------------------------------------ */

static bool fits_chunk(packing *k, item *t, uint32_t chunk, uint64_t limit, uint32_t *at)
{
    uint64_t low = 0;
    const uint32_t end = k->chunk_first[chunk + 1];
    uint32_t p = k->chunk_first[chunk];
    for (; p < end; p++) {
        const item *o = &k->items[k->placed[p]];
        if (o->last < t->first || t->last < o->first)
            continue;
        if (o->offset >= low && o->offset - low >= t->size)
            break;
        low = TF_MAX(low, o->offset + o->size);
    }
    if (low > limit || t->size > limit - low)
        return false;
    t->offset = low;
    for (p = k->chunk_first[chunk]; p < end && k->items[k->placed[p]].offset <= low; p++) {}
    *at = p;
    return true;
}

static void insert(packing *k, uint32_t i, uint32_t chunk, uint32_t at)
{
    const uint32_t n = k->chunk_first[k->chunks];
    memmove(k->placed + at + 1, k->placed + at, (n - at) * sizeof *k->placed);
    k->placed[at] = i;
    k->items[i].chunk = chunk;
    for (uint32_t c = chunk + 1; c <= k->chunks; c++)
        k->chunk_first[c]++;
}

static void withdraw(packing *k, uint32_t i)
{
    const uint32_t chunk = k->items[i].chunk, n = k->chunk_first[k->chunks];
    uint32_t at = k->chunk_first[chunk];
    while (k->placed[at] != i)
        at++;
    memmove(k->placed + at, k->placed + at + 1, (n - at - 1) * sizeof *k->placed);
    for (uint32_t c = chunk + 1; c <= k->chunks; c++)
        k->chunk_first[c]--;
}

/* All members in one chunk, or none. */
static bool place_group(packing *k, const group *g, uint32_t chunk, uint64_t limit)
{
    uint32_t at;
    for (uint32_t i = g->head; i != NONE; i = k->items[i].next) {
        if (fits_chunk(k, &k->items[i], chunk, limit, &at)) {
            insert(k, i, chunk, at);
            continue;
        }
        for (uint32_t u = g->head; u != i; u = k->items[u].next)
            withdraw(k, u);
        return false;
    }
    return true;
}

/* Place all groups in k->order; returns the bytes of all chunks. */
static uint64_t place_all(packing *k)
{
    k->chunks = 0;
    k->chunk_first[0] = 0;
    for (uint32_t o = 0; o < k->n_groups; o++) {
        const group *g = &k->groups[k->order[o]];
        uint32_t c = 0;
        while (c < k->chunks && !place_group(k, g, c, k->limit))
            c++;
        if (c == k->chunks) {
            k->chunks++;
            k->chunk_first[c + 1] = k->chunk_first[c];
            place_group(k, g, c, UINT64_MAX); /* alone it may be larger than the limit: bindings.c says so by name */
        }
    }
    uint64_t total = 0;
    for (uint32_t c = 0; c < k->chunks; c++) {
        k->chunk_bytes[c] = 0;
        for (uint32_t p = k->chunk_first[c]; p < k->chunk_first[c + 1]; p++)
            k->chunk_bytes[c] = TF_MAX(k->chunk_bytes[c], k->items[k->placed[p]].offset + k->items[k->placed[p]].size);
        total += k->chunk_bytes[c];
    }
    return total;
}

/* ---- orders ------------------------------------------------------------------------------------- */

enum { BY_SIZE, BY_AREA, BY_TIME, ORDERS };

static uint64_t key(const group *g, int by)
{
    return by == BY_SIZE ? g->size : by == BY_AREA ? g->area : UINT64_MAX - g->first;
}

static bool before(const packing *k, uint32_t a, uint32_t b, int by)
{
    const group *x = &k->groups[a], *y = &k->groups[b];
    if (x->several != y->several)
        return x->several;
    if (key(x, by) != key(y, by))
        return key(x, by) > key(y, by);
    if (x->area != y->area)
        return x->area > y->area;
    return a < b;
}

/* Merge sort: stable and without a global for the key. */
static void sort_order(const packing *k, uint32_t *order, uint32_t *spare, uint32_t n, int by)
{
    if (n < 2)
        return;
    const uint32_t half = n / 2;
    sort_order(k, order, spare, half, by);
    sort_order(k, order + half, spare, n - half, by);
    memcpy(spare, order, half * sizeof *order);
    uint32_t i = 0, j = half, out = 0;
    while (i < half)
        order[out++] = j < n && before(k, order[j], spare[i], by) ? order[j++] : spare[i++];
}

/* The group of the item that ends highest goes to the front of its kind: the next try gives it a low place. */
static bool promote_highest(packing *k, uint32_t *group_of_item)
{
    uint32_t top = NONE;
    uint64_t end = 0;
    for (uint32_t i = 0; i < k->n; i++)
        if (k->items[i].offset + k->items[i].size > end) {
            end = k->items[i].offset + k->items[i].size;
            top = i;
        }
    if (top == NONE)
        return false;
    uint32_t at = 0, front = 0;
    while (k->order[at] != group_of_item[top])
        at++;
    const uint32_t g = k->order[at];
    while (front < at && k->groups[k->order[front]].several && !k->groups[g].several)
        front++;
    memmove(k->order + front + 1, k->order + front, (at - front) * sizeof *k->order);
    k->order[front] = g;
    return at > front;
}

static void search(packing *k, uint32_t *spare, uint32_t *group_of_item)
{
    uint64_t best = UINT64_MAX;
    for (int by = 0; by < ORDERS && best > k->plan->live_bytes; by++) {
        for (uint32_t g = 0; g < k->n_groups; g++)
            k->order[g] = g;
        sort_order(k, k->order, spare, k->n_groups, by);
        for (int t = 0; t <= (k->n > MANY_ITEMS ? 0 : RETRIES); t++) {
            if (t > 0 && !promote_highest(k, group_of_item))
                break;
            const uint64_t total = place_all(k);
            if (total < best) {
                best = total;
                memcpy(k->best_order, k->order, k->n_groups * sizeof *k->order);
            }
            if (best <= k->plan->live_bytes)
                break;
        }
    }
    memcpy(k->order, k->best_order, k->n_groups * sizeof *k->order);
    place_all(k);
}

static bool total_fits(const packing *k)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < k->n; i++)
        if (k->items[i].size > UINT64_MAX / 4 || !tf_add_u64(&sum, sum, k->items[i].size))
            return false;
    return sum <= UINT64_MAX / 4;
}

static bool deliver(const packing *k, tf_plan *plan)
{
    plan->chunks.n = 0;
    plan->arena_bytes = 0;
    for (uint32_t c = 0; c < k->chunks; c++) {
        uint64_t *bytes = tf_push(&plan->arena, &plan->chunks);
        if (!bytes)
            return false;
        *bytes = k->chunk_bytes[c];
        plan->arena_bytes += k->chunk_bytes[c];
    }
    for (uint32_t i = 0; i < k->n; i++) {
        plan->buffers.data[k->items[i].buffer].chunk = k->items[i].chunk;
        plan->buffers.data[k->items[i].buffer].offset = k->items[i].offset;
    }
    return true;
}

bool tf_place(tf_plan *plan)
{
    packing k = { .plan = plan };
    tf_arena_init(&k.arena, &plan->arena.allocator);
    bool ok = collect(&k) && total_fits(&k);
    if (ok) {
        uint32_t *spare = tf_arena_array(&k.arena, uint32_t, k.n_groups);
        uint32_t *group_of_item = tf_arena_array(&k.arena, uint32_t, k.n);
        k.order = tf_arena_array(&k.arena, uint32_t, k.n_groups);
        k.best_order = tf_arena_array(&k.arena, uint32_t, k.n_groups);
        k.placed = tf_arena_array(&k.arena, uint32_t, k.n);
        k.chunk_first = tf_arena_array(&k.arena, uint32_t, (size_t)k.n + 1);
        k.chunk_bytes = tf_arena_array(&k.arena, uint64_t, k.n);
        ok = !k.arena.failed;
        for (uint32_t g = 0; ok && g < k.n_groups; g++)
            for (uint32_t i = k.groups[g].head; i != NONE; i = k.items[i].next)
                group_of_item[i] = g;
        if (ok) {
            search(&k, spare, group_of_item);
            ok = deliver(&k, plan);
        }
    }
    tf_arena_release(&k.arena);
    return ok;
}
