/* model.h - a small language model over bytes as graphs: the file train.c writes, and the two programs that run it.
 *
 * Prefill takes a prompt, decode one token; both share the cache of keys and values, the number of tokens so far and the last
 * token as states, so that decoding needs nothing from the host: each run draws a token, stores it, and the next run reads it. */
#ifndef CHAT_MODEL_H
#define CHAT_MODEL_H

#include <tuff/tuff.h>

enum { CHAT_PREFILL = 64 }; /* tokens that one prefill takes at most: its dim "n" */

typedef struct chat_model {
    uint32_t vocabulary, dim, layers, heads, kv_heads, hidden, context;
    uint8_t byte_of[256];  /* of a token */
    uint16_t *weights;     /* f16, in the order of use */
} chat_model;

/* false: the message says why. */
bool chat_model_read(chat_model *m, const char *path, char *message, size_t size);
void chat_model_free(chat_model *m);
/* Token of a byte; 0 for bytes the model never saw. */
int32_t chat_token(const chat_model *m, uint8_t byte);

/* States: "k0", "v0", ...: caches; "len" i32[1]: tokens in them; "token" i32[1]: the last one drawn; "history" i32[1, context]: what stands at each
 * position. Scalar "temperature": 0 takes the likeliest token. Outputs: "logits" f32[1, vocabulary], "next" i32[1].
 * Prefill has the input "prompt" i32[n] and the dim "n". The weights stay where m has them. */
tuff_graph *chat_graph(const chat_model *m, bool prefill);

#endif
