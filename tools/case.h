/* case.h - how reference cases become graphs: the row of a case op, and what rows with their own C share.
 *
 * A row names one of five targets:
 *   target  an op row, whose operands, attributes and results the case's names must be;
 *   graph   a graph in text form below the declarations of the case's inputs, where $name is an attribute of the case;
 *   zoo     a graph of samples/zoo ("attention/crate_layer"), whose inputs and outputs carry the case's names and whose
 *           `param`s come from `params`: "N=x.1 heads=$heads" (dim 1 of input x, an attribute); "w.2=$kernel" refuses cases
 *           whose attribute is another number than that dim;
 *   write   a function that writes such a graph, for cases whose graph depends on more than sizes.
 *   extend  a function that continues such a graph with the C functions, for what takes callbacks.
 * An attribute, input or output that is neither known to the row nor to the op is a failure that names it. */
#ifndef TOOL_CASE_H
#define TOOL_CASE_H

#include "verify.h"
#include "graph/op.h"

typedef struct case_builder case_builder;

typedef struct case_row {
    const char *op;
    const char *target, *graph, *zoo;
    bool (*write)(case_builder *b); /* appends statements to b->text; they define a name per output, as for `graph` */
    bool (*extend)(tuff_graph *g, const cJSON *root); /* builds on the case's inputs with the C functions, and names the outputs */
    const char *params;             /* with zoo */
    const char *lists;              /* with zoo: attributes that become the values of its `const`s of the same names */
    const char *renames;            /* attributes, inputs and outputs: "step=draw x=a" */
    const char *constants;          /* inputs that must be known when the graph is compiled: "sigmas alphas" */
    const char *informative;        /* outputs that are not judged */
    const char *ignored;            /* attributes that are information only, "mean std"; with write: those it reads, too */
    void (*convert)(cJSON *attrs);  /* units; NULL: none */
} case_row;

struct case_builder {
    const case_row *row;
    const tf_op *op;        /* row->target */
    const cJSON *root;
    const char *folder;
    cJSON *attrs;           /* our own copy, converted */
    tf_arena *arena;
    tf_str text;
    TF_ARRAY(const char *) params;
    case_graph *out;
};

/* One list per family, ended by a row without op. */
extern const case_row core_cases[], scan_cases[], attention_cases[], fft_cases[], gaunt_cases[], ssm_cases[], diffusion_cases[], sampling_cases[], sde_cases[], discrete_cases[], ode_cases[], ops_cases[];

/* Refuse the case with a sentence; returns false. */
bool case_refuse(case_builder *b, const char *format, ...) TF_PRINTF(2, 3);
/* Does an attribute of that name say what came out when the case was made? */
bool case_is_result(const char *attr);
/* A word under a name that nobody knows is documentation. One that is still there under this name is none of its choices: refused. */
void case_no_choice(cJSON *attrs, const char *name);
/* The case's input of that name (its own, not renamed), NULL if absent; its dim i, counted from the end when negative (-1: none). */
const cJSON *case_input(const case_builder *b, const char *name);
int64_t case_dim(const case_builder *b, const char *input, int i);
/* The path of an input's file. */
const char *case_file(const case_builder *b, const cJSON *item);
/* An attribute as a value of the text form: numbers with all digits, lists, strings in quotes. */
void case_add_value(tf_str *s, const cJSON *item);

/* Append "{a=1, ours=2}" of the case's attributes among `names` ("a theirs=ours"), and `more`; strings stay out: they are information. */
void case_add_attributes(case_builder *b, const char *names, const char *more);
/* Are all of attrs in `known` (words, "theirs=ours" too)? Refuses the case otherwise. */
bool case_known_attributes(case_builder *b, const cJSON *attrs, const char *known);

/* The text of samples/zoo/<name>.tuff; NULL if there is none. */
const char *zoo_text(const char *name);

#endif
