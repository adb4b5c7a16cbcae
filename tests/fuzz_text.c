/* fuzz_text.c - libFuzzer entry: the text form, and what it prints, which must parse back. The same bytes are
 * also read as a user expression. Build with clang and -DTUFF_FUZZ=ON. */
#include <stdlib.h>
#include <string.h>

#include "graph/graph.h"
#include "graph/userexpr.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_expression(const uint8_t *data, size_t size)
{
    static const int64_t dim[2] = { 2, 3 };
    static const tf_uname names[] = {
        { .name = "x", .dtype = TUFF_F32, .value = true }, { .name = "i", .dtype = TUFF_I32, .value = true }, { .name = "b", .dtype = TUFF_BOOL, .value = true },
        { .name = "z", .dtype = TUFF_C64, .value = true }, { .name = "t", .dtype = TUFF_F16, .lookup = true, .rank = 2, .dim = dim },
    };
    tf_arena arena;
    tf_arena_init(&arena, NULL);
    char *text = tf_arena_string_n(&arena, (const char *)data, size);
    const char *message;
    if (text && !tf_uexpr_parse(&arena, text, names, TF_COUNT(names), &message) && !message)
        abort();
    tf_arena_release(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char message[256];
    tuff_graph *g, *h;
    fuzz_expression(data, size);
    if (tuff_graph_parse((const char *)data, size, NULL, &g, message, sizeof message) != TUFF_OK)
        return 0;
    if (tf_graph_check(g))
        abort();
    tf_str once, twice;
    tf_str_init(&once, NULL);
    tf_str_init(&twice, NULL);
    tf_graph_write(g, &once);
    const tuff_status status = tuff_graph_parse(once.data, once.n, NULL, &h, message, sizeof message);
    if (status == TUFF_OK) {
        tf_graph_write(h, &twice);
        if (once.n != twice.n || (once.n && memcmp(once.data, twice.data, once.n)))
            abort();
    } else if (status != TUFF_E_IO) { /* long constants are printed as files */
        abort();
    }
    tf_str_release(&once);
    tf_str_release(&twice);
    tuff_graph_destroy(g);
    tuff_graph_destroy(h);
    return 0;
}
