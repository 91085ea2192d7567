/* quantized_maker.h - a quantized folder of a model folder, made by our own writers: for tests of
 * what reads it, here and elsewhere.
 *
 * All linear layers inside the network's layers are quantized, round to nearest; everything else
 * is copied.
 */
#ifndef TESTS_NUMERIC_ENGINE_QUANTIZED_MAKER_H
#define TESTS_NUMERIC_ENGINE_QUANTIZED_MAKER_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/error.h"
#include "common/formats/bitsandbytes/bnb_linear.h"
#include "common/formats/compressed_tensors/compressed_linear.h"
#include "worker/engine/nn/model.h"

struct quantized_kind {
    const char *name;
    bool is_bnb;
    struct quant_scheme scheme;
    enum bnb_code_type type;
    bool nested;
};

/* A preset by its name in any case, "W8A8_STATIC" (an input scale of 1/16), "W4A16_CHANNEL",
 * "W8A8_TENSOR", "W4A16_BLOCK", "NF4", "NF4_NESTED" or "FP4". False: none. */
bool quantized_maker_kind(const char *name, struct quantized_kind *out);

/* The names above in turn; NULL from their count on. */
const char *quantized_maker_name(size_t index);

/* Whether the parameter is one that is quantized. */
bool quantized_maker_takes(const struct model *model, const struct model_param *p);

/* The values that a parameter of a folder has once it is quantized: (rows, columns), from its own
 * data. Released with mem_free; NULL when memory is out. */
float *quantized_maker_values(const struct quantized_kind *kind, const struct model_param *p);

/* Writes the folder `out`. Groups are the kind's, or smaller ones that divide all widths. */
MUST_CHECK enum err quantized_maker_write(const struct quantized_kind *kind, const char *base,
                                          const char *out, struct err_text *et);

#endif
