/* dataset_row.c - a reader for each type of row; all end in parts of text. */
#include "common/formats/dataset/dataset_row.h"

#include <stdio.h>

#include "common/base/check.h"
#include "common/formats/dataset/dataset_keys.h"
#include "common/formats/tokenizer/unicode.h"

enum { ARENA_BYTES_MAX = 256 << 20, RENDERED_BYTES_MAX = 256 << 20 };

/* What readers share. */
struct reading {
    struct dataset_row *row;
    struct dataset_place place;
    const struct dataset_options *options;
    const struct dataset_chat *chat;
    struct json_value root;
    struct err_text *et;
};

static const char *const COMPLETION_WORDS[] = {"completion", "response", "answer", "output"};

void dataset_row_init(struct dataset_row *row)
{
    *row = (struct dataset_row){0};
    bytes_init(&row->rendered, RENDERED_BYTES_MAX);
    arena_init(&row->arena, ARENA_BYTES_MAX);
}

void dataset_row_fini(struct dataset_row *row)
{
    json_read_close(&row->doc);
    bytes_fini(&row->rendered);
    arena_fini(&row->arena);
    *row = (struct dataset_row){0};
}

/* Room for `count` parts. */
static enum err take_parts(struct dataset_row *row, size_t count)
{
    row->part_count = 0;
    row->parts = arena_alloc(&row->arena, MAX(count, (size_t)1), sizeof(*row->parts));
    return row->parts == NULL ? ERR_OUT_OF_MEMORY : ERR_OK;
}

static void add_part(struct dataset_row *row, struct text text, bool counts)
{
    row->parts[row->part_count++] = (struct dataset_part){text, counts};
}

/* Text under `key` of `object`; the key is known to be wanted. */
static enum err read_text(const struct reading *r, struct json_value object, const char *key,
                          struct text *out)
{
    struct json_value value = json_read_find(object, key);
    if (json_read_type(value) != JSON_READ_TEXT)
        return dataset_keys_wrong(&r->place, value, "text", r->et);
    return json_read_as_text(value, out, r->et);
}

/* The same where null and absence mean empty. */
static enum err read_text_if_any(const struct reading *r, const char *key, struct text *out)
{
    enum json_read_type type = json_read_type(json_read_find(r->root, key));
    *out = TEXT("");
    if (type == JSON_READ_ABSENT || type == JSON_READ_NULL)
        return ERR_OK;
    return read_text(r, r->root, key, out);
}

static bool has(struct json_value object, const char *key)
{
    return !json_read_is_absent(json_read_find(object, key));
}

/* The one of words[0..count) that `object` has; NULL when it has none or several. */
static const char *only_key(struct json_value object, const char *const *words, size_t count)
{
    const char *found = NULL;
    for (size_t i = 0; i < count; i++)
        if (has(object, words[i])) {
            if (found != NULL)
                return NULL;
            found = words[i];
        }
    return found;
}

static enum err read_completion(struct reading *r)
{
    const char *key = r->options->field == NULL ? "text" : r->options->field;
    char what[160];
    struct text text;
    (void)snprintf(what, sizeof(what), "a completion row needs \"%s\"", key);
    if (!has(r->root, key))
        return dataset_keys_missing(&r->place, r->root, what, &key, 1, r->et);
    TRY(read_text(r, r->root, key, &text));
    TRY(take_parts(r->row, 1));
    add_part(r->row, text, true);
    r->row->affixed = true;
    return ERR_OK;
}

static enum err read_prompt_completion(struct reading *r)
{
    static const char *const expected[] = {"prompt", "completion", "response", "answer", "output"};
    const char *completion = only_key(r->root, COMPLETION_WORDS, COUNT_OF(COMPLETION_WORDS));
    struct text prompt, answer;
    /* "completion" decides where a row has more than one of the words. */
    if (has(r->root, "completion"))
        completion = "completion";
    if (!has(r->root, "prompt") || completion == NULL)
        return dataset_keys_missing(&r->place, r->root,
                                    "a prompt_completion row needs \"prompt\" and \"completion\" "
                                    "(or just one of \"response\", \"answer\", \"output\")",
                                    expected, COUNT_OF(expected), r->et);
    TRY(read_text(r, r->root, "prompt", &prompt));
    TRY(read_text(r, r->root, completion, &answer));
    TRY(take_parts(r->row, 2));
    add_part(r->row, prompt, false);
    add_part(r->row, answer, true);
    r->row->affixed = true;
    return ERR_OK;
}

/* The prompts of Stanford's Alpaca (Taori et al. 2023), which its rows are trained with. */
static enum err read_alpaca(struct reading *r)
{
    static const char *const expected[] = {"instruction", "output", "input", "system"};
    struct text instruction, input, output, system;
    struct bytes *text = &r->row->rendered;
    if (!has(r->root, "instruction") || !has(r->root, "output"))
        return dataset_keys_missing(&r->place, r->root,
                                    "an alpaca row needs \"instruction\" and \"output\"", expected,
                                    COUNT_OF(expected), r->et);
    TRY(read_text(r, r->root, "instruction", &instruction));
    TRY(read_text(r, r->root, "output", &output));
    TRY(read_text_if_any(r, "input", &input));
    TRY(read_text_if_any(r, "system", &system));
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
    size_t prompt = text->size;
    bytes_append_text(text, output);
    TRY(bytes_status(text));
    TRY(take_parts(r->row, 2));
    const char *data = (const char *)text->data;
    add_part(r->row, (struct text){data, prompt}, false);
    add_part(r->row, (struct text){data + prompt, text->size - prompt}, true);
    r->row->whole = true;
    r->row->affixed = true;
    return ERR_OK;
}

/* Content of a message: text, or a list of {"type": "text", "text": ...}. */
static enum err read_content(struct reading *r, struct json_value value, struct text *out)
{
    struct bytes joined;
    enum err err = ERR_OK;
    if (json_read_type(value) == JSON_READ_TEXT)
        return json_read_as_text(value, out, r->et);
    if (json_read_type(value) != JSON_READ_ARRAY)
        return dataset_keys_wrong(&r->place, value, "text", r->et);
    bytes_init(&joined, RENDERED_BYTES_MAX);
    for (size_t i = 0; i < json_read_count(value); i++) {
        struct json_value part = json_read_item(value, i);
        struct text kind = TEXT(""), text;
        struct json_value type = json_read_find(part, "type");
        if (json_read_type(type) == JSON_READ_TEXT)
            TRY_OUT(json_read_as_text(type, &kind, r->et));
        if (!text_is(kind, "text")) {
            err = dataset_keys_wrong(&r->place, part, "a part of type \"text\"", r->et);
            goto out;
        }
        TRY_OUT(read_text(r, part, "text", &text));
        bytes_append_text(&joined, text);
    }
    TRY_OUT(bytes_status(&joined));
    char *copy =
        arena_copy_text(&r->row->arena, (struct text){(const char *)joined.data, joined.size});
    *out = (struct text){copy, joined.size};
    err = copy == NULL ? ERR_OUT_OF_MEMORY : ERR_OK;
out:
    bytes_fini(&joined);
    return err;
}

static enum err read_message(struct reading *r, struct json_value value, struct chat_message *out)
{
    static const char *const roles[] = {"role", "from"};
    static const char *const contents[] = {"content", "value"};
    static const char *const expected[] = {"role", "content", "from", "value"};
    const char *role_key = only_key(value, roles, COUNT_OF(roles));
    const char *content_key = only_key(value, contents, COUNT_OF(contents));
    struct text role;
    if (json_read_type(value) != JSON_READ_OBJECT)
        return dataset_keys_wrong(&r->place, value, "a message, an object", r->et);
    if (role_key == NULL || content_key == NULL)
        return dataset_keys_missing(&r->place, value,
                                    "a message needs \"role\" and \"content\" (or \"from\" and "
                                    "\"value\")",
                                    expected, COUNT_OF(expected), r->et);
    TRY(read_text(r, value, role_key, &role));
    if (chat_template_role(role, &out->role) != ERR_OK)
        return dataset_keys_wrong(&r->place, json_read_find(value, role_key),
                                  "system, user (human) or assistant (gpt)", r->et);
    return read_content(r, json_read_find(value, content_key), &out->content);
}

/* Parts of the rendered text: what spans cover counts. */
static enum err parts_of_spans(struct dataset_row *row, const struct chat_span *spans, size_t count)
{
    const char *data = row->rendered.size == 0 ? "" : (const char *)row->rendered.data;
    size_t at = 0;
    TRY(take_parts(row, 2 * count + 1));
    for (size_t i = 0; i < count; i++) {
        if (spans[i].begin > at)
            add_part(row, (struct text){data + at, spans[i].begin - at}, false);
        add_part(row, (struct text){data + spans[i].begin, spans[i].end - spans[i].begin}, true);
        at = spans[i].end;
    }
    if (row->rendered.size > at)
        add_part(row, (struct text){data + at, row->rendered.size - at}, false);
    return ERR_OK;
}

static enum err read_chat(struct reading *r)
{
    static const char *const known[] = {"messages", "conversations"};
    const char *expected[] = {r->options->field_messages, "messages", "conversations"};
    const char *key = r->options->field_messages;
    bool named = key != NULL;
    if (!named)
        key = only_key(r->root, known, COUNT_OF(known));
    if (key == NULL || !has(r->root, key)) {
        char what[160];
        (void)snprintf(what, sizeof(what), "a chat_template row needs \"%s\"%s",
                       named ? key : "messages", named ? "" : " (or \"conversations\")");
        return dataset_keys_missing(&r->place, r->root, what, expected + !named, 3 - !named, r->et);
    }
    struct json_value list = json_read_find(r->root, key);
    size_t count = json_read_count(list);
    if (json_read_type(list) != JSON_READ_ARRAY || count == 0)
        return dataset_keys_wrong(&r->place, list, "an array of at least one message", r->et);
    if (count > DATASET_ROW_MESSAGES_MAX)
        return dataset_keys_wrong(&r->place, list, "at most 4096 messages", r->et);
    struct chat_message *messages = arena_alloc(&r->row->arena, count, sizeof(*messages));
    struct chat_span *spans = arena_alloc(&r->row->arena, count, sizeof(*spans));
    if (messages == NULL || spans == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < count; i++)
        TRY(read_message(r, json_read_item(list, i), &messages[i]));
    ASSERT(r->chat != NULL && r->chat->chat_template != NULL);
    enum err err = chat_template_render(r->chat->chat_template, messages, count, &r->chat->options,
                                        &r->row->rendered, spans, &count, r->et);
    if (err != ERR_OK)
        return error_prefix(r->et, err, "%s:%llu", r->place.file_name,
                            (unsigned long long)r->place.line);
    r->row->whole = true;
    return parts_of_spans(r->row, spans, count);
}

static enum err read_input_output(struct reading *r)
{
    static const char *const expected[] = {"segments"};
    struct json_value list = json_read_find(r->root, "segments");
    if (json_read_is_absent(list))
        return dataset_keys_missing(&r->place, r->root, "an input_output row needs \"segments\"",
                                    expected, COUNT_OF(expected), r->et);
    size_t count = json_read_count(list);
    if (json_read_type(list) != JSON_READ_ARRAY || count > DATASET_ROW_MESSAGES_MAX)
        return dataset_keys_wrong(&r->place, list, "an array of at most 4096 segments", r->et);
    TRY(take_parts(r->row, count));
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
        TRY(read_text(r, segment, "text", &text));
        add_part(r->row, text, counts);
    }
    return ERR_OK;
}

static enum err read_plain(struct reading *r, struct text text)
{
    size_t good = unicode_valid_prefix(text);
    if (good != text.size) {
        uint64_t line = r->place.line;
        for (size_t i = 0; i < good; i++)
            line += text.data[i] == '\n';
        return error_set(r->et, ERR_DATA, "%s:%llu: expected UTF-8, found the byte 0x%02X",
                         r->place.file_name, (unsigned long long)line, (uint8_t)text.data[good]);
    }
    TRY(take_parts(r->row, 1));
    add_part(r->row, text, true);
    r->row->affixed = true;
    return ERR_OK;
}

static enum err read_typed(struct reading *r)
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
    case DATASET_TYPE_DETECT:
        break;
    }
    return ERR_INTERNAL;
}

enum err dataset_row_read(struct dataset_row *row, struct text text, uint64_t line,
                          const struct dataset_options *options, const struct dataset_chat *chat,
                          struct err_text *et)
{
    struct reading r = {.row = row,
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
                                           "prompt", "completion",  "conversations", "segments"};
    struct dataset_place place = {file_name, line};
    if (has(object, "messages") || has(object, "conversations"))
        return DATASET_TYPE_CHAT;
    if (has(object, "segments"))
        return DATASET_TYPE_INPUT_OUTPUT;
    if (has(object, "instruction") && has(object, "output"))
        return DATASET_TYPE_ALPACA;
    if (has(object, "chosen") && has(object, "rejected")) {
        (void)error_set(et, ERR_UNSUPPORTED,
                        "%s:%llu: rows with \"chosen\" and \"rejected\" are preference data, which "
                        "this version does not train on",
                        file_name, (unsigned long long)line);
        return DATASET_TYPE_DETECT;
    }
    if (has(object, "prompt") &&
        (has(object, "completion") ||
         only_key(object, COMPLETION_WORDS, COUNT_OF(COMPLETION_WORDS)) != NULL))
        return DATASET_TYPE_PROMPT_COMPLETION;
    if (has(object, "text"))
        return DATASET_TYPE_COMPLETION;
    (void)dataset_keys_missing(
        &place, object,
        "no type fits: expected \"text\" (completion), \"instruction\" and \"output\" (alpaca), "
        "\"messages\" (chat_template), \"prompt\" and \"completion\" (prompt_completion) or "
        "\"segments\" (input_output)",
        expected, COUNT_OF(expected), et);
    return DATASET_TYPE_DETECT;
}
