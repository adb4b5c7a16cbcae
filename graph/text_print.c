/* text_print.c - a graph as text that parses back to it.
 *
 * Every value gets a name of its own: ports keep theirs, other names are made unique by a number, unnamed values
 * are v1, v2, ... Constants above 16 unequal elements are written as the name of a .npy file, not with their data. */
#include "op.h"
#include "text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { INLINE_ELEMENTS = 16 };

typedef struct printer {
    const tuff_graph *g;
    tf_arena arena;
    tf_str *out;
    const char **name;     /* by value id - 1 */
    uint32_t *readers;     /* by value id - 1 */
    bool *exposed;         /* by value id - 1: is an output */
    bool *implied;         /* by node: a while loop brings it along */
    const char **taken;    /* hash set */
    uint32_t cap;
} printer;

/* ---- names ---- */

static bool claim(printer *p, const char *name)
{
    uint32_t i = (uint32_t)tf_hash_string(0, name) & (p->cap - 1);
    for (; p->taken[i]; i = (i + 1) & (p->cap - 1))
        if (!strcmp(p->taken[i], name))
            return false;
    p->taken[i] = name;
    return true;
}

static const char *unique(printer *p, const char *base)
{
    if (strcmp(base, "_") && claim(p, base))
        return base;
    for (uint32_t k = 1;; k++) {
        const char *name = tf_arena_printf(&p->arena, "%s_%u", base, (unsigned)k);
        if (!name || claim(p, name))
            return name;
    }
}

/* A literal that reads back the same where an operand stands. */
static bool is_inline(const printer *p, uint32_t value)
{
    const tf_node *n = tf_def(p->g, value);
    if (n->op != &tf_op_literal || tf_val(p->g, value)->name || p->exposed[value - 1])
        return false;
    const tf_source_desc *d = n->desc;
    return d->implied || d->dtype == TUFF_F32;
}

static void imply_literal(printer *p, uint32_t value, double number)
{
    const tf_node *n = tf_def(p->g, value);
    if (n->op == &tf_op_literal && p->readers[value - 1] == 1 && ((const tf_source_desc *)n->desc)->value == number)
        p->implied[tf_val(p->g, value)->node] = true;
}

/* A while loop counts its iterations, and begins with `true` unless told otherwise. */
static void find_implied(printer *p)
{
    for (uint32_t r = 0; r < p->g->regions.n; r++) {
        const tf_region *x = &p->g->regions.data[r];
        if (!x->is_while || x->carries.n < 2 || !x->carries.data[x->carries.n - 1].next)
            continue;
        const tf_carry *again = &x->carries.data[x->carries.n - 2], *done = again + 1;
        imply_literal(p, tf_def(p->g, again->value)->src[0], 1);
        imply_literal(p, tf_def(p->g, done->value)->src[0], 0);
        p->implied[tf_val(p->g, done->next)->node] = true;
        if (tf_def(p->g, done->next)->n_src == 2)
            imply_literal(p, tf_def(p->g, done->next)->src[1], 1);
    }
}

static bool name_values(printer *p)
{
    const tuff_graph *g = p->g;
    const uint64_t names = (uint64_t)g->values.n + g->dim_params.n;
    for (p->cap = 16; p->cap < 2 * names + 2; p->cap *= 2)
        if (p->cap > UINT32_MAX / 4)
            return false;
    p->name = tf_arena_array(&p->arena, const char *, g->values.n);
    p->readers = tf_arena_array(&p->arena, uint32_t, g->values.n);
    p->exposed = tf_arena_array(&p->arena, bool, g->values.n);
    p->implied = tf_arena_array(&p->arena, bool, g->nodes.n);
    p->taken = tf_arena_array(&p->arena, const char *, p->cap);
    if (!p->name || !p->readers || !p->exposed || !p->implied || !p->taken)
        return false;
    for (uint32_t i = 0; i < g->dim_params.n; i++)
        claim(p, g->dim_params.data[i].name);
    for (uint32_t i = 0; i < g->ports.n; i++) {
        const tf_port *port = &g->ports.data[i];
        if (port->kind == TF_PORT_OUTPUT)
            p->exposed[port->value - 1] = true;
        else if (port->name)
            p->name[port->value - 1] = claim(p, port->name) ? port->name : unique(p, port->name);
    }
    for (uint32_t i = 0; i < g->nodes.n; i++)
        for (uint32_t k = 0; k < g->nodes.data[i].n_src; k++)
            if (g->nodes.data[i].src[k])
                p->readers[g->nodes.data[i].src[k] - 1]++;
    find_implied(p);
    /* Outputs without another name lend theirs, so that "output y" is enough. */
    for (uint32_t i = 0; i < g->ports.n; i++) {
        const tf_port *port = &g->ports.data[i];
        if (port->kind == TF_PORT_OUTPUT && !p->name[port->value - 1] && !tf_val(g, port->value)->name && strcmp(port->name, "_") && claim(p, port->name))
            p->name[port->value - 1] = port->name;
    }
    for (uint32_t i = 0; i < g->values.n; i++)
        if (!p->name[i] && g->values.data[i].name)
            p->name[i] = unique(p, g->values.data[i].name);
    for (uint32_t i = 0, k = 1; i < g->values.n; i++)
        while (!p->name[i] && !is_inline(p, i + 1) && !p->implied[g->values.data[i].node]) {
            const char *name = tf_arena_printf(&p->arena, "v%u", (unsigned)k++);
            if (!name)
                return false;
            if (claim(p, name))
                p->name[i] = name;
        }
    return !p->arena.failed;
}

/* ---- values ---- */

static void write_value(printer *p, uint32_t value)
{
    if (is_inline(p, value)) {
        const tf_source_desc *d = tf_def(p->g, value)->desc;
        tf_write_number(p->out, d->dtype, d->value);
    } else {
        tf_write_name(p->out, p->name[value - 1]);
    }
}

static void write_dims(printer *p, const int64_t *d, int32_t n)
{
    tf_str_add(p->out, "[");
    for (int32_t i = 0; i < n; i++) {
        tf_str_add(p->out, i ? "," : "");
        if (d[i] == TUFF_END)
            tf_str_add(p->out, "end");
        else
            tf_dim_write(p->out, p->g, d[i]);
    }
    tf_str_add(p->out, "]");
}

/* ---- attributes ---- */

static bool is_zero(const void *p, size_t n)
{
    const unsigned char *c = p;
    for (size_t i = 0; i < n; i++)
        if (c[i])
            return false;
    return true;
}

static size_t attr_size(const tf_attr *a)
{
    switch (a->type) {
    case TF_ATTR_BOOL: return sizeof(bool);
    case TF_ATTR_INT: case TF_ATTR_ENUM: return sizeof(int32_t);
    case TF_ATTR_I64: case TF_ATTR_U64: return sizeof(int64_t);
    case TF_ATTR_FLOAT: return sizeof(float);
    case TF_ATTR_DOUBLE: return sizeof(double);
    case TF_ATTR_DTYPE: return sizeof(tuff_dtype);
    case TF_ATTR_INTS: case TF_ATTR_SHAPE: return sizeof(int32_t); /* the count */
    case TF_ATTR_STRING: return sizeof(char *);
    case TF_ATTR_TENSOR: case TF_ATTR_NAMED: break;
    }
    return 0;
}

static void write_attr(printer *p, const tf_attr *a, const void *at)
{
    int32_t i32;
    switch (a->type) {
    case TF_ATTR_BOOL: tf_str_add(p->out, *(const bool *)at ? "true" : "false"); break;
    case TF_ATTR_INT: memcpy(&i32, at, sizeof i32); tf_str_printf(p->out, "%ld", (long)i32); break;
    case TF_ATTR_ENUM: memcpy(&i32, at, sizeof i32); tf_write_name(p->out, a->choices[i32]); break;
    case TF_ATTR_I64: tf_str_printf(p->out, "%lld", (long long)*(const int64_t *)at); break;
    case TF_ATTR_U64: tf_str_printf(p->out, "%llu", (unsigned long long)*(const uint64_t *)at); break;
    case TF_ATTR_FLOAT: tf_write_number(p->out, TUFF_F32, (double)*(const float *)at); break;
    case TF_ATTR_DOUBLE: tf_write_number(p->out, TUFF_F64, *(const double *)at); break;
    case TF_ATTR_DTYPE: tf_str_add(p->out, tuff_dtype_name(*(const tuff_dtype *)at)); break;
    case TF_ATTR_INTS: write_dims(p, ((const tuff_ints *)at)->v, ((const tuff_ints *)at)->n); break;
    case TF_ATTR_SHAPE: write_dims(p, ((const tuff_shape *)at)->dim, ((const tuff_shape *)at)->rank); break;
    case TF_ATTR_STRING: tf_write_string(p->out, *(const char *const *)at); break;
    case TF_ATTR_TENSOR: case TF_ATTR_NAMED: break;
    }
}

static bool is_default(const tf_attr *a, const void *at)
{
    if (a->type == TF_ATTR_TENSOR || a->type == TF_ATTR_NAMED)
        return true;
    if (a->type == TF_ATTR_STRING)
        return !*(const char *const *)at;
    return !a->required && is_zero(at, attr_size(a));
}

static void write_attrs(printer *p, const tf_node *n)
{
    bool any = false;
    for (uint32_t i = 0; i < n->op->attr_count; i++) {
        const tf_attr *a = &n->op->attrs[i];
        const void *at = (const char *)n->desc + a->offset;
        if (is_default(a, at))
            continue;
        tf_str_printf(p->out, "%s%s=", any ? ", " : " {", a->name);
        write_attr(p, a, at);
        any = true;
    }
    tf_str_add(p->out, any ? "}" : "");
}

/* ---- nodes ---- */

static void write_type(printer *p, const tf_node *n)
{
    tf_type_write(p->out, p->g, tf_type_of(p->g, n->out));
}

static void write_element(printer *p, tuff_dtype t, const void *data, uint64_t i)
{
    double im;
    const double re = tf_load_element(t, data, i, &im);
    if (t == TUFF_C64) {
        tf_str_add(p->out, "(");
        tf_write_number(p->out, TUFF_F32, re);
        tf_str_add(p->out, ", ");
        tf_write_number(p->out, TUFF_F32, im);
        tf_str_add(p->out, ")");
    } else {
        tf_write_number(p->out, t, re);
    }
}

/* All elements have the same bits. */
static bool is_uniform(const tf_source_desc *d, uint64_t n)
{
    const uint32_t bits = tf_dtype_bits(d->dtype);
    if (n == 0 || bits < 8)
        return false;
    for (uint64_t i = 1; i < n; i++)
        if (memcmp(d->data, (const char *)d->data + (size_t)i * (bits / 8), bits / 8))
            return false;
    return true;
}

static void write_const(printer *p, const tf_node *n)
{
    const tf_source_desc *d = n->desc;
    uint64_t count = 0;
    tf_count_bound(p->g, tf_type_of(p->g, n->out), &count);
    if (d->name) {
        tf_str_add(p->out, "const ");
        tf_write_name(p->out, p->name[n->out - 1]);
        tf_str_add(p->out, " ");
    } else {
        tf_write_name(p->out, p->name[n->out - 1]);
        tf_str_add(p->out, " = const ");
    }
    write_type(p, n);
    tf_str_add(p->out, " = ");
    if (d->file) {
        tf_str_add(p->out, "@");
        tf_write_string(p->out, d->file);
    } else if (is_uniform(d, count)) {
        write_element(p, d->dtype, d->data, 0);
    } else if (count <= INLINE_ELEMENTS) {
        tf_str_add(p->out, "[");
        for (uint64_t i = 0; i < count; i++) {
            tf_str_add(p->out, i ? ", " : "");
            write_element(p, d->dtype, d->data, i);
        }
        tf_str_add(p->out, "]");
    } else {
        const char *file = tf_arena_printf(&p->arena, "%s.npy", p->name[n->out - 1]);
        tf_str_add(p->out, "@");
        tf_write_string(p->out, file ? file : "");
    }
}

static void write_source(printer *p, const tf_node *n)
{
    const tf_source_desc *d = n->desc;
    tf_str_printf(p->out, "%s ", n->op->name);
    tf_write_name(p->out, p->name[n->out - 1]);
    tf_str_add(p->out, " ");
    write_type(p, n);
    if (n->op == &tf_op_scalar) {
        tf_str_add(p->out, " = ");
        tf_write_number(p->out, d->dtype == TUFF_F32 ? TUFF_F32 : TUFF_F64, d->value);
    }
}

static void write_operands(printer *p, const tf_node *n)
{
    const uint32_t positional = tf_positional(n->op, n->n_src, n->desc);
    bool any = false;
    tf_str_add(p->out, "(");
    for (uint32_t i = 0; i < n->n_src; i++) {
        if (!n->src[i])
            continue;
        tf_str_add(p->out, any ? ", " : "");
        any = true;
        if (i >= positional) {
            char name[256];
            tf_src_name(n->op, n->n_src, n->desc, i, name, sizeof name);
            tf_write_name(p->out, name);
            tf_str_add(p->out, "=");
        }
        write_value(p, n->src[i]);
    }
    tf_str_add(p->out, ")");
}

static bool is_wanted(const printer *p, uint32_t value)
{
    return p->readers[value - 1] || p->exposed[value - 1] || tf_val(p->g, value)->name;
}

/* Results up to the last that is read or named; others are _. */
static void write_results(printer *p, const tf_node *n)
{
    uint32_t last = 0;
    for (uint32_t i = 0; i < n->n_out; i++)
        if (is_wanted(p, n->out + i))
            last = i;
    for (uint32_t i = 0; i <= last; i++) {
        tf_str_add(p->out, i ? ", " : "");
        if (last && !is_wanted(p, n->out + i))
            tf_str_add(p->out, "_");
        else
            tf_write_name(p->out, p->name[n->out - 1 + i]);
    }
    tf_str_add(p->out, " = ");
}

static void indent(printer *p, uint32_t region)
{
    for (; region; region = p->g->regions.data[region - 1].parent)
        tf_str_add(p->out, "    ");
}

static void write_node(printer *p, const tf_node *n)
{
    /* Literals stand where they are read; what makes up a loop is written with it. */
    if (is_inline(p, n->out) || p->implied[n - p->g->nodes.data] || n->op == &tf_op_step || n->op == &tf_op_carry || n->op == &tf_op_leave ||
        n->op == &tf_op_stacked)
        return;
    indent(p, n->region);
    if (n->op == &tf_op_const) {
        write_const(p, n);
    } else if (n->op->kind == TF_SOURCE && n->op != &tf_op_literal) {
        write_source(p, n);
    } else {
        write_results(p, n);
        tf_str_add(p->out, n->op->name);
        if (n->op == &tf_op_literal) {
            const tf_source_desc *d = n->desc;
            tf_str_add(p->out, "() {value=");
            tf_write_number(p->out, d->dtype, d->value);
            tf_str_printf(p->out, ", dtype=%s}", tuff_dtype_name(d->dtype));
        } else {
            write_operands(p, n);
            write_attrs(p, n);
        }
    }
    tf_str_add(p->out, "\n");
}

/* ---- loops ---- */

/* The result that belongs to a carried or stacked value, or 0. */
static uint32_t result_of(const printer *p, const tf_op *op, uint32_t value)
{
    for (uint32_t n = 0; n < p->g->nodes.n; n++)
        if (p->g->nodes.data[n].op == op && p->g->nodes.data[n].src[0] == value)
            return p->g->nodes.data[n].out;
    return 0;
}

static void write_result(printer *p, uint32_t value, bool *any)
{
    tf_str_add(p->out, *any ? ", " : "");
    if (value)
        tf_write_name(p->out, p->name[value - 1]);
    else
        tf_str_add(p->out, "_");
    *any = true;
}

/* Calls with every stacked value of region r, in order. */
static void write_stacked(printer *p, uint32_t r, bool results, bool *any)
{
    for (uint32_t n = 0; n < p->g->nodes.n; n++) {
        const tf_node *x = &p->g->nodes.data[n];
        if (x->op == &tf_op_stacked && tf_def(p->g, x->src[0])->region == r)
            write_result(p, results ? x->out : x->src[0], any);
    }
}

static void write_loop(printer *p, uint32_t r)
{
    const tf_region *x = &p->g->regions.data[r - 1];
    const uint32_t n = x->carries.n - 2 * x->is_while;
    bool any = false;
    indent(p, x->parent);
    for (uint32_t i = 0; i < n; i++)
        write_result(p, result_of(p, &tf_op_leave, x->carries.data[i].value), &any);
    write_stacked(p, r, true, &any);
    if (x->is_while) {
        write_result(p, result_of(p, &tf_op_leave, x->carries.data[n + 1].value), &any);
        write_result(p, result_of(p, &tf_op_leave, x->carries.data[n].value), &any);
        tf_str_add(p->out, " = while ");
        const uint32_t again = x->carries.data[n].value, first = tf_def(p->g, again)->src[0];
        tf_write_name(p->out, p->name[again - 1]);
        if (!p->implied[tf_val(p->g, first)->node]) {
            tf_str_add(p->out, " = ");
            write_value(p, first);
        }
        tf_str_printf(p->out, " <= %lld", (long long)x->count);
    } else
        tf_str_printf(p->out, " = loop %lld", (long long)x->count);
    for (uint32_t i = 0; i < p->g->nodes.n; i++)
        if (p->g->nodes.data[i].op == &tf_op_step && p->g->nodes.data[i].region == r && p->readers[p->g->nodes.data[i].out - 1]) {
            tf_str_add(p->out, " step ");
            tf_write_name(p->out, p->name[p->g->nodes.data[i].out - 1]);
        }
    tf_str_add(p->out, " (");
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t v = x->carries.data[i].value;
        tf_str_add(p->out, i ? ", " : "");
        tf_write_name(p->out, p->name[v - 1]);
        tf_str_add(p->out, " = ");
        write_value(p, tf_def(p->g, v)->src[0]);
    }
    tf_str_add(p->out, ") {\n");
}

static void write_yield(printer *p, uint32_t r)
{
    const tf_region *x = &p->g->regions.data[r - 1];
    const uint32_t n = x->carries.n - 2 * x->is_while;
    bool any = false;
    indent(p, r);
    tf_str_add(p->out, "yield ");
    for (uint32_t i = 0; i < n; i++) {
        tf_str_add(p->out, i ? ", " : "");
        write_value(p, x->carries.data[i].next);
    }
    for (uint32_t i = 0; i < p->g->nodes.n && !any; i++)
        any = p->g->nodes.data[i].op == &tf_op_stacked && tf_def(p->g, p->g->nodes.data[i].src[0])->region == r;
    if (any) {
        bool first = false;
        tf_str_add(p->out, n ? " stack " : "stack ");
        write_stacked(p, r, false, &first);
    }
    if (x->is_while) {
        tf_str_add(p->out, n || any ? " again " : "again ");
        write_value(p, x->carries.data[n].next);
    }
    tf_str_add(p->out, "\n");
    indent(p, x->parent);
    tf_str_add(p->out, "}\n");
}

/* Out of loops that end before the next node, into those that begin with it. */
static void write_to(printer *p, uint32_t *at, uint32_t region)
{
    while (!tf_region_within(p->g, region, *at)) {
        write_yield(p, *at);
        *at = p->g->regions.data[*at - 1].parent;
    }
    while (*at != region) {
        uint32_t next = region;
        while (p->g->regions.data[next - 1].parent != *at)
            next = p->g->regions.data[next - 1].parent;
        write_loop(p, next);
        *at = next;
    }
}

static void write_outputs(printer *p)
{
    for (uint32_t i = 0; i < p->g->ports.n; i++) {
        const tf_port *port = &p->g->ports.data[i];
        if (port->kind != TF_PORT_OUTPUT)
            continue;
        const char *value = p->name[port->value - 1];
        tf_str_add(p->out, "output ");
        tf_write_name(p->out, port->name);
        if (strcmp(port->name, value)) {
            tf_str_add(p->out, " = ");
            tf_write_name(p->out, value);
        }
        tf_str_add(p->out, "\n");
    }
}

void tf_graph_write(const tuff_graph *g, tf_str *out)
{
    printer p = { .g = g, .out = out };
    tf_arena_init(&p.arena, &g->arena.allocator);
    if (name_values(&p)) {
        for (uint32_t i = 0; i < g->dim_params.n; i++) {
            tf_str_add(out, "dim ");
            tf_write_name(out, g->dim_params.data[i].name);
            tf_str_printf(out, " <= %lld\n", (long long)g->dim_params.data[i].max);
        }
        uint32_t region = 0;
        for (uint32_t i = 0; i < g->nodes.n; i++) {
            write_to(&p, &region, g->nodes.data[i].region);
            write_node(&p, &g->nodes.data[i]);
        }
        write_to(&p, &region, 0);
        write_outputs(&p);
    }
    out->failed = out->failed || p.arena.failed;
    tf_arena_release(&p.arena);
}

size_t tuff_graph_print(const tuff_graph *g, char *buffer, size_t size)
{
    tf_str s;
    tf_str_init(&s, g ? &g->arena.allocator : NULL);
    if (g)
        tf_graph_write(g, &s);
    if (s.failed)
        s.n = 0; /* half a graph would be misleading */
    if (s.failed && s.data)
        s.data[0] = 0;
    const size_t n = tf_str_deliver(&s, buffer, size);
    tf_str_release(&s);
    return n;
}
