/* cases_ssm.c - reference cases of the state-space family. */
#include "case.h"

const case_row ssm_cases[] = {
    { .op = NULL }
};
