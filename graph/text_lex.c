/* text_lex.c - tokens of the text form, and writing what reads back.
 *
 * The C library reads and prints decimal points by the process's locale, so numbers cross it as digits and an
 * exponent only. */
#include "text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

static int hex_digit(char c)
{
    if (is_digit(c))
        return c - '0';
    const char lower = (char)(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

void tf_lexer_init(tf_lexer *lx, const char *text, size_t size)
{
    *lx = (tf_lexer){ .p = text, .end = text + size, .line = 1, .column = 1 };
}

static void advance(tf_lexer *lx, size_t n)
{
    for (; n; n--, lx->p++) {
        if (*lx->p == '\n') {
            lx->line++;
            lx->column = 1;
        } else if (((unsigned char)*lx->p & 0xC0) != 0x80) { /* not inside a UTF-8 character */
            lx->column++;
        }
    }
}

static void skip_space(tf_lexer *lx)
{
    while (lx->p < lx->end) {
        const char c = *lx->p;
        if (c == ' ' || c == '\t' || c == '\r' || c == '\n') {
            advance(lx, 1);
        } else if (c == '#') {
            const char *nl = memchr(lx->p, '\n', (size_t)(lx->end - lx->p));
            advance(lx, (size_t)((nl ? nl : lx->end) - lx->p));
        } else {
            return;
        }
    }
}

/* ---- numbers ---- */

typedef struct scan { const char *p, *end; } scan;

/* [+-]digits after e or p; saturates far outside any double. */
static bool scan_exponent(scan *s, int *out)
{
    int e = 0;
    bool negative = false;
    if (s->p < s->end && (*s->p == '+' || *s->p == '-'))
        negative = *s->p++ == '-';
    if (s->p >= s->end || !is_digit(*s->p))
        return false;
    for (; s->p < s->end && is_digit(*s->p); s->p++)
        e = TF_MIN(e * 10 + (*s->p - '0'), 100000);
    *out = negative ? -e : e;
    return true;
}

static bool scan_hex(scan *s, tf_tok *t)
{
    uint64_t mantissa = 0;
    int exponent = 0;
    bool any = false, point = false, wide = false;
    for (s->p += 2; s->p < s->end; s->p++) {
        if (*s->p == '.' && !point && !(s->p + 1 < s->end && s->p[1] == '.')) {
            point = true;
            continue;
        }
        const int d = hex_digit(*s->p);
        if (d < 0)
            break;
        any = true;
        if (mantissa >> 60) { /* full: keep the magnitude, and a sticky bit for rounding */
            mantissa |= d != 0;
            wide = true;
            exponent = TF_MIN(exponent + (point ? 0 : 4), 100000);
        } else {
            mantissa = mantissa << 4 | (unsigned)d;
            exponent = TF_MAX(exponent - (point ? 4 : 0), -100000);
        }
    }
    int p = 0;
    const bool power = s->p < s->end && (*s->p == 'p' || *s->p == 'P');
    if (power) {
        s->p++;
        if (!scan_exponent(s, &p))
            return false;
    }
    t->number = ldexp((double)mantissa, exponent + p);
    t->is_integer = !point && !power && !wide;
    t->integer = mantissa;
    return any;
}

static bool scan_decimal(scan *s, tf_tok *t)
{
    char digits[160]; /* enough to round correctly but for freak ties */
    size_t n = 0;
    int exponent = 0, e = 0;
    bool point = false, power = false, fits = true, any = false;
    uint64_t value = 0;
    for (; s->p < s->end; s->p++) {
        if (*s->p == '.' && !point && !(s->p + 1 < s->end && s->p[1] == '.')) {
            point = true;
            continue;
        }
        if (!is_digit(*s->p))
            break;
        any = true;
        const unsigned d = (unsigned)(*s->p - '0');
        fits = fits && tf_mul_u64(&value, value, 10) && tf_add_u64(&value, value, d);
        if (n < 128 && (n || d)) {
            digits[n++] = *s->p;
            exponent -= point;
        } else if (n) {
            exponent += !point;
        } else {
            exponent -= point;
        }
        exponent = TF_MAX(TF_MIN(exponent, 100000), -100000);
    }
    if (any && s->p < s->end && (*s->p == 'e' || *s->p == 'E')) {
        power = true;
        s->p++;
        if (!scan_exponent(s, &e))
            return false;
    }
    if (n == 0)
        digits[n++] = '0';
    snprintf(digits + n, sizeof digits - n, "e%d", exponent + e);
    t->number = strtod(digits, NULL);
    t->is_integer = !point && !power && fits;
    t->integer = value;
    return any;
}

static void lex_number(tf_lexer *lx, tf_tok *t)
{
    scan s = { lx->p, lx->end };
    const bool hex = lx->end - lx->p > 2 && lx->p[0] == '0' && (lx->p[1] == 'x' || lx->p[1] == 'X');
    const bool good = hex ? scan_hex(&s, t) : scan_decimal(&s, t);
    const bool glued = s.p < s.end && (is_letter(*s.p) || is_digit(*s.p));
    while (s.p < s.end && (is_letter(*s.p) || is_digit(*s.p)))
        s.p++;
    t->kind = good && !glued ? TF_TOK_NUMBER : TF_TOK_BAD;
    t->bad = "this is no number";
    t->n = (size_t)(s.p - lx->p);
}

/* ---- strings ---- */

static size_t string_length(const char *p, const char *end, const char **bad)
{
    if (end - p >= 3 && !memcmp(p, "\"\"\"", 3)) {
        for (const char *q = p + 3; end - q >= 3; q++)
            if (!memcmp(q, "\"\"\"", 3))
                return (size_t)(q + 3 - p);
        *bad = "the string has no closing \"\"\"";
        return (size_t)(end - p);
    }
    const char *q = p + 1;
    for (; q < end && *q != '\n'; q++) {
        if (*q == '"')
            return (size_t)(q + 1 - p);
        if (*q == '\\' && q + 1 < end && q[1] != '\n')
            q++;
    }
    *bad = "the string has no closing quote on its line; use \"\"\" for several lines";
    return (size_t)(q - p);
}

char *tf_tok_string(tf_arena *arena, const tf_tok *t, const char **bad)
{
    const char *p = t->p, *end = t->p + t->n;
    *bad = NULL;
    if (t->kind == TF_TOK_FILE)
        p++;
    if (p == end || *p != '"')
        return tf_arena_string_n(arena, p, (size_t)(end - p));
    if (end - p >= 6 && !memcmp(p, "\"\"\"", 3))
        return tf_arena_string_n(arena, p + 3, (size_t)(end - p) - 6);
    char *out = tf_arena_alloc(arena, t->n), *w = out;
    if (!out)
        return NULL;
    for (p++, end--; p < end; p++) {
        if (*p != '\\') {
            *w++ = *p;
            continue;
        }
        static const char from[] = "nt\"\\{", to[] = "\n\t\"\\{";
        p++;
        const char *known = p < end && *p ? strchr(from, *p) : NULL;
        if (p + 2 < end && *p == 'x' && hex_digit(p[1]) >= 0 && hex_digit(p[2]) >= 0 && (hex_digit(p[1]) || hex_digit(p[2]))) {
            *w++ = (char)(hex_digit(p[1]) * 16 + hex_digit(p[2]));
            p += 2;
        } else if (known) {
            *w++ = to[known - from];
        } else {
            *bad = "an escape is none of \\n \\t \\\" \\\\ \\{ \\xHH";
            return NULL;
        }
    }
    *w = 0;
    return out;
}

/* ---- tokens ---- */

static size_t name_length(const char *p, const char *end)
{
    const char *q = p;
    while (q < end && (is_letter(*q) || is_digit(*q) || (*q == '.' && q + 1 < end && (is_letter(q[1]) || is_digit(q[1])))))
        q++;
    return (size_t)(q - p);
}

tf_tok tf_lex(tf_lexer *lx)
{
    skip_space(lx);
    tf_tok t = { .kind = TF_TOK_END, .p = lx->p, .line = lx->line, .column = lx->column };
    if (lx->p >= lx->end)
        return t;
    const char c = *lx->p, next = lx->p + 1 < lx->end ? lx->p[1] : 0;
    if (is_letter(c)) {
        t.kind = TF_TOK_NAME;
        t.n = name_length(lx->p, lx->end);
    } else if (is_digit(c) || (c == '.' && is_digit(next))) {
        lex_number(lx, &t);
    } else if (c == '"') {
        t.n = string_length(lx->p, lx->end, &t.bad);
        t.kind = t.bad ? TF_TOK_BAD : TF_TOK_STRING;
    } else if (c == '@' && next == '"') {
        t.n = 1 + string_length(lx->p + 1, lx->end, &t.bad);
        t.kind = t.bad ? TF_TOK_BAD : TF_TOK_FILE;
    } else if (c == '@') {
        t.kind = TF_TOK_FILE;
        while (lx->p + t.n < lx->end && (unsigned char)lx->p[t.n] > ' ' && !strchr(",)}]#", lx->p[t.n]))
            t.n++;
    } else {
        static const char pairs[][3] = { "..", "<=", ">=", "==", "!=", "->", "&&", "||" };
        t.kind = strchr("=()[]{},+-*/%<>?:;!", c) && c ? TF_TOK_PUNCT : TF_TOK_BAD;
        t.bad = "this character has no place here";
        t.n = 1;
        for (size_t i = 0; i < TF_COUNT(pairs); i++)
            if (c == pairs[i][0] && next == pairs[i][1]) {
                t.kind = TF_TOK_PUNCT;
                t.n = 2;
            }
    }
    if (t.kind != TF_TOK_BAD && t.n && memchr(t.p, 0, t.n)) {
        t.kind = TF_TOK_BAD;
        t.bad = "the text holds a zero byte";
    }
    advance(lx, t.n);
    return t;
}

bool tf_tok_is(const tf_tok *t, const char *text)
{
    return (t->kind == TF_TOK_NAME || t->kind == TF_TOK_PUNCT) && strlen(text) == t->n && !memcmp(text, t->p, t->n);
}

/* ---- writing ---- */

bool tf_name_is_bare(const char *name)
{
    static const char *const words[] = { "input", "const", "state", "scalar", "param", "dim", "def", "repeat", "in", "loop", "while", "yield",
                                         "output", "true", "false", "inf", "nan", "end", "max", "min", "_" };
    for (size_t i = 0; i < TF_COUNT(words); i++)
        if (!strcmp(name, words[i]))
            return false;
    const size_t n = strlen(name);
    return n && is_letter(name[0]) && name_length(name, name + n) == n;
}

static void write_escaped(tf_str *s, const char *text, bool braces)
{
    tf_str_add(s, "\"");
    for (; *text; text++) {
        if (*text == '\n')
            tf_str_add(s, "\\n");
        else if (*text == '\t')
            tf_str_add(s, "\\t");
        else if ((unsigned char)*text < 0x20)
            tf_str_printf(s, "\\x%02x", (unsigned)(unsigned char)*text);
        else if (*text == '"' || *text == '\\' || (*text == '{' && braces))
            tf_str_printf(s, "\\%c", *text);
        else
            tf_str_add_n(s, text, 1);
    }
    tf_str_add(s, "\"");
}

void tf_write_name(tf_str *s, const char *name)
{
    if (tf_name_is_bare(name))
        tf_str_add(s, name);
    else
        write_escaped(s, name, true); /* a bare { would be an expression */
}

void tf_write_string(tf_str *s, const char *text)
{
    const size_t n = strlen(text);
    bool raw = strchr(text, '\n') && !strstr(text, "\"\"\"") && text[n - 1] != '"' && text[0] != '"';
    for (const char *p = text; *p && raw; p++)
        raw = (unsigned char)*p >= 0x20 || *p == '\n' || *p == '\t';
    if (raw) {
        tf_str_add(s, "\"\"\"");
        tf_str_add(s, text);
        tf_str_add(s, "\"\"\"");
    } else {
        write_escaped(s, text, false);
    }
}

/* Digits without point and the decimal exponent of the first: 1.5e3 is "15", 3. */
static void shortest_digits(double v, bool single, char digits[24], int *exponent)
{
    for (int precision = 0; precision <= 16; precision++) {
        char text[48];
        snprintf(text, sizeof text, "%.*e", precision, v);
        const double back = strtod(text, NULL);
        if (precision < 16 && (single ? (float)back != (float)v : back != v))
            continue;
        size_t n = 0;
        const char *p = text;
        for (; *p && *p != 'e'; p++)
            if (is_digit(*p))
                digits[n++] = *p;
        while (n > 1 && digits[n - 1] == '0')
            n--;
        digits[n] = 0;
        *exponent = (int)strtol(p + 1, NULL, 10);
        return;
    }
}

void tf_write_number(tf_str *s, tuff_dtype t, double v)
{
    if (isnan(v) || isinf(v)) {
        tf_str_add(s, isnan(v) ? "nan" : v < 0 ? "-inf" : "inf");
        return;
    }
    if (signbit(v))
        tf_str_add(s, "-");
    char d[24];
    int e = 0;
    const bool single = t != TUFF_F64 && (double)(float)v == v;
    shortest_digits(fabs(v), single, d, &e);
    const int n = (int)strlen(d);
    if (e >= 0 && e < 16) {
        for (int i = 0; i <= e; i++)
            tf_str_add_n(s, i < n ? &d[i] : "0", 1);
        if (n > e + 1)
            tf_str_printf(s, ".%s", d + e + 1);
    } else if (e < 0 && e >= -5) {
        tf_str_add(s, "0.");
        for (int i = -1; i > e; i--)
            tf_str_add(s, "0");
        tf_str_add(s, d);
    } else {
        tf_str_printf(s, n > 1 ? "%c.%se%d" : "%c%se%d", d[0], d + 1, e);
    }
}
