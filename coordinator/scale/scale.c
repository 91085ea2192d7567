/* scale.c - takes an event to what knows about it, then decides. */
#include "coordinator/scale/scale.h"

#include <stdio.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "coordinator/scale/scale_decide.h"
#include "coordinator/scale/scale_place.h"
#include "coordinator/scale/scale_state.h"

enum { ARENA_BYTES_MAX = 64 << 20 };

enum err scale_create(struct scale **out)
{
    struct scale *scale = mem_alloc(1, sizeof *scale);
    if (scale == NULL)
        return ERR_OUT_OF_MEMORY;
    scale->sites = mem_alloc(LIMIT_PROVIDERS, sizeof *scale->sites);
    if (scale->sites == NULL) {
        mem_free(scale);
        return ERR_OUT_OF_MEMORY;
    }
    scale->surplus_since = (struct instant){UINT64_MAX};
    arena_init(&scale->arena, ARENA_BYTES_MAX);
    *out = scale;
    return ERR_OK;
}

static void site_fini(struct scale_site *site)
{
    scale_place_clear(site);
    mem_free(site->name);
    mem_free(site->profiles);
    *site = (struct scale_site){0};
}

void scale_destroy(struct scale **self)
{
    struct scale *scale = *self;
    if (scale == NULL)
        return;
    for (size_t i = 0; i < scale->count; i++)
        site_fini(&scale->sites[i]);
    mem_free(scale->sites);
    arena_fini(&scale->arena);
    mem_free(scale);
    *self = NULL;
}

static struct scale_site *site_of(const struct scale *scale, struct text name)
{
    for (size_t i = 0; i < scale->count; i++) {
        if (scale->sites[i].name != NULL && text_is(name, scale->sites[i].name))
            return &scale->sites[i];
    }
    return NULL;
}

/* A pause and its reasons are over. */
static void clear_failures(struct scale_site *site)
{
    site->is_paused = false;
    site->failures = site->losses = 0;
    site->rest_until = site->ask_at = (struct instant){0};
    if (site->is_known)
        site->detail[0] = '\0';
}

/* Targets of the file; what was decided later comes as TARGETED. */
static void take_config(struct scale_site *site, const struct provider_config *config)
{
    uint64_t target = 0;
    if (site->config != NULL && site->config->kind != config->kind) {
        scale_place_clear(site); /* another engine knows nothing of them */
        site->is_known = false;
    }
    site->config = config;
    site->is_auto = !providers_is_fixed(config, &target);
    site->target = (uint32_t)target;
    site->min = (uint32_t)config->min;
    site->max = (uint32_t)config->max;
    site->memory_seen = 0;
    site->is_known |= provider_keeps_children(config->kind);
    clear_failures(site);
}

/* Sites of the providers there are now; those of earlier ones with their places. ERR_OUT_OF_MEMORY:
 * nothing changed. */
static enum err configure(struct scale *scale, const struct scale_event *event)
{
    const struct providers *providers = event->configured.providers;
    struct scale_site *sites = mem_alloc(LIMIT_PROVIDERS, sizeof *sites);
    if (sites == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < providers->count; i++) {
        sites[i].name = mem_copy_text(text_of(providers->rows[i].name));
        if (sites[i].name == NULL) {
            for (size_t k = 0; k < i; k++)
                mem_free(sites[k].name);
            mem_free(sites);
            return ERR_OUT_OF_MEMORY;
        }
    }
    for (size_t i = 0; i < providers->count; i++) {
        struct scale_site *old = site_of(scale, text_of(sites[i].name));
        if (old != NULL) {
            mem_free(sites[i].name);
            sites[i] = *old;
            *old = (struct scale_site){0};
        }
        take_config(&sites[i], &providers->rows[i]);
    }
    for (size_t i = 0; i < scale->count; i++)
        site_fini(&scale->sites[i]);
    mem_free(scale->sites);
    scale->sites = sites;
    scale->count = providers->count;
    if (event->configured.is_restart)
        scale->settled_at = instant_after(event->now, duration_ms(LIMIT_SCALE_SETTLE_MS));
    return ERR_OK;
}

static void take_target(struct scale_site *site, const struct rec_scale_target *target)
{
    bool is_whole = target->min == 0 && target->max == 0;
    uint32_t file_max = (uint32_t)site->config->max;
    site->is_auto = target->is_auto;
    site->target = MIN(target->target, file_max);
    site->max = target->is_auto && target->max > 0 ? MIN(target->max, file_max) : file_max;
    site->min = MIN(is_whole ? (uint32_t)site->config->min : target->min, site->max);
    clear_failures(site);
}

static enum err take(struct scale *scale, const struct scale_event *event)
{
    struct scale_site *site = site_of(scale, event->provider);
    switch (event->kind) {
    case SCALE_CONFIGURED:
        return configure(scale, event);
    case SCALE_TARGETED:
        site = site_of(scale, event->target->provider);
        if (site != NULL)
            take_target(site, event->target);
        return ERR_OK;
    case SCALE_STARTED:
    case SCALE_STATUS:
    case SCALE_CANCELLED:
        return site == NULL ? ERR_OK : scale_place_report(site, event);
    case SCALE_TICK:
        return ERR_OK;
    }
    return ERR_OK;
}

enum err scale_step(struct scale *scale, const struct scale_event *event,
                    struct scale_effects *effects)
{
    *effects = (struct scale_effects){0};
    arena_reset(&scale->arena);
    scale->is_disk_low = event->is_disk_low;
    TRY(take(scale, event));
    if (event->kind == SCALE_TARGETED || event->kind == SCALE_CONFIGURED)
        return ERR_OK; /* what it means is decided when all of them were told */
    TRY(scale_place_join(scale, event, &scale->arena));
    TRY(scale_decide_wants(scale, event, &scale->arena));
    return scale_decide(scale, event, false, &scale->arena, effects);
}

/* A copy that may be decided on: in `arena`, names borrowed. */
static enum err copy_sites(const struct scale *scale, struct arena *arena, struct scale *out)
{
    *out = (struct scale){.count = scale->count};
    out->sites = arena_alloc(arena, LIMIT_PROVIDERS, sizeof *out->sites);
    if (out->sites == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < scale->count; i++) {
        struct scale_site *site = &out->sites[i];
        const struct scale_site *from = &scale->sites[i];
        *site = *from;
        site->places = arena_alloc(arena, MAX(from->count, (size_t)1), sizeof *site->places);
        if (site->places == NULL)
            return ERR_OUT_OF_MEMORY;
        if (from->count > 0)
            memcpy(site->places, from->places, from->count * sizeof *site->places);
        if (site->out != SCALE_OUT_START)
            site->out = SCALE_OUT_NOTHING;
    }
    return ERR_OK;
}

static void leave_alone(struct scale_site *site)
{
    site->grow_to = site->floor = site->running + site->waiting;
}

enum err scale_preview(const struct scale *scale, const struct rec_scale_target *target,
                       const struct scale_event *event, struct arena *arena,
                       struct scale_effects *effects)
{
    struct scale copy;
    TRY(copy_sites(scale, arena, &copy));
    struct scale_site *site = site_of(&copy, target->provider);
    if (site == NULL)
        return ERR_NOT_FOUND;
    take_target(site, target);
    TRY(scale_decide_wants(&copy, event, arena));
    for (size_t i = 0; i < copy.count; i++) {
        if (&copy.sites[i] != site)
            leave_alone(&copy.sites[i]);
    }
    return scale_decide(&copy, event, true, arena, effects);
}
