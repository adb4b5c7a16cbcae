/* library.c - picks from shaders/lib the functions a kernel calls.
 *
 * A library text is a list of paragraphs separated by blank lines. A paragraph defines the names that follow a type
 * at the start of a line ("float tf_exp(float x)", "const float TF_PI") and uses every other tf_/TF_ name in it. Names
 * are defined before they are used, and rng.glsl stands on math.glsl, so one walk from the end to the start of the
 * texts finds everything needed: kernels stay small and equal kernels get equal texts. */
#include "graph/kernel.h"

#include <string.h>

static const char *const texts[] = { "lib/math.glsl", "lib/convert.glsl", "lib/complex.glsl", "lib/rng.glsl" };

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* The next tf_ or TF_ name in [p, end): its start, and its length in *n; NULL if there is none. */
static const char *next_name(const char *p, const char *end, size_t *n)
{
    for (bool inside = false; end - p > 3; p++) {
        if (!inside && (p[0] == 't' || p[0] == 'T') && (p[1] == 'f' || p[1] == 'F') && p[2] == '_') {
            size_t k = 3;
            while (p + k < end && is_word(p[k])) k++;
            *n = k;
            return p;
        }
        inside = is_word(*p);
    }
    return NULL;
}

/* Open-addressed set of names that point into the texts and the body. */
typedef struct name_set {
    struct { const char *s; size_t n; } slot[512];
    uint32_t used;
} name_set;

static uint32_t find_slot(const name_set *set, const char *s, size_t n)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < n; i++) h = (h ^ (unsigned char)s[i]) * 16777619u;
    h %= TF_COUNT(set->slot);
    while (set->slot[h].s && !(set->slot[h].n == n && !memcmp(set->slot[h].s, s, n))) h = (h + 1) % TF_COUNT(set->slot);
    return h;
}

/* Names beyond half of the table are dropped; the library has far fewer, and a body's other names are not looked up. */
static void add_names(name_set *set, const char *p, const char *end)
{
    size_t n;
    for (; (p = next_name(p, end, &n)); p += n) {
        const uint32_t h = find_slot(set, p, n);
        if (set->slot[h].s || set->used * 2 >= TF_COUNT(set->slot)) continue;
        set->slot[h].s = p;
        set->slot[h].n = n;
        set->used++;
    }
}

/* Does the paragraph define a name of the set? */
static bool is_wanted(const name_set *set, const char *p, const char *end)
{
    while (p < end) {
        const char *line_end = memchr(p, '\n', (size_t)(end - p));
        if (!line_end) line_end = end;
        if (*p >= 'a' && *p <= 'z') {
            size_t n;
            const char *name = next_name(p, line_end, &n);
            if (name && set->slot[find_slot(set, name, n)].s) return true;
        }
        p = line_end + 1;
    }
    return false;
}

typedef struct span { const char *begin, *end; } span;

static uint32_t paragraphs(const char *text, span *out, uint32_t max)
{
    uint32_t n = 0;
    while (*text && n < max) {
        while (*text == '\n') text++;
        if (!*text) break;
        const char *end = strstr(text, "\n\n");
        end = end ? end + 1 : text + strlen(text);
        out[n++] = (span){ text, end };
        text = end;
    }
    return n;
}

void tf_shader_library(const char *body, tf_str *out)
{
    span list[400];
    bool wanted[400];
    uint32_t n = 0;
    for (size_t i = 0; i < TF_COUNT(texts); i++) {
        const char *text = tf_shader_text(texts[i]);
        if (text) n += paragraphs(text, list + n, (uint32_t)TF_COUNT(list) - n);
    }
    name_set set = { 0 };
    add_names(&set, body, body + strlen(body));
    for (uint32_t i = n; i-- > 0;) {
        wanted[i] = is_wanted(&set, list[i].begin, list[i].end);
        if (wanted[i]) add_names(&set, list[i].begin, list[i].end);
    }
    for (uint32_t i = 0; i < n; i++)
        if (wanted[i]) tf_str_add_n(out, list[i].begin, (size_t)(list[i].end - list[i].begin));
}
