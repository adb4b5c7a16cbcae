/* pointwise.c - pointwise ops: rows, scalar references and builders.
 *
 * A row's device text is GLSL over shaders/lib; its reference is a C function over doubles, written from the
 * definition and not from the device text, so that they cannot share a mistake. References ignore the width of
 * integers except where the bits matter: the interpreter wraps results. */
#include "anchors.h"
#include "ops.h"

#include <math.h>
#include <string.h>

#define PI 3.14159265358979323846

typedef tf_scalar cx;
#define X (a[0].re)
#define Y (a[1].re)
#define Z (a[2].re)
#define REFERENCE(name) static cx ref_##name(const tf_scalar *a, tuff_dtype t, const void *desc)
#define IGNORE (void)t, (void)desc
/* A function of real operands only. */
#define REAL(name, value) REFERENCE(name) { IGNORE; return (cx){ (value), 0 }; }
/* Real and complex operands. */
#define BOTH(name, value, complex_value) \
    REFERENCE(name) { (void)desc; return t == TUFF_C64 ? (complex_value) : (cx){ (value), 0 }; }

static uint32_t dtype_mask(tuff_dtype t)
{
    return 0xffffffffu >> (32 - tf_dtype_bits(t));
}

/* The two's complement pattern of an integer held as double, and back as a signed or unsigned number of any width. */
static uint32_t to_bits(double x)
{
    return (uint32_t)(int64_t)x;
}

static cx integer(uint32_t bits, tuff_dtype t)
{
    return (cx){ tf_dtype_is_signed_int(t) ? (double)(int32_t)bits : (double)bits, 0 };
}

/* ---- complex arithmetic ---- */

static cx c_mul(cx a, cx b) { return (cx){ a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re }; }
static cx c_div(cx a, cx b)
{
    const double n = b.re * b.re + b.im * b.im;
    return (cx){ (a.re * b.re + a.im * b.im) / n, (a.im * b.re - a.re * b.im) / n };
}
static cx c_exp(cx a) { return (cx){ exp(a.re) * cos(a.im), exp(a.re) * sin(a.im) }; }
static cx c_log(cx a) { return (cx){ log(hypot(a.re, a.im)), atan2(a.im, a.re) }; }
static cx c_polar(double r, double angle) { return (cx){ r * cos(angle), r * sin(angle) }; }
static cx c_sqrt(cx a)
{
    if (a.im == 0) return a.re >= 0 ? (cx){ sqrt(a.re), a.im } : (cx){ 0, copysign(sqrt(-a.re), a.im) };
    return c_polar(sqrt(hypot(a.re, a.im)), 0.5 * atan2(a.im, a.re));
}
static cx c_sinh(cx a) { return (cx){ sinh(a.re) * cos(a.im), cosh(a.re) * sin(a.im) }; }
static cx c_cosh(cx a) { return (cx){ cosh(a.re) * cos(a.im), sinh(a.re) * sin(a.im) }; }
static cx c_sin(cx a) { return (cx){ sin(a.re) * cosh(a.im), cos(a.re) * sinh(a.im) }; }
static cx c_cos(cx a) { return (cx){ cos(a.re) * cosh(a.im), -sin(a.re) * sinh(a.im) }; }
static cx c_tanh(cx a)
{
    if (fabs(a.re) > 300) return (cx){ copysign(1, a.re), 0 };
    return c_div(c_sinh(a), c_cosh(a));
}
static cx c_pow(cx a, cx b)
{
    if (b.re == 0 && b.im == 0) return (cx){ 1, 0 };
    if (a.re == 0 && a.im == 0) return b.re > 0 ? (cx){ 0, 0 } : (cx){ NAN, NAN };
    return c_exp(c_mul(b, c_log(a)));
}

/* ---- one operand ---- */

static double round_even(double x)
{
    const double r = floor(x + 0.5);
    return r - x == 0.5 && fmod(r, 2) != 0 ? r - 1 : r;
}

static double sigmoid(double x) { return x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x)); }

BOTH(neg, -X, ((cx){ -X, -a->im }))
BOTH(abs, fabs(X), ((cx){ hypot(X, a->im), 0 }))
REAL(sign, X > 0 ? 1 : X < 0 ? -1 : X)
REAL(floor, floor(X))
REAL(ceil, ceil(X))
REAL(round, fabs(X) < 4503599627370496.0 ? round_even(X) : X)
REAL(trunc, trunc(X))
REAL(frac, X - floor(X))
REFERENCE(square)
{
    (void)desc;
    if (t == TUFF_C64) return c_mul(*a, *a);
    return tf_dtype_is_int(t) ? integer(to_bits(X) * to_bits(X), t) : (cx){ X * X, 0 };
}
BOTH(sqrt, sqrt(X), c_sqrt(*a))
REAL(rsqrt, 1 / sqrt(X))
BOTH(reciprocal, 1 / X, c_div((cx){ 1, 0 }, *a))
BOTH(exp, exp(X), c_exp(*a))
REAL(exp2, exp2(X))
REAL(expm1, expm1(X))
BOTH(log, log(X), c_log(*a))
REAL(log2, log2(X))
REAL(log10, log10(X))
REAL(log1p, log1p(X))
BOTH(sin, sin(X), c_sin(*a))
BOTH(cos, cos(X), c_cos(*a))
REAL(tan, tan(X))
REAL(asin, asin(X))
REAL(acos, acos(X))
REAL(atan, atan(X))
BOTH(sinh, sinh(X), c_sinh(*a))
BOTH(cosh, cosh(X), c_cosh(*a))
BOTH(tanh, tanh(X), c_tanh(*a))
REAL(asinh, asinh(X))
REAL(acosh, acosh(X))
REAL(atanh, atanh(X))
REAL(erf, erf(X))
REAL(erfc, erfc(X))
REAL(gelu, 0.5 * X * erfc(-X / sqrt(2.0)))
REAL(gelu_tanh, X * sigmoid(2 * sqrt(2 / PI) * (X + 0.044715 * X * X * X)))
REAL(silu, X * sigmoid(X))
REAL(softplus, tf_softplus(X) + (isnan(X) ? X : 0))
REAL(sigmoid, isnan(X) ? X : sigmoid(X))
REAL(relu, X < 0 ? 0 : X)
REAL(logical_not, X == 0)
REFERENCE(bit_not)
{
    (void)desc;
    return t == TUFF_BOOL ? (cx){ X == 0, 0 } : integer(~to_bits(X), t);
}
REFERENCE(popcount)
{
    (void)desc;
    int n = 0;
    for (uint32_t b = to_bits(X) & dtype_mask(t); b; b >>= 1) n += (int)(b & 1);
    return (cx){ n, 0 };
}
BOTH(isnan, isnan(X), ((cx){ isnan(X) || isnan(a->im), 0 }))
BOTH(isinf, isinf(X) != 0, ((cx){ isinf(X) || isinf(a->im), 0 }))
BOTH(isfinite, isfinite(X) != 0, ((cx){ isfinite(X) && isfinite(a->im), 0 }))
REAL(real, X)
BOTH(imag, 0, ((cx){ a->im, 0 }))
BOTH(conj, X, ((cx){ X, -a->im }))
BOTH(angle, atan2(0.0, X), ((cx){ atan2(a->im, X), 0 }))

/* ---- two operands ---- */

REFERENCE(add) { IGNORE; return (cx){ X + Y, a[0].im + a[1].im }; }
REFERENCE(sub) { IGNORE; return (cx){ X - Y, a[0].im - a[1].im }; }
REFERENCE(mul)
{
    (void)desc;
    if (t == TUFF_C64) return c_mul(a[0], a[1]);
    return tf_dtype_is_int(t) ? integer(to_bits(X) * to_bits(Y), t) : (cx){ X * Y, 0 };
}
REFERENCE(div)
{
    (void)desc;
    if (t == TUFF_C64) return c_div(a[0], a[1]);
    if (tf_dtype_is_int(t)) return (cx){ Y == 0 ? 0 : trunc(X / Y), 0 };
    return (cx){ X / Y, 0 };
}
REFERENCE(mod)
{
    (void)desc;
    if (Y == 0) return (cx){ tf_dtype_is_int(t) ? 0 : NAN, 0 };
    const double r = fmod(X, Y);
    if (r == 0) return (cx){ copysign(0, Y), 0 };
    return (cx){ (r < 0) == (Y < 0) ? r : r + Y, 0 };
}
static cx integer_power(double base, double exponent, tuff_dtype t)
{
    if (exponent < 0)
        return (cx){ base == 1 ? 1 : base == -1 ? (fmod(exponent, 2) == 0 ? 1 : -1) : 0, 0 };
    uint32_t r = 1, b = to_bits(base);
    for (uint32_t e = to_bits(exponent); e; e >>= 1, b *= b)
        if (e & 1) r *= b;
    return integer(r, t);
}
REFERENCE(pow)
{
    (void)desc;
    if (t == TUFF_C64) return c_pow(a[0], a[1]);
    return tf_dtype_is_int(t) ? integer_power(X, Y, t) : (cx){ pow(X, Y), 0 };
}
REAL(maximum, isnan(X) ? X : isnan(Y) ? Y : X > Y ? X : Y)
REAL(minimum, isnan(X) ? X : isnan(Y) ? Y : X < Y ? X : Y)
REAL(atan2, atan2(X, Y))
REAL(hypot, hypot(X, Y))
REFERENCE(equal) { IGNORE; return (cx){ X == Y && a[0].im == a[1].im, 0 }; }
REFERENCE(not_equal) { IGNORE; return (cx){ !(X == Y && a[0].im == a[1].im), 0 }; }
REAL(less, X < Y)
REAL(less_equal, X <= Y)
REAL(greater, X > Y)
REAL(greater_equal, X >= Y)
REAL(logical_and, X != 0 && Y != 0)
REAL(logical_or, X != 0 || Y != 0)
REAL(logical_xor, (X != 0) != (Y != 0))
REFERENCE(bit_and) { (void)desc; return integer(to_bits(X) & to_bits(Y), t); }
REFERENCE(bit_or) { (void)desc; return integer(to_bits(X) | to_bits(Y), t); }
REFERENCE(bit_xor) { (void)desc; return integer(to_bits(X) ^ to_bits(Y), t); }
REFERENCE(shift_left)
{
    (void)desc;
    return integer(Y >= 0 && Y < 32 ? to_bits(X) << (uint32_t)Y : 0, t);
}
REFERENCE(shift_right)
{
    IGNORE;
    return (cx){ Y >= 0 && Y < 32 ? floor(X / exp2(Y)) : X < 0 ? -1 : 0, 0 };
}
REFERENCE(complex) { IGNORE; return (cx){ X, Y }; }

/* ---- rows ---- */

enum { F = TF_CLS_FLOAT, I = TF_CLS_INT, B = TF_CLS_BOOL, C = TF_CLS_COMPLEX };

#define U(op, cls, res, cost, bound, text, ...) \
    const tf_op tf_op_##op = { .name = #op, .doc = text, .operands = "x", .kind = TF_POINTWISE, .arity = 1, .classes = cls, \
                               .result = TF_RESULT_##res, .flops = cost, .ulp = bound, .scalar = ref_##op, __VA_ARGS__ };
#define B(op, names, cls, res, cost, bound, text, ...) \
    const tf_op tf_op_##op = { .name = #op, .doc = text, .operands = names, .kind = TF_POINTWISE, .arity = 2, .classes = cls, \
                               .result = TF_RESULT_##res, .flops = cost, .ulp = bound, .scalar = ref_##op, __VA_ARGS__ };
#include "pointwise.def"
#undef U
#undef B

#define U(op, ...) tuff_tensor tuff_##op(tuff_tensor x) { return tf_add(x.graph, &tf_op_##op, &x, 1, NULL); }
#define B(op, ...) tuff_tensor tuff_##op(tuff_tensor a, tuff_tensor b) { return tf_add(NULL, &tf_op_##op, (tuff_tensor[]){ a, b }, 2, NULL); }
#include "pointwise.def"
#undef U
#undef B

/* ---- with attributes ---- */

typedef struct leaky_relu_desc { float slope; } leaky_relu_desc;

REFERENCE(leaky_relu) { (void)t; return (cx){ X > 0 ? X : ((const leaky_relu_desc *)desc)->slope * X, 0 }; }
static const tf_attr leaky_relu_attrs[] = { TF_A(leaky_relu_desc, slope, TF_ATTR_FLOAT, "factor for x <= 0", .required = true) };
const tf_op tf_op_leaky_relu = { .name = "leaky_relu", .doc = "x > 0 ? x : slope * x", .operands = "x", .kind = TF_POINTWISE, .arity = 1,
    .attrs = leaky_relu_attrs, .attr_count = TF_COUNT(leaky_relu_attrs), .desc_size = sizeof(leaky_relu_desc), .classes = F, .flops = 2,
    .ulp = 1, .scalar = ref_leaky_relu, .glsl = "$0 > 0.0 ? $0 : @slope * $0", .f64 = true };

tuff_tensor tuff_leaky_relu(tuff_tensor x, float slope)
{
    return tf_add(x.graph, &tf_op_leaky_relu, &x, 1, &(leaky_relu_desc){ slope });
}

static double alpha_of(const void *desc)
{
    const float alpha = ((const tuff_elu_desc *)desc)->alpha;
    return alpha != 0 ? (double)alpha : 1;
}
REFERENCE(elu) { (void)t; return (cx){ X > 0 ? X : alpha_of(desc) * expm1(X), 0 }; }
static const tf_attr elu_attrs[] = { TF_A(tuff_elu_desc, alpha, TF_ATTR_FLOAT, "factor for x <= 0; 0: 1") };
const tf_op tf_op_elu = { .name = "elu", .doc = "x > 0 ? x : alpha * (e^x - 1)", .source = "arXiv:1511.07289", .operands = "x",
    .kind = TF_POINTWISE, .arity = 1, .attrs = elu_attrs, .attr_count = TF_COUNT(elu_attrs), .desc_size = sizeof(tuff_elu_desc),
    .classes = F, .flops = 20, .ulp = 5, .scalar = ref_elu, .glsl = "$0 > 0.0 ? $0 : (@alpha == 0.0 ? 1.0 : @alpha) * tf_expm1($0)" };

tuff_tensor tuff_elu(tuff_tensor x, const tuff_elu_desc *desc)
{
    return tf_add(x.graph, &tf_op_elu, &x, 1, desc);
}

/* ---- conversions ---- */

typedef struct dtype_desc { tuff_dtype dtype; } dtype_desc;
static const tf_attr dtype_attrs[] = { TF_A(dtype_desc, dtype, TF_ATTR_DTYPE, "dtype of the result", .required = true) };

static bool is_integral(tuff_dtype t)
{
    return tf_dtype_is_int(t) || t == TUFF_I4 || t == TUFF_U4;
}

static bool cast_infer(tf_infer *c)
{
    const tuff_dtype dtype = ((const dtype_desc *)c->desc)->dtype;
    if (dtype <= TUFF_DTYPE_NONE || dtype >= TUFF_DTYPE_COUNT)
        return tf_bad(c, TUFF_E_ATTRIBUTE, "dtype %d is not a dtype", (int)dtype);
    c->out[0] = *c->type[0];
    c->out[0].dtype = dtype;
    return true;
}

/* Saturation is decided here, before the interpreter wraps or rounds. */
static double saturate(double x, tuff_dtype to)
{
    if (isnan(x)) return 0;
    const uint32_t bits = tf_dtype_bits(to);
    const bool is_signed = tf_dtype_is_signed_int(to) || to == TUFF_I4;
    const double lo = is_signed ? -exp2(bits - 1) : 0, hi = exp2(is_signed ? bits - 1 : bits) - 1;
    return x < lo ? lo : x > hi ? hi : trunc(x);
}

REFERENCE(cast)
{
    const tuff_dtype to = ((const dtype_desc *)desc)->dtype;
    if (to == TUFF_BOOL) return (cx){ X != 0 || (t == TUFF_C64 && a->im != 0), 0 };
    if (to == TUFF_C64) return (cx){ X, t == TUFF_C64 ? a->im : 0 };
    if (is_integral(to)) return (cx){ is_integral(t) ? X : saturate(X, to), 0 };
    if (to == TUFF_F8E4M3) return (cx){ isnan(X) ? X : fmin(fmax(X, -448), 448), 0 };
    if (to == TUFF_F8E5M2) return (cx){ isfinite(X) ? fmin(fmax(X, -57344), 57344) : X, 0 };
    return (cx){ X, 0 };
}
#define CAST "tf_to_@dtype($0)"
const tf_op tf_op_cast = { .name = "cast", .doc = "x in another dtype; float to int truncates and saturates, int to int wraps", .operands = "x",
    .kind = TF_POINTWISE, .arity = 1, .attrs = dtype_attrs, .attr_count = TF_COUNT(dtype_attrs), .desc_size = sizeof(dtype_desc),
    .infer = cast_infer, .classes = TF_CLS_ANY, .result = TF_RESULT_ATTR, .flops = 1, .discontinuous = true, .scalar = ref_cast,
    .glsl = CAST, .glsl_int = CAST, .glsl_bool = CAST, .glsl_complex = CAST, .f64 = true };

tuff_tensor tuff_cast(tuff_tensor x, tuff_dtype dtype)
{
    return tf_add(x.graph, &tf_op_cast, &x, 1, &(dtype_desc){ dtype });
}

/* Dtypes whose pattern can be taken and given. */
static bool has_bits(tuff_dtype t)
{
    switch (t) {
    case TUFF_F32: case TUFF_I32: case TUFF_U32: case TUFF_F16: case TUFF_BF16: case TUFF_I16: case TUFF_U16:
    case TUFF_I8: case TUFF_U8: case TUFF_F8E4M3: case TUFF_F8E5M2: return true;
    default: return false;
    }
}

static bool bitcast_infer(tf_infer *c)
{
    const tuff_dtype from = c->type[0]->dtype, to = ((const dtype_desc *)c->desc)->dtype;
    if (!has_bits(from) || !has_bits(to) || tf_dtype_bits(from) != tf_dtype_bits(to))
        return tf_bad(c, TUFF_E_DTYPE, "%s and %s are not two of f32 i32 u32, of f16 bf16 i16 u16 or of i8 u8 f8e4m3 f8e5m2 (%s)",
                      tuff_dtype_name(from), tuff_dtype_name(to), tf_src_text(c, 0));
    c->out[0] = *c->type[0];
    c->out[0].dtype = to;
    return true;
}

REFERENCE(bitcast)
{
    uint32_t bits[2] = { 0 };
    cx y;
    tf_store_element(t, bits, 0, X, 0);
    y.re = tf_load_element(((const dtype_desc *)desc)->dtype, bits, 0, &y.im);
    return y;
}
#define BITCAST "tf_from_bits_@dtype(tf_bits_$t($0))"
const tf_op tf_op_bitcast = { .name = "bitcast", .doc = "the bits of x as another dtype of the same width", .operands = "x", .kind = TF_POINTWISE,
    .arity = 1, .attrs = dtype_attrs, .attr_count = TF_COUNT(dtype_attrs), .desc_size = sizeof(dtype_desc), .infer = bitcast_infer,
    .classes = F | I, .result = TF_RESULT_ATTR, .flops = 1, .discontinuous = true, .scalar = ref_bitcast, .glsl = BITCAST, .glsl_int = BITCAST };

tuff_tensor tuff_bitcast(tuff_tensor x, tuff_dtype dtype)
{
    return tf_add(x.graph, &tf_op_bitcast, &x, 1, &(dtype_desc){ dtype });
}

/* ---- three operands ---- */

static bool where_infer(tf_infer *c)
{
    if (c->type[0]->dtype != TUFF_BOOL)
        return tf_bad(c, TUFF_E_DTYPE, "the condition is %s; it must be bool (%s)", tuff_dtype_name(c->type[0]->dtype), tf_src_text(c, 0));
    return tf_unify(c, 1, 2, &c->out[0]) && tf_broadcast(c, c->type[0], &c->out[0], &c->out[0]);
}
REFERENCE(where) { IGNORE; return X != 0 ? a[1] : a[2]; }
const tf_op tf_op_where = { .name = "where", .doc = "condition ? a : b; condition is bool", .operands = "condition a b", .kind = TF_POINTWISE,
    .arity = 3, .infer = where_infer, .classes = TF_CLS_ANY, .flops = 1, .discontinuous = true, .scalar = ref_where,
    .glsl = "$0 ? $1 : $2", .f64 = true };

REAL(clamp, isnan(X) ? X : fmin(fmax(X, Y), Z))
REFERENCE(fma)
{
    (void)desc;
    if (t == TUFF_C64) { const cx p = c_mul(a[0], a[1]); return (cx){ p.re + a[2].re, p.im + a[2].im }; }
    return tf_dtype_is_int(t) ? integer(to_bits(X) * to_bits(Y) + to_bits(Z), t) : (cx){ X * Y + Z, 0 };
}
REFERENCE(lerp)
{
    (void)desc;
    if (t != TUFF_C64) return (cx){ X + Z * (Y - X), 0 };
    const cx p = c_mul(a[2], (cx){ Y - X, a[1].im - a[0].im });
    return (cx){ X + p.re, a[0].im + p.im };
}
const tf_op tf_op_clamp = { .name = "clamp", .doc = "min(max(x, lo), hi); NaN unchanged", .operands = "x lo hi", .kind = TF_POINTWISE, .arity = 3,
    .classes = F | I, .flops = 3, .scalar = ref_clamp, .glsl = "tf_min(tf_max($0, $1), $2)", .f64 = true };
const tf_op tf_op_fma = { .name = "fma", .doc = "a * b + c, in one rounding or two", .operands = "a b c", .kind = TF_POINTWISE, .arity = 3,
    .classes = F | I | C, .flops = 2, .rel = 1, .scalar = ref_fma, .glsl = "$0 * $1 + $2", .glsl_complex = "tf_c_mul($0, $1) + $2", .f64 = true };
const tf_op tf_op_lerp = { .name = "lerp", .doc = "a + t * (b - a)", .operands = "a b t", .kind = TF_POINTWISE, .arity = 3, .classes = F | C,
    .flops = 3, .rel = 2, .scalar = ref_lerp, .glsl = "$0 + $2 * ($1 - $0)", .glsl_complex = "$0 + tf_c_mul($2, $1 - $0)", .f64 = true };

#define T(op, p, q, r) \
    tuff_tensor tuff_##op(tuff_tensor p, tuff_tensor q, tuff_tensor r) { return tf_add(NULL, &tf_op_##op, (tuff_tensor[]){ p, q, r }, 3, NULL); }
T(where, condition, a, b)
T(clamp, x, lo, hi)
T(fma, a, b, c)
T(lerp, a, b, t)
#undef T
