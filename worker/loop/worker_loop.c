/* worker_loop.c - libuv around agent and compute.
 *
 * ZeroMQ's descriptor is edge-triggered, so it only wakes the loop up. What is there to do is found
 * in every turn: `check` drains the socket within a budget and flushes the outbox, `prepare` keeps
 * the loop from sleeping (through an idle handle) while frames still wait.
 */
#include "worker/loop/worker_loop.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/control_group/control_group.h"
#include "common/formats/tokenizer/tokenizer.h"
#include "common/mem/mem.h"
#include "common/wire/wire.h"
#include "worker/agent/agent.h"
#include "worker/cache/cache.h"
#include "worker/loop/compute.h"
#include "worker/loop/life.h"
#include "worker/loop/outbox.h"
#include "worker/task/task.h"

enum {
    FRAMES_A_TURN = 64,
    FLUSH_MS = 50, /* between two tries while a connection takes nothing */
    LINGER_MS = 1000,
    BEAT_MS = 500,
    BEATS_UNHEARD = 20, /* without an answer, then it is said */
    PATIENCE_MS = 120000,
    PAUSE_MS = 2000, /* a timer that comes later: the process stood still */
    NAME_BYTES = 256,
    VERSIONS_BYTES = 512,
};

/* A socket's descriptor in the loop: closing is asynchronous and outlives the socket. */
struct watch {
    uv_poll_t poll; /* first */
};

struct worker_loop {
    const struct worker_loop_options *options; /* borrowed */
    uv_loop_t uv;
    uv_prepare_t prepare;
    uv_check_t check;
    uv_idle_t idle;
    uv_timer_t wake; /* the agent's */
    struct instant wake_at;
    uv_timer_t flush; /* runs while the outbox waits */
    uv_timer_t beat;  /* for the supervisor */
    uv_async_t news;  /* of the compute thread */
    uv_signal_t terminate, interrupt;
    uv_poll_t parent;
    struct watch *watch;      /* owned through libuv */
    struct transport *socket; /* owned */
    struct outbox outbox;
    struct arena arena; /* of the message being handled */
    struct agent *agent;
    struct cache *cache;
    struct task_env *env;
    struct compute *compute;
    struct supervisor supervisor;
    bool is_welcome;        /* told to the supervisor */
    unsigned beats_unheard; /* since the start or the last answer */
    struct life life;
    char name[NAME_BYTES];
    bool ended;
    enum err error; /* why it ended */
    struct err_text *et;
};

uint64_t worker_loop_unix_s(void)
{
    uv_timeval64_t now;
    return uv_gettimeofday(&now) == 0 ? (uint64_t)now.tv_sec : 0;
}

static void step(struct worker_loop *w, struct agent_event *event);

static void end(struct worker_loop *w, enum err error, struct text detail)
{
    if (w->ended)
        return;
    w->ended = true;
    w->error = error;
    if (error != ERR_OK)
        w->error = error_set(w->et, error, "%.*s", TEXT_ARGS(detail));
    uv_stop(&w->uv);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    (void)poll; /* waking up is enough: `check` looks */
    (void)status;
    (void)events;
}

static void on_watch_closed(uv_handle_t *handle)
{
    mem_free(handle->data);
}

static void unwatch(struct worker_loop *w)
{
    if (w->watch == NULL)
        return;
    uv_poll_stop(&w->watch->poll);
    uv_close((uv_handle_t *)&w->watch->poll, on_watch_closed);
    w->watch = NULL;
}

static enum err watch(struct worker_loop *w)
{
    struct watch *made = mem_alloc(1, sizeof *made);
    if (made == NULL)
        return ERR_OUT_OF_MEMORY;
    if (uv_poll_init(&w->uv, &made->poll, transport_fd(w->socket)) != 0) {
        mem_free(made);
        return ERR_IO;
    }
    made->poll.data = made;
    w->watch = made;
    return uv_poll_start(&made->poll, UV_READABLE, on_readable) == 0 ? ERR_OK : ERR_IO;
}

static struct transport_options socket_options(const struct worker_loop *w)
{
    return (struct transport_options){
        .frame_bytes_max = LIMIT_FRAME_BYTES,
        .linger_ms = LINGER_MS,
        .own = w->options->own,
        .server_public = w->options->server_public,
    };
}

/* A fresh connection with a fresh routing id; what waited for the old one is void. */
static enum err reconnect(struct worker_loop *w, struct err_text *et)
{
    const struct transport_options options = socket_options(w);
    unwatch(w);
    transport_close(&w->socket);
    outbox_clear(&w->outbox);
    TRY(transport_connect(w->options->coordinator, &options, &w->socket, et));
    return watch(w);
}

static void on_flush(uv_timer_t *timer)
{
    struct worker_loop *w = timer->data;
    if (w->socket == NULL || outbox_flush(&w->outbox, w->socket))
        uv_timer_stop(timer);
}

static void flush(struct worker_loop *w)
{
    if (w->socket != NULL && !outbox_flush(&w->outbox, w->socket) &&
        !uv_is_active((uv_handle_t *)&w->flush))
        uv_timer_start(&w->flush, on_flush, FLUSH_MS, FLUSH_MS);
}

static void obey(struct worker_loop *w, const struct agent_command *command)
{
    switch (command->kind) {
    case AGENT_START:
        supervisor_status(&w->supervisor, "computes: %s", state_kind_word(command->spec->kind));
        life_note(&w->life, command->job, command->spec->kind);
        compute_start(w->compute, command->fence, command->spec, command->bulk_endpoint);
        break;
    case AGENT_STOP:
        compute_stop(w->compute, command->fence);
        break;
    case AGENT_RECONNECT: {
        struct err_text et = {""};
        enum err err = reconnect(w, &et);
        if (err != ERR_OK)
            end(w, err, text_of(et.text));
        break;
    }
    case AGENT_EXIT:
        end(w, command->error, command->detail);
        break;
    }
}

static void on_wake(uv_timer_t *timer)
{
    struct agent_event event = {.kind = AGENT_TICK};
    step(timer->data, &event);
}

static void arm(struct worker_loop *w, struct instant now, struct instant wake_at)
{
    w->wake_at = wake_at;
    if (wake_at.ns == UINT64_MAX) {
        uv_timer_stop(&w->wake);
        return;
    }
    uint64_t ms = wake_at.ns > now.ns ? (wake_at.ns - now.ns) / NS_PER_MS + 1 : 0;
    uv_update_time(&w->uv);
    uv_timer_start(&w->wake, on_wake, ms, 0);
}

/* How long the process stood still: its timer did not come. */
static struct duration pause_before(const struct worker_loop *w, struct instant now)
{
    uint64_t ns = now.ns - MIN(w->wake_at.ns, now.ns);
    bool is_paused = w->wake_at.ns != 0 && ns > PAUSE_MS * NS_PER_MS;
    return (struct duration){is_paused ? ns : 0};
}

/* One event through the agent. A reconnect comes before the sends that follow it. */
static void step(struct worker_loop *w, struct agent_event *event)
{
    struct agent_effects effects;
    size_t rss = 0;
    if (w->ended)
        return;
    (void)uv_resident_set_memory(&rss);
    event->now = (struct instant){uv_hrtime()};
    event->pause = pause_before(w, event->now);
    event->rss_bytes = rss;
    life_grow(&w->life, rss);
    enum err err = agent_step(w->agent, event, &effects);
    if (err != ERR_OK) {
        end(w, err, text_of(error_text(err)));
        return;
    }
    for (size_t i = 0; i < effects.command_count; i++)
        if (effects.commands[i].kind == AGENT_RECONNECT)
            obey(w, &effects.commands[i]);
    for (size_t i = 0; i < effects.send_count; i++)
        outbox_put(&w->outbox, effects.sends[i].number, &effects.sends[i].message);
    flush(w);
    for (size_t i = 0; i < effects.command_count; i++)
        if (effects.commands[i].kind != AGENT_RECONNECT)
            obey(w, &effects.commands[i]);
    arm(w, event->now, effects.wake_at);
}

static void handle(struct worker_loop *w, struct span frame)
{
    const struct message_type *type;
    union message_any message;
    arena_reset(&w->arena);
    enum err err = wire_decode(frame, &w->arena, &type, &message);
    if (err != ERR_OK) {
        (void)fprintf(stderr, "qfleet-worker: a frame of the coordinator was dropped: %s\n",
                      error_text(err));
        return;
    }
    w->beats_unheard = 0;
    if (type->number == MSG_WELCOME && !w->is_welcome) {
        struct lease_status lease;
        w->is_welcome = true;
        if (agent_leases(w->agent, &lease, 1) == 0)
            supervisor_status(&w->supervisor, "waits for work");
    }
    struct agent_event event = {.kind = AGENT_MESSAGE,
                                .message = {.number = type->number, .message = &message}};
    step(w, &event);
}

static void on_check(uv_check_t *check)
{
    struct worker_loop *w = check->data;
    uv_idle_stop(&w->idle);
    for (int i = 0; i < FRAMES_A_TURN && !w->ended; i++) {
        struct transport_frame frame;
        enum err err = transport_receive(w->socket, 0, &frame);
        if (err == ERR_PROTOCOL)
            continue;
        if (err != ERR_OK)
            break;
        handle(w, frame.body);
    }
    flush(w);
}

static void on_idle(uv_idle_t *idle)
{
    (void)idle; /* its being active keeps the loop awake */
}

static void on_prepare(uv_prepare_t *prepare)
{
    struct worker_loop *w = prepare->data;
    if (w->socket != NULL && transport_pending(w->socket))
        uv_idle_start(&w->idle, on_idle);
}

static void on_news(uv_async_t *async)
{
    struct worker_loop *w = async->data;
    struct compute_report report;
    if (!compute_take(w->compute, &report))
        return;
    if (!report.finished) {
        struct agent_event event = {
            .kind = AGENT_PROGRESS,
            .progress = {.fence = report.fence, .done = report.done, .total = report.total}};
        step(w, &event);
        return;
    }
    if (report.error != ERR_OK && report.error != ERR_CANCELLED)
        (void)fprintf(stderr, "qfleet-worker: %.*s\n", TEXT_ARGS(report.detail));
    struct agent_event event = {
        .kind = AGENT_FINISHED,
        .finished = {.fence = report.fence,
                     .error = report.error,
                     .detail = report.detail,
                     .result = report.error == ERR_OK ? &report.result : NULL}};
    supervisor_status(&w->supervisor, "waits for work");
    life_note(&w->life, 0, 0);
    step(w, &event);
}

static void notify(void *context)
{
    struct worker_loop *w = context;
    uv_async_send(&w->news);
}

/* Once for each silence: a name that does not resolve, a key that is not on the list, a firewall
 * and a coordinator that is down look alike from here. */
static void note_silence(struct worker_loop *w)
{
    if (++w->beats_unheard != BEATS_UNHEARD)
        return;
    w->is_welcome = false;
    supervisor_status(&w->supervisor, "no answer from %s", w->options->coordinator);
    (void)fprintf(
        stderr,
        "qfleet-worker: no answer from %s for %d s: is it up, does its name resolve, does "
        "it list this key? (qctl doctor) Goes on trying\n",
        w->options->coordinator, BEATS_UNHEARD * BEAT_MS / 1000);
}

static void on_beat(uv_timer_t *timer)
{
    struct worker_loop *w = timer->data;
    if (w->beats_unheard < BEATS_UNHEARD)
        note_silence(w);
    supervisor_beat(&w->supervisor, (struct instant){uv_hrtime()});
}

static void on_signal(uv_signal_t *handle, int number)
{
    (void)number;
    struct agent_event event = {.kind = AGENT_TERMINATE};
    step(handle->data, &event);
}

/* Whoever started us is gone: nothing shall be left running. */
static void on_parent(uv_poll_t *poll, int status, int events)
{
    struct worker_loop *w = poll->data;
    char byte;
    (void)events;
    if (status < 0 || read(w->options->parent_fd, &byte, 1) <= 0) {
        uv_poll_stop(poll);
        end(w, ERR_OK, TEXT("the parent is gone"));
    }
}

static enum err start_handles(struct worker_loop *w)
{
    w->prepare.data = w->check.data = w->idle.data = w->wake.data = w->flush.data = w->beat.data =
        w;
    w->news.data = w->terminate.data = w->interrupt.data = w->parent.data = w;
    bool good =
        uv_prepare_init(&w->uv, &w->prepare) == 0 && uv_check_init(&w->uv, &w->check) == 0 &&
        uv_idle_init(&w->uv, &w->idle) == 0 && uv_timer_init(&w->uv, &w->wake) == 0 &&
        uv_timer_init(&w->uv, &w->flush) == 0 && uv_timer_init(&w->uv, &w->beat) == 0 &&
        uv_timer_start(&w->beat, on_beat, 0, BEAT_MS) == 0 &&
        uv_async_init(&w->uv, &w->news, on_news) == 0 &&
        uv_signal_init(&w->uv, &w->terminate) == 0 && uv_signal_init(&w->uv, &w->interrupt) == 0 &&
        uv_prepare_start(&w->prepare, on_prepare) == 0 &&
        uv_check_start(&w->check, on_check) == 0 &&
        uv_signal_start(&w->terminate, on_signal, SIGTERM) == 0 &&
        uv_signal_start(&w->interrupt, on_signal, SIGINT) == 0;
    if (good && w->options->parent_fd >= 0)
        good = uv_poll_init(&w->uv, &w->parent, w->options->parent_fd) == 0 &&
               uv_poll_start(&w->parent, UV_READABLE | UV_DISCONNECT, on_parent) == 0;
    return good ? ERR_OK : ERR_IO;
}

static uint64_t memory_of_machine(void)
{
    return MIN(uv_get_total_memory(), control_group_memory_max(&control_group_files));
}

static enum err create_cache_and_env(struct worker_loop *w, unsigned threads, uint64_t memory_bytes,
                                     struct err_text *et)
{
    const struct worker_loop_options *o = w->options;
    struct cache_options cache = {
        .folder = o->cache_folder,
        .is_private = o->cache_is_private,
        .size_bytes_max = o->cache_bytes_max,
        .transport = socket_options(w),
        .patience_ms = PATIENCE_MS,
    };
    TRY(cache_create(&cache, &w->cache, et));
    const struct task_options task = {
        .cache = w->cache, .isa = o->isa, .threads = threads, .memory_bytes = memory_bytes};
    enum err err = task_env_create(&task, &w->env);
    if (err == ERR_UNSUPPORTED)
        return error_set(et, err, "this processor lacks the instruction set asked for (--isa)");
    if (err != ERR_OK)
        return error_set(et, err, "kernels with %u threads: %s", threads, error_text(err));
    const struct compute_options compute = {
        .env = w->env, .cache = w->cache, .notify = notify, .context = w};
    return compute_create(&compute, &w->compute);
}

static enum err create_agent(struct worker_loop *w, struct err_text *et)
{
    const struct worker_loop_options *o = w->options;
    char versions[VERSIONS_BYTES];
    unsigned threads = o->threads != 0 ? o->threads : uv_available_parallelism();
    uint64_t memory_bytes = o->memory_bytes != 0 ? o->memory_bytes : memory_of_machine();
    size_t size = sizeof w->name;
    if (o->name != NULL)
        (void)snprintf(w->name, sizeof w->name, "%s", o->name);
    else if (uv_os_gethostname(w->name, &size) != 0)
        (void)snprintf(w->name, sizeof w->name, "worker");
    TRY(create_cache_and_env(w, threads, memory_bytes, et));
    tokenizer_unicode_version(versions, sizeof versions);
    life_open(&w->life, o->cache_folder, w->name, memory_of_machine());
    if (w->life.last_end[0] != '\0')
        (void)fprintf(stderr, "qfleet-worker: %s\n", w->life.last_end);
    struct agent_config config = {
        .name = text_of(w->name),
        .threads = threads,
        .memory_bytes = memory_bytes,
        .isa = text_of(task_env_isa(w->env)),
        .profiles = TEXT("f32/1,blas"),
        .versions = text_of(versions),
        .orphan = duration_ms(o->orphan_ms),
        .provider = text_of(o->provider != NULL ? o->provider : ""),
        .allocation = text_of(o->allocation != NULL ? o->allocation : ""),
        .lifetime = duration_ms(o->time_limit_ms),
        .last_end = text_of(w->life.last_end),
        .last_job = w->life.last_job,
    };
    transport_random(&config.session, sizeof config.session);
    TRY(task_env_known_answer(w->env, &config.known_answer));
    return agent_create(&config, &w->agent);
}

static void close_handle(uv_handle_t *handle, void *argument)
{
    (void)argument;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

static void fini(struct worker_loop *w)
{
    if (w->socket != NULL)
        (void)outbox_flush(&w->outbox, w->socket); /* the last words */
    supervisor_stopping(&w->supervisor);
    compute_destroy(&w->compute);
    unwatch(w);
    uv_walk(&w->uv, close_handle, NULL);
    (void)uv_run(&w->uv, UV_RUN_DEFAULT);
    ASSERT(uv_loop_close(&w->uv) == 0);
    transport_close(&w->socket);
    agent_destroy(&w->agent);
    task_env_destroy(&w->env);
    cache_destroy(&w->cache);
    life_close(&w->life);
    outbox_fini(&w->outbox);
    arena_fini(&w->arena);
    supervisor_close(&w->supervisor);
}

enum err worker_loop_run(const struct worker_loop_options *options, struct err_text *et)
{
    struct worker_loop *w = mem_alloc(1, sizeof *w);
    if (w == NULL)
        return ERR_OUT_OF_MEMORY;
    if (uv_loop_init(&w->uv) != 0) {
        mem_free(w);
        return ERR_OUT_OF_MEMORY;
    }
    w->options = options;
    w->et = et;
    w->supervisor.fd = -1;
    w->life.fd = -1;
    outbox_init(&w->outbox);
    arena_init(&w->arena, WIRE_ARENA_BYTES);
    enum err err = ERR_OK;
    TRY_OUT(supervisor_open(&options->supervisor, &w->supervisor, et));
    TRY_OUT(start_handles(w));
    TRY_OUT(create_agent(w, et));
    TRY_OUT(reconnect(w, et));
    struct agent_event event = {.kind = AGENT_STARTED};
    step(w, &event);
    supervisor_ready(&w->supervisor);
    supervisor_status(&w->supervisor, "waits for %s", options->coordinator);
    if (!w->ended)
        (void)uv_run(&w->uv, UV_RUN_DEFAULT);
    err = w->error;
out:
    fini(w);
    mem_free(w);
    return err;
}
