/* test_admin.c - what people see: rows in order, prefixes resolved, one sentence a record. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "common/recipe/recipe.h"
#include "coordinator/admin/admin.h"
#include "coordinator/admin/admin_event.h"

enum { JOBS = 3, ARENA_BYTES = 64 << 20 };

struct fixture {
    struct sched *sched;
    struct arena arena;
    struct bytes recipe;
    struct artifact_ref inputs[2];
};

static void make_recipe(struct bytes *out)
{
    static const char text[] = "base_model: m\ndatasets: [{path: d, type: completion}]\n"
                               "adapter: lora\nlora_r: 8\nlora_alpha: 16\n"
                               "lora_target_linear: true\nlearning_rate: 1e-3\n";
    struct recipe recipe;
    struct err_text et = {""};
    struct recipe_options options = {.file_name = "t.yml"};
    if (recipe_read(span_of_text(text_of(text)), &options, &recipe, &et) != ERR_OK)
        fail_msg("%s", et.text);
    bytes_init(out, LIMIT_RECIPE_BYTES);
    recipe_write(&recipe, out);
    recipe_fini(&recipe);
}

static void replay(struct fixture *f, uint32_t number, const union message_record *record)
{
    struct sched_record r = {.number = number, .unix_ms = 1000, .record = *record};
    assert_int_equal(sched_replay(f->sched, &r), ERR_OK);
}

/* Jobs 0xa1..., 0xa2... and 0xb3... are named first, second and third. */
static void replay_job(struct fixture *f, size_t i)
{
    static const uint64_t ids[JOBS] = {0xa100000000000000, 0xa200000000000000, 0xb300000000000000};
    static const char *const names[JOBS] = {"first", "second", "third"};
    struct task_plan shard = {.input = 1, .first = 0, .end = 10};
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
    union message_record record = {.job_submitted = {.job = ids[i],
                                                     .request = i + 1,
                                                     .name = text_of(names[i]),
                                                     .owner = TEXT("ada"),
                                                     .role = TEXT("submit"),
                                                     .recipe = bytes_span(&f->recipe),
                                                     .inputs = f->inputs,
                                                     .inputs_count = 2,
                                                     .stages = stages,
                                                     .stages_count = 5}};
    replay(f, REC_JOB_SUBMITTED, &record);
}

static int set_up(void **state)
{
    struct fixture *f = test_calloc(1, sizeof *f);
    arena_init(&f->arena, ARENA_BYTES);
    make_recipe(&f->recipe);
    f->inputs[0] = (struct artifact_ref){.name = TEXT("model/config.json"), .size_bytes = 5};
    f->inputs[1] = (struct artifact_ref){.name = TEXT("data/0/d"), .size_bytes = 10};
    assert_int_equal(sched_create(1, &f->sched), ERR_OK);
    for (size_t i = 0; i < JOBS; i++)
        replay_job(f, i);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    sched_destroy(&f->sched);
    arena_fini(&f->arena);
    bytes_fini(&f->recipe);
    test_free(f);
    return 0;
}

static void test_admin__jobs_come_newest_first_and_as_many_as_asked(void **state)
{
    struct fixture *f = *state;
    struct msg_jobs reply;
    struct msg_jobs_get all = {.ticket = 7};
    struct msg_jobs_get two = {.ticket = 8, .limit = 2};
    assert_int_equal(admin_jobs(f->sched, &all, &f->arena, &reply, NULL), ERR_OK);
    assert_int_equal(reply.ticket, 7);
    assert_int_equal(reply.jobs_count, 3);
    assert_true(text_is(reply.jobs[0].name, "third"));
    assert_true(text_is(reply.jobs[2].name, "first"));
    assert_int_equal(admin_jobs(f->sched, &two, &f->arena, &reply, NULL), ERR_OK);
    assert_int_equal(reply.jobs_count, 2);
    assert_true(text_is(reply.jobs[1].name, "second"));
}

static void test_admin__prefixes_name_one_job_or_say_why_not(void **state)
{
    struct fixture *f = *state;
    const struct {
        struct text prefix;
        enum err err;
        const char *name, *message;
    } cases[] = {{TEXT("b3"), ERR_OK, "third", NULL},
                 {TEXT("a2"), ERR_OK, "second", NULL},
                 {TEXT("first"), ERR_OK, "first", NULL},
                 {TEXT("last"), ERR_OK, "third", NULL},
                 {TEXT("a"), ERR_AMBIGUOUS, NULL, "more than one"},
                 {TEXT("c"), ERR_NOT_FOUND, NULL, "no job is named c"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct msg_job reply;
        struct msg_job_get request = {.ticket = 1, .prefix = cases[i].prefix};
        struct err_text et = {""};
        enum err err = admin_job(f->sched, &request, (struct instant){1}, &f->arena, &reply, &et);
        assert_int_equal(err, cases[i].err);
        if (cases[i].name != NULL)
            assert_true(text_is(reply.row.name, cases[i].name));
        else if (strstr(et.text, cases[i].message) == NULL)
            fail_msg("%s does not say %s", et.text, cases[i].message);
    }
}

static void test_admin__a_job_shows_its_graph_inputs_and_recipe(void **state)
{
    struct fixture *f = *state;
    struct msg_job reply;
    struct msg_job_get request = {.ticket = 1, .prefix = TEXT("first"), .points_after = 99};
    assert_int_equal(admin_job(f->sched, &request, (struct instant){1}, &f->arena, &reply, NULL),
                     ERR_OK);
    assert_int_equal(reply.stages_count, 5);
    assert_true(text_is(reply.stages[3].name, "train"));
    assert_int_equal(reply.stages[3].needs, 6);
    assert_int_equal(reply.inputs_count, 2);
    assert_int_equal(reply.outputs_count, 0);
    assert_int_equal(reply.points_count, 0);
    assert_int_equal(reply.facts_count, 0);
    assert_true(span_equal(reply.recipe, bytes_span(&f->recipe)));
}

static void replay_done(struct fixture *f, uint32_t stage, struct artifact_ref *outputs,
                        uint32_t count)
{
    union message_record record = {
        .task_done = {.job = 0xa100000000000000,
                      .stage = stage,
                      .fence = 1,
                      .worker = TEXT("w"),
                      .result = {.outputs = outputs, .outputs_count = count}}};
    replay(f, REC_TASK_DONE, &record);
}

static void test_admin__what_done_tasks_made_is_listed_by_name_and_page(void **state)
{
    struct fixture *f = *state;
    struct artifact_ref samples[] = {{.name = TEXT("samples"), .digest = {{1}}, .size_bytes = 7}};
    struct artifact_ref rows[] = {{.name = TEXT("rows"), .digest = {{2}}, .size_bytes = 8},
                                  {.name = TEXT("test_rows"), .digest = {{3}}, .size_bytes = 9}};
    struct msg_artifacts reply;
    struct msg_artifacts_get get = {.ticket = 5, .prefix = TEXT("first")};
    assert_int_equal(admin_artifacts(f->sched, &get, &f->arena, &reply, NULL), ERR_OK);
    assert_int_equal(reply.artifacts_count, 0);
    assert_int_equal(reply.total, 0);
    replay_done(f, 0, samples, 1);
    replay_done(f, 1, rows, 2);
    assert_int_equal(admin_artifacts(f->sched, &get, &f->arena, &reply, NULL), ERR_OK);
    assert_int_equal(reply.ticket, 5);
    assert_int_equal(reply.job, 0xa100000000000000);
    assert_int_equal(reply.artifacts_count, 3);
    assert_int_equal(reply.total, 3);
    assert_true(text_is(reply.artifacts[0].ref.name, "samples"));
    assert_int_equal(reply.artifacts[2].stage, 1);
    get.after = 2;
    assert_int_equal(admin_artifacts(f->sched, &get, &f->arena, &reply, NULL), ERR_OK);
    assert_int_equal(reply.artifacts_count, 1);
    assert_int_equal(reply.artifacts[0].ref.digest.v[0], 3);
    get = (struct msg_artifacts_get){.prefix = TEXT("first"), .name = TEXT("rows")};
    assert_int_equal(admin_artifacts(f->sched, &get, &f->arena, &reply, NULL), ERR_OK);
    assert_int_equal(reply.artifacts_count, 1);
    assert_int_equal(reply.artifacts[0].ref.digest.v[0], 2);
    get = (struct msg_artifacts_get){.prefix = TEXT("c")};
    assert_int_equal(admin_artifacts(f->sched, &get, &f->arena, &reply, NULL), ERR_NOT_FOUND);
}

static void test_admin__checkpoints_are_found_by_job_and_by_digest(void **state)
{
    struct fixture *f = *state;
    struct msg_checkpoints reply;
    struct err_text et = {""};
    union message_record record = {.checkpoint = {.row = {.digest = {{0xab, 0xcd, 0x12}},
                                                          .job = 0xa200000000000000,
                                                          .stage = 3,
                                                          .step = 5,
                                                          .eval_loss = NAN}}};
    replay(f, REC_CHECKPOINT, &record);
    record.checkpoint.row.parent = record.checkpoint.row.digest;
    record.checkpoint.row.digest = (struct digest){{0xee}};
    record.checkpoint.row.step = 10;
    replay(f, REC_CHECKPOINT, &record);
    struct msg_checkpoints_get by_job = {.prefix = TEXT("second")};
    assert_int_equal(admin_checkpoints(f->sched, &by_job, &f->arena, &reply, &et), ERR_OK);
    assert_int_equal(reply.checkpoints_count, 2);
    assert_int_equal(reply.checkpoints[0].step, 10);
    struct msg_checkpoints_get by_digest = {.prefix = TEXT("abcd12")};
    assert_int_equal(admin_checkpoints(f->sched, &by_digest, &f->arena, &reply, &et), ERR_OK);
    assert_int_equal(reply.checkpoints_count, 1);
    assert_int_equal(reply.checkpoints[0].step, 5);
    struct msg_checkpoints_get neither = {.prefix = TEXT("abce")};
    assert_int_equal(admin_checkpoints(f->sched, &neither, &f->arena, &reply, &et), ERR_NOT_FOUND);
}

struct sentence {
    uint32_t number;
    union message_record record;
    const char *text;
};

static void check_sentences(struct fixture *f, const struct sentence *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct event_row row;
        assert_int_equal(admin_event_row(f->sched, i + 1, 1000, cases[i].number, &cases[i].record,
                                         &f->arena, &row),
                         ERR_OK);
        assert_int_equal(row.seq, i + 1);
        assert_int_equal(row.job, admin_event_job(cases[i].number, &cases[i].record));
        if (!text_is(row.text, cases[i].text))
            fail_msg("%.*s, expected %s", TEXT_ARGS(row.text), cases[i].text);
    }
}

static void test_admin_event__tasks_are_named_by_their_stage(void **state)
{
    const uint64_t job = 0xa100000000000000;
    struct fact facts[] = {{TEXT("samples"), 300}, {TEXT("left_out"), 2}};
    const struct sentence cases[] = {
        {REC_TASK_DONE,
         {.task_done = {.job = job,
                        .fence = 1,
                        .worker = TEXT("w"),
                        .result = {.seconds = 1.5, .facts = facts, .facts_count = 2}}},
         "prepare[0] done by w in 1.50 s: samples 300, left_out 2"},
        {REC_TASK_DONE,
         {.task_done = {.job = job,
                        .stage = 1,
                        .fence = 2,
                        .worker = TEXT("w"),
                        .result = {.seconds = 1.5}}},
         "pack[0] done by w in 1.50 s"},
        {REC_TASK_DONE,
         {.task_done = {.job = job, .stage = 1, .worker = TEXT("job 00000000000000a2")}},
         "pack[0] taken over from job 00000000000000a2"},
        {REC_TASK_DONE, {.task_done = {.job = job, .stage = 3}}, "train done"},
        {REC_TASK_DONE, {.task_done = {.job = 99, .stage = 3}}, "stage 3 done"},
        {REC_TASK_FAILED,
         {.task_failed = {.job = job,
                          .index = 4,
                          .worker = TEXT("w"),
                          .error = ERR_DATA,
                          .detail = TEXT("line 7")}},
         "prepare[4] failed on w: DATA: line 7"},
        {REC_WORKER_QUARANTINED,
         {.worker_quarantined =
              {.worker = TEXT("w"), .job = job, .stage = 1, .expected = {{1}}, .found = {{2}}}},
         "worker w quarantined: pack[0] gave 020000000000, others gave 010000000000"},
    };
    check_sentences(*state, cases, sizeof cases / sizeof cases[0]);
}

static void test_admin_event__jobs_and_lives_have_a_sentence(void **state)
{
    const uint64_t job = 0xa100000000000000;
    const struct sentence cases[] = {
        {REC_COORDINATOR_STARTED,
         {.coordinator_started = {3}},
         "coordinator started, incarnation 3"},
        {REC_JOB_SUBMITTED,
         {.job_submitted = {.job = job, .name = TEXT("n"), .owner = TEXT("o"), .inputs_count = 2}},
         "submitted as n by o: 2 inputs, 0 stages"},
        {REC_CHECKPOINT,
         {.checkpoint = {.row = {.job = job, .step = 20, .loss = 2.5, .digest = {{0x12, 0x34}}}}},
         "checkpoint 123400000000 after step 20, loss 2.5000"},
        {REC_JOB_STATE, {.job_state = {.job = job, .state = JOB_DONE}}, "job: ok"},
        {REC_JOB_STATE,
         {.job_state = {.job = job, .state = JOB_FAILED, .detail = TEXT("why")}},
         "job: FAIL: why"},
    };
    check_sentences(*state, cases, sizeof cases / sizeof cases[0]);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_admin__jobs_come_newest_first_and_as_many_as_asked),
        TEST(test_admin__prefixes_name_one_job_or_say_why_not),
        TEST(test_admin__a_job_shows_its_graph_inputs_and_recipe),
        TEST(test_admin__what_done_tasks_made_is_listed_by_name_and_page),
        TEST(test_admin__checkpoints_are_found_by_job_and_by_digest),
        TEST(test_admin_event__tasks_are_named_by_their_stage),
        TEST(test_admin_event__jobs_and_lives_have_a_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
