/* discretize.c - from x' = A x + B u to x_t = Abar x_{t-1} + Bbar u_t.
 *
 * Constant operands: on the host, in double precision. Otherwise a diagonal A is pointwise work whose phases are exact products
 * taken modulo a turn, and zoh needs e^z - 1 without cancellation. */
#include "hippo.h"

#include <string.h>

#include "anchors.h"
#include "ssm.h"

const char *const tf_discretizations[] = { "zoh", "bilinear", "euler_exp", "dirac", "forward", "backward", NULL };

void tf_discretize(tuff_discretization method, tf_scalar lam, double dt, tf_scalar *ab, tf_scalar *bb)
{
    const tf_scalar z = tf_cx_scale(lam, dt), one = tf_cx(1, 0);
    switch (method) {
    case TUFF_DISC_BILINEAR: {
        const tf_scalar d = tf_cx_sub(one, tf_cx_scale(z, 0.5));
        *ab = tf_cx_div(tf_cx_add(one, tf_cx_scale(z, 0.5)), d);
        *bb = tf_cx_div(tf_cx(dt, 0), d);
        return;
    }
    case TUFF_DISC_FORWARD:
        *ab = tf_cx_add(one, z);
        *bb = tf_cx(dt, 0);
        return;
    case TUFF_DISC_BACKWARD:
        *ab = tf_cx_div(one, tf_cx_sub(one, z));
        *bb = tf_cx_scale(*ab, dt);
        return;
    default: break;
    }
    *ab = tf_cx_exp(z);
    *bb = method == TUFF_DISC_DIRAC ? one : tf_cx(dt, 0);
    if (method == TUFF_DISC_ZOH && tf_cx_square(lam) > 0)
        *bb = tf_cx_div(tf_cx_expm1(z), lam);
}

/* ---- the row -------------------------------------------------------------------------------------------- */

typedef tuff_discretize_desc discretize_desc;

static bool infer_dense(tf_infer *c)
{
    const tf_type *a = c->type[0], *b = c->type[1], *dt = c->type[2];
    if (a->rank != 2 || a->dim[0] != a->dim[1] || tf_dim_is_dynamic(a->dim[0]) || a->dim[0] < 1 || a->dim[0] > 1024)
        return tf_bad(c, TUFF_E_SHAPE, "a dense a is [n,n] with n from 1 to 1024 (%s)", tf_src_text(c, 0));
    if (b->rank != 1 || b->dim[0] != a->dim[0])
        return tf_bad(c, TUFF_E_SHAPE, "b has %s; it is [n] for a dense a (%s)", tf_type_text(c->g, b), tf_src_text(c, 0));
    for (uint32_t i = 0; i < 3; i++)
        if (c->type[i]->dtype != TUFF_F32)
            return tf_bad(c, TUFF_E_DTYPE, "a dense system is f32 (%s)", tf_src_text(c, i));
    c->out[0] = (tf_type){ TUFF_F32, 3, { dt->dim[0], a->dim[0], a->dim[0] } };
    c->out[1] = (tf_type){ TUFF_F32, 2, { dt->dim[0], a->dim[0] } };
    return true;
}

static bool infer(tf_infer *c)
{
    const discretize_desc *d = c->desc;
    const tf_type *a = c->type[0], *b = c->type[1], *dt = c->type[2];
    c->n_out = 2;
    if (dt->rank != 1 || dt->dtype != TUFF_F32)
        return tf_bad(c, TUFF_E_SHAPE, "dt is f32 with one axis (%s)", tf_src_text(c, 2));
    if (d->kind == TUFF_DISCRETIZE_DENSE)
        return infer_dense(c);
    if (a->rank != 2 || a->dtype != TUFF_C64 || b->rank != 2 || b->dtype != TUFF_C64)
        return tf_bad(c, TUFF_E_SHAPE, "a diagonal a, and b, are c64[h,n] (%s; %s)", tf_src_text(c, 0), tf_src_text(c, 1));
    if (!tf_dim_equal(a->dim[0], b->dim[0]) || !tf_dim_equal(a->dim[1], b->dim[1]) || !tf_dim_equal(a->dim[0], dt->dim[0]))
        return tf_bad(c, TUFF_E_SHAPE, "a and b are [h,n], dt is [h] (%s; %s; %s)", tf_src_text(c, 0), tf_src_text(c, 1), tf_src_text(c, 2));
    c->out[0] = c->out[1] = *a;
    return true;
}

bool tf_implicit_step(const double *a, const double *b, uint32_t n, double dt, double implicit, double *ab, double *bb, tf_arena *arena)
{
    const uint32_t m = n + 1;
    double *x = tf_arena_array(arena, double, (size_t)n * n), *y = tf_arena_array(arena, double, (size_t)n * m);
    if (!x || !y)
        return false;
    for (uint32_t i = 0; i < n; i++) { /* x = I - implicit dt A; y = [I + (1 - implicit) dt A, dt B] */
        for (uint32_t k = 0; k < n; k++) {
            x[i * n + k] = (i == k) - implicit * dt * a[i * n + k];
            y[i * m + k] = (i == k) + (1 - implicit) * dt * a[i * n + k];
        }
        y[i * m + n] = b[i] * dt;
    }
    if (!tf_solve(x, n, y, m))
        return false;
    for (uint32_t i = 0; i < n; i++) {
        memcpy(ab + (size_t)i * n, y + (size_t)i * m, n * sizeof *ab);
        bb[i] = y[i * m + n];
    }
    return true;
}

/* Abar and Bbar of one step from one exponential, e^{dt A} and its integral. */
static bool exponential_step(tuff_discretization method, const double *a, const double *b, uint32_t n, double dt, double *ab, double *bb, tf_arena *arena)
{
    const uint32_t m = n + 1;
    double *x = tf_arena_array(arena, double, (size_t)m * m), *y = tf_arena_array(arena, double, (size_t)m * m);
    if (!x || !y)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t k = 0; k < n; k++)
            x[i * m + k] = a[i * n + k] * dt;
        x[i * m + n] = b[i] * dt;
    }
    if (!tf_expm(x, m, y, arena))
        return false;
    for (uint32_t i = 0; i < n; i++) {
        memcpy(ab + (size_t)i * n, y + (size_t)i * m, n * sizeof *ab);
        bb[i] = method == TUFF_DISC_ZOH ? y[i * m + n] : method == TUFF_DISC_DIRAC ? b[i] : b[i] * dt;
    }
    return true;
}

static bool dense_step(tuff_discretization method, const double *a, const double *b, uint32_t n, double dt, double *ab, double *bb, tf_arena *arena)
{
    if (method == TUFF_DISC_ZOH || method == TUFF_DISC_EULER_EXP || method == TUFF_DISC_DIRAC)
        return exponential_step(method, a, b, n, dt, ab, bb, arena);
    return tf_implicit_step(a, b, n, dt, method == TUFF_DISC_BILINEAR ? 0.5 : method == TUFF_DISC_BACKWARD ? 1 : 0, ab, bb, arena);
}

static tuff_status reference(tf_ref *r)
{
    const discretize_desc *d = r->desc;
    const tf_ref_tensor *a = r->src[0], *b = r->src[1], *dt = r->src[2];
    if (d->kind == TUFF_DISCRETIZE_DENSE) {
        const uint32_t n = (uint32_t)b->n;
        for (uint64_t t = 0; t < dt->n; t++)
            if (!dense_step(d->method, a->re, b->re, n, dt->re[t], r->out[0].re + t * n * n, r->out[1].re + t * n, r->scratch)) {
                r->error = r->scratch->failed ? "out of memory" : "I - dt A is singular for one of the steps";
                return r->scratch->failed ? TUFF_E_MEMORY : TUFF_E_ARGUMENT;
            }
        return TUFF_OK;
    }
    const uint64_t n = (uint64_t)a->dim[1];
    for (uint64_t i = 0; i < a->n; i++) {
        tf_scalar ab, bb;
        tf_discretize(d->method, tf_cx(a->re[i], a->im[i]), dt->re[i / n], &ab, &bb);
        bb = tf_cx_mul(bb, tf_cx(b->re[i], b->im[i]));
        r->out[0].re[i] = ab.re;
        r->out[0].im[i] = ab.im;
        r->out[1].re[i] = bb.re;
        r->out[1].im[i] = bb.im;
    }
    return TUFF_OK;
}

static const char *const kind_names[] = { "diag", "dense", NULL };
static const tf_attr attrs[] = {
    TF_A(discretize_desc, kind, TF_ATTR_ENUM, "diag: a holds eigenvalues; dense: a matrix, which must be a constant", .choices = kind_names),
    TF_A(discretize_desc, method, TF_ATTR_ENUM, "how x' = A x + B u becomes a step", .choices = tf_discretizations),
};

/* ---- on the device ---------------------------------------------------------------------------------------- */

bool tf_is_constant(tuff_tensor x)
{
    const tf_op *op = x.id ? tf_def(x.graph, x.id)->op : NULL;
    return op == &tf_op_const || op == &tf_op_literal;
}

/* e^{i x y j} with the product taken modulo a turn. */
static tf_scalar ref_cis(const tf_scalar *a, tuff_dtype t, const void *desc)
{
    (void)t;
    (void)desc;
    const double angle = a[0].re * a[1].re * a[2].re;
    return tf_cx(cos(angle), sin(angle));
}
const tf_op tf_op_cis = {
    .name = "_cis", .doc = "e^(i x y j), the product modulo a turn in 48 bits", .operands = "x y j", .kind = TF_POINTWISE, .internal = true, .arity = 3,
    .classes = TF_CLS_FLOAT, .result = TF_RESULT_COMPLEX, .flops = 60, .rel = 4, .scalar = ref_cis, .glsl = "tf_cis($0, $1, $2)",
};

tuff_tensor tf_power_of_mode(tuff_tensor re, tuff_tensor im, tuff_tensor dt, tuff_tensor j)
{
    const tuff_tensor phase = tf_add(NULL, &tf_op_cis, (tuff_tensor[]){ im, dt, j }, 3, NULL);
    const tuff_tensor size = tuff_exp(tuff_mul(tuff_mul(re, dt), j));
    return tuff_complex(tuff_mul(size, tuff_real(phase)), tuff_mul(size, tuff_imag(phase)));
}

static tuff_tensor complex_of(tuff_tensor re) { return tf_cast_to(re, TUFF_C64); }

void tf_discretize_on_device(tuff_graph *g, tuff_discretization method, tuff_tensor lam, tuff_tensor b, tuff_tensor dt, tuff_tensor *ab, tuff_tensor *bb)
{
    const tuff_tensor one = tuff_literal(g, 1, TUFF_C64), none = { 0 };
    const tuff_tensor step = tuff_unsqueeze(dt, TUFF_INTS(1)), z = tuff_mul(lam, complex_of(step)), half = tuff_mul(z, tuff_literal(g, 0.5, TUFF_C64));
    const tuff_tensor db = tuff_mul(complex_of(step), b);
    *ab = *bb = none;
    switch (method) {
    case TUFF_DISC_BILINEAR: {
        const tuff_tensor d = tuff_sub(one, half);
        *ab = tuff_div(tuff_add(one, half), d);
        *bb = tuff_div(db, d);
        return;
    }
    case TUFF_DISC_FORWARD:
        *ab = tuff_add(one, z);
        *bb = db;
        return;
    case TUFF_DISC_BACKWARD:
        *ab = tuff_div(one, tuff_sub(one, z));
        *bb = tuff_div(db, tuff_sub(one, z));
        return;
    default: break;
    }
    const tuff_tensor re = tuff_real(lam), im = tuff_imag(lam), first = tuff_literal(g, 1, TUFF_F32);
    *ab = tf_power_of_mode(re, im, step, first);
    *bb = method == TUFF_DISC_DIRAC ? b : db;
    if (method != TUFF_DISC_ZOH)
        return;
    /* e^z - 1 = (e^a - 1) cos b - 2 sin^2(b/2) + i e^a sin b */
    const tuff_tensor phase = tf_add(NULL, &tf_op_cis, (tuff_tensor[]){ im, step, first }, 3, NULL);
    const tuff_tensor back = tuff_imag(tf_add(NULL, &tf_op_cis, (tuff_tensor[]){ im, step, tuff_literal(g, 0.5, TUFF_F32) }, 3, NULL));
    const tuff_tensor grown = tuff_expm1(tuff_mul(re, step)), twice = tuff_mul(tuff_square(back), tuff_literal(g, 2, TUFF_F32));
    const tuff_tensor gain = tuff_div(tuff_complex(tuff_sub(tuff_mul(grown, tuff_real(phase)), twice), tuff_imag(*ab)), lam);
    *bb = tuff_where(tuff_equal(lam, tuff_literal(g, 0, TUFF_C64)), db, tuff_mul(gain, b));
}

const tf_op tf_op_discretize_host = {
    .name = "_discretize", .doc = "discretize of constants", .operands = "a b dt", .results = "abar bbar", .kind = TF_HOST, .internal = true, .attrs = attrs,
    .attr_count = TF_COUNT(attrs), .desc_size = sizeof(discretize_desc), .infer = infer, .reference = reference,
};

static void lower(tf_lower *l)
{
    const discretize_desc *d = l->desc;
    if (tf_is_constant(l->src[0]) && tf_is_constant(l->src[1]) && tf_is_constant(l->src[2])) {
        l->out[0] = tf_add(NULL, &tf_op_discretize_host, l->src, 3, d);
        l->out[1] = tuff_result(l->out[0], 1);
    } else if (d->kind == TUFF_DISCRETIZE_DENSE)
        tf_fail(l->g, TUFF_E_ARGUMENT, "discretize: a dense system is solved on the host when the graph is compiled, so a, b and dt must be constants");
    else
        tf_discretize_on_device(l->g, d->method, l->src[0], l->src[1], l->src[2], &l->out[0], &l->out[1]);
}

const tf_op tf_op_discretize = {
    .name = "discretize", .constants = true,
    .doc = "x' = a x + b u -> x_t = abar x_{t-1} + bbar u_t: diag a[h,n] b[h,n] dt[h] -> [h,n], [h,n]; dense a[n,n] b[n] dt[t] -> [t,n,n], [t,n]",
    .source = "arXiv:2206.11893", .operands = "a b dt", .results = "abar bbar", .kind = TF_COMPOSITE, .attrs = attrs, .attr_count = TF_COUNT(attrs),
    .desc_size = sizeof(discretize_desc), .infer = infer, .lower = lower, .reference = reference, .rel = 32,
};
tuff_tensor tuff_discretize(tuff_tensor a, tuff_tensor b, tuff_tensor dt, const tuff_discretize_desc *desc)
{
    return tf_add(NULL, &tf_op_discretize, (tuff_tensor[]){ a, b, dt }, 3, desc);
}
