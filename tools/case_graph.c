/* case_graph.c - from a reference case (case.json) to a graph in text form, by the rows of cases_*.c.
 *
 * The text is what a user would write for the case, so a failing one can be given to `tuff run` as it is. */
#include "case.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "graph/text.h"

static const case_row *row_of(const char *op)
{
    static const case_row *const lists[] = { core_cases, scan_cases, attention_cases, fft_cases, gaunt_cases, ssm_cases, diffusion_cases, sampling_cases, sde_cases, discrete_cases, ode_cases, ops_cases };
    for (size_t i = 0; i < TF_COUNT(lists); i++)
        for (const case_row *r = lists[i]; r->op; r++)
            if (!strcmp(r->op, op)) return r;
    return NULL;
}

/* ---- words of a list ----------------------------------------------------------------------------------- */

bool case_listed(const char *list, const char *word)
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
static bool information(const case_row *row, const char *name) { return case_is_result(name) || case_listed(row->ignored, name); }

bool case_is_result(const char *attr)
{
    static const char *const words[] = { "note", "iterations", "mean", "std", "nfe", "paths" };
    for (size_t i = 0; i < TF_COUNT(words); i++)
        if (!strcmp(attr, words[i])) return true;
    return starts(attr, "reference") || starts(attr, "fp32_");
}

void case_no_choice(cJSON *attrs, const char *name)
{
    char text[128];
    const char *word = tool_json_text(attrs, name, NULL);
    if (!word) return;
    snprintf(text, sizeof text, "%s=%s", name, word);
    cJSON_DeleteItemFromObjectCaseSensitive(attrs, name);
    cJSON_AddTrueToObject(attrs, text);
}

/* ---- building ------------------------------------------------------------------------------------------ */

bool case_refuse(case_builder *b, const char *format, ...)
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

static bool add_inputs(case_builder *b)
{
    const cJSON *input, *dim;
    cJSON_ArrayForEach(input, cJSON_GetObjectItemCaseSensitive(b->root, "inputs"))
    {
        const char *dtype = tool_json_text(input, "dtype", "");
        if (!dtype_of(dtype)) return case_refuse(b, "input \"%s\" has the dtype \"%s\", which is not known", input->string, dtype);
        const bool constant = case_listed(b->row->constants, input->string);
        tf_write_name(&b->text, input->string);
        tf_str_printf(&b->text, " = %s %s[", constant ? "const" : "input", tuff_dtype_name(dtype_of(dtype)));
        bool first = true;
        cJSON_ArrayForEach(dim, cJSON_GetObjectItemCaseSensitive(input, "shape"))
        {
            tf_str_printf(&b->text, first ? "%.0f" : ",%.0f", dim->valuedouble);
            first = false;
        }
        tf_str_add(&b->text, "]");
        if (constant) {
            tf_str_add(&b->text, " = @");
            tf_write_string(&b->text, case_file(b, input));
        }
        tf_str_add(&b->text, "\n");
    }
    return true;
}

const char *case_file(const case_builder *b, const cJSON *item)
{
    const char *file = tool_json_text(item, "file", NULL);
    const char *path = file ? tf_arena_printf(b->arena, "%s/%s", b->folder, file) : tf_arena_printf(b->arena, "%s/in_%s.npy", b->folder, item->string);
    return path ? path : "";
}

void case_add_value(tf_str *s, const cJSON *item)
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
            case_add_value(s, element);
        }
        tf_str_add(s, "]");
    }
}

/* ---- an op row as target -------------------------------------------------------------------------------- */

static const cJSON *find_input(case_builder *b, const char *operand)
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
    return case_listed(op->operands, name) || (a && a->type == TF_ATTR_TENSOR);
}

static bool add_operands(case_builder *b)
{
    const cJSON *input;
    bool any = false;
    for (const char *p = b->op->operands ? b->op->operands : ""; *p; p += strcspn(p, " "), p += *p == ' ') {
        const char *operand = tf_arena_string_n(b->arena, p, strcspn(p, " "));
        const cJSON *positional = operand ? find_input(b, operand) : NULL;
        if (!positional) return case_refuse(b, "the case lacks operand \"%s\" of op %s", operand ? operand : "?", b->op->name);
        tf_str_add(&b->text, any ? ", " : "");
        tf_write_name(&b->text, positional->string);
        any = true;
    }
    cJSON_ArrayForEach(input, cJSON_GetObjectItemCaseSensitive(b->root, "inputs"))
    {
        const char *name = renamed(b->arena, b->row, input->string);
        if (!is_operand(b->op, name)) return case_refuse(b, "input \"%s\" is no operand of op %s", input->string, b->op->name);
        if (case_listed(b->op->operands, name)) continue;
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

static bool add_attributes(case_builder *b)
{
    const cJSON *item;
    bool any = false;
    cJSON_ArrayForEach(item, b->attrs)
    {
        if (information(b->row, item->string) || cJSON_IsNull(item)) continue;
        const char *name = renamed(b->arena, b->row, item->string);
        const tf_attr *a = tf_attr_find(b->op, name);
        if (!a && cJSON_IsString(item)) continue; /* documentation */
        if (!a || a->type == TF_ATTR_TENSOR || a->type == TF_ATTR_NAMED) {
            char *value = cJSON_PrintUnformatted(item);
            case_refuse(b, "attribute %s=%s is not known to op %s", item->string, value ? value : "?", b->op->name);
            cJSON_free(value);
            return false;
        }
        if (documentation(a, item)) continue;
        tf_str_printf(&b->text, "%s%s=", any ? ", " : " {", name);
        if (a->type == TF_ATTR_ENUM && cJSON_IsString(item))
            tf_str_add(&b->text, item->valuestring);
        else
            case_add_value(&b->text, item);
        any = true;
    }
    tf_str_add(&b->text, any ? "}\n" : "\n");
    return true;
}

static bool build_op(case_builder *b)
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
        if (!case_listed(results, name)) return case_refuse(b, "output \"%s\" is no result of op %s", output->string, b->op->name);
        tf_str_add(&b->text, "output ");
        tf_write_string(&b->text, case_output_name(b->root, output->string, b->arena));
        tf_str_printf(&b->text, " = result_%s\n", name);
    }
    return true;
}

static bool is_used(const char *graph, const char *name)
{
    const size_t n = strlen(name);
    for (const char *p = graph; (p = strchr(p, '$')); p++) {
        const char end = p[1 + n];
        if (!strncmp(p + 1, name, n) && !(end == '_' || (end >= 'a' && end <= 'z') || (end >= '0' && end <= '9'))) return true;
    }
    return false;
}

static bool substitute(case_builder *b)
{
    for (const char *p = b->row->graph; *p;) {
        const size_t n = strcspn(p, "$");
        tf_str_add_n(&b->text, p, n);
        p += n;
        if (*p != '$') continue;
        const size_t length = strspn(++p, "abcdefghijklmnopqrstuvwxyz_0123456789");
        const char *name = tf_arena_string_n(b->arena, p, length);
        const cJSON *item = name ? cJSON_GetObjectItemCaseSensitive(b->attrs, name) : NULL;
        if (!item) return case_refuse(b, "the case lacks attribute \"%s\"", name ? name : "?");
        case_add_value(&b->text, item);
        p += length;
    }
    return true;
}

/* "name = " or "other, name, third = " at the start of a line of the graph. */
static bool defines(const char *graph, const char *name)
{
    const size_t n = strlen(name);
    for (const char *line = graph; line && *line; line = strchr(line, '\n'), line += line != NULL) {
        const char *p = line;
        bool found = false;
        while (strspn(p, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")) {
            const size_t length = strspn(p, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");
            found = found || (length == n && !strncmp(p, name, n));
            p += length;
            if (strncmp(p, ", ", 2)) break;
            p += 2;
        }
        if (found && !strncmp(p, " = ", 3)) return true;
    }
    return false;
}

/* ---- inputs and outputs for the rows' own C -------------------------------------------------------------- */

const cJSON *case_input(const case_builder *b, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(b->root, "inputs"), name);
}

int64_t case_dim(const case_builder *b, const char *input, int i)
{
    const cJSON *shape = cJSON_GetObjectItemCaseSensitive(case_input(b, input), "shape");
    const int rank = cJSON_GetArraySize(shape), at = i < 0 ? i + rank : i;
    const cJSON *dim = at >= 0 && at < rank ? cJSON_GetArrayItem(shape, at) : NULL;
    return dim ? (int64_t)dim->valuedouble : -1;
}

const char *case_output_name(const cJSON *root, const char *output, tf_arena *arena)
{
    const bool taken = cJSON_HasObjectItem(cJSON_GetObjectItemCaseSensitive(root, "inputs"), output);
    const char *name = taken ? tf_arena_printf(arena, "%s_out", output) : output;
    return name ? name : output;
}

/* ---- a graph as target ---------------------------------------------------------------------------------- */

static bool known_attributes(case_builder *b, const char *graph)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, b->attrs)
    {
        if (!information(b->row, item->string) && !(graph && is_used(graph, item->string)) && !cJSON_IsString(item))
            return case_refuse(b, "attribute \"%s\" is not known to op %s", item->string, b->row->op);
    }
    return true;
}

static bool build_graph(case_builder *b)
{
    const cJSON *item;
    if (!known_attributes(b, b->row->graph) || !add_inputs(b)) return false;
    if (b->row->extend) return true;
    if (b->row->write ? !b->row->write(b) : !substitute(b)) return false;
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(b->root, "outputs"))
    {
        const char *name = renamed(b->arena, b->row, item->string);
        if (!defines(b->text.data, name)) return case_refuse(b, "output \"%s\" is no result of op %s", item->string, b->row->op);
        tf_str_add(&b->text, "output ");
        tf_write_string(&b->text, case_output_name(b->root, item->string, b->arena));
        tf_str_printf(&b->text, " = %s\n", name);
    }
    return true;
}

/* ---- a graph of the zoo as target -------------------------------------------------------------------------- */

/* How many inputs there are of this name with 0, 1, .. in place of #. */
static int count_inputs(const case_builder *b, const char *pattern)
{
    const size_t front = strcspn(pattern, "#");
    char name[128];
    int n = 0;
    while (snprintf(name, sizeof name, "%.*s%d%s", (int)front, pattern, n, pattern + front + 1) < (int)sizeof name && case_input(b, name)) n++;
    return n;
}

/* "x.1", "$heads", "layers.#.weight" (how many) or a number, into an override "NAME=value". A dim for a name is what the attribute has to be,
 * if it is there. */
static bool add_param(case_builder *b, const char *name, const char *source)
{
    double value;
    char *end;
    const size_t input = strcspn(name, ".");
    if (name[input]) {
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(b->attrs, source + 1);
        const int64_t dim = case_dim(b, tf_arena_string_n(b->arena, name, input), atoi(name + input + 1));
        return !item || (cJSON_IsNumber(item) && item->valuedouble == (double)dim) ||
               case_refuse(b, "attribute \"%s\" is not %lld, which is dim %s of input \"%.*s\"", source + 1, (long long)dim, name + input + 1, (int)input, name);
    }
    const char *dot = strrchr(source, '.');
    if (source[0] == '$') {
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(b->attrs, source + 1);
        if (!item || cJSON_IsNull(item)) return true; /* the graph's own default */
        if (!cJSON_IsNumber(item) && !cJSON_IsBool(item)) return case_refuse(b, "attribute \"%s\" should be a number", source + 1);
        value = cJSON_IsBool(item) ? (double)cJSON_IsTrue(item) : item->valuedouble;
    } else if (strchr(source, '#')) {
        value = count_inputs(b, source);
    } else if (dot && dot > source && (value = strtod(source, &end), *end)) {
        const char *of = tf_arena_string_n(b->arena, source, (size_t)(dot - source));
        value = of ? (double)case_dim(b, of, atoi(dot + 1)) : -1.0;
        if (value < 0.0) return case_refuse(b, "the case lacks dim %s of input \"%s\"", dot + 1, of ? of : "?");
    } else
        value = strtod(source, NULL);
    const char **param = tf_push(b->arena, &b->params);
    if (param) *param = tf_arena_printf(b->arena, "%s=%.17g", name, value);
    return param && *param;
}

static bool is_parameter_source(const case_row *row, const char *attr)
{
    const size_t n = strlen(attr);
    for (const char *p = row->params; p && (p = strchr(p, '$')); p++)
        if (!strncmp(p + 1, attr, n) && (p[1 + n] == ' ' || !p[1 + n])) return true;
    return false;
}

/* The text of the graph, line by line, with the case's numbers in the constants among row->lists. */
static bool add_zoo_text(case_builder *b, const char *text)
{
    for (const char *end; *text; text = end) {
        end = text + strcspn(text, "\n");
        end += *end == '\n';
        const size_t name = strncmp(text, "const ", 6) ? 0 : strcspn(text + 6, " "), head = strcspn(text, "=");
        const char *word = name ? tf_arena_string_n(b->arena, text + 6, name) : NULL;
        const cJSON *list = word && case_listed(b->row->lists, word) ? cJSON_GetObjectItemCaseSensitive(b->attrs, word) : NULL;
        if (list && !cJSON_IsArray(list)) return case_refuse(b, "attribute \"%s\" should be a list", word);
        tf_str_printf(&b->text, "%.*s", (int)(list ? head : (size_t)(end - text)), text);
        if (!list) continue;
        tf_str_add(&b->text, "= ");
        case_add_value(&b->text, list);
        tf_str_add(&b->text, "\n");
    }
    return true;
}

static bool build_zoo(case_builder *b)
{
    const cJSON *item;
    const char *text = zoo_text(b->row->zoo);
    if (!text) return case_refuse(b, "this build has no graph samples/zoo/%s.tuff", b->row->zoo);
    cJSON_ArrayForEach(item, b->attrs)
    {
        if (!information(b->row, item->string) && !case_listed(b->row->lists, item->string) && !is_parameter_source(b->row, item->string) &&
            !cJSON_IsString(item))
            return case_refuse(b, "attribute \"%s\" is not known to op %s", item->string, b->row->op);
    }
    for (const char *p = b->row->params; p && *p; p += strcspn(p, " "), p += *p == ' ') {
        const size_t length = strcspn(p, " "), name = strcspn(p, "=");
        if (!add_param(b, tf_arena_string_n(b->arena, p, name), tf_arena_string_n(b->arena, p + name + 1, length - name - 1))) return false;
    }
    if (!add_zoo_text(b, text)) return false;
    b->out->params = b->params.data;
    b->out->param_count = b->params.n;
    return true;
}

void case_graph_build(const cJSON *root, const char *folder, tf_arena *arena, case_graph *out)
{
    const char *op = tool_json_text(root, "op", "");
    case_builder b = { .row = row_of(op), .root = root, .folder = folder, .arena = arena, .out = out };
    *out = (case_graph){ .reason = "" };
    if (b.row) {
        out->constants = b.row->constants;
        out->informative = b.row->informative;
        out->extend = b.row->extend;
    }
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
    if ((b.op ? build_op(&b) : b.row->zoo ? build_zoo(&b) : build_graph(&b)) && !b.text.failed) out->text = tf_arena_string(arena, b.text.data);
    cJSON_Delete(b.attrs);
    tf_str_release(&b.text);
}
