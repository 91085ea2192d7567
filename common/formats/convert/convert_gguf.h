/* convert_gguf.h - the GGUF form of a model in steps: what it holds is decided once, each tensor
 * can be made alone and anywhere, the file is put together from those and from the rest.
 *
 *     TRY(convert_gguf_open(path, &options, &form, et));
 *     for (i < convert_gguf_count(form)) convert_gguf_encode(form, i, ...)     in any order
 *     TRY(convert_gguf_write(form, given, ..., sink, ...));                    the file
 *     convert_gguf_close(&form);
 *
 * The source is a model folder or a GGUF file. Equal sources and options give equal plans, whoever
 * opens them: index i is the same tensor everywhere, with the same bytes. Read-only after
 * convert_gguf_open, except for convert_gguf_prepare and convert_gguf_write: threads may encode
 * tensors of one form side by side where the encoder allows it.
 */
#ifndef COMMON_FORMATS_CONVERT_CONVERT_GGUF_H
#define COMMON_FORMATS_CONVERT_CONVERT_GGUF_H

#include "common/formats/convert/convert_model.h"

struct convert_gguf;

/* Opens the model folder or GGUF file `path` and chooses the formats. Of a GGUF file, keys and
 * vectors stay as they are; matrices in blocks are decoded (options->decode), towards other blocks
 * only with options->quantize->allow_requantize. What `options` refers to must live as long as
 * *out. Errors of the readers, of convert_plan_gguf, convert_plan_again and convert_quantize_plan;
 * with file, tensor, expected and found in `et`. Caller closes *out. */
MUST_CHECK enum err convert_gguf_open(const char *path, const struct convert_model_options *options,
                                      struct convert_gguf **out, struct err_text *et);
void convert_gguf_close(struct convert_gguf **form);

/* The same for a model whose weights the caller has: `weights`, under the names of the folder's
 * files, take the place of what the folder would hold; config and tokenizer are the folder's. Only
 * names, types and shapes of `weights` are looked at before tensors are encoded. They must live as
 * long as *out. */
MUST_CHECK enum err convert_gguf_open_weights(const char *folder, const struct safetensors *weights,
                                              const struct convert_model_options *options,
                                              struct convert_gguf **out, struct err_text *et);

/* Tensors in the order of the file; what is borrowed lives until convert_gguf_close. The size in
 * the file is convert_tensor_size_bytes. */
size_t convert_gguf_count(const struct convert_gguf *form);
const struct convert_tensor *convert_gguf_tensor(const struct convert_gguf *form, size_t index);

/* Index of the tensor of that name; convert_gguf_count when there is none. */
size_t convert_gguf_find(const struct convert_gguf *form, struct text name);

/* Whether a mix, or a choice, decides on the tensor's format: matrices, but no positions. */
bool convert_gguf_takes_part(const struct convert_gguf *form, size_t index);

/* Numbers of the model and bytes of its tensors as they are chosen: size_bytes * 8 / weights is
 * what people call bits per weight. */
struct convert_gguf_total {
    uint64_t weights;
    uint64_t size_bytes;
};
struct convert_gguf_total convert_gguf_total(const struct convert_gguf *form);

const struct hf_config *convert_gguf_config(const struct convert_gguf *form);
const char *convert_gguf_architecture(const struct convert_gguf *form); /* general.architecture */

/* Sends the bytes of tensor `index` as they stand in the file. ERR_NOT_FINITE with tensor, row and
 * column, as convert_quantize_write; ERR_OUT_OF_MEMORY, the sink's errors. */
MUST_CHECK enum err convert_gguf_encode(const struct convert_gguf *form, size_t index,
                                        file_sink_f sink, void *context, struct err_text *et);

/* The same in another format than the chosen one, to see what that would lose; with
 * options->quantize alone, and of a tensor that takes part. ERR_SHAPE: rows are no whole blocks. */
MUST_CHECK enum err convert_gguf_encode_as(const struct convert_gguf *form, size_t index,
                                           enum block_format format, file_sink_f sink,
                                           void *context, struct err_text *et);

/* Makes the file's keys, for which the tokenizer is read: what may be refused there, early.
 * convert_gguf_write does it where it was not done. Errors of tokenizer_open (a folder without one
 * is fine) and of convert_tokenizer_write; ERR_LIMIT for names that are too long. */
MUST_CHECK enum err convert_gguf_prepare(struct convert_gguf *form, struct err_text *et);

/* After convert_gguf_prepare. */
uint64_t convert_gguf_size_bytes(const struct convert_gguf *form); /* of the whole file */
bool convert_gguf_has_tokenizer(const struct convert_gguf *form);

/* Sends the whole file; may be called again. `given` may be NULL: every tensor is made here.
 * ERR_SHAPE: what is given is not of the tensor's size; errors of `given`, of convert_gguf_encode
 * and convert_gguf_prepare, of the sink (without a text). */
MUST_CHECK enum err convert_gguf_write(struct convert_gguf *form, convert_plan_given_f given,
                                       void *given_context, file_sink_f sink, void *context,
                                       struct err_text *et);

/* The file at `path`, durably and at once, all of it made here. Errors as above, with the path. */
MUST_CHECK enum err convert_gguf_write_file(struct convert_gguf *form, const char *path,
                                            struct err_text *et);

#endif
