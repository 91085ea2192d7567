/* server_child.c - see server_child.h. */
#include "coordinator/loop/server_child.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/check.h"
#include "common/ds/container.h"
#include "common/ds/list.h"
#include "common/mem/mem.h"
#include "coordinator/loop/server.h"
#include "coordinator/loop/server_command.h"

enum {
    FAILURES_MAX = 64,
    LOG_BYTES_MAX = 4 << 20, /* of a log that is larger the end is kept */
    LOG_BYTES_KEPT = 16 << 10,
    TAIL_BYTES = 512,
    PATH_BYTES = 4096 + 300
};

struct entry {
    struct list_node node;
    uv_process_t process;
    struct server_child_set *set; /* borrowed */
    struct server_child child;
    off_t log_begin; /* what stands before is of an earlier worker of this name */
    bool was_told;   /* to go */
};

struct failure {
    char host[PROVIDER_DETAIL_BYTES + 1];
    uint64_t at_ns;
};

struct server_child_set {
    uv_loop_t *loop;
    const char *data_folder; /* borrowed */
    server_child_end_f end;
    void *context;
    struct list entries;
    struct failure failures[FAILURES_MAX]; /* a ring */
    size_t failure_count;
};

enum err server_child_create(uv_loop_t *loop, const char *data_folder, server_child_end_f end,
                             void *context, struct server_child_set **out)
{
    struct server_child_set *set = mem_alloc(1, sizeof *set);
    if (set == NULL)
        return ERR_OUT_OF_MEMORY;
    set->loop = loop;
    set->data_folder = data_folder;
    set->end = end;
    set->context = context;
    list_init(&set->entries);
    *out = set;
    return ERR_OK;
}

void server_child_destroy(struct server_child_set **set)
{
    if (*set == NULL)
        return;
    for (struct list_node *n; (n = list_first(&(*set)->entries)) != NULL;) {
        list_remove(n);
        mem_free(CONTAINER_OF(n, struct entry, node));
    }
    mem_free(*set);
    *set = NULL;
}

static void log_path(const struct server_child_set *set, const char *name, char *out, size_t size)
{
    (void)snprintf(out, size, "%s/workers/%s.log", set->data_folder, name);
}

/* The last line that it wrote, "" when there is none. */
static void read_last_line(const struct entry *entry, char *out, size_t size)
{
    char path[PATH_BYTES], tail[TAIL_BYTES];
    log_path(entry->set, entry->child.name, path, sizeof path);
    out[0] = '\0';
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    off_t end = lseek(fd, 0, SEEK_END);
    off_t begin = entry->log_begin <= end ? entry->log_begin : 0; /* it may have been cut */
    begin = MAX(end - TAIL_BYTES, begin);
    ssize_t got = end > begin ? pread(fd, tail, sizeof tail, begin) : 0;
    if (got > 0)
        server_command_last_line((struct text){tail, (size_t)got}, out, size);
    (void)close(fd);
}

static void note_failure(struct server_child_set *set, const char *host)
{
    struct failure *failure = &set->failures[set->failure_count++ % FAILURES_MAX];
    (void)snprintf(failure->host, sizeof failure->host, "%s", host);
    failure->at_ns = server_now().ns;
}

static void on_closed(uv_handle_t *handle)
{
    mem_free(handle->data);
}

static void on_end(uv_process_t *process, int64_t status, int signal_number)
{
    struct entry *entry = process->data;
    struct server_child_set *set = entry->set;
    bool has_failed = status != 0 || signal_number != 0;
    char last[TAIL_BYTES], how[64] = "", detail[TAIL_BYTES + 64];
    read_last_line(entry, last, sizeof last);
    if (signal_number != 0)
        (void)snprintf(how, sizeof how, "killed by signal %d", signal_number);
    else if (status != 0)
        (void)snprintf(how, sizeof how, "exit code %d", (int)status);
    (void)snprintf(detail, sizeof detail, "%s%s%s", how, has_failed && last[0] != '\0' ? ": " : "",
                   has_failed ? last : "");
    if (has_failed) {
        note_failure(set, entry->child.host);
        server_log("worker %s ended: %s", entry->child.name, detail);
    }
    list_remove(&entry->node);
    set->end(set->context, &entry->child, has_failed, detail);
    uv_close((uv_handle_t *)process, on_closed);
}

/* The worker appends wherever the end is; what it writes at this moment may be lost. */
static void cut_log(int fd)
{
    char last[LOG_BYTES_KEPT];
    struct stat status;
    if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode) || status.st_size <= LOG_BYTES_MAX)
        return;
    ssize_t got = pread(fd, last, sizeof last, status.st_size - LOG_BYTES_KEPT);
    if (ftruncate(fd, 0) == 0 && got > 0)
        (void)!write(fd, last, (size_t)got);
}

void server_child_bound_logs(const struct server_child_set *set)
{
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s/workers", set->data_folder);
    DIR *folder = opendir(path);
    if (folder == NULL)
        return;
    for (const struct dirent *row; (row = readdir(folder)) != NULL;) {
        size_t size = strlen(row->d_name);
        if (size < 4 || strcmp(row->d_name + size - 4, ".log") != 0)
            continue;
        int fd = openat(dirfd(folder), row->d_name,
                        O_RDWR | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (fd < 0)
            continue;
        cut_log(fd);
        (void)close(fd);
    }
    (void)closedir(folder);
}

static enum err open_log(const struct server_child_set *set, const char *name, int *out,
                         off_t *begin, struct err_text *et)
{
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s/workers", set->data_folder);
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return error_set(et, error_from_errno(errno), "%s: %s", path, strerror(errno));
    log_path(set, name, path, sizeof path);
    int fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_set(et, error_from_errno(errno), "%s: %s", path, strerror(errno));
    cut_log(fd);
    *begin = lseek(fd, 0, SEEK_END);
    *out = fd;
    return ERR_OK;
}

static int spawn(struct entry *entry, uv_loop_t *loop, const struct provider_command *command,
                 int log_fd)
{
    uv_stdio_container_t stdio[3] = {{.flags = UV_IGNORE},
                                     {.flags = UV_INHERIT_FD, .data.fd = log_fd},
                                     {.flags = UV_INHERIT_FD, .data.fd = log_fd}};
    const uv_process_options_t options = {
        .exit_cb = on_end,
        .file = command->argv[0],
        .args = (char **)(uintptr_t)command->argv, /* libuv only reads them */
        .flags = UV_PROCESS_DETACHED,
        .stdio_count = 3,
        .stdio = stdio,
    };
    entry->process.data = entry;
    return uv_spawn(loop, &entry->process, &options);
}

enum err server_child_start(struct server_child_set *set, const char *provider, const char *host,
                            const struct provider_command *command, struct err_text *et)
{
    int log_fd;
    off_t log_begin;
    TRY(open_log(set, command->worker, &log_fd, &log_begin, et));
    struct entry *entry = mem_alloc(1, sizeof *entry);
    int rc = entry == NULL ? UV_ENOMEM : spawn(entry, set->loop, command, log_fd);
    (void)close(log_fd);
    if (entry == NULL)
        return ERR_OUT_OF_MEMORY;
    if (rc != 0) {
        enum err err = error_set(et, ERR_IO, "%s: %s", command->argv[0], uv_strerror(rc));
        note_failure(set, host);
        uv_close((uv_handle_t *)&entry->process, on_closed);
        return err;
    }
    struct server_child *child = &entry->child;
    entry->set = set;
    entry->log_begin = log_begin;
    (void)snprintf(child->provider, sizeof child->provider, "%s", provider);
    (void)snprintf(child->allocation, sizeof child->allocation, "%s", command->allocation);
    (void)snprintf(child->name, sizeof child->name, "%s", command->worker);
    (void)snprintf(child->host, sizeof child->host, "%s", host);
    list_append(&set->entries, &entry->node);
    return ERR_OK;
}

enum err server_child_pick_host(const struct server_child_set *set,
                                const struct provider_config *config, uint64_t since_ns,
                                uint32_t *host)
{
    *host = 0;
    if (config->kind != PROVIDER_SSH)
        return ERR_OK;
    struct provider_host *hosts = mem_alloc(config->hosts_count, sizeof *hosts);
    if (hosts == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < config->hosts_count; i++) {
        for (struct list_node *n = list_first(&set->entries); n != NULL;
             n = list_next(&set->entries, n)) {
            const struct server_child *child = &CONTAINER_OF(n, struct entry, node)->child;
            hosts[i].workers += strcmp(child->host, config->hosts[i]) == 0;
        }
        for (size_t k = 0; k < MIN(set->failure_count, (size_t)FAILURES_MAX); k++)
            if (strcmp(set->failures[k].host, config->hosts[i]) == 0)
                hosts[i].failed_ns = MAX(hosts[i].failed_ns, set->failures[k].at_ns);
    }
    *host = provider_pick_host(hosts, config->hosts_count, since_ns);
    mem_free(hosts);
    return ERR_OK;
}

bool server_child_has_name(const struct server_child_set *set, const char *name)
{
    for (struct list_node *n = list_first(&set->entries); n != NULL;
         n = list_next(&set->entries, n))
        if (strcmp(CONTAINER_OF(n, struct entry, node)->child.name, name) == 0)
            return true;
    return false;
}

void server_child_terminate(struct server_child_set *set, struct text allocation)
{
    for (struct list_node *n = list_first(&set->entries); n != NULL;
         n = list_next(&set->entries, n)) {
        struct entry *entry = CONTAINER_OF(n, struct entry, node);
        if (!text_is(allocation, entry->child.allocation))
            continue;
        (void)kill(-entry->process.pid, entry->was_told ? SIGKILL : SIGTERM);
        entry->was_told = true;
    }
}
