/* safetensors_index.h - a set of safetensors files under one index.
 *
 *   { "metadata": {"total_size": n}, "weight_map": {"tensor": "model-00001-of-00002.safetensors"} }
 */
#ifndef COMMON_FORMATS_SAFETENSORS_SAFETENSORS_INDEX_H
#define COMMON_FORMATS_SAFETENSORS_SAFETENSORS_INDEX_H

#include "common/formats/safetensors/safetensors.h"

/* Opens the files that the index at `path` names, all in `folder`. Exactly the tensors of the
 * index are listed, and each must be in the file that the index says. A name that leaves the folder
 * is refused. Errors as safetensors_open; on failure *st is untouched. */
MUST_CHECK enum err safetensors_index_open(struct safetensors *st, const char *folder,
                                           const char *path, struct err_text *et);

/* A model folder: "STEM.safetensors" or else the set that "STEM.safetensors.index.json" names; the
 * stem of models is "model". Exactly the tensors of the index are listed, and each must be in the
 * file that the index says. Notes are those of the single file. */
MUST_CHECK enum err safetensors_index_open_folder(struct safetensors *st, const char *folder,
                                                  const char *stem, struct err_text *et);

#endif
