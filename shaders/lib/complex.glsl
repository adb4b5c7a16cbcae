// complex.glsl - complex numbers as vec2(re, im). Principal branches, cut along the negative real axis.

vec2 tf_c_mul(vec2 a, vec2 b) { return vec2(a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x); }

// Scaled by the larger part of b: no overflow of |b|^2.
vec2 tf_c_div(vec2 a, vec2 b)
{
    float m = max(abs(b.x), abs(b.y));
    vec2 d = b / m;
    return vec2(a.x * d.x + a.y * d.y, a.y * d.x - a.x * d.y) / (dot(d, d) * m);
}

float tf_c_abs(vec2 a) { return tf_hypot(a.x, a.y); }

vec2 tf_c_exp(vec2 a) { return tf_exp(a.x) * vec2(tf_cos(a.y), tf_sin(a.y)); }

// Near |a| = 1 the logarithm of the modulus comes from |a|^2 - 1.
vec2 tf_c_log(vec2 a)
{
    float big = max(abs(a.x), abs(a.y)), small = min(abs(a.x), abs(a.y));
    float r = tf_hypot(a.x, a.y);
    float l = r > 0.5 && r < 2.0 ? 0.5 * tf_log1p((big - 1.0) * (big + 1.0) + small * small) : tf_log(r);
    return vec2(l, tf_atan2(a.y, a.x));
}

vec2 tf_c_sqrt(vec2 a)
{
    float r = tf_hypot(a.x, a.y);
    if (r == 0.0) return vec2(0.0, a.y);
    float t = sqrt(0.5 * (r + abs(a.x)));
    float u = 0.5 * abs(a.y) / t;
    return a.x >= 0.0 ? vec2(t, tf_copysign(u, a.y)) : vec2(u, tf_copysign(t, a.y));
}

vec2 tf_c_sinh(vec2 a) { return vec2(tf_sinh(a.x) * tf_cos(a.y), tf_cosh(a.x) * tf_sin(a.y)); }

vec2 tf_c_cosh(vec2 a) { return vec2(tf_cosh(a.x) * tf_cos(a.y), tf_sinh(a.x) * tf_sin(a.y)); }

vec2 tf_c_sin(vec2 a) { return vec2(tf_sin(a.x) * tf_cosh(a.y), tf_cos(a.x) * tf_sinh(a.y)); }

vec2 tf_c_cos(vec2 a) { return vec2(tf_cos(a.x) * tf_cosh(a.y), -(tf_sin(a.x) * tf_sinh(a.y))); }

// tanh(x + iy) with t = tan y, s = sinh x, c = cosh x: (s c (1 + t^2) + i t) / (1 + s^2 (1 + t^2)).
vec2 tf_c_tanh(vec2 a)
{
    if (abs(a.x) > 10.0) {
        float e = tf_exp(-2.0 * abs(a.x));
        return vec2(tf_copysign(1.0, a.x), 4.0 * e * tf_sin(a.y) * tf_cos(a.y));
    }
    float s = tf_sinh(a.x), c = tf_cos(a.y);
    return vec2(s * tf_cosh(a.x), tf_sin(a.y) * c) / (c * c + s * s);
}

vec2 tf_c_pow(vec2 a, vec2 b)
{
    if (b.x == 0.0 && b.y == 0.0) return vec2(1.0, 0.0);
    if (a.x == 0.0 && a.y == 0.0) return vec2(b.x > 0.0 ? 0.0 : tf_nan());
    return tf_c_exp(tf_c_mul(b, tf_c_log(a)));
}

// e^(i x y j) with the product in 48 bits, taken modulo a turn. Magnitudes below 2^100.
vec2 tf_cis(float x, float y, float j)
{
    const float turn = 0.159154937, rest = 6.42063847e-9; // 1 / 2 pi
    precise float p = x * y;
    precise float pe = tf_product_error(x, y, p);
    precise float t = p * turn;
    precise float te = tf_product_error(p, turn, t) + (p * rest + pe * turn);
    precise float u = t * j;
    precise float ue = tf_product_error(t, j, u) + te * j;
    precise float r = u - floor(u + 0.5);
    precise float s = ue - floor(ue + 0.5);
    float q = floor(4.0 * (r + s) + 0.5);
    precise float f = (r - 0.25 * q) + s;
    float c = tf_cos_core(6.28318531 * f), d = tf_sin_core(6.28318531 * f);
    uint k = uint(int(q));
    vec2 y1 = (k & 1u) != 0u ? vec2(-d, c) : vec2(c, d);
    return (k & 2u) != 0u ? -y1 : y1;
}
