/* freeze.h - the files a recipe names, found, hashed and listed: what a job is frozen with.
 *
 *   model/<file>    config, weights (unless the start is random), tokenizer and template
 *   data/<i>/<file> of datasets[i]; test/<i>/<file> of test_datasets[i]
 *   calib/<i>/<file> of calibration_datasets[i]
 *   adapter/<file>  of lora_model_dir
 *   imatrix/<file>  of quantize.imatrix
 */
#ifndef CLI_CLIENT_FREEZE_H
#define CLI_CLIENT_FREEZE_H

#include "common/base/error.h"
#include "common/mem/arena.h"
#include "common/message/message.h"
#include "common/recipe/recipe.h"

/* Fills *refs with one row a file, path absolute, everything in `arena`. ERR_NOT_FOUND names the
 * key of the recipe and the path; ERR_DATA for an empty file of data. */
MUST_CHECK enum err freeze_inputs(const struct recipe *recipe, struct arena *arena,
                                  struct artifact_ref **refs, uint32_t *count, struct err_text *et);

/* A request number that is the same for the same canonical text and the same files. */
uint64_t freeze_request(struct span recipe_text, const struct artifact_ref *refs, uint32_t count);

#endif
