/* convert_type.c - names to rows of block_format.def. */
#include "common/formats/convert/convert_type.h"

#include <string.h>

enum err convert_type_read(const struct convert_type_place *place, const char *name,
                           enum block_format *out, struct err_text *et)
{
    enum block_format format = block_format_named(text_of(name));
    if (format == BLOCK_FORMAT_COUNT)
        return error_set(et, place->wrong,
                         "%s: expected a tensor type (F16, Q8_0, Q6_K, ...), found %s", place->key,
                         name);
    *out = format;
    return ERR_OK;
}

enum err convert_type_read_exception(const struct convert_type_place *place, const char *pair,
                                     struct arena *arena, struct convert_exception *out,
                                     struct err_text *et)
{
    const char *equals = strrchr(pair, '=');
    struct convert_exception e;
    if (equals == NULL || equals == pair)
        return error_set(et, place->wrong, "%s: expected a pattern and a type, found %s",
                         place->key, pair);
    TRY(convert_type_read(place, equals + 1, &e.format, et));
    e.pattern = arena_copy_text(arena, (struct text){pair, (size_t)(equals - pair)});
    if (e.pattern == NULL)
        return error_set(et, ERR_OUT_OF_MEMORY, "out of memory");
    *out = e;
    return ERR_OK;
}
