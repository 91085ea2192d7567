/* statistics.c - one block of memory a node, laid out by the plan; sites in order of their names.
 */
#include "common/calibration/statistics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/mem/mem.h"

/* Pieces of one block; without a base it only measures. */
struct carver {
    uint8_t *base;
    size_t used;
    bool overflow;
};

static void *carve(struct carver *c, size_t count, size_t size)
{
    size_t bytes, end;
    if (c->overflow || !check_mul(count, size, &bytes) || !check_add(bytes, 15, &bytes) ||
        !check_add(c->used, bytes & ~(size_t)15, &end)) {
        c->overflow = true;
        return NULL;
    }
    void *piece = c->base == NULL || count == 0 ? NULL : c->base + c->used;
    c->used = end;
    return piece;
}

static void *carve_records(struct carver *c, uint64_t room, size_t width)
{
    size_t count;
    if (room > SIZE_MAX || !check_mul((size_t)room, width, &count)) {
        c->overflow = true;
        return NULL;
    }
    return carve(c, count, 2 * sizeof(float));
}

static struct histogram carve_histogram(struct carver *c, uint32_t bins, size_t channels)
{
    struct histogram h = {.bins = bins, .is_signed = true, .channels = channels};
    h.exponents = carve(c, channels, sizeof *h.exponents);
    h.counts = carve(c, channels, histogram_width(&h) * sizeof *h.counts);
    return h;
}

static const char *carve_text(struct carver *c, struct text text)
{
    char *copy = carve(c, text.size + 1, 1);
    if (copy != NULL && text.size > 0)
        memcpy(copy, text.data, text.size);
    return copy;
}

static struct statistics_site place_site(struct carver *c, const struct statistics_ask *ask,
                                         uint64_t room)
{
    const size_t columns = ask->columns;
    struct statistics_site site = {.columns = columns, .kinds = ask->kinds};
    site.name = (struct text){carve_text(c, ask->name), ask->name.size};
    if ((ask->kinds & STATISTICS_MAX_ABS) != 0)
        site.max_abs = carve(c, columns, sizeof(float));
    if ((ask->kinds & STATISTICS_MIN_MAX) != 0) {
        site.min = carve(c, columns, sizeof(float));
        site.max = carve(c, columns, sizeof(float));
    }
    if ((ask->kinds & STATISTICS_AVERAGE) != 0)
        site.average = carve_records(c, room, 1);
    if ((ask->kinds & STATISTICS_AVERAGE_CHANNEL) != 0)
        site.average_channel = carve_records(c, room, columns);
    site.histogram = carve_histogram(c, STATISTICS_BINS, 0);
    if ((ask->kinds & STATISTICS_HISTOGRAM) != 0)
        site.histogram = carve_histogram(c, STATISTICS_BINS, 1);
    site.histogram_channel = carve_histogram(c, STATISTICS_BINS_CHANNEL, 0);
    if ((ask->kinds & STATISTICS_HISTOGRAM_CHANNEL) != 0)
        site.histogram_channel = carve_histogram(c, STATISTICS_BINS_CHANNEL, columns);
    return site;
}

static size_t sums_of(const struct statistics_ask *ask)
{
    return (ask->kinds & STATISTICS_SUM_X2 ? ask->columns : 0) +
           (ask->kinds & STATISTICS_SUM_ABS ? ask->columns : 0);
}

/* Lays out `order`, which is sorted when there is memory behind the carver. */
static void place(struct carver *c, const struct statistics_plan *plan,
                  const struct statistics_ask *order, uint64_t room, struct statistics *stats)
{
    *stats = (struct statistics){.count = plan->count, .row_count = plan->row_count, .room = room};
    for (size_t i = 0; i < plan->count; i++) /* at most 2^16 sites of 2^24 columns: no overflow */
        stats->sum_count += sums_of(&order[i]);
    stats->sites = carve(c, plan->count, sizeof *stats->sites);
    stats->profile = (struct text){carve_text(c, plan->profile), plan->profile.size};
    stats->sums = carve(c, stats->sum_count, sizeof *stats->sums);
    double *sums = stats->sums;
    for (size_t i = 0; i < plan->count; i++) {
        struct statistics_site site = place_site(c, &order[i], room);
        if (c->base == NULL)
            continue;
        if ((site.kinds & STATISTICS_SUM_X2) != 0) {
            site.sum_x2 = sums;
            sums += site.columns;
        }
        if ((site.kinds & STATISTICS_SUM_ABS) != 0) {
            site.sum_abs = sums;
            sums += site.columns;
        }
        stats->sites[i] = site;
    }
}

static enum err check_plan(const struct statistics_plan *plan, uint64_t room)
{
    if (plan->count == 0 || plan->row_count == 0 || room > plan->row_count)
        return ERR_STATE;
    if (plan->count > STATISTICS_SITES_MAX || plan->profile.size > STATISTICS_NAME_BYTES_MAX)
        return ERR_LIMIT;
    for (size_t i = 0; i < plan->count; i++) {
        const struct statistics_ask *ask = &plan->asks[i];
        if (ask->columns == 0 || ask->kinds == 0 || (ask->kinds & ~(unsigned)STATISTICS_KINDS) != 0)
            return ERR_STATE;
        if (ask->columns > STATISTICS_COLUMNS_MAX || ask->name.size == 0 ||
            ask->name.size > STATISTICS_NAME_BYTES_MAX)
            return ERR_LIMIT;
    }
    return ERR_OK;
}

enum err statistics_size(const struct statistics_plan *plan, uint64_t room, size_t *size_bytes)
{
    struct carver measure = {0};
    struct statistics stats;
    TRY(check_plan(plan, room));
    place(&measure, plan, plan->asks, room, &stats);
    if (measure.overflow)
        return ERR_OVERFLOW;
    *size_bytes = measure.used;
    return ERR_OK;
}

static int compare_asks(const void *a, const void *b)
{
    return text_compare(((const struct statistics_ask *)a)->name,
                        ((const struct statistics_ask *)b)->name);
}

static enum err create_sorted(const struct statistics_plan *plan,
                              const struct statistics_ask *order, uint64_t room, size_t size_bytes,
                              struct statistics **out)
{
    for (size_t i = 1; i < plan->count; i++)
        if (text_equal(order[i - 1].name, order[i].name))
            return ERR_EXISTS;
    struct statistics *stats = mem_alloc(1, sizeof *stats);
    void *memory = mem_alloc_aligned(size_bytes, 1);
    if (stats == NULL || memory == NULL) {
        mem_free(stats);
        mem_free(memory);
        return ERR_OUT_OF_MEMORY;
    }
    struct carver carver = {.base = memory};
    place(&carver, plan, order, room, stats);
    ASSERT(carver.used == size_bytes);
    stats->memory = memory;
    statistics_clear(stats, 0);
    *out = stats;
    return ERR_OK;
}

enum err statistics_create(const struct statistics_plan *plan, uint64_t room,
                           struct statistics **out)
{
    size_t size_bytes;
    enum err err = statistics_size(plan, room, &size_bytes);
    if (err == ERR_OVERFLOW || (err == ERR_OK && size_bytes >> 20 > LIMIT_STATISTICS_MIB))
        return ERR_LIMIT;
    TRY(err);
    struct statistics_ask *order = mem_alloc(plan->count, sizeof *order);
    if (order == NULL)
        return ERR_OUT_OF_MEMORY;
    memcpy(order, plan->asks, plan->count * sizeof *order);
    qsort(order, plan->count, sizeof *order, compare_asks);
    err = create_sorted(plan, order, room, size_bytes, out);
    mem_free(order);
    return err;
}

void statistics_destroy(struct statistics **stats)
{
    if (*stats == NULL)
        return;
    mem_free((*stats)->memory);
    mem_free(*stats);
    *stats = NULL;
}

void statistics_clear(struct statistics *stats, uint64_t row)
{
    stats->rows = (struct fold_node){row, row};
    stats->tokens = 0;
    for (size_t i = 0; i < stats->sum_count; i++)
        stats->sums[i] = 0.0;
    for (size_t i = 0; i < stats->count; i++) {
        struct statistics_site *site = &stats->sites[i];
        site->tokens = 0;
        histogram_clear(&site->histogram);
        histogram_clear(&site->histogram_channel);
        for (size_t c = 0; site->max_abs != NULL && c < site->columns; c++)
            site->max_abs[c] = 0.0f;
        for (size_t c = 0; site->min != NULL && c < site->columns; c++) {
            site->min[c] = INFINITY;
            site->max[c] = -INFINITY;
        }
    }
}

static int compare_name(const void *name, const void *site)
{
    return text_compare(*(const struct text *)name, ((const struct statistics_site *)site)->name);
}

const struct statistics_site *statistics_find(const struct statistics *stats, struct text name)
{
    return bsearch(&name, stats->sites, stats->count, sizeof *stats->sites, compare_name);
}

bool statistics_range(const struct statistics_site *site, float *min, float *max)
{
    if (site->tokens == 0 || site->min == NULL)
        return false;
    *min = site->min[0];
    *max = site->max[0];
    for (size_t c = 1; c < site->columns; c++) {
        *min = MIN(*min, site->min[c]);
        *max = MAX(*max, site->max[c]);
    }
    return true;
}
