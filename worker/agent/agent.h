/* agent.h - the worker's half of the protocol, decided one event at a time; twin of sched.
 *
 * Owns: the session with the coordinator, the attempts at hand (granted, running, finished but not
 * acknowledged), heartbeats, the reconnect. Refuses to know: sockets, the clock, threads, files,
 * what a task computes. Time comes in as `event->now`, in either direction everything is a value,
 * so thousands of agents run in one process of the simulator.
 *
 * The contract of agent_step
 *  1. One event in; the sends leave in order, the commands are carried out in order.
 *  2. Same state and same event give the same effects, byte for byte.
 *  3. A result is kept and sent again, across reconnects and restarts of the coordinator, until it
 * is acknowledged; it is computed once and counted at most once (the fence decides).
 *  4. At most one attempt computes; further ones wait in the order of their grants.
 *  5. An attempt that the coordinator calls stale, cancels or acknowledges is forgotten; a command
 *     STOP ends its computation and the outcome of a stopped attempt is ignored.
 *  6. Before the end of its lifetime it drains; a moment before the end it leaves, whatever runs.
 *  7. Effects live in memory of the agent until the next step.
 *
 *   connecting ──HELLO──▶ greeting ──WELCOME──▶ joined ──drain──▶ draining ──empty──▶ EXIT
 *        ▲                    │ silence             │ silence, connection lost
 *        └────── RECONNECT ◀──┴─────────────────────┘
 */
#ifndef WORKER_AGENT_AGENT_H
#define WORKER_AGENT_AGENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/base/ids.h"
#include "common/message/message.h"
#include "common/message/state.h"

enum { AGENT_LIFETIME_S_MIN = 4 };

struct agent;

/* What the worker is; texts are copied. `session` is random, new with every process start. */
struct agent_config {
    struct text name; /* durable */
    uint64_t session;
    uint64_t features;
    uint32_t threads;
    uint64_t memory_bytes;
    struct text isa;
    struct text profiles; /* comma-separated */
    struct digest known_answer;
    struct text versions;
    struct text bulk_endpoint; /* where it serves its cache, or empty */
    struct duration orphan;    /* exits after so long without a coordinator; 0 never */
    struct text provider;      /* who started it and its place there; may be empty */
    struct text allocation;
    struct text last_end;     /* how the process of this name before died, or empty */
    uint64_t last_job;        /* whose task it was, or 0 */
    struct duration lifetime; /* it is ended so long after its start, so it drains before; 0 never.
                                 At least AGENT_LIFETIME_S_MIN otherwise */
};

enum agent_event_kind {
    AGENT_STARTED,   /* once; the connection is being made */
    AGENT_MESSAGE,   /* a message of the coordinator */
    AGENT_PROGRESS,  /* units done of the running attempt, for the next heartbeat */
    AGENT_FINISHED,  /* the running attempt ended, with a result or an error */
    AGENT_TERMINATE, /* the machine wants the worker gone: drain; a second time leave at once */
    AGENT_TICK       /* wake_at came */
};

/* The outcome of an attempt. Everything is copied. */
struct agent_outcome {
    uint64_t fence;
    enum err error;
    struct text detail;
    const struct task_result *result; /* NULL after a failure */
};

struct agent_event {
    enum agent_event_kind kind;
    struct instant now;
    struct duration pause; /* before it the process stood still so long: it could hear nobody */
    uint64_t rss_bytes;    /* resident size now, reported in heartbeats */
    union {
        struct {
            uint32_t number; /* enum message_number */
            const union message_any *message;
        } message;
        struct {
            uint64_t fence, done, total;
        } progress;
        struct agent_outcome finished;
    };
};

enum agent_command_kind {
    AGENT_START,     /* compute `spec` of `fence`; report PROGRESS and one FINISHED */
    AGENT_STOP,      /* give the attempt up soon; FINISHED still comes, and is ignored */
    AGENT_RECONNECT, /* drop the connection and make a fresh one with a new routing id */
    AGENT_EXIT       /* the end; `error` and `detail` say why */
};

struct agent_command {
    enum agent_command_kind kind;
    uint64_t fence;
    uint64_t job;                 /* START */
    const struct task_spec *spec; /* START; lives until the attempt is forgotten or finished */
    struct text bulk_endpoint;    /* START: where artifacts are fetched and put */
    enum err error;               /* EXIT: 0 when it was asked for */
    struct text detail;           /* EXIT */
};

struct agent_send {
    uint32_t number; /* enum message_number */
    union message_any message;
};

struct agent_effects {
    const struct agent_send *sends;
    size_t send_count;
    const struct agent_command *commands;
    size_t command_count;
    struct instant wake_at; /* replaces any earlier one */
};

MUST_CHECK enum err agent_create(const struct agent_config *config, struct agent **out);
void agent_destroy(struct agent **agent);

/* ERR_OUT_OF_MEMORY leaves the agent as it was. Whatever else is wrong with an event (a message out
 * of place, an unknown fence) is answered through effects or ignored, and is not an error here. */
MUST_CHECK enum err agent_step(struct agent *agent, const struct agent_event *event,
                               struct agent_effects *effects);

/* The attempts at hand, as a heartbeat would report them; borrowed until the next step. */
size_t agent_leases(const struct agent *agent, struct lease_status *rows, size_t capacity);

#endif
