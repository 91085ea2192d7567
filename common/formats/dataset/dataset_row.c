/* dataset_row.c - a reader for each type of row; all end in parts of text. */
#include "common/formats/dataset/dataset_row.h"

#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/dataset/dataset_messages.h"
#include "common/formats/dataset/dataset_pair.h"
#include "common/formats/tokenizer/unicode.h"

enum { ARENA_BYTES_MAX = 256 << 20 };

static const char *const COMPLETION_WORDS[] = {"completion", "response", "answer", "output"};

void dataset_row_init(struct dataset_row *row)
{
    *row = (struct dataset_row){0};
    bytes_init(&row->rendered, DATASET_READING_BYTES_MAX);
    arena_init(&row->arena, ARENA_BYTES_MAX);
}

void dataset_row_fini(struct dataset_row *row)
{
    json_read_close(&row->doc);
    bytes_fini(&row->rendered);
    arena_fini(&row->arena);
    *row = (struct dataset_row){0};
}

static enum err read_completion(struct dataset_reading *r)
{
    const char *key = r->options->field == NULL ? "text" : r->options->field;
    char what[160];
    struct text text;
    (void)snprintf(what, sizeof(what), "a completion row needs \"%s\"", key);
    if (!dataset_reading_has(r->root, key))
        return dataset_keys_missing(&r->place, r->root, what, &key, 1, r->et);
    TRY(dataset_reading_text(r, r->root, key, &text));
    TRY(dataset_reading_parts(r->row, 1));
    dataset_reading_add(r->row, text, true);
    r->row->affixed = true;
    return ERR_OK;
}

static enum err read_prompt_completion(struct dataset_reading *r)
{
    static const char *const expected[] = {"prompt", "completion", "response", "answer", "output"};
    const char *completion =
        dataset_reading_only_key(r->root, COMPLETION_WORDS, COUNT_OF(COMPLETION_WORDS));
    struct text prompt, answer;
    /* "completion" decides where a row has more than one of the words. */
    if (dataset_reading_has(r->root, "completion"))
        completion = "completion";
    if (!dataset_reading_has(r->root, "prompt") || completion == NULL)
        return dataset_keys_missing(&r->place, r->root,
                                    "a prompt_completion row needs \"prompt\" and \"completion\" "
                                    "(or just one of \"response\", \"answer\", \"output\")",
                                    expected, COUNT_OF(expected), r->et);
    TRY(dataset_reading_text(r, r->root, "prompt", &prompt));
    TRY(dataset_reading_text(r, r->root, completion, &answer));
    TRY(dataset_reading_parts(r->row, 2));
    dataset_reading_add(r->row, prompt, false);
    dataset_reading_add(r->row, answer, true);
    r->row->affixed = true;
    return ERR_OK;
}

static enum err read_alpaca(struct dataset_reading *r)
{
    static const char *const expected[] = {"instruction", "output", "input", "system"};
    struct text output;
    struct bytes *text = &r->row->rendered;
    if (!dataset_reading_has(r->root, "instruction") || !dataset_reading_has(r->root, "output"))
        return dataset_keys_missing(&r->place, r->root,
                                    "an alpaca row needs \"instruction\" and \"output\"", expected,
                                    COUNT_OF(expected), r->et);
    TRY(dataset_reading_text(r, r->root, "output", &output));
    TRY(dataset_reading_alpaca(r));
    size_t prompt = text->size;
    bytes_append_text(text, output);
    TRY(bytes_status(text));
    TRY(dataset_reading_parts(r->row, 2));
    const char *data = (const char *)text->data;
    dataset_reading_add(r->row, (struct text){data, prompt}, false);
    dataset_reading_add(r->row, (struct text){data + prompt, text->size - prompt}, true);
    r->row->whole = true;
    r->row->affixed = true;
    return ERR_OK;
}

static enum err read_chat(struct dataset_reading *r)
{
    static const char *const known[] = {"messages", "conversations"};
    const char *expected[] = {r->options->field_messages, "messages", "conversations"};
    const char *key = r->options->field_messages;
    bool named = key != NULL;
    if (!named)
        key = dataset_reading_only_key(r->root, known, COUNT_OF(known));
    if (key == NULL || !dataset_reading_has(r->root, key)) {
        char what[160];
        (void)snprintf(what, sizeof(what), "a chat_template row needs \"%s\"%s",
                       named ? key : "messages", named ? "" : " (or \"conversations\")");
        return dataset_keys_missing(&r->place, r->root, what, expected + !named, 3 - !named, r->et);
    }
    struct dataset_messages messages;
    TRY(dataset_messages_read(r, json_read_find(r->root, key), &messages));
    struct chat_span *spans = arena_alloc(&r->row->arena, messages.count, sizeof(*spans));
    size_t count;
    if (spans == NULL)
        return ERR_OUT_OF_MEMORY;
    TRY(dataset_messages_render(r, &messages, spans, &count));
    TRY(dataset_reading_parts(r->row, 2 * count + 1));
    dataset_messages_add(r->row, 0, r->row->rendered.size, spans, count);
    r->row->whole = true;
    return ERR_OK;
}

static enum err read_input_output(struct dataset_reading *r)
{
    static const char *const expected[] = {"segments"};
    struct json_value list = json_read_find(r->root, "segments");
    if (json_read_is_absent(list))
        return dataset_keys_missing(&r->place, r->root, "an input_output row needs \"segments\"",
                                    expected, COUNT_OF(expected), r->et);
    size_t count = json_read_count(list);
    if (json_read_type(list) != JSON_READ_ARRAY || count > DATASET_ROW_MESSAGES_MAX)
        return dataset_keys_wrong(&r->place, list, "an array of at most 4096 segments", r->et);
    TRY(dataset_reading_parts(r->row, count));
    for (size_t i = 0; i < count; i++) {
        struct json_value segment = json_read_item(list, i);
        struct json_value label = json_read_find(segment, "label");
        struct text text;
        bool counts;
        if (json_read_type(segment) != JSON_READ_OBJECT)
            return dataset_keys_wrong(&r->place, segment, "a segment, an object", r->et);
        if (json_read_type(label) != JSON_READ_BOOL)
            return dataset_keys_wrong(&r->place, label, "true or false", r->et);
        TRY(json_read_as_bool(label, &counts, r->et));
        TRY(dataset_reading_text(r, segment, "text", &text));
        dataset_reading_add(r->row, text, counts);
    }
    return ERR_OK;
}

static enum err read_plain(struct dataset_reading *r, struct text text)
{
    size_t good = unicode_valid_prefix(text);
    if (good != text.size) {
        uint64_t line = r->place.line;
        for (size_t i = 0; i < good; i++)
            line += text.data[i] == '\n';
        return error_set(r->et, ERR_DATA, "%s:%llu: expected UTF-8, found the byte 0x%02X",
                         r->place.file_name, (unsigned long long)line, (uint8_t)text.data[good]);
    }
    TRY(dataset_reading_parts(r->row, 1));
    dataset_reading_add(r->row, text, true);
    r->row->affixed = true;
    return ERR_OK;
}

static enum err read_typed(struct dataset_reading *r)
{
    switch (r->options->type) {
    case DATASET_TYPE_COMPLETION:
        return read_completion(r);
    case DATASET_TYPE_ALPACA:
        return read_alpaca(r);
    case DATASET_TYPE_CHAT:
        return read_chat(r);
    case DATASET_TYPE_PROMPT_COMPLETION:
        return read_prompt_completion(r);
    case DATASET_TYPE_INPUT_OUTPUT:
        return read_input_output(r);
    case DATASET_TYPE_PREFERENCE:
        return dataset_pair_read(r);
    case DATASET_TYPE_DETECT:
        break;
    }
    return ERR_INTERNAL;
}

enum err dataset_row_read(struct dataset_row *row, struct text text, uint64_t line,
                          const struct dataset_options *options, const struct dataset_chat *chat,
                          struct err_text *et)
{
    struct dataset_reading r = {.row = row,
                                .place = {options->file_name, line},
                                .options = options,
                                .chat = chat,
                                .et = et};
    const struct json_read_options json = {
        .name = options->file_name, .first_line = line, .size_bytes_max = DATASET_ROW_BYTES_MAX};
    json_read_close(&row->doc);
    bytes_clear(&row->rendered);
    arena_reset(&row->arena);
    row->whole = false;
    row->affixed = false;
    row->split = 0;
    row->part_count = 0;
    if (options->format == DATASET_FORMAT_TEXT)
        return read_plain(&r, text);
    enum err err = json_read_parse(span_of_text(text), &json, &row->doc, et);
    if (err != ERR_OK)
        return err == ERR_FORMAT ? ERR_DATA : err;
    r.root = json_read_root(row->doc);
    if (json_read_type(r.root) != JSON_READ_OBJECT)
        return dataset_keys_wrong(&r.place, r.root, "an object", et);
    return read_typed(&r);
}

enum dataset_type dataset_row_detect(struct json_value object, const char *file_name, uint64_t line,
                                     struct err_text *et)
{
    static const char *const expected[] = {"text",   "instruction", "output",        "messages",
                                           "prompt", "completion",  "conversations", "segments",
                                           "chosen", "rejected"};
    struct dataset_place place = {file_name, line};
    if (dataset_reading_has(object, "messages") || dataset_reading_has(object, "conversations"))
        return DATASET_TYPE_CHAT;
    if (dataset_reading_has(object, "segments"))
        return DATASET_TYPE_INPUT_OUTPUT;
    if (dataset_reading_has(object, "instruction") && dataset_reading_has(object, "output"))
        return DATASET_TYPE_ALPACA;
    if (dataset_reading_has(object, "chosen") && dataset_reading_has(object, "rejected"))
        return DATASET_TYPE_PREFERENCE;
    if (dataset_reading_has(object, "prompt") &&
        (dataset_reading_has(object, "completion") ||
         dataset_reading_only_key(object, COMPLETION_WORDS, COUNT_OF(COMPLETION_WORDS)) != NULL))
        return DATASET_TYPE_PROMPT_COMPLETION;
    if (dataset_reading_has(object, "text"))
        return DATASET_TYPE_COMPLETION;
    (void)dataset_keys_missing(
        &place, object,
        "no type fits: expected \"text\" (completion), \"instruction\" and \"output\" (alpaca), "
        "\"messages\" (chat_template), \"prompt\" and \"completion\" (prompt_completion), "
        "\"segments\" (input_output) or \"chosen\" and \"rejected\" (preference)",
        expected, COUNT_OF(expected), et);
    char mapping[DATASET_KEYS_MAPPING_BYTES];
    size_t used = et != NULL ? strlen(et->text) : 0;
    if (et != NULL)
        (void)snprintf(et->text + used, sizeof et->text - used, "%s",
                       dataset_keys_mapping(object, mapping));
    return DATASET_TYPE_DETECT;
}
