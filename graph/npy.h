/* npy.h - NumPy's .npy files, versions 1 to 3, from memory and from disk.
 *
 * Files are data from elsewhere: every length is checked before it is used. What tuff has no dtype for converts
 * with a range check: float64 to f32, int64 to i32, uint64 to u32, complex128 to c64. */
#ifndef TF_NPY_H
#define TF_NPY_H

#include "base/base.h"

typedef struct tf_npy {
    tuff_dtype dtype;
    tuff_shape shape;
    void *data;       /* dense little-endian elements; NULL if there are none */
    size_t bytes;
} tf_npy;

/* want NONE: the file's own dtype after the conversions above. Else the elements are converted: between floats by
 * rounding, between integers and into floats exactly or not at all, real into complex; a finite value that would
 * become infinite is an error. message is always terminated; it does not name the file. */
tuff_status tf_npy_parse(const void *file, size_t size, tuff_dtype want, const tuff_allocator *allocator, tf_npy *out,
                         char *message, size_t message_size);
/* The same from a file; the message names it. */
tuff_status tf_npy_read(const char *path, tuff_dtype want, const tuff_allocator *allocator, tf_npy *out, char *message, size_t message_size);
void tf_npy_release(tf_npy *npy, const tuff_allocator *allocator);

/* Bytes of a file holding these elements into `out` (release with tf_str_release). bf16 and f8 are written as
 * float32, i4 and u4 as one byte each. */
tuff_status tf_npy_format(tuff_dtype dtype, const tuff_shape *shape, const void *data, tf_str *out);
tuff_status tf_npy_write(const char *path, tuff_dtype dtype, const tuff_shape *shape, const void *data, const tuff_allocator *allocator,
                         char *message, size_t message_size);

/* A whole file; *data is allocated with *size + 1 bytes and terminated. Free it with tf_free(.., *size + 1). */
tuff_status tf_file_read(const char *path, const tuff_allocator *allocator, char **data, size_t *size, char *message, size_t message_size);

#endif
