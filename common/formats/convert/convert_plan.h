/* convert_plan.h - which tensors a converted model has, and how each comes about.
 */
#ifndef COMMON_FORMATS_CONVERT_CONVERT_PLAN_H
#define COMMON_FORMATS_CONVERT_CONVERT_PLAN_H

#include "common/formats/convert/convert_tensor.h"
#include "common/formats/gguf/gguf_config.h"
#include "common/formats/gguf/gguf_write.h"
#include "common/formats/safetensors/safetensors.h"
#include "common/mem/arena.h"

/* BLOCK_FORMAT_COUNT as a wanted format: each matrix keeps its own. */
#define CONVERT_PLAN_KEEP BLOCK_FORMAT_COUNT

/* Read-only for callers; tables lie in the arena, data in the source. */
struct convert_plan {
    const struct convert_family *family;
    struct convert_tensor *tensors; /* sorted by convert_name_compare */
    size_t count;
};

/* A model folder's weights as GGUF tensors. `format` is that of matrices (plain, or
 * CONVERT_PLAN_KEEP); vectors, norms and tables of positions are F32, as llama.cpp writes them.
 * `name` is for messages. ERR_UNSUPPORTED: a tensor without a place in the architecture; ERR_SHAPE:
 * a shape that does not go with the config; ERR_FORMAT: a tensor is missing. */
MUST_CHECK enum err convert_plan_gguf(const struct hf_config *config, const char *name,
                                      const struct safetensors *weights, enum block_format format,
                                      struct arena *arena, struct convert_plan *plan,
                                      struct err_text *et);

/* A GGUF file's tensors as those of a model folder. F32 tensors become `format` where that holds
 * each of their values; with CONVERT_PLAN_KEEP it is the format of the first plain matrix. Tensors
 * in blocks need `decode` (may be NULL: then they are ERR_UNSUPPORTED) and become `format`, F16
 * with CONVERT_PLAN_KEEP. *main_format is what most of the weights are in. */
MUST_CHECK enum err convert_plan_hf(const struct gguf *gguf, const struct hf_config *config,
                                    enum block_format format, convert_decode_f decode,
                                    struct arena *arena, struct convert_plan *plan,
                                    enum block_format *main_format, struct err_text *et);

/* A GGUF file's tensors as those of another. `format` is that of matrices (plain, or
 * CONVERT_PLAN_KEEP); the rest stays as it is. Matrices in blocks need `decode` where they change
 * (may be NULL: then they are ERR_UNSUPPORTED). Errors as convert_plan_hf. */
MUST_CHECK enum err convert_plan_again(const struct gguf *gguf, const struct hf_config *config,
                                       enum block_format format, convert_decode_f decode,
                                       struct arena *arena, struct convert_plan *plan,
                                       struct err_text *et);

/* Sets the order in which a GGUF file of the architecture holds the rows of t->place; t->rows are
 * set. False when they are not whole heads. */
bool convert_plan_order_rows(const struct hf_config *config, const struct gguf_arch *arch,
                             struct convert_tensor *t);

/* Sorts the tensors; ERR_FORMAT when two have one name. */
MUST_CHECK enum err convert_plan_sort(struct convert_plan *plan, const char *name,
                                      struct err_text *et);

/* The same, and checks that each weight of the family is there in each layer: ERR_FORMAT. A head
 * may be missing, and biases, but not in some layers only. */
MUST_CHECK enum err convert_plan_finish(struct convert_plan *plan, uint32_t layers,
                                        const char *name, struct err_text *et);

/* The first family of the architecture that has a place for all tensors of the file.
 * ERR_UNSUPPORTED with the tensor that has none. */
MUST_CHECK enum err convert_plan_family(const struct gguf *gguf, const struct gguf_arch *arch,
                                        const struct convert_family **out, struct err_text *et);

/* Factors of rotary frequencies: no weights; config.json says what is in them. */
bool convert_plan_is_factors(const struct gguf_tensor *tensor);

/* Declares the tensors after the keys in *w. ERR_LIMIT for a name that is too long; `name` is for
 * messages. */
MUST_CHECK enum err convert_plan_declare(const struct convert_plan *plan, const char *name,
                                         struct gguf_write *w, struct err_text *et);

/* Sends one tensor of a plan towards GGUF, in blocks or not. ERR_NOT_FINITE as
 * convert_quantize_write; ERR_OUT_OF_MEMORY, the sink's errors. */
MUST_CHECK enum err convert_plan_encode(const struct convert_tensor *tensor, file_sink_f sink,
                                        void *context, struct err_text *et);

/* Bytes of tensor `index` of a plan that were made before, read until the next call: *out, which
 * stays empty for one that is to be made now. An error ends the writing, which returns it. */
typedef enum err (*convert_plan_given_f)(void *context, size_t index, struct span *out,
                                         struct err_text *et);

/* Sends the file of *w, whose keys and tensors are declared; `given` may be NULL. ERR_SHAPE: what
 * is given has another size, with the tensor; errors of `given`, of convert_plan_encode, and of the
 * sink, which leave no text. */
MUST_CHECK enum err convert_plan_send(const struct convert_plan *plan, struct gguf_write *w,
                                      convert_plan_given_f given, void *given_context,
                                      file_sink_f sink, void *context, struct err_text *et);

/* The same into the file `path`, durably and at once; ERR_NOT_FINITE as convert_quantize_write; the
 * errors of the file, with its path. */
MUST_CHECK enum err convert_plan_write(const struct convert_plan *plan, struct gguf_write *w,
                                       const char *path, struct err_text *et);

#endif
