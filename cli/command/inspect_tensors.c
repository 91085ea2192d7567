/* inspect_tensors.c - see inspect_tensors.h. */
#include "cli/command/inspect_tensors.h"

#include <inttypes.h>
#include <string.h>

#include "cli/render/human.h"
#include "cli/render/table.h"
#include "common/base/check.h"
#include "common/mem/mem.h"

enum { TYPES_MAX = 64, SHAPE_BYTES = 128 };

/* What the tensors of one type are together. */
struct group {
    const char *type;
    uint64_t tensor_count;
    uint64_t element_count;
    uint64_t size_bytes;
};

static enum err make_room(struct inspect_tensors *out, size_t count)
{
    *out = (struct inspect_tensors){.rows = mem_alloc(MAX(count, (size_t)1), sizeof *out->rows)};
    return out->rows != NULL ? ERR_OK : ERR_OUT_OF_MEMORY;
}

static void add(struct inspect_tensors *out, struct inspect_tensor row)
{
    out->rows[out->count++] = row;
    out->element_count += row.element_count;
    out->size_bytes += row.size_bytes;
}

enum err inspect_tensors_of_safetensors(const struct safetensors *file, struct inspect_tensors *out)
{
    TRY(make_room(out, file->count));
    for (size_t i = 0; i < file->count; i++) {
        const struct safetensor *t = &file->tensors[i];
        add(out, (struct inspect_tensor){.name = t->name,
                                         .type = safetensors_dtype_name(t->dtype),
                                         .rank = t->rank,
                                         .shape = t->shape,
                                         .element_count = safetensors_element_count(t),
                                         .size_bytes = t->data.size});
    }
    return ERR_OK;
}

enum err inspect_tensors_of_gguf(const struct gguf *file, struct inspect_tensors *out)
{
    TRY(make_room(out, file->tensor_count));
    for (size_t i = 0; i < file->tensor_count; i++) {
        const struct gguf_tensor *t = &file->tensors[i];
        add(out, (struct inspect_tensor){.name = t->name,
                                         .type = block_format_name(t->format),
                                         .rank = t->rank,
                                         .shape = t->shape,
                                         .element_count = gguf_element_count(t),
                                         .size_bytes = t->data.size});
    }
    return ERR_OK;
}

void inspect_tensors_fini(struct inspect_tensors *tensors)
{
    mem_free(tensors->rows);
    *tensors = (struct inspect_tensors){0};
}

/* The types there are, largest first. */
static size_t group(const struct inspect_tensors *tensors, struct group groups[TYPES_MAX])
{
    size_t count = 0;
    for (size_t i = 0; i < tensors->count; i++) {
        const struct inspect_tensor *t = &tensors->rows[i];
        size_t g = 0;
        while (g < count && strcmp(groups[g].type, t->type) != 0)
            g++;
        ASSERT(g < TYPES_MAX);
        if (g == count)
            groups[count++] = (struct group){.type = t->type};
        groups[g].tensor_count++;
        groups[g].element_count += t->element_count;
        groups[g].size_bytes += t->size_bytes;
    }
    for (size_t i = 1; i < count; i++)
        for (size_t k = i; k > 0 && groups[k].size_bytes > groups[k - 1].size_bytes; k--) {
            struct group swapped = groups[k];
            groups[k] = groups[k - 1];
            groups[k - 1] = swapped;
        }
    return count;
}

enum err inspect_tensors_print_types(const struct inspect_tensors *tensors,
                                     struct invocation *invocation)
{
    static const struct table_column columns[] = {{"TYPE", TABLE_LEFT},
                                                  {"TENSORS", TABLE_RIGHT},
                                                  {"ELEMENTS", TABLE_RIGHT},
                                                  {"SIZE", TABLE_RIGHT}};
    struct group groups[TYPES_MAX];
    struct table table;
    char text[HUMAN_BYTES];
    size_t count = group(tensors, groups);
    table_init(&table, columns, COUNT_OF(columns));
    for (size_t i = 0; i < count; i++) {
        table_row(&table);
        table_cell(&table, 0, STYLE_PLAIN, "%s", groups[i].type);
        table_cell(&table, 1, STYLE_PLAIN, "%s", human_count(groups[i].tensor_count, text));
        table_cell(&table, 2, STYLE_PLAIN, "%s", human_count(groups[i].element_count, text));
        table_cell(&table, 3, STYLE_PLAIN, "%s", human_size(groups[i].size_bytes, text));
    }
    enum err err = table_print(&table, &invocation->style, invocation->header, invocation->out);
    table_fini(&table);
    return err;
}

/* "4096 x 32000", "scalar". */
static const char *shape_text(const struct inspect_tensor *t, char out[SHAPE_BYTES])
{
    size_t at = 0;
    (void)snprintf(out, SHAPE_BYTES, "scalar");
    for (uint32_t i = 0; i < t->rank && at < SHAPE_BYTES; i++)
        at += (size_t)snprintf(out + at, SHAPE_BYTES - at, "%s%" PRIu64, i > 0 ? " x " : "",
                               t->shape[i]);
    return out;
}

enum err inspect_tensors_print_all(const struct inspect_tensors *tensors,
                                   struct invocation *invocation)
{
    static const struct table_column columns[] = {
        {"NAME", TABLE_LEFT}, {"TYPE", TABLE_LEFT}, {"SHAPE", TABLE_RIGHT}, {"SIZE", TABLE_RIGHT}};
    struct table table;
    char shape[SHAPE_BYTES], text[HUMAN_BYTES];
    table_init(&table, columns, COUNT_OF(columns));
    for (size_t i = 0; i < tensors->count; i++) {
        const struct inspect_tensor *t = &tensors->rows[i];
        table_row(&table);
        table_cell(&table, 0, STYLE_PLAIN, "%.*s", TEXT_ARGS(t->name));
        table_cell(&table, 1, STYLE_PLAIN, "%s", t->type);
        table_cell(&table, 2, STYLE_PLAIN, "%s", shape_text(t, shape));
        table_cell(&table, 3, STYLE_PLAIN, "%s", human_size(t->size_bytes, text));
    }
    enum err err = table_print(&table, &invocation->style, invocation->header, invocation->out);
    table_fini(&table);
    return err;
}

static void write_tensor(const struct inspect_tensor *t, struct json_write *w)
{
    json_write_object_begin(w, NULL);
    json_write_text(w, "name", t->name);
    json_write_text(w, "type", text_of(t->type));
    json_write_array_begin(w, "shape");
    for (uint32_t k = 0; k < t->rank; k++)
        json_write_u64(w, NULL, t->shape[k]);
    json_write_array_end(w);
    json_write_u64(w, "size_bytes", t->size_bytes);
    json_write_object_end(w);
}

void inspect_tensors_write(const struct inspect_tensors *tensors, bool all, struct json_write *w)
{
    struct group groups[TYPES_MAX];
    size_t count = group(tensors, groups);
    json_write_array_begin(w, "types");
    for (size_t i = 0; i < count; i++) {
        json_write_object_begin(w, NULL);
        json_write_text(w, "type", text_of(groups[i].type));
        json_write_u64(w, "tensors", groups[i].tensor_count);
        json_write_u64(w, "elements", groups[i].element_count);
        json_write_u64(w, "size_bytes", groups[i].size_bytes);
        json_write_object_end(w);
    }
    json_write_array_end(w);
    if (!all)
        return;
    json_write_array_begin(w, "tensors");
    for (size_t i = 0; i < tensors->count; i++)
        write_tensor(&tensors->rows[i], w);
    json_write_array_end(w);
}
