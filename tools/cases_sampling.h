/* cases_sampling.h - what the files of the diffusion family's reference cases share: the analytic denoisers of cases. */
#ifndef TOOL_CASES_SAMPLING_H
#define TOOL_CASES_SAMPLING_H

#include "case.h"

typedef struct case_denoiser_form {
    const char *op, *operands;  /* "denoise_gaussian", "mu U lam" */
    const char *prediction;     /* the form in which its output arrives */
    bool pair;                  /* operands with the prefixes cond_ and uncond_ */
} case_denoiser_form;
/* From the attribute `denoiser`; false: the case was refused. */
bool case_denoiser(case_builder *b, case_denoiser_form *out);
/* "result = op(x, alpha, sigma, operands.., tangent=tangent)"; result may be two names; tangent may be NULL. */
void case_add_denoiser(case_builder *b, const case_denoiser_form *form, const char *result, const char *x, const char *alpha, const char *sigma, const char *prefix,
                       const char *tangent);
/* "8, 16" of a list of dims. */
const char *case_shape(case_builder *b, const cJSON *list);

#endif
