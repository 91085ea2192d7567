/* local_fleet.c - posix_spawn, waitpid, and folders. */
#include "cli/command/local_fleet.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/base/check.h"
#include "common/formats/source/folder.h"

enum {
    ARGUMENTS_MAX = 24,
    PARENT_FD = 3,
    LOG_TAIL_BYTES = 600,
    QUICK_DEATH_MS = 2000,
    FULL_BYTES_FREE = 64 << 10
};

/* Arguments of one child, printed into one buffer. */
struct arguments {
    char text[8 * LOCAL_FLEET_PATH_BYTES];
    size_t used;
    char *list[ARGUMENTS_MAX + 1];
    size_t count;
};

static void add(struct arguments *arguments, const char *format, ...) PRINTF(2, 3);
static void add(struct arguments *arguments, const char *format, ...)
{
    va_list args;
    char *start = arguments->text + arguments->used;
    size_t left = sizeof arguments->text - arguments->used;
    va_start(args, format);
    int size = vsnprintf(start, left, format, args);
    va_end(args);
    ASSERT(size >= 0 && (size_t)size < left && arguments->count < ARGUMENTS_MAX);
    arguments->used += (size_t)size + 1;
    arguments->list[arguments->count++] = start;
    arguments->list[arguments->count] = NULL;
}

static void describe(const struct local_fleet *fleet, size_t index, struct arguments *arguments)
{
    const struct local_fleet_options *options = &fleet->options;
    if (index == 0) {
        add(arguments, "%s/qfleet-coordinator", fleet->programs);
        add(arguments, "--embedded");
        add(arguments, "--data");
        add(arguments, "%s", fleet->data);
        add(arguments, "--control");
        add(arguments, "%s", fleet->control);
        add(arguments, "--bulk");
        add(arguments, "%s", fleet->bulk);
    } else {
        add(arguments, "%s/qfleet-worker", fleet->programs);
        add(arguments, "--coordinator");
        add(arguments, "%s", fleet->control);
        add(arguments, "--name");
        add(arguments, "%s", fleet->children[index].name);
        add(arguments, "--threads");
        add(arguments, "%" PRIu64, options->threads);
        add(arguments, "--cache");
        add(arguments, "%s/%s", fleet->data, fleet->children[index].name);
        if (options->memory_bytes > 0) {
            add(arguments, "--memory");
            add(arguments, "%" PRIu64, options->memory_bytes);
        }
        if (options->isa != NULL) {
            add(arguments, "--isa");
            add(arguments, "%s", options->isa);
        }
    }
    add(arguments, "--parent-fd");
    add(arguments, "%d", PARENT_FD);
}

static void path_of(const struct local_fleet *fleet, const struct local_fleet_child *child,
                    const char *suffix, char out[LOCAL_FLEET_PATH_BYTES + 64])
{
    (void)snprintf(out, LOCAL_FLEET_PATH_BYTES + 64, "%s/%s.%s", fleet->data, child->name, suffix);
}

static void write_pid(const struct local_fleet *fleet, const struct local_fleet_child *child)
{
    char path[LOCAL_FLEET_PATH_BYTES + 64];
    path_of(fleet, child, "pid", path);
    FILE *file = fopen(path, "w");
    if (file == NULL)
        return;
    (void)fprintf(file, "%ld\n", (long)child->pid);
    (void)fclose(file);
}

static int prepare_files(const struct local_fleet *fleet, const struct local_fleet_child *child,
                         posix_spawn_file_actions_t *actions)
{
    char log[LOCAL_FLEET_PATH_BYTES + 64];
    path_of(fleet, child, "log", log);
    int flags = O_WRONLY | O_CREAT | O_APPEND;
    int failed = posix_spawn_file_actions_addopen(actions, 0, "/dev/null", O_RDONLY, 0);
    if (failed == 0)
        failed = posix_spawn_file_actions_addopen(actions, 1, log, flags, 0600);
    if (failed == 0)
        failed = posix_spawn_file_actions_adddup2(actions, 1, 2);
    if (failed == 0)
        failed = posix_spawn_file_actions_adddup2(actions, fleet->alive[0], PARENT_FD);
    return failed;
}

static int prepare_signals(posix_spawnattr_t *attributes)
{
    sigset_t none, usual;
    (void)sigemptyset(&none);
    (void)sigemptyset(&usual);
    (void)sigaddset(&usual, SIGINT);
    (void)sigaddset(&usual, SIGTERM);
    (void)sigaddset(&usual, SIGPIPE);
    (void)sigaddset(&usual, SIGCHLD);
    int failed = posix_spawnattr_setsigmask(attributes, &none);
    if (failed == 0)
        failed = posix_spawnattr_setsigdefault(attributes, &usual);
    if (failed == 0)
        failed = posix_spawnattr_setpgroup(attributes, 0);
    if (failed == 0)
        failed = posix_spawnattr_setflags(
            attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    return failed;
}

extern char **environ;

static enum err start(struct local_fleet *fleet, size_t index, uint64_t now_ms, struct err_text *et)
{
    struct local_fleet_child *child = &fleet->children[index];
    struct arguments arguments = {.used = 0};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    describe(fleet, index, &arguments);
    int failed = posix_spawn_file_actions_init(&actions);
    if (failed != 0)
        return error_set(et, ERR_OUT_OF_MEMORY, "%s: %s", arguments.list[0], strerror(failed));
    failed = posix_spawnattr_init(&attributes);
    if (failed == 0) {
        failed = prepare_files(fleet, child, &actions);
        if (failed == 0)
            failed = prepare_signals(&attributes);
        if (failed == 0)
            failed = posix_spawn(&child->pid, arguments.list[0], &actions, &attributes,
                                 arguments.list, environ);
        (void)posix_spawnattr_destroy(&attributes);
    }
    (void)posix_spawn_file_actions_destroy(&actions);
    if (failed != 0) {
        child->pid = 0;
        return error_set(et, error_from_errno(failed), "cannot start %s: %s", arguments.list[0],
                         strerror(failed));
    }
    child->started_ms = now_ms;
    write_pid(fleet, child);
    return ERR_OK;
}

static enum err find_programs(struct local_fleet *fleet, struct err_text *et)
{
    ssize_t size = readlink("/proc/self/exe", fleet->programs, sizeof fleet->programs - 1);
    if (size <= 0)
        return error_set(et, ERR_IO, "/proc/self/exe: %s", strerror(errno));
    fleet->programs[size] = '\0';
    char *slash = strrchr(fleet->programs, '/');
    ASSERT(slash != NULL);
    *slash = '\0';
    return ERR_OK;
}

static enum err make_temporary(const char *parent, char out[LOCAL_FLEET_PATH_BYTES],
                               struct err_text *et)
{
    (void)snprintf(out, LOCAL_FLEET_PATH_BYTES, "%s/qfleet-XXXXXX", parent);
    if (mkdtemp(out) == NULL) {
        enum err err = error_from_errno(errno);
        (void)error_set(et, err, "%s: cannot make a folder: %s", out, strerror(errno));
        out[0] = '\0';
        return err;
    }
    return ERR_OK;
}

static enum err make_data(struct local_fleet *fleet, struct err_text *et)
{
    const struct local_fleet_options *options = &fleet->options;
    if (options->data == NULL) {
        (void)snprintf(fleet->data, sizeof fleet->data, "%s", fleet->sockets);
        return ERR_OK;
    }
    struct stat status;
    TRY(folder_create(options->data, et));
    if (realpath(options->data, fleet->data) == NULL)
        return error_set(et, error_from_errno(errno), "%s: %s", options->data, strerror(errno));
    if (stat(fleet->data, &status) == 0 && (status.st_mode & 077) != 0 &&
        chmod(fleet->data, 0700) != 0)
        return error_set(et, ERR_DENIED, "%s: expected a folder of our own: %s", fleet->data,
                         strerror(errno));
    return ERR_OK;
}

static enum err make_folders(struct local_fleet *fleet, struct err_text *et)
{
    const char *parent = fleet->options.temporary != NULL ? fleet->options.temporary : "/tmp";
    TRY(find_programs(fleet, et));
    TRY(make_temporary(parent, fleet->sockets, et));
    int control =
        snprintf(fleet->control, sizeof fleet->control, "ipc://%s/control.sock", fleet->sockets);
    int bulk = snprintf(fleet->bulk, sizeof fleet->bulk, "ipc://%s/bulk.sock", fleet->sockets);
    if (control >= (int)sizeof fleet->control || bulk >= (int)sizeof fleet->bulk ||
        strlen(fleet->sockets) > 80)
        return error_set(et, ERR_USAGE, "%s: too long for the path of a socket; set TMPDIR",
                         fleet->sockets);
    TRY(make_data(fleet, et));
    if (pipe(fleet->alive) != 0) {
        fleet->alive[0] = fleet->alive[1] = -1;
        return error_set(et, ERR_IO, "pipe: %s", strerror(errno));
    }
    /* Above the numbers that children give their files, so that a dup2 never meets it. */
    for (size_t i = 0; i < 2; i++) {
        int moved = fcntl(fleet->alive[i], F_DUPFD_CLOEXEC, 10);
        if (moved < 0)
            return error_set(et, ERR_IO, "pipe: %s", strerror(errno));
        (void)close(fleet->alive[i]);
        fleet->alive[i] = moved;
    }
    return ERR_OK;
}

static uint64_t now(void)
{
    struct timespec time_now;
    (void)clock_gettime(CLOCK_MONOTONIC, &time_now);
    return (uint64_t)time_now.tv_sec * 1000 + (uint64_t)time_now.tv_nsec / 1000000;
}

static void pause_ms(long ms)
{
    const struct timespec time_span = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    (void)nanosleep(&time_span, NULL);
}

enum err local_fleet_open(struct local_fleet *fleet, const struct local_fleet_options *options,
                          struct err_text *et)
{
    ASSERT(options->workers <= LOCAL_FLEET_WORKERS_MAX);
    *fleet = (struct local_fleet){.options = *options, .alive = {-1, -1}};
    enum err err;
    TRY_OUT(make_folders(fleet, et));
    for (size_t i = 0; i <= options->workers; i++) {
        struct local_fleet_child *child = &fleet->children[i];
        if (i == 0)
            (void)snprintf(child->name, sizeof child->name, "coordinator");
        else
            (void)snprintf(child->name, sizeof child->name, "worker-%zu", i);
        fleet->child_count = i + 1;
        TRY_OUT(start(fleet, i, now(), et));
    }
    return ERR_OK;
out:
    local_fleet_close(fleet, 0);
    return err;
}

static void remove_pid(const struct local_fleet *fleet, const struct local_fleet_child *child)
{
    char path[LOCAL_FLEET_PATH_BYTES + 64];
    path_of(fleet, child, "pid", path);
    (void)unlink(path);
}

bool local_fleet_runs(struct local_fleet *fleet)
{
    bool any = false;
    for (size_t i = 0; i < fleet->child_count; i++) {
        struct local_fleet_child *child = &fleet->children[i];
        if (child->pid != 0 && waitpid(child->pid, &child->status, WNOHANG) == child->pid) {
            child->pid = 0;
            remove_pid(fleet, child);
        }
        any = any || child->pid != 0;
    }
    return any;
}

/* Without room its log has no last lines, and that is why it ended. */
static bool is_full(const char *folder)
{
    struct statvfs fs;
    return statvfs(folder, &fs) == 0 && (uint64_t)fs.f_bavail * fs.f_frsize < FULL_BYTES_FREE;
}

/* The last lines of a child's log. */
static void read_tail(const struct local_fleet *fleet, const struct local_fleet_child *child,
                      char out[LOG_TAIL_BYTES + 1])
{
    char path[LOCAL_FLEET_PATH_BYTES + 64];
    path_of(fleet, child, "log", path);
    out[0] = '\0';
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return;
    if (fseek(file, -LOG_TAIL_BYTES, SEEK_END) != 0)
        rewind(file);
    size_t size = fread(out, 1, LOG_TAIL_BYTES, file);
    (void)fclose(file);
    while (size > 0 && out[size - 1] == '\n')
        size--;
    out[size] = '\0';
}

static void print_end(int status, char *out, size_t out_bytes)
{
    if (WIFSIGNALED(status))
        (void)snprintf(out, out_bytes, "killed by signal %d", WTERMSIG(status));
    else
        (void)snprintf(out, out_bytes, "exit code %d", WEXITSTATUS(status));
}

enum err local_fleet_check(struct local_fleet *fleet, uint64_t now_ms, struct err_text *said,
                           struct err_text *et)
{
    said->text[0] = '\0';
    (void)local_fleet_runs(fleet);
    for (size_t i = 0; i < fleet->child_count; i++) {
        struct local_fleet_child *child = &fleet->children[i];
        if (child->pid != 0)
            continue;
        char end[64];
        print_end(child->status, end, sizeof end);
        /* One that ends by itself right after its start will do so again. */
        bool hopeless = !WIFSIGNALED(child->status) && now_ms - child->started_ms < QUICK_DEATH_MS;
        if (hopeless || child->restarts >= fleet->options.restarts_max) {
            char tail[LOG_TAIL_BYTES + 1];
            read_tail(fleet, child, tail);
            if (is_full(fleet->data))
                return error_set(et, ERR_DISK_FULL, "%s: %s; %s: the disk is full%s%s", child->name,
                                 end, fleet->data, tail[0] != '\0' ? "; it said:\n" : "", tail);
            return error_set(et, ERR_LOST, "%s: %s%s%s", child->name, end,
                             tail[0] != '\0' ? "; it said:\n" : "", tail);
        }
        child->restarts++;
        TRY(start(fleet, i, now_ms, et));
        (void)error_set(said, ERR_OK, "%s: %s, started again", child->name, end);
    }
    return ERR_OK;
}

static void signal_all(const struct local_fleet *fleet, int number)
{
    for (size_t i = 0; i < fleet->child_count; i++) {
        if (fleet->children[i].pid != 0)
            (void)kill(fleet->children[i].pid, number);
    }
}

/* Removes a folder of ours and what is in it, without following links. */
static void remove_folder(const char *path)
{
    char stack[16][LOCAL_FLEET_PATH_BYTES];
    size_t depth = 1;
    (void)snprintf(stack[0], sizeof stack[0], "%s", path);
    while (depth > 0) {
        DIR *folder = opendir(stack[depth - 1]);
        bool descended = false;
        struct dirent *entry;
        while (folder != NULL && !descended && (entry = readdir(folder)) != NULL) {
            char inner[LOCAL_FLEET_PATH_BYTES];
            struct stat status;
            if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
                continue;
            int size = snprintf(inner, sizeof inner, "%s/%s", stack[depth - 1], entry->d_name);
            if (size < 0 || (size_t)size >= sizeof inner || lstat(inner, &status) != 0)
                continue;
            if (!S_ISDIR(status.st_mode)) {
                (void)unlink(inner);
            } else if (rmdir(inner) != 0 && errno == ENOTEMPTY && depth < COUNT_OF(stack)) {
                memcpy(stack[depth++], inner, (size_t)size + 1);
                descended = true;
            }
        }
        if (folder != NULL)
            (void)closedir(folder);
        if (!descended)
            (void)rmdir(stack[--depth]);
    }
}

void local_fleet_close(struct local_fleet *fleet, uint32_t grace_ms)
{
    uint64_t deadline_ms = now() + grace_ms;
    if (grace_ms > 0)
        signal_all(fleet, SIGTERM);
    while (local_fleet_runs(fleet) && now() < deadline_ms)
        pause_ms(20);
    while (local_fleet_runs(fleet)) {
        signal_all(fleet, SIGKILL);
        pause_ms(5);
    }
    for (size_t i = 0; i < 2; i++) {
        if (fleet->alive[i] >= 0)
            (void)close(fleet->alive[i]);
        fleet->alive[i] = -1;
    }
    bool temporary_data = fleet->options.data == NULL;
    if (fleet->sockets[0] != '\0' && !(temporary_data && fleet->options.keep))
        remove_folder(fleet->sockets);
    fleet->child_count = 0;
}
