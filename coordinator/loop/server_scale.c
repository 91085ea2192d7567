/* server_scale.c - see server_scale.h.
 *
 * All that decides is done at the end of a turn, when what it rests on is committed; in between
 * there are only marks. One event of scale at a time: its effects are carried out, what they are
 * answered with waits in the runner until the step is over. Workers are drained last of all: that
 * steps sched, and what it lent for this step is then gone.
 */
#include "coordinator/loop/server_scale.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/source/file.h"
#include "common/mem/mem.h"
#include "common/recipe/providers.h"
#include "coordinator/loop/server_command.h"
#include "coordinator/loop/server_provider.h"
#include "coordinator/loop/server_turn.h"
#include "coordinator/provider/provider.h"
#include "coordinator/scale/scale.h"
#include "coordinator/sched/demand.h"
#include "coordinator/sched/target.h"

enum { FLEET_LETTERS = 8, HOST_NAME_BYTES = 256 };

struct server_scale {
    struct server *server;   /* borrowed */
    struct scale *scale;     /* owned */
    struct providers in_use; /* owned */
    struct server_provider *runner;
    struct provider_site site;
    char program[SERVER_PATH_BYTES];
    char fleet[FLEET_LETTERS + 1];
    struct demand demands[DEMAND_ROWS_MAX];
    struct demand_load *loads; /* owned: LIMIT_WORKERS */
    bool is_due;               /* workers, demand or time may have changed */
    bool wants_reload;
    bool is_targeted[LIMIT_PROVIDERS]; /* rows in use whose target this turn commits */
};

/* What sched says now; valid until sched's next step. */
static void look(struct server_scale *s, struct scale_event *event)
{
    const struct server *server = s->server;
    event->now = server_now();
    event->demands = s->demands;
    event->demand_count = demand_rows(server->sched, s->demands, COUNT_OF(s->demands));
    event->loads = s->loads;
    event->load_count = demand_loads(server->sched, event->now, s->loads, LIMIT_WORKERS);
    event->is_disk_low = server->is_disk_low;
}

static void let_go(struct server_scale *s, const struct scale_effect *effect)
{
    struct sched_event event = {.kind = SCHED_LET_GO};
    event.let_go.worker = effect->worker;
    event.let_go.reason = effect->reason;
    server_turn_step(s->server, &event);
}

static void carry_out(struct server_scale *s, const struct scale_event *event,
                      const struct scale_effects *effects)
{
    for (size_t i = 0; i < effects->count; i++) {
        const struct scale_effect *effect = &effects->rows[i];
        const struct provider_config *config = providers_find(&s->in_use, effect->provider);
        if (effect->kind == SCALE_DRAIN || config == NULL)
            continue;
        enum err err =
            server_provider_run(s->runner, config, effect, event->loads, event->load_count);
        if (err != ERR_OK)
            server_fail(s->server, err, "a provider cannot be asked");
    }
    for (size_t i = 0; i < effects->count; i++)
        if (effects->rows[i].kind == SCALE_DRAIN)
            let_go(s, &effects->rows[i]);
}

static enum err step(struct server_scale *s, struct scale_event *event)
{
    struct scale_effects effects;
    look(s, event);
    enum err err = scale_step(s->scale, event, &effects);
    if (err != ERR_OK) {
        server_log("scale: %s", error_text(err));
        return err;
    }
    carry_out(s, event, &effects);
    return ERR_OK;
}

/* Decides nothing yet. */
static void take_target(struct server_scale *s, const struct provider_config *config)
{
    const struct rec_scale_target *target = target_of(s->server->sched, text_of(config->name));
    struct scale_event event = {.kind = SCALE_TARGETED, .provider = text_of(config->name)};
    event.target = target;
    if (target != NULL)
        (void)step(s, &event);
}

static enum err read_file(const struct server_scale *s, struct providers *out, struct err_text *et)
{
    const char *path = s->server->options->providers_path;
    uint64_t processors = uv_available_parallelism();
    struct bytes text;
    if (path == NULL)
        return providers_preset(processors, out);
    bytes_init(&text, LIMIT_RECIPE_BYTES);
    enum err err = file_read(path, LIMIT_RECIPE_BYTES, &text, et);
    if (err == ERR_OK)
        err = providers_read(bytes_span(&text), path, processors, out, et);
    bytes_fini(&text);
    TRY(err);
    for (size_t i = 0; i < out->count && err == ERR_OK; i++)
        err = provider_check(&out->rows[i], &s->site, et);
    if (err == ERR_OK)
        return ERR_OK;
    providers_fini(out);
    return error_prefix(et, err, "%s", path);
}

/* From the file into use. What was in use goes when scale has let go of it. */
static enum err configure(struct server_scale *s, bool is_restart, struct err_text *et)
{
    struct providers old = s->in_use, fresh;
    struct scale_event event = {.kind = SCALE_CONFIGURED};
    TRY(read_file(s, &fresh, et));
    s->in_use = fresh;
    event.configured.providers = &s->in_use;
    event.configured.is_restart = is_restart;
    enum err err = step(s, &event);
    providers_fini(err == ERR_OK ? &old : &s->in_use);
    if (err != ERR_OK) {
        s->in_use = old;
        return err;
    }
    memset(s->is_targeted, 0, sizeof s->is_targeted);
    for (size_t i = 0; i < s->in_use.count; i++)
        take_target(s, &s->in_use.rows[i]);
    return ERR_OK;
}

/* When nothing is out: what is comes to its end first, and nothing new begins before. */
static void reload(struct server_scale *s)
{
    struct err_text et = {""};
    if (server_provider_is_busy(s->runner))
        return;
    s->wants_reload = false;
    enum err err = configure(s, false, &et);
    if (err != ERR_OK)
        server_log("the providers stay as they were: %s",
                   et.text[0] != '\0' ? et.text : error_text(err));
    else
        server_log("%zu providers", s->in_use.count);
}

static void on_news(void *context)
{
    struct server_scale *s = context;
    s->is_due = true;
}

/* Its leases go to others when its last words are read, not when its silence is noticed. */
static void on_crash(void *context, const char *provider, const char *allocation)
{
    struct server_scale *s = context;
    struct sched_event event = {.kind = SCHED_CRASHED};
    size_t count = demand_loads(s->server->sched, server_now(), s->loads, LIMIT_WORKERS);
    for (size_t i = 0; i < count; i++)
        if (text_is(s->loads[i].provider, provider) &&
            text_is(s->loads[i].allocation, allocation) && s->loads[i].state != WORKER_LOST &&
            s->loads[i].state != WORKER_LEFT)
            event.worker = s->loads[i].worker;
    if (event.worker != 0)
        server_turn_step(s->server, &event);
}

/* The worker's program lies beside this one; the fleet's word is that of its data folder. */
static enum err settle_site(struct server_scale *s, struct err_text *et)
{
    const struct server *server = s->server;
    char path[SERVER_PATH_BYTES], host[HOST_NAME_BYTES], hex[DIGEST_HEX_BYTES];
    size_t size = sizeof path, host_size = sizeof host;
    if (uv_exepath(path, &size) != 0)
        return error_set(et, ERR_IO, "the folder of this program cannot be found");
    char *slash = strrchr(path, '/');
    if (slash != NULL)
        *slash = '\0';
    int count = snprintf(s->program, sizeof s->program, "%s/qfleet-worker", path);
    if (count < 0 || (size_t)count >= sizeof s->program)
        return error_set(et, ERR_LIMIT, "%s: the path is too long", path);
    if (uv_os_gethostname(host, &host_size) != 0)
        host[0] = '\0';
    count = snprintf(path, sizeof path, "%s:%.*s", host, SERVER_PATH_BYTES - HOST_NAME_BYTES - 2,
                     server->data_folder);
    digest_hex(digest_of((struct span){(const uint8_t *)path, (size_t)count}), hex);
    memcpy(s->fleet, hex, FLEET_LETTERS);
    s->site = (struct provider_site){.program = s->program,
                                     .coordinator = transport_endpoint(server->control),
                                     .fleet = s->fleet};
    return ERR_OK;
}

enum err server_scale_open(struct server *server, struct err_text *et)
{
    struct server_scale *s = mem_alloc(1, sizeof *s);
    if (s == NULL)
        return ERR_OUT_OF_MEMORY;
    s->server = server;
    server->scale = s;
    s->loads = mem_alloc(LIMIT_WORKERS, sizeof *s->loads);
    if (s->loads == NULL)
        return ERR_OUT_OF_MEMORY;
    TRY(settle_site(s, et));
    TRY(scale_create(&s->scale));
    const struct server_provider_options options = {.loop = &server->loop,
                                                    .data_folder = server->data_folder,
                                                    .incarnation = server->incarnation,
                                                    .site = &s->site,
                                                    .news = on_news,
                                                    .crash = on_crash,
                                                    .context = s};
    TRY(server_provider_create(&options, &s->runner));
    return configure(s, server->incarnation > 1, et);
}

void server_scale_stop(struct server *server)
{
    if (server->scale != NULL && server->scale->runner != NULL)
        server_provider_stop(server->scale->runner);
}

void server_scale_close(struct server *server)
{
    struct server_scale *s = server->scale;
    if (s == NULL)
        return;
    server_provider_destroy(&s->runner);
    scale_destroy(&s->scale);
    providers_fini(&s->in_use);
    mem_free(s->loads);
    mem_free(s);
    server->scale = NULL;
}

void server_scale_tick(struct server *server)
{
    server_provider_watch(server->scale->runner);
    server->scale->is_due = true;
}

bool server_scale_turn(struct server *server)
{
    struct server_scale *s = server->scale;
    struct scale_event event = {.kind = SCALE_TICK};
    if (s == NULL || server->is_stopping)
        return false;
    if (s->wants_reload)
        reload(s);
    if (s->wants_reload || !s->is_due)
        return false;
    s->is_due = false;
    for (size_t i = 0; i < s->in_use.count; i++)
        if (s->is_targeted[i])
            take_target(s, &s->in_use.rows[i]);
    memset(s->is_targeted, 0, sizeof s->is_targeted);
    (void)step(s, &event);
    while (server_provider_next(s->runner, &event))
        (void)step(s, &event);
    return true;
}

void server_scale_reload(struct server *server)
{
    if (server->options->providers_path == NULL)
        return;
    server->scale->wants_reload = true;
    reload(server->scale);
}

uint32_t server_scale_desired(const struct server *server)
{
    return scale_desired(server->scale->scale);
}

static struct text cut(struct text text, size_t size_max)
{
    return (struct text){text.data, MIN(text.size, size_max)};
}

/* What START would run, as a person would type it. */
static const char *start_text(const struct server_scale *s, const struct scale_effect *effect,
                              struct arena *arena)
{
    const struct provider_config *config = providers_find(&s->in_use, effect->provider);
    const struct provider_start start = {
        .count = 1, .total = effect->total, .serial = "N", .slot = 1};
    struct provider_commands commands;
    if (config == NULL || provider_start(config, &s->site, &start, arena, &commands) != ERR_OK ||
        commands.count == 0)
        return NULL;
    return provider_command_text(&commands.rows[0], arena);
}

static const char *cancel_text(const struct server_scale *s, const struct scale_effect *effect,
                               struct arena *arena)
{
    const struct provider_config *config = providers_find(&s->in_use, effect->provider);
    const char *id = arena_copy_text(arena, effect->count > 0 ? effect->ids[0] : TEXT(""));
    struct provider_commands commands;
    if (config == NULL || id == NULL ||
        provider_cancel(config, &s->site, &id, 1, effect->total, arena, &commands) != ERR_OK ||
        commands.count == 0)
        return NULL;
    return provider_command_text(&commands.rows[0], arena);
}

static struct scale_line line_of(const struct server_scale *s, const struct scale_effect *effect,
                                 size_t load_count, struct arena *arena)
{
    struct scale_line line = {.provider = effect->provider, .count = effect->count};
    const char *command = NULL;
    if (effect->kind == SCALE_START) {
        line.action = TEXT("start");
        command = start_text(s, effect, arena);
    } else if (effect->kind == SCALE_CANCEL) {
        line.action = TEXT("cancel");
        line.what = effect->count > 0 ? effect->ids[0] : TEXT("");
        command = cancel_text(s, effect, arena);
    } else {
        line.action = TEXT("drain");
        line.count = 1;
        for (size_t i = 0; i < load_count; i++)
            if (s->loads[i].worker == effect->worker)
                line.what = s->loads[i].name;
    }
    line.detail = cut(command != NULL ? text_of(command) : effect->reason, LIMIT_TEXT_BYTES);
    line.what = cut(line.what, LIMIT_NAME_BYTES);
    return line;
}

/* Rows of the providers; lines of what a target would bring where one is given. */
static enum err fill(struct server_scale *s, const struct rec_scale_target *target,
                     struct msg_providers *reply)
{
    struct arena *arena = &s->server->arena;
    struct scale_event event = {.kind = SCALE_TICK};
    struct scale_effects effects = {0};
    look(s, &event);
    reply->desired = scale_desired(s->scale);
    reply->providers = arena_alloc(arena, LIMIT_PROVIDERS, sizeof *reply->providers);
    if (reply->providers == NULL)
        return ERR_OUT_OF_MEMORY;
    reply->providers_count =
        (uint32_t)scale_rows(s->scale, event.now, reply->providers, LIMIT_PROVIDERS);
    for (uint32_t i = 0; i < reply->providers_count; i++)
        reply->providers[i].is_asking |= s->is_targeted[i];
    if (target == NULL)
        return ERR_OK;
    TRY(scale_preview(s->scale, target, &event, arena, &effects));
    reply->lines = arena_alloc(arena, effects.count + 1, sizeof *reply->lines);
    if (reply->lines == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < effects.count && reply->lines_count < LIMIT_LIST_ROWS; i++)
        if (effects.rows[i].kind != SCALE_ASK)
            reply->lines[reply->lines_count++] =
                line_of(s, &effects.rows[i], event.load_count, arena);
    return ERR_OK;
}

static void answer(struct server_scale *s, struct server_peer *peer, uint64_t ticket,
                   const struct rec_scale_target *target)
{
    struct msg_providers reply = {.ticket = ticket};
    enum err err = fill(s, target, &reply);
    if (err == ERR_OK)
        server_turn_send(s->server, peer->id, MSG_PROVIDERS, &reply);
    else
        server_turn_status(s->server, peer->id, ticket, err, "");
}

size_t server_scale_rows(const struct server *server, struct instant now,
                         struct provider_row rows[LIMIT_PROVIDERS])
{
    return server->scale == NULL ? 0 : scale_rows(server->scale->scale, now, rows, LIMIT_PROVIDERS);
}

void server_scale_providers(struct server *server, struct server_peer *peer,
                            const union message_any *message)
{
    answer(server->scale, peer, message->providers_get.ticket, NULL);
}

/* Nobody can be started by a program that is not there: nothing is decided then. */
static enum err check_program(const struct server_scale *s, const struct rec_scale_target *target,
                              struct err_text *et)
{
    static const struct provider_start start = {.count = 1, .total = 1, .serial = "N", .slot = 1};
    const struct provider_config *config = providers_find(&s->in_use, target->provider);
    struct provider_row rows[LIMIT_PROVIDERS];
    struct provider_commands commands;
    size_t count = scale_rows(s->scale, server_now(), rows, COUNT_OF(rows));
    for (size_t i = 0; i < count; i++)
        if (text_equal(rows[i].name, target->provider) && !target->is_auto &&
            target->target <= rows[i].running + rows[i].waiting)
            return ERR_OK; /* nobody is started */
    TRY(provider_start(config, &s->site, &start, &s->server->arena, &commands));
    const char *program = commands.rows[0].argv[0];
    if (server_command_exists(program, s->server->options->search_path))
        return ERR_OK;
    return error_set(
        et, ERR_PROVIDER, "%s: %s is not %s; nothing was changed", config->name, program,
        strchr(program, '/') != NULL ? "there, or no program" : "on the coordinator's PATH");
}

void server_scale_request(struct server *server, struct server_peer *peer,
                          const union message_any *message)
{
    struct server_scale *s = server->scale;
    const struct msg_scale *request = &message->scale;
    struct rec_scale_target record;
    struct err_text et = {""};
    enum err err = scale_check(s->scale, request, &record, &et);
    if (err == ERR_OK)
        err = check_program(s, &record, &et);
    if (err != ERR_OK) {
        server_turn_status(server, peer->id, request->ticket, err, et.text);
        return;
    }
    if (request->is_dry) {
        answer(s, peer, request->ticket, &record);
        return;
    }
    struct sched_event event = {.kind = SCHED_SCALE, .peer = {peer->id}};
    event.scale.ticket = request->ticket;
    event.scale.record = &record;
    server_turn_step(server, &event);
    for (size_t i = 0; i < s->in_use.count; i++)
        if (text_is(record.provider, s->in_use.rows[i].name))
            s->is_due = s->is_targeted[i] = true;
}
