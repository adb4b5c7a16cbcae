/* lower.c - rewrite every live node into rows a kernel can be made of.
 *
 * The lowered graph is an ordinary graph built through tf_add, so inference re-checks each rewrite, the printer shows
 * it and the interpreter runs it. Node order is kept, hence sources precede their readers. */
#include "lower.h"
#include "interp.h"

#include <string.h>

enum { FOLD_LIMIT = 4096 }; /* elements: larger folded constants would only cost memory */

static tf_scalar copy_scalar(const tf_scalar *a, tuff_dtype t, const void *desc) { (void)t; (void)desc; return a[0]; }
const tf_op tf_op_copy = { .name = "_copy", .doc = "x unchanged, in memory of its own", .operands = "x", .kind = TF_POINTWISE,
                           .internal = true, .arity = 1, .classes = TF_CLS_ANY, .glsl = "$0", .scalar = copy_scalar, .flops = 1 };

typedef struct lowering {
    tuff_graph *from, *to;
    const tf_limits *limits;
    tf_arena *arena;         /* scratch */
    tf_arena *data;          /* folded constants, outliving the graphs */
    tuff_tensor *map;        /* [from value] */
    bool *live, *wanted;     /* [from node], [from value] */
    tf_str *message;
} lowering;

static void mark(lowering *l)
{
    const tuff_graph *g = l->from;
    for (uint32_t i = 0; i < g->ports.n; i++) {
        const tf_port *p = &g->ports.data[i];
        const uint32_t v = p->kind == TF_PORT_OUTPUT ? p->value : p->kind == TF_PORT_STATE ? p->assigned : 0;
        if (v) { l->live[tf_val(g, v)->node] = true; l->wanted[v] = true; }
        if (p->kind != TF_PORT_OUTPUT) l->live[tf_val(g, p->value)->node] = true; /* named ports stay, used or not */
    }
    for (uint32_t n = g->nodes.n; n-- > 0;) {
        if (!l->live[n]) continue;
        const tf_node *x = &g->nodes.data[n];
        for (uint32_t i = 0; i < x->n_src; i++)
            if (x->src[i]) { l->live[tf_val(g, x->src[i])->node] = true; l->wanted[x->src[i]] = true; }
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
    const bool host = x->op->kind == TF_HOST;
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
    if (!host && (n->n_src == 0 || n->n_out != 1 || x->op == &tf_op_copy || x->op->kind == TF_ANCHOR ||
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

static tuff_status lower_node(lowering *l, const tf_node *x)
{
    tuff_status s = TUFF_OK;
    l->to->line = x->line;
    l->to->column = x->column;
    if (x->op->kind == TF_EFFECT) { l->map[x->out] = l->map[x->src[1]]; return TUFF_OK; }
    if (x->op->kind == TF_COMPOSITE) {
        expand(l, x);
    } else {
        tuff_tensor src[TF_MAX_OPERANDS];
        for (uint32_t i = 0; i < x->n_src; i++) src[i] = x->src[i] ? l->map[x->src[i]] : (tuff_tensor){ NULL, 0 };
        tuff_tensor t = tf_add_sources(l->to, x->op, src, x->n_src, x->desc);
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

static tuff_status run(tuff_graph *from, const tf_limits *limits, tf_arena *data, tuff_graph **out, tf_str *message)
{
    tf_arena scratch;
    tuff_status s = TUFF_E_MEMORY;
    tf_arena_init(&scratch, &data->allocator);
    lowering l = { .from = from, .limits = limits, .arena = &scratch, .data = data, .message = message };
    l.to = tuff_graph_create(&(tuff_graph_desc){ .allocator = data->allocator });
    l.map = tf_arena_array(&scratch, tuff_tensor, (size_t)from->values.n + 1);
    l.live = tf_arena_array(&scratch, bool, (size_t)from->nodes.n + 1);
    l.wanted = tf_arena_array(&scratch, bool, (size_t)from->values.n + 1);
    if (!l.to || scratch.failed) goto done;
    for (uint32_t i = 0; i < from->dims.n; i++) { tf_dim_expr *d = tf_push(&l.to->arena, &l.to->dims); if (d) *d = from->dims.data[i]; }
    for (uint32_t i = 0; i < from->dim_params.n; i++) {
        tf_dim_param *d = tf_push(&l.to->arena, &l.to->dim_params);
        if (d) *d = (tf_dim_param){ tf_arena_string(&l.to->arena, from->dim_params.data[i].name), from->dim_params.data[i].max };
    }
    l.to->file = from->file;
    mark(&l);
    s = l.to->arena.failed ? TUFF_E_MEMORY : TUFF_OK;
    for (uint32_t n = 0; n < from->nodes.n && s == TUFF_OK; n++)
        if (l.live[n]) s = lower_node(&l, &from->nodes.data[n]);
    if (s == TUFF_OK) s = copy_ports(&l);
done:
    if (scratch.failed || data->failed || !l.to || l.to->arena.failed) s = TUFF_E_MEMORY; /* whatever was missed for lack of it */
    if (s != TUFF_OK) { tuff_graph_destroy(l.to); l.to = NULL; }
    *out = l.to;
    tf_arena_release(&scratch);
    return s;
}

static bool packs_itself(const tf_limits *limits, tuff_dtype t)
{
    const uint32_t bits = tf_dtype_bits(t);
    return bits >= 32 || (bits == 16 && limits->storage16) || (bits == 8 && limits->storage8);
}

/* Outputs and new state values get a node of their own where the value is a source, is already another port's, or would
 * be held wider than its dtype. */
static void separate_ports(tuff_graph *g, const tf_limits *limits)
{
    for (uint32_t i = 0; i < g->ports.n && g->status == TUFF_OK; i++) {
        tf_port *p = &g->ports.data[i];
        uint32_t *v = p->kind == TF_PORT_OUTPUT ? &p->value : p->kind == TF_PORT_STATE && p->assigned ? &p->assigned : NULL;
        if (!v) continue;
        bool taken = tf_def(g, *v)->op->kind == TF_SOURCE || !packs_itself(limits, tf_type_of(g, *v)->dtype);
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
    tuff_status s = run(g, limits, data, &now, message);
    for (uint32_t depth = 0; s == TUFF_OK && has_more(now); depth++) {
        tuff_graph *next = NULL;
        if (depth == 8) { tf_str_add(message, "an op keeps expanding into itself"); s = TUFF_E_INTERNAL; break; }
        s = run(now, limits, data, &next, message);
        tuff_graph_destroy(now);
        now = next;
    }
    if (s == TUFF_OK) {
        separate_ports(now, limits);
        if (!tf_merge(now) || now->arena.failed) s = TUFF_E_MEMORY;
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
    if (a->type == TF_ATTR_TENSOR || a->type == TF_ATTR_NAMED) return h; /* among the sources */
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
    for (uint32_t i = 0; ok && i < g->ports.n; i++) {
        g->ports.data[i].value = to[g->ports.data[i].value];
        g->ports.data[i].assigned = to[g->ports.data[i].assigned];
    }
    tf_arena_release(&scratch);
    return ok;
}
