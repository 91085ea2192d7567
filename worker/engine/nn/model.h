/* model.h - the parameters of one transformer: which there are, of what shape, and where they lie.
 *
 * Owns: the mapping of the weight files (or the memory of weights made from a random start) and the
 * list of parameters in model order: embedding, the layers one after another, final norm, head.
 * Weights stay in the type of the file; products read them through the tile decoder.
 *
 * Refuses to know: activations, training, adapters. A model does not change after it is open, so
 * any number of threads and calls may share one.
 */
#ifndef WORKER_ENGINE_NN_MODEL_H
#define WORKER_ENGINE_NN_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/base/span.h"
#include "worker/engine/kernel/kernel.h"
#include "worker/engine/nn/family.h"
#include "worker/engine/tensor/dtype.h"

struct hf_config;
struct model;
struct model_load;

/* Sizes under the letters of kernel.h, and what config.json says of every layer. */
struct model_shape {
    size_t layers;
    size_t width;           /* C */
    size_t heads;           /* H */
    size_t kv_heads;        /* G, divides H */
    size_t head_width;      /* D, even */
    size_t rotary_width;    /* leading part of a head that is rotated, even; 0: none */
    size_t mlp_width;       /* F */
    size_t vocabulary;      /* V */
    size_t positions;       /* longest sequence that config.json promises */
    size_t positions_short; /* longer samples are rotated by the LONG frequencies; 0: by the same */
    size_t window;          /* keys a query sees, itself included, in the layers that have a window;
                               0: none has */
    float norm_epsilon;
    float norm_offset; /* a gain is this plus the stored value */
    float attention_scale;
    float attention_cap;   /* soft cap of scores, 0: none */
    float logit_cap;       /* of the last logits, 0: none */
    float embedding_scale; /* of the embedding's rows */
    enum kernel_act act;   /* of the mlp */
    bool tied;             /* the head is the embedding */
};

/* The sets of rotary frequencies that a model may have. */
enum model_rope {
    MODEL_ROPE_MAIN,
    MODEL_ROPE_LOCAL, /* of layers with a window, where they differ */
    MODEL_ROPE_LONG,  /* of samples longer than positions_short: main and long take turns in a table
                       */
    MODEL_ROPE_COUNT
};

enum { MODEL_NO_PARAM = -1 };

/* How the rows of a matrix lie in its file, where they do not lie as in the family's folders:
 * Llama's GGUF files hold those of q and k with each head's rotated pairs side by side, Falcon's
 * those of the fused module with all queries before all keys before all values, not in groups. */
enum model_row_order { MODEL_ROWS_PLAIN, MODEL_ROWS_ROTARY_PAIRS, MODEL_ROWS_APART };

/* The rows of a fused module that one of its parts is: runs of `run` rows, `stride` rows from one
 * to the next, the first at `first`. A part that is one run has run = rows. */
struct model_part {
    ptrdiff_t whole; /* parameter of the fused module, or MODEL_NO_PARAM: not a part */
    size_t first, run, stride;
};

/* One parameter, row-major. */
struct model_param {
    const char *name; /* as in the files of the family */
    enum model_role role;
    enum model_kind kind; /* of the role, or BIAS: the bias of the role's linear module or norm */
    uint32_t layer;       /* 0 for parameters outside layers */
    size_t rows, columns; /* (out, in) of a linear module; a vector has columns 1 */
    enum dtype dtype;
    enum dtype file_dtype; /* of its tensor in the files; vectors are f32 in memory */
    const void *data;      /* rows * columns elements; NULL for a part */
    const void *masters;   /* of ternary weights that are trained: what is rounded for each product,
                              (rows, columns) of file_dtype, any alignment; else NULL */
    bool turned;           /* the data is (columns, rows) */
    enum model_row_order row_order;
    bool rounds_input; /* the product sees its input in 8 bits a token */
    bool on_grid;      /* and that by kernel_round_grid8 with input_scale, not as BitNet */
    float input_scale; /* 0: each token's own */
    float scale;       /* the values are data * scale; not 1 for ternary weights alone */
    ptrdiff_t bias;    /* parameter that is added, or MODEL_NO_PARAM */
    struct model_part part;
};

/* Opens a GGUF file (of a split one: the first), whose weights stay in their block formats, or a
 * Hugging Face folder: config.json beside model.safetensors or its shards; quantized layers of
 * compressed-tensors (integers) and bitsandbytes (four bits) become the engine's own blocks. Checks
 * that
 * every parameter is there with the shape the config asks for. A tied model may store its one
 * matrix as the embedding or as the head. Caller owns *out, release with model_destroy.
 * ERR_NOT_FOUND: a file or tensor is missing; ERR_SHAPE: of a tensor, or the file has a layer that
 * the config does not; ERR_UNSUPPORTED: family, type or option without a row; ERR_FORMAT: a damaged
 * file. `et` names file, tensor, what was expected and found.
 */
MUST_CHECK enum err model_open(const char *path, struct model **out, struct err_text *et);

/* As model_open, with linear layers made smaller as `load` says (model_load.h); NULL: as they are.
 * ERR_NOT_FINITE: a weight that is to be quantized is no number; `et` names its tensor. */
MUST_CHECK enum err model_open_as(const char *path, const struct model_load *load,
                                  struct model **out, struct err_text *et);

/* As model_open for a config file and a weights file (single, or an index of shards) anywhere. */
MUST_CHECK enum err model_open_files(const char *config_path, const char *weights_path,
                                     struct model **out, struct err_text *et);

/* A model from a random start: matrices normal(0, initializer_range), gains 1, all f32, a function
 * of (seed, name of the parameter, position) alone. Caller owns *out. */
MUST_CHECK enum err model_create_random(const struct hf_config *config, uint64_t seed,
                                        struct model **out, struct err_text *et);

/* The parameters that a config describes, without data: shapes for plans, nothing to run. Types are
 * F32. Caller owns *out. */
MUST_CHECK enum err model_create_outline(const struct hf_config *config, struct model **out,
                                         struct err_text *et);

void model_destroy(struct model **model);

/* All borrowed until model_destroy. */
const struct model_shape *model_shape(const struct model *model);
const struct hf_config *model_config(const struct model *model);

/* Whether its weights are those of a GGUF file. */
bool model_is_gguf(const struct model *model);

/* Parameters in model order, a bias right after its weight. A tied model has no HEAD. A part of a
 * fused module is listed as a place for an adapter: it has no data and is nothing to train. */
size_t model_param_count(const struct model *model);
const struct model_param *model_param(const struct model *model, size_t index);

/* Index of the parameter of a role, never of its bias (`layer` is ignored outside layers),
 * MODEL_NO_PARAM when the model has none. The head of a tied model is its embedding. */
ptrdiff_t model_param_index(const struct model *model, enum model_role role, size_t layer);

/* Where the file has row `row` of a parameter, which counts rows as the family's folders do. */
size_t model_stored_row(const struct model *model, const struct model_param *param, size_t row);

/* Elements of all parameters, parts aside; bytes they take in the files' types. */
size_t model_element_count(const struct model *model);
size_t model_size_bytes(const struct model *model);

/* Bytes of it that are memory of its own: weights that were made when it was opened (of quantized
 * folders, of load_in_4bit, of a random start), lists. All others are mapped from files. */
size_t model_own_bytes(const struct model *model);

/* The model's row of model_family.def. Static storage. */
const struct family *model_family(const struct model *model);

/* Keys that a query of the layer sees, itself included; 0: all before it. */
size_t model_window(const struct model *model, size_t layer);

/* Which frequencies a layer rotates by: MAIN or LOCAL. */
enum model_rope model_layer_rope(const struct model *model, size_t layer);

/* Angular frequency of each rotated pair, rotary_width / 2 of them in f64, scaling of config.json
 * applied; NULL when the model has no such set. *scale receives the factor of cosine and sine. */
const double *model_rope_frequency(const struct model *model, enum model_rope rope, double *scale);

#endif
