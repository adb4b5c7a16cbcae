/* test_command.c - the `tuff` command from outside: exit codes, messages, results, reports and the generated page. */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "graph/npy.h"
#include "support/support.h"

#ifndef TUFF_COMMAND
#  error "TUFF_COMMAND is the path of the command"
#endif

static char output[1 << 19];

/* Runs the command with arguments; its output and messages land in `output`. Returns the exit code. */
static int tuff(const char *arguments)
{
    char line[2048];
    snprintf(line, sizeof line, "\"%s\" %s 2>&1", TUFF_COMMAND, arguments);
    FILE *p = popen(line, "r");
    cr_assert(p, "no shell");
    const size_t n = fread(output, 1, sizeof output - 1, p);
    output[n] = '\0';
    const int status = pclose(p);
    cr_assert(WIFEXITED(status), "tuff %s ended with a signal: %s", arguments, output);
    return WEXITSTATUS(status);
}

static void expect(const char *arguments, int code, const char *text)
{
    const int got = tuff(arguments);
    cr_expect(got == code, "tuff %s: exit code %d, should be %d: %s", arguments, got, code, output);
    cr_expect(strstr(output, text), "tuff %s: \"%s\" is not in: %s", arguments, text, output);
}

static const char *folder(void)
{
    static char dir[64];
    if (!dir[0]) {
        snprintf(dir, sizeof dir, "/tmp/tuff_command_XXXXXX");
        cr_assert(mkdtemp(dir), "no temporary folder");
        cr_assert(!chdir(dir), "no temporary folder");
    }
    return dir;
}

static void leave(void)
{
    char line[128];
    snprintf(line, sizeof line, "rm -r %s", folder());
    cr_expect(!system(line));
}

static void write_text(const char *name, const char *text)
{
    FILE *f = fopen(name, "wb");
    cr_assert(f && fputs(text, f) >= 0 && !fclose(f), "%s", name);
}

static void need_device(void)
{
    tuff_device_close(open_device(NULL)); /* skips the test where there is none */
}

Test(command, command_line)
{
    static const struct { const char *arguments; int code; const char *text; } cases[] = {
        { "", 2, "usage: tuff COMMAND" },
        { "--help", 0, "explain" },
        { "--version", 0, "tuff 0." },
        { "help run", 0, "--seed N" },
        { "run --help", 0, "usage: tuff run G.tuff" },
        { "rum", 2, "did you mean \"run\"" },
        { "tune a.tuff b.tuff", 2, "one argument too many" },
        { "run", 2, "an argument is missing" },
        { "run a.tuff b.tuff", 2, "\"b.tuff\" is one argument too many" },
        { "run a.tuff --sede 3", 2, "did you mean --seed" },
        { "run a.tuff --seed", 2, "--seed needs N" },
        { "run a.tuff --seed x", 2, "\"x\" was given" },
        { "run a.tuff --in q", 2, "--in needs NAME=FILE.npy" },
        { "run a.tuff --profile=1", 2, "--profile takes no value" },
        { "run a.tuff -o x", 2, "two dashes" },
        { "explain a.tuff --json --dot", 2, "exclude each other" },
        { "verify sofmax", 2, "did you mean \"softmax\"" },
        { "verify --variant x", 2, "default, floor, other and matrices" },
        { "verify --resume", 2, "--resume needs --json" },
        { "verify --save x", 2, "--save needs --cases" },
        { "bench matmull", 2, "did you mean \"matmul\"" },
        { "bench --compare a.json", 2, "needs the other report" },
        { "ops softmax", 0, "axis (int, required)" },
        { "ops sofmax", 1, "did you mean \"softmax\"" },
        { "explain /nonexistent/a.tuff", 1, "/nonexistent/a.tuff" },
        { "bench --compare /nonexistent/a.json b.json", 1, "/nonexistent/a.json could not be read" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) expect(cases[i].arguments, cases[i].code, cases[i].text);
}

Test(command, ops_page_is_current)
{
    char message[256], *page = NULL;
    size_t size = 0;
    cr_assert(!tf_file_read(TUFF_OPS_PAGE, NULL, &page, &size, message, sizeof message), "%s", message);
    cr_assert(tuff("ops --markdown") == 0);
    cr_expect(!strcmp(output, page), "docs/ops.md is not what the op table gives: run `tuff ops --markdown > docs/ops.md`");
    tf_free(NULL, page, size + 1);
}

Test(command, explain_without_a_device)
{
    folder();
    write_text("g.tuff", "x = input f32[4,8]\ny = softmax(x) {axis=1}\noutput y\n");
    expect("explain g.tuff --device floor", 0, "kernel");
    expect("explain g.tuff --device floor --json", 0, "\"arena_bytes\"");
    expect("explain g.tuff --device floor --dot", 0, "digraph");
    expect("explain g.tuff --device floor --glsl", 0, "void main()");
    expect("explain g.tuff --device floor --limits bindings=3", 1, "below the least usable value 4");
    write_text("bad.tuff", "x = input f32[4,8]\ny = sofmax(x) {axis=1}\noutput y\n");
    expect("explain bad.tuff --device floor", 1, "bad.tuff:2:5");
    leave();
}

Test(command, run)
{
    need_device();
    folder();
    write_text("g.tuff", "dim n <= 8\nparam c = 3\nx = input f32[n,c]\ny = mul(x, 2.0)\noutput y\n");
    const float x[6] = { 1, 2, 3, 4, 5, -6 };
    char message[256];
    cr_assert(!tf_npy_write("x.npy", TUFF_F32, &TUFF_SHAPE(2, 3), x, NULL, message, sizeof message), "%s", message);
    expect("run g.tuff --dim n=2 --in x=x.npy --out y=y.npy", 0, "");
    tf_npy y;
    cr_assert(!tf_npy_read("y.npy", TUFF_F32, NULL, &y, message, sizeof message), "%s", message);
    cr_expect(y.shape.rank == 2 && y.shape.dim[0] == 2 && y.shape.dim[1] == 3);
    for (int i = 0; i < 6; i++) cr_expect(((const float *)y.data)[i] == 2.0f * x[i]);
    tf_npy_release(&y, NULL);
    expect("run g.tuff --dim n=2 --in x=x.npy", 0, "y f32[2,3]  mean 3, least -12, most 10");
    expect("run g.tuff", 0, "random numbers (seed 0) for x");
    expect("run g.tuff --param c=5 --repeat 3", 0, "y f32[8,5]");
    expect("run g.tuff --deterministic", 0, "y f32[8,3]");
    cr_assert(!setenv("TUFF_DUMP", "dump", 1));
    expect("run g.tuff --quiet", 0, "");
    cr_assert(!unsetenv("TUFF_DUMP"));
    cr_expect(!system("grep -q 'void main' dump/mul-*.comp && test \"$(od -An -tx4 -N4 dump/mul-*.spv)\" = ' 07230203'"), "no kernel was dumped");
    expect("run g.tuff --dim n=3 --in x=x.npy", 1, "x.npy holds f32[2,3], input \"x\" needs f32[3,3]");
    expect("run g.tuff --dim n=9", 1, "9");
    expect("run g.tuff --dim n=x", 2, "must be a whole number");
    expect("run g.tuff --in z=x.npy", 1, "\"z\"");
    expect("run g.tuff --out z=z.npy", 1, "\"z\"");
    expect("run g.tuff --in x=none.npy", 1, "none.npy");
    expect("run g.tuff --device nonesuch", 1, "nonesuch");
    leave();
}

Test(command, pack)
{
    need_device();
    folder();
    write_text("g.tuff", "param c = 3\nx = input f32[2,c]\nw = input f32[c]\ny = mul(x, w)\noutput y\n");
    const float x[6] = { 1, 2, 3, 4, 5, -6 }, w[3] = { 1, 2, 3 };
    char message[256];
    cr_assert(!tf_npy_write("x.npy", TUFF_F32, &TUFF_SHAPE(2, 3), x, NULL, message, sizeof message), "%s", message);
    cr_assert(!tf_npy_write("w.npy", TUFF_F32, &TUFF_SHAPE(3), w, NULL, message, sizeof message), "%s", message);
    expect("pack g.tuff --const w=w.npy -o g.capsule", 0, "");
    expect("run g.capsule --in x=x.npy", 0, "y f32[2,3]  mean 1.66667, least -18, most 10");
    expect("explain g.capsule", 0, "1 kernel");
    expect("explain g.capsule --device floor --glsl", 0, "no text");
    expect("pack g.tuff --const w=w.npy -o any.capsule --deterministic", 0, "");
    expect("pack any.capsule g.capsule -o both.capsule", 0, "");
    expect("run both.capsule --in x=x.npy", 0, "y f32[2,3]  mean 1.66667, least -18, most 10");
    expect("run any.capsule --in x=x.npy", 0, "y f32[2,3]  mean 1.66667, least -18, most 10");
    expect("run g.capsule --param c=4", 2, "come too late");
    expect("pack g.tuff", 2, "-o FILE");
    expect("pack g.tuff -o", 2, "-o needs FILE");
    expect("pack g.tuff g.capsule -o z.capsule", 2, "one graph, or several capsules");
    expect("pack g.tuff -o no/such/z.capsule", 1, "no/such/z.capsule cannot be written");
    expect("pack g.tuff --const z=w.npy -o z.capsule", 1, "no input \"z\"");
    expect("run g.tuff --const ww=w.npy", 1, "did you mean \"w\"?");
    cr_expect(!system("head -c 200 g.capsule >cut.capsule"));
    expect("run cut.capsule", 1, "cut.capsule: the capsule cannot be read: it ends early");
    leave();
}

Test(command, tune)
{
    need_device();
    folder();
    cr_assert(!setenv("TUFF_CACHE_DIR", "cache", 1));
    write_text("g.tuff", "a = input f32[64,64]\nb = input f32[64,64]\ny = matmul(a, b)\noutput y\n");
    expect("tune g.tuff --ms 1", 0, "of 1 choices differ from the estimate; kept in cache/tuning-");
    /* Whatever the file says, the device can be opened. */
    cr_expect(!system("printf 'x\\n0 0\\n\\n0123456789abcdef 99999999999\\n' >>\"$(ls cache/tuning-*.txt)\""));
    expect("run g.tuff", 0, "y f32[64,64]");
    cr_assert(!setenv("TUFF_CACHE_DIR", "", 1));
    expect("tune g.tuff", 1, "no cache directory");
    cr_assert(!unsetenv("TUFF_CACHE_DIR"));
    leave();
}

Test(command, verify)
{
    need_device();
    folder();
    expect("verify add tril --variant default --json r.jsonl", 0, "2 ops are right, 0 are wrong");
    expect("verify add tril iota --variant default --json r.jsonl --resume", 0, "1 ops are right, 0 are wrong");
    char message[256], *text = NULL;
    size_t size = 0;
    cr_assert(!tf_file_read("r.jsonl", NULL, &text, &size, message, sizeof message), "%s", message);
    static const char *const parts[] = { "{\"environment\":", "{\"op\":\"add\",\"verdict\":\"ok\"", "{\"op\":\"iota\",\"verdict\":\"ok\"" };
    for (size_t i = 0; i < COUNT(parts); i++) cr_expect(strstr(text, parts[i]), "%s is not in %s", parts[i], text);
    tf_free(NULL, text, size + 1);
    leave();
}

static void write_case(const char *name, const char *op, const char *attrs, const float *want)
{
    char path[128], text[1024], message[256];
    const float x[4] = { 1, 2, 3, 4 };
    snprintf(path, sizeof path, "mkdir -p cases/%s", name);
    cr_assert(!system(path));
    snprintf(path, sizeof path, "cases/%s/in_x.npy", name);
    cr_assert(!tf_npy_write(path, TUFF_F32, &TUFF_SHAPE(1, 4), x, NULL, message, sizeof message), "%s", message);
    snprintf(path, sizeof path, "cases/%s/out_y.npy", name);
    if (want) cr_assert(!tf_npy_write(path, TUFF_F32, &TUFF_SHAPE(1, 4), want, NULL, message, sizeof message), "%s", message);
    snprintf(text, sizeof text, "{\"op\": \"%s\", \"attrs\": {%s}, \"inputs\": {\"x\": {\"file\": \"in_x.npy\", \"dtype\": \"float32\", \"shape\": [1, 4]}}, "
             "\"outputs\": {\"y\": {\"file\": \"out_y.npy\", \"dtype\": \"float32\", \"shape\": [1, 4]}}, \"tolerance\": {\"rel_l2\": 1e-5}}", op, attrs);
    snprintf(path, sizeof path, "cases/%s/case.json", name);
    write_text(path, text);
}

Test(command, verify_cases)
{
    need_device();
    folder();
    write_case("right", "cumsum", "\"axis\": 1, \"note\": \"words\", \"order\": \"first to last\", \"std\": 3, \"reference_words\": [1, 2]", (const float[]){ 1, 3, 6, 10 });
    write_case("computed", "cumsum", "\"axis\": -1, \"exclusive\": true", NULL);
    expect("verify --cases cases --save out", 0, "2 cases pass, 0 fail");
    cr_expect(strstr(output, " y (no expected file)\n") && !strstr(output, "nan"), "%s", output);
    char message[256];
    tf_npy y;
    cr_assert(!tf_npy_read("out/computed/y.npy", TUFF_F32, NULL, &y, message, sizeof message), "%s", message);
    cr_expect(((const float *)y.data)[3] == 6.0f);
    tf_npy_release(&y, NULL);
    write_case("wrong", "cumsum", "\"axis\": 1", (const float[]){ 1, 3, 6, 11 });
    write_case("attribute", "cumsum", "\"axis\": 1, \"sideways\": true", (const float[]){ 1, 3, 6, 10 });
    write_case("unknown", "no_such_op", "", (const float[]){ 1, 3, 6, 10 });
    expect("verify --cases cases/wrong", 1, "output \"y\": relative L2 distance");
    expect("verify --cases cases/attribute", 1, "attribute sideways=true is not known to op cumsum");
    expect("verify --cases cases/unknown", 1, "op \"no_such_op\" is not known");
    expect("verify --cases cases", 1, "2 cases pass, 3 fail");
    expect("verify --cases /nonexistent", 1, "there is no case.json");
    leave();
}
