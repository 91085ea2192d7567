/* dataset_pack.c - who is held out, who shares a row, and the rows blob of both. */
#include "common/formats/dataset/dataset_pack.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/dataset/rows_builder.h"
#include "common/formats/dataset/samples.h"
#include "common/mem/mem.h"
#include "common/numeric/permute.h"
#include "common/numeric/random.h"

#define NONE UINT32_MAX

/* One sample, wherever it lies. */
struct place {
    const uint32_t *tokens;
    const uint8_t *loss;
    uint32_t count;
    uint32_t split; /* of a pair: where its second segment starts; else 0 */
    uint32_t order; /* in its group, to break ties */
};

static void add_segments(struct rows_builder *builder, const struct place *sample)
{
    uint32_t split = sample->split;
    if (split > 0)
        rows_builder_add(builder, sample->tokens, sample->loss, split);
    rows_builder_add(builder, sample->tokens + split, sample->loss + split, sample->count - split);
}

/* Rows being filled, by the room they have left: head[room] is a list of rows, and a bit says
 * whether it is empty. */
struct bins {
    uint32_t *head; /* owned: [length + 1] */
    uint64_t *used; /* owned: bits */
    uint32_t length;
    uint32_t next[DATASET_PACK_GROUP];  /* row in the same list */
    uint32_t room[DATASET_PACK_GROUP];  /* of a row */
    uint32_t first[DATASET_PACK_GROUP]; /* first sample of a row */
    uint32_t last[DATASET_PACK_GROUP];
    uint32_t after[DATASET_PACK_GROUP]; /* sample after a sample in its row */
    uint32_t count;
};

static void bins_destroy(struct bins **bins)
{
    if (*bins == NULL)
        return;
    mem_free((*bins)->head);
    mem_free((*bins)->used);
    mem_free(*bins);
    *bins = NULL;
}

static enum err bins_create(uint32_t length, struct bins **out)
{
    struct bins *bins = mem_alloc(1, sizeof(*bins));
    if (bins == NULL)
        return ERR_OUT_OF_MEMORY;
    bins->length = length;
    bins->head = mem_alloc((size_t)length + 1, sizeof(*bins->head));
    bins->used = mem_alloc(length / 64 + 1, sizeof(*bins->used));
    if (bins->head == NULL || bins->used == NULL) {
        bins_destroy(&bins);
        return ERR_OUT_OF_MEMORY;
    }
    *out = bins;
    return ERR_OK;
}

/* The row with the least room that still takes `count`, taken out of its list; NONE: no such. */
static uint32_t bins_take(struct bins *bins, uint32_t count)
{
    uint32_t word = count / 64;
    uint64_t bits = bins->used[word] & (UINT64_MAX << count % 64);
    while (bits == 0) {
        if (++word > bins->length / 64)
            return NONE;
        bits = bins->used[word];
    }
    uint32_t room = word * 64 + (uint32_t)__builtin_ctzll(bits);
    uint32_t bin = bins->head[room];
    bins->head[room] = bins->next[bin];
    if (bins->head[room] == NONE)
        bins->used[room / 64] &= ~(1ull << room % 64);
    return bin;
}

static void bins_put(struct bins *bins, uint32_t bin)
{
    uint32_t room = bins->room[bin];
    bool empty = (bins->used[room / 64] >> room % 64 & 1) == 0;
    bins->next[bin] = empty ? NONE : bins->head[room];
    bins->head[room] = bin;
    bins->used[room / 64] |= 1ull << room % 64;
}

static int by_length(const void *a, const void *b)
{
    const struct place *x = a;
    const struct place *y = b;
    if (x->count != y->count)
        return x->count > y->count ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

/* Best-fit decreasing over one group: the longest sample goes into the fullest row that takes it.
 */
static void pack_group(struct bins *bins, struct place *group, uint32_t count,
                       struct rows_builder *builder)
{
    qsort(group, count, sizeof(*group), by_length);
    memset(bins->used, 0, (bins->length / 64 + 1) * sizeof(*bins->used));
    bins->count = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t bin = bins_take(bins, group[i].count);
        if (bin == NONE) {
            bin = bins->count++;
            bins->room[bin] = bins->length;
            bins->first[bin] = i;
        } else {
            bins->after[bins->last[bin]] = i;
        }
        bins->last[bin] = i;
        bins->after[i] = NONE;
        bins->room[bin] -= group[i].count;
        bins_put(bins, bin);
    }
    for (uint32_t bin = 0; bin < bins->count; bin++) {
        for (uint32_t i = bins->first[bin]; i != NONE; i = bins->after[i])
            add_segments(builder, &group[i]);
        rows_builder_end_row(builder);
    }
}

static enum err pack_rows(const struct place *samples, uint64_t count,
                          const struct dataset_pack_options *options, struct rows_builder *builder)
{
    struct bins *bins = NULL;
    uint64_t key = random_key(options->seed, RANDOM_ORDER, random_name(TEXT("samples")), 0, 0);
    struct place *group = mem_alloc(DATASET_PACK_GROUP, sizeof(*group));
    enum err err = group == NULL ? ERR_OUT_OF_MEMORY : bins_create(options->sequence_len, &bins);
    for (uint64_t done = 0; done < count && err == ERR_OK;) {
        uint32_t size = (uint32_t)MIN(count - done, (uint64_t)DATASET_PACK_GROUP);
        for (uint32_t i = 0; i < size; i++) {
            group[i] = samples[permute_index(key, count, done + i)];
            group[i].order = i;
        }
        pack_group(bins, group, size, builder);
        done += size;
    }
    bins_destroy(&bins);
    mem_free(group);
    return err;
}

/* How many of `count` samples are held out. */
static enum err held_out_count(double wanted, uint64_t count, uint64_t *out, struct err_text *et)
{
    double exact = wanted < 1 ? wanted * (double)count : wanted;
    if (!(wanted >= 0) || exact >= (double)count)
        return error_set(et, ERR_DATA,
                         "val_set_size holds out %.17g of %llu samples and leaves none to train on",
                         exact, (unsigned long long)count);
    uint64_t whole = (uint64_t)exact;
    whole += (double)whole < exact;
    if (whole >= count)
        return error_set(et, ERR_DATA, "val_set_size leaves none of %llu samples to train on",
                         (unsigned long long)count);
    *out = whole;
    return ERR_OK;
}

static void add_rows(const struct place *samples, uint64_t count, struct rows_builder *builder)
{
    for (uint64_t i = 0; i < count; i++) {
        add_segments(builder, &samples[i]);
        rows_builder_end_row(builder);
    }
}

/* Moves the held-out samples behind the others; both keep their order. `spare` has room for all. */
static void split(struct place *samples, struct place *spare, uint8_t *held, uint64_t count,
                  uint64_t held_count, uint64_t seed)
{
    uint64_t key = random_key(seed, RANDOM_SPLIT, 0, 0, 0);
    uint64_t kept = 0;
    uint64_t out = 0;
    for (uint64_t i = 0; i < held_count; i++)
        held[permute_index(key, count, i)] = 1;
    for (uint64_t i = 0; i < count; i++)
        if (held[i])
            spare[out++] = samples[i];
        else
            samples[kept++] = samples[i];
    memcpy(samples + kept, spare, out * sizeof(*samples));
}

static enum err write_rows(struct place *samples, uint64_t count, uint64_t test_count,
                           const struct dataset_pack_options *options, struct bytes *train,
                           struct bytes *test, struct dataset_pack_stats *stats)
{
    struct rows_builder train_rows, test_rows;
    uint64_t train_count = count - test_count;
    enum err err = ERR_OK;
    rows_builder_init(&train_rows);
    rows_builder_init(&test_rows);
    if (options->sample_packing && !options->pairs)
        TRY_OUT(pack_rows(samples, train_count, options, &train_rows));
    else
        add_rows(samples, train_count, &train_rows);
    add_rows(samples + train_count, test_count, &test_rows);
    size_t train_start = train->size;
    size_t test_start = test == NULL ? 0 : test->size;
    err = rows_builder_write(&train_rows, NULL, 0, train);
    if (err == ERR_OK && test != NULL)
        err = rows_builder_write(&test_rows, NULL, 0, test);
    if (err != ERR_OK) {
        train->size = train_start;
        if (test != NULL)
            test->size = test_start;
        goto out;
    }
    stats->samples = count;
    stats->train_samples = train_count;
    stats->test_samples = test_count;
    stats->train_rows = train_rows.row_count;
    stats->test_rows = test_rows.row_count;
    stats->train_tokens = train_rows.loss.size;
    stats->test_tokens = test_rows.loss.size;
    stats->train_supervised_tokens = train_rows.supervised_count;
    stats->test_supervised_tokens = test_rows.supervised_count;
out:
    rows_builder_fini(&train_rows);
    rows_builder_fini(&test_rows);
    return err;
}

/* Places of the samples of one shard. */
static enum err gather_shard(const struct samples *samples,
                             const struct dataset_pack_options *options, struct place *out,
                             struct err_text *et)
{
    bool pairs = samples->splits != NULL;
    if (pairs != options->pairs)
        return error_set(et, ERR_DATA,
                         pairs ? "the data are pairs of answers (preference); add rl: dpo"
                               : "rl: dpo needs pairs of answers (preference data), found others");
    for (uint64_t i = 0; i < samples->count; i++) {
        uint64_t begin = samples->offsets[i], size = samples->offsets[i + 1] - begin;
        uint64_t split = pairs ? samples->splits[i] : 0;
        uint64_t longest = MAX(split, size - split);
        if (longest > options->sequence_len)
            return error_set(et, ERR_FORMAT, "samples: one of %llu tokens, more than %u",
                             (unsigned long long)longest, options->sequence_len);
        out[i] = (struct place){.tokens = samples->tokens + begin,
                                .loss = samples->loss + begin,
                                .count = (uint32_t)size,
                                .split = (uint32_t)split};
    }
    return ERR_OK;
}

/* Places of all samples of all shards, in order; *out is the caller's to free. */
static enum err gather(const struct span *shards, size_t shard_count,
                       const struct dataset_pack_options *options, struct place **out,
                       uint64_t *out_count, struct dataset_counts *counts, struct err_text *et)
{
    struct place *places = NULL;
    uint64_t count = 0;
    enum err err = ERR_OK;
    for (size_t s = 0; s < shard_count; s++) {
        struct samples samples;
        TRY_OUT(samples_open(shards[s], &samples, et));
        samples_counts_add(counts, &samples.counts);
        if (samples.count == 0)
            continue;
        struct place *more = mem_resize(places, count + samples.count, sizeof(*places));
        if (more == NULL) {
            err = ERR_OUT_OF_MEMORY;
            goto out;
        }
        places = more;
        TRY_OUT(gather_shard(&samples, options, places + count, et));
        count += samples.count;
    }
    *out = places;
    *out_count = count;
    places = NULL;
out:
    mem_free(places);
    return err;
}

enum err dataset_pack(const struct span *shards, size_t shard_count,
                      const struct dataset_pack_options *options, struct bytes *train,
                      struct bytes *test, struct dataset_pack_stats *stats, struct err_text *et)
{
    struct dataset_pack_stats made = {0};
    struct place *samples = NULL;
    struct place *spare = NULL;
    uint8_t *held = NULL;
    uint64_t count = 0;
    uint64_t test_count = 0;
    enum err err;
    ASSERT(options->sequence_len > 0 && options->sequence_len <= DATASET_SEQUENCE_LEN_MAX);
    TRY(gather(shards, shard_count, options, &samples, &count, &made.counts, et));
    if (count == 0) {
        err = error_set(et, ERR_DATA, "no samples: %llu rows were read, %llu had nothing to learn",
                        (unsigned long long)made.counts.rows,
                        (unsigned long long)made.counts.empty_rows);
        goto out;
    }
    TRY_OUT(held_out_count(options->val_set_size, count, &test_count, et));
    ASSERT(test != NULL || test_count == 0);
    spare = mem_alloc(MAX(test_count, (uint64_t)1), sizeof(*spare));
    held = mem_alloc(count, 1);
    if (spare == NULL || held == NULL) {
        err = ERR_OUT_OF_MEMORY;
        goto out;
    }
    split(samples, spare, held, count, test_count, options->seed);
    TRY_OUT(write_rows(samples, count, test_count, options, train, test, &made));
    *stats = made;
out:
    mem_free(samples);
    mem_free(spare);
    mem_free(held);
    return err;
}
