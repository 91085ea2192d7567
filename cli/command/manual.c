/* manual.c - see manual.h. Pages name no date: the same sources give the same bytes. */
#include "cli/command/manual.h"

#include <string.h>

#include "cli/client/client_config.h"
#include "cli/command/commands.h"
#include "common/base/check.h"
#include "common/base/version.h"
#include "common/recipe/providers.h"
#include "common/recipe/recipe.h"

static const struct {
    const char *name, *help;
} variables[] = {
    {"NO_COLOR", "when not empty: no colour"},
    {"QFLEET_COORDINATOR", "control socket of the coordinator, where --coordinator is not given"},
    {"QFLEET_CONFIG", "the configuration file to read instead of the others; empty: none"},
    {"QFLEET_ISA", "instruction set of run, generate and chat: best, avx512, avx2 or portable"},
    {"TMPDIR", "where run makes its folder (/tmp)"},
    {"XDG_CONFIG_HOME", "where qfleet/client.yml is looked for (~/.config)"},
};

/* Text as text: no macro, no escape, hyphens that can be copied. */
static void put(const char *text, FILE *out)
{
    bool is_start = true;
    for (; *text != '\0'; text++) {
        if (is_start && (*text == '.' || *text == '\''))
            (void)fputs("\\&", out);
        is_start = *text == '\n';
        if (*text == '\\')
            (void)fputs("\\e", out);
        else if (*text == '-')
            (void)fputs("\\-", out);
        else
            (void)fputc(*text, out);
    }
}

static void put_term(const char *before, const char *name, const char *argument, const char *help,
                     FILE *out)
{
    (void)fputs(".TP\n.B ", out);
    put(before, out);
    put(name, out);
    if (argument != NULL) {
        (void)fputs(" \\fI", out);
        put(argument, out);
        (void)fputs("\\fR", out);
    }
    (void)fputc('\n', out);
    put(help, out);
    (void)fputc('\n', out);
}

static void put_options(const struct command_option *options, size_t count, FILE *out)
{
    for (size_t i = 0; i < count; i++)
        put_term("--", options[i].name, options[i].argument, options[i].help, out);
}

static void put_verb(const struct command *command, FILE *out)
{
    (void)fputs(".SS qctl ", out);
    put(command->name, out);
    (void)fputc(' ', out);
    put(command->usage, out);
    (void)fputc('\n', out);
    put(command->summary, out);
    (void)fputs(".\n.PP\n.EX\n", out);
    put(command->examples, out);
    (void)fputs(".EE\n", out);
    put_options(command->options, command->option_count, out);
}

static void put_files(FILE *out)
{
    const char *help, *key;
    (void)fputs(".SH FILES\n.TP\n.B ~/.config/qfleet/client.yml\n.TQ\n.B " CLIENT_CONFIG_SYSTEM
                "/client.yml\n"
                "Which coordinator is meant where no option and no variable says so; the first "
                "that is there counts. A mapping of these keys, as\n.B qctl init\nwrites it; "
                "its keys are used for its own coordinator only:\n.RS\n",
                out);
    for (size_t i = 0; (key = client_config_key(i, &help)) != NULL; i++)
        put_term("", key, NULL, help, out);
    (void)fputs(".RE\n", out);
}

static void print_verbs(FILE *out)
{
    size_t count;
    const char *code, *meaning;
    const struct command_option *options = command_global_options(&count);
    (void)fprintf(out, ".TH QCTL 1 \"\" \"qfleet %s\" \"User Commands\"\n", version_text());
    (void)fputs(".SH NAME\nqctl \\- submit, watch and control jobs that fine\\-tune and quantize "
                "language models\n"
                ".SH SYNOPSIS\n.B qctl\n.I VERB\n[\\fIARGUMENT\\fR ...] [\\fIOPTION\\fR ...]\n"
                ".SH DESCRIPTION\nTrains and quantizes on the machine it runs on\n(\\fBqctl "
                "run\\fR),\nor asks a coordinator for it. Jobs are named by a prefix of their id, "
                "by name, or\n.BR last .\nData goes to stdout, everything else to stderr.\n"
                ".SH VERBS\n",
                out);
    for (size_t i = 0; commands_at(i) != NULL; i++)
        put_verb(commands_at(i), out);
    (void)fputs(".SH OPTIONS OF EVERY VERB\n", out);
    put_options(options, count, out);
    (void)fputs(".SH EXIT STATUS\n", out);
    for (size_t i = 0; (code = commands_exit_code(i, &meaning)) != NULL; i++)
        put_term("", code, NULL, meaning, out);
    (void)fputs(".SH ENVIRONMENT\n", out);
    for (size_t i = 0; i < COUNT_OF(variables); i++)
        put_term("", variables[i].name, NULL, variables[i].help, out);
    put_files(out);
    (void)fputs(".SH SEE ALSO\n.BR qfleet\\-recipe (5),\n.BR qfleet\\-coordinator (1),\n"
                ".BR qfleet\\-worker (1),\n.BR qfleet\\-providers (5)\n",
                out);
}

static void put_key(const char *name, const char *preset, const char *help, FILE *out)
{
    (void)fputs(".TP\n.B ", out);
    put(name, out);
    if (preset[0] != '\0') {
        (void)fputs(" \\fR(", out);
        put(preset, out);
        (void)fputc(')', out);
    }
    (void)fputc('\n', out);
    put(help, out);
    (void)fputc('\n', out);
}

static void print_recipe(FILE *out)
{
    (void)fprintf(out, ".TH QFLEET\\-RECIPE 5 \"\" \"qfleet %s\" \"File Formats\"\n",
                  version_text());
    (void)fputs(".SH NAME\nqfleet\\-recipe \\- what a job of qfleet is asked for\n"
                ".SH DESCRIPTION\nA recipe is a YAML file: one mapping of the keys below. Values "
                "are read by the type of their key, so 1e\\-4 is a number. Paths are relative to "
                "the recipe. An unknown key is an error that names line, column and the nearest "
                "key. Names that other trainers use for the same thing are taken, with a notice. "
                "Defaults stand in parentheses.\n.PP\n"
                "What a recipe comes to, and where each value is from:\n.PP\n.EX\n"
                "  qctl submit recipe.yml \\-\\-dry\\-run\n.EE\n"
                ".SH KEYS\n",
                out);
    for (unsigned i = 0; i < RECIPE_KEY_COUNT; i++) {
        enum recipe_key key = (enum recipe_key)i;
        bool is_told = key == RECIPE_KEY_calibration_datasets || key == RECIPE_KEY_test_datasets;
        struct recipe_inner_key inner;
        put_key(recipe_key_name(key), recipe_key_default(key), recipe_key_help(key), out);
        for (size_t k = 0; !is_told && recipe_key_inner(key, k, &inner); k++) {
            if (k == 0)
                (void)fputs(".RS\n", out);
            put_key(inner.name, inner.preset, inner.help, out);
        }
        if (!is_told && recipe_key_inner(key, 0, &inner))
            (void)fputs(".RE\n", out);
    }
    (void)fputs(".SH EXAMPLES\n.EX\n"
                "  base_model: models/TinyLlama\\-1.1B\n"
                "  datasets:\n"
                "    \\- path: data/train.jsonl\n"
                "  val_set_size: 0.02\n"
                "  sequence_len: 512\n"
                "  adapter: lora\n"
                "  lora_r: 8\n"
                "  lora_alpha: 16\n"
                "  micro_batch_size: 4\n"
                "  num_epochs: 1\n"
                "  learning_rate: 1e\\-4\n"
                "  output_dir: outputs/demo\n.EE\n"
                ".SH SEE ALSO\n.BR qctl (1)\n",
                out);
}

static void print_providers(FILE *out)
{
    struct recipe_inner_key key;
    (void)fprintf(out, ".TH QFLEET\\-PROVIDERS 5 \"\" \"qfleet %s\" \"File Formats\"\n",
                  version_text());
    (void)fputs(
        ".SH NAME\nqfleet\\-providers \\- where a coordinator gets workers from\n"
        ".SH DESCRIPTION\nThe file that\n.B qfleet\\-coordinator \\-\\-providers\nreads, "
        "and reads again on SIGHUP: a YAML mapping with a list of providers. Each is a "
        "named source of workers, of which it has between its minimum and its maximum. "
        "How many is decided by the work that is ready, or by\n.BR \"qctl workers scale\" .\n"
        "Defaults stand in parentheses.\n"
        ".SH KEYS OF A PROVIDER\n",
        out);
    for (size_t i = 0; providers_key(i, &key); i++)
        put_key(key.name, key.preset, key.help, out);
    (void)fputs(".SH EXAMPLES\n.EX\n"
                "  providers:\n"
                "    \\- name: here\n"
                "      kind: local\n"
                "    \\- name: cluster\n"
                "      kind: slurm\n"
                "      max: 40\n"
                "      time_limit: 1h\n"
                "      partition: batch\n"
                "      coordinator: tcp://head:7070\n"
                "      secret: /etc/qfleet/worker.key\n"
                "      server_key: /etc/qfleet/coordinator.key.pub\n.EE\n"
                ".SH SEE ALSO\n.BR qctl (1),\n.BR qfleet\\-coordinator (1)\n",
                out);
}

enum err manual_print(const char *page, FILE *out, struct err_text *et)
{
    if (page == NULL)
        print_verbs(out);
    else if (strcmp(page, "recipe") == 0)
        print_recipe(out);
    else if (strcmp(page, "providers") == 0)
        print_providers(out);
    else
        return error_set(et, ERR_USAGE, "%s: expected recipe, providers or nothing with --man",
                         page);
    return ERR_OK;
}
