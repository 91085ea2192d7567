/* test_admin_json.c - paths to JSON, and the scheduler in numbers. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "common/recipe/recipe.h"
#include "coordinator/admin/admin_json.h"
#include "coordinator/admin/admin_metrics.h"

enum { ARENA_BYTES = 64 << 20, OUT_BYTES = 1 << 20 };

struct fixture {
    struct sched *sched;
    struct arena arena;
    struct bytes recipe, out;
    struct err_text et;
};

static void make_recipe(struct bytes *out)
{
    static const char text[] = "base_model: m\ndatasets:\n  - path: d\nlearning_rate: 1e-4\n";
    struct recipe recipe;
    struct recipe_options options = {0};
    struct err_text et = {""};
    bytes_init(out, LIMIT_RECIPE_BYTES);
    if (recipe_read((struct span){(const uint8_t *)text, sizeof text - 1}, &options, &recipe,
                    &et) != ERR_OK)
        fail_msg("%s", et.text);
    recipe_write(&recipe, out);
    recipe_fini(&recipe);
}

static void replay(struct fixture *f, uint32_t number, const union message_record *record)
{
    struct sched_record copy = {.number = number, .unix_ms = 1000, .record = *record};
    assert_int_equal(sched_replay(f->sched, &copy), ERR_OK);
}

static void replay_job(struct fixture *f, uint64_t id, const char *name)
{
    static struct artifact_ref inputs[] = {{.name = TEXT("model/config.json"), .size_bytes = 5},
                                           {.name = TEXT("data/0/d"), .size_bytes = 10}};
    static struct task_plan shard = {.input = 1, .end = 10};
    struct stage_plan stages[] = {
        {.kind = STAGE_KIND_PREPARE,
         .name = TEXT("prepare"),
         .task_count = 1,
         .tasks = &shard,
         .tasks_count = 1},
        {.kind = STAGE_KIND_PACK, .name = TEXT("pack"), .task_count = 1, .needs = 1},
        {.kind = STAGE_KIND_INIT, .name = TEXT("init"), .task_count = 1},
        {.kind = STAGE_KIND_TRAIN, .name = TEXT("train"), .needs = 6},
        {.kind = STAGE_KIND_EXPORT, .name = TEXT("export"), .task_count = 1, .needs = 8},
    };
    union message_record record = {.job_submitted = {.job = id,
                                                     .request = id,
                                                     .name = text_of(name),
                                                     .owner = TEXT("ada"),
                                                     .role = TEXT("submit"),
                                                     .recipe = bytes_span(&f->recipe),
                                                     .inputs = inputs,
                                                     .inputs_count = 2,
                                                     .stages = stages,
                                                     .stages_count = 5}};
    replay(f, REC_JOB_SUBMITTED, &record);
}

static int setup(void **state)
{
    static struct fixture f;
    f = (struct fixture){0};
    arena_init(&f.arena, ARENA_BYTES);
    bytes_init(&f.out, OUT_BYTES);
    make_recipe(&f.recipe);
    assert_int_equal(sched_create(1, &f.sched), ERR_OK);
    replay_job(&f, 0xa1, "first & <b>\n");
    replay_job(&f, 0xb2, "second");
    union message_record end = {.job_state = {.job = 0xb2,
                                              .state = JOB_FAILED,
                                              .error = ERR_DIVERGED,
                                              .detail = TEXT("train: the loss is 0")}};
    replay(&f, REC_JOB_STATE, &end);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    sched_destroy(&f->sched);
    bytes_fini(&f->recipe);
    bytes_fini(&f->out);
    arena_fini(&f->arena);
    return 0;
}

static enum err ask(struct fixture *f, const char *path)
{
    struct admin_json_request request = {.path = text_of(path)};
    bytes_clear(&f->out);
    f->et.text[0] = '\0';
    enum err err = admin_json(f->sched, &request, (struct instant){5}, &f->arena, &f->out, &f->et);
    bytes_append(&f->out, "", 1);
    return err;
}

static bool says(const struct fixture *f, const char *text)
{
    return strstr((const char *)f->out.data, text) != NULL;
}

static void test_admin_json__lists_and_one_job(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(ask(f, "jobs"), ERR_OK);
    assert_true(f->out.data[0] == '[');
    assert_true(says(f, "\"name\":\"first & <b>\\n\""));
    assert_true(says(f, "\"error\":\"DIVERGED\""));
    assert_int_equal(ask(f, "jobs/second"), ERR_OK);
    assert_true(says(f, "\"stages\":[{"));
    assert_true(says(f, "\"recipe\":\"adam_beta1"));
    assert_int_equal(ask(f, "jobs/second/checkpoints"), ERR_OK);
    assert_string_equal((const char *)f->out.data, "[]");
    assert_int_equal(ask(f, "workers"), ERR_OK);
    assert_string_equal((const char *)f->out.data, "[]");
}

static void test_admin_json__other_paths_are_not_found(void **state)
{
    static const char *const paths[] = {"",          "job",   "jobs/",        "jobs/nobody",
                                        "workers/a", "jobsX", "jobs/second/", "../store"};
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        assert_int_equal(ask(f, paths[i]), ERR_NOT_FOUND);
        assert_true(f->et.text[0] != '\0');
        assert_int_equal(f->out.size, 1);
    }
}

static void test_admin_metrics__counts_what_is_there(void **state)
{
    struct fixture *f = *state;
    struct sched_totals totals;
    struct metric_histogram none = {0};
    const uint64_t answers[6] = {0, 0, 7, 0, 1, 0};
    struct admin_process process = {.incarnation = 3,
                                    .disk_free_bytes = UINT64_MAX,
                                    .turns = &none,
                                    .commits = &none,
                                    .http_answers = answers};
    sched_totals(f->sched, (struct instant){9 * (uint64_t)NS_PER_S}, &totals);
    assert_int_equal(totals.jobs[JOB_WAITING], 1);
    assert_int_equal(totals.jobs_failed[ERR_DIVERGED], 1);
    assert_true(isnan(totals.loss_max));
    assert_true(totals.stalled_s > 8.9 && totals.stalled_s < 9.1); /* the job that waits */
    bytes_clear(&f->out);
    admin_metrics_write(&totals, &process, &f->out);
    bytes_append(&f->out, "", 1);
    assert_true(says(f, "qfleet_jobs{state=\"wait\"} 1\n"));
    assert_true(says(f, "qfleet_jobs_failed{error=\"DIVERGED\"} 1\n"));
    assert_true(says(f, "qfleet_jobs_failed{error=\"NOT_FINITE\"} 0\n"));
    assert_true(says(f, "qfleet_http_requests_total{code=\"2xx\"} 7\n"));
    assert_true(says(f, "qfleet_incarnation 3\n"));
    assert_false(says(f, "qfleet_train_loss_max ")); /* nothing trains */
    assert_false(says(f, "qfleet_disk_free_bytes")); /* it cannot be told */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_admin_json__lists_and_one_job, setup, teardown),
        cmocka_unit_test_setup_teardown(test_admin_json__other_paths_are_not_found, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_admin_metrics__counts_what_is_there, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
