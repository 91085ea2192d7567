/* test_quantized_folder.c - the files of a folder, in one piece and in shards, and what stops it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/formats/quantized_folder/quantized_folder.h"
#include "common/formats/safetensors/safetensors_index.h"
#include "common/formats/source/folder.h"

enum { TENSORS = 3, BYTES = 24 };

static const char *const names[TENSORS] = {"a.weight", "b.weight", "c.weight"};

struct world {
    char base[64], out[64];
    struct arena arena;
    struct safetensor tensors[TENSORS];
    struct quantized_folder_content content;
};

static void write_text(const char *folder, const char *name, const char *text)
{
    char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(file_write_atomic(path, span_of_text(text_of(text)), NULL), ERR_OK);
}

static enum err send_number(void *context, const struct safetensor *tensor, file_sink_f sink,
                            void *sink_context)
{
    const struct world *w = context;
    uint8_t data[BYTES];
    memset(data, '1' + (int)(tensor - w->tensors), sizeof data);
    return sink(sink_context, (struct span){data, sizeof data});
}

static int open_world(void **state)
{
    static struct world w;
    memset(&w, 0, sizeof w);
    (void)snprintf(w.base, sizeof w.base, "/tmp/quantized_folder.%ld.base", (long)getpid());
    (void)snprintf(w.out, sizeof w.out, "/tmp/quantized_folder.%ld.out", (long)getpid());
    arena_init(&w.arena, 1 << 20);
    assert_int_equal(folder_create(w.base, NULL), ERR_OK);
    write_text(w.base, "config.json", "{\n  \"model_type\": \"llama\",\n  \"eps\": 1e-05\n}\n");
    write_text(w.base, "tokenizer.json", "{\"version\": \"1.0\"}");
    write_text(w.base, "optimizer.bin", "no part of a model");
    write_text(w.base, "model.safetensors", "the weights before");
    for (size_t i = 0; i < TENSORS; i++)
        w.tensors[i] = (struct safetensor){.name = text_of(names[i]),
                                           .dtype = SAFETENSORS_I8,
                                           .rank = 2,
                                           .shape = {4, BYTES / 4},
                                           .data = {NULL, BYTES}};
    w.content = (struct quantized_folder_content){
        .base = w.base,
        .quantization_config = span_of_text(TEXT("{\n  \"quant_method\": \"x\"\n}\n")),
        .tensors = w.tensors,
        .count = TENSORS,
        .data = send_number,
        .context = &w};
    *state = &w;
    return 0;
}

static void remove_folder(const char *path)
{
    static const char *const files[] = {"config.json",
                                        "tokenizer.json",
                                        "optimizer.bin",
                                        "model.safetensors",
                                        "model.safetensors.index.json",
                                        "model-00001-of-00002.safetensors",
                                        "model-00002-of-00002.safetensors"};
    char name[160];
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        (void)snprintf(name, sizeof name, "%s/%s", path, files[i]);
        (void)unlink(name);
    }
    (void)rmdir(path);
}

static int close_world(void **state)
{
    struct world *w = *state;
    remove_folder(w->base);
    remove_folder(w->out);
    arena_fini(&w->arena);
    return 0;
}

static void check_file(const struct world *w, const char *name, const char *expected)
{
    char path[128];
    struct bytes text;
    (void)snprintf(path, sizeof path, "%s/%s", w->out, name);
    bytes_init(&text, 1 << 16);
    assert_int_equal(file_read(path, 1 << 16, &text, NULL), ERR_OK);
    bytes_append(&text, "", 1);
    assert_string_equal((const char *)text.data, expected);
    bytes_fini(&text);
}

static void check_weights(const struct world *w)
{
    struct safetensors st;
    struct err_text et = {""};
    if (safetensors_index_open_folder(&st, w->out, "model", &et) != ERR_OK)
        fail_msg("%s", et.text);
    assert_int_equal(st.count, TENSORS);
    for (size_t i = 0; i < TENSORS; i++) {
        assert_string_equal(st.tensors[i].name.data, names[i]);
        assert_int_equal(st.tensors[i].data.data[BYTES - 1], '1' + (int)i);
    }
    safetensors_close(&st);
}

static void test_quantized_folder__holds_weights_config_and_tokenizer(void **state)
{
    struct world *w = *state;
    struct quantized_folder folder;
    assert_int_equal(quantized_folder_plan(&w->content, &w->arena, &folder, NULL), ERR_OK);
    assert_int_equal(folder.count, 3);
    assert_string_equal(folder.files[0].name, "config.json");
    assert_string_equal(folder.files[1].name, "model.safetensors");
    assert_string_equal(folder.files[2].name, "tokenizer.json");
    assert_int_equal(quantized_folder_write(&folder, w->out, NULL), ERR_OK);
    check_file(w, "config.json",
               "{\n  \"quantization_config\": {\n    \"quant_method\": \"x\"\n  },\n"
               "  \"model_type\": \"llama\",\n  \"eps\": 1e-05\n}\n");
    check_file(w, "tokenizer.json", "{\"version\": \"1.0\"}");
    check_weights(w);
}

static void test_quantized_folder__large_models_are_in_shards(void **state)
{
    struct world *w = *state;
    struct quantized_folder folder;
    w->content.shard_bytes_max = 2 * BYTES;
    assert_int_equal(quantized_folder_plan(&w->content, &w->arena, &folder, NULL), ERR_OK);
    assert_int_equal(folder.count, 5);
    assert_int_equal(quantized_folder_write(&folder, w->out, NULL), ERR_OK);
    check_file(w, "model.safetensors.index.json",
               "{\n  \"metadata\": {\n    \"total_size\": 72\n  },\n  \"weight_map\": {\n"
               "    \"a.weight\": \"model-00001-of-00002.safetensors\",\n"
               "    \"b.weight\": \"model-00001-of-00002.safetensors\",\n"
               "    \"c.weight\": \"model-00002-of-00002.safetensors\"\n  }\n}\n");
    check_weights(w);
    for (size_t i = 0; i < folder.count; i++) {
        struct bytes sent;
        bytes_init(&sent, 1 << 16);
        assert_int_equal(quantized_folder_send(&folder, i, file_sink_bytes, &sent, NULL), ERR_OK);
        assert_int_equal(sent.size, folder.files[i].size_bytes);
        bytes_fini(&sent);
    }
}

static void test_quantized_folder__a_model_is_quantized_once(void **state)
{
    struct world *w = *state;
    struct quantized_folder folder;
    struct err_text et = {""};
    write_text(w->base, "config.json", "{\"quantization_config\": {\"quant_method\": \"gptq\"}}");
    assert_int_equal(quantized_folder_plan(&w->content, &w->arena, &folder, &et), ERR_STATE);
    assert_non_null(strstr(et.text, "the model is quantized already"));
    write_text(w->base, "config.json", "{}");
    assert_int_equal(quantized_folder_plan(&w->content, &w->arena, &folder, &et), ERR_FORMAT);
    write_text(w->base, "config.json", "[{\"a\": 1}]");
    assert_int_equal(quantized_folder_plan(&w->content, &w->arena, &folder, &et), ERR_FORMAT);
}

static enum err send_nothing(void *context, const struct safetensor *tensor, file_sink_f sink,
                             void *sink_context)
{
    (void)context;
    (void)tensor;
    (void)sink;
    (void)sink_context;
    return ERR_LOST;
}

static void test_quantized_folder__without_all_weights_there_is_no_config(void **state)
{
    struct world *w = *state;
    struct quantized_folder folder;
    char path[128];
    w->content.data = send_nothing;
    assert_int_equal(quantized_folder_plan(&w->content, &w->arena, &folder, NULL), ERR_OK);
    assert_int_equal(quantized_folder_write(&folder, w->out, NULL), ERR_LOST);
    (void)snprintf(path, sizeof path, "%s/config.json", w->out);
    assert_false(file_exists(path));
    (void)snprintf(path, sizeof path, "%s/model.safetensors", w->out);
    assert_false(file_exists(path));
}

int main(void)
{
#define WORLD_TEST(test) cmocka_unit_test_setup_teardown(test, open_world, close_world)
    const struct CMUnitTest tests[] = {
        WORLD_TEST(test_quantized_folder__holds_weights_config_and_tokenizer),
        WORLD_TEST(test_quantized_folder__large_models_are_in_shards),
        WORLD_TEST(test_quantized_folder__a_model_is_quantized_once),
        WORLD_TEST(test_quantized_folder__without_all_weights_there_is_no_config),
    };
    return cmocka_run_group_tests_name("quantized_folder", tests, NULL, NULL);
}
