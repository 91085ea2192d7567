/* test_engine_family_files.c - one model, however its files are written: the spellings of configs
 * and tensor names that are around, and the files that we write ourselves.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/formats/hf/hf_config.h"
#include "common/formats/safetensors/safetensors_write.h"
#include "common/formats/source/file.h"
#include "common/mem/mem.h"
#include "tests/numeric/engine/golden_family.h"

static struct err_text et;

#define OK(expr)                                                                                   \
    do {                                                                                           \
        if ((expr) != ERR_OK)                                                                      \
            fail_msg("%s: %s", #expr, et.text);                                                    \
    } while (0)

/* Whether other files give the family's bits. */
static void check_same(const struct golden_family *g, const char *config, const char *weights)
{
    const struct train_row *row = &g->sequences[0].row;
    struct model *model = NULL;
    OK(model_open_files(config, weights, &model, &et));
    float *wanted = golden_family_logits(g->model, NULL, NULL, row);
    float *got = golden_family_logits(model, NULL, NULL, row);
    size_t bytes = row->token_count * model_shape(model)->vocabulary * sizeof *got;
    if (memcmp(got, wanted, bytes) != 0)
        fail_msg("%s: another model by %s and %s", g->name, config, weights);
    mem_free(wanted);
    mem_free(got);
    model_destroy(&model);
}

static void test_family__other_spellings_of_the_config_are_the_same_model(void **state)
{
    static const struct {
        const char *name, *spelling;
    } others[] = {
        {"gemma", "config.activation.json"},
        {"phi35", "config.su.json"},
        {"falcon7b", "config.refinedweb.json"},
        {"falcon-new", "config.refinedweb.json"},
    };
    struct golden_family *g = golden_family_of_test(state);
    const char *weights = golden_family_path(1, g->name, "model.safetensors");
    check_same(g, golden_family_path(2, g->name, "config.v5.json"), weights);
    for (size_t i = 0; i < COUNT_OF(others); i++) {
        if (strcmp(others[i].name, g->name) == 0)
            check_same(g, golden_family_path(2, g->name, others[i].spelling), weights);
    }
    golden_family_close(g);
}

/* The family's weights with `from` at the start of each name replaced by `to`. */
static void write_renamed(const struct golden_family *g, const char *from, const char *to,
                          const char *path)
{
    struct safetensors st = {0};
    static char names[256][128];
    OK(safetensors_open(&st, golden_family_path(1, g->name, "model.safetensors"), &et));
    assert_true(st.count <= COUNT_OF(names));
    for (size_t i = 0; i < st.count; i++) {
        const char *name = st.tensors[i].name.data;
        bool begins = strncmp(name, from, strlen(from)) == 0;
        (void)snprintf(names[i], sizeof names[i], "%s%s", begins ? to : "",
                       begins ? name + strlen(from) : name);
        st.tensors[i].name = text_of(names[i]);
    }
    const struct safetensors_content content = {.tensors = st.tensors, .count = st.count};
    OK(safetensors_write_file(&content, path, &et));
    safetensors_close(&st);
}

static void test_family__other_names_of_the_tensors_are_the_same_model(void **state)
{
    static const struct {
        const char *name, *config, *from, *to;
    } others[] = {
        {"gpt2", "config.json", "transformer.", ""},
        {"qwen3", "config.json", "model.embed_tokens.", "lm_head."}, /* tied */
        {"gemma3_text", "config.multimodal.json", "model.", "language_model.model."},
        {"gemma3_text", "config.multimodal.json", "model.", "model.language_model."},
    };
    struct golden_family *g = golden_family_of_test(state);
    char path[] = "/tmp/qfleet-test-names-XXXXXX";
    int file = mkstemp(path);
    assert_true(file >= 0);
    for (size_t i = 0; i < COUNT_OF(others); i++) {
        if (strcmp(others[i].name, g->name) != 0)
            continue;
        write_renamed(g, others[i].from, others[i].to, path);
        check_same(g, golden_family_path(2, g->name, others[i].config), path);
    }
    (void)close(file);
    (void)unlink(path);
    golden_family_close(g);
}

static void test_family__alibi_is_refused_by_name(void **state)
{
    (void)state;
    struct model *model = NULL;
    et.text[0] = '\0';
    assert_int_equal(model_open_files(golden_family_path(0, "falcon-rw", "config.json"),
                                      golden_family_path(1, "falcon7b", "model.safetensors"),
                                      &model, &et),
                     ERR_UNSUPPORTED);
    assert_null(model);
    print_message("%s\n", et.text);
}

/* ---- what we write ---- */

struct folder {
    char path[64], config[96], weights[96];
};

static void folder_init(struct folder *f)
{
    (void)snprintf(f->path, sizeof f->path, "/tmp/qfleet-test-family-XXXXXX");
    assert_non_null(mkdtemp(f->path));
    (void)snprintf(f->config, sizeof f->config, "%s/config.json", f->path);
    (void)snprintf(f->weights, sizeof f->weights, "%s/model.safetensors", f->path);
}

static void folder_fini(const struct folder *f)
{
    (void)unlink(f->config);
    (void)unlink(f->weights);
    assert_int_equal(rmdir(f->path), 0);
}

static void write_config(const struct golden_family *g, const char *path)
{
    struct bytes text;
    bytes_init(&text, 1 << 20);
    OK(hf_config_print(model_config(g->model), &text));
    OK(file_write_atomic(path, bytes_span(&text), &et));
    bytes_fini(&text);
}

static void test_family__a_printed_config_is_the_same_model(void **state)
{
    struct golden_family *g = golden_family_of_test(state);
    struct folder folder;
    folder_init(&folder);
    write_config(g, folder.config);
    check_same(g, folder.config, golden_family_path(1, g->name, "model.safetensors"));
    folder_fini(&folder);
    golden_family_close(g);
}

/* The vector of full training as it starts, written as its result would be. */
static void write_weights(const struct train_layout *layout, const char *path)
{
    size_t count = train_layout_entry_count(layout);
    float *values = mem_alloc(train_layout_count(layout), sizeof *values);
    struct safetensor *tensors = mem_alloc(count, sizeof *tensors);
    assert_true(values != NULL && tensors != NULL);
    train_layout_values(layout, 1, values);
    for (size_t i = 0; i < count; i++) {
        const struct train_entry *entry = train_layout_entry(layout, i);
        tensors[i] = (struct safetensor){
            .name = text_of(entry->name),
            .dtype = SAFETENSORS_F32,
            .rank = (uint32_t)entry->dimensions,
            .shape = {entry->shape[0], entry->shape[1]},
            .data = {(const uint8_t *)(values + entry->offset), entry->count * sizeof(float)}};
    }
    const struct safetensors_content content = {.tensors = tensors, .count = count};
    OK(safetensors_write_file(&content, path, &et));
    mem_free(tensors);
    mem_free(values);
}

static void test_family__full_training_writes_the_model_it_trains(void **state)
{
    struct golden_family *g = golden_family_of_test(state);
    const struct train_config config = {.method = TRAIN_METHOD_FULL};
    struct train_layout *layout = NULL;
    enum err err = train_layout_create(g->model, &config, &layout, &et);
    if (err == ERR_RECIPE) {
        print_message("%s: %s\n", g->name, et.text);
        golden_family_close(g);
        skip();
    }
    OK(err);
    struct folder folder;
    folder_init(&folder);
    write_config(g, folder.config);
    write_weights(layout, folder.weights);
    check_same(g, folder.config, folder.weights);
    folder_fini(&folder);
    train_layout_destroy(&layout);
    golden_family_close(g);
}

/* ---- all of them ---- */

#define TESTS(family)                                                                              \
    GOLDEN_TEST(other_spellings_of_the_config_are_the_same_model, family),                         \
        GOLDEN_TEST(other_names_of_the_tensors_are_the_same_model, family),                        \
        GOLDEN_TEST(a_printed_config_is_the_same_model, family),                                   \
        GOLDEN_TEST(full_training_writes_the_model_it_trains, family),

int main(void)
{
    const struct CMUnitTest tests[] = {
        GOLDEN_FAMILIES(TESTS) cmocka_unit_test(test_family__alibi_is_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
