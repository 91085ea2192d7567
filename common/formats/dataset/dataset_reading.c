/* dataset_reading.c - fields as text, parts, and the one prompt that is ours to write. */
#include "common/formats/dataset/dataset_reading.h"

#include "common/base/check.h"

enum err dataset_reading_parts(struct dataset_row *row, size_t count)
{
    row->part_count = 0;
    row->parts = arena_alloc(&row->arena, MAX(count, (size_t)1), sizeof(*row->parts));
    return row->parts == NULL ? ERR_OUT_OF_MEMORY : ERR_OK;
}

void dataset_reading_add(struct dataset_row *row, struct text text, bool counts)
{
    row->parts[row->part_count++] = (struct dataset_part){text, counts};
}

enum err dataset_reading_text(const struct dataset_reading *r, struct json_value object,
                              const char *key, struct text *out)
{
    struct json_value value = json_read_find(object, key);
    if (json_read_type(value) != JSON_READ_TEXT)
        return dataset_keys_wrong(&r->place, value, "text", r->et);
    return json_read_as_text(value, out, r->et);
}

enum err dataset_reading_text_if_any(const struct dataset_reading *r, const char *key,
                                     struct text *out)
{
    enum json_read_type type = json_read_type(json_read_find(r->root, key));
    *out = TEXT("");
    if (type == JSON_READ_ABSENT || type == JSON_READ_NULL)
        return ERR_OK;
    return dataset_reading_text(r, r->root, key, out);
}

bool dataset_reading_has(struct json_value object, const char *key)
{
    return !json_read_is_absent(json_read_find(object, key));
}

const char *dataset_reading_only_key(struct json_value object, const char *const *words,
                                     size_t count)
{
    const char *found = NULL;
    for (size_t i = 0; i < count; i++)
        if (dataset_reading_has(object, words[i])) {
            if (found != NULL)
                return NULL;
            found = words[i];
        }
    return found;
}

enum err dataset_reading_alpaca(struct dataset_reading *r)
{
    struct text instruction, input, system;
    struct bytes *text = &r->row->rendered;
    TRY(dataset_reading_text(r, r->root, "instruction", &instruction));
    TRY(dataset_reading_text_if_any(r, "input", &input));
    TRY(dataset_reading_text_if_any(r, "system", &system));
    if (system.size > 0)
        bytes_append_text(text, system);
    else if (input.size > 0)
        bytes_append_text(
            text, TEXT("Below is an instruction that describes a task, paired with an input that "
                       "provides further context. Write a response that appropriately completes "
                       "the request."));
    else
        bytes_append_text(text, TEXT("Below is an instruction that describes a task. Write a "
                                     "response that appropriately completes the request."));
    bytes_append_text(text, TEXT("\n\n### Instruction:\n"));
    bytes_append_text(text, instruction);
    if (input.size > 0) {
        bytes_append_text(text, TEXT("\n\n### Input:\n"));
        bytes_append_text(text, input);
    }
    bytes_append_text(text, TEXT("\n\n### Response:\n"));
    return bytes_status(text);
}
