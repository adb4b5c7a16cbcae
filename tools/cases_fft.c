/* cases_fft.c - reference cases of Fourier transforms. */
#include "case.h"

/* n and k state sizes that x and h carry themselves; as lists they ask for two axes. */
static bool write_conv(case_builder *b)
{
    static const char *const names[2][2] = { { "n", "x" }, { "k", "h" } };
    const cJSON *n = cJSON_GetObjectItemCaseSensitive(b->attrs, "n");
    const int dims = cJSON_IsArray(n) ? cJSON_GetArraySize(n) : 1;
    if (dims < 1 || dims > 2) return case_refuse(b, "attribute n lists %d sizes; one or two axes are convolved", dims);
    for (int i = 0; i < 2; i++) {
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(b->attrs, names[i][0]);
        for (int a = 0; item && a < dims; a++) {
            const cJSON *size = cJSON_IsArray(item) ? cJSON_GetArrayItem(item, a) : item;
            const int64_t got = case_dim(b, names[i][1], a - dims);
            if (!cJSON_IsNumber(size) || (double)got != size->valuedouble)
                return case_refuse(b, "attribute %s does not fit the shape of %s", names[i][0], names[i][1]);
        }
    }
    tf_str_printf(&b->text, "y = fft_conv(x, h) {mode=%s, dims=%d}\n", tool_json_text(b->attrs, "mode", "linear"), dims);
    return true;
}

const case_row fft_cases[] = {
    { .op = "fft", .target = "fft" },
    { .op = "fftconv", .write = write_conv, .ignored = "mode n k" },
    { .op = NULL }
};
