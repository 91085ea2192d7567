/* json_path.h - the words of a message about a value: where it is and what it is.
 *
 * Values do not carry their path; it is searched from the root when a message needs it.
 */
#ifndef COMMON_FORMATS_JSON_JSON_PATH_H
#define COMMON_FORMATS_JSON_JSON_PATH_H

#include "common/formats/json/json_read.h"

/* "model.vocab[3].id", cut to fit; "the document" for the root. */
void json_path_print(struct json_value value, char *out, size_t out_bytes);

/* "the text \"abc\"", "the integer 7", "an object", "nothing", cut to fit. */
void json_path_print_found(struct json_value value, char *out, size_t out_bytes);

#endif
