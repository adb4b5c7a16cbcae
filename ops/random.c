/* random.c - random bits, uniform, normal, gumbel and rademacher numbers from the Philox4x32-10 generator, and philox,
 * the generator itself.
 *
 * Element j of sample b uses word j % 4 of the block with counter (j / 4, b, draw, stream) under key = seed. So an
 * element depends on nothing but these: not on the batch, the tiling or other draws. Kernels call shaders/lib/rng.glsl
 * through the internal rows below, whose operands are j (or the index of a pair), b and draw. The normal recipe uses
 * only roundings that are the same everywhere; here it runs in float, operation by operation. */
#include "ops.h"

#include <math.h>
#include <string.h>

/* ---- the generator ---- */

static void philox(uint32_t c[4], uint32_t k0, uint32_t k1)
{
    for (int round = 0; round < 10; round++, k0 += 0x9e3779b9u, k1 += 0xbb67ae85u) {
        const uint64_t p0 = (uint64_t)c[0] * 0xd2511f53u, p1 = (uint64_t)c[2] * 0xcd9e8d57u;
        const uint32_t next[4] = { (uint32_t)(p1 >> 32) ^ c[1] ^ k0, (uint32_t)p1, (uint32_t)(p0 >> 32) ^ c[3] ^ k1, (uint32_t)p0 };
        memcpy(c, next, sizeof next);
    }
}

static double uniform_of(uint32_t word) { return (double)(2 * (word >> 9) + 1) / 16777216.0; }

static float from_bits(uint32_t b) { float f; memcpy(&f, &b, sizeof f); return f; }
static uint32_t to_bits(float f) { uint32_t b; memcpy(&b, &f, sizeof b); return b; }

/* log of (2 (word >> 9) + 1) 2^-24. */
static float log_uniform(uint32_t word)
{
    static const uint32_t poly[9] = { 0x3eaaaaaa, 0xbe7ffff9, 0x3e4ccea8, 0xbe2aaf6c, 0x3e11eb5b, 0xbdfe2da6, 0x3deed3e7, 0xbdecfa6b, 0x3d926d4e };
    const uint32_t bits = to_bits((float)(2 * (word >> 9) + 1)), mantissa = bits & 0x7fffff;
    const int high = mantissa >= 0x3504f3;
    const float e = (float)((int)(bits >> 23) - 151 + high), t = from_bits(mantissa | (high ? 0x3f000000u : 0x3f800000u)) - 1.0f;
    float p = from_bits(poly[8]);
    for (int k = 7; k >= 0; k--) {
        const float q = p * t;
        p = q + from_bits(poly[k]);
    }
    const float z = t * t, zt = z * t, a = zt * p, half = 0.5f * z, b = a - half, el = e * from_bits(0xb95e8083u), c = b + el, ln = t + c;
    const float eh = e * 0.693359375f;
    return ln + eh;
}

static float root(float s)
{
    float y = from_bits(0x5f3759dfu - (to_bits(s) >> 1));
    const float h = 0.5f * s;
    for (int i = 0; i < 3; i++) {
        const float hy = h * y, hyy = hy * y, g = 1.5f - hyy;
        y = y * g;
    }
    const float r = s * y, rr = r * r, d = s - rr, hy = 0.5f * y, c = hy * d;
    return r + c;
}

/* Box-Muller of two words. */
static void normal_of(uint32_t w0, uint32_t w1, float out[2])
{
    const float r = root(-2.0f * log_uniform(w0));
    const uint32_t v = w1 >> 8, q = (v + (1u << 21)) >> 22;
    const float ph = (float)((int)v - (int)(q << 22)) * from_bits(0x34c90fdbu), z = ph * ph;
    const float s2 = from_bits(0xb94d6501u) * z, s1 = s2 + from_bits(0x3c088615u), s1z = s1 * z, s0 = s1z + from_bits(0xbe2aaaa9u);
    const float pz = ph * z, st = pz * s0, sn = ph + st;
    const float c2 = from_bits(0x37cdec68u) * z, c1 = c2 + from_bits(0xbab6096au), c1z = c1 * z, c0 = c1z + from_bits(0x3d2aaaaau);
    const float zz = z * z, ct = zz * c0, half = 0.5f * z, one = 1.0f - half, cs = one + ct;
    const float turn[4][2] = { { cs, sn }, { -sn, cs }, { -cs, -sn }, { sn, -cs } };
    out[0] = r * turn[q & 3][0];
    out[1] = r * turn[q & 3][1];
}

double tf_random_uniform(uint64_t seed, uint64_t j)
{
    uint32_t c[4] = { (uint32_t)(j / 4), 0, 0, 0 };
    philox(c, (uint32_t)seed, (uint32_t)(seed >> 32));
    return uniform_of(c[j & 3]);
}

/* ---- rows for expressions ---- */

/* Bit patterns: kernels convert them to uint. part: which word or pair of block j is meant, where that is known; else -1, and j
 * counts words or pairs. */
typedef struct rng_desc { int32_t part, stream, seed_lo, seed_hi; } rng_desc;
static const tf_attr rng_attrs[] = { TF_A(rng_desc, part, TF_ATTR_INT, "of the block j; -1: j is no block"), TF_A(rng_desc, stream, TF_ATTR_INT, "counter word 3"), TF_A(rng_desc, seed_lo, TF_ATTR_INT, "key word 0"),
                                     TF_A(rng_desc, seed_hi, TF_ATTR_INT, "key word 1") };

static void block_of(uint32_t c[4], double block, const tf_scalar *a, const rng_desc *d)
{
    c[0] = (uint32_t)block;
    c[1] = (uint32_t)(int64_t)a[1].re;
    c[2] = (uint32_t)(int64_t)a[2].re;
    c[3] = (uint32_t)d->stream;
    philox(c, (uint32_t)d->seed_lo, (uint32_t)d->seed_hi);
}
static uint32_t word_of(const tf_scalar *a, const rng_desc *d)
{
    uint32_t c[4];
    block_of(c, d->part < 0 ? floor(a->re / 4) : a->re, a, d);
    return c[d->part < 0 ? (uint32_t)a->re & 3 : (uint32_t)d->part];
}
static tf_scalar rng_uniform(const tf_scalar *a, tuff_dtype t, const void *desc)
{
    (void)t;
    return (tf_scalar){ uniform_of(word_of(a, desc)), 0 };
}
static tf_scalar rng_word(const tf_scalar *a, tuff_dtype t, const void *desc)
{
    (void)t;
    return (tf_scalar){ word_of(a, desc), 0 };
}
static tf_scalar rng_sign(const tf_scalar *a, tuff_dtype t, const void *desc)
{
    (void)t;
    return (tf_scalar){ word_of(a, desc) >> 31 ? -1 : 1, 0 };
}
static tf_scalar rng_normal(const tf_scalar *a, tuff_dtype t, const void *desc)
{
    (void)t;
    const rng_desc *d = desc;
    uint32_t c[4];
    float z[2];
    block_of(c, d->part < 0 ? floor(a->re / 2) : a->re, a, d);
    const uint32_t first = 2 * (d->part < 0 ? (uint32_t)a->re & 1 : (uint32_t)d->part);
    normal_of(c[first], c[first + 1], z);
    return (tf_scalar){ (double)z[0], (double)z[1] };
}

#define ARGS "$0, @part, $1, $2, @stream, @seed_lo, @seed_hi"
#define RNG(op, text, cost, ref, code) \
    { .name = op, .doc = text, .operands = "j sample draw", .kind = TF_POINTWISE, .internal = true, .arity = 3, .classes = TF_CLS_INT, .attrs = rng_attrs, \
      .attr_count = TF_COUNT(rng_attrs), .desc_size = sizeof(rng_desc), .flops = cost, .scalar = ref, .glsl = code }
static const tf_op op_rng_word = RNG("_rng_word", "word j of a sample", 100, rng_word, "tf_rng_word(" ARGS ")");
static const tf_op op_rng_uniform = RNG("_rng_uniform", "number j of a sample, uniform", 100, rng_uniform, "tf_rng_uniform(tf_rng_word(" ARGS "))");
static const tf_op op_rng_sign = RNG("_rng_sign", "number j of a sample, -1 or 1", 100, rng_sign, "tf_rng_word(" ARGS ") < 0x80000000u ? 1.0 : -1.0");
static const tf_op op_rng_normal = RNG("_rng_normal", "two normal numbers of a sample as a complex number", 180, rng_normal, "tf_rng_normal(" ARGS ")");

/* ---- rows ---- */

typedef struct random_desc {
    tuff_shape shape;
    uint64_t seed;
    int64_t stream, draw, sample; /* 32 unsigned bits each */
    tuff_tensor step;
    bool antithetic;
} random_desc;

extern const tf_op tf_op_random_bits;

static bool random_infer(tf_infer *c)
{
    const random_desc *d = c->desc;
    if (!tf_infer_shape(c, &d->shape)) return false;
    c->out[0].dtype = c->op == &tf_op_random_bits ? TUFF_U32 : TUFF_F32;
    if (d->antithetic && (d->shape.rank == 0 || (!tf_dim_is_dynamic(d->shape.dim[0]) && d->shape.dim[0] % 2)))
        return tf_bad(c, TUFF_E_SHAPE, "antithetic needs an even first dim; the shape is %s", tf_type_text(c->g, &c->out[0]));
    const tf_type *step = c->n_src > 0 ? c->type[0] : NULL;
    if (step && (step->rank != 0 || (step->dtype != TUFF_I32 && step->dtype != TUFF_U32)))
        return tf_bad(c, TUFF_E_DTYPE, "%s must be i32 or u32 of rank 0", tf_src_text(c, 0));
    return true;
}

/* Where an element's number comes from. */
typedef struct place { tf_ex j, sample, draw, mirrored; } place;

static tf_ex int_value(tf_exprs *x, int64_t v) { return tf_ex_const(x, TUFF_I32, (double)(int32_t)(uint32_t)v); }

static place place_of(tf_view_map *m)
{
    tf_exprs *x = m->x;
    const random_desc *d = m->desc;
    tf_ex at[TUFF_MAX_RANK + 1] = { 0 };
    memcpy(at, m->out, (size_t)m->out_type->rank * sizeof *at);
    place p = { .sample = int_value(x, d->sample), .draw = int_value(x, d->draw) };
    if (d->antithetic) {
        const tf_ex half = tf_ex_div(x, tf_ex_dim(x, m->out_type->dim[0]), tf_ex_int(x, 2));
        p.mirrored = tf_ex_not(x, tf_ex_lt(x, at[0], half));
        at[0] = tf_ex_mod(x, at[0], half);
    }
    tf_type rest = *m->out_type;
    if (rest.rank >= 2) {
        p.sample = tf_ex_apply(x, &tf_op_add, TUFF_I32, NULL, tf_ex_to_value(x, at[0]), p.sample, 0);
        rest.rank--;
        memmove(rest.dim, rest.dim + 1, (size_t)rest.rank * sizeof *rest.dim);
        memmove(at, at + 1, (size_t)rest.rank * sizeof *at);
    }
    p.j = tf_ex_linear(x, &rest, at);
    if (m->node->n_src > 0 && m->node->src[0]) {
        const tf_ex step = tf_ex_cast(x, m->operand(m, 0, at), TUFF_I32);
        p.draw = tf_ex_apply(x, &tf_op_add, TUFF_I32, NULL, step, p.draw, 0);
    }
    return p;
}

/* What j counts are words or pairs, `parts` to a block. */
static tf_ex rng(tf_view_map *m, const tf_op *op, tuff_dtype t, tf_ex j, int64_t parts, const place *p)
{
    const random_desc *d = m->desc;
    const tf_ex n = tf_ex_int(m->x, parts), part = tf_ex_mod(m->x, j, n);
    const bool known = tf_exn(m->x, part)->kind == TF_EX_INT;
    rng_desc *own = tf_arena_alloc(m->x->arena, sizeof *own);
    if (!own) return 0;
    *own = (rng_desc){ known ? (int32_t)tf_exn(m->x, part)->i : -1, (int32_t)(uint32_t)d->stream, (int32_t)(uint32_t)d->seed, (int32_t)(uint32_t)(d->seed >> 32) };
    return tf_ex_apply(m->x, op, t, own, tf_ex_to_value(m->x, known ? tf_ex_div(m->x, j, n) : j), p->sample, p->draw);
}

static tf_ex apply1(tf_exprs *x, const tf_op *op, tf_ex a) { return tf_ex_apply(x, op, TUFF_F32, NULL, a, 0, 0); }
static tf_ex mirror(tf_exprs *x, const place *p, tf_ex there, tf_ex here)
{
    return p->mirrored ? tf_ex_select(x, p->mirrored, there, here) : here;
}

static tf_ex random_bits_expr(tf_view_map *m)
{
    const place p = place_of(m);
    const tf_ex w = rng(m, &op_rng_word, TUFF_U32, p.j, 4, &p);
    return mirror(m->x, &p, tf_ex_apply(m->x, &tf_op_bit_not, TUFF_U32, NULL, w, 0, 0), w);
}
static tf_ex uniform_at(tf_view_map *m, const place *p)
{
    const tf_ex u = rng(m, &op_rng_uniform, TUFF_F32, p->j, 4, p);
    return mirror(m->x, p, tf_ex_apply(m->x, &tf_op_sub, TUFF_F32, NULL, tf_ex_const(m->x, TUFF_F32, 1), u, 0), u);
}
static tf_ex uniform_expr(tf_view_map *m)
{
    const place p = place_of(m);
    return uniform_at(m, &p);
}
static tf_ex gumbel_expr(tf_view_map *m)
{
    const place p = place_of(m);
    const tf_ex e = apply1(m->x, &tf_op_neg, apply1(m->x, &tf_op_log, uniform_at(m, &p)));
    return apply1(m->x, &tf_op_neg, apply1(m->x, &tf_op_log, e));
}
static tf_ex rademacher_expr(tf_view_map *m)
{
    const place p = place_of(m);
    const tf_ex s = rng(m, &op_rng_sign, TUFF_F32, p.j, 4, &p);
    return mirror(m->x, &p, apply1(m->x, &tf_op_neg, s), s);
}
/* Two neighbours share a pair: equal expressions, computed once where a kernel handles both. */
static tf_ex normal_expr(tf_view_map *m)
{
    tf_exprs *x = m->x;
    const place p = place_of(m);
    const tf_ex two = tf_ex_int(x, 2), pair = rng(m, &op_rng_normal, TUFF_C64, tf_ex_div(x, p.j, two), 2, &p);
    const tf_ex even = tf_ex_eq(x, tf_ex_mod(x, p.j, two), tf_ex_int(x, 0));
    const tf_ex z = tf_ex_select(x, even, apply1(x, &tf_op_real, pair), apply1(x, &tf_op_imag, pair));
    return mirror(x, &p, apply1(x, &tf_op_neg, z), z);
}

/* ---- references ---- */

typedef double (*element_fn)(const uint32_t block[4], uint32_t word, bool mirrored);

static tuff_status fill(tf_ref *r, element_fn element)
{
    const random_desc *d = r->desc;
    tf_ref_tensor *y = &r->out[0];
    const uint64_t rows = y->rank > 0 ? (uint64_t)y->dim[0] : 1, per_row = rows ? y->n / rows : 0;
    const uint32_t draw = (uint32_t)d->draw + (r->n_src > 0 && r->src[0] ? (uint32_t)(int64_t)r->src[0]->re[0] : 0);
    for (uint64_t i = 0; i < y->n; i++) {
        uint64_t row = i / per_row, j = i % per_row;
        const bool mirrored = d->antithetic && row >= rows / 2;
        if (mirrored) row -= rows / 2;
        if (y->rank < 2) { j = row; row = 0; }
        uint32_t c[4] = { (uint32_t)(j / 4), (uint32_t)row + (uint32_t)d->sample, draw, (uint32_t)d->stream };
        philox(c, (uint32_t)d->seed, (uint32_t)(d->seed >> 32));
        y->re[i] = element(c, (uint32_t)(j % 4), mirrored);
    }
    return TUFF_OK;
}

static double bits_element(const uint32_t block[4], uint32_t word, bool mirrored)
{
    return mirrored ? ~block[word] : block[word];
}
static double uniform_element(const uint32_t block[4], uint32_t word, bool mirrored)
{
    return mirrored ? 1 - uniform_of(block[word]) : uniform_of(block[word]);
}
static double normal_element(const uint32_t block[4], uint32_t word, bool mirrored)
{
    float z[2];
    normal_of(block[word & 2], block[(word & 2) + 1], z);
    return (double)(mirrored ? -z[word & 1] : z[word & 1]);
}
static double gumbel_element(const uint32_t block[4], uint32_t word, bool mirrored)
{
    return -log(-log(uniform_element(block, word, mirrored)));
}
static double rademacher_element(const uint32_t block[4], uint32_t word, bool mirrored)
{
    return (block[word] >> 31 ? -1 : 1) * (mirrored ? -1 : 1);
}
static tuff_status random_bits_reference(tf_ref *r) { return fill(r, bits_element); }
static tuff_status uniform_reference(tf_ref *r) { return fill(r, uniform_element); }
static tuff_status normal_reference(tf_ref *r) { return fill(r, normal_element); }
static tuff_status gumbel_reference(tf_ref *r) { return fill(r, gumbel_element); }
static tuff_status rademacher_reference(tf_ref *r) { return fill(r, rademacher_element); }

#define WORD .min = 0, .max = 4294967295.0
static const tf_attr random_attrs[] = {
    TF_A(random_desc, shape, TF_ATTR_SHAPE, "shape of the result; the first of two or more axes counts samples", .required = true),
    TF_A(random_desc, seed, TF_ATTR_U64, "key of the generator", .required = true),
    TF_A(random_desc, stream, TF_ATTR_I64, "separate sequences of one seed", WORD),
    TF_A(random_desc, draw, TF_ATTR_I64, "counts the draws of a sequence", WORD),
    TF_A(random_desc, step, TF_ATTR_TENSOR, "added to draw: i32 or u32 of rank 0; absent: 0"),
    TF_A(random_desc, sample, TF_ATTR_I64, "index of the first sample", WORD),
    TF_A(random_desc, antithetic, TF_ATTR_BOOL, "the second half of the first axis mirrors the first half"),
};
#define RANDOM(op, text, bound) \
    const tf_op tf_op_##op = { .name = #op, .doc = text, .source = "Philox4x32-10: Salmon et al. 2011", .operands = "", .kind = TF_INDEXED, .attrs = random_attrs, \
        .attr_count = TF_COUNT(random_attrs), .desc_size = sizeof(random_desc), .infer = random_infer, .reference = op##_reference, .expr = op##_expr, .ulp = bound }; \
    tuff_tensor tuff_##op(tuff_graph *g, tuff_shape shape, uint64_t seed, const tuff_random_desc *desc) { return add(g, &tf_op_##op, shape, seed, desc); }

static tuff_tensor add(tuff_graph *g, const tf_op *op, tuff_shape shape, uint64_t seed, const tuff_random_desc *desc)
{
    random_desc d = { .shape = shape, .seed = seed };
    if (desc) { d.stream = desc->stream; d.draw = desc->draw; d.sample = desc->sample; d.step = desc->step; d.antithetic = desc->antithetic; }
    return tf_add(g, op, NULL, 0, &d);
}

RANDOM(random_bits, "the generator's 32-bit words", 0)
RANDOM(uniform, "numbers in (0, 1), exact multiples of 2^-24", 0)
RANDOM(normal, "normal numbers by Box-Muller, the same bits on every device", 0)
RANDOM(gumbel, "-log(-log(u)) of uniform numbers u", 8)
RANDOM(rademacher, "-1 or 1", 0)

/* ---- philox ----
 * The generator on the user's own counters and keys, in terms of integer rows: they fuse into one kernel. */

static tf_scalar mul_high(const tf_scalar *a, tuff_dtype t, const void *desc)
{
    (void)t, (void)desc;
    return (tf_scalar){ (double)((uint64_t)a[0].re * (uint64_t)a[1].re >> 32), 0 };
}
const tf_op tf_op_mul_high = { .name = "_mul_high", .doc = "high 32 bits of the 64-bit product", .operands = "a b", .kind = TF_POINTWISE, .internal = true,
    .arity = 2, .classes = TF_CLS_INT, .flops = 2, .scalar = mul_high, .glsl = "tf_mul_high($0, $1)" };

static bool philox_infer(tf_infer *c)
{
    const tf_type *counter = c->type[0], *key = c->type[1];
    for (uint32_t i = 0; i < 2; i++) {
        const tf_type *t = c->type[i];
        if (t->dtype != TUFF_U32) return tf_bad(c, TUFF_E_DTYPE, "%s must be u32", tf_src_text(c, i));
        if (t->rank == 0 || t->dim[t->rank - 1] != (i ? 2 : 4))
            return tf_bad(c, TUFF_E_SHAPE, "the last axis of %s must have size %d", tf_src_text(c, i), i ? 2 : 4);
    }
    tf_type a = *counter, b = *key;
    b.dim[b.rank - 1] = 4;
    c->out[0].dtype = TUFF_U32;
    return tf_broadcast(c, &a, &b, &c->out[0]);
}

static tuff_tensor part_of(tuff_tensor x, int64_t i)
{
    return tuff_slice(x, TUFF_INTS(i), TUFF_INTS(i + 1), &(tuff_slice_desc){ .axes = TUFF_INTS(-1) });
}
static void philox_lower(tf_lower *l)
{
    tuff_tensor c[4], k[2];
    for (int i = 0; i < 4; i++) c[i] = part_of(l->src[0], i);
    for (int i = 0; i < 2; i++) k[i] = part_of(l->src[1], i);
    const tuff_tensor m0 = tuff_literal(l->g, 0xd2511f53u, TUFF_U32), m1 = tuff_literal(l->g, 0xcd9e8d57u, TUFF_U32);
    const tuff_tensor w0 = tuff_literal(l->g, 0x9e3779b9u, TUFF_U32), w1 = tuff_literal(l->g, 0xbb67ae85u, TUFF_U32);
    for (int round = 0; round < 10; round++) {
        const tuff_tensor h0 = tf_add(l->g, &tf_op_mul_high, (tuff_tensor[]){ c[0], m0 }, 2, NULL);
        const tuff_tensor h1 = tf_add(l->g, &tf_op_mul_high, (tuff_tensor[]){ c[2], m1 }, 2, NULL);
        const tuff_tensor next[4] = { tuff_bit_xor(tuff_bit_xor(h1, c[1]), k[0]), tuff_mul(c[2], m1),
                                      tuff_bit_xor(tuff_bit_xor(h0, c[3]), k[1]), tuff_mul(c[0], m0) };
        memcpy(c, next, sizeof next);
        k[0] = tuff_add(k[0], w0);
        k[1] = tuff_add(k[1], w1);
    }
    /* The low words do not depend on the key: give all four the result's shape. */
    tuff_shape one = { .rank = l->out_type->rank };
    memcpy(one.dim, l->out_type->dim, sizeof one.dim);
    one.dim[one.rank - 1] = 1;
    for (int i = 0; i < 4; i++) c[i] = tuff_expand(c[i], one);
    l->out[0] = tuff_concat(c, 4, -1);
}
static tuff_status philox_reference(tf_ref *r)
{
    tf_ref_tensor *y = &r->out[0];
    int64_t at[TUFF_MAX_RANK] = { 0 };
    for (uint64_t i = 0; i < y->n; i += 4) {
        uint32_t word[2][4];
        for (int s = 0; s < 2; s++) {
            const tf_ref_tensor *x = r->src[s];
            int64_t from[TUFF_MAX_RANK];
            for (int32_t k = 0; k < x->rank; k++) from[k] = x->dim[k] == 1 ? 0 : at[k + y->rank - x->rank];
            for (int k = 0; k < (s ? 2 : 4); k++) {
                from[x->rank - 1] = k;
                word[s][k] = (uint32_t)x->re[tf_ref_index(x, from)];
            }
        }
        philox(word[0], word[1][0], word[1][1]);
        for (int k = 0; k < 4; k++, tf_ref_next(y, at)) y->re[i + (uint64_t)k] = word[0][k];
    }
    return TUFF_OK;
}

const tf_op tf_op_philox = { .name = "philox", .doc = "counter[..., 4], key[..., 2] -> words[..., 4] of Philox4x32-10; u32", .source = "Salmon et al. 2011",
    .operands = "counter key", .kind = TF_COMPOSITE, .infer = philox_infer, .reference = philox_reference, .lower = philox_lower };

tuff_tensor tuff_philox(tuff_tensor counter, tuff_tensor key)
{
    return tf_add(NULL, &tf_op_philox, (tuff_tensor[]){ counter, key }, 2, NULL);
}
