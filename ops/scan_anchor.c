/* scan_anchor.c - the anchor _scan: running combinations of up to four fields along rows, by a table of operators.
 *
 * Every algorithm is one template: rows in sequence, rows shared by the lanes of a workgroup, and the two outer passes of
 * reduce-then-scan (fold the parts; scan the parts from what precedes them). No workgroup ever waits for another. */
#include "anchors.h"
#include "graph/userexpr.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static uint32_t fields_of(const tf_scan_desc *d, const tf_type *const *src)
{
    uint32_t n = 1;
    if (d->op == TF_SCAN_LOGSUMEXP || d->op == TF_SCAN_LINEAR)
        return 2;
    while (d->op == TF_SCAN_EXPRESSION && n < TF_SCAN_FIELDS && src[n])
        n++;
    return n;
}

/* ---- expressions --------------------------------------------------------------------------------- */

bool tf_scan_parse(tf_arena *arena, const char *combine, const char *fields, const tuff_dtype *dtype, uint32_t n, const tf_uexpr **join, const char **message)
{
    tf_uname names[2 * TF_SCAN_FIELDS];
    const char *field[TF_SCAN_FIELDS];
    *message = NULL;
    const char *p = fields;
    for (uint32_t i = 0; i < n; i++, p += strcspn(p, " "), p += *p == ' ') {
        const int length = (int)strcspn(p, " ");
        field[i] = tf_arena_printf(arena, "%.*s", length, p);
        names[i] = (tf_uname){ .name = tf_arena_printf(arena, "a.%.*s", length, p), .dtype = dtype[i], .value = true };
        names[n + i] = (tf_uname){ .name = tf_arena_printf(arena, "b.%.*s", length, p), .dtype = dtype[i], .value = true };
        if (!field[i] || !names[i].name || !names[n + i].name)
            return false;
    }
    size_t end = strlen(combine);
    while (end && strchr(" \t\r\n;", combine[end - 1]))
        end--;
    for (uint32_t i = 0; i < n; i++) {
        /* A text without a statement is the one field's value; else the field's name behind the statements is. */
        const bool bare = n == 1 && !strchr(combine, '=');
        const char *text = bare ? tf_arena_string_n(arena, combine, end) : tf_arena_printf(arena, "%.*s; %s", (int)end, combine, field[i]);
        if (!text || !(join[i] = tf_uexpr_parse(arena, text, names, 2 * n, message)))
            return false;
        if (join[i]->dtype != dtype[i]) {
            *message = tf_arena_printf(arena, "%s becomes %s, but it is %s; convert it: %s(...)", field[i], tuff_dtype_name(join[i]->dtype),
                                       tuff_dtype_name(dtype[i]), tuff_dtype_name(dtype[i]));
            return false;
        }
    }
    return true;
}

typedef struct pair { const tf_scan_state *a, *b; uint32_t n; } pair;

static tf_scalar pair_value(void *user, uint32_t name)
{
    const pair *p = user;
    return name < p->n ? p->a->f[name] : p->b->f[name - p->n];
}

/* ---- in double ----------------------------------------------------------------------------------- */

static tf_scalar times(tf_scalar a, tf_scalar b) { return (tf_scalar){ a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re }; }

static double either(double a, double b, bool larger)
{
    return isnan(a) ? a : isnan(b) ? b : larger ? fmax(a, b) : fmin(a, b);
}

tf_scan_state tf_scan_join(const tf_scan_desc *d, uint32_t fields, bool integer, const tf_scan_state *a, const tf_scan_state *b, tf_scalar *scratch)
{
    tf_scan_state y = *b;
    if (!a->some || !b->some)
        return b->some ? *b : *a;
    switch (d->op) {
    case TF_SCAN_SUM: y.f[0] = (tf_scalar){ a->f[0].re + b->f[0].re, a->f[0].im + b->f[0].im }; break;
    case TF_SCAN_PRODUCT:
        if (integer) y.f[0] = (tf_scalar){ (double)((uint32_t)(int64_t)a->f[0].re * (uint32_t)(int64_t)b->f[0].re), 0 };
        else y.f[0] = times(a->f[0], b->f[0]);
        break;
    case TF_SCAN_MAX: case TF_SCAN_MIN: y.f[0].re = either(a->f[0].re, b->f[0].re, d->op == TF_SCAN_MAX); break;
    case TF_SCAN_LOGSUMEXP: {
        const double m = either(a->f[0].re, b->f[0].re, true);
        const double p = a->f[0].re == m ? 1 : exp(a->f[0].re - m), q = b->f[0].re == m ? 1 : exp(b->f[0].re - m);
        y.f[0].re = m;
        y.f[1].re = a->f[1].re * p + b->f[1].re * q;
        break;
    }
    case TF_SCAN_LINEAR: {
        const tf_scalar h = times(b->f[1], a->f[0]);
        y.f[0] = (tf_scalar){ h.re + b->f[0].re, h.im + b->f[0].im };
        y.f[1] = times(a->f[1], b->f[1]);
        break;
    }
    case TF_SCAN_EXPRESSION: {
        pair p = { a, b, fields };
        for (uint32_t i = 0; i < fields; i++)
            y.f[i] = tf_uexpr_eval(d->join[i], &(tf_ueval){ .user = &p, .value = pair_value, .scratch = scratch });
        break;
    }
    }
    return y;
}

static tf_scalar at_of(const tf_ref_tensor *t, uint64_t i) { return (tf_scalar){ t->re[i], t->im ? t->im[i] : 0 }; }

static void lift(tf_scan_state *s)
{
    s->f[1] = (tf_scalar){ s->f[0].re < -3.0e38 ? 0 : 1, 0 };
    s->f[0].re = s->f[0].re < -3.0e38 ? -3.0e38 : s->f[0].re;
}

static tf_scan_state neutral(const tf_scan_desc *d, tuff_dtype t)
{
    tf_scan_state s = { .some = d->op != TF_SCAN_EXPRESSION };
    switch (d->op) {
    case TF_SCAN_PRODUCT: s.f[0].re = 1; break;
    case TF_SCAN_MAX: s.f[0].re = tf_dtype_is_int(t) ? tf_dtype_is_signed_int(t) ? -ldexp(1, (int)tf_dtype_bits(t) - 1) : 0 : (double)-INFINITY; break;
    case TF_SCAN_MIN:
        s.f[0].re = tf_dtype_is_int(t) ? ldexp(1, (int)tf_dtype_bits(t) - tf_dtype_is_signed_int(t)) - 1 : (double)INFINITY;
        break;
    case TF_SCAN_LOGSUMEXP: s.f[0].re = -3.0e38; break;
    case TF_SCAN_LINEAR: s.f[1].re = 1; break;
    default: break;
    }
    return s;
}

static tf_scan_state start_of(const tf_ref *r, const tf_scan_desc *d, uint32_t fields, uint64_t o, uint64_t p)
{
    tf_scan_state s = neutral(d, r->src[0]->dtype);
    for (uint32_t i = 0; i < fields; i++) {
        const tf_ref_tensor *t = p ? r->src[TF_SCAN_CARRY + i] : r->src[TF_SCAN_INIT + i];
        if (!t)
            continue;
        s.f[i] = at_of(t, p ? o * (uint64_t)t->dim[1] + p * (uint64_t)TF_MAX(d->ratio, 1) - 1 : o);
        s.some = true;
        if (!p && i == 0 && d->op == TF_SCAN_LOGSUMEXP)
            lift(&s);
    }
    return s;
}

static void put(tf_ref_tensor *y, uint64_t at, tf_scalar v)
{
    y->re[at] = v.re;
    if (y->im)
        y->im[at] = v.im;
}

static void put_state(tf_ref *r, const tf_scan_desc *d, uint32_t fields, uint64_t at, const tf_scan_state *s)
{
    if (d->project)
        r->out[0].re[at] = s->f[0].re + log(s->f[1].re);
    for (uint32_t i = 0; !d->project && i < fields; i++)
        put(&r->out[i], at, s->f[i]);
}

static tuff_status anchor_reference(tf_ref *r)
{
    const tf_scan_desc *d = r->desc;
    const tf_ref_tensor *x = r->src[0], *seg = r->src[TF_SCAN_SEG];
    uint32_t fields = d->op == TF_SCAN_LOGSUMEXP || d->op == TF_SCAN_LINEAR ? 2 : 1, nodes = 1;
    while (d->op == TF_SCAN_EXPRESSION && fields < TF_SCAN_FIELDS && r->src[fields])
        fields++;
    for (uint32_t i = 0; d->op == TF_SCAN_EXPRESSION && i < fields; i++)
        nodes = TF_MAX(nodes, d->join[i]->n);
    tf_scalar *scratch = tf_arena_array(r->scratch, tf_scalar, nodes);
    if (!scratch)
        return TUFF_E_MEMORY;
    const uint64_t inner = (uint64_t)x->dim[1], chunk = d->chunk ? (uint64_t)d->chunk : TF_MAX(inner, 1), parts = (inner + chunk - 1) / chunk;
    const tf_scan_state none = neutral(d, x->dtype);
    for (uint64_t o = 0; o < (uint64_t)x->dim[0]; o++)
        for (uint64_t p = 0; p < parts; p++) {
            tf_scan_state s = start_of(r, d, fields, o, p);
            bool reset = false;
            for (uint64_t i = p * chunk; i < TF_MIN((p + 1) * chunk, inner); i++) {
                const uint64_t at = o * inner + i;
                tf_scan_state e = { .some = true };
                for (uint32_t k = 0; k < fields && r->src[k]; k++)
                    e.f[k] = at_of(r->src[k], at);
                if (d->op == TF_SCAN_LOGSUMEXP && !r->src[1])
                    lift(&e);
                if (seg && seg->re[at] != 0) {
                    s = none;
                    reset = true;
                }
                const tf_scan_state next = tf_scan_join(d, fields, tf_dtype_is_int(x->dtype), &s, &e, scratch);
                if (!d->fold)
                    put_state(r, d, fields, at, d->exclusive ? &s : &next);
                s = next;
            }
            if (d->fold) {
                put_state(r, d, fields, o * parts + p, &s);
                if (seg)
                    r->out[fields].re[o * parts + p] = reset;
            }
        }
    return TUFF_OK;
}

/* ---- the row ------------------------------------------------------------------------------------- */

static bool anchor_infer(tf_infer *c)
{
    tf_scan_desc *d = c->mut;
    const tf_type *x = c->type[0];
    const uint32_t fields = fields_of(d, c->type);
    tuff_dtype dtype[TF_SCAN_FIELDS];
    if (x->rank != 2)
        return tf_bad(c, TUFF_E_SHAPE, "x has rank %d; it is 2 (%s)", (int)x->rank, tf_src_text(c, 0));
    if (d->chunk < 0 || d->chunk % 4)
        return tf_bad(c, TUFF_E_ATTRIBUTE, "chunk is %lld; it is a multiple of 4", (long long)d->chunk);
    if (d->op == TF_SCAN_LINEAR && !c->type[1])
        return tf_bad(c, TUFF_E_ARGUMENT, "x1 is missing");
    for (uint32_t i = 0; i < TF_SCAN_SOURCES && i < c->n_src; i++)
        if (c->type[i] && (c->type[i]->rank != 2 || (i <= TF_SCAN_SEG && (!tf_dim_equal(c->type[i]->dim[0], x->dim[0]) || !tf_dim_equal(c->type[i]->dim[1], x->dim[1])))))
            return tf_bad(c, TUFF_E_SHAPE, "%s is no matrix of x's shape", tf_src_text(c, i));
    if (c->type[TF_SCAN_SEG] && c->type[TF_SCAN_SEG]->dtype != TUFF_BOOL)
        return tf_bad(c, TUFF_E_DTYPE, "seg is bool (%s)", tf_src_text(c, TF_SCAN_SEG));
    c->n_out = d->project ? 1 : fields;
    for (uint32_t i = 0; i < fields; i++) {
        dtype[i] = c->type[i] ? c->type[i]->dtype : x->dtype;
        c->out[i] = *x;
        c->out[i].dtype = dtype[i];
    }
    if (d->fold) {
        if (c->type[TF_SCAN_SEG])
            c->out[c->n_out++] = (tf_type){ .dtype = TUFF_BOOL, .rank = 2, .dim = { x->dim[0] } };
        for (uint32_t i = 0; i < c->n_out; i++)
            c->out[i].dim[1] = d->chunk ? tf_dim_ceildiv(c->g, x->dim[1], d->chunk) : 1;
    }
    const char *message;
    if (d->op == TF_SCAN_EXPRESSION && !tf_scan_parse(&c->g->arena, d->combine ? d->combine : "", d->fields ? d->fields : "", dtype, fields, d->join, &message))
        return tf_bad(c, message ? TUFF_E_PARSE : TUFF_E_MEMORY, "%s", message ? message : "out of host memory");
    return true;
}

uint32_t tf_scan_trip(const tf_scan_desc *d, tuff_dtype t, uint32_t lanes, int64_t n)
{
    const size_t text = d->op == TF_SCAN_EXPRESSION ? strlen(d->combine) : 0; /* printed twice an element: long ones take long to compile */
    const uint32_t trip = tf_dtype_bits(t) == 64 || text <= 64 ? 16 : text <= 256 ? 8 : 4;
    return n > (int64_t)TF_CPU_TRIPS * lanes * trip && tf_dtype_bits(t) < 64 && trip > 4 ? trip + trip / 2 : trip; /* of longer rows, rather than more parts */
}

/* Fewer lanes than eight do not make up for combining twice: once over the lanes, once more for the elements. */
uint32_t tf_scan_lanes(const tf_limits *l, const tf_scan_desc *d, tuff_dtype t, int64_t rows, int64_t n)
{
    const uint32_t lanes = tf_shuffle_lanes(l);
    return l->cpu && lanes >= 8 && !d->fold && t != TUFF_F64 && n >= 64 * (int64_t)lanes && rows < 64 * (int64_t)tf_units(l) ? lanes : 0;
}

/* Lanes that share a part by shared memory: as for reductions, none on CPUs. */
static uint32_t lanes_per_part(const tf_kernel_build *k, uint32_t wg, int64_t rows, int64_t vectors, bool across)
{
    if (k->limits->cpu || (across && rows >= 512 * (int64_t)tf_units(k->limits)))
        return 1;
    return TF_MIN(tf_pow2_ceil((uint64_t)((vectors + 3) / 4)), across ? TF_MAX(wg / 32, 1) : wg);
}

static const char *glsl_name(tuff_dtype t)
{
    switch (tf_dtype_class(t)) {
    case TF_CLS_FLOAT: return t == TUFF_F64 ? "double" : "float";
    case TF_CLS_INT: return tf_dtype_is_signed_int(t) ? "int" : "uint";
    case TF_CLS_BOOL: return "bool";
    default: return "vec2";
    }
}

static const char *glsl_vector(tuff_dtype t)
{
    switch (tf_dtype_class(t)) {
    case TF_CLS_FLOAT: return "vec4";
    case TF_CLS_INT: return tf_dtype_is_signed_int(t) ? "ivec4" : "uvec4";
    default: return "bvec4";
    }
}

/* The neutral element of field i as GLSL. */
static void define_neutral(tf_kernel_build *k, const tf_scan_desc *d, uint32_t i, tuff_dtype t)
{
    static const char *const names[] = { "NEUTRAL0", "NEUTRAL1", "NEUTRAL2", "NEUTRAL3" };
    const tf_scan_state s = neutral(d, t);
    const double v = d->op == TF_SCAN_EXPRESSION ? 0 : s.f[i].re;
    if (t == TUFF_BOOL)
        tf_define(k, names[i], "false");
    else if (t == TUFF_C64)
        tf_define(k, names[i], "vec2(%g, 0.0)", v);
    else if (isinf(v))
        tf_define(k, names[i], v < 0 ? "(-tf_inf())" : "tf_inf()");
    else if (tf_dtype_is_int(t))
        tf_define(k, names[i], v == -2147483648.0 ? "(-2147483647 - 1)" : tf_dtype_is_signed_int(t) ? "%.0f" : "%.0fu", v);
    else
        tf_define(k, names[i], "%.1e", v);
}

/* "#define NAME(X) X(0) X(2)" for the bits of mask. */
static void define_list(tf_kernel_build *k, const char *name, uint32_t mask)
{
    tf_define(k, name, "%s%s%s%s", mask & 1 ? "X(0) " : "", mask & 2 ? "X(1) " : "", mask & 4 ? "X(2) " : "", mask & 8 ? "X(3)" : "");
}

static uint32_t present(const tf_kernel_build *k, uint32_t first)
{
    uint32_t mask = 0;
    for (uint32_t i = 0; i < TF_SCAN_FIELDS; i++)
        mask |= (uint32_t)(first + i < k->n_src && k->src[first + i] != NULL) << i;
    return mask;
}

/* Types, lists of fields and hooks; returns the width of vectors. */
static uint32_t define_fields(tf_kernel_build *k, const tf_scan_desc *d, uint32_t fields)
{
    static const char *const types[] = { "T0", "T1", "T2", "T3" }, *const vectors[] = { "VT0", "VT1", "VT2", "VT3" };
    const uint32_t inputs = present(k, 0) & ((1u << fields) - 1), init = present(k, TF_SCAN_INIT), carry = present(k, TF_SCAN_CARRY);
    uint32_t wanted = 0, width = 4;
    for (uint32_t i = 0; i < fields; i++)
        if (k->src[i] && tf_dtype_bits(k->src[i]->dtype) == 64)
            width = 1;
    for (uint32_t i = 0; i < fields; i++) {
        const tuff_dtype t = k->src[i] ? k->src[i]->dtype : k->src[0]->dtype;
        tf_define(k, types[i], "%s", glsl_name(t));
        tf_define(k, vectors[i], "%s", width == 4 ? glsl_vector(t) : glsl_name(t));
        define_neutral(k, d, i, t);
        wanted |= (uint32_t)(i < k->n_out && k->want[i]) << i;
    }
    tf_define(k, "VSEG", "%s", width == 4 ? "bvec4" : "bool");
    tf_define(k, "FIELDS", "%u", fields);
    tf_define(k, "INPUTS", "%d", inputs & 2 ? 2 : 1);
    define_list(k, "EACH_FIELD(X)", (1u << fields) - 1);
    define_list(k, "EACH_INPUT(X)", inputs);
    define_list(k, "EACH_WANTED(X)", wanted);
    define_list(k, "EACH_START(X)", init);
    define_list(k, "EACH_CARRY(X)", carry);
    tf_define(k, "INIT", "%d", init != 0);
    tf_define(k, "CARRY", "%d", carry != 0);
    return width;
}

static void choose_hooks(tf_kernel_build *k, const tf_scan_desc *d, uint32_t fields, uint32_t width)
{
    static const char *const x[] = { "x0", "x1", "x2", "x3", "seg", "init0", "init1", "init2", "init3", "carry0", "carry1", "carry2", "carry3" };
    static const char *const y[] = { "y0", "y1", "y2", "y3" };
    for (uint32_t i = 0; i < TF_SCAN_SOURCES; i++)
        k->loads[i] = (tf_hook){ .name = x[i], .widths = (uint8_t)(i <= TF_SCAN_SEG ? width : 1) };
    for (uint32_t i = 0; i < TF_SCAN_FIELDS; i++)
        k->stores[i] = (tf_hook){ .name = y[i], .widths = (uint8_t)(d->fold ? 1 : width) };
    k->stores[fields] = (tf_hook){ .name = d->fold ? "reset" : y[fields % 4], .widths = (uint8_t)(d->fold ? 1 : width) };
}

static bool configure(tf_kernel_build *k)
{
    const tf_scan_desc *d = k->desc;
    const tf_type *x = k->src[0];
    const uint32_t fields = fields_of(d, k->src), width = define_fields(k, d, fields);
    const bool costly = d->op == TF_SCAN_LOGSUMEXP || d->op == TF_SCAN_EXPRESSION, seg = k->src[TF_SCAN_SEG] != NULL;
    const int64_t chunk = d->chunk ? d->chunk : x->dim[1], length = tf_dim_bound(k->g, chunk);
    const int64_t parts = d->chunk ? tf_dim_ceildiv(k->g, x->dim[1], d->chunk) : 1;
    const int64_t rows = tf_dim_bin(k->g, TUFF_DIM_MUL, x->dim[0], parts), rows_bound = tf_dim_bound(k->g, rows);
    const int64_t vectors = TF_MAX((length + width - 1) / width, 1);
    uint32_t wg = tf_row_group(k->limits, rows_bound);
    while (wg * (fields * 8 + 8) > k->limits->shared_bytes)
        wg /= 2;
    const uint32_t shuffle = tf_scan_lanes(k->limits, d, x->dtype, rows_bound, length);
    const uint32_t lanes = shuffle ? shuffle : lanes_per_part(k, wg, rows_bound, vectors, d->across);
    if (shuffle)
        wg = lanes;
    const int64_t each = (vectors + lanes - 1) / lanes;
    const uint32_t unroll = shuffle ? (uint32_t)TF_MIN(each, tf_scan_trip(d, x->dtype, lanes, length) / width) /* as many as cut_for() counts on */
                                    : tf_unroll(each, d->op == TF_SCAN_EXPRESSION ? 1 : d->op == TF_SCAN_LOGSUMEXP && d->fold && !seg && width == 4 ? 8 : fields > 1 && !(d->fold && width == 1) ? 2 : 4);
    const bool whole = !tf_dim_is_dynamic(x->dim[1]) && x->dim[1] % (lanes * unroll * width) == 0 && length % (lanes * unroll * width) == 0;

    tf_define(k, "OP", "%d", (int)d->op);
    tf_define(k, "EXCLUSIVE", "%d", d->exclusive);
    tf_define(k, "PROJECT", "%d", d->project);
    tf_define(k, "FOLD", "%d", d->fold);
    tf_define(k, "SEGMENTED", "%d", seg);
    tf_define(k, "CHAIN", "%d", (lanes == 1 || shuffle) && !d->fold && (costly || (shuffle && d->op == TF_SCAN_LINEAR)));
    tf_define(k, "COMPLEX", "%d", x->dtype == TUFF_C64);
    tf_define(k, "BOUNDED", "%d", x->dtype != TUFF_F64);
    tf_define(k, "JOIN_HOOK(a, b, s)", "join_hook(%s, %s, %s);", fields > 3 ? "a.f0, a.f1, a.f2, a.f3" : fields > 2 ? "a.f0, a.f1, a.f2" : fields > 1 ? "a.f0, a.f1" : "a.f0",
              fields > 3 ? "b.f0, b.f1, b.f2, b.f3" : fields > 2 ? "b.f0, b.f1, b.f2" : fields > 1 ? "b.f0, b.f1" : "b.f0",
              fields > 3 ? "s.f0, s.f1, s.f2, s.f3" : fields > 2 ? "s.f0, s.f1, s.f2" : fields > 1 ? "s.f0, s.f1" : "s.f0");
    tf_define(k, "WIDTH", "%u", width);
    tf_define(k, "WGSIZE", "%u", wg);
    tf_define(k, "LANES", "%u", lanes);
    tf_define(k, "SHUFFLE", "%d", shuffle != 0);
    tf_define(k, "ACROSS", "%d", d->across);
    tf_define(k, "UNROLL", "%u", unroll);
    tf_define(k, "MASKED", "%d", !whole);
    tf_define_dim(k, "OUTER", x->dim[0]);
    tf_define_dim(k, "INNER", x->dim[1]);
    tf_define_dim(k, "CHUNK", chunk);
    tf_define_dim(k, "PARTS", parts);
    tf_define(k, "RATIO", "%lldu", (long long)TF_MAX(d->ratio, 1));

    k->source = tf_shader_text("anchors/scan.glsl");
    k->algorithm = d->fold ? "parts folded" : lanes == 1 ? d->chunk ? "part per invocation" : "row per invocation" :
                   shuffle ? d->chunk ? "part per subgroup" : "row per subgroup" :
                   lanes == wg ? d->chunk ? "part per workgroup" : "row per workgroup" : d->chunk ? "part shared by lanes" : "row shared by lanes";
    k->local[0] = wg;
    k->local[1] = k->local[2] = 1;
    k->groups = tf_dim_ceildiv(k->g, rows, wg / lanes);
    k->shared_bytes = lanes > 1 && !shuffle ? (fields * 8 + 8) * wg : 0;
    k->need_subgroup_shuffle = shuffle;
    k->subgroup_size = shuffle && k->limits->subgroup_control ? lanes : 0;
    tf_count_bound(k->g, x, &k->flops);
    k->flops *= d->op == TF_SCAN_LINEAR ? 4 : d->op == TF_SCAN_LOGSUMEXP ? 16 : 1;
    choose_hooks(k, d, fields, width);
    k->join = d->op == TF_SCAN_EXPRESSION ? fields : 0;
    return true;
}

typedef struct leaves { tf_exprs *x; const tf_ex *leaf; } leaves;

static tf_ex leaf_value(void *user, uint32_t name) { return ((const leaves *)user)->leaf[name]; }

static bool join_hook(tf_view_map *v, const tf_ex *leaf, tf_ex *y)
{
    const tf_scan_desc *d = v->desc;
    leaves user = { v->x, leaf };
    for (uint32_t i = 0; i < TF_SCAN_FIELDS && d->join[i]; i++)
        if (!(y[i] = tf_uexpr_build(d->join[i], &(tf_ubuild){ .x = v->x, .user = &user, .value = leaf_value })))
            return false;
    return true;
}

static const char *const operators[] = { "sum", "product", "max", "min", "logsumexp", "linear", "expression", NULL };
static const tf_attr anchor_attrs[] = {
    TF_A(tf_scan_desc, x1, TF_ATTR_TENSOR, "field 1"),
    TF_A(tf_scan_desc, x2, TF_ATTR_TENSOR, "field 2"),
    TF_A(tf_scan_desc, x3, TF_ATTR_TENSOR, "field 3"),
    TF_A(tf_scan_desc, seg, TF_ATTR_TENSOR, "bool: a segment starts here"),
    TF_A(tf_scan_desc, init0, TF_ATTR_TENSOR, "[outer,1]: what a row starts with"),
    TF_A(tf_scan_desc, init1, TF_ATTR_TENSOR, "the same of field 1"),
    TF_A(tf_scan_desc, init2, TF_ATTR_TENSOR, "the same of field 2"),
    TF_A(tf_scan_desc, init3, TF_ATTR_TENSOR, "the same of field 3"),
    TF_A(tf_scan_desc, carry0, TF_ATTR_TENSOR, "[outer,parts * ratio]: what all up to that fraction of a part combines to"),
    TF_A(tf_scan_desc, carry1, TF_ATTR_TENSOR, "the same of field 1"),
    TF_A(tf_scan_desc, carry2, TF_ATTR_TENSOR, "the same of field 2"),
    TF_A(tf_scan_desc, carry3, TF_ATTR_TENSOR, "the same of field 3"),
    TF_A(tf_scan_desc, op, TF_ATTR_ENUM, "what combines", .choices = operators),
    TF_A(tf_scan_desc, exclusive, TF_ATTR_BOOL, "element i leaves out x[i]"),
    TF_A(tf_scan_desc, fold, TF_ATTR_BOOL, "only what each part combines to"),
    TF_A(tf_scan_desc, project, TF_ATTR_BOOL, "logsumexp: the logarithm"),
    TF_A(tf_scan_desc, chunk, TF_ATTR_I64, "elements per part, a multiple of 4; 0: all"),
    TF_A(tf_scan_desc, ratio, TF_ATTR_I64, "elements of carry0 per part; 0: 1"),
    TF_A(tf_scan_desc, across, TF_ATTR_BOOL, "neighbouring rows are neighbours in memory"),
    TF_A(tf_scan_desc, combine, TF_ATTR_STRING, "expression of a.* and b.*"),
    TF_A(tf_scan_desc, fields, TF_ATTR_STRING, "names of the expression's fields"),
};
static const tf_anchor scan_anchor = {
    .name = "scan",
    .loads = { { "x0", 5, 1, false }, { "x1", 5, 1, false }, { "x2", 5, 1, false }, { "x3", 5, 1, false }, { "seg", 5, 1, false }, { "init0", 1, 0, false }, { "init1", 1, 0, false }, { "init2", 1, 0, false },
               { "init3", 1, 0, false }, { "carry0", 1, 0, false }, { "carry1", 1, 0, false }, { "carry2", 1, 0, false }, { "carry3", 1, 0, false } },
    .stores = { { "y0", 5, 0, false }, { "y1", 5, 0, false }, { "y2", 5, 0, false }, { "y3", 5, 0, false }, { "reset", 1, 0, false } },
    .configure = configure, .join = join_hook,
};
const tf_op tf_op_anchor_scan = {
    .name = "_scan", .doc = "x[outer,inner] -> y[outer,inner], each chunk scanned, or [outer,parts], each folded", .operands = "x",
    .results = "y0 y1 y2 y3 reset", .kind = TF_ANCHOR, .internal = true, .attrs = anchor_attrs, .attr_count = TF_COUNT(anchor_attrs),
    .desc_size = sizeof(tf_scan_desc), .infer = anchor_infer, .reference = anchor_reference, .anchor = &scan_anchor, .rel = 8,
};
