/* fft_code.c - prints butterflies: the forward transform of r <= 64 points as straight-line GLSL.
 *
 * Composite r split into factors as the transform itself does, with the roots between them as literals; primes use the
 * symmetry of their roots: (p - 1) / 2 sums and differences, each weighted by cosines and sines. */
#include "fft.h"

#include <math.h>
#include <stdio.h>

enum { MOST = 64 };

typedef struct printer { tf_str *out; uint32_t next; } printer;

static const double TAU = 6.283185307179586476925286766559;

static uint32_t say(printer *p, const char *format, ...) TF_PRINTF(2, 3);
static uint32_t say(printer *p, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    tf_str_printf(p->out, "    const vec2 t%u = ", ++p->next);
    tf_str_vprintf(p->out, format, args);
    tf_str_add(p->out, ";\n");
    va_end(args);
    return p->next;
}

static uint32_t add(printer *p, uint32_t a, uint32_t b) { return say(p, "t%u + t%u", a, b); }
static uint32_t sub(printer *p, uint32_t a, uint32_t b) { return say(p, "t%u - t%u", a, b); }

/* a * e^(-2 pi i k / n) */
static uint32_t rotate(printer *p, uint32_t a, uint32_t k, uint32_t n)
{
    k %= n;
    if (k == 0) return a;
    if (8 * k % n == 0) {
        const double h = sqrt(0.5);
        switch (8 * k / n) {
        case 1: return say(p, "%.9g * vec2(t%u.x + t%u.y, t%u.y - t%u.x)", h, a, a, a, a);
        case 2: return say(p, "vec2(t%u.y, -t%u.x)", a, a);
        case 3: return say(p, "%.9g * vec2(t%u.y - t%u.x, -t%u.x - t%u.y)", h, a, a, a, a);
        case 4: return say(p, "-t%u", a);
        case 5: return say(p, "%.9g * vec2(-t%u.x - t%u.y, t%u.x - t%u.y)", h, a, a, a, a);
        case 6: return say(p, "vec2(-t%u.y, t%u.x)", a, a);
        default: return say(p, "%.9g * vec2(t%u.x - t%u.y, t%u.x + t%u.y)", h, a, a, a, a);
        }
    }
    const double c = cos(TAU * k / n), s = sin(TAU * k / n);
    return say(p, "fma(t%u.yx, vec2(%.9g, %.9g), %.9g * t%u)", a, s, -s, c, a);
}

static void prime(printer *p, uint32_t *v, uint32_t n)
{
    const uint32_t h = (n - 1) / 2, first = v[0];
    uint32_t sum[MOST], difference[MOST], total = first;
    for (uint32_t j = 1; j <= h; j++) {
        sum[j] = add(p, v[j], v[n - j]);
        difference[j] = sub(p, v[j], v[n - j]);
        total = add(p, total, sum[j]);
    }
    for (uint32_t k = 1; k <= h; k++) {
        tf_str_printf(p->out, "    const vec2 t%u = t%u", ++p->next, first);
        for (uint32_t j = 1; j <= h; j++) tf_str_printf(p->out, " + %.9g * t%u", cos(TAU * (j * k % n) / n), sum[j]);
        tf_str_printf(p->out, ";\n    const vec2 t%u = ", ++p->next);
        for (uint32_t j = 1; j <= h; j++) tf_str_printf(p->out, "%s%.9g * t%u", j > 1 ? " + " : "", sin(TAU * (j * k % n) / n), difference[j]);
        tf_str_add(p->out, ";\n");
        const uint32_t re = p->next - 1, im = p->next;
        v[k] = say(p, "vec2(t%u.x + t%u.y, t%u.y - t%u.x)", re, im, re, im);
        v[n - k] = say(p, "vec2(t%u.x - t%u.y, t%u.y + t%u.x)", re, im, re, im);
    }
    v[0] = total;
}

/* v[j] -> v[k], all of them variables */
static void transform(printer *p, uint32_t *v, uint32_t n)
{
    static const uint32_t factors[] = { 4, 2, 3, 5, 7, 11, 13 };
    if (n == 1) return;
    if (n == 4) {
        const uint32_t a = add(p, v[0], v[2]), b = sub(p, v[0], v[2]), c = add(p, v[1], v[3]), d = rotate(p, sub(p, v[1], v[3]), 1, 4);
        v[0] = add(p, a, c);
        v[1] = add(p, b, d);
        v[2] = sub(p, a, c);
        v[3] = sub(p, b, d);
        return;
    }
    uint32_t r = 0;
    for (uint32_t i = 0; i < TF_COUNT(factors) && !r; i++)
        if (n % factors[i] == 0 && n > factors[i]) r = factors[i];
    if (!r) {
        if (n == 2) {
            const uint32_t a = v[0], b = v[1];
            v[0] = add(p, a, b);
            v[1] = sub(p, a, b);
        } else prime(p, v, n);
        return;
    }
    const uint32_t m = n / r;
    uint32_t part[MOST], row[MOST];
    for (uint32_t j = 0; j < m; j++) { /* columns j, j + m, ... */
        for (uint32_t q = 0; q < r; q++) row[q] = v[q * m + j];
        transform(p, row, r);
        for (uint32_t q = 0; q < r; q++) part[q * m + j] = rotate(p, row[q], q * j, n);
    }
    for (uint32_t q = 0; q < r; q++) {
        transform(p, &part[q * m], m);
        for (uint32_t k = 0; k < m; k++) v[q + r * k] = part[q * m + k];
    }
}

static void begin(printer *p, uint32_t r, const char *const *names)
{
    tf_str_add(p->out, "    {\n");
    for (uint32_t j = 0; j < r; j++) (void)say(p, "%s", names[j]);
}

void tf_fft_print_named(tf_str *out, uint32_t r, const char *const *names)
{
    printer p = { out, 0 };
    uint32_t v[MOST];
    begin(&p, r, names);
    for (uint32_t j = 0; j < r; j++) v[j] = j + 1;
    transform(&p, v, r);
    for (uint32_t j = 0; j < r; j++) tf_str_printf(out, "    %s = t%u;\n", names[j], v[j]);
    tf_str_add(out, "    }\n");
}

void tf_fft_print_half(tf_str *out, const char *const *names)
{
    printer p = { out, 0 };
    uint32_t even[4] = { 1, 3, 5, 7 }, odd[4] = { 2, 4, 6, 8 };
    begin(&p, 8, names);
    transform(&p, even, 4);
    transform(&p, odd, 4);
    for (uint32_t k = 0; k < 4; k++) {
        const uint32_t turned = rotate(&p, odd[k], k, 8);
        tf_str_printf(out, "    %s = fma(vec2(side), t%u, t%u);\n", names[2 * k], turned, even[k]);
    }
    tf_str_add(out, "    }\n");
}

void tf_fft_print_points(tf_str *out, uint32_t r, const char *before, const char *after)
{
    char names[MOST][16];
    const char *list[MOST];
    for (uint32_t j = 0; j < r; j++) {
        snprintf(names[j], sizeof names[j], "%s%u%s", before, j, after);
        list[j] = names[j];
    }
    tf_fft_print_named(out, r, list);
}

void tf_fft_print_dft(tf_str *out, uint32_t r)
{
    tf_str_printf(out, "void dft%u(inout vec2 v[%u])\n{\n", r, r);
    tf_fft_print_points(out, r, "v[", "]");
    tf_str_add(out, "}\n");
}

/* ---- sizes --------------------------------------------------------------------------------------- */

bool tf_fft_smooth(int64_t n)
{
    static const int64_t primes[] = { 2, 3, 5, 7, 11, 13 };
    for (size_t i = 0; n > 0 && i < TF_COUNT(primes); i++)
        while (n % primes[i] == 0) n /= primes[i];
    return n == 1;
}

int64_t tf_fft_good_size(int64_t n)
{
    double least = 0;
    int64_t best = 0;
    n = TF_MAX(n, 1);
    for (int64_t m = n; !best || m <= n + n / 8; m++) {
        if (!tf_fft_smooth(m)) continue;
        int64_t odd = m;
        while (odd % 2 == 0) odd /= 2;
        const double cost = (double)m * (1 + 0.05 * log2((double)odd));
        if (best && cost >= least) continue;
        least = cost;
        best = m;
    }
    return best;
}

int64_t tf_fft_line_size(const tf_limits *limits, int64_t n)
{
    int64_t power = 1;
    while (power < n) power *= 2;
    return tf_fft_row_in_registers(limits, power) ? power : tf_fft_good_size(n);
}

/* Depth first over radices from large to small: the first hit with the fewest passes, then the smallest largest radix. */
static bool search(int64_t n, uint32_t most, uint32_t *radix, uint32_t left)
{
    if (left == 1) {
        radix[0] = (uint32_t)n;
        return n <= most;
    }
    for (uint32_t r = (uint32_t)TF_MIN(n, (int64_t)most); r >= 2; r--) {
        if (n % r || !tf_fft_smooth(r)) continue;
        double rest = 1;
        for (uint32_t i = 1; i < left; i++) rest *= r;
        if (rest * r < (double)n) return false; /* smaller radices only */
        radix[0] = r;
        if (search(n / r, r, radix + 1, left - 1)) return true;
    }
    return false;
}

bool tf_fft_factor(int64_t n, uint32_t most, uint32_t *radix, uint32_t *passes)
{
    if (n == 1) {
        radix[0] = 1;
        *passes = 1;
        return true;
    }
    if (!tf_fft_smooth(n)) return false;
    for (*passes = 1; *passes <= 8; ++*passes) {
        uint32_t best[8], found = 0;
        for (uint32_t limit = most; limit >= 2; limit--) { /* as balanced as possible */
            uint32_t now[8];
            if (!search(n, limit, now, *passes)) break;
            limit = now[0];
            for (uint32_t i = 0; i < *passes; i++) best[i] = now[i];
            found = 1;
        }
        if (!found) continue;
        for (uint32_t i = 0; i < *passes; i++) radix[i] = best[i];
        return true;
    }
    return false;
}
