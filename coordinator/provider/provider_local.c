/* provider_local.c - processes on this machine. The process is the allocation. */
#include <inttypes.h>

#include "coordinator/provider/provider_kind.h"

static enum err start(const struct provider_request *request)
{
    const struct provider_start *s = request->start;
    struct provider_command *command = provider_kind_command(request, 0);
    if (command == NULL)
        return ERR_OUT_OF_MEMORY;
    command->is_worker = true;
    command->allocation = s->serial;
    command->worker = arena_print(request->arena, "%s-%" PRIu32, request->config->name, s->slot);
    if (command->worker == NULL)
        return ERR_OUT_OF_MEMORY;
    provider_kind_add_worker(request, command, command->worker);
    return provider_kind_finish(command);
}

const struct provider_kind_row provider_kind_local = {.keeps_children = true, .start = start};
