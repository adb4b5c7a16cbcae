/* ggml_peers - attention, matrix products, softmax, a norm and a convolution of tuff and of ggml's Vulkan backend side by side: the same
 * data, the same device, least times of alternating runs.
 *
 *     GGML_VK_VISIBLE_DEVICES=0 ggml_peers [--seconds 0.5] [--only NAME]
 *
 * "first" is the time from the description to the first result, since some drivers compile when a kernel first runs. "apart" is the
 * relative L2 distance of the two results; ggml computes with halves inside. FLOPs of causal attention are counted in full.
 * The device is the first one that Vulkan lists (choose by VK_DRIVER_FILES); ggml leaves software drivers out unless told as above. */
#include <ggml-alloc.h>
#include <ggml-backend.h>
#include <ggml.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <tuff/tuff.h>

typedef enum kind { ATTENTION, MATMUL, SOFTMAX, NORM, CONV } kind;
/* ATTENTION: n[] = queries, keys, heads, key heads, head size. MATMUL: n[0] cubed. SOFTMAX, NORM: n[0] rows of n[1]. CONV: n[0] channels
 * of n[1] squared, by as many of 3 squared. type: of keys and values, of the product's second operand. */
typedef struct row { const char *name; kind kind; int64_t n[5]; enum ggml_type type; bool causal; } row;
static const row rows[] = {
    { "decode d64 1k keys h8", ATTENTION, { 1, 1024, 8, 8, 64 }, GGML_TYPE_F16, false },
    { "decode d128 1k keys h8", ATTENTION, { 1, 1024, 8, 8, 128 }, GGML_TYPE_F16, false },
    { "decode d128 1k keys h8/2", ATTENTION, { 1, 1024, 8, 2, 128 }, GGML_TYPE_F16, false },
    { "decode d128 4k keys h8/2", ATTENTION, { 1, 4096, 8, 2, 128 }, GGML_TYPE_F16, false },
    { "decode d128 32k keys h8", ATTENTION, { 1, 32768, 8, 8, 128 }, GGML_TYPE_F16, false },
    { "prefill d64 256x256 h4", ATTENTION, { 256, 256, 4, 4, 64 }, GGML_TYPE_F16, false },
    { "prefill d64 256x256 h4 causal", ATTENTION, { 256, 256, 4, 4, 64 }, GGML_TYPE_F16, true },
    { "prefill d128 512x512 h4 causal", ATTENTION, { 512, 512, 4, 4, 128 }, GGML_TYPE_F16, true },
    { "prefill d128 512x512 h4/1 causal", ATTENTION, { 512, 512, 4, 1, 128 }, GGML_TYPE_F16, true },
    { "matmul 512", MATMUL, { 512 }, GGML_TYPE_F32, false },
    { "matmul 1024", MATMUL, { 1024 }, GGML_TYPE_F32, false },
    { "matmul 512 f16", MATMUL, { 512 }, GGML_TYPE_F16, false },
    { "matmul 1024 f16", MATMUL, { 1024 }, GGML_TYPE_F16, false },
    { "matmul 512 int8", MATMUL, { 512 }, GGML_TYPE_Q8_0, false },
    { "matmul 1024 int8", MATMUL, { 1024 }, GGML_TYPE_Q8_0, false },
    { "matmul 512 int4", MATMUL, { 512 }, GGML_TYPE_Q4_0, false },
    { "matmul 1024 int4", MATMUL, { 1024 }, GGML_TYPE_Q4_0, false },
    { "softmax 4096x1024", SOFTMAX, { 4096, 1024 }, GGML_TYPE_F32, false },
    { "softmax 1024x4096", SOFTMAX, { 1024, 4096 }, GGML_TYPE_F32, false },
    { "rms norm 4096x1024", NORM, { 4096, 1024 }, GGML_TYPE_F32, false },
    { "conv 3x3 64 channels 64x64", CONV, { 64, 64 }, GGML_TYPE_F32, false },
};

/* Operands as rows of floats in tuff's order; ggml's is made from it. */
typedef struct work {
    const row *r;
    float *in[3], *out[2];   /* out: tuff's, ggml's */
    int64_t size[3], result;
    double work;             /* FLOPs; SOFTMAX: bytes */
} work;

typedef struct peer {
    bool good;
    double first, least;
    tuff_device *dev;
    tuff_graph *g;
    tuff_program *p;
    ggml_backend_t backend;
    struct ggml_context *context;
    ggml_backend_buffer_t buffer;
    struct ggml_cgraph *graph;
    struct ggml_tensor *x[4], *y;
} peer;

static double now(void)
{
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

static bool fail(const char *what, const char *why)
{
    fprintf(stderr, "ggml_peers: %s: %s\n", what, why);
    return false;
}

static void fill(work *w, const row *r)
{
    const int64_t *n = r->n;
    const int64_t square = n[0] * n[0];
    *w = (work){ .r = r };
    if (r->kind == ATTENTION) {
        w->size[0] = w->result = n[0] * n[2] * n[4];
        w->size[1] = w->size[2] = n[1] * n[3] * n[4];
        w->work = 4.0 * (double)(n[0] * n[1] * n[2] * n[4]);
    } else if (r->kind == MATMUL) {
        w->size[0] = w->size[1] = w->result = square;
        w->work = 2.0 * (double)(square * n[0]);
    } else if (r->kind == CONV) {
        w->size[0] = w->result = n[0] * n[1] * n[1];
        w->size[1] = n[0] * n[0] * 9;
        w->work = 2.0 * (double)(w->size[1] * n[1] * n[1]);
    } else {
        w->size[0] = w->result = n[0] * n[1];
        w->work = 8.0 * (double)w->result;
    }
    uint32_t state = 12345;
    for (int i = 0; i < 3; i++) {
        w->in[i] = calloc((size_t)w->size[i] + 1, sizeof *w->in[i]);
        for (int64_t k = 0; k < w->size[i]; k++) {
            state = state * 1664525u + 1013904223u;
            w->in[i][k] = (float)(state >> 8) * 0x1p-23f - 1.0f;
        }
    }
    for (int i = 0; i < 2; i++) w->out[i] = calloc((size_t)w->result, sizeof *w->out[i]);
}

/* Neighbours that share a scale in ggml's Q8_0 and Q4_0: a half, then 32 codes; those of 4 bits are half of the values, then the others
 * above them, all 8 too large. */
enum { BLOCK = 32 };
static bool is_quantised(const row *r) { return r->type == GGML_TYPE_Q8_0 || r->type == GGML_TYPE_Q4_0; }

static void *narrowed(const float *x, int64_t n, enum ggml_type type)
{
    void *y = malloc((size_t)n * sizeof *x);
    if (type == GGML_TYPE_F32) memcpy(y, x, (size_t)n * sizeof *x);
    else if (type == GGML_TYPE_F16) ggml_fp32_to_fp16_row(x, y, n);
    else ggml_quantize_chunk(type, x, y, 0, n / BLOCK, BLOCK, NULL);
    return y;
}

/* ---- tuff ------------------------------------------------------------------------------------------ */

static void describe(const work *w, char *text, size_t size)
{
    const row *r = w->r;
    const int64_t *n = r->n;
    const char *t = r->type == GGML_TYPE_F16 ? "f16" : "f32";
    if (r->kind == ATTENTION)
        snprintf(text, size, "a = input f32[1,%d,%d,%d]\nb = input %s[1,%d,%d,%d]\nc = input %s[1,%d,%d,%d]\ny = attention(a, b, c) {causal=%s}\noutput y\n", (int)n[0], (int)n[2], (int)n[4],
                 t, (int)n[1], (int)n[3], (int)n[4], t, (int)n[1], (int)n[3], (int)n[4], r->causal ? "true" : "false");
    else if (r->kind == MATMUL && is_quantised(r))
        snprintf(text, size, "a = input f32[%d,%d]\nb = input %s[%d,%d]\nscale = input f16[%d,%d]\ny = matmul(a, dequant(b, scale) {group=%d}) {transpose_b=true}\noutput y\n", (int)n[0], (int)n[0],
                 r->type == GGML_TYPE_Q8_0 ? "i8" : "i4", (int)n[0], (int)n[0], (int)n[0], (int)n[0] / BLOCK, BLOCK);
    else if (r->kind == MATMUL)
        snprintf(text, size, "a = input f32[%d,%d]\nb = input %s[%d,%d]\ny = matmul(a, b) {transpose_b=true, dtype=f32}\noutput y\n", (int)n[0], (int)n[0], t, (int)n[0], (int)n[0]);
    else if (r->kind == CONV)
        snprintf(text, size, "a = input f32[1,%d,%d,%d]\nb = input f32[%d,%d,3,3]\ny = conv(a, b) {padding=[1,1]}\noutput y\n", (int)n[0], (int)n[1], (int)n[1], (int)n[0], (int)n[0]);
    else
        snprintf(text, size, "a = input f32[%d,%d]\ny = %s\noutput y\n", (int)n[0], (int)n[1], r->kind == NORM ? "rms_norm(a)" : "softmax(a) {axis=1}");
}

/* ggml's blocks as codes and scales. */
static tuff_status write_quantised(tuff_program *p, const char *name, const unsigned char *blocks, int64_t n, bool bytes)
{
    const size_t codes = bytes ? BLOCK : BLOCK / 2;
    const int64_t count = n / BLOCK;
    unsigned char *code = malloc((size_t)count * codes), *scale = malloc((size_t)count * 2);
    for (int64_t i = 0; i < count; i++) {
        const unsigned char *from = blocks + (size_t)i * (2 + codes);
        memcpy(scale + i * 2, from, 2);
        for (size_t k = 0; k < codes; k++) {
            const size_t at = 2 * (k % (BLOCK / 4)); /* 4 bits: where values 2k and 2k + 1 are */
            const int high = 4 * (int)(k / (BLOCK / 4));
            code[(size_t)i * codes + k] = bytes ? from[2 + k] : (unsigned char)(((from[2 + at] >> high & 15) | (from[3 + at] >> high & 15) << 4) ^ 0x88);
        }
    }
    tuff_status status = tuff_write(p, name, code, (size_t)count * codes);
    if (!status) status = tuff_write(p, "scale", scale, (size_t)count * 2);
    free(code);
    free(scale);
    return status;
}

static bool start_tuff(peer *p, const work *w)
{
    static const char *const names[] = { "a", "b", "c" };
    char text[512], message[256];
    describe(w, text, sizeof text);
    const double start = now();
    if (tuff_graph_parse(text, strlen(text), NULL, &p->g, message, sizeof message)) return fail("parse", message);
    if (tuff_compile(p->dev, p->g, NULL, &p->p)) return fail("compile", tuff_graph_error(p->g));
    const double built = now() - start;
    for (int i = 0; i < 3 && w->size[i]; i++) {
        const enum ggml_type type = i ? w->r->type : GGML_TYPE_F32;
        void *narrow = narrowed(w->in[i], w->size[i], type);
        const tuff_status status = i && is_quantised(w->r) ? write_quantised(p->p, names[i], narrow, w->size[i], type == GGML_TYPE_Q8_0)
                                                           : tuff_write(p->p, names[i], narrow, (size_t)w->size[i] * ggml_type_size(type));
        free(narrow);
        if (status) return fail("write", tuff_program_error(p->p));
    }
    const double run = now();
    if (tuff_run(p->p) || tuff_read(p->p, "y", w->out[0], (size_t)w->result * sizeof(float))) return fail("run", tuff_program_error(p->p));
    p->first = built + now() - run;
    return p->good = true;
}

/* ---- ggml ------------------------------------------------------------------------------------------ */

static ggml_backend_t open_ggml(void)
{
    ggml_backend_load_all();
    for (size_t i = 0; i < ggml_backend_dev_count(); i++) {
        ggml_backend_dev_t dev = ggml_backend_dev_get(i);
        if (!strncmp(ggml_backend_dev_name(dev), "Vulkan", 6)) return ggml_backend_dev_init(dev, NULL);
    }
    return NULL;
}

/* x[1, tokens, heads, channels] in ggml's order [heads, tokens, channels]. */
static void set_tokens(struct ggml_tensor *t, const float *x, int64_t tokens, int64_t heads, int64_t d)
{
    float *y = malloc((size_t)(tokens * heads * d) * sizeof *y);
    for (int64_t i = 0; i < tokens; i++)
        for (int64_t h = 0; h < heads; h++) memcpy(y + (h * tokens + i) * d, x + (i * heads + h) * d, (size_t)d * sizeof *y);
    void *narrow = narrowed(y, tokens * heads * d, t->type);
    ggml_backend_tensor_set(t, narrow, 0, ggml_nbytes(t));
    free(narrow);
    free(y);
}

static void set_causal(struct ggml_tensor *t, int64_t queries, int64_t keys)
{
    ggml_fp16_t *m = malloc((size_t)(queries * keys) * sizeof *m);
    for (int64_t i = 0; i < queries; i++)
        for (int64_t j = 0; j < keys; j++) m[i * keys + j] = ggml_fp32_to_fp16(j <= i + keys - queries ? 0.0f : -INFINITY);
    ggml_backend_tensor_set(t, m, 0, ggml_nbytes(t));
    free(m);
}

static bool start_ggml(peer *p, const work *w)
{
    const row *r = w->r;
    const int64_t *n = r->n;
    const enum ggml_type t = r->type;
    const double start = now();
    struct ggml_context *c = p->context = ggml_init((struct ggml_init_params){ .mem_size = 1 << 20, .no_alloc = true });
    if (!c) return fail("ggml", "no context");
    if (r->kind == ATTENTION) {
        p->x[0] = ggml_new_tensor_4d(c, GGML_TYPE_F32, n[4], n[0], n[2], 1);
        p->x[1] = ggml_new_tensor_4d(c, t, n[4], n[1], n[3], 1);
        p->x[2] = ggml_new_tensor_4d(c, t, n[4], n[1], n[3], 1);
        p->x[3] = r->causal ? ggml_new_tensor_2d(c, GGML_TYPE_F16, n[1], n[0]) : NULL;
        p->y = ggml_flash_attn_ext(c, p->x[0], p->x[1], p->x[2], p->x[3], 1.0f / sqrtf((float)n[4]), 0.0f, 0.0f);
    } else if (r->kind == MATMUL) {
        p->x[0] = ggml_new_tensor_2d(c, GGML_TYPE_F32, n[0], n[0]);
        p->x[1] = ggml_new_tensor_2d(c, t, n[0], n[0]);
        p->y = ggml_mul_mat(c, p->x[1], p->x[0]);
    } else if (r->kind == CONV) {
        p->x[0] = ggml_new_tensor_4d(c, GGML_TYPE_F32, n[1], n[1], n[0], 1);
        p->x[1] = ggml_new_tensor_4d(c, GGML_TYPE_F32, 3, 3, n[0], n[0]);
        p->y = ggml_conv_2d_direct(c, p->x[1], p->x[0], 1, 1, 1, 1, 1, 1);
    } else {
        p->x[0] = ggml_new_tensor_2d(c, GGML_TYPE_F32, n[1], n[0]);
        p->y = r->kind == NORM ? ggml_rms_norm(c, p->x[0], 1e-6f) : ggml_soft_max(c, p->x[0]);
    }
    p->graph = ggml_new_graph(c);
    ggml_build_forward_expand(p->graph, p->y);
    if (!ggml_backend_supports_op(p->backend, p->y)) return fail(r->name, "the backend does not have it");
    p->buffer = ggml_backend_alloc_ctx_tensors(c, p->backend);
    if (!p->buffer) return fail("ggml", "out of memory");
    const double built = now() - start;
    for (int i = 0; i < 3 && w->size[i]; i++)
        if (r->kind == ATTENTION) set_tokens(p->x[i], w->in[i], i ? n[1] : n[0], i ? n[3] : n[2], n[4]);
        else set_tokens(p->x[i], w->in[i], 1, 1, w->size[i]);
    if (r->causal) set_causal(p->x[3], n[0], n[1]);
    const double run = now();
    if (ggml_backend_graph_compute(p->backend, p->graph) != GGML_STATUS_SUCCESS) return fail("ggml", "the graph failed");
    ggml_backend_tensor_get(p->y, w->out[1], 0, (size_t)w->result * sizeof(float));
    p->first = built + now() - run;
    return p->good = true;
}

/* ---- both ------------------------------------------------------------------------------------------ */

static void run_once(peer *p, bool ggml)
{
    const double start = now();
    if (!p->good) return;
    if (ggml ? ggml_backend_graph_compute(p->backend, p->graph) != GGML_STATUS_SUCCESS : tuff_run(p->p) != TUFF_OK) {
        p->good = fail(ggml ? "ggml" : "tuff", "a run failed");
        return;
    }
    const double ms = now() - start;
    p->least = p->least == 0 || ms < p->least ? ms : p->least;
}

static double apart(const work *w)
{
    double e = 0, norm = 0;
    for (int64_t i = 0; i < w->result; i++) {
        const double x = (double)w->out[0][i], y = (double)w->out[1][i];
        e += (x - y) * (x - y);
        norm += x * x;
    }
    return sqrt(e / norm);
}

static void measure(const row *r, tuff_device *dev, ggml_backend_t backend, double seconds)
{
    work w;
    peer a = { .dev = dev }, b = { .backend = backend };
    fill(&w, r);
    start_tuff(&a, &w);
    if (backend) start_ggml(&b, &w);
    const double end = now() + 1e3 * seconds;
    for (int i = 0; i < 3 || now() < end; i++) {
        run_once(&a, false);
        run_once(&b, true);
    }
    const double scale = 1e-6 * w.work;
    printf("%-34s %9.3f %9.3g %9.0f", r->name, a.least, a.least > 0 ? scale / a.least : 0, a.first);
    if (b.good) printf(" %9.3f %9.3g %9.0f %8.2fx %9.1e", b.least, scale / b.least, b.first, b.least / a.least, apart(&w));
    printf("\n");
    tuff_program_destroy(a.p);
    tuff_graph_destroy(a.g);
    if (b.buffer) ggml_backend_buffer_free(b.buffer);
    if (b.context) ggml_free(b.context);
    for (int i = 0; i < 3; i++) free(w.in[i]);
    for (int i = 0; i < 2; i++) free(w.out[i]);
}

int main(int argc, char **argv)
{
    double seconds = 0.5;
    const char *only = "";
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--seconds")) seconds = atof(argv[i + 1]);
        if (!strcmp(argv[i], "--only")) only = argv[i + 1];
    }
    tuff_device *dev;
    if (tuff_device_open(&(tuff_device_desc){ .cache_dir = "" }, &dev)) return fail("tuff", tuff_device_error(NULL)), 1;
    ggml_backend_t backend = open_ggml();
    if (!backend) fail("ggml", "it lists no Vulkan device; GGML_VK_VISIBLE_DEVICES=0 lets it take a software driver");
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ); /* a run takes minutes */
    printf("%s\nGFLOP/s; softmax and norm: GB/s read and written\n%-34s %9s %9s %9s %9s %9s %9s %9s %9s\n", tuff_device_name(dev), "", "tuff ms", "", "first ms", "ggml ms", "", "first ms", "ahead", "apart");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strstr(rows[i].name, only)) measure(&rows[i], dev, backend, seconds);
    if (backend) ggml_backend_free(backend);
    tuff_device_close(dev);
    return 0;
}
