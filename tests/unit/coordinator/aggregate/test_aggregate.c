/* test_aggregate.c - one step a round: the same bytes however a round is cut, resumed or shared. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "common/formats/safetensors/safetensors_write.h"
#include "common/mem/mem.h"
#include "common/numeric/fold.h"
#include "common/numeric/random.h"
#include "coordinator/aggregate/aggregate.h"

enum { ROWS = 6, WIDTH = 12, STEPS = 5, FILE_BYTES_MAX = 1 << 20 };

/* Runs the items last to first, as other threads might. */
static void run_backwards(size_t count, aggregate_run_f run, void *context)
{
    for (size_t i = count; i > 0; i--)
        run(context, i - 1);
}

static const struct aggregate_settings settings = {
    .adamw = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.1},
    .schedule = {.kind = SCHEDULE_CONSTANT, .peak = 0.01, .total_steps = STEPS},
    .max_grad_norm = 1.0};

static const float first_weights[WIDTH] = {1, 2, 3, 4, 5, 6, -1, -2, -3, -4, 0.5f, 0.25f};

static struct safetensor tensor_of(struct text name, uint64_t rows, uint64_t columns,
                                   const float *data)
{
    struct safetensor t = {
        .name = name,
        .dtype = SAFETENSORS_F32,
        .rank = rows > 0 ? 2 : 1,
        .shape = {rows > 0 ? rows : columns, rows > 0 ? columns : 0},
        .data = {(const uint8_t *)data, (rows > 0 ? rows : 1) * columns * sizeof(float)}};
    return t;
}

/* weight.a (2, 3), weight.b (6), without moments. */
static void write_first_state(struct bytes *out, const char *format, const char *step)
{
    struct safetensor tensors[] = {tensor_of(TEXT("weight.a"), 2, 3, first_weights),
                                   tensor_of(TEXT("weight.b"), 0, 6, first_weights + 6)};
    struct safetensors_note notes[] = {{TEXT("format"), text_of(format)},
                                       {TEXT("step"), text_of(step)}};
    struct safetensors_content content = {tensors, 2, notes, 2};
    bytes_init(out, FILE_BYTES_MAX);
    assert_int_equal(safetensors_write(&content, file_sink_bytes, out), ERR_OK);
}

static struct aggregate *create(struct span file, const struct aggregate_settings *s)
{
    struct aggregate *a = NULL;
    struct err_text et = {""};
    if (aggregate_create(s, file, &a, &et) != ERR_OK)
        fail_msg("%s", et.text);
    return a;
}

static void row_gradient(uint64_t step, uint64_t row, float out[WIDTH])
{
    uint64_t key = random_key(1, RANDOM_TEST, 0, 0, step);
    for (size_t i = 0; i < WIDTH; i++)
        out[i] = random_normal_f32(key, row * WIDTH + i);
}

/* The sum over rows [first, end) along the tree, as a worker makes it. */
static void fill_part(uint64_t step, struct fold_node node, struct fold *fold,
                      struct aggregate_part *part)
{
    fold_init(fold, ROWS, WIDTH);
    for (uint64_t row = node.begin; row < node.end; row++) {
        float gradient[WIDTH];
        const double sums[FOLD_SUMS] = {[FOLD_LOSS] = 0.5 + (double)row,
                                        [FOLD_WEIGHT] = 3.0,
                                        [FOLD_PAIRS] = 1,
                                        [FOLD_REWARD_CHOSEN] = (double)row,
                                        [FOLD_REWARD_REJECTED] = -0.5,
                                        [FOLD_CORRECT] = row > 1};
        row_gradient(step, row, gradient);
        assert_int_equal(fold_push(fold, (struct fold_node){row, row + 1}, gradient, sums), ERR_OK);
    }
    const struct fold_entry *entry = fold_at(fold, 0);
    *part =
        (struct aggregate_part){.first = node.begin,
                                .end = node.end,
                                .loss_sum = entry->sums[FOLD_LOSS],
                                .weight = entry->sums[FOLD_WEIGHT],
                                .preference = {.pairs = entry->sums[FOLD_PAIRS],
                                               .reward_chosen = entry->sums[FOLD_REWARD_CHOSEN],
                                               .reward_rejected = entry->sums[FOLD_REWARD_REJECTED],
                                               .correct = entry->sums[FOLD_CORRECT]},
                                .gradient = {(const uint8_t *)entry->vector, WIDTH * sizeof(float)},
                                .worker = TEXT("w1")};
}

/* Steps once with ranges of `range` rows, a power of two. */
static struct aggregate_sums step_with(struct aggregate *a, uint64_t range)
{
    struct fold folds[ROWS];
    struct aggregate_part parts[ROWS];
    struct aggregate_sums sums = {0};
    struct err_text et = {""};
    size_t count = 0;
    for (uint64_t first = 0; first < ROWS; first += range) {
        uint64_t end = first + range < ROWS ? first + range : ROWS;
        fill_part(aggregate_steps(a), (struct fold_node){first, end}, &folds[count], &parts[count]);
        count++;
    }
    if (aggregate_step(a, parts, count, ROWS, &sums, &et) != ERR_OK)
        fail_msg("%s", et.text);
    for (size_t i = 0; i < count; i++)
        fold_fini(&folds[i]);
    return sums;
}

static struct digest state_digest(const struct aggregate *a, struct bytes *file)
{
    struct digest d;
    bytes_clear(file);
    assert_int_equal(aggregate_write_state(a, file), ERR_OK);
    assert_int_equal(digest_of_artifact(bytes_span(file), &d), ERR_OK);
    return d;
}

static struct digest train(uint64_t range, unsigned resume_every,
                           const struct aggregate_settings *s)
{
    struct bytes file;
    write_first_state(&file, "qfleet-state/1", "0");
    struct aggregate *a = create(bytes_span(&file), s);
    for (unsigned step = 1; step <= STEPS; step++) {
        struct aggregate_sums sums = step_with(a, range);
        assert_true(sums.weight == 18.0 && sums.loss_sum == 18.0);
        assert_true(sums.preference.pairs == 6.0 && sums.preference.reward_chosen == 15.0 &&
                    sums.preference.reward_rejected == -3.0 && sums.preference.correct == 4.0);
        if (resume_every > 0 && step % resume_every == 0) {
            (void)state_digest(a, &file);
            aggregate_destroy(&a);
            a = create(bytes_span(&file), s);
            assert_int_equal(aggregate_steps(a), step);
        }
    }
    struct digest d = state_digest(a, &file);
    aggregate_destroy(&a);
    bytes_fini(&file);
    return d;
}

static void test_aggregate__ranges_do_not_change_a_bit(void **state)
{
    (void)state;
    struct digest d = train(1, 0, &settings);
    assert_true(digest_equal(d, train(2, 0, &settings)));
    assert_true(digest_equal(d, train(4, 0, &settings)));
    assert_true(digest_equal(d, train(8, 0, &settings)));
}

static void test_aggregate__resuming_from_checkpoints_does_not_change_a_bit(void **state)
{
    (void)state;
    struct digest d = train(2, 0, &settings);
    assert_true(digest_equal(d, train(2, 1, &settings)));
    assert_true(digest_equal(d, train(2, 2, &settings)));
    assert_true(digest_equal(d, train(2, 3, &settings)));
}

static void test_aggregate__lent_threads_do_not_change_a_bit(void **state)
{
    (void)state;
    struct aggregate_settings shared = settings;
    shared.parallel = run_backwards;
    assert_true(digest_equal(train(2, 0, &settings), train(2, 0, &shared)));
}

/* One step by the formulas of AdamW in f64, on a gradient of one row. */
static void test_aggregate__a_step_is_adamw_with_clipping_and_decay_of_matrices(void **state)
{
    (void)state;
    struct bytes file;
    struct fold fold;
    struct aggregate_part part;
    struct aggregate_sums sums;
    write_first_state(&file, "qfleet-state/1", "0");
    struct aggregate *a = create(bytes_span(&file), &settings);
    fill_part(0, (struct fold_node){0, ROWS}, &fold, &part);
    double norm = 0;
    for (size_t i = 0; i < WIDTH; i++) {
        double g = (double)fold_root(&fold)->vector[i] / 18.0;
        norm += g * g;
    }
    norm = sqrt(norm);
    assert_int_equal(aggregate_step(a, &part, 1, ROWS, &sums, NULL), ERR_OK);
    assert_true(fabs(sums.grad_norm - norm) < 1e-6 * norm);
    assert_true(sums.learning_rate == 0.01);
    bytes_clear(&file);
    assert_int_equal(aggregate_write_weights(a, &file), ERR_OK);
    struct safetensors st = {0};
    assert_int_equal(safetensors_parse(&st, bytes_span(&file), "weights", NULL), ERR_OK);
    assert_int_equal(st.count, 2);
    double clip = norm > 1.0 ? 1.0 / (norm + 1e-6) : 1.0;
    for (size_t i = 0; i < WIDTH; i++) {
        float found;
        const struct safetensor *t = &st.tensors[i < 6 ? 0 : 1];
        memcpy(&found, t->data.data + (i % 6) * sizeof found, sizeof found);
        double g = (double)fold_root(&fold)->vector[i] / 18.0 * clip;
        double kept = (double)first_weights[i] * (i < 6 ? 1.0 - 0.01 * 0.1 : 1.0);
        double expected = kept - 0.01 * g / (fabs(g) + 1e-8); /* m and v corrected: g and g g */
        assert_true(fabs((double)found - expected) < 1e-5);
    }
    safetensors_close(&st);
    fold_fini(&fold);
    aggregate_destroy(&a);
    bytes_fini(&file);
}

static void test_aggregate__bad_parts_leave_the_state_alone(void **state)
{
    (void)state;
    struct bytes file;
    struct fold fold;
    struct aggregate_part part;
    struct aggregate_sums sums;
    struct err_text et = {""};
    write_first_state(&file, "qfleet-state/1", "0");
    struct aggregate *a = create(bytes_span(&file), &settings);
    struct digest before = state_digest(a, &file);
    fill_part(0, (struct fold_node){0, ROWS}, &fold, &part);

    struct aggregate_part bad = part;
    bad.gradient.size -= sizeof(float);
    assert_int_equal(aggregate_step(a, &bad, 1, ROWS, &sums, &et), ERR_SHAPE);
    bad = part;
    bad.end = 4; /* rows 4 and 5 are missing */
    assert_int_equal(aggregate_step(a, &bad, 1, ROWS, &sums, &et), ERR_STATE);
    bad = part;
    bad.weight = 0.0;
    assert_int_equal(aggregate_step(a, &bad, 1, ROWS, &sums, &et), ERR_DATA);
    bad = part;
    bad.loss_sum = NAN;
    assert_int_equal(aggregate_step(a, &bad, 1, ROWS, &sums, &et), ERR_NOT_FINITE);
    float vector[WIDTH];
    memcpy(vector, part.gradient.data, sizeof vector);
    vector[7] = INFINITY;
    bad = part;
    bad.gradient.data = (const uint8_t *)vector;
    assert_int_equal(aggregate_step(a, &bad, 1, ROWS, &sums, &et), ERR_NOT_FINITE);
    assert_true(strstr(et.text, "step 1, rows 0 to 6") != NULL);

    assert_true(digest_equal(before, state_digest(a, &file)));
    fold_fini(&fold);
    aggregate_destroy(&a);
    bytes_fini(&file);
}

static void test_aggregate__states_that_are_none_are_refused(void **state)
{
    (void)state;
    const struct {
        const char *format, *step, *message;
    } cases[] = {{"pt", "0", "qfleet-state/1"},
                 {"qfleet-state/1", "-1", "step"},
                 {"qfleet-state/1", "", "step"},
                 {"qfleet-state/1", "12345678901234567890123", "step"},
                 {"qfleet-state/1", "3", "no moments"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bytes file;
        struct aggregate *a = NULL;
        struct err_text et = {""};
        write_first_state(&file, cases[i].format, cases[i].step);
        assert_int_equal(aggregate_create(&settings, bytes_span(&file), &a, &et), ERR_FORMAT);
        assert_null(a);
        if (strstr(et.text, cases[i].message) == NULL)
            fail_msg("%s does not say %s", et.text, cases[i].message);
        bytes_fini(&file);
    }
}

static void test_aggregate__the_ledger_names_who_folded_what_since_the_checkpoint(void **state)
{
    (void)state;
    struct bytes file;
    struct bytes ledger;
    write_first_state(&file, "qfleet-state/1", "0");
    bytes_init(&ledger, FILE_BYTES_MAX);
    struct aggregate *a = create(bytes_span(&file), &settings);
    (void)step_with(a, 4);
    aggregate_clear_ledger(a);
    (void)step_with(a, 8);
    assert_int_equal(aggregate_write_ledger(a, &ledger), ERR_OK);
    bytes_append(&ledger, "", 1);
    assert_string_equal((const char *)ledger.data,
                        "{\"end\": 6, \"first\": 0, \"gradient\": "
                        "\"0000000000000000000000000000000000000000000000000000000000000000\", "
                        "\"step\": 2, \"worker\": \"w1\"}\n");
    aggregate_destroy(&a);
    bytes_fini(&file);
    bytes_fini(&ledger);
}

static void test_aggregate__marks_name_the_tensor_that_is_damaged(void **state)
{
    (void)state;
    struct bytes file, saved, ledger;
    struct err_text where = {""};
    write_first_state(&file, "qfleet-state/1", "0");
    bytes_init(&saved, FILE_BYTES_MAX);
    bytes_init(&ledger, FILE_BYTES_MAX);
    struct aggregate *a = create(bytes_span(&file), &settings);
    (void)step_with(a, 4);
    assert_int_equal(aggregate_write_state(a, &saved), ERR_OK);
    assert_int_equal(aggregate_write_ledger(a, &ledger), ERR_OK);
    aggregate_find_damage(bytes_span(&saved), bytes_span(&ledger), &where);
    assert_string_equal(where.text, "its ledger does not say in which tensor");
    assert_int_equal(aggregate_write_marks(a, &ledger), ERR_OK);
    aggregate_find_damage(bytes_span(&saved), bytes_span(&ledger), &where);
    assert_string_equal(where.text, "no tensor is concerned, only its head");
    saved.data[saved.size - 1] ^= 1;
    aggregate_find_damage(bytes_span(&saved), bytes_span(&ledger), &where);
    assert_non_null(strstr(where.text, "1 of "));
    assert_non_null(strstr(where.text, "tensors are concerned: weight."));
    saved.data[9] ^= 1;
    aggregate_find_damage(bytes_span(&saved), bytes_span(&ledger), &where);
    assert_non_null(strstr(where.text, "its head is damaged"));
    aggregate_find_damage((struct span){saved.data, 3}, bytes_span(&ledger), &where);
    assert_non_null(strstr(where.text, "its head is damaged"));
    aggregate_destroy(&a);
    bytes_fini(&file);
    bytes_fini(&saved);
    bytes_fini(&ledger);
}

static void test_aggregate__the_log_holds_no_times(void **state)
{
    (void)state;
    struct bytes out;
    const struct log_point points[] = {
        {.step = 1,
         .epoch = 0.5,
         .loss = 2.25,
         .grad_norm = 1.5,
         .learning_rate = 0.001,
         .tokens = 64,
         .unix_ms = 99999},
        {.step = 1, .epoch = 0.5, .loss = 3.0, .is_eval = true, .unix_ms = 99999}};
    bytes_init(&out, FILE_BYTES_MAX);
    const struct log_point pairs = {.step = 2,
                                    .is_eval = true,
                                    .loss = 0.5,
                                    .pairs = 8,
                                    .reward_chosen = 0.25,
                                    .reward_rejected = -1,
                                    .accuracy = 0.75};
    assert_int_equal(aggregate_write_log(points, 2, &out), ERR_OK);
    assert_int_equal(aggregate_write_log(&pairs, 1, &out), ERR_OK);
    bytes_append(&out, "", 1);
    assert_string_equal((const char *)out.data,
                        "{\"epoch\": 0.5, \"grad_norm\": 1.5, \"learning_rate\": 0.001, "
                        "\"loss\": 2.25, \"step\": 1, \"tokens\": 64}\n"
                        "{\"epoch\": 0.5, \"is_eval\": true, \"loss\": 3.0, \"step\": 1}\n"
                        "{\"accuracy\": 0.75, \"epoch\": 0.0, \"is_eval\": true, \"loss\": 0.5, "
                        "\"pairs\": 8, \"reward_chosen\": 0.25, \"reward_rejected\": -1.0, "
                        "\"step\": 2}\n");
    bytes_fini(&out);
}

/* Every allocation of reading a state, of a step and of writing fails once: each time the call says
 * so and the state stays what it was. */
static void test_aggregate__no_memory_is_an_error_and_changes_nothing(void **state)
{
    (void)state;
    struct bytes file;
    struct aggregate *a = NULL;
    enum err err = ERR_OUT_OF_MEMORY;
    write_first_state(&file, "qfleet-state/1", "0");
    for (size_t n = 1; err != ERR_OK; n++) {
        (void)mem_fault_after(n);
        err = aggregate_create(&settings, bytes_span(&file), &a, NULL);
        (void)mem_fault_after(0);
        assert_true(err == ERR_OK || err == ERR_OUT_OF_MEMORY);
        assert_true(n < 1000);
    }
    struct fold fold;
    struct aggregate_part part;
    struct aggregate_sums sums;
    struct bytes out;
    struct digest before = state_digest(a, &file);
    fill_part(0, (struct fold_node){0, ROWS}, &fold, &part);
    err = ERR_OUT_OF_MEMORY;
    for (size_t n = 1; err != ERR_OK; n++) {
        (void)mem_fault_after(n);
        err = aggregate_step(a, &part, 1, ROWS, &sums, NULL);
        (void)mem_fault_after(0);
        assert_true(err == ERR_OK || err == ERR_OUT_OF_MEMORY);
        assert_true((err == ERR_OK) != digest_equal(before, state_digest(a, &file)));
    }
    err = ERR_OUT_OF_MEMORY;
    for (size_t n = 1; err != ERR_OK; n++) {
        bytes_init(&out, FILE_BYTES_MAX);
        (void)mem_fault_after(n);
        err = aggregate_write_state(a, &out);
        (void)mem_fault_after(0);
        assert_true(err == ERR_OK || err == ERR_OUT_OF_MEMORY);
        bytes_fini(&out);
    }
    fold_fini(&fold);
    aggregate_destroy(&a);
    bytes_fini(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_aggregate__ranges_do_not_change_a_bit),
        cmocka_unit_test(test_aggregate__resuming_from_checkpoints_does_not_change_a_bit),
        cmocka_unit_test(test_aggregate__lent_threads_do_not_change_a_bit),
        cmocka_unit_test(test_aggregate__a_step_is_adamw_with_clipping_and_decay_of_matrices),
        cmocka_unit_test(test_aggregate__bad_parts_leave_the_state_alone),
        cmocka_unit_test(test_aggregate__states_that_are_none_are_refused),
        cmocka_unit_test(test_aggregate__the_ledger_names_who_folded_what_since_the_checkpoint),
        cmocka_unit_test(test_aggregate__marks_name_the_tensor_that_is_damaged),
        cmocka_unit_test(test_aggregate__the_log_holds_no_times),
        cmocka_unit_test(test_aggregate__no_memory_is_an_error_and_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
