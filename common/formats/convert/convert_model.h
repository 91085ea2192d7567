/* convert_model.h - a model folder or GGUF file becomes a GGUF file, or a GGUF file a folder.
 *
 * Weights keep their bits where they keep their type. What changes place only (rows of q and k in
 * llama files, Falcon's fused matrices, GPT-2's turned ones) comes back as it was; Gemma's gains
 * are stored plus one in f32, which loses bits of those below 2^-16. Tensors pass through row by
 * row: memory does not grow with the model.
 */
#ifndef COMMON_FORMATS_CONVERT_CONVERT_MODEL_H
#define COMMON_FORMATS_CONVERT_CONVERT_MODEL_H

#include "common/formats/convert/convert_plan.h"
#include "common/formats/convert/convert_quantize.h"

struct convert_model_options {
    const char *name;                        /* general.name; NULL: none */
    enum block_format format;                /* of matrices: plain, or CONVERT_PLAN_KEEP */
    convert_decode_f decode;                 /* for GGUF files in blocks; may be NULL */
    const struct convert_quantize *quantize; /* towards GGUF: matrices in blocks; may be NULL */
};

/* What was done, for people. */
struct convert_model_report {
    const char *architecture; /* general.architecture; static */
    size_t tensor_count;
    uint64_t size_bytes;
    bool has_tokenizer;
};

/* Reads config.json, safetensors and (where there is one) the tokenizer in the folder `source`, or
 * the GGUF file of that name, and writes the GGUF file `path`, durably and at once: convert_gguf.h
 * from open to close. Errors of the readers, of convert_plan_gguf and of the file, with what is
 * wrong in `et`; then there is no file. */
MUST_CHECK enum err convert_model_to_gguf(const char *source, const char *path,
                                          const struct convert_model_options *options,
                                          struct convert_model_report *report, struct err_text *et);

/* Reads the GGUF file `path` and writes config.json, generation_config.json, model.safetensors and
 * the tokenizer's files into `folder`, which appears whole or not at all: until then they lie in
 * `folder`.tmp, and what a conversion that was cut short left there is replaced. `folder` may exist
 * if it is empty. */
MUST_CHECK enum err convert_model_to_hf(const char *path, const char *folder,
                                        const struct convert_model_options *options,
                                        struct convert_model_report *report, struct err_text *et);

#endif
