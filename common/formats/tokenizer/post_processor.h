/* post_processor.h - the ids that a tokenizer puts around a text. */
#ifndef COMMON_FORMATS_TOKENIZER_POST_PROCESSOR_H
#define COMMON_FORMATS_TOKENIZER_POST_PROCESSOR_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/formats/json/json_read.h"
#include "common/formats/tokenizer/vocab.h"

enum { POST_PROCESSOR_IDS_MAX = 16 };

struct post_processor {
    uint32_t prefix[POST_PROCESSOR_IDS_MAX];
    uint32_t suffix[POST_PROCESSOR_IDS_MAX];
    size_t prefix_count;
    size_t suffix_count;
};

/* From a "post_processor" value (null: nothing). Ids must lie in `vocab`. ERR_UNSUPPORTED names an
 * unknown type. */
MUST_CHECK enum err post_processor_read(struct post_processor *post_processor,
                                        struct json_value value, const struct vocab *vocab,
                                        struct err_text *et);

#endif
