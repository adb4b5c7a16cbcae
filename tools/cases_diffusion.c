/* cases_diffusion.c - reference cases of the diffusion family. */
#include "case.h"

const case_row diffusion_cases[] = {
    { .op = NULL }
};
