/* scale.h - how many workers there shall be, where they come from, and which of them may go.
 *
 * Owns: what is known of each provider's allocations, its target, how its last starts went. Refuses
 * to know: how a worker is started or asked about (provider.h), what tasks are (sched.h), sockets,
 * processes, the clock. Machines come from engines that exist; how many of them is decided here.
 *
 * The contract of scale_step
 *  1. One event in; `event->now` is the only clock it ever sees. Same state and same event give
 *     the same effects.
 *  2. An effect START, ASK or CANCEL is answered by exactly one event STARTED, STATUS or CANCELLED
 *     of that provider, also when its command failed or ran out of time. A provider has at most
 *     one of them out. DRAIN has no answer: the worker finishes what it runs and leaves.
 *  3. Effects live in memory of the scale until the next step.
 *  4. STARTED names all that was got. Where the engine has no names yet (pods), whoever answers
 *     makes some up; the next STATUS has the right ones.
 *
 * The rules
 *  1. Nobody is started beyond a provider's max; those that are being started and those that leave
 *     count.
 *  2. On `auto` it has as many as there are tasks that could run now beyond what other workers
 *     take, and that its workers could take by profile and memory, at least min. Providers stand in
 * the order of the file: the first is filled first. Nobody is started for work that waits for other
 * work; but who is there is kept for it.
 *  3. With a target it has that many, work or not.
 *  4. Who is too many: first allocations that wait, then workers without work, longest idle first,
 *     on `auto` only after idle_timeout; then, only with a target, those with least work at risk.
 *  5. A start that failed is tried again later and later; after LIMIT_SCALE_FAILURES commands, or
 *     LIMIT_SCALE_LOSSES starts whose workers never spoke, in a row, the provider pauses and says
 *     why. Over ssh each host is tried before that counts once. A new target or SCALE_CONFIGURED
 *     ends the pause.
 *  6. Nothing is started while the disk is low, or while what a provider has cannot be learned; it
 *     is asked first after a start that failed or said less than was asked for.
 *  7. After a start of the coordinator it first listens for LIMIT_SCALE_SETTLE_MS, since workers of
 *     the life before come back by themselves.
 */
#ifndef COORDINATOR_SCALE_SCALE_H
#define COORDINATOR_SCALE_SCALE_H

#include "common/recipe/providers.h"
#include "coordinator/sched/demand.h"

struct scale;

enum scale_state {
    SCALE_WAITING, /* asked for, not begun */
    SCALE_RUNNING,
    SCALE_LEAVING, /* told to end */
    SCALE_ENDED,
    SCALE_UNKNOWN /* nothing said about it */
};

/* One place got from a provider, as its command reports it. Borrowed by the event. An id that
 * provider_id_is_valid refuses is not looked at: a worker that says it is of such a place is
 * nobody's. */
struct scale_allocation {
    struct text id; /* of the provider: a process, a job number, a pod */
    enum scale_state state;
    bool has_failed;    /* ENDED: not of its own accord */
    struct text detail; /* why it waits or how it ended, in words */
};

enum scale_event_kind {
    SCALE_CONFIGURED, /* first of all, and when the file was read again; targets are the file's, so
                         the records' follow */
    SCALE_TARGETED,   /* a record SCALE_TARGET, replayed or just made durable */
    SCALE_STARTED,    /* answers START: what was got, or why not */
    SCALE_STATUS,     /* answers ASK, or unasked, as when a child ended */
    SCALE_CANCELLED,  /* answers CANCEL */
    SCALE_TICK        /* several times a second: workers, demand or time may have changed */
};

struct scale_event {
    enum scale_event_kind kind;
    struct instant now;
    /* What sched says at this moment (demand_rows, demand_loads); not looked at for TARGETED. */
    const struct demand *demands;
    size_t demand_count;
    const struct demand_load *loads;
    size_t load_count;
    bool is_disk_low;

    struct text provider; /* all but CONFIGURED and TICK */
    union {
        struct {
            const struct providers *providers; /* borrowed until the next CONFIGURED */
            bool is_restart; /* workers of an earlier life of the coordinator may come back */
        } configured;
        const struct rec_scale_target *target;
        struct {
            enum err error;                      /* of the command; 0: the rows are what it said */
            struct text detail;                  /* its last words */
            const struct scale_allocation *rows; /* STARTED: new ones. STATUS: all that it has */
            size_t count;
            bool is_partial; /* STATUS: only of the rows, nothing is said about others */
        } answer;
    };
};

enum scale_effect_kind {
    SCALE_START,  /* get `count` allocations */
    SCALE_ASK,    /* what has become of them; of kinds that keep children nothing is asked */
    SCALE_CANCEL, /* `ids` */
    SCALE_DRAIN   /* sched shall let go of `worker` */
};

struct scale_effect {
    enum scale_effect_kind kind;
    struct text provider;
    uint32_t count;         /* START, CANCEL */
    uint32_t total;         /* START, CANCEL: allocations there shall be after it */
    const struct text *ids; /* CANCEL: allocations that wait; of kubernetes also pods that shall
                               drain and go, since a pod whose worker left is started again */
    uint64_t worker;        /* DRAIN */
    struct text reason;     /* CANCEL, DRAIN: one line for people */
};

struct scale_effects {
    const struct scale_effect *rows;
    size_t count;
};

MUST_CHECK enum err scale_create(struct scale **out);
void scale_destroy(struct scale **scale);

/* ERR_OUT_OF_MEMORY leaves the scale as it was, but that what was reported is forgotten and asked
 * for again. */
MUST_CHECK enum err scale_step(struct scale *scale, const struct scale_event *event,
                               struct scale_effects *effects);

/* What would be done if `target` became durable now and commands answered at once; *scale does not
 * change. `event`: a TICK. Effects borrow from `arena`. */
MUST_CHECK enum err scale_preview(const struct scale *scale, const struct rec_scale_target *target,
                                  const struct scale_event *event, struct arena *arena,
                                  struct scale_effects *effects);

/* Whether the request may become a target: ERR_NOT_FOUND names the providers there are, ERR_USAGE
 * says which bound it breaks. *record: what to make durable; texts are borrowed from `request`. */
MUST_CHECK enum err scale_check(const struct scale *scale, const struct msg_scale *request,
                                struct rec_scale_target *record, struct err_text *et);

/* One row a provider, in the order of the file. Texts are borrowed until the next step. */
size_t scale_rows(const struct scale *scale, struct instant now, struct provider_row *rows,
                  size_t capacity);

/* How many workers would have something to do, by all that is known: a gauge for autoscalers. */
uint32_t scale_desired(const struct scale *scale);

#endif
