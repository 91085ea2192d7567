/* test_task_compare.c - from text to the report of a quantized model: windows for calibration and
 * for the comparison, both models over them, and what comes out of it as figures.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/formats/dataset/perplexity.h"
#include "common/formats/dataset/rows.h"
#include "common/formats/json/json_read.h"
#include "common/formats/source/file.h"
#include "common/formats/source/source.h"
#include "common/message/state.h"
#include "tests/unit/worker/task/task_place.h"
#include "worker/engine/compare/scores.h"

enum { TEXT_BYTES = 8000, WINDOW = 128, CALIBRATION_ROWS = 5, COMPARE_TASKS = 3 };

#define TEXT_FILE "text/tinystories-train-head.txt"

static const char recipe_text[] = "base_model: models/lm-6m\n"
                                  "calibration_datasets:\n"
                                  "  - path: a.txt\n"
                                  "test_datasets:\n"
                                  "  - path: b.txt\n"
                                  "sequence_len: 128\n"
                                  "quantize:\n"
                                  "  scheme: Q2_K\n"
                                  "  samples: 5\n";

static void add_text(struct task_place *p, const char *name, size_t skip)
{
    char path[512];
    struct source text;
    (void)snprintf(path, sizeof path, "%s/%s", task_place_data(), TEXT_FILE);
    assert_int_equal(source_open(&text, path, NULL), ERR_OK);
    assert_true(text.bytes.size > skip + TEXT_BYTES);
    task_place_add_bytes(p, name, (struct span){text.bytes.data + skip, TEXT_BYTES});
    source_close(&text);
}

static void add_file(struct task_place *p, const char *name, const char *below)
{
    char path[512];
    (void)snprintf(path, sizeof path, "%s/models/lm-6m/%s", task_place_data(), below);
    task_place_add_file(p, name, path);
}

/* What an earlier task gave becomes an input; `name` is printed with its number. */
static void pass_on(struct task_place *p, const struct task_result *result, const char *output,
                    const char *name, unsigned number)
{
    char text[64];
    (void)snprintf(text, sizeof text, "%s/%u", name, number);
    task_place_add(p, task_place_output(result, output), text);
}

static struct task_place *start(void)
{
    static const char *const names[] = {"config.json", "model.safetensors", "tokenizer.model",
                                        "tokenizer_config.json"};
    char path[512], name[64];
    (void)snprintf(path, sizeof path, "%s/models/lm-6m/config.json", task_place_data());
    if (!file_exists(path)) {
        print_message("skipped: no %s\n", path);
        return NULL;
    }
    struct task_place *p = task_place_open();
    task_place_start(p, 2);
    task_place_add_recipe(p, recipe_text);
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        (void)snprintf(name, sizeof name, "model/%s", names[i]);
        add_file(p, name, names[i]);
    }
    return p;
}

/* prepare of both texts and pack: the run's inputs then have calib_rows and test_rows. */
static struct task_result prepare_and_pack(struct task_place *p)
{
    static const char *const inputs[] = {"calib/0/a.txt", "test/0/b.txt"};
    static const char *const outputs[] = {"samples/calib", "samples/test"};
    uint32_t kept = p->input_count;
    struct task_result prepared[2];
    for (size_t i = 0; i < 2; i++) {
        p->input_count = kept;
        add_text(p, inputs[i], i * TEXT_BYTES);
        prepared[i] = task_place_run(
            p, (struct task_spec){.kind = STAGE_KIND_PREPARE, .end = TEXT_BYTES, .total = 2});
    }
    p->input_count = kept;
    for (size_t i = 0; i < 2; i++)
        pass_on(p, &prepared[i], "samples", outputs[i], 0);
    return task_place_run(p, (struct task_spec){.kind = STAGE_KIND_PACK});
}

static void test_task_compare__text_becomes_windows(void **state)
{
    (void)state;
    struct task_place *p = start();
    if (p == NULL)
        skip();
    struct task_result packed = prepare_and_pack(p);
    uint64_t test_rows = task_place_fact(&packed, "test_rows");
    assert_int_equal(task_place_fact(&packed, "calib_rows"), CALIBRATION_ROWS);
    assert_int_equal(task_place_fact(&packed, "calibrate_tasks"), 2);
    assert_int_equal(task_place_fact(&packed, "compare_tasks"), test_rows);
    static const char *const outputs[] = {"calib_rows", "test_rows"};
    for (size_t i = 0; i < COUNT_OF(outputs); i++) {
        struct artifact_ref ref = task_place_output(&packed, outputs[i]);
        struct span blob = bulk_server_find(p->server, ref.digest);
        struct rows rows;
        struct perplexity rules;
        assert_int_equal(rows_open(blob, &rows, NULL), ERR_OK);
        assert_int_equal(perplexity_of_rows(blob, &rules, NULL), ERR_OK);
        assert_int_equal(rules.protocol, PERPLEXITY_WINDOWS);
        assert_int_equal(rules.length, WINDOW);
        assert_int_equal(rows.row_count, i == 0 ? CALIBRATION_ROWS : test_rows);
        for (uint64_t r = 0; r < rows.row_count; r++) {
            assert_int_equal(rows_at(&rows, r).count, WINDOW);
            assert_int_equal(rows_at(&rows, r).tokens[0], 1);
        }
    }
    task_place_close(p);
}

static double number_of(struct json_value object, const char *key)
{
    double value;
    struct err_text et = {""};
    if (json_read_f64(object, key, &value, &et) != ERR_OK)
        fail_msg("%s", et.text);
    return value;
}

static void check_report(struct span text, uint64_t rows)
{
    struct json_doc *doc = NULL;
    struct json_value quality, base, result, list;
    struct text name;
    const struct json_read_options options = {.name = "quantization.json"};
    assert_int_equal(json_read_parse(text, &options, &doc, NULL), ERR_OK);
    struct json_value root = json_read_root(doc);
    assert_int_equal(json_read_object(root, "quality", &quality, NULL), ERR_OK);
    assert_int_equal(json_read_object(quality, "base", &base, NULL), ERR_OK);
    assert_int_equal(json_read_object(quality, "result", &result, NULL), ERR_OK);
    double tokens = (double)(rows * (WINDOW - 1));
    assert_true(number_of(quality, "tokens_scored") <= tokens &&
                number_of(quality, "tokens_scored") >= tokens);
    double loss = number_of(base, "loss");
    assert_true(loss > 2.5 && loss < 4);
    assert_true(number_of(result, "loss") > loss - 0.1 && number_of(result, "loss") < loss + 0.1);
    assert_true(number_of(quality, "kl_mean") > 0.005 && number_of(quality, "kl_mean") < 0.03);
    assert_true(number_of(quality, "top1_agreement") > 0.85);
    assert_int_equal(json_read_array(root, "tensors", &list, NULL), ERR_OK);
    assert_int_equal(json_read_count(list), 2);
    assert_int_equal(json_read_text(json_read_item(list, 0), "tensor", &name, NULL), ERR_OK);
    assert_true(text_is(name, "worse"));
    json_read_close(&doc);
}

/* Figures of two tensors as quantize tasks write them. */
static void add_figures(struct task_place *p)
{
    static const char *const inputs[][2] = {
        {"choices", "{\"form\": \"gguf\", \"scheme\": \"Q2_K\", \"tensors\": []}"},
        {"figures/0", "{\"tensors\": [{\"tensor\": \"better\", \"format\": \"Q2_K\", \"rows\": 2, "
                      "\"columns\": 256, \"size_bytes\": 168, \"relative_error\": 0.01, "
                      "\"other\": 1.5}]}"},
        {"figures/1", "{\"tensors\": [{\"tensor\": \"worse\", \"format\": \"Q3_K\", \"rows\": 2, "
                      "\"columns\": 256, \"size_bytes\": 220, \"relative_error\": 0.02}]}"},
    };
    for (size_t i = 0; i < COUNT_OF(inputs); i++)
        task_place_add_bytes(p, inputs[i][0], span_of_text(text_of(inputs[i][1])));
}

static void test_task_compare__any_ranges_give_one_report(void **state)
{
    (void)state;
    struct task_place *p = start();
    struct digest first = {{0}};
    if (p == NULL)
        skip();
    struct task_result packed = prepare_and_pack(p);
    uint64_t rows = task_place_fact(&packed, "test_rows");
    task_place_add(p, task_place_output(&packed, "test_rows"), "test_rows");
    add_file(p, "result/lm-6m-Q2_K.gguf", "lm-6m-Q2_K.gguf");
    add_file(p, "result/imatrix.gguf", "lm-6m.imatrix.dat");
    add_figures(p);
    uint32_t kept = p->input_count;
    for (unsigned tasks = 1; tasks <= COMPARE_TASKS; tasks += 2) {
        p->input_count = kept;
        task_place_start(p, tasks);
        for (unsigned i = 0; i < tasks; i++) {
            struct task_result scores = task_place_run(
                p, (struct task_spec){
                       .kind = STAGE_KIND_COMPARE, .first = i, .end = i + 1, .total = tasks});
            pass_on(p, &scores, "scores", "scores", i);
        }
        struct task_result report =
            task_place_run(p, (struct task_spec){.kind = STAGE_KIND_REPORT, .total = 1});
        struct artifact_ref json = task_place_output(&report, "quantization.json");
        if (tasks == 1)
            first = json.digest;
        assert_true(digest_equal(first, json.digest));
        check_report(bulk_server_find(p->server, json.digest), rows);
        struct artifact_ref card = task_place_output(&report, "README.md");
        struct span text = bulk_server_find(p->server, card.digest);
        assert_true(text.size > 200 && memcmp(text.data, "---\nbase_model: ", 16) == 0);
    }
    task_place_close(p);
}

static void test_task_compare__bad_specs_are_errors_with_a_place(void **state)
{
    (void)state;
    struct task_place *p = start();
    if (p == NULL)
        skip();
    struct task_result packed = prepare_and_pack(p);
    task_place_add(p, task_place_output(&packed, "test_rows"), "test_rows");
    static const struct {
        uint32_t kind;
        uint64_t first, total;
        enum err expected;
        const char *detail;
    } cases[] = {
        {STAGE_KIND_COMPARE, 3, 3, ERR_PROTOCOL, "task 3 of 3"},
        {STAGE_KIND_COMPARE, 0, 1000, ERR_PROTOCOL, "task 0 of 1000"},
        {STAGE_KIND_REPORT, 0, 1, ERR_NOT_FOUND, "choices"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const struct task_spec spec = {.kind = cases[i].kind,
                                       .first = cases[i].first,
                                       .end = cases[i].first + 1,
                                       .total = cases[i].total,
                                       .profile = TEXT("f32/1"),
                                       .inputs = p->inputs,
                                       .inputs_count = p->input_count};
        const struct task_call call = {.spec = &spec};
        struct task_result result;
        struct err_text et = {""};
        assert_int_equal(task_execute(p->env, &call, &p->arena, &result, &et), cases[i].expected);
        assert_non_null(strstr(et.text, cases[i].detail));
    }
    task_place_close(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_task_compare__text_becomes_windows),
        cmocka_unit_test(test_task_compare__any_ranges_give_one_report),
        cmocka_unit_test(test_task_compare__bad_specs_are_errors_with_a_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
