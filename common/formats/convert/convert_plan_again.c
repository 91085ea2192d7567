/* convert_plan_again.c - from a GGUF file's tensors to those of another: each keeps its name, its
 * place and the order of its rows. */
#include <inttypes.h>
#include <stdio.h>

#include "common/formats/convert/convert_plan.h"

static enum err plan_tensor(const struct gguf *gguf, const struct gguf_tensor *from,
                            enum block_format format, convert_decode_f decode,
                            struct convert_tensor *t, struct err_text *et)
{
    if ((from->rank != 1 && from->rank != 2) || gguf_element_count(from) == 0)
        return error_set(et, ERR_SHAPE,
                         "%s: tensor %.*s: expected a vector or a matrix with elements, found rank "
                         "%u with %" PRIu64 " rows",
                         gguf->name, TEXT_ARGS(from->name), from->rank,
                         from->rank > 0 ? from->shape[0] : 0);
    (void)snprintf(t->name, sizeof t->name, "%.*s", TEXT_ARGS(from->name));
    t->rank = from->rank;
    t->shape[0] = from->shape[0];
    t->shape[1] = from->rank == 2 ? from->shape[1] : 1;
    t->rows = from->rank == 2 ? from->shape[0] : 1;
    t->columns = from->rank == 2 ? from->shape[1] : from->shape[0];
    t->data = from->data;
    t->in = t->out = from->format;
    t->decode = decode;
    bool may_change = !t->is_made && from->rank == 2 && t->place.role != CONVERT_POSITION &&
                      convert_name_kind(t->place.role) != CONVERT_GAIN;
    if (may_change && format != CONVERT_PLAN_KEEP)
        t->out = format;
    if (t->out == t->in || convert_float_is_plain(t->in) || decode != NULL)
        return ERR_OK;
    return error_set(et, ERR_UNSUPPORTED, "%s: tensor %s: expected F32, F16 or BF16, found %s",
                     gguf->name, t->name, block_format_name(t->in));
}

enum err convert_plan_again(const struct gguf *gguf, const struct hf_config *config,
                            enum block_format format, convert_decode_f decode, struct arena *arena,
                            struct convert_plan *plan, struct err_text *et)
{
    struct convert_plan made = {0};
    const struct gguf_arch *arch = NULL;
    TRY(gguf_arch_of_config(config, gguf->name, &arch, et));
    TRY(convert_plan_family(gguf, arch, &made.family, et));
    made.tensors = arena_alloc(arena, gguf->tensor_count + 1, sizeof *made.tensors);
    if (made.tensors == NULL)
        return error_set(et, ERR_OUT_OF_MEMORY, "%s: out of memory", gguf->name);
    for (size_t i = 0; i < gguf->tensor_count; i++) {
        const struct gguf_tensor *from = &gguf->tensors[i];
        struct convert_tensor *t = &made.tensors[made.count++];
        t->is_made = convert_plan_is_factors(from);
        t->place.role = CONVERT_ROLE_COUNT;
        if (!t->is_made)
            (void)convert_name_of_gguf(made.family, from->name, &t->place);
        TRY(plan_tensor(gguf, from, format, decode, t, et));
    }
    TRY(convert_plan_finish(&made, config->num_hidden_layers, gguf->name, et));
    *plan = made;
    return ERR_OK;
}
