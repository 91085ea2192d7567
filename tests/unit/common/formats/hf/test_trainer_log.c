/* test_trainer_log.c - the bytes that plot scripts read, and that timings stay out of the state. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/formats/hf/trainer_log.h"

static const struct trainer_log_point points[] = {
    {.step = 1,
     .epoch = 0.05,
     .loss = 2.5,
     .grad_norm = 0.75,
     .learning_rate = 0.0003,
     .tokens = 100,
     .elapsed_ms = 67000,
     .remaining_ms = 3723000,
     .tokens_per_second = 12.5,
     .memory_bytes = 4096},
    {.step = 2, .epoch = 0.1, .is_eval = true, .loss = 3.0, .tokens = 50},
    {.step = 2, .epoch = 0.1, .is_eval = true, .loss = 2.75, .tokens = 50},
};

static struct trainer_log sample(void)
{
    return (struct trainer_log){.points = points,
                                .count = 3,
                                .steps_done = 2,
                                .steps_total = 30,
                                .epochs_total = 1.5,
                                .batch_size = 16,
                                .logging_steps = 1,
                                .eval_steps = 2};
}

static const char expected_state[] = "{\n"
                                     "  \"best_global_step\": 2,\n"
                                     "  \"best_metric\": 2.75,\n"
                                     "  \"best_model_checkpoint\": null,\n"
                                     "  \"epoch\": 0.1,\n"
                                     "  \"eval_steps\": 2,\n"
                                     "  \"global_step\": 2,\n"
                                     "  \"is_hyper_param_search\": false,\n"
                                     "  \"is_local_process_zero\": true,\n"
                                     "  \"is_world_process_zero\": true,\n"
                                     "  \"log_history\": [\n"
                                     "    {\n"
                                     "      \"epoch\": 0.05,\n"
                                     "      \"grad_norm\": 0.75,\n"
                                     "      \"learning_rate\": 0.0003,\n"
                                     "      \"loss\": 2.5,\n"
                                     "      \"step\": 1\n"
                                     "    },\n"
                                     "    {\n"
                                     "      \"epoch\": 0.1,\n"
                                     "      \"eval_loss\": 3.0,\n"
                                     "      \"step\": 2\n"
                                     "    },\n"
                                     "    {\n"
                                     "      \"epoch\": 0.1,\n"
                                     "      \"eval_loss\": 2.75,\n"
                                     "      \"step\": 2\n"
                                     "    }\n"
                                     "  ],\n"
                                     "  \"logging_steps\": 1,\n"
                                     "  \"max_steps\": 30,\n"
                                     "  \"num_train_epochs\": 1.5,\n"
                                     "  \"save_steps\": 0,\n"
                                     "  \"train_batch_size\": 16\n"
                                     "}\n";

static void test_trainer_log__the_state_has_the_trainers_fields_and_no_timings(void **state)
{
    (void)state;
    struct bytes out;
    struct trainer_log log = sample();
    bytes_init(&out, 1 << 16);
    assert_int_equal(trainer_log_print_state(&log, &out), ERR_OK);
    assert_int_equal(out.size, sizeof expected_state - 1);
    assert_memory_equal(out.data, expected_state, out.size);
    bytes_fini(&out);
}

static void test_trainer_log__a_line_a_point_with_timings(void **state)
{
    (void)state;
    static const char expected[] =
        "{\"current_steps\": 1, \"elapsed_time\": \"0:01:07\", \"epoch\": 0.05, \"grad_norm\": "
        "0.75, \"loss\": 2.5, \"lr\": 0.0003, \"memory_bytes\": 4096, \"percentage\": 3.33, "
        "\"remaining_time\": \"1:02:03\", \"throughput\": 12.5, \"total_steps\": 30, "
        "\"total_tokens\": 100}\n"
        "{\"current_steps\": 2, \"elapsed_time\": \"0:00:00\", \"epoch\": 0.1, \"eval_loss\": 3.0, "
        "\"percentage\": 6.66, \"remaining_time\": \"0:00:00\", \"total_steps\": 30, "
        "\"total_tokens\": 50}\n";
    struct bytes out;
    struct trainer_log log = sample();
    log.count = 2;
    bytes_init(&out, 1 << 16);
    assert_int_equal(trainer_log_print_lines(&log, &out), ERR_OK);
    assert_int_equal(out.size, sizeof expected - 1);
    assert_memory_equal(out.data, expected, out.size);
    bytes_fini(&out);
}

static void test_trainer_log__rewards_have_the_names_of_trl(void **state)
{
    (void)state;
    static const struct trainer_log_point pairs[] = {
        {.step = 1, .pairs = 4, .reward_chosen = 0.5, .reward_rejected = 0.25, .accuracy = 0.75},
        {.step = 1, .is_eval = true, .pairs = 2, .reward_rejected = -0.5, .accuracy = 1},
    };
    static const char *const expected[] = {
        "\"rewards/accuracies\": 0.75,\n      \"rewards/chosen\": 0.5,\n"
        "      \"rewards/margins\": 0.25,\n      \"rewards/rejected\": 0.25,\n",
        "\"eval_rewards/accuracies\": 1.0,\n      \"eval_rewards/chosen\": 0.0,\n"
        "      \"eval_rewards/margins\": 0.5,\n      \"eval_rewards/rejected\": -0.5,\n"};
    struct bytes out;
    struct trainer_log log = sample();
    log.points = pairs;
    log.count = 2;
    bytes_init(&out, 1 << 16);
    assert_int_equal(trainer_log_print_state(&log, &out), ERR_OK);
    bytes_append(&out, "", 1);
    for (size_t i = 0; i < 2; i++)
        assert_non_null(strstr((const char *)out.data, expected[i]));
    bytes_clear(&out);
    assert_int_equal(trainer_log_print_lines(&log, &out), ERR_OK);
    bytes_append(&out, "", 1);
    assert_non_null(strstr((const char *)out.data, "\"accuracy\": 0.75"));
    bytes_fini(&out);
}

static void test_trainer_log__a_loss_that_is_not_finite_is_refused(void **state)
{
    (void)state;
    struct bytes out;
    const struct trainer_log_point bad = {.step = 1, .loss = (double)NAN};
    struct trainer_log log = sample();
    log.points = &bad;
    log.count = 1;
    bytes_init(&out, 1 << 16);
    assert_int_equal(trainer_log_print_state(&log, &out), ERR_NOT_FINITE);
    assert_int_equal(trainer_log_print_lines(&log, &out), ERR_NOT_FINITE);
    assert_int_equal(out.size, 0);
    bytes_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trainer_log__the_state_has_the_trainers_fields_and_no_timings),
        cmocka_unit_test(test_trainer_log__a_line_a_point_with_timings),
        cmocka_unit_test(test_trainer_log__rewards_have_the_names_of_trl),
        cmocka_unit_test(test_trainer_log__a_loss_that_is_not_finite_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
