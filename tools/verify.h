/* verify.h - what the two kinds of verification share. */
#ifndef TOOL_VERIFY_H
#define TOOL_VERIFY_H

#include "tool.h"

typedef struct verify_options {
    tool_common common;
    const char *json, *cases, *save;
    tool_list variants;
    bool resume;
    uint64_t seconds, seed;
} verify_options;

/* The report: JSON objects, one per line, appended as soon as they are known. */
typedef struct verify_report {
    const char *path;   /* NULL: none */
    tool_list done;     /* ops or cases found in it by --resume */
    tf_arena *arena;
    bool failed;        /* could not be written */
} verify_report;
/* key: "op" or "case". TOOL_OK, or the message was printed. */
int verify_report_open(verify_report *r, const verify_options *o, const char *key, tf_arena *arena);
void verify_report_line(verify_report *r, const cJSON *line);
bool verify_report_has(const verify_report *r, const char *name);
/* The environment line, written by a child so that this process never holds a device. */
int verify_report_environment(verify_report *r, const verify_options *o);

int verify_ops(const verify_options *o);
int verify_cases(const verify_options *o);

/* ---- reference cases (case_graph.c) ---- */

/* A case as a graph in text form: inputs and outputs carry the case's names. On failure text is NULL and `reason` says
 * what the case names that tuff does not know. */
typedef struct case_graph {
    const char *text;
    const char *const *params; /* overrides of its `param`s */
    uint32_t param_count;
    const char *constants;     /* inputs that the graph reads itself, NULL: none */
    const char *informative;   /* outputs that are computed and saved but not judged, NULL: none */
    bool (*extend)(tuff_graph *g, const cJSON *root); /* adds what the text leaves out, and the outputs; NULL: nothing */
    char reason[256];
} case_graph;
/* folder: of the case, for inputs that become constants. */
void case_graph_build(const cJSON *root, const char *folder, tf_arena *arena, case_graph *out);
/* Is `word` among the words of a list separated by blanks? */
bool case_listed(const char *list, const char *word);
/* The name of a case's output in its graph: its own, unless an input has that name ("state": "state_out"). */
const char *case_output_name(const cJSON *root, const char *output, tf_arena *arena);

#endif
