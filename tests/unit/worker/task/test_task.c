/* test_task.c - every kind of task, one after the other, against a coordinator's bulk socket: from
 * text and a real model to an adapter folder. Skips what needs the data folder when it is absent.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/check.h"
#include "common/formats/dataset/rows.h"
#include "common/formats/peft/peft_verify.h"
#include "common/formats/source/file.h"
#include "common/formats/source/folder.h"
#include "common/formats/source/source.h"
#include "common/mem/mem.h"
#include "common/message/state.h"
#include "common/recipe/recipe.h"
#include "common/transport/transport.h"
#include "tests/lib/bulk/bulk_server.h"
#include "tests/unit/worker/task/task_place.h"
#include "worker/cache/cache.h"
#include "worker/task/task.h"

enum { ROUND_ROWS = 4, SAMPLES = 12 };

static const char recipe_text[] = "base_model: models/TinyStories-656K\n"
                                  "datasets:\n"
                                  "  - path: train.jsonl\n"
                                  "    type: prompt_completion\n"
                                  "val_set_size: 4\n"
                                  "sequence_len: 64\n"
                                  "micro_batch_size: 2\n"
                                  "gradient_accumulation_steps: 2\n"
                                  "max_steps: 2\n"
                                  "learning_rate: 1e-3\n"
                                  "adapter: lora\n"
                                  "lora_r: 4\n"
                                  "lora_alpha: 8\n"
                                  "lora_dropout: 0.1\n"
                                  "lora_target_modules: [q_proj, v_proj]\n";

static void add_model(struct task_place *p)
{
    static const char *const names[] = {"config.json", "model.safetensors", "tokenizer.json",
                                        "tokenizer_config.json", "generation_config.json"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        char path[512], name[64];
        (void)snprintf(path, sizeof path, "%s/models/TinyStories-656K/%s", task_place_data(),
                       names[i]);
        (void)snprintf(name, sizeof name, "model/%s", names[i]);
        if (file_exists(path))
            task_place_add_file(p, name, path);
    }
}

static void add_data(struct task_place *p)
{
    char text[8192];
    size_t used = 0;
    for (int i = 0; i < SAMPLES; i++)
        used += (size_t)snprintf(text + used, sizeof text - used,
                                 "{\"prompt\": \"number %d\", \"completion\": \"there were %d cats "
                                 "in the house and %d dogs\"}\n",
                                 i, i * 7, i + 3);
    p->data_bytes = used;
    task_place_add_bytes(p, "data/0/train.jsonl", (struct span){(const uint8_t *)text, used});
}

static bool prepare_place(struct task_place **out)
{
    char path[512];
    (void)snprintf(path, sizeof path, "%s/models/TinyStories-656K/config.json", task_place_data());
    if (!file_exists(path)) {
        print_message("skipped: no %s\n", path);
        return false;
    }
    *out = task_place_open();
    task_place_start(*out, 1);
    task_place_add_recipe(*out, recipe_text);
    add_model(*out);
    add_data(*out);
    return true;
}

/* prepare, pack and init; their outputs become inputs. */
static void run_until_training(struct task_place *p)
{
    struct task_result prepared =
        task_place_run(p, (struct task_spec){.kind = STAGE_KIND_PREPARE, .end = p->data_bytes});
    assert_int_equal(task_place_fact(&prepared, "samples"), SAMPLES);
    task_place_add(p, task_place_output(&prepared, "samples"), "samples/train/0");
    struct task_result packed = task_place_run(p, (struct task_spec){.kind = STAGE_KIND_PACK});
    assert_int_equal(task_place_fact(&packed, "train_rows"), SAMPLES - 4);
    assert_int_equal(task_place_fact(&packed, "test_rows"), 4);
    task_place_add(p, task_place_output(&packed, "rows"), "rows");
    task_place_add(p, task_place_output(&packed, "test_rows"), "test_rows");
    struct task_result state = task_place_run(p, (struct task_spec){.kind = STAGE_KIND_INIT});
    assert_true(task_place_fact(&state, "parameters") > 0);
    task_place_add(p, task_place_output(&state, "state"),
                   "weights"); /* a state serves as weights */
    task_place_add(p, task_place_output(&state, "state"), "state");
}

static struct task_spec range(uint64_t first, uint64_t end)
{
    return (struct task_spec){
        .kind = STAGE_KIND_TRAIN, .round = 1, .first = first, .end = end, .total = ROUND_ROWS};
}

static void test_task__a_job_runs_from_text_to_an_adapter_folder(void **state)
{
    (void)state;
    struct task_place *p;
    if (!prepare_place(&p))
        skip();
    run_until_training(p);
    struct task_result trained = task_place_run(p, range(0, ROUND_ROWS));
    assert_true(isfinite(trained.loss_sum) && trained.weight > 0);
    assert_true(task_place_output(&trained, "gradient").ephemeral);
    const struct task_spec held_out = {.kind = STAGE_KIND_EVALUATE, .end = 4, .total = 4};
    struct task_result evaluated = task_place_run(p, held_out);
    assert_true(evaluated.loss_sum / evaluated.weight > 0);

    static const char log[] = "{\"epoch\": 0.5, \"grad_norm\": 1.5, \"learning_rate\": 0.001, "
                              "\"loss\": 5.25, \"step\": 1, \"tokens\": 90}\n"
                              "{\"epoch\": 0.5, \"is_eval\": true, \"loss\": 5.5, \"step\": 1}\n";
    task_place_add_bytes(p, "log", (struct span){(const uint8_t *)log, sizeof log - 1});
    struct task_result exported = task_place_run(p, (struct task_spec){.kind = STAGE_KIND_EXPORT});
    char folder[96];
    (void)snprintf(folder, sizeof folder, "%s/out", p->folder);
    assert_int_equal(mkdir(folder, 0700), 0);
    char path[512];
    for (uint32_t i = 0; i < exported.outputs_count; i++) {
        const struct artifact_ref *ref = &exported.outputs[i];
        (void)snprintf(path, sizeof path, "%s/%.*s", folder, TEXT_ARGS(ref->name));
        struct span content = bulk_server_find(p->server, ref->digest);
        assert_non_null(content.data);
        assert_int_equal(file_write_atomic(path, content, NULL), ERR_OK);
    }
    struct err_text et = {""};
    if (peft_verify_folder(folder, NULL, &et) != ERR_OK)
        fail_msg("%s", et.text);
    (void)task_place_output(&exported, "trainer_state.json");
    (void)task_place_output(&exported, "tokenizer.json");
    for (uint32_t i = 0; i < exported.outputs_count; i++) {
        (void)snprintf(path, sizeof path, "%s/%.*s", folder, TEXT_ARGS(exported.outputs[i].name));
        unlink(path);
    }
    assert_int_equal(rmdir(folder), 0);
    task_place_close(p);
}

/* Two halves added are the whole, on one thread or two: the tree of the fold. */
static void test_task__ranges_add_up_to_the_same_bits(void **state)
{
    (void)state;
    struct task_place *p;
    if (!prepare_place(&p))
        skip();
    run_until_training(p);
    struct task_result whole = task_place_run(p, range(0, ROUND_ROWS));
    task_place_start(p, 2);
    struct task_result left = task_place_run(p, range(0, ROUND_ROWS / 2));
    struct task_result right = task_place_run(p, range(ROUND_ROWS / 2, ROUND_ROWS));
    assert_true(left.loss_sum + right.loss_sum == whole.loss_sum);
    struct span a = bulk_server_find(p->server, task_place_output(&left, "gradient").digest);
    struct span b = bulk_server_find(p->server, task_place_output(&right, "gradient").digest);
    struct span c = bulk_server_find(p->server, task_place_output(&whole, "gradient").digest);
    const float *x = (const float *)(const void *)a.data, *y = (const float *)(const void *)b.data,
                *z = (const float *)(const void *)c.data;
    bool moved = false;
    assert_int_equal(a.size, c.size);
    for (size_t i = 0; i < c.size / sizeof *z; i++) {
        assert_true(x[i] + y[i] == z[i]);
        moved = moved || z[i] != 0;
    }
    assert_true(moved);
    task_place_close(p);
}

static bool stop_at_once(void *context, uint64_t done, uint64_t total)
{
    (void)context;
    (void)done;
    (void)total;
    return false;
}

static void test_task__the_known_answer_tells_whole_steps_apart_and_not_threads(void **state)
{
    struct task_place *p = task_place_open();
    uint8_t kernels[KERNEL_KNOWN_ANSWER_BYTES];
    struct digest one, two;
    (void)state;
    task_place_start(p, 1);
    assert_int_equal(task_env_known_answer(p->env, &one), ERR_OK);
    task_place_start(p, 2);
    assert_int_equal(task_env_known_answer(p->env, &two), ERR_OK);
    assert_true(digest_equal(one, two));
    struct kernel *kernel = NULL;
    assert_int_equal(kernel_create(KERNEL_PROFILE_F32, KERNEL_ISA_BEST, 1, &kernel), ERR_OK);
    assert_int_equal(kernel_known_answer(kernel, kernels), ERR_OK);
    kernel_destroy(&kernel);
    assert_false(digest_equal(one, digest_of((struct span){kernels, sizeof kernels})));
    task_place_close(p);
}

static void test_task__a_stopped_task_ends_with_cancelled(void **state)
{
    (void)state;
    struct task_place *p;
    if (!prepare_place(&p))
        skip();
    run_until_training(p);
    struct task_result result = {.outputs = NULL};
    struct task_spec spec = range(0, ROUND_ROWS);
    spec.profile = TEXT("f32/1");
    spec.inputs = p->inputs;
    spec.inputs_count = p->input_count;
    const struct task_call call = {.spec = &spec, .progress = stop_at_once};
    assert_int_equal(task_execute(p->env, &call, &p->arena, &result, NULL), ERR_CANCELLED);
    assert_null(result.outputs);
    task_place_close(p);
}

static void test_task__bad_specs_are_errors_with_a_place(void **state)
{
    (void)state;
    struct task_place *p;
    if (!prepare_place(&p))
        skip();
    static const struct {
        uint32_t kind;
        const char *profile;
        uint64_t first, end, total;
        enum err expected;
        const char *detail;
    } cases[] = {
        {99, "f32/1", 0, 1, 1, ERR_UNSUPPORTED, "kind 99"},
        {STAGE_KIND_PREPARE, "f32/1", 0, 1 << 30, 1, ERR_PROTOCOL,
         "data/0/train.jsonl: bytes 0 to"},
        {STAGE_KIND_EXPORT, "f32/1", 0, 1, 1, ERR_NOT_FOUND, "the task was given no input"},
        {STAGE_KIND_TRAIN, "f64/9", 0, 1, 4, ERR_PROFILE, "f64/9"},
        {STAGE_KIND_TRAIN, "f32/1", 1, 3, 4, ERR_PROTOCOL, "rows 1 to 3 of 4"},
        {STAGE_KIND_TRAIN, "f32/1", 0, 8, 4, ERR_PROTOCOL, "rows 0 to 8 of 4"},
        {STAGE_KIND_EVALUATE, "f32/1", 0, 8, 8, ERR_PROTOCOL, "of the 4 held-out rows"},
    };
    run_until_training(p);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct task_spec spec = {.kind = cases[i].kind,
                                 .first = cases[i].first,
                                 .end = cases[i].end,
                                 .total = cases[i].total,
                                 .inputs = p->inputs,
                                 .inputs_count = p->input_count};
        spec.profile = text_of(cases[i].profile);
        const struct task_call call = {.spec = &spec};
        struct task_result result;
        struct err_text et = {""};
        assert_int_equal(task_execute(p->env, &call, &p->arena, &result, &et), cases[i].expected);
        if (strstr(et.text, cases[i].detail) == NULL)
            fail_msg("found \"%s\", expected \"%s\"", et.text, cases[i].detail);
    }
    task_place_close(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_task__a_job_runs_from_text_to_an_adapter_folder),
        cmocka_unit_test(test_task__ranges_add_up_to_the_same_bits),
        cmocka_unit_test(test_task__the_known_answer_tells_whole_steps_apart_and_not_threads),
        cmocka_unit_test(test_task__a_stopped_task_ends_with_cancelled),
        cmocka_unit_test(test_task__bad_specs_are_errors_with_a_place),
    };
    if (transport_startup() != ERR_OK)
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    transport_shutdown();
    return failed;
}
