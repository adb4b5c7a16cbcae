/* npy.c - reading and writing .npy files.
 *
 * A file is a magic word, a version, a length, a header that is a Python dict in text, and the elements. The
 * header is read by a small tokenizer that knows exactly that dict; anything else is a format error. */
#include "npy.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- messages ---- */

typedef struct report { char *text; size_t size; } report;

static tuff_status bad(report *r, tuff_status status, const char *format, ...) TF_PRINTF(3, 4);
static tuff_status bad(report *r, tuff_status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (r->size)
        vsnprintf(r->text, r->size, format, args);
    va_end(args);
    return status;
}

/* ---- element types of files ---- */

typedef enum number_kind { FLOAT, SIGNED, UNSIGNED, COMPLEX, BOOLEAN } number_kind;
typedef struct file_type {
    char code[3];      /* "f4" */
    number_kind kind;
    uint32_t size;
    tuff_dtype dtype;  /* what it becomes by itself */
} file_type;

static const file_type file_types[] = {
    { "f4", FLOAT, 4, TUFF_F32 },    { "f2", FLOAT, 2, TUFF_F16 },    { "f8", FLOAT, 8, TUFF_F32 },   { "c8", COMPLEX, 8, TUFF_C64 },
    { "i4", SIGNED, 4, TUFF_I32 },   { "u4", UNSIGNED, 4, TUFF_U32 }, { "i8", SIGNED, 8, TUFF_I32 },  { "u8", UNSIGNED, 8, TUFF_U32 },
    { "i2", SIGNED, 2, TUFF_I16 },   { "u2", UNSIGNED, 2, TUFF_U16 }, { "i1", SIGNED, 1, TUFF_I8 },   { "u1", UNSIGNED, 1, TUFF_U8 },
    { "b1", BOOLEAN, 1, TUFF_BOOL },
};
static const file_type complex128 = { "", COMPLEX, 16, TUFF_C64 };

/* ---- header ---- */

typedef struct header {
    const file_type *type;
    bool swap;          /* big endian */
    bool fortran;
    tuff_shape shape;
    uint64_t count;
} header;

typedef struct cursor { const char *p, *end; } cursor;

static void skip_space(cursor *c)
{
    while (c->p < c->end && (*c->p == ' ' || *c->p == '\n' || *c->p == '\t' || *c->p == '\r'))
        c->p++;
}

static bool take(cursor *c, char what)
{
    skip_space(c);
    if (c->p >= c->end || *c->p != what)
        return false;
    c->p++;
    return true;
}

static bool take_string(cursor *c, char *out, size_t size)
{
    skip_space(c);
    if (c->p >= c->end || (*c->p != '\'' && *c->p != '"'))
        return false;
    const char quote = *c->p++;
    size_t n = 0;
    while (c->p < c->end && *c->p != quote && n + 1 < size)
        out[n++] = *c->p++;
    out[n] = 0;
    return take(c, quote);
}

static bool take_word(cursor *c, const char *word)
{
    const size_t n = strlen(word);
    skip_space(c);
    if ((size_t)(c->end - c->p) < n || memcmp(c->p, word, n))
        return false;
    c->p += n;
    return true;
}

static tuff_status parse_descr(cursor *c, header *h, report *r)
{
    char text[16];
    skip_space(c);
    if (c->p < c->end && *c->p == '[')
        return bad(r, TUFF_E_DTYPE, "it holds records; save one plain array");
    if (!take_string(c, text, sizeof text))
        return bad(r, TUFF_E_FORMAT, "the header's descr is not readable");
    const char *code = text + (strchr("<>=|", text[0]) && text[0] ? 1 : 0);
    h->swap = text[0] == '>';
    if (!strcmp(code, "c16"))
        h->type = &complex128;
    for (size_t i = 0; i < TF_COUNT(file_types); i++)
        if (!strcmp(code, file_types[i].code))
            h->type = &file_types[i];
    return h->type ? TUFF_OK : bad(r, TUFF_E_DTYPE, "its dtype '%s' is none that tuff reads", text);
}

static tuff_status parse_shape(cursor *c, header *h, report *r)
{
    if (!take(c, '('))
        return bad(r, TUFF_E_FORMAT, "the header's shape is not readable");
    while (!take(c, ')')) {
        uint64_t d = 0;
        skip_space(c);
        if (c->p >= c->end || *c->p < '0' || *c->p > '9')
            return bad(r, TUFF_E_FORMAT, "the header's shape is not readable");
        for (; c->p < c->end && *c->p >= '0' && *c->p <= '9'; c->p++)
            if (!tf_mul_u64(&d, d, 10) || !tf_add_u64(&d, d, (uint64_t)(*c->p - '0')) || d > INT64_MAX)
                return bad(r, TUFF_E_OVERFLOW, "a dim of its shape overflows");
        if (c->p < c->end && *c->p == 'L')
            c->p++;
        if (h->shape.rank == TUFF_MAX_RANK)
            return bad(r, TUFF_E_LIMIT, "its rank is above %d", TUFF_MAX_RANK);
        h->shape.dim[h->shape.rank++] = (int64_t)d;
        if (!take(c, ',')) {
            if (!take(c, ')'))
                return bad(r, TUFF_E_FORMAT, "the header's shape is not readable");
            return TUFF_OK;
        }
    }
    return TUFF_OK;
}

static tuff_status parse_dict(cursor *c, header *h, report *r)
{
    bool descr = false, order = false, shape = false;
    if (!take(c, '{'))
        return bad(r, TUFF_E_FORMAT, "the header is not a dict");
    while (!take(c, '}')) {
        char key[32];
        if (!take_string(c, key, sizeof key) || !take(c, ':'))
            return bad(r, TUFF_E_FORMAT, "the header is not readable");
        tuff_status status = TUFF_OK;
        if (!strcmp(key, "descr") && !descr) {
            status = parse_descr(c, h, r);
            descr = true;
        } else if (!strcmp(key, "shape") && !shape) {
            status = parse_shape(c, h, r);
            shape = true;
        } else if (!strcmp(key, "fortran_order") && !order) {
            h->fortran = take_word(c, "True");
            if (!h->fortran && !take_word(c, "False"))
                status = bad(r, TUFF_E_FORMAT, "the header's fortran_order is neither True nor False");
            order = true;
        } else {
            status = bad(r, TUFF_E_FORMAT, "the header has a surprising key '%s'", key);
        }
        if (status != TUFF_OK)
            return status;
        if (!take(c, ',')) {
            if (!take(c, '}'))
                return bad(r, TUFF_E_FORMAT, "the header is not readable");
            break;
        }
    }
    if (!descr || !order || !shape)
        return bad(r, TUFF_E_FORMAT, "the header lacks %s", !descr ? "descr" : !shape ? "shape" : "fortran_order");
    return TUFF_OK;
}

static tuff_status count_elements(header *h, report *r)
{
    h->count = 1;
    for (int32_t i = 0; i < h->shape.rank; i++)
        if (h->shape.dim[i] == 0)
            return h->count = 0, TUFF_OK;
    for (int32_t i = 0; i < h->shape.rank; i++)
        if (!tf_mul_u64(&h->count, h->count, (uint64_t)h->shape.dim[i]))
            return bad(r, TUFF_E_OVERFLOW, "its element count overflows");
    if (h->count > INT32_MAX)
        return bad(r, TUFF_E_LIMIT, "it has %llu elements; a tensor holds at most %d", (unsigned long long)h->count, INT32_MAX);
    return TUFF_OK;
}

static tuff_status parse_header(const unsigned char *file, size_t size, header *h, size_t *data_at, report *r)
{
    *h = (header){ 0 };
    if (size < 10 || memcmp(file, "\x93NUMPY", 6))
        return bad(r, TUFF_E_FORMAT, "it is no .npy file");
    const unsigned version = file[6];
    if (version < 1 || version > 3)
        return bad(r, TUFF_E_FORMAT, "its version is %u.%u; 1 to 3 are readable", version, (unsigned)file[7]);
    const size_t at = version == 1 ? 10 : 12;
    if (size < at)
        return bad(r, TUFF_E_FORMAT, "it ends inside the header");
    uint64_t length = file[8] | (uint64_t)file[9] << 8;
    if (version > 1)
        length |= (uint64_t)file[10] << 16 | (uint64_t)file[11] << 24;
    if (length > size - at)
        return bad(r, TUFF_E_FORMAT, "it ends inside the header");
    cursor c = { (const char *)file + at, (const char *)file + at + length };
    *data_at = at + (size_t)length;
    const tuff_status status = parse_dict(&c, h, r);
    return status == TUFF_OK ? count_elements(h, r) : status;
}

/* ---- elements ---- */

/* Integers of 64 bits do not fit a double, so they travel beside it. */
typedef struct element { double re, im; int64_t i; uint64_t u; } element;

static element load(const header *h, const unsigned char *data, uint64_t index)
{
    const uint32_t size = h->type->size, part = h->type->kind == COMPLEX ? size / 2 : size;
    unsigned char raw[16];
    memcpy(raw, data + index * size, size);
    if (h->swap)
        for (uint32_t p = 0; p < size; p += part)
            for (uint32_t k = 0; k < part / 2; k++) {
                const unsigned char t = raw[p + k];
                raw[p + k] = raw[p + part - 1 - k];
                raw[p + part - 1 - k] = t;
            }
    element e = { 0 };
    if (part == 8 && h->type->kind == SIGNED) {
        memcpy(&e.i, raw, sizeof e.i);
        e.re = (double)e.i;
    } else if (part == 8 && h->type->kind == UNSIGNED) {
        memcpy(&e.u, raw, sizeof e.u);
        e.re = (double)e.u;
    } else if (part == 8) {
        memcpy(&e.re, raw, sizeof e.re);
        if (size == 16)
            memcpy(&e.im, raw + 8, sizeof e.im);
    } else {
        e.re = tf_load_element(h->type->dtype, raw, 0, &e.im);
        e.i = h->type->kind == SIGNED ? (int64_t)e.re : 0;
        e.u = h->type->kind == UNSIGNED ? (uint64_t)e.re : 0;
    }
    return e;
}

static bool integer_fits(const header *h, element e, tuff_dtype t)
{
    const uint32_t bits = tf_dtype_bits(t);
    const bool is_signed = tf_dtype_is_signed_int(t) || t == TUFF_I4;
    if (h->type->kind == UNSIGNED)
        return e.u <= (UINT64_MAX >> (64 - bits + is_signed));
    const int64_t max = (int64_t)((UINT64_MAX >> (64 - bits)) >> is_signed);
    return e.i <= max && e.i >= (is_signed ? -max - 1 : 0);
}

/* Why the element cannot become a `t`, or NULL. */
static const char *misfit(const header *h, element e, tuff_dtype t)
{
    const number_kind kind = h->type->kind;
    const bool to_int = tf_dtype_is_int(t) || t == TUFF_I4 || t == TUFF_U4;
    if (t == TUFF_C64)
        return (isfinite(e.re) && isinf(tf_round_to(t, e.re))) || (isfinite(e.im) && isinf(tf_round_to(t, e.im))) ? "is out of range" : NULL;
    if (kind == COMPLEX)
        return "is complex";
    if (t == TUFF_BOOL)
        return kind == BOOLEAN || e.re == 0 || e.re == 1 ? NULL : "is neither 0 nor 1";
    if (to_int)
        return kind == FLOAT ? "is no integer" : kind == BOOLEAN || integer_fits(h, e, t) ? NULL : "is out of range";
    const double y = tf_round_to(t, e.re);
    if (kind == FLOAT)
        return isfinite(e.re) && !isfinite(y) ? "is out of range" : NULL;
    return y == e.re && fabs(e.re) <= 0x1p53 ? NULL : "is not exactly representable";
}

static tuff_status convert(const header *h, const unsigned char *data, tf_npy *out, report *r)
{
    int64_t pos[TUFF_MAX_RANK] = { 0 };
    uint64_t stride[TUFF_MAX_RANK], from = 0, s = 1;
    for (int32_t k = 0; k < h->shape.rank; k++) {
        const int32_t d = h->fortran ? k : h->shape.rank - 1 - k;
        stride[d] = s;
        s *= (uint64_t)h->shape.dim[d];
    }
    for (uint64_t i = 0; i < h->count; i++) {
        const element e = load(h, data, from);
        const char *why = misfit(h, e, out->dtype);
        if (why)
            return bad(r, TUFF_E_DTYPE, "element %llu (%.17g) %s as %s", (unsigned long long)i, e.re, why, tuff_dtype_name(out->dtype));
        tf_store_element(out->dtype, out->data, i, e.re, e.im);
        for (int32_t d = h->shape.rank - 1; d >= 0; d--) {
            from += stride[d];
            if (++pos[d] < h->shape.dim[d])
                break;
            from -= stride[d] * (uint64_t)h->shape.dim[d];
            pos[d] = 0;
        }
    }
    return TUFF_OK;
}

tuff_status tf_npy_parse(const void *file, size_t size, tuff_dtype want, const tuff_allocator *allocator, tf_npy *out,
                         char *message, size_t message_size)
{
    report r = { message, message_size };
    header h;
    size_t at = 0;
    uint64_t bytes;
    *out = (tf_npy){ 0 };
    bad(&r, TUFF_OK, "%s", "");
    tuff_status status = parse_header(file, size, &h, &at, &r);
    if (status != TUFF_OK)
        return status;
    if (!tf_mul_u64(&bytes, h.count, h.type->size) || bytes != size - at) /* count < 2^31: no overflow */
        return bad(&r, TUFF_E_FORMAT, "it holds %llu bytes of elements, its header promises %llu", (unsigned long long)(size - at), (unsigned long long)bytes);
    out->dtype = want != TUFF_DTYPE_NONE ? want : h.type->dtype;
    out->shape = h.shape;
    if (tf_dtype_bits(out->dtype) == 4 && (h.shape.rank == 0 || h.shape.dim[h.shape.rank - 1] % 2))
        return bad(&r, TUFF_E_SHAPE, "the last dim of %s is even", tuff_dtype_name(out->dtype));
    out->bytes = (size_t)((h.count * tf_dtype_bits(out->dtype) + 7) / 8);
    if (h.count == 0)
        return TUFF_OK;
    out->data = tf_alloc(allocator, out->bytes);
    if (!out->data)
        return bad(&r, TUFF_E_MEMORY, "out of host memory");
    const unsigned char *data = (const unsigned char *)file + at;
    const bool same = out->dtype == h.type->dtype && h.type->size * 8 == tf_dtype_bits(out->dtype) && !h.swap && h.type->kind != BOOLEAN;
    if (same && (!h.fortran || h.shape.rank < 2))
        memcpy(out->data, data, out->bytes);
    else
        status = convert(&h, data, out, &r);
    if (status != TUFF_OK)
        tf_npy_release(out, allocator);
    return status;
}

void tf_npy_release(tf_npy *npy, const tuff_allocator *allocator)
{
    tf_free(allocator, npy->data, npy->bytes);
    *npy = (tf_npy){ 0 };
}

/* ---- files ---- */

tuff_status tf_file_read(const char *path, const tuff_allocator *allocator, char **data, size_t *size, char *message, size_t message_size)
{
    report r = { message, message_size };
    size_t cap = 0, n = 0;
    char *buffer = NULL;
    *data = NULL;
    *size = 0;
    FILE *f = fopen(path, "rb");
    if (!f)
        return bad(&r, TUFF_E_IO, "%s: %s", path, strerror(errno));
    for (;;) {
        if (n + 1 >= cap) {
            const size_t more = cap ? cap * 2 : 65536;
            char *grown = more > cap ? tf_resize(allocator, buffer, cap, more) : NULL;
            if (!grown) {
                tf_free(allocator, buffer, cap);
                fclose(f);
                return bad(&r, TUFF_E_MEMORY, "%s: out of host memory", path);
            }
            buffer = grown;
            cap = more;
        }
        const size_t got = fread(buffer + n, 1, cap - n - 1, f);
        n += got;
        if (got == 0)
            break;
    }
    const bool failed = ferror(f) != 0;
    fclose(f);
    char *exact = failed ? NULL : tf_resize(allocator, buffer, cap, n + 1);
    if (!exact) {
        tf_free(allocator, buffer, cap);
        return failed ? bad(&r, TUFF_E_IO, "%s: it cannot be read", path) : bad(&r, TUFF_E_MEMORY, "%s: out of host memory", path);
    }
    exact[n] = 0;
    *data = exact;
    *size = n;
    return TUFF_OK;
}

tuff_status tf_npy_read(const char *path, tuff_dtype want, const tuff_allocator *allocator, tf_npy *out, char *message, size_t message_size)
{
    report r = { message, message_size };
    char *file, why[256];
    size_t size;
    *out = (tf_npy){ 0 };
    tuff_status status = tf_file_read(path, allocator, &file, &size, message, message_size);
    if (status != TUFF_OK)
        return status;
    status = tf_npy_parse(file, size, want, allocator, out, why, sizeof why);
    tf_free(allocator, file, size + 1);
    return status == TUFF_OK ? status : bad(&r, status, "%s: %s", path, why);
}

/* ---- writing ---- */

/* The file's type for a dtype, and the dtype its elements are written in. */
static const char *descr_of(tuff_dtype t, tuff_dtype *as)
{
    static const struct { tuff_dtype t, as; const char *descr; } rows[] = {
        { TUFF_F32, TUFF_F32, "<f4" },     { TUFF_F16, TUFF_F16, "<f2" },     { TUFF_BF16, TUFF_F32, "<f4" },   { TUFF_F64, TUFF_F64, "<f8" },
        { TUFF_C64, TUFF_C64, "<c8" },     { TUFF_I32, TUFF_I32, "<i4" },     { TUFF_U32, TUFF_U32, "<u4" },    { TUFF_I16, TUFF_I16, "<i2" },
        { TUFF_U16, TUFF_U16, "<u2" },     { TUFF_I8, TUFF_I8, "|i1" },       { TUFF_U8, TUFF_U8, "|u1" },      { TUFF_BOOL, TUFF_BOOL, "|b1" },
        { TUFF_I4, TUFF_I8, "|i1" },       { TUFF_U4, TUFF_U8, "|u1" },       { TUFF_F8E4M3, TUFF_F32, "<f4" }, { TUFF_F8E5M2, TUFF_F32, "<f4" },
    };
    for (size_t i = 0; i < TF_COUNT(rows); i++)
        if (rows[i].t == t) {
            *as = rows[i].as;
            return rows[i].descr;
        }
    return NULL;
}

tuff_status tf_npy_format(tuff_dtype dtype, const tuff_shape *shape, const void *data, tf_str *out)
{
    tuff_dtype as;
    char dict[320];
    const char *descr = descr_of(dtype, &as);
    if (!descr || shape->rank < 0 || shape->rank > TUFF_MAX_RANK)
        return TUFF_E_ARGUMENT;
    uint64_t count = 1;
    int n = snprintf(dict, sizeof dict, "{'descr': '%s', 'fortran_order': False, 'shape': (", descr);
    for (int32_t i = 0; i < shape->rank; i++) {
        if (shape->dim[i] < 0 || !tf_mul_u64(&count, count, (uint64_t)shape->dim[i]))
            return TUFF_E_OVERFLOW;
        n += snprintf(dict + n, sizeof dict - (size_t)n, i + 1 < shape->rank ? "%lld, " : shape->rank == 1 ? "%lld," : "%lld", (long long)shape->dim[i]);
    }
    n += snprintf(dict + n, sizeof dict - (size_t)n, "), }");
    const int pad = 63 - (10 + n) % 64; /* the elements start at a multiple of 64 */
    const unsigned length = (unsigned)(n + pad + 1);
    const char head[10] = { '\x93', 'N', 'U', 'M', 'P', 'Y', 1, 0, (char)(length & 255), (char)(length >> 8) };
    tf_str_add_n(out, head, sizeof head);
    tf_str_printf(out, "%s%*s\n", dict, pad, "");
    if (as == dtype && dtype != TUFF_BOOL) {
        const uint64_t bytes = count * (tf_dtype_bits(dtype) / 8);
        if (bytes)
            tf_str_add_n(out, data, (size_t)bytes);
    } else {
        for (uint64_t i = 0; i < count && !out->failed; i++) {
            char raw[8] = { 0 };
            double im;
            const double re = tf_load_element(dtype, data, i, &im);
            tf_store_element(as, raw, 0, re, im);
            tf_str_add_n(out, raw, tf_dtype_bits(as) / 8);
        }
    }
    return out->failed ? TUFF_E_MEMORY : TUFF_OK;
}

tuff_status tf_npy_write(const char *path, tuff_dtype dtype, const tuff_shape *shape, const void *data, const tuff_allocator *allocator,
                         char *message, size_t message_size)
{
    report r = { message, message_size };
    tf_str s;
    tf_str_init(&s, allocator);
    const tuff_status status = tf_npy_format(dtype, shape, data, &s);
    if (status != TUFF_OK) {
        tf_str_release(&s);
        return bad(&r, status, "%s: %s", path, tuff_status_text(status));
    }
    FILE *f = fopen(path, "wb");
    bool good = f && fwrite(s.data, 1, s.n, f) == s.n;
    if (f)
        good = fclose(f) == 0 && good;
    const int error = errno;
    tf_str_release(&s);
    return good ? TUFF_OK : bad(&r, TUFF_E_IO, "%s: %s", path, strerror(error));
}
