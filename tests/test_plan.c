/* test_plan.c - properties of schedule, memory plan, bindings and checker over random plans, without a device.
 *
 * The oracle is a simulation: a step's results are hashes of its name and of what it reads. Run on whole tensors
 * in the order the steps were made, and again wave by wave on the bytes that the plan gives them, the visible
 * tensors must agree. So an order, an overlap or a copy that changes results shows without trusting the checker. */
#include "graph/plan.h"
#include "support/support.h"

#include <stdio.h>
#include <string.h>

static const tf_limits roomy = {
    .max_invocations = 128, .max_local = { 128, 128, 64 }, .shared_bytes = 16384, .storage_bindings = 8,
    .uniform_bindings = 12, .storage_range = 1u << 27, .uniform_range = 16384, .storage_align = 64,
    .max_groups = { 65535, 65535, 65535 }, .max_buffer = 1u << 30,
};

/* ---- building plans ------------------------------------------------------------------------------ */

static uint32_t add_buffer(tf_plan *p, tf_buffer_kind kind, uint64_t words)
{
    tf_buffer *b = tf_push(&p->arena, &p->buffers);
    *b = (tf_buffer){ .kind = kind, .type = { TUFF_F32, 1, { (int64_t)words } }, .bytes = words * 4,
                      .name = kind == TF_BUF_ARENA ? NULL : "port" };
    return p->buffers.n - 1;
}

static tf_step *add_step(tf_plan *p, tf_step_kind kind)
{
    const uint32_t i = p->steps.n;
    tf_step *s = tf_push(&p->arena, &p->steps);
    *s = (tf_step){ .kind = kind, .arg = p->args.n, .groups = 1, .label = tf_arena_printf(&p->arena, "s%u", i) };
    return s;
}

static void add_arg(tf_plan *p, uint32_t buffer, bool read, bool write)
{
    tf_arg *a = tf_push(&p->arena, &p->args);
    *a = (tf_arg){ .buffer = buffer, .read = read, .write = write };
    p->steps.data[p->steps.n - 1].n_args++;
}

/* One step: n_in reads, then one write. */
static uint32_t step_of(tf_plan *p, uint32_t out, uint32_t n_in, const uint32_t *in)
{
    add_step(p, TF_STEP_DISPATCH);
    for (uint32_t i = 0; i < n_in; i++)
        add_arg(p, in[i], true, false);
    add_arg(p, out, false, true);
    return out;
}
#define STEP(p, out, ...) step_of((p), (out), (uint32_t)COUNT(((uint32_t[]){ __VA_ARGS__ })), (uint32_t[]){ __VA_ARGS__ })

static tf_plan *new_plan(const tf_limits *limits)
{
    tf_plan *p = tf_plan_create(NULL);
    cr_assert_not_null(p);
    p->limits = *limits;
    return p;
}

/* A random program: kernels reading recent and old buffers, fills with partial writes after them, states read
 * before and after they are committed, outputs read again, sizes over three decades, and sometimes two regions. */
static tf_plan *random_plan(rng *r, const tf_limits *limits, uint32_t steps)
{
    tf_plan *p = new_plan(limits);
    const uint32_t state = add_buffer(p, TF_BUF_STATE, 1000), weight = add_buffer(p, TF_BUF_CONST, 64);
    uint32_t live[256], n_live = 0;
    for (int i = 0; i < 3; i++)
        live[n_live++] = add_buffer(p, TF_BUF_INPUT, 1 + rng_below(r, 5000));
    live[n_live++] = state;
    live[n_live++] = weight;
    const uint32_t split = rng_below(r, 4) == 0 ? steps / 2 : UINT32_MAX;
    const bool deep = rng_below(r, 2);
    for (uint32_t i = 0; i < steps && n_live < COUNT(live); i++) {
        const bool last = i + 1 == steps;
        const uint32_t scale = rng_below(r, 11);
        const uint64_t words = (uint64_t)(1 + rng_below(r, 20)) << scale;
        const uint32_t choice = rng_below(r, 12);
        const uint32_t out = last || choice == 0 ? add_buffer(p, TF_BUF_OUTPUT, words) : choice == 1 ? state
                           : add_buffer(p, TF_BUF_ARENA, words);
        const bool filled = out != state && choice == 2;
        if (filled) {
            add_step(p, TF_STEP_FILL)->region = i >= split;
            add_arg(p, out, false, true);
        }
        add_step(p, TF_STEP_DISPATCH)->region = i >= split;
        const uint32_t most = rng_below(r, 8) ? 3 : 9, reads = 1 + rng_below(r, most);
        for (uint32_t k = 0; k < reads; k++) {
            const uint32_t near = TF_MIN(n_live, deep ? 3u : 12u);
            const uint32_t b = rng_below(r, 5) ? live[n_live - 1 - rng_below(r, near)] : live[rng_below(r, n_live)];
            if (b != out)
                add_arg(p, b, true, false);
        }
        add_arg(p, out, filled || (out == state && rng_below(r, 2)), true);
        if (rng_below(r, 6) == 0) { /* a second result */
            live[n_live++] = add_buffer(p, TF_BUF_ARENA, words / 2 + 1);
            add_arg(p, live[n_live - 1], false, true);
        }
        if (out != state && n_live < COUNT(live))
            live[n_live++] = out;
    }
    return p;
}

/* The compiler's order of passes; kernels are made to fit, with a parameter per shared argument. */
static const char *finish(tf_plan *p)
{
    const char *wrong = NULL;
    if (!tf_copy_in_externals(p))
        return "tf_copy_in_externals";
    for (uint32_t i = 0; i < p->steps.n && !wrong; i++)
        wrong = tf_share_step(p, i);
    if (wrong)
        return wrong;
    if (!tf_schedule(p) || !tf_place(p))
        return "tf_schedule or tf_place";
    for (uint32_t i = 0; i < p->steps.n && !wrong; i++)
        wrong = tf_assign_bindings(p, i);
    for (uint32_t i = 0; i < p->steps.n && !wrong; i++) {
        tf_step *s = &p->steps.data[i];
        if (s->kind == TF_STEP_COPY || s->kind == TF_STEP_FILL)
            continue;
        s->kernel = p->kernels.n;
        s->param = p->params.n;
        for (uint32_t k = 0; k < s->n_args; k++)
            if (p->args.data[s->arg + k].shared) {
                tf_param *m = tf_push(&p->arena, &p->params);
                *m = (tf_param){ TF_PARAM_BASE, k };
                s->n_params++;
            }
        tf_kernel *kernel = tf_push(&p->arena, &p->kernels);
        *kernel = (tf_kernel){ .name = s->label, .algorithm = "test", .local = { 64, 1, 1 }, .n_bindings = s->n_bindings,
                               .n_params = s->n_params };
    }
    return wrong;
}

static bool expect_good(tf_plan *p, const char *what, int number)
{
    const char *wrong = finish(p);
    tf_str message;
    tf_str_init(&message, NULL);
    if (!wrong)
        wrong = tf_plan_check(p, &message);
    cr_expect_null(wrong, "%s %d: %s", what, number, wrong ? wrong : "");
    tf_str_release(&message);
    return !wrong;
}

/* ---- the simulation ------------------------------------------------------------------------------ */

typedef struct memory {
    uint64_t *tensor;       /* contents of buffers that are not in the arena (logical run: of all) */
    uint64_t **chunk;       /* a word per 16 bytes of the arena */
} memory;

static uint64_t load(const tf_plan *p, const memory *m, uint32_t buffer)
{
    const tf_buffer *b = &p->buffers.data[buffer];
    if (!m->chunk || b->kind != TF_BUF_ARENA)
        return m->tensor[buffer];
    const uint64_t first = b->offset / 16, n = (b->bytes + 15) / 16, *w = m->chunk[b->chunk] + first;
    for (uint64_t i = 1; i < n; i++)
        if (w[i] != w[0])
            return 0xdead; /* torn: parts of two tensors */
    return w[0];
}

static void store(const tf_plan *p, memory *m, uint32_t buffer, uint64_t x)
{
    const tf_buffer *b = &p->buffers.data[buffer];
    if (!m->chunk || b->kind != TF_BUF_ARENA) {
        m->tensor[buffer] = x;
        return;
    }
    for (uint64_t i = 0; i < (b->bytes + 15) / 16; i++)
        m->chunk[b->chunk][b->offset / 16 + i] = x;
}

/* What step i writes to its k-th argument, from what it reads now. */
static uint64_t result(const tf_plan *p, const memory *m, const tf_step *s, uint32_t k)
{
    const tf_arg *a = &p->args.data[s->arg];
    if (s->kind == TF_STEP_COPY)
        return load(p, m, a[0].buffer);
    uint64_t h = tf_hash_string(k, s->label);
    for (uint32_t i = 0; i < s->n_args; i++) {
        const uint64_t x = a[i].read ? load(p, m, a[i].buffer) : 0;
        h = tf_hash(h, &x, sizeof x);
    }
    return h;
}

/* All reads of steps [first, end) happen before all their writes, as in the worst case of a wave. */
static void run_together(const tf_plan *p, memory *m, uint32_t first, uint32_t end, tf_arena *scratch)
{
    TF_ARRAY(uint64_t) results = { 0 };
    for (uint32_t i = first; i < end; i++)
        for (uint32_t k = 0; k < p->steps.data[i].n_args; k++)
            if (p->args.data[p->steps.data[i].arg + k].write)
                *tf_push(scratch, &results) = result(p, m, &p->steps.data[i], k);
    uint32_t r = 0;
    for (uint32_t i = first; i < end; i++)
        for (uint32_t k = 0; k < p->steps.data[i].n_args; k++)
            if (p->args.data[p->steps.data[i].arg + k].write)
                store(p, m, p->args.data[p->steps.data[i].arg + k].buffer, results.data[r++]);
}

static memory new_memory(const tf_plan *p, bool placed, tf_arena *scratch)
{
    memory m = { .tensor = tf_arena_array(scratch, uint64_t, p->buffers.n) };
    for (uint32_t b = 0; b < p->buffers.n; b++)
        m.tensor[b] = tf_hash(1, &b, sizeof b);
    if (!placed)
        return m;
    m.chunk = tf_arena_array(scratch, uint64_t *, p->chunks.n + 1);
    for (uint32_t c = 0; c < p->chunks.n; c++)
        m.chunk[c] = tf_arena_array(scratch, uint64_t, p->chunks.data[c] / 16 + 1);
    return m;
}

/* Contents of all buffers outside the arena after a run in the steps' order, before any pass. */
static uint64_t *logical_run(const tf_plan *p, tf_arena *scratch)
{
    memory m = new_memory(p, false, scratch);
    for (uint32_t i = 0; i < p->steps.n; i++)
        run_together(p, &m, i, i + 1, scratch);
    return m.tensor;
}

static bool expect_same_results(const tf_plan *p, const uint64_t *want, uint32_t n_buffers, const char *what, int number)
{
    tf_arena scratch;
    tf_arena_init(&scratch, NULL);
    memory m = new_memory(p, true, &scratch);
    for (uint32_t first = 0, end; first < p->steps.n; first = end) {
        for (end = first + 1; end < p->steps.n && p->steps.data[end].wave == p->steps.data[first].wave; end++) {}
        run_together(p, &m, first, end, &scratch);
    }
    bool same = true;
    for (uint32_t b = 0; b < n_buffers && same; b++)
        same = p->buffers.data[b].kind == TF_BUF_ARENA || m.tensor[b] == want[b];
    cr_expect(same, "%s %d: the planned run leaves other contents than the steps in order", what, number);
    tf_arena_release(&scratch);
    return same;
}

/* ---- schedule and memory ------------------------------------------------------------------------- */

Test(plan, random_plans_keep_their_meaning)
{
    static const uint32_t bindings[] = { 16, 8, 5, 4, 2, 1 };
    rng r = { 11 };
    for (int i = 0; i < 400; i++) {
        tf_limits limits = roomy;
        limits.storage_bindings = bindings[i % COUNT(bindings)];
        limits.uniform_bindings = 1 + rng_below(&r, 4);
        if (i % 5 == 4) { /* several chunks; nothing shares, for what shares may not fit one of them */
            limits.storage_bindings = 16;
            limits.max_buffer = limits.storage_range = 1 << 17;
        }
        tf_plan *p = random_plan(&r, &limits, 1 + rng_below(&r, 60));
        tf_arena scratch;
        tf_arena_init(&scratch, NULL);
        const uint32_t n = p->buffers.n;
        const uint64_t *want = logical_run(p, &scratch);
        const bool good = expect_good(p, "plan", i) && expect_same_results(p, want, n, "plan", i);
        tf_arena_release(&scratch);
        tf_plan_destroy(p);
        if (!good)
            return;
    }
}

Test(plan, memory_is_near_its_bounds)
{
    rng r = { 5 };
    double placed = 0, waved = 0;
    int several = 0;
    const int plans = 200;
    for (int i = 0; i < plans; i++) {
        tf_plan *p = random_plan(&r, &roomy, 10 + rng_below(&r, 50));
        if (expect_good(p, "plan", i) && p->live_bytes) {
            cr_expect_leq(p->live_bytes, p->serial_bytes + p->serial_bytes / 4);
            cr_expect_geq(p->live_bytes, p->serial_bytes * 3 / 4); /* waves hardly need less than a serial order */
            cr_expect_geq(p->arena_bytes, p->live_bytes);
            cr_expect_leq((double)p->arena_bytes, 1.1 * (double)p->live_bytes, "plan %d: arena %llu, live %llu", i,
                          (unsigned long long)p->arena_bytes, (unsigned long long)p->live_bytes);
            several += p->waves < p->steps.n;
            placed += (double)p->arena_bytes / (double)p->live_bytes;
            waved += (double)p->live_bytes / (double)p->serial_bytes;
        }
        tf_plan_destroy(p);
    }
    cr_expect_leq(placed / plans, 1.01, "mean arena / live is %.4f", placed / plans);
    cr_expect_gt(several, plans / 2, "only %d of %d plans have a wave of several steps", several, plans);
    cr_log_info("mean arena / live %.4f, mean live / serial %.4f", placed / plans, waved / plans);
}

/* The least peak over all orders, by trying them all. */
typedef struct exhaustive { const tf_plan *p; uint64_t bytes[64]; uint32_t uses[64], left[64]; uint64_t best; } exhaustive;

static void try_orders(exhaustive *x, uint32_t done, uint64_t live, uint64_t peak)
{
    const tf_plan *p = x->p;
    if (peak >= x->best)
        return;
    if (done + 1 == 1u << p->steps.n) {
        x->best = peak;
        return;
    }
    for (uint32_t i = 0; i < p->steps.n; i++) {
        const tf_step *s = &p->steps.data[i];
        bool ready = !(done >> i & 1);
        for (uint32_t j = 0; j < i && ready; j++) /* steps that write what this one reads; single assignment here */
            for (uint32_t k = 0; k < s->n_args && ready; k++)
                ready = (done >> j & 1) || p->args.data[p->steps.data[j].arg + p->steps.data[j].n_args - 1].buffer != p->args.data[s->arg + k].buffer;
        if (!ready)
            continue;
        uint64_t now = live, after;
        for (uint32_t k = 0; k < s->n_args; k++) {
            const uint32_t b = p->args.data[s->arg + k].buffer;
            now += x->left[b] == x->uses[b] ? x->bytes[b] : 0;
        }
        after = now;
        for (uint32_t k = 0; k < s->n_args; k++) {
            const uint32_t b = p->args.data[s->arg + k].buffer;
            after -= --x->left[b] == 0 ? x->bytes[b] : 0;
        }
        try_orders(x, done | 1u << i, after, TF_MAX(peak, now));
        for (uint32_t k = 0; k < s->n_args; k++)
            x->left[p->args.data[s->arg + k].buffer]++;
    }
}

Test(plan, serial_order_is_near_the_best_of_all)
{
    rng r = { 3 };
    double sum = 0;
    int plans = 0;
    for (int i = 0; i < 150; i++) {
        tf_plan *p = new_plan(&roomy);
        uint32_t made[16], n = 0;
        made[n++] = add_buffer(p, TF_BUF_INPUT, 10);
        for (int s = 0; s < 8; s++) {
            const uint32_t out = add_buffer(p, TF_BUF_ARENA, 64u * (1 + rng_below(&r, 30)));
            const uint32_t a = made[rng_below(&r, n)], b = made[n - 1 - rng_below(&r, TF_MIN(n, 4u))];
            step_of(p, out, a == b ? 1 : 2, (uint32_t[]){ a, b });
            made[n++] = out;
        }
        exhaustive x = { .p = p, .best = UINT64_MAX };
        for (uint32_t b = 0; b < p->buffers.n; b++)
            x.bytes[b] = p->buffers.data[b].kind == TF_BUF_ARENA ? tf_arena_bytes(&roomy, p->buffers.data[b].bytes) : 0;
        for (uint32_t k = 0; k < p->args.n; k++)
            x.left[p->args.data[k].buffer] = ++x.uses[p->args.data[k].buffer];
        try_orders(&x, 0, 0, 0);
        cr_assert(tf_schedule(p));
        cr_expect_geq(p->serial_bytes, x.best, "plan %d: below what is possible", i);
        cr_expect_leq((double)p->serial_bytes, 1.1 * (double)x.best, "plan %d: serial %llu, best %llu", i,
                      (unsigned long long)p->serial_bytes, (unsigned long long)x.best);
        sum += (double)p->serial_bytes / (double)x.best;
        plans++;
        tf_plan_destroy(p);
    }
    cr_log_info("mean serial / best %.4f", sum / plans);
    cr_expect_leq(sum / plans, 1.002, "mean serial / best is %.4f", sum / plans);
}

Test(plan, independent_steps_share_waves)
{
    tf_plan *p = new_plan(&roomy);
    const uint32_t x = add_buffer(p, TF_BUF_INPUT, 1000);
    uint32_t end[6];
    for (uint32_t c = 0; c < COUNT(end); c++) { /* six chains of three, made one after the other */
        const uint32_t a = STEP(p, add_buffer(p, TF_BUF_ARENA, 1000), x), b = STEP(p, add_buffer(p, TF_BUF_ARENA, 100), a);
        end[c] = STEP(p, add_buffer(p, TF_BUF_OUTPUT, 100), b);
    }
    cr_assert(expect_good(p, "chains", 0));
    cr_expect_leq(p->live_bytes, p->serial_bytes + p->serial_bytes / 4);
    cr_expect_leq(p->waves, 18u);
    tf_plan_destroy(p);

    p = new_plan(&roomy); /* nothing in the arena to save: the waves are the depth */
    const uint32_t y = add_buffer(p, TF_BUF_INPUT, 1000);
    for (uint32_t c = 0; c < 6; c++)
        STEP(p, add_buffer(p, TF_BUF_OUTPUT, 100), STEP(p, add_buffer(p, TF_BUF_OUTPUT, 100), y));
    cr_assert(expect_good(p, "outputs", 0));
    cr_expect_eq(p->waves, 2u);
    tf_plan_destroy(p);

    p = new_plan(&roomy); /* q, k, v projections, then attention */
    const uint32_t t = add_buffer(p, TF_BUF_INPUT, 4096);
    uint32_t qkv[3];
    for (int i = 0; i < 3; i++)
        qkv[i] = STEP(p, add_buffer(p, TF_BUF_ARENA, 4096), t);
    STEP(p, add_buffer(p, TF_BUF_OUTPUT, 4096), qkv[0], qkv[1], qkv[2]);
    cr_assert(expect_good(p, "qkv", 0));
    cr_expect_eq(p->waves, 2u);
    tf_plan_destroy(p);
}

Test(plan, states_are_read_before_they_are_committed)
{
    tf_plan *p = new_plan(&roomy);
    const uint32_t s = add_buffer(p, TF_BUF_STATE, 64), o = add_buffer(p, TF_BUF_OUTPUT, 64), o2 = add_buffer(p, TF_BUF_OUTPUT, 64);
    const uint32_t t = STEP(p, add_buffer(p, TF_BUF_ARENA, 64), s);
    STEP(p, o, s);
    STEP(p, s, t);
    STEP(p, o2, s);
    cr_assert(expect_good(p, "state", 0));
    cr_expect_eq(p->waves, 3u);
    tf_plan_destroy(p);
}

Test(plan, empty_and_zero_sized_plans)
{
    tf_plan *p = new_plan(&roomy);
    cr_expect(expect_good(p, "empty", 0));
    cr_expect_eq(p->waves, 0u);
    cr_expect_eq(p->arena_bytes, 0u);
    tf_plan_destroy(p);

    p = new_plan(&roomy);
    const uint32_t none = STEP(p, add_buffer(p, TF_BUF_ARENA, 0), add_buffer(p, TF_BUF_INPUT, 0));
    STEP(p, add_buffer(p, TF_BUF_OUTPUT, 8), none);
    cr_expect(expect_good(p, "zero", 0));
    cr_expect_eq(p->arena_bytes, 0u);
    tf_plan_destroy(p);
}

Test(plan, a_long_plan_is_scheduled_in_reasonable_time)
{
    tf_plan *p = new_plan(&roomy);
    rng r = { 9 };
    uint32_t made[3001], n = 0;
    made[n++] = add_buffer(p, TF_BUF_INPUT, 1000);
    while (n < COUNT(made)) {
        const uint32_t a = made[n - 1 - rng_below(&r, TF_MIN(n, 40u))], b = made[n - 1 - rng_below(&r, TF_MIN(n, 5u))];
        made[n] = step_of(p, add_buffer(p, TF_BUF_ARENA, 64 + rng_below(&r, 4000)), a == b ? 1 : 2, (uint32_t[]){ a, b });
        n++;
    }
    cr_assert(expect_good(p, "long", 0)); /* ctest's time limit is the measure */
    cr_expect_leq((double)p->arena_bytes, 1.1 * (double)p->live_bytes);
    tf_plan_destroy(p);
}

/* ---- bindings ------------------------------------------------------------------------------------ */

Test(plan, slots_follow_the_order_of_remedies)
{
    const tf_operand big = { .arena = true, .bytes = 1 << 20, .bits = 32 }, outside = { .bytes = 1 << 20, .bits = 32 };
    const tf_operand small = { .bytes = 64, .bits = 32 }, odd = { .bytes = 20, .bits = 32 }, half = { .bytes = 64, .bits = 16 };
    const tf_operand written = { .arena = true, .write = true, .bytes = 64, .bits = 32 };
    const tf_operand texels = { .bytes = 1 << 20, .bits = 32, .prefer_texel = true }, odd_texels = { .bytes = 1000, .bits = 16, .prefer_texel = true };
    const tf_operand many_texels = { .bytes = (1 << 20) + 16, .bits = 32, .prefer_texel = true }, made = { .arena = true, .write = true, .bytes = 64, .bits = 32, .prefer_texel = true };
    const tf_operand either = { .bytes = 64, .bits = 32, .prefer_texel = true, .prefer_uniform = true };
    const struct {
        const char *what;
        tf_operand o[6];
        uint32_t n, storage_limit, uniform_limit;
        tf_slots want;
        const char *slots; /* per operand: slot, u uniform, t texel, s shared */
    } cases[] = {
        { "room for all", { big, small, outside }, 3, 4, 4, { 3, 3, 0 }, "0 1 2" },
        { "small operand to uniform", { big, small, outside, outside }, 4, 3, 4, { 4, 3, 0 }, "0 1u 2 3" },
        { "the parameters take the only uniform binding", { big, small, outside, written }, 4, 3, 1, { 3, 3, 0 }, "0s 1 2 0s" },
        { "20 bytes are no 16-byte rows", { big, odd, outside, written }, 4, 3, 4, { 3, 3, 0 }, "0s 1 2 0s" },
        { "halves are no words", { big, half, outside, written }, 4, 3, 4, { 3, 3, 0 }, "0s 1 2 0s" },
        { "written operands stay storage", { big, written, big, outside }, 4, 2, 4, { 2, 2, 0 }, "0s 0s 0s 1" },
        { "the smallest share", { big, written, big, outside }, 4, 3, 4, { 3, 3, 0 }, "0s 0s 1 2" },
        { "outside operands need copies", { outside, outside, outside, big }, 4, 2, 4, { 4, 4, 2 }, "0 1 2 3s" },
        { "all but one outside copied", { outside, outside, outside }, 3, 2, 1, { 3, 3, 2 }, "0 1 2" },
        { "texels take no storage binding", { texels, either, texels, written }, 4, 2, 4, { 4, 2, 0 }, "0t 1t 2 3" },
        { "what is written, too large or no whole texels is no texel buffer", { made, many_texels, odd_texels, texels }, 4, 4, 4, { 4, 3, 0 }, "0 1 2 3t" },
        { "a wish for texels goes before one for a uniform block", { texels, texels, either }, 3, 4, 4, { 3, 0, 0 }, "0t 1t 2u" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        tf_limits limits = roomy;
        tf_slot slots[6];
        char text[64] = "";
        limits.storage_bindings = cases[i].storage_limit;
        limits.uniform_bindings = cases[i].uniform_limit;
        limits.texel_bindings = 2;
        limits.texel_range = 1 << 20;
        const tf_slots got = tf_share_bindings(cases[i].o, cases[i].n, &limits, slots);
        for (uint32_t k = 0; k < cases[i].n; k++)
            snprintf(text + strlen(text), sizeof text - strlen(text), "%s%u%s%s%s", k ? " " : "", slots[k].slot,
                     slots[k].uniform ? "u" : "", slots[k].texel ? "t" : "", slots[k].shared ? "s" : "");
        cr_expect_str_eq(text, cases[i].slots, "%s: slots %s, wanted %s", cases[i].what, text, cases[i].slots);
        cr_expect(got.n == cases[i].want.n && got.storage == cases[i].want.storage && got.copies == cases[i].want.copies,
                  "%s: %u slots, %u storage, %u copies", cases[i].what, got.n, got.storage, got.copies);
    }
}

Test(plan, externals_are_copied_once_and_written_back)
{
    tf_limits limits = roomy;
    limits.storage_bindings = 2;
    limits.uniform_bindings = 1;
    tf_plan *p = new_plan(&limits);
    const uint32_t a = add_buffer(p, TF_BUF_INPUT, 100), b = add_buffer(p, TF_BUF_INPUT, 50), o = add_buffer(p, TF_BUF_OUTPUT, 70);
    STEP(p, o, a, b);
    STEP(p, add_buffer(p, TF_BUF_ARENA, 10), a, b, o);
    tf_arena scratch;
    tf_arena_init(&scratch, NULL);
    const uint64_t *want = logical_run(p, &scratch);
    const uint32_t n = p->buffers.n;
    cr_assert(expect_good(p, "copies", 0));
    expect_same_results(p, want, n, "copies", 0);
    uint32_t copies = 0;
    for (uint32_t i = 0; i < p->steps.n; i++)
        copies += p->steps.data[i].kind == TF_STEP_COPY;
    cr_expect_eq(copies, 3u, "%u copies; wanted a, b in once and o", copies);
    tf_arena_release(&scratch);
    tf_plan_destroy(p);
}

Test(plan, binding_errors_name_kernel_and_numbers)
{
    tf_limits limits = roomy;
    limits.storage_range = 4096;
    tf_plan *p = new_plan(&limits);
    STEP(p, add_buffer(p, TF_BUF_OUTPUT, 64), add_buffer(p, TF_BUF_INPUT, 2000));
    const char *wrong = finish(p);
    cr_expect(wrong && strstr(wrong, "'s0'") && strstr(wrong, "8000") && strstr(wrong, "4096") && strstr(wrong, "port"), "%s", wrong);
    tf_plan_destroy(p);

    limits = roomy;
    limits.storage_bindings = 0;
    p = new_plan(&limits);
    STEP(p, add_buffer(p, TF_BUF_OUTPUT, 64), add_buffer(p, TF_BUF_INPUT, 2000));
    wrong = finish(p);
    cr_expect(wrong && strstr(wrong, "'s0'") && strstr(wrong, "needs 1 storage") && strstr(wrong, "allows 0"), "%s", wrong);
    tf_plan_destroy(p);
}

/* ---- the checker --------------------------------------------------------------------------------- */

/* A plan with sharing, a uniform operand, a copy, a fill, reuse of bytes and a state. */
static tf_plan *good_plan(void)
{
    tf_limits limits = roomy;
    limits.storage_bindings = 4;
    limits.uniform_bindings = 2;
    tf_plan *p = new_plan(&limits);
    const uint32_t x = add_buffer(p, TF_BUF_INPUT, 256), w = add_buffer(p, TF_BUF_CONST, 64), s = add_buffer(p, TF_BUF_STATE, 256);
    const uint32_t o = add_buffer(p, TF_BUF_OUTPUT, 256);
    const uint32_t a = STEP(p, add_buffer(p, TF_BUF_ARENA, 256), x), b = STEP(p, add_buffer(p, TF_BUF_ARENA, 512), a, x);
    const uint32_t c = STEP(p, add_buffer(p, TF_BUF_ARENA, 256), b), d = add_buffer(p, TF_BUF_ARENA, 128);
    add_step(p, TF_STEP_FILL);
    add_arg(p, d, false, true);
    STEP(p, o, a, b, c, w, s, x);
    add_step(p, TF_STEP_DISPATCH);
    add_arg(p, c, true, false);
    add_arg(p, d, true, true);
    const uint32_t e = STEP(p, add_buffer(p, TF_BUF_ARENA, 256), d, c);
    add_step(p, TF_STEP_COPY);
    add_arg(p, e, true, false);
    add_arg(p, s, false, true);
    const uint32_t t = add_buffer(p, TF_BUF_STATE, 16);
    STEP(p, add_buffer(p, TF_BUF_OUTPUT, 16), t);
    add_step(p, TF_STEP_FILL); /* s9 */
    add_arg(p, t, false, true);
    STEP(p, add_buffer(p, TF_BUF_OUTPUT, 16), o); /* s10 */
    return p;
}

static uint32_t find_step(const tf_plan *p, const char *label)
{
    for (uint32_t i = 0; i < p->steps.n; i++)
        if (!strcmp(p->steps.data[i].label, label))
            return i;
    cr_assert_fail("no step %s", label);
    return 0;
}

#define STEP_NAMED(p, label) (&(p)->steps.data[find_step((p), (label))])
#define ARG(p, label, i) (&(p)->args.data[STEP_NAMED(p, label)->arg + (i)])
#define BINDING(p, label, i) (&(p)->bindings.data[STEP_NAMED(p, label)->binding + (i)])
#define BUFFER(p, label, i) (&(p)->buffers.data[ARG(p, label, i)->buffer])

/* Move a step into the wave of another, keeping steps sorted by wave. */
static void into_wave_of(tf_plan *p, const char *label, const char *other)
{
    const uint32_t from = find_step(p, label), to = find_step(p, other);
    tf_step s = p->steps.data[from];
    s.wave = p->steps.data[to].wave;
    if (from < to)
        memmove(&p->steps.data[from], &p->steps.data[from + 1], (to - from) * sizeof s);
    else
        memmove(&p->steps.data[to + 1], &p->steps.data[to], (from - to) * sizeof s);
    p->steps.data[to] = s;
    for (uint32_t k = 0; k < s.n_args; k++) { /* so that only the hazard is left to find */
        tf_buffer *b = &p->buffers.data[p->args.data[s.arg + k].buffer];
        b->first_wave = TF_MIN(b->first_wave, s.wave);
        b->last_wave = TF_MAX(b->last_wave, s.wave);
    }
}

static void reader_with_writer(tf_plan *p) { into_wave_of(p, "s2", "s1"); }
static void writer_with_reader(tf_plan *p) { into_wave_of(p, "s9", "s8"); }
static void two_writers(tf_plan *p) { into_wave_of(p, "s5", "s3"); }
static void reader_before_writer(tf_plan *p) { into_wave_of(p, "s10", "s0"); }
static void writer_gone(tf_plan *p)
{
    const uint32_t i = find_step(p, "s1");
    memmove(&p->steps.data[i], &p->steps.data[i + 1], (--p->steps.n - i) * sizeof p->steps.data[0]);
}
static void overlap(tf_plan *p) { BUFFER(p, "s1", 0)->offset = BUFFER(p, "s1", 2)->offset; }
static void overlap_in_part(tf_plan *p) { BUFFER(p, "s1", 0)->offset = BUFFER(p, "s1", 2)->offset + 1024; }
static void misaligned(tf_plan *p) { BUFFER(p, "s6", 2)->offset += 16; }
static void beyond_chunk(tf_plan *p) { BUFFER(p, "s0", 1)->offset = p->chunks.data[0]; }
static void no_such_chunk(tf_plan *p) { BUFFER(p, "s0", 1)->chunk = 7; }
static void chunk_sum(tf_plan *p) { p->arena_bytes += 256; }
static void chunk_too_large(tf_plan *p) { p->limits.max_buffer = 256; }
static void interval_too_short(tf_plan *p) { BUFFER(p, "s0", 1)->last_wave = BUFFER(p, "s0", 1)->first_wave; }
static void interval_beyond(tf_plan *p) { BUFFER(p, "s0", 1)->last_wave = p->waves; }
static void no_such_kernel(tf_plan *p) { STEP_NAMED(p, "s1")->kernel = p->kernels.n; }
static void no_such_buffer(tf_plan *p) { ARG(p, "s1", 1)->buffer = p->buffers.n; }
static void no_such_arg(tf_plan *p) { STEP_NAMED(p, "s1")->n_args = p->args.n; }
static void no_such_param(tf_plan *p) { STEP_NAMED(p, "s1")->param = p->params.n + 1; }
static void no_such_binding(tf_plan *p) { ARG(p, "s1", 1)->binding = 3; }
static void wave_order(tf_plan *p) { STEP_NAMED(p, "s0")->wave = p->waves - 1; }
static void wave_beyond(tf_plan *p) { p->steps.data[p->steps.n - 1].wave = p->waves; }
static void region_in_wave(tf_plan *p) { STEP_NAMED(p, "s3")->region = 1; }
static void workgroup(tf_plan *p) { p->kernels.data[0].local[0] = 256; }
static void invocations(tf_plan *p) { p->kernels.data[0].local[1] = 4; }
static void shared_memory(tf_plan *p) { p->kernels.data[0].shared_bytes = 16385; }
static void too_many_groups(tf_plan *p) { STEP_NAMED(p, "s1")->groups = INT64_MAX / 4; }
static void negative_groups(tf_plan *p) { STEP_NAMED(p, "s1")->groups = -1; }
static void kernel_bindings(tf_plan *p) { p->kernels.data[STEP_NAMED(p, "s1")->kernel].n_bindings--; }
static void range_too_small(tf_plan *p) { BINDING(p, "s1", 1)->range -= 4; }
static void range_too_large(tf_plan *p) { BINDING(p, "s1", 1)->range = p->limits.storage_range + 4; }
static void range_beyond(tf_plan *p) { BINDING(p, "s1", 1)->range += 4; }
static void binding_misaligned(tf_plan *p) { BINDING(p, "s1", 1)->offset += 4; }
static void wrong_base(tf_plan *p)
{
    for (uint32_t k = 0; k < STEP_NAMED(p, "s4")->n_args; k++)
        ARG(p, "s4", k)->base += ARG(p, "s4", k)->shared ? 4 : 0;
}
static void too_few_bindings(tf_plan *p) { p->limits.storage_bindings = 3; }
static void too_few_uniforms(tf_plan *p) { p->limits.uniform_bindings = 1; }
static void constant_written(tf_plan *p) { ARG(p, "s4", 3)->write = true; }
static void neither(tf_plan *p) { ARG(p, "s1", 0)->read = false; }
static void copy_sizes(tf_plan *p) { BUFFER(p, "s7", 1)->bytes -= 4; }
static void copy_flags(tf_plan *p) { ARG(p, "s7", 1)->write = false; ARG(p, "s7", 1)->read = true; }
static void base_param(tf_plan *p) { p->params.data[0].a = 50; }
static void scalar_param(tf_plan *p) { p->params.data[0].kind = TF_PARAM_SCALAR; }
static void dim_param(tf_plan *p) { p->params.data[0] = (tf_param){ TF_PARAM_DIM, TF_DIM_BASE }; }
static void port_buffer(tf_plan *p)
{
    tf_plan_port *port = tf_push(&p->arena, &p->ports);
    *port = (tf_plan_port){ .kind = TF_PORT_OUTPUT, .name = "y", .buffer = p->buffers.n };
}

/* What is done to the plan, and words of the sentence that must come back. */
#define M(f, words) { #f, f, words }
static const struct { const char *name; void (*apply)(tf_plan *p); const char *words; } mutations[] = {
    M(reader_with_writer, "'s1' writes bytes of buffer 5 that step 's2' of the same wave 1 reads"),
    M(writer_with_reader, "'s9' writes bytes of buffer 9 that step 's8' of the same wave 0 reads"),
    M(two_writers, "of the same wave"), M(reader_before_writer, "no earlier wave has written"),
    M(writer_gone, "no earlier wave has written"), M(overlap, "overlap at byte"), M(overlap_in_part, "overlap at byte"),
    M(misaligned, "not a multiple of 64"), M(beyond_chunk, "of a chunk of"), M(no_such_chunk, "chunk 7 of 1"),
    M(chunk_sum, "chunks sum to"), M(chunk_too_large, "largest buffer is 256"), M(interval_too_short, "lives in waves 0 to 0"),
    M(interval_beyond, "lives until wave"), M(no_such_kernel, "runs kernel"), M(no_such_buffer, "names buffer"),
    M(no_such_arg, "outside the plan's arrays"), M(no_such_param, "outside the plan's arrays"), M(no_such_binding, "has binding 3 of 3"),
    M(wave_order, "after wave"), M(wave_beyond, "is of wave"), M(region_in_wave, "regions"), M(workgroup, "workgroup dim 0 is 256"),
    M(invocations, "256 invocations"), M(shared_memory, "16385 bytes of shared memory"), M(too_many_groups, "workgroups; the device allows"),
    M(negative_groups, "not a dim"), M(kernel_bindings, "its kernel declares 2"), M(range_too_small, "its binding covers"),
    M(range_too_large, "largest storage binding"), M(range_beyond, "ends at byte 1028 of a buffer of 1024"),
    M(binding_misaligned, "not a multiple of 64"), M(wrong_base, "has base"), M(too_few_bindings, "the device allows 3 and 2"),
    M(too_few_uniforms, "the device allows 4 and 1"), M(constant_written, "an input or a constant"), M(neither, "neither read nor written"),
    M(copy_sizes, "to a buffer of 1020"), M(copy_flags, "not marked read and written"), M(base_param, "names argument 50 of 7"),
    M(scalar_param, "is no scalar"), M(dim_param, "not in the plan"), M(port_buffer, "port 'y' names buffer"),
};

Test(plan, checker_finds_every_seeded_fault)
{
    for (size_t i = 0; i < COUNT(mutations); i++) {
        tf_plan *p = good_plan();
        tf_str message;
        tf_str_init(&message, NULL);
        cr_assert(expect_good(p, mutations[i].name, 0));
        mutations[i].apply(p);
        const char *wrong = tf_plan_check(p, &message);
        cr_expect(wrong && strstr(wrong, mutations[i].words), "%s: '%s', wanted '%s'", mutations[i].name, wrong ? wrong : "no fault",
                  mutations[i].words);
        tf_str_release(&message);
        tf_plan_destroy(p);
    }
}

/* Moving any step to the wave of any step it depends on, in any random plan, is a fault the checker finds: a
 * dependency that the simulation shows to matter. */
Test(plan, checker_finds_lost_dependencies)
{
    rng r = { 21 };
    uint32_t broken = 0;
    for (int i = 0; i < 60; i++) {
        tf_plan *p = random_plan(&r, &roomy, 30);
        cr_assert(expect_good(p, "plan", i));
        const uint32_t at = 1 + rng_below(&r, p->steps.n - 1);
        tf_step *s = &p->steps.data[at];
        for (uint32_t before = at; before-- > 0;) {
            tf_step *w = &p->steps.data[before];
            bool depends = false;
            for (uint32_t k = 0; k < s->n_args; k++)
                for (uint32_t j = 0; j < w->n_args; j++) {
                    const tf_arg *x = &p->args.data[s->arg + k], *y = &p->args.data[w->arg + j];
                    depends |= x->buffer == y->buffer && (x->write || y->write) && p->buffers.data[x->buffer].bytes;
                }
            if (!depends)
                continue;
            into_wave_of(p, s->label, w->label);
            tf_str message;
            tf_str_init(&message, NULL);
            cr_expect_not_null(tf_plan_check(p, &message), "plan %d: step %u moved to its source's wave", i, at);
            tf_str_release(&message);
            broken++;
            break;
        }
        tf_plan_destroy(p);
    }
    cr_expect_gt(broken, 30u);
}

/* ---- grid, dims, printing, failures --------------------------------------------------------------- */

Test(plan, grids_cover_their_groups)
{
    static const struct { uint32_t limit[3]; uint64_t groups; bool fits; } cases[] = {
        { { 65535, 65535, 65535 }, 0, true }, { { 65535, 65535, 65535 }, 1, true }, { { 65535, 65535, 65535 }, 65535, true },
        { { 65535, 65535, 65535 }, 65536, true }, { { 65535, 65535, 65535 }, UINT64_C(65535) * 65535 + 1, true },
        { { 65535, 65535, 65535 }, UINT64_C(65535) * 65535 * 65535, true },
        { { 65535, 65535, 65535 }, UINT64_C(65535) * 65535 * 65535 + 1, false }, { { 2, 3, 4 }, 23, true }, { { 2, 3, 4 }, 24, true },
        { { 2, 3, 4 }, 25, false }, { { 0, 0, 0 }, 1, false }, { { 7, 1, 5 }, 29, true }, { { UINT32_MAX, UINT32_MAX, 1 }, UINT64_MAX / 2, true },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        tf_limits l = { .max_groups = { cases[i].limit[0], cases[i].limit[1], cases[i].limit[2] } };
        uint32_t g[3];
        cr_expect_eq(tf_fold_grid(&l, cases[i].groups, g), cases[i].fits, "case %zu", i);
        if (!cases[i].fits)
            continue;
        const uint64_t rows = (uint64_t)g[1] * g[2], all = rows * g[0];
        cr_expect(g[0] <= l.max_groups[0] && g[1] <= TF_MAX(l.max_groups[1], 1u) && g[2] <= TF_MAX(l.max_groups[2], 1u), "case %zu", i);
        cr_expect(all >= cases[i].groups && all - cases[i].groups < rows + l.max_groups[0], "case %zu: %u x %u x %u", i, g[0], g[1], g[2]);
    }
}

Test(plan, dims_and_parameters_at_live_sizes)
{
    tf_plan *p = new_plan(&roomy);
    tf_dim_expr *e = tf_push(&p->arena, &p->dims); /* n <= 10 */
    *e = (tf_dim_expr){ .kind = TF_DIM_PARAM, .a = 0, .lo = 0, .hi = 10 };
    e = tf_push(&p->arena, &p->dims);              /* n * 3 */
    *e = (tf_dim_expr){ .kind = TF_DIM_BIN, .op = TUFF_DIM_MUL, .a = TF_DIM_BASE, .b = 3, .lo = 0, .hi = 30 };
    const int64_t live[] = { 4 }, n3 = TF_DIM_BASE + 1;
    cr_expect_eq(tf_plan_dim(p, n3, live), 12);
    cr_expect_eq(tf_plan_dim(p, n3, NULL), 30);
    cr_expect_eq(tf_plan_dim(p, 7, live), 7);
    const tf_type t = { TUFF_F16, 2, { n3, 5 } }, packed = { TUFF_I4, 1, { 3 } }, huge = { TUFF_F64, 2, { INT64_C(1) << 40, INT64_C(1) << 40 } };
    cr_expect_eq(tf_plan_bytes(p, &t, live), 120u);
    cr_expect_eq(tf_plan_bytes(p, &t, NULL), 300u);
    cr_expect_eq(tf_plan_bytes(p, &t, (int64_t[]){ 0 }), 0u);
    cr_expect_eq(tf_plan_bytes(p, &packed, NULL), 2u);
    cr_expect_eq(tf_plan_bytes(p, &huge, NULL), UINT64_MAX);

    STEP(p, add_buffer(p, TF_BUF_OUTPUT, 8), add_buffer(p, TF_BUF_INPUT, 8));
    p->args.data[0].base = 512;
    const tf_param base = { TF_PARAM_BASE, 0 }, dim = { TF_PARAM_DIM, n3 };
    cr_expect_eq(tf_plan_param(p, &p->steps.data[0], &base, live), 128u);
    cr_expect_eq(tf_plan_param(p, &p->steps.data[0], &dim, live), 12u);
    tf_plan_destroy(p);
}

Test(plan, equal_kernels_are_merged)
{
    static const struct { const char *glsl; uint32_t local, wanted; bool used; } cases[] = {
        { "a", 64, 0, true }, { "b", 64, 1, true }, { "a", 64, 0, true }, { "a", 32, 2, true }, { "c", 64, 9, false }, { "b", 64, 1, true },
        { NULL, 64, 3, true }, { NULL, 64, 4, true }, /* no text: nothing to compare */
    };
    tf_plan *p = new_plan(&roomy);
    const uint32_t x = add_buffer(p, TF_BUF_INPUT, 8);
    for (uint32_t i = 0; i < COUNT(cases); i++) {
        tf_kernel *k = tf_push(&p->arena, &p->kernels);
        *k = (tf_kernel){ .name = "k", .glsl = cases[i].glsl, .hash = 5, .local = { cases[i].local, 1, 1 } }; /* all collide */
        if (!cases[i].used)
            continue;
        STEP(p, add_buffer(p, TF_BUF_OUTPUT, 8), x);
        p->steps.data[p->steps.n - 1].kernel = i;
    }
    cr_assert(tf_merge_kernels(p));
    cr_expect_eq(p->kernels.n, 5u);
    for (uint32_t i = 0, s = 0; i < COUNT(cases); i++)
        if (cases[i].used)
            cr_expect_eq(p->steps.data[s++].kernel, cases[i].wanted, "kernel %u", i);
    tf_plan_destroy(p);
}

/* A reader of JSON that only says whether the text is JSON. */
static const char *json_value(const char *s);
static const char *json_space(const char *s) { return s + strspn(s, " \n\t\r"); }
static const char *json_text(const char *s)
{
    if (*s++ != '"')
        return NULL;
    for (; *s && *s != '"'; s++) {
        if ((unsigned char)*s < 0x20 || (*s == '\\' && !strchr("\"\\/bfnrtu", *++s)))
            return NULL;
    }
    return *s ? s + 1 : NULL;
}
static const char *json_list(const char *s, char close, bool keys)
{
    s = json_space(s + 1);
    if (*s == close)
        return s + 1;
    for (;;) {
        if (keys && (!(s = json_text(json_space(s))) || *(s = json_space(s)) != ':'))
            return NULL;
        if (!(s = json_value(keys ? s + 1 : s)))
            return NULL;
        s = json_space(s);
        if (*s == close)
            return s + 1;
        if (*s++ != ',')
            return NULL;
    }
}
static const char *json_value(const char *s)
{
    s = json_space(s);
    if (*s == '{' || *s == '[')
        return json_list(s, *s == '{' ? '}' : ']', *s == '{');
    if (*s == '"')
        return json_text(s);
    const size_t n = strspn(s, "0123456789");
    return n ? s + n : NULL;
}

Test(plan, explain_has_the_fields_it_promises)
{
    tf_plan *p = good_plan();
    cr_assert(expect_good(p, "explain", 0));
    p->steps.data[0].label = NULL; /* then the kernel's name stands for it */
    p->kernels.data[0].name = "matmul+bias+\"odd\\name\"\n";
    p->kernels.data[0].glsl = "void main() {}\n";
    tf_refusal *r = tf_push(&p->arena, &p->refusals);
    *r = (tf_refusal){ "softmax", "matmul", TF_REFUSE_ANCHOR };
    for (int i = 0; i < 3; i++) {
        r = tf_push(&p->arena, &p->refusals);
        *r = (tf_refusal){ "_rows", "add", TF_REFUSE_READERS };
    }
    static const struct { tuff_explain_format format; const char *words[16]; } cases[] = {
        { TUFF_EXPLAIN_TEXT, { "8 kernels", "barriers", "1 submit", "arena", "softmax -> matmul: two anchors never share a kernel\n",
                               "  rows -> add: several kernels read it and recomputing costs more than storing (3 times)", "test" } },
        { TUFF_EXPLAIN_JSON, { "\"kernels\"", "\"name\"", "\"ops\": [\"matmul\", \"bias\", \"\\\"odd\\\\name\\\"\\u000a\"]", "\"algorithm\"",
                               "\"workgroups\"", "\"bytes\"", "\"flops\"", "\"refusals\"", "\"reason\"", "\"arena_bytes\"", "\"live_bytes\"",
                               "\"barriers\"", "\"submits\": 1", "[\"softmax\", \"matmul\"]" } },
        { TUFF_EXPLAIN_DOT, { "digraph", "->", "ellipse" } },
        { TUFF_EXPLAIN_GLSL, { "void main() {}", "kernel 0", "no text" } },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        tf_str s;
        tf_str_init(&s, NULL);
        tf_plan_explain(p, cases[i].format, &s);
        for (size_t k = 0; cases[i].words[k]; k++)
            cr_expect(strstr(s.data, cases[i].words[k]), "format %zu lacks '%s':\n%s", i, cases[i].words[k], s.data);
        if (cases[i].format == TUFF_EXPLAIN_JSON) {
            const char *end = json_value(s.data);
            cr_expect(end && !*json_space(end), "not JSON:\n%s", s.data);
        }
        tf_str_release(&s);
    }
    tf_plan_destroy(p);
}

Test(plan, every_allocation_may_fail)
{
    uint64_t fail_at = 1;
    for (bool done = false; !done && fail_at < 500; fail_at++) {
        failing_allocator f = { 0 };
        const tuff_allocator allocator = failing(&f);
        tf_plan *made = good_plan(), *p = tf_plan_create(&allocator);
        tf_str message;
        tf_str_init(&message, &allocator);
        cr_assert_not_null(p);
        const tf_arena own = p->arena;
        *p = *made; /* borrow its arrays; what the passes add comes from the failing allocator */
        p->arena = own;
        f.calls = 0;
        f.fail_at = fail_at;
        bool ok = tf_copy_in_externals(p);
        for (uint32_t i = 0; ok && i < p->steps.n; i++)
            ok = !tf_share_step(p, i);
        ok = ok && tf_schedule(p) && tf_place(p);
        for (uint32_t i = 0; ok && i < p->steps.n; i++)
            ok = !tf_assign_bindings(p, i);
        cr_expect(ok || f.calls >= fail_at);
        done = f.calls < fail_at;
        cr_expect(!done || ok, "no allocation failed, but a pass did");
        tf_str_release(&message);
        tf_plan_destroy(p);
        cr_expect_eq(f.live, 0u, "call %d: %llu bytes leak", (int)fail_at, (unsigned long long)f.live);
        tf_plan_destroy(made);
    }
    cr_expect_gt(fail_at, 5u);
    tf_plan_destroy(NULL);
}
