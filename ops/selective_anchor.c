/* selective_anchor.c - the anchor _selective: states that stay in registers while their inputs stream by. */
#include "selective.h"

#include <math.h>

/* ---- in double ----------------------------------------------------------------------------------- */

typedef struct problem { uint64_t nb, d, l, n, groups, chunk, parts; } problem;

static problem problem_of(const tf_ref *r)
{
    const tf_selective_desc *d = r->desc;
    const tf_ref_tensor *u = r->src[TF_SEL_U], *a = r->src[TF_SEL_A];
    problem p = { (uint64_t)u->dim[0], (uint64_t)u->dim[1], (uint64_t)u->dim[2], (uint64_t)a->dim[1], 1, 0, 0 };
    if (d->b_form)
        p.groups = (uint64_t)r->src[TF_SEL_B]->dim[1];
    else if (d->c_form)
        p.groups = (uint64_t)r->src[TF_SEL_C]->dim[1];
    p.chunk = d->chunk ? (uint64_t)d->chunk : TF_MAX(p.l, 1);
    p.parts = (p.l + p.chunk - 1) / p.chunk;
    return p;
}

static tf_scalar element(const tf_ref_tensor *t, uint64_t i) { return (tf_scalar){ t->re[i], t->im ? t->im[i] : 0 }; }

static tf_scalar coefficient(const tf_ref_tensor *t, int32_t form, const problem *p, uint64_t nb, uint64_t d, uint64_t n, uint64_t l)
{
    const uint64_t g = nb * p->groups + d / (p->d / p->groups);
    return element(t, form == 0 ? d * p->n + n : form == 1 ? (g * p->n + n) * p->l + l : (g * p->l + l) * p->n + n);
}

static tf_scalar times(tf_scalar x, tf_scalar y) { return (tf_scalar){ x.re * y.re - x.im * y.im, x.re * y.im + x.im * y.re }; }

static void put(tf_ref_tensor *t, uint64_t i, tf_scalar v)
{
    t->re[i] = v.re;
    if (t->im)
        t->im[i] = v.im;
}

static double step_of(const tf_selective_desc *d, double dt) { return d->softplus ? tf_softplus(dt) : dt; }

/* One state of one channel over one part. */
static void run_state(tf_ref *r, const problem *p, uint64_t nb, uint64_t part, uint64_t d, uint64_t n)
{
    const tf_selective_desc *desc = r->desc;
    const tf_ref_tensor *const *src = r->src;
    const tf_scalar a = element(src[TF_SEL_A], d * p->n + n);
    const bool complex = src[TF_SEL_A]->im != NULL;
    tf_scalar s = { 0, 0 };
    if (part == 0 && src[TF_SEL_H0])
        s = element(src[TF_SEL_H0], (nb * p->d + d) * p->n + n);
    if (part > 0 && src[TF_SEL_CARRY])
        s = element(src[TF_SEL_CARRY], ((nb * p->parts + part - 1) * p->n + n) * p->d + d);
    for (uint64_t t = part * p->chunk; t < TF_MIN((part + 1) * p->chunk, p->l); t++) {
        const uint64_t at = (nb * p->d + d) * p->l + t;
        const double dt = step_of(desc, src[TF_SEL_DT]->re[at]), du = dt * src[TF_SEL_U]->re[at], e = exp(dt * a.re);
        const tf_scalar b = coefficient(src[TF_SEL_B], desc->b_form, p, nb, d, n, t);
        if (src[TF_SEL_SEG] && src[TF_SEL_SEG]->re[nb * p->l + t] != 0)
            s = (tf_scalar){ 0, 0 };
        s = times((tf_scalar){ e * cos(dt * a.im), e * sin(dt * a.im) }, s);
        s.re += du * b.re;
        s.im += du * b.im;
        if (!desc->fold)
            r->out[0].re[at] += (complex ? 2 : 1) * times(coefficient(src[TF_SEL_C], desc->c_form, p, nb, d, n, t), s).re;
    }
    if (desc->fold)
        put(&r->out[0], ((nb * p->parts + part) * p->n + n) * p->d + d, s);
    else if (part + 1 == p->parts)
        put(&r->out[1], (nb * p->d + d) * p->n + n, s);
}

static void run_total(tf_ref *r, const problem *p, uint64_t nb, uint64_t part, uint64_t d)
{
    double sum = 0;
    for (uint64_t t = part * p->chunk; t < TF_MIN((part + 1) * p->chunk, p->l); t++) {
        if (r->src[TF_SEL_SEG] && r->src[TF_SEL_SEG]->re[nb * p->l + t] != 0)
            sum = 3.0e38;
        sum = fmin(sum + step_of(r->desc, r->src[TF_SEL_DT]->re[(nb * p->d + d) * p->l + t]), 3.0e38);
    }
    r->out[1].re[(nb * p->parts + part) * p->d + d] = sum;
}

static tuff_status reference(tf_ref *r)
{
    const tf_selective_desc *desc = r->desc;
    const problem p = problem_of(r);
    for (uint64_t nb = 0; nb < p.nb; nb++)
        for (uint64_t part = 0; part < p.parts; part++)
            for (uint64_t d = 0; d < p.d; d++) {
                for (uint64_t n = 0; n < p.n; n++)
                    run_state(r, &p, nb, part, d, n);
                if (desc->fold)
                    run_total(r, &p, nb, part, d);
            }
    return TUFF_OK;
}

/* ---- the row ------------------------------------------------------------------------------------- */

static bool infer(tf_infer *c)
{
    const tf_selective_desc *d = c->desc;
    const tf_type *u = c->type[TF_SEL_U], *a = c->type[TF_SEL_A];
    if (u->rank != 3 || a->rank != 2 || (!d->fold && !c->type[TF_SEL_C]))
        return tf_bad(c, TUFF_E_SHAPE, "u is [nb, d, l], a is [d, n], c is given (%s, %s)", tf_src_text(c, TF_SEL_U), tf_src_text(c, TF_SEL_A));
    for (int i = 0; i < 2; i++)
        if (tf_dim_is_dynamic(a->dim[i]))
            return tf_bad(c, TUFF_E_SHAPE, "channels and states need fixed sizes (%s)", tf_src_text(c, TF_SEL_A));
    c->n_out = 2;
    if (d->fold) {
        const int64_t parts = d->chunk ? tf_dim_ceildiv(c->g, u->dim[2], d->chunk) : 1;
        c->out[0] = (tf_type){ .dtype = a->dtype, .rank = 4, .dim = { u->dim[0], parts, a->dim[1], a->dim[0] } };
        c->out[1] = (tf_type){ .dtype = TUFF_F32, .rank = 3, .dim = { u->dim[0], parts, a->dim[0] } };
    } else {
        c->out[0] = *u;
        c->out[1] = (tf_type){ .dtype = a->dtype, .rank = 3, .dim = { u->dim[0], a->dim[0], a->dim[1] } };
    }
    return true;
}

static bool configure(tf_kernel_build *k)
{
    const tf_selective_desc *d = k->desc;
    const tf_type *u = k->src[TF_SEL_U], *a = k->src[TF_SEL_A];
    const bool complex = a->dtype == TUFF_C64, cpu = k->limits->cpu;
    const int64_t channels = a->dim[0], states = a->dim[1], length = tf_dim_bound(k->g, d->chunk ? d->chunk : u->dim[2]);
    const int64_t groups = d->b_form ? k->src[TF_SEL_B]->dim[1] : d->c_form && !d->fold ? k->src[TF_SEL_C]->dim[1] : 1, per_group = channels / TF_MAX(groups, 1);
    const uint32_t padded = (uint32_t)(states + 3) / 4 * 4, steps = complex || length < 4 ? 1 : 4;
    uint32_t wg = cpu ? 8 : 64, each = 1;
    while (!cpu && wg > 16 && wg / 2 >= (uint64_t)per_group)
        wg /= 2;
    /* Coefficients read once for several channels: loads are what a CPU runs out of. */
    while (cpu && !complex && each < 2 && per_group >= 2 * each * (int64_t)wg && 2 * each * padded <= 256)
        each *= 2;
    const int64_t blocks = (per_group + each * wg - 1) / (each * (int64_t)wg), parts = d->chunk ? tf_dim_ceildiv(k->g, u->dim[2], d->chunk) : 1;

    tf_define(k, "COMPLEX", "%d", complex);
    tf_define(k, "STEPS", "%u", steps);
    tf_define(k, "CHANNELS", "%u", each);
    tf_define(k, "NP", "%u", padded);
    tf_define(k, "STATES", "%uu", (unsigned)states);
    tf_define(k, "RAGGED", "%d", padded != states);
    tf_define(k, "WGSIZE", "%uu", wg);
    tf_define(k, "BLOCKS", "%uu", (unsigned)blocks);
    tf_define(k, "GROUPS", "%uu", (unsigned)groups);
    tf_define(k, "PER_GROUP", "%uu", (unsigned)per_group);
    tf_define(k, "B_FORM", "%d", (int)d->b_form);
    tf_define(k, "C_FORM", "%d", (int)d->c_form);
    tf_define(k, "SOFTPLUS", "%d", d->softplus);
    tf_define(k, "FOLD", "%d", d->fold);
    tf_define(k, "START", "%d", k->src[TF_SEL_H0] != NULL);
    tf_define(k, "CARRY", "%d", k->src[TF_SEL_CARRY] != NULL);
    tf_define(k, "SEG", "%d", k->src[TF_SEL_SEG] != NULL);
    tf_define(k, "WANT_Y", "%d", k->want[0]);
    tf_define(k, "WANT_H", "%d", k->want[1]);
    tf_define(k, "MASKED", "%d", tf_dim_is_dynamic(u->dim[2]) || u->dim[2] % steps != 0);
    tf_define(k, "NLOOP", "%s", padded * each <= (cpu ? 4 : 32) ? "[[unroll]]" : "[[dont_unroll]]");
    tf_define_dim(k, "LENGTH", u->dim[2]);
    tf_define_dim(k, "CHUNK", d->chunk ? d->chunk : u->dim[2]);
    tf_define_dim(k, "PARTS", parts);

    k->source = tf_shader_text("anchors/selective.glsl");
    k->algorithm = d->fold ? "parts folded" : d->chunk ? "states per invocation, in parts" : steps == 1 && length == 1 ? "one step" : "states per invocation";
    k->local[0] = wg;
    k->local[1] = k->local[2] = 1;
    k->groups = tf_dim_bin(k->g, TUFF_DIM_MUL, tf_dim_bin(k->g, TUFF_DIM_MUL, u->dim[0], parts), groups * blocks);
    tf_count_bound(k->g, u, &k->flops);
    k->flops *= (uint64_t)states * (complex ? 24 : 7);
    static const char *const loads[] = { "u", "dt", "a", "b", "c", "h0", "seg", "carry" };
    for (uint32_t i = 0; i < TF_COUNT(loads); i++)
        k->loads[i] = (tf_hook){ .name = loads[i], .widths = 1 };
    for (uint32_t i = 0; i < TF_COUNT(loads) && steps == 4; i++)
        if (i != TF_SEL_A && i != TF_SEL_H0 && i != TF_SEL_CARRY)
            k->loads[i].widths = 4;
    k->loads[TF_SEL_B].reread = k->loads[TF_SEL_C].reread = (uint8_t)TF_MIN(blocks - 1, 255);
    k->stores[0] = (tf_hook){ .name = d->fold ? "s" : "y", .widths = (uint8_t)(d->fold || steps == 1 ? 1 : 4) };
    k->stores[1] = (tf_hook){ .name = d->fold ? "total" : "h", .widths = 1 };
    return true;
}

static const tf_attr attrs[] = {
    TF_A(tf_selective_desc, c, TF_ATTR_TENSOR, "absent with fold"),
    TF_A(tf_selective_desc, h0, TF_ATTR_TENSOR, "[nb,d,n]: the state before part 0"),
    TF_A(tf_selective_desc, seg, TF_ATTR_TENSOR, "bool[nb,l]: a sequence starts"),
    TF_A(tf_selective_desc, carry, TF_ATTR_TENSOR, "[nb,parts,n,d]: states after each part"),
    TF_A(tf_selective_desc, b_form, TF_ATTR_INT, "0: b[d,n]; 1: [nb,groups,n,l]; 2: [nb,groups,l,n]", .max = 2),
    TF_A(tf_selective_desc, c_form, TF_ATTR_INT, "the same of c", .max = 2),
    TF_A(tf_selective_desc, softplus, TF_ATTR_BOOL, "dt becomes softplus(dt)"),
    TF_A(tf_selective_desc, fold, TF_ATTR_BOOL, "only the state after each part from 0, and its sum of dt"),
    TF_A(tf_selective_desc, chunk, TF_ATTR_I64, "steps per part, a multiple of 4; 0: all"),
};
static const tf_anchor selective_anchor = {
    .name = "selective",
    .loads = { { "u", 5, 0, false }, { "dt", 5, 0, false }, { "a", 1, 0, false }, { "b", 5, 16, false }, { "c", 5, 16, false }, { "h0", 1, 0, false }, { "seg", 5, 0, false }, { "carry", 1, 0, false } },
    .stores = { { "y", 5, 0, false }, { "h", 1, 0, false } }, .configure = configure,
};
const tf_op tf_op_selective_anchor = {
    .name = "_selective", .doc = "a selective scan of states per channel in one kernel, in parts, or each part folded", .operands = "u dt a b",
    .results = "y h", .kind = TF_ANCHOR, .internal = true, .attrs = attrs, .attr_count = TF_COUNT(attrs), .desc_size = sizeof(tf_selective_desc),
    .infer = infer, .reference = reference, .anchor = &selective_anchor, .rel = 32,
};
