/* convert_name.c - the rows of model_family.def as tables, and a pattern with one number in it. */
#include "common/formats/convert/convert_name.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"

#define WEIGHT ".weight"
#define BIAS   ".bias"

enum { LAYER_DIGITS_MAX = 6 };

struct role_row {
    const char *gguf; /* without ending */
    enum convert_kind kind;
};

static const struct role_row roles[CONVERT_ROLE_COUNT] = {
#define CONVERT_ROLE(role, place, kind, rows, columns, gguf) {gguf, CONVERT_##kind},
    MODEL_ROLE_ROWS(CONVERT_ROLE)
#undef CONVERT_ROLE
};

enum family_id {
#define CONVERT_FAMILY(id, ...) ID_##id,
    MODEL_FAMILY_ROWS(CONVERT_FAMILY) MODEL_VARIANT_ROWS(CONVERT_FAMILY)
#undef CONVERT_FAMILY
};

struct convert_family {
    enum family_id id;
    const char *model_type;
    const char *names[CONVERT_ROLE_COUNT]; /* NULL: the family has no such tensor */
};

static const struct convert_family families[] = {
#define CONVERT_NAME(role, name)      [CONVERT_##role] = name,
#define CONVERT_FAMILY(id, type, ...) {ID_##id, type, {MODEL_NAMES_##id(CONVERT_NAME)}},
    MODEL_FAMILY_ROWS(CONVERT_FAMILY) MODEL_VARIANT_ROWS(CONVERT_FAMILY)
#undef CONVERT_FAMILY
#undef CONVERT_NAME
};

/* GGUF names that are a family's own. */
static const struct {
    enum family_id family;
    enum convert_role role;
    const char *name;
} own_names[] = {
#define CONVERT_OWN(family, role, name) {ID_##family, CONVERT_##role, name},
    MODEL_GGUF_NAME_ROWS(CONVERT_OWN)
#undef CONVERT_OWN
};

enum convert_kind convert_name_kind(enum convert_role role)
{
    return roles[role].kind;
}

bool convert_name_is_of_layer(enum convert_role role)
{
    return strstr(roles[role].gguf, "%u") != NULL;
}

const struct convert_family *convert_name_family(const struct gguf_arch *arch, size_t index)
{
    for (size_t i = 0; i < COUNT_OF(families); i++) {
        if (gguf_arch_means(arch, families[i].model_type) && index-- == 0)
            return &families[i];
    }
    return NULL;
}

const struct convert_family *convert_name_any(size_t index)
{
    return index < COUNT_OF(families) ? &families[index] : NULL;
}

static const char *gguf_of(const struct convert_family *family, enum convert_role role)
{
    for (size_t i = 0; i < COUNT_OF(own_names); i++) {
        if (own_names[i].family == family->id && own_names[i].role == role)
            return own_names[i].name;
    }
    return roles[role].gguf;
}

/* Whether `name` is `pattern`, whose "%u" stands for a number without leading zeros. */
static bool fits(struct text pattern, struct text name, uint32_t *layer)
{
    const char *mark = NULL;
    for (size_t i = 0; mark == NULL && i + 1 < pattern.size; i++) {
        if (pattern.data[i] == '%')
            mark = pattern.data + i;
    }
    *layer = 0;
    if (mark == NULL)
        return text_equal(pattern, name);
    size_t before = (size_t)(mark - pattern.data);
    size_t after = pattern.size - before - 2;
    if (name.size <= before + after || name.size - before - after > LAYER_DIGITS_MAX ||
        memcmp(name.data, pattern.data, before) != 0 ||
        memcmp(name.data + name.size - after, mark + 2, after) != 0)
        return false;
    for (size_t i = before; i < name.size - after; i++) {
        if (name.data[i] < '0' || name.data[i] > '9')
            return false;
        *layer = *layer * 10 + (uint32_t)(name.data[i] - '0');
    }
    return name.data[before] != '0' || name.size - before - after == 1;
}

/* Takes `ending` off the end of `name`. */
static bool cut_end(struct text *name, const char *ending)
{
    size_t size = strlen(ending);
    if (name->size < size || memcmp(name->data + name->size - size, ending, size) != 0)
        return false;
    name->size -= size;
    return true;
}

/* Takes `start` off the start of `name`. */
static bool cut_start(struct text *name, const char *start)
{
    size_t size = strlen(start);
    if (name->size < size || memcmp(name->data, start, size) != 0)
        return false;
    *name = (struct text){name->data + size, name->size - size};
    return true;
}

static bool find_hf(const struct convert_family *family, struct text stem,
                    struct convert_place *place)
{
    for (size_t i = 0; i < CONVERT_ROLE_COUNT; i++) {
        struct text pattern = text_of(family->names[i] != NULL ? family->names[i] : "");
        if (cut_end(&pattern, WEIGHT) && fits(pattern, stem, &place->layer)) {
            place->role = (enum convert_role)i;
            return true;
        }
    }
    return false;
}

bool convert_name_of_hf(const struct convert_family *family, struct text name,
                        struct convert_place *out)
{
    static const struct {
        const char *found, *meant;
    } starts[] = {
        {"", ""},
        {"", "transformer."},
        {"", "model."},
        {"language_model.", ""},
        {"model.language_model.", "model."},
    };
    struct convert_place place = {.is_bias = cut_end(&name, BIAS)};
    if (!place.is_bias && !cut_end(&name, WEIGHT))
        return false;
    for (size_t i = 0; i < COUNT_OF(starts); i++) {
        char whole[CONVERT_NAME_BYTES];
        struct text rest = name;
        if (!cut_start(&rest, starts[i].found))
            continue;
        int size = snprintf(whole, sizeof whole, "%s%.*s", starts[i].meant, TEXT_ARGS(rest));
        if (size < 0 || (size_t)size >= sizeof whole || !find_hf(family, text_of(whole), &place))
            continue;
        *out = place;
        return true;
    }
    return false;
}

bool convert_name_of_gguf(const struct convert_family *family, struct text name,
                          struct convert_place *out)
{
    struct convert_place place = {.is_bias = cut_end(&name, BIAS)};
    if (!place.is_bias && !cut_end(&name, WEIGHT))
        return false;
    for (size_t i = 0; i < CONVERT_ROLE_COUNT; i++) {
        place.role = (enum convert_role)i;
        if (family->names[i] == NULL || convert_name_is_part(family, place.role) ||
            !fits(text_of(gguf_of(family, place.role)), name, &place.layer))
            continue;
        *out = place;
        return true;
    }
    return false;
}

bool convert_name_is_part(const struct convert_family *family, enum convert_role role)
{
    if (role == CONVERT_QUERY || role == CONVERT_KEY || role == CONVERT_VALUE)
        return family->names[CONVERT_QUERY_KEY_VALUE] != NULL;
    if (role == CONVERT_GATE || role == CONVERT_UP)
        return family->names[CONVERT_GATE_UP] != NULL;
    return false;
}

bool convert_name_is_stored(const struct convert_family *family, enum convert_role role)
{
    return family->names[role] != NULL && !convert_name_is_part(family, role);
}

/* Puts the layer into a pattern. */
static void print_pattern(struct text pattern, uint32_t layer, const char *ending,
                          char out[CONVERT_NAME_BYTES])
{
    size_t before = 0;
    while (before < pattern.size && pattern.data[before] != '%')
        before++;
    if (before == pattern.size)
        (void)snprintf(out, CONVERT_NAME_BYTES, "%.*s%s", TEXT_ARGS(pattern), ending);
    else
        (void)snprintf(out, CONVERT_NAME_BYTES, "%.*s%" PRIu32 "%.*s%s", (int)before, pattern.data,
                       layer, (int)(pattern.size - before - 2), pattern.data + before + 2, ending);
}

void convert_name_print_hf(const struct convert_family *family, struct convert_place place,
                           char out[CONVERT_NAME_BYTES])
{
    ASSERT(family->names[place.role] != NULL);
    struct text pattern = text_of(family->names[place.role]);
    (void)cut_end(&pattern, WEIGHT);
    print_pattern(pattern, place.layer, place.is_bias ? BIAS : WEIGHT, out);
}

void convert_name_print_gguf(const struct convert_family *family, struct convert_place place,
                             char out[CONVERT_NAME_BYTES])
{
    ASSERT(family->names[place.role] != NULL);
    print_pattern(text_of(gguf_of(family, place.role)), place.layer, place.is_bias ? BIAS : WEIGHT,
                  out);
}

/* The layer in "blk.7.attn_q.weight", -1 outside the layers. */
static long layer_of(const char *name)
{
    static const char prefix[] = "blk.";
    if (strncmp(name, prefix, sizeof prefix - 1) != 0)
        return -1;
    return strtol(name + sizeof prefix - 1, NULL, 10);
}

int convert_name_compare(const char *a, const char *b)
{
    long left = layer_of(a);
    long right = layer_of(b);
    return left != right ? (left > right) - (left < right) : strcmp(a, b);
}
