/* go_template.c - every action is a line of its own that eats the blanks before it, and every text
 * is a quoted constant: what is printed does not hang on how the template is laid out. */
#include "cli/publish/go_template.h"

#include <string.h>

#include "common/formats/tokenizer/chat_template_row.h"

/* A character within Go's quotes; the quote itself as a number, so that three never meet. */
static void put_character(struct bytes *out, char c)
{
    if (c == '\n')
        bytes_append_text(out, TEXT("\\n"));
    else if (c == '\t')
        bytes_append_text(out, TEXT("\\t"));
    else if (c == '\\')
        bytes_append_text(out, TEXT("\\\\"));
    else if (c == '"' || (unsigned char)c < ' ')
        bytes_print(out, "\\x%02x", (unsigned)(unsigned char)c);
    else
        bytes_append(out, &c, 1);
}

/* `text` of a row with BOS and EOS spelled, cut to fit; "" for NULL. */
static struct text spelled(const struct publication *p, const char *text,
                           char out[GO_TEMPLATE_STOP_BYTES * 8])
{
    size_t size = 0, room = (size_t)GO_TEMPLATE_STOP_BYTES * 8;
    for (; text != NULL && *text != '\0'; text++) {
        struct text part = *text == CHAT_TEMPLATE_BOS[0]   ? p->bos
                           : *text == CHAT_TEMPLATE_EOS[0] ? p->eos
                                                           : (struct text){text, 1};
        if (part.size > room - size)
            break;
        if (part.size > 0)
            memcpy(out + size, part.data, part.size);
        size += part.size;
    }
    return (struct text){out, size};
}

/* Prints a constant; nothing for an empty one. */
static void put_constant(const struct publication *p, const char *text, struct bytes *out)
{
    char buffer[GO_TEMPLATE_STOP_BYTES * 8];
    struct text content = spelled(p, text, buffer);
    if (content.size == 0)
        return;
    bytes_append_text(out, TEXT("\n{{- \""));
    for (size_t i = 0; i < content.size; i++)
        put_character(out, content.data[i]);
    bytes_append_text(out, TEXT("\" }}"));
}

static void put_action(struct bytes *out, const char *action)
{
    bytes_print(out, "\n{{- %s }}", action);
}

static bool has_text(const char *text)
{
    return text != NULL && text[0] != '\0';
}

static bool is_turn(const struct chat_template *row)
{
    return row->system == CHAT_SYSTEM_TURN || row->system == CHAT_SYSTEM_FIRST;
}

/* The first turn's BOS is the template's or the tokenizer's, never both. */
static void put_start(const struct publication *p, struct bytes *out)
{
    const char *start = p->chat->start;
    if (start != NULL && start[0] == CHAT_TEMPLATE_BOS[0] && p->adds_bos)
        start++;
    put_constant(p, start, out);
}

static void put_default_system(const struct publication *p, struct bytes *out)
{
    const struct chat_template *row = p->chat;
    if (row->default_system == NULL)
        return;
    put_action(out, "if or (not .Messages) (ne (index .Messages 0).Role \"system\")");
    put_constant(p, row->system_open, out);
    put_constant(p, row->preface, out);
    put_constant(p, row->default_system, out);
    put_constant(p, row->system_close, out);
    put_action(out, "end");
}

static void put_system(const struct publication *p, struct bytes *out)
{
    const struct chat_template *row = p->chat;
    put_action(out, "if eq $m.Role \"system\"");
    if (!is_turn(row)) {
        put_action(out, "$system = $m.Content");
        return;
    }
    if (row->skip_empty_system)
        put_action(out, "if $m.Content");
    put_constant(p, row->system_open, out);
    if (has_text(row->preface)) {
        put_action(out, "if eq $i 0");
        put_constant(p, row->preface, out);
        put_action(out, "end");
    }
    put_action(out, "$m.Content");
    put_constant(p, row->system_close, out);
    if (row->skip_empty_system)
        put_action(out, "end");
}

/* A template that refuses a system's text gets it as Gemma 3 does, before the question. */
static void put_system_in_user(const struct publication *p, struct bytes *out)
{
    const struct chat_template *row = p->chat;
    bool in_last = row->system == CHAT_SYSTEM_IN_LAST_USER;
    put_action(out, in_last ? "if and $system $last" : "if $system");
    put_constant(p, row->system_open, out);
    put_action(out, "$system");
    put_constant(p, row->system == CHAT_SYSTEM_REFUSED ? "\n\n" : row->system_close, out);
    put_action(out, "$system = \"\"");
    put_action(out, "end");
}

/* What opens a question; where that is BOS, the first one's is the tokenizer's. */
static void put_user_open(const struct publication *p, struct bytes *out)
{
    const char *open = p->chat->user_open;
    if (!has_text(open) || open[0] != CHAT_TEMPLATE_BOS[0] || !p->adds_bos) {
        put_constant(p, open, out);
        return;
    }
    put_action(out, "if $asked");
    put_constant(p, CHAT_TEMPLATE_BOS, out);
    put_action(out, "end");
    put_action(out, "$asked = true");
    put_constant(p, open + 1, out);
}

static void put_turns(const struct publication *p, struct bytes *out)
{
    const struct chat_template *row = p->chat;
    put_system(p, out);
    put_action(out, "else if eq $m.Role \"user\"");
    put_user_open(p, out);
    if (!is_turn(row))
        put_system_in_user(p, out);
    put_action(out, "$m.Content");
    put_constant(p, row->user_close, out);
    put_action(out, "else if eq $m.Role \"assistant\"");
    put_constant(p, row->assistant_open, out);
    put_constant(p, row->assistant_lead, out);
    put_action(out, "$m.Content");
    put_action(out, "if not $last"); /* an answer that is begun is gone on with */
    put_constant(p, row->assistant_close, out);
    put_constant(p, row->after_assistant, out);
    put_action(out, "end");
    put_action(out, "end");
    if (!has_text(row->generation))
        return;
    put_action(out, "if and $last (ne $m.Role \"assistant\")");
    put_constant(p, row->generation, out);
    put_action(out, "end");
}

enum err go_template_print(const struct publication *p, struct bytes *out)
{
    const struct chat_template *row = p->chat;
    bool led = has_text(row->user_open) && row->user_open[0] == CHAT_TEMPLATE_BOS[0];
    bytes_append_text(out, TEXT("{{- /* made from the template "));
    bytes_append_text(out, text_of(row->name));
    bytes_append_text(out, TEXT(" */ -}}"));
    if (!is_turn(row))
        put_action(out, "$system := \"\"");
    if (led && p->adds_bos)
        put_action(out, "$asked := false");
    put_start(p, out);
    put_default_system(p, out);
    put_action(out, "range $i, $m := .Messages");
    put_action(out, "$last := eq (len (slice $.Messages $i)) 1");
    if (has_text(row->separator)) {
        put_action(out, "if $i");
        put_constant(p, row->separator, out);
        put_action(out, "end");
    }
    put_turns(p, out);
    put_action(out, "end");
    return bytes_status(out);
}

static struct text trimmed(struct text text)
{
    while (text.size > 0 && strchr(" \n", text.data[0]) != NULL)
        text = (struct text){text.data + 1, text.size - 1};
    while (text.size > 0 && strchr(" \n", text.data[text.size - 1]) != NULL)
        text.size--;
    return text;
}

size_t go_template_stops(const struct publication *p,
                         char stops[GO_TEMPLATE_STOPS_MAX][GO_TEMPLATE_STOP_BYTES])
{
    const char *open = p->chat->user_open;
    if (has_text(open) && open[0] == CHAT_TEMPLATE_BOS[0])
        open++;
    const char *const sources[GO_TEMPLATE_STOPS_MAX] = {p->chat->assistant_close, CHAT_TEMPLATE_EOS,
                                                        open};
    size_t count = 0;
    for (size_t i = 0; i < GO_TEMPLATE_STOPS_MAX; i++) {
        char buffer[GO_TEMPLATE_STOP_BYTES * 8];
        struct text stop = trimmed(spelled(p, sources[i], buffer));
        bool is_new = stop.size > 0 && stop.size < GO_TEMPLATE_STOP_BYTES;
        for (size_t k = 0; k < count; k++)
            is_new = is_new && !text_is(stop, stops[k]);
        if (!is_new)
            continue;
        memcpy(stops[count], stop.data, stop.size);
        stops[count++][stop.size] = '\0';
    }
    return count;
}
