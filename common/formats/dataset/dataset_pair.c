/* dataset_pair.c - where the prompt ends and the two answers begin. */
#include "common/formats/dataset/dataset_pair.h"

#include <string.h>

#include "common/base/check.h"
#include "common/formats/dataset/dataset_messages.h"

bool dataset_pair_is_chat(struct json_value object)
{
    return json_read_type(json_read_find(object, "chosen")) == JSON_READ_ARRAY;
}

/* Bytes that both texts begin with: whole characters, no blank at the end, and something is left of
 * both. */
static size_t common_bytes(struct text a, struct text b)
{
    size_t limit = MIN(a.size, b.size), same = 0;
    limit -= limit > 0;
    while (same < limit && a.data[same] == b.data[same])
        same++;
    while (same > 0 && ((uint8_t)a.data[same] & 0xC0) == 0x80)
        same--;
    return same > 0 && a.data[same - 1] == ' ' ? same - 1 : same;
}

/* The parts of one answer with its prompt. */
static void add_answer(struct dataset_row *row, struct text prompt, struct text answer)
{
    dataset_reading_add(row, prompt, false);
    dataset_reading_add(row, answer, true);
}

/* Prompt and answers of texts that begin alike: a token may lie across the seam. */
static void split_texts(struct dataset_row *row, struct text chosen, struct text rejected)
{
    size_t same = common_bytes(chosen, rejected);
    const struct text answers[] = {chosen, rejected};
    row->whole = true;
    for (size_t i = 0; i < COUNT_OF(answers); i++)
        add_answer(row, (struct text){answers[i].data, same},
                   (struct text){answers[i].data + same, answers[i].size - same});
}

/* The rendered prompt stands before each answer. */
static enum err join_alpaca(struct dataset_reading *r, struct text chosen, struct text rejected)
{
    struct dataset_row *row = r->row;
    struct bytes *text = &row->rendered;
    TRY(dataset_reading_alpaca(r));
    size_t prompt = text->size;
    bytes_append_text(text, chosen);
    size_t second = text->size;
    TRY(dataset_reading_alpaca(r));
    bytes_append_text(text, rejected);
    TRY(bytes_status(text));
    const char *data = (const char *)text->data;
    row->whole = true;
    add_answer(row, (struct text){data, prompt}, (struct text){data + prompt, chosen.size});
    add_answer(row, (struct text){data + second, prompt},
               (struct text){data + second + prompt, rejected.size});
    return ERR_OK;
}

static enum err read_texts(struct dataset_reading *r)
{
    struct text prompt, chosen, rejected;
    TRY(dataset_reading_text(r, r->root, "chosen", &chosen));
    TRY(dataset_reading_text(r, r->root, "rejected", &rejected));
    TRY(dataset_reading_parts(r->row, 4));
    r->row->affixed = true;
    r->row->split = 2;
    if (dataset_reading_has(r->root, "prompt")) {
        TRY(dataset_reading_text(r, r->root, "prompt", &prompt));
        add_answer(r->row, prompt, chosen);
        add_answer(r->row, prompt, rejected);
        return ERR_OK;
    }
    if (dataset_reading_has(r->root, "instruction"))
        return join_alpaca(r, chosen, rejected);
    split_texts(r->row, chosen, rejected);
    return ERR_OK;
}

static bool is_same(const struct chat_message *a, const struct chat_message *b)
{
    return a->role == b->role && text_equal(a->content, b->content);
}

/* Messages that both conversations begin with; at least one is left of both. */
static size_t common_messages(const struct dataset_messages *a, const struct dataset_messages *b)
{
    size_t limit = MIN(a->count, b->count) - 1, same = 0;
    while (same < limit && is_same(&a->items[same], &b->items[same]))
        same++;
    return same;
}

static enum err join_messages(struct dataset_reading *r, const struct dataset_messages *prompt,
                              struct dataset_messages *answer)
{
    struct dataset_messages joined = {.count = prompt->count + answer->count};
    joined.items = arena_alloc(&r->row->arena, joined.count, sizeof(*joined.items));
    if (joined.items == NULL)
        return ERR_OUT_OF_MEMORY;
    memcpy(joined.items, prompt->items, prompt->count * sizeof(*joined.items));
    memcpy(joined.items + prompt->count, answer->items, answer->count * sizeof(*joined.items));
    *answer = joined;
    return ERR_OK;
}

/* One side of a pair, rendered. */
struct side {
    struct dataset_messages messages;
    struct chat_span *spans; /* of the answer alone */
    size_t span_count;
    size_t begin, end; /* bytes of row->rendered */
};

/* `prompt_count` messages are the prompt: what the assistant said there does not count. */
static enum err render_side(struct dataset_reading *r, struct side *side, size_t prompt_count)
{
    size_t before = 0, count = side->messages.count;
    for (size_t i = 0; i < prompt_count; i++)
        before += side->messages.items[i].role == CHAT_ASSISTANT;
    side->spans = arena_alloc(&r->row->arena, count, sizeof(*side->spans));
    if (side->spans == NULL)
        return ERR_OUT_OF_MEMORY;
    side->begin = r->row->rendered.size;
    TRY(dataset_messages_render(r, &side->messages, side->spans, &count));
    side->end = r->row->rendered.size;
    ASSERT(before <= count);
    side->spans += before;
    side->span_count = count - before;
    return ERR_OK;
}

static enum err read_chats(struct dataset_reading *r)
{
    struct side sides[2];
    struct dataset_messages prompt;
    struct dataset_row *row = r->row;
    struct json_value list = json_read_find(r->root, "prompt");
    TRY(dataset_messages_read(r, json_read_find(r->root, "chosen"), &sides[0].messages));
    TRY(dataset_messages_read(r, json_read_find(r->root, "rejected"), &sides[1].messages));
    size_t prompt_count = common_messages(&sides[0].messages, &sides[1].messages);
    if (json_read_type(list) == JSON_READ_ARRAY) {
        TRY(dataset_messages_read(r, list, &prompt));
        prompt_count = prompt.count;
        for (size_t i = 0; i < COUNT_OF(sides); i++)
            TRY(join_messages(r, &prompt, &sides[i].messages));
    }
    for (size_t i = 0; i < COUNT_OF(sides); i++)
        TRY(render_side(r, &sides[i], prompt_count));
    TRY(dataset_reading_parts(row, 2 * (sides[0].span_count + sides[1].span_count + 1)));
    row->whole = true;
    dataset_messages_add(row, sides[0].begin, sides[0].end, sides[0].spans, sides[0].span_count);
    row->split = row->part_count;
    dataset_messages_add(row, sides[1].begin, sides[1].end, sides[1].spans, sides[1].span_count);
    return ERR_OK;
}

enum err dataset_pair_read(struct dataset_reading *r)
{
    static const char *const expected[] = {"prompt", "chosen", "rejected"};
    if (!dataset_reading_has(r->root, "chosen") || !dataset_reading_has(r->root, "rejected"))
        return dataset_keys_missing(&r->place, r->root,
                                    "a preference row needs \"chosen\" and \"rejected\" (and "
                                    "\"prompt\", unless both begin with it)",
                                    expected, COUNT_OF(expected), r->et);
    return r->options->answers_are_chats ? read_chats(r) : read_texts(r);
}
