/* train - trains the small model of samples/chat on text.txt, on the CPU. Not part of the build:
 *
 *     cc -O3 -march=native -ffast-math train.c -o train -lm && ./train text.txt model.bin 600
 *
 * A decoder transformer over bytes, the one that model.c builds as a graph: embedding; layers of x += attention(norm(x)) and
 * x += silu(norm(x) W1) W2 with root-mean-square norms without gain, grouped heads and rotary positions; norm; output. Gradients are
 * written by hand; Adam for `seconds`, then the weights are stored as f16. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { DIM = 128, LAYERS = 3, HEADS = 4, KV_HEADS = 2, HEAD = DIM / HEADS, HIDDEN = 384, KV = KV_HEADS * HEAD, CONTEXT = 256 };
enum { BATCH = 8, TIME = 128, ROWS = BATCH * TIME, QKV = DIM + 2 * KV };

static int vocabulary, token_of[256];
static unsigned char byte_of[256];
static unsigned char *text;
static size_t text_size;

static float *weights, *grads, *adam_m, *adam_v;
static size_t parameters;
typedef struct layer { size_t qkv, out, w1, w2; } layer;
static layer layers[LAYERS];
static size_t embedding, head;

static void *take(size_t n)
{
    void *p = aligned_alloc(64, (n * sizeof(float) + 63) / 64 * 64);
    if (!p) exit(1);
    memset(p, 0, n * sizeof(float));
    return p;
}

/* ---- products: c += a b, a^T b ------------------------------------------------------------------ */

static void multiply(const float *restrict a, const float *restrict b, float *restrict c, int m, int k, int n)
{
    for (int i = 0; i < m; i += 4)
        for (int l = 0; l < k; l++) {
            const float a0 = a[i * k + l], a1 = a[(i + 1) * k + l], a2 = a[(i + 2) * k + l], a3 = a[(i + 3) * k + l];
            for (int j = 0; j < n; j++) {
                const float x = b[l * n + j];
                c[i * n + j] += a0 * x;
                c[(i + 1) * n + j] += a1 * x;
                c[(i + 2) * n + j] += a2 * x;
                c[(i + 3) * n + j] += a3 * x;
            }
        }
}

static void multiply_at(const float *restrict a, const float *restrict b, float *restrict c, int m, int k, int n) /* a[m, k], b[m, n], c[k, n] */
{
    for (int i = 0; i < m; i += 4)
        for (int l = 0; l < k; l++) {
            const float a0 = a[i * k + l], a1 = a[(i + 1) * k + l], a2 = a[(i + 2) * k + l], a3 = a[(i + 3) * k + l];
            for (int j = 0; j < n; j++)
                c[l * n + j] += a0 * b[i * n + j] + a1 * b[(i + 1) * n + j] + a2 * b[(i + 2) * n + j] + a3 * b[(i + 3) * n + j];
        }
}

static void multiply_bt(const float *a, const float *b, float *c, int m, int k, int n) /* b is [n, k] */
{
    static float turned[DIM * 1024];
    for (int j = 0; j < n; j++)
        for (int l = 0; l < k; l++) turned[l * n + j] = b[j * k + l];
    multiply(a, turned, c, m, k, n);
}

/* ---- pieces and their gradients ------------------------------------------------------------------- */

static void norm(const float *x, float *y, float *scale)
{
    for (int i = 0; i < ROWS; i++) {
        float s = 0;
        for (int e = 0; e < DIM; e++) s += x[i * DIM + e] * x[i * DIM + e];
        scale[i] = 1 / sqrtf(s / DIM + 1e-6f);
        for (int e = 0; e < DIM; e++) y[i * DIM + e] = x[i * DIM + e] * scale[i];
    }
}

static void norm_back(const float *y, const float *scale, const float *dy, float *dx)
{
    for (int i = 0; i < ROWS; i++) {
        float s = 0;
        for (int e = 0; e < DIM; e++) s += y[i * DIM + e] * dy[i * DIM + e];
        for (int e = 0; e < DIM; e++) dx[i * DIM + e] += scale[i] * (dy[i * DIM + e] - y[i * DIM + e] * s / DIM);
    }
}

/* Queries and keys in qkv rows, turned in place; sign -1 turns back. */
static void rotate(float *qkv, float sign)
{
    static float table[TIME][HEAD / 2][2];
    for (int i = 0; table[0][0][0] == 0 && i < TIME * HEAD / 2; i++) {
        const int p = TIME * HEAD / 2 - 1 - i; /* [0][0] last */
        const float t = (float)(p / (HEAD / 2)) * powf(10000, -2.0f * (float)(p % (HEAD / 2)) / HEAD);
        table[p / (HEAD / 2)][p % (HEAD / 2)][0] = cosf(t);
        table[p / (HEAD / 2)][p % (HEAD / 2)][1] = sinf(t);
    }
    for (int i = 0; i < ROWS; i++)
        for (int h = 0; h < HEADS + KV_HEADS; h++)
            for (int p = 0; p < HEAD / 2; p++) {
                float *a = qkv + i * QKV + h * HEAD + p, *b = a + HEAD / 2;
                const float c = table[i % TIME][p][0], s = sign * table[i % TIME][p][1], x = *a, y = *b;
                *a = x * c - y * s;
                *b = x * s + y * c;
            }
}

static void attend(const float *qkv, float *prob, float *o)
{
    const float scale = 1 / sqrtf(HEAD);
    memset(o, 0, (size_t)ROWS * DIM * sizeof(float));
    for (int b = 0; b < BATCH; b++)
        for (int h = 0; h < HEADS; h++)
            for (int i = 0; i < TIME; i++) {
                const float *q = qkv + (b * TIME + i) * QKV + h * HEAD;
                float *p = prob + ((b * HEADS + h) * TIME + i) * TIME, top = -1e30f, sum = 0;
                const int kv = h / (HEADS / KV_HEADS);
                for (int j = 0; j <= i; j++) {
                    const float *k = qkv + (b * TIME + j) * QKV + DIM + kv * HEAD;
                    float s = 0;
                    for (int e = 0; e < HEAD; e++) s += q[e] * k[e];
                    p[j] = s * scale;
                    if (p[j] > top) top = p[j];
                }
                for (int j = 0; j <= i; j++) sum += p[j] = expf(p[j] - top);
                for (int j = 0; j <= i; j++) {
                    const float *v = qkv + (b * TIME + j) * QKV + DIM + KV + kv * HEAD;
                    p[j] /= sum;
                    for (int e = 0; e < HEAD; e++) o[(b * TIME + i) * DIM + h * HEAD + e] += p[j] * v[e];
                }
            }
}

static void attend_back(const float *qkv, const float *prob, const float *dout, float *dqkv)
{
    const float scale = 1 / sqrtf(HEAD);
    for (int b = 0; b < BATCH; b++)
        for (int h = 0; h < HEADS; h++)
            for (int i = 0; i < TIME; i++) {
                const float *p = prob + ((b * HEADS + h) * TIME + i) * TIME, *d = dout + (b * TIME + i) * DIM + h * HEAD;
                const int kv = h / (HEADS / KV_HEADS), row = (b * TIME + i) * QKV + h * HEAD;
                float dp[TIME], sum = 0;
                for (int j = 0; j <= i; j++) {
                    const int key = (b * TIME + j) * QKV + DIM + kv * HEAD;
                    dp[j] = 0;
                    for (int e = 0; e < HEAD; e++) {
                        dp[j] += d[e] * qkv[key + KV + e];
                        dqkv[key + KV + e] += p[j] * d[e];
                    }
                    sum += p[j] * dp[j];
                }
                for (int j = 0; j <= i; j++) {
                    const int key = (b * TIME + j) * QKV + DIM + kv * HEAD;
                    const float ds = p[j] * (dp[j] - sum) * scale;
                    for (int e = 0; e < HEAD; e++) {
                        dqkv[row + e] += ds * qkv[key + e];
                        dqkv[key + e] += ds * qkv[row + e];
                    }
                }
            }
}

/* ---- one step --------------------------------------------------------------------------------------- */

typedef struct kept { float *x, *n1, *s1, *qkv, *prob, *o, *n2, *s2, *h, *a; } kept; /* of a layer, for its gradient */

static float step(const int *in, const int *want, kept *k, float *logits, float *d, float *t)
{
    const size_t size = (size_t)ROWS * DIM;
    float *x = k[LAYERS].x, loss = 0;
    for (int i = 0; i < ROWS; i++) memcpy(k[0].x + i * DIM, weights + embedding + (size_t)in[i] * DIM, DIM * sizeof(float));
    for (int l = 0; l < LAYERS; l++) {
        float *next = k[l + 1].x;
        norm(k[l].x, k[l].n1, k[l].s1);
        memset(k[l].qkv, 0, (size_t)ROWS * QKV * sizeof(float));
        multiply(k[l].n1, weights + layers[l].qkv, k[l].qkv, ROWS, DIM, QKV);
        rotate(k[l].qkv, 1);
        attend(k[l].qkv, k[l].prob, k[l].o);
        memcpy(next, k[l].x, size * sizeof(float));
        multiply(k[l].o, weights + layers[l].out, next, ROWS, DIM, DIM);
        norm(next, k[l].n2, k[l].s2);
        memset(k[l].h, 0, (size_t)ROWS * HIDDEN * sizeof(float));
        multiply(k[l].n2, weights + layers[l].w1, k[l].h, ROWS, DIM, HIDDEN);
        for (int i = 0; i < ROWS * HIDDEN; i++) k[l].a[i] = k[l].h[i] / (1 + expf(-k[l].h[i]));
        multiply(k[l].a, weights + layers[l].w2, next, ROWS, HIDDEN, DIM);
    }
    norm(x, k[LAYERS].n1, k[LAYERS].s1);
    memset(logits, 0, (size_t)ROWS * (size_t)vocabulary * sizeof(float));
    multiply(k[LAYERS].n1, weights + head, logits, ROWS, DIM, vocabulary);
    for (int i = 0; i < ROWS; i++) { /* becomes the gradient */
        float *row = logits + i * vocabulary, top = row[0], sum = 0;
        for (int v = 1; v < vocabulary; v++) top = fmaxf(top, row[v]);
        for (int v = 0; v < vocabulary; v++) sum += row[v] = expf(row[v] - top);
        for (int v = 0; v < vocabulary; v++) row[v] /= sum;
        loss -= logf(row[want[i]] + 1e-30f) / ROWS;
        row[want[i]] -= 1;
        for (int v = 0; v < vocabulary; v++) row[v] /= ROWS;
    }
    memset(grads, 0, parameters * sizeof(float));
    multiply_at(k[LAYERS].n1, logits, grads + head, ROWS, DIM, vocabulary);
    memset(t, 0, size * sizeof(float));
    multiply_bt(logits, weights + head, t, ROWS, vocabulary, DIM);
    memset(d, 0, size * sizeof(float));
    norm_back(k[LAYERS].n1, k[LAYERS].s1, t, d);
    for (int l = LAYERS - 1; l >= 0; l--) {
        float *dh = t + size, *dqkv = dh;
        multiply_at(k[l].a, d, grads + layers[l].w2, ROWS, HIDDEN, DIM);
        memset(dh, 0, (size_t)ROWS * HIDDEN * sizeof(float));
        multiply_bt(d, weights + layers[l].w2, dh, ROWS, DIM, HIDDEN);
        for (int i = 0; i < ROWS * HIDDEN; i++) {
            const float g = 1 / (1 + expf(-k[l].h[i]));
            dh[i] *= g * (1 + k[l].h[i] * (1 - g));
        }
        multiply_at(k[l].n2, dh, grads + layers[l].w1, ROWS, DIM, HIDDEN);
        memset(t, 0, size * sizeof(float));
        multiply_bt(dh, weights + layers[l].w1, t, ROWS, HIDDEN, DIM);
        norm_back(k[l].n2, k[l].s2, t, d);
        multiply_at(k[l].o, d, grads + layers[l].out, ROWS, DIM, DIM);
        memset(t, 0, size * sizeof(float));
        multiply_bt(d, weights + layers[l].out, t, ROWS, DIM, DIM);
        memset(dqkv, 0, (size_t)ROWS * QKV * sizeof(float));
        attend_back(k[l].qkv, k[l].prob, t, dqkv);
        rotate(dqkv, -1);
        multiply_at(k[l].n1, dqkv, grads + layers[l].qkv, ROWS, DIM, QKV);
        memset(t, 0, size * sizeof(float));
        multiply_bt(dqkv, weights + layers[l].qkv, t, ROWS, QKV, DIM);
        norm_back(k[l].n1, k[l].s1, t, d);
    }
    for (int i = 0; i < ROWS; i++)
        for (int e = 0; e < DIM; e++) grads[embedding + (size_t)in[i] * DIM + (size_t)e] += d[i * DIM + e];
    return loss;
}

static void adam(int n, float rate)
{
    const float c1 = 1 - powf(0.9f, (float)n), c2 = 1 - powf(0.98f, (float)n);
    double square = 0;
    for (size_t i = 0; i < parameters; i++) square += (double)grads[i] * grads[i];
    const float clip = square > 1 ? (float)(1 / sqrt(square)) : 1;
    for (size_t i = 0; i < parameters; i++) {
        const float g = grads[i] * clip;
        adam_m[i] = 0.9f * adam_m[i] + 0.1f * g;
        adam_v[i] = 0.98f * adam_v[i] + 0.02f * g * g;
        weights[i] -= rate * (adam_m[i] / c1 / (sqrtf(adam_v[i] / c2) + 1e-8f) + 0.02f * weights[i]);
    }
}

/* ---- data, weights, file ------------------------------------------------------------------------------ */

static uint64_t random_state = 0x9e3779b97f4a7c15u;
static uint32_t random_bits(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33);
}
static float random_normal(void)
{
    float s = 0;
    for (int i = 0; i < 12; i++) s += (float)random_bits() / 2147483648.0f;
    return s - 6;
}

static size_t add_weights(size_t rows, size_t columns, float scale)
{
    const size_t at = parameters;
    for (size_t i = 0; i < rows * columns; i++) weights[at + i] = scale * random_normal();
    parameters += rows * columns;
    return at;
}

static uint16_t half(float x)
{
    uint32_t u;
    memcpy(&u, &x, 4);
    const uint32_t sign = u >> 16 & 0x8000, size = u & 0x7fffffff;
    if (size < 0x38800000) return (uint16_t)(sign | (uint32_t)lrintf(fabsf(x) * 16777216.0f)); /* subnormal */
    return (uint16_t)(sign | ((size - 0x38000000 + 0xfff + (size >> 13 & 1)) >> 13));
}

static void save(const char *path)
{
    FILE *f = fopen(path, "wb");
    if (!f) exit(1);
    const uint32_t sizes[8] = { (uint32_t)vocabulary, DIM, LAYERS, HEADS, KV_HEADS, HIDDEN, CONTEXT, (uint32_t)parameters };
    fwrite("tuffchat", 1, 8, f);
    fwrite(sizes, sizeof sizes, 1, f);
    fwrite(byte_of, 1, 256, f);
    for (size_t i = 0; i < parameters; i++) {
        const uint16_t h = half(weights[i]);
        fwrite(&h, 2, 1, f);
    }
    fclose(f);
}

static void read_text(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f) exit(1);
    text = malloc(1 << 24);
    text_size = fread(text, 1, 1 << 24, f);
    fclose(f);
    memset(token_of, -1, sizeof token_of);
    for (int c = 0; c < 256; c++)
        if (memchr(text, c, text_size)) token_of[c] = vocabulary, byte_of[vocabulary++] = (unsigned char)c;
    vocabulary = (vocabulary + 3) / 4 * 4; /* whole vectors; the rest never occurs */
}

int main(int argc, char **argv)
{
    if (argc < 4) return fprintf(stderr, "train TEXT MODEL SECONDS\n"), 2;
    read_text(argv[1]);
    weights = take(1 << 21), grads = take(1 << 21), adam_m = take(1 << 21), adam_v = take(1 << 21);
    embedding = add_weights((size_t)vocabulary, DIM, 0.5f);
    for (int l = 0; l < LAYERS; l++) {
        layers[l].qkv = add_weights(DIM, QKV, 0.09f);
        layers[l].out = add_weights(DIM, DIM, 0.03f);
        layers[l].w1 = add_weights(DIM, HIDDEN, 0.09f);
        layers[l].w2 = add_weights(HIDDEN, DIM, 0.02f);
    }
    head = add_weights(DIM, (size_t)vocabulary, 0.02f);
    kept k[LAYERS + 1];
    for (int l = 0; l <= LAYERS; l++)
        k[l] = (kept){ take(ROWS * DIM), take(ROWS * DIM), take(ROWS), take(ROWS * QKV), take(BATCH * HEADS * TIME * TIME), take(ROWS * DIM), take(ROWS * DIM), take(ROWS),
                       take(ROWS * HIDDEN), take(ROWS * HIDDEN) };
    float *logits = take(ROWS * 256), *d = take(ROWS * DIM), *t = take(ROWS * DIM + ROWS * HIDDEN);
    const double limit = atof(argv[3]);
    const time_t start = time(NULL);
    float mean = 0;
    int in[ROWS], want[ROWS];
    for (int n = 1;; n++) {
        const double part = difftime(time(NULL), start) / limit;
        for (int b = 0; b < BATCH; b++) {
            const size_t at = random_bits() % (text_size - TIME - 1);
            for (int i = 0; i < TIME; i++) in[b * TIME + i] = token_of[text[at + (size_t)i]], want[b * TIME + i] = token_of[text[at + (size_t)i + 1]];
        }
        const float loss = step(in, want, k, logits, d, t);
        mean = n == 1 ? loss : 0.98f * mean + 0.02f * loss;
        adam(n, 3e-3f * fminf((float)n / 50, 1) * (float)(0.05 + 0.95 * 0.5 * (1 + cos(3.14159265 * fmin(part, 1)))));
        if (n % 20 == 0) fprintf(stderr, "step %d, %.0f %% of the time, loss %.3f\n", n, 100 * part, (double)mean);
        if (part >= 1) break;
    }
    save(argv[2]);
    return 0;
}
