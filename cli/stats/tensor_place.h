/* tensor_place.h - where a tensor sits in a model, told from its name alone.
 *
 * Names come in the words of GGUF ("blk.4.ffn_down.weight") and of safetensors, and statistics are
 * named by the first linear layer of an input; people are shown one vocabulary, that of GGUF.
 * Refuses to know: models, files.
 */
#ifndef CLI_STATS_TENSOR_PLACE_H
#define CLI_STATS_TENSOR_PLACE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/span.h"

enum { TENSOR_PLACE_MODULE_BYTES = 32 };

/* The inputs of a layer, in the order of computing; layers that share one see the same values. */
enum tensor_place_input {
    TENSOR_PLACE_ATTENTION, /* q, k, v; in parallel layers with one norm also those of the MLP */
    TENSOR_PLACE_OUTPUT,
    TENSOR_PLACE_MLP, /* gate, up */
    TENSOR_PLACE_DOWN,
    TENSOR_PLACE_OTHER /* not of a layer, or not known */
};

struct tensor_place {
    bool in_layer;
    uint32_t layer; /* 0 outside the layers */
    unsigned order; /* of modules within a layer, as computed; unknown ones last */
    enum tensor_place_input input;
    char module[TENSOR_PLACE_MODULE_BYTES]; /* "ffn_down"; of an unknown name its end */
};

/* A name with or without its ".weight". */
struct tensor_place tensor_place_of(struct text name);

/* Whether a layer at `reader` reads what was seen at `site`: a site of the same input. */
bool tensor_place_reads(const struct tensor_place *reader, const struct tensor_place *site);

/* By layers, then modules; what belongs to no layer comes last. For qsort-like orders. */
int tensor_place_compare(const struct tensor_place *a, const struct tensor_place *b);

#endif
