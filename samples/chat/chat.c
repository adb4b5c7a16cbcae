/* chat - continues a text with a small language model, on the GPU.
 *
 *     chat [--prompt TEXT] [--tokens 160] [--temperature 0] [--model FILE] [--device D] [--explain]
 *
 * Without a prompt it continues a few of its own, each to the end of the line. The prompt goes through the prefill program in pieces;
 * the decode program then runs once per token and leaves every token in a state, so several runs are submitted before any is read. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "model.h"

enum { AHEAD = 8 }; /* tokens drawn before the host looks at them */

typedef struct session {
    chat_model model;
    tuff_device *device;
    tuff_program *prefill, *decode;
    double prefill_time, decode_time;
    int64_t prefill_tokens, decode_tokens;
} session;

static double seconds(void)
{
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool failed(const char *what, const char *text)
{
    fprintf(stderr, "chat: %s: %s\n", what, text);
    return false;
}

static bool compile(session *s, bool prefill, tuff_program **out)
{
    tuff_graph *g = chat_graph(&s->model, prefill);
    const tuff_status status = tuff_compile(s->device, g, &(tuff_compile_desc){ .share = prefill ? NULL : s->prefill, .slots = AHEAD }, out);
    if (status) failed(prefill ? "prefill" : "decode", tuff_graph_error(g));
    tuff_graph_destroy(g);
    return !status;
}

static bool open_session(session *s, const char *model, const char *device)
{
    char message[256];
    if (!chat_model_read(&s->model, model, message, sizeof message)) return failed("model", message);
    if (tuff_device_open(&(tuff_device_desc){ .select = device }, &s->device)) return failed("device", tuff_device_error(NULL));
    return compile(s, true, &s->prefill) && compile(s, false, &s->decode);
}

static void close_session(session *s)
{
    tuff_program_destroy(s->decode);
    tuff_program_destroy(s->prefill);
    tuff_device_close(s->device);
    chat_model_free(&s->model);
}

/* The prompt, piece by piece; the last piece draws the first token. */
static bool read_prompt(session *s, const char *text, size_t size)
{
    int32_t tokens[CHAT_PREFILL];
    const double start = seconds();
    if (tuff_reset(s->prefill, NULL)) return failed("reset", tuff_program_error(s->prefill));
    for (size_t at = 0; at < size; at += CHAT_PREFILL) {
        const size_t n = size - at < CHAT_PREFILL ? size - at : CHAT_PREFILL;
        for (size_t i = 0; i < n; i++) tokens[i] = chat_token(&s->model, (uint8_t)text[at + i]);
        if (tuff_set_dim(s->prefill, "n", (int64_t)n) || tuff_write(s->prefill, "prompt", tokens, n * sizeof *tokens) || tuff_run(s->prefill))
            return failed("prefill", tuff_program_error(s->prefill));
    }
    s->prefill_time += seconds() - start;
    s->prefill_tokens += (int64_t)size;
    return true;
}

/* Prints up to `limit` tokens behind a prompt of `size`, or to the end of the line. */
static bool continue_text(session *s, size_t size, int64_t limit)
{
    int32_t *history = malloc(s->model.context * sizeof *history);
    const int64_t room = (int64_t)s->model.context - (int64_t)size, most = limit < room ? limit : room;
    bool good = history != NULL, ended = false;
    const double start = seconds();
    for (int64_t done = 0; good && !ended && done < most;) {
        const int64_t n = most - done < AHEAD ? most - done : AHEAD;
        for (int64_t i = 0; good && i < n; i++) /* the first token of all came with the prompt */
            if (done + i > 0) good = !tuff_submit(s->decode, NULL);
        good = good && !tuff_read(s->decode, "history", history, s->model.context * sizeof *history);
        for (int64_t i = 0; good && !ended && i < n; i++, done++) {
            const int c = s->model.byte_of[history[(int64_t)size + done] & 255];
            ended = c == '\n';
            putchar(c);
        }
        fflush(stdout);
        s->decode_tokens += n;
    }
    if (!ended) putchar('\n');
    s->decode_time += seconds() - start;
    free(history);
    return good || failed("decode", tuff_program_error(s->decode));
}

static bool explain(const tuff_program *p)
{
    const size_t size = tuff_program_explain(p, TUFF_EXPLAIN_TEXT, NULL, 0) + 1;
    char *text = malloc(size);
    if (!text) return false;
    tuff_program_explain(p, TUFF_EXPLAIN_TEXT, text, size);
    fputs(text, stdout);
    free(text);
    return true;
}

int main(int argc, char **argv)
{
    static const char *const own[] = { "A wise man ", "The way of the ", "My son, " };
    const char *prompt = NULL, *model = CHAT_MODEL, *device = NULL;
    int64_t tokens = 160;
    double temperature = 0;
    bool show = false;
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (!strcmp(argv[i], "--explain")) show = true;
        else if (!strcmp(argv[i], "--prompt")) prompt = value, i++;
        else if (!strcmp(argv[i], "--tokens")) tokens = atoll(value), i++;
        else if (!strcmp(argv[i], "--temperature")) temperature = atof(value), i++;
        else if (!strcmp(argv[i], "--model")) model = value, i++;
        else if (!strcmp(argv[i], "--device")) device = value, i++;
        else return fprintf(stderr, "chat [--prompt TEXT] [--tokens N] [--temperature T] [--model FILE] [--device D] [--explain]\n"), 2;
    }
    session s = { 0 };
    bool good = open_session(&s, model, device);
    if (good && show) good = explain(s.decode);
    for (size_t i = 0; good && !show && i < (prompt ? 1 : sizeof own / sizeof *own); i++) {
        const char *text = prompt ? prompt : own[i];
        const size_t size = strlen(text);
        if (!size || size >= s.model.context) good = failed("prompt", "it needs 1 to as many bytes as the model's context");
        good = good && !tuff_set_scalar(s.prefill, "temperature", temperature) && !tuff_set_scalar(s.decode, "temperature", temperature);
        if (good) printf("%s", text);
        good = good && read_prompt(&s, text, size) && continue_text(&s, size, tokens);
    }
    if (good && !show)
        printf("[prefill %.0f tokens/s, decode %.0f tokens/s on %s]\n", (double)s.prefill_tokens / s.prefill_time, (double)s.decode_tokens / s.decode_time,
               tuff_device_name(s.device));
    close_session(&s);
    return good ? 0 : 1;
}
