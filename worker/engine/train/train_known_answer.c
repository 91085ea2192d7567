/* train_known_answer.c - one step of a model from a random start. */
#include "worker/engine/train/train_known_answer.h"

#include <string.h>

#include "common/base/check.h"
#include "common/formats/hf/hf_config.h"
#include "common/mem/mem.h"
#include "common/numeric/random.h"
#include "worker/engine/train/train.h"

enum { ROWS = 2, TOKENS = 150, SEGMENTS = 2, SEED = 1, VOCABULARY = 61 };

static const struct hf_config shape = {.model_type = "llama",
                                       .vocab_size = VOCABULARY,
                                       .hidden_size = 24,
                                       .intermediate_size = 40,
                                       .num_hidden_layers = 2,
                                       .num_attention_heads = 4,
                                       .num_key_value_heads = 2,
                                       .head_dim = 6,
                                       .max_position_embeddings = TOKENS,
                                       .norm_eps = 1e-5,
                                       .rope_theta = 10000,
                                       .partial_rotary_factor = 1,
                                       .initializer_range = 0.1,
                                       .tie_word_embeddings = true};

/* Where the bytes go. */
struct answer {
    uint8_t *out;
    size_t used, gradient_bytes;
};

static void append(struct answer *answer, const void *bytes, size_t size)
{
    ASSERT(size <= TRAIN_KNOWN_ANSWER_BYTES - answer->used);
    memcpy(answer->out + answer->used, bytes, size);
    answer->used += size;
}

static enum err take_leaf(void *context, size_t row, const struct train_result *result,
                          const float *gradient)
{
    (void)row;
    struct answer *answer = context;
    append(answer, &result->loss_sum, sizeof result->loss_sum);
    append(answer, &result->weight, sizeof result->weight);
    append(answer, gradient, answer->gradient_bytes);
    return ERR_OK;
}

static enum err run(struct train *train, const struct train_layout *layout, struct answer *answer)
{
    static const uint32_t starts[SEGMENTS] = {0, 17};
    uint32_t ids[ROWS][TOKENS];
    uint8_t loss[ROWS][TOKENS];
    struct train_row rows[ROWS];
    struct train_result results[ROWS];
    for (size_t r = 0; r < ROWS; r++) {
        for (size_t i = 0; i < TOKENS; i++) {
            ids[r][i] = (uint32_t)random_below(SEED + r, 2 * i, VOCABULARY);
            loss[r][i] = random_below(SEED + r, 2 * i + 1, 3) != 0;
        }
        rows[r] = (struct train_row){.index = r,
                                     .tokens = ids[r],
                                     .loss = loss[r],
                                     .token_count = TOKENS,
                                     .segment_starts = starts,
                                     .segment_count = SEGMENTS};
    }
    size_t count = train_layout_count(layout);
    float *values = mem_alloc(count, sizeof *values);
    if (values == NULL)
        return ERR_OUT_OF_MEMORY;
    train_layout_values(layout, SEED, values);
    for (size_t i = 0; i < count; i++) /* B starts at zero and would hide A */
        values[i] += 0.1f * (random_uniform_f32(SEED, i) - 0.5f);
    answer->gradient_bytes = count * sizeof *values;
    enum err err = train_rows(train, values, SEED, 0, rows, ROWS, results, take_leaf, answer, NULL);
    mem_free(values);
    return err;
}

enum err train_known_answer(struct kernel *kernel, uint8_t out[TRAIN_KNOWN_ANSWER_BYTES])
{
    static const char *const targets[] = {"all-linear"};
    static const struct train_config lora = {.method = TRAIN_METHOD_LORA,
                                             .rank = 2,
                                             .alpha = 4,
                                             .dropout = 0.1,
                                             .targets = targets,
                                             .target_count = 1};
    static const struct train_options options = {.rows_at_once = ROWS, .checkpointing = true};
    struct model *model = NULL;
    struct train_layout *layout = NULL;
    struct train *train = NULL;
    struct answer answer = {.out = out};
    enum err err;
    memset(out, 0, TRAIN_KNOWN_ANSWER_BYTES);
    TRY_OUT(model_create_random(&shape, SEED, &model, NULL));
    TRY_OUT(train_layout_create(model, &lora, &layout, NULL));
    TRY_OUT(train_create(model, kernel, layout, &options, &train));
    TRY_OUT(run(train, layout, &answer));
out:
    train_destroy(&train);
    train_layout_destroy(&layout);
    model_destroy(&model);
    return err;
}
