/* fuzz_recipe.c - whatever is accepted has a canonical text that reads back to an equal recipe. */
#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/recipe/recipe.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct recipe_options options = {.file_name = "folder/fuzz.yml"};
    struct recipe recipe, again;
    struct err_text et;
    struct bytes text;
    if (recipe_read((struct span){data, size}, &options, &recipe, &et) != ERR_OK)
        return 0;
    bytes_init(&text, 16 << 20);
    recipe_write(&recipe, &text);
    enum err err = bytes_status(&text);
    ASSERT(err == ERR_OK);
    if (text.size <= LIMIT_RECIPE_BYTES) {
        err = recipe_parse(bytes_span(&text), &again, &et);
        ASSERT(err == ERR_OK);
        ASSERT(recipe_equal(&recipe, &again));
        recipe_fini(&again);
    }
    recipe_fini(&recipe);
    bytes_fini(&text);
    return 0;
}
