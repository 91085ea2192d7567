/* peft_write.h - an adapter folder, exactly as PEFT lays it out.
 *
 *   adapter_config.json  adapter_model.safetensors  README.md
 */
#ifndef COMMON_FORMATS_PEFT_PEFT_WRITE_H
#define COMMON_FORMATS_PEFT_PEFT_WRITE_H

#include <stddef.h>

#include "common/base/error.h"
#include "common/formats/peft/peft_card.h"
#include "common/formats/peft/peft_config.h"
#include "common/formats/safetensors/safetensors_write.h"

/* Everything is borrowed. */
struct peft_content {
    const struct peft_config *config;
    const struct safetensor *tensors; /* named as in the file: base_model.model.<module>... */
    size_t tensor_count;
    const struct peft_card *card;
};

/* Writes the three files into `folder`, which is made when missing; each durably and at once, the
 * config last, so that a folder with a config is whole. Errors of the writers with the path. */
MUST_CHECK enum err peft_write_folder(const char *folder, const struct peft_content *content,
                                      struct err_text *et);

/* adapter_model.safetensors alone, to any sink: the form in which it is an artifact. */
MUST_CHECK enum err peft_write_weights(const struct peft_content *content, file_sink_f sink,
                                       void *context);

#endif
