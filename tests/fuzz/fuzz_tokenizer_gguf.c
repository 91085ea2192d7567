/* fuzz_tokenizer_gguf.c - a tokenizer from a GGUF file that is accepted encodes and decodes. */
#include "common/base/check.h"
#include "common/formats/tokenizer/tokenizer_gguf.h"
#include "common/mem/mem.h"
#include "tests/fuzz/fuzz.h"

static void use(const struct tokenizer *tokenizer)
{
    struct token_list ids;
    struct bytes out;
    token_list_init(&ids);
    bytes_init(&out, 1 << 20);
    enum err err =
        tokenizer_encode(tokenizer, NULL, TEXT("Ab <s> 12'll\n\n  \xC3\xA9\xE2\x96\x81\xFF."),
                         TOKENIZER_ADD_SPECIAL, &ids);
    /* ERR_DATA: an unknown character and no token for such. */
    ASSERT(err == ERR_OK || err == ERR_LIMIT || err == ERR_DATA);
    for (size_t i = 0; i < ids.count; i++)
        ASSERT(ids.ids[i] < tokenizer_vocabulary_size(tokenizer));
    if (err == ERR_OK)
        err = tokenizer_decode(tokenizer, ids.ids, ids.count, 0, &out);
    ASSERT(err == ERR_OK || err == ERR_LIMIT || err == ERR_DATA);
    bytes_fini(&out);
    token_list_fini(&ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gguf gguf = {0};
    struct err_text et;
    struct tokenizer *t = mem_alloc(1, sizeof(*t));
    ASSERT(t != NULL);
    tokenizer_model_init(t, 256 << 20);
    enum err err = gguf_parse(&gguf, (struct span){data, size}, "fuzz", &et);
    if (err == ERR_OK)
        err = tokenizer_gguf_read(t, &gguf, &et);
    if (err == ERR_OK)
        err = tokenizer_model_finish(t, &et);
    if (err == ERR_OK)
        use(t);
    gguf_close(&gguf);
    tokenizer_close(&t);
    return 0;
}
