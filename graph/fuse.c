/* fuse.c - grow kernels from anchors and stored values.
 *
 * Two sweeps. `rise` goes forward: from each anchor's result through pointwise nodes and bijective views of equal
 * size whose other operands are ready before the anchor runs; these become store hooks, evaluated once per element.
 * `sink` goes backward over what is left: every reader of a node is known when it is reached, so it is either stored
 * by a map kernel of its own or recomputed inside its readers, whichever the cost model says moves less. */
#include "expr.h"
#include "fuse.h"
#include "kernel.h"

#include <string.h>

enum {
    MEMORY_COST = 16,   /* a 4-byte load or store, in flops: 20-50 lane FMAs on software drivers, about 60 on GPUs */
    MAX_READERS = 8,
    LAUNCH_COST = 65536, /* a dispatch and its barrier, in flops: 3-10 us wherever it was measured */
    MAP_CODE = 512,     /* flops of code, all copies of a value together, up to which a map may save a launch by recomputing */
    ANCHOR_CODE = 128,  /* the same in an anchor's loads, of which a kernel holds many copies */
    CHEAP_COST = 8,     /* flops that a reader may repeat */
    TINY_COST = 96,     /* flops of a number that every invocation computes rather than a kernel before: coefficients of a step */
    TINY_SIZE = 64,     /* elements of a value of which only single ones are read */
    MAX_LEAVES = 16,    /* values that two maps are compared by */
    MAX_MAP_STORES = 4,
    MAX_TEXT = 128      /* weight of the nodes a kernel may hold, for compile time */
};

typedef struct readers {
    uint32_t group[MAX_READERS];
    bool aligned[MAX_READERS]; /* a map that reads it at its own coordinates */
    uint32_t n;
    bool many;
    bool wide;              /* read by something of several elements */
    bool heavy;             /* read by an anchor's own loads, not by what is computed once per element */
    double evaluations;     /* element evaluations asked for if recomputed */
} readers;

typedef struct fuser {
    tf_fusion *f;
    const tuff_graph *g;
    const tf_compile_options *options;
    uint32_t *use_first, *use;   /* consumers of value v: nodes use[use_first[v] .. use_first[v+1]) */
    bool *port;                  /* [value] an output or a state's new value */
    double *trips;               /* [region] how often a run executes its nodes */
    double *cost;                /* [value] flops to recompute one element from memory */
    double *flops;               /* [node] flops of one element, operands given */
    uint32_t **reads;            /* [INDEXED node] how many elements of each operand one element reads */
    uint32_t *layout;            /* [value] inside the store side being grown: which order its elements are in */
    uint32_t *mark, epoch;       /* [node] visited stamps */
    uint32_t *stack;
    readers *read;               /* [value] */
} fuser;

static double elements(const tuff_graph *g, uint32_t value)
{
    uint64_t n = 0;
    return tf_count_bound(g, tf_type_of(g, value), &n) ? (double)n : 1e18;
}

static bool is_free(const tf_node *n) { return n->op->kind == TF_VIEW; }

static void add_op(fuser *u, tf_group *q, uint32_t node)
{
    q->ops++;
    q->text += 1 + (uint32_t)(u->flops[node] / 8);
}

static bool is_buffer(const tf_node *n)
{
    return n->op->kind == TF_SOURCE && strcmp(n->op->name, "literal") && strcmp(n->op->name, "scalar") && n->op != &tf_op_step;
}

static void refuse(fuser *u, uint32_t producer, uint32_t reader, tf_refusal_reason why)
{
    tf_refusal *r = tf_push(u->f->arena, &u->f->refusals);
    if (!r) return;
    const tuff_graph *g = u->g;
    r->producer = g->nodes.data[producer].op->name;
    r->reader = reader == TF_NO_NODE ? "" : g->nodes.data[reader].op->name;
    r->reason = why;
}

/* ---- preparation ------------------------------------------------------------------------------- */

static void mark_live(fuser *u)
{
    const tuff_graph *g = u->g;
    for (uint32_t i = 0; i < g->ports.n; i++) {
        const tf_port *p = &g->ports.data[i];
        const uint32_t v = p->kind == TF_PORT_OUTPUT ? p->value : p->kind == TF_PORT_STATE ? p->assigned : 0;
        if (v) u->port[v] = true;
    }
    tf_mark_live(g, u->f->live, NULL);
    for (uint32_t n = 0; n < g->nodes.n; n++) { /* carried values and what is written into in place have memory of their own */
        const tf_node *x = &g->nodes.data[n];
        if (u->f->live[n] && x->op == &tf_op_carry) u->port[x->src[0]] = true;
        if (u->f->live[n] && x->op == &tf_op_leave) u->port[x->src[1]] = true;
        if (u->f->live[n] && tf_op_in_place(x->op)) u->port[x->src[0]] = true;
    }
    for (uint32_t r = 0; r < g->regions.n; r++)
        for (uint32_t i = 0; i < g->regions.data[r].carries.n; i++)
            if (g->regions.data[r].carries.data[i].next) u->port[g->regions.data[r].carries.data[i].next] = true;
}

static bool index_uses(fuser *u)
{
    const tuff_graph *g = u->g;
    uint32_t total = 0;
    u->use_first = tf_arena_array(u->f->arena, uint32_t, (size_t)g->values.n + 2);
    if (!u->use_first) return false;
    for (uint32_t n = 0; n < g->nodes.n; n++)
        for (uint32_t i = 0; u->f->live[n] && i < g->nodes.data[n].n_src; i++)
            if (g->nodes.data[n].src[i]) { u->use_first[g->nodes.data[n].src[i] + 1]++; total++; }
    for (uint32_t v = 1; v < g->values.n + 2; v++) u->use_first[v] += u->use_first[v - 1];
    u->use = tf_arena_array(u->f->arena, uint32_t, (size_t)total + 1);
    uint32_t *fill = tf_arena_array(u->f->arena, uint32_t, (size_t)g->values.n + 2);
    if (!u->use || !fill) return false;
    for (uint32_t n = 0; n < g->nodes.n; n++)
        for (uint32_t i = 0; u->f->live[n] && i < g->nodes.data[n].n_src; i++) {
            const uint32_t v = g->nodes.data[n].src[i];
            if (v) u->use[u->use_first[v] + fill[v]++] = n;
        }
    return true;
}

static uint32_t bytes_of(tuff_dtype t) { return (tf_dtype_bits(t) + 7) / 8; }

/* ---- costs --------------------------------------------------------------------------------------- */

typedef struct leaf_set { tf_ex *seen; uint32_t n, cap; uint32_t *reads; } leaf_set;

static tf_ex count_read(tf_view_map *m, uint32_t i, const tf_ex *coords)
{
    leaf_set *s = m->user;
    const tf_ex e = tf_ex_load(m->x, m->node->src[i], tf_ex_linear(m->x, tf_type_of(m->g, m->node->src[i]), coords), 0, 0);
    for (uint32_t k = 0; k < s->n; k++)
        if (s->seen[k] == e) return e;
    if (!tf_array_grow(m->x->arena, (void **)&s->seen, &s->cap, s->n, sizeof *s->seen)) return e;
    s->seen[s->n++] = e;
    s->reads[i]++;
    return e;
}

/* What an INDEXED row computes is in its expression: built once with its operands as loads, its rows are counted. */
static void weigh_indexed(fuser *u, uint32_t node)
{
    const tuff_graph *g = u->g;
    const tf_node *n = &g->nodes.data[node];
    const tf_type *t = tf_type_of(g, n->out);
    tf_ex out[TUFF_MAX_RANK] = { 0 };
    tf_exprs x;
    leaf_set leaves = { .reads = tf_arena_array(u->f->arena, uint32_t, (size_t)n->n_src + 1) };
    if (!(u->reads[node] = leaves.reads)) return;
    tf_exprs_init(&x, u->f->arena, g);
    for (int32_t i = 0; i < t->rank; i++) out[i] = tf_ex_var(&x, i, t->dim[i]);
    tf_view_map m = { .x = &x, .g = g, .node = n, .desc = n->desc, .out = out, .out_type = t, .operand = count_read, .user = &leaves,
                      .src_type = n->n_src && n->src[0] ? tf_type_of(g, n->src[0]) : NULL };
    n->op->expr(&m);
    u->flops[node] = 4;
    for (uint32_t i = 1; i < x.nodes.n; i++)
        if (x.nodes.data[i].kind == TF_EX_OP) u->flops[node] += TF_MAX(x.nodes.data[i].op->flops, 1u);
}

static double reads_of(const fuser *u, uint32_t node, uint32_t i)
{
    return u->reads[node] ? TF_MAX(u->reads[node][i], 1u) : 1;
}

/* Optimistic: everything pointwise below is recomputed, down to memory. Broadcast operands are loaded less often. */
static void estimate_costs(fuser *u)
{
    const tuff_graph *g = u->g;
    for (uint32_t n = 0; n < g->nodes.n; n++) {
        const tf_node *node = &g->nodes.data[n];
        double c = 0;
        if (node->op->kind == TF_INDEXED && u->f->live[n]) weigh_indexed(u, n);
        else u->flops[n] = node->op->kind == TF_POINTWISE ? TF_MAX(node->op->flops, 1u) : node->op->flops;
        switch (node->op->kind) {
        case TF_POINTWISE: case TF_VIEW: case TF_INDEXED: {
            const double out = TF_MAX(elements(g, node->out), 1.0);
            c = u->flops[n];
            for (uint32_t i = 0; i < node->n_src; i++)
                if (node->src[i]) {
                    const double ratio = elements(g, node->src[i]) / out;
                    c += u->cost[node->src[i]] * (ratio < 1 ? TF_MAX(ratio, 1.0 / 64) : 1) * reads_of(u, n, i);
                }
            break;
        }
        default: c = is_buffer(node) || node->op->kind == TF_ANCHOR ? MEMORY_COST * bytes_of(tf_type_of(g, node->out)->dtype) / 4.0 : 0;
        }
        for (uint32_t r = 0; r < node->n_out; r++) u->cost[node->out + r] = c;
    }
}

static double trips(const fuser *u, uint32_t node) { return u->trips[u->g->nodes.data[node].region]; }

static bool index_regions(fuser *u)
{
    const tuff_graph *g = u->g;
    u->trips = tf_arena_array(u->f->arena, double, (size_t)g->regions.n + 1);
    u->f->segment = tf_arena_array(u->f->arena, uint32_t, (size_t)g->nodes.n + 1);
    if (!u->trips || !u->f->segment) return false;
    for (uint32_t r = 0; r <= g->regions.n; r++) u->trips[r] = TF_MAX(tf_region_trips(g, r), 1.0);
    for (uint32_t n = 1; n < g->nodes.n; n++)
        u->f->segment[n] = u->f->segment[n - 1] + (g->nodes.data[n].region != g->nodes.data[n - 1].region);
    return true;
}

/* ---- groups ------------------------------------------------------------------------------------ */

static tf_group *group_new(fuser *u, uint32_t anchor, uint32_t root, uint32_t *id)
{
    tf_group *q = tf_push(u->f->arena, &u->f->groups);
    if (!q) return NULL;
    *id = u->f->groups.n; /* id + 1 form */
    q->anchor = anchor;
    uint32_t *m = tf_push(u->f->arena, &q->members);
    if (m) *m = root;
    return q;
}

static bool store(fuser *u, uint32_t group1, uint32_t value)
{
    if (u->f->stored[value]) return true;
    uint32_t *s = tf_push(u->f->arena, &u->f->groups.data[group1 - 1].stores);
    if (!s) return false;
    *s = value;
    u->f->stored[value] = group1;
    return true;
}

/* Does computing `node` need group `target`'s kernel to have run? Groups count as one unit. */
static bool depends_on(fuser *u, uint32_t node, uint32_t target1)
{
    const tuff_graph *g = u->g;
    uint32_t n = 0;
    u->epoch++;
    u->stack[n++] = node;
    u->mark[node] = u->epoch;
    while (n) {
        const uint32_t at = u->stack[--n], own = u->f->risen[at];
        if (own == target1) return true;
        const tf_group *q = own ? &u->f->groups.data[own - 1] : NULL;
        for (uint32_t m = 0; m < (q ? q->members.n : 1); m++) {
            const tf_node *x = &g->nodes.data[q ? q->members.data[m] : at];
            if (q) u->mark[q->members.data[m]] = u->epoch;
            for (uint32_t i = 0; i < x->n_src; i++) {
                if (!x->src[i]) continue;
                const uint32_t s = tf_val(g, x->src[i])->node;
                if (u->mark[s] == u->epoch) continue;
                u->mark[s] = u->epoch;
                u->stack[n++] = s;
            }
        }
    }
    return false;
}

static bool narrow_store_ok(const fuser *u, tuff_dtype t)
{
    const uint32_t bits = tf_dtype_bits(t);
    return bits >= 32 || (bits == 16 && u->f->limits->storage16) || (bits == 8 && u->f->limits->storage8);
}

static bool same_dims(const tf_type *a, const tf_type *b)
{
    if (a->rank != b->rank) return false;
    for (int32_t i = 0; i < a->rank; i++)
        if (!tf_dim_equal(a->dim[i], b->dim[i])) return false;
    return true;
}

/* May node join the store side of group1? Operands inside must all lie in one element order; others must be ready
 * before the anchor runs. Returns the layout of its result, 0: no. */
static uint32_t rise_layout(fuser *u, uint32_t node, uint32_t group1, uint32_t *next_layout)
{
    const tuff_graph *g = u->g;
    const tf_node *x = &g->nodes.data[node];
    const tf_type *t = tf_type_of(g, x->out);
    if (u->f->risen[node] || !u->f->live[node] || x->n_out != 1) return 0;
    if (u->f->segment[node] != u->f->segment[u->f->groups.data[group1 - 1].members.data[0]]) return 0;
    if (is_free(x)) {
        const bool inside = u->f->risen[tf_val(g, x->src[0])->node] == group1 && u->layout[x->src[0]];
        return x->op->bijective && inside ? ++*next_layout : 0;
    }
    if (x->op->kind != TF_POINTWISE || u->options->no_fusion || !narrow_store_ok(u, t->dtype)) return 0;
    uint32_t layout = 0;
    for (uint32_t i = 0; i < x->n_src; i++) {
        const uint32_t v = x->src[i];
        if (u->f->risen[tf_val(g, v)->node] != group1) continue;
        if (!u->layout[v] || (layout && u->layout[v] != layout) || !same_dims(tf_type_of(g, v), t)) return 0;
        layout = u->layout[v];
    }
    for (uint32_t i = 0; layout && i < x->n_src; i++) {
        const uint32_t def = tf_val(g, x->src[i])->node;
        if (u->f->risen[def] != group1 && depends_on(u, def, group1)) return 0;
    }
    return layout;
}

/* Views at the end of a store side, read by others only, are left to the readers. */
static bool needed_in_store(fuser *u, uint32_t node, uint32_t group1)
{
    const tuff_graph *g = u->g;
    const uint32_t v = g->nodes.data[node].out;
    if (u->port[v]) return true;
    for (uint32_t i = u->use_first[v]; i < u->use_first[v + 1]; i++)
        if (u->f->risen[u->use[i]] == group1) return true;
    return false;
}

static bool read_outside(fuser *u, uint32_t value, uint32_t group1)
{
    for (uint32_t i = u->use_first[value]; i < u->use_first[value + 1]; i++)
        if (u->f->risen[u->use[i]] != group1) return true;
    return false;
}

/* Distinct values other than store-side ones that a node reads, as a bound on bindings. */
static uint32_t outside_operands(fuser *u, const tf_node *x, uint32_t group1)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < x->n_src; i++)
        if (x->src[i] && u->f->risen[tf_val(u->g, x->src[i])->node] != group1) n++;
    return n;
}

static uint32_t stored_values(fuser *u, const tf_group *q, uint32_t id)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < q->members.n; i++) {
        const tf_node *x = &u->g->nodes.data[q->members.data[i]];
        for (uint32_t r = 0; r < x->n_out; r++) n += u->port[x->out + r] || read_outside(u, x->out + r, id);
    }
    return n;
}

/* Is value read outside of group1, as it is or through the group's views? */
static bool seen_outside(fuser *u, uint32_t value, uint32_t group1)
{
    for (uint32_t i = u->use_first[value]; i < u->use_first[value + 1]; i++) {
        const tf_node *x = &u->g->nodes.data[u->use[i]];
        if (u->f->risen[u->use[i]] != group1 || (is_free(x) && (u->port[x->out] || seen_outside(u, x->out, group1)))) return true;
    }
    return false;
}

/* A cheap last member made of values that the kernel stores anyway, read by one pointwise node: the reader computes it, and
 * there is one result less to store. */
static bool left_to_reader(fuser *u, uint32_t node, uint32_t group1)
{
    const tuff_graph *g = u->g;
    const tf_node *x = &g->nodes.data[node];
    const uint32_t use = u->use_first[x->out];
    if (u->port[x->out] || u->use_first[x->out + 1] != use + 1 || u->f->risen[u->use[use]] == group1) return false;
    if (x->op->flops > CHEAP_COST || g->nodes.data[u->use[use]].op->kind != TF_POINTWISE) return false;
    for (uint32_t i = 0; i < x->n_src; i++) {
        uint32_t v = x->src[i];
        if (!v || u->f->risen[tf_val(g, v)->node] != group1) continue;
        while (is_free(&g->nodes.data[tf_val(g, v)->node])) v = g->nodes.data[tf_val(g, v)->node].src[0];
        if (!u->port[v] && !seen_outside(u, v, group1)) return false;
    }
    return true;
}

static bool rise(fuser *u, uint32_t node)
{
    const tuff_graph *g = u->g;
    const tf_node *a = &g->nodes.data[node];
    uint32_t id, layouts = 1;
    if (!group_new(u, node, node, &id)) return false;
    u->f->risen[node] = id;
    tf_group *q = &u->f->groups.data[id - 1];
    for (uint32_t i = 0; i < a->n_src; i++) q->leaves += a->src[i] != 0;
    for (uint32_t r = 0; r < a->n_out; r++) u->layout[a->out + r] = a->op->anchor->in_place ? 0 : layouts++; /* hooks grow where all of a result passes by */
    for (uint32_t n = node + 1; n < g->nodes.n; n++) {
        const tf_node *x = &g->nodes.data[n];
        const uint32_t layout = rise_layout(u, n, id, &layouts);
        if (!layout) continue;
        const uint32_t more = outside_operands(u, x, id);
        if (!is_free(x) && (q->leaves + more + 1 > u->f->limits->storage_bindings || q->text >= MAX_TEXT)) {
            refuse(u, node, n, q->text >= MAX_TEXT ? TF_REFUSE_SIZE : TF_REFUSE_BINDINGS);
            continue;
        }
        uint32_t *m = tf_push(u->f->arena, &q->members);
        if (!m) return false;
        *m = n;
        u->f->risen[n] = id;
        u->layout[x->out] = layout;
        if (!is_free(x)) { q->leaves += more; add_op(u, q, n); }
    }
    for (uint32_t i = q->members.n; i-- > 1;) { /* trailing views and what readers compute as well go back */
        const uint32_t n = q->members.data[i];
        if (is_free(&g->nodes.data[n]) ? needed_in_store(u, n, id) : !left_to_reader(u, n, id)) continue;
        u->f->risen[n] = 0;
        u->layout[g->nodes.data[n].out] = 0;
        memmove(&q->members.data[i], &q->members.data[i + 1], (q->members.n - i - 1) * sizeof *q->members.data);
        q->members.n--;
    }
    while (q->members.n > 1 && stored_values(u, q, id) > TF_MAX_STORES) { /* the last ones become kernels of their own */
        const uint32_t n = q->members.data[--q->members.n];
        u->f->risen[n] = 0;
        u->layout[g->nodes.data[n].out] = 0;
    }
    for (uint32_t i = 0; i < q->members.n; i++) {
        const tf_node *x = &g->nodes.data[q->members.data[i]];
        for (uint32_t r = 0; r < x->n_out; r++)
            if ((u->port[x->out + r] || read_outside(u, x->out + r, id)) && !store(u, id, x->out + r)) return false;
    }
    return true;
}

/* ---- backward sweep ----------------------------------------------------------------------------- */

static bool has_reader(const readers *r, uint32_t group)
{
    for (uint32_t i = 0; i < r->n; i++)
        if (r->group[i] == group) return true;
    return false;
}

static void demand(fuser *u, uint32_t value, uint32_t group1, double evaluations, bool aligned, bool wide, bool heavy)
{
    readers *r = &u->read[value];
    r->wide |= wide;
    r->heavy |= heavy;
    r->evaluations += evaluations;
    for (uint32_t i = 0; i < r->n; i++)
        if (r->group[i] == group1) { r->aligned[i] |= aligned; return; }
    const tf_node *def = tf_def(u->g, value);
    if (def->op->kind != TF_SOURCE || is_buffer(def)) u->f->groups.data[group1 - 1].leaves++;
    if (r->n == MAX_READERS) { r->many = true; return; }
    r->aligned[r->n] = aligned;
    r->group[r->n++] = group1;
}

/* x is computed inside group1; `aligned`: at the group's own coordinates. */
static void demand_operands(fuser *u, const tf_node *x, uint32_t group1, double evaluations, bool aligned, bool heavy)
{
    for (uint32_t i = 0; i < x->n_src; i++)
        if (x->src[i] && u->f->risen[tf_val(u->g, x->src[i])->node] != group1)
            demand(u, x->src[i], group1,
                   evaluations * (x->op->partition ? elements(u->g, x->src[i]) / TF_MAX(elements(u->g, x->out), 1.0) : reads_of(u, tf_val(u->g, x->out)->node, i)),
                   aligned && x->op->kind == TF_POINTWISE && same_dims(tf_type_of(u->g, x->src[i]), tf_type_of(u->g, x->out)),
                   elements(u->g, x->out) > 1, heavy);
}

/* Does group a need anything group b computes? Undecided nodes are walked through. */
static bool group_needs(fuser *u, uint32_t a1, uint32_t b1)
{
    const tuff_graph *g = u->g;
    const tf_group *a = &u->f->groups.data[a1 - 1], *b = &u->f->groups.data[b1 - 1];
    uint32_t n = 0;
    u->epoch++;
    for (uint32_t i = 0; i < a->members.n; i++) { u->stack[n++] = a->members.data[i]; u->mark[a->members.data[i]] = u->epoch; }
    while (n) {
        const uint32_t at = u->stack[--n];
        for (uint32_t i = 0; i < b->members.n; i++)
            if (b->members.data[i] == at) return true;
        const uint32_t own = u->f->risen[at] ? u->f->risen[at] : u->f->stored[g->nodes.data[at].out]; /* a kernel runs as a whole */
        const tf_group *q = own && own != a1 ? &u->f->groups.data[own - 1] : NULL;
        for (uint32_t m = 0; m < (q ? q->members.n : 1); m++) {
            const tf_node *x = &g->nodes.data[q ? q->members.data[m] : at];
            for (uint32_t i = 0; i < x->n_src; i++) {
                const uint32_t s = x->src[i] ? tf_val(g, x->src[i])->node : at;
                if (u->mark[s] == u->epoch) continue;
                u->mark[s] = u->epoch;
                u->stack[n++] = s;
            }
        }
    }
    return false;
}

/* Is q a map that may store node n's value, too? */
static bool takes_store(const fuser *u, const tf_group *q, uint32_t n)
{
    return q->anchor == TF_NO_NODE && u->f->segment[q->members.data[0]] == u->f->segment[n] && q->stores.n < MAX_MAP_STORES && q->text < MAX_TEXT &&
           narrow_store_ok(u, tf_type_of(u->g, q->stores.data[0])->dtype); /* others pack whole words of one value */
}

/* A stored value that a map already computes at its own coordinates is stored by that map as well. */
static bool join_reader(fuser *u, uint32_t n)
{
    const tuff_graph *g = u->g;
    const tf_node *x = &g->nodes.data[n];
    const readers *r = &u->read[x->out];
    if (u->options->no_fusion || x->op->kind != TF_POINTWISE || r->many || !narrow_store_ok(u, tf_type_of(g, x->out)->dtype)) return false;
    for (uint32_t i = 0; i < r->n; i++) {
        tf_group *q = &u->f->groups.data[r->group[i] - 1];
        uint32_t more = 0;
        if (!r->aligned[i] || !takes_store(u, q, n)) continue;
        for (uint32_t s = 0; s < x->n_src; s++) more += x->src[s] && !has_reader(&u->read[x->src[s]], r->group[i]);
        bool fits = q->leaves + more + q->stores.n <= u->f->limits->storage_bindings;
        for (uint32_t j = 0; j < r->n && fits; j++) fits = j == i || !group_needs(u, r->group[i], r->group[j]);
        if (!fits) continue;
        uint32_t *m = tf_push(u->f->arena, &q->members);
        if (!m || !store(u, r->group[i], x->out)) return false;
        *m = n;
        add_op(u, q, n);
        q->leaves--;
        demand_operands(u, x, r->group[i], elements(g, x->out) * trips(u, n), true, false);
        return true;
    }
    return false;
}

/* Values of root's dims that a map over it loads at its own coordinates; more than `most`: too many to look at. */
static uint32_t aligned_leaves(fuser *u, uint32_t root, uint32_t *leaf, uint32_t most)
{
    const tuff_graph *g = u->g;
    const tf_type *t = tf_type_of(g, g->nodes.data[root].out);
    uint32_t n = 0, found = 0;
    u->epoch++;
    u->stack[n++] = root;
    while (n) {
        const tf_node *x = &g->nodes.data[u->stack[--n]];
        for (uint32_t i = 0; i < x->n_src; i++) {
            const uint32_t v = x->src[i], def = v ? tf_val(g, v)->node : root;
            if (!v || u->mark[def] == u->epoch || !same_dims(tf_type_of(g, v), t)) continue;
            u->mark[def] = u->epoch;
            if (g->nodes.data[def].op->kind == TF_POINTWISE && !u->f->risen[def] && !u->port[v]) u->stack[n++] = def;
            else if (found == most) return most + 1;
            else leaf[found++] = v;
        }
    }
    return found;
}

/* A map that loads mostly what another map over the same elements loads becomes part of it: one pass over memory instead of
 * two. `id` is the map's own group, the last one made. */
static bool join_sibling(fuser *u, uint32_t n, uint32_t id, uint32_t *joined)
{
    const tuff_graph *g = u->g;
    const tf_node *x = &g->nodes.data[n];
    const tf_type *t = tf_type_of(g, x->out);
    uint32_t mine[MAX_LEAVES], theirs[MAX_LEAVES];
    *joined = 0;
    if (u->options->no_fusion || x->op->kind != TF_POINTWISE || !narrow_store_ok(u, t->dtype)) return true;
    const uint32_t have = aligned_leaves(u, n, mine, MAX_LEAVES);
    for (uint32_t k = 1; k < id && !*joined && have <= MAX_LEAVES; k++) {
        const tf_group *q = &u->f->groups.data[k - 1];
        if (!takes_store(u, q, n) || !same_dims(tf_type_of(g, q->stores.data[0]), t)) continue;
        const uint32_t other = aligned_leaves(u, q->members.data[0], theirs, MAX_LEAVES);
        uint32_t shared = 0;
        for (uint32_t i = 0; i < have && other <= MAX_LEAVES; i++)
            for (uint32_t j = 0; j < other; j++) shared += mine[i] == theirs[j];
        if (2 * shared <= have || q->leaves + have - shared + q->stores.n + 1 > u->f->limits->storage_bindings) continue;
        if (!group_needs(u, k, id) && !group_needs(u, id, k)) *joined = k;
    }
    if (!*joined) return true;
    u->f->groups.data[--u->f->groups.n] = (tf_group){ .anchor = TF_NO_NODE };
    uint32_t *m = tf_push(u->f->arena, &u->f->groups.data[*joined - 1].members);
    if (m) *m = n;
    return m != NULL;
}

/* Why node n must be stored; TF_REFUSE_COUNT: it may be recomputed by its readers. */
static tf_refusal_reason why_store(fuser *u, uint32_t n)
{
    const tuff_graph *g = u->g;
    const tf_node *x = &g->nodes.data[n];
    const readers *r = &u->read[x->out];
    if (u->port[x->out]) return TF_REFUSE_OUTPUT;
    if (is_free(x)) return TF_REFUSE_COUNT;
    if (u->options->no_fusion) return TF_REFUSE_DISABLED;
    if (r->many) return TF_REFUSE_READERS;
    const double count = TF_MAX(elements(g, x->out), 1.0) * trips(u, n), cost = u->cost[x->out];
    const double memory = MEMORY_COST * bytes_of(tf_type_of(g, x->out)->dtype) / 4.0;
    const bool tiny = !r->heavy && cost <= TINY_COST && elements(g, x->out) <= (r->wide ? 1 : TINY_SIZE);
    const bool little = r->evaluations * cost <= count * (r->heavy ? ANCHOR_CODE : MAP_CODE);
    const double launch = little ? LAUNCH_COST * trips(u, n) : 0;
    if (!tiny && r->evaluations * cost > count * (cost + memory) + r->evaluations * memory + launch)
        return r->n > 1 ? TF_REFUSE_READERS : TF_REFUSE_RECOMPUTE;
    for (uint32_t i = 0; i < r->n; i++) {
        const tf_group *q = &u->f->groups.data[r->group[i] - 1];
        uint32_t more = 0;
        for (uint32_t s = 0; s < x->n_src; s++) more += x->src[s] && !has_reader(&u->read[x->src[s]], r->group[i]);
        if (q->leaves + more > u->f->limits->storage_bindings) return TF_REFUSE_BINDINGS; /* n's own leaf is freed: room for the store */
        if (q->text >= MAX_TEXT) return TF_REFUSE_SIZE;
    }
    return TF_REFUSE_COUNT;
}

static bool sink(fuser *u, uint32_t n)
{
    const tuff_graph *g = u->g;
    const tf_node *x = &g->nodes.data[n];
    if (u->f->risen[n]) {
        const uint32_t id = u->f->risen[n];
        const tf_anchor *a = x->op->anchor;
        for (uint32_t i = 0; i < x->n_src; i++) {
            if (!x->src[i] || u->f->risen[tf_val(g, x->src[i])->node] == id) continue;
            const double reread = a && i < TF_COUNT(a->loads) ? 1.0 + a->loads[i].reread : 1.0;
            demand(u, x->src[i], id, reread * elements(g, a ? x->src[i] : x->out) * trips(u, n), false, a || elements(g, x->out) > 1, a != NULL);
        }
        return true;
    }
    const tf_refusal_reason why = why_store(u, n);
    const double count = elements(g, x->out) * trips(u, n);
    if (why != TF_REFUSE_COUNT) {
        uint32_t id;
        if (why != TF_REFUSE_OUTPUT && why != TF_REFUSE_DISABLED) refuse(u, n, u->f->groups.data[u->read[x->out].group[0] - 1].members.data[0], why);
        if (join_reader(u, n)) return true;
        uint32_t joined;
        if (!group_new(u, TF_NO_NODE, n, &id) || !join_sibling(u, n, id, &joined)) return false;
        if (joined) id = joined;
        else u->f->groups.data[id - 1].leaves = 1;
        if (!store(u, id, x->out)) return false;
        add_op(u, &u->f->groups.data[id - 1], n);
        demand_operands(u, x, id, count, true, false);
        return true;
    }
    const readers r = u->read[x->out];
    for (uint32_t i = 0; i < r.n; i++) {
        u->f->groups.data[r.group[i] - 1].leaves--;
        if (!is_free(x)) add_op(u, &u->f->groups.data[r.group[i] - 1], n);
        demand_operands(u, x, r.group[i], r.evaluations / r.n, r.aligned[i], r.heavy);
    }
    return true;
}

bool tf_fuse(const tuff_graph *g, const tf_limits *limits, const tf_compile_options *options, tf_arena *arena, tf_fusion *out)
{
    memset(out, 0, sizeof *out);
    out->g = g;
    out->arena = arena;
    out->limits = limits;
    fuser u = { .f = out, .g = g, .options = options };
    const size_t values = (size_t)g->values.n + 1, nodes = (size_t)g->nodes.n + 1;
    out->stored = tf_arena_array(arena, uint32_t, values);
    out->risen = tf_arena_array(arena, uint32_t, nodes);
    out->live = tf_arena_array(arena, bool, nodes);
    u.port = tf_arena_array(arena, bool, values);
    u.cost = tf_arena_array(arena, double, values);
    u.flops = tf_arena_array(arena, double, nodes);
    u.reads = tf_arena_array(arena, uint32_t *, nodes);
    u.layout = tf_arena_array(arena, uint32_t, values);
    u.mark = tf_arena_array(arena, uint32_t, nodes);
    u.stack = tf_arena_array(arena, uint32_t, nodes);
    u.read = tf_arena_array(arena, readers, values);
    if (arena->failed) return false;
    mark_live(&u);
    if (!index_uses(&u) || !index_regions(&u)) return false;
    estimate_costs(&u);
    for (uint32_t n = 0; n < g->nodes.n; n++)
        if (out->live[n] && g->nodes.data[n].op->kind == TF_ANCHOR && !rise(&u, n)) return false;
    for (uint32_t n = g->nodes.n; n-- > 0;) {
        if (!out->live[n] || g->nodes.data[n].op->kind == TF_SOURCE) continue;
        if (!sink(&u, n)) return false;
    }
    return !arena->failed;
}
