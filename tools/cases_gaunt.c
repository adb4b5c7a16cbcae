/* cases_gaunt.c - reference cases of the equivariant family. */
#include "case.h"

const case_row gaunt_cases[] = {
    { .op = NULL }
};
