/* gaunt_code.c - the anchor _gaunt: kernels whose text is generated from the coefficients of a product, a rotation or a basis.
 *
 * An invocation takes one row: it loads the row's operands into variables, runs straight-line code whose constants are literals,
 * and stores the results. That suits every device: no tables are read, nothing is shared, and equal subexpressions are formed once. Only the
 * grid form loops, over pairs of nodes theta and pi - theta. Names in the text: a0 a1 .. and b0 .. operands, y0 .. results. */
#include "gaunt.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct code {
    tf_str *s;
    tf_arena *a;
    const tf_gaunt_desc *d;
    bool octets;      /* operands that come as one row are read by eights */
    uint64_t work;    /* multiplications and additions of one row */
} code;

enum { SH_STRAIGHT = 12 }; /* largest degree of harmonics without loops */
enum { RESULT = 1 << 16 }; /* bit of `flat` */
enum { FLAT_LEAST = 25, OCTETS_LEAST = 49 }; /* numbers of a row from which whole vectors in it, and vectors of eight, are worth it */

static int32_t factor_count(const tf_gaunt_desc *d) { return d->l.n; }
static int32_t inputs_of(const tf_gaunt_desc *d)
{
    switch (d->form) {
    case TF_FORM_ROTATE: return 2;
    case TF_FORM_ALIGNED: case TF_FORM_FILTER: return 3;
    case TF_FORM_SH: case TF_FORM_ANGLES: return 1;
    case TF_FORM_GRID: return d->same ? 1 : d->l.n;
    default: return d->l.n;
    }
}
/* Tables come last: the recurrence's factors, the nodes' constants. */
static bool needs_table(const tf_gaunt_desc *d) { return (d->form == TF_FORM_SH && d->lout > SH_STRAIGHT) || (d->form == TF_FORM_GRID && !d->variant); }
static int operand_count(const tf_gaunt_desc *d)
{
    int n = inputs_of(d) + needs_table(d);
    for (int32_t i = 0; i <= d->l.n; i++) n += d->weights >> i & 1;
    return n;
}
/* Operand of the weights of bit `i`, or -1. */
static int weight_operand(const tf_gaunt_desc *d, int32_t i)
{
    if (!(d->weights >> i & 1)) return -1;
    int at = inputs_of(d);
    for (int32_t k = 0; k < i; k++) at += d->weights >> k & 1;
    return at;
}

/* Features whose rows are a multiple of four long are read and written by vectors. */
static bool feature_operand(const tf_gaunt_desc *d, int i)
{
    const bool first_only = d->form == TF_FORM_ROTATE || d->form == TF_FORM_ALIGNED || d->form == TF_FORM_FILTER;
    return d->form != TF_FORM_SH && d->form != TF_FORM_ANGLES && i < (first_only ? 1 : inputs_of(d));
}
static bool stores_vectors(const tf_gaunt_desc *d)
{
    return d->form != TF_FORM_CG && d->form != TF_FORM_ANGLES && !(d->form == TF_FORM_SH && needs_table(d)) && tf_sh_size(d->lout) % 4 == 0;
}

/* Rows that are no multiple of four long are neighbours in memory all the same: vectors of 4 or 8 around the row, moved by what its start
 * is beyond a multiple of that, bit by bit. Drivers pay per load, not per choice. */
static void load_flat(code *c, char name, int operand, int32_t n)
{
    const int32_t width = c->octets ? 8 : 4;
    tf_str_printf(c->s, "    const uint zp%c = row * %uu;\n", name, (unsigned)n);
    for (int32_t i = 0; i < n + width - 1; i += width)
        if (width == 4) tf_str_printf(c->s, "    const vec4 v%c%d = s%d_at4(0u, (zp%c & ~3u) + %du);\n", name, (int)i, operand, name, (int)i);
        else tf_str_printf(c->s, "    vec4 v%c%d, v%c%d; s%d_at8(0u, (zp%c & ~7u) + %du, v%c%d, v%c%d);\n", name, (int)i, name, (int)i + 4, operand, name, (int)i, name, (int)i, name, (int)i + 4);
    for (int32_t step = 1, left = width - 1; step < width; step *= 2) {
        left -= step;
        tf_str_printf(c->s, "    const bool zb%c%d = (zp%c & %uu) != 0u;\n", name, (int)step, name, (unsigned)step);
        for (int32_t i = 0; i < n + left; i++) {
            if (left == 0) tf_str_printf(c->s, "    float %c%d = zb%c%d ? z%c%d_%d : z%c%d_%d;\n", name, (int)i, name, (int)step, name, (int)step / 2, (int)(i + step), name, (int)step / 2, (int)i);
            else if (step > 1) tf_str_printf(c->s, "    const float z%c%d_%d = zb%c%d ? z%c%d_%d : z%c%d_%d;\n", name, (int)step, (int)i, name, (int)step, name, (int)step / 2, (int)(i + step), name, (int)step / 2, (int)i);
            else tf_str_printf(c->s, "    const float z%c1_%d = zb%c1 ? v%c%d[%d] : v%c%d[%d];\n", name, (int)i, name, name, (int)((i + 1) & ~3), (int)((i + 1) & 3), name, (int)(i & ~3), (int)(i & 3));
        }
    }
}

/* `name`0 .. = the row of an operand, times its weights by degree. */
static void load(code *c, char name, int operand, int32_t l, int weights)
{
    const int32_t n = tf_sh_size(l);
    const bool vectors = n % 4 == 0, flat = c->d->flat >> operand & 1;
    for (int32_t i = 0; vectors && i < n; i += 4) tf_str_printf(c->s, "    const vec4 v%c%d = s%d_at4(row, %du);\n", name, (int)i, operand, (int)i);
    if (flat) load_flat(c, name, operand, n);
    for (int32_t i = 0; !flat && i < n; i++) {
        if (vectors) tf_str_printf(c->s, "    float %c%d = v%c%d[%d];\n", name, (int)i, name, (int)(i & ~3), (int)(i & 3));
        else tf_str_printf(c->s, "    float %c%d = s%d_at(row, %du);\n", name, (int)i, operand, (int)i);
    }
    for (int32_t d = 0; weights >= 0 && d <= l; d++) {
        tf_str_printf(c->s, "    const float u%c%d = s%d_at(row, %du);\n", name, (int)d, weights, (int)d);
        for (int32_t i = d * d; i < (d + 1) * (d + 1); i++) tf_str_printf(c->s, "    %c%d *= u%c%d;\n", name, (int)i, name, (int)d);
    }
}

static void zero(code *c, char name, int32_t n)
{
    for (int32_t i = 0; i < n; i++) tf_str_printf(c->s, "    float %c%d = 0.0;\n", name, (int)i);
}

/* Likewise: whole vectors inside the row, up to three elements before and after them. */
static void store_flat(code *c, char name, int32_t n)
{
    tf_str_printf(c->s, "    const uint at = row * %uu, head = -at & 3u, left = (%uu - head) & 3u;\n    const bool odd = (head & 1u) != 0u, two = (head & 2u) != 0u;\n",
                  (unsigned)n, (unsigned)n);
    for (int32_t i = 0; i < n; i++) tf_str_printf(c->s, "    const float zs%d = odd ? %c%d : %c%d;\n", (int)i, name, (int)TF_MIN(i + 1, n - 1), name, (int)i);
    for (int32_t i = 0; i + 4 <= n; i += 4) {
        if (i + 7 > n) tf_str_printf(c->s, "    if (head + %uu <= %uu)\n", (unsigned)i + 4, (unsigned)n);
        tf_str_printf(c->s, "    y_put4(0u, at + head + %uu, vec4(", (unsigned)i);
        for (int32_t k = i; k < i + 4; k++) tf_str_printf(c->s, "%stwo ? zs%d : zs%d", k > i ? ", " : "", (int)TF_MIN(k + 2, n - 1), (int)k);
        tf_str_add(c->s, "));\n");
    }
    for (int32_t k = 0; k < 3; k++) {
        tf_str_printf(c->s, "    if (head > %uu) y_put(0u, at + %uu, %c%d);\n", (unsigned)k, (unsigned)k, name, (int)k);
        tf_str_printf(c->s, "    if (left > %uu) y_put(0u, at + %uu, %c%d);\n", (unsigned)k, (unsigned)(n - 1 - k), name, (int)(n - 1 - k));
    }
}

static void store(code *c, char name, int32_t size)
{
    const int w = weight_operand(c->d, factor_count(c->d));
    for (int32_t l = 0, i = 0; w >= 0 && i < size; l++) {
        tf_str_printf(c->s, "    const float uy%d = s%d_at(row, %du);\n", (int)l, w, (int)l);
        for (; i < size && i < (l + 1) * (l + 1); i++) tf_str_printf(c->s, "    %c%d *= uy%d;\n", name, (int)i, (int)l);
    }
    if (c->d->flat & RESULT) store_flat(c, name, size);
    else if (stores_vectors(c->d))
        for (int32_t i = 0; i < size; i += 4)
            tf_str_printf(c->s, "    y_put4(row, %du, vec4(%c%d, %c%d, %c%d, %c%d));\n", (int)i, name, (int)i, name, (int)i + 1, name, (int)i + 2, name, (int)i + 3);
    else
        for (int32_t i = 0; i < size; i++) tf_str_printf(c->s, "    y_put(row, %du, %c%d);\n", (int)i, name, (int)i);
}

/* target += factor * name, the factor a literal. */
static void accumulate(code *c, const char *target, double factor, const char *name)
{
    tf_str_printf(c->s, "    %s = fma(%.9e, %s, %s);\n", target, factor, name, target);
    c->work += 2;
}

/* ---- products from coefficients ---------------------------------------------------------------------------- */

/* y += sum of g a_i b_j. Where both sides have one degree, (i, j) and (j, i) have equal coefficients (opposite for the curl). */
static void write_terms(code *c, int32_t l1, int32_t l2, int32_t l3, bool curl)
{
    tf_gaunt_terms terms;
    if (!tf_gaunt_list(c->a, l1, l2, l3, curl, &terms)) return;
    const bool mirror = l1 == l2;
    int32_t i = -1, j = -1;
    for (uint32_t t = 0; t < terms.n; t++) {
        const tf_gaunt_term *g = &terms.data[t];
        if (mirror && g->i > g->j) continue;
        if (g->i != i || g->j != j) {
            i = g->i;
            j = g->j;
            if (mirror && i != j)
                tf_str_printf(c->s, "    p = fma(a%d, b%d, %s(a%d * b%d));\n", (int)i, (int)j, curl ? "-" : "", (int)j, (int)i);
            else
                tf_str_printf(c->s, "    p = a%d * b%d;\n", (int)i, (int)j);
            c->work += mirror && i != j ? 3 : 1;
        }
        char y[16];
        snprintf(y, sizeof y, "y%d", (int)g->k);
        accumulate(c, y, g->g, "p");
    }
}

static void write_sparse(code *c, bool curl)
{
    const tf_gaunt_desc *d = c->d;
    load(c, 'a', 0, (int32_t)d->l.v[0], weight_operand(d, 0));
    load(c, 'b', 1, (int32_t)d->l.v[1], weight_operand(d, 1));
    zero(c, 'y', tf_sh_size(d->lout));
    tf_str_add(c->s, "    float p;\n");
    write_terms(c, (int32_t)d->l.v[0], (int32_t)d->l.v[1], d->lout, curl);
    store(c, 'y', tf_sh_size(d->lout));
}

static void write_cg(code *c)
{
    const tf_gaunt_desc *d = c->d;
    const int32_t l1 = (int32_t)d->l.v[0], l2 = (int32_t)d->l.v[1];
    int32_t at = 0;
    load(c, 'a', 0, l1, -1);
    load(c, 'b', 1, l2, -1);
    tf_str_add(c->s, "    float v;\n");
    for (int32_t i = 0; i < tf_sh_size(l1); i++)
        for (int32_t j = 0; j < tf_sh_size(l2); j++) {
            tf_str_printf(c->s, "    const float p%d_%d = a%d * b%d;\n", (int)i, (int)j, (int)i, (int)j);
            c->work++;
        }
    for (int32_t p = 0; p <= l1; p++)
        for (int32_t q = 0; q <= l2; q++)
            for (int32_t r = abs(p - q); r <= TF_MIN(d->lout, p + q); r++) {
                const double alpha = d->variant == 0 ? sqrt(2.0 * r + 1) : d->variant == 1 ? sqrt((2.0 * p + 1) * (2.0 * q + 1)) : 1;
                const double *w = tf_wigner_3j(c->a, p, q, r);
                for (int32_t k = 0; w && k <= 2 * r; k++, at++) {
                    tf_str_add(c->s, "    v = 0.0;\n");
                    for (int32_t i = 0; i <= 2 * p; i++)
                        for (int32_t j = 0; j <= 2 * q; j++) {
                            const double g = alpha * w[((int64_t)i * (2 * q + 1) + j) * (2 * r + 1) + k];
                            char name[32];
                            snprintf(name, sizeof name, "p%d_%d", (int)(p * p + i), (int)(q * q + j));
                            if (g != 0) accumulate(c, "v", g, name);
                        }
                    tf_str_printf(c->s, "    y_put(row, %du, v);\n", (int)at);
                }
            }
}

/* ---- spherical harmonics ------------------------------------------------------------------------------------- */

/* v = direction of operand `operand`, live = 1, or zeros where it is no longer than 1e-12. */
static void write_direction(code *c, int operand)
{
    tf_str_printf(c->s,
                  "    vec3 v = vec3(s%d_at(row, 0u), s%d_at(row, 1u), s%d_at(row, 2u));\n"
                  "    const float big = max(max(abs(v.x), abs(v.y)), abs(v.z));\n"
                  "    v = big <= 5e-13 ? vec3(0.0) : v / big;\n"
                  "    const float len = sqrt(dot(v, v));\n"
                  "    const float live = big * len <= 1e-12 ? 0.0 : 1.0;\n"
                  "    v = live > 0.0 ? v / len : vec3(0.0);\n", operand, operand, operand);
}

/* c1 s1 c2 s2 ..: (z + i x)^m */
static void write_powers(code *c, int32_t lmax)
{
    if (lmax > 0) tf_str_add(c->s, "    const float c1 = v.z, s1 = v.x;\n");
    for (int32_t m = 2; m <= lmax; m++)
        tf_str_printf(c->s, "    const float c%d = fma(v.z, c%d, -(v.x * s%d)), s%d = fma(v.z, s%d, v.x * c%d);\n", (int)m, (int)m - 1, (int)m - 1, (int)m, (int)m - 1, (int)m - 1);
    c->work += 6 * (uint64_t)lmax;
}

static double step_a(int32_t l, int32_t m) { return sqrt((4.0 * l * l - 1) / ((double)l * l - (double)m * m)); }
static double step_b(int32_t l, int32_t m)
{
    const double k = l - 1;
    return sqrt((k * k - (double)m * m) / (4 * k * k - 1));
}

/* Calls entry(name of Y_lm without its constant, factor) for all entries; Q is carried with the normalisation's weights in it. */
static void write_harmonics(code *c, int32_t lmax, int32_t variant, char target)
{
    double top = 1 / sqrt(4 * TF_PI);
    tf_str_add(c->s, "    const float r2 = dot(v, v);\n    float q, before, next;\n");
    for (int32_t m = 0; m <= lmax; m++) {
        if (m) top *= sqrt((2.0 * m + 1) / (2.0 * m)) * (m == 1 ? sqrt(2.0) : 1.0);
        tf_str_printf(c->s, "    before = 0.0;\n    q = %.9e;\n", top * tf_sh_scale(variant, m));
        for (int32_t l = m; l <= lmax; l++) {
            if (m) tf_str_printf(c->s, "    %c%d = q * s%d;\n    %c%d = q * c%d;\n", target, (int)tf_sh_at(l, -m), (int)m, target, (int)tf_sh_at(l, m), (int)m);
            else tf_str_printf(c->s, "    %c%d = q;\n", target, (int)tf_sh_at(l, 0));
            c->work += m ? 6 : 4;
            if (l == lmax) break;
            const double a = step_a(l + 1, m), scale = tf_sh_scale(variant, l + 1);
            tf_str_printf(c->s, "    next = %.9e * v.y * q;\n", a * scale / tf_sh_scale(variant, l));
            if (l > m) tf_str_printf(c->s, "    next = fma(%.9e * r2, before, next);\n", -a * step_b(l + 1, m) * scale / tf_sh_scale(variant, l - 1));
            tf_str_add(c->s, "    before = q;\n    q = next;\n");
        }
    }
}

static void write_sh(code *c)
{
    const tf_gaunt_desc *d = c->d;
    if (d->solid) tf_str_add(c->s, "    const vec3 v = vec3(s0_at(row, 0u), s0_at(row, 1u), s0_at(row, 2u));\n");
    else write_direction(c, 0);
    write_powers(c, d->lout);
    zero(c, 'y', tf_sh_size(d->lout));
    write_harmonics(c, d->lout, d->variant, 'y');
    store(c, 'y', tf_sh_size(d->lout));
}

/* Degrees too many for straight-line code: loops, and the recurrence's coefficients from a table, operand 1. */
static const char *const sh_loops =
    "    float top = 1.0, c = 1.0, s = 0.0;\n"
    "    const float r2 = dot(v, v);\n"
    "    for (uint m = 0u; m <= LMAX; m++) {\n"
    "        if (m > 0u) {\n"
    "            const float next = fma(v.z, c, -(v.x * s));\n"
    "            s = fma(v.z, s, v.x * c);\n"
    "            c = next;\n"
    "        }\n"
    "        top *= s1_at(m * (m + 1u) / 2u + m, 1u);\n"
    "        float q = top, before = 0.0;\n"
    "        for (uint l = m; l <= LMAX; l++) {\n"
    "            const uint at = l * (l + 1u) / 2u + m;\n"
    "            const float scale = s1_at(at, 2u);\n"
    "            if (l > m) {\n"
    "                const float next = s1_at(at, 0u) * fma(v.y, q, -(s1_at(at, 1u) * r2 * before));\n"
    "                before = q;\n"
    "                q = next;\n"
    "            }\n"
    "            y_put(row, l * l + l - m, q * s * scale);\n"
    "            y_put(row, l * l + l + m, q * c * scale);\n"
    "        }\n"
    "    }\n";

/* ---- rotations --------------------------------------------------------------------------------------------------- */

/* c<t>1 s<t>1 c<t>2 ..: cos and sin of multiples of an angle from those of the angle. */
static void write_multiples(code *c, char t, int32_t lmax)
{
    for (int32_t m = 2; m <= lmax; m++)
        tf_str_printf(c->s, "    const float c%c%d = fma(c%c1, c%c%d, -(s%c1 * s%c%d)), s%c%d = fma(s%c1, c%c%d, c%c1 * s%c%d);\n", t, (int)m, t, t, (int)m - 1, t, t, (int)m - 1,
                      t, (int)m, t, t, (int)m - 1, t, t, (int)m - 1);
    c->work += 6 * (uint64_t)lmax;
}

/* x = X(+-t) x */
static void write_turn(code *c, char x, char t, bool back, int32_t lmax)
{
    for (int32_t l = 1; l <= lmax; l++)
        for (int32_t m = 1; m <= l; m++) {
            const int p = (int)tf_sh_at(l, m), n = (int)tf_sh_at(l, -m);
            tf_str_printf(c->s, "    p = c%c%d * %c%d %c s%c%d * %c%d;\n", t, (int)m, x, p, back ? '+' : '-', t, (int)m, x, n);
            tf_str_printf(c->s, "    %c%d = c%c%d * %c%d %c s%c%d * %c%d;\n    %c%d = p;\n", x, n, t, (int)m, x, n, back ? '-' : '+', t, (int)m, x, p, x, p);
            c->work += 6;
        }
}

/* to = J from */
static void write_half_turn(code *c, char to, char from, int32_t lmax, const double *j)
{
    for (int32_t l = 0; l <= lmax; l++)
        for (int32_t i = 0; i <= 2 * l; i++) {
            bool first = true;
            for (int32_t k = 0; k <= 2 * l; k++) {
                const double v = j[tf_d_at(l) + (int64_t)i * (2 * l + 1) + k];
                if (fabs(v) < 1e-12) continue;
                if (first) tf_str_printf(c->s, "    %c%d = %.9e * %c%d;\n", to, (int)(l * l + i), v, from, (int)(l * l + k));
                else tf_str_printf(c->s, "    %c%d = fma(%.9e, %c%d, %c%d);\n", to, (int)(l * l + i), v, from, (int)(l * l + k), to, (int)(l * l + i));
                first = false;
                c->work += 2;
            }
        }
}

/* Angles of R = Ry(f) Rx(g) Ry(h) as their cosines and sines; R's second column gives f and g, what is left gives h. */
#define ANGLES_OF_MATRIX \
    "    const float m01 = s%d_at(row, 1u), m21 = s%d_at(row, 7u), m11 = s%d_at(row, 4u);\n" \
    "    const float rho = sqrt(m01 * m01 + m21 * m21), pole = sqrt(rho * rho + m11 * m11);\n" \
    "    const float cf1 = rho > 1e-18 ? m21 / rho : 1.0, sf1 = rho > 1e-18 ? m01 / rho : 0.0;\n" \
    "    const float cg1 = pole > 1e-18 ? m11 / pole : 1.0, sg1 = pole > 1e-18 ? rho / pole : 0.0;\n" \
    "    const float hc = cf1 * s%d_at(row, 0u) - sf1 * s%d_at(row, 6u), hs = cf1 * s%d_at(row, 2u) - sf1 * s%d_at(row, 8u);\n" \
    "    const float hr = sqrt(hc * hc + hs * hs);\n" \
    "    const float ch1 = hr > 1e-18 ? hc / hr : 1.0, sh1 = hr > 1e-18 ? hs / hr : 0.0;\n"

static const char *const angle_loops =
    "    for (uint k = 0u; k < 3u; k++) {\n"
    "        const float c1 = k == 0u ? cf1 : k == 1u ? cg1 : ch1, s1 = k == 0u ? sf1 : k == 1u ? sg1 : sh1;\n"
    "        float c = 1.0, s = 0.0;\n"
    "        for (uint m = 0u; m <= LMAX; m++) {\n"
    "            y_put(row, 2u * k * (LMAX + 1u) + m, c);\n"
    "            y_put(row, (2u * k + 1u) * (LMAX + 1u) + m, s);\n"
    "            const float next = fma(c1, c, -(s1 * s));\n"
    "            s = fma(s1, c, c1 * s);\n"
    "            c = next;\n"
    "        }\n"
    "    }\n";

static void write_rotate(code *c)
{
    const int32_t l = (int32_t)c->d->l.v[0];
    const double *j = tf_wigner_j(c->a, l);
    if (!j) return;
    tf_str_printf(c->s, ANGLES_OF_MATRIX, 1, 1, 1, 1, 1, 1, 1);
    tf_str_add(c->s, "    float p;\n");
    write_multiples(c, 'f', l);
    write_multiples(c, 'g', l);
    write_multiples(c, 'h', l);
    load(c, 'a', 0, l, -1);
    zero(c, 'b', tf_sh_size(l));
    write_turn(c, 'a', 'h', false, l);
    write_half_turn(c, 'b', 'a', l, j);
    write_turn(c, 'b', 'g', false, l);
    write_half_turn(c, 'a', 'b', l, j);
    write_turn(c, 'a', 'f', false, l);
    store(c, 'a', tf_sh_size(l));
}

/* ---- product with a filter along a vector ------------------------------------------------------------------------ */

static void load_filter(code *c, int32_t l2)
{
    tf_str_printf(c->s, "    const float h0 = s2_at(row, 0u);\n");
    for (int32_t l = 1; l <= l2; l++) tf_str_printf(c->s, "    const float h%d = s2_at(row, %du) * live;\n", (int)l, (int)l);
}

/* In the frame where the vector is the pole only orders m = 0 of the filter live: y_{l3 m} = sum over l1 of T x_{l1 m} with
 * T = sum over l2 of h_l2 sqrt((2 l2 + 1) / 4 pi) G, the same for m and -m. */
static void write_pole_product(code *c, int32_t l1, int32_t l2, int32_t l3)
{
    tf_gaunt_terms terms;
    if (!tf_gaunt_list(c->a, l1, l2, l3, false, &terms)) return;
    const int32_t n1 = l1 + 1, n2 = l2 + 1, n3 = l3 + 1;
    double *g = tf_arena_array(c->a, double, (size_t)n1 * (size_t)n1 * (size_t)n2 * (size_t)n3);
    for (uint32_t t = 0; g && t < terms.n; t++) {
        const int32_t p = (int32_t)sqrt(terms.data[t].i + 0.5), q = (int32_t)sqrt(terms.data[t].j + 0.5), r = (int32_t)sqrt(terms.data[t].k + 0.5);
        const int32_t m = terms.data[t].i - tf_sh_at(p, 0);
        if (terms.data[t].j != tf_sh_at(q, 0) || m < 0 || terms.data[t].k != tf_sh_at(r, m)) continue;
        g[((p * n1 + m) * n2 + q) * n3 + r] = terms.data[t].g * sqrt((2.0 * q + 1) / (4 * TF_PI));
    }
    tf_str_add(c->s, "    float t;\n");
    for (int32_t m = 0; g && m <= TF_MIN(l1, l3); m++)
        for (int32_t p = m; p <= l1; p++)
            for (int32_t r = m; r <= l3; r++) {
                bool first = true;
                for (int32_t q = 0; q <= l2; q++) {
                    const double v = g[((p * n1 + m) * n2 + q) * n3 + r];
                    if (v == 0) continue;
                    if (first) tf_str_printf(c->s, "    t = %.9e * h%d;\n", v, (int)q);
                    else tf_str_printf(c->s, "    t = fma(%.9e, h%d, t);\n", v, (int)q);
                    first = false;
                    c->work += 2;
                }
                if (first) continue;
                for (int sign = m ? -1 : 1; sign <= 1; sign += 2) {
                    tf_str_printf(c->s, "    y%d = fma(t, a%d, y%d);\n", (int)tf_sh_at(r, sign * m), (int)tf_sh_at(p, sign * m), (int)tf_sh_at(r, sign * m));
                    c->work += 2;
                }
            }
}

static void write_aligned(code *c)
{
    const int32_t l1 = (int32_t)c->d->l.v[0], l2 = (int32_t)c->d->l.v[1], l3 = c->d->lout, top = TF_MAX(l1, l3);
    const double *j = tf_wigner_j(c->a, top);
    if (!j) return;
    write_direction(c, 1);
    tf_str_add(c->s, "    const float rho = sqrt(v.z * v.z + v.x * v.x);\n"
                     "    const float cf1 = rho > 1e-18 ? v.z / rho : 1.0, sf1 = rho > 1e-18 ? v.x / rho : 0.0;\n"
                     "    const float cg1 = live > 0.0 ? v.y : 1.0, sg1 = rho;\n    float p;\n");
    write_multiples(c, 'f', top);
    write_multiples(c, 'g', top);
    load_filter(c, l2);
    load(c, 'a', 0, l1, -1);
    zero(c, 'b', tf_sh_size(top));
    zero(c, 'y', tf_sh_size(l3));
    write_turn(c, 'a', 'f', true, l1);
    write_half_turn(c, 'b', 'a', l1, j);
    write_turn(c, 'b', 'g', true, l1);
    write_half_turn(c, 'a', 'b', l1, j);
    write_pole_product(c, l1, l2, l3);
    write_half_turn(c, 'b', 'y', l3, j);
    write_turn(c, 'b', 'g', false, l3);
    write_half_turn(c, 'y', 'b', l3, j);
    write_turn(c, 'y', 'f', false, l3);
    store(c, 'y', tf_sh_size(l3));
}

static void write_filter(code *c)
{
    const int32_t l1 = (int32_t)c->d->l.v[0], l2 = (int32_t)c->d->l.v[1], l3 = c->d->lout;
    write_direction(c, 1);
    load_filter(c, l2);
    write_powers(c, l2);
    zero(c, 'b', tf_sh_size(l2));
    write_harmonics(c, l2, 0, 'b');
    for (int32_t l = 0; l <= l2; l++)
        for (int32_t i = l * l; i < (l + 1) * (l + 1); i++) tf_str_printf(c->s, "    b%d *= h%d;\n", (int)i, (int)l);
    load(c, 'a', 0, l1, -1);
    zero(c, 'y', tf_sh_size(l3));
    tf_str_add(c->s, "    float p;\n");
    write_terms(c, l1, l2, l3, false);
    store(c, 'y', tf_sh_size(l3));
}

/* ---- products on a grid ------------------------------------------------------------------------------------------ */

/* Pairs of nodes and quads of angles: theta and pi - theta share the sums over even and odd l + m, phi, -phi, pi - phi and pi + phi
 * those over cosines and sines of even and odd orders. Angles are 2 pi (k + 1/2) / (4 quads), so that every angle has its quad. */
typedef struct grid {
    int32_t pairs, quads, top, lmax, terms;
    double *lam, *weight; /* [pairs, terms], [pairs] */
} grid;

static int32_t total_degree(const tf_gaunt_desc *d)
{
    int64_t total = 0;
    for (int32_t i = 0; i < d->l.n; i++) total += d->l.v[i];
    return (int32_t)total;
}

static bool make_grid(code *c, grid *g)
{
    const tf_gaunt_desc *d = c->d;
    const int32_t total = total_degree(d);
    g->top = TF_MIN(d->lout, total);
    g->lmax = g->top;
    for (int32_t i = 0; i < d->l.n; i++) g->lmax = TF_MAX(g->lmax, (int32_t)d->l.v[i]);
    g->pairs = ((total + g->top) / 2 + 2) / 2;
    g->quads = (total + g->top + 4) / 4;
    g->terms = tf_lm(g->lmax + 1, 0);
    const int32_t n = 2 * g->pairs;
    double *x = tf_arena_array(c->a, double, (size_t)n);
    g->weight = tf_arena_array(c->a, double, (size_t)n);
    g->lam = tf_arena_array(c->a, double, (size_t)g->pairs * (size_t)g->terms);
    if (!x || !g->weight || !g->lam) return false;
    tf_gauss_legendre(n, x, g->weight);
    for (int32_t j = 0; j < g->pairs; j++) {
        tf_legendre(g->lmax, x[j], sqrt(1 - x[j] * x[j]), g->lam + (int64_t)j * g->terms);
        g->weight[j] *= 2 * TF_PI / (4 * g->quads);
    }
    return true;
}

static const char factor_names[TF_GAUNT_MAX + 1] = "abcdhij"; /* letters free of other meanings in the text */

/* target = sum over the degrees with the parity of l + m of k_lm x_lm. */
static void write_legendre(code *c, const char *target, int32_t l, int32_t m, int parity, char x)
{
    bool first = true;
    for (int32_t d = abs(m); d <= l; d++) {
        if (((d + m) & 1) != parity) continue;
        const int k = (int)tf_lm(d, abs(m)), i = (int)tf_sh_at(d, m);
        if (first) tf_str_printf(c->s, "    %s = k%d * %c%d;\n", target, k, x, i);
        else tf_str_printf(c->s, "    %s = fma(k%d, %c%d, %s);\n", target, k, x, i, target);
        first = false;
        c->work += 2;
    }
    if (first) tf_str_printf(c->s, "    %s = 0.0;\n", target);
}

static const char *order_name(char *buffer, size_t size, const char *head, int32_t m)
{
    snprintf(buffer, size, "%s%s%d", head, m < 0 ? "n" : "p", (int)abs(m));
    return buffer;
}

/* Values of factor f at one quad of angles into f0 .. f3. */
static void write_quad(code *c, const char *head, int32_t l, int32_t quads, int32_t k)
{
    static const char *const sums[4] = { "ce", "co", "se", "so" };
    bool begun[4] = { false };
    for (int32_t m = -l; m <= l; m++) {
        const int at = (m < 0 ? 2 : 0) + (m & 1 ? 1 : 0);
        const double angle = 2 * TF_PI * ((2 * k + 1) * (int64_t)abs(m) % (8 * quads)) / (8 * quads), v = m < 0 ? sin(angle) : cos(angle);
        char name[32];
        order_name(name, sizeof name, head, m);
        if (!begun[at] && m == 0) tf_str_printf(c->s, "    %s = %s;\n", sums[at], name);
        else if (!begun[at]) tf_str_printf(c->s, "    %s = %.9e * %s;\n", sums[at], v, name);
        else if (m == 0) tf_str_printf(c->s, "    %s += %s;\n", sums[at], name);
        else accumulate(c, sums[at], v, name);
        begun[at] = true;
    }
    for (int i = 0; i < 4; i++)
        if (!begun[i]) tf_str_printf(c->s, "    %s = 0.0;\n", sums[i]);
    tf_str_add(c->s, "    f0 = (ce + co) + (se + so);\n    f1 = (ce + co) - (se + so);\n    f2 = (ce - co) - (se - so);\n    f3 = (ce - co) + (se - so);\n");
    c->work += 8;
}

static void write_back(code *c, const char *head, int32_t top, int32_t quads, int32_t k)
{
    tf_str_add(c->s, "    ce = (g0 + g1) + (g2 + g3);\n    co = (g0 + g1) - (g2 + g3);\n    se = (g0 - g1) + (g3 - g2);\n    so = (g0 - g1) - (g3 - g2);\n");
    c->work += 8;
    for (int32_t m = -top; m <= top; m++) {
        static const char *const sums[4] = { "ce", "co", "se", "so" };
        const double angle = 2 * TF_PI * ((2 * k + 1) * (int64_t)abs(m) % (8 * quads)) / (8 * quads), v = m < 0 ? sin(angle) : cos(angle);
        char name[32];
        accumulate(c, order_name(name, sizeof name, head, m), v, sums[(m < 0 ? 2 : 0) + (m & 1 ? 1 : 0)]);
    }
}

/* Factors evaluated by themselves: one operand without weights is raised to a power instead. */
static int32_t distinct(const tf_gaunt_desc *d) { return d->same && !(d->weights & ((1 << d->l.n) - 1)) ? 1 : d->l.n; }

/* Both nodes of a pair: a loop with the sign of what is odd, or two texts where the whole kernel is one. E and O: sums over even and odd l + m. */
static void write_pair(code *c, const grid *g)
{
    const tf_gaunt_desc *d = c->d;
    const int32_t n = distinct(d);
    char name[32], other[32], third[32], head[16];
    for (int32_t f = 0; f < n; f++)
        for (int32_t m = -(int32_t)d->l.v[f]; m <= d->l.v[f]; m++) {
            write_legendre(c, "e", (int32_t)d->l.v[f], m, 0, factor_names[f]);
            write_legendre(c, "o", (int32_t)d->l.v[f], m, 1, factor_names[f]);
            snprintf(head, sizeof head, "E%d_", (int)f);
            order_name(name, sizeof name, head, m);
            snprintf(head, sizeof head, "O%d_", (int)f);
            order_name(other, sizeof other, head, m);
            tf_str_printf(c->s, "    const float %s = e, %s = o;\n", name, other);
        }
    for (int32_t m = -g->top; m <= g->top; m++)
        tf_str_printf(c->s, "    float %s = 0.0, %s = 0.0;\n", order_name(name, sizeof name, "C", m), order_name(other, sizeof other, "D", m));
    const uint64_t before = c->work;
    for (int side = 0; side < (d->variant ? 2 : 1); side++) {
        if (d->variant) tf_str_add(c->s, "    {\n");
        else tf_str_add(c->s, "    [[dont_unroll]] for (uint side = 0u; side < 2u; side++) {\n    const float sign = 1.0 - 2.0 * float(side);\n");
        for (int32_t f = 0; f < n; f++)
            for (int32_t m = -(int32_t)d->l.v[f]; m <= d->l.v[f]; m++) {
                snprintf(head, sizeof head, "A%d_", (int)f);
                order_name(name, sizeof name, head, m);
                snprintf(head, sizeof head, "E%d_", (int)f);
                order_name(other, sizeof other, head, m);
                snprintf(head, sizeof head, "O%d_", (int)f);
                order_name(third, sizeof third, head, m);
                if (d->variant) tf_str_printf(c->s, "    const float %s = %s %c %s;\n", name, other, side ? '-' : '+', third);
                else tf_str_printf(c->s, "    const float %s = fma(sign, %s, %s);\n", name, third, other);
                c->work++;
            }
        for (int32_t m = -g->top; m <= g->top; m++) tf_str_printf(c->s, "    float %s = 0.0;\n", order_name(name, sizeof name, "B", m));
        for (int32_t k = 0; k < g->quads; k++)  {
            for (int32_t f = 0; f < d->l.n; f++) {
                snprintf(head, sizeof head, "A%d_", (int)f);
                if (f < n) write_quad(c, head, (int32_t)d->l.v[f], g->quads, k);
                for (int i = 0; i < 4; i++) tf_str_printf(c->s, f ? "    g%d *= f%d;\n" : "    g%d = f%d;\n", i, i);
                c->work += f ? 4 : 0;
            }
            write_back(c, "B", g->top, g->quads, k);
        }
        for (int32_t m = -g->top; m <= g->top; m++) {
            order_name(name, sizeof name, "C", m);
            order_name(other, sizeof other, "D", m);
            order_name(third, sizeof third, "B", m);
            if (d->variant) tf_str_printf(c->s, "    %s += %s;\n    %s %c= %s;\n", name, third, other, side ? '-' : '+', third);
            else tf_str_printf(c->s, "    %s += %s;\n    %s = fma(sign, %s, %s);\n", name, third, other, third, other);
            c->work += 2;
        }
        tf_str_add(c->s, "    }\n");
    }
    if (!d->variant) c->work = before + 2 * (c->work - before);
    for (int32_t m = -g->top; m <= g->top; m++) {
        order_name(name, sizeof name, "C", m);
        order_name(other, sizeof other, "D", m);
        tf_str_printf(c->s, "    e = w * %s;\n    o = w * %s;\n", name, other);
        c->work += 2;
        for (int32_t l = abs(m); l <= g->top; l++) {
            tf_str_printf(c->s, "    y%d = fma(k%d, %s, y%d);\n", (int)tf_sh_at(l, m), (int)tf_lm(l, abs(m)), (l + m) & 1 ? "o" : "e", (int)tf_sh_at(l, m));
            c->work += 2;
        }
    }
}

/* The constants of a pair: k0 k1 .. and w, literals or from tables in the text. */
static void write_constants(code *c, const grid *g, int32_t pair)
{
    for (int32_t i = 0; i <= g->terms && pair < 0; i++) {
        if (i % 4 == 0) tf_str_printf(c->s, "    const vec4 kv%d = s%d_at4(pair, %du);\n", (int)i, operand_count(c->d) - 1, (int)i);
        if (i < g->terms) tf_str_printf(c->s, "    const float k%d = kv%d[%d];\n", (int)i, (int)(i & ~3), (int)(i & 3));
        else tf_str_printf(c->s, "    const float w = kv%d[%d];\n", (int)(i & ~3), (int)(i & 3));
    }
    for (int32_t i = 0; i < g->terms && pair >= 0; i++) tf_str_printf(c->s, "    const float k%d = %.9e;\n", (int)i, g->lam[(int64_t)pair * g->terms + i]);
    if (pair >= 0) tf_str_printf(c->s, "    const float w = %.9e;\n", g->weight[pair]);
}

static void write_grid(code *c, const grid *g)
{
    const tf_gaunt_desc *d = c->d;
    if (d->same) load(c, 'x', 0, (int32_t)d->l.v[0], -1);
    for (int32_t f = 0; f < distinct(d); f++) {
        const int w = weight_operand(d, f);
        if (!d->same) load(c, factor_names[f], (int)f, (int32_t)d->l.v[f], w);
        for (int32_t l = 0; d->same && l <= d->l.v[f]; l++) {
            if (w >= 0) tf_str_printf(c->s, "    const float u%c%d = s%d_at(row, %du);\n", factor_names[f], (int)l, w, (int)l);
            for (int32_t i = l * l; i < (l + 1) * (l + 1); i++) {
                tf_str_printf(c->s, "    const float %c%d = x%d", factor_names[f], (int)i, (int)i);
                if (w >= 0) tf_str_printf(c->s, " * u%c%d", factor_names[f], (int)l);
                tf_str_add(c->s, ";\n");
            }
        }
    }
    zero(c, 'y', tf_sh_size(d->lout));
    tf_str_add(c->s, "    float e, o, ce, co, se, so, f0, f1, f2, f3, g0, g1, g2, g3;\n");
    const uint64_t before = c->work;
    if (d->variant) {
        for (int32_t j = 0; j < g->pairs; j++) {
            tf_str_add(c->s, "    {\n");
            write_constants(c, g, j);
            write_pair(c, g);
            tf_str_add(c->s, "    }\n");
        }
    } else {
        tf_str_printf(c->s, "    [[dont_unroll]] for (uint pair = 0u; pair < %du; pair++) {\n", (int)g->pairs);
        write_constants(c, g, -1);
        write_pair(c, g);
        tf_str_add(c->s, "    }\n");
        c->work = before + (c->work - before) * (uint64_t)g->pairs;
    }
    store(c, 'y', tf_sh_size(d->lout));
}

/* ---- the anchor ------------------------------------------------------------------------------------------------- */

static const char *write_text(code *c)
{
    const tf_gaunt_desc *d = c->d;
    grid g;
    if (d->form == TF_FORM_GRID && !make_grid(c, &g)) return NULL;
    tf_str_add(c->s, "void main()\n{\n    LEAVE_SPARE_GROUPS\n    const uint row = GROUP * WG + LID;\n    if (row >= uint(ROWS)) return;\n");
    switch (d->form) {
    case TF_FORM_SPARSE: write_sparse(c, false); break;
    case TF_FORM_CURL: write_sparse(c, true); break;
    case TF_FORM_GRID: write_grid(c, &g); break;
    case TF_FORM_CG: write_cg(c); break;
    case TF_FORM_ROTATE: write_rotate(c); break;
    case TF_FORM_ALIGNED: write_aligned(c); break;
    case TF_FORM_FILTER: write_filter(c); break;
    case TF_FORM_ANGLES: tf_str_printf(c->s, ANGLES_OF_MATRIX, 0, 0, 0, 0, 0, 0, 0); tf_str_add(c->s, angle_loops); break;
    case TF_FORM_SH:
        if (!needs_table(d)) { write_sh(c); break; }
        if (d->solid) tf_str_add(c->s, "    const vec3 v = vec3(s0_at(row, 0u), s0_at(row, 1u), s0_at(row, 2u));\n");
        else write_direction(c, 0);
        tf_str_add(c->s, sh_loops);
        c->work += 10 * (uint64_t)tf_lm(d->lout + 1, 0);
        break;
    }
    tf_str_add(c->s, "}\n");
    return c->s->failed || c->a->failed ? NULL : c->s->data;
}

tf_gaunt_cost tf_gaunt_cost_of(const tf_gaunt_desc *d)
{
    tf_arena a;
    tf_str s;
    tf_gaunt_cost cost = { 0 };
    tf_arena_init(&a, NULL);
    tf_str_init(&s, NULL);
    code c = { .s = &s, .a = &a, .d = d };
    if (write_text(&c)) {
        cost.work = c.work;
        for (const char *p = s.data; *p; p++) cost.text += *p == '\n';
    }
    tf_str_release(&s);
    tf_arena_release(&a);
    return cost;
}

static bool infer(tf_infer *c)
{
    const tf_gaunt_desc *d = c->desc;
    const int64_t n = d->form == TF_FORM_CG ? tf_cg_size((int32_t)d->l.v[0], (int32_t)d->l.v[1], d->lout) :
                      d->form == TF_FORM_ANGLES ? 6 * ((int64_t)d->lout + 1) : tf_sh_size(d->lout);
    const int expected = operand_count(d);
    if ((int)c->n_src != expected || expected > 16) return tf_bad(c, TUFF_E_ARGUMENT, "%u operands; %d are needed", (unsigned)c->n_src, expected);
    for (uint32_t i = 0; i < c->n_src; i++)
        if (c->type[i]->rank != 2 || c->type[i]->dtype != TUFF_F32) return tf_bad(c, TUFF_E_SHAPE, "%s is no f32 matrix", tf_src_text(c, i));
    int64_t rows = c->type[0]->dim[0];
    if (d->flat & 1) rows = tf_dim_bin(c->g, TUFF_DIM_FLOORDIV, c->type[0]->dim[1], tf_sh_size((int32_t)d->l.v[0]));
    c->out[0] = (tf_type){ .dtype = TUFF_F32, .rank = 2, .dim = { rows, n } };
    if (d->flat & RESULT) c->out[0] = (tf_type){ .dtype = TUFF_F32, .rank = 2, .dim = { 1, tf_dim_bin(c->g, TUFF_DIM_MUL, rows, n) } };
    return true;
}

tuff_tensor tf_gaunt_kernel(tf_lower *l, const tf_gaunt_desc *d, const tuff_tensor *xs, uint32_t n)
{
    tuff_tensor all[17];
    memcpy(all, xs, n * sizeof *xs);
    if (d->form == TF_FORM_SH && needs_table(d)) {
        all[n++] = tf_sphere_table_of(l->g, TF_TABLE_RECURRENCE, d->lout, 0, d->variant);
    } else if (needs_table(d)) {
        const int32_t total = total_degree(d), top = TF_MIN(d->lout, total);
        int32_t lmax = top;
        for (int32_t i = 0; i < d->l.n; i++) lmax = TF_MAX(lmax, (int32_t)d->l.v[i]);
        all[n++] = tf_sphere_table_of(l->g, TF_TABLE_PAIRS, lmax, total + top, (total + top + 4) / 4);
    }
    tf_gaunt_desc f = *d;
    for (uint32_t i = 0; i < n && l->limits->cpu && all[0].id; i++) {
        const tf_type *t = feature_operand(d, (int)i) ? tf_ty(all[i]) : NULL;
        if (!t || t->dim[1] % 4 == 0 || t->dim[1] < 9 || tf_dim_is_dynamic(t->dim[0]) || t->dim[0] % 4) continue;
        all[i] = tuff_reshape(all[i], TUFF_SHAPE(1, t->dim[0] * t->dim[1]));
        f.flat |= 1 << i;
    }
    const int64_t rows = all[0].id ? tf_ty(xs[0])->dim[0] : 0;
    const bool flat = l->limits->cpu && rows && !tf_dim_is_dynamic(rows) && rows % 4 == 0 && !stores_vectors(d) && d->form != TF_FORM_CG &&
                      d->form != TF_FORM_ANGLES && d->form != TF_FORM_SH && tf_sh_size(d->lout) >= FLAT_LEAST;
    if (!flat) return tf_add(l->g, &tf_op_gaunt_code, all, n, &f);
    f.flat |= RESULT;
    const tuff_tensor y = tf_add(l->g, &tf_op_gaunt_code, all, n, &f);
    return y.id ? tuff_reshape(y, TUFF_SHAPE(rows, tf_sh_size(d->lout))) : y;
}

static const char *const load_names[16] = { "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "s12", "s13", "s14", "s15" };

static const char *algorithm_name(const tf_gaunt_desc *d)
{
    switch (d->form) {
    case TF_FORM_SPARSE: return "sparse";
    case TF_FORM_CURL: return "sparse curl";
    case TF_FORM_GRID: return "separable grid";
    case TF_FORM_CG: return "code from 3j tensors";
    case TF_FORM_ROTATE: return "turns about two axes";
    case TF_FORM_ANGLES: return "recurrence";
    case TF_FORM_ALIGNED: return "aligned frame";
    case TF_FORM_FILTER: return "sparse, filter in registers";
    default: return needs_table(d) ? "recurrence, looped" : "recurrence";
    }
}

static bool configure(tf_kernel_build *k)
{
    const tf_gaunt_desc *d = k->desc;
    tf_arena scratch;
    tf_str s;
    tf_arena_init(&scratch, &k->g->arena.allocator);
    tf_str_init(&s, &k->g->arena.allocator);
    code c = { .s = &s, .a = &scratch, .d = d, .octets = tf_emit_octets(k->limits) };
    for (uint32_t i = 0; i < k->n_src; i++)
        c.octets = c.octets && !(d->flat >> i & 1 && (k->src[i]->dim[1] % 8 || tf_sh_size((int32_t)d->l.v[i]) < OCTETS_LEAST));
    const char *text = write_text(&c);
    if (text) k->source = tf_arena_string(&k->g->arena, text);
    tf_str_release(&s);
    tf_arena_release(&scratch);
    if (!text || !k->source) {
        tf_fail(k->g, TUFF_E_MEMORY, "%s: out of host memory", k->node->op->name);
        return false;
    }
    const int64_t all = d->flat & RESULT ? k->out[0].dim[1] / tf_sh_size(d->lout) : k->out[0].dim[0], rows = tf_dim_bound(k->g, all);
    const uint32_t wg = TF_MIN(tf_row_group(k->limits, rows), 128);
    tf_define_dim(k, "ROWS", all);
    tf_define(k, "LMAX", "%du", (int)d->lout);
    k->algorithm = d->why ? tf_arena_printf(&k->g->arena, "%s; %s", algorithm_name(d), d->why) : algorithm_name(d);
    k->local[0] = wg;
    k->local[1] = k->local[2] = 1;
    k->groups = tf_dim_ceildiv(k->g, all, wg);
    k->flops = c.work * (uint64_t)TF_MAX(rows, 0);
    for (uint32_t i = 0; i < k->n_src; i++)
        k->loads[i] = d->form == TF_FORM_GRID && i + 1 == k->n_src && needs_table(d) ? (tf_hook){ .name = load_names[i], .widths = 4, .reread = 255, .uniform = true }
                    : (tf_hook){ .name = load_names[i], .widths = d->flat >> i & 1 && c.octets ? 8 : d->flat >> i & 1 || (feature_operand(d, (int)i) && k->src[i]->dim[1] % 4 == 0) ? 4 : 1 };
    k->stores[0] = (tf_hook){ .name = "y", .widths = d->flat & RESULT ? 5 : stores_vectors(d) ? 4 : 1 };
    return true;
}

/* ---- reference ---------------------------------------------------------------------------------------------------- */

static uint64_t rows_of(const tf_ref *r)
{
    const tf_gaunt_desc *d = r->desc;
    return d->flat & RESULT ? r->out[0].n / (uint64_t)tf_sh_size(d->lout) : (uint64_t)r->out[0].dim[0];
}

/* Operand i of the rows, times its weights. */
static const double *weighted(tf_ref *r, const tf_gaunt_desc *d, int32_t operand, int32_t factor, int32_t l)
{
    const double *x = r->src[operand]->re;
    const int w = weight_operand(d, factor);
    if (w < 0) return x;
    const uint64_t size = (uint64_t)tf_sh_size(l), rows = rows_of(r);
    double *y = tf_arena_array(r->scratch, double, (size_t)(rows * size));
    for (uint64_t row = 0; y && row < rows; row++)
        for (int32_t i = 0, k = 0; k <= l; k++)
            for (; i < (k + 1) * (k + 1); i++) y[row * size + (uint64_t)i] = x[row * size + (uint64_t)i] * r->src[w]->re[row * (uint64_t)(l + 1) + (uint64_t)k];
    return y;
}

static tuff_status filter_reference(tf_ref *r, const tf_gaunt_desc *d, const int32_t *l)
{
    const uint64_t rows = rows_of(r), n = (uint64_t)tf_sh_size(l[1]);
    double *f = tf_arena_array(r->scratch, double, (size_t)(rows * n));
    if (!f) return TUFF_E_MEMORY;
    for (uint64_t row = 0; row < rows; row++) {
        const double *v = r->src[1]->re + 3 * row;
        tf_sh_eval_unit(l[1], v[0], v[1], v[2], f + row * n);
        for (int32_t k = 0, i = 0; k <= l[1]; k++)
            for (; i < (k + 1) * (k + 1); i++) f[row * n + (uint64_t)i] *= r->src[2]->re[row * (uint64_t)(l[1] + 1) + (uint64_t)k];
    }
    return tf_ref_product(r->scratch, 2, l, d->lout, rows, (const double *[]){ r->src[0]->re, f }, r->out[0].re);
}

static void angles_reference(const double *matrices, uint64_t rows, int32_t n, double *y)
{
    for (uint64_t row = 0; row < rows; row++) {
        double m[9];
        tf_proper_rotation(matrices + 9 * row, m);
        const double f = atan2(m[1], m[7]), g = atan2(hypot(m[1], m[7]), m[4]);
        const double h = atan2(cos(f) * m[2] - sin(f) * m[8], cos(f) * m[0] - sin(f) * m[6]), angles[3] = { f, g, h };
        for (int32_t i = 0; i < 6 * n; i++) y[row * 6 * (uint64_t)n + (uint64_t)i] = (i / n & 1 ? sin : cos)(angles[i / n / 2] * (i % n));
    }
}

static tuff_status reference(tf_ref *r)
{
    const tf_gaunt_desc *d = r->desc;
    const uint64_t rows = rows_of(r);
    double *y = r->out[0].re;
    int32_t l[TF_GAUNT_MAX] = { 0 };
    const double *x[TF_GAUNT_MAX] = { NULL };
    tuff_status status = TUFF_OK;
    for (int32_t i = 0; i < d->l.n; i++) l[i] = (int32_t)d->l.v[i];
    switch (d->form) {
    case TF_FORM_ROTATE: return tf_ref_rotate(r->scratch, l[0], rows, r->src[0]->re, r->src[1]->re, y);
    case TF_FORM_ALIGNED: case TF_FORM_FILTER: return filter_reference(r, d, l);
    case TF_FORM_ANGLES: angles_reference(r->src[0]->re, rows, d->lout + 1, y); return TUFF_OK;
    case TF_FORM_SH:
        for (uint64_t row = 0; row < rows; row++) tf_ref_sh(d->lout, d->variant, d->solid, r->src[0]->re + 3 * row, y + row * (uint64_t)tf_sh_size(d->lout));
        return TUFF_OK;
    default: break;
    }
    for (int32_t i = 0; i < d->l.n; i++)
        if (!(x[i] = weighted(r, d, d->same ? 0 : i, i, l[i]))) return TUFF_E_MEMORY;
    if (d->form == TF_FORM_CG) return tf_ref_cg(r->scratch, l[0], l[1], d->lout, d->variant, rows, x[0], x[1], y);
    status = d->form == TF_FORM_CURL ? tf_ref_curl(r->scratch, l[0], l[1], d->lout, rows, x[0], x[1], y)
                                     : tf_ref_product(r->scratch, d->l.n, l, d->lout, rows, x, y);
    const int w = weight_operand(d, d->l.n);
    for (uint64_t i = 0; w >= 0 && i < r->out[0].n; i++) {
        const int32_t size = tf_sh_size(d->lout), k = (int32_t)sqrt((double)(i % (uint64_t)size) + 0.5);
        y[i] *= r->src[w]->re[i / (uint64_t)size * (uint64_t)(d->lout + 1) + (uint64_t)k];
    }
    return status;
}

static const char *const forms[] = { "sparse", "curl", "grid", "cg", "rotate", "aligned", "filter", "sh", "angles", NULL };
static const tf_attr attrs[] = {
    TF_A(tf_gaunt_desc, form, TF_ATTR_ENUM, "what the kernel computes", .choices = forms),
    TF_A(tf_gaunt_desc, l, TF_ATTR_INTS, "degrees of the factors"),
    TF_A(tf_gaunt_desc, lout, TF_ATTR_INT, "degree of the result", .min = 0, .max = TF_SH_MAX),
    TF_A(tf_gaunt_desc, weights, TF_ATTR_INT, "bits of the factors, and of the result, that have weights"),
    TF_A(tf_gaunt_desc, variant, TF_ATTR_INT, "normalisation; grid: 1 is unrolled"),
    TF_A(tf_gaunt_desc, same, TF_ATTR_BOOL, "operand 0 is every factor"),
    TF_A(tf_gaunt_desc, solid, TF_ATTR_BOOL, "harmonics are not those of the direction"),
    TF_A(tf_gaunt_desc, flat, TF_ATTR_INT, "bits of the operands that come as one row"),
    TF_A(tf_gaunt_desc, why, TF_ATTR_STRING, "what explain adds to the algorithm's name"),
};
static const tf_anchor gaunt_anchor = { .name = "gaunt", .loads = { { .name = "s0", .widths = 13 } }, .stores = { { .name = "y", .widths = 5 } }, .configure = configure };
const tf_op tf_op_gaunt_code = {
    .name = "_gaunt", .doc = "xs[rows, ..] -> y[rows, ..] by generated code", .operands = "xs...", .kind = TF_ANCHOR, .internal = true, .attrs = attrs,
    .attr_count = TF_COUNT(attrs), .desc_size = sizeof(tf_gaunt_desc), .infer = infer, .reference = reference, .anchor = &gaunt_anchor, .rel = 32,
};
