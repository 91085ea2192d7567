/* command.c - words to an invocation. */
#include "cli/command/command.h"

#include <errno.h>
#include <string.h>

#include "cli/client/client.h"
#include "cli/command/commands.h"
#include "cli/command/output.h"
#include "common/base/check.h"
#include "common/base/nearest.h"
#include "common/recipe/recipe_value.h"

enum { WAIT_MS_DEFAULT = 10000, CONFIG_BYTES = 1 << 20 };

static const struct command_option global_options[] = {
    {"coordinator", "ENDPOINT",
     "control socket of the coordinator (QFLEET_COORDINATOR, or the configuration)"},
    {"secret", "FILE", "own key file, for TCP"},
    {"server-key", "FILE", "public key file of the coordinator, for TCP"},
    {"timeout", "TIME", "how long to wait for an answer (10s)"},
    {"output", "FORMAT", "table or json, of lists jsonl or name; also -o"},
    {"color", "WHEN", "auto, always or never"},
    {"no-header", NULL, "tables without their first line"},
    {"help", NULL, "what the verb does; also -h"},
};

const struct command_option *command_global_options(size_t *count)
{
    *count = COUNT_OF(global_options);
    return global_options;
}

static const struct command_option *find_option(const struct command *command, struct text name)
{
    for (size_t i = 0; command != NULL && i < command->option_count; i++) {
        if (text_is(name, command->options[i].name))
            return &command->options[i];
    }
    for (size_t i = 0; i < COUNT_OF(global_options); i++) {
        if (text_is(name, global_options[i].name))
            return &global_options[i];
    }
    return NULL;
}

static enum err fail_option(const struct command *command, struct text name, struct err_text *et)
{
    struct nearest nearest = {0};
    for (size_t i = 0; command != NULL && i < command->option_count; i++)
        nearest_offer(&nearest, name, command->options[i].name);
    for (size_t i = 0; i < COUNT_OF(global_options); i++)
        nearest_offer(&nearest, name, global_options[i].name);
    const char *verb = command != NULL ? command->name : "help";
    if (nearest.word != NULL)
        return error_set(et, ERR_USAGE, "--%.*s: unknown option of %s; did you mean --%s?",
                         TEXT_ARGS(name), verb, nearest.word);
    return error_set(et, ERR_USAGE, "--%.*s: unknown option; see qctl help %s", TEXT_ARGS(name),
                     verb);
}

static enum err take_value(struct invocation *invocation, const struct command_option *option,
                           const char *value, struct err_text *et)
{
    if (invocation->value_count == COMMAND_VALUES_MAX)
        return error_set(et, ERR_USAGE, "expected at most %d options", COMMAND_VALUES_MAX);
    invocation->values[invocation->value_count++] = (struct command_value){option, value};
    return ERR_OK;
}

/* Short spellings of global options. */
static const char *long_name(const char *word)
{
    if (strcmp(word, "-o") == 0)
        return "--output";
    if (strcmp(word, "-h") == 0)
        return "--help";
    return word;
}

static enum err take_option(struct invocation *invocation, int argc, char **argv, int *index,
                            struct err_text *et)
{
    const char *word = long_name(argv[*index]);
    if (word[1] != '-')
        return error_set(et, ERR_USAGE, "%s: unknown option; options have long names", word);
    const char *equals = strchr(word, '=');
    struct text name = {word + 2, equals != NULL ? (size_t)(equals - word) - 2 : strlen(word) - 2};
    const struct command_option *option = find_option(invocation->command, name);
    if (option == NULL)
        return fail_option(invocation->command, name, et);
    if (option->argument == NULL) {
        if (equals != NULL)
            return error_set(et, ERR_USAGE, "--%s: expected no value", option->name);
        return take_value(invocation, option, NULL, et);
    }
    if (equals != NULL)
        return take_value(invocation, option, equals + 1, et);
    if (*index + 1 >= argc)
        return error_set(et, ERR_USAGE, "--%s: expected %s after it", option->name,
                         option->argument);
    return take_value(invocation, option, argv[++*index], et);
}

static enum err check_arguments(const struct invocation *invocation, struct err_text *et)
{
    const struct command *command = invocation->command;
    if (invocation->argument_count >= command->arguments_min &&
        invocation->argument_count <= command->arguments_max)
        return ERR_OK;
    return error_set(et, ERR_USAGE, "expected qctl %s %s, found %zu argument%s", command->name,
                     command->usage, invocation->argument_count,
                     invocation->argument_count == 1 ? "" : "s");
}

static enum err settle_output(struct invocation *invocation, struct err_text *et)
{
    static const char *const whens[] = {"auto", "always", "never"};
    const struct environment *env = invocation->environment;
    const char *format = command_text(invocation, "output");
    const char *color = command_text(invocation, "color");
    enum style_when when = STYLE_AUTO;
    TRY(output_parse(invocation->command, format, &invocation->format, et));
    invocation->json = invocation->format == COMMAND_JSON || invocation->format == COMMAND_JSONL;
    invocation->header = !command_flag(invocation, "no-header");
    for (size_t i = 0; color != NULL && i < COUNT_OF(whens); i++) {
        if (strcmp(color, whens[i]) == 0) {
            when = (enum style_when)i;
            color = NULL;
        }
    }
    if (color != NULL)
        return error_set(et, ERR_USAGE, "--color: expected auto, always or never, found \"%s\"",
                         color);
    invocation->style = style_of(invocation->out, when, env->no_color, env->term, env->locale);
    invocation->message_style =
        style_of(invocation->messages, when, env->no_color, env->term, env->locale);
    return ERR_OK;
}

static bool is_help(const char *word)
{
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

enum err command_parse(int argc, char **argv, const struct environment *environment,
                       struct invocation *invocation, struct err_text *et)
{
    *invocation = (struct invocation){
        .environment = environment, .out = stdout, .messages = stderr, .exit_code = -1};
    int used = 0;
    bool only_arguments = false;
    int begin = argc;
    if (argc < 2 || is_help(argv[1])) {
        invocation->command = commands_find("help", NULL, &used);
    } else {
        invocation->command = commands_find(argv[1], argc > 2 ? argv[2] : NULL, &used);
        begin = 1 + used;
    }
    if (invocation->command == NULL && argc > 2 && is_help(argv[2])) { /* of a group of verbs */
        invocation->command = commands_find("help", NULL, &used);
        invocation->arguments[invocation->argument_count++] = argv[1];
        begin = argc;
    }
    if (invocation->command == NULL)
        return commands_fail(argv[1], argc > 2 ? argv[2] : NULL, et);
    for (int i = begin; i < argc; i++) {
        if (!only_arguments && strcmp(argv[i], "--") == 0) {
            only_arguments = true;
        } else if (!only_arguments && argv[i][0] == '-' && argv[i][1] != '\0') {
            TRY(take_option(invocation, argc, argv, &i, et));
        } else if (invocation->argument_count < COMMAND_ARGUMENTS_MAX) {
            invocation->arguments[invocation->argument_count++] = argv[i];
        }
    }
    TRY(settle_output(invocation, et));
    return command_flag(invocation, "help") ? ERR_OK : check_arguments(invocation, et);
}

static const struct command_value *find_value(const struct invocation *invocation, const char *name)
{
    for (size_t i = invocation->value_count; i > 0; i--) {
        if (strcmp(invocation->values[i - 1].option->name, name) == 0)
            return &invocation->values[i - 1];
    }
    return NULL;
}

const char *command_text(const struct invocation *invocation, const char *name)
{
    const struct command_value *value = find_value(invocation, name);
    return value != NULL ? value->value : NULL;
}

bool command_flag(const struct invocation *invocation, const char *name)
{
    return find_value(invocation, name) != NULL;
}

size_t command_texts(const struct invocation *invocation, const char *name, const char **out,
                     size_t max)
{
    size_t count = 0;
    for (size_t i = 0; i < invocation->value_count && count < max; i++) {
        if (strcmp(invocation->values[i].option->name, name) == 0)
            out[count++] = invocation->values[i].value;
    }
    return count;
}

enum err command_u64(const struct invocation *invocation, const char *name, uint64_t min,
                     uint64_t max, uint64_t *out, struct err_text *et)
{
    const char *text = command_text(invocation, name);
    uint64_t value;
    if (text == NULL)
        return ERR_OK;
    if (!recipe_value_u64(text_of(text), &value) || value < min || value > max)
        return error_set(et, ERR_USAGE,
                         "--%s: expected a whole number from %llu to %llu, found \"%s\"", name,
                         (unsigned long long)min, (unsigned long long)max, text);
    *out = value;
    return ERR_OK;
}

enum err command_f64(const struct invocation *invocation, const char *name, double min, double max,
                     double *out, struct err_text *et)
{
    const char *text = command_text(invocation, name);
    double value;
    if (text == NULL)
        return ERR_OK;
    if (!recipe_value_f64(text_of(text), &value) || value < min || value > max)
        return error_set(et, ERR_USAGE, "--%s: expected a number from %g to %g, found \"%s\"", name,
                         min, max, text);
    *out = value;
    return ERR_OK;
}

enum err command_coordinator(const struct invocation *invocation, struct arena *arena,
                             struct client_config *out, struct err_text *et)
{
    const char *secret = command_text(invocation, "secret");
    const char *server_key = command_text(invocation, "server-key");
    const char *named = command_text(invocation, "coordinator");
    struct client_config found = {0};
    if (named == NULL && invocation->environment->coordinator != NULL &&
        invocation->environment->coordinator[0] != '\0')
        named = invocation->environment->coordinator;
    bool is_whole = named != NULL && secret != NULL && server_key != NULL;
    if (!is_whole && (named == NULL || strncmp(named, "tcp://", 6) == 0))
        TRY(client_config_read(&invocation->environment->config, arena, &found, et));
    if (named != NULL && (found.coordinator == NULL || strcmp(named, found.coordinator) != 0))
        found = (struct client_config){.coordinator = named};
    if (secret != NULL)
        found.secret = secret;
    if (server_key != NULL)
        found.server_key = server_key;
    *out = found;
    return ERR_OK;
}

static enum err connect_to(const struct invocation *invocation, struct arena *arena,
                           uint32_t wait_ms, struct client **client, struct err_text *et)
{
    const char *user = invocation->environment->user;
    struct client_config config;
    TRY(command_coordinator(invocation, arena, &config, et));
    if (config.coordinator == NULL)
        return error_set(et, ERR_USAGE,
                         "no coordinator: give --coordinator ENDPOINT, set QFLEET_COORDINATOR or "
                         "write a configuration (qctl init; qctl run needs none)");
    const struct client_options options = {
        .endpoint = config.coordinator,
        .user = user != NULL ? user : "unknown",
        .keys = config.secret,
        .server = config.server_key,
        .wait_ms = wait_ms,
    };
    return client_open(&options, client, et);
}

enum err command_timeout(const struct invocation *invocation, uint32_t *wait_ms,
                         struct err_text *et)
{
    const char *timeout = command_text(invocation, "timeout");
    uint64_t ms = WAIT_MS_DEFAULT;
    if (timeout != NULL && !recipe_value_duration(text_of(timeout), &ms))
        return error_set(et, ERR_USAGE, "--timeout: expected a time such as 10s, found \"%s\"",
                         timeout);
    *wait_ms = (uint32_t)MIN(MAX(ms, (uint64_t)1), (uint64_t)UINT32_MAX);
    return ERR_OK;
}

enum err command_connect(const struct invocation *invocation, struct client **client,
                         struct err_text *et)
{
    uint32_t wait_ms;
    struct arena arena;
    TRY(command_timeout(invocation, &wait_ms, et));
    arena_init(&arena, CONFIG_BYTES);
    enum err err = connect_to(invocation, &arena, wait_ms, client, et);
    arena_fini(&arena);
    return err;
}

enum err command_flush(struct invocation *invocation)
{
    bool is_whole = fflush(invocation->out) == 0 && !ferror(invocation->out);
    if (!is_whole && invocation->output_errno == 0)
        invocation->output_errno = errno != 0 ? errno : EIO;
    return invocation->output_errno == 0 ? ERR_OK : ERR_IO;
}

enum err command_print_json(struct invocation *invocation, struct json_write *w)
{
    struct span text;
    enum err err = json_write_finish(w, &text);
    if (err == ERR_OK) {
        (void)fwrite(text.data, 1, text.size, invocation->out);
        if (text.size == 0 || text.data[text.size - 1] != '\n')
            (void)fputc('\n', invocation->out);
        err = command_flush(invocation);
    }
    json_write_fini(w);
    return err;
}

void command_print_error(const struct invocation *invocation, enum err code,
                         const struct err_text *et)
{
    char text[sizeof et->text];
    (void)snprintf(text, sizeof text, "%s", et->text[0] != '\0' ? et->text : error_text(code));
    for (char *line = text; *line != '\0';) { /* logs of children have lines */
        char *end = line + strcspn(line, "\n");
        char last = *end;
        *end = '\0';
        (void)style_clean(line);
        *end = last;
        line = last == '\0' ? end : end + 1;
    }
    const struct style *style = &invocation->message_style;
    (void)fflush(invocation->out);
    (void)fprintf(invocation->messages, "%sqctl:%s %s\n", style_on(style, STYLE_BAD),
                  style_off(style, STYLE_BAD), text);
    if (!invocation->json)
        return;
    struct json_write w;
    json_write_init(&w, JSON_WRITE_LINE, 1 << 16);
    json_write_object_begin(&w, NULL);
    json_write_text(&w, "code", text_of(error_name(code)));
    json_write_text(&w, "error", text_of(text));
    json_write_object_end(&w);
    struct span json;
    if (json_write_finish(&w, &json) == ERR_OK)
        (void)fprintf(invocation->out, "%.*s\n", (int)json.size, (const char *)json.data);
    json_write_fini(&w);
}
