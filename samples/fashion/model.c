/* model.c - see model.h. */
#include "model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GROUPS = 8, PATCH = 4 /* pixels of a patch, 2 x 2 */, HALF = FASHION_SIDE / 2, MATRICES = 6 + 3 * 24 };

static uint32_t word(const uint8_t *p) { return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24; }

/* The matrices of the file, in its order: rows and columns. */
static size_t matrices(const fashion_model *m, size_t (*out)[2])
{
    size_t n = 0;
    const size_t fine = m->fine, coarse = m->coarse, blocks = 2 * m->fine_blocks + m->coarse_blocks;
    out[n][0] = m->waves, out[n++][1] = m->embed;
    out[n][0] = FASHION_CLASSES + 1, out[n++][1] = m->embed;
    out[n][0] = fine, out[n++][1] = 9 * PATCH;
    for (size_t i = 0; i < blocks; i++) {
        const size_t c = i >= m->fine_blocks && i < m->fine_blocks + m->coarse_blocks ? coarse : fine;
        if (i == m->fine_blocks) out[n][0] = coarse, out[n++][1] = 4 * fine;
        if (i == m->fine_blocks + m->coarse_blocks) out[n][0] = coarse, out[n++][1] = 4 * fine;
        out[n][0] = m->embed, out[n++][1] = 2 * c;
        out[n][0] = c, out[n++][1] = 9 * c;
        out[n][0] = c, out[n++][1] = 9 * c;
    }
    out[n][0] = PATCH, out[n++][1] = 9 * fine;
    return n;
}

/* A row is its scale and a byte per weight. */
static bool read_rows(FILE *f, float *out, size_t rows, size_t columns)
{
    for (size_t i = 0; i < rows; i++, out += columns) {
        uint8_t bytes[4];
        if (fread(bytes, 1, 4, f) != 4) return false;
        const uint32_t bits = word(bytes);
        float scale;
        memcpy(&scale, &bits, sizeof scale);
        for (size_t j = 0; j < columns; j++) {
            const int c = getc(f);
            if (c == EOF) return false;
            out[j] = scale * (float)(c < 128 ? c : c - 256);
        }
    }
    return true;
}

bool fashion_model_read(fashion_model *m, const char *path, char *message, size_t size)
{
    uint8_t head[8 + 6 * 4];
    size_t shape[MATRICES][2], count = 0, done = 0;
    FILE *f = fopen(path, "rb");
    memset(m, 0, sizeof *m);
    if (!f || fread(head, 1, sizeof head, f) != sizeof head || memcmp(head, "tuffwear", 8)) {
        snprintf(message, size, "%s %s", path, f ? "is no model of this program" : "cannot be read");
        if (f) fclose(f);
        return false;
    }
    *m = (fashion_model){ word(head + 8), word(head + 12), word(head + 16), word(head + 20), word(head + 24), word(head + 28), NULL };
    bool good = m->fine && m->coarse && m->fine % GROUPS == 0 && m->coarse % GROUPS == 0 && m->fine <= 1024 && m->coarse <= 1024 && m->fine_blocks && m->fine_blocks <= 8 &&
                m->coarse_blocks && m->coarse_blocks <= 8 && m->embed <= 4096 && m->waves <= 4096;
    const size_t n = good ? matrices(m, shape) : 0;
    for (size_t i = 0; i < n; i++) count += shape[i][0] * shape[i][1];
    good = good && (m->weights = malloc(count * sizeof *m->weights)) != NULL;
    for (size_t i = 0; i < n && good; done += shape[i][0] * shape[i][1], i++) good = read_rows(f, m->weights + done, shape[i][0], shape[i][1]);
    fclose(f);
    if (!good) {
        snprintf(message, size, "%s is damaged", path);
        fashion_model_free(m);
    }
    return good;
}

void fashion_model_free(fashion_model *m)
{
    free(m->weights);
    m->weights = NULL;
}

float fashion_from_pixel(float v) { return (v - 0.286f) * 1.416f; }
float fashion_to_pixel(float x) { return fminf(fmaxf(x / 1.416f + 0.286f, 0), 1); }

/* ---- the graph ------------------------------------------------------------------------------------- */

typedef struct builder {
    const fashion_model *m;
    tuff_graph *g;
    size_t used;           /* weights so far */
    tuff_tensor embedding; /* [batch, embed] */
} builder;

static tuff_tensor weights(builder *b, tuff_shape shape)
{
    const float *data = b->m->weights + b->used;
    size_t n = 1;
    for (int32_t i = 0; i < shape.rank; i++) n *= (size_t)shape.dim[i];
    b->used += n;
    return tuff_const(b->g, TUFF_F32, shape, data, &(tuff_const_desc){ .borrow = true });
}

static tuff_tensor conv3(builder *b, tuff_tensor x, int64_t from, int64_t to)
{
    return tuff_conv(x, weights(b, TUFF_SHAPE(to, from, 3, 3)), &(tuff_conv_desc){ .padding = TUFF_INTS(1) });
}

/* The embedding's number per channel: columns [first, first + channels) of its product. */
static tuff_tensor per_channel(tuff_tensor film, int64_t first, int64_t channels)
{
    const tuff_tensor part = tuff_slice(film, TUFF_INTS(first), TUFF_INTS(first + channels), &(tuff_slice_desc){ .axes = TUFF_INTS(1) });
    return tuff_reshape(part, TUFF_SHAPE(-1, channels, 1, 1));
}

static tuff_tensor block(builder *b, tuff_tensor x, int64_t channels)
{
    const tuff_tensor film = tuff_matmul(b->embedding, weights(b, TUFF_SHAPE(b->m->embed, 2 * channels)), NULL), one = tuff_literal(b->g, 1, TUFF_F32);
    tuff_tensor h = conv3(b, tuff_silu(tuff_group_norm(x, GROUPS, 1, NULL)), channels, channels);
    h = tuff_mul(tuff_group_norm(h, GROUPS, 1, NULL), tuff_add(one, per_channel(film, 0, channels)));
    h = tuff_silu(tuff_add(h, per_channel(film, channels, channels)));
    return tuff_add(x, conv3(b, h, channels, channels));
}

/* silu(waves of the time + the class): sines and cosines at frequencies from 1 to 32. */
static tuff_tensor embed(builder *b, tuff_tensor time, tuff_tensor labels)
{
    const int64_t half = b->m->waves / 2, width = b->m->embed;
    const tuff_tensor i = tuff_cast(tuff_iota(b->g, TUFF_SHAPE(half), 0, NULL), TUFF_F32);
    const tuff_tensor turns = tuff_mul(tuff_exp(tuff_mul(i, tuff_literal(b->g, log(32) / (double)(half - 1), TUFF_F32))), time);
    const tuff_tensor waves = tuff_concat((tuff_tensor[]){ tuff_sin(turns), tuff_cos(turns) }, 2, 0);
    const tuff_tensor of_time = tuff_matmul(tuff_reshape(waves, TUFF_SHAPE(1, 2 * half)), weights(b, TUFF_SHAPE(2 * half, width)), NULL);
    const tuff_tensor of_class = tuff_gather(weights(b, TUFF_SHAPE(FASHION_CLASSES + 1, width)), labels, 0);
    return tuff_silu(tuff_add(of_time, of_class));
}

/* [batch, 1, 28, 28] as patches [batch, 4, 14, 14], and back. */
static tuff_tensor to_patches(tuff_tensor x)
{
    return tuff_reshape(tuff_permute(tuff_reshape(x, TUFF_SHAPE(-1, HALF, 2, HALF, 2)), TUFF_INTS(0, 2, 4, 1, 3)), TUFF_SHAPE(-1, PATCH, HALF, HALF));
}
static tuff_tensor from_patches(tuff_tensor x)
{
    return tuff_reshape(tuff_permute(tuff_reshape(x, TUFF_SHAPE(-1, 2, 2, HALF, HALF)), TUFF_INTS(0, 3, 1, 4, 2)), TUFF_SHAPE(-1, 1, FASHION_SIDE, FASHION_SIDE));
}

tuff_tensor fashion_network(const fashion_model *m, tuff_tensor x, tuff_tensor time, tuff_tensor labels)
{
    builder b = { .m = m, .g = x.graph };
    const int64_t fine = m->fine, coarse = m->coarse;
    b.embedding = embed(&b, time, labels);
    tuff_tensor h = conv3(&b, to_patches(x), PATCH, fine);
    for (uint32_t i = 0; i < m->fine_blocks; i++) h = block(&b, h, fine);
    tuff_tensor low = tuff_conv(h, weights(&b, TUFF_SHAPE(coarse, fine, 2, 2)), &(tuff_conv_desc){ .stride = TUFF_INTS(2) });
    for (uint32_t i = 0; i < m->coarse_blocks; i++) low = block(&b, low, coarse);
    h = tuff_add(h, tuff_conv_transpose(low, weights(&b, TUFF_SHAPE(coarse, fine, 2, 2)), &(tuff_conv_transpose_desc){ .stride = TUFF_INTS(2) }));
    for (uint32_t i = 0; i < m->fine_blocks; i++) h = block(&b, h, fine);
    return from_patches(conv3(&b, tuff_silu(tuff_group_norm(h, GROUPS, 1, NULL)), fine, PATCH));
}
