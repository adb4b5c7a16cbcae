/* cases_core.c - reference cases of random numbers. */
#include "case.h"

/* Attributes of RNG cases that state what the numbers should look like. */
#define RANDOM_KNOWN "mean std"
#define RANDOM_ATTRIBUTES "shape=$shape, seed=$seed, stream=$stream, draw=$step, antithetic=$antithetic"

/* seed_lo, seed_hi -> one 64-bit seed, which a double cannot hold; n -> shape [n]. */
static void random_units(cJSON *attrs)
{
    char text[32];
    const uint64_t lo = (uint64_t)tool_json_number(attrs, "seed_lo", 0.0), hi = (uint64_t)tool_json_number(attrs, "seed_hi", 0.0);
    snprintf(text, sizeof text, "%llu", (unsigned long long)(hi << 32 | lo));
    cJSON_AddRawToObject(attrs, "seed", text);
    cJSON_DeleteItemFromObjectCaseSensitive(attrs, "seed_lo");
    cJSON_DeleteItemFromObjectCaseSensitive(attrs, "seed_hi");
    cJSON *n = cJSON_DetachItemFromObjectCaseSensitive(attrs, "n");
    if (n) cJSON_AddItemToArray(cJSON_AddArrayToObject(attrs, "shape"), n);
    if (!cJSON_HasObjectItem(attrs, "stream")) cJSON_AddNumberToObject(attrs, "stream", 0.0);
    if (!cJSON_HasObjectItem(attrs, "step")) cJSON_AddNumberToObject(attrs, "step", 0.0);
    if (!cJSON_HasObjectItem(attrs, "antithetic")) cJSON_AddFalseToObject(attrs, "antithetic");
}

const case_row core_cases[] = {
    { .op = "rng.philox4x32", .ignored = "rounds", .graph = "out = philox(counter, key)\n" },
    { .op = "rng.normal_cuda_layout", .ignored = "rule",
         .graph = "i = iota() {shape=[$n], axis=0, dtype=u32}\n"
                  "z = mul(i, 0)\n"
                  "o = add(z, $offset)\n"
                  "s = add(z, $seed)\n"
                  "counter = stack(o, z, i, z) {axis=1}\n"
                  "key = stack(s, z) {axis=1}\n"
                  "w = philox(counter, key)\n"
                  "normal = map(i=i, w=w) {expr=\"let u = f32(w[i, 0]) * 0x1p-32 + 0x1p-33; let v = f32(w[i, 1]) * 0x1p-32 + 0x1p-33;"
                  " sqrt(-2.0 * log(u)) * sin(2.0 * pi * v)\"}\n" },
    { .op = "rng.uniform", .convert = random_units, .ignored = RANDOM_KNOWN,
         .graph = "words = random_bits() {" RANDOM_ATTRIBUTES "}\nuniform = uniform() {" RANDOM_ATTRIBUTES "}\n" },
    { .op = "rng.normal", .convert = random_units, .ignored = RANDOM_KNOWN,
         .graph = "normal = normal() {" RANDOM_ATTRIBUTES "}\nnormal_bits = bitcast(normal) {dtype=u32}\n" },
    { .op = "rng.gumbel", .convert = random_units, .ignored = RANDOM_KNOWN, .graph = "gumbel = gumbel() {" RANDOM_ATTRIBUTES "}\n" },
    { .op = "rng.rademacher", .convert = random_units, .ignored = RANDOM_KNOWN, .graph = "sign = rademacher() {" RANDOM_ATTRIBUTES "}\n" },
    { .op = NULL }
};
