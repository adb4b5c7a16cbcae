/* source.c - where values come from and go to: inputs, constants, literals, states, scalars, assign, outputs. */
#include "op.h"

#include <string.h>

enum {
    READABLE = 1u << TF_PORT_OUTPUT | 1u << TF_PORT_STATE,
    WRITABLE = 1u << TF_PORT_INPUT | 1u << TF_PORT_STATE | 1u << TF_PORT_CONST | 1u << TF_PORT_SCALAR
};

static bool check_name(tf_infer *c, const char *name)
{
    if (c->g->region)
        return tf_bad(c, TUFF_E_STATE, "\"%s\" is declared in a loop's body; what a program exposes stands before the loop", name ? name : "");
    if (!tf_name_ok(name))
        return tf_bad(c, TUFF_E_NAME, "a name has 1 to 255 bytes and no control characters");
    bool taken = tf_port_find(c->g, WRITABLE | 1u << TF_PORT_OUTPUT, name) != NULL;
    for (uint32_t i = 0; i < c->g->dim_params.n; i++)
        taken = taken || !strcmp(c->g->dim_params.data[i].name, name);
    if (taken)
        return tf_bad(c, TUFF_E_NAME, "the name \"%s\" is taken", name);
    return true;
}

static bool take_type(tf_infer *c)
{
    const tf_source_desc *d = c->desc;
    if (d->dtype <= TUFF_DTYPE_NONE || d->dtype >= TUFF_DTYPE_COUNT)
        return tf_bad(c, TUFF_E_DTYPE, "\"%s\" has no dtype", d->name ? d->name : "");
    for (int32_t i = 0; i < d->shape.rank; i++)
        if (d->shape.dim[i] == -1)
            return tf_bad(c, TUFF_E_SHAPE, "\"%s\" has dim %d = -1; dims are counts", d->name ? d->name : "", (int)i);
    c->out[0] = (tf_type){ .dtype = d->dtype, .rank = d->shape.rank };
    memcpy(c->out[0].dim, d->shape.dim, sizeof c->out[0].dim);
    return true;
}

static bool port_infer(tf_infer *c)
{
    return check_name(c, ((const tf_source_desc *)c->desc)->name) && take_type(c);
}

static bool const_infer(tf_infer *c)
{
    tf_source_desc *d = c->mut;
    if ((d->name && !check_name(c, d->name)) || !take_type(c))
        return false;
    for (int32_t i = 0; i < d->shape.rank; i++)
        if (tf_dim_is_dynamic(d->shape.dim[i]))
            return tf_bad(c, TUFF_E_SHAPE, "dim %d is dynamic; a constant's dims are fixed", (int)i);
    if (!tf_bytes_bound(c->g, &c->out[0], &d->bytes))
        return tf_bad(c, TUFF_E_OVERFLOW, "the size of %s overflows", tf_type_text(c->g, &c->out[0]));
    if (d->bytes && !d->data)
        return tf_bad(c, TUFF_E_ARGUMENT, "the data of %s is NULL", tf_type_text(c->g, &c->out[0]));
    return true;
}

static bool literal_infer(tf_infer *c)
{
    tf_source_desc *d = c->mut;
    if (d->dtype == TUFF_DTYPE_NONE) {
        d->dtype = TUFF_F32;
        d->implied = true;
    }
    c->out[0] = (tf_type){ .dtype = d->dtype };
    return true;
}

static bool scalar_infer(tf_infer *c)
{
    tf_source_desc *d = c->mut;
    if (!check_name(c, d->name))
        return false;
    if (d->dtype == TUFF_DTYPE_NONE)
        d->dtype = TUFF_F32;
    if (d->dtype != TUFF_F32 && d->dtype != TUFF_I32 && d->dtype != TUFF_U32)
        return tf_bad(c, TUFF_E_DTYPE, "\"%s\" is %s; a scalar is f32, i32 or u32", d->name, tuff_dtype_name(d->dtype));
    if (d->dtype != TUFF_F32 && tf_round_to(d->dtype, d->value) != d->value)
        return tf_bad(c, TUFF_E_ARGUMENT, "\"%s\": %g is not a value of %s", d->name, d->value, tuff_dtype_name(d->dtype));
    c->out[0] = (tf_type){ .dtype = d->dtype };
    return true;
}

static bool same_type(const tf_type *a, const tf_type *b)
{
    if (a->dtype != b->dtype || a->rank != b->rank)
        return false;
    for (int32_t i = 0; i < a->rank; i++)
        if (!tf_dim_equal(a->dim[i], b->dim[i]))
            return false;
    return true;
}

static bool assign_infer(tf_infer *c)
{
    if (tf_def(c->g, c->src[0])->op != &tf_op_state)
        return tf_bad(c, TUFF_E_ARGUMENT, "s is no state (%s)", tf_src_text(c, 0));
    for (uint32_t i = 0; i < c->g->ports.n; i++)
        if (c->g->ports.data[i].value == c->src[0] && c->g->ports.data[i].assigned)
            return tf_bad(c, TUFF_E_STATE, "state \"%s\" is assigned already; it takes one new value a run", c->g->ports.data[i].name);
    if (!same_type(c->type[0], c->type[1]))
        return tf_bad(c, TUFF_E_SHAPE, "the types differ (%s; %s)", tf_src_text(c, 0), tf_src_text(c, 1));
    c->out[0] = *c->type[0];
    return true;
}

static tuff_status assign_reference(tf_ref *r)
{
    if (r->out[0].n)
        memcpy(r->out[0].re, r->src[1]->re, (size_t)r->out[0].n * sizeof(double));
    if (r->out[0].im)
        memcpy(r->out[0].im, r->src[1]->im, (size_t)r->out[0].n * sizeof(double));
    return TUFF_OK;
}

static const tf_attr source_attrs[] = {
    TF_A(tf_source_desc, name, TF_ATTR_STRING, "the name to write, read or set it by"),
    TF_A(tf_source_desc, dtype, TF_ATTR_DTYPE, "element type; 0: f32 for literals and scalars"),
    TF_A(tf_source_desc, shape, TF_ATTR_SHAPE, "shape; 0: one element"),
    TF_A(tf_source_desc, value, TF_ATTR_DOUBLE, "value of a literal, first value of a scalar"),
    TF_A(tf_source_desc, file, TF_ATTR_STRING, "file a constant was read from"),
};

#define SOURCE(id, text, infer_fn) \
    .name = id, .doc = text, .operands = "", .kind = TF_SOURCE, .attrs = source_attrs, .attr_count = TF_COUNT(source_attrs), \
    .desc_size = sizeof(tf_source_desc), .infer = infer_fn

const tf_op tf_op_input = { SOURCE("input", "a tensor written before a run", port_infer) };
const tf_op tf_op_state = { SOURCE("state", "a tensor that survives runs; zero at first", port_infer) };
const tf_op tf_op_const = { SOURCE("const", "a constant", const_infer) };
const tf_op tf_op_literal = { SOURCE("literal", "a number", literal_infer) };
const tf_op tf_op_scalar = { SOURCE("scalar", "a number set between runs without recompiling", scalar_infer) };
const tf_op tf_op_assign = {
    .name = "assign", .doc = "commits x to state s at the end of the run; yields x", .operands = "s x", .kind = TF_EFFECT,
    .infer = assign_infer, .reference = assign_reference,
};

/* ---- public ---- */

tuff_tensor tuff_input(tuff_graph *g, const char *name, tuff_dtype dtype, tuff_shape shape)
{
    return tf_add(g, &tf_op_input, NULL, 0, &(tf_source_desc){ .name = name, .dtype = dtype, .shape = shape });
}

tuff_tensor tuff_state(tuff_graph *g, const char *name, tuff_dtype dtype, tuff_shape shape)
{
    return tf_add(g, &tf_op_state, NULL, 0, &(tf_source_desc){ .name = name, .dtype = dtype, .shape = shape });
}

tuff_tensor tuff_const(tuff_graph *g, tuff_dtype dtype, tuff_shape shape, const void *data, const tuff_const_desc *desc)
{
    tf_source_desc d = { .name = desc ? desc->name : NULL, .dtype = dtype, .shape = shape, .data = data, .borrow = desc && desc->borrow };
    const tuff_tensor t = tf_add(g, &tf_op_const, NULL, 0, &d);
    if (!t.id || d.borrow)
        return t;
    /* The node checked sizes; only now is it known how much to copy. */
    tf_source_desc *own = (tf_source_desc *)tf_def(g, t.id)->desc;
    own->data = own->bytes ? tf_arena_copy(&g->arena, data, own->bytes) : NULL;
    return own->data || !own->bytes ? t : (tuff_tensor){ 0 };
}

tuff_status tuff_make_const(tuff_graph *g, const char *name, const void *data, size_t bytes)
{
    if (!g)
        return TUFF_E_ARGUMENT;
    tf_port *p = name ? tf_port_find(g, 1u << TF_PORT_INPUT, name) : NULL;
    tf_type t;
    uint64_t want = 0;
    if (!p) {
        tf_fail(g, TUFF_E_NAME, "make_const: the graph has no input \"%s\"", name ? name : "");
        return TUFF_E_NAME;
    }
    t = *tf_type_of(g, p->value);
    if (!tf_type_is_static(&t) || !tf_bytes_bound(g, &t, &want) || want != bytes || (bytes && !data)) {
        if (!tf_type_is_static(&t))
            tf_fail(g, TUFF_E_ARGUMENT, "make_const: %s has no fixed shape", tf_describe_value(g, p->value));
        else
            tf_fail(g, TUFF_E_ARGUMENT, "make_const: %s takes %llu bytes, %llu were given%s", tf_describe_value(g, p->value), (unsigned long long)want, (unsigned long long)bytes,
                    bytes && !data ? "; the data is NULL" : "");
        return TUFF_E_ARGUMENT;
    }
    tf_node *node = &g->nodes.data[tf_val(g, p->value)->node];
    tf_source_desc *d = tf_arena_copy(&g->arena, node->desc, sizeof *d);
    void *copy = bytes ? tf_arena_copy(&g->arena, data, bytes) : NULL;
    if (!d || (bytes && !copy))
        return TUFF_E_MEMORY;
    d->data = copy;
    d->bytes = bytes;
    node->op = &tf_op_const;
    node->desc = d;
    p->kind = TF_PORT_CONST;
    return TUFF_OK;
}

tuff_tensor tuff_literal(tuff_graph *g, double value, tuff_dtype dtype)
{
    return tf_add(g, &tf_op_literal, NULL, 0, &(tf_source_desc){ .value = value, .dtype = dtype });
}

tuff_tensor tuff_scalar(tuff_graph *g, const char *name, tuff_dtype dtype, double initial)
{
    return tf_add(g, &tf_op_scalar, NULL, 0, &(tf_source_desc){ .name = name, .dtype = dtype, .value = initial });
}

tuff_tensor tuff_assign(tuff_tensor s, tuff_tensor x)
{
    return tf_add(s.graph ? s.graph : x.graph, &tf_op_assign, (tuff_tensor[]){ s, x }, 2, NULL);
}

void tuff_output(tuff_graph *g, const char *name, tuff_tensor x)
{
    if (!g)
        g = x.graph;
    if (!g || tf_status(g))
        return;
    if (!tf_name_ok(name)) {
        tf_fail(g, TUFF_E_NAME, "output: a name has 1 to 255 bytes and no control characters");
        return;
    }
    if (x.graph != g || x.id < 1 || x.id > g->values.n) {
        tf_fail(g, TUFF_E_ARGUMENT, "output \"%s\": the tensor %s", name, !x.graph || !x.id ? "is absent" : "belongs to another graph");
        return;
    }
    if (tf_def(g, x.id)->region || g->region) {
        tf_fail(g, TUFF_E_ARGUMENT, "output \"%s\": %s belongs to a loop's body; outputs are results of the loop", name, tf_describe_value(g, x.id));
        return;
    }
    /* An output may carry the name of the input that it is; any other pair would be ambiguous. */
    const tf_port *taken = tf_port_find(g, READABLE, name);
    const tf_port *other = tf_port_find(g, WRITABLE, name);
    if (taken || (other && other->value != x.id)) {
        static const char *const kinds[] = { "an input", "an output", "a state", "a constant", "a scalar" };
        tf_fail(g, TUFF_E_NAME, "output: the name \"%s\" is taken by %s", name, kinds[taken ? taken->kind : other->kind]);
        return;
    }
    const char *copy = tf_arena_string(&g->arena, name);
    tf_port *p = copy ? tf_push(&g->arena, &g->ports) : NULL;
    if (p)
        *p = (tf_port){ .kind = TF_PORT_OUTPUT, .name = copy, .value = x.id };
}
