/* sim_provider.c - see sim_provider.h. */
#include "sim_provider.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "coordinator/scale/scale.h"

enum {
    STEP_MS = 500,
    QUEUE_MS_MAX = 8000,
    BOOT_MS_MAX = 2000,
    COMMAND_MS_MAX = 1500,
    LIFE_S_MIN = 8,
    LIFE_S_MAX = 60,
    ID_BYTES = 16
};

enum place_state { PLACE_FREE, PLACE_QUEUED, PLACE_BOOTING, PLACE_RUNNING, PLACE_OVER };

struct place {
    enum place_state state;
    bool has_failed;
    uint64_t due_ms, ends_ms;
    char id[ID_BYTES];
};

struct sim_provider {
    struct providers providers; /* owned */
    struct scale *scale;        /* owned; NULL while the coordinator is dead */
    struct place *places;       /* owned; one a worker */
    uint32_t last_id;
    bool is_out; /* a command */
    enum scale_effect_kind kind;
    uint64_t due_ms;
    uint32_t count;
    char (*ids)[ID_BYTES]; /* owned; CANCEL */
};

static uint64_t now_ms(const struct sim *sim)
{
    return sim->now_ns / NS_PER_MS;
}

/* Some slots are left for places that are over and were not asked about yet. */
static uint32_t max_of(const struct sim *sim)
{
    return sim->worker_count - sim->worker_count / 4;
}

void sim_provider_create(struct sim *sim)
{
    char text[128];
    struct sim_provider *p = mem_alloc(1, sizeof *p);
    ASSERT(p != NULL);
    sim->provider = p;
    p->places = mem_alloc(sim->worker_count, sizeof *p->places);
    p->ids = mem_alloc(sim->worker_count, sizeof *p->ids);
    ASSERT(p->places != NULL && p->ids != NULL);
    int size = snprintf(text, sizeof text,
                        "providers: [{name: sim, kind: slurm, max: %u, backlog: 3, idle_timeout: "
                        "10s}]",
                        max_of(sim));
    struct span span = {(const uint8_t *)text, (size_t)size};
    ASSERT(providers_read(span, "sim", 1, &p->providers, NULL) == ERR_OK);
    sim_schedule(sim, SIM_PROVIDER_TIMER, STEP_MS);
}

void sim_provider_destroy(struct sim *sim)
{
    struct sim_provider *p = sim->provider;
    if (p == NULL)
        return;
    scale_destroy(&p->scale);
    providers_fini(&p->providers);
    mem_free(p->places);
    mem_free(p->ids);
    mem_free(p);
    sim->provider = NULL;
}

static uint32_t used(const struct sim *sim)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < sim->worker_count; i++) {
        enum place_state state = sim->provider->places[i].state;
        count += state != PLACE_FREE && state != PLACE_OVER;
    }
    return count;
}

bool sim_provider_is_empty(const struct sim *sim)
{
    return used(sim) == 0;
}

static void check_start(struct sim *sim, const struct scale_event *event, uint32_t count)
{
    uint64_t wanted = 0;
    for (size_t i = 0; i < event->demand_count; i++)
        wanted += event->demands[i].now;
    if (wanted == 0)
        sim_fail(sim, "%u workers are started for nothing", count);
    if (event->is_disk_low)
        sim_fail(sim, "%u workers are started while the disk is low", count);
}

static void carry_out(struct sim *sim, const struct scale_event *event,
                      const struct scale_effect *effect)
{
    struct sim_provider *p = sim->provider;
    if (effect->kind == SCALE_DRAIN) {
        struct sched_event let_go = {.kind = SCHED_LET_GO};
        let_go.let_go.worker = effect->worker;
        let_go.let_go.reason = effect->reason;
        sim->statistics.let_go++;
        sim_coordinator_event(sim, let_go);
        return;
    }
    if (p->is_out)
        sim_fail(sim, "a second command of the provider");
    if (effect->kind == SCALE_START)
        check_start(sim, event, effect->count);
    p->is_out = true;
    p->kind = effect->kind;
    p->count = effect->count;
    p->due_ms = now_ms(sim) + sim_random_below(&sim->random, COMMAND_MS_MAX);
    for (uint32_t i = 0; effect->kind == SCALE_CANCEL && i < effect->count; i++)
        (void)snprintf(p->ids[i], ID_BYTES, "%.*s", TEXT_ARGS(effect->ids[i]));
}

/* The event with what sched says now, and what follows from it. */
static void step(struct sim *sim, struct scale_event event)
{
    struct sim_provider *p = sim->provider;
    struct demand demands[DEMAND_ROWS_MAX];
    struct scale_effects effects;
    struct demand_load *loads = mem_alloc(LIMIT_WORKERS, sizeof *loads);
    ASSERT(loads != NULL);
    event.now = (struct instant){sim->now_ns};
    event.demands = demands;
    event.demand_count = demand_rows(sim->c.s, demands, DEMAND_ROWS_MAX);
    event.loads = loads;
    event.load_count = demand_loads(sim->c.s, event.now, loads, LIMIT_WORKERS);
    event.is_disk_low = sim->c.is_disk_low;
    event.provider = TEXT("sim");
    ASSERT(scale_step(p->scale, &event, &effects) == ERR_OK);
    /* A DRAIN may crash the coordinator, and what it decided with it. */
    for (size_t i = 0; p->scale != NULL && i < effects.count; i++)
        carry_out(sim, &event, &effects.rows[i]);
    mem_free(loads);
}

static void begin_place(struct sim *sim)
{
    struct sim_provider *p = sim->provider;
    uint32_t i = 0;
    while (i < sim->worker_count && p->places[i].state != PLACE_FREE)
        i++;
    if (i == sim->worker_count)
        return; /* the engine takes no more: those that are over were not asked about yet */
    p->places[i] = (struct place){.state = PLACE_QUEUED};
    p->places[i].due_ms = now_ms(sim) + sim_random_below(&sim->random, QUEUE_MS_MAX);
    (void)snprintf(p->places[i].id, ID_BYTES, "%u", ++p->last_id);
    sim->statistics.provided++;
}

void sim_provider_coordinator(struct sim *sim, bool is_restart)
{
    struct sim_provider *p = sim->provider;
    struct scale_event event = {.kind = SCALE_CONFIGURED};
    scale_destroy(&p->scale);
    ASSERT(scale_create(&p->scale) == ERR_OK);
    if (sim->c.s == NULL)
        return;
    if (p->is_out && p->kind == SCALE_START && sim_random_below(&sim->random, 2) == 0) {
        for (uint32_t i = 0; i < p->count; i++)
            begin_place(sim); /* whoever asked for them does not hear of it */
    }
    p->is_out = false;
    event.configured.providers = &p->providers;
    event.configured.is_restart = is_restart;
    step(sim, event);
}

static void cancel_place(struct sim *sim, const char *id)
{
    for (uint32_t i = 0; i < sim->worker_count; i++) {
        struct place *place = &sim->provider->places[i];
        if (place->state != PLACE_FREE && strcmp(place->id, id) == 0) {
            if (place->state == PLACE_RUNNING && sim->workers[i].agent != NULL)
                sim_worker_crash(sim, &sim->workers[i]);
            place->state = PLACE_OVER;
        }
    }
}

static size_t list_places(const struct sim *sim, struct scale_allocation *rows)
{
    static const enum scale_state states[] = {[PLACE_QUEUED] = SCALE_WAITING,
                                              [PLACE_BOOTING] = SCALE_RUNNING,
                                              [PLACE_RUNNING] = SCALE_RUNNING,
                                              [PLACE_OVER] = SCALE_ENDED};
    size_t count = 0;
    for (uint32_t i = 0; i < sim->worker_count; i++) {
        const struct place *place = &sim->provider->places[i];
        if (place->state != PLACE_FREE)
            rows[count++] = (struct scale_allocation){.id = text_of(place->id),
                                                      .state = states[place->state],
                                                      .has_failed = place->has_failed};
    }
    return count;
}

static void finish_command(struct sim *sim)
{
    struct sim_provider *p = sim->provider;
    bool fails = sim_chance(sim, sim->scenario->provider_fault);
    struct scale_event event = {.kind = SCALE_STATUS};
    struct scale_allocation *rows = mem_alloc(sim->worker_count, sizeof *rows);
    ASSERT(rows != NULL);
    p->is_out = false;
    if (p->kind == SCALE_START)
        event.kind = SCALE_STARTED;
    else if (p->kind == SCALE_CANCEL)
        event.kind = SCALE_CANCELLED;
    uint32_t before = p->last_id;
    for (uint32_t i = 0; !fails && p->kind == SCALE_START && i < p->count; i++)
        begin_place(sim);
    for (uint32_t i = 0; !fails && p->kind == SCALE_CANCEL && i < p->count; i++)
        cancel_place(sim, p->ids[i]);
    event.answer.error = fails ? ERR_IO : ERR_OK;
    event.answer.rows = rows;
    if (!fails && p->kind == SCALE_START) {
        for (uint32_t i = 0; i < sim->worker_count; i++) {
            struct place *place = &p->places[i];
            if (place->state == PLACE_QUEUED && strtoul(place->id, NULL, 10) > before)
                rows[event.answer.count++] =
                    (struct scale_allocation){.id = text_of(place->id), .state = SCALE_WAITING};
        }
    } else if (!fails && p->kind == SCALE_ASK) {
        event.answer.count = list_places(sim, rows);
    }
    step(sim, event);
    for (uint32_t i = 0; !fails && event.kind == SCALE_STATUS && i < sim->worker_count; i++) {
        if (p->places[i].state == PLACE_OVER)
            p->places[i] = (struct place){0};
    }
    mem_free(rows);
}

static void move_place(struct sim *sim, uint32_t index)
{
    struct place *place = &sim->provider->places[index];
    if (place->state == PLACE_QUEUED && place->due_ms <= now_ms(sim)) {
        place->state = PLACE_BOOTING;
        place->due_ms = now_ms(sim) + sim_random_below(&sim->random, BOOT_MS_MAX);
    } else if (place->state == PLACE_BOOTING && place->due_ms <= now_ms(sim)) {
        place->has_failed = sim_chance(sim, sim->scenario->provider_fault);
        place->state = place->has_failed ? PLACE_OVER : PLACE_RUNNING;
        uint64_t life_s = LIFE_S_MIN + sim_random_below(&sim->random, LIFE_S_MAX - LIFE_S_MIN);
        place->ends_ms = now_ms(sim) + life_s * 1000;
        if (place->state == PLACE_RUNNING)
            sim_worker_start(sim, &sim->workers[index]);
    } else if (place->state == PLACE_RUNNING && place->ends_ms <= now_ms(sim)) {
        sim->statistics.expired++;
        if (sim->workers[index].agent != NULL)
            sim_worker_crash(sim, &sim->workers[index]);
    }
}

void sim_provider_configure(struct sim *sim, uint32_t worker, struct agent_config *config)
{
    const struct place *place = &sim->provider->places[worker];
    config->provider = TEXT("sim");
    config->allocation = text_of(place->id);
    /* Not every engine tells how long a place lasts; who knows it leaves before. */
    if (strtoul(place->id, NULL, 10) % 3 != 0)
        config->lifetime = duration_ms(place->ends_ms - now_ms(sim));
}

void sim_provider_ended(struct sim *sim, uint32_t worker, bool has_failed)
{
    struct place *place = &sim->provider->places[worker];
    place->state = PLACE_OVER;
    place->has_failed = has_failed;
}

void sim_provider_timer(struct sim *sim)
{
    struct sim_provider *p = sim->provider;
    struct rec_scale_target again = {.provider = TEXT("sim"), .is_auto = true};
    sim_schedule(sim, SIM_PROVIDER_TIMER, STEP_MS);
    for (uint32_t i = 0; i < sim->worker_count; i++)
        move_place(sim, i);
    if (used(sim) > max_of(sim))
        sim_fail(sim, "%u places are used, at most %u are allowed", used(sim), max_of(sim));
    if (sim->c.s == NULL) {
        scale_destroy(&p->scale);
        return;
    }
    /* Somebody looks in now and then, and ends a pause. */
    if (sim_random_below(&sim->random, 60) == 0)
        step(sim, (struct scale_event){.kind = SCALE_TARGETED, .target = &again});
    if (p->scale != NULL && p->is_out && p->due_ms <= now_ms(sim))
        finish_command(sim);
    if (p->scale != NULL && sim->c.s != NULL)
        step(sim, (struct scale_event){.kind = SCALE_TICK});
}
