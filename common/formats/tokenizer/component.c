/* component.c - see component.h. */
#include "common/formats/tokenizer/component.h"

static enum err read_nested(struct json_value value, const char *list, component_read_f read,
                            void *context, int depth, struct err_text *et)
{
    struct text type;
    struct json_value steps;
    if (json_read_type(value) == JSON_READ_NULL || json_read_is_absent(value))
        return ERR_OK;
    TRY(json_read_text(value, "type", &type, et));
    if (!text_is(type, "Sequence"))
        return read(context, type, value, et);
    if (depth == COMPONENT_DEPTH_MAX)
        return json_read_wrong(value, "Sequences nested less deeply", et);
    TRY(json_read_array(value, list, &steps, et));
    for (size_t i = 0; i < json_read_count(steps); i++)
        TRY(read_nested(json_read_item(steps, i), list, read, context, depth + 1, et));
    return ERR_OK;
}

enum err component_read(struct json_value value, const char *list, component_read_f read,
                        void *context, struct err_text *et)
{
    return read_nested(value, list, read, context, 0, et);
}

enum err component_copy_text(struct arena *arena, struct text from, struct text *out)
{
    char *copy = arena_copy_text(arena, from);
    if (copy == NULL)
        return ERR_OUT_OF_MEMORY;
    *out = (struct text){copy, from.size};
    return ERR_OK;
}
