/* peft_adapter.c - pairs each A with its B. */
#include "common/formats/peft/peft_adapter.h"

#include <inttypes.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/source/folder.h"

static bool ends_in(struct text name, struct text suffix)
{
    return name.size >= suffix.size &&
           memcmp(name.data + name.size - suffix.size, suffix.data, suffix.size) == 0;
}

static bool starts_with(struct text name, struct text prefix)
{
    return name.size >= prefix.size && memcmp(name.data, prefix.data, prefix.size) == 0;
}

/* The module between prefix and suffix of a tensor's name; data NULL when it has no such form. */
static struct text module_of(struct text name, struct text suffix)
{
    const struct text prefix = TEXT(PEFT_ADAPTER_KEY_PREFIX);
    if (!starts_with(name, prefix) || !ends_in(name, suffix) ||
        name.size <= prefix.size + suffix.size)
        return (struct text){0};
    return (struct text){name.data + prefix.size, name.size - prefix.size - suffix.size};
}

static bool is_float(enum safetensors_dtype dtype)
{
    return dtype == SAFETENSORS_F32 || dtype == SAFETENSORS_F16 || dtype == SAFETENSORS_BF16;
}

static enum err check_half(const struct safetensor *t, size_t rank_place, uint32_t rank,
                           const char *path, struct err_text *et)
{
    if (!is_float(t->dtype))
        return error_set(et, ERR_UNSUPPORTED, "%s: tensor %s: expected F32, F16 or BF16, found %s",
                         path, t->name.data, safetensors_dtype_name(t->dtype));
    if (t->rank != 2)
        return error_set(et, ERR_SHAPE, "%s: tensor %s: expected 2 dimensions, found %u", path,
                         t->name.data, t->rank);
    if (t->shape[rank_place] != rank)
        return error_set(et, ERR_SHAPE,
                         "%s: tensor %s: expected rank %u (adapter_config.json) in dimension %zu, "
                         "found %" PRIu64,
                         path, t->name.data, rank, rank_place, t->shape[rank_place]);
    return ERR_OK;
}

static enum err read_module(struct peft_adapter *made, const struct safetensor *a,
                            struct text module, const char *path, struct peft_module *out,
                            struct err_text *et)
{
    const char *name = arena_print(
        &made->arena, PEFT_ADAPTER_KEY_PREFIX "%.*s" PEFT_ADAPTER_B_SUFFIX, TEXT_ARGS(module));
    if (name == NULL)
        return error_set(et, ERR_OUT_OF_MEMORY, "%s: out of memory", path);
    const struct safetensor *b = safetensors_find(&made->weights, text_of(name));
    if (b == NULL)
        return error_set(et, ERR_FORMAT,
                         "%s: tensor %s: its other half (" PEFT_ADAPTER_B_SUFFIX ") is missing",
                         path, a->name.data);
    uint32_t rank = peft_config_rank_of(&made->config, module);
    TRY(check_half(a, 0, rank, path, et));
    TRY(check_half(b, 1, rank, path, et));
    *out = (struct peft_module){
        .name = module,
        .rank = rank,
        .alpha = peft_config_alpha_of(&made->config, module),
        .scale = peft_config_scale_of(&made->config, module),
        .in = a->shape[1],
        .out = b->shape[0],
        .a = a,
        .b = b,
    };
    return ERR_OK;
}

static enum err pair_tensors(struct peft_adapter *made, const char *path, struct err_text *et)
{
    struct peft_module *modules = arena_alloc(&made->arena, made->weights.count, sizeof *modules);
    if (modules == NULL)
        return error_set(et, ERR_OUT_OF_MEMORY, "%s: out of memory", path);
    size_t halves = 0;
    for (size_t i = 0; i < made->weights.count; i++) {
        const struct safetensor *t = &made->weights.tensors[i];
        struct text module = module_of(t->name, TEXT(PEFT_ADAPTER_A_SUFFIX));
        bool is_b = module_of(t->name, TEXT(PEFT_ADAPTER_B_SUFFIX)).data != NULL;
        if (module.data == NULL && !is_b)
            return error_set(et, ERR_UNSUPPORTED,
                             "%s: tensor %s: expected " PEFT_ADAPTER_KEY_PREFIX
                             "<module>.lora_A.weight or .lora_B.weight",
                             path, t->name.data);
        halves += is_b;
        if (module.data == NULL)
            continue;
        TRY(read_module(made, t, module, path, &modules[made->count], et));
        made->count++;
    }
    made->modules = modules;
    if (halves != made->count)
        return error_set(et, ERR_FORMAT, "%s: expected as many lora_A as lora_B, found %zu and %zu",
                         path, made->count, halves);
    if (made->count == 0)
        return error_set(et, ERR_FORMAT, "%s: expected adapter tensors, found none", path);
    return ERR_OK;
}

static enum err open_files(struct peft_adapter *made, const char *folder, struct err_text *et)
{
    const char *config = folder_join(&made->arena, folder, PEFT_ADAPTER_CONFIG_FILE);
    const char *weights = folder_join(&made->arena, folder, PEFT_ADAPTER_WEIGHTS_FILE);
    if (config == NULL || weights == NULL)
        return error_set(et, ERR_OUT_OF_MEMORY, "%s: out of memory", folder);
    TRY(peft_config_open(&made->config, config, &made->arena, et));
    if (made->config.use_dora || made->config.save_count > 0)
        return error_set(et, ERR_UNSUPPORTED, "%s: %s is not supported", config,
                         made->config.use_dora ? "use_dora" : "modules_to_save");
    TRY(safetensors_open(&made->weights, weights, et));
    return pair_tensors(made, weights, et);
}

enum err peft_adapter_open(struct peft_adapter *adapter, const char *folder, struct err_text *et)
{
    struct peft_adapter made = {0};
    arena_init(&made.arena, SIZE_MAX); /* bounded by the ceilings of the files */
    enum err err = open_files(&made, folder, et);
    if (err == ERR_OK)
        *adapter = made;
    else
        peft_adapter_close(&made);
    return err;
}

void peft_adapter_close(struct peft_adapter *adapter)
{
    safetensors_close(&adapter->weights);
    arena_fini(&adapter->arena);
    *adapter = (struct peft_adapter){0};
}
