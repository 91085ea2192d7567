/* jinja_form.h - one spelling for chat templates that say the same.
 *
 * The same template is published with either quotes, with line breaks or "\n", with brackets or
 * dots, in one line or indented. Here it becomes one text that marks can be looked up in:
 *
 *   {%- if message["role"] == "user" %}      {%if message.role=='user'%}
 *       {{- '<|user|>' + '\n' }}         ─▶  {{'<|user|>\n'+message.content}}
 *       {{- message['content'] }}
 *
 * Text between the tags counts with the blanks that Jinja leaves of it under trim_blocks and
 * lstrip_blocks, which is how transformers renders chat templates; it becomes a printed literal.
 * Printed expressions that follow each other are joined by "+". Comments go.
 *
 * Refuses to know: what any of it means.
 */
#ifndef COMMON_FORMATS_TOKENIZER_JINJA_FORM_H
#define COMMON_FORMATS_TOKENIZER_JINJA_FORM_H

#include "common/base/span.h"
#include "common/mem/bytes.h"

/* Appends the one spelling of `jinja` to *out; failures stay in *out. A text that is not Jinja
 * becomes something, too: it just has no marks. */
void jinja_form_write(struct text jinja, struct bytes *out);

#endif
