/* text_args.c - the parts of a statement: integer expressions, types, attribute values, constants. */
#include "npy.h"
#include "text_read.h"

#include <math.h>
#include <string.h>

enum { MAX_NESTING = 64 };
#define MAX_FILL (UINT64_C(1) << 28) /* bytes of a constant given by one number */

/* ---- integers and dims ---- */

static bool expression(tf_parser *p, int64_t *out);

static bool combine(tf_parser *p, const tf_tok *at, tuff_dim_operator op, int64_t a, int64_t b, int64_t *out)
{
    *out = tf_dim_bin(p->g, op, a, b);
    if (tf_status(p->g))
        return false;
    if (!tf_dim_is_dynamic(*out) && (*out >= INT64_C(1) << 56 || *out <= -(INT64_C(1) << 56)))
        return tf_text_bad(p, at, TUFF_E_OVERFLOW, "the integer overflows");
    return true;
}

static bool named_integer(tf_parser *p, int64_t *out)
{
    const tf_tok at = p->tok;
    const bool max = tf_tok_is(&at, "max"), min = tf_tok_is(&at, "min");
    const char *name = tf_text_name(p, "an integer");
    if (!name)
        return false;
    const tf_binding_name *b = tf_text_find(p, name);
    if ((max || min) && tf_tok_is(&p->tok, "(")) {
        int64_t a, c, m, sum;
        if (!tf_text_expect(p, "(", "") || !expression(p, &a) || !tf_text_expect(p, ",", "between the arguments") || !expression(p, &c) ||
            !tf_text_expect(p, ")", "after the arguments") || !combine(p, &at, TUFF_DIM_MAX, a, c, &m))
            return false;
        *out = m;
        return max || (combine(p, &at, TUFF_DIM_ADD, a, c, &sum) && combine(p, &at, TUFF_DIM_SUB, sum, m, out));
    }
    if (b && b->kind == TF_BIND_INT) {
        *out = b->dim;
        return true;
    }
    if (b)
        return tf_text_bad(p, &at, TUFF_E_PARSE, "\"%s\" is %s; an integer is needed here", name,
                           b->kind == TF_BIND_DEF ? "a def" : b->kind == TF_BIND_NUMBER ? "a number" : "a tensor");
    const char **known = tf_arena_array(&p->tmp, const char *, p->names.n + 1);
    uint32_t n = 0;
    for (uint32_t i = 0; known && i < p->names.n; i++)
        if (p->names.data[i].kind == TF_BIND_INT)
            known[n++] = p->names.data[i].name;
    return tf_text_bad(p, &at, TUFF_E_NAME, "unknown integer \"%s\"%s", name, tf_text_suggest(p, name, known, n));
}

static bool primary(tf_parser *p, int64_t *out)
{
    const tf_tok at = p->tok;
    bool good = false;
    if (++p->depth > MAX_NESTING)
        return tf_text_bad(p, &at, TUFF_E_LIMIT, "the expression nests deeper than %d", MAX_NESTING);
    if (at.kind == TF_TOK_NUMBER) {
        if (at.number > 0x1p56)
            return tf_text_bad(p, &at, TUFF_E_OVERFLOW, "%s is above 2^56", tf_text_spell(p, &at));
        if (!at.is_integer)
            return tf_text_bad(p, &at, TUFF_E_PARSE, "%s is no integer", tf_text_spell(p, &at));
        *out = (int64_t)at.integer;
        good = tf_text_next(p);
    } else if (tf_text_accept(p, "-")) {
        int64_t x;
        good = primary(p, &x) && combine(p, &at, TUFF_DIM_SUB, 0, x, out);
    } else if (tf_text_accept(p, "(")) {
        good = expression(p, out) && tf_text_expect(p, ")", "after the expression");
    } else if (at.kind == TF_TOK_NAME || at.kind == TF_TOK_STRING) {
        good = named_integer(p, out);
    } else {
        return tf_text_bad(p, &at, TUFF_E_PARSE, "an integer is needed here, not %s", tf_text_spell(p, &at));
    }
    p->depth--;
    return good;
}

static bool product(tf_parser *p, int64_t *out)
{
    if (!primary(p, out))
        return false;
    for (;;) {
        const tf_tok at = p->tok;
        int64_t b, q;
        if (tf_text_accept(p, "*")) {
            if (!primary(p, &b) || !combine(p, &at, TUFF_DIM_MUL, *out, b, out))
                return false;
        } else if (tf_text_accept(p, "/")) {
            if (!primary(p, &b) || !combine(p, &at, TUFF_DIM_FLOORDIV, *out, b, out))
                return false;
        } else if (tf_text_accept(p, "%")) {
            if (!primary(p, &b) || !combine(p, &at, TUFF_DIM_FLOORDIV, *out, b, &q) || !combine(p, &at, TUFF_DIM_MUL, q, b, &q) ||
                !combine(p, &at, TUFF_DIM_SUB, *out, q, out))
                return false;
        } else {
            return !tf_status(p->g);
        }
    }
}

static bool expression(tf_parser *p, int64_t *out)
{
    if (!product(p, out))
        return false;
    for (;;) {
        const tf_tok at = p->tok;
        int64_t b;
        const bool plus = tf_text_accept(p, "+");
        if (!plus && !tf_text_accept(p, "-"))
            return !tf_status(p->g);
        if (!product(p, &b) || !combine(p, &at, plus ? TUFF_DIM_ADD : TUFF_DIM_SUB, *out, b, out))
            return false;
    }
}

bool tf_text_integer(tf_parser *p, int64_t *dim)
{
    p->g->line = p->tok.line;
    p->g->column = p->tok.column;
    return expression(p, dim);
}

bool tf_text_count(tf_parser *p, const char *what, int64_t *out)
{
    const tf_tok at = p->tok;
    if (!tf_text_integer(p, out))
        return false;
    return !tf_dim_is_dynamic(*out) || tf_text_bad(p, &at, TUFF_E_PARSE, "%s is fixed at compile time; %s is dynamic", what, tf_dim_text(p->g, *out));
}

static const tf_binding_name *number_name(const tf_parser *p)
{
    char name[256];
    if (p->tok.kind != TF_TOK_NAME || p->tok.n >= sizeof name)
        return NULL;
    memcpy(name, p->tok.p, p->tok.n);
    name[p->tok.n] = 0;
    const tf_binding_name *b = tf_text_find(p, name);
    return b && b->kind == TF_BIND_NUMBER ? b : NULL;
}

bool tf_text_is_fraction(const tf_parser *p)
{
    return (p->tok.kind == TF_TOK_NUMBER && !p->tok.is_integer) || tf_tok_is(&p->tok, "inf") || tf_tok_is(&p->tok, "nan") || number_name(p);
}

bool tf_text_number(tf_parser *p, double *out)
{
    /* A sign belongs to the number when one follows; else this is an expression like -n. */
    const tf_lexer lx = p->lx;
    const tf_tok tok = p->tok;
    const bool minus = tf_text_accept(p, "-");
    double v;
    if (p->tok.kind == TF_TOK_NUMBER && !p->tok.is_integer)
        v = p->tok.number;
    else if (tf_tok_is(&p->tok, "inf"))
        v = (double)INFINITY;
    else if (tf_tok_is(&p->tok, "nan"))
        v = (double)NAN;
    else if (number_name(p))
        v = number_name(p)->number;
    else {
        p->lx = lx;
        p->tok = tok;
        if (!minus && tok.kind == TF_TOK_NUMBER && tok.integer > (uint64_t)1 << 56) {
            *out = tok.number;
            return tf_text_next(p);
        }
        int64_t i;
        if (!tf_text_count(p, "a number", &i))
            return false;
        *out = minus && i == 0 && tok.kind == TF_TOK_PUNCT ? -0.0 : (double)i;
        return true;
    }
    *out = minus ? -v : v;
    return tf_text_next(p);
}

/* ---- types ---- */

static bool dtype_name(tf_parser *p, tuff_dtype *out)
{
    *out = p->tok.kind == TF_TOK_NAME ? tf_dtype_by_name(p->tok.p, p->tok.n) : TUFF_DTYPE_NONE;
    if (*out != TUFF_DTYPE_NONE)
        return tf_text_next(p);
    const char *names[TUFF_DTYPE_COUNT];
    for (int t = 1; t < TUFF_DTYPE_COUNT; t++)
        names[t - 1] = tuff_dtype_name((tuff_dtype)t);
    const char *word = tf_text_spell(p, &p->tok);
    return tf_text_bad(p, &p->tok, TUFF_E_PARSE, "%s is no dtype%s", word, tf_text_suggest(p, word, names, TUFF_DTYPE_COUNT - 1));
}

/* Integers or dims between brackets. `end` stands for TUFF_END. */
static bool int_list(tf_parser *p, const char *what, int64_t v[TUFF_MAX_RANK], int32_t *n)
{
    *n = 0;
    if (!tf_text_expect(p, "[", what))
        return false;
    while (!tf_text_accept(p, "]")) {
        if (*n == TUFF_MAX_RANK)
            return tf_text_bad(p, &p->tok, TUFF_E_LIMIT, "%s has more than %d entries", what, TUFF_MAX_RANK);
        if (tf_tok_is(&p->tok, "end")) {
            v[(*n)++] = TUFF_END;
            if (!tf_text_next(p))
                return false;
        } else if (!tf_text_integer(p, &v[(*n)++])) {
            return false;
        }
        if (!tf_tok_is(&p->tok, "]") && !tf_text_expect(p, ",", what))
            return false;
    }
    return !tf_status(p->g);
}

bool tf_text_type(tf_parser *p, tuff_dtype *dtype, tuff_shape *shape)
{
    *shape = (tuff_shape){ 0 };
    if (!dtype_name(p, dtype))
        return false;
    return !tf_tok_is(&p->tok, "[") || int_list(p, "the shape", shape->dim, &shape->rank);
}

/* ---- attributes ---- */

/* A param that is a fixed integer, or NULL. */
static const tf_binding_name *find_param(const tf_parser *p, const char *word)
{
    const tf_binding_name *b = word ? tf_text_find(p, word) : NULL;
    return b && b->kind == TF_BIND_INT && !tf_dim_is_dynamic(b->dim) ? b : NULL;
}

static bool read_bool(tf_parser *p, bool *out)
{
    *out = tf_tok_is(&p->tok, "true");
    const tf_binding_name *param = *out || p->tok.kind != TF_TOK_NAME ? NULL : find_param(p, tf_arena_string_n(&p->tmp, p->tok.p, p->tok.n));
    if (param) { /* 0 is false */
        *out = param->dim != 0;
        return tf_text_next(p);
    }
    if (!*out && !tf_tok_is(&p->tok, "false"))
        return tf_text_bad(p, &p->tok, TUFF_E_PARSE, "true or false is needed here, not %s", tf_text_spell(p, &p->tok));
    return tf_text_next(p);
}

static bool read_enum(tf_parser *p, const tf_attr *a, int32_t *out)
{
    const tf_tok at = p->tok;
    const char *word = tf_text_name(p, "a choice"), *bad = "";
    if (!word)
        return false;
    uint32_t n = 0;
    tf_str all;
    tf_str_init(&all, &p->g->arena.allocator);
    for (; a->choices && a->choices[n]; n++) {
        if (!strcmp(a->choices[n], word)) {
            *out = (int32_t)n;
            tf_str_release(&all);
            return true;
        }
        tf_str_printf(&all, "%s%s", n ? ", " : "", a->choices[n]);
    }
    const tf_binding_name *param = find_param(p, word);
    if (param && param->dim >= 0 && param->dim < (int64_t)n) { /* a param counts the choices from 0 */
        *out = (int32_t)param->dim;
        tf_str_release(&all);
        return true;
    }
    bad = all.data ? all.data : "";
    tf_text_bad(p, &at, TUFF_E_ATTRIBUTE, "%s is \"%s\"; its values are %s", a->name, word, bad);
    tf_str_release(&all);
    return false;
}

static bool read_string(tf_parser *p, const char **out)
{
    const tf_tok at = p->tok;
    const char *bad;
    if (at.kind != TF_TOK_STRING)
        return tf_text_bad(p, &at, TUFF_E_PARSE, "a string is needed here, not %s", tf_text_spell(p, &at));
    *out = tf_tok_string(&p->tmp, &at, &bad);
    if (bad)
        return tf_text_bad(p, &at, TUFF_E_PARSE, "%s", bad);
    return *out && tf_text_next(p);
}

static bool read_u64(tf_parser *p, uint64_t *out)
{
    if (p->tok.kind == TF_TOK_NUMBER && p->tok.is_integer) { /* all 64 bits */
        *out = p->tok.integer;
        return tf_text_next(p);
    }
    const tf_tok at = p->tok;
    int64_t i;
    if (!tf_text_count(p, "an attribute", &i))
        return false;
    *out = (uint64_t)i;
    return i >= 0 || tf_text_bad(p, &at, TUFF_E_ATTRIBUTE, "%lld is negative", (long long)i);
}

static bool read_ints(tf_parser *p, const tf_attr *a, int64_t v[TUFF_MAX_RANK], int32_t *n)
{
    if (tf_tok_is(&p->tok, "["))
        return int_list(p, a->name, v, n);
    *n = 1;
    if (tf_tok_is(&p->tok, "end")) {
        v[0] = TUFF_END;
        return tf_text_next(p);
    }
    return tf_text_integer(p, &v[0]);
}

static bool read_value(tf_parser *p, const tf_attr *a, void *desc)
{
    void *at = (char *)desc + a->offset;
    const tf_tok tok = p->tok;
    switch (a->type) {
    case TF_ATTR_BOOL: return read_bool(p, at);
    case TF_ATTR_INT: {
        int64_t i;
        if (!tf_text_count(p, a->name, &i))
            return false;
        const int32_t v = (int32_t)i;
        memcpy(at, &v, sizeof v);
        return v == i || tf_text_bad(p, &tok, TUFF_E_ATTRIBUTE, "%s is %lld; it has 32 bits", a->name, (long long)i);
    }
    case TF_ATTR_I64: return tf_text_count(p, a->name, at);
    case TF_ATTR_U64: return read_u64(p, at);
    case TF_ATTR_FLOAT: {
        double d;
        if (!tf_text_number(p, &d))
            return false;
        const float f = (float)tf_round_to(TUFF_F32, d);
        memcpy(at, &f, sizeof f);
        return !isfinite(d) || isfinite((double)f) || tf_text_bad(p, &tok, TUFF_E_ATTRIBUTE, "%s is %g; it is an f32", a->name, d);
    }
    case TF_ATTR_DOUBLE: return tf_text_number(p, at);
    case TF_ATTR_DTYPE: return dtype_name(p, at);
    case TF_ATTR_ENUM: return read_enum(p, a, at);
    case TF_ATTR_INTS: {
        tuff_ints v = { 0 };
        if (!read_ints(p, a, v.v, &v.n))
            return false;
        memcpy(at, &v, sizeof v);
        return true;
    }
    case TF_ATTR_SHAPE: {
        tuff_shape s = { 0 };
        if (!read_ints(p, a, s.dim, &s.rank))
            return false;
        memcpy(at, &s, sizeof s);
        return true;
    }
    case TF_ATTR_STRING: return read_string(p, at);
    case TF_ATTR_TENSOR:
    case TF_ATTR_NAMED: break;
    }
    return tf_text_bad(p, &tok, TUFF_E_PARSE, "%s is an operand; it stands in the parentheses: %s=x", a->name, a->name);
}

static bool unknown_attr(tf_parser *p, const tf_op *op, const tf_tok *at, const char *name)
{
    const char **known = tf_arena_array(&p->tmp, const char *, op->attr_count + 1);
    for (uint32_t i = 0; known && i < op->attr_count; i++)
        known[i] = op->attrs[i].name;
    const char *hint = known ? tf_text_suggest(p, name, known, op->attr_count) : "";
    return tf_text_bad(p, at, TUFF_E_ATTRIBUTE, "%s has no attribute \"%s\"%s", op->name, name, hint);
}

bool tf_text_attrs(tf_parser *p, const tf_op *op, void *desc, const tf_tok *op_token)
{
    bool *given = tf_arena_array(&p->tmp, bool, op->attr_count + 1);
    if (!given)
        return false;
    if (tf_text_accept(p, "{")) {
        while (!tf_text_accept(p, "}")) {
            const tf_tok at = p->tok;
            const char *name = tf_text_name(p, "an attribute");
            if (!name)
                return false;
            const tf_attr *a = tf_attr_find(op, name);
            if (!a)
                return unknown_attr(p, op, &at, name);
            if (given[a - op->attrs])
                return tf_text_bad(p, &at, TUFF_E_ATTRIBUTE, "attribute %s is given twice", name);
            given[a - op->attrs] = true;
            if (!tf_text_expect(p, "=", "after the attribute's name") || !read_value(p, a, desc))
                return false;
            if (!tf_tok_is(&p->tok, "}") && !tf_text_expect(p, ",", "between attributes"))
                return false;
        }
    }
    for (uint32_t i = 0; i < op->attr_count; i++)
        if (op->attrs[i].required && !given[i] && op->attrs[i].type != TF_ATTR_TENSOR && op->attrs[i].type != TF_ATTR_NAMED)
            return tf_text_bad(p, op_token, TUFF_E_ATTRIBUTE, "%s needs the attribute %s", op->name, op->attrs[i].name);
    return !tf_status(p->g);
}

/* ---- constants ---- */

typedef struct filler {
    tuff_dtype dtype;
    const tuff_shape *shape;
    void *data;
    uint64_t n, count;
} filler;

static bool element(tf_parser *p, filler *f, double *re, double *im)
{
    const tf_tok at = p->tok;
    bool truth;
    *im = 0;
    if (f->dtype == TUFF_C64 && tf_text_accept(p, "(")) {
        if (!tf_text_number(p, re) || !tf_text_expect(p, ",", "between the parts") || !tf_text_number(p, im) || !tf_text_expect(p, ")", "after the parts"))
            return false;
    } else if (f->dtype == TUFF_BOOL && (tf_tok_is(&at, "true") || tf_tok_is(&at, "false"))) {
        if (!read_bool(p, &truth))
            return false;
        *re = truth;
    } else if (!tf_text_number(p, re)) {
        return false;
    }
    const double r = tf_round_to(f->dtype, *re);
    const bool is_float = tf_dtype_is_float(f->dtype) || f->dtype == TUFF_C64 || f->dtype == TUFF_F8E4M3 || f->dtype == TUFF_F8E5M2;
    if (is_float ? isfinite(*re) && !isfinite(r) : r != *re)
        return tf_text_bad(p, &at, TUFF_E_DTYPE, "%s is not a value of %s", tf_text_spell(p, &at), tuff_dtype_name(f->dtype));
    return true;
}

static bool list(tf_parser *p, filler *f, int32_t depth)
{
    const tf_tok open = p->tok;
    if (!tf_text_expect(p, "[", "before the elements"))
        return false;
    uint64_t n = 0;
    bool lists = false, numbers = false;
    while (!tf_text_accept(p, "]")) {
        const tf_tok at = p->tok;
        if (tf_tok_is(&at, "[")) {
            lists = true;
            if (depth + 1 >= f->shape->rank)
                return tf_text_bad(p, &at, TUFF_E_SHAPE, "the lists nest deeper than the rank %d", (int)f->shape->rank);
            if (!list(p, f, depth + 1))
                return false;
        } else {
            double re, im;
            numbers = true;
            if (f->n == f->count)
                return tf_text_bad(p, &at, TUFF_E_SHAPE, "there are more than the %llu elements of the shape", (unsigned long long)f->count);
            if (!element(p, f, &re, &im))
                return false;
            tf_store_element(f->dtype, f->data, f->n++, re, im);
        }
        n++;
        if (!tf_tok_is(&p->tok, "]") && !tf_text_expect(p, ",", "between elements"))
            return false;
    }
    if (lists && numbers)
        return tf_text_bad(p, &open, TUFF_E_SHAPE, "a list holds numbers or lists, not both");
    const bool flat = depth == 0 && !lists && f->shape->rank > 1;
    const uint64_t want = flat || f->shape->rank == 0 ? f->count : (uint64_t)f->shape->dim[depth];
    if (n != want || (!lists && !flat && depth + 1 < f->shape->rank))
        return tf_text_bad(p, &open, TUFF_E_SHAPE, "the list has %llu elements; the shape needs %llu here", (unsigned long long)n, (unsigned long long)want);
    return !tf_status(p->g);
}

static bool from_file(tf_parser *p, const tf_tok *at, const char *path, const tuff_const_desc *cd, tuff_dtype dtype, const tuff_shape *shape, tuff_tensor *out)
{
    const tuff_allocator *allocator = &p->g->arena.allocator;
    const bool absolute = path[0] == '/' || path[0] == '\\' || (path[0] && path[1] == ':');
    const char *full = p->desc->dir && !absolute ? tf_arena_printf(&p->tmp, "%s/%s", p->desc->dir, path) : path;
    char why[512];
    tf_npy npy;
    if (!full)
        return false;
    const tuff_status status = tf_npy_read(full, dtype, allocator, &npy, why, sizeof why);
    if (status != TUFF_OK)
        return tf_text_bad(p, at, status, "%s", why);
    bool same = npy.shape.rank == shape->rank;
    for (int32_t i = 0; i < shape->rank && same; i++)
        same = npy.shape.dim[i] == shape->dim[i];
    if (!same) {
        tf_type have = { .dtype = npy.dtype, .rank = npy.shape.rank }, want = { .dtype = dtype, .rank = shape->rank };
        memcpy(have.dim, npy.shape.dim, sizeof have.dim);
        memcpy(want.dim, shape->dim, sizeof want.dim);
        tf_npy_release(&npy, allocator);
        return tf_text_bad(p, at, TUFF_E_SHAPE, "%s holds %s, not %s", full, tf_type_text(p->g, &have), tf_type_text(p->g, &want));
    }
    *out = tuff_const(p->g, dtype, *shape, npy.data, cd);
    tf_npy_release(&npy, allocator);
    if (!out->id)
        return false;
    ((tf_source_desc *)tf_def(p->g, out->id)->desc)->file = tf_arena_string(&p->g->arena, path);
    return !tf_status(p->g);
}

static bool from_text(tf_parser *p, const tf_tok *at, const tuff_const_desc *cd, tuff_dtype dtype, const tuff_shape *shape, tuff_tensor *out)
{
    tf_type t = { .dtype = dtype, .rank = shape->rank };
    filler f = { .dtype = dtype, .shape = shape };
    uint64_t bytes;
    memcpy(t.dim, shape->dim, sizeof t.dim);
    for (int32_t i = 0; i < t.rank; i++)
        if (t.dim[i] < 0)
            return tf_text_bad(p, at, TUFF_E_SHAPE, "a constant's dims are fixed counts; dim %d is %s", (int)i, tf_dim_text(p->g, t.dim[i]));
    if (!tf_count_bound(p->g, &t, &f.count) || !tf_bytes_bound(p->g, &t, &bytes) || bytes > MAX_FILL)
        return tf_text_bad(p, at, TUFF_E_LIMIT, "%s is too large to be given in text; use a file or expand", tf_type_text(p->g, &t));
    const tuff_allocator *allocator = &p->g->arena.allocator;
    f.data = tf_alloc(allocator, (size_t)bytes);
    if (!f.data)
        return tf_text_bad(p, at, TUFF_E_MEMORY, "out of host memory");
    bool good;
    if (tf_tok_is(&p->tok, "[")) {
        good = list(p, &f, 0);
    } else {
        double re = 0, im = 0;
        good = element(p, &f, &re, &im);
        for (uint64_t i = 0; good && i < f.count; i++)
            tf_store_element(dtype, f.data, i, re, im);
    }
    if (good)
        *out = tuff_const(p->g, dtype, *shape, f.data, cd);
    tf_free(allocator, f.data, (size_t)bytes);
    return good && out->id;
}

bool tf_text_constant(tf_parser *p, const char *name, tuff_dtype dtype, const tuff_shape *shape, tuff_tensor *out)
{
    const tf_tok at = p->tok;
    const tuff_const_desc cd = { .name = name };
    const bool quoted = at.kind == TF_TOK_STRING && at.n > 2 && at.p[1] == '@';
    if (at.kind != TF_TOK_FILE && !quoted)
        return from_text(p, &at, &cd, dtype, shape, out);
    const char *bad, *path = tf_tok_string(&p->tmp, &at, &bad);
    if (bad)
        return tf_text_bad(p, &at, TUFF_E_PARSE, "%s", bad);
    if (!path || !tf_text_next(p))
        return false;
    path += quoted;
    if (!path[0])
        return tf_text_bad(p, &at, TUFF_E_PARSE, "@ is followed by the path of a .npy file");
    p->g->line = at.line;
    p->g->column = at.column;
    return from_file(p, &at, path, &cd, dtype, shape, out);
}
