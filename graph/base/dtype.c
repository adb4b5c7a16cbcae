/* dtype.c - what the dtypes are: names, sizes, classes, rounding, and elements in memory.
 *
 * Small floats are described by three numbers (exponent bits, mantissa bits, largest finite value), so one
 * rounding, one encoder and one decoder serve f16, bf16 and both f8 formats. Doubles hold every dtype exactly;
 * rounding goes from the double to the target in one step. */
#include "base.h"

#include <float.h>
#include <math.h>
#include <string.h>

static const struct { const char *name; uint32_t bits; } dtypes[TUFF_DTYPE_COUNT] = {
    [TUFF_DTYPE_NONE] = { "?", 0 },
#define TUFF_X(name, text, bits) [TUFF_##name] = { text, bits },
    TUFF_DTYPES(TUFF_X)
#undef TUFF_X
};

const char *tuff_dtype_name(tuff_dtype t)
{
    return (unsigned)t < TUFF_DTYPE_COUNT ? dtypes[t].name : "?";
}

uint32_t tf_dtype_bits(tuff_dtype t)
{
    return (unsigned)t < TUFF_DTYPE_COUNT ? dtypes[t].bits : 0;
}

tuff_dtype tf_dtype_by_name(const char *name, size_t n)
{
    for (int t = 1; t < TUFF_DTYPE_COUNT; t++)
        if (strlen(dtypes[t].name) == n && memcmp(dtypes[t].name, name, n) == 0)
            return (tuff_dtype)t;
    return TUFF_DTYPE_NONE;
}

bool tf_dtype_is_single(tuff_dtype t)
{
    return t == TUFF_F32 || t == TUFF_F16 || t == TUFF_BF16;
}

bool tf_dtype_is_float(tuff_dtype t)
{
    return tf_dtype_is_single(t) || t == TUFF_F64;
}

bool tf_dtype_is_signed_int(tuff_dtype t)
{
    return t == TUFF_I32 || t == TUFF_I16 || t == TUFF_I8;
}

bool tf_dtype_is_int(tuff_dtype t)
{
    return tf_dtype_is_signed_int(t) || t == TUFF_U32 || t == TUFF_U16 || t == TUFF_U8;
}

/* ---- small floats ------------------------------------------------------------------------------- */

typedef struct small_float {
    int exponent, mantissa; /* bits; the bias is 2^(exponent-1) - 1 */
    double max;             /* largest finite value */
    bool inf;               /* the top exponent holds inf and NaN; else only all ones is NaN, and overflow saturates */
} small_float;

static const small_float *small_float_of(tuff_dtype t)
{
    static const small_float f16 = { 5, 10, 65504.0, true };
    static const small_float bf16 = { 8, 7, 0x1.fep127, true };
    static const small_float e4m3 = { 4, 3, 448.0, false };
    static const small_float e5m2 = { 5, 2, 57344.0, true };
    switch (t) {
    case TUFF_F16: return &f16;
    case TUFF_BF16: return &bf16;
    case TUFF_F8E4M3: return &e4m3;
    case TUFF_F8E5M2: return &e5m2;
    default: return NULL;
    }
}

static int bias_of(const small_float *f)
{
    return (1 << (f->exponent - 1)) - 1;
}

/* Round |x| < 2^52 to an integer, ties to even, whatever the rounding mode of the thread. */
static double round_even(double x)
{
    const double low = floor(x), rest = x - low;
    if (rest != 0.5)
        return rest < 0.5 ? low : low + 1;
    return fmod(low, 2) == 0 ? low : low + 1;
}

static double round_small(const small_float *f, double x)
{
    if (isnan(x) || x == 0)
        return x;
    double y = x;
    if (isfinite(x)) {
        int e;
        frexp(x, &e); /* |x| in [2^(e-1), 2^e) */
        const int quantum = TF_MAX(e - 1, 1 - bias_of(f)) - f->mantissa;
        y = copysign(ldexp(round_even(ldexp(fabs(x), -quantum)), quantum), x);
    }
    if (fabs(y) > f->max)
        y = copysign(f->inf ? (double)INFINITY : f->max, x);
    return y;
}

static uint32_t encode_small(const small_float *f, double x)
{
    const int bias = bias_of(f), m = f->mantissa;
    const uint32_t sign = signbit(x) ? 1u << (f->exponent + m) : 0;
    const uint32_t top = ((1u << f->exponent) - 1) << m;
    if (isnan(x))
        return sign | top | (f->inf ? 1u << (m - 1) : (1u << m) - 1);
    x = fabs(round_small(f, x));
    if (isinf(x))
        return sign | top;
    if (x < ldexp(1, 1 - bias)) /* zero and denormals */
        return sign | (uint32_t)ldexp(x, bias - 1 + m);
    int e;
    const double frac = frexp(x, &e);
    return sign | ((uint32_t)(e - 1 + bias) << m) | ((uint32_t)ldexp(frac, m + 1) & ((1u << m) - 1));
}

static double decode_small(const small_float *f, uint32_t bits)
{
    const int bias = bias_of(f), m = f->mantissa;
    const uint32_t low = (1u << m) - 1, ones = (1u << f->exponent) - 1;
    const uint32_t frac = bits & low, e = (bits >> m) & ones;
    double x;
    if (e == ones && f->inf)
        x = frac ? (double)NAN : (double)INFINITY;
    else if (e == ones && frac == low)
        x = (double)NAN;
    else if (e == 0)
        x = ldexp(frac, 1 - bias - m);
    else
        x = ldexp(frac + low + 1, (int)e - bias - m);
    return (bits >> (f->exponent + m)) & 1 ? -x : x;
}

/* ---- rounding ----------------------------------------------------------------------------------- */

static double round_f32(double x)
{
    static const small_float f32 = { 8, 23, FLT_MAX, true };
    return fabs(x) <= (double)FLT_MAX && fabs(x) >= (double)FLT_MIN ? (double)(float)x : round_small(&f32, x);
}

static double wrap(double x, uint32_t bits, bool is_signed)
{
    if (!isfinite(x))
        return 0;
    const double span = ldexp(1, (int)bits);
    double y = fmod(trunc(x), span);
    if (y < 0)
        y += span;
    if (is_signed && y >= span / 2)
        y -= span;
    return y + 0.0; /* no negative zero */
}

double tf_round_to(tuff_dtype t, double x)
{
    const small_float *f = small_float_of(t);
    if (f)
        return round_small(f, x);
    switch (t) {
    case TUFF_F32: case TUFF_C64: return round_f32(x);
    case TUFF_BOOL: return x != 0;
    case TUFF_I32: case TUFF_I16: case TUFF_I8: case TUFF_I4: return wrap(x, dtypes[t].bits, true);
    case TUFF_U32: case TUFF_U16: case TUFF_U8: case TUFF_U4: return wrap(x, dtypes[t].bits, false);
    default: return x;
    }
}

/* ---- elements in memory ------------------------------------------------------------------------- */

#define LOAD(T) do { T v_; memcpy(&v_, p, sizeof v_); return (double)v_; } while (0)
#define STORE(T, x) do { const T v_ = (T)(x); memcpy(p, &v_, sizeof v_); } while (0)

double tf_load_element(tuff_dtype t, const void *data, uint64_t i, double *im)
{
    const unsigned char *p = (const unsigned char *)data + (size_t)(i * (tf_dtype_bits(t) / 4) / 2);
    if (im)
        *im = 0;
    switch (t) {
    case TUFF_F32: LOAD(float);
    case TUFF_F64: LOAD(double);
    case TUFF_C64: {
        float v[2];
        memcpy(v, p, sizeof v);
        if (im)
            *im = (double)v[1];
        return (double)v[0];
    }
    case TUFF_I32: LOAD(int32_t);
    case TUFF_U32: LOAD(uint32_t);
    case TUFF_I16: LOAD(int16_t);
    case TUFF_U16: LOAD(uint16_t);
    case TUFF_I8: LOAD(int8_t);
    case TUFF_U8: LOAD(uint8_t);
    case TUFF_BOOL: return *p != 0;
    case TUFF_U4: return (*p >> (i % 2 * 4)) & 15;
    case TUFF_I4: return (double)((((*p >> (i % 2 * 4)) & 15) ^ 8) - 8);
    case TUFF_F16: case TUFF_BF16: {
        uint16_t bits;
        memcpy(&bits, p, sizeof bits);
        return decode_small(small_float_of(t), bits);
    }
    case TUFF_F8E4M3: case TUFF_F8E5M2: return decode_small(small_float_of(t), *p);
    default: return 0;
    }
}

void tf_store_element(tuff_dtype t, void *data, uint64_t i, double re, double im)
{
    unsigned char *p = (unsigned char *)data + (size_t)(i * (tf_dtype_bits(t) / 4) / 2);
    const double x = tf_round_to(t, re);
    switch (t) {
    case TUFF_F32: STORE(float, x); break;
    case TUFF_F64: STORE(double, x); break;
    case TUFF_C64: {
        const float v[2] = { (float)x, (float)tf_round_to(t, im) };
        memcpy(p, v, sizeof v);
        break;
    }
    case TUFF_I32: STORE(int32_t, x); break;
    case TUFF_U32: STORE(uint32_t, x); break;
    case TUFF_I16: STORE(int16_t, x); break;
    case TUFF_U16: STORE(uint16_t, x); break;
    case TUFF_I8: STORE(int8_t, x); break;
    case TUFF_U8: STORE(uint8_t, x); break;
    case TUFF_BOOL: *p = x != 0; break;
    case TUFF_I4: case TUFF_U4: {
        const unsigned shift = (unsigned)(i % 2 * 4);
        *p = (unsigned char)((*p & ~(15u << shift)) | (((unsigned)(int)x & 15u) << shift));
        break;
    }
    case TUFF_F16: case TUFF_BF16: STORE(uint16_t, encode_small(small_float_of(t), x)); break;
    case TUFF_F8E4M3: case TUFF_F8E5M2: *p = (unsigned char)encode_small(small_float_of(t), x); break;
    default: break;
    }
}
