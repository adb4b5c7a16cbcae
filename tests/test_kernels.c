/* test_kernels.c - the kernel variants of reductions, row norms, matmul, scans and scatter: sizes around every vector, tile,
 * chunk and workgroup, for both device classes and for the floor, with fixed and dynamic dims. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/interp.h"
#include "runtime/device.h"
#include "support/support.h"

/* %d in a text: replaced by the sizes of the case, in order. */
typedef struct kernel_case {
    const char *text;
    int size[5];
    int live[2]; /* live values of the dynamic dims n and m; 0: at the bound */
} kernel_case;

#define IN(shape) "a = input f32[" shape "]\n"
#define ROW_OPS                                                                                                               \
    "y0 = sum(a) {axes=[1]}\noutput y0\ny1 = max(a) {axes=[1]}\noutput y1\ny2 = softmax(a) {axis=1}\noutput y2\n"             \
    "y3 = layer_norm(a)\noutput y3\ny4 = argmax(a) {axis=1}\noutput y4\ny5 = cumsum(a) {axis=1}\noutput y5\n"                 \
    "y6 = logsumexp(a) {axes=[1]}\noutput y6\ny7 = variance(a) {axes=[1]}\noutput y7\n"
#define COL_OPS                                                                                                               \
    "y0 = sum(a) {axes=[1]}\noutput y0\ny1 = min(a) {axes=[1]}\noutput y1\ny2 = softmax(a) {axis=1}\noutput y2\n"             \
    "y3 = argmin(a) {axis=1}\noutput y3\ny4 = cumsum(a) {axis=1, exclusive=true}\noutput y4\n"                                \
    "y5 = logsumexp(a) {axes=[1]}\noutput y5\ny6 = std(a) {axes=[0,1]}\noutput y6\n"
#define LAYER "g = input f32[%d]\nb = input f32[%d]\ny = layer_norm(a, gain=g, bias=b)\noutput y\nz = relu(y)\noutput z\nw = softmax(a) {axis=1}\noutput w\n"
#define MM(tail) "y = matmul(a, b)" tail "\noutput y\n"
#define AB IN("%d,%d") "b = input f32[%d,%d]\n"
#define C(text, ...) { text, { __VA_ARGS__ }, { 0 } }
#define D(text, n, m) { text, { 0 }, { n, m } }

static const kernel_case cases[] = {
    C(IN("%d,%d") ROW_OPS, 1, 1), C(IN("%d,%d") ROW_OPS, 3, 2), C(IN("%d,%d") ROW_OPS, 70, 3), C(IN("%d,%d") ROW_OPS, 5, 4),
    C(IN("%d,%d") ROW_OPS, 300, 31), C(IN("%d,%d") ROW_OPS, 9, 128), C(IN("%d,%d") ROW_OPS, 2, 1025), C(IN("%d,%d") ROW_OPS, 600, 260),
    C(IN("%d,%d") ROW_OPS, 1, 20000), C(IN("%d,%d") ROW_OPS, 3, 70001),
    C(IN("%d,%d") ROW_OPS, 7, 32), C(IN("%d,%d") LAYER, 7, 32, 32, 32), C(IN("%d,%d") LAYER, 5, 480, 480, 480), C("a = input f16[%d,%d]\n" LAYER, 3, 64, 64, 64),
    /* maps large enough for eight elements a load: tables, columns, shifted rows, narrow and packed results */
    C(IN("%d,%d") "r = input f32[256]\nc = input f32[256,1]\nt = mul(add(mul(a, r), c), a)\noutput t\nm = greater(t, r)\noutput m\nh = cast(t) {dtype=bf16}\noutput h\n", 256, 256),
    C("a = input f16[%d,%d]\nr = input f16[256]\ny = relu(add(mul(a, r), 0.5))\noutput y\nz = cast(a) {dtype=i16}\noutput z\n", 256, 256),
    C(IN("%d,%d") "s = slice(a) {start=[0,1], stop=[256,257]}\ny = add(s, 1)\noutput y\ng = roll(a) {shift=[4], axes=[1]}\nz = mul(g, 2)\noutput z\n", 256, 264),
    C("a = input c64[%d,%d]\ny = mul(a, a)\noutput y\nb = input i32[256,256]\nz = add(b, b)\noutput z\nw = cast(b) {dtype=u8}\noutput w\n", 256, 256),
    /* maps in tiles: whole blocks, parts of one, axes around them */
    C(IN("%d,%d") "y = permute(a) {axes=[1,0]}\noutput y\n", 96, 200), C(IN("%d,%d,%d") "y = permute(a) {axes=[0,2,1]}\nz = add(y, 1)\noutput z\n", 3, 20, 8),
    C(IN("%d,%d,%d,5") "y = permute(a) {axes=[3,0,2,1]}\noutput y\n", 3, 12, 28),
    C(IN("%d,%d,%d") COL_OPS, 1, 5, 1), C(IN("%d,%d,%d") COL_OPS, 3, 4, 2), C(IN("%d,%d,%d") COL_OPS, 2, 33, 5),
    C(IN("%d,%d,%d") COL_OPS, 4, 100, 260), C(IN("%d,%d,%d") COL_OPS, 1, 9000, 3), C(IN("%d,%d,%d") COL_OPS, 2, 2000, 64),
    C(AB MM(""), 2, 3, 3, 2), C(AB MM(""), 5, 16, 16, 9), C(AB MM(""), 33, 130, 130, 65), C(AB MM(""), 129, 47, 47, 140),
    C(AB MM(""), 256, 64, 64, 256), C(AB MM(" {transpose_b=true}"), 67, 50, 39, 50), C(AB MM(" {transpose_a=true}"), 50, 67, 50, 39),
    C(AB MM(" {transpose_a=true, transpose_b=true}"), 64, 128, 128, 64), C(AB "c = permute(b) {axes=[1,0]}\ny = matmul(a, c)\noutput y\n", 40, 64, 30, 64),
    C(AB "c = transpose(a) {a=1, b=0}\ny = matmul(c, b)\noutput y\n", 64, 40, 64, 30),
    C(AB MM(""), 1, 500, 500, 66), C(AB MM(" {transpose_b=true}"), 2, 500, 66, 500), C(AB MM(""), 90, 123, 123, 1),
    C(IN("%d") "b = input f32[3,%d,%d]\n" MM(""), 40, 40, 7), C(IN("%d,%d") "b = input f32[%d]\n" MM(""), 90, 123, 123),
    C(IN("4,1,%d,%d") "b = input f32[3,%d,%d]\n" MM(""), 9, 20, 20, 17), C("a = input f16[%d,%d]\nb = input f16[%d,%d]\n" MM(""), 40, 64, 64, 24),
    C("a = input i32[%d,%d]\nb = input i32[%d,%d]\n" MM(""), 20, 17, 17, 24),
    C(IN("%d,%d") "y = cumprod(a) {axis=1, reverse=true, exclusive=true}\noutput y\n", 7, 5),
    C(IN("%d,%d") "y = cumsum(a) {axis=1, reverse=true}\noutput y\n", 2, 30000), C("a = input c64[%d,%d]\ny = cumprod(a) {axis=1}\noutput y\n", 7, 9),
    C(IN("%d,%d") "i = input i32[%d]\nu = input f32[%d,%d]\ny = scatter(a, i, u) {axis=0, mode=add}\noutput y\n", 20, 70, 90, 90, 70),
    C(IN("%d,%d") "i = input i32[%d]\nu = input f32[5,%d]\ny = scatter(a, i, u) {axis=1, mode=add}\noutput y\n", 5, 20, 300, 300),
    C("a = input f32[%d,%d]\ny = sum(a) {axes=[1]}\noutput y\nz = prod(a) {axes=[1]}\noutput z\nw = cumsum(a) {axis=1}\noutput w\n", 3, 0),
    C("a = input f32[%d,%d]\ny = sum(a) {axes=[1]}\noutput y\nz = softmax(a) {axis=1}\noutput z\n", 0, 5),
    C("a = input f32[%d,%d]\nb = input f32[%d,%d]\n" MM(""), 3, 0, 0, 4), C("a = input f32[%d,%d,3]\ny = sum(a) {axes=[1]}\noutput y\n", 3, 0),
    D("dim n <= 400\ndim m <= 90\n" IN("n,m") ROW_OPS, 333, 77), D("dim n <= 9\ndim m <= 30000\n" IN("n,m") ROW_OPS, 2, 5001),
    D("dim n <= 40\ndim m <= 600\n" IN("n,m,12") COL_OPS, 3, 555), D("dim n <= 100\ndim m <= 70\n" IN("n,m") "b = input f32[m,n]\n" MM(""), 83, 41),
};

static void fill(rng *numbers, const char *name, tuff_dtype dtype, void *data, size_t n)
{
    for (size_t i = 0; strcmp(name, "i") == 0 && i < n; i++) ((int32_t *)data)[i] = (int32_t)rng_below(numbers, 25) - 2; /* some outside */
    for (size_t i = 0; strcmp(name, "i") != 0 && i < n; i++) {
        const bool whole = !tf_dtype_is_float(dtype) && dtype != TUFF_C64;
        tf_store_element(dtype, data, i, whole ? (double)rng_below(numbers, 9) : 0.5 + rng_uniform(numbers), 0.25);
    }
}

static tuff_graph *parse(const kernel_case *c, char *what, size_t size)
{
    char text[2048], message[256];
    tuff_graph *g = NULL;
    snprintf(text, sizeof text, c->text, c->size[0], c->size[1], c->size[2], c->size[3], c->size[4]);
    snprintf(what, size, "%.160s", text);
    for (char *s = what; *s; s++) *s = *s == '\n' ? ';' : *s;
    cr_assert(!tuff_graph_parse(text, strlen(text), NULL, &g, message, sizeof message), "%s: %s", what, message);
    return g;
}

static size_t live_bytes(const tf_interp *in, const char *name, tuff_dtype *dtype)
{
    tuff_shape shape;
    size_t bytes = 0;
    cr_assert(!tf_interp_describe(in, name, &bytes, dtype, &shape));
    return bytes;
}

static void compare(tuff_graph *g, tuff_program *p, tf_interp *in, const tf_port *port, const char *what)
{
    tuff_dtype dtype;
    const size_t bytes = live_bytes(in, port->name, &dtype), n = bytes * 8 / tf_dtype_bits(dtype);
    void *got = malloc(bytes + 1), *want = malloc(bytes + 1);
    double *x = malloc((n + 1) * sizeof *x), *y = malloc((n + 1) * sizeof *y);
    char label[256];
    cr_assert(got && want && x && y);
    cr_assert(!tuff_read(p, port->name, got, bytes), "%s: %s", what, tuff_program_error(p));
    cr_assert(!tf_interp_read(in, port->name, want, bytes));
    for (size_t i = 0; i < n; i++) {
        double im, im2;
        x[i] = tf_load_element(dtype, got, i, &im) + (dtype == TUFF_C64 ? im : 0);
        y[i] = tf_load_element(dtype, want, i, &im2) + (dtype == TUFF_C64 ? im2 : 0);
    }
    snprintf(label, sizeof label, "%s %s", what, port->name);
    expect_array(label, dtype, x, y, n, dtype == TUFF_I32 || dtype == TUFF_BOOL ? (tolerance){ 0 } : value_tolerance(g, port->value));
    free(got);
    free(want);
    free(x);
    free(y);
}

static void run_case(tuff_device *dev, const kernel_case *c)
{
    char what[192];
    tuff_graph *g = parse(c, what, sizeof what);
    tuff_program *p = NULL;
    const tuff_status status = tuff_compile(dev, g, NULL, &p);
    cr_expect(!status, "%s: %s", what, tuff_graph_error(g));
    tf_interp *in = tf_interp_create(g, NULL);
    rng numbers = { 5 };
    for (int d = 0; p && d < 2 && c->live[d]; d++) {
        const char *const name = d ? "m" : "n";
        cr_assert(!tuff_set_dim(p, name, c->live[d]) && !tf_interp_set_dim(in, name, c->live[d]));
    }
    for (uint32_t i = 0; p && i < g->ports.n; i++) {
        const tf_port *port = &g->ports.data[i];
        if (port->kind != TF_PORT_INPUT) continue;
        tuff_dtype dtype;
        const size_t bytes = live_bytes(in, port->name, &dtype);
        void *data = calloc(1, bytes + 1);
        cr_assert(data != NULL);
        fill(&numbers, port->name, dtype, data, bytes * 8 / tf_dtype_bits(dtype));
        cr_assert(!tuff_write(p, port->name, data, bytes) && !tf_interp_write(in, port->name, data, bytes), "%s: %s", what, tuff_program_error(p));
        free(data);
    }
    if (p && !tf_interp_run(in)) {
        cr_expect(!tuff_run(p), "%s: %s", what, tuff_program_error(p));
        for (uint32_t i = 0; i < g->ports.n; i++)
            if (g->ports.data[i].kind == TF_PORT_OUTPUT) compare(g, p, in, &g->ports.data[i], what);
    }
    tf_interp_destroy(in);
    tuff_program_destroy(p);
    tuff_graph_destroy(g);
}

/* Cases whose kernels are a choice (tf_way): every way of it. */
static const kernel_case choices[] = {
    C(IN("%d,%d") ROW_OPS, 70, 33), C(IN("%d,%d") ROW_OPS, 3, 2000), C(IN("%d,%d,%d") COL_OPS, 2, 33, 12), C(AB MM(""), 33, 130, 130, 65), C(AB MM(""), 3, 16, 16, 9),
    C(AB MM(" {transpose_b=true}"), 67, 50, 39, 50), C(AB MM(" {transpose_a=true}"), 50, 67, 50, 39), C("a = input f16[%d,%d]\nb = input f16[%d,%d]\n" MM(""), 40, 64, 64, 24),
    D("dim n <= 90\ndim m <= 70\na = input f32[n,m]\nb = input f32[m,45]\ny = matmul(a, b)\noutput y\nz = softmax(a) {axis=0}\noutput z\n", 33, 21),
};

static void run_every_way(const tuff_device_desc *desc)
{
    tuff_device *dev = open_device(desc);
    uint32_t ways = 0;
    for (size_t i = 0; i < COUNT(choices); i++) {
        char what[192];
        tf_plan *plan = NULL;
        tuff_graph *g = parse(&choices[i], what, sizeof what);
        cr_assert(!tf_compile(g, &dev->caps.limits, NULL, NULL, &plan), "%s: %s", what, tuff_graph_error(g));
        for (uint32_t k = 0; k < plan->kernels.n; k++)
            for (uint32_t w = 0; w < plan->kernels.data[k].ways; w++) {
                if (w == plan->kernels.data[k].way) continue;
                const tf_tuned row = { plan->kernels.data[k].choice, w };
                const tf_tuning table = { &row, 1 };
                tf_plan *other = NULL;
                dev->caps.limits.tuning = &table;
                cr_assert(!tf_compile(g, &dev->caps.limits, NULL, NULL, &other), "%s: %s", what, tuff_graph_error(g));
                cr_expect(other->kernels.data[k].way == w && strstr(other->kernels.data[k].algorithm, ", tuned"), "%s: way %u of %s is not taken", what, w, plan->kernels.data[k].name);
                run_case(dev, &choices[i]);
                tf_plan_destroy(other);
                ways++;
            }
        dev->caps.limits.tuning = NULL;
        tf_plan_destroy(plan);
        tuff_graph_destroy(g);
    }
    cr_expect(ways > 30, "%u ways", ways);
    tuff_device_close(dev);
}

/* Only where the device computes in f64. */
static const kernel_case doubles[] = {
    C("a = input f64[%d,%d]\nz = layer_norm(a)\noutput z\nw = rms_norm(a)\noutput w\n", 5, 33),
    C("a = input f64[%d,%d]\nb = input f64[%d,%d]\n" MM(""), 9, 33, 33, 7), C("a = input f64[%d,%d]\nb = input f64[%d,%d]\n" MM(""), 1, 33, 33, 7),
    C("a = input f64[%d,%d]\ny = sum(a) {axes=[1]}\noutput y\nz = variance(a) {axes=[0]}\noutput z\nw = cumsum(a) {axis=1}\noutput w\n"
      "v = argmax(a) {axis=1}\noutput v\n", 5, 70),
};

/* Scans of rows that are cut into parts, with a part's last trip whole and not. c: few segments. */
#define RECURRENCE(dims, tail) "a = input f32[" dims "]\nb = input f32[" dims "]\nc = input f32[" dims "]\ns = greater(c, 1.49)\ny = linear_scan(tanh(b), a" tail "\noutput y\n"
static const kernel_case scans[] = {
    C("a = input f32[%d]\ny = cumsum(a) {axis=0}\noutput y\nz = cummax(a) {axis=0, reverse=true}\noutput z\n", 270336),
    C("a = input f32[%d]\nc = input f32[%d]\ny = logcumsumexp(mul(a, 20)) {axis=0}\noutput y\nz = logcumsumexp(a, seg_start=greater(c, 1.49)) {axis=0, exclusive=true}\noutput z\n", 263001, 263001),
    C(RECURRENCE("%d", ") {axis=0}"), 300000, 300000, 300000), C(RECURRENCE("%d", ", seg_start=s) {axis=0, reverse=true}"), 262149, 262149, 262149),
    C("a = input f32[3,%d]\ne = input f32[3]\ny = cumsum(a, initial=e) {axis=1, exclusive=true}\noutput y\n", 90001),
    C("a = input c64[%d]\nb = input c64[%d]\ny = linear_scan(mul(b, complex(0.3, 0.0)), a) {axis=0}\noutput y\n", 262200, 262200),
    C("a = input i32[%d]\nc = input f32[%d]\ny = cumsum(a, seg_start=greater(c, 1.2)) {axis=0}\noutput y\n", 262153, 262153),
    C("a = input f32[%d]\nb = input f32[%d]\nc = input f32[%d]\n"
      "p, q = scan(x=tanh(b), y=a, seg_start=greater(c, 1.49)) {axis=0, combine=\"x = a.x * b.x; y = b.x * a.y + b.y\"}\noutput p\noutput q\n", 262401, 262401, 262401),
    D("dim n <= 400000\n" RECURRENCE("n", ", seg_start=s) {axis=0}"), 300001, 0), D("dim n <= 400000\n" RECURRENCE("n", ") {axis=0}"), 7, 0),
};

static void run_scans(const tuff_device_desc *desc)
{
    tuff_device *dev = open_device(desc);
    for (size_t i = 0; i < COUNT(scans); i++) run_case(dev, &scans[i]);
    tuff_device_close(dev);
}

/* Rows that begin with -inf, rise by more than e^x holds within a vector, hold +inf twice, or a NaN: what a running sum of
 * exponentials must stand, and what a segment's start must end. */
static void run_logarithms(const tuff_device_desc *desc)
{
    enum { ROWS = 4, N = 700 };
    enum { START = 601 };
    static float x[ROWS][N], y[ROWS][N], z[ROWS][N];
    static int32_t starts[ROWS][N];
    for (int i = 0; i < N; i++) {
        for (int r = 0; r < ROWS; r++) starts[r][i] = i == START;
        x[0][i] = i < 330 ? -INFINITY : -2.0f;
        x[1][i] = (float)(i % 7) * 150.0f - 900.0f + (float)i;
        x[2][i] = i == 300 || i == 301 || i == 420 ? INFINITY : 1.0f;
        x[3][i] = i == 517 ? NAN : 0.5f;
    }
    tuff_device *dev = open_device(desc);
    tuff_graph *g = tuff_graph_create(NULL);
    const tuff_tensor in = tuff_input(g, "x", TUFF_F32, TUFF_SHAPE(ROWS, N)), seg = tuff_input(g, "starts", TUFF_I32, TUFF_SHAPE(ROWS, N));
    tuff_output(g, "y", tuff_logcumsumexp(in, 1, NULL));
    tuff_output(g, "z", tuff_logcumsumexp(in, 1, &(tuff_scan_desc){ .seg_start = seg }));
    tuff_program *p = NULL;
    cr_assert(!tuff_compile(dev, g, NULL, &p), "%s", tuff_graph_error(g));
    cr_assert(!tuff_write(p, "x", x, sizeof x) && !tuff_write(p, "starts", starts, sizeof starts) && !tuff_run(p), "%s", tuff_program_error(p));
    cr_assert(!tuff_read(p, "y", y, sizeof y) && !tuff_read(p, "z", z, sizeof z), "%s", tuff_program_error(p));
    double most = -INFINITY, sum = 0;
    for (int i = 0; i < N; i++) {
        const double v = (double)x[1][i], top = fmax(most, v);
        sum = sum * exp(most - top) + exp(v - top);
        most = top;
        if (i < 330) cr_expect(isinf(y[0][i]) && y[0][i] < 0, "-inf only [%d]: %g", i, (double)y[0][i]);
        else cr_expect_float_eq(y[0][i], -2 + log(i - 329), 2e-6, "behind -inf [%d]: %g", i, (double)y[0][i]);
        cr_expect_float_eq(y[1][i], most + log(sum), 2e-4, "rising [%d]: %g, want %g", i, (double)y[1][i], most + log(sum));
        if (i < 300) cr_expect_float_eq(y[2][i], 1 + log(i + 1), 4e-6, "before +inf [%d]: %g", i, (double)y[2][i]);
        else cr_expect(isinf(y[2][i]) && y[2][i] > 0, "from +inf on [%d]: %g", i, (double)y[2][i]);
        if (i < 517) cr_expect_float_eq(y[3][i], 0.5 + log(i + 1), 4e-6, "before nan [%d]: %g", i, (double)y[3][i]);
        else cr_expect(isnan(y[3][i]), "from nan on [%d]: %g", i, (double)y[3][i]);
        if (i < START) continue;
        cr_expect_float_eq(z[2][i], 1 + log(i + 1 - START), 4e-6, "a segment behind +inf [%d]: %g", i, (double)z[2][i]);
        cr_expect_float_eq(z[3][i], 0.5 + log(i + 1 - START), 4e-6, "a segment behind nan [%d]: %g", i, (double)z[3][i]);
    }
    tuff_program_destroy(p);
    tuff_graph_destroy(g);
    tuff_device_close(dev);
}

Test(kernels, long_scans)
{
    static const tuff_device_desc classes[] = { { .toggles = "+cpu", .limits = "units=2" }, { .toggles = "+cpu,-subgroup", .limits = "bindings=4" }, { .toggles = "-cpu,-subgroup", .limits = "invocations=128,bindings=4" } };
    for (size_t i = 0; i < COUNT(classes); i++) {
        run_logarithms(&classes[i]);
        run_scans(&classes[i]);
    }
}

static void run_all(const tuff_device_desc *desc)
{
    tuff_device *dev = open_device(desc);
    for (size_t i = 0; i < COUNT(cases); i++) run_case(dev, &cases[i]);
    for (size_t i = 0; dev->caps.limits.f64 && i < COUNT(doubles); i++) run_case(dev, &doubles[i]);
    tuff_device_close(dev);
}

/* ---- cooperative matrices -------------------------------------------------------------------------- */

#define HH "a = input f16[%d,%d]\nb = input f16[%d,%d]\n"
static const kernel_case matrix_cases[] = {
    C(HH MM(""), 33, 47, 47, 140), C(HH MM(" {dtype=f32}"), 70, 64, 64, 66), C(HH MM(" {transpose_b=true}"), 67, 50, 39, 50),
    C(HH MM(" {transpose_a=true}"), 50, 67, 50, 39), C(HH MM(" {transpose_a=true, transpose_b=true}"), 64, 128, 128, 64),
    C("a = input f16[4,1,%d,%d]\nb = input f16[3,%d,%d]\n" MM(""), 17, 40, 40, 17),
    /* hooks on all sides; a product of halves is one again */
    C(HH "c = input f32[%d]\nt = mul(a, 0.5)\nm = matmul(t, b) {dtype=f32}\ny = relu(add(m, c))\noutput y\n", 40, 72, 72, 41, 41),
    C("a = input f16[%d,%d]\nb = input i8[%d,%d]\ns = input f16[60,2]\nw = dequant(b, s) {group=18, dtype=f16}\ny = matmul(a, w)\noutput y\n", 36, 60, 60, 36),
    C("a = input f16[%d,%d]\nb = input i8[%d,%d]\nw = cast(b) {dtype=f16}\ny = matmul(a, w) {dtype=f32}\noutput y\n", 36, 60, 60, 36),
    C("a = input f16[%d,%d]\nb = input f16[%d,%d]\ns = slice(a) {start=[1,3], stop=[42,36]}\ny = matmul(s, b)\noutput y\n", 43, 37, 33, 30),
    D("dim n <= 100\ndim m <= 70\na = input f16[n,m]\nb = input f16[m,n]\n" MM(""), 83, 41),
};

/* Do the kernels of the case use matrices under the device's limits? */
static bool uses_matrices(tuff_device *dev, const kernel_case *c)
{
    char what[192], text[8192];
    tuff_graph *g = parse(c, what, sizeof what);
    tuff_program *p = NULL;
    cr_assert(!tuff_compile(dev, g, NULL, &p), "%s: %s", what, tuff_graph_error(g));
    tuff_program_explain(p, TUFF_EXPLAIN_TEXT, text, sizeof text);
    tuff_program_destroy(p);
    tuff_graph_destroy(g);
    return strstr(text, "cooperative matrices") != NULL;
}

/* Small tiles, then large ones. */
Test(kernels, matrices)
{
    static const char *const limits[] = { "units=64", "shared=16K,units=1" };
    for (size_t d = 0; d < COUNT(limits); d++) {
        tuff_device *dev = open_device(&(tuff_device_desc){ .toggles = "+coopmat", .limits = limits[d] });
        if (!dev->caps.limits.coopmat.m) {
            tuff_device_close(dev);
            cr_skip_test("the device or the shader compiler has no cooperative matrices");
        }
        for (size_t i = 0; i < COUNT(matrix_cases); i++) {
            cr_expect(uses_matrices(dev, &matrix_cases[i]), "%s: plain code", matrix_cases[i].text);
            run_case(dev, &matrix_cases[i]);
        }
        /* where a half would lose digits they are not used */
        static const kernel_case wide[] = { C(AB MM(""), 64, 64, 64, 64), C("a = input bf16[%d,%d]\nb = input f16[%d,%d]\n" MM(""), 64, 64, 64, 64),
                                            C("a = input f16[%d,%d]\nb = input i32[%d,%d]\nw = cast(b) {dtype=f32}\ny = matmul(a, w)\noutput y\n", 64, 64, 64, 64) };
        for (size_t i = 0; i < COUNT(wide); i++) cr_expect(!uses_matrices(dev, &wide[i]), "%s: halves", wide[i].text);
        tuff_device_close(dev);
    }
}

/* The kernels compile for the shapes and subgroups of devices that are not here, within their shared memory. */
Test(kernels, matrices_of_other_devices)
{
    static const struct { tf_matrices size; uint32_t lanes, shared; } devices[] = {
        { { 16, 16, 16 }, 32, 48 << 10 }, { { 16, 16, 16 }, 64, 64 << 10 }, { { 16, 8, 16 }, 32, 32 << 10 }, { { 8, 16, 16 }, 16, 64 << 10 },
        { { 8, 8, 16 }, 32, 16 << 10 }, { { 16, 16, 32 }, 128, 32 << 10 }, { { 32, 32, 16 }, 64, 64 << 10 }, { { 64, 64, 64 }, 128, 64 << 10 },
    };
    static const char *const texts[] = {
        "a = input f16[300,200]\nb = input f16[200,333]\ny = matmul(a, b)\noutput y\nz = matmul(b, b) {transpose_b=true}\noutput z\n",
        "a = input f16[300,200]\nb = input f16[500,200]\ny = matmul(a, b) {transpose_b=true}\noutput y\nz = matmul(a, a) {transpose_a=true}\noutput z\n",
        "q = input f16[1,300,4,64]\nk = input f16[1,300,2,64]\nv = input f16[1,300,2,80]\no = attention(q, k, v) {causal=true}\noutput o\n",
        "q = input f16[1,300,2,128]\nk = input f16[1,300,2,128]\nv = input f16[1,300,2,128]\no = attention(q, k, v) {dtype=f32}\noutput o\n",
    };
    if (!tf_jit_matrices() || !tf_jit_version()) cr_skip_test("the shader compiler has no cooperative matrices");
    uint32_t found = 0;
    for (size_t d = 0; d < COUNT(devices) * COUNT(texts); d++) {
        const char *text = texts[d % COUNT(texts)];
        tf_limits l = { .max_invocations = 1024, .max_local = { 1024, 1024, 64 }, .shared_bytes = devices[d / COUNT(texts)].shared, .storage_bindings = 16,
                        .uniform_bindings = 12, .storage_range = UINT32_MAX, .uniform_range = 65536, .storage_align = 64, .max_groups = { 65535, 65535, 65535 },
                        .max_buffer = UINT32_MAX, .subgroup_size = devices[d / COUNT(texts)].lanes, .subgroup_basic = true, .subgroup_control = true,
                        .storage16 = true, .f16 = true, .coopmat = devices[d / COUNT(texts)].size, .units = d % 3 ? 1 : 64, .recorded = 1 << 16 };
        char message[256];
        tuff_graph *g = NULL;
        tf_plan *plan = NULL;
        const tf_compile_options options = { 0 };
        cr_assert(!tuff_graph_parse(text, strlen(text), NULL, &g, message, sizeof message), "%s", message);
        cr_assert(!tf_compile(g, &l, &options, NULL, &plan), "%s", tuff_graph_error(g));
        for (uint32_t i = 0; i < plan->kernels.n; i++) {
            const tf_kernel *k = &plan->kernels.data[i];
            tf_spirv code = { 0 };
            tf_fault f = { 0 };
            const bool ok = tf_jit(k->name, k->glsl, &code, &f);
            cr_expect(ok, "device %zu: %s", d / COUNT(texts), f.text);
            cr_expect(k->shared_bytes <= l.shared_bytes, "device %zu, %s: %u bytes", d / COUNT(texts), k->name, k->shared_bytes);
            found += strstr(k->algorithm, "cooperative matrices") != NULL;
            free(code.words);
        }
        tf_plan_destroy(plan);
        tuff_graph_destroy(g);
    }
    cr_expect(found >= 40, "%u kernels", found);
}

/* Rows of 37: only -inf; one +inf; values that overflow e^x; equal elements; a large mean; partly -inf. */
static void run_special(const tuff_device_desc *desc)
{
    enum { ROWS = 6, N = 37 };
    static float x[ROWS][N], softmax[ROWS][N], layer[ROWS][N], lse[ROWS];
    static int32_t most[ROWS], least[ROWS];
    for (int i = 0; i < N; i++) {
        x[0][i] = -INFINITY;
        x[1][i] = i == 20 ? INFINITY : 1.0f;
        x[2][i] = 1e30f * (float)(i % 3);
        x[3][i] = 2.5f;
        x[4][i] = 1e6f + (float)(i % 2);
        x[5][i] = i < 30 ? -INFINITY : 0.0f;
    }
    tuff_device *dev = open_device(desc);
    tuff_graph *g = tuff_graph_create(NULL);
    const tuff_tensor a = tuff_input(g, "a", TUFF_F32, TUFF_SHAPE(ROWS, N));
    const tuff_reduce_desc rows = { .axes = TUFF_INTS(1) };
    tuff_output(g, "softmax", tuff_softmax(a, 1));
    tuff_output(g, "layer", tuff_layer_norm(a, NULL));
    tuff_output(g, "lse", tuff_logsumexp(a, &rows));
    tuff_output(g, "most", tuff_argmax(a, 1, NULL));
    tuff_output(g, "least", tuff_argmin(a, 1, NULL));
    tuff_program *p = NULL;
    cr_assert(!tuff_compile(dev, g, NULL, &p), "%s", tuff_graph_error(g));
    cr_assert(!tuff_write(p, "a", x, sizeof x) && !tuff_run(p), "%s", tuff_program_error(p));
    cr_assert(!tuff_read(p, "softmax", softmax, sizeof softmax) && !tuff_read(p, "layer", layer, sizeof layer) &&
              !tuff_read(p, "lse", lse, sizeof lse) && !tuff_read(p, "most", most, sizeof most) && !tuff_read(p, "least", least, sizeof least));
    for (int i = 0; i < N; i++) {
        cr_expect(isnan(softmax[0][i]), "softmax of -inf only: %g", (double)softmax[0][i]);
        cr_expect_float_eq(softmax[2][i], i % 3 == 2 ? 1.0f / 12 : 0.0f, 1e-7f, "softmax of large values [%d]: %g", i, (double)softmax[2][i]);
        cr_expect_float_eq(softmax[5][i], i < 30 ? 0.0f : 1.0f / 7, 1e-7f, "softmax with -inf [%d]: %g", i, (double)softmax[5][i]);
        cr_expect_float_eq(layer[3][i], 0.0f, 0.0f, "layer_norm of equal elements: %g", (double)layer[3][i]);
        /* 18 ones and 19 zeros above 1e6: variance 18 * 19 / 37^2 */
        const double want = ((i % 2) - 18.0 / 37) / sqrt(18.0 * 19 / (37 * 37) + 1e-5);
        cr_expect_float_eq(layer[4][i], want, 4e-6, "layer_norm with a large mean [%d]: %g, want %g", i, (double)layer[4][i], want);
    }
    cr_expect(isinf(lse[0]) && lse[0] < 0, "logsumexp of -inf only: %g", (double)lse[0]);
    cr_expect(isinf(lse[1]) && lse[1] > 0, "logsumexp with +inf: %g", (double)lse[1]);
    cr_expect_float_eq(lse[2], 2e30f, 1e24f);
    cr_expect_float_eq(lse[5], log(7.0), 1e-6);
    const int32_t want_most[ROWS] = { 0, 20, 2, 0, 1, 30 }, want_least[ROWS] = { 0, 0, 0, 0, 0, 0 };
    for (int r = 0; r < ROWS; r++) {
        cr_expect_eq(most[r], want_most[r], "argmax of row %d: %d", r, most[r]);
        cr_expect_eq(least[r], want_least[r], "argmin of row %d: %d", r, least[r]);
    }
    tuff_program_destroy(p);
    tuff_graph_destroy(g);
    tuff_device_close(dev);
}

Test(kernels, special_values)
{
    run_special(&(tuff_device_desc){ .toggles = "+cpu" });
    run_special(&(tuff_device_desc){ .toggles = "-cpu" });
    run_special(&(tuff_device_desc){ .toggles = "-cpu,-subgroup", .limits = "invocations=128" });
}

/* One reduction whose result leads to more values that others read than a kernel writes. */
Test(kernels, many_values_behind_one_anchor)
{
    tuff_device *dev = open_device(NULL);
    char text[4096], message[256];
    int at = snprintf(text, sizeof text, "x = input f32[8,16]\ns = sqrt(sum(square(x)))\nv0 = add(s, 1)\n");
    for (int i = 1; i < 20; i++) at += snprintf(text + at, sizeof text - (size_t)at, "v%d = add(mul(v%d, s), %d)\noutput v%d\ny%d = max(mul(x, v%d))\noutput y%d\n", i, i % 3 ? i - 1 : 0, i, i, i, i, i);
    tuff_graph *g = NULL;
    cr_assert(tuff_graph_parse(text, (size_t)at, NULL, &g, message, sizeof message) == TUFF_OK, "%s", message);
    expect_graph("many values", dev, g, &(graph_options){ .tolerance = { .rel = 1e-5 } });
    tuff_graph_destroy(g);
    tuff_device_close(dev);
}

/* A value that others read, made by the kernel of a bool that is packed into words where the device cannot store bytes. */
Test(kernels, value_beside_a_packed_one)
{
    static const char text[] = "x = input f32[37]\nh = mul(x, 3)\ng = greater(h, 0.5)\noutput g\noutput h\n";
    tuff_device *dev = open_device(&(tuff_device_desc){ .toggles = "-storage8,-int8" });
    tuff_graph *g = NULL;
    cr_assert(tuff_graph_parse(text, sizeof text - 1, NULL, &g, NULL, 0) == TUFF_OK);
    expect_graph("beside a packed one", dev, g, &(graph_options){ .seed = 1 });
    tuff_graph_destroy(g);
    tuff_device_close(dev);
}

/* Every value of a 16-bit float, the points half-way between neighbours and the floats next to those; beyond the largest;
 * infinities and NaN: in both signs. */
static void run_rounding(const tuff_device_desc *desc, tuff_dtype t)
{
    enum { N = 8 * 0x8000 };
    float *x = malloc(N * sizeof *x);
    uint16_t *y = malloc(N * sizeof *y);
    cr_assert(x && y);
    for (uint32_t code = 0; code < 0x8000; code++) {
        const uint16_t pair[2] = { (uint16_t)code, (uint16_t)(code + 1 < 0x8000 ? code + 1 : code) };
        const double here = tf_load_element(t, pair, 0, NULL), next = tf_load_element(t, pair, 1, NULL);
        const float middle = isfinite(here) && isfinite(next) ? (float)(0.5 * (here + next)) : (float)here * 1.001953125f;
        const float list[4] = { (float)here, middle, nextafterf(middle, 0.0f), nextafterf(middle, INFINITY) };
        for (int k = 0; k < 4; k++) {
            x[8 * code + 2 * k] = list[k];
            x[8 * code + 2 * k + 1] = -list[k];
        }
    }
    const float large[] = { 65504, 65519.996f, 65520, 65535, 65536, 1e6f, 1e30f, 3.3e38f, 3.4028235e38f, 1e-40f, 1e-45f };
    for (size_t k = 0; k < COUNT(large); k++) x[N - 1 - k] = k % 2 ? -large[k] : large[k];
    tuff_device *dev = open_device(desc);
    tuff_graph *g = tuff_graph_create(NULL);
    tuff_output(g, "y", tuff_cast(tuff_input(g, "x", TUFF_F32, TUFF_SHAPE(N)), t));
    tuff_program *p = NULL;
    cr_assert(!tuff_compile(dev, g, NULL, &p), "%s", tuff_graph_error(g));
    cr_assert(!tuff_write(p, "x", x, N * sizeof *x) && !tuff_run(p) && !tuff_read(p, "y", y, N * sizeof *y), "%s", tuff_program_error(p));
    uint32_t wrong = 0;
    for (uint32_t i = 0; i < N; i++) {
        uint16_t want;
        tf_store_element(t, &want, 0, x[i], 0);
        if (y[i] == want || (isnan(x[i]) && isnan(tf_load_element(t, y, i, NULL)))) continue;
        if (wrong++ < 5) cr_expect_fail("%s of %a: %04x, want %04x", tuff_dtype_name(t), (double)x[i], y[i], want);
    }
    cr_expect_eq(wrong, 0, "%u values of %s are wrong", wrong, tuff_dtype_name(t));
    tuff_program_destroy(p);
    tuff_graph_destroy(g);
    tuff_device_close(dev);
    free(x);
    free(y);
}

Test(kernels, rounding_to_16_bits)
{
    for (int k = 0; k < 2; k++) {
        run_rounding(&(tuff_device_desc){ 0 }, k ? TUFF_BF16 : TUFF_F16);
        run_rounding(&(tuff_device_desc){ .toggles = "-storage16,-fp16,-int16,-int64" }, k ? TUFF_BF16 : TUFF_F16);
    }
}

Test(kernels, every_way)
{
    run_every_way(&(tuff_device_desc){ .toggles = "+cpu" });
    run_every_way(&(tuff_device_desc){ .toggles = "-cpu" });
}

Test(kernels, cpu_class) { run_all(&(tuff_device_desc){ .toggles = "+cpu" }); }
Test(kernels, cpu_class_without_texels) { run_all(&(tuff_device_desc){ .toggles = "+cpu,-texels" }); }
Test(kernels, gpu_class) { run_all(&(tuff_device_desc){ .toggles = "-cpu", .limits = "units=16" }); }
/* No subgroup operations, the smallest workgroups and shared memory; one unit, so that nothing is split and tiles are large. */
Test(kernels, gpu_class_at_the_floor) { run_all(&(tuff_device_desc){ .toggles = "-cpu,-subgroup", .limits = "shared=16K,invocations=128,bindings=4,units=1" }); }
