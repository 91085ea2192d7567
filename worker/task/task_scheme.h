/* task_scheme.h - `quantize:` for folders of safetensors: which layers, on which grid, by which
 * rule. Internal to task. */
#ifndef WORKER_TASK_TASK_SCHEME_H
#define WORKER_TASK_TASK_SCHEME_H

#include "common/formats/bitsandbytes/bnb_linear.h"
#include "common/formats/compressed_tensors/compressed_config.h"
#include "common/recipe/recipe_quantize.h"
#include "worker/engine/nn/model_site.h"
#include "worker/engine/quant/grid.h"

struct task_scheme {
    enum recipe_quantize_form form; /* COMPRESSED or BITSANDBYTES */
    enum recipe_quantize_method method;
    struct text name;           /* of the preset, in the recipe's letters */
    struct quant_scheme scheme; /* COMPRESSED */
    struct grid_scheme grid;    /* the same for the engine; scale_dtype is the model's */
    enum bnb_code_type bnb;     /* BITSANDBYTES */
    bool bnb_nested;
    struct compressed_config config; /* targets and what is left alone */
    struct compressed_config_group group;
};

/* Reads the recipe's keys; texts are borrowed from it, lists from `arena`. The head is always among
 * what is left alone. ERR_RECIPE: a scheme, strategy or method that do not go together. */
MUST_CHECK enum err task_scheme_read(const struct recipe *recipe, const struct model *model,
                                     struct arena *arena, struct task_scheme *out,
                                     struct err_text *et);

/* Whether the linear parameter is quantized. */
MUST_CHECK enum err task_scheme_takes(const struct task_scheme *scheme, const struct model *model,
                                      size_t param, bool *out, struct err_text *et);

/* Type in files of plain numbers: DTYPE_F32, F16 or BF16. */
enum safetensors_dtype task_scheme_file_type(enum dtype dtype);

/* "model.layers.0.mlp.up_proj": the parameter's name without ".weight"; in `arena`. NULL when
 * memory is out. */
const char *task_scheme_module(const struct model *model, size_t param, struct arena *arena);

#endif
