/* os.c - the operating system behind os.h: POSIX and Windows. Nothing here knows Vulkan or the library's objects. */
#if !defined(_WIN32)
#  define _POSIX_C_SOURCE 200809L
#  if defined(__APPLE__)
#    define _DARWIN_C_SOURCE
#  elif defined(__linux__)
#    define _GNU_SOURCE /* sched_getaffinity */
#  endif
#endif

#include "os.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(_WIN32)
#  define WIN32_LEAN_AND_MEAN
#  include <windows.h>
#else
#  include <dirent.h>
#  include <dlfcn.h>
#  include <errno.h>
#  include <fcntl.h>
#  include <sched.h>
#  include <sys/stat.h>
#  include <time.h>
#  include <unistd.h>
#endif

/* ---- locks and threads -------------------------------------------------------------------------- */

#if defined(_WIN32)

static SRWLOCK process_lock = SRWLOCK_INIT;

void tf_mutex_init(tf_mutex *m) { m->srw = NULL; }
void tf_mutex_release(tf_mutex *m) { (void)m; }
void tf_mutex_lock(tf_mutex *m) { AcquireSRWLockExclusive((SRWLOCK *)(void *)&m->srw); }
void tf_mutex_unlock(tf_mutex *m) { ReleaseSRWLockExclusive((SRWLOCK *)(void *)&m->srw); }
void tf_process_lock(void) { AcquireSRWLockExclusive(&process_lock); }
void tf_process_unlock(void) { ReleaseSRWLockExclusive(&process_lock); }

#else

static pthread_mutex_t process_lock = PTHREAD_MUTEX_INITIALIZER;

void tf_mutex_init(tf_mutex *m) { pthread_mutex_init(&m->m, NULL); }
void tf_mutex_release(tf_mutex *m) { pthread_mutex_destroy(&m->m); }
void tf_mutex_lock(tf_mutex *m) { pthread_mutex_lock(&m->m); }
void tf_mutex_unlock(tf_mutex *m) { pthread_mutex_unlock(&m->m); }
void tf_process_lock(void) { pthread_mutex_lock(&process_lock); }
void tf_process_unlock(void) { pthread_mutex_unlock(&process_lock); }

#endif

/* What a new thread runs; it lives on the C heap because the thread may start after its creator has gone on. */
typedef struct start { void (*run)(void *); void *arg; } start;

#if defined(_WIN32)
static DWORD WINAPI thread_main(LPVOID p)
#else
static void *thread_main(void *p)
#endif
{
    const start s = *(start *)p;
    free(p);
    s.run(s.arg);
    return 0;
}

bool tf_thread_start(tf_thread *t, void (*run)(void *), void *arg)
{
    start *s = malloc(sizeof *s);
    if (!s)
        return false;
    *s = (start){ run, arg };
#if defined(_WIN32)
    t->handle = CreateThread(NULL, 0, thread_main, s, 0, NULL);
    const bool ok = t->handle != NULL;
#else
    const bool ok = pthread_create(&t->t, NULL, thread_main, s) == 0;
#endif
    if (!ok)
        free(s);
    return ok;
}

void tf_thread_join(tf_thread *t)
{
#if defined(_WIN32)
    WaitForSingleObject(t->handle, INFINITE);
    CloseHandle(t->handle);
#else
    pthread_join(t->t, NULL);
#endif
}

uint32_t tf_cores(void)
{
#if defined(_WIN32)
    SYSTEM_INFO info;
    GetSystemInfo(&info);
    return info.dwNumberOfProcessors ? (uint32_t)info.dwNumberOfProcessors : 1;
#elif defined(_SC_NPROCESSORS_ONLN)
#  if defined(__linux__)
    cpu_set_t mine;
    if (!sched_getaffinity(0, sizeof mine, &mine))
        return (uint32_t)CPU_COUNT(&mine);
#  endif
    const long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (uint32_t)n : 1;
#else
    return 1;
#endif
}

uint64_t tf_clock_ns(void)
{
#if defined(_WIN32)
    LARGE_INTEGER f, c;
    QueryPerformanceFrequency(&f);
    QueryPerformanceCounter(&c);
    const uint64_t s = (uint64_t)(c.QuadPart / f.QuadPart), r = (uint64_t)(c.QuadPart % f.QuadPart);
    return s * 1000000000u + r * 1000000000u / (uint64_t)f.QuadPart;
#else
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
#endif
}

void tf_sleep_ms(uint32_t ms)
{
#if defined(_WIN32)
    Sleep(ms);
#else
    nanosleep(&(struct timespec){ .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 }, NULL);
#endif
}

/* ---- libraries ---------------------------------------------------------------------------------- */

void *tf_library_open(const char *name)
{
#if defined(_WIN32)
    return (void *)LoadLibraryA(name);
#else
    return dlopen(name, RTLD_NOW | RTLD_LOCAL);
#endif
}

void (*tf_library_symbol(void *library, const char *name))(void)
{
#if defined(_WIN32)
    return (void (*)(void))GetProcAddress((HMODULE)library, name);
#else
    /* ISO C has no cast from object to function pointer; POSIX promises equal representations. */
    void *const p = dlsym(library, name);
    void (*f)(void);
    memcpy(&f, &p, sizeof f);
    return f;
#endif
}

void tf_library_close(void *library)
{
    if (!library)
        return;
#if defined(_WIN32)
    FreeLibrary((HMODULE)library);
#else
    dlclose(library);
#endif
}

/* ---- files -------------------------------------------------------------------------------------- */

static bool format(char *out, size_t size, const char *a, const char *b)
{
    const int n = snprintf(out, size, "%s%s", a, b);
    return n >= 0 && (size_t)n < size;
}

bool tf_cache_directory(char *out, size_t size)
{
#if defined(_WIN32)
    const char *base = getenv("LOCALAPPDATA");
    return base && *base && format(out, size, base, "\\tuff");
#else
    /* The XDG rules ignore relative paths. */
    const char *base = getenv("XDG_CACHE_HOME");
    if (base && *base == '/')
        return format(out, size, base, "/tuff");
    base = getenv("HOME");
    return base && *base == '/' && format(out, size, base, "/.cache/tuff");
#endif
}

static bool make_directory(const char *path)
{
#if defined(_WIN32)
    return CreateDirectoryA(path, NULL) || GetLastError() == ERROR_ALREADY_EXISTS;
#else
    if (mkdir(path, 0700) == 0)
        return true;
    struct stat st;
    return errno == EEXIST && stat(path, &st) == 0 && S_ISDIR(st.st_mode);
#endif
}

bool tf_make_directories(const char *path)
{
    char part[1024];
    if (!format(part, sizeof part, path, ""))
        return false;
    for (char *p = part + 1; *p; p++) {
        if (*p != '/' && *p != '\\')
            continue;
        const char sep = *p;
        *p = '\0';
        make_directory(part); /* a parent that cannot be listed may still exist: only the last one decides */
        *p = sep;
    }
    return make_directory(part);
}

void *tf_os_file_read(const tuff_allocator *a, const char *path, size_t limit, size_t *size)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return NULL;
    unsigned char *data = NULL;
    long end = -1;
    if (fseek(f, 0, SEEK_END) == 0 && (end = ftell(f)) > 0 && (uint64_t)end <= limit && fseek(f, 0, SEEK_SET) == 0)
        data = tf_alloc(a, (size_t)end);
    if (data && fread(data, 1, (size_t)end, f) != (size_t)end) {
        tf_free(a, data, (size_t)end);
        data = NULL;
    }
    fclose(f);
    if (data)
        *size = (size_t)end;
    return data;
}

#if defined(_WIN32)

bool tf_file_replace(const char *path, const void *data, size_t size, bool sync)
{
    char temp[1100];
    const int n = snprintf(temp, sizeof temp, "%s.%lu.%llx.tmp", path, (unsigned long)GetCurrentThreadId(),
                           (unsigned long long)tf_clock_ns());
    if (n < 0 || (size_t)n >= sizeof temp || size > UINT32_MAX)
        return false;
    HANDLE f = CreateFileA(temp, GENERIC_WRITE, 0, NULL, CREATE_NEW, FILE_ATTRIBUTE_NORMAL, NULL);
    if (f == INVALID_HANDLE_VALUE)
        return false;
    DWORD written = 0;
    bool ok = WriteFile(f, data, (DWORD)size, &written, NULL) && written == size;
    if (ok && sync)
        ok = FlushFileBuffers(f);
    CloseHandle(f);
    ok = ok && MoveFileExA(temp, path, MOVEFILE_REPLACE_EXISTING);
    if (!ok)
        DeleteFileA(temp);
    return ok;
}

#else

static bool write_all(int fd, const unsigned char *data, size_t size)
{
    while (size) {
        const ssize_t n = write(fd, data, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        data += n;
        size -= (size_t)n;
    }
    return true;
}

bool tf_file_replace(const char *path, const void *data, size_t size, bool sync)
{
    /* A name of its own for every process and thread: a killed writer leaves a stray .tmp, never a half file. */
    char temp[1100];
    const int n = snprintf(temp, sizeof temp, "%s.%ld.%llx.tmp", path, (long)getpid(), (unsigned long long)tf_clock_ns());
    if (n < 0 || (size_t)n >= sizeof temp)
        return false;
    const int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0)
        return false;
    bool ok = write_all(fd, data, size) && (!sync || fsync(fd) == 0);
    ok = close(fd) == 0 && ok;
    ok = ok && rename(temp, path) == 0;
    if (!ok)
        unlink(temp);
    return ok;
}

#endif

/* ---- trimming ----------------------------------------------------------------------------------- */

#if defined(_WIN32)

void tf_directory_trim(const char *directory, const char *suffix, uint32_t keep)
{
    char pattern[1100];
    WIN32_FIND_DATAA e;
    const int n = snprintf(pattern, sizeof pattern, "%s\\*%s", directory, suffix);
    HANDLE h = n > 0 && (size_t)n < sizeof pattern ? FindFirstFileA(pattern, &e) : INVALID_HANDLE_VALUE;
    if (h == INVALID_HANDLE_VALUE)
        return;
    uint32_t seen = 0;
    do {
        char path[1400];
        if (++seen > keep && format(path, sizeof path, directory, "\\") &&
            strlen(path) + strlen(e.cFileName) < sizeof path) {
            strcat(path, e.cFileName);
            DeleteFileA(path);
        }
    } while (FindNextFileA(h, &e));
    FindClose(h);
}

#else

typedef struct aged { long long seconds; char name[64]; } aged;

static int older(const void *a, const void *b)
{
    const long long x = ((const aged *)a)->seconds, y = ((const aged *)b)->seconds;
    return (x > y) - (x < y);
}

void tf_directory_trim(const char *directory, const char *suffix, uint32_t keep)
{
    DIR *d = opendir(directory);
    if (!d)
        return;
    const size_t ns = strlen(suffix);
    size_t n = 0, cap = 0;
    aged *files = NULL;
    char path[1400];
    for (struct dirent *e; (e = readdir(d));) {
        const size_t len = strlen(e->d_name);
        struct stat st;
        if (len < ns || len >= sizeof files->name || strcmp(e->d_name + len - ns, suffix) != 0 ||
            snprintf(path, sizeof path, "%s/%s", directory, e->d_name) >= (int)sizeof path || stat(path, &st) != 0)
            continue;
        if (n == cap) {
            aged *more = realloc(files, (cap = cap ? cap * 2 : 256) * sizeof *files);
            if (!more)
                break;
            files = more;
        }
        files[n].seconds = (long long)st.st_mtime;
        memcpy(files[n++].name, e->d_name, len + 1);
    }
    closedir(d);
    if (n > keep) {
        qsort(files, n, sizeof *files, older);
        for (size_t i = 0; i < n - keep; i++)
            if (snprintf(path, sizeof path, "%s/%s", directory, files[i].name) < (int)sizeof path)
                unlink(path);
    }
    free(files);
}

#endif
