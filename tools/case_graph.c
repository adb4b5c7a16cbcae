/* case_graph.c - from a reference case (case.json) to a graph in text form, by the table in cases.def.
 *
 * The text is what a user would write for the case, so a failing one can be given to `tuff run` as it is. */
#include "verify.h"

#include <math.h>
#include <string.h>

#include "graph/op.h"
#include "graph/text.h"

/* ---- the table --------------------------------------------------------------------------------------- */

typedef struct case_row {
    const char *op;
    const char *target;            /* an op row, or */
    const char *graph;             /* a graph */
    const char *renames;           /* attributes, inputs and outputs: "step=draw x=a" */
    const char *ignored;           /* attributes that are information only: "mean std" */
    void (*convert)(cJSON *attrs); /* units; NULL: none */
} case_row;

/* Attributes of RNG cases that state what the numbers should look like. */
#define RANDOM_KNOWN "mean std"
#define RANDOM_ATTRIBUTES "shape=$shape, seed=$seed, stream=$stream, draw=$step, antithetic=$antithetic"

/* Cases count window keys beyond the query's own, -1 for no limit; we count them including its own, 0 for no limit. */
static void window(cJSON *attrs, const char *name)
{
    cJSON *item = cJSON_GetObjectItemCaseSensitive(attrs, name);
    if (!cJSON_IsNumber(item)) return;
    if (item->valuedouble < 0.0)
        cJSON_DeleteItemFromObjectCaseSensitive(attrs, name);
    else
        cJSON_SetNumberValue(item, item->valuedouble + 1.0);
}

static void attention_units(cJSON *attrs)
{
    window(attrs, "window_left");
    window(attrs, "window_right");
    if (!strcmp(tool_json_text(attrs, "layout", ""), "dense")) cJSON_DeleteItemFromObjectCaseSensitive(attrs, "layout");
}

/* seed_lo, seed_hi -> one 64-bit seed, which a double cannot hold; n -> shape [n]. */
static void random_units(cJSON *attrs)
{
    char text[32];
    const uint64_t lo = (uint64_t)tool_json_number(attrs, "seed_lo", 0.0), hi = (uint64_t)tool_json_number(attrs, "seed_hi", 0.0);
    snprintf(text, sizeof text, "%llu", (unsigned long long)(hi << 32 | lo));
    cJSON_AddRawToObject(attrs, "seed", text);
    cJSON_DeleteItemFromObjectCaseSensitive(attrs, "seed_lo");
    cJSON_DeleteItemFromObjectCaseSensitive(attrs, "seed_hi");
    cJSON *n = cJSON_DetachItemFromObjectCaseSensitive(attrs, "n");
    if (n) cJSON_AddItemToArray(cJSON_AddArrayToObject(attrs, "shape"), n);
    if (!cJSON_HasObjectItem(attrs, "stream")) cJSON_AddNumberToObject(attrs, "stream", 0.0);
    if (!cJSON_HasObjectItem(attrs, "step")) cJSON_AddNumberToObject(attrs, "step", 0.0);
    if (!cJSON_HasObjectItem(attrs, "antithetic")) cJSON_AddFalseToObject(attrs, "antithetic");
}

#define CASE(name, ...) { .op = name, __VA_ARGS__ },
static const case_row rows[] = {
#include "cases.def"
};
#undef CASE

static const case_row *row_of(const char *op)
{
    for (size_t i = 0; i < TF_COUNT(rows); i++)
        if (!strcmp(rows[i].op, op)) return &rows[i];
    return NULL;
}

/* ---- words of a list ----------------------------------------------------------------------------------- */

static bool listed(const char *list, const char *word)
{
    const size_t n = strlen(word);
    for (const char *p = list; p && *p; p += strcspn(p, " "), p += *p == ' ')
        if (!strncmp(p, word, n) && (p[n] == ' ' || !p[n])) return true;
    return false;
}

static const char *renamed(tf_arena *arena, const case_row *row, const char *name)
{
    const size_t n = strlen(name);
    for (const char *p = row->renames; p && *p; p += strcspn(p, " "), p += *p == ' ')
        if (!strncmp(p, name, n) && p[n] == '=') return tf_arena_string_n(arena, p + n + 1, strcspn(p + n + 1, " "));
    return name;
}

static bool starts(const char *text, const char *with) { return !strncmp(text, with, strlen(with)); }

/* Attributes that say something about the data rather than about the op. */
static bool information(const case_row *row, const char *name)
{
    static const char *const words[] = { "note", "rule", "formula", "iterations", "nfe", "paths" };
    for (size_t i = 0; i < TF_COUNT(words); i++)
        if (!strcmp(name, words[i])) return true;
    return starts(name, "reference") || starts(name, "fp32_") || starts(name, "note_") || listed(row->ignored, name);
}

/* ---- building ------------------------------------------------------------------------------------------ */

typedef struct builder {
    const case_row *row;
    const tf_op *op;        /* row->target */
    const cJSON *root;
    cJSON *attrs;           /* our own copy, converted */
    tf_arena *arena;
    tf_str text;
    case_graph *out;
} builder;

static bool refuse(builder *b, const char *format, ...) TF_PRINTF(2, 3);
static bool refuse(builder *b, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(b->out->reason, sizeof b->out->reason, format, args);
    va_end(args);
    return false;
}

static tuff_dtype dtype_of(const char *numpy)
{
    static const struct { const char *name; tuff_dtype t; } names[] = {
        { "float32", TUFF_F32 }, { "float16", TUFF_F16 }, { "float64", TUFF_F64 }, { "complex64", TUFF_C64 }, { "int32", TUFF_I32 },
        { "uint32", TUFF_U32 }, { "int16", TUFF_I16 }, { "uint16", TUFF_U16 }, { "int8", TUFF_I8 }, { "uint8", TUFF_U8 }, { "bool", TUFF_BOOL },
    };
    for (size_t i = 0; i < TF_COUNT(names); i++)
        if (!strcmp(names[i].name, numpy)) return names[i].t;
    return TUFF_DTYPE_NONE;
}

static bool add_inputs(builder *b)
{
    const cJSON *input, *dim;
    cJSON_ArrayForEach(input, cJSON_GetObjectItemCaseSensitive(b->root, "inputs"))
    {
        const char *dtype = tool_json_text(input, "dtype", "");
        if (!dtype_of(dtype)) return refuse(b, "input \"%s\" has the dtype \"%s\", which is not known", input->string, dtype);
        tf_write_name(&b->text, input->string);
        tf_str_printf(&b->text, " = input %s[", tuff_dtype_name(dtype_of(dtype)));
        bool first = true;
        cJSON_ArrayForEach(dim, cJSON_GetObjectItemCaseSensitive(input, "shape"))
        {
            tf_str_printf(&b->text, first ? "%.0f" : ",%.0f", dim->valuedouble);
            first = false;
        }
        tf_str_add(&b->text, "]\n");
    }
    return true;
}

static void add_value(tf_str *s, const cJSON *item)
{
    if (cJSON_IsBool(item))
        tf_str_add(s, cJSON_IsTrue(item) ? "true" : "false");
    else if (cJSON_IsNumber(item))
        tf_str_printf(s, "%.17g", item->valuedouble);
    else if (cJSON_IsRaw(item))
        tf_str_add(s, item->valuestring);
    else if (cJSON_IsString(item))
        tf_write_string(s, item->valuestring);
    else {
        const cJSON *element;
        tf_str_add(s, "[");
        cJSON_ArrayForEach(element, item)
        {
            if (element->prev && element != item->child) tf_str_add(s, ", ");
            add_value(s, element);
        }
        tf_str_add(s, "]");
    }
}

/* ---- an op row as target -------------------------------------------------------------------------------- */

static const cJSON *find_input(builder *b, const char *operand)
{
    const cJSON *input;
    cJSON_ArrayForEach(input, cJSON_GetObjectItemCaseSensitive(b->root, "inputs"))
    {
        if (!strcmp(renamed(b->arena, b->row, input->string), operand)) return input;
    }
    return NULL;
}

static bool is_operand(const tf_op *op, const char *name)
{
    const tf_attr *a = tf_attr_find(op, name);
    return listed(op->operands, name) || (a && a->type == TF_ATTR_TENSOR);
}

static bool add_operands(builder *b)
{
    const cJSON *input;
    bool any = false;
    for (const char *p = b->op->operands ? b->op->operands : ""; *p; p += strcspn(p, " "), p += *p == ' ') {
        const char *operand = tf_arena_string_n(b->arena, p, strcspn(p, " "));
        const cJSON *positional = operand ? find_input(b, operand) : NULL;
        if (!positional) return refuse(b, "the case lacks operand \"%s\" of op %s", operand ? operand : "?", b->op->name);
        tf_str_add(&b->text, any ? ", " : "");
        tf_write_name(&b->text, positional->string);
        any = true;
    }
    cJSON_ArrayForEach(input, cJSON_GetObjectItemCaseSensitive(b->root, "inputs"))
    {
        const char *name = renamed(b->arena, b->row, input->string);
        if (!is_operand(b->op, name)) return refuse(b, "input \"%s\" is no operand of op %s", input->string, b->op->name);
        if (listed(b->op->operands, name)) continue;
        tf_str_printf(&b->text, "%s%s=", any ? ", " : "", name);
        tf_write_name(&b->text, input->string);
        any = true;
    }
    return true;
}

/* A string where a number is expected, or that names no choice, is documentation. */
static bool documentation(const tf_attr *a, const cJSON *item)
{
    if (!cJSON_IsString(item)) return false;
    if (a->type == TF_ATTR_STRING || a->type == TF_ATTR_DTYPE) return false;
    for (const char *const *c = a->type == TF_ATTR_ENUM ? a->choices : NULL; c && *c; c++)
        if (!strcmp(*c, item->valuestring)) return false;
    return true;
}

static bool add_attributes(builder *b)
{
    const cJSON *item;
    bool any = false;
    cJSON_ArrayForEach(item, b->attrs)
    {
        if (information(b->row, item->string) || cJSON_IsNull(item)) continue;
        const char *name = renamed(b->arena, b->row, item->string);
        const tf_attr *a = tf_attr_find(b->op, name);
        if (!a || a->type == TF_ATTR_TENSOR || a->type == TF_ATTR_NAMED) {
            char *value = cJSON_PrintUnformatted(item);
            refuse(b, "attribute %s=%s is not known to op %s", item->string, value ? value : "?", b->op->name);
            cJSON_free(value);
            return false;
        }
        if (documentation(a, item)) continue;
        tf_str_printf(&b->text, "%s%s=", any ? ", " : " {", name);
        if (a->type == TF_ATTR_ENUM && cJSON_IsString(item))
            tf_str_add(&b->text, item->valuestring);
        else
            add_value(&b->text, item);
        any = true;
    }
    tf_str_add(&b->text, any ? "}\n" : "\n");
    return true;
}

static bool build_op(builder *b)
{
    const char *results = b->op->results ? b->op->results : "y";
    if (!add_inputs(b)) return false;
    uint32_t n = 0;
    for (const char *p = results; *p; p += strcspn(p, " "), p += *p == ' ') /* a result may be called like an input */
        tf_str_printf(&b->text, "%sresult_%.*s", n++ ? ", " : "", (int)strcspn(p, " "), p);
    tf_str_printf(&b->text, " = %s(", b->op->name);
    if (!add_operands(b)) return false;
    tf_str_add(&b->text, ")");
    if (!add_attributes(b)) return false;
    const cJSON *output;
    cJSON_ArrayForEach(output, cJSON_GetObjectItemCaseSensitive(b->root, "outputs"))
    {
        const char *name = renamed(b->arena, b->row, output->string);
        if (!listed(results, name)) return refuse(b, "output \"%s\" is no result of op %s", output->string, b->op->name);
        tf_str_add(&b->text, "output ");
        tf_write_string(&b->text, output->string);
        tf_str_printf(&b->text, " = result_%s\n", name);
    }
    return true;
}

/* ---- a graph as target ---------------------------------------------------------------------------------- */

static bool is_used(const char *graph, const char *name)
{
    const size_t n = strlen(name);
    for (const char *p = graph; (p = strchr(p, '$')); p++) {
        const char end = p[1 + n];
        if (!strncmp(p + 1, name, n) && !(end == '_' || (end >= 'a' && end <= 'z') || (end >= '0' && end <= '9'))) return true;
    }
    return false;
}

static bool substitute(builder *b)
{
    for (const char *p = b->row->graph; *p;) {
        const size_t n = strcspn(p, "$");
        tf_str_add_n(&b->text, p, n);
        p += n;
        if (*p != '$') continue;
        const size_t length = strspn(++p, "abcdefghijklmnopqrstuvwxyz_0123456789");
        const char *name = tf_arena_string_n(b->arena, p, length);
        const cJSON *item = name ? cJSON_GetObjectItemCaseSensitive(b->attrs, name) : NULL;
        if (!item) return refuse(b, "the case lacks attribute \"%s\"", name ? name : "?");
        add_value(&b->text, item);
        p += length;
    }
    return true;
}

/* "name = " at the start of a line of the graph. */
static bool defines(const char *graph, const char *name)
{
    const size_t n = strlen(name);
    for (const char *p = graph; p && *p; p = strchr(p, '\n'), p += p != NULL)
        if (!strncmp(p, name, n) && !strncmp(p + n, " = ", 3)) return true;
    return false;
}

static bool build_graph(builder *b)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, b->attrs)
    {
        if (!information(b->row, item->string) && !is_used(b->row->graph, item->string))
            return refuse(b, "attribute \"%s\" is not known to op %s", item->string, b->row->op);
    }
    if (!add_inputs(b) || !substitute(b)) return false;
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(b->root, "outputs"))
    {
        const char *name = renamed(b->arena, b->row, item->string);
        if (!defines(b->row->graph, name)) return refuse(b, "output \"%s\" is no result of op %s", item->string, b->row->op);
        tf_str_printf(&b->text, "output \"%s\" = %s\n", item->string, name);
    }
    return true;
}

void case_graph_build(const cJSON *root, tf_arena *arena, case_graph *out)
{
    const char *op = tool_json_text(root, "op", "");
    builder b = { .row = row_of(op), .root = root, .arena = arena, .out = out };
    *out = (case_graph){ .text = NULL };
    if (!b.row) {
        snprintf(out->reason, sizeof out->reason, "op \"%s\" is not known to this version", op);
        return;
    }
    if (b.row->target && !(b.op = tf_op_find(b.row->target))) {
        snprintf(out->reason, sizeof out->reason, "this build has no op \"%s\"", b.row->target);
        return;
    }
    tf_str_init(&b.text, NULL);
    b.attrs = cJSON_Duplicate(cJSON_GetObjectItemCaseSensitive(root, "attrs"), true);
    if (!b.attrs) b.attrs = cJSON_CreateObject();
    if (b.row->convert) b.row->convert(b.attrs);
    if ((b.op ? build_op(&b) : build_graph(&b)) && !b.text.failed) out->text = tf_arena_string(arena, b.text.data);
    cJSON_Delete(b.attrs);
    tf_str_release(&b.text);
}
