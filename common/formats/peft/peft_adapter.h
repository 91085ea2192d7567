/* peft_adapter.h - an adapter folder as others write it, read into pairs of A and B.
 *
 * Keys are `base_model.model.<module>.lora_A.weight` (r, in) and `.lora_B.weight` (out, r); the
 * product added to the module's weight is scale * B A. Adapters of embeddings, DoRA magnitudes and
 * whole modules (modules_to_save) are refused as unsupported, by name.
 */
#ifndef COMMON_FORMATS_PEFT_PEFT_ADAPTER_H
#define COMMON_FORMATS_PEFT_PEFT_ADAPTER_H

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

struct peft_module {
    struct text name; /* "model.layers.0.self_attn.q_proj" */
    uint32_t rank;
    double alpha;
    double scale;
    uint64_t in;
    uint64_t out;
    const struct safetensor *a; /* (rank, in) */
    const struct safetensor *b; /* (out, rank) */
};

/* Read-only for callers; valid until peft_adapter_close. */
struct peft_adapter {
    struct peft_config config;
    const struct peft_module *modules; /* in the order of their tensors' names */
    size_t count;
    struct safetensors weights; /* owned */
    struct arena arena;         /* owned */
};

/* Opens and checks a folder: every tensor belongs to a pair, shapes agree with each other and with
 * the ranks of the config. Errors of the readers, ERR_FORMAT, ERR_SHAPE, ERR_UNSUPPORTED with file
 * and tensor. On failure *adapter is untouched. */
MUST_CHECK enum err peft_adapter_open(struct peft_adapter *adapter, const char *folder,
                                      struct err_text *et);

/* A zeroed or closed adapter is allowed. */
void peft_adapter_close(struct peft_adapter *adapter);

#endif
