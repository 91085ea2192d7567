/* character_tokenizer.c - see character_tokenizer.h. */
#include "tests/unit/common/formats/dataset/character_tokenizer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/formats/source/file.h"
#include "common/formats/tokenizer/tokenizer.h"
#include "common/mem/bytes.h"

enum { PATH_BYTES = 256 };

const char CHARACTER_TOKENIZER_SIGNS[] =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ .#:,\n";

int character_tokenizer_make(void **state)
{
    char folder[PATH_BYTES] = "/tmp/test_dataset_XXXXXX";
    char path[PATH_BYTES + 32];
    struct tokenizer *tokenizer = NULL;
    struct err_text et = {0};
    struct bytes json;
    bytes_init(&json, 1 << 16);
    bytes_append_text(
        &json,
        TEXT(
            "{\"added_tokens\": [{\"id\": 1, \"content\": \"<s>\", \"special\": true}, {\"id\": 2, "
            "\"content\": \"</s>\", \"special\": true}, {\"id\": 3, \"content\": \"<|im_start|>\", "
            "\"special\": true}, {\"id\": 4, \"content\": \"<|im_end|>\", \"special\": true}], "
            "\"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": "
            "[{\"SpecialToken\": "
            "{\"id\": \"<s>\"}}, {\"Sequence\": {\"id\": \"A\"}}], \"special_tokens\": {\"<s>\": "
            "{\"ids\": [1]}}}, \"model\": {\"type\": \"BPE\", \"unk_token\": \"<unk>\", "
            "\"merges\": "
            "[], \"vocab\": {\"<unk>\": 0"));
    for (unsigned i = 0; CHARACTER_TOKENIZER_SIGNS[i] != '\0'; i++)
        if (CHARACTER_TOKENIZER_SIGNS[i] == '\n')
            bytes_print(&json, ", \"\\n\": %u", 10 + i);
        else
            bytes_print(&json, ", \"%c\": %u", CHARACTER_TOKENIZER_SIGNS[i], 10 + i);
    bytes_append_text(&json, TEXT("}}}"));
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof(path), "%s/tokenizer.json", folder);
    assert_int_equal(file_write_atomic(path, bytes_span(&json), NULL), ERR_OK);
    (void)snprintf(path, sizeof(path), "%s/tokenizer_config.json", folder);
    struct text config = TEXT("{\"bos_token\": \"<s>\", \"eos_token\": \"</s>\"}");
    assert_int_equal(file_write_atomic(path, span_of_text(config), NULL), ERR_OK);
    if (tokenizer_open(folder, &tokenizer, &et) != ERR_OK)
        fail_msg("%s", et.text);
    (void)unlink(path);
    (void)snprintf(path, sizeof(path), "%s/tokenizer.json", folder);
    (void)unlink(path);
    (void)rmdir(folder);
    bytes_fini(&json);
    *state = tokenizer;
    return 0;
}

int character_tokenizer_drop(void **state)
{
    struct tokenizer *tokenizer = *state;
    tokenizer_close(&tokenizer);
    return 0;
}

void character_tokenizer_spell(const uint32_t *tokens, const uint8_t *loss, size_t count, char *out)
{
    for (size_t i = 0; i < count; i++) {
        char c = tokens[i] < 5 ? "~<>{}"[tokens[i]] : CHARACTER_TOKENIZER_SIGNS[tokens[i] - 10];
        bool letter = c >= 'a' && c <= 'z';
        *out++ = letter && loss[i] ? (char)(c - 32) : c;
        if (!letter && loss[i])
            *out++ = '!';
    }
    *out = '\0';
}
