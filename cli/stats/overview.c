/* overview.c - the join and the orders. */
#include "cli/stats/overview.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/mem/mem.h"

enum { ARENA_BYTES_MAX = 64 << 20 };

const char *overview_key_word(enum overview_key key)
{
    static const char *const words[OVERVIEW_KEY_COUNT] = {
        [OVERVIEW_WEIGHTED] = "weighted", [OVERVIEW_ERROR] = "error",
        [OVERVIEW_OUTPUT] = "output",     [OVERVIEW_OUTLIER] = "outlier",
        [OVERVIEW_SPREAD] = "spread",     [OVERVIEW_BITS] = "bits",
        [OVERVIEW_SIZE] = "size",         [OVERVIEW_PLACE] = "place",
    };
    return words[key];
}

enum overview_key overview_key_find(const char *word)
{
    enum overview_key key = 0;
    while (key < OVERVIEW_KEY_COUNT && strcmp(overview_key_word(key), word) != 0)
        key++;
    return key;
}

/* ---- one input ---- */

static int compare_f64(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The column that 99% stay below, by the one that half do. */
static double spread_of(const struct statistics_site *site)
{
    size_t n = site->columns;
    double *sorted = mem_alloc(n, sizeof *sorted);
    if (sorted == NULL)
        return (double)NAN;
    memcpy(sorted, site->sum_x2, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, compare_f64);
    double middle = sorted[(n - 1) / 2], high = sorted[(n - 1) * 99 / 100];
    mem_free(sorted);
    return middle > 0 ? high / middle : (double)NAN;
}

struct overview_site overview_site_of(const struct statistics_site *site)
{
    struct overview_site out = {.columns = site->columns,
                                .tokens = site->tokens,
                                .min = (double)NAN,
                                .max = (double)NAN,
                                .mean_abs = (double)NAN,
                                .outlier = (double)NAN,
                                .spread = (double)NAN};
    float min, max;
    double sum = 0, largest = 0;
    if (site->tokens == 0 || site->columns == 0)
        return out;
    if (statistics_range(site, &min, &max)) {
        out.min = (double)min;
        out.max = (double)max;
    }
    for (size_t c = 0; c < site->columns; c++) {
        sum += site->sum_abs != NULL ? site->sum_abs[c] : 0;
        largest = MAX(largest, site->max_abs != NULL ? (double)site->max_abs[c] : 0);
    }
    if (site->sum_abs != NULL)
        out.mean_abs = sum / ((double)site->tokens * (double)site->columns);
    if (site->max_abs != NULL && out.mean_abs > 0)
        out.outlier = largest / out.mean_abs;
    if (site->sum_x2 != NULL)
        out.spread = spread_of(site);
    return out;
}

/* ---- the join ---- */

/* The site that a tensor reads. A parallel layer with one norm has no input of its MLP: that is the
 * attention's. */
static size_t find_site(const struct tensor_place *tensor, const struct tensor_place *sites,
                        size_t count)
{
    struct tensor_place shared = *tensor;
    for (size_t i = 0; i < count; i++) {
        if (tensor_place_reads(tensor, &sites[i]))
            return i;
    }
    shared.input = TENSOR_PLACE_ATTENTION;
    for (size_t i = 0; i < count && tensor->input == TENSOR_PLACE_MLP; i++) {
        if (tensor_place_reads(&shared, &sites[i]))
            return i;
    }
    return count;
}

static void join(struct overview *overview, const struct figures *figures,
                 const struct statistics *stats, const struct tensor_place *places, bool *is_read)
{
    size_t sites = stats != NULL ? stats->count : 0;
    for (size_t i = 0; i < figures->count; i++) {
        const struct figure *figure = &figures->items[i];
        struct overview_row *row = &overview->rows[overview->count++];
        *row =
            (struct overview_row){.name = figure->name, .figure = figure, .place = figure->place};
        size_t s = find_site(&figure->place, places, sites);
        if (s == sites)
            continue;
        is_read[s] = true;
        row->site = &stats->sites[s];
        row->seen = overview_site_of(row->site);
    }
    for (size_t s = 0; s < sites; s++) {
        if (!is_read[s])
            overview->rows[overview->count++] =
                (struct overview_row){.name = stats->sites[s].name,
                                      .site = &stats->sites[s],
                                      .seen = overview_site_of(&stats->sites[s]),
                                      .place = places[s]};
    }
}

enum err overview_init(struct overview *overview, const struct figures *figures,
                       const struct statistics *stats)
{
    size_t sites = stats != NULL ? stats->count : 0;
    *overview = (struct overview){.count = 0};
    arena_init(&overview->arena, ARENA_BYTES_MAX);
    struct tensor_place *places = arena_alloc(&overview->arena, sites, sizeof *places);
    bool *is_read = arena_alloc(&overview->arena, sites, sizeof *is_read);
    overview->rows = arena_alloc(&overview->arena, sites + figures->count, sizeof *overview->rows);
    if (places == NULL || is_read == NULL || overview->rows == NULL) {
        overview_fini(overview);
        return ERR_OUT_OF_MEMORY;
    }
    for (size_t s = 0; s < sites; s++) {
        places[s] = tensor_place_of(stats->sites[s].name);
        is_read[s] = false;
    }
    join(overview, figures, stats, places, is_read);
    return ERR_OK;
}

void overview_fini(struct overview *overview)
{
    arena_fini(&overview->arena);
    *overview = (struct overview){.count = 0};
}

/* ---- orders ---- */

/* What is sorted by, the largest first; NaN: not known. */
static double value_of(const struct overview_row *row, enum overview_key key)
{
    const struct figure *f = row->figure;
    switch (key) {
    case OVERVIEW_WEIGHTED:
        return f != NULL ? f->weighted : (double)NAN;
    case OVERVIEW_ERROR:
        return f != NULL ? f->relative : (double)NAN;
    case OVERVIEW_OUTPUT:
        return f != NULL ? f->output : (double)NAN;
    case OVERVIEW_OUTLIER:
        return row->site != NULL ? row->seen.outlier : (double)NAN;
    case OVERVIEW_SPREAD:
        return row->site != NULL ? row->seen.spread : (double)NAN;
    case OVERVIEW_BITS:
        return f != NULL ? -f->bits : (double)NAN;
    case OVERVIEW_SIZE:
        return f != NULL ? (double)f->size_bytes : (double)NAN;
    case OVERVIEW_PLACE:
    case OVERVIEW_KEY_COUNT:
        break;
    }
    return 0;
}

static int compare_rows(const struct overview_row *a, const struct overview_row *b,
                        enum overview_key key)
{
    double x = value_of(a, key), y = value_of(b, key);
    if (isnan(x) != isnan(y))
        return isnan(x) ? 1 : -1;
    if (x < y || x > y)
        return x > y ? -1 : 1;
    int order = tensor_place_compare(&a->place, &b->place);
    return order != 0 ? order : text_compare(a->name, b->name);
}

/* Heap sort: qsort hands no key to its comparison. */
static void sift(struct overview_row *rows, size_t root, size_t count, enum overview_key key)
{
    for (size_t child; (child = 2 * root + 1) < count; root = child) {
        if (child + 1 < count && compare_rows(&rows[child], &rows[child + 1], key) < 0)
            child++;
        if (compare_rows(&rows[root], &rows[child], key) >= 0)
            return;
        struct overview_row swapped = rows[root];
        rows[root] = rows[child];
        rows[child] = swapped;
    }
}

void overview_sort(struct overview *overview, enum overview_key key)
{
    struct overview_row *rows = overview->rows;
    for (size_t i = overview->count / 2; i-- > 0;)
        sift(rows, i, overview->count, key);
    for (size_t end = overview->count; end-- > 1;) {
        struct overview_row last = rows[end];
        rows[end] = rows[0];
        rows[0] = last;
        sift(rows, 0, end, key);
    }
}
