/* recipe_yaml.c - libyaml's events to nodes, with an explicit stack. */
#include "common/recipe/recipe_yaml.h"

#include <string.h>
#include <yaml.h>

#include "common/base/check.h"

struct builder {
    const char *file_name;
    struct arena *arena;
    struct err_text *et;
    struct recipe_node *root;
    struct recipe_node *stack[RECIPE_YAML_DEPTH_MAX];
    size_t depth;
    size_t node_count;
    size_t document_count;
    bool has_key; /* the open mapping waits for a value */
    struct text key;
    uint32_t key_line, key_column;
};

static uint32_t line_of(const yaml_mark_t *mark)
{
    return (uint32_t)mark->line + 1;
}

static uint32_t column_of(const yaml_mark_t *mark)
{
    return (uint32_t)mark->column + 1;
}

#define FAIL(b, code, mark, ...)                                                                   \
    error_prefix((b)->et, error_set((b)->et, (code), __VA_ARGS__), "%s:%u:%u", (b)->file_name,     \
                 line_of(mark), column_of(mark))

static enum err fail_syntax(const struct builder *b, const yaml_parser_t *parser)
{
    if (parser->error == YAML_MEMORY_ERROR)
        return ERR_OUT_OF_MEMORY;
    const char *problem = parser->problem != NULL ? parser->problem : "unreadable";
    if (parser->error == YAML_READER_ERROR)
        return error_set(b->et, ERR_RECIPE, "%s: not YAML: %s at byte %zu", b->file_name, problem,
                         parser->problem_offset);
    if (parser->context != NULL)
        return FAIL(b, ERR_RECIPE, &parser->problem_mark, "not YAML: %s (%s)", problem,
                    parser->context);
    return FAIL(b, ERR_RECIPE, &parser->problem_mark, "not YAML: %s", problem);
}

static enum err check_properties(const struct builder *b, const yaml_char_t *anchor,
                                 const yaml_char_t *tag, const yaml_mark_t *mark)
{
    if (anchor != NULL)
        return FAIL(b, ERR_RECIPE, mark, "anchors (&%s) are not supported; write the value out",
                    (const char *)anchor);
    if (tag != NULL)
        return FAIL(b, ERR_RECIPE, mark, "tags (%s) are not supported; types follow from the key",
                    (const char *)tag);
    return ERR_OK;
}

static enum err check_duplicate(const struct builder *b, const struct recipe_node *map,
                                struct text key, const yaml_mark_t *mark)
{
    for (const struct recipe_node *child = map->first; child != NULL; child = child->next) {
        if (text_equal(child->key, key))
            return FAIL(b, ERR_RECIPE, mark, "%s: given twice, first on line %u; remove one",
                        key.data, child->key_line);
    }
    return ERR_OK;
}

static enum err copy_scalar(const struct builder *b, const yaml_event_t *event, struct text *out)
{
    struct text raw = {(const char *)event->data.scalar.value, event->data.scalar.length};
    if (raw.size > 0 && memchr(raw.data, '\0', raw.size) != NULL)
        return FAIL(b, ERR_RECIPE, &event->start_mark, "expected text without NUL characters");
    const char *copy = arena_copy_text(b->arena, raw);
    if (copy == NULL)
        return ERR_OUT_OF_MEMORY;
    *out = (struct text){copy, raw.size};
    return ERR_OK;
}

static enum err take_key(struct builder *b, const yaml_event_t *event)
{
    struct recipe_node *map = b->stack[b->depth - 1];
    const yaml_mark_t *mark = &event->start_mark;
    if (event->type != YAML_SCALAR_EVENT)
        return FAIL(b, ERR_RECIPE, mark, "expected a key, found a list or a mapping");
    TRY(check_properties(b, event->data.scalar.anchor, event->data.scalar.tag, mark));
    struct text key;
    TRY(copy_scalar(b, event, &key));
    if (text_is(key, "<<"))
        return FAIL(b, ERR_RECIPE, mark, "merge keys (<<) are not supported; write the keys out");
    if (map->child_count >= RECIPE_YAML_KEYS_MAX)
        return FAIL(b, ERR_LIMIT, mark, "expected at most %d keys", RECIPE_YAML_KEYS_MAX);
    TRY(check_duplicate(b, map, key, mark));
    b->key = key;
    b->key_line = line_of(mark);
    b->key_column = column_of(mark);
    b->has_key = true;
    return ERR_OK;
}

/* Hangs a new node under the open container, or makes it the root. */
static enum err add_node(struct builder *b, const yaml_event_t *event, enum recipe_node_kind kind,
                         struct recipe_node **out)
{
    const yaml_mark_t *mark = &event->start_mark;
    if (++b->node_count > RECIPE_YAML_NODES_MAX)
        return FAIL(b, ERR_LIMIT, mark, "expected at most %d values", RECIPE_YAML_NODES_MAX);
    struct recipe_node *node = arena_alloc(b->arena, 1, sizeof *node);
    if (node == NULL)
        return ERR_OUT_OF_MEMORY;
    node->kind = kind;
    node->line = line_of(mark);
    node->column = column_of(mark);
    if (b->depth == 0) {
        b->root = node;
    } else {
        struct recipe_node *parent = b->stack[b->depth - 1];
        if (parent->kind == RECIPE_NODE_MAP) {
            node->key = b->key;
            node->key_line = b->key_line;
            node->key_column = b->key_column;
            b->has_key = false;
        }
        if (parent->last != NULL)
            parent->last->next = node;
        else
            parent->first = node;
        parent->last = node;
        parent->child_count++;
    }
    *out = node;
    return ERR_OK;
}

static enum err open_container(struct builder *b, const yaml_event_t *event,
                               enum recipe_node_kind kind)
{
    if (b->depth == RECIPE_YAML_DEPTH_MAX)
        return FAIL(b, ERR_LIMIT, &event->start_mark, "expected at most %d levels of nesting",
                    RECIPE_YAML_DEPTH_MAX);
    struct recipe_node *node;
    TRY(add_node(b, event, kind, &node));
    b->stack[b->depth++] = node;
    return ERR_OK;
}

static enum err take_event(struct builder *b, const yaml_event_t *event)
{
    bool starts = event->type == YAML_SCALAR_EVENT || event->type == YAML_SEQUENCE_START_EVENT ||
                  event->type == YAML_MAPPING_START_EVENT;
    if (event->type == YAML_ALIAS_EVENT)
        return FAIL(b, ERR_RECIPE, &event->start_mark,
                    "aliases (*%s) are not supported; write the value out",
                    (const char *)event->data.alias.anchor);
    if (starts && b->depth > 0 && b->stack[b->depth - 1]->kind == RECIPE_NODE_MAP && !b->has_key)
        return take_key(b, event);
    if (event->type == YAML_SCALAR_EVENT) {
        TRY(check_properties(b, event->data.scalar.anchor, event->data.scalar.tag,
                             &event->start_mark));
        struct text text;
        TRY(copy_scalar(b, event, &text));
        struct recipe_node *node;
        TRY(add_node(b, event, RECIPE_NODE_SCALAR, &node));
        node->text = text;
        node->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    } else if (event->type == YAML_SEQUENCE_START_EVENT) {
        TRY(check_properties(b, event->data.sequence_start.anchor, event->data.sequence_start.tag,
                             &event->start_mark));
        TRY(open_container(b, event, RECIPE_NODE_LIST));
    } else if (event->type == YAML_MAPPING_START_EVENT) {
        TRY(check_properties(b, event->data.mapping_start.anchor, event->data.mapping_start.tag,
                             &event->start_mark));
        TRY(open_container(b, event, RECIPE_NODE_MAP));
    } else if (event->type == YAML_SEQUENCE_END_EVENT || event->type == YAML_MAPPING_END_EVENT) {
        b->depth--;
    } else if (event->type == YAML_DOCUMENT_START_EVENT && ++b->document_count > 1) {
        return FAIL(b, ERR_RECIPE, &event->start_mark,
                    "expected one document, found a second; one recipe a file");
    }
    return ERR_OK;
}

enum err recipe_yaml_parse(struct span text, const char *file_name, struct arena *arena,
                           struct recipe_node **root, struct err_text *et)
{
    yaml_parser_t parser;
    if (yaml_parser_initialize(&parser) == 0)
        return ERR_OUT_OF_MEMORY;
    static const uint8_t nothing[1] = {0};
    yaml_parser_set_input_string(&parser, text.size > 0 ? text.data : nothing, text.size);
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    struct builder b = {.file_name = file_name, .arena = arena, .et = et};
    enum err err = ERR_OK;
    bool at_end = false;
    while (err == ERR_OK && !at_end) {
        yaml_event_t event;
        if (yaml_parser_parse(&parser, &event) == 0) {
            err = fail_syntax(&b, &parser);
            break;
        }
        at_end = event.type == YAML_STREAM_END_EVENT;
        err = take_event(&b, &event);
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    if (err == ERR_OK)
        *root = b.root;
    return err;
}
