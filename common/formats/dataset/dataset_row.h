/* dataset_row.h - one row of any type as parts of text, each with or without loss. */
#ifndef COMMON_FORMATS_DATASET_DATASET_ROW_H
#define COMMON_FORMATS_DATASET_DATASET_ROW_H

#include <stdbool.h>

#include "common/formats/dataset/dataset.h"
#include "common/formats/json/json_read.h"
#include "common/formats/tokenizer/chat_template.h"
#include "common/mem/arena.h"
#include "common/mem/bytes.h"

enum { DATASET_ROW_MESSAGES_MAX = 4096 };

struct dataset_part {
    struct text text; /* borrowed from the row */
    bool counts;      /* its tokens count in the loss */
};

struct dataset_row {
    struct json_doc *doc;       /* owned */
    struct bytes rendered;      /* owned: text made from fields */
    struct dataset_part *parts; /* [part_count], in the arena */
    size_t part_count;
    size_t split; /* preference: the parts from here on are the prompt with the rejected answer,
                     those before it with the chosen one; else 0 */
    bool whole; /* the parts (of an answer) are one text, to be tokenized as a whole; else apart */
    bool affixed; /* BOS before and EOS after are the tokenizer's affair */
    struct arena arena;
};

/* What turns chats into text; the template may be NULL for other types. */
struct dataset_chat {
    const struct chat_template *chat_template;
    struct chat_render_options options;
};

void dataset_row_init(struct dataset_row *row);
void dataset_row_fini(struct dataset_row *row);

/* Parses one JSON row (or takes plain text) at `line` of options->file_name. The former content of
 * *row is gone, also on an error. ERR_DATA: "file:line: ..." with keys seen and expected. */
MUST_CHECK enum err dataset_row_read(struct dataset_row *row, struct text text, uint64_t line,
                                     const struct dataset_options *options,
                                     const struct dataset_chat *chat, struct err_text *et);

/* The type whose keys `object` has; DETECT when none fits, which `et` explains. */
enum dataset_type dataset_row_detect(struct json_value object, const char *file_name, uint64_t line,
                                     struct err_text *et);

#endif
