/* test_statistics.c - any shards and any files on the way end in the same bytes; damage is named.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/calibration/statistics_fold.h"
#include "common/calibration/statistics_imatrix.h"
#include "common/formats/safetensors/safetensors_write.h"
#include "common/mem/mem.h"
#include "common/numeric/random.h"

enum { SITES = 3, COLUMNS_MAX = 37, TOKENS_MAX = 5, ROWS_MAX = 13, FILE_BYTES_MAX = 8 << 20 };

#define VECTORS (STATISTICS_SUM_X2 | STATISTICS_SUM_ABS | STATISTICS_MAX_ABS | STATISTICS_MIN_MAX)

static const struct statistics_ask asks[SITES] = {
    {{"layers.1.q_proj.weight", 22}, COLUMNS_MAX, STATISTICS_KINDS},
    {{"head", 4}, 5, VECTORS | STATISTICS_AVERAGE | STATISTICS_HISTOGRAM},
    {{"layers.0.q_proj.weight", 22}, 19, STATISTICS_SUM_X2},
};

static struct statistics_plan plan_of(uint64_t rows)
{
    return (struct statistics_plan){asks, SITES, rows, TEXT("f32/1")};
}

static size_t tokens_of(uint64_t row)
{
    return 1 + random_u64(5, row) % TOKENS_MAX;
}

/* x: (tokens, columns) */
static void values_of(uint64_t row, const struct statistics_site *site, float *x)
{
    for (size_t i = 0; i < tokens_of(row) * site->columns; i++)
        x[i] = ldexpf(random_normal_f32(row, i * 64 + site->columns), (int)(row % 7));
    x[0] = -0.0f;
}

static struct statistics *new_leaf(const struct statistics_plan *plan)
{
    struct statistics *leaf = NULL;
    assert_int_equal(statistics_create(plan, 1, &leaf), ERR_OK);
    return leaf;
}

static void observe_row(struct statistics *leaf, uint64_t row)
{
    float x[TOKENS_MAX * COLUMNS_MAX];
    statistics_start(leaf, row);
    for (size_t i = 0; i < leaf->count; i++) {
        values_of(row, &leaf->sites[i], x);
        struct statistics_seen seen = {.tokens = tokens_of(row), .x = x};
        assert_int_equal(statistics_observe(leaf, i, &seen), ERR_OK);
    }
    assert_int_equal(statistics_end(leaf), ERR_OK);
}

static void write_node(const struct statistics *node, struct bytes *out)
{
    bytes_init(out, FILE_BYTES_MAX);
    assert_int_equal(statistics_write(node, file_sink_bytes, out), ERR_OK);
}

/* The file of rows [begin, end), folded row by row. */
static void write_range(uint64_t rows, uint64_t begin, uint64_t end, struct bytes *out)
{
    struct statistics_plan plan = plan_of(rows);
    struct statistics *leaf = new_leaf(&plan);
    struct statistics_fold *fold = NULL;
    const struct statistics *node = NULL;
    assert_int_equal(statistics_fold_create(&plan, (struct fold_node){begin, end}, &fold), ERR_OK);
    for (uint64_t row = begin; row < end; row++) {
        assert_int_equal(statistics_fold_finish(fold, &node), ERR_STATE);
        assert_int_equal(statistics_fold_next(fold), row);
        observe_row(leaf, row);
        assert_int_equal(statistics_fold_push(fold, leaf, NULL), ERR_OK);
    }
    assert_int_equal(statistics_fold_finish(fold, &node), ERR_OK);
    write_node(node, out);
    statistics_fold_destroy(&fold);
    statistics_destroy(&leaf);
}

static struct statistics *parse(const struct bytes *file)
{
    struct statistics *stats = NULL;
    struct err_text et = {""};
    if (statistics_parse(bytes_span(file), "test", &stats, &et) != ERR_OK)
        fail_msg("%s", et.text);
    return stats;
}

/* ---- merging ---- */

static void check_shards(uint64_t rows, uint64_t shard, const struct bytes *whole)
{
    struct statistics_fold *fold = NULL;
    const struct statistics *node = NULL;
    struct bytes out;
    for (uint64_t begin = 0; begin < rows; begin += shard) {
        struct bytes file;
        write_range(rows, begin, MIN(begin + shard, rows), &file);
        struct statistics *part = parse(&file);
        if (fold == NULL)
            assert_int_equal(statistics_fold_create_like(part, (struct fold_node){0, rows}, &fold),
                             ERR_OK);
        assert_int_equal(statistics_fold_push(fold, part, NULL), ERR_OK);
        statistics_destroy(&part);
        bytes_fini(&file);
    }
    assert_int_equal(statistics_fold_finish(fold, &node), ERR_OK);
    write_node(node, &out);
    assert_true(span_equal(bytes_span(&out), bytes_span(whole)));
    bytes_fini(&out);
    statistics_fold_destroy(&fold);
}

static void test_statistics__shards_and_files_change_no_byte(void **state)
{
    (void)state;
    for (uint64_t rows = 1; rows <= ROWS_MAX; rows++) {
        struct bytes whole;
        write_range(rows, 0, rows, &whole);
        for (uint64_t shard = 1; shard <= 16; shard *= 2)
            check_shards(rows, shard, &whole);
        bytes_fini(&whole);
    }
}

/* The definition of the sums: recursion over the tree, ascending tokens in a leaf. */
static void sum_recursive(const struct statistics_site *site, uint64_t begin, uint64_t end,
                          double *sum_x2, double *sum_abs)
{
    if (end - begin == 1) {
        float x[TOKENS_MAX * COLUMNS_MAX];
        values_of(begin, site, x);
        for (size_t c = 0; c < site->columns; c++) {
            sum_x2[c] = sum_abs[c] = 0.0;
            for (size_t t = 0; t < tokens_of(begin); t++) {
                double value = (double)x[t * site->columns + c];
                sum_x2[c] = sum_x2[c] + value * value;
                sum_abs[c] = sum_abs[c] + fabs(value);
            }
        }
        return;
    }
    double x2[COLUMNS_MAX], magnitudes[COLUMNS_MAX];
    uint64_t middle = begin + fold_split(end - begin);
    sum_recursive(site, begin, middle, sum_x2, sum_abs);
    sum_recursive(site, middle, end, x2, magnitudes);
    for (size_t c = 0; c < site->columns; c++) {
        sum_x2[c] += x2[c];
        sum_abs[c] += magnitudes[c];
    }
}

static void test_statistics__are_what_they_are_called(void **state)
{
    (void)state;
    const uint64_t rows = 11;
    struct bytes file;
    write_range(rows, 0, rows, &file);
    struct statistics *stats = parse(&file);
    const struct statistics_site *site = statistics_find(stats, asks[0].name);
    double sum_x2[COLUMNS_MAX], sum_abs[COLUMNS_MAX];
    float least = INFINITY, largest = -INFINITY;
    uint64_t tokens = 0;
    assert_non_null(site);
    assert_null(statistics_find(stats, TEXT("layers.1.q_proj")));
    sum_recursive(site, 0, rows, sum_x2, sum_abs);
    assert_memory_equal(site->sum_x2, sum_x2, sizeof sum_x2);
    assert_memory_equal(site->sum_abs, sum_abs, sizeof sum_abs);
    for (uint64_t row = 0; row < rows; row++) {
        float x[TOKENS_MAX * COLUMNS_MAX], low = INFINITY, high = -INFINITY;
        values_of(row, site, x);
        for (size_t i = 0; i < tokens_of(row) * COLUMNS_MAX; i++) {
            size_t c = i % COLUMNS_MAX;
            assert_true(site->min[c] <= x[i] && x[i] <= site->max[c]);
            assert_true(fabsf(x[i]) <= site->max_abs[c]);
            assert_true(site->average_channel[2 * (row * COLUMNS_MAX + c)] <= x[i]);
            low = MIN(low, x[i]);
            high = MAX(high, x[i]);
        }
        assert_true(site->average[2 * row] == low && site->average[2 * row + 1] == high);
        least = MIN(least, low);
        largest = MAX(largest, high);
        tokens += tokens_of(row);
    }
    float min, max;
    assert_true(statistics_range(site, &min, &max));
    assert_true(min == least && max == largest);
    assert_false(statistics_range(statistics_find(stats, asks[2].name), &min, &max));
    assert_int_equal(stats->tokens, tokens);
    assert_int_equal(stats->rows.end, rows);
    assert_int_equal(histogram_total(&site->histogram, 0), tokens * COLUMNS_MAX);
    assert_int_equal(histogram_total(&site->histogram_channel, 3), tokens);
    assert_int_equal(site->histogram.exponents[0],
                     histogram_exponent(STATISTICS_BINS, MAX(-least, largest)));
    for (size_t i = 1; i < stats->count; i++)
        assert_true(text_compare(stats->sites[i - 1].name, stats->sites[i].name) < 0);
    statistics_destroy(&stats);
    bytes_fini(&file);
}

static void test_statistics__sums_handed_in_are_those_computed(void **state)
{
    (void)state;
    const struct statistics_plan plan = plan_of(4);
    struct statistics *computed = new_leaf(&plan), *given = new_leaf(&plan);
    struct bytes a, b;
    observe_row(computed, 2);
    statistics_start(given, 2);
    for (size_t i = 0; i < SITES; i++) {
        const struct statistics_site *from = &computed->sites[i];
        float x[TOKENS_MAX * COLUMNS_MAX], min[COLUMNS_MAX], max[COLUMNS_MAX];
        values_of(2, from, x);
        for (size_t c = 0; c < from->columns; c++) {
            min[c] = max[c] = x[c];
            for (size_t t = 0; t < tokens_of(2); t++) {
                min[c] = MIN(min[c], x[t * from->columns + c]);
                max[c] = MAX(max[c], x[t * from->columns + c]);
            }
        }
        struct statistics_seen seen = {
            tokens_of(2), x, from->sum_x2, from->sum_abs, min, max,
        };
        if (i == 1) /* sorted: the one with sums alone, which needs no values */
            seen = (struct statistics_seen){.tokens = tokens_of(2), .sum_x2 = from->sum_x2};
        assert_int_equal(statistics_observe(given, i, &seen), ERR_OK);
    }
    assert_int_equal(statistics_end(given), ERR_OK);
    write_node(computed, &a);
    write_node(given, &b);
    assert_true(span_equal(bytes_span(&a), bytes_span(&b)));
    bytes_fini(&a);
    bytes_fini(&b);
    statistics_destroy(&computed);
    statistics_destroy(&given);
}

static void test_statistics__what_is_not_finite_is_refused_and_adds_nothing(void **state)
{
    (void)state;
    const struct statistics_plan plan = plan_of(1);
    const float bad[] = {NAN, INFINITY, -INFINITY};
    struct statistics *leaf = new_leaf(&plan);
    for (size_t k = 0; k < COUNT_OF(bad); k++) {
        float x[TOKENS_MAX * COLUMNS_MAX];
        double sums[COLUMNS_MAX] = {0};
        statistics_start(leaf, 0);
        values_of(0, &leaf->sites[2], x);
        x[COLUMNS_MAX - 1] = bad[k];
        struct statistics_seen seen = {.tokens = tokens_of(0), .x = x};
        assert_int_equal(statistics_observe(leaf, 2, &seen), ERR_NOT_FINITE);
        assert_int_equal(leaf->sites[2].tokens, 0);
        assert_true(leaf->sites[2].sum_x2[0] == 0.0 && leaf->sites[2].max_abs[0] == 0.0f);
        assert_int_equal(histogram_total(&leaf->sites[2].histogram, 0), 0);
        sums[4] = (double)bad[k];
        seen = (struct statistics_seen){.tokens = 1, .sum_x2 = sums};
        assert_int_equal(statistics_observe(leaf, 1, &seen), ERR_NOT_FINITE);
        assert_int_equal(statistics_end(leaf), ERR_STATE);
    }
    statistics_destroy(&leaf);
}

static void test_statistics__nodes_out_of_place_are_refused(void **state)
{
    (void)state;
    struct statistics_plan plan = plan_of(6), other = plan_of(6);
    struct statistics_ask less[SITES];
    struct statistics_fold *fold = NULL;
    memcpy(less, asks, sizeof less);
    less[1].kinds = VECTORS;
    other.asks = less;
    struct statistics *leaf = new_leaf(&plan), *poorer = new_leaf(&other);
    assert_int_equal(statistics_fold_create(&plan, (struct fold_node){1, 3}, &fold), ERR_STATE);
    assert_int_equal(statistics_fold_create(&plan, (struct fold_node){4, 6}, &fold), ERR_OK);
    const uint64_t wrong[] = {0, 3, 5};
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        observe_row(leaf, wrong[i]);
        assert_int_equal(statistics_fold_push(fold, leaf, NULL), ERR_STATE);
    }
    statistics_start(leaf, 4);
    assert_int_equal(statistics_fold_push(fold, leaf, NULL), ERR_STATE);
    observe_row(poorer, 4);
    assert_int_equal(statistics_fold_push(fold, poorer, NULL), ERR_SHAPE);
    observe_row(leaf, 4);
    assert_int_equal(statistics_fold_push(fold, leaf, NULL), ERR_OK);
    assert_int_equal(statistics_fold_push(fold, leaf, NULL), ERR_STATE);
    statistics_fold_destroy(&fold);
    statistics_destroy(&leaf);
    statistics_destroy(&poorer);
}

static void test_statistics__plans_are_checked(void **state)
{
    (void)state;
    struct statistics_ask twice[2] = {asks[0], asks[0]};
    struct statistics_plan plan = {twice, 2, 4, TEXT("f32/1")};
    struct statistics *stats = NULL;
    size_t size_bytes;
    assert_int_equal(statistics_create(&plan, 1, &stats), ERR_EXISTS);
    plan.count = 1;
    assert_int_equal(statistics_create(&plan, 5, &stats), ERR_STATE);
    twice[0].kinds = 0;
    assert_int_equal(statistics_create(&plan, 1, &stats), ERR_STATE);
    twice[0].kinds = STATISTICS_AVERAGE_CHANNEL;
    twice[0].columns = STATISTICS_COLUMNS_MAX + 1;
    assert_int_equal(statistics_create(&plan, 1, &stats), ERR_LIMIT);
    twice[0].columns = STATISTICS_COLUMNS_MAX;
    plan.row_count = UINT64_MAX;
    assert_int_equal(statistics_create(&plan, UINT64_MAX, &stats), ERR_LIMIT);
    assert_int_equal(statistics_create(&plan, 1 << 12, &stats), ERR_LIMIT);
    assert_int_equal(statistics_size(&plan, UINT64_MAX, &size_bytes), ERR_OVERFLOW);
    plan.count = 0;
    assert_int_equal(statistics_create(&plan, 1, &stats), ERR_STATE);
    assert_null(stats);
}

/* What the header says of a model of 7 B. */
static void test_statistics__memory_is_as_the_header_says(void **state)
{
    (void)state;
    struct statistics_ask sites[129];
    char names[129][16];
    struct statistics_plan plan = {sites, 129, 512, TEXT("f32/1")};
    const struct {
        unsigned kinds;
        uint64_t rows;
        double megabytes;
    } cases[] = {
        {STATISTICS_SUM_X2, 1, 6.0},
        {STATISTICS_MAX_ABS, 1, 3.0},
        {STATISTICS_MIN_MAX, 1, 6.0},
        {STATISTICS_AVERAGE, 512, 0.5},
        {STATISTICS_HISTOGRAM, 1, 4.2},
        {STATISTICS_HISTOGRAM_CHANNEL, 1, 387.0},
        {VECTORS, 1, 21.0},
    };
    for (size_t i = 0; i < COUNT_OF(sites); i++) {
        (void)snprintf(names[i], sizeof names[i], "site.%zu", i);
        sites[i] = (struct statistics_ask){text_of(names[i]), i % 4 == 3 ? 11008 : 4096, 0};
    }
    for (size_t k = 0; k < COUNT_OF(cases); k++) {
        size_t size_bytes = 0;
        for (size_t i = 0; i < COUNT_OF(sites); i++)
            sites[i].kinds = cases[k].kinds;
        assert_int_equal(statistics_size(&plan, cases[k].rows, &size_bytes), ERR_OK);
        assert_true(fabs((double)size_bytes / 1e6 - cases[k].megabytes) <
                    0.02 * cases[k].megabytes + 0.1);
    }
}

/* ---- files ---- */

struct change {
    const char *tensor; /* NULL: a note */
    const char *note;   /* key and new value, or NULL: removed */
    const char *value;
    enum { SET_F64, SET_F32, SET_I64, SET_I32, DTYPE, SHAPE, RENAME, REMOVE, NOTE } what;
    double number;
    size_t index;
    enum err expected;
    const char *says;
};

static const struct change changes[] = {
    {"head.sum_x2", 0, 0, SET_F64, -1.0, 2, ERR_NOT_FINITE, "head.sum_x2"},
    {"head.sum_abs", 0, 0, SET_F64, NAN, 4, ERR_NOT_FINITE, "head.sum_abs"},
    {"head.sum_abs", 0, 0, SET_F64, INFINITY, 0, ERR_NOT_FINITE, "head.sum_abs"},
    {"head.max_abs", 0, 0, SET_F32, NAN, 0, ERR_NOT_FINITE, "head.max_abs"},
    {"head.max_abs", 0, 0, SET_F32, 1e9, 0, ERR_FORMAT, "what .min and .max say"},
    {"head.min", 0, 0, SET_F32, 1e30, 1, ERR_NOT_FINITE, "head.min"},
    {"head.max", 0, 0, SET_F32, INFINITY, 1, ERR_NOT_FINITE, "head.min"},
    {"head.average", 0, 0, SET_F32, 1e30, 0, ERR_NOT_FINITE, "head.average"},
    {"layers.1.q_proj.weight.average_channel", 0, 0, SET_F32, NAN, 9, ERR_NOT_FINITE, "channel"},
    {"head.histogram", 0, 0, SET_I64, 5.0, 0, ERR_FORMAT, "add up"},
    {"head.histogram", 0, 0, SET_I64, -1.0, 0, ERR_FORMAT, "add up"},
    {"layers.1.q_proj.weight.histogram_channel", 0, 0, SET_I64, 3.0, 64, ERR_FORMAT, "add up"},
    {"head.histogram_exponent", 0, 0, SET_I32, -127.0, 0, ERR_FORMAT, "exponent"},
    {"head.histogram_exponent", 0, 0, SET_I32, 128.0, 0, ERR_FORMAT, "exponent"},
    {"head.columns", 0, 0, SET_I64, 0.0, 0, ERR_LIMIT, "head.columns"},
    {"head.columns", 0, 0, SET_I64, -5.0, 0, ERR_LIMIT, "head.columns"},
    {"head.columns", 0, 0, SET_I64, 6.0, 0, ERR_SHAPE, "head.sum_x2"},
    {"head.columns", 0, 0, SET_I64, 0x1p24 + 1, 0, ERR_LIMIT, "head.columns"},
    {"head.columns", 0, 0, REMOVE, 0.0, 0, ERR_FORMAT, "sites"},
    {"head.min", 0, 0, REMOVE, 0.0, 0, ERR_FORMAT, "head: expected a tensor .min"},
    {"head.histogram_exponent", 0, 0, REMOVE, 0.0, 0, ERR_FORMAT, ".histogram_exponent"},
    {"head.sum_x2", 0, "other", RENAME, 0.0, 0, ERR_FORMAT, "sites"},
    {"head.max_abs", 0, 0, DTYPE, 0.0, 0, ERR_SHAPE, "head.max_abs"},
    {"head.average", 0, 0, SHAPE, 0.0, 0, ERR_SHAPE, "head.average"},
    {0, "format", "qfleet-state/1", NOTE, 0.0, 0, ERR_FORMAT, "qfleet-state/1"},
    {0, "format", NULL, NOTE, 0.0, 0, ERR_FORMAT, "format"},
    {0, "profile", NULL, NOTE, 0.0, 0, ERR_FORMAT, "profile"},
    {0, "tokens", "1", NOTE, 0.0, 0, ERR_FORMAT, "tokens"},
    {0, "tokens", "99999999999999999999", NOTE, 0.0, 0, ERR_FORMAT, "tokens"},
    {0, "tokens", "9223372036854775807", NOTE, 0.0, 0, ERR_LIMIT, "tokens"},
    {0, "row_begin", "1", NOTE, 0.0, 0, ERR_FORMAT, "range"},
    {0, "row_begin", "-1", NOTE, 0.0, 0, ERR_FORMAT, "row_begin"},
    {0, "row_begin", "00", NOTE, 0.0, 0, ERR_FORMAT, "row_begin"},
    {0, "row_end", "9", NOTE, 0.0, 0, ERR_FORMAT, "range"},
    {0, "row_count", "2", NOTE, 0.0, 0, ERR_FORMAT, "range"},
};

/* Writes `file` with one change. */
static void write_changed(const struct bytes *file, const struct change *change, struct bytes *out)
{
    struct safetensors st;
    static uint8_t copy[1 << 20];
    const float f32 = (float)change->number;
    assert_int_equal(safetensors_parse(&st, bytes_span(file), "test", NULL), ERR_OK);
    size_t kept = 0, kept_notes = 0;
    for (size_t i = 0; i < st.count; i++) {
        struct safetensor t = st.tensors[i];
        if (change->tensor != NULL && text_is(t.name, change->tensor)) {
            assert_true(t.data.size <= sizeof copy);
            memcpy(copy, t.data.data, t.data.size);
            t.data.data = copy;
            if (change->what == REMOVE)
                continue;
            int64_t i64 = change->what == SET_I64 ? (int64_t)change->number : 0;
            int32_t i32 = change->what == SET_I32 ? (int32_t)change->number : 0;
            if (change->what == SET_F64)
                memcpy(copy + 8 * change->index, &change->number, 8);
            else if (change->what == SET_F32)
                memcpy(copy + 4 * change->index, &f32, 4);
            else if (change->what == SET_I64)
                memcpy(copy + 8 * change->index, &i64, 8);
            else if (change->what == SET_I32)
                memcpy(copy + 4 * change->index, &i32, 4);
            else if (change->what == DTYPE)
                t.dtype = SAFETENSORS_I32;
            else if (change->what == SHAPE) {
                t.shape[0] *= 2;
                t.shape[2] /= 2;
            } else
                t.name = text_of(change->value);
        }
        st.tensors[kept++] = t;
    }
    for (size_t i = 0; i < st.note_count; i++) {
        struct safetensors_note note = st.notes[i];
        if (change->note != NULL && text_is(note.key, change->note)) {
            if (change->value == NULL)
                continue;
            note.value = text_of(change->value);
        }
        st.notes[kept_notes++] = note;
    }
    const struct safetensors_content content = {st.tensors, kept, st.notes, kept_notes};
    bytes_init(out, FILE_BYTES_MAX);
    assert_int_equal(safetensors_write(&content, file_sink_bytes, out), ERR_OK);
    safetensors_close(&st);
}

static void test_statistics__damage_is_named(void **state)
{
    (void)state;
    struct bytes file;
    write_range(4, 0, 4, &file);
    for (size_t i = 0; i < COUNT_OF(changes); i++) {
        struct statistics *stats = NULL;
        struct err_text et = {""};
        struct bytes damaged;
        write_changed(&file, &changes[i], &damaged);
        enum err err = statistics_parse(bytes_span(&damaged), "shard 7", &stats, &et);
        if (err != changes[i].expected || strstr(et.text, changes[i].says) == NULL ||
            strstr(et.text, "shard 7: ") != et.text)
            fail_msg("change %zu: %s: %s", i, error_name(err), et.text);
        assert_null(stats);
        bytes_fini(&damaged);
    }
    bytes_fini(&file);
}

static void test_statistics__cut_files_are_refused(void **state)
{
    (void)state;
    struct bytes file;
    write_range(2, 0, 2, &file);
    for (size_t size = 0; size < file.size; size += size < 200 ? 1 : 997) {
        struct statistics *stats = NULL;
        struct err_text et;
        assert_int_not_equal(statistics_parse((struct span){file.data, size}, "cut", &stats, &et),
                             ERR_OK);
    }
    bytes_fini(&file);
}

static void test_statistics__running_out_of_memory_leaves_nothing(void **state)
{
    (void)state;
    struct statistics_plan plan = plan_of(3);
    struct statistics *leaf = new_leaf(&plan);
    struct bytes whole;
    write_range(3, 0, 3, &whole);
    for (size_t n = 1;; n++) {
        struct statistics *stats = NULL;
        struct statistics_fold *fold = NULL;
        const struct statistics *node = NULL;
        struct bytes out;
        observe_row(leaf, 2);
        bytes_init(&out, FILE_BYTES_MAX);
        (void)mem_fault_after(n);
        enum err err = statistics_parse(bytes_span(&whole), "test", &stats, NULL);
        if (err == ERR_OK)
            err = statistics_fold_create_like(stats, (struct fold_node){2, 3}, &fold);
        if (err == ERR_OK)
            err = statistics_fold_push(fold, leaf, NULL);
        if (err == ERR_OK)
            err = statistics_fold_finish(fold, &node);
        if (err == ERR_OK)
            err = statistics_write(node, file_sink_bytes, &out);
        (void)mem_fault_after(0);
        statistics_destroy(&stats);
        statistics_fold_destroy(&fold);
        bytes_fini(&out);
        if (err == ERR_OK)
            break;
        assert_int_equal(err, ERR_OUT_OF_MEMORY);
    }
    bytes_fini(&whole);
    statistics_destroy(&leaf);
}

/* ---- importance matrices ---- */

static void test_statistics_imatrix__goes_through_both_forms(void **state)
{
    (void)state;
    const struct statistics_imatrix_entry entries[] = {
        {TEXT("output.weight"), TEXT("head")},
        {TEXT("blk.0.attn_q.weight"), TEXT("layers.0.q_proj.weight")},
        {TEXT("blk.0.attn_k.weight"), TEXT("layers.0.q_proj.weight")},
    };
    const struct statistics_imatrix_options options = {TOKENS_MAX, TEXT("wiki.txt")};
    struct bytes file, out;
    struct imatrix m, again;
    write_range(4, 0, 4, &file);
    struct statistics *stats = parse(&file);
    assert_int_equal(statistics_imatrix(stats, entries, COUNT_OF(entries), &options, &m, NULL),
                     ERR_OK);
    assert_int_equal(m.chunk_count, 4);
    for (int form = IMATRIX_LEGACY; form <= IMATRIX_GGUF; form++) {
        bytes_init(&out, FILE_BYTES_MAX);
        assert_int_equal(imatrix_write(&m, (enum imatrix_form)form, file_sink_bytes, &out), ERR_OK);
        assert_int_equal(imatrix_parse(&again, bytes_span(&out), "again", NULL), ERR_OK);
        for (size_t i = 0; i < COUNT_OF(entries); i++) {
            const struct imatrix_entry *e = imatrix_find(&again, entries[i].weight);
            const struct statistics_site *site = statistics_find(stats, entries[i].site);
            float mean[COLUMNS_MAX];
            assert_non_null(e);
            assert_int_equal(e->columns, site->columns);
            imatrix_mean(e, mean);
            for (size_t c = 0; c < site->columns; c++) {
                double wanted = site->sum_x2[c] / (double)stats->tokens;
                assert_true(fabs((double)mean[c] - wanted) <= 4e-7 * wanted);
            }
        }
        assert_true(text_is(again.datasets[0], "wiki.txt"));
        imatrix_close(&again);
        bytes_fini(&out);
    }
    imatrix_close(&m);
    statistics_destroy(&stats);
    bytes_fini(&file);
}

static void test_statistics_imatrix__what_is_missing_is_named(void **state)
{
    (void)state;
    const struct {
        struct statistics_imatrix_entry entries[2];
        uint32_t chunk_size;
        enum err expected;
    } cases[] = {
        {{{TEXT("a"), TEXT("head")}, {TEXT("b"), TEXT("tail")}}, 8, ERR_NOT_FOUND},
        {{{TEXT("a"), TEXT("head")}, {TEXT("a"), TEXT("head")}}, 8, ERR_EXISTS},
        {{{TEXT("a"), TEXT("head")}, {TEXT(""), TEXT("head")}}, 8, ERR_LIMIT},
        {{{TEXT("a"), TEXT("head")}, {TEXT("b"), TEXT("head")}}, 0, ERR_STATE},
    };
    struct bytes file;
    write_range(4, 0, 4, &file);
    struct statistics *stats = parse(&file);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const struct statistics_imatrix_options options = {cases[i].chunk_size, {NULL, 0}};
        struct imatrix m;
        struct err_text et = {""};
        assert_int_equal(statistics_imatrix(stats, cases[i].entries, 2, &options, &m, &et),
                         cases[i].expected);
        assert_true(et.text[0] != '\0');
    }
    statistics_destroy(&stats);
    bytes_fini(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_statistics__shards_and_files_change_no_byte),
        cmocka_unit_test(test_statistics__are_what_they_are_called),
        cmocka_unit_test(test_statistics__sums_handed_in_are_those_computed),
        cmocka_unit_test(test_statistics__what_is_not_finite_is_refused_and_adds_nothing),
        cmocka_unit_test(test_statistics__nodes_out_of_place_are_refused),
        cmocka_unit_test(test_statistics__plans_are_checked),
        cmocka_unit_test(test_statistics__memory_is_as_the_header_says),
        cmocka_unit_test(test_statistics__damage_is_named),
        cmocka_unit_test(test_statistics__cut_files_are_refused),
        cmocka_unit_test(test_statistics__running_out_of_memory_leaves_nothing),
        cmocka_unit_test(test_statistics_imatrix__goes_through_both_forms),
        cmocka_unit_test(test_statistics_imatrix__what_is_missing_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
