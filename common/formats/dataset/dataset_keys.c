/* dataset_keys.c - see dataset_keys.h. */
#include "common/formats/dataset/dataset_keys.h"

#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/json/json_path.h"

enum { WORD_BYTES_MAX = 32, SHOWN_KEYS_MAX = 12, LIST_BYTES = 400 };

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

/* Edits that turn `a` into `b`: insert, delete, replace, swap neighbours; case is free. */
static size_t distance(struct text a, struct text b)
{
    size_t rows[3][WORD_BYTES_MAX + 1];
    if (a.size > WORD_BYTES_MAX || b.size > WORD_BYTES_MAX)
        return SIZE_MAX;
    for (size_t j = 0; j <= b.size; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= a.size; i++) {
        size_t *row = rows[i % 3];
        const size_t *up = rows[(i + 2) % 3];
        const size_t *up2 = rows[(i + 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= b.size; j++) {
            bool same = lower(a.data[i - 1]) == lower(b.data[j - 1]);
            size_t best = MIN(up[j - 1] + !same, MIN(up[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && a.data[i - 1] == b.data[j - 2] && a.data[i - 2] == b.data[j - 1])
                best = MIN(best, up2[j - 2] + 1);
            row[j] = best;
        }
    }
    return rows[a.size % 3][b.size];
}

size_t dataset_keys_nearest(struct text text, const char *const *words, size_t count)
{
    size_t nearest = count;
    size_t least = 3;
    for (size_t i = 0; i < count; i++) {
        struct text word = text_of(words[i]);
        size_t edits = distance(text, word);
        if (edits < least && edits * 2 < word.size) {
            least = edits;
            nearest = i;
        }
    }
    return nearest;
}

/* "\"a\", \"b\", ..." of an object's keys, cut to fit; *guess is a key that is nearly expected. */
static void list_keys(struct json_value object, const char *const *expected, size_t count,
                      char out[LIST_BYTES], char guess[LIST_BYTES])
{
    struct json_cursor cursor = {0};
    size_t used = 0;
    size_t shown = 0;
    out[0] = '\0';
    guess[0] = '\0';
    while (json_read_next(object, &cursor)) {
        struct text key = cursor.value.key;
        size_t nearest = dataset_keys_nearest(key, expected, count);
        if (nearest < count && guess[0] == '\0' &&
            json_read_is_absent(json_read_find(object, expected[nearest])))
            (void)snprintf(guess, LIST_BYTES, "; is \"%.*s\" meant to be \"%s\"?",
                           (int)MIN(key.size, (size_t)WORD_BYTES_MAX), key.data, expected[nearest]);
        if (shown < SHOWN_KEYS_MAX && used < LIST_BYTES - 48)
            used += (size_t)snprintf(out + used, LIST_BYTES - used, "%s\"%.*s\"",
                                     shown == 0 ? "" : ", ",
                                     (int)MIN(key.size, (size_t)WORD_BYTES_MAX), key.data);
        else if (shown == SHOWN_KEYS_MAX)
            used += (size_t)snprintf(out + used, LIST_BYTES - used, ", ...");
        shown++;
    }
}

enum err dataset_keys_missing(const struct dataset_place *place, struct json_value object,
                              const char *what, const char *const *expected, size_t count,
                              struct err_text *et)
{
    char keys[LIST_BYTES];
    char guess[LIST_BYTES];
    list_keys(object, expected, count, keys, guess);
    return error_set(et, ERR_DATA, "%s:%llu: %s; the row has %s%s", place->file_name,
                     (unsigned long long)place->line, what, keys[0] != '\0' ? keys : "no keys",
                     guess);
}

static bool has_both(struct json_value object, const char *one, const char *other)
{
    return !json_read_is_absent(json_read_find(object, one)) &&
           !json_read_is_absent(json_read_find(object, other));
}

static bool is_messages(struct json_value value)
{
    struct json_value first = json_read_item(value, 0);
    return json_read_type(value) == JSON_READ_ARRAY &&
           (has_both(first, "role", "content") || has_both(first, "from", "value"));
}

/* As it may stand in a recipe without quotes. */
static bool is_plain(struct text key)
{
    bool plain = key.size > 0 && key.size <= WORD_BYTES_MAX;
    for (size_t i = 0; i < key.size && plain; i++) {
        char c = key.data[i];
        plain = (lower(c) >= 'a' && lower(c) <= 'z') || c == '_' || (i > 0 && c >= '0' && c <= '9');
    }
    return plain;
}

const char *dataset_keys_mapping(struct json_value object, char out[DATASET_KEYS_MAPPING_BYTES])
{
    struct json_cursor cursor = {0};
    struct text text = {NULL, 0}, list = {NULL, 0};
    size_t texts = 0, lists = 0;
    while (json_read_next(object, &cursor)) {
        bool is_text = json_read_type(cursor.value) == JSON_READ_TEXT;
        bool is_list = is_messages(cursor.value);
        text = is_text ? cursor.value.key : text;
        list = is_list ? cursor.value.key : list;
        texts += is_text;
        lists += is_list;
    }
    out[0] = '\0';
    if (lists == 1 && is_plain(list))
        (void)snprintf(out, DATASET_KEYS_MAPPING_BYTES,
                       "; beside path in the recipe: type: chat_template, field_messages: %.*s",
                       TEXT_ARGS(list));
    else if (lists == 0 && texts == 1 && is_plain(text))
        (void)snprintf(out, DATASET_KEYS_MAPPING_BYTES,
                       "; beside path in the recipe: type: completion, field: %.*s",
                       TEXT_ARGS(text));
    return out;
}

enum err dataset_keys_wrong(const struct dataset_place *place, struct json_value value,
                            const char *expected, struct err_text *et)
{
    char path[128];
    char found[128];
    if (value.parent == NULL)
        (void)snprintf(path, sizeof(path), "the row");
    else
        json_path_print(value, path, sizeof(path));
    json_path_print_found(value, found, sizeof(found));
    return error_set(et, ERR_DATA, "%s:%llu: %s: expected %s, found %s", place->file_name,
                     (unsigned long long)place->line, path, expected, found);
}
