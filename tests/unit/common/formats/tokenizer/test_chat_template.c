/* test_chat_template.c - renderings against what Jinja makes of the models' own templates.
 *
 * The expected texts were rendered by Jinja 3 with the settings of transformers (trim_blocks,
 * lstrip_blocks) from the templates of the models named; "</s>" and "<s>" stand for EOS and BOS.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/formats/source/file.h"
#include "common/formats/source/folder.h"
#include "common/formats/tokenizer/chat_template.h"

enum { TEXT_BYTES = 1 << 16 };

static const struct chat_message LONG[] = {
    {CHAT_SYSTEM, {"Be brief.", 9}},   {CHAT_USER, {" Hi \"you\" ", 10}},
    {CHAT_ASSISTANT, {"Hello.\n", 7}}, {CHAT_USER, {"Bye?", 4}},
    {CHAT_ASSISTANT, {"Bye.", 4}},
};
static const struct chat_message SHORT[] = {{CHAT_USER, {"One", 3}}, {CHAT_ASSISTANT, {"Two", 3}}};
static const struct chat_message ASK[] = {{CHAT_USER, {"Ask", 3}}};

static const struct {
    const char *name;
    int conversation; /* 0: LONG, 1: SHORT */
    const char *closed;
    const char *asked; /* ASK with the opening of an answer */
} RENDERED[] = {
    {"chatml", 0,
     "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n"
     " Hi \"you\" <|im_end|>\n<|im_start|>assistant\nHello.\n<|im_end|>\n"
     "<|im_start|>user\nBye?<|im_end|>\n<|im_start|>assistant\n"
     "Bye.<|im_end|>\n",
     "<|im_start|>user\nAsk<|im_end|>\n<|im_start|>assistant\n"},
    {"llama-2", 0,
     "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\n"
     " Hi \"you\" [/INST] Hello. </s><s>[INST] Bye? [/INST] Bye. </s>",
     "<s>[INST] Ask [/INST]"},
    {"llama-3", 0,
     "<s><|start_header_id|>system<|end_header_id|>\n\n"
     "Be brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
     "Hi \"you\"<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
     "Hello.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
     "Bye?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
     "Bye.<|eot_id|>",
     "<s><|start_header_id|>user<|end_header_id|>\n\n"
     "Ask<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"},
    {"zephyr", 0,
     "<|system|>\nBe brief.</s>\n<|user|>\n Hi \"you\" </s>\n<|assistant|>\n"
     "Hello.\n</s>\n<|user|>\nBye?</s>\n<|assistant|>\nBye.</s>\n",
     "<|user|>\nAsk</s>\n<|assistant|>\n"},
    {"mistral", 1, "<s>[INST] One [/INST]Two</s>", "<s>[INST] Ask [/INST]"},
    {"qwen-2.5", 0,
     "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n"
     " Hi \"you\" <|im_end|>\n<|im_start|>assistant\nHello.\n<|im_end|>\n"
     "<|im_start|>user\nBye?<|im_end|>\n<|im_start|>assistant\n"
     "Bye.<|im_end|>\n",
     "<|im_start|>system\n"
     "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
     "<|im_end|>\n"
     "<|im_start|>user\nAsk<|im_end|>\n<|im_start|>assistant\n"},
    {"llama-3.1", 0,
     "<s><|start_header_id|>system<|end_header_id|>\n\n"
     "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
     "Be brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
     "Hi \"you\"<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
     "Hello.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
     "Bye?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
     "Bye.<|eot_id|>",
     "<s><|start_header_id|>system<|end_header_id|>\n\n"
     "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
     "<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
     "Ask<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"},
    {"phi-3", 0,
     "<|system|>\nBe brief.<|end|>\n<|user|>\n Hi \"you\" <|end|>\n"
     "<|assistant|>\nHello.\n<|end|>\n<|user|>\nBye?<|end|>\n<|assistant|>\n"
     "Bye.<|end|>\n</s>",
     "<|user|>\nAsk<|end|>\n<|assistant|>\n"},
    {"gemma", 1,
     "<s><start_of_turn>user\nOne<end_of_turn>\n<start_of_turn>model\n"
     "Two<end_of_turn>\n",
     "<s><start_of_turn>user\nAsk<end_of_turn>\n<start_of_turn>model\n"},
};

static struct bytes rendered(const char *name, const struct chat_message *messages, size_t count,
                             bool open, struct chat_span *spans, size_t *span_count)
{
    const struct chat_template *row = chat_template_named(text_of(name));
    const struct chat_render_options options = {TEXT("<s>"), TEXT("</s>"), open};
    struct err_text et = {0};
    struct bytes out;
    assert_non_null(row);
    bytes_init(&out, TEXT_BYTES);
    if (chat_template_render(row, messages, count, &options, &out, spans, span_count, &et) !=
        ERR_OK)
        fail_msg("%s: %s", name, et.text);
    bytes_append(&out, "", 1);
    return out;
}

static void test_chat_template__text_equals_that_of_jinja(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(RENDERED); i++) {
        bool brief = RENDERED[i].conversation == 1;
        struct bytes closed = rendered(RENDERED[i].name, brief ? SHORT : LONG,
                                       brief ? COUNT_OF(SHORT) : COUNT_OF(LONG), false, NULL, NULL);
        assert_string_equal((char *)closed.data, RENDERED[i].closed);
        bytes_fini(&closed);
        struct bytes asked = rendered(RENDERED[i].name, ASK, 1, true, NULL, NULL);
        assert_string_equal((char *)asked.data, RENDERED[i].asked);
        bytes_fini(&asked);
    }
}

static void test_chat_template__spans_cover_what_the_assistant_says_and_its_end(void **state)
{
    (void)state;
    struct chat_span spans[COUNT_OF(LONG)];
    size_t count = 0;
    struct bytes out = rendered("llama-2", LONG, COUNT_OF(LONG), false, spans, &count);
    assert_int_equal(count, 2);
    assert_memory_equal(out.data + spans[0].begin, " Hello. </s>", 12);
    assert_int_equal(spans[0].end - spans[0].begin, 12);
    assert_memory_equal(out.data + spans[1].begin, " Bye. </s>", 10);
    bytes_fini(&out);
    out = rendered("chatml", LONG, COUNT_OF(LONG), false, spans, &count);
    assert_int_equal(count, 2);
    assert_memory_equal(out.data + spans[0].begin, "Hello.\n<|im_end|>", 17);
    assert_int_equal(spans[0].end - spans[0].begin, 17);
    bytes_fini(&out);
}

static void test_chat_template__opened_text_is_a_start_of_the_closed_one(void **state)
{
    (void)state;
    /* What a model is asked at run time must be what it saw in training up to its answer. */
    static const char *const names[] = {"chatml", "qwen-2.5", "llama-2", "llama-3", "llama-3.1",
                                        "zephyr", "phi-3",    "gemma",   "mistral", "alpaca"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        struct chat_span spans[2];
        size_t count;
        struct bytes open = rendered(names[i], SHORT, 1, true, NULL, NULL);
        struct bytes closed = rendered(names[i], SHORT, 2, false, spans, &count);
        assert_int_equal(count, 1);
        assert_int_equal(open.size - 1, spans[0].begin);
        assert_memory_equal(open.data, closed.data, spans[0].begin);
        assert_non_null(strstr(chat_template_choices(), names[i]));
        bytes_fini(&open);
        bytes_fini(&closed);
    }
}

static void test_chat_template__roles_out_of_turn_are_refused_by_number(void **state)
{
    (void)state;
    static const struct chat_message twice[] = {{CHAT_USER, {"a", 1}}, {CHAT_USER, {"b", 1}}};
    const struct chat_render_options options = {TEXT("<s>"), TEXT("</s>"), false};
    struct err_text et = {0};
    struct bytes out;
    bytes_init(&out, TEXT_BYTES);
    assert_int_equal(chat_template_render(chat_template_named(TEXT("mistral")), twice, 2, &options,
                                          &out, NULL, NULL, &et),
                     ERR_DATA);
    assert_string_equal(et.text, "message 2 is of role user, but template mistral wants user and "
                                 "assistant to take turns");
    assert_int_equal(chat_template_render(chat_template_named(TEXT("gemma")), LONG, COUNT_OF(LONG),
                                          &options, &out, NULL, NULL, &et),
                     ERR_DATA);
    assert_string_equal(et.text, "message 1 is of role system, but template gemma has none");
    bytes_fini(&out);
}

static void test_chat_template__known_forms_are_recognised(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        const char *jinja;
    } forms[] = {
        {"chatml", "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + "
                   "message['content'] + '<|im_end|>' + '\n' }}{% endfor %}{% if "
                   "add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"},
        {"zephyr", "{% for message in messages %}{% if message['role'] == \"user\" %}{{ "
                   "\"<|user|>\\n\" + message['content'] + eos_token }}{% elif message['role'] == "
                   "'system' %}{{ '<|system|>\n' + message['content'] + eos_token }}{% else %}{{ "
                   "'<|assistant|>\n' + message['content'] + eos_token }}{% endif %}{% endfor %}"},
        {"mistral", "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' "
                    "%}{{ '[INST] ' + message['content'] + ' [/INST]' }}{% else %}{{ "
                    "message['content'] + eos_token }}{% endif %}{% endfor %}"},
        {"llama-2", "{% for message in loop_messages %}{% set content = '<<SYS>>\\n' + s + "
                    "'\\n<</SYS>>\\n\\n' + message['content'] %}{{ bos_token + '[INST] ' + "
                    "content.strip() + ' [/INST]' }}{% endfor %}"},
        {"llama-3", "{{ bos_token }}{% for message in messages %}{{ '<|start_header_id|>' + "
                    "message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + "
                    "'<|eot_id|>' }}{% endfor %}"},
        /* Near, but not the same: another system prompt, tools, other spaces. */
        {NULL, "{{ '<|im_start|>system\nYou are SmolLM<|im_end|>' }}{% for m in messages %}{% "
               "endfor %}{% if add_generation_prompt %}{% endif %}"},
        {NULL, "{{ bos_token }}{% for message in messages %}{{ '[INST]' + message['content'] + "
               "'[/INST]' }}{{ message['content'] + eos_token }}{% endfor %}"},
        {NULL, "{{ messages }}"},
        {NULL, ""},
    };
    for (size_t i = 0; i < COUNT_OF(forms); i++) {
        const struct chat_template *row = chat_template_recognise(text_of(forms[i].jinja));
        if (forms[i].name == NULL)
            assert_null(row);
        else if (row == NULL)
            fail_msg("%s is not recognised", forms[i].name);
        else
            assert_string_equal(chat_template_name(row), forms[i].name);
    }
}

static void test_chat_template__real_files_are_recognised_or_refused(void **state)
{
    (void)state;
    static const struct {
        const char *file;
        const char *name;
    } files[] = {
        {"Qwen-Qwen2.5-7B-Instruct.jinja", "qwen-2.5"},
        {"google-gemma-2-2b-it.jinja", "gemma"},
        {"meta-llama-Llama-3.1-8B-Instruct.jinja", "llama-3.1"},
        {"microsoft-Phi-3.5-mini-instruct.jinja", "phi-3"},
        {"mistralai-Mistral-Nemo-Instruct-2407.jinja", NULL},
    };
    const char *data = getenv("QFLEET_DATA");
    data = data != NULL ? data : "../shared/data";
    if (!folder_exists(data)) {
        print_message("skipped: no real data at %s (QFLEET_DATA)\n", data);
        return;
    }
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        char path[4096];
        struct bytes jinja;
        bytes_init(&jinja, TEXT_BYTES);
        (void)snprintf(path, sizeof(path), "%s/tokenizers/chat_templates/%s", data, files[i].file);
        assert_int_equal(file_read(path, TEXT_BYTES, &jinja, NULL), ERR_OK);
        const struct chat_template *row =
            chat_template_recognise((struct text){(const char *)jinja.data, jinja.size});
        if (files[i].name == NULL)
            assert_null(row);
        else if (row == NULL)
            fail_msg("%s is not recognised", files[i].file);
        else
            assert_string_equal(chat_template_name(row), files[i].name);
        bytes_fini(&jinja);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chat_template__text_equals_that_of_jinja),
        cmocka_unit_test(test_chat_template__spans_cover_what_the_assistant_says_and_its_end),
        cmocka_unit_test(test_chat_template__opened_text_is_a_start_of_the_closed_one),
        cmocka_unit_test(test_chat_template__roles_out_of_turn_are_refused_by_number),
        cmocka_unit_test(test_chat_template__known_forms_are_recognised),
        cmocka_unit_test(test_chat_template__real_files_are_recognised_or_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
