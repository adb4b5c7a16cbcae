/* cmd_ops.c - `tuff ops`: the op table for people, one row, all rows, or as the page docs/ops.md. */
#include "tool.h"

#include <string.h>

#include "graph/op.h"

typedef struct ops_options {
    tool_common common;
    bool markdown;
} ops_options;

static const tool_option options_table[] = {
    TOOL_OPTION(ops_options, markdown, "markdown", NULL, TOOL_FLAG, "print docs/ops.md"),
};

static const char *const attr_types[] = {
    [TF_ATTR_BOOL] = "bool", [TF_ATTR_INT] = "int", [TF_ATTR_I64] = "int", [TF_ATTR_U64] = "uint", [TF_ATTR_FLOAT] = "float",
    [TF_ATTR_DOUBLE] = "float", [TF_ATTR_DTYPE] = "dtype", [TF_ATTR_ENUM] = "choice", [TF_ATTR_INTS] = "ints",
    [TF_ATTR_SHAPE] = "shape", [TF_ATTR_STRING] = "string", [TF_ATTR_TENSOR] = "tensor", [TF_ATTR_NAMED] = "named tensors",
};

static const char *const kinds[] = {
    [TF_SOURCE] = "source", [TF_POINTWISE] = "pointwise", [TF_VIEW] = "view", [TF_INDEXED] = "indexed",
    [TF_ANCHOR] = "kernel", [TF_COMPOSITE] = "composite", [TF_HOST] = "host", [TF_EFFECT] = "effect",
};

static const char *const kind_texts[] = {
    [TF_POINTWISE] = "One value per element; fused into whatever reads or writes the elements. Operands broadcast.",
    [TF_VIEW] = "Coordinates only: these become index arithmetic of the kernels that read them.",
    [TF_INDEXED] = "Values from coordinates and from operands read at computed coordinates; fused like pointwise ops.",
    [TF_ANCHOR] = "A kernel each; pointwise ops and views before and after them join it.",
    [TF_COMPOSITE] = "Written in terms of other ops, and fused with them.",
    [TF_HOST] = "Computed at compile time in double precision.",
    [TF_EFFECT] = "Changes a state.",
};

static void add_classes(const tf_op *op, tf_str *out)
{
    static const struct { unsigned bit; const char *name; } classes[] = {
        { TF_CLS_FLOAT, "float" }, { TF_CLS_INT, "int" }, { TF_CLS_BOOL, "bool" }, { TF_CLS_COMPLEX, "complex" }
    };
    bool any = false;
    for (size_t i = 0; i < TF_COUNT(classes); i++)
        if (op->classes & classes[i].bit) {
            tf_str_printf(out, "%s%s", any ? ", " : "", classes[i].name);
            any = true;
        }
}

/* "softmax(x) {axis}" */
static void add_signature(const tf_op *op, tf_str *out)
{
    tf_str_printf(out, "%s(", op->name);
    bool any = false;
    for (const char *p = op->operands ? op->operands : ""; *p; p++) {
        tf_str_printf(out, *p == ' ' ? ", " : "%c", *p);
        any = true;
    }
    for (uint32_t i = 0; i < op->attr_count; i++) {
        const tf_attr *a = &op->attrs[i];
        if (a->type != TF_ATTR_TENSOR && a->type != TF_ATTR_NAMED) continue;
        tf_str_printf(out, "%s%s", any ? ", " : "", a->type == TF_ATTR_NAMED ? "name=tensor.." : a->name);
        if (a->type == TF_ATTR_TENSOR) tf_str_add(out, "=..");
        any = true;
    }
    tf_str_add(out, ")");
    any = false;
    for (uint32_t i = 0; i < op->attr_count; i++) {
        if (op->attrs[i].type == TF_ATTR_TENSOR || op->attrs[i].type == TF_ATTR_NAMED) continue;
        tf_str_printf(out, "%s%s", any ? ", " : " {", op->attrs[i].name);
        any = true;
    }
    if (any) tf_str_add(out, "}");
}

static void add_attr_type(const tf_attr *a, tf_str *out)
{
    tf_str_add(out, attr_types[a->type]);
    if (a->type == TF_ATTR_ENUM && a->choices)
        for (const char *const *c = a->choices; *c; c++) tf_str_printf(out, "%s%s", c == a->choices ? ": " : ", ", *c);
    if (a->min != 0.0 || a->max != 0.0) tf_str_printf(out, ", %g..%g", a->min, a->max);
    if (a->required) tf_str_add(out, ", required");
}

static void add_bound(const tf_op *op, tf_str *out)
{
    if (op->kind == TF_POINTWISE && op->ulp > 0.0)
        tf_str_printf(out, "%g ulp of f32", op->ulp);
    else if (op->rel > 0.0)
        tf_str_printf(out, "relative L2 error %g * eps * sqrt(n), n elements per result", op->rel);
    else
        tf_str_add(out, "exact");
}

/* ---- one op ---------------------------------------------------------------------------------------- */

static void describe(const tf_op *op)
{
    tf_str s;
    tf_str_init(&s, NULL);
    add_signature(op, &s);
    tf_str_printf(&s, "\n  %s\n", op->doc);
    if (op->source) tf_str_printf(&s, "  source:    %s\n", op->source);
    tf_str_printf(&s, "  kind:      %s\n  results:   %s\n", kinds[op->kind], op->results ? op->results : "y");
    if (op->kind == TF_POINTWISE) {
        tf_str_add(&s, "  dtypes:    ");
        add_classes(op, &s);
        tf_str_add(&s, "\n");
    }
    tf_str_add(&s, "  accuracy:  ");
    add_bound(op, &s);
    tf_str_add(&s, "\n");
    for (uint32_t i = 0; i < op->attr_count; i++) {
        tf_str_printf(&s, "  %s (", op->attrs[i].name);
        add_attr_type(&op->attrs[i], &s);
        tf_str_printf(&s, ")\n      %s\n", op->attrs[i].doc);
    }
    if (s.data) fputs(s.data, stdout);
    tf_str_release(&s);
}

static int describe_named(const char *name)
{
    const tf_op *op = tf_op_find(name);
    if (op && !op->internal) {
        describe(op);
        return TOOL_OK;
    }
    const char *names[1024], *near;
    uint32_t n = 0;
    for (uint32_t i = 0; tuff_ops[i] && n < TF_COUNT(names); i++)
        if (!tuff_ops[i]->internal) names[n++] = tuff_ops[i]->name;
    if ((near = tf_suggest(name, names, n))) return tool_error("there is no op \"%s\"; did you mean \"%s\"?", name, near);
    return tool_error("there is no op \"%s\"; tuff ops lists them", name);
}

/* ---- all ------------------------------------------------------------------------------------------- */

static bool listed(const tf_op *op, int kind)
{
    return !op->internal && op->kind != TF_SOURCE && (int)op->kind == kind;
}

static void list(void)
{
    for (int kind = 0; kind <= TF_EFFECT; kind++) {
        bool head = false;
        for (uint32_t i = 0; tuff_ops[i]; i++) {
            if (!listed(tuff_ops[i], kind)) continue;
            if (!head) printf("%s%s\n", kind > TF_POINTWISE ? "\n" : "", kinds[kind]);
            head = true;
            printf("  %-18s %s\n", tuff_ops[i]->name, tuff_ops[i]->doc);
        }
    }
}

/* Table cells: a bar would end them. */
static void add_cell(const char *text, tf_str *out)
{
    for (; *text; text++) tf_str_printf(out, *text == '|' ? "\\%c" : "%c", *text);
}

static void markdown_op(const tf_op *op, tf_str *out)
{
    tf_str_add(out, "\n### ");
    tf_str_add(out, op->name);
    tf_str_add(out, "\n`");
    if (op->results && strchr(op->results, ' ')) {
        for (const char *p = op->results; *p; p++) tf_str_printf(out, *p == ' ' ? ", " : "%c", *p);
        tf_str_add(out, " = ");
    }
    add_signature(op, out);
    tf_str_printf(out, "`  \n%s", op->doc);
    if (op->source) tf_str_printf(out, "  \nSource: %s", op->source);
    tf_str_add(out, "  \nAccuracy: ");
    add_bound(op, out);
    tf_str_add(out, ".\n");
    if (!op->attr_count) return;
    tf_str_add(out, "\n| attribute | type | meaning |\n|-|-|-|\n");
    for (uint32_t i = 0; i < op->attr_count; i++) {
        tf_str_printf(out, "| `%s` | ", op->attrs[i].name);
        add_attr_type(&op->attrs[i], out);
        tf_str_add(out, " | ");
        add_cell(op->attrs[i].doc, out);
        tf_str_add(out, " |\n");
    }
}

/* Pointwise rows without attributes fit into one table. */
static void markdown_pointwise(tf_str *out)
{
    tf_str_add(out, "\n| op | meaning | dtypes | bound |\n|-|-|-|-|\n");
    for (uint32_t i = 0; tuff_ops[i]; i++) {
        const tf_op *op = tuff_ops[i];
        if (!listed(op, TF_POINTWISE) || op->attr_count) continue;
        tf_str_add(out, "| `");
        add_signature(op, out);
        tf_str_add(out, "` | ");
        add_cell(op->doc, out);
        tf_str_add(out, " | ");
        add_classes(op, out);
        tf_str_add(out, " | ");
        add_bound(op, out);
        tf_str_add(out, " |\n");
    }
}

static void markdown(void)
{
    tf_str s;
    tf_str_init(&s, NULL);
    tf_str_add(&s, "# Operators\n\nGenerated by `tuff ops --markdown` from the op table; edit the rows in ops/, not this page.\n\n"
                   "Names and attributes are those of the C functions without the prefix `tuff_`. In the text form optional operands stand in "
                   "the parentheses by name, attributes in braces; what is left out is zero, which is the default.\n");
    for (int kind = TF_POINTWISE; kind <= TF_EFFECT; kind++) {
        bool head = false;
        for (uint32_t i = 0; tuff_ops[i]; i++) {
            if (!listed(tuff_ops[i], kind)) continue;
            if (!head) {
                tf_str_printf(&s, "\n## %s\n%s\n", kinds[kind], kind_texts[kind]);
                if (kind == TF_POINTWISE) markdown_pointwise(&s);
            }
            head = true;
            if (kind != TF_POINTWISE || tuff_ops[i]->attr_count) markdown_op(tuff_ops[i], &s);
        }
    }
    if (s.data) fputs(s.data, stdout);
    tf_str_release(&s);
}

static int run(const void *options)
{
    const ops_options *o = options;
    if (o->common.arguments.n) return describe_named(o->common.arguments.v[0]);
    if (o->markdown)
        markdown();
    else
        list();
    return TOOL_OK;
}

const tool_command tool_ops = {
    .name = "ops", .usage = "[NAME] [options]", .doc = "the operators; with NAME its operands, attributes and defaults",
    .options = options_table, .option_count = TF_COUNT(options_table), .options_size = sizeof(ops_options), .most = 1, .run = run,
};
