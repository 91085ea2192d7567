/* binding.c - one slot a parameter of the model. */
#include "worker/engine/nn/binding.h"

#include "common/mem/mem.h"

enum err binding_init(struct binding *binding, const struct model *model)
{
    size_t count = model_param_count(model);
    size_t places = model_shape(model)->layers * BINDING_PLACE_COUNT;
    struct binding_slot *slots = mem_alloc(count, sizeof *slots);
    struct binding_bottleneck *bottlenecks = mem_alloc(places, sizeof *bottlenecks);
    if (slots == NULL || bottlenecks == NULL) {
        mem_free(slots);
        mem_free(bottlenecks);
        return ERR_OUT_OF_MEMORY;
    }
    for (size_t i = 0; i < count; i++)
        slots[i].weight_offset = BINDING_NONE;
    *binding = (struct binding){.slot_count = count, .slots = slots, .bottlenecks = bottlenecks};
    return ERR_OK;
}

void binding_fini(struct binding *binding)
{
    mem_free(binding->slots);
    mem_free(binding->bottlenecks);
    *binding = (struct binding){0};
}

const struct binding_bottleneck *binding_bottleneck(const struct binding *binding, size_t layer,
                                                    enum binding_place place)
{
    if (binding == NULL || binding->bottlenecks == NULL)
        return NULL;
    const struct binding_bottleneck *b =
        &binding->bottlenecks[layer * BINDING_PLACE_COUNT + (size_t)place];
    return b->width != 0 ? b : NULL;
}

bool binding_has_magnitude(const struct binding *binding, size_t param)
{
    return binding != NULL && binding->slots[param].adapter.has_magnitude;
}
