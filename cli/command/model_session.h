/* model_session.h - a model, its tokenizer and perhaps an adapter, ready to speak. */
#ifndef CLI_COMMAND_MODEL_SESSION_H
#define CLI_COMMAND_MODEL_SESSION_H

#include "cli/command/command.h"
#include "common/formats/tokenizer/token_list.h"
#include "common/formats/tokenizer/tokenizer.h"
#include "worker/engine/generate/generate.h"
#include "worker/engine/kernel/kernel.h"
#include "worker/engine/nn/model.h"
#include "worker/engine/train/train_layout.h"

enum { MODEL_SESSION_STOPS_MAX = 24 };

struct model_session {
    struct model *model; /* owned, like all that follows */
    struct tokenizer *tokenizer;
    struct kernel *kernel;
    struct binding binding;      /* of a LoRA */
    struct train_layout *layout; /* of another adapter */
    float *values;               /* of the adapter; NULL without one */
    struct generate *generate;
    struct generate_options options;
    uint32_t stops[MODEL_SESSION_STOPS_MAX];
};

/* Opens the model folder of the first argument and the adapter of --adapter, and reads the options
 * of sampling. Release with model_session_fini. Errors of the readers, ERR_USAGE. */
MUST_CHECK enum err model_session_init(struct model_session *session,
                                       const struct invocation *invocation, struct err_text *et);
void model_session_fini(struct model_session *session);

/* Feeds `prompt` and prints what the model says, character by character, on the invocation's out.
 * *said receives the new tokens, *text what was printed (both may be NULL). */
MUST_CHECK enum err model_session_speak(struct model_session *session,
                                        const struct invocation *invocation,
                                        const struct token_list *prompt, struct token_list *said,
                                        struct bytes *text, struct err_text *et);

#endif
