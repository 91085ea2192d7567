/* provider_kind.c - what the kinds share: building commands, quoting, splitting. */
#include "coordinator/provider/provider_kind.h"

#include <inttypes.h>
#include <string.h>

#include "common/base/check.h"

enum {
    MS_PER_S = 1000,
    BROKEN = PROVIDER_ARGUMENTS_MAX + 1,
    COMMANDS_MAX = 80,
    LINE_BYTES_MAX = 512
};

struct provider_command *provider_kind_command(const struct provider_request *request,
                                               uint32_t timeout_ms)
{
    struct provider_commands *out = request->out;
    if (out->count == COMMANDS_MAX)
        return NULL;
    if (out->rows == NULL)
        out->rows = arena_alloc(request->arena, COMMANDS_MAX, sizeof *out->rows);
    if (out->rows == NULL)
        return NULL;
    struct provider_command *command = &out->rows[out->count];
    *command = (struct provider_command){.timeout_ms = timeout_ms, .input = TEXT("")};
    command->argv = arena_alloc(request->arena, PROVIDER_ARGUMENTS_MAX + 1, sizeof *command->argv);
    if (command->argv == NULL)
        return NULL;
    out->count++;
    return command;
}

void provider_kind_add(struct provider_command *command, const char *argument)
{
    if (command->argc > PROVIDER_ARGUMENTS_MAX)
        return;
    if (command->argc == PROVIDER_ARGUMENTS_MAX || argument == NULL) {
        command->argc = argument == NULL ? BROKEN + 1 : BROKEN;
        return;
    }
    command->argv[command->argc++] = argument;
}

void provider_kind_add_pair(struct provider_command *command, const char *key, const char *value)
{
    if (value == NULL || value[0] == '\0')
        return;
    provider_kind_add(command, key);
    provider_kind_add(command, value);
}

enum err provider_kind_finish(struct provider_command *command)
{
    if (command->argc > BROKEN)
        return ERR_OUT_OF_MEMORY;
    return command->argc == BROKEN ? ERR_LIMIT : ERR_OK;
}

void provider_kind_add_number(const struct provider_request *request,
                              struct provider_command *command, const char *key, uint64_t value)
{
    if (value > 0)
        provider_kind_add_pair(command, key, arena_print(request->arena, "%" PRIu64, value));
}

static const char *or_else(const char *given, const char *preset)
{
    return given != NULL ? given : preset;
}

/* A program without a folder is this coordinator's neighbour where the worker runs here. */
static const char *program_of(const struct provider_request *request)
{
    const struct provider_config *c = request->config;
    if (c->program == NULL)
        return NULL;
    return c->kind == PROVIDER_LOCAL && strchr(c->program, '/') == NULL &&
                   request->site->program != NULL
               ? request->site->program
               : c->program;
}

void provider_kind_add_worker(const struct provider_request *request,
                              struct provider_command *command, const char *name)
{
    const struct provider_config *c = request->config;
    const struct provider_site *site = request->site;
    provider_kind_add(command, program_of(request));
    provider_kind_add_pair(command, "--coordinator", or_else(c->coordinator, site->coordinator));
    provider_kind_add_pair(command, "--secret", or_else(c->secret, site->secret));
    provider_kind_add_pair(command, "--server-key", or_else(c->server_key, site->server_key));
    provider_kind_add_pair(command, "--provider", c->name);
    provider_kind_add_number(request, command, "--threads", c->threads);
    provider_kind_add_number(request, command, "--memory", c->memory);
    if (name == NULL)
        return;
    provider_kind_add_pair(command, "--allocation", request->start->serial);
    provider_kind_add_pair(command, "--name", name);
    provider_kind_add_number(request, command, "--time-limit", c->time_limit / MS_PER_S);
    if (c->cache != NULL)
        provider_kind_add_pair(command, "--cache",
                               arena_print(request->arena, "%s/%s", c->cache, name));
}

/* Quotes end, an escaped quote stands alone, quotes begin again. */
void provider_kind_quote(struct bytes *out, const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "_-./:=,@%+";
    if (word[0] != '\0' && word[strspn(word, plain)] == '\0') {
        bytes_append_text(out, text_of(word));
        return;
    }
    bytes_append(out, "'", 1);
    for (const char *at = word; *at != '\0'; at++) {
        if (*at == '\'')
            bytes_append_text(out, TEXT("'\\''"));
        else
            bytes_append(out, at, 1);
    }
    bytes_append(out, "'", 1);
}

const char *provider_kind_text(struct arena *arena, struct bytes *out)
{
    const char *copy = NULL;
    if (bytes_status(out) == ERR_OK)
        copy = arena_copy_text(arena, (struct text){(const char *)out->data, out->size});
    bytes_fini(out);
    return copy;
}

bool provider_kind_line(struct text output, size_t *at, struct text *line)
{
    while (*at < output.size) {
        const char *from = output.data + *at;
        const char *end = memchr(from, '\n', output.size - *at);
        size_t size = end != NULL ? (size_t)(end - from) : output.size - *at;
        *at += size + 1;
        size = MIN(size, (size_t)LINE_BYTES_MAX);
        while (size > 0 &&
               (from[size - 1] == ' ' || from[size - 1] == '\r' || from[size - 1] == '\t'))
            size--;
        *line = (struct text){from, size};
        if (size > 0)
            return true;
    }
    return false;
}

size_t provider_kind_each(struct text output, provider_kind_line_f parser, provider_seen_f seen,
                          void *context)
{
    size_t strange = 0, at = 0;
    for (struct text line; provider_kind_line(output, &at, &line);) {
        struct provider_allocation allocation;
        if (parser(line, &allocation))
            seen(context, &allocation);
        else
            strange++;
    }
    return strange;
}

size_t provider_kind_split(struct text line, char separator, struct text *fields, size_t max)
{
    size_t count = 0, from = 0;
    ASSERT(max > 0);
    for (size_t i = 0; i < line.size && count + 1 < max; i++) {
        if (line.data[i] != separator)
            continue;
        fields[count++] = (struct text){line.data + from, i - from};
        from = i + 1;
    }
    fields[count++] = (struct text){line.data + from, line.size - from};
    return count;
}

bool provider_kind_say(struct provider_allocation *allocation, struct text id,
                       enum provider_allocation_state state, struct text detail)
{
    if (!provider_id_is_valid(id))
        return false;
    *allocation = (struct provider_allocation){.state = state};
    memcpy(allocation->id, id.data, id.size);
    size_t size = MIN(detail.size, sizeof allocation->detail - 1);
    for (size_t i = 0; i < size; i++) /* whatever an engine says is shown on a terminal */
        allocation->detail[i] =
            detail.data[i] >= ' ' && detail.data[i] < 127 ? detail.data[i] : '?';
    return true;
}
