/* recipe.c - a recipe from its text, and the few facts that several parts derive from it. */
#include "common/recipe/recipe.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/recipe/recipe_check.h"
#include "common/recipe/recipe_load.h"
#include "common/recipe/recipe_yaml.h"

enum { ARENA_BYTES_MAX = 32 << 20 };

/* "key=value" as the YAML text "key: value", dashes of the key turned into underscores. */
static enum err load_set(struct recipe_load *load, const char *set)
{
    struct err_text *et = load->et;
    const char *equals = strchr(set, '=');
    if (equals == NULL || equals == set)
        return error_set(et, ERR_USAGE, "--set %s: expected KEY=VALUE", set);
    char *text =
        arena_print(&load->recipe->arena, "%.*s: %s", (int)(equals - set), set, equals + 1);
    if (text == NULL)
        return ERR_OUT_OF_MEMORY;
    for (char *at = text; at < text + (equals - set); at++)
        *at = *at == '-' ? '_' : *at;
    struct recipe_node *root = NULL;
    TRY(recipe_yaml_parse(span_of_text(text_of(text)), "--set", &load->recipe->arena, &root, et));
    ASSERT(root != NULL);
    if (root->kind != RECIPE_NODE_MAP || root->child_count != 1)
        return error_set(et, ERR_USAGE, "--set %s: expected KEY=VALUE", set);
    load->place_name = "--set";
    load->source = RECIPE_FLAG;
    return recipe_load_root(load, root);
}

static enum err load_text(struct recipe_load *load, struct span text)
{
    struct recipe *recipe = load->recipe;
    if (text.size > LIMIT_RECIPE_BYTES)
        return error_set(load->et, ERR_LIMIT, "%s: expected at most %d bytes, found %zu",
                         recipe->file_name, LIMIT_RECIPE_BYTES, text.size);
    struct recipe_node *root = NULL;
    TRY(recipe_yaml_parse(text, recipe->file_name, &recipe->arena, &root, load->et));
    if (root == NULL)
        return error_set(load->et, ERR_RECIPE, "%s: expected keys, found an empty document",
                         recipe->file_name);
    load->place_name = recipe->file_name;
    load->source = RECIPE_FILE;
    return recipe_load_root(load, root);
}

/* Folder part of a file name, "" when there is none. */
static const char *directory_of(struct arena *arena, const char *file_name)
{
    const char *slash = strrchr(file_name, '/');
    if (slash == NULL)
        return "";
    size_t size = slash == file_name ? 1 : (size_t)(slash - file_name);
    return arena_copy_text(arena, (struct text){file_name, size});
}

static enum err read_into(struct recipe_load *load, struct span text,
                          const struct recipe_options *options)
{
    struct recipe *recipe = load->recipe;
    const char *name = options->file_name != NULL ? options->file_name : "recipe";
    recipe->file_name = arena_copy_text(&recipe->arena, text_of(name));
    recipe->directory = directory_of(&recipe->arena, name);
    if (recipe->file_name == NULL || recipe->directory == NULL)
        return ERR_OUT_OF_MEMORY;
    TRY(load_text(load, text));
    for (size_t i = 0; i < options->set_count; i++)
        TRY(load_set(load, options->sets[i]));
    TRY(recipe_check_given(load));
    TRY(recipe_load_defaults(load));
    TRY(recipe_check_settled(load));
    return recipe_load_finish(load);
}

enum err recipe_read(struct span text, const struct recipe_options *options, struct recipe *recipe,
                     struct err_text *et)
{
    struct recipe made = {0};
    arena_init(&made.arena, ARENA_BYTES_MAX);
    struct recipe_load load = {.recipe = &made, .arena = &made.arena, .et = et};
    enum err err = read_into(&load, text, options);
    if (err == ERR_OUT_OF_MEMORY)
        (void)error_set(et, err, "recipe: out of memory");
    if (err == ERR_OK)
        *recipe = made;
    else
        recipe_fini(&made);
    return err;
}

enum err recipe_parse(struct span text, struct recipe *recipe, struct err_text *et)
{
    const struct recipe_options options = {.file_name = "recipe"};
    TRY(recipe_read(text, &options, recipe, et));
    recipe->notice_count = 0;
    return ERR_OK;
}

void recipe_fini(struct recipe *recipe)
{
    arena_fini(&recipe->arena);
    memset(recipe, 0, sizeof *recipe);
}

uint64_t recipe_step_count(const struct recipe *recipe, uint64_t train_rows)
{
    if (recipe_is_set(recipe, RECIPE_KEY_max_steps))
        return recipe->max_steps;
    double rows = recipe->num_epochs * (double)train_rows;
    double steps = ceil(rows / (double)recipe_round_rows(recipe));
    return (uint64_t)fmin(fmax(steps, 1), 0x1p53);
}

uint64_t recipe_warmup_steps(const struct recipe *recipe, uint64_t step_count)
{
    if (recipe_is_set(recipe, RECIPE_KEY_warmup_steps))
        return recipe->warmup_steps;
    return (uint64_t)ceil(recipe->warmup_ratio * (double)step_count);
}

const char *recipe_profile_name(const struct recipe *recipe)
{
    return recipe->profile == RECIPE_PROFILE_BLAS ? "blas" : "f32/1";
}

const char *recipe_path(const struct recipe *recipe, const char *path, struct arena *arena)
{
    if (path[0] == '/' || recipe->directory[0] == '\0')
        return arena_copy_text(arena, text_of(path));
    const char *slash = strcmp(recipe->directory, "/") == 0 ? "" : "/";
    return arena_print(arena, "%s%s%s", recipe->directory, slash, path);
}

enum recipe_perplexity recipe_perplexity_settled(const struct recipe *recipe)
{
    if (recipe->perplexity != RECIPE_PERPLEXITY_AUTO)
        return recipe->perplexity;
    return recipe_quantizes(recipe) ? RECIPE_PERPLEXITY_WINDOWS : RECIPE_PERPLEXITY_ROWS;
}

bool recipe_streams(const struct recipe *recipe)
{
    return recipe_perplexity_settled(recipe) != RECIPE_PERPLEXITY_ROWS;
}
