/* options.c - command lines by table: "--name value", "--name=value", "--flag", "-x value" for names of one letter, "--" ends
 * the options. */
#include "tool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const tool_option common_options[] = {
    TOOL_OPTION(tool_common, device, "device", "NAME", TOOL_TEXT, "an index, a UUID, or part of a device's or driver's name; default $TUFF_DEVICE"),
    TOOL_OPTION(tool_common, limits, "limits", "LIST", TOOL_TEXT, "artificial limits, such as \"bindings=4,shared=16K\"; default $TUFF_LIMITS; tuff devices --help has all"),
    TOOL_OPTION(tool_common, toggles, "toggles", "LIST", TOOL_TEXT, "tiers and switches, such as \"-subgroup,-fp16\"; default $TUFF_TOGGLES; likewise"),
    TOOL_OPTION(tool_common, validate, "validate", NULL, TOOL_FLAG, "enable the validation layer"),
    TOOL_OPTION(tool_common, quiet, "quiet", NULL, TOOL_FLAG, "no progress and no remarks"),
    TOOL_OPTION(tool_common, help, "help", NULL, TOOL_FLAG, "this text"),
};

static void print_option(const tool_option *o, FILE *out)
{
    char head[64];
    snprintf(head, sizeof head, "%s%s%s%s", o->name[1] ? "--" : "-", o->name, o->value ? " " : "", o->value ? o->value : "");
    fprintf(out, "  %-20s %s\n", head, o->doc);
}

void tool_help(const tool_command *command, FILE *out)
{
    fprintf(out, "usage: tuff %s %s\n\n%s\n", command->name, command->usage, command->doc);
    if (command->more) fprintf(out, "\n%s\n", command->more);
    fprintf(out, "\noptions:\n");
    for (uint32_t i = 0; i < command->option_count; i++) print_option(&command->options[i], out);
    for (size_t i = 0; i < TF_COUNT(common_options); i++) print_option(&common_options[i], out);
}

static const tool_option *find(const tool_command *command, const char *name, size_t n)
{
    for (uint32_t i = 0; i < command->option_count; i++)
        if (strlen(command->options[i].name) == n && !memcmp(command->options[i].name, name, n)) return &command->options[i];
    for (size_t i = 0; i < TF_COUNT(common_options); i++)
        if (strlen(common_options[i].name) == n && !memcmp(common_options[i].name, name, n)) return &common_options[i];
    return NULL;
}

static int unknown(const tool_command *command, const char *word, size_t n)
{
    const char *names[64];
    uint32_t count = 0;
    for (uint32_t i = 0; i < command->option_count && count < 56; i++) names[count++] = command->options[i].name;
    for (size_t i = 0; i < TF_COUNT(common_options); i++) names[count++] = common_options[i].name;
    char text[64];
    snprintf(text, sizeof text, "%.*s", (int)n, word);
    const char *near = tf_suggest(text, names, count);
    return near ? tool_usage(command->name, "there is no option --%s; did you mean --%s?", text, near)
                : tool_usage(command->name, "there is no option --%s", text);
}

static void append(tool_list *list, const char *text)
{
    const char **next = realloc(list->v, (list->n + 1) * sizeof *next);
    if (!next) exit(tool_error("out of memory"));
    list->v = next;
    list->v[list->n++] = text;
}

bool tool_integer(const char *text, int64_t *out)
{
    char *end;
    errno = 0;
    const long long v = strtoll(text, &end, 10);
    if (end == text || *end || errno) return false;
    *out = v;
    return true;
}

static int store(const tool_command *command, const tool_option *o, void *options, const char *value)
{
    void *at = (char *)options + o->offset;
    int64_t n;
    switch (o->kind) {
    case TOOL_FLAG: *(bool *)at = true; break;
    case TOOL_TEXT: *(const char **)at = value; break;
    case TOOL_COUNT:
        if (!tool_integer(value, &n) || n < 0)
            return tool_usage(command->name, "--%s needs a whole number that is not negative, \"%s\" was given", o->name, value);
        *(uint64_t *)at = (uint64_t)n;
        break;
    case TOOL_LIST:
        if (strchr(o->value, '=') && (!strchr(value, '=') || value[0] == '='))
            return tool_usage(command->name, "--%s needs %s, \"%s\" was given", o->name, o->value, value);
        append(at, value);
        break;
    }
    return TOOL_OK;
}

static int parse_option(const tool_command *command, int argc, char **argv, int *i, void *options)
{
    const char *word = argv[*i] + (argv[*i][1] == '-' ? 2 : 1), *equals = strchr(word, '=');
    const size_t n = equals ? (size_t)(equals - word) : strlen(word);
    const tool_option *o = find(command, word, n);
    if (!o) return unknown(command, word, n);
    if (o->kind == TOOL_FLAG && equals) return tool_usage(command->name, "--%s takes no value", o->name);
    const char *value = equals ? equals + 1 : NULL;
    if (o->kind != TOOL_FLAG && !value) {
        if (*i + 1 >= argc) return tool_usage(command->name, "%s%s needs %s behind it", o->name[1] ? "--" : "-", o->name, o->value);
        value = argv[++*i];
    }
    return store(command, o, options, value);
}

static int parse(const tool_command *command, int argc, char **argv, void *options)
{
    tool_common *common = options;
    bool ended = false;
    for (int i = 0; i < argc; i++) {
        if (!ended && !strcmp(argv[i], "--"))
            ended = true;
        else if (!ended && !strcmp(argv[i], "-h"))
            common->help = true;
        else if (!ended && (!strncmp(argv[i], "--", 2) || (argv[i][0] == '-' && argv[i][1] && !argv[i][2] && find(command, &argv[i][1], 1)))) {
            const int status = parse_option(command, argc, argv, &i, options);
            if (status) return status;
        } else if (!ended && argv[i][0] == '-' && argv[i][1])
            return tool_usage(command->name, "\"%s\" is no option; options begin with two dashes", argv[i]);
        else
            append(&common->arguments, argv[i]);
    }
    if (common->help) return TOOL_OK;
    if (common->arguments.n < command->least) return tool_usage(command->name, "an argument is missing: tuff %s %s", command->name, command->usage);
    if (common->arguments.n > command->most)
        return tool_usage(command->name, "\"%s\" is one argument too many", common->arguments.v[command->most]);
    return TOOL_OK;
}

static void release(const tool_command *command, void *options)
{
    for (uint32_t i = 0; i < command->option_count; i++)
        if (command->options[i].kind == TOOL_LIST) free(((tool_list *)(void *)((char *)options + command->options[i].offset))->v);
    free(((tool_common *)options)->arguments.v);
    free(options);
}

int tool_dispatch(const tool_command *command, int argc, char **argv)
{
    void *options = tool_alloc(command->options_size);
    int status = parse(command, argc, argv, options);
    if (!status && ((tool_common *)options)->help)
        tool_help(command, stdout);
    else if (!status)
        status = command->run(options);
    release(command, options);
    if (fflush(stdout) && !status) status = tool_error("standard output could not be written");
    return status;
}

bool tool_pair(tf_arena *arena, const char *text, const char **name, const char **value)
{
    const char *equals = strchr(text, '=');
    if (!equals || equals == text) return false;
    *name = tf_arena_string_n(arena, text, (size_t)(equals - text));
    *value = equals + 1;
    return *name != NULL;
}
