/* engine_data.c - see the header. */
#include "tests/numeric/engine/engine_data.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/formats/source/folder.h"
#include "common/mem/mem.h"
#include "common/numeric/random.h"

const char *engine_data_path(unsigned slot, const char *below)
{
    static char paths[4][512];
    const char *root = getenv("QFLEET_DATA");
    if (root == NULL)
        root = "../shared/data";
    if (!folder_exists(root)) {
        print_message("skipped: no data folder at %s (set QFLEET_DATA)\n", root);
        return NULL;
    }
    (void)snprintf(paths[slot], sizeof paths[slot], "%s/%s", root, below);
    return paths[slot];
}

struct kernel *engine_data_kernel(enum kernel_isa isa, unsigned threads)
{
    struct kernel *kernel = NULL;
    if (kernel_create(KERNEL_PROFILE_F32, isa, threads, &kernel) == ERR_UNSUPPORTED)
        return NULL;
    assert_non_null(kernel);
    return kernel;
}

struct hf_config engine_data_config(bool tied)
{
    return (struct hf_config){.model_type = "llama",
                              .hidden_act = "silu",
                              .vocab_size = 50,
                              .hidden_size = 20,
                              .intermediate_size = 28,
                              .num_hidden_layers = 2,
                              .num_attention_heads = 4,
                              .num_key_value_heads = 2,
                              .head_dim = 6,
                              .max_position_embeddings = 256,
                              .norm_eps = 1e-5,
                              .rope_theta = 10000,
                              .partial_rotary_factor = 1,
                              .initializer_range = 0.2,
                              .tie_word_embeddings = tied};
}

struct model *engine_data_model(const struct hf_config *config, uint64_t seed)
{
    struct model *model = NULL;
    struct err_text et = {0};
    if (model_create_random(config, seed, &model, &et) != ERR_OK)
        fail_msg("%s", et.text);
    return model;
}

struct train_row *engine_data_rows(size_t count, size_t tokens, size_t vocabulary, uint64_t seed)
{
    size_t ids_bytes = tokens * sizeof(uint32_t), each = ids_bytes + 3 * sizeof(uint32_t) + tokens;
    each = (each + 7) / 8 * 8;
    uint8_t *memory = mem_alloc(1, count * (sizeof(struct train_row) + each));
    assert_non_null(memory);
    struct train_row *rows = (struct train_row *)(void *)memory;
    for (size_t r = 0; r < count; r++) {
        uint64_t key = random_key(seed, RANDOM_TEST, r, 0, 0);
        uint8_t *at = memory + count * sizeof *rows + r * each;
        uint32_t *ids = (uint32_t *)(void *)at;
        uint32_t *starts = (uint32_t *)(void *)(at + ids_bytes);
        uint8_t *loss = at + ids_bytes + 3 * sizeof(uint32_t);
        size_t row_tokens = tokens - random_below(key, 1, tokens / 4 + 1);
        size_t segments = 1 + random_below(key, 2, 3);
        for (size_t s = 0; s < segments; s++)
            starts[s] = (uint32_t)(row_tokens * s * s / (segments * segments));
        for (size_t s = 1; s < segments; s++)
            starts[s] = starts[s] > starts[s - 1] ? starts[s] : starts[s - 1] + 1;
        for (size_t i = 0; i < row_tokens; i++) {
            ids[i] = (uint32_t)random_below(key, 10 + 2 * i, vocabulary);
            loss[i] = random_below(key, 11 + 2 * i, 3) != 0;
        }
        rows[r] = (struct train_row){.index = 7 * r + 3,
                                     .tokens = ids,
                                     .loss = loss,
                                     .token_count = row_tokens,
                                     .segment_starts = starts,
                                     .segment_count = segments};
    }
    return rows;
}

void engine_data_free_rows(struct train_row *rows)
{
    mem_free(rows);
}
