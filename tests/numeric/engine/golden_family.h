/* golden_family.h - one model of tests/golden/families with what the reference computed for it.
 *
 * Opens the model with our own readers; everything a test compares with lies in plain arrays.
 * Whatever is wrong with the files fails the test.
 */
#ifndef TESTS_NUMERIC_ENGINE_GOLDEN_FAMILY_H
#define TESTS_NUMERIC_ENGINE_GOLDEN_FAMILY_H

#include <stdint.h>

#include "common/formats/safetensors/safetensors.h"
#include "worker/engine/nn/model.h"
#include "worker/engine/train/train.h"

enum { GOLDEN_SEQUENCES = 2, GOLDEN_TOKENS_MAX = 128, GOLDEN_RANK = 2, GOLDEN_ALPHA = 3 };

struct golden_sequence {
    uint32_t tokens[GOLDEN_TOKENS_MAX];
    uint8_t loss[GOLDEN_TOKENS_MAX];
    uint32_t start;
    struct train_row row; /* of the lists above */
    size_t compared;      /* tokens whose logits are known */
    uint32_t positions[GOLDEN_TOKENS_MAX];
    const float *logits; /* (compared, V), borrowed from the file */
    double base_loss, adapter_loss;
};

struct golden_family {
    const char *name;
    struct model *model;
    struct train_layout *layout; /* of the adapter's modules */
    size_t count;                /* elements of the layout */
    float *values, *gradients;   /* the adapter, and the gradient of the sum of both losses */
    struct golden_sequence sequences[GOLDEN_SEQUENCES];
    struct safetensors expected;
};

/* Path of a file of the family. Valid until the next call with the same `slot` (0..3). */
const char *golden_family_path(unsigned slot, const char *name, const char *file);

/* Opens all of the family's folder; released with golden_family_close. */
struct golden_family *golden_family_open(const char *name);
void golden_family_close(struct golden_family *golden);

/* Both sequences as one packed row, with its lists: (tokens of both). */
struct golden_packed {
    uint32_t tokens[GOLDEN_SEQUENCES * GOLDEN_TOKENS_MAX];
    uint8_t loss[GOLDEN_SEQUENCES * GOLDEN_TOKENS_MAX];
    uint32_t starts[GOLDEN_SEQUENCES];
    struct train_row row;
};
void golden_family_pack(const struct golden_family *golden, struct golden_packed *packed);

#endif
