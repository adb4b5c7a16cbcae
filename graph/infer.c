/* infer.c - what the rows' inference functions share: messages that name operands, broadcasting, axes, and the
 * dtype rule of pointwise rows. */
#include "op.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

bool tf_bad(tf_infer *c, tuff_status status, const char *format, ...)
{
    tf_str s;
    tf_str_init(&s, &c->g->arena.allocator);
    va_list args;
    va_start(args, format);
    tf_str_vprintf(&s, format, args);
    va_end(args);
    tf_fail(c->g, s.data ? status : TUFF_E_MEMORY, "%s: %s", c->op->name, s.data ? s.data : "out of host memory");
    tf_str_release(&s);
    return false;
}

const char *tf_src_text(tf_infer *c, uint32_t i)
{
    char name[64];
    tf_src_name(c->op, c->n_src, c->desc, i, name, sizeof name);
    const char *what = i < c->n_src && c->src[i] ? tf_describe_value(c->g, c->src[i]) : "absent";
    const char *text = tf_arena_printf(&c->g->arena, "%s = %s", name, what);
    return text ? text : "?";
}

bool tf_broadcast(tf_infer *c, const tf_type *a, const tf_type *b, tf_type *out)
{
    tf_type r = *out;
    r.rank = TF_MAX(a->rank, b->rank);
    for (int32_t i = 0; i < r.rank; i++) {
        const int32_t ia = i - (r.rank - a->rank), ib = i - (r.rank - b->rank);
        const int64_t da = ia < 0 ? 1 : a->dim[ia], db = ib < 0 ? 1 : b->dim[ib];
        if (da != db && da != 1 && db != 1)
            return tf_bad(c, TUFF_E_SHAPE, "%s and %s do not broadcast: axis %d has %s and %s", tf_type_text(c->g, a), tf_type_text(c->g, b),
                          (int)(i - r.rank), tf_dim_text(c->g, da), tf_dim_text(c->g, db));
        r.dim[i] = da == 1 ? db : da;
    }
    *out = r;
    return true;
}

bool tf_axis(tf_infer *c, int64_t axis, int32_t rank, int32_t *out)
{
    if (axis < -(int64_t)rank || axis >= rank) {
        if (rank == 0)
            return tf_bad(c, TUFF_E_ATTRIBUTE, "axis %lld is given, but the operand has rank 0", (long long)axis);
        return tf_bad(c, TUFF_E_ATTRIBUTE, "axis is %lld; for rank %d it is from %d to %d", (long long)axis, (int)rank, (int)-rank, (int)rank - 1);
    }
    *out = (int32_t)(axis < 0 ? axis + rank : axis);
    return true;
}

unsigned tf_dtype_class(tuff_dtype t)
{
    if (tf_dtype_is_float(t))
        return TF_CLS_FLOAT;
    if (tf_dtype_is_int(t))
        return TF_CLS_INT;
    return t == TUFF_BOOL ? TF_CLS_BOOL : t == TUFF_C64 ? TF_CLS_COMPLEX : 0;
}

static bool implied_literal(const tf_infer *c, uint32_t i)
{
    const tf_node *n = tf_def(c->g, c->src[i]);
    return n->op == &tf_op_literal && ((const tf_source_desc *)n->desc)->implied;
}

/* Replaces literal source i by one of dtype t. */
static bool adapt(tf_infer *c, uint32_t i, tuff_dtype t)
{
    tf_source_desc d = *(const tf_source_desc *)tf_def(c->g, c->src[i])->desc;
    if (c->type[i]->dtype == t)
        return true;
    if (!tf_dtype_class(t))
        return tf_bad(c, TUFF_E_DTYPE, "there is no arithmetic in %s; cast it first", tuff_dtype_name(t));
    if ((tf_dtype_is_int(t) || t == TUFF_BOOL) && !(isfinite(d.value) && tf_round_to(t, d.value) == d.value))
        return tf_bad(c, TUFF_E_DTYPE, "%g is not a value of %s, the dtype of the other operand", d.value, tuff_dtype_name(t));
    d.dtype = t;
    d.implied = true;
    const tuff_tensor lit = tf_add_sources(c->g, &tf_op_literal, NULL, 0, &d);
    if (!lit.id)
        return false;
    ((uint32_t *)c->src)[i] = lit.id; /* the node's own list: infer runs before the node exists */
    ((const tf_type **)c->type)[i] = tf_type_of(c->g, lit.id);
    return true;
}

static const char *class_names(unsigned classes, char buffer[48])
{
    snprintf(buffer, 48, "%s%s%s%s", classes & TF_CLS_FLOAT ? " float" : "", classes & TF_CLS_INT ? " int" : "",
             classes & TF_CLS_BOOL ? " bool" : "", classes & TF_CLS_COMPLEX ? " c64" : "");
    return buffer;
}

bool tf_unify(tf_infer *c, uint32_t first, uint32_t n, tf_type *out)
{
    uint32_t lead = first;
    while (lead < first + n && implied_literal(c, lead))
        lead++;
    if (lead == first + n)
        lead = first;
    const tuff_dtype t = c->type[lead]->dtype;
    for (uint32_t i = first; i < first + n; i++) {
        if (implied_literal(c, i) && !adapt(c, i, t))
            return false;
        if (c->type[i]->dtype != t)
            return tf_bad(c, TUFF_E_DTYPE, "the operands' dtypes differ; cast one of them (%s; %s)", tf_src_text(c, lead), tf_src_text(c, i));
    }
    char names[48];
    const bool any = c->op->result == TF_RESULT_ATTR && c->op->kind == TF_POINTWISE; /* cast also reads storage-only dtypes */
    const unsigned classes = c->op->classes ? c->op->classes : TF_CLS_ANY;
    if (!any && !tf_dtype_class(t))
        return tf_bad(c, TUFF_E_DTYPE, "%s is for storage only; cast it first (%s)", tuff_dtype_name(t), tf_src_text(c, lead));
    if (!any && !(tf_dtype_class(t) & classes))
        return tf_bad(c, TUFF_E_DTYPE, "%s is not among its dtypes:%s (%s)", tuff_dtype_name(t), class_names(classes, names), tf_src_text(c, lead));
    *out = *c->type[first];
    for (uint32_t i = first + 1; i < first + n; i++)
        if (!tf_broadcast(c, out, c->type[i], out))
            return false;
    out->dtype = t;
    return true;
}

bool tf_infer_single(tf_infer *c, uint32_t i)
{
    const tf_type *t = i < c->n_src ? c->type[i] : NULL;
    return !t || tf_dtype_is_single(t->dtype) ||
           tf_bad(c, TUFF_E_DTYPE, "%s is not among its dtypes: f32 f16 bf16 (%s)", tuff_dtype_name(t->dtype), tf_src_text(c, i));
}

bool tf_infer_dims(tf_infer *c, uint32_t i, int32_t rank, const int64_t *dim)
{
    const tf_type *t = i < c->n_src ? c->type[i] : NULL;
    if (!t)
        return true;
    tf_type want = { .dtype = t->dtype, .rank = rank };
    memcpy(want.dim, dim, (size_t)rank * sizeof *dim);
    return tf_infer_type(c, i, &want);
}

bool tf_infer_type(tf_infer *c, uint32_t i, const tf_type *want)
{
    const tf_type *t = i < c->n_src ? c->type[i] : NULL;
    bool ok = !t || (t->dtype == want->dtype && t->rank == want->rank);
    for (int32_t a = 0; t && ok && a < want->rank; a++)
        ok = tf_dim_equal(t->dim[a], want->dim[a]);
    return ok || tf_bad(c, TUFF_E_SHAPE, "%s needs to be %s", tf_src_text(c, i), tf_type_text(c->g, want));
}
