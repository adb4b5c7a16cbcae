/* spirv.c - see spirv.h. */
#include "spirv.h"

#include <stddef.h>

enum { SPIRV_MAGIC = 0x07230203, SPIRV_HEADER = 5, OP_ENTRY_POINT = 15, OP_CAPABILITY = 17 };

bool tf_spirv_plausible(const uint32_t *w, size_t n)
{
    bool entry = false;
    if (n < SPIRV_HEADER || w[0] != SPIRV_MAGIC || w[3] == 0)
        return false;
    for (size_t at = SPIRV_HEADER, length; at < n; at += length) {
        length = w[at] >> 16;
        if (length == 0 || length > n - at)
            return false;
        entry = entry || (w[at] & 0xffff) == OP_ENTRY_POINT;
    }
    return entry;
}

/* Numbers of the SPIR-V specification, section "Capability". */
static const struct { uint32_t capability; size_t field; const char *text; } tiers[] = {
    { 9, offsetof(tf_limits, f16), "16-bit float arithmetic" },
    { 10, offsetof(tf_limits, f64), "64-bit float arithmetic" },
    { 11, offsetof(tf_limits, i64), "64-bit integer arithmetic" },
    { 22, offsetof(tf_limits, i16), "16-bit integer arithmetic" },
    { 39, offsetof(tf_limits, i8), "8-bit integer arithmetic" },
    { 61, offsetof(tf_limits, subgroup_basic), "subgroups" },
    { 62, offsetof(tf_limits, subgroup_vote), "subgroup votes" },
    { 63, offsetof(tf_limits, subgroup_arithmetic), "subgroup arithmetic" },
    { 64, offsetof(tf_limits, subgroup_ballot), "subgroup ballots" },
    { 65, offsetof(tf_limits, subgroup_shuffle), "subgroup shuffles" },
    { 4433, offsetof(tf_limits, storage16), "16-bit storage buffers" },
    { 4434, offsetof(tf_limits, storage16), "16-bit storage buffers" },
    { 4448, offsetof(tf_limits, storage8), "8-bit storage buffers" },
    { 4449, offsetof(tf_limits, storage8), "8-bit storage buffers" },
};
bool tf_spirv_uses(const uint32_t *w, size_t n, uint32_t capability)
{
    for (size_t at = SPIRV_HEADER; at < n && (w[at] & 0xffff) == OP_CAPABILITY; at += w[at] >> 16)
        if (w[at] >> 16 == 2 && w[at + 1] == capability)
            return true;
    return false;
}

const char *tf_spirv_lacks(const uint32_t *words, size_t n, const tf_limits *limits)
{
    for (size_t i = 0; i < TF_COUNT(tiers); i++)
        if (tf_spirv_uses(words, n, tiers[i].capability) && !*(const bool *)((const char *)limits + tiers[i].field))
            return tiers[i].text;
    return tf_spirv_uses(words, n, TF_SPIRV_MATRICES) && !limits->coopmat.m ? "cooperative matrices" : NULL;
}
