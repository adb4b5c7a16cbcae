/* fuzz_targets.c - see fuzz_targets.h. */
#include "fuzz_targets.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/capsule.h"
#include "graph/graph.h"
#include "graph/npy.h"
#include "graph/userexpr.h"

static void require(bool good, const char *what)
{
    if (good) return;
    fprintf(stderr, "violated: %s\n", what);
    abort();
}

static char *print(const tuff_graph *g)
{
    const size_t n = tuff_graph_print(g, NULL, 0);
    char *text = malloc(n + 1);
    require(text != NULL, "memory");
    require(tuff_graph_print(g, text, n + 1) == n && strlen(text) == n, "tuff_graph_print returns the length it writes");
    return text;
}

void fuzz_text(const uint8_t *data, size_t size)
{
    char message[256] = "unset";
    tuff_graph *g = NULL, *again = NULL;
    const tuff_status status = tuff_graph_parse((const char *)data, size, &(tuff_parse_desc){ .dir = "/nonexistent" }, &g, message, sizeof message);
    if (status) {
        require(g == NULL, "a failed parse leaves no graph");
        require(message[0] && memchr(message, 0, sizeof message), "a failed parse says why");
        return;
    }
    const char *fault = tf_graph_check(g);
    require(!fault, fault ? fault : "");
    char *first = print(g);
    const tuff_status second_status = tuff_graph_parse(first, strlen(first), NULL, &again, message, sizeof message);
    if (second_status == TUFF_E_IO) { /* long constants are printed as names of files */
        free(first);
        tuff_graph_destroy(g);
        return;
    }
    if (second_status) fprintf(stderr, "%s\n%s\n", message, first);
    require(!second_status, "what is printed parses");
    char *second = print(again);
    if (strcmp(first, second)) fprintf(stderr, "%s\n----\n%s\n", first, second);
    require(!strcmp(first, second), "printing is a fixed point");
    free(first);
    free(second);
    tuff_graph_destroy(g);
    tuff_graph_destroy(again);
}

void fuzz_expression(const uint8_t *data, size_t size)
{
    static const int64_t dim[2] = { 2, 3 };
    static const tf_uname names[] = {
        { .name = "x", .dtype = TUFF_F32, .value = true }, { .name = "i", .dtype = TUFF_I32, .value = true }, { .name = "b", .dtype = TUFF_BOOL, .value = true },
        { .name = "z", .dtype = TUFF_C64, .value = true }, { .name = "t", .dtype = TUFF_F16, .lookup = true, .rank = 2, .dim = dim },
    };
    tf_arena arena;
    tf_arena_init(&arena, NULL);
    char *text = tf_arena_string_n(&arena, (const char *)data, size);
    const char *message = NULL;
    require(!text || tf_uexpr_parse(&arena, text, names, TF_COUNT(names), &message) || message, "a failed parse says why");
    tf_arena_release(&arena);
}

void fuzz_npy(const uint8_t *data, size_t size)
{
    for (int want = 0; want < TUFF_DTYPE_COUNT; want++) {
        char message[256] = "unset";
        tf_npy npy = { 0 };
        const tuff_status status = tf_npy_parse(data, size, (tuff_dtype)want, NULL, &npy, message, sizeof message);
        if (status) {
            require(message[0] && memchr(message, 0, sizeof message), "a failed read says why");
            require(!npy.data, "a failed read leaves no data");
            continue;
        }
        uint64_t n = 1;
        for (int32_t a = 0; a < npy.shape.rank; a++) require(tf_mul_u64(&n, n, (uint64_t)npy.shape.dim[a]), "the shape does not overflow");
        require(npy.bytes == (n * tf_dtype_bits(npy.dtype) + 7) / 8, "bytes fit the shape");
        tf_str out;
        tf_str_init(&out, NULL);
        require(!tf_npy_format(npy.dtype, &npy.shape, npy.data, &out), "what was read can be written");
        tf_npy back = { 0 };
        require(!tf_npy_parse(out.data, out.n, npy.dtype, NULL, &back, message, sizeof message), "what is written can be read");
        require(back.bytes == npy.bytes && (!npy.bytes || !memcmp(back.data, npy.data, npy.bytes)), "and is the same");
        tf_str_release(&out);
        tf_npy_release(&back, NULL);
        tf_npy_release(&npy, NULL);
    }
}

void fuzz_capsule(const uint8_t *data, size_t size)
{
    enum { WALKED = 5000, DIMS = 8 };
    static const tf_limits limits = {
        .max_invocations = 1024, .max_local = { 1024, 1024, 64 }, .shared_bytes = 32768, .storage_bindings = 16, .uniform_bindings = 12,
        .storage_range = 1u << 30, .uniform_range = 65536, .storage_align = 64, .max_groups = { 65535, 65535, 65535 }, .max_buffer = 1u << 30,
    };
    uint8_t *file = malloc(size + !size);
    require(file != NULL, "memory");
    memcpy(file, data, size);
    tf_capsule_seal(file, size);
    tf_plan *plan;
    tf_str text;
    tf_str_init(&text, NULL);
    if (tf_capsule_choose(file, size, &limits, NULL, &plan, &text))
        require(!plan && text.n, "a refused capsule leaves no plan and says why");
    else {
        int64_t dims[DIMS] = { 0 };
        for (int format = 0; format <= TUFF_EXPLAIN_GLSL; format++) tf_plan_explain(plan, (tuff_explain_format)format, &text);
        for (uint32_t i = 0; plan->dim_params.n <= DIMS && i < plan->ports.n; i++)
            require(tf_plan_bytes(plan, &plan->ports.data[i].type, dims) <= tf_plan_bytes(plan, &plan->ports.data[i].type, NULL), "a live size is within its bound");
        uint64_t walked = 0;
        tf_cursor c = tf_cursor_begin(plan);
        for (; c.step < plan->steps.n && walked < WALKED; walked++) tf_cursor_next(plan, &c);
        require(walked == WALKED || walked == tf_plan_run_steps(plan), "a run has as many steps as it says");
    }
    tf_plan_destroy(plan);
    tf_str_release(&text);
    free(file);
}
