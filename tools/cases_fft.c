/* cases_fft.c - reference cases of Fourier transforms. */
#include "case.h"

const case_row fft_cases[] = {
    { .op = "fft", .target = "fft" },
    { .op = NULL }
};
