/* test_server_run.c - a whole training run through the coordinator, with a worker that computes
 * little but by the rules: the result must not depend on kills of the coordinator. */
#include <signal.h>
#include <unistd.h>

#include "common/formats/safetensors/safetensors_write.h"
#include "common/message/message_copy.h"
#include "common/numeric/fold.h"
#include "common/numeric/random.h"
#include "tests/unit/coordinator/loop/server_fixture.h"

enum { WIDTH = 8, TRAIN_ROWS = 40, TEST_ROWS = 10, GRANTS_MAX = 500, FILE_BYTES_MAX = 1 << 20 };

/* What a run ends with. */
struct outcome {
    struct digest result, log;
    size_t checkpoint_count;
    size_t grant_count;
};

struct reply {
    struct artifact_ref outputs[2];
    struct fact facts[4];
    struct bytes contents[2];
    struct task_result result;
};

static void add_output(struct server_fixture *f, struct reply *r, const char *name, bool ephemeral)
{
    uint32_t i = r->result.outputs_count++;
    struct span content = bytes_span(&r->contents[i]);
    r->outputs[i] = (struct artifact_ref){
        .name = text_of(name), .size_bytes = content.size, .ephemeral = ephemeral};
    assert_int_equal(digest_of_artifact(content, &r->outputs[i].digest), ERR_OK);
    (void)server_fixture_put(f, r->outputs[i].digest, content, ephemeral);
}

static const struct artifact_ref *input_of(const struct task_spec *spec, const char *name)
{
    for (uint32_t i = 0; i < spec->inputs_count; i++)
        if (text_is(spec->inputs[i].name, name))
            return &spec->inputs[i];
    fail_msg("no input %s", name);
    return NULL;
}

/* Content of an artifact of one chunk. */
static void fetch(struct server_fixture *f, struct digest digest, struct bytes *out)
{
    struct msg_chunk_get get = {1, digest, 0};
    server_fixture_say(f, f->bulk_socket, MSG_CHUNK_GET, &get);
    const struct msg_chunk *chunk = &server_fixture_hear(f, f->bulk_socket, MSG_CHUNK)->chunk;
    assert_int_equal(chunk->error, ERR_OK);
    bytes_append(out, chunk->data.data, chunk->data.size);
}

static void write_state(struct bytes *out)
{
    static const float first[WIDTH] = {0.5f, -0.5f, 1, -1, 2, -2, 0.25f, 3};
    struct safetensor tensor = {.name = TEXT("weight.w"),
                                .dtype = SAFETENSORS_F32,
                                .rank = 2,
                                .shape = {2, WIDTH / 2},
                                .data = {(const uint8_t *)first, sizeof first}};
    struct safetensors_note notes[] = {{TEXT("format"), TEXT("qfleet-state/1")},
                                       {TEXT("step"), TEXT("0")}};
    struct safetensors_content content = {&tensor, 1, notes, 2};
    assert_int_equal(safetensors_write(&content, file_sink_bytes, out), ERR_OK);
}

/* A gradient that depends on weights, round and row; folded along the tree over the round. */
static void fold_range(const struct task_spec *spec, const float *weights, struct fold *fold)
{
    uint64_t key = random_key(spec->seed, RANDOM_TEST, 0, 0, spec->round);
    for (uint64_t row = spec->first; row < spec->end; row++) {
        float gradient[WIDTH];
        const double sums[FOLD_SUMS] = {2.0 + random_uniform_f64(key, row), 7.0};
        for (size_t i = 0; i < WIDTH; i++)
            gradient[i] = weights[i] * 0.1f + random_normal_f32(key, 1000 + row * WIDTH + i);
        assert_int_equal(fold_push(fold, (struct fold_node){row, row + 1}, gradient, sums), ERR_OK);
    }
    assert_int_equal(fold->depth, 1); /* a range is one node */
}

static void run_rows(struct server_fixture *f, const struct task_spec *spec, struct reply *r)
{
    struct bytes file;
    struct safetensors st = {0};
    struct fold fold;
    float weights[WIDTH];
    bytes_init(&file, FILE_BYTES_MAX);
    fetch(f, input_of(spec, "weights")->digest, &file);
    assert_int_equal(safetensors_parse(&st, bytes_span(&file), "weights", NULL), ERR_OK);
    memcpy(weights, st.tensors[0].data.data, sizeof weights);
    fold_init(&fold, spec->total, WIDTH);
    fold_range(spec, weights, &fold);
    const struct fold_entry *entry = fold_at(&fold, 0);
    r->result.loss_sum = entry->sums[0];
    r->result.weight = entry->sums[1];
    r->result.tokens = 7 * (spec->end - spec->first);
    if (spec->kind == STAGE_KIND_TRAIN) {
        bytes_append(&r->contents[0], entry->vector, WIDTH * sizeof(float));
        add_output(f, r, "gradient", true);
    }
    fold_fini(&fold);
    safetensors_close(&st);
    bytes_fini(&file);
}

static void run_task(struct server_fixture *f, const struct task_spec *spec, struct reply *r)
{
    switch ((enum stage_kind)spec->kind) {
    case STAGE_KIND_PREPARE:
        bytes_print(&r->contents[0], "samples");
        add_output(f, r, "samples", false);
        break;
    case STAGE_KIND_PACK:
        bytes_print(&r->contents[0], "rows");
        bytes_print(&r->contents[1], "test rows");
        add_output(f, r, "rows", false);
        add_output(f, r, "test_rows", false);
        r->facts[0] = (struct fact){TEXT("train_rows"), TRAIN_ROWS};
        r->facts[1] = (struct fact){TEXT("test_rows"), TEST_ROWS};
        r->result.facts_count = 2;
        break;
    case STAGE_KIND_INIT:
        write_state(&r->contents[0]);
        add_output(f, r, "state", false);
        break;
    case STAGE_KIND_TRAIN:
    case STAGE_KIND_EVALUATE:
        run_rows(f, spec, r);
        break;
    case STAGE_KIND_EXPORT: /* the last state is the result, so that equal results say it all */
        fetch(f, input_of(spec, "state")->digest, &r->contents[0]);
        add_output(f, r, "adapter_model.safetensors", false);
        fetch(f, input_of(spec, "log")->digest, &r->contents[1]);
        add_output(f, r, "log.jsonl", false);
        break;
    case STAGE_KIND_CALIBRATE:
    case STAGE_KIND_REDUCE:
    case STAGE_KIND_SENSITIVITY:
    case STAGE_KIND_CHOOSE:
    case STAGE_KIND_QUANTIZE:
    case STAGE_KIND_ASSEMBLE:
    case STAGE_KIND_VERIFY:
    case STAGE_KIND_COMPARE:
    case STAGE_KIND_REPORT:
    case STAGE_KIND_REPLAY:
    case STAGE_KIND_REFERENCE:
    case STAGE_KIND_MERGE:
    case STAGE_KIND_MEASURE:
    case STAGE_KIND_COUNT:
        fail_msg("no kind of a training job");
    }
}

static void work(struct server_fixture *f, const struct msg_lease_grant *grant)
{
    struct reply r = {0};
    struct arena arena;
    struct msg_lease_grant copy;
    arena_init(&arena, 1 << 20);
    assert_int_equal(message_copy(&message_type_msg_lease_grant, grant, &arena, &copy), ERR_OK);
    struct msg_lease_accept accept = {copy.fence};
    server_fixture_say(f, f->worker_socket, MSG_LEASE_ACCEPT, &accept);
    bytes_init(&r.contents[0], FILE_BYTES_MAX);
    bytes_init(&r.contents[1], FILE_BYTES_MAX);
    r.result.outputs = r.outputs;
    r.result.facts = r.facts;
    run_task(f, &copy.spec, &r);
    struct msg_lease_result result = {.fence = copy.fence, .result = r.result};
    server_fixture_say(f, f->worker_socket, MSG_LEASE_RESULT, &result);
    bytes_fini(&r.contents[0]);
    bytes_fini(&r.contents[1]);
    arena_fini(&arena);
}

static bool is_over(struct server_fixture *f, struct outcome *outcome)
{
    struct msg_job_get get = {.ticket = 2, .prefix = TEXT("last")};
    server_fixture_say(f, f->client_socket, MSG_JOB_GET, &get);
    const struct msg_job *job = &server_fixture_hear(f, f->client_socket, MSG_JOB)->job;
    if (!state_job_is_terminal((enum job_state)job->row.state))
        return false;
    if (job->row.state != JOB_DONE)
        fail_msg("the job ended as %u: %.*s", job->row.state, TEXT_ARGS(job->row.detail));
    for (uint32_t i = 0; i < job->outputs_count; i++) {
        if (text_is(job->outputs[i].name, "log.jsonl"))
            outcome->log = job->outputs[i].digest;
        else
            outcome->result = job->outputs[i].digest;
    }
    assert_int_equal(job->outputs_count, 2);
    return true;
}

static void check_checkpoints(struct server_fixture *f, struct outcome *outcome)
{
    struct msg_checkpoints_get get = {.ticket = 3, .prefix = TEXT("last")};
    server_fixture_say(f, f->client_socket, MSG_CHECKPOINTS_GET, &get);
    const struct msg_checkpoints *reply =
        &server_fixture_hear(f, f->client_socket, MSG_CHECKPOINTS)->checkpoints;
    struct checkpoint_row rows[16];
    outcome->checkpoint_count = reply->checkpoints_count;
    assert_true(reply->checkpoints_count <= 16);
    memcpy(rows, reply->checkpoints, reply->checkpoints_count * sizeof *rows);
    for (size_t i = 0; i < outcome->checkpoint_count; i++) {
        struct msg_artifact_verify verify = {4, rows[i].digest};
        server_fixture_say(f, f->client_socket, MSG_ARTIFACT_VERIFY, &verify);
        assert_int_equal(server_fixture_hear(f, f->client_socket, MSG_STATUS)->status.error,
                         ERR_OK);
        if (i + 1 < outcome->checkpoint_count)
            assert_true(digest_equal(rows[i].parent, rows[i + 1].digest));
    }
}

static void restart(struct server_fixture *f)
{
    server_fixture_leave(f);
    (void)server_fixture_stop(f, SIGKILL);
    server_fixture_start(f);
    server_fixture_join(f);
    (void)server_fixture_hello(f, PEER_CLIENT);
    (void)server_fixture_hello(f, PEER_WORKER);
}

/* Works until the job is over; the coordinator is killed when the grant numbers of `kills`
 * (0-ended) came, before they are worked on. */
static struct outcome run(struct server_fixture *f, const size_t *kills)
{
    struct outcome outcome = {0};
    (void)server_fixture_hello(f, PEER_CLIENT);
    (void)server_fixture_submit_all(f, 3);
    (void)server_fixture_hello(f, PEER_WORKER);
    while (!is_over(f, &outcome)) {
        uint32_t number = 0;
        const union message_any *message =
            server_fixture_hear_any(f, f->worker_socket, 100, &number);
        if (message == NULL) {
            struct msg_heartbeat beat = {.seq = outcome.grant_count};
            server_fixture_say(f, f->worker_socket, MSG_HEARTBEAT, &beat);
        } else if (number == MSG_LEASE_GRANT) {
            assert_true(++outcome.grant_count < GRANTS_MAX);
            if (outcome.grant_count == *kills) {
                kills++;
                restart(f);
            } else {
                work(f, &message->lease_grant);
            }
        }
    }
    check_checkpoints(f, &outcome);
    return outcome;
}

static struct outcome run_fresh(const size_t *kills)
{
    void *state = NULL;
    assert_int_equal(server_fixture_set_up(&state), 0);
    struct outcome outcome = run(state, kills);
    assert_int_equal(server_fixture_tear_down(&state), 0);
    return outcome;
}

static void test_server__a_run_ends_with_the_same_bytes_however_often_it_was_killed(void **state)
{
    (void)state;
    static const size_t kills[][6] = {
        {1, 0}, {2, 3, 0}, {5, 9, 0}, {4, 8, 12, 16, 20, 0}, {17, 18, 0}};
    const size_t none[] = {0};
    struct outcome expected = run_fresh(none);
    assert_int_equal(expected.checkpoint_count, 4); /* steps 3, 6, 9, 12 */
    assert_false(digest_is_zero(expected.result));
    for (size_t i = 0; i < sizeof kills / sizeof kills[0]; i++) {
        struct outcome found = run_fresh(kills[i]);
        assert_true(found.grant_count > expected.grant_count);
        assert_int_equal(found.checkpoint_count, 4);
        assert_true(digest_equal(found.result, expected.result));
        assert_true(digest_equal(found.log, expected.log));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_server__a_run_ends_with_the_same_bytes_however_often_it_was_killed),
    };
    if (transport_startup() != ERR_OK)
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    transport_shutdown();
    return failed;
}
