/* engine_data.h - what the engine's tests share: real data if it is there, small random models. */
#ifndef TESTS_NUMERIC_ENGINE_ENGINE_DATA_H
#define TESTS_NUMERIC_ENGINE_ENGINE_DATA_H

#include <stdbool.h>
#include <stdint.h>

#include "common/formats/hf/hf_config.h"
#include "worker/engine/kernel/kernel.h"
#include "worker/engine/nn/model.h"
#include "worker/engine/train/train.h"

/* Path below the data folder (QFLEET_DATA, or ../shared/data), or NULL when the folder is absent:
 * then prints that the test is skipped. Valid until the next call with the same `slot` (0..3). */
const char *engine_data_path(unsigned slot, const char *below);

/* A kernel of profile f32 on this machine; fails the test otherwise. */
struct kernel *engine_data_kernel(enum kernel_isa isa, unsigned threads);

/* A Llama with 2 layers, 4 heads on 2 kv heads of width 6 (no multiple of a vector), width 20, mlp
 * 28, vocabulary 50. */
struct hf_config engine_data_config(bool tied);
struct model *engine_data_model(const struct hf_config *config, uint64_t seed);

/* `count` rows of random tokens in one to three segments, about two thirds supervised. Released
 * with engine_data_free_rows. */
struct train_row *engine_data_rows(size_t count, size_t tokens, size_t vocabulary, uint64_t seed);
void engine_data_free_rows(struct train_row *rows);

#endif
