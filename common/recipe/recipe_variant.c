/* recipe_variant.c - numbers in a mixed base: a digit a list. */
#include "common/recipe/recipe_variant.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/json/json_float.h"
#include "common/recipe/recipe_schema.h"

static uint32_t length_of(const struct recipe *recipe, size_t list)
{
    return MAX(recipe->lists[list].count, 1u);
}

uint32_t recipe_variant_count(const struct recipe *recipe)
{
    uint32_t count = 1;
    for (size_t list = 0; list < RECIPE_LIST_COUNT; list++)
        count *= length_of(recipe, list);
    return count;
}

uint32_t recipe_variant_place(const struct recipe *recipe, uint32_t variant, enum recipe_list list)
{
    for (size_t last = RECIPE_LIST_COUNT - 1; last > (size_t)list; last--)
        variant /= length_of(recipe, last);
    return variant % length_of(recipe, list);
}

void recipe_variant_choose(struct recipe *recipe, uint32_t variant)
{
    const struct recipe_shape *shape = recipe_schema_root();
    uint32_t places[RECIPE_LIST_COUNT];
    ASSERT(variant < recipe_variant_count(recipe));
    for (size_t list = 0; list < RECIPE_LIST_COUNT; list++)
        places[list] = recipe_variant_place(recipe, variant, (enum recipe_list)list);
    for (size_t list = 0; list < RECIPE_LIST_COUNT; list++) {
        struct recipe_values *values = &recipe->lists[list];
        size_t offset = shape->fields[recipe_schema_key((enum recipe_list)list)].offset;
        if (values->count > 0)
            memcpy((char *)recipe + offset, &values->values[places[list]], sizeof *values->values);
        values->count = 0;
    }
}

enum err recipe_variant_parse(struct span text, uint32_t variant, struct recipe *recipe,
                              struct err_text *et)
{
    struct recipe made;
    TRY(recipe_parse(text, &made, et));
    uint32_t count = recipe_variant_count(&made);
    if (variant >= count) {
        recipe_fini(&made);
        return error_set(et, ERR_RECIPE, "the recipe has %u variants, and no number %u", count,
                         variant);
    }
    recipe_variant_choose(&made, variant);
    *recipe = made;
    return ERR_OK;
}

const char *recipe_variant_name(const struct recipe *recipe, uint32_t variant,
                                char out[RECIPE_VARIANT_NAME_BYTES])
{
    size_t used = 0;
    out[0] = '\0';
    for (size_t list = 0; list < RECIPE_LIST_COUNT; list++) {
        enum recipe_key key = recipe_schema_key((enum recipe_list)list);
        const struct recipe_values *values = &recipe->lists[list];
        char number[JSON_FLOAT_BYTES];
        if (values->count == 0)
            continue;
        uint32_t place = recipe_variant_place(recipe, variant, (enum recipe_list)list);
        if (recipe_schema_root()->fields[key].kind == RECIPE_KIND_F64)
            (void)json_float_print_f64(values->values[place].f64, number);
        else
            (void)snprintf(number, sizeof number, "%" PRIu64, values->values[place].u64);
        int size = snprintf(out + used, RECIPE_VARIANT_NAME_BYTES - used, "%s%s=%s",
                            used > 0 ? "," : "", recipe_key_name(key), number);
        used = MIN(used + (size_t)MAX(size, 0), (size_t)RECIPE_VARIANT_NAME_BYTES - 1);
    }
    return out;
}
