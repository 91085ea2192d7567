/* test_chat_template.c - renderings against what Jinja makes of the models' own templates.
 *
 * tests/golden/chat_template holds conversations (cases.json) and, for each template, their texts
 * as Jinja rendered them (make.py); "</s>" and "<s>" stand for EOS and BOS.
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
#include "common/formats/json/json_read.h"
#include "common/formats/source/file.h"
#include "common/formats/source/folder.h"
#include "common/formats/tokenizer/chat_template.h"
#include "common/formats/tokenizer/chat_template_row.h"
#include "common/formats/tokenizer/jinja_form.h"
#include "common/formats/tokenizer/unicode.h"

#define FOLDER "tests/golden/chat_template"

enum { TEXT_BYTES = 1 << 16, MESSAGES_MAX = 8 };

#define NO_THOUGHTS "<think>\n\n</think>\n\n"

static const struct chat_message LONG[] = {
    {CHAT_SYSTEM, {"Be brief.", 9}},   {CHAT_USER, {" Hi \"you\" ", 10}},
    {CHAT_ASSISTANT, {"Hello.\n", 7}}, {CHAT_USER, {"Bye?", 4}},
    {CHAT_ASSISTANT, {"Bye.", 4}},
};
static const struct chat_message SHORT[] = {{CHAT_USER, {"One", 3}}, {CHAT_ASSISTANT, {"Two", 3}}};

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

/* One conversation of cases.json. */
struct example {
    struct text name;
    struct chat_message messages[MESSAGES_MAX];
    size_t count;
    bool open;
};

static struct json_doc *opened(const char *name)
{
    char path[256];
    struct json_doc *doc = NULL;
    struct err_text et;
    (void)snprintf(path, sizeof path, FOLDER "/%s.json", name);
    if (json_read_open(path, 1 << 20, &doc, &et) != ERR_OK)
        fail_msg("%s", et.text);
    return doc;
}

static void read_example(struct json_value value, struct example *out)
{
    struct json_value list;
    struct text role;
    assert_int_equal(json_read_text(value, "name", &out->name, NULL), ERR_OK);
    assert_int_equal(json_read_bool(value, "open", &out->open, NULL), ERR_OK);
    assert_int_equal(json_read_array(value, "messages", &list, NULL), ERR_OK);
    out->count = json_read_count(list);
    assert_true(out->count <= MESSAGES_MAX);
    for (size_t i = 0; i < out->count; i++) {
        struct json_value item = json_read_item(list, i);
        assert_int_equal(json_read_text(item, "role", &role, NULL), ERR_OK);
        assert_int_equal(chat_template_role(role, &out->messages[i].role), ERR_OK);
        assert_int_equal(json_read_text(item, "content", &out->messages[i].content, NULL), ERR_OK);
    }
}

/* The row's text with EOS in place of its mark. */
static size_t spell(const char *text, char *out)
{
    size_t size = 0;
    for (; text != NULL && *text != '\0'; text++) {
        const char *part = *text == CHAT_TEMPLATE_EOS[0] ? "</s>" : (char[]){*text, '\0'};
        memcpy(out + size, part, strlen(part));
        size += strlen(part);
    }
    return size;
}

static bool is_blank(struct text text)
{
    for (size_t at = 0; at < text.size; at += unicode_size((uint8_t)text.data[at])) {
        uint32_t c = unicode_at(text.data + at);
        if (!unicode_is_space(c) && (c < 0x1C || c > 0x1F))
            return false;
    }
    return true;
}

/* Where a tag begins; said.size without one. */
static size_t find_tag(struct text said)
{
    size_t at = 0;
    while (at < said.size && said.data[at] != '<')
        at++;
    return at;
}

/* What is trained on: the lead, what the assistant said but for blanks around it, the end; for
 * each answer, and for nothing else. */
static void check_spans(const struct chat_template *row, const struct example *example,
                        const struct bytes *out, const struct chat_span *spans, size_t span_count)
{
    char lead[64], end[64];
    size_t lead_size = spell(row->assistant_lead, lead);
    size_t end_size = spell(row->assistant_close, end);
    size_t at = 0;
    assert_true(end_size > 0);
    for (size_t i = 0; i < example->count; i++) {
        struct text said = example->messages[i].content;
        if (example->messages[i].role != CHAT_ASSISTANT)
            continue;
        assert_true(at < span_count);
        const char *text = (const char *)out->data + spans[at].begin;
        size_t size = spans[at].end - spans[at].begin;
        assert_true(size >= lead_size + end_size);
        assert_memory_equal(text, lead, lead_size);
        assert_memory_equal(text + size - end_size, end, end_size);
        size -= lead_size + end_size;
        /* Thoughts count with the words, as the model has to begin with them. */
        size_t none = strlen(NO_THOUGHTS);
        if (row->thinks && size >= none && memcmp(text, NO_THOUGHTS, none) == 0) {
            text += none;
            size -= none;
        } else if (row->thinks && find_tag(said) < said.size) {
            at++;
            continue; /* compared with the golden text */
        }
        assert_true(size <= said.size);
        size_t skipped = 0;
        while (skipped + size < said.size &&
               memcmp(said.data + skipped, text + lead_size, size) != 0)
            skipped++;
        assert_memory_equal(said.data + skipped, text + lead_size, size);
        assert_true(is_blank((struct text){said.data, skipped}) || size == 0);
        assert_true(
            is_blank((struct text){said.data + skipped + size, said.size - skipped - size}));
        at++;
    }
    assert_int_equal(at, span_count);
}

/* Returns how many texts were compared. */
static size_t check_golden(const char *name, struct json_value cases)
{
    struct json_doc *doc = opened(name);
    struct json_value texts;
    struct json_cursor cursor = {0};
    const struct chat_template *row = chat_template_named(text_of(name));
    size_t compared = 0;
    assert_non_null(row);
    assert_int_equal(json_read_object(json_read_root(doc), "texts", &texts, NULL), ERR_OK);
    while (json_read_next(cases, &cursor)) {
        struct example example;
        struct chat_span spans[MESSAGES_MAX];
        size_t span_count = 0;
        struct bytes out;
        struct err_text et = {{0}};
        struct text expected;
        read_example(cursor.value, &example);
        struct json_value golden = json_read_find(texts, example.name.data);
        const struct chat_render_options options = {TEXT("<s>"), TEXT("</s>"), example.open};
        bytes_init(&out, TEXT_BYTES);
        enum err err = chat_template_render(row, example.messages, example.count, &options, &out,
                                            spans, &span_count, &et);
        if (json_read_type(golden) == JSON_READ_NULL) {
            if (err != ERR_DATA)
                fail_msg("%s: %.*s is not refused", name, TEXT_ARGS(example.name));
        } else {
            assert_int_equal(json_read_as_text(golden, &expected, NULL), ERR_OK);
            if (err != ERR_OK || !text_equal(expected, (struct text){(char *)out.data, out.size}))
                fail_msg("%s: %.*s: expected\n%.*s\nfound\n%.*s\n%s", name, TEXT_ARGS(example.name),
                         TEXT_ARGS(expected), (int)out.size, (const char *)out.data, et.text);
            check_spans(row, &example, &out, spans, span_count);
        }
        compared++;
        bytes_fini(&out);
    }
    json_read_close(&doc);
    return compared;
}

static void test_chat_template__texts_equal_those_of_jinja(void **state)
{
    (void)state;
    struct json_doc *cases = opened("cases");
    const struct chat_template *row;
    size_t compared = 0;
    for (size_t i = 0; (row = chat_template_row_at(i)) != NULL; i++)
        compared += check_golden(chat_template_name(row), json_read_root(cases));
    json_read_close(&cases);
    assert_true(compared >= 300);
    print_message("%zu texts\n", compared);
}

static void test_chat_template__opened_text_is_a_start_of_the_closed_one(void **state)
{
    (void)state;
    /* What a model is asked at run time must be what it saw in training up to its answer. */
    const struct chat_template *row;
    for (size_t i = 0; (row = chat_template_row_at(i)) != NULL; i++) {
        char choices[CHAT_TEMPLATE_CHOICES_BYTES];
        const char *name = chat_template_name(row);
        struct chat_span spans[2];
        size_t count;
        struct bytes open = rendered(name, SHORT, 1, true, NULL, NULL);
        struct bytes closed = rendered(name, SHORT, 2, false, spans, &count);
        assert_int_equal(count, 1);
        assert_int_equal(open.size - 1, spans[0].begin);
        assert_memory_equal(open.data, closed.data, spans[0].begin);
        assert_non_null(strstr(chat_template_choices(choices, sizeof choices), name));
        bytes_fini(&open);
        bytes_fini(&closed);
    }
}

static void test_chat_template__names_of_other_tools_are_understood(void **state)
{
    (void)state;
    static const char *const names[][2] = {
        {"llama3", "llama-3"},
        {"phi_35", "phi-3.5"},
        {"qwen_25", "qwen-2.5"},
        {"mistral_v1", "mistral-v1"},
        {"mistral_v2v3", "mistral-v3"},
        {"ChatML", "chatml"},
        {"gemma2", "gemma"},
        {"mistral_v3_tekken", "mistral-v3-tekken"},
        {"llama-31", "llama-3.1"},
    };
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        const struct chat_template *row = chat_template_named(text_of(names[i][0]));
        if (row == NULL)
            fail_msg("%s is not found", names[i][0]);
        else
            assert_string_equal(chat_template_name(row), names[i][1]);
    }
    assert_null(chat_template_named(TEXT("llama")));
    assert_null(chat_template_named(TEXT("")));
    assert_null(chat_template_named(TEXT("chatml2")));
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

/* As published; NULL: none of ours. */
static const struct {
    const char *name;
    const char *jinja;
} forms[] = {
    {"chatml", "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + messa"
               "ge['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %"
               "}{{ '<|im_start|>assistant\n' }}{% endif %}"},
    {"chatml", "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = fa"
               "lse %}{% endif %}{% for message in messages %}{{'<|im_start|>' + message['role"
               "'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_ge"
               "neration_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"},
    {"qwen-2", "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'syst"
               "em' %}{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% e"
               "ndif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_"
               "end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assis"
               "tant\n' }}{% endif %}"},
    {"smollm2", "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'syst"
                "em' %}{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, tra"
                "ined by Hugging Face<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['rol"
                "e'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_g"
                "eneration_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"},
    {"zephyr", "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|"
               ">\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'system' "
               "%}\n{{ '<|system|>\n' + message['content'] + eos_token }}\n{% elif message['ro"
               "le'] == 'assistant' %}\n{{ '<|assistant|>\n'  + message['content'] + eos_token"
               " }}\n{% endif %}\n{% if loop.last and add_generation_prompt %}\n{{ '<|assistan"
               "t|>' }}\n{% endif %}\n{% endfor %}"},
    {"zephyr", "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|"
               ">\\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'system'"
               " %}\n{{ '<|system|>\n' + message['content'] + eos_token }}\n{% elif message['r"
               "ole'] == 'assistant' %}\n{{ '<|assistant|>\n'  + message['content'] + eos_toke"
               "n }}\n{% endif %}\n{% if loop.last and add_generation_prompt %}\n{{ '<|assista"
               "nt|>' }}\n{% endif %}\n{% endfor %}"},
    {"mistral", "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') "
                "!= (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must altern"
                "ate user/assistant/user/assistant/...') }}{% endif %}{% if message['role'] == "
                "'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['rol"
                "e'] == 'assistant' %}{{ message['content'] + eos_token}}{% else %}{{ raise_exc"
                "eption('Only user and assistant roles are supported!') }}{% endif %}{% endfor "
                "%}"},
    {"mistral-v0.1",
     "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') "
     "!= (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must altern"
     "ate user/assistant/user/assistant/...') }}{% endif %}{% if message['role'] == "
     "'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['rol"
     "e'] == 'assistant' %}{{ message['content'] + eos_token + ' ' }}{% else %}{{ ra"
     "ise_exception('Only user and assistant roles are supported!') }}{% endif %}{% "
     "endfor %}"},
    {"llama-2", "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
                "{% set system_message = messages[0]['content'] %}{% else %}{% set loop_message"
                "s = messages %}{% set system_message = false %}{% endif %}{% for message in lo"
                "op_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{"
                " raise_exception('Conversation roles must alternate user/assistant/user/assist"
                "ant/...') }}{% endif %}{% if loop.index0 == 0 and system_message != false %}{%"
                " set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['"
                "content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if m"
                "essage['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/IN"
                "ST]' }}{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' "
                "' + eos_token }}{% endif %}{% endfor %}"},
    {"llama-3", "{% set loop_messages = messages %}{% for message in loop_messages %}{% set con"
                "tent = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ mess"
                "age['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content"
                " = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generat"
                "ion_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif"
                " %}"},
    {"llama-3", "{% set loop_messages = messages %}{% for message in loop_messages %}{% set con"
                "tent = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ mess"
                "age['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content"
                " = bos_token + content %}{% endif %}{{ content }}{% endfor %}{{ '<|start_heade"
                "r_id|>assistant<|end_header_id|>\n\n' }}"},
    {"phi-3-legacy",
     "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'system'"
     ") %}{{'<|system|>' + '\n' + message['content'] + '<|end|>' + '\n'}}{% elif (me"
     "ssage['role'] == 'user') %}{{'<|user|>' + '\n' + message['content'] + '<|end|>"
     "' + '\n' + '<|assistant|>' + '\n'}}{% elif message['role'] == 'assistant' %}{{"
     "message['content'] + '<|end|>' + '\n'}}{% endif %}{% endfor %}"},
    {"alpaca", "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'system' "
               "and loop.first %}{{ message['content'] }}{% elif message['role'] == 'user' %}{"
               "{ '### Instruction:\n' + message['content'] }}{% elif message['role'] == 'assi"
               "stant' %}{{ '### Response:\n' + message['content'] + eos_token }}{% endif %}{%"
               " if not loop.last %}{{ '\n\n' }}{% endif %}{% endfor %}{% if add_generation_pr"
               "ompt %}{{ '\n\n### Response:\n' }}{% endif %}"},
    {"vicuna", "{% if messages[0]['role'] == 'system' %}{% set system_message = messages[0]['c"
               "ontent'] | trim + '\\n\\n' %}{% set messages = messages[1:] %}{% else %}{% set"
               " system_message = '' %}{% endif %}{{ bos_token + system_message }}{% for messa"
               "ge in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %"
               "}{{ raise_exception('Conversation roles must alternate user/assistant/user/ass"
               "istant/...') }}{% endif %}{% if message['role'] == 'user' %}{{ 'USER: ' + mess"
               "age['content'] | trim + '\\n' }}{% elif message['role'] == 'assistant' %}{{ 'A"
               "SSISTANT: ' + message['content'] | trim + eos_token + '\\n' }}{% endif %}{% en"
               "dfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"},
    /* Near, but not the same: another system prompt, blanks, trimming, a day. */
    {NULL, "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + "
           "message['content'] | trim + '<|im_end|>' + '\n'}}{% endfor %}{% if "
           "add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"},
    {NULL, "You are Smol. {% for message in messages %}{{'<|im_start|>' + message['role'] + "
           "'\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if "
           "add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"},
    {NULL, "{{ bos_token }}{% for message in messages %}{{ '[INST]' + message['content'] + "
           "'[/INST]' }}{{ message['content'] + eos_token }}{% endfor %}"},
    {NULL, "{{ messages }}"},
    {NULL, "{{ '"},
    {NULL, "{%"},
    {NULL, ""},
};

static void test_chat_template__known_forms_are_recognised(void **state)
{
    (void)state;
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

static void test_chat_template__real_files_are_recognised(void **state)
{
    (void)state;
    static const struct {
        const char *file;
        const char *name;
    } files[] = {
        {"Qwen-Qwen2.5-7B-Instruct.jinja", "qwen-2.5"},
        {"google-gemma-2-2b-it.jinja", "gemma"},
        {"meta-llama-Llama-3.1-8B-Instruct.jinja", "llama-3.1"},
        {"microsoft-Phi-3.5-mini-instruct.jinja", "phi-3.5"},
        {"mistralai-Mistral-Nemo-Instruct-2407.jinja", "mistral-v3-tekken"},
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
        if (row == NULL)
            fail_msg("%s is not recognised", files[i].file);
        else
            assert_string_equal(chat_template_name(row), files[i].name);
        bytes_fini(&jinja);
    }
}

static void test_chat_template__what_is_written_is_recognised_again(void **state)
{
    (void)state;
    const struct chat_template *row;
    for (size_t i = 0; (row = chat_template_row_at(i)) != NULL; i++) {
        const char *jinja = chat_template_jinja(row);
        assert_null(strchr(jinja, '*'));
        assert_ptr_equal(chat_template_recognise(text_of(jinja)), row);
        /* It is spelled the one way already, so that it is what was compared with Jinja. */
        struct bytes form;
        bytes_init(&form, TEXT_BYTES);
        jinja_form_write(text_of(jinja), &form);
        assert_true(text_is((struct text){(const char *)form.data, form.size}, jinja));
        bytes_fini(&form);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chat_template__texts_equal_those_of_jinja),
        cmocka_unit_test(test_chat_template__names_of_other_tools_are_understood),
        cmocka_unit_test(test_chat_template__opened_text_is_a_start_of_the_closed_one),
        cmocka_unit_test(test_chat_template__roles_out_of_turn_are_refused_by_number),
        cmocka_unit_test(test_chat_template__known_forms_are_recognised),
        cmocka_unit_test(test_chat_template__what_is_written_is_recognised_again),
        cmocka_unit_test(test_chat_template__real_files_are_recognised),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
