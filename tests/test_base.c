/* test_base.c - arena, arrays, strings, sizes, nearest names, and every dtype's rounding and elements. */
#if defined(__linux__)
#  define _GNU_SOURCE /* sched_setaffinity */
#endif
#include "graph/base/base.h"
#include "runtime/os.h"
#include "support/support.h"

#include <math.h>
#include <string.h>
#if defined(__linux__)
#  include <sched.h>
#endif

Test(base, arena_memory_is_zeroed_aligned_and_apart)
{
    tf_arena a;
    tf_arena_init(&a, NULL);
    for (size_t i = 0; i < 3000; i++) {
        const size_t size = i * 7 % 5000;
        unsigned char *p = tf_arena_alloc(&a, size);
        cr_assert_not_null(p);
        cr_assert_eq((uintptr_t)p % 16, 0u);
        for (size_t k = 0; k < size; k++)
            if (p[k])
                cr_assert_fail("allocation %zu: byte %zu is %u, wanted 0", i, k, p[k]);
        memset(p, 0xee, size); /* a later allocation that overlapped would find this */
    }
    cr_expect_str_eq(tf_arena_printf(&a, "%d-%s", 5, "x"), "5-x");
    cr_expect_str_eq(tf_arena_string_n(&a, "abcdef", 3), "abc");
    cr_expect_null(tf_arena_string(&a, NULL));
    cr_expect_not(a.failed);
    cr_expect_null(tf_arena_alloc_array(&a, SIZE_MAX / 2, 4));
    cr_expect(a.failed);
    tf_arena_release(&a);
}

Test(base, arrays_grow_and_keep_their_elements)
{
    tf_arena a;
    tf_arena_init(&a, NULL);
    TF_ARRAY(int) array = { 0 };
    for (int i = 0; i < 100000; i++) {
        int *p = tf_push(&a, &array);
        cr_assert(p && *p == 0);
        *p = i;
    }
    for (int i = 0; i < 100000; i++)
        cr_assert_eq(array.data[i], i);
    tf_arena_release(&a);
}

Test(base, memory_failures_are_flags_and_nothing_leaks)
{
    for (uint64_t fail_at = 1; fail_at < 12; fail_at++) {
        failing_allocator f = { .fail_at = fail_at, .sticky = fail_at % 2 };
        const tuff_allocator allocator = failing(&f);
        tf_arena a;
        tf_str s;
        tf_arena_init(&a, &allocator);
        tf_str_init(&s, &allocator);
        bool refused = false;
        for (size_t i = 0; i < 40; i++) {
            refused |= tf_arena_alloc(&a, 1000 * i) == NULL;
            tf_str_printf(&s, "%0200zu", i);
        }
        cr_expect_eq(refused, a.failed, "call %d", (int)fail_at);
        cr_expect(a.failed || s.failed || f.calls < fail_at, "call %d failed unnoticed", (int)fail_at);
        cr_expect(!s.data || strlen(s.data) == s.n);
        tf_arena_release(&a);
        tf_str_release(&s);
        cr_expect_eq(f.live, 0u, "call %d: %llu bytes leak", (int)fail_at, (unsigned long long)f.live);
    }
}

Test(base, strings_are_delivered_like_snprintf)
{
    tf_str s;
    char small[8] = "unset", none[1] = { 'x' };
    tf_str_init(&s, NULL);
    cr_expect_eq(tf_str_deliver(&s, small, sizeof small), 0u);
    cr_expect_str_eq(small, "");
    for (int i = 0; i < 1000; i++)
        tf_str_printf(&s, "%d,", i);
    cr_expect_eq(tf_str_deliver(&s, small, sizeof small), s.n);
    cr_expect_str_eq(small, "0,1,2,3");
    cr_expect_eq(tf_str_deliver(&s, none, 0), s.n);
    cr_expect_eq(none[0], 'x');
    cr_expect_eq(s.n, 10u * 2 + 90 * 3 + 900 * 4);
    tf_str_release(&s);
}

Test(base, sizes_are_checked)
{
    uint64_t x;
    cr_expect(tf_mul_u64(&x, UINT64_C(1) << 32, (UINT64_C(1) << 32) - 1));
    cr_expect_not(tf_mul_u64(&x, UINT64_C(1) << 32, UINT64_C(1) << 32));
    cr_expect(tf_mul_u64(&x, 0, UINT64_MAX) && x == 0);
    cr_expect(tf_mul_u64(&x, UINT64_MAX, 1) && x == UINT64_MAX);
    cr_expect(tf_add_u64(&x, UINT64_MAX - 1, 1) && x == UINT64_MAX);
    cr_expect_not(tf_add_u64(&x, UINT64_MAX, 1));
    cr_expect_eq(tf_align_up(0, 256), 0u);
    cr_expect_eq(tf_align_up(1, 256), 256u);
    cr_expect_eq(tf_align_up(256, 256), 256u);
}

Test(base, hash_depends_on_order_and_boundaries)
{
    cr_expect_neq(tf_hash_string(tf_hash_string(0, "ab"), "c"), tf_hash_string(tf_hash_string(0, "a"), "bc"));
    cr_expect_neq(tf_hash_string(0, "a"), tf_hash_string(1, "a"));
    uint64_t seen[4096];
    for (uint32_t i = 0; i < COUNT(seen); i++) {
        seen[i] = tf_hash(0, &i, sizeof i);
        for (uint32_t k = 0; k < i; k++)
            cr_assert_neq(seen[i], seen[k], "hash of %u equals hash of %u", i, k);
    }
}

Test(base, suggestions)
{
    static const char *const names[] = { "softmax", "sigmoid", "matmul", "add", "layer_norm", NULL, "log_softmax" };
    static const struct { const char *word, *want; } cases[] = {
        { "sofmtax", "softmax" }, { "matmull", "matmul" }, { "sigmiod", "sigmoid" }, { "ad", "add" }, { "add", "add" },
        { "layernorm", "layer_norm" }, { "logsoftmax", "log_softmax" }, { "zzz", NULL }, { "", NULL }, { "xy", NULL },
        { "a_word_that_is_far_too_long_to_be_compared_with_any_name_of_the_table", NULL },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *got = tf_suggest(cases[i].word, names, COUNT(names));
        cr_expect(got == cases[i].want || (got && cases[i].want && !strcmp(got, cases[i].want)), "'%s' suggests %s, wanted %s",
                  cases[i].word, got ? got : "nothing", cases[i].want ? cases[i].want : "nothing");
    }
}

Test(base, names_and_texts)
{
    for (int t = 1; t < TUFF_DTYPE_COUNT; t++) {
        const char *name = tuff_dtype_name((tuff_dtype)t);
        cr_expect_eq(tf_dtype_by_name(name, strlen(name)), (tuff_dtype)t);
        cr_expect_gt(tf_dtype_bits((tuff_dtype)t), 0u);
    }
    cr_expect_eq(tf_dtype_by_name("f3", 2), TUFF_DTYPE_NONE);
    cr_expect_str_eq(tuff_dtype_name((tuff_dtype)99), "?");
    cr_expect_str_eq(tuff_dtype_name(TUFF_DTYPE_NONE), "?");
    for (int s = 0; s < TUFF_STATUS_COUNT; s++)
        cr_expect_gt(strlen(tuff_status_text((tuff_status)s)), 0u);
    cr_expect_str_eq(tuff_status_text((tuff_status)-1), "an unknown status");
    cr_expect_eq(tuff_version(), TUFF_VERSION_MAJOR * 1000000u + TUFF_VERSION_MINOR * 1000u + TUFF_VERSION_PATCH);
}

/* Every bit pattern of the narrow dtypes survives loading and storing; rounding is the identity on them. */
Test(base, narrow_elements_round_trip)
{
    static const tuff_dtype narrow[] = { TUFF_F16, TUFF_BF16, TUFF_F8E4M3, TUFF_F8E5M2, TUFF_I8, TUFF_U8, TUFF_I16, TUFF_U16, TUFF_I4, TUFF_U4 };
    for (size_t k = 0; k < COUNT(narrow); k++)
        for (uint32_t in = 0; in < 1u << tf_dtype_bits(narrow[k]); in++) {
            uint32_t out = 0;
            const double x = tf_load_element(narrow[k], &in, 0, NULL);
            tf_store_element(narrow[k], &out, 0, x, 0);
            if (isnan(x))
                cr_assert(isnan(tf_load_element(narrow[k], &out, 0, NULL)));
            else if (in != out || tf_round_to(narrow[k], x) != x)
                cr_assert_fail("%s: bits %x load as %g and store as %x", tuff_dtype_name(narrow[k]), in, x, out);
        }
}

/* Between neighbours: below the midpoint down, above it up, on it to the even code; denormals included. */
Test(base, small_floats_round_to_nearest_even)
{
    static const tuff_dtype small[] = { TUFF_F16, TUFF_BF16, TUFF_F8E4M3, TUFF_F8E5M2 };
    for (size_t k = 0; k < COUNT(small); k++)
        for (uint32_t a = 0; a + 1 < 1u << (tf_dtype_bits(small[k]) - 1); a++) {
            const uint32_t b = a + 1;
            const double x = tf_load_element(small[k], &a, 0, NULL), y = tf_load_element(small[k], &b, 0, NULL);
            if (!isfinite(x) || !isfinite(y))
                continue;
            const double mid = (x + y) / 2, want = a & 1 ? y : x;
            cr_assert_eq(tf_round_to(small[k], mid), want, "%s at %g", tuff_dtype_name(small[k]), mid);
            cr_assert_eq(tf_round_to(small[k], -mid), -want);
            cr_assert_eq(tf_round_to(small[k], nextafter(mid, y)), y);
            cr_assert_eq(tf_round_to(small[k], nextafter(mid, x)), x);
        }
}

Test(base, f32_rounds_as_the_compiler_does)
{
    rng r = { 7 };
    for (int i = 0; i < 300000; i++) {
        const uint32_t bits = (uint32_t)rng_next(&r);
        float f;
        memcpy(&f, &bits, sizeof f);
        if (isnan(f) || isinf(f))
            continue;
        const double d = (double)f * (1 + (rng_uniform(&r) - 0.5) * 1e-6);
        if (fabs(d) > 3.4028234e38)
            continue;
        cr_assert_eq(tf_round_to(TUFF_F32, d), (double)(float)d, "%a", d);
    }
}

Test(base, overflow_infinity_and_wrapping)
{
    static const struct { tuff_dtype t; double x, want; } cases[] = {
        { TUFF_F32, 1e300, (double)INFINITY }, { TUFF_F32, -0x1.ffffffp127, -(double)INFINITY },
        { TUFF_F32, 0x1.fffffefffp127, 0x1.fffffep127 },
        { TUFF_F16, 65519.99, 65504 }, { TUFF_F16, 65520, (double)INFINITY }, { TUFF_F16, 0x1p-25, 0 }, { TUFF_F16, 0x1.8p-25, 0x1p-24 },
        { TUFF_BF16, 0x1.fep127, 0x1.fep127 }, { TUFF_BF16, 0x1.ffp127, (double)INFINITY },
        { TUFF_F8E4M3, 448, 448 }, { TUFF_F8E4M3, 1e9, 448 }, { TUFF_F8E4M3, -(double)INFINITY, -448 }, { TUFF_F8E4M3, 0x1p-10, 0 },
        { TUFF_F8E5M2, 61439, 57344 }, { TUFF_F8E5M2, 61440, (double)INFINITY }, { TUFF_F8E5M2, -(double)INFINITY, -(double)INFINITY },
        { TUFF_I32, 2147483648.0, -2147483648.0 }, { TUFF_I32, -1.9, -1 }, { TUFF_U32, 4294967303.0, 7 }, { TUFF_U8, -1.5, 255 },
        { TUFF_I8, 200, -56 }, { TUFF_I16, -32769, 32767 }, { TUFF_U16, 65536, 0 }, { TUFF_I4, 9, -7 }, { TUFF_U4, 17, 1 },
        { TUFF_I32, (double)NAN, 0 }, { TUFF_BOOL, 0.25, 1 }, { TUFF_BOOL, -0.0, 0 }, { TUFF_F64, 0.1, 0.1 },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        const double got = tf_round_to(cases[i].t, cases[i].x);
        cr_expect_eq(got, cases[i].want, "%s of %a is %a, wanted %a", tuff_dtype_name(cases[i].t), cases[i].x, got, cases[i].want);
    }
    for (int t = 1; t < TUFF_DTYPE_COUNT; t++)
        if (t != TUFF_F64 && !isnan(tf_round_to((tuff_dtype)t, (double)NAN)))
            cr_expect_not(tf_dtype_is_float((tuff_dtype)t), "%s loses NaN", tuff_dtype_name((tuff_dtype)t));
}

Test(base, packed_complex_and_unaligned_elements)
{
    unsigned char four[3] = { 0xff, 0xff, 0xff };
    const double codes[6] = { -3, 5, 7, -8, 0, -1 };
    for (uint64_t i = 0; i < 6; i++)
        tf_store_element(TUFF_I4, four, i, codes[i], 0);
    for (uint64_t i = 0; i < 6; i++)
        cr_expect_eq(tf_load_element(TUFF_I4, four, i, NULL), codes[i]);
    cr_expect_eq(four[0], 0x5d, "the low nibble comes first");

    unsigned char raw[33] = { 0 };
    double im;
    tf_store_element(TUFF_C64, raw + 1, 1, 1.5, -0.1);
    cr_expect_eq(tf_load_element(TUFF_C64, raw + 1, 1, &im), 1.5);
    cr_expect_eq(im, (double)-0.1f);
    tf_store_element(TUFF_F64, raw + 1, 2, 0.1, 0);
    cr_expect_eq(tf_load_element(TUFF_F64, raw + 1, 2, &im), 0.1);
    cr_expect_eq(im, 0);
    raw[0] = 77;
    cr_expect_eq(tf_load_element(TUFF_BOOL, raw, 0, NULL), 1);
}

/* Drivers for CPUs start a thread for each processor that the process may use. */
Test(base, processors_are_those_of_the_process)
{
    cr_expect_geq(tf_cores(), 1u);
#if defined(__linux__)
    cpu_set_t all, one;
    CPU_ZERO(&one);
    cr_assert(!sched_getaffinity(0, sizeof all, &all));
    for (int i = 0; i < CPU_SETSIZE && !CPU_COUNT(&one); i++)
        if (CPU_ISSET(i, &all))
            CPU_SET(i, &one);
    cr_assert(!sched_setaffinity(0, sizeof one, &one));
    cr_expect_eq(tf_cores(), 1u);
#endif
}
