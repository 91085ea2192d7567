/* lm_windows.c - see the header. */
#include "tests/numeric/engine/lm_windows.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "common/formats/source/file.h"
#include "common/formats/tokenizer/tokenizer.h"
#include "common/mem/mem.h"
#include "tests/numeric/engine/engine_data.h"

enum { BOS = 1, CHARACTERS = 40000 };

/* The last `count` characters of UTF-8. */
static struct text end_of(struct span text, size_t count)
{
    size_t at = text.size;
    while (at > 0 && count > 0)
        count -= (text.data[--at] & 0xc0) != 0x80;
    return (struct text){(const char *)text.data + at, text.size - at};
}

static void encode(const char *model, const char *text_path, struct token_list *ids)
{
    struct err_text et = {""};
    struct bytes text;
    struct tokenizer *tokenizer = NULL;
    bytes_init(&text, 1 << 26);
    if (file_read(text_path, 1 << 26, &text, &et) != ERR_OK ||
        tokenizer_open(model, &tokenizer, &et) != ERR_OK)
        fail_msg("%s", et.text);
    assert_int_equal(tokenizer_encode(tokenizer, NULL, end_of(bytes_span(&text), CHARACTERS),
                                      TOKENIZER_SPECIAL_AS_TEXT, ids),
                     ERR_OK);
    tokenizer_close(&tokenizer);
    bytes_fini(&text);
}

struct lm_windows *lm_windows_open(void)
{
    const char *model = engine_data_path(2, "models/lm-6m/tokenizer.model");
    const char *text =
        model != NULL ? engine_data_path(3, "text/tinystories-train-head.txt") : NULL;
    if (text == NULL)
        return NULL;
    struct token_list ids;
    token_list_init(&ids);
    encode(model, text, &ids);
    assert_true(ids.count >= LM_WINDOWS * (LM_WINDOW - 1));
    struct lm_windows *w = mem_alloc(1, sizeof *w);
    assert_non_null(w);
    memset(w->loss, 1, sizeof w->loss);
    for (size_t i = 0; i < LM_WINDOWS; i++) {
        w->ids[i][0] = BOS;
        memcpy(w->ids[i] + 1, ids.ids + i * (LM_WINDOW - 1), (LM_WINDOW - 1) * sizeof *ids.ids);
        w->rows[i] = (struct batch_input){.index = i,
                                          .tokens = w->ids[i],
                                          .loss = w->loss,
                                          .token_count = LM_WINDOW,
                                          .segment_starts = &w->start,
                                          .segment_count = 1};
    }
    token_list_fini(&ids);
    return w;
}
