/* fuzz_chat_template.c - any text may stand where a model's Jinja is looked for, and any bytes
 * where somebody says something.
 *
 * The input is taken as a Jinja text, and as a conversation: contents between NUL bytes, the first
 * byte naming the template and the second who speaks.
 */
#include "common/base/check.h"
#include "common/formats/tokenizer/chat_template.h"
#include "common/formats/tokenizer/chat_template_row.h"
#include "common/formats/tokenizer/jinja_form.h"
#include "tests/fuzz/fuzz.h"

enum { MESSAGES_MAX = 8, TEXT_BYTES_MAX = 1 << 20 };

static void recognise(struct text jinja)
{
    struct bytes out;
    bytes_init(&out, 16 + jinja.size * 12);
    jinja_form_write(jinja, &out);
    ASSERT(out.err != ERR_LIMIT); /* one spelling is a fixed multiple of the text at most */
    bytes_fini(&out);
    (void)chat_template_recognise(jinja);
}

static void render(const uint8_t *data, size_t size)
{
    struct chat_message talk[MESSAGES_MAX];
    struct chat_span spans[MESSAGES_MAX];
    size_t count = 0, span_count = 0, rows = 0;
    if (size < 2)
        return;
    while (chat_template_row_at(rows) != NULL)
        rows++;
    const struct chat_template *row = chat_template_row_at(data[0] % rows);
    const struct chat_render_options options = {TEXT("<s>"), TEXT("</s>"), data[1] >= 128};
    unsigned who = data[1];
    for (size_t at = 2, end; at <= size && count < MESSAGES_MAX; at = end + 1, who /= 2) {
        for (end = at; end < size && data[end] != 0;)
            end++;
        bool leads = count == 0 && who % 4 == 3;
        enum chat_role role = leads ? CHAT_SYSTEM : who % 2 == 0 ? CHAT_USER : CHAT_ASSISTANT;
        talk[count++] = (struct chat_message){role, {(const char *)data + at, end - at}};
    }
    struct bytes text;
    bytes_init(&text, TEXT_BYTES_MAX);
    enum err err =
        chat_template_render(row, talk, count, &options, &text, spans, &span_count, NULL);
    ASSERT(err == ERR_OK || err == ERR_DATA || err == ERR_LIMIT);
    size_t before = 0;
    for (size_t i = 0; err == ERR_OK && i < span_count; i++) {
        ASSERT(spans[i].begin >= before && spans[i].end >= spans[i].begin);
        before = spans[i].end;
    }
    ASSERT(err != ERR_OK || before <= text.size);
    bytes_fini(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    recognise((struct text){(const char *)data, size});
    render(data, size);
    return 0;
}
