/* fuzz_npy.c - libFuzzer entry: .npy files, read as every dtype. Build with clang and -DTUFF_FUZZ=ON. */
#include <stdlib.h>

#include "graph/npy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char message[256];
    for (int t = 0; t < TUFF_DTYPE_COUNT; t++) {
        tf_npy npy;
        if (tf_npy_parse(data, size, (tuff_dtype)t, NULL, &npy, message, sizeof message) != TUFF_OK && (npy.data || !message[0]))
            abort();
        tf_npy_release(&npy, NULL);
    }
    return 0;
}
