/* modelfile.h - the file that `ollama create` reads, and the commands that serve a result. */
#ifndef CLI_PUBLISH_MODELFILE_H
#define CLI_PUBLISH_MODELFILE_H

#include "cli/publish/publication.h"
#include "common/mem/bytes.h"

/* False for what Ollama has no place for: prompts, bottlenecks, adapters that need a merge. */
bool modelfile_fits(const struct publication *publication);

/* Appends the file. ERR_OUT_OF_MEMORY, ERR_LIMIT. */
MUST_CHECK enum err modelfile_print(const struct publication *publication, struct bytes *out);

/* Appends a section of Markdown: how to load the result, and the commands for vLLM, llama-server
 * and Ollama that fit it. Errors as above. */
MUST_CHECK enum err modelfile_print_commands(const struct publication *publication,
                                             struct bytes *out);

#endif
