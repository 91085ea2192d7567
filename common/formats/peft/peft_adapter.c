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

static enum err check_float(const struct safetensor *t, uint32_t dimensions, const char *path,
                            struct err_text *et)
{
    if (!is_float(t->dtype))
        return error_set(et, ERR_UNSUPPORTED, "%s: tensor %s: expected F32, F16 or BF16, found %s",
                         path, t->name.data, safetensors_dtype_name(t->dtype));
    if (t->rank != dimensions)
        return error_set(et, ERR_SHAPE, "%s: tensor %s: expected %u dimensions, found %u", path,
                         t->name.data, dimensions, t->rank);
    return ERR_OK;
}

static enum err check_half(const struct safetensor *t, size_t rank_place, uint32_t rank,
                           const char *path, struct err_text *et)
{
    TRY(check_float(t, 2, path, et));
    if (t->shape[rank_place] != rank)
        return error_set(et, ERR_SHAPE,
                         "%s: tensor %s: expected rank %u (adapter_config.json) in dimension %zu, "
                         "found %" PRIu64,
                         path, t->name.data, rank, rank_place, t->shape[rank_place]);
    return ERR_OK;
}

/* Tensors on their way to modules. */
struct sorting {
    struct peft_adapter *made;
    struct peft_module *modules; /* made's lists, being filled */
    struct peft_saved *saved;
    size_t rest; /* tensors that belong to a pair and do not open it */
    const char *path;
    struct err_text *et;
};

/* The tensor of a module with this ending; *out NULL when there is none. */
static enum err find_beside(struct peft_adapter *made, struct text module, const char *ending,
                            const struct safetensor **out)
{
    const char *name =
        arena_print(&made->arena, PEFT_ADAPTER_KEY_PREFIX "%.*s%s", TEXT_ARGS(module), ending);
    *out = name != NULL ? safetensors_find(&made->weights, text_of(name)) : NULL;
    return name != NULL ? ERR_OK : ERR_OUT_OF_MEMORY;
}

static enum err read_magnitude(const struct sorting *s, struct peft_module *m)
{
    struct peft_adapter *made = s->made;
    const char *path = s->path;
    struct err_text *et = s->et;
    TRY(find_beside(made, m->name, PEFT_ADAPTER_MAGNITUDE, &m->magnitude));
    if ((m->magnitude != NULL) != (made->config.use_dora && !m->is_lookup))
        return error_set(et, ERR_FORMAT,
                         "%s: module %.*s: use_dora is %s, but lora_magnitude_vector is %s", path,
                         TEXT_ARGS(m->name), made->config.use_dora ? "true" : "false",
                         m->magnitude != NULL ? "there" : "missing");
    if (m->magnitude == NULL)
        return ERR_OK;
    TRY(check_float(m->magnitude, 1, path, et));
    if (m->magnitude->shape[0] != m->out)
        return error_set(et, ERR_SHAPE,
                         "%s: tensor %s: expected %" PRIu64 " elements, found %" PRIu64, path,
                         m->magnitude->name.data, m->out, m->magnitude->shape[0]);
    return ERR_OK;
}

static enum err read_module(const struct sorting *s, const struct safetensor *a, struct text module,
                            bool is_lookup)
{
    struct peft_adapter *made = s->made;
    const char *ending = is_lookup ? PEFT_ADAPTER_LOOKUP_B : PEFT_ADAPTER_B_SUFFIX;
    const struct safetensor *b;
    TRY(find_beside(made, module, ending, &b));
    if (b == NULL)
        return error_set(s->et, ERR_FORMAT, "%s: tensor %s: its other half (%s) is missing",
                         s->path, a->name.data, ending);
    uint32_t rank = peft_config_rank_of(&made->config, module);
    TRY(check_half(a, 0, rank, s->path, s->et));
    TRY(check_half(b, 1, rank, s->path, s->et));
    struct peft_module *m = &s->modules[made->count];
    *m = (struct peft_module){
        .name = module,
        .is_lookup = is_lookup,
        .rank = rank,
        .alpha = peft_config_alpha_of(&made->config, module),
        .scale = peft_config_scale_of(&made->config, module),
        .in = a->shape[1],
        .out = b->shape[0],
        .a = a,
        .b = b,
    };
    TRY(read_magnitude(s, m));
    made->count++;
    return ERR_OK;
}

/* Whether modules_to_save names the module of a tensor: PEFT's rule, any ending of its name. */
static bool is_saved(const struct peft_config *config, struct text tensor)
{
    struct text module = module_of(tensor, TEXT(".weight"));
    if (module.data == NULL)
        module = module_of(tensor, TEXT(".bias"));
    for (size_t i = 0; module.data != NULL && i < config->save_count; i++) {
        if (ends_in(module, config->modules_to_save[i]))
            return true;
    }
    return false;
}

static enum err read_saved(const struct sorting *s, const struct safetensor *t)
{
    const size_t prefix = sizeof PEFT_ADAPTER_KEY_PREFIX - 1;
    if (!is_saved(&s->made->config, t->name))
        return error_set(s->et, ERR_UNSUPPORTED,
                         "%s: tensor %s: expected " PEFT_ADAPTER_KEY_PREFIX
                         "<module>.lora_A.weight or .lora_B.weight, or a module of modules_to_save",
                         s->path, t->name.data);
    TRY(check_float(t, t->rank == 1 ? 1 : 2, s->path, s->et));
    s->saved[s->made->saved_count++] =
        (struct peft_saved){{t->name.data + prefix, t->name.size - prefix}, t};
    return ERR_OK;
}

/* One tensor: opens a pair, belongs to one, or is a module's own. */
static enum err read_tensor(struct sorting *s, const struct safetensor *t)
{
    static const char *const others[] = {PEFT_ADAPTER_B_SUFFIX, PEFT_ADAPTER_LOOKUP_B,
                                         PEFT_ADAPTER_MAGNITUDE};
    struct text module = module_of(t->name, TEXT(PEFT_ADAPTER_A_SUFFIX));
    if (module.data != NULL)
        return read_module(s, t, module, false);
    module = module_of(t->name, TEXT(PEFT_ADAPTER_LOOKUP_A));
    if (module.data != NULL)
        return read_module(s, t, module, true);
    for (size_t i = 0; i < COUNT_OF(others); i++) {
        if (module_of(t->name, text_of(others[i])).data != NULL) {
            s->rest++;
            return ERR_OK;
        }
    }
    return read_saved(s, t);
}

static enum err sort_tensors(struct peft_adapter *made, const char *path, struct err_text *et)
{
    struct peft_module *modules = arena_alloc(&made->arena, made->weights.count, sizeof *modules);
    struct peft_saved *saved = arena_alloc(&made->arena, made->weights.count, sizeof *saved);
    struct sorting sorting = {made, modules, saved, 0, path, et};
    size_t expected = 0;
    if (modules == NULL || saved == NULL)
        return error_set(et, ERR_OUT_OF_MEMORY, "%s: out of memory", path);
    made->modules = modules;
    made->saved = saved;
    for (size_t i = 0; i < made->weights.count; i++)
        TRY(read_tensor(&sorting, &made->weights.tensors[i]));
    for (size_t i = 0; i < made->count; i++)
        expected += made->modules[i].magnitude != NULL ? 2 : 1;
    if (sorting.rest != expected)
        return error_set(et, ERR_FORMAT,
                         "%s: expected %zu tensors lora_B and lora_magnitude_vector beside %zu "
                         "lora_A, found %zu",
                         path, expected, made->count, sorting.rest);
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
    TRY(safetensors_open(&made->weights, weights, et));
    return sort_tensors(made, weights, et);
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
