/* interp.c - the CPU interpreter: one loop over the nodes, one generic loop for pointwise rows, the rows' own
 * references for the rest. */
#include "interp.h"

#include <string.h>

struct tf_interp {
    const tuff_graph *g;
    tuff_allocator allocator;
    tf_arena arena;            /* the tables below and the error text */
    tf_ref_tensor *values;     /* by value id - 1; n_readers 0 and !keep: released */
    bool *present, *keep;
    uint32_t *readers, *left;
    int64_t *dims;
    double *scalars;           /* by port */
    tf_ref_tensor *ports;      /* by port: inputs, states, overridden constants */
    bool *written;
    bool keep_all;
    const char *error;
};

/* ---- tensors ---- */

bool tf_ref_create(tf_ref_tensor *out, const tuff_graph *g, const tf_type *t, const int64_t *dims, const tuff_allocator *allocator)
{
    *out = (tf_ref_tensor){ .dtype = t->dtype, .rank = t->rank, .n = 1 };
    for (int32_t i = 0; i < t->rank; i++) {
        const int64_t d = tf_dim_eval(g, t->dim[i], dims);
        out->dim[i] = d > 0 ? d : 0;
    }
    for (int32_t i = 0; i < t->rank; i++)
        if (out->dim[i] == 0)
            return out->n = 0, true;
    for (int32_t i = 0; i < t->rank; i++)
        if (!tf_mul_u64(&out->n, out->n, (uint64_t)out->dim[i]) || out->n > SIZE_MAX / sizeof(double))
            return out->n = 0, false;
    out->re = tf_alloc(allocator, (size_t)out->n * sizeof(double));
    if (t->dtype == TUFF_C64)
        out->im = tf_alloc(allocator, (size_t)out->n * sizeof(double));
    if (!out->re || (t->dtype == TUFF_C64 && !out->im)) {
        tf_ref_release(out, allocator);
        return false;
    }
    return true;
}

void tf_ref_release(tf_ref_tensor *t, const tuff_allocator *allocator)
{
    tf_free(allocator, t->re, (size_t)t->n * sizeof(double));
    tf_free(allocator, t->im, (size_t)t->n * sizeof(double));
    t->re = t->im = NULL;
}

void tf_ref_decode(tf_ref_tensor *t, const void *data)
{
    for (uint64_t i = 0; i < t->n; i++) {
        double im;
        t->re[i] = tf_load_element(t->dtype, data, i, &im);
        if (t->im)
            t->im[i] = im;
    }
}

void tf_ref_encode(const tf_ref_tensor *t, void *data)
{
    for (uint64_t i = 0; i < t->n; i++)
        tf_store_element(t->dtype, data, i, t->re[i], t->im ? t->im[i] : 0);
}

uint64_t tf_ref_bytes(const tf_ref_tensor *t)
{
    return (t->n * tf_dtype_bits(t->dtype) + 7) / 8;
}

static bool copy_tensor(tf_ref_tensor *to, const tf_ref_tensor *from, const tuff_allocator *allocator)
{
    *to = *from;
    to->re = to->im = NULL;
    if (from->n == 0)
        return true;
    const size_t size = (size_t)from->n * sizeof(double);
    to->re = tf_alloc(allocator, size);
    if (from->im)
        to->im = tf_alloc(allocator, size);
    if (!to->re || (from->im && !to->im)) {
        tf_ref_release(to, allocator);
        return false;
    }
    memcpy(to->re, from->re, size);
    if (from->im)
        memcpy(to->im, from->im, size);
    return true;
}

/* ---- one node ---- */

/* Element strides of an operand seen with the result's shape: 0 where it broadcasts. */
static void broadcast_strides(const tf_ref_tensor *x, const tf_ref_tensor *out, uint64_t stride[TUFF_MAX_RANK])
{
    uint64_t s = 1;
    for (int32_t i = out->rank - 1; i >= 0; i--) {
        const int32_t k = i - (out->rank - x->rank);
        stride[i] = k >= 0 && x->dim[k] != 1 ? s : 0;
        s *= k >= 0 ? (uint64_t)x->dim[k] : 1;
    }
}

static void pointwise(const tf_op *op, const void *desc, const tf_ref_tensor *const *src, tf_ref_tensor *out)
{
    uint64_t stride[3][TUFF_MAX_RANK] = { { 0 } }, at[3] = { 0 };
    int64_t pos[TUFF_MAX_RANK] = { 0 };
    const uint32_t arity = TF_MIN(op->arity, 3u);
    const tuff_dtype t = arity ? src[arity - 1]->dtype : out->dtype;
    for (uint32_t k = 0; k < arity; k++)
        broadcast_strides(src[k], out, stride[k]);
    for (uint64_t i = 0; i < out->n; i++) {
        tf_scalar args[3] = { { 0, 0 } };
        for (uint32_t k = 0; k < arity; k++)
            args[k] = (tf_scalar){ src[k]->re[at[k]], src[k]->im ? src[k]->im[at[k]] : 0 };
        const tf_scalar y = op->scalar(args, t, desc);
        out->re[i] = y.re;
        if (out->im)
            out->im[i] = y.im;
        for (int32_t d = out->rank - 1; d >= 0; d--) {
            pos[d]++;
            for (uint32_t k = 0; k < arity; k++)
                at[k] += stride[k][d];
            if (pos[d] < out->dim[d])
                break;
            for (uint32_t k = 0; k < arity; k++)
                at[k] -= stride[k][d] * (uint64_t)out->dim[d];
            pos[d] = 0;
        }
    }
}

static void round_tensor(tf_ref_tensor *t)
{
    if (t->dtype == TUFF_F64)
        return;
    for (uint64_t i = 0; i < t->n; i++) {
        t->re[i] = tf_round_to(t->dtype, t->re[i]);
        if (t->im)
            t->im[i] = tf_round_to(t->dtype, t->im[i]);
    }
}

tuff_status tf_eval_node(const tuff_graph *g, const tf_node *node, const tf_ref_tensor *const *src, const int64_t *dims,
                         const tuff_allocator *allocator, tf_ref_tensor *out, tf_arena *scratch, const char **error)
{
    const tf_op *op = node->op;
    tuff_status status = TUFF_OK;
    *error = "";
    for (uint32_t i = 0; i < node->n_out; i++)
        out[i] = (tf_ref_tensor){ 0 };
    for (uint32_t i = 0; i < node->n_out && status == TUFF_OK; i++)
        if (!tf_ref_create(&out[i], g, tf_type_of(g, node->out + i), dims, allocator))
            status = TUFF_E_MEMORY;
    if (status == TUFF_OK && op->reference) {
        tf_ref r = { .g = g, .node = node, .desc = node->desc, .n_src = node->n_src, .n_out = node->n_out, .src = src, .out = out,
                     .scratch = scratch, .dim_values = dims };
        status = op->reference(&r);
        if (status != TUFF_OK)
            *error = r.error ? r.error : tuff_status_text(status);
        else if (scratch->failed)
            status = TUFF_E_MEMORY;
    } else if (status == TUFF_OK && op->kind == TF_POINTWISE && op->scalar) {
        pointwise(op, node->desc, src, &out[0]);
    } else if (status == TUFF_OK) {
        status = TUFF_E_UNSUPPORTED;
        *error = "the op has no reference";
    }
    if (status == TUFF_E_MEMORY && !**error)
        *error = tuff_status_text(status);
    for (uint32_t i = 0; i < node->n_out; i++) {
        if (status == TUFF_OK)
            round_tensor(&out[i]);
        else
            tf_ref_release(&out[i], allocator);
    }
    return status;
}

/* ---- folding ---- */

static bool constant_source(const tf_node *n)
{
    return n->op == &tf_op_const || n->op == &tf_op_literal;
}

bool tf_foldable(const tuff_graph *g, const tf_node *node)
{
    const tf_op *op = node->op;
    if (op->kind == TF_SOURCE || op->kind == TF_EFFECT || !(op->reference || (op->kind == TF_POINTWISE && op->scalar)))
        return false;
    for (uint32_t i = 0; i < node->n_src; i++)
        if (node->src[i] && !constant_source(tf_def(g, node->src[i])))
            return false;
    for (uint32_t i = 0; i < node->n_out; i++)
        if (!tf_type_is_static(tf_type_of(g, node->out + i)))
            return false;
    return true;
}

static tuff_status load_constant(const tuff_graph *g, uint32_t value, tf_ref_tensor *t, const tuff_allocator *allocator)
{
    const tf_source_desc *d = tf_def(g, value)->desc;
    if (!tf_ref_create(t, g, tf_type_of(g, value), NULL, allocator))
        return TUFF_E_MEMORY;
    if (tf_def(g, value)->op == &tf_op_const)
        tf_ref_decode(t, d->data);
    else
        t->re[0] = tf_round_to(t->dtype, d->value);
    return TUFF_OK;
}

tuff_status tf_fold(const tuff_graph *g, const tf_node *node, tf_arena *arena, void *data[TF_MAX_RESULTS], const char **error)
{
    const tuff_allocator *allocator = &arena->allocator;
    tf_ref_tensor src[TF_MAX_OPERANDS] = { { 0 } }, out[TF_MAX_RESULTS] = { { 0 } };
    const tf_ref_tensor *p[TF_MAX_OPERANDS] = { 0 };
    tuff_status status = TUFF_OK;
    tf_arena scratch;
    tf_arena_init(&scratch, allocator);
    *error = "";
    for (uint32_t i = 0; i < node->n_src && status == TUFF_OK; i++)
        if (node->src[i]) {
            status = load_constant(g, node->src[i], &src[i], allocator);
            p[i] = &src[i];
        }
    if (status == TUFF_OK)
        status = tf_eval_node(g, node, p, NULL, allocator, out, &scratch, error);
    if (status != TUFF_OK && **error) { /* it may lie in scratch */
        *error = tf_arena_string(arena, *error);
        *error = *error ? *error : "";
    }
    for (uint32_t i = 0; i < node->n_out && status == TUFF_OK; i++) {
        data[i] = tf_arena_alloc(arena, (size_t)tf_ref_bytes(&out[i]));
        if (data[i])
            tf_ref_encode(&out[i], data[i]);
        else
            status = TUFF_E_MEMORY;
    }
    for (uint32_t i = 0; i < node->n_src; i++)
        tf_ref_release(&src[i], allocator);
    for (uint32_t i = 0; i < node->n_out; i++)
        tf_ref_release(&out[i], allocator);
    tf_arena_release(&scratch);
    if (status == TUFF_E_MEMORY && !**error)
        *error = tuff_status_text(status);
    return status;
}

/* ---- values known without a run ---- */

enum { HOST_DEPTH = 64 }; /* nodes below each other: a bound on recursion, far above any table */

/* Element tensors of the node that makes `value`; on success the caller releases out[0..n_out). */
static tuff_status host_node(const tuff_graph *g, uint32_t value, const tuff_allocator *allocator, int depth, tf_ref_tensor *out, const char **error)
{
    const tf_node *n = tf_def(g, value);
    tuff_status status = TUFF_OK;
    if (constant_source(n)) return load_constant(g, value, &out[0], allocator);
    bool fixed = n->op->kind != TF_SOURCE && n->op->kind != TF_EFFECT && (n->op->reference || (n->op->kind == TF_POINTWISE && n->op->scalar));
    for (uint32_t i = 0; i < n->n_out; i++) fixed = fixed && tf_type_is_static(tf_type_of(g, n->out + i));
    *error = depth == 0 ? "it depends on too many ops" : "it depends on values of a run";
    if (!fixed || depth == 0) return TUFF_E_ARGUMENT;
    tf_arena scratch;
    tf_arena_init(&scratch, allocator);
    tf_ref_tensor *src = tf_arena_array(&scratch, tf_ref_tensor, (size_t)n->n_src + 1), *all = tf_arena_array(&scratch, tf_ref_tensor, TF_MAX_RESULTS);
    const tf_ref_tensor **p = tf_arena_array(&scratch, const tf_ref_tensor *, (size_t)n->n_src + 1);
    if (!src || !all || !p) status = TUFF_E_MEMORY;
    for (uint32_t i = 0; i < n->n_src && status == TUFF_OK; i++) {
        if (!n->src[i]) continue;
        const tf_node *from = tf_def(g, n->src[i]);
        for (uint32_t r = 0; r < TF_MAX_RESULTS; r++) all[r] = (tf_ref_tensor){ 0 };
        status = host_node(g, n->src[i], allocator, depth - 1, all, error);
        if (status != TUFF_OK) break;
        src[i] = all[n->src[i] - from->out];
        p[i] = &src[i];
        for (uint32_t r = 0; r < from->n_out; r++)
            if (from->out + r != n->src[i]) tf_ref_release(&all[r], allocator);
    }
    if (status == TUFF_OK) status = tf_eval_node(g, n, p, NULL, allocator, out, &scratch, error);
    for (uint32_t i = 0; src && i < n->n_src; i++) tf_ref_release(&src[i], allocator);
    tf_arena_release(&scratch);
    return status;
}

tuff_status tf_host_values(const tuff_graph *g, uint32_t value, double *out, const char **error)
{
    tf_ref_tensor all[TF_MAX_RESULTS] = { { 0 } };
    const tf_node *n = tf_def(g, value);
    *error = "";
    const tuff_status status = host_node(g, value, &g->arena.allocator, HOST_DEPTH, all, error);
    const tf_ref_tensor *t = &all[value - n->out];
    if (status == TUFF_OK && t->n) memcpy(out, t->re, (size_t)t->n * sizeof *out);
    for (uint32_t r = 0; r < n->n_out && status == TUFF_OK; r++) tf_ref_release(&all[r], &g->arena.allocator);
    if (status == TUFF_E_MEMORY) *error = tuff_status_text(status);
    return status;
}

tuff_status tuff_host_value(tuff_tensor t, double *out, size_t count)
{
    const char *error;
    uint64_t n;
    if (!t.graph || !t.id || t.id > t.graph->values.n) return TUFF_E_ARGUMENT;
    if (!tf_count_bound(t.graph, tf_type_of(t.graph, t.id), &n) || n != count || !out) return TUFF_E_ARGUMENT;
    return tf_host_values(t.graph, t.id, out, &error);
}

/* ---- interpreter ---- */

static tuff_status failed(tf_interp *in, tuff_status status, const char *format, ...) TF_PRINTF(3, 4);
static tuff_status failed(tf_interp *in, tuff_status status, const char *format, ...)
{
    tf_str s;
    va_list args;
    tf_str_init(&s, &in->allocator);
    va_start(args, format);
    tf_str_vprintf(&s, format, args);
    va_end(args);
    const char *text = s.data && !s.failed ? tf_arena_string(&in->arena, s.data) : NULL;
    in->error = text ? text : tuff_status_text(status);
    tf_str_release(&s);
    return status;
}

tf_interp *tf_interp_create(const tuff_graph *g, const tuff_allocator *allocator)
{
    const tuff_allocator a = allocator ? *allocator : (tuff_allocator){ 0 };
    tf_interp *in = tf_alloc(&a, sizeof *in);
    if (!in)
        return NULL;
    in->g = g;
    in->allocator = a;
    tf_arena_init(&in->arena, &a);
    in->values = tf_arena_array(&in->arena, tf_ref_tensor, g->values.n);
    in->present = tf_arena_array(&in->arena, bool, g->values.n);
    in->keep = tf_arena_array(&in->arena, bool, g->values.n);
    in->readers = tf_arena_array(&in->arena, uint32_t, g->values.n);
    in->left = tf_arena_array(&in->arena, uint32_t, g->values.n);
    in->dims = tf_arena_array(&in->arena, int64_t, g->dim_params.n);
    in->scalars = tf_arena_array(&in->arena, double, g->ports.n);
    in->ports = tf_arena_array(&in->arena, tf_ref_tensor, g->ports.n);
    in->written = tf_arena_array(&in->arena, bool, g->ports.n);
    in->error = "";
    if (in->arena.failed) {
        tf_interp_destroy(in);
        return NULL;
    }
    for (uint32_t i = 0; i < g->dim_params.n; i++)
        in->dims[i] = g->dim_params.data[i].max;
    for (uint32_t i = 0; i < g->nodes.n; i++)
        for (uint32_t k = 0; k < g->nodes.data[i].n_src; k++)
            if (g->nodes.data[i].src[k])
                in->readers[g->nodes.data[i].src[k] - 1]++;
    for (uint32_t i = 0; i < g->ports.n; i++) {
        const tf_port *p = &g->ports.data[i];
        if (p->kind == TF_PORT_SCALAR)
            in->scalars[i] = ((const tf_source_desc *)tf_def(g, p->value)->desc)->value;
        if (p->kind == TF_PORT_OUTPUT)
            in->keep[p->value - 1] = true;
        if (p->assigned)
            in->keep[p->assigned - 1] = true;
    }
    return in;
}

static void drop_values(tf_interp *in)
{
    for (uint32_t i = 0; in->values && in->present && i < in->g->values.n; i++) {
        if (in->present[i])
            tf_ref_release(&in->values[i], &in->allocator);
        in->present[i] = false;
    }
}

void tf_interp_destroy(tf_interp *in)
{
    if (!in)
        return;
    const tuff_allocator a = in->allocator;
    drop_values(in);
    for (uint32_t i = 0; in->ports && in->written && i < in->g->ports.n; i++)
        tf_ref_release(&in->ports[i], &a);
    tf_arena_release(&in->arena);
    tf_free(&a, in, sizeof *in);
}

const char *tf_interp_error(const tf_interp *in)
{
    return in->error;
}

tuff_status tf_interp_set_dim(tf_interp *in, const char *name, int64_t value)
{
    for (uint32_t i = 0; i < in->g->dim_params.n; i++) {
        const tf_dim_param *p = &in->g->dim_params.data[i];
        if (strcmp(p->name, name))
            continue;
        if (value < 0 || value > p->max)
            return failed(in, TUFF_E_ARGUMENT, "dim \"%s\" is %lld; it is from 0 to %lld", name, (long long)value, (long long)p->max);
        in->dims[i] = value;
        return TUFF_OK;
    }
    return failed(in, TUFF_E_NAME, "there is no dim \"%s\"", name);
}

/* Index of the port, or ports.n. */
static uint32_t find_port(const tf_interp *in, unsigned kinds, const char *name)
{
    const tf_port *p = tf_port_find(in->g, kinds, name);
    return p ? (uint32_t)(p - in->g->ports.data) : in->g->ports.n;
}

tuff_status tf_interp_set_scalar(tf_interp *in, const char *name, double value)
{
    const uint32_t i = find_port(in, 1u << TF_PORT_SCALAR, name);
    if (i == in->g->ports.n)
        return failed(in, TUFF_E_NAME, "there is no scalar \"%s\"", name);
    in->scalars[i] = value;
    return TUFF_OK;
}

tuff_status tf_interp_write(tf_interp *in, const char *name, const void *data, size_t bytes)
{
    const uint32_t i = find_port(in, 1u << TF_PORT_INPUT | 1u << TF_PORT_STATE | 1u << TF_PORT_CONST, name);
    if (i == in->g->ports.n)
        return failed(in, TUFF_E_NAME, "there is no input, state or constant \"%s\"", name);
    tf_ref_tensor t;
    if (!tf_ref_create(&t, in->g, tf_type_of(in->g, in->g->ports.data[i].value), in->dims, &in->allocator))
        return failed(in, TUFF_E_MEMORY, "out of host memory");
    if (tf_ref_bytes(&t) != bytes) {
        const unsigned long long need = tf_ref_bytes(&t);
        tf_ref_release(&t, &in->allocator);
        return failed(in, TUFF_E_ARGUMENT, "\"%s\" takes %llu bytes, not %llu", name, need, (unsigned long long)bytes);
    }
    tf_ref_decode(&t, data);
    tf_ref_release(&in->ports[i], &in->allocator);
    in->ports[i] = t;
    in->written[i] = true;
    return TUFF_OK;
}

void tf_interp_keep(tf_interp *in, uint32_t value)
{
    if (value == 0)
        in->keep_all = true;
    else if (value <= in->g->values.n)
        in->keep[value - 1] = true;
}

static bool same_shape(const tf_ref_tensor *a, const tf_ref_tensor *b)
{
    if (a->rank != b->rank)
        return false;
    for (int32_t i = 0; i < a->rank; i++)
        if (a->dim[i] != b->dim[i])
            return false;
    return true;
}

/* The value of an input, state, constant or scalar. */
static tuff_status eval_source(tf_interp *in, const tf_node *node)
{
    tf_ref_tensor *t = &in->values[node->out - 1];
    const tf_source_desc *d = node->desc;
    if (!tf_ref_create(t, in->g, tf_type_of(in->g, node->out), in->dims, &in->allocator))
        return failed(in, TUFF_E_MEMORY, "out of host memory");
    in->present[node->out - 1] = true;
    uint32_t port = 0;
    while (port < in->g->ports.n && (in->g->ports.data[port].value != node->out || in->g->ports.data[port].kind == TF_PORT_OUTPUT))
        port++;
    const bool written = port < in->g->ports.n && in->written[port];
    if (written) {
        const tf_ref_tensor *from = &in->ports[port];
        if (!same_shape(from, t))
            return failed(in, TUFF_E_STATE, "%s \"%s\" was written at other dims than the run's", node->op->name, d->name);
        if (t->n)
            memcpy(t->re, from->re, (size_t)t->n * sizeof(double));
        if (t->im)
            memcpy(t->im, from->im, (size_t)t->n * sizeof(double));
    } else if (node->op == &tf_op_input && t->n) {
        return failed(in, TUFF_E_STATE, "input \"%s\" was never written", d->name);
    } else if (node->op == &tf_op_const) {
        tf_ref_decode(t, d->data);
    } else if (node->op == &tf_op_literal) {
        t->re[0] = tf_round_to(t->dtype, d->value);
    } else if (node->op == &tf_op_scalar) {
        t->re[0] = tf_round_to(t->dtype, in->scalars[port]);
    }
    return TUFF_OK;
}

static tuff_status eval_node(tf_interp *in, const tf_node *node)
{
    const tf_ref_tensor *src[TF_MAX_OPERANDS] = { 0 };
    tf_ref_tensor out[TF_MAX_RESULTS];
    const char *error = "";
    for (uint32_t i = 0; i < node->n_src; i++)
        src[i] = node->src[i] ? &in->values[node->src[i] - 1] : NULL;
    tf_arena scratch;
    tf_arena_init(&scratch, &in->allocator);
    const tuff_status status = tf_eval_node(in->g, node, src, in->dims, &in->allocator, out, &scratch, &error);
    if (status != TUFF_OK)
        failed(in, status, "%s: %s", node->op->name, error); /* error may lie in scratch */
    tf_arena_release(&scratch);
    if (status != TUFF_OK)
        return status;
    for (uint32_t i = 0; i < node->n_out; i++) {
        in->values[node->out - 1 + i] = out[i];
        in->present[node->out - 1 + i] = true;
    }
    return TUFF_OK;
}

static void drop_if_unused(tf_interp *in, uint32_t value)
{
    const uint32_t v = value - 1;
    if (in->left[v] == 0 && !in->keep[v] && !in->keep_all && in->present[v]) {
        tf_ref_release(&in->values[v], &in->allocator);
        in->present[v] = false;
    }
}

static tuff_status commit_states(tf_interp *in)
{
    for (uint32_t i = 0; i < in->g->ports.n; i++) {
        const tf_port *p = &in->g->ports.data[i];
        if (p->kind != TF_PORT_STATE || !p->assigned || !in->present[p->assigned - 1])
            continue; /* the last: assigned in a loop that never ran */
        tf_ref_tensor t;
        if (!copy_tensor(&t, &in->values[p->assigned - 1], &in->allocator))
            return failed(in, TUFF_E_MEMORY, "out of host memory");
        tf_ref_release(&in->ports[i], &in->allocator);
        in->ports[i] = t;
        in->written[i] = true;
    }
    return TUFF_OK;
}

/* ---- loops ---- */

static void forget(tf_interp *in, uint32_t value)
{
    if (in->present[value - 1])
        tf_ref_release(&in->values[value - 1], &in->allocator);
    in->present[value - 1] = false;
}

static tuff_status set_value(tf_interp *in, uint32_t value, const tf_ref_tensor *from)
{
    tf_ref_tensor t;
    if (!copy_tensor(&t, from, &in->allocator))
        return failed(in, TUFF_E_MEMORY, "out of host memory");
    forget(in, value);
    in->values[value - 1] = t;
    in->present[value - 1] = true;
    return TUFF_OK;
}

static tuff_status run_range(tf_interp *in, uint32_t first, uint32_t end, uint32_t region);

/* Nodes behind a loop that collect a value of it: rows of zeros until an iteration fills them. */
static tuff_status for_stacked(tf_interp *in, uint32_t end, uint32_t region, int64_t row)
{
    for (uint32_t n = end; n < in->g->nodes.n; n++) {
        const tf_node *x = &in->g->nodes.data[n];
        if (x->op != &tf_op_stacked || tf_def(in->g, x->src[0])->region != region)
            continue;
        tf_ref_tensor *all = &in->values[x->out - 1];
        const tf_ref_tensor *one = &in->values[x->src[0] - 1];
        if (row < 0) {
            forget(in, x->out);
            if (!tf_ref_create(all, in->g, tf_type_of(in->g, x->out), in->dims, &in->allocator))
                return failed(in, TUFF_E_MEMORY, "out of host memory");
            in->present[x->out - 1] = true;
        } else if (one->n) {
            memcpy(all->re + (size_t)row * one->n, one->re, (size_t)one->n * sizeof(double));
            if (one->im)
                memcpy(all->im + (size_t)row * one->n, one->im, (size_t)one->n * sizeof(double));
        }
    }
    return TUFF_OK;
}

/* The next values become the carried ones, all at once; states assigned inside are read by the next iteration. */
static tuff_status advance(tf_interp *in, uint32_t region)
{
    const tf_region *r = &in->g->regions.data[region - 1];
    tuff_status s = TUFF_OK;
    tf_arena scratch;
    tf_arena_init(&scratch, &in->allocator);
    tf_ref_tensor *next = tf_arena_array(&scratch, tf_ref_tensor, r->carries.n);
    if (!next)
        s = failed(in, TUFF_E_MEMORY, "out of host memory");
    for (uint32_t i = 0; i < r->carries.n && s == TUFF_OK; i++)
        if (!copy_tensor(&next[i], &in->values[r->carries.data[i].next - 1], &in->allocator))
            s = failed(in, TUFF_E_MEMORY, "out of host memory");
    for (uint32_t i = 0; next && i < r->carries.n; i++) {
        const uint32_t v = r->carries.data[i].value;
        if (s == TUFF_OK) {
            forget(in, v);
            in->values[v - 1] = next[i];
            in->present[v - 1] = true;
        } else
            tf_ref_release(&next[i], &in->allocator);
    }
    for (uint32_t i = 0; i < in->g->ports.n && s == TUFF_OK; i++) {
        const tf_port *p = &in->g->ports.data[i];
        if (p->assigned && in->present[p->assigned - 1] && tf_region_within(in->g, tf_def(in->g, p->assigned)->region, region))
            s = set_value(in, p->value, &in->values[p->assigned - 1]);
    }
    tf_arena_release(&scratch);
    return s;
}

static tuff_status run_iterations(tf_interp *in, uint32_t first, uint32_t end, uint32_t region)
{
    const tf_region *r = &in->g->regions.data[region - 1];
    tuff_status s = for_stacked(in, end, region, -1);
    for (uint32_t i = 0; i < r->carries.n && s == TUFF_OK; i++) {
        const uint32_t v = r->carries.data[i].value;
        s = set_value(in, v, &in->values[tf_def(in->g, v)->src[0] - 1]);
    }
    for (int64_t it = 0; it < r->count && s == TUFF_OK; it++) {
        if (r->is_while && !in->values[r->carries.data[r->carries.n - 2].value - 1].re[0])
            break;
        for (uint32_t n = first; n < end && s == TUFF_OK; n++) {
            const tf_node *x = &in->g->nodes.data[n];
            double index = (double)it;
            if (x->op == &tf_op_step && x->region == region)
                s = set_value(in, x->out, &(tf_ref_tensor){ .dtype = TUFF_I32, .n = 1, .re = &index });
        }
        if (s == TUFF_OK)
            s = run_range(in, first, end, region);
        if (s == TUFF_OK)
            s = for_stacked(in, end, region, it);
        if (s == TUFF_OK)
            s = advance(in, region);
    }
    return s;
}

/* States have their value at the start of the run again behind the loop. */
static tuff_status run_loop(tf_interp *in, uint32_t first, uint32_t end, uint32_t region)
{
    tuff_status s = TUFF_OK;
    tf_arena scratch;
    tf_arena_init(&scratch, &in->allocator);
    tf_ref_tensor *saved = tf_arena_array(&scratch, tf_ref_tensor, in->g->ports.n);
    bool *is_saved = tf_arena_array(&scratch, bool, in->g->ports.n);
    if (scratch.failed)
        s = failed(in, TUFF_E_MEMORY, "out of host memory");
    for (uint32_t i = 0; i < in->g->ports.n && s == TUFF_OK; i++) {
        const tf_port *p = &in->g->ports.data[i];
        if (!p->assigned || !tf_region_within(in->g, tf_def(in->g, p->assigned)->region, region))
            continue;
        is_saved[i] = copy_tensor(&saved[i], &in->values[p->value - 1], &in->allocator);
        if (!is_saved[i])
            s = failed(in, TUFF_E_MEMORY, "out of host memory");
    }
    if (s == TUFF_OK)
        s = run_iterations(in, first, end, region);
    for (uint32_t i = 0; is_saved && i < in->g->ports.n; i++) {
        if (!is_saved[i])
            continue;
        if (s == TUFF_OK)
            s = set_value(in, in->g->ports.data[i].value, &saved[i]);
        tf_ref_release(&saved[i], &in->allocator);
    }
    tf_arena_release(&scratch);
    return s;
}

static tuff_status run_node(tf_interp *in, const tf_node *node)
{
    if (node->op == &tf_op_carry || node->op == &tf_op_step || node->op == &tf_op_stacked)
        return TUFF_OK; /* set by the loop */
    if (node->op == &tf_op_leave)
        return set_value(in, node->out, &in->values[node->src[0] - 1]);
    for (uint32_t i = 0; i < node->n_out && in->g->regions.n; i++)
        forget(in, node->out + i);
    return node->op->kind == TF_SOURCE ? eval_source(in, node) : eval_node(in, node);
}

/* Nodes [first, end) of a region and, where one begins, the loops in it. */
static tuff_status run_range(tf_interp *in, uint32_t first, uint32_t end, uint32_t region)
{
    for (uint32_t i = first; i < end; i++) {
        const tf_node *node = &in->g->nodes.data[i];
        tuff_status status;
        if (node->region != region) {
            uint32_t inner = node->region, behind = i;
            while (in->g->regions.data[inner - 1].parent != region)
                inner = in->g->regions.data[inner - 1].parent;
            while (behind < end && tf_region_within(in->g, in->g->nodes.data[behind].region, inner))
                behind++;
            if ((status = run_loop(in, i, behind, inner)) != TUFF_OK)
                return status;
            i = behind - 1;
            continue;
        }
        if ((status = run_node(in, node)) != TUFF_OK)
            return status;
        if (in->g->regions.n) /* an iteration reads what the one before has read */
            continue;
        for (uint32_t k = 0; k < node->n_src; k++)
            if (node->src[k]) {
                in->left[node->src[k] - 1]--;
                drop_if_unused(in, node->src[k]);
            }
        for (uint32_t k = 0; k < node->n_out; k++)
            drop_if_unused(in, node->out + k);
    }
    return TUFF_OK;
}

tuff_status tf_interp_run(tf_interp *in)
{
    drop_values(in);
    memcpy(in->left, in->readers, in->g->values.n * sizeof *in->left);
    const tuff_status status = run_range(in, 0, in->g->nodes.n, 0);
    return status == TUFF_OK ? commit_states(in) : status;
}

const tf_ref_tensor *tf_interp_value(const tf_interp *in, uint32_t value)
{
    return value >= 1 && value <= in->g->values.n && in->present[value - 1] ? &in->values[value - 1] : NULL;
}

const tf_ref_tensor *tf_interp_get(const tf_interp *in, const char *name)
{
    const uint32_t i = find_port(in, 1u << TF_PORT_OUTPUT | 1u << TF_PORT_STATE, name);
    if (i == in->g->ports.n)
        return NULL;
    const tf_port *p = &in->g->ports.data[i];
    if (p->kind == TF_PORT_OUTPUT)
        return tf_interp_value(in, p->value);
    return in->written[i] ? &in->ports[i] : tf_interp_value(in, p->value);
}

tuff_status tf_interp_read(tf_interp *in, const char *name, void *data, size_t bytes)
{
    const tf_ref_tensor *t = tf_interp_get(in, name);
    if (!t)
        return failed(in, TUFF_E_NAME, "there is no output or state \"%s\" with a value", name);
    if (tf_ref_bytes(t) != bytes)
        return failed(in, TUFF_E_ARGUMENT, "\"%s\" has %llu bytes, not %llu", name, (unsigned long long)tf_ref_bytes(t), (unsigned long long)bytes);
    if (bytes)
        memset(data, 0, bytes);
    tf_ref_encode(t, data);
    return TUFF_OK;
}

tuff_status tf_interp_describe(const tf_interp *in, const char *name, size_t *bytes, tuff_dtype *dtype, tuff_shape *shape)
{
    const tf_port *p = tf_port_find(in->g, 1u << TF_PORT_INPUT | 1u << TF_PORT_OUTPUT | 1u << TF_PORT_STATE, name);
    if (!p)
        return TUFF_E_NAME;
    const tf_type *t = tf_type_of(in->g, p->value);
    tuff_shape s = { .rank = t->rank };
    uint64_t n = 1;
    for (int32_t i = 0; i < t->rank; i++) {
        s.dim[i] = tf_dim_eval(in->g, t->dim[i], in->dims);
        n *= (uint64_t)s.dim[i];
    }
    if (bytes)
        *bytes = (size_t)((n * tf_dtype_bits(t->dtype) + 7) / 8);
    if (dtype)
        *dtype = t->dtype;
    if (shape)
        *shape = s;
    return TUFF_OK;
}
