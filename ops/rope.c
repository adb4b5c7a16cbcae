/* rope.c - rotary position embedding.
 *
 * Angles are kept as fractions of a turn in 64-bit fixed point: position * frequency modulo 1 is two integer products, so that
 * a position of a million turns as exactly as one of ten. The frequencies are a host row; all else is pointwise and fuses. */
#include "anchors.h"
#include "ops.h"

#include <math.h>
#include <string.h>

static const double two_pi = 6.283185307179586476925286766559;

typedef tuff_rope_desc rope_desc;

static double or_else(float x, double otherwise) { return x != 0 ? (double)x : otherwise; }

/* ---- angles per position ------------------------------------------------------------------------- */

static double llama3(const rope_desc *d, double w)
{
    const double original = d->original ? d->original : 8192, factor = or_else(d->factor, 1);
    const double low = or_else(d->low_freq, 1), high = or_else(d->high_freq, 4), turns = original * w / two_pi;
    if (turns < low)
        return w / factor;
    if (turns > high)
        return w;
    const double t = (turns - low) / (high - low);
    return (1 - t) * w / factor + t * w;
}

/* The pair (not rounded) that turns `turns` times in the original context. */
static double yarn_pair(const rope_desc *d, int32_t rotary, double turns)
{
    const double original = d->original ? d->original : 8192;
    return rotary * log(original / (turns * two_pi)) / (2 * log(or_else(d->base, 10000)));
}

static double yarn(const rope_desc *d, int32_t rotary, int32_t i, double w)
{
    const double low = fmax(floor(yarn_pair(d, rotary, or_else(d->beta_fast, 32))), 0);
    double high = fmin(ceil(yarn_pair(d, rotary, or_else(d->beta_slow, 1))), rotary - 1);
    if (high == low)
        high += 0.001; /* a step */
    const double t = fmin(fmax((i - low) / (high - low), 0), 1);
    return w / or_else(d->factor, 1) * t + w * (1 - t);
}

/* Radians that pair i turns per position. */
static double frequency(const rope_desc *d, int32_t rotary, int32_t i)
{
    double base = or_else(d->base, 10000);
    if (d->scaling == TUFF_ROPE_NTK && rotary > 2)
        base *= pow(or_else(d->factor, 1), (double)rotary / (rotary - 2));
    const double w = pow(base, -2.0 * i / rotary);
    switch (d->scaling) {
    case TUFF_ROPE_LINEAR: return w / or_else(d->factor, 1);
    case TUFF_ROPE_LLAMA3: return llama3(d, w);
    case TUFF_ROPE_YARN: return yarn(d, rotary, i, w);
    default: return w;
    }
}

static double amplitude(const rope_desc *d)
{
    return or_else(d->amplitude, d->scaling == TUFF_ROPE_YARN ? 0.1 * log(or_else(d->factor, 1)) + 1 : 1);
}

/* ---- _rope_turns --------------------------------------------------------------------------------- */

static bool turns_infer(tf_infer *c)
{
    const rope_desc *d = c->desc;
    if (d->rotary < 2 || d->rotary % 2)
        return tf_bad(c, TUFF_E_ATTRIBUTE, "rotary is %d; it is even and at least 2", (int)d->rotary);
    c->out[0] = (tf_type){ .dtype = TUFF_U32, .rank = 2, .dim = { 2, d->rotary / 2 } };
    return true;
}

static tuff_status turns_reference(tf_ref *r)
{
    const rope_desc *d = r->desc;
    for (int32_t i = 0; i < d->rotary / 2; i++) {
        const double turns = fmod(frequency(d, d->rotary, i) / two_pi, 1), high = floor(ldexp(turns, 32));
        r->out[0].re[i] = high;
        r->out[0].re[d->rotary / 2 + i] = floor(ldexp(ldexp(turns, 32) - high, 32));
    }
    return TUFF_OK;
}

static const char *const pairings[] = { "halves", "interleaved", NULL };
static const char *const scalings[] = { "unscaled", "linear", "ntk", "llama3", "yarn", NULL };

#define FREQUENCY_ATTRS \
    TF_A(rope_desc, rotary, TF_ATTR_INT, "channels that turn; 0: all", .max = 1 << 20), \
    TF_A(rope_desc, base, TF_ATTR_FLOAT, "pair i turns base^(-2i / rotary) per position; 0: 10000", .max = 1e30), \
    TF_A(rope_desc, scaling, TF_ATTR_ENUM, "of the angles, for longer contexts", .choices = scalings), \
    TF_A(rope_desc, factor, TF_ATTR_FLOAT, "of the context's length; 0: 1", .max = 1e9), \
    TF_A(rope_desc, original, TF_ATTR_INT, "llama3, yarn: tokens trained for; 0: 8192", .max = INT32_MAX), \
    TF_A(rope_desc, low_freq, TF_ATTR_FLOAT, "llama3: turns below which angles are divided; 0: 1", .max = 1e9), \
    TF_A(rope_desc, high_freq, TF_ATTR_FLOAT, "llama3: turns above which they are kept; 0: 4", .max = 1e9), \
    TF_A(rope_desc, beta_fast, TF_ATTR_FLOAT, "yarn: turns above which angles are kept; 0: 32", .max = 1e9), \
    TF_A(rope_desc, beta_slow, TF_ATTR_FLOAT, "yarn: turns below which they are divided; 0: 1", .max = 1e9)

static const tf_attr turns_attrs[] = { FREQUENCY_ATTRS };
const tf_op tf_op_rope_turns = {
    .name = "_rope_turns", .doc = "turns per position of each pair in 64-bit fixed point: high and low words[2, rotary / 2]", .operands = "",
    .kind = TF_HOST, .internal = true, .attrs = turns_attrs, .attr_count = TF_COUNT(turns_attrs), .desc_size = sizeof(rope_desc),
    .infer = turns_infer, .reference = turns_reference,
};

/* ---- rope ---------------------------------------------------------------------------------------- */

enum { X, POSITIONS, START, FREQUENCIES };

static bool infer(tf_infer *c)
{
    rope_desc *d = c->mut;
    const tf_type *x = c->type[X], *p = c->type[POSITIONS], *s = c->type[START], *f = c->type[FREQUENCIES];
    if (x->rank != 4)
        return tf_bad(c, TUFF_E_SHAPE, "x has rank %d, it needs [batch, token, head, channel] (%s)", (int)x->rank, tf_src_text(c, X));
    if (x->dtype != TUFF_F32 && x->dtype != TUFF_F16 && x->dtype != TUFF_BF16)
        return tf_bad(c, TUFF_E_DTYPE, "x is %s, it needs f32, f16 or bf16 (%s)", tuff_dtype_name(x->dtype), tf_src_text(c, X));
    if (tf_dim_is_dynamic(x->dim[3]))
        return tf_bad(c, TUFF_E_SHAPE, "channels of x need a fixed size (%s)", tf_src_text(c, X));
    if (d->rotary == 0)
        d->rotary = (int32_t)TF_MIN(x->dim[3], 1 << 20);
    if (d->rotary % 2 || d->rotary < 2 || d->rotary > x->dim[3])
        return tf_bad(c, TUFF_E_ATTRIBUTE, "rotary is %d; it is even, at least 2 and at most the %d channels (%s)", (int)d->rotary, (int)x->dim[3], tf_src_text(c, X));
    if (p && (!tf_dtype_is_int(p->dtype) || tf_dtype_bits(p->dtype) > 32))
        return tf_bad(c, TUFF_E_DTYPE, "positions are %s, they need an integer dtype (%s)", tuff_dtype_name(p->dtype), tf_src_text(c, POSITIONS));
    if (p && !((p->rank == 1 && tf_dim_equal(p->dim[0], x->dim[1])) ||
               (p->rank == 2 && (p->dim[0] == 1 || tf_dim_equal(p->dim[0], x->dim[0])) && tf_dim_equal(p->dim[1], x->dim[1]))))
        return tf_bad(c, TUFF_E_SHAPE, "positions need the shape [%s] or [%s, %s] (%s)", tf_dim_text(c->g, x->dim[1]), tf_dim_text(c->g, x->dim[0]),
                      tf_dim_text(c->g, x->dim[1]), tf_src_text(c, POSITIONS));
    if (s && (s->dtype != TUFF_I32 || s->rank != 1 || !tf_dim_equal(s->dim[0], x->dim[0])))
        return tf_bad(c, TUFF_E_SHAPE, "start needs to be i32[%s] (%s)", tf_dim_text(c->g, x->dim[0]), tf_src_text(c, START));
    if (f && (f->dtype != TUFF_F32 || f->rank != 1 || f->dim[0] != d->rotary / 2))
        return tf_bad(c, TUFF_E_SHAPE, "frequencies need to be f32[%d] (%s)", (int)d->rotary / 2, tf_src_text(c, FREQUENCIES));
    c->out[0] = *x;
    return true;
}

static tuff_status reference(tf_ref *r)
{
    const rope_desc *d = r->desc;
    const tf_ref_tensor *x = r->src[X], *p = r->src[POSITIONS], *s = r->src[START], *f = r->src[FREQUENCIES];
    const int64_t n = x->dim[1], heads = x->dim[2], size = x->dim[3], half = d->rotary / 2;
    const double scale = amplitude(d);
    memcpy(r->out[0].re, x->re, (size_t)x->n * sizeof *x->re);
    for (int64_t row = 0; size && row < (int64_t)x->n / size; row++) {
        const int64_t token = row / heads % n, b = row / heads / n;
        const double at = (p ? p->re[(p->rank == 2 && p->dim[0] != 1 ? b * n : 0) + token] : (double)token) + (s ? s->re[b] : 0);
        for (int64_t i = 0; i < half; i++) {
            const int64_t a = row * size + (d->pairing == TUFF_ROPE_HALVES ? i : 2 * i), e = a + (d->pairing == TUFF_ROPE_HALVES ? half : 1);
            const double t = (d->inverse ? -at : at) * (f ? f->re[i] : frequency(d, d->rotary, (int32_t)i)), u = x->re[a], v = x->re[e];
            r->out[0].re[a] = scale * (u * cos(t) - v * sin(t));
            r->out[0].re[e] = scale * (u * sin(t) + v * cos(t));
        }
    }
    return TUFF_OK;
}

/* i32 [1|b, n, 1, 1] */
static tuff_tensor positions_of(tf_lower *l)
{
    const tf_type *x = tf_ty(l->src[X]);
    tuff_tensor p = l->src[POSITIONS];
    const int64_t n = x->dim[1];
    if (!p.id)
        p = tuff_iota(l->g, (tuff_shape){ 1, { n } }, 0, NULL);
    p = tf_cast_to(p, TUFF_I32);
    p = tf_reshaped(p, 4, (int64_t[4]){ tf_ty(p)->rank == 2 ? tf_ty(p)->dim[0] : 1, n, 1, 1 });
    return l->src[START].id ? tuff_add(p, tf_reshaped(l->src[START], 4, (int64_t[4]){ x->dim[0], 1, 1, 1 })) : p;
}

/* Angles in radians [1|b, n, 1, rotary / 2], within half a turn unless the frequencies are the user's. */
static tuff_tensor angles_of(tf_lower *l, const rope_desc *d)
{
    tuff_graph *g = l->g;
    const tuff_tensor p = positions_of(l), own = l->src[FREQUENCIES];
    const int64_t half = d->rotary / 2;
    if (own.id)
        return tuff_mul(tuff_cast(p, TUFF_F32), tf_reshaped(own, 4, (int64_t[4]){ 1, 1, 1, half }));
    rope_desc table = *d;
    table.positions = table.start = table.frequencies = (tuff_tensor){ 0 };
    const tuff_tensor words = tf_add(g, &tf_op_rope_turns, NULL, 0, &table);
    tuff_tensor word[2];
    for (int64_t i = 0; i < 2; i++)
        word[i] = tf_reshaped(tuff_slice(words, TUFF_INTS(i), TUFF_INTS(i + 1), NULL), 4, (int64_t[4]){ 1, 1, 1, half });
    const tuff_tensor zero = tuff_literal(g, 0, TUFF_I32), negative = tuff_less(p, zero);
    const tuff_tensor size = tuff_bitcast(tuff_abs(p), TUFF_U32);
    const tuff_tensor turns = tuff_bitcast(tuff_add(tuff_mul(size, word[0]), tf_add(g, &tf_op_mul_high, (tuff_tensor[]){ size, word[1] }, 2, NULL)), TUFF_I32);
    const tuff_tensor t = tuff_mul(tuff_cast(turns, TUFF_F32), tuff_literal(g, ldexp(two_pi, -32), TUFF_F32));
    return tuff_where(negative, tuff_neg(t), t);
}

static tuff_tensor channels(tuff_tensor x, int64_t first, int64_t end)
{
    return tuff_slice(x, TUFF_INTS(first), TUFF_INTS(end), &(tuff_slice_desc){ .axes = TUFF_INTS(-1) });
}

/* Each channel takes its own value times the cosine and its partner's times the signed sine: one flip, and neighbouring
 * channels stay neighbours. In [.., 2, half] or [.., half, 2], whose axis of 2 holds the partners. */
static void lower(tf_lower *l)
{
    tuff_graph *g = l->g;
    const rope_desc *d = l->desc;
    const tf_type t = *tf_ty(l->src[X]);
    const int64_t half = d->rotary / 2;
    const int32_t axis = d->pairing == TUFF_ROPE_HALVES ? 3 : 4;
    const int64_t pairs[5] = { t.dim[0], t.dim[1], t.dim[2], axis == 3 ? 2 : half, axis == 3 ? half : 2 };
    const double scale = amplitude(d);
    const tuff_tensor angle = angles_of(l, d), x = tf_cast_to(l->src[X], TUFF_F32);
    tuff_tensor table[2] = { tuff_cos(angle), tuff_sin(angle) };
    for (int i = 0; i < 2; i++) {
        const double factor = i && d->inverse ? -scale : scale;
        if (factor != 1)
            table[i] = tuff_mul(table[i], tuff_literal(g, factor, TUFF_F32));
        table[i] = tuff_unsqueeze(table[i], TUFF_INTS(axis));
    }
    tuff_shape sides = { .rank = 5, .dim = { 1, 1, 1, 1, 1 } };
    sides.dim[axis] = 2;
    const tuff_tensor side = tuff_iota(g, sides, axis, &(tuff_iota_desc){ .dtype = TUFF_F32 });
    const tuff_tensor sign = tuff_sub(tuff_mul(side, tuff_literal(g, 2, TUFF_F32)), tuff_literal(g, 1, TUFF_F32));
    const bool partial = d->rotary < t.dim[3];
    const tuff_tensor own = tf_reshaped(partial ? channels(x, 0, d->rotary) : x, 5, pairs), partner = tuff_flip(own, TUFF_INTS(axis));
    tuff_tensor y = tuff_add(tuff_mul(own, table[0]), tuff_mul(tuff_mul(partner, sign), table[1]));
    y = tf_reshaped(y, 4, (int64_t[4]){ t.dim[0], t.dim[1], t.dim[2], d->rotary });
    if (partial)
        y = tuff_concat((tuff_tensor[]){ y, channels(x, d->rotary, t.dim[3]) }, 2, -1);
    l->out[0] = tf_cast_to(y, t.dtype);
}

static const tf_attr attrs[] = {
    TF_A(rope_desc, positions, TF_ATTR_TENSOR, "int [n] or [b, n]; absent: 0, 1, ..."),
    TF_A(rope_desc, start, TF_ATTR_TENSOR, "i32[b]: added to the positions"),
    TF_A(rope_desc, frequencies, TF_ATTR_TENSOR, "f32[rotary / 2]: angles per position; absent: from base and scaling"),
    TF_A(rope_desc, pairing, TF_ATTR_ENUM, "channels i and i + rotary / 2, or 2i and 2i + 1", .choices = pairings),
    FREQUENCY_ATTRS,
    TF_A(rope_desc, amplitude, TF_ATTR_FLOAT, "factor of the turned channels; 0: 1, yarn 0.1 ln(factor) + 1", .max = 1e9),
    TF_A(rope_desc, inverse, TF_ATTR_BOOL, "turn back"),
};

const tf_op tf_op_rope = {
    .name = "rope", .doc = "x[b,n,h,d] with each pair of channels turned by position * base^(-2i / rotary)",
    .source = "Su et al. 2021, arXiv 2104.09864; YaRN: Peng et al. 2023, arXiv 2309.00071", .operands = "x", .kind = TF_COMPOSITE, .attrs = attrs,
    .attr_count = TF_COUNT(attrs), .desc_size = sizeof(rope_desc), .infer = infer, .reference = reference, .lower = lower, .rel = 8,
};

tuff_tensor tuff_rope(tuff_tensor x, const tuff_rope_desc *desc)
{
    return tf_add(x.graph, &tf_op_rope, &x, 1, desc);
}
