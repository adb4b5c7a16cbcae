/* compile.c - the passes in order: lower, fuse, emit, schedule, place, bind. The architecture on one screen. */
#include "emit.h"
#include "lower.h"

#include <stdlib.h>
#include <string.h>

typedef struct compiler {
    tuff_graph *from, *g;            /* the user's graph, the lowered one */
    const tf_limits *limits;
    const tf_compile_options *options;
    tf_arena scratch;
    tf_fusion fusion;
    tf_plan *plan;
    uint32_t *buffer;                /* [value] buffer + 1 */
    tf_emitter *emitters;            /* [group]; kernels that run */
    uint32_t n_emitters;
    tf_raw_kernels raw;              /* kernels numbered from n_emitters on */
    tf_str message;
    tuff_status status;
} compiler;

static bool stop(compiler *c, tuff_status status, const char *text)
{
    c->status = status;
    if (text) tf_str_add(&c->message, text);
    return false;
}

/* An f64 value that some node reads or computes, 0: none. Constants that folding has left over do no harm. */
static uint32_t f64_in_use(const tuff_graph *g)
{
    for (uint32_t n = 0; n < g->nodes.n; n++) {
        const tf_node *x = &g->nodes.data[n];
        for (uint32_t i = 0; i < x->n_src; i++)
            if (x->src[i] && tf_type_of(g, x->src[i])->dtype == TUFF_F64) return x->src[i];
        for (uint32_t r = 0; r < x->n_out && x->op != &tf_op_const; r++)
            if (tf_type_of(g, x->out + r)->dtype == TUFF_F64) return x->out + r;
    }
    return 0;
}

static bool lower(compiler *c)
{
    c->status = tf_lower_graph(c->from, c->limits, &c->plan->arena, &c->g, &c->message);
    const uint32_t wide = c->status == TUFF_OK && !c->limits->f64 ? f64_in_use(c->g) : 0;
    if (wide) {
        const char *what = tf_describe_value(c->g, wide);
        stop(c, TUFF_E_UNSUPPORTED, what ? what : "a value");
        tf_str_add(&c->message, " is needed, but this device has no f64 arithmetic");
    }
    return c->status == TUFF_OK;
}

static bool fuse(compiler *c)
{
    return tf_fuse(c->g, c->limits, c->options, &c->scratch, &c->fusion) || stop(c, TUFF_E_MEMORY, NULL);
}

/* ---- buffers and ports --------------------------------------------------------------------------- */

static tf_buffer *buffer_new(compiler *c, uint32_t value, tf_buffer_kind kind, const char *name)
{
    tf_buffer *b = tf_push(&c->plan->arena, &c->plan->buffers);
    if (!b) return NULL;
    b->kind = kind;
    b->type = *tf_type_of(c->g, value);
    b->name = name ? tf_arena_string(&c->plan->arena, name) : NULL;
    if (!tf_bytes_bound(c->g, &b->type, &b->bytes)) return NULL;
    if (!c->buffer[value]) c->buffer[value] = c->plan->buffers.n;
    return b;
}

static bool constant(compiler *c, tf_buffer *b, const tf_source_desc *d)
{
    b->data = d->borrow ? d->data : tf_arena_copy(&c->plan->arena, d->data, (size_t)d->bytes);
    if (d->name) b->hash = tf_hash(0, d->data, (size_t)d->bytes);
    return b->data || !d->bytes;
}

static bool make_ports(compiler *c)
{
    static const tf_buffer_kind kinds[] = { [TF_PORT_INPUT] = TF_BUF_INPUT, [TF_PORT_OUTPUT] = TF_BUF_OUTPUT, [TF_PORT_STATE] = TF_BUF_STATE, [TF_PORT_CONST] = TF_BUF_CONST };
    const tuff_graph *g = c->g;
    for (uint32_t i = 0; i < g->ports.n; i++) {
        const tf_port *p = &g->ports.data[i];
        if (p->kind == TF_PORT_CONST && !p->name && !c->fusion.live[tf_val(g, p->value)->node]) continue;
        tf_plan_port *q = tf_push(&c->plan->arena, &c->plan->ports);
        if (!q) return stop(c, TUFF_E_MEMORY, NULL);
        *q = (tf_plan_port){ .kind = p->kind, .name = p->name ? tf_arena_string(&c->plan->arena, p->name) : NULL, .type = *tf_type_of(g, p->value) };
        const tf_source_desc *d = tf_def(g, p->value)->desc;
        if (p->kind == TF_PORT_SCALAR) { q->initial = d->value; continue; }
        tf_buffer *b = buffer_new(c, p->value, kinds[p->kind], p->name);
        if (!b) return stop(c, TUFF_E_MEMORY, NULL);
        q->buffer = c->plan->buffers.n - 1;
        if (p->kind == TF_PORT_CONST && !constant(c, b, d)) return stop(c, TUFF_E_MEMORY, NULL);
    }
    return true;
}

/* The value whose memory holds a carried value, inside its loop and behind it. */
static uint32_t holder(const tuff_graph *g, uint32_t value)
{
    while (tf_def(g, value)->op == &tf_op_carry || tf_def(g, value)->op == &tf_op_leave) value = tf_def(g, value)->src[0];
    return value;
}

/* Buffers that are no port: stored values in the arena, and constants without a name. */
static bool make_buffer(compiler *c, const tf_kernel_arg *a)
{
    if (c->buffer[a->value]) return true;
    const uint32_t held = holder(c->g, a->value);
    if (held != a->value && (c->buffer[held] || make_buffer(c, &(tf_kernel_arg){ .value = held }))) {
        c->buffer[a->value] = c->buffer[held];
        return true;
    }
    const tf_node *def = tf_def(c->g, a->value);
    const bool source = def->op->kind == TF_SOURCE;
    tf_buffer *b = buffer_new(c, a->value, source ? TF_BUF_CONST : TF_BUF_ARENA, NULL);
    if (!b || (source && !constant(c, b, def->desc))) return stop(c, TUFF_E_MEMORY, NULL);
    if (a->wide) {
        b->type.dtype = TUFF_U32;
        if (!tf_bytes_bound(c->g, &b->type, &b->bytes)) return stop(c, TUFF_E_OVERFLOW, "an intermediate tensor's size overflows");
    }
    return true;
}

/* ---- steps --------------------------------------------------------------------------------------- */

static bool empty(const compiler *c, const tf_group *q)
{
    for (uint32_t i = 0; i < q->stores.n; i++) {
        uint64_t n = 0;
        if (!tf_count_bound(c->g, tf_type_of(c->g, q->stores.data[i]), &n) || n) return false;
    }
    return true;
}

static bool add_arg(compiler *c, uint32_t value, bool read, bool write, bool aligned)
{
    tf_arg *a = tf_push(&c->plan->arena, &c->plan->args);
    if (!a) return stop(c, TUFF_E_MEMORY, NULL);
    *a = (tf_arg){ .buffer = c->buffer[value] - 1, .read = read, .write = write, .aligned = aligned };
    return true;
}

/* Scalars are parameters by port, not by value. */
static uint32_t scalar_port(const compiler *c, int64_t value)
{
    for (uint32_t i = 0; i < c->plan->ports.n; i++) {
        const tf_port *p = tf_port_find(c->g, 1u << TF_PORT_SCALAR, c->plan->ports.data[i].name ? c->plan->ports.data[i].name : "");
        if (c->plan->ports.data[i].kind == TF_PORT_SCALAR && p && p->value == (uint32_t)value) return i;
    }
    return 0;
}

static bool add_copy(compiler *c, uint32_t from, uint32_t to, uint32_t region, const char *label)
{
    tf_step *s = tf_push(&c->plan->arena, &c->plan->steps);
    if (!s) return stop(c, TUFF_E_MEMORY, NULL);
    *s = (tf_step){ .kind = TF_STEP_COPY, .arg = c->plan->args.n, .n_args = 2, .label = label, .region = region,
                    .bytes = 2 * c->plan->buffers.data[c->buffer[to] - 1].bytes };
    return add_arg(c, from, true, false, false) && add_arg(c, to, false, true, false);
}

/* A kernel that writes some elements of operand 0 works on a copy of it, until commit.c finds that it need not. */
static bool copy_base(compiler *c, const tf_group *q, uint32_t region)
{
    const uint32_t anchor = q->anchor;
    if (anchor == TF_NO_NODE || !tf_op_in_place(c->g->nodes.data[anchor].op)) return true;
    const uint32_t base = c->g->nodes.data[anchor].src[0], out = c->g->nodes.data[anchor].out;
    return make_buffer(c, &(tf_kernel_arg){ .value = base }) && make_buffer(c, &(tf_kernel_arg){ .value = out }) &&
           add_copy(c, base, out, region, "copy");
}

/* Most operands in uniform blocks of a kernel that may have loops: Mesa 22.3 crashes where a loop's bound is in the fourth block. */
enum { ANCHOR_BLOCKS = 2 };

/* Software drivers read a vector from a uniform block two to three times as fast as from a storage buffer, and some of them
 * single elements. Not one at a constant index: Mesa compiles a kernel anew for each value of it that a branch depends on. An
 * anchor says itself which of its operands go there; what its hooks read besides goes where loads are not cheap anyway. */
static bool wants_uniform(const compiler *c, const tf_group *q, const tf_emitter *m, const tf_kernel_arg *a)
{
    const bool vectors = a->vec_read && !a->scalar_used;
    if (!c->limits->cpu) return false;
    if (q->anchor == TF_NO_NODE) return vectors || (!c->limits->uniform_loads && !a->vec_read && !a->fixed_read);
    if (!vectors) return false;
    const tf_node *n = &c->g->nodes.data[q->anchor];
    for (uint32_t i = 0; i < n->n_src; i++)
        if (n->src[i] == a->value) return i < TF_COUNT(m->build.loads) && m->build.loads[i].uniform;
    return !c->limits->uniform_loads;
}

/* Drivers for CPUs gather a texel of 16 bytes at once and a vector of a storage buffer by its parts, unless they look at addresses. */
static bool wants_texels(const compiler *c, const tf_kernel_arg *a)
{
    const bool words = a->wide || tf_dtype_bits(tf_type_of(c->g, a->value)->dtype) == 32;
    return c->limits->texel_bindings && !c->limits->uniform_loads && words && a->vec_read && !a->scalar_used && !a->write;
}

static bool add_kernel(compiler *c, uint32_t group)
{
    const tf_group *q = &c->fusion.groups.data[group - 1];
    const uint32_t region = c->g->nodes.data[q->members.data[0]].region;
    if (empty(c, q)) return true;
    if (!copy_base(c, q, region)) return false;
    tf_emitter *m = &c->emitters[c->n_emitters];
    const char *error = tf_emit_hooks(m, c->g, &c->fusion, group, c->limits, c->options, &c->scratch);
    c->n_emitters++;
    if (error) return stop(c, m->error ? TUFF_E_UNSUPPORTED : TUFF_E_MEMORY, error);
    tf_step *s = tf_push(&c->plan->arena, &c->plan->steps);
    if (!s) return stop(c, TUFF_E_MEMORY, NULL);
    *s = (tf_step){ .kind = TF_STEP_DISPATCH, .kernel = c->n_emitters - 1,
                    .arg = c->plan->args.n, .n_args = m->args.n, .groups = m->build.groups, .flops = m->build.flops, .region = region };
    const bool rows = q->anchor != TF_NO_NODE && tf_op_in_place(c->g->nodes.data[q->anchor].op);
    uint32_t blocks = 0;
    for (uint32_t i = 0; i < m->args.n; i++) {
        const tf_kernel_arg *a = &m->args.data[i];
        if (!make_buffer(c, a) || !add_arg(c, a->value, a->read || a->vec_read, a->write, tf_hook_aligned(m, a->value))) return false;
        const bool uniform = wants_uniform(c, q, m, a) && (q->anchor == TF_NO_NODE || blocks < ANCHOR_BLOCKS);
        c->plan->args.data[c->plan->args.n - 1].prefer_uniform = uniform;
        c->plan->args.data[c->plan->args.n - 1].prefer_texel = wants_texels(c, a);
        blocks += uniform;
        if (!rows || !a->write) c->plan->steps.data[c->plan->steps.n - 1].bytes += c->plan->buffers.data[c->buffer[a->value] - 1].bytes;
    }
    return true;
}

/* Groups of a segment stand together: a loop's kernels between those before and behind it. */
typedef struct place_of { uint32_t segment, first, group; } place_of;

typedef struct walk { uint32_t *stack, *nodes, *mark, epoch; bool *done; } walk;

/* Groups in an order in which each comes after those whose stored values it reads. */
static int by_place(const void *a, const void *b)
{
    const place_of *x = a, *y = b;
    if (x->segment != y->segment) return x->segment < y->segment ? -1 : 1;
    return (x->first > y->first) - (x->first < y->first);
}

/* Depth first over groups, without recursion: a group is done when every group it reads from is. */
static void visit(compiler *c, walk *w, uint32_t group, uint32_t *order, uint32_t *n)
{
    uint32_t depth = 0;
    w->stack[depth++] = group;
    while (depth) {
        const uint32_t at = w->stack[depth - 1];
        const tf_group *q = &c->fusion.groups.data[at - 1];
        uint32_t k = 0, wait = 0;
        if (w->done[at]) { depth--; continue; }
        w->epoch++;
        for (uint32_t i = 0; i < q->members.n; i++) { w->nodes[k++] = q->members.data[i]; w->mark[q->members.data[i]] = w->epoch; }
        while (k && !wait) {
            const tf_node *x = &c->g->nodes.data[w->nodes[--k]];
            for (uint32_t i = 0; i < x->n_src && !wait; i++) {
                if (!x->src[i]) continue;
                const uint32_t def = tf_val(c->g, x->src[i])->node, own = c->fusion.stored[x->src[i]];
                if (own && own != at) wait = w->done[own] ? 0 : own;
                else if (w->mark[def] != w->epoch) { w->mark[def] = w->epoch; w->nodes[k++] = def; }
            }
        }
        if (wait) {
            if (depth > c->fusion.groups.n) return; /* a circle: the caller sees the missing groups */
            w->stack[depth++] = wait;
            continue;
        }
        w->done[at] = true;
        order[(*n)++] = at;
        depth--;
    }
}

static bool copy_dims(compiler *c)
{
    tf_plan *p = c->plan;
    for (uint32_t i = 0; i < c->g->dims.n; i++) {
        tf_dim_expr *d = tf_push(&p->arena, &p->dims);
        if (!d) return stop(c, TUFF_E_MEMORY, NULL);
        *d = c->g->dims.data[i];
    }
    for (uint32_t i = 0; i < c->g->dim_params.n; i++) {
        tf_dim_param *d = tf_push(&p->arena, &p->dim_params);
        if (!d) return stop(c, TUFF_E_MEMORY, NULL);
        *d = (tf_dim_param){ tf_arena_string(&p->arena, c->g->dim_params.data[i].name), c->g->dim_params.data[i].max };
    }
    for (uint32_t i = 0; i < c->fusion.refusals.n; i++) {
        tf_refusal *r = tf_push(&p->arena, &p->refusals);
        if (r) *r = c->fusion.refusals.data[i];
    }
    return true;
}

static bool add_commit(compiler *c, uint32_t region, uint32_t from, uint32_t to, const char *name)
{
    if (!c->buffer[from] || !c->buffer[to]) return true; /* no elements */
    tf_commit *m = tf_push(&c->plan->arena, &c->plan->commits);
    if (!m) return stop(c, TUFF_E_MEMORY, NULL);
    *m = (tf_commit){ .region = region, .from = c->buffer[from] - 1, .to = c->buffer[to] - 1, .name = name };
    return true;
}

/* Loops, and what takes a new value at the end of an iteration or of the run. */
static bool add_commits(compiler *c)
{
    const tuff_graph *g = c->g;
    for (uint32_t r = 1; r <= g->regions.n; r++) {
        const tf_region *x = &g->regions.data[r - 1];
        tf_plan_region *out = tf_push(&c->plan->arena, &c->plan->regions);
        if (!out) return stop(c, TUFF_E_MEMORY, NULL);
        *out = (tf_plan_region){ .parent = x->parent, .depth = x->depth, .count = x->count, .chunked = tf_region_chunked(g, r) };
        if (x->is_while && x->carries.n) out->again = c->buffer[holder(g, x->carries.data[x->carries.n - 2].value)];
        for (uint32_t i = 0; i < x->carries.n; i++)
            if (x->carries.data[i].next && !add_commit(c, r, x->carries.data[i].next, holder(g, x->carries.data[i].value), NULL)) return false;
    }
    for (uint32_t i = 0; i < g->ports.n; i++) {
        const tf_port *p = &g->ports.data[i];
        if (p->kind == TF_PORT_STATE && p->assigned && !add_commit(c, 0, p->assigned, p->value, tf_arena_string(&c->plan->arena, p->name))) return false;
    }
    return true;
}

static bool emit(compiler *c)
{
    const uint32_t groups = c->fusion.groups.n;
    uint32_t *order = tf_arena_array(&c->scratch, uint32_t, (size_t)groups + 1), n = 0;
    walk w = { .stack = tf_arena_array(&c->scratch, uint32_t, (size_t)groups + 2), .done = tf_arena_array(&c->scratch, bool, (size_t)groups + 1),
               .nodes = tf_arena_array(&c->scratch, uint32_t, (size_t)c->g->nodes.n + 1), .mark = tf_arena_array(&c->scratch, uint32_t, (size_t)c->g->nodes.n + 1) };
    place_of *sorted = tf_arena_array(&c->scratch, place_of, (size_t)groups + 1);
    c->emitters = tf_arena_array(&c->scratch, tf_emitter, (size_t)groups + 1);
    c->buffer = tf_arena_array(&c->scratch, uint32_t, (size_t)c->g->values.n + 1);
    if (c->scratch.failed) return stop(c, TUFF_E_MEMORY, NULL);
    if (!make_ports(c)) return false;
    for (uint32_t i = 0; i < groups; i++) {
        const uint32_t first = c->fusion.groups.data[i].members.data[0];
        sorted[i] = (place_of){ c->fusion.segment[first], first, i + 1 };
    }
    qsort(sorted, groups, sizeof *sorted, by_place);
    for (uint32_t i = 0; i < groups; i++) visit(c, &w, sorted[i].group, order, &n);
    if (n != groups) return stop(c, c->scratch.failed ? TUFF_E_MEMORY : TUFF_E_INTERNAL, "kernels depend on each other in a circle");
    for (uint32_t i = 0; i < n; i++)
        if (!add_kernel(c, order[i])) return false;
    if (!add_commits(c)) return false;
    return copy_dims(c); /* lowering and emission have added theirs */
}

/* ---- after the operands are known ---------------------------------------------------------------- */

static bool finish_kernel(compiler *c, uint32_t step)
{
    const tf_step *s = &c->plan->steps.data[step];
    if (s->kind != TF_STEP_DISPATCH && s->kind != TF_STEP_DISPATCH_INDIRECT) return true;
    const char *error = tf_share_step(c->plan, step);
    if (error) return stop(c, TUFF_E_LIMIT, error);
    if (s->kernel >= c->n_emitters) { /* its text is fixed, and names its operands in their order */
        tf_kernel *raw = &c->plan->kernels.data[s->kernel];
        *raw = c->raw.data[s->kernel - c->n_emitters];
        raw->n_bindings = s->n_bindings;
        raw->n_params = s->n_params;
        return true;
    }
    tf_emitter *m = &c->emitters[s->kernel];
    for (uint32_t i = 0; i < m->args.n; i++) {
        const tf_arg *a = &c->plan->args.data[s->arg + i];
        tf_kernel_arg *k = &m->args.data[i];
        if (a->twin) { /* what it needs, its twin declares */
            tf_kernel_arg *of = &m->args.data[a->twin - 1];
            of->read |= of->vec_read || k->read || k->vec_read;
            of->write |= k->write;
            of->vec_read |= k->vec_read;
            of->vec_write |= k->vec_write;
            of->oct_read |= k->oct_read;
            of->oct_write |= k->oct_write;
            of->scalar_used |= k->scalar_used;
            k->twin = a->twin;
        }
        m->args.data[i].slot = a->binding;
        m->args.data[i].shared = a->shared;
        m->args.data[i].uniform = a->uniform;
        m->args.data[i].texel = a->texel;
        m->args.data[i].uniform_bytes = c->plan->buffers.data[a->buffer].bytes;
    }
    m->slots = s->n_bindings;
    tf_kernel *k = &c->plan->kernels.data[s->kernel];
    error = tf_emit_text(m, &c->plan->arena, k);
    if (error) return stop(c, TUFF_E_MEMORY, error);
    tf_step *out = &c->plan->steps.data[step];
    out->label = k->name;
    out->param = c->plan->params.n;
    out->n_params = m->params.n;
    for (uint32_t i = 0; i < m->params.n; i++) {
        tf_param *p = tf_push(&c->plan->arena, &c->plan->params);
        if (!p) return stop(c, TUFF_E_MEMORY, NULL);
        *p = m->params.data[i];
        if (p->kind == TF_PARAM_SCALAR) p->a = scalar_port(c, p->a);
    }
    return true;
}

static bool bind(compiler *c)
{
    tf_plan *p = c->plan;
    if (!tf_plan_commit(p)) return stop(c, TUFF_E_MEMORY, NULL);
    const char *wrong = tf_plan_gate(p, c->n_emitters, &c->raw);
    if (wrong) return stop(c, tf_plan_status(wrong, TUFF_E_LIMIT), wrong);
    if (!tf_copy_in_externals(p)) return stop(c, TUFF_E_MEMORY, NULL);
    for (uint32_t i = 0; i < c->n_emitters + c->raw.n; i++)
        if (p->kernels.n == p->kernels.cap && !tf_array_grow(&p->arena, (void **)&p->kernels.data, &p->kernels.cap, p->kernels.n, sizeof *p->kernels.data))
            return stop(c, TUFF_E_MEMORY, NULL);
        else p->kernels.n++;
    for (uint32_t i = 0; i < p->steps.n; i++)
        if (!finish_kernel(c, i)) return false;
    return tf_merge_kernels(p) || stop(c, TUFF_E_MEMORY, NULL);
}

static bool schedule(compiler *c) { return tf_schedule(c->plan) || stop(c, TUFF_E_MEMORY, NULL); }

static bool place(compiler *c)
{
    if (!tf_place(c->plan)) return stop(c, TUFF_E_MEMORY, NULL);
    for (uint32_t i = 0; i < c->plan->steps.n; i++) {
        const char *error = tf_assign_bindings(c->plan, i);
        if (error) return stop(c, TUFF_E_LIMIT, error);
    }
    return true;
}

static bool check(compiler *c)
{
    const char *wrong = tf_plan_check(c->plan, &c->message);
    if (!wrong) return true;
    if (c->message.n == 0) tf_str_add(&c->message, wrong);
    return stop(c, tf_plan_status(wrong, TUFF_E_INTERNAL), NULL);
}

static const struct { const char *name; bool (*run)(compiler *); } passes[] = {
    { "lower", lower }, { "fuse", fuse }, { "emit", emit }, { "bind", bind }, { "schedule", schedule }, { "place", place }, { "check", check },
};

tuff_status tf_compile(tuff_graph *g, const tf_limits *limits, const tf_compile_options *options, const tuff_allocator *allocator, tf_plan **out)
{
    static const tf_compile_options none = { 0 };
    *out = NULL;
    compiler c = { .from = g, .limits = limits, .options = options ? options : &none, .status = TUFF_OK };
    if (tf_status(g) != TUFF_OK) return tf_status(g);
    tf_arena_init(&c.scratch, allocator);
    tf_str_init(&c.message, allocator);
    c.plan = tf_plan_create(allocator);
    if (!c.plan) c.status = TUFF_E_MEMORY;
    else {
        c.plan->limits = *limits;
        for (uint32_t i = 0; i < TF_COUNT(passes) && c.status == TUFF_OK; i++) {
            if (!passes[i].run(&c)) break;
        }
    }
    /* A pass short of memory may have stopped with a text about what it then missed. */
    if (c.scratch.failed || c.message.failed || (c.plan && c.plan->arena.failed)) c.status = TUFF_E_MEMORY;
    if (c.status != TUFF_OK) {
        tf_plan_destroy(c.plan);
        c.plan = NULL;
        g->compile_status = c.status;
        g->compile_error = tf_arena_string(&g->arena, c.message.n ? c.message.data : tuff_status_text(c.status));
    }
    for (uint32_t i = 0; i < c.n_emitters; i++) tf_emit_release(&c.emitters[i]);
    tuff_graph_destroy(c.g);
    tf_str_release(&c.message);
    tf_arena_release(&c.scratch);
    *out = c.plan;
    return c.status;
}
