/* peft_insert.h - adapter folders that add to the model rather than to its modules.
 *
 * A tuned prompt is PEFT's: one tensor `prompt_embeddings` (vectors, width). Bottleneck adapters
 * have no format that anybody shares, so theirs is ours, in PEFT's file names and of a peft_type
 * that PEFT refuses by name: docs/FORMATS.md describes it.
 *
 * Refuses to know: the model; whether tensors are those that its layers ask for.
 */
#ifndef COMMON_FORMATS_PEFT_PEFT_INSERT_H
#define COMMON_FORMATS_PEFT_PEFT_INSERT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/base/span.h"
#include "common/formats/safetensors/safetensors.h"
#include "common/mem/arena.h"
#include "common/mem/bytes.h"

enum peft_insert_kind { PEFT_INSERT_PROMPT, PEFT_INSERT_BOTTLENECK };

/* Texts are borrowed: from the caller when writing, from the arena when read. */
struct peft_insert_config {
    enum peft_insert_kind kind;
    struct text base_model; /* base_model_name_or_path; data NULL: null */
    struct text revision;   /* data NULL: null */
    /* Prompts. */
    uint32_t vector_count; /* num_virtual_tokens */
    uint32_t width;        /* token_dim */
    uint32_t head_count, layer_count;
    /* Bottlenecks. */
    struct text method; /* "houlsby", "pfeiffer", "parallel" */
    uint32_t reduction_factor;
    struct text non_linearity; /* "relu", "silu", "gelu" */
    double scaling;
};

/* Appends adapter_config.json. ERR_FORMAT when a text is not UTF-8, ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err peft_insert_print(const struct peft_insert_config *config, struct bytes *out);

/* Whether a folder's adapter_config.json is of one of these kinds. Errors of the reader. */
MUST_CHECK enum err peft_insert_probe(const char *folder, bool *out, struct err_text *et);

/* Read-only for callers; valid until peft_insert_close. */
struct peft_insert {
    struct peft_insert_config config;
    struct safetensors weights; /* owned */
    struct arena arena;         /* owned */
};

/* Opens a folder of one of these kinds. Errors of the readers; ERR_FORMAT with file and key;
 * ERR_UNSUPPORTED: another peft_type. On failure *insert is untouched. */
MUST_CHECK enum err peft_insert_open(struct peft_insert *insert, const char *folder,
                                     struct err_text *et);

/* A zeroed or closed one is allowed. */
void peft_insert_close(struct peft_insert *insert);

#endif
