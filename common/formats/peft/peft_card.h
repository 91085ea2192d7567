/* peft_card.h - README.md of an adapter: the front matter that hubs read, and how it came about. */
#ifndef COMMON_FORMATS_PEFT_PEFT_CARD_H
#define COMMON_FORMATS_PEFT_PEFT_CARD_H

#include <stddef.h>

#include "common/base/error.h"
#include "common/base/span.h"
#include "common/formats/peft/peft_config.h"
#include "common/formats/peft/peft_insert.h"
#include "common/mem/bytes.h"

/* A line of the table of facts: digests, final losses, the numeric profile. */
struct peft_card_fact {
    struct text name;
    struct text value;
};

/* Everything is borrowed. Nothing in it may vary between runs of the same job. */
struct peft_card {
    struct text title;
    const struct peft_config *config;        /* of a LoRA; else NULL */
    const struct peft_insert_config *insert; /* of another kind; else NULL */
    const struct text *datasets;             /* ids or file names; may be empty */
    size_t dataset_count;
    const struct peft_card_fact *facts;
    size_t fact_count;
    struct text recipe; /* YAML, resolved; may be empty */
};

/* Appends the card. ERR_FORMAT when a text is not UTF-8, ERR_LIMIT, ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err peft_card_print(const struct peft_card *card, struct bytes *out);

#endif
