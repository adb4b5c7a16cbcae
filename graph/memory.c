/* memory.c - offsets for arena buffers: intervals of waves on one axis, bytes on the other.
 *
 * Two buffers live in a common wave never overlap, so reusing memory never needs a barrier beyond the wave edges.
 * Buffers are placed one after the other, each into the lowest gap that holds it; all depends on the order. Orders
 * tried: a skyline (always fill the lowest ledge with the longest-lived buffer that fits there), earliest first,
 * largest area first, largest first. Each is then improved: the first buffer that would exceed the best result
 * so far moves to the front, and placing starts again. The smallest result is kept.
 *
 * Chunks are one VkBuffer each. Buffers that share a descriptor slot of some kernel must lie in one chunk, which
 * then is no larger than a storage binding. */
#include "plan.h"

#include <string.h>

#define NONE UINT32_MAX
enum { ALIGN = 256, RETRIES = 200, WORK_MAX = 8000000, SKYLINE_MAX = 4000 };

typedef struct item {
    uint32_t buffer, first, last;
    uint64_t size, offset;
    uint32_t chunk, group;
    uint32_t next;           /* next item of the group, NONE: the end */
} item;

typedef struct group {
    uint32_t head;           /* items that share a chunk */
    uint64_t size, area;     /* of the largest member; size times waves over all members */
    uint32_t first;
    bool several;            /* more than one member: placed before the others, so that a slot's range stays short */
} group;

typedef struct spot {        /* a placed item; what finding a gap reads */
    uint64_t offset, end;
    uint32_t first, last, item;
} spot;

typedef struct packing {
    tf_arena arena;
    const tf_plan *plan;
    item *items;
    group *groups;
    uint32_t *order, *best_order, *spare; /* of groups */
    uint32_t n, n_groups;
    uint64_t limit;          /* of a chunk */
    spot *spots;             /* of all chunks, by chunk and offset */
    uint32_t *chunk_first;   /* chunk c: spots[chunk_first[c] .. chunk_first[c + 1]) */
    uint64_t *chunk_bytes;
    uint32_t chunks;
    uint64_t work;           /* spots looked at: bounds the search */
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
        *t = (item){ .buffer = b, .first = x->first_wave, .last = x->last_wave, .group = group_of[r] - 1,
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

/* Lowest offset in the chunk where the item fits below the limit; *at: its place among the spots. */
static bool find_gap(packing *k, item *t, uint32_t chunk, uint64_t limit, uint32_t *at)
{
    const spot *s = k->spots + k->chunk_first[chunk], *const end = k->spots + k->chunk_first[chunk + 1];
    uint64_t low = 0;
    k->work += (uint64_t)(end - s);
    for (; s < end; s++) {
        if (s->last < t->first || t->last < s->first)
            continue;
        if (s->offset >= low && s->offset - low >= t->size)
            break;
        low = TF_MAX(low, s->end);
    }
    if (low > limit || t->size > limit - low)
        return false;
    t->offset = low;
    uint32_t a = k->chunk_first[chunk], b = k->chunk_first[chunk + 1];
    while (a < b) {
        const uint32_t mid = a + (b - a) / 2;
        if (k->spots[mid].offset <= low)
            a = mid + 1;
        else
            b = mid;
    }
    *at = a;
    return true;
}

static void insert(packing *k, uint32_t i, uint32_t chunk, uint32_t at)
{
    item *t = &k->items[i];
    memmove(k->spots + at + 1, k->spots + at, (k->chunk_first[k->chunks] - at) * sizeof *k->spots);
    k->spots[at] = (spot){ t->offset, t->offset + t->size, t->first, t->last, i };
    t->chunk = chunk;
    for (uint32_t c = chunk + 1; c <= k->chunks; c++)
        k->chunk_first[c]++;
}

static void withdraw(packing *k, uint32_t i)
{
    const uint32_t chunk = k->items[i].chunk;
    uint32_t at = k->chunk_first[chunk];
    while (k->spots[at].item != i)
        at++;
    memmove(k->spots + at, k->spots + at + 1, (k->chunk_first[k->chunks] - at - 1) * sizeof *k->spots);
    for (uint32_t c = chunk + 1; c <= k->chunks; c++)
        k->chunk_first[c]--;
}

/* All members in one chunk, or none. */
static bool place_group(packing *k, const group *g, uint32_t chunk, uint64_t limit)
{
    uint32_t at;
    for (uint32_t i = g->head; i != NONE; i = k->items[i].next) {
        if (find_gap(k, &k->items[i], chunk, limit, &at)) {
            insert(k, i, chunk, at);
            continue;
        }
        for (uint32_t u = g->head; u != i; u = k->items[u].next)
            withdraw(k, u);
        return false;
    }
    return true;
}

/* Place all groups in k->order. Returns the bytes of all chunks, or `stop` as soon as they reach it; *culprit is the
 * position in the order that did. */
static uint64_t place_all(packing *k, uint64_t stop, uint32_t *culprit)
{
    uint64_t total = 0;
    k->chunks = 0;
    k->chunk_first[0] = 0;
    for (uint32_t o = 0; o < k->n_groups; o++) {
        const group *g = &k->groups[k->order[o]];
        uint32_t c = 0;
        while (c < k->chunks && !place_group(k, g, c, k->limit))
            c++;
        if (c == k->chunks) {
            k->chunk_bytes[c] = 0;
            k->chunk_first[c + 1] = k->chunk_first[c];
            k->chunks++;
            place_group(k, g, c, UINT64_MAX); /* alone it may be larger than the limit: bindings.c says so by name */
        }
        uint64_t bytes = k->chunk_bytes[c];
        for (uint32_t i = g->head; i != NONE; i = k->items[i].next)
            bytes = TF_MAX(bytes, k->items[i].offset + k->items[i].size);
        total += bytes - k->chunk_bytes[c];
        k->chunk_bytes[c] = bytes;
        if (total >= stop) {
            *culprit = o;
            return stop;
        }
    }
    return total;
}

/* ---- orders ------------------------------------------------------------------------------------- */

enum { BY_SKYLINE, BY_TIME, BY_AREA, BY_SIZE, ORDERS };

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

/* Skyline over waves: ledges of equal height, from the first wave to the last. */
typedef struct ledge { uint32_t first, last; uint64_t height; } ledge;

/* Replace ledge `at` by up to three: what the item leaves free on both sides, and the item's top. */
static uint32_t stack_item(ledge *l, uint32_t n, uint32_t at, const item *t)
{
    ledge parts[3];
    uint32_t count = 0;
    if (l[at].first < t->first)
        parts[count++] = (ledge){ l[at].first, t->first - 1, l[at].height };
    parts[count++] = (ledge){ t->first, t->last, l[at].height + t->size };
    if (t->last < l[at].last)
        parts[count++] = (ledge){ t->last + 1, l[at].last, l[at].height };
    memmove(l + at + count, l + at + 1, (n - at - 1) * sizeof *l);
    memcpy(l + at, parts, count * sizeof *l);
    return n + count - 1;
}

/* Nothing fits on the ledge: lift it to its lower neighbour and join equal heights. */
static uint32_t lift(ledge *l, uint32_t n, uint32_t at)
{
    const uint64_t left = at > 0 ? l[at - 1].height : UINT64_MAX, right = at + 1 < n ? l[at + 1].height : UINT64_MAX;
    l[at].height = TF_MIN(left, right);
    if (right == l[at].height) {
        l[at].last = l[at + 1].last;
        memmove(l + at + 1, l + at + 2, (n - at - 2) * sizeof *l);
        n--;
    }
    if (left == l[at].height) {
        l[at - 1].last = l[at].last;
        memmove(l + at, l + at + 1, (n - at - 1) * sizeof *l);
        n--;
    }
    return n;
}

/* The order in which a skyline places items, lowest ledge first. Placing again in this order puts nothing higher. */
static bool skyline_order(packing *k)
{
    uint32_t *rest = tf_arena_array(&k->arena, uint32_t, k->n);
    bool *seen = tf_arena_array(&k->arena, bool, k->n_groups);
    ledge *l = tf_arena_array(&k->arena, ledge, 2 * (size_t)k->n + 4);
    if (!rest || !seen || !l)
        return false;
    uint32_t n_rest = k->n, n = 1, out = 0;
    for (uint32_t i = 0; i < k->n; i++) /* longest first; insertion, stable */
        for (uint32_t j = rest[i] = i; j > 0; j--) {
            const item *a = &k->items[rest[j - 1]], *b = &k->items[rest[j]];
            const uint32_t la = a->last - a->first, lb = b->last - b->first;
            if (la > lb || (la == lb && a->size >= b->size))
                break;
            const uint32_t swap = rest[j];
            rest[j] = rest[j - 1];
            rest[j - 1] = swap;
        }
    l[0] = (ledge){ 0, k->plan->waves ? k->plan->waves - 1 : 0, 0 };
    for (uint32_t i = 0; i < k->n; i++)
        l[0].last = TF_MAX(l[0].last, k->items[i].last);
    while (n_rest) {
        uint32_t low = 0, r = 0;
        for (uint32_t i = 1; i < n; i++)
            low = l[i].height < l[low].height ? i : low;
        while (r < n_rest && (k->items[rest[r]].first < l[low].first || k->items[rest[r]].last > l[low].last))
            r++;
        if (r == n_rest) {
            n = lift(l, n, low);
            continue;
        }
        const item *t = &k->items[rest[r]];
        n = stack_item(l, n, low, t);
        memmove(rest + r, rest + r + 1, (--n_rest - r) * sizeof *rest);
        if (!seen[t->group])
            k->order[out++] = t->group;
        seen[t->group] = true;
    }
    return true;
}

static bool start_order(packing *k, int by)
{
    if (by == BY_SKYLINE)
        return k->n <= SKYLINE_MAX && skyline_order(k);
    for (uint32_t g = 0; g < k->n_groups; g++)
        k->order[g] = g;
    sort_order(k, k->order, k->spare, k->n_groups, by);
    return true;
}

/* The group that did not fit goes to the front of its kind. */
static bool promote(packing *k, uint32_t at)
{
    const uint32_t g = k->order[at];
    uint32_t front = 0;
    while (front < at && k->groups[k->order[front]].several && !k->groups[g].several)
        front++;
    memmove(k->order + front + 1, k->order + front, (at - front) * sizeof *k->order);
    k->order[front] = g;
    return at > front;
}

static void search(packing *k)
{
    uint64_t best = UINT64_MAX;
    uint32_t culprit = 0;
    for (int by = 0; by < ORDERS && best > k->plan->live_bytes; by++) {
        if ((best < UINT64_MAX && k->work > 4 * (uint64_t)WORK_MAX) || !start_order(k, by))
            continue;
        for (int t = 0; t < RETRIES; t++) {
            const uint64_t total = place_all(k, best, &culprit);
            if (total < best) {
                best = total;
                memcpy(k->best_order, k->order, k->n_groups * sizeof *k->order);
                if (best <= k->plan->live_bytes)
                    break;
                t = 0;
                place_all(k, best, &culprit); /* the one that reaches the top */
            }
            if (k->work > WORK_MAX / ORDERS * ((uint64_t)by + 1) || !promote(k, culprit))
                break;
        }
    }
    memcpy(k->order, k->best_order, k->n_groups * sizeof *k->order);
    place_all(k, UINT64_MAX, &culprit);
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
        k.order = tf_arena_array(&k.arena, uint32_t, k.n_groups);
        k.best_order = tf_arena_array(&k.arena, uint32_t, k.n_groups);
        k.spare = tf_arena_array(&k.arena, uint32_t, k.n_groups);
        k.spots = tf_arena_array(&k.arena, spot, k.n);
        k.chunk_first = tf_arena_array(&k.arena, uint32_t, (size_t)k.n + 2);
        k.chunk_bytes = tf_arena_array(&k.arena, uint64_t, k.n);
        ok = !k.arena.failed;
    }
    if (ok) {
        search(&k);
        ok = !k.arena.failed && deliver(&k, plan);
    }
    tf_arena_release(&k.arena);
    return ok;
}
