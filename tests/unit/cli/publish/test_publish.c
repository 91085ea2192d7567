/* test_publish.c - cards, Modelfiles and templates of what is handed on. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cli/publish/go_template.h"
#include "cli/publish/model_card.h"
#include "cli/publish/modelfile.h"
#include "common/base/check.h"
#include "common/formats/tokenizer/chat_template_row.h"

enum { TEXT_BYTES_MAX = 1 << 20 };

static const struct publication sample = {
    .kind = PUBLICATION_LORA,
    .name = {"A | B", 5},
    .handle = {"a-b", 3},
    .base_model = {"owner/name", 10},
    .rank = 12,
    .is_trained = true,
    .loss = 1.5,
    .eval_loss = NAN,
    .recipe = {"seed: 1\n", 8},
    .bos = {"<s>", 3},
    .eos = {"</s>", 4},
    .context = 4096,
};

static const char *text_from(struct bytes *out)
{
    bytes_append(out, "", 1);
    assert_int_equal(bytes_status(out), ERR_OK);
    return (const char *)out->data;
}

static size_t occurrences(const char *text, const char *part)
{
    size_t count = 0;
    for (; (text = strstr(text, part)) != NULL; text += strlen(part))
        count++;
    return count;
}

static const struct chat_template *named(const char *name)
{
    const struct chat_template *row = chat_template_named(text_of(name));
    assert_non_null(row);
    return row;
}

static void test_go_template__every_row_has_its_blocks_closed(void **state)
{
    (void)state;
    const struct chat_template *row;
    for (size_t i = 0; (row = chat_template_row_at(i)) != NULL; i++) {
        struct publication p = sample;
        struct bytes out;
        bytes_init(&out, TEXT_BYTES_MAX);
        p.chat = row;
        p.adds_bos = i % 2 == 0;
        assert_int_equal(go_template_print(&p, &out), ERR_OK);
        const char *text = text_from(&out);
        size_t begun = occurrences(text, "{{- if ") + occurrences(text, "{{- range ");
        assert_int_equal(begun, occurrences(text, "{{- end }}"));
        assert_int_equal(occurrences(text, "{{"), occurrences(text, "}}"));
        assert_int_equal(occurrences(text, "\"\"\""), 0);
        assert_null(strpbrk(text, CHAT_TEMPLATE_BOS CHAT_TEMPLATE_EOS));
        assert_int_equal(occurrences(text, "$m.Content }}") > 0, 1);
        bytes_fini(&out);
    }
}

static size_t count_bos(const char *name, bool adds_bos)
{
    struct publication p = sample;
    struct bytes out;
    bytes_init(&out, TEXT_BYTES_MAX);
    p.chat = named(name);
    p.adds_bos = adds_bos;
    assert_int_equal(go_template_print(&p, &out), ERR_OK);
    size_t count = occurrences(text_from(&out), "<s>");
    bytes_fini(&out);
    return count;
}

static void test_go_template__bos_is_the_templates_or_the_tokenizers(void **state)
{
    (void)state;
    assert_int_equal(count_bos("mistral", false), 1);
    assert_int_equal(count_bos("mistral", true), 0);
    assert_int_equal(count_bos("llama-2", false), 1); /* of every question */
    assert_int_equal(count_bos("llama-2", true), 1);  /* of every question but the first */
    assert_int_equal(count_bos("chatml", false), 0);
}

static void test_go_template__stops_are_what_ends_a_turn(void **state)
{
    (void)state;
    char stops[GO_TEMPLATE_STOPS_MAX][GO_TEMPLATE_STOP_BYTES];
    struct publication p = sample;
    p.chat = named("llama-2");
    assert_int_equal(go_template_stops(&p, stops), 2);
    assert_string_equal(stops[0], "</s>");
    assert_string_equal(stops[1], "[INST]");
    p.chat = named("chatml");
    assert_int_equal(go_template_stops(&p, stops), 3);
    assert_string_equal(stops[0], "<|im_end|>");
}

static void test_model_card__a_result_without_losses_claims_none(void **state)
{
    (void)state;
    struct bytes out;
    bytes_init(&out, TEXT_BYTES_MAX);
    assert_int_equal(model_card_print(&sample, &out), ERR_OK);
    const char *card = text_from(&out);
    assert_non_null(strstr(card, "base_model: \"owner/name\"\nbase_model_relation: adapter\n"));
    assert_non_null(strstr(card, "# A \\| B\n"));
    assert_null(strstr(card, "model-index"));
    assert_null(strstr(card, "license"));
    assert_non_null(strstr(card, "--max-lora-rank 16 --lora-modules a-b=.\n"));
    bytes_fini(&out);
}

static void test_model_card__text_that_is_not_utf8_is_refused(void **state)
{
    (void)state;
    struct bytes out;
    struct publication p = sample;
    bytes_init(&out, TEXT_BYTES_MAX);
    p.base_model = (struct text){"\xFF\xFE", 2};
    assert_int_equal(model_card_print(&p, &out), ERR_FORMAT);
    bytes_fini(&out);
}

static void test_model_card__each_kind_has_commands_that_take_it(void **state)
{
    (void)state;
    static const struct {
        enum publication_kind kind;
        bool is_quantized, is_merge_only, in_vllm, in_llama, in_ollama;
    } cases[] = {
        {PUBLICATION_LORA, false, false, true, true, true},
        {PUBLICATION_LORA, false, true, false, false, false},
        {PUBLICATION_PROMPT, false, false, false, false, false},
        {PUBLICATION_BOTTLENECK, false, false, false, false, false},
        {PUBLICATION_MODEL, false, false, true, true, true},
        {PUBLICATION_MODEL, true, false, true, false, false},
        {PUBLICATION_GGUF, true, false, true, true, true},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct publication p = sample;
        struct bytes out;
        bytes_init(&out, TEXT_BYTES_MAX);
        p.kind = cases[i].kind;
        p.is_quantized = cases[i].is_quantized;
        p.is_merge_only = cases[i].is_merge_only;
        p.gguf = TEXT("a.gguf");
        assert_int_equal(modelfile_print_commands(&p, &out), ERR_OK);
        const char *text = text_from(&out);
        assert_int_equal(strstr(text, "vllm serve") != NULL, cases[i].in_vllm);
        assert_int_equal(strstr(text, "llama-server -m") != NULL, cases[i].in_llama);
        assert_int_equal(strstr(text, "ollama create") != NULL, cases[i].in_ollama);
        assert_int_equal(modelfile_fits(&p), cases[i].in_ollama);
        bytes_fini(&out);
    }
}

static void test_modelfile__names_are_words_of_commands_and_ends_of_lines(void **state)
{
    (void)state;
    struct bytes out;
    struct publication p = sample;
    bytes_init(&out, TEXT_BYTES_MAX);
    p.base_model = TEXT("it's $(id)\nADAPTER /etc");
    assert_int_equal(modelfile_print(&p, &out), ERR_OK);
    const char *text = text_from(&out);
    assert_non_null(strstr(text, "\nFROM it's $(id) ADAPTER /etc\nADAPTER .\n"));
    bytes_clear(&out);
    p.base_model = TEXT("/my models/it's; id");
    assert_int_equal(modelfile_print_commands(&p, &out), ERR_OK);
    text = text_from(&out);
    assert_non_null(strstr(text, "vllm serve '/my models/it'\\''s; id' --enable-lora "));
    assert_non_null(strstr(text, "# BASE: the folder of /my models/it's; id\n"));
    bytes_clear(&out);
    p.kind = PUBLICATION_GGUF;
    p.gguf = TEXT("-a b.gguf");
    assert_int_equal(modelfile_print_commands(&p, &out), ERR_OK);
    text = text_from(&out);
    assert_non_null(strstr(text, "vllm serve ./'-a b.gguf' --tokenizer '/my models/it'"));
    assert_non_null(strstr(text, "llama-server -m ./'-a b.gguf'\n"));
    bytes_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_go_template__every_row_has_its_blocks_closed),
        cmocka_unit_test(test_go_template__bos_is_the_templates_or_the_tokenizers),
        cmocka_unit_test(test_go_template__stops_are_what_ends_a_turn),
        cmocka_unit_test(test_model_card__a_result_without_losses_claims_none),
        cmocka_unit_test(test_model_card__text_that_is_not_utf8_is_refused),
        cmocka_unit_test(test_model_card__each_kind_has_commands_that_take_it),
        cmocka_unit_test(test_modelfile__names_are_words_of_commands_and_ends_of_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
