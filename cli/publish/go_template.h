/* go_template.h - a chat template as Ollama wants it: a text of Go's text/template over .Messages.
 *
 * Made from the columns of the template's row, so whatever is rendered here is rendered there; but
 * Go's templates cannot trim, so blanks around contents stay, and thoughts are left to Ollama.
 */
#ifndef CLI_PUBLISH_GO_TEMPLATE_H
#define CLI_PUBLISH_GO_TEMPLATE_H

#include "cli/publish/publication.h"
#include "common/mem/bytes.h"

enum { GO_TEMPLATE_STOPS_MAX = 3, GO_TEMPLATE_STOP_BYTES = 64 };

/* Appends the template of publication->chat, which is not NULL. A BOS that starts it is left out
 * where the tokenizer puts one there. ERR_OUT_OF_MEMORY, ERR_LIMIT. */
MUST_CHECK enum err go_template_print(const struct publication *publication, struct bytes *out);

/* The texts behind which an answer is over: the mark that ends a turn, EOS, and what opens the next
 * question. Returns how many. */
size_t go_template_stops(const struct publication *publication,
                         char stops[GO_TEMPLATE_STOPS_MAX][GO_TEMPLATE_STOP_BYTES]);

#endif
