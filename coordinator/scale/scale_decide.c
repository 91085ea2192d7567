/* scale_decide.c - see scale_decide.h; the rules are those of scale.h. */
#include "coordinator/scale/scale_decide.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "coordinator/scale/scale_place.h"

bool scale_state_is_leaving(const struct scale_place *place, struct instant now)
{
    if (place->state == SCALE_LEAVING || place->is_cancelled)
        return true;
    if (place->workers > 0 && place->draining == place->workers)
        return true;
    if (place->workers == 0 && place->spoke_at.ns != 0)
        return true; /* its worker went; the place will be seen to end */
    return place->let_go_at.ns != 0 &&
           scale_state_ms(place->let_go_at, now) < SCALE_STATE_LET_GO_MS;
}

static uint32_t size_of(const struct scale_site *site)
{
    return (uint32_t)site->config->workers_per_allocation;
}

/* In a comma-separated list. Nobody was seen yet: it may turn out to be. */
static bool offers(struct text list, struct text profile)
{
    while (list.size > 0) {
        size_t size = 0;
        while (size < list.size && list.data[size] != ',')
            size++;
        if (text_equal((struct text){list.data, size}, profile))
            return true;
        size_t step = MIN(size + 1, list.size);
        list = (struct text){list.data + step, list.size - step};
    }
    return false;
}

/* What a worker of it has, as seen or as the file says; 0: that is not known. Hosts differ. */
static uint64_t memory_of(const struct scale_site *site)
{
    const struct provider_config *config = site->config;
    bool is_mixed = config->kind == PROVIDER_SSH && config->hosts_count > 1 && config->memory == 0;
    if (is_mixed)
        return 0;
    return site->memory_seen > 0 ? site->memory_seen : config->memory;
}

static bool could_offer(const struct scale_site *site, struct text profile)
{
    return site->profiles == NULL || offers(text_of(site->profiles), profile);
}

static bool is_enough(uint64_t memory_bytes, const struct demand *demand)
{
    return memory_bytes == 0 || demand->memory_bytes <= memory_bytes;
}

static bool could_take(const struct scale_site *site, const struct demand *demand)
{
    return could_offer(site, demand->profile) && is_enough(memory_of(site), demand);
}

/* Work that is left for others: of each profile, now and soon. */
struct remaining {
    const struct demand *demands;
    uint32_t *now, *soon;
    size_t count;
};

static enum err remaining_init(struct remaining *r, const struct scale_event *event,
                               struct arena *arena)
{
    *r = (struct remaining){.demands = event->demands, .count = event->demand_count};
    r->now = arena_alloc(arena, MAX(r->count, (size_t)1), sizeof *r->now);
    r->soon = arena_alloc(arena, MAX(r->count, (size_t)1), sizeof *r->soon);
    if (r->now == NULL || r->soon == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < r->count; i++) {
        r->now[i] = r->demands[i].now;
        r->soon[i] = r->demands[i].soon;
    }
    return ERR_OK;
}

static enum err remaining_copy(const struct remaining *from, struct arena *arena,
                               struct remaining *out)
{
    *out = *from;
    out->now = arena_alloc(arena, MAX(from->count, (size_t)1), sizeof *out->now);
    if (out->now == NULL)
        return ERR_OUT_OF_MEMORY;
    if (from->count > 0)
        memcpy(out->now, from->now, from->count * sizeof *out->now);
    return ERR_OK;
}

/* Takes up to `count` off the counters of the rows that workers of `site`, or else the worker of
 * `load`, could take: the largest first, since those that are left may be too small for them. */
static void serve(const struct remaining *r, uint32_t *counts, uint32_t count,
                  const struct demand_load *load, const struct scale_site *site)
{
    for (size_t i = 0; i < r->count && count > 0; i++) {
        const struct demand *demand = &r->demands[i];
        if (site != NULL ? !could_take(site, demand)
                         : !offers(load->profiles, demand->profile) ||
                               !is_enough(load->memory_bytes, demand))
            continue;
        uint32_t taken = MIN(counts[i], count);
        counts[i] -= taken;
        count -= taken;
    }
}

static uint32_t servable(const struct remaining *r, const uint32_t *counts,
                         const struct scale_site *site)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < r->count; i++)
        sum += could_take(site, &r->demands[i]) ? counts[i] : 0;
    return (uint32_t)MIN(sum, (uint64_t)LIMIT_WORKERS);
}

static const struct scale_site *site_of(const struct scale *scale, struct text name)
{
    for (size_t i = 0; i < scale->count; i++) {
        if (text_is(name, scale->sites[i].name))
            return &scale->sites[i];
    }
    return NULL;
}

/* Workers that can be counted on: one that starts none has those that are there. */
static uint32_t counts_on(const struct scale_site *site, uint32_t target)
{
    bool starts = !site->is_paused && site->is_known;
    return starts ? target : MIN(target, site->running + site->waiting);
}

/* Workers that are there whatever is decided here: nobody's, and those of a target. */
static void serve_others(const struct scale *scale, const struct scale_event *event,
                         const struct remaining *r)
{
    for (size_t i = 0; i < event->load_count; i++) {
        const struct demand_load *load = &event->loads[i];
        if (load->is_draining || load->state == WORKER_LOST || load->state == WORKER_LEFT ||
            site_of(scale, load->provider) != NULL)
            continue;
        serve(r, r->now, 1, load, NULL);
        serve(r, r->soon, 1, load, NULL);
    }
    for (size_t i = 0; i < scale->count; i++) {
        const struct scale_site *site = &scale->sites[i];
        if (site->is_auto)
            continue;
        serve(r, r->now, counts_on(site, site->target), NULL, site);
        serve(r, r->soon, counts_on(site, site->target), NULL, site);
    }
}

static void count_places(struct scale_site *site, struct instant now)
{
    site->running = site->waiting = site->leaving = 0;
    for (size_t i = 0; i < site->count; i++) {
        const struct scale_place *place = &site->places[i];
        if (scale_state_is_leaving(place, now))
            site->leaving += size_of(site);
        else if (place->workers > 0)
            site->running += size_of(site);
        else
            site->waiting += size_of(site);
    }
    site->waiting += site->out == SCALE_OUT_START ? site->out_count * size_of(site) : 0;
}

static uint32_t have_of(const struct scale_site *site)
{
    return site->running + site->waiting;
}

/* More for work that nobody who is there can take, whoever should have taken it: `lack`. */
static void grow(struct scale *scale, const struct remaining *lack)
{
    for (size_t i = 0; i < scale->count; i++) {
        struct scale_site *site = &scale->sites[i];
        uint32_t have = have_of(site), room = site->max - MIN(site->max, have);
        site->grow_to = site->target;
        if (!site->is_auto)
            continue;
        uint32_t more = MIN(servable(lack, lack->now, site), room);
        site->grow_to = MAX(have + more, site->min);
        if (counts_on(site, site->grow_to) == site->grow_to)
            serve(lack, lack->now, more, NULL, site);
    }
}

/* Work that is left and that only memory keeps from its workers, in words. */
static void judge_size(struct scale_site *site, const struct remaining *lack)
{
    const struct demand *least = NULL;
    for (size_t i = 0; i < lack->count; i++) {
        const struct demand *demand = &lack->demands[i];
        if (lack->now[i] > 0 && could_offer(site, demand->profile) && !could_take(site, demand))
            least = demand;
    }
    site->unfit[0] = '\0';
    if (least != NULL)
        (void)snprintf(site->unfit, sizeof site->unfit,
                       "work waits that needs %.0f MiB a worker; its workers have %.0f MiB",
                       (double)least->memory_bytes / (1 << 20),
                       (double)memory_of(site) / (1 << 20));
}

/* As long as all are needed nobody goes, whoever should have been started for the work. */
static void count_surplus(struct scale *scale, struct instant now)
{
    uint64_t have = 0, keep = 0, want = 0;
    for (size_t i = 0; i < scale->count; i++) {
        struct scale_site *site = &scale->sites[i];
        site->floor = site->is_auto ? site->min : site->target;
        if (!site->is_auto)
            continue;
        have += have_of(site);
        keep += counts_on(site, site->keep);
        want += counts_on(site, site->want);
    }
    scale->surplus = (uint32_t)(have - MIN(keep, have));
    scale->surplus_late = (uint32_t)(have - MIN(want, have));
    if (scale->surplus == 0)
        scale->surplus_since = (struct instant){UINT64_MAX};
    else if (scale->surplus_since.ns == UINT64_MAX)
        scale->surplus_since = now;
}

enum err scale_decide_wants(struct scale *scale, const struct scale_event *event,
                            struct arena *arena)
{
    struct remaining r, lack;
    uint64_t desired = 0;
    TRY(remaining_init(&r, event, arena));
    for (size_t i = 0; i < r.count; i++)
        desired += r.now[i];
    scale->desired = (uint32_t)MIN(desired, (uint64_t)LIMIT_WORKERS);
    for (size_t i = 0; i < scale->count; i++)
        count_places(&scale->sites[i], event->now);
    serve_others(scale, event, &r);
    TRY(remaining_copy(&r, arena, &lack));
    for (size_t i = 0; i < scale->count; i++) {
        struct scale_site *site = &scale->sites[i];
        site->want = site->keep = site->target;
        if (!site->is_auto)
            continue;
        site->want = MIN(MAX(servable(&r, r.now, site), site->min), site->max);
        site->keep = MIN(MAX(servable(&r, r.soon, site), site->want), site->max);
        serve(&r, r.now, counts_on(site, site->want), NULL, site);
        serve(&r, r.soon, counts_on(site, site->keep), NULL, site);
        serve(&lack, lack.now, have_of(site), NULL, site);
    }
    grow(scale, &lack);
    for (size_t i = 0; i < scale->count; i++)
        judge_size(&scale->sites[i], &lack);
    count_surplus(scale, event->now);
    return ERR_OK;
}

/* One decision being made. */
struct decision {
    struct scale_site *site;
    const struct scale_event *event;
    bool is_preview;
    struct arena *arena;
    struct scale_effect *rows;
    size_t count;
};

static void add(struct decision *d, struct scale_effect effect)
{
    effect.provider = text_of(d->site->name);
    d->rows[d->count++] = effect;
}

/* Allocations to start now. */
static uint32_t starts_of(const struct decision *d, bool is_settled)
{
    const struct scale_site *site = d->site;
    uint32_t size = size_of(site), have = site->running + site->waiting;
    uint32_t all = have + site->leaving;
    if (have >= site->grow_to || all >= site->max || d->event->is_disk_low ||
        site->out != SCALE_OUT_NOTHING)
        return 0;
    if (!d->is_preview && (site->is_paused || !site->is_known || site->is_unsure || !is_settled ||
                           site->rest_until.ns > d->event->now.ns))
        return 0;
    uint32_t count = MIN((site->grow_to - have + size - 1) / size, (site->max - all) / size);
    uint32_t waiting = site->waiting / size, backlog = (uint32_t)site->config->backlog;
    if (!provider_keeps_children(site->config->kind)) /* it has a queue */
        count = MIN(count, backlog - MIN(backlog, waiting));
    return count;
}

/* Allocations that the engine has not been told to end. */
static uint32_t staying(const struct scale_site *site)
{
    uint32_t count = 0;
    for (size_t i = 0; i < site->count; i++)
        count += site->places[i].state != SCALE_LEAVING && !site->places[i].is_cancelled;
    return count;
}

static enum err start(struct decision *d, uint32_t count)
{
    struct scale_site *site = d->site;
    if (!d->is_preview)
        TRY(scale_place_reserve(site, count));
    site->out = SCALE_OUT_START;
    site->out_count = count;
    site->waiting += count * size_of(site);
    add(d,
        (struct scale_effect){.kind = SCALE_START, .count = count, .total = staying(site) + count});
    return ERR_OK;
}

/* A place that could be given up, and how much is lost with it. */
struct candidate {
    struct scale_place *place;
    uint64_t cost;  /* work at risk */
    uint64_t worth; /* what speaks for keeping it, among equals in cost */
};

static int compare_candidates(const void *a, const void *b)
{
    const struct candidate *left = a, *right = b;
    if (left->cost != right->cost)
        return left->cost < right->cost ? -1 : 1;
    if (left->worth != right->worth)
        return left->worth < right->worth ? -1 : 1;
    return left->place > right->place ? 1 : -1;
}

/* Places that wait, newest first, then those that run and whose workers never spoke. */
static size_t find_waiting(const struct decision *d, struct candidate *out)
{
    struct scale_site *site = d->site;
    size_t count = 0;
    for (size_t i = 0; i < site->count; i++) {
        struct scale_place *place = &site->places[i];
        if (place->workers > 0 || scale_state_is_leaving(place, d->event->now))
            continue;
        if (site->is_auto && place->state != SCALE_WAITING && !d->is_preview)
            continue; /* it will speak, and may then be idle for a while */
        out[count++] =
            (struct candidate){place, place->state != SCALE_WAITING, UINT64_MAX - place->since.ns};
    }
    qsort(out, count, sizeof *out, compare_candidates);
    return count;
}

/* Idle workers, longest idle first; with a target those at work after them. */
static size_t find_running(const struct decision *d, uint64_t idle_ms_min, struct candidate *out)
{
    struct scale_site *site = d->site;
    size_t count = 0;
    for (size_t i = 0; i < site->count; i++) {
        struct scale_place *place = &site->places[i];
        bool is_idle = place->leases == 0;
        if (place->workers == 0 || scale_state_is_leaving(place, d->event->now) ||
            place->connected < place->workers)
            continue;
        if (site->is_auto && (!is_idle || (place->idle_ms < idle_ms_min && !d->is_preview)))
            continue;
        out[count++] =
            (struct candidate){place, is_idle ? 0 : place->at_risk_ms + 1,
                               is_idle ? UINT64_MAX - place->idle_ms : place->ends_in_ms};
    }
    qsort(out, count, sizeof *out, compare_candidates);
    return count;
}

static enum err cancel(struct decision *d, const struct candidate *rows, size_t count,
                       const char *reason)
{
    struct text *ids = arena_alloc(d->arena, count, sizeof *ids);
    if (ids == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < count; i++) {
        ids[i] = text_of(rows[i].place->id);
        rows[i].place->is_cancelled = true;
        rows[i].place->let_go_at = d->event->now;
    }
    d->site->out = SCALE_OUT_CANCEL;
    add(d, (struct scale_effect){.kind = SCALE_CANCEL,
                                 .count = (uint32_t)count,
                                 .total = staying(d->site),
                                 .ids = ids,
                                 .reason = text_of(reason)});
    return ERR_OK;
}

static void drain(struct decision *d, struct scale_place *place, const char *reason)
{
    const struct demand_load *end = d->event->loads + d->event->load_count;
    bool is_alone = place->workers == 1;
    place->let_go_at = d->event->now;
    for (const struct demand_load *load = is_alone ? place->first : d->event->loads; load < end;
         load++) {
        if (!text_is(load->provider, d->site->name) || !text_is(load->allocation, place->id) ||
            load->is_draining || load->state == WORKER_LOST || load->state == WORKER_LEFT)
            continue;
        add(d, (struct scale_effect){.kind = SCALE_DRAIN,
                                     .count = 1,
                                     .worker = load->worker,
                                     .reason = text_of(reason)});
        if (is_alone)
            break;
    }
}

static enum err let_go(struct decision *d, const struct candidate *rows, size_t count,
                       const char *reason)
{
    if (count == 0)
        return ERR_OK;
    if (d->site->config->kind == PROVIDER_KUBERNETES) {
        /* A pod whose worker left would be started again: Kubernetes ends it. */
        return d->site->out == SCALE_OUT_NOTHING ? cancel(d, rows, count, reason) : ERR_OK;
    }
    for (size_t i = 0; i < count; i++)
        drain(d, rows[i].place, reason);
    return ERR_OK;
}

/* Up to *surplus workers go, and are taken off it. */
static enum err shrink(struct decision *d, uint32_t *surplus, bool may_cancel, uint64_t idle_ms_min)
{
    struct scale_site *site = d->site;
    uint32_t size = size_of(site), have = have_of(site);
    size_t most = MIN(have - MIN(have, site->floor), *surplus) / size;
    if (most == 0)
        return ERR_OK;
    struct candidate *rows = arena_alloc(d->arena, MAX(site->count, (size_t)1), sizeof *rows);
    if (rows == NULL)
        return ERR_OUT_OF_MEMORY;
    const char *reason = site->is_auto ? "no work for it" : "the target is lower";
    size_t waiting = may_cancel ? MIN(find_waiting(d, rows), most) : 0;
    if (waiting > 0 && site->out == SCALE_OUT_NOTHING)
        TRY(cancel(d, rows, waiting, reason));
    size_t running = MIN(find_running(d, idle_ms_min, rows), most - waiting);
    *surplus -= (uint32_t)(waiting + running) * size;
    return let_go(d, rows, running, reason);
}

/* Places that run and whose workers never speak. One that is still there long after it was told to
 * go is told again: whoever carries that out means it then. */
static enum err give_up_silent(struct decision *d)
{
    struct scale_site *site = d->site;
    struct candidate *rows = arena_alloc(d->arena, MAX(site->count, (size_t)1), sizeof *rows);
    size_t count = 0, blamed = 0;
    if (rows == NULL)
        return ERR_OUT_OF_MEMORY;
    if (site->out != SCALE_OUT_NOTHING)
        return ERR_OK;
    for (size_t i = 0; i < site->count; i++) {
        struct scale_place *place = &site->places[i];
        bool is_silent = place->spoke_at.ns == 0 && place->state == SCALE_RUNNING;
        struct instant since = place->is_cancelled ? place->let_go_at : place->since;
        if (!is_silent || scale_state_ms(since, d->event->now) < SCALE_STATE_SILENT_MS)
            continue;
        blamed += !place->is_cancelled;
        rows[count++] = (struct candidate){.place = place};
    }
    if (count == 0)
        return ERR_OK;
    TRY(cancel(d, rows, count, "its worker never spoke"));
    for (size_t i = 0; i < blamed; i++)
        scale_place_blame(site, d->event->now, TEXT("its worker does not reach the coordinator"));
    return ERR_OK;
}

static void ask(struct decision *d)
{
    struct scale_site *site = d->site;
    bool is_moving = site->waiting + site->leaving > 0 || site->deaf > 0 || site->is_unsure;
    uint64_t due_ns = site->ask_at.ns;
    if (is_moving)
        due_ns = MIN(due_ns, instant_after(site->asked_at, duration_ms(SCALE_STATE_ASK_MS)).ns);
    if (provider_keeps_children(site->config->kind) || site->out != SCALE_OUT_NOTHING ||
        d->is_preview || (site->is_known && !site->is_unsure && site->count == 0) ||
        due_ns > d->event->now.ns)
        return;
    site->out = SCALE_OUT_ASK;
    site->asked_at = d->event->now;
    site->ask_at = instant_after(d->event->now, duration_ms(SCALE_STATE_LOOK_MS));
    add(d, (struct scale_effect){.kind = SCALE_ASK});
}

/* Providers of a target each for itself; those on auto together, the last of the file first. */
static enum err shrink_all(struct decision *d, struct scale *scale)
{
    enum { LATE_FACTOR = 4 };
    uint32_t surplus = scale->surplus, late = scale->surplus_late;
    uint64_t since_ms = scale_state_ms(scale->surplus_since, d->event->now);
    bool may_cancel = d->is_preview || since_ms >= SCALE_STATE_GRACE_MS;
    for (size_t i = scale->count; i-- > 0;) {
        d->site = &scale->sites[i];
        uint64_t idle_ms = d->site->config->idle_timeout;
        uint32_t mine = have_of(d->site);
        if (!d->site->is_auto) {
            TRY(shrink(d, &mine, true, 0));
            continue;
        }
        uint32_t before = surplus;
        TRY(shrink(d, &surplus, may_cancel, idle_ms));
        late -= before - surplus;
        /* What is soon must not come too late. */
        if (surplus == 0 && before == 0)
            TRY(shrink(d, &late, false, MAX(idle_ms, (uint64_t)1) * LATE_FACTOR));
    }
    return ERR_OK;
}

static enum err decide_all(struct decision *d, struct scale *scale, bool is_settled)
{
    for (size_t i = 0; i < scale->count; i++) {
        d->site = &scale->sites[i];
        uint32_t count = starts_of(d, is_settled);
        if (count > 0)
            TRY(start(d, count));
    }
    if (is_settled)
        TRY(shrink_all(d, scale));
    for (size_t i = 0; i < scale->count; i++) {
        d->site = &scale->sites[i];
        TRY(give_up_silent(d));
        ask(d);
    }
    return ERR_OK;
}

enum err scale_decide(struct scale *scale, const struct scale_event *event, bool is_preview,
                      struct arena *arena, struct scale_effects *effects)
{
    size_t capacity = event->load_count;
    for (size_t i = 0; i < scale->count; i++)
        capacity += 4;
    struct decision d = {.event = event, .is_preview = is_preview, .arena = arena};
    d.rows = arena_alloc(arena, MAX(capacity, (size_t)1), sizeof *d.rows);
    if (d.rows == NULL)
        return ERR_OUT_OF_MEMORY;
    bool is_settled = is_preview || event->now.ns >= scale->settled_at.ns;
    enum err err = decide_all(&d, scale, is_settled);
    ASSERT(d.count <= capacity);
    *effects = (struct scale_effects){d.rows, d.count};
    /* What was decided stands, since its commands count as out; the rest comes at the next look. */
    return d.count > 0 ? ERR_OK : err;
}
