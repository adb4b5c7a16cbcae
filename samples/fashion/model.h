/* model.h - a network that denoises small pictures of clothes, as part of a graph: the file train.c writes, and what it computes.
 *
 * One grey picture of 28 x 28 per sample. A block is x += conv(silu(norm(conv(silu(norm(x)))) * (1 + scale) + shift)), where scale and shift are
 * linear in an embedding of the noise level and the class; two blocks on 14 x 14, three on 7 x 7, two on 14 x 14. */
#ifndef FASHION_MODEL_H
#define FASHION_MODEL_H

#include <tuff/tuff.h>

enum { FASHION_SIDE = 28, FASHION_CLASSES = 10 /* the number of no class */ };

typedef struct fashion_model {
    uint32_t fine, coarse, fine_blocks, coarse_blocks, embed, waves;
    float *weights; /* in the order of use */
} fashion_model;

/* false: the message says why. */
bool fashion_model_read(fashion_model *m, const char *path, char *message, size_t size);
void fashion_model_free(fashion_model *m);

/* Pixels of 0..1 as the network knows them, of mean 0 and deviation 1/2, and back. */
float fashion_from_pixel(float v);
float fashion_to_pixel(float x);

/* x[batch, 1, 28, 28], time = ln(sigma) / 4 of rank 0, labels i32[batch] (FASHION_CLASSES: any) -> F of arXiv:2206.00364 with sigma_data 1/2, of the
 * shape of x. The weights stay where m has them. */
tuff_tensor fashion_network(const fashion_model *m, tuff_tensor x, tuff_tensor time, tuff_tensor labels);

#endif
