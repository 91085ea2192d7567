/* chat_template.h - conversations to text, for the templates that models are known to use.
 *
 * A model names its template by a Jinja text. There is no Jinja interpreter here: the text is
 * recognised by its form (jinja_form.h) and rendered from a row of a table (chat_template_row.h),
 * whose output the tests hold against Jinja's. A template that is not recognised is an error naming
 * the choices, never a guess.
 */
#ifndef COMMON_FORMATS_TOKENIZER_CHAT_TEMPLATE_H
#define COMMON_FORMATS_TOKENIZER_CHAT_TEMPLATE_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/error.h"
#include "common/base/span.h"
#include "common/formats/tokenizer/tokenizer.h"
#include "common/mem/bytes.h"

/* A row of the table; static. */
struct chat_template;

enum chat_role { CHAT_SYSTEM, CHAT_USER, CHAT_ASSISTANT };

struct chat_message {
    enum chat_role role;
    struct text content; /* borrowed */
};

/* Bytes [begin, end) of the rendered text that the assistant says, with the mark that ends its
 * turn. */
struct chat_span {
    size_t begin;
    size_t end;
};

struct chat_render_options {
    struct text bos; /* spelling of BOS and EOS, as the template writes them */
    struct text eos;
    bool add_generation_prompt; /* end with the opening of an assistant's turn */
};

/* By name ("chatml", "llama-2", ...) or alias, whatever the signs between its parts ("llama3",
 * "phi_35"); NULL when there is none. */
const struct chat_template *chat_template_named(struct text name);
const char *chat_template_name(const struct chat_template *chat_template);

/* A Jinja text that renders as the template does, for files of a tokenizer. Static. */
const char *chat_template_jinja(const struct chat_template *chat_template);

enum { CHAT_TEMPLATE_CHOICES_BYTES = 320 };

/* Writes "chatml, qwen-2, ..." for messages and returns `out`. */
const char *chat_template_choices(char *out, size_t out_bytes);

/* Recognises a Jinja text; NULL when it is none of ours. */
const struct chat_template *chat_template_recognise(struct text jinja);

/* The template named `name`, or, with NULL or "tokenizer_default", the model's own.
 * `tokenizer` may be NULL with a name. ERR_RECIPE: unknown name. ERR_UNSUPPORTED: the model's own
 * is not recognised, or the template needs an EOS that the tokenizer lacks. ERR_NOT_FOUND: the
 * model has none. */
MUST_CHECK enum err chat_template_resolve(const struct tokenizer *tokenizer, const char *name,
                                          const struct chat_template **out, struct err_text *et);

/* Role of a name: user, human, prompter; assistant, gpt, model, bot; system. */
MUST_CHECK enum err chat_template_role(struct text name, enum chat_role *out);

/* Appends the rendered conversation to *out and its assistant spans to spans[0..*span_count)
 * (room for `count`; both may be NULL). ERR_DATA with the message's number when the template does
 * not take this sequence of roles. On an error *out may hold a part. */
MUST_CHECK enum err chat_template_render(const struct chat_template *chat_template,
                                         const struct chat_message *messages, size_t count,
                                         const struct chat_render_options *options,
                                         struct bytes *out, struct chat_span *spans,
                                         size_t *span_count, struct err_text *et);

/* Options with the tokenizer's own spelling of BOS and EOS. */
struct chat_render_options chat_template_options(const struct tokenizer *tokenizer);

#endif
