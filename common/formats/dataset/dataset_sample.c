/* dataset_sample.c - tokenizing parts, apart or as one text. */
#include "common/formats/dataset/dataset_sample.h"

#include <string.h>

#include "common/base/check.h"

#define LOSS_BYTES_MAX ((size_t)1 << 32)

void dataset_sample_init(struct dataset_sample *sample)
{
    token_list_init(&sample->tokens);
    token_list_init(&sample->partial);
    bytes_init(&sample->loss, LOSS_BYTES_MAX);
    bytes_init(&sample->ends, LOSS_BYTES_MAX * sizeof(size_t));
}

void dataset_sample_fini(struct dataset_sample *sample)
{
    token_list_fini(&sample->tokens);
    token_list_fini(&sample->partial);
    bytes_fini(&sample->loss);
    bytes_fini(&sample->ends);
}

/* Loss of the tokens from loss->size to the end of the list. */
static void fill_loss(struct dataset_sample *sample, bool counts)
{
    size_t more = sample->tokens.count - sample->loss.size;
    uint8_t *loss = bytes_extend(&sample->loss, more);
    if (loss != NULL)
        memset(loss, counts, more);
}

/* Where each token of `whole` ends, as far as the tokens' bytes spell the text; false when they do
 * not (a normalizer changed it, unknown characters). A blank that the tokenizer put before a
 * section is no part of the text. */
static bool find_ends(struct dataset_sample *sample, struct text whole, size_t first,
                      const struct tokenizer *tokenizer)
{
    size_t at = 0;
    bytes_clear(&sample->ends);
    for (size_t i = first; i < sample->tokens.count; i++) {
        struct text bytes = tokenizer_bytes(tokenizer, sample->tokens.ids[i]);
        bool fits =
            bytes.size <= whole.size - at && memcmp(whole.data + at, bytes.data, bytes.size) == 0;
        if (!fits && bytes.size > 0 && bytes.data[0] == ' ') {
            bytes = (struct text){bytes.data + 1, bytes.size - 1};
            fits = bytes.size <= whole.size - at &&
                   memcmp(whole.data + at, bytes.data, bytes.size) == 0;
        }
        if (!fits)
            return false;
        at += bytes.size;
        bytes_append(&sample->ends, &at, sizeof(at));
    }
    return at == whole.size && bytes_status(&sample->ends) == ERR_OK;
}

/* Tokens of `whole` before the byte `at`: the longest common start of its ids and those of its
 * first `at` bytes. */
static enum err tokens_before(struct dataset_sample *sample, struct text whole, size_t at,
                              size_t first, const struct tokenizer *tokenizer,
                              struct tokenizer_scratch *scratch, size_t *out)
{
    sample->partial.count = 0;
    TRY(tokenizer_encode(tokenizer, scratch, (struct text){whole.data, at}, 0, &sample->partial));
    size_t same = 0;
    size_t limit = MIN(sample->partial.count, sample->tokens.count - first);
    while (same < limit && sample->partial.ids[same] == sample->tokens.ids[first + same])
        same++;
    *out = first + same;
    return ERR_OK;
}

/* The parts lie one after the other in memory, so together they are one text. A token that spans
 * two parts belongs to the second. */
static enum err add_whole(struct dataset_sample *sample, const struct dataset_part *parts,
                          size_t part_count, bool all_count, const struct tokenizer *tokenizer,
                          struct tokenizer_scratch *scratch)
{
    struct text whole = {parts[0].text.data, 0};
    size_t first = sample->tokens.count;
    for (size_t i = 0; i < part_count; i++)
        whole.size += parts[i].text.size;
    TRY(tokenizer_encode(tokenizer, scratch, whole, 0, &sample->tokens));
    bool spelled = find_ends(sample, whole, first, tokenizer);
    size_t count = sample->tokens.count;
    size_t at = 0;
    size_t end = first;
    for (size_t i = 0; i < part_count; i++) {
        at += parts[i].text.size;
        if (i + 1 == part_count)
            end = count;
        else if (!spelled)
            TRY(tokens_before(sample, whole, at, first, tokenizer, scratch, &end));
        for (size_t token_end; spelled && end < count; end++) {
            memcpy(&token_end, sample->ends.data + (end - first) * sizeof(at), sizeof(at));
            if (token_end > at)
                break;
        }
        sample->tokens.count = MAX(end, sample->loss.size);
        fill_loss(sample, all_count || parts[i].counts);
        sample->tokens.count = count;
    }
    return ERR_OK;
}

static enum err add_apart(struct dataset_sample *sample, const struct dataset_part *parts,
                          size_t part_count, bool all_count, const struct tokenizer *tokenizer,
                          struct tokenizer_scratch *scratch)
{
    for (size_t i = 0; i < part_count; i++) {
        TRY(tokenizer_encode(tokenizer, scratch, parts[i].text, 0, &sample->tokens));
        fill_loss(sample, all_count || parts[i].counts);
    }
    return ERR_OK;
}

/* What a sequence is made with. */
struct making {
    const struct dataset_row *row;
    bool all_count, closed;
    const struct tokenizer *tokenizer;
    struct tokenizer_scratch *scratch;
};

/* Appends one sequence of the parts [begin, end). */
static enum err add_sequence(struct dataset_sample *sample, const struct making *m, size_t begin,
                             size_t end)
{
    const struct dataset_part *parts = m->row->parts + begin;
    size_t start = sample->loss.size;
    if (m->row->affixed) {
        struct tokenizer_affix prefix = tokenizer_prefix(m->tokenizer);
        TRY(token_list_append(&sample->tokens, prefix.ids, prefix.count));
        fill_loss(sample, m->all_count);
    }
    if (m->row->whole && end > begin)
        TRY(add_whole(sample, parts, end - begin, m->all_count, m->tokenizer, m->scratch));
    else
        TRY(add_apart(sample, parts, end - begin, m->all_count, m->tokenizer, m->scratch));
    uint32_t eos = tokenizer_roles(m->tokenizer).eos;
    if (m->row->affixed && m->closed && eos != TOKENIZER_NONE) {
        TRY(token_list_append(&sample->tokens, &eos, 1));
        fill_loss(sample, true);
    }
    TRY(bytes_status(&sample->loss));
    if (sample->loss.size > start)
        sample->loss.data[start] = 0; /* nothing predicts the first token */
    return ERR_OK;
}

enum err dataset_sample_make(struct dataset_sample *sample, const struct dataset_row *row,
                             const struct dataset_options *options, bool closed,
                             const struct tokenizer *tokenizer, struct tokenizer_scratch *scratch)
{
    struct making making = {row, options->train_on_inputs, closed, tokenizer, scratch};
    size_t split = row->split > 0 ? row->split : row->part_count;
    sample->tokens.count = 0;
    sample->is_pair = row->split > 0;
    sample->split = 0;
    bytes_clear(&sample->loss);
    TRY(add_sequence(sample, &making, 0, split));
    if (!sample->is_pair)
        return ERR_OK;
    sample->split = sample->tokens.count;
    return add_sequence(sample, &making, split, row->part_count);
}

/* Takes `count` tokens out at `at`. */
static void take_out(struct dataset_sample *sample, size_t at, size_t count)
{
    size_t after = sample->tokens.count - at - count;
    memmove(sample->tokens.ids + at, sample->tokens.ids + at + count,
            after * sizeof(*sample->tokens.ids));
    memmove(sample->loss.data + at, sample->loss.data + at + count, after);
    sample->tokens.count -= count;
    sample->loss.size -= count;
}

size_t dataset_sample_cut(struct dataset_sample *sample, size_t length)
{
    size_t before = sample->tokens.count;
    if (sample->split > length) {
        take_out(sample, length, sample->split - length);
        sample->split = length;
    }
    if (sample->tokens.count - sample->split > length)
        take_out(sample, sample->split + length, sample->tokens.count - sample->split - length);
    return before - sample->tokens.count;
}

bool dataset_sample_is_empty(const struct dataset_sample *sample)
{
    const uint8_t *loss = sample->loss.data;
    size_t split = sample->split;
    if (sample->is_pair && dataset_sample_supervised(loss, split) == 0)
        return true;
    return dataset_sample_supervised(loss + split, sample->tokens.count - split) == 0;
}

uint64_t dataset_sample_supervised(const uint8_t *loss, size_t count)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += loss[i];
    return sum;
}
