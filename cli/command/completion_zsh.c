/* completion_zsh.c - one _arguments call a verb. See completion.h. */
#include "cli/command/completion_zsh.h"

#include <string.h>

#include "cli/command/commands.h"
#include "cli/command/completion.h"
#include "cli/command/output.h"

/* Inside single quotes, and inside a specification where brackets and colons have a meaning. */
static void put(const char *text, FILE *out)
{
    for (; *text != '\0'; text++) {
        if (*text == '\'')
            (void)fputs("'\\''", out);
        else if (strchr("[]:\\", *text) != NULL)
            (void)fprintf(out, "\\%c", *text);
        else
            (void)fputc(*text, out);
    }
}

static void put_action(const struct command *command, enum completion_kind kind, FILE *out)
{
    char formats[OUTPUT_WORDS_BYTES];
    switch (kind) {
    case COMPLETION_FILE:
        (void)fputs("_files", out);
        break;
    case COMPLETION_JOB:
        (void)fputs("_qctl_ask jobs last", out);
        break;
    case COMPLETION_WORKER:
        (void)fputs("_qctl_ask workers all", out);
        break;
    case COMPLETION_VERB:
        (void)fputs("_qctl_verbs", out);
        break;
    case COMPLETION_FORMAT:
        (void)fprintf(out, "(%s)", output_words(command, formats));
        break;
    case COMPLETION_SHELL:
    case COMPLETION_WHEN:
    case COMPLETION_ROLE:
        (void)fprintf(out, "(%s)", completion_words(kind));
        break;
    case COMPLETION_NOTHING:
        (void)fputs("( )", out);
        break;
    }
}

static void put_options(const struct command *command, const struct command_option *options,
                        size_t count, FILE *out)
{
    for (size_t i = 0; i < count; i++) {
        (void)fprintf(out, "            '*--%s[", options[i].name);
        put(options[i].help, out);
        (void)fputc(']', out);
        if (options[i].argument != NULL) {
            (void)fputc(':', out);
            put(options[i].argument, out);
            (void)fputc(':', out);
            put_action(command, completion_of_option(&options[i]), out);
        }
        (void)fputs("' \\\n", out);
    }
}

/* name:summary of the second words of a group, or of all first words (group NULL). */
static void put_words(const char *group, size_t size, FILE *out)
{
    for (size_t i = 0; commands_at(i) != NULL; i++) {
        const struct command *command = commands_at(i);
        const char *name = command->name;
        size_t first = strcspn(name, " ");
        const char *word = name + first + (name[first] == ' ');
        bool is_alone = name[first] == '\0';
        if (group == NULL && !completion_is_first(i))
            continue;
        if (group != NULL && (is_alone || first != size || strncmp(name, group, size) != 0))
            continue;
        (void)fputs("        '", out);
        if (group == NULL)
            (void)fprintf(out, "%.*s:", (int)first, name);
        else
            (void)fprintf(out, "%s:", word);
        put(command->summary, out);
        (void)fputs("'\n", out);
    }
}

static void put_groups(FILE *out)
{
    for (size_t i = 0; commands_at(i) != NULL; i++) {
        const char *name = commands_at(i)->name;
        size_t size = strcspn(name, " ");
        if (!completion_is_first(i) || !completion_is_group(name, size))
            continue;
        (void)fprintf(out, "    (%.*s) seconds=(\n", (int)size, name);
        put_words(name, size, out);
        (void)fputs("        ) ;;\n", out);
    }
}

void completion_zsh_print(FILE *out)
{
    size_t count;
    const struct command_option *global = command_global_options(&count);
    (void)fputs("#compdef qctl\n"
                "# zsh completion of qctl, as printed by `qctl completion zsh`\n\n"
                "_qctl_ask() { # first column of a list of the coordinator, and other words\n"
                "    local list=$1 line\n"
                "    shift\n"
                "    local -a names=(\"$@\")\n"
                "    qctl $list --no-header --timeout 2s 2>/dev/null | while read -r line; do\n"
                "        names+=(\"${line%% *}\")\n"
                "    done\n"
                "    compadd -a names\n"
                "}\n\n"
                "_qctl_verbs() {\n"
                "    local -a verbs=(\n",
                out);
    put_words(NULL, 0, out);
    (void)fputs("    )\n    _describe verb verbs\n}\n\n"
                "_qctl() {\n"
                "    local verb=$words[2]\n"
                "    local -a seconds\n"
                "    if ((CURRENT == 2)); then\n"
                "        _qctl_verbs\n"
                "        return\n"
                "    fi\n"
                "    case $verb in\n",
                out);
    put_groups(out);
    (void)fputs("    esac\n"
                "    if ((CURRENT == 3 && $#seconds)) && [[ $PREFIX != -* ]]; then\n"
                "        _describe verb seconds\n"
                "        return\n"
                "    fi\n"
                "    if [[ -n ${(M)seconds:#$words[3]:*} ]]; then\n"
                "        verb+=\" $words[3]\"\n"
                "        shift words\n"
                "        ((CURRENT--))\n"
                "    fi\n"
                "    shift words\n"
                "    ((CURRENT--))\n"
                "    case $verb in\n",
                out);
    for (size_t i = 0; commands_at(i) != NULL; i++) {
        const struct command *command = commands_at(i);
        (void)fprintf(out, "    ('%s')\n        _arguments \\\n", command->name);
        put_options(command, command->options, command->option_count, out);
        put_options(command, global, count, out);
        (void)fputs("            '*:argument:", out);
        put_action(command, completion_of_command(command), out);
        (void)fputs("' ;;\n", out);
    }
    (void)fputs("    esac\n}\n\n_qctl \"$@\"\n", out);
}
