/* model.c - see model.h. */
#include "model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool chat_model_read(chat_model *m, const char *path, char *message, size_t size)
{
    uint8_t head[8 + 8 * 4 + 256];
    uint32_t n[8];
    FILE *f = fopen(path, "rb");
    memset(m, 0, sizeof *m);
    if (!f || fread(head, 1, sizeof head, f) != sizeof head || memcmp(head, "tuffchat", 8)) {
        snprintf(message, size, "%s %s", path, f ? "is no model of this program" : "cannot be read");
        if (f) fclose(f);
        return false;
    }
    for (int i = 0; i < 8; i++) n[i] = head[8 + 4 * i] | (uint32_t)head[9 + 4 * i] << 8 | (uint32_t)head[10 + 4 * i] << 16 | (uint32_t)head[11 + 4 * i] << 24;
    *m = (chat_model){ n[0], n[1], n[2], n[3], n[4], n[5], n[6], { 0 }, NULL };
    memcpy(m->byte_of, head + 40, 256);
    const uint64_t dim = n[1], kv = n[3] ? dim / n[3] * n[4] : 0, layer = dim * (dim + 2 * kv) + dim * dim + 2 * dim * n[5];
    const bool sane = n[0] && n[0] <= 256 && n[3] && n[4] && n[1] <= 4096 && n[2] <= 64 && n[5] <= 16384 && n[3] % n[4] == 0 && n[1] % n[3] == 0 && n[6] && n[6] <= 65536;
    if (sane && 2 * dim * n[0] + n[2] * layer == n[7]) m->weights = malloc((size_t)n[7] * 2);
    const bool whole = m->weights && fread(m->weights, 2, n[7], f) == n[7];
    fclose(f);
    if (!whole) {
        snprintf(message, size, "%s is damaged", path);
        chat_model_free(m);
    }
    return whole;
}

void chat_model_free(chat_model *m)
{
    free(m->weights);
    m->weights = NULL;
}

int32_t chat_token(const chat_model *m, uint8_t byte)
{
    for (uint32_t i = 0; i < m->vocabulary; i++)
        if (m->byte_of[i] == byte) return (int32_t)i;
    return 0;
}

/* ---- the graph ------------------------------------------------------------------------------------- */

typedef struct builder {
    const chat_model *m;
    tuff_graph *g;
    size_t used;           /* weights so far */
    tuff_tensor len, end;  /* tokens before and after this run, i32[1] */
} builder;

/* The next weights of the file; names let prefill and decode share them on the device. */
static tuff_tensor weights(builder *b, const char *name, uint32_t layer, int64_t rows, int64_t columns)
{
    char full[32];
    snprintf(full, sizeof full, "%s%u", name, layer);
    const uint16_t *data = b->m->weights + b->used;
    b->used += (size_t)(rows * columns);
    return tuff_const(b->g, TUFF_F16, TUFF_SHAPE(rows, columns), data, &(tuff_const_desc){ .name = full, .borrow = true });
}

/* New rows [1, n, heads, size] behind what the state holds. */
static tuff_tensor cached(builder *b, const char *name, uint32_t layer, tuff_tensor rows, int64_t size)
{
    char full[16];
    snprintf(full, sizeof full, "%s%u", name, layer);
    const tuff_tensor cache = tuff_state(b->g, full, TUFF_F32, TUFF_SHAPE(1, b->m->context, b->m->kv_heads, size));
    return tuff_assign(cache, tuff_kv_append(cache, rows, b->len, NULL));
}

static tuff_tensor columns(tuff_tensor x, int64_t first, int64_t end)
{
    return tuff_slice(x, TUFF_INTS(first), TUFF_INTS(end), &(tuff_slice_desc){ .axes = TUFF_INTS(1) });
}

static tuff_tensor attention(builder *b, uint32_t layer, tuff_tensor x)
{
    const int64_t dim = b->m->dim, heads = b->m->heads, kv_heads = b->m->kv_heads, size = dim / heads, kv = kv_heads * size;
    const tuff_tensor all = tuff_matmul(tuff_rms_norm(x, NULL), weights(b, "qkv", layer, dim, dim + 2 * kv), NULL);
    const tuff_rope_desc turn = { .start = b->len };
    const tuff_tensor q = tuff_rope(tuff_reshape(columns(all, 0, dim), TUFF_SHAPE(1, -1, heads, size)), &turn);
    const tuff_tensor k = tuff_rope(tuff_reshape(columns(all, dim, dim + kv), TUFF_SHAPE(1, -1, kv_heads, size)), &turn);
    const tuff_tensor v = tuff_reshape(columns(all, dim + kv, dim + 2 * kv), TUFF_SHAPE(1, -1, kv_heads, size));
    const tuff_tensor o = tuff_attention(q, cached(b, "k", layer, k, size), cached(b, "v", layer, v, size),
                                         &(tuff_attention_desc){ .causal = true, .kv_len = b->end });
    return tuff_add(x, tuff_matmul(tuff_reshape(o, TUFF_SHAPE(-1, dim)), weights(b, "out", layer, dim, dim), NULL));
}

static tuff_tensor feed_forward(builder *b, uint32_t layer, tuff_tensor x)
{
    const int64_t dim = b->m->dim, hidden = b->m->hidden;
    const tuff_tensor h = tuff_silu(tuff_matmul(tuff_rms_norm(x, NULL), weights(b, "up", layer, dim, hidden), NULL));
    return tuff_add(x, tuff_matmul(h, weights(b, "down", layer, hidden, dim), NULL));
}

/* The likeliest token after noise of the given temperature: drawn from softmax(logits / temperature). */
static tuff_tensor draw(builder *b, tuff_tensor logits)
{
    const tuff_random_desc each = { .step = tuff_reshape(b->end, TUFF_SCALAR_SHAPE) };
    const tuff_tensor noise = tuff_gumbel(b->g, TUFF_SHAPE(1, b->m->vocabulary), 1, &each);
    const tuff_tensor temperature = tuff_scalar(b->g, "temperature", TUFF_F32, 0);
    return tuff_argmax(tuff_add(logits, tuff_mul(noise, temperature)), 1, NULL);
}

tuff_graph *chat_graph(const chat_model *m, bool prefill)
{
    builder b = { .m = m, .g = tuff_graph_create(NULL) };
    const int64_t n = prefill ? tuff_dim_param(b.g, "n", CHAT_PREFILL) : 1;
    const tuff_tensor length = tuff_state(b.g, "len", TUFF_I32, TUFF_SHAPE(1)), token = tuff_state(b.g, "token", TUFF_I32, TUFF_SHAPE(1));
    const tuff_tensor history = tuff_state(b.g, "history", TUFF_I32, TUFF_SHAPE(1, m->context));
    const tuff_tensor last = tuff_max(tuff_iota(b.g, TUFF_SHAPE(n), 0, NULL), &(tuff_reduce_desc){ .keep = true }); /* n - 1 */
    b.len = length;
    b.end = tuff_add(tuff_add(length, last), tuff_literal(b.g, 1, TUFF_I32));

    const tuff_tensor prompt = prefill ? tuff_input(b.g, "prompt", TUFF_I32, TUFF_SHAPE(n)) : token;
    tuff_tensor x = tuff_cast(tuff_gather(weights(&b, "embedding", 0, m->vocabulary, m->dim), prompt, 0), TUFF_F32);
    for (uint32_t layer = 0; layer < m->layers; layer++)
        x = feed_forward(&b, layer, attention(&b, layer, x));
    x = tuff_gather(x, last, 0);
    const tuff_tensor logits = tuff_matmul(tuff_rms_norm(x, NULL), weights(&b, "head", 0, m->dim, m->vocabulary), NULL);
    const tuff_tensor next = tuff_assign(token, draw(&b, logits));
    tuff_assign(length, b.end);
    tuff_assign(history, tuff_kv_append(history, tuff_reshape(next, TUFF_SHAPE(1, 1)), b.end, NULL));
    tuff_output(b.g, "logits", logits);
    tuff_output(b.g, "next", next);
    return b.g;
}
