/* fuzz_main.c - libFuzzer entry: compile with -DTARGET=fuzz_text or fuzz_npy and -fsanitize=fuzzer. */
#include "fuzz_targets.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    TARGET(data, size);
    return 0;
}
