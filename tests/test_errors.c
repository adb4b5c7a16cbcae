/* test_errors.c - bad input of every kind: its own status, a sentence that names what is wrong, and a process that
 * goes on working. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/support.h"

/* ---- text that is wrong ----------------------------------------------------------------------------- */

/* What the message must contain, words separated by '|'. */
static void expect_words(const char *what, const char *message, const char *words)
{
    char copy[256];
    snprintf(copy, sizeof copy, "%s", words);
    for (char *word = strtok(copy, "|"); word; word = strtok(NULL, "|"))
        cr_expect(strstr(message, word), "%s: the message does not say '%s': %s", what, word, message);
}

static const struct { const char *what, *text; tuff_status status; const char *words; } texts[] = {
    { "mismatched shapes", "a = input f32[3,4]\nb = input f32[5]\nc = add(a, b)\noutput c\n", TUFF_E_SHAPE, ":3:|add|a|b|[3,4]|[5]" },
    { "matmul shapes", "a = input f32[3,4]\nb = input f32[5,6]\nc = matmul(a, b)\noutput c\n", TUFF_E_SHAPE, ":3:|matmul|4|5" },
    { "unknown op", "a = input f32[3]\nc = sofmax(a) {axis=0}\noutput c\n", TUFF_E_NAME, ":2:|sofmax|softmax" },
    { "unknown attribute", "a = input f32[3]\nc = softmax(a) {axes=0}\noutput c\n", TUFF_E_ATTRIBUTE, ":2:|axes|axis" },
    { "unknown name", "aa = input f32[3]\nc = exp(ab)\noutput c\n", TUFF_E_NAME, ":2:|ab" },
    { "wrong dtype", "a = input i32[3]\nc = exp(a)\noutput c\n", TUFF_E_DTYPE, ":2:|exp|i32" },
    { "different dtypes", "a = input i32[3]\nb = input f32[3]\nc = add(a, b)\noutput c\n", TUFF_E_DTYPE, ":3:|add|i32|f32" },
    { "rank above 8", "a = input f32[1,1,1,1,1,1,1,1,1]\noutput a\n", TUFF_E_LIMIT, ":1:|8" },
    { "overflowing size", "a = input f32[9223372036854775807,9223372036854775807]\noutput a\n", TUFF_E_OVERFLOW, ":1:" },
    { "attribute out of range", "a = input f32[3]\nc = softmax(a) {axis=1}\noutput c\n", TUFF_E_ATTRIBUTE, ":2:|softmax|axis|1" },
    { "missing operand", "a = input f32[3]\nc = add(a)\noutput c\n", TUFF_E_ARGUMENT, ":2:|add" },
    { "no such file", "a = const f32[3] @missing.npy\noutput a\n", TUFF_E_IO, ":1:|missing.npy" },
    { "reduction of nothing", "a = input f32[3,0]\nb = max(a) {axes=[1]}\noutput b\n", TUFF_E_SHAPE, ":2:|max" },
    { "error in an expression", "a = input f32[3]\nb = map(x=a) {expr=\"x +\"}\noutput b\n", TUFF_E_PARSE, ":2:|map" },
    { "unknown name in an expression", "a = input f32[3]\nb = map(x=a) {expr=\"x + yy\"}\noutput b\n", TUFF_E_PARSE, ":2:|yy" },
};

Test(errors, text)
{
    for (size_t i = 0; i < COUNT(texts); i++) {
        char message[512] = "";
        tuff_graph *g = NULL;
        const tuff_status status = tuff_graph_parse(texts[i].text, strlen(texts[i].text), &(tuff_parse_desc){ .name = "bad.tuff" }, &g, message, sizeof message);
        cr_expect(status == texts[i].status, "%s: status '%s', expected '%s' (%s)", texts[i].what, tuff_status_text(status),
                  tuff_status_text(texts[i].status), message);
        expect_words(texts[i].what, message, "bad.tuff");
        expect_words(texts[i].what, message, texts[i].words);
        tuff_graph_destroy(g);
    }
}

/* ---- building that is wrong ------------------------------------------------------------------------- */

Test(errors, building)
{
    tuff_graph *g = tuff_graph_create(NULL), *h = tuff_graph_create(NULL);
    const tuff_tensor x = tuff_input(g, "x", TUFF_F32, TUFF_SHAPE(2, 3)), other = tuff_input(h, "y", TUFF_F32, TUFF_SHAPE(2, 3));
    const tuff_tensor bad = tuff_add(x, other);
    cr_expect(bad.id == 0 && tuff_graph_status(g) == TUFF_E_ARGUMENT, "a tensor of another graph: %s", tuff_graph_error(g));
    char first[512];
    snprintf(first, sizeof first, "%s", tuff_graph_error(g));
    cr_expect(first[0], "and it says so");
    tuff_exp(bad);
    tuff_matmul(x, x, NULL);
    cr_expect(!strcmp(first, tuff_graph_error(g)), "the first error stays: %s", tuff_graph_error(g));
    cr_expect(tuff_graph_status(h) == TUFF_OK, "the other graph is healthy");
    tuff_graph_destroy(g);
    tuff_graph_destroy(h);

    g = tuff_graph_create(NULL);
    const tuff_tensor s = tuff_state(g, "s", TUFF_F32, TUFF_SHAPE(4));
    tuff_assign(s, tuff_exp(s));
    tuff_assign(s, s);
    cr_expect(tuff_graph_status(g) != TUFF_OK, "a second assign is an error");
    expect_words("second assign", tuff_graph_error(g), "s|assign");
    tuff_graph_destroy(g);
}

/* Calls with something missing: the graph says what, and nothing is read through NULL. */
enum { NO_LOOP, NO_WHILE, LONG_LIST, NO_SAMPLE, NO_PC, NO_STATES, NO_RESULTS, LOST_STATE, NO_DATA, FEW_BYTES, NO_SHAPE, MISSING };

static void never(void *user, tuff_ode_call *c) { (void)user; (void)c; cr_expect(0, "the right side is called"); }

static const char *call_with_less(tuff_graph *g, int which)
{
    const tuff_tensor none = { NULL, 0 }, x = tuff_input(g, "x", TUFF_F32, TUFF_SHAPE(2, 3)), lost = { g, 1000 };
    const tuff_ode_desc ode = { .rhs = never };
    float data[6] = { 0 };
    tuff_tensor r[8];
    switch (which) {
    case NO_LOOP: tuff_loop(g, NULL, r); return "loop: the body";
    case NO_WHILE: tuff_while(g, NULL, r); return "while: the body";
    case LONG_LIST: tuff_permute(x, (tuff_ints){ .n = -1 }); return "axes has -1 entries; a list has 0 to 8";
    case NO_SAMPLE: tuff_sample(x, NULL); return "sample: the description or its table is missing";
    case NO_PC: tuff_pc_sample(none, &(tuff_pc_sample_desc){ .table = x }); return "pc_sample: the state is absent";
    case NO_STATES: tuff_ode_solve(g, NULL, 1, &ode, r); return "ode: the states or the results are NULL";
    case NO_RESULTS: tuff_rk45_step(g, x, x, &x, 1, &ode, NULL); return "ode: the states or the results are NULL";
    case LOST_STATE: tuff_ode_solve(g, &lost, 1, &ode, r); return "ode: state 0 must be an f32 tensor of this graph";
    case NO_DATA: tuff_make_const(g, "x", NULL, 24); return "takes 24 bytes, 24 were given; the data is NULL";
    case FEW_BYTES: tuff_make_const(g, "x", data, 20); return "takes 24 bytes, 20 were given";
    default: {
        const tuff_tensor y = tuff_input(g, "y", TUFF_F32, TUFF_SHAPE(tuff_dim_param(g, "n", 4)));
        tuff_make_const(g, "y", data, 4);
        return y.id ? "has no fixed shape" : "?";
    }
    }
}

Test(errors, something_is_missing)
{
    for (int which = 0; which < MISSING; which++) {
        tuff_graph *g = tuff_graph_create(NULL);
        const char *words = call_with_less(g, which);
        cr_expect(tuff_graph_status(g) != TUFF_OK, "call %d is refused", which);
        expect_words("something missing", tuff_graph_error(g), words);
        tuff_graph_destroy(g);
    }
    tuff_graph *g = NULL;
    char message[64] = "", one[1];
    double value;
    cr_expect(tuff_concat(NULL, 2, 0).id == 0 && tuff_gaunt_manybody(NULL, 2, 1, NULL).id == 0, "a list that is NULL");
    cr_expect(tuff_graph_parse("x", 1, NULL, NULL, message, sizeof message) == TUFF_E_ARGUMENT && strstr(message, "the place for the graph is NULL"), "%s", message);
    cr_expect(tuff_graph_parse(NULL, 1, NULL, &g, message, sizeof message) == TUFF_E_ARGUMENT && !g && strstr(message, "the text is NULL"), "%s", message);
    cr_expect(tuff_graph_parse("x", 1, NULL, &g, NULL, sizeof message) == TUFF_E_PARSE, "no place for the message");
    cr_expect(tuff_graph_print(NULL, one, 1) == 0 && !one[0] && tuff_program_explain(NULL, TUFF_EXPLAIN_TEXT, one, 1) == 0, "nothing is written of nothing");
    g = tuff_graph_create(NULL);
    cr_expect(tuff_host_value((tuff_tensor){ g, 7 }, &value, 1) == TUFF_E_ARGUMENT, "no such value");
    cr_expect(tuff_compile(NULL, g, NULL, NULL) == TUFF_E_ARGUMENT && !strcmp(tuff_graph_error(g), "compile: the device is NULL"), "%s", tuff_graph_error(g));
    tuff_graph_destroy(g);
}

/* ---- using a program wrongly ------------------------------------------------------------------------ */

static tuff_graph *small_graph(void)
{
    tuff_graph *g = tuff_graph_create(NULL);
    const tuff_tensor x = tuff_input(g, "x", TUFF_F32, TUFF_SHAPE(4)), y = tuff_input(g, "y", TUFF_F32, TUFF_SHAPE(4));
    tuff_output(g, "z", tuff_add(x, y));
    return g;
}

Test(errors, program)
{
    tuff_device *dev = open_device(NULL);
    tuff_graph *g = small_graph();
    tuff_program *p = NULL;
    cr_assert(!tuff_compile(dev, g, NULL, &p), "%s", tuff_graph_error(g));
    tuff_graph_destroy(g); /* the program lives on */
    float data[5] = { 1, 2, 3, 4, 5 };

    cr_expect(tuff_write(p, "x", data, 4 * sizeof *data) == TUFF_OK, "%s", tuff_program_error(p));
    cr_expect(tuff_run(p) == TUFF_E_STATE, "an input was never written: %s", tuff_program_error(p));
    expect_words("input never written", tuff_program_error(p), "y");
    cr_expect(tuff_write(p, "y", data, 5 * sizeof *data) == TUFF_E_ARGUMENT, "a wrong byte count: %s", tuff_program_error(p));
    expect_words("wrong byte count", tuff_program_error(p), "y|16|20");
    cr_expect(tuff_write(p, "yy", data, 4 * sizeof *data) == TUFF_E_NAME, "an unknown name: %s", tuff_program_error(p));
    expect_words("unknown name", tuff_program_error(p), "yy");
    cr_expect(tuff_read(p, "x9", data, sizeof data) == TUFF_E_NAME, "an unknown output: %s", tuff_program_error(p));
    cr_expect(tuff_set_dim(p, "n", 3) == TUFF_E_NAME, "an unknown dim: %s", tuff_program_error(p));
    cr_expect(tuff_set_dim(p, NULL, 3) == TUFF_E_ARGUMENT, "a dim without name: %s", tuff_program_error(p));
    cr_expect(tuff_wait(p, 0, 0) == TUFF_E_ARGUMENT, "no run has ticket 0: %s", tuff_program_error(p));
    expect_words("ticket 0", tuff_program_error(p), "ticket 0 was not given");
    cr_expect(tuff_reset(p, "x") == TUFF_E_NAME, "an input is no state: %s", tuff_program_error(p));
    expect_words("reset of an input", tuff_program_error(p), "not a state");

    cr_expect(tuff_write(p, "y", data, 4 * sizeof *data) == TUFF_OK, "%s", tuff_program_error(p));
    cr_expect(tuff_run(p) == TUFF_OK, "after all that it runs: %s", tuff_program_error(p));
    float z[4] = { 0 };
    cr_expect(tuff_read(p, "z", z, sizeof z) == TUFF_OK && z[3] == 8.0f, "and is right: %g", (double)z[3]);
    tuff_program_destroy(p);
    tuff_device_close(dev);
}

Test(errors, compile)
{
    tuff_device *dev = open_device(NULL);
    tuff_graph *g = tuff_graph_create(NULL);
    const tuff_tensor x = tuff_input(g, "x", TUFF_F32, TUFF_SHAPE(INT64_C(1) << 40));
    tuff_output(g, "y", tuff_exp(x));
    tuff_program *p = NULL;
    tuff_status status = tuff_compile(dev, g, NULL, &p);
    if (!status) { /* too large for the device: found when memory is taken at the latest */
        status = tuff_run(p);
        if (status == TUFF_E_STATE) status = tuff_write(p, "x", NULL, (size_t)1 << 42);
    }
    cr_expect(status == TUFF_E_LIMIT || status == TUFF_E_DEVICE_MEMORY, "4 TiB: %s", tuff_status_text(status));
    tuff_program_destroy(p);
    tuff_graph_destroy(g);

    g = tuff_graph_create(NULL);
    tuff_exp(tuff_add(tuff_input(g, "a", TUFF_F32, TUFF_SHAPE(2)), tuff_input(g, "b", TUFF_F32, TUFF_SHAPE(3))));
    p = NULL;
    cr_expect(tuff_compile(dev, g, NULL, &p) == TUFF_E_SHAPE && !p, "a build error comes back from compile: %s", tuff_graph_error(g));
    tuff_graph_destroy(g);

    g = small_graph(); /* the device is as good as before */
    cr_expect(!tuff_compile(dev, g, NULL, &p), "%s", tuff_graph_error(g));
    tuff_program_destroy(p);
    tuff_graph_destroy(g);
    tuff_device_close(dev);
}

/* ---- devices that are not there --------------------------------------------------------------------- */

Test(errors, device)
{
    tuff_device *dev = NULL;
    cr_expect(tuff_device_open(&(tuff_device_desc){ .select = "no such device" }, &dev) == TUFF_E_NO_DEVICE && !dev, "%s", tuff_device_error(NULL));
    expect_words("device by a wrong name", tuff_device_error(NULL), "no such device");
    cr_expect(tuff_device_open(&(tuff_device_desc){ .limits = "shared=banana" }, &dev) == TUFF_E_ATTRIBUTE && !dev, "%s", tuff_device_error(NULL));
    expect_words("a limit that is no number", tuff_device_error(NULL), "shared");
    cr_expect(tuff_device_open(&(tuff_device_desc){ .toggles = "-no_such_toggle" }, &dev) == TUFF_E_ATTRIBUTE && !dev, "%s", tuff_device_error(NULL));
    expect_words("an unknown toggle", tuff_device_error(NULL), "no_such_toggle");
    dev = open_device(NULL);
    tuff_device_close(dev);
}

/* Every host allocation of opening, compiling, running and closing fails once. */
static bool run_with_failure(uint64_t n, uint64_t *calls)
{
    failing_allocator memory = { .fail_at = n };
    tuff_device *dev = NULL;
    tuff_program *p = NULL;
    tuff_graph *g = small_graph();
    float data[4] = { 1, 2, 3, 4 };
    tuff_status status = tuff_device_open(&(tuff_device_desc){ .allocator = failing(&memory), .cache_dir = "" }, &dev);
    if (!status) status = tuff_compile(dev, g, NULL, &p);
    if (!status) status = tuff_write(p, "x", data, sizeof data);
    if (!status) status = tuff_write(p, "y", data, sizeof data);
    if (!status) status = tuff_run(p);
    if (!status) status = tuff_read(p, "z", data, sizeof data);
    cr_expect(!status || status == TUFF_E_MEMORY || status == TUFF_E_DEVICE_MEMORY, "allocation %llu: %s, %s", (unsigned long long)n, tuff_status_text(status), tuff_graph_error(g));
    cr_expect(status || data[3] == 8.0f, "allocation %llu: the run says it is good, but is not", (unsigned long long)n);
    tuff_program_destroy(p);
    tuff_graph_destroy(g);
    tuff_device_close(dev);
    cr_expect(memory.live == 0, "allocation %llu: %llu bytes are left behind", (unsigned long long)n, (unsigned long long)memory.live);
    *calls = memory.calls;
    return memory.calls >= n;
}

Test(errors, every_allocation_of_a_device_fails, .timeout = 250)
{
    tuff_device_close(open_device(NULL)); /* skips without a driver */
    uint64_t n = 1, calls = 0;
    while (n < 100000 && run_with_failure(n, &calls)) n += n < 200 ? 1 : 1 + n / 16; /* opening a driver costs 50 ms: later ones are sampled */
    cr_expect(n > 3, "%llu allocations", (unsigned long long)n);
}
