/* statistics_parse.c - a file of a node: first all names and shapes, then memory, then all numbers.
 */
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/calibration/statistics_tensor.h"
#include "common/mem/mem.h"

struct reader {
    struct safetensors st;
    const char *name; /* of the file */
    struct err_text *et;
    struct statistics_ask *asks; /* owned */
    size_t count;
    struct fold_node rows;
    uint64_t row_count, tokens;
};

static enum err out_of_memory(const struct reader *r)
{
    return error_set(r->et, ERR_OUT_OF_MEMORY, "%s: out of memory", r->name);
}

/* ---- notes ---- */

static enum err read_number(const struct reader *r, const char *key, uint64_t *out)
{
    struct text digits = safetensors_note_of(&r->st, key);
    uint64_t value = 0;
    bool good = digits.size > 0 && digits.size < 20 && (digits.size == 1 || digits.data[0] != '0');
    for (size_t i = 0; i < digits.size && good; i++) {
        uint8_t digit = (uint8_t)(digits.data[i] - '0');
        good = digit <= 9;
        value = value * 10 + digit;
    }
    if (!good)
        return error_set(r->et, ERR_FORMAT, "%s: note '%s': expected a number, found '%.*s'",
                         r->name, key, (int)MIN(digits.size, (size_t)64), digits.data);
    *out = value;
    return ERR_OK;
}

static enum err read_notes(struct reader *r)
{
    struct text format = safetensors_note_of(&r->st, "format");
    if (!text_is(format, STATISTICS_TENSOR_FORMAT))
        return error_set(r->et, ERR_FORMAT,
                         "%s: expected calibration statistics (format '%s'), found format '%.*s'",
                         r->name, STATISTICS_TENSOR_FORMAT, (int)MIN(format.size, (size_t)64),
                         format.data);
    TRY(read_number(r, "row_begin", &r->rows.begin));
    TRY(read_number(r, "row_end", &r->rows.end));
    TRY(read_number(r, "row_count", &r->row_count));
    TRY(read_number(r, "tokens", &r->tokens));
    if (safetensors_note_of(&r->st, "profile").data == NULL)
        return error_set(r->et, ERR_FORMAT, "%s: expected a note 'profile', found none", r->name);
    if (!fold_is_node(r->row_count, r->rows) || r->tokens < r->rows.end - r->rows.begin)
        return error_set(r->et, ERR_FORMAT,
                         "%s: expected an aligned range of rows with tokens, found rows "
                         "[%" PRIu64 ", %" PRIu64 ") of %" PRIu64 " and %" PRIu64 " tokens",
                         r->name, r->rows.begin, r->rows.end, r->row_count, r->tokens);
    return ERR_OK;
}

/* ---- sites ---- */

static bool ends_in(struct text name, const char *ending)
{
    size_t size = strlen(ending);
    return name.size > size && memcmp(name.data + name.size - size, ending, size) == 0;
}

static const struct safetensor *find(const struct reader *r, struct text site, const char *ending)
{
    char name[STATISTICS_NAME_BYTES_MAX + 64];
    int size = snprintf(name, sizeof name, "%.*s%s", TEXT_ARGS(site), ending);
    ASSERT(size > 0 && (size_t)size < sizeof name);
    return safetensors_find(&r->st, (struct text){name, (size_t)size});
}

static enum err read_site(struct reader *r, const struct safetensor *t)
{
    struct statistics_ask ask = {
        .name = {t->name.data, t->name.size - strlen(STATISTICS_TENSOR_COLUMNS)}};
    int64_t columns = 0;
    if (t->dtype == SAFETENSORS_I64 && t->rank == 0)
        memcpy(&columns, t->data.data, sizeof columns);
    if (ask.name.size > STATISTICS_NAME_BYTES_MAX || columns < 1 ||
        columns > STATISTICS_COLUMNS_MAX)
        return error_set(r->et, ERR_LIMIT,
                         "%s: %.*s: expected one I64 from 1 to %d, and at most %d bytes of name",
                         r->name, (int)MIN(t->name.size, (size_t)128), t->name.data,
                         STATISTICS_COLUMNS_MAX, STATISTICS_NAME_BYTES_MAX);
    ask.columns = (size_t)columns;
    for (enum statistics_tensor i = 0; i < STATISTICS_TENSOR_COUNT; i++)
        if (find(r, ask.name, statistics_tensor_ending(i)) != NULL)
            ask.kinds |= statistics_tensor_kind(i);
    r->asks[r->count++] = ask;
    return ERR_OK;
}

/* The tensor of the file, once type and shape are what they must be. */
static enum err find_tensor(const struct reader *r, enum statistics_tensor which,
                            const struct statistics_site *site, const struct safetensor **out)
{
    struct safetensor wanted;
    const char *ending = statistics_tensor_ending(which);
    const struct safetensor *t = find(r, site->name, ending);
    if (t == NULL)
        return error_set(r->et, ERR_FORMAT, "%s: %.*s: expected a tensor %s beside the others",
                         r->name, TEXT_ARGS(site->name), ending);
    enum err err = statistics_tensor_describe(which, site, r->rows.end - r->rows.begin, &wanted);
    bool same = err == ERR_OK && t->dtype == wanted.dtype && t->rank == wanted.rank;
    for (uint32_t i = 0; same && i < t->rank; i++)
        same = t->shape[i] == wanted.shape[i];
    if (!same)
        return error_set(r->et, ERR_SHAPE,
                         "%s: %.*s%s: type or shape is not that of %zu columns, %" PRIu64 " rows",
                         r->name, TEXT_ARGS(site->name), ending, site->columns,
                         r->rows.end - r->rows.begin);
    ASSERT(t->data.size == wanted.data.size);
    *out = t;
    return ERR_OK;
}

/* Every tensor of the file belongs to a site and every site has all its tensors. */
static enum err read_sites(struct reader *r)
{
    size_t known = 0;
    r->asks = mem_alloc(r->st.count, sizeof *r->asks);
    if (r->asks == NULL)
        return out_of_memory(r);
    for (size_t i = 0; i < r->st.count; i++)
        if (ends_in(r->st.tensors[i].name, STATISTICS_TENSOR_COLUMNS))
            TRY(read_site(r, &r->st.tensors[i]));
    for (size_t k = 0; k < r->count; k++) {
        struct statistics_site site = {.name = r->asks[k].name, .columns = r->asks[k].columns};
        known++;
        for (enum statistics_tensor i = 0; i < STATISTICS_TENSOR_COUNT; i++) {
            const struct safetensor *t;
            if ((r->asks[k].kinds & statistics_tensor_kind(i)) == 0)
                continue;
            TRY(find_tensor(r, i, &site, &t));
            known++;
        }
        if ((r->asks[k].kinds & (STATISTICS_HISTOGRAM | STATISTICS_HISTOGRAM_CHANNEL)) != 0 &&
            r->tokens > (uint64_t)INT64_MAX / site.columns)
            return error_set(r->et, ERR_LIMIT, "%s: %" PRIu64 " tokens are too many to count",
                             r->name, r->tokens);
    }
    if (r->count == 0 || known != r->st.count)
        return error_set(r->et, ERR_FORMAT,
                         "%s: expected sites with their statistics alone, found %zu sites and "
                         "%zu tensors of which %zu are theirs",
                         r->name, r->count, r->st.count, known);
    return ERR_OK;
}

/* ---- numbers ---- */

static enum err wrong(const struct reader *r, const struct statistics_site *site,
                      const char *ending, enum err err, const char *expected)
{
    return error_set(r->et, err, "%s: %.*s%s: expected %s", r->name, TEXT_ARGS(site->name), ending,
                     expected);
}

static enum err check_sums(const struct reader *r, const struct statistics_site *site,
                           enum statistics_tensor which, const double *sums)
{
    for (size_t c = 0; sums != NULL && c < site->columns; c++)
        if (!(sums[c] >= 0.0 && sums[c] <= DBL_MAX))
            return wrong(r, site, statistics_tensor_ending(which), ERR_NOT_FINITE,
                         "finite sums, none negative");
    return ERR_OK;
}

static bool is_range(float min, float max)
{
    return min >= -FLT_MAX && min <= max && max <= FLT_MAX;
}

static enum err check_extremes(const struct reader *r, const struct statistics_site *site)
{
    for (size_t c = 0; site->max_abs != NULL && c < site->columns; c++)
        if (!(site->max_abs[c] >= 0.0f && site->max_abs[c] <= FLT_MAX))
            return wrong(r, site, ".max_abs", ERR_NOT_FINITE, "finite values, none negative");
    for (size_t c = 0; site->min != NULL && c < site->columns; c++) {
        if (!is_range(site->min[c], site->max[c]))
            return wrong(r, site, ".min", ERR_NOT_FINITE, "finite values, none above .max");
        if (site->max_abs != NULL &&
            site->max_abs[c] != MAX(fabsf(site->min[c]), fabsf(site->max[c])))
            return wrong(r, site, ".max_abs", ERR_FORMAT, "what .min and .max say");
    }
    return ERR_OK;
}

static enum err check_records(const struct reader *r, const struct statistics_site *site,
                              enum statistics_tensor which, const float *records, size_t width)
{
    size_t rows = (size_t)(r->rows.end - r->rows.begin);
    for (size_t i = 0; records != NULL && i < rows * width; i++)
        if (!is_range(records[2 * i], records[2 * i + 1]))
            return wrong(r, site, statistics_tensor_ending(which), ERR_NOT_FINITE,
                         "finite pairs, least value first");
    return ERR_OK;
}

static enum err check_histogram(const struct reader *r, const struct statistics_site *site,
                                enum statistics_tensor which, const struct histogram *h)
{
    const char *ending = statistics_tensor_ending(which);
    const uint64_t total = r->tokens * (h->channels == 1 ? site->columns : 1);
    for (size_t c = 0; c < h->channels; c++) {
        const uint64_t *counts = h->counts + c * histogram_width(h);
        uint64_t left = total;
        for (size_t i = 0; i < histogram_width(h); i++) {
            if (counts[i] > left)
                return wrong(r, site, ending, ERR_FORMAT, "counts that add up to the tokens");
            left -= counts[i];
        }
        if (left != 0)
            return wrong(r, site, ending, ERR_FORMAT, "counts that add up to the tokens");
        if (h->exponents[c] < HISTOGRAM_EXPONENT_MIN || h->exponents[c] > HISTOGRAM_EXPONENT_MAX ||
            !histogram_is_least(h, c))
            return wrong(r, site, ending, ERR_FORMAT, "the least exponent for the counts");
    }
    return ERR_OK;
}

static enum err read_values(const struct reader *r, struct statistics_site *site)
{
    for (enum statistics_tensor i = 0; i < STATISTICS_TENSOR_COUNT; i++) {
        const struct safetensor *t;
        if ((site->kinds & statistics_tensor_kind(i)) == 0)
            continue;
        TRY(find_tensor(r, i, site, &t));
        memcpy(statistics_tensor_memory(i, site), t->data.data, t->data.size);
    }
    TRY(check_sums(r, site, STATISTICS_TENSOR_SUM_X2, site->sum_x2));
    TRY(check_sums(r, site, STATISTICS_TENSOR_SUM_ABS, site->sum_abs));
    TRY(check_extremes(r, site));
    TRY(check_records(r, site, STATISTICS_TENSOR_AVERAGE, site->average, 1));
    TRY(check_records(r, site, STATISTICS_TENSOR_AVERAGE_CHANNEL, site->average_channel,
                      site->columns));
    TRY(check_histogram(r, site, STATISTICS_TENSOR_HISTOGRAM, &site->histogram));
    site->tokens = r->tokens;
    return check_histogram(r, site, STATISTICS_TENSOR_HISTOGRAM_CHANNEL, &site->histogram_channel);
}

static enum err read_all(struct reader *r, struct statistics **out)
{
    struct statistics *stats = NULL;
    enum err err;
    TRY(read_notes(r));
    TRY(read_sites(r));
    const struct statistics_plan plan = {r->asks, r->count, r->row_count,
                                         safetensors_note_of(&r->st, "profile")};
    err = statistics_create(&plan, r->rows.end - r->rows.begin, &stats);
    if (err != ERR_OK)
        return error_set(r->et, err, "%s: %s", r->name,
                         err == ERR_STATE ? "expected a statistic at each site" : error_text(err));
    for (size_t i = 0; i < stats->count; i++)
        TRY_OUT(read_values(r, &stats->sites[i]));
    stats->rows = r->rows;
    stats->tokens = r->tokens;
    *out = stats;
    return ERR_OK;
out:
    statistics_destroy(&stats);
    return err;
}

enum err statistics_parse(struct span content, const char *name, struct statistics **out,
                          struct err_text *et)
{
    struct reader r = {.name = name, .et = et};
    TRY(safetensors_parse(&r.st, content, name, et));
    enum err err = read_all(&r, out);
    mem_free(r.asks);
    safetensors_close(&r.st);
    return err;
}
