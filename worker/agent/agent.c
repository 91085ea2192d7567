/* agent.c - the session: hello, heartbeats, silence, and what each message does to the attempts. */
#include "worker/agent/agent.h"

#include <string.h>

#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/mem/mem.h"
#include "worker/agent/attempt.h"

enum {
    /* hello or heartbeat and leave, an accept, and a result of every attempt */
    SENDS_MAX = LIMIT_WORKER_LEASES + 4,
    COMMANDS_MAX = LIMIT_WORKER_LEASES + 4,
    CONFIG_BYTES = 64 << 10,
    RESEND_MS = 3000, /* a result without acknowledgement is sent again */
    /* Before the end of a lifetime: parts of it, and at most so much. */
    MARGIN_PART = 12,
    MARGIN_S_MAX = 300,
    STAGGER_PART = 15,
    STAGGER_S_MAX = 240,
    LAST_WORDS_MS = 2000,
};

/* GREETING: hello is out. JOINED: welcomed. GONE: the worker ends. */
enum session { SESSION_GREETING, SESSION_JOINED, SESSION_GONE };

struct agent {
    struct agent_config config; /* texts in `memory` */
    struct arena memory;
    enum session session;
    bool draining;
    uint64_t seq; /* of the last heartbeat */
    uint64_t rss_bytes;
    struct duration heartbeat;
    struct instant now;
    struct instant beat_at;  /* JOINED: next heartbeat */
    struct instant heard_at; /* last message, or the last hello: silence counts from here */
    struct instant alive_at; /* last message: being an orphan counts from here */
    struct instant drain_at; /* its lifetime nears the end; UINT64_MAX: it has none */
    struct instant ends_at;  /* likewise: then it is ended from outside */
    char drain_reason[LIMIT_NAME_BYTES]; /* why it leaves, in the end; not terminated */
    size_t drain_reason_size;
    char bulk_endpoint[LIMIT_PATH_BYTES]; /* of the coordinator; not terminated */
    size_t bulk_endpoint_size;
    struct attempt_table attempts;

    struct agent_send sends[SENDS_MAX];
    size_t send_count;
    struct agent_command commands[COMMANDS_MAX];
    size_t command_count;
    struct lease_status statuses[LIMIT_WORKER_LEASES];
    char detail[LIMIT_TEXT_BYTES];
};

static enum err copy_text(struct arena *arena, struct text *text)
{
    text->data = arena_copy_text(arena, *text);
    return text->data != NULL ? ERR_OK : ERR_OUT_OF_MEMORY;
}

enum err agent_create(const struct agent_config *config, struct agent **out)
{
    struct agent *agent = mem_alloc(1, sizeof *agent);
    if (agent == NULL)
        return ERR_OUT_OF_MEMORY;
    enum err err = ERR_OK;
    agent->config = *config;
    agent->heartbeat = duration_ms(LIMIT_HEARTBEAT_MS);
    arena_init(&agent->memory, CONFIG_BYTES);
    TRY_OUT(copy_text(&agent->memory, &agent->config.name));
    TRY_OUT(copy_text(&agent->memory, &agent->config.isa));
    TRY_OUT(copy_text(&agent->memory, &agent->config.profiles));
    TRY_OUT(copy_text(&agent->memory, &agent->config.versions));
    TRY_OUT(copy_text(&agent->memory, &agent->config.bulk_endpoint));
    TRY_OUT(copy_text(&agent->memory, &agent->config.provider));
    TRY_OUT(copy_text(&agent->memory, &agent->config.allocation));
    TRY_OUT(copy_text(&agent->memory, &agent->config.last_end));
    agent->drain_at = agent->ends_at = (struct instant){UINT64_MAX};
    *out = agent;
    agent = NULL;
out:
    agent_destroy(&agent);
    return err;
}

void agent_destroy(struct agent **agent)
{
    if (*agent == NULL)
        return;
    attempt_fini(&(*agent)->attempts);
    arena_fini(&(*agent)->memory);
    mem_free(*agent);
    *agent = NULL;
}

size_t agent_leases(const struct agent *agent, struct lease_status *rows, size_t capacity)
{
    return attempt_statuses(&agent->attempts, rows, capacity);
}

static union message_any *send(struct agent *a, uint32_t number)
{
    ASSERT(a->send_count < SENDS_MAX);
    struct agent_send *s = &a->sends[a->send_count++];
    *s = (struct agent_send){.number = number};
    return &s->message;
}

static struct agent_command *command(struct agent *a, enum agent_command_kind kind, uint64_t fence)
{
    ASSERT(a->command_count < COMMANDS_MAX);
    struct agent_command *c = &a->commands[a->command_count++];
    *c = (struct agent_command){.kind = kind, .fence = fence};
    return c;
}

/* Whole seconds to the end of its lifetime, at least 1; 0 when it has none. */
static uint32_t ends_in_s(const struct agent *a)
{
    if (a->ends_at.ns == UINT64_MAX)
        return 0;
    uint64_t left_s = a->ends_at.ns > a->now.ns ? (a->ends_at.ns - a->now.ns) / NS_PER_S : 0;
    return (uint32_t)MIN(MAX(left_s, 1u), UINT32_MAX);
}

static void send_hello(struct agent *a)
{
    uint32_t count = (uint32_t)attempt_statuses(&a->attempts, a->statuses, COUNT_OF(a->statuses));
    send(a, MSG_HELLO)->hello = (struct msg_hello){
        .protocol = MESSAGE_PROTOCOL,
        .features = a->config.features,
        .role = PEER_WORKER,
        .name = a->config.name,
        .session = a->config.session,
        .threads = a->config.threads,
        .memory_bytes = a->config.memory_bytes,
        .isa = a->config.isa,
        .profiles = a->config.profiles,
        .known_answer = a->config.known_answer,
        .versions = a->config.versions,
        .bulk_endpoint = a->config.bulk_endpoint,
        .leases = a->statuses,
        .leases_count = count,
        .provider = a->config.provider,
        .allocation = a->config.allocation,
        .ends_in_s = ends_in_s(a),
        .last_end = a->config.last_end,
        .last_job = a->config.last_job,
    };
    a->session = SESSION_GREETING;
    a->heard_at = a->now;
}

static void send_heartbeat(struct agent *a)
{
    uint32_t count = (uint32_t)attempt_statuses(&a->attempts, a->statuses, COUNT_OF(a->statuses));
    send(a, MSG_HEARTBEAT)->heartbeat = (struct msg_heartbeat){
        .seq = ++a->seq,
        .rss_bytes = a->rss_bytes,
        .leases = a->statuses,
        .leases_count = count,
        .draining = a->draining,
    };
    a->beat_at = instant_after(a->now, a->heartbeat);
}

static void send_result(struct agent *a, struct attempt *attempt)
{
    send(a, MSG_LEASE_RESULT)->lease_result = *attempt->result;
    attempt->sent = a->now;
}

/* Results that nobody acknowledged, sent longer ago than `age`. */
static void send_results(struct agent *a, struct duration age)
{
    for (size_t i = 0; i < a->attempts.count; i++) {
        struct attempt *attempt = a->attempts.rows[i];
        if (attempt->state == ATTEMPT_FINISHED && instant_after(attempt->sent, age).ns <= a->now.ns)
            send_result(a, attempt);
    }
}

static void leave(struct agent *a, enum err error, struct text detail)
{
    if (a->session == SESSION_GONE)
        return;
    size_t size = MIN(detail.size, sizeof a->detail);
    if (size > 0)
        memcpy(a->detail, detail.data, size);
    struct text kept = {a->detail, size};
    if (error == ERR_OK) /* not welcomed yet it is heard of all the same: its hello is on the way */
        send(a, MSG_LEAVE)->leave = (struct msg_leave){.reason = kept};
    struct agent_command *c = command(a, AGENT_EXIT, 0);
    c->error = error;
    c->detail = kept;
    a->session = SESSION_GONE;
}

/* Starts the next waiting attempt when nothing computes. */
static void start_next(struct agent *a)
{
    struct attempt *next = attempt_next(&a->attempts);
    if (next == NULL || attempt_computing(&a->attempts) != NULL || a->session == SESSION_GONE)
        return;
    next->state = ATTEMPT_RUNNING;
    struct agent_command *c = command(a, AGENT_START, next->fence);
    c->job = next->job;
    c->spec = next->spec;
    c->bulk_endpoint = (struct text){a->bulk_endpoint, a->bulk_endpoint_size};
}

/* Nobody wants this attempt any more. */
static void give_up(struct agent *a, uint64_t fence)
{
    struct attempt *attempt = attempt_find(&a->attempts, fence);
    if (attempt == NULL || attempt->state == ATTEMPT_STOPPING)
        return;
    if (attempt->state == ATTEMPT_RUNNING) {
        attempt->state = ATTEMPT_STOPPING;
        command(a, AGENT_STOP, fence);
        return;
    }
    attempt_forget(&a->attempts, attempt);
}

/* Draining: attempts that have not begun are let go; their leases end with our leaving. */
static void drain(struct agent *a, struct text reason)
{
    a->draining = true;
    a->drain_reason_size = MIN(reason.size, sizeof a->drain_reason);
    if (a->drain_reason_size > 0)
        memcpy(a->drain_reason, reason.data, a->drain_reason_size);
    for (struct attempt *next; (next = attempt_next(&a->attempts)) != NULL;)
        attempt_forget(&a->attempts, next);
    if (a->session == SESSION_JOINED)
        send_heartbeat(a);
}

static void leave_when_empty(struct agent *a)
{
    if (a->draining && a->attempts.count == 0)
        leave(a, ERR_OK, (struct text){a->drain_reason, a->drain_reason_size});
}

static void on_welcome(struct agent *a, const struct msg_welcome *welcome)
{
    if (welcome->error == ERR_NOT_FOUND) { /* a coordinator that forgot us */
        if (a->session == SESSION_JOINED)
            send_hello(a);
        return; /* one hello answers however many messages it did not know what to do with */
    }
    if (welcome->error != ERR_OK) {
        leave(a, (enum err)welcome->error, welcome->detail);
        return;
    }
    a->bulk_endpoint_size = MIN(welcome->bulk_endpoint.size, sizeof a->bulk_endpoint);
    if (a->bulk_endpoint_size > 0)
        memcpy(a->bulk_endpoint, welcome->bulk_endpoint.data, a->bulk_endpoint_size);
    if (welcome->heartbeat_ms > 0)
        a->heartbeat = duration_ms(welcome->heartbeat_ms);
    if (a->session == SESSION_JOINED)
        return; /* a doubled welcome */
    a->session = SESSION_JOINED;
    send_heartbeat(a);
    send_results(a, (struct duration){0});
}

static enum err on_grant(struct agent *a, const struct msg_lease_grant *grant)
{
    const struct attempt *held = attempt_find(&a->attempts, grant->fence);
    if (held == NULL) {
        if (a->draining || a->session != SESSION_JOINED)
            return ERR_OK; /* unaccepted, so it runs out */
        enum err err = attempt_add(&a->attempts, grant);
        if (err == ERR_BUSY)
            return ERR_OK;
        TRY(err);
    }
    send(a, MSG_LEASE_ACCEPT)->lease_accept = (struct msg_lease_accept){.fence = grant->fence};
    if (held != NULL && held->state == ATTEMPT_FINISHED)
        send(a, MSG_LEASE_RESULT)->lease_result = *held->result;
    start_next(a);
    return ERR_OK;
}

static void on_result_ack(struct agent *a, const struct msg_result_ack *ack)
{
    struct attempt *attempt = attempt_find(&a->attempts, ack->fence);
    if (attempt != NULL && attempt->state == ATTEMPT_FINISHED)
        attempt_forget(&a->attempts, attempt);
}

static enum err on_message(struct agent *a, uint32_t number, const union message_any *message)
{
    a->heard_at = a->now;
    a->alive_at = a->now;
    if (a->session == SESSION_GREETING && number != MSG_WELCOME && number != MSG_RETIRE)
        return ERR_OK; /* of an earlier session */
    switch (number) {
    case MSG_WELCOME:
        on_welcome(a, &message->welcome);
        return ERR_OK;
    case MSG_HEARTBEAT_ACK:
        for (uint32_t i = 0; i < message->heartbeat_ack.stale_count; i++)
            give_up(a, message->heartbeat_ack.stale[i].fence);
        return ERR_OK;
    case MSG_LEASE_GRANT:
        return on_grant(a, &message->lease_grant);
    case MSG_RESULT_ACK:
        on_result_ack(a, &message->result_ack);
        return ERR_OK;
    case MSG_LEASE_CANCEL:
        give_up(a, message->lease_cancel.fence);
        return ERR_OK;
    case MSG_DRAIN:
        if (!a->draining)
            drain(a, message->drain.reason.size > 0 ? message->drain.reason : TEXT("drained"));
        return ERR_OK;
    case MSG_RETIRE:
        leave(a, ERR_OK, message->retire.reason);
        return ERR_OK;
    default:
        return ERR_OK; /* not for a worker */
    }
}

static void on_progress(struct agent *a, uint64_t fence, uint64_t done, uint64_t total)
{
    struct attempt *attempt = attempt_find(&a->attempts, fence);
    if (attempt == NULL || attempt->state != ATTEMPT_RUNNING)
        return;
    attempt->done = done;
    attempt->total = total;
}

static enum err on_finished(struct agent *a, const struct agent_outcome *outcome)
{
    struct attempt *attempt = attempt_find(&a->attempts, outcome->fence);
    if (attempt == NULL)
        return ERR_OK;
    if (attempt->state == ATTEMPT_STOPPING) {
        attempt_forget(&a->attempts, attempt);
    } else if (attempt->state == ATTEMPT_RUNNING) {
        TRY(attempt_finish(attempt, outcome));
        if (a->session == SESSION_JOINED)
            send_result(a, attempt);
    }
    return ERR_OK;
}

static void on_terminate(struct agent *a)
{
    if (a->draining)
        leave(a, ERR_OK, TEXT("told to leave at once"));
    else
        drain(a, TEXT("asked to leave by its machine"));
}

/* Workers that were started together must not leave together: each goes a moment of its own
 * earlier than its margin asks for. */
static void begin_lifetime(struct agent *a)
{
    uint64_t life_ns = a->config.lifetime.ns;
    if (life_ns == 0)
        return;
    uint64_t margin_ns = MIN(life_ns / MARGIN_PART, MARGIN_S_MAX * NS_PER_S);
    uint64_t stagger_ns = MIN(life_ns / STAGGER_PART, STAGGER_S_MAX * NS_PER_S);
    uint64_t part = a->config.session >> 48; /* of 2^16 */
    a->ends_at = instant_after(a->now, a->config.lifetime);
    a->drain_at.ns = a->ends_at.ns - margin_ns - (stagger_ns >> 16) * part;
}

/* Near its end it takes nothing new; at the end what still runs is handed back with a word, which
 * the coordinator hears sooner than that the worker fell silent. */
static void watch_lifetime(struct agent *a)
{
    if (a->drain_at.ns <= a->now.ns && !a->draining)
        drain(a, TEXT("its time limit is near"));
    if (a->ends_at.ns <= a->now.ns + LAST_WORDS_MS * NS_PER_MS)
        leave(a, ERR_OK, TEXT("its time limit came"));
}

static void on_tick(struct agent *a)
{
    struct duration quiet = duration_ms(LIMIT_WORKER_QUIET_MS);
    watch_lifetime(a);
    if (a->session == SESSION_GONE)
        return;
    if (a->config.orphan.ns != 0 && instant_after(a->alive_at, a->config.orphan).ns <= a->now.ns) {
        leave(a, ERR_UNREACHABLE, TEXT("the coordinator is gone"));
    } else if (instant_after(a->heard_at, quiet).ns <= a->now.ns) {
        command(a, AGENT_RECONNECT, 0);
        send_hello(a);
    } else if (a->session == SESSION_JOINED && a->beat_at.ns <= a->now.ns) {
        send_heartbeat(a);
        send_results(a, duration_ms(RESEND_MS));
    }
}

static struct instant next_wake(const struct agent *a)
{
    if (a->session == SESSION_GONE)
        return (struct instant){UINT64_MAX};
    struct instant wake = instant_after(a->heard_at, duration_ms(LIMIT_WORKER_QUIET_MS));
    if (a->session == SESSION_JOINED)
        wake.ns = MIN(wake.ns, a->beat_at.ns);
    if (a->config.orphan.ns != 0)
        wake.ns = MIN(wake.ns, instant_after(a->alive_at, a->config.orphan).ns);
    if (!a->draining)
        wake.ns = MIN(wake.ns, a->drain_at.ns);
    if (a->ends_at.ns != UINT64_MAX)
        wake.ns = MIN(wake.ns, a->ends_at.ns - LAST_WORDS_MS * NS_PER_MS);
    return wake;
}

static enum err dispatch(struct agent *a, const struct agent_event *event)
{
    switch (event->kind) {
    case AGENT_STARTED:
        a->alive_at = a->now;
        begin_lifetime(a);
        send_hello(a);
        return ERR_OK;
    case AGENT_MESSAGE:
        return on_message(a, event->message.number, event->message.message);
    case AGENT_PROGRESS:
        on_progress(a, event->progress.fence, event->progress.done, event->progress.total);
        return ERR_OK;
    case AGENT_FINISHED:
        return on_finished(a, &event->finished);
    case AGENT_TERMINATE:
        on_terminate(a);
        return ERR_OK;
    case AGENT_TICK:
        on_tick(a);
        return ERR_OK;
    }
    return ERR_INTERNAL;
}

enum err agent_step(struct agent *agent, const struct agent_event *event,
                    struct agent_effects *effects)
{
    agent->send_count = 0;
    agent->command_count = 0;
    agent->now = event->now;
    agent->alive_at = instant_after(agent->alive_at, event->pause);
    agent->rss_bytes = event->rss_bytes;
    if (agent->session != SESSION_GONE) {
        TRY(dispatch(agent, event));
        start_next(agent);
        leave_when_empty(agent);
    }
    *effects = (struct agent_effects){
        .sends = agent->sends,
        .send_count = agent->send_count,
        .commands = agent->commands,
        .command_count = agent->command_count,
        .wake_at = next_wake(agent),
    };
    return ERR_OK;
}
