/* provider.c - the table of kinds, and what a configuration must hold. See provider.h. */
#include "coordinator/provider/provider.h"

#include <string.h>

#include "common/base/check.h"
#include "coordinator/provider/provider_kind.h"

enum { SLURM_LIMIT_MS_MIN = 60000, VALUE_BYTES_MAX = 4096 };

static const struct provider_kind_row *const kinds[] = {
    [PROVIDER_LOCAL] = &provider_kind_local,
    [PROVIDER_SSH] = &provider_kind_ssh,
    [PROVIDER_SLURM] = &provider_kind_slurm,
    [PROVIDER_KUBERNETES] = &provider_kind_kubernetes,
};

bool provider_keeps_children(enum provider_kind kind)
{
    return kinds[kind]->keeps_children;
}

static bool is_alphanumeric(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* Letters, digits and `others`, not starting with a dash: never an option, never two words. */
static bool is_word(struct text text, const char *others, size_t size_max)
{
    if (text.size == 0 || text.size > size_max || text.data[0] == '-')
        return false;
    for (size_t i = 0; i < text.size; i++) {
        char c = text.data[i];
        if (!is_alphanumeric(c) && (c == '\0' || strchr(others, c) == NULL))
            return false;
    }
    return true;
}

bool provider_id_is_valid(struct text id)
{
    return is_word(id, "._-[],", PROVIDER_ID_BYTES);
}

/* One line that is an argument and not an option. */
static bool is_value(const char *value, bool may_be_option)
{
    size_t size = strlen(value);
    if (size == 0 || size > VALUE_BYTES_MAX || (value[0] == '-' && !may_be_option))
        return false;
    for (size_t i = 0; i < size; i++)
        if ((unsigned char)value[i] < ' ' || value[i] == 127)
            return false;
    return true;
}

static enum err check_values(const struct provider_config *c, struct err_text *et)
{
    const struct {
        const char *key, *value;
    } values[] = {{"program", c->program},
                  {"coordinator", c->coordinator},
                  {"secret", c->secret},
                  {"server_key", c->server_key},
                  {"log", c->log}};
    for (size_t i = 0; i < COUNT_OF(values); i++)
        if (values[i].value != NULL && !is_value(values[i].value, false))
            return error_set(et, ERR_RECIPE,
                             "%s: %s: a line that does not begin with a dash "
                             "expected",
                             c->name, values[i].key);
    for (size_t i = 0; i < c->arguments_count; i++)
        if (!is_value(c->arguments[i], true))
            return error_set(et, ERR_RECIPE,
                             "%s: arguments: number %zu is empty or has a control "
                             "character",
                             c->name, i + 1);
    return ERR_OK;
}

static enum err check_words(const struct provider_config *c, struct err_text *et)
{
    const struct {
        const char *key, *value, *others;
    } words[] = {{"partition", c->partition, "._-,"},
                 {"namespace", c->namespace, "-"},
                 {"deployment", c->deployment, ".-"},
                 {"context", c->context, "._-/:@"}};
    for (size_t i = 0; i < COUNT_OF(words); i++)
        if (words[i].value != NULL &&
            !is_word(text_of(words[i].value), words[i].others, PROVIDER_DETAIL_BYTES))
            return error_set(et, ERR_RECIPE,
                             "%s: %s: letters, digits and %s expected, found "
                             "\"%s\"",
                             c->name, words[i].key, words[i].others, words[i].value);
    for (size_t i = 0; i < c->hosts_count; i++)
        if (!is_word(text_of(c->hosts[i]), "._-@:%", PROVIDER_DETAIL_BYTES))
            return error_set(et, ERR_RECIPE, "%s: hosts: [USER@]HOST expected, found \"%s\"",
                             c->name, c->hosts[i]);
    return ERR_OK;
}

static enum err check_kind(const struct provider_config *c, struct err_text *et)
{
    if (c->kind == PROVIDER_SSH && c->hosts_count == 0)
        return error_set(et, ERR_RECIPE, "%s: hosts: kind ssh needs at least one", c->name);
    if (c->kind == PROVIDER_SLURM && c->time_limit < SLURM_LIMIT_MS_MIN)
        return error_set(et, ERR_RECIPE,
                         "%s: time_limit: kind slurm needs one of at least a minute, so that "
                         "workers leave before their job is ended",
                         c->name);
    if (c->kind == PROVIDER_KUBERNETES && c->deployment == NULL)
        return error_set(et, ERR_RECIPE, "%s: deployment: kind kubernetes needs the name of one",
                         c->name);
    if (c->workers_per_allocation > 1 && c->kind != PROVIDER_SLURM)
        return error_set(et, ERR_RECIPE,
                         "%s: workers_per_allocation: more than 1 is for kind "
                         "slurm only",
                         c->name);
    return ERR_OK;
}

static enum err check_site(const struct provider_config *c, const struct provider_site *site,
                           struct err_text *et)
{
    const char *endpoint = c->coordinator != NULL ? c->coordinator : site->coordinator;
    if (c->kind == PROVIDER_LOCAL ||
        c->kind == PROVIDER_KUBERNETES) /* pods know it by themselves */
        return ERR_OK;
    if (strncmp(endpoint, "tcp://", 6) != 0 || strncmp(endpoint, "tcp://0.0.0.0:", 14) == 0 ||
        strncmp(endpoint, "tcp://[::]:", 11) == 0)
        return error_set(et, ERR_RECIPE,
                         "%s: coordinator: tcp://HOST:PORT as the workers' machines reach it "
                         "expected; this coordinator listens on %s",
                         c->name, endpoint);
    return ERR_OK;
}

enum err provider_check(const struct provider_config *config, const struct provider_site *site,
                        struct err_text *et)
{
    if (config->name == NULL || !is_word(text_of(config->name), "-_", PROVIDER_NAME_BYTES))
        return error_set(et, ERR_RECIPE,
                         "name: at most %d letters, digits, - and _ expected, found \"%s\"",
                         PROVIDER_NAME_BYTES, config->name == NULL ? "" : config->name);
    TRY(check_values(config, et));
    TRY(check_words(config, et));
    TRY(check_kind(config, et));
    return site != NULL ? check_site(config, site, et) : ERR_OK;
}

static enum err answer(provider_request_f make, const struct provider_request *request)
{
    *request->out = (struct provider_commands){0};
    if (make == NULL)
        return ERR_OK;
    enum err err = make(request);
    if (err != ERR_OK)
        *request->out = (struct provider_commands){0};
    return err;
}

enum err provider_start(const struct provider_config *config, const struct provider_site *site,
                        const struct provider_start *start, struct arena *arena,
                        struct provider_commands *out)
{
    struct provider_request request = {
        .config = config, .site = site, .start = start, .arena = arena, .out = out};
    return answer(kinds[config->kind]->start, &request);
}

enum err provider_status(const struct provider_config *config, const struct provider_site *site,
                         struct arena *arena, struct provider_commands *out)
{
    struct provider_request request = {.config = config, .site = site, .arena = arena, .out = out};
    return answer(kinds[config->kind]->status, &request);
}

enum err provider_cancel(const struct provider_config *config, const struct provider_site *site,
                         const char *const *ids, size_t ids_count, uint32_t total,
                         struct arena *arena, struct provider_commands *out)
{
    struct provider_request request = {.config = config,
                                       .site = site,
                                       .ids = ids,
                                       .ids_count = ids_count,
                                       .total = total,
                                       .arena = arena,
                                       .out = out};
    *out = (struct provider_commands){0};
    for (size_t i = 0; i < ids_count; i++)
        if (!provider_id_is_valid(text_of(ids[i])))
            return ERR_INTERNAL;
    return answer(kinds[config->kind]->cancel, &request);
}

static size_t parse(provider_read_f parser, struct text output, provider_seen_f seen, void *context)
{
    return parser == NULL ? 0 : parser(output, seen, context);
}

size_t provider_parse_start(enum provider_kind kind, struct text output, provider_seen_f seen,
                            void *context)
{
    return parse(kinds[kind]->read_start, output, seen, context);
}

size_t provider_parse_status(enum provider_kind kind, struct text output, provider_seen_f seen,
                             void *context)
{
    return parse(kinds[kind]->read_status, output, seen, context);
}

const char *provider_command_text(const struct provider_command *command, struct arena *arena)
{
    struct bytes out;
    bytes_init(&out, 1 << 20);
    for (size_t i = 0; i < command->argc; i++) {
        if (i > 0)
            bytes_append(&out, " ", 1);
        provider_kind_quote(&out, command->argv[i]);
    }
    if (command->input.size > 0) {
        bytes_append_text(&out, TEXT(" <<'END'\n"));
        bytes_append_text(&out, command->input);
        bytes_append_text(&out, TEXT("END\n"));
    }
    return provider_kind_text(arena, &out);
}
