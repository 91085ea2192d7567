/* chat_template_render.c - conversations to text, all rows in one way. */
#include <string.h>

#include "common/base/check.h"
#include "common/formats/tokenizer/chat_template.h"
#include "common/formats/tokenizer/chat_template_row.h"
#include "common/formats/tokenizer/text_find.h"
#include "common/formats/tokenizer/unicode.h"

/* A rendering under way. */
struct rendering {
    const struct chat_template *row;
    const struct chat_message *messages;
    size_t count;
    const struct chat_render_options *options;
    struct bytes *out;
    struct err_text *et;
    size_t answers; /* the first message behind the last question */
};

/* A text of the row, with the spelling of BOS and EOS in place. */
static void expand(const struct rendering *r, const char *text)
{
    for (; text != NULL && *text != '\0'; text++)
        if (*text == CHAT_TEMPLATE_BOS[0])
            bytes_append_text(r->out, r->options->bos);
        else if (*text == CHAT_TEMPLATE_EOS[0])
            bytes_append_text(r->out, r->options->eos);
        else
            bytes_append(r->out, text, 1);
}

/* Whether the character at `at` is one that Python's str.strip takes: White_Space and four
 * separators. Half a character, which a person at a terminal can give, is none. */
static bool is_blank(struct text text, size_t at)
{
    if (unicode_size((uint8_t)text.data[at]) > text.size - at)
        return false;
    uint32_t c = unicode_at(text.data + at);
    return unicode_is_space(c) || (c >= 0x1C && c <= 0x1F);
}

static struct text trimmed(struct text text)
{
    while (text.size > 0 && is_blank(text, 0)) {
        size_t size = unicode_size((uint8_t)text.data[0]);
        text = (struct text){text.data + size, text.size - size};
    }
    for (size_t last; text.size > 0; text.size = last) {
        last = unicode_before(text, text.size);
        if (!is_blank(text, last))
            break;
    }
    return text;
}

static void append(const struct rendering *r, struct text content, enum chat_trim kind)
{
    bytes_append_text(r->out, (r->row->trim & (unsigned)kind) != 0 ? trimmed(content) : content);
}

static const char *const ROLE_NAMES[] = {
    [CHAT_SYSTEM] = "system", [CHAT_USER] = "user", [CHAT_ASSISTANT] = "assistant"};

static enum err refuse(const struct rendering *r, size_t index, const char *why)
{
    return error_set(r->et, ERR_DATA, "message %zu is of role %s, but template %s %s", index + 1,
                     ROLE_NAMES[r->messages[index].role], r->row->name, why);
}

/* Whether the template takes this sequence of roles. */
static enum err check_roles(const struct rendering *r)
{
    bool led = r->count > 0 && r->messages[0].role == CHAT_SYSTEM;
    if (led && r->row->system == CHAT_SYSTEM_REFUSED)
        return refuse(r, 0, "has none");
    for (size_t i = led; i < r->count; i++) {
        enum chat_role role = r->messages[i].role;
        enum chat_role turn = (i - led) % 2 == 0 ? CHAT_USER : CHAT_ASSISTANT;
        if (role == CHAT_SYSTEM && (r->row->alternate || r->row->system != CHAT_SYSTEM_TURN))
            return refuse(r, i, "takes it first only");
        if (r->row->alternate && role != turn)
            return refuse(r, i, "wants user and assistant to take turns");
    }
    return ERR_OK;
}

static void render_system(const struct rendering *r, struct text content, bool is_first)
{
    if (content.size == 0 && r->row->skip_empty_system)
        return;
    expand(r, r->row->system_open);
    if (is_first)
        expand(r, r->row->preface);
    append(r, content, CHAT_TRIM_SYSTEM);
    expand(r, r->row->system_close);
}

/* The user's content, behind the system's text where the template puts it there. */
static enum err render_user(const struct rendering *r, const struct chat_message *system,
                            struct text content)
{
    struct bytes joined;
    struct rendering inner = *r;
    bool apart = r->row->system == CHAT_SYSTEM_BEFORE_USER;
    bytes_init(&joined, r->out->limit_bytes);
    inner.out = apart ? r->out : &joined;
    expand(r, r->row->user_open);
    if (system != NULL) {
        expand(&inner, r->row->system_open);
        bytes_append_text(inner.out, system->content);
        expand(&inner, r->row->system_close);
    }
    bytes_append_text(&joined, content);
    enum err err = bytes_status(&joined);
    if (err == ERR_OK && joined.size > 0)
        append(r, (struct text){(const char *)joined.data, joined.size}, CHAT_TRIM_USER);
    expand(r, r->row->user_close);
    bytes_fini(&joined);
    return err;
}

/* Line breaks at the ends go. */
static struct text without_breaks(struct text text, bool left, bool right)
{
    while (left && text.size > 0 && text.data[0] == '\n')
        text = (struct text){text.data + 1, text.size - 1};
    while (right && text.size > 0 && text.data[text.size - 1] == '\n')
        text.size--;
    return text;
}

/* What stands behind the last `part`; all of it when there is none. */
static struct text behind_last(struct text text, const char *part)
{
    struct text tag = text_of(part);
    for (size_t at; (at = text_find(text, 0, tag)) < text.size;)
        text = (struct text){text.data + at + tag.size, text.size - at - tag.size};
    return text;
}

/* An answer whose thoughts lie in <think> tags before its words. */
static void render_thinking(const struct rendering *r, size_t index, struct text content)
{
    struct text thoughts = {"", 0};
    size_t end = text_find(content, 0, TEXT("</think>"));
    if (end < content.size) {
        thoughts = without_breaks((struct text){content.data, end}, false, true);
        thoughts = without_breaks(behind_last(thoughts, "<think>"), true, false);
        content = without_breaks(behind_last(content, "</think>"), true, false);
    }
    bool kept = index >= r->answers && (index + 1 == r->count || thoughts.size > 0);
    if (kept) {
        bytes_append_text(r->out, TEXT("<think>\n"));
        bytes_append_text(r->out, without_breaks(thoughts, true, true));
        bytes_append_text(r->out, TEXT("\n</think>\n\n"));
    }
    bytes_append_text(r->out, without_breaks(content, kept, false));
}

static struct chat_span render_assistant(const struct rendering *r, size_t index)
{
    struct text content = r->messages[index].content;
    struct chat_span span;
    expand(r, r->row->assistant_open);
    span.begin = r->out->size;
    expand(r, r->row->assistant_lead);
    if (r->row->thinks)
        render_thinking(r, index, content);
    else
        append(r, content, CHAT_TRIM_ASSISTANT);
    expand(r, r->row->assistant_close);
    span.end = r->out->size;
    expand(r, r->row->after_assistant);
    return span;
}

/* The message behind the last question of the user; r->count when there is no question. What a tool
 * answers is said by the user, but no question. */
static size_t behind_questions(const struct rendering *r)
{
    struct text open = TEXT("<tool_response>"), close = TEXT("</tool_response>");
    for (size_t i = r->count; i > 0; i--) {
        struct text said = r->messages[i - 1].content;
        bool is_tool = said.size >= MAX(open.size, close.size) &&
                       memcmp(said.data, open.data, open.size) == 0 &&
                       memcmp(said.data + said.size - close.size, close.data, close.size) == 0;
        if (r->messages[i - 1].role == CHAT_USER && !is_tool)
            return i;
    }
    return r->count;
}

/* The message whose content takes in the system's; r->count when there is none. */
static size_t host_of_system(const struct rendering *r)
{
    enum chat_system_place place = r->row->system;
    if (r->count < 2 || r->messages[0].role != CHAT_SYSTEM)
        return r->count;
    if (place == CHAT_SYSTEM_IN_USER || place == CHAT_SYSTEM_BEFORE_USER)
        return 1;
    if (place == CHAT_SYSTEM_IN_LAST_USER && r->messages[r->count - 1].role == CHAT_USER)
        return r->count - 1;
    return r->count;
}

static bool is_a_turn(enum chat_system_place place)
{
    return place == CHAT_SYSTEM_TURN || place == CHAT_SYSTEM_FIRST;
}

enum err chat_template_render(const struct chat_template *row, const struct chat_message *messages,
                              size_t count, const struct chat_render_options *options,
                              struct bytes *out, struct chat_span *spans, size_t *span_count,
                              struct err_text *et)
{
    struct rendering r = {row, messages, count, options, out, et, 0};
    TRY(check_roles(&r));
    r.answers = behind_questions(&r);
    bool led = count > 0 && messages[0].role == CHAT_SYSTEM;
    size_t host = host_of_system(&r);
    size_t found = 0;
    expand(&r, row->start);
    if (row->default_system != NULL && !led)
        render_system(&r, text_of(row->default_system), true);
    for (size_t at = led && !is_a_turn(row->system); at < count; at++) {
        if (at > 0)
            expand(&r, row->separator);
        switch (messages[at].role) {
        case CHAT_SYSTEM:
            render_system(&r, messages[at].content, at == 0);
            break;
        case CHAT_USER:
            TRY(render_user(&r, at == host ? &messages[0] : NULL, messages[at].content));
            break;
        case CHAT_ASSISTANT: {
            struct chat_span span = render_assistant(&r, at);
            if (spans != NULL)
                spans[found] = span;
            found++;
            break;
        }
        }
    }
    expand(&r, options->add_generation_prompt ? row->generation : row->tail);
    if (span_count != NULL)
        *span_count = found;
    return bytes_status(out);
}
