/* lower.c - rewrite every live node into rows a kernel can be made of.
 *
 * The lowered graph is an ordinary graph built through tf_add, so inference re-checks each rewrite, the printer shows
 * it and the interpreter runs it. Node order is kept, hence sources precede their readers. */
#include "lower.h"
#include "fuse.h"
#include "interp.h"

#include <string.h>

enum { FOLD_LIMIT = 4096 }; /* elements: larger folded constants would only cost memory */

static tf_scalar copy_scalar(const tf_scalar *a, tuff_dtype t, const void *desc) { (void)t; (void)desc; return a[0]; }
static bool copy_infer(tf_infer *c) { c->out[0] = *c->type[0]; return true; } /* those that are for storage only, too */
const tf_op tf_op_copy = { .name = "_copy", .doc = "x unchanged, in memory of its own", .operands = "x", .kind = TF_POINTWISE,
                           .internal = true, .arity = 1, .classes = TF_CLS_ANY, .glsl = "$0", .infer = copy_infer, .scalar = copy_scalar, .flops = 1 };

typedef struct lowering {
    tuff_graph *from, *to;
    const tf_limits *limits;
    tf_arena *arena;         /* scratch */
    tf_arena *data;          /* folded constants, outliving the graphs */
    tuff_tensor *map;        /* [from value] */
    bool *live, *wanted;     /* [from node], [from value] */
    bool *table;             /* [from node] leads to a row of the host: folded whatever its size */
    bool first, separate;    /* run: of the user's graph; the last, which gives carried values memory of their own */
    tuff_tensor *start;      /* [from value] of a carry: the value before the first iteration */
    tuff_tensor *outside;    /* [depth][port] a state's value around the loop being lowered */
    tf_str *message;
} lowering;

static void mark(lowering *l)
{
    const tuff_graph *g = l->from;
    for (uint32_t i = 0; i < g->ports.n; i++) /* named ports stay, used or not */
        if (g->ports.data[i].kind != TF_PORT_OUTPUT) l->live[tf_val(g, g->ports.data[i].value)->node] = true;
    tf_mark_live(g, l->live, l->wanted);
}

static void mark_tables(lowering *l)
{
    for (uint32_t n = l->from->nodes.n; n-- > 0;) {
        const tf_node *x = &l->from->nodes.data[n];
        if (l->live[n] && (l->table[n] || x->op->kind == TF_HOST || x->op->constants))
            for (uint32_t i = 0; i < x->n_src; i++)
                if (x->src[i]) l->table[tf_val(l->from, x->src[i])->node] = true;
    }
}

/* Replace a node just added by its value, if its sources are constants and the result is small; host rows must. */
static tuff_status fold(lowering *l, const tf_node *x, tuff_tensor *t)
{
    tuff_graph *g = l->to;
    const tf_node *n = tf_def(g, t->id);
    void *data[TF_MAX_RESULTS];
    const char *error = "";
    uint64_t count = 0;
    const bool host = x->op->kind == TF_HOST, table = l->table[x - l->from->nodes.data];
    if (!tf_foldable(g, n)) {
        if (!host) return TUFF_OK;
        for (uint32_t i = 0; i < n->n_src; i++) {
            const char *name = n->src[i] ? tf_def(g, n->src[i])->op->name : "const";
            if (!strcmp(name, "const") || !strcmp(name, "literal")) continue;
            tf_str_printf(l->message, "%s runs on the host when the graph is compiled, so this operand must be a constant: %s",
                          x->op->name, tf_describe_value(g, n->src[i]));
            break;
        }
        return TUFF_E_ARGUMENT;
    }
    if (!host && !(table && n->n_out == 1 && x->op != &tf_op_copy) && (n->n_src == 0 || n->n_out != 1 || x->op == &tf_op_copy || x->op->kind == TF_ANCHOR ||
                  !tf_count_bound(g, tf_type_of(g, t->id), &count) || count > FOLD_LIMIT)) return TUFF_OK;
    const tuff_status s = tf_fold(g, n, l->data, data, &error);
    if (s != TUFF_OK) { tf_str_printf(l->message, "%s: %s", x->op->name, error); return s; }
    for (uint32_t r = 0; r < x->n_out; r++) {
        const tf_type *type = tf_type_of(g, t->id + r);
        tuff_shape shape = { .rank = type->rank };
        memcpy(shape.dim, type->dim, sizeof shape.dim);
        l->map[x->out + r] = tuff_const(g, type->dtype, shape, data[r], &(tuff_const_desc){ .borrow = true });
    }
    *t = (tuff_tensor){ NULL, 0 };
    return TUFF_OK;
}

static void expand(lowering *l, const tf_node *x)
{
    tuff_tensor src[TF_MAX_OPERANDS];
    for (uint32_t i = 0; i < x->n_src; i++) src[i] = x->src[i] ? l->map[x->src[i]] : (tuff_tensor){ NULL, 0 };
    tf_lower c = { .g = l->to, .node = x, .out_type = tf_type_of(l->from, x->out), .desc = x->desc, .src = src,
                   .n_src = x->n_src, .limits = l->limits };
    for (uint32_t r = 0; r < x->n_out; r++) c.want[r] = l->wanted[x->out + r];
    x->op->lower(&c);
    for (uint32_t r = 0; r < x->n_out; r++) {
        if (l->to->status == TUFF_OK && c.want[r] && !c.out[r].id) tf_fail(l->to, TUFF_E_INTERNAL, "%s: lowering left result %u empty", x->op->name, r);
        l->map[x->out + r] = c.out[r];
    }
}

/* Composites may expand into composites and host rows: repeat until none is left. */
static bool has_more(const tuff_graph *g)
{
    for (uint32_t n = 0; n < g->nodes.n; n++)
        if (g->nodes.data[n].op->kind == TF_COMPOSITE || g->nodes.data[n].op->kind == TF_HOST) return true;
    return false;
}

/* ---- loops ----------------------------------------------------------------------------------------
 * A loop keeps its region. States assigned in it become carried values, and stacked results become carried tensors of
 * which every iteration writes one row. The last run gives each carried value a first and a next value that are nothing
 * else, so that both can live in the carried value's memory. */

static bool packs_itself(const tf_limits *limits, tuff_dtype t)
{
    const uint32_t bits = tf_dtype_bits(t);
    return bits >= 32 || (bits == 16 && limits->storage16) || (bits == 8 && limits->storage8);
}

static tuff_tensor copied(lowering *l, tuff_tensor t) { return tf_add(l->to, &tf_op_copy, &t, 1, NULL); }

static tuff_tensor cast_to(lowering *l, tuff_tensor t, tuff_dtype dtype)
{
    const tf_op *op = tf_op_find("cast");
    const tf_attr *a = op ? tf_attr_find(op, "dtype") : NULL;
    unsigned char desc[256] = { 0 };
    if (!t.id || tf_type_of(l->to, t.id)->dtype == dtype) return t;
    if (!a || op->desc_size > sizeof desc) return tf_fail(l->to, TUFF_E_INTERNAL, "there is no cast");
    memcpy(desc + a->offset, &dtype, sizeof dtype);
    return tf_add(l->to, op, &t, 1, desc);
}

/* Is the state of port i assigned within region r of the graph being lowered? */
static bool assigned_within(const lowering *l, uint32_t i, uint32_t r)
{
    const tf_port *p = &l->from->ports.data[i];
    return p->kind == TF_PORT_STATE && p->assigned && tf_region_within(l->from, tf_def(l->from, p->assigned)->region, r);
}

static tuff_tensor new_carry(lowering *l, tuff_tensor first)
{
    const tuff_tensor t = tf_add(l->to, &tf_op_carry, &first, 1, NULL);
    tf_carry *c = t.id ? tf_push(&l->to->arena, &l->to->regions.data[l->to->region - 1].carries) : NULL;
    if (c) c->value = t.id;
    return c ? t : (tuff_tensor){ NULL, 0 };
}

/* Node n collects values of region r. */
static bool collects(const lowering *l, uint32_t n, uint32_t r)
{
    const tf_node *x = &l->from->nodes.data[n];
    return l->live[n] && x->op == &tf_op_stacked && tf_def(l->from, x->src[0])->region == r;
}

/* What a stacked result is held in: dtypes without a store of their own are widened until the loop is over. */
static tuff_dtype stack_dtype(const lowering *l, tuff_dtype t)
{
    return packs_itself(l->limits, t) && tf_dtype_class(t) ? t : tf_dtype_is_float(t) ? TUFF_F32 : TUFF_I32;
}

static void enter(lowering *l, uint32_t r)
{
    tuff_graph *g = l->to;
    const tf_region *x = &l->from->regions.data[r - 1];
    tuff_tensor *outside = l->outside + (size_t)x->depth * l->from->ports.n;
    for (uint32_t i = 0; i < x->carries.n; i++) {
        const tf_node *c = tf_def(l->from, x->carries.data[i].value);
        l->start[c->out] = l->separate ? copied(l, l->map[c->src[0]]) : l->map[c->src[0]];
    }
    for (uint32_t n = 0; l->first && n < l->from->nodes.n; n++) {
        if (!collects(l, n, r)) continue;
        const tf_node *c = &l->from->nodes.data[n];
        const tf_type *t = tf_type_of(l->from, c->out);
        tf_source_desc d = { .dtype = stack_dtype(l, t->dtype), .shape = { .rank = t->rank } };
        memcpy(d.shape.dim, t->dim, sizeof d.shape.dim);
        l->start[c->out] = tf_add(g, &tf_op_zeros, NULL, 0, &d);
    }
    g->region = r;
    for (uint32_t i = 0; i < l->from->ports.n; i++) {
        if (!assigned_within(l, i, r)) continue;
        const uint32_t v = l->from->ports.data[i].value;
        outside[i] = l->map[v];
        l->map[v] = new_carry(l, l->map[v]);
    }
    for (uint32_t n = 0; l->first && n < l->from->nodes.n; n++)
        if (collects(l, n, r)) l->map[l->from->nodes.data[n].out] = new_carry(l, l->start[l->from->nodes.data[n].out]);
}

/* A next value that may live in its carry's memory: made in this body, by a kernel, for nothing else. */
static tuff_tensor next_of(lowering *l, uint32_t r, tuff_tensor t)
{
    const tuff_graph *g = l->to;
    if (!t.id || !l->separate) return t;
    const tf_node *def = tf_def(g, t.id);
    bool own = def->op->kind != TF_SOURCE && def->region == r && packs_itself(l->limits, tf_type_of(g, t.id)->dtype);
    for (uint32_t i = 0; i < g->regions.data[r - 1].carries.n && own; i++) own = g->regions.data[r - 1].carries.data[i].next != t.id;
    return own ? t : copied(l, t);
}

static tf_carry *carry_of(lowering *l, uint32_t r, uint32_t value)
{
    tf_region *x = &l->to->regions.data[r - 1];
    for (uint32_t i = 0; i < x->carries.n; i++)
        if (x->carries.data[i].value == value) return &x->carries.data[i];
    return NULL;
}

static bool set_next(lowering *l, uint32_t r, tuff_tensor carry, tuff_tensor next)
{
    const tuff_tensor n = next_of(l, r, next);
    tf_carry *c = carry_of(l, r, carry.id);
    if (c) c->next = n.id;
    return c && n.id;
}

static tuff_tensor leave(lowering *l, uint32_t r, tuff_tensor carry)
{
    const tf_carry *c = carry_of(l, r, carry.id);
    return c ? tf_add(l->to, &tf_op_leave, (tuff_tensor[]){ carry, tf_tensor(l->to, c->next) }, 2, NULL) : carry;
}

/* One row of a stacked tensor. */
static tuff_tensor put_row(lowering *l, tuff_tensor all, tuff_tensor step, tuff_tensor x)
{
    const tf_op *put = tf_op_find("_put_row");
    const tuff_tensor src[3] = { all, step, cast_to(l, x, tf_type_of(l->to, all.id)->dtype) };
    return put ? tf_add(l->to, put, src, 3, NULL) : tf_fail(l->to, TUFF_E_INTERNAL, "there is no _put_row");
}

static void leave_region(lowering *l, uint32_t r)
{
    tuff_graph *g = l->to;
    const tf_region *x = &l->from->regions.data[r - 1];
    const tuff_tensor *outside = l->outside + (size_t)x->depth * l->from->ports.n;
    bool ok = true;
    for (uint32_t i = 0; i < x->carries.n && ok; i++) ok = set_next(l, r, l->map[x->carries.data[i].value], l->map[x->carries.data[i].next]);
    for (uint32_t i = 0; i < l->from->ports.n && ok; i++)
        if (assigned_within(l, i, r)) ok = set_next(l, r, l->map[l->from->ports.data[i].value], l->map[l->from->ports.data[i].assigned]);
    for (uint32_t n = 0; l->first && n < l->from->nodes.n && ok; n++) {
        if (!collects(l, n, r)) continue;
        const tf_node *c = &l->from->nodes.data[n];
        uint32_t step = 0;
        while (l->from->nodes.data[step].op != &tf_op_step || l->from->nodes.data[step].region != r) step++;
        ok = set_next(l, r, l->map[c->out], put_row(l, l->map[c->out], l->map[l->from->nodes.data[step].out], l->map[c->src[0]]));
    }
    g->region = x->parent;
    for (uint32_t i = 0; i < l->from->ports.n && ok; i++) {
        const tf_port *p = &l->from->ports.data[i];
        if (!assigned_within(l, i, r)) continue;
        l->map[p->assigned] = leave(l, r, l->map[p->value]);
        l->map[p->value] = outside[i];
    }
    for (uint32_t n = 0; l->first && n < l->from->nodes.n && ok; n++)
        if (collects(l, n, r)) {
            const uint32_t v = l->from->nodes.data[n].out;
            l->map[v] = cast_to(l, leave(l, r, l->map[v]), tf_type_of(l->from, v)->dtype);
        }
}

/* From the region of the last node to that of the next: out of loops that ended, into those that begin. */
static void go_to(lowering *l, uint32_t region)
{
    while (!tf_region_within(l->from, region, l->to->region) && tf_status(l->to) == TUFF_OK) leave_region(l, l->to->region);
    while (l->to->region != region && tf_status(l->to) == TUFF_OK) {
        uint32_t next = region;
        while (l->from->regions.data[next - 1].parent != l->to->region) next = l->from->regions.data[next - 1].parent;
        enter(l, next);
    }
}

/* Nodes that make up a loop. False: an ordinary node. */
static bool lower_loop_node(lowering *l, const tf_node *x)
{
    if (x->op == &tf_op_carry) l->map[x->out] = new_carry(l, l->start[x->out]);
    else if (x->op == &tf_op_leave) l->map[x->out] = leave(l, tf_def(l->from, x->src[0])->region, l->map[x->src[0]]);
    else return x->op == &tf_op_stacked; /* its value came when the loop was left */
    return true;
}

static tuff_status lower_node(lowering *l, const tf_node *x)
{
    tuff_status s = TUFF_OK;
    l->to->line = x->line;
    l->to->column = x->column;
    if (l->from->regions.n) go_to(l, x->region);
    if (x->op->kind == TF_EFFECT) { l->map[x->out] = l->map[x->src[1]]; return TUFF_OK; }
    if (lower_loop_node(l, x)) {
        ;
    } else if (x->op->kind == TF_COMPOSITE) {
        expand(l, x);
    } else {
        tuff_tensor src[TF_MAX_OPERANDS];
        for (uint32_t i = 0; i < x->n_src; i++) src[i] = x->src[i] ? l->map[x->src[i]] : (tuff_tensor){ NULL, 0 };
        const void *desc = x->desc;
        tf_source_desc kept;
        if (!l->first && x->op == &tf_op_const) { /* what lowering made itself lives in the graph it was added to */
            memcpy(&kept, desc, sizeof kept);
            if (!kept.borrow) kept.data = tf_arena_copy(l->data, kept.data, (size_t)kept.bytes);
            kept.borrow = true;
            desc = &kept;
        }
        tuff_tensor t = tf_add_sources(l->to, x->op, src, x->n_src, desc);
        if (t.id && x->op->kind != TF_SOURCE) s = fold(l, x, &t);
        for (uint32_t r = 0; r < x->n_out && t.id; r++) l->map[x->out + r] = (tuff_tensor){ l->to, t.id + r };
    }
    for (uint32_t r = 0; r < x->n_out; r++) {
        const tuff_tensor t = l->map[x->out + r];
        if (t.id && tf_val(l->from, x->out + r)->name && !tf_val(l->to, t.id)->name)
            l->to->values.data[t.id - 1].name = tf_arena_string(&l->to->arena, tf_val(l->from, x->out + r)->name);
    }
    if (s == TUFF_OK && tf_status(l->to) != TUFF_OK) {
        tf_str_add(l->message, l->to->error ? l->to->error : tuff_status_text(tf_status(l->to)));
        return tf_status(l->to);
    }
    return s;
}

/* Sources registered their ports when they were added; outputs and new state values follow. */
static tuff_status copy_ports(lowering *l)
{
    for (uint32_t i = 0; i < l->from->ports.n; i++) {
        const tf_port *p = &l->from->ports.data[i];
        if (p->kind == TF_PORT_OUTPUT) {
            tf_port *q = tf_push(&l->to->arena, &l->to->ports);
            if (!q) return TUFF_E_MEMORY;
            *q = (tf_port){ TF_PORT_OUTPUT, tf_arena_string(&l->to->arena, p->name), l->map[p->value].id, 0 };
        } else if (p->kind == TF_PORT_STATE && p->assigned) {
            tf_port *q = tf_port_find(l->to, 1u << TF_PORT_STATE, p->name);
            if (!q) return TUFF_E_INTERNAL;
            q->assigned = l->map[p->assigned].id;
        }
    }
    return TUFF_OK;
}

static bool copy_regions(lowering *l)
{
    const size_t values = (size_t)l->from->values.n + 1;
    for (uint32_t i = 0; i < l->from->regions.n; i++) { /* what they carry is found on the way */
        const tf_region *x = &l->from->regions.data[i];
        tf_region *r = tf_push(&l->to->arena, &l->to->regions);
        if (r) *r = (tf_region){ .parent = x->parent, .depth = x->depth, .count = x->count, .is_while = x->is_while };
    }
    if (!l->from->regions.n) return true;
    l->start = tf_arena_array(l->arena, tuff_tensor, values);
    l->outside = tf_arena_array(l->arena, tuff_tensor, (size_t)l->from->ports.n * (TF_MAX_LOOP_DEPTH + 1) + 1);
    return l->start && l->outside;
}

static tuff_status run(tuff_graph *from, const tf_limits *limits, bool first, bool separate, tf_arena *data, tuff_graph **out, tf_str *message)
{
    tf_arena scratch;
    tuff_status s = TUFF_E_MEMORY;
    tf_arena_init(&scratch, &data->allocator);
    lowering l = { .from = from, .limits = limits, .arena = &scratch, .data = data, .message = message, .first = first,
                   .separate = separate };
    l.to = tuff_graph_create(&(tuff_graph_desc){ .allocator = data->allocator });
    l.map = tf_arena_array(&scratch, tuff_tensor, (size_t)from->values.n + 1);
    l.live = tf_arena_array(&scratch, bool, (size_t)from->nodes.n + 1);
    l.wanted = tf_arena_array(&scratch, bool, (size_t)from->values.n + 1);
    l.table = tf_arena_array(&scratch, bool, (size_t)from->nodes.n + 1);
    if (!l.to || scratch.failed) goto done;
    for (uint32_t i = 0; i < from->dims.n; i++) { tf_dim_expr *d = tf_push(&l.to->arena, &l.to->dims); if (d) *d = from->dims.data[i]; }
    for (uint32_t i = 0; i < from->dim_params.n; i++) {
        tf_dim_param *d = tf_push(&l.to->arena, &l.to->dim_params);
        if (d) *d = (tf_dim_param){ tf_arena_string(&l.to->arena, from->dim_params.data[i].name), from->dim_params.data[i].max };
    }
    l.to->file = from->file;
    if (!copy_regions(&l)) goto done;
    mark(&l);
    mark_tables(&l);
    s = l.to->arena.failed ? TUFF_E_MEMORY : TUFF_OK;
    for (uint32_t n = 0; n < from->nodes.n && s == TUFF_OK; n++)
        if (l.live[n]) s = lower_node(&l, &from->nodes.data[n]);
    if (s == TUFF_OK && from->regions.n) {
        go_to(&l, 0);
        if (tf_status(l.to) != TUFF_OK) {
            s = tf_status(l.to);
            tf_str_add(message, l.to->error ? l.to->error : tuff_status_text(s));
        }
    }
    if (s == TUFF_OK) s = copy_ports(&l);
done:
    if (scratch.failed || data->failed || !l.to || l.to->arena.failed) s = TUFF_E_MEMORY; /* whatever was missed for lack of it */
    if (s != TUFF_OK) { tuff_graph_destroy(l.to); l.to = NULL; }
    *out = l.to;
    tf_arena_release(&scratch);
    return s;
}

/* Outputs and new state values get a node of their own where the value is a source, is already another port's, or would
 * be held wider than its dtype. */
static void separate_ports(tuff_graph *g, const tf_limits *limits)
{
    for (uint32_t i = 0; i < g->ports.n && g->status == TUFF_OK; i++) {
        tf_port *p = &g->ports.data[i];
        uint32_t *v = p->kind == TF_PORT_OUTPUT ? &p->value : p->kind == TF_PORT_STATE && p->assigned ? &p->assigned : NULL;
        if (!v) continue;
        bool taken = tf_def(g, *v)->op->kind == TF_SOURCE || !(packs_itself(limits, tf_type_of(g, *v)->dtype) || tf_op_packs(tf_def(g, *v)->op));
        for (uint32_t j = 0; j < i && !taken; j++) {
            const tf_port *q = &g->ports.data[j];
            taken = (q->kind == TF_PORT_OUTPUT && q->value == *v) || (q->kind == TF_PORT_STATE && q->assigned == *v);
        }
        if (!taken) continue;
        const tuff_tensor c = tf_add(g, &tf_op_copy, &(tuff_tensor){ g, *v }, 1, NULL);
        v = g->ports.data[i].kind == TF_PORT_OUTPUT ? &g->ports.data[i].value : &g->ports.data[i].assigned;
        if (c.id) *v = c.id;
    }
}

tuff_status tf_lower_graph(tuff_graph *g, const tf_limits *limits, tf_arena *data, tuff_graph **out, tf_str *message)
{
    tuff_graph *now = NULL;
    *out = NULL;
    tuff_status s = run(g, limits, true, false, data, &now, message);
    bool separated = !g->regions.n;
    for (uint32_t depth = 0; s == TUFF_OK && (has_more(now) || !separated); depth++) {
        separated = separated || !has_more(now);
        if (!tf_merge(now)) { s = TUFF_E_MEMORY; break; } /* equal host rows make one table */
        tuff_graph *next = NULL;
        if (depth == 9) { tf_str_add(message, "an op keeps expanding into itself"); s = TUFF_E_INTERNAL; break; }
        s = run(now, limits, false, separated && g->regions.n, data, &next, message);
        tuff_graph_destroy(now);
        now = next;
    }
    if (s == TUFF_OK) {
        const bool merged = tf_hoist(now) && tf_merge(now); /* first: two ports may turn out to have one value */
        separate_ports(now, limits);
        if (!merged || now->arena.failed) s = TUFF_E_MEMORY;
        else if (now->status != TUFF_OK) { tf_str_add(message, now->error ? now->error : ""); s = now->status; }
    }
    if (s != TUFF_OK) { tuff_graph_destroy(now); now = NULL; }
    *out = now;
    return s;
}

/* ---- merging equal nodes ------------------------------------------------------------------------ */

static uint64_t attr_hash(uint64_t h, const tf_attr *a, const void *desc)
{
    static const size_t sizes[] = { [TF_ATTR_BOOL] = sizeof(bool), [TF_ATTR_INT] = 4, [TF_ATTR_I64] = 8, [TF_ATTR_U64] = 8,
        [TF_ATTR_FLOAT] = 4, [TF_ATTR_DOUBLE] = 8, [TF_ATTR_DTYPE] = sizeof(tuff_dtype), [TF_ATTR_ENUM] = 4,
        [TF_ATTR_INTS] = sizeof(tuff_ints), [TF_ATTR_SHAPE] = sizeof(tuff_shape) };
    const char *p = (const char *)desc + a->offset;
    if (a->type == TF_ATTR_TENSOR) return h; /* among the sources */
    if (a->type == TF_ATTR_NAMED) { /* so are the tensors, but not their names */
        const tuff_named *named;
        uint32_t n;
        memcpy(&named, p, sizeof named);
        memcpy(&n, (const char *)desc + a->offset2, sizeof n);
        for (uint32_t i = 0; i < n; i++) h = tf_hash_string(h, named[i].name);
        return h;
    }
    if (a->type == TF_ATTR_STRING) {
        const char *s;
        memcpy(&s, p, sizeof s);
        return tf_hash_string(h, s ? s : "");
    }
    if (a->type == TF_ATTR_INTS || a->type == TF_ATTR_SHAPE) { /* only the entries in use */
        int32_t n;
        memcpy(&n, p, sizeof n);
        const size_t at = a->type == TF_ATTR_INTS ? offsetof(tuff_ints, v) : offsetof(tuff_shape, dim);
        return tf_hash(tf_hash(h, &n, sizeof n), p + at, (size_t)(n < 0 ? 0 : n) * sizeof(int64_t));
    }
    return tf_hash(h, p, sizes[a->type]);
}

static uint64_t node_hash(const tf_node *x)
{
    uint64_t h = tf_hash(0, &x->op, sizeof x->op);
    h = tf_hash(h, x->src, x->n_src * sizeof *x->src);
    for (uint32_t i = 0; i < x->op->attr_count; i++) h = attr_hash(h, &x->op->attrs[i], x->desc);
    return h;
}

static bool pure(const tf_node *x)
{
    if (x->op == &tf_op_copy) return false;
    if (x->op->kind == TF_SOURCE) return !strcmp(x->op->name, "literal");
    return x->op->kind != TF_EFFECT;
}

static bool same_node(const tuff_graph *g, const tf_node *a, const tf_node *b)
{
    if (a->op != b->op || a->n_src != b->n_src || a->region != b->region ||
        (a->n_src && memcmp(a->src, b->src, a->n_src * sizeof *a->src))) return false;
    for (uint32_t i = 0; i < a->op->attr_count; i++) /* two seeds: a collision would need both */
        if (attr_hash(1, &a->op->attrs[i], a->desc) != attr_hash(1, &b->op->attrs[i], b->desc) ||
            attr_hash(2, &a->op->attrs[i], a->desc) != attr_hash(2, &b->op->attrs[i], b->desc)) return false;
    return tf_type_of(g, a->out)->dtype == tf_type_of(g, b->out)->dtype;
}

bool tf_merge(tuff_graph *g)
{
    tf_arena scratch;
    tf_arena_init(&scratch, &g->arena.allocator);
    uint32_t cap = 64;
    while (cap < 2 * g->nodes.n) cap *= 2;
    uint32_t *table = tf_arena_array(&scratch, uint32_t, cap); /* node + 1 */
    uint32_t *to = tf_arena_array(&scratch, uint32_t, (size_t)g->values.n + 1);
    const bool ok = table && to;
    for (uint32_t v = 0; ok && v <= g->values.n; v++) to[v] = v;
    for (uint32_t n = 0; ok && n < g->nodes.n; n++) {
        tf_node *x = &g->nodes.data[n];
        for (uint32_t i = 0; i < x->n_src; i++) x->src[i] = to[x->src[i]];
        if (!pure(x)) continue;
        uint64_t h = node_hash(x);
        while (table[h & (cap - 1)] && !same_node(g, &g->nodes.data[table[h & (cap - 1)] - 1], x)) h++;
        uint32_t *slot = &table[h & (cap - 1)];
        if (!*slot) { *slot = n + 1; continue; }
        for (uint32_t r = 0; r < x->n_out; r++) to[x->out + r] = g->nodes.data[*slot - 1].out + r;
    }
    for (uint32_t r = 0; ok && r < g->regions.n; r++)
        for (uint32_t i = 0; i < g->regions.data[r].carries.n; i++) g->regions.data[r].carries.data[i].next = to[g->regions.data[r].carries.data[i].next];
    for (uint32_t i = 0; ok && i < g->ports.n; i++) {
        g->ports.data[i].value = to[g->ports.data[i].value];
        g->ports.data[i].assigned = to[g->ports.data[i].assigned];
    }
    tf_arena_release(&scratch);
    return ok;
}
