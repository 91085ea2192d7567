/* plan_reuse.c - the table of keys, and a walk over canonical lines. */
#include "coordinator/plan/plan_reuse.h"

#include <stdio.h>
#include <string.h>

#include "common/base/check.h"

enum { PATH_BYTES = 128 };

/* A key of the recipe, or of an object or list in it; `beside` another key of the recipe alone
 * where that is not NULL. */
static const struct reuse_row {
    enum stage_kind kind;
    const char *key;
    const char *beside;
} reuse_rows[] = {
    {STAGE_KIND_CALIBRATE, "quantize.activations", NULL},
    /* How the base is stored; and where training goes on from an adapter, what that one computes.
     */
    {STAGE_KIND_REFERENCE, "load_in_4bit", NULL},
    {STAGE_KIND_REFERENCE, "load_in_8bit", NULL},
    {STAGE_KIND_REFERENCE, "bnb_4bit_quant_type", NULL},
    {STAGE_KIND_REFERENCE, "bnb_4bit_use_double_quant", NULL},
    {STAGE_KIND_REFERENCE, "adapter", "lora_model_dir"},
    {STAGE_KIND_REFERENCE, "alpha_pattern", "lora_model_dir"},
    {STAGE_KIND_REFERENCE, "lora_alpha", "lora_model_dir"},
    {STAGE_KIND_REFERENCE, "lora_modules_to_save", "lora_model_dir"},
    {STAGE_KIND_REFERENCE, "lora_r", "lora_model_dir"},
    {STAGE_KIND_REFERENCE, "lora_target_linear", "lora_model_dir"},
    {STAGE_KIND_REFERENCE, "lora_target_modules", "lora_model_dir"},
    {STAGE_KIND_REFERENCE, "peft_use_dora", "lora_model_dir"},
    {STAGE_KIND_REFERENCE, "peft_use_rslora", "lora_model_dir"},
    {STAGE_KIND_REFERENCE, "qat", "lora_model_dir"},
    {STAGE_KIND_REFERENCE, "rank_pattern", "lora_model_dir"},
};

/* Takes a line with its end from what is left of a recipe. */
static struct text take_line(struct text *rest)
{
    const char *newline = memchr(rest->data, '\n', rest->size);
    size_t size = newline == NULL ? rest->size : (size_t)(newline - rest->data) + 1;
    struct text line = {rest->data, size};
    *rest = (struct text){rest->data + size, rest->size - size};
    return line;
}

/* A model that is made from its config alone hangs on the seed, and who knows on what else. */
static bool is_random(struct text recipe)
{
    while (recipe.size > 0) {
        if (text_is(take_line(&recipe), "random_init: true\n"))
            return true;
    }
    return false;
}

/* "key: value" or "key:", indented or not; whatever else a line is has no name. */
static struct text key_of(struct text line)
{
    size_t begin = 0;
    while (begin < line.size && line.data[begin] == ' ')
        begin++;
    size_t end = begin;
    while (end < line.size && line.data[end] != ':' && line.data[end] != ' ')
        end++;
    bool is_key = end < line.size && line.data[end] == ':';
    return is_key ? (struct text){line.data + begin, end - begin} : (struct text){0};
}

/* Whether anything is said of the kind. */
static bool is_listed(enum stage_kind kind)
{
    for (size_t i = 0; i < COUNT_OF(reuse_rows); i++) {
        if (reuse_rows[i].kind == kind)
            return true;
    }
    return false;
}

static bool has_key(struct text recipe, const char *key)
{
    while (recipe.size > 0) {
        struct text line = take_line(&recipe);
        if (line.data[0] != ' ' && text_is(key_of(line), key))
            return true;
    }
    return false;
}

/* "key" or "key." and what lies in it. */
static bool is_within(const char *path, const char *key)
{
    size_t size = strlen(key);
    return strncmp(path, key, size) == 0 && (path[size] == '\0' || path[size] == '.');
}

static bool matters(struct text recipe, enum stage_kind kind, const char *path)
{
    for (size_t i = 0; i < COUNT_OF(reuse_rows); i++) {
        if (reuse_rows[i].kind == kind && is_within(path, reuse_rows[i].key) &&
            (reuse_rows[i].beside == NULL || has_key(recipe, reuse_rows[i].beside)))
            return true;
    }
    return false;
}

struct digest plan_reuse_key(struct span recipe, uint32_t variant, enum stage_kind kind)
{
    struct text whole = {(const char *)recipe.data, recipe.size}, rest = whole;
    struct text object = {0};
    struct digest key = {{0}};
    bool is_whole = is_random(rest) || !is_listed(kind);
    while (rest.size > 0) {
        struct text line = take_line(&rest);
        struct text name = key_of(line);
        bool is_inner = line.data[0] == ' ';
        char path[PATH_BYTES];
        if (!is_inner)
            object = name;
        (void)snprintf(path, sizeof path, "%.*s%s%.*s", TEXT_ARGS(is_inner ? object : name),
                       is_inner ? "." : "", TEXT_ARGS(is_inner ? name : TEXT("")));
        if (is_whole || matters(whole, kind, path))
            key = digest_link(key, (struct span){(const uint8_t *)line.data, line.size});
    }
    if (is_whole && variant > 0)
        key = digest_link(key, (struct span){(const uint8_t *)&variant, sizeof variant});
    return key;
}
