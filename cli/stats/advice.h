/* advice.h - what to write into a recipe for the tensors that lost most. */
#ifndef CLI_STATS_ADVICE_H
#define CLI_STATS_ADVICE_H

#include "cli/stats/overview.h"
#include "common/mem/bytes.h"
#include "common/recipe/recipe.h"

enum { ADVICE_TENSORS_MAX = 3 };

/* The format that a tensor with rows of `columns` takes a step up, with its blocks whole; NULL when
 * there is none worth it. Static. */
const char *advice_better(struct text format, uint64_t columns);

/* Appends the key of `quantize` as a line of YAML, with what the recipe says there already:
 * `tensor_type: {...}` towards GGUF, `ignore: [...]` towards a folder, where layers that share an
 * input go together (engines load them as one). `overview` is sorted, the worst first. Appends
 * nothing when nothing helps. ERR_OUT_OF_MEMORY. *extra_bytes: what the result grows by. */
MUST_CHECK enum err advice_print(const struct overview *overview, const struct recipe *recipe,
                                 struct bytes *out, uint64_t *extra_bytes);

#endif
