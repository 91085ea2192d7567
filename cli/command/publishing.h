/* publishing.h - the result of a job in a folder, made ready for a hub: what is known of it is
 * gathered from the job and from the files themselves.
 */
#ifndef CLI_COMMAND_PUBLISHING_H
#define CLI_COMMAND_PUBLISHING_H

#include <stdio.h>

#include "cli/publish/publication.h"
#include "common/mem/arena.h"
#include "common/message/message.h"
#include "common/recipe/recipe.h"

/* What a person may say about it; NULL: what the job says. */
struct publishing_words {
    const char *name;
    const char *base_model;
    const char *license;
};

struct publishing {
    const struct msg_job *job; /* borrowed */
    uint32_t variant;          /* of its recipe */
    const char *folder;        /* borrowed; with the files of the result */
    struct publishing_words words;
};

/* Adds recipe.yml, README.md, Modelfile and chat_template.jinja to the folder, the last two where
 * there is something to say; words->base_model is written into adapter_config.json too. Notices go
 * to `messages`, a line each. ERR_NOT_FOUND: the folder holds no adapter and no model; errors of
 * the files' readers and of writing. */
MUST_CHECK enum err publishing_write(const struct publishing *publishing, FILE *messages,
                                     struct err_text *et);

#endif
