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

/* The folders of tests/golden/families that hold a model. */
#define GOLDEN_FAMILIES(F)                                                                         \
    F("llama2")                                                                                    \
    F("llama3")                                                                                    \
    F("llama31")                                                                                   \
    F("llama-linear-rope")                                                                         \
    F("llama-yarn")                                                                                \
    F("mistral")                                                                                   \
    F("gemma")                                                                                     \
    F("gemma2")                                                                                    \
    F("gemma3_text")                                                                               \
    F("phi2")                                                                                      \
    F("phi3")                                                                                      \
    F("phi35")                                                                                     \
    F("falcon7b")                                                                                  \
    F("falcon-new")                                                                                \
    F("falcon-11b")                                                                                \
    F("qwen2")                                                                                     \
    F("qwen25")                                                                                    \
    F("qwen3")                                                                                     \
    F("gpt2")                                                                                      \
    F("bitnet")                                                                                    \
    F("bitnet-packed")                                                                             \
    F("bitnet-packed-auto")

/* One row of cmocka's table: test_family__<test> over a family, whose name is its state. */
#define GOLDEN_TEST(test, family)                                                                  \
    {                                                                                              \
        family ": " #test, test_family__##test, NULL, NULL, (char[])                               \
        {                                                                                          \
            family                                                                                 \
        }                                                                                          \
    }

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

/* The model of a GOLDEN_TEST. */
struct golden_family *golden_family_of_test(void **state);

void golden_family_rows(const struct golden_family *golden,
                        struct train_row rows[GOLDEN_SEQUENCES]);

/* Logits of every token, (token_count, V); released with mem_free. */
float *golden_family_logits(const struct model *model, const struct train_layout *layout,
                            const float *values, const struct train_row *row);

/* Both sequences as one packed row, with its lists: (tokens of both). */
struct golden_packed {
    uint32_t tokens[GOLDEN_SEQUENCES * GOLDEN_TOKENS_MAX];
    uint8_t loss[GOLDEN_SEQUENCES * GOLDEN_TOKENS_MAX];
    uint32_t starts[GOLDEN_SEQUENCES];
    struct train_row row;
};
void golden_family_pack(const struct golden_family *golden, struct golden_packed *packed);

#endif
