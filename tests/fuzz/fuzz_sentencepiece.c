/* fuzz_sentencepiece.c - a tokenizer.model of either kind: what is accepted encodes within its
 * vocabulary. */
#include "common/base/check.h"
#include "common/formats/tokenizer/sentencepiece.h"
#include "common/formats/tokenizer/tiktoken.h"
#include "common/mem/mem.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err_text et;
    struct token_list ids;
    struct tokenizer *t = mem_alloc(1, sizeof(*t));
    ASSERT(t != NULL);
    tokenizer_model_init(t, 256 << 20);
    token_list_init(&ids);
    const struct span content = {data, size};
    enum err err = tiktoken_recognise(content) ? tiktoken_read(t, content, &et)
                                               : sentencepiece_read(t, content, &et);
    if (err == ERR_OK)
        err = tokenizer_model_finish(t, &et);
    if (err == ERR_OK) {
        err = tokenizer_encode(t, NULL, TEXT("ab  the\n\xC3\xA9"), TOKENIZER_ADD_SPECIAL, &ids);
        ASSERT(err == ERR_OK || err == ERR_DATA); /* an unknown character, no token for such */
        for (size_t i = 0; i < ids.count; i++)
            ASSERT(ids.ids[i] < tokenizer_vocabulary_size(t));
    }
    token_list_fini(&ids);
    tokenizer_close(&t);
    return 0;
}
