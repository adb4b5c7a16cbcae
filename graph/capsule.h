/* capsule.h - plans with the code of their kernels as one file, which runs where there is no shader compiler.
 *
 *     header        magic, format, counts, sizes, hash
 *     tables        where blobs and variants lie
 *     variants      plans of one graph for different devices, the best first
 *     blobs         the kernels' SPIR-V, then the constants; equal ones once
 *
 * Offsets instead of pointers, so a file that is mapped into memory is used where it lies. The hash covers everything but the
 * constants. A file is input like any other: whatever the header, the plan or a blob says is checked before it is used. */
#ifndef TF_CAPSULE_H
#define TF_CAPSULE_H

#include "plan.h"

/* Appends the capsule of plans whose kernels all have code. False: out of memory. */
bool tf_capsule_write(const tf_plan *const *plans, uint32_t n, tf_str *out);
/* Sets size and hash in the header of a capsule that is complete, or that a test has damaged. */
void tf_capsule_seal(void *data, size_t size);

/* Is this the start of a capsule, whole or not? */
bool tf_capsule_is(const void *data, size_t size);
/* The number of variants; 0 with a message: not a capsule, damaged, or of another version. */
uint32_t tf_capsule_variants(const void *data, size_t size, const char **message);
/* Variant i of a file that tf_capsule_variants has accepted, checked by tf_plan_check against `limits`, the device's. Its constants are
 * borrowed from data. E_PARSE: damaged; E_UNSUPPORTED: beyond the limits; E_MEMORY; the text is in message. limits NULL: whatever the
 * device, to be written again but not run. */
tuff_status tf_capsule_read(const void *data, uint32_t i, const tf_limits *limits, const tuff_allocator *allocator, tf_plan **out, tf_str *message);
/* The first variant within the limits, of those made for devices of the same class, for any device, and for devices of the other class, in
 * this order. E_PARSE: it cannot be read; E_UNSUPPORTED: no variant is; E_MEMORY; the text is in message. */
tuff_status tf_capsule_choose(const void *data, size_t size, const tf_limits *limits, const tuff_allocator *allocator, tf_plan **out,
                              tf_str *message);

#endif
