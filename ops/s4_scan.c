/* s4_scan.c - linear time-invariant models with state: whole sequences, pieces of them, single steps.
 *
 * With constant parameters a chunk of steps is matrix products with tables from the host: its own convolution, what the state at its start adds, and
 * what its inputs add to the state at its end. Chunks then form a short recurrence of states. Parameters made on the device: one scan over
 * the steps. */
#include <string.h>

#include "anchors.h"
#include "hippo.h"
#include "ssm.h"

typedef tuff_s4_scan_desc scan_desc;

/* Sources: u lam b c dt, p d state. */
enum { U, MODES, P = 5, SKIP, STATE };

static bool infer(tf_infer *c)
{
    const scan_desc *d = c->desc;
    const tf_type *u = c->type[U], *lam = c->type[MODES], *skip = c->type[SKIP];
    tf_infer modes = *c;
    modes.type = c->type + MODES;
    modes.src = c->src + MODES;
    if (!tf_check_modes(&modes) || (c->type[P] && !tf_check_low_rank(&modes, P - MODES)))
        return false;
    if (u->dtype != TUFF_F32 && u->dtype != TUFF_F16 && u->dtype != TUFF_BF16)
        return tf_bad(c, TUFF_E_DTYPE, "%s is not among its dtypes: f32 f16 bf16 (%s)", tuff_dtype_name(u->dtype), tf_src_text(c, U));
    if (u->rank != 3 || !tf_type_is_static(u) || u->dim[1] != lam->dim[0])
        return tf_bad(c, TUFF_E_SHAPE, "u is [b,h,length] of fixed size with lam's h (%s; %s)", tf_src_text(c, U), tf_src_text(c, MODES));
    if (skip && (skip->dtype != TUFF_F32 || skip->rank != 1 || skip->dim[0] != u->dim[1]))
        return tf_bad(c, TUFF_E_SHAPE, "d is f32[h] (%s)", tf_src_text(c, SKIP));
    c->n_out = 2;
    c->out[0] = *u;
    c->out[1] = (tf_type){ TUFF_C64, 3, { u->dim[0], u->dim[1], lam->dim[1] } };
    if (!tf_infer_type(c, STATE, &c->out[1]))
        return false;
    if (c->type[P] && d->disc != TUFF_DISC_ZOH && d->disc != TUFF_DISC_BILINEAR)
        return tf_bad(c, TUFF_E_ATTRIBUTE, "disc is %s; models with p are bilinear", tf_discretizations[d->disc]);
    return true;
}

/* ---- reference: step after step ---- */

static void run_row(const tf_real_model *m, tf_ref *r, uint64_t row, double skip, double *x, double *next)
{
    const uint64_t length = (uint64_t)r->src[U]->dim[2];
    for (uint64_t t = row * length; t < (row + 1) * length; t++) {
        double y = skip * r->src[U]->re[t];
        for (uint32_t i = 0; i < m->n; i++) {
            next[i] = m->b[i] * r->src[U]->re[t];
            for (uint32_t j = 0; j < m->n; j++)
                next[i] += m->a[i * m->n + j] * x[j];
            y += m->c[i] * next[i];
        }
        memcpy(x, next, m->n * sizeof *x);
        r->out[0].re[t] = y;
    }
}

/* All rows of one feature; `modes` is r with the parameters as its first sources. */
static tuff_status run_feature(tf_ref *modes, uint64_t h, void *user)
{
    tf_ref *r = user;
    const scan_desc *d = r->desc;
    const tf_ref_tensor *state = r->src[STATE], *skip = r->src[SKIP];
    const uint64_t batch = (uint64_t)r->src[U]->dim[0], features = (uint64_t)r->src[U]->dim[1], n = (uint64_t)r->src[MODES]->dim[1];
    double *x = tf_arena_array(modes->scratch, double, 2 * n), *next = tf_arena_array(modes->scratch, double, 2 * n);
    tf_model m;
    tf_real_model real;
    if (!x || !next || !tf_model_at(modes, &(tf_model_desc){ d->disc, d->full }, h, &m))
        return TUFF_E_MEMORY;
    if (!tf_model_real(&m, &real, modes->scratch)) {
        modes->error = "I - dt A / 2 is singular for one of the features";
        return TUFF_E_ARGUMENT;
    }
    for (uint64_t b = 0; b < batch; b++) {
        const uint64_t row = b * features + h;
        for (uint64_t i = 0; i < n; i++) {
            x[i] = state ? state->re[row * n + i] : 0;
            x[n + i] = state ? state->im[row * n + i] : 0;
        }
        run_row(&real, r, row, skip ? skip->re[h] : 0, x, next);
        memcpy(r->out[1].re + row * n, x, n * sizeof *x);
        memcpy(r->out[1].im + row * n, x + n, n * sizeof *x);
    }
    return TUFF_OK;
}

static tuff_status reference(tf_ref *r)
{
    tf_ref modes = *r;
    modes.src = r->src + MODES;
    modes.n_src = 5;
    const tuff_status status = tf_each_feature(&modes, (uint64_t)r->src[U]->dim[1], run_feature, r);
    r->error = modes.error;
    return status;
}

/* ---- chunks ---- */

typedef struct chunks {
    tuff_graph *g;
    int64_t batch, features, modes;
    tuff_tensor outputs, inputs, kernel, power, rest; /* see _ssm_steps */
    bool dense;
} chunks;

static tuff_tensor cut(tuff_tensor x, int32_t axis, int64_t from, int64_t to)
{
    if (x.id && from == 0 && tf_ty(x)->dim[axis] == to)
        return x;
    return tuff_slice(x, TUFF_INTS(from), TUFF_INTS(to), &(tuff_slice_desc){ .axes = TUFF_INTS(axis) });
}

/* [h, n, ...] complex <-> [h, 2n, ...] real, real parts first. */
static tuff_tensor split_parts(tuff_tensor x) { return tuff_concat((tuff_tensor[]){ tuff_real(x), tuff_imag(x) }, 2, 1); }
static tuff_tensor join_parts(tuff_tensor x, int64_t n) { return tuff_complex(cut(x, 1, 0, n), cut(x, 1, n, 2 * n)); }

/* States [h, 2n, b, count + 1] at the starts of all chunks and behind the last, from `first` [h, 2n, b] and the chunks' own parts [h, 2n, b, count]. */
static tuff_tensor states_of(const chunks *c, tuff_tensor first, tuff_tensor added, tuff_tensor power, int64_t count)
{
    const int64_t n = c->modes;
    tuff_tensor all[64] = { tuff_unsqueeze(first, TUFF_INTS(3)) };
    if (!c->dense) {
        const tuff_tensor a = tuff_unsqueeze(power, TUFF_INTS(2, 3)), ends = tuff_linear_scan(a, join_parts(added, n), 3, &(tuff_scan_desc){ .initial = join_parts(first, n) });
        all[1] = split_parts(ends);
        return tuff_concat(all, 2, 3);
    }
    for (int64_t i = 0; i < count; i++) {
        const tuff_tensor own = cut(added, 3, i, i + 1);
        all[i + 1] = tuff_add(tuff_unsqueeze(tuff_matmul(power, first, NULL), TUFF_INTS(3)), own);
        first = tuff_squeeze(all[i + 1], &(tuff_squeeze_desc){ TUFF_INTS(3) });
    }
    return tuff_concat(all, (uint32_t)count + 1, 3);
}

/* u[b, h, count * size] from state *z [h, 2n, b], which moves on. */
static tuff_tensor run_chunks(const chunks *c, tuff_tensor u, int64_t size, int64_t count, tuff_tensor power, tuff_tensor *z)
{
    const int64_t b = c->batch, h = c->features, n2 = 2 * c->modes, block = c->kernel.id ? tf_ty(c->kernel)->dim[1] : size;
    const tuff_tensor parts = tuff_permute(tuff_reshape(u, TUFF_SHAPE(b, h, count, size)), TUFF_INTS(0, 2, 1, 3)); /* b, count, h, size */
    const tuff_tensor columns = tuff_reshape(tuff_permute(parts, TUFF_INTS(2, 3, 0, 1)), TUFF_SHAPE(h, size, b * count));
    const tuff_tensor added = tuff_reshape(tuff_matmul(cut(c->inputs, 2, block - size, block), columns, NULL), TUFF_SHAPE(h, n2, b, count));
    const tuff_tensor states = states_of(c, *z, added, power, count), starts = tuff_reshape(cut(states, 3, 0, count), TUFF_SHAPE(h, n2, b * count));
    const tuff_tensor from_state = tuff_reshape(tuff_matmul(cut(c->outputs, 1, 0, size), starts, NULL), TUFF_SHAPE(h, size, b, count));
    const tuff_tensor kernel = cut(c->kernel, 1, 0, size);
    const tuff_tensor own = size == 1 ? tuff_mul(parts, kernel) : tuff_causal_conv(parts, kernel, NULL);
    *z = tuff_squeeze(cut(states, 3, count, count + 1), &(tuff_squeeze_desc){ TUFF_INTS(3) });
    const tuff_tensor y = tuff_add(tuff_permute(own, TUFF_INTS(0, 2, 1, 3)), tuff_permute(from_state, TUFF_INTS(2, 0, 3, 1)));
    return tuff_reshape(y, TUFF_SHAPE(b, h, count * size));
}

/* Steps per chunk: matrices of use to a matmul, few enough chunks to be nodes of their own. */
static int64_t chunk_size(int64_t length)
{
    int64_t size = 256;
    while (length / size > 60)
        size *= 2;
    return TF_MIN(size, length);
}

static void lower_chunks(tf_lower *l, tuff_tensor u, tuff_tensor *y, tuff_tensor *state)
{
    const scan_desc *d = l->desc;
    const int64_t length = l->out_type->dim[2], n = tf_ty(l->src[MODES])->dim[1];
    tf_tables_desc t = { .model = { d->disc, d->full }, .p = l->src[P], .block = chunk_size(length), .length = length };
    const tuff_tensor tables = tf_add(NULL, &tf_op_ssm_steps, l->src + MODES, 4, &t);
    const chunks c = { .g = l->g, .batch = l->out_type->dim[0], .features = l->out_type->dim[1], .modes = n, .outputs = tables,
                       .inputs = tuff_result(tables, 1), .kernel = tuff_result(tables, 2), .power = tuff_result(tables, 3),
                       .rest = tuff_result(tables, 4), .dense = l->src[P].id != 0 };
    if (!tables.id)
        return;
    tuff_tensor z = split_parts(tuff_permute(*state, TUFF_INTS(1, 2, 0)));
    const int64_t count = length / t.block, rest = length % t.block, whole = count * t.block;
    *y = run_chunks(&c, cut(u, 2, 0, whole), t.block, count, c.power, &z);
    if (rest)
        *y = tuff_concat((tuff_tensor[]){ *y, run_chunks(&c, cut(u, 2, whole, length), rest, 1, c.rest, &z) }, 2, 2);
    *state = tuff_permute(join_parts(z, n), TUFF_INTS(2, 0, 1));
}

/* ---- parameters from the device ---- */

static void lower_steps(tf_lower *l, tuff_tensor u, tuff_tensor *y, tuff_tensor *state)
{
    const scan_desc *d = l->desc;
    const int64_t length = l->out_type->dim[2];
    tuff_tensor ab, bb;
    tf_discretize_on_device(l->g, d->disc, l->src[MODES], l->src[MODES + 1], l->src[MODES + 3], &ab, &bb);
    const tuff_tensor added = tuff_mul(tuff_unsqueeze(bb, TUFF_INTS(2)), tf_cast_to(tuff_unsqueeze(u, TUFF_INTS(2)), TUFF_C64));
    const tuff_tensor x = tuff_linear_scan(tuff_unsqueeze(ab, TUFF_INTS(2)), added, 3, &(tuff_scan_desc){ .initial = *state }); /* b, h, n, length */
    const tuff_tensor all = tuff_real(tuff_mul(x, tuff_unsqueeze(l->src[MODES + 2], TUFF_INTS(2))));
    *y = tuff_mul(tuff_sum(all, &(tuff_reduce_desc){ .axes = TUFF_INTS(2) }), tuff_literal(l->g, d->full ? 1 : 2, TUFF_F32));
    *state = tuff_squeeze(cut(x, 3, length - 1, length), &(tuff_squeeze_desc){ TUFF_INTS(3) });
}

static void lower(tf_lower *l)
{
    const tf_type *t = l->out_type;
    const tuff_tensor u = tf_widened(l->src[U]);
    tuff_tensor y = u, state = l->src[STATE];
    if (!state.id)
        state = tuff_expand(tuff_literal(l->g, 0, TUFF_C64), TUFF_SHAPE(t->dim[0], t->dim[1], tf_ty(l->src[MODES])->dim[1]));
    const bool constant = tf_all_constant(l->src + MODES, 4) && (!l->src[P].id || tf_is_constant(l->src[P]));
    if (!constant && l->src[P].id) {
        tf_fail(l->g, TUFF_E_ARGUMENT, "s4_scan: with p the step is made on the host when the graph is compiled, so lam, p, b, c and dt must be constants");
        return;
    }
    if (t->dim[2] > 0 && constant)
        lower_chunks(l, u, &y, &state);
    else if (t->dim[2] > 0)
        lower_steps(l, u, &y, &state);
    if (l->src[SKIP].id)
        y = tuff_add(y, tuff_mul(u, tuff_unsqueeze(l->src[SKIP], TUFF_INTS(1))));
    if (y.id)
        l->out[0] = tf_cast_to(y, t->dtype);
    l->out[1] = state;
}

static const tf_attr attrs[] = {
    TF_A(scan_desc, p, TF_ATTR_TENSOR, "c64[rank,h,n], a constant: diag(lam) - p'conj(p), bilinear; absent: diagonal"),
    TF_A(scan_desc, d, TF_ATTR_TENSOR, "f32[h]: adds d u; absent: 0"),
    TF_A(scan_desc, state, TF_ATTR_TENSOR, "c64[b,h,n]: what precedes the first step; absent: 0"),
    TF_A(scan_desc, disc, TF_ATTR_ENUM, "discretisation of diagonal models", .choices = tf_discretizations),
    TF_A(scan_desc, full, TF_ATTR_BOOL, "all modes are given; false: the half with Im >= 0, results are twice the real part"),
};
const tf_op tf_op_s4_scan = {
    .name = "s4_scan", .constants = true, .doc = "state-space steps: u[b,h,length] lam[h,n] b[h,n] c[h,n] dt[h] -> y[b,h,length], state[b,h,n], x_t = abar x_{t-1} + bbar u_t, y = 2 Re c x + d u",
    .source = "arXiv:2111.00396, arXiv:2206.11893", .operands = "u lam b c dt", .results = "y state", .kind = TF_COMPOSITE, .attrs = attrs,
    .attr_count = TF_COUNT(attrs), .desc_size = sizeof(scan_desc), .infer = infer, .lower = lower, .reference = reference, .rel = 64,
};
tuff_tensor tuff_s4_scan(tuff_tensor u, tuff_tensor lam, tuff_tensor b, tuff_tensor c, tuff_tensor dt, const tuff_s4_scan_desc *desc)
{
    return tf_add(NULL, &tf_op_s4_scan, (tuff_tensor[]){ u, lam, b, c, dt }, 5, desc);
}
