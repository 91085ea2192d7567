/* test_task_target.c - types chosen by what they cost: the table that is measured, on whatever the
 * model came in, and what is said of a target that cannot be reached.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/formats/json/json_read.h"
#include "common/formats/source/file.h"
#include "common/formats/source/source.h"
#include "common/message/state.h"
#include "tests/unit/worker/task/task_place.h"

enum { CALIBRATION_BYTES = 60000, TEST_BYTES = 40000, RECIPE_BYTES = 512, TENSORS = 44 };

#define TEXT_FILE "text/tinystories-train-head.txt"

/* What the tasks of a job made. */
struct job {
    struct task_place *place;
    uint32_t base_inputs; /* of every task: recipe and model */
    struct artifact_ref packed[2], imatrix, target;
    struct artifact_ref sensitivities[TENSORS];
    uint64_t sensitivity_tasks;
};

/* Bytes from `skip` on; below 0: from that far before the end. */
static void add_text(struct task_place *p, const char *name, long skip, size_t size)
{
    char path[512];
    struct source text;
    (void)snprintf(path, sizeof path, "%s/%s", task_place_data(), TEXT_FILE);
    assert_int_equal(source_open(&text, path, NULL), ERR_OK);
    size_t at = skip >= 0 ? (size_t)skip : text.bytes.size - (size_t)-skip;
    assert_true(text.bytes.size >= at + size);
    task_place_add_bytes(p, name, (struct span){text.bytes.data + at, size});
    source_close(&text);
}

static void add_numbered(struct task_place *p, struct artifact_ref ref, const char *name,
                         uint64_t number)
{
    char text[64];
    (void)snprintf(text, sizeof text, "%s/%llu", name, (unsigned long long)number);
    task_place_add(p, ref, text);
}

/* A model of the data folder, whose named files are all there is. */
struct model_files {
    const char *folder;
    const char *names[5];
    unsigned window, samples;
};

static const struct model_files small = {
    "TinyStories-656K",
    {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"},
    128,
    4};
static const struct model_files small_blocks = {
    "TinyStories-656K", {"TinyStories-656K-Q8_0.gguf"}, 128, 4};

static bool job_start(struct job *j, const struct model_files *m, const char *quantize,
                      unsigned threads)
{
    char path[512], name[64], recipe[RECIPE_BYTES];
    (void)snprintf(path, sizeof path, "%s/models/%s/%s", task_place_data(), m->folder, m->names[0]);
    if (!file_exists(path)) {
        print_message("skipped: no %s\n", path);
        return false;
    }
    *j = (struct job){.place = task_place_open()};
    task_place_start(j->place, threads);
    (void)snprintf(
        recipe, sizeof recipe,
        "base_model: models/m\ncalibration_datasets:\n  - path: a.txt\n"
        "test_datasets:\n  - path: b.txt\nsequence_len: %u\nquantize: {%s, samples: %u}\n",
        m->window, quantize, m->samples);
    task_place_add_recipe(j->place, recipe);
    for (size_t i = 0; i < COUNT_OF(m->names) && m->names[i] != NULL; i++) {
        (void)snprintf(name, sizeof name, "model/%s", m->names[i]);
        (void)snprintf(path, sizeof path, "%s/models/%s/%s", task_place_data(), m->folder,
                       m->names[i]);
        task_place_add_file(j->place, name, path);
    }
    j->base_inputs = j->place->input_count;
    return true;
}

static void job_close(struct job *j)
{
    task_place_close(j->place);
}

static struct task_result run(struct job *j, uint32_t kind, uint64_t first, uint64_t total)
{
    return task_place_run(j->place, (struct task_spec){.kind = kind,
                                                       .first = first,
                                                       .end = first + 1,
                                                       .total = total,
                                                       .profile = TEXT("f32/1")});
}

static void pack(struct job *j)
{
    struct task_place *p = j->place;
    struct task_result prepared[2];
    for (size_t i = 0; i < 2; i++) {
        p->input_count = j->base_inputs;
        add_text(p, i == 0 ? "calib/0/a.txt" : "test/0/b.txt", i == 0 ? 0 : -TEST_BYTES,
                 i == 0 ? CALIBRATION_BYTES : TEST_BYTES);
        prepared[i] =
            task_place_run(p, (struct task_spec){.kind = STAGE_KIND_PREPARE,
                                                 .end = i == 0 ? CALIBRATION_BYTES : TEST_BYTES,
                                                 .total = 2});
    }
    p->input_count = j->base_inputs;
    add_numbered(p, task_place_output(&prepared[0], "samples"), "samples/calib", 0);
    add_numbered(p, task_place_output(&prepared[1], "samples"), "samples/test", 0);
    struct task_result packed = run(j, STAGE_KIND_PACK, 0, 1);
    j->packed[0] = task_place_output(&packed, "calib_rows");
    j->packed[1] = task_place_output(&packed, "test_rows");
    uint64_t tasks = task_place_fact(&packed, "calibrate_tasks");
    struct artifact_ref statistics[64];
    assert_true(tasks <= COUNT_OF(statistics) - 8);
    p->input_count = j->base_inputs;
    task_place_add(p, j->packed[0], "calib_rows");
    for (uint64_t i = 0; i < tasks; i++) {
        struct task_result one = run(j, STAGE_KIND_CALIBRATE, i, tasks);
        statistics[i] = task_place_output(&one, "statistics");
    }
    p->input_count = j->base_inputs;
    for (uint64_t i = 0; i < tasks; i++)
        add_numbered(p, statistics[i], "statistics", i);
    struct task_result reduced = run(j, STAGE_KIND_REDUCE, 0, 1);
    j->imatrix = task_place_output(&reduced, "imatrix");
    for (uint32_t i = 0; i < reduced.facts_count; i++)
        if (text_is(reduced.facts[i].name, "sensitivity_tasks"))
            j->sensitivity_tasks = reduced.facts[i].value;
    assert_true(j->sensitivity_tasks <= TENSORS);
}

static void measure(struct job *j)
{
    struct task_place *p = j->place;
    p->input_count = j->base_inputs;
    task_place_add(p, j->packed[0], "calib_rows");
    task_place_add(p, j->imatrix, "imatrix");
    for (uint64_t i = 0; i < j->sensitivity_tasks; i++) {
        struct task_result one = run(j, STAGE_KIND_SENSITIVITY, i, j->sensitivity_tasks);
        j->sensitivities[i] = task_place_output(&one, "sensitivity");
    }
}

static void add_sensitivities(struct job *j)
{
    j->place->input_count = j->base_inputs;
    task_place_add(j->place, j->imatrix, "imatrix");
    for (uint64_t i = 0; i < j->sensitivity_tasks; i++)
        add_numbered(j->place, j->sensitivities[i], "sensitivity", i);
}

/* A few of the small model's figures. A matrix whose rows were laid over the model in the wrong
 * order would tear it apart: eight bits would lose as much as all. */
static void check_table(const struct job *j)
{
    const struct json_read_options options = {.name = "target"};
    struct json_doc *doc = NULL;
    struct json_value list, candidates;
    struct span text = bulk_server_find(j->place->server, j->target.digest);
    assert_int_equal(json_read_parse(text, &options, &doc, NULL), ERR_OK);
    assert_int_equal(json_read_array(json_read_root(doc), "tensors", &list, NULL), ERR_OK);
    assert_int_equal(json_read_count(list), j->sensitivity_tasks);
    for (size_t i = 0; i < json_read_count(list); i++) {
        double coarse, fine;
        assert_int_equal(json_read_array(json_read_item(list, i), "candidates", &candidates, NULL),
                         ERR_OK);
        size_t count = json_read_count(candidates);
        assert_true(count >= 3);
        assert_int_equal(json_read_f64(json_read_item(candidates, 0), "kl", &coarse, NULL), ERR_OK);
        assert_int_equal(json_read_f64(json_read_item(candidates, count - 1), "kl", &fine, NULL),
                         ERR_OK);
        assert_true(coarse > 0 && coarse < 0.2 && fine < coarse / 10 && fine < 1e-3);
    }
    json_read_close(&doc);
}

static void test_task_target__threads_change_no_bit(void **state)
{
    (void)state;
    struct digest first = {{0}};
    for (unsigned threads = 1; threads <= 3; threads += 2) {
        struct job j;
        if (!job_start(&j, &small, "target_bpw: 5.5", threads))
            skip();
        pack(&j);
        measure(&j);
        add_sensitivities(&j);
        struct task_result chosen = run(&j, STAGE_KIND_CHOOSE, 0, 1);
        struct digest table = task_place_output(&chosen, "target").digest;
        if (threads == 1)
            first = table;
        assert_true(digest_equal(table, first));
        job_close(&j);
    }
}

/* q and k lie in such files with each head's rotated pairs side by side. */
static void test_task_target__a_base_in_blocks_is_measured_as_it_lies(void **state)
{
    (void)state;
    struct job j;
    if (!job_start(&j, &small_blocks, "target_bpw: 5.5, allow_requantize: true", 1))
        skip();
    pack(&j);
    measure(&j);
    add_sensitivities(&j);
    struct task_result chosen = run(&j, STAGE_KIND_CHOOSE, 0, 1);
    j.target = task_place_output(&chosen, "target");
    check_table(&j);
    job_close(&j);
}

static void test_task_target__what_cannot_be_reached_is_said_with_what_can(void **state)
{
    (void)state;
    static const struct {
        const char *quantize;
        const char *detail;
    } cases[] = {
        {"target_bpw: 4.5", "quantize.target_bpw: expected at least 4.5"},
        {"target_kl: 1e-9", "quantize.target_kl: expected at least "},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct job j;
        struct task_result result;
        struct err_text et = {""};
        if (!job_start(&j, &small, cases[i].quantize, 1))
            skip();
        pack(&j);
        measure(&j);
        add_sensitivities(&j);
        const struct task_spec spec = {.kind = STAGE_KIND_CHOOSE,
                                       .end = 1,
                                       .total = 1,
                                       .profile = TEXT("f32/1"),
                                       .inputs = j.place->inputs,
                                       .inputs_count = j.place->input_count};
        const struct task_call call = {.spec = &spec};
        assert_int_equal(task_execute(j.place->env, &call, &j.place->arena, &result, &et),
                         ERR_RECIPE);
        print_message("%s\n", et.text);
        assert_non_null(strstr(et.text, cases[i].detail));
        job_close(&j);
    }
}

static void test_task_target__a_recipe_that_leaves_no_choice_is_refused(void **state)
{
    (void)state;
    struct job j;
    struct task_result result;
    struct err_text et = {""};
    if (!job_start(&j, &small, "target_bpw: 5.5, tensor_type: {\"weight\": Q8_0}", 1))
        skip();
    const struct task_spec spec = {.kind = STAGE_KIND_CHOOSE,
                                   .end = 1,
                                   .total = 1,
                                   .profile = TEXT("f32/1"),
                                   .inputs = j.place->inputs,
                                   .inputs_count = j.place->input_count};
    const struct task_call call = {.spec = &spec};
    assert_int_equal(task_execute(j.place->env, &call, &j.place->arena, &result, &et), ERR_RECIPE);
    assert_non_null(strstr(et.text, "leave none"));
    job_close(&j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_task_target__a_recipe_that_leaves_no_choice_is_refused),
        cmocka_unit_test(test_task_target__what_cannot_be_reached_is_said_with_what_can),
        cmocka_unit_test(test_task_target__a_base_in_blocks_is_measured_as_it_lies),
        cmocka_unit_test(test_task_target__threads_change_no_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
