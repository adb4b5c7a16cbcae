/* random_graph.h - random graphs from a seed, for differential tests.
 *
 * Two kinds of f32 tensor are kept apart: real ones, which only continuous ops read, and whole ones (small integers,
 * exact in f32), which alone feed comparisons, argmax, floor and indices, so that no rounding can flip a result.
 * With `noisy`, every real result is multiplied by an input "noise<i>" near 1: running that twin in the
 * reference with noise of known size shows how strongly rounding errors grow in this very graph. */
#ifndef TEST_RANDOM_GRAPH_H
#define TEST_RANDOM_GRAPH_H

#include "support/support.h"

/* NULL if the graph could not be built: that is a fault, and the text is in message. */
tuff_graph *random_graph(uint64_t seed, uint32_t nodes, bool noisy, char *message, size_t size);

#endif
