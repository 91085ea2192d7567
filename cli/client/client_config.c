/* client_config.c - a mapping of texts, by the rows of client.def. */
#include "cli/client/client_config.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "common/base/check.h"
#include "common/base/nearest.h"
#include "common/formats/source/file.h"
#include "common/mem/bytes.h"
#include "common/recipe/recipe_yaml.h"

enum { FILE_BYTES_MAX = 1 << 16 };

struct row {
    const char *name, *help;
    size_t offset; /* of the member */
    bool is_path;
};

enum { KIND_TEXT, KIND_PATH };

#define ROW(kind, name, help)                                                                      \
    {#name, help, offsetof(struct client_config, name), KIND_##kind == KIND_PATH},
static const struct row rows[] = {CLIENT_CONFIG_ROWS(ROW)};
#undef ROW

const char *client_config_key(size_t index, const char **help)
{
    if (index >= COUNT_OF(rows))
        return NULL;
    *help = rows[index].help;
    return rows[index].name;
}

const char *client_config_folder(const struct client_config_places *places, struct arena *arena)
{
    if (places->config_home != NULL && places->config_home[0] == '/')
        return arena_print(arena, "%s/qfleet", places->config_home);
    if (places->home != NULL && places->home[0] != '\0')
        return arena_print(arena, "%s/.config/qfleet", places->home);
    return NULL;
}

/* The file that counts, NULL when there is none. */
static const char *find_file(const struct client_config_places *places, struct arena *arena)
{
    if (places->file != NULL)
        return places->file[0] != '\0' ? places->file : NULL;
    const char *folder = client_config_folder(places, arena);
    const char *own = folder != NULL ? arena_print(arena, "%s/client.yml", folder) : NULL;
    if (own != NULL && access(own, F_OK) == 0)
        return own;
    return access(CLIENT_CONFIG_SYSTEM "/client.yml", F_OK) == 0 ? CLIENT_CONFIG_SYSTEM
               "/client.yml"
                                                                 : NULL;
}

static const struct row *find_row(struct text key)
{
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        if (text_is(key, rows[i].name))
            return &rows[i];
    }
    return NULL;
}

static enum err fail_key(const char *file, const struct recipe_node *node, struct err_text *et)
{
    struct nearest nearest = {0};
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        nearest_offer(&nearest, node->key, rows[i].name);
    return error_set(et, ERR_RECIPE, "%s:%u:%u: %.*s: unknown key%s%s%s", file, node->key_line,
                     node->key_column, TEXT_ARGS(node->key),
                     nearest.word != NULL ? "; did you mean " : "; see man qctl",
                     nearest.word != NULL ? nearest.word : "", nearest.word != NULL ? "?" : "");
}

static enum err take(struct client_config *config, const struct recipe_node *node,
                     struct arena *arena, struct err_text *et)
{
    const struct row *row = find_row(node->key);
    if (row == NULL)
        return fail_key(config->file, node, et);
    if (node->kind != RECIPE_NODE_SCALAR || node->text.size == 0)
        return error_set(et, ERR_RECIPE, "%s:%u:%u: %s: expected a text", config->file, node->line,
                         node->column, row->name);
    const char *slash = strrchr(config->file, '/');
    const char *value = node->text.data;
    if (row->is_path && value[0] != '/' && slash != NULL)
        value = arena_print(arena, "%.*s/%s", (int)(slash - config->file), config->file, value);
    else
        value = arena_copy_text(arena, node->text);
    if (value == NULL)
        return ERR_OUT_OF_MEMORY;
    memcpy((char *)config + row->offset, &value, sizeof value);
    return ERR_OK;
}

enum err client_config_read(const struct client_config_places *places, struct arena *arena,
                            struct client_config *out, struct err_text *et)
{
    struct client_config config = {.file = find_file(places, arena)};
    struct recipe_node *root = NULL;
    struct bytes content;
    *out = (struct client_config){0};
    if (config.file == NULL)
        return ERR_OK;
    bytes_init(&content, FILE_BYTES_MAX);
    enum err err;
    TRY_OUT(file_read(config.file, FILE_BYTES_MAX, &content, et));
    TRY_OUT(recipe_yaml_parse(bytes_span(&content), config.file, arena, &root, et));
    if (root != NULL && root->kind != RECIPE_NODE_MAP)
        TRY_OUT(error_set(et, ERR_RECIPE, "%s:%u:%u: expected keys with values", config.file,
                          root->line, root->column));
    for (const struct recipe_node *node = root != NULL ? root->first : NULL; node != NULL;
         node = node->next)
        TRY_OUT(take(&config, node, arena, et));
    *out = config;
out:
    bytes_fini(&content);
    return err;
}
