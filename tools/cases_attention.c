/* cases_attention.c - reference cases of the attention family. */
#include "case.h"

#include <string.h>

/* Cases count window keys beyond the query's own, -1 for no limit; we count them including its own, 0 for no limit. */
static void window(cJSON *attrs, const char *name)
{
    cJSON *item = cJSON_GetObjectItemCaseSensitive(attrs, name);
    if (!cJSON_IsNumber(item)) return;
    if (item->valuedouble < 0.0)
        cJSON_DeleteItemFromObjectCaseSensitive(attrs, name);
    else
        cJSON_SetNumberValue(item, item->valuedouble + 1.0);
}

static void attention_units(cJSON *attrs)
{
    window(attrs, "window_left");
    window(attrs, "window_right");
    if (!strcmp(tool_json_text(attrs, "layout", ""), "dense")) cJSON_DeleteItemFromObjectCaseSensitive(attrs, "layout");
}

const case_row attention_cases[] = {
    { .op = "attention", .target = "attention", .convert = attention_units },
    { .op = NULL }
};
