/* common.c - messages, progress, opening devices and graphs, and numbers to fill inputs with. */
#include "tool.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "graph/capsule.h"
#include "graph/npy.h"

uint64_t tf_clock_ns(void); /* runtime/os.h, whose file functions are not for this file */

/* ---- messages -------------------------------------------------------------------------------------- */

static void say(const char *format, va_list args)
{
    fflush(stdout);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
}

int tool_error(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("tuff: ", stderr);
    say(format, args);
    va_end(args);
    return TOOL_FAILED;
}

int tool_usage(const char *command, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "tuff %s: ", command);
    say(format, args);
    va_end(args);
    fprintf(stderr, "tuff %s --help tells more\n", command);
    return TOOL_USAGE;
}

/* ---- progress -------------------------------------------------------------------------------------- */

void tool_progress_begin(tool_progress *p, const tool_common *common)
{
    *p = (tool_progress){ .on = !common->quiet && tool_is_terminal(stderr) };
}

void tool_progress_show(tool_progress *p, const char *format, ...)
{
    const uint64_t now = tf_clock_ns();
    if (!p->on || (p->shown && now - p->shown < 50000000)) return;
    p->shown = now;
    va_list args;
    va_start(args, format);
    fputs("\r\033[K", stderr);
    vfprintf(stderr, format, args);
    fflush(stderr);
    va_end(args);
}

void tool_progress_end(tool_progress *p)
{
    if (p->on && p->shown) fputs("\r\033[K", stderr);
    p->shown = 0;
}

bool tool_progress_compile(void *user, const char *what, uint32_t done, uint32_t total)
{
    tool_progress_show(user, "%s %u/%u", what, done, total);
    return true;
}

/* ---- opening --------------------------------------------------------------------------------------- */

static void print_log(void *user, tuff_log_level level, const char *text)
{
    (void)user;
    if (level <= TUFF_LOG_WARNING) fprintf(stderr, "tuff: %s\n", text);
}

tuff_device_desc tool_device_desc(const tool_common *common)
{
    return (tuff_device_desc){ .select = common->device, .limits = common->limits, .toggles = common->toggles,
                               .validate = common->validate, .log = print_log };
}

int tool_open_device(const tool_common *common, tuff_device **out)
{
    const tuff_device_desc desc = tool_device_desc(common);
    if (tuff_device_open(&desc, out)) return tool_error("%s", tuff_device_error(NULL));
    return TOOL_OK;
}

static const char *folder_of(const char *path, char *out, size_t size)
{
    const char *slash = strrchr(path, '/');
    if (!slash || (size_t)(slash - path) + 2 > size) return NULL;
    snprintf(out, size, "%.*s", (int)(slash - path + (slash == path)), path);
    return out;
}

int tool_read(const char *path, tool_file *out)
{
    char message[1024];
    *out = (tool_file){ .path = path };
    if (tf_file_read(path, NULL, &out->data, &out->size, message, sizeof message)) return tool_error("%s", message);
    out->capsule = tf_capsule_is(out->data, out->size);
    return TOOL_OK;
}

void tool_release(tool_file *f)
{
    if (f->data) tf_free(NULL, f->data, f->size + 1);
    *f = (tool_file){ 0 };
}

int tool_parse(const tool_file *f, const tool_list *params, tuff_graph **out)
{
    char message[1024], dir[4096];
    const tuff_parse_desc desc = { .name = f->path, .dir = folder_of(f->path, dir, sizeof dir), .params = params ? params->v : NULL,
                                   .param_count = params ? params->n : 0 };
    return tuff_graph_parse(f->data, f->size, &desc, out, message, sizeof message) ? tool_error("%s", message) : TOOL_OK;
}

int tool_read_graph(const char *path, const tool_list *params, tuff_graph **out)
{
    tool_file f;
    *out = NULL;
    int status = tool_read(path, &f);
    if (!status) status = tool_parse(&f, params, out);
    tool_release(&f);
    return status;
}

int tool_make_constants(tuff_graph *g, const tool_list *constants)
{
    char message[1024];
    const char *name, *path;
    tf_arena arena;
    tf_arena_init(&arena, NULL);
    int status = TOOL_OK;
    for (uint32_t i = 0; !status && i < constants->n; i++) {
        if (!tool_pair(&arena, constants->v[i], &name, &path)) continue;
        const tf_port *port = tf_port_find(g, 1u << TF_PORT_INPUT, name);
        tf_npy npy = { 0 };
        if (!port) {
            const char *names[64];
            uint32_t n = 0;
            for (uint32_t k = 0; k < g->ports.n && n < TF_COUNT(names); k++)
                if (g->ports.data[k].kind == TF_PORT_INPUT) names[n++] = g->ports.data[k].name;
            const char *near = tf_suggest(name, names, n);
            status = near ? tool_error("--const: the graph has no input \"%s\"; did you mean \"%s\"?", name, near)
                          : tool_error("--const: the graph has no input \"%s\"", name);
        }
        else if (tf_npy_read(path, tf_type_of(g, port->value)->dtype, NULL, &npy, message, sizeof message))
            status = tool_error("%s", message);
        else if (tuff_make_const(g, name, npy.data, npy.bytes))
            status = tool_error("%s", tuff_graph_error(g));
        tf_npy_release(&npy, NULL);
    }
    tf_arena_release(&arena);
    return status;
}

int tool_compile(tuff_device *dev, tuff_graph *g, const tuff_compile_desc *desc, const tool_common *common, tuff_program **out)
{
    tool_progress progress;
    tool_progress_begin(&progress, common);
    tuff_compile_desc d = desc ? *desc : (tuff_compile_desc){ 0 };
    if (progress.on) {
        d.progress = tool_progress_compile;
        d.progress_user = &progress;
    }
    const tuff_status status = tuff_compile(dev, g, &d, out);
    tool_progress_end(&progress);
    return status ? tool_error("%s", tuff_graph_error(g)) : TOOL_OK;
}

/* ---- numbers --------------------------------------------------------------------------------------- */

uint64_t tool_random_next(tool_random *r)
{
    uint64_t x = r->state += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

double tool_uniform(tool_random *r)
{
    return ((double)(tool_random_next(r) >> 12) + 0.5) * 0x1p-52;
}

double tool_normal(tool_random *r)
{
    const double radius = sqrt(-2.0 * log(tool_uniform(r)));
    return radius * cos(6.283185307179586 * tool_uniform(r));
}

void tool_fill(uint64_t seed, const char *name, tuff_dtype dtype, void *data, uint64_t n)
{
    tool_random r = { tf_hash_string(seed + 1, name) };
    const bool whole = tf_dtype_is_int(dtype) || dtype == TUFF_I4 || dtype == TUFF_U4;
    for (uint64_t i = 0; i < n; i++) {
        if (dtype == TUFF_BOOL)
            tf_store_element(dtype, data, i, (double)(tool_random_next(&r) & 1), 0.0);
        else if (whole)
            tf_store_element(dtype, data, i, (double)(tool_random_next(&r) % (dtype == TUFF_I4 ? 8 : 9)), 0.0);
        else {
            const double re = tool_normal(&r);
            tf_store_element(dtype, data, i, re, dtype == TUFF_C64 ? tool_normal(&r) : 0.0);
        }
    }
}

void *tool_alloc(size_t n)
{
    void *p = calloc(n ? n : 1, 1);
    if (!p) exit(tool_error("out of memory"));
    return p;
}

int tool_compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double tool_percentile(const double *sorted, uint32_t n, double p)
{
    if (!n) return 0.0;
    const double at = p * (double)(n - 1);
    const uint32_t low = (uint32_t)at, high = low + 1 < n ? low + 1 : low;
    return sorted[low] + (at - (double)low) * (sorted[high] - sorted[low]);
}

/* ---- texts ----------------------------------------------------------------------------------------- */

const char *tool_bytes(tool_text out, double bytes)
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
    uint32_t u = 0;
    for (; bytes >= 1024.0 && u + 1 < TF_COUNT(units); u++) bytes /= 1024.0;
    snprintf(out, sizeof(tool_text), "%.*f %s", u == 0 || bytes >= 100.0 ? 0 : 1, bytes, units[u]);
    return out;
}

const char *tool_time(tool_text out, double ms)
{
    if (ms < 0.1)
        snprintf(out, sizeof(tool_text), "%.3g us", ms * 1e3);
    else if (ms < 1000.0)
        snprintf(out, sizeof(tool_text), "%.3g ms", ms);
    else
        snprintf(out, sizeof(tool_text), "%.3g s", ms * 1e-3);
    return out;
}

const char *tool_type(tool_text out, tuff_dtype dtype, const tuff_shape *shape)
{
    size_t n = (size_t)snprintf(out, sizeof(tool_text), "%s[", tuff_dtype_name(dtype));
    for (int32_t i = 0; i < shape->rank && n < sizeof(tool_text); i++)
        n += (size_t)snprintf(out + n, sizeof(tool_text) - n, i ? ",%lld" : "%lld", (long long)shape->dim[i]);
    if (n < sizeof(tool_text)) snprintf(out + n, sizeof(tool_text) - n, "]");
    return out;
}
