/* scale_state.h - what the files of this folder share: providers and their allocations as known. */
#ifndef COORDINATOR_SCALE_SCALE_STATE_H
#define COORDINATOR_SCALE_SCALE_STATE_H

#include "common/mem/arena.h"
#include "coordinator/provider/provider.h"
#include "coordinator/scale/scale.h"

enum {
    SCALE_STATE_DETAIL_BYTES = 256,
    SCALE_STATE_ASK_MS = 5000,       /* while something is expected to change */
    SCALE_STATE_LOOK_MS = 30000,     /* while nothing is */
    SCALE_STATE_GRACE_MS = 10000,    /* work must be gone for so long before what waits for a place
                                        gives up its turn */
    SCALE_STATE_YOUNG_MS = 10000,    /* a worker that ends sooner never worked */
    SCALE_STATE_SILENT_MS = 120000,  /* a place that runs and whose worker never spoke is lost */
    SCALE_STATE_LET_GO_MS = 5000,    /* after which a worker told to go should drain */
    SCALE_STATE_UNKNOWN_FAILURES = 3 /* failed questions after which nothing is known */
};

/* One place, as the provider and its workers tell of it. */
struct scale_place {
    char id[PROVIDER_ID_BYTES + 1];
    enum scale_state state;
    struct instant since;    /* it is known */
    struct instant spoke_at; /* first heard of a worker of it; 0: never */
    struct instant let_go_at;
    bool is_cancelled, is_listed;
    bool was_good; /* it lived long enough to show that starting works */

    /* Of its workers, at the step at hand. */
    uint32_t workers, draining, connected, leases;
    uint64_t idle_ms, at_risk_ms, ends_in_ms;
    const struct demand_load *first; /* borrowed from the event */
};

enum scale_out { SCALE_OUT_NOTHING, SCALE_OUT_START, SCALE_OUT_ASK, SCALE_OUT_CANCEL };

struct scale_site {
    char *name;                           /* owned */
    const struct provider_config *config; /* borrowed from the configuration; NULL: not in it */
    struct scale_place *places;           /* owned; by id */
    size_t count, capacity;
    char *profiles;       /* owned; of the last worker seen, NULL before the first */
    uint64_t memory_seen; /* the most that a worker of it had; 0 before the first */
    bool is_auto;
    uint32_t target, min, max;

    enum scale_out out;
    uint32_t out_count;      /* START: allocations asked for */
    bool is_known;           /* what it has */
    bool is_unsure;          /* a start may have brought more than it said */
    uint32_t deaf;           /* failed questions in a row */
    struct instant asked_at; /* the last question */
    struct instant ask_at;   /* the next question; sooner while something is expected to change */
    uint32_t failures;       /* failed starts in a row */
    uint32_t losses;         /* starts whose workers never spoke, in a row */
    struct instant rest_until;
    bool is_paused;
    char detail[SCALE_STATE_DETAIL_BYTES]; /* of the last failure */

    /* What the last step found and wants, in workers. */
    uint32_t running, waiting, leaving;
    uint32_t want, keep;
    uint32_t grow_to; /* more are started up to this */
    uint32_t floor;   /* nobody goes below it */
    char unfit[96];   /* why work that waits is not for its workers, or "" */
};

struct scale {
    struct arena arena;       /* owned: effects of the step at hand */
    struct scale_site *sites; /* owned; LIMIT_PROVIDERS, in the order of the file */
    size_t count;
    struct instant settled_at;
    uint32_t desired;
    bool is_disk_low; /* nobody is started */

    /* Of all sites on auto: workers beyond what is wanted soon, and beyond what is wanted now. */
    uint32_t surplus, surplus_late;
    struct instant surplus_since; /* UINT64_MAX: none */
};

static inline uint64_t scale_state_ms(struct instant begin, struct instant end)
{
    return end.ns <= begin.ns ? 0 : (end.ns - begin.ns) / NS_PER_MS;
}

/* It was told to go, or all its workers are about to. */
bool scale_state_is_leaving(const struct scale_place *place, struct instant now);

#endif
