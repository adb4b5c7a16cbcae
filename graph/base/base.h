/* base.h - arena, growing arrays, hashing, checked sizes, string builder: what every file of graph/, ops/ and
 * runtime/ stands on. No Vulkan, no globals. */
#ifndef TF_BASE_H
#define TF_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <tuff/tuff.h>

#if defined(__GNUC__)
#  define TF_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#  define TF_PRINTF(f, a)
#endif

#define TF_COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define TF_MIN(a, b) ((a) < (b) ? (a) : (b))
#define TF_MAX(a, b) ((a) > (b) ? (a) : (b))

/* Allocation through a tuff_allocator; sizes are known at free. NULL on failure. tf_alloc zeroes. */
void *tf_alloc(const tuff_allocator *a, size_t size);
void *tf_resize(const tuff_allocator *a, void *p, size_t old_size, size_t new_size);
void tf_free(const tuff_allocator *a, void *p, size_t size);

/* Arena: many small zeroed allocations, one release. A failed allocation sets `failed` and returns NULL. */
typedef struct tf_arena_block tf_arena_block;
typedef struct tf_arena {
    tuff_allocator allocator;
    tf_arena_block *blocks;
    bool failed;
} tf_arena;
void tf_arena_init(tf_arena *a, const tuff_allocator *allocator);
void tf_arena_release(tf_arena *a);
void *tf_arena_alloc(tf_arena *a, size_t size);                      /* 16-byte aligned, zeroed */
void *tf_arena_copy(tf_arena *a, const void *data, size_t size);
char *tf_arena_string(tf_arena *a, const char *s);
char *tf_arena_string_n(tf_arena *a, const char *s, size_t n);
char *tf_arena_printf(tf_arena *a, const char *format, ...) TF_PRINTF(2, 3);
#define tf_arena_new(a, type)      ((type *)tf_arena_alloc((a), sizeof(type)))
#define tf_arena_array(a, type, n) ((type *)tf_arena_alloc_array((a), (n), sizeof(type)))
void *tf_arena_alloc_array(tf_arena *a, size_t n, size_t size);      /* overflow-checked */

/* Arrays that grow inside an arena: struct { T *data; uint32_t n, cap; }. tf_push returns a pointer to the new
 * zeroed element, or NULL when memory is out. Old storage stays in the arena until release. */
#define TF_ARRAY(T) struct { T *data; uint32_t n, cap; }
#define tf_push(arena, array) \
    ((array)->n < (array)->cap || tf_array_grow((arena), (void **)&(array)->data, &(array)->cap, (array)->n, sizeof *(array)->data) \
         ? &(array)->data[(array)->n++] : NULL)
bool tf_array_grow(tf_arena *arena, void **data, uint32_t *cap, uint32_t n, size_t size);

/* String builder in malloc-like memory; on failure `failed` is set and writes are dropped. */
typedef struct tf_str {
    tuff_allocator allocator;
    char *data;       /* terminated; NULL before the first write */
    size_t n, cap;
    bool failed;
} tf_str;
void tf_str_init(tf_str *s, const tuff_allocator *allocator);
void tf_str_release(tf_str *s);
void tf_str_add(tf_str *s, const char *text);
void tf_str_add_n(tf_str *s, const char *text, size_t n);
void tf_str_printf(tf_str *s, const char *format, ...) TF_PRINTF(2, 3);
void tf_str_vprintf(tf_str *s, const char *format, va_list args);
size_t tf_str_deliver(const tf_str *s, char *buffer, size_t size); /* snprintf-like copy out */

/* 64-bit hash (FNV-1a with a final mix); chain by passing the previous value. Start with 0. */
uint64_t tf_hash(uint64_t h, const void *data, size_t size);
uint64_t tf_hash_string(uint64_t h, const char *s);

/* Checked sizes: false on overflow. */
bool tf_mul_u64(uint64_t *out, uint64_t a, uint64_t b);
bool tf_add_u64(uint64_t *out, uint64_t a, uint64_t b);
uint64_t tf_align_up(uint64_t x, uint64_t a); /* a > 0, no overflow expected: x < 2^62 */

/* dtype facts */
uint32_t tf_dtype_bits(tuff_dtype t);
tuff_dtype tf_dtype_by_name(const char *name, size_t n); /* NONE if unknown */
bool tf_dtype_is_float(tuff_dtype t);   /* f32 f16 bf16 f64 */
bool tf_dtype_is_single(tuff_dtype t);  /* f32 f16 bf16: an f32 in kernels */
bool tf_dtype_is_int(tuff_dtype t);     /* i/u 32 16 8, not bool, not packed */
bool tf_dtype_is_signed_int(tuff_dtype t);

/* Rounding a double to what a dtype can hold (round to nearest even; integers truncate toward zero and wrap). */
double tf_round_to(tuff_dtype t, double x);
/* Element i of a packed or plain buffer as double; complex: re and im. Exact for every dtype. */
double tf_load_element(tuff_dtype t, const void *data, uint64_t i, double *im);
void tf_store_element(tuff_dtype t, void *data, uint64_t i, double re, double im);

/* The name in `names` nearest to `word` (edit distance <= 1/3 of its length, at least 1, at most 3), or NULL. */
const char *tf_suggest(const char *word, const char *const *names, uint32_t n);

#endif
