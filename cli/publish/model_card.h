/* model_card.h - README.md of a result: the front matter that hubs read, what it is, how it came
 * about, how it is run. */
#ifndef CLI_PUBLISH_MODEL_CARD_H
#define CLI_PUBLISH_MODEL_CARD_H

#include "cli/publish/publication.h"
#include "common/mem/bytes.h"

/* Appends the card. ERR_FORMAT when a text is not UTF-8, ERR_OUT_OF_MEMORY, ERR_LIMIT. */
MUST_CHECK enum err model_card_print(const struct publication *publication, struct bytes *out);

#endif
