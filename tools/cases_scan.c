/* cases_scan.c - reference cases of scans, selective state spaces and recurrences. */
#include "case.h"

/* Cases run along the last axis unless they say otherwise. */
static void scan_units(cJSON *attrs)
{
    if (!cJSON_HasObjectItem(attrs, "axis")) cJSON_AddNumberToObject(attrs, "axis", -1.0);
}

/* These repeat which inputs exist. */
#define SCAN_KNOWN "segmented initial"

const case_row scan_cases[] = {
    { .op = "cumsum", .target = "cumsum", .convert = scan_units, .ignored = SCAN_KNOWN, .renames = "h0=initial" },
    { .op = "cumprod", .target = "cumprod", .convert = scan_units, .ignored = SCAN_KNOWN, .renames = "h0=initial" },
    { .op = "cummax", .target = "cummax", .convert = scan_units, .ignored = SCAN_KNOWN, .renames = "h0=initial" },
    { .op = "cummin", .target = "cummin", .convert = scan_units, .ignored = SCAN_KNOWN, .renames = "h0=initial" },
    { .op = "logcumsumexp", .target = "logcumsumexp", .convert = scan_units, .ignored = SCAN_KNOWN, .renames = "h0=initial" },
    { .op = "linear_scan", .target = "linear_scan", .convert = scan_units, .ignored = SCAN_KNOWN, .renames = "h0=initial" },
    { .op = "selective_scan", .target = "selective_scan", .ignored = "stream_chunks" },
    { .op = NULL }
};
