/* module_change.c - see module_change.h. */
#include "cli/command/module_change.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/safetensors/safetensors.h"
#include "schemas/state_file.def"

/* Sums of squares while they grow, in the members of a row. */
struct sums {
    struct text module;
    uint64_t parameters;
    double before, after, difference;
    bool in_before, in_after, fits;
};

static bool is_weight(struct text name)
{
    size_t size = sizeof STATE_FILE_WEIGHT - 1;
    return name.size > size && memcmp(name.data, STATE_FILE_WEIGHT, size) == 0;
}

/* "weight.model.layers.0.q_proj.lora_A.weight" is of model.layers.0.q_proj. */
static struct text module_of(struct text name)
{
    static const char *const ends[] = {".weight", ".bias"};
    size_t skip = sizeof STATE_FILE_WEIGHT - 1;
    struct text module = {name.data + skip, name.size - skip};
    for (size_t i = 0; i < COUNT_OF(ends); i++) {
        size_t size = strlen(ends[i]);
        if (module.size > size && memcmp(module.data + module.size - size, ends[i], size) == 0)
            module.size -= size;
    }
    const char *factors[] = {".lora_", ".magnitude", ".lora_embedding_"};
    for (size_t at = module.size; at-- > 1;) {
        if (module.data[at] != '.')
            continue;
        for (size_t i = 0; i < COUNT_OF(factors); i++) {
            size_t size = strlen(factors[i]);
            if (module.size - at > size && memcmp(module.data + at, factors[i], size) == 0)
                module.size = at;
        }
        break; /* only the last part */
    }
    return module;
}

static double value_at(struct span data, size_t index)
{
    float value;
    memcpy(&value, data.data + index * sizeof value, sizeof value);
    return (double)value;
}

static void add(struct sums *s, const struct safetensor *a, const struct safetensor *b)
{
    size_t count_a = a == NULL ? 0 : a->data.size / sizeof(float);
    size_t count_b = b == NULL ? 0 : b->data.size / sizeof(float);
    bool fits = count_a == count_b;
    s->in_before |= a != NULL;
    s->in_after |= b != NULL;
    s->fits &= fits;
    s->parameters += MAX(count_a, count_b);
    for (size_t i = 0; i < MAX(count_a, count_b); i++) {
        double x = i < count_a ? value_at(a->data, i) : 0;
        double y = i < count_b ? value_at(b->data, i) : 0;
        s->before += x * x;
        s->after += y * y;
        s->difference += fits ? (x - y) * (x - y) : 0;
    }
}

static struct sums *sums_of(struct sums *sums, uint32_t *count, struct text module)
{
    for (uint32_t i = *count; i-- > 0;) { /* tensors of a module follow each other */
        if (text_equal(sums[i].module, module))
            return &sums[i];
    }
    if (*count == LIMIT_LIST_ROWS)
        return NULL;
    sums[*count] = (struct sums){.module = module, .fits = true};
    return &sums[(*count)++];
}

static void add_all(const struct safetensors *before, const struct safetensors *after,
                    struct sums *sums, uint32_t *count)
{
    for (size_t i = 0; i < before->count; i++) {
        const struct safetensor *a = &before->tensors[i];
        struct sums *s = is_weight(a->name) ? sums_of(sums, count, module_of(a->name)) : NULL;
        if (s != NULL)
            add(s, a, safetensors_find(after, a->name));
    }
    for (size_t i = 0; i < after->count; i++) {
        const struct safetensor *b = &after->tensors[i];
        bool is_new = is_weight(b->name) && safetensors_find(before, b->name) == NULL;
        struct sums *s = is_new ? sums_of(sums, count, module_of(b->name)) : NULL;
        if (s != NULL)
            add(s, NULL, b);
    }
}

static int compare(const void *a, const void *b)
{
    const struct module_change *left = a, *right = b;
    bool has_left = isfinite(left->change), has_right = isfinite(right->change);
    if (has_left != has_right)
        return has_left ? -1 : 1;
    if (has_left && (left->change > right->change || left->change < right->change))
        return left->change > right->change ? -1 : 1;
    size_t size = MIN(left->module.size, right->module.size);
    int order = memcmp(left->module.data, right->module.data, size);
    return order != 0 ? order
                      : (left->module.size > right->module.size) -
                            (left->module.size < right->module.size);
}

static enum err fill(const struct safetensors *before, const struct safetensors *after,
                     struct arena *arena, struct module_change **rows, uint32_t *count)
{
    struct sums *sums = arena_alloc(arena, LIMIT_LIST_ROWS, sizeof *sums);
    *count = 0;
    if (sums == NULL)
        return ERR_OUT_OF_MEMORY;
    add_all(before, after, sums, count);
    *rows = arena_alloc(arena, *count, sizeof **rows);
    if (*rows == NULL)
        return ERR_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < *count; i++) {
        const struct sums *s = &sums[i];
        const char *name = arena_copy_text(arena, s->module);
        if (name == NULL)
            return ERR_OUT_OF_MEMORY;
        bool is_both = s->in_before && s->in_after && s->fits;
        (*rows)[i] = (struct module_change){
            .module = {name, s->module.size},
            .parameters = s->parameters,
            .norm_before = s->in_before ? sqrt(s->before) : (double)NAN,
            .norm_after = s->in_after ? sqrt(s->after) : (double)NAN,
            .change = is_both && s->before > 0 ? sqrt(s->difference / s->before) : (double)NAN};
    }
    if (*count > 0)
        qsort(*rows, *count, sizeof **rows, compare);
    return ERR_OK;
}

enum err module_change_list(struct span before, struct span after, struct arena *arena,
                            struct module_change **rows, uint32_t *count, struct err_text *et)
{
    struct safetensors a, b;
    TRY(safetensors_parse(&a, before, "the first checkpoint", et));
    enum err err = safetensors_parse(&b, after, "the second checkpoint", et);
    if (err == ERR_OK) {
        err = fill(&a, &b, arena, rows, count);
        safetensors_close(&b);
    }
    safetensors_close(&a);
    return err;
}
