/* yard.h - engines that lend machines, played: places come late, fail, end, and have workers that
 * say what a worker says. Time goes on in steps of 100 ms; after each the rules of scale.h are
 * checked. */
#ifndef TESTS_UNIT_COORDINATOR_SCALE_YARD_H
#define TESTS_UNIT_COORDINATOR_SCALE_YARD_H

#include "coordinator/scale/scale.h"

enum { YARD_PLACES = 512, YARD_SITES = 4, YARD_STEP_MS = 100 };

enum yard_state { YARD_FREE, YARD_QUEUED, YARD_BOOTING, YARD_WORKING, YARD_DRAINING, YARD_OVER };

struct yard_place {
    enum yard_state state;
    bool is_cancelled, has_failed;
    uint32_t site, number;
    uint64_t worker;
    uint64_t due_ms; /* of the next state */
    uint64_t idle_since_ms;
    uint32_t leases;
    uint64_t lease_since_ms;
    char id[16];
};

/* A command that is out: its effect, kept. */
struct yard_command {
    enum scale_effect_kind kind;
    bool is_out;
    uint64_t due_ms;
    uint32_t count;
    char ids[YARD_PLACES][16];
};

struct yard {
    struct scale *scale;
    struct providers providers;
    uint64_t now_ms, random;
    uint32_t now, soon;     /* demand of f32/1 */
    uint64_t memory_needed; /* by such a task; 0: not known */
    uint64_t memory_bytes;  /* that workers have; 0: not known */
    bool is_disk_low, may_run_out;
    struct yard_place places[YARD_PLACES];
    struct yard_command commands[YARD_SITES];
    uint32_t last_number;
    uint64_t last_worker;

    /* How engines behave. */
    uint64_t command_ms, queue_ms, boot_ms;
    uint64_t drain_ms; /* a worker that is let go is there for so long at least */
    bool fails_commands[YARD_SITES], fails_questions[YARD_SITES], fails_boots[YARD_SITES];
    bool hides_starts[YARD_SITES];   /* a start happens, and the command fails all the same */
    bool mumbles_starts[YARD_SITES]; /* likewise, and the command names nothing */
    bool ignores_cancels;            /* of who works: another one was ended */
    uint32_t chance_lost;            /* parts of a million, each step and worker */

    /* What was seen. */
    uint32_t starts, drains, cancels, questions;
    uint64_t last_drained;
    char failure[256]; /* the first broken rule */
};

void yard_init(struct yard *yard, const char *providers_yml);
void yard_fini(struct yard *yard);

/* So long, in steps. */
void yard_run(struct yard *yard, uint64_t ms);

void yard_target(struct yard *yard, const char *provider, uint32_t target);
void yard_auto(struct yard *yard, const char *provider, uint32_t min, uint32_t max);

/* The file was read again. */
void yard_reload(struct yard *yard, const char *providers_yml);

/* A new coordinator: what was known is forgotten, machines and workers stay. */
void yard_restart(struct yard *yard);

/* Workers that are there and stay, of a site or of all (UINT32_MAX). */
uint32_t yard_workers(const struct yard *yard, uint32_t site);

/* Of the place of a worker, NULL when there is none. */
struct yard_place *yard_place_of(struct yard *yard, uint64_t worker);

/* Everything in use: queued, booting, working, draining. */
uint32_t yard_used(const struct yard *yard, uint32_t site);

struct provider_row yard_row(const struct yard *yard, uint32_t site);

uint64_t yard_random(struct yard *yard, uint64_t bound);

/* A TICK of now; lists live until the next call on the yard. */
struct scale_event yard_tick(struct yard *yard);

#endif
