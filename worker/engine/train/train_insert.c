/* train_insert.c - entries of bottlenecks and prompts: which there are, where they are bound, how
 * they start. */
#include "worker/engine/train/train_insert.h"

#include <string.h>

#include "common/base/check.h"
#include "common/formats/hf/hf_config.h"
#include "common/numeric/init.h"
#include "common/numeric/random.h"
#include "worker/engine/quant/blocks.h"

/* Of a bottleneck whose first matrix is not Kaiming's: BERT's, as AdapterHub starts them. */
static const float DEVIATION = 0.02f;

/* The parts of a bottleneck, in the order of their names. */
static const struct {
    enum train_part part;
    const char *name;
} PARTS[] = {
    {TRAIN_PART_DOWN_BIAS, "down.bias"},
    {TRAIN_PART_DOWN, "down.weight"},
    {TRAIN_PART_UP_BIAS, "up.bias"},
    {TRAIN_PART_UP, "up.weight"},
};

static const char *const PLACE_NAMES[] = {
    [BINDING_AFTER_ATTENTION] = "attention_adapter",
    [BINDING_AFTER_MLP] = "mlp_adapter",
    [BINDING_BESIDE_MLP] = "parallel_adapter",
    [BINDING_AFTER_LAYER] = "layer_adapter",
};
_Static_assert(COUNT_OF(PLACE_NAMES) == BINDING_PLACE_COUNT, "a name for every place");

/* The places of a method; returns their number. */
static size_t places_of(enum train_method method, enum binding_place places[2])
{
    switch (method) {
    case TRAIN_METHOD_HOULSBY:
        places[0] = BINDING_AFTER_ATTENTION;
        places[1] = BINDING_AFTER_MLP;
        return 2;
    case TRAIN_METHOD_PFEIFFER:
        places[0] = BINDING_AFTER_LAYER;
        return 1;
    case TRAIN_METHOD_PARALLEL:
        places[0] = BINDING_BESIDE_MLP;
        return 1;
    case TRAIN_METHOD_PROMPT:
    case TRAIN_METHOD_LORA:
    case TRAIN_METHOD_FULL:
        break;
    }
    return 0;
}

bool train_insert_is(enum train_method method)
{
    enum binding_place places[2];
    return method == TRAIN_METHOD_PROMPT || places_of(method, places) != 0;
}

bool train_insert_is_part(enum train_part part)
{
    bool found = part == TRAIN_PART_PROMPT;
    for (size_t i = 0; i < COUNT_OF(PARTS); i++)
        found = found || part == PARTS[i].part;
    return found;
}

static size_t width_of(const struct model *model, const struct train_config *config)
{
    return MAX(model_shape(model)->width / config->reduction, (size_t)1);
}

enum err train_insert_check(const struct model *model, const struct train_config *config,
                            struct err_text *et)
{
    size_t positions = model_shape(model)->positions;
    if (config->method == TRAIN_METHOD_PROMPT) {
        if (config->prompt_count == 0 || config->prompt_count >= positions)
            return error_set(et, ERR_RECIPE,
                             "num_virtual_tokens: %zu; expected at least 1 and fewer than the "
                             "model's %zu positions",
                             config->prompt_count, positions);
        return ERR_OK;
    }
    if (config->reduction == 0 || config->reduction > model_shape(model)->width)
        return error_set(et, ERR_RECIPE,
                         "adapter_reduction_factor: %zu; expected 1 to the model's width of %zu",
                         config->reduction, model_shape(model)->width);
    if (!(config->scaling - config->scaling == 0))
        return error_set(et, ERR_RECIPE, "adapter_scaling: expected a finite number");
    return ERR_OK;
}

/* ---- entries ---- */

size_t train_insert_count(const struct model *model, const struct train_config *config)
{
    enum binding_place places[2];
    if (config->method == TRAIN_METHOD_PROMPT)
        return 1;
    return model_shape(model)->layers * places_of(config->method, places) * COUNT_OF(PARTS);
}

/* "model.layers.3" from the name of a parameter right in the layer. */
static struct text layer_name(const struct model *model, size_t norm)
{
    struct text name = text_of(model_param(model, norm)->name);
    for (size_t dots = 0; dots < 2 && name.size > 0;)
        dots += name.data[--name.size] == '.' ? 1 : 0;
    return name;
}

static enum err add_bottleneck(const struct model *model, size_t layer, enum binding_place place,
                               size_t width, struct arena *arena, struct train_entry **next)
{
    size_t C = model_shape(model)->width;
    ptrdiff_t norm = model_param_index(model, MODEL_ATTENTION_NORM, layer);
    ASSERT(norm >= 0);
    for (size_t i = 0; i < COUNT_OF(PARTS); i++) {
        enum train_part part = PARTS[i].part;
        bool down = part == TRAIN_PART_DOWN || part == TRAIN_PART_DOWN_BIAS;
        bool vector = part == TRAIN_PART_DOWN_BIAS || part == TRAIN_PART_UP_BIAS;
        struct train_entry *e = (*next)++;
        *e = (struct train_entry){.param = (size_t)norm,
                                  .part = part,
                                  .place = place,
                                  .dimensions = vector ? 1 : 2,
                                  .shape = {down ? width : C, down ? C : width}};
        e->shape[1] = vector ? 1 : e->shape[1];
        e->count = e->shape[0] * e->shape[1];
        e->name = arena_print(arena, "%.*s.%s.%s", TEXT_ARGS(layer_name(model, (size_t)norm)),
                              PLACE_NAMES[place], PARTS[i].name);
        if (e->name == NULL)
            return ERR_OUT_OF_MEMORY;
    }
    return ERR_OK;
}

enum err train_insert_entries(const struct model *model, const struct train_config *config,
                              struct arena *arena, struct train_entry *entries)
{
    enum binding_place places[2];
    size_t count = places_of(config->method, places), C = model_shape(model)->width;
    if (config->method == TRAIN_METHOD_PROMPT) {
        ptrdiff_t table = model_param_index(model, MODEL_EMBEDDING, 0);
        ASSERT(table >= 0);
        *entries = (struct train_entry){.param = (size_t)table,
                                        .part = TRAIN_PART_PROMPT,
                                        .name = "prompt_embeddings",
                                        .dimensions = 2,
                                        .shape = {config->prompt_count, C},
                                        .count = config->prompt_count * C};
        return ERR_OK;
    }
    for (size_t layer = 0; layer < model_shape(model)->layers; layer++) {
        for (size_t i = 0; i < count; i++)
            TRY(add_bottleneck(model, layer, places[i], width_of(model, config), arena, &entries));
    }
    return ERR_OK;
}

void train_insert_bind(const struct model *model, const struct train_config *config,
                       const struct train_entry *entry, struct binding *binding)
{
    if (entry->part == TRAIN_PART_PROMPT) {
        binding->prompt_count = entry->shape[0];
        binding->prompt_offset = entry->offset;
        return;
    }
    size_t layer = model_param(model, entry->param)->layer;
    struct binding_bottleneck *b =
        &binding->bottlenecks[layer * BINDING_PLACE_COUNT + (size_t)entry->place];
    b->width = width_of(model, config);
    b->act = config->act;
    b->scale = (float)config->scaling;
    size_t *offsets[] = {[TRAIN_PART_DOWN] = &b->down_offset,
                         [TRAIN_PART_DOWN_BIAS] = &b->down_bias_offset,
                         [TRAIN_PART_UP] = &b->up_offset,
                         [TRAIN_PART_UP_BIAS] = &b->up_bias_offset};
    *offsets[entry->part] = entry->offset;
}

/* ---- first values ---- */

/* The vector that a token is to the first layer. */
static void embed(const struct model *model, uint32_t token, float *out)
{
    const struct model_shape *s = model_shape(model);
    ptrdiff_t index = model_param_index(model, MODEL_EMBEDDING, 0);
    ASSERT(index >= 0 && token < s->vocabulary);
    const struct model_param *table = model_param(model, (size_t)index);
    const uint8_t *row = (const uint8_t *)table->data +
                         dtype_span_bytes(table->dtype, (size_t)token * table->columns);
    block_decode(table->dtype, s->width, row, out);
    for (size_t i = 0; i < s->width; i++)
        out[i] *= s->embedding_scale;
}

void train_insert_tokens(const struct model *model, const uint32_t *ids, size_t count,
                         size_t prompt_count, float *values)
{
    ASSERT(count > 0);
    for (size_t i = 0; i < prompt_count; i++)
        embed(model, ids[i % count], values + i * model_shape(model)->width);
}

static void prompt_values(const struct model *model, enum train_prompt prompt, uint64_t key,
                          const struct train_entry *entry, float *values)
{
    const struct model_shape *s = model_shape(model);
    if (prompt == TRAIN_PROMPT_RANDOM) {
        double deviation = model_config(model)->initializer_range;
        init_normal(key, (float)deviation * s->embedding_scale, 0, entry->count, values);
        return;
    }
    for (size_t i = 0; i < entry->shape[0]; i++)
        embed(model, (uint32_t)random_below(key, i, s->vocabulary), values + i * s->width);
}

void train_insert_values(const struct model *model, enum train_prompt prompt, uint64_t seed,
                         const struct train_entry *entry, float *values)
{
    uint32_t layer = model_param(model, entry->param)->layer;
    uint64_t key = random_key(seed, RANDOM_INIT, random_name(text_of(entry->name)), layer, 0);
    if (entry->part == TRAIN_PART_PROMPT)
        prompt_values(model, prompt, key, entry, values);
    else if (entry->part != TRAIN_PART_DOWN)
        memset(values, 0, entry->count * sizeof *values);
    else if (entry->place == BINDING_BESIDE_MLP)
        init_kaiming_uniform(key, entry->shape[1], 0, entry->count, values);
    else
        init_normal(key, DEVIATION, 0, entry->count, values);
}
