/* base64.h - RFC 4648 base64, as tokenizers write bytes in text files. */
#ifndef COMMON_FORMATS_TOKENIZER_BASE64_H
#define COMMON_FORMATS_TOKENIZER_BASE64_H

#include <stdbool.h>

#include "common/base/span.h"
#include "common/mem/bytes.h"

/* Appends the bytes that `text` encodes; false, with *out as it was, when it is not base64. Whether
 * memory sufficed is in bytes_status. */
bool base64_decode(struct text text, struct bytes *out);

#endif
