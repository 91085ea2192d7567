/* provider_kubernetes.c - replicas of a Deployment, through kubectl.
 *
 * A Deployment chooses by itself which pod goes when it shrinks, and restarts a container that has
 * ended. So a worker is let go by making its pod the cheapest to delete and then asking for one
 * replica less: the pod gets SIGTERM, which a worker answers by finishing its task and leaving,
 * within the grace period of the pod.
 */
#include "common/base/check.h"
#include "coordinator/provider/provider_kind.h"
#include <inttypes.h>

enum { ASK_MS = 30000 };

static struct provider_command *kubectl(const struct provider_request *request)
{
    const struct provider_config *c = request->config;
    struct provider_command *command = provider_kind_command(request, ASK_MS);
    if (command == NULL)
        return NULL;
    provider_kind_add(command, "kubectl");
    for (size_t i = 0; i < c->arguments_count; i++)
        provider_kind_add(command, c->arguments[i]);
    provider_kind_add_pair(command, "--context", c->context);
    provider_kind_add_pair(command, "--namespace", c->namespace);
    return command;
}

static enum err scale(const struct provider_request *request, uint32_t replicas)
{
    struct provider_command *command = kubectl(request);
    if (command == NULL)
        return ERR_OUT_OF_MEMORY;
    provider_kind_add(command, "scale");
    provider_kind_add(command,
                      arena_print(request->arena, "deployment/%s", request->config->deployment));
    provider_kind_add(command, arena_print(request->arena, "--replicas=%" PRIu32, replicas));
    return provider_kind_finish(command);
}

/* A line a pod: name, phase, when it was told to go, why its container waits. */
static enum err status(const struct provider_request *request)
{
    struct provider_command *command = kubectl(request);
    if (command == NULL)
        return ERR_OUT_OF_MEMORY;
    provider_kind_add(command, "get");
    provider_kind_add(command, "pods");
    provider_kind_add(command, arena_print(request->arena, "--selector=qfleet/provider=%s",
                                           request->config->name));
    provider_kind_add(command,
                      "--output=jsonpath={range .items[*]}{.metadata.name}|{.status.phase}|"
                      "{.metadata.deletionTimestamp}|"
                      "{.status.containerStatuses[0].state.waiting.reason}{\"\\n\"}{end}");
    return provider_kind_finish(command);
}

/* Asking for so many replicas twice is asking once; what pods there are by then is listed. */
static enum err start(const struct provider_request *request)
{
    TRY(scale(request, request->start->total));
    return status(request);
}

static enum err annotate(const struct provider_request *request, size_t from, size_t to)
{
    struct provider_command *command = kubectl(request);
    if (command == NULL)
        return ERR_OUT_OF_MEMORY;
    provider_kind_add(command, "annotate");
    provider_kind_add(command, "pod");
    for (size_t i = from; i < to; i++)
        provider_kind_add(command, request->ids[i]);
    provider_kind_add(command, "controller.kubernetes.io/pod-deletion-cost=-1000");
    provider_kind_add(command, "--overwrite");
    return provider_kind_finish(command);
}

static enum err cancel(const struct provider_request *request)
{
    for (size_t i = 0; i < request->ids_count; i += PROVIDER_KIND_IDS)
        TRY(annotate(request, i, MIN(request->ids_count, i + PROVIDER_KIND_IDS)));
    return scale(request, request->total);
}

/* "worker-5d9-x2x|Running||" */
static bool status_line(struct text line, struct provider_allocation *allocation)
{
    struct text fields[4];
    if (provider_kind_split(line, '|', fields, 4) != 4)
        return false;
    struct text phase = fields[1];
    enum provider_allocation_state state;
    if (text_is(phase, "Succeeded"))
        state = PROVIDER_ENDED;
    else if (text_is(phase, "Failed"))
        state = PROVIDER_FAILED;
    else if (fields[2].size > 0)
        state = PROVIDER_LEAVING;
    else if (text_is(phase, "Running") && fields[3].size == 0)
        state = PROVIDER_RUNNING;
    else if (text_is(phase, "Pending") || text_is(phase, "Running") || text_is(phase, "Unknown"))
        state = PROVIDER_WAITING;
    else
        return false;
    return provider_kind_say(allocation, fields[0], state, fields[3].size > 0 ? fields[3] : phase);
}

/* What kubectl scale says before them ("deployment.apps/w scaled") is for people; there may be no
 * pods yet. */
static size_t read_start(struct text output, provider_seen_f seen, void *context)
{
    (void)provider_kind_each(output, status_line, seen, context);
    return 0;
}

static size_t read_status(struct text output, provider_seen_f seen, void *context)
{
    return provider_kind_each(output, status_line, seen, context);
}

const struct provider_kind_row provider_kind_kubernetes = {
    .start = start,
    .status = status,
    .cancel = cancel,
    .read_start = read_start,
    .read_status = read_status,
};
