/* os.h - every call into the operating system that the library makes: files, threads, locks, clocks, shared
 * libraries. os.c is the only file with an #ifdef per system. Paths are UTF-8 byte strings; functions that fail
 * return false or NULL and leave no partial result. */
#ifndef TF_OS_H
#define TF_OS_H

#include "graph/base/base.h"

#if defined(_WIN32)
typedef struct tf_mutex { void *srw; } tf_mutex; /* an SRWLOCK, which is one pointer */
typedef struct tf_thread { void *handle; } tf_thread;
#else
#  include <pthread.h>
typedef struct tf_mutex { pthread_mutex_t m; } tf_mutex;
typedef struct tf_thread { pthread_t t; } tf_thread;
#endif

void tf_mutex_init(tf_mutex *m);
void tf_mutex_release(tf_mutex *m);
void tf_mutex_lock(tf_mutex *m);
void tf_mutex_unlock(tf_mutex *m);

/* A lock that exists before main() and is never released; for process-wide one-time work. */
void tf_process_lock(void);
void tf_process_unlock(void);

bool tf_thread_start(tf_thread *t, void (*run)(void *), void *arg);
void tf_thread_join(tf_thread *t);
uint32_t tf_cores(void);          /* processors this process may use; at least 1 */
uint64_t tf_clock_ns(void);       /* monotonic */
void tf_sleep_ms(uint32_t ms);

/* A shared library. */
void *tf_library_open(const char *name);
void (*tf_library_symbol(void *library, const char *name))(void);
void tf_library_close(void *library);

/* The user's cache directory for this library ("/home/u/.cache/tuff"); false if the system names none. */
bool tf_cache_directory(char *out, size_t size);
bool tf_make_directories(const char *path);   /* like mkdir -p, private to the user; true if it exists afterwards */
/* The whole file through the allocator; NULL if it does not exist, is larger than limit, or memory is out. */
void *tf_os_file_read(const tuff_allocator *a, const char *path, size_t limit, size_t *size);
/* Replace path in one step: readers see the old file or the whole new one. sync: survive a power cut too. */
bool tf_file_replace(const char *path, const void *data, size_t size, bool sync);
/* Delete files of directory whose name ends in suffix, oldest first, until at most keep of them are left. */
void tf_directory_trim(const char *directory, const char *suffix, uint32_t keep);

#endif
