/* statistics_fold.c - a stack of sums beside one result that takes all the rest. */
#include "common/calibration/statistics_fold.h"

#include <float.h>
#include <string.h>

#include "common/base/check.h"
#include "common/mem/mem.h"

struct entry {
    struct fold_node rows;
    double *sums; /* owned: [sum_count]; kept for reuse above `depth` */
};

struct statistics_fold {
    struct statistics *total; /* owned; its rows are those pushed so far */
    struct fold_node rows;
    struct entry stack[FOLD_DEPTH_MAX];
    size_t depth;
};

enum err statistics_fold_create(const struct statistics_plan *plan, struct fold_node rows,
                                struct statistics_fold **out)
{
    if (!fold_is_node(plan->row_count, rows))
        return ERR_STATE;
    struct statistics_fold *fold = mem_alloc(1, sizeof *fold);
    if (fold == NULL)
        return ERR_OUT_OF_MEMORY;
    enum err err = statistics_create(plan, rows.end - rows.begin, &fold->total);
    if (err != ERR_OK) {
        mem_free(fold);
        return err;
    }
    fold->rows = rows;
    statistics_clear(fold->total, rows.begin);
    *out = fold;
    return ERR_OK;
}

enum err statistics_fold_create_like(const struct statistics *like, struct fold_node rows,
                                     struct statistics_fold **out)
{
    struct statistics_ask *asks = mem_alloc(like->count, sizeof *asks);
    if (asks == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < like->count; i++)
        asks[i] = (struct statistics_ask){like->sites[i].name, like->sites[i].columns,
                                          like->sites[i].kinds};
    struct statistics_plan plan = {asks, like->count, like->row_count, like->profile};
    enum err err = statistics_fold_create(&plan, rows, out);
    mem_free(asks);
    return err;
}

void statistics_fold_destroy(struct statistics_fold **fold)
{
    if (*fold == NULL)
        return;
    for (size_t i = 0; i < FOLD_DEPTH_MAX; i++)
        mem_free((*fold)->stack[i].sums);
    statistics_destroy(&(*fold)->total);
    mem_free(*fold);
    *fold = NULL;
}

uint64_t statistics_fold_next(const struct statistics_fold *fold)
{
    return fold->total->rows.end;
}

static enum err check_same(const struct statistics *total, const struct statistics *node,
                           struct err_text *et)
{
    if (node->row_count != total->row_count || !text_equal(node->profile, total->profile))
        return error_set(et, ERR_SHAPE,
                         "statistics of %llu rows under profile %.*s, expected %llu rows under "
                         "%.*s",
                         (unsigned long long)node->row_count, TEXT_ARGS(node->profile),
                         (unsigned long long)total->row_count, TEXT_ARGS(total->profile));
    if (node->count != total->count)
        return error_set(et, ERR_SHAPE, "statistics of %zu sites, expected %zu", node->count,
                         total->count);
    for (size_t i = 0; i < node->count; i++) {
        const struct statistics_site *a = &total->sites[i], *b = &node->sites[i];
        if (!text_equal(a->name, b->name))
            return error_set(et, ERR_SHAPE, "statistics of site %.*s, expected %.*s",
                             TEXT_ARGS(b->name), TEXT_ARGS(a->name));
        if (a->columns != b->columns || a->kinds != b->kinds)
            return error_set(et, ERR_SHAPE,
                             "site %.*s: %zu columns with statistics %#x, expected %zu with %#x",
                             TEXT_ARGS(a->name), b->columns, b->kinds, a->columns, a->kinds);
    }
    return ERR_OK;
}

/* Every count of a histogram is at most tokens * columns. */
static enum err check_counts(const struct statistics *total, const struct statistics *node)
{
    if (node->tokens > (uint64_t)INT64_MAX - total->tokens)
        return ERR_OVERFLOW;
    uint64_t tokens = total->tokens + node->tokens;
    for (size_t i = 0; i < total->count; i++)
        if (tokens > (uint64_t)INT64_MAX / total->sites[i].columns)
            return ERR_OVERFLOW;
    return ERR_OK;
}

static void merge_extremes(const struct statistics_site *to, const struct statistics_site *from)
{
    for (size_t c = 0; to->max_abs != NULL && c < to->columns; c++)
        to->max_abs[c] = MAX(to->max_abs[c], from->max_abs[c]);
    for (size_t c = 0; to->min != NULL && c < to->columns; c++) {
        to->min[c] = MIN(to->min[c], from->min[c]);
        to->max[c] = MAX(to->max[c], from->max[c]);
    }
}

static void copy_records(float *to, const float *from, size_t begin, size_t rows, size_t width)
{
    if (to != NULL)
        memcpy(to + begin * width * 2, from, rows * width * 2 * sizeof *to);
}

/* What merges exactly. */
static void merge(struct statistics_fold *fold, const struct statistics *node)
{
    struct statistics *total = fold->total;
    size_t begin = (size_t)(node->rows.begin - fold->rows.begin);
    size_t rows = (size_t)(node->rows.end - node->rows.begin);
    for (size_t i = 0; i < total->count; i++) {
        struct statistics_site *to = &total->sites[i];
        const struct statistics_site *from = &node->sites[i];
        merge_extremes(to, from);
        copy_records(to->average, from->average, begin, rows, 1);
        copy_records(to->average_channel, from->average_channel, begin, rows, to->columns);
        enum err err = histogram_merge(&to->histogram, &from->histogram);
        ASSERT(err == ERR_OK);
        err = histogram_merge(&to->histogram_channel, &from->histogram_channel);
        ASSERT(err == ERR_OK);
        to->tokens += from->tokens;
    }
    total->tokens += node->tokens;
    total->rows.end = node->rows.end;
}

static bool are_siblings(uint64_t row_count, struct fold_node left, struct fold_node right)
{
    struct fold_node parent = {left.begin, right.end};
    return fold_is_node(row_count, parent) &&
           left.end - left.begin == fold_split(parent.end - parent.begin);
}

/* Room for one more entry: the only step of a push that can fail once all is checked. */
static enum err reserve(struct statistics_fold *fold)
{
    ASSERT(fold->depth < FOLD_DEPTH_MAX);
    struct entry *entry = &fold->stack[fold->depth];
    if (entry->sums == NULL)
        entry->sums = mem_alloc_aligned(MAX(fold->total->sum_count, 1u), sizeof *entry->sums);
    return entry->sums != NULL ? ERR_OK : ERR_OUT_OF_MEMORY;
}

static void push_sums(struct statistics_fold *fold, const struct statistics *node)
{
    const size_t count = fold->total->sum_count;
    struct entry *top = &fold->stack[fold->depth++];
    top->rows = node->rows;
    if (count > 0)
        memcpy(top->sums, node->sums, count * sizeof *top->sums);
    for (; fold->depth > 1; fold->depth--) {
        struct entry *right = &fold->stack[fold->depth - 1], *left = right - 1;
        if (!are_siblings(node->row_count, left->rows, right->rows))
            return;
        for (size_t i = 0; i < count; i++)
            left->sums[i] += right->sums[i];
        left->rows.end = right->rows.end;
    }
}

enum err statistics_fold_push(struct statistics_fold *fold, const struct statistics *node,
                              struct err_text *et)
{
    TRY(check_same(fold->total, node, et));
    if (!fold_is_node(node->row_count, node->rows) || node->rows.begin != fold->total->rows.end ||
        node->rows.end > fold->rows.end)
        return error_set(
            et, ERR_STATE, "statistics of rows [%llu, %llu), expected rows from %llu, up to %llu",
            (unsigned long long)node->rows.begin, (unsigned long long)node->rows.end,
            (unsigned long long)fold->total->rows.end, (unsigned long long)fold->rows.end);
    enum err err = check_counts(fold->total, node);
    if (err != ERR_OK)
        return error_set(et, err, "statistics: counts of tokens do not fit 63 bits");
    TRY(reserve(fold));
    merge(fold, node);
    push_sums(fold, node);
    return ERR_OK;
}

enum err statistics_fold_finish(struct statistics_fold *fold, const struct statistics **out)
{
    struct statistics *total = fold->total;
    if (total->rows.end != fold->rows.end)
        return ERR_STATE;
    ASSERT(fold->depth == 1);
    const double *sums = fold->stack[0].sums;
    for (size_t i = 0; i < total->sum_count; i++)
        if (!(sums[i] <= DBL_MAX))
            return ERR_NOT_FINITE;
    if (total->sum_count > 0)
        memcpy(total->sums, sums, total->sum_count * sizeof *sums);
    *out = total;
    return ERR_OK;
}
