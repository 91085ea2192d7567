/* chat_template.c - finds the row of a name, of a Jinja text, of a model. */
#include "common/formats/tokenizer/chat_template.h"

#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/tokenizer/chat_template_row.h"
#include "common/formats/tokenizer/jinja_form.h"
#include "common/formats/tokenizer/text_find.h"
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
            return (!first || place == 0) && text_find(text, place, piece) == place;
        }
        size_t place = text_find(text, at, piece);
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
            return error_set(et, ERR_RECIPE, "chat template: expected one of %s; found '%s'",
                             choices, name);
        return ERR_OK;
    }
    struct text jinja = tokenizer == NULL ? TEXT("") : tokenizer_chat_template(tokenizer);
    if (jinja.size == 0)
        return error_set(et, ERR_NOT_FOUND, "the model has no chat template; name one of %s",
                         choices);
    *out = chat_template_recognise(jinja);
    if (*out == NULL)
        return error_set(
            et, ERR_UNSUPPORTED, "the model's chat template %s; name one of %s",
            text_find(jinja, 0, TEXT("strftime_now")) < jinja.size
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
