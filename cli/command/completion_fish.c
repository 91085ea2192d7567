/* completion_fish.c - one `complete` line a verb, an option, an argument. See completion.h. */
#include "cli/command/completion_fish.h"

#include <string.h>

#include "cli/command/commands.h"
#include "cli/command/completion.h"
#include "cli/command/output.h"

/* In single quotes. */
static void put(const char *text, FILE *out)
{
    (void)fputc('\'', out);
    for (; *text != '\0'; text++) {
        if (*text == '\'' || *text == '\\')
            (void)fputc('\\', out);
        (void)fputc(*text, out);
    }
    (void)fputc('\'', out);
}

/* What to offer: a flag of `complete`. */
static void put_kind(enum completion_kind kind, FILE *out)
{
    switch (kind) {
    case COMPLETION_FILE:
        (void)fputs(" -F", out);
        break;
    case COMPLETION_JOB:
        (void)fputs(" -a 'last (__qctl_ask jobs)'", out);
        break;
    case COMPLETION_WORKER:
        (void)fputs(" -a 'all (__qctl_ask workers)'", out);
        break;
    case COMPLETION_VERB:
        (void)fputs(" -a '(__qctl_verbs)'", out);
        break;
    case COMPLETION_SHELL:
    case COMPLETION_WHEN:
    case COMPLETION_ROLE:
        (void)fprintf(out, " -a '%s'", completion_words(kind));
        break;
    case COMPLETION_FORMAT: /* of each verb: put_verb */
    case COMPLETION_NOTHING:
        break;
    }
}

static void put_options(const char *condition, const struct command_option *options, size_t count,
                        FILE *out)
{
    for (size_t i = 0; i < count; i++) {
        enum completion_kind kind = completion_of_option(&options[i]);
        (void)fprintf(out, "complete -c qctl -n '%s' -l %s", condition, options[i].name);
        if (options[i].argument != NULL)
            (void)fputs(kind == COMPLETION_FILE ? " -r" : " -x", out);
        put_kind(kind, out);
        (void)fputs(" -d ", out);
        put(options[i].help, out);
        (void)fputc('\n', out);
    }
}

static void put_verb(size_t index, FILE *out)
{
    const struct command *command = commands_at(index);
    size_t size = strcspn(command->name, " ");
    bool has_second = command->name[size] == ' ';
    char condition[128], formats[OUTPUT_WORDS_BYTES];
    if (completion_is_first(index)) {
        (void)fprintf(out, "complete -c qctl -n '__qctl_at 1' -a %.*s -d ", (int)size,
                      command->name);
        put(has_second ? "" : command->summary, out);
        (void)fputc('\n', out);
    }
    if (has_second) {
        (void)fprintf(out, "complete -c qctl -n '__qctl_at 2; and __qctl_is %.*s' -a %s -d ",
                      (int)size, command->name, command->name + size + 1);
        put(command->summary, out);
        (void)fputc('\n', out);
    }
    (void)snprintf(condition, sizeof condition, "__qctl_is %s", command->name);
    put_options(condition, command->options, command->option_count, out);
    (void)fprintf(out, "complete -c qctl -n '%s' -l output -x -a '%s'\n", condition,
                  output_words(command, formats));
    enum completion_kind kind = completion_of_command(command);
    if (kind == COMPLETION_NOTHING)
        return;
    (void)fprintf(out, "complete -c qctl -n '%s'", condition);
    put_kind(kind, out);
    (void)fputc('\n', out);
}

void completion_fish_print(FILE *out)
{
    size_t count;
    const struct command_option *global = command_global_options(&count);
    (void)fputs(
        "# fish completion of qctl, as printed by `qctl completion fish`\n\n"
        "function __qctl_at # the word at hand is number N\n"
        "    test (count (commandline -opc)) -eq $argv[1]\n"
        "end\n\n"
        "function __qctl_is # the verb is FIRST [SECOND]\n"
        "    set -l typed (commandline -opc)\n"
        "    test (count $typed) -gt (count $argv)\n"
        "    and test \"$typed[2..\"(math (count $argv) + 1)\"]\" = \"$argv\"\n"
        "end\n\n"
        "function __qctl_ask # first column of a list of the coordinator\n"
        "    qctl $argv[1] --no-header --timeout 2s 2>/dev/null | string replace -r ' .*' ''\n"
        "end\n\n"
        "function __qctl_verbs\n"
        "    printf '%s\\n' recipe exit-codes",
        out);
    for (size_t i = 0; commands_at(i) != NULL; i++)
        (void)fprintf(out, " '%s'", commands_at(i)->name);
    (void)fputs("\nend\n\ncomplete -c qctl -f\n", out);
    put_options("not __qctl_at 1", global, count, out);
    for (size_t i = 0; commands_at(i) != NULL; i++)
        put_verb(i, out);
}
