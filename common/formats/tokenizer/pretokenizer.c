/* pretokenizer.c - the steps that cut and rewrite; what the file says is read in
 * pretokenizer_read.c.
 *
 * A split walks a piece as alternating stretches, matched and not, and joins them by its behavior.
 */
#include "common/formats/tokenizer/pretokenizer.h"

#include "common/base/check.h"
#include "common/formats/tokenizer/unicode.h"
#include "common/formats/tokenizer/word_split.h"
#include "common/mem/mem.h"

enum err pretokenizer_add(struct pretokenizer *pretokenizer, struct pretokenizer_step step)
{
    if (pretokenizer->count == PRETOKENIZER_STEPS_MAX)
        return ERR_LIMIT;
    pretokenizer->steps[pretokenizer->count++] = step;
    return ERR_OK;
}

static const char *const BY_HAND[] = {
    [PRETOKENIZER_WORDS_GPT2] = WORD_SPLIT_GPT2,
    [PRETOKENIZER_WORDS_LLAMA3] = WORD_SPLIT_LLAMA3,
    [PRETOKENIZER_WORDS_QWEN2] = WORD_SPLIT_QWEN2,
};

struct text pretokenizer_pattern(const struct pretokenizer_step *step)
{
    if (step->kind == PRETOKENIZER_WORDS)
        return text_of(BY_HAND[step->words]);
    return step->kind == PRETOKENIZER_REGEX ? step->text : (struct text){0};
}

enum err pretokenizer_add_pattern(struct pretokenizer *pretokenizer, struct pretokenizer_step step,
                                  struct text pattern, struct err_text *et)
{
    step.text = pattern;
    for (size_t i = 0; i < COUNT_OF(BY_HAND); i++)
        if (text_is(pattern, BY_HAND[i])) {
            step.kind = PRETOKENIZER_WORDS;
            step.words = (enum pretokenizer_words)i;
            return pretokenizer_add(pretokenizer, step);
        }
    step.kind = PRETOKENIZER_REGEX;
    TRY(regex_create(pattern, &step.regex, et));
    enum err err = pretokenizer_add(pretokenizer, step);
    if (err != ERR_OK)
        regex_destroy(&step.regex);
    return err;
}

void pretokenizer_fini(struct pretokenizer *pretokenizer)
{
    for (size_t i = 0; i < pretokenizer->count; i++)
        regex_destroy(&pretokenizer->steps[i].regex);
    pretokenizer->count = 0;
}

void pretokenizer_pieces_init(struct pieces *pieces, size_t limit_bytes)
{
    *pieces = (struct pieces){0};
    bytes_init(&pieces->buffers[0], limit_bytes);
    bytes_init(&pieces->buffers[1], limit_bytes);
}

void pretokenizer_pieces_fini(struct pieces *pieces)
{
    mem_free(pieces->items);
    mem_free(pieces->spare);
    bytes_fini(&pieces->buffers[0]);
    bytes_fini(&pieces->buffers[1]);
    *pieces = (struct pieces){0};
}

/* Bytes 33..126, 161..172 and 174..255 stand for themselves; the others are shifted above 255 in
 * ascending order. */
uint32_t pretokenizer_byte_char(uint8_t byte)
{
    if ((byte >= 33 && byte <= 126) || (byte >= 161 && byte != 173))
        return byte;
    if (byte <= 32)
        return 256u + byte;
    if (byte == 173)
        return 256u + 67;
    return 256u + 33 + (byte - 127u);
}

int pretokenizer_char_byte(uint32_t c)
{
    if ((c >= 33 && c <= 126) || (c >= 161 && c <= 255 && c != 173))
        return (int)c;
    if (c >= 256 && c <= 256 + 32)
        return (int)(c - 256);
    if (c == 256 + 67)
        return 173;
    if (c > 256 + 32 && c < 256 + 67)
        return (int)(c - 256 - 33 + 127);
    return -1;
}

static enum err grow(struct pieces *pieces)
{
    size_t capacity = MAX(pieces->capacity * 2, (size_t)256);
    struct piece *items = mem_resize(pieces->items, capacity, sizeof(*items));
    if (items == NULL)
        return ERR_OUT_OF_MEMORY;
    pieces->items = items;
    struct piece *spare = mem_resize(pieces->spare, capacity, sizeof(*spare));
    if (spare == NULL)
        return ERR_OUT_OF_MEMORY;
    pieces->spare = spare;
    pieces->capacity = capacity;
    return ERR_OK;
}

static enum err put(struct pieces *pieces, size_t begin, size_t end)
{
    if (begin == end)
        return ERR_OK;
    if (pieces->spare_count == pieces->capacity)
        TRY(grow(pieces));
    pieces->spare[pieces->spare_count++] = (struct piece){begin, end};
    return ERR_OK;
}

/* The open piece of a split, between what is put and what is yet to be seen. */
struct split {
    enum pretokenizer_behavior behavior;
    bool invert;
    bool open;
    bool open_match;
    struct piece held;
};

static enum err split_close(struct split *split, struct pieces *pieces)
{
    bool open = split->open;
    split->open = false;
    return open ? put(pieces, split->held.begin, split->held.end) : ERR_OK;
}

/* Takes the next stretch [begin, end) of a piece. */
static enum err split_take(struct split *split, struct pieces *pieces, size_t begin, size_t end,
                           bool match)
{
    if (begin == end)
        return ERR_OK;
    match ^= split->invert;
    bool joins = false;
    switch (split->behavior) {
    case PRETOKENIZER_REMOVED:
        if (match)
            return split_close(split, pieces);
        break;
    case PRETOKENIZER_ISOLATED:
        break;
    case PRETOKENIZER_MERGED_WITH_PREVIOUS:
        joins = split->open && match && !split->open_match;
        break;
    case PRETOKENIZER_MERGED_WITH_NEXT:
        joins = split->open && split->open_match && !match;
        break;
    case PRETOKENIZER_CONTIGUOUS:
        joins = split->open && split->open_match == match;
        break;
    }
    if (joins) {
        split->held.end = end;
        split->open_match = match;
        return ERR_OK;
    }
    TRY(split_close(split, pieces));
    split->held = (struct piece){begin, end};
    split->open = true;
    split->open_match = match;
    return ERR_OK;
}

static bool in_class(enum pretokenizer_kind kind, uint32_t c)
{
    if (kind == PRETOKENIZER_DIGIT)
        return unicode_is_number(c);
    return kind == PRETOKENIZER_SPACE ? unicode_is_space(c) : unicode_is_punctuation(c);
}

static size_t next_word(enum pretokenizer_words words, struct text text, size_t from)
{
    if (words == PRETOKENIZER_WORDS_GPT2)
        return word_split_gpt2(text, from);
    return word_split_llama3(text, from, words == PRETOKENIZER_WORDS_LLAMA3 ? 3 : 1);
}

/* Next match of a step in text[from..end), which is a piece on its own. */
static enum err next_match(const struct pretokenizer_step *step, struct regex_scratch *scratch,
                           struct text text, size_t from, bool *found, size_t *begin, size_t *end)
{
    *found = false;
    if (step->kind == PRETOKENIZER_REGEX)
        return regex_next(step->regex, scratch, text, from, found, begin, end);
    if (step->kind == PRETOKENIZER_WORDS) {
        *begin = from;
        *end = next_word(step->words, text, from);
        *found = from < text.size;
        return ERR_OK;
    }
    if (step->kind == PRETOKENIZER_LITERAL) {
        for (; from + step->text.size <= text.size; from++)
            if (memcmp(text.data + from, step->text.data, step->text.size) == 0) {
                *begin = from;
                *end = from + step->text.size;
                *found = true;
                return ERR_OK;
            }
        return ERR_OK;
    }
    for (; from < text.size; from = *end) {
        *begin = from;
        *end = from + unicode_size((uint8_t)text.data[from]);
        if (in_class(step->kind, unicode_at(text.data + from))) {
            *found = true;
            return ERR_OK;
        }
    }
    return ERR_OK;
}

static enum err split_piece(const struct pretokenizer_step *step, struct regex_scratch *scratch,
                            struct pieces *pieces, struct piece piece)
{
    struct split split = {.behavior = step->behavior, .invert = step->invert};
    struct text text = {pieces->text.data + piece.begin, piece.end - piece.begin};
    size_t from = 0;
    for (;;) {
        bool found;
        size_t begin, end;
        TRY(next_match(step, scratch, text, from, &found, &begin, &end));
        if (!found)
            break;
        TRY(split_take(&split, pieces, piece.begin + from, piece.begin + begin, false));
        TRY(split_take(&split, pieces, piece.begin + begin, piece.begin + end, true));
        from = end;
    }
    TRY(split_take(&split, pieces, piece.begin + from, piece.end, false));
    return split_close(&split, pieces);
}

/* Every byte of the text becomes a character of one or two bytes; pieces keep their place. */
static void to_byte_chars(struct pieces *pieces, struct bytes *out)
{
    for (size_t i = 0; i < pieces->count; i++) {
        struct piece piece = pieces->items[i];
        size_t begin = out->size;
        uint8_t *to = bytes_extend(out, 2 * (piece.end - piece.begin));
        if (to == NULL)
            return;
        for (size_t at = piece.begin; at < piece.end; at++)
            to += unicode_put(pretokenizer_byte_char((uint8_t)pieces->text.data[at]), (char *)to);
        out->size = (size_t)(to - out->data);
        pieces->items[i] = (struct piece){begin, out->size};
    }
}

/* A space before every piece that does not start with one. */
static void prefix_space(struct pieces *pieces, struct bytes *out)
{
    for (size_t i = 0; i < pieces->count; i++) {
        struct piece piece = pieces->items[i];
        size_t begin = out->size;
        if (pieces->text.data[piece.begin] != ' ')
            bytes_append(out, " ", 1);
        bytes_append(out, pieces->text.data + piece.begin, piece.end - piece.begin);
        pieces->items[i] = (struct piece){begin, out->size};
    }
}

static bool starts_with(const struct pieces *pieces, struct piece piece, struct text prefix)
{
    return piece.end - piece.begin >= prefix.size &&
           memcmp(pieces->text.data + piece.begin, prefix.data, prefix.size) == 0;
}

static void metaspace(const struct pretokenizer_step *step, bool first, struct pieces *pieces,
                      struct bytes *out)
{
    for (size_t i = 0; i < pieces->count; i++) {
        struct piece piece = pieces->items[i];
        size_t begin = out->size;
        bool wanted = step->prepend == PRETOKENIZER_PREPEND_ALWAYS ||
                      (step->prepend == PRETOKENIZER_PREPEND_FIRST && first && piece.begin == 0);
        if (wanted && pieces->text.data[piece.begin] != ' ' &&
            !starts_with(pieces, piece, step->text))
            bytes_append_text(out, step->text);
        for (size_t at = piece.begin; at < piece.end; at++)
            if (pieces->text.data[at] == ' ')
                bytes_append_text(out, step->text);
            else
                bytes_append(out, pieces->text.data + at, 1);
        pieces->items[i] = (struct piece){begin, out->size};
    }
}

static enum err split_all(const struct pretokenizer_step *step, struct regex_scratch *scratch,
                          struct pieces *pieces)
{
    pieces->spare_count = 0;
    for (size_t i = 0; i < pieces->count; i++)
        TRY(split_piece(step, scratch, pieces, pieces->items[i]));
    struct piece *items = pieces->items;
    pieces->items = pieces->spare;
    pieces->spare = items;
    pieces->count = pieces->spare_count;
    return ERR_OK;
}

static enum err apply_step(const struct pretokenizer_step *step, struct regex_scratch *scratch,
                           bool first, struct pieces *pieces, struct bytes *buffer)
{
    switch (step->kind) {
    case PRETOKENIZER_BYTE_PREFIX:
    case PRETOKENIZER_BYTES:
    case PRETOKENIZER_METASPACE:
        break;
    case PRETOKENIZER_WORDS:
    case PRETOKENIZER_REGEX:
    case PRETOKENIZER_LITERAL:
    case PRETOKENIZER_DIGIT:
    case PRETOKENIZER_PUNCTUATION:
    case PRETOKENIZER_SPACE:
        return split_all(step, scratch, pieces);
    }
    bytes_clear(buffer);
    if (step->kind == PRETOKENIZER_BYTE_PREFIX)
        prefix_space(pieces, buffer);
    else if (step->kind == PRETOKENIZER_BYTES)
        to_byte_chars(pieces, buffer);
    else
        metaspace(step, first, pieces, buffer);
    TRY(bytes_status(buffer));
    pieces->text = (struct text){(const char *)buffer->data, buffer->size};
    if (step->kind != PRETOKENIZER_METASPACE || !step->split)
        return ERR_OK;
    struct pretokenizer_step cut = {.kind = PRETOKENIZER_LITERAL,
                                    .behavior = PRETOKENIZER_MERGED_WITH_NEXT,
                                    .text = step->text};
    return split_all(&cut, scratch, pieces);
}

enum err pretokenizer_apply(const struct pretokenizer *pretokenizer, struct regex_scratch *scratch,
                            struct text text, bool first, struct pieces *pieces)
{
    pieces->text = text;
    pieces->count = 0;
    pieces->spare_count = 0;
    if (text.size == 0)
        return ERR_OK;
    if (pieces->capacity == 0)
        TRY(grow(pieces));
    pieces->items[0] = (struct piece){0, text.size};
    pieces->count = 1;
    for (size_t i = 0; i < pretokenizer->count; i++) {
        /* The text is at most in the other buffer. */
        struct bytes *free_buffer = &pieces->buffers[0];
        if (pieces->text.data == (const char *)free_buffer->data)
            free_buffer = &pieces->buffers[1];
        TRY(apply_step(&pretokenizer->steps[i], scratch, first, pieces, free_buffer));
    }
    return ERR_OK;
}
