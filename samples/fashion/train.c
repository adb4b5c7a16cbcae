/* train - trains the denoiser of samples/fashion on Fashion-MNIST, on the CPU. Not part of the build:
 *
 *     cc -O3 -march=native -ffast-math train.c -o train -lm
 *     ./train train-images-idx3-ubyte train-labels-idx1-ubyte model.bin 1800
 *
 * (the Debian package dataset-fashion-mnist has the two files, packed; MIT license.) A convolutional network of two scales, the one that
 * model.c builds as a graph, on 2 x 2 patches: blocks of x += conv(silu(film(norm(conv(silu(norm(x))))))) with group norms, film being a
 * scale and a shift from the noise level and the class. It learns the F of arXiv:2206.00364; a tenth of the labels is dropped. Gradients
 * are written by hand; Adam for so many seconds; the moving average of the weights is stored in 8 bits. The model that is shipped took
 * 3200 steps of 32 pictures, some seven minutes of one core.
 *
 * Activations are [image][row][column][channel] with a border of zeros, so that a convolution is a product per tap. */
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SIDE = 28, PATCH = 4, WIDE = 14, NARROW = 7, FINE = 48, COARSE = 96, EMBED = 96, WAVES = 32, GROUPS = 8, CLASSES = 10, BATCH = 32 };
enum { FINE_BLOCKS = 2, COARSE_BLOCKS = 3, BLOCKS = 2 * FINE_BLOCKS + COARSE_BLOCKS, OUT = 16 /* PATCH, padded to a vector */, MOST = 1 << 20 };
static const float data_mean = 0.286f, data_scale = 1.416f, sigma_data = 0.5f; /* pixels become (v - mean) scale, of deviation 1/2 */

typedef float vec __attribute__((vector_size(64), aligned(4)));
enum { LANES = 16 };

static float *weights, *grads, *adam_m, *adam_v, *average;
static size_t parameters;
static size_t waves_w, class_w, in_w, down_w, up_w, out_w;
typedef struct block { int side, channels; size_t film, conv1, conv2; } block;
static block blocks[BLOCKS];

static void *take(size_t n)
{
    void *p = aligned_alloc(64, (n * sizeof(float) + 127) / 64 * 64);
    if (!p) exit(1);
    memset(p, 0, n * sizeof(float));
    return p;
}

/* ---- convolutions: `taps` 3 or 1 per axis on padded activations -------------------------------------- */

static size_t image_size(int side, int channels) { return (size_t)(side + 2) * (size_t)(side + 2) * (size_t)channels; }
static size_t at(int side, int channels, int image, int y, int x) { return (size_t)image * image_size(side, channels) + ((size_t)(y + 1) * (size_t)(side + 2) + (size_t)x + 1) * (size_t)channels; }

/* y (+)= conv(x, w[tap][cin][cout]) for 7 pixels of a row and `vectors` vectors of outputs. */
static inline __attribute__((always_inline)) void conv_tile(const float *x, const float *w, float *y, int pitch, int taps, int cin, int cout, const int vectors)
{
    vec sum[7][3];
    for (int p = 0; p < 7; p++)
        for (int v = 0; v < vectors; v++) sum[p][v] = *(const vec *)(y + p * cout + v * LANES);
    for (int t = 0; t < taps * taps; t++) {
        const float *row = x + ((t / taps - taps / 2) * pitch + t % taps - taps / 2) * cin, *k = w + (size_t)t * (size_t)(cin * cout);
        for (int c = 0; c < cin; c++, k += cout) {
            vec b[3];
            for (int v = 0; v < vectors; v++) b[v] = *(const vec *)(k + v * LANES);
#pragma GCC unroll 7
            for (int p = 0; p < 7; p++)
#pragma GCC unroll 3
                for (int v = 0; v < vectors; v++) sum[p][v] += row[p * cin + c] * b[v];
        }
    }
    for (int p = 0; p < 7; p++)
        for (int v = 0; v < vectors; v++) *(vec *)(y + p * cout + v * LANES) = sum[p][v];
}

static void conv(const float *x, const float *w, float *y, int side, int taps, int cin, int cout)
{
    for (int n = 0; n < BATCH; n++)
        for (int o = 0; o < cout;) {
            const int vectors = cout - o >= 3 * LANES ? 3 : 1;
            for (int i = 0; i < side * side; i += 7) {
                const float *from = x + at(side, cin, n, i / side, i % side);
                float *to = y + at(side, cout, n, i / side, i % side) + o;
                if (vectors == 3) conv_tile(from, w + o, to, side + 2, taps, cin, cout, 3);
                else conv_tile(from, w + o, to, side + 2, taps, cin, cout, 1);
            }
            o += vectors * LANES;
        }
}

/* The gradient of conv for x: a convolution with the taps turned around and the channels swapped. */
static void conv_back(const float *dy, const float *w, float *dx, int side, int taps, int cin, int cout)
{
    static float turned[9 * COARSE * 2 * COARSE];
    const int count = taps * taps;
    for (int t = 0; t < count; t++)
        for (int c = 0; c < cin; c++)
            for (int o = 0; o < cout; o++) turned[((count - 1 - t) * cout + o) * cin + c] = w[(t * cin + c) * cout + o];
    conv(dy, turned, dx, side, taps, cout, cin);
}

/* dw[8 inputs][vectors] of one tap, over an image. */
static inline __attribute__((always_inline)) void weight_tile(const float *x, const float *dy, float *dw, int side, int cin, int cout, const int inputs, const int vectors)
{
    vec sum[8][3] = { 0 };
    for (int i = 0; i < side; i++)
        for (int j = 0; j < side; j++) {
            const float *a = x + (i * (side + 2) + j) * cin, *b = dy + (i * (side + 2) + j) * cout;
#pragma GCC unroll 8
            for (int c = 0; c < inputs; c++)
#pragma GCC unroll 3
                for (int v = 0; v < vectors; v++) sum[c][v] += a[c] * *(const vec *)(b + v * LANES);
        }
    for (int c = 0; c < inputs; c++)
        for (int v = 0; v < vectors; v++) *(vec *)(dw + c * cout + v * LANES) += sum[c][v];
}

static void conv_weights(const float *x, const float *dy, float *dw, int side, int taps, int cin, int cout)
{
    for (int n = 0; n < BATCH; n++)
        for (int t = 0; t < taps * taps; t++) {
            const float *from = x + at(side, cin, n, t / taps - taps / 2, t % taps - taps / 2), *d = dy + at(side, cout, n, 0, 0);
            for (int o = 0; o < cout;) {
                const int vectors = cout - o >= 3 * LANES ? 3 : 1;
                for (int c = 0; c < cin; c += cin == PATCH ? 4 : 8) {
                    float *to = dw + (t * cin + c) * cout + o;
                    if (cin == PATCH) weight_tile(from + c, d + o, to, side, cin, cout, 4, 3);
                    else if (vectors == 3) weight_tile(from + c, d + o, to, side, cin, cout, 8, 3);
                    else weight_tile(from + c, d + o, to, side, cin, cout, 8, 1);
                }
                o += vectors * LANES;
            }
        }
}

/* ---- norms ---------------------------------------------------------------------------------------------- */

#define EACH_PIXEL(side, y, x) for (int y = 0; y < (side); y++) for (int x = 0; x < (side); x++)

/* Group norm without gain; scale[image][channel] is 1 / deviation. */
static void norm(const float *x, float *y, float *scale, int side, int channels)
{
    const int part = channels / GROUPS;
    for (int n = 0; n < BATCH; n++) {
        float sum[COARSE] = { 0 }, square[COARSE] = { 0 }, mean[COARSE], *s = scale + n * COARSE;
        EACH_PIXEL(side, i, j) {
            const float *p = x + at(side, channels, n, i, j);
            for (int c = 0; c < channels; c++) sum[c] += p[c], square[c] += p[c] * p[c];
        }
        for (int g = 0; g < GROUPS; g++) {
            float a = 0, b = 0;
            for (int c = g * part; c < (g + 1) * part; c++) a += sum[c], b += square[c];
            a /= (float)(part * side * side);
            b = b / (float)(part * side * side) - a * a;
            for (int c = g * part; c < (g + 1) * part; c++) mean[c] = a, s[c] = 1 / sqrtf((b > 0 ? b : 0) + 1e-5f);
        }
        EACH_PIXEL(side, i, j) {
            const size_t k = at(side, channels, n, i, j);
            for (int c = 0; c < channels; c++) y[k + (size_t)c] = (x[k + (size_t)c] - mean[c]) * s[c];
        }
    }
}

/* dx += the gradient through y = norm(x). */
static void norm_back(const float *y, const float *scale, const float *dy, float *dx, int side, int channels)
{
    const int part = channels / GROUPS;
    for (int n = 0; n < BATCH; n++) {
        float sum[COARSE] = { 0 }, dot[COARSE] = { 0 };
        const float *s = scale + n * COARSE;
        EACH_PIXEL(side, i, j) {
            const size_t k = at(side, channels, n, i, j);
            for (int c = 0; c < channels; c++) sum[c] += dy[k + (size_t)c], dot[c] += dy[k + (size_t)c] * y[k + (size_t)c];
        }
        for (int g = 0; g < GROUPS; g++) {
            float a = 0, b = 0;
            for (int c = g * part; c < (g + 1) * part; c++) a += sum[c], b += dot[c];
            for (int c = g * part; c < (g + 1) * part; c++) sum[c] = a / (float)(part * side * side), dot[c] = b / (float)(part * side * side);
        }
        EACH_PIXEL(side, i, j) {
            const size_t k = at(side, channels, n, i, j);
            for (int c = 0; c < channels; c++) dx[k + (size_t)c] += s[c] * (dy[k + (size_t)c] - sum[c] - y[k + (size_t)c] * dot[c]);
        }
    }
}

/* ---- blocks ---------------------------------------------------------------------------------------------- */

typedef struct kept { float *n1, *a1, *n2, *a2, *s1, *s2, *film; } kept; /* of a block, for its gradient */
static float *scratch; /* zeros between uses, or zeroed before */

static float silu(float x) { return x / (1 + expf(-x)); }
static float silu_slope(float x)
{
    const float g = 1 / (1 + expf(-x));
    return g * (1 + x * (1 - g));
}

/* x is changed in place; embed[image][EMBED]. */
static void block_forward(const block *b, kept *k, float *x, const float *embed)
{
    const int side = b->side, ch = b->channels;
    float *h = scratch;
    norm(x, k->n1, k->s1, side, ch);
    for (int n = 0; n < BATCH; n++)
        EACH_PIXEL(side, i, j) {
            const size_t p = at(side, ch, n, i, j);
            for (int c = 0; c < ch; c++) k->a1[p + (size_t)c] = silu(k->n1[p + (size_t)c]);
        }
    memset(h, 0, BATCH * image_size(side, ch) * sizeof *h);
    conv(k->a1, weights + b->conv1, h, side, 3, ch, ch);
    norm(h, k->n2, k->s2, side, ch);
    for (int n = 0; n < BATCH; n++) {
        float *f = k->film + n * 2 * COARSE;
        memset(f, 0, 2 * COARSE * sizeof *f);
        for (int e = 0; e < EMBED; e++)
            for (int c = 0; c < 2 * ch; c++) f[c] += embed[n * EMBED + e] * weights[b->film + (size_t)(e * 2 * ch + c)];
        EACH_PIXEL(side, i, j) {
            const size_t p = at(side, ch, n, i, j);
            for (int c = 0; c < ch; c++) k->a2[p + (size_t)c] = silu(k->n2[p + (size_t)c] * (1 + f[c]) + f[ch + c]);
        }
    }
    conv(k->a2, weights + b->conv2, x, side, 3, ch, ch);
}

/* d: the gradient of the block's result becomes that of its operand. */
static void block_back(const block *b, const kept *k, float *d, const float *embed, float *dembed)
{
    const int side = b->side, ch = b->channels;
    const size_t size = BATCH * image_size(side, ch);
    float *da = scratch, *dh = scratch + size;
    memset(scratch, 0, 2 * size * sizeof *da);
    conv_weights(k->a2, d, grads + b->conv2, side, 3, ch, ch);
    conv_back(d, weights + b->conv2, da, side, 3, ch, ch);
    for (int n = 0; n < BATCH; n++) {
        const float *f = k->film + n * 2 * COARSE;
        float df[2 * COARSE] = { 0 };
        EACH_PIXEL(side, i, j) {
            const size_t p = at(side, ch, n, i, j);
            for (int c = 0; c < ch; c++) {
                const float v = k->n2[p + (size_t)c], g = da[p + (size_t)c] * silu_slope(v * (1 + f[c]) + f[ch + c]);
                df[c] += g * v;
                df[ch + c] += g;
                da[p + (size_t)c] = g * (1 + f[c]);
            }
        }
        for (int e = 0; e < EMBED; e++) {
            float sum = 0;
            for (int c = 0; c < 2 * ch; c++) {
                const size_t w = b->film + (size_t)(e * 2 * ch + c);
                sum += df[c] * weights[w];
                grads[w] += df[c] * embed[n * EMBED + e];
            }
            dembed[n * EMBED + e] += sum;
        }
    }
    norm_back(k->n2, k->s2, da, dh, side, ch);
    conv_weights(k->a1, dh, grads + b->conv1, side, 3, ch, ch);
    memset(da, 0, size * sizeof *da);
    conv_back(dh, weights + b->conv1, da, side, 3, ch, ch);
    for (int n = 0; n < BATCH; n++)
        EACH_PIXEL(side, i, j) {
            const size_t p = at(side, ch, n, i, j);
            for (int c = 0; c < ch; c++) da[p + (size_t)c] *= silu_slope(k->n1[p + (size_t)c]);
        }
    norm_back(k->n1, k->s1, da, d, side, ch);
}

/* ---- the network ------------------------------------------------------------------------------------------ */

/* Pixels of the fine scale as four times the channels of the coarse one; back adds. */
static void fold(const float *fine, float *coarse, int channels)
{
    for (int n = 0; n < BATCH; n++)
        EACH_PIXEL(WIDE, i, j) memcpy(coarse + at(NARROW, 4 * channels, n, i / 2, j / 2) + (i % 2 * 2 + j % 2) * channels, fine + at(WIDE, channels, n, i, j), (size_t)channels * sizeof *fine);
}
static void unfold_add(const float *coarse, float *fine, int channels)
{
    for (int n = 0; n < BATCH; n++)
        EACH_PIXEL(WIDE, i, j) {
            const float *from = coarse + at(NARROW, 4 * channels, n, i / 2, j / 2) + (i % 2 * 2 + j % 2) * channels;
            float *to = fine + at(WIDE, channels, n, i, j);
            for (int c = 0; c < channels; c++) to[c] += from[c];
        }
}

static void activate(const float *x, float *y, size_t n) { for (size_t i = 0; i < n; i++) y[i] = silu(x[i]); }
static void activate_back(const float *x, float *d, size_t n) { for (size_t i = 0; i < n; i++) d[i] *= silu_slope(x[i]); }

typedef struct network {
    kept k[BLOCKS];
    float *input, *fine, *folded, *coarse, *risen, *n, *a, *s, *out; /* activations; those of blocks change in place */
    float waves[BATCH * WAVES], before[BATCH * EMBED], embed[BATCH * EMBED], dembed[BATCH * EMBED];
    int label[BATCH];
} network;

static const size_t fine_size = BATCH * (WIDE + 2) * (WIDE + 2), coarse_size = BATCH * (NARROW + 2) * (NARROW + 2);

static void embed_forward(network *t, const float *time)
{
    for (int n = 0; n < BATCH; n++) {
        for (int i = 0; i < WAVES / 2; i++) {
            const float w = expf((float)i / (WAVES / 2 - 1) * logf(32)) * time[n];
            t->waves[n * WAVES + i] = sinf(w);
            t->waves[n * WAVES + WAVES / 2 + i] = cosf(w);
        }
        float *b = t->before + n * EMBED;
        memcpy(b, weights + class_w + (size_t)t->label[n] * EMBED, EMBED * sizeof *b);
        for (int i = 0; i < WAVES; i++)
            for (int e = 0; e < EMBED; e++) b[e] += t->waves[n * WAVES + i] * weights[waves_w + (size_t)(i * EMBED + e)];
    }
    activate(t->before, t->embed, BATCH * EMBED);
}
static void embed_back(network *t)
{
    activate_back(t->before, t->dembed, BATCH * EMBED);
    for (int n = 0; n < BATCH; n++)
        for (int e = 0; e < EMBED; e++) {
            const float d = t->dembed[n * EMBED + e];
            grads[class_w + (size_t)(t->label[n] * EMBED + e)] += d;
            for (int i = 0; i < WAVES; i++) grads[waves_w + (size_t)(i * EMBED + e)] += d * t->waves[n * WAVES + i];
        }
}

static void forward(network *t, const float *time)
{
    embed_forward(t, time);
    memset(t->fine, 0, fine_size * FINE * sizeof(float));
    memset(t->coarse, 0, coarse_size * COARSE * sizeof(float));
    memset(t->risen, 0, coarse_size * 4 * FINE * sizeof(float));
    memset(t->out, 0, fine_size * OUT * sizeof(float));
    conv(t->input, weights + in_w, t->fine, WIDE, 3, PATCH, FINE);
    for (int i = 0; i < FINE_BLOCKS; i++) block_forward(&blocks[i], &t->k[i], t->fine, t->embed);
    fold(t->fine, t->folded, FINE);
    conv(t->folded, weights + down_w, t->coarse, NARROW, 1, 4 * FINE, COARSE);
    for (int i = FINE_BLOCKS; i < FINE_BLOCKS + COARSE_BLOCKS; i++) block_forward(&blocks[i], &t->k[i], t->coarse, t->embed);
    conv(t->coarse, weights + up_w, t->risen, NARROW, 1, COARSE, 4 * FINE);
    unfold_add(t->risen, t->fine, FINE);
    for (int i = FINE_BLOCKS + COARSE_BLOCKS; i < BLOCKS; i++) block_forward(&blocks[i], &t->k[i], t->fine, t->embed);
    norm(t->fine, t->n, t->s, WIDE, FINE);
    activate(t->n, t->a, fine_size * FINE);
    conv(t->a, weights + out_w, t->out, WIDE, 3, FINE, OUT);
}

/* dout: the gradient of out. fine, coarse, risen and folded hold gradients afterwards. */
static void backward(network *t, const float *dout)
{
    float *d = t->fine, *dn = scratch;
    memset(grads, 0, parameters * sizeof *grads);
    memset(t->dembed, 0, sizeof t->dembed);
    memset(dn, 0, fine_size * FINE * sizeof *dn);
    conv_weights(t->a, dout, grads + out_w, WIDE, 3, FINE, OUT);
    conv_back(dout, weights + out_w, dn, WIDE, 3, FINE, OUT);
    activate_back(t->n, dn, fine_size * FINE);
    memset(d, 0, fine_size * FINE * sizeof *d);
    norm_back(t->n, t->s, dn, d, WIDE, FINE);
    for (int i = BLOCKS - 1; i >= FINE_BLOCKS + COARSE_BLOCKS; i--) block_back(&blocks[i], &t->k[i], d, t->embed, t->dembed);
    fold(d, t->risen, FINE);
    conv_weights(t->coarse, t->risen, grads + up_w, NARROW, 1, COARSE, 4 * FINE);
    memset(t->coarse, 0, coarse_size * COARSE * sizeof(float));
    conv_back(t->risen, weights + up_w, t->coarse, NARROW, 1, COARSE, 4 * FINE);
    for (int i = FINE_BLOCKS + COARSE_BLOCKS - 1; i >= FINE_BLOCKS; i--) block_back(&blocks[i], &t->k[i], t->coarse, t->embed, t->dembed);
    conv_weights(t->folded, t->coarse, grads + down_w, NARROW, 1, 4 * FINE, COARSE);
    memset(t->risen, 0, coarse_size * 4 * FINE * sizeof(float));
    conv_back(t->coarse, weights + down_w, t->risen, NARROW, 1, 4 * FINE, COARSE);
    unfold_add(t->risen, d, FINE);
    for (int i = FINE_BLOCKS - 1; i >= 0; i--) block_back(&blocks[i], &t->k[i], d, t->embed, t->dembed);
    conv_weights(t->input, d, grads + in_w, WIDE, 3, PATCH, FINE);
    embed_back(t);
}

static void adam(int n, float rate)
{
    const float c1 = 1 - powf(0.9f, (float)n), c2 = 1 - powf(0.99f, (float)n), keep = fminf(0.999f, (float)n / (float)(n + 20));
    double square = 0;
    for (size_t i = 0; i < parameters; i++) square += (double)grads[i] * grads[i];
    const float clip = square > 1 ? (float)(1 / sqrt(square)) : 1;
    for (size_t i = 0; i < parameters; i++) {
        const float g = grads[i] * clip;
        adam_m[i] = 0.9f * adam_m[i] + 0.1f * g;
        adam_v[i] = 0.99f * adam_v[i] + 0.01f * g * g;
        weights[i] -= rate * (adam_m[i] / c1 / (sqrtf(adam_v[i] / c2) + 1e-8f));
        average[i] = keep * average[i] + (1 - keep) * weights[i];
    }
}

/* ---- random numbers, data, file --------------------------------------------------------------------------- */

static uint64_t random_state = 0x9e3779b97f4a7c15u;
static uint32_t random_bits(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33);
}
static float random_normal(void)
{
    const float u = ((float)random_bits() + 0.5f) / 2147483648.0f, v = (float)random_bits() / 2147483648.0f;
    return sqrtf(-2 * logf(u)) * cosf(6.2831853f * v);
}

static size_t add_weights(size_t count, float scale)
{
    const size_t first = parameters;
    parameters += count;
    if (parameters > MOST) exit(1);
    for (size_t i = first; i < parameters; i++) average[i] = weights[i] = scale * random_normal();
    return first;
}

static void make_weights(void)
{
    waves_w = add_weights(WAVES * EMBED, 0.3f);
    class_w = add_weights((CLASSES + 1) * EMBED, 0.7f);
    in_w = add_weights(9 * PATCH * FINE, 0.16f);
    for (int i = 0; i < BLOCKS; i++) {
        const bool coarse = i >= FINE_BLOCKS && i < FINE_BLOCKS + COARSE_BLOCKS;
        const size_t channels = coarse ? COARSE : FINE, taps = 9 * channels * channels;
        if (i == FINE_BLOCKS) down_w = add_weights(4 * FINE * COARSE, 0.07f);
        if (i == FINE_BLOCKS + COARSE_BLOCKS) up_w = add_weights(COARSE * 4 * FINE, 0.05f);
        blocks[i] = (block){ coarse ? NARROW : WIDE, (int)channels, 0, 0, 0 };
        blocks[i].film = add_weights(EMBED * 2 * channels, 0.03f);
        blocks[i].conv1 = add_weights(taps, 1.6f / sqrtf(9 * (float)channels));
        blocks[i].conv2 = add_weights(taps, 0.3f / sqrtf(9 * (float)channels));
    }
    out_w = add_weights(9 * FINE * OUT, 0);
}

/* As tuff_conv and tuff_conv_transpose take them: [a][b][tap], where the weight of tap t, a and b is at w + t wt + a wa + b wb. Each of the a rows is
 * its scale, then whole numbers of it from -127 to 127. */
static void put_rows(FILE *f, size_t w, int taps, size_t wt, int a, size_t wa, int b, size_t wb)
{
    for (int i = 0; i < a; i++) {
        const float *row = average + w + (size_t)i * wa;
        float most = 0;
        for (int j = 0; j < b; j++)
            for (int t = 0; t < taps; t++) most = fmaxf(most, fabsf(row[(size_t)t * wt + (size_t)j * wb]));
        const float scale = most > 0 ? most / 127 : 1;
        fwrite(&scale, sizeof scale, 1, f);
        for (int j = 0; j < b; j++)
            for (int t = 0; t < taps; t++) putc((int)lrintf(row[(size_t)t * wt + (size_t)j * wb] / scale) & 255, f);
    }
}

static void save(const char *path)
{
    FILE *f = fopen(path, "wb");
    if (!f) exit(1);
    const uint32_t sizes[6] = { FINE, COARSE, FINE_BLOCKS, COARSE_BLOCKS, EMBED, WAVES };
    fwrite("tuffwear", 1, 8, f);
    fwrite(sizes, sizeof sizes, 1, f);
    put_rows(f, waves_w, 1, 0, WAVES, EMBED, EMBED, 1);
    put_rows(f, class_w, 1, 0, CLASSES + 1, EMBED, EMBED, 1);
    put_rows(f, in_w, 9, PATCH * FINE, FINE, 1, PATCH, FINE);
    for (int i = 0; i < BLOCKS; i++) {
        const size_t c = (size_t)blocks[i].channels;
        if (i == FINE_BLOCKS) put_rows(f, down_w, 4, FINE * COARSE, COARSE, 1, FINE, COARSE);
        if (i == FINE_BLOCKS + COARSE_BLOCKS) put_rows(f, up_w, 4, FINE, COARSE, 4 * FINE, FINE, 1);
        put_rows(f, blocks[i].film, 1, 0, EMBED, 2 * c, (int)(2 * c), 1);
        put_rows(f, blocks[i].conv1, 9, c * c, (int)c, 1, (int)c, c);
        put_rows(f, blocks[i].conv2, 9, c * c, (int)c, 1, (int)c, c);
    }
    put_rows(f, out_w, 9, FINE * OUT, PATCH, 1, FINE, OUT);
    fclose(f);
}

/* An IDX file without its header. */
static unsigned char *read_idx(const char *path, size_t header, size_t *count)
{
    FILE *f = fopen(path, "rb");
    unsigned char *all = malloc(64 << 20);
    if (!f || !all) exit(fprintf(stderr, "%s cannot be read\n", path));
    *count = fread(all, 1, 64 << 20, f) - header;
    fclose(f);
    return all + header;
}

static float *images;    /* [count][SIDE][SIDE] */
static unsigned char *labels;
static size_t count;

/* A batch at random noise levels: fills input and label, what the network should say, and ln(sigma)/4. */
static void make_batch(network *t, float *want, float *time)
{
    for (int n = 0; n < BATCH; n++) {
        const size_t pick = random_bits() % count;
        const float s = expf(-0.6f + 1.3f * random_normal()), in = 1 / sqrtf(s * s + sigma_data * sigma_data), skip = sigma_data * sigma_data * in * in, out = s * sigma_data * in;
        t->label[n] = random_bits() % 10 ? labels[pick] : CLASSES;
        time[n] = logf(s) / 4;
        for (int y = 0; y < SIDE; y++)
            for (int x = 0; x < SIDE; x++) {
                const float clean = images[pick * SIDE * SIDE + (size_t)(y * SIDE + x)], noisy = clean + s * random_normal();
                const int channel = y % 2 * 2 + x % 2;
                t->input[at(WIDE, PATCH, n, y / 2, x / 2) + (size_t)channel] = in * noisy;
                want[at(WIDE, OUT, n, y / 2, x / 2) + (size_t)channel] = (clean - skip * noisy) / out;
            }
    }
}

int main(int argc, char **argv)
{
    static network t;
    if (argc < 5) return fprintf(stderr, "train IMAGES LABELS MODEL SECONDS\n"), 2;
    const unsigned char *pixels = read_idx(argv[1], 16, &count);
    labels = read_idx(argv[2], 8, &count);
    images = take(count * SIDE * SIDE);
    for (size_t i = 0; i < count * SIDE * SIDE; i++) images[i] = ((float)pixels[i] / 255 - data_mean) * data_scale;
    weights = take(MOST), grads = take(MOST), adam_m = take(MOST), adam_v = take(MOST), average = take(MOST);
    make_weights();
    for (int i = 0; i < BLOCKS; i++) {
        const size_t n = BATCH * image_size(blocks[i].side, blocks[i].channels);
        t.k[i] = (kept){ take(n), take(n), take(n), take(n), take(BATCH * COARSE), take(BATCH * COARSE), take(BATCH * 2 * COARSE) };
    }
    t.input = take(fine_size * PATCH), t.fine = take(fine_size * FINE), t.n = take(fine_size * FINE), t.a = take(fine_size * FINE), t.s = take(BATCH * COARSE), t.out = take(fine_size * OUT);
    t.folded = take(coarse_size * 4 * FINE), t.risen = take(coarse_size * 4 * FINE), t.coarse = take(coarse_size * COARSE);
    scratch = take(2 * fine_size * COARSE);
    float *want = take(fine_size * OUT), level[BATCH], mean = 0;
    const double limit = atof(argv[4]);
    const time_t start = time(NULL);
    for (int n = 1;; n++) {
        const double part = difftime(time(NULL), start) / limit;
        float loss = 0;
        make_batch(&t, want, level);
        forward(&t, level);
        for (size_t i = 0; i < fine_size * OUT; i++) { /* becomes the gradient */
            const float e = t.out[i] - want[i];
            loss += e * e / (BATCH * SIDE * SIDE);
            t.out[i] = 2 * e / (BATCH * SIDE * SIDE);
        }
        backward(&t, t.out);
        mean = n == 1 ? loss : 0.99f * mean + 0.01f * loss;
        adam(n, 2e-3f * fminf((float)n / 100, 1) * (float)(0.01 + 0.99 * 0.5 * (1 + cos(3.14159265 * fmin(part, 1)))));
        if (n % 100 == 0) fprintf(stderr, "step %d, %.1f %% of the time, loss %.4f\n", n, 100 * part, (double)mean);
        if (n % 1000 == 0 || part >= 1) save(argv[3]);
        if (part >= 1) break;
    }
    return 0;
}
