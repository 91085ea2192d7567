/* held_out.h - a job's held-out loss as a perplexity, with the rules that name it. */
#ifndef CLI_COMMAND_HELD_OUT_H
#define CLI_COMMAND_HELD_OUT_H

#include "common/mem/bytes.h"
#include "common/message/message.h"

/* Appends "perplexity 21.0741 (windows of 256 tokens, BOS each, all scored, per token, tokenizer
 * ...)" of the job's last evaluation, without an end of line. Nothing is appended when there was
 * none, or when the recipe asks for no perplexity. Errors of recipe_parse, ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err held_out_print(const struct msg_job *job, struct bytes *out);

#endif
