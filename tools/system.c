/* system.c - every call of the command into the operating system: terminals, folders, dates, child processes. */
#if !defined(_WIN32)
#  define _POSIX_C_SOURCE 200809L
#endif
#include "tool.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

void tool_date(char *out, size_t size)
{
    const time_t now = time(NULL);
    const struct tm *utc = gmtime(&now);
    if (!utc || !strftime(out, size, "%Y-%m-%dT%H:%M:%SZ", utc)) snprintf(out, size, "unknown");
}

bool tool_file_exists(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (f) fclose(f);
    return f != NULL;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

#if defined(_WIN32)
#  include <io.h>
#  define WIN32_LEAN_AND_MEAN
#  include <windows.h>

bool tool_is_terminal(FILE *f) { return _isatty(_fileno(f)) != 0; }

void tool_system_name(char *out, size_t size) { snprintf(out, size, "Windows"); }

bool tool_folders(const char *path, tf_arena *arena, tool_list *out)
{
    TF_ARRAY(const char *) names = { 0 };
    WIN32_FIND_DATAA entry;
    const char *pattern = tf_arena_printf(arena, "%s\\*", path);
    const HANDLE search = pattern ? FindFirstFileA(pattern, &entry) : INVALID_HANDLE_VALUE;
    if (search == INVALID_HANDLE_VALUE) return false;
    do {
        if (!(entry.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY) || entry.cFileName[0] == '.') continue;
        const char **slot = tf_push(arena, &names);
        if (slot) *slot = tf_arena_string(arena, entry.cFileName);
    } while (FindNextFileA(search, &entry));
    FindClose(search);
    qsort(names.data, names.n, sizeof *names.data, by_name);
    *out = (tool_list){ names.data, names.n };
    return !arena->failed;
}

/* Without fork the work runs in this process: a crash ends the command, and --resume goes on behind it. */
bool tool_isolate(int (*work)(void *user, FILE *out), void *user, void (*line)(void *line_user, const char *text), void *line_user,
                  double seconds, tool_child *result)
{
    (void)seconds;
    FILE *out = tmpfile();
    if (!out) return false;
    *result = (tool_child){ .end = TOOL_END_EXIT, .code = work(user, out) };
    rewind(out);
    static char text[1 << 20];
    while (fgets(text, sizeof text, out)) {
        text[strcspn(text, "\n")] = '\0';
        line(line_user, text);
    }
    fclose(out);
    return true;
}

#else
#  include <dirent.h>
#  include <errno.h>
#  include <poll.h>
#  include <signal.h>
#  include <sys/stat.h>
#  include <sys/utsname.h>
#  include <sys/wait.h>
#  include <unistd.h>

bool tool_is_terminal(FILE *f) { return isatty(fileno(f)) == 1; }

void tool_system_name(char *out, size_t size)
{
    struct utsname u;
    if (uname(&u) < 0)
        snprintf(out, size, "unknown");
    else
        snprintf(out, size, "%s %s %s", u.sysname, u.release, u.machine);
}

bool tool_folders(const char *path, tf_arena *arena, tool_list *out)
{
    TF_ARRAY(const char *) names = { 0 };
    DIR *dir = opendir(path);
    if (!dir) return false;
    for (const struct dirent *entry; (entry = readdir(dir));) {
        struct stat s;
        const char *full = tf_arena_printf(arena, "%s/%s", path, entry->d_name);
        if (entry->d_name[0] == '.' || !full || stat(full, &s) || !S_ISDIR(s.st_mode)) continue;
        const char **slot = tf_push(arena, &names);
        if (slot) *slot = tf_arena_string(arena, entry->d_name);
    }
    closedir(dir);
    if (names.n) qsort(names.data, names.n, sizeof *names.data, by_name);
    *out = (tool_list){ names.data, names.n };
    return !arena->failed;
}

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* Complete lines of what has arrived go out; the rest moves to the front. */
static void deliver(char *buffer, size_t *n, void (*line)(void *line_user, const char *text), void *line_user)
{
    char *start = buffer;
    for (char *end; (end = memchr(start, '\n', *n - (size_t)(start - buffer))); start = end + 1) {
        *end = '\0';
        line(line_user, start);
    }
    *n -= (size_t)(start - buffer);
    memmove(buffer, start, *n);
}

/* Reads until the child closes its end; false when the time is over. */
static bool listen(int fd, uint64_t deadline, void (*line)(void *line_user, const char *text), void *line_user)
{
    size_t n = 0, cap = 1 << 16;
    char *buffer = tool_alloc(cap);
    bool in_time = true;
    for (;;) {
        const uint64_t now = now_ms();
        struct pollfd p = { .fd = fd, .events = POLLIN };
        const int ready = now < deadline ? poll(&p, 1, (int)TF_MIN(deadline - now, 60000)) : 0;
        if (now >= deadline) {
            in_time = false;
            break;
        }
        if (ready < 0 && errno != EINTR) break;
        if (ready <= 0) continue;
        if (n == cap) {
            char *more = realloc(buffer, cap *= 2);
            if (!more) exit(tool_error("out of memory"));
            buffer = more;
        }
        const ssize_t got = read(fd, buffer + n, cap - n);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        n += (size_t)got;
        deliver(buffer, &n, line, line_user);
    }
    free(buffer);
    return in_time;
}

/* False when the child still runs at the deadline. */
static bool wait_until(pid_t pid, uint64_t deadline, int *status)
{
    for (;;) {
        const pid_t ended = waitpid(pid, status, deadline == UINT64_MAX ? 0 : WNOHANG);
        if (ended == pid || (ended < 0 && errno != EINTR)) return true;
        if (now_ms() >= deadline) return false;
        nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
    }
}

static void run_child(int fd, int (*work)(void *user, FILE *out), void *user)
{
    FILE *out = fdopen(fd, "w");
    const int code = out ? work(user, out) : TOOL_FAILED;
    if (out) fclose(out);
    fflush(stderr);
    _exit(code);
}

bool tool_isolate(int (*work)(void *user, FILE *out), void *user, void (*line)(void *line_user, const char *text), void *line_user,
                  double seconds, tool_child *result)
{
    int fds[2];
    fflush(NULL); /* or the child prints it again */
    if (pipe(fds)) return false;
    const pid_t pid = fork();
    if (pid < 0) {
        close(fds[0]);
        close(fds[1]);
        return false;
    }
    if (!pid) {
        close(fds[0]);
        run_child(fds[1], work, user);
    }
    close(fds[1]);
    const uint64_t deadline = now_ms() + (uint64_t)(seconds * 1e3);
    bool in_time = listen(fds[0], deadline, line, line_user);
    close(fds[0]);
    int status = 0;
    in_time = in_time && wait_until(pid, deadline, &status);
    if (!in_time) {
        kill(pid, SIGKILL);
        wait_until(pid, UINT64_MAX, &status);
    }
    *result = (tool_child){ .end = !in_time ? TOOL_END_TIMEOUT : WIFSIGNALED(status) ? TOOL_END_CRASH : TOOL_END_EXIT,
                            .code = WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), .isolated = true };
    return true;
}
#endif
