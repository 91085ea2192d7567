/* provider_ssh.c - processes on hosts of a list, each held by one ssh of this machine.
 *
 * The ssh stays: its end is the worker's end, so a host that goes, a program that is missing and a
 * worker that crashed are seen at once and with their message, without asking the host again. The
 * worker does not depend on it: it has no terminal, reads nothing, and goes on when the ssh or the
 * coordinator is gone, until its own time without a coordinator is over.
 */
#include <inttypes.h>

#include "coordinator/provider/provider_kind.h"

enum { LINE_BYTES_MAX = 1 << 16 };

/* The far side's login shell reads the words again. */
static const char *far_line(const struct provider_request *request,
                            const struct provider_command *worker)
{
    struct bytes line;
    bytes_init(&line, LINE_BYTES_MAX);
    bytes_append_text(&line, TEXT("exec"));
    for (size_t i = 0; i < worker->argc; i++) {
        bytes_append(&line, " ", 1);
        provider_kind_quote(&line, worker->argv[i]);
    }
    return provider_kind_text(request->arena, &line);
}

static enum err make_far_line(const struct provider_request *request, const char *name,
                              const char **out)
{
    struct provider_commands none = {0};
    struct provider_request inner = *request;
    inner.out = &none;
    struct provider_command *worker = provider_kind_command(&inner, 0);
    if (worker == NULL)
        return ERR_OUT_OF_MEMORY;
    provider_kind_add_worker(request, worker, name);
    TRY(provider_kind_finish(worker));
    *out = far_line(request, worker);
    return *out == NULL ? ERR_OUT_OF_MEMORY : ERR_OK;
}

static enum err start(const struct provider_request *request)
{
    const struct provider_config *c = request->config;
    const struct provider_start *s = request->start;
    const char *line;
    struct provider_command *command = provider_kind_command(request, 0);
    if (command == NULL || c->hosts_count == 0)
        return command == NULL ? ERR_OUT_OF_MEMORY : ERR_STATE;
    command->is_worker = true;
    command->allocation = s->serial;
    command->worker = arena_print(request->arena, "%s-%" PRIu32, c->name, s->slot);
    if (command->worker == NULL)
        return ERR_OUT_OF_MEMORY;
    TRY(make_far_line(request, command->worker, &line));
    provider_kind_add(command, "ssh");
    provider_kind_add_pair(command, "-o", "BatchMode=yes");
    provider_kind_add_pair(command, "-o", "ConnectTimeout=15");
    provider_kind_add_pair(command, "-o", "ServerAliveInterval=15");
    for (size_t i = 0; i < c->arguments_count; i++)
        provider_kind_add(command, c->arguments[i]);
    provider_kind_add(command, "--");
    provider_kind_add(command, c->hosts[s->host % c->hosts_count]);
    provider_kind_add(command, line);
    return provider_kind_finish(command);
}

uint32_t provider_pick_host(const struct provider_host *hosts, size_t count, uint64_t since_ns)
{
    size_t best = 0;
    for (size_t i = 1; i < count; i++) {
        bool is_bad = hosts[i].failed_ns > since_ns, best_is_bad = hosts[best].failed_ns > since_ns;
        if (is_bad != best_is_bad ? best_is_bad
            : is_bad              ? hosts[i].failed_ns < hosts[best].failed_ns
                                  : hosts[i].workers < hosts[best].workers)
            best = i;
    }
    return (uint32_t)best;
}

const struct provider_kind_row provider_kind_ssh = {.keeps_children = true, .start = start};
