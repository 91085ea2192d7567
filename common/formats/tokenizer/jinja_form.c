/* jinja_form.c - a lexer of Jinja that forgets spelling. */
#include "common/formats/tokenizer/jinja_form.h"

#include <stdbool.h>

#define NOWHERE SIZE_MAX

/* Where reading and writing stand. */
struct form {
    struct text jinja;
    size_t at;
    struct bytes *out;
    bool printing;     /* "{{" is written and "}}" is not */
    size_t string_end; /* size of *out after the last string's quote, or NOWHERE */
    bool eats_all;     /* the last tag ended in "-": blanks after it go */
    bool eats_line;    /* the last tag was no "{{": one line break after it goes */
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v';
}

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* The character `ahead` bytes further on, NUL behind the end. */
static char peek(const struct form *form, size_t ahead)
{
    return ahead < form->jinja.size - form->at ? form->jinja.data[form->at + ahead] : '\0';
}

static char last_out(const struct form *form, size_t back)
{
    return form->out->size >= back ? (char)form->out->data[form->out->size - back] : '\0';
}

static void put(struct form *form, char c)
{
    bytes_append(form->out, &c, 1);
}

/* A character of a literal, with line breaks spelled out. */
static void put_literal(struct form *form, char c)
{
    if (c == '\n')
        bytes_append(form->out, "\\n", 2);
    else
        put(form, c);
}

/* Opens a string, or goes on with the last one when only a "+" is between them. */
static void open_string(struct form *form)
{
    if (form->string_end != NOWHERE && form->out->size == form->string_end + 1 &&
        last_out(form, 1) == '+')
        form->out->size -= 2;
    else
        put(form, '\'');
}

static void close_string(struct form *form)
{
    put(form, '\'');
    form->string_end = form->out->size;
}

static void begin_print(struct form *form)
{
    bytes_append(form->out, form->printing ? "+" : "{{", form->printing ? 1 : 2);
    form->printing = true;
}

static void end_print(struct form *form)
{
    if (form->printing)
        bytes_append(form->out, "}}", 2);
    form->printing = false;
}

/* Text between tags: [form->at, end), before a tag `next` ('{', '%', '#'; NUL at the end). */
static void write_literal(struct form *form, size_t end, char next, bool next_eats)
{
    const char *data = form->jinja.data;
    size_t begin = form->at;
    bool starts_line = begin == 0;
    if (form->eats_all) {
        while (begin < end && is_blank(data[begin]))
            begin++;
    } else if (form->eats_line && begin < end && data[begin] == '\n') {
        begin++;
        starts_line = true;
    }
    if (next_eats) {
        while (end > begin && is_blank(data[end - 1]))
            end--;
    } else if (next == '%' || next == '#') {
        size_t stripped = end;
        while (stripped > begin && (data[stripped - 1] == ' ' || data[stripped - 1] == '\t'))
            stripped--;
        if (stripped > begin ? data[stripped - 1] == '\n' : starts_line)
            end = stripped;
    } else if (next == '\0' && end > begin && data[end - 1] == '\n') {
        end--;
    }
    if (end <= begin)
        return;
    begin_print(form);
    open_string(form);
    for (; begin < end; begin++)
        put_literal(form, data[begin]);
    close_string(form);
}

/* A string of a tag, form->at on its quote. A string in brackets is a member. */
static void write_string(struct form *form)
{
    char quote = peek(form, 0);
    char before = last_out(form, 2);
    bool member = last_out(form, 1) == '[' && (is_word(before) || before == ')' || before == ']');
    size_t start = form->out->size;
    if (!member)
        open_string(form);
    form->at++;
    while (form->at < form->jinja.size && peek(form, 0) != quote) {
        char c = form->jinja.data[form->at++];
        if (c == '\\' && form->at < form->jinja.size) {
            c = form->jinja.data[form->at++];
            if (c != '\'' && c != '"')
                put(form, '\\');
        }
        put_literal(form, c);
    }
    form->at += form->at < form->jinja.size;
    if (!member) {
        close_string(form);
        return;
    }
    while (is_blank(peek(form, 0)))
        form->at++;
    form->at += peek(form, 0) == ']';
    if (start > 0 && bytes_status(form->out) == ERR_OK)
        form->out->data[start - 1] = '.';
}

/* What a tag says, up to its end; `close` is '}' or '%'. */
static void write_tag(struct form *form, char close)
{
    bool gap = false;
    while (form->at < form->jinja.size) {
        char c = peek(form, 0);
        bool dashed = c == '-' && peek(form, 1) == close && peek(form, 2) == '}';
        if (dashed || (c == close && peek(form, 1) == '}')) {
            form->eats_all = dashed;
            form->at += dashed ? 3 : 2;
            return;
        }
        if (is_blank(c)) {
            gap = true;
            form->at++;
        } else if (c == '\'' || c == '"') {
            write_string(form);
            gap = false;
        } else {
            if (gap && (is_word(c) || c == '[') && is_word(last_out(form, 1)))
                put(form, ' ');
            put(form, c);
            gap = false;
            form->at++;
        }
    }
}

static void skip_comment(struct form *form)
{
    form->eats_all = false;
    for (; form->at < form->jinja.size; form->at++)
        if (peek(form, 0) == '#' && peek(form, 1) == '}') {
            form->eats_all = form->jinja.data[form->at - 1] == '-';
            form->at += 2;
            return;
        }
}

void jinja_form_write(struct text jinja, struct bytes *out)
{
    struct form form = {.jinja = jinja, .out = out, .string_end = NOWHERE};
    while (bytes_status(out) == ERR_OK) {
        size_t tag = form.at;
        while (tag + 1 < jinja.size && !(jinja.data[tag] == '{' && (jinja.data[tag + 1] == '{' ||
                                                                    jinja.data[tag + 1] == '%' ||
                                                                    jinja.data[tag + 1] == '#')))
            tag++;
        bool ends = tag + 1 >= jinja.size;
        char kind = ends ? '\0' : jinja.data[tag + 1];
        bool dashed = !ends && tag + 2 < jinja.size && jinja.data[tag + 2] == '-';
        write_literal(&form, ends ? jinja.size : tag, kind, dashed);
        if (ends)
            break;
        form.at = tag + 2 + (dashed ? 1u : 0u);
        form.eats_line = kind != '{';
        if (kind == '{') {
            begin_print(&form);
            write_tag(&form, '}');
        } else if (kind == '%') {
            end_print(&form);
            bytes_append(out, "{%", 2);
            write_tag(&form, '%');
            bytes_append(out, "%}", 2);
        } else {
            skip_comment(&form);
        }
    }
    end_print(&form);
}
