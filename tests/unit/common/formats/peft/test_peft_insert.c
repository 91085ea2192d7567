/* test_peft_insert.c - folders of prompts and bottlenecks: written, read back, refused. */
#include "common/formats/peft/peft_insert.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/formats/peft/peft_adapter.h"
#include "common/formats/safetensors/safetensors_write.h"
#include "common/formats/source/file.h"
#include "common/mem/mem.h"

static const struct peft_insert_config prompt = {.kind = PEFT_INSERT_PROMPT,
                                                 .base_model = TEXT("owner/base"),
                                                 .vector_count = 3,
                                                 .width = 2,
                                                 .head_count = 2,
                                                 .layer_count = 1};
static const struct peft_insert_config bottleneck = {.kind = PEFT_INSERT_BOTTLENECK,
                                                     .base_model = TEXT("owner/base"),
                                                     .revision = TEXT("main"),
                                                     .method = TEXT("parallel"),
                                                     .reduction_factor = 2,
                                                     .non_linearity = TEXT("relu"),
                                                     .scaling = 4};

struct fixture {
    char folder[64], config[128], weights[128];
};

static void fixture_init(struct fixture *f)
{
    static const float values[6] = {1, 2, 3, 4, 5, 6};
    const struct safetensor tensor = {.name = TEXT("prompt_embeddings"),
                                      .dtype = SAFETENSORS_F32,
                                      .rank = 2,
                                      .shape = {3, 2},
                                      .data = {(const uint8_t *)values, sizeof values}};
    const struct safetensors_content content = {.tensors = &tensor, .count = 1};
    (void)snprintf(f->folder, sizeof f->folder, "/tmp/peft_insert.XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    (void)snprintf(f->config, sizeof f->config, "%s/" PEFT_ADAPTER_CONFIG_FILE, f->folder);
    (void)snprintf(f->weights, sizeof f->weights, "%s/" PEFT_ADAPTER_WEIGHTS_FILE, f->folder);
    assert_int_equal(safetensors_write_file(&content, f->weights, NULL), ERR_OK);
}

static void fixture_fini(struct fixture *f)
{
    (void)unlink(f->config);
    assert_int_equal(unlink(f->weights), 0);
    assert_int_equal(rmdir(f->folder), 0);
}

static void put_config(const struct fixture *f, const struct peft_insert_config *config)
{
    struct bytes text;
    bytes_init(&text, 1 << 16);
    assert_int_equal(peft_insert_print(config, &text), ERR_OK);
    assert_int_equal(file_write_atomic(f->config, bytes_span(&text), NULL), ERR_OK);
    bytes_fini(&text);
}

static void test_peft_insert__a_prompt_is_read_as_it_was_written(void **state)
{
    (void)state;
    struct fixture f;
    struct peft_insert insert;
    bool found = false;
    fixture_init(&f);
    put_config(&f, &prompt);
    assert_int_equal(peft_insert_probe(f.folder, &found, NULL), ERR_OK);
    assert_true(found);
    assert_int_equal(peft_insert_open(&insert, f.folder, NULL), ERR_OK);
    assert_int_equal(insert.config.kind, PEFT_INSERT_PROMPT);
    assert_int_equal(insert.config.vector_count, 3);
    assert_int_equal(insert.config.width, 2);
    assert_int_equal(insert.config.head_count, 2);
    assert_int_equal(insert.config.layer_count, 1);
    assert_true(text_is(insert.config.base_model, "owner/base"));
    assert_null(insert.config.revision.data);
    assert_int_equal(insert.weights.count, 1);
    peft_insert_close(&insert);
    fixture_fini(&f);
}

static void test_peft_insert__bottlenecks_are_read_as_they_were_written(void **state)
{
    (void)state;
    struct fixture f;
    struct peft_insert insert;
    fixture_init(&f);
    put_config(&f, &bottleneck);
    assert_int_equal(peft_insert_open(&insert, f.folder, NULL), ERR_OK);
    assert_int_equal(insert.config.kind, PEFT_INSERT_BOTTLENECK);
    assert_true(text_is(insert.config.method, "parallel"));
    assert_true(text_is(insert.config.non_linearity, "relu"));
    assert_true(text_is(insert.config.revision, "main"));
    assert_int_equal(insert.config.reduction_factor, 2);
    assert_true(insert.config.scaling == 4.0);
    peft_insert_close(&insert);
    fixture_fini(&f);
}

static void test_peft_insert__other_kinds_and_missing_keys_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *content;
        enum err err;
        const char *says;
    } cases[] = {
        {"{\"peft_type\": \"LORA\"}", ERR_UNSUPPORTED, "found LORA"},
        {"{\"r\": 8}", ERR_FORMAT, "peft_type"},
        {"{\"peft_type\": \"PROMPT_TUNING\", \"token_dim\": 2}", ERR_FORMAT, "num_virtual_tokens"},
        {"{\"peft_type\": \"PROMPT_TUNING\", \"num_virtual_tokens\": 0}", ERR_FORMAT,
         "num_virtual_tokens"},
        {"{\"peft_type\": \"QFLEET_BOTTLENECK\", \"adapter\": \"houlsby\"}", ERR_FORMAT,
         "non_linearity"},
    };
    struct fixture f;
    fixture_init(&f);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct peft_insert insert;
        struct err_text et = {0};
        struct span content = {(const uint8_t *)cases[i].content, strlen(cases[i].content)};
        assert_int_equal(file_write_atomic(f.config, content, NULL), ERR_OK);
        assert_int_equal(peft_insert_open(&insert, f.folder, &et), cases[i].err);
        if (strstr(et.text, cases[i].says) == NULL || strstr(et.text, f.config) == NULL)
            fail_msg("expected %s, found %s", cases[i].says, et.text);
    }
    fixture_fini(&f);
}

static void test_peft_insert__survives_every_failed_allocation(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    put_config(&f, &bottleneck);
    enum err err = ERR_OUT_OF_MEMORY;
    for (size_t n = 1; err != ERR_OK; n++) {
        struct peft_insert insert = {0};
        (void)mem_fault_after(n);
        err = peft_insert_open(&insert, f.folder, NULL);
        (void)mem_fault_after(0);
        assert_true(err == ERR_OK || err == ERR_OUT_OF_MEMORY);
        peft_insert_close(&insert);
    }
    fixture_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_peft_insert__a_prompt_is_read_as_it_was_written),
        cmocka_unit_test(test_peft_insert__bottlenecks_are_read_as_they_were_written),
        cmocka_unit_test(test_peft_insert__other_kinds_and_missing_keys_are_named),
        cmocka_unit_test(test_peft_insert__survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
