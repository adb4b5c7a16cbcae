/* test_chat.c - the language model of samples/chat: what prefill and decode compute on the device, sharing their states, is what
 * the reference computes token by token from the same graph. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../samples/chat/model.h"
#include "graph/interp.h"
#include "support/support.h"

enum { TOKENS = 6 };

static const char prompt[] = "The fear of the LORD is ";

/* A step of the reference: prefill's own graph, with one token or all of the prompt. */
static void reference_step(tf_interp *in, const int32_t *tokens, int64_t n, float *logits, size_t bytes, int32_t *next)
{
    cr_assert(!tf_interp_set_dim(in, "n", n) && !tf_interp_write(in, "prompt", tokens, (size_t)n * sizeof *tokens) && !tf_interp_run(in), "%s", tf_interp_error(in));
    cr_assert(!tf_interp_read(in, "logits", logits, bytes) && !tf_interp_read(in, "next", next, sizeof *next));
}

Test(chat, device_follows_reference)
{
    chat_model m;
    char message[256];
    cr_assert(chat_model_read(&m, TUFF_SOURCE_DIR "/samples/chat/model.bin", message, sizeof message), "%s", message);
    tuff_device *dev = open_device(NULL);
    tuff_graph *graph[2] = { chat_graph(&m, true), chat_graph(&m, false) };
    tuff_program *prefill = NULL, *decode = NULL;
    cr_assert(!tuff_compile(dev, graph[0], NULL, &prefill), "%s", tuff_graph_error(graph[0]));
    cr_assert(!tuff_compile(dev, graph[1], &(tuff_compile_desc){ .share = prefill }, &decode), "%s", tuff_graph_error(graph[1]));
    tf_interp *in = tf_interp_create(graph[0], NULL);
    const int64_t n = (int64_t)strlen(prompt);
    const size_t bytes = m.vocabulary * sizeof(float);
    float *got = malloc(bytes), *want = malloc(bytes);
    int32_t tokens[CHAT_PREFILL], next, drawn;
    cr_assert(in && got && want, "out of memory");
    for (int64_t i = 0; i < n; i++) tokens[i] = chat_token(&m, (uint8_t)prompt[i]);

    cr_assert(!tuff_set_dim(prefill, "n", n) && !tuff_write(prefill, "prompt", tokens, (size_t)n * sizeof *tokens) && !tuff_run(prefill), "%s", tuff_program_error(prefill));
    reference_step(in, tokens, n, want, bytes, &next);
    for (int step = 0;; step++) {
        tuff_program *p = step ? decode : prefill;
        cr_assert(!tuff_read(p, "logits", got, bytes) && !tuff_read(p, "next", &drawn, sizeof drawn), "%s", tuff_program_error(p));
        char what[64];
        snprintf(what, sizeof what, "logits of step %d", step);
        expect_floats(what, got, want, m.vocabulary, (tolerance){ .rel = 2e-5 }); /* f32 through all layers */
        cr_expect(drawn == next, "step %d: %d is drawn, the reference draws %d", step, (int)drawn, (int)next);
        if (step == TOKENS) break;
        cr_assert(!tuff_run(decode), "%s", tuff_program_error(decode));
        reference_step(in, &next, 1, want, bytes, &next);
    }
    free(got);
    free(want);
    tf_interp_destroy(in);
    tuff_program_destroy(decode);
    tuff_program_destroy(prefill);
    tuff_graph_destroy(graph[0]);
    tuff_graph_destroy(graph[1]);
    tuff_device_close(dev);
    chat_model_free(&m);
}

/* A model file of another kind, and one that ends early. */
Test(chat, damaged_models)
{
    chat_model m;
    char message[256] = "";
    cr_expect(!chat_model_read(&m, TUFF_SOURCE_DIR "/samples/chat/text.txt", message, sizeof message) && strstr(message, "no model"), "%s", message);
    cr_expect(!chat_model_read(&m, TUFF_SOURCE_DIR "/samples/chat/nothing", message, sizeof message) && strstr(message, "cannot be read"), "%s", message);
    chat_model_free(&m);
}
