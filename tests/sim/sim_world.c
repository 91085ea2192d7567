/* sim_world.c - the queue of what will happen, and the network between the processes. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "common/wire/wire.h"
#include "sim.h"
#include "sim_provider.h"

enum {
    EVENTS_MAX = 40000000,
    BOUND_MS = 400000, /* after the healing every job is done within */
    LATENCY_MS = 8,
    LONG_DELAY_MS = 9000,
    CUT_MS_MAX = 45000,
    FREEZE_MS_MAX = 60000, /* longer than any lease lives */
    FRAME_BYTES_MAX = 8 << 20,
};

uint64_t sim_random_next(struct sim_random *random)
{
    uint64_t x = random->state += 0x9e3779b97f4a7c15u; /* SplitMix64 (Steele, Lea, Flood 2014) */
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

uint64_t sim_random_below(struct sim_random *random, uint64_t bound)
{
    return sim_random_next(random) % bound;
}

void sim_fail(struct sim *sim, const char *format, ...)
{
    va_list args;
    if (sim->failure[0] != '\0')
        return;
    va_start(args, format);
    vsnprintf(sim->failure, sizeof sim->failure, format, args);
    va_end(args);
}

bool sim_is_healed(const struct sim *sim)
{
    return sim->now_ns >= sim->scenario->heal_ms * NS_PER_MS;
}

bool sim_chance(struct sim *sim, uint32_t parts)
{
    return parts > 0 && !sim_is_healed(sim) && sim_random_below(&sim->random, 1000000) < parts;
}

struct sim_event *sim_schedule_at(struct sim *sim, enum sim_event_kind kind, uint64_t at_ns)
{
    struct sim_event *event = mem_alloc(1, sizeof *event);
    ASSERT(event != NULL && heap_reserve(&sim->queue, sim->queue.count + 1) == ERR_OK);
    event->kind = kind;
    heap_put(&sim->queue, &event->node, MAX(at_ns, sim->now_ns), sim->event_count++);
    return event;
}

struct sim_event *sim_schedule(struct sim *sim, enum sim_event_kind kind, uint64_t after_ms)
{
    return sim_schedule_at(sim, kind, sim->now_ns + after_ms * NS_PER_MS);
}

static void event_destroy(struct sim_event *event)
{
    mem_free(event->frame);
    if (event->work != NULL)
        arena_fini(&event->arena);
    mem_free(event);
}

/* One copy of a frame on its way. `last_ns`: when the one before arrives, for those in order. */
static void deliver(struct sim *sim, enum sim_event_kind kind, uint32_t worker, uint64_t peer,
                    struct span frame, uint64_t *last_ns)
{
    uint64_t delay_ms = 1 + sim_random_below(&sim->random, LATENCY_MS);
    if (sim_chance(sim, sim->scenario->delay)) {
        sim->statistics.delayed++;
        delay_ms += sim_random_below(&sim->random, LONG_DELAY_MS);
    }
    uint64_t at_ns = sim->now_ns + delay_ms * NS_PER_MS;
    if (last_ns != NULL && !sim->scenario->reorders)
        *last_ns = at_ns = MAX(at_ns, *last_ns);
    struct sim_event *event = sim_schedule_at(sim, kind, at_ns);
    event->worker = worker;
    event->peer = peer;
    event->frame = mem_alloc(frame.size, 1);
    ASSERT(event->frame != NULL);
    memcpy(event->frame, frame.data, frame.size);
    event->size_bytes = frame.size;
}

static void transmit(struct sim *sim, enum sim_event_kind kind, uint32_t worker, uint64_t peer,
                     uint32_t number, const void *message, uint64_t *last_ns)
{
    struct bytes frame;
    bytes_init(&frame, FRAME_BYTES_MAX);
    enum err err = wire_encode(message_type_of(number), message, &frame);
    if (err != ERR_OK)
        sim_fail(sim, "message %u cannot be encoded: %s", number, error_name(err));
    sim->statistics.messages++;
    if (sim_chance(sim, sim->scenario->drop)) {
        sim->statistics.dropped++;
    } else if (err == ERR_OK) {
        deliver(sim, kind, worker, peer, bytes_span(&frame), last_ns);
        if (sim_chance(sim, sim->scenario->duplicate)) {
            sim->statistics.doubled++;
            deliver(sim, kind, worker, peer, bytes_span(&frame), last_ns);
        }
    }
    bytes_fini(&frame);
}

static bool is_cut(const struct sim *sim, const struct sim_worker *worker)
{
    return sim->now_ns < worker->cut_until_ms * NS_PER_MS;
}

void sim_send_up(struct sim *sim, uint32_t index, uint32_t number, const void *message)
{
    struct sim_worker *worker = &sim->workers[index];
    if (!is_cut(sim, worker) && sim_chance(sim, sim->scenario->cut))
        worker->cut_until_ms = sim->now_ns / NS_PER_MS + sim_random_below(&sim->random, CUT_MS_MAX);
    if (!is_cut(sim, worker))
        transmit(sim, SIM_TO_COORDINATOR, index, worker->peer, number, message,
                 &worker->last_up_ns);
}

void sim_send_down(struct sim *sim, uint64_t peer, uint32_t number, const void *message)
{
    if (peer == SIM_CLIENT_PEER) {
        transmit(sim, SIM_TO_CLIENT, 0, peer, number, message, NULL);
        return;
    }
    for (uint32_t i = 0; i < sim->worker_count; i++) {
        struct sim_worker *worker = &sim->workers[i];
        if (worker->peer == peer && !is_cut(sim, worker))
            transmit(sim, SIM_TO_WORKER, i, peer, number, message, &worker->last_down_ns);
    }
}

void sim_client_send(struct sim *sim, uint32_t number, const void *message)
{
    transmit(sim, SIM_TO_COORDINATOR, 0, SIM_CLIENT_PEER, number, message, NULL);
}

static void arrive(struct sim *sim, const struct sim_event *event)
{
    struct sim_worker *worker = &sim->workers[event->worker];
    const struct message_type *type;
    union message_any message;
    struct arena arena;
    arena_init(&arena, WIRE_ARENA_BYTES);
    struct span frame = {event->frame, event->size_bytes};
    enum err err = wire_decode(frame, &arena, &type, &message);
    if (err != ERR_OK)
        sim_fail(sim, "a frame cannot be decoded: %s", error_name(err));
    else if (event->kind == SIM_TO_CLIENT)
        sim_client_message(sim, type->number, &message);
    else if (event->kind == SIM_TO_COORDINATOR)
        sim_coordinator_message(sim, event->peer, type->number, &message);
    else if (worker->agent != NULL && worker->peer == event->peer) {
        struct agent_event told = {.kind = AGENT_MESSAGE};
        told.message.number = type->number;
        told.message.message = &message;
        if (sim_chance(sim, sim->scenario->crash_worker))
            sim_worker_crash(sim, worker);
        else
            sim_worker_event(sim, worker, told);
        if (sim_chance(sim, sim->scenario->freeze))
            worker->frozen_until_ns =
                sim->now_ns + sim_random_below(&sim->random, FREEZE_MS_MAX) * NS_PER_MS;
        if (sim_chance(sim, sim->scenario->terminate))
            sim_worker_event(sim, worker, (struct agent_event){.kind = AGENT_TERMINATE});
    }
    arena_fini(&arena);
}

static void happen(struct sim *sim, const struct sim_event *event)
{
    struct sim_worker *worker = &sim->workers[event->worker];
    switch (event->kind) {
    case SIM_TO_COORDINATOR:
    case SIM_TO_WORKER:
    case SIM_TO_CLIENT:
        arrive(sim, event);
        break;
    case SIM_GONE:
        sim_coordinator_event(sim, (struct sched_event){.kind = SCHED_GONE, .peer = {event->peer}});
        break;
    case SIM_COORDINATOR_TIMER:
        if (event->epoch == sim->c.timer_epoch)
            sim_coordinator_event(sim, (struct sched_event){.kind = SCHED_TICK});
        break;
    case SIM_COORDINATOR_START:
        sim_coordinator_start(sim);
        break;
    case SIM_WORK_DONE:
        if (event->epoch == sim->c.epoch)
            sim_coordinator_work_done(sim, event->work);
        break;
    case SIM_WORKER_TIMER:
        if (event->epoch == worker->timer_epoch)
            sim_worker_event(sim, worker, (struct agent_event){.kind = AGENT_TICK});
        break;
    case SIM_WORKER_START:
        if (event->epoch == worker->epoch && worker->agent == NULL)
            sim_worker_start(sim, worker);
        break;
    case SIM_COMPUTED:
        if (event->epoch == worker->epoch)
            sim_worker_computed(sim, worker, event->fence);
        break;
    case SIM_CLIENT_TIMER:
        sim_client_timer(sim);
        break;
    case SIM_PROVIDER_TIMER:
        sim_provider_timer(sim);
        break;
    }
}

static void begin(struct sim *sim, uint32_t workers, uint32_t job)
{
    struct sim_random jobs = {sim->seed ^ 0x6a6f6273};
    sim->job_count = sim->scenario->jobs + sim->scenario->quantize_jobs;
    for (uint32_t i = 0; i < sim->job_count; i++)
        sim_job_make(sim, &jobs, i);
    if (job != SIM_ALL_JOBS) {
        sim->jobs[0] = sim->jobs[job];
        sim->job_count = 1;
    }
    sim->worker_count = workers;
    sim->workers = mem_alloc(workers, sizeof *sim->workers);
    ASSERT(sim->workers != NULL);
    sim->last_peer = SIM_CLIENT_PEER;
    if (sim->scenario->provides)
        sim_provider_create(sim);
    sim_coordinator_start(sim);
    for (uint32_t i = 0; i < workers; i++) {
        sim->workers[i].index = i;
        if (sim->provider == NULL)
            sim_schedule(sim, SIM_WORKER_START, sim_random_below(&sim->random, 3000))->worker = i;
    }
    sim_schedule(sim, SIM_CLIENT_TIMER, 10);
}

/* A stopped process sees all that happened to it when it goes on. */
static bool is_frozen(const struct sim *sim, const struct sim_event *event)
{
    bool is_of_worker = event->kind == SIM_TO_WORKER || event->kind == SIM_WORKER_TIMER ||
                        event->kind == SIM_COMPUTED;
    return is_of_worker && sim->workers[event->worker].frozen_until_ns > sim->now_ns;
}

/* Nobody is kept for work that is done. */
static bool is_given_back(const struct sim *sim)
{
    return sim->provider == NULL || sim_provider_is_empty(sim);
}

static void run(struct sim *sim)
{
    uint64_t bound_ns = (sim->scenario->heal_ms + BOUND_MS) * NS_PER_MS;
    while (sim->failure[0] == '\0') {
        struct sim_event *event = CONTAINER_OF(heap_first(&sim->queue), struct sim_event, node);
        heap_remove(&sim->queue, &event->node);
        sim->now_ns = event->node.key;
        if (is_frozen(sim, event)) {
            heap_put(&sim->queue, &event->node, sim->workers[event->worker].frozen_until_ns,
                     event->node.tie);
            continue;
        }
        bool is_client = event->kind == SIM_CLIENT_TIMER;
        happen(sim, event);
        event_destroy(event);
        if (is_client && sim_check_all_done(sim) && is_given_back(sim))
            break;
        if (sim->now_ns > bound_ns)
            sim_fail(sim, "jobs are not done %d virtual seconds after the healing",
                     BOUND_MS / 1000);
        if (sim->statistics.events++ > EVENTS_MAX)
            sim_fail(sim, "a storm of events");
    }
    if (sim->failure[0] == '\0')
        sim_check_end(sim);
}

bool sim_run(struct sim *sim, const struct sim_scenario *scenario, uint64_t seed, uint32_t job)
{
    static const struct sim_scenario calm = {.name = "undisturbed", .heal_ms = 0, .workers = 1};
    struct sim_scenario undisturbed = calm;
    undisturbed.jobs = scenario->jobs;
    undisturbed.quantize_jobs = scenario->quantize_jobs;
    undisturbed.size = scenario->size;
    bool is_verbose = sim->is_verbose;
    memset(sim, 0, sizeof *sim);
    sim->is_verbose = is_verbose;
    sim->scenario = job == SIM_ALL_JOBS ? scenario : &undisturbed;
    sim->seed = seed;
    sim->random.state = seed;
    heap_init(&sim->queue);
    map_init(&sim->artifacts);
    map_init(&sim->counted);
    list_init(&sim->counted_list);
    map_init(&sim->damaged);
    arena_init(&sim->arena, (size_t)1 << 32);
    arena_init(&sim->scratch, (size_t)1 << 28);
    begin(sim, sim->scenario->workers, job);
    run(sim);
    sim->scenario = scenario;
    return sim->failure[0] == '\0';
}

void sim_fini(struct sim *sim)
{
    for (struct heap_node *node; (node = heap_first(&sim->queue)) != NULL;) {
        heap_remove(&sim->queue, node);
        event_destroy(CONTAINER_OF(node, struct sim_event, node));
    }
    for (uint32_t i = 0; i < sim->worker_count; i++)
        agent_destroy(&sim->workers[i].agent);
    mem_free(sim->workers);
    sim_provider_destroy(sim);
    sched_destroy(&sim->c.s);
    store_destroy(&sim->c.store);
    heap_fini(&sim->queue);
    map_fini(&sim->artifacts);
    map_fini(&sim->counted);
    map_fini(&sim->damaged);
    arena_fini(&sim->arena);
    arena_fini(&sim->scratch);
}
