/* test_server.c - the coordinator as a process, spoken to over its sockets, killed and started
 * again. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/mem/arena.h"
#include "common/message/state.h"
#include "common/recipe/recipe.h"
#include "common/transport/transport.h"
#include "common/wire/wire.h"

enum { WAIT_MS = 10000, INPUTS = 4 };

struct fixture {
    char folder[64];
    pid_t pid;
    int out; /* the coordinator's stdout */
    char control[256], bulk[256];
    struct transport *control_socket, *bulk_socket;
    struct arena arena; /* of the last reply */
    struct bytes frame;
    struct bytes recipe; /* canonical */
    struct artifact_ref inputs[INPUTS];
    char contents[INPUTS][32];
};

static void start(struct fixture *f)
{
    int fds[2];
    char line[600] = "";
    assert_int_equal(pipe(fds), 0);
    f->pid = fork();
    assert_true(f->pid >= 0);
    if (f->pid == 0) {
        (void)dup2(fds[1], 1);
        (void)close(fds[0]);
        (void)execl(COORDINATOR_PATH, COORDINATOR_PATH, "--data", f->folder, "--embedded",
                    "--map-size", "1", "--disk-floor", "1", (char *)NULL);
        _exit(127);
    }
    (void)close(fds[1]);
    f->out = fds[0];
    for (size_t at = 0; at + 1 < sizeof line && strchr(line, '\n') == NULL; at++)
        if (read(f->out, line + at, 1) != 1)
            fail_msg("the coordinator did not start: %s", line);
    if (sscanf(line, "ready control=%255s bulk=%255s", f->control, f->bulk) != 2)
        fail_msg("unexpected: %s", line);
}

static int stop(struct fixture *f, int signal_number)
{
    int status;
    if (signal_number != 0)
        assert_int_equal(kill(f->pid, signal_number), 0);
    assert_int_equal(waitpid(f->pid, &status, 0), f->pid);
    (void)close(f->out);
    f->pid = 0;
    return status;
}

static void join(struct fixture *f)
{
    struct err_text et = {""};
    struct transport_options options = {.frame_bytes_max = LIMIT_FRAME_BYTES};
    if (transport_connect(f->control, &options, &f->control_socket, &et) != ERR_OK ||
        transport_connect(f->bulk, &options, &f->bulk_socket, &et) != ERR_OK)
        fail_msg("%s", et.text);
}

static void leave(struct fixture *f)
{
    transport_close(&f->control_socket);
    transport_close(&f->bulk_socket);
}

static void say(struct fixture *f, struct transport *t, uint32_t number, const void *message)
{
    bytes_clear(&f->frame);
    assert_int_equal(wire_encode(message_type_of(number), message, &f->frame), ERR_OK);
    enum err err = ERR_BUSY;
    for (int i = 0; i < 500 && err == ERR_BUSY; i++) { /* not connected yet */
        err = transport_send(t, NULL, bytes_span(&f->frame));
        if (err == ERR_BUSY)
            (void)usleep(10000);
    }
    assert_int_equal(err, ERR_OK);
}

/* The next message, which must be of kind `number`; it lives until the next call. */
static const union message_any *hear(struct fixture *f, struct transport *t, uint32_t number)
{
    static union message_any message;
    struct transport_frame frame;
    const struct message_type *type;
    enum err err = transport_receive(t, WAIT_MS, &frame);
    if (err != ERR_OK)
        fail_msg("no answer of kind %u: %s", number, error_text(err));
    arena_reset(&f->arena);
    assert_int_equal(wire_decode(frame.body, &f->arena, &type, &message), ERR_OK);
    if (type->number == MSG_STATUS && number != MSG_STATUS)
        fail_msg("status %u: %.*s", message.status.error, TEXT_ARGS(message.status.detail));
    if (type->number != number)
        fail_msg("%s, expected number %u", type->name, number);
    return &message;
}

static const struct msg_welcome *hello(struct fixture *f, enum peer_role role)
{
    struct msg_hello message = {.protocol = MESSAGE_PROTOCOL,
                                .role = role,
                                .name = role == PEER_WORKER ? TEXT("w1") : TEXT("ada"),
                                .session = 1,
                                .threads = 1,
                                .memory_bytes = (uint64_t)8 << 30,
                                .isa = TEXT("portable"),
                                .profiles = TEXT("f32/1")};
    say(f, f->control_socket, MSG_HELLO, &message);
    return &hear(f, f->control_socket, MSG_WELCOME)->welcome;
}

static void make_inputs(struct fixture *f)
{
    static const char *const names[INPUTS] = {"model/config.json", "model/model.safetensors",
                                              "model/tokenizer.json", "data/0/train.jsonl"};
    for (size_t i = 0; i < INPUTS; i++) {
        (void)snprintf(f->contents[i], sizeof f->contents[i], "content of input %zu\n", i);
        struct span content = span_of_text(text_of(f->contents[i]));
        f->inputs[i] = (struct artifact_ref){.name = text_of(names[i]), .size_bytes = content.size};
        assert_int_equal(digest_of_artifact(content, &f->inputs[i].digest), ERR_OK);
    }
}

static void make_recipe(struct fixture *f)
{
    static const char text[] = "base_model: model\n"
                               "datasets: [{path: train.jsonl, type: completion}]\n"
                               "adapter: lora\n"
                               "lora_r: 8\n"
                               "lora_alpha: 16\n"
                               "lora_target_linear: true\n"
                               "learning_rate: 1e-3\n"
                               "max_steps: 4\n";
    struct recipe recipe;
    struct err_text et = {""};
    struct recipe_options options = {.file_name = "t.yml"};
    if (recipe_read(span_of_text(text_of(text)), &options, &recipe, &et) != ERR_OK)
        fail_msg("%s", et.text);
    recipe_write(&recipe, &f->recipe);
    recipe_fini(&recipe);
    assert_int_equal(bytes_status(&f->recipe), ERR_OK);
}

static int set_up(void **state)
{
    struct fixture *f = test_calloc(1, sizeof *f);
    (void)snprintf(f->folder, sizeof f->folder, "/tmp/qfleet-server-XXXXXX");
    if (mkdtemp(f->folder) == NULL)
        return -1;
    arena_init(&f->arena, WIRE_ARENA_BYTES);
    bytes_init(&f->frame, LIMIT_FRAME_BYTES);
    bytes_init(&f->recipe, LIMIT_RECIPE_BYTES);
    make_inputs(f);
    make_recipe(f);
    start(f);
    join(f);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    char command[128];
    leave(f);
    if (f->pid != 0)
        (void)stop(f, SIGKILL);
    (void)snprintf(command, sizeof command, "rm -r %s", f->folder);
    arena_fini(&f->arena);
    bytes_fini(&f->frame);
    bytes_fini(&f->recipe);
    test_free(f);
    return system(command);
}

static const struct msg_submitted *submit(struct fixture *f, uint64_t request)
{
    struct msg_submit message = {.ticket = 5,
                                 .request = request,
                                 .name = TEXT("first"),
                                 .recipe = bytes_span(&f->recipe),
                                 .inputs = f->inputs,
                                 .inputs_count = INPUTS};
    say(f, f->control_socket, MSG_SUBMIT, &message);
    const struct msg_submitted *reply = &hear(f, f->control_socket, MSG_SUBMITTED)->submitted;
    assert_int_equal(reply->ticket, 5);
    return reply;
}

static void put(struct fixture *f, size_t i, bool is_present)
{
    struct span content = span_of_text(text_of(f->contents[i]));
    struct msg_put_begin begin = {1, f->inputs[i].digest, content.size, false};
    struct msg_put_chunk chunk = {2, f->inputs[i].digest, 0, content};
    struct msg_put_end end = {3, f->inputs[i].digest};
    say(f, f->bulk_socket, MSG_PUT_BEGIN, &begin);
    struct msg_put_reply reply = hear(f, f->bulk_socket, MSG_PUT_REPLY)->put_reply;
    assert_int_equal(reply.ticket, 1);
    assert_int_equal(reply.error, ERR_OK);
    assert_int_equal(reply.present, is_present);
    if (is_present)
        return;
    say(f, f->bulk_socket, MSG_PUT_CHUNK, &chunk);
    assert_int_equal(hear(f, f->bulk_socket, MSG_PUT_REPLY)->put_reply.error, ERR_OK);
    say(f, f->bulk_socket, MSG_PUT_END, &end);
    reply = hear(f, f->bulk_socket, MSG_PUT_REPLY)->put_reply;
    assert_int_equal(reply.error, ERR_OK);
    assert_true(reply.present);
}

static uint64_t submit_all(struct fixture *f, uint64_t request)
{
    for (size_t i = 0; i < INPUTS; i++)
        put(f, i, false);
    const struct msg_submitted *reply = submit(f, request);
    assert_int_equal(reply->missing_count, 0);
    assert_true(reply->job != 0);
    return reply->job;
}

static const struct msg_jobs *list_jobs(struct fixture *f)
{
    struct msg_jobs_get get = {.ticket = 9};
    say(f, f->control_socket, MSG_JOBS_GET, &get);
    return &hear(f, f->control_socket, MSG_JOBS)->jobs;
}

static void test_server__missing_inputs_are_named_put_and_then_the_job_is_there(void **state)
{
    struct fixture *f = *state;
    const struct msg_welcome *welcome = hello(f, PEER_CLIENT);
    assert_int_equal(welcome->error, 0);
    assert_int_equal(welcome->incarnation, 1);
    assert_true(text_is(welcome->bulk_endpoint, f->bulk));
    const struct msg_submitted *reply = submit(f, 77);
    assert_int_equal(reply->job, 0);
    assert_int_equal(reply->missing_count, INPUTS);
    assert_true(text_is(reply->missing[3].name, "data/0/train.jsonl"));
    assert_int_equal(list_jobs(f)->jobs_count, 0);

    uint64_t job = submit_all(f, 77);
    put(f, 0, true);
    assert_int_equal(submit(f, 77)->job, job);
    const struct msg_jobs *jobs = list_jobs(f);
    assert_int_equal(jobs->jobs_count, 1);
    assert_int_equal(jobs->jobs[0].job, job);
    assert_true(text_is(jobs->jobs[0].owner, "ada"));
}

static void test_server__an_input_may_be_a_path_that_it_reads_itself(void **state)
{
    struct fixture *f = *state;
    char path[128];
    (void)snprintf(path, sizeof path, "%s/input", f->folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    (void)fputs(f->contents[2], file);
    assert_int_equal(fclose(file), 0);
    f->inputs[2].path = text_of(path); /* right content */
    f->inputs[1].path = text_of(path); /* another's */
    (void)hello(f, PEER_CLIENT);
    const struct msg_submitted *reply = submit(f, 1);
    assert_int_equal(reply->missing_count, INPUTS - 1);
    for (uint32_t i = 0; i < reply->missing_count; i++)
        assert_false(text_is(reply->missing[i].name, "model/tokenizer.json"));
}

static void test_server__a_submitted_job_survives_kill(void **state)
{
    struct fixture *f = *state;
    (void)hello(f, PEER_CLIENT);
    uint64_t job = submit_all(f, 3);
    leave(f);
    (void)stop(f, SIGKILL);
    start(f);
    join(f);
    assert_int_equal(hello(f, PEER_CLIENT)->incarnation, 2);
    const struct msg_jobs *jobs = list_jobs(f);
    assert_int_equal(jobs->jobs_count, 1);
    assert_int_equal(jobs->jobs[0].job, job);
    assert_int_equal(submit(f, 3)->job, job);

    struct msg_events_get get = {.ticket = 4};
    say(f, f->control_socket, MSG_EVENTS_GET, &get);
    const struct msg_events *events = &hear(f, f->control_socket, MSG_EVENTS)->events;
    assert_int_equal(events->events_count, 3); /* started, submitted, started */
    assert_int_equal(events->events[1].job, job);
}

static void test_server__a_worker_is_given_the_first_task(void **state)
{
    struct fixture *f = *state;
    (void)hello(f, PEER_CLIENT);
    uint64_t job = submit_all(f, 3);
    leave(f);
    join(f);
    assert_true(hello(f, PEER_WORKER)->worker != 0);
    const struct msg_lease_grant *grant = &hear(f, f->control_socket, MSG_LEASE_GRANT)->lease_grant;
    assert_int_equal(grant->job, job);
    assert_int_equal(grant->fence >> 32, 1);
    for (uint32_t i = 0; i < grant->spec.inputs_count; i++) {
        char path[4096];
        (void)snprintf(path, sizeof path, "%.*s", TEXT_ARGS(grant->spec.inputs[i].path));
        assert_int_equal(access(path, R_OK), 0); /* on this machine it may read files itself */
    }
}

static void test_server__artifacts_come_back_in_chunks_with_leaves(void **state)
{
    struct fixture *f = *state;
    put(f, 1, false);
    struct span content = span_of_text(text_of(f->contents[1]));
    struct digest leaf = digest_leaf(content);
    struct msg_chunk_get get = {1, f->inputs[1].digest, 0};
    struct msg_leaves_get leaves = {2, f->inputs[1].digest, 0};
    struct msg_chunk_get absent = {3, {{1}}, 0};
    say(f, f->bulk_socket, MSG_CHUNK_GET, &get);
    say(f, f->bulk_socket, MSG_LEAVES_GET, &leaves);
    say(f, f->bulk_socket, MSG_CHUNK_GET, &absent);
    const union message_any *reply = hear(f, f->bulk_socket, MSG_CHUNK);
    assert_int_equal(reply->chunk.size_bytes, content.size);
    assert_true(span_equal(reply->chunk.data, content));
    reply = hear(f, f->bulk_socket, MSG_LEAVES);
    assert_true(span_equal(reply->leaves.leaves, (struct span){leaf.v, sizeof leaf.v}));
    assert_int_equal(hear(f, f->bulk_socket, MSG_CHUNK)->chunk.error, ERR_NOT_FOUND);
}

static void test_server__requests_before_hello_and_hostile_frames_are_refused(void **state)
{
    struct fixture *f = *state;
    struct msg_jobs_get get = {.ticket = 6};
    say(f, f->control_socket, MSG_JOBS_GET, &get);
    const struct msg_status *status = &hear(f, f->control_socket, MSG_STATUS)->status;
    assert_int_equal(status->error, ERR_STATE);
    assert_int_equal(status->ticket, 6);
    const uint8_t hostile[] = {0xdd, 0xff, 0xff, 0xff, 0xff};
    for (size_t size = 1; size <= sizeof hostile; size++) {
        struct span frame = {hostile, size};
        assert_int_equal(transport_send(f->control_socket, NULL, frame), ERR_OK);
    }
    assert_int_equal(hello(f, PEER_CLIENT)->error, 0);
}

static void test_server__a_bad_recipe_and_an_unknown_job_are_answered_in_words(void **state)
{
    struct fixture *f = *state;
    (void)hello(f, PEER_CLIENT);
    struct msg_submit message = {.ticket = 5, .recipe = span_of_text(TEXT("x: ["))};
    say(f, f->control_socket, MSG_SUBMIT, &message);
    assert_int_equal(hear(f, f->control_socket, MSG_STATUS)->status.error, ERR_RECIPE);
    struct msg_job_get get = {.ticket = 6, .prefix = TEXT("nowhere")};
    say(f, f->control_socket, MSG_JOB_GET, &get);
    const struct msg_status *status = &hear(f, f->control_socket, MSG_STATUS)->status;
    assert_int_equal(status->error, ERR_NOT_FOUND);
    assert_true(status->detail.size > 10);
}

static void test_server__two_processes_never_share_a_folder(void **state)
{
    struct fixture *f = *state;
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
    assert_int_equal(hello(f, PEER_CLIENT)->error, 0);
}

static void test_server__stop_and_sigterm_end_it_with_0(void **state)
{
    struct fixture *f = *state;
    (void)hello(f, PEER_CLIENT);
    struct msg_stop message = {.ticket = 8};
    say(f, f->control_socket, MSG_STOP, &message);
    assert_int_equal(hear(f, f->control_socket, MSG_STATUS)->status.error, ERR_OK);
    assert_int_equal(stop(f, 0), 0);
    start(f);
    assert_int_equal(stop(f, SIGTERM), 0);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_server__missing_inputs_are_named_put_and_then_the_job_is_there),
        TEST(test_server__an_input_may_be_a_path_that_it_reads_itself),
        TEST(test_server__a_submitted_job_survives_kill),
        TEST(test_server__a_worker_is_given_the_first_task),
        TEST(test_server__artifacts_come_back_in_chunks_with_leaves),
        TEST(test_server__requests_before_hello_and_hostile_frames_are_refused),
        TEST(test_server__a_bad_recipe_and_an_unknown_job_are_answered_in_words),
        TEST(test_server__two_processes_never_share_a_folder),
        TEST(test_server__stop_and_sigterm_end_it_with_0),
    };
    if (transport_startup() != ERR_OK)
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    transport_shutdown();
    return failed;
}
