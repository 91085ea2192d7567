/* fuzz_statistics.c - statistics that are accepted cost a fixed multiple of the file, are written
 * and read again to the same bytes, fold, and have a range at every site by every method.
 */
#include "common/base/check.h"
#include "common/calibration/site_range.h"
#include "common/calibration/statistics_fold.h"
#include "common/mem/bytes.h"
#include "tests/fuzz/fuzz.h"

enum { MEMORY_A_BYTE = 16, MEMORY_FIXED = 1 << 12, COLUMNS_MAX = 64, COLUMNS_SEARCHED = 2 };

static void write(const struct statistics *stats, struct bytes *out)
{
    bytes_init(out, 64 << 20);
    enum err err = statistics_write(stats, file_sink_bytes, out);
    ASSERT(err == ERR_OK);
}

static void check_rewritten(const struct statistics *stats)
{
    struct statistics *again = NULL;
    struct bytes first, second;
    write(stats, &first);
    enum err err = statistics_parse(bytes_span(&first), "again", &again, NULL);
    ASSERT(err == ERR_OK);
    write(again, &second);
    ASSERT(span_equal(bytes_span(&first), bytes_span(&second)));
    statistics_destroy(&again);
    bytes_fini(&first);
    bytes_fini(&second);
}

static void check_folded(const struct statistics *stats)
{
    struct statistics_fold *fold = NULL;
    const struct statistics *out = NULL;
    enum err err = statistics_fold_create_like(stats, stats->rows, &fold);
    ASSERT(err == ERR_OK);
    err = statistics_fold_push(fold, stats, NULL);
    ASSERT(err == ERR_OK);
    err = statistics_fold_finish(fold, &out);
    ASSERT(err == ERR_OK && out->tokens == stats->tokens);
    statistics_fold_destroy(&fold);
}

static void check_ranges(const struct statistics *stats, const struct statistics_site *site)
{
    struct range ranges[COLUMNS_MAX];
    for (enum range_search_method m = 0; m < RANGE_SEARCH_METHOD_COUNT; m++)
        for (unsigned kind = 0; kind < 4; kind++) {
            const struct range_grid grid = {kind & 2 ? 8 : 4, true, kind & 1};
            size_t count = 1;
            enum err err =
                site_range_find(stats, site, m, &range_search_defaults, &grid, false, ranges);
            if (err == ERR_STATE && site->columns <= COLUMNS_SEARCHED) {
                count = site->columns;
                err = site_range_find(stats, site, m, &range_search_defaults, &grid, true, ranges);
            }
            ASSERT(err == ERR_OK || err == ERR_STATE ||
                   (err == ERR_NOT_FINITE && m == RANGE_SEARCH_MOVING_AVERAGE));
            for (size_t i = 0; err == ERR_OK && i < count; i++) {
                struct range_scale scale = range_grid_scale(&grid, ranges[i]);
                ASSERT(scale.scale > 0.0f && scale.zero >= range_grid_min(&grid) &&
                       scale.zero <= range_grid_max(&grid));
            }
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct statistics *stats = NULL;
    struct err_text et;
    size_t size_bytes = 0;
    struct statistics_ask asks[4];
    if (statistics_parse((struct span){data, size}, "fuzz", &stats, &et) != ERR_OK)
        return 0;
    for (size_t i = 0; i < stats->count; i++) {
        const struct statistics_site *site = &stats->sites[i];
        ASSERT(statistics_find(stats, site->name) == site);
        if (i < COUNT_OF(asks))
            asks[i] = (struct statistics_ask){site->name, site->columns, site->kinds};
        if (i < 2)
            check_ranges(stats, site);
    }
    const struct statistics_plan plan = {asks, MIN(stats->count, COUNT_OF(asks)), stats->row_count,
                                         stats->profile};
    enum err err = statistics_size(&plan, stats->rows.end - stats->rows.begin, &size_bytes);
    ASSERT(err == ERR_OK && size_bytes <= MEMORY_FIXED + MEMORY_A_BYTE * size);
    check_rewritten(stats);
    check_folded(stats);
    statistics_destroy(&stats);
    return 0;
}
