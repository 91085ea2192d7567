/* yard.c - see yard.h. */
#include "yard.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"

static struct demand_load loads[YARD_PLACES];
static struct demand demands[1];

uint64_t yard_random(struct yard *yard, uint64_t bound)
{
    yard->random = yard->random * 6364136223846793005u + 1442695040888963407u;
    return (yard->random >> 33) % bound;
}

static void fail(struct yard *yard, const char *what, uint32_t a, uint32_t b)
{
    if (yard->failure[0] == '\0')
        (void)snprintf(yard->failure, sizeof yard->failure, "at %llu ms: %s: %u, %u",
                       (unsigned long long)yard->now_ms, what, a, b);
}

static struct instant now_of(const struct yard *yard)
{
    return (struct instant){(yard->now_ms + 1000) * NS_PER_MS};
}

static size_t fill_loads(struct yard *yard)
{
    size_t count = 0;
    for (uint32_t i = 0; i < YARD_PLACES; i++) {
        const struct yard_place *place = &yard->places[i];
        if (place->state != YARD_WORKING && place->state != YARD_DRAINING)
            continue;
        loads[count++] = (struct demand_load){
            .worker = place->worker,
            .name = text_of(place->id),
            .profiles = TEXT("f32/1,bf16/1"),
            .memory_bytes = yard->memory_bytes,
            .provider = text_of(yard->providers.rows[place->site].name),
            .allocation = text_of(place->id),
            .state = place->state == YARD_DRAINING ? WORKER_DRAINING : WORKER_READY,
            .is_connected = true,
            .is_draining = place->state == YARD_DRAINING,
            .lease_count = place->leases,
            .idle_ms = place->leases > 0 ? 0 : yard->now_ms - place->idle_since_ms,
            .at_risk_ms = place->leases > 0 ? yard->now_ms - place->lease_since_ms : 0,
            .ends_in_ms = UINT64_MAX,
        };
    }
    return count;
}

struct scale_event yard_tick(struct yard *yard)
{
    demands[0] = (struct demand){.profile = TEXT("f32/1"),
                                 .memory_bytes = yard->memory_needed,
                                 .now = yard->now,
                                 .soon = MAX(yard->now, yard->soon)};
    return (struct scale_event){.kind = SCALE_TICK,
                                .now = now_of(yard),
                                .demands = demands,
                                .demand_count = 1,
                                .loads = loads,
                                .load_count = fill_loads(yard),
                                .is_disk_low = yard->is_disk_low};
}

struct yard_place *yard_place_of(struct yard *yard, uint64_t worker)
{
    for (uint32_t i = 0; i < YARD_PLACES; i++) {
        if (yard->places[i].worker == worker && worker != 0)
            return &yard->places[i];
    }
    return NULL;
}

static uint32_t site_of(const struct yard *yard, struct text provider)
{
    uint32_t i = 0;
    while (!text_is(provider, yard->providers.rows[i].name))
        i++;
    return i;
}

/* What sites on auto have, as far as that can be known, and will keep, and what they must have in
 * any case. */
static void count_auto(const struct yard *yard, uint32_t *staying, uint32_t *mins)
{
    *staying = *mins = 0;
    for (uint32_t site = 0; site < yard->providers.count; site++) {
        struct provider_row row = yard_row(yard, site);
        bool is_known = !text_is(row.state, "unknown");
        *mins += row.is_auto ? row.min : 0;
        for (uint32_t i = 0; row.is_auto && i < YARD_PLACES; i++) {
            const struct yard_place *place = &yard->places[i];
            *staying +=
                place->site == site && !place->is_cancelled &&
                (place->state == YARD_WORKING ||
                 (is_known && (place->state == YARD_QUEUED || place->state == YARD_BOOTING)));
        }
    }
}

/* What the engine of a Deployment will make of `total`, which is all that it looks at. */
static void check_total(struct yard *yard, uint32_t site, const struct scale_effect *effect)
{
    uint32_t staying = 0;
    for (uint32_t i = 0; i < YARD_PLACES; i++) {
        const struct yard_place *place = &yard->places[i];
        staying += place->site == site && !place->is_cancelled &&
                   (place->state == YARD_QUEUED || place->state == YARD_BOOTING ||
                    place->state == YARD_WORKING);
    }
    uint32_t expected =
        effect->kind == SCALE_START ? staying + effect->count : staying - effect->count;
    if (effect->total != expected)
        fail(yard, "replicas", effect->total, expected);
}

/* The rules that hold for every effect, whatever happened. */
static void check_effect(struct yard *yard, const struct scale_effect *effect)
{
    uint32_t site = site_of(yard, effect->provider);
    struct provider_row row = yard_row(yard, site);
    if (effect->kind != SCALE_DRAIN && yard->commands[site].is_out)
        fail(yard, "a second command of a provider", site, (uint32_t)effect->kind);
    if (yard->providers.rows[site].kind == PROVIDER_KUBERNETES && effect->kind != SCALE_ASK)
        check_total(yard, site, effect);
    if (effect->kind == SCALE_START) {
        if (yard_used(yard, site) + effect->count > row.max)
            fail(yard, "more than max", yard_used(yard, site) + effect->count, row.max);
        uint32_t staying, mins;
        count_auto(yard, &staying, &mins);
        if (row.is_auto && staying + effect->count > yard->now + mins)
            fail(yard, "started for nothing", staying + effect->count, yard->now);
        if (yard->is_disk_low)
            fail(yard, "started while the disk is low", effect->count, 0);
    }
    if (effect->kind == SCALE_DRAIN) {
        struct yard_place *place = yard_place_of(yard, effect->worker);
        if (row.is_auto && (place == NULL || place->leases > 0))
            fail(yard, "a worker with work was let go", site, 0);
    }
}

static void begin_drain(const struct yard *yard, struct yard_place *place)
{
    place->state = YARD_DRAINING;
    place->due_ms = yard->now_ms + yard->drain_ms;
}

static void carry_out(struct yard *yard, const struct scale_effect *effect)
{
    uint32_t site = site_of(yard, effect->provider);
    struct yard_command *command = &yard->commands[site];
    yard->starts += effect->kind == SCALE_START ? effect->count : 0;
    yard->cancels += effect->kind == SCALE_CANCEL ? effect->count : 0;
    yard->drains += effect->kind == SCALE_DRAIN;
    yard->questions += effect->kind == SCALE_ASK;
    if (effect->kind == SCALE_DRAIN) {
        struct yard_place *place = yard_place_of(yard, effect->worker);
        yard->last_drained = effect->worker;
        if (place != NULL && place->state == YARD_WORKING)
            begin_drain(yard, place);
        return;
    }
    command->kind = effect->kind;
    command->is_out = true;
    command->due_ms = yard->now_ms + yard->command_ms;
    command->count = effect->count;
    for (uint32_t i = 0; effect->kind == SCALE_CANCEL && i < effect->count; i++) {
        (void)snprintf(command->ids[i], sizeof command->ids[i], "%.*s", TEXT_ARGS(effect->ids[i]));
        for (uint32_t k = 0; k < YARD_PLACES; k++)
            yard->places[k].is_cancelled |= strcmp(yard->places[k].id, command->ids[i]) == 0;
    }
}

static void step(struct yard *yard, struct scale_event event)
{
    struct scale_effects effects;
    enum err err = scale_step(yard->scale, &event, &effects);
    if (err != ERR_OK && !(yard->may_run_out && err == ERR_OUT_OF_MEMORY))
        fail(yard, "scale_step failed", (uint32_t)err, 0);
    for (size_t i = 0; i < effects.count; i++) {
        check_effect(yard, &effects.rows[i]);
        carry_out(yard, &effects.rows[i]);
    }
}

static enum provider_kind kind_of(const struct yard *yard, uint32_t site)
{
    return (enum provider_kind)yard->providers.rows[site].kind;
}

static enum scale_state state_of(const struct yard *yard, const struct yard_place *place)
{
    if (place->state == YARD_QUEUED)
        return SCALE_WAITING;
    if (place->state == YARD_DRAINING && kind_of(yard, place->site) == PROVIDER_KUBERNETES)
        return SCALE_LEAVING;
    return place->state == YARD_OVER ? SCALE_ENDED : SCALE_RUNNING;
}

/* What the engine lists, or what a child's end tells. */
static size_t list(struct yard *yard, uint32_t site, bool only_over, struct scale_allocation *rows)
{
    size_t count = 0;
    for (uint32_t i = 0; i < YARD_PLACES; i++) {
        struct yard_place *place = &yard->places[i];
        if (place->state == YARD_FREE || place->site != site ||
            (only_over && place->state != YARD_OVER))
            continue;
        rows[count++] = (struct scale_allocation){.id = text_of(place->id),
                                                  .state = state_of(yard, place),
                                                  .has_failed = place->has_failed,
                                                  .detail = TEXT("exit 7")};
    }
    return count;
}

static void forget_over(struct yard *yard, uint32_t site)
{
    for (uint32_t i = 0; i < YARD_PLACES; i++) {
        if (yard->places[i].state == YARD_OVER && yard->places[i].site == site)
            yard->places[i] = (struct yard_place){0};
    }
}

static struct yard_place *make_place(struct yard *yard, uint32_t site)
{
    uint32_t i = 0;
    while (yard->places[i].state != YARD_FREE)
        i++;
    struct yard_place *place = &yard->places[i];
    *place = (struct yard_place){.state = YARD_QUEUED, .site = site};
    place->number = ++yard->last_number;
    place->due_ms = yard->now_ms + yard->queue_ms;
    (void)snprintf(place->id, sizeof place->id, "%u", place->number);
    return place;
}

static bool keeps_children(const struct yard *yard, uint32_t site)
{
    return kind_of(yard, site) == PROVIDER_LOCAL || kind_of(yard, site) == PROVIDER_SSH;
}

static void finish_start(struct yard *yard, uint32_t site)
{
    static struct scale_allocation rows[YARD_PLACES];
    struct yard_command *command = &yard->commands[site];
    struct scale_event event = {.kind = SCALE_STARTED};
    size_t count = 0;
    for (uint32_t i = 0; !yard->fails_commands[site] && i < command->count; i++) {
        struct yard_place *place = make_place(yard, site);
        if (keeps_children(yard, site)) {
            place->state = YARD_BOOTING;
            place->due_ms = yard->now_ms + yard->boot_ms;
        }
        rows[count++] =
            (struct scale_allocation){.id = text_of(place->id), .state = state_of(yard, place)};
    }
    bool is_hidden = yard->hides_starts[site];
    count = is_hidden || yard->mumbles_starts[site] ? 0 : count;
    event.answer.error = yard->fails_commands[site] || is_hidden ? ERR_IO : ERR_OK;
    event.answer.detail = TEXT("sbatch: error");
    event.answer.rows = rows;
    event.answer.count = count;
    struct scale_event tick = yard_tick(yard);
    tick.kind = event.kind;
    tick.answer = event.answer;
    tick.provider = text_of(yard->providers.rows[site].name);
    step(yard, tick);
}

static void finish_status(struct yard *yard, uint32_t site, bool only_over)
{
    static struct scale_allocation rows[YARD_PLACES];
    struct scale_event event = yard_tick(yard);
    event.kind = SCALE_STATUS;
    event.provider = text_of(yard->providers.rows[site].name);
    bool fails = yard->fails_questions[site] && !only_over;
    event.answer.error = fails ? ERR_IO : ERR_OK;
    event.answer.detail = TEXT("squeue: error");
    event.answer.is_partial = only_over;
    event.answer.rows = rows;
    event.answer.count = fails ? 0 : list(yard, site, only_over, rows);
    step(yard, event);
    if (!fails)
        forget_over(yard, site);
}

static void finish_cancel(struct yard *yard, uint32_t site)
{
    struct yard_command *command = &yard->commands[site];
    struct scale_event event = yard_tick(yard);
    for (uint32_t c = 0; c < command->count; c++) {
        for (uint32_t i = 0; i < YARD_PLACES; i++) {
            if (yard->places[i].state == YARD_FREE ||
                strcmp(yard->places[i].id, command->ids[c]) != 0)
                continue;
            bool works = yard->places[i].state == YARD_WORKING;
            if (yard->places[i].state != YARD_QUEUED && kind_of(yard, site) == PROVIDER_SLURM)
                continue; /* only what waits is cancelled */
            if (works && yard->ignores_cancels)
                yard->places[i].is_cancelled = false;
            else if (works)
                begin_drain(yard, &yard->places[i]);
            else
                yard->places[i].state = YARD_OVER;
        }
    }
    event = yard_tick(yard);
    event.kind = SCALE_CANCELLED;
    event.provider = text_of(yard->providers.rows[site].name);
    step(yard, event);
}

static void finish_commands(struct yard *yard)
{
    for (uint32_t site = 0; site < yard->providers.count; site++) {
        struct yard_command *command = &yard->commands[site];
        if (!command->is_out || command->due_ms > yard->now_ms)
            continue;
        command->is_out = false;
        if (command->kind == SCALE_START)
            finish_start(yard, site);
        else if (command->kind == SCALE_ASK)
            finish_status(yard, site, false);
        else
            finish_cancel(yard, site);
    }
}

static void move_place(struct yard *yard, struct yard_place *place)
{
    if (place->state == YARD_QUEUED && place->due_ms <= yard->now_ms) {
        place->state = YARD_BOOTING;
        place->due_ms = yard->now_ms + yard->boot_ms;
    } else if (place->state == YARD_BOOTING && place->due_ms <= yard->now_ms) {
        place->has_failed = yard->fails_boots[place->site];
        place->state = place->has_failed ? YARD_OVER : YARD_WORKING;
        place->is_cancelled &= kind_of(yard, place->site) != PROVIDER_SLURM;
        place->worker = place->has_failed ? 0 : ++yard->last_worker;
        place->idle_since_ms = yard->now_ms;
    } else if (place->state == YARD_WORKING && yard->chance_lost > 0 &&
               yard_random(yard, 1000000) < yard->chance_lost) {
        place->state = YARD_OVER;
        place->has_failed = true;
        place->worker = 0;
    } else if (place->state == YARD_DRAINING && place->leases == 0 &&
               place->due_ms <= yard->now_ms) {
        place->state = YARD_OVER;
        place->worker = 0;
    }
}

/* Tasks go to workers, first come first served; those of who drains run on for a second. */
static void give_work(struct yard *yard)
{
    uint32_t left = yard->now;
    for (uint32_t i = 0; i < YARD_PLACES; i++) {
        struct yard_place *place = &yard->places[i];
        bool is_fit = yard->memory_bytes == 0 || yard->memory_needed <= yard->memory_bytes;
        bool may_work = place->state == YARD_WORKING && is_fit && left > 0;
        left -= may_work;
        if (place->state == YARD_DRAINING && yard->now_ms - place->lease_since_ms < 1000)
            continue;
        if (place->leases > 0 && !may_work)
            place->idle_since_ms = yard->now_ms;
        if (place->leases == 0 && may_work)
            place->lease_since_ms = yard->now_ms;
        place->leases = may_work;
    }
}

void yard_run(struct yard *yard, uint64_t ms)
{
    for (uint64_t end = yard->now_ms + ms; yard->now_ms < end; yard->now_ms += YARD_STEP_MS) {
        for (uint32_t i = 0; i < YARD_PLACES; i++)
            move_place(yard, &yard->places[i]);
        give_work(yard);
        for (uint32_t site = 0; site < yard->providers.count; site++) {
            if (keeps_children(yard, site))
                finish_status(yard, site, true);
        }
        finish_commands(yard);
        step(yard, yard_tick(yard));
        for (uint32_t site = 0; site < yard->providers.count; site++) {
            if (yard_used(yard, site) > yard->providers.rows[site].max)
                fail(yard, "above max", yard_used(yard, site), site);
        }
    }
}

static void configure(struct yard *yard, bool is_restart)
{
    struct scale_event event = {.kind = SCALE_CONFIGURED, .now = now_of(yard)};
    event.configured.providers = &yard->providers;
    event.configured.is_restart = is_restart;
    step(yard, event);
}

static void read_file(const char *providers_yml, struct providers *out)
{
    struct err_text et = {""};
    struct span text = span_of_text(text_of(providers_yml));
    if (providers_read(text, "p.yml", 4, out, &et) == ERR_OK)
        return;
    (void)fprintf(stderr, "%s\n", et.text);
    abort();
}

void yard_init(struct yard *yard, const char *providers_yml)
{
    struct providers providers;
    read_file(providers_yml, &providers);
    *yard = (struct yard){.random = 1, .command_ms = 200, .queue_ms = 1000, .boot_ms = 500};
    yard->providers = providers;
    ASSERT(scale_create(&yard->scale) == ERR_OK);
    configure(yard, false);
}

void yard_reload(struct yard *yard, const char *providers_yml)
{
    struct providers old = yard->providers;
    read_file(providers_yml, &yard->providers);
    configure(yard, false);
    providers_fini(&old);
}

void yard_fini(struct yard *yard)
{
    scale_destroy(&yard->scale);
    providers_fini(&yard->providers);
}

void yard_restart(struct yard *yard)
{
    scale_destroy(&yard->scale);
    for (uint32_t site = 0; site < yard->providers.count; site++)
        yard->commands[site].is_out = false;
    for (uint32_t i = 0; i < YARD_PLACES; i++)
        yard->places[i].is_cancelled = false;
    ASSERT(scale_create(&yard->scale) == ERR_OK);
    configure(yard, true);
}

static void target(struct yard *yard, struct rec_scale_target record)
{
    struct scale_event event = {.kind = SCALE_TARGETED, .now = now_of(yard), .target = &record};
    step(yard, event);
}

void yard_target(struct yard *yard, const char *provider, uint32_t count)
{
    target(yard, (struct rec_scale_target){.provider = text_of(provider), .target = count});
}

void yard_auto(struct yard *yard, const char *provider, uint32_t min, uint32_t max)
{
    target(yard, (struct rec_scale_target){
                     .provider = text_of(provider), .is_auto = true, .min = min, .max = max});
}

uint32_t yard_workers(const struct yard *yard, uint32_t site)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < YARD_PLACES; i++)
        count += yard->places[i].state == YARD_WORKING &&
                 (site == UINT32_MAX || yard->places[i].site == site);
    return count;
}

uint32_t yard_used(const struct yard *yard, uint32_t site)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < YARD_PLACES; i++)
        count += yard->places[i].state != YARD_FREE && yard->places[i].state != YARD_OVER &&
                 yard->places[i].site == site;
    return count;
}

struct provider_row yard_row(const struct yard *yard, uint32_t site)
{
    struct provider_row rows[YARD_SITES];
    size_t count = scale_rows(yard->scale, now_of(yard), rows, YARD_SITES);
    ASSERT(site < count);
    return rows[site];
}
