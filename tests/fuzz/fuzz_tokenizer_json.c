/* fuzz_tokenizer_json.c - what is accepted encodes and decodes within its vocabulary. */
#include <string.h>

#include "common/base/check.h"
#include "common/formats/tokenizer/tokenizer_json.h"
#include "common/mem/mem.h"
#include "tests/fuzz/fuzz.h"

static void use(const struct tokenizer *tokenizer)
{
    static const char text[] = "Ab <s> 12'll\n\n  \xC3\xA9\xE2\x96\x81\xFF.";
    struct token_list ids;
    struct bytes out;
    token_list_init(&ids);
    bytes_init(&out, 1 << 20);
    enum err err = tokenizer_encode(tokenizer, NULL, (struct text){text, sizeof(text) - 1},
                                    TOKENIZER_ADD_SPECIAL, &ids);
    for (size_t i = 0; i < ids.count; i++)
        ASSERT(ids.ids[i] < tokenizer_vocabulary_size(tokenizer));
    if (err == ERR_OK)
        err = tokenizer_decode(tokenizer, ids.ids, ids.count, 0, &out);
    ASSERT(err == ERR_OK || err == ERR_LIMIT || err == ERR_FORMAT || err == ERR_DATA);
    struct text decoded = {(const char *)out.data, out.size};
    ASSERT(unicode_valid_prefix(decoded) == decoded.size);
    bytes_fini(&out);
    token_list_fini(&ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct json_read_options options = {.name = "fuzz", .size_bytes_max = 1 << 20};
    struct json_doc *doc = NULL;
    struct err_text et;
    struct tokenizer *t = mem_alloc(1, sizeof(*t));
    ASSERT(t != NULL);
    tokenizer_model_init(t, 256 << 20);
    enum err err = json_read_parse((struct span){data, size}, &options, &doc, &et);
    if (err == ERR_OK)
        err = tokenizer_json_read(t, json_read_root(doc), &et);
    if (err == ERR_OK)
        err = tokenizer_model_finish(t, &et);
    if (err == ERR_OK)
        use(t);
    json_read_close(&doc);
    tokenizer_close(&t);
    return 0;
}
