/* test_convert.c - models of every family go to GGUF and come back with the bits they had. */
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/formats/safetensors/safetensors_index.h"
#include "common/formats/source/file.h"
#include "common/formats/source/folder.h"
#include "common/mem/mem.h"
#include "tests/unit/common/formats/convert/convert_folders.h"

static void convert_there_and_back(const char *folder, const struct convert_folders *f,
                                   enum block_format format)
{
    const struct convert_model_options options = {.format = format};
    struct convert_model_report report;
    struct err_text et = {{0}};
    convert_folders_to_gguf(f, folder, format);
    if (convert_model_to_hf(f->gguf, f->back, &options, &report, &et) != ERR_OK)
        fail_msg("%s", et.text);
}

static void expect_same_values(const struct safetensor *a, const struct safetensor *b)
{
    enum block_format from = BLOCK_FORMAT_COUNT, to = BLOCK_FORMAT_COUNT;
    uint64_t count = safetensors_element_count(a);
    assert_int_equal(count, safetensors_element_count(b));
    if (a->dtype == b->dtype) {
        assert_memory_equal(a->data.data, b->data.data, a->data.size);
        return;
    }
    assert_true(convert_float_format_of(a->dtype, &from) && convert_float_format_of(b->dtype, &to));
    for (uint64_t i = 0; i < count; i++) {
        float x, y;
        convert_float_decode(from, 1, a->data.data + i * block_format_bytes(from), &x);
        convert_float_decode(to, 1, b->data.data + i * block_format_bytes(to), &y);
        assert_memory_equal(&x, &y, sizeof x);
    }
}

/* Gains that GGUF holds plus one lose what f32 cannot hold beside the one. */
static bool is_shifted(const char *family, const struct safetensor *t)
{
    return strncmp(family, "gemma", 5) == 0 && t->rank == 1 && strstr(t->name.data, "norm") != NULL;
}

static void expect_near(const struct safetensor *a, const struct safetensor *b)
{
    enum block_format from = BLOCK_FORMAT_COUNT, to = BLOCK_FORMAT_COUNT;
    assert_true(convert_float_format_of(a->dtype, &from) && convert_float_format_of(b->dtype, &to));
    for (uint64_t i = 0; i < safetensors_element_count(a); i++) {
        float x, y;
        convert_float_decode(from, 1, a->data.data + i * block_format_bytes(from), &x);
        convert_float_decode(to, 1, b->data.data + i * block_format_bytes(to), &y);
        assert_true(fabsf(x - y) <= 6e-8f);
    }
}

/* Tied heads and buffers may be left out, and names of bare models have their prefix. */
static bool is_spare(const struct safetensor *t)
{
    return text_is(t->name, "lm_head.weight") || strstr(t->name.data, "inv_freq") != NULL ||
           strstr(t->name.data, ".attn.bias") != NULL;
}

static const struct safetensor *find_again(const struct safetensors *after, struct text name)
{
    char whole[256];
    const struct safetensor *found = safetensors_find(after, name);
    (void)snprintf(whole, sizeof whole, "transformer.%.*s", TEXT_ARGS(name));
    return found != NULL ? found : safetensors_find(after, text_of(whole));
}

static void check_tensors(const char *family, const char *folder, const struct convert_folders *f,
                          bool has_spare)
{
    struct safetensors before, after;
    struct err_text et = {{0}};
    assert_int_equal(safetensors_index_open_folder(&before, folder, "model", &et), ERR_OK);
    assert_int_equal(safetensors_index_open_folder(&after, f->back, "model", &et), ERR_OK);
    for (size_t i = 0; i < before.count; i++) {
        const struct safetensor *there = &before.tensors[i];
        const struct safetensor *back = find_again(&after, there->name);
        if (back == NULL && has_spare && is_spare(there))
            continue;
        if (back == NULL)
            fail_msg("%s: tensor %s is lost", family, there->name.data);
        if (is_shifted(family, there))
            expect_near(there, back);
        else
            expect_same_values(there, back);
    }
    assert_true(has_spare || before.count == after.count);
    safetensors_close(&before);
    safetensors_close(&after);
}

static void check_weights(const char *family, const char *folder, const struct convert_folders *f)
{
    check_tensors(family, folder, f, false);
}

/* Fails with the first line that differs. */
static void expect_same_lines(const char *family, const char *a, const char *b)
{
    while (*a != '\0' && *a == *b) {
        size_t size = strcspn(a, "\n") + 1;
        if (size != strcspn(b, "\n") + 1 || memcmp(a, b, size) != 0)
            break;
        a += size;
        b += size;
    }
    if (strcmp(a, b) != 0)
        fail_msg("%s: expected %.*s, found %.*s", family, (int)strcspn(a, "\n"), a,
                 (int)strcspn(b, "\n"), b);
}

static void print_config(const char *folder, struct bytes *out)
{
    struct hf_config *config = mem_alloc(1, sizeof *config);
    char path[256];
    struct err_text et = {{0}};
    assert_non_null(config);
    (void)snprintf(path, sizeof path, "%s/config.json", folder);
    if (hf_config_open(config, path, &et) != ERR_OK)
        fail_msg("%s", et.text);
    if (strcmp(config->model_type, "gemma") == 0) /* "gelu" means its approximation there */
        (void)snprintf(config->hidden_act, sizeof config->hidden_act, "gelu_pytorch_tanh");
    assert_int_equal(hf_config_print(config, out), ERR_OK);
    bytes_append(out, "", 1);
    assert_int_equal(bytes_status(out), ERR_OK);
    mem_free(config);
}

static void check_config(const char *family, const char *folder, const struct convert_folders *f)
{
    struct bytes before, after;
    bytes_init(&before, 1 << 20);
    bytes_init(&after, 1 << 20);
    print_config(folder, &before);
    print_config(f->back, &after);
    expect_same_lines(family, (const char *)before.data, (const char *)after.data);
    bytes_fini(&before);
    bytes_fini(&after);
}

static void test_convert__every_family_comes_back_bit_for_bit(void **state)
{
    (void)state;
    static const char *const families[] = {
        "llama2",     "llama3",     "llama31",    "llama-linear-rope",
        "llama-yarn", "mistral",    "qwen2",      "qwen25",
        "qwen3",      "gemma",      "gemma2",     "gemma3_text",
        "phi2",       "phi3",       "phi35",      "gpt2",
        "falcon7b",   "falcon-new", "falcon-11b", "bitnet-packed-auto",
    };
    for (size_t i = 0; i < COUNT_OF(families); i++) {
        char folder[128];
        struct convert_folders f;
        (void)snprintf(folder, sizeof folder, CONVERT_FAMILIES "/%s", families[i]);
        convert_folders_make(&f);
        convert_there_and_back(folder, &f, CONVERT_PLAN_KEEP);
        check_weights(families[i], folder, &f);
        check_config(families[i], folder, &f);
        convert_folders_remove(&f);
    }
}

/* The random models beside the data, whose weights and configs lie side by side. */
static void test_convert__models_of_the_data_come_back_bit_for_bit(void **state)
{
    (void)state;
    static const char *const names[] = {"llama",     "mistral", "gemma",   "phi", "phi3",
                                        "falcon_mq", "qwen2",   "smollm2", "gpt2"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        char file[128], weights[512], config[512], link_weights[512], link_config[512], real[4096];
        struct convert_folders f;
        (void)snprintf(file, sizeof file, "models/tiny-random/tiny_%s.safetensors", names[i]);
        if (!convert_folders_real(file, weights, sizeof weights))
            skip();
        (void)snprintf(file, sizeof file, "models/tiny-random/tiny_%s_config.json", names[i]);
        if (strcmp(names[i], "gpt2") == 0)
            (void)snprintf(config, sizeof config, "tests/golden/tiny_gpt2_config.json");
        else if (!convert_folders_real(file, config, sizeof config))
            skip();
        convert_folders_make(&f);
        (void)snprintf(link_weights, sizeof link_weights, "%s/model.safetensors", f.root);
        (void)snprintf(link_config, sizeof link_config, "%s/config.json", f.root);
        assert_non_null(realpath(weights, real));
        assert_int_equal(symlink(real, link_weights), 0);
        assert_non_null(realpath(config, real));
        assert_int_equal(symlink(real, link_config), 0);
        convert_there_and_back(f.root, &f, CONVERT_PLAN_KEEP);
        check_tensors(names[i], f.root, &f, true);
        convert_folders_remove(&f);
    }
}

/* Names as a model that also sees has them become those of its language. */
static void test_convert__the_language_of_a_seeing_model_is_taken(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to;
    } forms[] = {{"model.", "language_model.model."}, {"model.", "model.language_model."}};
    struct hf_config *config = mem_alloc(1, sizeof *config);
    struct err_text et = {{0}};
    for (size_t i = 0; i < COUNT_OF(forms); i++) {
        struct safetensors st;
        struct convert_plan plan;
        struct arena arena;
        arena_init(&arena, 1 << 20);
        assert_int_equal(
            safetensors_index_open_folder(&st, CONVERT_FAMILIES "/gemma3_text", "model", &et),
            ERR_OK);
        assert_int_equal(
            hf_config_open(config, CONVERT_FAMILIES "/gemma3_text/config.multimodal.json", &et),
            ERR_OK);
        for (size_t k = 0; k < st.count; k++) {
            char *name = arena_print(&arena, "%s%s", forms[i].to,
                                     st.tensors[k].name.data + strlen(forms[i].from));
            st.tensors[k].name = text_of(name);
        }
        size_t count = st.count;
        st.tensors[0].name = TEXT("vision_tower.embeddings.weight"); /* the embedding */
        assert_int_equal(convert_plan_gguf(config, "m", &st, CONVERT_PLAN_KEEP, &arena, &plan, &et),
                         ERR_FORMAT);
        assert_string_equal(et.text, "m: expected 1 tensors like token_embd.weight, found 0");
        st.tensors[0].name = TEXT("language_model.lm_head.weight"); /* stands for it when tied */
        if (convert_plan_gguf(config, "m", &st, CONVERT_PLAN_KEEP, &arena, &plan, &et) != ERR_OK)
            fail_msg("%s", et.text);
        assert_int_equal(plan.count, count);
        assert_string_equal(plan.tensors[1].name, "token_embd.weight");
        safetensors_close(&st);
        arena_fini(&arena);
    }
    mem_free(config);
}

/* A chat model stops at the end of a turn and of a text; one key of GGUF holds one of them. */
static void test_convert__all_ends_of_a_text_survive(void **state)
{
    (void)state;
    struct convert_folders f;
    char path[256], real[4096];
    struct hf_config *config = mem_alloc(1, sizeof *config);
    struct err_text et = {{0}};
    convert_folders_make(&f);
    (void)snprintf(path, sizeof path, "%s/generation_config.json", f.root);
    assert_int_equal(
        file_write_atomic(path, span_of_text(TEXT("{\"eos_token_id\": [7, 2, 9]}")), NULL), ERR_OK);
    static const char *const files[] = {"config.json", "model.safetensors"};
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        (void)snprintf(path, sizeof path, CONVERT_FAMILIES "/llama2/%s", files[i]);
        assert_non_null(realpath(path, real));
        (void)snprintf(path, sizeof path, "%s/%s", f.root, files[i]);
        assert_int_equal(symlink(real, path), 0);
    }
    convert_there_and_back(f.root, &f, CONVERT_PLAN_KEEP);
    (void)snprintf(path, sizeof path, "%s/config.json", f.back);
    assert_int_equal(hf_config_open(config, path, &et), ERR_OK);
    assert_int_equal(config->eos.count, 3);
    assert_int_equal(config->eos.ids[0], 2); /* config.json's own first */
    assert_int_equal(config->eos.ids[1], 7);
    assert_int_equal(config->eos.ids[2], 9);
    mem_free(config);
    convert_folders_remove(&f);
}

static void test_convert__alibi_is_refused_by_name(void **state)
{
    (void)state;
    struct hf_config *config = mem_alloc(1, sizeof *config);
    const struct gguf_arch *arch;
    struct err_text et = {{0}};
    assert_int_equal(hf_config_open(config, CONVERT_FAMILIES "/falcon-rw/config.json", &et),
                     ERR_OK);
    assert_int_equal(gguf_arch_of_config(config, "config.json", &arch, &et), ERR_UNSUPPORTED);
    assert_string_equal(et.text,
                        "config.json: alibi: GGUF files of architecture falcon mean false");
    mem_free(config);
}

/* A wider type holds a narrower one: there and back is the same again. */
static void test_convert__a_wider_type_keeps_every_value(void **state)
{
    (void)state;
    static const char *const families[] = {"llama2", "gemma2", "phi35", "falcon-new"};
    for (size_t i = 0; i < COUNT_OF(families); i++) {
        char folder[128];
        struct convert_folders f;
        (void)snprintf(folder, sizeof folder, CONVERT_FAMILIES "/%s", families[i]);
        convert_folders_make(&f);
        convert_there_and_back(folder, &f, BLOCK_FORMAT_F32);
        check_weights(families[i], folder, &f);
        convert_folders_remove(&f);
    }
}

/* Weights of the master model, codes with a scale to divide by and codes with one to multiply
 * with become the same kind of file: -s, 0 or s in each matrix. */
static void test_convert__bitnet_is_ternary_in_gguf(void **state)
{
    (void)state;
    static const char *const families[] = {"bitnet", "bitnet-packed", "bitnet-packed-auto"};
    for (size_t i = 0; i < COUNT_OF(families); i++) {
        char folder[128];
        struct convert_folders f;
        struct gguf gguf;
        (void)snprintf(folder, sizeof folder, CONVERT_FAMILIES "/%s", families[i]);
        convert_folders_make(&f);
        convert_folders_to_gguf(&f, folder, BLOCK_FORMAT_F32);
        assert_int_equal(gguf_open(&gguf, f.gguf, NULL), ERR_OK);
        const struct gguf_tensor *t = gguf_find_tensor(&gguf, TEXT("blk.1.ffn_up.weight"));
        assert_non_null(t);
        assert_int_equal(t->shape[0], 20);
        struct convert_range range = convert_tensor_range(t->data, t->format);
        assert_true(range.is_ternary && range.max > 1e-4f && range.max < 10.0f);
        gguf_close(&gguf);
        convert_folders_remove(&f);
    }
}

/* A packed matrix of the golden model in another form: an expectation of its plan. */
struct ternary_case {
    const char *linear_class, *mode;
    bool packed;
    uint8_t damage; /* or-ed into the first byte of codes */
    float number;   /* the first where they are not packed */
    enum convert_change change;
    const char *says; /* NULL: is planned */
};

static void check_ternary_case(const struct ternary_case *c)
{
    enum { ROWS = 20, COLUMNS = 24 };
    static const char folder[] = CONVERT_FAMILIES "/bitnet-packed";
    static uint8_t codes[ROWS / 4 * COLUMNS];
    static float numbers[ROWS * COLUMNS];
    struct safetensors st;
    struct convert_plan plan;
    struct arena arena;
    struct err_text et = {{0}};
    float scale = 0.0f;
    struct hf_config *config = mem_alloc(1, sizeof *config);
    arena_init(&arena, 1 << 20);
    assert_int_equal(safetensors_index_open_folder(&st, folder, "model", NULL), ERR_OK);
    assert_int_equal(hf_config_open(config, CONVERT_FAMILIES "/bitnet-packed/config.json", NULL),
                     ERR_OK);
    (void)snprintf(config->quant_linear_class, sizeof config->quant_linear_class, "%s",
                   c->linear_class);
    (void)snprintf(config->quant_mode, sizeof config->quant_mode, "%s", c->mode);
    for (size_t i = 0; i < st.count; i++) {
        struct safetensor *t = &st.tensors[i];
        if (text_is(t->name, "model.layers.1.mlp.up_proj.weight_scale"))
            convert_float_decode(BLOCK_FORMAT_BF16, 1, t->data.data, &scale);
        if (!text_is(t->name, "model.layers.1.mlp.up_proj.weight"))
            continue;
        memcpy(codes, t->data.data, sizeof codes);
        codes[0] |= c->damage;
        for (size_t k = 0; k < COUNT_OF(numbers); k++)
            numbers[k] = (float)(k % 3) - 1.0f;
        numbers[0] = c->number;
        t->data = (struct span){codes, sizeof codes};
        if (c->packed)
            continue;
        t->dtype = SAFETENSORS_F32;
        t->shape[0] = ROWS;
        t->data = (struct span){(const uint8_t *)numbers, sizeof numbers};
    }
    enum err err = convert_plan_gguf(config, "m", &st, CONVERT_PLAN_KEEP, &arena, &plan, &et);
    assert_int_equal(err, c->says == NULL ? ERR_OK : ERR_FORMAT);
    if (c->says != NULL && strstr(et.text, c->says) == NULL)
        fail_msg("%s: %s", c->says, et.text);
    for (size_t i = 0; c->says == NULL && i < plan.count; i++) {
        const struct convert_tensor *t = &plan.tensors[i];
        if (strcmp(t->name, "blk.1.ffn_up.weight") != 0)
            continue;
        assert_int_equal(t->change, c->change);
        if (strcmp(c->mode, "online") != 0)
            assert_true(t->scale ==
                        (strcmp(c->linear_class, "autobitlinear") == 0 ? scale : 1.0f / scale));
    }
    safetensors_close(&st);
    arena_fini(&arena);
    mem_free(config);
}

static void test_convert__ternary_numbers_have_the_scale_beside_them(void **state)
{
    (void)state;
    static const struct ternary_case cases[] = {
        {"bitlinear", "offline", true, 0, 0, CONVERT_CHANGE_UNPACK, NULL},
        {"autobitlinear", "offline", true, 0, 0, CONVERT_CHANGE_UNPACK, NULL},
        {"", "", true, 0, 0, CONVERT_CHANGE_UNPACK, NULL},
        {"autobitlinear", "offline", false, 0, -1, CONVERT_CHANGE_SCALE, NULL},
        {"autobitlinear", "online", false, 0, 0.25f, CONVERT_CHANGE_TERNARY, NULL},
        {"bitlinear", "offline", true, 3, 0, CONVERT_CHANGE_NONE, "a packed number is not ternary"},
        {"autobitlinear", "offline", false, 0, 0.5f, CONVERT_CHANGE_NONE,
         "up_proj.weight: a number is not ternary"},
        {"autobitlinear", "online", false, 0, NAN, CONVERT_CHANGE_NONE, "a weight is not finite"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        check_ternary_case(&cases[i]);
}

static void test_convert__a_missing_tensor_is_missed(void **state)
{
    (void)state;
    struct convert_folders f;
    struct safetensors st;
    struct hf_config *config = mem_alloc(1, sizeof *config);
    struct convert_plan plan;
    struct arena arena;
    struct err_text et = {{0}};
    arena_init(&arena, 1 << 20);
    convert_folders_make(&f);
    assert_int_equal(safetensors_index_open_folder(&st, CONVERT_FAMILIES "/llama2", "model", NULL),
                     ERR_OK);
    assert_int_equal(hf_config_open(config, CONVERT_FAMILIES "/llama2/config.json", NULL), ERR_OK);
    st.count--; /* model.norm.weight */
    st.count--; /* a matrix of layer 1 */
    assert_int_equal(convert_plan_gguf(config, "m", &st, CONVERT_PLAN_KEEP, &arena, &plan, &et),
                     ERR_FORMAT);
    assert_string_equal(et.text, "m: expected 2 tensors like blk.0.attn_v.weight, found 1");
    st.tensors[0].name = TEXT("model.layers.0.surprise.weight");
    assert_int_equal(convert_plan_gguf(config, "m", &st, CONVERT_PLAN_KEEP, &arena, &plan, &et),
                     ERR_UNSUPPORTED);
    assert_string_equal(et.text, "m: tensor model.layers.0.surprise.weight: models of architecture "
                                 "llama have none");
    safetensors_close(&st);
    arena_fini(&arena);
    mem_free(config);
    convert_folders_remove(&f);
}

static void test_convert__halves_round_to_even(void **state)
{
    (void)state;
    static const struct {
        float value;
        uint16_t f16, bf16;
    } rows[] = {
        {0.0f, 0x0000, 0x0000},           {-0.0f, 0x8000, 0x8000},
        {1.0f, 0x3c00, 0x3f80},           {65504.0f, 0x7bff, 0x4780},
        {65520.0f, 0x7c00, 0x4780},       {65519.0f, 0x7bff, 0x4780},
        {0x1p-24f, 0x0001, 0x3380},       {0x1p-25f, 0x0000, 0x3300},
        {0x1.8p-25f, 0x0001, 0x3340},     {0x1.ffcp-15f, 0x0400, 0x3880},
        {1.00048828125f, 0x3c00, 0x3f80}, {1.00146484375f, 0x3c02, 0x3f80},
        {1.00390625f, 0x3c04, 0x3f80},    {1.01171875f, 0x3c0c, 0x3f82},
        {INFINITY, 0x7c00, 0x7f80},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        uint16_t half;
        convert_float_encode(BLOCK_FORMAT_F16, 1, &rows[i].value, &half);
        assert_int_equal(half, rows[i].f16);
        convert_float_encode(BLOCK_FORMAT_BF16, 1, &rows[i].value, &half);
        assert_int_equal(half, rows[i].bf16);
    }
    for (uint32_t bits = 0; bits < 1u << 16; bits++) {
        uint16_t half = (uint16_t)bits, again;
        float value;
        for (int b = 0; b < 2; b++) {
            enum block_format format = b == 0 ? BLOCK_FORMAT_F16 : BLOCK_FORMAT_BF16;
            convert_float_decode(format, 1, &half, &value);
            convert_float_encode(format, 1, &value, &again);
            assert_true(again == half || (isnan(value) && (again & 0x7fff) != 0));
        }
    }
}

static double number_of_half(uint32_t half)
{
    int exponent = (int)(half >> 10 & 31u);
    double size = exponent == 31 ? (half & 1023u) != 0 ? (double)NAN : (double)INFINITY
                  : exponent > 0 ? ldexp(1024 + (half & 1023u), exponent - 25)
                                 : ldexp(half & 1023u, -24);
    return (half & 0x8000u) != 0 ? -size : size;
}

static void test_convert__a_row_of_halves_is_their_numbers(void **state)
{
    (void)state;
    enum { HALVES = 65536 };
    static uint16_t halves[HALVES];
    static float values[HALVES];
    for (uint32_t i = 0; i < HALVES; i++)
        halves[i] = (uint16_t)i;
    for (uint32_t skipped = 0; skipped < 2; skipped++) { /* whole rows, and one short of them */
        convert_float_decode(BLOCK_FORMAT_F16, HALVES - skipped, halves + skipped, values);
        for (uint32_t i = skipped; i < HALVES; i++) {
            double expected = number_of_half(i), found = (double)values[i - skipped];
            assert_true(isnan(expected) ? isnan(found) : found == expected);
            assert_int_equal(signbit(found) != 0, i >> 15);
        }
    }
}

static enum err convert_back(const struct convert_folders *f, struct err_text *et)
{
    const struct convert_model_options options = {.format = CONVERT_PLAN_KEEP};
    struct convert_model_report report;
    return convert_model_to_hf(f->gguf, f->back, &options, &report, et);
}

/* A write that fails in the middle leaves neither the folder nor its forerunner behind. */
static void test_convert__a_folder_appears_whole_or_not_at_all(void **state)
{
    (void)state;
    struct convert_folders f;
    struct err_text et = {{0}};
    struct rlimit before;
    char staging[160];
    convert_folders_make(&f);
    convert_folders_to_gguf(&f, CONVERT_FAMILIES "/llama2", CONVERT_PLAN_KEEP);
    (void)snprintf(staging, sizeof staging, "%s.tmp", f.back);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    const struct rlimit small = {4096, before.rlim_max};
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    enum err err = convert_back(&f, &et);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    (void)signal(SIGXFSZ, handler);
    assert_int_not_equal(err, ERR_OK);
    assert_false(folder_exists(f.back));
    assert_false(folder_exists(staging));
    if (convert_back(&f, &et) != ERR_OK)
        fail_msg("%s", et.text);
    check_weights("llama2", CONVERT_FAMILIES "/llama2", &f);
    assert_false(folder_exists(staging));
    convert_folders_remove(&f);
}

/* What a killed conversion left is replaced; what somebody else put there is not. */
static void test_convert__a_forerunner_of_a_folder_is_replaced(void **state)
{
    (void)state;
    struct convert_folders f;
    struct err_text et = {{0}};
    char staging[160], left[192], strange[192];
    convert_folders_make(&f);
    convert_folders_to_gguf(&f, CONVERT_FAMILIES "/llama2", CONVERT_PLAN_KEEP);
    (void)snprintf(staging, sizeof staging, "%s.tmp", f.back);
    (void)snprintf(left, sizeof left, "%s/tokenizer.json", staging);
    (void)snprintf(strange, sizeof strange, "%s/notes", staging);
    assert_int_equal(mkdir(staging, 0777), 0);
    assert_int_equal(file_write_atomic(left, (struct span){(const uint8_t *)"{", 1}, &et), ERR_OK);
    assert_int_equal(file_write_atomic(strange, (struct span){(const uint8_t *)"x", 1}, &et),
                     ERR_OK);
    assert_int_equal(convert_back(&f, &et), ERR_EXISTS);
    assert_true(file_exists(strange));
    assert_int_equal(unlink(strange), 0);
    assert_int_equal(file_write_atomic(left, (struct span){(const uint8_t *)"{", 1}, &et), ERR_OK);
    if (convert_back(&f, &et) != ERR_OK)
        fail_msg("%s", et.text);
    (void)snprintf(left, sizeof left, "%s/tokenizer.json", f.back);
    assert_false(file_exists(left));
    assert_false(folder_exists(staging));
    convert_folders_remove(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_convert__models_of_the_data_come_back_bit_for_bit),
        cmocka_unit_test(test_convert__alibi_is_refused_by_name),
        cmocka_unit_test(test_convert__all_ends_of_a_text_survive),
        cmocka_unit_test(test_convert__the_language_of_a_seeing_model_is_taken),
        cmocka_unit_test(test_convert__a_wider_type_keeps_every_value),
        cmocka_unit_test(test_convert__bitnet_is_ternary_in_gguf),
        cmocka_unit_test(test_convert__ternary_numbers_have_the_scale_beside_them),
        cmocka_unit_test(test_convert__a_missing_tensor_is_missed),
        cmocka_unit_test(test_convert__halves_round_to_even),
        cmocka_unit_test(test_convert__a_row_of_halves_is_their_numbers),
        cmocka_unit_test(test_convert__a_folder_appears_whole_or_not_at_all),
        cmocka_unit_test(test_convert__a_forerunner_of_a_folder_is_replaced),
        cmocka_unit_test(test_convert__every_family_comes_back_bit_for_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
