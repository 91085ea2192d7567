/* chat_template.c - looks templates up and renders them all in one way. */
#include "common/formats/tokenizer/chat_template.h"

#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/tokenizer/chat_template_row.h"
#include "common/formats/tokenizer/jinja_form.h"
#include "common/formats/tokenizer/unicode.h"
#include "common/mem/mem.h"

enum { JINJA_BYTES_MAX = 1 << 20, FORM_BYTES_MAX = 4 << 20 };

/* Whether two names are the same but for "-", "_", "." and case: recipes of others write "llama3"
 * and "phi_35". */
static bool is_name(struct text name, const char *known)
{
    size_t at = 0;
    for (;;) {
        while (at < name.size && strchr("-_.", name.data[at]) != NULL)
            at++;
        while (*known == '-' || *known == '.')
            known++;
        if (at == name.size || *known == '\0')
            return at == name.size && *known == '\0';
        char c = name.data[at++];
        if (c >= 'A' && c <= 'Z')
            c = (char)(c - 'A' + 'a');
        if (c != *known++)
            return false;
    }
}

const struct chat_template *chat_template_named(struct text name)
{
    const struct chat_template *row;
    for (size_t i = 0; (row = chat_template_row_at(i)) != NULL; i++)
        if (is_name(name, row->name) || (row->alias != NULL && is_name(name, row->alias)))
            return row;
    return NULL;
}

const char *chat_template_name(const struct chat_template *chat_template)
{
    return chat_template->name;
}

const char *chat_template_jinja(const struct chat_template *chat_template)
{
    return chat_template->forms[0];
}

const char *chat_template_choices(char *out, size_t out_bytes)
{
    const struct chat_template *row;
    size_t at = 0;
    ASSERT(out_bytes > 0);
    out[0] = '\0';
    for (size_t i = 0; (row = chat_template_row_at(i)) != NULL && at < out_bytes; i++) {
        int size = snprintf(out + at, out_bytes - at, "%s%s", i > 0 ? ", " : "", row->name);
        at += size > 0 ? (size_t)size : 0;
    }
    return out;
}

/* Where `part` begins in `text` from `at` on; text.size when it does not. */
static size_t find(struct text text, size_t at, struct text part)
{
    while (part.size > 0 && part.size <= text.size - at) {
        const char *place = memchr(text.data + at, part.data[0], text.size - part.size - at + 1);
        if (place == NULL)
            return text.size;
        at = (size_t)(place - text.data);
        if (memcmp(place, part.data, part.size) == 0)
            return at;
        at++;
    }
    return part.size == 0 ? at : text.size;
}

/* Whether `text` is the pattern, in which "*" stands for anything. The first piece must begin the
 * text and the last must end it; a piece between is taken where it first fits, which is never
 * worse than a later place. */
static bool fits(struct text text, const char *pattern)
{
    size_t at = 0;
    for (bool first = true;; first = false) {
        const char *star = strchr(pattern, '*');
        struct text piece = {pattern, star != NULL ? (size_t)(star - pattern) : strlen(pattern)};
        if (piece.size > text.size - at)
            return false;
        if (star == NULL) {
            size_t place = text.size - piece.size;
            return (!first || place == 0) && find(text, place, piece) == place;
        }
        size_t place = find(text, at, piece);
        if (place + piece.size > text.size || (first && place != 0))
            return false;
        at = place + piece.size;
        pattern = star + 1;
    }
}

const struct chat_template *chat_template_recognise(struct text jinja)
{
    /* Says what is so anyway. */
    static const char preamble[] = "{%if not add_generation_prompt is defined%}{%set "
                                   "add_generation_prompt=false%}{%endif%}";
    const struct chat_template *found = NULL;
    const struct chat_template *row;
    struct bytes form;
    bytes_init(&form, FORM_BYTES_MAX);
    if (jinja.size > 0 && jinja.size <= JINJA_BYTES_MAX)
        jinja_form_write(jinja, &form);
    struct text text = {(const char *)form.data, form.size};
    bool written = bytes_status(&form) == ERR_OK && form.size > 0;
    if (written && text.size > sizeof(preamble) &&
        memcmp(text.data, preamble, sizeof(preamble) - 1) == 0)
        text = (struct text){text.data + sizeof(preamble) - 1, text.size - sizeof(preamble) + 1};
    for (size_t i = 0; written && found == NULL && (row = chat_template_row_at(i)) != NULL; i++)
        for (size_t k = 0; k < CHAT_TEMPLATE_FORMS_MAX && row->forms[k] != NULL; k++)
            if (fits(text, row->forms[k]))
                found = row;
    bytes_fini(&form);
    return found;
}

static bool has_eos(const char *text)
{
    return text != NULL && strchr(text, CHAT_TEMPLATE_EOS[0]) != NULL;
}

static enum err find_template(const struct tokenizer *tokenizer, const char *name,
                              const struct chat_template **out, struct err_text *et)
{
    char choices[CHAT_TEMPLATE_CHOICES_BYTES];
    (void)chat_template_choices(choices, sizeof choices);
    if (name != NULL && strcmp(name, "tokenizer_default") != 0) {
        *out = chat_template_named(text_of(name));
        if (*out == NULL)
            return error_set(et, ERR_RECIPE, "chat_template: expected one of %s; found '%s'",
                             choices, name);
        return ERR_OK;
    }
    struct text jinja = tokenizer == NULL ? TEXT("") : tokenizer_chat_template(tokenizer);
    if (jinja.size == 0)
        return error_set(et, ERR_NOT_FOUND,
                         "the model has no chat template; set chat_template to one of %s", choices);
    *out = chat_template_recognise(jinja);
    if (*out == NULL)
        return error_set(
            et, ERR_UNSUPPORTED, "the model's chat template %s; set chat_template to one of %s",
            find(jinja, 0, TEXT("strftime_now")) < jinja.size
                ? "prints the day it is rendered on, which would make every run another"
                : "is none that qfleet knows",
            choices);
    return ERR_OK;
}

enum err chat_template_resolve(const struct tokenizer *tokenizer, const char *name,
                               const struct chat_template **out, struct err_text *et)
{
    const struct chat_template *found;
    TRY(find_template(tokenizer, name, &found, et));
    bool needs_eos = has_eos(found->system_close) || has_eos(found->user_close) ||
                     has_eos(found->assistant_close) || has_eos(found->tail);
    /* Turns that never end would train a model that never stops. */
    if (tokenizer != NULL && needs_eos && tokenizer_roles(tokenizer).eos == TOKENIZER_NONE)
        return error_set(et, ERR_UNSUPPORTED,
                         "chat template %s ends turns with EOS, but the tokenizer names no "
                         "eos_token",
                         found->name);
    *out = found;
    return ERR_OK;
}

enum err chat_template_role(struct text name, enum chat_role *out)
{
    static const struct {
        const char *name;
        enum chat_role role;
    } names[] = {
        {"system", CHAT_SYSTEM},   {"user", CHAT_USER},     {"human", CHAT_USER},
        {"prompter", CHAT_USER},   {"gpt", CHAT_ASSISTANT}, {"assistant", CHAT_ASSISTANT},
        {"model", CHAT_ASSISTANT}, {"bot", CHAT_ASSISTANT},
    };
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (text_is(name, names[i].name)) {
            *out = names[i].role;
            return ERR_OK;
        }
    return ERR_DATA;
}

struct chat_render_options chat_template_options(const struct tokenizer *tokenizer)
{
    struct tokenizer_roles roles = tokenizer_roles(tokenizer);
    return (struct chat_render_options){.bos = tokenizer_token(tokenizer, roles.bos),
                                        .eos = tokenizer_token(tokenizer, roles.eos)};
}

/* A rendering under way. */
struct rendering {
    const struct chat_template *row;
    const struct chat_message *messages;
    size_t count;
    const struct chat_render_options *options;
    struct bytes *out;
    struct err_text *et;
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

/* What Python's str.strip takes: White_Space and four separators. */
static bool is_blank(uint32_t c)
{
    return unicode_is_space(c) || (c >= 0x1C && c <= 0x1F);
}

static struct text trimmed(struct text text)
{
    while (text.size > 0 && is_blank(unicode_at(text.data))) {
        size_t size = unicode_size((uint8_t)text.data[0]);
        text = (struct text){text.data + size, text.size - size};
    }
    while (text.size > 0) {
        size_t last = unicode_before(text, text.size);
        if (!is_blank(unicode_at(text.data + last)))
            break;
        text.size = last;
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

static struct chat_span render_assistant(const struct rendering *r, struct text content)
{
    struct chat_span span;
    expand(r, r->row->assistant_open);
    span.begin = r->out->size;
    expand(r, r->row->assistant_lead);
    append(r, content, CHAT_TRIM_ASSISTANT);
    expand(r, r->row->assistant_close);
    span.end = r->out->size;
    expand(r, r->row->after_assistant);
    return span;
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
    const struct rendering r = {row, messages, count, options, out, et};
    TRY(check_roles(&r));
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
            struct chat_span span = render_assistant(&r, messages[at].content);
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
