/* map.c - values computed from expressions: map, a user's own expression over named tensors, and dequant, codes to
 * numbers. Both are INDEXED rows, so they fuse into whatever reads them. */
#include "ops.h"
#include "graph/userexpr.h"

#include <string.h>

/* ---- map ----
 * Names 0 .. count-1 are the inputs, count + k is the output coordinate ik. An input used as x broadcasts into the
 * result; one that is only looked up, x[i, j], does not. */

typedef struct map_desc {
    const char *expr;
    const tuff_named *inputs;
    uint32_t count;
    const tf_uexpr *parsed; /* by infer */
} map_desc;

static const char *const coordinates[TUFF_MAX_RANK] = { "i0", "i1", "i2", "i3", "i4", "i5", "i6", "i7" };

static bool map_names(tf_infer *c, const map_desc *d, tf_uname *names)
{
    for (uint32_t i = 0; i < d->count; i++) {
        const tf_type *t = c->type[i];
        for (int k = 0; k < TUFF_MAX_RANK; k++)
            if (!strcmp(d->inputs[i].name, coordinates[k]))
                return tf_bad(c, TUFF_E_NAME, "an input is called %s, which is an output coordinate", coordinates[k]);
        names[i] = (tf_uname){ .name = d->inputs[i].name, .dtype = t->dtype, .value = true, .lookup = t->rank > 0, .rank = t->rank, .dim = t->dim };
    }
    for (uint32_t k = 0; k < TUFF_MAX_RANK; k++) names[d->count + k] = (tf_uname){ .name = coordinates[k], .dtype = TUFF_I32, .value = true };
    return true;
}

/* Does the expression use input i as a plain value? */
static bool plainly_used(const tf_uexpr *e, uint32_t i)
{
    for (uint32_t k = 0; k < e->n; k++)
        if (e->node[k].kind == TF_U_NAME && e->node[k].name == i) return true;
    return false;
}

static bool map_infer(tf_infer *c)
{
    map_desc *d = c->mut;
    tf_uname names[TF_MAX_OPERANDS + TUFF_MAX_RANK];
    const char *message = NULL;
    if (d->count == 0) return tf_bad(c, TUFF_E_ARGUMENT, "there are no inputs; their shapes give the shape of the result");
    if (!map_names(c, d, names)) return false;
    d->parsed = tf_uexpr_parse(&c->g->arena, d->expr, names, d->count + TUFF_MAX_RANK, &message);
    if (!d->parsed) return tf_bad(c, message ? TUFF_E_PARSE : TUFF_E_MEMORY, "%s", message ? message : "out of host memory");
    bool any = false;
    for (uint32_t i = 0; i < d->count; i++) any |= plainly_used(d->parsed, i);
    tf_type *y = &c->out[0];
    *y = (tf_type){ .dtype = d->parsed->dtype };
    for (uint32_t i = 0; i < d->count; i++)
        if ((!any || plainly_used(d->parsed, i)) && !tf_broadcast(c, y, c->type[i], y)) return false;
    for (int32_t k = y->rank; k < TUFF_MAX_RANK; k++)
        if (tf_uexpr_uses(d->parsed, d->count + (uint32_t)k))
            return tf_bad(c, TUFF_E_PARSE, "%s is used, but the result has rank %d", coordinates[k], (int)y->rank);
    return true;
}

static tf_ex map_value(void *user, uint32_t name)
{
    tf_view_map *m = user;
    const map_desc *d = m->desc;
    tf_ex coords[TUFF_MAX_RANK];
    if (name >= d->count) return tf_ex_to_value(m->x, m->out[name - d->count]);
    tf_broadcast_coords(m->x, tf_type_of(m->g, m->node->src[name]), m->out, m->out_type->rank, coords);
    return m->operand(m, name, coords);
}
static tf_ex map_index(void *user, uint32_t name)
{
    tf_view_map *m = user;
    const map_desc *d = m->desc;
    return name >= d->count ? m->out[name - d->count] : 0;
}
static tf_ex map_lookup(void *user, uint32_t name, const tf_ex *coords)
{
    tf_view_map *m = user;
    return m->operand(m, name, coords);
}
static tf_ex map_expr(tf_view_map *m)
{
    const tf_ubuild b = { .x = m->x, .user = m, .value = map_value, .index = map_index, .lookup = map_lookup };
    return tf_uexpr_build(((const map_desc *)m->desc)->parsed, &b);
}

typedef struct map_at { const tf_ref *r; const int64_t *at; } map_at;

static tf_scalar map_scalar(void *user, uint32_t name)
{
    const map_at *e = user;
    const uint32_t count = ((const map_desc *)e->r->desc)->count;
    if (name >= count) return (tf_scalar){ (double)e->at[name - count], 0 };
    const tf_ref_tensor *x = e->r->src[name];
    int64_t from[TUFF_MAX_RANK];
    for (int32_t i = 0; i < x->rank; i++) from[i] = x->dim[i] == 1 ? 0 : e->at[i + e->r->out[0].rank - x->rank];
    const uint64_t k = tf_ref_index(x, from);
    return (tf_scalar){ x->re[k], x->im ? x->im[k] : 0 };
}

static tuff_status map_reference(tf_ref *r)
{
    const map_desc *d = r->desc;
    tf_ref_tensor *y = &r->out[0];
    int64_t at[TUFF_MAX_RANK] = { 0 };
    map_at user = { r, at };
    const tf_ref_tensor **tensor = tf_arena_array(r->scratch, const tf_ref_tensor *, (size_t)d->count + TUFF_MAX_RANK);
    const tf_ueval env = { .user = &user, .value = map_scalar, .tensor = tensor, .scratch = tf_arena_array(r->scratch, tf_scalar, d->parsed->n) };
    if (!tensor || !env.scratch) return TUFF_E_MEMORY;
    for (uint32_t i = 0; i < d->count; i++) tensor[i] = r->src[i];
    for (uint64_t i = 0; i < y->n; i++, tf_ref_next(y, at)) {
        const tf_scalar v = tf_uexpr_eval(d->parsed, &env);
        y->re[i] = v.re;
        if (y->im) y->im[i] = v.im;
    }
    return TUFF_OK;
}

static const tf_attr map_attrs[] = {
    TF_A(map_desc, expr, TF_ATTR_STRING, "the expression over the inputs and the output coordinates i0, i1, ...", .required = true),
    { .name = "inputs", .doc = "tensors by the names the expression uses", .type = TF_ATTR_NAMED, .offset = (uint32_t)offsetof(map_desc, inputs),
      .offset2 = (uint32_t)offsetof(map_desc, count) },
};
const tf_op tf_op_map = { .name = "map", .doc = "a pointwise expression over named tensors, which broadcast", .operands = "", .kind = TF_INDEXED,
    .attrs = map_attrs, .attr_count = TF_COUNT(map_attrs), .desc_size = sizeof(map_desc), .infer = map_infer, .reference = map_reference,
    .expr = map_expr };

tuff_tensor tuff_map(tuff_graph *g, const char *expr, uint32_t n, const tuff_named *inputs)
{
    return tf_add(g, &tf_op_map, NULL, 0, &(map_desc){ .expr = expr, .inputs = inputs, .count = n });
}

/* ---- dequant ---- */

/* scale and zero: one per group of the last axis, or broadcast. */
static bool dequant_operand(tf_infer *c, uint32_t i, int32_t group)
{
    const tf_type *x = c->type[0], *s = c->type[i];
    if (!tf_dtype_is_float(s->dtype) && !tf_dtype_is_int(s->dtype))
        return tf_bad(c, TUFF_E_DTYPE, "%s is neither float nor integer", tf_src_text(c, i));
    tf_type want = *x;
    if (group == 0) {
        if (s->rank > x->rank) return tf_bad(c, TUFF_E_SHAPE, "%s has a higher rank than %s", tf_src_text(c, i), tf_src_text(c, 0));
        for (int32_t k = 0; k < s->rank; k++)
            if (s->dim[k] != 1 && !tf_dim_equal(s->dim[k], x->dim[k + x->rank - s->rank]))
                return tf_bad(c, TUFF_E_SHAPE, "%s does not broadcast to %s", tf_src_text(c, i), tf_src_text(c, 0));
        return true;
    }
    int64_t *last = &want.dim[x->rank - 1];
    *last = tf_dim_bin(c->g, TUFF_DIM_FLOORDIV, tf_dim_bin(c->g, TUFF_DIM_ADD, *last, group - 1), group);
    bool same = s->rank == want.rank;
    for (int32_t k = 0; same && k < s->rank; k++) same = s->dim[k] == 1 || tf_dim_equal(s->dim[k], want.dim[k]);
    want.dtype = s->dtype;
    return same || tf_bad(c, TUFF_E_SHAPE, "%s must have the shape %s for groups of %d, or 1 in its place", tf_src_text(c, i), tf_type_text(c->g, &want), (int)group);
}

typedef struct dequant_desc { tuff_tensor zero; int32_t group; tuff_dtype dtype; } dequant_desc;

static bool dequant_infer(tf_infer *c)
{
    const dequant_desc *d = c->desc;
    if (c->type[0]->dtype == TUFF_C64 || c->type[0]->dtype == TUFF_BOOL || c->type[0]->dtype == TUFF_F64)
        return tf_bad(c, TUFF_E_DTYPE, "codes cannot be %s (%s)", tuff_dtype_name(c->type[0]->dtype), tf_src_text(c, 0));
    if (d->dtype != TUFF_DTYPE_NONE && d->dtype != TUFF_F32 && d->dtype != TUFF_F16 && d->dtype != TUFF_BF16)
        return tf_bad(c, TUFF_E_ATTRIBUTE, "dtype is %s; it is f32, f16 or bf16", tuff_dtype_name(d->dtype));
    if (d->group > 0 && c->type[0]->rank == 0) return tf_bad(c, TUFF_E_SHAPE, "%s has no axis to group", tf_src_text(c, 0));
    if (!dequant_operand(c, 1, d->group) || (c->n_src > 2 && c->src[2] && !dequant_operand(c, 2, d->group))) return false;
    c->out[0] = *c->type[0];
    c->out[0].dtype = d->dtype ? d->dtype : TUFF_F32;
    return true;
}
static tf_ex dequant_part(tf_view_map *m, uint32_t i)
{
    const int32_t group = ((const dequant_desc *)m->desc)->group, rank = m->out_type->rank;
    tf_ex at[TUFF_MAX_RANK], coords[TUFF_MAX_RANK];
    memcpy(at, m->out, (size_t)rank * sizeof *at);
    if (group) at[rank - 1] = tf_ex_div(m->x, at[rank - 1], tf_ex_int(m->x, group));
    tf_broadcast_coords(m->x, tf_type_of(m->g, m->node->src[i]), at, rank, coords);
    return tf_ex_cast(m->x, m->operand(m, i, coords), TUFF_F32);
}
static tf_ex dequant_expr(tf_view_map *m)
{
    tf_ex v = tf_ex_cast(m->x, m->operand(m, 0, m->out), TUFF_F32);
    if (m->node->n_src > 2 && m->node->src[2]) v = tf_ex_apply(m->x, &tf_op_sub, TUFF_F32, NULL, v, dequant_part(m, 2), 0);
    return tf_ex_cast(m->x, tf_ex_apply(m->x, &tf_op_mul, TUFF_F32, NULL, v, dequant_part(m, 1), 0), m->out_type->dtype);
}
static double dequant_at(const tf_ref_tensor *s, const int64_t *at, int32_t rank, int32_t group)
{
    int64_t from[TUFF_MAX_RANK];
    for (int32_t k = 0; k < s->rank; k++) {
        const int64_t v = at[k + rank - s->rank];
        from[k] = s->dim[k] == 1 ? 0 : group && k + 1 == s->rank ? v / group : v;
    }
    return s->re[tf_ref_index(s, from)];
}
static tuff_status dequant_reference(tf_ref *r)
{
    const int32_t group = ((const dequant_desc *)r->desc)->group;
    tf_ref_tensor *y = &r->out[0];
    int64_t at[TUFF_MAX_RANK] = { 0 };
    for (uint64_t i = 0; i < y->n; i++, tf_ref_next(y, at)) {
        const double zero = r->n_src > 2 && r->src[2] ? dequant_at(r->src[2], at, y->rank, group) : 0;
        y->re[i] = (r->src[0]->re[i] - zero) * dequant_at(r->src[1], at, y->rank, group);
    }
    return TUFF_OK;
}

static const tf_attr dequant_attrs[] = {
    TF_A(dequant_desc, zero, TF_ATTR_TENSOR, "code of the value 0, shaped like scale; absent: 0"),
    TF_A(dequant_desc, group, TF_ATTR_INT, "neighbours of the last axis that share a scale; 0: scale broadcasts", .min = 0, .max = INT32_MAX),
    TF_A(dequant_desc, dtype, TF_ATTR_DTYPE, "f32, f16 or bf16; none: f32"),
};
const tf_op tf_op_dequant = { .name = "dequant", .doc = "(codes - zero) * scale; codes[..., k], scale[..., ceil(k / group)]", .operands = "codes scale",
    .kind = TF_INDEXED, .attrs = dequant_attrs, .attr_count = TF_COUNT(dequant_attrs), .desc_size = sizeof(dequant_desc), .infer = dequant_infer,
    .reference = dequant_reference, .expr = dequant_expr, .ulp = 1 };

tuff_tensor tuff_dequant(tuff_tensor codes, tuff_tensor scale, const tuff_dequant_desc *desc)
{
    dequant_desc d = { 0 };
    if (desc) d = (dequant_desc){ desc->zero, desc->group, desc->dtype };
    return tf_add(NULL, &tf_op_dequant, (tuff_tensor[]){ codes, scale }, 2, &d);
}
