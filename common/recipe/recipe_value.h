/* recipe_value.h - one scalar by the type its key declares, never by what it looks like. */
#ifndef COMMON_RECIPE_RECIPE_VALUE_H
#define COMMON_RECIPE_RECIPE_VALUE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/span.h"

/* Each returns false, leaving *out alone, when `text` is not such a value. Digits may be parted by
 * single underscores. */

/* 42, 1_000, 1e3, 2.0: anything whole that fits. */
bool recipe_value_u64(struct text text, uint64_t *out);
bool recipe_value_i64(struct text text, int64_t *out);

/* 1e-4, .5, 1_000.25; finite. */
bool recipe_value_f64(struct text text, double *out);

/* true false yes no on off, any case. */
bool recipe_value_bool(struct text text, bool *out);

/* Bytes: a number with B, K, M, G, T, KB, KiB, ... (all powers of 1024), or none. */
bool recipe_value_size(struct text text, uint64_t *out);

/* Milliseconds: a number with ms, s, m, h or d; without a unit seconds. */
bool recipe_value_duration(struct text text, uint64_t *out);

/* Nothing, ~ or null: how YAML says that a key is absent. */
bool recipe_value_is_null(struct text text);

#endif
