// math.glsl - scalar functions whose accuracy does not depend on the driver.
//
// Vulkan leaves sin, cos, atan, tanh, pow, exp far from the ends, and log near 1 loose or undefined; these use only
// + - * /, sqrt and integer operations on the bits. Polynomials are minimax fits of the named function on the reduced
// range. NaN and infinity are told apart by bits. Denormal operands and results may be flushed to zero.
// One paragraph is one selectable unit: see library.c. No blank lines inside a function.

const float TF_LN2_HI = 0.693359375;      // 9 bits: a product with an exponent is exact
const float TF_LN2_LO = -2.12194442e-4;

float tf_inf() { return uintBitsToFloat(0x7f800000u); }

float tf_nan() { return uintBitsToFloat(0x7fc00000u); }

bool tf_isnan(float x) { return (floatBitsToUint(x) & 0x7fffffffu) > 0x7f800000u; }
bool tf_isnan(vec2 x) { return (floatBitsToUint(x.x) & 0x7fffffffu) > 0x7f800000u || (floatBitsToUint(x.y) & 0x7fffffffu) > 0x7f800000u; }
#ifdef TF_F64
bool tf_isnan(double x)
{
    uvec2 b = unpackDouble2x32(x);
    return (b.y & 0x7fffffffu) > 0x7ff00000u || ((b.y & 0x7fffffffu) == 0x7ff00000u && b.x != 0u);
}
#endif

bool tf_isfinite(float x) { return (floatBitsToUint(x) & 0x7f800000u) != 0x7f800000u; }
bool tf_isfinite(vec2 x) { return tf_isfinite(x.x) && tf_isfinite(x.y); }
#ifdef TF_F64
bool tf_isfinite(double x) { return (unpackDouble2x32(x).y & 0x7ff00000u) != 0x7ff00000u; }
#endif

bool tf_isinf(float x) { return (floatBitsToUint(x) & 0x7fffffffu) == 0x7f800000u; }
bool tf_isinf(vec2 x) { return tf_isinf(x.x) || tf_isinf(x.y); }
#ifdef TF_F64
bool tf_isinf(double x) { uvec2 b = unpackDouble2x32(x); return (b.y & 0x7fffffffu) == 0x7ff00000u && b.x == 0u; }
#endif

float tf_copysign(float x, float s)
{
    return uintBitsToFloat((floatBitsToUint(x) & 0x7fffffffu) | (floatBitsToUint(s) & 0x80000000u));
}

// x * 2^n for -252 <= n <= 254.
float tf_scale2(float x, int n)
{
    int h = n >> 1;
    return x * uintBitsToFloat(uint(h + 127) << 23) * uintBitsToFloat(uint(n - h + 127) << 23);
}

// ---- simple selections ----

float tf_sign(float x) { return x > 0.0 ? 1.0 : x < 0.0 ? -1.0 : x; }
#ifdef TF_F64
double tf_sign(double x) { return x > 0.0 ? 1.0 : x < 0.0 ? -1.0 : x; }
#endif
int tf_sign(int x) { return sign(x); }
uint tf_sign(uint x) { return min(x, 1u); }

int tf_abs(int x) { return x < 0 ? -x : x; }
uint tf_abs(uint x) { return x; }

float tf_max(float a, float b) { return a > b || tf_isnan(a) ? a : b; }
#ifdef TF_F64
double tf_max(double a, double b) { return a > b || tf_isnan(a) ? a : b; }
#endif
int tf_max(int a, int b) { return max(a, b); }
uint tf_max(uint a, uint b) { return max(a, b); }

float tf_min(float a, float b) { return a < b || tf_isnan(a) ? a : b; }
#ifdef TF_F64
double tf_min(double a, double b) { return a < b || tf_isnan(a) ? a : b; }
#endif
int tf_min(int a, int b) { return min(a, b); }
uint tf_min(uint a, uint b) { return min(a, b); }

// ---- integers ----

int tf_div(int a, int b) { return b == 0 ? 0 : b == -1 ? -a : a / b; }
uint tf_div(uint a, uint b) { return b == 0u ? 0u : a / b; }

int tf_mod(int a, int b)
{
    if (b == 0 || b == -1) return 0;
    int r = a - a / b * b;
    return r != 0 && (r ^ b) < 0 ? r + b : r;
}
uint tf_mod(uint a, uint b) { return b == 0u ? 0u : a % b; }

int tf_pow(int a, int b)
{
    if (b < 0) return a == 1 ? 1 : a == -1 ? ((b & 1) == 0 ? 1 : -1) : 0;
    int r = 1;
    for (; b != 0; b >>= 1) { if ((b & 1) != 0) r *= a; a *= a; }
    return r;
}
uint tf_pow(uint a, uint b)
{
    uint r = 1u;
    for (; b != 0u; b >>= 1) { if ((b & 1u) != 0u) r *= a; a *= a; }
    return r;
}

int tf_shl(int a, int b) { return uint(b) > 31u ? 0 : a << b; }
uint tf_shl(uint a, uint b) { return b > 31u ? 0u : a << b; }

int tf_shr(int a, int b) { return a >> int(min(uint(b), 31u)); }
uint tf_shr(uint a, uint b) { return b > 31u ? 0u : a >> b; }

// ---- division with the sign of the divisor ----

// a * b = p + returned error, exactly; magnitudes below 2^100.
float tf_product_error(float a, float b, float p)
{
    float ah = uintBitsToFloat(floatBitsToUint(a) & 0xfffff000u), bh = uintBitsToFloat(floatBitsToUint(b) & 0xfffff000u);
    precise float al = a - ah;
    precise float bl = b - bh;
    precise float e = ((ah * bh - p) + ah * bl + al * bh) + al * bl;
    return e;
}

// |a| modulo |b| for finite a and b > 0: multiples q * 2^k * b with q of 12 bits are taken off, all steps exact.
float tf_remainder(float a, float b)
{
    int eb = int(floatBitsToUint(b) >> 23);
    for (int i = 0; i < 40 && a >= b; i++) {
        float m = tf_scale2(b, max(int(floatBitsToUint(a) >> 23) - eb - 10, 0));
        float s = a > 1e30 ? 5.42101086e-20 : 1.0; // 1 / m must not be denormal
        float q = floor((a * s) / (m * s));
        float h = uintBitsToFloat(floatBitsToUint(m) & 0xfffff000u);
        precise float l = m - h;
        precise float r = a - q * h;
        precise float t = r - q * l;
        a = t < 0.0 ? t + m : t;
    }
    return a;
}

// a - b * floor(a / b).
float tf_mod(float a, float b)
{
    if (!tf_isfinite(a) || tf_isnan(b) || abs(b) < 1.17549435e-38) return tf_nan();
    float r = tf_isinf(b) ? abs(a) : tf_remainder(abs(a), abs(b));
    if (r == 0.0) return tf_copysign(0.0, b);
    r = a < 0.0 ? -r : r;
    return (r < 0.0) == (b < 0.0) ? r : r + b;
}

// ---- exponentials ----

// The nearest whole number to |x| < 2^21, by its place in the mantissa: conversions are slow on some software drivers.
float tf_nearest(float x, out int n)
{
    n = floatBitsToInt(x + 12582912.0) - 0x4b400000;
    return float(n);
}

// e^x = 2^n * (1 + r + r^2 P(r)), |r| <= ln2/2: returns r + r^2 P(r).
float tf_exp_reduced(float x, out int n)
{
    float k = tf_nearest(x * 1.44269502, n);
    precise float h = x - k * TF_LN2_HI;
    precise float r = h - k * TF_LN2_LO;
    return r + r * r * ((((0.00138207432 * r + 0.0083686756) * r + 0.0416682661) * r + 0.166665211) * r + 0.49999994);
}

float tf_exp(float x)
{
    int n;
    float c = mix(mix(x, -104.0, x < -104.0), 89.0, x > 89.0);
    float p = tf_exp_reduced(c, n);
    return tf_scale2(1.0 + p, n);
}

// e^(h + l) for a small correction l.
float tf_exp_sum(float h, float l) { return tf_exp(h) * (1.0 + l); }

float tf_exp2(float x)
{
    float c = x > 129.0 ? 129.0 : x < -151.0 ? -151.0 : x;
    int n;
    float k = tf_nearest(c, n);
    float r = (c - k) * 0.693147182;
    float p = ((((0.00138207432 * r + 0.0083686756) * r + 0.0416682661) * r + 0.166665211) * r + 0.49999994);
    return tf_scale2(1.0 + (r + r * r * p), n);
}

float tf_expm1(float x)
{
    int n;
    float c = x > 89.0 ? 89.0 : x < -26.0 ? -26.0 : x;
    float p = tf_exp_reduced(c, n);
    float s = uintBitsToFloat(uint(n + 126) << 23);
    return n == 0 ? p : (p * s + (s - 0.5)) * 2.0;
}

// ---- logarithms ----

// x = 2^e * (1 + f) with 1 + f in [sqrt(1/2), sqrt 2), for finite x > 0; returns f.
float tf_log_reduced(float x, out float e)
{
    uint b = floatBitsToUint(x);
    float bias = -151.0 + 24.0;
    if (b < 0x00800000u) { b = floatBitsToUint(float(b)); bias -= 149.0; }
    uint m = b & 0x7fffffu;
    bool high = m >= 0x3504f3u;
    e = float(b >> 23) + bias + (high ? 1.0 : 0.0);
    return uintBitsToFloat(m | (high ? 0x3f000000u : 0x3f800000u)) - 1.0;
}

// log(1 + f) - f + f^2/2.
float tf_log_tail(float f)
{
    float p = 0.0714975446;
    p = p * f - 0.115712009;
    p = p * f + 0.116615109;
    p = p * f - 0.124110505;
    p = p * f + 0.142499372;
    p = p * f - 0.166684806;
    p = p * f + 0.200007081;
    p = p * f - 0.249999896;
    p = p * f + 0.333333313;
    return f * f * f * p;
}

// Is x a finite number > 0? If not, tf_log_special is the logarithm to any base.
bool tf_log_regular(float x) { return floatBitsToUint(x) - 1u < 0x7f7fffffu; }

float tf_log_special(float x)
{
    uint b = floatBitsToUint(x);
    return (b << 1) == 0u ? -tf_inf() : b == 0x7f800000u ? x : tf_nan();
}

float tf_log(float x)
{
    if (!tf_log_regular(x)) return tf_log_special(x);
    float e;
    float f = tf_log_reduced(x, e);
    return e * TF_LN2_HI + (f + ((tf_log_tail(f) - 0.5 * f * f) + e * TF_LN2_LO));
}

float tf_log2(float x)
{
    if (!tf_log_regular(x)) return tf_log_special(x);
    float e;
    float f = tf_log_reduced(x, e);
    float t = tf_log_tail(f) - 0.5 * f * f;
    return e + (f * 1.4375 + (t * 1.4375 + (f + t) * 0.00519504089));
}

float tf_log10(float x)
{
    if (!tf_log_regular(x)) return tf_log_special(x);
    float e;
    float f = tf_log_reduced(x, e);
    float t = tf_log_tail(f) - 0.5 * f * f;
    return e * 0.301025391 + (f * 0.43359375 + (t * 0.43359375 + ((f + t) * 7.00731914e-4 + e * 4.60503906e-6)));
}

// log(u) + (1 + x - u) / u with u = 1 + x rounded.
float tf_log1p(float x)
{
    precise float u = 1.0 + x;
    precise float a = u - 1.0;
    precise float b = u - x;
    float c = abs(x) < 1.0 ? x - a : 1.0 - b;
    return u > 0.0 && tf_isfinite(u) ? tf_log(u) + c / u : tf_log_special(u);
}

// ---- hyperbolic ----

float tf_sinh(float x)
{
    float a = abs(x);
    if (a > 15.0) { float h = tf_exp(0.5 * a); return tf_copysign(0.5 * h * h, x); }
    float t = tf_expm1(a);
    return tf_copysign(0.5 * (t + t / (t + 1.0)), x);
}

float tf_cosh(float x)
{
    float a = abs(x);
    float h = tf_exp(a > 15.0 ? 0.5 * a : a);
    return a > 15.0 ? 0.5 * h * h : 0.5 * h + 0.5 / h;
}

float tf_tanh(float x)
{
    float a = abs(x);
    if (tf_isnan(x)) return x;
    float t = tf_expm1(2.0 * min(a, 10.0));
    return tf_copysign(a > 9.2 ? 1.0 : t / (t + 2.0), x);
}

float tf_asinh(float x)
{
    float a = abs(x);
    float y = a > 1e9 ? tf_log(a) + 0.693147182 : tf_log1p(a + a * (a / (1.0 + sqrt(a * a + 1.0))));
    return tf_isnan(x) ? x : tf_copysign(y, x);
}

float tf_acosh(float x)
{
    if (!(x >= 1.0)) return tf_nan();
    float t = x - 1.0;
    return x > 1e9 ? tf_log(x) + 0.693147182 : tf_log1p(t + sqrt(2.0 * t + t * t));
}

float tf_atanh(float x)
{
    float a = abs(x);
    if (!(a < 1.0)) return a == 1.0 ? tf_copysign(tf_inf(), x) : tf_nan();
    return tf_copysign(0.5 * tf_log1p(2.0 * a / (1.0 - a)), x);
}

// ---- trigonometric ----

// For finite |x| >= 2^11: the product of the 24-bit mantissa with the 96 bits of 2/pi that matter modulo 4. Those are
// picked from a constant by selects: indexing an array by lane costs software drivers a hundred times as much to compile.
float tf_reduce_large(float x, out uint q)
{
    uint b = floatBitsToUint(x);
    uint m = (b & 0x7fffffu) | 0x800000u, at = ((b >> 23) & 0xffu) - 120u;
    uint w = at >> 5, s = at & 31u;
    // 2/pi in binary with 32 zero bits in front: words w to w + 3, w <= 4
    uvec4 t = w >= 4u ? uvec4(0xf534ddc0u, 0xdb629599u, 0x3c439041u, 0xfe5163abu) : uvec4(0u, 0xa2f9836eu, 0x4e441529u, 0xfc2757d1u);
    uint t4 = 0xf534ddc0u;
    if ((w & 2u) != 0u) { t = uvec4(t.zw, t4, 0xdb629599u); t4 = 0x3c439041u; }
    if ((w & 1u) != 0u) t = uvec4(t.yzw, t4);
    uint t0 = (t.x << s) | (t.y >> 1 >> (31u - s)), t1 = (t.y << s) | (t.z >> 1 >> (31u - s)), t2 = (t.z << s) | (t.w >> 1 >> (31u - s));
    uint h1, l1, h2, l2, carry;
    umulExtended(m, t2, h2, l2);
    umulExtended(m, t1, h1, l1);
    uint f1 = uaddCarry(l1, h2, carry);
    uint f0 = m * t0 + h1 + carry;
    q = f0 >> 30;
    f0 = (f0 << 2) | (f1 >> 30);
    f1 = (f1 << 2) | (l2 >> 30);
    bool down = f0 >= 0x80000000u;
    if (down) { q += 1u; f0 = ~f0; f1 = ~f1; }
    int lead = f0 != 0u ? findMSB(f0) : -1;
    uint bits = lead == 31 ? f0 : lead < 0 ? f1 : (f0 << (31 - lead)) | (f1 >> (lead + 1));
    float r = tf_scale2(float(bits >> 7), lead - 31 - 25) * 1.57079637;
    r = down ? -r : r;
    if (b >= 0x80000000u) { r = -r; q = 0u - q; }
    return r;
}

// x = q * pi/2 + r, |r| <= pi/4 (q modulo 4). The parts of pi/2 have 13 bits, so products with q are exact.
float tf_reduce(float x, out uint q)
{
    if (abs(x) >= 2048.0) {
        if (tf_isfinite(x)) return tf_reduce_large(x, q);
        q = 0u;
        return tf_nan();
    }
    int n;
    float k = tf_nearest(x * 0.636619747, n);
    q = uint(n);
    precise float a = x - k * 1.57055664;
    precise float b = a - k * 0.000239670277;
    precise float c = b - k * 1.58906914e-8;
    precise float r = c - k * 2.56334407e-12;
    return r;
}

// On [-pi/4, pi/4].
float tf_sin_core(float r)
{
    float z = r * r;
    return r + r * z * ((-0.000195879504 * z + 0.0083327489) * z - 0.166666642);
}

float tf_cos_core(float r)
{
    float z = r * r;
    return (1.0 - 0.5 * z) + z * z * ((2.45479896e-5 * z - 0.00138883037) * z + 0.0416666642);
}

float tf_sin(float x)
{
    uint q;
    float r = tf_reduce(x, q);
    float y = (q & 1u) != 0u ? tf_cos_core(r) : tf_sin_core(r);
    return (q & 2u) != 0u ? -y : y;
}

float tf_cos(float x)
{
    uint q;
    float r = tf_reduce(x, q);
    float y = (q & 1u) != 0u ? tf_sin_core(r) : tf_cos_core(r);
    return ((q + 1u) & 2u) != 0u ? -y : y;
}

float tf_tan(float x)
{
    uint q;
    float r = tf_reduce(x, q);
    float s = tf_sin_core(r), c = tf_cos_core(r);
    return (q & 1u) != 0u ? -c / s : s / c;
}

// On [0, 1].
float tf_atan_core(float x)
{
    bool high = x > 0.414213568;
    float t = high ? (x - 1.0) / (x + 1.0) : x;
    float z = t * t;
    float y = t + t * z * ((((-0.0609278902 * z + 0.106001876) * z - 0.142445117) * z + 0.199985325) * z - 0.333333164);
    return high ? 0.785398185 + (y - 2.18556941e-8) : y;
}

float tf_atan2(float y, float x)
{
    if (tf_isnan(x) || tf_isnan(y)) return tf_nan();
    float ax = abs(x), ay = abs(y);
    float big = max(ax, ay), small = min(ax, ay);
    float s = big > 1e30 ? 9.31322575e-10 : big < 1e-30 ? 1073741824.0 : 1.0;
    float t = tf_isinf(small) ? 1.0 : tf_isinf(big) || big == 0.0 ? 0.0 : (small * s) / (big * s);
    float r = tf_atan_core(t);
    r = ay > ax ? 1.57079637 - (r + 4.37113883e-8) : r;
    r = floatBitsToUint(x) >= 0x80000000u ? 3.14159274 - (r + 8.74227766e-8) : r;
    return tf_copysign(r, y);
}

float tf_atan(float x)
{
    float a = abs(x);
    float r = tf_atan_core(a > 1.0 ? 1.0 / a : a);
    r = a > 1.0 ? 1.57079637 - (r + 4.37113883e-8) : r;
    return tf_isnan(x) ? x : tf_copysign(a > 1e20 ? 1.57079637 : r, x);
}

// asin on [0, 1/2].
float tf_asin_core(float x)
{
    float z = x * x;
    return x + x * z * ((((0.0422117971 * z + 0.0241520926) * z + 0.045476042) * z + 0.0749525204) * z + 0.166667536);
}

float tf_asin(float x)
{
    float a = abs(x);
    if (!(a <= 1.0)) return tf_nan();
    float r = a <= 0.5 ? tf_asin_core(a) : 1.57079637 - (2.0 * tf_asin_core(sqrt(0.5 - 0.5 * a)) + 4.37113883e-8);
    return tf_copysign(r, x);
}

float tf_acos(float x)
{
    float a = abs(x);
    if (!(a <= 1.0)) return tf_nan();
    if (a <= 0.5) return 1.57079637 - (tf_copysign(tf_asin_core(a), x) + 4.37113883e-8);
    float r = 2.0 * tf_asin_core(sqrt(0.5 - 0.5 * a));
    return x > 0.0 ? r : 3.14159274 - (r + 8.74227766e-8);
}

// ---- error function ----

float tf_erf_core(float x)
{
    float z = x * x;
    float p = 7.80690316e-5;
    p = p * z - 7.9978531e-4;
    p = p * z + 0.00518716220;
    p = p * z - 0.0268533472;
    p = p * z + 0.112835787;
    p = p * z - 0.37612626;
    p = p * z + 0.128379166;
    return x + x * p;
}

// e^(x^2) erfc(x) on [0, 10.3]: a polynomial in s = 1 / (1 + x/2), times s.
float tf_erfcx_core(float x)
{
    float s = 1.0 / (1.0 + 0.5 * x);
    float t = s - 0.5;
    float p = 0.0110449027;
    p = p * t - 0.0673323646;
    p = p * t + 0.0468132757;
    p = p * t + 0.0972668827;
    p = p * t - 0.103012599;
    p = p * t - 0.172012538;
    p = p * t + 0.145746961;
    p = p * t + 0.558942676;
    p = p * t + 0.68716085;
    p = p * t + 0.510791361;
    return p * s;
}

// e^(-c x^2) with the square in two parts, the second below 0.06; c is a power of two.
float tf_exp_square(float x, float c)
{
    float h = uintBitsToFloat(floatBitsToUint(x) & 0xfffff000u);
    precise float d = x - h;
    precise float s = x + h;
    float l = -c * (d * s);
    return tf_exp(-c * (h * h)) * (1.0 + l * (1.0 + l * (0.5 + l * (0.166666667 + l * 0.0416666667))));
}

float tf_erfc(float x)
{
    float a = min(abs(x), 10.2);
    float y = tf_exp_square(a, 1.0) * tf_erfcx_core(a);
    return tf_isnan(x) ? x : x < 0.0 ? 2.0 - y : y;
}

float tf_erf(float x)
{
    float a = abs(x);
    float c = tf_erfc(a); // no copysign of a difference from 1: LLVM 22 makes the wrong number of it
    return a <= 1.0 ? tf_erf_core(x) : tf_isnan(x) ? x : x < 0.0 ? c - 1.0 : 1.0 - c;
}

// ---- activations ----

float tf_sigmoid(float x)
{
    float e = tf_exp(-abs(x));
    float r = 1.0 / (1.0 + e);
    return x < 0.0 ? e * r : r;
}

// x * sigmoid(u) for u of the sign of x; e^-|u| comes in two factors, so that it may be denormal where the result is not.
float tf_gated(float x, float u)
{
    float h = tf_exp(-0.5 * abs(u));
    float r = 1.0 / (1.0 + h * h);
    return mix(x * r, x * h * (h * r), x < 0.0); // no branch: some compilers take twice as long for each
}

float tf_silu(float x) { return tf_gated(x, x); }

float tf_softplus(float x)
{
    return (x > 0.0 ? x : 0.0) + tf_log1p(tf_exp(-abs(x)));
}

// x times the normal distribution function, whose tail keeps its relative accuracy.
float tf_gelu(float x)
{
    float a = min(abs(x), 14.5);
    float e = tf_exp_square(a, 0.5), c = 0.5 * tf_erfcx_core(a * 0.707106769);
    return x < 0.0 ? x * c * e : x * (1.0 - c * e);
}

// 1 + tanh(u) = 2 sigmoid(2u).
float tf_gelu_tanh(float x)
{
    return tf_gated(x, x * (1.59576917 + 0.0713548139 * x * x));
}

// ---- powers ----

float tf_hypot(float a, float b)
{
    float big = max(abs(a), abs(b)), small = min(abs(a), abs(b));
    if (tf_isinf(a) || tf_isinf(b)) return tf_inf();
    if (tf_isnan(a) || tf_isnan(b)) return tf_nan();
    float s = big > 1e18 ? 5.42101086e-20 : big < 1e-13 ? 1.2089258196146292e24 : 1.0;
    big *= s;
    small *= s;
    return sqrt(big * big + small * small) / s;
}

// |x|^y = 2^(y log2 |x|) with the logarithm as a sum of two floats.
float tf_pow_core(float a, float y)
{
    float e;
    float f = tf_log_reduced(a, e);
    precise float s = f * f;
    float se = tf_product_error(f, f, s);
    precise float h = f - 0.5 * s;
    precise float l = (f - h) - 0.5 * s;
    l = (l - 0.5 * se) + tf_log_tail(f);
    precise float t = e * TF_LN2_HI;
    precise float u = t + h;
    precise float v = u - t;
    precise float w = (t - (u - v)) + (h - v);
    l = w + (l + e * TF_LN2_LO);
    precise float hi = u + l;
    precise float lo = l - (hi - u);
    float z = y * hi;
    if (!(abs(z) < 120.0)) return z > 0.0 ? tf_inf() : 0.0;
    precise float p = y * hi;
    return tf_exp_sum(p, tf_product_error(y, hi, p) + y * lo);
}

float tf_pow(float x, float y)
{
    if (y == 0.0 || x == 1.0) return 1.0;
    if (tf_isnan(x) || tf_isnan(y)) return tf_nan();
    float a = abs(x);
    bool whole = abs(y) >= 8388608.0 || floor(y) == y;
    bool odd = whole && abs(y) < 16777216.0 && (int(y) & 1) != 0;
    float r;
    if (a == 0.0 || tf_isinf(a)) r = (a == 0.0) == (y > 0.0) ? 0.0 : tf_inf();
    else if (tf_isinf(y)) r = a == 1.0 ? 1.0 : (a > 1.0) == (y > 0.0) ? tf_inf() : 0.0;
    else if (x < 0.0 && !whole) return tf_nan();
    else r = tf_pow_core(a, y);
    return odd ? tf_copysign(r, x) : r;
}
