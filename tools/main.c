/* main.c - the `tuff` command: a table of subcommands.
 *
 * Exit codes: 0 good, 1 the work failed, 2 the command line was wrong. Results go to stdout, all else to stderr. */
#include "tool.h"

#include <string.h>

static const tool_command *const commands[] = { &tool_devices, &tool_ops, &tool_run, &tool_explain, &tool_pack, &tool_bench, &tool_tune, &tool_verify };

static void help(FILE *out)
{
    fprintf(out, "usage: tuff COMMAND [arguments]\n\n");
    for (size_t i = 0; i < TF_COUNT(commands); i++) fprintf(out, "  %-10s%s\n", commands[i]->name, commands[i]->doc);
    fprintf(out, "\ntuff COMMAND --help tells more; tuff --version prints the version.\n"
                 "Environment: TUFF_DEVICE, TUFF_CACHE_DIR, TUFF_TOGGLES, TUFF_LIMITS, TUFF_DUMP, TUFF_SERIALIZE. Exit codes: 0 good, 1 the work failed, "
                 "2 the command line was wrong.\n");
}

static const tool_command *find(const char *name)
{
    for (size_t i = 0; i < TF_COUNT(commands); i++)
        if (!strcmp(commands[i]->name, name)) return commands[i];
    return NULL;
}

static int unknown(const char *name)
{
    const char *names[TF_COUNT(commands)];
    for (size_t i = 0; i < TF_COUNT(commands); i++) names[i] = commands[i]->name;
    const char *near = tf_suggest(name, names, TF_COUNT(names));
    fprintf(stderr, "tuff: there is no command \"%s\"", name);
    fprintf(stderr, near ? "; did you mean \"%s\"?\n" : "\n", near ? near : "");
    fprintf(stderr, "tuff --help lists the commands\n");
    return TOOL_USAGE;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        help(stderr);
        return TOOL_USAGE;
    }
    const char *name = argv[1];
    if (!strcmp(name, "--version")) {
        const uint32_t v = tuff_version();
        printf("tuff %u.%u.%u\n", v / 1000000, v / 1000 % 1000, v % 1000);
        return TOOL_OK;
    }
    const bool asks = !strcmp(name, "help") || !strcmp(name, "--help") || !strcmp(name, "-h");
    if (asks && argc == 2) {
        help(stdout);
        return TOOL_OK;
    }
    const tool_command *command = find(asks ? argv[2] : name);
    if (!command) return unknown(asks ? argv[2] : name);
    if (asks) {
        tool_help(command, stdout);
        return TOOL_OK;
    }
    return tool_dispatch(command, argc - 2, argv + 2);
}
