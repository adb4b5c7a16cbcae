/* tool.h - what the subcommands of `tuff` share: options from tables, messages, progress, opening things by name.
 *
 * The command is an ordinary program on top of the library, plus what only this repository may look at: the op table,
 * plans and the interpreter. Each subcommand is one file with a tool_command row; main.c lists the rows. */
#ifndef TOOL_H
#define TOOL_H

#include <cjson/cJSON.h>
#include <stdio.h>
#include <tuff/tuff.h>

#include "graph/base/base.h"

enum { TOOL_OK = 0, TOOL_FAILED = 1, TOOL_USAGE = 2 };

/* ---- options (options.c) --------------------------------------------------------------------------- */

typedef struct tool_list { const char **v; uint32_t n; } tool_list;

typedef enum tool_option_kind {
    TOOL_FLAG,  /* bool */
    TOOL_TEXT,  /* const char *, NULL when absent */
    TOOL_COUNT, /* uint64_t */
    TOOL_LIST   /* tool_list: may be given several times; "name=value" when `value` holds a '=' */
} tool_option_kind;

typedef struct tool_option {
    const char *name;   /* without the dashes */
    const char *value;  /* what stands behind it in the help: "FILE"; NULL for flags */
    const char *doc;
    tool_option_kind kind;
    uint32_t offset;    /* into the command's options */
} tool_option;

#define TOOL_OPTION(type, field, text, value_text, option_kind, doc_text) \
    { .name = text, .value = value_text, .doc = doc_text, .kind = option_kind, .offset = (uint32_t)offsetof(type, field) }

/* Options of every subcommand; the first member of each options struct. */
typedef struct tool_common {
    const char *device, *limits, *toggles;
    bool validate, quiet, help;
    tool_list arguments; /* what is no option */
} tool_common;

typedef struct tool_command {
    const char *name;
    const char *usage;  /* arguments: "G.tuff [options]" */
    const char *doc;    /* one line */
    const char *more;   /* further paragraphs of the help; NULL: none */
    const tool_option *options;
    uint32_t option_count;
    uint32_t options_size;
    uint32_t least, most; /* arguments */
    int (*run)(const void *options);
} tool_command;

extern const tool_command tool_devices, tool_ops, tool_run, tool_explain, tool_pack, tool_bench, tool_tune, tool_verify;

/* Parses what follows the subcommand's name and runs it. */
int tool_dispatch(const tool_command *command, int argc, char **argv);
void tool_help(const tool_command *command, FILE *out);

/* Splits "name=value": false without a '=' or with an empty name. *name is allocated in the arena. */
bool tool_pair(tf_arena *arena, const char *text, const char **name, const char **value);
/* A whole number; false if there is anything else. */
bool tool_integer(const char *text, int64_t *out);

/* ---- messages and progress (common.c) --------------------------------------------------------------- */

/* "tuff: ..." on stderr; returns TOOL_FAILED. */
int tool_error(const char *format, ...) TF_PRINTF(1, 2);
/* The same with a pointer to the command's help; returns TOOL_USAGE. */
int tool_usage(const char *command, const char *format, ...) TF_PRINTF(2, 3);

/* One line on the terminal that is rewritten; nothing where stderr is no terminal. */
typedef struct tool_progress {
    bool on;
    uint64_t shown; /* ns */
} tool_progress;
void tool_progress_begin(tool_progress *p, const tool_common *common);
void tool_progress_show(tool_progress *p, const char *format, ...) TF_PRINTF(2, 3);
void tool_progress_end(tool_progress *p);
/* A tuff_progress_fn; user is a tool_progress. */
bool tool_progress_compile(void *user, const char *what, uint32_t done, uint32_t total);

/* ---- opening (common.c) ------------------------------------------------------------------------------- */

/* TOOL_OK, or the message was printed. */
int tool_open_device(const tool_common *common, tuff_device **out);
/* Reads a .tuff file with "name=value" params. */
int tool_read_graph(const char *path, const tool_list *params, tuff_graph **out);
/* Turns inputs of a graph into constants: "name=FILE.npy". */
int tool_make_constants(tuff_graph *g, const tool_list *constants);
/* A whole file, released by tool_release. */
typedef struct tool_file { const char *path; char *data; size_t size; bool capsule; } tool_file;
int tool_read(const char *path, tool_file *out);
void tool_release(tool_file *f); /* zeroed: nothing */
/* The graph of a text file that was read. */
int tool_parse(const tool_file *f, const tool_list *params, tuff_graph **out);
int tool_compile(tuff_device *dev, tuff_graph *g, const tuff_compile_desc *desc, const tool_common *common, tuff_program **out);
/* --device, --limits, --toggles, --validate as the library takes them. */
tuff_device_desc tool_device_desc(const tool_common *common);

/* ---- data (common.c) ----------------------------------------------------------------------------------- */

/* Reproducible elements that depend on seed and name alone: normal floats, integers in 0..8, both booleans. */
void tool_fill(uint64_t seed, const char *name, tuff_dtype dtype, void *data, uint64_t n);
typedef struct tool_random { uint64_t state; } tool_random;
double tool_uniform(tool_random *r); /* (0, 1) */
double tool_normal(tool_random *r);
uint64_t tool_random_next(tool_random *r);

void *tool_alloc(size_t n);                 /* zeroed, never NULL: ends the command when memory is out */
double tool_percentile(const double *sorted, uint32_t n, double p);
int tool_compare_doubles(const void *a, const void *b);

/* "1.5 GiB", "12.3 ms" */
typedef char tool_text[48];
const char *tool_bytes(tool_text out, double bytes);
const char *tool_time(tool_text out, double ms);
/* f32[1,256,8,64] */
const char *tool_type(tool_text out, tuff_dtype dtype, const tuff_shape *shape);

/* ---- environment and JSON (report.c) -------------------------------------------------------------------- */

/* Device, driver, limits, tiers, quirks, toggles, versions, system, date: what a report needs to be understood. */
cJSON *tool_environment(const tuff_device *dev, const tool_common *common);
/* Appends to or replaces a file; prints a message and returns false when that fails. */
bool tool_write_text(const char *path, const char *text, bool append);
bool tool_write_json(const char *path, const cJSON *json);
/* NULL after a message. */
cJSON *tool_read_json(const char *path);
double tool_json_number(const cJSON *object, const char *name, double otherwise);
const char *tool_json_text(const cJSON *object, const char *name, const char *otherwise);

/* ---- operating system (system.c) ------------------------------------------------------------------------- */

bool tool_is_terminal(FILE *f);
void tool_date(char *out, size_t size);      /* 2026-01-31T12:00:00Z */
void tool_system_name(char *out, size_t size);
/* Sorted names of the folders inside `path`; false if it cannot be read. Allocated in the arena. */
bool tool_folders(const char *path, tf_arena *arena, tool_list *out);
bool tool_file_exists(const char *path);

typedef enum tool_end { TOOL_END_EXIT, TOOL_END_CRASH, TOOL_END_TIMEOUT } tool_end;
typedef struct tool_child {
    tool_end end;
    int code;        /* exit status, or the signal's number */
    bool isolated;   /* false where the system cannot fork: the work ran here, without a time limit */
} tool_child;
/* Runs work(user, out) in a child process that is killed after `seconds`; each line it writes to out is given to
 * line(line_user, text) here as soon as it is complete. The caller must not hold a device. False: no process. */
bool tool_isolate(int (*work)(void *user, FILE *out), void *user, void (*line)(void *line_user, const char *text), void *line_user,
                  double seconds, tool_child *result);

#endif
