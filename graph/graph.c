/* graph.c - building a graph: nodes, values, ports, and the one sticky error.
 *
 * Everything enters through tf_add or tf_add_sources: operands and attributes are checked against the op's row,
 * the desc is copied into the arena with its strings and lists, the row infers the results, and only then the
 * node and its values exist. The first failure sticks; every later call returns the none tensor silently. */
#include "op.h"

#include <stdio.h>
#include <string.h>

#define MAX_ELEMENTS INT32_MAX

/* ---- life and errors ---- */

tuff_graph *tuff_graph_create(const tuff_graph_desc *desc)
{
    const tuff_allocator allocator = desc ? desc->allocator : (tuff_allocator){ 0 };
    tuff_graph *g = tf_alloc(&allocator, sizeof *g);
    if (g)
        tf_arena_init(&g->arena, &allocator);
    return g;
}

void tuff_graph_destroy(tuff_graph *g)
{
    if (!g)
        return;
    const tuff_allocator allocator = g->arena.allocator;
    tf_arena_release(&g->arena);
    tf_free(&allocator, g, sizeof *g);
}

tuff_status tf_status(const tuff_graph *g)
{
    return g->status ? g->status : g->arena.failed ? TUFF_E_MEMORY : TUFF_OK;
}

tuff_status tuff_graph_status(const tuff_graph *g)
{
    return g ? tf_status(g) : TUFF_E_ARGUMENT;
}

const char *tuff_graph_error(const tuff_graph *g)
{
    if (!g)
        return "the graph is NULL";
    if (g->status == TUFF_OK && g->arena.failed)
        return tuff_status_text(TUFF_E_MEMORY);
    return g->error ? g->error : g->compile_error ? g->compile_error : "";
}

tuff_tensor tf_fail(tuff_graph *g, tuff_status status, const char *format, ...)
{
    if (!g || g->status)
        return (tuff_tensor){ 0 };
    tf_str s;
    tf_str_init(&s, &g->arena.allocator);
    if (g->line)
        tf_str_printf(&s, "%s:%u:%u: ", g->file ? g->file : "<text>", (unsigned)g->line, (unsigned)g->column);
    va_list args;
    va_start(args, format);
    tf_str_vprintf(&s, format, args);
    va_end(args);
    const char *text = s.failed || !s.data ? NULL : tf_arena_string(&g->arena, s.data);
    tf_str_release(&s);
    g->status = text ? status : TUFF_E_MEMORY;
    g->error = text ? text : tuff_status_text(TUFF_E_MEMORY);
    return (tuff_tensor){ 0 };
}

/* ---- names ---- */

bool tf_name_ok(const char *name)
{
    if (!name || !name[0])
        return false;
    size_t n = 0;
    for (; name[n]; n++)
        if ((unsigned char)name[n] < 0x20 || name[n] == 0x7f || n >= 255)
            return false;
    return true;
}

tf_port *tf_port_find(const tuff_graph *g, unsigned kinds, const char *name)
{
    for (uint32_t i = 0; i < g->ports.n; i++) {
        tf_port *p = &g->ports.data[i];
        if ((kinds & 1u << p->kind) && p->name && !strcmp(p->name, name))
            return p;
    }
    return NULL;
}

const char *tf_describe_value(tuff_graph *g, uint32_t value)
{
    const tf_value *v = tf_val(g, value);
    const tf_node *node = &g->nodes.data[v->node];
    const char *type = tf_type_text(g, &v->type);
    const char *place = node->line ? tf_arena_printf(&g->arena, ", %s:%u:%u", g->file ? g->file : "<text>", (unsigned)node->line, (unsigned)node->column) : "";
    const char *text = v->name ? tf_arena_printf(&g->arena, "%s \"%s\" %s%s", node->op->name, v->name, type, place ? place : "")
                               : tf_arena_printf(&g->arena, "%s %s%s", node->op->name, type, place ? place : "");
    return text ? text : "?";
}

/* ---- op table ---- */

const tf_op *tf_op_find(const char *name)
{
    static const tf_op *const own[] = { &tf_op_input, &tf_op_const, &tf_op_literal, &tf_op_state, &tf_op_scalar, &tf_op_assign,
                                         &tf_op_step, &tf_op_carry, &tf_op_leave, &tf_op_stacked, &tf_op_zeros };
    for (size_t i = 0; i < TF_COUNT(own); i++)
        if (!strcmp(own[i]->name, name))
            return own[i];
    for (const tf_op *const *op = tuff_ops; *op; op++)
        if (!strcmp((*op)->name, name))
            return *op;
    return NULL;
}

const tf_attr *tf_attr_find(const tf_op *op, const char *name)
{
    for (uint32_t i = 0; i < op->attr_count; i++)
        if (!strcmp(op->attrs[i].name, name))
            return &op->attrs[i];
    return NULL;
}

/* ---- operands ---- */

static const void *field(const void *desc, const tf_attr *a)
{
    return (const char *)desc + a->offset;
}

static uint32_t named_count(const void *desc, const tf_attr *a)
{
    uint32_t n;
    memcpy(&n, (const char *)desc + a->offset2, sizeof n);
    return n;
}

uint32_t tf_positional(const tf_op *op, uint32_t n_src, const void *desc)
{
    for (uint32_t i = 0; i < op->attr_count; i++) {
        if (op->attrs[i].type == TF_ATTR_TENSOR)
            n_src--;
        else if (op->attrs[i].type == TF_ATTR_NAMED)
            n_src -= named_count(desc, &op->attrs[i]);
    }
    return n_src;
}

/* Name of positional operand i in a row's list "q k v" or "x ys...". */
static void positional_name(const tf_op *op, uint32_t i, char *buffer, size_t size)
{
    const char *p = op->operands ? op->operands : "";
    for (uint32_t k = 0;; k++) {
        p += strspn(p, " ");
        const size_t n = strcspn(p, " ");
        if (n > 3 && !memcmp(p + n - 3, "...", 3)) {
            snprintf(buffer, size, "%.*s[%u]", (int)(n - 3), p, (unsigned)(i - k));
            return;
        }
        if (n == 0 || k == i) {
            if (n)
                snprintf(buffer, size, "%.*s", (int)n, p);
            else
                snprintf(buffer, size, "operand %u", (unsigned)i + 1);
            return;
        }
        p += n;
    }
}

void tf_src_name(const tf_op *op, uint32_t n_src, const void *desc, uint32_t i, char *buffer, size_t size)
{
    uint32_t at = tf_positional(op, n_src, desc);
    if (i < at) {
        positional_name(op, i, buffer, size);
        return;
    }
    for (uint32_t k = 0; k < op->attr_count; k++)
        if (op->attrs[k].type == TF_ATTR_TENSOR && at++ == i) {
            snprintf(buffer, size, "%s", op->attrs[k].name);
            return;
        }
    for (uint32_t k = 0; k < op->attr_count; k++)
        if (op->attrs[k].type == TF_ATTR_NAMED) {
            const uint32_t n = named_count(desc, &op->attrs[k]);
            const tuff_named *list;
            memcpy(&list, field(desc, &op->attrs[k]), sizeof list);
            if (i - at < n) {
                snprintf(buffer, size, "%s", list[i - at].name ? list[i - at].name : "?");
                return;
            }
            at += n;
        }
    snprintf(buffer, size, "operand %u", (unsigned)i + 1);
}

/* Counts of the row's operand list: at least `least`, and exactly that many unless `variadic`. */
static uint32_t operand_list(const tf_op *op, bool *variadic)
{
    uint32_t n = 0;
    *variadic = false;
    for (const char *p = op->operands ? op->operands : ""; *(p += strspn(p, " ")); n++) {
        const size_t w = strcspn(p, " ");
        *variadic = *variadic || (w > 3 && !memcmp(p + w - 3, "...", 3));
        p += w;
    }
    return n;
}

static bool check_count(tuff_graph *g, const tf_op *op, uint32_t n)
{
    bool variadic;
    const uint32_t want = operand_list(op, &variadic);
    if (variadic ? n >= want && n <= TF_MAX_OPERANDS : n == want)
        return true;
    if (variadic && n > want)
        tf_fail(g, TUFF_E_LIMIT, "%s: %u operands; at most %d are possible", op->name, (unsigned)n, TF_MAX_OPERANDS);
    else
        tf_fail(g, TUFF_E_ARGUMENT, "%s: %u operand%s given; it takes %s%u (%s)", op->name, (unsigned)n, n == 1 ? "" : "s",
                variadic ? "at least " : "", (unsigned)want, op->operands ? op->operands : "none");
    return false;
}

/* ---- attributes ---- */

static bool bad_attr(tuff_graph *g, const tf_op *op, const tf_attr *a, const char *what)
{
    tf_fail(g, TUFF_E_ATTRIBUTE, "%s: attribute %s %s", op->name, a->name, what);
    return false;
}

static bool check_number(tuff_graph *g, const tf_op *op, const tf_attr *a, double v)
{
    if ((v == 0 && !a->required) || (a->min == 0 && a->max == 0) || (v >= a->min && v <= a->max))
        return true;
    tf_fail(g, TUFF_E_ATTRIBUTE, "%s: attribute %s is %g; it is from %g to %g", op->name, a->name, v, a->min, a->max);
    return false;
}

static bool dim_known(const tuff_graph *g, int64_t d)
{
    return !tf_dim_is_dynamic(d) || (d >= TF_DIM_BASE && tf_dim_index(d) < g->dims.n);
}

/* A dim that may be negative at some parameter values counts as 0 there. */
static int64_t clamp_dim(tuff_graph *g, int64_t d)
{
    return tf_dim_is_dynamic(d) && tf_dim_least(g, d) < 0 ? tf_dim_bin(g, TUFF_DIM_MAX, d, 0) : d;
}

static bool check_shape_attr(tuff_graph *g, const tf_op *op, const tf_attr *a, tuff_shape *s)
{
    if (s->rank < 0 || s->rank > TUFF_MAX_RANK) {
        tf_fail(g, TUFF_E_LIMIT, "%s: attribute %s has rank %d; ranks are 0 to %d", op->name, a->name, (int)s->rank, TUFF_MAX_RANK);
        return false;
    }
    for (int32_t i = 0; i < s->rank; i++) {
        if (!dim_known(g, s->dim[i]))
            return bad_attr(g, op, a, "has a dynamic dim of another graph");
        /* -1 is left to rows that give it a meaning (reshape). */
        if (!tf_dim_is_dynamic(s->dim[i]) && s->dim[i] < -1) {
            tf_fail(g, TUFF_E_SHAPE, "%s: attribute %s has dim %d = %lld; dims are counts", op->name, a->name, (int)i, (long long)s->dim[i]);
            return false;
        }
        s->dim[i] = clamp_dim(g, s->dim[i]);
    }
    return true;
}

static bool copy_named(tuff_graph *g, const tf_op *op, const tf_attr *a, void *desc)
{
    const uint32_t n = named_count(desc, a);
    const tuff_named *list;
    memcpy(&list, field(desc, a), sizeof list);
    if (n > TF_MAX_OPERANDS) {
        tf_fail(g, TUFF_E_LIMIT, "%s: %u named operands; at most %d are possible", op->name, (unsigned)n, TF_MAX_OPERANDS);
        return false;
    }
    if (n && !list)
        return bad_attr(g, op, a, "is NULL but its count is not 0");
    tuff_named *copy = n ? tf_arena_array(&g->arena, tuff_named, n) : NULL;
    if (n && !copy)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        if (!tf_name_ok(list[i].name))
            return bad_attr(g, op, a, "has an operand without a usable name");
        for (uint32_t k = 0; k < i; k++)
            if (!strcmp(list[k].name, list[i].name)) {
                tf_fail(g, TUFF_E_NAME, "%s: operand \"%s\" is given twice", op->name, list[i].name);
                return false;
            }
        copy[i] = (tuff_named){ tf_arena_string(&g->arena, list[i].name), list[i].tensor };
        if (!copy[i].name)
            return false;
    }
    memcpy((char *)desc + a->offset, &copy, sizeof copy);
    return true;
}

static bool copy_string(tuff_graph *g, const tf_op *op, const tf_attr *a, void *at)
{
    const char *s;
    memcpy(&s, at, sizeof s);
    if (!s)
        return !a->required || bad_attr(g, op, a, "is missing");
    s = tf_arena_string(&g->arena, s);
    memcpy(at, &s, sizeof s);
    return s != NULL;
}

static bool check_enum(tuff_graph *g, const tf_op *op, const tf_attr *a, int32_t v)
{
    int32_t n = 0;
    while (a->choices && a->choices[n])
        n++;
    if (v >= 0 && v < n)
        return true;
    tf_fail(g, TUFF_E_ATTRIBUTE, "%s: attribute %s is %d; it has %d values", op->name, a->name, (int)v, (int)n);
    return false;
}

/* Checks one attribute of the arena's copy and makes what it points to the arena's own. */
static bool take_attr(tuff_graph *g, const tf_op *op, const tf_attr *a, void *desc)
{
    void *at = (char *)desc + a->offset;
    int32_t i32 = 0;
    int64_t i64 = 0;
    float f = 0;
    double d = 0;
    switch (a->type) {
    case TF_ATTR_BOOL: return true;
    case TF_ATTR_U64: return true;
    case TF_ATTR_INT: memcpy(&i32, at, sizeof i32); return check_number(g, op, a, i32);
    case TF_ATTR_I64: memcpy(&i64, at, sizeof i64); return check_number(g, op, a, (double)i64);
    case TF_ATTR_FLOAT: memcpy(&f, at, sizeof f); return check_number(g, op, a, f);
    case TF_ATTR_DOUBLE: memcpy(&d, at, sizeof d); return check_number(g, op, a, d);
    case TF_ATTR_ENUM: memcpy(&i32, at, sizeof i32); return check_enum(g, op, a, i32);
    case TF_ATTR_DTYPE: {
        tuff_dtype t;
        memcpy(&t, at, sizeof t);
        if (a->required && t == TUFF_DTYPE_NONE)
            return bad_attr(g, op, a, "is missing");
        return (unsigned)t < TUFF_DTYPE_COUNT || bad_attr(g, op, a, "is not a dtype");
    }
    case TF_ATTR_INTS: {
        tuff_ints v;
        memcpy(&v, at, sizeof v);
        if (v.n < 0 || v.n > TUFF_MAX_RANK)
            return tf_fail(g, TUFF_E_ATTRIBUTE, "%s: attribute %s has %d entries; a list has 0 to %d", op->name, a->name, (int)v.n, TUFF_MAX_RANK), false;
        for (int32_t i = 0; i < v.n; i++) {
            if (!dim_known(g, v.v[i]))
                return bad_attr(g, op, a, "has an entry that is neither an integer nor a dim of this graph");
            if (!tf_dim_is_dynamic(v.v[i]) && !check_number(g, op, a, (double)v.v[i]))
                return false;
        }
        return true;
    }
    case TF_ATTR_SHAPE: {
        tuff_shape s;
        memcpy(&s, at, sizeof s);
        if (!check_shape_attr(g, op, a, &s))
            return false;
        memcpy(at, &s, sizeof s);
        return true;
    }
    case TF_ATTR_STRING: return copy_string(g, op, a, at);
    case TF_ATTR_TENSOR: return true;
    case TF_ATTR_NAMED: return copy_named(g, op, a, desc);
    }
    return true;
}

/* ---- adding nodes ---- */

static bool check_operand(tuff_graph *g, const tf_op *op, uint32_t n_src, const void *desc, uint32_t i, tuff_tensor t, bool optional)
{
    char name[64];
    if (!t.graph && !t.id && optional)
        return true;
    const bool here = t.graph == g && t.id >= 1 && t.id <= g->values.n;
    /* The results of a loop are the only nodes that read what is inside it. */
    if (here && (op == &tf_op_leave || op == &tf_op_stacked || tf_region_within(g, g->region, tf_def(g, t.id)->region)))
        return true;
    tf_src_name(op, n_src, desc, i, name, sizeof name);
    if (here)
        tf_fail(g, TUFF_E_ARGUMENT, "%s: operand %s is a value of a loop's body, which is not known outside of it (%s)", op->name, name,
                tf_describe_value(g, t.id));
    else if (!t.graph || !t.id)
        tf_fail(g, TUFF_E_ARGUMENT, "%s: operand %s is absent", op->name, name);
    else if (t.graph == g)
        tf_fail(g, TUFF_E_ARGUMENT, "%s: operand %s is no tensor of this graph", op->name, name);
    else
        tf_fail(g, TUFF_E_ARGUMENT, "%s: operand %s belongs to another graph", op->name, name);
    return false;
}

static bool check_result(tuff_graph *g, const tf_op *op, tf_type *t)
{
    if (t->rank < 0 || t->rank > TUFF_MAX_RANK) {
        tf_fail(g, TUFF_E_LIMIT, "%s: the result has rank %d; ranks are 0 to %d", op->name, (int)t->rank, TUFF_MAX_RANK);
        return false;
    }
    for (int32_t i = 0; i < t->rank; i++) {
        if (!dim_known(g, t->dim[i])) {
            tf_fail(g, TUFF_E_SHAPE, "%s: dim %d is a dynamic dim of another graph", op->name, (int)i);
            return false;
        }
        if (!tf_dim_is_dynamic(t->dim[i]) && t->dim[i] < 0) {
            tf_fail(g, TUFF_E_SHAPE, "%s: dim %d is %lld; dims are counts", op->name, (int)i, (long long)t->dim[i]);
            return false;
        }
        t->dim[i] = clamp_dim(g, t->dim[i]);
    }
    for (int32_t i = t->rank; i < TUFF_MAX_RANK; i++)
        t->dim[i] = 0;
    if (t->dtype <= TUFF_DTYPE_NONE || t->dtype >= TUFF_DTYPE_COUNT) {
        tf_fail(g, TUFF_E_DTYPE, "%s: the dtype is missing", op->name);
        return false;
    }
    uint64_t n;
    if (!tf_count_bound(g, t, &n)) {
        tf_fail(g, TUFF_E_OVERFLOW, "%s: the element count of %s overflows", op->name, tf_type_text(g, t));
        return false;
    }
    if (n > MAX_ELEMENTS) {
        tf_fail(g, TUFF_E_LIMIT, "%s: %s has %llu elements; a tensor holds at most %d", op->name, tf_type_text(g, t), (unsigned long long)n,
                MAX_ELEMENTS);
        return false;
    }
    if (tf_dtype_bits(t->dtype) == 4 && (t->rank == 0 || tf_dim_is_dynamic(t->dim[t->rank - 1]) || t->dim[t->rank - 1] % 2)) {
        tf_fail(g, TUFF_E_SHAPE, "%s: %s has two elements a byte, so its last dim is a fixed even number", op->name, tf_type_text(g, t));
        return false;
    }
    return true;
}

static bool pointwise_infer(tf_infer *c)
{
    if (!tf_unify(c, 0, c->op->arity, &c->out[0]))
        return false;
    tuff_dtype *t = &c->out[0].dtype;
    switch (c->op->result) {
    case TF_RESULT_SAME: break;
    case TF_RESULT_BOOL: *t = TUFF_BOOL; break;
    case TF_RESULT_REAL: *t = *t == TUFF_C64 ? TUFF_F32 : *t; break;
    case TF_RESULT_COMPLEX:
        *t = TUFF_C64;
        break;
    case TF_RESULT_ATTR: {
        const tf_attr *a = tf_attr_find(c->op, "dtype");
        tuff_dtype want = TUFF_DTYPE_NONE;
        if (a)
            memcpy(&want, field(c->desc, a), sizeof want);
        if (want == TUFF_DTYPE_NONE)
            return tf_bad(c, TUFF_E_ATTRIBUTE, "attribute dtype is missing");
        *t = want;
        break;
    }
    }
    return true;
}

static bool infer(tuff_graph *g, const tf_op *op, uint32_t *src, uint32_t n_src, void *desc, tf_infer *c)
{
    const tf_type **type = n_src ? tf_arena_alloc_array(&g->arena, n_src, sizeof *type) : NULL;
    if (n_src && !type)
        return false;
    for (uint32_t i = 0; i < n_src; i++)
        type[i] = src[i] ? tf_type_of(g, src[i]) : NULL;
    *c = (tf_infer){ .g = g, .op = op, .desc = desc, .mut = desc, .n_src = n_src, .src = src, .type = type, .n_out = 1 };
    if (!(op->infer ? op->infer(c) : pointwise_infer(c))) {
        if (tf_status(g) == TUFF_OK)
            tf_fail(g, TUFF_E_INTERNAL, "%s: inference failed without a reason", op->name);
        return false;
    }
    for (uint32_t i = 0; i < c->n_out; i++)
        if (!check_result(g, op, &c->out[i]))
            return false;
    return tf_status(g) == TUFF_OK;
}

/* Name and port of the node just added. */
static bool add_port(tuff_graph *g, const tf_node *node)
{
    if (node->op == &tf_op_assign) {
        for (uint32_t i = 0; i < g->ports.n; i++)
            if (g->ports.data[i].kind == TF_PORT_STATE && g->ports.data[i].value == node->src[0])
                g->ports.data[i].assigned = node->out;
        return true;
    }
    static const struct { const tf_op *op; tf_port_kind kind; } kinds[] = {
        { &tf_op_input, TF_PORT_INPUT }, { &tf_op_state, TF_PORT_STATE }, { &tf_op_const, TF_PORT_CONST }, { &tf_op_scalar, TF_PORT_SCALAR },
    };
    for (size_t i = 0; i < TF_COUNT(kinds); i++) {
        if (node->op != kinds[i].op)
            continue;
        const tf_source_desc *d = node->desc;
        tf_port *p = tf_push(&g->arena, &g->ports);
        if (!p)
            return false;
        *p = (tf_port){ .kind = kinds[i].kind, .name = d->name, .value = node->out };
        g->values.data[node->out - 1].name = d->name;
    }
    return true;
}

static tuff_tensor commit(tuff_graph *g, const tf_op *op, uint32_t *src, uint32_t n_src, const void *desc, const tf_infer *c)
{
    const uint32_t node = g->nodes.n, out = g->values.n + 1;
    for (uint32_t i = 0; i < c->n_out; i++) {
        tf_value *v = tf_push(&g->arena, &g->values);
        if (!v)
            return (tuff_tensor){ 0 };
        *v = (tf_value){ .node = node, .result = i, .type = c->out[i] };
    }
    tf_node *slot = tf_push(&g->arena, &g->nodes);
    if (!slot)
        return (tuff_tensor){ 0 };
    *slot = (tf_node){ .op = op, .desc = desc, .src = src, .n_src = n_src, .out = out, .n_out = c->n_out,
                       .region = g->region, .line = g->line, .column = g->column };
    return add_port(g, slot) ? (tuff_tensor){ g, out } : (tuff_tensor){ 0 };
}

/* src: the complete list. desc: already the arena's own and checked, or NULL. */
static tuff_tensor add(tuff_graph *g, const tf_op *op, const tuff_tensor *src, uint32_t n_src, uint32_t positional, void *desc)
{
    uint32_t *ids = n_src ? tf_arena_array(&g->arena, uint32_t, n_src) : NULL;
    if (n_src && !ids)
        return (tuff_tensor){ 0 };
    uint32_t tensors = positional;
    for (uint32_t i = 0; i < op->attr_count; i++)
        tensors += op->attrs[i].type == TF_ATTR_TENSOR;
    for (uint32_t i = 0; i < n_src; i++) {
        if (!check_operand(g, op, n_src, desc, i, src[i], i >= positional && i < tensors))
            return (tuff_tensor){ 0 };
        ids[i] = src[i].id;
    }
    tf_infer c;
    if (!infer(g, op, ids, n_src, desc, &c))
        return (tuff_tensor){ 0 };
    return commit(g, op, ids, n_src, desc, &c);
}

static bool take_desc(tuff_graph *g, const tf_op *op, const void *desc, void **out)
{
    *out = NULL;
    if (!op->desc_size)
        return true;
    void *own = desc ? tf_arena_copy(&g->arena, desc, op->desc_size) : tf_arena_alloc(&g->arena, op->desc_size);
    if (!own)
        return false;
    for (uint32_t i = 0; i < op->attr_count; i++)
        if (!take_attr(g, op, &op->attrs[i], own))
            return false;
    *out = own;
    return true;
}

tuff_tensor tf_add(tuff_graph *g, const tf_op *op, const tuff_tensor *operands, uint32_t n, const void *desc)
{
    const tuff_tensor none = { 0 };
    for (uint32_t i = 0; !g && operands && i < n; i++)
        g = operands[i].graph;
    if (!g || tf_status(g))
        return none;
    if (n && !operands)
        return tf_fail(g, TUFF_E_ARGUMENT, "%s: the list of %u operands is NULL", op->name, (unsigned)n);
    void *own;
    if (!check_count(g, op, n) || !take_desc(g, op, desc, &own))
        return none;

    tuff_tensor src[3 * TF_MAX_OPERANDS];
    uint32_t n_src = n;
    if (n)
        memcpy(src, operands, n * sizeof *src);
    for (uint32_t i = 0; i < op->attr_count && n_src < 2 * TF_MAX_OPERANDS; i++)
        if (op->attrs[i].type == TF_ATTR_TENSOR)
            memcpy(&src[n_src++], field(own, &op->attrs[i]), sizeof *src);
    for (uint32_t i = 0; i < op->attr_count; i++) {
        if (op->attrs[i].type != TF_ATTR_NAMED)
            continue;
        const uint32_t count = named_count(own, &op->attrs[i]);
        const tuff_named *list;
        memcpy(&list, field(own, &op->attrs[i]), sizeof list);
        for (uint32_t k = 0; k < count && n_src < TF_COUNT(src); k++)
            src[n_src++] = list[k].tensor;
    }
    if (n_src > TF_MAX_OPERANDS)
        return tf_fail(g, TUFF_E_LIMIT, "%s: %u operands; at most %d are possible", op->name, (unsigned)n_src, TF_MAX_OPERANDS);
    return add(g, op, src, n_src, n, own);
}

tuff_tensor tf_add_sources(tuff_graph *g, const tf_op *op, const tuff_tensor *src, uint32_t n_src, const void *desc)
{
    const tuff_tensor none = { 0 };
    if (!g || tf_status(g))
        return none;
    void *own;
    if (!take_desc(g, op, desc, &own))
        return none;
    const uint32_t positional = tf_positional(op, n_src, own);
    if (positional > n_src || n_src > TF_MAX_OPERANDS)
        return tf_fail(g, TUFF_E_ARGUMENT, "%s: %u operands are fewer than its attributes name", op->name, (unsigned)n_src);
    if (!check_count(g, op, positional))
        return none;
    uint32_t at = positional;
    for (uint32_t i = 0; i < op->attr_count; i++)
        if (op->attrs[i].type == TF_ATTR_TENSOR)
            memcpy((char *)own + op->attrs[i].offset, &src[at++], sizeof *src);
    for (uint32_t i = 0; i < op->attr_count; i++) {
        if (op->attrs[i].type != TF_ATTR_NAMED)
            continue;
        const uint32_t count = named_count(own, &op->attrs[i]);
        tuff_named *list; /* the arena's copy, made by take_desc */
        memcpy(&list, field(own, &op->attrs[i]), sizeof list);
        for (uint32_t k = 0; k < count; k++)
            list[k].tensor = src[at++];
    }
    return add(g, op, src, n_src, positional, own);
}

/* ---- handles ---- */

static bool valid(tuff_tensor t)
{
    return t.graph && t.id >= 1 && t.id <= t.graph->values.n;
}

tuff_tensor tuff_result(tuff_tensor t, uint32_t i)
{
    if (!valid(t) || tf_status(t.graph))
        return (tuff_tensor){ 0 };
    const tf_node *node = tf_def(t.graph, t.id);
    if (i >= node->n_out)
        return tf_fail(t.graph, TUFF_E_ARGUMENT, "%s has %u result%s; there is no result %u", node->op->name, (unsigned)node->n_out,
                       node->n_out == 1 ? "" : "s", (unsigned)i);
    return (tuff_tensor){ t.graph, node->out + i };
}

tuff_tensor tuff_name(tuff_tensor t, const char *name)
{
    if (!valid(t) || tf_status(t.graph))
        return (tuff_tensor){ 0 };
    tuff_graph *g = t.graph;
    if (!tf_name_ok(name))
        return tf_fail(g, TUFF_E_NAME, "a tensor's name has 1 to 255 bytes and no control characters");
    for (uint32_t i = 0; i < g->ports.n; i++)
        if (g->ports.data[i].kind != TF_PORT_OUTPUT && g->ports.data[i].value == t.id && g->ports.data[i].name)
            return tf_fail(g, TUFF_E_NAME, "\"%s\" names %s, which has its name for good", name, tf_describe_value(g, t.id));
    const char *copy = tf_arena_string(&g->arena, name);
    if (!copy)
        return (tuff_tensor){ 0 };
    g->values.data[t.id - 1].name = copy;
    return t;
}

tuff_dtype tuff_tensor_dtype(tuff_tensor t)
{
    return valid(t) ? tf_type_of(t.graph, t.id)->dtype : TUFF_DTYPE_NONE;
}

tuff_shape tuff_tensor_shape(tuff_tensor t)
{
    tuff_shape s = { 0 };
    if (!valid(t))
        return s;
    const tf_type *type = tf_type_of(t.graph, t.id);
    s.rank = type->rank;
    for (int32_t i = 0; i < s.rank; i++)
        s.dim[i] = tf_dim_bound(t.graph, type->dim[i]);
    return s;
}

/* ---- whole graph ---- */

static const char *check_node(const tuff_graph *g, uint32_t index)
{
    const tf_node *n = &g->nodes.data[index];
    if (!n->op)
        return "a node has no op";
    if (n->out < 1 || n->n_out < 1 || n->n_out > TF_MAX_RESULTS || n->out + n->n_out - 1 > g->values.n)
        return "a node's results lie outside the value table";
    if (n->op->desc_size && !n->desc)
        return "a node lacks its desc";
    for (uint32_t i = 0; i < n->n_out; i++) {
        const tf_value *v = tf_val(g, n->out + i);
        if (v->node != index || v->result != i)
            return "a value does not point back to its node";
        if (v->type.rank < 0 || v->type.rank > TUFF_MAX_RANK || v->type.dtype <= 0 || v->type.dtype >= TUFF_DTYPE_COUNT)
            return "a value has no valid type";
        for (int32_t k = 0; k < v->type.rank; k++)
            if (!dim_known(g, v->type.dim[k]) || (!tf_dim_is_dynamic(v->type.dim[k]) && v->type.dim[k] < 0))
                return "a value has an invalid dim";
    }
    if (n->region > g->regions.n)
        return "a node belongs to no region of the graph";
    for (uint32_t i = 0; i < n->n_src; i++) {
        if (n->src[i] >= n->out)
            return "a source does not precede its node";
        if (n->src[i] && n->op != &tf_op_leave && n->op != &tf_op_stacked && !tf_region_within(g, n->region, tf_def(g, n->src[i])->region))
            return "a node outside of a loop reads a value inside it";
    }
    return NULL;
}

/* The nodes of a region and of those inside it are one stretch. */
static const char *check_regions(const tuff_graph *g)
{
    for (uint32_t r = 1; r <= g->regions.n; r++) {
        const tf_region *x = &g->regions.data[r - 1];
        uint32_t entries = 0;
        bool inside = false;
        if (x->parent >= r || x->depth != (x->parent ? g->regions.data[x->parent - 1].depth + 1 : 1) || x->depth > TF_MAX_LOOP_DEPTH)
            return "a region's parent does not precede it";
        for (uint32_t n = 0; n < g->nodes.n; n++) {
            const bool now = tf_region_within(g, g->nodes.data[n].region, r);
            entries += now && !inside;
            inside = now;
        }
        if (entries > 1)
            return "the nodes of a region are not one stretch";
        for (uint32_t i = 0; i < x->carries.n; i++) {
            const tf_carry *c = &x->carries.data[i];
            if (c->value < 1 || c->value > g->values.n || tf_def(g, c->value)->op != &tf_op_carry || c->next > g->values.n)
                return "a region carries no value";
        }
    }
    return NULL;
}

const char *tf_graph_check(const tuff_graph *g)
{
    uint32_t values = 0;
    const char *wrong = NULL;
    for (uint32_t i = 0; i < g->nodes.n; i++) {
        const char *bad = check_node(g, i);
        if (bad)
            return bad;
        values += g->nodes.data[i].n_out;
    }
    if (values != g->values.n)
        return "some values have no node";
    if ((wrong = check_regions(g)))
        return wrong;
    for (uint32_t i = 0; i < g->dims.n; i++) {
        const tf_dim_expr *e = &g->dims.data[i];
        if (e->kind == TF_DIM_PARAM && (e->a < 0 || e->a >= (int64_t)g->dim_params.n))
            return "a dim names no parameter";
        if (e->kind == TF_DIM_BIN && ((tf_dim_is_dynamic(e->a) && tf_dim_index(e->a) >= i) || (tf_dim_is_dynamic(e->b) && tf_dim_index(e->b) >= i)))
            return "a dim's operand does not precede it";
    }
    for (uint32_t i = 0; i < g->ports.n; i++) {
        const tf_port *p = &g->ports.data[i];
        if (p->value < 1 || p->value > g->values.n || p->assigned > g->values.n)
            return "a port names no value";
        if (!p->name && p->kind != TF_PORT_CONST)
            return "a port has no name";
        if (p->assigned && p->kind != TF_PORT_STATE)
            return "a port that is no state is assigned";
    }
    return NULL;
}
