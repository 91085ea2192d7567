/* test_convert_adapter.c - adapters in GGUF add to a model in GGUF what they add in PEFT. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/formats/convert/convert_adapter.h"
#include "common/formats/json/json_read.h"
#include "common/formats/peft/peft_adapter.h"
#include "common/formats/safetensors/safetensors_index.h"
#include "common/formats/safetensors/safetensors_write.h"
#include "common/formats/source/folder.h"
#include "common/mem/mem.h"
#include "tests/unit/common/formats/convert/convert_folders.h"

#define BASE CONVERT_FAMILIES "/llama2"

static void convert(const struct convert_folders *f, const char *adapter, const char *base,
                    enum block_format format)
{
    const struct convert_model_options options = {.name = "test", .format = format};
    struct convert_model_report report;
    struct err_text et = {{0}};
    if (convert_adapter_to_gguf(adapter, base, f->adapter, &options, &report, &et) != ERR_OK)
        fail_msg("%s", et.text);
}

/* The row of `theirs` that holds the values of row `row` of `ours`. */
static uint64_t find_row(const struct safetensor *theirs, const struct gguf_tensor *ours,
                         uint64_t row)
{
    enum block_format format = BLOCK_FORMAT_COUNT;
    uint64_t columns = ours->shape[1];
    assert_true(convert_float_format_of(theirs->dtype, &format));
    for (uint64_t i = 0; i < ours->shape[0]; i++) {
        bool same = true;
        for (uint64_t k = 0; k < columns && same; k++)
            same = convert_folders_value(format, theirs->data.data, i * columns + k) ==
                   convert_folders_value(ours->format, ours->data.data, row * columns + k);
        if (same)
            return i;
    }
    fail_msg("a row of %.*s is nowhere", TEXT_ARGS(ours->name));
    return 0;
}

/* Rows of B lie as the rows of the weight do; A and B hold what PEFT's hold. */
static void check_module(const struct peft_module *module, const struct safetensors *weights,
                         const struct gguf *base, const struct gguf *adapter)
{
    char name[256];
    (void)snprintf(name, sizeof name, "%.*s.weight", TEXT_ARGS(module->name));
    const struct safetensor *weight = safetensors_find(weights, text_of(name));
    assert_non_null(weight);
    bool found = false;
    for (size_t i = 0; i < adapter->tensor_count; i++) {
        const struct gguf_tensor *b = &adapter->tensors[i];
        struct text stem = {b->name.data, b->name.size - (sizeof ".lora_b" - 1)};
        const struct gguf_tensor *matrix = gguf_find_tensor(base, stem);
        if (memcmp(stem.data + stem.size, ".lora_b", 7) != 0 || matrix == NULL ||
            matrix->shape[0] != module->out || matrix->shape[1] != module->in ||
            weight->shape[0] != module->out || b->shape[1] != module->rank)
            continue;
        const struct gguf_tensor *a = &adapter->tensors[i - 1];
        bool same = true;
        for (uint64_t k = 0; k < module->rank * module->in && same; k++)
            same = convert_folders_value(BLOCK_FORMAT_F32, module->a->data.data, k) ==
                   convert_folders_value(BLOCK_FORMAT_F32, a->data.data, k);
        if (!same)
            continue;
        found = true;
        for (uint64_t row = 0; row < module->out; row++) {
            uint64_t from = find_row(weight, matrix, row);
            assert_memory_equal(b->data.data + row * module->rank * sizeof(float),
                                module->b->data.data + from * module->rank * sizeof(float),
                                module->rank * sizeof(float));
        }
    }
    if (!found)
        fail_msg("%s is not in the file", name);
}

static void test_convert_adapter__rows_of_b_lie_as_the_base_has_them(void **state)
{
    (void)state;
    static const char *const families[] = {"llama2", "llama3", "mistral",  "gemma2",    "phi2",
                                           "qwen3",  "phi35",  "falcon7b", "falcon-new"};
    for (size_t i = 0; i < COUNT_OF(families); i++) {
        char model[128], adapter[128];
        struct convert_folders f;
        struct gguf base, lora;
        struct safetensors weights;
        struct peft_adapter peft;
        struct err_text et = {{0}};
        (void)snprintf(model, sizeof model, CONVERT_FAMILIES "/%s", families[i]);
        (void)snprintf(adapter, sizeof adapter, "%s/adapter", model);
        convert_folders_make(&f);
        convert_folders_to_gguf(&f, model, CONVERT_PLAN_KEEP);
        convert(&f, adapter, f.gguf, CONVERT_PLAN_KEEP);
        if (gguf_open(&base, f.gguf, &et) != ERR_OK || gguf_open(&lora, f.adapter, &et) != ERR_OK ||
            safetensors_index_open_folder(&weights, model, "model", &et) != ERR_OK ||
            peft_adapter_open(&peft, adapter, &et) != ERR_OK)
            fail_msg("%s", et.text);
        assert_int_equal(lora.tensor_count, 2 * peft.count);
        assert_true(gguf_item_f64(gguf_find(&lora, "adapter.lora.alpha"), 0) == 3.0);
        for (size_t k = 0; k < peft.count; k++)
            check_module(&peft.modules[k], &weights, &base, &lora);
        peft_adapter_close(&peft);
        safetensors_close(&weights);
        gguf_close(&lora);
        gguf_close(&base);
        convert_folders_remove(&f);
    }
}

/* An adapter folder of two modules of BASE with all-ones matrices of the given ranks. */
static void write_adapter(const char *folder, const char *config, size_t key_rank)
{
    static float ones[24 * 8];
    char path[256];
    for (size_t i = 0; i < COUNT_OF(ones); i++)
        ones[i] = 1.0f;
    const struct {
        const char *name;
        uint64_t rows, columns;
    } rows[] = {
        {"k_proj.lora_A", key_rank, 24},
        {"k_proj.lora_B", 24, key_rank},
        {"v_proj.lora_A", 2, 24},
        {"v_proj.lora_B", 24, 2},
    };
    struct safetensor tensors[COUNT_OF(rows)];
    char names[COUNT_OF(rows)][96];
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        (void)snprintf(names[i], sizeof names[i],
                       "base_model.model.model.layers.1.self_attn.%s.weight", rows[i].name);
        tensors[i] = (struct safetensor){
            .name = text_of(names[i]),
            .dtype = SAFETENSORS_F32,
            .rank = 2,
            .shape = {rows[i].rows, rows[i].columns},
            .data = {(const uint8_t *)ones, rows[i].rows * rows[i].columns * sizeof(float)},
        };
    }
    const struct safetensors_content content = {tensors, COUNT_OF(tensors), NULL, 0};
    assert_int_equal(folder_create(folder, NULL), ERR_OK);
    (void)snprintf(path, sizeof path, "%s/adapter_model.safetensors", folder);
    assert_int_equal(safetensors_write_file(&content, path, NULL), ERR_OK);
    (void)snprintf(path, sizeof path, "%s/adapter_config.json", folder);
    assert_int_equal(file_write_atomic(path, span_of_text(text_of(config)), NULL), ERR_OK);
}

/* What llama.cpp multiplies each element of B A with. */
static double scale_of(const struct gguf *g, const char *name)
{
    const struct gguf_tensor *b = gguf_find_tensor(g, text_of(name));
    assert_non_null(b);
    double alpha = gguf_item_f64(gguf_find(g, "adapter.lora.alpha"), 0);
    return alpha / (double)b->shape[1] * (double)convert_folders_value(b->format, b->data.data, 0);
}

static void test_convert_adapter__scales_are_those_of_peft(void **state)
{
    (void)state;
    static const struct {
        const char *config;
        double alpha, key, value;
    } rows[] = {
        {"{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":6,\"target_modules\":[\"k_proj\","
         "\"v_proj\"],\"rank_pattern\":{\"k_proj\":8}}",
         6.0, 6.0 / 8, 3.0},
        {"{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":6,\"target_modules\":[\"k_proj\","
         "\"v_proj\"],\"rank_pattern\":{\"k_proj\":8},\"alpha_pattern\":{\"k_proj\":3}}",
         6.0, 3.0 / 8, 3.0},
        {"{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":6,\"target_modules\":[\"k_proj\","
         "\"v_proj\"],\"rank_pattern\":{\"k_proj\":8},\"use_rslora\":true}",
         8.485281374238571, 2.1213203435596424, 4.242640687119285},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct convert_folders f;
        struct gguf g;
        convert_folders_make(&f);
        write_adapter(f.back, rows[i].config, 8);
        convert(&f, f.back, BASE, CONVERT_PLAN_KEEP);
        assert_int_equal(gguf_open(&g, f.adapter, NULL), ERR_OK);
        assert_true(fabs(gguf_item_f64(gguf_find(&g, "adapter.lora.alpha"), 0) - rows[i].alpha) <
                    1e-6);
        assert_true(fabs(scale_of(&g, "blk.1.attn_k.weight.lora_b") - rows[i].key) < 1e-6);
        assert_true(fabs(scale_of(&g, "blk.1.attn_v.weight.lora_b") - rows[i].value) < 1e-6);
        gguf_close(&g);
        convert_folders_remove(&f);
    }
}

static void test_convert_adapter__what_gguf_cannot_name_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *adapter, *base, *message;
        enum err err;
    } rows[] = {
        {CONVERT_FAMILIES "/phi2/adapter", BASE,
         "module model.layers.0.mlp.fc1: models of architecture llama have none", ERR_UNSUPPORTED},
        {CONVERT_FAMILIES "/mistral/adapter", BASE,
         "module model.layers.0.self_attn.k_proj: the base has 24 x 24, the adapter is for 16 x 24",
         ERR_SHAPE},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const struct convert_model_options options = {.format = CONVERT_PLAN_KEEP};
        struct convert_folders f;
        struct convert_model_report report;
        struct err_text et = {{0}};
        convert_folders_make(&f);
        assert_int_equal(convert_adapter_to_gguf(rows[i].adapter, rows[i].base, f.adapter, &options,
                                                 &report, &et),
                         rows[i].err);
        if (strstr(et.text, rows[i].message) == NULL)
            fail_msg("%s", et.text);
        assert_false(file_exists(f.adapter));
        convert_folders_remove(&f);
    }
}

static void test_convert_adapter__gpt_neo_is_none_of_our_families(void **state)
{
    (void)state;
    char adapter[256];
    const struct convert_model_options options = {.format = CONVERT_PLAN_KEEP};
    struct convert_folders f;
    struct convert_model_report report;
    struct err_text et = {{0}};
    if (!convert_folders_real("adapters/gpt-neo-125m-movies", adapter, sizeof adapter))
        skip();
    convert_folders_make(&f);
    assert_int_equal(convert_adapter_to_gguf(adapter, BASE, f.adapter, &options, &report, &et),
                     ERR_UNSUPPORTED);
    assert_non_null(strstr(et.text, "models of architecture llama have none"));
    convert_folders_remove(&f);
}

/* A tensor of MLX, whose matrices lie the other way round. */
static void turn(const struct safetensor *from, struct arena *arena, struct safetensor *to)
{
    float *data = arena_alloc(arena, from->shape[0] * from->shape[1], sizeof *data);
    assert_non_null(data);
    for (uint64_t i = 0; i < from->shape[0]; i++) {
        for (uint64_t k = 0; k < from->shape[1]; k++)
            data[k * from->shape[0] + i] =
                convert_folders_value(BLOCK_FORMAT_F32, from->data.data, i * from->shape[1] + k);
    }
    *to = *from;
    to->shape[0] = from->shape[1];
    to->shape[1] = from->shape[0];
    to->data.data = (const uint8_t *)data;
    char *name =
        arena_print(arena, "base_model.model.%.*s_%c.weight", (int)from->name.size - 2,
                    from->name.data, from->name.data[from->name.size - 1] == 'a' ? 'A' : 'B');
    assert_non_null(name);
    to->name = text_of(name);
}

/* The golden file is Ollama's, which puts the rows of A of q and k elsewhere and leaves those of B:
 * v is what both mean. */
static void test_convert_adapter__an_adapter_of_mlx_has_the_golden_bytes(void **state)
{
    (void)state;
    char path[256], golden[256], file[256];
    struct convert_folders f;
    struct safetensors mlx;
    struct safetensor tensors[8];
    struct arena arena;
    struct gguf g;
    struct json_doc *doc = NULL;
    if (!convert_folders_real("adapters/mlx-discollama/adapters.safetensors", path, sizeof path) ||
        !convert_folders_real("adapters/mlx-discollama/discollama.golden.json", golden,
                              sizeof golden))
        skip();
    arena_init(&arena, 64 << 20);
    convert_folders_make(&f);
    assert_int_equal(safetensors_open(&mlx, path, NULL), ERR_OK);
    assert_int_equal(mlx.count, COUNT_OF(tensors));
    for (size_t i = 0; i < mlx.count; i++)
        turn(&mlx.tensors[i], &arena, &tensors[i]);
    assert_int_equal(folder_create(f.back, NULL), ERR_OK);
    const struct safetensors_content content = {tensors, COUNT_OF(tensors), NULL, 0};
    (void)snprintf(file, sizeof file, "%s/adapter_model.safetensors", f.back);
    assert_int_equal(safetensors_write_file(&content, file, NULL), ERR_OK);
    (void)snprintf(file, sizeof file, "%s/adapter_config.json", f.back);
    assert_int_equal(
        file_write_atomic(file,
                          span_of_text(TEXT("{\"peft_type\":\"LORA\",\"r\":8,\"lora_alpha\":16,"
                                            "\"target_modules\":[\"q_proj\",\"v_proj\"]}")),
                          NULL),
        ERR_OK);
    (void)snprintf(file, sizeof file, "%s/config.json",
                   f.back); /* the base's, as much as it takes */
    assert_int_equal(file_write_atomic(
                         file,
                         span_of_text(TEXT(
                             "{\"model_type\":\"llama\",\"hidden_size\":4096,\"vocab_size\":128256,"
                             "\"num_hidden_layers\":32,\"num_attention_heads\":32,"
                             "\"num_key_value_heads\":8,\"rms_norm_eps\":1e-5}")),
                         NULL),
                     ERR_OK);
    convert(&f, f.back, f.back, BLOCK_FORMAT_F16);
    assert_int_equal(gguf_open(&g, f.adapter, NULL), ERR_OK);
    assert_int_equal(g.tensor_count, COUNT_OF(tensors));
    assert_true(gguf_item_f64(gguf_find(&g, "adapter.lora.alpha"), 0) == 16.0);
    assert_int_equal(json_read_open(golden, 1 << 20, &doc, NULL), ERR_OK);
    size_t compared = 0;
    for (size_t i = 0; i < g.tensor_count; i++) {
        char name[80], hash[65];
        struct text wanted;
        (void)snprintf(name, sizeof name, "%.*s", TEXT_ARGS(g.tensors[i].name));
        if (strstr(name, "attn_v") == NULL)
            continue;
        assert_int_equal(json_read_text(json_read_root(doc), name, &wanted, NULL), ERR_OK);
        convert_folders_sha256(g.tensors[i].data, hash);
        assert_string_equal(hash, wanted.data);
        compared++;
    }
    assert_int_equal(compared, 4);
    json_read_close(&doc);
    gguf_close(&g);
    safetensors_close(&mlx);
    arena_fini(&arena);
    convert_folders_remove(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_convert_adapter__rows_of_b_lie_as_the_base_has_them),
        cmocka_unit_test(test_convert_adapter__scales_are_those_of_peft),
        cmocka_unit_test(test_convert_adapter__what_gguf_cannot_name_is_refused),
        cmocka_unit_test(test_convert_adapter__gpt_neo_is_none_of_our_families),
        cmocka_unit_test(test_convert_adapter__an_adapter_of_mlx_has_the_golden_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
