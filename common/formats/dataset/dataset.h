/* dataset.h - what a data set is: files of rows, their types, and what one row becomes.
 *
 *   file ─▶ shards (byte ranges) ─▶ dataset_prepare_shard ─▶ samples ─▶ dataset_pack ─▶ rows
 *
 * A sample is token ids with a loss mask. A row is what the model sees at once: one sample, or
 * several packed, at most sequence_len tokens. All of it is pure: spans in, blobs out.
 *
 * Refuses to know: where files lie, workers, rounds.
 */
#ifndef COMMON_FORMATS_DATASET_DATASET_H
#define COMMON_FORMATS_DATASET_DATASET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/base/span.h"

enum dataset_format {
    DATASET_FORMAT_DETECT,
    DATASET_FORMAT_JSONL, /* one JSON object a line; blank lines are skipped */
    DATASET_FORMAT_JSON,  /* one array of objects */
    DATASET_FORMAT_TEXT,  /* plain UTF-8 */
};

enum dataset_type {
    DATASET_TYPE_DETECT,
    DATASET_TYPE_COMPLETION, /* text: every token counts */
    DATASET_TYPE_ALPACA,     /* instruction, input?, output, system? */
    DATASET_TYPE_CHAT,       /* messages [{role, content}] or conversations [{from, value}] */
    DATASET_TYPE_PROMPT_COMPLETION, /* prompt, completion: tokenized apart */
    DATASET_TYPE_INPUT_OUTPUT,      /* segments [{label, text}] */
    DATASET_TYPE_PREFERENCE,        /* prompt?, chosen, rejected: two answers to one prompt */
};

enum {
    DATASET_ROW_BYTES_MAX = 64 << 20, /* one JSON row */
    DATASET_SEQUENCE_LEN_MAX = 1 << 20,
    DATASET_SHARDS_MAX = 1 << 16,
};

/* How to read one entry of `datasets`. Text fields may be NULL: the default. */
struct dataset_options {
    const char *file_name; /* for messages only */
    enum dataset_format format;
    enum dataset_type type;
    const char *field;          /* completion: the column, default "text" */
    const char *field_messages; /* chat: the column, default "messages" or "conversations" */
    const char *chat_template;  /* chat: a name, or the model's own */
    uint32_t sequence_len;
    bool train_on_inputs;
    bool answers_are_chats; /* preference: lists of messages; settled by dataset_detect */
};

/* What became of the rows of one shard or of all. */
struct dataset_counts {
    uint64_t rows;             /* rows read */
    uint64_t samples;          /* samples made: long completions become several; or pairs */
    uint64_t truncated_rows;   /* rows cut at sequence_len */
    uint64_t truncated_tokens; /* tokens that were cut away */
    uint64_t empty_rows;       /* rows without a token that counts; left out */
    uint64_t tokens;
    uint64_t supervised_tokens; /* tokens whose prediction counts */
};

/* "jsonl", "alpaca", ... as recipes spell them; static. */
const char *dataset_format_name(enum dataset_format format);
const char *dataset_type_name(enum dataset_type type);

/* Type of a recipe's word. ERR_RECIPE names the choices and the nearest one. */
MUST_CHECK enum err dataset_type_parse(struct text word, enum dataset_type *out,
                                       struct err_text *et);

/* Whether its rows are rendered by a chat template; `options` are settled. */
bool dataset_uses_template(const struct dataset_options *options);

/* Settles format (by the file's first characters and name) and type (by the keys of its first row)
 * where `options` says DETECT, and whether answers are chats, so that every shard of a file is read
 * alike. On success options->format and options->type are never DETECT. `file` is the whole file.
 * ERR_DATA names file, line, the keys seen and the keys that each type expects. */
MUST_CHECK enum err dataset_detect(struct span file, struct dataset_options *options,
                                   struct err_text *et);

/* Number of shards of a file of `size_bytes`, for about `shard_bytes` each: a function of the size
 * alone (a JSON array is one shard). At least 1. Shard i is [begin, end). */
uint32_t dataset_shard_count(enum dataset_format format, uint64_t size_bytes, uint64_t shard_bytes);
void dataset_shard_range(uint64_t size_bytes, uint32_t shard_count, uint32_t index, uint64_t *begin,
                         uint64_t *end);

#endif
