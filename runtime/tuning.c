/* tuning.c - which kernels a device takes where several are right, as measured before (tf_way). Read once, when the device is opened. */
#include "device.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_LIMIT = 1 << 18, LINE = 16 + 1 + 10 + 1 };

bool tf_tuning_path(const tuff_device *dev, char *out, size_t size)
{
    const tf_key key = tf_device_key(dev);
    const int n = dev->cache_dir[0] ? snprintf(out, size, "%s/tuning-%016" PRIx64 ".txt", dev->cache_dir, key.h[0]) : -1;
    return n > 0 && (size_t)n < size;
}

uint32_t tf_tuning_put(tf_tuned *rows, uint32_t n, tf_tuned row)
{
    uint32_t at = n;
    while (at > 0 && rows[at - 1].choice >= row.choice)
        at--;
    if (at == n || rows[at].choice != row.choice)
        memmove(&rows[at + 1], &rows[at], (n++ - at) * sizeof *rows);
    rows[at] = row;
    return n;
}

/* A line of the file; *next: the line behind it. */
static bool parse(const char *line, const char *end, const char **next, tf_tuned *out)
{
    char copy[LINE + 1], *rest;
    const char *newline = memchr(line, '\n', (size_t)(end - line));
    const size_t n = (size_t)((newline ? newline : end) - line);
    *next = newline ? newline + 1 : end;
    if (n < 18 || n > LINE)
        return false;
    memcpy(copy, line, n);
    copy[n] = '\0';
    out->choice = strtoull(copy, &rest, 16);
    if (rest != copy + 16 || *rest != ' ' || copy[17] < '0' || copy[17] > '9')
        return false;
    const unsigned long way = strtoul(rest + 1, &rest, 10);
    out->way = (uint32_t)way;
    return *rest == '\0' && way < UINT32_MAX;
}

static uint32_t read_rows(const char *file, size_t size, tf_tuned *rows)
{
    tf_tuned row;
    uint32_t n = 0;
    for (const char *at = file; at < file + size;)
        if (parse(at, file + size, &at, &row))
            n = rows ? tf_tuning_put(rows, n, row) : n + 1;
    return n;
}

void tf_tuning_forget(tuff_device *dev)
{
    tf_free(&dev->allocator, dev->tuning_rows, dev->tuning_lines * sizeof *dev->tuning_rows);
    dev->tuning_rows = NULL;
    dev->caps.limits.tuning = NULL;
}

bool tf_tuning_load(tuff_device *dev)
{
    char path[1200];
    size_t size = 0;
    char *file = dev->caps.on.tuning && tf_tuning_path(dev, path, sizeof path) ? tf_os_file_read(&dev->allocator, path, FILE_LIMIT, &size) : NULL;
    tf_tuning_forget(dev);
    if (!file)
        return true;
    dev->tuning_lines = read_rows(file, size, NULL);
    if (dev->tuning_lines && (dev->tuning_rows = tf_alloc(&dev->allocator, dev->tuning_lines * sizeof *dev->tuning_rows))) {
        dev->tuning = (tf_tuning){ dev->tuning_rows, read_rows(file, size, dev->tuning_rows) };
        dev->caps.limits.tuning = &dev->tuning;
    }
    tf_free(&dev->allocator, file, size);
    return !dev->tuning_lines || dev->tuning_rows;
}

bool tf_tuning_save(tuff_device *dev, const tf_tuned *rows, uint32_t n)
{
    char path[1200];
    tf_str text;
    tf_str_init(&text, &dev->allocator);
    for (uint32_t i = 0; i < n; i++)
        tf_str_printf(&text, "%016" PRIx64 " %u\n", rows[i].choice, rows[i].way);
    tf_str_add(&text, "");
    bool ok = !text.failed && tf_tuning_path(dev, path, sizeof path);
    ok = ok && (tf_file_replace(path, text.data, text.n, true) || (tf_make_directories(dev->cache_dir) && tf_file_replace(path, text.data, text.n, true)));
    tf_str_release(&text);
    return ok;
}
