/* convert_adapter.h - a PEFT adapter folder becomes a GGUF LoRA file.
 *
 *   general.type = adapter, adapter.type = lora, adapter.lora.alpha
 *   <tensor of the base>.lora_a (rank, in)   <tensor of the base>.lora_b (out, rank)
 *
 * The file has one alpha, and what is added is alpha / rank * B A with the rank of each pair. So
 * rank-stabilized adapters (alpha / sqrt r) get alpha * sqrt r; modules whose alpha or rank differs
 * have the rest of their scale folded into B. Rows of B go where the rows of the base's matrix are.
 */
#ifndef COMMON_FORMATS_CONVERT_CONVERT_ADAPTER_H
#define COMMON_FORMATS_CONVERT_CONVERT_ADAPTER_H

#include "common/formats/convert/convert_model.h"
#include "common/formats/peft/peft_config.h"

/* `base` is the model folder of the adapter's base (its config.json; its weights, where they are
 * there, for their shapes) or a GGUF file of it.
 * options->format is that of all tensors, F32 with CONVERT_PLAN_KEEP. ERR_UNSUPPORTED: a module
 * that the base does not have as a tensor of its own, a base that is none of our families;
 * ERR_SHAPE; errors of the readers and of the file. */
MUST_CHECK enum err convert_adapter_to_gguf(const char *folder, const char *base, const char *path,
                                            const struct convert_model_options *options,
                                            struct convert_model_report *report,
                                            struct err_text *et);

#endif
