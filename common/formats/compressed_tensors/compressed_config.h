/* compressed_config.h - quantization_config of compressed-tensors in config.json.
 *
 *   { "quant_method": "compressed-tensors", "format": "pack-quantized",
 *     "quantization_status": "compressed", "ignore": ["lm_head"],
 *     "config_groups": { "group_0": { "targets": ["Linear"], "weights": { "num_bits": 4, ... },
 *                                     "input_activations": null | { ... } } } }
 *
 * A target is a layer's name, "re:" with a regular expression that matches from a name's start, or
 * the class "Linear", which all layers are. Names in `ignore` are the same. Formats of floats,
 * transforms, sparse weights, quantized caches and outputs are refused by name.
 */
#ifndef COMMON_FORMATS_COMPRESSED_TENSORS_COMPRESSED_CONFIG_H
#define COMMON_FORMATS_COMPRESSED_TENSORS_COMPRESSED_CONFIG_H

#include <stddef.h>

#include "common/formats/compressed_tensors/quant_scheme.h"
#include "common/formats/json/json_read.h"
#include "common/mem/arena.h"
#include "common/mem/bytes.h"

/* Lists and texts are borrowed: from the caller when writing, from the arena when read. */
struct compressed_config_group {
    struct quant_scheme scheme;
    const struct text *targets;
    size_t target_count;
};

struct compressed_config {
    const struct compressed_config_group *groups;
    size_t group_count;
    const struct text *ignore;
    size_t ignore_count;
};

enum { COMPRESSED_CONFIG_GROUPS_MAX = 1024 };

/* Appends the object as JSON. ERR_FORMAT when a text is not UTF-8, ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err compressed_config_print(const struct compressed_config *config,
                                            struct bytes *out);

/* Reads the object. ERR_FORMAT, ERR_UNSUPPORTED, ERR_LIMIT with file and key; on failure *config
 * is untouched. */
MUST_CHECK enum err compressed_config_read(struct json_value object, struct arena *arena,
                                           struct compressed_config *config, struct err_text *et);

/* The first group that has layer `module` as a target, NULL: none has, or it is ignored. */
MUST_CHECK enum err compressed_config_find(const struct compressed_config *config,
                                           const char *module,
                                           const struct compressed_config_group **out,
                                           struct err_text *et);

#endif
