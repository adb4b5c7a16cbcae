/* test_ops_ref.c - the references of pointwise, movement, indexed and random ops against hand values and identities, and
 * the index expressions of views, with their inverses, against those references. No device. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "graph/expr.h"
#include "graph/interp.h"
#include "support/support.h"

#define INF ((double)INFINITY)
#define NOT ((double)NAN)

/* ---- running a text on the CPU ---- */

enum { MOST = 640 };

/* Output y of the graph, with dim n (if there is one) set to `n` (0: its bound). Returns the element count, or 0 after a failure. */
static size_t evaluate(const char *text, int64_t n, double *re, double *im, tuff_shape *shape)
{
    char message[512];
    tuff_graph *g = NULL;
    if (tuff_graph_parse(text, strlen(text), NULL, &g, message, sizeof message) != TUFF_OK) {
        cr_expect_fail("%s\n%s", message, text);
        return 0;
    }
    size_t count = 0;
    tf_interp *in = tf_interp_create(g, &(tuff_allocator){ 0 });
    if (n) tf_interp_set_dim(in, "n", n);
    const tuff_status s = tf_interp_run(in);
    const tf_ref_tensor *y = s == TUFF_OK ? tf_interp_get(in, "y") : NULL;
    cr_expect(y, "%s\n%s", tf_interp_error(in), text);
    if (y) {
        count = (size_t)y->n;
        cr_assert(count <= MOST, "%zu elements\n%s", count, text);
        for (size_t i = 0; i < count; i++) re[i] = y->re[i];
        for (size_t i = 0; im && i < count; i++) im[i] = y->im ? y->im[i] : 0;
        if (shape) {
            *shape = (tuff_shape){ .rank = y->rank };
            memcpy(shape->dim, y->dim, sizeof shape->dim);
        }
    }
    tf_interp_destroy(in);
    tuff_graph_destroy(g);
    return count;
}

static bool same(double got, double want, double relative)
{
    if (isnan(want)) return isnan(got);
    if (isinf(want) || want == 0) return got == want;
    return fabs(got - want) <= relative * fabs(want);
}

/* ---- pointwise ---- */

typedef struct scalar_case { const char *op; tuff_dtype t; double a, b, c, want; } scalar_case;

static const scalar_case scalar_cases[] = {
    { "neg", TUFF_F32, 2.5, 0, 0, -2.5 }, { "abs", TUFF_F32, -2.5, 0, 0, 2.5 }, { "sign", TUFF_F32, -7, 0, 0, -1 }, { "sign", TUFF_F32, 0, 0, 0, 0 },
    { "sign", TUFF_F32, NOT, 0, 0, NOT }, { "floor", TUFF_F32, -1.5, 0, 0, -2 }, { "ceil", TUFF_F32, -1.5, 0, 0, -1 }, { "trunc", TUFF_F32, -1.5, 0, 0, -1 },
    { "round", TUFF_F32, 0.5, 0, 0, 0 }, { "round", TUFF_F32, 1.5, 0, 0, 2 }, { "round", TUFF_F32, 2.5, 0, 0, 2 }, { "round", TUFF_F32, -0.5, 0, 0, 0 },
    { "round", TUFF_F32, -1.5, 0, 0, -2 }, { "round", TUFF_F32, 0.49999997, 0, 0, 0 }, { "frac", TUFF_F32, -1.25, 0, 0, 0.75 },
    { "square", TUFF_I32, 65536, 0, 0, 0 }, { "square", TUFF_F32, -3, 0, 0, 9 }, { "sqrt", TUFF_F32, 2, 0, 0, 1.4142135623730951 },
    { "rsqrt", TUFF_F32, 4, 0, 0, 0.5 }, { "reciprocal", TUFF_F32, -4, 0, 0, -0.25 }, { "exp", TUFF_F32, 1, 0, 0, 2.718281828459045 },
    { "exp2", TUFF_F32, -3, 0, 0, 0.125 }, { "expm1", TUFF_F32, 1e-10, 0, 0, 1.00000000005e-10 }, { "log", TUFF_F32, 10, 0, 0, 2.302585092994046 },
    { "log", TUFF_F32, 0, 0, 0, -INF }, { "log", TUFF_F32, -1, 0, 0, NOT }, { "log2", TUFF_F32, 8, 0, 0, 3 }, { "log10", TUFF_F32, 1e-3, 0, 0, -3 },
    { "log1p", TUFF_F32, 1e-10, 0, 0, 9.9999999995e-11 }, { "sin", TUFF_F32, 1, 0, 0, 0.8414709848078965 }, { "cos", TUFF_F32, 1, 0, 0, 0.5403023058681398 },
    { "tan", TUFF_F32, 1, 0, 0, 1.5574077246549023 }, { "asin", TUFF_F32, 1, 0, 0, 1.5707963267948966 }, { "acos", TUFF_F32, -1, 0, 0, 3.141592653589793 },
    { "acos", TUFF_F32, 1.5, 0, 0, NOT }, { "atan", TUFF_F32, 1, 0, 0, 0.7853981633974483 }, { "sinh", TUFF_F32, 1, 0, 0, 1.1752011936438014 },
    { "cosh", TUFF_F32, 1, 0, 0, 1.543080634815244 }, { "tanh", TUFF_F32, 0.5, 0, 0, 0.46211715726000973 }, { "asinh", TUFF_F32, 1, 0, 0, 0.881373587019543 },
    { "acosh", TUFF_F32, 2, 0, 0, 1.3169578969248166 }, { "atanh", TUFF_F32, 0.5, 0, 0, 0.5493061443340549 }, { "erf", TUFF_F32, 1, 0, 0, 0.8427007929497149 },
    { "erfc", TUFF_F32, 3, 0, 0, 2.2090496998585438e-05 }, { "gelu", TUFF_F32, 1, 0, 0, 0.8413447460685429 }, { "gelu", TUFF_F32, -10, 0, 0, -7.619853024160526e-23 },
    { "gelu_tanh", TUFF_F32, 1, 0, 0, 0.8411919906082768 }, { "silu", TUFF_F32, 1, 0, 0, 0.7310585786300049 }, { "silu", TUFF_F32, -100, 0, 0, -3.720075976020836e-42 },
    { "softplus", TUFF_F32, 0, 0, 0, 0.6931471805599453 }, { "softplus", TUFF_F32, -40, 0, 0, 4.248354255291589e-18 }, { "softplus", TUFF_F32, 1000, 0, 0, 1000 },
    { "sigmoid", TUFF_F32, -1000, 0, 0, 0 }, { "sigmoid", TUFF_F32, 0, 0, 0, 0.5 }, { "relu", TUFF_F32, -3, 0, 0, 0 }, { "relu", TUFF_F32, NOT, 0, 0, NOT },
    { "logical_not", TUFF_F32, 0, 0, 0, 1 }, { "bit_not", TUFF_I32, 0, 0, 0, -1 }, { "bit_not", TUFF_U8, 1, 0, 0, 4294967294.0 }, { "bit_not", TUFF_BOOL, 1, 0, 0, 0 },
    { "popcount", TUFF_I8, -1, 0, 0, 8 }, { "popcount", TUFF_U32, 4294967295.0, 0, 0, 32 }, { "isnan", TUFF_F32, NOT, 0, 0, 1 }, { "isnan", TUFF_F32, INF, 0, 0, 0 },
    { "isinf", TUFF_F32, -INF, 0, 0, 1 }, { "isfinite", TUFF_F32, INF, 0, 0, 0 }, { "imag", TUFF_F32, 3, 0, 0, 0 }, { "angle", TUFF_F32, -2, 0, 0, 3.141592653589793 },
    { "mul", TUFF_I32, 123456789, 987654321, 0, -67153019 }, { "mul", TUFF_U32, 4294967295.0, 4294967295.0, 0, 1 }, { "div", TUFF_I32, -7, 2, 0, -3 },
    { "div", TUFF_I32, 7, 0, 0, 0 }, { "div", TUFF_F32, 1, 0, 0, INF }, { "mod", TUFF_I32, -7, 3, 0, 2 }, { "mod", TUFF_I32, 7, -3, 0, -2 }, { "mod", TUFF_I32, 7, 0, 0, 0 },
    { "mod", TUFF_F32, -7, 3, 0, 2 }, { "mod", TUFF_F32, 5.5, -2, 0, -0.5 }, { "mod", TUFF_F32, 1, 0, 0, NOT }, { "mod", TUFF_F32, 1e20, 3, 0, 1 },
    { "pow", TUFF_F32, 2, 0.5, 0, 1.4142135623730951 }, { "pow", TUFF_F32, -2, 3, 0, -8 }, { "pow", TUFF_F32, -2, 0.5, 0, NOT }, { "pow", TUFF_I32, 3, 4, 0, 81 },
    { "pow", TUFF_I32, 2, -1, 0, 0 }, { "pow", TUFF_I32, -1, -3, 0, -1 }, { "pow", TUFF_I32, 7, 0, 0, 1 }, { "maximum", TUFF_F32, 1, NOT, 0, NOT },
    { "maximum", TUFF_F32, NOT, 1, 0, NOT }, { "minimum", TUFF_F32, 2, -3, 0, -3 }, { "atan2", TUFF_F32, 1, -1, 0, 2.356194490192345 },
    { "hypot", TUFF_F32, 3e30, 4e30, 0, 5e30 }, { "equal", TUFF_F32, NOT, NOT, 0, 0 }, { "not_equal", TUFF_F32, NOT, NOT, 0, 1 }, { "less", TUFF_F32, 1, 2, 0, 1 },
    { "less", TUFF_F32, NOT, 2, 0, 0 }, { "greater_equal", TUFF_I32, 2, 2, 0, 1 }, { "logical_xor", TUFF_BOOL, 1, 1, 0, 0 }, { "bit_and", TUFF_I32, -1, 12, 0, 12 },
    { "bit_xor", TUFF_U32, 5, 3, 0, 6 }, { "shift_left", TUFF_I32, 1, 31, 0, -2147483648.0 }, { "shift_left", TUFF_U32, 1, 32, 0, 0 },
    { "shift_right", TUFF_I32, -5, 1, 0, -3 }, { "shift_right", TUFF_I32, -5, 40, 0, -1 }, { "shift_right", TUFF_U32, 4294967295.0, 31, 0, 1 },
    { "where", TUFF_F32, 1, 5, 6, 5 }, { "where", TUFF_F32, 0, 5, 6, 6 }, { "clamp", TUFF_F32, 9, -1, 1, 1 }, { "clamp", TUFF_F32, NOT, -1, 1, NOT },
    { "fma", TUFF_F32, 2, 3, 4, 10 }, { "fma", TUFF_I32, 65536, 65536, 5, 5 }, { "lerp", TUFF_F32, 2, 4, 0.25, 2.5 },
};

Test(ops_ref, pointwise_values)
{
    for (size_t i = 0; i < COUNT(scalar_cases); i++) {
        const scalar_case *k = &scalar_cases[i];
        const tf_op *op = tf_op_find(k->op);
        cr_assert(op && op->scalar, "%s", k->op);
        const double got = op->scalar((tf_scalar[]){ { k->a, 0 }, { k->b, 0 }, { k->c, 0 } }, k->t, NULL).re;
        cr_expect(same(got, k->want, 1e-14), "%s %s(%g, %g, %g) is %.17g, not %.17g", tuff_dtype_name(k->t), k->op, k->a, k->b, k->c, got, k->want);
    }
}

typedef struct complex_case { const char *op; tf_scalar a, b, want; } complex_case;

static const complex_case complex_cases[] = {
    { "abs", { 3, -4 }, { 0, 0 }, { 5, 0 } },
    { "mul", { 1, 2 }, { 3, 4 }, { -5, 10 } },
    { "div", { -5, 10 }, { 3, 4 }, { 1, 2 } },
    { "square", { 1, 2 }, { 0, 0 }, { -3, 4 } },
    { "sqrt", { -3, 4 }, { 0, 0 }, { 1, 2 } },
    { "sqrt", { -4, 0 }, { 0, 0 }, { 0, 2 } },
    { "reciprocal", { 0, 2 }, { 0, 0 }, { 0, -0.5 } },
    { "exp", { 1, 3.141592653589793 / 2 }, { 0, 0 }, { 1.6644412214430565e-16, 2.718281828459045 } },
    { "log", { 0, 2.718281828459045 }, { 0, 0 }, { 1, 1.5707963267948966 } },
    { "sin", { 1, 1 }, { 0, 0 }, { 1.2984575814159773, 0.6349639147847361 } },
    { "cos", { 1, 1 }, { 0, 0 }, { 0.8337300251311491, -0.9888977057628651 } },
    { "sinh", { 1, 1 }, { 0, 0 }, { 0.6349639147847361, 1.2984575814159773 } },
    { "cosh", { 1, 1 }, { 0, 0 }, { 0.8337300251311491, 0.9888977057628651 } },
    { "tanh", { 1, 1 }, { 0, 0 }, { 1.0839233273386946, 0.2717525853195117 } },
    { "pow", { 0, 1 }, { 2, 0 }, { -1, 1.2246467991473532e-16 } },
    { "conj", { 1, 2 }, { 0, 0 }, { 1, -2 } },
    { "imag", { 1, 2 }, { 0, 0 }, { 2, 0 } },
    { "angle", { -1, 1 }, { 0, 0 }, { 2.356194490192345, 0 } },
    { "equal", { 1, 2 }, { 1, 3 }, { 0, 0 } },
    { "isnan", { 1, NAN }, { 0, 0 }, { 1, 0 } },
};

Test(ops_ref, complex_values)
{
    for (size_t i = 0; i < COUNT(complex_cases); i++) {
        const complex_case *k = &complex_cases[i];
        const tf_scalar y = tf_op_find(k->op)->scalar((tf_scalar[]){ k->a, k->b }, TUFF_C64, NULL);
        const double size = hypot(k->want.re, k->want.im);
        cr_expect(fabs(y.re - k->want.re) <= 1e-14 * size && fabs(y.im - k->want.im) <= 1e-14 * size, "%s(%g%+gi, %g%+gi) is %.17g%+.17gi, not %.17g%+.17gi",
                  k->op, k->a.re, k->a.im, k->b.re, k->b.im, y.re, y.im, k->want.re, k->want.im);
    }
}

/* Identities that tie rows to each other over a range: left(x) = right(x). */
typedef struct identity { const char *left, *right; double lo, hi, relative; } identity;

static const identity identities[] = {
    { "expm1(x)", "exp(x) - 1.0", 1, 20, 1e-13 }, { "log1p(x)", "log(x + 1.0)", 1, 100, 1e-13 }, { "tanh(x)", "sinh(x) / cosh(x)", -5, 5, 1e-13 },
    { "erfc(x)", "1.0 - erf(x)", -3, 1, 1e-13 }, { "gelu(x)", "0.5 * x * (1.0 + erf(x / sqrt(2.0)))", 0.1, 5, 1e-7 }, { "silu(x)", "x * sigmoid(x)", -5, 5, 1e-13 },
    { "softplus(x)", "log(1.0 + exp(x))", -3, 5, 1e-12 }, { "sigmoid(x)", "1.0 - sigmoid(-x)", -3, 5, 1e-13 }, { "exp2(x)", "pow(f64(2.0), x)", -20, 20, 1e-13 },
    { "log2(x)", "log(x) / log(f64(2.0))", 2, 100, 1e-13 }, { "asinh(sinh(x))", "x", -5, 5, 1e-12 }, { "acosh(cosh(x))", "x", 0.5, 5, 1e-12 },
    { "atanh(tanh(x))", "x", -3, 3, 1e-12 }, { "tan(x)", "sin(x) / cos(x)", -1.5, 1.5, 1e-13 }, { "asin(x) + acos(x)", "f64(1.5707963267948966)", -1, 1, 1e-13 },
    { "atan2(sin(x), cos(x))", "x", -3, 3, 1e-13 }, { "x - floor(x)", "frac(x)", -9, 9, 0 }, { "rsqrt(x)", "1.0 / sqrt(x)", 0.1, 9, 1e-15 },
    { "hypot(x, 2.0 * x)", "abs(x) * sqrt(f64(5.0))", -9, 9, 1e-14 }, { "lerp(x, -x, 0.5)", "0.0 * x", -9, 9, 0 },
};

Test(ops_ref, identities)
{
    for (size_t i = 0; i < COUNT(identities); i++) {
        const identity *k = &identities[i];
        double left[MOST], right[MOST];
        char text[600];
        const char *const sides[] = { k->left, k->right };
        for (int side = 0; side < 2; side++) {
            snprintf(text, sizeof text,
                     "c = iota() {shape=[101], axis=0, dtype=f64}\ns = literal() {value=%.17g, dtype=f64}\no = literal() {value=%.17g, dtype=f64}\n"
                     "p = mul(c, s)\nx = add(p, o)\ny = map(x=x) {expr=\"%s + 0.0 * x\"}\noutput y\n",
                     (k->hi - k->lo) / 100, k->lo, sides[side]);
            if (evaluate(text, 0, side ? right : left, NULL, NULL) != 101) return;
        }
        for (int j = 0; j < 101; j++)
            if (!same(left[j], right[j], k->relative) && fabs(left[j] - right[j]) > k->relative) {
                cr_expect_fail("%s is %.17g, but %s is %.17g at point %d of [%g, %g]", k->left, left[j], k->right, right[j], j, k->lo, k->hi);
                break;
            }
    }
}

/* ---- statements with known results ---- */

typedef struct text_case { const char *text; int n; double want[24]; } text_case;

#define I6 "i = iota() {shape=[6], axis=0, dtype=f32}\n"
#define X23 I6 "x = reshape(i) {shape=[2,3]}\n" /* 0 1 2 / 3 4 5 */
#define X234 "i = iota() {shape=[24], axis=0}\nx = reshape(i) {shape=[2,3,4]}\n"

#define SORTED "const x f32[8] = [3, nan, -inf, 0, -0.0, inf, 3, -1]\n"

static const text_case text_cases[] = {
    { X23 "y = transpose(x) {a=0, b=-1}\n", 6, { 0, 3, 1, 4, 2, 5 } },
    { X234 "p = permute(x) {axes=[2,0,1]}\ny = slice(p) {start=[1,0,0], stop=[2,2,3]}\n", 6, { 1, 5, 9, 13, 17, 21 } },
    { X23 "a = reshape(x) {shape=[3,-1]}\ny = slice(a) {start=[1], stop=[2]}\n", 2, { 2, 3 } },
    { X23 "y = squeeze(x)\n", 6, { 0, 1, 2, 3, 4, 5 } },
    { I6 "y = slice(i) {start=[1], stop=[-1], step=[2]}\n", 2, { 1, 3 } },
    { I6 "y = slice(i) {start=[-2], stop=[2147483647]}\n", 2, { 4, 5 } },
    { I6 "y = slice(i) {start=[2147483647], stop=[2147483647], step=[-1]}\n", 6, { 5, 4, 3, 2, 1, 0 } },
    { I6 "y = slice(i) {start=[4], stop=[0], step=[-2]}\n", 2, { 4, 2 } },
    { I6 "y = slice(i) {start=[-1], stop=[-4], step=[-1]}\n", 3, { 5, 4, 3 } },
    { I6 "y = slice(i) {start=[100], stop=[3], step=[-1]}\n", 2, { 5, 4 } },
    { I6 "y = slice(i) {start=[4], stop=[2]}\n", 0, { 0 } },
    { X23 "y = slice(x) {start=[1], stop=[3], axes=[-1]}\n", 4, { 1, 2, 4, 5 } },
    { X23 "s = slice(x) {start=[0], stop=[1]}\ny = expand(s) {shape=[2,2,-1]}\n", 12, { 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2 } },
    { X23 "y = pad(x) {lo=[0,1], hi=[1], value=9}\n", 12, { 9, 0, 1, 2, 9, 3, 4, 5, 9, 9, 9, 9 } },
    { I6 "s = slice(i) {start=[0], stop=[3]}\ny = pad(s) {lo=[2], hi=[1], mode=edge}\n", 6, { 0, 0, 0, 1, 2, 2 } },
    { I6 "s = slice(i) {start=[0], stop=[3]}\ny = pad(s) {lo=[2], hi=[2], mode=reflect}\n", 7, { 2, 1, 0, 1, 2, 1, 0 } },
    { I6 "s = slice(i) {start=[0], stop=[3]}\ny = pad(s) {lo=[2], hi=[3], mode=wrap}\n", 8, { 1, 2, 0, 1, 2, 0, 1, 2 } },
    { I6 "y = roll(i) {shift=[2], axes=[0]}\n", 6, { 4, 5, 0, 1, 2, 3 } },
    { I6 "y = roll(i) {shift=[-7], axes=[0]}\n", 6, { 1, 2, 3, 4, 5, 0 } },
    { X23 "y = flip(x) {axes=[0,1]}\n", 6, { 5, 4, 3, 2, 1, 0 } },
    { X23 "y = diagonal(x) {a=0, b=1}\n", 2, { 0, 4 } },
    { X23 "y = diagonal(x) {a=0, b=1, offset=1}\n", 2, { 1, 5 } },
    { X23 "y = diagonal(x) {a=0, b=1, offset=-1}\n", 1, { 3 } },
    { X23 "y = diagonal(x) {a=0, b=1, offset=5}\n", 0, { 0 } },
    { X234 "y = diagonal(x) {a=2, b=0}\n", 6, { 0, 13, 4, 17, 8, 21 } },
    { I6 "y = unfold(i) {sizes=[3], stride=[2]}\n", 6, { 0, 1, 2, 2, 3, 4 } },
    { I6 "y = unfold(i) {sizes=[2], dilation=[3]}\n", 6, { 0, 3, 1, 4, 2, 5 } },
    { X23 "y = unfold(x) {sizes=[2,2]}\n", 8, { 0, 1, 3, 4, 1, 2, 4, 5 } },
    { X23 "y = unfold(x) {sizes=[2], axes=[0]}\n", 6, { 0, 3, 1, 4, 2, 5 } },
    { X23 "y = concat(x, x) {axis=1}\n", 12, { 0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5 } },
    { X23 "s = slice(x) {start=[0], stop=[1]}\ny = concat(s, x, s) {axis=0}\n", 12, { 0, 1, 2, 0, 1, 2, 3, 4, 5, 0, 1, 2 } },
    { X23 "z = neg(x)\ny = stack(x, z) {axis=-1}\n", 12, { 0, 0, 1, -1, 2, -2, 3, -3, 4, -4, 5, -5 } },
    { X23 "a, b, y = split(x) {axis=1, sections=3}\n", 2, { 2, 5 } },
    { X23 "i2 = iota() {shape=[2,2], axis=1}\nt = mul(i2, 9)\ny = gather(x, t) {axis=1}\n", 8, { 0, 2, 0, 2, 3, 5, 3, 5 } },
    { X23 "i1 = iota() {shape=[2], axis=0}\nt = sub(i1, 3)\ny = gather(x, t) {axis=0}\n", 6, { 0, 1, 2, 0, 1, 2 } },
    { X23 "i1 = iota() {shape=[2,1], axis=0}\ny = take_along_axis(x, i1) {axis=1}\n", 2, { 0, 4 } },
    { "i = iota() {shape=[3], axis=0}\nt = sub(i, 1)\ny = one_hot(t) {depth=2}\n", 6, { 0, 0, 1, 0, 0, 1 } },
    { "y = iota() {shape=[2,3], axis=-1, dtype=i16}\n", 6, { 0, 1, 2, 0, 1, 2 } },
    { X23 "y = tril(x)\n", 6, { 0, 0, 0, 3, 4, 0 } },
    { X23 "y = tril(x) {offset=1}\n", 6, { 0, 1, 0, 3, 4, 5 } },
    { X23 "y = triu(x) {offset=-1}\n", 6, { 0, 1, 2, 3, 4, 5 } },
    { X23 "y = triu(x) {offset=1}\n", 6, { 0, 1, 2, 0, 0, 5 } },
    { I6 "c = cast(i) {dtype=u4}\ny = dequant(c, 0.5)\n", 6, { 0, 0.5, 1, 1.5, 2, 2.5 } },
    { X23 "c = cast(x) {dtype=i8}\ns = iota() {shape=[2,2], axis=1, dtype=f32}\nz = iota() {shape=[2,2], axis=0, dtype=f32}\ny = dequant(c, s, zero=z) {group=2}\n",
      6, { 0, 0, 2, 0, 0, 4 } },
    { "i = iota() {shape=[4], axis=0, dtype=f32}\nx = mul(i, 100.7)\ny = cast(x) {dtype=i8}\n", 4, { 0, 100, 127, 127 } },
    { "i = iota() {shape=[3], axis=0}\nx = mul(i, 200)\ny = cast(x) {dtype=i8}\n", 3, { 0, -56, -112 } },
    { "i = iota() {shape=[3], axis=0, dtype=f32}\nx = mul(i, 400.0)\ny = cast(x) {dtype=f8e4m3}\n", 3, { 0, 384, 448 } },
    { "i = iota() {shape=[3], axis=0, dtype=f32}\nx = div(i, sub(i, 1.0))\nz = cast(mul(x, 50000.0)) {dtype=f8e5m2}\ny = cast(z) {dtype=f32}\n", 3, { 0, INFINITY, 57344 } },
    { "i = iota() {shape=[4], axis=0}\nb = cast(add(i, 122)) {dtype=u8}\nz = bitcast(b) {dtype=f8e5m2}\ny = cast(z) {dtype=f32}\n", 4, { 49152, 57344, INFINITY, NAN } },
    { "i = iota() {shape=[3,0], axis=0, dtype=f32}\ny = variance(i) {axes=[1]}\n", 3, { NAN, NAN, NAN } },
    { "i = iota() {shape=[2,0], axis=0, dtype=f32}\ny = std(i) {axes=[1], correction=1}\n", 2, { NAN, NAN } },
    { "i = iota() {shape=[2,1], axis=0, dtype=f32}\ny = variance(i) {axes=[1], correction=2}\n", 2, { NAN, NAN } },
    { "i = iota() {shape=[2,0], axis=0, dtype=f32}\ny = logsumexp(i) {axes=[1]}\n", 2, { -INFINITY, -INFINITY } },
    { "i = iota() {shape=[2,0], axis=0, dtype=f32}\nk = iota() {shape=[2,0], axis=0}\ny = take_along_axis(i, k) {axis=1}\n", 0, { 0 } },
    { "i = iota() {shape=[3], axis=0, dtype=f32}\nb = bitcast(i) {dtype=u32}\ny = shift_right(b, 20)\n", 3, { 0, 1016, 1024 } },
    { "i = iota() {shape=[3], axis=0, dtype=f32}\nx = sub(i, 1.0)\ny = leaky_relu(x) {slope=0.25}\n", 3, { -0.25, 0, 1 } },
    { X23 "y = map(x=x) {expr=\"let a = x * 2.0; a + f32(i0 * 10 + i1)\"}\n", 6, { 0, 3, 6, 16, 19, 22 } },
    { X23 "j = iota() {shape=[2], axis=0}\ny = map(x=x, j=j) {expr=\"x[1 - j, 2 * j]\"}\n", 2, { 3, 2 } },
    { X23 "y = map(x=x) {expr=\"x[1 - i0, i1 + 1]\"}\n", 6, { 4, 5, 5, 1, 2, 2 } },
    { X23 "s = sub(x, 3.0)\nm = relu(s)\nc = greater(x, 3.5)\ny = where(c, m, x)\n", 6, { 0, 1, 2, 3, 1, 2 } },
    { SORTED "y = sort(x) {axis=0}\n", 8, { -INF, -1, 0, 0, 3, 3, INF, NOT } },
    { SORTED "y = argsort(x) {axis=0}\n", 8, { 2, 7, 3, 4, 0, 6, 5, 1 } },
    { SORTED "y = argsort(x) {axis=-1, descending=true}\n", 8, { 5, 0, 6, 3, 4, 7, 2, 1 } },
    { SORTED "v, y = topk(x) {k=3, axis=0}\n", 3, { 5, 0, 6 } },
    { SORTED "y = topk(x) {k=2, axis=0, smallest=true}\n", 2, { -INF, -1 } },
    { X23 "a, y = sort(x) {axis=0, descending=true}\n", 6, { 1, 1, 1, 0, 0, 0 } },
};

Test(ops_ref, statements)
{
    for (size_t i = 0; i < COUNT(text_cases); i++) {
        const text_case *k = &text_cases[i];
        double y[MOST];
        char text[600];
        snprintf(text, sizeof text, "%soutput y\n", k->text);
        const size_t n = evaluate(text, 0, y, NULL, NULL);
        cr_expect(n == (size_t)k->n, "%zu elements instead of %d\n%s", n, k->n, text);
        for (size_t j = 0; j < n && j < 24; j++)
            if (!same(y[j], k->want[j], 1e-7)) {
                cr_expect_fail("element %zu is %g, not %g\n%s", j, y[j], k->want[j], text);
                break;
            }
    }
}

/* An optional attribute left out means what its doc says of 0. */
typedef struct default_case { const char *without, *with; } default_case;

static const default_case default_cases[] = {
    { "y = elu(x)\n", "y = elu(x) {alpha=1}\n" },
    { "y = squeeze(x)\n", "y = squeeze(x) {axes=[]}\n" },
    { "y = slice(x) {start=[0,1], stop=[2,3]}\n", "y = slice(x) {start=[0,1], stop=[2,3], axes=[0,1], step=[1,1]}\n" },
    { "y = pad(x) {lo=[1], hi=[0,2]}\n", "y = pad(x) {lo=[1,0], hi=[0,2], mode=constant, value=0}\n" },
    { "y = diagonal(x) {a=0, b=1}\n", "y = diagonal(x) {a=0, b=1, offset=0}\n" },
    { "y = unfold(x) {sizes=[2]}\n", "y = unfold(x) {sizes=[2], axes=[1], stride=[1], dilation=[1]}\n" },
    { "y = tril(x)\n", "y = tril(x) {offset=0}\n" },
    { "y = dequant(x, 0.5)\n", "y = dequant(x, 0.5) {group=0, dtype=f32}\n" },
    { "y = normal() {shape=[2,9], seed=5}\n", "y = normal() {shape=[2,9], seed=5, stream=0, draw=0, sample=0, antithetic=false}\n" },
};

Test(ops_ref, defaults)
{
    for (size_t i = 0; i < COUNT(default_cases); i++) {
        double a[MOST], b[MOST];
        char text[400];
        snprintf(text, sizeof text, X23 "%soutput y\n", default_cases[i].without);
        const size_t n = evaluate(text, 0, a, NULL, NULL);
        snprintf(text, sizeof text, X23 "%soutput y\n", default_cases[i].with);
        const size_t m = evaluate(text, 0, b, NULL, NULL);
        cr_expect(n == m && n && !memcmp(a, b, n * sizeof *a), "%sand\n%sdiffer", default_cases[i].without, default_cases[i].with);
    }
}

/* ---- views: expressions against references ---- */

static int64_t index_value(const tf_exprs *x, tf_ex e, const int64_t *vars, const int64_t *dims)
{
    const tf_ex_node *n = tf_exn(x, e);
    switch (n->kind) {
    case TF_EX_INT: case TF_EX_TRUE: return n->i;
    case TF_EX_VAR: return vars[n->i];
    case TF_EX_DIM: return tf_dim_eval(x->g, n->i, dims);
    case TF_EX_NOT: return !index_value(x, n->a, vars, dims);
    default: break;
    }
    const int64_t a = index_value(x, n->a, vars, dims), b = index_value(x, n->b, vars, dims);
    switch (n->kind) {
    case TF_EX_ADD: return a + b;
    case TF_EX_SUB: return a - b;
    case TF_EX_MUL: return a * b;
    case TF_EX_DIV: return a / b;
    case TF_EX_MOD: return a % b;
    case TF_EX_MIN: return TF_MIN(a, b);
    case TF_EX_MAX: return TF_MAX(a, b);
    case TF_EX_LT: return a < b;
    case TF_EX_EQ: return a == b;
    case TF_EX_AND: return a && b;
    case TF_EX_OR: return a || b;
    default: cr_assert_fail("kind %d is no index", (int)n->kind);
    }
    return 0;
}

/* x is f32 of the given type; y is one view of it. */
static const struct { const char *type, *view; } view_cases[] = {
    { "[6,35]", "reshape(x) {shape=[7,30]}" }, { "[4,3,5]", "reshape(x) {shape=[-1]}" }, { "[2,12,5]", "reshape(x) {shape=[2,3,4,5]}" },
    { "[n,6]", "reshape(x) {shape=[-1,2,3]}" }, { "[4,n,3]", "reshape(x) {shape=[2,2,n,3]}" }, { "[n,4]", "reshape(x) {shape=[4,-1]}" },
    { "[3,5,2]", "permute(x) {axes=[2,0,1]}" }, { "[3,n]", "transpose(x) {a=0, b=1}" }, { "[1,5,1]", "squeeze(x)" }, { "[5,3]", "unsqueeze(x) {axes=[0,2,-1]}" },
    { "[5,1,3]", "expand(x) {shape=[2,5,4,3]}" }, { "[1,3]", "expand(x) {shape=[n,3]}" },
    { "[9,13]", "slice(x) {start=[1,12], stop=[8,2], step=[2,-3]}" }, { "[n]", "slice(x) {start=[-3], stop=[2147483647]}" },
    { "[n]", "slice(x) {start=[2147483647], stop=[2147483647], step=[-2]}" }, { "[n]", "slice(x) {start=[2], stop=[5]}" },
    { "[9]", "slice(x) {start=[0], stop=[n]}" }, { "[9]", "slice(x) {start=[n-1], stop=[n+3]}" }, { "[n]", "slice(x) {start=[5], stop=[0], step=[-1]}" },
    { "[5,7]", "pad(x) {lo=[1,2], hi=[3,4], value=-1}" }, { "[5,7]", "pad(x) {lo=[2,3], hi=[4,1], mode=edge}" },
    { "[5,7]", "pad(x) {lo=[4,6], hi=[3,2], mode=reflect}" }, { "[5,7]", "pad(x) {lo=[5,1], hi=[2,7], mode=wrap}" }, { "[n]", "pad(x) {lo=[1], hi=[2], value=-1}" },
    { "[n]", "pad(x) {lo=[3], hi=[2], mode=edge}" }, { "[n]", "pad(x) {lo=[2], hi=[2], mode=reflect}" }, { "[n]", "pad(x) {lo=[3], hi=[1], mode=wrap}" },
    { "[5,9]", "roll(x) {shift=[2,-4], axes=[0,1]}" }, { "[n,2]", "roll(x) {shift=[7], axes=[0]}" }, { "[n]", "roll(x) {shift=[-8], axes=[0]}" },
    { "[5,n,2]", "flip(x) {axes=[1,2]}" }, { "[7,3,9]", "diagonal(x) {a=0, b=2, offset=1}" }, { "[n,5]", "diagonal(x) {a=1, b=0, offset=-1}" },
    { "[7,11]", "unfold(x) {sizes=[3,5]}" }, { "[2,20]", "unfold(x) {sizes=[4], stride=[3], dilation=[2]}" }, { "[n,3]", "unfold(x) {sizes=[2], axes=[0], stride=[2]}" },
};

/* One node applied to x = 0, 1, 2, ...: y names the source element of each result, -1 is fill. */
static void check_view(const char *what, tuff_graph *g, int64_t live, const double *y, size_t n)
{
    const tf_node *node = &g->nodes.data[g->nodes.n - 1];
    const tf_type *out = tf_type_of(g, node->out), *src = tf_type_of(g, node->src[0]);
    tf_exprs x;
    tf_exprs_init(&x, &g->arena, g);
    tf_ex vars[TUFF_MAX_RANK];
    for (int32_t i = 0; i < out->rank; i++) vars[i] = tf_ex_var(&x, i, out->dim[i]);
    tf_view_map m = { .x = &x, .g = g, .node = node, .desc = node->desc, .out = vars, .out_type = out, .src_type = src };
    node->op->view(&m);
    int64_t at[TUFF_MAX_RANK] = { 0 }, out_dim[TUFF_MAX_RANK], src_dim[TUFF_MAX_RANK];
    for (int32_t i = 0; i < out->rank; i++) out_dim[i] = tf_dim_eval(g, out->dim[i], &live);
    for (int32_t i = 0; i < src->rank; i++) src_dim[i] = tf_dim_eval(g, src->dim[i], &live);
    for (size_t k = 0; k < n; k++) {
        int64_t linear = m.valid && !index_value(&x, m.valid, at, &live) ? -1 : 0;
        for (int32_t i = 0; linear >= 0 && i < src->rank; i++) {
            const int64_t c = index_value(&x, m.src[i], at, &live);
            cr_assert(c >= 0 && c < src_dim[i], "%s, n = %d, element %zu: source coordinate %d is %d of %d", what, (int)live, k, (int)i, (int)c, (int)src_dim[i]);
            linear = linear * src_dim[i] + c;
        }
        cr_assert((double)linear == y[k], "%s, n = %d: element %zu comes from %d, not %g", what, (int)live, k, (int)linear, y[k]);
        for (int32_t i = out->rank - 1; i >= 0 && ++at[i] == out_dim[i]; i--) at[i] = 0;
    }
    if (!node->op->bijective) return;
    for (int32_t i = 0; i < src->rank; i++) vars[i] = tf_ex_var(&x, i, src->dim[i]);
    node->op->inverse(&m);
    memset(at, 0, sizeof at);
    for (size_t k = 0; k < n; k++) {
        int64_t linear = 0;
        for (int32_t i = 0; i < out->rank; i++) linear = linear * out_dim[i] + index_value(&x, m.src[i], at, &live);
        cr_assert(linear >= 0 && linear < (int64_t)n && y[linear] == (double)k, "%s, n = %d: the inverse sends element %zu to %d", what, (int)live, k, (int)linear);
        for (int32_t i = src->rank - 1; i >= 0 && ++at[i] == src_dim[i]; i--) at[i] = 0;
    }
}

Test(ops_ref, views_equal_their_references)
{
    for (size_t i = 0; i < COUNT(view_cases); i++)
        for (int64_t live = 3; live <= 7; live += 2) { /* the dim's bound is 7 */
            char text[400];
            double y[MOST];
            char message[300];
            tuff_graph *g = NULL;
            snprintf(text, sizeof text, "dim n <= 7\nx = input f32%s\ny = %s\noutput y\n", view_cases[i].type, view_cases[i].view);
            cr_assert(tuff_graph_parse(text, strlen(text), NULL, &g, message, sizeof message) == TUFF_OK, "%s", message);
            tf_interp *in = tf_interp_create(g, &(tuff_allocator){ 0 });
            if (strchr(text + 11, 'n')) tf_interp_set_dim(in, "n", live);
            size_t bytes;
            float data[MOST];
            cr_assert(tf_interp_describe(in, "x", &bytes, NULL, NULL) == TUFF_OK && bytes <= sizeof data, "%s", text);
            for (int k = 0; k < MOST; k++) data[k] = (float)k;
            cr_assert(tf_interp_write(in, "x", data, bytes) == TUFF_OK && tf_interp_run(in) == TUFF_OK, "%s: %s", text, tf_interp_error(in));
            const tf_ref_tensor *t = tf_interp_get(in, "y");
            cr_assert(t && t->n <= MOST, "%s has too many elements", view_cases[i].view);
            for (size_t k = 0; k < t->n; k++) y[k] = t->re[k];
            check_view(view_cases[i].view, g, live, y, (size_t)t->n);
            tf_interp_destroy(in);
            tuff_graph_destroy(g);
        }
}

/* ---- random numbers ---- */

/* Known answers of the generator (Random123). */
Test(ops_ref, philox_known_answers)
{
    static const uint32_t counter[3][4] = { { 0, 0, 0, 0 }, { ~0u, ~0u, ~0u, ~0u }, { 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344 } };
    static const uint32_t key[3][2] = { { 0, 0 }, { ~0u, ~0u }, { 0xa4093822, 0x299f31d0 } };
    static const uint32_t want[3][4] = { { 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 }, { 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd },
                                         { 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1 } };
    tuff_graph *g = tuff_graph_create(NULL);
    const tuff_tensor y = tuff_philox(tuff_const(g, TUFF_U32, TUFF_SHAPE(3, 4), counter, NULL), tuff_const(g, TUFF_U32, TUFF_SHAPE(3, 2), key, NULL));
    tuff_output(g, "y", y);
    cr_assert(!tuff_graph_status(g), "%s", tuff_graph_error(g));
    tf_interp *in = tf_interp_create(g, &(tuff_allocator){ 0 });
    uint32_t got[3][4];
    cr_assert(tf_interp_run(in) == TUFF_OK && tf_interp_read(in, "y", got, sizeof got) == TUFF_OK, "%s", tf_interp_error(in));
    cr_expect(!memcmp(got, want, sizeof got), "first word %08x, not %08x", got[0][0], want[0][0]);
    tf_interp_destroy(in);
    tuff_graph_destroy(g);
}

/* seed 0x123456789abcdef in halves 0x89abcdef (low), 0x01234567; bits of the recipe in float arithmetic. */
#define SEEDED "seed=81985529216486895, stream=3, draw=17"

Test(ops_ref, random_known_answers)
{
    static const uint32_t normal[8] = { 0xbf6af4d6, 0x3f10a346, 0x3c6f75c0, 0xbef385e7, 0x3de581c1, 0xbe86aa84, 0x3f0c5a92, 0x3ed797e8 };
    static const uint32_t words[8] = { 0x8f38b852, 0x69847231, 0xe498b1ba, 0xc14069fc, 0xf5bf9cc9, 0xd069159d, 0xc996bd34, 0x1aaf514c };
    double z[MOST], w[MOST], u[MOST], s[MOST], e[MOST];
    cr_assert(evaluate("y = normal() {shape=[8], " SEEDED "}\noutput y\n", 0, z, NULL, NULL) == 8);
    cr_assert(evaluate("y = random_bits() {shape=[8], " SEEDED "}\noutput y\n", 0, w, NULL, NULL) == 8);
    cr_assert(evaluate("y = uniform() {shape=[8], " SEEDED "}\noutput y\n", 0, u, NULL, NULL) == 8);
    cr_assert(evaluate("y = rademacher() {shape=[8], " SEEDED "}\noutput y\n", 0, s, NULL, NULL) == 8);
    cr_assert(evaluate("y = gumbel() {shape=[8], " SEEDED "}\noutput y\n", 0, e, NULL, NULL) == 8);
    for (int i = 0; i < 8; i++) {
        float f = (float)z[i];
        uint32_t bits;
        memcpy(&bits, &f, 4);
        cr_expect(bits == normal[i], "normal %d is %.9g (%08x), not %08x", i, z[i], bits, normal[i]);
        cr_expect(w[i] == words[i], "word %d is %.0f, not %u", i, w[i], words[i]);
        cr_expect(u[i] == (2 * (words[i] >> 9) + 1) / 16777216.0, "uniform %d is %.17g", i, u[i]);
        cr_expect(s[i] == (words[i] >> 31 ? -1 : 1), "sign %d is %g", i, s[i]);
        cr_expect(same(e[i], -log(-log(u[i])), 1e-6), "gumbel %d is %.17g", i, e[i]);
    }
}

/* Rows of a batch, pieces of it, steps and antithetic halves are what their coordinates say. */
static const default_case random_cases[] = {
    { "y = normal() {shape=[4,11], seed=9}\n", "a = normal() {shape=[1,11], seed=9}\nb = normal() {shape=[3,11], seed=9, sample=1}\ny = concat(a, b) {axis=0}\n" },
    { "y = normal() {shape=[11], seed=9}\n", "a = normal() {shape=[1,11], seed=9}\ny = reshape(a) {shape=[11]}\n" },
    { "y = uniform() {shape=[2,3,5], seed=9}\n", "a = uniform() {shape=[2,15], seed=9}\ny = reshape(a) {shape=[2,3,5]}\n" },
    { "y = uniform() {shape=[9], seed=9, draw=12}\n", "t = literal() {value=5, dtype=i32}\ny = uniform(step=t) {shape=[9], seed=9, draw=7}\n" },
    { "y = normal() {shape=[4,5], seed=9, antithetic=true}\n", "a = normal() {shape=[2,5], seed=9}\nb = neg(a)\ny = concat(a, b) {axis=0}\n" },
    { "y = normal() {shape=[6], seed=9, antithetic=true}\n", "a = normal() {shape=[3], seed=9}\nb = neg(a)\ny = concat(a, b) {axis=0}\n" },
    { "y = random_bits() {shape=[6], seed=9, antithetic=true}\n", "a = random_bits() {shape=[3], seed=9}\nb = bit_not(a)\ny = concat(a, b) {axis=0}\n" },
    { "y = uniform() {shape=[6], seed=9, antithetic=true}\n", "a = uniform() {shape=[3], seed=9}\nb = sub(1.0, a)\ny = concat(a, b) {axis=0}\n" },
};

Test(ops_ref, random_numbers_depend_on_their_coordinates_only)
{
    for (size_t i = 0; i < COUNT(random_cases); i++) {
        double a[MOST], b[MOST];
        char text[400];
        snprintf(text, sizeof text, "%soutput y\n", random_cases[i].without);
        const size_t n = evaluate(text, 0, a, NULL, NULL);
        snprintf(text, sizeof text, "%soutput y\n", random_cases[i].with);
        const size_t m = evaluate(text, 0, b, NULL, NULL);
        cr_expect(n == m && n && !memcmp(a, b, n * sizeof *a), "%sand\n%sdiffer", random_cases[i].without, random_cases[i].with);
    }
}

/* ---- errors ---- */

/* Each message names what is wrong and the values. */
static const struct { const char *statement, *needle; } error_cases[] = {
    { "y = reshape(x) {shape=[4,2]}", "f32[4,2]" }, { "y = reshape(x) {shape=[-1,4]}", "no value of dim 0" }, { "y = reshape(x) {shape=[-2,3]}", "-2" },
    { "y = permute(x) {axes=[0]}", "1 entries" }, { "y = permute(x) {axes=[0,0]}", "listed twice" }, { "y = transpose(x) {a=0, b=2}", "axis is 2" },
    { "y = squeeze(x) {axes=[0]}", "size 2" }, { "y = expand(x) {shape=[2,4]}", "only a dim of 1 repeats" }, { "y = expand(x) {shape=[3]}", "rank 1" },
    { "y = slice(x) {start=[0], stop=[1,2]}", "in pairs" }, { "y = slice(x) {start=[0], stop=[1], step=[0]}", "non-zero" },
    { "y = slice(x) {start=[0,0,0], stop=[1,1,1]}", "3 axes" }, { "y = pad(x) {lo=[-1], hi=[0]}", "-1" }, { "y = pad(x) {lo=[2], hi=[0], mode=reflect}", "at most 1" },
    { "y = roll(x) {shift=[1,2], axes=[0]}", "in pairs" }, { "y = flip(x) {axes=[3]}", "axis is 3" }, { "y = diagonal(x) {a=0, b=-2}", "must differ" },
    { "y = unfold(x) {sizes=[4]}", "pad it first" }, { "y = unfold(x) {sizes=[0]}", "at least 1" }, { "y = concat(x, i) {axis=0}", "do not fit" },
    { "y = stack(x, i) {axis=0}", "do not fit" }, { "y = split(x) {axis=1, sections=2}", "no multiple" }, { "y = gather(x, x) {axis=0}", "must be integers" },
    { "y = take_along_axis(x, j) {axis=0}", "rank" }, { "y = one_hot(x) {depth=3}", "must be integers" }, { "y = iota() {shape=[2], axis=1}", "axis is 1" },
    { "y = tril(i)", "rank 1" }, { "y = dequant(x, i) {group=2}", "groups of 2" }, { "y = bitcast(x) {dtype=f16}", "f16" }, { "y = where(x, x, x)", "must be bool" },
    { "y = add(x, j)", "dtypes differ" }, { "y = add(x, i)", "do not broadcast" }, { "y = bit_and(x, x)", "not among its dtypes" },
    { "y = normal() {shape=[3], seed=1, antithetic=true}", "even first dim" }, { "y = uniform(step=x) {shape=[3], seed=1}", "rank 0" },
    { "y = uniform() {shape=[-3], seed=1}", "-3" }, { "y = map(x=x) {expr=\"x + z\"}", "z" }, { "y = map(x=x) {expr=\"i2\"}", "i2" }, { "y = map(i0=x) {expr=\"1.0\"}", "coordinate" },
    { "y = philox(j, j)", "u32" },
};

Test(ops_ref, errors_name_what_is_wrong)
{
    for (size_t i = 0; i < COUNT(error_cases); i++) {
        char text[400], message[600];
        tuff_graph *g = NULL;
        snprintf(text, sizeof text, X23 "j = iota() {shape=[6], axis=0}\n%s\noutput y\n", error_cases[i].statement);
        const tuff_status s = tuff_graph_parse(text, strlen(text), NULL, &g, message, sizeof message);
        cr_expect(s != TUFF_OK && !g, "%s is accepted", error_cases[i].statement);
        cr_expect(s == TUFF_OK || strstr(message, error_cases[i].needle), "%s: the message lacks \"%s\": %s", error_cases[i].statement, error_cases[i].needle, message);
        tuff_graph_destroy(g);
    }
}
