/* dataset.c - names, detection, shards. */
#include "common/formats/dataset/dataset.h"

#include <string.h>

#include "common/base/check.h"
#include "common/formats/dataset/dataset_keys.h"
#include "common/formats/dataset/dataset_pair.h"
#include "common/formats/dataset/dataset_reader.h"
#include "common/formats/dataset/dataset_row.h"

static const char *const FORMAT_NAMES[] = {
    [DATASET_FORMAT_DETECT] = "auto",
    [DATASET_FORMAT_JSONL] = "jsonl",
    [DATASET_FORMAT_JSON] = "json",
    [DATASET_FORMAT_TEXT] = "text",
};

static const char *const TYPE_NAMES[] = {
    [DATASET_TYPE_DETECT] = "auto",
    [DATASET_TYPE_COMPLETION] = "completion",
    [DATASET_TYPE_ALPACA] = "alpaca",
    [DATASET_TYPE_CHAT] = "chat_template",
    [DATASET_TYPE_PROMPT_COMPLETION] = "prompt_completion",
    [DATASET_TYPE_INPUT_OUTPUT] = "input_output",
    [DATASET_TYPE_PREFERENCE] = "preference",
};

const char *dataset_format_name(enum dataset_format format)
{
    return FORMAT_NAMES[format];
}

const char *dataset_type_name(enum dataset_type type)
{
    return TYPE_NAMES[type];
}

enum err dataset_type_parse(struct text word, enum dataset_type *out, struct err_text *et)
{
    for (size_t i = 0; i < COUNT_OF(TYPE_NAMES); i++)
        if (text_is(word, TYPE_NAMES[i])) {
            *out = (enum dataset_type)i;
            return ERR_OK;
        }
    size_t nearest = dataset_keys_nearest(word, TYPE_NAMES, COUNT_OF(TYPE_NAMES));
    bool near = nearest < COUNT_OF(TYPE_NAMES);
    return error_set(et, ERR_RECIPE,
                     "type: expected completion, alpaca, chat_template, prompt_completion, "
                     "input_output or preference, found '%.*s'%s%s%s",
                     TEXT_ARGS(word), near ? "; is '" : "", near ? TYPE_NAMES[nearest] : "",
                     near ? "' meant?" : "");
}

static bool ends_with(const char *name, const char *tail)
{
    size_t size = strlen(name);
    size_t tail_size = strlen(tail);
    return size >= tail_size && strcmp(name + size - tail_size, tail) == 0;
}

/* JSON by its first character, where the name or the recipe do not say text. */
static enum dataset_format detect_format(struct span file, const struct dataset_options *options)
{
    const char *name = options->file_name;
    size_t at = file.size >= 3 && memcmp(file.data, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
    while (at < file.size && memchr(" \t\r\n", file.data[at], 4) != NULL)
        at++;
    uint8_t first = at < file.size ? file.data[at] : 0;
    bool json_name = ends_with(name, ".json") || ends_with(name, ".jsonl");
    bool told = options->format == DATASET_FORMAT_JSON || options->format == DATASET_FORMAT_JSONL;
    if (!told && !json_name && (ends_with(name, ".txt") || (first != '{' && first != '[')))
        return DATASET_FORMAT_TEXT;
    return first == '[' ? DATASET_FORMAT_JSON : DATASET_FORMAT_JSONL;
}

bool dataset_uses_template(const struct dataset_options *options)
{
    return options->type == DATASET_TYPE_CHAT ||
           (options->type == DATASET_TYPE_PREFERENCE && options->answers_are_chats);
}

/* By the first row. */
static enum err detect_type(struct span file, struct dataset_options *options, struct err_text *et)
{
    struct dataset_reader reader;
    struct json_doc *doc = NULL;
    struct text row;
    bool found;
    dataset_reader_init(&reader, file, options->file_name, options->format, 0, file.size);
    TRY(dataset_reader_next(&reader, &row, &found, et));
    if (!found)
        return error_set(et, ERR_DATA, "%s: no rows", options->file_name);
    uint64_t line = dataset_reader_line(&reader, row.data);
    const struct json_read_options json = {
        .name = options->file_name, .first_line = line, .size_bytes_max = DATASET_ROW_BYTES_MAX};
    enum err err = json_read_parse(span_of_text(row), &json, &doc, et);
    if (err != ERR_OK)
        return err == ERR_FORMAT ? ERR_DATA : err;
    struct json_value root = json_read_root(doc);
    if (json_read_type(root) != JSON_READ_OBJECT) {
        const struct dataset_place place = {options->file_name, line};
        err = dataset_keys_wrong(&place, root, "an object", et);
    } else {
        if (options->type == DATASET_TYPE_DETECT)
            options->type = dataset_row_detect(root, options->file_name, line, et);
        options->answers_are_chats = dataset_pair_is_chat(root);
        err = options->type == DATASET_TYPE_DETECT ? ERR_DATA : ERR_OK;
    }
    json_read_close(&doc);
    return err;
}

enum err dataset_detect(struct span file, struct dataset_options *options, struct err_text *et)
{
    struct dataset_options settled = *options;
    TRY(dataset_reader_check_kind(file, options->file_name, et));
    if (options->format != DATASET_FORMAT_TEXT)
        settled.format = detect_format(file, options);
    bool text = settled.format == DATASET_FORMAT_TEXT;
    if (text && settled.type != DATASET_TYPE_DETECT && settled.type != DATASET_TYPE_COMPLETION)
        return error_set(et, ERR_DATA,
                         "%s: plain text is of type completion, not %s (rows of that type are JSON "
                         "Lines or a JSON array)",
                         options->file_name, dataset_type_name(settled.type));
    if (settled.type == DATASET_TYPE_DETECT && (text || settled.field != NULL))
        settled.type = DATASET_TYPE_COMPLETION;
    else if (settled.type == DATASET_TYPE_DETECT && settled.field_messages != NULL)
        settled.type = DATASET_TYPE_CHAT;
    else if (settled.type == DATASET_TYPE_DETECT || settled.type == DATASET_TYPE_PREFERENCE)
        TRY(detect_type(file, &settled, et));
    *options = settled;
    return ERR_OK;
}

uint32_t dataset_shard_count(enum dataset_format format, uint64_t size_bytes, uint64_t shard_bytes)
{
    if (format == DATASET_FORMAT_JSON || shard_bytes == 0)
        return 1;
    uint64_t count = (size_bytes + shard_bytes - 1) / shard_bytes;
    return (uint32_t)MIN(MAX(count, (uint64_t)1), (uint64_t)DATASET_SHARDS_MAX);
}

void dataset_shard_range(uint64_t size_bytes, uint32_t shard_count, uint32_t index, uint64_t *begin,
                         uint64_t *end)
{
    ASSERT(index < shard_count);
    /* Even cuts without a product that overflows. */
    uint64_t each = size_bytes / shard_count;
    uint64_t rest = size_bytes % shard_count;
    *begin = each * index + MIN((uint64_t)index, rest);
    *end = *begin + each + (index < rest);
}
