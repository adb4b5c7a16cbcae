/* location.c - location_embedding and location_encoder: spherical harmonics of geographic positions, and a network of sines on them.
 * Angles are reduced in degrees, where that is exact; the embedding uses the opposite direction, as the published code does. */
#include "gaunt.h"

#include <math.h>
#include <string.h>

enum { DEGREES_MAX = 128 };

static bool check_positions(tf_infer *c, int32_t degrees)
{
    const tf_type *p = c->type[0];
    for (uint32_t i = 0; i < c->n_src; i++)
        if (tf_dtype_class(c->type[i]->dtype) != TF_CLS_FLOAT || c->type[i]->dtype == TUFF_F64)
            return tf_bad(c, TUFF_E_DTYPE, "%s is not among its dtypes: f32 f16 bf16 (%s)", tuff_dtype_name(c->type[i]->dtype), tf_src_text(c, i));
    if (p->rank < 1 || p->dim[p->rank - 1] != 2) return tf_bad(c, TUFF_E_SHAPE, "%s needs a last axis of 2, longitude and latitude", tf_src_text(c, 0));
    if (degrees < 1 || degrees > DEGREES_MAX) return tf_bad(c, TUFF_E_ATTRIBUTE, "degrees is %d; it is from 1 to %d", (int)degrees, DEGREES_MAX);
    return true;
}

static void embed(const double *lonlat, int32_t degrees, bool legacy, double *out)
{
    const double lon = lonlat[0] * TF_PI / 180, lat = lonlat[1] * TF_PI / 180;
    tf_sh_eval(degrees - 1, -cos(lat) * sin(lon), -sin(lat), -cos(lat) * cos(lon), out);
    for (int32_t l = 0; legacy && l < degrees; l++) out[tf_sh_at(l, 0)] *= TF_PI;
}

/* ---- location_embedding ------------------------------------------------------------------------------------------ */

typedef struct embed_desc {
    int32_t degrees;
    bool legacy_m0;
} embed_desc;

static bool embed_infer(tf_infer *c)
{
    const embed_desc *d = c->desc;
    if (!check_positions(c, d->degrees)) return false;
    c->out[0] = *c->type[0];
    c->out[0].dim[c->out[0].rank - 1] = (int64_t)d->degrees * d->degrees;
    return true;
}

static tuff_status embed_reference(tf_ref *r)
{
    const embed_desc *d = r->desc;
    const uint64_t size = (uint64_t)d->degrees * (uint64_t)d->degrees;
    for (uint64_t i = 0; i < r->out[0].n / size; i++) embed(r->src[0]->re + 2 * i, d->degrees, d->legacy_m0, r->out[0].re + i * size);
    return TUFF_OK;
}

/* sin (shift 0) and cos (shift 1) of degrees: the remainder to a quarter turn is exact. */
#define QUARTER(name, axis, shift) \
    "let q" name " = round(p[i0, " axis "] / 90.0); let r" name " = (p[i0, " axis "] - 90.0 * q" name ") * 0.017453292519943295;" \
    " let n" name " = q" name " + " shift "; let k" name " = n" name " - 4.0 * floor(n" name " / 4.0);" \
    " let t" name " = k" name " == 0.0 || k" name " == 2.0 ? sin(r" name ") : cos(r" name ");" \
    " let v" name " = k" name " >= 2.0 ? -t" name " : t" name ";"

static tuff_tensor embedding(tuff_tensor lonlat, int32_t degrees, bool legacy)
{
    tuff_graph *g = lonlat.graph;
    const int64_t rows = tf_ty(lonlat)->dim[0];
    const tuff_tensor z = tuff_expand(tuff_literal(g, 0, TUFF_F32), (tuff_shape){ 2, { rows, 3 } });
    const tuff_tensor v = tuff_map(g, QUARTER("a", "0", "0.0") QUARTER("b", "0", "1.0") QUARTER("c", "1", "0.0") QUARTER("d", "1", "1.0")
                                   " z - (i1 == 0 ? vd * va : i1 == 1 ? vc : vd * vb)", 2, (tuff_named[]){ { "p", lonlat }, { "z", z } });
    const tuff_tensor y = tuff_spherical_harmonics(v, degrees - 1, NULL);
    if (!legacy || !y.id) return y;
    float *scale = tf_arena_array(&g->arena, float, (size_t)tf_sh_size(degrees - 1));
    if (!scale) return y;
    for (int32_t i = 0; i < tf_sh_size(degrees - 1); i++) scale[i] = 1;
    for (int32_t l = 0; l < degrees; l++) scale[tf_sh_at(l, 0)] = (float)TF_PI;
    return tuff_mul(y, tuff_const(g, TUFF_F32, (tuff_shape){ 1, { tf_sh_size(degrees - 1) } }, scale, NULL));
}

static void embed_lower(tf_lower *l)
{
    const embed_desc *d = l->desc;
    const tuff_tensor x = tf_rows_of(l->src[0], l->out_type);
    if (x.id) l->out[0] = tf_rows_back(embedding(x, d->degrees, d->legacy_m0), l->out_type);
}

static const tf_attr embed_attrs[] = {
    TF_A(embed_desc, degrees, TF_ATTR_INT, "how many degrees, l = 0 .. degrees-1", .required = true),
    TF_A(embed_desc, legacy_m0, TF_ATTR_BOOL, "entries m = 0 times pi, as weights trained before 2024-01-31 expect"),
};
const tf_op tf_op_location_embedding = {
    .name = "location_embedding", .doc = "lonlat[.., 2] in degrees -> y[.., degrees^2]: spherical harmonics of the opposite direction", .operands = "lonlat",
    .source = "Russwurm et al. 2024, arXiv:2310.06743", .kind = TF_COMPOSITE, .attrs = embed_attrs, .attr_count = TF_COUNT(embed_attrs),
    .desc_size = sizeof(embed_desc), .infer = embed_infer, .reference = embed_reference, .lower = embed_lower, .rel = 80,
};
tuff_tensor tuff_location_embedding(tuff_tensor lonlat, int32_t degrees, const tuff_location_embedding_desc *desc)
{
    return tf_add(lonlat.graph, &tf_op_location_embedding, &lonlat, 1, &(embed_desc){ degrees, desc && desc->legacy_m0 });
}

/* ---- location_encoder --------------------------------------------------------------------------------------------- */

typedef struct encoder_desc {
    int32_t degrees;
    float w0_first, w0;
    bool legacy_m0;
} encoder_desc;

static bool encoder_infer(tf_infer *c)
{
    encoder_desc *d = c->mut;
    d->w0_first = d->w0_first == 0 ? 30 : d->w0_first;
    d->w0 = d->w0 == 0 ? 1 : d->w0;
    if (!check_positions(c, d->degrees)) return false;
    if (c->n_src < 3 || c->n_src % 2 == 0) return tf_bad(c, TUFF_E_ARGUMENT, "%u layer operands; they come in pairs of weights and bias", (unsigned)c->n_src - 1);
    int64_t width = (int64_t)d->degrees * d->degrees;
    for (uint32_t i = 1; i < c->n_src; i += 2) {
        const tf_type *w = c->type[i], *b = c->type[i + 1];
        if (w->rank != 2 || tf_dim_is_dynamic(w->dim[0]) || w->dim[1] != width)
            return tf_bad(c, TUFF_E_SHAPE, "%s needs the shape [out, %lld]", tf_src_text(c, i), (long long)width);
        if (b->rank != 1 || b->dim[0] != w->dim[0]) return tf_bad(c, TUFF_E_SHAPE, "%s needs the shape [%lld]", tf_src_text(c, i + 1), (long long)w->dim[0]);
        width = w->dim[0];
    }
    c->out[0] = *c->type[0];
    c->out[0].dim[c->out[0].rank - 1] = width;
    return true;
}

static tuff_status encoder_reference(tf_ref *r)
{
    const encoder_desc *d = r->desc;
    int64_t widest = (int64_t)d->degrees * d->degrees;
    for (uint32_t i = 1; i < r->n_src; i += 2) widest = TF_MAX(widest, r->src[i]->dim[0]);
    double *h = tf_arena_array(r->scratch, double, (size_t)widest), *next = tf_arena_array(r->scratch, double, (size_t)widest);
    if (!h || !next) return TUFF_E_MEMORY;
    for (uint64_t row = 0; row < r->src[0]->n / 2; row++) {
        embed(r->src[0]->re + 2 * row, d->degrees, d->legacy_m0, h);
        for (uint32_t i = 1; i < r->n_src; i += 2) {
            const tf_ref_tensor *w = r->src[i];
            for (int64_t o = 0; o < w->dim[0]; o++) {
                double sum = r->src[i + 1]->re[o];
                for (int64_t k = 0; k < w->dim[1]; k++) sum += w->re[o * w->dim[1] + k] * h[k];
                next[o] = i + 2 < r->n_src ? sin((double)(i == 1 ? d->w0_first : d->w0) * sum) : sum;
            }
            memcpy(h, next, (size_t)w->dim[0] * sizeof *h);
        }
        const int64_t n = r->src[r->n_src - 2]->dim[0];
        memcpy(r->out[0].re + row * (uint64_t)n, h, (size_t)n * sizeof *h);
    }
    return TUFF_OK;
}

static void encoder_lower(tf_lower *l)
{
    const encoder_desc *d = l->desc;
    const tuff_tensor x = tf_rows_of(l->src[0], l->out_type);
    if (!x.id) return;
    tuff_tensor h = embedding(x, d->degrees, d->legacy_m0);
    for (uint32_t i = 1; i < l->n_src; i += 2) {
        h = tuff_add(tuff_matmul(h, tf_cast_to(l->src[i], TUFF_F32), &(tuff_matmul_desc){ .transpose_b = true }), tf_cast_to(l->src[i + 1], TUFF_F32));
        const double w0 = (double)(i == 1 ? d->w0_first : d->w0);
        if (i + 2 < l->n_src) h = tuff_sin(w0 == 1 ? h : tuff_mul(h, tuff_literal(l->g, w0, TUFF_F32)));
    }
    l->out[0] = tf_rows_back(h, l->out_type);
}

static const tf_attr encoder_attrs[] = {
    TF_A(encoder_desc, degrees, TF_ATTR_INT, "how many degrees, l = 0 .. degrees-1", .required = true),
    TF_A(encoder_desc, w0_first, TF_ATTR_FLOAT, "factor in the first sine; 0: 30"),
    TF_A(encoder_desc, w0, TF_ATTR_FLOAT, "factor in the other sines; 0: 1"),
    TF_A(encoder_desc, legacy_m0, TF_ATTR_BOOL, "as in location_embedding"),
};
const tf_op tf_op_location_encoder = {
    .name = "location_encoder", .doc = "lonlat[.., 2] in degrees, layers W0[n1, degrees^2] b0[n1] W1[n2, n1] b1[n2] .. -> y[.., n]: sines between the layers",
    .operands = "lonlat layers...", .source = "Russwurm et al. 2024, arXiv:2310.06743; Sitzmann et al. 2020, arXiv:2006.09661", .kind = TF_COMPOSITE,
    .attrs = encoder_attrs, .attr_count = TF_COUNT(encoder_attrs), .desc_size = sizeof(encoder_desc), .infer = encoder_infer,
    .reference = encoder_reference, .lower = encoder_lower, .rel = 160,
};
tuff_tensor tuff_location_encoder(tuff_tensor lonlat, int32_t degrees, const tuff_tensor *weights, const tuff_tensor *biases, uint32_t layers,
                                  const tuff_location_encoder_desc *desc)
{
    tuff_tensor all[TF_MAX_OPERANDS] = { lonlat };
    if (!weights || !biases || layers < 1 || 2 * layers + 1 > TF_MAX_OPERANDS)
        return tf_fail(lonlat.graph, TUFF_E_ARGUMENT, "location_encoder: %u layers; there are 1 to %d, each with weights and a bias", (unsigned)layers, (TF_MAX_OPERANDS - 1) / 2);
    for (uint32_t i = 0; i < layers; i++) {
        all[2 * i + 1] = weights[i];
        all[2 * i + 2] = biases[i];
    }
    encoder_desc d = { .degrees = degrees };
    if (desc) d = (encoder_desc){ degrees, desc->w0_first, desc->w0, desc->legacy_m0 };
    return tf_add(lonlat.graph, &tf_op_location_encoder, all, 2 * layers + 1, &d);
}
