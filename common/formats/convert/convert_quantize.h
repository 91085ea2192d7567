/* convert_quantize.h - a plan's matrices become blocks: by a mix with exceptions or chosen one by
 * one, weighed by an importance matrix or not.
 *
 * A tensor passes through some rows at a time, so that memory does not grow with the model. How
 * blocks are made is the caller's (convert_encoder); this file knows who gets which.
 */
#ifndef COMMON_FORMATS_CONVERT_CONVERT_QUANTIZE_H
#define COMMON_FORMATS_CONVERT_CONVERT_QUANTIZE_H

#include "common/formats/convert/convert_mix.h"
#include "common/formats/convert/convert_plan.h"
#include "common/formats/gguf/gguf_write.h"
#include "common/formats/imatrix/imatrix.h"

/* Tensors whose GGUF name a pattern (POSIX extended) is found in are of that format. */
struct convert_exception {
    const char *pattern;
    enum block_format format;
};

/* The format of one tensor, by its GGUF name. */
struct convert_choice {
    struct text name;
    enum block_format format;
};

/* Everything in it is borrowed. */
struct convert_quantize {
    const struct convert_mix *mix; /* may be NULL where there are choices */
    struct convert_mix_switches switches;
    const struct convert_exception *exceptions; /* the first that fits decides */
    size_t exception_count;
    const struct convert_choice
        *choices;          /* instead of mix, switches, exceptions: all that is not */
    size_t choice_count;   /* listed stays plain */
    bool allow_requantize; /* matrices of a GGUF file in other blocks are decoded, not refused */
    const struct imatrix *importance; /* may be NULL */
    const char *importance_file;      /* its name, for the file's keys */
    struct convert_encoder encoder;
};

/* Chooses the formats of a plan towards GGUF. ERR_USAGE: a pattern that is none, or a mix that
 * needs an importance matrix; ERR_SHAPE: the importance of a weight is for another width, or a
 * choice's blocks do not divide it; ERR_NOT_FOUND: a matrix of which no weight of the model is
 * found, a choice for a tensor that is not there; ERR_FORMAT: two for one; ERR_UNSUPPORTED: a
 * choice for what stays plain, a source in blocks (see allow_requantize); ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err convert_quantize_plan(const struct convert_quantize *q,
                                          const struct hf_config *config, const char *name,
                                          struct arena *arena, struct convert_plan *plan,
                                          struct err_text *et);

/* Whether the tensor is one that the mix, or a choice, decides on. */
bool convert_quantize_takes(const struct convert_quantize *q, const struct convert_tensor *t);

/* general.file_type of a plan: the mix's; of choices that of the format that most weights are in;
 * without blocks (`q` NULL) that of the first linear weight. */
uint32_t convert_quantize_file_type(const struct convert_quantize *q,
                                    const struct convert_plan *plan);

/* Where the importance came from: quantize.imatrix.*. */
void convert_quantize_keys(const struct convert_quantize *q, struct gguf_write *w);

/* Sends the blocks of a tensor that convert_quantize_plan chose. ERR_NOT_FINITE with tensor, row
 * and column: an infinite weight or NaN, or one that the format's scale cannot hold. ERR_OUT_OF_
 * MEMORY, the sink's errors. */
MUST_CHECK enum err convert_quantize_write(const struct convert_tensor *t, file_sink_f sink,
                                           void *context, struct err_text *et);

#endif
