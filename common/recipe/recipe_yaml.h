/* recipe_yaml.h - YAML text to a tree of nodes with places; no types, no meaning.
 *
 * Refused, each with line and column: more than one document, anchors and aliases, tags, keys that
 * are not plain words, a key given twice, NUL characters, depth and node counts above the bounds.
 * The only file that knows libyaml.
 */
#ifndef COMMON_RECIPE_RECIPE_YAML_H
#define COMMON_RECIPE_RECIPE_YAML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/base/span.h"
#include "common/mem/arena.h"

enum {
    RECIPE_YAML_DEPTH_MAX = 8,
    RECIPE_YAML_NODES_MAX = 1 << 16,
    RECIPE_YAML_KEYS_MAX = 512, /* of one mapping */
};

enum recipe_node_kind { RECIPE_NODE_SCALAR, RECIPE_NODE_LIST, RECIPE_NODE_MAP };

struct recipe_node {
    enum recipe_node_kind kind;
    bool quoted;                   /* SCALAR: '...', "...", | or > */
    uint32_t line, column;         /* from 1 */
    uint32_t key_line, key_column; /* in a mapping */
    struct text key;               /* in a mapping; terminated */
    struct text text;              /* SCALAR; terminated */
    struct recipe_node *first;     /* LIST, MAP */
    struct recipe_node *last;
    struct recipe_node *next; /* sibling */
    size_t child_count;
};

/* Parses one document. Nodes and texts live in `arena`; `file_name` is for messages. *root is NULL
 * for an empty document. ERR_RECIPE, ERR_LIMIT, ERR_OUT_OF_MEMORY with text. */
MUST_CHECK enum err recipe_yaml_parse(struct span text, const char *file_name, struct arena *arena,
                                      struct recipe_node **root, struct err_text *et);

#endif
