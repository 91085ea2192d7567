/* test_server.c - the coordinator as a process, spoken to over its sockets, killed and started
 * again. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/version.h"
#include "common/wire/wire.h"
#include "tests/unit/coordinator/loop/server_fixture.h"

static const struct msg_jobs *list_jobs(struct server_fixture *f)
{
    struct msg_jobs_get get = {.ticket = 9};
    server_fixture_say(f, f->client_socket, MSG_JOBS_GET, &get);
    return &server_fixture_hear(f, f->client_socket, MSG_JOBS)->jobs;
}

static void test_server__missing_inputs_are_named_put_and_then_the_job_is_there(void **state)
{
    struct server_fixture *f = *state;
    const struct msg_welcome *welcome = server_fixture_hello(f, PEER_CLIENT);
    assert_int_equal(welcome->error, 0);
    assert_int_equal(welcome->incarnation, 1);
    assert_true(text_is(welcome->bulk_endpoint, f->bulk));
    const struct msg_submitted *reply = server_fixture_submit(f, 77);
    assert_int_equal(reply->job, 0);
    assert_int_equal(reply->missing_count, FIXTURE_INPUTS);
    assert_true(text_is(reply->missing[3].name, "data/0/train.jsonl"));
    assert_int_equal(list_jobs(f)->jobs_count, 0);

    uint64_t job = server_fixture_submit_all(f, 77);
    assert_true(
        server_fixture_put(f, f->inputs[0].digest, span_of_text(text_of(f->contents[0])), false));
    assert_int_equal(server_fixture_submit(f, 77)->job, job);
    const struct msg_jobs *jobs = list_jobs(f);
    assert_int_equal(jobs->jobs_count, 1);
    assert_int_equal(jobs->jobs[0].job, job);
    assert_true(text_is(jobs->jobs[0].owner, "ada"));
}

static void test_server__an_input_may_be_a_path_that_it_reads_itself(void **state)
{
    struct server_fixture *f = *state;
    char path[128];
    (void)snprintf(path, sizeof path, "%s/input", f->folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    (void)fputs(f->contents[2], file);
    assert_int_equal(fclose(file), 0);
    f->inputs[2].path = text_of(path); /* right content */
    f->inputs[1].path = text_of(path); /* another's */
    (void)server_fixture_hello(f, PEER_CLIENT);
    const struct msg_submitted *reply = server_fixture_submit(f, 1);
    assert_int_equal(reply->missing_count, FIXTURE_INPUTS - 1);
    for (uint32_t i = 0; i < reply->missing_count; i++)
        assert_false(text_is(reply->missing[i].name, "model/tokenizer.json"));
}

static void test_server__a_submitted_job_survives_kill(void **state)
{
    struct server_fixture *f = *state;
    (void)server_fixture_hello(f, PEER_CLIENT);
    uint64_t job = server_fixture_submit_all(f, 3);
    server_fixture_leave(f);
    (void)server_fixture_stop(f, SIGKILL);
    server_fixture_start(f);
    server_fixture_join(f);
    assert_int_equal(server_fixture_hello(f, PEER_CLIENT)->incarnation, 2);
    const struct msg_jobs *jobs = list_jobs(f);
    assert_int_equal(jobs->jobs_count, 1);
    assert_int_equal(jobs->jobs[0].job, job);
    assert_int_equal(server_fixture_submit(f, 3)->job, job);

    struct msg_events_get get = {.ticket = 4};
    server_fixture_say(f, f->client_socket, MSG_EVENTS_GET, &get);
    const struct msg_events *events = &server_fixture_hear(f, f->client_socket, MSG_EVENTS)->events;
    assert_int_equal(events->events_count, 3); /* started, submitted, started */
    assert_int_equal(events->events[1].job, job);
    assert_int_equal(events->next, 3);
    assert_int_equal(events->last, 3);
}

/* More records than one request looks through, the two of the second job at their ends. */
static void test_server__a_long_log_is_looked_through_in_pages(void **state)
{
    struct server_fixture *f = *state;
    (void)server_fixture_hello(f, PEER_CLIENT);
    (void)server_fixture_submit_all(f, 1);
    uint64_t job = server_fixture_submit(f, 2)->job;
    char ids[2][17];
    (void)snprintf(ids[0], 17, "%016llx", (unsigned long long)list_jobs(f)->jobs[1].job);
    (void)snprintf(ids[1], 17, "%016llx", (unsigned long long)job);
    for (uint32_t i = 0; i <= 4200; i++) {
        struct msg_job_control control = {.ticket = i,
                                          .prefix = text_of(ids[i == 4200]),
                                          .action =
                                              i % 2 == 0 ? JOB_ACTION_CANCEL : JOB_ACTION_RETRY};
        server_fixture_say(f, f->client_socket, MSG_JOB_CONTROL, &control);
        assert_int_equal(server_fixture_hear(f, f->client_socket, MSG_STATUS)->status.error, 0);
    }
    struct msg_events_get get = {.ticket = 4, .prefix = text_of(ids[1])};
    uint32_t count = 0, pages = 0;
    const struct msg_events *events;
    do {
        server_fixture_say(f, f->client_socket, MSG_EVENTS_GET, &get);
        events = &server_fixture_hear(f, f->client_socket, MSG_EVENTS)->events;
        assert_true(events->next > get.after);
        get.after = events->next;
        count += events->events_count;
        pages++;
    } while (events->next < events->last);
    assert_int_equal(count, 2); /* submitted, cancelled */
    assert_int_equal(pages, 2);
}

static void test_server__a_worker_is_given_the_first_task(void **state)
{
    struct server_fixture *f = *state;
    (void)server_fixture_hello(f, PEER_CLIENT);
    uint64_t job = server_fixture_submit_all(f, 3);
    assert_true(server_fixture_hello(f, PEER_WORKER)->worker != 0);
    const struct msg_lease_grant *grant =
        &server_fixture_hear(f, f->worker_socket, MSG_LEASE_GRANT)->lease_grant;
    assert_int_equal(grant->job, job);
    assert_int_equal(grant->fence >> 32, 1);
    for (uint32_t i = 0; i < grant->spec.inputs_count; i++) {
        char path[4096];
        (void)snprintf(path, sizeof path, "%.*s", TEXT_ARGS(grant->spec.inputs[i].path));
        assert_int_equal(access(path, R_OK), 0); /* on this machine it may read files itself */
    }
}

/* As many files as a job may have: with the recipe they are one more than a task may read. */
static void test_server__a_task_too_large_to_be_sent_fails_its_job(void **state)
{
    struct server_fixture *f = *state;
    static char names[LIMIT_INPUTS][24];
    struct artifact_ref *inputs = test_calloc(LIMIT_INPUTS, sizeof *inputs);
    (void)server_fixture_hello(f, PEER_CLIENT);
    for (size_t i = 0; i < LIMIT_INPUTS; i++) {
        if (i < FIXTURE_INPUTS)
            (void)server_fixture_put(f, f->inputs[i].digest, span_of_text(text_of(f->contents[i])),
                                     false);
        inputs[i] = f->inputs[i < FIXTURE_INPUTS ? i : 0];
        (void)snprintf(names[i], sizeof names[i], "model/more-%zu.json", i);
        if (i >= FIXTURE_INPUTS)
            inputs[i].name = text_of(names[i]);
    }
    inputs[1].name = TEXT("model/other.json"); /* weights are not told to every task */
    struct msg_submit submit = {.ticket = 6,
                                .request = 2,
                                .name = TEXT("wide"),
                                .recipe = bytes_span(&f->recipe),
                                .inputs = inputs,
                                .inputs_count = LIMIT_INPUTS};
    server_fixture_say(f, f->client_socket, MSG_SUBMIT, &submit);
    assert_true(server_fixture_hear(f, f->client_socket, MSG_SUBMITTED)->submitted.job != 0);
    test_free(inputs);
    assert_true(server_fixture_hello(f, PEER_WORKER)->worker != 0);
    const struct msg_jobs *jobs = list_jobs(f);
    assert_int_equal(jobs->jobs[0].state, JOB_FAILED);
    assert_int_equal(jobs->jobs[0].error, ERR_LIMIT);
    assert_non_null(strstr(jobs->jobs[0].detail.data, "use fewer or smaller data files"));
}

static void test_server__artifacts_come_back_in_chunks_with_leaves(void **state)
{
    struct server_fixture *f = *state;
    struct span content = span_of_text(text_of(f->contents[1]));
    assert_false(server_fixture_put(f, f->inputs[1].digest, content, false));
    struct digest leaf = digest_leaf(content);
    struct msg_chunk_get get = {1, f->inputs[1].digest, 0};
    struct msg_leaves_get leaves = {2, f->inputs[1].digest, 0};
    struct msg_chunk_get absent = {3, {{1}}, 0};
    server_fixture_say(f, f->bulk_socket, MSG_CHUNK_GET, &get);
    server_fixture_say(f, f->bulk_socket, MSG_LEAVES_GET, &leaves);
    server_fixture_say(f, f->bulk_socket, MSG_CHUNK_GET, &absent);
    const union message_any *reply = server_fixture_hear(f, f->bulk_socket, MSG_CHUNK);
    assert_int_equal(reply->chunk.size_bytes, content.size);
    assert_true(span_equal(reply->chunk.data, content));
    reply = server_fixture_hear(f, f->bulk_socket, MSG_LEAVES);
    assert_true(span_equal(reply->leaves.leaves, (struct span){leaf.v, sizeof leaf.v}));
    assert_int_equal(server_fixture_hear(f, f->bulk_socket, MSG_CHUNK)->chunk.error, ERR_NOT_FOUND);
}

static void test_server__requests_before_hello_and_hostile_frames_are_refused(void **state)
{
    struct server_fixture *f = *state;
    struct msg_jobs_get get = {.ticket = 6};
    server_fixture_say(f, f->client_socket, MSG_JOBS_GET, &get);
    const struct msg_status *status = &server_fixture_hear(f, f->client_socket, MSG_STATUS)->status;
    assert_int_equal(status->error, ERR_PROTOCOL);
    assert_int_equal(status->ticket, 6);
    const uint8_t hostile[] = {0xdd, 0xff, 0xff, 0xff, 0xff};
    for (size_t size = 1; size <= sizeof hostile; size++) {
        struct span frame = {hostile, size};
        assert_int_equal(transport_send(f->client_socket, NULL, frame), ERR_OK);
    }
    assert_int_equal(server_fixture_hello(f, PEER_CLIENT)->error, 0);
}

/* Another version has fields that are not known here. */
static void test_server__who_says_more_than_is_known_is_told_the_version(void **state)
{
    struct server_fixture *f = *state;
    struct bytes frame;
    (void)server_fixture_hello(f, PEER_CLIENT);
    bytes_init(&frame, LIMIT_FRAME_BYTES);
    struct msg_workers_get get = {.ticket = 3};
    assert_int_equal(wire_encode(&message_type_msg_workers_get, &get, &frame), ERR_OK);
    assert_int_equal(frame.data[0], 0x92); /* an array of the number and the ticket */
    frame.data[0]++;
    bytes_append(&frame, "\x07", 1);
    assert_int_equal(transport_send(f->client_socket, NULL, bytes_span(&frame)), ERR_OK);
    const struct msg_welcome *answer =
        &server_fixture_hear(f, f->client_socket, MSG_WELCOME)->welcome;
    assert_int_equal(answer->error, ERR_VERSION);
    assert_true(answer->detail.size > strlen(version_text()));
    bytes_fini(&frame);
}

static void test_server__a_bad_recipe_and_an_unknown_job_are_answered_in_words(void **state)
{
    struct server_fixture *f = *state;
    (void)server_fixture_hello(f, PEER_CLIENT);
    struct msg_submit message = {.ticket = 5, .recipe = span_of_text(TEXT("x: ["))};
    server_fixture_say(f, f->client_socket, MSG_SUBMIT, &message);
    assert_int_equal(server_fixture_hear(f, f->client_socket, MSG_STATUS)->status.error,
                     ERR_RECIPE);
    struct msg_job_get get = {.ticket = 6, .prefix = TEXT("nowhere")};
    server_fixture_say(f, f->client_socket, MSG_JOB_GET, &get);
    const struct msg_status *status = &server_fixture_hear(f, f->client_socket, MSG_STATUS)->status;
    assert_int_equal(status->error, ERR_NOT_FOUND);
    assert_true(status->detail.size > 10);
}

static void test_server__two_processes_never_share_a_folder(void **state)
{
    struct server_fixture *f = *state;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)freopen("/dev/null", "w", stderr);
        (void)execl(COORDINATOR_PATH, COORDINATOR_PATH, "--data", f->folder, "--embedded",
                    (char *)NULL);
        _exit(127);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    assert_int_equal(server_fixture_hello(f, PEER_CLIENT)->error, 0);
}

static void test_server__stop_and_sigterm_end_it_with_0(void **state)
{
    struct server_fixture *f = *state;
    (void)server_fixture_hello(f, PEER_CLIENT);
    struct msg_stop message = {.ticket = 8};
    server_fixture_say(f, f->client_socket, MSG_STOP, &message);
    assert_int_equal(server_fixture_hear(f, f->client_socket, MSG_STATUS)->status.error, ERR_OK);
    assert_int_equal(server_fixture_stop(f, 0), 0);
    server_fixture_start(f);
    assert_int_equal(server_fixture_stop(f, SIGTERM), 0);
}

/* Its RETIRE is not obeyed: the moment it waits begins once and ends. */
static void test_server__without_its_parent_it_ends_though_a_worker_stays(void **state)
{
    struct server_fixture *f = *state;
    int status = -1;
    pid_t ended = 0;
    (void)server_fixture_hello(f, PEER_WORKER);
    assert_int_equal(close(f->alive), 0);
    f->alive = -1;
    (void)server_fixture_hear(f, f->worker_socket, MSG_RETIRE);
    uint32_t number;
    assert_null(server_fixture_hear_any(f, f->worker_socket, 500, &number)); /* it is said once */
    for (int i = 0; i < 800 && ended == 0; i++) {
        ended = waitpid(f->pid, &status, WNOHANG);
        (void)usleep(10000);
    }
    if (ended == 0)
        (void)server_fixture_stop(f, SIGKILL);
    f->pid = 0;
    assert_true(ended > 0);
    assert_int_equal(status, 0);
}

#define TEST(test)                                                                                 \
    cmocka_unit_test_setup_teardown(test, server_fixture_set_up, server_fixture_tear_down)

static void control(struct server_fixture *f, uint64_t job, enum job_action action)
{
    char id[17];
    (void)snprintf(id, sizeof id, "%016llx", (unsigned long long)job);
    struct msg_job_control message = {
        .ticket = 5, .prefix = text_of(id), .action = (uint32_t)action};
    server_fixture_say(f, f->client_socket, MSG_JOB_CONTROL, &message);
    assert_int_equal(server_fixture_hear(f, f->client_socket, MSG_STATUS)->status.error, 0);
}

static struct msg_checkpoint_controlled prune(struct server_fixture *f, bool is_dry)
{
    struct msg_checkpoint_control message = {
        .ticket = 6, .action = CHECKPOINT_PRUNE, .dry_run = is_dry};
    server_fixture_say(f, f->client_socket, MSG_CHECKPOINT_CONTROL, &message);
    return server_fixture_hear(f, f->client_socket, MSG_CHECKPOINT_CONTROLLED)
        ->checkpoint_controlled;
}

static void test_server__what_a_forgotten_job_leaves_is_pruned_at_once(void **state)
{
    struct server_fixture *f = *state;
    (void)server_fixture_hello(f, PEER_CLIENT);
    uint64_t first = server_fixture_submit_all(f, 5), second = server_fixture_submit_all(f, 6);
    assert_int_equal(prune(f, true).files, 0);
    control(f, first, JOB_ACTION_CANCEL);
    control(f, first, JOB_ACTION_FORGET);
    assert_int_equal(prune(f, false).files, 0); /* the other job has the same files */
    control(f, second, JOB_ACTION_CANCEL);
    control(f, second, JOB_ACTION_FORGET);
    struct msg_checkpoint_controlled would = prune(f, true);
    assert_int_equal(would.files, FIXTURE_INPUTS + 1); /* and the recipe */
    struct msg_checkpoint_controlled done = prune(f, false);
    assert_int_equal(done.files, would.files);
    assert_int_equal(done.bytes, would.bytes);
    assert_int_equal(prune(f, true).files, 0);
    assert_int_equal(server_fixture_submit(f, 7)->missing_count, FIXTURE_INPUTS);
}

/* Also when the target comes just as something else is due: a thousand of them meet that too. */
static void test_server__a_target_is_taken_when_its_answer_comes(void **state)
{
    struct server_fixture *f = *state;
    enum { TARGETS = 1000 };
    (void)server_fixture_hello(f, PEER_CLIENT);
    for (uint64_t ticket = 1; ticket <= TARGETS; ticket++) {
        struct msg_scale scale = {.ticket = ticket, .is_auto = ticket % 2 == 0};
        struct msg_providers_get get = {.ticket = TARGETS + ticket};
        server_fixture_say(f, f->client_socket, MSG_SCALE, &scale);
        const union message_any *reply = server_fixture_hear(f, f->client_socket, MSG_STATUS);
        assert_int_equal(reply->status.error, ERR_OK);
        server_fixture_say(f, f->client_socket, MSG_PROVIDERS_GET, &get);
        reply = server_fixture_hear(f, f->client_socket, MSG_PROVIDERS);
        assert_int_equal(reply->providers.providers_count, 1);
        assert_false(reply->providers.providers[0].is_asking);
        assert_int_equal(reply->providers.providers[0].is_auto, scale.is_auto);
    }
}

/* Says goodbye after so many words that the answers to the first find nobody any more. */
static void come_and_leave(struct server_fixture *f, uint64_t session)
{
    enum { BEATS = 300 };
    struct err_text et = {""};
    struct transport *t;
    char name[24];
    const struct transport_options options = {.frame_bytes_max = LIMIT_FRAME_BYTES,
                                              .linger_ms = FIXTURE_WAIT_MS};
    assert_int_equal(transport_connect(f->control, &options, &t, &et), ERR_OK);
    (void)snprintf(name, sizeof name, "w%llu", (unsigned long long)session);
    struct msg_hello hello = {.protocol = MESSAGE_PROTOCOL,
                              .role = PEER_WORKER,
                              .name = text_of(name),
                              .session = session,
                              .threads = 1,
                              .profiles = TEXT("f32/1")};
    server_fixture_say(f, t, MSG_HELLO, &hello);
    assert_int_equal(server_fixture_hear(f, t, MSG_WELCOME)->welcome.error, 0);
    for (uint64_t i = 1; i <= BEATS; i++) {
        struct msg_heartbeat heartbeat = {.seq = i, .draining = true};
        server_fixture_say(f, t, MSG_HEARTBEAT, &heartbeat);
    }
    struct msg_leave leave = {.reason = TEXT("bye")};
    server_fixture_say(f, t, MSG_LEAVE, &leave);
    transport_close(&t);
}

static void test_server__last_words_are_heard_though_nobody_takes_the_answers(void **state)
{
    struct server_fixture *f = *state;
    enum { LEAVERS = 50, TRIES = 100 };
    uint32_t left = 0;
    (void)server_fixture_hello(f, PEER_CLIENT);
    for (uint64_t session = 1; session <= LEAVERS; session++)
        come_and_leave(f, session);
    for (uint64_t ticket = 1; ticket <= TRIES && left < LEAVERS; ticket++) {
        struct msg_workers_get get = {.ticket = ticket};
        server_fixture_say(f, f->client_socket, MSG_WORKERS_GET, &get);
        const struct msg_workers *workers =
            &server_fixture_hear(f, f->client_socket, MSG_WORKERS)->workers;
        assert_int_equal(workers->workers_count, LEAVERS);
        left = 0;
        for (uint32_t i = 0; i < LEAVERS; i++)
            left += workers->workers[i].state == WORKER_LEFT;
        (void)usleep(10000);
    }
    assert_int_equal(left, LEAVERS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_server__a_target_is_taken_when_its_answer_comes),
        TEST(test_server__last_words_are_heard_though_nobody_takes_the_answers),
        TEST(test_server__missing_inputs_are_named_put_and_then_the_job_is_there),
        TEST(test_server__an_input_may_be_a_path_that_it_reads_itself),
        TEST(test_server__a_submitted_job_survives_kill),
        TEST(test_server__what_a_forgotten_job_leaves_is_pruned_at_once),
        TEST(test_server__a_long_log_is_looked_through_in_pages),
        TEST(test_server__a_worker_is_given_the_first_task),
        TEST(test_server__a_task_too_large_to_be_sent_fails_its_job),
        TEST(test_server__artifacts_come_back_in_chunks_with_leaves),
        TEST(test_server__requests_before_hello_and_hostile_frames_are_refused),
        TEST(test_server__who_says_more_than_is_known_is_told_the_version),
        TEST(test_server__a_bad_recipe_and_an_unknown_job_are_answered_in_words),
        TEST(test_server__two_processes_never_share_a_folder),
        TEST(test_server__stop_and_sigterm_end_it_with_0),
        TEST(test_server__without_its_parent_it_ends_though_a_worker_stays),
    };
    if (transport_startup() != ERR_OK)
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    transport_shutdown();
    return failed;
}
