/* base_model.c - a damaged model costs its user a moment, not a queue, an upload and five attempts,
 * and is named by the path that its user knows. */
#include "cli/command/base_model.h"

#include "common/formats/hf/hf_config.h"
#include "common/formats/source/folder.h"
#include "common/formats/tokenizer/tokenizer.h"
#include "worker/engine/nn/model.h"

static enum err check_config(const char *folder, struct arena *arena, struct err_text *et)
{
    struct hf_config config;
    const char *path = folder_join(arena, folder, "config.json");
    if (path == NULL)
        return ERR_OUT_OF_MEMORY;
    return hf_config_open(&config, path, et);
}

enum err base_model_check(const struct recipe *recipe, struct arena *arena, struct err_text *et)
{
    struct model *model = NULL;
    struct tokenizer *tokenizer = NULL;
    const char *folder = recipe_path(recipe, recipe->base_model, arena);
    if (folder == NULL)
        return ERR_OUT_OF_MEMORY;
    if (recipe->random_init)
        TRY(check_config(folder, arena, et));
    else
        TRY(model_open(folder, &model, et));
    model_destroy(&model);
    TRY(tokenizer_open(folder, &tokenizer, et));
    tokenizer_close(&tokenizer);
    return ERR_OK;
}
