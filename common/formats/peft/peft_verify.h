/* peft_verify.h - whether an adapter folder is exactly what we promise to write.
 *
 * Stricter than any reader: it reports the first deviation from the form, also where every loader
 * would shrug.
 */
#ifndef COMMON_FORMATS_PEFT_PEFT_VERIFY_H
#define COMMON_FORMATS_PEFT_PEFT_VERIFY_H

#include "common/base/error.h"
#include "common/formats/safetensors/safetensors.h"

/* Checks the folder:
 *  - adapter_config.json is byte for byte what peft_config prints for its content; the base model
 *    is named, and not by a path of this machine;
 *  - each tensor is half of a pair, its magnitude or of modules_to_save, f32, finite, of the
 * config's rank; each pair belongs to one of the target modules and each target has a pair; the
 * file is laid out as the writer does, with the note format = pt;
 *  - README.md opens with front matter that names the same base model, library_name: peft, tags;
 *  - with `base` (may be NULL), every module is a matrix of it and shapes agree; the matrices are
 *    (in, out) when the config says fan_in_fan_out.
 * ERR_OK, or the code of the first deviation with file, key, expected and found in `et`. */
MUST_CHECK enum err peft_verify_folder(const char *folder, const struct safetensors *base,
                                       struct err_text *et);

#endif
