/* peft_adapter.h - an adapter folder as others write it, read into pairs of A and B.
 *
 * Keys are `base_model.model.<module>.lora_A.weight` (r, in) and `.lora_B.weight` (out, r); the
 * product added to the module's weight is scale * B A. An embedding's lookup has
 * `.lora_embedding_A` (r, vocabulary) and `.lora_embedding_B` (width, r), DoRA a
 * `.lora_magnitude_vector` (out) beside each pair; modules of modules_to_save are there as a whole,
 * `base_model.model.<module>.weight`.
 */
#ifndef COMMON_FORMATS_PEFT_PEFT_ADAPTER_H
#define COMMON_FORMATS_PEFT_PEFT_ADAPTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/formats/peft/peft_config.h"
#include "common/formats/safetensors/safetensors.h"
#include "common/mem/arena.h"

#define PEFT_ADAPTER_CONFIG_FILE  "adapter_config.json"
#define PEFT_ADAPTER_WEIGHTS_FILE "adapter_model.safetensors"
#define PEFT_ADAPTER_CARD_FILE    "README.md"
#define PEFT_ADAPTER_KEY_PREFIX   "base_model.model."
#define PEFT_ADAPTER_A_SUFFIX     ".lora_A.weight"
#define PEFT_ADAPTER_B_SUFFIX     ".lora_B.weight"
#define PEFT_ADAPTER_LOOKUP_A     ".lora_embedding_A"
#define PEFT_ADAPTER_LOOKUP_B     ".lora_embedding_B"
#define PEFT_ADAPTER_MAGNITUDE    ".lora_magnitude_vector"

struct peft_module {
    struct text name; /* "model.layers.0.self_attn.q_proj" */
    bool is_lookup;   /* of an embedding: in is the vocabulary, out the width */
    uint32_t rank;
    double alpha;
    double scale;
    uint64_t in;
    uint64_t out;
    const struct safetensor *a;         /* (rank, in) */
    const struct safetensor *b;         /* (out, rank) */
    const struct safetensor *magnitude; /* (out) with use_dora, else NULL */
};

/* A tensor of a module that trained as a whole. */
struct peft_saved {
    struct text name; /* "model.norm.weight", as in the model */
    const struct safetensor *tensor;
};

/* Read-only for callers; valid until peft_adapter_close. */
struct peft_adapter {
    struct peft_config config;
    const struct peft_module *modules; /* in the order of their tensors' names */
    size_t count;
    const struct peft_saved *saved; /* likewise */
    size_t saved_count;
    struct safetensors weights; /* owned */
    struct arena arena;         /* owned */
};

/* Opens and checks a folder: every tensor belongs to a pair or to a module that is saved, shapes
 * agree with each other and with the ranks of the config. Errors of the readers, ERR_FORMAT,
 * ERR_SHAPE, ERR_UNSUPPORTED with file and tensor. On failure *adapter is untouched. */
MUST_CHECK enum err peft_adapter_open(struct peft_adapter *adapter, const char *folder,
                                      struct err_text *et);

/* A zeroed or closed adapter is allowed. */
void peft_adapter_close(struct peft_adapter *adapter);

#endif
