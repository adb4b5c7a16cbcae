/* loop.c - loops on the device: regions of the node array.
 *
 * A body is built once, between tf_loop_begin and tf_loop_end; every node added in between carries the region's id. What
 * changes from one iteration to the next are the carried values and the step index; results are read behind the loop. The
 * body's nodes are contiguous, so passes meet a region as one stretch and a loop inside another as a stretch of that. */
#include "expr.h"
#include "fuse.h"
#include "lower.h"

#include <string.h>

/* ---- rows ---- */

static bool step_infer(tf_infer *c)
{
    c->out[0] = (tf_type){ .dtype = TUFF_I32 };
    return true;
}

static bool same_infer(tf_infer *c)
{
    c->out[0] = *c->type[0];
    return true;
}

typedef struct stacked_desc { int64_t count; } stacked_desc;

static bool stacked_infer(tf_infer *c)
{
    const tf_type *x = c->type[0];
    if (x->rank == TUFF_MAX_RANK)
        return tf_bad(c, TUFF_E_LIMIT, "x has rank %d; stacking adds an axis and ranks end at %d", (int)x->rank, TUFF_MAX_RANK);
    c->out[0] = (tf_type){ .dtype = x->dtype, .rank = x->rank + 1 };
    c->out[0].dim[0] = ((const stacked_desc *)c->desc)->count;
    memcpy(c->out[0].dim + 1, x->dim, (size_t)x->rank * sizeof x->dim[0]);
    return true;
}

static const tf_attr stacked_attrs[] = { TF_A(stacked_desc, count, TF_ATTR_I64, "iterations") };

const tf_op tf_op_step = { .name = "_step", .doc = "index of the iteration", .operands = "", .kind = TF_SOURCE, .internal = true, .infer = step_infer };
const tf_op tf_op_carry = { .name = "_carry", .doc = "a carried value at the start of the iteration", .operands = "first", .kind = TF_SOURCE,
                            .internal = true, .infer = same_infer };
const tf_op tf_op_leave = { .name = "_leave", .doc = "a carried value behind its loop", .operands = "value next", .kind = TF_SOURCE,
                            .internal = true, .infer = same_infer };
const tf_op tf_op_stacked = { .name = "_stacked", .doc = "x of every iteration: [count, ...]", .operands = "x", .kind = TF_SOURCE, .internal = true,
                              .attrs = stacked_attrs, .attr_count = TF_COUNT(stacked_attrs), .desc_size = sizeof(stacked_desc), .infer = stacked_infer };

/* Where a stacked result begins: shape and dtype of the desc. */
static bool zeros_infer(tf_infer *c)
{
    const tf_source_desc *d = c->desc;
    c->out[0] = (tf_type){ .dtype = d->dtype, .rank = d->shape.rank };
    memcpy(c->out[0].dim, d->shape.dim, sizeof c->out[0].dim);
    return true;
}

static tuff_status zeros_reference(tf_ref *r)
{
    (void)r; /* results come zeroed */
    return TUFF_OK;
}

static tf_ex zeros_expr(tf_view_map *m) { return tf_ex_const(m->x, m->out_type->dtype, 0); }

static const tf_attr zeros_attrs[] = { TF_A(tf_source_desc, dtype, TF_ATTR_DTYPE, "element type"), TF_A(tf_source_desc, shape, TF_ATTR_SHAPE, "shape") };
const tf_op tf_op_zeros = { .name = "_zeros", .doc = "zeros", .operands = "", .kind = TF_INDEXED, .internal = true, .attrs = zeros_attrs,
                            .attr_count = TF_COUNT(zeros_attrs), .desc_size = sizeof(tf_source_desc), .infer = zeros_infer,
                            .reference = zeros_reference, .expr = zeros_expr };

/* ---- regions ---- */

static bool usable(tuff_graph *g, tuff_tensor t, const char *what, uint32_t i)
{
    if (t.graph == g && t.id >= 1 && t.id <= g->values.n)
        return true;
    tf_fail(g, TUFF_E_ARGUMENT, "loop: %s %u %s", what, (unsigned)i, !t.graph || !t.id ? "is absent" : "is no tensor of this graph");
    return false;
}

bool tf_loop_begin(tuff_graph *g, int64_t count, bool is_while, const tuff_tensor *init, uint32_t n, tuff_tensor again,
                   tuff_tensor *step, tuff_tensor *in)
{
    if (tf_status(g))
        return false;
    const uint32_t parent = g->region, depth = parent ? g->regions.data[parent - 1].depth + 1 : 1;
    if (count < 0 || count > INT32_MAX)
        return tf_fail(g, TUFF_E_ARGUMENT, "loop: %lld iterations; from 0 to %d are possible", (long long)count, INT32_MAX).id;
    if (depth > TF_MAX_LOOP_DEPTH)
        return tf_fail(g, TUFF_E_LIMIT, "loop: loops nest deeper than %d", TF_MAX_LOOP_DEPTH).id;
    if (!n && !is_while)
        return tf_fail(g, TUFF_E_ARGUMENT, "loop: nothing is carried, so no iteration could know of another").id;
    for (uint32_t i = 0; i < n; i++)
        if (!usable(g, init[i], "carried value", i))
            return false;
    const tuff_tensor more[2] = { is_while && !again.id ? tuff_literal(g, 1, TUFF_BOOL) : again, is_while ? tuff_literal(g, 0, TUFF_I32) : again };
    if (tf_status(g))
        return false;
    tf_region *r = tf_push(&g->arena, &g->regions);
    if (!r)
        return false;
    *r = (tf_region){ .parent = parent, .depth = depth, .count = count, .is_while = is_while };
    g->region = g->regions.n;
    *step = tf_add(g, &tf_op_step, NULL, 0, NULL);
    for (uint32_t i = 0; i < n + 2 * is_while; i++) {
        const tuff_tensor t = tf_add(g, &tf_op_carry, i < n ? &init[i] : &more[i - n], 1, NULL);
        tf_carry *c = t.id ? tf_push(&g->arena, &g->regions.data[g->region - 1].carries) : NULL;
        if (!c)
            return false;
        *c = (tf_carry){ .value = t.id };
        if (i < n)
            in[i] = t;
    }
    return step->id != 0;
}

static bool same_type(const tf_type *a, const tf_type *b)
{
    bool same = a->dtype == b->dtype && a->rank == b->rank;
    for (int32_t i = 0; same && i < a->rank; i++)
        same = tf_dim_equal(a->dim[i], b->dim[i]);
    return same;
}

/* The value at the end of an iteration: of the carried value's type, and visible in the body. */
static bool take_next(tuff_graph *g, tf_carry *c, tuff_tensor next, uint32_t i)
{
    if (!usable(g, next, "next value", i))
        return false;
    if (!same_type(tf_type_of(g, c->value), tf_type_of(g, next.id)))
        return tf_fail(g, TUFF_E_SHAPE, "loop: carried value %u is %s but its next value is %s", (unsigned)i,
                       tf_type_text(g, tf_type_of(g, c->value)), tf_describe_value(g, next.id)).id;
    if (!tf_region_within(g, g->region, tf_def(g, next.id)->region))
        return tf_fail(g, TUFF_E_ARGUMENT, "loop: next value %u belongs to another loop's body (%s)", (unsigned)i, tf_describe_value(g, next.id)).id;
    c->next = next.id;
    return true;
}

bool tf_loop_end(tuff_graph *g, const tuff_tensor *next, uint32_t n, tuff_tensor again, const tuff_tensor *stack, uint32_t stacked, tuff_tensor *out)
{
    if (tf_status(g) || !g->region)
        return false;
    const uint32_t id = g->region;
    const bool is_while = g->regions.data[id - 1].is_while;
    tuff_tensor more[2] = { again, { 0 } };
    if (is_while) {
        if (!usable(g, again, "the condition, carried value", n))
            return false;
        if (tf_type_of(g, again.id)->dtype != TUFF_BOOL || tf_type_of(g, again.id)->rank)
            return tf_fail(g, TUFF_E_DTYPE, "while: the condition is one bool, not %s", tf_describe_value(g, again.id)).id;
        const tuff_tensor done[2] = { tf_tensor(g, g->regions.data[id - 1].carries.data[n + 1].value), tuff_literal(g, 1, TUFF_I32) };
        more[1] = tf_add(g, tf_op_find("add"), done, 2, NULL);
    }
    for (uint32_t i = 0; i < stacked; i++) {
        if (!usable(g, stack[i], "stacked value", i))
            return false;
        if (tf_def(g, stack[i].id)->region != id)
            return tf_fail(g, TUFF_E_ARGUMENT, "loop: stacked value %u is no result of the body (%s)", (unsigned)i, tf_describe_value(g, stack[i].id)).id;
    }
    for (uint32_t i = 0; i < n + 2 * is_while; i++)
        if (!take_next(g, &g->regions.data[id - 1].carries.data[i], i < n ? next[i] : more[i - n], i))
            return false;
    g->region = g->regions.data[id - 1].parent;
    uint32_t k = 0;
    for (uint32_t i = 0; i < n; i++, k++) {
        const tf_carry *c = &g->regions.data[id - 1].carries.data[i];
        out[k] = tf_add(g, &tf_op_leave, (tuff_tensor[]){ tf_tensor(g, c->value), tf_tensor(g, c->next) }, 2, NULL);
    }
    for (uint32_t i = 0; i < stacked; i++, k++)
        out[k] = tf_add(g, &tf_op_stacked, &stack[i], 1, &(stacked_desc){ g->regions.data[id - 1].count });
    for (uint32_t i = n; i < n + 2 * is_while; i++) {
        const tf_carry *c = &g->regions.data[id - 1].carries.data[i];
        out[k + (i == n)] = tf_add(g, &tf_op_leave, (tuff_tensor[]){ tf_tensor(g, c->value), tf_tensor(g, c->next) }, 2, NULL);
    }
    return tf_status(g) == TUFF_OK;
}

double tf_region_trips(const tuff_graph *g, uint32_t region)
{
    double n = 1;
    for (; region; region = g->regions.data[region - 1].parent)
        n *= (double)g->regions.data[region - 1].count;
    return n;
}

bool tf_region_chunked(const tuff_graph *g, uint32_t region)
{
    bool many = false;
    while (region && g->regions.data[region - 1].parent) region = g->regions.data[region - 1].parent;
    for (uint32_t r = region; region && r <= g->regions.n && !many; r++)
        many = tf_region_within(g, r, region) && tf_region_trips(g, r) >= TF_CHUNKED_TRIPS;
    return many;
}

/* ---- liveness ---- */

static void keep(const tuff_graph *g, uint32_t value, bool *live, bool *wanted)
{
    live[tf_val(g, value)->node] = true;
    if (wanted)
        wanted[value] = true;
}

/* A loop lives as a whole: its next values may lie behind the node that showed that it is needed. */
static void keep_region(const tuff_graph *g, uint32_t region, bool *live, bool *wanted)
{
    for (; region; region = g->regions.data[region - 1].parent) {
        const tf_region *r = &g->regions.data[region - 1];
        for (uint32_t i = 0; i < r->carries.n; i++) {
            keep(g, r->carries.data[i].value, live, wanted);
            keep(g, r->carries.data[i].next, live, wanted);
        }
    }
}

void tf_mark_live(const tuff_graph *g, bool *live, bool *wanted)
{
    for (uint32_t i = 0; i < g->ports.n; i++) {
        const tf_port *p = &g->ports.data[i];
        const uint32_t v = p->kind == TF_PORT_OUTPUT ? p->value : p->kind == TF_PORT_STATE ? p->assigned : 0;
        if (v) {
            keep(g, v, live, wanted);
            keep_region(g, tf_def(g, v)->region, live, wanted);
        }
    }
    for (uint32_t n = g->nodes.n; n-- > 0;) {
        const tf_node *x = &g->nodes.data[n];
        if (!live[n])
            continue;
        for (uint32_t i = 0; i < x->n_src; i++)
            if (x->src[i])
                keep(g, x->src[i], live, wanted);
        if (x->op != &tf_op_leave && x->op != &tf_op_stacked)
            continue;
        const uint32_t region = tf_def(g, x->src[0])->region;
        keep_region(g, region, live, wanted);
        for (uint32_t k = 0; x->op == &tf_op_stacked && k < n; k++) /* rows go where the step says */
            if (g->nodes.data[k].op == &tf_op_step && g->nodes.data[k].region == region)
                keep(g, g->nodes.data[k].out, live, wanted);
    }
}

/* ---- what every iteration would compute again ---- */

/* Pure, and no next value, which belongs to its iteration. */
static bool may_leave(const tuff_graph *g, const tf_node *x, const bool *next, const uint32_t *home)
{
    if (x->op == &tf_op_copy || x->op->kind == TF_EFFECT || x->op->kind == TF_HOST || tf_op_in_place(x->op)) return false;
    if (x->op->kind == TF_SOURCE && x->op != &tf_op_literal && x->op != &tf_op_const && x->op != &tf_op_scalar && x->op != &tf_op_input) return false;
    for (uint32_t i = 0; i < x->n_out; i++)
        if (next[x->out + i]) return false;
    for (uint32_t i = 0; i < x->n_src; i++)
        if (x->src[i] && tf_region_within(g, home[x->src[i]], x->region)) return false;
    return true;
}

/* Nodes of region r that do not depend on its iteration, to before its first node. */
static void hoist_region(tuff_graph *g, uint32_t r, const bool *next, uint32_t *home, tf_node *rest)
{
    uint32_t at = 0, n = 0, end;
    while (at < g->nodes.n && !tf_region_within(g, g->nodes.data[at].region, r)) at++;
    for (end = at; end < g->nodes.n && tf_region_within(g, g->nodes.data[end].region, r); end++) {
        tf_node x = g->nodes.data[end];
        if (x.region != r || !may_leave(g, &x, next, home)) {
            rest[n++] = x;
            continue;
        }
        x.region = g->regions.data[r - 1].parent;
        for (uint32_t i = 0; i < x.n_out; i++) {
            g->values.data[x.out + i - 1].node = at;
            home[x.out + i] = x.region;
        }
        g->nodes.data[at++] = x; /* behind it are only nodes that were read */
    }
    for (uint32_t k = 0; k < n; k++) {
        for (uint32_t i = 0; i < rest[k].n_out; i++) g->values.data[rest[k].out + i - 1].node = at + k;
        g->nodes.data[at + k] = rest[k];
    }
}

bool tf_hoist(tuff_graph *g)
{
    if (!g->regions.n) return true;
    tf_arena scratch;
    tf_arena_init(&scratch, &g->arena.allocator);
    bool *next = tf_arena_array(&scratch, bool, (size_t)g->values.n + 1);
    tf_node *rest = tf_arena_array(&scratch, tf_node, g->nodes.n);
    uint32_t *home = tf_arena_array(&scratch, uint32_t, (size_t)g->values.n + 1); /* [value] region */
    const bool ok = next && rest && home;
    for (uint32_t v = 1; ok && v <= g->values.n; v++) home[v] = tf_def(g, v)->region;
    for (uint32_t r = 0; ok && r < g->regions.n; r++)
        for (uint32_t i = 0; i < g->regions.data[r].carries.n; i++) next[g->regions.data[r].carries.data[i].next] = true;
    for (uint32_t r = g->regions.n; ok && r > 0; r--) /* inner loops have higher numbers */
        if (g->regions.data[r - 1].count > 1) hoist_region(g, r, next, home, rest);
    tf_arena_release(&scratch);
    return ok;
}

/* ---- public ---- */

static tuff_status run(tuff_graph *g, int64_t count, bool is_while, const tuff_tensor *carried, uint32_t n, tuff_loop_fn body, void *user,
                       uint32_t stacked, tuff_tensor again, tuff_tensor *results)
{
    if (!g)
        return TUFF_E_ARGUMENT;
    if (tf_status(g) == TUFF_OK && (!body || !results || (n && !carried)))
        tf_fail(g, TUFF_E_ARGUMENT, "%s: the body, the carried values or the results are NULL", is_while ? "while" : "loop");
    if (tf_status(g) == TUFF_OK && (n > TUFF_LOOP_MAX || stacked > TUFF_LOOP_MAX))
        tf_fail(g, TUFF_E_LIMIT, "%s: %u carried and %u stacked values; %d each are the most", is_while ? "while" : "loop", (unsigned)n, (unsigned)stacked, TUFF_LOOP_MAX);
    if (tf_status(g))
        return tf_status(g);
    tuff_tensor in[TUFF_LOOP_MAX], out[TUFF_LOOP_MAX] = { { 0 } }, stack[TUFF_LOOP_MAX] = { { 0 } };
    tuff_iteration it = { .graph = g, .in = in, .out = out, .stacked = stack };
    const uint32_t outside = g->region;
    memset(results, 0, (n + stacked + 2 * is_while) * sizeof *results);
    if (tf_loop_begin(g, count, is_while, carried, n, again, &it.step, in)) {
        const uint32_t region = g->region;
        body(user, &it);
        if (tf_status(g) == TUFF_OK && g->region != region)
            tf_fail(g, TUFF_E_STATE, "a loop's body may not leave it");
        tf_loop_end(g, out, n, it.again, stack, stacked, results);
    }
    g->region = outside;
    return tf_status(g);
}

tuff_status tuff_loop(tuff_graph *g, const tuff_loop_desc *d, tuff_tensor *results)
{
    static const tuff_loop_desc none; /* a body that is NULL is refused */
    if (!d) d = &none;
    return run(g, d->count, false, d->carried, d->n, d->body, d->user, d->stacked, (tuff_tensor){ 0 }, results);
}

tuff_status tuff_while(tuff_graph *g, const tuff_while_desc *d, tuff_tensor *results)
{
    static const tuff_while_desc none;
    if (!d) d = &none;
    return run(g, d->max, true, d->carried, d->n, d->body, d->user, d->stacked, d->again, results);
}
