/* server_command.c - see server_command.h.
 *
 *   spawned ──exit──▶ its pipes are read to their end, for a moment ──▶ the group is killed,
 *       │                                                                 handles close ──▶ done
 *       └──time is up, or it writes too much──▶ the group is killed ──exit──▶ ...
 *
 * A number is not given to another process while it names a group that still has one in it.
 */
#include "coordinator/loop/server_command.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/check.h"
#include "common/mem/bytes.h"
#include "common/mem/mem.h"

enum {
    OUTPUT_BYTES_MAX = 4 << 20,
    WORDS_BYTES_MAX = 16 << 10, /* of its standard error: the end is kept */
    READ_BYTES = 4096,
    LAST_MS = 500, /* after its end, for what a child of its own still writes */
    DETAIL_BYTES = 512,
    PATH_BYTES = 4096,
};

struct server_command {
    uv_process_t process;
    uv_pipe_t input, output, words;
    uv_timer_t timer;
    uv_write_t write;
    int pid;       /* and of its group */
    unsigned open; /* handles that are not closed */
    uint32_t timeout_ms;
    bool has_input;
    bool has_ended;
    int64_t status;
    int signal_number;
    enum err err;
    struct bytes out, said; /* owned */
    char buffer[READ_BYTES];
    server_command_f done;
    void *context;
};

void server_command_last_line(struct text text, char *out, size_t size)
{
    size_t end = text.size;
    while (end > 0 && (unsigned char)text.data[end - 1] <= ' ')
        end--;
    size_t begin = end;
    while (begin > 0 && text.data[begin - 1] != '\n')
        begin--;
    size_t count = MIN(end - begin, size - 1);
    for (size_t i = 0; i < count; i++) {
        char c = text.data[begin + i];
        out[i] = c >= ' ' && c < 127 ? c : '?';
    }
    out[count] = '\0';
}

static bool is_program(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 && S_ISREG(status.st_mode) && access(path, X_OK) == 0;
}

bool server_command_exists(const char *program, const char *search_path)
{
    char path[PATH_BYTES];
    if (strchr(program, '/') != NULL)
        return is_program(program);
    if (search_path == NULL)
        return true;
    for (const char *folder = search_path;; folder++) {
        size_t size = strcspn(folder, ":");
        int written = snprintf(path, sizeof path, "%.*s%s%s", (int)MIN(size, sizeof path), folder,
                               size == 0 ? "" : "/", program); /* none is the one we are in */
        if (written > 0 && (size_t)written < sizeof path && is_program(path))
            return true;
        folder += size;
        if (*folder == '\0')
            return false;
    }
}

static struct text text_in(const struct bytes *bytes)
{
    return (struct text){(const char *)bytes->data, bytes->size};
}

static void describe(const struct server_command *c, char *out, size_t size)
{
    char words[DETAIL_BYTES];
    server_command_last_line(text_in(&c->said), words, sizeof words);
    if (c->err == ERR_TIMEOUT)
        (void)snprintf(out, size, "no answer within %u s%s%s", (unsigned)(c->timeout_ms / 1000),
                       words[0] != '\0' ? ": " : "", words);
    else if (c->err == ERR_LIMIT)
        (void)snprintf(out, size, "its output is larger than %d bytes", OUTPUT_BYTES_MAX);
    else if (words[0] != '\0')
        (void)snprintf(out, size, "%s", words);
    else if (c->signal_number != 0)
        (void)snprintf(out, size, "killed by signal %d", c->signal_number);
    else
        (void)snprintf(out, size, "exit code %lld", (long long)c->status);
}

static void release(struct server_command *c)
{
    bytes_fini(&c->out);
    bytes_fini(&c->said);
    mem_free(c);
}

static void finish(struct server_command *c)
{
    char detail[DETAIL_BYTES + 64] = "";
    if (c->err == ERR_OK && (c->status != 0 || c->signal_number != 0))
        c->err = ERR_IO;
    if (c->err == ERR_OK)
        c->err = bytes_status(&c->out);
    if (c->err != ERR_OK)
        describe(c, detail, sizeof detail);
    const struct server_command_result result = {
        .err = c->err, .output = text_in(&c->out), .detail = text_of(detail)};
    c->done(c->context, &result);
    release(c);
}

static void on_closed(uv_handle_t *handle)
{
    struct server_command *c = handle->data;
    if (--c->open == 0)
        finish(c);
}

static void shut(uv_handle_t *handle)
{
    if (!uv_is_closing(handle))
        uv_close(handle, on_closed);
}

static void kill_group(const struct server_command *c)
{
    (void)kill(-c->pid, SIGKILL);
}

static void shut_all(struct server_command *c)
{
    kill_group(c);
    shut((uv_handle_t *)&c->process);
    shut((uv_handle_t *)&c->input);
    shut((uv_handle_t *)&c->output);
    shut((uv_handle_t *)&c->words);
    shut((uv_handle_t *)&c->timer);
}

static void end_group(struct server_command *c, enum err why)
{
    if (c->has_ended || c->err != ERR_OK)
        return;
    c->err = why;
    kill_group(c);
}

static void on_timer(uv_timer_t *timer)
{
    struct server_command *c = timer->data;
    if (c->has_ended)
        shut_all(c);
    else
        end_group(c, ERR_TIMEOUT);
}

static void shut_when_over(struct server_command *c)
{
    if (c->has_ended && uv_is_closing((uv_handle_t *)&c->output) &&
        uv_is_closing((uv_handle_t *)&c->words))
        shut_all(c);
}

static void on_exit_of(uv_process_t *process, int64_t status, int signal_number)
{
    struct server_command *c = process->data;
    c->has_ended = true;
    c->status = status;
    c->signal_number = signal_number;
    if (!uv_is_closing((uv_handle_t *)&c->timer))
        (void)uv_timer_start(&c->timer, on_timer, LAST_MS, 0);
    shut_when_over(c);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    struct server_command *c = handle->data;
    (void)suggested;
    *buffer = uv_buf_init(c->buffer, sizeof c->buffer);
}

/* The end of what it says counts, so the first half makes room. */
static void keep_end(struct bytes *bytes, const char *data, size_t size)
{
    if (bytes->size + size > WORDS_BYTES_MAX) {
        size_t dropped = bytes->size / 2;
        memmove(bytes->data, bytes->data + dropped, bytes->size - dropped);
        bytes->size -= dropped;
    }
    bytes_append(bytes, data, size);
}

static void on_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *buffer)
{
    struct server_command *c = stream->data;
    bool is_output = stream == (uv_stream_t *)&c->output;
    if (size < 0) {
        shut((uv_handle_t *)stream);
        shut_when_over(c);
        return;
    }
    if (!is_output) {
        keep_end(&c->said, buffer->base, (size_t)size);
        return;
    }
    if (c->out.size + (size_t)size > OUTPUT_BYTES_MAX)
        end_group(c, ERR_LIMIT);
    else
        bytes_append(&c->out, buffer->base, (size_t)size);
}

static void on_written(uv_write_t *write, int status)
{
    struct server_command *c = write->data;
    (void)status; /* a program that does not read its input says so by its exit code */
    shut((uv_handle_t *)&c->input);
}

static int spawn(struct server_command *c, uv_loop_t *loop, const struct provider_command *command)
{
    uv_stdio_container_t stdio[3] = {{.flags = UV_IGNORE},
                                     {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE},
                                     {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE}};
    if (c->has_input) {
        stdio[0].flags = UV_CREATE_PIPE | UV_READABLE_PIPE;
        stdio[0].data.stream = (uv_stream_t *)&c->input;
    }
    stdio[1].data.stream = (uv_stream_t *)&c->output;
    stdio[2].data.stream = (uv_stream_t *)&c->words;
    const uv_process_options_t options = {
        .exit_cb = on_exit_of,
        .file = command->argv[0],
        .args = (char **)(uintptr_t)command->argv, /* libuv only reads them */
        .flags = UV_PROCESS_DETACHED,
        .stdio_count = 3,
        .stdio = stdio,
    };
    return uv_spawn(loop, &c->process, &options);
}

/* Handles that uv_spawn did not make are made, so that all five close alike. */
static void init_handles(struct server_command *c, uv_loop_t *loop)
{
    ASSERT(uv_pipe_init(loop, &c->input, 0) == 0);
    ASSERT(uv_pipe_init(loop, &c->output, 0) == 0);
    ASSERT(uv_pipe_init(loop, &c->words, 0) == 0);
    ASSERT(uv_timer_init(loop, &c->timer) == 0);
    c->process.data = c->input.data = c->output.data = c->words.data = c->timer.data = c;
    c->write.data = c;
    c->open = 5;
}

static void on_never_closed(uv_handle_t *handle)
{
    struct server_command *c = handle->data;
    if (--c->open == 0)
        release(c);
}

static enum err give_up(struct server_command *c, const char *program, int rc, struct err_text *et)
{
    uv_handle_t *handles[] = {(uv_handle_t *)&c->process, (uv_handle_t *)&c->input,
                              (uv_handle_t *)&c->output, (uv_handle_t *)&c->words,
                              (uv_handle_t *)&c->timer};
    enum err err = error_set(et, ERR_IO, "%s: %s", program, uv_strerror(rc));
    for (size_t i = 0; i < COUNT_OF(handles); i++)
        uv_close(handles[i], on_never_closed);
    return err;
}

enum err server_command_start(uv_loop_t *loop, const struct provider_command *command,
                              server_command_f done, void *context, struct server_command **out,
                              struct err_text *et)
{
    struct server_command *c = mem_alloc(1, sizeof *c);
    if (c == NULL)
        return ERR_OUT_OF_MEMORY;
    c->done = done;
    c->context = context;
    c->timeout_ms = command->timeout_ms;
    c->has_input = command->input.size > 0;
    bytes_init(&c->out, OUTPUT_BYTES_MAX);
    bytes_init(&c->said, WORDS_BYTES_MAX + READ_BYTES);
    init_handles(c, loop);
    int rc = spawn(c, loop, command);
    if (rc != 0)
        return give_up(c, command->argv[0], rc, et);
    c->pid = c->process.pid;
    (void)uv_read_start((uv_stream_t *)&c->output, on_alloc, on_read);
    (void)uv_read_start((uv_stream_t *)&c->words, on_alloc, on_read);
    (void)uv_timer_start(&c->timer, on_timer, command->timeout_ms, 0);
    uv_buf_t input =
        uv_buf_init((char *)(uintptr_t)command->input.data, (unsigned)command->input.size);
    if (!c->has_input || uv_write(&c->write, (uv_stream_t *)&c->input, &input, 1, on_written) != 0)
        shut((uv_handle_t *)&c->input);
    *out = c;
    return ERR_OK;
}

void server_command_destroy(struct server_command **command)
{
    if (*command == NULL)
        return;
    kill_group(*command);
    release(*command);
    *command = NULL;
}
