// convert.glsl - values of one dtype from values of another, and bit patterns.
//
// In a kernel a value is a float (f32 f16 bf16 f8), double (f64), int (i32 i16 i8 i4), uint (u32 u16 u8 u4), bool or vec2
// (c64). tf_to_<dtype>(v) converts any of them and leaves a value the dtype can hold: floats round to nearest even,
// float -> int truncates and saturates with NaN -> 0, int -> int wraps, c64 gives its real part.
// tf_bits_<dtype>(v) is the pattern in the low bits of a uint, tf_from_bits_<dtype>(b) the way back; b may have
// other bits above the dtype's width. Rounding works on bits: no driver's conversion mode matters.

// Adding 2^(e + 13) to |x| in [2^e, 2^(e+1)) leaves 10 bits of it, rounded as the addition rounds: to nearest even. Halves below
// 2^-14 share the last one's spacing. No branch: drivers turn one into masks.
float tf_round_f16(float x)
{
    uint u = floatBitsToUint(x);
    int a = int(u & 0x7fffffffu);
    float m = uintBitsToFloat(uint(max(a & 0x7f800000, 0x38800000) + 0x06800000));
    precise float s = uintBitsToFloat(uint(a)) + m;
    precise float d = s - m;
    uint r = a >= 0x477ff000 ? uint(max(a, 0x7f800000)) : floatBitsToUint(d);
    return uintBitsToFloat(r | (u & 0x80000000u));
}

float tf_round_bf16(float x)
{
    uint u = floatBitsToUint(x), r = (u + 0x7fffu + ((u >> 16) & 1u)) & 0xffff0000u;
    return uintBitsToFloat(int(u & 0x7fffffffu) > 0x7f800000 ? u : r);
}

// Saturates at 448.
float tf_round_f8e4m3(float x)
{
    uint u = floatBitsToUint(x), a = u & 0x7fffffffu;
    if (a > 0x7f800000u) return x;
    precise float d = uintBitsToFloat(a) + 16384.0;
    uint r = a >= 0x43e00000u ? 0x43e00000u
           : a < 0x3c800000u ? floatBitsToUint(d - 16384.0) : (a + 0x7ffffu + ((a >> 20) & 1u)) & 0xfff00000u;
    return uintBitsToFloat(r | (u & 0x80000000u));
}

// Saturates at 57344; infinity stays.
float tf_round_f8e5m2(float x)
{
    uint u = floatBitsToUint(x), a = u & 0x7fffffffu;
    if (a >= 0x7f800000u) return x;
    precise float d = uintBitsToFloat(a) + 128.0;
    uint r = a >= 0x47600000u ? 0x47600000u
           : a < 0x38800000u ? floatBitsToUint(d - 128.0) : (a + 0xfffffu + ((a >> 21) & 1u)) & 0xffe00000u;
    return uintBitsToFloat(r | (u & 0x80000000u));
}

// ---- conversion to a dtype ----

float tf_to_f32(float x) { return x; }
float tf_to_f32(int x) { return float(x); }
float tf_to_f32(uint x) { return float(x); }
float tf_to_f32(bool x) { return x ? 1.0 : 0.0; }
float tf_to_f32(vec2 x) { return x.x; }
#ifdef TF_F64
float tf_to_f32(double x) { return float(x); }
#endif

float tf_to_f16(float x) { return tf_round_f16(x); }
float tf_to_f16(int x) { return tf_round_f16(float(x)); }
float tf_to_f16(uint x) { return tf_round_f16(float(x)); }
float tf_to_f16(bool x) { return x ? 1.0 : 0.0; }
float tf_to_f16(vec2 x) { return tf_round_f16(x.x); }
#ifdef TF_F64
float tf_to_f16(double x) { return tf_round_f16(float(x)); }
#endif

float tf_to_bf16(float x) { return tf_round_bf16(x); }
float tf_to_bf16(int x) { return tf_round_bf16(float(x)); }
float tf_to_bf16(uint x) { return tf_round_bf16(float(x)); }
float tf_to_bf16(bool x) { return x ? 1.0 : 0.0; }
float tf_to_bf16(vec2 x) { return tf_round_bf16(x.x); }
#ifdef TF_F64
float tf_to_bf16(double x) { return tf_round_bf16(float(x)); }
#endif

float tf_to_f8e4m3(float x) { return tf_round_f8e4m3(x); }
float tf_to_f8e4m3(int x) { return tf_round_f8e4m3(float(x)); }
float tf_to_f8e4m3(uint x) { return tf_round_f8e4m3(float(x)); }
float tf_to_f8e4m3(bool x) { return x ? 1.0 : 0.0; }
float tf_to_f8e4m3(vec2 x) { return tf_round_f8e4m3(x.x); }

float tf_to_f8e5m2(float x) { return tf_round_f8e5m2(x); }
float tf_to_f8e5m2(int x) { return tf_round_f8e5m2(float(x)); }
float tf_to_f8e5m2(uint x) { return tf_round_f8e5m2(float(x)); }
float tf_to_f8e5m2(bool x) { return x ? 1.0 : 0.0; }
float tf_to_f8e5m2(vec2 x) { return tf_round_f8e5m2(x.x); }

#ifdef TF_F64
double tf_to_f64(float x) { return double(x); }
double tf_to_f64(double x) { return x; }
double tf_to_f64(int x) { return double(x); }
double tf_to_f64(uint x) { return double(x); }
double tf_to_f64(bool x) { return x ? 1.0lf : 0.0lf; }
double tf_to_f64(vec2 x) { return double(x.x); }
#endif

vec2 tf_to_c64(float x) { return vec2(x, 0.0); }
vec2 tf_to_c64(int x) { return vec2(float(x), 0.0); }
vec2 tf_to_c64(uint x) { return vec2(float(x), 0.0); }
vec2 tf_to_c64(bool x) { return vec2(x ? 1.0 : 0.0, 0.0); }
vec2 tf_to_c64(vec2 x) { return x; }
#ifdef TF_F64
vec2 tf_to_c64(double x) { return vec2(float(x), 0.0); }
#endif

int tf_to_i32(float x)
{
    return x >= 2147483648.0 ? 0x7fffffff : x <= -2147483648.0 ? -0x7fffffff - 1 : tf_isnan(x) ? 0 : int(x);
}
int tf_to_i32(int x) { return x; }
int tf_to_i32(uint x) { return int(x); }
int tf_to_i32(bool x) { return x ? 1 : 0; }
int tf_to_i32(vec2 x) { return tf_to_i32(x.x); }
#ifdef TF_F64
int tf_to_i32(double x) { return x >= 2147483647.0lf ? 0x7fffffff : x <= -2147483648.0lf ? -0x7fffffff - 1 : x == x ? int(x) : 0; }
#endif

uint tf_to_u32(float x) { return x >= 4294967296.0 ? 0xffffffffu : x > 0.0 ? uint(x) : 0u; }
uint tf_to_u32(int x) { return uint(x); }
uint tf_to_u32(uint x) { return x; }
uint tf_to_u32(bool x) { return x ? 1u : 0u; }
uint tf_to_u32(vec2 x) { return tf_to_u32(x.x); }
#ifdef TF_F64
uint tf_to_u32(double x) { return x >= 4294967295.0lf ? 0xffffffffu : x > 0.0lf ? uint(x) : 0u; }
#endif

int tf_to_i16(float x) { return clamp(tf_to_i32(x), -32768, 32767); }
int tf_to_i16(int x) { return bitfieldExtract(x, 0, 16); }
int tf_to_i16(uint x) { return bitfieldExtract(int(x), 0, 16); }
int tf_to_i16(bool x) { return x ? 1 : 0; }
int tf_to_i16(vec2 x) { return tf_to_i16(x.x); }
#ifdef TF_F64
int tf_to_i16(double x) { return clamp(tf_to_i32(x), -32768, 32767); }
#endif

uint tf_to_u16(float x) { return min(tf_to_u32(x), 65535u); }
uint tf_to_u16(int x) { return uint(x) & 0xffffu; }
uint tf_to_u16(uint x) { return x & 0xffffu; }
uint tf_to_u16(bool x) { return x ? 1u : 0u; }
uint tf_to_u16(vec2 x) { return tf_to_u16(x.x); }
#ifdef TF_F64
uint tf_to_u16(double x) { return min(tf_to_u32(x), 65535u); }
#endif

int tf_to_i8(float x) { return clamp(tf_to_i32(x), -128, 127); }
int tf_to_i8(int x) { return bitfieldExtract(x, 0, 8); }
int tf_to_i8(uint x) { return bitfieldExtract(int(x), 0, 8); }
int tf_to_i8(bool x) { return x ? 1 : 0; }
int tf_to_i8(vec2 x) { return tf_to_i8(x.x); }
#ifdef TF_F64
int tf_to_i8(double x) { return clamp(tf_to_i32(x), -128, 127); }
#endif

uint tf_to_u8(float x) { return min(tf_to_u32(x), 255u); }
uint tf_to_u8(int x) { return uint(x) & 0xffu; }
uint tf_to_u8(uint x) { return x & 0xffu; }
uint tf_to_u8(bool x) { return x ? 1u : 0u; }
uint tf_to_u8(vec2 x) { return tf_to_u8(x.x); }
#ifdef TF_F64
uint tf_to_u8(double x) { return min(tf_to_u32(x), 255u); }
#endif

int tf_to_i4(float x) { return clamp(tf_to_i32(x), -8, 7); }
int tf_to_i4(int x) { return bitfieldExtract(x, 0, 4); }
int tf_to_i4(uint x) { return bitfieldExtract(int(x), 0, 4); }
int tf_to_i4(bool x) { return x ? 1 : 0; }
int tf_to_i4(vec2 x) { return tf_to_i4(x.x); }

uint tf_to_u4(float x) { return min(tf_to_u32(x), 15u); }
uint tf_to_u4(int x) { return uint(x) & 15u; }
uint tf_to_u4(uint x) { return x & 15u; }
uint tf_to_u4(bool x) { return x ? 1u : 0u; }
uint tf_to_u4(vec2 x) { return tf_to_u4(x.x); }

bool tf_to_bool(float x) { return !(x == 0.0); }
bool tf_to_bool(int x) { return x != 0; }
bool tf_to_bool(uint x) { return x != 0u; }
bool tf_to_bool(bool x) { return x; }
bool tf_to_bool(vec2 x) { return !(x.x == 0.0 && x.y == 0.0); }
#ifdef TF_F64
bool tf_to_bool(double x) { return !(x == 0.0lf); }
#endif

// ---- bit patterns ----

// A half as a float. Compilers of CPU drivers move what follows ahead of the conversion, into arithmetic of halves that the CPU
// lacks; a zero that they cannot know stops them.
#ifdef TF_CPU
float tf_widened(float x) { return uintBitsToFloat(floatBitsToUint(x) ^ (gl_WorkGroupID.x & 0x80000000u)); }
vec4 tf_widened(vec4 x) { return uintBitsToFloat(floatBitsToUint(x) ^ (gl_WorkGroupID.x & 0x80000000u)); }
#else
float tf_widened(float x) { return x; }
vec4 tf_widened(vec4 x) { return x; }
#endif

uint tf_bits_f32(float x) { return floatBitsToUint(x); }

float tf_from_bits_f32(uint b) { return uintBitsToFloat(b); }

uint tf_bits_f16(float x)
{
    uint u = floatBitsToUint(x), a = u & 0x7fffffffu, s = (u >> 16) & 0x8000u;
    if (a >= 0x47800000u) return s | (a > 0x7f800000u ? 0x7e00u : 0x7c00u);
    return s | (a < 0x38800000u ? uint(uintBitsToFloat(a) * 16777216.0) : (a - 0x38000000u) >> 13);
}

float tf_from_bits_f16(uint b) { return tf_widened(unpackHalf2x16(b & 0xffffu).x); }

uint tf_bits_bf16(float x) { return floatBitsToUint(x) >> 16; }

float tf_from_bits_bf16(uint b) { return uintBitsToFloat(b << 16); }

uint tf_bits_f8e4m3(float x)
{
    uint u = floatBitsToUint(x), a = u & 0x7fffffffu, s = (u >> 24) & 0x80u;
    if (a > 0x7f800000u) return s | 0x7fu;
    return s | (a < 0x3c800000u ? uint(uintBitsToFloat(a) * 512.0) : (a - 0x3c000000u) >> 20);
}

float tf_from_bits_f8e4m3(uint b)
{
    uint a = b & 0x7fu;
    float x = a < 8u ? float(a) * 0.001953125 : uintBitsToFloat((a << 20) + 0x3c000000u);
    x = a == 0x7fu ? tf_nan() : x;
    return (b & 0x80u) != 0u ? -x : x;
}

uint tf_bits_f8e5m2(float x)
{
    uint u = floatBitsToUint(x), a = u & 0x7fffffffu, s = (u >> 24) & 0x80u;
    if (a >= 0x47800000u) return s | (a > 0x7f800000u ? 0x7eu : 0x7cu);
    return s | (a < 0x38800000u ? uint(uintBitsToFloat(a) * 65536.0) : (a - 0x38000000u) >> 21);
}

float tf_from_bits_f8e5m2(uint b)
{
    uint a = b & 0x7fu;
    float x = a < 4u ? float(a) * 1.52587890625e-5 : uintBitsToFloat(a >= 0x7cu ? 0x7f800000u | (a << 21) : (a << 21) + 0x38000000u);
    return uintBitsToFloat(floatBitsToUint(x) | ((b & 0x80u) << 24));
}

uint tf_bits_i32(int x) { return uint(x); }

uint tf_bits_u32(uint x) { return x; }

uint tf_bits_i16(int x) { return uint(x) & 0xffffu; }

uint tf_bits_u16(uint x) { return x; }

uint tf_bits_i8(int x) { return uint(x) & 0xffu; }

uint tf_bits_u8(uint x) { return x; }

uint tf_bits_i4(int x) { return uint(x) & 15u; }

uint tf_bits_u4(uint x) { return x; }

uint tf_bits_bool(bool x) { return x ? 1u : 0u; }

int tf_from_bits_i32(uint b) { return int(b); }

uint tf_from_bits_u32(uint b) { return b; }

int tf_from_bits_i16(uint b) { return bitfieldExtract(int(b), 0, 16); }

uint tf_from_bits_u16(uint b) { return b & 0xffffu; }

int tf_from_bits_i8(uint b) { return bitfieldExtract(int(b), 0, 8); }

uint tf_from_bits_u8(uint b) { return b & 0xffu; }

int tf_from_bits_i4(uint b) { return bitfieldExtract(int(b), 0, 4); }

uint tf_from_bits_u4(uint b) { return b & 15u; }

bool tf_from_bits_bool(uint b) { return (b & 0xffu) != 0u; }

// Four halves in two words, and back.
vec4 tf_halves(uvec2 w) { return tf_widened(vec4(unpackHalf2x16(w.x), unpackHalf2x16(w.y))); }

// Four halves in a long word. Shifts of the whole: compilers take words apart less well.
vec4 tf_long_halves(uint64_t v)
{
    return tf_widened(vec4(unpackHalf2x16(uint(v)).x, unpackHalf2x16(uint(v >> 16)).x, unpackHalf2x16(uint(v >> 32)).x, unpackHalf2x16(uint(v >> 48)).x));
}

vec4 tf_bhalves(uvec2 w) { return uintBitsToFloat(uvec4(w.x << 16, w.x & 0xffff0000u, w.y << 16, w.y & 0xffff0000u)); }

// A half's bits. CPU drivers spell the conversion out in three times as many operations; see tf_round_f16: the sum less its
// power of two counts units of the last place.
#ifdef TF_CPU
uvec4 tf_half_bits(vec4 v)
{
    uvec4 u = floatBitsToUint(v);
    ivec4 a = ivec4(u & 0x7fffffffu), m = max(a & 0x7f800000, ivec4(0x38800000)) + 0x06800000;
    precise vec4 s = intBitsToFloat(a) + intBitsToFloat(m);
    ivec4 h = floatBitsToInt(s) - m + (m >> 13) - 0x1f800;
    h = mix(h, mix(ivec4(0x7c00), ivec4(0x7e00), greaterThan(a, ivec4(0x7f800000))), greaterThanEqual(a, ivec4(0x477ff000)));
    return uvec4(h) | ((u >> 16) & 0x8000u);
}
uvec2 tf_words(vec4 v)
{
    uvec4 h = tf_half_bits(v);
    return h.xz | (h.yw << 16);
}
#else
uvec2 tf_words(vec4 v) { return uvec2(packHalf2x16(v.xy), packHalf2x16(v.zw)); }
#endif

// Four words in two of 64 bits, and back.
uvec4 tf_four_words(u64vec2 v) { return uvec4(unpackUint2x32(v.x), unpackUint2x32(v.y)); }

u64vec2 tf_two_longs(uvec4 v) { return u64vec2(packUint2x32(v.xy), packUint2x32(v.zw)); }

// Four complex numbers in four of 64 bits, and back.
mat4x2 tf_four_points(u64vec4 v) { return mat4x2(uintBitsToFloat(unpackUint2x32(v.x)), uintBitsToFloat(unpackUint2x32(v.y)), uintBitsToFloat(unpackUint2x32(v.z)), uintBitsToFloat(unpackUint2x32(v.w))); }

u64vec4 tf_four_longs(mat4x2 v) { return u64vec4(packUint2x32(floatBitsToUint(v[0])), packUint2x32(floatBitsToUint(v[1])), packUint2x32(floatBitsToUint(v[2])), packUint2x32(floatBitsToUint(v[3]))); }

// Vectors of 16-bit and 8-bit elements.
uvec4 tf_shorts(uvec2 w) { return uvec4(w.x & 0xffffu, w.x >> 16, w.y & 0xffffu, w.y >> 16); }

uvec2 tf_short_words(uvec4 v) { return uvec2((v.x & 0xffffu) | (v.y << 16), (v.z & 0xffffu) | (v.w << 16)); }

uvec4 tf_bytes(uint w) { return (uvec4(w) >> uvec4(0u, 8u, 16u, 24u)) & 255u; }

// The four lowest of 4 bits.
uvec4 tf_nibbles_u4(uint w) { return (uvec4(w) >> uvec4(0u, 4u, 8u, 12u)) & 15u; }

ivec4 tf_nibbles_i4(uint w) { return ivec4(uvec4(w) << uvec4(28u, 24u, 20u, 16u)) >> 28; }

uint tf_byte_word(uvec4 v) { return (v.x & 255u) | ((v.y & 255u) << 8) | ((v.z & 255u) << 16) | (v.w << 24); }
