/* scale_view.c - what people see of the providers, and what they may ask for. */
#include <stdio.h>

#include "common/base/check.h"
#include "coordinator/scale/scale_state.h"

static struct text name_list(const struct scale *scale, char *out, size_t capacity)
{
    size_t used = 0;
    for (size_t i = 0; i < scale->count; i++) {
        int size =
            snprintf(out + used, capacity - used, "%s%s", i == 0 ? "" : ", ", scale->sites[i].name);
        used = MIN(used + (size_t)MAX(size, 0), capacity - 1);
    }
    return (struct text){out, used};
}

static enum err find_site(const struct scale *scale, struct text name,
                          const struct scale_site **out, struct err_text *et)
{
    char names[512];
    struct text known = name_list(scale, names, sizeof names);
    if (scale->count == 0)
        return error_set(et, ERR_NOT_FOUND, "this coordinator has no providers of workers");
    if (name.size == 0 && scale->count > 1)
        return error_set(et, ERR_USAGE, "--provider: expected one of %.*s", TEXT_ARGS(known));
    for (size_t i = 0; i < scale->count; i++) {
        *out = &scale->sites[i];
        if (name.size == 0 || text_is(name, scale->sites[i].name))
            return ERR_OK;
    }
    return error_set(et, ERR_NOT_FOUND, "no provider is called %.*s; there is %.*s",
                     TEXT_ARGS(name), TEXT_ARGS(known));
}

enum err scale_check(const struct scale *scale, const struct msg_scale *request,
                     struct rec_scale_target *record, struct err_text *et)
{
    const struct scale_site *site = NULL;
    TRY(find_site(scale, request->provider, &site, et));
    uint32_t max = (uint32_t)site->config->max;
    uint32_t asked = request->is_auto ? request->max : request->target;
    if (asked > max)
        return error_set(et, ERR_USAGE,
                         "%s: at most %u workers expected, found %u; its `max` is "
                         "in providers.yml",
                         site->name, max, asked);
    bool is_whole = request->min == 0 && request->max == 0;
    if (request->is_auto && !is_whole && request->min > request->max)
        return error_set(et, ERR_USAGE, "%s: MIN..MAX expected, found %u..%u", site->name,
                         request->min, request->max);
    if (request->is_auto && !is_whole && request->max < site->config->workers_per_allocation)
        return error_set(et, ERR_USAGE, "%s: at least the %llu workers of one allocation expected",
                         site->name, (unsigned long long)site->config->workers_per_allocation);
    *record = (struct rec_scale_target){.provider = text_of(site->name),
                                        .is_auto = request->is_auto,
                                        .target = request->is_auto ? 0 : request->target,
                                        .min = request->is_auto ? request->min : 0,
                                        .max = request->is_auto ? request->max : 0,
                                        .reason = request->reason};
    return ERR_OK;
}

uint32_t scale_desired(const struct scale *scale)
{
    return scale->desired;
}

/* It has fewer than it shall have, and that is why. */
static bool is_held(const struct scale *scale, const struct scale_site *site)
{
    return scale->is_disk_low && site->running + site->waiting < site->want;
}

/* A start failed, and there is none since: it is not time yet, or the next look begins one. */
static bool is_backing_off(const struct scale_site *site, struct instant now)
{
    bool is_short = site->running + site->waiting < site->want;
    bool has_failed = site->failures + site->losses > 0;
    return site->rest_until.ns > now.ns ||
           (has_failed && is_short && site->out == SCALE_OUT_NOTHING);
}

static struct text state_of(const struct scale *scale, const struct scale_site *site,
                            struct instant now)
{
    if (site->is_paused)
        return TEXT("paused");
    if (!site->is_known)
        return TEXT("unknown");
    if (is_held(scale, site))
        return TEXT("disk-low");
    if (is_backing_off(site, now))
        return TEXT("back-off");
    if (site->waiting > 0)
        return TEXT("starting");
    return site->leaving > 0 ? TEXT("draining") : TEXT("ok");
}

/* A pause with what ends it; else the last that was said about a failure or a queue; else why there
 * is work and nobody is started for it. */
static struct text detail_of(const struct scale *scale, struct scale_site *site, struct instant now)
{
    bool is_troubled = site->is_paused || !site->is_known || site->rest_until.ns > now.ns ||
                       site->failures + site->losses > 0;
    if (!site->is_paused && site->is_known && is_held(scale, site))
        return TEXT("the coordinator's disk is nearly full, nobody is started");
    if (is_troubled || site->waiting > 0)
        return text_of(site->detail);
    return site->is_auto ? text_of(site->unfit) : TEXT("");
}

/* A command is out, or nobody of those that were started has spoken or ended. A question after a
 * failure is none of that: what came of the request is known. */
static bool is_asking(const struct scale *scale, const struct scale_site *site, struct instant now)
{
    bool has_failed = site->failures + site->losses > 0;
    if (site->out == SCALE_OUT_START || site->out == SCALE_OUT_CANCEL ||
        (site->out == SCALE_OUT_ASK && !has_failed))
        return true;
    if (provider_keeps_children(site->config->kind) && site->waiting > 0)
        return true;
    return scale->settled_at.ns > now.ns && site->running + site->waiting < site->grow_to;
}

size_t scale_rows(const struct scale *scale, struct instant now, struct provider_row *rows,
                  size_t capacity)
{
    size_t count = MIN(scale->count, capacity);
    for (size_t i = 0; i < count; i++) {
        struct scale_site *site = &scale->sites[i];
        rows[i] = (struct provider_row){
            .name = text_of(site->name),
            .kind = text_of(providers_kind_word(site->config->kind)),
            .min = site->min,
            .max = site->max,
            .is_auto = site->is_auto,
            .target = site->want,
            .running = site->running,
            .waiting = site->waiting,
            .leaving = site->leaving,
            .state = state_of(scale, site, now),
            .detail = detail_of(scale, site, now),
            .is_asking = is_asking(scale, site, now),
        };
    }
    return count;
}
