/* declare.c - how a kernel's arguments stand in GLSL: buffers, texel buffers and uniform blocks, and the macros by which hooks load and store
 * elements of them whatever their type is in memory (emit.c lists the macros).
 *
 * An element is widened when it is loaded. Without the storage tier for its width, elements are taken out of whole words. On CPUs vectors
 * are words of 64 bits: drivers pay per component, whatever its width. */
#include "emit.h"

#include <string.h>

/* How an argument's elements are declared and converted. Element type, its vector of 4, and expressions around `%s`. */
typedef struct storage { const char *scalar, *vector, *load, *load4, *store, *store4; bool words; } storage;

/* Elements of 32 bits in memory. */
static storage storage_32(const tf_emitter *m, tuff_dtype t)
{
    const char *g = tf_glsl_type(t);
    const bool wide = tf_emit_long_words(m->build.limits);
    if (t == TUFF_BOOL)
        return wide ? (storage){ "uint", "u64vec2", "(%s != 0u)", "notEqual(tf_four_words(%s), uvec4(0u))", "uint(%s)", "tf_two_longs(uvec4(%s))", false }
                    : (storage){ "uint", "uvec4", "(%s != 0u)", "notEqual(%s, uvec4(0u))", "uint(%s)", "uvec4(%s)", false };
    if (!strcmp(g, "int"))
        return wide ? (storage){ "int", "u64vec2", "%s", "ivec4(tf_four_words(%s))", "%s", "tf_two_longs(uvec4(%s))", false }
                    : (storage){ "int", "ivec4", "%s", "%s", "%s", "%s", false };
    if (!strcmp(g, "uint"))
        return wide ? (storage){ "uint", "u64vec2", "%s", "tf_four_words(%s)", "%s", "tf_two_longs(%s)", false }
                    : (storage){ "uint", "uvec4", "%s", "%s", "%s", "%s", false };
    return wide ? (storage){ "float", "u64vec2", "%s", "uintBitsToFloat(tf_four_words(%s))", "%s", "tf_two_longs(floatBitsToUint(%s))", false }
                : (storage){ "float", "vec4", "%s", "%s", "%s", "%s", false };
}

static storage storage_of(const tf_emitter *m, const tf_kernel_arg *a)
{
    const tuff_dtype t = tf_type_of(m->g, a->value)->dtype;
    const bool wide = tf_emit_long_words(m->build.limits);
    if (a->uniform) return (storage){ .words = true };
    if (a->wide || tf_dtype_bits(t) == 32) return storage_32(m, t);
    if (t == TUFF_C64)
        return wide ? (storage){ "uint64_t", "u64vec4", "uintBitsToFloat(unpackUint2x32(%s))", "tf_four_points(%s)", "packUint2x32(floatBitsToUint(%s))", "tf_four_longs(%s)", false }
                    : (storage){ "vec2", NULL, "%s", NULL, "%s", NULL, false };
    if (t == TUFF_F64) return (storage){ "double", "dvec4", "%s", "%s", "%s", "%s", false };
    if (tf_emit_packed(m, t)) return (storage){ .words = true };
    switch (t) {
    /* Vectors of narrow elements travel as words: software drivers pay per load, GPUs do not care. */
    case TUFF_F16: return wide ? (storage){ "float16_t", "uint64_t", "tf_widened(float(%s))", "tf_long_halves(%s)", "float16_t(%s)", "packUint2x32(tf_words(%s))", false }
                               : (storage){ "float16_t", "uvec2", "tf_widened(float(%s))", "tf_halves(%s)", "float16_t(%s)", "tf_words(%s)", false };
    case TUFF_BF16: return wide ? (storage){ "uint16_t", "uint64_t", "uintBitsToFloat(uint(%s) << 16)", "tf_bhalves(unpackUint2x32(%s))",
                                             "uint16_t(floatBitsToUint(%s) >> 16)", "packUint2x32(tf_short_words(floatBitsToUint(%s) >> 16))", false }
                                : (storage){ "uint16_t", "uvec2", "uintBitsToFloat(uint(%s) << 16)", "tf_bhalves(%s)",
                                             "uint16_t(floatBitsToUint(%s) >> 16)", "tf_short_words(floatBitsToUint(%s) >> 16)", false };
    case TUFF_I16: return (storage){ "int16_t", "uvec2", "int(%s)", "(ivec4(tf_shorts(%s) << 16) >> 16)", "int16_t(%s)", "tf_short_words(uvec4(%s))", false };
    case TUFF_U16: return (storage){ "uint16_t", "uvec2", "uint(%s)", "tf_shorts(%s)", "uint16_t(%s)", "tf_short_words(%s)", false };
    case TUFF_I8: return (storage){ "int8_t", "uint", "int(%s)", "(ivec4(tf_bytes(%s) << 24) >> 24)", "int8_t(%s)", "tf_byte_word(uvec4(%s))", false };
    case TUFF_U8: return (storage){ "uint8_t", "uint", "uint(%s)", "tf_bytes(%s)", "uint8_t(%s)", "tf_byte_word(%s)", false };
    case TUFF_BOOL: return (storage){ "uint8_t", "uint", "(uint(%s) != 0u)", "notEqual(tf_bytes(%s), uvec4(0u))", "uint8_t(%s)", "tf_byte_word(uvec4(%s))", false };
    case TUFF_F8E4M3: return (storage){ "uint8_t", NULL, "tf_from_bits_f8e4m3(uint(%s))", NULL, "uint8_t(tf_bits_f8e4m3(%s))", NULL, false };
    case TUFF_F8E5M2: return (storage){ "uint8_t", NULL, "tf_from_bits_f8e5m2(uint(%s))", NULL, "uint8_t(tf_bits_f8e5m2(%s))", NULL, false };
    default: return (storage){ .words = true };
    }
}

bool tf_by_vectors(const tf_emitter *m, uint32_t i, bool stored)
{
    const tf_kernel_arg *a = &m->args.data[i];
    const tuff_dtype t = tf_type_of(m->g, a->value)->dtype;
    const uint32_t bits = tf_dtype_bits(t);
    if (a->uniform || t == TUFF_F8E4M3 || t == TUFF_F8E5M2) return false; /* decoded by a function of one element */
    if (a->wide || bits == 32) return true;
    if (bits == 64) return t == TUFF_C64 && tf_emit_long_words(m->build.limits);
    return !tf_emit_packed(m, t) || (!stored && (bits == 4 || t == TUFF_F16 || t == TUFF_BF16)); /* declare_packed decodes these together */
}

static void add_converted(tf_str *out, const char *format, const char *inner)
{
    for (const char *p = format; *p; p++)
        if (*p == '%' && p[1] == 's') { tf_str_add(out, inner); p++; }
        else tf_str_add_n(out, p, 1);
}

static const char *access_of(const tf_kernel_arg *a) { return a->shared ? "" : a->write && !a->read ? "writeonly " : a->write ? "" : "readonly "; }

/* A vector load for storage without vectors: the hooks were printed before slots were known. */
static void declare_gather(tf_emitter *m, tf_str *out, uint32_t i)
{
    if (!m->args.data[i].vec_read) return;
    tf_str_printf(out, "#define LV%u(i) %s(L%u(i), L%u((i) + 1), L%u((i) + 2), L%u((i) + 3))\n", i,
                  tf_glsl_vector(tf_type_of(m->g, m->args.data[i].value)->dtype), i, i, i, i);
}

/* Two operands that turned out to be one buffer are one variable, so that the driver's compiler knows. */
static void declare_twin(tf_str *out, uint32_t i, uint32_t of)
{
    static const char *const forms[] = { "L%u(i)", "S%u(i, v)", "LV%u(i)", "SV%u(i, x, y, z, w)", "SW%u(i, w)", "LO%u(i, p, q)",
                                         "SO%u(i, x, y, z, w, x2, y2, z2, w2)" };
    for (size_t f = 0; f < TF_COUNT(forms); f++) {
        tf_str_add(out, "#define ");
        tf_str_printf(out, forms[f], i);
        tf_str_add(out, " ");
        tf_str_printf(out, forms[f], of);
        tf_str_add(out, "\n");
    }
}

/* Is it a uniform block that can be one of long words: a table read by vectors only? */
static bool is_long_table(const tf_emitter *m, const tf_kernel_arg *a)
{
    return a->uniform && tf_emit_long_words(m->build.limits) && a->vec_read && !a->scalar_used && (a->wide || tf_dtype_bits(tf_type_of(m->g, a->value)->dtype) == 32);
}

/* Vectors of 32-bit elements, fetched as texels. */
static void declare_texels(tf_emitter *m, tf_str *out, uint32_t i)
{
    const tf_kernel_arg *a = &m->args.data[i];
    const tuff_dtype t = tf_type_of(m->g, a->value)->dtype;
    const char *g = tf_glsl_type(t);
    tf_str_printf(out, "layout(set = 0, binding = %u) uniform usamplerBuffer t%u;\n#define LV%u(i) ", a->slot, i, i);
    add_converted(out, t == TUFF_BOOL ? "notEqual(%s, uvec4(0u))" : !strcmp(g, "float") ? "uintBitsToFloat(%s)" : !strcmp(g, "int") ? "ivec4(%s)" : "%s",
                  tf_say(m, "texelFetch(t%u, (i) >> 2)", i));
    tf_str_add(out, "\n");
}

static void declare_long_table(tf_emitter *m, tf_str *out, uint32_t i)
{
    const tf_kernel_arg *a = &m->args.data[i];
    tf_str_printf(out, "layout(std140, set = 0, binding = %u) uniform A%u { u64vec2 d[%llu]; } a%u;\n#define LV%u(i) ", a->slot, i,
                  (unsigned long long)(a->uniform_bytes + 15) / 16, i, i);
    add_converted(out, storage_32(m, tf_type_of(m->g, a->value)->dtype).load4, tf_say(m, "a%u.d[(i) >> 2]", i));
    tf_str_add(out, "\n");
}

/* The index into an argument's buffer, in units of 2^shift elements. */
static const char *index_of(tf_emitter *m, uint32_t i, uint32_t shift)
{
    const char *at = m->args.data[i].shared ? tf_say(m, "(i) + int(PW(%u))", tf_emit_param(m, TF_PARAM_BASE, i)) : "i";
    if (!shift) return at;
    return m->args.data[i].shared ? tf_say(m, "(%s) >> %u", at, shift) : tf_say(m, "(i) >> %u", shift);
}

/* Elements of 32 bits that are read as words. */
static void declare_32(tf_emitter *m, tf_str *out, uint32_t i)
{
    const tf_kernel_arg *a = &m->args.data[i];
    const tuff_dtype t = tf_type_of(m->g, a->value)->dtype;
    const char *g = tf_glsl_type(t);
    const bool is_float = !strcmp(g, "float"), is_int = !strcmp(g, "int");
    tf_str_printf(out, "#define L%u(i) ", i);
    add_converted(out, t == TUFF_BOOL ? "(%s != 0u)" : is_float ? "uintBitsToFloat(%s)" : is_int ? "int(%s)" : "%s", tf_say(m, "tf_word%u(%s)", i, index_of(m, i, 0)));
    tf_str_add(out, "\n");
    if (!a->uniform) declare_gather(m, out, i);
    else if (a->vec_read)
        tf_str_printf(out, "#define LV%u(i) %s(a%u.d[(i) >> 2])\n", i, t == TUFF_BOOL ? "bvec4" : is_float ? "uintBitsToFloat" : is_int ? "ivec4" : "uvec4", i);
}

/* Elements of 64 bits in a uniform block. */
static void declare_64(tf_emitter *m, tf_str *out, uint32_t i)
{
    const char *make = tf_type_of(m->g, m->args.data[i].value)->dtype == TUFF_F64 ? "packDouble2x32" : "uintBitsToFloat", *at = index_of(m, i, 0);
    tf_str_printf(out, "#define L%u(i) %s(uvec2(tf_word%u(2 * (%s)), tf_word%u(2 * (%s) + 1)))\n", i, make, i, at, i, at);
    declare_gather(m, out, i);
}

/* Several elements in a word. */
static void declare_packed(tf_emitter *m, tf_str *out, uint32_t i)
{
    const tf_kernel_arg *a = &m->args.data[i];
    const tuff_dtype t = tf_type_of(m->g, a->value)->dtype;
    const uint32_t bits = tf_dtype_bits(t), per = 32 / bits;
    const char *index = index_of(m, i, 0);
    tf_str_printf(out, "#define L%u(i) tf_from_bits_%s(bitfieldExtract(tf_word%u(int(uint(%s) / %uu)), int(uint(%s) %% %uu) * %u, %u))\n", i,
                  tuff_dtype_name(t), i, index, per, index, per, bits, bits);
    if (a->vec_read && bits == 4) { /* a word holds eight */
        tf_str_printf(out, "#define LV%u(i) tf_nibbles_%s(tf_word%u(int(uint(%s) / 8u)) >> uint(%s) %% 8u * 4u)\n", i, tuff_dtype_name(t), i, index, index);
    } else if (a->vec_read && (t == TUFF_F16 || t == TUFF_BF16)) { /* two words hold four: one decoding for two elements */
        tf_str_printf(out, "uvec2 tf_pair%u(int w) { return uvec2(tf_word%u(w), tf_word%u(w + 1)); }\n", i, i, i);
        tf_str_printf(out, "#define LV%u(i) %s(tf_pair%u((%s) / 2))\n", i, t == TUFF_F16 ? "tf_halves" : "tf_bhalves", i, index);
    } else declare_gather(m, out, i);
    if (a->shared) tf_str_printf(out, "#define SW%u(i, w) a%u.d[int(i) + int(PW(%u)) / %u] = w\n", i, i, tf_emit_param(m, TF_PARAM_BASE, i), per);
    else tf_str_printf(out, "#define SW%u(i, w) a%u.d[i] = w\n", i, i);
}

/* A buffer or uniform block of words. */
static void declare_words(tf_emitter *m, tf_str *out, uint32_t i)
{
    const tf_kernel_arg *a = &m->args.data[i];
    const uint32_t bits = a->wide ? 32 : tf_dtype_bits(tf_type_of(m->g, a->value)->dtype);
    if (a->uniform) /* in 16-byte units */
        tf_str_printf(out, "layout(std140, set = 0, binding = %u) uniform A%u { uvec4 d[%llu]; } a%u;\nuint tf_word%u(int w) { return a%u.d[w >> 2][w & 3]; }\n",
                      a->slot, i, (unsigned long long)(a->uniform_bytes + 15) / 16, i, i, i);
    else {
        tf_str_printf(out, "layout(std430, set = 0, binding = %u) %sbuffer A%u { uint d[]; } a%u;\n", a->slot, access_of(a), i, i);
        if (!(a->write && !a->read)) tf_str_printf(out, "uint tf_word%u(int w) { return a%u.d[w]; }\n", i, i);
    }
    if (bits == 32) declare_32(m, out, i);
    else if (bits == 64) declare_64(m, out, i);
    else declare_packed(m, out, i);
}

/* A buffer of elements, and of vectors of four. */
static void declare_elements(tf_emitter *m, tf_str *out, uint32_t i)
{
    const tf_kernel_arg *a = &m->args.data[i];
    const storage s = storage_of(m, a);
    const tuff_dtype t = tf_type_of(m->g, a->value)->dtype;
    const bool one_by_one = t == TUFF_C64 && a->shared; /* it may begin at any multiple of 16 bytes, which is no vector of four */
    if (a->scalar_used || one_by_one || !(a->vec_read || a->vec_write)) {
        const char *at = tf_say(m, "a%u.d[%s]", i, index_of(m, i, 0));
        tf_str_printf(out, "layout(std430, set = 0, binding = %u) %sbuffer A%u { %s d[]; } a%u;\n#define L%u(i) ", a->slot, access_of(a), i, s.scalar, i, i);
        add_converted(out, s.load, at);
        tf_str_printf(out, "\n#define S%u(i, v) %s = ", i, at);
        add_converted(out, s.store, "v");
        tf_str_add(out, "\n");
    }
    if (one_by_one) {
        declare_gather(m, out, i);
        if (a->vec_write) tf_str_printf(out, "#define SV%u(i, x, y, z, w) S%u(i, x); S%u((i) + 1, y); S%u((i) + 2, z); S%u((i) + 3, w)\n", i, i, i, i, i);
    } else if (a->vec_read || a->vec_write) {
        const char *at = tf_say(m, "b%u.d[%s]", i, index_of(m, i, 2));
        tf_str_printf(out, "layout(std430, set = 0, binding = %u) %sbuffer V%u { %s d[]; } b%u;\n#define LV%u(i) ", a->slot, access_of(a), i, s.vector, i, i);
        add_converted(out, s.load4, at);
        tf_str_printf(out, "\n#define SV%u(i, x, y, z, w) %s = ", i, at);
        add_converted(out, s.store4, tf_say(m, "%s(x, y, z, w)", tf_glsl_vector(t)));
        tf_str_add(out, "\n");
    }
}

/* Loads and stores of eight elements: of twice as long vectors, or two of four. */
static void declare_octets(tf_emitter *m, tf_str *out, uint32_t i)
{
    const tf_kernel_arg *a = &m->args.data[i];
    const tuff_dtype t = tf_type_of(m->g, a->value)->dtype;
    const bool table = is_long_table(m, a) && a->uniform_bytes % 32 == 0;
    const storage s = table ? storage_32(m, t) : storage_of(m, a);
    const char *vector = !s.vector || a->shared ? NULL : !strcmp(s.vector, "u64vec2") ? "u64vec4" : !strcmp(s.vector, "uint64_t") ? "u64vec2" : NULL;
    if (a->texel) {
        tf_str_printf(out, "#define LO%u(i, p, q) p = LV%u(i); q = LV%u((i) + 4);\n", i, i, i);
        return;
    }
    if (tf_dtype_bits(t) == 4 && !a->wide && !a->shared) {
        tf_str_printf(out, "#define LO%u(i, p, q) { const uint word = tf_word%u((i) >> 3); p = tf_nibbles_%s(word); q = tf_nibbles_%s(word >> 16); }\n", i, i, tuff_dtype_name(t), tuff_dtype_name(t));
        return;
    }
    if (!vector) {
        tf_str_printf(out, "#define LO%u(i, p, q) p = LV%u(i); q = LV%u((i) + 4);\n", i, i, i);
        tf_str_printf(out, "#define SO%u(i, x, y, z, w, x2, y2, z2, w2) SV%u(i, x, y, z, w); SV%u((i) + 4, x2, y2, z2, w2);\n", i, i, i);
        return;
    }
    const bool wide = !strcmp(vector, "u64vec4");
    if (table) tf_str_printf(out, "layout(std140, set = 0, binding = %u) uniform W%u { u64vec4 d[%llu]; } o%u;\n", a->slot, i, (unsigned long long)a->uniform_bytes / 32, i);
    else tf_str_printf(out, "layout(std430, set = 0, binding = %u) %sbuffer W%u { %s d[]; } o%u;\n", a->slot, access_of(a), i, vector, i);
    tf_str_printf(out, "#define LO%u(i, p, q) { const %s both = o%u.d[(i) >> 3]; p = ", i, vector, i);
    add_converted(out, s.load4, wide ? "both.xy" : "both.x");
    tf_str_add(out, "; q = ");
    add_converted(out, s.load4, wide ? "both.zw" : "both.y");
    tf_str_printf(out, "; }\n#define SO%u(i, x, y, z, w, x2, y2, z2, w2) o%u.d[(i) >> 3] = %s(", i, i, vector);
    add_converted(out, s.store4, tf_say(m, "%s(x, y, z, w)", tf_glsl_vector(t)));
    tf_str_add(out, ", ");
    add_converted(out, s.store4, tf_say(m, "%s(x2, y2, z2, w2)", tf_glsl_vector(t)));
    tf_str_add(out, ");\n");
}

void tf_declare(tf_emitter *m, tf_str *out, uint32_t i)
{
    const tf_kernel_arg *a = &m->args.data[i];
    if (a->twin) { declare_twin(out, i, a->twin - 1); return; }
    if (a->texel) declare_texels(m, out, i);
    else if (is_long_table(m, a)) declare_long_table(m, out, i);
    else if (a->uniform || storage_of(m, a).words) declare_words(m, out, i);
    else declare_elements(m, out, i);
    if (a->oct_read || a->oct_write) declare_octets(m, out, i);
}
