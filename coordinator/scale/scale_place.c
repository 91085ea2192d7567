/* scale_place.c - see scale_place.h. */
#include "coordinator/scale/scale_place.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/mem/mem.h"

/* Where `id` is, or belongs. */
static size_t place_of(const struct scale_site *site, struct text id, bool *is_there)
{
    size_t low = 0, high = site->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = text_compare(text_of(site->places[middle].id), id);
        if (order == 0) {
            *is_there = true;
            return middle;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *is_there = false;
    return low;
}

enum err scale_place_reserve(struct scale_site *site, size_t count)
{
    size_t needed = site->count + count;
    if (needed <= site->capacity)
        return ERR_OK;
    size_t capacity = MAX(needed, site->capacity * 2);
    struct scale_place *places = mem_resize(site->places, capacity, sizeof *places);
    if (places == NULL)
        return ERR_OUT_OF_MEMORY;
    site->places = places;
    site->capacity = capacity;
    return ERR_OK;
}

static enum err add_place(struct scale_site *site, struct text id, struct instant now,
                          struct scale_place **out)
{
    bool is_there;
    size_t at = place_of(site, id, &is_there);
    *out = site->places == NULL ? NULL : &site->places[at];
    if (is_there)
        return ERR_OK;
    TRY(scale_place_reserve(site, 1));
    memmove(site->places + at + 1, site->places + at, (site->count - at) * sizeof *site->places);
    site->count++;
    *out = &site->places[at];
    **out = (struct scale_place){.state = SCALE_RUNNING, .since = now, .is_listed = true};
    memcpy((*out)->id, id.data, id.size);
    return ERR_OK;
}

static void remove_place(struct scale_site *site, size_t at)
{
    site->count--;
    memmove(site->places + at, site->places + at + 1, (site->count - at) * sizeof *site->places);
}

void scale_place_clear(struct scale_site *site)
{
    mem_free(site->places);
    site->places = NULL;
    site->count = site->capacity = 0;
}

/* Later and later, and in the end not at all. */
static void rest(struct scale_site *site, struct instant now, uint32_t times)
{
    enum { DOUBLINGS_MAX = 7 };
    uint64_t ms = (uint64_t)LIMIT_SCALE_REST_MS << MIN(times - 1, (uint32_t)DOUBLINGS_MAX);
    site->rest_until = instant_after(now, duration_ms(ms));
}

static void note(struct scale_site *site, struct text detail, const char *preset)
{
    if (detail.size == 0)
        detail = text_of(preset);
    (void)snprintf(site->detail, sizeof site->detail, "%.*s", TEXT_ARGS(detail));
}

/* Until a person says otherwise. `detail` is the last failure. */
static void pause_site(struct scale_site *site, uint32_t times, const char *what)
{
    char last[SCALE_STATE_DETAIL_BYTES];
    (void)snprintf(last, sizeof last, "%s", site->detail);
    (void)snprintf(site->detail, sizeof site->detail,
                   "%u %s in a row; `qctl workers scale` tries again: %s", times, what, last);
    site->is_paused = true;
}

/* Whom a loss is the fault of: one host is not the others. They are tried in turn, so that many
 * losses in a row are one of each. */
static uint32_t hosts_of(const struct scale_site *site)
{
    bool has_hosts = site->config->kind == PROVIDER_SSH && site->config->hosts_count > 0;
    return has_hosts ? (uint32_t)site->config->hosts_count : 1;
}

void scale_place_blame(struct scale_site *site, struct instant now, struct text detail)
{
    if (site->is_paused)
        return;
    note(site, detail, "it ended before its worker spoke");
    uint32_t hosts = hosts_of(site);
    if (++site->losses % hosts == 0)
        rest(site, now, site->losses / hosts);
    if (site->losses >= LIMIT_SCALE_LOSSES * hosts)
        pause_site(site, site->losses, "starts without a worker");
}

static void count_failure(struct scale_site *site, struct instant now, struct text detail)
{
    note(site, detail, "the command failed");
    rest(site, now, ++site->failures);
    if (site->failures >= LIMIT_SCALE_FAILURES)
        pause_site(site, site->failures, "failed starts");
}

/* A place came to its end. Whoever never worked in it makes the next start later. */
static void end_place(struct scale_site *site, size_t at, bool has_failed, struct instant now,
                      struct text detail)
{
    struct scale_place *place = &site->places[at];
    bool has_spoken = place->spoke_at.ns != 0;
    bool is_young =
        !has_spoken || (has_failed && scale_state_ms(place->spoke_at, now) < SCALE_STATE_YOUNG_MS);
    bool was_told = place->is_cancelled || place->let_go_at.ns != 0 ||
                    (place->workers > 0 && place->draining == place->workers);
    if (is_young && !was_told)
        scale_place_blame(site, now, detail);
    remove_place(site, at);
}

static enum err take_row(struct scale_site *site, const struct scale_allocation *row,
                         struct instant now)
{
    bool is_there;
    size_t at = place_of(site, row->id, &is_there);
    if (!provider_id_is_valid(row->id))
        return ERR_OK;
    if (row->state == SCALE_ENDED) {
        if (is_there)
            end_place(site, at, row->has_failed, now, row->detail);
        return ERR_OK;
    }
    struct scale_place *place;
    TRY(add_place(site, row->id, now, &place));
    place->is_listed = true;
    if (row->state == SCALE_RUNNING && place->state == SCALE_WAITING)
        place->since = now;
    if (row->state != SCALE_UNKNOWN)
        place->state = row->state;
    if (row->state == SCALE_RUNNING && place->spoke_at.ns != 0 && place->is_cancelled) {
        place->is_cancelled = false; /* another pod was ended in its place */
        place->let_go_at = (struct instant){0};
    }
    if (row->state == SCALE_WAITING && row->detail.size > 0 && site->failures + site->losses == 0)
        note(site, row->detail, "");
    return ERR_OK;
}

/* Everything that it has was listed. What is not and has no worker is gone. */
static void drop_unlisted(struct scale_site *site, struct instant now)
{
    for (size_t i = site->count; i-- > 0;) {
        struct scale_place *place = &site->places[i];
        if (place->is_listed || place->workers > 0)
            continue;
        /* Pods have other names than the places that were asked for. */
        if (site->config->kind == PROVIDER_KUBERNETES)
            remove_place(site, i);
        else
            end_place(site, i, false, now, TEXT("it vanished"));
    }
}

static enum err take_rows(struct scale_site *site, const struct scale_event *event)
{
    enum err err = ERR_OK;
    for (size_t i = 0; i < event->answer.count && err == ERR_OK; i++)
        err = take_row(site, &event->answer.rows[i], event->now);
    return err;
}

static enum err take_status(struct scale_site *site, const struct scale_event *event)
{
    if (event->answer.error != ERR_OK) {
        site->deaf++;
        site->is_known &= site->deaf < SCALE_STATE_UNKNOWN_FAILURES;
        if (!site->is_known)
            note(site, event->answer.detail, "it does not say what it has");
        return ERR_OK;
    }
    if (event->answer.is_partial)
        return take_rows(site, event);
    site->is_known = false;
    for (size_t i = 0; i < site->count; i++)
        site->places[i].is_listed = false;
    TRY(take_rows(site, event));
    drop_unlisted(site, event->now);
    site->deaf = 0;
    site->is_known = true;
    site->is_unsure = false;
    return ERR_OK;
}

static void take_cancelled(struct scale_site *site, const struct scale_event *event)
{
    site->ask_at = instant_after(event->now, duration_ms(NS_PER_S / NS_PER_MS));
    if (event->answer.error == ERR_OK)
        return;
    for (size_t i = 0; i < site->count; i++)
        site->places[i].is_cancelled = false;
    note(site, event->answer.detail, "a cancellation failed");
    rest(site, event->now, 1);
}

enum err scale_place_report(struct scale_site *site, const struct scale_event *event)
{
    if (event->kind == SCALE_STATUS) {
        if (!event->answer.is_partial && site->out == SCALE_OUT_ASK)
            site->out = SCALE_OUT_NOTHING;
        return take_status(site, event);
    }
    uint32_t asked_for = site->out_count;
    site->out = SCALE_OUT_NOTHING;
    site->out_count = 0;
    if (event->kind == SCALE_CANCELLED) {
        take_cancelled(site, event);
        return ERR_OK;
    }
    site->ask_at = instant_after(event->now, duration_ms(NS_PER_S / NS_PER_MS));
    site->is_unsure = !provider_keeps_children(site->config->kind) &&
                      (event->answer.error != ERR_OK || event->answer.count < asked_for);
    if (event->answer.error != ERR_OK)
        count_failure(site, event->now, event->answer.detail);
    else
        site->failures = 0;
    return take_rows(site, event);
}

static int compare_loads(const void *a, const void *b)
{
    const struct demand_load *const *left = a, *const *right = b;
    int order = text_compare((*left)->provider, (*right)->provider);
    if (order == 0)
        order = text_compare((*left)->allocation, (*right)->allocation);
    return order != 0 ? order
                      : ((*left)->worker > (*right)->worker) - ((*left)->worker < (*right)->worker);
}

static bool is_living(const struct demand_load *load)
{
    return load->state != WORKER_LOST && load->state != WORKER_LEFT;
}

static void clear_workers(struct scale_site *site)
{
    for (size_t i = 0; i < site->count; i++) {
        struct scale_place *place = &site->places[i];
        place->workers = place->draining = place->connected = place->leases = 0;
        place->idle_ms = place->ends_in_ms = UINT64_MAX;
        place->at_risk_ms = 0;
        place->first = NULL;
    }
}

static void add_worker(struct scale_place *place, const struct demand_load *load,
                       struct instant now)
{
    if (place->spoke_at.ns == 0)
        place->spoke_at = now;
    place->state = place->state == SCALE_WAITING ? SCALE_RUNNING : place->state;
    place->workers++;
    place->draining += load->is_draining;
    place->connected += load->is_connected;
    place->leases += load->lease_count;
    place->idle_ms = MIN(place->idle_ms, load->idle_ms);
    place->ends_in_ms = MIN(place->ends_in_ms, load->ends_in_ms);
    place->at_risk_ms += load->at_risk_ms;
    if (place->first == NULL)
        place->first = load;
}

static enum err learn_profiles(struct scale_site *site, struct text profiles)
{
    if (site->profiles != NULL && text_is(profiles, site->profiles))
        return ERR_OK;
    char *copy = mem_copy_text(profiles);
    if (copy == NULL)
        return ERR_OUT_OF_MEMORY;
    mem_free(site->profiles);
    site->profiles = copy;
    return ERR_OK;
}

/* The most that one of its workers has, as long as one is there that says so. */
static void learn_memory(struct scale_site *site, const struct demand_load *const *loads,
                         size_t count)
{
    uint64_t most = 0;
    for (size_t i = 0; i < count; i++)
        most = is_living(loads[i]) ? MAX(most, loads[i]->memory_bytes) : most;
    if (most > 0)
        site->memory_seen = most;
}

/* Workers of one site: loads of its name. */
static enum err join_site(struct scale_site *site, const struct demand_load *const *loads,
                          size_t count, struct instant now)
{
    clear_workers(site);
    learn_memory(site, loads, count);
    for (size_t i = 0; i < count; i++) {
        struct scale_place *place;
        if (!is_living(loads[i]) || !provider_id_is_valid(loads[i]->allocation))
            continue;
        bool is_there;
        (void)place_of(site, loads[i]->allocation, &is_there);
        TRY(add_place(site, loads[i]->allocation, now, &place));
        if (!is_there) { /* of an earlier life of the coordinator */
            place->is_listed = false;
            place->was_good = true;
            place->idle_ms = place->ends_in_ms = UINT64_MAX;
        }
        add_worker(place, loads[i], now);
        TRY(learn_profiles(site, loads[i]->profiles));
    }
    return ERR_OK;
}

/* Places that nobody tells of any more, and what living workers say about starting. A place that
 * got its machine before it could be cancelled is there like any other; a pod is ended all the
 * same. */
static void settle_site(struct scale_site *site, struct instant now)
{
    for (size_t i = site->count; i-- > 0;) {
        struct scale_place *place = &site->places[i];
        if (place->workers == 0 && !place->is_listed &&
            provider_keeps_children(site->config->kind)) {
            remove_place(site, i);
            continue;
        }
        if (place->workers > 0 && place->is_cancelled && site->config->kind == PROVIDER_SLURM) {
            place->is_cancelled = false;
            place->let_go_at = (struct instant){0};
        }
        if (place->workers == 0 || place->was_good ||
            scale_state_ms(place->spoke_at, now) < SCALE_STATE_YOUNG_MS)
            continue;
        place->was_good = true;
        site->losses = 0;
    }
}

enum err scale_place_join(struct scale *scale, const struct scale_event *event, struct arena *arena)
{
    size_t count = event->load_count;
    const struct demand_load **loads = arena_alloc(arena, MAX(count, (size_t)1), sizeof *loads);
    if (loads == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < count; i++)
        loads[i] = &event->loads[i];
    qsort(loads, count, sizeof *loads, compare_loads);
    for (size_t s = 0; s < scale->count; s++) {
        struct scale_site *site = &scale->sites[s];
        size_t begin = 0;
        while (begin < count && !text_is(loads[begin]->provider, site->name))
            begin++;
        size_t end = begin;
        while (end < count && text_is(loads[end]->provider, site->name))
            end++;
        TRY(join_site(site, loads + begin, end - begin, event->now));
        settle_site(site, event->now);
    }
    return ERR_OK;
}
