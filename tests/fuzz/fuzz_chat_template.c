/* fuzz_chat_template.c - any text may stand where a model's Jinja is looked for. */
#include "common/base/check.h"
#include "common/formats/tokenizer/chat_template.h"
#include "common/formats/tokenizer/jinja_form.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct chat_message talk[] = {{CHAT_USER, {"One", 3}},
                                               {CHAT_ASSISTANT, {"Two", 3}}};
    const struct chat_render_options options = {TEXT("<s>"), TEXT("</s>"), false};
    struct text jinja = {(const char *)data, size};
    struct bytes out;
    bytes_init(&out, 16 + size * 12);
    jinja_form_write(jinja, &out);
    ASSERT(out.err != ERR_LIMIT); /* one spelling is a fixed multiple of the text at most */
    const struct chat_template *row = chat_template_recognise(jinja);
    if (row != NULL) {
        struct chat_span span;
        size_t count;
        struct bytes text;
        bytes_init(&text, 1 << 16);
        enum err err =
            chat_template_render(row, talk, COUNT_OF(talk), &options, &text, &span, &count, NULL);
        ASSERT(err == ERR_OK && count == 1 && span.end <= text.size);
        bytes_fini(&text);
    }
    bytes_fini(&out);
    return 0;
}
