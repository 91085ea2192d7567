/* inspect_model.h - facts about a model: its sizes, its tokenizer, its chat template. */
#ifndef CLI_COMMAND_INSPECT_MODEL_H
#define CLI_COMMAND_INSPECT_MODEL_H

#include "cli/command/inspect_facts.h"
#include "common/formats/gguf/gguf.h"
#include "common/formats/hf/hf_config.h"

/* Family, layers, widths, positions, vocabulary; default LoRA targets, of which *targets (borrowed,
 * static) is the list between commas, "" when there are none. */
void inspect_model_sizes(struct inspect_facts *facts, const struct hf_config *config,
                         const char **targets);

/* The tokenizer of a folder: kind, tokens, special ids, chat template. A tokenizer that cannot be
 * read is a fact, too; that there is none goes unsaid where it is `optional`. */
void inspect_model_tokenizer(struct inspect_facts *facts, const char *folder, bool optional);

/* The same of the tokenizer inside a GGUF file. */
void inspect_model_vocabulary(struct inspect_facts *facts, const struct gguf *gguf);

#endif
