/* task_qat.h - `qat:` of a recipe for the engine and for the files of the result: which numbers
 * weights become, and from which round on. For this folder, and for who checks a recipe before it
 * is submitted.
 *
 *   weight_dtype   int4, int8    an integer grid      a folder of compressed-tensors
 *                  a GGUF type   its very lattice     a GGUF file
 *                  ternary       BitNet's             a folder of bitnet
 *
 * Masters of ternary weights (struct model_param) that train as a whole are ternary without a word.
 */
#ifndef WORKER_TASK_TASK_QAT_H
#define WORKER_TASK_TASK_QAT_H

#include "common/formats/compressed_tensors/quant_scheme.h"
#include "common/recipe/recipe.h"
#include "worker/engine/nn/model.h"
#include "worker/engine/train/fake_quant.h"

struct task_qat {
    bool is_on; /* the rest is read where it is */
    struct fake_quant_config config;
    struct quant_scheme scheme; /* GRID: how files say it */
};

/* ERR_RECIPE: a type that there is not, or keys that do not go with it or with the model; `et`
 * names both. */
MUST_CHECK enum err task_qat_read(const struct recipe *recipe, const struct model *model,
                                  struct task_qat *out, struct err_text *et);

#endif
