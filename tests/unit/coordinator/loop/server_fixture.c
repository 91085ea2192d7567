/* server_fixture.c - see server_fixture.h. */
#include "tests/unit/coordinator/loop/server_fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/recipe/recipe.h"
#include "common/wire/wire.h"

/* In the child: becomes the coordinator, which watches the other end of `alive`. */
static void become(struct server_fixture *f, int out, int alive)
{
    char number[16];
    char flag[] = "--parent-fd";
    size_t count = 0;
    while (f->arguments[count] != NULL)
        count++;
    (void)snprintf(number, sizeof number, "%d", alive);
    f->arguments[count] = flag;
    f->arguments[count + 1] = number;
    (void)dup2(out, 1);
    (void)execv(COORDINATOR_PATH, f->arguments);
    _exit(127);
}

void server_fixture_start(struct server_fixture *f)
{
    int out[2];
    int alive[2];
    char line[600] = "";
    assert_int_equal(pipe(out), 0);
    assert_int_equal(pipe(alive), 0);
    assert_int_equal(fcntl(out[0], F_SETFD, FD_CLOEXEC), 0);
    assert_int_equal(fcntl(alive[1], F_SETFD, FD_CLOEXEC), 0);
    f->pid = fork();
    assert_true(f->pid >= 0);
    if (f->pid == 0)
        become(f, out[1], alive[0]);
    (void)close(out[1]);
    (void)close(alive[0]);
    f->out = out[0];
    f->alive = alive[1];
    for (size_t at = 0; at + 1 < sizeof line && strchr(line, '\n') == NULL; at++)
        if (read(f->out, line + at, 1) != 1)
            fail_msg("the coordinator did not start: %s", line);
    if (sscanf(line, "ready control=%255s bulk=%255s", f->control, f->bulk) != 2)
        fail_msg("unexpected: %s", line);
}

int server_fixture_stop(struct server_fixture *f, int signal_number)
{
    int status;
    if (signal_number != 0)
        assert_int_equal(kill(f->pid, signal_number), 0);
    assert_int_equal(waitpid(f->pid, &status, 0), f->pid);
    (void)close(f->out);
    (void)close(f->alive);
    f->pid = 0;
    return status;
}

void server_fixture_join(struct server_fixture *f)
{
    struct err_text et = {""};
    struct transport_options options = {.frame_bytes_max = LIMIT_FRAME_BYTES};
    if (transport_connect(f->control, &options, &f->client_socket, &et) != ERR_OK ||
        transport_connect(f->control, &options, &f->worker_socket, &et) != ERR_OK ||
        transport_connect(f->bulk, &options, &f->bulk_socket, &et) != ERR_OK)
        fail_msg("%s", et.text);
}

void server_fixture_leave(struct server_fixture *f)
{
    transport_close(&f->client_socket);
    transport_close(&f->worker_socket);
    transport_close(&f->bulk_socket);
}

void server_fixture_say(struct server_fixture *f, struct transport *t, uint32_t number,
                        const void *message)
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

const union message_any *server_fixture_hear_any(struct server_fixture *f, struct transport *t,
                                                 int wait_ms, uint32_t *number)
{
    static union message_any message;
    struct transport_frame frame;
    const struct message_type *type;
    if (transport_receive(t, wait_ms, &frame) != ERR_OK)
        return NULL;
    arena_reset(&f->arena);
    assert_int_equal(wire_decode(frame.body, &f->arena, &type, &message), ERR_OK);
    *number = type->number;
    return &message;
}

const union message_any *server_fixture_hear(struct server_fixture *f, struct transport *t,
                                             uint32_t number)
{
    uint32_t found = 0;
    const union message_any *message = server_fixture_hear_any(f, t, FIXTURE_WAIT_MS, &found);
    if (message == NULL)
        fail_msg("no message %u came", number);
    if (found == MSG_STATUS && number != MSG_STATUS)
        fail_msg("status %u: %.*s", message->status.error, TEXT_ARGS(message->status.detail));
    if (found != number)
        fail_msg("message %u came, expected %u", found, number);
    return message;
}

const struct msg_welcome *server_fixture_hello(struct server_fixture *f, enum peer_role role)
{
    struct msg_hello message = {.protocol = MESSAGE_PROTOCOL,
                                .role = role,
                                .name = role == PEER_WORKER ? TEXT("w1") : TEXT("ada"),
                                .session = 1,
                                .threads = 1,
                                .memory_bytes = (uint64_t)8 << 30,
                                .isa = TEXT("portable"),
                                .profiles = TEXT("f32/1")};
    struct transport *t = role == PEER_WORKER ? f->worker_socket : f->client_socket;
    server_fixture_say(f, t, MSG_HELLO, &message);
    return &server_fixture_hear(f, t, MSG_WELCOME)->welcome;
}

static void make_inputs(struct server_fixture *f)
{
    static const char *const names[FIXTURE_INPUTS] = {"model/config.json",
                                                      "model/model.safetensors",
                                                      "model/tokenizer.json", "data/0/train.jsonl"};
    for (size_t i = 0; i < FIXTURE_INPUTS; i++) {
        (void)snprintf(f->contents[i], sizeof f->contents[i], "content of input %zu\n", i);
        struct span content = span_of_text(text_of(f->contents[i]));
        f->inputs[i] = (struct artifact_ref){.name = text_of(names[i]), .size_bytes = content.size};
        assert_int_equal(digest_of_artifact(content, &f->inputs[i].digest), ERR_OK);
    }
}

static void make_recipe(struct server_fixture *f)
{
    static const char text[] = "base_model: model\n"
                               "datasets: [{path: train.jsonl, type: completion}]\n"
                               "adapter: lora\n"
                               "lora_r: 8\n"
                               "lora_alpha: 16\n"
                               "lora_target_linear: true\n"
                               "learning_rate: 1e-3\n"
                               "max_steps: 12\n"
                               "micro_batch_size: 4\n"
                               "gradient_accumulation_steps: 2\n"
                               "warmup_steps: 3\n"
                               "save_steps: 3\n"
                               "val_set_size: 0.2\n";
    struct recipe recipe;
    struct err_text et = {""};
    struct recipe_options options = {.file_name = "t.yml"};
    if (recipe_read(span_of_text(text_of(text)), &options, &recipe, &et) != ERR_OK)
        fail_msg("%s", et.text);
    recipe_write(&recipe, &f->recipe);
    recipe_fini(&recipe);
    assert_int_equal(bytes_status(&f->recipe), ERR_OK);
}

struct server_fixture *server_fixture_create(void)
{
    static char program[] = COORDINATOR_PATH;
    static char words[][16] = {"--data", "--map-size", "1", "--disk-floor", "1", "--embedded"};
    struct server_fixture *f = test_calloc(1, sizeof *f);
    (void)snprintf(f->folder, sizeof f->folder, "/tmp/qfleet-server-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    char *arguments[] = {program,  words[0], f->folder, words[1],
                         words[2], words[3], words[4],  words[5]};
    memcpy(f->arguments, arguments, sizeof arguments);
    arena_init(&f->arena, WIRE_ARENA_BYTES);
    bytes_init(&f->frame, LIMIT_FRAME_BYTES);
    bytes_init(&f->recipe, LIMIT_RECIPE_BYTES);
    make_inputs(f);
    make_recipe(f);
    return f;
}

int server_fixture_set_up(void **state)
{
    struct server_fixture *f = server_fixture_create();
    server_fixture_start(f);
    server_fixture_join(f);
    *state = f;
    return 0;
}

int server_fixture_tear_down(void **state)
{
    struct server_fixture *f = *state;
    char command[128];
    server_fixture_leave(f);
    if (f->pid != 0)
        (void)server_fixture_stop(f, SIGKILL);
    (void)snprintf(command, sizeof command, "rm -r %s", f->folder);
    arena_fini(&f->arena);
    bytes_fini(&f->frame);
    bytes_fini(&f->recipe);
    test_free(f);
    return system(command);
}

const struct msg_submitted *server_fixture_submit(struct server_fixture *f, uint64_t request)
{
    struct msg_submit message = {.ticket = 5,
                                 .request = request,
                                 .name = TEXT("first"),
                                 .recipe = bytes_span(&f->recipe),
                                 .inputs = f->inputs,
                                 .inputs_count = FIXTURE_INPUTS};
    server_fixture_say(f, f->client_socket, MSG_SUBMIT, &message);
    const struct msg_submitted *reply =
        &server_fixture_hear(f, f->client_socket, MSG_SUBMITTED)->submitted;
    assert_int_equal(reply->ticket, 5);
    return reply;
}

bool server_fixture_put(struct server_fixture *f, struct digest digest, struct span content,
                        bool ephemeral)
{
    struct transport *t = f->bulk_socket;
    struct msg_put_begin begin = {1, digest, content.size, ephemeral};
    struct msg_put_chunk chunk = {2, digest, 0, content};
    struct msg_put_end end = {3, digest};
    assert_true(content.size <= DIGEST_CHUNK_BYTES);
    server_fixture_say(f, t, MSG_PUT_BEGIN, &begin);
    struct msg_put_reply reply = server_fixture_hear(f, t, MSG_PUT_REPLY)->put_reply;
    assert_int_equal(reply.ticket, 1);
    assert_int_equal(reply.error, ERR_OK);
    if (reply.present)
        return true;
    if (content.size > 0) {
        server_fixture_say(f, t, MSG_PUT_CHUNK, &chunk);
        assert_int_equal(server_fixture_hear(f, t, MSG_PUT_REPLY)->put_reply.error, ERR_OK);
    }
    server_fixture_say(f, t, MSG_PUT_END, &end);
    reply = server_fixture_hear(f, t, MSG_PUT_REPLY)->put_reply;
    assert_int_equal(reply.error, ERR_OK);
    assert_true(reply.present);
    return false;
}

uint64_t server_fixture_submit_all(struct server_fixture *f, uint64_t request)
{
    for (size_t i = 0; i < FIXTURE_INPUTS; i++)
        (void)server_fixture_put(f, f->inputs[i].digest, span_of_text(text_of(f->contents[i])),
                                 false);
    const struct msg_submitted *reply = server_fixture_submit(f, request);
    assert_int_equal(reply->missing_count, 0);
    assert_true(reply->job != 0);
    return reply->job;
}
