/* cases_ops.c - reference cases of operators from many models: graphs of samples/zoo/attention, and general primitives. */
#include "case.h"

const case_row ops_cases[] = {
    { .op = "orthogonal_fusion", .zoo = "attention/orthogonal_fusion", .params = "B=f_local.0 C=f_local.1 H=f_local.2 W=f_local.3" },
    { .op = NULL }
};
