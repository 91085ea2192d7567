/* completion.c - what words may be, and the script of bash; the others have files. */
#include "cli/command/completion.h"

#include <string.h>

#include "cli/command/commands.h"
#include "cli/command/completion_fish.h"
#include "cli/command/completion_zsh.h"
#include "cli/command/output.h"
#include "common/base/check.h"

/* Names of arguments whose values can be completed, in usages and in options. */
static const struct {
    const char *word;
    enum completion_kind kind;
} words[] = {
    {"RECIPE", COMPLETION_FILE},   {"FILE", COMPLETION_FILE},  {"FOLDER", COMPLETION_FILE},
    {"DIR", COMPLETION_FILE},      {"MODEL", COMPLETION_FILE}, {"ADAPTER", COMPLETION_FILE},
    {"IN", COMPLETION_FILE},       {"OUT", COMPLETION_FILE},   {"JOB", COMPLETION_JOB},
    {"WORKER", COMPLETION_WORKER}, {"VERB", COMPLETION_VERB},  {"SHELL", COMPLETION_SHELL},
    {"FORMAT", COMPLETION_FORMAT}, {"WHEN", COMPLETION_WHEN},  {"ROLE", COMPLETION_ROLE},
};

static enum completion_kind kind_of(const char *word, size_t size)
{
    for (size_t i = 0; i < COUNT_OF(words); i++) {
        if (strlen(words[i].word) == size && memcmp(words[i].word, word, size) == 0)
            return words[i].kind;
    }
    return COMPLETION_NOTHING;
}

enum completion_kind completion_of_option(const struct command_option *option)
{
    return option->argument != NULL ? kind_of(option->argument, strlen(option->argument))
                                    : COMPLETION_NOTHING;
}

/* The first word of the usage that says something; what follows "--" belongs to an option. */
enum completion_kind completion_of_command(const struct command *command)
{
    static const char capitals[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for (const char *at = command->usage; *at != '\0';) {
        if (strncmp(at, "--", 2) == 0)
            break;
        size_t size = strspn(at, capitals);
        enum completion_kind kind = size > 0 ? kind_of(at, size) : COMPLETION_NOTHING;
        if (kind != COMPLETION_NOTHING)
            return kind;
        at += size > 0 ? size : 1;
    }
    return COMPLETION_NOTHING;
}

const char *completion_words(enum completion_kind kind)
{
    switch (kind) {
    case COMPLETION_SHELL:
        return "bash zsh fish";
    case COMPLETION_WHEN:
        return "auto always never";
    case COMPLETION_ROLE:
        return "admin submit worker view";
    case COMPLETION_NOTHING:
    case COMPLETION_FILE:
    case COMPLETION_JOB:
    case COMPLETION_WORKER:
    case COMPLETION_VERB:
    case COMPLETION_FORMAT: /* each verb has its own: output_words */
        break;
    }
    return "";
}

bool completion_is_group(const char *first, size_t size)
{
    for (size_t i = 0; commands_at(i) != NULL; i++) {
        const char *name = commands_at(i)->name;
        if (strncmp(name, first, size) == 0 && name[size] == ' ')
            return true;
    }
    return false;
}

/* Whether row `index` is the first with its first word. */
bool completion_is_first(size_t index)
{
    const char *name = commands_at(index)->name;
    size_t size = strcspn(name, " ");
    for (size_t i = 0; i < index; i++) {
        const char *other = commands_at(i)->name;
        if (strcspn(other, " ") == size && strncmp(other, name, size) == 0)
            return false;
    }
    return true;
}

/* Names of kinds in the script. */
static const char *const kinds[] = {
    [COMPLETION_NOTHING] = "nothing", [COMPLETION_FILE] = "file", [COMPLETION_JOB] = "job",
    [COMPLETION_WORKER] = "worker",   [COMPLETION_VERB] = "verb", [COMPLETION_SHELL] = "shell",
    [COMPLETION_FORMAT] = "format",   [COMPLETION_WHEN] = "when", [COMPLETION_ROLE] = "role",
};

/* Adds the options to what may follow, and tells of what kind the value of the previous one is. */
static void bash_options(const char *indent, const struct command_option *options, size_t count,
                         FILE *out)
{
    (void)fprintf(out, "%soptions+=\"", indent);
    for (size_t i = 0; i < count; i++)
        (void)fprintf(out, " --%s", options[i].name);
    (void)fprintf(out, "\"\n%scase \"$previous\" in\n", indent);
    for (size_t i = 0; i < count; i++) {
        if (options[i].argument != NULL)
            (void)fprintf(out, "%s--%s) value=%s ;;\n", indent, options[i].name,
                          kinds[completion_of_option(&options[i])]);
    }
    (void)fprintf(out, "%sesac\n", indent);
}

static void bash_verbs(FILE *out)
{
    (void)fprintf(out, "    local verbs=\"");
    for (size_t i = 0; commands_at(i) != NULL; i++) {
        if (completion_is_first(i))
            (void)fprintf(out, " %.*s", (int)strcspn(commands_at(i)->name, " "),
                          commands_at(i)->name);
    }
    (void)fprintf(out, "\" seconds=\n    case \"${words[1]}\" in\n");
    for (size_t i = 0; commands_at(i) != NULL; i++) {
        const char *name = commands_at(i)->name;
        size_t size = strcspn(name, " ");
        if (!completion_is_first(i) || !completion_is_group(name, size))
            continue;
        (void)fprintf(out, "    %.*s) seconds=\"", (int)size, name);
        for (size_t k = i; commands_at(k) != NULL; k++) {
            const char *other = commands_at(k)->name;
            if (strncmp(other, name, size) == 0 && other[size] == ' ')
                (void)fprintf(out, " %s", other + size + 1);
        }
        (void)fprintf(out, "\" ;;\n");
    }
    (void)fprintf(out, "    esac\n");
}

static const char bash_head[] =
    "# bash completion of qctl, as printed by `qctl completion bash`\n\n"
    "_qctl_ask() { # first column of a list of the coordinator; no name that bash would expand\n"
    "    qctl \"$1\" --no-header --timeout 2s 2>/dev/null | while read -r name _; do\n"
    "        [[ $name =~ ^[[:alnum:]_.:@%+=,/-]+$ ]] && printf '%s\\n' \"$name\"\n"
    "    done\n"
    "}\n\n"
    "_qctl() {\n"
    "    local current=\"$2\" previous=\"$3\" options= arguments=nothing value= verb choice= "
    "formats=\n"
    "    local words=(\"${COMP_WORDS[@]}\")\n"
    "    COMPREPLY=()\n";

static const char bash_verb[] =
    "    verb=\"${words[1]}\"\n"
    "    if ((COMP_CWORD == 1)); then\n"
    "        mapfile -t COMPREPLY < <(compgen -W \"$verbs --help\" -- \"$current\")\n"
    "        return\n"
    "    elif ((COMP_CWORD == 2)) && [[ -n $seconds && $current != -* ]]; then\n"
    "        mapfile -t COMPREPLY < <(compgen -W \"$seconds\" -- \"$current\")\n"
    "        return\n"
    "    fi\n"
    "    [[ -n $seconds && \" $seconds \" == *\" ${words[2]} \"* ]] && verb+=\" ${words[2]}\"\n"
    "    case \"$verb\" in\n";

static const char bash_tail[] =
    "    [[ $previous == -o ]] && value=format\n"
    "    if [[ -z $value && $current == -* ]]; then\n"
    "        mapfile -t COMPREPLY < <(compgen -W \"$options\" -- \"$current\")\n"
    "        return\n"
    "    fi\n"
    "    case \"${value:-$arguments}\" in\n"
    "    file)\n"
    "        compopt -o filenames 2>/dev/null\n"
    "        mapfile -t COMPREPLY < <(compgen -f -- \"$current\")\n"
    "        ;;\n"
    "    job) choice=\"last $(_qctl_ask jobs)\" ;;\n"
    "    worker) choice=\"all $(_qctl_ask workers)\" ;;\n"
    "    format) choice=\"$formats\" ;;\n"
    "    verb) choice=\"$verbs recipe exit-codes\" ;;\n";

static void print_bash(FILE *out)
{
    size_t count;
    char formats[OUTPUT_WORDS_BYTES];
    const struct command_option *global = command_global_options(&count);
    (void)fputs(bash_head, out);
    bash_verbs(out);
    (void)fputs(bash_verb, out);
    for (size_t i = 0; commands_at(i) != NULL; i++) {
        const struct command *command = commands_at(i);
        (void)fprintf(out, "    \"%s\")\n        arguments=%s formats=\"%s\"\n", command->name,
                      kinds[completion_of_command(command)], output_words(command, formats));
        if (command->option_count > 0)
            bash_options("        ", command->options, command->option_count, out);
        (void)fprintf(out, "        ;;\n");
    }
    (void)fprintf(out, "    esac\n");
    bash_options("    ", global, count, out);
    (void)fputs(bash_tail, out);
    for (unsigned kind = 0; kind < COUNT_OF(kinds); kind++) {
        const char *choice = completion_words((enum completion_kind)kind);
        if (choice[0] != '\0')
            (void)fprintf(out, "    %s) choice=\"%s\" ;;\n", kinds[kind], choice);
    }
    (void)fputs("    esac\n"
                "    [[ -n $choice ]] && mapfile -t COMPREPLY < <(compgen -W \"$choice\" -- "
                "\"$current\")\n"
                "}\n"
                "complete -F _qctl qctl\n",
                out);
}

enum err completion_print(const char *shell, FILE *out, struct err_text *et)
{
    if (strcmp(shell, "bash") == 0)
        print_bash(out);
    else if (strcmp(shell, "zsh") == 0)
        completion_zsh_print(out);
    else if (strcmp(shell, "fish") == 0)
        completion_fish_print(out);
    else
        return error_set(et, ERR_USAGE, "%s: expected bash, zsh or fish", shell);
    return ERR_OK;
}
