/* binding.c - one slot a parameter of the model. */
#include "worker/engine/nn/binding.h"

#include "common/mem/mem.h"

enum err binding_init(struct binding *binding, const struct model *model)
{
    size_t count = model_param_count(model);
    struct binding_slot *slots = mem_alloc(count, sizeof *slots);
    if (slots == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < count; i++)
        slots[i].weight_offset = BINDING_NONE;
    *binding = (struct binding){.slot_count = count, .slots = slots};
    return ERR_OK;
}

void binding_fini(struct binding *binding)
{
    mem_free(binding->slots);
    *binding = (struct binding){0};
}
