/* server_provider.c - see server_provider.h. */
#include "coordinator/loop/server_provider.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/check.h"
#include "common/ds/container.h"
#include "common/ds/list.h"
#include "common/mem/bytes.h"
#include "common/mem/mem.h"
#include "coordinator/loop/server.h"
#include "coordinator/loop/server_child.h"
#include "coordinator/loop/server_command.h"

enum {
    COMMANDS_BYTES = 4 << 20,
    ROWS_BYTES_MAX = 4 << 20,
    OUTPUT_BYTES_MAX = 8 << 20,
    DESCRIPTORS_MAX = 1024, /* those of the start are below */
    HOST_REST_S = 120,      /* a host where a worker failed is not the next choice for so long */
    LOGS_S = 10,            /* from one look at workers' logs to the next */
};

/* What is said of one request, or unasked of a child that ended. */
struct answer {
    struct list_node node;
    enum scale_event_kind kind;
    char provider[LIMIT_NAME_BYTES + 1];
    enum err err;
    bool is_partial;
    char detail[LIMIT_NAME_BYTES];
    struct bytes rows; /* owned: struct provider_allocation */
};

/* One provider: its request at hand and its children. */
struct place {
    struct list_node node;
    char name[LIMIT_NAME_BYTES + 1];
    enum provider_kind kind;
    struct server_provider *all; /* borrowed */
    bool is_busy;
    struct arena arena; /* of the request at hand */
    struct provider_commands commands;
    size_t at;                      /* command that runs */
    struct server_command *command; /* or NULL */
    struct bytes output;            /* owned: of the request's commands, one after the other */
    struct answer *answer;          /* owned: of the request */
};

struct server_provider {
    struct server_provider_options options;
    struct list places;
    struct list answers;
    struct server_child_set *children; /* owned */
    struct answer *current;            /* owned: given out last */
    struct bytes views;                /* owned: its rows as struct scale_allocation */
    uint64_t serial;
    uint64_t logs_ns; /* when logs are looked at next */
    bool is_stopping;
};

static void discard(struct answer **answer)
{
    if (*answer == NULL)
        return;
    bytes_fini(&(*answer)->rows);
    mem_free(*answer);
    *answer = NULL;
}

static struct answer *make_answer(const char *provider, enum scale_event_kind kind)
{
    struct answer *answer = mem_alloc(1, sizeof *answer);
    if (answer == NULL)
        return NULL;
    answer->kind = kind;
    (void)snprintf(answer->provider, sizeof answer->provider, "%s", provider);
    bytes_init(&answer->rows, ROWS_BYTES_MAX);
    return answer;
}

static void add_row(void *context, const struct provider_allocation *allocation)
{
    struct answer *answer = context;
    bytes_append(&answer->rows, allocation, sizeof *allocation);
}

static void push(struct server_provider *all, struct answer **answer)
{
    if ((*answer)->err == ERR_OK)
        (*answer)->err = bytes_status(&(*answer)->rows);
    list_append(&all->answers, &(*answer)->node);
    *answer = NULL;
}

static void say(struct answer *answer, enum err err, struct text detail)
{
    answer->err = err;
    (void)snprintf(answer->detail, sizeof answer->detail, "%.*s", TEXT_ARGS(detail));
}

/* A child is no more. */
static void on_child_end(void *context, const struct server_child *child, bool has_failed,
                         const char *detail)
{
    struct server_provider *all = context;
    struct answer *answer = make_answer(child->provider, SCALE_STATUS);
    bool is_here = child->host[0] == '\0'; /* an ssh that ends says nothing about its worker */
    struct provider_allocation row = {.state = has_failed ? PROVIDER_FAILED : PROVIDER_ENDED};
    if (has_failed && is_here)
        all->options.crash(all->options.context, child->provider, child->allocation);
    if (answer == NULL)
        return; /* its place counts as leaving until the next start of this process */
    answer->is_partial = true;
    (void)snprintf(row.id, sizeof row.id, "%s", child->allocation);
    (void)snprintf(row.detail, sizeof row.detail, "%s", detail);
    add_row(answer, &row);
    push(all, &answer);
    all->options.news(all->options.context);
}

/* Some libraries leave descriptors open to the programs that are started from here on. */
static void keep_descriptors(void)
{
    for (int fd = STDERR_FILENO + 1; fd < DESCRIPTORS_MAX; fd++) {
        int flags = fcntl(fd, F_GETFD);
        if (flags >= 0)
            (void)fcntl(fd, F_SETFD, flags | FD_CLOEXEC);
    }
}

enum err server_provider_create(const struct server_provider_options *options,
                                struct server_provider **out)
{
    struct server_provider *all = mem_alloc(1, sizeof *all);
    if (all == NULL)
        return ERR_OUT_OF_MEMORY;
    enum err err;
    keep_descriptors();
    all->options = *options;
    list_init(&all->places);
    list_init(&all->answers);
    bytes_init(&all->views, ROWS_BYTES_MAX);
    TRY_OUT(server_child_create(options->loop, options->data_folder, on_child_end, all,
                                &all->children));
    *out = all;
    return ERR_OK;
out:
    mem_free(all);
    return err;
}

void server_provider_destroy(struct server_provider **providers)
{
    struct server_provider *all = *providers;
    if (all == NULL)
        return;
    for (struct list_node *n; (n = list_first(&all->answers)) != NULL;) {
        struct answer *answer = CONTAINER_OF(n, struct answer, node);
        list_remove(n);
        discard(&answer);
    }
    for (struct list_node *n; (n = list_first(&all->places)) != NULL;) {
        struct place *place = CONTAINER_OF(n, struct place, node);
        list_remove(n);
        server_command_destroy(&place->command);
        discard(&place->answer);
        arena_fini(&place->arena);
        bytes_fini(&place->output);
        mem_free(place);
    }
    server_child_destroy(&all->children);
    discard(&all->current);
    bytes_fini(&all->views);
    mem_free(all);
    *providers = NULL;
}

void server_provider_stop(struct server_provider *providers)
{
    providers->is_stopping = true;
}

static struct place *place_of(struct server_provider *all, const struct provider_config *config)
{
    for (struct list_node *n = list_first(&all->places); n != NULL;
         n = list_next(&all->places, n)) {
        struct place *place = CONTAINER_OF(n, struct place, node);
        if (strcmp(place->name, config->name) == 0)
            return place;
    }
    struct place *place = mem_alloc(1, sizeof *place);
    if (place == NULL)
        return NULL;
    (void)snprintf(place->name, sizeof place->name, "%s", config->name);
    place->all = all;
    arena_init(&place->arena, COMMANDS_BYTES);
    bytes_init(&place->output, OUTPUT_BYTES_MAX);
    list_append(&all->places, &place->node);
    return place;
}

/* Words among rows are somebody's notes; words alone are no answer. */
static void refuse_words(struct answer *answer, struct text output, size_t strange)
{
    char line[LIMIT_NAME_BYTES / 2];
    if (strange == 0 || answer->rows.size > 0 || answer->err != ERR_OK)
        return;
    server_command_last_line(output, line, sizeof line);
    (void)snprintf(answer->detail, sizeof answer->detail, "its answer is not understood: %s", line);
    answer->err = ERR_PROTOCOL;
    server_log("%s: %s", answer->provider, answer->detail);
}

/* The request is over. */
static void finish(struct place *place)
{
    struct text output = {(const char *)place->output.data, place->output.size};
    struct answer *answer = place->answer;
    size_t strange = 0;
    if (answer->err == ERR_OK)
        answer->err = bytes_status(&place->output);
    if (answer->kind == SCALE_STARTED) /* also those before one that failed */
        strange = provider_parse_start(place->kind, output, add_row, answer);
    else if (answer->kind == SCALE_STATUS && answer->err == ERR_OK)
        strange = provider_parse_status(place->kind, output, add_row, answer);
    if (answer->kind == SCALE_STARTED && answer->rows.size > 0)
        answer->err = ERR_OK;
    refuse_words(answer, output, strange);
    place->is_busy = false;
    push(place->all, &place->answer);
}

static void run_next(struct place *place);

static void on_done(void *context, const struct server_command_result *result)
{
    struct place *place = context;
    place->command = NULL;
    bytes_append(&place->output, result->output.data, result->output.size);
    bytes_append(&place->output, "\n", 1);
    if (result->err != ERR_OK) {
        server_log("%s: %s: %.*s", place->name, place->commands.rows[place->at].argv[0],
                   TEXT_ARGS(result->detail));
        say(place->answer, result->err, result->detail);
    }
    place->at = result->err == ERR_OK ? place->at + 1 : place->commands.count;
    run_next(place);
    if (!place->is_busy)
        place->all->options.news(place->all->options.context);
}

static void run_next(struct place *place)
{
    struct err_text et = {""};
    if (place->at == place->commands.count || place->all->is_stopping) {
        finish(place);
        return;
    }
    enum err err = server_command_start(place->all->options.loop, &place->commands.rows[place->at],
                                        on_done, place, &place->command, &et);
    if (err == ERR_OK)
        return;
    say(place->answer, err, text_of(et.text[0] != '\0' ? et.text : error_text(err)));
    server_log("%s: %s", place->name, place->answer->detail);
    finish(place);
}

static bool name_is_taken(const struct server_provider *all, const struct provider_config *config,
                          uint32_t slot, const struct demand_load *loads, size_t load_count)
{
    char name[LIMIT_NAME_BYTES + 1];
    (void)snprintf(name, sizeof name, "%s-%" PRIu32, config->name, slot);
    for (size_t i = 0; i < load_count; i++)
        if (text_is(loads[i].name, name) && loads[i].state != WORKER_LEFT &&
            loads[i].state != WORKER_LOST)
            return true;
    return server_child_has_name(all->children, name);
}

static enum err start_child(struct place *place, const struct provider_config *config,
                            const struct demand_load *loads, size_t load_count, struct err_text *et)
{
    struct server_provider *all = place->all;
    struct provider_start start = {.count = 1, .slot = 1};
    struct provider_commands commands;
    struct provider_allocation row = {.state = PROVIDER_RUNNING};
    uint64_t now_ns = server_now().ns, rest_ns = HOST_REST_S * NS_PER_S;
    while (name_is_taken(all, config, start.slot, loads, load_count))
        start.slot++;
    start.serial = arena_print(&place->arena, "%" PRIu32 ".%" PRIu64, all->options.incarnation,
                               all->serial + 1);
    if (start.serial == NULL)
        return ERR_OUT_OF_MEMORY;
    TRY(server_child_pick_host(all->children, config, now_ns > rest_ns ? now_ns - rest_ns : 0,
                               &start.host));
    TRY(provider_start(config, all->options.site, &start, &place->arena, &commands));
    const char *host = config->kind == PROVIDER_SSH ? config->hosts[start.host] : "";
    TRY(server_child_start(all->children, config->name, host, &commands.rows[0], et));
    all->serial++;
    (void)snprintf(row.id, sizeof row.id, "%s", start.serial);
    add_row(place->answer, &row);
    return ERR_OK;
}

static void start_children(struct place *place, const struct provider_config *config,
                           uint32_t count, const struct demand_load *loads, size_t load_count)
{
    struct err_text et = {""};
    for (uint32_t i = 0; i < count; i++) {
        enum err err = start_child(place, config, loads, load_count, &et);
        if (err == ERR_OK)
            continue;
        if (i == 0) /* else what was started is the answer; the rest is asked for again */
            say(place->answer, err, text_of(et.text[0] != '\0' ? et.text : error_text(err)));
        server_log("%s: %s", config->name, et.text[0] != '\0' ? et.text : error_text(err));
        return;
    }
}

/* Kinds whose processes are the allocations answer at once. */
static void run_children(struct place *place, const struct provider_config *config,
                         const struct scale_effect *effect, const struct demand_load *loads,
                         size_t load_count)
{
    struct server_child_set *children = place->all->children;
    if (effect->kind == SCALE_START)
        start_children(place, config, MIN(effect->count, (uint32_t)PROVIDER_START_MAX), loads,
                       load_count);
    else
        for (uint32_t i = 0; i < effect->count; i++)
            server_child_terminate(children, effect->ids[i]);
    place->is_busy = false;
    push(place->all, &place->answer);
}

static enum err make_commands(struct place *place, const struct provider_config *config,
                              const struct scale_effect *effect)
{
    const struct provider_site *site = place->all->options.site;
    struct arena *arena = &place->arena;
    if (effect->kind == SCALE_ASK)
        return provider_status(config, site, arena, &place->commands);
    if (effect->kind == SCALE_START) {
        uint32_t count = MIN(effect->count, (uint32_t)PROVIDER_START_MAX);
        const struct provider_start start = {.count = count,
                                             .total = effect->total - (effect->count - count)};
        return provider_start(config, site, &start, arena, &place->commands);
    }
    const char **ids = arena_alloc(arena, effect->count + 1, sizeof *ids);
    if (ids == NULL)
        return ERR_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < effect->count; i++) {
        ids[i] = arena_copy_text(arena, effect->ids[i]);
        if (ids[i] == NULL)
            return ERR_OUT_OF_MEMORY;
    }
    return provider_cancel(config, site, ids, effect->count, effect->total, arena,
                           &place->commands);
}

enum err server_provider_run(struct server_provider *providers,
                             const struct provider_config *config,
                             const struct scale_effect *effect, const struct demand_load *loads,
                             size_t load_count)
{
    static const enum scale_event_kind answers[] = {[SCALE_START] = SCALE_STARTED,
                                                    [SCALE_ASK] = SCALE_STATUS,
                                                    [SCALE_CANCEL] = SCALE_CANCELLED};
    struct place *place = place_of(providers, config);
    if (place == NULL)
        return ERR_OUT_OF_MEMORY;
    ASSERT(!place->is_busy && effect->kind < COUNT_OF(answers));
    place->answer = make_answer(config->name, answers[effect->kind]);
    if (place->answer == NULL)
        return ERR_OUT_OF_MEMORY;
    place->is_busy = true;
    place->kind = config->kind;
    place->at = 0;
    place->commands = (struct provider_commands){0};
    arena_reset(&place->arena);
    bytes_clear(&place->output);
    if (provider_keeps_children(config->kind)) {
        run_children(place, config, effect, loads, load_count);
        return ERR_OK;
    }
    enum err err = make_commands(place, config, effect);
    if (err != ERR_OK)
        say(place->answer, err, text_of(error_text(err)));
    run_next(place);
    return ERR_OK;
}

static struct scale_allocation view_of(const struct provider_allocation *row)
{
    static const enum scale_state states[] = {[PROVIDER_WAITING] = SCALE_WAITING,
                                              [PROVIDER_RUNNING] = SCALE_RUNNING,
                                              [PROVIDER_LEAVING] = SCALE_LEAVING,
                                              [PROVIDER_ENDED] = SCALE_ENDED,
                                              [PROVIDER_FAILED] = SCALE_ENDED};
    return (struct scale_allocation){.id = text_of(row->id),
                                     .state = states[row->state],
                                     .has_failed = row->state == PROVIDER_FAILED,
                                     .detail = text_of(row->detail)};
}

bool server_provider_next(struct server_provider *providers, struct scale_event *event)
{
    struct list_node *n = list_first(&providers->answers);
    discard(&providers->current);
    if (n == NULL)
        return false;
    struct answer *answer = CONTAINER_OF(n, struct answer, node);
    list_remove(n);
    providers->current = answer;
    const struct provider_allocation *rows =
        (const struct provider_allocation *)(const void *)answer->rows.data;
    size_t count = answer->rows.size / sizeof *rows;
    bytes_clear(&providers->views);
    for (size_t i = 0; i < count; i++) {
        struct scale_allocation view = view_of(&rows[i]);
        bytes_append(&providers->views, &view, sizeof view);
    }
    if (answer->err == ERR_OK)
        answer->err = bytes_status(&providers->views);
    *event = (struct scale_event){.kind = answer->kind, .provider = text_of(answer->provider)};
    event->answer.error = answer->err;
    event->answer.detail = text_of(answer->detail);
    event->answer.rows = (const struct scale_allocation *)(const void *)providers->views.data;
    event->answer.count = answer->err == ERR_OK ? count : 0;
    event->answer.is_partial = answer->is_partial;
    return true;
}

void server_provider_watch(struct server_provider *providers)
{
    uint64_t now_ns = server_now().ns;
    if (now_ns < providers->logs_ns)
        return;
    providers->logs_ns = now_ns + LOGS_S * NS_PER_S;
    server_child_bound_logs(providers->children);
}

bool server_provider_is_busy(const struct server_provider *providers)
{
    for (struct list_node *n = list_first(&providers->places); n != NULL;
         n = list_next(&providers->places, n))
        if (CONTAINER_OF(n, struct place, node)->is_busy)
            return true;
    return false;
}
