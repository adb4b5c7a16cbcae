/* base.c - arena, growing arrays, string builder, hashing, checked sizes, nearest name.
 *
 * Memory goes through a tuff_allocator and nothing here aborts: a failure leaves a flag on the arena or the
 * string, later calls do nothing, and the owner looks at the flag once at the end. */
#include "base.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint32_t tuff_version(void)
{
    return TUFF_VERSION_MAJOR * 1000000u + TUFF_VERSION_MINOR * 1000u + TUFF_VERSION_PATCH;
}

const char *tuff_status_text(tuff_status status)
{
    static const char *const texts[] = {
#define TUFF_X(name, text) text,
        TUFF_STATUSES(TUFF_X)
#undef TUFF_X
    };
    return (unsigned)status < TF_COUNT(texts) ? texts[status] : "an unknown status";
}

/* ---- allocation --------------------------------------------------------------------------------- */

void *tf_resize(const tuff_allocator *a, void *p, size_t old_size, size_t new_size)
{
    if (a && a->resize)
        return a->resize(a->user, p, old_size, new_size);
    if (new_size == 0) {
        free(p);
        return NULL;
    }
    return realloc(p, new_size);
}

void *tf_alloc(const tuff_allocator *a, size_t size)
{
    void *p = tf_resize(a, NULL, 0, size ? size : 1);
    if (p)
        memset(p, 0, size ? size : 1);
    return p;
}

void tf_free(const tuff_allocator *a, void *p, size_t size)
{
    if (p)
        tf_resize(a, p, size ? size : 1, 0);
}

/* ---- arena -------------------------------------------------------------------------------------- */

enum { BLOCK_MIN = 4096, BLOCK_MAX = 1 << 20, BLOCK_HEAD = 32, ARENA_ALIGN = 16 };

struct tf_arena_block {
    tf_arena_block *next;
    size_t size, used; /* of the whole block, head included */
};
_Static_assert(sizeof(tf_arena_block) <= BLOCK_HEAD, "the block's head holds its struct");

void tf_arena_init(tf_arena *a, const tuff_allocator *allocator)
{
    *a = (tf_arena){ 0 };
    if (allocator)
        a->allocator = *allocator;
}

void tf_arena_release(tf_arena *a)
{
    for (tf_arena_block *b = a->blocks, *next; b; b = next) {
        next = b->next;
        tf_free(&a->allocator, b, b->size);
    }
    a->blocks = NULL;
}

/* A block with room for `need` bytes becomes the head; a large one goes behind it so that the head's rest is used. */
static tf_arena_block *new_block(tf_arena *a, size_t need)
{
    size_t usual = a->blocks ? TF_MIN(a->blocks->size * 2, (size_t)BLOCK_MAX) : (size_t)BLOCK_MIN;
    const bool large = need > usual / 4;
    const size_t size = large ? BLOCK_HEAD + need : usual;
    tf_arena_block *b = tf_resize(&a->allocator, NULL, 0, size);
    if (!b)
        return NULL;
    b->size = size;
    b->used = BLOCK_HEAD;
    if (large && a->blocks) {
        b->next = a->blocks->next;
        a->blocks->next = b;
    } else {
        b->next = a->blocks;
        a->blocks = b;
    }
    return b;
}

void *tf_arena_alloc(tf_arena *a, size_t size)
{
    if (size > SIZE_MAX / 2) {
        a->failed = true;
        return NULL;
    }
    const size_t need = (TF_MAX(size, (size_t)1) + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
    tf_arena_block *b = a->blocks;
    if (!b || b->size - b->used < need)
        b = new_block(a, need);
    if (!b) {
        a->failed = true;
        return NULL;
    }
    void *p = (char *)b + b->used;
    b->used += need;
    return memset(p, 0, need);
}

void *tf_arena_alloc_array(tf_arena *a, size_t n, size_t size)
{
    if (size && n > SIZE_MAX / size) {
        a->failed = true;
        return NULL;
    }
    return tf_arena_alloc(a, n * size);
}

void *tf_arena_copy(tf_arena *a, const void *data, size_t size)
{
    void *p = tf_arena_alloc(a, size);
    if (p && size)
        memcpy(p, data, size);
    return p;
}

char *tf_arena_string_n(tf_arena *a, const char *s, size_t n)
{
    char *p = n < SIZE_MAX ? tf_arena_alloc(a, n + 1) : NULL;
    if (p && n)
        memcpy(p, s, n);
    return p;
}

char *tf_arena_string(tf_arena *a, const char *s)
{
    return s ? tf_arena_string_n(a, s, strlen(s)) : NULL;
}

char *tf_arena_printf(tf_arena *a, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    const int n = vsnprintf(NULL, 0, format, args);
    char *p = n >= 0 ? tf_arena_alloc(a, (size_t)n + 1) : NULL;
    if (p)
        vsnprintf(p, (size_t)n + 1, format, again);
    else
        a->failed = true;
    va_end(again);
    va_end(args);
    return p;
}

bool tf_array_grow(tf_arena *arena, void **data, uint32_t *cap, uint32_t n, size_t size)
{
    if (n == UINT32_MAX) {
        arena->failed = true;
        return false;
    }
    const uint32_t wanted = n < 8 ? 8 : n > UINT32_MAX / 2 ? UINT32_MAX : 2 * n;
    void *fresh = tf_arena_alloc_array(arena, wanted, size), *old;
    if (!fresh)
        return false;
    memcpy(&old, data, sizeof old); /* *data is a T *: its bytes may be copied, not read as a void * */
    if (n)
        memcpy(fresh, old, n * size);
    memcpy(data, &fresh, sizeof fresh);
    *cap = wanted;
    return true;
}

/* ---- strings ------------------------------------------------------------------------------------ */

void tf_str_init(tf_str *s, const tuff_allocator *allocator)
{
    *s = (tf_str){ 0 };
    if (allocator)
        s->allocator = *allocator;
}

void tf_str_release(tf_str *s)
{
    tf_free(&s->allocator, s->data, s->cap);
    s->data = NULL;
    s->n = s->cap = 0;
}

/* Room for n more bytes and the terminator. */
static bool str_reserve(tf_str *s, size_t n)
{
    if (s->failed || n > SIZE_MAX / 4 - s->n) {
        s->failed = true;
        return false;
    }
    if (s->n + n < s->cap)
        return true;
    const size_t cap = TF_MAX((s->n + n + 1) * 3 / 2, (size_t)64);
    char *p = tf_resize(&s->allocator, s->data, s->cap, cap);
    if (!p) {
        s->failed = true;
        return false;
    }
    s->data = p;
    s->cap = cap;
    return true;
}

void tf_str_add_n(tf_str *s, const char *text, size_t n)
{
    if (!str_reserve(s, n))
        return;
    if (n)
        memcpy(s->data + s->n, text, n);
    s->n += n;
    s->data[s->n] = 0;
}

void tf_str_add(tf_str *s, const char *text)
{
    tf_str_add_n(s, text, strlen(text));
}

void tf_str_vprintf(tf_str *s, const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    const int n = vsnprintf(NULL, 0, format, args);
    if (n < 0) {
        s->failed = true;
    } else if (str_reserve(s, (size_t)n)) {
        vsnprintf(s->data + s->n, (size_t)n + 1, format, again);
        s->n += (size_t)n;
    }
    va_end(again);
}

void tf_str_printf(tf_str *s, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    tf_str_vprintf(s, format, args);
    va_end(args);
}

size_t tf_str_deliver(const tf_str *s, char *buffer, size_t size)
{
    if (size) {
        const size_t n = TF_MIN(s->n, size - 1);
        if (n)
            memcpy(buffer, s->data, n);
        buffer[n] = 0;
    }
    return s->n;
}

/* ---- hash --------------------------------------------------------------------------------------- */

uint64_t tf_hash(uint64_t h, const void *data, size_t size)
{
    const unsigned char *p = data;
    h ^= UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < size; i++)
        h = (h ^ p[i]) * UINT64_C(0x100000001b3);
    h = (h ^ (h >> 33)) * UINT64_C(0xff51afd7ed558ccd);
    h = (h ^ (h >> 33)) * UINT64_C(0xc4ceb9fe1a85ec53);
    return h ^ (h >> 33);
}

uint64_t tf_hash_string(uint64_t h, const char *s)
{
    return tf_hash(h, s, strlen(s) + 1); /* the terminator keeps "ab","c" and "a","bc" apart in a chain */
}

/* ---- sizes -------------------------------------------------------------------------------------- */

bool tf_mul_u64(uint64_t *out, uint64_t a, uint64_t b)
{
    *out = a * b;
    return a == 0 || b <= UINT64_MAX / a;
}

bool tf_add_u64(uint64_t *out, uint64_t a, uint64_t b)
{
    *out = a + b;
    return *out >= a;
}

uint64_t tf_align_up(uint64_t x, uint64_t a)
{
    return (x + a - 1) / a * a;
}

/* ---- nearest name ------------------------------------------------------------------------------- */

enum { WORD_MAX = 63 };

/* Insertions, deletions, replacements and swaps of neighbours that turn a into b. */
static uint32_t edit_distance(const char *a, size_t na, const char *b, size_t nb)
{
    uint32_t rows[3][WORD_MAX + 1];
    for (size_t j = 0; j <= nb; j++)
        rows[0][j] = (uint32_t)j;
    for (size_t i = 1; i <= na; i++) {
        uint32_t *row = rows[i % 3];
        const uint32_t *up = rows[(i + 2) % 3], *up2 = rows[(i + 1) % 3];
        row[0] = (uint32_t)i;
        for (size_t j = 1; j <= nb; j++) {
            const uint32_t gap = TF_MIN(up[j], row[j - 1]) + 1;
            row[j] = TF_MIN(gap, up[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = TF_MIN(row[j], up2[j - 2] + 1);
        }
    }
    return rows[na % 3][nb];
}

const char *tf_suggest(const char *word, const char *const *names, uint32_t n)
{
    const size_t len = strlen(word);
    if (len == 0 || len > WORD_MAX)
        return NULL;
    uint32_t allowed = (uint32_t)TF_MIN(TF_MAX(len / 3, (size_t)1), (size_t)3);
    const char *best = NULL;
    for (uint32_t i = 0; i < n; i++) {
        const size_t m = names[i] ? strlen(names[i]) : 0;
        if (m == 0 || m > WORD_MAX)
            continue;
        const uint32_t d = edit_distance(word, len, names[i], m);
        if (d < allowed || (d == allowed && !best)) {
            allowed = d;
            best = names[i];
        }
    }
    return best;
}
