/* output_shape.h - what verbs print in JSON that is no message: `stats`, `inspect`, `data check`,
 * `doctor`, `pull` and `export` write member by member, and here stands what these are. A test
 * holds both together.
 */
#ifndef CLI_COMMAND_OUTPUT_SHAPE_H
#define CLI_COMMAND_OUTPUT_SHAPE_H

#include "common/formats/json/json_write.h"

/* Row by row the name of the verb, joined by hyphens, and the schema's title; NULL beyond the
 * last. */
const char *output_shape_name(size_t index, const char **title);

/* Writes the members of the schema into the object that the caller has begun. */
void output_shape_write(struct json_write *w, size_t index);

#endif
