/* output.c - see output.h. */
#include "cli/command/output.h"

#include <inttypes.h>
#include <string.h>

#include "common/base/check.h"
#include "common/view/json_view.h"

#define JSON_BYTES_MAX ((size_t)1 << 28)

static const char *const words[] = {
    [COMMAND_TABLE] = "table", [COMMAND_JSON] = "json", [COMMAND_JSONL] = "jsonl",
    [COMMAND_NAME] = "name",   [COMMAND_DOT] = "dot",   [COMMAND_MERMAID] = "mermaid",
};

#define TEXT_ALONE (1u << COMMAND_TABLE)
#define ALL        (TEXT_ALONE | 1u << COMMAND_JSON)
#define LINES      (ALL | 1u << COMMAND_JSONL)
#define LISTS      (LINES | 1u << COMMAND_NAME)

/* Verbs that have more than a table and JSON, or less. */
static const struct {
    const char *name;
    unsigned formats;
} verbs[] = {
    {"jobs", LISTS},         {"workers", LISTS},
    {"workers list", LISTS}, {"workers providers", LISTS},
    {"ckpt log", LISTS},     {"explain", LINES},
    {"metrics", LINES},      {"graph", LINES | 1u << COMMAND_DOT | 1u << COMMAND_MERMAID},
    {"top", TEXT_ALONE},     {"plot", TEXT_ALONE},
    {"chat", TEXT_ALONE},    {"generate", TEXT_ALONE},
    {"help", TEXT_ALONE},    {"completion", TEXT_ALONE},
};

/* The member that names a row where a verb asks for one. */
static const struct {
    const char *type, *field;
} names[] = {{"job_row", "job"},
             {"worker_row", "name"},
             {"provider_row", "name"},
             {"checkpoint_row", "digest"}};

static unsigned formats_of(const struct command *command)
{
    for (size_t i = 0; i < COUNT_OF(verbs); i++) {
        if (strcmp(verbs[i].name, command->name) == 0)
            return verbs[i].formats;
    }
    return ALL;
}

const char *output_words(const struct command *command, char out[OUTPUT_WORDS_BYTES])
{
    unsigned formats = formats_of(command);
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < COUNT_OF(words); i++) {
        if ((formats >> i & 1) != 0)
            used += (size_t)snprintf(out + used, OUTPUT_WORDS_BYTES - used, "%s%s",
                                     used > 0 ? " " : "", words[i]);
    }
    return out;
}

static enum err fail(unsigned formats, const char *word, struct err_text *et)
{
    char expected[80] = "";
    size_t used = 0;
    for (size_t i = 0; i < COUNT_OF(words); i++) {
        bool is_last = formats >> i == 1;
        if ((formats >> i & 1) != 0)
            used += (size_t)snprintf(expected + used, sizeof expected - used, "%s%s",
                                     i == 0    ? ""
                                     : is_last ? " or "
                                               : ", ",
                                     words[i]);
    }
    return error_set(et, ERR_USAGE, "-o: expected %s, found \"%s\"", expected, word);
}

enum err output_parse(const struct command *command, const char *word, enum command_format *out,
                      struct err_text *et)
{
    unsigned formats = formats_of(command);
    for (size_t i = 0; word != NULL && i < COUNT_OF(words); i++) {
        if ((formats >> i & 1) == 0 || strcmp(word, words[i]) != 0)
            continue;
        *out = (enum command_format)i;
        return ERR_OK;
    }
    *out = COMMAND_TABLE;
    return word == NULL ? ERR_OK : fail(formats, word, et);
}

static void print_name(FILE *out, const struct message_field *field, const char *row)
{
    const char *member = row + field->offset;
    char hex[DIGEST_HEX_BYTES];
    if (field->kind == MESSAGE_DIGEST) {
        digest_hex(*(const struct digest *)(const void *)member, hex);
        (void)fprintf(out, "%s\n", hex);
    } else if (field->kind == MESSAGE_U64) {
        (void)fprintf(out, "%016" PRIx64 "\n", *(const uint64_t *)(const void *)member);
    } else {
        (void)fprintf(out, "%.*s\n", TEXT_ARGS(*(const struct text *)(const void *)member));
    }
}

static enum err print_names(struct invocation *invocation, const struct message_type *type,
                            const char *rows, size_t count)
{
    const struct message_field *field = NULL;
    for (size_t n = 0; n < COUNT_OF(names); n++) {
        for (size_t i = 0; i < type->field_count; i++) {
            if (strcmp(names[n].type, type->name) == 0 &&
                strcmp(names[n].field, type->fields[i].name) == 0)
                field = &type->fields[i];
        }
    }
    ASSERT(field != NULL);
    for (size_t i = 0; i < count; i++)
        print_name(invocation->out, field, rows + i * type->size_bytes);
    return command_flush(invocation);
}

enum err output_rows(struct invocation *invocation, const struct message_type *type,
                     const void *rows, size_t count)
{
    struct json_write w;
    if (invocation->format == COMMAND_NAME)
        return print_names(invocation, type, rows, count);
    if (invocation->format == COMMAND_JSON) {
        json_write_init(&w, JSON_WRITE_PRETTY, JSON_BYTES_MAX);
        json_view_list(&w, NULL, type, rows, count);
        return command_print_json(invocation, &w);
    }
    for (size_t i = 0; i < count; i++) {
        json_write_init(&w, JSON_WRITE_LINE, JSON_BYTES_MAX);
        json_view_object(&w, NULL, type, (const char *)rows + i * type->size_bytes);
        TRY(command_print_json(invocation, &w));
    }
    return ERR_OK;
}
