/* test_task_pairs.c - preference tuning, task by task: pairs from text, what the model says of them
 * before training, and a round and an evaluation measured from that.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

#include "common/base/check.h"
#include "common/formats/safetensors/safetensors.h"
#include "common/formats/source/file.h"
#include "common/message/state.h"
#include "tests/unit/worker/task/task_place.h"

enum { PAIRS = 18, HELD_OUT = 6, ROUND_ROWS = 4 };

static const char recipe_text[] = "base_model: models/TinyStories-656K\n"
                                  "rl: dpo\n"
                                  "rl_beta: 0.25\n"
                                  "datasets:\n"
                                  "  - path: pairs.jsonl\n"
                                  "val_set_size: 6\n"
                                  "sequence_len: 32\n"
                                  "micro_batch_size: 2\n"
                                  "gradient_accumulation_steps: 2\n"
                                  "max_steps: 2\n"
                                  "learning_rate: 1e-3\n"
                                  "adapter: lora\n"
                                  "lora_r: 4\n"
                                  "lora_alpha: 8\n"
                                  "lora_target_modules: [q_proj, v_proj]\n";

static void add_pairs(struct task_place *p)
{
    char text[8192];
    size_t used = 0;
    for (int i = 0; i < PAIRS; i++)
        used += (size_t)snprintf(text + used, sizeof text - used,
                                 "{\"prompt\": \"Once there were %d\", \"chosen\": \"happy cats\", "
                                 "\"rejected\": \"%d invoices and taxes\"}\n",
                                 i, i * 3);
    p->data_bytes = used;
    task_place_add_bytes(p, "data/0/pairs.jsonl", (struct span){(const uint8_t *)text, used});
}

/* prepare, pack and init; their outputs are inputs then. NULL without the model. */
static struct task_place *start(void)
{
    static const char *const names[] = {"config.json", "model.safetensors", "tokenizer.json",
                                        "tokenizer_config.json"};
    char path[512], name[64];
    (void)snprintf(path, sizeof path, "%s/models/TinyStories-656K/config.json", task_place_data());
    if (!file_exists(path)) {
        print_message("skipped: no %s\n", path);
        return NULL;
    }
    struct task_place *p = task_place_open();
    task_place_start(p, 1);
    task_place_add_recipe(p, recipe_text);
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        (void)snprintf(path, sizeof path, "%s/models/TinyStories-656K/%s", task_place_data(),
                       names[i]);
        (void)snprintf(name, sizeof name, "model/%s", names[i]);
        task_place_add_file(p, name, path);
    }
    add_pairs(p);
    struct task_result prepared =
        task_place_run(p, (struct task_spec){.kind = STAGE_KIND_PREPARE, .end = p->data_bytes});
    assert_int_equal(task_place_fact(&prepared, "samples"), PAIRS);
    task_place_add(p, task_place_output(&prepared, "samples"), "samples/train/0");
    struct task_result packed = task_place_run(p, (struct task_spec){.kind = STAGE_KIND_PACK});
    assert_int_equal(task_place_fact(&packed, "train_rows"), PAIRS - HELD_OUT);
    assert_int_equal(task_place_fact(&packed, "test_rows"), HELD_OUT);
    assert_int_equal(task_place_fact(&packed, "reference_tasks"), 3);
    task_place_add(p, task_place_output(&packed, "rows"), "rows");
    task_place_add(p, task_place_output(&packed, "test_rows"), "test_rows");
    return p;
}

/* Runs `count` tasks of the stage; their outputs are inputs then. Writes all numbers to log_p. */
static void run_reference(struct task_place *p, uint64_t count, double log_p[PAIRS][2])
{
    struct artifact_ref made[PAIRS];
    size_t pairs = 0;
    for (uint64_t i = 0; i < count; i++) {
        struct task_result result = task_place_run(
            p, (struct task_spec){
                   .kind = STAGE_KIND_REFERENCE, .first = i, .end = i + 1, .total = count});
        struct safetensors st = {0};
        made[i] = task_place_output(&result, "reference");
        struct span blob = bulk_server_find(p->server, made[i].digest);
        assert_int_equal(safetensors_parse(&st, blob, "reference", NULL), ERR_OK);
        memcpy(log_p[pairs], st.tensors[0].data.data, st.tensors[0].data.size);
        pairs += st.tensors[0].shape[0];
        safetensors_close(&st);
    }
    assert_int_equal(pairs, PAIRS);
    for (uint64_t i = 0; i < count; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "reference/%u", (unsigned)i);
        task_place_add(p, made[i], name);
    }
}

static const struct task_spec round_of = {
    .kind = STAGE_KIND_TRAIN, .round = 1, .end = ROUND_ROWS, .total = ROUND_ROWS};
static const struct task_spec held_out = {
    .kind = STAGE_KIND_EVALUATE, .end = HELD_OUT, .total = HELD_OUT};

static void test_task_pairs__how_they_are_shared_changes_no_bit(void **state)
{
    (void)state;
    double three[PAIRS][2], eleven[PAIRS][2];
    struct task_place *p = start();
    if (p == NULL)
        skip();
    run_reference(p, 3, three);
    p->input_count -= 3;
    run_reference(p, 11, eleven);
    assert_memory_equal(three, eleven, sizeof three);
    for (size_t i = 0; i < PAIRS; i++)
        assert_true(three[i][0] < 0 && three[i][1] < three[i][0]); /* cats before invoices */
    task_place_close(p);
}

/* A fresh adapter changes nothing, so nothing is preferred yet. */
static void test_task_pairs__before_the_first_step_no_answer_is_preferred(void **state)
{
    (void)state;
    double log_p[PAIRS][2];
    struct task_place *p = start();
    if (p == NULL)
        skip();
    run_reference(p, 3, log_p);
    struct task_result first = task_place_run(p, (struct task_spec){.kind = STAGE_KIND_INIT});
    task_place_add(p, task_place_output(&first, "state"), "weights");
    const struct task_spec specs[] = {round_of, held_out};
    for (size_t i = 0; i < COUNT_OF(specs); i++) {
        struct task_result result = task_place_run(p, specs[i]);
        double pairs = (double)specs[i].end;
        assert_true(fabs(result.loss_sum - pairs * log(2)) < 1e-12 * pairs);
        assert_true(result.weight == pairs && result.preference.pairs == pairs);
        assert_true(result.preference.reward_chosen == 0 && result.preference.correct == 0);
    }
    task_place_close(p);
}

/* Numbers of other pairs would be taken for those of these. */
static void test_task_pairs__fewer_numbers_than_rows_are_refused(void **state)
{
    (void)state;
    double log_p[PAIRS][2];
    struct task_place *p = start();
    if (p == NULL)
        skip();
    run_reference(p, 11, log_p);
    p->input_count -= 9; /* the first two parts are left */
    struct task_result first = task_place_run(p, (struct task_spec){.kind = STAGE_KIND_INIT});
    task_place_add(p, task_place_output(&first, "state"), "weights");
    struct task_spec spec = round_of;
    struct task_result result;
    struct err_text et = {0};
    spec.profile = TEXT("f32/1");
    spec.inputs = p->inputs;
    spec.inputs_count = p->input_count;
    const struct task_call call = {.spec = &spec};
    assert_int_equal(task_execute(p->env, &call, &p->arena, &result, &et), ERR_FORMAT);
    assert_string_equal(et.text, "3 pairs for 12 rows");
    p->input_count -= 3;
    spec.inputs_count = p->input_count;
    task_place_add(p, task_place_output(&first, "state"), "weights");
    spec.inputs_count = p->input_count;
    task_place_start(p, 1); /* nothing is open from before */
    assert_int_equal(task_execute(p->env, &call, &p->arena, &result, &et), ERR_NOT_FOUND);
    task_place_close(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_task_pairs__how_they_are_shared_changes_no_bit),
        cmocka_unit_test(test_task_pairs__before_the_first_step_no_answer_is_preferred),
        cmocka_unit_test(test_task_pairs__fewer_numbers_than_rows_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
